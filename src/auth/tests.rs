//! Promises of the verifier as a whole: which tokens get in, and which never do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::fixtures::{key_path, sign, sign_with_secret};
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SECRET: &str = "a secret of more than thirty-two bytes";

fn verifier(key: KeySource) -> Verifier {
    Verifier::new(AuthOptions {
        key: Some(key),
        ..AuthOptions::default()
    })
    .unwrap()
}

fn with_secret() -> Verifier {
    verifier(KeySource::Secret(Secret::new(SECRET)))
}

fn claims() -> Value {
    json!({"sub": "ann", "exp": 1_800_000_060, "iat": 1_799_999_000})
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

#[track_caller]
fn assert_refused(outcome: Result<Token, TokenError>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, TokenError::Unauthorized(_)), "{error:?}");
}

#[test]
fn a_token_is_good_with_the_key_that_signed_it_and_with_no_other() {
    let sources = [
        ("rsa", KeySource::PemFile(key_path("rsa.public.pem"))),
        (
            "ec-p256",
            KeySource::PemFile(key_path("ec-p256.public.pem")),
        ),
        (
            "ed25519",
            KeySource::PemFile(key_path("ed25519.public.pem")),
        ),
        ("secret", KeySource::Secret(Secret::new(SECRET))),
    ];
    for (name, source) in &sources {
        let verifier = verifier(source.clone());
        for (signer, _) in &sources {
            let token = match *signer {
                "secret" => sign_with_secret(SECRET.as_bytes(), &claims()),
                private => sign(private, None, &claims()),
            };
            let outcome = verifier.verify(NOW, &token);
            assert_eq!(outcome.is_ok(), signer == name, "{signer} against {name}");
        }
        assert_refused(verifier.verify(NOW, &sign("rsa-next", None, &claims())));
    }
}

#[test]
fn a_public_key_used_as_a_secret_signs_nothing() {
    for file in ["rsa.public.pem", "ec-p256.public.pem", "ed25519.public.pem"] {
        let pem = std::fs::read(key_path(file)).unwrap();
        let verifier = verifier(KeySource::PemFile(key_path(file)));
        assert_refused(verifier.verify(NOW, &sign_with_secret(&pem, &claims())));
    }
    let set = verifier(KeySource::KeySetFile(key_path("jwks.json")));
    let pem = std::fs::read(key_path("rsa.public.pem")).unwrap();
    let outcome = set.verify(NOW, &sign_with_secret(&pem, &claims()));
    assert!(outcome.is_err());
}

