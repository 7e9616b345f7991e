//! What one client wrote, being written: structs that go on from each other become one.

use crate::model::ClientId;
use crate::wire::document::piece::{CONTENT_DELETED, GC, Piece, Split, can_go_on};
use crate::wire::lib0::{Reader, write_varuint};
use crate::wire::merging::CONTENT_STRING;
use crate::wire::typed::Typed;
use crate::wire::validator::Invalid;

/// What must be the same for structs to be joined: the kind, and whether they are values of a map key.
const SAME: u8 = 0x1f | 0x20;
const KIND: u8 = 0x1f;

/// Structs of one client, in the order of its clocks and without a gap.
#[derive(Debug)]
pub(super) struct Row {
    client: ClientId,
    /// The clock that comes next.
    pub end: u64,
    pub structs: u64,
    /// Encoded structs, but for the content of the last if that is open.
    pub bytes: Vec<u8>,
    /// Where the last begins, in bytes and clocks.
    pub last: usize,
    pub last_clock: u64,
    open: Option<Open>,
    content: Vec<u8>,
}

/// A struct to which more may be appended.
#[derive(Debug)]
struct Open {
    kind: u8,
    right_origin: Option<(u64, u64)>,
    length: u64,
}

impl Row {
    pub fn new(client: ClientId, start: u64) -> Self {
        Self {
            client,
            end: start,
            structs: 0,
            bytes: Vec::new(),
            last: 0,
            last_clock: start,
            open: None,
            content: Vec::new(),
        }
    }

    pub fn client(&self) -> ClientId {
        self.client
    }

    /// Takes the struct that comes next.
    pub fn take(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        let piece = Piece::read(reader, self.client, self.end)?;
        self.take_piece(&piece);
        Ok(())
    }

    /// Takes text that goes on from what comes last.
    pub fn take_typed(&mut self, typed: &Typed, update: &[u8]) {
        let Some(last) = self.end.checked_sub(1) else {
            return;
        };
        let right_origin = typed.right_origin().map(|(other, clock)| (other.0, clock));
        let origin = (self.client.0, last);
        let goes_on = self.goes_on(CONTENT_STRING, Some(origin), right_origin);
        self.begin(goes_on, typed.head(update), right_origin);
        self.content.extend_from_slice(typed.text(update));
        self.grow(typed.end() - typed.start());
    }

    pub fn take_piece(&mut self, piece: &Piece<'_>) {
        if !piece.can_go_on() {
            self.close();
            self.start();
            piece.write(&mut self.bytes);
            self.end += piece.length;
            return;
        }
        let goes_on = self.goes_on(piece.info() & SAME, piece.origin, piece.right_origin);
        self.begin(goes_on, piece.head(), piece.right_origin);
        piece.write_content(&mut self.content);
        self.grow(piece.length);
    }

    /// Takes what was cut off a struct.
    pub fn take_split(&mut self, split: &Split) {
        let info = split.head.first().copied().unwrap_or_default();
        let can_go_on = can_go_on(info);
        let goes_on = can_go_on && self.goes_on(info & SAME, split.origin, split.right_origin);
        self.begin(goes_on, &split.head, split.right_origin);
        self.content.extend_from_slice(&split.content);
        self.grow(split.length);
        if !can_go_on {
            self.close();
        }
    }

    fn goes_on(
        &self,
        kind: u8,
        origin: Option<(u64, u64)>,
        right_origin: Option<(u64, u64)>,
    ) -> bool {
        let last = self.end.checked_sub(1).map(|last| (self.client.0, last));
        self.open.as_ref().is_some_and(|open| {
            let follows = origin.is_some() && origin == last && open.right_origin == right_origin;
            open.kind == kind && (kind == GC || follows)
        })
    }

    fn begin(&mut self, goes_on: bool, head: &[u8], right_origin: Option<(u64, u64)>) {
        if goes_on {
            return;
        }
        self.close();
        self.start();
        self.bytes.extend_from_slice(head);
        self.open = Some(Open {
            kind: head.first().copied().unwrap_or_default() & SAME,
            right_origin,
            length: 0,
        });
    }

    fn start(&mut self) {
        self.structs += 1;
        self.last = self.bytes.len();
        self.last_clock = self.end;
    }

    fn grow(&mut self, length: u64) {
        self.end += length;
        if let Some(open) = &mut self.open {
            open.length += length;
        }
    }

    /// Writes the content of the last struct: nothing more is appended to it.
    pub fn close(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        match open.kind & KIND {
            CONTENT_STRING => write_varuint(&mut self.bytes, self.content.len() as u64),
            GC | CONTENT_DELETED => write_varuint(&mut self.bytes, open.length),
            // Values; what else is cut is dropped, and then it is `CONTENT_DELETED`.
            _ => write_varuint(&mut self.bytes, open.length),
        }
        self.bytes.append(&mut self.content);
    }
}
