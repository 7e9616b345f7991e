//! What comes out: what the room must do, and the entries as they are to be sent.

use std::sync::Arc;

use crate::model::{ClientId, SessionId};
use crate::presence::Appearance;
use crate::room::awareness::StateLimit;

/// What the room must do about it; drain with `poll_event` after every call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The entry changed: everybody but the session that holds it is to get its newest state (or
    /// its removal). Who is behind gets the newest only.
    Cast {
        /// Whose.
        client: ClientId,
    },
    /// Send the owner the nudge `(client, clock, null)`, before anything else of this turn.
    Nudge {
        /// The owner.
        session: SessionId,
        /// Its id.
        client: ClientId,
        /// One below the clock it is to land on.
        clock: u64,
    },
    /// Ask whether the sockets of these sessions answer, and say so of those that do by
    /// `Awareness::answer`.
    Ask {
        /// Owners that have not renewed their states.
        sessions: Vec<SessionId>,
    },
    /// A state of the session was dropped, for there is no room for it. What was there before stays.
    Dropped {
        /// Who sent it.
        session: SessionId,
        /// What it would have exceeded.
        limit: StateLimit,
        /// How large it was.
        bytes: usize,
    },
    /// Send the session all present states except those it holds (again, if it had been sent them).
    Push {
        /// The newcomer.
        session: SessionId,
    },
    /// What the session shows of its user changed in content; `None`: it shows nothing any more.
    Shows {
        /// Which.
        session: SessionId,
        /// From the state that changed last among those it holds and that have a `presence` or a
        /// `user` object.
        appearance: Option<Box<Appearance>>,
    },
    /// The session's state changed in content (a renewal does not): of several tabs this is the one
    /// that shows its user now.
    Active {
        /// Which.
        session: SessionId,
    },
}

/// An entry as it is to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Whose.
    pub client: ClientId,
    /// The clock last given out (`K`).
    pub clock: u64,
    /// The stamped state; `None` is gone.
    pub state: Option<Arc<str>>,
    /// Grows with every cast, over the whole room: who has seen version v needs what is above it.
    pub version: u64,
    /// The session holding it, which is never sent it.
    pub session: Option<SessionId>,
}
