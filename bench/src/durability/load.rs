//! Rooms that are typed in without pause: per room one update at a time, the next after the
//! acknowledgement. In the end the server is killed, and what it acknowledged is asked for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::{JoinSet, LocalSet};

use yrs::updates::decoder::Decode;
use yrs::{ClientID, Update};

use crate::durability::bot::Bot;
use crate::durability::programs::{Kind, Programs};
use crate::stopwatch::Stopwatch;
use crate::typing;

/// Typed before it counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// What is counted.
const MEASURED: Duration = Duration::from_secs(3);
/// Connections opened at once.
const JOINS_AT_ONCE: usize = 50;
/// Whoever types in a room.
pub const CLIENT: u64 = 2_718_281_828;

/// One run.
pub struct Figures {
    pub acknowledged_per_second: f64,
    pub median: Duration,
    pub p99: Duration,
    /// Acknowledged from the first to the kill.
    pub acknowledged: u64,
    /// Of these, how many the server no longer had when it was started again.
    pub lost: u64,
}

#[derive(Default)]
struct Tally {
    /// In the time that counts.
    latencies: Vec<Duration>,
    /// Per room, in all.
    acknowledged: Vec<u64>,
}

/// Types in so many rooms: without pause, or a key every so often.
pub async fn run(
    programs: &Programs,
    kind: Kind,
    rooms: usize,
    key_every: Option<Duration>,
) -> Result<Figures> {
    let data = programs.fresh_folder("load")?;
    let mut server = programs.start(kind, &data)?;
    let names: Vec<String> = (0..rooms)
        .map(|number| format!("session/{number}"))
        .collect();
    let mut bots = Vec::with_capacity(rooms);
    for names in names.chunks(JOINS_AT_ONCE) {
        for joined in join_all(server.address, names).await? {
            bots.push(joined.0);
        }
    }

    let tally = Rc::new(RefCell::new(Tally {
        acknowledged: vec![0; rooms],
        ..Tally::default()
    }));
    let typing = LocalSet::new();
    let watch = Stopwatch::start();
    for (room, bot) in bots.into_iter().enumerate() {
        typing.spawn_local(type_until_killed(
            bot,
            room,
            key_every,
            watch,
            Rc::clone(&tally),
        ));
    }
    typing
        .run_until(tokio::time::sleep(WARM_UP + MEASURED))
        .await;
    server.kill()?;
    // They read what was acknowledged before the end, then that it is the end.
    typing.await;

    let server = programs.start(kind, &data)?;
    let mut lost = 0;
    let tally = tally.take();
    let rooms = names.chunks(JOINS_AT_ONCE);
    for (names, acknowledged) in rooms.zip(tally.acknowledged.chunks(JOINS_AT_ONCE)) {
        let joined = join_all(server.address, names).await?;
        for ((_, document), acknowledged) in joined.into_iter().zip(acknowledged) {
            lost += acknowledged.saturating_sub(typed(&document)?);
        }
    }
    drop(server);

    let mut latencies = tally.latencies;
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies
            .get(index)
            .copied()
            .context("nothing was acknowledged")
    };
    Ok(Figures {
        acknowledged_per_second: latencies.len() as f64 / MEASURED.as_secs_f64(),
        median: at(0.5)?,
        p99: at(0.99)?,
        acknowledged: tally.acknowledged.iter().sum(),
        lost,
    })
}

/// How much a document has of what [`CLIENT`] typed.
pub fn typed(document: &[u8]) -> Result<u64> {
    let state = Update::decode_v1(document)?.state_vector();
    Ok(u64::from(state.get(&ClientID::new(CLIENT))))
}

async fn join_all(address: std::net::SocketAddr, rooms: &[String]) -> Result<Vec<(Bot, Vec<u8>)>> {
    let mut joining = JoinSet::new();
    for (number, room) in rooms.iter().cloned().enumerate() {
        joining.spawn(async move {
            Bot::join(address, &room)
                .await
                .map(|joined| (number, joined))
        });
    }
    let mut joined = Vec::with_capacity(rooms.len());
    while let Some(result) = joining.join_next().await {
        joined.push(result??);
    }
    joined.sort_unstable_by_key(|(number, _)| *number);
    Ok(joined.into_iter().map(|(_, joined)| joined).collect())
}

async fn type_until_killed(
    mut bot: Bot,
    room: usize,
    key_every: Option<Duration>,
    watch: Stopwatch,
    tally: Rc<RefCell<Tally>>,
) {
    for clock in 0.. {
        if let Some(key_every) = key_every {
            // Not all at the same moment.
            let offset = key_every * (room as u32 % 100) / 100;
            let due = key_every * clock as u32 + offset;
            tokio::time::sleep(due.saturating_sub(watch.elapsed())).await;
        }
        let update = typing::append(CLIENT, clock);
        let sent = watch.elapsed();
        if let Err(error) = bot.save(&update).await {
            if sent < WARM_UP + MEASURED && watch.elapsed() < WARM_UP + MEASURED {
                eprintln!("room {room} ended before its time: {error:#}");
            }
            return;
        }
        let acknowledged = watch.elapsed();
        let mut tally = tally.borrow_mut();
        tally.acknowledged[room] += 1;
        if (WARM_UP..WARM_UP + MEASURED).contains(&acknowledged) {
            tally.latencies.push(acknowledged - sent);
        }
    }
}
