//! The relay beside a bare forwarder and other servers, under the same load.
//!
//! Each server in turn has one core, the generator another; what is compared is the processor time
//! that the operating system charges the server with, for each change that reaches somebody. Start
//! with [`crowd`], the load and how deliveries are counted; [`contestant`] is who takes part; each
//! workload is a file, and [`table`] and [`plot`] show what came out.

mod contestant;
mod crowd;
mod endings;
mod growth;
mod histogram;
mod idle;
mod long_document;
mod plot;
mod protocol;
mod socket;
mod table;
mod turns;
mod under_load;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::compare::contestant::{Contestant, Programs};
use crate::compare::table::Table;

/// The figures are medians of so many.
const ROUNDS: usize = 3;
/// Files a process opens beside its sockets.
const OTHER_FILES: usize = 200;
const SOCKETS_MAX: usize = 20_000;

/// What one run of the program is to do.
struct Bench {
    programs: Programs,
    is_quick: bool,
    /// Where `docs/performance.md` is, if it is to be written.
    report: Option<PathBuf>,
    wanted: Vec<String>,
    /// Only these servers, by a part of their names.
    only: Vec<String>,
}

impl Bench {
    fn rounds(&self) -> usize {
        if self.is_quick { 1 } else { ROUNDS }
    }

    fn lasting(&self) -> (Duration, Duration) {
        match self.is_quick {
            true => under_load::LASTING_QUICK,
            false => under_load::LASTING,
        }
    }

    /// Which of these take part.
    fn contestants(&self, all: &[Contestant]) -> impl Iterator<Item = Contestant> {
        let is_meant = |contestant: &Contestant| {
            let mut only = self.only.iter();
            self.only.is_empty() || only.any(|part| contestant.name().contains(part))
        };
        all.iter()
            .copied()
            .filter(move |contestant| is_meant(contestant) && self.programs.has(*contestant))
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == name)
    }

    /// How many connections a process may hold here.
    fn sockets_max(&self) -> usize {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        let files: usize = soft.unwrap_or(1_024);
        files
            .saturating_sub(files / 10 + OTHER_FILES)
            .min(SOCKETS_MAX)
            / 200
            * 200
    }

    fn show(&self, name: &str, markdown: &str) -> Result<()> {
        println!("{markdown}");
        match &self.report {
            Some(report) => table::record(&report.join("performance.md"), name, markdown),
            None => Ok(()),
        }
    }

    fn draw(&self, name: &str, svg: &str) -> Result<()> {
        let folder = match &self.report {
            Some(report) => report.join("images"),
            None => self.programs.folder.join("images"),
        };
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(format!("{name}.svg")), svg)?)
    }
}

/// All names that can be asked for.
const NAMES: [&str; 12] = [
    "typing",
    "typing-closed",
    "cursors",
    "cursors-closed",
    "writers-closed",
    "idle",
    "long-document",
    "removal",
    "kill",
    "growth-rooms",
    "growth-age",
    "growth-departed",
];

/// Measures and prints: `RELEASE SCRIPTS PEERS FOLDER DOCS [--quick] [--record] [--only NAME]…
/// [WORKLOAD]…`.
pub fn run(arguments: &[PathBuf]) -> Result<()> {
    let [release, scripts, peers, folder, docs, rest @ ..] = arguments else {
        bail!("compare needs RELEASE SCRIPTS PEERS FOLDER DOCS");
    };
    let mut bench = Bench {
        programs: Programs {
            release: release.clone(),
            scripts: scripts.clone(),
            peers: peers.clone(),
            folder: folder.clone(),
        },
        is_quick: false,
        report: None,
        wanted: Vec::new(),
        only: Vec::new(),
    };
    let mut rest = rest.iter().filter_map(|argument| argument.to_str());
    while let Some(argument) = rest.next() {
        match argument {
            "--quick" => bench.is_quick = true,
            "--record" => bench.report = Some(docs.clone()),
            "--only" => bench
                .only
                .push(rest.next().context("--only which server?")?.to_owned()),
            name if NAMES.contains(&name) => bench.wanted.push(name.to_owned()),
            name => bail!("no workload `{name}`: there are {}", NAMES.join(", ")),
        }
    }
    fs::create_dir_all(folder)?;
    let outcome = measure(&bench);
    endings::tidy(folder)?;
    outcome
}

fn measure(bench: &Bench) -> Result<()> {
    bench.show("machine", &machine(bench))?;
    let mut groups = Vec::new();
    for workload in &under_load::WORKLOADS {
        if bench.wants(workload.name) {
            let table = under_load::run(bench, workload)?;
            bench.show(table.name, &table.markdown())?;
            groups.push(group(&table));
        }
    }
    if bench.wants("idle") {
        let table = idle::run(bench)?;
        bench.show(table.name, &table.markdown())?;
        groups.push(group(&table));
    }
    if bench.wants("long-document") {
        for table in long_document::run(bench)? {
            bench.show(table.name, &table.markdown())?;
            groups.push(group(&table));
        }
    }
    if bench.wanted.is_empty() {
        bench.draw(
            "overview",
            &plot::bars("What it costs: shorter is better", &groups),
        )?;
    }
    for (name, table) in [
        ("removal", endings::removal as fn(&Bench) -> Result<Table>),
        ("kill", endings::kill),
    ] {
        if bench.wants(name) {
            bench.show(name, &table(bench)?.markdown())?;
        }
    }
    for (name, growth) in [
        (
            "growth-rooms",
            growth::rooms as fn(&Bench) -> Result<growth::Growth>,
        ),
        ("growth-age", growth::age),
        ("growth-departed", growth::departed),
    ] {
        if bench.wants(name) {
            let growth = growth(bench)?;
            bench.show(growth.name, &growth.markdown)?;
            bench.draw(growth.name, &growth.svg)?;
        }
    }
    Ok(())
}

/// A workload's bars.
fn group(table: &Table) -> (String, Vec<(String, Option<f64>)>) {
    let bars = table.rows.iter().map(|row| {
        let name = row.contestant.name().replace("**", "").replace('`', "");
        (name, row.figure)
    });
    (format!("{} ({})", table.title, table.unit), bars.collect())
}

fn machine(bench: &Bench) -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let mut lines = processor.lines().filter(|line| line.starts_with(name));
        let value = lines.next().and_then(|line| line.split_once(": "));
        value
            .map_or("an unknown processor", |(_, value)| value)
            .to_owned()
    };
    let cores = processor
        .lines()
        .filter(|line| line.starts_with("processor"));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let kernel = fs::read_to_string(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    format!(
        "{}, {} cores; Linux {}, {}; busy with {} before. Medians of {} round{}, each of {} s \
         after {} s.\n\n",
        field("model name"),
        cores.count(),
        kernel.trim(),
        std::env::consts::ARCH,
        load.split(' ').next().unwrap_or("unknown"),
        bench.rounds(),
        if bench.rounds() == 1 { "" } else { "s" },
        bench.lasting().1.as_secs_f64(),
        bench.lasting().0.as_secs_f64(),
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds, as people read them.
fn millis(seconds: f64) -> String {
    match seconds.is_nan() {
        true => String::new(),
        false => format!("{} ms", table::shown(seconds * 1_000.0)),
    }
}
