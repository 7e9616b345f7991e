//! One socket of a worker: what arrives, what still has to leave, signs of life, and its end.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::auth::TokenError;
use crate::clock::Timestamp;
use crate::limits::{
    CLOSE_LINGER, PACE_BYTES, PACE_WITHIN, PONG_BEHIND_BYTES_MAX, RATE_BURST_SECONDS,
    WRITE_PIECE_BYTES,
};
use crate::metrics::DoorLabel;
use crate::model::{ConnectionId, Pattern, RoomName, SessionId, Token, UserId};
use crate::relay::places::Place;
use crate::relay::pulse::Pulse;
use crate::relay::rooms::RoomKey;
use crate::relay::socket::{RawSocket, Socket};
use crate::relay::turn::Turn;
use crate::room::FromSession;
use crate::small::SmallSet;
use crate::wire::close::Refusal;
use crate::wire::websocket::Decoder;

/// What a way in does with what its clients say. One for each connection; it moves with it.
pub trait Door: Send {
    /// Under which name its connections are counted.
    fn label(&self) -> DoorLabel;

    /// A whole message. `MoveTo` hands the connection, with this message, to another worker.
    fn message(&mut self, turn: &mut Turn<'_>, is_text: bool, payload: &[u8]) -> Handling;

    /// A room refuses one of the connection's sessions.
    fn refused(&mut self, turn: &mut Turn<'_>, session: SessionId, refusal: Refusal);

    /// What the session's client had closed, so often by then, is open again.
    fn reopened(&mut self, turn: &mut Turn<'_>, session: SessionId, closes: u32) {
        let _ = (turn, session, closes);
    }

    /// The user's tokens are revoked, in some rooms or everywhere: end what they opened.
    fn revoked(&mut self, turn: &mut Turn<'_>, user: &UserId, rooms: Option<&Pattern>);

    /// Something large has been looked through; `key` is what `check_later` was given.
    fn checked(&mut self, turn: &mut Turn<'_>, key: &str, outcome: Result<FromSession, Refusal>);

    /// A token that could not be checked at once has been; `key` is what `verify_later` was given.
    fn verified(&mut self, turn: &mut Turn<'_>, key: &str, outcome: Result<Token, TokenError>) {
        let _ = (turn, key, outcome);
    }

    /// Called once when the connection has moved in, and whenever `next_deadline` has passed.
    fn tick(&mut self, turn: &mut Turn<'_>);

    /// When `tick` is needed next: a token's end, mostly.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// A message that does nothing but keep this door's clients from thinking the link is dead;
    /// empty where pings do.
    fn keep_alive(&self) -> &'static [u8];

    /// Whether messages above the rate are dropped, text ones or binary ones. Where they are not,
    /// the socket is read no faster.
    fn drops_excess(&self, is_text: bool) -> bool {
        let _ = is_text;
        false
    }

    /// A text message was dropped for coming too fast. What replaces all before it may be kept.
    fn too_fast(&mut self, turn: &mut Turn<'_>, payload: &[u8]) {
        let _ = (turn, payload);
    }
}

/// What came of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handling {
    /// It has been dealt with.
    Done,
    /// The worker of this number is to deal with it, and with all that follow.
    MoveTo(usize),
}

/// A connection on its way to a worker.
pub struct Newcomer {
    /// Its name, for ever.
    pub id: ConnectionId,
    /// Its stream.
    pub socket: RawSocket,
    /// What its messages mean.
    pub door: Box<dyn Door>,
    /// Its place among the connections the process may hold.
    pub place: Place,
    /// How often it is asked whether it is there, and how long it may owe an answer.
    pub ping_every: Duration,
    /// See `ping_every`.
    pub dead_after: Duration,
    /// A message another worker has decoded but not dealt with.
    pub message: Option<Vec<u8>>,
}

/// A session of the connection, and where its room lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seat {
    /// The session.
    pub session: SessionId,
    /// Where its room lives.
    pub place: SeatPlace,
}

/// Where a session's room lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SeatPlace {
    /// On this worker.
    Here(RoomKey),
    /// On another.
    Far {
        /// Which worker.
        worker: usize,
        /// Which room.
        room: RoomName,
    },
}

/// One socket.
pub struct Connection {
    pub(super) label: DoorLabel,
    pub(super) socket: Socket,
    /// Taken out while a message is being handled.
    pub(super) ears: Option<Box<Ears>>,
    pub(super) seats: Vec<Seat>,
    /// Whose tokens it has brought.
    pub(super) bearers: SmallSet<UserId>,
    pub(super) state: State,
    pub(super) tail: Tail,
    /// Whether it is in the line of those who are written to between turns.
    pub(super) is_in_line: bool,
    pub(super) waker: Waker,
    pub(super) pulse: Pulse,
    pub(super) bucket: Bucket,
    /// What was read but must wait for the bucket to fill.
    pub(super) unread: Vec<u8>,
    /// The answer to its last ping, if too much waited to be written when that came.
    pub(super) late_pong: Option<Box<[u8]>>,
    /// Whether something large it sent is being looked through: what follows waits.
    pub(super) is_checking: bool,
    /// When the bucket has something again.
    pub(super) resume_at: Option<Timestamp>,
    /// Bytes that wait, at rooms of this worker, for the socket to take more.
    pub(super) owed_bytes: usize,
    /// Far sessions whose delivery is in the tail.
    pub(super) owed_credits: Vec<SessionId>,
    pub(super) message_bytes_max: usize,
    pub(super) scheduled: Option<Timestamp>,
    /// Whether it has been told and counted how it ended.
    pub(super) has_ended: bool,
    /// Below which pace a message that has begun is given up, while there is one.
    pub(super) pace: Option<Pace>,
    pub(super) place: Place,
}

/// The part of a connection that listens.
pub struct Ears {
    pub(super) decoder: Decoder,
    pub(super) door: Box<dyn Door>,
}

/// Whether a connection is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Both ways.
    Open,
    /// A close frame is on its way; until this time the other side may answer.
    Closing {
        /// When it is cut.
        until: Timestamp,
    },
    /// The stream failed or ended: to be removed.
    Broken,
}

impl Connection {
    /// Writes a chunk of messages, or as much as the socket takes; the rest follows by itself.
    pub(super) fn write(&mut self, now: Timestamp, chunk: Bytes) {
        self.pulse.sent(now);
        self.write_control(chunk);
    }

