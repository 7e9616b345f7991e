//! Which statements a batch of writes comes to: few, however many rooms and writes are in it.
//!
//! Writes of different rooms may change places, those of one room may not. So a batch is sorted
//! into steps that each do one thing to many rooms; a room's next write goes into the step of its
//! last one or a later one. Usually everybody appends, and that is one step.

use std::collections::{BTreeSet, HashMap};

use crate::model::RoomName;
use crate::store::Write;

/// What one statement carries at most, unless a single body is larger.
const STATEMENT_BYTES_MAX: usize = 8 << 20;
const STATEMENT_ROWS_MAX: usize = 10_000;

/// What a statement does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// Appends what is behind the end of its log.
    Append,
    /// Replaces the beginning of a log.
    Snapshot,
    /// Sets updates aside.
    Quarantine,
}

/// One statement's rows, a column each.
#[derive(Debug)]
pub struct Step<'a> {
    /// What to do with them.
    pub act: Act,
    /// Whose they are.
    pub rooms: Vec<&'a str>,
    /// Their places in the log.
    pub sequences: Vec<i64>,
    /// Nothing where something is set aside.
    pub bodies: Vec<&'a [u8]>,
    /// Those of the bodies.
    pub checksums: Vec<i64>,
    bytes: usize,
}

/// A batch as statements, to be carried out in order.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The rooms that are written to, in order: whoever locks them does so in this order.
    pub rooms: Vec<&'a str>,
    /// What to do.
    pub steps: Vec<Step<'a>>,
    /// The size of all bodies.
    pub bytes: usize,
}

impl<'a> Batch<'a> {
    /// Sorts writes into steps.
    pub fn new(writes: &'a [(RoomName, Write)]) -> Result<Self, TooLarge> {
        let mut phases: Vec<Phase<'a>> = Vec::new();
        let mut phase_of: HashMap<&str, usize> = HashMap::new();
        for (room, write) in writes {
            let act = Act::of(write);
            let earliest = phase_of.get(room.as_str()).copied().unwrap_or(0);
            let found = (earliest..phases.len())
                .find(|&at| phases[at].act == act && phases[at].has_place_for(room, write));
            let at = found.unwrap_or_else(|| {
                phases.push(Phase::new(act));
                phases.len() - 1
            });
            phase_of.insert(room.as_str(), at);
            phases[at].add(room.as_str(), write)?;
        }
        let steps: Vec<Step<'a>> = phases.into_iter().flat_map(Phase::into_steps).collect();
        Ok(Self {
            rooms: phase_of
                .into_keys()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            bytes: steps.iter().map(|step| step.bytes).sum(),
            steps,
        })
    }
}

/// A sequence number that the database cannot hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the sequence number {0} is too large")]
pub struct TooLarge(u64);

impl Act {
    fn of(write: &Write) -> Self {
        match write {
            Write::Append { .. } => Self::Append,
            Write::Snapshot { .. } => Self::Snapshot,
            Write::Quarantine { .. } => Self::Quarantine,
        }
    }
}

/// One act, and at most one row for each thing it is done to: a statement sees what was there
/// before it, so rows of one statement must not depend on each other.
struct Phase<'a> {
    act: Act,
    rows: Vec<(&'a str, i64, &'a [u8])>,
    /// A room's last row.
    row_of: HashMap<&'a str, usize>,
}

impl<'a> Phase<'a> {
    fn new(act: Act) -> Self {
        Self {
            act,
            rows: Vec::new(),
            row_of: HashMap::new(),
        }
    }

    /// Whether it can be carried out together with what is in here. What goes back behind that is
    /// for the database to judge when that is carried out.
    fn has_place_for(&self, room: &RoomName, write: &Write) -> bool {
        let Some(&previous) = self.row_of.get(room.as_str()) else {
            return true;
        };
        match write {
            Write::Append { sequence, .. } => {
                let previous = u64::try_from(self.rows[previous].1);
                previous.is_ok_and(|previous| previous < *sequence)
            }
            Write::Snapshot { .. } => false,
            // Twice is once; the statement sorts that out.
            Write::Quarantine { .. } => true,
        }
    }

    fn add(&mut self, room: &'a str, write: &'a Write) -> Result<(), TooLarge> {
        let (sequence, body): (u64, &[u8]) = match write {
            Write::Append { sequence, update } => (*sequence, update),
            Write::Snapshot { through, update } => (*through, update),
            Write::Quarantine { sequence } => (*sequence, &[]),
        };
        let row = (
            room,
            i64::try_from(sequence).map_err(|_| TooLarge(sequence))?,
            body,
        );
        self.row_of.insert(room, self.rows.len());
        self.rows.push(row);
        Ok(())
    }

