//! Boards: who is there, who waits, and one socket for texts and the document.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use copresence::model::{Color, UserId};
use serde_json::{Value, json};
use yrs::Text;

use crate::support::client::{Client, Ending, Provider, draw_client_id};
use crate::support::document::Document;
use crate::support::frames::{self, Message};
use crate::support::http;
#[cfg(feature = "postgres")]
use crate::support::postgres::{Database, Postgres};
use crate::support::raw::{Ended, RawSocket};
use crate::support::relay::{Options, Relay};
use crate::support::talker::{Said, Talker};
use crate::support::time::{PATIENCE, now, polled, unix_seconds, within};
use crate::support::tokens::{self, Claims, member};

fn path(board: &str) -> String {
    format!("/ws/boards/{board}")
}

async fn open(relay: &Relay, board: &str, user: &str) -> Talker {
    Talker::open(relay.address, &path(board), &member(user)).await
}

/// Opens a socket and is let in at once; with what it was told first.
async fn enter(relay: &Relay, board: &str, user: &str) -> (Talker, Value) {
    let mut talker = open(relay, board, user).await;
    let joined = admitted(&mut talker).await;
    (talker, joined)
}

/// The next thing said is that it is in.
async fn admitted(talker: &mut Talker) -> Value {
    match talker.next().await {
        Said::Text(text) if text["type"] == "board:joined" => text["payload"].clone(),
        other => panic!("{other:?} instead of board:joined"),
    }
}

/// The next text is of this type.
async fn told(talker: &mut Talker, kind: &str) -> Value {
    let text = talker.hear().await;
    assert_eq!(text["type"], kind, "{text}");
    text["payload"].clone()
}

/// Whom a `board:joined` lists, in order of their ids.
fn users(joined: &Value) -> Vec<String> {
    let list = joined["current_users"].as_array().expect("a list");
    let mut users: Vec<_> = list
        .iter()
        .map(|user| user["user_id"].as_str().expect("an id").to_owned())
        .collect();
    users.sort_unstable();
    users
}

fn update(payload: Value) -> Value {
    json!({"type": "presence:update", "payload": payload})
}

fn write(document: &Document, text: &str) -> Vec<u8> {
    document.edit(|document, transaction| document.text.insert(transaction, 0, text))
}

/// The next text about somebody else, while the talker shows signs of life.
async fn hear_beating(talker: &mut Talker) -> Value {
    within(PATIENCE, "news while beating", async {
        loop {
            talker.say(json!({"type": "heartbeat"})).await;
            let pause = tokio::time::sleep(Duration::from_millis(200));
            tokio::select! {
                text = talker.hear() => return text,
                () = pause => {}
            }
        }
    })
    .await
}

fn code(text: &Value) -> &str {
    assert_eq!(text["type"], "error", "{text}");
    assert!(text["payload"]["message"].is_string(), "{text}");
    text["payload"]["code"].as_str().expect("a code")
}

fn board(numbers: &str) -> Options {
    Relay::options().config(&format!("[kind.board]\n{numbers}\n"))
}

#[tokio::test]
async fn everybody_on_a_board_hears_who_comes_what_they_do_and_who_goes() {
    let relay = Relay::start();
    let token = Claims::of("ann")
        .name("Ann A.")
        .with("picture", "https://example.org/ann.png".into())
        .with("color", "#112233".into())
        .writes("board/b1");
    let mut ann = Talker::open(relay.address, &path("b1"), &token.sign()).await;
    let joined = admitted(&mut ann).await;
    assert_eq!(joined["board_id"], "b1");
    assert!(
        joined["session_id"]
            .as_str()
            .is_some_and(|id| !id.is_empty()),
        "{joined}"
    );
    let ann_entry = json!({
        "user_id": "ann", "display_name": "Ann A.", "avatar_url": "https://example.org/ann.png",
        "status": "online", "color": "#112233",
    });
    assert_eq!(joined["current_users"], json!([ann_entry]));

    let (mut bob, joined) = enter(&relay, "b1", "bob").await;
    assert_eq!(users(&joined), ["ann", "bob"]);
    let come = told(&mut ann, "user:joined").await;
    let color = come["color"].clone();
    assert_eq!(
        come,
        json!({
            "board_id": "b1", "user_id": "bob", "display_name": "bob", "avatar_url": null,
            "status": "online", "color": color,
        })
    );

    ann.say(json!({"type": "heartbeat", "payload": {}})).await;
    ann.say(update(json!({"cursor": {"x": 10, "y": -2.5}})))
        .await;
    assert_eq!(
        told(&mut bob, "presence:update").await,
        json!({"board_id": "b1", "user_id": "ann", "status": "online", "cursor": {"x": 10, "y": -2.5}})
    );
    // A status leaves the cursor where it was.
    ann.say(update(json!({"status": "idle"}))).await;
    assert_eq!(
        told(&mut bob, "presence:update").await,
        json!({"board_id": "b1", "user_id": "ann", "status": "idle", "cursor": {"x": 10, "y": -2.5}})
    );
    ann.say(update(json!({"status": "active"}))).await;
    assert_eq!(told(&mut bob, "presence:update").await["status"], "online");

    // Nothing of it came back to ann: the next she hears is bob.
    bob.say(update(json!({"status": "away"}))).await;
    assert_eq!(
        told(&mut ann, "presence:update").await,
        json!({"board_id": "b1", "user_id": "bob", "status": "away"})
    );
    bob.close().await;
    assert_eq!(
        told(&mut ann, "user:left").await,
        json!({"board_id": "b1", "user_id": "bob"})
    );
}

