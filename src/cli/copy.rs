//! Moves a whole store: all that one keeps is written to another, and compared there.
//!
//! Rooms go over in the order of their names, each as its rows in the order of its log. So what an
//! interrupted copy has left of a room is a beginning of these, and the next copy goes on behind
//! it. Nothing that the target has and the source lacks is ever written over. What is remembered
//! of people follows (`people`).

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;

use crate::cli::people;
use crate::cli::reading::Reading;
use crate::cli::stores::{self, Purpose, Waiting};
use crate::config::{ConfigError, StoreChoice};
use crate::limits::{TOOL_COMMIT_BYTES, TOOL_ROOMS_MAX};
use crate::model::RoomName;
use crate::store::{BatchIds, Sequence, Store, StoreError, Write};

/// The options of `copy`.
#[derive(Debug, clap::Args)]
pub(super) struct CopyOptions {
    /// The store to read: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`
    #[arg(long, value_name = "URL")]
    from: String,

    /// The store to write
    #[arg(long, value_name = "URL")]
    to: String,

    #[command(flatten)]
    waiting: Waiting,
}

impl CopyOptions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let from = StoreChoice::parse("--from", &self.from)?;
        let to = StoreChoice::parse("--to", &self.to)?;
        if from == to {
            return Err(ConfigError::new("--from and --to are the same store").into());
        }
        let source = open_source(&from)?;
        let target = stores::open_for_tool("--to", &to, Purpose::Make, self.waiting)?;
        let rooms = count(&*source)?;
        eprintln!("{rooms} rooms from {from} to {to}");
        let batches = BatchIds::new(getrandom::u64().context("no randomness")?);
        let mut copying = Copying::new(source, target, batches);
        let outcome = copying.run(&mut |sums| {
            eprintln!("{} of {rooms} rooms", sums.rooms());
        });
        for (room, why) in &copying.refused {
            eprintln!("{room}: not copied: {why}");
        }
        eprintln!("{}", copying.sums);
        outcome.context(INTERRUPTED)?;
        let sums = people::copy(&*copying.from, &*copying.to).context(INTERRUPTED)?;
        eprintln!("people: {sums}");
        Ok(ExitCode::from(if copying.refused.is_empty() {
            0
        } else {
            1
        }))
    }
}

const INTERRUPTED: &str = "interrupted; run it again to go on";

/// Alone with it, if that can be had: what others write meanwhile need not arrive.
fn open_source(choice: &StoreChoice) -> anyhow::Result<Arc<dyn Store>> {
    let open = |purpose| stores::open_for_tool("--from", choice, purpose, Waiting::NONE);
    open(Purpose::Own).or_else(|in_use| {
        let source = open(Purpose::Read).map_err(|_| in_use)?;
        eprintln!("{choice} is in use: what is written to it from now on takes another run");
        Ok(source)
    })
}

/// How many rooms there are.
fn count(store: &dyn Store) -> Result<usize, StoreError> {
    let mut count = 0;
    let mut after = None;
    loop {
        let names = store.rooms(after.as_ref(), TOOL_ROOMS_MAX)?;
        count += names.len();
        after = names.last().cloned();
        if after.is_none() {
            return Ok(count);
        }
    }
}

/// A copy under way.
struct Copying {
    from: Arc<dyn Store>,
    to: Arc<dyn Store>,
    /// What is to be written next, of the rooms in `unverified`.
    writes: Vec<(RoomName, Write)>,
    /// With what the source has of them.
    unverified: Vec<(RoomName, Kept)>,
    refused: Vec<(RoomName, String)>,
    sums: Sums,
    batches: BatchIds,
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Target,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Sums {
    copied: usize,
    unchanged: usize,
    refused: usize,
}

impl Sums {
    fn rooms(self) -> usize {
        self.copied + self.unchanged + self.refused
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            copied,
            unchanged,
            refused,
        } = self;
        write!(
            f,
            "{copied} rooms copied and compared, {unchanged} were there already, {refused} not \
             copied"
        )
    }
}

impl Copying {
    fn new(from: Arc<dyn Store>, to: Arc<dyn Store>, batches: BatchIds) -> Self {
        Self {
            from,
            to,
            writes: Vec::new(),
            unverified: Vec::new(),
            refused: Vec::new(),
            sums: Sums::default(),
            batches,
        }
    }

