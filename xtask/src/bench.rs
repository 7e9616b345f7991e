//! `cargo xtask bench`: the figures of `docs/performance.md` and `docs/durability.md`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process;

/// The core of the load generator; servers are given another.
const GENERATOR_CORE: &str = "1";
const Y_SWEET_VERSION: &str = "0.9.1";

/// Builds the relay and the peers, then measures them all under the same load; whether that went
/// well. What the options mean is the benchmark's business.
pub fn compare(options: &[&str]) -> Result<bool> {
    let scripts = process::root().join("bench/peers");
    install(&scripts.join("hocuspocus"))?;
    install(&scripts.join("y-websocket"))?;
    let peers = process::target().join("xtask/peers");
    for (name, built) in [
        ("yrs-warp", build_yrs_warp(&scripts, &peers)),
        ("y-sweet", build_y_sweet(&peers)),
    ] {
        if let Err(error) = built {
            eprintln!("without {name}: {error:#}");
        }
    }
    let release = build()?;
    let status = Command::new("taskset")
        .args(["-c", GENERATOR_CORE])
        .arg(release.join("copresence-bench"))
        .arg("compare")
        .args([
            &release,
            &scripts,
            &peers,
            &process::target().join("xtask/bench"),
            &process::root().join("docs"),
        ])
        .args(options)
        .status()
        .context("cannot run the benchmark: it needs `taskset`")?;
    Ok(status.success())
}

/// Builds the relay and the peer, then measures what durability costs both; whether that went well.
pub fn durability() -> Result<bool> {
    let peer = process::root().join("bench/peers/hocuspocus");
    install(&peer)?;
    let release = build()?;
    let status = Command::new(release.join("copresence-bench"))
        .arg("durability")
        .arg(release.join("copresence"))
        .arg(peer.join("server.mjs"))
        .arg(process::target().join("xtask/durability"))
        .status()
        .context("cannot run the benchmark")?;
    Ok(status.success())
}

/// Everything of ours, for release; where it is.
fn build() -> Result<PathBuf> {
    eprintln!("building …");
    let built = process::cargo()
        .args(["build", "--release", "--quiet"])
        .args(["-p", "copresence", "-p", "copresence-bench"])
        .status()?;
    ensure!(built.success(), "the build failed");
    Ok(process::target().join("release"))
}

/// Installs what the lock file names, and builds the one package that is not JavaScript.
fn install(package: &Path) -> Result<()> {
    let wanted = fs::read(package.join("package-lock.json"))?;
    // A copy of the lock file that the packages were installed from.
    let mark: PathBuf = package.join("node_modules/.installed-from");
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    for arguments in [
        &["ci", "--silent"][..],
        &["run", "--if-present", "build-sqlite"],
    ] {
        eprintln!("npm {} in {} …", arguments.join(" "), package.display());
        let ended = process::run(
            "bench-peers",
            Command::new("npm").args(arguments).current_dir(package),
        )
        .context("the peers need Node 20 or newer with npm")?;
        ensure!(ended.is_success, "npm failed:\n{}", ended.output);
    }
    Ok(fs::write(&mark, wanted)?)
}

/// A package of its own, whose dependencies are other versions than ours.
fn build_yrs_warp(scripts: &Path, peers: &Path) -> Result<()> {
    let folder = process::target().join("xtask/peers-build");
    eprintln!("building yrs-warp …");
    let mut command = process::cargo();
    command
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(scripts.join("yrs-warp/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder);
    let ended = process::run("bench-peers", &mut command)?;
    ensure!(ended.is_success, "the build failed:\n{}", ended.output);
    let name = format!("bench-yrs-warp{}", env::consts::EXE_SUFFIX);
    fs::create_dir_all(peers)?;
    fs::copy(folder.join("release").join(&name), peers.join(&name))?;
    Ok(())
}

/// A program from the registry, compiled once.
fn build_y_sweet(peers: &Path) -> Result<()> {
    let name = format!("y-sweet{}", env::consts::EXE_SUFFIX);
    if peers.join(&name).exists() {
        return Ok(());
    }
    eprintln!("building y-sweet, once …");
    let folder = process::target().join("xtask/peers-build");
    let installed = folder.join("installed");
    let mut command = process::cargo();
    command
        .args([
            "install",
            "y-sweet",
            "--locked",
            "--version",
            Y_SWEET_VERSION,
        ])
        .arg("--root")
        .arg(&installed)
        .arg("--target-dir")
        .arg(folder.join("y-sweet"));
    let ended = process::run("bench-peers", &mut command)?;
    ensure!(ended.is_success, "the build failed:\n{}", ended.output);
    fs::create_dir_all(peers)?;
    fs::copy(installed.join("bin").join(&name), peers.join(&name))?;
    // Its build is larger than all of ours.
    fs::remove_dir_all(folder.join("y-sweet"))?;
    Ok(())
}
