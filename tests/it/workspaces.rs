//! Workspaces: who is where, in text.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, Provider};
use crate::support::frames;
use crate::support::http;
use crate::support::raw::{Ended, RawSocket};
use crate::support::relay::Relay;
use crate::support::talker::{Said, Talker};
use crate::support::time::{polled, unix_seconds};
use crate::support::tokens::{self, Claims, member};

fn path(workspace: &str) -> String {
    format!("/parties/presence/presence-{workspace}")
}

/// Opens a socket; with the snapshot that is the first thing it hears.
async fn enter_with(relay: &Relay, workspace: &str, token: &str) -> (Talker, Value) {
    let mut talker = Talker::open(relay.address, &path(workspace), token).await;
    match talker.next().await {
        Said::Text(text) if text["type"] == "presence_snapshot" => (talker, text["users"].clone()),
        other => panic!("{other:?} instead of a snapshot"),
    }
}

async fn enter(relay: &Relay, workspace: &str, user: &str) -> (Talker, Value) {
    enter_with(relay, workspace, &member(user)).await
}

fn at(path: &str) -> Value {
    json!({"type": "presence_update", "currentPath": path})
}

fn changed(user: &str, path: &str) -> Value {
    json!({"type": "presence_changed", "userId": user, "userName": user, "currentPath": path})
}

fn code(text: &Value) -> &str {
    assert_eq!(text["type"], "error", "{text}");
    assert!(text["message"].is_string(), "{text}");
    text["code"].as_str().expect("a code")
}

#[tokio::test]
async fn people_in_a_workspace_see_where_the_others_are() {
    let relay = Relay::start();
    let token = Claims::of("ann")
        .name("Ann A.")
        .with("picture", "https://example.org/ann.png".into())
        .writes("workspace/w1");
    let (mut ann, users) = enter_with(&relay, "w1", &token.sign()).await;
    assert_eq!(users, json!([]), "all but the receiver");
    let update = json!({
        "type": "presence_update", "currentPath": "/docs/7", "resourceType": "document",
        "resourceId": "7",
    });
    ann.say(update).await;
    // The answer to what comes behind it says that it has arrived.
    ann.say(json!({"type": "?"})).await;
    assert_eq!(code(&ann.hear().await), "BAD_MESSAGE");
    let (mut bob, users) = enter(&relay, "w1", "bob").await;
    let here = json!([{
        "userId": "ann", "userName": "Ann A.", "userImage": "https://example.org/ann.png",
        "currentPath": "/docs/7", "resourceType": "document", "resourceId": "7",
    }]);
    assert_eq!(users, here);
    assert_eq!(
        ann.hear().await,
        json!({"type": "user_joined", "userId": "bob", "userName": "bob", "userImage": null})
    );
    // Until they say, people are nowhere.
    let (mut carol, users) = enter(&relay, "w1", "carol").await;
    let bob_here =
        json!({"userId": "bob", "userName": "bob", "userImage": null, "currentPath": ""});
    assert!(users.as_array().unwrap().contains(&bob_here), "{users}");
    for talker in [&mut ann, &mut bob] {
        assert_eq!(talker.hear().await["userId"], "carol");
    }

    // Replaces all three.
    ann.say(at("/tasks")).await;
    let moved = json!({
        "type": "presence_changed", "userId": "ann", "userName": "Ann A.", "currentPath": "/tasks",
    });
    assert_eq!(bob.hear().await, moved);
    assert_eq!(carol.hear().await, moved);
    // Again is no news, and nothing comes back to ann: all hear next of bob.
    ann.say(at("/tasks")).await;
    bob.say(json!({
        "type": "presence_update", "currentPath": "/x", "resourceType": "task", "resourceId": "3",
        "unknown": [1],
    }))
    .await;
    let moved = json!({
        "type": "presence_changed", "userId": "bob", "userName": "bob", "currentPath": "/x",
        "resourceType": "task", "resourceId": "3",
    });
    assert_eq!(ann.hear().await, moved);
    assert_eq!(carol.hear().await, moved);

    bob.close().await;
    let left = json!({"type": "user_left", "userId": "bob"});
    assert_eq!(ann.hear().await, left);
    assert_eq!(carol.hear().await, left);
    // Nobody lingers here, however they go.
    carol.vanish();
    assert_eq!(
        ann.hear().await,
        json!({"type": "user_left", "userId": "carol"})
    );
}

