//! Documents and people in one SQLite file: the embedded store.
//!
//! A [`SqliteStore`] has the file for itself (a lock beside it), one connection that writes
//! ([`writer`]) and a few that read ([`readers`]). The file is in write-ahead-log mode with
//! `synchronous = FULL`: a commit is one append to the log and one sync, readers never wait for the
//! writer nor the writer for them. Before a commit is answered for, the file is looked for where it
//! should be (`opened_files`). It knows nothing of what the updates mean; a checksum beside each tells
//! whether it still is what was handed in. Start with [`SqliteStore::open`]; what is kept of
//! people is in `people` and `revocations`; the tables are described in `docs/schema.md`.

mod connection;
mod opened_files;
mod packed;
mod people;
mod reader;
mod readers;
mod revocations;
mod writer;

use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rusqlite::Transaction;

use crate::limits::STORE_READERS;
use crate::model::RoomName;
use crate::store::sqlite::connection::{
    Purpose, connect, is_current, keep_private, lock, make_folder, migrate, undo,
};
use crate::store::sqlite::opened_files::OpenedFiles;
use crate::store::sqlite::reader::{Fault, is_corruption};
use crate::store::sqlite::readers::Readers;
use crate::store::sqlite::writer::Writer;
use crate::store::{BatchId, Sequence, Store, StoreError, Stored, Write};

/// The store in a file.
pub struct SqliteStore {
    path: PathBuf,
    /// None for a store that was opened to be read.
    writer: Option<Mutex<Writer>>,
    readers: Readers,
    /// Held, not used. The last field: it is dropped after the connections.
    _lock: Option<File>,
}

impl SqliteStore {
    /// Opens the database, makes it if there is none (its folder, too), and brings its tables up to
    /// date. Fails while another process has it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_folder(path).map_err(|error| unusable(path, error))?;
        Self::open_for(path, Purpose::Create)
    }

    /// From now on updates of a document that come in a large batch may share a row: less work for a
    /// relay. Whoever copies a store has it row for row without.
    #[must_use]
    pub fn sharing_rows(mut self) -> Self {
        if let Some(writer) = &mut self.writer {
            let writer = writer.get_mut().unwrap_or_else(PoisonError::into_inner);
            writer.share_rows();
        }
        self
    }

    /// The same for a database that must be there.
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        must_exist(path)?;
        Self::open_for(path, Purpose::Write)
    }

    /// Opens a database that must be there to read it only, also while another process has it.
    pub fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        must_exist(path)?;
        let failed = |error| down(path, error).at_opening();
        let readers = Readers::open(path, 1).map_err(failed)?;
        if !readers.read(|reader| is_current(reader)).map_err(failed)? {
            return Err(unusable(path, "its tables are not those of this version"));
        }
        Ok(Self {
            path: path.to_owned(),
            writer: None,
            readers,
            _lock: None,
        })
    }

    /// Takes migrations back, newest first, until `last` is the last; with 0 the documents are gone.
    /// The numbers of those that were taken back. Fails while another process has the database.
    pub fn undo_migrations(path: &Path, last: u32) -> Result<Vec<u32>, StoreError> {
        must_exist(path)?;
        let _lock = lock(path)?;
        let mut connection =
            connect(path, Purpose::Write).map_err(|error| down(path, error).at_opening())?;
        undo(&mut connection, path, last).map_err(StoreError::at_opening)
    }

    fn open_for(path: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        keep_private(path, purpose).map_err(|error| unusable(path, error))?;
        let failed = |error| down(path, error).at_opening();
        let mut connection = connect(path, purpose).map_err(failed)?;
        migrate(&mut connection, path).map_err(StoreError::at_opening)?;
        let readers = Readers::open(path, STORE_READERS).map_err(failed)?;
        let opened = OpenedFiles::of(path).map_err(|error| unusable(path, error))?;
        let writer = Writer::new(path.to_owned(), connection, opened);
        Ok(Self {
            path: path.to_owned(),
            writer: Some(Mutex::new(writer)),
            readers,
            _lock: Some(lock),
        })
    }

    fn read<T, E: From<rusqlite::Error>>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.readers.read(read)
    }

    /// Does something in a transaction that may write; `Ok` means that it is on disk.
    fn transact<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.writer()?.transact(work)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let Some(writer) = &self.writer else {
            return Err(unusable(&self.path, "it was opened to be read"));
        };
        // Who panicked while writing has rolled back; what the file says is right.
        Ok(writer.lock().unwrap_or_else(|poisoned| {
            let mut writer = poisoned.into_inner();
            writer.begin_again();
            writer
        }))
    }

    fn failed(&self, room: &RoomName, fault: Fault) -> StoreError {
        match fault {
            Fault::Database(error) => down(&self.path, error),
            Fault::Damaged(sequence, reason) => StoreError::Damaged {
                room: room.clone(),
                sequence,
                reason,
            },
        }
    }
}

impl Store for SqliteStore {
    fn load(&self, room: &RoomName) -> Result<Stored, StoreError> {
        self.read(|transaction| reader::load(transaction, room))
            .map_err(|fault| self.failed(room, fault))
    }

    fn commit(&self, id: Option<BatchId>, batch: &[(RoomName, Write)]) -> Result<(), StoreError> {
        self.writer()?.write(id, batch)
    }

    fn rooms(&self, after: Option<&RoomName>, limit: usize) -> Result<Vec<RoomName>, StoreError> {
        let after = after.map_or("", RoomName::as_str);
        self.read(|transaction| reader::rooms(transaction, after, limit))
            .map_err(|error| down(&self.path, error))
    }

    fn quarantined(&self, room: &RoomName) -> Result<Vec<(Sequence, Bytes)>, StoreError> {
        self.read(|transaction| reader::quarantined(transaction, room))
            .map_err(|fault| self.failed(room, fault))
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.rooms(None, 1)?;
        self.writer()?.probe()
    }

    fn rest(&self) {
        self.readers.rest();
        if let Ok(mut writer) = self.writer() {
            writer.rest();
        }
    }

    fn complaints(&self) -> Result<Vec<String>, StoreError> {
        match self.read(|transaction| reader::complaints(transaction)) {
            Err(error) if is_corruption(&error) => Ok(vec![error.to_string()]),
            complaints => complaints.map_err(|error| down(&self.path, error)),
        }
    }
}

fn must_exist(path: &Path) -> Result<(), StoreError> {
    if path.is_file() {
        return Ok(());
    }
    Err(unusable(path, "there is no database"))
}

fn down(path: &Path, error: rusqlite::Error) -> StoreError {
    StoreError::Down(format!("{}: {error}", path.display()))
}

fn unusable(path: &Path, why: impl Display) -> StoreError {
    StoreError::Unusable(format!("{}: {why}", path.display()))
}

/// SQLite's integers are signed.
fn number(sequence: Sequence) -> rusqlite::Result<i64> {
    i64::try_from(sequence).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
