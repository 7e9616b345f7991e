//! The roster: derived from awareness, trusted because of the token, the same for all who ask.

use std::time::Duration;

use copresence::model::{Color, UserId};
use serde_json::{Value, json};

use crate::support::client::{Client, Provider, presence_of};
use crate::support::http::{self, Events};
use crate::support::relay::Relay;
use crate::support::time::polled;
use crate::support::tokens::{self, Claims, coach};

const FIELDS: [&str; 9] = [
    "userId",
    "name",
    "avatar",
    "role",
    "color",
    "status",
    "isConnected",
    "lastSeen",
    "data",
];

/// Exactly the nine fields of a participant.
pub fn check_shape(participant: &Value) {
    let fields = participant.as_object().expect("a participant is an object");
    let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
    let mut wanted = FIELDS;
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    let last_seen = participant["lastSeen"].as_str().expect("a time");
    assert!(
        last_seen.len() == 24 && last_seen.ends_with('Z'),
        "{last_seen} has no milliseconds"
    );
}

/// Asks until the roster is as wanted; fails if it never is.
async fn until_roster(relay: &Relay, room: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    polled("the roster to be as wanted", || async {
        let people = http::roster(relay.address, room).await;
        holds(&people).then_some(people)
    })
    .await
}

/// One participant, once connected.
async fn until_connected(relay: &Relay, room: &str, user: &str) -> Value {
    let is_wanted = |one: &Value| one["userId"] == user && one["isConnected"] == true;
    let people = until_roster(relay, room, |people| people.iter().any(is_wanted)).await;
    people.into_iter().find(|one| is_wanted(one)).unwrap()
}

async fn someone(relay: &Relay, provider: Provider, room: &str, user: &str) -> Client {
    Client::show_up(relay, provider, room, &coach(user).sign(), user).await
}

#[tokio::test]
async fn coach_and_coachee_see_each_other_and_the_dot_turns_black() {
    let relay = Relay::start();
    let room = "session/42";
    let coach_token = Claims::of("c-1")
        .name("Jim")
        .with("picture", "https://example.org/jim.png".into())
        .with("color", "#112233".into())
        .room(room, "coach", "write");
    let coachee_token = Claims::of("e-1")
        .name("Caleb")
        .room(room, "coachee", "write");
    let jim = Client::show_up(
        &relay,
        Provider::YWebsocket,
        room,
        &coach_token.sign(),
        "c-1",
    )
    .await;
    let mut caleb = Client::show_up(
        &relay,
        Provider::Hocuspocus4,
        room,
        &coachee_token.sign(),
        "e-1",
    )
    .await;
    jim.until_sees(&caleb).await;
    caleb.until_sees(&jim).await;
    let seen = caleb.state().state_of(jim.id()).unwrap();
    assert_eq!(seen["presence"]["name"], "Jim");
    assert_eq!(seen["presence"]["role"], "coach");

    let jim_there = until_connected(&relay, room, "c-1").await;
    check_shape(&jim_there);
    assert_eq!(jim_there["name"], "Jim");
    assert_eq!(jim_there["avatar"], "https://example.org/jim.png");
    assert_eq!(jim_there["role"], "coach");
    assert_eq!(jim_there["color"], "#112233");
    assert_eq!(jim_there["status"], "online");
    let caleb_there = until_connected(&relay, room, "e-1").await;
    check_shape(&caleb_there);
    assert_eq!(caleb_there["avatar"], Value::Null);
    assert_eq!(
        caleb_there["color"], "#3b82f6",
        "the state's colour, as the token has none"
    );

    caleb.close().await;
    jim.until_missing(&caleb).await;
    let people = http::roster(relay.address, room).await;
    assert_eq!(
        people.len(),
        2,
        "who left is remembered while the room is loaded"
    );
    assert_eq!(people[0]["userId"], "c-1", "connected ones first");
    check_shape(&people[1]);
    assert_eq!(people[1]["isConnected"], false);
    assert_eq!(people[1]["status"], "offline");
    assert_eq!(people[1]["name"], "Caleb");
    assert_eq!(people[1]["role"], "coachee");
}

