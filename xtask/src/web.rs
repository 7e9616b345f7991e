//! The web demo: its packages, its build, its tests in Node and in a browser.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::node::{self, Package, Suite};
use crate::process;
use crate::stages::{Outcome, Tally};
use crate::system;

const DEMO: Package = Package {
    folder: "web-demo",
    needs: "web-demo needs Node 20.19 or newer with npm",
};
const IN_BROWSER: Suite = Suite {
    package: DEMO,
    tests: "e2e",
    results: "web-e2e.tap",
    // Each has a browser and a relay of its own, and is as much work as a few others.
    files_at_once: 2,
    file_ms_max: 180_000,
    first: "session.test.mjs",
};
/// What the tests look for, in this order; `CHROMIUM_BIN` names another.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Where the build is.
pub fn dist() -> PathBuf {
    DEMO.path().join("dist")
}

/// Installs exactly what the lock file names.
pub fn install(name: &str) -> Result<Outcome> {
    node::install(&DEMO, name)
}

/// Checks the types.
pub fn check(name: &str) -> Result<Outcome> {
    let ended = process::run(name, DEMO.npm().args(["run", "check"]))?;
    Ok(Outcome::all_or_nothing(&ended))
}

/// Checks what types do not say: above all that hooks are called as React wants them to be.
pub fn lint(name: &str) -> Result<Outcome> {
    let ended = process::run(name, DEMO.npm().args(["run", "lint"]))?;
    Ok(Outcome::all_or_nothing(&ended))
}

/// The tests of hooks and components.
pub fn unit_tests(name: &str) -> Result<Outcome> {
    let results = process::target().join("xtask/web-unit.json");
    let _ = fs::remove_file(&results);
    let mut command = DEMO.npm();
    command
        .args(["test", "--", "--reporter=default", "--reporter=json"])
        .arg(format!("--outputFile.json={}", results.display()))
        .env("NO_COLOR", "1");
    let ended = process::run(name, &mut command)?;
    let mut tally = vitest_summary(&fs::read_to_string(&results).unwrap_or_default());
    if !ended.is_success && tally.failed == 0 {
        tally.failed = 1;
    }
    let excerpt = match ended.output.split_once("Failed Tests") {
        Some((_, failures)) => failures.to_owned(),
        None => ended.output,
    };
    Ok(Outcome { tally, excerpt })
}

/// Builds what `serve --web` serves.
pub fn build(name: &str) -> Result<Outcome> {
    let ended = process::run(name, DEMO.npm().args(["run", "build"]))?;
    Ok(Outcome::all_or_nothing(&ended))
}

/// Sees to it that there is a browser.
pub fn browser(name: &str) -> Result<Outcome> {
    const WHY: &str = "the tests of the web demo's pages run in a Chromium, which they look for in \
                       PATH or at CHROMIUM_BIN";
    let is_there =
        || env::var_os("CHROMIUM_BIN").is_some() || BROWSERS.into_iter().any(system::in_path);
    let mut excerpt = String::new();
    if !is_there() {
        excerpt = system::install_package(name, "chromium", WHY)?;
        ensure!(
            is_there(),
            "chromium was installed, but is not there: {WHY}"
        );
    }
    Ok(Outcome::one(excerpt))
}

/// The tests of the pages, in a browser, against the relay's binary.
pub fn e2e_tests(name: &str) -> Result<Outcome> {
    node::test(&IN_BROWSER, name)
}

/// Reads the counts of Vitest's report in JSON.
fn vitest_summary(report: &str) -> Tally {
    let count = |key: &str| -> usize {
        let found = report.split_once(&format!("\"{key}\":"));
        let digits = found.map(|(_, rest)| rest.trim_start());
        let digits = digits.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    };
    Tally {
        passed: count("numPassedTests"),
        failed: count("numFailedTests"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_vitest_are_read() {
        let report = r#"{"numTotalTestSuites":9,"numPassedTests":83,"numFailedTests": 2,"x":[]}"#;
        let tally = Tally {
            passed: 83,
            failed: 2,
        };
        assert_eq!(vitest_summary(report), tally);
        assert_eq!(vitest_summary(""), Tally::default());
    }
}
