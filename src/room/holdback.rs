//! The hold-back queue: updates whose foundation has not come yet.
//!
//! Real clients make them when they type before they are asked what they typed offline, and lose
//! their link before they say it. Such an update is kept like any other, and acknowledged; but nobody
//! is sent it, and the document does not see it, before everything it stands on has come. So what is
//! passed on can always be applied at once, by us and by everybody else.
//!
//! What waits is found by the clocks it waits for: an update costs by what it holds itself, however
//! much else is waiting. Large updates are gone through elsewhere: see [`Sift`].

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::{HELD_BYTES_MAX, HELD_UPDATES_MAX, SIFT_INLINE_BYTES_MAX};
use crate::model::{ClientId, SessionId};
use crate::room::document::Sequence;
use crate::wire::frontier::{Admitted, Frontier, Rest};
use crate::wire::typed::Typed;
use crate::wire::yjs::Update;

/// How far everybody's clocks have been passed on, and what waits.
#[derive(Debug, Default)]
pub struct HoldBack {
    frontier: Frontier,
    /// Most rooms have none.
    waiting: Option<Box<Waiting>>,
}

/// What waits.
#[derive(Debug)]
pub struct Held {
    /// Its place in the log.
    pub sequence: Sequence,
    /// Who sent it.
    pub from: Option<SessionId>,
    /// What it is, and what for it waits.
    pub rest: Rest,
}

/// Updates that wait, by arrival, and who waits for which clock.
#[derive(Debug, Default)]
struct Waiting {
    held: BTreeMap<u64, Held>,
    arrivals: u64,
    bytes: usize,
    /// By client, clock and arrival. One set for all: an update may wait for a million clients.
    wanted: BTreeSet<(ClientId, u64, u64)>,
    /// Those that wait for something that has come since.
    to_try: BTreeSet<u64>,
}

impl HoldBack {
    /// Takes what can be passed on now.
    pub fn admit(&mut self, update: Update) -> Admitted {
        let Some(waiting) = &mut self.waiting else {
            return self.frontier.admit(update);
        };
        let clients: Vec<ClientId> = match update.typed() {
            Some(typed) => vec![typed.client],
            None => update.clock_ends().map(|(client, _, _)| client).collect(),
        };
        let admitted = self.frontier.admit(update);
        waiting.wake(&self.frontier, clients);
        admitted
    }

    /// Whether typed text can be passed on now, all of it.
    pub fn takes(&self, typed: &Typed) -> bool {
        self.frontier.takes(typed)
    }

    /// Whether this would be more than may wait.
    pub fn is_too_much(&self, rest: &Rest) -> bool {
        let (updates, bytes) =
            (self.waiting.as_ref()).map_or((0, 0), |waiting| (waiting.held.len(), waiting.bytes));
        HELD_UPDATES_MAX <= updates || HELD_BYTES_MAX < bytes + rest.update.bytes().len()
    }

    /// Whether the very same waits already: a client brings it again each time it returns.
    pub fn holds(&self, rest: &Rest) -> bool {
        self.held().any(|held| held.rest.update == rest.update)
    }

    /// Lets something wait.
    pub fn hold(&mut self, held: Held) {
        self.waiting.get_or_insert_default().insert(held);
    }

    /// The next that need not wait any more, or what of it need not; call until `None`.
    pub fn release(&mut self) -> Option<(Option<SessionId>, Update)> {
        let waiting = self.waiting.as_mut()?;
        while let Some(arrival) = waiting.to_try.pop_first() {
            let Some(held) = waiting.take(arrival) else {
                continue;
            };
            let update = held.rest.update;
            let clients: Vec<ClientId> = update.clock_ends().map(|(client, _, _)| client).collect();
            let Admitted { ready, rest } = self.frontier.admit(update);
            if let Some(rest) = rest {
                waiting.insert(Held { rest, ..held });
            }
            if let Some(ready) = ready {
                waiting.wake(&self.frontier, clients);
                return Some((held.from, ready));
            }
        }
        if waiting.held.is_empty() {
            self.waiting = None;
        }
        None
    }

    /// Whether what `release` is to look at is too much to be gone through on a worker.
    pub fn releases_much(&self) -> bool {
        let Some(waiting) = &self.waiting else {
            return false;
        };
        let mut bytes = 0;
        let mut to_try = (waiting.to_try.iter()).filter_map(|next| waiting.held.get(next));
        to_try.any(|held| {
            bytes += held.rest.update.bytes().len();
            SIFT_INLINE_BYTES_MAX < bytes
        })
    }

    /// Everything that waits, in the order of arrival.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.waiting
            .iter()
            .flat_map(|waiting| waiting.held.values())
    }

    /// Everything that waits, to be given another place.
    pub fn held_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        let waiting = self.waiting.iter_mut();
        waiting.flat_map(|waiting| waiting.held.values_mut())
    }

    /// Everything that waits, to be looked at anew.
    pub fn into_held(self) -> Vec<Held> {
        let waiting = self.waiting.into_iter();
        waiting
            .flat_map(|waiting| waiting.held.into_values())
            .collect()
    }

    /// How many updates wait.
    pub fn updates(&self) -> usize {
        (self.waiting.as_ref()).map_or(0, |waiting| waiting.held.len())
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes)
    }
}

