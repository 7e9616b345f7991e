//! Awareness, trusted: client id to clock and state, who owns which id, and who must be told.
//!
//! Yjs clients tell each other who they are in *awareness states*, one for each client id, with a
//! clock that decides which of two is newer. Clients repeat whatever they hear, drop each other
//! when their link is lost, and come back with a clock that others know as gone. So this is no
//! relay of messages: it keeps the one true entry of every id, accepts changes from its owner only,
//! and raises clocks where somebody would otherwise stay unseen.
//!
//! * **Own ids.** The frame directly after a session's first step 1, if it is a single state, is
//!   its *announcement*; the id is the session's own. Everything about it comes from there. Other
//!   ids in its frames are echoes, and dropped, unless nobody announced them: then it passes them
//!   on for another tab of its browser, and holds them meanwhile.
//! * **Raise and nudge.** A raised clock makes everybody accept the state again. The owner is
//!   *nudged* to it by being told it is gone one clock below: it then goes one above by itself, and
//!   the next change of its state continues from there. Its answer has the same text at a clock
//!   already known, and passes no rule, so nothing goes on for ever.
//! * **Push.** A newcomer is sent all present states once its announcement is handled, at its first
//!   step 2 if it has none, or 300 ms after it opened. What it may know as gone is raised before:
//!   whatever did not rise since the client may last have been here.
//! * **Renewal.** The timers of a hidden tab run once a minute, and others drop whom they do not hear
//!   of for 30 s. Whoever is silent for 20 s, and whose socket answers, is renewed: raised, nudged,
//!   cast.
//! * **Memory.** Of a departed id the clock, and whose it is, are remembered for a minute.
//! * **Former users.** After that another user may use the id. That it was theirs is remembered while
//!   the room is loaded: when they announce it, it is theirs again.
//! * **Bounds.** A state that is too large, or one too many for its session or its user, is dropped
//!   alone. What was there before stays, and counts as renewed.
//! * **Hiding.** Of a user who hides, others are sent removals as if they had left; what their
//!   sessions say is kept, and sent at a raised clock when they appear again.
//!
//! Nothing here knows of sockets or the document. Inputs and a time go in; [`Event`]s come out and
//! say what is to be sent. Start with [`Awareness::receive`]; `memory` keeps the entries and
//! `session` what is known of a session.
//!
//! Whoever drives this sends a session nothing of awareness before its first [`Event::Push`]; that
//! sends [`Awareness::present`] without the entries it holds, and from then on, at the end of each
//! turn, what [`Awareness::since`] has for it.

mod bounds;
mod event;
mod former;
mod memory;
mod renewal;
mod session;

#[cfg(test)]
mod hostility;
#[cfg(test)]
mod limited;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::limits::{
    AWARENESS_CAST_AGAIN_AFTER, AWARENESS_CLOCK_MAX, AWARENESS_ENTRIES_MAX,
    AWARENESS_RETURN_WITHIN, CLIENT_ID_MAX,
};
use crate::model::{ClientId, Grant, SessionId, UserId};
use crate::room::stamp::{JSON_SPACE, Stamped, stamp};
use crate::small::{SmallIdMap, SmallSet};
use crate::wire::yjs::AwarenessUpdate;

pub use bounds::StateLimit;
pub use event::{Entry, Event};

use bounds::Accounts;
use memory::{Known, Memory};
use renewal::Renewal;
use session::Session;

/// All awareness states of one room. Pure: inputs and a time in, events out.
#[derive(Debug, Default)]
pub struct Awareness {
    memory: Memory,
    sessions: SmallIdMap<SessionId, Session>,
    pushes: SmallSet<(Timestamp, SessionId)>,
    renewal: Renewal,
    accounts: Accounts,
    /// When a session that did not hide last ended.
    last_end: Option<Timestamp>,
    /// The same of sessions without an own id.
    last_end_without_own: Option<Timestamp>,
    events: VecDeque<Event>,
}

