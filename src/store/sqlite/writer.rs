//! The one connection that writes: a batch is one transaction, and one sync of the log.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Transaction, TransactionBehavior, params,
};

use crate::limits::{BATCH_WRITERS_KEPT, PACK_FROM_WRITES};
use crate::model::RoomName;
use crate::store::sqlite::connection::{BUSY_FOR_MAX, Purpose, connect};
use crate::store::sqlite::opened_files::OpenedFiles;
use crate::store::sqlite::{down, number, packed};
use crate::store::{BatchId, Sequence, StoreError, Write};

/// Rooms whose row is known without asking. They are forgotten all at once, which costs each of
/// them one more query.
const KNOWN_ROOMS_MAX: usize = 65_536;
/// Free pages kept for what comes next (4 MiB), beside an eighth of the file.
const FREE_PAGES_KEPT: u32 = 1_024;
/// Free pages given back with one commit (2 MiB): what that takes is waited for.
const FREE_PAGES_RETURNED: u32 = 512;

/// Why a batch was not carried out.
#[derive(Debug)]
enum Failure {
    /// The database did not do it.
    Database(rusqlite::Error),
    /// There is something else at that place of that document.
    Conflict(RoomName, Sequence),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// Writes, from one thread at a time.
pub struct Writer {
    path: PathBuf,
    /// The files as they were when the store was opened: for good, because what this process knows
    /// of the documents is true of no others.
    opened: OpenedFiles,
    /// None after a failure: the next write begins with a new connection.
    connection: Option<Connection>,
    /// As of the last commit; this process alone writes, so it stays true.
    known: HashMap<RoomName, Row>,
    /// Whose batches were noted last.
    noted_writer: Option<u64>,
    /// Whether there may be free pages to give back.
    owes_space: bool,
    /// Whether updates that come in a large batch may share a row.
    shares_rows: bool,
    /// Whether the log still has what was deleted.
    has_remains: bool,
}

/// A document's row.
#[derive(Clone, Copy)]
struct Row {
    id: i64,
    last: Sequence,
}

/// What a batch does to a document.
struct Document<'a> {
    last_before: Sequence,
    last: Sequence,
    /// To be appended.
    updates: Vec<(Sequence, &'a [u8])>,
}

/// Appends to logs.
struct Appending<'a> {
    statement: CachedStatement<'a>,
    /// Whether several updates may share a row.
    packs: bool,
}

impl Writer {
    /// Writes to `path` through `connection`.
    pub fn new(path: PathBuf, connection: Connection, opened: OpenedFiles) -> Self {
        Self {
            path,
            opened,
            connection: Some(connection),
            known: HashMap::new(),
            noted_writer: None,
            owes_space: true,
            shares_rows: false,
            has_remains: true,
        }
    }

    /// From now on updates that come in a large batch may share a row.
    pub fn share_rows(&mut self) {
        self.shares_rows = true;
    }

