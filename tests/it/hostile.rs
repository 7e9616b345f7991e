//! Somebody with a good token and bad intentions: nobody else's presence changes.

use serde_json::json;

use crate::support::client::{Client, Provider, presence_of};
use crate::support::frames;
use crate::support::http::{self, Events};
use crate::support::random::Random;
use crate::support::raw::RawSocket;
use crate::support::relay::Relay;
use crate::support::time::now;
use crate::support::tokens;

const TRIES: usize = 10_000;

/// A frame that pretends, or is meant to harm: about the victims, sometimes with the own id too.
fn forge(random: &mut Random, victims: &[(u64, u64)], own: (u64, u64)) -> Vec<u8> {
    let states = [
        "null",
        "{}",
        r#"{"presence":{"userId":"victim-0","name":"Mallory was here"}}"#,
        r#"{"user":{"name":"Mallory was here"}}"#,
    ];
    let count = random.below(3) + 1;
    let mut entries: Vec<_> = (0..count)
        .map(|_| {
            let (victim, clock) = *random.pick(victims);
            let clock = match random.below(6) {
                0 => clock,
                1 => clock + 1,
                2 => clock.saturating_sub(1),
                3 => clock + 1 + random.below(1000) as u64,
                4 => (1 << 31) + random.below(1000) as u64,
                _ => 0,
            };
            (victim, clock, *random.pick(&states))
        })
        .collect();
    if random.one_in(3) {
        entries.insert(
            random.below(entries.len() + 1),
            (own.0, own.1, r#"{"own":true}"#),
        );
    }
    frames::awareness(&entries)
}

async fn check_impostor(door: Provider) {
    let relay = Relay::options().alone().argument("--rate=1000000").start();
    let room = "session/hostile";
    let mut victims = Vec::new();
    for (number, provider) in Provider::ALL.into_iter().enumerate() {
        let user = format!("victim-{number}");
        let token = tokens::member(&user);
        victims.push(Client::show_up(&relay, provider, room, &token, &user).await);
    }
    let token = tokens::member("watcher");
    let watcher = Client::show_up(&relay, Provider::YWebsocket, room, &token, "watcher").await;
    for victim in &victims {
        watcher.until_sees(victim).await;
    }
    let stream = format!("/v1/rooms/{room}/presence/stream");
    let mut events = Events::open(relay.address, &stream, &tokens::service()).await;
    assert_eq!(events.next().await.unwrap().0, "snapshot");
    let before: Vec<_> = victims
        .iter()
        .map(|victim| watcher.state().state_of(victim.id()).unwrap())
        .collect();
    let since = now();

    let token = tokens::member("mallory");
    let own = 666;
    let mut socket = match door {
        Provider::YWebsocket => {
            RawSocket::open(relay.address, &format!("/sync/{room}?token={token}")).await
        }
        _ => RawSocket::open(relay.address, "/collab").await,
    };
    let wrap = |frame: Vec<u8>| match door {
        Provider::YWebsocket => frame,
        _ => frames::named(room, &frame),
    };
    if door != Provider::YWebsocket {
        assert!(
            socket
                .say(&frames::token(room, &token, Some("4.8.0")))
                .await
        );
    }
    // The announcement is already a lie: the first victim's id, at a clock above.
    let victim = victims[0].id();
    assert!(socket.say(&wrap(frames::step1(&[0]))).await);
    let lie = frames::awareness(&[(victim, 50, r#"{"presence":{"name":"Mallory"}}"#)]);
    assert!(socket.say(&wrap(lie)).await);
    let mut random = Random::new(666);
    for round in 0..TRIES / 100 {
        let targets: Vec<_> = victims
            .iter()
            .map(|victim| (victim.id(), watcher.state().clock_of(victim.id())))
            .collect();
        for number in 0..100 {
            let clock = (round * 100 + number) as u64 + 1;
            assert!(
                socket
                    .say(&wrap(forge(&mut random, &targets, (own, clock))))
                    .await
            );
        }
        socket
            .fence()
            .await
            .expect("an impostor is to be ignored, not closed");
    }

    // Whatever was passed on has been passed on before this.
    victims[0].write("still here");
    watcher.until_text("still here").await;
    for (victim, before) in victims.iter().zip(before) {
        victim.until_text("still here").await;
        let id = victim.id();
        let state = watcher.state();
        assert_eq!(
            state.state_of(id),
            Some(before),
            "a victim's state was changed"
        );
        assert!(
            state.seen_of(id, since).is_empty(),
            "a victim was seen leaving"
        );
        assert!(
            state.sees(own),
            "in a batch the own entries are to be applied"
        );
    }
    for (number, _) in victims.iter().enumerate() {
        let user = format!("victim-{number}");
        let people = http::roster(relay.address, room).await;
        let one = people
            .iter()
            .find(|one| one["userId"] == user.as_str())
            .unwrap();
        assert_eq!(
            (&one["isConnected"], &one["name"]),
            (&json!(true), &json!(user))
        );
    }
    // The victims are still masters of their own states.
    victims[1].set_state(json!({"presence": {"userId": "victim-1", "mood": "unimpressed"}}));
    let id = victims[1].id();
    watcher
        .until("a victim's own change", |state| {
            state
                .state_of(id)
                .is_some_and(|state| state["presence"]["mood"] == "unimpressed")
        })
        .await;
    let (kind, changed) = events.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), &changed["userId"]),
        ("changed", &json!("victim-1"))
    );
}

#[tokio::test]
async fn ten_thousand_lies_on_sync_change_nobody_elses_presence() {
    check_impostor(Provider::YWebsocket).await;
}

#[tokio::test]
async fn ten_thousand_lies_on_collab_change_nobody_elses_presence() {
    check_impostor(Provider::Hocuspocus4).await;
}

#[tokio::test]
async fn announcing_the_id_of_somebody_else_takes_nothing_over() {
    let relay = Relay::start();
    let room = "session/double";
    let token = tokens::member("ann");
    let ann = Client::show_up(&relay, Provider::YWebsocket, room, &token, "ann").await;
    let token = tokens::member("ben");
    let ben = Client::show_up(&relay, Provider::Hocuspocus4, room, &token, "ben").await;
    ben.until_sees(&ann).await;
    let since = now();
    for provider in Provider::ALL {
        let token = tokens::member("mallory");
        let mut double = Client::with_id(&relay, provider, room, &token, ann.id());
        double.state().is_hostile = true;
        for _ in 0..3 {
            double.set_state(presence_of("ann"));
        }
        double.open();
        double.until("an answer", |state| state.is_synced).await;
        double.reset().await;
    }
    ann.write("over");
    ben.until_text("over").await;
    assert!(
        ben.state().seen_of(ann.id(), since).is_empty(),
        "ann was seen leaving"
    );
    let people = http::roster(relay.address, room).await;
    let ann = people.iter().find(|one| one["userId"] == "ann").unwrap();
    assert_eq!(ann["isConnected"], true);
}

#[tokio::test]
async fn the_id_of_somebody_who_left_can_not_be_worn_by_another() {
    let relay = Relay::start();
    let room = "session/departed";
    let token = tokens::member("ben");
    let ben = Client::show_up(&relay, Provider::YWebsocket, room, &token, "ben").await;
    let token = tokens::member("ann");
    let mut ann = Client::show_up(&relay, Provider::YWebsocket, room, &token, "ann").await;
    ben.until_sees(&ann).await;
    ann.close().await;
    ben.until_missing(&ann).await;
    // A client id after its connection belongs to the same user.
    let token = tokens::member("mallory");
    let mut thief = Client::with_id(&relay, Provider::YWebsocket, room, &token, ann.id());
    thief.state().is_hostile = true;
    for _ in 0..5 {
        thief.set_state(presence_of("ann"));
    }
    thief.connect().await;
    thief.write("over");
    ben.until_text("over").await;
    let shown = ben.state().state_of(ann.id());
    assert_eq!(shown, None, "another shows itself under the id of ann");
}