impl Awareness {
    /// Nobody there, nobody remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// A session opens.
    pub fn open(&mut self, now: Timestamp, session: SessionId, grant: &Grant) {
        self.close(now, session);
        let member = Session::new(now, grant.clone());
        if let Some(push_at) = member.push_at {
            self.pushes.insert((push_at, session));
        }
        self.sessions.insert(session, member);
    }

    /// The session's grant was renewed: name or role may be others now; stamp again what differs.
    pub fn renew(&mut self, now: Timestamp, session: SessionId, grant: &Grant) {
        let Some(member) = self.sessions.get_mut(&session) else {
            return;
        };
        let (bytes, before) = (member.bytes, member.grant.identity.user.clone());
        self.accounts.change(&before, bytes, 0);
        self.accounts.change(&grant.identity.user, 0, bytes);
        member.grant = grant.clone();
        let held: Vec<_> = member.held.iter().copied().collect();
        for client in held {
            let text = self.memory.get(client).and_then(|known| known.text.clone());
            if let Some(text) = text
                && let Some(stamped) = stamp(grant, &text)
            {
                self.follow(now, session, client, 0, &text, stamped);
            }
        }
        self.refresh_shown(session);
    }

    /// The user hides from all others, or no longer, in all their sessions that are open.
    pub fn hide(&mut self, now: Timestamp, user: &UserId, hides: bool) {
        let mut concerned = BTreeSet::new();
        for member in self.sessions.values_mut() {
            let is_theirs = member.grant.is_participant && member.grant.identity.user == *user;
            if is_theirs && member.is_hidden != hides {
                member.is_hidden = hides;
                concerned.extend(member.held.iter().copied());
            }
        }
        for client in concerned {
            let has_state = |known: &Known| known.state.is_some();
            if hides && self.memory.withhold(client) {
                self.cast(now, client);
            } else if !hides && self.memory.get(client).is_some_and(has_state) {
                // All others know it as gone at the clock it may still have.
                self.raise(now, client);
                self.memory.show(client);
                self.cast(now, client);
            }
        }
    }