#[tokio::test]
async fn a_stream_tells_of_arrivals_changes_and_departures_in_turn() {
    let relay = Relay::start();
    let room = "session/stream";
    let path = format!("/v1/rooms/{room}/presence/stream");
    let mut events = Events::open(relay.address, &path, &tokens::service()).await;
    let (kind, snapshot) = events.next().await.unwrap();
    assert_eq!(kind, "snapshot");
    assert_eq!(snapshot, json!({"room": room, "participants": []}));
    for provider in Provider::ALL {
        let mut ann = someone(&relay, provider, room, "ann").await;
        let (kind, joined) = events.next().await.unwrap();
        assert_eq!(
            (kind.as_str(), &joined["userId"]),
            ("joined", &json!("ann"))
        );
        check_shape(&joined);
        // The same state again is a renewal.
        ann.set_state(presence_of("ann"));
        ann.set_state(json!({"presence": {"userId": "ann", "color": "#ff0000"}}));
        let (kind, changed) = events.next().await.unwrap();
        assert_eq!(
            (kind.as_str(), &changed["color"]),
            ("changed", &json!("#ff0000"))
        );
        check_shape(&changed);
        match provider {
            Provider::YWebsocket => ann.close().await,
            Provider::Hocuspocus2 => ann.reset().await,
            // Hidden, but still connected.
            Provider::Hocuspocus4 => ann.clear_state(),
        }
        let (kind, left) = events.next().await.unwrap();
        assert_eq!(
            (kind.as_str(), &left["isConnected"]),
            ("left", &json!(false))
        );
        check_shape(&left);
    }
    let mut late = Events::open(relay.address, &path, &tokens::service()).await;
    let (kind, snapshot) = late.next().await.unwrap();
    assert_eq!(kind, "snapshot");
    assert_eq!(snapshot["participants"][0]["isConnected"], false);
}

#[tokio::test]
async fn who_hides_and_shows_again_leaves_and_joins() {
    let relay = Relay::start();
    let room = "session/hide";
    let path = format!("/v1/rooms/{room}/presence/stream");
    let ann = someone(&relay, Provider::Hocuspocus4, room, "ann").await;
    let ben = someone(&relay, Provider::YWebsocket, room, "ben").await;
    ben.until_sees(&ann).await;
    let mut events = Events::open(relay.address, &path, &tokens::service()).await;
    assert_eq!(events.next().await.unwrap().0, "snapshot");
    ann.clear_state();
    ben.until_missing(&ann).await;
    assert_eq!(events.next().await.unwrap().0, "left");
    ann.set_state(presence_of("ann"));
    ben.until_sees(&ann).await;
    assert_eq!(events.next().await.unwrap().0, "joined");
}

#[tokio::test]
async fn five_tabs_are_one_participant_and_closing_four_is_silent() {
    let relay = Relay::start();
    let room = "session/tabs";
    let mut tabs = Vec::new();
    for number in 0..5 {
        tabs.push(someone(&relay, Provider::ALL[number % 3], room, "ann").await);
    }
    until_connected(&relay, room, "ann").await;
    let path = format!("/v1/rooms/{room}/presence/stream");
    let mut events = Events::open(relay.address, &path, &tokens::service()).await;
    let (_, snapshot) = events.next().await.unwrap();
    assert_eq!(snapshot["participants"].as_array().unwrap().len(), 1);
    // The tab whose state changed last is shown.
    tabs[2].set_state(json!({"presence": {"userId": "ann", "color": "#0000ff"}}));
    let (kind, changed) = events.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), &changed["color"]),
        ("changed", &json!("#0000ff"))
    );
    for _ in 0..2 {
        let mut tab = tabs.remove(0);
        tab.close().await;
    }
    for _ in 0..2 {
        let mut tab = tabs.pop().unwrap();
        tab.reset().await;
    }
    assert_eq!(
        until_connected(&relay, room, "ann").await["color"],
        "#0000ff"
    );
    // The shown tab is the one that is left; nothing was to be told.
    tabs[0].close().await;
    let (kind, left) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), &left["userId"]), ("left", &json!("ann")));
    assert_eq!(events.next_within(Duration::from_millis(300)).await, None);
}

