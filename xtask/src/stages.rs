//! `cargo xtask test`: the stages, their counts, and what is shown of a failure.

use std::io::{Write, stdout};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::database;
use crate::instructions;
use crate::node;
use crate::process::{self, Ended};
use crate::stress::{BUSY_LOOPS, BusyLoops};
use crate::web;

/// Lines of a failing stage's output that are shown; its log has the rest.
const LINES_SHOWN: usize = 120;

/// A part that can be asked for alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    Lint,
    Rust,
    Clients,
    Web,
}

impl Part {
    pub fn parse_all(names: &[&str]) -> Option<Vec<Self>> {
        names.iter().map(|name| Self::parse(name)).collect()
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "lint" => Some(Self::Lint),
            "rust" => Some(Self::Rust),
            "clients" => Some(Self::Clients),
            "web" => Some(Self::Web),
            _ => None,
        }
    }
}

/// How many checks held. A stage that is no suite of tests counts as one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

/// What a stage came to, and what to show if it failed.
pub struct Outcome {
    pub tally: Tally,
    pub excerpt: String,
}

impl Outcome {
    /// A stage that holds; otherwise there would have been an error.
    pub fn one(excerpt: String) -> Self {
        Self {
            tally: Tally {
                passed: 1,
                failed: 0,
            },
            excerpt,
        }
    }

    /// A stage that either holds or does not.
    pub fn all_or_nothing(ended: &Ended) -> Self {
        Self {
            tally: Tally {
                passed: usize::from(ended.is_success),
                failed: usize::from(!ended.is_success),
            },
            excerpt: ended.output.clone(),
        }
    }
}

/// What a stage is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Work {
    /// What the suites need.
    SetUp,
    /// Something whose outcome no other program on the machine changes.
    Check,
    /// Tests that run programs against each other.
    Suite,
}

/// The parts a stage belongs to, what it is for, its name (that of its log too), and what it does.
type Stage = (
    &'static [Part],
    Work,
    &'static str,
    fn(&str) -> Result<Outcome>,
);

const STAGES: [Stage; 17] = [
    (&[Part::Lint], Work::Check, "format", format),
    (&[Part::Lint], Work::Check, "clippy", clippy),
    (&[Part::Lint], Work::Check, "docs", docs),
    (
        &[Part::Rust, Part::Clients],
        Work::SetUp,
        "postgres",
        database::install,
    ),
    (&[Part::Rust], Work::SetUp, "rust-build", rust_build),
    (&[Part::Rust], Work::Suite, "rust-tests", rust_tests),
    (
        &[Part::Rust],
        Work::Check,
        "instructions",
        instructions::check,
    ),
    (
        &[Part::Clients, Part::Web],
        Work::SetUp,
        "relay-binary",
        relay_binary,
    ),
    (
        &[Part::Clients],
        Work::SetUp,
        "npm-packages",
        node::install_clients,
    ),
    (
        &[Part::Clients],
        Work::Suite,
        "client-tests",
        node::test_clients,
    ),
    (&[Part::Web], Work::SetUp, "web-packages", web::install),
    (&[Part::Web], Work::Check, "web-types", web::check),
    (&[Part::Web], Work::Check, "web-lint", web::lint),
    (&[Part::Web], Work::Suite, "web-tests", web::unit_tests),
    (&[Part::Web], Work::SetUp, "web-build", web::build),
    (&[Part::Web], Work::SetUp, "browser", web::browser),
    (&[Part::Web], Work::Suite, "web-e2e", web::e2e_tests),
];

/// Runs the stages of the named parts, or all; whether everything held.
pub fn run(parts: &[Part]) -> Result<bool> {
    let mut total = Tally::default();
    run_stages(parts, |_| true, "", &mut total)?;
    conclude(total)
}

/// How often a stress run repeats the suites.
const ROUNDS: usize = 3;

/// Runs the suites of the named parts, or all, again and again on a machine that is kept busy. What
/// they need is made before, in peace.
pub fn stress(parts: &[Part]) -> Result<bool> {
    let mut total = Tally::default();
    run_stages(parts, |work| work == Work::SetUp, "", &mut total)?;
    let _busy = BusyLoops::start();
    for round in 1..=ROUNDS {
        println!("round {round} of {ROUNDS}, beside {BUSY_LOOPS} busy loops");
        let suffix = format!("-{round}");
        run_stages(parts, |work| work == Work::Suite, &suffix, &mut total)?;
    }
    conclude(total)
}

