//! The connections that read: opened beforehand and kept.
//!
//! A process that may open no more files (its limit, or the machine's) still reads what it keeps, so
//! nobody who is in is shut out for it. Whoever finds all of them lent waits for one.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction};

use crate::store::sqlite::connection::{Purpose, connect};

/// A fixed number of connections, each lent to one thread at a time.
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

/// A connection on loan. Dropped, also by a panic, it goes back: there must never be fewer.
struct Loan<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Readers {
    /// Opens all of them, with the files that each will need.
    pub fn open(path: &Path, count: usize) -> rusqlite::Result<Self> {
        let open_one = |_| -> rusqlite::Result<Connection> {
            let connection = connect(path, Purpose::Read)?;
            // The log beside the database is opened by what is read first.
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(connection)
        };
        let idle: Vec<_> = (0..count.max(1)).map(open_one).collect::<Result<_, _>>()?;
        Ok(Self {
            path: path.to_owned(),
            idle: Mutex::new(idle),
            returned: Condvar::new(),
        })
    }

    /// Reads in one transaction, so that what is read belongs together.
    pub fn read<T, E: From<rusqlite::Error>>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut loan = self.lend();
        let result = read_with(loan.connection(), read);
        if result.is_err() {
            loan.renew();
        }
        result
    }

    /// Gives back the memory that serves for reading fast.
    pub fn rest(&self) {
        for connection in self.idle().iter() {
            if let Err(error) = connection.execute_batch("PRAGMA shrink_memory") {
                tracing::debug!(%error, "a reader keeps its pages in memory");
            }
        }
    }

    fn lend(&self) -> Loan<'_> {
        let mut idle = self.idle();
        loop {
            if let Some(connection) = idle.pop() {
                return Loan {
                    readers: self,
                    connection: Some(connection),
                };
            }
            let waited = self.returned.wait(idle);
            idle = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // A list of connections is whole whatever happened to who held it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_with<T, E: From<rusqlite::Error>>(
    connection: &mut Connection,
    read: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = connection.transaction()?;
    let result = read(&transaction)?;
    transaction.finish()?;
    Ok(result)
}

impl Loan<'_> {
    fn connection(&mut self) -> &mut Connection {
        let connection = self.connection.as_mut();
        connection.expect("taken only when dropped")
    }

    /// What failed may know wrong things of the file: another takes its place, if one can be had.
    fn renew(&mut self) {
        if let Ok(fresh) = connect(&self.readers.path, Purpose::Read) {
            self.connection = Some(fresh);
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.readers.idle().extend(self.connection.take());
        self.readers.returned.notify_one();
    }
}