    /// Copies every room that can be copied. The error is that of a store, not of a room.
    fn run(&mut self, progress: &mut dyn FnMut(Sums)) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let rooms = self.from.rooms(after.as_ref(), TOOL_ROOMS_MAX)?;
            for room in &rooms {
                self.plan_room(room)?;
                if TOOL_COMMIT_BYTES <= bytes(&self.writes) {
                    self.commit()?;
                    progress(self.sums);
                }
            }
            self.commit()?;
            after = rooms.last().cloned();
            if after.is_none() {
                return Ok(());
            }
            progress(self.sums);
        }
    }

    fn plan_room(&mut self, room: &RoomName) -> Result<(), StoreError> {
        let Some(source) = self.kept(Side::Source, room)? else {
            return Ok(());
        };
        let Some(target) = self.kept(Side::Target, room)? else {
            return Ok(());
        };
        match Plan::new(&source, &target) {
            Plan::Nothing => self.sums.unchanged += 1,
            Plan::Write(writes) => {
                let writes = writes.into_iter().map(|write| (room.clone(), write));
                self.writes.extend(writes);
                self.unverified.push((room.clone(), source));
            }
            Plan::Refuse(why) => self.refuse(room, why.to_owned()),
        }
        Ok(())
    }

    /// What one of the stores has of a room; a damaged one is refused.
    fn kept(&mut self, side: Side, room: &RoomName) -> Result<Option<Kept>, StoreError> {
        let (store, name) = match side {
            Side::Source => (&self.from, "source"),
            Side::Target => (&self.to, "target"),
        };
        match Kept::of(&**store, room) {
            Ok(kept) => Ok(Some(kept)),
            Err(StoreError::Damaged {
                sequence, reason, ..
            }) => {
                self.refuse(
                    room,
                    format!("the {name} is damaged at {sequence}: {reason}"),
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn refuse(&mut self, room: &RoomName, why: String) {
        self.sums.refused += 1;
        self.refused.push((room.clone(), why));
    }

    /// Writes what is planned, and compares what the target has then.
    fn commit(&mut self) -> Result<(), StoreError> {
        let mut rest = &self.writes[..];
        while !rest.is_empty() {
            // A large document takes several: what a database holds open at once has a bound.
            let mut size = 0;
            let fits = rest.iter().take_while(|(_, write)| {
                size += write_bytes(write);
                size <= TOOL_COMMIT_BYTES
            });
            let (batch, later) = rest.split_at(fits.count().max(1));
            self.to.commit(Some(self.batches.next_id()), batch)?;
            rest = later;
        }
        self.writes.clear();
        for (room, source) in std::mem::take(&mut self.unverified) {
            let Some(target) = self.kept(Side::Target, &room)? else {
                continue;
            };
            if source.is_same_document(&target) {
                self.sums.copied += 1;
            } else {
                self.refuse(
                    &room,
                    "written, but the target does not give it back".to_owned(),
                );
            }
        }
        Ok(())
    }
}

fn bytes(writes: &[(RoomName, Write)]) -> usize {
    writes.iter().map(|(_, write)| write_bytes(write)).sum()
}

fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Append { update, .. } | Write::Snapshot { update, .. } => update.len(),
        Write::Quarantine { .. } => 0,
    }
}

/// All that a store keeps of a room.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Kept {
    /// In the order in which another store is given them.
    rows: Vec<Row>,
    last: Sequence,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    sequence: Sequence,
    update: Bytes,
    is_aside: bool,
}

impl Kept {
    fn of(store: &dyn Store, room: &RoomName) -> Result<Self, StoreError> {
        let stored = store.load(room)?;
        let row = |is_aside| {
            move |(sequence, update)| Row {
                sequence,
                update,
                is_aside,
            }
        };
        let aside = store.quarantined(room)?.into_iter().map(row(true));
        let mut rows: Vec<_> = aside
            .chain(stored.updates.into_iter().map(row(false)))
            .collect();
        // What a snapshot has passed can no longer be appended after it.
        rows.sort_by(|a, b| {
            let key = |row: &Row| (row.sequence, !row.is_aside);
            key(a).cmp(&key(b)).then_with(|| a.update.cmp(&b.update))
        });
        Ok(Self {
            rows,
            last: stored.last,
        })
    }

    fn document(&self) -> Reading {
        Reading::of(&self.updates()).normal()
    }

    fn updates(&self) -> Vec<(Sequence, Bytes)> {
        let loaded = self.rows.iter().filter(|row| !row.is_aside);
        loaded
            .map(|row| (row.sequence, row.update.clone()))
            .collect()
    }

