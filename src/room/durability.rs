//! Which updates are not yet stored, and who waits for the answer.

use std::collections::VecDeque;

use crate::clock::Timestamp;
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
    waiters: VecDeque<(Sequence, SessionId, u32)>,
    /// Back ends that wait, and how long, in order of either.
    requests: VecDeque<(Sequence, Timestamp, RequestId)>,
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

    /// Remembers that a session waits for everything appended so far, for so many updates; `false` when
    /// all of it is durable.
    pub fn wait(&mut self, session: SessionId, updates: u32) -> bool {
        if self.is_durable() {
            return false;
        }
        match self.waiters.back_mut() {
            Some((sequence, who, times)) if *sequence == self.last && *who == session => {
                *times += updates;
            }
            _ => self.waiters.push_back((self.last, session, updates)),
        }
        true
    }

    /// The same of a back end, which gives up then.
    pub fn wait_until(&mut self, until: Timestamp, request: RequestId) -> bool {
        if self.is_durable() {
            return false;
        }
        self.requests.push_back((self.last, until, request));
        true
    }

    /// The next back end that has waited for long enough; call until `None`.
    pub fn pop_late(&mut self, now: Timestamp) -> Option<RequestId> {
        let &(_, until, request) = self.requests.front()?;
        if now < until {
            return None;
        }
        self.requests.pop_front();
        Some(request)
    }

    /// When there is such a one.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.requests.front().map(|&(_, until, _)| until)
    }

    /// The store has everything up to `through`.
    pub fn stored(&mut self, through: Sequence) {
        self.stored = self.stored.max(through.min(self.last));
    }

    /// The next who has waited for what is now durable, and for how many updates; call until `None`.
    pub fn pop_answered(&mut self) -> Option<(Waiter, u32)> {
        if let Some(&(sequence, _, request)) = self.requests.front()
            && self.has(sequence)
        {
            self.requests.pop_front();
            return Some((Waiter::Request(request), 1));
        }
        let &(sequence, session, times) = self.waiters.front()?;
        if !self.has(sequence) {
            return None;
        }
        self.waiters.pop_front();
        Some((Waiter::Session(session), times))
    }

    /// The session is gone and waits for nothing.
    pub fn forget(&mut self, session: SessionId) {
        self.waiters.retain(|&(_, waiter, _)| waiter != session);
    }

    /// Nothing happens for a while: gives back the room that was made when much did.
    pub fn rest(&mut self) {
        // While a store is slow, many wait, and more will.
        if self.waiters.is_empty() {
            self.waiters.shrink_to_fit();
        }
        if self.requests.is_empty() {
            self.requests.shrink_to_fit();
        }
    }

    /// Whether what has this place is on disk.
    pub fn has(&self, place: Sequence) -> bool {
        place <= self.stored
    }

    /// Whether everything is but what has this place.
    pub fn is_durable_but(&self, place: Sequence) -> bool {
        let is_last_of_all = self.last == place;
        self.is_durable() || (is_last_of_all && self.stored + 1 == place)
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
        let (ann, bob) = (SessionId(1), SessionId(2));
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
            (Some((Waiter::Session(ann), 1)), None)
        );
        durability.stored(100);
        assert_eq!(
            (durability.pop_answered(), durability.pop_answered()),
            (Some((Waiter::Session(bob), 3)), None)
        );
        assert!(durability.is_durable());
    }

    #[test]
    fn a_back_end_is_answered_once_by_the_store_or_by_the_clock() {
        let at = Timestamp::from_millis;
        let (one, two) = (RequestId(1), RequestId(2));
        let mut durability = Durability::default();
        durability.append();
        assert!(durability.wait_until(at(10), one));
        durability.append();
        assert!(durability.wait_until(at(20), two));
        assert_eq!(durability.next_deadline(), Some(at(10)));
        assert_eq!(durability.pop_late(at(9)), None);
        assert_eq!(durability.pop_late(at(10)), Some(one));
        assert_eq!(durability.pop_late(at(19)), None);
        durability.stored(2);
        assert_eq!(durability.pop_answered(), Some((Waiter::Request(two), 1)));
        assert_eq!(durability.pop_answered(), None);
        assert_eq!(durability.next_deadline(), None);
        assert!(!durability.wait_until(at(30), one), "nothing is pending");
    }

    #[test]
    fn what_is_last_can_be_left_out_of_what_is_durable() {
        let mut durability = Durability::default();
        durability.continue_from(4);
        assert_eq!((durability.append(), durability.append()), (5, 6));
        durability.stored(4);
        assert!(!durability.is_durable_but(6) && !durability.is_durable_but(5));
        durability.stored(5);
        assert!(durability.is_durable_but(6) && !durability.is_durable());
        durability.append();
        assert!(!durability.is_durable_but(6));
    }

    #[test]
    fn who_left_is_not_answered() {
        let mut durability = Durability::default();
        durability.append();
        durability.wait(SessionId(1), 1);
        durability.forget(SessionId(1));
        durability.stored(1);
        assert_eq!(durability.pop_answered(), None);
    }
}
