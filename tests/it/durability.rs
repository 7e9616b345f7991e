//! Saved means on disk: what is acknowledged when, and what a store that fails costs whom.

use std::time::Duration;

use copresence::limits::Limits;
use copresence::model::{Kind, Policies, RoomName};
use copresence::relay::RelayOptions;
use copresence::store::{Store, StoreError, Write};
use copresence::wire::close::Refusal;
use futures::future::join_all;
use serde_json::Value;
use tokio::task::JoinHandle;
use yrs::Text;

use crate::support::client::{Client, Ending, Provider, State, converged, presence_of};
use crate::support::document::Document;
use crate::support::faulty::FaultyStore;
use crate::support::http::{self, Answer};
use crate::support::mounted::Mounted;
use crate::support::random::Random;
use crate::support::time::{PATIENCE, now, polled, within};
use crate::support::tokens;

const BOTH_DOORS: [Provider; 2] = [Provider::YWebsocket, Provider::Hocuspocus4];

/// Long enough for whatever is not held up to have happened.
const A_WHILE: Duration = Duration::from_millis(300);

fn is_saved(state: &State) -> bool {
    state.is_synced && state.unsynced == 0
}

async fn saved(client: &Client) {
    client.until("all acknowledged", is_saved).await;
}

fn path(room: &str) -> String {
    format!("/v1/rooms/{room}/document")
}

/// An update that writes these words into an empty document.
fn saying(client: u64, words: &str) -> Vec<u8> {
    Document::new(client).edit(|document, transaction| document.text.push(transaction, words))
}

/// A back end's `POST`, under way.
fn post(relay: &Mounted, room: &str, update: Vec<u8>) -> JoinHandle<Answer> {
    let (address, path) = (relay.address, path(room));
    tokio::spawn(async move {
        http::ask(address, "POST", &path, Some(&tokens::service()), &update).await
    })
}

async fn get(relay: &Mounted, room: &str) -> Answer {
    http::get(relay.address, &path(room), &tokens::service()).await
}

async fn is_durable(relay: &Mounted, room: &str) -> bool {
    let answer = get(relay, room).await;
    assert_eq!(answer.status, 200);
    match answer.header("x-copresence-durable") {
        Some("true") => true,
        Some("false") => false,
        other => panic!("X-Copresence-Durable: {other:?}"),
    }
}

/// Why the relay says that it is not ready; nothing if it is.
async fn reasons(relay: &Mounted) -> Vec<String> {
    let answer = http::get(relay.address, "/health/ready", "").await;
    let said: Value = answer.json();
    let reasons = said["reasons"].as_array().expect("a list of reasons");
    assert_eq!(answer.status, if reasons.is_empty() { 200 } else { 503 });
    assert_eq!(said["ready"], reasons.is_empty());
    let texts = reasons.iter().map(|reason| reason.as_str().unwrap());
    texts.map(str::to_owned).collect()
}

async fn until_ready(relay: &Mounted) {
    polled("readiness", async || {
        reasons(relay).await.is_empty().then_some(())
    })
    .await;
}

/// Edits and presence go from one to the other and back, within what a busy machine takes.
async fn live_together(ann: &Client, ben: &Client) {
    let started = now();
    for round in 0..5 {
        let word = format!("{round}.{}", ann.id());
        ann.write(&word);
        ben.until("what ann wrote", |state| state.text().contains(&word))
            .await;
        ben.set_state(presence_of(&word));
        let id = ben.id();
        ann.until("who ben says he is", |state| {
            state
                .state_of(id)
                .is_some_and(|state| state["presence"]["color"] == "#3b82f6")
        })
        .await;
        ben.clear_state();
        ann.until_missing(ben).await;
    }
    assert!(
        now() - started < Duration::from_secs(2),
        "five rounds took {:?}",
        now() - started
    );
}

fn options(limits: Limits) -> RelayOptions {
    RelayOptions {
        limits,
        ..RelayOptions::default()
    }
}