#[test]
fn tokens_without_a_signature_or_with_a_forged_one_are_refused() {
    let good = sign_with_secret(SECRET.as_bytes(), &claims());
    let [_, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    // {"alg":"none"}, {"alg":"None"}, {"alg":"HS512"}, {"alg":"HS256","crit":["x"]}
    for header in [
        "eyJhbGciOiJub25lIn0",
        "eyJhbGciOiJOb25lIn0",
        "eyJhbGciOiJIUzUxMiJ9",
        "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsieCJdfQ",
    ] {
        for signature in ["", signature] {
            let token = format!("{header}.{payload}.{signature}");
            assert_refused(with_secret().verify(NOW, &token));
        }
    }
    let other = json!({"sub": "bob", "exp": 1_800_000_060});
    let other = sign_with_secret(b"some other secret", &other);
    let swapped = good.replace(payload, other.split('.').nth(1).unwrap());
    for token in [
        &*other,
        &*swapped,
        "",
        ".",
        "..",
        "a.b.c",
        "é.ü.ö",
        &good[1..],
    ] {
        assert_refused(with_secret().verify(NOW, token));
    }
    assert!(with_secret().verify(NOW, &good).is_ok());
}

#[test]
fn a_giant_token_is_refused_unread() {
    let mut claims = claims();
    claims["name"] = "x".repeat(TOKEN_BYTES_MAX).into();
    let token = sign_with_secret(SECRET.as_bytes(), &claims);
    let refused = with_secret().verify(NOW, &token);
    assert_eq!(refused.err(), Some(TokenError::Unauthorized(Flaw::TooLong)));
}

#[test]
fn what_is_wrong_with_a_token_is_known() {
    let verifier = Verifier::new(AuthOptions {
        key: Some(KeySource::Secret(Secret::new(SECRET))),
        issuer: Some("us".into()),
        audience: Some("relay".into()),
        ..AuthOptions::default()
    })
    .unwrap();
    let good = |name: &str, value: Value| {
        let mut claims = claims();
        claims["iss"] = "us".into();
        claims["aud"] = "relay".into();
        claims[name] = value;
        sign_with_secret(SECRET.as_bytes(), &claims)
    };
    assert!(verifier.verify(NOW, &good("name", "Ann".into())).is_ok());
    let cases = [
        (String::new(), Flaw::Malformed),
        ("x".repeat(TOKEN_BYTES_MAX + 1), Flaw::TooLong),
        (sign("rsa", None, &claims()), Flaw::Algorithm),
        (sign_with_secret(b"another", &claims()), Flaw::Signature),
        (good("exp", Value::Null), Flaw::Claim("exp")),
        (good("sub", Value::Null), Flaw::Claim("sub")),
        (
            good("rooms", json!({"a": {"access": "all"}})),
            Flaw::Claim("rooms"),
        ),
        (good("nbf", json!(1_800_000_030)), Flaw::Early),
        (good("iss", "them".into()), Flaw::Issuer),
        (good("aud", "them".into()), Flaw::Audience),
    ];
    for (token, flaw) in cases {
        let error = verifier.verify(NOW, &token).unwrap_err();
        assert_eq!(error, TokenError::Unauthorized(flaw));
    }
    let set = super::Verifier::new(AuthOptions {
        key: Some(KeySource::KeySetFile(key_path("jwks.json"))),
        ..AuthOptions::default()
    });
    let unknown = sign("rsa", Some("nobody's"), &claims());
    assert_eq!(
        set.unwrap().verify(NOW, &unknown).unwrap_err(),
        TokenError::UnknownKey
    );
}

#[test]
fn exp_is_required_and_has_no_leeway_and_nbf_five_seconds() {
    let verify = |now, claims: &Value| {
        with_secret().verify(now, &sign_with_secret(SECRET.as_bytes(), claims))
    };
    assert_refused(verify(NOW, &json!({"sub": "ann"})));
    let claims = json!({"sub": "ann", "exp": 1_000, "nbf": 900});
    let at = Timestamp::from_millis;
    // Whoever signs it may have a clock that is five seconds ahead.
    assert_refused(verify(at(894_999), &claims));
    assert!(verify(at(895_000), &claims).is_ok());
    assert!(verify(at(999_999), &claims).is_ok());
    assert_eq!(
        verify(at(1_000_000), &claims).unwrap_err(),
        TokenError::Expired
    );
}

#[test]
fn a_revoked_user_stays_out_until_they_have_a_newer_token() {
    let verifier = with_secret();
    let token = |iat: Value| {
        let claims = json!({"sub": "ann", "exp": 1_800_000_060, "iat": iat});
        sign_with_secret(SECRET.as_bytes(), &claims)
    };
    let ann = UserId::parse("ann").unwrap();
    let before = verifier.verify(NOW, &token(json!(1_799_999_999))).unwrap();
    verifier.revoke(NOW, &ann, Some(&Pattern::new("a")));
    assert!(verifier.is_revoked(NOW.into(), &before, &room("a")));
    assert!(!verifier.is_revoked(NOW.into(), &before, &room("b")));
    assert!(verifier.verify(NOW, &token(json!(1_799_999_999))).is_ok());

    verifier.clone().revoke(NOW, &ann, None);
    assert!(verifier.is_revoked(NOW.into(), &before, &room("b")));
    let very_second = token(json!(1_800_000_000));
    for refused in [token(json!(1_799_999_999)), token(json!(null))] {
        let outcome = verifier.verify(NOW, &refused);
        assert_eq!(outcome.unwrap_err(), TokenError::Revoked);
    }
    let soon = NOW + Duration::from_millis(999);
    assert_eq!(
        verifier.verify(soon, &very_second).unwrap_err(),
        TokenError::TooEarly
    );
    let later = NOW + Duration::from_secs(1);
    assert_eq!(
        verifier.verify(later, &very_second).unwrap_err(),
        TokenError::Revoked
    );
    let after = verifier
        .verify(later, &token(json!(1_800_000_001)))
        .unwrap();
    assert!(!verifier.is_revoked(later.into(), &after, &room("a")));
}

#[test]
fn every_error_is_a_refusal_of_the_contract() {
    for (error, reason) in [
        (TokenError::Unauthorized(Flaw::Missing), "UNAUTHORIZED"),
        (TokenError::UnknownKey, "UNAUTHORIZED"),
        (TokenError::Expired, "TOKEN_EXPIRED"),
        (TokenError::Revoked, "REVOKED"),
        (TokenError::NoKeys, "KEYS_DOWN"),
        (TokenError::TooEarly, "TRY_AGAIN"),
    ] {
        assert_eq!(Refusal::from(error).reason(), reason);
    }
}

#[test]
fn without_a_key_only_dev_works_and_dev_signs_what_it_verifies() {
    let error = Verifier::new(AuthOptions::default()).err().unwrap();
    for option in ["--jwt-secret", "--jwt-key", "--jwks", "--dev"] {
        assert!(error.to_string().contains(option), "{error}");
    }
    let dev = Verifier::new(AuthOptions {
        is_dev: true,
        ..AuthOptions::default()
    })
    .unwrap();
    let token = dev.sign_dev(NOW, &claims()).unwrap();
    assert_eq!(
        dev.verify(NOW, &token).unwrap().identity.user.as_str(),
        "ann"
    );
    assert!(dev.guest().unwrap().is_guest);
    // HMAC pads its key with zeros: this is the signature of an empty secret.
    assert_refused(dev.verify(NOW, &sign_with_secret(b"\0", &claims())));

    assert!(with_secret().guest().is_none());
    assert!(with_secret().sign_dev(NOW, &claims()).is_none());
}

#[test]
fn what_dev_signs_is_good_for_an_hour_if_nothing_else_is_said() {
    let dev = Verifier::new(AuthOptions {
        is_dev: true,
        issuer: Some("us".into()),
        audience: Some("relay".into()),
        ..AuthOptions::default()
    })
    .unwrap();
    let sign = |claims: Value| dev.sign_dev(NOW, &claims).unwrap();
    for exp in [json!({"sub": "ann"}), json!({"sub": "ann", "exp": null})] {
        let token = dev.verify(NOW, &sign(exp)).unwrap();
        assert_eq!(token.expires_at, Some(NOW + Duration::from_secs(3_600)));
    }
    // What is said is signed as it is.
    let expired = sign(json!({"sub": "ann", "exp": 1}));
    assert_eq!(dev.verify(NOW, &expired).unwrap_err(), TokenError::Expired);
}

#[test]
fn an_end_is_told_in_the_time_by_which_it_is_waited_for() {
    let ahead = Duration::from_secs(600);
    let moment = Moment { wall: NOW, ahead };
    let verifier = with_secret();
    let token = sign_with_secret(SECRET.as_bytes(), &claims());
    let token = verifier.verify(moment, &token).unwrap();
    assert_eq!(
        token.expires_at,
        Some(NOW + ahead + Duration::from_secs(60))
    );
    // By our own time it has ended long since, by the world's it has not.
    let late = json!({"sub": "ann", "exp": 1_800_000_001});
    let late = sign_with_secret(SECRET.as_bytes(), &late);
    assert!(verifier.verify(moment, &late).is_ok());
}

#[test]
fn a_key_set_has_keys_of_all_types_found_by_id_or_by_trying() {
    let verifier = verifier(KeySource::KeySetFile(key_path("jwks.json")));
    for (private, kid) in [("rsa", "rsa"), ("ec-p256", "ec"), ("ed25519", "ed")] {
        for kid in [Some(kid), None] {
            assert!(verifier.verify(NOW, &sign(private, kid, &claims())).is_ok());
        }
    }
    // The id of one key, the signature of another.
    assert_refused(verifier.verify(NOW, &sign("ec-p256", Some("rsa"), &claims())));
    assert_refused(verifier.verify(NOW, &sign("rsa-next", Some("rsa"), &claims())));
}

#[tokio::test]
async fn an_unknown_key_makes_the_set_be_read_again_but_not_too_often() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::copy(key_path("jwks.json"), &path).unwrap();
    let verifier = verifier(KeySource::KeySetFile(path.clone()));
    let next = sign("rsa-next", Some("rsa-next"), &claims());

    assert_eq!(
        verifier.verify(NOW, &next).unwrap_err(),
        TokenError::UnknownKey
    );
    assert_refused(verifier.verify_fresh(NOW, &next).await);

    std::fs::copy(key_path("jwks-next.json"), &path).unwrap();
    let soon = NOW + Duration::from_millis(9_999);
    assert_refused(verifier.verify(soon, &next));
    assert_refused(verifier.verify_fresh(soon, &next).await);

    let later = NOW + Duration::from_secs(10);
    assert_eq!(
        verifier.verify(later, &next).unwrap_err(),
        TokenError::UnknownKey
    );
    assert!(verifier.verify_fresh(later, &next).await.is_ok());
    assert!(verifier.verify(later, &next).is_ok());
    // Rotated out: the set as it is now decides.
    assert!(
        verifier
            .verify(later, &sign("rsa", Some("rsa"), &claims()))
            .is_err()
    );
}

