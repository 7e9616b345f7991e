//! The frames of RFC 6455, from a client and to a client, without a socket.
//!
//! A worker reads many sockets into one large buffer, so [`Decoder`] works on that buffer: it
//! unmasks in place and hands out messages that lie whole in it without copying. What is kept per
//! socket is only a frame or message that has not ended yet, and nothing else: an idle decoder
//! takes a few machine words. How much is kept follows the bytes received, never the length that
//! a header claims.
//!
//! ```
//! use copresence::wire::websocket::{self, Decoder, Event, Opcode};
//!
//! let mut received = Vec::new();
//! websocket::write_masked(&mut received, Opcode::Text, true, [1, 2, 3, 4], b"hello");
//! let mut decoder = Decoder::new(1 << 20);
//! let mut input = &mut received[..];
//! while let Some(event) = decoder.decode(&mut input)? {
//!     assert_eq!(event, Event::Text("hello"));
//! }
//! # Ok::<(), websocket::ProtocolError>(())
//! ```

use std::mem;

use super::close::Refusal;

/// What a client sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// The answer to a ping.
    Pong(&'a [u8]),
    /// The client closes; nothing after it counts.
    Close {
        /// The client's reason, if it gave one.
        code: Option<u16>,
    },
}

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opcode {
    /// The next part of a message.
    Continuation,
    /// A text message, or its first part.
    Text,
    /// A binary message, or its first part.
    Binary,
    /// The end.
    Close,
    /// A question whether the peer is there.
    Ping,
    /// The answer.
    Pong,
}

/// Why a client's frames cannot be read on; the socket must be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProtocolError {
    /// A frame that RFC 6455 forbids.
    #[error("{0}")]
    Violation(&'static str),
    /// A message above the limit.
    #[error("message over {0} bytes")]
    MessageTooLarge(usize),
    /// A text that is none.
    #[error("a text message or close reason is not UTF-8")]
    InvalidUtf8,
}

impl ProtocolError {
    /// What the client is told.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Violation(_) => Refusal::BadFrame,
            Self::MessageTooLarge(_) => Refusal::LimitMessage,
            Self::InvalidUtf8 => Refusal::InvalidUtf8,
        }
    }
}

/// Turns what a client's socket brings into messages.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    /// What has begun and not ended; most of the time nothing has.
    pending: Option<Box<Pending>>,
}

