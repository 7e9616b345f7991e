//! The bytes of both Yjs door protocols, written and read independently of `src/wire`.

/// One entry of an awareness message: client id, clock, JSON text.
pub type Entry<'a> = (u64, u64, &'a str);

pub const SYNC: u64 = 0;
pub const AWARENESS: u64 = 1;
pub const AUTH: u64 = 2;
pub const QUERY_AWARENESS: u64 = 3;
pub const STATELESS: u64 = 5;
pub const CLOSE: u64 = 7;
pub const SYNC_STATUS: u64 = 8;

/// Builds a frame piece by piece.
#[derive(Clone, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn varuint(mut self, mut number: u64) -> Self {
        while 0x80 <= number {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.varuint(bytes.len() as u64).raw(bytes)
    }
}

/// Takes a frame apart; `None` where it ends too early.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn varuint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varuint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn sync(kind: u64, payload: &[u8]) -> Vec<u8> {
    Writer::default()
        .varuint(SYNC)
        .varuint(kind)
        .bytes(payload)
        .0
}

pub fn step1(state_vector: &[u8]) -> Vec<u8> {
    sync(0, state_vector)
}

pub fn step2(update: &[u8]) -> Vec<u8> {
    sync(1, update)
}

pub fn update(update: &[u8]) -> Vec<u8> {
    sync(2, update)
}

pub fn awareness_payload(entries: &[Entry]) -> Vec<u8> {
    let mut payload = Writer::default().varuint(entries.len() as u64);
    for (client, clock, state) in entries {
        payload = payload
            .varuint(*client)
            .varuint(*clock)
            .bytes(state.as_bytes());
    }
    payload.0
}

pub fn awareness(entries: &[Entry]) -> Vec<u8> {
    Writer::default()
        .varuint(AWARENESS)
        .bytes(&awareness_payload(entries))
        .0
}

pub fn query_awareness() -> Vec<u8> {
    Writer::default().varuint(QUERY_AWARENESS).0
}

/// The same frame as the Hocuspocus protocol writes it: the document's name goes first.
pub fn named(name: &str, frame: &[u8]) -> Vec<u8> {
    Writer::default().bytes(name.as_bytes()).raw(frame).0
}

/// A client's token; version 4 of the provider says which it is.
pub fn token(name: &str, token: &str, version: Option<&str>) -> Vec<u8> {
    let frame = Writer::default()
        .varuint(AUTH)
        .varuint(0)
        .bytes(token.as_bytes());
    let frame = match version {
        Some(version) => frame.bytes(version.as_bytes()),
        None => frame,
    };
    named(name, &frame.0)
}

pub fn stateless(name: &str, text: &str) -> Vec<u8> {
    named(
        name,
        &Writer::default()
            .varuint(STATELESS)
            .bytes(text.as_bytes())
            .0,
    )
}

pub fn close_document(name: &str) -> Vec<u8> {
    named(name, &Writer::default().varuint(CLOSE).0)
}

/// A message of the relay, as a client of either door understands it.
#[derive(Debug, Eq, PartialEq)]
pub enum Message<'a> {
    Step1(&'a [u8]),
    /// A step 2 (`is_answer`) or an update.
    Update {
        is_answer: bool,
        update: &'a [u8],
    },
    Awareness(Vec<Entry<'a>>),
    QueryAwareness,
    TokenWanted,
    Denied(&'a str),
    Authenticated(&'a str),
    Stateless(&'a str),
    DocumentClosed(&'a str),
    SyncStatus(bool),
}

/// Reads one message without a name in front; `None` when it is none, or more than one.
pub fn read(frame: &[u8]) -> Option<Message<'_>> {
    let mut reader = Reader(frame);
    let message = match reader.varuint()? {
        SYNC => match reader.varuint()? {
            0 => Message::Step1(reader.bytes()?),
            1 => Message::Update {
                is_answer: true,
                update: reader.bytes()?,
            },
            2 => Message::Update {
                is_answer: false,
                update: reader.bytes()?,
            },
            _ => return None,
        },
        AWARENESS => {
            let mut entries = Reader(reader.bytes()?);
            let count = entries.varuint()?;
            let list = (0..count)
                .map(|_| Some((entries.varuint()?, entries.varuint()?, entries.text()?)))
                .collect::<Option<Vec<_>>>()?;
            if !entries.is_empty() {
                return None;
            }
            Message::Awareness(list)
        }
        AUTH => match reader.varuint()? {
            0 => Message::TokenWanted,
            1 => Message::Denied(reader.text()?),
            2 => Message::Authenticated(reader.text()?),
            _ => return None,
        },
        QUERY_AWARENESS => Message::QueryAwareness,
        STATELESS => Message::Stateless(reader.text()?),
        CLOSE => Message::DocumentClosed(reader.text()?),
        SYNC_STATUS => match reader.varuint()? {
            0 => Message::SyncStatus(false),
            1 => Message::SyncStatus(true),
            _ => return None,
        },
        _ => return None,
    };
    reader.is_empty().then_some(message)
}

/// Splits a Hocuspocus frame into the document's name and the message.
pub fn split_name(frame: &[u8]) -> Option<(&str, &[u8])> {
    let mut reader = Reader(frame);
    let name = reader.text()?;
    Some((name, reader.0))
}
