//! What can be told of a document from its encoding, without building it.
//!
//! A document that nobody edits is read all the same: who joins is sent it, and who returns asks what
//! is new and says what it has. Its encoding (one update that is all of it) answers that with a walk
//! over the bytes, and takes a tenth of the memory.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use crate::model::ClientId;
use crate::wire::lib0::{Reader, write_varstring, write_varuint};
use crate::wire::merging::{self, CONTENT_STRING, HAS_ORIGIN, HAS_RIGHT_ORIGIN};
use crate::wire::validator::{self, Invalid};
use crate::wire::yjs::{StateVector, Update};

/// An update that is all of a document: what each client wrote, from its first clock without a gap.
#[derive(Clone, Debug)]
pub struct Encoded {
    update: Update,
    /// For each client the clock that comes next, in ascending order of their ids.
    ends: Box<[(ClientId, u64)]>,
}

impl Encoded {
    /// `None` if there is a gap.
    pub fn new(update: Update) -> Option<Self> {
        let mut ends = Vec::new();
        let mut reader = Reader::new(update.bytes());
        for _ in 0..reader.varuint32().ok()? {
            let (structs, client, mut end) = section_head(&mut reader).ok()?;
            if end != 0 {
                return None;
            }
            for _ in 0..structs {
                let read = validator::read_struct(&mut reader, client, end).ok()?;
                if read.is_skip() {
                    return None;
                }
                end = read.end;
            }
            ends.push((client, end));
        }
        ends.sort_unstable();
        let ends = ends.into_boxed_slice();
        Some(Self { update, ends })
    }

