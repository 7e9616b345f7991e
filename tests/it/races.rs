//! Many who want the few places of a board at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::random::Random;
use crate::support::relay::{Options, Relay};
use crate::support::talker::{Said, Talker};
use crate::support::time::{PATIENCE, within};
use crate::support::tokens::member;

const PLACES: usize = 5;
const PEOPLE: u64 = 30;
const VISITS: usize = 12;

fn board() -> Options {
    let numbers = format!("capacity = {PLACES}\nlinger_lost_ms = 20");
    Relay::options().config(&format!("[kind.board]\n{numbers}\n"))
}

async fn open(address: SocketAddr, user: &str) -> Talker {
    Talker::open(address, "/ws/boards/race", &member(user)).await
}

/// Waits for a place. While it waits nothing comes but places in the queue, and it never falls back.
async fn admitted(talker: &mut Talker) -> usize {
    let mut place = u64::MAX;
    loop {
        let Said::Text(text) = talker.next().await else {
            panic!("something came before it was let in");
        };
        let payload = &text["payload"];
        if text["type"] == "board:joined" {
            return payload["current_users"].as_array().map_or(0, Vec::len);
        }
        assert_eq!(text["type"], "board:queued", "{text}");
        let position = payload["position"].as_u64().expect("a place");
        assert!(0 < position && position < place, "{position} after {place}");
        place = position;
    }
}

#[tokio::test]
async fn whoever_races_for_a_place_gets_one_and_never_too_many_do() {
    let relay = board().start();
    let address = relay.address;
    let inside = Arc::new(AtomicUsize::new(0));
    let visits = (0..PEOPLE).map(|number| {
        let inside = inside.clone();
        tokio::spawn(async move {
            let mut random = Random::new(number);
            let user = format!("user-{number}");
            for _ in 0..VISITS {
                let mut first = open(address, &user).await;
                let mut second = None;
                if random.one_in(3) {
                    second = Some(open(address, &user).await);
                }
                if random.one_in(6) {
                    // Somebody who does not wait.
                    first.vanish();
                    continue;
                }
                let present = admitted(&mut first).await;
                let entered = inside.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(
                    entered <= PLACES && present <= PLACES,
                    "{entered}, {present}"
                );
                if let Some(second) = &mut second {
                    admitted(second).await;
                }
                tokio::time::sleep(Duration::from_millis(random.below(8) as u64)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                match random.one_in(3) {
                    true => first.vanish(),
                    false => first.close().await,
                }
                if let Some(second) = second {
                    second.close().await;
                }
            }
        })
    });
    let visits: Vec<_> = visits.collect();
    for visit in visits {
        within(4 * PATIENCE, "everybody's turn", visit)
            .await
            .expect("a fair race");
    }
    // Every place can be taken again.
    let mut there = Vec::new();
    for number in 0..PLACES {
        let mut talker = open(address, &format!("late-{number}")).await;
        admitted(&mut talker).await;
        there.push(talker);
    }
    let mut one_more = open(address, "one-more").await;
    let Said::Text(text) = one_more.next().await else {
        panic!("it was let in");
    };
    assert_eq!(text["type"], Value::from("board:queued"));
}
