//! A store that keeps everything in memory and nothing on disk: for tests, and to try things.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::limits::{FOLLOWS_MAX, OFFLINE_PARTICIPANTS_MAX};
use crate::model::{Pattern, RoomName, UserId};
use crate::store::people::{presences_to_remove, storable};
use crate::store::{
    BatchId, Departed, FollowsChange, FollowsError, People, PresenceRow, Record, Revocation,
    Revocations, Sequence, Store, StoreError, Stored, TIME_MAX, Write,
};

/// Documents and people live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    documents: Mutex<Documents>,
    people: Mutex<Known>,
    /// By user and rooms.
    revocations: Mutex<BTreeMap<(UserId, Option<Pattern>), Timestamp>>,
}

#[derive(Debug, Default)]
struct Documents {
    logs: BTreeMap<RoomName, Log>,
    /// The last batch of each writer.
    batches: BTreeMap<u64, u64>,
    /// Empty but while a batch is carried out.
    undo: Vec<Undo>,
}

#[derive(Clone, Debug, Default)]
struct Log {
    snapshot: Option<(Sequence, Bytes)>,
    updates: BTreeMap<Sequence, Bytes>,
    quarantined: Vec<(Sequence, Bytes)>,
    last: Sequence,
}

/// The way back from a write.
#[derive(Debug)]
enum Undo {
    /// It changed nothing.
    Nothing,
    /// The log ended there.
    Append { last: Sequence },
    /// What the snapshot replaced, and where the log ended.
    Snapshot {
        snapshot: Option<(Sequence, Bytes)>,
        updates: BTreeMap<Sequence, Bytes>,
        last: Sequence,
    },
    /// All there was.
    Quarantine(Box<Log>),
    /// There was nothing.
    NewLog,
}

impl Documents {
    /// Carries out all of it, or nothing.
    fn carry_out(&mut self, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        let mut undo = std::mem::take(&mut self.undo);
        let mut conflict = None;
        for (room, write) in batch {
            let known = self.logs.get_mut(room);
            let is_new = known.is_none();
            let log = match known {
                Some(log) => log,
                None => self.logs.entry(room.clone()).or_default(),
            };
            if let Some(sequence) = log.has_no_place_for(write) {
                let room = room.clone();
                conflict = Some(StoreError::Conflict { room, sequence });
                break;
            }
            let way_back = log.carry_out(write);
            undo.push(if is_new { Undo::NewLog } else { way_back });
        }
        if conflict.is_some() {
            for ((room, write), undo) in batch.iter().zip(undo.drain(..)).rev() {
                self.take_back(room, write, undo);
            }
        }
        undo.clear();
        self.undo = undo;
        conflict.map_or(Ok(()), Err)
    }

    fn take_back(&mut self, room: &RoomName, write: &Write, undo: Undo) {
        if let Undo::NewLog = undo {
            self.logs.remove(room);
            return;
        }
        let Some(log) = self.logs.get_mut(room) else {
            return;
        };
        match undo {
            Undo::Append { last } => {
                if let Write::Append { sequence, .. } = write {
                    log.updates.remove(sequence);
                }
                log.last = last;
            }
            Undo::Snapshot {
                snapshot,
                mut updates,
                last,
            } => {
                updates.append(&mut log.updates);
                (log.snapshot, log.updates, log.last) = (snapshot, updates, last);
            }
            Undo::Quarantine(before) => *log = *before,
            Undo::Nothing | Undo::NewLog => {}
        }
    }
}

impl Log {
    /// The place, if something else is there or was.
    fn has_no_place_for(&self, write: &Write) -> Option<Sequence> {
        match write {
            Write::Append { sequence, update } if *sequence <= self.last => {
                let is_it = |(at, kept): &(Sequence, Bytes)| at == sequence && kept == update;
                let is_there = self.updates.get(sequence) == Some(update)
                    || self.quarantined.iter().any(is_it);
                (!is_there).then_some(*sequence)
            }
            Write::Snapshot { through, .. } => {
                let kept = self.snapshot.as_ref().map_or(0, |&(kept, _)| kept);
                (*through < kept).then_some(*through)
            }
            Write::Append { .. } | Write::Quarantine { .. } => None,
        }
    }

