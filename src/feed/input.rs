//! Everything that can happen to the feed.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::feed::Update;
use crate::model::{ConnectionId, UserId};
use crate::presence::Ending;

/// When users were last seen, as far as the store knows: what comes with an input that lets
/// somebody follow them. Whoever is not in it has never been seen.
pub type Seen = HashMap<UserId, Timestamp>;

/// One thing that happens to the feed.
#[derive(Clone, Debug)]
pub enum Input {
    /// A window of somebody who has been let in.
    Login(Box<Login>),
    /// The window says what its user does. An update without a change is a sign of activity.
    Update {
        /// Which.
        window: ConnectionId,
        /// What it says.
        update: Update,
    },
    /// The window says goodbye: it does not linger, and cannot be resumed.
    Logout {
        /// Which.
        window: ConnectionId,
    },
    /// The window's connection ended; it lingers, and may be resumed.
    Closed {
        /// Which.
        window: ConnectionId,
        /// How.
        ending: Ending,
        /// Whether everything that the window was to be told had left for its client.
        was_all_sent: bool,
    },
    /// The user's tokens are revoked: all their windows are gone, those that linger too.
    Expel {
        /// Whose.
        user: UserId,
    },
    /// Whom a user follows in the store is another list now; what tokens claim stays beside.
    Follows {
        /// Whose follows.
        user: UserId,
        /// These, and nobody else.
        stored: BTreeSet<UserId>,
        /// Of all these.
        seen: Seen,
    },
    /// Nothing but that time has passed.
    Tick,
    /// The process is about to end: whoever is online is last seen now.
    Stop,
}

/// A login: who, by which connection, and everything that it needs from outside.
#[derive(Clone, Debug)]
pub struct Login {
    /// The connection, which is the window's name from now on.
    pub window: ConnectionId,
    /// Whose window it is.
    pub user: UserId,
    /// Whom the user follows, as stored.
    pub stored: BTreeSet<UserId>,
    /// Whom the user follows beside, as the token claims.
    pub claimed: BTreeSet<UserId>,
    /// Of all these.
    pub seen: Seen,
    /// The token of the window that this one goes on for, if the client has one.
    pub resume: Option<ResumeToken>,
    /// The token by which this window can be resumed: fresh randomness.
    pub next_resume: ResumeToken,
    /// How the window begins, as far as the login says; of one that goes on, its first update.
    pub first: Update,
}

/// 128 random bits that stand for a window whose connection is gone.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct ResumeToken(pub u128);

impl ResumeToken {
    /// Reads what a client was given.
    pub fn parse(text: &str) -> Option<Self> {
        let is_ours = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let token = is_ours.then(|| u128::from_str_radix(text, 16).ok())??;
        Some(Self(token))
    }
}

/// As a client is given it.
impl std::fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::fmt::Debug for ResumeToken {
    /// A secret: whoever has it can take the window over.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeToken(…)")
    }
}
