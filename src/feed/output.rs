//! Everything the feed can ask for.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::feed::{Changes, Profile, ResumeToken, Status};
use crate::model::{ConnectionId, UserId};

/// One thing the feed asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send one message to some windows, all of them open.
    Send {
        /// To whom; never nobody.
        windows: Vec<ConnectionId>,
        /// What.
        message: Message,
    },
    /// The window has been resumed by another connection: end this one with `REPLACED`.
    Replaced(ConnectionId),
    /// From now on the user is to be hidden everywhere, or no longer.
    Hidden {
        /// Who.
        user: UserId,
        /// Whether, from now on.
        is_hidden: bool,
    },
    /// Others last saw the user then: to be stored, unless the store knows of a later time.
    Seen {
        /// Whom.
        user: UserId,
        /// When.
        at: Timestamp,
    },
}

/// One message to a window.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// The login was good.
    Hello {
        /// By which the window can be resumed, once.
        resume: ResumeToken,
        /// For how long after its connection is gone.
        resume_within: Duration,
        /// Whether it has just been.
        is_resumed: bool,
        /// How followers see the window's user now that it is there; `None`: as offline.
        seen_as: Option<Status>,
    },
    /// Everybody the window follows.
    Sync(Vec<(UserId, Told)>),
    /// What changed of somebody who is online.
    Changed {
        /// Who.
        user: UserId,
        /// What.
        changes: Changes,
    },
    /// How somebody is whose state the window has not been told, or who has come or gone.
    State {
        /// Who.
        user: UserId,
        /// How.
        told: Told,
    },
}

/// What followers have been told of somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// They are not there, and were last seen then (never, or nobody knows).
    Offline(Option<Timestamp>),
    /// They are there.
    Online(Arc<Profile>),
}
