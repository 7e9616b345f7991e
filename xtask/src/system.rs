//! Programs of the system that tests need: found, or installed from Debian's packages.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Result, bail, ensure};

use crate::process;

/// Installs a package on a system of the Debian family; `why` says what it is for. Returns what
/// was printed meanwhile.
pub fn install_package(stage: &str, package: &str, why: &str) -> Result<String> {
    if !in_path("apt-get") {
        bail!("no {package}, and no apt-get to install it with: {why}");
    }
    if !is_root() {
        bail!("no {package}: run `sudo apt-get install {package}`; {why}");
    }
    let mut said = String::new();
    for arguments in [
        &["update"][..],
        &["install", "--yes", "--no-install-recommends", package],
    ] {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // A package may start a service of the system's, which nobody asked for.
            .env("RUNLEVEL", "1");
        let ended = process::run(stage, &mut command)?;
        said.push_str(&ended.output);
        let line = arguments.join(" ");
        ensure!(ended.is_success, "`apt-get {line}` failed:\n{said}");
    }
    Ok(said)
}

/// Whether there is such a program.
pub fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| is_file(&folder.join(program)))
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
