//! A store that keeps everything in memory and nothing on disk: for tests, and to try things.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::model::RoomName;
use crate::store::{Sequence, Store, StoreError, Stored, Write};

/// Documents live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    documents: Mutex<BTreeMap<RoomName, Log>>,
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
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let documents = self.documents();
        let names = documents
            .range::<RoomName, _>((from, Bound::Unbounded))
            .map(|(name, _)| name);
        Ok(names.take(limit).cloned().collect())
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
