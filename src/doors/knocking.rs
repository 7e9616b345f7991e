//! Clients that come back with a token that was refused for good.
//!
//! Some know of no refusal that is for good, and come back ten times a second. From the second time on
//! their close is held back: while the socket is open they wait. What counts is the token, never an
//! address, behind which there may be a whole company; without one nothing is known, and nothing held.

use std::collections::hash_map::{Entry, HashMap, RandomState};
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::limits::{
    CLOSE_HELD_FIRST, CLOSE_HELD_MAX, CLOSES_HELD_MAX, KNOCKS_MAX, KNOCKS_REMEMBERED_FOR,
};
use crate::wire::close::Refusal;

/// Which tokens were refused of late, and the sockets that wait for their close.
#[derive(Default)]
pub struct Knocking {
    knocks: Mutex<Knocks>,
    held: Mutex<Held>,
}

impl Knocking {
    /// A token is refused at a path: for how long that is not told, if it is not told at once. Who knocks
    /// for ever does so at one door; a page of many documents knocks once at each.
    pub fn hold_back(
        &self,
        now: Timestamp,
        token: &str,
        path: &str,
        refusal: Refusal,
    ) -> Option<Duration> {
        // To come back is right after the others.
        if refusal.should_retry() || token.is_empty() {
            return None;
        }
        let mut knocks = lock(&self.knocks);
        let hash = knocks.hasher.hash_one((token, path, refusal.reason()));
        knocks.count(now, hash)
    }

    /// A place among those who are held. Whose it was is told to go.
    pub fn take_place(&self) -> HeldPlace<'_> {
        let (leave, told) = oneshot::channel();
        let mut held = lock(&self.held);
        if CLOSES_HELD_MAX <= held.places.len()
            && let Some((_, oldest)) = held.places.pop_first()
        {
            // It may just have gone by itself.
            let _ = oldest.send(());
        }
        let number = held.next;
        held.next += 1;
        held.places.insert(number, leave);
        HeldPlace {
            knocking: self,
            number,
            told,
        }
    }
}

/// One of the places of sockets that are held; given back when dropped.
pub struct HeldPlace<'a> {
    knocking: &'a Knocking,
    number: u64,
    told: oneshot::Receiver<()>,
}

impl HeldPlace<'_> {
    /// Waits until the place goes to another.
    pub async fn lost(&mut self) {
        // That nobody will say so is as good.
        let _ = (&mut self.told).await;
    }
}

impl Drop for HeldPlace<'_> {
    fn drop(&mut self) {
        lock(&self.knocking.held).places.remove(&self.number);
    }
}

/// Numbers rise, so the first has waited longest.
#[derive(Default)]
struct Held {
    next: u64,
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Tokens, by their hashes, with why they were refused.
#[derive(Default)]
struct Knocks {
    hasher: RandomState,
    knocks: HashMap<u64, Knock>,
    /// In the order in which they first came; who comes again is looked at again.
    oldest: VecDeque<(Timestamp, u64)>,
}

struct Knock {
    last: Timestamp,
    held_for: Duration,
}

impl Knocks {
    fn count(&mut self, now: Timestamp, hash: u64) -> Option<Duration> {
        self.forget(now);
        let is_full = KNOCKS_MAX <= self.knocks.len();
        match self.knocks.entry(hash) {
            Entry::Occupied(mut known) => {
                let knock = known.get_mut();
                knock.last = now;
                knock.held_for = (2 * knock.held_for).clamp(CLOSE_HELD_FIRST, CLOSE_HELD_MAX);
                Some(knock.held_for)
            }
            Entry::Vacant(_) if is_full => None,
            Entry::Vacant(new) => {
                new.insert(Knock {
                    last: now,
                    held_for: Duration::ZERO,
                });
                self.oldest.push_back((now, hash));
                None
            }
        }
    }

    /// Forgets those that were not used for long enough.
    fn forget(&mut self, now: Timestamp) {
        let is_over = |at: Timestamp| at + KNOCKS_REMEMBERED_FOR <= now;
        while let Some(&(at, hash)) = self.oldest.front()
            && is_over(at)
        {
            self.oldest.pop_front();
            if let Entry::Occupied(known) = self.knocks.entry(hash) {
                match known.get().last {
                    last if is_over(last) => {
                        known.remove();
                    }
                    last => self.oldest.push_back((last, hash)),
                }
            }
        }
    }
}

/// Nothing panics while it holds one of the locks; if it ever does, what they guard is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + 1_000 * seconds)
    }

    fn seconds(held: Option<Duration>) -> u64 {
        held.map_or(0, |held| held.as_secs())
    }

    #[test]
    fn whoever_comes_again_waits_longer_each_time_up_to_20_seconds() {
        let knocking = Knocking::default();
        let mut now = 0;
        let held: Vec<u64> = (0..8)
            .map(|_| {
                let held = knocking.hold_back(at(now), "a", "/sync/1", Refusal::TokenExpired);
                now += seconds(held);
                seconds(held)
            })
            .collect();
        assert_eq!(held, [0, 1, 2, 4, 8, 16, 20, 20]);
        // A minute without is a beginning.
        let later =
            |after| knocking.hold_back(at(now + after), "a", "/sync/1", Refusal::TokenExpired);
        assert_eq!(seconds(later(39)), 20);
        assert_eq!(seconds(later(39 + 60)), 0);
        assert_eq!(seconds(later(39 + 61)), 1);
    }

    #[test]
    fn other_tokens_other_reasons_and_what_is_not_for_good_are_not_held() {
        let knocking = Knocking::default();
        let held = |token, refusal| seconds(knocking.hold_back(at(0), token, "/sync/1", refusal));
        assert_eq!(held("a", Refusal::Forbidden), 0);
        assert_eq!(held("b", Refusal::Forbidden), 0);
        assert_eq!(held("a", Refusal::TokenExpired), 0);
        assert_eq!(held("a", Refusal::Forbidden), 1);
        let elsewhere = knocking.hold_back(at(0), "a", "/sync/2", Refusal::Forbidden);
        assert_eq!(seconds(elsewhere), 0);
        for _ in 0..9 {
            assert_eq!(held("c", Refusal::LimitConnections), 0);
            assert_eq!(held("", Refusal::Unauthorized), 0);
        }
    }

    #[test]
    fn refused_tokens_are_forgotten_and_there_is_an_end_to_how_many_are_known() {
        let knocking = Knocking::default();
        let knock = |second, number: usize| {
            knocking.hold_back(at(second), &number.to_string(), "", Refusal::Revoked)
        };
        for number in 0..2 * KNOCKS_MAX {
            assert_eq!(knock(0, number), None);
        }
        assert_eq!(lock(&knocking.knocks).knocks.len(), KNOCKS_MAX);
        assert_eq!(seconds(knock(30, 0)), 1);
        assert_eq!(knock(60, 1), None);
        let knocks = lock(&knocking.knocks);
        assert_eq!((knocks.knocks.len(), knocks.oldest.len()), (2, 2));
    }

    #[tokio::test]
    async fn the_oldest_of_those_who_are_held_makes_room() {
        let knocking = Knocking::default();
        let mut places: Vec<_> = (0..CLOSES_HELD_MAX)
            .map(|_| knocking.take_place())
            .collect();
        drop(places.remove(7));
        let _new = knocking.take_place();
        assert!(places[0].told.try_recv().is_err());
        let _newer = knocking.take_place();
        places[0].lost().await;
        assert!(places[1].told.try_recv().is_err());
        drop(places);
        assert_eq!(lock(&knocking.held).places.len(), 2);
    }
}
