//! One user in one room, made of all their sessions there.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::model::{Color, Role, SessionId, UserId};
use crate::presence::Status;
use crate::small::{SmallIdMap, SmallSet};

/// What one session shows of its user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Appearance {
    /// The display name.
    pub name: Arc<str>,
    /// An avatar's address.
    pub avatar: Option<Arc<str>>,
    /// What they are in this room.
    pub role: Option<Role>,
    /// Their colour.
    pub color: Color,
    /// What they are doing.
    pub status: Status,
    /// What the client sent last, as JSON text.
    pub data: Option<Arc<str>>,
}

/// What others see of a user in a room: the nine fields of the contract, section 2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Participant {
    /// Who.
    pub user: UserId,
    /// As the session shows them whose appearance last changed in content.
    pub appearance: Appearance,
    /// Whether a session of theirs is connected.
    pub is_connected: bool,
    /// Connected: the last activity. Gone: the end of the last session.
    pub last_seen: Timestamp,
}

impl Participant {
    /// What is kept of someone who has left: who they are, not what they were doing.
    pub fn gone(user: UserId, shown_last: Appearance, last_seen: Timestamp) -> Self {
        Self {
            user,
            appearance: Appearance {
                status: Status::Offline,
                data: None,
                ..shown_last
            },
            is_connected: false,
            last_seen,
        }
    }
}

/// The sessions in which one user is present, folded into one appearance.
#[derive(Debug, Default)]
pub(super) struct Presence {
    sessions: SmallIdMap<SessionId, Shown>,
    /// By when they last changed; the last is the one whose appearance is shown.
    by_change: SmallSet<(u64, SessionId)>,
    /// How many sessions there are with each status, in the order of `Status::BY_ACTIVITY`.
    statuses: [u32; Status::BY_ACTIVITY.len()],
}

#[derive(Debug)]
struct Shown {
    changed: u64,
    appearance: Appearance,
}

impl Presence {
    /// The session's appearance. `change` grows with every call; the session of the highest is
    /// shown. `None` leaves the session where it was: time changed it, not its user. One that
    /// equals the session's last changes nothing.
    pub(super) fn show(&mut self, session: SessionId, appearance: Appearance, change: Option<u64>) {
        let status = appearance.status;
        if let Some(shown) = self.sessions.get_mut(&session) {
            if shown.appearance == appearance {
                return;
            }
            let before = std::mem::replace(&mut shown.appearance, appearance).status;
            if before != status {
                self.count(before, |count| count.saturating_sub(1));
                self.count(status, |count| count.saturating_add(1));
            }
            if let Some(change) = change {
                self.bring_forward(change, session);
            }
        } else {
            let changed = change.unwrap_or(0);
            let shown = Shown {
                changed,
                appearance,
            };
            self.sessions.insert(session, shown);
            self.by_change.insert((changed, session));
            self.count(status, |count| count.saturating_add(1));
        }
        self.check();
    }

    /// The session is the one shown from now on, as it is.
    pub(super) fn bring_forward(&mut self, change: u64, session: SessionId) {
        if let Some(shown) = self.sessions.get_mut(&session) {
            self.by_change.remove(&(shown.changed, session));
            shown.changed = change;
            self.by_change.insert((change, session));
        }
        self.check();
    }

    /// The session shows nothing any more.
    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some(shown) = self.sessions.remove(&session) {
            self.by_change.remove(&(shown.changed, session));
            self.count(shown.appearance.status, |count| count.saturating_sub(1));
        }
        self.check();
    }

    /// What is shown of the user: the session that changed last, with the status of the most
    /// active. `None` without a session.
    pub(super) fn appearance(&self) -> Option<Appearance> {
        let (_, session) = self.by_change.last()?;
        let shown = self.sessions.get(session)?;
        let most_active = self
            .statuses
            .iter()
            .position(|&count| 0 < count)
            .and_then(|place| Status::BY_ACTIVITY.get(place));
        Some(Appearance {
            status: *most_active?,
            ..shown.appearance.clone()
        })
    }

    /// Every session that shows something.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    fn count(&mut self, status: Status, change: impl Fn(u32) -> u32) {
        for (of, count) in Status::BY_ACTIVITY.iter().zip(&mut self.statuses) {
            if *of == status {
                *count = change(*count);
            }
        }
    }

    fn check(&self) {
        debug_assert_eq!(self.sessions.len(), self.by_change.len());
        let counted = self.statuses.iter().map(|&count| count as usize);
        debug_assert_eq!(self.sessions.len(), counted.sum::<usize>());
    }
}
