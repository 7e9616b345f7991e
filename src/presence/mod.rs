//! Who is in a room.
//!
//! Connections go in, changes come out: a [`Roster`] turns "this session shows itself", "it moved"
//! and "it is gone" into *joined*, *changed* and *left*, one entry per user however many tabs they
//! have. It knows nothing of Yjs, JSON, sockets or clocks. Start with [`Roster::show`].

mod change;
mod participant;
mod roster;
mod status;

pub use change::Change;
pub use participant::{Appearance, Participant};
pub use roster::{Ending, Roster};
pub use status::Status;
