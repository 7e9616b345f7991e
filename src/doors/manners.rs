//! How long a JSON door puts up with a client that sends nonsense, or too much.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::limits::{
    BAD_MESSAGES_MAX, BAD_MESSAGES_WITHIN, RATE_LIMITED_FOR_MAX, RATE_LIMITED_FORGOTTEN_AFTER,
    RATE_LIMITED_TOLD_EVERY,
};

/// What one client has got wrong lately.
#[derive(Debug, Default)]
pub struct Manners {
    /// When its bad messages came, the oldest first: those that still count.
    bad: VecDeque<Timestamp>,
    /// The time in which it has been sending too much, if it is.
    flood: Option<Flood>,
}

#[derive(Debug)]
struct Flood {
    since: Timestamp,
    last: Timestamp,
    told: Timestamp,
}

/// What a message that is not taken brings its sender. Nothing of the message is applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reproof {
    /// An error.
    Error,
    /// Nothing: an error said so a moment ago.
    Silence,
    /// The end, with `Refusal::RateLimited`.
    Close,
}

impl Manners {
    /// A message came that cannot be read.
    pub fn bad_message(&mut self, now: Timestamp) -> Reproof {
        let counts = |at: &Timestamp| now.since(*at) < BAD_MESSAGES_WITHIN;
        while self.bad.front().is_some_and(|oldest| !counts(oldest)) {
            self.bad.pop_front();
        }
        self.bad.push_back(now);
        match self.bad.len() < BAD_MESSAGES_MAX {
            true => Reproof::Error,
            false => Reproof::Close,
        }
    }

    /// A message came that is one too many for the rate, and is dropped unread.
    pub fn too_fast(&mut self, now: Timestamp) -> Reproof {
        let flood = self
            .flood
            .as_mut()
            .filter(|flood| now.since(flood.last) < RATE_LIMITED_FORGOTTEN_AFTER);
        let Some(flood) = flood else {
            self.flood = Some(Flood {
                since: now,
                last: now,
                told: now,
            });
            return Reproof::Error;
        };
        flood.last = now;
        if RATE_LIMITED_FOR_MAX <= now.since(flood.since) {
            Reproof::Close
        } else if RATE_LIMITED_TOLD_EVERY <= now.since(flood.told) {
            flood.told = now;
            Reproof::Error
        } else {
            Reproof::Silence
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn the_twentieth_bad_message_in_ten_seconds_is_the_last() {
        let mut manners = Manners::default();
        for number in 0..19 {
            assert_eq!(manners.bad_message(at(number * 500)), Reproof::Error);
        }
        assert_eq!(manners.bad_message(at(9_999)), Reproof::Close);
    }

    #[test]
    fn bad_messages_far_apart_are_forgiven() {
        let mut manners = Manners::default();
        for number in 0..19 {
            assert_eq!(manners.bad_message(at(number)), Reproof::Error);
        }
        // The first has been ten seconds ago.
        assert_eq!(manners.bad_message(at(10_000)), Reproof::Error);
        assert_eq!(manners.bad_message(at(10_000)), Reproof::Close);
        let mut steady = Manners::default();
        for number in 0..1_000 {
            assert_eq!(steady.bad_message(at(number * 530)), Reproof::Error);
        }
    }

    #[test]
    fn a_flood_is_told_once_a_second_and_ended_after_ten() {
        let mut manners = Manners::default();
        let mut told = Vec::new();
        for millis in (0..10_000).step_by(10) {
            match manners.too_fast(at(millis)) {
                Reproof::Error => told.push(millis),
                Reproof::Silence => {}
                Reproof::Close => panic!("closed after {millis} ms"),
            }
        }
        let every_second: Vec<u64> = (0..10).map(|second| second * 1_000).collect();
        assert_eq!(told, every_second);
        assert_eq!(manners.too_fast(at(10_000)), Reproof::Close);
    }

    #[test]
    fn a_flood_that_pauses_begins_anew() {
        let mut manners = Manners::default();
        for start in (0..60_000).step_by(10_000) {
            assert_eq!(manners.too_fast(at(start)), Reproof::Error);
            for millis in (100..8_000).step_by(100) {
                assert_ne!(manners.too_fast(at(start + millis)), Reproof::Close);
            }
        }
    }

    #[test]
    fn too_much_and_nonsense_are_counted_apart() {
        let mut manners = Manners::default();
        for number in 0..100 {
            manners.too_fast(at(number));
        }
        assert_eq!(manners.bad_message(at(100)), Reproof::Error);
    }
}
