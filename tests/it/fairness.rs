//! One person, or somebody who never says who they are, does not shut out the others.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Client, Ending, Provider};
use crate::support::frames;
use crate::support::http::{self, Events};
use crate::support::raw::{BINARY, CONTINUATION, Ended, RawSocket, Shape};
use crate::support::relay::Relay;
use crate::support::talker::{Said, Talker};
use crate::support::time::{now, polled, within};
use crate::support::tokens::{self, Claims, member};

const MEBIBYTE: usize = 1 << 20;

fn closed(code: u16, reason: &str) -> Ended {
    Ended::Closed(code, reason.to_owned())
}

async fn heartbeat(relay: &Relay, token: &str, session: &str) -> http::Answer {
    let body = json!({"room": "event/expo/1", "sessionId": session}).to_string();
    let path = "/v1/presence/heartbeat";
    http::ask(relay.address, "POST", path, Some(token), body.as_bytes()).await
}

#[tokio::test]
async fn sockets_that_never_say_whose_they_are_have_a_share_of_their_own() {
    let relay = Relay::options().argument("--max-connections=3").start();
    let mut silent = Vec::new();
    for number in 0..64 {
        let path = ["/collab", "/ws/feed"][number % 2];
        silent.push(RawSocket::open(relay.address, path).await);
    }
    let mut refused = RawSocket::open(relay.address, "/collab").await;
    assert_eq!(refused.ended().await, closed(1013, "LIMIT_CONNECTIONS"));
    // Whoever shows a token at once takes nobody else's place, nor do they take theirs.
    let room = "session/open";
    let ann = Client::join(&relay, Provider::YWebsocket, room, &member("ann")).await;
    let _ben = Client::join(&relay, Provider::YWebsocket, room, &member("ben")).await;
    // Whoever says later who they are leaves a stranger's place behind.
    let cat = &mut silent[0];
    cat.say(&frames::token(room, &member("cat"), None)).await;
    assert!(cat.heard().await.is_ok());
    let mut next = RawSocket::open(relay.address, "/collab").await;
    assert_eq!(next.fence().await, Ok(()));
    // And finds that all others are taken now, which is a refusal of the document.
    next.say(&frames::token(room, &member("dan"), None)).await;
    let answer = next.heard().await.unwrap();
    assert!(
        String::from_utf8_lossy(&answer).contains("LIMIT_CONNECTIONS"),
        "{answer:?}"
    );
    assert_eq!(next.fence().await, Ok(()));
    ann.until("still open", |state| state.is_open).await;
}

#[tokio::test]
async fn a_user_has_so_many_sockets_windows_sessions_and_streams_together() {
    let relay = Relay::options().argument("--max-per-user=4").start();
    let (room, token) = ("session/many", member("ann"));
    let mut socket = Client::join(&relay, Provider::YWebsocket, room, &token).await;
    let mut window = Talker::open(relay.address, "/ws/feed", &token).await;
    window.say(json!({"t": "login"})).await;
    assert_eq!(window.hear().await["t"], "hello");
    assert_eq!(heartbeat(&relay, &token, "tab").await.status, 200);
    let stream_path = "/v1/rooms/session/many/presence/stream";
    let mut stream = Events::open(relay.address, stream_path, &token).await;
    assert!(stream.next().await.is_some());

    let full = Ending::Closed(1013, "LIMIT_CONNECTIONS".to_owned());
    let mut fifth = Client::new(&relay, Provider::YWebsocket, room, &token);
    fifth.open();
    assert_eq!(fifth.ended().await, full);
    let mut fifth = Client::new(&relay, Provider::Hocuspocus4, room, &token);
    fifth.open();
    let denied = fifth
        .wait_for("a refusal", |state| state.denied.clone())
        .await;
    assert_eq!(denied, "LIMIT_CONNECTIONS");
    fifth.close().await;
    for path in ["/ws/feed", "/ws/boards/7", "/parties/presence/presence-7"] {
        let mut fifth = Talker::open(relay.address, path, &token).await;
        let ended = Said::Ended(closed(1013, "LIMIT_CONNECTIONS"));
        assert_eq!(fifth.next().await, ended, "{path}");
    }
    let mut unnamed = RawSocket::open(relay.address, "/ws/feed").await;
    let login = json!({"t": "login", "token": token}).to_string();
    unnamed.send(&Shape::of(1).write(login.as_bytes())).await;
    assert_eq!(unnamed.ended().await, closed(1013, "LIMIT_CONNECTIONS"));
    let answer = heartbeat(&relay, &token, "another").await;
    assert_eq!(answer.problem(), (429, "RATE_LIMITED".to_owned()));
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("--max-per-user")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    for path in [
        stream_path,
        "/v1/users/ann/presence/stream",
        "/v1/presence/stream?under=session",
    ] {
        let answer = http::get(relay.address, path, &token).await;
        assert_eq!(answer.problem(), (429, "RATE_LIMITED".to_owned()), "{path}");
    }

    // What is open goes on, and so do others, and back ends however many.
    assert_eq!(heartbeat(&relay, &token, "tab").await.status, 200);
    let _ben = Client::join(&relay, Provider::Hocuspocus4, room, &member("ben")).await;
    let mut back_end = Vec::new();
    for _ in 0..6 {
        let service = tokens::service();
        back_end.push(Client::join(&relay, Provider::YWebsocket, room, &service).await);
    }
    // Each end makes room for one.
    socket.close().await;
    drop(stream);
    let mut more = Vec::new();
    while more.len() < 2 {
        let mut next = Client::new(&relay, Provider::YWebsocket, room, &token);
        next.open();
        let is_in = next.wait_for("an answer", |state| {
            (state.is_synced || state.ending.is_some()).then_some(state.is_synced)
        });
        if is_in.await {
            more.push(next);
        }
    }
}

