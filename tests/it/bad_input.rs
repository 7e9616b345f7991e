//! Bad input costs its sender the connection, with a code and a reason, and nobody else anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use yrs::Map;

use crate::support::client::{Client, Provider};
use crate::support::document::Document;
use crate::support::frames::{self, Message, Writer};
use crate::support::random::Random;
use crate::support::raw::{self, Ended, RawSocket, Shape};
use crate::support::relay::Relay;
use crate::support::time::{PATIENCE, now, percentile};
use crate::support::{http, tokens};

const SHARED: &str = "session/shared";

/// Updates that no client makes and that are known to hurt: memory, stack, or the whole process.
fn forged_updates() -> Vec<(&'static str, Vec<u8>)> {
    let nested = [
        &[1, 1, 1, 0, 8, 1, 1, 97, 1][..],
        &[117, 1].repeat(10_000),
        &[126, 0],
    ]
    .concat();
    vec![
        (
            "an unknown kind of parent",
            vec![1, 1, 2, 5, 146, 69, 2, 0, 1, 51, 0],
        ),
        (
            "a clock at the end of the numbers",
            vec![
                1, 1, 240, 162, 4, 255, 255, 255, 255, 255, 255, 255, 15, 4, 1, 1, 116, 1, 10, 0,
            ],
        ),
        (
            "a gap of four thousand million",
            vec![1, 1, 7, 0, 0, 255, 255, 255, 255, 15, 0],
        ),
        ("a giant count", vec![0x80, 0x80, 0x80, 0x80, 1]),
        ("ten thousand levels", nested),
        ("no bytes", vec![]),
        ("half an update", vec![1, 1, 5, 0, 4, 1, 1, 116, 5, b'h']),
        ("bytes behind the end", vec![0, 0, 0]),
    ]
}

async fn sync_socket(address: SocketAddr, room: &str) -> RawSocket {
    let token = tokens::member("mallory");
    RawSocket::open(address, &format!("/sync/{room}?token={token}")).await
}

async fn collab_socket(address: SocketAddr, room: &str) -> RawSocket {
    let mut socket = RawSocket::open(address, "/collab").await;
    let token = tokens::member("mallory");
    assert!(socket.say(&frames::token(room, &token, None)).await);
    assert!(socket.say(&frames::named(room, &frames::step1(&[0]))).await);
    let is_welcome =
        |message: &[u8]| is_message(message, |it| matches!(it, Message::Authenticated(_)));
    socket.heard_that(is_welcome).await.expect("a good token");
    socket
}

/// Whether a Hocuspocus frame carries a message like this.
fn is_message(frame: &[u8], fits: impl Fn(Message) -> bool) -> bool {
    frames::split_name(frame)
        .and_then(|(_, message)| frames::read(message))
        .is_some_and(fits)
}

#[tokio::test]
async fn every_known_forged_update_is_refused_on_sync() {
    let relay = Relay::start();
    let ann = Client::join(&relay, Provider::YWebsocket, SHARED, &tokens::member("ann")).await;
    let ben = Client::join(
        &relay,
        Provider::Hocuspocus4,
        SHARED,
        &tokens::member("ben"),
    )
    .await;
    for (name, update) in forged_updates() {
        for frame in [frames::update(&update), frames::step2(&update)] {
            let mut socket = sync_socket(relay.address, SHARED).await;
            assert!(socket.say(&frame).await);
            let ended = socket.ended().await;
            assert_eq!(
                ended,
                Ended::Closed(4400, "BAD_UPDATE".to_owned()),
                "{name}"
            );
        }
        let before = ben.text();
        ann.write("x");
        ben.until_text(&format!("{before}x")).await;
    }
    assert!(
        http::document(relay.address, SHARED)
            .await
            .text()
            .starts_with("xxx")
    );
}

