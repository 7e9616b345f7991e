//! The benchmarks: `cargo xtask bench` builds the servers and starts this with where they are.
//!
//! [`durability`] measures what saved costs (docs/durability.md); [`compare`] measures the relay
//! beside a bare forwarder and other servers under the same load (docs/performance.md).

mod compare;
mod durability;
mod server;
mod stopwatch;
mod typing;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match arguments.split_first() {
        Some((name, rest)) if name == Path::new("durability") => durability::run(rest),
        Some((name, rest)) if name == Path::new("compare") => compare::run(rest),
        _ => bail!("usage: copresence-bench durability|compare …"),
    }
}

/// A folder with nothing in it.
fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).context("cannot clear the folder of the last run")?;
    }
    Ok(fs::create_dir_all(folder)?)
}