#[tokio::test]
async fn a_token_over_16_kib_is_refused_by_that_name() {
    let relay = Relay::start();
    let token = Claims::of("ann")
        .name(&"n".repeat(16 << 10))
        .writes("*")
        .sign();
    let room = "session/long";
    let path = format!("/sync/{room}?token={token}");
    let mut socket = RawSocket::open(relay.address, &path).await;
    assert_eq!(socket.ended().await, closed(4401, "LIMIT_TOKEN"));
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    socket.say(&frames::token(room, &token, None)).await;
    let answer = socket.heard().await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("LIMIT_TOKEN"));
    let answer = http::get(relay.address, "/v1/rooms/session/long/presence", &token).await;
    assert_eq!(answer.problem(), (401, "UNAUTHORIZED".to_owned()));
    assert!(answer.json()["detail"].as_str().unwrap().contains("16 KiB"));
}

#[tokio::test]
async fn a_stateless_text_is_bounded_and_shared_by_all_who_are_sent_it() {
    let relay = Relay::options().alone().start();
    let room = "session/notices";
    let mut stuck = Vec::new();
    for number in 0..40 {
        let token = member(&format!("stuck-{number}"));
        let mut one = Client::new(&relay, Provider::Hocuspocus4, room, &token);
        one.set_narrow();
        one.connect().await;
        one.stop_reading().await;
        stuck.push(one);
    }
    let listener = Client::join(&relay, Provider::Hocuspocus4, room, &member("listener")).await;
    let token = Claims::of("reader").reads("*").sign();
    let mut reader = RawSocket::open(relay.address, "/collab").await;
    reader.say(&frames::token(room, &token, None)).await;
    let before = relay.memory();
    let largest = "n".repeat(256 << 10);
    for number in 1..=4 {
        reader.say(&frames::stateless(room, &largest)).await;
        listener
            .until("the notice", |state| state.stateless.len() == number)
            .await;
    }
    let grown = relay.memory().saturating_sub(before) as usize;
    println!("four notices for 40 who do not read: {grown}");
    // A copy for each would be 40 MiB.
    assert!(grown < 16 * MEBIBYTE, "the relay grew by {grown} bytes");
    reader.say(&frames::stateless(room, &(largest + "n"))).await;
    assert_eq!(reader.ended().await, closed(1009, "LIMIT_MESSAGE"));
    listener
        .until("nothing more", |state| state.stateless.len() == 4)
        .await;
}

/// The beginning of a binary message of that many bytes.
fn beginning(claimed: usize, sent: usize) -> Vec<u8> {
    let shape = Shape {
        claimed_length: Some(claimed as u64),
        ..Shape::of(BINARY)
    };
    shape.write(&vec![7; sent])
}

