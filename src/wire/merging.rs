//! Several updates as one: what people type between two turns leaves, and is kept, as one.
//!
//! An update is two lists: what clients insert, each client's part in the order of its clocks, and
//! which clocks are deleted. Updates can be put together without a document where the clocks of each
//! client go on: the parts are appended to each other as they are, deletions are united, and texts
//! that continue each other become one text, as a client would have encoded them. Bytes per
//! character fall from twenty-five to about one. An update that leaves a gap, or says that there is
//! one, is left as it came; the order of everything is kept.

use std::ops::Range;

use crate::model::ClientId;
use crate::wire::lib0::{Malformed, Reader, varuint_len, write_varuint};
use crate::wire::typed::Typed;
use crate::wire::validator::{self, Struct};
use crate::wire::yjs::Update;

/// Content of an item: a text. The other bits of the byte say what comes before it.
pub(in crate::wire) const CONTENT_STRING: u8 = 4;
pub(in crate::wire) const HAS_ORIGIN: u8 = 0x80;
pub(in crate::wire) const HAS_RIGHT_ORIGIN: u8 = 0x40;
/// So few clients, counted anew in each update, that they can be looked through one by one.
const CLIENTS_MAX: u64 = 64;
/// What a fast typist types in a turn.
const TEXT_BYTES_EXPECTED: usize = 24;

/// Updates put together so far. They have passed the validator: of other bytes nothing but an update
/// that is no better is made.
#[derive(Debug, Default)]
pub struct Merging {
    sections: Vec<Section>,
    deletions: Vec<Deletions>,
    updates: usize,
}

/// What one client inserts.
#[derive(Debug)]
struct Section {
    client: u64,
    clock: u64,
    /// The clock behind the last struct.
    end: u64,
    structs: u64,
    /// The structs, but for the text of the last if that is open.
    bytes: Vec<u8>,
    /// Whether the last struct is an item whose text may go on, and before what it stands.
    open: Option<Option<(u64, u64)>>,
    text: Vec<u8>,
}

/// What is deleted of one client.
#[derive(Debug)]
struct Deletions {
    client: u64,
    /// In the order in which they came.
    ranges: Vec<Range<u64>>,
}

/// An item with a text.
pub(in crate::wire) struct TextItem<'a> {
    head: &'a [u8],
    pub origin: Option<(u64, u64)>,
    pub right_origin: Option<(u64, u64)>,
    pub text: &'a [u8],
}

impl Merging {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an update in, if it can be put together with the others; else nothing happens.
    pub fn push(&mut self, update: &[u8]) -> bool {
        match Typed::read(update) {
            Some(typed) if self.go_on(&typed, update) => true,
            _ => self.push_any(update),
        }
    }

    /// The same for one of which it may be known what was typed.
    #[inline]
    pub fn push_checked(&mut self, update: &Update) -> bool {
        match update.typed() {
            Some(typed) if self.go_on(typed, update.bytes()) => true,
            _ => self.push_any(update.bytes()),
        }
    }

    /// Takes in what its client types behind what it has written last, or first.
    #[inline]
    fn go_on(&mut self, typed: &Typed, update: &[u8]) -> bool {
        let (client, start) = (typed.client.0, typed.start());
        let known = self.sections.iter().position(|it| it.client == client);
        let section = match known {
            Some(place) => &mut self.sections[place],
            None if CLIENTS_MAX <= self.sections.len() as u64 => return false,
            None => self.sections.push_mut(Section::new(client, start)),
        };
        if section.end != start {
            return false;
        }
        let right_origin = typed.right_origin().map(|(other, clock)| (other.0, clock));
        if section.open != Some(right_origin) {
            section.begin_text(typed.head(update), right_origin);
        }
        section.text.extend_from_slice(typed.text(update));
        section.end = typed.end();
        self.updates += 1;
        true
    }

    fn push_any(&mut self, update: &[u8]) -> bool {
        if self.fits(update) != Ok(true) {
            return false;
        }
        let taken = self.take_in(&mut Reader::new(update));
        debug_assert!(taken.is_ok(), "it was looked through before");
        self.updates += 1;
        taken.is_ok()
    }