    fn carry_out(&mut self, write: &Write) -> Undo {
        let last = self.last;
        match write {
            Write::Append { sequence, update } if last < *sequence => {
                self.updates.insert(*sequence, update.clone());
                self.last = *sequence;
                Undo::Append { last }
            }
            // It is there.
            Write::Append { .. } => Undo::Nothing,
            Write::Snapshot { through, update } => {
                let behind = self.updates.split_off(&through.saturating_add(1));
                self.last = last.max(*through);
                Undo::Snapshot {
                    snapshot: self.snapshot.replace((*through, update.clone())),
                    updates: std::mem::replace(&mut self.updates, behind),
                    last,
                }
            }
            Write::Quarantine { sequence } => {
                let before = Box::new(self.clone());
                let update = self.updates.remove_entry(sequence);
                let snapshot = self.snapshot.take_if(|(through, _)| through == sequence);
                for aside in update.into_iter().chain(snapshot) {
                    if !self.quarantined.contains(&aside) {
                        self.quarantined.push(aside);
                    }
                }
                self.quarantined.sort_by_key(|(sequence, _)| *sequence);
                Undo::Quarantine(before)
            }
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn documents(&self) -> MutexGuard<'_, Documents> {
        // Nothing below panics while it holds the lock; if it ever does, the map is still whole.
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn people(&self) -> MutexGuard<'_, Known> {
        // As above.
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&self, room: &RoomName) -> Result<Stored, StoreError> {
        let documents = self.documents();
        let Some(log) = documents.logs.get(room) else {
            return Ok(Stored::default());
        };
        let updates = log.updates.iter().map(|(at, update)| (*at, update.clone()));
        Ok(Stored {
            updates: log.snapshot.iter().cloned().chain(updates).collect(),
            last: log.last,
        })
    }

    fn commit(&self, id: Option<BatchId>, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        let mut documents = self.documents();
        let last = id.and_then(|id| documents.batches.get(&id.writer).copied());
        if id.is_some_and(|id| last.is_some_and(|last| id.number <= last)) {
            return Ok(());
        }
        documents.carry_out(batch)?;
        if let Some(id) = id {
            documents.batches.insert(id.writer, id.number);
        }
        Ok(())
    }

    fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Result<Vec<RoomName>, StoreError> {
        Ok(keys_behind(&self.documents().logs, after, limit))
    }

    fn quarantined(&self, room: &RoomName) -> Result<Vec<(Sequence, Bytes)>, StoreError> {
        let documents = self.documents();
        Ok(documents
            .logs
            .get(room)
            .map_or_else(Vec::new, |log| log.quarantined.clone()))
    }

    fn is_immediate(&self) -> bool {
        true
    }
}

/// What is known of people.
#[derive(Debug, Default)]
struct Known {
    /// By board and session.
    presences: BTreeMap<(Arc<str>, Arc<str>), PresenceRow>,
    departed: BTreeMap<RoomName, BTreeMap<UserId, Departed>>,
    feed_seen: BTreeMap<UserId, Timestamp>,
    follows: BTreeMap<UserId, BTreeSet<UserId>>,
}

impl Known {
    fn write_down(&mut self, record: &Record) {
        match record {
            Record::Presence(row) => {
                let row = PresenceRow {
                    last_heartbeat_at: row.last_heartbeat_at.min(TIME_MAX),
                    connected_at: row.connected_at.min(TIME_MAX),
                    disconnected_at: row.disconnected_at.map(|at| at.min(TIME_MAX)),
                    ..row.clone()
                };
                let key = (Arc::clone(&row.board), Arc::clone(&row.session));
                self.presences.insert(key, row);
            }
            Record::Departed { room, person } => {
                let person = Departed {
                    name: storable(&person.name).into(),
                    avatar: person
                        .avatar
                        .as_deref()
                        .map(|avatar| storable(avatar).into()),
                    role: person.role.as_deref().map(|role| storable(role).into()),
                    last_seen: person.last_seen.min(TIME_MAX),
                    ..person.clone()
                };
                let people = self.departed.entry(room.clone()).or_default();
                let is_older = |known: &Departed| person.last_seen < known.last_seen;
                if !people.get(&person.user).is_some_and(is_older) {
                    people.insert(person.user.clone(), person);
                }
                if OFFLINE_PARTICIPANTS_MAX < people.len()
                    && let Some(last) = in_order(people.values()).pop()
                {
                    people.remove(&last.user);
                }
            }
            Record::FeedSeen { user, at } => {
                let seen = self.feed_seen.entry(user.clone()).or_default();
                *seen = (*at).min(TIME_MAX).max(*seen);
            }
        }
    }

    /// Removes what ended too long before the presences that have just ended.
    fn remove_old_presences(&mut self, batch: &[Record]) {
        let Some((ended_before, count)) = presences_to_remove(batch) else {
            return;
        };
        let mut old: Vec<_> = self
            .presences
            .iter()
            .filter_map(|(key, row)| Some((row.disconnected_at?, key.clone())))
            .filter(|(ended, _)| *ended < ended_before)
            .collect();
        old.sort();
        for (_, key) in old.into_iter().take(count) {
            self.presences.remove(&key);
        }
    }
}

/// The latest seen first.
fn in_order<'a>(people: impl Iterator<Item = &'a Departed>) -> Vec<Departed> {
    let mut people: Vec<_> = people.cloned().collect();
    people.sort_by(|a, b| {
        let key = |person: &Departed| Reverse(person.last_seen);
        key(a).cmp(&key(b)).then_with(|| a.user.cmp(&b.user))
    });
    people
}

