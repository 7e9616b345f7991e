//! Holds the examples in `docs/protocols.md` against the code that reads and writes them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::model::{Color, RoomName};
use crate::wire::close::Refusal;
use crate::wire::dialect::Complaint;
use crate::wire::heartbeat::{self, Doing, Heartbeat, Leave};
use crate::wire::hocuspocus::{self, ClientFrame, Frame, Scope};
use crate::wire::yjs::SyncMessage;
use crate::wire::{boards, feed, workspaces, y_websocket};

const PAGE: &str = include_str!("../../docs/protocols.md");

/// The code blocks of a kind, in the page's order.
pub(crate) fn blocks(kind: &str) -> Vec<&'static str> {
    let fence = format!("```{kind}\n");
    let blocks: Vec<_> = PAGE
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(!blocks.is_empty(), "no examples of {kind}");
    blocks
}

/// Every block of a kind is read as what it is said to be.
fn check_read<T: PartialEq + std::fmt::Debug>(
    kind: &str,
    read: impl Fn(&'static str) -> T,
    expected: &[T],
) {
    let found: Vec<T> = blocks(kind).into_iter().map(read).collect();
    assert_eq!(found, expected, "{kind}");
}

/// Every block of a kind is what is written.
fn check_written(kind: &str, written: &[Vec<u8>]) {
    let found = blocks(kind);
    for (block, written) in found.iter().zip(written) {
        let block: Value = serde_json::from_str(block).expect(block);
        let text = std::str::from_utf8(written).expect("UTF-8");
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(
            block,
            serde_json::from_str::<Value>(text).expect(text),
            "{kind}"
        );
    }
    assert_eq!(found.len(), written.len(), "{kind}");
}

/// That all kinds of messages there are have an example.
fn check_complete(named: impl IntoIterator<Item = &'static str>, all: &[&'static str]) {
    let named: BTreeSet<_> = named.into_iter().collect();
    assert_eq!(named, all.iter().copied().collect());
}

/// The bytes of the lines of a block, without what is said about them.
fn lines_of_hex(kind: &str) -> Vec<Vec<u8>> {
    let lines = blocks(kind).into_iter().flat_map(str::lines);
    let bytes = |line: &str| {
        let code = line.split('#').next().unwrap_or_default();
        let byte = |digits| u8::from_str_radix(digits, 16).expect(line);
        code.split_whitespace().map(byte).collect()
    };
    lines.map(bytes).collect()
}

const TOKEN: &str = "header.claims.signature";
const EXP_MILLIS: u64 = 1_795_249_800_000;

#[test]
fn sync() {
    use y_websocket::{ClientMessage, ServerMessage};
    let frames = lines_of_hex("hex sync client");
    let read: Vec<_> = frames
        .iter()
        .map(|frame| y_websocket::decode(frame))
        .collect();
    let expected = [
        ClientMessage::Sync(SyncMessage::Step1(&[0])),
        ClientMessage::Sync(SyncMessage::Step2(&[0, 0])),
        ClientMessage::Sync(SyncMessage::Update(&[0, 0])),
        ClientMessage::Awareness(&[0]),
        ClientMessage::QueryAwareness,
    ];
    assert_eq!(read, expected.map(Ok));
    let written = [
        ServerMessage::Sync(SyncMessage::Step1(&[0])),
        ServerMessage::Sync(SyncMessage::Step2(&[0, 0])),
        ServerMessage::Sync(SyncMessage::Update(&[0, 0])),
        ServerMessage::Awareness(&[0]),
        ServerMessage::Denied("FORBIDDEN"),
    ]
    .map(|message| {
        let mut out = Vec::new();
        message.write(&mut out);
        out
    });
    assert_eq!(lines_of_hex("hex sync server"), written);
    assert_eq!(written[3], y_websocket::KEEPALIVE);
}

