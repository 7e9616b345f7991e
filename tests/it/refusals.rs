//! Refusals are alike wherever they come from, and whoever runs the relay is told of them.

use std::net::SocketAddr;

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::frames;
use crate::support::http::{self, Answer};
use crate::support::raw::{Ended, RawSocket};
use crate::support::relay::Relay;
use crate::support::time::{PATIENCE, polled, within};
use crate::support::tokens::{self, Claims, member};

const DOORS: [&str; 5] = [
    "/sync/session/1",
    "/collab",
    "/ws/boards/1",
    "/parties/presence/presence-1",
    "/ws/feed",
];
const APP: &str = "https://app.example";
const WEBSOCKET: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Asks with these header lines; what must be true of every refusal is checked.
async fn refused(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let answer = http::ask_with(address, method, path, headers, b"").await;
    let problem = answer.json();
    let members: Vec<_> = problem.as_object().expect("a problem").keys().collect();
    assert_eq!(
        members,
        ["code", "detail", "status", "title", "type"],
        "{method} {path}"
    );
    assert_eq!(problem["status"], answer.status);
    assert!(!problem["detail"].as_str().unwrap().is_empty(), "{path}");
    answer
}

fn detail(answer: &Answer) -> String {
    answer.json()["detail"].as_str().unwrap().to_owned()
}

async fn metric(relay: &Relay, series: &str) -> f64 {
    let answer = http::get(relay.address, "/metrics", "").await;
    let text = String::from_utf8(answer.body).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} in {text}"))
        .parse()
        .unwrap()
}

async fn live(relay: &Relay) -> Value {
    http::get_json(relay.address, "/live/state", &tokens::service()).await
}

#[tokio::test]
async fn an_origin_that_is_not_let_in_is_named_with_the_option_that_would() {
    let relay = Relay::options()
        .argument(format!("--allow-origin={APP}"))
        .start();
    let evil = "Origin: https://other.example\r\n";
    let api = format!("/v1/rooms/session/1/presence?token={}", member("ann"));
    for path in DOORS {
        let headers = format!("{WEBSOCKET}{KEY}{evil}");
        let answer = refused(relay.address, "GET", path, &headers).await;
        assert_eq!(answer.problem(), (403, "FORBIDDEN".to_owned()), "{path}");
        let detail = detail(&answer);
        assert!(detail.contains("https://other.example"), "{detail}");
        assert!(detail.contains("--allow-origin"), "{detail}");
    }
    for method in ["GET", "OPTIONS"] {
        let answer = refused(relay.address, method, &api, evil).await;
        assert_eq!(answer.problem(), (403, "FORBIDDEN".to_owned()));
        assert!(detail(&answer).contains("--allow-origin"));
    }
    let log = relay.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("https://other.example"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("--allow-origin https://other.example"));
    assert_eq!(
        metric(&relay, "copresence_origins_refused_total").await,
        7.0
    );
    let doors = "copresence_upgrades_refused_total{reason=\"origin\"}";
    assert_eq!(metric(&relay, doors).await, 5.0);
    let origins = &live(&relay).await["refused"]["origins"];
    assert_eq!(origins["more"], 0);
    let [only] = &origins["list"].as_array().unwrap()[..] else {
        panic!("{origins}");
    };
    assert_eq!(only["origin"], "https://other.example");
    assert_eq!(only["count"], 7);
}

