//! All clients of a room, by whichever door and after whatever history, reach the same document.

use std::time::Duration;

use yrs::{Map, Text};

use crate::support::client::{Client, Provider, converged, presence_of};
use crate::support::document::Document;
use crate::support::frames::{self, Message};
use crate::support::old_client::OldClient;
use crate::support::random::Random;
use crate::support::raw::RawSocket;
use crate::support::relay::Relay;
use crate::support::time::{now, polled};
use crate::support::{http, tokens};

/// Everybody shows the same, and so does the document that a back end reads.
async fn check_converged(relay: &Relay, room: &str, clients: &[Client]) {
    let content = converged(clients).await;
    assert_eq!(http::document(relay.address, room).await.content(), content);
    for provider in [Provider::YWebsocket, Provider::Hocuspocus4] {
        let newcomer = Client::join(relay, provider, room, &tokens::member("newcomer")).await;
        assert_eq!(
            newcomer.content(),
            content,
            "a newcomer on {provider:?} sees something else"
        );
    }
    for client in clients
        .iter()
        .filter(|client| client.state().provider != Provider::YWebsocket)
    {
        client
            .until("every change acknowledged", |state| state.unsynced == 0)
            .await;
    }
}

#[tokio::test]
async fn any_two_providers_edit_one_document() {
    let relay = Relay::start();
    for one in Provider::ALL {
        for other in Provider::ALL {
            let room = format!("session/{one:?}-{other:?}");
            let ann = Client::join(&relay, one, &room, &tokens::member("ann")).await;
            let ben = Client::join(&relay, other, &room, &tokens::member("ben")).await;
            ann.write("from ann");
            ben.until_text("from ann").await;
            ben.edit(|document, transaction| document.text.insert(transaction, 0, "ben, "));
            ben.edit(|document, transaction| {
                document.map.insert(transaction, "title", "notes");
            });
            ann.until_text("ben, from ann").await;
            check_converged(&relay, &room, &[ann, ben]).await;
        }
    }
}

#[tokio::test]
async fn fifty_people_editing_at_once_converge() {
    let relay = Relay::options().alone().start();
    let mut clients = Vec::new();
    for number in 0..50 {
        let provider = Provider::ALL[number % 3];
        let token = tokens::member(&format!("user-{number}"));
        clients.push(Client::join(&relay, provider, "session/crowd", &token).await);
    }
    let mut random = Random::new(50);
    for _ in 0..20 {
        for client in &clients {
            client.edit_randomly(&mut random);
        }
        // Lets the links run, so that changes cross each other on the way.
        tokio::task::yield_now().await;
    }
    check_converged(&relay, "session/crowd", &clients).await;
}

#[tokio::test]
async fn what_was_written_offline_arrives_with_its_author() {
    let relay = Relay::start();
    for provider in Provider::ALL {
        let room = format!("session/offline-{provider:?}");
        let mut ann = Client::join(&relay, provider, &room, &tokens::member("ann")).await;
        let ben = Client::join(&relay, Provider::YWebsocket, &room, &tokens::member("ben")).await;
        ann.write("shared. ");
        ben.until_text("shared. ").await;
        ann.hang_up().await;
        ann.write("ann alone. ");
        ben.write("ben alone. ");
        ben.edit(|document, transaction| document.text.remove_range(transaction, 0, 8));
        ann.connect().await;
        check_converged(&relay, &room, &[ann, ben]).await;
    }
}

#[tokio::test]
async fn a_document_written_before_anybody_else_came_is_handed_on() {
    let relay = Relay::start();
    let mut ann = Client::new(
        &relay,
        Provider::YWebsocket,
        "session/early",
        &tokens::member("ann"),
    );
    ann.write("written at home");
    ann.connect().await;
    let ben = Client::join(
        &relay,
        Provider::Hocuspocus2,
        "session/early",
        &tokens::member("ben"),
    )
    .await;
    ben.until_text("written at home").await;
}

#[tokio::test]
async fn random_histories_with_drops_and_returns_converge() {
    let relay = Relay::options().alone().start();
    for seed in 0..8 {
        // Read when the test fails.
        println!("seed {seed}");
        let room = format!("session/history-{seed}");
        let mut random = Random::new(seed);
        let mut clients = Vec::new();
        for number in 0..6 {
            let token = tokens::member(&format!("user-{number}"));
            clients.push(Client::join(&relay, Provider::ALL[number % 3], &room, &token).await);
        }
        for _ in 0..200 {
            let client = &mut clients[random.below(6)];
            let is_open = client.state().is_open;
            match random.below(16) {
                0 if is_open => client.reset().await,
                1 if is_open => client.hang_up().await,
                2 if is_open => client.close().await,
                // An opened link is not waited for: edits fall before, into and after its greeting.
                3..=6 if !is_open => client.open(),
                7 => tokio::task::yield_now().await,
                _ => client.edit_randomly(&mut random),
            }
        }
        for client in &mut clients {
            if !client.state().is_synced {
                client.connect().await;
            }
        }
        check_converged(&relay, &room, &clients).await;
    }
}

