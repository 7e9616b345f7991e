//! What whoever runs the relay sees in the log, in the metrics and in headers.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use yrs::Text;

use crate::support::client::{Client, Provider};
use crate::support::document::Document;
use crate::support::frames;
use crate::support::http::{self, Events};
#[cfg(feature = "postgres")]
use crate::support::postgres::Postgres;
use crate::support::raw::{self, RawSocket, Shape};
use crate::support::relay::Relay;
use crate::support::talker::Talker;
use crate::support::time::{PATIENCE, polled, within};
use crate::support::tokens::{self, Claims, member};

/// Every series with its value.
async fn metrics(relay: &Relay) -> BTreeMap<String, f64> {
    let answer = http::get(relay.address, "/metrics", "").await;
    let text = String::from_utf8(answer.body).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Waits until a series has this value.
async fn until(relay: &Relay, series: &str, value: f64) {
    let what = format!("{series} to be {value}");
    polled(&what, async || {
        let metrics = metrics(relay).await;
        let found = metrics.get(series);
        let found = found.unwrap_or_else(|| panic!("{series} in {metrics:?}"));
        (*found == value).then_some(())
    })
    .await;
}

/// Changes of one author, each of which stands on the one before.
fn chain() -> [Vec<u8>; 3] {
    let author = Document::new(90);
    ["one ", "two ", "three "]
        .map(|word| author.edit(|document, transaction| document.text.push(transaction, word)))
}

async fn document(relay: &Relay, room: &str) -> http::Answer {
    let path = format!("/v1/rooms/{room}/document");
    http::get(relay.address, &path, &tokens::service()).await
}

#[tokio::test]
async fn edits_that_wait_for_others_are_seen() {
    let data = tempfile::tempdir().unwrap();
    let relay = Relay::options().data(data.path()).start();
    let room = "session/gap";
    let [one, two, three] = chain();
    let path = format!("/sync/{room}?token={}", member("ann"));
    let mut ann = RawSocket::open(relay.address, &path).await;
    ann.say(&frames::step1(&[0])).await;
    for update in [&two, &three] {
        ann.say(&frames::update(update)).await;
        // What is read together is put together.
        ann.fence().await.unwrap();
    }
    until(&relay, "copresence_waiting_updates", 2.0).await;
    let waiting = metrics(&relay).await["copresence_waiting_bytes"];
    assert_eq!(waiting, (two.len() + three.len()) as f64);
    // On disk they are, and that is all that the other header speaks of.
    let answer = polled("what waits to be on disk", async || {
        let answer = document(&relay, room).await;
        let is_durable = answer.header("x-copresence-durable") == Some("true");
        is_durable.then_some(answer)
    })
    .await;
    assert_eq!(answer.header("x-copresence-waiting"), Some("2"));
    assert_eq!(Document::of_update(&answer.body).text(), "");
    let state = http::get_json(relay.address, "/live/state", &tokens::service()).await;
    assert_eq!(state["now"]["waitingUpdates"], 2);
    assert_eq!(state["rooms"]["list"][0]["waitingUpdates"], 2);
    assert_eq!(state["rooms"]["list"][0]["isDurable"], true);

    ann.say(&frames::update(&one)).await;
    until(&relay, "copresence_waiting_updates", 0.0).await;
    until(&relay, "copresence_waiting_bytes", 0.0).await;
    let answer = document(&relay, room).await;
    assert_eq!(answer.header("x-copresence-waiting"), Some("0"));
    assert_eq!(Document::of_update(&answer.body).text(), "one two three ");
}

#[tokio::test]
async fn what_waited_in_a_room_that_is_unloaded_is_counted_no_more() {
    let data = tempfile::tempdir().unwrap();
    let config = "[kind.session]\nunload_after_ms = 50\n";
    let relay = Relay::options().data(data.path()).config(config).start();
    let room = "session/gap";
    let path = format!("/sync/{room}?token={}", member("ann"));
    let mut ann = RawSocket::open(relay.address, &path).await;
    let [_, two, _] = chain();
    ann.say(&frames::update(&two)).await;
    until(&relay, "copresence_waiting_updates", 1.0).await;
    drop(ann);
    until(&relay, "copresence_rooms", 0.0).await;
    until(&relay, "copresence_waiting_updates", 0.0).await;
    // And again when it is loaded.
    let answer = document(&relay, room).await;
    assert_eq!(answer.header("x-copresence-waiting"), Some("1"));
}

/// Reads what comes and answers pings, until this has come.
async fn read_until(
    socket: &mut RawSocket,
    what: &str,
    mut has_come: impl FnMut(u8, &[u8]) -> bool,
) {
    within(PATIENCE, what, async {
        loop {
            let frame = socket.next().await.expect("the socket is to stay");
            if frame.opcode == raw::PING {
                let pong = Shape::of(raw::PONG).write(&frame.payload);
                assert!(socket.send(&pong).await);
            }
            if has_come(frame.opcode, &frame.payload) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_byte_that_is_written_to_a_socket_is_counted() {
    let kinds = ["session", "board", "workspace", "feed"];
    let config: String = kinds
        .map(|kind| format!("[kind.{kind}]\nping_every_ms = 200\ndead_after_ms = 5000\n"))
        .concat();
    let relay = Relay::options().config(&config).start();
    let token = member("ann");
    let text = |text: Value| Shape::of(raw::TEXT).write(text.to_string().as_bytes());
    let hocuspocus = frames::token("session/1", &token, Some("4.8.0"));
    let queries = |path: &str| format!("{path}?token={token}");
    for (door, path, said) in [
        (
            "sync",
            queries("/sync/session/1"),
            raw::binary(&frames::step1(&[0])),
        ),
        ("collab", "/collab".to_owned(), raw::binary(&hocuspocus)),
        (
            "boards",
            queries("/ws/boards/1"),
            text(json!({"type": "nonsense", "payload": {}})),
        ),
        (
            "workspaces",
            queries("/parties/presence/presence-1"),
            text(json!({"type": "ping"})),
        ),
        ("feed", queries("/ws/feed"), text(json!({"t": "login"}))),
    ] {
        let mut socket = RawSocket::open(relay.address, &path).await;
        assert!(socket.send(&said).await);
        // An answer of the door or the room, what keeps the link alive, an answer to a ping.
        read_until(&mut socket, "an answer", |opcode, _| {
            matches!(opcode, raw::TEXT | raw::BINARY)
        })
        .await;
        let mut pings = 0;
        read_until(&mut socket, "pings", |opcode, _| {
            pings += usize::from(opcode == raw::PING);
            pings == 4
        })
        .await;
        assert!(socket.send(&Shape::of(raw::PING).write(b"?")).await);
        read_until(&mut socket, "a pong", |opcode, _| opcode == raw::PONG).await;
        let close = Shape::of(raw::CLOSE).write(&1000_u16.to_be_bytes());
        assert!(socket.send(&close).await);
        while within(PATIENCE, "the end", socket.next()).await.is_some() {}
        let connections = format!("copresence_connections{{door=\"{door}\"}}");
        until(&relay, &connections, 0.0).await;
        let counted =
            metrics(&relay).await[&format!("copresence_sent_bytes_total{{door=\"{door}\"}}")];
        assert_eq!(counted, socket.received_bytes as f64, "{door}");
    }
}

#[tokio::test]
async fn how_sockets_end_is_counted() {
    let relay = Relay::options().impatient().start();
    let ends = |how: &str| format!("copresence_connection_ends_total{{ending=\"{how}\"}}");
    let open = async || {
        let path = format!("/sync/session/1?token={}", member("ann"));
        let mut socket = RawSocket::open(relay.address, &path).await;
        socket.fence().await.unwrap();
        socket
    };
    let mut closes = open().await;
    let close = Shape::of(raw::CLOSE).write(&1000_u16.to_be_bytes());
    assert!(closes.send(&close).await);
    until(&relay, &ends("closed"), 1.0).await;
    open().await.reset();
    until(&relay, &ends("lost"), 1.0).await;
    let mut refused = open().await;
    refused.say(b"\xff\xff nonsense").await;
    refused.ended().await;
    until(&relay, &ends("refused"), 1.0).await;
    // Answers no pings.
    let silent = open().await;
    until(&relay, &ends("silent"), 1.0).await;
    drop(silent);
    // Each is counted once, however it went on.
    until(&relay, "copresence_connections{door=\"sync\"}", 0.0).await;
    let metrics = metrics(&relay).await;
    for how in ["closed", "lost", "refused", "silent"] {
        assert_eq!(metrics[&ends(how)], 1.0, "{how}");
    }
}

#[tokio::test]
async fn people_streams_and_windows_are_counted_where_they_are() {
    let config = "[kind.board]\ncapacity = 1\n[kind.feed]\nresume_ms = 50\nlinger_clean_ms = 50\nlinger_lost_ms = 50\n";
    let relay = Relay::options().config(config).start();
    let participants = |kind: &str| format!("copresence_participants{{kind=\"{kind}\"}}");
    let board = "/ws/boards/1";
    let mut ann = Talker::open(relay.address, board, &member("ann")).await;
    ann.hear_that("to be in", |said| said["type"] == "board:joined")
        .await;
    let mut bob = Talker::open(relay.address, board, &member("bob")).await;
    bob.hear_that("to wait", |said| said["type"] == "board:queued")
        .await;
    let place = "/parties/presence/presence-1";
    let mut cid = Talker::open(relay.address, place, &member("cid")).await;
    cid.hear().await;
    let token = Claims::of("dan").sign();
    let mut dan = Talker::open(relay.address, "/ws/feed", &token).await;
    dan.say(json!({"t": "login"})).await;
    dan.hear_that("to be in", |said| said["t"] == "hello").await;
    until(&relay, &participants("board"), 1.0).await;
    until(&relay, &participants("workspace"), 1.0).await;
    until(&relay, &participants("session"), 0.0).await;
    until(&relay, "copresence_people_waiting", 1.0).await;
    until(&relay, "copresence_feed_windows", 1.0).await;
    let path = "/v1/rooms/board/1/presence/stream";
    let mut stream = Events::open(relay.address, path, &tokens::service()).await;
    stream.next().await;
    until(&relay, "copresence_streams", 1.0).await;

    drop((stream, dan));
    until(&relay, "copresence_streams", 0.0).await;
    until(&relay, "copresence_feed_windows", 0.0).await;
    ann.close().await;
    bob.hear_that("to be let in", |said| said["type"] == "board:joined")
        .await;
    until(&relay, "copresence_people_waiting", 0.0).await;
    until(&relay, &participants("board"), 1.0).await;
}

#[tokio::test]
async fn the_limits_in_force_are_among_the_metrics() {
    let relay = Relay::options()
        .argument("--max-connections=321")
        .argument("--rate=77")
        .start();
    let metrics = metrics(&relay).await;
    let limit = |option: &str| metrics[&format!("copresence_limit{{option=\"{option}\"}}")];
    assert_eq!(limit("max-connections"), 321.0);
    assert_eq!(limit("rate"), 77.0);
    assert_eq!(limit("max-message"), (64_u64 << 20) as f64);
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("copresence_build_info{{version=\"{version}\"}}");
    assert_eq!(metrics[&build], 1.0);
    assert_eq!(metrics["copresence_store_up"], 1.0);
    assert_eq!(metrics["copresence_draining"], 0.0);
}

#[tokio::test]
async fn acknowledgements_are_timed() {
    let data = tempfile::tempdir().unwrap();
    let relay = Relay::options().data(data.path()).start();
    let room = "session/timed";
    let ann = Client::join(&relay, Provider::Hocuspocus4, room, &member("ann")).await;
    ann.write("hello");
    ann.until("an acknowledgement", |state| state.unsynced == 0)
        .await;
    let metrics = metrics(&relay).await;
    assert!(1.0 <= metrics["copresence_acknowledgement_seconds_count"]);
    let seconds = metrics["copresence_acknowledgement_seconds_sum"];
    assert!(
        0.0 < seconds && seconds < PATIENCE.as_secs_f64(),
        "{seconds}"
    );
}

#[tokio::test]
async fn the_log_says_what_runs_and_what_comes_of_each_socket() {
    let data = tempfile::tempdir().unwrap();
    let relay = Relay::options()
        .data(data.path())
        .logging("copresence=debug")
        .start();
    let token = member("ann");
    let path = format!("/sync/session/1?token={token}");
    let mut ann = RawSocket::open(relay.address, &path).await;
    ann.fence().await.unwrap();
    ann.say(b"\xff\xff nonsense").await;
    ann.ended().await;
    let mut nobody = RawSocket::open(relay.address, "/sync/session/1").await;
    nobody.ended().await;
    http::ask_with(relay.address, "GET", "/sync/session/1", "", b"").await;
    let has = |log: &str, words: &[&str]| {
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    let address = relay.address.to_string();
    let expected: [&[&str]; 7] = [
        &[
            "INFO",
            "copresence starts",
            env!("CARGO_PKG_VERSION"),
            "copresence.db",
            "dev=false",
        ],
        &["INFO", "listening", &address],
        &[
            "DEBUG",
            "a socket opened",
            "door=\"sync\"",
            "sync/session/1",
            "user=\"ann\"",
        ],
        &[
            "DEBUG",
            "a socket ended",
            "door=\"sync\"",
            "refused",
            "BAD_MESSAGE",
        ],
        &["DEBUG", "Came", "session/1", "ann"],
        &["DEBUG", "TurnedAway(Unauthorized)", "missing"],
        &["DEBUG", "became no socket", "no_websocket"],
    ];
    for words in expected {
        polled(&format!("{words:?} in the log"), async || {
            has(&relay.log(), words).then_some(())
        })
        .await;
    }
    assert!(!relay.log().contains("token="));
}

/// Does what blocks on a thread of its own.
#[cfg(feature = "postgres")]
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_store_that_is_away_is_told_once_and_not_by_each_room() {
    let (server, url) = elsewhere(|| {
        let server = Postgres::begin();
        let url = server.database().url;
        (server, url)
    })
    .await;
    let relay = Relay::options().store(&url).start();
    until(&relay, "copresence_store_up", 1.0).await;
    let server = elsewhere(move || {
        let mut server = server;
        server.stop();
        server
    })
    .await;
    for round in 0..4 {
        for number in 0..6 {
            let answer = document(&relay, &format!("session/{number}")).await;
            assert_eq!(answer.problem(), (503, "STORE_DOWN".to_owned()), "{round}");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        until(&relay, "copresence_store_up", 0.0).await;
    }
    let log = relay.log();
    let told = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(told("the store fails"), 1, "{log}");
    assert_eq!(told("session/"), 0, "{log}");
    // What is to be remembered of people waits as well, and says so once.
    assert_eq!(told("ERROR"), 1 + told("about people"), "{log}");
    assert!(told("about people") <= 1, "{log}");
    assert!(1.0 <= metrics(&relay).await["copresence_store_errors_total"]);

    let server = elsewhere(move || {
        let mut server = server;
        server.start();
        server
    })
    .await;
    until(&relay, "copresence_store_up", 1.0).await;
    let back = async || relay.log().contains("the store is back").then_some(());
    polled("the log to say so", back).await;
    // Where nothing is awaited: it ends a runtime of its own.
    elsewhere(move || drop(server)).await;
}
