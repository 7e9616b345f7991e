//! Nobody who is gone is shown as present, and nobody who is present is missing.

use std::process::{Command, Stdio};
use std::time::Duration;

use yrs::Map;

use crate::support::client::{Client, Ending, Provider, presence_of};
use crate::support::document::Document;
use crate::support::proxy::Proxy;
use crate::support::raw::{self, RawSocket};
use crate::support::relay::Relay;
use crate::support::time::{now, polled};
use crate::support::{frames, http, tokens};

const AT_ONCE: Duration = Duration::from_millis(100);
/// For what clients would otherwise repair by their own renewal after 15 s.
const SOON: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
enum Way {
    CloseFrame,
    Fin,
    Reset,
}

async fn someone(relay: &Relay, provider: Provider, room: &str, user: &str) -> Client {
    Client::show_up(relay, provider, room, &tokens::member(user), user).await
}

/// Who watches a room, one by each door.
async fn watchers(relay: &Relay, room: &str) -> Vec<Client> {
    let mut watchers = Vec::new();
    for provider in [Provider::YWebsocket, Provider::Hocuspocus4] {
        watchers.push(someone(relay, provider, room, &format!("watcher-{provider:?}")).await);
    }
    watchers
}

/// How long after `since` the watcher saw the client go.
async fn gone_after(watcher: &Client, client: u64, since: Duration) -> Duration {
    let at = watcher.wait_for("somebody to be gone", |state| {
        let gone = |seen: &&crate::support::client::Sighting| {
            seen.client == client && !seen.is_present && since <= seen.at
        };
        state.sightings.iter().find(gone).map(|seen| seen.at)
    });
    at.await - since
}

#[tokio::test]
async fn whoever_closes_hangs_up_or_is_reset_is_gone_at_once() {
    let relay = Relay::options().alone().start();
    let room = "session/ways";
    let watchers = watchers(&relay, room).await;
    for way in [Way::CloseFrame, Way::Fin, Way::Reset] {
        for provider in Provider::ALL {
            for _ in 0..5 {
                let mut leaver = someone(&relay, provider, room, "leaver").await;
                for watcher in &watchers {
                    watcher.until_sees(&leaver).await;
                }
                let started = now();
                match way {
                    Way::CloseFrame => leaver.close().await,
                    Way::Fin => leaver.hang_up().await,
                    Way::Reset => leaver.reset().await,
                }
                for watcher in &watchers {
                    let took = gone_after(watcher, leaver.id(), started).await;
                    assert!(
                        took <= AT_ONCE,
                        "{way:?} of {provider:?}: a ghost for {took:?}"
                    );
                }
                let people = http::roster(relay.address, room).await;
                let leaver = people.iter().find(|one| one["userId"] == "leaver").unwrap();
                assert_eq!(leaver["isConnected"], false);
            }
        }
    }
}

/// In the child process that the next test starts: where to go and as whom.
const CHILD: &str = "TEST_CHILD_OF_THE_KILLED_CLIENT";

#[tokio::test]
async fn a_client_whose_process_is_killed_is_gone_at_once() {
    if let Ok(errand) = std::env::var(CHILD) {
        return be_the_child(&errand).await;
    }
    let relay = Relay::options().alone().start();
    let room = "session/killed";
    let watchers = watchers(&relay, room).await;
    for (number, provider) in ["YWebsocket", "Hocuspocus4"].into_iter().enumerate() {
        let client = 4000 + number as u64;
        let errand = format!("{} {client} {provider}", relay.address);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "ghosts::a_client_whose_process_is_killed_is_gone_at_once",
            ])
            .env(CHILD, errand)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        for watcher in &watchers {
            watcher
                .until("the child to appear", |state| state.sees(client))
                .await;
        }
        let started = now();
        child.kill().unwrap();
        for watcher in &watchers {
            let took = gone_after(watcher, client, started).await;
            assert!(
                took <= AT_ONCE,
                "a ghost of a killed {provider} for {took:?}"
            );
        }
        child.wait().unwrap();
    }
}

async fn be_the_child(errand: &str) {
    let mut words = errand.split(' ');
    let mut word = || words.next().unwrap();
    let address = word().parse().unwrap();
    let id: u64 = word().parse().unwrap();
    let provider = match word() {
        "YWebsocket" => Provider::YWebsocket,
        _ => Provider::Hocuspocus4,
    };
    let token = tokens::member("child");
    let mut client = Client::at(address, provider, "session/killed", &token, id);
    client.set_state(presence_of("child"));
    client.connect().await;
    // Until killed; without a parent, until the relay is gone.
    client.ended().await;
}

