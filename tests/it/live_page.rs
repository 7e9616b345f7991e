//! The operator's live page: whom it lets see, who is where, and why each came and left.

use std::sync::Arc;

use copresence::store::MemoryStore;
use serde_json::{Value, json};

use crate::support::client::{Client, Provider};
use crate::support::http::{self, Answer};
use crate::support::mounted::Mounted;
use crate::support::raw::{Ended, RawSocket};
use crate::support::relay::Relay;
use crate::support::talker::Talker;
use crate::support::time::polled;
use crate::support::tokens::{self, Claims, member};

async fn ask(relay: &Relay, path: &str, token: Option<&str>) -> Answer {
    http::ask(relay.address, "GET", path, token, b"").await
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

async fn state(relay: &Relay, query: &str) -> Value {
    let path = format!("/live/state{query}");
    http::get_json(relay.address, &path, &tokens::service()).await
}

/// Waits until the relay's state is so.
async fn until(relay: &Relay, query: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    polled(what, || async {
        let state = state(relay, query).await;
        holds(&state).then_some(state)
    })
    .await
}

/// The timeline as `what user room door code reason`, of what concerns a user.
fn passages(state: &Value, user: &str) -> Vec<String> {
    let list = state["timeline"]["list"].as_array().expect("a list");
    let theirs = list.iter().filter(|entry| entry["userId"] == user);
    let word = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let place = |entry: &Value| match &entry["room"] {
        Value::Null => word(&entry["path"]),
        room => word(room),
    };
    theirs
        .map(|entry| {
            let [what, door, code, reason] =
                ["what", "door", "code", "reason"].map(|name| word(&entry[name]));
            format!("{what} {} {door} {code} {reason}", place(entry))
        })
        .collect()
}

/// Waits until so much is told of a user.
async fn told(relay: &Relay, user: &str, expected: &[&str]) {
    let what = format!("{expected:?} of {user}");
    until(relay, "", &what, |state| passages(state, user) == expected).await;
}

/// The entry of a list with this value.
fn entry<'a>(list: &'a Value, name: &str, value: &str) -> Option<&'a Value> {
    let list = list["list"].as_array().expect("a list");
    list.iter().find(|entry| entry[name] == value)
}

#[tokio::test]
async fn the_page_is_there_for_everybody_and_holds_nothing_but_itself() {
    let relay = Relay::start();
    let mut ann = Client::join(
        &relay,
        Provider::YWebsocket,
        "session/quiet",
        &member("ann"),
    )
    .await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/live/style.css", "text/css; charset=utf-8"),
        ("/live/app.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = ask(&relay, path, None).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy.contains("unsafe"), "{policy}");
        // The same for whoever asks: nothing of what the relay knows is in it.
        let with_token = ask(&relay, path, Some(&tokens::service())).await;
        assert_eq!(text(&answer), text(&with_token), "{path}");
        assert!(!text(&answer).contains("session/quiet"), "{path}");
    }
    let page = text(&ask(&relay, "/", None).await);
    assert!(page.contains("data-guests=\"no\""));
    let problem = http::ask(relay.address, "POST", "/", None, b"")
        .await
        .problem();
    assert_eq!(problem, (405, "METHOD_NOT_ALLOWED".to_owned()));
    ann.close().await;
}

#[tokio::test]
async fn only_a_service_token_in_the_header_shows_anything() {
    let relay = Relay::start();
    let state = "/live/state";
    let unauthorized = (401, "UNAUTHORIZED".to_owned());
    let none = ask(&relay, state, None).await;
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    assert_eq!(none.problem(), unauthorized);
    let expired = Claims::of("ops").for_service().expires_in(-10).sign();
    let forged = Claims::of("ops").for_service().unsigned();
    for bad in ["nonsense", &expired, &forged] {
        assert_eq!(ask(&relay, state, Some(bad)).await.problem(), unauthorized);
    }
    let everywhere = member("ann");
    let problem = ask(&relay, state, Some(&everywhere)).await.problem();
    assert_eq!(problem, (403, "FORBIDDEN".to_owned()));
    let in_address = format!("{state}?token={}", tokens::service());
    assert_eq!(ask(&relay, &in_address, None).await.problem(), unauthorized);
    assert_eq!(
        ask(&relay, state, Some(&tokens::service())).await.status,
        200
    );

    let headers = format!(
        "Authorization: Bearer {}\r\nOrigin: https://evil.example\r\n",
        tokens::service()
    );
    let answer = http::ask_with(relay.address, "GET", state, &headers, b"").await;
    assert_eq!(answer.problem(), (403, "FORBIDDEN".to_owned()));
}

