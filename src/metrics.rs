//! Every counter and gauge, named once.

/// One relay's metrics: not global, so that two relays in one process do not mix.
#[derive(Debug, Default)]
pub struct Metrics {}