#[tokio::test]
async fn no_two_on_a_board_look_alike() {
    let relay = Relay::start();
    let color = |name: &str| Color::of_user(&UserId::parse(name).unwrap());
    let names = (0..).map(|number| format!("user-{number}"));
    let alike: Vec<String> = names
        .filter(|name| color(name).hue() == Some(3))
        .take(3)
        .collect();
    let (mut first, joined) = enter(&relay, "1", &alike[0]).await;
    let shown = |user: &Value| user["color"].as_str().unwrap().to_owned();
    let own = |joined: &Value, name: &str| {
        let users = joined["current_users"].as_array().unwrap().iter();
        let mut own = users.filter(|user| user["user_id"] == name);
        shown(own.next().expect("oneself"))
    };
    assert_eq!(own(&joined, &alike[0]), color(&alike[0]).to_string());
    let (_second, joined) = enter(&relay, "1", &alike[1]).await;
    let given = Color::of_hue(4).to_string();
    assert_eq!(own(&joined, &alike[1]), given);
    // Others are told the same.
    let told = told(&mut first, "user:joined").await;
    assert_eq!(shown(&told), given);
    let (_third, joined) = enter(&relay, "1", &alike[2]).await;
    assert_eq!(own(&joined, &alike[2]), Color::of_hue(5).to_string());
}

#[tokio::test]
async fn a_users_other_tabs_hear_what_others_hear() {
    let relay = Relay::start();
    let (mut first, _) = enter(&relay, "tabs", "ann").await;
    let (mut bob, _) = enter(&relay, "tabs", "bob").await;
    told(&mut first, "user:joined").await;
    let (mut second, joined) = enter(&relay, "tabs", "ann").await;
    assert_eq!(users(&joined), ["ann", "bob"]);

    second
        .say(update(json!({"cursor": {"x": 1, "y": 1}})))
        .await;
    for other in [&mut first, &mut bob] {
        let heard = told(other, "presence:update").await;
        assert_eq!(
            (&heard["user_id"], &heard["cursor"]["x"]),
            (&json!("ann"), &json!(1))
        );
    }
    // The most active tab gives the status.
    first
        .say(update(
            json!({"status": "away", "cursor": {"x": 2, "y": 2}}),
        ))
        .await;
    let heard = told(&mut bob, "presence:update").await;
    assert_eq!(
        (&heard["status"], &heard["cursor"]["x"]),
        (&json!("online"), &json!(2))
    );
    told(&mut second, "presence:update").await;

    // Gone with the last tab, and not before: then the other's cursor is shown.
    first.close().await;
    let heard = told(&mut bob, "presence:update").await;
    assert_eq!(heard["cursor"]["x"], 1);
    second.close().await;
    told(&mut bob, "user:left").await;
}

#[tokio::test]
async fn a_lost_connection_keeps_its_place_until_the_heartbeat_limit() {
    let relay = board("heartbeat_timeout_ms = 2500").start();
    let (mut ann, _) = enter(&relay, "lost", "ann").await;
    let (mut bob, _) = enter(&relay, "lost", "bob").await;
    bob.say(update(json!({"status": "idle"}))).await;
    told(&mut ann, "user:joined").await;
    told(&mut ann, "presence:update").await;
    bob.vanish();
    // Somebody who comes meanwhile sees the entry, with its status.
    let (_carol, joined) = enter(&relay, "lost", "carol").await;
    assert_eq!(users(&joined), ["ann", "bob", "carol"]);
    told(&mut ann, "user:joined").await;

    // Back in time: neither left nor joined. What is heard next is what bob says.
    let (mut bob, joined) = enter(&relay, "lost", "bob").await;
    assert_eq!(users(&joined), ["ann", "bob", "carol"]);
    bob.say(update(json!({"status": "online"}))).await;
    let heard = told(&mut ann, "presence:update").await;
    assert_eq!(
        (&heard["user_id"], &heard["status"]),
        (&json!("bob"), &json!("online"))
    );

    let lost_at = now();
    bob.vanish();
    // Ann's signs of life go on, carol's do not.
    let heard = loop {
        let text = hear_beating(&mut ann).await;
        if text["payload"]["user_id"] == "bob" {
            break text;
        }
    };
    assert_eq!(heard["type"], "user:left");
    let after = now() - lost_at;
    // The relay counts in whole milliseconds: what was lost within one was lost when it began.
    assert!(
        Duration::from_millis(2_499) <= after,
        "gone after {after:?}"
    );
}

