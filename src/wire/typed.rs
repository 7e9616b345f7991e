//! What nearly every update is: one text, typed behind what its client wrote last.
//!
//! It is read once, when the update is checked, and is then known wherever the update goes: how far
//! it takes its client's clock, what it stands on, and the text to append to the one before. Those
//! that come behind each other are one before they are anything else: see [`Typing`].

use std::ops::Range;

use bytes::Bytes;

use crate::limits::{CLOCK_END, RUN_BYTES_MAX, SCRATCH_BYTES_KEPT, UPDATES_TOGETHER_MAX};
use crate::model::ClientId;
use crate::wire::lib0::{Malformed, Reader, write_varuint};
use crate::wire::merging::{CONTENT_STRING, HAS_ORIGIN, HAS_RIGHT_ORIGIN};
use crate::wire::validator;
use crate::wire::yjs::Update;

/// An update of one item, a text whose left neighbour is its client's clock before, that deletes
/// nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Typed {
    /// Who typed.
    pub client: ClientId,
    clock: u32,
    length: u32,
    right_origin: Option<(ClientId, u32)>,
    text_len: u32,
    /// Where the item begins, behind the clock, and where the length of its text stands.
    head: Range<u8>,
}

impl Typed {
    /// Reads an update; `None` if it is something else, or is not sane.
    #[inline]
    pub fn read(update: &[u8]) -> Option<Self> {
        let &[1, 1, ref rest @ ..] = update else {
            return None;
        };
        Self::read_section(rest, update.len()).unwrap_or_default()
    }

    #[inline]
    fn read_section(section: &[u8], update_len: usize) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(section);
        let client = reader.varuint()?;
        let clock = reader.varuint32()?;
        let item = update_len - reader.remaining();
        let info = reader.u8()?;
        if info & !HAS_RIGHT_ORIGIN != HAS_ORIGIN | CONTENT_STRING {
            return Ok(None);
        }
        let follows = reader.varuint()? == client && reader.varuint32()? + 1 == clock;
        let right_origin = match info & HAS_RIGHT_ORIGIN {
            0 => None,
            _ => Some((reader.varuint()?, reader.varuint32()?)),
        };
        let text = update_len - reader.remaining();
        // Five numbers, of eight bytes at most.
        let place = |place: usize| u8::try_from(place).map_err(|_| Malformed);
        let head = place(item)?..place(text)?;
        // A client cannot name what it writes later.
        let is_ahead =
            |(other, at): (u64, u64)| CLOCK_END <= at || (other == client && clock <= at);
        let text = reader.varstring()?;
        let length = validator::utf16_len(text);
        let is_all = follows && !text.is_empty() && reader.rest() == [0];
        if !is_all || right_origin.is_some_and(is_ahead) || CLOCK_END <= clock + length {
            return Ok(None);
        }
        let short = |number: u64| u32::try_from(number).map_err(|_| Malformed);
        Ok(Some(Self {
            client: ClientId(client),
            clock: short(clock)?,
            length: short(length)?,
            right_origin: match right_origin {
                Some((other, at)) => Some((ClientId(other), short(at)?)),
                None => None,
            },
            text_len: short(text.len() as u64)?,
            head,
        }))
    }

    /// Its first clock.
    pub fn start(&self) -> u64 {
        u64::from(self.clock)
    }

    /// The clock behind its last.
    pub fn end(&self) -> u64 {
        u64::from(self.clock) + u64::from(self.length)
    }

    /// Before what it was typed.
    pub fn right_origin(&self) -> Option<(ClientId, u64)> {
        let (other, clock) = self.right_origin?;
        Some((other, u64::from(clock)))
    }

    /// The item but for its text, in the bytes that it was read from.
    pub fn head<'a>(&self, update: &'a [u8]) -> &'a [u8] {
        let (start, end) = (usize::from(self.head.start), usize::from(self.head.end));
        update.get(start..end).unwrap_or_default()
    }

    /// The text, in the bytes that it was read from.
    pub fn text<'a>(&self, update: &'a [u8]) -> &'a [u8] {
        // Behind it is the count of what is deleted: none.
        let end = update.len().saturating_sub(1);
        let start = end.saturating_sub(self.text_len as usize);
        update.get(start..end).unwrap_or_default()
    }
}