/// Three changes of one author, each resting on the one before; `[0]` rests on nothing.
fn chain(client: u64) -> (Document, Vec<Vec<u8>>) {
    let author = Document::new(client);
    let words = ["one ", "two ", "three "];
    let updates = words
        .map(|word| author.edit(|document, transaction| document.text.push(transaction, word)));
    (author, updates.to_vec())
}

/// How soon somebody has to ask who is to be waited for. The relay waits a second.
const ASKS_IN_TIME: Duration = Duration::from_millis(700);

#[tokio::test]
async fn nobody_is_sent_what_they_cannot_place_yet() {
    let relay = Relay::start();
    // A busy machine may let more than a second pass before somebody can ask: that shows nothing.
    for attempt in 0.. {
        if check_early_bird(&relay, &format!("session/early-bird-{attempt}")).await {
            return;
        }
        assert!(
            attempt < 50,
            "the machine is too busy to ask within a second"
        );
    }
}

/// `false` if so much time passed that the relay was right not to wait.
async fn check_early_bird(relay: &Relay, room: &str) -> bool {
    let path = |user: &str| format!("/sync/{room}?token={}", tokens::member(user));
    let is_content = |frame: &[u8]| matches!(frames::read(frame), Some(Message::Update { .. }));
    let (_, updates) = chain(90);
    let mut ann = RawSocket::open(relay.address, &path("ann")).await;
    // What has been sent to a witness is past the end of its turn.
    let mut witness = RawSocket::open(relay.address, &path("dan")).await;
    witness.say(&frames::step1(&[0])).await;
    witness.heard_that(is_content).await.unwrap();
    ann.say(&frames::step1(&[0])).await;
    ann.say(&frames::update(&updates[0])).await;
    let sent = witness.heard_that(is_content).await.unwrap();
    assert_eq!(sent, frames::update(&updates[0]));
    // One asks what there is after something has been typed, the other never does.
    let before = now();
    let mut ben = RawSocket::open(relay.address, &path("ben")).await;
    let mut cid = RawSocket::open(relay.address, &path("cid")).await;
    ben.fence().await.unwrap();
    cid.fence().await.unwrap();
    ann.say(&frames::update(&updates[1])).await;
    witness.heard_that(is_content).await.unwrap();
    ben.say(&frames::step1(&[0])).await;
    let answer = ben.heard_that(is_content).await.unwrap();
    if ASKS_IN_TIME < now() - before {
        return false;
    }
    let Some(Message::Update {
        is_answer: true,
        update,
    }) = frames::read(&answer)
    else {
        panic!("an update came before the answer: {answer:?}");
    };
    assert_eq!(Document::of_update(update).text(), "one two ");
    let news = cid.heard_that(is_content).await.unwrap();
    assert_eq!(news, frames::update(&updates[1]));
    let took = now() - before;
    assert!(
        900 < took.as_millis(),
        "it might still have asked: {took:?}"
    );
    true
}

/// Three changes of one author that need nothing of each other and have only their place in a row:
/// a library may show the last before the first has come.
fn row(client: u64) -> (Document, Vec<Vec<u8>>) {
    let author = Document::new(client);
    let keys = ["title", "owner", "due"];
    let updates = keys.map(|key| {
        author.edit(|document, transaction| {
            document.map.insert(transaction, key, key);
        })
    });
    (author, updates.to_vec())
}

/// The changes arrive in this order; before each, somebody joins by each door, and while each
/// arrives somebody who was there from the beginning is away. In the end all have what the author
/// has, and so has who comes after.
async fn check_order(
    relay: &Relay,
    room: &str,
    updates: &[Vec<u8>],
    order: &[usize],
    author: &Document,
) {
    let goal = author.content();
    let token = tokens::member("ann");
    let path = format!("/sync/{room}?token={token}");
    let mut sender = RawSocket::open(relay.address, &path).await;
    assert!(sender.say(&frames::step1(&[0])).await);
    let doors = [Provider::YWebsocket, Provider::Hocuspocus4];
    let mut travellers = Vec::new();
    for number in 0..2 * order.len() {
        travellers.push(Client::join(relay, doors[number % 2], room, &token).await);
    }
    let mut witnesses = Vec::new();
    for (&index, travellers) in order.iter().zip(travellers.chunks_mut(2)) {
        for provider in doors {
            witnesses.push(Client::join(relay, provider, room, &token).await);
        }
        for traveller in &mut *travellers {
            traveller.hang_up().await;
        }
        assert!(sender.say(&frames::update(&updates[index])).await);
        sender
            .fence()
            .await
            .expect("a gap is no fault of the sender");
        for traveller in travellers {
            traveller.connect().await;
        }
    }
    witnesses.extend(travellers);
    for (number, witness) in witnesses.iter().enumerate() {
        let what = format!("all changes, in the order {order:?}, for witness {number}");
        witness
            .until(&what, |state| state.document.content() == goal)
            .await;
    }
    let newcomer = Client::join(relay, Provider::YWebsocket, room, &token).await;
    assert_eq!(newcomer.content(), goal);
    assert_eq!(http::document(relay.address, room).await.content(), goal);
    // What is typed now rests on what was pending before.
    newcomer.write("four");
    for witness in &witnesses {
        witness.until_text(&format!("{}four", goal.text)).await;
    }
}

