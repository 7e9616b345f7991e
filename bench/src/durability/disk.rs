//! The disk below: how fast it syncs, and when an update can be found on it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::durability::bot::Bot;
use crate::durability::load::{CLIENT, typed};
use crate::durability::programs::{Kind, Programs};
use crate::stopwatch::Stopwatch;
use crate::typing;

const PROBED_FOR: Duration = Duration::from_millis(500);
const PAGE_BYTES: usize = 4096;
const ROOM: &str = "session/delays";
/// How long somebody types, beyond the longest that the peer lets pass between two saves.
const TYPED_FOR: Duration = Duration::from_secs(12);
const KEY_EVERY: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const FOUND_WITHIN: Duration = Duration::from_secs(20);

/// Appends of one page that the disk confirms one after the other, per second; and the median
/// of what one takes, in microseconds.
pub fn syncs_per_second(folder: &Path) -> Result<(f64, u128)> {
    let path = folder.join("probe");
    let mut file = File::create(&path)?;
    let watch = Stopwatch::start();
    let mut each = Vec::new();
    while watch.elapsed() < PROBED_FOR {
        let one = Stopwatch::start();
        file.write_all(&[1; PAGE_BYTES])?;
        file.sync_data()?;
        each.push(one.elapsed());
    }
    let per_second = each.len() as f64 / watch.elapsed().as_secs_f64();
    each.sort_unstable();
    std::fs::remove_file(path)?;
    Ok((per_second, each[each.len() / 2].as_micros()))
}

/// How long updates of somebody who types were in memory only.
pub struct Delays {
    /// From sending until another process finds it in the database.
    pub longest: Duration,
    /// The same of the last one, after which nothing came.
    pub last: Duration,
    /// The longest from sending until the acknowledgement.
    pub acknowledgement: Duration,
}

/// Types for a while, ten keys a second, and looks into the database beside it.
pub async fn delays(programs: &Programs, kind: Kind) -> Result<Delays> {
    let data = programs.fresh_folder("delays")?;
    let server = programs.start(kind, &data)?;
    let (mut bot, _) = Bot::join(server.address, ROOM).await?;
    let database = Connection::open_with_flags(
        kind.database(&data),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    database.busy_timeout(Duration::from_secs(5))?;

    let watch = Stopwatch::start();
    let mut sent = Vec::new();
    let mut found = 0;
    let (mut longest, mut last, mut acknowledgement) = Default::default();
    loop {
        let now = watch.elapsed();
        if now < TYPED_FOR && KEY_EVERY * sent.len() as u32 <= now {
            bot.save(&typing::append(CLIENT, sent.len() as u64)).await?;
            sent.push(now);
            acknowledgement = watch.elapsed().saturating_sub(now).max(acknowledgement);
        }
        let stored = usize::try_from(stored(kind, &database)?)?;
        for sent in sent.get(found..stored).unwrap_or_default() {
            last = watch.elapsed().saturating_sub(*sent);
            longest = last.max(longest);
        }
        found = stored;
        if TYPED_FOR <= now && found == sent.len() {
            break;
        }
        ensure!(
            now < TYPED_FOR + FOUND_WITHIN,
            "an update never came to the disk"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    server.stop()?;
    Ok(Delays {
        longest,
        last,
        acknowledgement,
    })
}

/// How many updates of the room are in the database.
fn stored(kind: Kind, database: &Connection) -> Result<u64> {
    match kind {
        Kind::Relay => {
            let query = "SELECT last FROM document WHERE room = ?1";
            let last: Option<i64> = database
                .query_row(query, [ROOM], |row| row.get(0))
                .optional()?;
            u64::try_from(last.unwrap_or(0)).context("a negative number")
        }
        Kind::Peer => {
            let query = "SELECT data FROM documents WHERE name = ?1";
            let data: Option<Vec<u8>> = database
                .query_row(query, [ROOM], |row| row.get(0))
                .optional()?;
            data.map_or(Ok(0), |document| typed(&document))
        }
    }
}