#[tokio::test]
async fn the_queue_is_first_come_first_served_per_user() {
    let relay = board("capacity = 2").start();
    let (ann, _) = enter(&relay, "full", "ann").await;
    let (mut bob, _) = enter(&relay, "full", "bob").await;
    let mut carol = open(&relay, "full", "carol").await;
    assert_eq!(
        told(&mut carol, "board:queued").await,
        json!({"board_id": "full", "position": 1})
    );
    let mut dave = open(&relay, "full", "dave").await;
    assert_eq!(told(&mut dave, "board:queued").await["position"], 2);
    let mut erin = open(&relay, "full", "erin").await;
    assert_eq!(told(&mut erin, "board:queued").await["position"], 3);
    // A second connection shares the place of the first...
    let mut carol_too = open(&relay, "full", "carol").await;
    assert_eq!(told(&mut carol_too, "board:queued").await["position"], 1);
    // ... and one of somebody who is in is in.
    let (ann_too, _) = enter(&relay, "full", "ann").await;

    // Who waits no longer makes those behind move up.
    dave.close().await;
    assert_eq!(told(&mut erin, "board:queued").await["position"], 2);

    // Ann is gone with her last connection, and all of carol's get in.
    ann.close().await;
    ann_too.close().await;
    for talker in [&mut carol, &mut carol_too] {
        let joined = told_skipping_repeats(talker, "board:joined").await;
        assert_eq!(users(&joined), ["bob", "carol"]);
    }
    assert_eq!(told(&mut erin, "board:queued").await["position"], 1);
    told(&mut bob, "user:left").await;
    assert_eq!(told(&mut bob, "user:joined").await["user_id"], "carol");

    // A connection that is cut off while it waits leaves the queue at once.
    let mut frank = open(&relay, "full", "frank").await;
    assert_eq!(told(&mut frank, "board:queued").await["position"], 2);
    erin.vanish();
    assert_eq!(told(&mut frank, "board:queued").await["position"], 1);
    bob.close().await;
    assert_eq!(users(&admitted(&mut frank).await), ["carol", "frank"]);
}

/// A place that was told once may be told again.
async fn told_skipping_repeats(talker: &mut Talker, kind: &str) -> Value {
    let text = talker
        .hear_that(kind, |text| text["type"] != "board:queued")
        .await;
    assert_eq!(text["type"], kind, "{text}");
    text["payload"].clone()
}

