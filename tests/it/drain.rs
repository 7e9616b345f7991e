//! SIGTERM: everybody is told to come back, nothing is lost, the exit is clean.

use std::time::Duration;

use crate::support::client::{Client, Ending, Provider, converged};
use crate::support::frames;
use crate::support::raw::RawSocket;
use crate::support::relay::Relay;
use crate::support::time::now;
use crate::support::{http, tokens};

#[tokio::test]
async fn under_load_everybody_is_sent_away_and_carries_on_elsewhere() {
    let mut first = Relay::options()
        .alone()
        .argument("--drain-timeout=10s")
        .start();
    let room = "session/drain";
    let mut people = Vec::new();
    for number in 0..20 {
        let user = format!("user-{number}");
        let token = tokens::member(&user);
        let provider = Provider::ALL[number % 3];
        people.push(Client::show_up(&first, provider, room, &token, &user).await);
    }
    let started = now();
    let mut is_told = false;
    // They type on until the last of them has been sent away.
    for round in 0.. {
        for (number, person) in people.iter().enumerate() {
            person.write(&format!("{number}.{round} "));
        }
        if round == 10 {
            first.terminate();
            is_told = true;
        }
        if is_told && people.iter().all(|person| person.state().ending.is_some()) {
            break;
        }
        assert!(
            now() - started < Duration::from_secs(30),
            "somebody was not sent away"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for person in &people {
        assert_eq!(
            person.ended().await,
            Ending::Closed(1012, "DRAINING".to_owned())
        );
    }
    let told = now();
    let status = first.exited().await;
    assert!(status.success(), "exit status {status}");
    assert!(
        now() - told < Duration::from_secs(10),
        "the drain took too long"
    );

    let second = Relay::options().idle().start();
    for person in &mut people {
        person.move_to(second.address);
        person.connect().await;
    }
    let content = converged(&people).await;
    for number in 0..20 {
        let words = format!("{number}.0 ");
        assert!(content.text.contains(&words), "{words:?} was lost");
    }
    assert_eq!(
        http::document(second.address, room).await.content(),
        content
    );
    for person in &people {
        if person.state().provider != Provider::YWebsocket {
            person
                .until("all acknowledged", |state| state.unsynced == 0)
                .await;
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_holds_the_drain_up_no_longer_than_it_may() {
    let mut relay = Relay::options().argument("--drain-timeout=3s").start();
    let token = tokens::member("stuck");
    let path = format!("/sync/session/stuck?token={token}");
    // Neither reads nor answers the close.
    let mut stuck = RawSocket::open_narrow(relay.address, &path).await;
    assert!(stuck.say(&frames::step1(&[0])).await);
    let started = now();
    relay.terminate();
    let status = relay.exited().await;
    assert!(status.success(), "exit status {status}");
    assert!(
        now() - started < Duration::from_secs(5),
        "the drain took {:?}",
        now() - started
    );
}

/// What was accepted is on disk: that a tab is frozen is no reason to say that something was lost.
#[tokio::test]
async fn with_little_time_a_client_that_does_not_answer_is_not_taken_for_something_unsaved() {
    for timeout in ["--drain-timeout=1s", "--drain-timeout=2s"] {
        let mut relay = Relay::options().argument(timeout).start();
        let token = tokens::member("stuck");
        let path = format!("/sync/session/stuck?token={token}");
        let mut stuck = RawSocket::open_narrow(relay.address, &path).await;
        assert!(stuck.say(&frames::step1(&[0])).await);
        assert!(stuck.heard().await.is_ok());
        relay.terminate();
        let status = relay.exited().await;
        assert!(status.success(), "{timeout}: {status}\n{}", relay.log());
        assert!(!relay.log().contains("not everything was saved"));
    }
}

#[tokio::test]
async fn a_terminal_that_is_closed_drains_unless_it_was_said_not_to() {
    let mut relay = Relay::start();
    relay.signal("HUP");
    let status = relay.exited().await;
    assert!(status.success(), "{status}");
    assert!(relay.log().contains("drained"), "{}", relay.log());

    let mut relay = Relay::options().without_hangup().start();
    relay.signal("HUP");
    // Signals are told in the order of their numbers: HUP would have come before TERM.
    let ready = http::get(relay.address, "/health/ready", "").await;
    assert_eq!(ready.status, 200);
    assert!(relay.is_running());
    relay.terminate();
    assert!(relay.exited().await.success());
}

#[tokio::test]
async fn an_idle_relay_ends_at_once() {
    let mut relay = Relay::start();
    assert_eq!(
        http::get(relay.address, "/health/ready", "").await.status,
        200
    );
    let started = now();
    relay.terminate();
    assert!(relay.exited().await.success());
    assert!(now() - started < Duration::from_secs(3));
}
