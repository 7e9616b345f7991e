//! Presence without a socket: heartbeats, leaves, and what others see of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::presence::check_shape;
use crate::support::client::{Client, Provider};
use crate::support::http::{self, Answer, Events};
use crate::support::relay::Relay;
use crate::support::time::{now, polled};
use crate::support::tokens::{self, Claims, member};

/// Heartbeats of a tenth of the usual length.
const QUICK: &str = "
    [kind.event]
    heartbeat_timeout_ms = 1500
    linger_lost_ms = 0
    typing_ms = 500
";

async fn post(relay: &Relay, path: &str, token: Option<&str>, body: &Value) -> Answer {
    let path = format!("/v1/presence/{path}");
    http::ask(
        relay.address,
        "POST",
        &path,
        token,
        body.to_string().as_bytes(),
    )
    .await
}

/// Says that somebody is there, and returns the session's token.
async fn beat(relay: &Relay, token: &str, body: Value) -> String {
    let answer = post(relay, "heartbeat", Some(token), &body).await;
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let answer = answer.json();
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    answer["sessionToken"].as_str().unwrap().to_owned()
}

async fn leave(relay: &Relay, session_token: &str) {
    let answer = post(
        relay,
        "leave",
        None,
        &json!({"sessionToken": session_token}),
    )
    .await;
    assert_eq!((answer.status, answer.body.as_slice()), (204, &b""[..]));
}

fn of(room: &str, session: &str) -> Value {
    json!({"room": room, "sessionId": session})
}

/// Who is connected, as a back end reads it.
async fn connected(relay: &Relay, room: &str) -> Vec<Value> {
    let mut people = http::roster(relay.address, room).await;
    people.retain(|one| one["isConnected"] == true);
    people
}

