//! When users were last seen of whom nobody hears now: the store may not have it yet.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::limits::FEED_SEEN_MAX;
use crate::model::UserId;

/// Last seen times, the newest `FEED_SEEN_MAX` of them.
#[derive(Debug, Default)]
pub(super) struct Memory {
    at: HashMap<UserId, Timestamp>,
    oldest_first: BTreeSet<(Timestamp, UserId)>,
}

impl Memory {
    /// Keeps when somebody was last seen.
    pub(super) fn remember(&mut self, user: UserId, at: Timestamp) {
        self.take(&user);
        self.at.insert(user.clone(), at);
        self.oldest_first.insert((at, user));
        if FEED_SEEN_MAX < self.at.len()
            && let Some((_, oldest)) = self.oldest_first.pop_first()
        {
            self.at.remove(&oldest);
        }
    }

    /// Gives it back.
    pub(super) fn take(&mut self, user: &UserId) -> Option<Timestamp> {
        let at = self.at.remove(user)?;
        self.oldest_first.remove(&(at, user.clone()));
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_each_once() {
        let mut memory = Memory::default();
        let user = |number: usize| UserId::parse(&number.to_string()).unwrap();
        let at = |number: usize| Timestamp::from_millis(number as u64);
        for number in 0..FEED_SEEN_MAX {
            memory.remember(user(number), at(number));
        }
        // The first is the latest now.
        memory.remember(user(0), at(FEED_SEEN_MAX));
        assert_eq!(memory.at.len(), FEED_SEEN_MAX);
        memory.remember(user(FEED_SEEN_MAX), at(FEED_SEEN_MAX));
        assert_eq!(memory.take(&user(1)), None);
        assert_eq!(memory.take(&user(0)), Some(at(FEED_SEEN_MAX)));
        assert_eq!(memory.take(&user(0)), None);
        assert_eq!(memory.take(&user(2)), Some(at(2)));
        assert_eq!(memory.at.len(), memory.oldest_first.len());
    }
}