    /// The same for bytes that somebody else needs again: what the socket does not take is copied.
    pub(super) fn write_copy(&mut self, now: Timestamp, bytes: &[u8]) {
        self.pulse.sent(now);
        let rest = self.write_through(bytes);
        if !rest.is_empty() {
            self.tail.push(Bytes::copy_from_slice(rest));
        }
    }

    /// The same for bytes that are shared: what the socket does not take is referred to.
    pub(super) fn write_shared(&mut self, now: Timestamp, bytes: &Bytes) {
        self.pulse.sent(now);
        let rest = self.write_through(bytes);
        if !rest.is_empty() {
            self.tail.push(bytes.slice_ref(rest));
        }
    }

    /// The same later: the turn has lasted long enough. The connection is to be put in line.
    pub(super) fn put_off(&mut self, now: Timestamp, bytes: Bytes) {
        self.pulse.sent(now);
        if self.state != State::Broken && !bytes.is_empty() {
            self.tail.push(bytes);
        }
    }

    /// The same for what is no message to the other side's program: pings, pongs, goodbyes.
    pub(super) fn write_control(&mut self, mut chunk: Bytes) {
        let left = self.write_through(&chunk).len();
        if 0 < left {
            chunk.advance(chunk.len() - left);
            self.tail.push(chunk);
        } else if let State::Closing { .. } = self.state
            && !self.is_full()
        {
            self.socket.shut_down(&mut Context::from_waker(&self.waker));
        }
    }

    /// Writes what the socket takes at once, unless something waits already; what is left.
    fn write_through<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        if self.state == State::Broken {
            return &[];
        }
        if self.is_full() {
            return bytes;
        }
        if WRITE_PIECE_BYTES < bytes.len() {
            // Its task sees that it is written between turns.
            self.waker.wake_by_ref();
            return bytes;
        }
        let mut context = Context::from_waker(&self.waker);
        while !bytes.is_empty() {
            match self.socket.poll_write(&mut context, bytes) {
                Poll::Ready(Ok(written)) if 0 < written => bytes = &bytes[written..],
                Poll::Ready(_) => {
                    self.state = State::Broken;
                    return &[];
                }
                Poll::Pending => break,
            }
        }
        bytes
    }

    /// Goes on after the socket was full, or was given more than a turn may write; at most a piece.
    /// That it takes more is a sign of life.
    pub(super) fn flush_again(&mut self, now: Timestamp) -> Flushed {
        let before = self.tail.bytes;
        let flushed = self.flush();
        if self.tail.bytes < before {
            self.pulse.progressed(now);
        }
        if self.state == State::Open
            && self.waiting_bytes() < PONG_BEHIND_BYTES_MAX
            && let Some(pong) = self.late_pong.take()
        {
            self.tail.push(Bytes::from(pong));
            if flushed == Flushed::All {
                return self.flush();
            }
        }
        flushed
    }

