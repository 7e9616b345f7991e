//! What a turn changed, as bytes: composed once for all members that are spoken to alike.
//!
//! A member that kept up gets the turn's bytes, shared with all others; only who sent part of it
//! gets a copy without that part. A member that is behind (its socket was full) gets what it lacks,
//! composed for it alone: the updates after its position, and the newest state of every awareness
//! entry that changed since it was last told.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::limits::STATUS_BYTES_AT_ONCE;
use crate::model::{Access, SessionId};
use crate::relay::news::{self, Item};
use crate::room::awareness::{Awareness, Entry};
use crate::room::{Manner, Message, Sequence};
use crate::wire::hocuspocus::{Scope, ServerMessage};
use crate::wire::lib0::{varuint_len, write_varbytes, write_varuint};
use crate::wire::merging::Merging;
use crate::wire::websocket::{self, Opcode};

/// How a member is spoken to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// Sync and awareness messages, bare.
    YWebsocket,
    /// The same behind an address, and statuses and stateless texts.
    Hocuspocus {
        /// The address as every frame begins with it: a length and the text.
        address: Bytes,
    },
    /// Sync and awareness messages, bare; and in text who comes and goes.
    Board {
        /// The board, as its address names it.
        board: Arc<str>,
    },
    /// In text who is where, and nothing else.
    Workspace,
}

impl Dialect {
    /// What every binary message begins with.
    fn prefix(&self) -> &[u8] {
        match self {
            Self::YWebsocket | Self::Board { .. } | Self::Workspace => &[],
            Self::Hocuspocus { address } => address,
        }
    }

    /// Whether its members share the document and awareness.
    pub(super) fn has_document(&self) -> bool {
        !matches!(self, Self::Workspace)
    }

    /// How its members are with the room.
    pub(super) fn manner(&self) -> Manner {
        Manner {
            wants_status: matches!(self, Self::Hocuspocus { .. }),
            may_wait: matches!(self, Self::Board { .. }),
            has_no_document: !self.has_document(),
        }
    }

    /// Writes one binary WebSocket frame with a sync message.
    fn write_sync(&self, out: &mut Vec<u8>, kind: u8, body: &[u8]) {
        let prefix = self.prefix();
        let length = prefix.len() + 2 + varuint_len(body.len() as u64) + body.len();
        websocket::write_header(out, Opcode::Binary, length);
        out.extend_from_slice(prefix);
        out.extend_from_slice(&[SYNC, kind]);
        write_varbytes(out, body);
    }

    /// The head of a frame whose body follows as a chunk of its own.
    fn sync_head(&self, kind: u8, body_len: usize) -> Vec<u8> {
        let prefix = self.prefix();
        let mut out = Vec::with_capacity(prefix.len() + 24);
        let length = prefix.len() + 2 + varuint_len(body_len as u64) + body_len;
        websocket::write_header(&mut out, Opcode::Binary, length);
        out.extend_from_slice(prefix);
        out.extend_from_slice(&[SYNC, kind]);
        write_varuint(&mut out, body_len as u64);
        out
    }

    /// Writes one binary WebSocket frame with awareness entries, if there are any.
    fn write_awareness<'a>(
        &self,
        out: &mut Vec<u8>,
        entries: impl Iterator<Item = (u64, u64, Option<&'a str>)> + Clone,
    ) {
        if entries.clone().next().is_some() {
            self.write_all_awareness(out, entries);
        }
    }

    /// The same, also if there are none: whoever asks is answered.
    fn write_all_awareness<'a>(
        &self,
        out: &mut Vec<u8>,
        entries: impl Iterator<Item = (u64, u64, Option<&'a str>)> + Clone,
    ) {
        let (mut count, mut body_len) = (0_u64, 0);
        for (client, clock, state) in entries.clone() {
            count += 1;
            let text = state.unwrap_or(GONE);
            body_len += varuint_len(client)
                + varuint_len(clock)
                + varuint_len(text.len() as u64)
                + text.len();
        }
        let prefix = self.prefix();
        let payload_len = varuint_len(count) + body_len;
        let length = prefix.len() + 1 + varuint_len(payload_len as u64) + payload_len;
        websocket::write_header(out, Opcode::Binary, length);
        out.extend_from_slice(prefix);
        out.push(AWARENESS);
        write_varuint(out, payload_len as u64);
        write_varuint(out, count);
        for (client, clock, state) in entries {
            write_varuint(out, client);
            write_varuint(out, clock);
            write_varbytes(out, state.unwrap_or(GONE).as_bytes());
        }
    }
}

const SYNC: u8 = 0;
const AWARENESS: u8 = 1;
const QUERY_AWARENESS: u8 = 3;
const STATELESS: u8 = 5;
const SYNC_STATUS: u8 = 8;
const STEP_1: u8 = 0;
const STEP_2: u8 = 1;
const UPDATE: u8 = 2;
/// The JSON of a state that is none.
const GONE: &str = "null";

