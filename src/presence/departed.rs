//! Those who were in a room and left: who they are, and when they were last seen.

use std::cmp::Reverse;

use crate::clock::Timestamp;
use crate::limits::OFFLINE_PARTICIPANTS_MAX;
use crate::model::UserId;
use crate::presence::Participant;
use crate::small::{SmallMap, SmallSet};

/// The latest to leave, `OFFLINE_PARTICIPANTS_MAX` at most.
#[derive(Debug, Default)]
pub(super) struct Departed {
    of: SmallMap<UserId, Participant>,
    /// The latest first.
    order: SmallSet<(Reverse<Timestamp>, UserId)>,
}

impl Departed {
    /// Remembers somebody; whoever left longest ago is forgotten when there are too many.
    pub fn keep(&mut self, participant: Participant) {
        debug_assert!(!participant.is_connected);
        let user = participant.user.clone();
        self.forget(&user);
        self.order
            .insert((Reverse(participant.last_seen), user.clone()));
        self.of.insert(user, participant);
        if OFFLINE_PARTICIPANTS_MAX < self.order.len()
            && let Some((_, oldest)) = self.order.pop_last()
        {
            self.of.remove(&oldest);
        }
        debug_assert_eq!(self.of.len(), self.order.len());
    }

    /// They are back.
    pub fn forget(&mut self, user: &UserId) {
        if let Some(departed) = self.of.remove(user) {
            self.order
                .remove(&(Reverse(departed.last_seen), user.clone()));
        }
    }

    pub fn get(&self, user: &UserId) -> Option<&Participant> {
        self.of.get(user)
    }

    /// All, the latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.order.iter().filter_map(|(_, user)| self.of.get(user))
    }
}
