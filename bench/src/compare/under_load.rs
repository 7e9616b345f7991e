//! What a delivery costs while people type and move their cursors.

use std::time::Duration;

use anyhow::Result;

use crate::compare::contestant::Contestant;
use crate::compare::crowd::{Crowd, Figures, Load, Pace, Until, What};
use crate::compare::table::{Row, Table, count, shown};
use crate::compare::turns::{self, Turns};
use crate::compare::{Bench, median, millis};
use crate::usage::MachineTime;

/// A workload of the table.
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub load: Load,
}

/// All of them.
pub const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "typing",
        title: "200 rooms of two, each typing 10 characters a second",
        load: Load {
            rooms: 200,
            members: 2,
            writers: 2,
            what: What::Typing,
            pace: Pace::PerSecond(10.0),
        },
    },
    Workload {
        name: "typing-closed",
        title: "100 rooms of two, typing as fast as it goes",
        load: Load {
            rooms: 100,
            members: 2,
            writers: 2,
            what: What::Typing,
            pace: Pace::Window(WINDOW),
        },
    },
    Workload {
        name: "cursors",
        title: "One room of 100, each cursor moving twice a second",
        load: Load {
            rooms: 1,
            members: 100,
            writers: 100,
            what: What::Cursors,
            pace: Pace::PerSecond(2.0),
        },
    },
    Workload {
        name: "cursors-closed",
        title: "One room of 100, all cursors moving as fast as it goes",
        load: Load {
            rooms: 1,
            members: 100,
            writers: 100,
            what: What::Cursors,
            pace: Pace::Window(WINDOW_OF_MANY),
        },
    },
    Workload {
        name: "writers-closed",
        title: "One room of 100, ten of them typing as fast as it goes",
        load: Load {
            rooms: 1,
            members: 100,
            writers: 10,
            what: What::Typing,
            pace: Pace::Window(WINDOW),
        },
    },
];

/// Changes of a writer that may be on their way: what a busy editor's link holds.
const WINDOW: u32 = 10;
/// The same where a hundred write at once.
const WINDOW_OF_MANY: u32 = 4;

/// One run of one server.
struct Run {
    figures: Figures,
    lost: u64,
    turns: [String; 2],
}

/// Measures one workload on all servers that are asked for.
pub fn run(bench: &Bench, workload: &Workload) -> Result<Table> {
    let mut runs: Vec<(Contestant, Vec<Run>)> = Vec::new();
    let before = MachineTime::now()?;
    for round in 1..=bench.rounds() {
        for contestant in bench.contestants(&Contestant::ALL) {
            eprintln!("{}, round {round}: {}", workload.name, contestant.name());
            let of_it = match runs.iter_mut().find(|(known, _)| *known == contestant) {
                Some((_, of_it)) => of_it,
                None => {
                    runs.push((contestant, Vec::new()));
                    &mut runs.last_mut().expect("just pushed").1
                }
            };
            match once(bench, contestant, workload.load) {
                Ok(run) => {
                    eprintln!("    {} µs", shown(run.figures.cost()));
                    of_it.push(run);
                }
                Err(error) => eprintln!("    failed: {error:#}"),
            }
        }
    }
    Ok(Table {
        name: workload.name,
        title: workload.title.to_owned(),
        unit: "CPU s per million deliveries",
        columns: vec![
            "deliveries/s",
            "lost",
            "p50",
            "p99",
            "bytes each",
            "frames each",
            "generator busy",
            turns::COLUMNS[0],
            turns::COLUMNS[1],
        ],
        rows: runs.iter().map(|(who, runs)| row(*who, runs)).collect(),
        notes: vec![MachineTime::now()?.stolen_since(&before)],
    })
}

fn once(bench: &Bench, contestant: Contestant, load: Load) -> Result<Run> {
    let server = bench.programs.start(contestant)?;
    let mut crowd = Crowd::gather(&server, contestant, load)?;
    let before = Turns::read(&server, contestant)?;
    let (warm_up, lasting) = bench.lasting();
    let figures = crowd.measure(&server, warm_up, Until::Elapsed(lasting))?;
    let after = Turns::read(&server, contestant)?;
    let lost = crowd.drain()?;
    Ok(Run {
        figures,
        lost,
        turns: Turns::p999(before.as_ref(), after.as_ref()),
    })
}

fn row(contestant: Contestant, runs: &[Run]) -> Row {
    let of = |of: &dyn Fn(&Run) -> f64| median(runs.iter().map(of));
    let latency = |share: f64| {
        let latencies = runs.iter();
        millis(median(latencies.filter_map(|run| {
            let at = run.figures.latencies.quantile(share)?;
            Some(at.as_secs_f64())
        })))
    };
    if runs.is_empty() {
        return Row {
            contestant,
            figure: None,
            why: "failed",
            others: vec![String::new(); 9],
        };
    }
    let lost: u64 = runs.iter().map(|run| run.lost).sum();
    let cut: usize = runs.iter().map(|run| run.figures.cut).sum();
    let lost = match cut {
        0 => count(lost as f64),
        _ => format!("{}; {cut} sockets cut", count(lost as f64)),
    };
    let delivered = |run: &Run| run.figures.delivered as f64;
    let [turns, own] = runs.last().map(|run| run.turns.clone()).unwrap_or_default();
    Row {
        contestant,
        figure: Some(of(&|run| run.figures.cost())),
        why: "",
        others: vec![
            count(of(&|run| delivered(run) / run.figures.lasted.as_secs_f64())),
            lost,
            latency(0.5),
            latency(0.99),
            shown(of(&|run| run.figures.bytes as f64 / delivered(run))),
            shown(of(&|run| run.figures.frames as f64 / delivered(run))),
            format!("{:.0} %", of(&|run| run.figures.own_busy * 100.0)),
            turns,
            own,
        ],
    }
}

/// How long it runs before it counts, and then.
pub const LASTING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// The same where a first look is enough.
pub const LASTING_QUICK: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_millis(1_500));
