//! Connections to the database file: how they are set up, who may have them, and the tables.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::store::StoreError;
use crate::store::migrations::{Migration, SQLITE, Step, steps};
use crate::store::sqlite::down;

/// How long to wait for a lock that another program (a backup, a shell) has on the database.
pub const BUSY_FOR_MAX: Duration = Duration::from_secs(2);
/// Changed pages and index pages stay in memory up to so many KiB; documents pass through.
const WRITER_CACHE_KIB: i32 = 16 << 10;
/// The same per reader.
const READER_CACHE_KIB: i32 = 2 << 10;
/// A log that grew beyond this while something read for long is cut back to it.
const LOG_BYTES_KEPT: u32 = 64 << 20;
/// Statements kept prepared per connection; there are fewer.
const STATEMENTS_MAX: usize = 32;

/// To be read and written by its owner.
#[cfg(unix)]
const PRIVATE: u32 = 0o600;
/// What everybody may do with a file.
#[cfg(unix)]
const OTHERS: u32 = 0o007;

/// What a connection is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To make the database if there is none.
    Create,
    /// To write to one that is there.
    Write,
    /// To read only.
    Read,
}

/// Opens a connection and sets it up.
pub fn connect(path: &Path, purpose: Purpose) -> rusqlite::Result<Connection> {
    // Without OpenFlags::SQLITE_OPEN_URI: a path is a path, whatever it looks like.
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if purpose == Purpose::Create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_FOR_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // No mmap: a failing disk would be a signal instead of an error.
    connection.execute_batch(
        "PRAGMA mmap_size = 0; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
    )?;
    if purpose == Purpose::Read {
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        connection.pragma_update(None, "query_only", true)?;
        return Ok(connection);
    }
    // Before the first table and before the log, or it has no effect.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL;")?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let reason = format!("its file system does not do write-ahead logs (mode {mode})");
        return Err(rusqlite::Error::InvalidPath(reason.into()));
    }
    // FULL: a commit is on the disk when it returns. The other two do it on macOS.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;",
    )?;
    // What was deleted is not left on free pages, for whoever gets hold of the file.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    Ok(connection)
}

/// Makes the folders above `path` so that they survive a loss of power, too.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) else {
        return Ok(());
    };
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|folder| !folder.exists() && *folder != Path::new(""))
        .collect();
    fs::create_dir_all(folder)?;
    for made in missing {
        let above = made.parent().filter(|above| *above != Path::new(""));
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Sees to it that nobody but the process's own user reads the file, and those that SQLite makes
/// beside it, which get the same permissions. Where somebody has let a group in, that stays: it is
/// no default of any system's.
#[cfg(unix)]
pub fn keep_private(path: &Path, purpose: Purpose) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

    if purpose == Purpose::Create && !path.exists() {
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        options.mode(PRIVATE).open(path)?;
    }
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = OsString::from(path.canonicalize()?);
        name.push(suffix);
        let path = PathBuf::from(name);
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.permissions().mode() & OTHERS != 0 {
            let mut permissions = metadata.permissions();
            permissions.set_mode(PRIVATE);
            match fs::set_permissions(&path, permissions) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "everybody could read it; now its owner can")
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "everybody can read it");
                }
            }
        }
    }
    Ok(())
}

/// Who may read files is said in other ways elsewhere.
#[cfg(not(unix))]
pub fn keep_private(_path: &Path, _purpose: Purpose) -> io::Result<()> {
    Ok(())
}

/// Takes the database for this process; it is given back when the file is dropped, or the process
/// ends in whatever way.
pub fn lock(path: &Path) -> Result<File, StoreError> {
    // One database has one lock, by whatever links it was reached.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = OsString::from(real);
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |error: io::Error| StoreError::Unusable(format!("{}: {error}", name.display()));
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, PRIVATE);
    let file = options.open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Taken(format!(
            "{} is in use by another process; end it, or give this one a folder of its own with \
             `--data`",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Brings the tables up to date.
pub fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let applied = applied_to(connection, path)?;
    carry_out(connection, path, &applied, newest())?;
    Ok(())
}

/// Takes back what was done after migration `last`; which these were, the newest first.
pub fn undo(connection: &mut Connection, path: &Path, last: u32) -> Result<Vec<u32>, StoreError> {
    let applied = applied_to(connection, path)?;
    // What is missing before it stays so.
    let reached = applied.last().copied().unwrap_or(0);
    let undone = carry_out(connection, path, &applied, last.min(reached))?;
    Ok(undone)
}

fn applied_to(connection: &Connection, path: &Path) -> Result<Vec<u32>, StoreError> {
    let failed = |error| down(path, error);
    refuse_what_is_not_ours(connection, path)?;
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS migration (
                 number INTEGER PRIMARY KEY,
                 applied_at TEXT NOT NULL
             ) STRICT;",
        )
        .map_err(failed)?;
    applied(connection).map_err(failed)
}

/// The numbers of the steps that were taken.
fn carry_out(
    connection: &mut Connection,
    path: &Path,
    applied: &[u32],
    target: u32,
) -> Result<Vec<u32>, StoreError> {
    let steps = steps(&SQLITE, applied, target)
        .map_err(|error| StoreError::Unusable(format!("{}: {error}", path.display())))?;
    let mut taken = Vec::new();
    for step in steps {
        take(connection, &step).map_err(|error| down(path, error))?;
        match step {
            Step::Up(migration) | Step::Down(migration) => taken.push(migration.number),
        }
    }
    Ok(taken)
}

/// Whether the tables are those of this version.
pub fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(connection.table_exists(None, "migration")?
        && applied(connection)?.last() == Some(&newest()))
}

fn newest() -> u32 {
    SQLITE.last().map_or(0, |migration| migration.number)
}

fn applied(connection: &Connection) -> rusqlite::Result<Vec<u32>> {
    let mut statement = connection.prepare("SELECT number FROM migration ORDER BY number")?;
    let numbers = statement.query_map([], |row| row.get(0))?;
    numbers.collect()
}

fn take(connection: &mut Connection, step: &Step) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match step {
        Step::Up(Migration { number, up, .. }) => {
            transaction.execute_batch(up)?;
            transaction.execute(
                "INSERT INTO migration VALUES (?1, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
                [number],
            )?;
        }
        Step::Down(Migration { number, down, .. }) => {
            transaction.execute_batch(down)?;
            transaction.execute("DELETE FROM migration WHERE number = ?1", [number])?;
        }
    }
    transaction.commit()
}

fn refuse_what_is_not_ours(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let is_foreign: bool = connection
        .query_row(
            "SELECT count(*) > 0 AND NOT coalesce(max(name = 'migration'), 0)
             FROM sqlite_schema WHERE type = 'table'",
            [],
            |row| row.get(0),
        )
        .map_err(|error| down(path, error))?;
    if is_foreign {
        return Err(StoreError::Unusable(format!(
            "{} is a database of something else",
            path.display()
        )));
    }
    Ok(())
}
