//! What whoever runs the relay is told of somebody, at most once a minute: counters count everything.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::limits::{NOTICE_EVERY, NOTICES_MAX};
use crate::metrics::DroppedBy;
use crate::model::{SessionId, UserId};
use crate::relay::rooms::RoomKey;
use crate::relay::timeline::Happening;
use crate::relay::worker::Worker;
use crate::room::awareness::StateLimit;

/// When what was last told of whom.
#[derive(Debug, Default)]
pub struct Notices {
    told: HashMap<(UserId, StateLimit), Told>,
}

#[derive(Debug)]
struct Told {
    at: Timestamp,
    /// How often the same has happened since.
    since: u64,
}

impl Notices {
    /// It happened again: how often since it was last told, if it is to be told now.
    pub fn note(&mut self, now: Timestamp, user: &UserId, limit: StateLimit) -> Option<u64> {
        let key = (user.clone(), limit);
        if let Some(told) = self.told.get_mut(&key) {
            told.since += 1;
            if now.since(told.at) < NOTICE_EVERY {
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.since));
        }
        if NOTICES_MAX <= self.told.len() {
            self.told
                .retain(|_, told| now.since(told.at) < NOTICE_EVERY);
            if NOTICES_MAX <= self.told.len() {
                return None;
            }
        }
        self.told.insert(key, Told { at: now, since: 0 });
        Some(1)
    }
}

impl Worker {
    /// A room dropped an awareness state of one of its sessions.
    pub(super) fn state_dropped(
        &mut self,
        key: RoomKey,
        session: SessionId,
        limit: StateLimit,
        bytes: usize,
    ) {
        let label = match limit {
            StateLimit::State => DroppedBy::State,
            StateLimit::Session => DroppedBy::Session,
            StateLimit::User => DroppedBy::User,
        };
        self.around.metrics.states_dropped.of(label).inc();
        let now = self.now();
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let Some(member) = open.members.get(&session) else {
            return;
        };
        let Some(times) = self.notices.note(now, &member.user, limit) else {
            return;
        };
        tracing::warn!(
            room = %open.name,
            user = %member.user,
            connection = %member.link.connection(),
            bytes,
            limit = limit.name(),
            bytes_max = limit.bytes_max(),
            times,
            "an awareness state is over a limit and was dropped; the one before it stays"
        );
        self.note_session(key, session, Happening::StateDropped(limit));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_minute_with_their_number() {
        let now = Timestamp::from_millis(1_000_000);
        let ann = UserId::parse("ann").unwrap();
        let bob = UserId::parse("bob").unwrap();
        let mut notices = Notices::default();
        assert_eq!(notices.note(now, &ann, StateLimit::State), Some(1));
        assert_eq!(notices.note(now, &bob, StateLimit::State), Some(1));
        assert_eq!(notices.note(now, &ann, StateLimit::User), Some(1));
        for second in 1..60 {
            let later = now + Duration::from_secs(second);
            assert_eq!(notices.note(later, &ann, StateLimit::State), None);
        }
        let later = now + Duration::from_secs(60);
        assert_eq!(notices.note(later, &ann, StateLimit::State), Some(60));
        assert_eq!(notices.note(later, &ann, StateLimit::State), None);
    }

    #[test]
    fn a_crowd_does_not_fill_the_memory() {
        let now = Timestamp::from_millis(1_000_000);
        let mut notices = Notices::default();
        let user = |number: usize| UserId::parse(&format!("user-{number}")).unwrap();
        let told = |notices: &mut Notices, now, from: usize| {
            let users = from..from + 2 * NOTICES_MAX;
            let told =
                users.filter(|&one| notices.note(now, &user(one), StateLimit::State).is_some());
            told.count()
        };
        assert_eq!(told(&mut notices, now, 0), NOTICES_MAX);
        let later = now + NOTICE_EVERY;
        assert_eq!(told(&mut notices, later, 1_000_000), NOTICES_MAX);
        assert!(notices.told.len() <= NOTICES_MAX);
    }
}
