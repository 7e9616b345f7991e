//! What is due when, for things with one deadline each.

use std::hash::Hash;

use crate::clock::Timestamp;
use crate::small::{SmallMap, SmallSet};

/// An ordered set of deadlines, one for each key at most.
#[derive(Debug)]
pub struct Deadlines<K> {
    by_time: SmallSet<(Timestamp, K)>,
    of: SmallMap<K, Timestamp>,
}

impl<K: Clone + Eq + Hash + Ord> Deadlines<K> {
    /// None.
    pub fn new() -> Self {
        Self {
            by_time: SmallSet::new(),
            of: SmallMap::new(),
        }
    }

    /// Whether the key has a deadline.
    pub fn contains(&self, key: &K) -> bool {
        self.of.contains_key(key)
    }

    /// Sets, moves or clears the deadline of `key`.
    pub fn set(&mut self, key: K, deadline: Option<Timestamp>) {
        let previous = match deadline {
            Some(at) => self.of.insert(key.clone(), at),
            None => self.of.remove(&key),
        };
        if previous == deadline {
            return;
        }
        if let Some(at) = previous {
            self.by_time.remove(&(at, key.clone()));
        }
        if let Some(at) = deadline {
            self.by_time.insert((at, key));
        }
    }

    /// The next key whose deadline has come, which it then no longer has; call until `None`.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<K> {
        self.pop_due_at(now).map(|(_, key)| key)
    }

    /// The same, with the deadline.
    pub fn pop_due_at(&mut self, now: Timestamp) -> Option<(Timestamp, K)> {
        if self.next().is_none_or(|at| now < at) {
            return None;
        }
        let (at, key) = self.by_time.pop_first()?;
        self.of.remove(&key);
        Some((at, key))
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.of.len()
    }

    /// How many it has room for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.of.capacity()
    }
}

impl<K: Clone + Eq + Hash + Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_deadline_and_comes_up_once() {
        let at = Timestamp::from_millis;
        let mut deadlines = Deadlines::new();
        deadlines.set('a', Some(at(30)));
        deadlines.set('b', Some(at(20)));
        deadlines.set('a', Some(at(10)));
        deadlines.set('c', Some(at(5)));
        deadlines.set('c', None);
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.pop_due(at(25)), Some('a'));
        assert_eq!(deadlines.pop_due(at(25)), Some('b'));
        assert_eq!(deadlines.pop_due(at(25)), None);
        assert_eq!(deadlines.next(), None);
    }
}
