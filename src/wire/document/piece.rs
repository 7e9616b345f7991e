//! A struct that can be cut and joined: its head, and its content clock by clock.

use std::borrow::Cow;

use crate::model::ClientId;
use crate::wire::lib0::{Malformed, Reader, write_varuint};
use crate::wire::merging::{CONTENT_STRING, HAS_ORIGIN, HAS_RIGHT_ORIGIN};
use crate::wire::validator::{self, Invalid};

/// What content was, once it is deleted and collected.
pub(super) const CONTENT_DELETED: u8 = 1;
const CONTENT_BINARY: u8 = 3;
const CONTENT_EMBED: u8 = 5;
const CONTENT_ANY: u8 = 8;
/// A struct of which nothing is left but its clocks.
pub(super) const GC: u8 = 0;
const KIND: u8 = 0x1f;
const HAS_PARENT_KEY: u8 = 0x20;

/// A struct, in parts.
#[derive(Clone, Debug)]
pub(super) struct Piece<'a> {
    /// What precedes the content: the kind, the neighbours, or else the parent.
    head: Cow<'a, [u8]>,
    /// The neighbours it names.
    pub origin: Option<(u64, u64)>,
    pub right_origin: Option<(u64, u64)>,
    /// How many clocks it takes.
    pub length: u64,
    content: Content<'a>,
}

/// What a struct holds.
#[derive(Clone, Debug)]
enum Content<'a> {
    /// Text: a clock for each unit of UTF-16. `is_half`: its first unit is the second half of a
    /// character whose first half has been cut off.
    Text { text: &'a str, is_half: bool },
    /// Values, one behind the other: a clock for each.
    Values(&'a [u8]),
    /// Nothing, or nothing any more.
    None,
    /// One thing that takes one clock.
    One(&'a [u8]),
}

impl<'a> Piece<'a> {
    /// Reads the struct that begins at this clock of the client.
    pub fn read(reader: &mut Reader<'a>, client: ClientId, start: u64) -> Result<Self, Invalid> {
        let whole = reader.rest();
        let mut parts = *reader;
        let read = validator::read_struct(reader, client, start)?;
        let length = read.end - start;
        let bytes = &whole[..whole.len() - reader.remaining()];
        let (origin, right_origin) = match read.info {
            GC => {
                parts.u8()?;
                (None, None)
            }
            _ => neighbours(&mut parts)?,
        };
        let head = &whole[..whole.len() - parts.remaining()];
        let content = match read.info & KIND {
            GC | CONTENT_DELETED => Content::None,
            CONTENT_STRING => Content::Text {
                text: parts.varstring()?,
                is_half: false,
            },
            CONTENT_ANY => {
                parts.varuint32()?;
                Content::Values(&bytes[whole.len() - parts.remaining()..])
            }
            _ => Content::One(&bytes[head.len()..]),
        };
        Ok(Self {
            head: Cow::Borrowed(head),
            origin,
            right_origin,
            length,
            content,
        })
    }

    /// The first byte.
    pub fn info(&self) -> u8 {
        self.head.first().copied().unwrap_or_default()
    }

    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether content of this kind is dropped once it is deleted. Types stay, and with them what
    /// lies in them; so do marks, of which there is one for each.
    pub fn can_be_collected(&self) -> bool {
        matches!(
            self.info() & KIND,
            CONTENT_STRING | CONTENT_BINARY | CONTENT_EMBED | CONTENT_ANY
        )
    }

    /// Whether more may be appended by `Row`: what takes a clock for each of its parts. Values of map
    /// keys stand for themselves: others may stand behind each, and which of them is shown depends on it.
    pub fn can_go_on(&self) -> bool {
        can_go_on(self.info())
    }

    /// Cuts off the first clocks of a struct that began at `start`; it stands behind them now. They
    /// must be fewer than there are.
    pub fn skip(&mut self, client: ClientId, start: u64, clocks: u64) {
        if clocks == 0 {
            return;
        }
        self.take_content(clocks, &mut Vec::new());
        self.length -= clocks;
        self.stand_behind(client, start + clocks - 1);
    }

    /// Takes off the first clocks as a struct of their own, with their content or without. What is
    /// left stands behind them.
    pub fn split_off(&mut self, client: ClientId, start: u64, clocks: u64, keeps: bool) -> Split {
        let mut content = Vec::new();
        let (mut head, origin) = (self.head.to_vec(), self.origin);
        self.take_content(clocks, &mut content);
        self.length -= clocks;
        self.stand_behind(client, start + clocks - 1);
        if !keeps {
            content.clear();
            if let Some(info) = head.first_mut() {
                *info = *info & !KIND | CONTENT_DELETED;
            }
        }
        Split {
            head,
            origin,
            right_origin: self.right_origin,
            length: clocks,
            content,
        }
    }

    /// The content in the order of its clocks, without a count in front.
    pub fn write_content(&self, out: &mut Vec<u8>) {
        match self.content {
            Content::Text { text, is_half } => {
                if is_half {
                    out.extend_from_slice(REPLACEMENT);
                }
                out.extend_from_slice(text.as_bytes());
            }
            Content::Values(bytes) | Content::One(bytes) => out.extend_from_slice(bytes),
            Content::None => {}
        }
    }

    /// The struct as it is encoded.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        match self.content {
            Content::Text { text, is_half } => {
                let half = if is_half { REPLACEMENT.len() } else { 0 };
                write_varuint(out, (half + text.len()) as u64);
            }
            Content::Values(_) | Content::None => write_varuint(out, self.length),
            Content::One(_) => {}
        }
        self.write_content(out);
    }

    fn stand_behind(&mut self, client: ClientId, clock: u64) {
        if self.info() == GC {
            return;
        }
        self.origin = Some((client.0, clock));
        let kept = KIND | HAS_PARENT_KEY | HAS_RIGHT_ORIGIN;
        let mut head = vec![self.info() & kept | HAS_ORIGIN];
        for (client, clock) in self.origin.into_iter().chain(self.right_origin) {
            write_varuint(&mut head, client);
            write_varuint(&mut head, clock);
        }
        self.head = Cow::Owned(head);
    }

    fn take_content(&mut self, clocks: u64, out: &mut Vec<u8>) {
        match &mut self.content {
            Content::Text { text, is_half } => take_text(text, is_half, clocks, out),
            Content::Values(values) => {
                let mut reader = Reader::new(values);
                for _ in 0..clocks {
                    if validator::any(&mut reader).is_err() {
                        debug_assert!(false, "they were read before");
                        break;
                    }
                }
                let (taken, left) = values.split_at(values.len() - reader.remaining());
                out.extend_from_slice(taken);
                *values = left;
            }
            Content::None => {}
            Content::One(bytes) => out.extend_from_slice(std::mem::take(bytes)),
        }
    }
}