impl Decoder {
    /// A decoder for a socket that has brought nothing yet.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            pending: None,
        }
    }

    /// Sets the limit for messages whose end is not yet in sight.
    pub fn set_message_bytes_max(&mut self, message_bytes_max: usize) {
        self.message_bytes_max = message_bytes_max;
    }

    /// How many bytes are kept for what has not ended.
    pub fn held_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| {
            size_of::<Pending>() + pending.message.capacity() + pending.control.capacity()
        })
    }

    /// How many bytes have come of a message that has begun and not ended; 0 of one whose header, or a
    /// control frame, is under way. `None` when nothing is, after the last event was let go.
    pub fn unfinished_bytes(&self) -> Option<usize> {
        let pending = self.pending.as_ref().filter(|pending| !pending.is_idle())?;
        Some(match pending.delivered {
            Delivered::Message => 0,
            Delivered::Control | Delivered::Nothing => pending.message.len(),
        })
    }

    /// Takes the next event from the front of `input`; `None` when all of it is used up. Call it
    /// until then: only the last call frees what an event was made of. The input is changed.
    ///
    /// After an error or a close the rest means nothing, and no further call should be made.
    pub fn decode<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'s>>, ProtocolError> {
        self.forget_delivered();
        loop {
            let Some(mut frame) = self.next_frame(input)? else {
                return Ok(None);
            };
            let here = (frame.length - frame.received).min(input.len());
            let (payload, rest) = mem::take(input).split_at_mut(here);
            *input = rest;
            unmask(payload, frame.mask, frame.received);

            if frame.received == 0 && here == frame.length && frame.is_whole_message() {
                return event(frame.opcode, payload).map(Some);
            }

            let pending = self.pending.get_or_insert_default();
            pending.keep(&frame, payload);
            frame.received += here;
            if frame.received < frame.length {
                pending.frame = Some(frame);
                return Ok(None);
            }
            if frame.opcode.is_control() {
                pending.delivered = Delivered::Control;
                return self.deliver(frame.opcode);
            }
            let kind = *pending.message_kind.get_or_insert(frame.opcode);
            if frame.is_final {
                pending.delivered = Delivered::Message;
                return self.deliver(kind);
            }
        }
    }

    /// Hands out what has been kept; it goes when the next event is asked for.
    fn deliver(&self, kind: Opcode) -> Result<Option<Event<'_>>, ProtocolError> {
        let Some(pending) = &self.pending else {
            return Ok(None);
        };
        let payload = if kind.is_control() {
            &pending.control
        } else {
            &pending.message
        };
        event(kind, payload).map(Some)
    }

    /// Frees what the last event was made of, which the next call of `decode` would do.
    pub fn forget_delivered(&mut self) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        match mem::take(&mut pending.delivered) {
            Delivered::Nothing => {}
            Delivered::Control => pending.control = Vec::new(),
            Delivered::Message => {
                pending.message = Vec::new();
                pending.message_kind = None;
            }
        }
        if pending.is_idle() {
            self.pending = None;
        }
    }

    /// The frame that has begun, or the header of the next one.
    fn next_frame(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, ProtocolError> {
        let mut message = None;
        if let Some(pending) = &mut self.pending {
            if let Some(frame) = pending.frame.take() {
                return Ok(Some(frame));
            }
            message = pending.message_kind.map(|_| pending.message.len());
            let held = usize::from(pending.header_len);
            if held > 0 {
                let more = input.len().min(HEADER_LEN_MAX - held);
                pending.header[held..held + more].copy_from_slice(&input[..more]);
                let header = &pending.header[..held + more];
                let frame = match Frame::parse(header, message, self.message_bytes_max)? {
                    Some((frame, header_len)) => {
                        pending.header_len = 0;
                        skip(input, header_len - held);
                        Some(frame)
                    }
                    None => {
                        pending.header_len += more as u8;
                        skip(input, more);
                        None
                    }
                };
                return Ok(frame);
            }
        }
        if input.is_empty() {
            return Ok(None);
        }
        match Frame::parse(input, message, self.message_bytes_max)? {
            Some((frame, header_len)) => {
                skip(input, header_len);
                Ok(Some(frame))
            }
            None => {
                let pending = self.pending.get_or_insert_default();
                pending.header[..input.len()].copy_from_slice(input);
                pending.header_len = input.len() as u8;
                skip(input, input.len());
                Ok(None)
            }
        }
    }
}

/// What one socket has begun to send.
#[derive(Debug, Default)]
struct Pending {
    /// The beginning of a header.
    header: [u8; HEADER_LEN_MAX],
    header_len: u8,
    /// The frame whose payload has not all come.
    frame: Option<Frame>,
    /// The message so far, unmasked, and what its first frame said it is.
    message: Vec<u8>,
    message_kind: Option<Opcode>,
    /// A control frame may come between the parts of a message, and in pieces too.
    control: Vec<u8>,
    delivered: Delivered,
}

/// What the last event was made of, and can go when the next one is asked for.
#[derive(Debug, Default)]
enum Delivered {
    #[default]
    Nothing,
    Control,
    Message,
}

impl Pending {
    fn is_idle(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message_kind.is_none()
    }

    fn keep(&mut self, frame: &Frame, payload: &[u8]) {
        let kept = if frame.opcode.is_control() {
            &mut self.control
        } else {
            &mut self.message
        };
        // Growing by doubling, but not beyond where this frame ends.
        let end = kept.len() + (frame.length - frame.received);
        let needed = kept.len() + payload.len();
        if kept.capacity() < needed {
            kept.reserve_exact(end.min(2 * needed) - kept.len());
        }
        kept.extend_from_slice(payload);
    }
}

/// A frame whose header has been read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    is_final: bool,
    mask: [u8; 4],
    length: usize,
    /// How much of the payload has been taken.
    received: usize,
}

/// Two bytes, a length of eight, a mask of four.
const HEADER_LEN_MAX: usize = 14;
const CONTROL_PAYLOAD_MAX: u64 = 125;
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

