//! Documents and people in PostgreSQL, for where a database is looked after already.
//!
//! A database has one writer: who holds a lock in it (`seat`). A batch of writes is one transaction, sent whole before the first answer is waited for, so it
//! costs one round trip and one flush however many rooms are in it. The tables are the same as
//! SQLite's, in the schema `collab`. Nothing here knows when to write or what an update means.
//!
//! Methods block and run the driver on the calling thread: call them from threads of your own, not
//! from within tokio. Start with [`PostgresStore`], then `session` for what is said to the
//! database, `batch` for how little of it there is, `people` for what is
//! kept of people, `revocations` for whom is refused, `connections` for what happens when the
//! database goes away, `seat` and `keeper` for the lock, `address` for URLs and TLS, `migrations` for the
//! tables.

mod address;
mod batch;
mod connections;
mod keeper;
mod migrations;
mod people;
mod revocations;
mod seat;
mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::RoomName;
use crate::store::{BatchId, OnTaken, Sequence, Store, StoreError, Stored, Write};
use address::Address;
use batch::{Batch, checksum};
use connections::{Connections, Trouble};
use keeper::Keeper;
use seat::Seat;
use session::Logged;

/// Rooms are loaded by a few threads; more connections would only queue in the database.
const READERS_MAX: usize = 4;
/// How long a batch may take that is small, a little more than the server gives a statement.
const WRITE_WITHIN: Duration = Duration::from_secs(40);
/// The slowest way to the database that is worth waiting for.
const BYTES_PER_SECOND_MIN: usize = 1 << 20;
/// How long a document may take to arrive: the largest, by a slow way.
const READ_WITHIN: Duration = Duration::from_secs(300);
/// How long a question that takes no time may take.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// Names asked for at once.
const ROOMS_MAX: usize = 10_000;

/// Who we are, for those who find the database in use.
const NAME: &str = "copresence";

/// Documents in a PostgreSQL database. Connections that fail are replaced at the next call.
pub struct PostgresStore {
    /// None for a store that was opened to be read.
    writer: Option<Writer>,
    readers: Connections,
}

/// The right to write, and who looks after it. The seat goes first, so that the keeper finds none.
struct Writer {
    seat: Arc<Seat>,
    _keeper: Keeper,
}

impl PostgresStore {
    /// Connects, takes the database's lock, and brings the tables up to date. The URL is libpq's,
    /// `postgres://user:password@host:port/database`, with several hosts, `target_session_attrs`
    /// and `sslmode` (`disable`, `prefer`, `require`; `verify-full`, with `sslrootcert` for an
    /// authority of your own) if need be. Fails with [`StoreError::Taken`] while another process has
    /// the lock.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_as(url, NAME)
    }

    /// The same under a name that others are told who find the database in use, unless the URL
    /// has one (`application_name`).
    pub fn open_as(url: &str, name: &str) -> Result<Self, StoreError> {
        Self::to_write(Address::parse(url, name)?, false)
    }

    /// The same, but while another process has the lock the store is opened all the same: it is down
    /// until it has the lock itself, and [`Store::awaits`] says whom it waits for.
    pub fn open_when_free(url: &str, name: &str) -> Result<Self, StoreError> {
        Self::to_write(Address::parse(url, name)?, true)
    }

    /// As [`open_as`](Self::open_as), for a database that must have the tables, perhaps older ones.
    pub fn open_existing(url: &str, name: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url, name)?;
        migrations::must_exist(&address).map_err(|trouble| unusable(trouble, &address))?;
        Self::to_write(address, false)
    }

    /// Opens a database to read it only, also while another process has it. Its tables must be those
    /// of this version.
    pub fn open_to_read(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url, NAME)?;
        migrations::must_be_current(&address).map_err(|trouble| unusable(trouble, &address))?;
        let store = Self {
            writer: None,
            readers: Connections::new(Arc::new(address), READERS_MAX),
        };
        store.warn_of_dangers();
        Ok(store)
    }

    fn to_write(address: Address, waits: bool) -> Result<Self, StoreError> {
        let address = Arc::new(address);
        let seat = Seat::take(Arc::clone(&address), waits).map_err(StoreError::at_opening)?;
        let seat = Arc::new(seat);
        let _keeper = Keeper::of(&seat)?;
        let store = Self {
            writer: Some(Writer { seat, _keeper }),
            readers: Connections::new(address, READERS_MAX),
        };
        if store.awaits().is_none() {
            store.warn_of_dangers();
        }
        Ok(store)
    }

    /// Takes migrations back, newest first, until `last` is the last; with 0 the documents are gone.
    /// The numbers of those that were taken back. Fails while another process has the database.
    pub fn undo_migrations(url: &str, last: u32) -> Result<Vec<u32>, StoreError> {
        let address = Arc::new(Address::parse(url, NAME)?);
        migrations::must_exist(&address).map_err(|trouble| unusable(trouble, &address))?;
        let _lock = Seat::hold(Arc::clone(&address)).map_err(StoreError::at_opening)?;
        migrations::undo(&address, last).map_err(|trouble| unusable(trouble, &address))
    }

    /// Shows the names behind `after`, in order, until there are no more or `limit` were counted by
    /// whom they are shown to.
    fn each_name(
        &self,
        after: &str,
        limit: usize,
        mut show: impl FnMut(&str) -> usize,
    ) -> Result<(), StoreError> {
        let (mut after, mut count) = (after.to_owned(), 0);
        while count < limit {
            let wanted = (limit - count).min(ROOMS_MAX);
            let page = self.readers()?.run(READ_WITHIN, async |session| {
                session.rooms(&after, wanted as i64).await
            })?;
            for name in &page {
                count = show(name);
            }
            match page.into_iter().next_back() {
                Some(name) => after = name,
                None => break,
            }
        }
        Ok(())
    }

    fn writer(&self) -> Result<&Seat, StoreError> {
        let refused = || StoreError::Unusable("it was opened to be read".to_owned());
        let writer = self.writer.as_ref().ok_or_else(refused)?;
        Ok(&writer.seat)
    }

    /// What others write meanwhile is not for who will be, or was, the writer: what it reads it goes
    /// on from.
    fn readers(&self) -> Result<&Connections, StoreError> {
        if let Some(writer) = &self.writer {
            writer.seat.may_be_asked()?;
        }
        Ok(&self.readers)
    }

    fn warn_of_dangers(&self) {
        match self.dangers() {
            Ok(dangers) => {
                for danger in dangers {
                    tracing::warn!(danger, "the database does not keep documents safe");
                }
            }
            // Whoever reads next hears of it.
            Err(error) => tracing::debug!(%error, "the database was not asked how safe it is"),
        }
    }

    fn dangers(&self) -> Result<Vec<String>, StoreError> {
        self.readers()?
            .run(READ_WITHIN, async |session| session.dangers().await)
    }
}

