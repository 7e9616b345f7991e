//! A document and what is new in it, on the way to be one.

use std::collections::HashMap;
use std::ops::Range;

use crate::model::ClientId;
use crate::wire::document::piece::Piece;
use crate::wire::document::row::Row;
use crate::wire::document::{Deletions, Document, Part, range, unite, write_deletions_of};
use crate::wire::lib0::{Reader, write_varuint};
use crate::wire::validator::{self, Invalid};
use crate::wire::yjs::Update;

/// What is to be added.
pub(super) struct Growth {
    base: Document,
    /// For each client with something new: its last struct, if it has any, and all behind it.
    rows: HashMap<ClientId, Row>,
    /// In no order.
    deletions: Deletions,
    /// Its places could not be numbered.
    is_too_large: bool,
}

/// What a row takes in memory when there is little in it.
const ROW_BYTES: usize = 256;
/// What rows may take, however small the base is.
const ROWS_BYTES_MIN: usize = 4 << 20;

impl Growth {
    pub fn of(base: &Document) -> Self {
        Self {
            base: base.clone(),
            rows: HashMap::new(),
            deletions: HashMap::new(),
            is_too_large: false,
        }
    }

    /// Takes what is new in an update, as far as there is no gap before it.
    pub fn take(&mut self, update: &Update) -> Result<(), Invalid> {
        if let Some(typed) = update.typed() {
            let row = self.row(typed.client)?;
            if row.end == typed.start() && row.end != 0 {
                row.take_typed(typed, update.bytes());
                return Ok(());
            }
        }
        let mut reader = Reader::new(update.bytes());
        for _ in 0..reader.varuint32()? {
            self.take_part(&mut reader)?;
            self.flush_if_large();
        }
        for _ in 0..reader.varuint32()? {
            let ranges = self
                .deletions
                .entry(ClientId(reader.varuint()?))
                .or_default();
            for _ in 0..reader.varuint32()? {
                let range = range(&mut reader)?;
                match ranges.last_mut() {
                    // Mostly what is deleted lies directly before or behind what was deleted last.
                    Some(last) if last.end == range.start => last.end = range.end,
                    Some(last) if range.end == last.start => last.start = range.start,
                    _ => ranges.push(range),
                }
            }
        }
        Ok(())
    }

    fn take_part(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        let (structs, client, mut start) = super::head(reader)?;
        let known = self.end(client);
        for place in 0..structs {
            let before = *reader;
            let read = validator::read_struct(reader, client, start)?;
            if read.is_skip() || read.end <= known {
                start = read.end;
                continue;
            }
            // Something new: the rest of the part is its client's.
            *reader = before;
            return self.take_rest(reader, client, start, structs - place);
        }
        Ok(())
    }

    fn take_rest(
        &mut self,
        reader: &mut Reader<'_>,
        client: ClientId,
        mut start: u64,
        structs: u64,
    ) -> Result<(), Invalid> {
        let row = self.row(client)?;
        for _ in 0..structs {
            let mut before = *reader;
            let read = validator::read_struct(reader, client, start)?;
            // What lies behind a gap has to come again.
            if !read.is_skip() && start <= row.end && row.end < read.end {
                let mut piece = Piece::read(&mut before, client, start)?;
                piece.skip(client, start, row.end - start);
                row.take_piece(&piece);
            }
            start = read.end;
        }
        Ok(())
    }

    /// A million clients with a letter each would be fifty times as large here as what they sent. So the
    /// base takes them in when they are as large as it is; it grows by a part of itself each time, so
    /// that takes time in proportion to the end.
    fn flush_if_large(&mut self) {
        let room = ROWS_BYTES_MIN.max(2 * self.base.bytes.len());
        if self.rows.len() * ROW_BYTES <= room {
            return;
        }
        let rows = std::mem::take(&mut self.rows);
        if let Some(grown) = grown(&self.base, rows, Deletions::new()) {
            self.base = grown;
        } else {
            self.is_too_large = true;
        }
    }