#[tokio::test]
async fn on_collab_a_forged_update_ends_that_document_and_no_other() {
    let relay = Relay::start();
    for (name, update) in forged_updates() {
        let mut socket = collab_socket(relay.address, "session/a").await;
        let token = tokens::member("mallory");
        assert!(socket.say(&frames::token("session/b", &token, None)).await);
        assert!(
            socket
                .say(&frames::named("session/a", &frames::update(&update)))
                .await
        );
        let is_denial = |frame: &[u8]| is_message(frame, |it| it == Message::Denied("BAD_UPDATE"));
        let denial = socket
            .heard_that(is_denial)
            .await
            .unwrap_or_else(|end| panic!("{name}: {end:?}"));
        assert_eq!(frames::split_name(&denial).unwrap().0, "session/a");
        // The other document on the socket goes on.
        let edit = Document::new(99).edit(|document, transaction| {
            document.map.insert(transaction, "key", "value");
        });
        assert!(
            socket
                .say(&frames::named("session/b", &frames::update(&edit)))
                .await
        );
        let is_saved = |frame: &[u8]| {
            frames::split_name(frame).is_some_and(|(name, _)| name == "session/b")
                && is_message(frame, |it| it == Message::SyncStatus(true))
        };
        socket
            .heard_that(is_saved)
            .await
            .unwrap_or_else(|end| panic!("{name}: {end:?}"));
    }
}

#[tokio::test]
async fn a_normal_update_after_a_forged_one_of_the_same_client_does_no_harm() {
    let relay = Relay::start();
    // Client 70,000 is the forged update's; what follows it once made a library abort.
    let normal = Document::new(70_000).edit(|document, transaction| {
        document.map.insert(transaction, "t", 1);
    });
    let (_, forged) = &forged_updates()[1];
    let mut socket = sync_socket(relay.address, SHARED).await;
    assert!(socket.say(&frames::update(forged)).await);
    socket.say(&frames::update(&normal)).await;
    assert_eq!(
        socket.ended().await,
        Ended::Closed(4400, "BAD_UPDATE".to_owned())
    );
    let ann = Client::join(&relay, Provider::YWebsocket, SHARED, &tokens::member("ann")).await;
    ann.send(frames::update(&normal));
    let ben = Client::join(
        &relay,
        Provider::Hocuspocus4,
        SHARED,
        &tokens::member("ben"),
    )
    .await;
    ben.until("the normal update", |state| {
        state.document.map_value("t").is_some()
    })
    .await;
}