#[tokio::test]
async fn when_the_shown_tab_closes_another_is_shown() {
    let relay = Relay::start();
    let room = "session/tabs-shown";
    let first = someone(&relay, Provider::YWebsocket, room, "ann").await;
    let mut second = someone(&relay, Provider::Hocuspocus4, room, "ann").await;
    first.set_state(json!({"presence": {"color": "#111111"}}));
    until_roster(&relay, room, |people| people[0]["color"] == "#111111").await;
    second.set_state(json!({"presence": {"color": "#222222"}}));
    until_roster(&relay, room, |people| people[0]["color"] == "#222222").await;
    second.close().await;
    let people = until_roster(&relay, room, |people| people[0]["color"] == "#111111").await;
    assert_eq!(people[0]["isConnected"], true);
}

#[tokio::test]
async fn a_refresh_is_a_removal_and_an_arrival_in_order() {
    let relay = Relay::start();
    let room = "session/refresh";
    let ben = someone(&relay, Provider::Hocuspocus4, room, "ben").await;
    let mut tab = someone(&relay, Provider::YWebsocket, room, "ann").await;
    ben.until_sees(&tab).await;
    let path = format!("/v1/rooms/{room}/presence/stream");
    let mut events = Events::open(relay.address, &path, &tokens::service()).await;
    assert_eq!(events.next().await.unwrap().0, "snapshot");
    for _ in 0..10 {
        tab.hang_up().await;
        // A new page draws a new client id.
        let fresh = someone(&relay, Provider::YWebsocket, room, "ann").await;
        ben.until_sees(&fresh).await;
        assert!(
            !ben.sees(&tab),
            "both the old page and the new one are shown"
        );
        assert_eq!(events.next().await.unwrap().0, "left");
        assert_eq!(events.next().await.unwrap().0, "joined");
        tab = fresh;
    }
}

