//! Where a user is, and who is in all rooms below a name: asked for once, and live.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::presence::check_shape;
use crate::support::client::{Client, Provider};
use crate::support::http::{self, Events};
use crate::support::relay::Relay;
use crate::support::time::{PATIENCE, now, polled, within};
use crate::support::tokens::{self, Claims};

async fn arrive(relay: &Relay, room: &str, user: &str) -> Client {
    let provider = Provider::ALL[user.len() % 3];
    Client::show_up(relay, provider, room, &tokens::member(user), user).await
}

/// A list's entries by the names of their rooms.
fn rooms(list: &Value) -> Vec<&str> {
    let rooms = list["rooms"].as_array().expect("a list of rooms");
    rooms
        .iter()
        .map(|entry| entry["room"].as_str().unwrap())
        .collect()
}

/// The users of an entry below a prefix, which is as the contract has it.
fn users(entry: &Value) -> Vec<&str> {
    let fields: Vec<_> = entry.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["activeCount", "activeUsers", "room"]);
    let active = entry["activeUsers"].as_array().unwrap();
    assert_eq!(entry["activeCount"], active.len());
    for participant in active {
        check_shape(participant);
        assert_eq!(participant["isConnected"], true);
    }
    let mut users: Vec<_> = active
        .iter()
        .map(|one| one["userId"].as_str().unwrap())
        .collect();
    users.sort_unstable();
    users
}

/// A room's entry as the next `changed` has it.
async fn changed(events: &mut Events) -> Value {
    let (kind, entry) = events.next().await.expect("the stream goes on");
    assert_eq!(kind, "changed", "{entry}");
    entry
}

/// Reads `changed` until the entry is as wanted. Those before it are older states of rooms.
async fn until_changed(events: &mut Events, is_wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let entry = changed(events).await;
        if is_wanted(&entry) {
            return entry;
        }
    }
}

async fn snapshot(events: &mut Events) -> Value {
    let (kind, snapshot) = events.next().await.expect("the stream begins");
    assert_eq!(kind, "snapshot");
    snapshot
}

#[tokio::test]
async fn under_a_prefix_are_the_rooms_with_somebody_in_them() {
    let relay = Relay::start();
    let mut people = Vec::new();
    for (room, user) in [
        ("event/expo", "ann"),
        ("event/expo/stand-1", "ann"),
        ("event/expo/stand-1", "ben"),
        ("event/expo/stand-2", "cid"),
        ("event/expos", "dan"),
        ("event/fair", "eve"),
    ] {
        people.push(arrive(&relay, room, user).await);
    }
    let list = |under: &'static str| async move {
        let path = format!("/v1/presence?under={under}");
        let list = http::get_json(relay.address, &path, &tokens::service()).await;
        let fields: Vec<_> = list.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["rooms", "totalActiveUsers", "under"]);
        list
    };
    let list = &list;
    let expo = polled("everybody to be there", || async {
        let list = list("event/expo").await;
        (list["totalActiveUsers"] == 3).then_some(list)
    })
    .await;
    assert_eq!(expo["under"], "event/expo");
    assert_eq!(
        rooms(&expo),
        ["event/expo", "event/expo/stand-1", "event/expo/stand-2"]
    );
    assert_eq!(users(&expo["rooms"][0]), ["ann"]);
    assert_eq!(users(&expo["rooms"][1]), ["ann", "ben"]);
    assert_eq!(
        rooms(&list("event%2Fexpo%2Fstand-2").await),
        ["event/expo/stand-2"]
    );
    assert_eq!(list("event").await["totalActiveUsers"], 5);
    assert_eq!(
        list("even").await,
        json!({"under": "even", "rooms": [], "totalActiveUsers": 0})
    );
    people[3].close().await;
    polled("the empty room to be gone", || async {
        let list = list("event/expo").await;
        (rooms(&list) == ["event/expo", "event/expo/stand-1"]).then_some(())
    })
    .await;
}

/// What each of many requests on one connection, sent in one go, is answered.
async fn answers_in_one_go(relay: &Relay, token: &str, count: usize) -> String {
    let path = "/v1/presence?under=event/expo";
    let request = |connection: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {token}\r\nconnection: {connection}\r\n\r\n"
        )
    };
    let all = request("keep-alive").repeat(count - 1) + &request("close");
    let stream = tokio::net::TcpStream::connect(relay.address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let mut text = String::new();
    let (sent, read) = tokio::join!(
        to.write_all(all.as_bytes()),
        within(6 * PATIENCE, "the answers", from.read_to_string(&mut text)),
    );
    sent.unwrap();
    read.unwrap();
    text
}