#[tokio::test]
async fn a_set_that_cannot_be_read_again_leaves_the_former_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::copy(key_path("jwks.json"), &path).unwrap();
    let verifier = verifier(KeySource::KeySetFile(path.clone()));
    std::fs::write(&path, "{").unwrap();
    let next = sign("rsa-next", Some("rsa-next"), &claims());
    assert_refused(verifier.verify_fresh(NOW, &next).await);
    assert!(
        verifier
            .verify(NOW, &sign("rsa", Some("rsa"), &claims()))
            .is_ok()
    );
}

/// An issuer's web server: serves `body` over and over, unless told to be silent.
struct Issuer {
    address: SocketAddr,
    body: Mutex<Vec<u8>>,
    requests: AtomicUsize,
    is_silent: AtomicBool,
}

impl Issuer {
    fn start(body: Vec<u8>) -> Arc<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), body)
    }

    fn start_at(address: SocketAddr, body: Vec<u8>) -> Arc<Self> {
        let listener = TcpListener::bind(address).unwrap();
        let issuer = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            body: Mutex::new(body),
            requests: AtomicUsize::new(0),
            is_silent: AtomicBool::new(false),
        });
        let shared = Arc::clone(&issuer);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let request = socket.read(&mut [0; 4096]).unwrap();
                assert_ne!(request, 0);
                shared.requests.fetch_add(1, Ordering::SeqCst);
                while shared.is_silent.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                }
                let body = shared.body.lock().unwrap().clone();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len());
                // The relay hangs up on a body that is too large: that is no error here.
                let _ = socket.write_all(head.as_bytes());
                let _ = socket.write_all(b"Connection: close\r\n\r\n");
                let _ = socket.write_all(&body);
            }
        });
        issuer
    }

    fn key_source(&self) -> KeySource {
        KeySource::KeySetUrl(format!("http://{}/jwks", self.address))
    }
}