    fn into_steps(self) -> Vec<Step<'a>> {
        let mut steps: Vec<Step<'a>> = Vec::new();
        for (room, sequence, body) in self.rows {
            let has_room = |step: &Step<'_>| {
                step.rooms.len() < STATEMENT_ROWS_MAX
                    && step.bytes.saturating_add(body.len()) <= STATEMENT_BYTES_MAX
            };
            if !steps.last().is_some_and(has_room) {
                steps.push(Step::new(self.act));
            }
            if let Some(step) = steps.last_mut() {
                step.push(room, sequence, body);
            }
        }
        steps
    }
}

impl<'a> Step<'a> {
    fn new(act: Act) -> Self {
        Self {
            act,
            rooms: Vec::new(),
            sequences: Vec::new(),
            bodies: Vec::new(),
            checksums: Vec::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, room: &'a str, sequence: i64, body: &'a [u8]) {
        self.rooms.push(room);
        self.sequences.push(sequence);
        self.bodies.push(body);
        self.checksums.push(checksum(body));
        self.bytes += body.len();
    }
}

/// What a body is stored with, to see later whether it is still the same.
pub fn checksum(body: &[u8]) -> i64 {
    i64::from(crc32fast::hash(body))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn append(room: &str, sequence: u64, size: usize) -> (RoomName, Write) {
        let update = Bytes::from(vec![7; size]);
        named(room, Write::Append { sequence, update })
    }

    fn snapshot(room: &str, through: u64, body: &'static [u8]) -> (RoomName, Write) {
        let update = Bytes::from_static(body);
        named(room, Write::Snapshot { through, update })
    }

    fn quarantine(room: &str, sequence: u64) -> (RoomName, Write) {
        named(room, Write::Quarantine { sequence })
    }

    fn named(room: &str, write: Write) -> (RoomName, Write) {
        (RoomName::parse(room).unwrap(), write)
    }

    /// Each step as its act and its rows.
    fn steps(writes: &[(RoomName, Write)]) -> Vec<String> {
        let batch = Batch::new(writes).unwrap();
        let step = |step: &Step<'_>| {
            let rows = step.rooms.iter().zip(&step.sequences);
            let rows = rows.map(|(room, sequence)| format!(" {room}{sequence}"));
            format!("{:?}{}", step.act, rows.collect::<String>())
        };
        batch.steps.iter().map(step).collect()
    }

    #[test]
    fn everybody_appending_is_one_statement() {
        let writes = [append("a", 1, 1), append("b", 1, 1), append("a", 2, 1)];
        assert_eq!(steps(&writes), ["Append a1 b1 a2"]);
        assert_eq!(Batch::new(&writes).unwrap().rooms, ["a", "b"]);
    }

    #[test]
    fn writes_of_one_room_keep_their_order() {
        let writes = [
            append("a", 1, 1),
            snapshot("a", 1, b"s"),
            append("a", 2, 1),
            append("b", 1, 1),
            quarantine("a", 2),
            snapshot("b", 1, b"s"),
        ];
        assert_eq!(
            steps(&writes),
            [
                "Append a1 b1",
                "Snapshot a1 b1",
                "Append a2",
                "Quarantine a2"
            ]
        );
    }

    #[test]
    fn an_append_that_goes_back_is_put_before_the_database() {
        let writes = [append("a", 5, 1), append("a", 3, 1), append("a", 6, 1)];
        assert_eq!(steps(&writes), ["Append a5", "Append a3 a6"]);
        let writes = [append("a", 5, 1), append("a", 5, 1)];
        assert_eq!(steps(&writes), ["Append a5", "Append a5"]);
    }

    #[test]
    fn every_snapshot_is_put_before_the_database() {
        let writes = [
            snapshot("a", 4, b"old"),
            snapshot("b", 4, b"other"),
            snapshot("a", 4, b"new"),
            snapshot("a", 2, b"back"),
        ];
        assert_eq!(
            steps(&writes),
            ["Snapshot a4 b4", "Snapshot a4", "Snapshot a2"]
        );
    }

    #[test]
    fn large_bodies_are_spread_over_statements() {
        let half = STATEMENT_BYTES_MAX / 2;
        let writes = [
            append("a", 1, half),
            append("a", 2, half),
            append("a", 3, 1),
            append("a", 4, 3 * half),
        ];
        assert_eq!(steps(&writes), ["Append a1 a2", "Append a3", "Append a4"]);
    }

    #[test]
    fn a_sequence_number_that_the_database_cannot_hold_is_refused() {
        let writes = [quarantine("a", u64::MAX)];
        assert_eq!(Batch::new(&writes).unwrap_err(), TooLarge(u64::MAX));
    }
}