impl Waiting {
    fn insert(&mut self, held: Held) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.bytes += held.rest.update.bytes().len();
        let waits = held.rest.waits.iter();
        self.wanted
            .extend(waits.map(|&(client, clock)| (client, clock, arrival)));
        self.held.insert(arrival, held);
    }

    fn take(&mut self, arrival: u64) -> Option<Held> {
        let held = self.held.remove(&arrival)?;
        self.bytes -= held.rest.update.bytes().len();
        for &(client, clock) in &held.rest.waits {
            self.wanted.remove(&(client, clock, arrival));
        }
        Some(held)
    }

    /// These clients' clocks may have come on.
    fn wake(&mut self, frontier: &Frontier, clients: Vec<ClientId>) {
        for client in clients {
            let next = frontier.next(client);
            let come = self.wanted.range((client, 0, 0)..(client, next, 0));
            self.to_try.extend(come.map(|&(_, _, arrival)| arrival));
        }
    }
}

/// A large update to be gone through, or large ones that need not wait any more, with the hold-back
/// queue to do it to. Takes time in proportion to their bytes; run it where that does no harm. What
/// comes meanwhile is for afterwards.
pub struct Sift {
    holdback: HoldBack,
    update: Option<Update>,
    from: Option<SessionId>,
}

/// What came of a [`Sift`].
pub struct Sifted {
    /// The queue. What of the update waits has the place 0 in the log until the room gives it one.
    pub holdback: HoldBack,
    /// What of the update can be passed on.
    pub ready: Option<Update>,
    /// What became of the rest.
    pub rest: Option<Left>,
    /// What had waited and can be passed on, behind `ready`, in this order.
    pub released: Vec<(Option<SessionId>, Update)>,
}

/// What became of what cannot be passed on yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Left {
    /// It waits, or did until what had waited before was released.
    Held(Update),
    /// The very same waits already.
    Known,
    /// Too much waits.
    TooMuch,
}

impl Sift {
    /// `None`: only what has waited.
    pub fn new(holdback: HoldBack, update: Option<Update>, from: Option<SessionId>) -> Self {
        Self {
            holdback,
            update,
            from,
        }
    }

    /// Goes through it.
    pub fn run(self) -> Sifted {
        let Self {
            mut holdback,
            update,
            from,
        } = self;
        let Admitted { ready, rest } = match update {
            Some(update) => holdback.admit(update),
            None => Admitted {
                ready: None,
                rest: None,
            },
        };
        let rest = rest.map(|rest| {
            if holdback.holds(&rest) {
                return Left::Known;
            }
            if holdback.is_too_much(&rest) {
                return Left::TooMuch;
            }
            let update = rest.update.clone();
            holdback.hold(Held {
                sequence: 0,
                from,
                rest,
            });
            Left::Held(update)
        });
        let released = std::iter::from_fn(|| holdback.release()).collect();
        Sifted {
            holdback,
            ready,
            rest,
            released,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::histories::{apply, author, checked, content, history, steps};

    /// Passes an update on as a room does: here, or as if it were large.
    fn pass_on(
        holdback: HoldBack,
        update: Update,
        is_large: bool,
        out: &mut Vec<Update>,
    ) -> HoldBack {
        let mut holdback = holdback;
        if is_large {
            let sifted = Sift::new(holdback, Some(update), None).run();
            out.extend(sifted.ready);
            out.extend(sifted.released.into_iter().map(|(_, update)| update));
            return sifted.holdback;
        }
        let Admitted { ready, rest } = holdback.admit(update);
        out.extend(ready);
        if let Some(rest) = rest
            && !holdback.holds(&rest)
        {
            let (sequence, from) = (1, None);
            holdback.hold(Held {
                sequence,
                from,
                rest,
            });
        }
        out.extend(std::iter::from_fn(|| holdback.release()).map(|(_, update)| update));
        holdback
    }

    proptest! {
        #[test]
        fn in_any_order_everything_is_passed_on_and_nothing_is_left(
            steps in steps(),
            order in prop::collection::vec(any::<prop::sample::Index>(), 40),
            is_large in prop::collection::vec(any::<bool>(), 40),
        ) {
            let (mut updates, goal) = history(&steps);
            for (place, index) in order.iter().enumerate() {
                if place < updates.len() {
                    let other = index.index(updates.len());
                    updates.swap(place, other);
                }
            }
            let (mut holdback, replica) = (HoldBack::default(), author(2));
            let mut out = Vec::new();
            for (place, update) in updates.iter().enumerate() {
                let is_large = is_large[place % is_large.len()];
                holdback = pass_on(holdback, checked(update), is_large, &mut out);
            }
            for update in &out {
                apply(&replica, update.bytes());
            }
            prop_assert_eq!(content(&replica), content(&goal));
            prop_assert!(holdback.waiting.is_none());
            prop_assert_eq!(holdback.bytes(), 0);
        }
    }

    /// A character of this client at this clock.
    fn character(client: u8, clock: u8) -> Update {
        checked(&[1, 1, client, clock, 4, 1, 1, b't', 1, b'x', 0])
    }

    #[test]
    fn only_those_are_tried_again_that_wait_for_what_has_come() {
        let mut holdback = HoldBack::default();
        for client in 1..=100 {
            let rest = holdback.admit(character(client, 1)).rest.expect("a gap");
            holdback.hold(Held {
                sequence: u64::from(client),
                from: None,
                rest,
            });
        }
        holdback.admit(character(7, 0));
        let waiting = holdback.waiting.as_ref().expect("a hundred wait");
        assert_eq!(waiting.to_try.len(), 1);
        assert_eq!(waiting.wanted.len(), 100);
        assert_eq!(holdback.release(), Some((None, character(7, 1))));
        assert_eq!(holdback.release(), None);
        assert_eq!(holdback.held().count(), 99);
    }
}
