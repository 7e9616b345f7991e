//! What the real clients send, recorded, is what the codecs read.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use copresence::wire::hocuspocus::{self, ClientFrame, ClientMessage, split_address};
use copresence::wire::validator;
use copresence::wire::y_websocket;
use copresence::wire::yjs::SyncMessage;

const CLIENT: u64 = 1_234_567_890;
const ROOM: &str = "session/42";

#[test]
fn what_y_websocket_sends_is_read() {
    for version in ["2", "3"] {
        let frames = recorded(&format!("y_websocket_{version}.hex"));
        for (name, frame) in &frames {
            let message = y_websocket::decode(frame)
                .unwrap_or_else(|error| panic!("y-websocket {version}, {name}: {error}"));
            let said = match message {
                y_websocket::ClientMessage::Sync(sync) => said_by_sync(sync),
                y_websocket::ClientMessage::Awareness(payload) => said_by_awareness(payload),
                y_websocket::ClientMessage::QueryAwareness => Said::QueryAwareness,
                y_websocket::ClientMessage::Auth => Said::Other,
            };
            check(name, said);
        }
        assert!(frames.contains_key("edit") && frames.contains_key("destroy"));
    }
}

#[test]
fn what_hocuspocus_providers_send_is_read() {
    let files = [
        ("hocuspocus_2.hex", None),
        ("hocuspocus_2_without_token.hex", None),
        ("hocuspocus_3.hex", None),
        ("hocuspocus_4.hex", Some("4.8.0")),
        ("hocuspocus_4_sessions.hex", Some("4.8.0")),
    ];
    for (file, wanted_version) in files {
        let frames = recorded(file);
        for (name, frame) in &frames {
            let frame =
                hocuspocus::decode(frame).unwrap_or_else(|error| panic!("{file}, {name}: {error}"));
            let frame = match frame {
                ClientFrame::Document(frame) => frame,
                ClientFrame::Pong => {
                    assert_eq!(name, "pong", "{file}");
                    continue;
                }
                ClientFrame::Ping => panic!("{file}, {name}: clients do not ping"),
            };
            let (room, session) = split_address(frame.address);
            assert_eq!(room, ROOM, "{file}, {name}");
            assert_eq!(
                session.is_some(),
                file.contains("sessions"),
                "{file}, {name}"
            );
            let said = match frame.message {
                ClientMessage::Sync(sync) => said_by_sync(sync),
                ClientMessage::Awareness(payload) => said_by_awareness(payload),
                ClientMessage::QueryAwareness => Said::QueryAwareness,
                ClientMessage::Auth { token, version } => {
                    assert_eq!(token, "header.claims.signature", "{file}, {name}");
                    assert_eq!(version, wanted_version, "{file}, {name}");
                    Said::Token
                }
                ClientMessage::Stateless(text) => {
                    assert!(text.starts_with('{'), "{file}, {name}: {text}");
                    Said::Other
                }
                ClientMessage::Close => Said::Close,
                ClientMessage::Forbidden(_) | ClientMessage::Unknown(_) => {
                    panic!("{file}, {name}: {:?}", frame.message)
                }
            };
            check(name, said);
        }
        assert!(frames.contains_key("open_1"), "{file}");
    }
}

/// What a frame says, as far as its name foretells it.
#[derive(Debug, Eq, PartialEq)]
enum Said {
    Step1,
    Step2,
    Update,
    Present,
    Gone,
    QueryAwareness,
    Token,
    Close,
    Other,
}

fn check(name: &str, said: Said) {
    let wanted: &[Said] = match name {
        "step_2" => &[Said::Step2],
        "edit" | "deletion" => &[Said::Update],
        "awareness" | "query_answer" | "state_again" | "echo" | "queued" => &[Said::Present],
        "null" => &[Said::Gone],
        "destroy" => &[Said::Gone],
        "token_again" => &[Said::Token],
        "force_sync" => &[Said::Step1],
        _ if name.starts_with("destroy_") => &[Said::Gone, Said::Close],
        _ if name.starts_with("open_") => &[Said::Token, Said::Step1, Said::Present],
        _ => return,
    };
    assert!(wanted.contains(&said), "{name} says {said:?}");
}

fn said_by_sync(message: SyncMessage<'_>) -> Said {
    let checked = |update| {
        validator::update(Bytes::copy_from_slice(update)).expect("a real client's update is sane");
    };
    match message {
        SyncMessage::Step1(vector) => {
            validator::state_vector(Bytes::copy_from_slice(vector))
                .expect("a real client's state vector is sane");
            Said::Step1
        }
        SyncMessage::Step2(update) => {
            checked(update);
            Said::Step2
        }
        SyncMessage::Update(update) => {
            checked(update);
            Said::Update
        }
    }
}

fn said_by_awareness(payload: &[u8]) -> Said {
    let update = validator::awareness(Bytes::copy_from_slice(payload))
        .expect("a real client's awareness is sane");
    let own = update.entries().find(|entry| entry.client.0 == CLIENT);
    match own {
        Some(entry) if entry.state.is_none() => Said::Gone,
        _ => Said::Present,
    }
}

/// The frames of one file, by name.
fn recorded(file: &str) -> BTreeMap<String, Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/frames")
        .join(file);
    let text = std::fs::read_to_string(&path).expect("a recording");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, digits) = line.split_once(": ").expect("a name and digits");
            (name.to_owned(), unhex(digits))
        })
        .collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |place| u8::from_str_radix(&digits[place..place + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}
