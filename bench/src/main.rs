//! What durability costs: measures the relay and a Hocuspocus server side by side.
//!
//! Started by `cargo xtask bench durability`, which builds both and says where they are. A fresh
//! server and a fresh folder for each figure; the two take turns, three rounds, and the medians are
//! printed as the tables of `docs/durability.md`. Start with [`load`] (updates and acknowledgements)
//! and [`document`] (one long document); [`bot`] is the client of both.

mod bot;
mod disk;
mod document;
mod load;
mod report;
mod server;
mod stopwatch;
mod typing;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::server::{Kind, Programs};

/// Rooms that are typed in at the same time.
const ROOMS: [usize; 4] = [1, 10, 100, 1_000];
/// The figures are medians of so many.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [relay, peer, folder] = arguments.as_slice() else {
        bail!("usage: copresence-bench RELAY-BINARY PEER-SCRIPT FOLDER");
    };
    if folder.exists() {
        std::fs::remove_dir_all(folder).context("cannot clear the folder of the last run")?;
    }
    std::fs::create_dir_all(folder)?;
    let programs = Programs {
        relay: relay.clone(),
        peer: peer.clone(),
        folder: folder.clone(),
    };
    // One thread: the servers need the others.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure(&programs))
}

async fn measure(programs: &Programs) -> Result<()> {
    let (syncs, sync_micros) = disk::syncs_per_second(&programs.folder)?;
    report::machine(syncs, sync_micros);

    let mut loads = report::Loads::default();
    for round in 1..=ROUNDS {
        for rooms in ROOMS {
            for kind in Kind::BOTH {
                eprintln!("round {round} of {ROUNDS}: {rooms} rooms, {kind}");
                loads.add(kind, rooms, load::run(programs, kind, rooms).await?);
            }
        }
    }
    report::loads(&loads);

    eprintln!("from update to disk: one update every 100 ms");
    let ours = disk::delays(programs, Kind::Relay).await?;
    let theirs = disk::delays(programs, Kind::Peer).await?;
    report::delays(&ours, &theirs);

    let mut documents = Vec::new();
    let long = document::write(programs)?;
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}: a long document");
        documents.push(document::run(programs, &long, round).await?);
    }
    report::documents(&long, &documents);
    Ok(())
}