#[tokio::test]
async fn a_waiting_connection_sees_nothing_and_is_not_heard() {
    let relay = board("capacity = 1").start();
    let (mut ann, _) = enter(&relay, "wait", "ann").await;
    let drawn = Document::new(draw_client_id());
    let stroke = write(&drawn, "ann's");
    ann.say_binary(&frames::step2(&stroke)).await;
    let ann_state = (draw_client_id(), 1, r#"{"user":{"name":"ann"}}"#);
    ann.say_binary(&frames::awareness(&[ann_state])).await;

    let mut bob = open(&relay, "wait", "bob").await;
    assert_eq!(told(&mut bob, "board:queued").await["position"], 1);
    let unheard = Document::new(draw_client_id());
    let scribble = write(&unheard, "bob's");
    bob.say_binary(&frames::step1(&unheard.state_vector()))
        .await;
    bob.say_binary(&frames::update(&scribble)).await;
    bob.say_binary(&frames::awareness(&[(draw_client_id(), 1, "{}")]))
        .await;
    bob.say_binary(&frames::query_awareness()).await;
    bob.say(update(
        json!({"status": "away", "cursor": {"x": 1, "y": 1}}),
    ))
    .await;
    bob.say(json!({"type": "heartbeat"})).await;
    // More strokes, so that there is news to be kept from bob.
    let more = write(&drawn, "still ");
    ann.say_binary(&frames::update(&more)).await;
    ann.say(update(json!({"cursor": {"x": 9, "y": 9}}))).await;
    polled("the document", || async {
        let text = http::document(relay.address, "board/wait").await.text();
        (text == "still ann's").then_some(())
    })
    .await;
    assert!(bob.binary.is_empty(), "something came while waiting");

    ann.close().await;
    // The first thing of all.
    let joined = admitted(&mut bob).await;
    assert_eq!(users(&joined), ["bob"]);
    assert_eq!(joined["current_users"][0]["status"], "online");
    let document = Document::of_update(&bob.document().await);
    assert_eq!(document.text(), "still ann's");
    // Now bob is heard.
    bob.say_binary(&frames::update(&scribble)).await;
    polled("bob's own", || async {
        let text = http::document(relay.address, "board/wait").await.text();
        text.contains("bob's").then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_queue_a_full_board_says_so_and_closes() {
    let relay = board("capacity = 1\nqueue = false").start();
    let (_ann, _) = enter(&relay, "full", "ann").await;
    let mut bob = open(&relay, "full", "bob").await;
    let (said, ended) = bob.last_words().await;
    assert_eq!(said.iter().map(code).collect::<Vec<_>>(), ["BOARD_FULL"]);
    assert_eq!(ended, Ended::Closed(1013, "BOARD_FULL".to_owned()));
    assert!(bob.binary.is_empty());
}

#[tokio::test]
async fn the_doors_without_text_are_refused_when_the_board_is_full() {
    let relay = board("capacity = 1").start();
    let (ann, _) = enter(&relay, "full", "ann").await;
    let room = "board/full";
    let mut bob = Client::new(&relay, Provider::YWebsocket, room, &member("bob"));
    bob.open();
    bob.until("the end", |state| state.ending.is_some()).await;
    assert_eq!(
        bob.state().ending,
        Some(Ending::Closed(1013, "BOARD_FULL".to_owned()))
    );
    let mut carol = Client::new(&relay, Provider::Hocuspocus4, room, &member("carol"));
    carol.open();
    carol
        .until("a denial", |state| state.denied.is_some())
        .await;
    assert_eq!(carol.state().denied.as_deref(), Some("BOARD_FULL"));
    assert!(carol.state().is_open, "the socket stays");
    // Whoever is in is in by any door.
    for provider in Provider::ALL {
        Client::join(&relay, provider, room, &member("ann")).await;
    }
    // Back ends take no place.
    let mut service = Client::new(&relay, Provider::YWebsocket, room, &tokens::service());
    service.connect().await;
    ann.close().await;
    polled("a free place", || async {
        let people = http::roster(relay.address, room).await;
        people
            .iter()
            .all(|one| one["isConnected"] == false)
            .then_some(())
    })
    .await;
    bob.connect().await;
}

#[tokio::test]
async fn texts_and_the_document_share_a_socket_and_all_doors_a_board() {
    let relay = Relay::start();
    let (mut ann, _) = enter(&relay, "draw", "ann").await;
    let mut bob = Client::join(&relay, Provider::YWebsocket, "board/draw", &member("bob")).await;
    assert_eq!(told(&mut ann, "user:joined").await["user_id"], "bob");
    let mut carol = Client::join(
        &relay,
        Provider::Hocuspocus4,
        "board/draw",
        &member("carol"),
    )
    .await;
    assert_eq!(told(&mut ann, "user:joined").await["user_id"], "carol");

    let drawing = Document::new(draw_client_id());
    ann.say_binary(&frames::step1(&drawing.state_vector()))
        .await;
    assert_eq!(Document::of_update(&ann.document().await).text(), "");
    let stroke = write(&drawing, "line");
    ann.say_binary(&frames::update(&stroke)).await;
    for client in [&bob, &carol] {
        client
            .until("the line", |state| state.text() == "line")
            .await;
    }
    let id = draw_client_id();
    ann.say_binary(&frames::awareness(&[(id, 1, r#"{"cursor":{"x":1}}"#)]))
        .await;
    bob.until("ann's cursor", |state| state.sees(id)).await;
    carol.until("ann's cursor", |state| state.sees(id)).await;
    bob.set_state(json!({"cursor": {"x": 2}}));
    within(PATIENCE, "bob's cursor", async {
        loop {
            if let Some(Message::Awareness(entries)) = frames::read(&ann.hear_binary().await)
                && entries.iter().any(|&(client, ..)| client == bob.id())
            {
                break;
            }
        }
    })
    .await;
    // Removed with the connection, and announced in text.
    ann.close().await;
    bob.until("ann's cursor to go", |state| !state.sees(id))
        .await;
    bob.close().await;
    carol.close().await;
}

#[tokio::test]
async fn people_fall_idle_and_away_by_doing_nothing() {
    let relay = board("idle_after_ms = 600\naway_after_ms = 1200").start();
    let begun = now();
    let (mut ann, _) = enter(&relay, "quiet", "ann").await;
    let (mut bob, _) = enter(&relay, "quiet", "bob").await;
    told(&mut ann, "user:joined").await;
    let is_ann = |text: &Value| text["payload"]["user_id"] == "ann";
    let is_bob = |text: &Value| text["payload"]["user_id"] == "bob";
    for (status, earliest) in [("idle", 600), ("away", 1_200)] {
        // Heartbeats are no activity.
        ann.say(json!({"type": "heartbeat"})).await;
        let heard = bob.hear_that("ann to fall quiet", is_ann).await;
        assert_eq!(heard["payload"]["status"], status);
        assert!(
            Duration::from_millis(earliest) <= now() - begun,
            "{status} too early"
        );
        // Ann did nothing, so she is told like everybody.
        let heard = ann.hear_that("herself", is_ann).await;
        assert_eq!(heard["payload"]["status"], status);
    }
    // Drawing is activity...
    let stroke = write(&Document::new(draw_client_id()), "a");
    ann.say_binary(&frames::update(&stroke)).await;
    let heard = bob.hear_that("ann to draw", is_ann).await;
    assert_eq!(heard["payload"]["status"], "online");
    let heard = bob.hear_that("ann to rest", is_ann).await;
    assert_eq!(heard["payload"]["status"], "idle");
    // ... and so is a changed awareness state...
    let id = draw_client_id();
    ann.say_binary(&frames::awareness(&[(id, 1, r#"{"x":1}"#)]))
        .await;
    let heard = bob.hear_that("ann to move", is_ann).await;
    assert_eq!(heard["payload"]["status"], "online");
    // ... but not the same state again.
    ann.say_binary(&frames::awareness(&[(id, 2, r#"{"x":1}"#)]))
        .await;
    let heard = bob.hear_that("ann to rest", is_ann).await;
    assert_eq!(heard["payload"]["status"], "idle");
    ann.say(update(json!({"cursor": {"x": 1, "y": 2}}))).await;
    let heard = bob.hear_that("ann to point", is_ann).await;
    assert_eq!(heard["payload"]["status"], "online");

    // Who reports to be away stays so.
    bob.say(update(json!({"status": "away"}))).await;
    let heard = ann.hear_that("bob to go", |text| {
        is_bob(text) && text["payload"]["status"] == "away"
    });
    heard.await;
    bob.say(json!({"type": "heartbeat"})).await;
    let heard = bob.hear_that("ann to rest", |text| {
        is_ann(text) && text["payload"]["status"] == "away"
    });
    heard.await;
    let people = http::roster(relay.address, "board/quiet").await;
    let bob_there = people
        .iter()
        .find(|one| one["userId"] == "bob")
        .expect("bob");
    assert_eq!(bob_there["status"], "away");
}

#[tokio::test]
async fn a_silent_board_socket_ends_and_one_with_heartbeats_does_not() {
    let relay = board("heartbeat_timeout_ms = 1200").start();
    let (mut ann, _) = enter(&relay, "beat", "ann").await;
    let begun = now();
    let (mut bob, _) = enter(&relay, "beat", "bob").await;
    told(&mut ann, "user:joined").await;
    let silent = tokio::spawn(async move { bob.last_words().await });
    // Other doors owe no messages: pings are enough there.
    let quiet = Client::join(&relay, Provider::YWebsocket, "board/beat", &member("carol")).await;
    told(&mut ann, "user:joined").await;
    let left = hear_beating(&mut ann).await;
    assert_eq!(left["type"], "user:left");
    assert_eq!(left["payload"]["user_id"], "bob");
    let after = now() - begun;
    assert!(
        Duration::from_millis(1_200) <= after,
        "gone after {after:?}"
    );
    let (_, ended) = silent.await.unwrap();
    assert_eq!(ended, Ended::Closed(4408, "HEARTBEAT_TIMEOUT".to_owned()));
    assert!(quiet.state().is_open);
}

#[tokio::test]
async fn a_token_is_renewed_on_the_open_socket() {
    let relay = Relay::start();
    let short = Claims::of("ann").writes("board/renew").expires_in(4);
    let mut ann = Talker::open(relay.address, &path("renew"), &short.sign()).await;
    admitted(&mut ann).await;
    // Half-way, as there is less than a minute.
    assert_eq!(code(&ann.hear().await), "TOKEN_REFRESH_REQUIRED");
    let others = Claims::of("bob").writes("*").sign();
    for bad in ["nonsense", others.as_str()] {
        ann.say(json!({"type": "auth", "token": bad})).await;
        assert_eq!(code(&ann.hear().await), "BAD_TOKEN");
    }
    let exp = unix_seconds() + 1_000;
    let longer = Claims::of("ann")
        .reads("board/renew")
        .with("exp", exp.into());
    ann.say(json!({"type": "auth", "token": longer.sign()}))
        .await;
    assert_eq!(ann.hear().await, json!({"type": "auth:ok", "exp": exp}));
    // Access is that of the new token: what is drawn now is dropped.
    let scribble = write(&Document::new(draw_client_id()), "x");
    ann.say_binary(&frames::update(&scribble)).await;
    // The first token's end passes by.
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    ann.say(json!({"type": "presence:update"})).await;
    assert_eq!(code(&ann.hear().await), "BAD_MESSAGE");
    assert_eq!(
        http::document(relay.address, "board/renew").await.text(),
        ""
    );

    let elsewhere = Claims::of("ann").writes("board/other").sign();
    ann.say(json!({"type": "auth", "token": elsewhere})).await;
    let (_, ended) = ann.last_words().await;
    assert_eq!(ended, Ended::Closed(4403, "FORBIDDEN".to_owned()));
}

#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let relay = Relay::start();
    let short = Claims::of("ann").writes("board/end").expires_in(2);
    let mut ann = Talker::open(relay.address, &path("end"), &short.sign()).await;
    let (said, ended) = ann.last_words().await;
    let kinds: Vec<_> = said.iter().map(|text| text["type"].clone()).collect();
    assert_eq!(kinds, ["board:joined", "error"]);
    assert_eq!(code(&said[1]), "TOKEN_REFRESH_REQUIRED");
    assert_eq!(ended, Ended::Closed(4401, "TOKEN_EXPIRED".to_owned()));
}

#[tokio::test]
async fn bad_texts_are_answered_and_twenty_are_too_many() {
    let relay = Relay::start();
    let (mut ann, _) = enter(&relay, "bad", "ann").await;
    let (mut bob, _) = enter(&relay, "bad", "bob").await;
    told(&mut ann, "user:joined").await;
    let huge = format!(r#"{{"type":"heartbeat","x":"{}"}}"#, "x".repeat(1 << 20));
    let bad = [
        "nonsense",
        "[]",
        r#"{"type":"nonsense"}"#,
        r#"{"type":"presence:update","payload":{"status":"idle","cursor":{"x":1}}}"#,
        r#"{"type":"presence:update","payload":{"status":"offline"}}"#,
        &huge,
    ];
    for text in bad {
        ann.say_text(text).await;
        assert_eq!(code(&ann.hear().await), "BAD_MESSAGE");
    }
    // Nothing of them was applied, and what is good goes on.
    ann.say(update(json!({"cursor": {"x": 7, "y": 7}}))).await;
    let heard = told(&mut bob, "presence:update").await;
    assert_eq!(
        (&heard["status"], &heard["cursor"]["x"]),
        (&json!("online"), &json!(7))
    );
    for _ in bad.len()..19 {
        ann.say_text("{}").await;
        assert_eq!(code(&ann.hear().await), "BAD_MESSAGE");
    }
    ann.say_text("{}").await;
    let (_, ended) = ann.last_words().await;
    assert_eq!(ended, Ended::Closed(1008, "RATE_LIMITED".to_owned()));
}

#[tokio::test]
async fn a_bad_binary_message_ends_a_board_socket() {
    let relay = Relay::start();
    let (mut ann, _) = enter(&relay, "bad", "ann").await;
    ann.say_binary(&[9, 9, 9]).await;
    let (_, ended) = ann.last_words().await;
    assert_eq!(ended, Ended::Closed(4400, "BAD_MESSAGE".to_owned()));
    let (mut bob, _) = enter(&relay, "bad", "bob").await;
    bob.say_binary(&frames::update(&[1, 2, 3])).await;
    let (_, ended) = bob.last_words().await;
    assert_eq!(ended, Ended::Closed(4400, "BAD_UPDATE".to_owned()));
}

#[tokio::test]
async fn a_flood_of_texts_is_dropped_and_then_ended() {
    let relay = Relay::options().argument("--rate").argument("50").start();
    let (mut ann, _) = enter(&relay, "flood", "ann").await;
    let begun = now();
    let mut complaints = Vec::new();
    let ended = loop {
        for _ in 0..20 {
            ann.say(json!({"type": "heartbeat"})).await;
        }
        let pause = tokio::time::sleep(Duration::from_millis(50));
        tokio::pin!(pause);
        let said = loop {
            tokio::select! {
                said = ann.next() => match said {
                    Said::Text(text) => complaints.push((now() - begun, code(&text).to_owned())),
                    Said::Binary(_) => {}
                    ended => break Some(ended),
                },
                () = &mut pause => break None,
            }
        };
        if let Some(said) = said {
            break said;
        }
    };
    let limited = Ended::Closed(1008, "RATE_LIMITED".to_owned());
    assert_eq!(ended, Said::Ended(limited));
    assert!(complaints.iter().all(|(_, code)| code == "RATE_LIMITED"));
    assert!((9..=11).contains(&complaints.len()), "{complaints:?}");
    for pair in complaints.windows(2) {
        assert!(
            Duration::from_millis(900) <= pair[1].0 - pair[0].0,
            "{complaints:?}"
        );
    }
}

#[tokio::test]
async fn a_board_is_one_segment_and_asks_for_a_token() {
    let relay = Relay::start();
    let refused = async |path: &str, token: &str| {
        let url = format!("{path}?token={token}");
        RawSocket::open(relay.address, &url).await.ended().await
    };
    let all = member("ann");
    let bad_room = Ended::Closed(4400, "BAD_ROOM".to_owned());
    for path in [
        "/ws/boards/",
        "/ws/boards/a/b",
        "/ws/boards/a%2Fb",
        "/ws/boards/..",
        "/ws/boards/%ff",
        &format!("/ws/boards/{}", "x".repeat(255)),
    ] {
        assert_eq!(refused(path, &all).await, bad_room, "{path}");
    }
    let unauthorized = Ended::Closed(4401, "UNAUTHORIZED".to_owned());
    assert_eq!(refused("/ws/boards/a", "nonsense").await, unauthorized);
    let elsewhere = Claims::of("ann").writes("board/b").writes("a").sign();
    let forbidden = Ended::Closed(4403, "FORBIDDEN".to_owned());
    assert_eq!(refused("/ws/boards/a", &elsewhere).await, forbidden);
    let (_, joined) = enter(&relay, "a%20b", "ann").await;
    assert_eq!(joined["board_id"], "a b");
}

#[tokio::test]
async fn a_revoked_user_is_out_at_once() {
    let relay = board("heartbeat_timeout_ms = 60000").start();
    let (mut ann, _) = enter(&relay, "out", "ann").await;
    let (mut bob, _) = enter(&relay, "out", "bob").await;
    told(&mut ann, "user:joined").await;
    let body = json!({"userId": "bob", "room": "board/out"}).to_string();
    let answer = http::ask(
        relay.address,
        "POST",
        "/v1/revocations",
        Some(&tokens::service()),
        body.as_bytes(),
    )
    .await;
    assert!(answer.status < 300, "{answer:?}");
    let (_, ended) = bob.last_words().await;
    assert_eq!(ended, Ended::Closed(4401, "REVOKED".to_owned()));
    // Not lost: nothing of them stays.
    told(&mut ann, "user:left").await;
}

/// The table of presences, read as others read it: a JSON object for each row of a board.
#[derive(Clone)]
enum Table {
    Sqlite(PathBuf),
    #[cfg(feature = "postgres")]
    Postgres(Arc<Database>),
}

impl Table {
    async fn rows(&self, board: &'static str) -> Vec<Value> {
        let table = self.clone();
        tokio::task::spawn_blocking(move || table.read(board))
            .await
            .unwrap()
    }

    fn read(&self, board: &str) -> Vec<Value> {
        const COLUMNS: [&str; 9] = [
            "board_id",
            "user_id",
            "session_id",
            "status",
            "cursor_x",
            "cursor_y",
            "last_heartbeat_at",
            "connected_at",
            "disconnected_at",
        ];
        let texts: Vec<String> = match self {
            Self::Sqlite(path) => {
                let Ok(database) = rusqlite::Connection::open(path) else {
                    return Vec::new();
                };
                let pairs: Vec<_> = COLUMNS
                    .iter()
                    .map(|name| format!("'{name}', {name}"))
                    .collect();
                let query = format!(
                    "SELECT json_object({}) FROM presence WHERE board_id = ?1 ORDER BY connected_at, user_id",
                    pairs.join(", ")
                );
                let mut statement = database.prepare(&query).unwrap();
                let rows = statement.query_map([board], |row| row.get(0)).unwrap();
                rows.map(|row| row.unwrap()).collect()
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => {
                let query = "SELECT row_to_json(one)::text FROM collab.presence AS one \
                             WHERE board_id = $1 ORDER BY connected_at, user_id";
                let rows = database.client().query(query, &[&board]).unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        };
        texts
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    async fn until(
        &self,
        what: &str,
        board: &'static str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        polled(what, || async {
            let rows = self.rows(board).await;
            holds(&rows).then_some(rows)
        })
        .await
    }
}

/// Presences are written on joining and leaving at once, with the status and the cursor; a crash
/// leaves none open.
async fn are_written_down(table: Table, start: impl Fn() -> Relay) {
    let mut relay = start();
    let (mut ann, joined) = enter(&relay, "rows", "ann").await;
    let rows = table.until("a row", "rows", |rows| rows.len() == 1).await;
    assert_eq!(rows[0]["user_id"], "ann");
    assert_eq!(rows[0]["session_id"], joined["session_id"]);
    assert_eq!(
        (&rows[0]["status"], &rows[0]["disconnected_at"]),
        (&json!("online"), &Value::Null)
    );
    assert_eq!(
        (&rows[0]["cursor_x"], &rows[0]["cursor_y"]),
        (&Value::Null, &Value::Null)
    );
    assert!(rows[0]["connected_at"].is_string() && rows[0]["last_heartbeat_at"].is_string());
    ann.say(update(
        json!({"status": "away", "cursor": {"x": 1.5, "y": -2}}),
    ))
    .await;
    let rows = table
        .until("the status", "rows", |rows| rows[0]["status"] == "away")
        .await;
    let cursor = [&rows[0]["cursor_x"], &rows[0]["cursor_y"]].map(Value::as_f64);
    assert_eq!(cursor, [Some(1.5), Some(-2.0)]);

    // A session each; who waits has none.
    let (second, _) = enter(&relay, "rows", "ann").await;
    let (bob, _) = enter(&relay, "rows", "bob").await;
    let mut carol = open(&relay, "rows", "carol").await;
    told(&mut carol, "board:queued").await;
    second.close().await;
    let closed = |rows: &[Value]| {
        rows.iter()
            .filter(|row| !row["disconnected_at"].is_null())
            .count()
    };
    let rows = table
        .until("the end of a session", "rows", |rows| {
            rows.len() == 3 && closed(rows) == 1
        })
        .await;
    assert!(rows.iter().all(|row| row["user_id"] != "carol"));
    bob.close().await;
    admitted_after_waiting(&mut carol).await;
    let has_carol = |rows: &[Value]| rows.iter().any(|row| row["user_id"] == "carol");
    table
        .until("carol", "rows", |rows| has_carol(rows) && closed(rows) == 2)
        .await;

    relay.kill();
    assert_eq!(
        closed(&table.rows("rows").await),
        2,
        "nobody could close the others"
    );
    drop(relay);
    let relay = start();
    let rows = table
        .until("the end of all", "rows", |rows| closed(rows) == 4)
        .await;
    assert_eq!(rows.len(), 4);
    // Sessions of another life have other names.
    let (dave, _) = enter(&relay, "rows", "dave").await;
    table
        .until("a new row", "rows", |rows| rows.len() == 5)
        .await;
    dave.close().await;
    // No other kind of room is in it, nor anything but a board's own name.
    let token = member("ann");
    let party = "/parties/presence/presence-rows";
    let mut other = Talker::open(relay.address, party, &token).await;
    other.hear().await;
    table
        .until("the end", "rows", |rows| {
            rows.len() == 5 && closed(rows) == 5
        })
        .await;
}

async fn admitted_after_waiting(talker: &mut Talker) -> Value {
    let text = talker
        .hear_that("admission", |text| text["type"] == "board:joined")
        .await;
    text["payload"].clone()
}

#[tokio::test]
async fn presences_are_in_the_embedded_database() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::Sqlite(folder.path().join("copresence.db"));
    are_written_down(table, || board("capacity = 2").data(folder.path()).start()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn presences_are_in_postgres() {
    let database = tokio::task::spawn_blocking(|| Postgres::shared().database())
        .await
        .unwrap();
    let url = database.url.clone();
    let table = Table::Postgres(Arc::new(database));
    are_written_down(table, || board("capacity = 2").store(&url).start()).await;
}

#[tokio::test]
async fn of_many_who_race_for_few_places_all_get_in_and_never_too_many_at_once() {
    const PLACES: usize = 5;
    const PEOPLE: usize = 60;
    let relay = board(&format!("capacity = {PLACES}")).start();
    // A back end takes no place, and draws all the while.
    let mut artist = Talker::open(relay.address, &path("race"), &tokens::service()).await;
    admitted(&mut artist).await;
    let artist = tokio::spawn(async move {
        let drawing = Document::new(draw_client_id());
        loop {
            artist
                .say_binary(&frames::update(&write(&drawing, ".")))
                .await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let inside: Arc<Mutex<HashMap<usize, usize>>> = Arc::default();
    let mut tasks = Vec::new();
    for person in 0..PEOPLE {
        for tab in 0..2_u64 {
            let (address, inside) = (relay.address, inside.clone());
            let pause = Duration::from_millis((person as u64 * 7 + tab * 13) % 40);
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let token = member(&format!("person {person}"));
                let mut talker = Talker::open(address, &path("race"), &token).await;
                let step1 = frames::step1(&Document::new(draw_client_id()).state_vector());
                talker.say_binary(&step1).await;
                admitted_after_waiting(&mut talker).await;
                assert!(
                    talker.binary.is_empty(),
                    "a byte of the document before its time"
                );
                // Counted from within what the relay counts.
                let users = {
                    let mut inside = inside.lock().unwrap();
                    *inside.entry(person).or_default() += 1;
                    inside.len()
                };
                assert!(users <= PLACES, "{users} people on {PLACES} places");
                tokio::time::sleep(pause).await;
                {
                    let mut inside = inside.lock().unwrap();
                    let tabs = inside.get_mut(&person).expect("is inside");
                    *tabs -= 1;
                    if *tabs == 0 {
                        inside.remove(&person);
                    }
                }
                talker.close().await;
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    artist.abort();
    let people = http::roster(relay.address, "board/race").await;
    assert!(
        people.iter().all(|one| one["isConnected"] == false),
        "{people:?}"
    );
    assert_eq!(people.len(), PEOPLE);
}
