//! Whose tokens are refused: what every store keeps of that, and what a relay makes of it, also after
//! a restart, and while the store does not answer.

use std::time::Duration;

use copresence::clock::Timestamp;
use copresence::model::{Pattern, UserId};
use copresence::store::{MemoryStore, Revocation, SqliteStore, Store, TIME_MAX};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Client, Ending, Provider};
use crate::support::faulty::FaultyStore;
use crate::support::frames::{self, Message};
use crate::support::http::{self, Answer, Events};
use crate::support::mounted::Mounted;
use crate::support::raw::{self, Ended, RawSocket, Shape};
use crate::support::relay::Relay;
use crate::support::talker::Talker;
use crate::support::time::{PATIENCE, now, polled, unix_seconds, within};
use crate::support::tokens::{self, Claims};

// What every store promises.

type Promise = (&'static str, fn(&dyn Store));

const PROMISES: [Promise; 4] = [
    ("the latest of the same user and rooms is kept", latest),
    (
        "they are told apart by their bytes, the latest first",
        order,
    ),
    ("what is older than asked for is removed", old),
    ("times end with the year 9999", end_of_time),
];

/// Shows every promise on a store of its own.
pub fn conforms(open: impl Fn() -> Box<dyn Store>) {
    for (name, promise) in PROMISES {
        println!("{name}");
        let store = open();
        promise(&*store);
        assert_eq!(store.complaints().unwrap(), [""; 0]);
    }
}

#[test]
fn the_store_in_memory_keeps_revocations() {
    conforms(|| Box::new(MemoryStore::new()));
}

#[test]
fn the_embedded_store_keeps_revocations() {
    let folder = TempDir::new().unwrap();
    let count = std::cell::Cell::new(0);
    conforms(|| {
        count.set(count.get() + 1);
        let path = folder.path().join(format!("{}/copresence.db", count.get()));
        Box::new(SqliteStore::open(&path).unwrap())
    });
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn revocation(user: &str, rooms: Option<&str>, millis: u64) -> Revocation {
    Revocation {
        user: UserId::parse(user).unwrap(),
        rooms: rooms.map(Pattern::new),
        at: at(millis),
    }
}

fn kept(store: &dyn Store, since: u64, limit: usize) -> Vec<String> {
    let kept = store.revocations(at(since), limit).unwrap();
    let text = |one: &Revocation| {
        let rooms = one.rooms.as_ref().map_or("everywhere", Pattern::as_str);
        format!("{} {rooms} {}", one.user, one.at.as_millis())
    };
    kept.iter().map(text).collect()
}

fn latest(store: &dyn Store) {
    assert_eq!(kept(store, 0, 9), [""; 0]);
    let all = [
        revocation("ann", None, 5_000),
        revocation("ann", Some("a/*"), 4_000),
        // The same once more in one batch.
        revocation("ann", None, 7_000),
        revocation("ann", None, 6_000),
    ];
    for _ in 0..2 {
        store.revoke(&all, at(0)).unwrap();
        assert_eq!(kept(store, 0, 9), ["ann everywhere 7000", "ann a/* 4000"]);
    }
    store
        .revoke(&[revocation("ann", Some("a/*"), 8_000)], at(0))
        .unwrap();
    assert_eq!(kept(store, 0, 9), ["ann a/* 8000", "ann everywhere 7000"]);
    store.revoke(&[], at(0)).unwrap();
}

fn order(store: &dyn Store) {
    let all = [
        revocation("zoë", None, 1_000),
        revocation("Zoe", None, 2_000),
        revocation("zoe", Some("ü"), 2_000),
        revocation("zoe", Some("u"), 2_000),
        revocation("it's \"x\"", Some("a'b"), 3_000),
    ];
    store.revoke(&all, at(0)).unwrap();
    let expected = [
        "it's \"x\" a'b 3000",
        "Zoe everywhere 2000",
        "zoe u 2000",
        "zoe ü 2000",
        "zoë everywhere 1000",
    ];
    assert_eq!(kept(store, 0, 9), expected);
    assert_eq!(kept(store, 2_000, 9), expected[..4]);
    assert_eq!(kept(store, 0, 2), expected[..2]);
}

fn old(store: &dyn Store) {
    let all = [1_000, 2_000, 3_000].map(|millis| revocation(&format!("u{millis}"), None, millis));
    store.revoke(&all, at(0)).unwrap();
    store
        .revoke(&[revocation("ann", None, 4_000)], at(2_000))
        .unwrap();
    let left = [
        "ann everywhere 4000",
        "u3000 everywhere 3000",
        "u2000 everywhere 2000",
    ];
    assert_eq!(kept(store, 0, 9), left);
}

fn end_of_time(store: &dyn Store) {
    let late = Revocation {
        at: at(u64::MAX),
        ..revocation("ann", None, 0)
    };
    store.revoke(&[late], at(0)).unwrap();
    assert_eq!(store.revocations(at(0), 1).unwrap()[0].at, TIME_MAX);
}

// What a relay makes of them.

async fn revoke(address: std::net::SocketAddr, user: &str, room: Option<&str>) -> Answer {
    let mut body = json!({ "userId": user });
    if let Some(room) = room {
        body["room"] = room.into();
    }
    let body = body.to_string();
    let token = tokens::service();
    http::post_patiently(address, "/v1/revocations", &token, body.as_bytes()).await
}

/// How the relay answers somebody who knocks at `/sync`: the reason, or nothing if they are in.
async fn knock(address: std::net::SocketAddr, room: &str, token: &str) -> Option<String> {
    let mut client = Client::at(address, Provider::YWebsocket, room, token, 7);
    client.open();
    client
        .wait_for("an answer", |state| match &state.ending {
            Some(Ending::Closed(_, reason)) => Some(Some(reason.clone())),
            Some(other) => Some(Some(format!("{other:?}"))),
            None => state.is_synced.then_some(None),
        })
        .await
}

fn reason(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn a_revocation_outlives_the_process() {
    let data = TempDir::new().unwrap();
    let mut first = Relay::options().data(data.path()).start();
    for (user, room) in [
        ("ann", None),
        ("ben", Some("session/*")),
        ("cal", Some("session/1")),
    ] {
        assert_eq!(
            revoke(first.address, user, room).await.status,
            204,
            "{user}"
        );
    }
    // Without a word, right behind the answer.
    first.kill();
    let second = Relay::options().idle().data(data.path()).start();
    let check =
        async |user: &str, room: &str| knock(second.address, room, &tokens::member(user)).await;
    assert_eq!(check("ann", "session/1").await, reason("REVOKED"));
    assert_eq!(check("ann", "event/1").await, reason("REVOKED"));
    assert_eq!(check("ben", "session/1").await, reason("REVOKED"));
    assert_eq!(check("ben", "session/1/2").await, reason("REVOKED"));
    assert_eq!(check("ben", "event/1").await, None);
    assert_eq!(check("cal", "session/1").await, reason("REVOKED"));
    assert_eq!(check("cal", "session/2").await, None);
    assert_eq!(check("dan", "session/1").await, None);
    let path = "/v1/rooms/event/1/presence";
    let refused = http::get(second.address, path, &tokens::member("ann")).await;
    assert_eq!(refused.problem(), (401, "UNAUTHORIZED".to_owned()));
    polled("a newer token to be good", async || {
        let newer = Claims::of("ann")
            .with("iat", unix_seconds().into())
            .writes("*")
            .sign();
        knock(second.address, "session/1", &newer)
            .await
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revocation_by_a_pattern_ends_sockets_sessions_and_streams_of_its_rooms_alone() {
    let relay = Relay::start();
    let token = tokens::member("ann");
    let inside = Client::join(&relay, Provider::YWebsocket, "session/a", &token).await;
    let collab = Client::join(&relay, Provider::Hocuspocus4, "session/b/c", &token).await;
    let outside = Client::join(&relay, Provider::YWebsocket, "event/a", &token).await;
    let beat = async |room: &str| {
        let body = json!({"room": room, "sessionId": "s"}).to_string();
        let path = "/v1/presence/heartbeat";
        http::ask(relay.address, "POST", path, Some(&token), body.as_bytes()).await
    };
    assert_eq!(beat("event/b").await.status, 200);
    let stream = |room: &str| format!("/v1/rooms/{room}/presence/stream");
    let mut ending = Events::open(relay.address, &stream("session/a"), &token).await;
    let mut lasting = Events::open(relay.address, &stream("event/a"), &token).await;
    let mut feed = Talker::open(relay.address, "/ws/feed", &token).await;
    feed.say(json!({"t": "login"})).await;
    feed.hear_that("the hello", |said| said["t"] == "hello")
        .await;

    let begun = now();
    assert_eq!(
        revoke(relay.address, "ann", Some("session/*")).await.status,
        204
    );
    let revoked = Ending::Closed(4401, "REVOKED".to_owned());
    assert_eq!(inside.ended().await, revoked);
    collab
        .until("a refusal", |state| {
            state.denied.as_deref() == Some("REVOKED")
        })
        .await;
    while ending.next().await.is_some() {}
    assert!(now() - begun < Duration::from_secs(2));
    assert_eq!(
        knock(relay.address, "session/new", &token).await,
        reason("REVOKED")
    );
    let refused = beat("session/a").await;
    assert_eq!(refused.problem(), (401, "UNAUTHORIZED".to_owned()));

    assert_eq!(beat("event/b").await.status, 200);
    assert!(outside.state().ending.is_none());
    outside.set_state(json!({"presence": {"color": "#123456"}}));
    loop {
        let (name, _) = lasting.next().await.expect("the other stream lasts");
        if name == "changed" {
            break;
        }
    }
    // The feed is no room.
    feed.say(json!({"t": "ping"})).await;
    feed.hear_that("an answer", |said| said["t"] != "hello")
        .await;
    for bad in ["", "a//*", "session/"] {
        let answer = revoke(relay.address, "ann", Some(bad)).await;
        assert_eq!(answer.problem(), (400, "BAD_ROOM".to_owned()), "{bad:?}");
    }
}

#[tokio::test]
async fn a_relay_that_does_not_know_who_is_revoked_lets_nobody_in() {
    let store = FaultyStore::new();
    let ann = revocation("ann", None, unix_seconds() * 1_000);
    store.revoke_directly(&ann);
    store.fail_revocations("the disk is on fire");
    let relay = Mounted::start(store.clone()).await;
    let ready = http::get(relay.address, "/health/ready", "").await;
    let said = String::from_utf8(ready.body).unwrap();
    assert_eq!(ready.status, 503);
    assert!(
        said.contains("STORE_DOWN") && said.contains("the disk is on fire"),
        "{said}"
    );
    let ben = tokens::member("ben");
    assert_eq!(
        knock(relay.address, "session/a", &ben).await,
        reason("STORE_DOWN")
    );
    for path in ["/v1/rooms/session/a/presence", "/v1/presence?under=session"] {
        let refused = http::get(relay.address, path, &ben).await;
        assert_eq!(refused.problem(), (503, "STORE_DOWN".to_owned()));
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    assert_eq!(
        http::get(relay.address, "/health/live", "").await.status,
        200
    );

    store.heal_revocations();
    polled("readiness", async || {
        let answer = http::get(relay.address, "/health/ready", "").await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(knock(relay.address, "session/a", &ben).await, None);
    let refused = knock(relay.address, "session/a", &tokens::member("ann")).await;
    assert_eq!(refused, reason("REVOKED"));
}

#[tokio::test]
async fn a_revocation_is_in_force_before_it_is_stored() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let token = tokens::member("ann");
    let mut ann = Client::at(relay.address, Provider::YWebsocket, "session/a", &token, 7);
    ann.connect().await;
    store.fail_writes("the disk is on fire");
    let (answer, ()) = tokio::join!(revoke(relay.address, "ann", None), async {
        let revoked = Ending::Closed(4401, "REVOKED".to_owned());
        assert_eq!(ann.ended().await, revoked);
        assert_eq!(
            knock(relay.address, "session/a", &token).await,
            reason("REVOKED")
        );
    });
    assert_eq!(answer.problem(), (503, "STORE_DOWN".to_owned()));
    assert_eq!(answer.json()["applied"], true);
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(store.revocations_directly().len(), 0);
    // It is tried on, and the next is answered as ever.
    store.heal_writes();
    polled("the revocation in the store", async || {
        (store.revocations_directly().len() == 1).then_some(())
    })
    .await;
    assert_eq!(revoke(relay.address, "ben", None).await.status, 204);
}

// In the very second.

/// Does something within one second of the clock; begins again when that did not suffice.
async fn within_a_second<T>(act: impl AsyncFn(u64, usize) -> T) -> T {
    for attempt in 0..20 {
        let before = unix_seconds();
        // It begins with the second, or there is not enough of it left.
        let second = polled("the next second", async || {
            let second = unix_seconds();
            (before < second).then_some(second)
        })
        .await;
        let done = act(second, attempt).await;
        if unix_seconds() == second {
            return done;
        }
    }
    panic!("nothing is done within a second on this machine");
}

/// A token issued in that second.
fn of_second(user: &str, second: u64) -> Claims {
    Claims::of(user).with("iat", second.into()).writes("*")
}

#[tokio::test]
async fn a_token_of_the_very_second_may_come_back_and_is_then_refused() {
    let relay = &Relay::start();
    let (mut sockets, answer, older, user, second) = within_a_second(async |second, attempt| {
        let user = format!("ann-{attempt}");
        assert_eq!(revoke(relay.address, &user, None).await.status, 204);
        let token = of_second(&user, second).sign();
        let mut sockets = Vec::new();
        for door in ["/sync/session/a", "/ws/boards/a", "/ws/feed"] {
            let path = format!("{door}?token={token}");
            sockets.push(RawSocket::open(relay.address, &path).await);
        }
        let mut feed = RawSocket::open(relay.address, "/ws/feed").await;
        let login = json!({"t": "login", "token": token}).to_string();
        feed.send(&Shape::of(raw::TEXT).write(login.as_bytes()))
            .await;
        sockets.push(feed);
        let path = "/v1/rooms/session/a/presence";
        let answer = http::get(relay.address, path, &token).await;
        let older = of_second(&user, second - 1).sign();
        let older = knock(relay.address, "session/a", &older).await;
        (sockets, answer, older, user, second)
    })
    .await;
    assert_eq!(answer.problem(), (503, "TRY_AGAIN".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(older, reason("REVOKED"), "what is surely older");
    // Their programs ask for another token when they are sent away.
    for socket in &mut sockets {
        let again = Ended::Closed(1013, "TRY_AGAIN".to_owned());
        assert_eq!(socket.ended().await, again);
        assert!(second < unix_seconds(), "sent away too early");
    }
    let token = of_second(&user, second).sign();
    assert_eq!(
        knock(relay.address, "session/a", &token).await,
        reason("REVOKED")
    );
    let newer = of_second(&user, second + 1).sign();
    assert_eq!(knock(relay.address, "session/a", &newer).await, None);
}

/// The next frame for a document, and what it says of its token.
async fn said_of_token(socket: &mut RawSocket) -> Result<Value, Ended> {
    loop {
        let frame = socket.heard().await?;
        match frames::split_name(&frame).and_then(|(_, rest)| frames::read(rest)) {
            Some(Message::TokenWanted) => return Ok(json!("asked")),
            Some(Message::Denied(why)) => return Ok(json!({ "denied": why })),
            Some(Message::Authenticated(_)) => return Ok(json!("in")),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_provider_that_says_its_version_is_asked_again_and_then_let_in() {
    let relay = &Relay::start();
    let room = "session/a";
    let (mut socket, user, second) = within_a_second(async |second, attempt| {
        let user = format!("ann-{attempt}");
        assert_eq!(
            revoke(relay.address, &user, Some("session/*")).await.status,
            204
        );
        let mut socket = RawSocket::open(relay.address, "/collab").await;
        let token = of_second(&user, second).sign();
        socket
            .say(&frames::token(room, &token, Some("4.8.0")))
            .await;
        socket.say(&frames::named(room, &frames::step1(&[0]))).await;
        let asked = said_of_token(&mut socket).await;
        if unix_seconds() == second {
            assert_eq!(asked, Ok(json!("asked")));
        }
        (socket, user, second)
    })
    .await;
    // It has no better one yet: it is asked when the second is over, and not before.
    let token = of_second(&user, second).sign();
    socket
        .say(&frames::token(room, &token, Some("4.8.0")))
        .await;
    assert_eq!(said_of_token(&mut socket).await, Ok(json!("asked")));
    assert!(second < unix_seconds(), "asked too early");
    let newer = of_second(&user, second + 1).sign();
    socket
        .say(&frames::token(room, &newer, Some("4.8.0")))
        .await;
    assert_eq!(said_of_token(&mut socket).await, Ok(json!("in")));

    // The old one is no good any more.
    let mut late = RawSocket::open(relay.address, "/collab").await;
    late.say(&frames::token(room, &token, Some("4.8.0"))).await;
    assert_eq!(
        said_of_token(&mut late).await,
        Ok(json!({"denied": "REVOKED"}))
    );
}

#[tokio::test]
async fn a_provider_that_says_no_version_is_sent_away_when_the_second_is_over() {
    let relay = &Relay::start();
    let (mut socket, second) = within_a_second(async |second, attempt| {
        let user = format!("ann-{attempt}");
        assert_eq!(revoke(relay.address, &user, None).await.status, 204);
        let mut socket = RawSocket::open(relay.address, "/collab").await;
        let token = of_second(&user, second).sign();
        socket.say(&frames::token("session/a", &token, None)).await;
        socket
            .say(&frames::named("session/a", &frames::step1(&[0])))
            .await;
        // It has been read.
        let is_there = socket.fence().await.is_ok();
        assert!(is_there || second < unix_seconds());
        (socket, second)
    })
    .await;
    let ended = within(PATIENCE, "the end", said_of_token(&mut socket)).await;
    assert_eq!(ended, Err(Ended::Closed(1013, "TRY_AGAIN".to_owned())));
    assert!(second < unix_seconds(), "sent away to come back at once");
}
