//! Many small updates as one: what people type between two turns leaves as one message.
//!
//! An update that does nothing but insert items, each of one text, can be put together with others
//! of its kind without a document: items of one client whose clocks follow each other stand behind
//! each other in one section, and texts that continue each other become one text, as a client
//! would have encoded them. Bytes per character fall from twenty-five to about one. What is no such
//! update is left as it came; the order of everything is kept.

use crate::wire::lib0::{Malformed, Reader, varuint_len, write_varuint};

/// Content of an item: a text. The other bits of the byte say what comes before it.
const CONTENT_STRING: u8 = 4;
const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_KEY: u8 = 0x20;

/// Updates put together so far.
#[derive(Debug, Default)]
pub struct Merging {
    sections: Vec<Section>,
    updates: usize,
}

/// What one client wrote.
#[derive(Debug)]
struct Section {
    client: u64,
    clock: u64,
    /// The clock behind the last item.
    end: u64,
    items: Vec<Item>,
}

/// An item with a text.
#[derive(Debug)]
struct Item {
    /// Everything before the text, as it was written.
    head: Vec<u8>,
    right_origin: Option<(u64, u64)>,
    text: Vec<u8>,
}

/// An item as it stands in an update.
struct Read<'a> {
    head: &'a [u8],
    origin: Option<(u64, u64)>,
    right_origin: Option<(u64, u64)>,
    text: &'a str,
    /// How many clocks it takes: a text counts as in JavaScript.
    length: u64,
}

impl Merging {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an update in, if it is one that can be put together with the others; else nothing
    /// happens.
    pub fn push(&mut self, update: &[u8]) -> bool {
        self.try_push(update).unwrap_or(false)
    }

    /// How many updates there are.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// The length of the one update that `write` makes.
    pub fn encoded_len(&self) -> usize {
        let of_item =
            |item: &Item| item.head.len() + varuint_len(item.text.len() as u64) + item.text.len();
        let of_section = |section: &Section| {
            varuint_len(section.items.len() as u64)
                + varuint_len(section.client)
                + varuint_len(section.clock)
                + section.items.iter().map(of_item).sum::<usize>()
        };
        let sections: usize = self.sections.iter().map(of_section).sum();
        varuint_len(self.sections.len() as u64) + sections + 1
    }

    /// Writes all as one update, version 1, and begins anew.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        // As clients do: the highest id first.
        self.sections
            .sort_unstable_by_key(|section| std::cmp::Reverse(section.client));
        write_varuint(out, self.sections.len() as u64);
        for section in self.sections.drain(..) {
            write_varuint(out, section.items.len() as u64);
            write_varuint(out, section.client);
            write_varuint(out, section.clock);
            for item in section.items {
                out.extend_from_slice(&item.head);
                write_varuint(out, item.text.len() as u64);
                out.extend_from_slice(&item.text);
            }
        }
        // Nothing is deleted.
        write_varuint(out, 0);
        self.updates = 0;
    }

    fn try_push(&mut self, update: &[u8]) -> Result<bool, Malformed> {
        let mut reader = Reader::new(update);
        if reader.varuint()? != 1 || reader.varuint()? != 1 {
            return Ok(false);
        }
        let (client, clock) = (reader.varuint()?, reader.varuint()?);
        let Some(item) = read_item(&mut reader)? else {
            return Ok(false);
        };
        if reader.rest() != [0] {
            return Ok(false);
        }
        let known = self
            .sections
            .iter_mut()
            .find(|section| section.client == client);
        match known {
            Some(section) if section.end == clock => section.push(&item),
            Some(_) => return Ok(false),
            None => {
                let mut section = Section {
                    client,
                    clock,
                    end: clock,
                    items: Vec::new(),
                };
                section.push(&item);
                self.sections.push(section);
            }
        }
        self.updates += 1;
        Ok(true)
    }
}

impl Section {
    fn push(&mut self, item: &Read<'_>) {
        let continues = item.origin.is_some()
            && item.origin == self.end.checked_sub(1).map(|last| (self.client, last));
        self.end += item.length;
        match self.items.last_mut() {
            Some(last) if continues && last.right_origin == item.right_origin => {
                last.text.extend_from_slice(item.text.as_bytes());
            }
            _ => self.items.push(Item {
                head: item.head.to_vec(),
                right_origin: item.right_origin,
                text: item.text.as_bytes().to_vec(),
            }),
        }
    }
}

/// Reads an item with a text; `None` if it is something else.
fn read_item<'a>(reader: &mut Reader<'a>) -> Result<Option<Read<'a>>, Malformed> {
    let start = reader.rest();
    let info = reader.u8()?;
    if info & !(HAS_ORIGIN | HAS_RIGHT_ORIGIN) != CONTENT_STRING {
        debug_assert!(info & HAS_PARENT_KEY == 0 || info != CONTENT_STRING);
        return Ok(None);
    }
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
                reader.varstring()?;
            }
            _ => {
                reader.varuint()?;
                reader.varuint()?;
            }
        }
    }
    let head_len = start.len() - reader.remaining();
    let text = reader.varstring()?;
    let length = text.chars().map(char::len_utf16).sum::<usize>() as u64;
    Ok(start.get(..head_len).map(|head| Read {
        head,
        origin,
        right_origin,
        text,
        length,
    }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use yrs::updates::decoder::Decode;
    use yrs::{Doc, GetString, OffsetKind, ReadTxn, StateVector, Text, Transact};

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

    #[test]
    fn what_is_no_plain_typing_is_left_alone() {
        let ann = doc(7);
        let first = type_at(&ann, 0, "ab");
        let second = type_at(&ann, 2, "c");
        let third = type_at(&ann, 3, "d");
        let deletion = {
            let field = ann.get_or_insert_text("t");
            let mut txn = ann.transact_mut();
            let before = txn.state_vector();
            field.remove_range(&mut txn, 0, 1);
            txn.encode_diff_v1(&before)
        };
        let mut merging = Merging::new();
        assert!(!merging.push(&deletion));
        assert!(merging.push(&first));
        assert!(!merging.push(&third), "a gap");
        assert!(!merging.push(&first), "again");
        assert!(merging.push(&second));
        assert!(!merging.push(&whole(&ann)));
        for length in 0..second.len() {
            assert!(!merging.push(&second[..length]));
        }
        assert_eq!(merging.updates(), 2);
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