/// An update on its way to the members.
#[derive(Clone, Debug)]
pub struct Recent {
    /// Its place in the log.
    pub sequence: Sequence,
    /// The bytes as they came.
    pub update: Bytes,
    /// Who has it already.
    pub from: Option<SessionId>,
}

/// What members have not all been sent yet.
#[derive(Debug, Default)]
pub struct Backlog {
    recent: VecDeque<Recent>,
    bytes: usize,
}

impl Backlog {
    /// Adds the newest.
    pub fn push(&mut self, recent: Recent) {
        self.bytes += recent.update.len();
        self.recent.push_back(recent);
    }

    /// What comes after `position`; `None` when part of it is no longer here.
    pub fn after(&self, position: Sequence) -> Option<impl Iterator<Item = &Recent> + Clone> {
        let first = self
            .recent
            .front()
            .map_or(u64::MAX, |recent| recent.sequence);
        (first <= position.saturating_add(1) || self.recent.is_empty()).then(|| {
            let start = self
                .recent
                .partition_point(|recent| recent.sequence <= position);
            self.recent.range(start..)
        })
    }

    /// Whether everything after `position` up to `newest` is here: nobody waited for who had been told
    /// so much.
    pub fn reaches(&self, position: Sequence, newest: Sequence) -> bool {
        let first = self.recent.front().map(|recent| recent.sequence);
        newest <= position || first.is_some_and(|first| first <= position + 1)
    }

    /// Forgets what everybody has, and the oldest beyond `bytes_max`.
    pub fn trim(&mut self, everybody_has: Sequence, bytes_max: usize) {
        while let Some(oldest) = self.recent.front() {
            if everybody_has < oldest.sequence && self.bytes <= bytes_max {
                break;
            }
            self.bytes -= oldest.update.len();
            self.recent.pop_front();
        }
        if self.recent.is_empty() {
            self.recent.shrink_to(64);
        }
    }

    /// Nothing happens for a while: gives back the room that was made when much did.
    pub fn rest(&mut self) {
        if self.recent.is_empty() {
            self.recent.shrink_to_fit();
        }
    }
}

/// What a member has been told of awareness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// Nothing, and nothing is to be: it has not said who it is.
    Nothing,
    /// It is to be sent everybody present, even if that is nobody: it may have asked.
    ToBePushed,
    /// Everything up to this version.
    Version(u64),
}

/// What one member has and lacks.
#[derive(Debug)]
pub struct Progress {
    /// Every update up to here has been sent, or came from it.
    pub position: Sequence,
    /// What it has been told of awareness.
    pub awareness: Told,
    /// Up to here it has been told who came and went.
    pub news: u64,
    /// Whether its step 1 has not been answered yet: updates wait until it is.
    pub is_held: bool,
    /// Whether it has asked for the whole document, having fallen too far behind.
    pub is_resyncing: bool,
}

/// Updates and awareness entries of a turn, composed for one kind of member at a time.
pub struct Turnful<'a> {
    /// Updates that came in this turn.
    pub updates: Vec<&'a Recent>,
    /// Awareness entries cast in this turn.
    pub entries: Vec<&'a Entry>,
    /// Who came and went in this turn.
    pub news: Vec<&'a Item>,
    shared: Vec<(Dialect, Frames)>,
}

/// Whole frames that several members are sent.
#[derive(Clone, Debug)]
pub struct Frames {
    /// The bytes.
    pub bytes: Bytes,
    /// How many messages they are.
    pub messages: u64,
}

impl<'a> Turnful<'a> {
    /// For a turn with these changes.
    pub fn new(updates: Vec<&'a Recent>, entries: Vec<&'a Entry>, news: Vec<&'a Item>) -> Self {
        Self {
            updates,
            entries,
            news,
            shared: Vec::new(),
        }
    }

    /// Whether part of it came from this session.
    pub fn involves(&self, session: SessionId) -> bool {
        self.updates
            .iter()
            .any(|recent| recent.from == Some(session))
            || self
                .entries
                .iter()
                .any(|entry| entry.session == Some(session))
            || self.news.iter().any(|item| item.by == Some(session))
    }

    /// The frames for everybody who is spoken to like this and sent no part.
    pub fn for_all(&mut self, dialect: &Dialect) -> &Frames {
        let known = self.shared.iter().position(|(known, _)| known == dialect);
        let place = known.unwrap_or_else(|| {
            let mut out = Vec::new();
            self.compose(dialect, &mut out, None);
            let frames = Frames {
                messages: websocket::count_frames(std::iter::once(&out[..])),
                bytes: Bytes::from(out),
            };
            self.shared.push((dialect.clone(), frames));
            self.shared.len() - 1
        });
        &self.shared[place].1
    }