#[test]
fn collab() {
    use hocuspocus::{ClientMessage, ServerMessage};
    let frames = lines_of_hex("hex collab client");
    let read: Vec<_> = frames
        .iter()
        .map(|frame| hocuspocus::decode(frame))
        .collect();
    let token = "a.b";
    let mut expected: Vec<_> = [
        ClientMessage::Auth {
            token,
            version: None,
        },
        ClientMessage::Auth {
            token,
            version: Some("4.8.0"),
        },
        ClientMessage::Sync(SyncMessage::Step1(&[0])),
        ClientMessage::Awareness(&[0]),
        ClientMessage::QueryAwareness,
        ClientMessage::Stateless("hi"),
        ClientMessage::Close,
    ]
    .map(|message| {
        Ok(ClientFrame::Document(Frame {
            address: "a",
            message,
        }))
    })
    .into();
    expected.extend([Ok(ClientFrame::Ping), Ok(ClientFrame::Pong)]);
    assert_eq!(read, expected);
    let written = [
        ServerMessage::Authenticated(Scope::ReadWrite),
        ServerMessage::Authenticated(Scope::ReadOnly),
        ServerMessage::Denied("FORBIDDEN"),
        ServerMessage::TokenRequest,
        ServerMessage::Sync(SyncMessage::Step1(&[0])),
        ServerMessage::Awareness(&[0]),
        ServerMessage::QueryAwareness,
        ServerMessage::SyncStatus(true),
        ServerMessage::Stateless("hi"),
        ServerMessage::Close("closed"),
    ]
    .map(|message| {
        let mut out = Vec::new();
        message.write(&mut out, "a");
        out
    });
    assert_eq!(lines_of_hex("hex collab server"), written);
}

#[test]
fn boards() {
    use boards::{ClientMessage, Cursor, Reported, ServerMessage, User, decode};
    let cursor = Some(Cursor { x: 120.5, y: -40.0 });
    let expected = [
        ClientMessage::Heartbeat,
        ClientMessage::Update {
            status: Some(Reported::Online),
            cursor: None,
        },
        ClientMessage::Update {
            status: Some(Reported::Idle),
            cursor,
        },
        ClientMessage::Auth {
            token: TOKEN.into(),
        },
    ];
    let name = |message: &ClientMessage<'_>| match message {
        ClientMessage::Heartbeat => "heartbeat",
        ClientMessage::Update { .. } => "update",
        ClientMessage::Auth { .. } => "auth",
    };
    check_complete(expected.iter().map(name), &["heartbeat", "update", "auth"]);
    check_read(
        "json boards client",
        |text| decode(text).expect(text),
        &expected,
    );

    let user = |user, name, avatar, color| User {
        user,
        name,
        avatar,
        status: "online",
        color: Color::parse(color).expect(color),
    };
    let (board, status) = ("7", "online");
    let users = [user("ann", "Ann", None, "#3b82f6")];
    let ben = user("ben", "Ben", Some("https://example.org/ben.png"), "#15803d");
    let messages = [
        ServerMessage::Joined {
            board,
            session: "8f14e45f",
            users: &users,
        },
        ServerMessage::UserJoined { board, user: ben },
        ServerMessage::Update {
            board,
            user: "ben",
            status: "idle",
            cursor: None,
        },
        ServerMessage::Update {
            board,
            user: "ben",
            status,
            cursor,
        },
        ServerMessage::UserLeft { board, user: "ben" },
        ServerMessage::Queued { board, position: 1 },
        ServerMessage::Error(Complaint::BoardFull),
        ServerMessage::AuthOk {
            expires_at_millis: EXP_MILLIS,
        },
    ];
    let name = |message: &ServerMessage<'_>| match message {
        ServerMessage::Joined { .. } => "joined",
        ServerMessage::UserJoined { .. } => "user joined",
        ServerMessage::Update { .. } => "update",
        ServerMessage::UserLeft { .. } => "user left",
        ServerMessage::Queued { .. } => "queued",
        ServerMessage::Error(_) => "error",
        ServerMessage::AuthOk { .. } => "auth ok",
    };
    let all = [
        "joined",
        "user joined",
        "update",
        "user left",
        "queued",
        "error",
        "auth ok",
    ];
    check_complete(messages.iter().map(name), &all);
    check_written(
        "json boards server",
        &messages.map(|message| written(|out| message.write(out))),
    );
}

