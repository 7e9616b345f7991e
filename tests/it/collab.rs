//! What is particular to `/collab`: many documents on one socket, acknowledgements, messages.

use yrs::{Map, Text};

use crate::support::client::{Client, Provider};
use crate::support::document::Document;
use crate::support::frames::{self, Message, Writer};
use crate::support::http;
use crate::support::raw::{Ended, RawSocket, binary};
use crate::support::relay::Relay;
use crate::support::tokens::{self, Claims};

/// A message of the relay, owned, with the name it was sent under.
#[derive(Debug, Eq, PartialEq)]
enum Heard {
    Step1,
    Step2,
    Update,
    Awareness,
    Authenticated(String),
    Denied(String),
    Status(bool),
    Stateless(String),
    Closed,
    Other,
}

async fn next(socket: &mut RawSocket) -> (String, Heard) {
    // A frame without a name is a sign of life and nothing more.
    let frame = socket.heard_that(|frame| frame != [0]).await;
    let frame = frame.expect("the socket is to stay");
    let (name, message) = frames::split_name(&frame).expect("a frame with a name");
    let heard = match frames::read(message).expect("a readable message") {
        Message::Step1(_) => Heard::Step1,
        Message::Update {
            is_answer: true, ..
        } => Heard::Step2,
        Message::Update { .. } => Heard::Update,
        Message::Awareness(_) => Heard::Awareness,
        Message::Authenticated(scope) => Heard::Authenticated(scope.to_owned()),
        Message::Denied(reason) => Heard::Denied(reason.to_owned()),
        Message::SyncStatus(is_applied) => Heard::Status(is_applied),
        Message::Stateless(text) => Heard::Stateless(text.to_owned()),
        Message::DocumentClosed(_) => Heard::Closed,
        Message::QueryAwareness | Message::TokenWanted => Heard::Other,
    };
    (name.to_owned(), heard)
}

/// Reads on until this is heard; returns what came before.
async fn until(socket: &mut RawSocket, name: &str, wanted: Heard) -> Vec<(String, Heard)> {
    let mut before = Vec::new();
    loop {
        let heard = next(socket).await;
        if heard == (name.to_owned(), Heard::Awareness) && wanted != Heard::Awareness {
            continue;
        }
        if heard.0 == name && heard.1 == wanted {
            return before;
        }
        before.push(heard);
    }
}

fn edit(client: u64, key: &str) -> Vec<u8> {
    Document::new(client).edit(|document, transaction| {
        document.map.insert(transaction, key, "value");
    })
}

async fn enter(socket: &mut RawSocket, name: &str) {
    let token = tokens::member("ann");
    assert!(
        socket
            .say(&frames::token(name, &token, Some("4.8.0")))
            .await
    );
    until(socket, name, Heard::Authenticated("read-write".to_owned())).await;
    assert!(socket.say(&frames::named(name, &frames::step1(&[0]))).await);
    until(socket, name, Heard::Step2).await;
}