    fn flush(&mut self) -> Flushed {
        let mut context = Context::from_waker(&self.waker);
        let mut left = WRITE_PIECE_BYTES;
        while let Some(chunk) = self.tail.chunks.front_mut() {
            if left == 0 {
                return Flushed::Part;
            }
            let piece = chunk.len().min(left);
            match self.socket.poll_write(&mut context, &chunk[..piece]) {
                Poll::Ready(Ok(written)) if 0 < written => {
                    chunk.advance(written);
                    self.tail.bytes -= written;
                    left -= written;
                    if chunk.is_empty() {
                        self.tail.chunks.pop_front();
                    }
                }
                Poll::Ready(_) => {
                    self.state = State::Broken;
                    return Flushed::Full;
                }
                Poll::Pending => return Flushed::Full,
            }
        }
        self.tail.chunks.shrink_to(4);
        if let State::Closing { .. } = self.state {
            self.socket.shut_down(&mut context);
        }
        Flushed::All
    }

    /// Whether more waits than may be written within a turn.
    pub(super) fn has_much(&self) -> bool {
        WRITE_PIECE_BYTES < self.tail.bytes
    }

    /// How much still waits for the socket, in bytes.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.tail.bytes
    }

    /// Whether something still waits for the socket.
    pub(super) fn is_full(&self) -> bool {
        !self.tail.chunks.is_empty()
    }

    /// Says goodbye, behind what waits already: frames must be whole.
    pub(super) fn close(&mut self, now: Timestamp, frame: Vec<u8>) {
        if self.state != State::Open {
            return;
        }
        self.state = State::Closing {
            until: now + CLOSE_LINGER,
        };
        self.write_control(Bytes::from(frame));
    }

    /// When something is due: a ping, the end of patience, a pause over, the door.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Open => {
                let door = self
                    .ears
                    .as_ref()
                    .and_then(|ears| ears.door.next_deadline());
                let pace = self.pace.map(|pace| pace.until);
                [Some(self.pulse.next_deadline()), self.resume_at, door, pace]
                    .into_iter()
                    .flatten()
                    .min()
            }
            State::Closing { until } => Some(until),
            State::Broken => None,
        }
    }
}

/// What came of writing what waited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flushed {
    /// Nothing waits any more.
    All,
    /// A piece was written; the socket may take another.
    Part,
    /// The socket takes nothing more for now, or for ever.
    Full,
}

/// What waits for the socket.
#[derive(Debug, Default)]
pub struct Tail {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len();
        self.chunks.push_back(chunk);
    }
}

/// How a message that has begun goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// By when it must have grown, or ended.
    pub until: Timestamp,
    /// How much of it had come when that was set.
    from_bytes: usize,
}

impl Pace {
    /// So much has come of a message.
    pub fn new(now: Timestamp, bytes: usize) -> Self {
        Self {
            until: now + PACE_WITHIN,
            from_bytes: bytes,
        }
    }

    /// The time in which nothing was read does not count.
    pub fn later(self, now: Timestamp) -> Self {
        Self::new(now, self.from_bytes)
    }

    /// So much has come by now.
    pub fn goes_on(&mut self, now: Timestamp, bytes: usize) {
        if self.from_bytes + PACE_BYTES <= bytes {
            *self = Self::new(now, bytes);
        }
    }
}

/// How many messages a connection may send now: a token bucket.
#[derive(Debug)]
pub struct Bucket {
    rate: u32,
    /// In thousandths of a message.
    level: u64,
    filled: Timestamp,
}

impl Bucket {
    /// A full one, for `rate` messages a second.
    pub fn new(now: Timestamp, rate: u32) -> Self {
        Self {
            rate,
            level: Self::top(rate),
            filled: now,
        }
    }

    /// Whether there is one left.
    pub fn has_one(&mut self, now: Timestamp) -> bool {
        let millis = now.since(self.filled).as_millis() as u64;
        if 0 < millis {
            let more = millis.saturating_mul(u64::from(self.rate));
            self.level = self.level.saturating_add(more).min(Self::top(self.rate));
            self.filled = now;
        }
        1_000 <= self.level
    }

    /// Takes one out.
    pub fn take(&mut self) {
        self.level = self.level.saturating_sub(1_000);
    }

    fn top(rate: u32) -> u64 {
        u64::from(rate) * u64::from(RATE_BURST_SECONDS) * 1_000
    }
}
