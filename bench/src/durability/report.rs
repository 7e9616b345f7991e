//! The figures as tables: medians of the rounds, ours beside theirs, and how one is to the other.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::durability::disk::Delays;
use crate::durability::document::{self, LongDocument, OPERATIONS};
use crate::durability::load;
use crate::durability::programs::Kind;

pub fn machine(syncs_per_second: f64, sync_micros: u128) {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let mut lines = processor.lines().filter(|line| line.starts_with(name));
        let value = lines.next().and_then(|line| line.split(": ").nth(1));
        value.unwrap_or("unknown").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    println!(
        "{}, {cores} cores; {} {}; Node {}; busy with {load} before. Its disk confirms {} appends \
         of 4 KiB a second, one after the other (median {sync_micros} µs).\n",
        field("model name"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        said("node", "--version").trim_start_matches('v'),
        count(syncs_per_second),
    );
}

fn said(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// What was measured under load: per server and number of rooms, the rounds.
#[derive(Default)]
pub struct Loads(BTreeMap<(Kind, usize), Vec<load::Figures>>);

impl Loads {
    pub fn add(&mut self, kind: Kind, rooms: usize, figures: load::Figures) {
        self.0.entry((kind, rooms)).or_default().push(figures);
    }

    fn median(&self, kind: Kind, rooms: usize, of: impl Fn(&load::Figures) -> f64) -> f64 {
        let rounds = self.0.get(&(kind, rooms));
        median(rounds.into_iter().flatten().map(of))
    }

    fn sum(&self, kind: Kind, rooms: usize, of: impl Fn(&load::Figures) -> u64) -> u64 {
        let rounds = self.0.get(&(kind, rooms));
        rounds.into_iter().flatten().map(of).sum()
    }
}

pub fn loads(loads: &Loads) {
    println!("| rooms | | copresence (on disk) | Hocuspocus (in memory) | ratio |");
    println!("| ---: | --- | ---: | ---: | ---: |");
    for rooms in crate::durability::ROOMS {
        let rates = Kind::BOTH
            .map(|kind| loads.median(kind, rooms, |figures| figures.acknowledged_per_second));
        row(
            &count(rooms as f64),
            "acknowledged per second",
            rates,
            count,
        );
        let medians =
            Kind::BOTH.map(|kind| loads.median(kind, rooms, |figures| millis(figures.median)));
        row("", "to the acknowledgement, p50", medians, in_millis);
        let p99 = Kind::BOTH.map(|kind| loads.median(kind, rooms, |figures| millis(figures.p99)));
        row("", "to the acknowledgement, p99", p99, in_millis);
        let [ours, theirs] = Kind::BOTH.map(|kind| {
            let acknowledged = loads.sum(kind, rooms, |figures| figures.acknowledged);
            let lost = loads.sum(kind, rooms, |figures| figures.lost);
            format!("{} of {}", count(lost as f64), count(acknowledged as f64))
        });
        println!("| | acknowledged and lost by SIGKILL | {ours} | {theirs} | |");
    }
    println!();
}

pub fn delays(ours: &Delays, theirs: &Delays) {
    println!("| one room, ten keys a second for 12 s | copresence | Hocuspocus |");
    println!("| --- | ---: | ---: |");
    let row = |what: &str, of: fn(&Delays) -> Duration| {
        let [ours, theirs] = [ours, theirs].map(|delays| in_millis(millis(of(delays))));
        println!("| {what} | {ours} | {theirs} |");
    };
    row("to the acknowledgement, longest", |delays| {
        delays.acknowledgement
    });
    row("until found on disk, longest", |delays| delays.longest);
    row("until found on disk, the last key", |delays| delays.last);
    println!();
}

pub fn documents(long: &LongDocument, rounds: &[document::Figures]) {
    let of = |of: fn(&document::Figures) -> Duration| {
        median(rounds.iter().map(|figures| millis(of(figures))))
    };
    let bytes =
        |of: fn(&document::Figures) -> u64| median(rounds.iter().map(|figures| of(figures) as f64));
    println!(
        "{} operations, {} characters to be seen; {} as updates, {} as one update.\n",
        count(OPERATIONS as f64),
        count(long.length as f64),
        in_kib(long.update_bytes as f64),
        in_kib(bytes(|figures| figures.document_bytes as u64)),
    );
    println!("| a long document | | copresence | Hocuspocus | ratio |");
    println!("| --- | --- | ---: | ---: | ---: |");
    let starts = [
        of(|figures| figures.relay_start),
        of(|figures| figures.peer_start),
    ];
    row("start", "process to first connection", starts, in_millis);
    let opened = [
        of(|figures| figures.from_snapshot),
        of(|figures| figures.from_peer),
    ];
    row("open", "from a snapshot", opened, in_millis);
    let from_log = in_millis(of(|figures| figures.from_log));
    println!("| | from the log of all its updates | {from_log} | has none | |");
    let compaction = in_millis(of(|figures| figures.compaction));
    println!("| compaction | in the background | {compaction} | has none | |");
    let file_bytes = [
        bytes(|figures| figures.compacted_file_bytes),
        bytes(|figures| figures.peer_file_bytes),
    ];
    row("file", "after compaction", file_bytes, in_kib);
    let free = in_kib(bytes(|figures| figures.compacted_free_bytes));
    println!("| | of which free for what comes next | {free} | | |");
    let log = in_kib(long.log_file_bytes as f64);
    println!("| | before compaction | {log} | | |");
}

fn row(first: &str, second: &str, [ours, theirs]: [f64; 2], show: fn(f64) -> String) {
    let ratio = ours / theirs;
    let (ours, theirs) = (show(ours), show(theirs));
    println!("| {first} | {second} | {ours} | {theirs} | {ratio:.2} |");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn in_millis(millis: f64) -> String {
    match millis {
        ..10.0 => format!("{millis:.2} ms"),
        10.0..100.0 => format!("{millis:.1} ms"),
        _ => format!("{} ms", count(millis)),
    }
}

fn in_kib(bytes: f64) -> String {
    format!("{} KiB", count(bytes / 1_024.0))
}

/// With a comma before each three digits.
fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_as_people_read_them() {
        assert_eq!(count(1_234_567.4), "1,234,567");
        assert_eq!(count(999.6), "1,000");
        assert_eq!(in_millis(0.123), "0.12 ms");
        assert_eq!(in_millis(2_345.0), "2,345 ms");
        assert_eq!(in_kib(2_048.0), "2 KiB");
    }

    #[test]
    fn one_bad_round_of_three_does_not_count() {
        assert_eq!(median([1.0, 900.0, 2.0].into_iter()), 2.0);
    }
}