async fn names(relay: &Relay, room: &str) -> Vec<String> {
    let people = connected(relay, room).await;
    let mut names: Vec<_> = people
        .iter()
        .map(|one| one["userId"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

async fn watch(relay: &Relay, room: &str) -> Events {
    let path = format!("/v1/rooms/{room}/presence/stream");
    let mut events = Events::open(relay.address, &path, &tokens::service()).await;
    assert_eq!(events.next().await.unwrap().0, "snapshot");
    events
}

async fn next(events: &mut Events) -> (String, Value) {
    let (kind, participant) = events.next().await.expect("the stream goes on");
    check_shape(&participant);
    (kind, participant)
}

#[tokio::test]
async fn who_sends_heartbeats_is_there_until_they_leave() {
    let relay = Relay::start();
    let room = "event/expo/stand-1";
    let mut events = watch(&relay, room).await;
    let token = Claims::of("ann")
        .name("Ann")
        .with("picture", "https://example.org/ann.png".into())
        .with("color", "#112233".into())
        .room("event/expo/*", "host", "read")
        .sign();
    let session = beat(&relay, &token, of(room, "tab")).await;
    let (kind, ann) = next(&mut events).await;
    assert_eq!(kind, "joined");
    let mut shown = ann.clone();
    shown.as_object_mut().unwrap().remove("lastSeen");
    assert_eq!(
        shown,
        json!({
            "userId": "ann", "name": "Ann", "avatar": "https://example.org/ann.png",
            "role": "host", "color": "#112233", "status": "online", "isConnected": true,
            "data": null,
        })
    );
    let mut body = of(room, "tab");
    body["interval"] = json!(30_000.5);
    body["data"] = json!({"status": "idle", "page": "/booths", "n": 1});
    assert_eq!(
        beat(&relay, &token, body.clone()).await,
        session,
        "one session, one token"
    );
    let (kind, ann) = next(&mut events).await;
    assert_eq!((kind.as_str(), &ann["status"]), ("changed", &json!("idle")));
    assert_eq!(ann["data"], json!({"page": "/booths", "n": 1}));
    // A renewal without data changes nothing.
    beat(&relay, &token, of(room, "tab")).await;
    body["data"] = json!({"status": "active"});
    beat(&relay, &token, body.clone()).await;
    let (kind, ann) = next(&mut events).await;
    assert_eq!(
        (kind.as_str(), &ann["status"]),
        ("changed", &json!("online"))
    );
    assert_eq!(ann["data"], json!({}));
    // One heartbeat is one change, the first as well.
    body["data"] = json!({"status": "idle", "page": "/hall"});
    beat(&relay, &member("ben"), body).await;
    let (kind, ben) = next(&mut events).await;
    assert_eq!((kind.as_str(), &ben["status"]), ("joined", &json!("idle")));
    assert_eq!(ben["data"], json!({"page": "/hall"}));
    let ben = post(&relay, "leave", Some(&member("ben")), &of(room, "tab")).await;
    assert_eq!(ben.status, 204);
    let (kind, _) = next(&mut events).await;
    assert_eq!(kind, "left");

    leave(&relay, &session).await;
    let (kind, ann) = next(&mut events).await;
    assert_eq!((kind.as_str(), &ann["status"]), ("left", &json!("offline")));
    assert_eq!(ann["data"], Value::Null);
    // Once more, and a session that never was: nothing happens, and nothing is told apart.
    leave(&relay, &session).await;
    leave(&relay, "never heard of").await;
    let people = http::roster(relay.address, room).await;
    assert_eq!(
        (people.len(), &people[0]["lastSeen"]),
        (2, &ann["lastSeen"])
    );
}

#[tokio::test]
async fn a_heartbeat_that_comes_behind_the_goodbye_makes_no_ghost() {
    let relay = Relay::options().idle().start();
    let room = "event/a";
    let body = of(room, "tab");
    let session = beat(&relay, &member("ann"), body.clone()).await;
    // By its token, by its name, and before anybody has heard of it.
    leave(&relay, &session).await;
    let left = async |token: &str, body: &Value| {
        let answer = post(&relay, "heartbeat", Some(token), body).await;
        assert_eq!(answer.status, 200);
        answer.json()
    };
    let late = left(&member("ann"), &body).await;
    assert_eq!(late, json!({"sessionToken": session, "left": true}));
    let other = of(room, "other");
    let answer = post(&relay, "leave", Some(&member("ann")), &other).await;
    assert_eq!(answer.status, 204);
    let late = left(&member("ann"), &other).await;
    assert_eq!(late["left"], true);
    assert!(names(&relay, room).await.is_empty());
    // It counts for nothing: neither is it one of ten.
    for _ in 0..20 {
        assert_eq!(left(&member("ann"), &body).await["left"], true);
    }
    // Other sessions are others, of the same user too.
    beat(&relay, &member("ann"), of(room, "next")).await;
    beat(&relay, &member("ben"), body.clone()).await;
    assert_eq!(names(&relay, room).await, ["ann", "ben"]);
    // After a while it is a session like any other.
    polled("the session to be taken again", async || {
        let answer = left(&member("ann"), &body).await;
        answer.get("left").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_leave_may_name_the_session_instead() {
    let relay = Relay::start();
    let room = "event/a";
    for (user, session) in [("ann", "1"), ("ann", "2"), ("ben", "1")] {
        beat(&relay, &member(user), of(room, session)).await;
    }
    let relay = &relay;
    let left = |token: String, session: &'static str| async move {
        let body = of(room, session);
        post(relay, "leave", Some(&token), &body).await.status
    };
    // Nobody else's session.
    assert_eq!(left(member("eve"), "1").await, 204);
    assert_eq!(left(member("ann"), "2").await, 204);
    assert_eq!(names(relay, room).await, ["ann", "ben"]);
    assert_eq!(left(member("ann"), "1").await, 204);
    assert_eq!(names(relay, room).await, ["ben"]);
    let answer = post(relay, "leave", None, &of(room, "1")).await;
    assert_eq!(answer.problem(), (401, "UNAUTHORIZED".to_owned()));
    let stranger = Claims::of("ben").sign();
    let answer = post(relay, "leave", Some(&stranger), &of(room, "1")).await;
    assert_eq!(answer.problem(), (403, "FORBIDDEN".to_owned()));
}

#[tokio::test]
async fn a_leave_is_json_whatever_it_says_it_is() {
    let relay = Relay::options()
        .argument("--allow-origin")
        .argument("https://app.example")
        .start();
    let room = "event/beacon";
    let post = |headers: &'static str, body: String| async move {
        let length = format!("{headers}Content-Length: {}\r\n", body.len());
        let path = "/v1/presence/leave";
        http::ask_with(relay.address, "POST", path, &length, body.as_bytes()).await
    };
    let post = &post;
    for (tab, headers) in [
        (
            "1",
            "Content-Type: text/plain;charset=UTF-8\r\nOrigin: https://app.example\r\n",
        ),
        ("2", "Content-Type: application/octet-stream\r\n"),
        ("3", ""),
    ] {
        let session = beat(&relay, &member("ann"), of(room, tab)).await;
        assert_eq!(names(&relay, room).await, ["ann"]);
        let body = json!({"sessionToken": session}).to_string();
        assert_eq!(post(headers, body).await.status, 204, "{headers}");
        assert!(names(&relay, room).await.is_empty(), "{headers}");
    }
    let bad = |answer: Answer| answer.problem();
    assert_eq!(
        bad(post("", "sessionToken=x".into()).await),
        (400, "BAD_REQUEST".into())
    );
    let evil = "Origin: https://evil.example\r\n";
    assert_eq!(
        bad(post(evil, "{}".into()).await),
        (403, "FORBIDDEN".into())
    );
}

#[tokio::test]
async fn silence_ends_a_session_at_its_own_time() {
    let relay = Relay::options().idle().config(QUICK).start();
    let room = "event/silence";
    let mut events = watch(&relay, room).await;
    let with_interval = |session: &str, interval: u64| {
        let mut body = of(room, session);
        body["interval"] = interval.into();
        body
    };
    let (begun, ann) = (now(), member("ann"));
    beat(&relay, &ann, with_interval("short", 400)).await;
    assert_eq!(next(&mut events).await.0, "joined");
    // Another, of the kind's own length, which outlasts it.
    beat(&relay, &member("ben"), of(room, "tab")).await;
    assert_eq!(next(&mut events).await.0, "joined");
    let (kind, left) = next(&mut events).await;
    assert_eq!((kind.as_str(), &left["userId"]), ("left", &json!("ann")));
    let lasted = now() - begun;
    assert!(
        Duration::from_millis(1_000) <= lasted,
        "2.5 times the interval, not {lasted:?}"
    );
    let (kind, left) = next(&mut events).await;
    assert_eq!((kind.as_str(), &left["userId"]), ("left", &json!("ben")));
    let lasted = now() - begun;
    assert!(
        Duration::from_millis(1_500) <= lasted,
        "the kind's limit, not {lasted:?}"
    );
    // Renewed in time it lasts on.
    beat(&relay, &ann, with_interval("short", 400)).await;
    assert_eq!(next(&mut events).await.0, "joined");
    for _ in 0..4 {
        assert_eq!(events.next_within(Duration::from_millis(400)).await, None);
        beat(&relay, &ann, with_interval("short", 400)).await;
    }
    assert_eq!(next(&mut events).await.0, "left");
}

#[tokio::test]
async fn kinds_of_sockets_alone_lend_the_event_rooms_limit() {
    let relay = Relay::options().idle().config(QUICK).start();
    for room in ["session/42", "workspace/w"] {
        let mut events = watch(&relay, room).await;
        beat(&relay, &member("ann"), of(room, "tab")).await;
        assert_eq!(next(&mut events).await.0, "joined");
        let begun = now();
        assert_eq!(next(&mut events).await.0, "left");
        assert!(Duration::from_millis(1_400) <= now() - begun);
    }
}

#[tokio::test]
async fn typing_ends_by_itself_and_by_a_word() {
    let relay = Relay::options().idle().config(QUICK).start();
    let room = "event/typing";
    let mut events = watch(&relay, room).await;
    let ann = member("ann");
    let says = |status: &str| {
        let mut body = of(room, "tab");
        body["data"] = json!({"status": status});
        body
    };
    beat(&relay, &ann, says("typing")).await;
    // First they are there, then they type.
    let mut told = next(&mut events).await.1;
    if told["status"] == "online" {
        told = next(&mut events).await.1;
    }
    assert_eq!(told["status"], "typing");
    let begun = now();
    let (kind, told) = next(&mut events).await;
    assert_eq!(
        (kind.as_str(), &told["status"]),
        ("changed", &json!("online"))
    );
    assert!(Duration::from_millis(400) <= now() - begun);
    beat(&relay, &ann, says("typing")).await;
    assert_eq!(next(&mut events).await.1["status"], "typing");
    beat(&relay, &ann, says("active")).await;
    assert_eq!(next(&mut events).await.1["status"], "online");
}

#[tokio::test]
async fn who_has_a_socket_and_heartbeats_is_there_until_both_are_gone() {
    let relay = Relay::start();
    let room = "event/both";
    let token = member("ann");
    let mut events = watch(&relay, room).await;
    let mut socket = Client::join(&relay, Provider::YWebsocket, room, &token).await;
    assert_eq!(next(&mut events).await.0, "joined");
    let session = beat(&relay, &token, of(room, "tab")).await;
    socket.close().await;
    assert_eq!(events.next_within(Duration::from_millis(200)).await, None);
    let socket = Client::join(&relay, Provider::Hocuspocus4, room, &token).await;
    leave(&relay, &session).await;
    assert_eq!(events.next_within(Duration::from_millis(200)).await, None);
    assert_eq!(names(&relay, room).await, ["ann"]);
    let session = beat(&relay, &token, of(room, "next tab")).await;
    drop(socket);
    assert_eq!(events.next_within(Duration::from_millis(200)).await, None);
    leave(&relay, &session).await;
    let (kind, left) = next(&mut events).await;
    assert_eq!((kind.as_str(), &left["userId"]), ("left", &json!("ann")));
}

#[tokio::test]
async fn a_users_rooms_and_a_dashboard_have_those_without_sockets_too() {
    let relay = Relay::start();
    let dashboard = "/v1/presence/stream?under=event/expo";
    let mut below = Events::open(relay.address, dashboard, &tokens::service()).await;
    assert_eq!(below.next().await.unwrap().1["rooms"], json!([]));
    let mut sessions = Vec::new();
    for room in ["event/expo/1", "event/expo/2"] {
        sessions.push(beat(&relay, &member("ann"), of(room, "tab")).await);
        let (_, entry) = below.next().await.unwrap();
        assert_eq!(
            (&entry["room"], &entry["activeCount"]),
            (&json!(room), &json!(1))
        );
    }
    let rooms = || async {
        let path = "/v1/users/ann/presence";
        let list = http::get_json(relay.address, path, &tokens::service()).await;
        let rooms = list["rooms"].as_array().unwrap().clone();
        rooms
            .iter()
            .map(|entry| entry["room"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(rooms().await, ["event/expo/1", "event/expo/2"]);
    leave(&relay, &sessions[0]).await;
    let (_, entry) = below.next().await.unwrap();
    assert_eq!(
        entry,
        json!({"room": "event/expo/1", "activeUsers": [], "activeCount": 0})
    );
    assert_eq!(rooms().await, ["event/expo/2"]);
}

#[tokio::test]
async fn a_vendor_is_kept_to_their_own_rooms() {
    let relay = Relay::start();
    let vendor = |name: &str| {
        let own = format!("event/expo/{name}");
        let token = Claims::of(name)
            .room(&own, "vendor", "write")
            .reads(&format!("{own}/*"));
        (own, token.sign())
    };
    let (acme, acme_token) = vendor("acme");
    let (bolt, bolt_token) = vendor("bolt");
    beat(&relay, &acme_token, of(&acme, "tab")).await;
    beat(&relay, &bolt_token, of(&bolt, "tab")).await;
    beat(&relay, &bolt_token, of(&format!("{bolt}/chat"), "tab")).await;
    for room in [
        &bolt,
        &format!("{bolt}/chat"),
        "event/expo",
        "event/expo/nowhere",
    ] {
        let answer = post(&relay, "heartbeat", Some(&acme_token), &of(room, "tab")).await;
        assert_eq!(answer.problem(), (403, "FORBIDDEN".to_owned()), "{room}");
    }
    assert_eq!(names(&relay, &bolt).await, ["bolt"]);
    let seen = |token: String| async move {
        let path = "/v1/presence?under=event/expo";
        let list = http::get_json(relay.address, path, &token).await;
        let rooms = list["rooms"].as_array().unwrap().clone();
        let rooms: Vec<_> = rooms.iter().map(|entry| entry["room"].clone()).collect();
        (rooms, list["totalActiveUsers"].clone())
    };
    assert_eq!(seen(acme_token).await, (vec![json!(acme)], json!(1)));
    let both = vec![json!(bolt), json!(format!("{bolt}/chat"))];
    assert_eq!(seen(bolt_token).await, (both, json!(1)));
    assert_eq!(seen(tokens::service()).await.1, json!(2));
}

#[tokio::test]
async fn ten_heartbeats_in_ten_seconds_over_all_rooms() {
    let relay = Relay::options().idle().start();
    let begun = now();
    for number in 0..10 {
        let body = of(&format!("event/{}", number % 3), &format!("tab-{number}"));
        // What is refused for another reason does not count.
        let stranger = Claims::of("ann").sign();
        assert_eq!(
            post(&relay, "heartbeat", Some(&stranger), &body)
                .await
                .status,
            403
        );
        beat(&relay, &member("ann"), body).await;
    }
    for _ in 0..20 {
        let answer = post(
            &relay,
            "heartbeat",
            Some(&member("ann")),
            &of("event/9", "tab"),
        )
        .await;
        assert_eq!(answer.problem(), (429, "RATE_LIMITED".to_owned()));
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
    }
    assert!(names(&relay, "event/9").await.is_empty());
    // Others are not held up, nor is leaving.
    beat(&relay, &member("ben"), of("event/9", "tab")).await;
    let left = post(
        &relay,
        "leave",
        Some(&member("ann")),
        &of("event/0", "tab-0"),
    )
    .await;
    assert_eq!(left.status, 204);
    let answer = post(
        &relay,
        "heartbeat",
        Some(&member("ann")),
        &of("event/9", "tab"),
    )
    .await;
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    tokio::time::sleep(Duration::from_secs(wait)).await;
    beat(&relay, &member("ann"), of("event/9", "tab")).await;
    assert!(Duration::from_secs(10) <= now() - begun);
}

#[tokio::test]
async fn a_full_board_has_no_place_for_heartbeats() {
    let relay = Relay::options()
        .config("[kind.board]\ncapacity = 2\n")
        .start();
    let room = "board/small";
    let ann = beat(&relay, &member("ann"), of(room, "tab")).await;
    beat(&relay, &member("ben"), of(room, "tab")).await;
    for _ in 0..12 {
        let answer = post(&relay, "heartbeat", Some(&member("cid")), &of(room, "tab")).await;
        assert_eq!(answer.problem(), (409, "BOARD_FULL".to_owned()));
    }
    // Who is in comes in again, by every door.
    beat(&relay, &member("ann"), of(room, "another")).await;
    assert_eq!(names(&relay, room).await, ["ann", "ben"]);
    leave(&relay, &ann).await;
    let answer = post(&relay, "heartbeat", Some(&member("cid")), &of(room, "tab")).await;
    assert_eq!(answer.status, 409, "ann is still there with another tab");
    let left = post(&relay, "leave", Some(&member("ann")), &of(room, "another")).await;
    assert_eq!(left.status, 204);
    beat(&relay, &member("cid"), of(room, "tab")).await;
    assert_eq!(names(&relay, room).await, ["ben", "cid"]);
}

#[tokio::test]
async fn what_is_no_heartbeat_makes_nobody_present() {
    let relay = Relay::start();
    let room = "event/strict";
    let ann = Claims::of("ann").reads(room).sign();
    let refused = |token: Option<String>, body: String| async move {
        let path = "/v1/presence/heartbeat";
        let answer = http::ask(
            relay.address,
            "POST",
            path,
            token.as_deref(),
            body.as_bytes(),
        );
        answer.await.problem()
    };
    let refused = &refused;
    let as_ann = |body: Value| refused(Some(ann.clone()), body.to_string());
    let is = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(
        refused(None, of(room, "tab").to_string()).await,
        is(401, "UNAUTHORIZED")
    );
    assert_eq!(
        refused(Some("forged".into()), String::new()).await,
        is(401, "UNAUTHORIZED")
    );
    assert_eq!(
        refused(Some(tokens::service()), of(room, "tab").to_string()).await,
        is(403, "FORBIDDEN"),
        "a back end is nobody's participant"
    );
    assert_eq!(as_ann(of("a//b", "tab")).await, is(400, "BAD_ROOM"));
    assert_eq!(as_ann(of("event/other", "tab")).await, is(403, "FORBIDDEN"));
    assert_eq!(as_ann(of(room, "")).await, is(400, "BAD_REQUEST"));
    assert_eq!(as_ann(json!({"room": room})).await, is(400, "BAD_REQUEST"));
    assert_eq!(as_ann(json!([room, "tab"])).await, is(400, "BAD_REQUEST"));
    for (field, value) in [
        ("interval", json!(249)),
        ("interval", json!(600_001)),
        ("interval", json!("30000")),
        ("data", json!([])),
        ("data", json!({"status": "online"})),
    ] {
        let mut body = of(room, "tab");
        body[field] = value;
        assert_eq!(as_ann(body.clone()).await, is(400, "BAD_REQUEST"), "{body}");
    }
    let mut large = of(room, "tab");
    large["data"] = json!({"filler": "x".repeat(4_096)});
    assert_eq!(as_ann(large).await, is(413, "TOO_LARGE"));
    let mut huge = of(room, "tab");
    huge["filler"] = "x".repeat(65_536).into();
    assert_eq!(as_ann(huge).await, is(413, "TOO_LARGE"));
    assert!(http::roster(relay.address, room).await.is_empty());
    // None of them counted.
    for number in 0..10 {
        beat(&relay, &ann, of(room, &format!("tab-{number}"))).await;
    }
    assert_eq!(names(&relay, room).await, ["ann"]);
}

#[tokio::test]
async fn a_revocation_ends_sessions_without_sockets() {
    let relay = Relay::start();
    let mut events = watch(&relay, "event/a").await;
    for room in ["event/a", "event/b"] {
        beat(&relay, &member("ann"), of(room, "tab")).await;
    }
    assert_eq!(next(&mut events).await.0, "joined");
    let body = json!({"userId": "ann", "room": "event/a"}).to_string();
    let service = tokens::service();
    let answer = http::ask(
        relay.address,
        "POST",
        "/v1/revocations",
        Some(&service),
        body.as_bytes(),
    );
    assert_eq!(answer.await.status, 204);
    assert_eq!(next(&mut events).await.0, "left");
    let answer = post(
        &relay,
        "heartbeat",
        Some(&member("ann")),
        &of("event/a", "tab"),
    )
    .await;
    assert_eq!(answer.problem(), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(names(&relay, "event/b").await, ["ann"]);
}

#[tokio::test]
async fn while_it_drains_nobody_comes_by_heartbeat() {
    let relay = Relay::options()
        .argument("--drain-timeout")
        .argument("5s")
        .start();
    let room = "event/drain";
    beat(&relay, &member("ann"), of(room, "tab")).await;
    // Somebody who does not read their close keeps the drain going.
    let idle = Client::join(&relay, Provider::YWebsocket, "session/open", &member("ben")).await;
    idle.stop_reading().await;
    relay.terminate();
    let answer = polled("the relay to drain", || async {
        let answer = post(&relay, "heartbeat", Some(&member("cid")), &of(room, "tab")).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.problem(), (503, "DRAINING".to_owned()));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_guest_is_known_by_the_name_of_their_session() {
    let relay = Relay::options().argument("--dev").start();
    let room = "event/guests";
    let guest = |session: &'static str| async {
        let answer = post(&relay, "heartbeat", None, &of(room, session)).await;
        answer.json()["sessionToken"].as_str().unwrap().to_owned()
    };
    let (one, again, other) = (guest("1").await, guest("1").await, guest("2").await);
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert_eq!(names(&relay, room).await.len(), 2);
    leave(&relay, &one).await;
    assert_eq!(names(&relay, room).await.len(), 1);
    assert_eq!(
        post(&relay, "leave", None, &of(room, "2")).await.status,
        204
    );
    assert!(names(&relay, room).await.is_empty());
}