/// Text that is being typed: updates that go on where the one before ended are put together as they
/// come, in two buffers that are used again and again.
#[derive(Debug, Default)]
pub struct Typing {
    first: Option<Typed>,
    /// Where it has what all that go on from it have, too. Known once something does.
    same: Option<Same>,
    /// The first update, as it came.
    bytes: Vec<u8>,
    /// The text of the others.
    more: Vec<u8>,
    end: u64,
    updates: u32,
}

/// Where the client and the neighbour on the right stand in an update.
#[derive(Debug)]
struct Same {
    client: Range<usize>,
    right_origin: Range<usize>,
}

impl Typing {
    /// Begins with an update in which this was read.
    #[inline]
    pub fn begin(&mut self, typed: Typed, update: &[u8]) {
        self.same = None;
        self.bytes.clear();
        self.bytes.extend_from_slice(update);
        self.more.clear();
        self.end = typed.end();
        self.updates = 1;
        self.first = Some(typed);
    }

    /// Takes an update in that goes on where the last one ended; else nothing happens.
    #[inline]
    pub fn go_on(&mut self, update: &[u8]) -> bool {
        let is_full = UPDATES_TOGETHER_MAX <= self.updates as usize
            || RUN_BYTES_MAX < self.bytes.len() + self.more.len() + update.len();
        match self.continuation(update) {
            Ok(Some(text)) if !is_full => {
                self.end += validator::utf16_len(text);
                self.more.extend_from_slice(text.as_bytes());
                self.updates += 1;
                true
            }
            _ => false,
        }
    }

    /// The text of an update that goes on: what is typed behind the last clock, of the same client and
    /// before the same neighbour.
    #[inline]
    fn continuation<'a>(&mut self, update: &'a [u8]) -> Result<Option<&'a str>, Malformed> {
        let (Some(first), &[1, 1, ref rest @ ..]) = (&self.first, update) else {
            return Ok(None);
        };
        let same = match &mut self.same {
            Some(same) => same,
            none => none.insert(Same::read(first, &self.bytes)?),
        };
        let part = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        let (client, right_origin) = (part(&same.client), part(&same.right_origin));
        let info = self.bytes.get(usize::from(first.head.start));
        let mut reader = Reader::new(rest);
        let goes_on = reader.skip(client)
            && reader.varuint32()? == self.end
            && Some(&reader.u8()?) == info
            && reader.skip(client)
            && reader.varuint32()? + 1 == self.end
            && reader.skip(right_origin);
        if !goes_on {
            return Ok(None);
        }
        let text = reader.varstring()?;
        let is_all = !text.is_empty() && reader.rest() == [0];
        let is_sane = is_all && self.end + validator::utf16_len(text) < CLOCK_END;
        Ok(is_sane.then_some(text))
    }

    /// All that was typed, as one update.
    pub fn take(&mut self) -> Option<Update> {
        let typed = self.first.take()?;
        if self.updates == 1 {
            return Some(Update::of_typed(Bytes::copy_from_slice(&self.bytes), typed));
        }
        let (before, text) = (usize::from(typed.head.end), typed.text(&self.bytes));
        let text_len = text.len() + self.more.len();
        let mut whole = Vec::with_capacity(before + text_len + 5);
        whole.extend_from_slice(self.bytes.get(..before).unwrap_or_default());
        write_varuint(&mut whole, text_len as u64);
        whole.extend_from_slice(text);
        whole.extend_from_slice(&self.more);
        whole.push(0);
        self.bytes.shrink_to(SCRATCH_BYTES_KEPT);
        self.more.shrink_to(SCRATCH_BYTES_KEPT);
        let typed = Typed {
            // Both are bounded by what a clock and a run may be.
            length: (self.end - typed.start()) as u32,
            text_len: text_len as u32,
            ..typed
        };
        debug_assert_eq!(Typed::read(&whole).as_ref(), Some(&typed));
        Some(Update::of_typed(whole.into(), typed).in_place_of(self.updates))
    }
}