#[tokio::test]
async fn who_reads_all_the_time_is_told_to_wait() {
    let relay = Relay::options().idle().start();
    let count = 1_500;
    let greedy = answers_in_one_go(&relay, &tokens::member("ann"), count).await;
    let taken = greedy.matches("HTTP/1.1 200 OK").count();
    let refused = greedy.matches("HTTP/1.1 429 Too Many Requests").count();
    assert_eq!(taken + refused, count);
    assert!(400 <= taken && 0 < refused, "{taken} of {count}");
    assert_eq!(greedy.matches("\"RATE_LIMITED\"").count(), refused);
    assert_eq!(greedy.matches("retry-after: 1\r").count(), refused);
    // Others are not held up, and back ends never.
    let path = "/v1/presence?under=event/expo";
    let ben = http::get(relay.address, path, &tokens::member("ben")).await;
    assert_eq!(ben.status, 200);
    let trusted = answers_in_one_go(&relay, &tokens::service(), 600).await;
    assert_eq!(trusted.matches("HTTP/1.1 200 OK").count(), 600);
}

#[tokio::test]
async fn without_a_name_there_is_nothing_to_look_below() {
    let relay = Relay::start();
    let problem = |path: &'static str, token: &'static str| async move {
        let token = match token {
            "good" => tokens::member("ann"),
            bad => bad.to_owned(),
        };
        http::get(relay.address, path, &token).await.problem()
    };
    let problem = &problem;
    let bad = |code: &str| (400, code.to_owned());
    for path in ["/v1/presence", "/v1/presence/stream"] {
        assert_eq!(problem(path, "good").await, bad("BAD_REQUEST"));
    }
    let bad_names = [
        "/v1/presence?under=",
        "/v1/presence?under=event/",
        "/v1/presence/stream?under=a//b",
    ];
    for path in bad_names {
        assert_eq!(problem(path, "good").await, bad("BAD_ROOM"), "{path}");
        // Who is asking comes first.
        assert_eq!(
            problem(path, "forged").await,
            (401, "UNAUTHORIZED".to_owned())
        );
    }
    assert_eq!(
        problem("/v1/users/%ff/presence/stream", "good").await,
        bad("BAD_REQUEST")
    );
}

#[tokio::test]
async fn a_users_stream_follows_them_from_room_to_room() {
    let relay = Relay::start();
    let mut at_home = arrive(&relay, "session/home", "ann").await;
    let _ben = arrive(&relay, "session/home", "ben").await;
    polled("ann to be there", || async {
        let list =
            http::get_json(relay.address, "/v1/users/ann/presence", &tokens::service()).await;
        (rooms(&list) == ["session/home"]).then_some(())
    })
    .await;
    let path = "/v1/users/ann/presence/stream";
    let mut events = Events::open(relay.address, path, &tokens::service()).await;
    let first = snapshot(&mut events).await;
    assert_eq!(
        (&first["userId"], rooms(&first)),
        (&json!("ann"), vec!["session/home"])
    );
    let check = |entry: &Value, room: &str, is_connected: bool| {
        let mut entry = entry.clone();
        let name = entry.as_object_mut().unwrap().remove("room");
        assert_eq!(name, Some(room.into()));
        check_shape(&entry);
        assert_eq!(entry["userId"], "ann");
        assert_eq!(entry["isConnected"], is_connected);
    };
    check(&first["rooms"][0], "session/home", true);

    // Enough rooms to be on every worker.
    let mut elsewhere = Vec::new();
    for number in 0..8 {
        let room = format!("event/{number}");
        elsewhere.push(arrive(&relay, &room, "ann").await);
        let there = until_changed(&mut events, |entry| entry["room"] == room.as_str()).await;
        check(&there, &room, true);
    }
    elsewhere[0].set_state(json!({"presence": {"color": "#0000ff"}}));
    let recolored = until_changed(&mut events, |entry| entry["color"] == "#0000ff").await;
    check(&recolored, "event/0", true);
    at_home.reset().await;
    let gone = until_changed(&mut events, |entry| entry["isConnected"] == false).await;
    check(&gone, "session/home", false);
    assert_eq!(gone["status"], "offline");
    // What somebody else does there is not theirs.
    let _cid = arrive(&relay, "session/home", "cid").await;
    assert_eq!(events.next_within(Duration::from_millis(200)).await, None);
}

#[tokio::test]
async fn a_stream_below_a_prefix_tells_of_each_room_that_changed() {
    let relay = Relay::start();
    let _ann = arrive(&relay, "event/expo/1", "ann").await;
    let _out = arrive(&relay, "event/other", "zoe").await;
    polled("ann to be there", || async {
        let path = "/v1/presence?under=event/expo";
        let list = http::get_json(relay.address, path, &tokens::service()).await;
        (rooms(&list) == ["event/expo/1"]).then_some(())
    })
    .await;
    let path = "/v1/presence/stream?under=event/expo";
    let mut events = Events::open(relay.address, path, &tokens::service()).await;
    let first = snapshot(&mut events).await;
    assert_eq!(first["under"], "event/expo");
    assert_eq!(first["totalActiveUsers"], 1);
    assert_eq!(users(&first["rooms"][0]), ["ann"]);

    let mut ben = arrive(&relay, "event/expo/1", "ben").await;
    let is_of = |room: &'static str, wanted: &'static [&str]| {
        move |entry: &Value| entry["room"] == room && users(entry) == wanted
    };
    until_changed(&mut events, is_of("event/expo/1", &["ann", "ben"])).await;
    let mut cid = arrive(&relay, "event/expo", "cid").await;
    until_changed(&mut events, is_of("event/expo", &["cid"])).await;
    ben.close().await;
    until_changed(&mut events, is_of("event/expo/1", &["ann"])).await;
    cid.close().await;
    let entry = until_changed(&mut events, is_of("event/expo", &[])).await;
    assert_eq!(
        entry,
        json!({"room": "event/expo", "activeUsers": [], "activeCount": 0})
    );
    let _zed = arrive(&relay, "event/others", "zed").await;
    assert_eq!(events.next_within(Duration::from_millis(200)).await, None);
}

