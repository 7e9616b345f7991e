//! A document as its structs: one update that is all of it, and where each client's part lies in it.
//!
//! A relay needs no integration. Who joins is sent the bytes; who returns gets what they lack, found by
//! clocks; what is new is appended to the part of its client. Nothing here knows the order of a list or
//! the winner of a map key: that is for the clients. So nothing that a writer sends can make it fail,
//! loop or grow beyond what was sent ([decision 63](../../../docs/decisions/0063-documents-are-structs.md)).
//!
//! A [`Document`] does not change: [`Document::with`] makes the next one from it, in time proportional
//! to both. [`Document::compacted`] drops the content of what is deleted, as Yjs does. First come wins:
//! a clock that is there is never replaced.

mod compaction;
mod derived;
mod growth;
mod piece;
mod row;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::ClientId;
use crate::wire::document::growth::Growth;
use crate::wire::document::piece::Piece;
use crate::wire::lib0::{Reader, write_varuint};
use crate::wire::validator::{self, Invalid};
use crate::wire::yjs::{StateVector, Update};

/// All of a document: what each client wrote, from its first clock without a gap, and what is deleted.
#[derive(Clone, Debug)]
pub struct Document {
    /// A Yjs update, v1. Clients descend, deleted ranges are united.
    bytes: Bytes,
    /// One for each client, in the order of the bytes. Shared, as documents are cheap to clone.
    parts: Arc<[Part]>,
    /// Where the deletions begin.
    deletions: u32,
}

/// Where one client's part lies. Small, as a document may have a million clients: who it is stands in
/// the bytes.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where its head begins: a count, the client, the clock 0.
    head: u32,
    /// Where its last struct begins.
    last: u32,
    /// The first clock of its last struct.
    last_clock: u32,
    /// The clock that comes next.
    end: u32,
}

impl Document {
    /// A document in which nobody has written anything.
    pub fn empty() -> Self {
        Self {
            bytes: Bytes::from_static(&[0, 0]),
            parts: Arc::default(),
            deletions: 1,
        }
    }

    /// The document with these updates, in their order. What is known already, or stands behind a gap,
    /// is left out. `None` when the result would be larger than four gigabytes.
    pub fn with<'a>(&self, updates: impl IntoIterator<Item = &'a Update>) -> Option<Self> {
        let mut growth = Growth::of(self);
        for update in updates {
            let taken = growth.take(update);
            debug_assert!(taken.is_ok(), "it passed the validator");
        }
        growth.finish()
    }

    /// The same document without the content of what is deleted; as it is if that would be larger, as
    /// when every second letter is deleted and what is left needs heads of its own.
    pub fn compacted(&self) -> Self {
        let compacted = compaction::compact(self);
        debug_assert!(compacted.is_ok(), "it was read before");
        compacted.ok().flatten().unwrap_or_else(|| self.clone())
    }

    /// All of it, as a Yjs update.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether nobody has written anything.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What it has of whom, encoded.
    pub fn state_vector(&self) -> Bytes {
        let mut out = Vec::with_capacity(5 + 9 * self.parts.len());
        write_varuint(&mut out, self.parts.len() as u64);
        for part in self.parts.iter() {
            write_varuint(&mut out, self.client(part).0);
            write_varuint(&mut out, part.end.into());
        }
        out.into()
    }

    /// What somebody lacks who has this: an update. As Yjs does it sends all that is deleted.
    pub fn lacking(&self, known: &StateVector) -> Bytes {
        if known.entries().next().is_none() {
            return self.bytes.clone();
        }
        let lacking = self.after(known);
        debug_assert!(lacking.is_ok(), "it was read before");
        // Everything is right, too.
        lacking.map_or_else(|_| self.bytes.clone(), Bytes::from)
    }

    /// Whether an update inserts or deletes anything that is not inserted or deleted here.
    pub fn has_news(&self, update: &Update) -> bool {
        self.has_new_structs(update)
            || self
                .unknown_deletions(update)
                .is_ok_and(|it| !it.is_empty())
    }

    /// Whether all that is new in the update are deletions which every client makes by itself when it
    /// integrates what is here: of what lies in a deleted type, and of values of a map key that another
    /// has replaced or won against. Nobody sends these, but everybody brings them when they return.
    pub fn derives(&self, update: &Update) -> bool {
        if self.has_new_structs(update) {
            return false;
        }
        let unknown = self.unknown_deletions(update);
        unknown.is_ok_and(|unknown| derived::are_derived(self, &unknown).unwrap_or(false))
    }

    /// The clock of a client that comes next.
    pub fn end(&self, client: ClientId) -> u64 {
        self.part(client).map_or(0, |part| part.end.into())
    }

    fn has_new_structs(&self, update: &Update) -> bool {
        let mut ends = update.clock_ends();
        ends.any(|(client, _, end)| self.end(client) < end)
    }

    fn part(&self, client: ClientId) -> Option<&Part> {
        let found = (self.parts).binary_search_by(|part| client.cmp(&self.client(part)));
        self.parts.get(found.ok()?)
    }

    fn client(&self, part: &Part) -> ClientId {
        let head = head(&mut self.reader(part.head));
        debug_assert!(head.is_ok(), "it was written by us");
        head.map_or(ClientId(0), |(_, client, _)| client)
    }

    /// Reads from a place on.
    fn reader(&self, place: u32) -> Reader<'_> {
        Reader::new(self.bytes.get(place as usize..).unwrap_or_default())
    }

    /// The bytes of a client's part.
    fn part_bytes(&self, index: usize) -> &[u8] {
        let next = self.parts.get(index + 1);
        let end = next.map_or(self.deletions, |next| next.head);
        let start = self.parts.get(index).map_or(end, |part| part.head);
        (self.bytes)
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    fn deletion_bytes(&self) -> &[u8] {
        (self.bytes)
            .get(self.deletions as usize..)
            .unwrap_or_default()
    }

    fn after(&self, known: &StateVector) -> Result<Vec<u8>, Invalid> {
        let known: HashMap<ClientId, u64> = known.entries().collect();
        let (mut count, mut parts) = (0, Vec::new());
        for (index, part) in self.parts.iter().enumerate() {
            let bytes = self.part_bytes(index);
            let mut reader = Reader::new(bytes);
            let (structs, client, _) = head(&mut reader)?;
            let known = known.get(&client).copied().unwrap_or(0);
            if u64::from(part.end) <= known {
                continue;
            }
            count += 1;
            if known == 0 {
                parts.extend_from_slice(bytes);
                continue;
            }
            let (mut place, mut start) = (0, 0);
            if u64::from(part.last_clock) <= known {
                // Most lack only the end of what somebody types.
                (place, start) = (structs - 1, part.last_clock.into());
                let last = bytes.get((part.last - part.head) as usize..);
                reader = Reader::new(last.unwrap_or_default());
            }
            let (before, end) = loop {
                let before = reader;
                let end = validator::read_struct(&mut reader, client, start)?.end;
                if known < end {
                    break (before, end);
                }
                (place, start) = (place + 1, end);
            };
            write_varuint(&mut parts, structs - place);
            write_varuint(&mut parts, client.0);
            if start < known {
                write_varuint(&mut parts, known);
                let mut piece = Piece::read(&mut { before }, client, start)?;
                piece.skip(client, start, known - start);
                debug_assert_eq!(known + piece.length, end, "it is cut where they are");
                piece.write(&mut parts);
                parts.extend_from_slice(reader.rest());
            } else {
                write_varuint(&mut parts, start);
                parts.extend_from_slice(before.rest());
            }
        }
        let mut out = Vec::with_capacity(5 + parts.len() + self.deletion_bytes().len());
        write_varuint(&mut out, count);
        out.extend_from_slice(&parts);
        out.extend_from_slice(self.deletion_bytes());
        Ok(out)
    }

    /// What an update deletes and is not deleted here.
    fn unknown_deletions(&self, update: &Update) -> Result<Deletions, Invalid> {
        let mut reader = Reader::new(update.bytes());
        skip_structs(&mut reader)?;
        let mut theirs = deletions(&mut reader)?;
        if theirs.is_empty() {
            return Ok(theirs);
        }
        let mut ours = Reader::new(self.deletion_bytes());
        for _ in 0..ours.varuint32()? {
            let client = ClientId(ours.varuint()?);
            let count = ours.varuint32()?;
            let Some(ranges) = theirs.get_mut(&client) else {
                for _ in 0..count {
                    range(&mut ours)?;
                }
                continue;
            };
            let mut known = Vec::new();
            for _ in 0..count {
                known.push(range(&mut ours)?);
            }
            *ranges = without(ranges, &known);
            if ranges.is_empty() {
                theirs.remove(&client);
            }
        }
        Ok(theirs)
    }
}

