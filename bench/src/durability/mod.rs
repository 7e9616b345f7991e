//! What durability costs: measures the relay and a Hocuspocus server side by side.
//!
//! A fresh server and a fresh folder for each figure; the two take turns, three rounds, and the
//! medians are printed as the tables of `docs/durability.md`. Start with [`load`] (updates and
//! acknowledgements) and [`document`] (one long document); [`bot`] is the client of both.

mod bot;
mod disk;
mod document;
pub mod load;
pub mod programs;
mod report;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::durability::programs::{Kind, Programs};

/// Rooms that are typed in at the same time.
const ROOMS: [usize; 4] = [1, 10, 100, 1_000];
/// The figures are medians of so many.
const ROUNDS: usize = 3;

/// Measures and prints.
pub fn run(arguments: &[PathBuf]) -> Result<()> {
    let [relay, peer, folder] = arguments else {
        bail!("durability needs RELAY-BINARY PEER-SCRIPT FOLDER");
    };
    crate::clear(folder)?;
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
                loads.add(kind, rooms, load::run(programs, kind, rooms, None).await?);
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
