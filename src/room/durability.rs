//! Which updates are not yet stored, and who waits for the answer.

use std::collections::VecDeque;

use crate::model::{RequestId, SessionId};
use crate::room::document::Sequence;

/// Who is to be told once an update is durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Waiter {
    /// A session that wants a status.
    Session(SessionId),
    /// A back end.
    Request(RequestId),
}

/// The log's end: what has been given a number, and what of that is on disk.
#[derive(Debug, Default)]
pub struct Durability {
    last: Sequence,
    stored: Sequence,
    /// In order of the sequence they wait for; who waits for the same several times is told as often.
    waiters: VecDeque<(Sequence, Waiter, u32)>,
}

impl Durability {
    /// Continues a log that the store has up to `last`.
    pub fn continue_from(&mut self, last: Sequence) {
        debug_assert!(
            self.last == 0,
            "a log is continued once, before anything is appended"
        );
        self.last = last;
        self.stored = last;
    }

    /// Gives an update its place.
    pub fn append(&mut self) -> Sequence {
        self.last += 1;
        self.last
    }

    /// Remembers who waits for everything appended so far, for so many updates; `false` when all of it is
    /// durable.
    pub fn wait(&mut self, waiter: Waiter, updates: u32) -> bool {
        if self.is_durable() {
            return false;
        }
        match self.waiters.back_mut() {
            Some((sequence, who, times)) if *sequence == self.last && *who == waiter => {
                *times += updates;
            }
            _ => self.waiters.push_back((self.last, waiter, updates)),
        }
        true
    }

    /// The store has everything up to `through`.
    pub fn stored(&mut self, through: Sequence) {
        self.stored = self.stored.max(through.min(self.last));
    }

    /// The next who has waited for what is now durable, and for how many updates; call until `None`.
    pub fn pop_answered(&mut self) -> Option<(Waiter, u32)> {
        let &(sequence, waiter, times) = self.waiters.front()?;
        if self.stored < sequence {
            return None;
        }
        self.waiters.pop_front();
        Some((waiter, times))
    }

    /// The session is gone and waits for nothing.
    pub fn forget(&mut self, session: SessionId) {
        self.waiters
            .retain(|&(_, waiter, _)| waiter != Waiter::Session(session));
    }

    /// Nothing happens for a while: gives back the room that was made when much did.
    pub fn rest(&mut self) {
        // While a store is slow, many wait, and more will.
        if self.waiters.is_empty() {
            self.waiters.shrink_to_fit();
        }
    }

    /// Whether everything accepted is on disk.
    pub fn is_durable(&self) -> bool {
        self.stored == self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_answered_once_everything_before_is_stored() {
        let mut durability = Durability::default();
        durability.continue_from(7);
        let (ann, bob) = (Waiter::Session(SessionId(1)), Waiter::Session(SessionId(2)));
        assert!(!durability.wait(ann, 1), "nothing is pending");
        assert_eq!(durability.append(), 8);
        assert!(durability.wait(ann, 1));
        durability.append();
        assert!(durability.wait(bob, 1));
        assert!(
            durability.wait(bob, 2),
            "for two others that have the same place"
        );
        assert!(!durability.is_durable());
        durability.stored(8);
        assert_eq!(
            (durability.pop_answered(), durability.pop_answered()),
            (Some((ann, 1)), None)
        );
        durability.stored(100);
        assert_eq!(
            (durability.pop_answered(), durability.pop_answered()),
            (Some((bob, 3)), None)
        );
        assert!(durability.is_durable());
    }

    #[test]
    fn who_left_is_not_answered() {
        let mut durability = Durability::default();
        durability.append();
        durability.wait(Waiter::Session(SessionId(1)), 1);
        durability.forget(SessionId(1));
        durability.stored(1);
        assert_eq!(durability.pop_answered(), None);
    }
}