    fn end(&self, client: ClientId) -> u64 {
        (self.rows.get(&client)).map_or_else(|| self.base.end(client), |row| row.end)
    }

    /// What the client has written last, to be gone on from.
    fn row(&mut self, client: ClientId) -> Result<&mut Row, Invalid> {
        let base = &self.base;
        Ok(match self.rows.entry(client) {
            std::collections::hash_map::Entry::Occupied(row) => row.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let row = match base.part(client) {
                    Some(part) => {
                        let mut row = Row::new(client, part.last_clock.into());
                        row.take(&mut base.reader(part.last))?;
                        row
                    }
                    None => Row::new(client, 0),
                };
                place.insert(row)
            }
        })
    }

    /// The document with all of it; `None` if it is too large for its places to be numbered.
    pub fn finish(self) -> Option<Document> {
        match self.is_too_large {
            true => None,
            false => grown(&self.base, self.rows, self.deletions),
        }
    }
}

fn grown(base: &Document, rows: HashMap<ClientId, Row>, deletions: Deletions) -> Option<Document> {
    let mut rows: Vec<(ClientId, Row)> = (rows.into_iter())
        .filter(|(_, row)| 0 < row.structs)
        .collect();
    // As clients do: the highest id first.
    rows.sort_unstable_by_key(|&(client, _)| std::cmp::Reverse(client));
    rows.iter_mut().for_each(|(_, row)| row.close());
    let added: usize = rows.iter().map(|(_, row)| row.bytes.len() + 24).sum();
    let mut out = Writer::with_capacity(base.parts.len() + rows.len(), base.bytes.len() + added);
    let (mut index, mut rows) = (0, rows.into_iter().peekable());
    while let Some(next) = rows.peek().map(|&(client, _)| client) {
        // Everybody before whom nothing is new, in one go.
        let found = base.parts[index..].partition_point(|part| next < base.client(part));
        out.copy(base, index..index + found)?;
        index += found;
        let Some((client, row)) = rows.next() else {
            break;
        };
        let part = base
            .parts
            .get(index)
            .filter(|part| base.client(part) == client);
        out.join(base, part, client, &row)?;
        index += usize::from(part.is_some());
    }
    out.copy(base, index..base.parts.len())?;
    out.finish(base, deletions)
}

/// Writes a document's parts in their order.
pub(super) struct Writer {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

/// A document that grows is copied each time. Were each copy a little larger than the last, none would
/// fit where one before it was, and the allocator would keep all those places: so copies of about the
/// same size take the same, at most an eighth more than they need.
fn size_class(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() >> 4).max(64);
    bytes.next_multiple_of(step)
}

/// Room for the count of clients, which is known last.
const COUNT_BYTES: usize = 5;

impl Writer {
    pub fn with_capacity(parts: usize, bytes: usize) -> Self {
        let mut all = Vec::with_capacity(size_class(bytes + COUNT_BYTES));
        all.resize(COUNT_BYTES, 0);
        Self {
            bytes: all,
            parts: Vec::with_capacity(parts),
        }
    }

    /// How many bytes are written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Copies parts as they are.
    fn copy(&mut self, base: &Document, parts: Range<usize>) -> Option<()> {
        let (Some(first), Some(moved)) = (
            base.parts.get(parts.start).map(|part| part.head),
            base.parts.get(parts.clone()),
        ) else {
            return Some(());
        };
        if moved.is_empty() {
            return Some(());
        }
        let end = base
            .parts
            .get(parts.end)
            .map_or(base.deletions, |next| next.head);
        let here = u32::try_from(self.bytes.len()).ok()?;
        let bytes = base.bytes.get(first as usize..end as usize)?;
        u32::try_from(self.bytes.len() + bytes.len()).ok()?;
        self.bytes.extend_from_slice(bytes);
        self.parts.extend(moved.iter().map(|part| Part {
            head: part.head - first + here,
            last: part.last - first + here,
            ..*part
        }));
        Some(())
    }