impl Frame {
    /// Reads a header, and how long it is; `None` while there is too little of it. `message` is
    /// the length so far of a message that this frame may continue.
    fn parse(
        bytes: &[u8],
        message: Option<usize>,
        message_bytes_max: usize,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        use ProtocolError::Violation;

        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if first & RESERVED != 0 {
            return Err(Violation("reserved bits are set"));
        }
        let opcode = Opcode::parse(first & 0x0f).ok_or(Violation("unknown opcode"))?;
        let is_final = first & FINAL != 0;
        match opcode {
            Opcode::Continuation if message.is_none() => {
                return Err(Violation("continuation of nothing"));
            }
            Opcode::Text | Opcode::Binary if message.is_some() => {
                return Err(Violation("a message within a message"));
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong if !is_final => {
                return Err(Violation("fragmented control frame"));
            }
            _ => {}
        }

        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(Violation("frame without a mask"));
        }
        let (length, rest) = match second & !MASKED {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let length = u64::from(u16::from_be_bytes(*length));
                if length < 126 {
                    return Err(Violation("length in more bytes than it needs"));
                }
                (length, rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*length);
                if length <= u64::from(u16::MAX) || length > i64::MAX as u64 {
                    return Err(Violation("length in more bytes than it needs, or negative"));
                }
                (length, rest)
            }
            short => (u64::from(short), rest),
        };
        if opcode.is_control() {
            if length > CONTROL_PAYLOAD_MAX {
                return Err(Violation("control frame over 125 bytes"));
            }
        } else if length > message_bytes_max.saturating_sub(message.unwrap_or(0)) as u64 {
            return Err(ProtocolError::MessageTooLarge(message_bytes_max));
        }

        let Some((mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let frame = Self {
            opcode,
            is_final,
            mask: *mask,
            length: length as usize,
            received: 0,
        };
        Ok(Some((frame, bytes.len() - rest.len())))
    }

    fn is_whole_message(&self) -> bool {
        self.is_final && self.opcode != Opcode::Continuation
    }
}

impl Opcode {
    fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        match self {
            Self::Continuation | Self::Text | Self::Binary => false,
            Self::Close | Self::Ping | Self::Pong => true,
        }
    }
}

fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| ProtocolError::InvalidUtf8);
    Ok(match opcode {
        Opcode::Text => Event::Text(text(payload)?),
        // Nobody asks for the event of a continuation: its message's kind is that of its start.
        Opcode::Binary | Opcode::Continuation => Event::Binary(payload),
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => match payload {
            [] => Event::Close { code: None },
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(ProtocolError::Violation("close code that may not be sent"));
                }
                text(reason)?;
                Event::Close { code: Some(code) }
            }
            [_] => return Err(ProtocolError::Violation("close code of one byte")),
        },
    })
}

fn skip(input: &mut &mut [u8], count: usize) {
    let (_, rest) = mem::take(input).split_at_mut(count);
    *input = rest;
}

/// Applies a client's mask to the part of a payload that begins `offset` bytes into it.
fn unmask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let key: [u8; 8] = std::array::from_fn(|index| mask[(offset + index) % 4]);
    let word = u64::from_ne_bytes(key);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// How many bytes [`write_header`] appends for a payload of that length.
pub fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends the header of a whole, unmasked frame; its payload is to follow.
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, payload_len: usize) {
    out.push(FINAL | opcode.bits());
    write_length(out, 0, payload_len);
}

/// How many frames begin in chunks of whole, unmasked ones. A payload may be in other chunks than its
/// header; a header is in one.
pub fn count_frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let (mut count, mut skipped) = (0, 0);
    for chunk in chunks {
        let mut at = skipped;
        while let Some(frame) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(length) = frame_len(frame) else {
                return count;
            };
            count += 1;
            at += length;
        }
        skipped = at - chunk.len();
    }
    count
}

/// How long the frame is that begins here.
fn frame_len(frame: &[u8]) -> Option<usize> {
    let payload_len = match *frame.get(1)? {
        126 => usize::from(u16::from_be_bytes(*frame.get(2..)?.first_chunk()?)),
        127 => u64::from_be_bytes(*frame.get(2..)?.first_chunk()?) as usize,
        length => usize::from(length),
    };
    Some(header_len(payload_len) + payload_len)
}

