//! One document with a long past: how long until it is open, and how large it is on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rusqlite::{Connection, OpenFlags};

use copresence::model::RoomName;
use copresence::store::{SqliteStore, Store, Write};
use yrs::updates::decoder::Decode;
use yrs::{Doc, GetString, Transact, Update};

use crate::durability::bot::Bot;
use crate::durability::load::CLIENT;
use crate::durability::programs::{Kind, Programs};
use crate::stopwatch::Stopwatch;
use crate::typing::{self, LongText};

/// About as many as the best known recording of somebody writing a paper has.
pub const OPERATIONS: u64 = 260_000;
const ROOM: &str = "session/long";
/// Typed after the compaction: commits give its space back piece by piece.
const KEYS_AFTER: u64 = 20;
const WRITES_PER_COMMIT: usize = 8_192;
const STORED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The document as a log, in a database that is copied for each round.
pub struct LongDocument {
    data: PathBuf,
    /// How many characters it shows.
    pub length: usize,
    /// How many were ever typed.
    typed: u64,
    /// Its updates, without anything around them.
    pub update_bytes: usize,
    pub log_file_bytes: u64,
}

/// One round.
pub struct Figures {
    pub relay_start: Duration,
    pub peer_start: Duration,
    pub from_log: Duration,
    /// From the moment it was open: making the snapshot and writing it, beside everything else.
    pub compaction: Duration,
    pub from_snapshot: Duration,
    pub from_peer: Duration,
    pub document_bytes: usize,
    pub compacted_file_bytes: u64,
    /// Of that, what is free for what comes next.
    pub compacted_free_bytes: u64,
    pub peer_file_bytes: u64,
}

/// Types it, and writes it into a store as the relay would, but for the snapshots.
pub fn write(programs: &Programs) -> Result<LongDocument> {
    let data = programs.fresh_folder("long")?;
    let database = Kind::Relay.database(&data);
    let store = SqliteStore::open(&database)?;
    let room = RoomName::parse(ROOM)?;
    let mut text = LongText::new(CLIENT);
    let mut update_bytes = 0;
    let sequences: Vec<u64> = (1..=OPERATIONS).collect();
    for sequences in sequences.chunks(WRITES_PER_COMMIT) {
        let mut batch = Vec::with_capacity(sequences.len());
        for &sequence in sequences {
            let update = Bytes::from(text.next_update());
            update_bytes += update.len();
            batch.push((room.clone(), Write::Append { sequence, update }));
        }
        store.write(&batch)?;
    }
    drop(store);
    Ok(LongDocument {
        length: text.length(),
        typed: text.typed(),
        update_bytes,
        log_file_bytes: fs::metadata(&database)?.len(),
        data,
    })
}

pub async fn run(programs: &Programs, long: &LongDocument, round: usize) -> Result<Figures> {
    // The relay, from its log.
    let data = programs.fresh_folder("long-relay")?;
    let database = Kind::Relay.database(&data);
    fs::copy(Kind::Relay.database(&long.data), &database)?;
    let server = programs.start(Kind::Relay, &data)?;
    let relay_start = server.started_within;
    let (mut bot, document, from_log) = open(server.address).await?;
    check(&document, long.length)?;
    let watch = Stopwatch::start();
    wait_for_row(&database, "SELECT count(*) FROM document_snapshot").await?;
    let compaction = watch.elapsed();
    for key in 0..KEYS_AFTER {
        let update = typing::append(CLIENT, long.typed + key);
        bot.save(&update).await?;
    }
    drop(bot);
    server.stop()?;
    let (compacted_file_bytes, compacted_free_bytes) = sizes(&database)?;

    // The relay, from its snapshot.
    let server = programs.start(Kind::Relay, &data)?;
    let (_, again, from_snapshot) = open(server.address).await?;
    check(&again, long.length + KEYS_AFTER as usize)?;
    server.stop()?;

    // The peer is given the document by a client, and stores it as it does.
    let data = programs.fresh_folder("long-peer")?;
    let database = Kind::Peer.database(&data);
    let server = programs.start(Kind::Peer, &data)?;
    let (mut bot, _) = Bot::join(server.address, ROOM).await?;
    bot.save(&document).await?;
    wait_for_row(&database, "SELECT count(*) FROM documents").await?;
    drop(bot);
    server.stop()?;
    let peer_file_bytes = fs::metadata(&database)?.len();
    let server = programs.start(Kind::Peer, &data)?;
    let peer_start = server.started_within;
    let (_, again, from_peer) = open(server.address).await?;
    check(&again, long.length).with_context(|| format!("Hocuspocus in round {round}"))?;
    server.stop()?;

    Ok(Figures {
        relay_start,
        peer_start,
        from_log,
        compaction,
        from_snapshot,
        from_peer,
        document_bytes: document.len(),
        compacted_file_bytes,
        compacted_free_bytes,
        peer_file_bytes,
    })
}

/// Opens the document, and says how long a client waited until it had it.
async fn open(address: std::net::SocketAddr) -> Result<(Bot, Vec<u8>, Duration)> {
    let watch = Stopwatch::start();
    let (bot, document) = Bot::join(address, ROOM).await?;
    Ok((bot, document, watch.elapsed()))
}

/// Whether it shows the text that was typed.
fn check(document: &[u8], expected: usize) -> Result<()> {
    let replica = Doc::new();
    let text = replica.get_or_insert_text("text");
    replica
        .transact_mut()
        .apply_update(Update::decode_v1(document)?)?;
    let length = text.get_string(&replica.transact()).len();
    ensure!(length == expected, "{length} characters of {expected}");
    Ok(())
}

async fn wait_for_row(database: &Path, count: &str) -> Result<()> {
    let watch = Stopwatch::start();
    let connection = read_only(database)?;
    while connection.query_row(count, [], |row| row.get::<_, i64>(0))? == 0 {
        ensure!(watch.elapsed() < STORED_WITHIN, "nothing was stored");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// How large the database is once all is in it that is in the log beside it; and how much of that
/// is free. Nobody has it open.
fn sizes(database: &Path) -> Result<(u64, u64)> {
    let connection = Connection::open(database)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let pages: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    let size: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok((fs::metadata(database)?.len(), u64::try_from(pages * size)?))
}

fn read_only(database: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}