#[tokio::test]
async fn in_a_silent_network_people_are_gone_in_thirty_seconds_and_quiet_ones_stay() {
    let relay = Relay::options().idle().start();
    let room = "session/silent";
    let proxy = Proxy::to(relay.address).await;
    let watcher = someone(&relay, Provider::YWebsocket, room, "watcher").await;
    // Neither says anything by itself: without a state there are no renewals.
    let quiet = [
        Client::join(
            &relay,
            Provider::YWebsocket,
            "session/quiet",
            &tokens::member("q"),
        )
        .await,
        Client::join(
            &relay,
            Provider::Hocuspocus2,
            "session/quiet",
            &tokens::member("r"),
        )
        .await,
    ];
    let mut lost = Vec::new();
    for provider in [Provider::YWebsocket, Provider::Hocuspocus4] {
        let mut client = Client::new(&relay, provider, room, &tokens::member("lost"));
        client.move_to(proxy.address);
        client.set_state(presence_of("lost"));
        client.connect().await;
        watcher.until_sees(&client).await;
        lost.push(client);
    }
    let started = now();
    proxy.fall_silent();
    for client in &lost {
        let id = client.id();
        let limit = Duration::from_secs(40);
        let gone = watcher.wait_for_within(limit, "a silent client to be gone", |state| {
            (!state.sees(id)).then(now)
        });
        let took = gone.await - started;
        assert!(
            took <= Duration::from_secs(30),
            "a silent client was a ghost for {took:?}"
        );
    }
    // Clients give up a link that says nothing for 30 s: the relay has to say something.
    let rest = Duration::from_secs(34).saturating_sub(now() - started);
    tokio::time::sleep(rest).await;
    for client in quiet.iter().chain([&watcher]) {
        client
            .until("still connected", |state| state.is_synced && state.is_open)
            .await;
    }
}

#[tokio::test]
async fn dead_peers_are_found_as_soon_as_the_kind_says() {
    let relay = Relay::options().impatient().start();
    let room = "session/impatient";
    let proxy = Proxy::to(relay.address).await;
    let watcher = someone(&relay, Provider::Hocuspocus4, room, "watcher").await;
    let mut lost = Client::new(&relay, Provider::YWebsocket, room, &tokens::member("lost"));
    lost.move_to(proxy.address);
    lost.set_state(presence_of("lost"));
    lost.connect().await;
    watcher.until_sees(&lost).await;
    // Answered pings keep a quiet peer alive well past the limit.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(
        watcher.sees(&lost),
        "a peer that answers pings was given up"
    );
    let started = now();
    proxy.fall_silent();
    let took = gone_after(&watcher, lost.id(), started).await;
    assert!(took <= Duration::from_secs(2), "found after {took:?}");
    watcher
        .until("still connected", |state| state.is_open)
        .await;
}

