//! Several updates in one row of the log.
//!
//! A row costs SQLite some ten thousand instructions, whatever is in it. So where many come, what a document
//! was given in one commit is one row: the updates one behind the other, and beside them their
//! parts, a JSON array with the length and the checksum of each. Their places are consecutive; the
//! row has that of the last. Each update stays what it was: it is read, checked and set aside for
//! itself.

use std::ops::Range;

use crate::limits::{PACKED_UPDATE_BYTES_MAX, PACKED_UPDATES_MAX};
use crate::store::Sequence;

/// A row that holds several updates.
#[derive(Debug, Eq, PartialEq)]
pub struct Row {
    /// The updates, one behind the other.
    pub body: Vec<u8>,
    /// The length and the checksum of each, as JSON.
    pub parts: String,
}

/// One of the updates of a row.
#[derive(Debug, Eq, PartialEq)]
pub struct Part {
    /// Its place in the log.
    pub sequence: Sequence,
    /// Where in the body.
    pub range: Range<usize>,
    /// What its CRC-32 should be.
    pub checksum: i64,
}

/// Divides a document's updates into those for one row each.
pub fn rows<'a, 'b>(
    updates: &'b [(Sequence, &'a [u8])],
) -> impl Iterator<Item = &'b [(Sequence, &'a [u8])]> {
    let is_small = |update: &[u8]| update.len() <= PACKED_UPDATE_BYTES_MAX;
    updates
        .chunk_by(move |(place, update), (next, other)| {
            place + 1 == *next && is_small(update) && is_small(other)
        })
        .flat_map(|together| together.chunks(PACKED_UPDATES_MAX))
}

/// Puts updates into one row.
pub fn pack(updates: &[(Sequence, &[u8])]) -> serde_json::Result<Row> {
    let parts: Vec<_> = updates
        .iter()
        .map(|(_, update)| (update.len(), crc32fast::hash(update)))
        .collect();
    let body: Vec<&[u8]> = updates.iter().map(|&(_, update)| update).collect();
    Ok(Row {
        body: body.concat(),
        parts: serde_json::to_string(&parts)?,
    })
}

/// What is in a row: `None` if the parts are not those of such a body at such a place.
pub fn unpack(last: Sequence, body_len: usize, parts: &[u8]) -> Option<Vec<Part>> {
    let parts: Vec<(usize, i64)> = serde_json::from_slice(parts).ok()?;
    let before = last.checked_sub(parts.len() as u64)?;
    let mut end = 0_usize;
    let mut read = Vec::with_capacity(parts.len());
    for (sequence, (length, checksum)) in (before + 1..).zip(parts) {
        let start = end;
        end = end.checked_add(length)?;
        read.push(Part {
            sequence,
            range: start..end,
            checksum,
        });
    }
    (end == body_len).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(rows: &[&[(Sequence, &[u8])]]) -> Vec<Vec<Sequence>> {
        let places = |row: &&[(Sequence, &[u8])]| row.iter().map(|(place, _)| *place).collect();
        rows.iter().map(places).collect()
    }

    #[test]
    fn what_was_packed_is_found_again() {
        let updates: [(Sequence, &[u8]); 3] = [(5, b"one"), (6, b""), (7, b"three")];
        let row = pack(&updates).unwrap();
        let parts = unpack(7, row.body.len(), row.parts.as_bytes()).unwrap();
        for (part, (sequence, update)) in parts.into_iter().zip(updates) {
            assert_eq!(part.sequence, sequence);
            assert_eq!(&row.body[part.range], update);
            assert_eq!(part.checksum, i64::from(crc32fast::hash(update)));
        }
    }

    #[test]
    fn parts_that_are_not_those_of_the_body_are_none() {
        for (last, body_len, parts) in [
            (7, 4, "[[3,1],[2,1]]"),
            (7, 6, "[[3,1],[2,1]]"),
            (1, 5, "[[3,1],[2,1]]"),
            (7, 5, "[[3,1],[2,1]"),
            (7, 5, "[[-3,1],[8,1]]"),
            (7, 5, r#"{"3":1}"#),
            (7, 4, "[[18446744073709551615,1],[5,1]]"),
        ] {
            assert_eq!(unpack(last, body_len, parts.as_bytes()), None, "{parts}");
        }
    }

    #[test]
    fn a_row_has_small_updates_of_consecutive_places() {
        let large = vec![0; PACKED_UPDATE_BYTES_MAX + 1];
        let updates: [(Sequence, &[u8]); 6] = [
            (1, b"a"),
            (2, b"b"),
            (4, b"c"),
            (5, &large),
            (6, b"d"),
            (7, b"e"),
        ];
        let rows: Vec<_> = rows(&updates).collect();
        assert_eq!(places(&rows), [vec![1, 2], vec![4], vec![5], vec![6, 7]]);
    }

    #[test]
    fn a_row_has_a_bound() {
        let updates: Vec<(Sequence, &[u8])> = (1..=2 * PACKED_UPDATES_MAX as u64 + 1)
            .map(|place| (place, &b"x"[..]))
            .collect();
        let lengths: Vec<_> = rows(&updates).map(<[_]>::len).collect();
        assert_eq!(lengths, [PACKED_UPDATES_MAX, PACKED_UPDATES_MAX, 1]);
    }
}