    /// How many updates there are.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// The length of the one update that `write` makes.
    pub fn encoded_len(&mut self) -> usize {
        self.finish();
        let of_section = |section: &Section| {
            varuint_len(section.structs)
                + varuint_len(section.client)
                + varuint_len(section.clock)
                + section.bytes.len()
        };
        let of_range =
            |range: &Range<u64>| varuint_len(range.start) + varuint_len(range.end - range.start);
        let of_deletions = |of: &Deletions| {
            varuint_len(of.client)
                + varuint_len(of.ranges.len() as u64)
                + of.ranges.iter().map(of_range).sum::<usize>()
        };
        varuint_len(self.sections.len() as u64)
            + self.sections.iter().map(of_section).sum::<usize>()
            + varuint_len(self.deletions.len() as u64)
            + self.deletions.iter().map(of_deletions).sum::<usize>()
    }

    /// Writes all as one update, version 1, and begins anew.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        self.finish();
        write_varuint(out, self.sections.len() as u64);
        for section in self.sections.drain(..) {
            write_varuint(out, section.structs);
            write_varuint(out, section.client);
            write_varuint(out, section.clock);
            out.extend_from_slice(&section.bytes);
        }
        write_varuint(out, self.deletions.len() as u64);
        for of in self.deletions.drain(..) {
            write_varuint(out, of.client);
            write_varuint(out, of.ranges.len() as u64);
            for range in of.ranges {
                write_varuint(out, range.start);
                write_varuint(out, range.end - range.start);
            }
        }
        self.updates = 0;
    }

    /// The one update; begins anew.
    pub fn take(&mut self) -> Update {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.write(&mut out);
        debug_assert!(validator::update(out.clone().into()).is_ok());
        Update::of_checked(out.into())
    }

    /// Whether the update goes on where the others end.
    fn fits(&self, update: &[u8]) -> Result<bool, Malformed> {
        let mut reader = Reader::new(update);
        let sections = reader.varuint()?;
        if CLIENTS_MAX < self.sections.len() as u64 + sections {
            return Ok(false);
        }
        for _ in 0..sections {
            let structs = reader.varuint()?;
            let (client, mut clock) = (reader.varuint()?, reader.varuint()?);
            let mut known = self.sections.iter();
            if known.any(|known| known.client == client && known.end != clock) {
                return Ok(false);
            }
            for _ in 0..structs {
                let read = read_struct(&mut reader, client, clock)?;
                if read.is_skip() {
                    return Ok(false);
                }
                clock = read.end;
            }
        }
        let sections = reader.varuint()?;
        if CLIENTS_MAX < self.deletions.len() as u64 + sections {
            return Ok(false);
        }
        for _ in 0..sections {
            let _client = reader.varuint()?;
            let ranges = reader.varuint()?;
            for _ in 0..ranges {
                let (_, length) = (reader.varuint()?, reader.varuint()?);
                if length == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(reader.is_empty())
    }

    fn take_in(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let sections = reader.varuint()?;
        for _ in 0..sections {
            let structs = reader.varuint()?;
            let (client, clock) = (reader.varuint()?, reader.varuint()?);
            let known = self
                .sections
                .iter()
                .position(|known| known.client == client);
            let section = match known {
                Some(place) => &mut self.sections[place],
                None => self.sections.push_mut(Section::new(client, clock)),
            };
            for _ in 0..structs {
                section.take_struct(reader)?;
            }
        }
        let sections = reader.varuint()?;
        for _ in 0..sections {
            let client = reader.varuint()?;
            let known = self
                .deletions
                .iter()
                .position(|known| known.client == client);
            let of = match known {
                Some(place) => &mut self.deletions[place],
                None => self.deletions.push_mut(Deletions {
                    client,
                    ranges: Vec::new(),
                }),
            };
            let ranges = reader.varuint()?;
            for _ in 0..ranges {
                let start = reader.varuint()?;
                of.add(start..start + reader.varuint()?);
            }
        }
        Ok(())
    }

    /// Everything as it is to be written: texts closed, ranges in order, and as clients do the
    /// highest id first.
    fn finish(&mut self) {
        for section in &mut self.sections {
            section.close();
        }
        self.sections
            .sort_unstable_by_key(|section| std::cmp::Reverse(section.client));
        for of in &mut self.deletions {
            of.unite();
        }
        self.deletions
            .sort_unstable_by_key(|of| std::cmp::Reverse(of.client));
    }
}

impl Section {
    fn new(client: u64, clock: u64) -> Self {
        Self {
            client,
            clock,
            end: clock,
            structs: 0,
            bytes: Vec::new(),
            open: None,
            text: Vec::new(),
        }
    }

    fn take_struct(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let whole = reader.rest();
        let read = read_struct(reader, self.client, self.end)?;
        let bytes = &whole[..whole.len() - reader.remaining()];
        if read.info & !(HAS_ORIGIN | HAS_RIGHT_ORIGIN) == CONTENT_STRING {
            self.take_text(&text_item(&mut Reader::new(bytes))?, read.end);
        } else {
            self.close();
            self.structs += 1;
            self.bytes.extend_from_slice(bytes);
            self.end = read.end;
        }
        Ok(())
    }

    /// Takes an item in that ends before this clock.
    fn take_text(&mut self, item: &TextItem<'_>, end: u64) {
        let last = self.end.checked_sub(1).map(|last| (self.client, last));
        self.end = end;
        let continues = item.origin.is_some() && item.origin == last;
        if !continues || self.open != Some(item.right_origin) {
            self.begin_text(item.head, item.right_origin);
        }
        self.text.extend_from_slice(item.text);
    }

    fn begin_text(&mut self, head: &[u8], right_origin: Option<(u64, u64)>) {
        self.close();
        self.structs += 1;
        // Room for some keys at once, and for the text behind the head.
        self.bytes.reserve(head.len() + TEXT_BYTES_EXPECTED);
        self.bytes.extend_from_slice(head);
        self.text.reserve(TEXT_BYTES_EXPECTED);
        self.open = Some(right_origin);
    }

    /// Writes the text of the last item: nothing more is added to it.
    fn close(&mut self) {
        if self.open.take().is_some() {
            write_varuint(&mut self.bytes, self.text.len() as u64);
            self.bytes.append(&mut self.text);
        }
    }
}

impl Deletions {
    /// Mostly what is deleted lies directly before or behind what was deleted last.
    fn add(&mut self, range: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            Some(last) if range.end == last.start => last.start = range.start,
            _ => self.ranges.push(range),
        }
    }

    fn unite(&mut self) {
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|next, kept| {
            let touches = next.start <= kept.end;
            if touches {
                kept.end = kept.end.max(next.end);
            }
            touches
        });
    }
}

