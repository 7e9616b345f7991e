//! lib0's encoding: a bounds-checked reader, and writers.
