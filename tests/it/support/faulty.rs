//! The embedded store with faults on demand, and a memory of what it was asked and has done.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use copresence::clock::Timestamp;
use copresence::model::{RoomName, UserId};
use copresence::store::{
    BatchId, Departed, FollowsChange, FollowsError, People, PresenceRow, Record, Revocation,
    Revocations, Sequence, SqliteStore, Store, StoreError, Stored, Write,
};
use copresence::wire::validator;
use tempfile::TempDir;

use crate::support::document::Document;
use crate::support::time::polled;

/// A real store in a folder of its own, between it and the relay somebody who means no good.
pub struct FaultyStore {
    real: SqliteStore,
    faults: Mutex<Faults>,
    /// Something was released.
    released: Condvar,
    _folder: TempDir,
}

/// What is to go wrong, and what has happened.
#[derive(Default)]
pub struct Faults {
    write_error: Option<String>,
    is_write_held: bool,
    write_takes: Duration,
    answers_to_lose: usize,
    /// Writes that were carried out, and answered with an error.
    pub answers_lost: usize,
    revocations_error: Option<String>,
    load_errors: HashMap<String, String>,
    held_loads: HashSet<String>,
    /// How often each document was asked for.
    pub loads: HashMap<String, usize>,
    /// Calls of `write`, whatever became of them.
    pub writes_begun: usize,
    pub writes_failed: usize,
    /// The appends of each room whose `write` has returned well, in that order.
    pub appended: HashMap<String, Vec<Sequence>>,
    /// How many clocks they hold: characters, where people type.
    pub typed: HashMap<String, u64>,
}

