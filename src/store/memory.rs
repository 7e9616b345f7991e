//! A store that keeps everything in memory and nothing on disk: for tests, and to try things.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::model::RoomName;
use crate::store::{Sequence, Store, StoreError, Stored, Write};

/// Documents live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    documents: Mutex<HashMap<RoomName, Log>>,
}

#[derive(Debug, Default)]
struct Log {
    updates: Vec<(Sequence, Bytes)>,
    last: Sequence,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn documents(&self) -> MutexGuard<'_, HashMap<RoomName, Log>> {
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
                Write::Append { sequence, update } => {
                    log.updates.push((*sequence, update.clone()));
                    log.last = log.last.max(*sequence);
                }
                Write::Snapshot { through, update } => {
                    log.updates.retain(|(sequence, _)| through < sequence);
                    log.updates.insert(0, (*through, update.clone()));
                    log.last = log.last.max(*through);
                }
                Write::Quarantine { sequence } => {
                    log.updates.retain(|(kept, _)| kept != sequence);
                }
            }
        }
        Ok(())
    }

    fn is_immediate(&self) -> bool {
        true
    }
}
