//! What outlives a room: the trait, and the stores behind it.
//!
//! A store keeps, per document, a log of updates with ascending sequence numbers, and snapshots
//! that replace the log up to a number. It knows nothing of Yjs: to it an update is bytes. Beside
//! the documents it keeps what is to be remembered of [`People`]: when they were last in a room or
//! in the feed, whom they follow, and the presences of boards; and the [`Revocations`], so that whoever
//! was shut out stays out.

mod memory;
mod migrations;
mod people;
#[cfg(feature = "postgres")]
mod postgres;
mod revocations;
mod sqlite;

use bytes::Bytes;

use crate::model::RoomName;

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

/// What keeps documents, [`People`] and [`Revocations`]. Methods block; they are called on threads made for it,
/// several at once.
pub trait Store: People + Revocations {
    /// Everything kept of a document; empty for one never seen.
    fn load(&self, room: &RoomName) -> Result<Stored, StoreError>;

    /// Carries out writes of any rooms in the order given, all or none; when it returns `Ok` they
    /// survive a loss of power. A write that was carried out before (the answer to it was lost)
    /// changes nothing.
    fn write(&self, batch: &[(RoomName, Write)]) -> Result<(), StoreError>;

    /// The names of the documents kept, in the order of their bytes, from behind `after`.
    fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Result<Vec<RoomName>, StoreError>;

    /// The updates of a document that were set aside, in the order of its log.
    fn quarantined(&self, room: &RoomName) -> Result<Vec<(Sequence, Bytes)>, StoreError>;

    /// What the store's own means say about its health; nothing when all is well.
    fn complaints(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

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
