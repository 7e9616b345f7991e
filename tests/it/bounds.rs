//! Slow, greedy and oversized clients: bounded memory, and no delay for anybody else.

use std::time::Duration;

use serde_json::json;
use yrs::{Map, Text};

use crate::support::client::{Client, Ending, Provider, State, converged, presence_of};
use crate::support::document::Document;
use crate::support::frames::{self, Message};
use crate::support::http;
use crate::support::raw::{Ended, RawSocket};
use crate::support::relay::Relay;
use crate::support::time::{now, percentile, polled};
use crate::support::tokens;

const MEBIBYTE: u64 = 1 << 20;

async fn crowd(relay: &Relay, room: &str, count: usize) -> Vec<Client> {
    let mut crowd = Vec::new();
    for number in 0..count {
        let user = format!("user-{number}");
        let token = tokens::member(&user);
        crowd.push(Client::show_up(relay, Provider::ALL[number % 3], room, &token, &user).await);
    }
    crowd
}

/// One edit after another from somebody, until all others have it; how long each took.
async fn latencies(crowd: &[Client], rounds: usize, key: &str) -> Vec<Duration> {
    // Large enough that what a reader is owed soon exceeds what the kernel keeps for it.
    let ballast = "b".repeat(16 << 10);
    let mut took = Vec::new();
    for round in 0..rounds {
        let value = format!("{round}-{ballast}");
        let started = now();
        crowd[round % crowd.len()].edit(|document, transaction| {
            document.map.insert(transaction, key, value.clone());
        });
        // Looking at every client's value costs more than delivering it: the last byte will do.
        for client in [
            &crowd[(round + 1) % crowd.len()],
            &crowd[(round + 7) % crowd.len()],
        ] {
            client
                .until("an edit", |state| {
                    state.document.map_value(key).as_ref() == Some(&value)
                })
                .await;
        }
        took.push(now() - started);
        for client in crowd.iter().step_by(5) {
            client.set_state(json!({"user": {"name": "x"}, "cursor": round}));
        }
    }
    took
}

#[tokio::test]
async fn one_stuck_reader_among_fifty_delays_nobody_and_catches_up() {
    let relay = Relay::options().alone().start();
    let room = "session/stuck";
    let people = crowd(&relay, room, 49).await;
    let mut before = latencies(&people, 150, "before").await;
    let memory_before = relay.memory();

    let mut stuck = stuck_reader(&relay, Provider::YWebsocket, room).await;
    for person in &people {
        person.until_sees(&stuck).await;
    }
    let mut during = latencies(&people, 600, "during").await;
    let memory_during = relay.memory();

    let (usual, hindered) = (percentile(&mut before, 0.99), percentile(&mut during, 0.99));
    println!("p99 {usual:?} -> {hindered:?}; memory {memory_before} -> {memory_during}");
    assert!(
        hindered < usual * 2 + Duration::from_millis(30),
        "with a stuck reader an edit took {hindered:?} instead of {usual:?}"
    );
    // 600 edits of 16 KiB were made; who waits is not owed a copy of each.
    let grown = memory_during.saturating_sub(memory_before);
    assert!(grown < 48 * MEBIBYTE, "the relay grew by {grown} bytes");

    // Of the last edits some may still be on their way to this one.
    let is_same = |state: &State| state.document.content() == people[0].content();
    catch_up(&mut stuck, "the same document", is_same).await;
    let newest = people[0].state().others().get(&people[5].id()).cloned();
    let other = people[5].id();
    stuck
        .until("the newest presence of others", |state| {
            state.others().get(&other) == newest.as_ref()
        })
        .await;
}

/// Somebody who joined and then stopped reading.
async fn stuck_reader(relay: &Relay, provider: Provider, room: &str) -> Client {
    let mut stuck = Client::new(relay, provider, room, &tokens::member("stuck"));
    stuck.set_narrow();
    stuck.set_state(presence_of("stuck"));
    stuck.connect().await;
    stuck.stop_reading().await;
    stuck
}

