//! The tests in `tests/clients`: the real JavaScript clients against the relay's binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::stages::{Outcome, Tally};

/// Test files at once: they mostly wait, and each runs a relay of its own.
const FILES_AT_ONCE: usize = 3;
/// The longest a file may take; one of them waits for networks to be given up.
const FILE_MS_MAX: usize = 240_000;

/// Installs exactly what the lock file names, if that is not what is there.
pub fn install(name: &str) -> Result<Outcome> {
    let folder = package();
    let wanted = fs::read(folder.join("package-lock.json"))?;
    // A copy of the lock file that the packages were installed from.
    let mark = folder.join("node_modules/.installed-from");
    let output = if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        String::new()
    } else {
        let ended = process::run(name, Command::new("npm").arg("ci").current_dir(&folder))
            .context("tests/clients needs Node 20 or newer with npm")?;
        ensure!(ended.is_success, "npm ci failed:\n{}", ended.output);
        fs::write(&mark, wanted)?;
        ended.output
    };
    Ok(Outcome {
        tally: Tally {
            passed: 1,
            failed: 0,
        },
        excerpt: output,
    })
}

/// Runs all of them against the debug build, or the one that `COPRESENCE_BIN` names.
pub fn test(name: &str) -> Result<Outcome> {
    let debug_build = || process::target().join("debug/copresence").into();
    let binary = env::var_os("COPRESENCE_BIN").unwrap_or_else(debug_build);
    let results = process::target().join("xtask/client-tests.tap");
    fs::create_dir_all(process::target().join("xtask"))?;
    let mut command = Command::new("node");
    command
        .current_dir(package())
        .env("COPRESENCE_BIN", binary)
        .arg("--test")
        .arg(format!("--test-concurrency={FILES_AT_ONCE}"))
        .arg(format!("--test-timeout={FILE_MS_MAX}"))
        .args(["--test-reporter=spec", "--test-reporter-destination=stdout"])
        .arg("--test-reporter=tap")
        .arg(format!("--test-reporter-destination={}", results.display()))
        .args(test_files()?);
    let ended = process::run(name, &mut command).context("tests/clients needs Node 20 or newer")?;
    let mut tally = summary(&fs::read_to_string(&results).unwrap_or_default());
    if !ended.is_success && tally.failed == 0 {
        tally.failed = 1;
    }
    let excerpt = match ended.output.split_once("failing tests:") {
        Some((_, failures)) => failures.to_owned(),
        None => ended.output,
    };
    Ok(Outcome { tally, excerpt })
}

fn package() -> PathBuf {
    process::root().join("tests/clients")
}

fn test_files() -> Result<Vec<PathBuf>> {
    let folder = package().join("test");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if is_test(&path) {
            files.push(path);
        }
    }
    ensure!(!files.is_empty(), "no tests in {}", folder.display());
    // The one that waits longest begins first, so that the others run meanwhile.
    files.sort_by_key(|path| (!path.ends_with("silence.test.mjs"), path.clone()));
    Ok(files)
}

fn is_test(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|path| path.ends_with(".test.mjs"))
}

/// Reads the counts at the end of a report in the Test Anything Protocol.
fn summary(report: &str) -> Tally {
    let count = |what: &str| -> usize {
        let prefix = format!("# {what} ");
        let line = report
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(&prefix));
        line.and_then(|number| number.trim().parse().ok())
            .unwrap_or(0)
    };
    Tally {
        passed: count("pass"),
        failed: count("fail") + count("cancelled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_was_cut_off_counts_as_failed() {
        let report = "ok 1 - fine\n1..9\n# tests 9\n# pass 6\n# fail 1\n# cancelled 2\n# todo 0\n";
        assert_eq!(
            summary(report),
            Tally {
                passed: 6,
                failed: 3
            }
        );
    }
}