#[tokio::test]
async fn frames_before_the_token_are_kept_and_dealt_with_after_it() {
    let relay = Relay::start();
    let room = "session/early";
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    assert!(
        socket
            .say(&frames::named(room, &frames::update(&edit(50, "early"))))
            .await
    );
    let state = frames::awareness(&[(50, 1, r#"{"user":{"name":"ann"}}"#)]);
    assert!(socket.say(&frames::named(room, &state)).await);
    let token = tokens::member("ann");
    assert!(socket.say(&frames::token(room, &token, None)).await);
    // A provider's greeting begins when its token is there.
    assert!(socket.say(&frames::named(room, &frames::step1(&[0]))).await);
    let first = next(&mut socket).await;
    assert_eq!(
        first,
        (
            room.to_owned(),
            Heard::Authenticated("read-write".to_owned())
        )
    );
    // The update is acknowledged, step 1 answered and asked back, in whichever order.
    let mut wanted = vec![Heard::Status(true), Heard::Step1, Heard::Step2];
    while !wanted.is_empty() {
        let (_, heard) = next(&mut socket).await;
        wanted.retain(|one| *one != heard);
    }
    let ben = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ben")).await;
    ben.until("what came early", |state| {
        state.document.map_value("early").is_some() && state.sees(50)
    })
    .await;
}

#[tokio::test]
async fn many_documents_share_a_socket_and_stay_apart() {
    let relay = Relay::start();
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    let names: Vec<_> = (0..20)
        .map(|number| format!("session/many-{number}"))
        .collect();
    for name in &names {
        enter(&mut socket, name).await;
    }
    for (number, name) in names.iter().enumerate() {
        let update = edit(60 + number as u64, &format!("key-{number}"));
        assert!(
            socket
                .say(&frames::named(name, &frames::update(&update)))
                .await
        );
        until(&mut socket, name, Heard::Status(true)).await;
    }
    for (number, name) in names.iter().enumerate() {
        let client = Client::join(&relay, Provider::YWebsocket, name, &tokens::member("ben")).await;
        let content = client.content();
        assert_eq!(content.map.len(), 1, "{name}");
        assert!(content.map.contains_key(&format!("key-{number}")), "{name}");
    }
}

#[tokio::test]
async fn a_refused_document_leaves_the_others_on_the_socket_alone() {
    let relay = Relay::start();
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    enter(&mut socket, "session/good").await;
    for (token, reason) in [
        ("bad".to_owned(), "UNAUTHORIZED"),
        (Claims::of("ann").writes("elsewhere").sign(), "FORBIDDEN"),
    ] {
        assert!(
            socket
                .say(&frames::token("session/bad", &token, Some("4.8.0")))
                .await
        );
        until(&mut socket, "session/bad", Heard::Denied(reason.to_owned())).await;
        // What is sent for it now waits for another try and is never answered.
        assert!(
            socket
                .say(&frames::named("session/bad", &frames::step1(&[0])))
                .await
        );
        let update = frames::named("session/good", &frames::update(&edit(70, reason)));
        assert!(socket.say(&update).await);
        let before = until(&mut socket, "session/good", Heard::Status(true)).await;
        assert!(
            before.iter().all(|(name, _)| name == "session/good"),
            "{before:?}"
        );
    }
    // A later token for it is a new beginning.
    enter(&mut socket, "session/bad").await;
}

#[tokio::test]
async fn every_update_and_step_2_is_acknowledged_exactly_once() {
    let relay = Relay::start();
    let room = "session/acks";
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    enter(&mut socket, room).await;
    let author = Document::new(80);
    let first = author.edit(|document, transaction| {
        document.map.insert(transaction, "a", 1);
    });
    let second = author.edit(|document, transaction| {
        document.map.insert(transaction, "b", 2);
    });
    // New, repeated, before its foundation, without any effect.
    let messages = [
        frames::update(&second),
        frames::update(&first),
        frames::update(&first),
        frames::step2(&author.whole()),
        frames::step2(&[0, 0]),
        frames::update(&[0, 0]),
    ];
    for message in &messages {
        assert!(socket.say(&frames::named(room, message)).await);
    }
    // Answered after all of these.
    assert!(socket.say(&frames::named(room, &frames::step1(&[0]))).await);
    let before = until(&mut socket, room, Heard::Step2).await;
    let acknowledged = before
        .iter()
        .filter(|(_, heard)| *heard == Heard::Status(true))
        .count();
    let mut missing = messages.len() - acknowledged;
    // Acknowledgements may wait for the disk; none may come twice.
    while 0 < missing {
        if next(&mut socket).await.1 == Heard::Status(true) {
            missing -= 1;
        }
    }
    assert!(socket.say(&frames::stateless(room, "fence")).await);
    assert!(socket.say(&frames::named(room, &frames::step1(&[0]))).await);
    let rest = until(&mut socket, room, Heard::Step2).await;
    assert!(
        !rest
            .iter()
            .any(|(_, heard)| matches!(heard, Heard::Status(_))),
        "{rest:?}"
    );
}

#[tokio::test]
async fn keys_that_come_at_once_are_acknowledged_each_and_heard_before_what_follows() {
    let relay = Relay::start();
    let room = "session/fast";
    let watcher = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("w")).await;
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    enter(&mut socket, room).await;
    let author = Document::new(80);
    let key = |text: &str| {
        let update = author.edit(|document, transaction| document.text.push(transaction, text));
        binary(&frames::named(room, &frames::update(&update)))
    };
    let state = frames::awareness(&[(80, 1, r#"{"user":{"name":"x"}}"#)]);
    let mut at_once: Vec<Vec<u8>> = (0..60).map(|n| key(&(n % 10).to_string())).collect();
    at_once.insert(40, binary(&frames::named(room, &state)));
    at_once.push(binary(&frames::stateless(room, "typed")));
    assert!(socket.send(&at_once.concat()).await);
    let mut missing = 60;
    while 0 < missing {
        if next(&mut socket).await.1 == Heard::Status(true) {
            missing -= 1;
        }
    }
    let typed = "0123456789".repeat(6);
    watcher.until_text(&typed).await;
    watcher.until("the cursor", |state| state.sees(80)).await;

    // The last words before the document is left.
    let mut last: Vec<Vec<u8>> = (0..20).map(|_| key("x")).collect();
    last.push(binary(&frames::close_document(room)));
    assert!(socket.send(&last.concat()).await);
    watcher
        .until_text(&format!("{typed}{}", "x".repeat(20)))
        .await;
    watcher.until("to be left", |state| !state.sees(80)).await;
}

#[tokio::test]
async fn whoever_reads_its_acknowledgements_late_has_them_all() {
    const KEYS: u64 = 400_000;
    let relay = Relay::options().argument("--rate=10000000").start();
    let room = "session/late";
    let mut socket = RawSocket::open_narrow(relay.address, "/collab").await;
    enter(&mut socket, room).await;
    let first = Document::new(80).edit(|document, transaction| {
        document.text.push(transaction, "x");
    });
    // What is typed behind it: one text item whose left neighbour is the clock before.
    let key = |clock: u64| {
        let (item, text) = (Writer::default().varuint(1).varuint(1), &b"x"[..]);
        let item = item.varuint(80).varuint(clock).raw(&[0x84]);
        item.varuint(80).varuint(clock - 1).bytes(text).varuint(0).0
    };
    let mut updates = std::iter::once(first).chain((1..KEYS).map(key));
    for _ in 0..KEYS / 1_000 {
        let some = updates.by_ref().take(1_000);
        let frames = some.flat_map(|it| binary(&frames::named(room, &frames::update(&it))));
        assert!(socket.send(&frames.collect::<Vec<_>>()).await);
    }
    let mut missing = KEYS;
    while 0 < missing {
        if next(&mut socket).await.1 == Heard::Status(true) {
            missing -= 1;
        }
    }
}

#[tokio::test]
async fn a_closed_document_ends_without_the_socket_and_can_be_opened_again() {
    let relay = Relay::start();
    let room = "session/closed";
    let watcher = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("w")).await;
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    enter(&mut socket, "session/other").await;
    for clock in [1, 20] {
        enter(&mut socket, room).await;
        let state = r#"{"user":{"name":"x"}}"#;
        assert!(
            socket
                .say(&frames::named(
                    room,
                    &frames::awareness(&[(90, clock, state)])
                ))
                .await
        );
        watcher
            .until("the document's user", |state| state.sees(90))
            .await;
        assert!(socket.say(&frames::close_document(room)).await);
        watcher
            .until("the document's user to be gone", |state| !state.sees(90))
            .await;
        // The last words of an old provider must not open it again.
        let last = frames::awareness(&[(90, clock + 1, "null")]);
        assert!(socket.say(&frames::named(room, &last)).await);
        assert!(
            socket
                .say(&frames::named("session/other", &frames::step1(&[0])))
                .await
        );
        until(&mut socket, "session/other", Heard::Step2).await;
    }
}

#[tokio::test]
async fn sessions_of_one_document_on_one_socket_are_addressed_by_their_whole_key() {
    let relay = Relay::start();
    let room = "session/keys";
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    let (first, second) = (format!("{room}\0abc123"), format!("{room}\0xyz789"));
    enter(&mut socket, &first).await;
    enter(&mut socket, &second).await;
    assert!(
        socket
            .say(&frames::named(&first, &frames::update(&edit(95, "shared"))))
            .await
    );
    let mut is_saved = false;
    let mut is_heard = false;
    while !(is_saved && is_heard) {
        match next(&mut socket).await {
            (name, Heard::Status(true)) if name == first => is_saved = true,
            (name, Heard::Update) if name == second => is_heard = true,
            (name, _) => assert!(name == first || name == second, "a frame for {name:?}"),
        }
    }
    let ben = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ben")).await;
    ben.until("the shared document", |state| {
        state.document.map_value("shared").is_some()
    })
    .await;
}

#[tokio::test]
async fn stateless_messages_go_to_the_others_and_never_back() {
    let relay = Relay::start();
    let room = "session/stateless";
    let ann = Client::join(&relay, Provider::Hocuspocus2, room, &tokens::member("ann")).await;
    let ben = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ben")).await;
    let reader = Claims::of("reader").reads(room).sign();
    let reader = Client::join(&relay, Provider::Hocuspocus4, room, &reader).await;
    // Its test fails if anything of this door's protocol reaches the other one.
    let sync = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("cat")).await;
    ann.send_as_is(frames::stateless(room, "from ann"));
    reader.send_as_is(frames::stateless(room, "from the reader"));
    ben.until("both messages", |state| state.stateless.len() == 2)
        .await;
    ann.until("the reader's message", |state| {
        state.stateless == ["from the reader"]
    })
    .await;
    reader
        .until("ann's message", |state| state.stateless == ["from ann"])
        .await;
    ben.write("after");
    for client in [&ann, &reader, &sync] {
        client.until_text("after").await;
    }
    assert_eq!(ann.state().stateless, ["from the reader"]);
    assert_eq!(reader.state().stateless, ["from ann"]);
}

/// Reads on until this frame's name and kind come, and asserts that none of these came before.
async fn until_without(socket: &mut RawSocket, name: &str, wanted: Heard, unwanted: &[Heard]) {
    let before = until(socket, name, wanted).await;
    let found = before
        .iter()
        .find(|(of, heard)| of == name && unwanted.contains(heard));
    assert_eq!(found, None, "{before:?}");
}

#[tokio::test]
async fn what_is_said_after_a_close_is_heard_whichever_worker_has_the_document() {
    let relay = Relay::start();
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    for number in 0..8 {
        let room = format!("session/goes-on-{number}");
        let watcher = Client::join(&relay, Provider::YWebsocket, &room, &tokens::member("w")).await;
        enter(&mut socket, &room).await;
        let state = r#"{"user":{"name":"x"}}"#;
        let own = frames::named(&room, &frames::awareness(&[(90, 5, state)]));
        assert!(socket.say(&own).await);
        watcher.until("x", |state| state.sees(90)).await;
        assert!(socket.say(&frames::close_document(&room)).await);
        watcher.until("x to be gone", |state| !state.sees(90)).await;

        // Neither a farewell, nor a question, nor what a client repeats.
        for nothing in [
            frames::awareness(&[(90, 6, "null")]),
            frames::awareness(&[(watcher.id(), 50, state)]),
            frames::query_awareness(),
        ] {
            assert!(socket.say(&frames::named(&room, &nothing)).await);
        }
        let mut said = vec![frames::update(&edit(90, "late"))];
        if number % 2 == 0 {
            // At the clock of a client that was made anew.
            said.insert(0, frames::awareness(&[(90, 1, state)]));
        }
        for frame in said {
            assert!(socket.say(&frames::named(&room, &frame)).await);
        }
        until(&mut socket, &room, Heard::Status(true)).await;
        watcher
            .until("what came late", |state| {
                state.document.map_value("late").is_some()
            })
            .await;
        assert!(
            socket
                .say(&frames::named(&room, &frames::awareness(&[(90, 2, state)])))
                .await
        );
        watcher.until("x again", |state| state.sees(90)).await;
        // It is a document like any other again.
        assert!(
            socket
                .say(&frames::named(&room, &frames::update(&edit(91, "more"))))
                .await
        );
        until(&mut socket, &room, Heard::Status(true)).await;
        assert!(socket.say(&frames::close_document(&room)).await);
        watcher.until("x gone again", |state| !state.sees(90)).await;
    }
}

#[tokio::test]
async fn a_close_is_remembered_for_the_last_64_documents_and_as_long_as_the_token_is_good() {
    let relay = Relay::start();
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    enter(&mut socket, "session/fence").await;
    let late = |room: &str| frames::named(room, &frames::update(&edit(95, "late")));
    let names: Vec<_> = (0..65).map(|n| format!("session/closed-{n}")).collect();
    for name in &names {
        enter(&mut socket, name).await;
        assert!(socket.say(&frames::close_document(name)).await);
    }
    for name in [&names[0], &names[1]] {
        assert!(socket.say(&late(name)).await);
    }
    until(&mut socket, &names[1], Heard::Status(true)).await;
    assert!(socket.say(&late("session/fence")).await);
    let before = until(&mut socket, "session/fence", Heard::Status(true)).await;
    assert!(before.iter().all(|(name, _)| *name != names[0]));

    let revoked = "session/revoked-when-closed";
    enter(&mut socket, revoked).await;
    assert!(socket.say(&frames::close_document(revoked)).await);
    let body = serde_json::json!({"userId": "ann", "room": revoked});
    let answer = http::ask(
        relay.address,
        "POST",
        "/v1/revocations",
        Some(&tokens::service()),
        body.to_string().as_bytes(),
    )
    .await;
    assert_eq!(answer.status, 204);
    assert!(socket.say(&late(revoked)).await);
    until_without(
        &mut socket,
        revoked,
        Heard::Denied("REVOKED".to_owned()),
        &[Heard::Status(true)],
    )
    .await;
}

#[tokio::test]
async fn what_waits_for_a_token_counts_while_it_waits() {
    let relay = Relay::start();
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    enter(&mut socket, "session/fence").await;
    let token = tokens::member("ann");
    let state = frames::awareness(&[(50, 1, r#"{"user":{}}"#)]);
    for number in 0..300 {
        let name = format!("session/early-{number}");
        for _ in 0..4 {
            assert!(socket.say(&frames::named(&name, &state)).await);
        }
        // Let in, refused, or given up: none of it waits any more.
        let end = match number % 3 {
            0 => frames::token(&name, &token, None),
            1 => frames::token(&name, "bad", None),
            _ => frames::close_document(&name),
        };
        assert!(socket.say(&end).await);
        assert!(socket.say(&frames::close_document(&name)).await);
    }
    assert!(
        socket
            .say(&frames::named("session/fence", &frames::step1(&[0])))
            .await
    );
    until(&mut socket, "session/fence", Heard::Step2).await;
    // And what waits is bounded.
    for _ in 0..=1_000 {
        let frame = frames::named("session/no-token", &state);
        if !socket.say(&frame).await {
            break;
        }
    }
    assert_eq!(
        socket.ended().await,
        Ended::Closed(1009, "LIMIT_MESSAGE".to_owned())
    );
}
