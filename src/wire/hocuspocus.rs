//! The framing of `/collab`: the Hocuspocus protocol, many documents on one socket.
//!
//! A frame is an address and a message. The bodies of sync and awareness messages are those of the
//! y-websocket protocol, so what goes to everybody in a room is composed once, and each receiver's
//! address put before it.

use super::lib0::{Malformed, Reader, varbytes_len, write_varstring};
use super::yjs::{self, SyncMessage};

/// Says nothing but "still here", in every version: a frame for a document nobody has.
pub const KEEPALIVE: &[u8] = &[0];
/// Asks for a pong. Only version 4 understands it; others throw.
pub const PING: &[u8] = &[9];

const AUTH: u8 = 2;
const QUERY_AWARENESS: u8 = 3;
const STATELESS: u8 = 5;
const CLOSE: u8 = 7;
const SYNC_STATUS: u8 = 8;

const AUTH_TOKEN: u8 = 0;
const AUTH_DENIED: u8 = 1;
const AUTH_GRANTED: u8 = 2;

/// What one WebSocket message of a client holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientFrame<'a> {
    /// One byte, of no document. Only servers ping, so it needs no answer.
    Ping,
    /// One byte, of no document: the answer to a ping.
    Pong,
    /// A message for one document.
    Document(Frame<'a>),
}

/// A message for one document, its contents unchecked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// The whole key that answers must carry; see [`split_address`].
    pub address: &'a str,
    /// What is said.
    pub message: ClientMessage<'a>,
}

/// What a client says about a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientMessage<'a> {
    /// About its content.
    Sync(SyncMessage<'a>),
    /// An awareness payload.
    Awareness(&'a [u8]),
    /// Who is asking.
    Auth {
        /// Empty when the client has none.
        token: &'a str,
        /// The provider's version; only version 4 and later say it.
        version: Option<&'a str>,
    },
    /// Asks for everybody's awareness.
    QueryAwareness,
    /// A text for the other clients of the document.
    Stateless(&'a str),
    /// This client is done with the document; the socket stays.
    Close,
    /// A known type that only servers may send (with its number): to be refused.
    Forbidden(u64),
    /// A type of no known meaning: to be refused.
    Unknown(u64),
}

/// What a server says about a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerMessage<'a> {
    /// About its content.
    Sync(SyncMessage<'a>),
    /// An awareness payload.
    Awareness(&'a [u8]),
    /// The token was good, for this.
    Authenticated(Scope),
    /// The token was not good, or is no longer.
    Denied(&'a str),
    /// Asks for a fresh token. Version 2 ignores it.
    TokenRequest,
    /// Asks for all awareness states the client knows, its own among them.
    QueryAwareness,
    /// One for each step 2 and update received: whether it is saved.
    SyncStatus(bool),
    /// A text from another client of the document.
    Stateless(&'a str),
    /// The document is closed. Version 2 throws on it: close its socket instead.
    Close(&'a str),
    /// Awareness with no entries.
    KeepAlive,
}

/// What a good token allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// To change the document.
    ReadWrite,
    /// To see it.
    ReadOnly,
}

/// Splits an address at its first NUL into the document's name and the session id that newer
/// clients put behind it, so that several of them can share a socket.
pub fn split_address(address: &str) -> (&str, Option<&str>) {
    match address.split_once('\0') {
        Some((document, session)) => (document, Some(session)),
        None => (address, None),
    }
}

/// Reads a frame. Bytes behind a known message are ignored, as all clients do.
pub fn decode(frame: &[u8]) -> Result<ClientFrame<'_>, Malformed> {
    match frame {
        [9] => return Ok(ClientFrame::Ping),
        [10] => return Ok(ClientFrame::Pong),
        _ => {}
    }
    let mut reader = Reader::new(frame);
    let address = reader.varstring()?;
    let message = ClientMessage::decode(&mut reader)?;
    Ok(ClientFrame::Document(Frame { address, message }))
}

impl<'a> ClientMessage<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match reader.varuint()? {
            0 => Self::Sync(SyncMessage::decode(reader)?),
            1 => Self::Awareness(reader.varbytes()?),
            2 => match reader.varuint()? {
                0 => Self::Auth {
                    token: reader.varstring()?,
                    // Absent before version 4; whatever else stands here is not ours to judge.
                    version: reader.varstring().ok(),
                },
                _ => Self::Forbidden(u64::from(AUTH)),
            },
            3 => Self::QueryAwareness,
            5 => Self::Stateless(reader.varstring()?),
            7 => Self::Close,
            forbidden @ (4 | 6 | 8) => Self::Forbidden(forbidden),
            unknown => Self::Unknown(unknown),
        })
    }

    /// Appends the message as a client writes it, without an address; what no client may send
    /// becomes a bare type number. For test clients and bots.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sync(message) => message.write(out),
            Self::Awareness(payload) => yjs::write_awareness(out, payload),
            Self::Auth { token, version } => {
                out.extend_from_slice(&[AUTH, AUTH_TOKEN]);
                write_varstring(out, token);
                if let Some(version) = version {
                    write_varstring(out, version);
                }
            }
            Self::QueryAwareness => out.push(QUERY_AWARENESS),
            Self::Stateless(text) => {
                out.push(STATELESS);
                write_varstring(out, text);
            }
            Self::Close => out.push(CLOSE),
            Self::Forbidden(number) | Self::Unknown(number) => {
                super::lib0::write_varuint(out, *number);
            }
        }
    }
}