#[tokio::test]
async fn a_stream_of_many_rooms_ends_with_the_callers_right_to_read() {
    let relay = Relay::options().idle().start();
    let ann = arrive(&relay, "event/a", "ann").await;
    let _also = arrive(&relay, "event/b", "ann").await;
    polled("ann to be there", || async {
        let path = "/v1/presence?under=event";
        let list = http::get_json(relay.address, path, &tokens::service()).await;
        (rooms(&list) == ["event/a", "event/b"]).then_some(())
    })
    .await;
    let paths = [
        "/v1/presence/stream?under=event",
        "/v1/users/ann/presence/stream",
    ];
    let revoke = |user: &'static str, room: Option<&'static str>| async move {
        let body = json!({"userId": user, "room": room}).to_string();
        let token = tokens::service();
        let path = "/v1/revocations";
        let answer = http::ask(relay.address, "POST", path, Some(&token), body.as_bytes());
        assert_eq!(answer.await.status, 204);
    };
    let revoke = &revoke;
    for path in paths {
        // By its time.
        let short = Claims::of("short").reads("event/*").expires_in(2).sign();
        let mut expiring = Events::open(relay.address, path, &short).await;
        assert_eq!(
            rooms(&snapshot(&mut expiring).await),
            ["event/a", "event/b"]
        );
        assert_eq!(expiring.next().await, None);
    }
    for (number, path) in paths.into_iter().enumerate() {
        // In one room of those shown, and then everywhere.
        let user = ["eve", "eva"][number];
        let token = Claims::of(user).reads("event/*").sign();
        let mut events = Events::open(relay.address, path, &token).await;
        assert_eq!(rooms(&snapshot(&mut events).await), ["event/a", "event/b"]);
        // Of somebody else, or elsewhere, is no reason to end.
        revoke("mallory", None).await;
        revoke(user, Some("event/z")).await;
        assert_eq!(events.next_within(Duration::from_millis(700)).await, None);
        ann.set_state(json!({"presence": {"color": format!("#00000{number}")}}));
        assert_eq!(changed(&mut events).await["room"], "event/a");
        let begun = now();
        revoke(user, Some("event/a")).await;
        assert_eq!(events.next().await, None);
        assert!(now() - begun < Duration::from_secs(1));

        let mut events = Events::open(relay.address, path, &token).await;
        assert_eq!(rooms(&snapshot(&mut events).await), ["event/b"]);
        ann.set_state(json!({"presence": {"color": format!("#1111{number}1")}}));
        assert_eq!(events.next_within(Duration::from_millis(200)).await, None);
        revoke(user, None).await;
        assert_eq!(events.next().await, None);
        assert_eq!(
            http::get(relay.address, path, &token).await.problem(),
            (401, "UNAUTHORIZED".to_owned())
        );
    }
}

#[tokio::test]
async fn a_drain_ends_streams_of_many_rooms() {
    let mut relay = Relay::start();
    let mut streams = Vec::new();
    for path in [
        "/v1/presence/stream?under=event",
        "/v1/users/ann/presence/stream",
    ] {
        let mut events = Events::open(relay.address, path, &tokens::service()).await;
        snapshot(&mut events).await;
        streams.push(events);
    }
    relay.terminate();
    for events in &mut streams {
        assert_eq!(events.next().await, None);
    }
    assert!(relay.exited().await.success());
}

#[tokio::test]
async fn who_reads_slowly_is_told_the_newest() {
    let relay = Relay::options().idle().start();
    // A large entry: 1,000 of them fit no socket.
    let picture = format!("https://example.org/{}", "x".repeat(9_000));
    let token = Claims::of("ann")
        .writes("*")
        .with("picture", picture.into());
    let room = "event/busy";
    let ann = Client::show_up(&relay, Provider::YWebsocket, room, &token.sign(), "ann").await;
    let path = "/v1/users/ann/presence/stream";
    let mut events = Events::open(relay.address, path, &tokens::service()).await;
    let color = |number: usize| format!("#{number:06x}");
    for number in 0..1_000 {
        ann.set_state(json!({"presence": {"color": color(number)}}));
        // Between two changes there is time for a third to be told, or they would be one.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    snapshot(&mut events).await;
    let mut told = 1;
    while changed(&mut events).await["color"] != color(999) {
        told += 1;
    }
    assert!(
        told < 1_000,
        "all {told} changes waited for a client that did not read"
    );
}