/// What is deleted of each client: ranges in their order, none touching the next.
type Deletions = HashMap<ClientId, Vec<Range<u64>>>;

/// How many structs, whose, and the first clock.
fn head(reader: &mut Reader<'_>) -> Result<(u64, ClientId, u64), Invalid> {
    let structs = reader.varuint32()?;
    let client = ClientId(reader.varuint()?);
    Ok((structs, client, reader.varuint32()?))
}

fn skip_structs(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    for _ in 0..reader.varuint32()? {
        let (structs, client, mut end) = head(reader)?;
        for _ in 0..structs {
            end = validator::read_struct(reader, client, end)?.end;
        }
    }
    Ok(())
}

fn deletions(reader: &mut Reader<'_>) -> Result<Deletions, Invalid> {
    let mut all = Deletions::new();
    for _ in 0..reader.varuint32()? {
        let ranges = all.entry(ClientId(reader.varuint()?)).or_default();
        for _ in 0..reader.varuint32()? {
            let range = range(reader)?;
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
    }
    Ok(all)
}

fn range(reader: &mut Reader<'_>) -> Result<Range<u64>, Invalid> {
    let start = reader.varuint32()?;
    Ok(start..start + reader.varuint32()?)
}

/// What is in the first ranges and not in the others; both are sorted.
fn without(ranges: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut others = others.iter().peekable();
    for range in ranges {
        let mut start = range.start;
        while let Some(other) = others.peek()
            && other.start < range.end
        {
            if start < other.start {
                left.push(start..other.start);
            }
            start = start.max(other.end);
            if range.end < other.end {
                break;
            }
            others.next();
        }
        if start < range.end {
            left.push(start..range.end);
        }
    }
    left
}

/// Sorts ranges and unites those that overlap or touch.
fn unite(ranges: &mut Vec<Range<u64>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, kept| {
        let touches = next.start <= kept.end;
        if touches {
            kept.end = kept.end.max(next.end);
        }
        touches
    });
}

fn write_deletions_of(out: &mut Vec<u8>, client: ClientId, ranges: &[Range<u64>]) {
    write_varuint(out, client.0);
    write_varuint(out, ranges.len() as u64);
    for range in ranges {
        write_varuint(out, range.start);
        write_varuint(out, range.end - range.start);
    }
}
