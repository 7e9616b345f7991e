//! The one session that writes, and the lock that it holds.
//!
//! A database has one writer, the session with an advisory lock of ours. Whatever is written goes over
//! that very session: the server gives the lock to the next one when the session has ended, so who
//! has lost it can commit nothing more. The session stays for as long as it works. When it is lost,
//! the lock is taken again before anything else is written; if somebody else has it by then, we are
//! no longer the writer, and say so to whoever asked to be told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tokio_postgres::{Client, Error};

use crate::limits::{BATCH_WRITERS_KEPT, WRITER_LOCK_CHECKED_EVERY, WRITER_LOCK_RETRY_AFTER};
use crate::store::postgres::address::Address;
use crate::store::postgres::connections::{Attempt, Connection, Driver, OPEN_WITHIN, Trouble};
use crate::store::postgres::migrations;
use crate::store::postgres::session::Session;
use crate::store::{OnTaken, StoreError};

/// The lock's number, ours alone: one for each database.
const LOCK: i64 = 0x636f_6c6c_6162_7772;
/// Sessions of ours that may still hold it, though we have given them up.
const FORMER_KEPT: usize = 8;

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock($1)";

const WHO_AM_I: &str = "
    SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/// Of another role's session, which we may not look into, at least the process. A session that ends
/// just then has no row any more.
const HOLDER: &str = "
    SELECT holder.pid, coalesce(activity.backend_start::text, ''),
           coalesce(nullif(activity.application_name, ''), 'a program without a name')
               || coalesce(', from ' || host(activity.client_addr), '')
               || coalesce(', since ' || to_char(activity.backend_start AT TIME ZONE 'UTC',
                                                 'YYYY-MM-DD HH24:MI:SS') || ' UTC', '')
               || ' (backend ' || holder.pid || ')'
    FROM pg_locks AS holder JOIN pg_stat_activity AS activity USING (pid)
    WHERE holder.locktype = 'advisory' AND holder.granted AND holder.objsubid = 1
        AND holder.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (holder.classid::bigint << 32) | holder.objid::bigint = $1";

const END_FORMER: &str = "SELECT pg_terminate_backend($1)";

const FORGET_OLD_WRITERS: &str = "
    DELETE FROM collab.batch WHERE writer IN (
        SELECT writer FROM collab.batch ORDER BY at DESC, writer OFFSET $1)";

/// The right to write to one database.
pub struct Seat {
    address: Arc<Address>,
    /// Locked while somebody writes.
    slot: Mutex<Slot>,
    standing: Mutex<Standing>,
    tell: Mutex<Option<OnTaken>>,
}

/// How we are with the lock.
#[derive(Clone, Debug)]
enum Standing {
    /// We have not had it yet; somebody else has.
    Awaited(String),
    /// It is ours, or will be taken again.
    Ours,
    /// Somebody else has it now.
    Taken(StoreError),
}

#[derive(Default)]
struct Slot {
    /// Holds the lock.
    connection: Option<Connection>,
    /// Asks for it, as long as somebody else has it.
    asking: Option<(Driver, Client)>,
    /// Those of our sessions that may have had it, the newest last.
    former: Vec<Backend>,
    /// Whether the tables were brought up to date.
    has_migrated: bool,
}

/// A session as the server knows it: numbers are used again.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Backend {
    pid: i32,
    began: String,
}

/// Who has the lock.
enum Outcome {
    /// This session, from now on.
    Got,
    /// Another, in words.
    HeldBy(Backend, String),
    /// Somebody had it a moment ago.
    Changing,
}

impl Seat {
    /// Takes the lock and brings the tables up to date. If another process has it, that is an error
    /// for who will not wait.
    pub fn take(address: Arc<Address>, waits: bool) -> Result<Self, StoreError> {
        let seat = Self {
            address,
            slot: Mutex::default(),
            standing: Mutex::new(Standing::Awaited(String::new())),
            tell: Mutex::default(),
        };
        match seat.try_take() {
            Err(StoreError::Taken(_)) if waits => {}
            taken => taken?,
        }
        Ok(seat)
    }

