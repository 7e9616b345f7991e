//! The one connection that writes: a batch is one transaction, and one sync of the log.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::{
    Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params,
};

use crate::model::RoomName;
use crate::store::sqlite::connection::{Purpose, connect};
use crate::store::sqlite::number;
use crate::store::{Sequence, Write};

/// Rooms whose row is known without asking. They are forgotten all at once, which costs each of
/// them one more query.
const KNOWN_ROOMS_MAX: usize = 65_536;
/// Free pages kept for what comes next (4 MiB), beside an eighth of the file.
const FREE_PAGES_KEPT: u32 = 1_024;
/// Free pages given back with one commit (2 MiB): what that takes is waited for.
const FREE_PAGES_RETURNED: u32 = 512;

/// Writes, from one thread at a time.
pub struct Writer {
    path: PathBuf,
    /// None after a failure: the next write begins with a new connection.
    connection: Option<Connection>,
    /// As of the last commit; this process alone writes, so it stays true.
    known: HashMap<RoomName, Row>,
    /// Whether there may be free pages to give back.
    owes_space: bool,
}

/// A document's row.
#[derive(Clone, Copy)]
struct Row {
    id: i64,
    last: Sequence,
}

impl Writer {
    /// Writes to `path` through `connection`.
    pub fn new(path: PathBuf, connection: Connection) -> Self {
        Self {
            path,
            connection: Some(connection),
            known: HashMap::new(),
            owes_space: true,
        }
    }

    /// Carries out the batch, or nothing of it.
    pub fn write(&mut self, batch: &[(RoomName, Write)]) -> rusqlite::Result<()> {
        let written = self.try_write(batch);
        if written.is_err() {
            self.begin_again();
        }
        written
    }

    /// Does something that is not about documents, or nothing of it.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let done = self.try_transact(work);
        if done.is_err() {
            self.begin_again();
        }
        done
    }

    fn try_transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction = begin(&mut self.connection, &self.path)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// After a failure: rows may be known that were rolled back, and what the connection thinks of
    /// the file is not to be relied on.
    pub fn begin_again(&mut self) {
        self.known.clear();
        self.connection = None;
    }

    fn try_write(&mut self, batch: &[(RoomName, Write)]) -> rusqlite::Result<()> {
        if KNOWN_ROOMS_MAX < self.known.len() {
            self.known.clear();
        }
        let transaction = begin(&mut self.connection, &self.path)?;
        let mut ends = BTreeMap::new();
        let mut appending =
            transaction.prepare_cached("INSERT INTO document_update VALUES (?1, ?2, ?3, ?4)")?;
        for (room, write) in batch {
            let row = match self.known.get_mut(room) {
                Some(row) => row,
                None => {
                    let row = find_or_add(&transaction, room)?;
                    self.known.entry(room.clone()).or_insert(row)
                }
            };
            let last = row.last;
            match write {
                Write::Append { sequence, update } if last < *sequence => {
                    append(&mut appending, row.id, *sequence, update)?;
                    row.last = *sequence;
                }
                Write::Append { .. } => {}
                Write::Snapshot { through, update } => {
                    snapshot(&transaction, row.id, *through, update)?;
                    row.last = last.max(*through);
                    self.owes_space = true;
                }
                Write::Quarantine { sequence } => quarantine(&transaction, row.id, *sequence)?,
            }
            if last < row.last {
                ends.insert(row.id, row.last);
            }
        }
        drop(appending);
        let mut ending =
            transaction.prepare_cached("UPDATE document SET last = ?2 WHERE id = ?1")?;
        for (id, last) in ends {
            ending.execute(params![id, number(last)?])?;
        }
        drop(ending);
        if self.owes_space {
            self.owes_space = give_space_back(&transaction)?;
        }
        transaction.commit()
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

fn append(
    appending: &mut Statement<'_>,
    document: i64,
    sequence: Sequence,
    update: &[u8],
) -> rusqlite::Result<()> {
    let row = params![document, number(sequence)?, update, crc32fast::hash(update)];
    appending.execute(row)?;
    Ok(())
}

fn snapshot(
    transaction: &Transaction<'_>,
    document: i64,
    through: Sequence,
    update: &[u8],
) -> rusqlite::Result<()> {
    let through = number(through)?;
    let replaced = transaction
        .prepare_cached(
            "INSERT INTO document_snapshot VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (document_id) DO UPDATE
             SET through = excluded.through, body = excluded.body, checksum = excluded.checksum
             WHERE through <= excluded.through",
        )?
        .execute(params![document, through, update, crc32fast::hash(update)])?;
    // An older one than is there comes too late: its part of the log has gone already.
    if replaced > 0 {
        transaction
            .prepare_cached(
                "DELETE FROM document_update WHERE document_id = ?1 AND sequence <= ?2",
            )?
            .execute(params![document, through])?;
    }
    Ok(())
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
    for step in MOVES {
        transaction
            .prepare_cached(step)?
            .execute(params![document, number(sequence)?])?;
    }
    Ok(())
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
