//! The Postgres that the tests start: found, or installed from the system's packages.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Result, ensure};

use crate::stages::Outcome;
use crate::system;

const BY_HAND: &str = "the tests of the Postgres store start a server of their own and need its \
programs `initdb` and `postgres`, in PATH or below /usr/lib/postgresql";

/// Sees to it that there is a server to start; installs one on a system of the Debian family.
pub fn install(name: &str) -> Result<Outcome> {
    let mut excerpt = String::new();
    if !is_there() {
        excerpt = system::install_package(name, "postgresql", BY_HAND)?;
        ensure!(
            is_there(),
            "the package `postgresql` was installed, but there is no server: {BY_HAND}\n{excerpt}"
        );
    }
    Ok(Outcome::one(excerpt))
}

fn is_there() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let versions = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    env::split_paths(&path)
        .chain(versions)
        .chain([PathBuf::from("/usr/local/bin")])
        .any(|folder| has_server(&folder))
}

fn has_server(folder: &Path) -> bool {
    folder.join("initdb").exists() && folder.join("postgres").exists()
}