#[tokio::test]
async fn changes_whose_foundation_comes_later_reach_everybody() {
    let relay = Relay::start();
    let (author, updates) = chain(77);
    let orders = [[1, 0, 2], [2, 1, 0], [2, 0, 1], [1, 2, 0], [0, 2, 1]];
    for (number, order) in orders.iter().enumerate() {
        let room = format!("session/gap-{number}");
        check_order(&relay, &room, &updates, order, &author).await;
    }
}

#[tokio::test]
async fn changes_that_overtake_earlier_ones_of_their_author_reach_everybody() {
    let relay = Relay::start();
    let (author, updates) = row(80);
    let orders = [[1, 0, 2], [2, 1, 0], [2, 0, 1], [1, 2, 0], [0, 2, 1]];
    for (number, order) in orders.iter().enumerate() {
        let room = format!("session/row-{number}");
        check_order(&relay, &room, &updates, order, &author).await;
    }
}

#[tokio::test]
async fn changes_that_rest_on_another_author_who_is_late_reach_everybody() {
    let relay = Relay::start();
    let (first, updates) = chain(78);
    let second = Document::new(79);
    second.apply(&first.whole());
    let inside = second.edit(|document, transaction| document.text.insert(transaction, 6, "X"));
    let removal =
        second.edit(|document, transaction| document.text.remove_range(transaction, 0, 2));
    let all: Vec<_> = updates.into_iter().chain([inside, removal]).collect();
    for (number, order) in [[3, 4, 0, 1, 2], [4, 3, 2, 1, 0], [0, 3, 4, 2, 1]]
        .iter()
        .enumerate()
    {
        check_order(
            &relay,
            &format!("session/late-{number}"),
            &all,
            order,
            &second,
        )
        .await;
    }
}

#[tokio::test]
async fn a_client_of_2024_edits_with_those_of_today() {
    let relay = Relay::start();
    let room = "session/old";
    let token = tokens::member("ann");
    let ann = Client::show_up(&relay, Provider::YWebsocket, room, &token, "ann").await;
    ann.edit(|document, transaction| {
        document.map.insert(transaction, "title", "notes");
    });
    ann.write("today");
    let state = presence_of("old").to_string();
    let mut old = OldClient::join(&relay, room, &tokens::member("old"), 2024, &state).await;
    let ben = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ben")).await;
    assert_eq!(old.text(), "today");
    assert_eq!(old.map_value("title").as_deref(), Some("notes"));
    old.write_first("yesterday and ").await;
    ann.until_text("yesterday and today").await;
    ben.until_text("yesterday and today").await;
    ben.write(" and tomorrow");
    old.until("a change from Hocuspocus", |old| {
        old.text().ends_with("tomorrow")
    })
    .await;
    old.remove_first(14).await;
    ann.until_text("today and tomorrow").await;
    ben.until_text("today and tomorrow").await;
    // Both see each other.
    let ann_id = ann.id();
    old.until("ann's presence", |old| {
        old.awareness.clients().contains_key(&ann_id)
    })
    .await;
    ann.until("the old client's presence", |state| state.sees(2024))
        .await;
    old.leave().await;
    ann.until("the old client to be gone", |state| !state.sees(2024))
        .await;
    assert_eq!(
        http::document(relay.address, room).await.text(),
        "today and tomorrow"
    );
}

#[tokio::test]
async fn a_document_of_a_quarter_million_characters_is_joined() {
    let relay = Relay::options().alone().start();
    let room = "session/long";
    let ann = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ann")).await;
    let mut random = Random::new(260);
    // Words that land anywhere split what is there: this is what a document looks like that was
    // really worked on, and not pasted.
    for _ in 0..6_500 {
        ann.edit(|document, transaction| {
            let at = random.below(document.text.len(transaction) as usize + 1) as u32;
            document
                .text
                .insert(transaction, at, "forty characters, neither more nor less.");
        });
        tokio::task::yield_now().await;
    }
    let text = ann.text();
    assert_eq!(text.len(), 260_000);
    polled("the relay to have read it all", || async {
        let document = http::document(relay.address, room).await;
        (document.text().len() == text.len()).then_some(())
    })
    .await;
    let started = now();
    for provider in [Provider::YWebsocket, Provider::Hocuspocus4] {
        let ben = Client::join(&relay, provider, room, &tokens::member("ben")).await;
        assert_eq!(ben.text(), text);
    }
    let took = now() - started;
    assert!(
        took.as_secs() < 10,
        "two people waited {took:?} for the document"
    );
}
