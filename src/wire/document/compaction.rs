//! Dropping the content of what is deleted.
//!
//! Ids, neighbours and types stay, so that whatever stands on them can still be placed: what Yjs does
//! with deleted items. What it does beyond that, with all that lies in a deleted type, takes
//! integration.

use std::ops::Range;

use crate::wire::document::growth::Writer;
use crate::wire::document::piece::Piece;
use crate::wire::document::row::Row;
use crate::wire::document::{Deletions, Document, deletions, head};
use crate::wire::lib0::Reader;
use crate::wire::validator::Invalid;

/// `None`: it would not be smaller.
pub(super) fn compact(document: &Document) -> Result<Option<Document>, Invalid> {
    let deleted = deletions(&mut Reader::new(document.deletion_bytes()))?;
    let mut writer = Writer::with_capacity(document.parts.len(), document.bytes.len());
    for index in 0..document.parts.len() {
        let mut reader = Reader::new(document.part_bytes(index));
        let (structs, client, start) = head(&mut reader)?;
        let mut deleted = (deleted.get(&client)).map_or(&[][..], Vec::as_slice);
        let mut row = Row::new(client, start);
        for _ in 0..structs {
            let start = row.end;
            let piece = Piece::read(&mut reader, client, start)?;
            let end = start + piece.length;
            while deleted.first().is_some_and(|range| range.end <= start) {
                deleted = &deleted[1..];
            }
            let touches = deleted.first().is_some_and(|range| range.start < end);
            let room = document.bytes.len().saturating_sub(writer.len());
            match touches && piece.can_be_collected() {
                true => cut_up(&mut row, piece, end, deleted, room),
                false => row.take_piece(&piece),
            }
            if room < row.bytes.len() {
                return Ok(None);
            }
        }
        row.close();
        if writer.part(client, row.structs, &[], &row).is_none() {
            return Ok(None);
        }
    }
    let compacted = writer.finish(document, Deletions::new());
    Ok(compacted.filter(|it| it.bytes.len() <= document.bytes.len()))
}

/// Takes a struct with the content of what is not deleted of it, until the row is larger than `room`.
fn cut_up(row: &mut Row, mut piece: Piece<'_>, end: u64, deleted: &[Range<u64>], room: usize) {
    for range in deleted.iter().take_while(|range| range.start < end) {
        if room < row.bytes.len() {
            return;
        }
        for (until, keeps) in [(range.start, true), (range.end.min(end), false)] {
            if let Some(clocks) = until.checked_sub(row.end).filter(|&clocks| 0 < clocks) {
                let split = piece.split_off(row.client(), row.end, clocks, keeps);
                row.take_split(&split);
            }
        }
    }
    if row.end < end {
        row.take_piece(&piece);
    }
}