    /// A part whose last struct, and what is behind it, is this row.
    fn join(
        &mut self,
        base: &Document,
        part: Option<&Part>,
        client: ClientId,
        row: &Row,
    ) -> Option<()> {
        let (structs, before) = match part {
            Some(part) => {
                let mut reader = base.reader(part.head);
                let (structs, _, _) = super::head(&mut reader).ok()?;
                let begins = base.bytes.len() - reader.remaining();
                (structs - 1, base.bytes.get(begins..part.last as usize)?)
            }
            None => (0, &[][..]),
        };
        self.part(client, structs + row.structs, before, row)
    }

    /// A part: these bytes, and then the row.
    pub fn part(&mut self, client: ClientId, structs: u64, before: &[u8], row: &Row) -> Option<()> {
        let head = u32::try_from(self.bytes.len()).ok()?;
        write_varuint(&mut self.bytes, structs);
        write_varuint(&mut self.bytes, client.0);
        write_varuint(&mut self.bytes, 0);
        self.bytes.extend_from_slice(before);
        let last = u32::try_from(self.bytes.len() + row.last).ok()?;
        self.bytes.extend_from_slice(&row.bytes);
        self.parts.push(Part {
            head,
            last,
            last_clock: u32::try_from(row.last_clock).ok()?,
            end: u32::try_from(row.end).ok()?,
        });
        Some(())
    }

    /// The document, with what was deleted and what is.
    pub fn finish(mut self, base: &Document, new: Deletions) -> Option<Document> {
        let deletions = u32::try_from(self.bytes.len()).ok()?;
        if new.is_empty() {
            self.bytes.extend_from_slice(base.deletion_bytes());
        } else {
            let old = Reader::new(base.deletion_bytes());
            unite_deletions(&mut self.bytes, old, new).ok()?;
        }
        // The count takes as many bytes as it needs, the first are left out.
        let mut count = Vec::with_capacity(COUNT_BYTES);
        write_varuint(&mut count, self.parts.len() as u64);
        let unused = COUNT_BYTES - count.len();
        self.bytes[unused..COUNT_BYTES].copy_from_slice(&count);
        let shift = |place: u32| place - unused as u32;
        for part in &mut self.parts {
            (part.head, part.last) = (shift(part.head), shift(part.last));
        }
        self.bytes.drain(..unused);
        self.bytes.shrink_to(size_class(self.bytes.len()));
        Some(Document {
            bytes: self.bytes.into(),
            parts: self.parts.into(),
            deletions: shift(deletions),
        })
    }
}

fn unite_deletions(out: &mut Vec<u8>, mut old: Reader<'_>, new: Deletions) -> Result<(), Invalid> {
    let mut new: Vec<(ClientId, Vec<Range<u64>>)> = new.into_iter().collect();
    new.sort_unstable_by_key(|&(client, _)| std::cmp::Reverse(client));
    let mut new = new.into_iter().peekable();
    let (mut count, mut sections) = (0, Vec::new());
    for _ in 0..old.varuint32()? {
        let begin = old.rest();
        let client = ClientId(old.varuint()?);
        let ranges = old.varuint32()?;
        while let Some((newer, mut ranges)) = new.next_if(|&(newer, _)| client < newer) {
            unite(&mut ranges);
            write_deletions_of(&mut sections, newer, &ranges);
            count += 1;
        }
        count += 1;
        let Some((_, mut all)) = new.next_if(|&(newer, _)| client == newer) else {
            for _ in 0..ranges {
                range(&mut old)?;
            }
            sections.extend_from_slice(&begin[..begin.len() - old.remaining()]);
            continue;
        };
        for _ in 0..ranges {
            all.push(range(&mut old)?);
        }
        unite(&mut all);
        write_deletions_of(&mut sections, client, &all);
    }
    for (client, mut ranges) in new {
        unite(&mut ranges);
        write_deletions_of(&mut sections, client, &ranges);
        count += 1;
    }
    write_varuint(out, count);
    out.extend_from_slice(&sections);
    Ok(())
}
