//! The end of a connection, and the end of a server.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::compare::contestant::{Contestant, Signer};
use crate::compare::crowd::greet;
use crate::compare::protocol::{Heard, State, entries, write_cursor, write_goodbye};
use crate::compare::socket::{READ_BYTES, Socket};
use crate::compare::table::{Row, Table, count};
use crate::compare::{Bench, median, millis};
use crate::durability::load;
use crate::durability::programs::{Kind, Programs};
use crate::server::Server;
use crate::stopwatch::Stopwatch;

const TRIALS: u64 = 200;
const TRIALS_QUICK: u64 = 40;
/// Who is still shown after this long is a ghost.
const GONE_WITHIN: Duration = Duration::from_secs(2);
/// How long they may take to see each other first.
const SEEN_WITHIN: Duration = Duration::from_secs(20);
const MOVE_EVERY: Duration = Duration::from_millis(50);
/// So many ghosts, and no more are tried.
const GHOSTS_MAX: usize = 3;
const TYPED_IN: usize = 100;
const KEY_EVERY: Duration = Duration::from_millis(100);

/// From the close of one until the other has been told.
pub fn removal(bench: &Bench) -> Result<Table> {
    let peers = Contestant::ALL.into_iter();
    let who: Vec<Contestant> = peers
        .filter(|contestant| contestant.has_documents() && *contestant != Contestant::RelayMemory)
        .collect();
    let mut rows = Vec::new();
    for contestant in bench.contestants(&who) {
        eprintln!("removal: {}", contestant.name());
        let server = bench.programs.start(contestant)?;
        let mut took = Vec::new();
        let mut ghosts = 0;
        let trials = if bench.is_quick { TRIALS_QUICK } else { TRIALS };
        for trial in 0..trials {
            match leave(&server, contestant, trial)? {
                Some(time) => took.push(time.as_secs_f64() * 1_000.0),
                None => ghosts += 1,
            }
            if ghosts == GHOSTS_MAX {
                break;
            }
        }
        let figure = (ghosts < GHOSTS_MAX).then(|| median(took.iter().copied()));
        took.sort_unstable_by(f64::total_cmp);
        let p99 = took.get(took.len() * 99 / 100).copied();
        rows.push(Row {
            contestant,
            figure,
            why: "never",
            others: vec![
                p99.filter(|_| figure.is_some())
                    .map_or_else(String::new, |p99| millis(p99 / 1_000.0)),
                count(f64::from(ghosts as u32)),
            ],
        });
    }
    Ok(Table {
        name: "removal",
        title: "From one's close to the other's removal".to_owned(),
        unit: "ms, median",
        columns: vec!["p99", "ghosts"],
        rows,
        notes: vec![
            "Two in a room; one sends a close frame, as a browser's tab does, and ends its \
             connection as soon as the server has answered. A ghost is somebody still shown after \
             two seconds."
                .to_owned(),
        ],
    })
}

