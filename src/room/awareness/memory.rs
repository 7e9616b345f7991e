//! What is known of every client id: its clock, its state, whose it is; for a minute after it left.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::limits::{AWARENESS_CLOCK_MAX, AWARENESS_DEPARTED_MAX, AWARENESS_MEMORY};
use crate::model::{ClientId, Grant, SessionId, UserId};
use crate::presence::Appearance;
use crate::room::awareness::Entry;
use crate::room::awareness::former::Former;
use crate::room::stamp::Stamped;
use crate::small::{SmallMap, SmallSet};

/// The entries of one room, with the order of their casts.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: SmallMap<ClientId, Known>,
    cast_order: SmallSet<(u64, ClientId)>,
    /// The part of `cast_order` that has a state.
    present_order: SmallSet<(u64, ClientId)>,
    /// Those that no session holds, by when to forget them.
    departed: SmallSet<(Timestamp, ClientId)>,
    former: Former,
    version: u64,
    /// Counts changes of content.
    changes: u64,
}

/// One client id.
#[derive(Debug)]
pub(super) struct Known {
    /// As others are to know it: without the state, if that is withheld from them.
    pub(super) entry: Entry,
    /// The stamped state.
    pub(super) state: Option<Arc<str>>,
    /// The state as its owner sent it. Comparing with the stamped one instead would take every
    /// answer to a nudge for a change, and nudge again.
    pub(super) text: Option<Arc<str>>,
    pub(super) appearance: Option<Appearance>,
    /// When its content last changed, counted over the room.
    pub(super) changed: u64,
    /// Whose it is, as long as it is remembered.
    pub(super) user: UserId,
    pub(super) is_stamped: bool,
    /// Whether its holder said that it is its own; otherwise it passes it on for another tab.
    pub(super) is_announced: bool,
    /// The highest clock its owner sent on this session.
    pub(super) heard: u64,
    /// So much the clock given out is above the one that its owner has, while that is behind another
    /// tab, and cannot be told.
    pub(super) ahead: u64,
    /// When the clock last rose.
    pub(super) raised: Timestamp,
    /// When everybody was last told.
    pub(super) cast: Timestamp,
    /// When its owner was last nudged, and so begins anew to count until it renews its state.
    pub(super) nudged: Timestamp,
    /// When the session that held it ended.
    pub(super) left: Option<Timestamp>,
}

impl Known {
    /// Whether somebody may have the id, as far as whose it is decides: it stays with its user.
    /// Guests get another user id with every connection, so among them a departed id is free.
    pub(super) fn may_pass_to(&self, grant: &Grant) -> bool {
        let is_among_guests = !self.is_stamped && !grant.is_stamped;
        let is_owned = self.entry.session.is_some() && self.is_announced;
        self.user == grant.identity.user || (is_among_guests && !is_owned)
    }

    /// How much its state is.
    pub(super) fn bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.len())
    }
}

impl Memory {
    pub(super) fn get(&self, client: ClientId) -> Option<&Known> {
        self.known.get(&client)
    }

    pub(super) fn get_mut(&mut self, client: ClientId) -> Option<&mut Known> {
        self.known.get_mut(&client)
    }

    /// Whether the id was this user's before it was forgotten.
    pub(super) fn was(&self, client: ClientId, user: &UserId) -> bool {
        self.former.was(client, user)
    }

    /// Begins to know an id: at this clock, without a state.
    pub(super) fn learn(&mut self, now: Timestamp, client: ClientId, clock: u64, grant: &Grant) {
        if self.known.contains_key(&client) {
            return;
        }
        let known = Known {
            entry: Entry {
                client,
                clock,
                state: None,
                version: 0,
                session: None,
            },
            state: None,
            text: None,
            appearance: None,
            changed: 0,
            user: grant.identity.user.clone(),
            is_stamped: grant.is_stamped,
            is_announced: false,
            heard: clock,
            ahead: 0,
            raised: now,
            cast: now,
            nudged: Timestamp::ZERO,
            left: None,
        };
        self.known.insert(client, known);
    }

    /// Gives the id to a session.
    pub(super) fn hold(
        &mut self,
        client: ClientId,
        session: SessionId,
        grant: &Grant,
        is_announced: bool,
    ) {
        if let Some(known) = self.known.get_mut(&client) {
            if let Some(left) = known.left.take() {
                self.departed.remove(&(left + AWARENESS_MEMORY, client));
            }
            if known.entry.session != Some(session) {
                known.ahead = 0;
            }
            known.entry.session = Some(session);
            known.user = grant.identity.user.clone();
            known.is_stamped = grant.is_stamped;
            known.is_announced = is_announced;
        }
        self.check();
    }

    /// The session that held the id has ended.
    pub(super) fn release(&mut self, now: Timestamp, client: ClientId) {
        if let Some(known) = self.known.get_mut(&client) {
            known.entry.session = None;
            known.left = Some(now);
            self.departed.insert((now + AWARENESS_MEMORY, client));
        }
        if AWARENESS_DEPARTED_MAX < self.departed.len() {
            self.forget_first();
        }
        self.check();
    }