#[test]
fn workspaces() {
    use workspaces::{ClientMessage, Location, ServerMessage, User, decode};
    let at_board = Location {
        current_path: "/projects/7/board".into(),
        resource_type: Some("project".into()),
        resource_id: Some("7".into()),
    };
    let at_home = Location {
        current_path: "/".into(),
        ..Location::default()
    };
    let expected = [
        ClientMessage::Update(at_board.clone()),
        ClientMessage::Update(at_home),
        ClientMessage::Auth {
            token: TOKEN.into(),
        },
    ];
    let name = |message: &ClientMessage<'_>| match message {
        ClientMessage::Update(_) => "update",
        ClientMessage::Auth { .. } => "auth",
    };
    check_complete(expected.iter().map(name), &["update", "auth"]);
    check_read(
        "json workspaces client",
        |text| decode(text).expect(text),
        &expected,
    );

    let image = Some("https://example.org/ben.png");
    let users = [
        User {
            user: "ann",
            name: "Ann",
            image: None,
            location: at_board.clone(),
        },
        User {
            user: "ben",
            name: "Ben",
            image,
            location: Location::default(),
        },
    ];
    let (user, name) = ("cid", "Cid");
    let messages = [
        ServerMessage::Snapshot { users: &users },
        ServerMessage::UserJoined {
            user,
            name,
            image: None,
        },
        ServerMessage::Changed {
            user,
            name,
            location: &at_board,
        },
        ServerMessage::UserLeft { user },
        ServerMessage::Error(Complaint::BadMessage),
        ServerMessage::AuthOk {
            expires_at_millis: EXP_MILLIS,
        },
    ];
    let name = |message: &ServerMessage<'_>| match message {
        ServerMessage::Snapshot { .. } => "snapshot",
        ServerMessage::UserJoined { .. } => "joined",
        ServerMessage::Changed { .. } => "changed",
        ServerMessage::UserLeft { .. } => "left",
        ServerMessage::Error(_) => "error",
        ServerMessage::AuthOk { .. } => "auth ok",
    };
    let all = ["snapshot", "joined", "changed", "left", "error", "auth ok"];
    check_complete(messages.iter().map(name), &all);
    let written = messages.map(|message| written(|out| message.write(out)));
    check_written("json workspaces server", &written);
}

#[test]
fn feed() {
    use feed::{ClientMessage, ServerMessage, State, Status, StatusUpdate, decode};
    let expected = [
        ClientMessage::Login {
            token: None,
            resume: None,
            first: StatusUpdate {
                status: Some(Status::Online),
                ..StatusUpdate::default()
            },
        },
        ClientMessage::Login {
            token: Some(TOKEN.into()),
            resume: Some("ab12".into()),
            first: StatusUpdate::default(),
        },
        ClientMessage::Login {
            token: None,
            resume: None,
            first: StatusUpdate {
                status: Some(Status::Invisible),
                activity: Some("Coding".into()),
                project: Some("copresence".into()),
                language: Some("Rust".into()),
            },
        },
        ClientMessage::StatusUpdate(StatusUpdate {
            status: Some(Status::Online),
            activity: Some("Coding".into()),
            project: Some("copresence".into()),
            language: Some("Rust".into()),
        }),
        ClientMessage::StatusUpdate(StatusUpdate {
            status: Some(Status::Invisible),
            ..StatusUpdate::default()
        }),
        ClientMessage::Logout,
        ClientMessage::Auth {
            token: TOKEN.into(),
        },
    ];
    let name = |message: &ClientMessage<'_>| match message {
        ClientMessage::Login { .. } => "login",
        ClientMessage::StatusUpdate(_) => "status update",
        ClientMessage::Logout => "logout",
        ClientMessage::Auth { .. } => "auth",
    };
    check_complete(
        expected.iter().map(name),
        &["login", "status update", "logout", "auth"],
    );
    check_read(
        "json feed client",
        |text| decode(text).expect(text),
        &expected,
    );

    let seen_millis = Some(1_795_249_800_123);
    let coding = State::Online {
        status: "Online",
        activity: "Coding",
        project: "copresence",
        language: "Rust",
    };
    let resting = State::Online {
        status: "Away",
        activity: "Idle",
        project: "",
        language: "",
    };
    let users = [
        ("ann", coding),
        ("ben", State::Offline { seen_millis }),
        ("cid", State::Offline { seen_millis: None }),
    ];
    let window = Duration::from_secs(60);
    let messages = [
        ServerMessage::Hello {
            resume: "ab12",
            window,
            is_resumed: false,
            seen_as: "Online",
        },
        ServerMessage::Sync { users: &users },
        ServerMessage::Changed {
            user: "ann",
            status: None,
            activity: Some("Debugging"),
            project: None,
            language: Some("TypeScript"),
        },
        ServerMessage::State {
            user: "ben",
            state: resting,
        },
        ServerMessage::State {
            user: "ann",
            state: State::Offline { seen_millis },
        },
        ServerMessage::Error(Complaint::BadToken),
        ServerMessage::AuthOk {
            expires_at_millis: EXP_MILLIS,
        },
    ];
    let name = |message: &ServerMessage<'_>| match message {
        ServerMessage::Hello { .. } => "hello",
        ServerMessage::Sync { .. } => "sync",
        ServerMessage::Changed { .. } => "u",
        ServerMessage::State {
            state: State::Online { .. },
            ..
        } => "o",
        ServerMessage::State {
            state: State::Offline { .. },
            ..
        } => "x",
        ServerMessage::Error(_) => "error",
        ServerMessage::AuthOk { .. } => "auth ok",
    };
    check_complete(
        messages.iter().map(name),
        &["hello", "sync", "u", "o", "x", "error", "auth ok"],
    );
    check_written(
        "json feed server",
        &messages.map(|message| written(|out| message.write(out))),
    );
}