#[tokio::test]
async fn a_users_rooms_are_shown_as_far_as_the_caller_may_read() {
    let relay = Relay::start();
    let mut tabs = Vec::new();
    for room in ["session/1", "session/2", "private/3"] {
        let token = tokens::member("ann");
        tabs.push(Client::show_up(&relay, Provider::YWebsocket, room, &token, "ann").await);
        until_connected(&relay, room, "ann").await;
    }
    let rooms = |answer: &Value| -> Vec<String> {
        assert_eq!(answer["userId"], "ann");
        let rooms = answer["rooms"].as_array().unwrap();
        let mut names: Vec<_> = rooms
            .iter()
            .map(|entry| entry["room"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let path = "/v1/users/ann/presence";
    let answer = http::get_json(relay.address, path, &tokens::service()).await;
    assert_eq!(rooms(&answer), ["private/3", "session/1", "session/2"]);
    let mut entry = answer["rooms"][0].clone();
    entry.as_object_mut().unwrap().remove("room");
    check_shape(&entry);
    let friend = Claims::of("ben").reads("session/*").sign();
    assert_eq!(
        rooms(&http::get_json(relay.address, path, &friend).await),
        ["session/1", "session/2"]
    );
    let stranger = Claims::of("eve").sign();
    assert!(rooms(&http::get_json(relay.address, path, &stranger).await).is_empty());
    tabs[0].close().await;
    polled(
        "the room that was left to be gone from the list",
        || async {
            let answer = http::get_json(relay.address, path, &friend).await;
            (rooms(&answer) == ["session/2"]).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn names_roles_and_ids_come_from_the_token() {
    let relay = Relay::start();
    let room = "session/stamp";
    let watchers = [
        someone(&relay, Provider::YWebsocket, room, "watcher").await,
        someone(&relay, Provider::Hocuspocus4, room, "watcher").await,
    ];
    let token = Claims::of("eve")
        .name("Eve")
        .room(room, "coachee", "write")
        .sign();
    let eve = Client::join(&relay, Provider::YWebsocket, room, &token).await;
    eve.set_state(json!({
        "presence": {"userId": "jim", "name": "Jim", "role": "coach", "mood": "fine"},
        "user": {"name": "Jim", "color": "#123456"},
        "cursor": {"anchor": 1},
    }));
    let id = eve.id();
    for watcher in &watchers {
        watcher.until_sees(&eve).await;
        let state = watcher.state().state_of(id).unwrap();
        assert_eq!(
            state,
            json!({
                "presence": {"userId": "eve", "name": "Eve", "role": "coachee", "mood": "fine"},
                "user": {"name": "Eve", "color": "#123456"},
                "cursor": {"anchor": 1},
            })
        );
    }
    let shown = until_connected(&relay, room, "eve").await;
    assert_eq!(
        (&shown["name"], &shown["role"]),
        (&json!("Eve"), &json!("coachee"))
    );
    let people = http::roster(relay.address, room).await;
    assert!(!people.iter().any(|one| one["userId"] == "jim"));
}

#[tokio::test]
async fn a_role_that_the_token_does_not_give_is_removed() {
    let relay = Relay::start();
    let room = "session/no-role";
    let watcher = someone(&relay, Provider::YWebsocket, room, "watcher").await;
    let token = Claims::of("eve")
        .with("allowedDocumentNames", json!([room]))
        .sign();
    let eve = Client::join(&relay, Provider::Hocuspocus4, room, &token).await;
    eve.set_state(json!({"presence": {"role": "coach"}}));
    watcher.until_sees(&eve).await;
    let state = watcher.state().state_of(eve.id()).unwrap();
    assert_eq!(state, json!({"presence": {"userId": "eve", "name": "eve"}}));
    assert_eq!(
        until_connected(&relay, room, "eve").await["role"],
        Value::Null
    );
}

#[tokio::test]
async fn a_duplicate_key_does_not_smuggle_a_name_past_the_stamp() {
    let relay = Relay::start();
    let room = "session/duplicate";
    let watcher = someone(&relay, Provider::YWebsocket, room, "watcher").await;
    let token = Claims::of("eve")
        .name("Eve")
        .room(room, "coachee", "write")
        .sign();
    let eve = Client::join(&relay, Provider::YWebsocket, room, &token).await;
    eve.set_state_text(
        r#"{"presence":{"userId":"eve","name":"Eve","role":"coachee","name":"Jim"},"user":{"name":"Eve"},"user":{"name":"Jim"}}"#,
    );
    watcher.until_sees(&eve).await;
    let id = eve.id();
    let text = watcher.state().others()[&id].clone();
    assert!(!text.contains("Jim"), "a forged name got through: {text}");
}

#[tokio::test]
async fn a_state_that_agrees_with_the_token_is_forwarded_byte_for_byte() {
    let relay = Relay::start();
    let room = "session/bytes";
    let watcher = someone(&relay, Provider::Hocuspocus4, room, "watcher").await;
    let token = Claims::of("ann")
        .name("Ann")
        .room(room, "coach", "write")
        .sign();
    let ann = Client::join(&relay, Provider::YWebsocket, room, &token).await;
    for text in [
        r#"{ "z":1,  "presence" : {"role":"coach","userId":"ann","name":"Ann"}, "a":1.50e1, "é":"\u00e9" }"#,
        r##"{"user":{"name":"Ann","color":"#000000"},"cursor":null}"##,
        r#"{"neither":"of them"}"#,
        "[1, 2,3]",
        r#""only text""#,
    ] {
        ann.set_state_text(text);
        let id = ann.id();
        watcher
            .until(text, |state| {
                state.others().get(&id).map(String::as_str) == Some(text)
            })
            .await;
    }
}

#[tokio::test]
async fn with_trust_awareness_states_pass_as_they_are() {
    let relay = Relay::options().argument("--trust-awareness").start();
    let room = "session/trusting";
    let watcher = someone(&relay, Provider::YWebsocket, room, "watcher").await;
    let eve = someone(&relay, Provider::YWebsocket, room, "eve").await;
    eve.set_state(presence_of("jim"));
    let id = eve.id();
    watcher
        .until("the state as it was sent", |state| {
            state.state_of(id) == Some(presence_of("jim"))
        })
        .await;
}

#[tokio::test]
async fn a_colour_comes_from_the_token_or_the_state_or_is_always_the_same() {
    let relay = Relay::start();
    let derived = Color::of_user(&UserId::parse("d").unwrap()).to_string();
    let cases = [
        (
            "a",
            Some("#ABCDEF"),
            json!({"presence": {"color": "#111111"}}),
            "#abcdef",
        ),
        (
            "b",
            None,
            json!({"presence": {"color": "#111111"}, "user": {"color": "#222222"}}),
            "#111111",
        ),
        ("c", None, json!({"user": {"color": "#222222"}}), "#222222"),
        (
            "d",
            None,
            json!({"presence": {"color": "red"}}),
            derived.as_str(),
        ),
    ];
    let mut clients = Vec::new();
    for (user, claim, state, shown) in cases {
        let mut claims = coach(user);
        if let Some(color) = claim {
            claims = claims.with("color", color.into());
        }
        let client = Client::new(
            &relay,
            Provider::YWebsocket,
            "session/colours",
            &claims.sign(),
        );
        client.set_state(state);
        clients.push(client);
        clients.last_mut().unwrap().connect().await;
        let color = until_connected(&relay, "session/colours", user).await["color"].clone();
        let color = color.as_str().unwrap().to_ascii_lowercase();
        assert_eq!(color, shown, "{user}");
    }
}

#[tokio::test]
async fn reading_makes_nobody_present() {
    let relay = Relay::start();
    let room = "session/readers";
    let ann = someone(&relay, Provider::YWebsocket, room, "ann").await;
    until_connected(&relay, room, "ann").await;
    let observer = Claims::of("observer").reads(room).sign();
    let path = format!("/v1/rooms/{room}/presence");
    let mut events = Events::open(relay.address, &format!("{path}/stream"), &observer).await;
    assert_eq!(events.next().await.unwrap().0, "snapshot");
    http::get_json(relay.address, &path, &observer).await;
    // A back end with a socket, and somebody who shows nothing of themselves.
    let backend = Client::show_up(
        &relay,
        Provider::YWebsocket,
        room,
        &tokens::service(),
        "back-end",
    )
    .await;
    let mut silent = Client::new(
        &relay,
        Provider::Hocuspocus4,
        room,
        &tokens::member("silent"),
    );
    silent.set_state(json!({"cursor": 1}));
    silent.connect().await;
    ann.until_sees(&silent).await;
    backend.until_sees(&ann).await;
    let people = http::roster(relay.address, room).await;
    let names: Vec<_> = people
        .iter()
        .map(|one| one["userId"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ann"]);
    assert_eq!(events.next_within(Duration::from_millis(200)).await, None);
}

#[tokio::test]
async fn who_may_only_read_is_seen_all_the_same() {
    let relay = Relay::start();
    let room = "session/reader";
    let ann = someone(&relay, Provider::YWebsocket, room, "ann").await;
    let reader = Claims::of("reader").reads(room).sign();
    let reader = Client::show_up(&relay, Provider::Hocuspocus4, room, &reader, "reader").await;
    ann.until_sees(&reader).await;
    assert_eq!(
        until_connected(&relay, room, "reader").await["role"],
        "observer"
    );
}