#[tokio::test]
async fn several_tabs_are_one_entry_and_the_last_update_wins() {
    let relay = Relay::start();
    let (mut bob, _) = enter(&relay, "tabs", "bob").await;
    let (mut first, _) = enter(&relay, "tabs", "ann").await;
    assert_eq!(bob.hear().await["type"], "user_joined");
    first.say(at("/one")).await;
    assert_eq!(bob.hear().await, changed("ann", "/one"));
    // A new tab that has said nothing changes nothing.
    let (mut second, users) = enter(&relay, "tabs", "ann").await;
    assert_eq!(users.as_array().unwrap().len(), 1, "{users}");
    second.say(at("/two")).await;
    assert_eq!(bob.hear().await, changed("ann", "/two"));
    assert_eq!(first.hear().await, changed("ann", "/two"), "as others");
    let (mut third, _) = enter(&relay, "tabs", "ann").await;
    third.say(at("/three")).await;
    assert_eq!(bob.hear().await, changed("ann", "/three"));
    // An older tab's end is no news; the shown one's shows the latest of the others.
    first.close().await;
    third.close().await;
    assert_eq!(bob.hear().await, changed("ann", "/two"));
    second.close().await;
    assert_eq!(
        bob.hear().await,
        json!({"type": "user_left", "userId": "ann"})
    );
}

#[tokio::test]
async fn whoever_is_cut_off_is_gone_without_a_word() {
    let relay = Relay::options()
        .config("[kind.workspace]\nping_every_ms = 200\ndead_after_ms = 400\n")
        .start();
    let (mut ann, _) = enter(&relay, "cut", "ann").await;
    let (_silent, _) = enter(&relay, "cut", "bob").await;
    assert_eq!(ann.hear().await["type"], "user_joined");
    // Bob's socket stays open, and nobody answers the pings.
    assert_eq!(
        ann.hear().await,
        json!({"type": "user_left", "userId": "bob"})
    );
}