/// Runs the stages that are asked for; each writes its log under its name and the suffix.
fn run_stages(
    parts: &[Part],
    is_wanted: impl Fn(Work) -> bool,
    suffix: &str,
    total: &mut Tally,
) -> Result<()> {
    for (belongs_to, work, name, stage) in STAGES {
        let is_named = |part| parts.contains(part);
        if !is_wanted(work) || !parts.is_empty() && !belongs_to.iter().any(is_named) {
            continue;
        }
        let log = format!("{name}{suffix}");
        print!("{log:<14}");
        stdout().flush()?;
        #[expect(clippy::disallowed_methods, reason = "a stopwatch for people to read")]
        let started = Instant::now();
        let outcome = stage(&log).unwrap_or_else(|error| Outcome {
            tally: Tally {
                passed: 0,
                failed: 1,
            },
            excerpt: format!("{error:#}"),
        });
        report(&log, &outcome, started.elapsed());
        total.passed += outcome.tally.passed;
        total.failed += outcome.tally.failed;
    }
    Ok(())
}

fn conclude(total: Tally) -> Result<bool> {
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.failed == 0)
}

fn report(name: &str, outcome: &Outcome, took: Duration) {
    let Tally { passed, failed } = outcome.tally;
    let took = took.as_secs();
    if failed == 0 {
        println!("ok      {passed:>4} passed              {took:>4} s");
        return;
    }
    println!("FAILED  {passed:>4} passed, {failed:>3} failed  {took:>4} s");
    let lines: Vec<&str> = outcome.excerpt.lines().collect();
    for line in lines.iter().take(LINES_SHOWN) {
        println!("    {line}");
    }
    if lines.len() > LINES_SHOWN {
        println!("    … {} more lines", lines.len() - LINES_SHOWN);
    }
    let log = process::target().join("xtask").join(format!("{name}.log"));
    println!("    all of it: {}", log.display());
}

fn format(name: &str) -> Result<Outcome> {
    let ended = process::run(name, process::cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::all_or_nothing(&ended))
}

fn clippy(name: &str) -> Result<Outcome> {
    let mut command = process::cargo();
    command.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
    command.args(["--", "-D", "warnings"]);
    Ok(Outcome::all_or_nothing(&process::run(name, &mut command)?))
}

fn docs(name: &str) -> Result<Outcome> {
    let mut command = process::cargo();
    command
        .args(["doc", "--quiet", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    Ok(Outcome::all_or_nothing(&process::run(name, &mut command)?))
}

fn relay_binary(name: &str) -> Result<Outcome> {
    let mut command = process::cargo();
    command.args(["build", "--quiet", "--bin", "copresence"]);
    Ok(Outcome::all_or_nothing(&process::run(name, &mut command)?))
}

fn rust_build(name: &str) -> Result<Outcome> {
    let mut command = process::cargo();
    command.args(["test", "--quiet", "--workspace", "--no-run"]);
    Ok(Outcome::all_or_nothing(&process::run(name, &mut command)?))
}

fn rust_tests(name: &str) -> Result<Outcome> {
    let mut command = process::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    let ended = process::run(name, &mut command)?;
    let mut tally = sum_test_results(&ended.output);
    if !ended.is_success && tally.failed == 0 {
        // It did not build, or a test took its whole process with it.
        tally.failed = 1;
    }
    let excerpt = rust_failures(&ended.output);
    Ok(Outcome { tally, excerpt })
}

/// Sums the lines in which each test binary says how it went.
fn sum_test_results(output: &str) -> Tally {
    let mut tally = Tally::default();
    for line in output
        .lines()
        .filter(|line| line.starts_with("test result:"))
    {
        tally.passed += number_before(line, " passed");
        tally.failed += number_before(line, " failed");
    }
    tally
}

fn number_before(line: &str, word: &str) -> usize {
    let Some((before, _)) = line.split_once(word) else {
        return 0;
    };
    let digits = before
        .rsplit(|character: char| !character.is_ascii_digit())
        .next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What each failing test said; what the compiler said if there were no tests; else the end.
fn rust_failures(output: &str) -> String {
    let mut shown = Vec::new();
    let mut is_failure = false;
    for line in output.lines() {
        if line == "failures:" {
            is_failure = true;
        } else if line.starts_with("test result:") {
            is_failure = false;
        }
        if is_failure || line.starts_with("error") || line.contains("panicked at") {
            shown.push(line);
        }
    }
    if shown.len() < 3 {
        let lines: Vec<&str> = output.lines().collect();
        return lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_test_binaries_are_summed() {
        let output = "\
running 3 tests
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
test result: FAILED. 40 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 2s
";
        assert_eq!(
            sum_test_results(output),
            Tally {
                passed: 43,
                failed: 2
            }
        );
    }

    #[test]
    fn of_a_failing_test_run_the_failures_are_shown() {
        let output = "\
running 2 tests
test one ... ok
test two ... FAILED

failures:

---- two stdout ----
thread 'two' panicked at src/lib.rs:1:1:
no

failures:
    two

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
";
        let shown = rust_failures(output);
        assert!(shown.starts_with("failures:"));
        assert!(shown.contains("panicked at src/lib.rs"));
        assert!(!shown.contains("test one"));
    }
}
