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
    Departed, FollowsChange, FollowsError, People, PresenceRow, Record, Revocation, Revocations,
    Sequence, Store, StoreError, Stored, TIME_MAX, Write,
};

/// Documents and people live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    documents: Mutex<BTreeMap<RoomName, Log>>,
    people: Mutex<Known>,
    /// By user and rooms.
    revocations: Mutex<BTreeMap<(UserId, Option<Pattern>), Timestamp>>,
}

#[derive(Debug, Default)]
struct Log {
    snapshot: Option<(Sequence, Bytes)>,
    updates: BTreeMap<Sequence, Bytes>,
    quarantined: Vec<(Sequence, Bytes)>,
    last: Sequence,
}

impl Log {
    fn carry_out(&mut self, write: &Write) {
        match write {
            Write::Append { sequence, update } if self.last < *sequence => {
                self.updates.insert(*sequence, update.clone());
                self.last = *sequence;
            }
            Write::Append { .. } => {}
            Write::Snapshot { through, update } => {
                let is_older = |(kept, _): &(Sequence, Bytes)| through < kept;
                if !self.snapshot.as_ref().is_some_and(is_older) {
                    self.snapshot = Some((*through, update.clone()));
                    self.updates = self.updates.split_off(&through.saturating_add(1));
                    self.last = self.last.max(*through);
                }
            }
            Write::Quarantine { sequence } => {
                let update = self.updates.remove_entry(sequence);
                let snapshot = self.snapshot.take_if(|(through, _)| through == sequence);
                for aside in update.into_iter().chain(snapshot) {
                    if !self.quarantined.contains(&aside) {
                        self.quarantined.push(aside);
                    }
                }
                self.quarantined.sort_by_key(|(sequence, _)| *sequence);
            }
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn documents(&self) -> MutexGuard<'_, BTreeMap<RoomName, Log>> {
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
        let Some(log) = documents.get(room) else {
            return Ok(Stored::default());
        };
        let updates = log.updates.iter().map(|(at, update)| (*at, update.clone()));
        Ok(Stored {
            updates: log.snapshot.iter().cloned().chain(updates).collect(),
            last: log.last,
        })
    }

    fn write(&self, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        let mut documents = self.documents();
        for (room, write) in batch {
            documents.entry(room.clone()).or_default().carry_out(write);
        }
        Ok(())
    }

    fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Result<Vec<RoomName>, StoreError> {
        Ok(keys_behind(&self.documents(), after, limit))
    }

    fn quarantined(&self, room: &RoomName) -> Result<Vec<(Sequence, Bytes)>, StoreError> {
        let documents = self.documents();
        Ok(documents
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
