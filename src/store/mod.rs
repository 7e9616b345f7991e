//! What outlives a room: the trait, and the stores behind it.
//!
//! A store keeps, per document, a log of updates with ascending sequence numbers, and snapshots
//! that replace the log up to a number. It knows nothing of Yjs: to it an update is bytes. Beside
//! the documents it keeps what is to be remembered of [`People`]: when they were last in a room or
//! in the feed, whom they follow, and the presences of boards; and the [`Revocations`], so that whoever
//! was shut out stays out.

mod batches;
mod memory;
mod migrations;
mod people;
#[cfg(feature = "postgres")]
mod postgres;
mod revocations;
mod sqlite;

use bytes::Bytes;

use crate::model::RoomName;

pub use batches::{BatchId, BatchIds};
pub use memory::MemoryStore;
pub use people::{
    Departed, FollowsChange, FollowsError, People, PresenceRow, Record, RecordedStatus, TIME_MAX,
    is_storable,
};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use revocations::{Revocation, Revocations};
pub use sqlite::SqliteStore;

/// The place of an update in its document's log; the first is 1.
pub type Sequence = u64;

/// One write. Writes of a room are carried out in the order they were handed in.
#[derive(Clone, Debug)]
pub enum Write {
    /// Appends to the document's log.
    Append {
        /// Its place.
        sequence: Sequence,
        /// A Yjs update, v1.
        update: Bytes,
    },
    /// Replaces everything up to and with `through`.
    Snapshot {
        /// The last update it contains.
        through: Sequence,
        /// A Yjs update, v1, that contains them all.
        update: Bytes,
    },
    /// Sets an update aside: it made the document fail, and is not loaded again.
    Quarantine {
        /// Its place.
        sequence: Sequence,
    },
}

/// A document as stored.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The snapshot, if any, then the log, in order.
    pub updates: Vec<(Sequence, Bytes)>,
    /// The last sequence number given out.
    pub last: Sequence,
}

/// Why a store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot read or write now; it may later.
    #[error("the store is down: {0}")]
    Down(String),
    /// It is none that could be used like this, and waiting changes nothing.
    #[error("{0}")]
    Unusable(String),
    /// Another process has it to write to, and it has but one writer.
    #[error("{0}")]
    Taken(String),
    /// There is something else at a place that is to be written: somebody else has written to the
    /// store, and nothing of the batch is carried out.
    #[error(
        "the document of {room} has something else at {sequence} than what is to be written there: \
         another process has written to the store"
    )]
    Conflict {
        /// Whose document.
        room: RoomName,
        /// The place in its log.
        sequence: Sequence,
    },
    /// What it kept of one document is not what it was given. Others are not affected.
    #[error("the document of {room} is damaged at {sequence}: {reason}")]
    Damaged {
        /// Whose document.
        room: RoomName,
        /// The place in its log.
        sequence: Sequence,
        /// What is wrong there.
        reason: String,
    },
}

impl StoreError {
    /// Whether no later attempt can succeed, because others have had the store to write to.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Taken(_) | Self::Conflict { .. })
    }

    /// What is not there when a store is opened is not down: nothing has run yet.
    fn at_opening(self) -> Self {
        match self {
            Self::Down(why) => Self::Unusable(why),
            other => other,
        }
    }
}

/// Is told that another process has the store to write to.
pub type OnTaken = Box<dyn Fn(&StoreError) + Send + Sync>;

/// What keeps documents, [`People`] and [`Revocations`]. Methods block; they are called on threads made for it,
/// several at once.
pub trait Store: People + Revocations {
    /// Everything kept of a document; empty for one never seen.
    fn load(&self, room: &RoomName) -> Result<Stored, StoreError>;

    /// Carries out writes of any rooms in the order given, all or none; when it returns `Ok` they
    /// survive a loss of power. A batch whose `id` was carried out before (the answer to it was
    /// lost) changes nothing.
    ///
    /// An append at or before the end of its log, or a snapshot that reaches less far than the one
    /// there is, has no place any more: a [`StoreError::Conflict`], unless an append finds the very
    /// same update at its place, in the log or set aside.
    fn commit(&self, id: Option<BatchId>, batch: &[(RoomName, Write)]) -> Result<(), StoreError>;

    /// [`commit`](Self::commit) for who does not try again.
    fn write(&self, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        self.commit(None, batch)
    }

    /// The names of the documents kept, in the order of their bytes, from behind `after`.
    fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Result<Vec<RoomName>, StoreError>;

    /// The updates of a document that were set aside, in the order of its log.
    fn quarantined(&self, room: &RoomName) -> Result<Vec<(Sequence, Bytes)>, StoreError>;

    /// What the store's own means say about its health; nothing when all is well.
    fn complaints(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Whom it waits for before it can be used at all, if it does. Does not block.
    fn awaits(&self) -> Option<String> {
        None
    }

    /// Has somebody told, from whatever thread notices, when another process has taken the store
    /// from this one. From then on nothing is read or written.
    fn on_taken(&self, _tell: OnTaken) {}

    /// Whether it could be read and written just now, as far as can be told without doing so. It takes
    /// seconds at most.
    fn probe(&self) -> Result<(), StoreError> {
        self.rooms(None, 1).map(drop)
    }

    /// Nothing has been written for a while: gives back memory that serves for writing fast.
    fn rest(&self) {}

    /// Whether writing takes no time worth speaking of and cannot fail: carried out at once.
    fn is_immediate(&self) -> bool {
        false
    }
}
