//! The roster of one room: sessions in, participants and changes out.

use crate::clock::Timestamp;
use crate::model::{SessionId, UserId};
use crate::presence::{Appearance, Change, Participant};

/// How a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// By a close frame or a `leave`.
    Clean,
    /// Without a word.
    Lost,
}

/// Who is in a room.
#[derive(Debug, Default)]
pub struct Roster {}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl Roster {
    pub fn new() -> Self {
        todo!()
    }
    /// The session shows its user, for the first time or with another appearance. An appearance
    /// equal to the session's last is an activity and nothing more.
    pub fn show(
        &mut self,
        now: Timestamp,
        session: SessionId,
        user: &UserId,
        appearance: Appearance,
    ) {
        todo!()
    }
    /// The session did something (an edit).
    pub fn touch(&mut self, now: Timestamp, session: SessionId) {
        todo!()
    }
    /// The session no longer shows its user (closed, or its awareness state is null).
    pub fn leave(&mut self, now: Timestamp, session: SessionId, ending: Ending) {
        todo!()
    }
    /// The next change to tell; drain after every call that changes something.
    pub fn poll_change(&mut self) -> Option<Change> {
        todo!()
    }
    /// Everybody, connected first, then by last seen (latest first), at most
    /// `OFFLINE_PARTICIPANTS_MAX` of those gone.
    pub fn participants(&self) -> Vec<Participant> {
        todo!()
    }
    /// One user's entry.
    pub fn participant(&self, user: &UserId) -> Option<Participant> {
        todo!()
    }
}
