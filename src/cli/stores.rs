//! From an address to the store behind it: the only place that names the stores.

#[cfg(feature = "postgres")]
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::clock::SystemClock;
use crate::config::{ConfigError, Options, Span, StoreChoice};
use crate::limits::{TOOL_WAIT, WRITER_LOCK_RETRY_AFTER};
#[cfg(feature = "postgres")]
use crate::store::PostgresStore;
use crate::store::{MemoryStore, SqliteStore, Store, StoreError};

/// What is wanted of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// To write what sessions bring, much of it at once; it is made if it is not there. A database
    /// that another process has is waited for while the relay runs.
    Serve,
    /// To write to it; it is made if it is not there.
    Make,
    /// To be the only one who writes to it; it must be there.
    Own,
    /// To read it, whoever writes to it; it must be there.
    Read,
}

/// The options of a command that works on a store: those of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct StoreOptions {
    /// The relay's TOML file, of which `data` and `store` count here [default: none]
    #[arg(long, env = "COPRESENCE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The folder of the embedded store [default: ./copresence-data]
    #[arg(long, env = "COPRESENCE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,

    /// Where documents are kept: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`
    /// [default: the embedded store in --data]
    #[arg(
        long,
        env = "COPRESENCE_STORE",
        value_name = "URL",
        hide_env_values = true
    )]
    store: Option<String>,
}

impl StoreOptions {
    /// Opens the store that is meant, as a tool does, and names it.
    pub(super) fn open(
        &self,
        purpose: Purpose,
        waiting: Waiting,
    ) -> anyhow::Result<(Arc<dyn Store>, StoreChoice)> {
        let choice = self.choice()?;
        let store = open_for_tool("--store", &choice, purpose, waiting)?;
        Ok((store, choice))
    }

    /// The store that is meant.
    pub(super) fn choice(&self) -> Result<StoreChoice, ConfigError> {
        StoreChoice::of(&self.options()?)
    }

    /// What of the relay's own options is the tools' matter too.
    pub(super) fn options(&self) -> Result<Options, ConfigError> {
        let own = Options {
            data: self.data.clone(),
            store: self.store.clone(),
            ..Options::default()
        };
        own.over_file(self.config.as_deref())
    }
}

/// How long a command waits.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Waiting {
    /// How long to wait while another process has the store to write to [default: 10s]
    #[arg(long, env = "COPRESENCE_WAIT", value_name = "TIME")]
    wait: Option<Span>,
}

impl Waiting {
    /// Not at all.
    pub(super) const NONE: Self = Self {
        wait: Some(Span(Duration::ZERO)),
    };

    fn time(self) -> Duration {
        self.wait.map_or(TOOL_WAIT, |wait| wait.0)
    }

    /// Tries until the store is free, or it has taken too long.
    pub(super) fn for_store<T>(
        self,
        mut open: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let clock = SystemClock::new();
        let until = clock.now() + self.time();
        let mut has_said = false;
        loop {
            let taken = match open() {
                Err(StoreError::Taken(by)) => by,
                opened => return opened,
            };
            let left = clock.until(until);
            if left.is_zero() {
                return Err(StoreError::Taken(taken));
            }
            if !has_said {
                has_said = true;
                eprintln!("waiting for {} s at most: {taken}", self.time().as_secs());
            }
            thread::sleep(left.min(WRITER_LOCK_RETRY_AFTER));
        }
    }
}

/// Opens a store for a tool, given as `option`: one that keeps nothing makes no sense there.
pub(super) fn open_for_tool(
    option: &str,
    choice: &StoreChoice,
    purpose: Purpose,
    waiting: Waiting,
) -> anyhow::Result<Arc<dyn Store>> {
    must_keep(option, choice)?;
    let opened = waiting.for_store(|| open_now(choice, purpose));
    opened.map_err(|error| cannot_open(choice, error))
}

/// Refuses a store that keeps nothing.
pub(super) fn must_keep(option: &str, choice: &StoreChoice) -> Result<(), ConfigError> {
    match choice {
        StoreChoice::Memory => {
            let why = format!("{option}: `memory:` keeps nothing to work on");
            Err(ConfigError::new(why))
        }
        StoreChoice::Sqlite(_) | StoreChoice::Postgres(_) => Ok(()),
    }
}

/// With what to do about it, where there is something.
pub(super) fn cannot_open(choice: &StoreChoice, error: StoreError) -> anyhow::Error {
    let is_taken = matches!(error, StoreError::Taken(_));
    let error = anyhow::Error::from(error).context(format!("cannot open {choice}"));
    match is_taken {
        true => anyhow::anyhow!(
            "{error:#}\nif it is a relay that uses it: stop it first, or ask it over HTTP (a \
             document is added with POST /v1/rooms/ROOM/document); --wait says how long to wait"
        ),
        false => error,
    }
}

/// Opens a store for a relay.
pub(super) fn open(choice: &StoreChoice) -> anyhow::Result<Arc<dyn Store>> {
    open_now(choice, Purpose::Serve).with_context(|| format!("cannot open {choice}"))
}

fn open_now(choice: &StoreChoice, purpose: Purpose) -> Result<Arc<dyn Store>, StoreError> {
    match choice {
        StoreChoice::Memory => Ok(Arc::new(MemoryStore::new())),
        StoreChoice::Sqlite(path) => match purpose {
            Purpose::Serve => SqliteStore::open(path).map(SqliteStore::sharing_rows),
            Purpose::Make => SqliteStore::open(path),
            Purpose::Own => SqliteStore::open_existing(path),
            Purpose::Read => SqliteStore::open_to_read(path),
        }
        .map(|store| Arc::new(store) as _),
        #[cfg(feature = "postgres")]
        StoreChoice::Postgres(url) => match purpose {
            Purpose::Serve => {
                PostgresStore::open_when_free(url.expose(), &name_for_others(purpose))
            }
            Purpose::Make => PostgresStore::open_as(url.expose(), &name_for_others(purpose)),
            Purpose::Own => PostgresStore::open_existing(url.expose(), &name_for_others(purpose)),
            Purpose::Read => PostgresStore::open_to_read(url.expose()),
        }
        .map(|store| Arc::new(store) as _),
        #[cfg(not(feature = "postgres"))]
        StoreChoice::Postgres(_) => {
            let why = "this build has no Postgres".to_owned();
            Err(StoreError::Unusable(why))
        }
    }
}

/// Who we are, for whoever finds the database in use: in a cluster the machine's name is the pod's.
#[cfg(feature = "postgres")]
fn name_for_others(purpose: Purpose) -> String {
    let what = match purpose {
        Purpose::Serve => "copresence serve",
        Purpose::Make | Purpose::Own | Purpose::Read => "a copresence command",
    };
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.as_deref().map_or("", str::trim);
    let process = std::process::id();
    match host {
        "" => format!("{what}, process {process}"),
        host => format!("{what} on {host}, process {process}"),
    }
}