#[tokio::test]
async fn a_quiet_socket_hears_pings_and_nothing_else() {
    let relay = Relay::options()
        .config("[kind.workspace]\nping_every_ms = 200\ndead_after_ms = 400\n")
        .start();
    let (mut ann, _) = enter(&relay, "quiet", "ann").await;
    let quiet = tokio::time::timeout(Duration::from_millis(1_500), ann.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let (_bob, _) = enter(&relay, "quiet", "bob").await;
    assert_eq!(ann.hear().await["userId"], "bob");
}

#[tokio::test]
async fn bad_messages_are_answered_and_twenty_are_too_many() {
    let relay = Relay::start();
    let (mut ann, _) = enter(&relay, "bad", "ann").await;
    let (mut bob, _) = enter(&relay, "bad", "bob").await;
    ann.hear().await;
    let long = at(&"x".repeat(2_049)).to_string();
    let huge = at(&"x".repeat(3 << 20)).to_string();
    let bad = [
        "nonsense",
        r#"{"type":"presence_update"}"#,
        r#"{"type":"presence_update","currentPath":5}"#,
        r#"{"type":"presence_update","currentPath":"/","resourceId":{}}"#,
        r#"{"type":"nonsense"}"#,
        &long,
        &huge,
    ];
    for text in bad {
        ann.say_text(text).await;
        assert_eq!(code(&ann.hear().await), "BAD_MESSAGE");
    }
    // Text only.
    ann.say_binary(&frames::query_awareness()).await;
    assert_eq!(code(&ann.hear().await), "BAD_MESSAGE");
    ann.say(at(&"x".repeat(2_048))).await;
    assert_eq!(
        bob.hear().await["currentPath"].as_str().map(str::len),
        Some(2_048)
    );
    for _ in bad.len() + 1..19 {
        ann.say_binary(&[]).await;
        assert_eq!(code(&ann.hear().await), "BAD_MESSAGE");
    }
    ann.say_text("{}").await;
    let (_, ended) = ann.last_words().await;
    assert_eq!(ended, Ended::Closed(1008, "RATE_LIMITED".to_owned()));
}

#[tokio::test]
async fn a_token_is_renewed_on_the_open_socket() {
    let relay = Relay::start();
    let short = Claims::of("ann").writes("workspace/renew").expires_in(4);
    let (mut ann, _) = enter_with(&relay, "renew", &short.sign()).await;
    assert_eq!(code(&ann.hear().await), "TOKEN_REFRESH_REQUIRED");
    ann.say(json!({"type": "auth", "token": member("bob")}))
        .await;
    assert_eq!(code(&ann.hear().await), "BAD_TOKEN");
    ann.say(json!({"type": "auth"})).await;
    assert_eq!(code(&ann.hear().await), "BAD_MESSAGE");
    let exp = unix_seconds() + 6;
    let longer = Claims::of("ann")
        .reads("workspace/*")
        .with("exp", exp.into());
    ann.say(json!({"type": "auth", "token": longer.sign()}))
        .await;
    assert_eq!(ann.hear().await, json!({"type": "auth:ok", "exp": exp}));
    // The new token is asked for in its turn, and ends in its turn.
    let (said, ended) = ann.last_words().await;
    let codes: Vec<_> = said.iter().map(code).collect();
    assert_eq!(codes, ["TOKEN_REFRESH_REQUIRED"]);
    assert_eq!(ended, Ended::Closed(4401, "TOKEN_EXPIRED".to_owned()));
    assert!(exp <= unix_seconds());
}

#[tokio::test]
async fn tokens_name_the_workspace_and_not_the_party() {
    let relay = Relay::start();
    let refused = async |path: &str, token: &str| {
        let url = format!("{path}?_pk=1&token={token}");
        RawSocket::open(relay.address, &url).await.ended().await
    };
    let party = Claims::of("ann")
        .writes("presence-w")
        .writes("workspace/presence-w")
        .sign();
    let forbidden = Ended::Closed(4403, "FORBIDDEN".to_owned());
    assert_eq!(refused(&path("w"), &party).await, forbidden);
    let bad_room = Ended::Closed(4400, "BAD_ROOM".to_owned());
    for path in [
        "/parties/presence/presence-",
        "/parties/presence/w",
        "/parties/presence/presence-a/b",
        "/parties/presence/presence-a%2Fb",
        "/parties/presence/presence-..",
    ] {
        assert_eq!(refused(path, &member("ann")).await, bad_room, "{path}");
    }
    let unauthorized = Ended::Closed(4401, "UNAUTHORIZED".to_owned());
    assert_eq!(refused(&path("w"), "").await, unauthorized);
    let right = Claims::of("ann").reads("workspace/w").sign();
    enter_with(&relay, "w", &right).await;
}

#[tokio::test]
async fn other_doors_and_the_api_see_the_same_people() {
    let relay = Relay::start();
    let (mut ann, _) = enter(&relay, "all", "ann").await;
    ann.say(json!({
        "type": "presence_update", "currentPath": "/a", "resourceType": "b", "resourceId": "c",
    }))
    .await;
    let room = "workspace/all";
    let people = polled("ann's place", || async {
        let people = http::roster(relay.address, room).await;
        people
            .iter()
            .any(|one| one["data"] != Value::Null)
            .then_some(people)
    })
    .await;
    let data = json!({"currentPath": "/a", "resourceType": "b", "resourceId": "c"});
    assert_eq!(
        (&people[0]["userId"], &people[0]["data"]),
        (&json!("ann"), &data)
    );
    let mut bob = Client::join(&relay, Provider::YWebsocket, room, &member("bob")).await;
    assert_eq!(ann.hear().await["userId"], "bob");
    // Watching makes nobody present.
    Client::join(&relay, Provider::YWebsocket, room, &tokens::service()).await;
    bob.close().await;
    assert_eq!(
        ann.hear().await,
        json!({"type": "user_left", "userId": "bob"})
    );
}

#[tokio::test]
async fn whoever_falls_behind_is_told_how_things_are_and_not_how_they_came_to_be() {
    const WALKERS: usize = 4;
    const STEPS: usize = 1_500;
    let relay = Relay::options().alone().start();
    let token = member("slow");
    let mut slow = Talker::open_narrow(relay.address, &path("far"), &token).await;
    assert_eq!(slow.hear().await["type"], "presence_snapshot");
    let step = |walker: usize, step: usize| format!("{walker} {step:>2000}");
    let mut walkers = Vec::new();
    for walker in 0..WALKERS {
        let (talker, _) = enter(&relay, "far", &format!("walker {walker}")).await;
        walkers.push(talker);
    }
    let watcher = enter(&relay, "far", "watcher");
    let (mut watcher, _) = watcher.await;
    // Nobody but the slow one is slow.
    let walks = walkers.into_iter().enumerate().map(|(number, mut talker)| {
        tokio::spawn(async move {
            for count in 1..=STEPS {
                talker.say(at(&step(number, count))).await;
                while count % 50 == 0
                    && tokio::time::timeout(Duration::from_millis(1), talker.next())
                        .await
                        .is_ok()
                {}
            }
            talker
        })
    });
    let walks: Vec<_> = walks.collect();
    let places = |known: &HashMap<String, String>| {
        (0..WALKERS)
            .all(|number| known.get(&format!("walker {number}")) == Some(&step(number, STEPS)))
    };
    let _walkers = {
        let heard = follow(&mut watcher, places);
        let (_, walkers) = tokio::join!(heard, futures::future::join_all(walks));
        walkers
    };
    let bytes = follow(&mut slow, places).await;
    let sent = WALKERS * STEPS * 2_000;
    assert!(bytes < sent * 3 / 4, "{bytes} of {sent} bytes");
}

/// Hears until people are where they should be; how many bytes that took.
async fn follow(talker: &mut Talker, is_done: impl Fn(&HashMap<String, String>) -> bool) -> usize {
    let mut known = HashMap::new();
    let mut bytes = 0;
    while !is_done(&known) {
        let text = talker.hear().await;
        bytes += text.to_string().len();
        let mut note = |one: &Value| {
            let [user, place] =
                ["userId", "currentPath"].map(|name| one[name].as_str().unwrap().to_owned());
            known.insert(user, place);
        };
        match text["type"].as_str() {
            Some("presence_changed") => note(&text),
            Some("presence_snapshot") => text["users"].as_array().unwrap().iter().for_each(note),
            _ => {}
        }
    }
    bytes
}
