//! The Postgres that the tests start: found, or installed from the system's packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Result, bail, ensure};

use crate::process;
use crate::stages::{Outcome, Tally};

const BY_HAND: &str = "the tests of the Postgres store start a server of their own and need its \
programs `initdb` and `postgres`, in PATH or below /usr/lib/postgresql";

/// Sees to it that there is a server to start; installs one on a system of the Debian family.
pub fn install(name: &str) -> Result<Outcome> {
    let mut excerpt = String::new();
    if !is_there() {
        excerpt = install_package(name)?;
        ensure!(
            is_there(),
            "the package `postgresql` was installed, but there is no server: {BY_HAND}\n{excerpt}"
        );
    }
    Ok(Outcome {
        tally: Tally {
            passed: 1,
            failed: 0,
        },
        excerpt,
    })
}

fn install_package(name: &str) -> Result<String> {
    if !in_path("apt-get") {
        bail!("no Postgres server, and no apt-get to install it with: {BY_HAND}");
    }
    if !is_root() {
        bail!("no Postgres server: run `sudo apt-get install postgresql`; {BY_HAND}");
    }
    let mut said = String::new();
    for arguments in [
        &["update"][..],
        &["install", "--yes", "--no-install-recommends", "postgresql"],
    ] {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // The package would start a server of the system's, which nobody asked for.
            .env("RUNLEVEL", "1");
        let ended = process::run(name, &mut command)?;
        said.push_str(&ended.output);
        let line = arguments.join(" ");
        ensure!(ended.is_success, "`apt-get {line}` failed:\n{said}");
    }
    Ok(said)
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

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).exists())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