impl People for MemoryStore {
    fn record(&self, batch: &[Record]) -> Result<(), StoreError> {
        let mut people = self.people();
        for record in batch.iter().filter(|record| record.is_storable()) {
            people.write_down(record);
        }
        people.remove_old_presences(batch);
        Ok(())
    }

    fn departed(&self, room: &RoomName, limit: usize) -> Result<Vec<Departed>, StoreError> {
        let people = self.people();
        let departed = people.departed.get(room);
        let mut departed = departed.map_or_else(Vec::new, |people| in_order(people.values()));
        departed.truncate(limit);
        Ok(departed)
    }

    fn feed_seen(&self, users: &[UserId]) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        let people = self.people();
        let users: BTreeSet<&UserId> = users.iter().collect();
        let seen = users
            .into_iter()
            .filter_map(|user| people.feed_seen.get_key_value(user));
        Ok(seen.map(|(user, at)| (user.clone(), *at)).collect())
    }

    fn follows(&self, user: &UserId) -> Result<Vec<UserId>, StoreError> {
        let people = self.people();
        let follows = people.follows.get(user).into_iter().flatten();
        Ok(follows.cloned().collect())
    }

    fn change_follows(&self, user: &UserId, change: &FollowsChange) -> Result<(), FollowsError> {
        change.check(user)?;
        let mut people = self.people();
        let mut follows = people.follows.get(user).cloned().unwrap_or_default();
        match change {
            FollowsChange::Replace(all) => follows = all.iter().cloned().collect(),
            FollowsChange::Add(other) => drop(follows.insert(other.clone())),
            FollowsChange::Remove(other) => drop(follows.remove(other)),
        }
        if FOLLOWS_MAX < follows.len() {
            return Err(FollowsError::TooMany);
        }
        people.follows.insert(user.clone(), follows);
        Ok(())
    }

    fn presences(&self, board: &str) -> Result<Vec<PresenceRow>, StoreError> {
        let people = self.people();
        let rows = people.presences.values();
        let mut rows: Vec<_> = rows.filter(|row| &*row.board == board).cloned().collect();
        rows.sort_by_key(|row| (row.connected_at, Arc::clone(&row.session)));
        Ok(rows)
    }

    fn end_open_presences(&self, heard_until: Timestamp) -> Result<u64, StoreError> {
        let mut count = 0;
        for row in self.people().presences.values_mut() {
            if row.disconnected_at.is_none() && row.last_heartbeat_at <= heard_until {
                row.disconnected_at = Some(row.last_heartbeat_at);
                count += 1;
            }
        }
        Ok(count)
    }

    fn rooms_departed(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> Result<Vec<RoomName>, StoreError> {
        Ok(keys_behind(&self.people().departed, after, limit))
    }

    fn feed_users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError> {
        Ok(keys_behind(&self.people().feed_seen, after, limit))
    }

    fn followers(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError> {
        Ok(keys_behind(&self.people().follows, after, limit))
    }
}

impl Revocations for MemoryStore {
    fn revoke(&self, batch: &[Revocation], kept_from: Timestamp) -> Result<(), StoreError> {
        // As above.
        let revocations = self.revocations.lock();
        let mut revocations = revocations.unwrap_or_else(PoisonError::into_inner);
        for one in batch {
            let key = (one.user.clone(), one.rooms.clone());
            let at = revocations.entry(key).or_default();
            *at = one.at.min(TIME_MAX).max(*at);
        }
        revocations.retain(|_, at| kept_from <= *at);
        Ok(())
    }

    fn revocations(&self, since: Timestamp, limit: usize) -> Result<Vec<Revocation>, StoreError> {
        let revocations = self.revocations.lock();
        let revocations = revocations.unwrap_or_else(PoisonError::into_inner);
        let since = revocations.iter().filter(|&(_, at)| since <= *at);
        let mut latest: Vec<_> = since
            .map(|((user, rooms), at)| Revocation {
                user: user.clone(),
                rooms: rooms.clone(),
                at: *at,
            })
            .collect();
        // Those of the same time stay in the order of their keys.
        latest.sort_by_key(|one| Reverse(one.at));
        latest.truncate(limit);
        Ok(latest)
    }
}

fn keys_behind<K: Ord + Clone, V>(map: &BTreeMap<K, V>, after: Option<&K>, limit: usize) -> Vec<K> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let behind = map.range::<K, _>((from, Bound::Unbounded));
    behind.take(limit).map(|(key, _)| key.clone()).collect()
}