    fn aside(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.is_aside)
    }

    /// State vector, content and what cannot be read are the same, and so is what was set aside.
    fn is_same_document(&self, other: &Self) -> bool {
        self.aside().eq(other.aside()) && self.document() == other.document()
    }

    /// Whether this is what a copy of `whole` has written before it was interrupted.
    fn is_beginning_of(&self, whole: &Self) -> bool {
        let is_same = |(mine, its): (&Row, &Row)| {
            // The copy sets aside what it has just appended.
            let is_same_place = mine.is_aside == its.is_aside || its.is_aside;
            mine.sequence == its.sequence && mine.update == its.update && is_same_place
        };
        self.rows.len() <= whole.rows.len()
            && self.rows.iter().zip(&whole.rows).all(is_same)
            && self.last == self.rows.last().map_or(0, |row| row.sequence)
    }
}

/// What is to be done about a room.
#[derive(Debug)]
enum Plan {
    /// The target has it.
    Nothing,
    /// To be written, in this order.
    Write(Vec<Write>),
    /// The target has something else.
    Refuse(&'static str),
}

impl Plan {
    fn new(source: &Kept, target: &Kept) -> Self {
        if target.is_beginning_of(source) {
            let writes = continued(source, target);
            return match writes.is_empty() && target == source {
                // Compared as documents all the same when something is written.
                true => Self::Nothing,
                false => Self::Write(writes),
            };
        }
        if !source.aside().eq(target.aside()) {
            return Self::Refuse("the target has set aside other updates");
        }
        let (wanted, present) = (source.document(), target.document());
        if wanted == present {
            return Self::Nothing;
        }
        if !wanted.faults.is_empty() || !present.faults.is_empty() {
            return Self::Refuse("the target has another copy of it, and one of them is damaged");
        }
        // What the target has goes first: if it says something else at any place, that wins here
        // and shows.
        let both = [target.updates(), source.updates()].concat();
        if Reading::of(&both).normal() != wanted {
            return Self::Refuse("the target has content that the source lacks");
        }
        // An earlier copy, and the source's log was compacted since.
        let through = source.last.max(target.last);
        let snapshot = Write::Snapshot {
            through,
            update: wanted.update,
        };
        let waiting = (through + 1..).zip(wanted.waiting);
        let waiting = waiting.map(|(sequence, update)| Write::Append { sequence, update });
        Self::Write(std::iter::once(snapshot).chain(waiting).collect())
    }
}

/// What the target lacks, as writes.
fn continued(source: &Kept, target: &Kept) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut passed = 0;
    let mut may_be_snapshot = true;
    for (at, row) in source.rows.iter().enumerate() {
        let Row {
            sequence,
            update,
            is_aside,
        } = row.clone();
        // Snapshots come before all of the log. One that is loaded shows in that its place is not
        // the next; one that was set aside, in that the place is taken.
        let is_next = sequence == passed + 1;
        let is_taken = sequence == passed;
        let is_snapshot = may_be_snapshot && if is_aside { is_taken } else { !is_next };
        may_be_snapshot &= is_aside;
        passed = sequence;
        let present = target.rows.get(at);
        if present.is_none() {
            writes.push(match is_snapshot {
                true => Write::Snapshot {
                    through: sequence,
                    update,
                },
                false => Write::Append { sequence, update },
            });
        }
        if is_aside && present.is_none_or(|present| !present.is_aside) {
            writes.push(Write::Quarantine { sequence });
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    /// An insertion by a client at a clock, complete in itself.
    fn insertion(client: u8, clock: u8, letter: u8) -> Bytes {
        Bytes::from(vec![1, 1, client, clock, 4, 1, 1, b't', 1, letter, 0])
    }

    fn append(sequence: Sequence, client: u8) -> Write {
        Write::Append {
            sequence,
            update: insertion(client, 0, b'x'),
        }
    }

    fn snapshot(through: Sequence, clients: std::ops::Range<u8>) -> Write {
        let updates: Vec<_> = clients
            .map(|client| (1, insertion(client, 0, b'x')))
            .collect();
        Write::Snapshot {
            through,
            update: Reading::of(&updates).update,
        }
    }

    fn aside(sequence: Sequence) -> Write {
        Write::Quarantine { sequence }
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn store(writes: &[Write]) -> Arc<MemoryStore> {
        let store = MemoryStore::new();
        for write in writes {
            store.write(&[(room("r"), write.clone())]).unwrap();
        }
        Arc::new(store)
    }

    fn kept(store: &MemoryStore) -> Kept {
        Kept::of(store, &room("r")).unwrap()
    }

    fn copy(from: &Arc<MemoryStore>, to: &Arc<MemoryStore>) -> (Sums, Vec<(RoomName, String)>) {
        let mut copying = Copying::new(
            from.clone(),
            to.clone(),
            BatchIds::new(getrandom::u64().unwrap()),
        );
        copying.run(&mut |_| {}).unwrap();
        (copying.sums, copying.refused)
    }

    const COPIED: Sums = Sums {
        copied: 1,
        unchanged: 0,
        refused: 0,
    };
    const UNCHANGED: Sums = Sums {
        copied: 0,
        unchanged: 1,
        refused: 0,
    };

    /// What a store may hold of a room.
    fn sources() -> [Vec<Write>; 7] {
        [
            vec![append(1, 1), append(2, 2), append(3, 3)],
            vec![append(1, 1), append(2, 2), aside(2), append(3, 3)],
            vec![append(1, 1), append(2, 2), aside(1), aside(2)],
            vec![
                append(1, 1),
                aside(1),
                append(2, 2),
                snapshot(2, 2..3),
                append(3, 3),
            ],
            vec![
                append(1, 1),
                append(2, 2),
                aside(2),
                snapshot(2, 1..2),
                append(3, 3),
                aside(3),
            ],
            // The log and the snapshot of it, one after the other.
            vec![
                append(1, 1),
                aside(1),
                snapshot(1, 3..5),
                aside(1),
                append(2, 2),
            ],
            // Damaged: something is missing.
            vec![append(1, 1), append(2, 2), append(9, 3), append(10, 4)],
        ]
    }

    #[test]
    fn what_is_kept_of_a_room_arrives_as_it_was() {
        for writes in sources() {
            let (from, to) = (store(&writes), store(&[]));
            assert_eq!(copy(&from, &to), (COPIED, vec![]), "{writes:?}");
            assert_eq!(kept(&to), kept(&from), "{writes:?}");
            assert_eq!(copy(&from, &to), (UNCHANGED, vec![]), "{writes:?}");
        }
    }

    #[test]
    fn a_copy_that_was_interrupted_anywhere_goes_on() {
        for writes in sources() {
            let from = store(&writes);
            let all = continued(&kept(&from), &Kept::default());
            for done in 0..=all.len() {
                let to = store(&all[..done]);
                let sums = match kept(&to) == kept(&from) {
                    true => UNCHANGED,
                    false => COPIED,
                };
                assert_eq!(copy(&from, &to), (sums, vec![]), "{done} of {all:?}");
                assert_eq!(kept(&to), kept(&from), "{done} of {all:?}");
            }
        }
    }

    #[test]
    fn a_source_that_was_used_and_compacted_since_wins_over_its_earlier_copy() {
        let to = store(&[append(1, 1), append(2, 2)]);
        let from = store(&[snapshot(3, 1..4), append(4, 4)]);
        assert_eq!(copy(&from, &to), (COPIED, vec![]));
        assert_eq!(kept(&to).document(), kept(&from).document());
        assert_eq!(copy(&from, &to), (UNCHANGED, vec![]));
    }

    #[test]
    fn a_target_that_was_only_compacted_is_left_alone() {
        let from = store(&[append(1, 1), append(2, 2), append(3, 3)]);
        let to = store(&[snapshot(3, 1..4)]);
        assert_eq!(copy(&from, &to), (UNCHANGED, vec![]));
        assert_eq!(kept(&to).rows.len(), 1);
    }

    #[test]
    fn what_only_the_target_has_is_never_written_over() {
        let from = store(&[append(1, 1), append(2, 2)]);
        let same_ids_other_text = Write::Append {
            sequence: 1,
            update: insertion(1, 0, b'y'),
        };
        for content in [
            vec![append(1, 9)],
            vec![append(1, 1), append(2, 2), append(3, 3)],
            vec![same_ids_other_text],
            vec![append(1, 1), append(2, 2), aside(2)],
        ] {
            let to = store(&content);
            let before = kept(&to);
            let (sums, refused) = copy(&from, &to);
            assert_eq!((sums.refused, refused.len()), (1, 1), "{content:?}");
            assert_eq!(kept(&to), before);
        }
    }

    #[test]
    fn rooms_that_cannot_be_copied_do_not_keep_the_others() {
        let (from, to) = (store(&[append(1, 1)]), store(&[append(1, 9)]));
        for number in 0..3 * TOOL_ROOMS_MAX {
            let name = room(&format!("room/{number}"));
            from.write(&[(name, append(1, 1))]).unwrap();
        }
        to.write(&[(room("of/the/target"), append(1, 1))]).unwrap();
        let (sums, refused) = copy(&from, &to);
        assert_eq!((sums.copied, sums.refused), (3 * TOOL_ROOMS_MAX, 1));
        assert_eq!(refused[0].0, room("r"));
        assert_eq!(count(&*to).unwrap(), 2 + 3 * TOOL_ROOMS_MAX);
    }
}
