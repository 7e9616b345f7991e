//! Packages of Node: installed from their lock files, and their tests against the relay's binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::stages::{Outcome, Tally};

/// A folder with a `package.json`.
#[derive(Clone, Copy)]
pub struct Package {
    /// From the repository's root.
    pub folder: &'static str,
    /// What to say when npm is not there.
    pub needs: &'static str,
}

/// Tests of a package that Node runs itself, against the relay's binary.
pub struct Suite {
    pub package: Package,
    /// The folder with the tests.
    pub tests: &'static str,
    /// The report's name in `target/xtask`.
    pub results: &'static str,
    pub files_at_once: usize,
    /// The longest a file may take.
    pub file_ms_max: usize,
    /// The file that takes longest begins first, so that the others run meanwhile.
    pub first: &'static str,
}

const CLIENTS: Package = Package {
    folder: "tests/clients",
    needs: "tests/clients needs Node 20 or newer with npm",
};
const WITH_CLIENTS: Suite = Suite {
    package: CLIENTS,
    tests: "test",
    results: "client-tests.tap",
    // They mostly wait, and each runs a relay of its own.
    files_at_once: 3,
    // One of them waits for networks to be given up.
    file_ms_max: 240_000,
    first: "silence.test.mjs",
};

impl Package {
    pub fn path(&self) -> PathBuf {
        process::root().join(self.folder)
    }

    pub fn npm(&self) -> Command {
        let mut command = Command::new("npm");
        command.current_dir(self.path());
        command
    }
}

pub fn install_clients(name: &str) -> Result<Outcome> {
    install(&CLIENTS, name)
}

pub fn test_clients(name: &str) -> Result<Outcome> {
    test(&WITH_CLIENTS, name)
}

/// Installs exactly what the lock file names, if that is not what is there.
pub fn install(package: &Package, name: &str) -> Result<Outcome> {
    let folder = package.path();
    let wanted = fs::read(folder.join("package-lock.json"))?;
    // A copy of the lock file that the packages were installed from.
    let mark = folder.join("node_modules/.installed-from");
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(Outcome::one(String::new()));
    }
    let ended = process::run(name, package.npm().arg("ci")).context(package.needs)?;
    ensure!(ended.is_success, "npm ci failed:\n{}", ended.output);
    fs::write(&mark, wanted)?;
    Ok(Outcome::one(ended.output))
}

/// Runs all of a suite against the debug build, or the one that `COPRESENCE_BIN` names.
pub fn test(suite: &Suite, name: &str) -> Result<Outcome> {
    let debug_build = || process::target().join("debug/copresence").into();
    let binary = env::var_os("COPRESENCE_BIN").unwrap_or_else(debug_build);
    let results = process::target().join("xtask").join(suite.results);
    fs::create_dir_all(process::target().join("xtask"))?;
    let mut command = Command::new("node");
    command
        .current_dir(suite.package.path())
        .env("COPRESENCE_BIN", binary)
        .arg("--test")
        .arg(format!("--test-concurrency={}", suite.files_at_once))
        .arg(format!("--test-timeout={}", suite.file_ms_max))
        .args(["--test-reporter=spec", "--test-reporter-destination=stdout"])
        .arg("--test-reporter=tap")
        .arg(format!("--test-reporter-destination={}", results.display()))
        .args(test_files(suite)?);
    let ended = process::run(name, &mut command).context(suite.package.needs)?;
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

fn test_files(suite: &Suite) -> Result<Vec<PathBuf>> {
    let folder = suite.package.path().join(suite.tests);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if is_test(&path) {
            files.push(path);
        }
    }
    ensure!(!files.is_empty(), "no tests in {}", folder.display());
    files.sort_by_key(|path| (!path.ends_with(suite.first), path.clone()));
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
