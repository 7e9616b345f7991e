//! The system's clock is set, or goes on while the machine sleeps: tokens end when they should, and
//! new ones are good.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use copresence::clock::{SystemClock, Timestamp};
use copresence::relay::RelayOptions;
use copresence::store::MemoryStore;

use crate::support::client::{Client, Ending, Provider, draw_client_id};
use crate::support::http;
use crate::support::mounted::Mounted;
use crate::support::time::{polled, unix_millis};
use crate::support::tokens::Claims;

const HOUR: i64 = 3_600;

/// A system's clock that a test sets: by so many milliseconds more than it says.
struct Wall(AtomicI64);

impl Wall {
    const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    fn read(&self) -> Timestamp {
        let set = self.0.load(Ordering::Relaxed);
        Timestamp::from_millis(unix_millis().saturating_add_signed(set))
    }

    fn set_by(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    /// Somebody whose token begins now by this clock, and lasts for so many seconds.
    fn token(&self, user: &str, lasts: i64) -> String {
        let now = self.read().as_millis() as i64 / 1_000;
        let claims = Claims::of(user).writes("*");
        let claims = claims.with("iat", now.into()).with("nbf", now.into());
        claims.with("exp", (now + lasts).into()).sign()
    }
}

async fn mounted(read_wall: fn() -> Timestamp) -> Mounted {
    let store = Arc::new(MemoryStore::new());
    Mounted::with_clock(
        RelayOptions::default(),
        store,
        SystemClock::with_wall(read_wall),
    )
    .await
}

async fn join(relay: &Mounted, provider: Provider, room: &str, token: &str) -> Client {
    let mut client = Client::at(relay.address, provider, room, token, draw_client_id());
    client.connect().await;
    client
}

async fn until_followed(relay: &Mounted) {
    polled("the step to be noticed", || async {
        (relay.relay.metrics().clock_steps.get() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn after_a_sleep_an_old_token_has_ended_and_a_new_one_is_good() {
    static WALL: Wall = Wall::new();
    let relay = mounted(|| WALL.read()).await;
    let old = WALL.token("ann", HOUR / 2);
    let ann = join(&relay, Provider::YWebsocket, "session/sleep", &old).await;
    let token = WALL.token("bob", 4 * HOUR);
    let bob = join(&relay, Provider::YWebsocket, "session/sleep", &token).await;

    WALL.set_by(2 * HOUR);
    // Before anybody has noticed: claims are about what the system's clock says.
    let (door, room) = (Provider::YWebsocket, "session/sleep");
    let mut stranger = Client::at(relay.address, door, room, &old, draw_client_id());
    stranger.open();
    let expired = Ending::Closed(4401, "TOKEN_EXPIRED".to_owned());
    assert_eq!(stranger.ended().await, expired);
    let token = WALL.token("eve", HOUR);
    let eve = join(&relay, Provider::YWebsocket, "session/sleep", &token).await;

    // Whoever was in goes when their time has come, and nobody else does.
    assert_eq!(ann.ended().await, expired);
    until_followed(&relay).await;
    bob.write("still here");
    eve.until("bob's text", |state| {
        state.document.content().text.contains("still here")
    })
    .await;
    assert_eq!(bob.state().ending, None);
}

#[tokio::test]
async fn set_back_by_an_hour_nobody_who_has_a_good_token_is_sent_away() {
    static WALL: Wall = Wall::new();
    let relay = mounted(|| WALL.read()).await;
    WALL.set_by(-HOUR);
    until_followed(&relay).await;
    // It ends in ten minutes; by the time that was before, fifty minutes ago.
    let token = WALL.token("ann", HOUR / 6);
    let ann = join(&relay, Provider::YWebsocket, "session/back", &token).await;
    let bob = join(&relay, Provider::YWebsocket, "session/back", &token).await;
    ann.write("here");
    bob.until("ann's text", |state| {
        state.document.content().text.contains("here")
    })
    .await;
    for person in [&ann, &bob] {
        assert_eq!(person.state().ending, None);
    }

    // And a revocation is about tokens that were issued until now, not until an hour from now.
    let path = "/v1/revocations";
    let body = br#"{"userId":"ann"}"#;
    let now = WALL.read().as_millis() as i64 / 1_000;
    let back_end = Claims::of("back-end").for_service();
    let back_end = back_end.with("exp", (now + HOUR).into()).sign();
    let answer = http::ask(relay.address, "POST", path, Some(&back_end), body).await;
    assert_eq!(answer.status, 204);
    assert!(matches!(ann.ended().await, Ending::Closed(4401, _)));
    polled("a second to pass", || async {
        let next = WALL.read().as_millis() as i64 / 1_000;
        (now + 1 < next).then_some(())
    })
    .await;
    let token = WALL.token("ann", HOUR);
    join(&relay, Provider::YWebsocket, "session/back", &token).await;
}