/// Appends a whole, unmasked frame.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a ping with a payload of up to 125 bytes.
pub fn write_ping(out: &mut Vec<u8>, payload: &[u8]) {
    debug_assert!(payload.len() as u64 <= CONTROL_PAYLOAD_MAX);
    write_frame(out, Opcode::Ping, payload);
}

/// Appends the answer to a ping.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    debug_assert!(payload.len() as u64 <= CONTROL_PAYLOAD_MAX);
    write_frame(out, Opcode::Pong, payload);
}

/// Appends a close frame; a reason beyond 123 bytes is cut.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_PAYLOAD_MAX as usize - 2)];
    write_header(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends the answer to a client's close: its own code, or none.
pub fn write_close_reply(out: &mut Vec<u8>, code: Option<u16>) {
    match code {
        Some(code) => write_close(out, code, ""),
        None => write_header(out, Opcode::Close, 0),
    }
}

/// Appends a frame as a client sends it. For tests, bots and load generators.
pub fn write_masked(
    out: &mut Vec<u8>,
    opcode: Opcode,
    is_final: bool,
    mask: [u8; 4],
    payload: &[u8],
) {
    out.push(if is_final { FINAL } else { 0 } | opcode.bits());
    write_length(out, MASKED, payload.len());
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask, 0);
}

