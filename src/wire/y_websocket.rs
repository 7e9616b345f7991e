//! The framing of `/sync`: one message of the y-websocket protocol per WebSocket message.

use super::lib0::{Malformed, Reader, write_varstring};
use super::yjs::{self, SyncMessage};

/// Says nothing but "still here": awareness with no entries. Clients drop a link that brings them
/// no message for 30 s, and WebSocket pings do not count.
pub const KEEPALIVE: &[u8] = &[yjs::MESSAGE_AWARENESS, 1, 0];

const MESSAGE_AUTH: u8 = 2;
const MESSAGE_QUERY_AWARENESS: u8 = 3;
const AUTH_DENIED: u8 = 0;

/// A message from a client, its contents unchecked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientMessage<'a> {
    /// About the document.
    Sync(SyncMessage<'a>),
    /// An awareness payload.
    Awareness(&'a [u8]),
    /// Asks for everybody's awareness.
    QueryAwareness,
    /// Only servers have something to say here; to be ignored.
    Auth,
}

/// A message to a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerMessage<'a> {
    /// About the document.
    Sync(SyncMessage<'a>),
    /// An awareness payload.
    Awareness(&'a [u8]),
    /// Permission denied, and why. Clients log it and stay.
    Denied(&'a str),
}

/// Reads a message. Bytes behind it are ignored, as all clients do; an empty frame and an unknown
/// type are malformed.
pub fn decode(frame: &[u8]) -> Result<ClientMessage<'_>, Malformed> {
    let mut reader = Reader::new(frame);
    match reader.varuint()? {
        0 => Ok(ClientMessage::Sync(SyncMessage::decode(&mut reader)?)),
        1 => Ok(ClientMessage::Awareness(reader.varbytes()?)),
        2 => Ok(ClientMessage::Auth),
        3 => Ok(ClientMessage::QueryAwareness),
        _ => Err(Malformed),
    }
}

/// Appends the question for everybody's awareness, as a client asks it.
pub fn write_query_awareness(out: &mut Vec<u8>) {
    out.push(MESSAGE_QUERY_AWARENESS);
}

impl ServerMessage<'_> {
    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sync(message) => message.write(out),
            Self::Awareness(payload) => yjs::write_awareness(out, payload),
            Self::Denied(reason) => {
                out.extend_from_slice(&[MESSAGE_AUTH, AUTH_DENIED]);
                write_varstring(out, reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_frames_of_a_client_are_understood() {
        assert_eq!(
            decode(&[0, 0, 1, 0]),
            Ok(ClientMessage::Sync(SyncMessage::Step1(&[0])))
        );
        assert_eq!(
            decode(&[1, 6, 1, 5, 0, 2, b'{', b'}']),
            Ok(ClientMessage::Awareness(&[1, 5, 0, 2, b'{', b'}']))
        );
        assert_eq!(decode(&[3]), Ok(ClientMessage::QueryAwareness));
        assert_eq!(decode(&[2, 0]), Ok(ClientMessage::Auth));
    }

    #[test]
    fn bytes_behind_a_known_message_do_no_harm() {
        assert_eq!(
            decode(&[0, 2, 2, 0, 0, 9, 9, 9]),
            Ok(ClientMessage::Sync(SyncMessage::Update(&[0, 0])))
        );
    }

    #[test]
    fn cut_and_unknown_frames_are_malformed() {
        for frame in [
            &[][..],
            &[0],
            &[0, 0],
            &[0, 3, 0],
            &[0, 2, 3, 0, 0],
            &[1],
            &[1, 4, 0],
            &[4],
            &[100, 1, b'x'],
            &[0x80],
        ] {
            assert_eq!(decode(frame), Err(Malformed), "{frame:?}");
        }
    }

    #[test]
    fn a_client_can_read_what_the_server_writes() {
        for message in [SyncMessage::Step1(&[0]), SyncMessage::Step2(&[0, 0])] {
            let mut out = Vec::new();
            ServerMessage::Sync(message).write(&mut out);
            assert_eq!(decode(&out), Ok(ClientMessage::Sync(message)));
        }
        let mut out = Vec::new();
        ServerMessage::Awareness(&[0]).write(&mut out);
        assert_eq!(out, KEEPALIVE);
        out.clear();
        ServerMessage::Denied("NO").write(&mut out);
        assert_eq!(out, [2, 0, 2, b'N', b'O']);
    }

    proptest! {
        #[test]
        fn any_frame_is_read_without_panicking(frame: Vec<u8>) {
            let _ = decode(&frame);
        }
    }
}