#[tokio::test]
async fn undecodable_messages_close_with_bad_message() {
    let relay = Relay::start();
    let giant = [0x80, 0x80, 0x80, 0x80, 1];
    let awareness = |payload: &[u8]| Writer::default().varuint(1).bytes(payload).0;
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    let cases = [
        ("an unknown type", vec![120]),
        ("an unknown sync message", vec![0, 9, 0]),
        ("a type and nothing else", vec![0]),
        ("a length beyond the end", vec![0, 2, 0xff, 0xff, 0x03, 1]),
        ("a number without an end", vec![0x80; 12]),
        ("a giant state vector", frames::step1(&giant)),
        ("half a state vector", frames::step1(&[2, 1, 1])),
        ("half an awareness entry", awareness(&[1, 5])),
        (
            "awareness that is no JSON",
            frames::awareness(&[(5, 1, "{")]),
        ),
        (
            "awareness that is no UTF-8",
            awareness(&[1, 5, 1, 3, b'"', 0xff, b'"']),
        ),
        (
            "awareness that is too deep",
            frames::awareness(&[(5, 1, &deep)]),
        ),
        (
            "a clock without an end",
            frames::awareness(&[(5, u64::from(u32::MAX), "{}")]),
        ),
        (
            "a client id beyond JavaScript",
            frames::awareness(&[(1 << 53, 1, "{}")]),
        ),
    ];
    for (name, frame) in cases {
        let mut socket = sync_socket(relay.address, SHARED).await;
        assert!(socket.say(&frames::step1(&[0])).await);
        assert!(socket.say(&frame).await);
        let ended = socket.ended().await;
        assert_eq!(
            ended,
            Ended::Closed(4400, "BAD_MESSAGE".to_owned()),
            "{name}"
        );
    }
    // A count that the bytes cannot hold is no message, whatever the limit.
    let mut socket = sync_socket(relay.address, SHARED).await;
    assert!(socket.say(&awareness(&giant)).await);
    assert_eq!(
        socket.ended().await,
        Ended::Closed(4400, "BAD_MESSAGE".to_owned())
    );
    for (name, frame) in [
        ("no name", vec![5, b'a']),
        ("an unknown type", frames::named("session/a", &[99])),
        ("a name that is no UTF-8", vec![2, 0xc3, 0x28, 0, 0, 1, 0]),
        (
            "a message that only servers send each other",
            frames::named("session/a", &[6, 1, b'x']),
        ),
    ] {
        let mut socket = collab_socket(relay.address, "session/a").await;
        assert!(socket.say(&frame).await);
        let ended = socket.ended().await;
        assert_eq!(
            ended,
            Ended::Closed(4400, "BAD_MESSAGE".to_owned()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn strangers_on_collab_are_answered_as_long_as_they_may_stay() {
    let relay = Relay::start();
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    socket
        .fence()
        .await
        .expect("a stranger may ask whether the relay is there");
    for state_vector in [&[0][..], &[0, 0, 0], &[2, 1, 1]] {
        let step1 = frames::named(SHARED, &frames::step1(state_vector));
        assert!(socket.say(&step1).await);
        socket
            .fence()
            .await
            .expect("a stranger is denied the document, not the socket");
    }
}

#[tokio::test]
async fn text_frames_are_ignored_on_both_doors() {
    let relay = Relay::start();
    let text = Shape::of(raw::TEXT).write(br#"{"type":"hello"}"#);
    let mut socket = sync_socket(relay.address, SHARED).await;
    assert!(socket.send(&text).await);
    socket.fence().await.expect("a text frame ended /sync");
    let mut socket = collab_socket(relay.address, SHARED).await;
    assert!(socket.send(&text).await);
    socket.fence().await.expect("a text frame ended /collab");
}

#[tokio::test]
async fn broken_websocket_frames_close_with_a_code() {
    let relay = Relay::start();
    let shape = |change: fn(&mut Shape)| {
        let mut shape = Shape::of(raw::BINARY);
        change(&mut shape);
        shape.write(&frames::query_awareness())
    };
    let two = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let cases = [
        ("no mask", 1002, shape(|shape| shape.mask = None)),
        ("reserved bits", 1002, shape(|shape| shape.reserved = 4)),
        ("a reserved opcode", 1002, Shape::of(3).write(b"")),
        ("a reserved control opcode", 1002, Shape::of(0xb).write(b"")),
        (
            "a fragmented ping",
            1002,
            shape(|shape| (shape.opcode, shape.is_last) = (raw::PING, false)),
        ),
        (
            "a ping that is too long",
            1002,
            Shape::of(raw::PING).write(&[0; 126]),
        ),
        (
            "a continuation of nothing",
            1002,
            shape(|shape| shape.opcode = raw::CONTINUATION),
        ),
        (
            "a message inside a message",
            1002,
            two(shape(|shape| shape.is_last = false), shape(|_| ())),
        ),
        (
            "a length with the top bit",
            1002,
            shape(|shape| shape.claimed_length = Some(1 << 63)),
        ),
        (
            "a giant length",
            1009,
            shape(|shape| shape.claimed_length = Some(1 << 40)),
        ),
        (
            "text that is no UTF-8",
            1007,
            Shape::of(raw::TEXT).write(&[0xff, 0xfe]),
        ),
        ("half a close code", 1002, Shape::of(raw::CLOSE).write(&[3])),
    ];
    for (name, code, bytes) in cases {
        let mut socket = sync_socket(relay.address, SHARED).await;
        assert!(socket.send(&bytes).await);
        match socket.ended().await {
            Ended::Closed(got, reason) => {
                assert_eq!(got, code, "{name}: {reason}");
                assert!(!reason.is_empty(), "{name}: no reason given");
            }
            Ended::Cut => panic!("{name}: cut off without a close frame"),
        }
    }
}

#[tokio::test]
async fn messages_in_fragments_with_pings_between_are_understood() {
    let relay = Relay::start();
    let ann = Client::join(&relay, Provider::YWebsocket, SHARED, &tokens::member("ann")).await;
    let mut socket = sync_socket(relay.address, SHARED).await;
    let edit = Document::new(55).edit(|document, transaction| {
        document.map.insert(transaction, "pieces", "joined");
    });
    let message = frames::update(&edit);
    let last = message.len() - 1;
    for (at, byte) in message.iter().enumerate() {
        let mut shape = Shape::of(if at == 0 {
            raw::BINARY
        } else {
            raw::CONTINUATION
        });
        shape.is_last = at == last;
        shape.is_wasteful = false;
        // Every frame in two writes: the relay sees it cut anywhere.
        let frame = shape.write(&[*byte]);
        assert!(socket.send(&frame[..frame.len() / 2]).await);
        assert!(socket.send(&frame[frame.len() / 2..]).await);
        assert!(socket.send(&Shape::of(raw::PING).write(b"between")).await);
    }
    ann.until("a message in pieces", |state| {
        state.document.map_value("pieces").is_some()
    })
    .await;
}

/// How many seeded cases the next test tries.
fn case_count() -> usize {
    let text = std::env::var("TEST_COPRESENCE_FUZZ_CASES");
    text.map_or(100_000, |text| {
        text.parse()
            .expect("TEST_COPRESENCE_FUZZ_CASES is a number")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_bad_messages_disturb_nobody() {
    let mut relay = Relay::options().alone().argument("--rate=1000000").start();
    let address = relay.address;
    let ann = Client::join(&relay, Provider::YWebsocket, SHARED, &tokens::member("ann")).await;
    let ben = Client::join(
        &relay,
        Provider::Hocuspocus4,
        SHARED,
        &tokens::member("ben"),
    )
    .await;
    let cases = case_count();
    let workers = 4;
    let mut waits = Vec::new();
    let mut tally = Tally::default();
    let mut memory_before = 0;
    // The first tenth warms up: pages that are touched once stay.
    for (round, part) in [cases / 10, cases - cases / 10].into_iter().enumerate() {
        let tasks: Vec<_> = (0..workers)
            .map(|worker| {
                let fuzzer = Fuzzer::new(address, (round * workers + worker) as u64);
                tokio::spawn(fuzzer.run(part / workers))
            })
            .collect();
        let mut beat = 0;
        while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
            beat += 1;
            let (from, to, key) = if beat % 2 == 0 {
                (&ann, &ben, "from ann")
            } else {
                (&ben, &ann, "from ben")
            };
            let started = now();
            from.edit(|document, transaction| {
                document.map.insert(transaction, key, beat.to_string());
            });
            let value = format!("{beat}");
            let arrived = to.until("an edit amid bad input", |state| {
                state.document.map_value(key).as_deref() == Some(&value)
            });
            arrived.await;
            waits.push(now() - started);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for task in tasks {
            tally.add(task.await.expect("a case went wrong; it is named above"));
        }
        if round == 0 {
            memory_before = relay.memory();
        }
    }
    let memory_after = relay.memory();
    println!(
        "{tally:?}; memory {memory_before} -> {memory_after}; {} edits",
        waits.len()
    );
    assert!(relay.is_running());
    assert!(
        cases / 10 <= tally.closed.values().sum::<usize>(),
        "hardly anything was refused"
    );
    assert!(0 < tally.survived, "no socket survived anything");
    let grown = memory_after.saturating_sub(memory_before);
    assert!(grown < 48 << 20, "the relay grew by {grown} bytes");
    let p99 = percentile(&mut waits, 0.99);
    assert!(
        p99 < Duration::from_millis(500),
        "an innocent edit took {p99:?}"
    );
    ann.write("the end");
    ben.until_text("the end").await;
    let token = tokens::member("newcomer");
    let newcomer = Client::join(&relay, Provider::YWebsocket, SHARED, &token).await;
    newcomer.until_text("the end").await;
}

/// What became of the cases.
#[derive(Debug, Default)]
struct Tally {
    survived: usize,
    closed: BTreeMap<(u16, String), usize>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.survived += other.survived;
        for (ending, count) in other.closed {
            *self.closed.entry(ending).or_default() += count;
        }
    }
}

/// Where a case strikes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Position {
    /// Instead of an upgrade.
    Handshake,
    /// On `/sync`, where others edit.
    Sync,
    /// On `/sync`, in a room of its own: what may be a valid update after all.
    SyncAside,
    CollabBeforeAuth,
    Collab,
    CollabAside,
}

/// One attacker, with one socket for each position, kept until the relay closes it.
struct Fuzzer {
    address: SocketAddr,
    worker: u64,
    sockets: BTreeMap<Position, RawSocket>,
    tally: Tally,
}

impl Fuzzer {
    fn new(address: SocketAddr, worker: u64) -> Self {
        Self {
            address,
            worker,
            sockets: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    async fn run(mut self, cases: usize) -> Tally {
        for number in 0..cases {
            let seed = self.worker << 32 | number as u64;
            let mut random = Random::new(seed);
            let position = match random.below(40) {
                0 => Position::Handshake,
                1..=9 => Position::Sync,
                10..=19 => Position::SyncAside,
                20..=24 => Position::CollabBeforeAuth,
                25..=31 => Position::Collab,
                _ => Position::CollabAside,
            };
            if number % 500 == 0 {
                // The rooms aside are left behind, so that no document grows for ever.
                self.sockets.remove(&Position::SyncAside);
                self.sockets.remove(&Position::CollabAside);
            }
            self.strike(position, &mut random, seed).await;
        }
        self.tally
    }

    fn room(&self, position: Position, seed: u64) -> String {
        match position {
            Position::SyncAside | Position::CollabAside => {
                format!(
                    "session/aside-{}-{}",
                    self.worker,
                    (seed & 0xffff_ffff) / 500
                )
            }
            _ => SHARED.to_owned(),
        }
    }

    async fn strike(&mut self, position: Position, random: &mut Random, seed: u64) {
        if position == Position::Handshake {
            return self.strike_handshake(random).await;
        }
        let room = self.room(position, seed);
        let mut socket = match self.sockets.remove(&position) {
            Some(socket) => socket,
            None => match position {
                Position::Sync | Position::SyncAside => sync_socket(self.address, &room).await,
                Position::CollabBeforeAuth => RawSocket::open(self.address, "/collab").await,
                _ => collab_socket(self.address, &room).await,
            },
        };
        let may_be_valid = matches!(position, Position::SyncAside | Position::CollabAside);
        let is_collab = !matches!(position, Position::Sync | Position::SyncAside);
        let (bytes, is_whole) = if random.one_in(5) {
            bad_frame(random)
        } else {
            let message = bad_message(random, may_be_valid);
            let message = match is_collab && !random.one_in(4) {
                true => frames::named(&room, &message),
                false => message,
            };
            (raw::binary(&message), true)
        };
        let is_sent = socket.send(&bytes).await;
        if is_sent && !is_whole {
            // Half a frame and then nothing: the relay is not to wait for ever, nor to mind.
            self.tally.survived += 1;
            return if random.one_in(2) {
                socket.reset()
            };
        }
        let outcome = tokio::time::timeout(PATIENCE / 2, socket.fence()).await;
        let Ok(outcome) = outcome else {
            panic!("seed {seed} at {position:?}: no answer to a ping after {bytes:02x?}")
        };
        match outcome.err() {
            None => {
                self.tally.survived += 1;
                self.sockets.insert(position, socket);
            }
            Some(Ended::Closed(code, reason)) => {
                // A close is answered with its own code.
                let is_answer = bytes[0] & 0x0f == raw::CLOSE;
                let is_known =
                    matches!(code, 1000 | 1002 | 1005 | 1007 | 1008 | 1009 | 4400 | 4401);
                let has_reason = !reason.is_empty() || matches!(code, 1000 | 1005);
                assert!(
                    is_answer || is_known && has_reason,
                    "seed {seed} at {position:?}: {code} {reason:?} for {bytes:02x?}"
                );
                *self.tally.closed.entry((code, reason)).or_default() += 1;
            }
            Some(Ended::Cut) => {
                panic!("seed {seed} at {position:?}: cut off without a word for {bytes:02x?}")
            }
        }
    }

    async fn strike_handshake(&mut self, random: &mut Random) {
        let Ok(mut tcp) = TcpStream::connect(self.address).await else {
            panic!("the relay takes no connections any more");
        };
        let good = format!(
            "GET /sync/{SHARED} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let length = random.below(200);
        let bytes = match random.below(3) {
            0 => random.bytes(length),
            1 => mutated(random, good.as_bytes()),
            _ => good.as_bytes()[..random.below(good.len())].to_vec(),
        };
        // The relay may have hung up already.
        let _ = tcp.write_all(&bytes).await;
        self.tally.survived += 1;
    }
}

/// A message that is wrong in some way, or by chance not.
fn bad_message(random: &mut Random, may_be_valid: bool) -> Vec<u8> {
    let length = random.below(64);
    match random.below(if may_be_valid { 10 } else { 8 }) {
        0 => random.bytes(length),
        1 => {
            Writer::default()
                .varuint(0)
                .varuint(random.below(3) as u64)
                .bytes(&random.bytes(length))
                .0
        }
        2 => Writer::default().varuint(1).bytes(&random.bytes(length)).0,
        3 => {
            let good = good_message(random);
            good[..random.below(good.len())].to_vec()
        }
        4 => {
            // A number somewhere becomes giant.
            let mut good = good_message(random);
            let at = random.below(good.len());
            let giant = *random.pick(&[1 << 14, 1 << 28, 1 << 31, 1 << 53, u64::MAX]);
            good.splice(at..=at, Writer::default().varuint(giant).0);
            // What stays behind may still be a small valid update; as awareness it is none.
            if good[0] == 0 && good.get(1) != Some(&0) {
                good[1] = 3 + random.below(100) as u8;
            }
            good
        }
        5 => {
            let states = [
                "{",
                "nul",
                "\"",
                "{\"a\":}",
                "[1,]",
                "\u{0}",
                "{\"a\":1}x",
                "1e",
                "\"\\ud8\"",
            ];
            let state = match random.below(12) {
                9 => "[".repeat(random.below(3000)),
                10 => format!("{{\"p\":{}1{}}}", "[".repeat(100), "]".repeat(100)),
                11 => format!("\"{}\"", "x".repeat(70_000)),
                number => states[number].to_owned(),
            };
            frames::awareness(&[(random.next() >> 12, random.below(100) as u64, &state)])
        }
        6 => vec![random.byte(), random.byte() | 0x80],
        7 => {
            let (_, update) = forged_updates().swap_remove(random.below(8));
            match random.below(4) {
                0 => frames::step1(&update),
                1 => frames::step2(&update),
                2 => Writer::default().varuint(1).bytes(&update).0,
                _ => frames::update(&update),
            }
        }
        8 => {
            let good = good_update(random);
            frames::update(&mutated(random, &good))
        }
        _ => frames::update(&grammatical_update(random)),
    }
}

fn good_update(random: &mut Random) -> Vec<u8> {
    // A new author each time: this is about bad bytes, not about two changes by one name.
    let document = Document::new(random.next() >> 12);
    for _ in 0..random.below(4) {
        document.edit_randomly(random);
    }
    document.whole()
}

fn good_message(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => frames::step1(&[1, 5, 9]),
        1 => frames::awareness(&[(random.next() >> 12, 3, r#"{"user":{"name":"m"}}"#)]),
        2 => frames::step2(&good_update(random)),
        _ => frames::update(&good_update(random)),
    }
}

/// Bytes flipped, dropped, doubled and inserted.
fn mutated(random: &mut Random, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => {
                bytes.remove(at);
            }
            3 => bytes.insert(at, random.byte()),
            _ => {
                let end = (at + random.below(8) + 1).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// Something with the outline of an update, and any contents.
fn grammatical_update(random: &mut Random) -> Vec<u8> {
    let mut update = Writer::default().varuint(1).varuint(1);
    let client = random.next() >> 12;
    update = update.varuint(client).varuint(random.below(3) as u64);
    let info = *random.pick(&[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x44, 0x84, 0xc4, 0x24, 0x28,
    ]);
    update = update.varuint(info);
    for _ in 0..random.below(5) {
        update = match random.below(3) {
            0 => update.varuint(random.below(4) as u64),
            1 => update.bytes(b"text"),
            _ => update.varuint(random.next() >> random.below(64)),
        };
    }
    for _ in 0..random.below(3) {
        update = update.varuint(random.below(3) as u64);
    }
    update.0
}

/// Bytes that break RFC 6455; and whether they end where a frame would.
fn bad_frame(random: &mut Random) -> (Vec<u8>, bool) {
    let mut shape = Shape::of(*random.pick(&[raw::TEXT, raw::BINARY, raw::CONTINUATION]));
    let length = random.below(40);
    let payload = random.bytes(length);
    match random.below(11) {
        0 => shape.mask = None,
        1 => shape.reserved = random.below(7) as u8 + 1,
        2 => shape.opcode = *random.pick(&[3, 4, 5, 6, 7, 11, 12, 13, 14, 15]),
        3 => {
            shape.opcode = *random.pick(&[8, 9, 10]);
            shape.is_last = false;
        }
        4 => return (Shape::of(raw::PING).write(&[7; 200]), true),
        5 => shape.claimed_length = Some(random.next() | 1 << 40),
        6 => shape.is_wasteful = true,
        7 => shape.opcode = raw::CLOSE,
        // A message begins and is not ended; the next one is the mistake.
        8 => shape.is_last = false,
        9 => {
            let whole = shape.write(&payload);
            return (whole[..random.below(whole.len())].to_vec(), false);
        }
        _ => {
            shape.opcode = raw::TEXT;
            return (shape.write(&[0xff, 0xc0, 0x80]), true);
        }
    }
    (shape.write(&payload), true)
}