fn write_length(out: &mut Vec<u8>, masked: u8, length: usize) {
    match length {
        0..=125 => out.push(masked | length as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    const LIMIT: usize = 1 << 20;

    /// An event that outlives its decoder.
    #[derive(Clone, Debug, Eq, PartialEq)]
    enum Seen {
        Text(String),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<u16>),
        Error(ProtocolError),
    }

    impl From<Event<'_>> for Seen {
        fn from(event: Event<'_>) -> Self {
            match event {
                Event::Text(text) => Self::Text(text.into()),
                Event::Binary(payload) => Self::Binary(payload.into()),
                Event::Ping(payload) => Self::Ping(payload.into()),
                Event::Pong(payload) => Self::Pong(payload.into()),
                Event::Close { code } => Self::Close(code),
            }
        }
    }

    #[test]
    fn frames_are_counted_wherever_their_payloads_are() {
        let mut all = Vec::new();
        for length in [0, 5, 125, 126, 65_535, 65_536, 3] {
            write_frame(&mut all, Opcode::Binary, &vec![7; length]);
        }
        assert_eq!(count_frames([&all[..]]), 7);
        let (mut head, body) = (Vec::new(), vec![7; 70_000]);
        write_frame(&mut head, Opcode::Text, b"before");
        write_header(&mut head, Opcode::Binary, body.len());
        let chunks = [&head[..], &body[..30_000], &body[30_000..], &all[..]];
        assert_eq!(count_frames(chunks), 9);
        assert_eq!(count_frames([]), 0);
    }

    /// Feeds the chunks one after the other; ends at the first error.
    fn feed<'a>(decoder: &mut Decoder, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut received = 0;
        for chunk in chunks {
            let mut chunk = chunk.to_vec();
            received += chunk.len();
            let mut input = &mut chunk[..];
            loop {
                match decoder.decode(&mut input) {
                    Ok(Some(event)) => seen.push(event.into()),
                    Ok(None) => break,
                    Err(error) => {
                        seen.push(Seen::Error(error));
                        return seen;
                    }
                }
            }
            assert!(input.is_empty());
            assert!(decoder.held_bytes() <= size_of::<Pending>() + 2 * received);
        }
        seen
    }

    fn decode(bytes: &[u8]) -> Vec<Seen> {
        feed(&mut Decoder::new(LIMIT), [bytes])
    }

    fn frame(opcode: Opcode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_masked(&mut out, opcode, is_final, MASK, payload);
        out
    }

    /// A frame whose first bytes are as given; a mask of zeros and the payload follow.
    fn raw(header: &[u8], payload: &[u8]) -> Vec<u8> {
        [header, &[0; 4], payload].concat()
    }

    fn violates(bytes: &[u8]) -> bool {
        matches!(
            decode(bytes)[..],
            [Seen::Error(ProtocolError::Violation(_))]
        )
    }

    fn conversation() -> (Vec<u8>, Vec<Seen>) {
        let long = vec![7; 70_000];
        let bytes = [
            frame(Opcode::Text, true, "grüße".as_bytes()),
            frame(Opcode::Binary, true, &[]),
            frame(Opcode::Binary, false, &[1; 200]),
            frame(Opcode::Ping, true, b"there?"),
            frame(Opcode::Continuation, false, &[]),
            frame(Opcode::Pong, true, &[]),
            frame(Opcode::Continuation, true, &[2; 3]),
            frame(Opcode::Text, false, &"ü".as_bytes()[..1]),
            frame(Opcode::Continuation, true, &"ü".as_bytes()[1..]),
            frame(Opcode::Binary, true, &long),
            frame(Opcode::Close, true, &[0x03, 0xe8, b'b', b'y', b'e']),
        ]
        .concat();
        let events = vec![
            Seen::Text("grüße".into()),
            Seen::Binary(vec![]),
            Seen::Ping(b"there?".to_vec()),
            Seen::Pong(vec![]),
            Seen::Binary([&[1; 200][..], &[2; 3]].concat()),
            Seen::Text("ü".into()),
            Seen::Binary(long),
            Seen::Close(Some(1000)),
        ];
        (bytes, events)
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let hello = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(decode(&hello), [Seen::Text("Hello".into())]);
    }

    #[test]
    fn a_conversation_is_read_in_order() {
        let (bytes, events) = conversation();
        assert_eq!(decode(&bytes), events);
    }

    #[test]
    fn wherever_the_network_cuts_the_events_are_the_same() {
        let (bytes, events) = conversation();
        // Not every place within the long message: its inside is all alike.
        let cuts = (0..600).chain(bytes.len() - 200..bytes.len());
        for cut in cuts {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(
                feed(&mut Decoder::new(LIMIT), [head, tail]),
                events,
                "{cut}"
            );
        }
        assert_eq!(feed(&mut Decoder::new(LIMIT), bytes.chunks(1)), events);
    }

    #[test]
    fn a_message_whole_in_the_buffer_is_not_copied() {
        let mut bytes = frame(Opcode::Binary, true, &[5; 1000]);
        let range = bytes.as_ptr_range();
        let mut decoder = Decoder::new(LIMIT);
        let mut input = &mut bytes[..];
        let Ok(Some(Event::Binary(payload))) = decoder.decode(&mut input) else {
            panic!("no message");
        };
        assert!(range.contains(&payload.as_ptr()));
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn an_idle_decoder_keeps_nothing() {
        assert!(size_of::<Decoder>() <= 16);
        let mut decoder = Decoder::new(LIMIT);
        let (bytes, _) = conversation();
        feed(&mut decoder, bytes.chunks(100));
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn what_has_begun_and_not_ended_is_counted() {
        let mut decoder = Decoder::new(LIMIT);
        assert_eq!(decoder.unfinished_bytes(), None);
        let bytes = [
            frame(Opcode::Binary, false, &[1; 200]),
            frame(Opcode::Ping, true, b"there?"),
            frame(Opcode::Continuation, true, &[2; 100]),
        ]
        .concat();
        let mut counts = Vec::new();
        for piece in [
            &bytes[..1],
            &bytes[1..108],
            &bytes[108..221],
            &bytes[221..300],
        ] {
            let mut piece = piece.to_vec();
            let mut input = &mut piece[..];
            while let Ok(Some(_)) = decoder.decode(&mut input) {}
            counts.push(decoder.unfinished_bytes());
        }
        assert_eq!(counts, [Some(0), Some(100), Some(200), Some(200 + 74)]);
        // Whole, and not yet let go.
        let mut rest = bytes[300..].to_vec();
        let mut input = &mut rest[..];
        assert!(matches!(
            decoder.decode(&mut input),
            Ok(Some(Event::Binary(_)))
        ));
        decoder.forget_delivered();
        assert_eq!(
            (decoder.unfinished_bytes(), decoder.held_bytes()),
            (None, 0)
        );
    }

    #[test]
    fn a_claimed_length_reserves_nothing() {
        let mut decoder = Decoder::new(usize::MAX);
        let header = raw(&[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0], b"x");
        assert_eq!(feed(&mut decoder, [&header[..]]), []);
        assert!(decoder.held_bytes() <= size_of::<Pending>() + 2);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_header() {
        let mut decoder = Decoder::new(1000);
        let too_large = [Seen::Error(ProtocolError::MessageTooLarge(1000))];
        assert_eq!(
            feed(&mut decoder, [&[0x82, 0xfe, 0x03, 0xe9][..]]),
            too_large
        );

        let mut decoder = Decoder::new(1000);
        let first = frame(Opcode::Binary, false, &[0; 600]);
        assert_eq!(feed(&mut decoder, [&first[..]]), []);
        assert_eq!(
            feed(&mut decoder, [&[0x80, 0xfe, 0x01, 0x91][..]]),
            too_large
        );

        // Exactly the limit is fine, and it can be raised on the way.
        let mut decoder = Decoder::new(1000);
        assert_eq!(
            feed(&mut decoder, [&frame(Opcode::Binary, true, &[0; 1000])[..]]).len(),
            1
        );
        decoder.set_message_bytes_max(2000);
        assert_eq!(
            feed(&mut decoder, [&frame(Opcode::Binary, true, &[0; 2000])[..]]).len(),
            1
        );
        assert_eq!(
            ProtocolError::MessageTooLarge(1).refusal().reason(),
            "LIMIT_MESSAGE"
        );
    }

    #[test]
    fn frames_that_the_rfc_forbids_are_refused() {
        let part = frame(Opcode::Text, false, b"a");
        for (what, bytes) in [
            ("no mask", vec![0x82, 0x01, 0x00]),
            ("reserved bit 1", raw(&[0xc2, 0x80], &[])),
            ("reserved bit 2", raw(&[0xa2, 0x80], &[])),
            ("reserved bit 3", raw(&[0x92, 0x80], &[])),
            ("opcode 3", raw(&[0x83, 0x80], &[])),
            ("opcode 7", raw(&[0x87, 0x80], &[])),
            ("opcode 11", raw(&[0x8b, 0x80], &[])),
            ("opcode 15", raw(&[0x8f, 0x80], &[])),
            ("fragmented ping", raw(&[0x09, 0x80], &[])),
            ("fragmented close", raw(&[0x08, 0x80], &[])),
            ("long ping", raw(&[0x89, 0xfe, 0, 126], &[0; 126])),
            (
                "length 125 in 16 bits",
                raw(&[0x82, 0xfe, 0, 125], &[0; 125]),
            ),
            (
                "length 65535 in 64 bits",
                raw(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], &[]),
            ),
            (
                "negative length",
                raw(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], &[]),
            ),
            (
                "continuation of nothing",
                frame(Opcode::Continuation, true, b"a"),
            ),
            (
                "text within text",
                [part.clone(), frame(Opcode::Text, true, b"a")].concat(),
            ),
            (
                "binary within text",
                [part, frame(Opcode::Binary, true, b"a")].concat(),
            ),
            ("close of one byte", frame(Opcode::Close, true, &[3])),
        ] {
            assert!(violates(&bytes), "{what}");
        }
    }

    #[test]
    fn close_codes_are_those_that_may_be_sent() {
        for code in [
            1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4400, 4999_u16,
        ] {
            let bytes = frame(Opcode::Close, true, &code.to_be_bytes());
            assert_eq!(decode(&bytes), [Seen::Close(Some(code))]);
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535_u16,
        ] {
            assert!(
                violates(&frame(Opcode::Close, true, &code.to_be_bytes())),
                "{code}"
            );
        }
        assert_eq!(
            decode(&frame(Opcode::Close, true, &[])),
            [Seen::Close(None)]
        );
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        let refused = [Seen::Error(ProtocolError::InvalidUtf8)];
        assert_eq!(decode(&frame(Opcode::Text, true, &[0xff])), refused);
        assert_eq!(
            decode(&frame(Opcode::Text, true, &[0xed, 0xa0, 0x80])),
            refused
        );
        assert_eq!(
            decode(&frame(Opcode::Close, true, &[0x03, 0xe8, 0xc3])),
            refused
        );
        assert_eq!(
            decode(&frame(Opcode::Binary, true, &[0xff])),
            [Seen::Binary(vec![0xff])]
        );
    }

    #[test]
    fn what_the_server_writes_is_unmasked_and_minimal() {
        for (length, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 255, 255]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_header(&mut out, Opcode::Binary, length);
            assert_eq!(out, header);
            assert_eq!(header_len(length), header.len());
        }
        let mut out = Vec::new();
        write_ping(&mut out, b"p");
        write_pong(&mut out, b"q");
        write_close_reply(&mut out, None);
        write_close_reply(&mut out, Some(1001));
        assert_eq!(
            out,
            [0x89, 1, b'p', 0x8a, 1, b'q', 0x88, 0, 0x88, 2, 0x03, 0xe9]
        );
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(&mut out, 4400, &"ü".repeat(100));
        assert_eq!(out.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }

    /// A message in parts, with control frames between them.
    fn messages() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
        let control =
            prop::option::of((any::<bool>(), prop::collection::vec(any::<u8>(), 0..=125)));
        let payload = prop::collection::vec(any::<u8>(), 0..400);
        let part = (payload, control, any::<[u8; 4]>());
        let message = (any::<bool>(), prop::collection::vec(part, 1..4));
        prop::collection::vec(message, 0..6).prop_map(|messages| {
            let mut bytes = Vec::new();
            let mut events = Vec::new();
            for (is_text, parts) in messages {
                let mut whole = Vec::new();
                let count = parts.len();
                for (index, (payload, control, mask)) in parts.into_iter().enumerate() {
                    let payload = if is_text {
                        payload.iter().map(|byte| byte % 128).collect()
                    } else {
                        payload
                    };
                    let opcode = match (index, is_text) {
                        (0, true) => Opcode::Text,
                        (0, false) => Opcode::Binary,
                        _ => Opcode::Continuation,
                    };
                    if let Some((is_ping, payload)) = control {
                        let opcode = if is_ping { Opcode::Ping } else { Opcode::Pong };
                        write_masked(&mut bytes, opcode, true, mask, &payload);
                        events.push(match is_ping {
                            true => Seen::Ping(payload),
                            false => Seen::Pong(payload),
                        });
                    }
                    write_masked(&mut bytes, opcode, index + 1 == count, mask, &payload);
                    whole.extend_from_slice(&payload);
                }
                events.push(match is_text {
                    true => Seen::Text(String::from_utf8(whole).unwrap()),
                    false => Seen::Binary(whole),
                });
            }
            (bytes, events)
        })
    }

    fn chunks<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
        let mut chunks = Vec::new();
        for size in sizes.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            let (chunk, rest) = bytes.split_at((*size).min(bytes.len()));
            chunks.push(chunk);
            bytes = rest;
        }
        chunks
    }

    proptest! {
        #[test]
        fn any_messages_in_any_chunks_arrive_unchanged(
            (bytes, events) in messages(),
            sizes in prop::collection::vec(1_usize..300, 1..20),
        ) {
            let mut decoder = Decoder::new(LIMIT);
            prop_assert_eq!(feed(&mut decoder, chunks(&bytes, &sizes)), events);
            prop_assert_eq!(decoder.held_bytes(), 0);
        }

        #[test]
        fn garbage_is_refused_without_panic_or_memory(
            mut bytes in prop::collection::vec(any::<u8>(), 0..2000),
            sizes in prop::collection::vec(1_usize..300, 1..20),
            looks_valid: bool,
        ) {
            if looks_valid && bytes.len() > 2 {
                bytes[0] &= 0x8f;
                bytes[1] |= 0x80;
            }
            // The memory is checked in `feed`, after every chunk.
            feed(&mut Decoder::new(LIMIT), chunks(&bytes, &sizes));
        }

        #[test]
        fn unmasking_by_words_is_unmasking_by_bytes(
            payload: Vec<u8>,
            mask: [u8; 4],
            offset in 0_usize..9,
        ) {
            let mut by_words = payload.clone();
            unmask(&mut by_words, mask, offset);
            let by_bytes: Vec<u8> = payload
                .iter()
                .enumerate()
                .map(|(index, byte)| byte ^ mask[(offset + index) % 4])
                .collect();
            prop_assert_eq!(by_words, by_bytes);
        }
    }
}
