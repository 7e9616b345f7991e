//! What a connection takes of memory while nobody does anything.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::compare::contestant::Contestant;
use crate::compare::crowd::{Crowd, Load, Pace, Until, What};
use crate::compare::table::{Row, Table, count, shown};
use crate::compare::{Bench, median};

const CONNECTIONS: usize = 2_000;
/// How long a server may take to come to rest.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// Nobody writes.
const fn load(connections: usize) -> Load {
    Load {
        rooms: connections / 2,
        members: 2,
        writers: 0,
        what: What::Typing,
        pace: Pace::PerSecond(1.0),
    }
}

pub fn run(bench: &Bench) -> Result<Table> {
    let mut rows = Vec::new();
    for contestant in bench.contestants(&Contestant::ALL) {
        eprintln!("idle: {}", contestant.name());
        let mut rounds = Vec::new();
        for _ in 0..bench.rounds() {
            rounds.push(once(bench, contestant, CONNECTIONS)?);
        }
        let figure = median(rounds.iter().map(|(bytes, _)| *bytes)) / 1_024.0;
        eprintln!("    {} KiB", shown(figure));
        rows.push(Row {
            contestant,
            figure: Some(figure),
            why: "",
            others: vec![shown(median(rounds.iter().map(|(_, cpu)| *cpu)) * 1e6)],
        });
    }
    let mut notes = vec![format!(
        "{} connections in {} rooms, each with an awareness state and an empty document, three \
         seconds after the last came: what the server's resident memory has grown by.",
        count(CONNECTIONS as f64),
        count(CONNECTIONS as f64 / 2.0),
    )];
    let most = bench.sockets_max();
    if bench.contestants(&[Contestant::Relay]).next().is_some() && !bench.is_quick {
        let (bytes, cpu) = once(bench, Contestant::Relay, most)?;
        notes.push(format!(
            "{} idle connections on this machine (as many as a process may open here) take \
             {} KiB each, {} MiB in all, and {} % of a core.",
            count(most as f64),
            shown(bytes / 1_024.0),
            count(bytes * most as f64 / 1_048_576.0),
            shown(cpu * most as f64 * 100.0),
        ));
    }
    Ok(Table {
        name: "idle",
        title: "Idle connections, two in each room".to_owned(),
        unit: "KiB each",
        columns: vec!["CPU µs per second and connection"],
        rows,
        notes,
    })
}

/// Bytes and processor seconds per second, of each connection.
fn once(bench: &Bench, contestant: Contestant, connections: usize) -> Result<(f64, f64)> {
    let server = bench.programs.start_idle(contestant)?;
    thread::sleep(Duration::from_millis(500));
    let before = server.resident_bytes()?;
    let mut crowd = Crowd::gather(&server, contestant, load(connections))?;
    let figures = crowd.measure(&server, SETTLED_AFTER, Until::Elapsed(SETTLED_AFTER))?;
    let bytes = server.resident_bytes()?.saturating_sub(before);
    let seconds = figures.cpu.as_secs_f64() / figures.lasted.as_secs_f64();
    Ok((
        bytes as f64 / connections as f64,
        seconds / connections as f64,
    ))
}
