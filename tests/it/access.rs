//! Who may enter, for how long, and what those learn who may not.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use yrs::Map;

use crate::support::client::{Client, Ending, Provider, presence_of};
use crate::support::document::Document;
use crate::support::frames::{self, Message};
use crate::support::http::{self, Events};
use crate::support::raw::{BINARY, Ended, RawSocket, Shape, TEXT};
use crate::support::relay::Relay;
use crate::support::time::{PATIENCE, now, polled, unix_seconds, within};
use crate::support::tokens::{self, Claims, SECRET};

/// How a door refuses: its reason, and nothing else said before.
async fn refusal(relay: &Relay, provider: Provider, room: &str, token: &str) -> String {
    let mut client = Client::new(relay, provider, room, token);
    client.open();
    let reason = client.wait_for("a refusal", |state| match (&state.denied, &state.ending) {
        (Some(reason), _) => Some(reason.clone()),
        (_, Some(Ending::Closed(4401 | 4403 | 4400, reason))) => Some(reason.clone()),
        (_, Some(ending)) => Some(format!("{ending:?}")),
        _ => None,
    });
    let reason = reason.await;
    let state = client.state();
    assert!(
        !state.is_synced && state.others().is_empty(),
        "told something before the refusal"
    );
    if provider != Provider::YWebsocket {
        assert!(
            state.is_open,
            "a refusal of one document ended the socket: {:?}",
            state.ending
        );
    }
    reason
}

#[tokio::test]
async fn tokens_that_are_no_good_open_no_door() {
    let relay = Relay::start();
    let room = "session/closed";
    let good = Claims::of("ann").writes("*");
    let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    let bad = [
        ("none", String::new()),
        ("no JWT", "abc".to_owned()),
        ("alg none", good.unsigned()),
        (
            "another secret",
            good.sign_with(
                Algorithm::HS256,
                &EncodingKey::from_secret(b"other").unwrap(),
            ),
        ),
        ("another algorithm", good.sign_with(Algorithm::HS512, &key)),
        ("no exp", good.clone().without("exp").sign()),
        ("no sub", good.clone().without("sub").sign()),
        ("an empty sub", good.clone().with("sub", "".into()).sign()),
        (
            "a sub that is a number",
            good.clone().with("sub", 5.into()).sign(),
        ),
        (
            "an exp that is text",
            good.clone().with("exp", "2099".into()).sign(),
        ),
        (
            "a name that is a list",
            good.clone().with("name", json!(["Ann"])).sign(),
        ),
        (
            "rooms that are a list",
            good.clone().with("rooms", json!(["*"])).sign(),
        ),
        (
            "an unknown access",
            good.clone()
                .with("rooms", json!({"*": {"access": 1}}))
                .sign(),
        ),
        (
            "not yet valid",
            good.clone()
                .with("nbf", (unix_seconds() + 100).into())
                .sign(),
        ),
        ("expired a second ago", good.clone().expires_in(-1).sign()),
    ];
    for (name, token) in &bad {
        for provider in [Provider::YWebsocket, Provider::Hocuspocus4] {
            let reason = refusal(&relay, provider, room, token).await;
            let is_expired = name.starts_with("expired") && reason == "TOKEN_EXPIRED";
            assert!(
                reason == "UNAUTHORIZED" || is_expired,
                "{name} on {provider:?}: {reason}"
            );
        }
        let path = format!("/v1/rooms/{room}/presence");
        let answer = http::get(relay.address, &path, token).await;
        assert_eq!(answer.status, 401, "{name}");
        assert!(
            answer
                .header("www-authenticate")
                .is_some_and(|it| it.starts_with("Bearer"))
        );
        let (_, code) = answer.problem();
        assert!(
            code == "UNAUTHORIZED" || name.starts_with("expired"),
            "{name}: {code}"
        );
    }
    Client::join(&relay, Provider::YWebsocket, room, &good.sign()).await;
}