/// Of a struct that begins with this byte.
pub(super) fn can_go_on(info: u8) -> bool {
    match info & KIND {
        GC => true,
        CONTENT_DELETED | CONTENT_STRING | CONTENT_ANY => info & HAS_PARENT_KEY == 0,
        _ => false,
    }
}

/// A struct cut off another.
pub(super) struct Split {
    pub head: Vec<u8>,
    pub origin: Option<(u64, u64)>,
    pub right_origin: Option<(u64, u64)>,
    pub length: u64,
    pub content: Vec<u8>,
}

/// What Yjs puts in the place of each half when it cuts a character in two.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

fn take_text(text: &mut &str, is_half: &mut bool, units: u64, out: &mut Vec<u8>) {
    let mut left = units;
    if *is_half && 0 < left {
        out.extend_from_slice(REPLACEMENT);
        *is_half = false;
        left -= 1;
    }
    // Only what is taken is looked at: a long text may be cut a million times.
    let end = text.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    if text.as_bytes()[..end].is_ascii() {
        let (taken, rest) = text.split_at(end);
        out.extend_from_slice(taken.as_bytes());
        *text = rest;
        return;
    }
    let mut characters = text.char_indices();
    let mut place = 0;
    while 0 < left
        && let Some((at, character)) = characters.next()
    {
        let length = character.len_utf16() as u64;
        place = at + character.len_utf8();
        if left < length {
            out.extend_from_slice(&text.as_bytes()[..at]);
            out.extend_from_slice(REPLACEMENT);
            *text = &text[place..];
            *is_half = true;
            return;
        }
        left -= length;
    }
    out.extend_from_slice(&text.as_bytes()[..place]);
    *text = &text[place..];
}

/// A client, and a clock of theirs, where an item names one.
type Neighbour = Option<(u64, u64)>;

/// The neighbours an item names, or none: then its parent is read.
pub(super) fn neighbours(reader: &mut Reader<'_>) -> Result<(Neighbour, Neighbour), Malformed> {
    let info = reader.u8()?;
    let mut id = |is_there: u8| -> Result<Neighbour, Malformed> {
        if info & is_there == 0 {
            return Ok(None);
        }
        Ok(Some((reader.varuint()?, reader.varuint32()?)))
    };
    let (origin, right_origin) = (id(HAS_ORIGIN)?, id(HAS_RIGHT_ORIGIN)?);
    if origin.is_none() && right_origin.is_none() {
        match reader.u8()? {
            1 => drop(reader.varbytes()?),
            _ => drop((reader.varuint()?, reader.varuint32()?)),
        }
        if info & HAS_PARENT_KEY != 0 {
            reader.varbytes()?;
        }
    }
    Ok((origin, right_origin))
}