    /// Gives back the pages that are kept in memory, and the log if there is something in it that was
    /// deleted: the beginning of the next would be written over the beginning of this one only.
    pub fn rest(&mut self) {
        let Some(connection) = &self.connection else {
            return;
        };
        if let Err(error) = connection.execute_batch("PRAGMA shrink_memory") {
            tracing::debug!(%error, "the store keeps its pages in memory");
        }
        if self.has_remains {
            // It does not wait for whoever reads for long: the next rest comes.
            let emptied = connection.busy_timeout(Duration::ZERO).and_then(|()| {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    row.get::<_, bool>(0)
                })
            });
            self.has_remains = !matches!(emptied, Ok(false));
            if let Err(error) = connection.busy_timeout(BUSY_FOR_MAX) {
                tracing::debug!(%error, "the store waits for nobody");
            }
        }
    }

    /// Carries out the batch, or nothing of it; nothing if it was carried out before.
    pub fn write(
        &mut self,
        id: Option<BatchId>,
        batch: &[(RoomName, Write)],
    ) -> Result<(), StoreError> {
        self.attempt(|writer| writer.try_write(id, batch))
    }

    /// Does something that is not about documents, or nothing of it.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.attempt(|writer| {
            let transaction = begin(&mut writer.connection, &writer.path)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok::<T, rusqlite::Error>(done)
        })
    }

    /// Whether it could write: takes the right to, and gives it back.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        self.attempt(|writer| begin(&mut writer.connection, &writer.path)?.finish())
    }

    /// Does something with the files that the path names, and knows afterwards that it still does.
    fn attempt<T, E: Into<Failure>>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        if self.connection.is_none() {
            // Another file in the place of ours is not to be touched.
            self.opened.check().map_err(StoreError::Down)?;
        }
        let done = act(self).map_err(|failure| match failure.into() {
            Failure::Database(error) => down(&self.path, error),
            Failure::Conflict(room, sequence) => StoreError::Conflict { room, sequence },
        });
        let done = done.and_then(|done| match self.opened.check() {
            Ok(()) => Ok(done),
            Err(why) => Err(StoreError::Down(why)),
        });
        if done.is_err() {
            self.begin_again();
        }
        done
    }

    /// After a failure: rows may be known that were rolled back, and what the connection thinks of
    /// the file is not to be relied on.
    pub fn begin_again(&mut self) {
        self.known.clear();
        self.connection = None;
    }

    fn try_write(
        &mut self,
        id: Option<BatchId>,
        batch: &[(RoomName, Write)],
    ) -> Result<(), Failure> {
        if KNOWN_ROOMS_MAX < self.known.len() {
            self.known.clear();
        }
        let transaction = begin(&mut self.connection, &self.path)?;
        if let Some(id) = id {
            if !note(&transaction, id)? {
                return Ok(());
            }
            if self.noted_writer != Some(id.writer) {
                forget_old_writers(&transaction)?;
                self.noted_writer = Some(id.writer);
            }
        }
        let mut appending = Appending {
            statement: transaction
                .prepare_cached("INSERT INTO document_update VALUES (?1, ?2, ?3, ?4, ?5)")?,
            packs: self.shares_rows && PACK_FROM_WRITES <= batch.len(),
        };
        let mut documents: BTreeMap<i64, Document<'_>> = BTreeMap::new();
        for (room, write) in batch {
            let row = match self.known.get_mut(room) {
                Some(row) => row,
                None => {
                    let row = find_or_add(&transaction, room)?;
                    self.known.entry(room.clone()).or_insert(row)
                }
            };
            let document = documents.entry(row.id).or_insert(Document {
                last_before: row.last,
                last: row.last,
                updates: Vec::new(),
            });
            match write {
                Write::Append { sequence, update } if row.last < *sequence => {
                    document.updates.push((*sequence, update));
                    row.last = *sequence;
                }
                Write::Append { sequence, update } => {
                    appending.append(row.id, &mut document.updates)?;
                    if !is_there(&transaction, row.id, *sequence, update)? {
                        return Err(Failure::Conflict(room.clone(), *sequence));
                    }
                }
                Write::Snapshot { through, update } => {
                    appending.append(row.id, &mut document.updates)?;
                    if !snapshot(&transaction, row.id, *through, update)? {
                        return Err(Failure::Conflict(room.clone(), *through));
                    }
                    row.last = row.last.max(*through);
                    self.owes_space = true;
                    self.has_remains = true;
                }
                Write::Quarantine { sequence } => {
                    appending.append(row.id, &mut document.updates)?;
                    quarantine(&transaction, row.id, *sequence)?;
                }
            }
            document.last = row.last;
        }
        let mut ending =
            transaction.prepare_cached("UPDATE document SET last = ?2 WHERE id = ?1")?;
        for (id, mut document) in documents {
            appending.append(id, &mut document.updates)?;
            if document.last_before < document.last {
                ending.execute(params![id, number(document.last)?])?;
            }
        }
        drop((appending, ending));
        if self.owes_space {
            self.owes_space = give_space_back(&transaction)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Appending<'_> {
    /// Appends the updates of a document, and leaves none.
    fn append(
        &mut self,
        document: i64,
        updates: &mut Vec<(Sequence, &[u8])>,
    ) -> rusqlite::Result<()> {
        match self.packs {
            true => packed::rows(updates).try_for_each(|row| self.append_row(document, row))?,
            false => (updates.chunks(1)).try_for_each(|row| self.append_row(document, row))?,
        }
        updates.clear();
        Ok(())
    }

    fn append_row(&mut self, document: i64, updates: &[(Sequence, &[u8])]) -> rusqlite::Result<()> {
        match *updates {
            [] => Ok(()),
            [(sequence, update)] => self.insert(document, sequence, update, None),
            [.., (last, _)] => {
                let row = packed::pack(updates).map_err(unwritable)?;
                self.insert(document, last, &row.body, Some(&row.parts))
            }
        }
    }

    fn insert(
        &mut self,
        document: i64,
        sequence: Sequence,
        body: &[u8],
        parts: Option<&str>,
    ) -> rusqlite::Result<()> {
        let checksum = crc32fast::hash(parts.map_or(body, str::as_bytes));
        let row = params![document, number(sequence)?, body, checksum, parts];
        self.statement.execute(row)?;
        Ok(())
    }
}

fn begin<'a>(
    connection: &'a mut Option<Connection>,
    path: &Path,
) -> rusqlite::Result<Transaction<'a>> {
    let connection = match connection {
        Some(connection) => connection,
        // Never creates: a file that is gone must not be replaced by an empty one.
        none => none.insert(connect(path, Purpose::Write)?),
    };
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Notes a batch as carried out; `false` if it was before.
fn note(transaction: &Transaction<'_>, id: BatchId) -> rusqlite::Result<bool> {
    const NOTE: &str = "
        INSERT INTO batch (writer, number, at)
        VALUES (?1, ?2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
        ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at
        WHERE number < excluded.number";
    let noted = transaction.prepare_cached(NOTE)?.execute(id.as_signed())?;
    Ok(0 < noted)
}

fn forget_old_writers(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    const FORGET: &str = "
        DELETE FROM batch WHERE writer IN (
            SELECT writer FROM batch ORDER BY at DESC, writer LIMIT -1 OFFSET ?1)";
    transaction.execute(FORGET, [BATCH_WRITERS_KEPT])?;
    Ok(())
}

/// Whether this very update is at that place: in a row of its own, as part of one, or set aside.
fn is_there(
    transaction: &Transaction<'_>,
    document: i64,
    sequence: Sequence,
    update: &[u8],
) -> rusqlite::Result<bool> {
    const IN_LOG: &str = "
        SELECT sequence, length(body), checksum, parts FROM document_update
        WHERE document_id = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT 1";
    const ASIDE: &str = "
        SELECT EXISTS (SELECT 1 FROM document_quarantine
                       WHERE document_id = ?1 AND sequence = ?2 AND checksum = ?3)";
    let (place, checksum) = (number(sequence)?, i64::from(crc32fast::hash(update)));
    let in_log = transaction
        .prepare_cached(IN_LOG)?
        .query_row(params![document, place], |row| {
            let (last, kept): (i64, i64) = (row.get(0)?, row.get(2)?);
            let Some(parts) = row.get_ref(3)?.as_bytes_or_null()? else {
                return Ok(last == place && kept == checksum);
            };
            let last = u64::try_from(last).unwrap_or_default();
            let length: i64 = row.get(1)?;
            let length = usize::try_from(length).unwrap_or_default();
            let parts = packed::unpack(last, length, parts).unwrap_or_default();
            Ok(parts
                .iter()
                .any(|part| part.sequence == sequence && part.checksum == checksum))
        })
        .optional()?;
    if in_log == Some(true) {
        return Ok(true);
    }
    transaction
        .prepare_cached(ASIDE)?
        .query_row(params![document, place, checksum], |row| row.get(0))
}

fn find_or_add(transaction: &Transaction<'_>, room: &RoomName) -> rusqlite::Result<Row> {
    let found = transaction
        .prepare_cached("SELECT id, last FROM document WHERE room = ?1")?
        .query_row([room.as_str()], |row| {
            let (id, last): (i64, i64) = (row.get(0)?, row.get(1)?);
            let last = u64::try_from(last).unwrap_or_default();
            Ok(Row { id, last })
        })
        .optional()?;
    if let Some(row) = found {
        return Ok(row);
    }
    let id = transaction
        .prepare_cached("INSERT INTO document (room, last) VALUES (?1, 0)")?
        .insert([room.as_str()])?;
    Ok(Row { id, last: 0 })
}

/// `false` if the one that is there reaches farther: this one's part of the log has gone already.
fn snapshot(
    transaction: &Transaction<'_>,
    document: i64,
    through: Sequence,
    update: &[u8],
) -> rusqlite::Result<bool> {
    // A row is of one side of it, so that it can go.
    give_rows_of_their_own(transaction, document, through)?;
    let through = number(through)?;
    let replaced = transaction
        .prepare_cached(
            "INSERT INTO document_snapshot VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (document_id) DO UPDATE
             SET through = excluded.through, body = excluded.body, checksum = excluded.checksum
             WHERE through <= excluded.through",
        )?
        .execute(params![document, through, update, crc32fast::hash(update)])?;
    if replaced == 0 {
        return Ok(false);
    }
    transaction
        .prepare_cached("DELETE FROM document_update WHERE document_id = ?1 AND sequence <= ?2")?
        .execute(params![document, through])?;
    Ok(true)
}

fn quarantine(
    transaction: &Transaction<'_>,
    document: i64,
    sequence: Sequence,
) -> rusqlite::Result<()> {
    const MOVES: [&str; 4] = [
        "INSERT OR IGNORE INTO document_quarantine
         SELECT document_id, sequence, body, checksum FROM document_update
         WHERE document_id = ?1 AND sequence = ?2",
        "DELETE FROM document_update WHERE document_id = ?1 AND sequence = ?2",
        "INSERT OR IGNORE INTO document_quarantine
         SELECT document_id, through, body, checksum FROM document_snapshot
         WHERE document_id = ?1 AND through = ?2",
        "DELETE FROM document_snapshot WHERE document_id = ?1 AND through = ?2",
    ];
    give_rows_of_their_own(transaction, document, sequence)?;
    for step in MOVES {
        transaction
            .prepare_cached(step)?
            .execute(params![document, number(sequence)?])?;
    }
    Ok(())
}

/// If the update at this place shares a row with others, each gets one. A row whose parts are damaged
/// stays as it is.
fn give_rows_of_their_own(
    transaction: &Transaction<'_>,
    document: i64,
    sequence: Sequence,
) -> rusqlite::Result<()> {
    let shared = transaction
        .prepare_cached(
            "SELECT rowid, sequence, body, parts FROM document_update
             WHERE document_id = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT 1",
        )?
        .query_row(params![document, number(sequence)?], |row| {
            let (id, last): (i64, i64) = (row.get(0)?, row.get(1)?);
            let body: Vec<u8> = row.get(2)?;
            let parts = row.get_ref(3)?.as_bytes_or_null()?.map(<[u8]>::to_vec);
            Ok((id, last, body, parts))
        })
        .optional()?;
    let Some((id, last, body, Some(parts))) = shared else {
        return Ok(());
    };
    let last = u64::try_from(last).unwrap_or_default();
    let parts = packed::unpack(last, body.len(), &parts).unwrap_or_default();
    if !parts.iter().any(|part| part.sequence == sequence) {
        return Ok(());
    }
    transaction
        .prepare_cached("DELETE FROM document_update WHERE rowid = ?1")?
        .execute([id])?;
    let mut inserting =
        transaction.prepare_cached("INSERT INTO document_update VALUES (?1, ?2, ?3, ?4, NULL)")?;
    for part in parts {
        let update = body.get(part.range).unwrap_or_default();
        let row = params![document, number(part.sequence)?, update, part.checksum];
        inserting.execute(row)?;
    }
    Ok(())
}

fn unwritable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

/// Gives some free pages back to the file system; whether there are more to give.
fn give_space_back(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let count = |pragma| transaction.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0));
    let kept = FREE_PAGES_KEPT.max(count("page_count")? / 8);
    let surplus = count("freelist_count")?.saturating_sub(kept);
    if surplus == 0 {
        return Ok(false);
    }
    let pages = surplus.min(FREE_PAGES_RETURNED);
    let mut statement = transaction.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {} // A row per page.
    Ok(pages < surplus)
}