    /// The frames for a session that sent part of it.
    pub fn for_one(&self, dialect: &Dialect, session: SessionId, out: &mut Vec<u8>) {
        self.compose(dialect, out, Some(session));
    }

    fn compose(&self, dialect: &Dialect, out: &mut Vec<u8>, session: Option<SessionId>) {
        if dialect.has_document() {
            compose_entries(dialect, out, session, self.entries.iter().copied());
        }
        if dialect.is_text() {
            compose_news(dialect, out, session, self.news.iter().copied());
        }
        if dialect.has_document() {
            compose_updates(dialect, out, session, self.updates.iter().copied());
        }
    }
}

/// Writes the awareness of others. Comes first of all: nobody is to see a ghost longer than it
/// takes.
fn compose_entries<'a>(
    dialect: &Dialect,
    out: &mut Vec<u8>,
    session: Option<SessionId>,
    entries: impl Iterator<Item = &'a Entry> + Clone,
) {
    let others = entries
        .filter(|entry| session.is_none() || entry.session != session)
        .map(as_sent);
    dialect.write_awareness(out, others);
}

/// Writes who came and went.
pub fn compose_news<'a>(
    dialect: &Dialect,
    out: &mut Vec<u8>,
    session: Option<SessionId>,
    items: impl Iterator<Item = &'a Item>,
) {
    for change in news::coalesce(items, session) {
        dialect.write_change(out, &change);
    }
}

/// Writes updates, but for those of the session itself; what can be put together leaves as one.
pub fn compose_updates<'a>(
    dialect: &Dialect,
    out: &mut Vec<u8>,
    session: Option<SessionId>,
    updates: impl Iterator<Item = &'a Recent>,
) {
    let mut others = updates
        .filter(|recent| session.is_none() || recent.from != session)
        .peekable();
    let mut merging = Merging::new();
    while let Some(recent) = others.next() {
        // Most turns have one update: it leaves as it came.
        let is_alone = merging.updates() == 0 && others.peek().is_none();
        if !is_alone && merging.push(&recent.update) {
            continue;
        }
        write_merged(dialect, out, &mut merging);
        if is_alone || !merging.push(&recent.update) {
            dialect.write_sync(out, UPDATE, &recent.update);
        }
    }
    write_merged(dialect, out, &mut merging);
}

fn write_merged(dialect: &Dialect, out: &mut Vec<u8>, merging: &mut Merging) {
    if 0 < merging.updates() {
        out.extend_from_slice(&dialect.sync_head(UPDATE, merging.encoded_len()));
        merging.write(out);
    }
}

/// Writes what awareness a member lacks that has been told so much.
pub fn compose_awareness(
    dialect: &Dialect,
    out: &mut Vec<u8>,
    session: SessionId,
    awareness: &Awareness,
    told: Told,
) {
    let others = |entry: &&Entry| entry.session != Some(session);
    match told {
        Told::Nothing => {}
        Told::ToBePushed => {
            let entries: Vec<_> = awareness.present().filter(others).map(as_sent).collect();
            dialect.write_all_awareness(out, entries.into_iter());
        }
        Told::Version(version) => {
            let entries: Vec<_> = awareness
                .since(version)
                .filter(others)
                .map(as_sent)
                .collect();
            dialect.write_awareness(out, entries.into_iter());
        }
    }
}

fn as_sent(entry: &Entry) -> (u64, u64, Option<&str>) {
    (entry.client.0, entry.clock, entry.state.as_deref())
}

/// Messages for one member, as chunks to write in order.
#[derive(Debug, Default)]
pub struct Direct {
    chunks: Vec<Bytes>,
    open: Vec<u8>,
    bytes: usize,
    /// Updates of which the member is to be told that they are saved: a message for each, that is made
    /// when it can leave.
    saved: u32,
}