#[tokio::test]
async fn mounted_into_another_program_the_root_is_the_hosts() {
    let mounted = Mounted::start(Arc::new(MemoryStore::new())).await;
    for path in ["/", "/live/state", "/live/app.js"] {
        let answer = http::get(mounted.address, path, &tokens::service()).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    let described = http::get_json(mounted.address, "/openapi.json", "").await;
    assert!(described["paths"]["/live/state"].is_null());
}

#[tokio::test]
async fn guests_see_it_at_once_where_they_are_let_in() {
    let relay = Relay::options().other_key().argument("--dev").start();
    let page = text(&ask(&relay, "/", None).await);
    assert!(page.contains("data-guests=\"yes\""));
    let state = ask(&relay, "/live/state", None).await;
    assert_eq!(state.status, 200);
    assert_eq!(state.json()["now"]["people"], 0);
}

#[tokio::test]
async fn rooms_and_people_open_to_their_connections() {
    let relay = Relay::start();
    let room = "session/live";
    let coach = tokens::coach("ann").name("Ann <b>A</b>").sign();
    let ann = Client::join(&relay, Provider::YWebsocket, room, &coach).await;
    let again = Client::join(&relay, Provider::Hocuspocus4, room, &coach).await;
    let bob = Client::join(
        &relay,
        Provider::Hocuspocus4,
        "session/other",
        &member("bob"),
    )
    .await;
    let path = "/ws/boards/b";
    let mut eve = Talker::open(relay.address, path, &member("eve")).await;
    eve.hear().await;
    let body = json!({"room": "event/e", "sessionId": "s", "data": {"status": "active"}});
    let body = body.to_string();
    let token = member("dan");
    let path = "/v1/presence/heartbeat";
    let beat = http::ask(relay.address, "POST", path, Some(&token), body.as_bytes());
    assert_eq!(beat.await.status, 200);

    let query = "?room=session%2Flive&user=ann";
    let seen = until(&relay, query, "everybody", |state| {
        state["now"]["people"] == 4 && state["now"]["connections"] == 4
    })
    .await;
    assert_eq!(seen["ready"], true);
    assert_eq!(seen["now"]["rooms"], 4);
    assert!(seen["now"]["memoryBytes"].as_u64().unwrap() > 1 << 20);
    assert!(seen["now"]["messagesIn"].as_u64() > Some(0));
    assert!(seen["now"]["messagesOut"].as_u64() > Some(0));

    let first = &seen["rooms"]["list"][0];
    assert_eq!(
        (&first["room"], &first["kind"]),
        (&json!(room), &json!("session"))
    );
    assert_eq!(
        (&first["people"], &first["connections"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        entry(&seen["rooms"], "room", "board/b").unwrap()["kind"],
        "board"
    );
    let person = entry(&seen["people"], "userId", "ann").unwrap();
    assert_eq!(
        (&person["rooms"], &person["connections"]),
        (&json!(1), &json!(2))
    );
    // As it was given: what shows it must not take it for markup.
    assert_eq!(person["name"], "Ann <b>A</b>");

    let mut doors = Vec::new();
    for opened in ["inRoom", "ofUser"] {
        let list = seen[opened]["list"].as_array().expect("a list");
        assert_eq!(list.len(), 2, "{seen}");
        for one in list {
            assert_eq!(
                (&one["room"], &one["userId"]),
                (&json!(room), &json!("ann"))
            );
            assert_eq!(one["role"], "coach");
            assert!(one["connection"].is_u64());
            let times = ["since", "lastSign"].map(|name| one[name].as_u64().unwrap());
            assert!(
                times
                    .iter()
                    .all(|time| *time <= seen["at"].as_u64().unwrap())
            );
            assert_eq!(
                (&one["isSlow"], &one["waitingBytes"]),
                (&json!(false), &json!(0))
            );
            doors.push(one["door"].as_str().unwrap().to_owned());
        }
    }
    doors.sort_unstable();
    assert_eq!(doors, ["collab", "collab", "sync", "sync"]);
    let of_dan = state(&relay, "?user=dan").await;
    let of_dan = &of_dan["ofUser"]["list"][0];
    assert_eq!(
        (&of_dan["door"], &of_dan["connection"]),
        (&json!("heartbeat"), &Value::Null)
    );

    let found = state(&relay, "?find=OTHER").await;
    assert_eq!(found["rooms"]["list"].as_array().unwrap().len(), 1);
    assert_eq!(found["people"]["list"].as_array().unwrap().len(), 0);
    assert_eq!(found["now"]["rooms"], 4);

    for mut client in [ann, again, bob] {
        client.close().await;
    }
    eve.close().await;
}

#[tokio::test]
async fn why_each_came_and_left_is_told() {
    let relay = Relay::options()
        .config(
            "[kind.board]\ncapacity = 1\nqueue = false\nlinger_lost_ms = 0\nheartbeat_timeout_ms = 1500\n\
             [kind.event]\nheartbeat_timeout_ms = 300\nlinger_lost_ms = 0\n",
        )
        .start();
    let room = "session/why";
    let mut closing = Client::join(&relay, Provider::YWebsocket, room, &member("closing")).await;
    closing.close().await;
    told(
        &relay,
        "closing",
        &["came session/why sync - -", "closed session/why sync - -"],
    )
    .await;

    let lost = RawSocket::open(
        relay.address,
        &format!("/sync/{room}?token={}", member("lost")),
    )
    .await;
    told(&relay, "lost", &["came session/why sync - -"]).await;
    lost.reset();
    told(
        &relay,
        "lost",
        &["came session/why sync - -", "lost session/why sync - -"],
    )
    .await;

    let body = json!({"room": "event/why", "sessionId": "s"}).to_string();
    let token = member("beating");
    let path = "/v1/presence/heartbeat";
    let beat = http::ask(relay.address, "POST", path, Some(&token), body.as_bytes());
    assert_eq!(beat.await.status, 200);
    told(
        &relay,
        "beating",
        &[
            "came event/why heartbeat - -",
            "expired event/why heartbeat - -",
        ],
    )
    .await;

    let stranger = Claims::of("stranger").writes("session/mine").sign();
    let mut refused =
        RawSocket::open(relay.address, &format!("/sync/{room}?token={stranger}")).await;
    assert_eq!(
        refused.ended().await,
        Ended::Closed(4403, "FORBIDDEN".to_owned())
    );
    told(
        &relay,
        "stranger",
        &["refused /sync/session/why - 4403 FORBIDDEN"],
    )
    .await;

    let mut first = Talker::open(relay.address, "/ws/boards/full", &member("first")).await;
    first.hear().await;
    let second = Talker::open(relay.address, "/ws/boards/full", &member("second")).await;
    told(
        &relay,
        "second",
        &["refused board/full boards 1013 BOARD_FULL"],
    )
    .await;
    drop(second);
    told(
        &relay,
        "first",
        &[
            "came board/full boards - -",
            "expired board/full boards 4408 HEARTBEAT_TIMEOUT",
        ],
    )
    .await;
}

#[tokio::test]
async fn one_document_of_a_socket_is_refused_and_revoked_by_name() {
    let relay = Relay::start();
    let mine = Claims::of("ann").writes("session/mine").sign();
    let ann = Client::join(&relay, Provider::Hocuspocus4, "session/mine", &mine).await;
    told(&relay, "ann", &["came session/mine collab - -"]).await;
    let body = json!({"userId": "ann"}).to_string();
    let token = tokens::service();
    let revoked = http::ask(
        relay.address,
        "POST",
        "/v1/revocations",
        Some(&token),
        body.as_bytes(),
    );
    assert_eq!(revoked.await.status, 204);
    told(
        &relay,
        "ann",
        &[
            "came session/mine collab - -",
            "refused session/mine collab 4401 REVOKED",
        ],
    )
    .await;
    drop(ann);
}

#[tokio::test]
async fn who_waits_for_a_place_is_told_and_counted() {
    let relay = Relay::options()
        .config("[kind.board]\ncapacity = 1\n")
        .start();
    let mut first = Talker::open(relay.address, "/ws/boards/q", &member("first")).await;
    first.hear().await;
    let mut second = Talker::open(relay.address, "/ws/boards/q", &member("second")).await;
    second.hear().await;
    told(&relay, "second", &["waiting board/q boards - -"]).await;
    let seen = state(&relay, "?room=board%2Fq").await;
    assert_eq!(
        entry(&seen["rooms"], "room", "board/q").unwrap()["waiting"],
        1
    );
    let waiting = entry(&seen["inRoom"], "userId", "second").unwrap();
    assert_eq!(waiting["isWaiting"], true);
    first.close().await;
    told(
        &relay,
        "second",
        &["waiting board/q boards - -", "came board/q boards - -"],
    )
    .await;
    second.close().await;
}

#[tokio::test]
async fn windows_of_the_feed_are_connections_in_no_room_and_who_hides_is_seen_here() {
    let relay = Relay::start();
    let mut ann = Talker::open(relay.address, "/ws/feed", &member("ann")).await;
    ann.say(json!({"t": "login"})).await;
    ann.hear_that("hello", |text| text["t"] == "hello").await;
    let mut board = Talker::open(relay.address, "/ws/boards/b", &member("ann")).await;
    board.hear().await;
    ann.say(json!({"t": "statusUpdate", "s": "Invisible"}))
        .await;
    let seen = until(&relay, "?user=ann", "ann to hide", |state| {
        entry(&state["people"], "userId", "ann").is_some_and(|ann| ann["isHidden"] == true)
    })
    .await;
    let person = entry(&seen["people"], "userId", "ann").unwrap();
    assert_eq!(
        (&person["rooms"], &person["connections"]),
        (&json!(1), &json!(2))
    );
    let window = entry(&seen["ofUser"], "door", "feed").unwrap();
    assert_eq!(
        (&window["room"], &window["isHidden"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(
        entry(&seen["ofUser"], "door", "boards").unwrap()["isHidden"],
        true
    );
    // To the API of programs she is not there.
    let users = http::get_json(relay.address, "/v1/users/ann/presence", &tokens::service()).await;
    assert_eq!(users["rooms"], json!([]));

    ann.say(json!({"t": "logout"})).await;
    told(
        &relay,
        "ann",
        &[
            "came - feed - -",
            "came board/b boards - -",
            "closed - feed - -",
        ],
    )
    .await;
    board.close().await;
}

#[tokio::test]
async fn the_timeline_goes_on_where_it_was_read_to() {
    let relay = Relay::start();
    let mut ann = Client::join(&relay, Provider::YWebsocket, "session/on", &member("ann")).await;
    let seen = until(&relay, "", "ann to come", |state| {
        passages(state, "ann").len() == 1
    })
    .await;
    let next = seen["timeline"]["next"].as_str().unwrap().to_owned();
    let query = format!("?from={next}");
    let nothing = state(&relay, &query).await;
    assert_eq!(nothing["timeline"], json!({"list": [], "next": next}));
    ann.close().await;
    let left = until(&relay, &query, "ann to leave", |state| {
        !passages(state, "ann").is_empty()
    })
    .await;
    assert_eq!(passages(&left, "ann"), ["closed session/on sync - -"]);
}

#[tokio::test]
async fn who_does_not_read_is_slow_and_what_waits_for_them_is_told() {
    let relay = Relay::options().idle().start();
    let room = "session/slow";
    let path = format!("/sync/{room}?token={}", member("slow"));
    let stuck = RawSocket::open_narrow(relay.address, &path).await;
    let mut writer = Client::join(&relay, Provider::YWebsocket, room, &member("writer")).await;
    let seen = polled("somebody to be slow", || async {
        writer.write(&"x".repeat(100_000));
        let seen = state(&relay, "?room=session%2Fslow").await;
        (seen["now"]["slow"] == 1).then_some(seen)
    })
    .await;
    let slow = &seen["inRoom"]["list"][0];
    assert_eq!(
        (&slow["userId"], &slow["isSlow"]),
        (&json!("slow"), &json!(true))
    );
    assert!(slow["waitingBytes"].as_u64() > Some(0));
    assert_eq!(seen["rooms"]["list"][0]["slow"], 1);
    assert_eq!(entry(&seen["people"], "userId", "slow").unwrap()["slow"], 1);
    drop(stuck);
    until(&relay, "", "nobody to be slow", |state| {
        state["now"]["slow"] == 0
    })
    .await;
    writer.close().await;
}

#[tokio::test]
async fn deliveries_are_timed_here_and_in_the_metrics() {
    let relay = Relay::start();
    let room = "session/timed";
    let ann = Client::join(&relay, Provider::YWebsocket, room, &member("ann")).await;
    let bob = Client::join(&relay, Provider::YWebsocket, room, &member("bob")).await;
    ann.write("hello");
    bob.until_text("hello").await;
    let timed = |state: &Value| -> u64 {
        let counts = state["now"]["delivery"].as_array().expect("buckets");
        counts
            .iter()
            .map(|bucket| bucket[1].as_u64().unwrap())
            .sum()
    };
    until(&relay, "", "a delivery", |state| 0 < timed(state)).await;
    let metrics = text(&ask(&relay, "/metrics", None).await);
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {metrics}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(0.0 < value("copresence_delivery_seconds_count "));
    assert!(0.0 < value("copresence_messages_out_total{door=\"sync\"} "));
    assert!(1e6 < value("process_resident_memory_bytes "));
    for mut client in [ann, bob] {
        client.close().await;
    }
}