#[tokio::test]
async fn whoever_is_sending_something_large_over_a_slow_line_is_alive() {
    let relay = Relay::options().impatient().start();
    let room = "session/slow-line";
    let ann = someone(&relay, Provider::YWebsocket, room, "ann").await;
    let token = tokens::member("ben");
    let path = format!("/sync/{room}?token={token}");
    let mut ben = RawSocket::open(relay.address, &path).await;
    let edit = Document::new(77).edit(|document, transaction| {
        let text = "a long story ".repeat(1_000);
        document.map.insert(transaction, "story", text);
    });
    // No frame can be sent within another: what the relay asks meanwhile is answered later.
    let message = raw::binary(&frames::update(&edit));
    for piece in message.chunks(message.len() / 15) {
        assert!(ben.send(piece).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ben.fence().await.expect("it is not given up");
    ann.until("all of it", |state| {
        state.document.map_value("story").is_some()
    })
    .await;
}

#[tokio::test]
async fn who_comes_back_with_the_same_id_is_seen_and_sees_at_once() {
    let relay = Relay::start();
    for provider in Provider::ALL {
        let room = format!("session/return-{provider:?}");
        let watchers = watchers(&relay, &room).await;
        let mut ann = someone(&relay, provider, &room, "ann").await;
        for round in 0..8 {
            for watcher in &watchers {
                watcher.until_sees(&ann).await;
            }
            match round % 3 {
                0 => ann.reset().await,
                1 => ann.hang_up().await,
                _ => ann.close().await,
            }
            for watcher in &watchers {
                watcher.until_missing(&ann).await;
            }
            // The same clock as before: without help, nobody would believe it.
            ann.connect().await;
            let id = ann.id();
            for watcher in &watchers {
                let back = watcher.wait_for_within(SOON, "the one who came back", |state| {
                    state.sees(id).then_some(())
                });
                back.await;
                let watcher = watcher.id();
                let sees = ann.wait_for_within(SOON, "those who stayed", |state| {
                    state.sees(watcher).then_some(())
                });
                sees.await;
            }
        }
    }
}

#[tokio::test]
async fn after_a_restart_everybody_sees_everybody_at_once() {
    let mut first = Relay::start();
    let room = "session/restart";
    let mut people = Vec::new();
    for number in 0..6 {
        let provider = Provider::ALL[number % 3];
        people.push(someone(&first, provider, room, &format!("user-{number}")).await);
    }
    let ids: Vec<_> = people.iter().map(Client::id).collect();
    let sees_all =
        |state: &crate::support::client::State| ids.iter().all(|&id| state.sees(id)).then_some(());
    for person in &people {
        person.wait_for("all the others", sees_all).await;
    }
    first.kill();
    for person in &people {
        assert_eq!(person.ended().await, Ending::Lost);
    }
    let second = Relay::options().idle().start();
    for person in &mut people {
        person.move_to(second.address);
        person.connect().await;
    }
    for person in &people {
        person
            .wait_for_within(SOON, "all the others after the restart", sees_all)
            .await;
    }
}

#[tokio::test]
async fn the_end_of_an_old_half_open_link_removes_nobody() {
    let relay = Relay::options().impatient().start();
    let room = "session/half-open";
    let watchers = watchers(&relay, room).await;
    let proxy = Proxy::to(relay.address).await;
    let token = tokens::member("ann");
    let mut old = Client::new(&relay, Provider::YWebsocket, room, &token);
    old.move_to(proxy.address);
    old.set_state(presence_of("ann"));
    old.connect().await;
    for watcher in &watchers {
        watcher.until_sees(&old).await;
    }
    proxy.fall_silent();
    let mut fresh = Client::with_id(&relay, Provider::YWebsocket, room, &token, old.id());
    fresh.set_state(presence_of("ann"));
    fresh.connect().await;
    // By then the relay has given up the old link.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for watcher in &watchers {
        assert!(
            watcher.sees(&fresh),
            "the old link took the new one with it"
        );
    }
    let people = http::roster(relay.address, room).await;
    let ann = people.iter().find(|one| one["userId"] == "ann").unwrap();
    assert_eq!(ann["isConnected"], true);
}

#[tokio::test]
async fn old_departures_sent_by_a_returning_provider_remove_nobody() {
    let relay = Relay::start();
    let room = "session/stale";
    let watchers = watchers(&relay, room).await;
    let ben = someone(&relay, Provider::YWebsocket, room, "ben").await;
    let mut ann = someone(&relay, Provider::Hocuspocus2, room, "ann").await;
    ann.until_sees(&ben).await;
    for watcher in &watchers {
        watcher.until_sees(&ben).await;
    }
    let before = now();
    for _ in 0..5 {
        ann.reset().await;
        ann.connect().await;
        ann.until_sees(&ben).await;
    }
    ann.write("over");
    let ben_id = ben.id();
    for watcher in &watchers {
        watcher.until_text("over").await;
        let seen = watcher.state().seen_of(ben_id, before);
        assert!(seen.is_empty(), "ben, who never left, was seen leaving");
    }
}

#[tokio::test]
async fn quick_visits_leave_no_ghosts() {
    let relay = Relay::start();
    let room = "session/visits";
    let watchers = watchers(&relay, room).await;
    let mut visitors = Vec::new();
    for number in 0..60 {
        let provider = Provider::ALL[number % 3];
        let mut visitor = Client::new(&relay, provider, room, &tokens::member("visitor"));
        visitor.set_state(presence_of("visitor"));
        visitor.open();
        // Some are gone before they were let in, some while others are being told.
        for _ in 0..number % 7 {
            tokio::task::yield_now().await;
        }
        visitor.reset().await;
        visitors.push(visitor.id());
    }
    polled("the visitors to be gone from the roster", || async {
        let people = http::roster(relay.address, room).await;
        let is_there =
            |one: &serde_json::Value| one["userId"] == "visitor" && one["isConnected"] == true;
        (!people.iter().any(is_there)).then_some(())
    })
    .await;
    for watcher in &watchers {
        watcher
            .until("the visitors to be gone", |state| {
                visitors.iter().all(|&id| !state.sees(id))
            })
            .await;
    }
}
