//! What nearly every update is: one text, typed behind what its client wrote last.
//!
//! It is read once, when the update is checked, and is then known wherever the update goes: how far
//! it takes its client's clock, what it stands on, and the text to append to the one before.

use std::ops::Range;

use crate::limits::CLOCK_END;
use crate::model::ClientId;
use crate::wire::lib0::{Malformed, Reader};
use crate::wire::merging::{CONTENT_STRING, HAS_ORIGIN, HAS_RIGHT_ORIGIN};
use crate::wire::validator;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
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

    proptest! {
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