impl Same {
    fn read(typed: &Typed, update: &[u8]) -> Result<Self, Malformed> {
        let (head, end) = (typed.head(update), usize::from(typed.head.end));
        let mut reader = Reader::new(head);
        let place = |reader: &Reader<'_>| end - reader.remaining();
        let _info = reader.u8()?;
        let client = place(&reader);
        let _client = reader.varuint()?;
        let origin = place(&reader);
        let _clock = reader.varuint32()?;
        Ok(Self {
            client: client..origin,
            right_origin: place(&reader)..end,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::merging::Merging;
    use crate::wire::validator;

    /// Client 9 types "hé" as its clocks 3 and 4, before clock 7 of client 300.
    const KEYS: [u8; 15] = [1, 1, 9, 3, 0xc4, 9, 2, 0xac, 2, 7, 3, b'h', 0xc3, 0xa9, 0];

    #[test]
    fn a_key_behind_the_last_is_read() {
        let typed = Typed::read(&KEYS).unwrap();
        assert_eq!(typed.client, ClientId(9));
        assert_eq!((typed.start(), typed.end()), (3, 5));
        assert_eq!(typed.right_origin(), Some((ClientId(300), 7)));
        assert_eq!(typed.text(&KEYS), "hé".as_bytes());
        assert_eq!(typed.head(&KEYS), [0xc4, 9, 2, 0xac, 2, 7]);
        assert_eq!((typed.head(&[]), typed.text(&[])), (&b""[..], &b""[..]));
    }

    #[test]
    fn anything_else_is_not() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = KEYS;
            bytes[at] = byte;
            Typed::read(&bytes)
        };
        assert_eq!(changed(0, 2), None, "two clients");
        assert_eq!(changed(1, 2), None, "two structs");
        assert_eq!(changed(4, 0xc8), None, "no text");
        assert_eq!(changed(4, 0x44), None, "nothing to its left");
        assert_eq!(changed(5, 8), None, "another's to its left");
        assert_eq!(changed(6, 1), None, "not the last to its left");
        assert_eq!(changed(12, 0xff), None, "no UTF-8");
        assert_eq!(changed(14, 1), None, "a deletion");
        assert_eq!(Typed::read(&KEYS[..14]), None);
        assert_eq!(Typed::read(&[1, 1, 9, 3, 0x84, 9, 2, 0, 0]), None, "empty");
        let before_itself = [1, 1, 9, 3, 0xc4, 9, 2, 9, 3, 1, b'h', 0];
        assert_eq!(Typed::read(&before_itself), None);
    }

    /// Client 300 types this behind its clock `start - 1`.
    fn key(start: u8, text: &str, right_origin: Option<u8>) -> Vec<u8> {
        let info = CONTENT_STRING | HAS_ORIGIN | right_origin.map_or(0, |_| HAS_RIGHT_ORIGIN);
        let mut bytes = vec![1, 1, 0xac, 2, start, info, 0xac, 2, start - 1];
        bytes.extend(right_origin.iter().flat_map(|&clock| [7, clock]));
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        bytes
    }

    fn begun(update: &[u8]) -> Typing {
        let mut typing = Typing::default();
        typing.begin(Typed::read(update).unwrap(), update);
        typing
    }

    #[test]
    fn keys_behind_each_other_are_one_update() {
        for right_origin in [None, Some(99)] {
            let mut typing = begun(&key(5, "hé", right_origin));
            assert!(typing.go_on(&key(7, "😀", right_origin)));
            assert!(typing.go_on(&key(9, "!", right_origin)));
            let update = typing.take().unwrap();
            assert_eq!(update.updates(), 3);
            assert_eq!(update.bytes()[..], key(5, "hé😀!", right_origin));
            assert_eq!(update.typed(), Typed::read(update.bytes()).as_ref());
            assert_eq!(typing.take(), None, "taken");
            assert!(!typing.go_on(&key(10, "?", right_origin)));
        }
    }

    #[test]
    fn one_key_stays_as_it_came() {
        let update = key(5, "a", Some(3));
        let taken = begun(&update).take().unwrap();
        assert_eq!((&taken.bytes()[..], taken.updates()), (&update[..], 1));
    }

    #[test]
    fn what_does_not_go_on_is_left() {
        let mut typing = begun(&key(5, "ab", Some(3)));
        let mut behind_another = key(7, "c", Some(3));
        behind_another[8] = 2;
        let mut of_another = key(7, "c", Some(3));
        of_another[3] = 3;
        let mut deleting = key(7, "c", Some(3));
        *deleting.last_mut().unwrap() = 1;
        for other in [
            key(6, "c", Some(3)),
            key(8, "c", Some(3)),
            key(7, "c", Some(4)),
            key(7, "c", None),
            key(7, "", Some(3)),
            behind_another,
            of_another,
            deleting,
            vec![0, 0],
            vec![],
        ] {
            assert!(!typing.go_on(&other), "{other:?}");
        }
        let update = typing.take().unwrap();
        assert_eq!(update.bytes()[..], key(5, "ab", Some(3)));
    }

    #[test]
    fn what_is_put_together_has_a_bound() {
        let mut typing = begun(&key(5, "a", None));
        let goes_on = (6..).take_while(|&clock| typing.go_on(&long_key(clock, 1)));
        assert_eq!(goes_on.count(), UPDATES_TOGETHER_MAX - 1);
        let mut typing = begun(&key(5, "a", None));
        let goes_on = (0..).take_while(|&n| typing.go_on(&long_key(6 + n * 10_000, 10_000)));
        assert_eq!(goes_on.count(), RUN_BYTES_MAX / 10_000);
        assert!(typing.take().unwrap().bytes().len() <= RUN_BYTES_MAX);
    }

    fn long_key(start: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![1, 1, 0xac, 2];
        write_varuint(&mut bytes, start);
        bytes.extend_from_slice(&[CONTENT_STRING | HAS_ORIGIN, 0xac, 2]);
        write_varuint(&mut bytes, start - 1);
        write_varuint(&mut bytes, length as u64);
        bytes.resize(bytes.len() + length, b'x');
        bytes.push(0);
        bytes
    }

    proptest! {
        /// Whatever is taken for going on is what any reader would put behind the others.
        #[test]
        fn what_goes_on_is_what_would_be_merged(
            texts in prop::collection::vec("[a-z😀é]{1,3}", 2..6),
            at: prop::sample::Index, byte: u8, is_changed: bool,
        ) {
            let mut updates = Vec::new();
            let mut clock = 5;
            for text in &texts {
                updates.push(key(clock, text, Some(3)));
                clock += text.encode_utf16().count() as u8;
            }
            let last = updates.last_mut().unwrap();
            if is_changed {
                let at = at.index(last.len());
                last[at] = byte;
            }
            let mut typing = begun(&updates[0]);
            let mut merging = Merging::new();
            prop_assert!(merging.push(&updates[0]));
            for update in &updates[1..] {
                if typing.go_on(update) {
                    prop_assert!(validator::walk(update.clone().into()).is_ok());
                    prop_assert!(merging.push(update));
                }
            }
            prop_assert_eq!(typing.take().unwrap(), merging.take());
        }

        /// Whatever is taken for typing passes the walk over all updates, which says the same of it.
        #[test]
        fn what_is_read_is_sane(
            at in 0..KEYS.len(), byte: u8, more in prop::collection::vec(any::<u8>(), 0..3),
            is_changed: bool,
        ) {
            let mut bytes = KEYS.to_vec();
            if is_changed {
                bytes[at] = byte;
                bytes.splice(at..at, more);
            }
            if let Some(typed) = Typed::read(&bytes) {
                let update = validator::walk(bytes.into()).unwrap();
                let of_it = (typed.client, typed.start(), typed.end());
                prop_assert!(update.clock_ends().eq([of_it]));
            }
        }
    }
}
