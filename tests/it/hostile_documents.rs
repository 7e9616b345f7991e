//! Updates that no CRDT library survives: the relay does, nobody in other rooms notices, and it does so
//! again after a restart, as do the commands.

use std::time::Duration;

use crate::support::frames::{self, Message};
use crate::support::raw::RawSocket;
use crate::support::relay::{self, Relay};
use crate::support::time::{now, polled};
use crate::support::tokens;
use crate::support::{hostile, http};

/// Rooms in which two people type meanwhile.
const INNOCENT_ROOMS: usize = 6;
/// How much larger than in the unit tests: a million types within types.
const SCALE: u64 = 10;

/// Two people who take turns.
struct Pair {
    sockets: [RawSocket; 2],
    keys: u64,
    slowest: Duration,
}

impl Pair {
    async fn join(relay: &Relay, number: usize) -> Self {
        let open = async |user: &str| {
            let path = format!(
                "/sync/session/innocent-{number}?token={}",
                tokens::member(user)
            );
            let mut socket = RawSocket::open(relay.address, &path).await;
            socket.say(&frames::step1(&[0])).await;
            socket.heard_that(is_content).await.unwrap();
            socket
        };
        Self {
            sockets: [open("ann").await, open("ben").await],
            keys: 0,
            slowest: Duration::ZERO,
        }
    }

    /// One types, and the other has it.
    async fn type_key(&mut self) {
        let clock = (self.keys / 2) as u8;
        let [ann, ben] = &mut self.sockets;
        let (writer, reader, client) = match self.keys % 2 {
            0 => (ann, ben, 7),
            _ => (ben, ann, 8),
        };
        self.keys += 1;
        // Each by itself at the beginning of the text: nobody waits for anybody.
        let key = [1, 1, client, clock & 0x7f, 4, 1, 1, b't', 1, b'x', 0];
        let started = now();
        assert!(writer.say(&frames::update(&key)).await);
        reader.heard_that(is_content).await.unwrap();
        self.slowest = self.slowest.max(now() - started);
    }
}

fn is_content(frame: &[u8]) -> bool {
    matches!(frames::read(frame), Some(Message::Update { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_crdt_libraries_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Relay::options().alone().data(folder.path()).start();
    let mut relay = start();
    let mut pairs = Vec::new();
    for number in 0..INNOCENT_ROOMS {
        pairs.push(Pair::join(&relay, number).await);
    }
    for pair in &mut pairs {
        pair.type_key().await;
    }
    let kinds = hostile::all(SCALE);
    let before = relay.memory();
    let mut sent = 0;
    for (number, (name, updates)) in kinds.iter().enumerate() {
        let path = format!(
            "/sync/session/hostile-{number}?token={}",
            tokens::member("eve")
        );
        let mut eve = RawSocket::open(relay.address, &path).await;
        eve.say(&frames::step1(&[0])).await;
        eve.heard_that(is_content).await.unwrap();
        for update in updates {
            assert!(eve.say(&frames::update(update)).await, "{name}");
            sent += update.len() as u64;
            for pair in &mut pairs {
                if pair.keys < 250 {
                    pair.type_key().await;
                }
            }
        }
        // Whoever joins has it integrated, today by nobody.
        let mut joiner = RawSocket::open(relay.address, &path).await;
        joiner.say(&frames::step1(&[0])).await;
        let answer = joiner.heard_that(is_content).await;
        assert!(answer.is_ok(), "{name}: {answer:?}");
        for pair in &mut pairs {
            pair.type_key().await;
        }
        println!("{name}: sent, and joined");
    }
    assert!(relay.is_running());
    for number in 0..kinds.len() {
        let path = format!("/v1/rooms/session/hostile-{number}/document");
        polled("a document on disk", async || {
            let answer = http::get(relay.address, &path, &tokens::service()).await;
            (answer.header("x-copresence-durable") == Some("true")).then_some(())
        })
        .await;
    }
    let grown = relay.memory().saturating_sub(before);
    assert!(
        grown <= 3 * sent + (64 << 20),
        "it grew by {grown} for {sent} bytes"
    );
    let slowest = pairs
        .iter()
        .map(|pair| pair.slowest)
        .max()
        .unwrap_or_default();
    println!("an innocent key took {slowest:?} at most; memory grew by {grown} for {sent} bytes");
    // A busy machine has pauses of its own; what this is about never ended.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    relay.kill();
    drop(relay);

    let relay = start();
    for (number, (name, _)) in kinds.iter().enumerate() {
        let path = format!(
            "/sync/session/hostile-{number}?token={}",
            tokens::member("eve")
        );
        let mut joiner = RawSocket::open(relay.address, &path).await;
        joiner.say(&frames::step1(&[0])).await;
        let answer = joiner.heard_that(is_content).await;
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
    drop(relay);
    let data = format!("--data={}", folder.path().display());
    let (status, _, said) = relay::run(&["check", &data]);
    assert!(status.success(), "{said}");
    for number in 0..kinds.len() {
        let room = format!("session/hostile-{number}");
        let out = format!("--out={}", folder.path().join("exported").display());
        let (status, _, said) = relay::run(&["export", &room, &data, &out]);
        assert!(status.success(), "{room}: {said}");
    }
}