#[tokio::test]
async fn why_a_token_is_refused_is_told_to_the_operator_and_to_nobody_else() {
    let relay = Relay::options()
        .argument("--jwt-audience=relay")
        .argument("--jwt-issuer=us")
        .start();
    let good = || {
        let claims = Claims::of("ann").writes("*");
        claims.with("aud", "relay".into()).with("iss", "us".into())
    };
    let other_key = EncodingKey::from_secret(b"another secret of thirty-two bytes").unwrap();
    let same_key = EncodingKey::from_secret(tokens::SECRET.as_bytes()).unwrap();
    let long = "x".repeat(17 << 10);
    let cases = [
        ("missing", String::new()),
        ("too_long", good().with("name", long.into()).sign()),
        ("malformed", "nonsense".to_owned()),
        ("algorithm", good().sign_with(Algorithm::HS384, &same_key)),
        ("signature", good().sign_with(Algorithm::HS256, &other_key)),
        ("claim", good().with("rooms", json!([])).sign()),
        ("not_yet", good().with("nbf", json!(4e9)).sign()),
        ("issuer", good().with("iss", "them".into()).sign()),
        ("audience", good().without("aud").sign()),
        ("expired", good().expires_in(-60).sign()),
    ];
    for (reason, token) in &cases {
        let series = format!("copresence_auth_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(&relay, &series).await, 0.0, "{reason}");
        // At a door, as the Hocuspocus message, and on the API.
        let path = match token.is_empty() {
            true => "/sync/session/1".to_owned(),
            false => format!("/sync/session/1?token={token}"),
        };
        let mut socket = RawSocket::open(relay.address, &path).await;
        let said = match *reason {
            "expired" => "TOKEN_EXPIRED",
            "too_long" => "LIMIT_TOKEN",
            _ => "UNAUTHORIZED",
        };
        let ended = Ended::Closed(4401, said.to_owned());
        assert_eq!(socket.ended().await, ended, "{reason}");
        let mut socket = RawSocket::open(relay.address, "/collab").await;
        socket
            .say(&frames::token("session/1", token, Some("4.8.0")))
            .await;
        let heard = socket.heard().await.unwrap();
        let (_, message) = frames::split_name(&heard).unwrap();
        match frames::read(message) {
            Some(frames::Message::Denied(told)) => assert_eq!(told, said, "{reason}"),
            other => panic!("{reason}: {other:?}"),
        }
        let header = match token.is_empty() {
            true => String::new(),
            false => format!("Authorization: Bearer {token}\r\n"),
        };
        let path = "/v1/rooms/session/1/presence";
        let answer = refused(relay.address, "GET", path, &header).await;
        assert_eq!(answer.problem(), (401, "UNAUTHORIZED".to_owned()));
        // A limit is named to both; what else is wrong is a hint to somebody who guesses.
        let told = match *reason {
            "missing" => "a token is needed",
            "too_long" => "a token has at most 16 KiB",
            "expired" => "the token has expired",
            _ => "the token does not verify",
        };
        assert_eq!(detail(&answer), told, "{reason}");
        assert_eq!(metric(&relay, &series).await, 3.0, "{reason}");
    }
    let log = relay.log();
    for (reason, token) in &cases {
        let lines = log
            .lines()
            .filter(|line| line.contains(&format!("reason=\"{reason}\"")));
        let lines: Vec<_> = lines
            .filter(|line| line.contains("a token was refused"))
            .collect();
        // Three in a moment are one line.
        assert_eq!(lines.len(), 1, "{reason}: {log}");
        if let Some(signature) = token.rsplit('.').next().filter(|text| 20 < text.len()) {
            assert!(!log.contains(signature));
        }
    }
    assert!(log.contains("its claim `rooms`"), "{log}");
    let state = http::ask(
        relay.address,
        "GET",
        "/live/state",
        Some(&good().for_service().sign()),
        b"",
    )
    .await
    .json();
    let listed = state["refused"]["tokens"].as_array().unwrap();
    for (reason, _) in &cases {
        let found = listed.iter().find(|tokens| tokens["reason"] == *reason);
        let found = found.unwrap_or_else(|| panic!("{reason} in {listed:?}"));
        assert_eq!(found["count"], 3, "{reason}");
        assert!(!found["detail"].as_str().unwrap().is_empty());
    }
    // Among those who came and left, too: at the door, and at a document.
    let list = state["timeline"]["list"].as_array().unwrap();
    let told: Vec<_> = list
        .iter()
        .filter(|entry| entry["why"] == "audience")
        .collect();
    assert_eq!(told.len(), 2, "{list:?}");
    assert!(told.iter().all(|entry| entry["reason"] == "UNAUTHORIZED"));
}

#[tokio::test]
async fn what_is_not_let_into_a_room_is_no_bad_token() {
    let relay = Relay::start();
    let stranger = Claims::of("eve").writes("session/other").sign();
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    for name in ["session/1", "a//b"] {
        socket.say(&frames::token(name, &stranger, None)).await;
        let heard = socket.heard().await.unwrap();
        let (_, message) = frames::split_name(&heard).unwrap();
        assert!(matches!(
            frames::read(message),
            Some(frames::Message::Denied(_))
        ));
    }
    let answer = http::get(relay.address, "/metrics", "").await;
    let text = String::from_utf8(answer.body).unwrap();
    let counted = text
        .lines()
        .filter(|line| line.starts_with("copresence_auth_failures_total"));
    for line in counted {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

#[tokio::test]
async fn doors_refuse_as_the_api_does() {
    let relay = Relay::options()
        .argument(format!("--allow-origin={APP}"))
        .start();
    let app = format!("Origin: {APP}\r\n");
    for path in DOORS {
        for method in ["POST", "PUT", "DELETE", "HEAD"] {
            let headers = format!("{WEBSOCKET}{KEY}");
            if method == "HEAD" {
                let answer = http::ask_with(relay.address, method, path, &headers, b"").await;
                assert_eq!(answer.status, 405);
                continue;
            }
            let answer = refused(relay.address, method, path, &headers).await;
            assert_eq!(answer.problem(), (405, "METHOD_NOT_ALLOWED".to_owned()));
            assert_eq!(answer.header("allow"), Some("GET, OPTIONS"));
        }
        let answer = http::ask_with(relay.address, "OPTIONS", path, "", b"").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (204, Some("GET, OPTIONS"))
        );
        for headers in [
            "",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n",
        ] {
            let headers = format!("{headers}{app}");
            let answer = refused(relay.address, "GET", path, &headers).await;
            assert_eq!(answer.problem(), (426, "BAD_REQUEST".to_owned()), "{path}");
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
            assert_eq!(answer.header("upgrade"), Some("websocket"));
            // A page may read it.
            assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        }
        for key in [
            "",
            "Sec-WebSocket-Key: x\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n",
        ] {
            let headers = format!("{WEBSOCKET}{key}");
            let answer = refused(relay.address, "GET", path, &headers).await;
            assert_eq!(
                answer.problem(),
                (400, "BAD_REQUEST".to_owned()),
                "{path} {key}"
            );
        }
    }
    let refused =
        |reason: &str| format!("copresence_upgrades_refused_total{{reason=\"{reason}\"}}");
    assert_eq!(metric(&relay, &refused("method")).await, 20.0);
    assert_eq!(metric(&relay, &refused("no_websocket")).await, 10.0);
    assert_eq!(metric(&relay, &refused("key")).await, 15.0);
}

#[tokio::test]
async fn a_page_may_read_what_is_wrong_with_an_address() {
    let relay = Relay::options()
        .argument(format!("--allow-origin={APP}"))
        .start();
    let app = format!("Origin: {APP}\r\n");
    for path in ["/v1/rooms/session/1/presense", "/nothing"] {
        let answer = refused(relay.address, "GET", path, &app).await;
        assert_eq!(answer.problem(), (404, "NOT_FOUND".to_owned()));
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in [
            "retry-after",
            "x-copresence-durable",
            "x-copresence-waiting",
        ] {
            assert!(exposed.split(", ").any(|one| one == name), "{exposed}");
        }
        let answer = refused(
            relay.address,
            "GET",
            path,
            "Origin: https://evil.example\r\n",
        )
        .await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
}

/// Sends these bytes; the whole answer.
async fn answer_to(address: SocketAddr, request: &[u8]) -> (String, Value) {
    let answer = async {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        // The relay may answer and close before it has taken everything.
        let _ = tcp.write_all(request).await;
        let mut bytes = Vec::new();
        while let Ok(count) = tcp.read_buf(&mut bytes).await
            && 0 < count
        {}
        String::from_utf8(bytes).unwrap()
    };
    let answer = within(PATIENCE, "an answer", answer).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let length = format!("content-length: {}", body.len());
    assert!(head.lines().any(|line| line == length), "{answer}");
    let problem = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (head.to_owned(), problem)
}

#[tokio::test]
async fn what_the_parser_refuses_has_a_body_too() {
    let relay = Relay::start();
    let long_address = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(65_534));
    let many: String = (0..100)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    let large = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    for (request, status, code) in [
        ("nonsense\r\n\r\n", 400, "BAD_REQUEST"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "BAD_REQUEST"),
        (long_address.as_str(), 414, "TOO_LARGE"),
        (many.as_str(), 431, "TOO_LARGE"),
        (large.as_str(), 431, "TOO_LARGE"),
    ] {
        let (head, problem) = answer_to(relay.address, request.as_bytes()).await;
        let what = &request[..request.len().min(40)];
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what}: {head}"
        );
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&json!(status), &json!(code))
        );
        if code == "TOO_LARGE" {
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("655"), "names its limit: {detail}");
        }
    }
}

#[tokio::test]
async fn whoever_comes_while_the_relay_drains_is_told_when_to_come_back() {
    // Somebody who does not close keeps it draining.
    let relay = Relay::options().argument("--drain-timeout=8s").start();
    let path = format!("/sync/session/1?token={}", member("ann"));
    let mut stays = RawSocket::open(relay.address, &path).await;
    stays.say(&frames::step1(&[0])).await;
    stays.heard().await.unwrap();
    relay.terminate();
    let headers = format!("{WEBSOCKET}{KEY}");
    let answer = polled("the relay to drain", async || {
        let answer = http::ask_with(relay.address, "GET", "/sync/session/1", &headers, b"").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.problem(), (503, "DRAINING".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(detail(&answer).contains("shutting down"));
    assert_eq!(metric(&relay, "copresence_draining").await, 1.0);
    let ready = http::get(relay.address, "/health/ready", "").await;
    assert_eq!(
        (ready.status, ready.header("retry-after")),
        (503, Some("1"))
    );
}