impl FaultyStore {
    /// Nothing goes wrong yet.
    pub fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let real = SqliteStore::open(&folder.path().join("copresence.db")).unwrap();
        Arc::new(Self {
            real,
            faults: Mutex::default(),
            released: Condvar::new(),
            _folder: folder,
        })
    }

    /// Every write fails from now on, for this reason.
    pub fn fail_writes(&self, reason: &str) {
        self.faults().write_error = Some(reason.to_owned());
    }

    pub fn heal_writes(&self) {
        self.faults().write_error = None;
    }

    /// Whose tokens are refused cannot be read.
    pub fn fail_revocations(&self, reason: &str) {
        self.faults().revocations_error = Some(reason.to_owned());
    }

    pub fn heal_revocations(&self) {
        self.faults().revocations_error = None;
    }

    /// Puts a revocation into the store, by nobody's leave.
    pub fn revoke_directly(&self, revocation: &Revocation) {
        let batch = std::slice::from_ref(revocation);
        self.real.revoke(batch, Timestamp::ZERO).unwrap();
    }

    /// The revocations on disk.
    pub fn revocations_directly(&self) -> Vec<Revocation> {
        self.real.revocations(Timestamp::ZERO, usize::MAX).unwrap()
    }

    /// Writes begin and do not end until they are released.
    pub fn hold_writes(&self) {
        self.faults().is_write_held = true;
    }

    pub fn release_writes(&self) {
        self.faults().is_write_held = false;
        self.released.notify_all();
    }

    pub fn slow_writes(&self, each: Duration) {
        self.faults().write_takes = each;
    }

    /// So many more writes are carried out, but nobody hears of it.
    pub fn lose_answers(&self, count: usize) {
        let mut faults = self.faults();
        faults.answers_to_lose = faults.answers_lost + count;
    }

    /// The store itself, for who writes to it behind the relay's back.
    pub fn real(&self) -> &SqliteStore {
        &self.real
    }

    /// One document cannot be read.
    pub fn fail_loads(&self, room: &str, reason: &str) {
        let reason = reason.to_owned();
        self.faults().load_errors.insert(room.to_owned(), reason);
    }

    pub fn heal_loads(&self, room: &str) {
        self.faults().load_errors.remove(room);
    }

    /// Reading one document begins and does not end until it is released.
    pub fn hold_loads(&self, room: &str) {
        self.faults().held_loads.insert(room.to_owned());
    }

    pub fn release_loads(&self, room: &str) {
        self.faults().held_loads.remove(room);
        self.released.notify_all();
    }

    pub fn loads(&self, room: &str) -> usize {
        self.faults().loads.get(room).copied().unwrap_or(0)
    }

    /// The places of a room's updates that are on disk, in the order in which they came there.
    pub fn appended(&self, room: &str) -> Vec<Sequence> {
        let faults = self.faults();
        faults.appended.get(room).cloned().unwrap_or_default()
    }

    /// How many characters of a room are on disk.
    pub fn typed(&self, room: &str) -> u64 {
        let faults = self.faults();
        faults.typed.get(room).copied().unwrap_or_default()
    }

    /// Waits until what has happened is as it should.
    pub async fn until(&self, what: &str, holds: impl Fn(&Faults) -> bool) {
        polled(what, || {
            let answer = holds(&self.faults()).then_some(());
            async move { answer }
        })
        .await;
    }

    /// A document as it is on disk, whatever the relay has in memory.
    pub fn on_disk(&self, room: &str) -> Document {
        let stored = self.real.load(&RoomName::parse(room).unwrap()).unwrap();
        let document = Document::new(1);
        for (_, update) in &stored.updates {
            document.apply(update);
        }
        document
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `is_held`.
    fn wait_while(&self, is_held: impl Fn(&Faults) -> bool) -> MutexGuard<'_, Faults> {
        self.released
            .wait_while(self.faults(), |faults| is_held(faults))
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for FaultyStore {
    fn load(&self, room: &RoomName) -> Result<Stored, StoreError> {
        let name = room.as_str();
        *self.faults().loads.entry(name.to_owned()).or_default() += 1;
        let faults = self.wait_while(|faults| faults.held_loads.contains(name));
        if let Some(reason) = faults.load_errors.get(name) {
            return Err(StoreError::Down(reason.clone()));
        }
        drop(faults);
        self.real.load(room)
    }

    fn commit(&self, id: Option<BatchId>, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        self.faults().writes_begun += 1;
        let mut faults = self.wait_while(|faults| faults.is_write_held);
        if let Some(reason) = faults.write_error.clone() {
            faults.writes_failed += 1;
            return Err(StoreError::Down(reason));
        }
        let takes = faults.write_takes;
        drop(faults);
        thread::sleep(takes);
        self.real.commit(id, batch)?;
        let mut faults = self.faults();
        if faults.answers_lost < faults.answers_to_lose {
            faults.answers_lost += 1;
            faults.writes_failed += 1;
            return Err(StoreError::Down("the answer was lost".to_owned()));
        }
        for (room, write) in batch {
            if let Write::Append { sequence, update } = write {
                let appended = faults.appended.entry(room.as_str().to_owned());
                appended.or_default().push(*sequence);
                let update = validator::update(update.clone()).unwrap();
                let clocks = update.clock_ends().map(|(_, start, end)| end - start);
                *faults.typed.entry(room.as_str().to_owned()).or_default() += clocks.sum::<u64>();
            }
        }
        Ok(())
    }

    fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Result<Vec<RoomName>, StoreError> {
        self.real.rooms(after, limit)
    }

    fn probe(&self) -> Result<(), StoreError> {
        let faults = self.wait_while(|faults| faults.is_write_held);
        if let Some(reason) = faults.write_error.clone() {
            return Err(StoreError::Down(reason));
        }
        drop(faults);
        self.real.probe()
    }

    fn quarantined(&self, room: &RoomName) -> Result<Vec<(Sequence, Bytes)>, StoreError> {
        self.real.quarantined(room)
    }
}

/// What is recorded fails and waits as writes of documents do; all else is the real store's.
impl People for FaultyStore {
    fn record(&self, batch: &[Record]) -> Result<(), StoreError> {
        let faults = self.wait_while(|faults| faults.is_write_held);
        if let Some(reason) = faults.write_error.clone() {
            return Err(StoreError::Down(reason));
        }
        drop(faults);
        self.real.record(batch)
    }

    fn departed(&self, room: &RoomName, limit: usize) -> Result<Vec<Departed>, StoreError> {
        self.real.departed(room, limit)
    }

    fn feed_seen(&self, users: &[UserId]) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        self.real.feed_seen(users)
    }

    fn follows(&self, user: &UserId) -> Result<Vec<UserId>, StoreError> {
        self.real.follows(user)
    }

    fn change_follows(&self, user: &UserId, change: &FollowsChange) -> Result<(), FollowsError> {
        self.real.change_follows(user, change)
    }

    fn presences(&self, board: &str) -> Result<Vec<PresenceRow>, StoreError> {
        self.real.presences(board)
    }

    fn end_open_presences(&self, heard_until: Timestamp) -> Result<u64, StoreError> {
        self.real.end_open_presences(heard_until)
    }

    fn rooms_departed(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> Result<Vec<RoomName>, StoreError> {
        self.real.rooms_departed(after, limit)
    }

    fn feed_users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError> {
        self.real.feed_users(after, limit)
    }

    fn followers(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError> {
        self.real.followers(after, limit)
    }
}

/// Written as everything else is.
impl Revocations for FaultyStore {
    fn revoke(&self, batch: &[Revocation], kept_from: Timestamp) -> Result<(), StoreError> {
        let faults = self.wait_while(|faults| faults.is_write_held);
        if let Some(reason) = faults.write_error.clone() {
            return Err(StoreError::Down(reason));
        }
        drop(faults);
        self.real.revoke(batch, kept_from)
    }

    fn revocations(&self, since: Timestamp, limit: usize) -> Result<Vec<Revocation>, StoreError> {
        if let Some(reason) = self.faults().revocations_error.clone() {
            return Err(StoreError::Down(reason));
        }
        self.real.revocations(since, limit)
    }
}
