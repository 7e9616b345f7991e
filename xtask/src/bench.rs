//! `cargo xtask bench durability`: the figures of `docs/durability.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process;

/// Builds the relay and the peer, then measures both; whether that went well.
pub fn durability() -> Result<bool> {
    let peer = process::root().join("bench/peer");
    install(&peer)?;
    eprintln!("building …");
    let built = process::cargo()
        .args(["build", "--release", "--quiet"])
        .args(["-p", "copresence", "-p", "copresence-bench"])
        .status()?;
    ensure!(built.success(), "the build failed");
    let release = process::target().join("release");
    let status = Command::new(release.join("copresence-bench"))
        .arg(release.join("copresence"))
        .arg(peer.join("server.mjs"))
        .arg(process::target().join("xtask/bench"))
        .status()
        .context("cannot run the benchmark")?;
    Ok(status.success())
}

/// Installs what the lock file names, and builds the one package that is not JavaScript.
fn install(peer: &Path) -> Result<()> {
    let wanted = fs::read(peer.join("package-lock.json"))?;
    // A copy of the lock file that the packages were installed from.
    let mark: PathBuf = peer.join("node_modules/.installed-from");
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    for arguments in [["ci", "--silent"], ["run", "build-sqlite"]] {
        eprintln!("npm {} in bench/peer …", arguments.join(" "));
        let ended = process::run(
            "bench-peer",
            Command::new("npm").args(arguments).current_dir(peer),
        )
        .context("the peer needs Node 20 or newer with npm")?;
        ensure!(ended.is_success, "npm failed:\n{}", ended.output);
    }
    Ok(fs::write(&mark, wanted)?)
}
