//! How much may be said of oneself: by one state, one session, one user in the room.

use crate::limits::{
    AWARENESS_SESSION_BYTES_MAX, AWARENESS_STATE_BYTES_MAX, AWARENESS_USER_BYTES_MAX,
};
use crate::model::{ClientId, SessionId, UserId};
use crate::room::awareness::{Awareness, Event};
use crate::room::stamp::{Stamped, stamp};
use crate::small::SmallMap;

/// The limit that a state would have exceeded.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StateLimit {
    /// Of one state.
    State,
    /// Of all that a session holds.
    Session,
    /// Of all that a user's sessions hold in the room.
    User,
}

impl StateLimit {
    /// Every limit.
    pub const ALL: [Self; 3] = [Self::State, Self::Session, Self::User];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Session => "session",
            Self::User => "user",
        }
    }

    /// How much it allows.
    pub fn bytes_max(self) -> usize {
        match self {
            Self::State => AWARENESS_STATE_BYTES_MAX,
            Self::Session => AWARENESS_SESSION_BYTES_MAX,
            Self::User => AWARENESS_USER_BYTES_MAX,
        }
    }
}

/// How much each user's sessions hold together.
#[derive(Debug, Default)]
pub(super) struct Accounts(SmallMap<UserId, usize>);

impl Accounts {
    fn bytes(&self, user: &UserId) -> usize {
        self.0.get(user).copied().unwrap_or(0)
    }

    /// So much of what the user holds becomes so much.
    pub(super) fn change(&mut self, user: &UserId, before: usize, after: usize) {
        if before == after {
            return;
        }
        let bytes = (self.bytes(user) + after).saturating_sub(before);
        match self.0.get_mut(user) {
            _ if bytes == 0 => {
                self.0.remove(user);
            }
            Some(known) => *known = bytes,
            None => {
                self.0.insert(user.clone(), bytes);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Awareness {
    /// The state of an id as others may see it, if the session has room for it.
    pub(super) fn admit<'a>(
        &mut self,
        session: SessionId,
        client: ClientId,
        text: &'a str,
    ) -> Result<Stamped<'a>, StateLimit> {
        let Some(member) = self.sessions.get_mut(&session) else {
            return Err(StateLimit::Session);
        };
        member.taken_bytes += text.len();
        if AWARENESS_SESSION_BYTES_MAX < member.taken_bytes {
            return Err(StateLimit::Session);
        }
        let stamped = stamp(&member.grant, text).ok_or(StateLimit::State)?;
        let after = stamped.state.len();
        let known = self.memory.get(client);
        let before = known.map_or(0, |known| known.bytes());
        let holder = known.and_then(|known| known.entry.session);
        let is_held_here = holder == Some(session);
        if is_held_here && after <= before {
            return Ok(stamped);
        }
        let of_session = if is_held_here { before } else { 0 };
        if AWARENESS_SESSION_BYTES_MAX < member.bytes + after - of_session {
            return Err(StateLimit::Session);
        }
        let user = &member.grant.identity.user;
        let is_of_user = holder.is_some() && known.is_some_and(|known| known.user == *user);
        let of_user = if is_of_user { before } else { 0 };
        if AWARENESS_USER_BYTES_MAX < self.accounts.bytes(user) + after - of_user {
            return Err(StateLimit::User);
        }
        Ok(stamped)
    }

    /// A state was dropped: whoever runs the relay is to know.
    pub(super) fn drop_state(&mut self, session: SessionId, limit: StateLimit, bytes: usize) {
        self.events.push_back(Event::Dropped {
            session,
            limit,
            bytes,
        });
    }

    /// So much of what a session holds becomes so much.
    pub(super) fn charge(&mut self, session: SessionId, before: usize, after: usize) {
        if before == after {
            return;
        }
        if let Some(member) = self.sessions.get_mut(&session) {
            member.bytes = (member.bytes + after).saturating_sub(before);
            let user = &member.grant.identity.user;
            self.accounts.change(user, before, after);
        }
    }
}