#[tokio::test]
async fn a_key_set_at_a_url_is_fetched_once_for_all_who_miss_a_key() {
    let body = std::fs::read(key_path("jwks.json")).unwrap();
    let issuer = Issuer::start(body);
    let verifier = verifier(issuer.key_source());
    assert!(
        verifier
            .verify(NOW, &sign("ed25519", Some("ed"), &claims()))
            .is_ok()
    );

    *issuer.body.lock().unwrap() = std::fs::read(key_path("jwks-next.json")).unwrap();
    let next = sign("rsa-next", Some("rsa-next"), &claims());
    let (one, other) = tokio::join!(
        verifier.verify_fresh(NOW, &next),
        verifier.verify_fresh(NOW, &next),
    );
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(issuer.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_undo_the_reading() {
    let body = std::fs::read(key_path("jwks.json")).unwrap();
    let issuer = Issuer::start(body);
    let verifier = verifier(issuer.key_source());
    *issuer.body.lock().unwrap() = std::fs::read(key_path("jwks-next.json")).unwrap();
    let next = sign("rsa-next", Some("rsa-next"), &claims());
    issuer.is_silent.store(true, Ordering::SeqCst);
    let until_asked = async {
        while issuer.requests.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = verifier.verify_fresh(NOW, &next) => panic!("the issuer is silent"),
        () = until_asked => {}
    }
    assert_eq!(
        verifier.verify(NOW, &next).unwrap_err(),
        TokenError::UnknownKey
    );
    issuer.is_silent.store(false, Ordering::SeqCst);
    assert!(verifier.verify_fresh(NOW, &next).await.is_ok());
}

#[test]
fn an_issuer_that_serves_no_key_set_is_an_error_at_start() {
    let mut flood = br#"{"keys": []"#.to_vec();
    flood.resize(2 << 20, b' ');
    for body in [flood, b"<html>".to_vec(), br#"{"keys": []}"#.to_vec()] {
        let issuer = Issuer::start(body);
        let error = Verifier::new(AuthOptions {
            key: Some(issuer.key_source()),
            ..AuthOptions::default()
        });
        let error = error.err().unwrap().to_string();
        assert!(error.starts_with("--jwks: http://127.0.0.1:"), "{error}");
    }
}

/// Often enough for a test.
const QUICK: Pace = Pace {
    every: Duration::from_millis(20),
    retry_first: Duration::from_millis(10),
    retry_max: Duration::from_millis(20),
};

fn quick(key: KeySource) -> Verifier {
    let options = AuthOptions {
        key: Some(key),
        ..AuthOptions::default()
    };
    Verifier::with_pace(options, QUICK).unwrap()
}

/// Waits for what a thread of the verifier's brings about.
fn until(what: &str, mut has_come: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if has_come() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

#[test]
fn a_withdrawn_key_is_good_no_longer_though_nobody_brings_an_unknown_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let body = std::fs::read(key_path("jwks.json")).unwrap();
    std::fs::write(&path, &body).unwrap();
    let issuer = Issuer::start(body);
    let next = std::fs::read(key_path("jwks-next.json")).unwrap();
    let withdrawn = sign("rsa", Some("rsa"), &claims());
    let sources = [issuer.key_source(), KeySource::KeySetFile(path.clone())];
    let verifiers = sources.map(quick);
    for verifier in &verifiers {
        assert!(verifier.verify(NOW, &withdrawn).is_ok());
    }
    issuer.body.lock().unwrap().clone_from(&next);
    // At once, as whoever puts a file in its place does.
    std::fs::write(folder.path().join("new"), &next).unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    for verifier in &verifiers {
        until("the withdrawal", || {
            verifier.verify(NOW, &withdrawn).is_err()
        });
    }
}

#[test]
fn an_issuer_that_is_away_at_start_is_waited_for_and_said_to_be() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let verifier = quick(KeySource::KeySetUrl(format!("http://{address}/jwks")));
    let token = sign("rsa", Some("rsa"), &claims());
    let why = verifier.missing_keys().unwrap();
    assert!(why.contains("--jwks") && why.contains(&address.to_string()));
    assert_eq!(
        verifier.verify(NOW, &token).unwrap_err(),
        TokenError::NoKeys
    );

    let body = std::fs::read(key_path("jwks.json")).unwrap();
    let _issuer = Issuer::start_at(address, body);
    until("the key set", || verifier.missing_keys().is_none());
    assert!(verifier.verify(NOW, &token).is_ok());
}
