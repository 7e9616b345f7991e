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
    updates: Vec<(Sequence, Bytes)>,
    quarantined: Vec<(Sequence, Bytes)>,
    last: Sequence,
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
        Ok(Stored {
            updates: log.updates.clone(),
            last: log.last,
        })
    }

    fn write(&self, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        let mut documents = self.documents();
        for (room, write) in batch {
            let log = documents.entry(room.clone()).or_default();
            match write {
                Write::Append { sequence, update } if log.last < *sequence => {
                    log.updates.push((*sequence, update.clone()));
                    log.last = *sequence;
                }
                Write::Append { .. } => {}
                Write::Snapshot { through, update } => {
                    log.updates.retain(|(sequence, _)| through < sequence);
                    log.updates.insert(0, (*through, update.clone()));
                    log.last = log.last.max(*through);
                }
                Write::Quarantine { sequence } => {
                    let aside = log.updates.extract_if(.., |(kept, _)| kept == sequence);
                    log.quarantined.extend(aside);
                }
            }
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
