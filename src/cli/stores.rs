//! From an address to the store behind it: the only place that names the stores.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{ConfigError, Options, StoreChoice};
#[cfg(feature = "postgres")]
use crate::store::PostgresStore;
use crate::store::{MemoryStore, SqliteStore, Store, StoreError};

/// What is wanted of a store. A database server grants all of it to everybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// To write what sessions bring, much of it at once; it is made if it is not there.
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
    pub(super) fn open(&self, purpose: Purpose) -> anyhow::Result<(Arc<dyn Store>, StoreChoice)> {
        let choice = StoreChoice::of(&self.options()?)?;
        Ok((open_for_tool("--store", &choice, purpose)?, choice))
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

/// Opens a store for a tool, given as `option`: one that keeps nothing makes no sense there.
pub(super) fn open_for_tool(
    option: &str,
    choice: &StoreChoice,
    purpose: Purpose,
) -> anyhow::Result<Arc<dyn Store>> {
    if let StoreChoice::Memory = choice {
        let why = format!("{option}: `memory:` keeps nothing to work on");
        return Err(ConfigError::new(why).into());
    }
    open(choice, purpose).map_err(|error| match (choice, purpose) {
        (StoreChoice::Sqlite(_), Purpose::Make | Purpose::Own) => anyhow::anyhow!(
            "{error:#}\nif it is a relay that uses it: stop it first, or ask it over HTTP"
        ),
        _ => error,
    })
}

/// Opens a store.
pub(super) fn open(choice: &StoreChoice, purpose: Purpose) -> anyhow::Result<Arc<dyn Store>> {
    let opened: Result<Arc<dyn Store>, StoreError> = match choice {
        StoreChoice::Memory => Ok(Arc::new(MemoryStore::new())),
        StoreChoice::Sqlite(path) => match purpose {
            Purpose::Serve => SqliteStore::open(path).map(SqliteStore::sharing_rows),
            Purpose::Make => SqliteStore::open(path),
            Purpose::Own => SqliteStore::open_existing(path),
            Purpose::Read => SqliteStore::open_to_read(path),
        }
        .map(|store| Arc::new(store) as _),
        #[cfg(feature = "postgres")]
        StoreChoice::Postgres(url) => {
            PostgresStore::open(url.expose()).map(|store| Arc::new(store) as _)
        }
        #[cfg(not(feature = "postgres"))]
        StoreChoice::Postgres(_) => anyhow::bail!("this build has no Postgres"),
    };
    opened.with_context(|| format!("cannot open {choice}"))
}