#[tokio::test]
async fn while_a_store_fails_nothing_is_acknowledged_nothing_is_lost_and_editing_goes_on() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let room = "session/outage";
    let ann = relay.join(Provider::Hocuspocus4, room).await;
    let ben = relay.join(Provider::Hocuspocus2, room).await;
    let cal = relay.join(Provider::YWebsocket, room).await;
    ann.write("Before. ");
    saved(&ann).await;
    saved(&ben).await;
    assert_eq!(reasons(&relay).await, [""; 0]);
    assert!(is_durable(&relay, room).await);

    store.fail_writes("the disk is on fire");
    let (ann_had, ben_had) = (ann.state().accepted, ben.state().accepted);
    for number in 0..40 {
        ann.write(&format!("a{number} "));
        ben.write(&format!("b{number} "));
    }
    let content = converged([&ann, &ben, &cal]).await;
    store
        .until("a second attempt", |faults| 2 <= faults.writes_failed)
        .await;
    let reasons_now = reasons(&relay).await;
    assert_eq!(reasons_now.len(), 1, "{reasons_now:?}");
    assert!(
        reasons_now[0].contains("STORE_DOWN") && reasons_now[0].contains("the disk is on fire"),
        "{reasons_now:?}"
    );
    assert!(!is_durable(&relay, room).await);
    // A back end is told to come back, and nobody sees what it brought.
    let refused = post(&relay, room, saying(700, "From a back end. "));
    let refused = refused.await.unwrap();
    assert_eq!(refused.problem(), (503, "STORE_DOWN".to_owned()));
    assert_eq!(refused.json()["applied"], false);
    assert_eq!(refused.header("retry-after"), Some("1"));
    live_together(&ann, &cal).await;
    // They had everything from the relay since: an acknowledgement would have come before.
    assert_eq!(
        ann.state().accepted,
        ann_had,
        "acknowledged and not on disk"
    );
    assert_eq!(
        ben.state().accepted,
        ben_had,
        "acknowledged and not on disk"
    );
    assert!(!cal.text().contains("From a back end. "));
    assert_eq!(store.on_disk(room).text(), "Before. ");

    store.heal_writes();
    saved(&ann).await;
    saved(&ben).await;
    until_ready(&relay).await;
    let posted = post(&relay, room, saying(700, "From a back end. "));
    assert_eq!(posted.await.unwrap().status, 204);
    assert!(is_durable(&relay, room).await);
    let appended = store.appended(room);
    assert!(
        appended.iter().copied().eq(1..=appended.len() as u64),
        "not in order, or twice: {appended:?}"
    );
    let content_now = converged([&ann, &ben, &cal]).await;
    assert_eq!(store.on_disk(room).content(), content_now);
    for (client, clock) in content.clocks {
        assert!(clock <= content_now.clocks[&client]);
    }
}

#[tokio::test]
async fn a_store_is_asked_though_nobody_writes() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    assert_eq!(reasons(&relay).await, [""; 0]);
    for _ in 0..2 {
        store.fail_writes("the disk is on fire");
        polled("being not ready", async || {
            let reasons = reasons(&relay).await;
            let is_it =
                |reason: &String| reason.contains("STORE_DOWN: the store is down: the disk");
            reasons.iter().any(is_it).then_some(())
        })
        .await;
        store.heal_writes();
        until_ready(&relay).await;
    }
    // One that says nothing at all is as bad.
    store.hold_writes();
    within(3 * PATIENCE, "being not ready", async {
        while reasons(&relay).await.is_empty() {
            tokio::time::sleep(A_WHILE).await;
        }
    })
    .await;
    let refused = post(&relay, "session/quiet", saying(700, "x"))
        .await
        .unwrap();
    assert_eq!(refused.problem(), (503, "STORE_DOWN".to_owned()));
    store.release_writes();
    until_ready(&relay).await;
}

/// A back end's `POST` that may be answered late, under way.
fn post_patiently(relay: &Mounted, path: String, update: Vec<u8>) -> JoinHandle<Answer> {
    let address = relay.address;
    tokio::spawn(
        async move { http::post_patiently(address, &path, &tokens::service(), &update).await },
    )
}