#[tokio::test]
async fn a_user_has_one_long_message_under_way_and_little_besides() {
    let relay = Relay::options().alone().start();
    let path = |user| format!("/sync/session/long?token={}", member(user));
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = RawSocket::open(relay.address, &path("ann")).await;
        socket.fence().await.unwrap();
        sockets.push(socket);
    }
    // What has come must have been read before the next begins: who is first is first.
    let arrived = async |socket: &mut RawSocket, bytes: Vec<u8>| {
        assert!(socket.send(&bytes).await);
        assert!(socket.send(&Shape::of(9).write(b"?")).await);
    };
    let first = Shape {
        is_last: false,
        ..Shape::of(BINARY)
    };
    // A message in parts, so that a ping may come between them.
    let part = first.write(&vec![7; 24 * MEBIBYTE]);
    arrived(&mut sockets[0], part).await;
    sockets[0].fence().await.unwrap();
    let part = first.write(&vec![7; 12 * MEBIBYTE]);
    arrived(&mut sockets[1], part).await;
    sockets[1].fence().await.unwrap();
    sockets[2]
        .send(&beginning(20 * MEBIBYTE, 6 * MEBIBYTE))
        .await;
    assert_eq!(sockets[2].ended().await, closed(1009, "LIMIT_MESSAGE"));
    // The first may grow further; others have theirs.
    let goes_on = Shape {
        is_last: false,
        ..Shape::of(CONTINUATION)
    };
    arrived(&mut sockets[0], goes_on.write(&vec![7; 24 * MEBIBYTE])).await;
    sockets[0].fence().await.unwrap();
    let mut ben = RawSocket::open(relay.address, &path("ben")).await;
    arrived(&mut ben, first.write(&vec![7; 24 * MEBIBYTE])).await;
    ben.fence().await.unwrap();
    // When it has ended, another of the user's may be long.
    let last = Shape::of(CONTINUATION).write(&[]);
    sockets[0].send(&last).await;
    assert_eq!(sockets[0].ended().await, closed(4400, "BAD_MESSAGE"));
    arrived(&mut sockets[1], goes_on.write(&vec![7; 12 * MEBIBYTE])).await;
    sockets[1].fence().await.unwrap();
}