impl ServerMessage<'_> {
    /// Appends the whole frame for one receiver.
    pub fn write(&self, out: &mut Vec<u8>, address: &str) {
        write_address(out, address);
        self.write_body(out);
    }

    /// Appends what follows the address, the same for all receivers.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sync(message) => message.write(out),
            Self::Awareness(payload) => yjs::write_awareness(out, payload),
            Self::Authenticated(scope) => {
                out.extend_from_slice(&[AUTH, AUTH_GRANTED]);
                write_varstring(out, scope.as_str());
            }
            Self::Denied(reason) => {
                out.extend_from_slice(&[AUTH, AUTH_DENIED]);
                write_varstring(out, reason);
            }
            Self::TokenRequest => out.extend_from_slice(&[AUTH, AUTH_TOKEN]),
            Self::QueryAwareness => out.push(QUERY_AWARENESS),
            Self::SyncStatus(is_saved) => {
                out.extend_from_slice(&[SYNC_STATUS, u8::from(*is_saved)])
            }
            Self::Stateless(text) => {
                out.push(STATELESS);
                write_varstring(out, text);
            }
            Self::Close(reason) => {
                out.push(CLOSE);
                write_varstring(out, reason);
            }
            Self::KeepAlive => yjs::write_awareness(out, &[0]),
        }
    }
}

/// Appends the address that every frame for its session begins with.
pub fn write_address(out: &mut Vec<u8>, address: &str) {
    write_varstring(out, address);
}