#[tokio::test]
async fn a_back_end_hears_after_ten_seconds_what_became_of_its_update() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let (plain, template) = ("session/plain", "session/template");
    let ann = relay.join(Provider::YWebsocket, plain).await;
    let ben = relay.join(Provider::YWebsocket, template).await;
    store.hold_writes();
    let begun = now();
    let plain_answer = post_patiently(&relay, path(plain), saying(700, "News. "));
    let conditional = format!("{}?if=empty", path(template));
    let template_answer = post_patiently(&relay, conditional.clone(), saying(701, "Template. "));
    ann.until_text("News. ").await;
    let (plain_answer, template_answer) = tokio::join!(plain_answer, template_answer);
    assert!(
        Duration::from_secs(9) < now() - begun,
        "{:?}",
        now() - begun
    );
    let answer = plain_answer.unwrap();
    assert_eq!(answer.problem(), (503, "STORE_DOWN".to_owned()));
    assert_eq!(answer.json()["applied"], true);
    assert_eq!(answer.header("retry-after"), None);
    let answer = template_answer.unwrap();
    assert_eq!(answer.problem(), (503, "STORE_DOWN".to_owned()));
    assert_eq!(answer.json()["applied"], false);
    assert_eq!(ben.text(), "");

    store.release_writes();
    until_ready(&relay).await;
    polled("the news on disk", async || {
        is_durable(&relay, plain).await.then_some(())
    })
    .await;
    assert_eq!(store.on_disk(plain).text(), "News. ");
    // It was never there: another may come.
    polled("the template gone", async || {
        is_durable(&relay, template).await.then_some(())
    })
    .await;
    assert_eq!(store.on_disk(template).text(), "");
    let again = post_patiently(&relay, conditional, saying(702, "Again. "));
    assert_eq!(again.await.unwrap().status, 204);
    ben.until_text("Again. ").await;
    assert_eq!(store.on_disk(template).text(), "Again. ");
}

#[tokio::test]
async fn a_template_is_shown_when_it_is_on_disk() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let room = "session/template";
    let ann = relay.join(Provider::Hocuspocus4, room).await;
    let ben = relay.join(Provider::YWebsocket, room).await;
    saved(&ann).await;
    store.hold_writes();
    let conditional = format!("{}?if=empty", path(room));
    let first = post_patiently(&relay, conditional.clone(), saying(700, "Template. "));
    store
        .until("the write", |faults| 0 < faults.writes_begun)
        .await;
    let second = post_patiently(&relay, conditional, saying(701, "Another. "));
    // Others go their way, whoever comes is shown theirs, and nobody the template.
    ann.write("An edit. ");
    ben.until_text("An edit. ").await;
    let cal = relay.join(Provider::Hocuspocus2, room).await;
    assert_eq!(cal.text(), "An edit. ");
    live_together(&ann, &cal).await;
    assert!(!ben.text().contains("Template"));
    let answer = get(&relay, room).await;
    assert!(
        !Document::of_update(&answer.body)
            .text()
            .contains("Template")
    );
    assert!(!first.is_finished() && !second.is_finished());

    store.release_writes();
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap().status, 204);
    assert_eq!(
        second.unwrap().problem(),
        (412, "PRECONDITION_FAILED".to_owned())
    );
    for client in [&ann, &ben, &cal] {
        client
            .until("the template", |state| state.text().contains("Template. "))
            .await;
    }
    saved(&ann).await;
    converged([&ann, &ben, &cal]).await;
}

#[tokio::test]
async fn a_slow_store_delays_acknowledgements_and_nothing_else() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let (busy, other) = ("session/busy", "session/other");
    let ann = relay.join(Provider::Hocuspocus4, busy).await;
    let ben = relay.join(Provider::YWebsocket, busy).await;
    let cal = relay.join(Provider::Hocuspocus2, other).await;
    let dan = relay.join(Provider::YWebsocket, other).await;
    saved(&ann).await;
    saved(&cal).await;

    store.hold_writes();
    ann.write("x");
    store
        .until("a write", |faults| 0 < faults.writes_begun)
        .await;
    live_together(&ann, &ben).await;
    live_together(&cal, &dan).await;
    live_together(&dan, &cal).await;
    assert!(0 < ann.state().unsynced && 0 < cal.state().unsynced);
    assert!(!is_durable(&relay, other).await);
    assert_eq!(
        reasons(&relay).await,
        [""; 0],
        "who is slow has not refused anything"
    );
    store.release_writes();
    saved(&ann).await;
    saved(&cal).await;
    assert_eq!(store.on_disk(other).content(), cal.content());
}

