//! From an address to the store behind it: the only place that names the stores.

use std::fs::DirBuilder;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::config::{ConfigError, Options, StoreChoice};
use crate::store::{MemoryStore, Store};

/// What to do when the file of an embedded store is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Absent {
    /// Begin one.
    Make,
    /// Say so: whoever wants to read has mistyped.
    Refuse,
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
    pub(super) fn open(&self, absent: Absent) -> anyhow::Result<(Arc<dyn Store>, StoreChoice)> {
        let choice = StoreChoice::of(&self.options()?)?;
        Ok((open_for_tool("--store", &choice, absent)?, choice))
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

/// Opens a store for a tool: one that keeps nothing makes no sense there.
pub(super) fn open_for_tool(
    option: &str,
    choice: &StoreChoice,
    absent: Absent,
) -> anyhow::Result<Arc<dyn Store>> {
    if let StoreChoice::Memory = choice {
        return Err(
            ConfigError::new(format!("{option}: `memory:` keeps nothing to work on")).into(),
        );
    }
    open(choice, absent).with_context(|| match choice {
        StoreChoice::Sqlite(_) => {
            "a relay that uses this store must be stopped first (or asked over HTTP)"
        }
        StoreChoice::Postgres(_) | StoreChoice::Memory => "cannot start",
    })
}

/// Opens a store.
pub(super) fn open(choice: &StoreChoice, absent: Absent) -> anyhow::Result<Arc<dyn Store>> {
    match choice {
        StoreChoice::Memory => Ok(Arc::new(MemoryStore::new())),
        StoreChoice::Sqlite(_) | StoreChoice::Postgres(_) => anyhow::bail!("not yet"),
    }
}

/// Makes the folder of a file, for nobody but us: documents are private.
fn make_folder(file: &Path) -> io::Result<()> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}
