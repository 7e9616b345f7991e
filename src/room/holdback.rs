//! The hold-back queue: updates whose foundation has not come yet.
//!
//! Real clients make them when they type before they are asked what they typed offline, and lose
//! their link before they say it. Such an update is kept like any other, and acknowledged; but nobody
//! is sent it, and the document does not see it, before everything it stands on has come. So what is
//! passed on can always be applied at once, by us and by everybody else.

use crate::limits::{HELD_BYTES_MAX, HELD_UPDATES_MAX};
use crate::model::SessionId;
use crate::room::document::Sequence;
use crate::wire::frontier::{Admitted, Frontier, Rest};
use crate::wire::yjs::Update;

/// How far everybody's clocks have been passed on, and what waits.
#[derive(Debug, Default)]
pub struct HoldBack {
    frontier: Frontier,
    held: Vec<Held>,
    bytes: usize,
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

impl HoldBack {
    /// Takes what can be passed on now.
    pub fn admit(&mut self, update: Update) -> Admitted {
        self.frontier.admit(update)
    }

    /// Whether this would be more than may wait.
    pub fn is_too_much(&self, rest: &Rest) -> bool {
        HELD_UPDATES_MAX <= self.held.len()
            || HELD_BYTES_MAX < self.bytes + rest.update.bytes().len()
    }

    /// Whether the very same waits already: a client brings it again each time it returns.
    pub fn holds(&self, rest: &Rest) -> bool {
        self.held.iter().any(|held| held.rest.update == rest.update)
    }

    /// Lets something wait.
    pub fn hold(&mut self, held: Held) {
        self.bytes += held.rest.update.bytes().len();
        self.held.push(held);
    }

    /// The next that need not wait any more, or what of it need not; call until `None`.
    pub fn release(&mut self) -> Option<(Option<SessionId>, Update)> {
        while let Some(place) = self.held.iter().position(|held| self.can_go_on(&held.rest)) {
            let held = self.held.remove(place);
            self.bytes -= held.rest.update.bytes().len();
            let Admitted { ready, rest } = self.frontier.admit(held.rest.update);
            if let Some(rest) = rest {
                self.hold(Held { rest, ..held });
            }
            if let Some(ready) = ready {
                return Some((held.from, ready));
            }
        }
        self.held.shrink_to_fit();
        None
    }

    /// Everything that waits, in no order.
    pub fn held_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.held.iter_mut()
    }

    /// Everything that waits, to be looked at anew.
    pub fn into_held(self) -> Vec<Held> {
        self.held
    }

    /// How many updates wait.
    pub fn updates(&self) -> usize {
        self.held.len()
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn can_go_on(&self, rest: &Rest) -> bool {
        let mut waits = rest.waits.iter();
        waits.any(|&(client, clock)| self.frontier.has(client, clock))
    }
}
