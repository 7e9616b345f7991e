//! Awareness, trusted: client id to clock and state, who owns which id, and who must be told.

#![allow(missing_docs, unused_variables, clippy::todo)]

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::model::{ClientId, Grant, SessionId};
use crate::presence::Appearance;
use crate::wire::yjs::AwarenessUpdate;

/// All awareness states of one room. Pure: inputs and a time in, events out.
pub struct Awareness {}

/// What the room must do about it; drain with `poll_event` after every call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The entry changed: everybody but the session that owns it is to get its newest state (or its
    /// removal). Who is behind gets the newest only.
    Cast { client: ClientId },
    /// Send the owner the nudge `(client, clock, null)`.
    Nudge {
        session: SessionId,
        client: ClientId,
        clock: u64,
    },
    /// Send the session all present states except its own (again, if it had been sent them).
    Push { session: SessionId },
    /// What the session shows of its user (from its own state's `presence` or `user` object)
    /// changed in content; `None`: it shows nothing any more.
    Shows {
        session: SessionId,
        appearance: Option<Appearance>,
    },
    /// The session did something: a changed state (a renewal is none).
    Active { session: SessionId },
}

/// An entry as it is to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    pub client: ClientId,
    /// The clock last given out (`K`).
    pub clock: u64,
    /// The stamped state; `None` is gone.
    pub state: Option<Arc<str>>,
    /// Grows with every cast, over the whole room: who has seen version v needs what is above it.
    pub version: u64,
    /// The session holding it, which is never sent it.
    pub session: Option<SessionId>,
}

impl Awareness {
    pub fn new() -> Self {
        todo!()
    }
    /// A session opens.
    pub fn open(&mut self, now: Timestamp, session: SessionId, grant: &Grant) {
        todo!()
    }
    /// The session's grant was renewed: name or role may be others now; stamp again what differs.
    pub fn renew(&mut self, now: Timestamp, session: SessionId, grant: &Grant) {
        todo!()
    }
    /// The session sent a sync step 1: the frame directly after it may be its announcement.
    pub fn step1(&mut self, now: Timestamp, session: SessionId) {
        todo!()
    }
    /// The session sent a sync step 2 (the push is due at the latest now).
    pub fn step2(&mut self, now: Timestamp, session: SessionId) {
        todo!()
    }
    /// The session sent some other frame that is no awareness.
    pub fn other(&mut self, now: Timestamp, session: SessionId) {
        todo!()
    }
    /// The session sent awareness.
    pub fn receive(&mut self, now: Timestamp, session: SessionId, update: &AwarenessUpdate) {
        todo!()
    }
    /// The session asks for everything (type 3).
    pub fn query(&mut self, now: Timestamp, session: SessionId) {
        todo!()
    }
    /// The session ends: its states are removed first of all.
    pub fn close(&mut self, now: Timestamp, session: SessionId) {
        todo!()
    }
    /// Time passes: pushes that are due, clocks to forget.
    pub fn tick(&mut self, now: Timestamp) {
        todo!()
    }
    /// When `tick` is needed next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// The newest version given to any entry.
    pub fn version(&self) -> u64 {
        todo!()
    }
    /// The entries cast after `version`, oldest cast first; with those gone.
    pub fn since(&self, version: u64) -> impl Iterator<Item = &Entry> {
        [].iter()
    }
    /// The entries that have a state, oldest cast first.
    pub fn present(&self) -> impl Iterator<Item = &Entry> {
        [].iter()
    }
    /// Entries remembered, present and departed: for bounds and tests.
    pub fn len(&self) -> usize {
        todo!()
    }
}