/// How many bytes [`write_address`] appends.
pub fn address_len(address: &str) -> usize {
    varbytes_len(address.len())
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "readonly",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(address: &str, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_address(&mut out, address);
        assert_eq!(out.len(), address_len(address));
        out.extend_from_slice(body);
        out
    }

    #[track_caller]
    fn check(body: &[u8], message: ClientMessage<'_>) {
        let frame = Frame {
            address: "doc",
            message,
        };
        assert_eq!(
            decode(&bytes("doc", body)),
            Ok(ClientFrame::Document(frame))
        );
        // What is behind a message changes nothing (but for the version behind a token).
        if !matches!(message, ClientMessage::Auth { .. }) {
            assert_eq!(
                decode(&bytes("doc", &[body, &[1, 2]].concat())),
                Ok(ClientFrame::Document(frame))
            );
        }
    }

    #[test]
    fn every_message_of_a_client_is_understood() {
        check(&[0, 0, 1, 0], ClientMessage::Sync(SyncMessage::Step1(&[0])));
        check(&[1, 1, 0], ClientMessage::Awareness(&[0]));
        check(&[3], ClientMessage::QueryAwareness);
        check(&[5, 2, b'h', b'i'], ClientMessage::Stateless("hi"));
        check(&[7], ClientMessage::Close);
    }

    #[test]
    fn only_the_newest_providers_say_their_version() {
        let token = "t";
        check(
            &[2, 0, 1, b't'],
            ClientMessage::Auth {
                token,
                version: None,
            },
        );
        check(
            &[2, 0, 1, b't', 5, b'4', b'.', b'8', b'.', b'0'],
            ClientMessage::Auth {
                token,
                version: Some("4.8.0"),
            },
        );
        check(
            &[2, 0, 0],
            ClientMessage::Auth {
                token: "",
                version: None,
            },
        );
    }

    #[test]
    fn what_only_servers_may_say_is_marked_as_forbidden() {
        check(&[4, 0, 1, 0], ClientMessage::Forbidden(4));
        check(&[6, 0], ClientMessage::Forbidden(6));
        check(&[8, 1], ClientMessage::Forbidden(8));
        check(&[2, 2, 0], ClientMessage::Forbidden(2));
        check(&[9], ClientMessage::Unknown(9));
        check(&[99], ClientMessage::Unknown(99));
    }

    #[test]
    fn pings_and_pongs_are_one_byte_and_have_no_address() {
        assert_eq!(decode(&[9]), Ok(ClientFrame::Ping));
        assert_eq!(decode(&[10]), Ok(ClientFrame::Pong));
        assert_eq!(decode(&[11]), Err(Malformed));
    }

    #[test]
    fn cut_frames_and_bad_names_are_malformed() {
        for frame in [&[][..], &[0], &[3, b'd'], &[1, 0xff, 0], &[1, b'd']] {
            assert_eq!(decode(frame), Err(Malformed), "{frame:?}");
        }
        for body in [&[0, 0][..], &[2], &[2, 0], &[5, 3, b'a'], &[1]] {
            assert_eq!(decode(&bytes("doc", body)), Err(Malformed), "{body:?}");
        }
    }

    #[test]
    fn the_session_id_is_what_follows_the_first_nul() {
        assert_eq!(split_address("acme.doc"), ("acme.doc", None));
        assert_eq!(split_address("doc\0x7\0y"), ("doc", Some("x7\0y")));
        assert_eq!(split_address("\0"), ("", Some("")));
    }

    #[test]
    fn the_server_writes_what_providers_read() {
        for (message, body) in [
            (
                ServerMessage::Sync(SyncMessage::Step2(&[0, 0])),
                &[0, 1, 2, 0, 0][..],
            ),
            (ServerMessage::Awareness(&[0]), &[1, 1, 0]),
            (ServerMessage::KeepAlive, &[1, 1, 0]),
            (
                ServerMessage::Authenticated(Scope::ReadOnly),
                b"\x02\x02\x08readonly",
            ),
            (
                ServerMessage::Authenticated(Scope::ReadWrite),
                b"\x02\x02\x0aread-write",
            ),
            (ServerMessage::Denied("NO"), b"\x02\x01\x02NO"),
            (ServerMessage::TokenRequest, &[2, 0]),
            (ServerMessage::QueryAwareness, &[3]),
            (ServerMessage::SyncStatus(true), &[8, 1]),
            (ServerMessage::SyncStatus(false), &[8, 0]),
            (ServerMessage::Stateless("hi"), b"\x05\x02hi"),
            (ServerMessage::Close("bye"), b"\x07\x03bye"),
        ] {
            let mut out = Vec::new();
            message.write(&mut out, "d\0s");
            assert_eq!(out, [&[3, b'd', 0, b's'], body].concat(), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn any_frame_is_read_without_panicking(frame: Vec<u8>) {
            let _ = decode(&frame);
        }

        #[test]
        fn what_a_test_client_writes_is_read(name in "\\PC{0,40}", token: String, text: String) {
            for message in [
                ClientMessage::Auth { token: &token, version: Some("4.8.0") },
                ClientMessage::Stateless(&text),
                ClientMessage::Close,
                ClientMessage::QueryAwareness,
                ClientMessage::Forbidden(4),
            ] {
                let mut out = Vec::new();
                write_address(&mut out, &name);
                message.write_body(&mut out);
                let frame = Frame { address: &name, message };
                prop_assert_eq!(decode(&out), Ok(ClientFrame::Document(frame)));
            }
        }
    }
}