#[tokio::test]
async fn no_acknowledgement_comes_before_its_write_has_returned() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let mut writers = Vec::new();
    for number in 0..6 {
        let provider = [Provider::Hocuspocus2, Provider::Hocuspocus4][number % 2];
        let room = format!("session/order-{number}");
        let writer = relay.join(provider, &room).await;
        saved(&writer).await;
        let before = writer.state().accepted;
        writers.push((writer, room, before));
    }
    store.slow_writes(Duration::from_millis(4));
    let word = |number: usize| format!("{number} ");
    let watched = writers.iter().map(|(writer, room, before)| {
        let store = &store;
        async move {
            let all_in_time = |state: &State| {
                // First what was acknowledged, then what is on disk, which only grows.
                let acknowledged = state.accepted - before;
                let on_disk = store.typed(room);
                let needed: usize = (0..acknowledged).map(|number| word(number).len()).sum();
                assert!(
                    needed as u64 <= on_disk,
                    "{room}: {acknowledged} words acknowledged, {on_disk} characters on disk"
                );
                acknowledged == 120
            };
            let typing = async {
                for number in 0..120 {
                    writer.write(&word(number));
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            };
            let watching = writer.until("all acknowledged", all_in_time);
            tokio::join!(typing, watching);
        }
    });
    join_all(watched).await;
    for (writer, room, _) in &writers {
        assert_eq!(store.on_disk(room).content(), writer.content());
    }
}

#[tokio::test]
async fn a_back_end_is_answered_when_its_update_is_on_disk() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let room = "session/posted";
    store.hold_writes();
    let posted = post(&relay, room, saying(701, "Agenda"));
    store
        .until("a write", |faults| 0 < faults.writes_begun)
        .await;
    assert!(!is_durable(&relay, room).await);
    tokio::time::sleep(A_WHILE).await;
    assert!(!posted.is_finished(), "POST was answered before the commit");
    store.release_writes();
    let answer = within(PATIENCE, "the answer", posted).await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(store.on_disk(room).text(), "Agenda");
    assert!(is_durable(&relay, room).await);
}

