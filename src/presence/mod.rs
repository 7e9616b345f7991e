//! Who is in a room, and who waits to be.
//!
//! Sessions go in, changes come out: a [`Roster`] turns "this session enters", "it says where it
//! is", "it is silent" and "it is gone" into *joined*, *changed* and *left*, one entry per user
//! however many tabs they have. A kind of room is a row of numbers ([`Policy`](crate::model::Policy))
//! and nothing else: whether entries outlast their last session, whether somebody falls idle, how
//! many may be in. It knows nothing of Yjs, JSON, sockets or clocks: an appearance comes in as a
//! value, time as an argument.
//!
//! Start with [`Roster::enter`]. How several sessions of a user become one entry is told in
//! `participant`, who gets which colour in `hues`, which status is the more active one in [`Status`], who waits in `admission`,
//! what a session is known by in `session`, who is remembered in `departed`, and of whom nothing more
//! is to be heard because they have just said goodbye in `farewells`.

mod admission;
mod change;
mod departed;
mod farewells;
mod hues;
mod participant;
mod roster;
mod session;
mod status;
#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use change::{Change, Coalesced};
pub use farewells::Farewells;
pub use participant::{Appearance, Participant};
pub use roster::{Ending, Entering, Event, Roster, Saying};
pub use session::{SessionRecord, Standing};
pub use status::Status;
