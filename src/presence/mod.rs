//! Who is in a room.
//!
//! Sessions go in, changes come out: a [`Roster`] turns "this session shows itself", "it moved"
//! and "it is gone" into *joined*, *changed* and *left*, one entry per user however many tabs they
//! have. It knows nothing of Yjs, JSON, sockets or clocks: an appearance comes in as a value, time
//! as an argument.
//!
//! Start with [`Roster::show`]. How several sessions of a user become one entry is told in
//! `participant`, and which status is the more active one in [`Status`].

mod change;
mod participant;
mod roster;
mod status;

pub use change::Change;
pub use participant::{Appearance, Participant};
pub use roster::{Ending, Roster};
pub use status::Status;