/// Reads on, or comes back if it was sent away meanwhile, until this holds.
async fn catch_up(stuck: &mut Client, what: &str, holds: impl Fn(&State) -> bool) {
    stuck.read_again().await;
    let caught_up = stuck.wait_for(what, |state| {
        (holds(state) || state.ending.is_some()).then(|| state.ending.clone())
    });
    if let Some(ending) = caught_up.await {
        let is_known = matches!(ending, Ending::Lost | Ending::Closed(1013, _));
        assert!(is_known, "ended by {ending:?}");
        stuck.connect().await;
    }
    stuck.until(what, holds).await;
}

#[tokio::test]
async fn a_stuck_reader_of_a_flood_of_presence_costs_little() {
    let relay = Relay::options().alone().argument("--rate=1000000").start();
    let room = "session/cursors";
    let people = crowd(&relay, room, 3).await;
    for provider in [Provider::YWebsocket, Provider::Hocuspocus4] {
        let mut stuck = stuck_reader(&relay, provider, room).await;
        let memory_before = relay.memory();
        let ballast = "c".repeat(30 << 10);
        // 2,000 states of 30 KiB are 60 MiB: only the newest of each is owed.
        let (id, last) = (people[0].id(), 2_000);
        for round in 0..=last {
            people[0].set_state(json!({"user": {"name": "x"}, "cursor": round, "b": ballast}));
            // One by one, so that the relay has no chance to gather what is not to be gathered.
            let has_newest = |state: &State| {
                let cursor = format!("\"cursor\":{round},");
                let others = state.others();
                others.get(&id).is_some_and(|it| it.contains(&cursor))
            };
            people[1].until("a cursor", has_newest).await;
        }
        let grown = relay.memory().saturating_sub(memory_before);
        println!("{provider:?}: {grown}");
        assert!(grown < 24 * MEBIBYTE, "the relay grew by {grown} bytes");
        let has_newest = |state: &State| state.state_of(id).is_some_and(|it| it["cursor"] == last);
        catch_up(&mut stuck, "the newest cursor", has_newest).await;
    }
}

#[tokio::test]
async fn a_stuck_reader_of_a_busy_document_costs_little() {
    let relay = Relay::options().alone().start();
    let mut grown = Vec::new();
    for room in ["session/busy", "session/busy-and-stuck"] {
        let people = crowd(&relay, room, 2).await;
        let mut stuck = stuck_reader(&relay, Provider::YWebsocket, room).await;
        if room == "session/busy" {
            stuck.reset().await;
        }
        let memory_before = relay.memory();
        let ballast = "d".repeat(60 << 10);
        for round in 0..1_200 {
            let value = format!("{round}-{ballast}");
            people[0].edit(|document, transaction| {
                document.map.insert(transaction, "key", value.clone());
            });
            let has_it = |state: &State| state.document.map_value("key").as_ref() == Some(&value);
            people[1].until("an edit", has_it).await;
        }
        grown.push(relay.memory().saturating_sub(memory_before));
        if room != "session/busy" {
            let goal = people[1].content();
            let is_same = |state: &State| state.document.content() == goal;
            catch_up(&mut stuck, "the same document", is_same).await;
        }
    }
    println!("{grown:?}");
    // 1,200 changes of 60 KiB are 70 MiB.
    let cost = grown[1].saturating_sub(grown[0]);
    assert!(cost < 24 * MEBIBYTE, "a stuck reader cost {cost} bytes");
}

