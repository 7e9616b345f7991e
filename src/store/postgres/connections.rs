//! Connections to one database: a few, opened when needed, thrown away when anything fails.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::model::RoomName;
use crate::store::postgres::address::Address;
use crate::store::postgres::session::Session;
use crate::store::{Sequence, StoreError};

/// How long connecting may take in all, hand-shakes and the session's preparation included: a
/// server that accepts connections and then says nothing is as bad as none.
pub const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How the tables' own function says that a write has no place.
const CONFLICT: &str = "YC001";

/// What went wrong with a connection.
pub enum Trouble {
    /// The driver or the server says so.
    Failed(Error),
    /// Nothing was heard in time.
    Late(Duration),
    /// The database is not one that we can use.
    Unfit(String),
    /// Another session is its writer; nothing where that ended just then.
    Held(Option<String>),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Trouble {
    /// In words, without the password.
    pub fn into_store_error(self, address: &Address) -> StoreError {
        let text = match self {
            Self::Failed(error) => match conflict(&error) {
                Some(conflict) => return conflict,
                None => in_words(&error),
            },
            Self::Late(limit) => format!("no answer within {} s", limit.as_secs()),
            Self::Unfit(why) | Self::Held(Some(why)) => why,
            Self::Held(None) => "its writer changes just now".to_owned(),
        };
        StoreError::Down(address.scrubbed(text))
    }

    /// Whether the connection was gone before anything was asked of it, or is now.
    pub fn is_loss(&self) -> bool {
        let Self::Failed(error) = self else {
            return false;
        };
        let is_shutdown = error.code().is_some_and(|code| {
            [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
            ]
            .contains(code)
        });
        let is_io = error
            .source()
            .is_some_and(|source| source.is::<std::io::Error>());
        error.is_closed() || is_shutdown || is_io
    }
}

/// A write that has no place, if that is what the tables' own function says.
fn conflict(error: &Error) -> Option<StoreError> {
    let error = error.as_db_error()?;
    if error.code().code() != CONFLICT {
        return None;
    }
    let (room, sequence): (String, Sequence) = serde_json::from_str(error.detail()?).ok()?;
    let room = RoomName::parse(&room).ok()?;
    Some(StoreError::Conflict { room, sequence })
}

/// The driver's errors say little without their causes.
fn in_words(error: &Error) -> String {
    if let Some(database) = error.as_db_error() {
        return format!("{} ({})", database.message(), database.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// Drives one connection on the thread that uses it. A timer of our own guards every wait: the
/// server's timeouts do not help when it is the server that hangs.
pub struct Driver(Option<Runtime>);

impl Driver {
    /// Connects, with nothing prepared.
    pub fn connect(address: &Address) -> Result<(Self, Client), Trouble> {
        let unavailable = |error| Trouble::Unfit(format!("cannot set up a connection: {error}"));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            // Names are looked up there.
            .max_blocking_threads(1)
            .build()
            .map_err(unavailable)?;
        let driver = Self(Some(runtime));
        let client = driver.run(OPEN_WITHIN, async {
            let (client, connection) = address.config.connect(address.tls.clone()).await?;
            // Its errors come out of whatever is asked of the client next.
            tokio::spawn(async move { drop(connection.await) });
            Ok(client)
        })?;
        Ok((driver, client))
    }

    /// Waits for an answer, but not for ever.
    pub fn run<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let runtime = self.0.as_ref().expect("taken only when dropped");
        let timed = runtime.block_on(async { tokio::time::timeout(limit, work).await });
        timed.unwrap_or(Err(Trouble::Late(limit)))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Dropping a runtime waits, and panics where waiting is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A session, and what drives it.
pub struct Connection {
    session: Session,
    driver: Driver,
}

/// What came of doing something with a connection.
pub enum Attempt<T> {
    /// It is done.
    Done(T),
    /// The server refused it, and undid what was begun; the session is as it was before.
    Refused(Trouble),
    /// The connection must not be used again.
    Broken(Trouble),
}

impl Connection {
    /// Of a session that is driven by this.
    pub fn new(session: Session, driver: Driver) -> Self {
        Self { session, driver }
    }

    fn open(address: &Address) -> Result<Self, Trouble> {
        let (driver, client) = Driver::connect(address)?;
        let session = driver.run(OPEN_WITHIN, async { Ok(Session::prepare(client).await?) })?;
        Ok(Self::new(session, driver))
    }

    /// Does something with the session, but not for ever.
    pub fn attempt<T>(
        &self,
        limit: Duration,
        work: &impl AsyncFn(&Session) -> Result<T, Error>,
    ) -> Attempt<T> {
        let work = async { Ok(work(&self.session).await?) };
        let trouble = match self.driver.run(limit, work) {
            Ok(done) => return Attempt::Done(done),
            Err(trouble) => trouble,
        };
        let is_refusal = match &trouble {
            Trouble::Failed(error) => error.as_db_error().is_some() && !trouble.is_loss(),
            Trouble::Late(_) | Trouble::Unfit(_) | Trouble::Held(_) => false,
        };
        // A fatal error ends the session as well; then this fails.
        let undo = async { Ok(self.session.client.batch_execute("ROLLBACK").await?) };
        match is_refusal && self.driver.run(OPEN_WITHIN, undo).is_ok() {
            true => Attempt::Refused(trouble),
            false => Attempt::Broken(trouble),
        }
    }
}

/// At most so many connections, each lent to one thread at a time.
pub struct Connections {
    address: Arc<Address>,
    count_max: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    lent: usize,
}

impl Connections {
    /// None yet.
    pub fn new(address: Arc<Address>, count_max: usize) -> Self {
        Self {
            address,
            count_max,
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Does something with a connection, as soon as there is one. It may be done twice: when an
    /// idle connection turns out to be dead, once more with another.
    pub fn run<T>(
        &self,
        limit: Duration,
        work: impl AsyncFn(&Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let place = self.place();
        let down = |trouble: Trouble| trouble.into_store_error(&self.address);
        while let Some(idle) = place.idle() {
            match idle.attempt(limit, &work) {
                Attempt::Done(done) => {
                    place.keep(idle);
                    return Ok(done);
                }
                Attempt::Refused(trouble) => {
                    place.keep(idle);
                    return Err(down(trouble));
                }
                Attempt::Broken(trouble) if trouble.is_loss() => {}
                Attempt::Broken(trouble) => return Err(down(trouble)),
            }
        }
        let fresh = Connection::open(&self.address).map_err(down)?;
        match fresh.attempt(limit, &work) {
            Attempt::Done(done) => {
                place.keep(fresh);
                Ok(done)
            }
            Attempt::Refused(trouble) | Attempt::Broken(trouble) => Err(down(trouble)),
        }
    }

    /// Waits until fewer than the most are lent. Whoever has one gives it back in bounded time.
    fn place(&self) -> Place<'_> {
        let mut state = self.state();
        while self.count_max <= state.lent {
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.lent += 1;
        Place { connections: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A few lines that do not panic hold the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one connection, given back when dropped.
struct Place<'a> {
    connections: &'a Connections,
}

impl Place<'_> {
    fn idle(&self) -> Option<Connection> {
        self.connections.state().idle.pop()
    }

    fn keep(&self, connection: Connection) {
        self.connections.state().idle.push(connection);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.connections.state().lent -= 1;
        self.connections.returned.notify_one();
    }
}
