//! How often each user may read: what one asks for must not hold up what others type.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::{READ_EVERY, READ_USERS_MAX, READS_AT_ONCE};
use crate::model::UserId;

/// So much a user may be ahead of one read every `READ_EVERY`.
const AHEAD_MAX: Duration = READ_EVERY.saturating_mul(READS_AT_ONCE);

/// Who has read lately, and how far ahead of their pace they are (a virtual scheduling algorithm: one time
/// for each user, however much they read).
pub(super) struct ReadingRate {
    users: Mutex<Users>,
}

struct Users {
    /// When all that each user has read would have been read at their pace; nobody whose time is past.
    paid_until: HashMap<UserId, Timestamp>,
    /// How many users there are when those who read no more are next looked for.
    sweep_at: usize,
}

/// There is little to gain from looking for those among so few.
const SWEPT_FROM: usize = 1_024;

impl ReadingRate {
    pub fn new() -> Self {
        Self {
            users: Mutex::new(Users {
                paid_until: HashMap::new(),
                sweep_at: SWEPT_FROM,
            }),
        }
    }

    /// Counts a read, or says how long to wait.
    pub fn take(&self, now: Timestamp, user: &UserId) -> Result<(), Duration> {
        let mut users = self.lock();
        users.sweep_if_many(now);
        let known = users.paid_until.get(user).copied();
        if known.is_none() && READ_USERS_MAX <= users.paid_until.len() {
            return Err(AHEAD_MAX);
        }
        let until = known.unwrap_or(now).max(now) + READ_EVERY;
        if now + AHEAD_MAX < until {
            return Err(until.since(now + AHEAD_MAX));
        }
        match users.paid_until.get_mut(user) {
            Some(known) => *known = until,
            None => {
                users.paid_until.insert(user.clone(), until);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        // Nothing panics while it holds the lock; if it ever does, the times are still good.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users {
    /// Forgets who reads no more, whenever there are twice as many as were left the last time: a
    /// constant cost for each.
    fn sweep_if_many(&mut self, now: Timestamp) {
        if self.paid_until.len() < self.sweep_at {
            return;
        }
        self.paid_until.retain(|_, until| now < *until);
        self.sweep_at = (2 * self.paid_until.len()).clamp(SWEPT_FROM, READ_USERS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn so_many_at_once_and_then_at_a_pace() {
        let rate = ReadingRate::new();
        let ann = user("ann");
        for _ in 0..READS_AT_ONCE {
            assert_eq!(rate.take(at(0), &ann), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(rate.take(at(0), &ann), Err(READ_EVERY));
        }
        assert_eq!(rate.take(at(0), &user("ben")), Ok(()));
        // For ten seconds, asked every millisecond: what the pace allows, and no more.
        let taken = (1..=10_000).filter(|&millis| rate.take(at(millis), &ann).is_ok());
        let pace = 10_000 / READ_EVERY.as_millis() as usize;
        assert_eq!(taken.count(), pace);
        // A rest gives back what may be read at once.
        let rested = (0..1_000).filter(|_| rate.take(at(60_000), &ann).is_ok());
        assert_eq!(rested.count(), READS_AT_ONCE as usize);
    }

    #[test]
    fn there_is_an_end_to_how_many_are_counted_and_the_silent_are_forgotten() {
        let rate = ReadingRate::new();
        for number in 0..READ_USERS_MAX {
            assert_eq!(rate.take(at(0), &user(&number.to_string())), Ok(()));
        }
        assert_eq!(rate.take(at(1), &user("one-more")), Err(AHEAD_MAX));
        assert_eq!(rate.take(at(1), &user("0")), Ok(()));
        assert_eq!(rate.take(at(10_000), &user("one-more")), Ok(()));
        assert!(rate.lock().paid_until.len() <= 1);
    }
}