#[tokio::test]
async fn who_never_reads_again_is_closed_and_the_rest_goes_on() {
    let relay = Relay::options().impatient().start();
    let room = "session/never";
    let ann = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ann")).await;
    let token = tokens::member("stuck");
    let mut stuck =
        RawSocket::open_narrow(relay.address, &format!("/sync/{room}?token={token}")).await;
    let state = presence_of("stuck").to_string();
    assert!(stuck.say(&frames::step1(&[0])).await);
    assert!(stuck.say(&frames::awareness(&[(500, 1, &state)])).await);
    ann.until("the stuck one to appear", |state| state.sees(500))
        .await;
    let started = now();
    ann.until("the stuck one to be given up", |state| !state.sees(500))
        .await;
    assert!(now() - started < Duration::from_secs(5));
    ann.until("still open", |state| state.is_open).await;
}

#[tokio::test]
async fn a_flood_is_slowed_and_nothing_of_it_is_dropped() {
    let relay = Relay::options().alone().argument("--rate=1000").start();
    let room = "session/flood";
    let ben = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ben")).await;
    let ann = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ann")).await;
    let cat = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("cat")).await;
    let started = now();
    for number in 0..5_000 {
        ann.edit(|document, transaction| {
            document
                .text
                .push(transaction, if number % 100 == 0 { "\n" } else { "x" });
        });
    }
    // The flood of one is no delay for another.
    let asked = now();
    cat.edit(|document, transaction| {
        document.map.insert(transaction, "cat", "was here");
    });
    ben.until("an edit beside the flood", |state| {
        state.document.map_value("cat").is_some()
    })
    .await;
    let waited = now() - asked;
    assert!(
        waited < Duration::from_secs(1),
        "another's edit took {waited:?}"
    );
    ben.until("the whole flood", |state| state.text().len() == 5_000)
        .await;
    // A burst of 2,000 at once, and then 1,000 a second.
    let took = now() - started;
    assert!(
        Duration::from_millis(2_500) < took,
        "5,000 messages were read in {took:?}"
    );
    assert!(
        took < Duration::from_secs(12),
        "slowed far too much: {took:?}"
    );
    ann.until("still open", |state| {
        state.is_open && state.ending.is_none()
    })
    .await;
    converged([&ann, &ben, &cat]).await;
}

async fn raw_sync(relay: &Relay, room: &str) -> RawSocket {
    let token = tokens::member("greedy");
    let mut socket = RawSocket::open(relay.address, &format!("/sync/{room}?token={token}")).await;
    assert!(socket.say(&frames::step1(&[0])).await);
    socket
}

fn closed(code: u16, reason: &str) -> Ended {
    Ended::Closed(code, reason.to_owned())
}

#[tokio::test]
async fn a_message_that_is_too_large_names_its_limit() {
    let relay = Relay::options().argument("--max-message=65536").start();
    let mut socket = raw_sync(&relay, "session/large").await;
    socket.say(&vec![0; 65_537]).await;
    assert_eq!(socket.ended().await, closed(1009, "LIMIT_MESSAGE"));
    // In pieces that are each small enough.
    let mut socket = raw_sync(&relay, "session/large").await;
    let mut shape = crate::support::raw::Shape::of(crate::support::raw::BINARY);
    shape.is_last = false;
    for _ in 0..3 {
        socket.send(&shape.write(&vec![0; 40_000])).await;
        shape.opcode = crate::support::raw::CONTINUATION;
    }
    assert_eq!(socket.ended().await, closed(1009, "LIMIT_MESSAGE"));
    let token = tokens::member("ann");
    let ann = Client::join(&relay, Provider::YWebsocket, "session/large", &token).await;
    ann.write(&"y".repeat(60_000));
    polled("a message just below the limit", || async {
        let document = http::document(relay.address, "session/large").await;
        (document.text().len() == 60_000).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_awareness_state_that_is_too_large_costs_nothing_but_itself() {
    let relay = Relay::start();
    let room = "session/large-state";
    let watcher = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("w")).await;
    let state = |length: usize| format!("\"{}\"", "s".repeat(length - 2));
    let mut socket = raw_sync(&relay, room).await;
    assert!(
        socket
            .say(&frames::awareness(&[(9, 1, &state(64 << 10))]))
            .await
    );
    watcher
        .until("a state of 64 KiB", |state| state.sees(9))
        .await;
    assert!(
        socket
            .say(&frames::awareness(&[(9, 5, &state((64 << 10) + 1))]))
            .await
    );
    // The socket stays, and so does what was there before.
    watcher
        .until("the renewed state", |state| state.clock_of(9) == 5)
        .await;
    assert_eq!(
        watcher.state().state_of(9).unwrap(),
        "s".repeat((64 << 10) - 2)
    );
    assert!(socket.say(&frames::awareness(&[(9, 6, "7")])).await);
    watcher
        .until("a small state again", |state| {
            state.state_of(9).is_some_and(|state| state == 7)
        })
        .await;
    // The operator sees whose it was, and can count.
    let live = http::get_json(relay.address, "/live/state", &tokens::service()).await;
    let list = live["timeline"]["list"].as_array().unwrap();
    let told: Vec<_> = list.iter().filter(|one| one["what"] == "dropped").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["room"], &told[0]["reason"]),
        (&room.into(), &"state".into())
    );
    let metrics = http::get(relay.address, "/metrics", &tokens::service()).await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("copresence_awareness_states_dropped_total{limit=\"state\"} 1"));
}

