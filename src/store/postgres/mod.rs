//! Documents in PostgreSQL: for several nodes, or where a database is looked after already.
//!
//! A batch of writes is one transaction, sent whole before the first answer is waited for, so it
//! costs one round trip and one flush however many rooms are in it. The tables are the same as
//! SQLite's, in the schema `collab`. Nothing here knows when to write or what an update means.
//!
//! Methods block and run the driver on the calling thread: call them from threads of your own, not
//! from within tokio. Start with [`PostgresStore`], then `session` for what is said to the
//! database, `batch` for how little of it there is, `connections` for what happens when the
//! database goes away, `address` for URLs and TLS, `migrations` for the tables.

mod address;
mod batch;
mod connections;
mod migrations;
mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::RoomName;
use crate::store::{Sequence, Store, StoreError, Stored, Write};
use address::Address;
use batch::{Batch, checksum};
use connections::Connections;
use session::Logged;

/// Rooms are loaded by a few threads; more connections would only queue in the database.
const READERS_MAX: usize = 4;
/// How long a batch may take that is small, a little more than the server gives a statement.
const WRITE_WITHIN: Duration = Duration::from_secs(40);
/// The slowest way to the database that is worth waiting for.
const BYTES_PER_SECOND_MIN: usize = 1 << 20;
/// How long a document may take to arrive: the largest, by a slow way.
const READ_WITHIN: Duration = Duration::from_secs(300);
/// Names asked for at once.
const ROOMS_MAX: usize = 10_000;

/// Documents in a PostgreSQL database. Connections that fail are replaced at the next call.
pub struct PostgresStore {
    writer: Connections,
    readers: Connections,
}

impl PostgresStore {
    /// Connects and brings the tables up to date. The URL is libpq's,
    /// `postgres://user:password@host:port/database`, with several hosts, `target_session_attrs`
    /// and `sslmode` (`disable`, `prefer`, `require`; `verify-full`, with `sslrootcert` for an
    /// authority of your own) if need be.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let address = Arc::new(Address::parse(url)?);
        migrations::apply(&address).map_err(|trouble| trouble.into_store_error(&address))?;
        let store = Self {
            writer: Connections::new(Arc::clone(&address), 1),
            readers: Connections::new(address, READERS_MAX),
        };
        for danger in store.dangers()? {
            tracing::warn!(danger, "the database does not keep documents safe");
        }
        Ok(store)
    }

    /// Undoes the migrations behind `number`, and loses what is in the tables they made. For going
    /// back to an older version, with no store open.
    pub fn undo_migrations(url: &str, number: u32) -> Result<(), StoreError> {
        let address = Address::parse(url)?;
        migrations::undo(&address, number).map_err(|trouble| trouble.into_store_error(&address))
    }

    fn dangers(&self) -> Result<Vec<String>, StoreError> {
        self.readers
            .run(READ_WITHIN, async |session| session.dangers().await)
    }
}

impl Store for PostgresStore {
    fn load(&self, room: &RoomName) -> Result<Stored, StoreError> {
        let kept = self.readers.run(READ_WITHIN, async |session| {
            session.load(room.as_str()).await
        })?;
        let Some(last) = kept.last else {
            return Ok(Stored::default());
        };
        let updates = intact(room, kept.updates)?;
        // Nothing is behind `last`, unless somebody has meddled; then it is not given out again.
        let newest = updates.last().map_or(0, |&(sequence, _)| sequence);
        let last = to_sequence(room, last)?.max(newest);
        Ok(Stored { updates, last })
    }

    fn write(&self, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        let batch = Batch::new(batch).map_err(|error| StoreError::Down(error.to_string()))?;
        if batch.rooms.is_empty() {
            return Ok(());
        }
        let on_its_way = u64::try_from(batch.bytes / BYTES_PER_SECOND_MIN).unwrap_or(u64::MAX);
        let limit = WRITE_WITHIN.saturating_add(Duration::from_secs(on_its_way));
        self.writer
            .run(limit, async |session| session.write(&batch).await)
    }

    fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Result<Vec<RoomName>, StoreError> {
        let mut after = after.map_or_else(String::new, |room| room.as_str().to_owned());
        let mut rooms = Vec::new();
        while rooms.len() < limit {
            let wanted = (limit - rooms.len()).min(ROOMS_MAX);
            let page = self.readers.run(READ_WITHIN, async |session| {
                session.rooms(&after, wanted as i64).await
            })?;
            let is_end = page.len() < wanted;
            // A name that is none is not ours, and nobody can ask for it.
            rooms.extend(page.iter().filter_map(|name| RoomName::parse(name).ok()));
            match page.into_iter().next_back() {
                Some(name) if !is_end => after = name,
                _ => break,
            }
        }
        Ok(rooms)
    }

    fn quarantined(&self, room: &RoomName) -> Result<Vec<(Sequence, Bytes)>, StoreError> {
        let aside = self.readers.run(READ_WITHIN, async |session| {
            session.quarantined(room.as_str()).await
        })?;
        intact(room, aside)
    }

    fn complaints(&self) -> Result<Vec<String>, StoreError> {
        let mut complaints = self.dangers()?;
        complaints.extend(
            self.readers
                .run(READ_WITHIN, async |session| session.contradictions().await)?,
        );
        Ok(complaints)
    }
}

/// Checks that every body is the one that was written.
fn intact(room: &RoomName, logged: Vec<Logged>) -> Result<Vec<(Sequence, Bytes)>, StoreError> {
    let check = |(sequence, body, expected): Logged| {
        let sequence = to_sequence(room, sequence)?;
        if checksum(&body) == expected {
            return Ok((sequence, body));
        }
        Err(StoreError::Damaged {
            room: room.clone(),
            sequence,
            reason: "its checksum is another".to_owned(),
        })
    };
    logged.into_iter().map(check).collect()
}

fn to_sequence(room: &RoomName, stored: i64) -> Result<Sequence, StoreError> {
    u64::try_from(stored).map_err(|_| StoreError::Damaged {
        room: room.clone(),
        sequence: 0,
        reason: format!("{stored} is no place in a log"),
    })
}