impl Direct {
    /// Adds a room's message. `Hold`, `Listen` and `PushAwareness` are no bytes.
    pub fn push(&mut self, dialect: &Dialect, message: &Message) {
        match message {
            Message::Hold | Message::Listen | Message::PushAwareness => {}
            Message::Queued(position) => self.write(|out| dialect.write_queued(out, *position)),
            _ if !dialect.has_document() => {}
            Message::Access(access) => {
                if let Dialect::Hocuspocus { address } = dialect {
                    let scope = match access {
                        Access::Write => Scope::ReadWrite,
                        Access::Read => Scope::ReadOnly,
                    };
                    let mut body = Vec::new();
                    ServerMessage::Authenticated(scope).write_body(&mut body);
                    self.write(|out| {
                        let length = address.len() + body.len();
                        websocket::write_header(out, Opcode::Binary, length);
                        out.extend_from_slice(address);
                        out.extend_from_slice(&body);
                    });
                }
            }
            Message::QueryAwareness => self.write(|out| {
                let prefix = dialect.prefix();
                websocket::write_header(out, Opcode::Binary, prefix.len() + 1);
                out.extend_from_slice(prefix);
                out.push(QUERY_AWARENESS);
            }),
            Message::Ask { state_vector } => {
                self.write(|out| dialect.write_sync(out, STEP_1, state_vector));
            }
            Message::Answer {
                state_vector,
                update,
                ..
            } => {
                self.write(|out| dialect.write_sync(out, STEP_1, state_vector));
                self.push_sync(dialect, STEP_2, update);
            }
            Message::Resync { update, .. } => self.push_sync(dialect, UPDATE, update),
            Message::Status { .. } if !matches!(dialect, Dialect::Hocuspocus { .. }) => {}
            // After a burst there are thousands, all alike, and nothing stands on their place.
            Message::Status { is_applied, times } => match is_applied {
                true => self.saved = self.saved.saturating_add(*times),
                false => self.write_statuses(dialect, false, *times),
            },
            Message::Nudge { client, clock } => self.write(|out| {
                dialect.write_awareness(out, std::iter::once((client.0, *clock, None)));
            }),
        }
    }

    /// Adds a stateless text, shared with all who are sent it when it is large; other dialects have
    /// none.
    pub fn push_stateless(&mut self, dialect: &Dialect, text: &Bytes) {
        let Dialect::Hocuspocus { address } = dialect else {
            return;
        };
        self.write(|out| {
            let length = address.len() + 1 + varuint_len(text.len() as u64) + text.len();
            websocket::write_header(out, Opcode::Binary, length);
            out.extend_from_slice(address);
            out.push(STATELESS);
            write_varuint(out, text.len() as u64);
        });
        self.push_body(text);
    }

    /// Adds frames composed elsewhere.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.open.len();
        write(&mut self.open);
        self.bytes += self.open.len() - before;
    }

    /// Adds a frame whose body is shared, not copied, when it is large.
    fn push_sync(&mut self, dialect: &Dialect, kind: u8, body: &Bytes) {
        self.write(|out| out.extend_from_slice(&dialect.sync_head(kind, body.len())));
        self.push_body(body);
    }

    /// Adds what a frame's head announced.
    fn push_body(&mut self, body: &Bytes) {
        if body.len() < COPY_BYTES_MAX {
            self.write(|out| out.extend_from_slice(body));
            return;
        }
        self.close_chunk();
        self.chunks.push(body.clone());
        self.bytes += body.len();
    }

    /// Adds bytes shared with other members.
    pub fn share(&mut self, bytes: Bytes) {
        if bytes.len() < COPY_BYTES_MAX && !self.is_empty() {
            self.write(|out| out.extend_from_slice(&bytes));
        } else if !bytes.is_empty() {
            self.close_chunk();
            self.bytes += bytes.len();
            self.chunks.push(bytes);
        }
    }

    fn write_statuses(&mut self, dialect: &Dialect, is_applied: bool, times: u32) {
        let Dialect::Hocuspocus { address } = dialect else {
            return;
        };
        self.write(|out| {
            let start = out.len();
            websocket::write_header(out, Opcode::Binary, address.len() + 2);
            out.extend_from_slice(address);
            out.extend_from_slice(&[SYNC_STATUS, u8::from(is_applied)]);
            let frame = start..out.len();
            out.reserve(frame.len() * times.saturating_sub(1) as usize);
            for _ in 1..times {
                out.extend_from_within(frame.clone());
            }
        });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0 && self.saved == 0
    }

    /// Makes what is only counted, or as much of it as should leave at once.
    pub fn fill(&mut self, dialect: &Dialect) {
        if 0 < self.saved
            && let Dialect::Hocuspocus { address } = dialect
        {
            let at_once = STATUS_BYTES_AT_ONCE / (address.len() + 4);
            let times = self.saved.min(at_once.max(1) as u32);
            self.saved -= times;
            self.write_statuses(dialect, true, times);
        }
    }

    /// Everything that is made, if it is in one piece; nothing of it waits afterwards.
    pub fn take_small(&mut self) -> Option<Vec<u8>> {
        if !self.chunks.is_empty() {
            return None;
        }
        self.bytes = 0;
        Some(std::mem::take(&mut self.open))
    }

    /// What waits and is not only counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything that is made, to be written; nothing of it waits afterwards.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.close_chunk();
        self.bytes = 0;
        std::mem::take(&mut self.chunks)
    }

    fn close_chunk(&mut self) {
        if !self.open.is_empty() {
            self.chunks
                .push(Bytes::from(std::mem::take(&mut self.open)));
        }
    }
}

/// Below this, one write of a copy is cheaper than two writes.
const COPY_BYTES_MAX: usize = 16 << 10;