/// Made for this test.
const ED25519_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIHHyuyUmpnIud+CerWK8qgebGmUjp7Pm5IPdTyggQ+PO
-----END PRIVATE KEY-----
";
const ED25519_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEALs2AsPQGfrE6SIkBqgM/+Yei75S8riqGXDsA2q/PUog=
-----END PUBLIC KEY-----
";

#[tokio::test]
async fn a_public_key_does_not_serve_as_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, ED25519_PUBLIC).unwrap();
    let relay = Relay::options()
        .other_key()
        .argument("--jwt-key")
        .argument(file.to_str().unwrap())
        .start();
    let claims = Claims::of("ann").writes("*");
    let key = EncodingKey::from_ed_pem(ED25519_PRIVATE.as_bytes()).unwrap();
    let good = claims.sign_with(Algorithm::EdDSA, &key);
    Client::join(&relay, Provider::YWebsocket, "session/key", &good).await;
    // The public key is known to all: whoever signs with its text must not be believed.
    for secret in [
        ED25519_PUBLIC.as_bytes(),
        ED25519_PUBLIC.trim().as_bytes(),
        SECRET.as_bytes(),
    ] {
        let forged = claims.sign_with(Algorithm::HS256, &EncodingKey::from_secret(secret).unwrap());
        let reason = refusal(&relay, Provider::YWebsocket, "session/key", &forged).await;
        assert_eq!(reason, "UNAUTHORIZED");
    }
    let reason = refusal(
        &relay,
        Provider::YWebsocket,
        "session/key",
        &claims.unsigned(),
    )
    .await;
    assert_eq!(reason, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_token_for_one_room_learns_nothing_of_another() {
    let relay = Relay::start();
    // The names are equally long, so that answers can be compared byte by byte.
    let (theirs, nowhere) = ("session/theirs", "session/no-one");
    let token = tokens::member("ann");
    let ann = Client::show_up(&relay, Provider::YWebsocket, theirs, &token, "ann").await;
    ann.write("a secret");
    let stranger = Claims::of("eve").writes("session/mine").sign();
    for provider in Provider::ALL {
        for room in [theirs, nowhere] {
            assert_eq!(
                refusal(&relay, provider, room, &stranger).await,
                "FORBIDDEN"
            );
        }
    }
    let body = Document::new(9).edit(|document, transaction| {
        document.map.insert(transaction, "key", 1);
    });
    for (method, ending, body) in [
        ("GET", "presence", &b""[..]),
        ("GET", "presence/stream", b""),
        ("GET", "document", b""),
        ("POST", "document", &body),
        ("POST", "document?if=empty", &body),
        ("POST", "document", b"rubbish"),
        ("DELETE", "document", b""),
    ] {
        let answers = [theirs, nowhere].map(|room| {
            let path = format!("/v1/rooms/{room}/{ending}");
            let (address, token) = (relay.address, stranger.clone());
            async move {
                let answer = http::ask(address, method, &path, Some(&token), body).await;
                let text = String::from_utf8_lossy(&answer.body).replace(room, "ROOM");
                let head: Vec<_> = answer
                    .head
                    .lines()
                    .filter(|line| !line.starts_with("date:"))
                    .map(str::to_owned)
                    .collect();
                (answer.status, head, text)
            }
        });
        let [first, second] = answers;
        let (first, second) = (first.await, second.await);
        assert!(
            (400..500).contains(&first.0),
            "{method} {ending} answered {}",
            first.0
        );
        assert_eq!(first, second, "{method} {ending}");
        if method != "DELETE" {
            assert_eq!(first.0, 403, "{method} {ending}");
        }
    }
    let path = "/v1/users/ann/presence";
    let listed = http::get_json(relay.address, path, &stranger).await;
    let absent = http::get_json(relay.address, "/v1/users/nob/presence", &stranger).await;
    assert_eq!(listed["rooms"], absent["rooms"]);
}

#[tokio::test]
async fn who_may_only_read_changes_nothing_and_stays() {
    let relay = Relay::start();
    let room = "session/read-only";
    let ann = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ann")).await;
    ann.write("ann. ");
    let token = Claims::of("reader").reads(room).sign();
    for provider in Provider::ALL {
        let reader = Client::join(&relay, provider, room, &token).await;
        if provider != Provider::YWebsocket {
            // Its step 2 held nothing new: that is no refusal.
            reader
                .until("synced and acknowledged", |state| state.unsynced == 0)
                .await;
            assert_eq!(reader.state().scope.as_deref(), Some("readonly"));
        }
        reader.write("reader. ");
        if provider != Provider::YWebsocket {
            reader.until("a refusal", |state| state.refused == 1).await;
            assert_eq!(reader.state().unsynced, 1);
        }
        // The connection still receives, and is still seen.
        let before = ann.text();
        ann.write("more. ");
        reader
            .until("what ann wrote", |state| state.text().contains(&before))
            .await;
        reader.set_state(presence_of("reader"));
        ann.until_sees(&reader).await;
        assert!(!ann.text().contains("reader"));
    }
    assert!(
        !http::document(relay.address, room)
            .await
            .text()
            .contains("reader")
    );
    // Nor by what was written offline.
    let mut offline = Client::new(&relay, Provider::YWebsocket, room, &token);
    offline.write("reader offline. ");
    offline.connect().await;
    let mut offline = Client::new(&relay, Provider::Hocuspocus4, room, &token);
    offline.write("reader offline. ");
    offline.connect().await;
    offline
        .until("a refusal of step 2", |state| state.refused == 1)
        .await;
    assert!(
        !http::document(relay.address, room)
            .await
            .text()
            .contains("reader")
    );
}

#[tokio::test]
async fn tiptaps_own_claims_give_access() {
    let relay = Relay::start();
    let token = Claims::of("jim")
        .with(
            "allowedDocumentNames",
            json!(["acme.jim-caleb-v0", "acme.drafts/*"]),
        )
        .with("readonlyDocumentNames", json!(["acme.*"]))
        .sign();
    for (room, scope) in [
        ("acme.jim-caleb-v0", "read-write"),
        ("acme.drafts/1", "read-write"),
        ("acme.other", "readonly"),
    ] {
        let client = Client::join(&relay, Provider::Hocuspocus2, room, &token).await;
        assert_eq!(client.state().scope.as_deref(), Some(scope), "{room}");
    }
    assert_eq!(
        refusal(&relay, Provider::Hocuspocus4, "other", &token).await,
        "FORBIDDEN"
    );
}

#[tokio::test]
async fn names_that_are_no_room_names_are_refused_after_the_token() {
    let relay = Relay::start();
    let token = tokens::member("ann");
    let long = "x".repeat(256);
    let bad = [
        "a//b",
        "a/",
        "a/%2e%2e/b",
        "%00",
        "a%7fb",
        "%c2%85",
        "%ff",
        "%zz",
        "a%2",
        &long,
    ];
    for name in bad {
        for (token, ended) in [
            (&token, Ended::Closed(4400, "BAD_ROOM".to_owned())),
            (
                &"bad".to_owned(),
                Ended::Closed(4401, "UNAUTHORIZED".to_owned()),
            ),
        ] {
            let path = format!("/sync/{name}?token={token}");
            let mut socket = RawSocket::open(relay.address, &path).await;
            assert_eq!(socket.ended().await, ended, "{name}");
        }
        let answer = http::get(relay.address, &format!("/v1/rooms/{name}/presence"), &token).await;
        assert_eq!(answer.problem(), (400, "BAD_ROOM".to_owned()), "{name}");
    }
    for name in ["", "a//b", "..", "a\u{7}", &long] {
        let mut socket = RawSocket::open(relay.address, "/collab").await;
        assert!(socket.say(&frames::token(name, &token, None)).await);
        let is_denial = |frame: &[u8]| {
            frames::split_name(frame).and_then(|(_, message)| frames::read(message))
                == Some(Message::Denied("BAD_ROOM"))
        };
        match socket.heard_that(is_denial).await {
            Ok(_) => {}
            Err(ended) => assert_eq!(
                ended,
                Ended::Closed(4400, "BAD_ROOM".to_owned()),
                "{name:?}"
            ),
        }
    }
    // A name may be written in more than one way.
    let escaped = "session%2FGr%C3%B6%C3%9Fe%201";
    let other = Client::join(&relay, Provider::YWebsocket, escaped, &token).await;
    let ben = Client::join(&relay, Provider::Hocuspocus4, "session/Größe 1", &token).await;
    other.write("one room");
    ben.until_text("one room").await;
}

#[tokio::test]
async fn foreign_origins_are_refused_before_the_upgrade() {
    let relay = Relay::options()
        .argument("--allow-origin=https://app.example")
        .start();
    let token = tokens::member("ann");
    let address = relay.address;
    for path in [
        format!("/sync/session/1?token={token}"),
        "/collab".to_owned(),
    ] {
        for (origin, is_welcome) in [
            ("https://app.example".to_owned(), true),
            (format!("http://{address}"), true),
            ("https://evil.example".to_owned(), false),
            ("https://app.example.evil.example".to_owned(), false),
            ("http://app.example".to_owned(), false),
            ("null".to_owned(), false),
        ] {
            let header = format!("Origin: {origin}\r\n");
            match RawSocket::try_open(address, &path, &header).await {
                Ok(_) => assert!(is_welcome, "{origin} was let in at {path}"),
                Err(status) => {
                    assert!(!is_welcome, "{origin} was refused at {path}");
                    assert_eq!(status, 403);
                }
            }
        }
    }
    let path = format!("/v1/rooms/session/1/presence?token={token}");
    let answer = http::ask_with(
        address,
        "GET",
        &path,
        "Origin: https://app.example\r\n",
        b"",
    )
    .await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let answer = http::ask_with(
        address,
        "GET",
        &path,
        "Origin: https://evil.example\r\n",
        b"",
    )
    .await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_token_may_come_as_a_header_too() {
    let relay = Relay::start();
    let header = format!("Authorization: Bearer {}\r\n", tokens::member("ann"));
    let mut socket = RawSocket::try_open(relay.address, "/sync/session/1", &header)
        .await
        .ok()
        .unwrap();
    assert!(socket.say(&frames::step1(&[0])).await);
    assert!(socket.heard().await.is_ok());
}

/// Seconds since 1970 with their fraction, to compare with a token's `exp`.
fn check_ends_about(ended: Duration, exp_in: f64, started: Duration) {
    let took = (ended - started).as_secs_f64();
    assert!(
        took <= exp_in + 1.0,
        "ended {took} s after the start instead of {exp_in}"
    );
}

#[tokio::test]
async fn a_token_that_ends_ends_its_connection_within_a_second() {
    let relay = Relay::start();
    let room = "session/expiry";
    let claims = Claims::of("ann").writes("*");
    let started = now();
    let short = claims.clone().expires_in(3).sign();
    let ann = Client::join(&relay, Provider::YWebsocket, room, &short).await;
    let path = format!("/v1/rooms/{room}/presence/stream");
    let mut events = Events::open(relay.address, &path, &short).await;
    assert_eq!(events.next().await.unwrap().0, "snapshot");

    // One socket with two documents, one of which has a token that lasts.
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    assert!(
        socket
            .say(&frames::token(room, &short, Some("4.8.0")))
            .await
    );
    assert!(
        socket
            .say(&frames::token(
                "session/lasting",
                &claims.sign(),
                Some("4.8.0")
            ))
            .await
    );
    let mut asked = 0;
    let denied = loop {
        let frame = socket.heard().await.expect("the socket is to stay");
        let (name, message) = frames::split_name(&frame).unwrap();
        match frames::read(message) {
            Some(Message::TokenWanted) => {
                assert_eq!(name, room);
                asked += 1;
            }
            Some(Message::Denied(reason)) => break (name.to_owned(), reason.to_owned()),
            _ => {}
        }
    };
    check_ends_about(now(), 3.0, started);
    assert_eq!(denied, (room.to_owned(), "TOKEN_EXPIRED".to_owned()));
    assert_eq!(asked, 1, "a new token is asked for once");
    let step1 = frames::named("session/lasting", &frames::step1(&[0]));
    assert!(socket.say(&step1).await);
    let frame = socket.heard().await.expect("the other document is to stay");
    assert_eq!(frames::split_name(&frame).unwrap().0, "session/lasting");

    assert_eq!(
        ann.ended().await,
        Ending::Closed(4401, "TOKEN_EXPIRED".to_owned())
    );
    check_ends_about(now(), 3.0, started);
    while events.next().await.is_some() {}
    check_ends_about(now(), 3.0, started);
}

#[tokio::test]
async fn a_new_token_on_the_same_connection_carries_on() {
    let relay = Relay::start();
    let room = "session/renewal";
    let claims = Claims::of("ann").room(room, "coachee", "write");
    let token = claims.clone().expires_in(3).sign();
    let ben = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ben")).await;
    for provider in [Provider::Hocuspocus2, Provider::Hocuspocus4] {
        let ann = Client::show_up(&relay, provider, room, &token, "ann").await;
        ben.until_sees(&ann).await;
        let since = now();
        // With another role, and without the right to write.
        ann.renew(&claims.clone().room(room, "guest", "read").sign());
        ann.until("the new scope", |state| {
            state.scope.as_deref() == Some("readonly")
        })
        .await;
        let id = ann.id();
        ben.until("the new role", |state| {
            state
                .state_of(id)
                .is_some_and(|it| it["presence"]["role"] == "guest")
        })
        .await;
        ann.write("too late");
        ann.until("a refusal", |state| state.refused == 1).await;
        ann.renew(&claims.sign());
        ann.until("the old scope", |state| {
            state.scope.as_deref() == Some("read-write")
        })
        .await;
        assert!(
            ben.state().seen_of(id, since).is_empty(),
            "a renewal was seen as a departure"
        );
    }
    // Past the end of the first token.
    let token = claims.clone().expires_in(2).sign();
    let ann = Client::join(&relay, Provider::Hocuspocus4, room, &token).await;
    ann.until("a wish for a new token", |state| state.tokens_wanted == 1)
        .await;
    ann.renew(&claims.sign());
    tokio::time::sleep(Duration::from_secs(3)).await;
    ann.write("still here");
    ben.until("what was written after the first token's end", |state| {
        state.text().contains("still here")
    })
    .await;
    assert_eq!(ann.state().denied, None);
    // A token of somebody else renews nothing.
    ann.renew(&Claims::of("eve").writes("*").sign());
    ann.until("a refusal", |state| state.denied.is_some()).await;
}

async fn revoke(relay: &Relay, body: Value, token: &str) -> http::Answer {
    let body = body.to_string();
    http::ask(
        relay.address,
        "POST",
        "/v1/revocations",
        Some(token),
        body.as_bytes(),
    )
    .await
}

#[tokio::test]
async fn a_revocation_ends_connections_and_tokens_within_a_second() {
    let relay = Relay::start();
    let claims = || Claims::of("ann").writes("*");
    let old = claims().sign();
    let sync = Client::join(&relay, Provider::YWebsocket, "session/r1", &old).await;
    let collab = Client::join(&relay, Provider::Hocuspocus4, "session/r1", &old).await;
    let elsewhere = Client::join(&relay, Provider::YWebsocket, "session/r2", &old).await;
    let ben = Client::join(
        &relay,
        Provider::YWebsocket,
        "session/r1",
        &tokens::member("ben"),
    )
    .await;

    let refused = revoke(&relay, json!({"userId": "ann"}), &tokens::member("ben")).await;
    assert_eq!(refused.problem(), (403, "FORBIDDEN".to_owned()));
    let started = now();
    let service = tokens::service();
    let answer = revoke(
        &relay,
        json!({"userId": "ann", "room": "session/r1"}),
        &service,
    )
    .await;
    assert_eq!(answer.status / 100, 2);
    assert_eq!(
        sync.ended().await,
        Ending::Closed(4401, "REVOKED".to_owned())
    );
    collab
        .until("a refusal", |state| {
            state.denied.as_deref() == Some("REVOKED")
        })
        .await;
    assert!(now() - started < Duration::from_secs(1));
    assert_eq!(
        refusal(&relay, Provider::YWebsocket, "session/r1", &old).await,
        "REVOKED"
    );
    assert_eq!(
        refusal(&relay, Provider::Hocuspocus4, "session/r1", &old).await,
        "REVOKED"
    );
    elsewhere
        .until("another room untouched", |state| state.is_open)
        .await;
    Client::join(&relay, Provider::YWebsocket, "session/r3", &old).await;

    let started = now();
    let answer = revoke(&relay, json!({"userId": "ann"}), &service).await;
    assert_eq!(answer.status / 100, 2);
    assert_eq!(
        elsewhere.ended().await,
        Ending::Closed(4401, "REVOKED".to_owned())
    );
    assert!(now() - started < Duration::from_secs(1));
    assert_eq!(
        refusal(&relay, Provider::YWebsocket, "session/r3", &old).await,
        "REVOKED"
    );
    let answer = http::get(relay.address, "/v1/rooms/session/r3/presence", &old).await;
    assert_eq!(answer.status, 401);
    ben.until("others untouched", |state| state.is_open).await;
    // Tokens count whole seconds: one issued from the next second on is good.
    polled("a token issued after the revocation to be good", || async {
        let mut ann = Client::new(&relay, Provider::YWebsocket, "session/r1", &claims().sign());
        ann.open();
        let is_in = ann.wait_for("an answer", |state| {
            (state.is_synced || state.ending.is_some()).then_some(state.is_synced)
        });
        is_in.await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_token_only_a_development_relay_lets_anybody_in() {
    let relay = Relay::options().other_key().argument("--dev").start();
    let room = "session/dev";
    let mut guests = Vec::new();
    // An old Hocuspocus provider without a token sends no Auth at all.
    for provider in Provider::ALL {
        let mut guest = Client::new(&relay, provider, room, "");
        guest.set_token((provider == Provider::Hocuspocus4).then(String::new));
        guest.set_state(json!({"user": {"name": "Whoever I say"}}));
        guest.connect().await;
        guests.push(guest);
    }
    guests[0].write("hello");
    for guest in &guests {
        guest.until_text("hello").await;
    }
    let id = guests[1].id();
    guests[0]
        .until("a guest under their own name", |state| {
            state
                .state_of(id)
                .is_some_and(|it| it["user"]["name"] == "Whoever I say")
        })
        .await;
}

/// A page may have its own name lead to this machine: its browser then calls us by that name, and says
/// that it comes from there.
#[tokio::test]
async fn a_development_relay_answers_to_names_of_its_machine_alone() {
    let relay = Relay::options().other_key().argument("--dev").start();
    let port = relay.address.port();
    let doors = [
        "/sync/session/1",
        "/collab",
        "/ws/boards/1",
        "/parties/presence/presence-1",
        "/ws/feed",
    ];
    for (host, is_ours) in [
        (format!("localhost:{port}"), true),
        (format!("[::1]:{port}"), true),
        (format!("rebound.example:{port}"), false),
        ("127.0.0.1.example".to_owned(), false),
    ] {
        for path in doors {
            let headers = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
            let opened = RawSocket::try_open(relay.address, path, &headers).await;
            assert_eq!(opened.err(), (!is_ours).then_some(403), "{host} {path}");
        }
        let status = |path: &'static str, body: &'static str| {
            let headers = format!("Host: {host}\r\nContent-Length: {}\r\n", body.len());
            let address = relay.address;
            async move {
                let method = if body.is_empty() { "GET" } else { "POST" };
                let answer = http::ask_with(address, method, path, &headers, body.as_bytes());
                answer.await.status
            }
        };
        let expected = if is_ours { 200 } else { 403 };
        assert_eq!(status("/v1/rooms/a/presence", "").await, expected, "{host}");
        assert_eq!(status("/metrics", "").await, expected, "{host}");
        let claims = r#"{"sub":"ann","scope":"service"}"#;
        assert_eq!(status("/dev/token", claims).await, expected, "{host}");
    }
    // A page of `npm run dev`, whatever its port.
    let vite = "Origin: http://localhost:5173\r\n";
    for path in doors {
        let opened = RawSocket::try_open(relay.address, path, vite).await;
        assert_eq!(opened.err(), None, "{path}");
    }
    let presence = "/v1/rooms/a/presence";
    let answer = http::ask_with(relay.address, "GET", presence, vite, b"").await;
    assert_eq!(answer.status, 200);
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!(allowed, Some("http://localhost:5173"));
    let evil = "Origin: http://localhost.example:5173\r\n";
    let answer = http::ask_with(relay.address, "GET", presence, evil, b"").await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_development_token_is_good_for_an_hour_if_it_says_nothing() {
    let relay = Relay::options().other_key().argument("--dev").start();
    let sign = |claims: &'static str| {
        let claims = claims.as_bytes();
        http::ask(relay.address, "POST", "/dev/token", None, claims)
    };
    let answer = sign(r#"{"sub":"ann","rooms":{"*":{"access":"write"}}}"#).await;
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    Client::join(&relay, Provider::YWebsocket, "session/1", &token).await;
    for claims in [r#"{"name":"Ann"}"#, r#"{"sub":""}"#, r#"{"sub":7}"#] {
        let (status, code) = sign(claims).await.problem();
        assert_eq!((status, code.as_str()), (400, "BAD_REQUEST"), "{claims}");
    }
}

/// Whether the first thing it is sent is no close.
async fn is_greeted(socket: &mut RawSocket) -> bool {
    let first = within(PATIENCE, "a first frame", socket.next()).await;
    first.is_some_and(|frame| matches!(frame.opcode, TEXT | BINARY))
}

#[tokio::test]
async fn an_empty_token_is_none_at_every_door() {
    let dev = Relay::options().argument("--dev").start();
    let locked = Relay::options().idle().start();
    for path in [
        "/sync/session/1?token=",
        "/ws/boards/1?token=",
        "/parties/presence/presence-1?token=",
    ] {
        let mut guest = RawSocket::open(dev.address, path).await;
        assert!(is_greeted(&mut guest).await, "{path}");
        let mut nobody = RawSocket::open(locked.address, path).await;
        let refused = Ended::Closed(4401, "UNAUTHORIZED".to_owned());
        assert_eq!(nobody.ended().await, refused, "{path}");
        // A header counts where the query says nothing.
        let bearer = format!("Authorization: Bearer {}\r\n", tokens::member("ann"));
        let ann = RawSocket::try_open(locked.address, path, &bearer).await;
        assert!(is_greeted(&mut ann.unwrap()).await, "{path}");
    }
    // The feed and `/collab` are told who it is by a message.
    let login = Shape::of(TEXT).write(br#"{"t":"login","token":""}"#);
    let mut guest = RawSocket::open(dev.address, "/ws/feed?token=").await;
    assert!(guest.send(&login).await);
    assert!(is_greeted(&mut guest).await);
    let mut guest = Client::new(&dev, Provider::Hocuspocus4, "session/1", "");
    guest.connect().await;
    for path in ["/v1/rooms/a/presence?token=", "/v1/presence?under=a&token="] {
        let answer = http::ask(dev.address, "GET", path, None, b"").await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

/// The issuer is down when we start, and comes up later.
#[tokio::test]
async fn a_key_set_that_is_away_at_start_is_waited_for() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = reserved.local_addr().unwrap();
    drop(reserved);
    let url = format!("http://{issuer}/jwks");
    let relay = Relay::options()
        .other_key()
        .argument("--jwks")
        .argument(&url)
        .start();
    let ready = http::ask(relay.address, "GET", "/health/ready", None, b"").await;
    assert_eq!(ready.status, 503);
    let reasons = ready.json()["reasons"].to_string();
    assert!(reasons.contains("KEYS_DOWN: --jwks") && reasons.contains(&url));

    let key = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/keys/rsa.private.pem"
    ));
    let key = EncodingKey::from_rsa_pem(&key.unwrap()).unwrap();
    let token = Claims::of("ann")
        .writes("*")
        .sign_with(Algorithm::RS256, &key);
    // Come back: nobody has said that the token is bad.
    for path in ["/sync/session/1", "/ws/boards/1", "/collab", "/ws/feed"] {
        let path = format!("{path}?token={token}");
        let mut early = RawSocket::open(relay.address, &path).await;
        let refused = Ended::Closed(1013, "KEYS_DOWN".to_owned());
        assert_eq!(early.ended().await, refused, "{path}");
    }
    let answer = http::get(relay.address, "/v1/rooms/a/presence", &token).await;
    assert_eq!(answer.problem(), (503, "KEYS_DOWN".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));

    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/jwks.json");
    let keys = std::fs::read(keys).unwrap();
    let listener = tokio::net::TcpListener::bind(issuer).await.unwrap();
    let served = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                keys.len()
            );
            // Whoever asked may be gone.
            let _ = socket.write_all(&[head.as_bytes(), &keys].concat()).await;
        }
    });
    within(Duration::from_secs(60), "the keys", async {
        loop {
            let ready = http::ask(relay.address, "GET", "/health/ready", None, b"").await;
            if ready.status == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    Client::join(&relay, Provider::YWebsocket, "session/1", &token).await;
    served.abort();
}

#[tokio::test]
async fn a_token_that_begins_within_five_seconds_is_good_now() {
    let relay = Relay::start();
    let soon = |seconds: u64| {
        let begins = unix_seconds() + seconds;
        let claims = Claims::of("ann").writes("*");
        claims.with("nbf", begins.into()).sign()
    };
    let token = soon(4);
    Client::join(&relay, Provider::YWebsocket, "session/1", &token).await;
    // On a busy machine some seconds may pass until it is looked at.
    let mut early = Client::new(&relay, Provider::YWebsocket, "session/1", &soon(60));
    early.open();
    let refused = Ending::Closed(4401, "UNAUTHORIZED".to_owned());
    assert_eq!(early.ended().await, refused);
}

#[tokio::test]
async fn a_stranger_who_never_authenticates_is_shown_out_after_a_minute() {
    let relay = Relay::options().idle().start();
    let mut silent = RawSocket::open(relay.address, "/collab").await;
    let mut talkative = RawSocket::open(relay.address, "/collab").await;
    let started = now();
    let limit = Duration::from_secs(66);
    let talk = async {
        let query = frames::named("session/x", &frames::query_awareness());
        while talkative.say(&query).await {
            if !talkative.lasts(Duration::from_secs(1)).await {
                return;
            }
        }
    };
    let silence = async { assert!(!silent.lasts(limit).await, "a silent stranger may stay") };
    tokio::time::timeout(limit, async { tokio::join!(talk, silence) })
        .await
        .expect("a talkative stranger may stay");
    assert!(
        Duration::from_secs(50) < now() - started,
        "shown out too early"
    );
}

#[tokio::test]
async fn tokens_are_never_logged() {
    // With everything that can be logged: each line has its chance.
    let relay = Relay::options().logging("trace").start();
    let good = tokens::member("ann");
    let bad = Claims::of("eve").writes("*").expires_in(-5).sign();
    Client::join(&relay, Provider::YWebsocket, "session/log", &good).await;
    refusal(&relay, Provider::YWebsocket, "session/log", &bad).await;
    refusal(&relay, Provider::Hocuspocus4, "session/log", &bad).await;
    http::get(
        relay.address,
        &format!("/v1/rooms/session/log/presence?token={good}"),
        "",
    )
    .await;
    let log = relay.log();
    for token in [good, bad] {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!log.contains(signature), "a token is in the log:\n{log}");
    }
}
