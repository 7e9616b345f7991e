//! The instructions of the hot path, counted under `valgrind` and compared with those recorded.
//!
//! Time on a shared machine is a poor judge; instructions are the same each time, to a thousandth.
//! The tests in `src/relay/hot_path.rs` are run once more, one at a time, as `cargo test` built
//! them: without optimisation, so that nothing has to be built for this.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::stages::{Outcome, Tally};
use crate::system;

const MODULE: &str = "relay::hot_path";
const COUNTED: &str = "copresence::relay::hot_path::counted_turn*";
const TESTS: [&str; 5] = [
    "typing_in_pairs",
    "bursts_of_typing_in_pairs",
    "five_typing_in_a_crowd",
    "cursors_of_a_crowd",
    "one_cursor_in_a_crowd",
];
/// So many more instructions than recorded, in parts of a hundred, are too many.
const PERCENT_MORE_MAX: u64 = 10;

/// Counts, and writes the counts down; whether that went well.
pub fn record() -> Result<bool> {
    let counts = count("instructions")?;
    let mut text = String::from(
        "# Instructions of the hot path, as `cargo xtask instructions --record` counted them.\n",
    );
    for (test, count) in &counts {
        println!("{test:<24} {count:>12}");
        text.push_str(&format!("{test} {count}\n"));
    }
    fs::write(recorded_in(), text)?;
    Ok(true)
}

/// Counts, and prints how that compares; whether nothing is too many.
pub fn show() -> Result<bool> {
    let outcome = check("instructions")?;
    println!("{}", outcome.excerpt);
    Ok(outcome.tally.failed == 0)
}

/// The stage: each test's count against the recorded one.
pub fn check(name: &str) -> Result<Outcome> {
    let recorded = read(&fs::read_to_string(recorded_in())?)?;
    let mut outcome = Outcome {
        tally: Tally::default(),
        excerpt: String::new(),
    };
    for (test, count) in count(name)? {
        let before = recorded.get(&test).copied();
        let is_fine = before.is_some_and(|before| is_fine(before, count));
        match is_fine {
            true => outcome.tally.passed += 1,
            false => outcome.tally.failed += 1,
        }
        let before = before.unwrap_or_default();
        let change = (count as f64 / before as f64 - 1.0) * 100.0;
        outcome.excerpt.push_str(&format!(
            "{test:<24} {count:>12} instructions, {before:>12} recorded: {change:+.1} %\n"
        ));
    }
    outcome.excerpt.push_str(
        "More than 10 % more are too many. If they are worth it: cargo xtask instructions --record",
    );
    Ok(outcome)
}

fn is_fine(before: u64, now: u64) -> bool {
    now * 100 <= before * (100 + PERCENT_MORE_MAX)
}

fn recorded_in() -> PathBuf {
    process::root().join("bench/hot-path.txt")
}

fn read(text: &str) -> Result<BTreeMap<String, u64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let counts = lines.map(|line| {
        let (test, count) = line.split_once(' ').context("a line without a count")?;
        Ok((test.to_owned(), count.parse()?))
    });
    counts.collect()
}

fn count(name: &str) -> Result<BTreeMap<String, u64>> {
    if !system::in_path("valgrind") {
        let why = "the instructions of the hot path are counted with it";
        system::install_package(name, "valgrind", why)?;
    }
    let tests = test_binary(name)?;
    // Each has a core: they are waited for one after the other.
    let mut counts = BTreeMap::new();
    for pair in TESTS.chunks(2) {
        let outputs: Vec<Result<process::Ended>> = std::thread::scope(|scope| {
            let started = pair.iter().map(|test| {
                let tests = &tests;
                scope.spawn(move || run(&format!("{name}-{test}"), tests, test))
            });
            let started: Vec<_> = started.collect();
            let ended = started.into_iter().map(|thread| {
                let failed = || anyhow::anyhow!("the thread that waits for valgrind failed");
                thread.join().map_err(|_| failed())?
            });
            ended.collect()
        });
        for (test, ended) in pair.iter().zip(outputs) {
            let ended = ended?;
            ensure!(ended.is_success, "{test} failed:\n{}", ended.output);
            let count = collected(&ended.output);
            let count = count.with_context(|| format!("no count in:\n{}", ended.output))?;
            ensure!(0 < count, "{COUNTED} was never called in {test}");
            counts.insert((*test).to_owned(), count);
        }
    }
    Ok(counts)
}

fn run(name: &str, tests: &Path, test: &str) -> Result<process::Ended> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg("--callgrind-out-file=/dev/null")
        .arg(tests)
        .arg(format!("{MODULE}::{test}"))
        .args(["--exact", "--test-threads=1"]);
    process::run(name, &mut command)
}

/// Where the library's tests are, built if need be.
fn test_binary(name: &str) -> Result<PathBuf> {
    let mut command = process::cargo();
    command.args(["test", "--package", "copresence", "--lib", "--no-run"]);
    let ended = process::run(name, &mut command)?;
    ensure!(
        ended.is_success,
        "the tests do not build:\n{}",
        ended.output
    );
    let path = executable(&ended.output).context("cargo did not say where the tests are")?;
    Ok(process::root().join(path))
}

/// The path in cargo's line `Executable unittests src/lib.rs (target/debug/deps/…)`.
fn executable(output: &str) -> Option<&str> {
    let line = output.lines().find(|line| line.contains("Executable"))?;
    line.rsplit_once('(')?.1.strip_suffix(')')
}

/// The number in valgrind's line `==123== Collected : 456`.
fn collected(output: &str) -> Option<u64> {
    let line = output.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_is_the_most() {
        assert!(is_fine(1_000, 1_100));
        assert!(is_fine(1_000, 10));
        assert!(!is_fine(1_000, 1_101));
    }

    #[test]
    fn what_cargo_and_valgrind_say_is_understood() {
        let cargo = "    Finished `test` profile in 0.1s\n  Executable unittests src/lib.rs \
                     (target/debug/deps/copresence-0123)\n";
        assert_eq!(executable(cargo), Some("target/debug/deps/copresence-0123"));
        assert_eq!(collected("==7== \n==7== Collected : 1234\n"), Some(1_234));
        assert_eq!(collected("==7== Collected :\n"), None);
    }

    #[test]
    fn records_are_read_without_their_heading() {
        let recorded = read("# Counts\na 12\nb 7\n").unwrap();
        assert_eq!(recorded["a"], 12);
        assert!(read("a").is_err());
    }
}