    /// The session sent a sync step 1: the frame directly after it may be its announcement.
    pub fn step1(&mut self, _now: Timestamp, session: SessionId) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.hear_step1();
        }
    }

    /// The session sent a sync step 2 (the push is due at the latest now).
    pub fn step2(&mut self, now: Timestamp, session: SessionId) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.hear_frame();
            if member.push_at.is_some() {
                self.push(now, session, self.may_be_away_since(now, session));
            }
        }
    }

    /// The session sent some other frame that is no awareness.
    pub fn other(&mut self, _now: Timestamp, session: SessionId) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.hear_frame();
        }
    }

    /// The session sent awareness.
    pub fn receive(&mut self, now: Timestamp, session: SessionId, update: &AwarenessUpdate) {
        let Some(member) = self.sessions.get_mut(&session) else {
            return;
        };
        let is_after_step1 = member.hear_frame();
        member.taken_bytes = 0;
        let (sole, is_more) = {
            let mut said = said(update);
            (said.next(), said.next().is_some())
        };
        if let Some(sole) = sole
            && !is_more
            && !matches!(sole.what, What::Gone)
            && self.may_announce(session, &sole, is_after_step1)
        {
            let is_expected = self.is_expected(session, &sole);
            if let Some(member) = self.sessions.get_mut(&session) {
                member.is_own_unsure = !is_after_step1 && !is_expected;
            }
            self.announce(now, session, sole);
            return;
        }
        // Among others': it was asked for all it knows.
        let expected = said(update).find(|one| self.is_expected(session, one));
        let expected_id = expected.as_ref().map(|one| one.client);
        if let Some(one) = expected {
            self.announce(now, session, one);
        }
        for one in said(update).take(AWARENESS_ENTRIES_MAX) {
            if is_in_bounds(&one) && expected_id != Some(one.client) {
                self.receive_entry(now, session, one);
            }
        }
    }

    /// The session asks for everything (type 3).
    pub fn query(&mut self, _now: Timestamp, session: SessionId) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.hear_frame();
            self.events.push_back(Event::Push { session });
        }
    }

    /// The session ends: its states are removed first of all. Answers with the id that was its own.
    pub fn close(&mut self, now: Timestamp, session: SessionId) -> Option<ClientId> {
        let member = self.sessions.remove(&session)?;
        if let Some(push_at) = member.push_at {
            self.pushes.remove(&(push_at, session));
        }
        let user = &member.grant.identity.user;
        self.accounts.change(user, member.bytes, 0);
        for &client in member.held.iter() {
            let was_present = self.memory.clear(client);
            self.memory.release(now, client);
            if was_present {
                self.cast(now, client);
            }
        }
        if !member.is_hidden {
            self.last_end = Some(now);
            if member.own.is_none() {
                self.last_end_without_own = Some(now);
            }
        }
        if member.shown.is_some() {
            self.events.push_back(Event::Shows {
                session,
                appearance: None,
            });
        }
        member.own
    }

    /// The session has come back to what its client had closed: whatever state it brings of this id
    /// announces it anew, at whichever clock, since the client may have been made anew as well.
    pub fn expect(&mut self, session: SessionId, own: ClientId) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.expected = Some(own);
        }
    }

    /// Whether the frame brings a state of the sender's own id, if it had this one when its client
    /// closed it. Without one, it is told by what would make it the session's own.
    pub fn is_own(&self, grant: &Grant, own: Option<ClientId>, update: &AwarenessUpdate) -> bool {
        let is_sole = said(update).nth(1).is_none();
        let mut states = said(update)
            .filter(is_in_bounds)
            .filter(|one| !matches!(one.what, What::Gone));
        match own {
            Some(own) => states.any(|one| one.client == own),
            None => is_sole && states.any(|one| self.is_new(grant, &one)),
        }
    }

    /// Whether the state is of an id that nobody has, at a clock that nobody has seen: what tells it from
    /// an echo.
    fn is_new(&self, grant: &Grant, one: &Said<'_>) -> bool {
        self.memory.get(one.client).is_none_or(|known| {
            let is_above = known.entry.session.is_none() && known.entry.clock < one.clock;
            is_above && known.may_pass_to(grant)
        })
    }

    /// Whether the entry is of the id that the session had when its client closed it, and no other
    /// session has it by now.
    fn is_expected(&self, session: SessionId, one: &Said<'_>) -> bool {
        let Some(member) = self.sessions.get(&session) else {
            return false;
        };
        let is_free = |known: &Known| {
            known.entry.session.is_none_or(|holder| holder == session)
                && known.may_pass_to(&member.grant)
        };
        member.own.is_none()
            && member.expected == Some(one.client)
            && is_in_bounds(one)
            && !matches!(one.what, What::Gone)
            && self.memory.get(one.client).is_none_or(is_free)
    }

    /// Time passes: pushes that are due, silent owners, clocks to forget.
    pub fn tick(&mut self, now: Timestamp) {
        while let Some(&(due, session)) = self.pushes.first()
            && due <= now
        {
            self.push(now, session, self.may_be_away_since(now, session));
        }
        self.renew_silent(now);
        self.memory.forget(now);
    }

    /// When `tick` is needed next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let next_push = self.pushes.first().map(|&(due, _)| due);
        next_push
            .into_iter()
            .chain(self.renewal.next_deadline())
            .chain(self.memory.next_forgotten())
            .min()
    }

    /// The next thing to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Nothing happens for a while: gives back the room that was made when much did.
    pub fn rest(&mut self) {
        self.events.shrink_to_fit();
    }

    /// The newest version given to any entry.
    pub fn version(&self) -> u64 {
        self.memory.version()
    }

    /// The entries cast after `version`, oldest cast first; with those gone.
    pub fn since(&self, version: u64) -> impl Iterator<Item = &Entry> {
        self.memory.since(version)
    }

    /// The entries that have a state, oldest cast first.
    pub fn present(&self) -> impl Iterator<Item = &Entry> {
        self.memory.present()
    }

    /// The entry of one id, present or departed.
    pub fn entry(&self, client: ClientId) -> Option<&Entry> {
        self.memory.get(client).map(|known| &known.entry)
    }

    /// Entries remembered, present and departed: for bounds and tests.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// How much of the room made in maps and queues is for nobody.
    #[cfg(test)]
    pub(super) fn spare(&self) -> usize {
        let sessions = self.sessions.capacity() - self.sessions.len();
        sessions + self.events.capacity() + self.memory.spare()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a frame with a single state makes its id the session's own.
    fn may_announce(&mut self, session: SessionId, one: &Said<'_>, is_after_step1: bool) -> bool {
        let Some(member) = self.sessions.get_mut(&session) else {
            return false;
        };
        if member.own.is_some() || !is_in_bounds(one) || !member.has_room_for(one.client) {
            return false;
        }
        if self.is_expected(session, one) {
            return true;
        }
        let Some(member) = self.sessions.get_mut(&session) else {
            return false;
        };
        let Some(known) = self.memory.get(one.client) else {
            return true;
        };
        // A state set long after the opening is told from an echo by a clock that nobody has seen.
        let is_above = known.entry.clock < one.clock;
        let user = &member.grant.identity.user;
        let is_former = known.user != *user && self.memory.was(one.client, user);
        if is_former && member.is_hidden {
            // Whoever uses it now would see that its former user is here.
            member.claimed = Some(one.client);
            return false;
        }
        if is_former {
            return is_after_step1 || is_above || member.claimed == Some(one.client);
        }
        let is_new = known.entry.session.is_none() && is_above;
        (is_after_step1 || is_new) && known.may_pass_to(&member.grant)
    }

    /// The id becomes the session's own, from wherever it was.
    fn announce(&mut self, now: Timestamp, session: SessionId, one: Said<'_>) {
        let Said { client, clock, .. } = one;
        let (text, kept);
        let stamped = match self.admit_said(session, &one) {
            Admission::Gone => return,
            Admission::State(said, stamped) => {
                text = said;
                stamped
            }
            Admission::Dropped => {
                // What its user shows by another link stays, and is held by this one from now on.
                kept = self.kept(session, client);
                let Some(stamped) = kept.as_deref().and_then(|kept| self.stamp(session, kept))
                else {
                    return;
                };
                text = kept.as_deref().unwrap_or_default();
                stamped
            }
        };
        let is_pushed = match self.sessions.get_mut(&session) {
            Some(member) => {
                member.claimed = None;
                member.push_at.is_none()
            }
            None => return,
        };
        // Since when the client may know others as gone that are not.
        let away_since = self
            .memory
            .get(client)
            .map(|known| known.left.unwrap_or(now));
        // An unknown id counts as known at this clock, as others may know it from before a restart.
        if let Some(member) = self.sessions.get(&session) {
            self.memory.learn(now, client, clock, &member.grant);
        }
        let previous = self.hold(session, client, true);
        if let Some(known) = self.memory.get_mut(client) {
            known.heard = clock;
            self.renewal.watch(known.cast);
        }
        let before = self.entry(client).map(|entry| entry.clock);
        self.follow(now, session, client, clock, text, stamped);
        if let Some(known) = self.memory.get(client)
            && clock < known.entry.clock
            && before == Some(known.entry.clock)
        {
            // Taken over as it is, but the last nudge was lost with the old link. Below the known
            // clock its renewals would go unheard.
            let clock = known.entry.clock - 1;
            self.events.push_back(Event::Nudge {
                session,
                client,
                clock,
            });
        }
        self.refresh_shown(session);
        // Second, so that a user who moves from one link to another is never without.
        if let Some(previous) = previous {
            self.refresh_shown(previous);
        }
        if !is_pushed || away_since.is_some() {
            let away_since = away_since.max(self.may_be_away_since(now, session));
            self.push(now, session, away_since);
        }
    }

    /// One entry of a frame that is no announcement.
    fn receive_entry(&mut self, now: Timestamp, session: SessionId, one: Said<'_>) {
        let (client, is_gone) = (one.client, matches!(one.what, What::Gone));
        let Some(known) = self.memory.get_mut(client) else {
            if !is_gone {
                self.pass_on(now, session, one);
            }
            return;
        };
        let is_held_here = known.entry.session == Some(session);
        if known.is_announced && known.entry.session.is_some() {
            if !is_held_here {
                return; // An echo, or the null of a client that lost its link.
            }
            let is_repeat = one.clock == known.heard && known.state.is_some() && !is_gone;
            if one.clock < known.heard || is_repeat {
                return;
            }
            known.heard = one.clock;
            if is_gone {
                let is_nudge = one.clock + 1 == known.entry.clock && known.state.is_some();
                self.remove(now, session, client, one.clock);
                if is_nudge {
                    self.doubt(session, client);
                }
            } else {
                self.hear_of(now, session, one);
            }
            return;
        }
        let clock = match is_held_here {
            true => one.clock + known.ahead,
            false => one.clock,
        };
        // Whatever is not above the known clock is an echo, above all of somebody who just left.
        if !is_gone && known.entry.clock < clock {
            self.pass_on(now, session, Said { clock, ..one });
        } else if is_gone && is_held_here && known.entry.clock <= clock {
            self.remove(now, session, client, clock);
        }
    }

    /// The owner says more of itself. If there is no room for that, what it said before is renewed.
    fn hear_of(&mut self, now: Timestamp, session: SessionId, one: Said<'_>) {
        let Said { client, clock, .. } = one;
        match self.admit_said(session, &one) {
            Admission::Gone => {}
            Admission::State(text, stamped) => {
                self.follow(now, session, client, clock, text, stamped);
            }
            Admission::Dropped => {
                if let Some(kept) = self.kept(session, client)
                    && let Some(stamped) = self.stamp(session, &kept)
                {
                    self.follow(now, session, client, clock, &kept, stamped);
                }
            }
        }
    }

    /// The session brings the state of an id that nobody announced: of another tab, whose own link
    /// is down or not yet up.
    fn pass_on(&mut self, now: Timestamp, session: SessionId, one: Said<'_>) {
        let Said { client, clock, .. } = one;
        let Some(member) = self.sessions.get(&session) else {
            return;
        };
        let is_free = self
            .memory
            .get(client)
            .is_none_or(|known| known.may_pass_to(&member.grant));
        if !is_free || !member.has_room_for(client) {
            return;
        }
        let kept;
        let (text, stamped) = match self.admit_said(session, &one) {
            Admission::Gone => return,
            Admission::State(text, stamped) => (text, stamped),
            Admission::Dropped => {
                kept = self.kept(session, client);
                let Some(kept) = kept.as_deref() else {
                    return;
                };
                let Some(stamped) = self.stamp(session, kept) else {
                    return;
                };
                (kept, stamped)
            }
        };
        if let Some(member) = self.sessions.get(&session) {
            self.memory.learn(now, client, clock, &member.grant);
        }
        let previous = self.hold(session, client, false);
        self.memory.advance(now, client, clock);
        self.put(now, session, client, text, stamped);
        if let Some(previous) = previous {
            self.refresh_shown(previous);
        }
    }

    /// The state that somebody sent as others may see it, if there is room for it.
    fn admit_said<'a>(&mut self, session: SessionId, one: &Said<'a>) -> Admission<'a> {
        let (limit, bytes) = match one.what {
            What::Gone => return Admission::Gone,
            What::TooLarge(bytes) => (StateLimit::State, bytes),
            What::State(text) => match self.admit(session, one.client, text) {
                Ok(stamped) => return Admission::State(text, stamped),
                Err(limit) => (limit, text.len()),
            },
        };
        self.drop_state(session, limit, bytes);
        Admission::Dropped
    }

    /// What the session's user said before under this id.
    fn kept(&self, session: SessionId, client: ClientId) -> Option<Arc<str>> {
        let user = &self.sessions.get(&session)?.grant.identity.user;
        let known = self.memory.get(client);
        known.filter(|known| known.user == *user)?.text.clone()
    }

    fn stamp<'a>(&self, session: SessionId, text: &'a str) -> Option<Stamped<'a>> {
        stamp(&self.sessions.get(&session)?.grant, text)
    }

    /// A state of a held id, at a clock that may not be above what others were told.
    fn follow(
        &mut self,
        now: Timestamp,
        session: SessionId,
        client: ClientId,
        clock: u64,
        text: &str,
        stamped: Stamped<'_>,
    ) {
        let Some(known) = self.memory.get_mut(client) else {
            return;
        };
        let is_same =
            known.text.as_deref() == Some(text) && known.state.as_deref() == Some(&*stamped.state);
        if known.entry.clock < clock {
            self.memory.advance(now, client, clock);
        } else if is_same {
            // The answer to a nudge; or the token changed what is shown beside the state.
            known.appearance = stamped.appearance;
            return;
        } else {
            // Sent before the nudge arrived. The owner's frames come in order, so it is the newer.
            self.raise(now, client);
        }
        self.put(now, session, client, text, stamped);
    }

    /// Gives a held id a state and tells everybody, unless its user hides.
    fn put(
        &mut self,
        now: Timestamp,
        session: SessionId,
        client: ClientId,
        text: &str,
        stamped: Stamped<'_>,
    ) {
        let bytes = |memory: &Memory| memory.get(client).map_or(0, Known::bytes);
        let before = bytes(&self.memory);
        let is_changed = self.memory.put(client, text, stamped);
        self.charge(session, before, bytes(&self.memory));
        if !self.is_hidden(session) {
            self.memory.show(client);
            self.cast(now, client);
        } else if self.memory.withhold(client) {
            self.cast(now, client);
        }
        self.refresh_shown(session);
        let is_participant = self
            .sessions
            .get(&session)
            .is_some_and(|member| member.grant.is_participant);
        if is_changed && is_participant {
            self.events.push_back(Event::Active { session });
        }
    }

    /// A null from the session that holds the id.
    fn remove(&mut self, now: Timestamp, session: SessionId, client: ClientId, clock: u64) {
        let is_higher = self
            .memory
            .get(client)
            .is_some_and(|known| known.entry.clock < clock);
        self.memory.advance(now, client, clock);
        let bytes = self.memory.get(client).map_or(0, Known::bytes);
        self.charge(session, bytes, 0);
        let was_present = self.memory.clear(client);
        if was_present || (is_higher && !self.is_hidden(session)) {
            self.cast(now, client);
        }
        self.refresh_shown(session);
    }

    /// Moves the id to the session, from another that it then belongs to no more.
    fn hold(
        &mut self,
        session: SessionId,
        client: ClientId,
        is_announced: bool,
    ) -> Option<SessionId> {
        let member = self.sessions.get_mut(&session)?;
        let previous = self.memory.get(client)?.entry.session;
        self.memory
            .hold(client, session, &member.grant, is_announced);
        member.held.insert(client);
        if is_announced {
            member.own = Some(client);
        }
        let previous = previous.filter(|&previous| previous != session)?;
        let bytes = self.memory.get(client).map_or(0, Known::bytes);
        self.charge(previous, bytes, 0);
        self.charge(session, 0, bytes);
        let former = self.sessions.get_mut(&previous)?;
        former.held.remove(&client);
        if former.own == Some(client) {
            former.own = None;
        }
        Some(previous)
    }

    /// The session repeated a nudge for its own id: it took it for the end of another tab. If it got
    /// the id without an announcement, it is another tab's.
    fn doubt(&mut self, session: SessionId, client: ClientId) {
        if let Some(member) = self.sessions.get_mut(&session)
            && member.is_own_unsure
            && let Some(known) = self.memory.get_mut(client)
        {
            member.own = None;
            known.is_announced = false;
        }
    }

    /// Sends the newcomer everybody else. `away_since`: whoever did not rise after that may be
    /// known to it as gone at the very clock they have, and is raised. Not for somebody who hides: the
    /// nudges would tell the others that somebody came. It sees them when they next renew or change
    /// their states.
    fn push(&mut self, now: Timestamp, session: SessionId, away_since: Option<Timestamp>) {
        let Some(member) = self.sessions.get_mut(&session) else {
            return;
        };
        if let Some(push_at) = member.push_at.take() {
            self.pushes.remove(&(push_at, session));
        }
        if let Some(away_since) = away_since.filter(|_| !member.is_hidden) {
            let others: Vec<_> = self
                .memory
                .present()
                .filter(|entry| entry.session != Some(session))
                .filter_map(|entry| self.memory.get(entry.client))
                .filter(|known| known.raised <= away_since)
                .map(|known| (known.entry.client, known.cast))
                .collect();
            for (client, cast) in others {
                self.raise(now, client);
                // The nudge restarts the owner's renewals, which keep it alive for all the others.
                if AWARENESS_CAST_AGAIN_AFTER < now.since(cast) {
                    self.cast(now, client);
                }
            }
        }
        self.events.push_back(Event::Push { session });
    }

    /// For a client that nothing tells from a newcomer, since when it may have been away: the last
    /// session that ended may have been its own, and one of the same user that did not end may be
    /// its old link. A client with an own id, never heard of before, can only have had one without.
    fn may_be_away_since(&self, now: Timestamp, session: SessionId) -> Option<Timestamp> {
        let newcomer = self.sessions.get(&session)?;
        let has_own = newcomer.own.is_some();
        let is_old_link = |(&other, member): (&SessionId, &Session)| {
            other != session
                && member.grant.identity.user == newcomer.grant.identity.user
                && (member.own.is_none() || !has_own)
        };
        if self.sessions.iter().any(is_old_link) {
            return Some(now);
        }
        let last_end = if has_own {
            self.last_end_without_own
        } else {
            self.last_end
        };
        last_end.filter(|&end| now.since(end) < AWARENESS_RETURN_WITHIN)
    }

    fn is_hidden(&self, session: SessionId) -> bool {
        self.sessions
            .get(&session)
            .is_some_and(|member| member.is_hidden)
    }

    fn raise(&mut self, now: Timestamp, client: ClientId) {
        if let Some((session, clock)) = self.memory.raise(now, client) {
            self.events.push_back(Event::Nudge {
                session,
                client,
                clock,
            });
        }
    }

    fn cast(&mut self, now: Timestamp, client: ClientId) {
        self.memory.cast(now, client);
        self.renewal.cast(now);
        self.events.push_back(Event::Cast { client });
    }

    /// Tells what the session shows now, if that is something else.
    fn refresh_shown(&mut self, session: SessionId) {
        let Some(member) = self.sessions.get_mut(&session) else {
            return;
        };
        // A tab whose own link is down shows its user through the tab that passes it on.
        let appearance = member
            .held
            .iter()
            .filter(|_| member.grant.is_participant)
            .filter_map(|&client| self.memory.get(client))
            .filter(|known| known.appearance.is_some())
            .max_by_key(|known| known.changed)
            .and_then(|known| known.appearance.clone());
        if member.shown != appearance {
            member.shown.clone_from(&appearance);
            self.events.push_back(Event::Shows {
                session,
                appearance: appearance.map(Box::new),
            });
        }
    }
}

/// One entry of a frame: what a session says of a client.
#[derive(Clone, Copy)]
struct Said<'a> {
    client: ClientId,
    clock: u64,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Gone,
    State(&'a str),
    /// So many bytes, which nobody has looked at.
    TooLarge(usize),
}

/// What came of a state.
enum Admission<'a> {
    Gone,
    State(&'a str, Stamped<'a>),
    /// There is no room for it.
    Dropped,
}

fn said(update: &AwarenessUpdate) -> impl Iterator<Item = Said<'_>> {
    let too_large = update.too_large().iter().map(|one| Said {
        client: one.client,
        clock: one.clock,
        what: What::TooLarge(one.bytes),
    });
    let entries = update.entries().map(|entry| Said {
        client: entry.client,
        clock: entry.clock,
        what: match entry.state {
            // A client reads `null` with space around it as `null` too.
            Some(text) if text.trim_matches(JSON_SPACE) != "null" => What::State(text),
            Some(_) | None => What::Gone,
        },
    });
    entries.chain(too_large)
}

fn is_in_bounds(one: &Said<'_>) -> bool {
    one.client.0 <= CLIENT_ID_MAX && one.clock <= AWARENESS_CLOCK_MAX
}