#[tokio::test]
async fn a_document_that_cannot_be_read_costs_its_own_room_only() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let (broken, sound) = ("session/unreadable", "session/readable");
    let ann = relay.join(Provider::Hocuspocus4, sound).await;
    let ben = relay.join(Provider::YWebsocket, sound).await;
    store.fail_loads(broken, "a bad sector");
    for provider in BOTH_DOORS {
        let mut caller = relay.client(provider, broken);
        caller.open();
        let ending = caller.ended().await;
        assert_eq!(ending, Ending::Closed(1013, "STORE_DOWN".to_owned()));
    }
    let refused = get(&relay, broken).await.problem();
    assert_eq!(refused, (503, "STORE_DOWN".to_owned()));
    let refused = post(&relay, broken, saying(702, "x")).await.unwrap();
    assert_eq!(refused.problem(), (503, "STORE_DOWN".to_owned()));
    live_together(&ann, &ben).await;
    saved(&ann).await;
    // The store as a whole answers: the relay may be sent callers.
    until_ready(&relay).await;

    store.heal_loads(broken);
    let mut callers = Vec::new();
    for provider in BOTH_DOORS {
        let caller = relay.join(provider, broken).await;
        caller.write("Hello. ");
        callers.push(caller);
    }
    polled("both callers' words on disk", async || {
        (store.on_disk(broken).text() == "Hello. Hello. ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn documents_are_opened_while_the_store_cannot_write() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let (known, full) = ("session/known", "session/full");
    store_document(&relay, known, "Kept before. ").await;
    let ann = relay.join(Provider::Hocuspocus4, full).await;
    store.fail_writes("no space left on device");
    ann.write("Not on disk. ");
    store
        .until("an attempt", |faults| 0 < faults.writes_failed)
        .await;
    let fresh = relay
        .join(Provider::Hocuspocus2, "session/never-seen")
        .await;
    let ben = relay.join(Provider::Hocuspocus4, known).await;
    ben.until_text("Kept before. ").await;
    ben.write("And after.");
    polled("what ben wrote", async || {
        let document = http::document(relay.address, known).await;
        (document.text() == ben.text()).then_some(())
    })
    .await;
    store.heal_writes();
    for client in [&ann, &ben, &fresh] {
        saved(client).await;
    }
    assert_eq!(store.on_disk(known).text(), "Kept before. And after.");
}

/// Has a document on disk.
async fn store_document(relay: &Mounted, room: &str, words: &str) {
    let answer = post(relay, room, saying(703, words)).await.unwrap();
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn what_waits_for_a_store_is_bounded() {
    let store = FaultyStore::new();
    let limits = Limits {
        unsaved_bytes_max: 50_000,
        ..Limits::default()
    };
    let relay = Mounted::with(options(limits), store.clone()).await;
    let room = "session/bounded";
    let mut writers = Vec::new();
    for provider in BOTH_DOORS {
        writers.push(relay.join(provider, room).await);
    }
    let reader = relay.join(Provider::YWebsocket, room).await;
    store.fail_writes("no space left on device");
    let paragraph = "x".repeat(5_000);
    for writer in &writers {
        let ending = within(PATIENCE, "the bound", async {
            loop {
                writer.write(&paragraph);
                tokio::time::sleep(Duration::from_millis(5)).await;
                if let Some(ending) = writer.state().ending.clone() {
                    return ending;
                }
            }
        })
        .await;
        assert_eq!(ending, Ending::Closed(1013, "STORE_DOWN".to_owned()));
    }
    let refused = post(&relay, room, saying(704, "x")).await.unwrap();
    assert_eq!(refused.problem(), (503, "STORE_DOWN".to_owned()));
    // Who only reads and shows presence stays.
    let watcher = relay.join(Provider::YWebsocket, "session/watched").await;
    let shown = relay.join(Provider::YWebsocket, "session/watched").await;
    shown.set_state(presence_of("shown"));
    watcher.until_sees(&shown).await;
    assert!(reader.state().is_open && watcher.state().is_open);

    store.heal_writes();
    until_ready(&relay).await;
    for writer in &mut writers {
        // What it could not get rid of before is in its document: it comes with its return.
        writer.connect().await;
    }
    let content = converged(writers.iter().chain([&reader])).await;
    saved(&writers[1]).await;
    polled("all of it on disk", async || {
        (store.on_disk(room).content() == content).then_some(())
    })
    .await;
    store_document(&relay, room, "x").await;
}

#[tokio::test]
async fn a_room_that_fifty_open_at_once_is_loaded_once() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let room = "session/fifty";
    store.hold_loads(room);
    let mut clients: Vec<Client> = (0..50)
        .map(|number| relay.client(Provider::ALL[number % 3], room))
        .collect();
    for client in &mut clients {
        client.open();
        client.write("x");
    }
    let asked = (0..5).map(|_| get(&relay, room));
    let released = async {
        store
            .until("the load", |faults| faults.loads.contains_key(room))
            .await;
        for client in &clients {
            client.until("the link", |state| state.is_open).await;
        }
        tokio::time::sleep(A_WHILE).await;
        assert!(clients.iter().all(|client| !client.state().is_synced));
        store.release_loads(room);
    };
    let (answers, ()) = tokio::join!(join_all(asked), released);
    assert!(answers.iter().all(|answer| answer.status == 200));
    for client in &clients {
        client.until("the document", |state| state.is_synced).await;
    }
    let content = converged(&clients).await;
    assert_eq!(content.text, "x".repeat(50));
    assert_eq!(store.loads(room), 1);
}

#[tokio::test]
async fn a_room_that_is_unloaded_and_loaded_again_is_the_same() {
    let store = FaultyStore::new();
    let mut policies = Policies::default();
    policies.of_mut(Kind::Session).unload_after = Duration::from_millis(20);
    let options = RelayOptions {
        policies,
        ..RelayOptions::default()
    };
    let relay = Mounted::with(options, store.clone()).await;
    let room = "session/again";
    let mut random = Random::new(20);
    for life in 0..5 {
        let mut ann = relay.join(Provider::Hocuspocus4, room).await;
        assert_eq!(store.loads(room), 2 * life + 1);
        for _ in 0..100 {
            ann.edit_randomly(&mut random);
        }
        saved(&ann).await;
        let content = ann.content();
        ann.close().await;
        until_unloaded(&relay).await;
        let document = http::document(relay.address, room).await;
        assert_eq!(document.content(), content);
        assert_eq!(store.loads(room), 2 * life + 2);
        until_unloaded(&relay).await;
    }
}

async fn until_unloaded(relay: &Mounted) {
    polled("no room to be loaded", async || {
        let metrics = http::get(relay.address, "/metrics", "").await;
        let text = String::from_utf8(metrics.body).unwrap();
        text.contains("\ncopresence_rooms 0\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn documents_that_take_long_to_load_hold_nobody_else_up() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let large = relay.join(Provider::Hocuspocus4, "session/large").await;
    let reader = relay.join(Provider::YWebsocket, "session/large").await;
    let slow: Vec<String> = (0..12).map(|n| format!("session/slow-{n}")).collect();
    let mut waiting = Vec::new();
    for room in &slow {
        store.hold_loads(room);
        let mut client = relay.client(Provider::Hocuspocus4, room);
        client.open();
        waiting.push(client);
    }
    store
        .until("some loads", |faults| {
            3 <= slow
                .iter()
                .filter(|room| faults.loads.contains_key(*room))
                .count()
        })
        .await;
    live_together(&large, &reader).await;
    // Work on a large document is done elsewhere than on its worker, but not behind the loads.
    large.write(&"A paragraph. ".repeat(100_000));
    let late = relay.join(Provider::YWebsocket, "session/large").await;
    converged([&large, &late]).await;
    saved(&large).await;
    assert!(waiting.iter().all(|client| !client.state().is_synced));
    for room in &slow {
        store.release_loads(room);
    }
    for client in &waiting {
        saved(client).await;
    }
}

#[tokio::test]
async fn a_slow_load_of_one_room_does_not_delay_another() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let slow = "session/slow";
    store.hold_loads(slow);
    let mut waiting = relay.client(Provider::Hocuspocus4, slow);
    waiting.open();
    store
        .until("the load", |faults| faults.loads.contains_key(slow))
        .await;
    for number in 0..20 {
        let room = format!("session/quick-{number}");
        let quick = relay.join(Provider::Hocuspocus4, &room).await;
        quick.write("x");
        saved(&quick).await;
    }
    assert!(!waiting.state().is_synced);
    store.release_loads(slow);
    saved(&waiting).await;
}

#[tokio::test]
async fn a_drain_ends_when_everything_accepted_is_on_disk() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let room = "session/drained";
    let ann = relay.join(Provider::Hocuspocus4, room).await;
    let ben = relay.join(Provider::YWebsocket, room).await;
    store.hold_writes();
    for number in 0..100 {
        ann.write(&format!("{number} "));
    }
    let content = converged([&ann, &ben]).await;
    let draining = tokio::spawn({
        let relay = relay.relay.clone();
        async move { relay.drain(PATIENCE).await }
    });
    assert_eq!(
        ann.ended().await,
        Ending::Closed(1012, "DRAINING".to_owned())
    );
    tokio::time::sleep(A_WHILE).await;
    assert!(!draining.is_finished(), "drained with updates in memory");
    store.release_writes();
    let drained = within(PATIENCE, "the drain", draining).await.unwrap();
    assert!(drained.is_ok(), "{drained:?}");
    assert_eq!(store.on_disk(room).content(), content);
}

#[tokio::test]
async fn a_drain_says_when_not_everything_could_be_written() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let ann = relay.join(Provider::Hocuspocus4, "session/undrained").await;
    store.fail_writes("no space left on device");
    ann.write("x");
    store
        .until("an attempt", |faults| 0 < faults.writes_failed)
        .await;
    let started = now();
    let drained = relay.relay.drain(Duration::from_secs(1)).await;
    assert!(drained.is_err(), "lost, and said to be saved");
    assert!(now() - started < Duration::from_secs(3));
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_written_twice_and_is_acknowledged() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let room = "session/lost-answers";
    let ann = relay.join(Provider::Hocuspocus4, room).await;
    for round in 1..=3 {
        store.lose_answers(round);
        ann.write(&format!("{round} "));
        saved(&ann).await;
        until_ready(&relay).await;
    }
    assert_eq!(store.on_disk(room).text(), "1 2 3 ");
    store
        .until("the answers to be lost", |faults| faults.answers_lost == 6)
        .await;
}

#[tokio::test]
async fn a_relay_behind_whose_back_others_have_written_acknowledges_nothing_and_fails() {
    let store = FaultyStore::new();
    let relay = Mounted::start(store.clone()).await;
    let room = "session/behind";
    let ann = relay.join(Provider::Hocuspocus4, room).await;
    ann.write("Ann. ");
    saved(&ann).await;
    let name = RoomName::parse(room).unwrap();
    let sequence = store.real().load(&name).unwrap().last + 1;
    let update = saying(7, "Somebody else. ").into();
    let write = Write::Append { sequence, update };
    store.real().write(&[(name, write)]).unwrap();
    ann.write("Lost? ");
    let error = relay.relay.failed().await;
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert!(0 < ann.state().unsynced, "acknowledged what is not on disk");
    let why = reasons(&relay).await.join(" ");
    assert!(
        why.contains(room) && why.contains("another process"),
        "{why}"
    );
    assert_eq!(relay.relay.may_let_in().err(), Some(Refusal::Draining));
    assert!(store.on_disk(room).text().contains("Somebody else."));
}