#[tokio::test]
async fn a_document_that_grows_too_large_names_its_limit() {
    let relay = Relay::options().argument("--max-document=200000").start();
    let room = "session/large-document";
    let author = Document::new(70);
    let mut socket = raw_sync(&relay, room).await;
    let update = || {
        author.edit(|document, transaction| document.text.push(transaction, &"z".repeat(60_000)))
    };
    for _ in 0..5 {
        let edit = update();
        if !socket.say(&frames::update(&edit)).await {
            break;
        }
    }
    assert_eq!(socket.ended().await, closed(1009, "LIMIT_DOCUMENT"));
    // Others still read it; on /collab the same is a refusal of the document.
    let ann = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ann")).await;
    // What is large may still be gone through when she is there.
    polled("what was taken", async || {
        (60_000 <= ann.text().len()).then_some(())
    })
    .await;
    assert!(ann.text().len() <= 200_000);
    ann.write(&"z".repeat(150_000));
    let denied = ann
        .wait_for("a refusal", |state| state.denied.clone())
        .await;
    assert_eq!(denied, "LIMIT_DOCUMENT");
}

#[tokio::test]
async fn one_connection_too_many_is_told_to_come_back() {
    let relay = Relay::options().argument("--max-connections=3").start();
    let room = "session/full";
    let mut people = Vec::new();
    for _ in 0..3 {
        let token = tokens::member("ann");
        people.push(Client::join(&relay, Provider::YWebsocket, room, &token).await);
    }
    let mut fourth = Client::new(&relay, Provider::YWebsocket, room, &tokens::member("ben"));
    fourth.open();
    assert_eq!(
        fourth.ended().await,
        Ending::Closed(1013, "LIMIT_CONNECTIONS".to_owned())
    );
    people[0].close().await;
    // Refused until the relay has noticed the place: one answer a try, no waiting in between.
    for attempt in 0.. {
        assert!(attempt < 1_000, "the free place is never given away");
        fourth.open();
        let is_in = fourth.wait_for("an answer", |state| {
            (state.is_synced || state.ending.is_some()).then_some(state.is_synced)
        });
        if is_in.await {
            break;
        }
    }
}

#[tokio::test]
async fn fifty_rooms_that_are_left_cost_nothing_in_the_end() {
    let relay = Relay::options()
        .config("[kind.session]\nunload_after_ms = 200\n")
        .alone()
        .start();
    let mut memory = Vec::new();
    for round in 0..6 {
        for number in 0..50 {
            let room = format!("session/{round}-{number}");
            let token = tokens::member("ann");
            let ann = Client::show_up(&relay, Provider::Hocuspocus4, &room, &token, "ann").await;
            ann.write(&"w".repeat(20_000));
            ann.until("saved", |state| state.unsynced == 0).await;
        }
        let last = format!("session/{round}-49");
        polled("the rooms to be unloaded", || async {
            http::roster(relay.address, &last)
                .await
                .is_empty()
                .then_some(())
        })
        .await;
        memory.push(relay.memory());
    }
    let grown = memory[5].saturating_sub(memory[2]);
    assert!(
        grown < 16 * MEBIBYTE,
        "150 rooms that were left cost {grown} bytes: {memory:?}"
    );
}