impl Store for PostgresStore {
    fn load(&self, room: &RoomName) -> Result<Stored, StoreError> {
        let kept = self.readers()?.run(READ_WITHIN, async |session| {
            session.load(room.as_str()).await
        })?;
        let Some(kept) = kept else {
            return Ok(Stored::default());
        };
        let mut updates = intact(room, kept.snapshot)?;
        let through = updates.last().map_or(0, |&(through, _)| through);
        let mut log = intact(room, kept.log)?;
        log.retain(|&(sequence, _)| through < sequence);
        updates.append(&mut log);

        // Numbers may be missing in between: what was set aside, or never came to be. But the last
        // one given out must be here or set aside.
        let last = to_sequence(room, kept.last)?;
        let aside = to_sequence(room, kept.last_aside.unwrap_or(0))?;
        let reached = updates.last().map_or(0, |&(sequence, _)| sequence);
        if reached != last && aside.max(reached) != last {
            return Err(StoreError::Damaged {
                room: room.clone(),
                sequence: last,
                reason: format!("the log ends at {reached}"),
            });
        }
        Ok(Stored { updates, last })
    }

    fn commit(&self, id: Option<BatchId>, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let batch = Batch::new(batch).map_err(|error| StoreError::Unusable(error.to_string()))?;
        if batch.rooms.is_empty() {
            return Ok(());
        }
        let on_its_way = u64::try_from(batch.bytes / BYTES_PER_SECOND_MIN).unwrap_or(u64::MAX);
        let limit = WRITE_WITHIN.saturating_add(Duration::from_secs(on_its_way));
        writer.run(limit, async |session| session.write(id, &batch).await)
    }

    fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Result<Vec<RoomName>, StoreError> {
        let mut rooms = Vec::new();
        // A name that is none is not ours, and nobody can ask for it. It is a complaint.
        self.each_name(after.map_or("", RoomName::as_str), limit, |name| {
            rooms.extend(RoomName::parse(name).ok());
            rooms.len()
        })?;
        Ok(rooms)
    }

    fn quarantined(&self, room: &RoomName) -> Result<Vec<(Sequence, Bytes)>, StoreError> {
        let aside = self.readers()?.run(READ_WITHIN, async |session| {
            session.quarantined(room.as_str()).await
        })?;
        intact(room, aside)
    }

    fn awaits(&self) -> Option<String> {
        let writer = self.writer.as_ref();
        writer.and_then(|writer| writer.seat.awaits())
    }

    fn on_taken(&self, tell: OnTaken) {
        if let Some(writer) = &self.writer {
            writer.seat.on_taken(tell);
        }
    }

    fn probe(&self) -> Result<(), StoreError> {
        // A standby, or a server made to be read only, refuses.
        const PROBE: &str = "BEGIN READ WRITE; ROLLBACK";
        self.writer()?.run(PROBE_WITHIN, async |session| {
            session.client.batch_execute(PROBE).await
        })
    }

    fn complaints(&self) -> Result<Vec<String>, StoreError> {
        let mut complaints = self.dangers()?;
        complaints.extend(
            self.readers()?
                .run(READ_WITHIN, async |session| session.contradictions().await)?,
        );
        self.each_name("", usize::MAX, |name| {
            if RoomName::parse(name).is_err() {
                complaints.push(format!("{name:?} is no room name"));
            }
            0
        })?;
        complaints.extend(self.unreadable_people()?);
        Ok(complaints)
    }
}

fn unusable(trouble: Trouble, address: &Address) -> StoreError {
    trouble.into_store_error(address).at_opening()
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
