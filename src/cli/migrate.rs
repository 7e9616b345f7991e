//! Takes a store's tables back to what an older version knows.

use std::process::ExitCode;

use crate::cli::stores::{self, StoreOptions, Waiting};
use crate::config::StoreChoice;
#[cfg(feature = "postgres")]
use crate::store::PostgresStore;
use crate::store::{SqliteStore, StoreError};

/// The options of `migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateOptions {
    /// The last migration that is to stay; with 0 all that is kept is lost
    #[arg(long, value_name = "N")]
    to: u32,

    #[command(flatten)]
    waiting: Waiting,

    #[command(flatten)]
    store: StoreOptions,
}

impl MigrateOptions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let choice = self.store.choice()?;
        stores::must_keep("--store", &choice)?;
        let undone = self.waiting.for_store(|| undo(&choice, self.to));
        let undone = undone.map_err(|error| stores::cannot_open(&choice, error))?;
        for number in &undone {
            println!("migration {number} is undone");
        }
        if undone.is_empty() {
            println!("there is no migration behind {} to undo", self.to);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn undo(choice: &StoreChoice, last: u32) -> Result<Vec<u32>, StoreError> {
    match choice {
        StoreChoice::Sqlite(path) => SqliteStore::undo_migrations(path, last),
        #[cfg(feature = "postgres")]
        StoreChoice::Postgres(url) => PostgresStore::undo_migrations(url.expose(), last),
        #[cfg(not(feature = "postgres"))]
        StoreChoice::Postgres(_) => {
            let why = "this build has no Postgres".to_owned();
            Err(StoreError::Unusable(why))
        }
        // There are no tables.
        StoreChoice::Memory => Ok(Vec::new()),
    }
}
