//! Reads a whole store and says what of it is damaged.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use bytes::Bytes;

use crate::cli::people;
use crate::cli::reading::{Fault, Reading};
use crate::cli::stores::{Purpose, StoreOptions, Waiting};
use crate::limits::TOOL_ROOMS_MAX;
use crate::model::RoomName;
use crate::store::{Sequence, Store, StoreError, Stored};

/// The options of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckOptions {
    #[command(flatten)]
    store: StoreOptions,
}

impl CheckOptions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (store, choice) = self.store.open(Purpose::Read, Waiting::NONE)?;
        let mut stdout = io::stdout().lock();
        let sums = check(&*store, &mut stdout)?;
        writeln!(stdout, "{choice}: {sums}")?;
        stdout.flush()?;
        let is_sound = sums.damages == 0;
        Ok(ExitCode::from(if is_sound { 0 } else { 1 }))
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Sums {
    rooms: usize,
    updates: usize,
    bytes: usize,
    set_aside: usize,
    people: people::Sums,
    damages: usize,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rooms,
            updates,
            bytes,
            set_aside,
            people,
            damages,
        } = self;
        write!(
            f,
            "{rooms} rooms, {updates} updates, {bytes} bytes, {set_aside} set aside, {people}, "
        )?;
        match damages {
            0 => f.write_str("no damage"),
            _ => write!(f, "{damages} damaged"),
        }
    }
}

/// Writes a line for each damage.
fn check(store: &dyn Store, out: &mut impl Write) -> anyhow::Result<Sums> {
    let mut sums = Sums::default();
    for complaint in store.complaints()? {
        sums.damages += 1;
        writeln!(out, "the store: {complaint}")?;
    }
    let mut after = None;
    loop {
        let rooms = store.rooms(after.as_ref(), TOOL_ROOMS_MAX)?;
        for room in &rooms {
            check_room(store, room, &mut sums, out)?;
        }
        after = rooms.last().cloned();
        if after.is_none() {
            break;
        }
    }
    sums.people = people::count(store)?;
    Ok(sums)
}

fn check_room(
    store: &dyn Store,
    room: &RoomName,
    sums: &mut Sums,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    sums.rooms += 1;
    let mut faults = Vec::new();
    // In this order: what a relay sets aside meanwhile is in both, and not missing.
    let stored = sound(store.load(room), &mut faults)?;
    let set_aside = sound(store.quarantined(room), &mut faults)?.unwrap_or_default();
    if !set_aside.is_empty() {
        sums.set_aside += set_aside.len();
        let places: Vec<_> = set_aside.iter().map(|(at, _)| at.to_string()).collect();
        writeln!(out, "{room}: set aside: {}", places.join(", "))?;
    }
    if let Some(stored) = stored {
        sums.updates += stored.updates.len();
        sums.bytes += stored
            .updates
            .iter()
            .map(|(_, update)| update.len())
            .sum::<usize>();
        faults.extend(gaps(&stored, &set_aside));
        faults.extend(Reading::of(&stored.updates).faults);
    }
    sums.damages += faults.len();
    for Fault { sequence, reason } in faults {
        writeln!(out, "{room}: damaged at {sequence}: {reason}")?;
    }
    Ok(())
}

/// What was read; or a fault, if it is the document's and not the store's.
fn sound<T>(read: Result<T, StoreError>, faults: &mut Vec<Fault>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(StoreError::Damaged {
            sequence, reason, ..
        }) => {
            faults.push(Fault { sequence, reason });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Places in the log at which there is nothing. Numbers rise by one, a snapshot stands for all up
/// to its own, and what was set aside is known.
fn gaps(stored: &Stored, set_aside: &[(Sequence, Bytes)]) -> Vec<Fault> {
    let is_aside = |at: Sequence| {
        set_aside
            .binary_search_by_key(&at, |(aside, _)| *aside)
            .is_ok()
    };
    // The first may be a snapshot; whether something is missing before it, nobody can tell. So may
    // be the last that was set aside, where nothing else is left.
    let first = stored.updates.first().or(set_aside.last());
    let mut next = first.map_or(1, |(first, _)| *first);
    let mut faults = Vec::new();
    let end = (stored.last.saturating_add(1), Bytes::new());
    for (sequence, _) in stored.updates.iter().chain([&end]) {
        let from = (next..*sequence).find(|at| !is_aside(*at));
        if let Some(from) = from {
            let through = sequence - 1;
            faults.push(Fault {
                sequence: from,
                reason: format!("updates are missing up to {through}"),
            });
        }
        next = sequence.saturating_add(1);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Write as Change};

    /// An insertion by a client, complete in itself.
    fn insertion(client: u8) -> Bytes {
        Bytes::from(vec![1, 1, client, 0, 4, 1, 1, b't', 1, b'x', 0])
    }

    fn append(sequence: Sequence, update: Bytes) -> Change {
        Change::Append { sequence, update }
    }

    #[track_caller]
    fn expect(changes: &[Change], lines: &[&str], sums: &str) {
        let store = MemoryStore::new();
        let room = RoomName::parse("session/1").unwrap();
        for change in changes {
            store.write(&[(room.clone(), change.clone())]).unwrap();
        }
        let mut out = Vec::new();
        let found = check(&store, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().collect::<Vec<_>>(), lines);
        assert_eq!(found.to_string(), sums);
    }

    #[test]
    fn a_store_in_order_has_no_damage() {
        expect(
            &[],
            &[],
            "0 rooms, 0 updates, 0 bytes, 0 set aside, 0 last seen, 0 follows, no damage",
        );
        let changes = [
            append(1, insertion(1)),
            append(2, insertion(2)),
            Change::Snapshot {
                through: 2,
                update: insertion(3),
            },
            append(3, insertion(4)),
        ];
        expect(
            &changes,
            &[],
            "1 rooms, 2 updates, 22 bytes, 0 set aside, 0 last seen, 0 follows, no damage",
        );
    }

    #[test]
    fn what_was_set_aside_is_told_and_no_damage() {
        let changes = [
            append(1, insertion(1)),
            append(2, insertion(2)),
            append(3, insertion(3)),
            Change::Quarantine { sequence: 2 },
            Change::Quarantine { sequence: 3 },
        ];
        expect(
            &changes,
            &["session/1: set aside: 2, 3"],
            "1 rooms, 1 updates, 11 bytes, 2 set aside, 0 last seen, 0 follows, no damage",
        );
    }

    #[test]
    fn a_snapshot_that_was_set_aside_leaves_no_gap() {
        let snapshot = Change::Snapshot {
            through: 5,
            update: insertion(1),
        };
        let changes = [snapshot, Change::Quarantine { sequence: 5 }];
        expect(
            &changes,
            &["session/1: set aside: 5"],
            "1 rooms, 0 updates, 0 bytes, 1 set aside, 0 last seen, 0 follows, no damage",
        );
    }

    #[test]
    fn every_damage_is_named_by_room_and_place() {
        let changes = [
            append(1, insertion(1)),
            append(2, Bytes::from_static(b"no update")),
            append(5, insertion(2)),
            append(6, Bytes::new()),
        ];
        expect(
            &changes,
            &[
                "session/1: damaged at 3: updates are missing up to 4",
                "session/1: damaged at 2: no Yjs update: truncated or malformed bytes",
                "session/1: damaged at 6: no Yjs update: truncated or malformed bytes",
            ],
            "1 rooms, 4 updates, 31 bytes, 0 set aside, 0 last seen, 0 follows, 3 damaged",
        );
    }
}
