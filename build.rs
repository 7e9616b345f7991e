//! Says what the binary was built from: `--version` shows the commit.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=BUILD_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let commit = match env::var("BUILD_COMMIT") {
        // For builds outside of a repository, such as in a container.
        Ok(commit) if !commit.is_empty() => commit,
        // Builds for trying things out would all begin anew with every commit.
        _ if env::var("PROFILE").is_ok_and(|profile| profile != "release") => {
            "debug build".to_owned()
        }
        _ => commit_of_repository().unwrap_or_else(|| "unknown commit".to_owned()),
    };
    println!("cargo:rustc-env=BUILD_COMMIT={commit}");
}

/// The commit that is checked out, and whether the sources differ from it.
fn commit_of_repository() -> Option<String> {
    // A repository around an unpacked archive is somebody else's.
    if !Path::new(".git").exists() {
        return None;
    }
    // Each commit and checkout adds a line to the second.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if fs::exists(&path).is_ok_and(|exists| exists) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    for sources in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={sources}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&[
        "status",
        "--porcelain",
        "--",
        "src",
        "Cargo.toml",
        "Cargo.lock",
    ])?;
    match changes.is_empty() {
        true => Some(commit),
        false => Some(format!("{commit}, changed")),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