fn read_struct(reader: &mut Reader<'_>, client: u64, clock: u64) -> Result<Struct, Malformed> {
    validator::read_struct(reader, ClientId(client), clock).map_err(|_| Malformed)
}

/// The parts of an item with a text.
pub(in crate::wire) fn text_item<'a>(reader: &mut Reader<'a>) -> Result<TextItem<'a>, Malformed> {
    let bytes = reader.rest();
    let info = reader.u8()?;
    let mut id = |is_there: u8| -> Result<Option<(u64, u64)>, Malformed> {
        if info & is_there == 0 {
            return Ok(None);
        }
        Ok(Some((reader.varuint()?, reader.varuint()?)))
    };
    let (origin, right_origin) = (id(HAS_ORIGIN)?, id(HAS_RIGHT_ORIGIN)?);
    if origin.is_none() && right_origin.is_none() {
        // The first of its kind says where it is: by a name, or in another item.
        match reader.varuint()? {
            1 => {
                reader.varbytes()?;
            }
            _ => {
                reader.varuint()?;
                reader.varuint()?;
            }
        }
    }
    let head = &bytes[..bytes.len() - reader.remaining()];
    Ok(TextItem {
        head,
        origin,
        right_origin,
        text: reader.varbytes()?,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use yrs::types::ToJson;
    use yrs::updates::decoder::Decode;
    use yrs::{Doc, GetString, Map, OffsetKind, ReadTxn, StateVector, Text, Transact};

    use super::*;
    use crate::wire::validator;

    fn doc(client: u64) -> Doc {
        Doc::with_options(yrs::Options {
            client_id: yrs::block::ClientID::new(client),
            offset_kind: OffsetKind::Utf16,
            ..yrs::Options::default()
        })
    }

    /// Types at a place, and returns the update.
    fn type_at(doc: &Doc, at: u32, text: &str) -> Vec<u8> {
        let field = doc.get_or_insert_text("t");
        let mut txn = doc.transact_mut();
        let before = txn.state_vector();
        field.insert(&mut txn, at, text);
        txn.encode_state_as_update_v1(&before)
    }

    fn apply(doc: &Doc, update: &[u8]) {
        doc.transact_mut()
            .apply_update(yrs::Update::decode_v1(update).unwrap())
            .unwrap();
    }

    fn text(doc: &Doc) -> String {
        let field = doc.get_or_insert_text("t");
        field.get_string(&doc.transact())
    }

    fn whole(doc: &Doc) -> Vec<u8> {
        doc.transact()
            .encode_state_as_update_v1(&StateVector::default())
    }

    #[test]
    fn a_word_typed_letter_by_letter_is_one_item() {
        let ann = doc(7);
        let mut merging = Merging::new();
        for (place, letter) in "hello wörld 🎈!".chars().enumerate() {
            // The balloon counts twice.
            let at = (place + usize::from(letter == '!')) as u32;
            assert!(merging.push(&type_at(&ann, at, &letter.to_string())));
        }
        assert_eq!(merging.updates(), 14);
        let (mut merged, length) = (Vec::new(), merging.encoded_len());
        merging.write(&mut merged);
        assert_eq!(merged, whole(&ann));
        assert_eq!(merged.len(), length);
        assert_eq!(merging.updates(), 0);
    }

    /// Does something to the text, and returns the update.
    fn change(
        doc: &Doc,
        work: impl FnOnce(&yrs::TextRef, &mut yrs::TransactionMut<'_>),
    ) -> Vec<u8> {
        let field = doc.get_or_insert_text("t");
        let mut txn = doc.transact_mut();
        work(&field, &mut txn);
        txn.encode_update_v1()
    }

    #[test]
    fn what_leaves_a_gap_or_comes_again_is_left_alone() {
        let ann = doc(7);
        let first = type_at(&ann, 0, "ab");
        let second = type_at(&ann, 2, "c");
        let third = type_at(&ann, 3, "d");
        let mut merging = Merging::new();
        assert!(merging.push(&first));
        assert!(!merging.push(&third), "a gap");
        assert!(!merging.push(&first), "again");
        assert!(merging.push(&second));
        assert!(!merging.push(&whole(&ann)));
        for length in 0..second.len() {
            assert!(!merging.push(&second[..length]));
        }
        // Client 9 says that it leaves something out.
        assert!(!merging.push(&[1, 2, 9, 0, 10, 2, 0, 4, 0]));
        assert_eq!(merging.updates(), 2);
    }

    #[test]
    fn an_update_of_very_many_clients_is_left_alone() {
        let mut update = Vec::new();
        write_varuint(&mut update, CLIENTS_MAX + 1);
        for client in 0..=CLIENTS_MAX {
            update.extend_from_slice(&[1, client as u8, 0, 0, 1]);
        }
        update.push(0);
        assert!(validator::update(Bytes::from(update.clone())).is_ok());
        assert!(!Merging::new().push(&update));
        let mut merging = Merging::new();
        for client in 0..=CLIENTS_MAX {
            let deletion = [0, 1, client as u8, 1, 0, 1];
            assert_eq!(merging.push(&deletion), client < CLIENTS_MAX);
        }
    }

    #[test]
    fn what_is_taken_back_letter_by_letter_is_one_range() {
        let mut merging = Merging::new();
        for clock in [9, 8, 7, 3, 4, 6] {
            assert!(merging.push(&[0, 1, 5, 1, clock, 1]));
        }
        let mut merged = Vec::new();
        merging.write(&mut merged);
        assert_eq!(merged, [0, 1, 5, 2, 3, 2, 6, 4]);
    }

    proptest! {
        /// Several people type in turn, here and there: whoever gets it in one piece has the same
        /// document as who gets it one by one, also in pieces that overlap what they know.
        #[test]
        fn one_update_does_what_all_of_them_do(
            typed in prop::collection::vec((0..3_usize, 0..100_u32, "[a-c🎈]{1,3}", any::<bool>()), 1..60),
            known in 0..20_usize,
        ) {
            let people = [doc(1), doc(9_000_000_000), doc(5)];
            let (one_by_one, at_once) = (doc(11), doc(12));
            let mut merging = Merging::new();
            let mut pieces = Vec::new();
            let mut last = [0; 3];
            for (number, (who, at, letters, goes_on)) in typed.into_iter().enumerate() {
                let person = &people[who];
                let length = text(person).encode_utf16().count() as u32;
                let at = if goes_on { last[who].min(length) } else { at % (length + 1) };
                // Not into the middle of a pair.
                let units: Vec<u16> = text(person).encode_utf16().collect();
                let is_split = |at: u32| units.get(at as usize).is_some_and(|unit| (0xdc00..0xe000).contains(unit));
                let at = if is_split(at) { at - 1 } else { at };
                let update = type_at(person, at, &letters);
                last[who] = at + letters.encode_utf16().count() as u32;
                for other in &people {
                    apply(other, &update);
                }
                apply(&one_by_one, &update);
                if number < known {
                    apply(&at_once, &update);
                }
                if !merging.push(&update) {
                    let mut merged = Vec::new();
                    merging.write(&mut merged);
                    pieces.push(merged);
                    prop_assert!(merging.push(&update));
                }
            }
            let mut merged = Vec::new();
            let length = merging.encoded_len();
            merging.write(&mut merged);
            prop_assert_eq!(length, merged.len());
            pieces.push(merged);
            for piece in pieces {
                prop_assert!(validator::update(Bytes::from(piece.clone())).is_ok());
                apply(&at_once, &piece);
            }
            prop_assert_eq!(text(&at_once), text(&people[0]));
            prop_assert_eq!(
                at_once.transact().state_vector(),
                one_by_one.transact().state_vector()
            );
        }

        /// The same when they also take back and format, and keep other things than text.
        #[test]
        fn whatever_they_do_one_update_does_it_too(
            done in prop::collection::vec((0..3_usize, 0..6_u8, 0..100_u32, 1..4_u32), 1..80),
            known in 0..20_usize,
        ) {
            let people = [doc(1), doc(9_000_000_000), doc(5)];
            let (one_by_one, at_once) = (doc(11), doc(12));
            let (mut merging, mut pieces) = (Merging::new(), Vec::new());
            for (number, (who, what, at, length)) in done.into_iter().enumerate() {
                let person = &people[who];
                let map = person.get_or_insert_map("m");
                let update = change(person, |field, txn| {
                    let end = field.len(txn);
                    let start = at % (end + 1);
                    let length = length.min(end - start);
                    match what {
                        0 if 0 < length => field.remove_range(txn, start, length),
                        1 if 0 < length => {
                            let bold = yrs::types::Attrs::from([("b".into(), true.into())]);
                            field.format(txn, start, length, bold);
                        }
                        2 => drop(map.insert(txn, format!("k{}", at % 3), at)),
                        3 => drop(map.remove(txn, &format!("k{}", at % 3))),
                        _ => field.insert(txn, start, "abc"),
                    }
                });
                for other in people.iter().chain([&one_by_one]) {
                    apply(other, &update);
                }
                if number < known {
                    apply(&at_once, &update);
                }
                if !merging.push(&update) {
                    let mut merged = Vec::new();
                    merging.write(&mut merged);
                    pieces.push(merged);
                    prop_assert!(merging.push(&update));
                }
            }
            prop_assert!(pieces.is_empty(), "nobody leaves a gap");
            let mut merged = Vec::new();
            let length = merging.encoded_len();
            merging.write(&mut merged);
            prop_assert_eq!(length, merged.len());
            prop_assert!(validator::update(Bytes::from(merged.clone())).is_ok());
            apply(&at_once, &merged);
            for other in [&one_by_one, &at_once] {
                prop_assert_eq!(text(other), text(&people[0]));
                let map = |doc: &Doc| doc.get_or_insert_map("m").to_json(&doc.transact());
                prop_assert_eq!(map(other), map(&people[0]));
            }
            prop_assert_eq!(whole(&at_once), whole(&one_by_one));
        }

        #[test]
        fn any_bytes_are_taken_or_left(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut merging = Merging::new();
            merging.push(&bytes);
            let mut out = Vec::new();
            let length = merging.encoded_len();
            merging.write(&mut out);
            prop_assert_eq!(out.len(), length);
        }
    }
}