#[tokio::test]
async fn ping_floods_are_answered_or_ended_and_delay_nobody() {
    let relay = Relay::start();
    let room = "session/pings";
    let ann = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ann")).await;
    let ben = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ben")).await;
    let memory_before = relay.memory();
    let mut socket = raw_sync(&relay, room).await;
    let ping = crate::support::raw::Shape::of(crate::support::raw::PING).write(&[1; 125]);
    let flood = ping.repeat(100);
    let flooding = tokio::spawn(async move {
        // Pongs are never read: at some point the relay takes no more, or ends it.
        for _ in 0..1_000 {
            let sent = tokio::time::timeout(Duration::from_secs(2), socket.send(&flood)).await;
            if sent != Ok(true) {
                break;
            }
        }
    });
    for round in 0..100 {
        let started = now();
        ann.edit(|document, transaction| {
            document.map.insert(transaction, "beat", round);
        });
        let value = round.to_string();
        ben.until("an edit", |state| {
            state.document.map_value("beat").as_ref() == Some(&value)
        })
        .await;
        let took = now() - started;
        assert!(took < Duration::from_secs(1), "an edit took {took:?}");
    }
    flooding.await.unwrap();
    let grown = relay.memory().saturating_sub(memory_before);
    assert!(grown < 16 * MEBIBYTE, "unread pongs cost {grown} bytes");
}

#[tokio::test]
async fn unauthenticated_bytes_and_frames_are_limited() {
    let relay = Relay::start();
    let before = relay.memory();
    let update = frames::named("session/x", &frames::update(&vec![0; 600 << 10]));
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    for _ in 0..10 {
        if !socket.say(&update).await {
            break;
        }
    }
    let Ended::Closed(code, reason) = socket.ended().await else {
        panic!("cut off without a word")
    };
    assert!(1000 < code && !reason.is_empty());
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    let query = frames::named("session/x", &frames::query_awareness());
    for _ in 0..1_001 {
        if !socket.say(&query).await {
            break;
        }
    }
    let Ended::Closed(code, reason) = socket.ended().await else {
        panic!("cut off without a word")
    };
    assert!(1000 < code && !reason.is_empty());
    let grown = relay.memory().saturating_sub(before);
    assert!(
        grown < 32 * MEBIBYTE,
        "strangers made the relay grow by {grown} bytes"
    );
}

#[tokio::test]
async fn the_documents_on_one_socket_are_limited() {
    let relay = Relay::options().argument("--rate=1000000").start();
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    let token = tokens::member("ann");
    for number in 0..=1_000 {
        let name = format!("session/{number}");
        if !socket
            .say(&frames::token(&name, &token, Some("4.8.0")))
            .await
        {
            break;
        }
    }
    let (mut welcomed, mut denied) = (0, Vec::new());
    while welcomed < 1_000 || denied.is_empty() {
        let frame = socket.heard().await.expect("the socket is to stay");
        let Some((name, message)) = frames::split_name(&frame) else {
            continue;
        };
        match frames::read(message) {
            Some(Message::Authenticated(_)) => welcomed += 1,
            Some(Message::Denied(reason)) => denied.push((name.to_owned(), reason.to_owned())),
            _ => {}
        }
    }
    let last = ("session/1000".to_owned(), "LIMIT_DOCUMENTS".to_owned());
    assert_eq!((welcomed, denied), (1_000, vec![last]));
}