#[test]
fn heartbeats() {
    let room = RoomName::parse("event/expo/stand-1").expect("a name");
    let bare = Heartbeat {
        room: room.clone(),
        session: "tab-1".into(),
        interval: None,
        doing: None,
        data: None,
    };
    let full = Heartbeat {
        interval: Some(Duration::from_secs(30)),
        doing: Some(Doing::Typing),
        data: Some(r#"{"page":"/booths"}"#.into()),
        ..bare.clone()
    };
    let read = |text: &'static str| heartbeat::decode(text.as_bytes()).expect(text);
    check_read("json heartbeat request", read, &[bare, full]);
    let answer = |has_left| heartbeat::answer(&"bV2pJ0".into(), has_left).into_bytes();
    check_written("json heartbeat answer", &[answer(false), answer(true)]);
    let session = "tab-1".into();
    let leaves = [
        Leave::Token("bV2pJ0".into()),
        Leave::Session { room, session },
    ];
    let read = |text: &'static str| heartbeat::decode_leave(text.as_bytes()).expect(text);
    check_read("json leave request", read, &leaves);
}

#[test]
fn close_codes() {
    let rows: BTreeSet<(u16, String)> = PAGE
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let code: u16 = cells.next()?.parse().ok()?;
            let reasons = cells.next()?.split(", ");
            Some(reasons.map(move |reason| (code, reason.trim_matches('`').to_owned())))
        })
        .flatten()
        .collect();
    let all = std::iter::successors(Some(Refusal::BadRoom), |&refusal| after(refusal));
    let known: BTreeSet<_> = all
        .map(|refusal| (refusal.code(), refusal.reason().to_owned()))
        .collect();
    assert_eq!(rows, known);
}

/// Walks through all refusals. A new one does not compile until it is put in line here.
fn after(refusal: Refusal) -> Option<Refusal> {
    Some(match refusal {
        Refusal::BadRoom => Refusal::BadMessage,
        Refusal::BadMessage => Refusal::BadUpdate,
        Refusal::BadUpdate => Refusal::BadFrame,
        Refusal::BadFrame => Refusal::Unauthorized,
        Refusal::Unauthorized => Refusal::TokenExpired,
        Refusal::TokenExpired => Refusal::Revoked,
        Refusal::Revoked => Refusal::LimitToken,
        Refusal::LimitToken => Refusal::Forbidden,
        Refusal::Forbidden => Refusal::HeartbeatTimeout,
        Refusal::HeartbeatTimeout => Refusal::Replaced,
        Refusal::Replaced => Refusal::InvalidUtf8,
        Refusal::InvalidUtf8 => Refusal::RateLimited,
        Refusal::RateLimited => Refusal::LimitMessage,
        Refusal::LimitMessage => Refusal::LimitDocument,
        Refusal::LimitDocument => Refusal::LimitDocuments,
        Refusal::LimitDocuments => Refusal::Draining,
        Refusal::Draining => Refusal::BoardFull,
        Refusal::BoardFull => Refusal::LimitConnections,
        Refusal::LimitConnections => Refusal::StoreDown,
        Refusal::StoreDown => Refusal::StoreDamaged,
        Refusal::StoreDamaged => Refusal::KeysDown,
        Refusal::KeysDown => Refusal::Slow,
        Refusal::Slow => Refusal::TryAgain,
        Refusal::TryAgain => return None,
    })
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}