fn leave(server: &Server, contestant: Contestant, trial: u64) -> Result<Option<Duration>> {
    let protocol = contestant.protocol();
    let room = contestant.room(trial as usize);
    let signer = Signer::new()?;
    let id_of = |which: u64| (1 << 30) + 2 * trial + which;
    let mut buffer = vec![0; READ_BYTES];
    let enter = |which: u64| -> Result<Socket> {
        let token = signer.token(contestant, id_of(which))?;
        let mut socket = Socket::open(server.address, &contestant.path(&room, &token))?;
        greet(protocol, &mut socket.out, &room, &token);
        let mut message = Vec::new();
        write_cursor(&mut message, id_of(which), 1, 1);
        protocol.write_raw(&mut socket.out, &mut Vec::new(), &room, &message);
        socket.flush();
        Ok(socket)
    };
    let mut leaving = enter(0)?;
    let mut staying = enter(1)?;
    let mut listen = |socket: &mut Socket, is_wanted_there: bool| -> Result<bool> {
        let mut is_heard = false;
        socket.read(&mut buffer, |payload| {
            if let Ok(Heard::Awareness(payload)) = protocol.hear(payload) {
                let heard = entries(payload, |id, _, state| {
                    is_heard |= id == id_of(0) && (state != State::Gone) == is_wanted_there;
                });
                // Nothing that is damaged says anything.
                is_heard &= heard.is_ok();
            }
        })?;
        Ok(is_heard)
    };
    let watch = Stopwatch::start();
    let mut moves = 0;
    while !listen(&mut staying, true)? {
        listen(&mut leaving, true)?;
        // Some tell a newcomer nothing of those who were there: they are seen when they move.
        if MOVE_EVERY * moves < watch.elapsed() {
            moves += 1;
            let mut message = Vec::new();
            write_cursor(&mut message, id_of(0), u64::from(moves) + 1, moves + 1);
            protocol.write_raw(&mut leaving.out, &mut Vec::new(), &room, &message);
            leaving.flush();
        }
        anyhow::ensure!(watch.elapsed() < SEEN_WITHIN, "they do not see each other");
    }
    // What else comes with joining is over.
    std::thread::sleep(Duration::from_millis(5));
    write_goodbye(&mut leaving.out);
    let watch = Stopwatch::start();
    leaving.flush();
    let mut leaving = Some(leaving);
    while watch.elapsed() < GONE_WITHIN {
        if let Some(socket) = &mut leaving {
            listen(socket, true)?;
            if socket.is_gone {
                leaving = None;
            }
        }
        if listen(&mut staying, false)? {
            return Ok(Some(watch.elapsed()));
        }
    }
    Ok(None)
}

/// Typing until SIGKILL: what was acknowledged, how soon, and what of it is gone.
pub fn kill(bench: &Bench) -> Result<Table> {
    let programs = Programs {
        relay: bench.programs.release.join("copresence"),
        peer: bench.programs.scripts.join("hocuspocus/server.mjs"),
        folder: bench.programs.folder.join("kill"),
    };
    crate::clear(&programs.folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut rows = Vec::new();
    for (contestant, kind) in [
        (Contestant::HocuspocusSqlite, Kind::Peer),
        (Contestant::RelayCollab, Kind::Relay),
    ] {
        eprintln!("kill: {}", contestant.name());
        let flat_out = runtime.block_on(load::run(&programs, kind, TYPED_IN, None))?;
        let paced = runtime.block_on(load::run(&programs, kind, TYPED_IN, Some(KEY_EVERY)))?;
        rows.push(Row {
            contestant,
            figure: Some((flat_out.lost + paced.lost) as f64),
            why: "",
            others: vec![
                count((flat_out.acknowledged + paced.acknowledged) as f64),
                millis(paced.median.as_secs_f64()),
                millis(paced.p99.as_secs_f64()),
                millis(flat_out.median.as_secs_f64()),
                millis(flat_out.p99.as_secs_f64()),
                count(flat_out.acknowledged_per_second),
            ],
        });
    }
    Ok(Table {
        name: "kill",
        title: format!("Acknowledged, and lost by SIGKILL after three seconds in {TYPED_IN} rooms"),
        unit: "lost",
        columns: vec![
            "acknowledged",
            "10 keys/s: to the acknowledgement, p50",
            "p99",
            "as fast as it goes: p50",
            "p99",
            "acknowledged/s",
        ],
        rows,
        notes: vec![
            "A disk's work is in these: servers and generator share both cores. \
             `@y/websocket-server` and yrs-warp acknowledge nothing and keep nothing; y-sweet \
             acknowledges what is in memory and writes every ten seconds. More of this is in \
             [durability.md](durability.md)."
                .to_owned(),
        ],
    })
}

/// Removes what the runs wrote.
pub fn tidy(folder: &Path) -> Result<()> {
    for name in ["data", "kill"] {
        let folder = folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}