    /// The encoding of a document in which nobody has written anything.
    pub fn empty() -> Self {
        Self {
            update: Update::empty(),
            ends: Box::default(),
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &Bytes {
        self.update.bytes()
    }

    /// Whether nobody has written anything.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What it has of whom, encoded.
    pub fn state_vector(&self) -> Bytes {
        let mut out = Vec::with_capacity(1 + 9 * self.ends.len());
        write_varuint(&mut out, self.ends.len() as u64);
        for &(client, end) in &self.ends {
            write_varuint(&mut out, client.0);
            write_varuint(&mut out, end);
        }
        out.into()
    }

    /// What somebody lacks who has this: an update. As Yjs does it sends all that is deleted.
    pub fn lacking(&self, known: &StateVector) -> Bytes {
        if known.entries().next().is_none() {
            return self.bytes().clone();
        }
        let lacking = self.after(known);
        debug_assert!(lacking.is_ok(), "it was read before");
        // Everything is right, too.
        lacking.map_or_else(|_| self.bytes().clone(), Bytes::from)
    }

    /// Whether an update inserts or deletes anything that is not inserted or deleted here.
    pub fn has_news(&self, update: &Update) -> bool {
        let has_blocks = update
            .clock_ends()
            .any(|(client, _, end)| self.end(client) < end);
        has_blocks || self.has_deletions_of(update).is_ok_and(|has| !has)
    }

    fn end(&self, client: ClientId) -> u64 {
        let place = self.ends.binary_search_by_key(&client, |&(known, _)| known);
        place.map_or(0, |place| self.ends[place].1)
    }

    fn after(&self, known: &StateVector) -> Result<Vec<u8>, Invalid> {
        let known: HashMap<ClientId, u64> = known.entries().collect();
        let mut reader = Reader::new(self.bytes());
        let (mut count, mut sections) = (0, Vec::new());
        for _ in 0..reader.varuint32()? {
            let (structs, client, _) = section_head(&mut reader)?;
            let known = known.get(&client).copied().unwrap_or(0);
            let mut end = 0;
            let mut first = None;
            for place in 0..structs {
                let (before, start) = (reader, end);
                end = validator::read_struct(&mut reader, client, start)?.end;
                if first.is_none() && known < end {
                    first = Some((place, start, before, reader));
                }
            }
            let Some((place, start, before, behind)) = first else {
                continue;
            };
            count += 1;
            write_varuint(&mut sections, structs - place);
            write_varuint(&mut sections, client.0);
            match cut(before, client, start, known)? {
                Some((clock, bytes)) => {
                    write_varuint(&mut sections, clock);
                    sections.extend_from_slice(&bytes);
                    sections.extend_from_slice(between(behind, reader));
                }
                None => {
                    write_varuint(&mut sections, start);
                    sections.extend_from_slice(between(before, reader));
                }
            }
        }
        let mut out = Vec::with_capacity(5 + sections.len() + reader.remaining());
        write_varuint(&mut out, count);
        out.extend_from_slice(&sections);
        out.extend_from_slice(reader.rest());
        Ok(out)
    }

    fn has_deletions_of(&self, update: &Update) -> Result<bool, Invalid> {
        let mut theirs = Reader::new(update.bytes());
        skip_structs(&mut theirs)?;
        let theirs = deletions(&mut theirs)?;
        if theirs.is_empty() {
            return Ok(true);
        }
        let mut ours = Reader::new(self.bytes());
        skip_structs(&mut ours)?;
        let ours = deletions(&mut ours)?;
        Ok(theirs.into_iter().all(|(client, ranges)| {
            let ours = ours.get(&client).map_or(&[][..], Vec::as_slice);
            ranges.into_iter().all(|range| {
                let place = ours.partition_point(|known| known.end <= range.start);
                ours.get(place)
                    .is_some_and(|known| known.start <= range.start && range.end <= known.end)
            })
        }))
    }
}

/// How many structs, whose, and the first clock.
fn section_head(reader: &mut Reader<'_>) -> Result<(u64, ClientId, u64), Invalid> {
    let structs = reader.varuint32()?;
    let client = ClientId(reader.varuint()?);
    Ok((structs, client, reader.varuint32()?))
}

fn skip_structs(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    for _ in 0..reader.varuint32()? {
        let (structs, client, mut end) = section_head(reader)?;
        for _ in 0..structs {
            end = validator::read_struct(reader, client, end)?.end;
        }
    }
    Ok(())
}

/// What is deleted of each client: ranges in their order, none touching the next.
fn deletions(reader: &mut Reader<'_>) -> Result<HashMap<ClientId, Vec<Range<u64>>>, Invalid> {
    let mut all: HashMap<ClientId, Vec<Range<u64>>> = HashMap::new();
    for _ in 0..reader.varuint32()? {
        let ranges = all.entry(ClientId(reader.varuint()?)).or_default();
        for _ in 0..reader.varuint32()? {
            let start = reader.varuint32()?;
            let end = start + reader.varuint32()?;
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
    }
    Ok(all)
}

/// The bytes that the second reader has passed and the first has not.
fn between<'a>(from: Reader<'a>, to: Reader<'a>) -> &'a [u8] {
    &from.rest()[..from.remaining() - to.remaining()]
}

/// A text of which the beginning is known: its end, as an item that stands behind that; and where it
/// begins. Other things are short, and sent whole.
fn cut(
    reader: Reader<'_>,
    client: ClientId,
    start: u64,
    known: u64,
) -> Result<Option<(u64, Vec<u8>)>, Invalid> {
    let info = reader.rest().first().copied().unwrap_or_default();
    let is_text = info & !(HAS_ORIGIN | HAS_RIGHT_ORIGIN) == CONTENT_STRING;
    if known <= start || !is_text {
        return Ok(None);
    }
    let item = merging::text_item(&mut reader.clone())?;
    let text = std::str::from_utf8(item.text).map_err(|_| Invalid::Malformed)?;
    let (mut clock, mut at) = (start, 0);
    for character in text.chars() {
        // Never between the two units of one character.
        let next = clock + character.len_utf16() as u64;
        if known < next {
            break;
        }
        (clock, at) = (next, at + character.len_utf8());
    }
    if clock == start {
        return Ok(None);
    }
    let right = item.right_origin;
    let mut out = Vec::with_capacity(32 + text.len() - at);
    out.push(CONTENT_STRING | HAS_ORIGIN | info & HAS_RIGHT_ORIGIN);
    for (client, clock) in [(client.0, clock - 1)].into_iter().chain(right) {
        write_varuint(&mut out, client);
        write_varuint(&mut out, clock);
    }
    write_varstring(&mut out, &text[at..]);
    Ok(Some((clock, out)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use yrs::updates::decoder::Decode;
    use yrs::updates::encoder::Encode;
    use yrs::{Doc, ReadTxn, Text, Transact};

    use super::*;
    use crate::wire::histories::{apply, author, checked, content, history, steps};

    fn whole(doc: &Doc) -> Encoded {
        let bytes = doc.transact().encode_diff_v1(&yrs::StateVector::default());
        Encoded::new(checked(&bytes)).expect("no gap")
    }

    fn known(doc: &Doc) -> StateVector {
        let state_vector = doc.transact().state_vector().encode_v1();
        validator::state_vector(state_vector.into()).unwrap()
    }

    #[test]
    fn a_document_with_a_gap_is_left_alone() {
        let item = [4, 1, 1, b't', 1, b'a'];
        let late = [&[1, 1, 7, 3], &item[..], &[0]].concat();
        let skip = [&[1, 3, 7, 0], &item[..], &[10, 3], &item, &[0]].concat();
        for gap in [late, skip] {
            assert!(Encoded::new(checked(&gap)).is_none());
        }
    }

    #[test]
    fn of_a_long_text_only_the_end_is_sent_and_no_character_is_cut() {
        let doc = author(7);
        let text = doc.get_or_insert_text("t");
        let mut replicas = Vec::new();
        for word in ["a long beginning, ", "é", "🎈🎈", "end"] {
            let length = text.len(&doc.transact());
            text.insert(&mut doc.transact_mut(), length, word);
            let replica = author(2);
            let all = doc.transact().encode_diff_v1(&yrs::StateVector::default());
            apply(&replica, &all);
            replicas.push(replica);
        }
        let encoded = whole(&doc);
        for (replica, length_max) in replicas.iter().zip([26, 24, 16, 2]) {
            let lacking = encoded.lacking(&known(replica));
            assert!(lacking.len() <= length_max, "{lacking:?}");
            apply(replica, &lacking);
            assert_eq!(content(replica), content(&doc));
        }
        // Between the two halves of a balloon.
        let half = validator::state_vector(Bytes::from_static(&[1, 7, 20])).unwrap();
        let update = checked(&encoded.lacking(&half));
        assert_eq!(
            update.clock_ends().collect::<Vec<_>>(),
            [(ClientId(7), 19, 26)]
        );
    }

    proptest! {
        #[test]
        fn it_answers_as_the_document_would(steps in steps(), others in steps()) {
            let (updates, doc) = history(&steps);
            let encoded = whole(&doc);
            let ends = |state_vector: &yrs::StateVector| -> BTreeMap<u64, u32> {
                state_vector.iter().map(|(client, &clock)| (client.get(), clock)).collect()
            };
            let state_vector = yrs::StateVector::decode_v1(&encoded.state_vector()).unwrap();
            prop_assert_eq!(ends(&state_vector), ends(&doc.transact().state_vector()));

            // Somebody who knows some of it, and something else beside.
            for count in 0..=updates.len() {
                let other = author(2);
                for update in &updates[..count] {
                    prop_assert!(!encoded.has_news(&checked(update)));
                    let update = yrs::Update::decode_v1(update).unwrap();
                    other.transact_mut().apply_update(update).unwrap();
                }
                if other.transact().has_missing_updates() {
                    continue;
                }
                let beside = author(5);
                apply(&other, &beside.transact().encode_diff_v1(&yrs::StateVector::default()));
                apply(&other, &encoded.lacking(&known(&other)));
                prop_assert_eq!(content(&other), content(&doc));
            }

            let (foreign, _) = history(&others);
            for update in foreign {
                let has_gap = |(client, start, _)| encoded.end(client) < start;
                if checked(&update).clock_ends().any(has_gap) {
                    prop_assert!(encoded.has_news(&checked(&update)));
                    continue;
                }
                let before = doc.transact().snapshot();
                let replica = author(3);
                apply(&replica, encoded.bytes());
                let decoded = yrs::Update::decode_v1(&update).unwrap();
                replica.transact_mut().apply_update(decoded).unwrap();
                let after = replica.transact();
                let changes = after.has_missing_updates() || after.snapshot() != before;
                prop_assert_eq!(encoded.has_news(&checked(&update)), changes);
            }
        }
    }
}