    /// Takes over a clock that is above the known one.
    pub(super) fn advance(&mut self, now: Timestamp, client: ClientId, clock: u64) {
        if let Some(known) = self.known.get_mut(&client)
            && known.entry.clock < clock
        {
            known.entry.clock = clock;
            known.raised = now;
        }
    }

    /// Raises the clock by one, and answers with whom to nudge at which clock. Whoever passes an id on
    /// for another tab is not told: it would take that for the end of the other. Not above the largest
    /// clock that is accepted: others echo what they are sent.
    pub(super) fn raise(&mut self, now: Timestamp, client: ClientId) -> Option<(SessionId, u64)> {
        let known = self.known.get_mut(&client)?;
        let before = known.entry.clock;
        if AWARENESS_CLOCK_MAX <= before {
            return None;
        }
        known.entry.clock = before + 1;
        known.raised = now;
        if known.is_announced {
            known.ahead = 0;
            known.nudged = now;
            known.entry.session.map(|owner| (owner, before))
        } else {
            known.ahead += 1;
            None
        }
    }

    /// Gives the id a state, to be shown or withheld after; says whether that changes its content.
    pub(super) fn put(&mut self, client: ClientId, text: &str, stamped: Stamped<'_>) -> bool {
        let Some(known) = self.known.get_mut(&client) else {
            return false;
        };
        let is_changed = known.text.as_deref() != Some(text);
        if is_changed {
            self.changes += 1;
            known.changed = self.changes;
            known.text = Some(text.into());
        }
        if known.state.as_deref() != Some(&*stamped.state) {
            // Mostly what is sent on is what came: one copy serves for both.
            known.state = match &known.text {
                Some(text) if **text == *stamped.state => Some(text.clone()),
                _ => Some(stamped.state.into()),
            };
        }
        known.appearance = stamped.appearance;
        is_changed
    }

    /// Takes the id's state away, to be cast after; says whether others knew one.
    pub(super) fn clear(&mut self, client: ClientId) -> bool {
        if let Some(known) = self.known.get_mut(&client) {
            known.state = None;
            known.text = None;
            known.appearance = None;
        }
        self.withhold(client)
    }

    /// Lets others have the id's state, to be cast after.
    pub(super) fn show(&mut self, client: ClientId) {
        if let Some(known) = self.known.get_mut(&client) {
            known.entry.state.clone_from(&known.state);
        }
    }

    /// Others are to have no state of the id, to be cast after; says whether they had one.
    pub(super) fn withhold(&mut self, client: ClientId) -> bool {
        let Some(known) = self.known.get_mut(&client) else {
            return false;
        };
        self.present_order.remove(&(known.entry.version, client));
        known.entry.state.take().is_some()
    }

    /// Puts the id last in the order of casts, so that everybody who is told in that order is.
    pub(super) fn cast(&mut self, now: Timestamp, client: ClientId) {
        if let Some(known) = self.known.get_mut(&client) {
            let before = (known.entry.version, client);
            self.cast_order.remove(&before);
            self.present_order.remove(&before);
            self.version += 1;
            known.entry.version = self.version;
            known.cast = now;
            self.cast_order.insert((self.version, client));
            if known.entry.state.is_some() {
                self.present_order.insert((self.version, client));
            }
        }
        self.check();
    }

    /// Forgets whoever left a minute ago.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while self.next_forgotten().is_some_and(|due| due <= now) {
            self.forget_first();
        }
        self.check();
    }

    pub(super) fn next_forgotten(&self) -> Option<Timestamp> {
        self.departed.first().map(|&(due, _)| due)
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = &Entry> {
        self.cast_order
            .from((version + 1, ClientId(0)))
            .filter_map(|(_, client)| self.known.get(client))
            .map(|known| &known.entry)
    }

    pub(super) fn present(&self) -> impl Iterator<Item = &Entry> {
        self.present_order
            .iter()
            .filter_map(|(_, client)| self.known.get(client))
            .map(|known| &known.entry)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// How much of the room made for ids is for nobody.
    #[cfg(test)]
    pub(super) fn spare(&self) -> usize {
        self.known.capacity() - self.known.len()
    }

    fn forget_first(&mut self) {
        if let Some((_, client)) = self.departed.pop_first()
            && let Some(known) = self.known.remove(&client)
        {
            self.cast_order.remove(&(known.entry.version, client));
            if known.is_stamped {
                self.former.remember(client, &known.user);
            }
        }
    }

    fn check(&self) {
        debug_assert!(self.present_order.len() <= self.cast_order.len());
        debug_assert!(self.present_order.len() + self.departed.len() <= self.known.len());
        debug_assert!(self.cast_order.len() <= self.known.len());
    }
}