#[tokio::test]
async fn all_who_have_not_said_who_they_are_send_no_more_than_64_mib() {
    let relay = Relay::options().alone().start();
    let before = relay.memory();
    let mut silent = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let mut socket = RawSocket::open(relay.address, "/collab").await;
        // In parts, so that a ping may come behind.
        let part = Shape {
            is_last: false,
            ..Shape::of(BINARY)
        };
        let is_taken = socket.send(&part.write(&vec![7; 5 * MEBIBYTE - 100])).await;
        match socket.fence().await {
            Ok(()) => silent.push(socket),
            // With bytes on their way to it the end may be a reset.
            Err(ended) => {
                assert!(
                    !is_taken || ended == closed(1009, "LIMIT_MESSAGE"),
                    "{ended:?}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((silent.len(), refused), (12, 8));
    let grown = relay.memory().saturating_sub(before) as usize;
    assert!(grown < 100 * MEBIBYTE, "the relay grew by {grown} bytes");
    // People with a token send what they like.
    let ann = Client::join(&relay, Provider::YWebsocket, "session/1", &member("ann")).await;
    ann.write("here");
}

#[tokio::test]
async fn a_message_that_trickles_is_given_up() {
    let relay = Relay::options().idle().start();
    let token = member("ann");
    let path = format!("/sync/session/slow?token={token}");
    let mut socket = RawSocket::open(relay.address, &path).await;
    let opened = now();
    assert!(socket.send(&beginning(MEBIBYTE, 100_000)).await);
    let trickles = async {
        loop {
            // A byte now and then is no pace.
            let pause = Duration::from_millis(500);
            if let Some(ended) = socket.ended_within(pause).await {
                break ended;
            }
            socket.send(b"x").await;
        }
    };
    let ended = within(Duration::from_secs(60), "the end", trickles).await;
    assert_eq!(ended, closed(1013, "SLOW"));
    assert!(Duration::from_secs(29) < now() - opened);
}

#[tokio::test]
async fn uploads_that_pause_keep_nobody_from_heartbeats_and_revocations() {
    let relay = Relay::options().argument("--max-document=1MiB").start();
    let mut paused = Vec::new();
    // Each has a piece of the budget, of which there are 512.
    for number in 0..600 {
        let token = member(&format!("user-{number}"));
        let mut tcp = TcpStream::connect(relay.address).await.unwrap();
        let head = format!(
            "POST /v1/rooms/session/{number}/document HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {token}\r\nContent-Length: 1000000\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        // Those for whom there is no room are answered at once.
        let _ = tcp.write_all(&[7; 3_000]).await;
        paused.push(tcp);
    }
    // The budget is used up...
    let post = async |path: &str, token: String, body: &[u8]| {
        http::ask(relay.address, "POST", path, Some(&token), body).await
    };
    let document = |room: &str| format!("/v1/rooms/session/{room}/document");
    polled("a document to find no room", async || {
        let answer = post(&document("x"), member("zoe"), &[0; 70_000]).await;
        (answer.status == 429).then(|| assert_eq!(answer.problem().1, "RATE_LIMITED"))
    })
    .await;
    // ... and nobody needs it who has little to say.
    assert_eq!(heartbeat(&relay, &member("eva"), "tab").await.status, 200);
    let body = json!({"userId": "user-1"}).to_string();
    let revoked = post("/v1/revocations", tokens::service(), body.as_bytes()).await;
    assert_eq!(revoked.status, 204);
    let small = post(&document("y"), member("eva"), &[0, 0]).await;
    assert_eq!(small.status, 204);
}

#[tokio::test]
async fn a_user_uploads_one_large_document_at_a_time() {
    let relay = Relay::start();
    let token = member("ann");
    let begin = async || {
        let mut tcp = TcpStream::connect(relay.address).await.unwrap();
        let head = format!(
            "POST /v1/rooms/session/1/document HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {token}\r\nContent-Length: 100000\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        tcp
    };
    let first = begin().await;
    let path = "/v1/rooms/session/2/document";
    let refused = polled("the first to be under way", async || {
        let answer = http::ask(relay.address, "POST", path, Some(&token), &[7; 90_000]).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("one at a time")
    );
    // What is no update is found to be none, once there is room for it.
    drop(first);
    polled("the first to be forgotten", async || {
        let answer = http::ask(relay.address, "POST", path, Some(&token), &[7; 90_000]).await;
        (answer.status == 400).then_some(())
    })
    .await;
}

#[tokio::test]
async fn few_open_files_leave_places_for_those_who_are_in_and_answers_for_the_rest() {
    let relay = Relay::options().open_files(400).alone().start();
    assert!(
        relay.log().contains("--max-connections 20000"),
        "{}",
        relay.log()
    );
    let mut sockets = Vec::new();
    let refusal = loop {
        let token = member(&format!("user-{}", sockets.len()));
        let path = format!("/sync/session/many?token={token}");
        let mut socket = RawSocket::open(relay.address, &path).await;
        match socket.fence().await {
            Ok(()) => sockets.push(socket),
            Err(ended) => break ended,
        }
        assert!(sockets.len() < 400);
    };
    assert_eq!(refusal, closed(1013, "LIMIT_CONNECTIONS"));
    assert!(80 <= sockets.len(), "{}", sockets.len());
    // Connections that say nothing take the rest.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(relay.address).await.unwrap());
    }
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let answer = http::ask(relay.address, "GET", path, None, b"").await;
        assert_eq!(answer.status, 200, "{path}");
    }
    for socket in &mut sockets {
        assert_eq!(socket.fence().await, Ok(()));
    }
    assert!(!relay.log().contains("cannot accept"), "{}", relay.log());
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let relay = Relay::options().soft_open_files(64).start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", relay.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
}

#[tokio::test]
async fn whoever_comes_again_with_a_token_refused_for_good_waits_for_the_close() {
    let relay = Relay::start();
    let token = Claims::of("ann").writes("session/other").sign();
    let path = format!("/sync/session/1?token={token}");
    let mut waits = Vec::new();
    for _ in 0..4 {
        let began = now();
        let mut socket = RawSocket::open(relay.address, &path).await;
        assert_eq!(socket.ended().await, closed(4403, "FORBIDDEN"));
        waits.push((now() - began).as_millis());
    }
    assert!(
        waits[0] < 900 && 1_000 <= waits[1] && 2_000 <= waits[2] && 4_000 <= waits[3],
        "{waits:?}"
    );
    // While one waits, everybody else comes and goes as ever.
    let mut held = RawSocket::open(relay.address, &path).await;
    let _ann = Client::join(&relay, Provider::YWebsocket, "session/1", &member("ann")).await;
    for _ in 0..3 {
        let mut nobody = RawSocket::open(relay.address, "/sync/session/1").await;
        assert_eq!(nobody.ended().await, closed(4401, "UNAUTHORIZED"));
    }
    // Whoever goes meanwhile is answered, and whoever is held when the relay ends is told.
    held.send(&Shape::of(8).write(&1000_u16.to_be_bytes()))
        .await;
    assert_eq!(held.ended().await, closed(1000, ""));
    let mut held = RawSocket::open(relay.address, &path).await;
    assert!(held.send(&frames_of_a_client()).await);
    relay.terminate();
    assert_eq!(held.ended().await, closed(1012, "DRAINING"));
}

fn frames_of_a_client() -> Vec<u8> {
    Shape::of(BINARY).write(&frames::step1(&[0]))
}

#[tokio::test]
async fn of_what_comes_too_fast_the_newest_is_kept_where_it_replaces_the_rest() {
    let relay = Relay::options()
        .argument("--rate=5")
        .config("[kind.feed]\ngather_ms = 50\n")
        .start();
    // A workspace: an update replaces all of it.
    let path = "/parties/presence/presence-w";
    let mut bob = Talker::open(relay.address, path, &member("bob")).await;
    let mut ann = Talker::open(relay.address, path, &member("ann")).await;
    for number in 1..=60 {
        let page = format!("/page/{number}");
        ann.say(json!({"type": "presence_update", "currentPath": page}))
            .await;
    }
    hear_until(&mut bob, |said| said["currentPath"] == "/page/60").await;
    assert_eq!(
        hear_until(&mut ann, |said| said["type"] == "error").await["code"],
        "RATE_LIMITED"
    );
    // A board: of status and cursor the newest each.
    let path = "/ws/boards/b";
    let mut bob = Talker::open(relay.address, path, &member("bob")).await;
    let mut ann = Talker::open(relay.address, path, &member("ann")).await;
    for number in 1..=40 {
        let cursor = json!({"x": number, "y": 1});
        ann.say(json!({"type": "presence:update", "payload": {"cursor": cursor}}))
            .await;
    }
    ann.say(json!({"type": "presence:update", "payload": {"status": "away"}}))
        .await;
    hear_until(&mut bob, |said| {
        let payload = &said["payload"];
        payload["status"] == "away" && payload["cursor"]["x"].as_f64() == Some(40.0)
    })
    .await;
    // The feed: of each field the newest.
    let follower = Claims::of("bob").with("follows", json!(["ann"])).sign();
    let mut bob = Talker::open(relay.address, "/ws/feed", &follower).await;
    bob.say(json!({"t": "login"})).await;
    let mut ann = Talker::open(relay.address, "/ws/feed", &member("ann")).await;
    ann.say(json!({"t": "login"})).await;
    for number in 1..=40 {
        ann.say(json!({"t": "statusUpdate", "p": format!("p{number}")}))
            .await;
    }
    ann.say(json!({"t": "statusUpdate", "a": "Coding"})).await;
    let (mut project, mut activity) = (false, false);
    hear_until(&mut bob, |said| {
        project |= said["p"] == "p40";
        activity |= said["a"] == "Coding";
        project && activity
    })
    .await;
}

async fn hear_until(
    talker: &mut Talker,
    mut fits: impl FnMut(&serde_json::Value) -> bool,
) -> serde_json::Value {
    loop {
        let said = talker.hear().await;
        if fits(&said) {
            return said;
        }
    }
}

#[tokio::test]
async fn a_connection_that_asked_once_stays_for_more_than_ten_seconds() {
    let relay = Relay::options().idle().start();
    let mut tcp = TcpStream::connect(relay.address).await.unwrap();
    let ask = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..2 {
        tcp.write_all(ask).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"{\"live\":true}") {
            assert_ne!(tcp.read_buf(&mut answer).await.unwrap(), 0);
        }
        let mut one = [0];
        let ended = tokio::time::timeout(Duration::from_secs(12), tcp.read(&mut one));
        assert!(ended.await.is_err(), "the relay ended it");
    }
}
