//! What is said to a server and heard from it, in the two framings of the Yjs protocols.

use anyhow::{Context, Result};

use copresence::wire::hocuspocus::{ClientMessage, write_address};
use copresence::wire::lib0::{Malformed, Reader, write_varbytes, write_varstring, write_varuint};
use copresence::wire::websocket::{Opcode, write_masked};

/// Clients must mask. Not with zeros: some servers would notice and do less.
const MASK: [u8; 4] = [1, 2, 3, 4];
const CONTENT_STRING: u8 = 4;
const CONTENT_DELETED: u8 = 1;
const COLLECTED: u8 = 0;
const SKIPPED: u8 = 10;
const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_KEY: u8 = 0x20;

/// How messages are framed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    YWebsocket,
    Hocuspocus,
}

/// What a server said.
#[derive(Debug, Eq, PartialEq)]
pub enum Heard<'a> {
    /// What do you have that I lack?
    Question,
    /// What the client lacked when it asked.
    Answer(&'a [u8]),
    Update(&'a [u8]),
    Awareness(&'a [u8]),
    /// An update was taken, or was not.
    Status(bool),
    Denied(&'a str),
    Other,
}

impl Protocol {
    /// Reads a message.
    pub fn hear(self, payload: &[u8]) -> Result<Heard<'_>, Malformed> {
        let mut reader = Reader::new(payload);
        if self == Protocol::Hocuspocus {
            // A ping of the protocol's own has no address.
            if payload.len() < 2 {
                return Ok(Heard::Other);
            }
            reader.varstring()?;
        }
        Ok(match (reader.varuint()?, self) {
            (0, _) | (4, Protocol::Hocuspocus) => {
                let kind = reader.varuint()?;
                match (kind, reader.varbytes()?) {
                    (0, _) => Heard::Question,
                    (1, update) => Heard::Answer(update),
                    (2, update) => Heard::Update(update),
                    _ => Heard::Other,
                }
            }
            (1, _) => Heard::Awareness(reader.varbytes()?),
            (2, Protocol::Hocuspocus) if reader.varuint()? == 1 => {
                Heard::Denied(reader.varstring()?)
            }
            (8, Protocol::Hocuspocus) => Heard::Status(reader.varuint()? == 1),
            _ => Heard::Other,
        })
    }

    /// Appends a message as a frame.
    pub fn write(self, out: &mut Vec<u8>, room: &str, message: ClientMessage<'_>) {
        let mut body = Vec::new();
        if self == Protocol::Hocuspocus {
            write_address(&mut body, room);
        }
        message.write_body(&mut body);
        write_masked(out, Opcode::Binary, true, MASK, &body);
    }

    /// Appends a frame whose body after the address is in `message`.
    pub fn write_raw(self, out: &mut Vec<u8>, body: &mut Vec<u8>, room: &str, message: &[u8]) {
        if self == Protocol::YWebsocket {
            write_masked(out, Opcode::Binary, true, MASK, message);
            return;
        }
        body.clear();
        write_address(body, room);
        body.extend_from_slice(message);
        write_masked(out, Opcode::Binary, true, MASK, body);
    }
}

/// Appends a goodbye.
pub fn write_goodbye(out: &mut Vec<u8>) {
    write_masked(out, Opcode::Close, true, MASK, &1_001_u16.to_be_bytes());
}

/// Appends the answer to a ping.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_masked(out, Opcode::Pong, true, MASK, payload);
}

/// Writes a sync message with an update.
pub fn write_update(out: &mut Vec<u8>, update: &[u8]) {
    out.clear();
    out.extend_from_slice(&[0, 2]);
    write_varbytes(out, update);
}

/// Writes an awareness message with somebody's cursor, as editors have it. Where the cursor is says
/// which of its moves this is: clocks are also raised by servers.
pub fn write_cursor(out: &mut Vec<u8>, client: u64, clock: u64, place: u32) {
    let name = client % 1_000;
    let state = format!(
        r##"{{"user":{{"name":"User {name}","color":"#30bced"}},"cursor":{{"anchor":{place},"head":{place}}}}}"##
    );
    let mut entry = Vec::with_capacity(state.len() + 16);
    for number in [1, client, clock] {
        write_varuint(&mut entry, number);
    }
    write_varstring(&mut entry, &state);
    out.clear();
    out.push(1);
    write_varbytes(out, &entry);
}

/// Where the cursor of a state is.
pub fn place(state: &[u8]) -> Option<u32> {
    const BEFORE: &[u8] = b"\"head\":";
    let at = state
        .windows(BEFORE.len())
        .rposition(|part| part == BEFORE)?;
    let digits = state[at + BEFORE.len()..].iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// Calls `found` with each client of an update, its first clock and the clock after its last.
/// Deletions are not counted.
pub fn changes(update: &[u8], mut found: impl FnMut(u64, u64, u64)) -> Result<()> {
    let mut reader = Reader::new(update);
    for _ in 0..reader.varuint()? {
        let structs = reader.varuint()?;
        let client = reader.varuint()?;
        let start = reader.varuint()?;
        let mut end = start;
        for _ in 0..structs {
            end += struct_length(&mut reader)?;
        }
        found(client, start, end);
    }
    Ok(())
}

fn struct_length(reader: &mut Reader<'_>) -> Result<u64> {
    let info = reader.u8()?;
    if matches!(info, COLLECTED | SKIPPED) {
        return Ok(reader.varuint()?);
    }
    for flag in [HAS_ORIGIN, HAS_RIGHT_ORIGIN] {
        if info & flag != 0 {
            reader.varuint()?;
            reader.varuint()?;
        }
    }
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        match reader.varuint()? {
            1 => drop(reader.varstring()?),
            _ => {
                reader.varuint()?;
                reader.varuint()?;
            }
        }
        if info & HAS_PARENT_KEY != 0 {
            reader.varstring()?;
        }
    }
    match info & 0x1f {
        CONTENT_DELETED => Ok(reader.varuint()?),
        CONTENT_STRING => {
            let units = reader.varstring()?.chars().map(char::len_utf16);
            Ok(units.sum::<usize>() as u64)
        }
        _ => None.context("content that nobody here writes"),
    }
}

/// Calls `found` with each client of an awareness payload, its clock and its state.
pub fn entries(
    payload: &[u8],
    mut found: impl FnMut(u64, u64, State<'_>),
) -> Result<(), Malformed> {
    let mut reader = Reader::new(payload);
    for _ in 0..reader.varuint()? {
        let (client, clock) = (reader.varuint()?, reader.varuint()?);
        let state = match reader.varbytes()? {
            b"null" => State::Gone,
            json => State::There(json),
        };
        found(client, clock, state);
    }
    Ok(())
}

/// A client's state, as somebody else is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State<'a> {
    Gone,
    There(&'a [u8]),
}

#[cfg(test)]
mod tests {
    use yrs::updates::decoder::Decode;
    use yrs::{Doc, ReadTxn, StateVector, Text, Transact, Update};

    use super::*;
    use crate::typing;

    fn changes_of(update: &[u8]) -> Vec<(u64, u64, u64)> {
        let mut all = Vec::new();
        changes(update, |client, start, end| all.push((client, start, end))).unwrap();
        all
    }

    #[test]
    fn a_key_is_one_change() {
        assert_eq!(changes_of(&typing::append(7, 0)), [(7, 0, 1)]);
        assert_eq!(changes_of(&typing::append(7, 41)), [(7, 41, 42)]);
        assert_eq!(changes_of(&typing::remove(7, 41)), []);
    }

    #[test]
    fn updates_that_a_server_merged_count_as_all_that_is_in_them() {
        let doc = Doc::new();
        for (client, keys) in [(7, 30), (9, 12)] {
            for clock in 0..keys {
                let update = Update::decode_v1(&typing::append(client, clock)).unwrap();
                doc.transact_mut().apply_update(update).unwrap();
            }
        }
        let merged = doc
            .transact()
            .encode_state_as_update_v1(&StateVector::default());
        let mut found = changes_of(&merged);
        found.sort_unstable();
        assert_eq!(found, [(7, 0, 30), (9, 0, 12)]);
    }

    #[test]
    fn characters_outside_the_basic_plane_are_two() {
        let doc = Doc::with_client_id(3);
        let text = doc.get_or_insert_text("text");
        text.push(&mut doc.transact_mut(), "a𝄞");
        let update = doc
            .transact()
            .encode_state_as_update_v1(&StateVector::default());
        assert_eq!(changes_of(&update), [(3, 0, 3)]);
    }

    #[test]
    fn both_framings_are_understood() {
        let mut message = Vec::new();
        write_update(&mut message, &[0, 0]);
        assert_eq!(
            Protocol::YWebsocket.hear(&message),
            Ok(Heard::Update(&[0, 0]))
        );
        let mut frame = Vec::new();
        write_address(&mut frame, "room");
        frame.extend_from_slice(&message);
        assert_eq!(
            Protocol::Hocuspocus.hear(&frame),
            Ok(Heard::Update(&[0, 0]))
        );
        assert_eq!(
            Protocol::Hocuspocus.hear(&[1, b'r', 8, 1]),
            Ok(Heard::Status(true))
        );
    }

    #[test]
    fn a_cursor_is_an_entry_of_its_client() {
        let mut message = Vec::new();
        write_cursor(&mut message, 12, 5, 340);
        let Heard::Awareness(payload) = Protocol::YWebsocket.hear(&message).unwrap() else {
            panic!("no awareness");
        };
        let mut found = Vec::new();
        entries(payload, |client, clock, state| {
            let State::There(json) = state else {
                panic!("gone");
            };
            found.push((client, clock, place(json)));
        })
        .unwrap();
        assert_eq!(found, [(12, 5, Some(340))]);
    }

    #[test]
    fn a_cursor_is_found_however_a_server_orders_its_state() {
        let state = br##"{"cursor":{"anchor":7,"head":7},"user":{"name":"User 1"}}"##;
        assert_eq!(place(state), Some(7));
        assert_eq!(place(b"{}"), None);
    }
}