    /// Takes the lock without looking at the tables; it is held until what is returned is dropped.
    pub fn hold(address: Arc<Address>) -> Result<(Client, Driver), StoreError> {
        let failed = |trouble: Trouble| trouble.into_store_error(&address);
        let (driver, client) = Driver::connect(&address).map_err(failed)?;
        match driver.run(OPEN_WITHIN, lock(&client)).map_err(failed)? {
            // The session lives as long as its client.
            Outcome::Got => Ok((client, driver)),
            Outcome::HeldBy(_, by) => Err(StoreError::Taken(in_use(&by))),
            Outcome::Changing => Err(StoreError::Taken(in_use("one that ends just now"))),
        }
    }

    /// Does something with the session that writes. It may be done twice: when the session turns
    /// out to be gone, once more with another.
    pub fn run<T>(
        &self,
        limit: Duration,
        work: impl AsyncFn(&Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let mut slot = self.slot();
        self.may_be_asked()?;
        self.run_in(&mut slot, limit, work)
    }

    /// Nothing is read or written for who waits, or was replaced.
    pub fn may_be_asked(&self) -> Result<(), StoreError> {
        match &*self.standing() {
            Standing::Ours => Ok(()),
            Standing::Awaited(by) => Err(StoreError::Down(in_use(by))),
            Standing::Taken(error) => Err(error.clone()),
        }
    }

    /// For whom we wait.
    pub fn awaits(&self) -> Option<String> {
        match &*self.standing() {
            Standing::Awaited(by) => Some(in_use(by)),
            Standing::Ours | Standing::Taken(_) => None,
        }
    }

    /// Who is to be told when somebody else takes the lock; told at once if somebody has.
    pub fn on_taken(&self, tell: OnTaken) {
        if let Standing::Taken(error) = &*self.standing() {
            tell(error);
        }
        *self.tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
    }

    /// What is to be done now and then: take the lock, or see whether it is still ours. How long it
    /// is until then; `None` when there is nothing to be done any more.
    pub fn tend(&self) -> Option<Duration> {
        let standing = self.standing().clone();
        match standing {
            Standing::Taken(_) => None,
            Standing::Awaited(_) => {
                match self.try_take() {
                    Ok(()) => tracing::info!("the database is ours to write to"),
                    Err(error) => tracing::debug!(%error, "not yet"),
                }
                Some(WRITER_LOCK_RETRY_AFTER)
            }
            Standing::Ours => {
                let checked = match self.slot.try_lock() {
                    Ok(mut slot) => self.check(&mut slot),
                    Err(TryLockError::Poisoned(slot)) => self.check(&mut slot.into_inner()),
                    // Who writes sees it, too.
                    Err(TryLockError::WouldBlock) => Ok(()),
                };
                if let Err(error) = checked {
                    tracing::debug!(%error, "the session that writes is gone");
                }
                Some(WRITER_LOCK_CHECKED_EVERY)
            }
        }
    }

    fn check(&self, slot: &mut Slot) -> Result<(), StoreError> {
        self.run_in(slot, OPEN_WITHIN, async |session| {
            session.client.batch_execute("SELECT 1").await
        })
    }

    fn try_take(&self) -> Result<(), StoreError> {
        let mut slot = self.slot();
        match self.open(&mut slot) {
            Ok(connection) => {
                slot.connection = Some(connection);
                *self.standing() = Standing::Ours;
                Ok(())
            }
            Err(Trouble::Held(by)) => {
                let by = by.unwrap_or_else(|| "one that ends just now".to_owned());
                *self.standing() = Standing::Awaited(by.clone());
                Err(StoreError::Taken(in_use(&by)))
            }
            Err(trouble) => Err(trouble.into_store_error(&self.address)),
        }
    }

    fn run_in<T>(
        &self,
        slot: &mut Slot,
        limit: Duration,
        work: impl AsyncFn(&Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        if let Some(connection) = slot.connection.take() {
            match connection.attempt(limit, &work) {
                Attempt::Done(done) => {
                    slot.connection = Some(connection);
                    return Ok(done);
                }
                // The session is as good as before: giving it up would give up the lock.
                Attempt::Refused(trouble) => {
                    slot.connection = Some(connection);
                    return Err(trouble.into_store_error(&self.address));
                }
                Attempt::Broken(trouble) if trouble.is_loss() => {}
                Attempt::Broken(trouble) => return Err(trouble.into_store_error(&self.address)),
            }
        }
        let connection = match self.open(slot) {
            Ok(connection) => connection,
            Err(Trouble::Held(Some(by))) => return Err(self.replaced(&by)),
            Err(trouble) => return Err(trouble.into_store_error(&self.address)),
        };
        match connection.attempt(limit, &work) {
            Attempt::Done(done) => {
                slot.connection = Some(connection);
                Ok(done)
            }
            Attempt::Refused(trouble) => {
                slot.connection = Some(connection);
                Err(trouble.into_store_error(&self.address))
            }
            Attempt::Broken(trouble) => Err(trouble.into_store_error(&self.address)),
        }
    }

    /// A session with the lock, tables that are ours, and its statements prepared.
    fn open(&self, slot: &mut Slot) -> Result<Connection, Trouble> {
        let (driver, client) = match slot.asking.take() {
            Some(asking) => asking,
            None => {
                let (driver, client) = Driver::connect(&self.address)?;
                let backend = driver.run(OPEN_WITHIN, who_am_i(&client))?;
                // Before it asks: the answer may be lost, and the lock be ours.
                slot.former.push(backend);
                let surplus = slot.former.len().saturating_sub(FORMER_KEPT);
                slot.former.drain(..surplus);
                (driver, client)
            }
        };
        match driver.run(OPEN_WITHIN, lock(&client))? {
            Outcome::Got => {}
            Outcome::HeldBy(holder, _) if slot.former.contains(&holder) => {
                driver.run(OPEN_WITHIN, async {
                    Ok(client.execute(END_FORMER, &[&holder.pid]).await?)
                })?;
                let why = "a former session of this process has the database and is being ended";
                return Err(Trouble::Unfit(why.to_owned()));
            }
            Outcome::HeldBy(_, by) => {
                slot.asking = Some((driver, client));
                return Err(Trouble::Held(Some(by)));
            }
            Outcome::Changing => {
                slot.asking = Some((driver, client));
                return Err(Trouble::Held(None));
            }
        }
        // Whoever had the lock meanwhile may have changed them.
        match slot.has_migrated {
            false => migrations::apply(&self.address)?,
            true => driver.run(OPEN_WITHIN, migrations::must_still_be_current(&client))?,
        }
        slot.has_migrated = true;
        let session = driver.run(OPEN_WITHIN, async {
            let session = Session::prepare(client).await?;
            let kept = i64::from(BATCH_WRITERS_KEPT);
            (session.client.execute(FORGET_OLD_WRITERS, &[&kept])).await?;
            Ok(session)
        })?;
        Ok(Connection::new(session, driver))
    }

    /// Somebody else has the lock that was ours.
    fn replaced(&self, by: &str) -> StoreError {
        let error = StoreError::Taken(format!(
            "another process has taken the database: {by}; a database has one relay at a time"
        ));
        *self.standing() = Standing::Taken(error.clone());
        let tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = &*tell {
            tell(&error);
        }
        error
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        // A connection is taken out before anything is done with it.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // A value that is replaced whole.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_use(by: &str) -> String {
    format!("the database is in use by another process: {by}")
}

async fn who_am_i(client: &Client) -> Result<Backend, Trouble> {
    let row = client.query_one(WHO_AM_I, &[]).await?;
    Ok(Backend {
        pid: row.try_get(0)?,
        began: row.try_get(1)?,
    })
}

async fn lock(client: &Client) -> Result<Outcome, Trouble> {
    if client.query_one(TRY_LOCK, &[&LOCK]).await?.try_get(0)? {
        return Ok(Outcome::Got);
    }
    let Some(row) = client.query_opt(HOLDER, &[&LOCK]).await? else {
        return Ok(Outcome::Changing);
    };
    let holder = Backend {
        pid: row.try_get(0)?,
        began: row.try_get(1)?,
    };
    Ok(Outcome::HeldBy(holder, row.try_get(2)?))
}
