//! The follow feed: who hears what of whom, over real sockets. Exact times are shown where time is
//! an argument, beside the code; here the numbers are small.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, Provider};
use crate::support::http;
use crate::support::raw::{self, Ended, RawSocket, Shape};
use crate::support::relay::Relay;
use crate::support::talker::{Said, Talker};
use crate::support::time::{PATIENCE, now, polled, unix_seconds, within};
use crate::support::tokens::{self, Claims, member};

const PATH: &str = "/ws/feed";

/// Changes are told soon; the rest is as always.
fn quick() -> Relay {
    Relay::options()
        .config("[kind.feed]\ngather_ms = 100\n")
        .start()
}

fn follower(user: &str, follows: &[&str]) -> String {
    Claims::of(user).with("follows", json!(follows)).sign()
}

/// A window that has logged in.
struct Window {
    talker: Talker,
    resume: String,
}

impl Window {
    /// Logs in anew; with what the sync says of those followed.
    async fn open(relay: &Relay, token: &str) -> (Self, Value) {
        let (mut window, is_resumed) = Self::login(relay, token, None).await;
        assert!(!is_resumed);
        let sync = window.talker.hear().await;
        assert_eq!(sync["t"], "sync", "{sync}");
        (window, sync["users"].clone())
    }

    /// Logs in; whether that resumed a window.
    async fn login(relay: &Relay, token: &str, resume: Option<&str>) -> (Self, bool) {
        let says = match resume {
            None => json!({"s": "Online"}),
            Some(resume) => json!({"resume": resume}),
        };
        Self::login_saying(relay, token, says).await
    }

    /// Logs in with more than a token.
    async fn login_saying(relay: &Relay, token: &str, says: Value) -> (Self, bool) {
        let mut talker = Talker::open(relay.address, PATH, token).await;
        let mut login = says;
        login["t"] = "login".into();
        talker.say(login).await;
        let hello = talker.hear().await;
        assert_eq!(hello["t"], "hello", "{hello}");
        let resume = hello["resume"].as_str().expect("a token").to_owned();
        assert_eq!(resume.len(), 32);
        let is_resumed = hello["resumed"].as_bool().expect("whether it resumed");
        (Self { talker, resume }, is_resumed)
    }

    async fn says(&mut self, fields: Value) {
        let mut update = json!({"t": "statusUpdate"});
        for (field, value) in fields.as_object().expect("fields") {
            update[field] = value.clone();
        }
        self.talker.say(update).await;
    }

    async fn hears(&mut self) -> Value {
        self.talker.hear().await
    }

    /// Everything sent before has been dealt with, and nothing was answered.
    async fn hears_nothing(&mut self) {
        self.talker.say_text("?").await;
        let text = self.hears().await;
        assert_eq!(text["code"], "BAD_MESSAGE", "nothing but {text}");
    }
}

fn online(user: &str, activity: &str) -> Value {
    json!({"t": "o", "id": user, "s": "Online", "a": activity, "p": "", "l": ""})
}

fn millis() -> u64 {
    unix_seconds() * 1000
}

async fn counter(relay: &Relay, name: &str) -> u64 {
    let answer = http::get(relay.address, "/metrics", "").await;
    let text = String::from_utf8(answer.body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.expect("a counter").trim().parse().unwrap()
}

#[tokio::test]
async fn tst_presence_001_delta_update_delivery() {
    let relay = Relay::start();
    let (mut bob, users) = Window::open(&relay, &follower("bob", &["ann"])).await;
    assert_eq!(
        users,
        json!([{"username": "ann", "s": "Offline", "ts": null}])
    );
    let (mut ann, users) = Window::open(&relay, &member("ann")).await;
    assert_eq!(users, json!([]));
    assert_eq!(bob.hears().await, online("ann", "Idle"));
    let said = now();
    ann.says(json!({"activity": "Coding"})).await;
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "a": "Coding"})
    );
    assert!(Duration::from_millis(1_990) <= now() - said, "gathered");
    ann.says(json!({"p": "relay"})).await;
    ann.says(json!({"a": "Debugging", "l": "Rust"})).await;
    ann.says(json!({"a": "Coding"})).await;
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "p": "relay", "l": "Rust"})
    );
    let (_, users) = Window::open(&relay, &follower("cid", &["ann"])).await;
    assert_eq!(
        users,
        json!([{"username": "ann", "s": "Online", "a": "Coding", "p": "relay", "l": "Rust"}])
    );
}

#[tokio::test]
async fn tst_presence_002_non_follower_isolation() {
    let relay = quick();
    let (mut cid, _) = Window::open(&relay, &follower("cid", &["dan"])).await;
    let (mut bob, _) = Window::open(&relay, &follower("bob", &["ann"])).await;
    let (mut ann, _) = Window::open(&relay, &member("ann")).await;
    ann.says(json!({"a": "Coding"})).await;
    assert_eq!(bob.hears().await["t"], "o");
    assert_eq!(bob.hears().await["t"], "u");
    ann.says(json!({"s": "Invisible"})).await;
    assert_eq!(bob.hears().await["t"], "x");
    cid.hears_nothing().await;
    // Who is followed does not hear of their followers.
    ann.hears_nothing().await;
}

#[tokio::test]
async fn tst_presence_003_session_resumption() {
    let relay = quick();
    let (mut bob, _) = Window::open(&relay, &follower("bob", &["ann"])).await;
    let token = follower("ann", &["bob", "cid"]);
    let (mut ann, _) = Window::open(&relay, &token).await;
    assert_eq!(bob.hears().await, online("ann", "Idle"));
    ann.says(json!({"a": "Coding"})).await;
    assert_eq!(bob.hears().await["a"], "Coding");

    // Cut off, and meanwhile somebody comes and somebody changes.
    let first = ann.resume.clone();
    ann.talker.vanish();
    let (_cid, _) = Window::open(&relay, &member("cid")).await;
    let (mut dan, _) = Window::open(&relay, &follower("dan", &["bob"])).await;
    bob.says(json!({"a": "Debugging"})).await;
    assert_eq!(dan.hears().await["a"], "Debugging");
    let (mut ann, is_resumed) = Window::login(&relay, &token, Some(&first)).await;
    assert!(is_resumed);
    assert_ne!(ann.resume, first);
    assert_eq!(
        ann.hears().await,
        json!({"t": "u", "id": "bob", "a": "Debugging"})
    );
    assert_eq!(ann.hears().await, online("cid", "Idle"));
    ann.hears_nothing().await;
    // Neither offline nor online, and what she said still holds.
    ann.says(json!({"p": "relay"})).await;
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "p": "relay"})
    );

    // Used, foreign, unknown and malformed tokens are good for nothing, and harm nobody.
    for (who, resume) in [
        (&token, &*first),
        (&member("eve"), &*ann.resume),
        (&token, "00000000000000000000000000000000"),
        (&token, "nonsense"),
        (&token, ""),
    ] {
        let (_, is_resumed) = Window::login(&relay, who, Some(resume)).await;
        assert!(!is_resumed, "{resume}");
    }
    // A clean close can be resumed too, and one that the relay has not noticed yet.
    let second = ann.resume.clone();
    ann.talker.close().await;
    let (mut ann, is_resumed) = Window::login(&relay, &token, Some(&second)).await;
    assert!(is_resumed);
    let third = ann.resume.clone();
    let (mut next, is_resumed) = Window::login(&relay, &token, Some(&third)).await;
    assert!(is_resumed);
    let (_, ended) = ann.talker.last_words().await;
    assert_eq!(ended, Ended::Closed(4409, "REPLACED".to_owned()));
    next.says(json!({"a": "Debugging"})).await;
    assert_eq!(bob.hears().await["a"], "Debugging");
}

#[tokio::test]
async fn whoever_comes_in_invisible_is_told_to_nobody() {
    let relay = quick();
    let (mut bob, _) = Window::open(&relay, &follower("bob", &["ann", "cid"])).await;
    let hidden = json!({"s": "Invisible", "a": "Coding"});
    let token = follower("ann", &["ann"]);
    let (mut ann, _) = Window::login_saying(&relay, &token, hidden).await;
    assert_eq!(ann.hears().await["users"][0]["s"], "Offline");
    // Said right behind the login, in one go.
    let mut cid = Talker::open(relay.address, PATH, &member("cid")).await;
    cid.say(json!({"t": "login"})).await;
    cid.say(json!({"t": "statusUpdate", "s": "Invisible"}))
        .await;
    assert_eq!(cid.hear().await["t"], "hello");
    assert_eq!(cid.hear().await["t"], "sync");
    // What comes first of ann or cid is their coming into sight.
    ann.says(json!({"s": "Online"})).await;
    assert_eq!(bob.hears().await, online("ann", "Coding"));
    cid.say(json!({"t": "statusUpdate", "s": "Away"})).await;
    let seen = bob.hears().await;
    assert_eq!((&seen["id"], &seen["s"]), (&json!("cid"), &json!("Away")));
}

#[tokio::test]
async fn a_hello_says_what_followers_see() {
    let relay = quick();
    let hello = async |says: Value| {
        let mut talker = Talker::open(relay.address, PATH, &member("ann")).await;
        talker.say(says).await;
        (talker.hear().await, talker)
    };
    let (first, _first) = hello(json!({"t": "login"})).await;
    assert_eq!(
        (&first["s"], &first["resumed"]),
        (&json!("Online"), &json!(false))
    );
    let (second, _second) = hello(json!({"t": "login", "status": "Invisible"})).await;
    assert_eq!(second["s"], "Offline");
    let resume = second["resume"].clone();
    let (third, _third) = hello(json!({"t": "login", "resume": resume, "s": "Away"})).await;
    assert_eq!(third["resumed"], true);
    let (bad, _bad) = hello(json!({"t": "login", "s": "Hidden"})).await;
    assert_eq!(bad["code"], "BAD_MESSAGE");
}

#[tokio::test]
async fn tst_presence_004_multi_window_aggregation() {
    let relay = quick();
    let (mut first, _) = Window::open(&relay, &member("ann")).await;
    let (mut second, _) = Window::open(&relay, &member("ann")).await;
    let (mut bob, users) = Window::open(&relay, &follower("bob", &["ann"])).await;
    assert_eq!(users.as_array().unwrap().len(), 1, "{users}");
    first.says(json!({"a": "Idle", "p": "one"})).await;
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "p": "one"})
    );
    second.says(json!({"a": "Coding", "p": "two"})).await;
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "a": "Coding", "p": "two"})
    );
    first.says(json!({"a": "Debugging"})).await;
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "a": "Debugging", "p": "one"})
    );
    first.talker.say(json!({"t": "logout"})).await;
    let (_, ended) = first.talker.last_words().await;
    assert_eq!(ended, Ended::Closed(1000, String::new()));
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "a": "Coding", "p": "two"})
    );
    let before = millis();
    second.talker.say(json!({"t": "logout"})).await;
    let gone = bob.hears().await;
    assert_eq!((&gone["t"], &gone["id"]), (&json!("x"), &json!("ann")));
    let at = gone["ts"].as_u64().unwrap();
    assert!((before..before + 10_000).contains(&at), "{gone}");
}

#[tokio::test]
async fn a_thousand_who_do_not_follow_receive_nothing_and_cost_nothing() {
    let relay = Relay::options()
        .config("[kind.feed]\ngather_ms = 50\n")
        .alone()
        .start();
    let (mut ann, _) = Window::open(&relay, &member("ann")).await;
    let (mut bob, _) = Window::open(&relay, &follower("bob", &["ann"])).await;
    // Everything that an update costs, by the relay's own counters.
    let cost = async |ann: &mut Window, bob: &mut Window, activity: &str| {
        let names = [
            "copresence_feed_considered_total",
            "copresence_feed_messages_total",
            "copresence_sent_bytes_total{door=\"feed\"}",
        ];
        let mut before = Vec::new();
        for name in names {
            before.push(counter(&relay, name).await);
        }
        ann.says(json!({"a": activity})).await;
        assert_eq!(bob.hears().await["a"], activity);
        let mut cost = Vec::new();
        for (name, before) in names.into_iter().zip(before) {
            cost.push(counter(&relay, name).await - before);
        }
        cost
    };
    let alone = cost(&mut ann, &mut bob, "Coding").await;
    let frame = 2 + r#"{"t":"u","id":"ann","a":"Coding"}"#.len() as u64;
    assert_eq!(alone, [1, 1, frame]);

    let mut strangers = Vec::new();
    for number in 0..1_000 {
        let token = follower(&format!("stranger-{number}"), &["somebody", "else"]);
        let path = format!("{PATH}?token={token}");
        let mut socket = RawSocket::open(relay.address, &path).await;
        let login = Shape::of(raw::TEXT).write(br#"{"t":"login"}"#);
        assert!(socket.send(&login).await);
        for _ in ["hello", "sync"] {
            let frame = within(PATIENCE, "an answer", socket.next()).await;
            assert_eq!(frame.unwrap().opcode, raw::TEXT);
        }
        strangers.push(socket);
    }
    assert_eq!(cost(&mut ann, &mut bob, "Reading").await, [1, 1, frame + 1]);
    ann.says(json!({"s": "Invisible"})).await;
    assert_eq!(bob.hears().await["t"], "x");
    for socket in &mut strangers {
        assert!(socket.send(&Shape::of(raw::PING).write(b"?")).await);
        // What had been sent before would come before.
        loop {
            let frame = within(PATIENCE, "a pong", socket.next()).await.unwrap();
            if frame.opcode != raw::PING {
                assert_eq!((frame.opcode, &*frame.payload), (raw::PONG, &b"?"[..]));
                break;
            }
        }
    }
}

#[tokio::test]
async fn away_gathering_and_resuming_by_numbers_made_small() {
    let relay = Relay::options()
        .config(
            "[kind.feed]\naway_after_ms = 900\ngather_ms = 300\nresume_ms = 1500\n\
             linger_clean_ms = 1500\nlinger_lost_ms = 1500\n",
        )
        .start();
    let (mut bob, _) = Window::open(&relay, &follower("bob", &["ann"])).await;
    let (mut ann, _) = Window::open(&relay, &member("ann")).await;
    let came = now();
    assert_eq!(bob.hears().await["t"], "o");
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "s": "Away"})
    );
    assert!(Duration::from_millis(1_190) <= now() - came);
    // An update without a change is activity.
    let said = now();
    ann.says(json!({})).await;
    assert_eq!(
        bob.hears().await,
        json!({"t": "u", "id": "ann", "s": "Online"})
    );
    assert!(Duration::from_millis(290) <= now() - said);
    let resume = ann.resume.clone();
    let before = millis();
    let closing = now();
    ann.talker.close().await;
    let gone = bob.hears().await;
    assert_eq!(gone["t"], "x", "{gone}");
    let lingered = now() - closing;
    assert!(Duration::from_millis(1_490) <= lingered, "{lingered:?}");
    // The time of the close, not of the end of the wait.
    let at = gone["ts"].as_u64().unwrap();
    assert!(at < before + 1_000 + 1_400, "{at} {before}");
    // Who is gone before they could be seen is not seen.
    let (_back, is_resumed) = Window::login(&relay, &member("ann"), Some(&resume)).await;
    assert!(!is_resumed, "late");
    assert_eq!(bob.hears().await, online("ann", "Idle"));
}

#[tokio::test]
async fn the_invisible_cannot_be_told_from_those_who_are_offline() {
    let relay = Relay::options()
        .config(
            "[kind.feed]\ngather_ms = 50\nresume_ms = 300\nlinger_clean_ms = 300\n\
             linger_lost_ms = 300\n",
        )
        .start();
    // All that followers receive, to the byte, for a user who hides and one who goes. Names and
    // times are as long as each other.
    let received = async |user: &str, hides: bool| {
        let change = format!("/v1/users/fan-of-{user}/follows/{user}");
        let change = async |method: &str| {
            let service = tokens::service();
            let answer = http::ask(relay.address, method, &change, Some(&service), b"").await;
            assert_eq!(answer.status, 204);
        };
        change("PUT").await;
        let token = member(&format!("fan-of-{user}"));
        let mut bob = RawSocket::open(relay.address, &format!("{PATH}?token={token}")).await;
        let say = |text: String| Shape::of(raw::TEXT).write(text.as_bytes());
        bob.send(&say(r#"{"t":"login"}"#.to_owned())).await;
        let mut bytes = Vec::new();
        let next = async |socket: &mut RawSocket, bytes: &mut Vec<u8>| {
            let frame = within(PATIENCE, "a frame", socket.next()).await.unwrap();
            bytes.push(frame.opcode);
            bytes.extend_from_slice(&frame.payload);
            frame
        };
        for _ in ["hello", "sync"] {
            next(&mut bob, &mut bytes).await;
        }
        let (mut first, _) = Window::open(&relay, &member(user)).await;
        let (mut second, _) = Window::open(&relay, &member(user)).await;
        if hides {
            first.says(json!({"s": "Invisible"})).await;
        } else {
            first.talker.say(json!({"t": "logout"})).await;
            second.talker.say(json!({"t": "logout"})).await;
        }
        for _ in ["o", "x"] {
            next(&mut bob, &mut bytes).await;
        }
        if hides {
            // All that a hidden user can do.
            second.says(json!({"a": "Debugging", "p": "secret"})).await;
            let (third, _) = Window::open(&relay, &member(user)).await;
            third.talker.close().await;
            first.says(json!({"a": "Coding"})).await;
            let resume = second.resume.clone();
            second.talker.vanish();
            let (mut second, is_resumed) =
                Window::login(&relay, &member(user), Some(&resume)).await;
            assert!(is_resumed);
            second.talker.say(json!({"t": "logout"})).await;
            second.talker.last_words().await;
        }
        // A new follower, and the first when it follows anew.
        let (_, users) = Window::open(&relay, &follower("cid", &[user])).await;
        bytes.extend_from_slice(users.to_string().as_bytes());
        change("DELETE").await;
        change("PUT").await;
        // Long enough for everything that might be told late.
        tokio::time::sleep(Duration::from_millis(700)).await;
        bob.send(&Shape::of(raw::PING).write(b"")).await;
        loop {
            if next(&mut bob, &mut bytes).await.opcode == raw::PONG {
                break;
            }
        }
        let text = String::from_utf8(bytes).unwrap().replace(user, "USER");
        without_secrets(&text)
    };
    let hidden = received("hide", true).await;
    let offline = received("gone", false).await;
    assert_eq!(hidden, offline);
    assert!(hidden.contains(r#""t":"x""#), "{hidden}");
}

/// Digits of times and resume tokens, which differ from run to run, by their number.
fn without_secrets(text: &str) -> String {
    let mut parts = text.split(r#""resume":""#);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str(&format!("[{} of a token]", 32));
        clean.push_str(&part[32..]);
    }
    clean
        .chars()
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .collect()
}

#[tokio::test]
async fn an_invisible_user_leaves_their_rooms_for_others_and_comes_back() {
    let relay = quick();
    let path = "/parties/presence/presence-hide";
    let (mut ann, _) = Window::open(&relay, &member("ann")).await;
    let mut there = Talker::open(relay.address, path, &member("ann")).await;
    assert_eq!(there.hear().await["t"], Value::Null);
    let mut bob = Talker::open(relay.address, path, &member("bob")).await;
    assert_eq!(bob.hear().await["users"].as_array().unwrap().len(), 1);
    ann.says(json!({"s": "Invisible"})).await;
    assert_eq!(
        bob.hear().await,
        json!({"type": "user_left", "userId": "ann"})
    );
    // Nor does anybody see her come into another, or find her anywhere.
    let another = "/parties/presence/presence-else";
    let mut inside = Talker::open(relay.address, another, &member("ann")).await;
    inside.hear().await;
    let mut cid = Talker::open(relay.address, another, &member("cid")).await;
    assert_eq!(cid.hear().await["users"], json!([]));
    let service = tokens::service();
    let of_ann = http::get_json(relay.address, "/v1/users/ann/presence", &service).await;
    assert_eq!(of_ann["rooms"], json!([]));
    let all = http::get_json(relay.address, "/v1/presence?under=workspace", &service).await;
    assert_eq!(all["totalActiveUsers"], 2, "{all}");

    ann.says(json!({"s": "Online"})).await;
    assert_eq!(cid.hear().await["userId"], "ann");
    let back = bob.hear().await;
    assert_eq!(
        (&back["type"], &back["userId"]),
        (&json!("user_joined"), &json!("ann"))
    );
}

#[tokio::test]
async fn last_seen_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Relay::options().data(folder.path()).start();
    let (drained, killed, left);
    {
        let mut relay = start();
        let (mut gone, _) = Window::open(&relay, &member("gone")).await;
        gone.talker.say(json!({"t": "logout"})).await;
        gone.talker.last_words().await;
        left = millis();
        let (mut here, _) = Window::open(&relay, &member("here")).await;
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        relay.terminate();
        let (_, ended) = here.talker.last_words().await;
        assert_eq!(ended, Ended::Closed(1012, "DRAINING".to_owned()));
        assert!(relay.exited().await.success());
        drained = millis();
    }
    let all = follower("bob", &["gone", "here", "never", "crash"]);
    let seen = |users: &Value, user: &str| {
        let found = users.as_array().unwrap().iter();
        let found = found.clone().find(|one| one["username"] == user).unwrap();
        assert_eq!(found["s"], "Offline");
        found["ts"].as_u64()
    };
    {
        let mut relay = start();
        let (_, users) = Window::open(&relay, &all).await;
        assert_eq!(seen(&users, "never"), None);
        let (gone, here) = (seen(&users, "gone").unwrap(), seen(&users, "here").unwrap());
        assert!(gone <= left + 1_000, "{gone} {left}");
        // Whoever is there when the relay ends was seen until then.
        assert!(gone + 1_000 <= here && here <= drained + 1_000, "{here}");
        let (_crash, _) = Window::open(&relay, &member("crash")).await;
        // The writer has it soon; there is no message to wait for.
        tokio::time::sleep(Duration::from_millis(500)).await;
        killed = millis();
        relay.kill();
    }
    let relay = start();
    let (_, users) = Window::open(&relay, &all).await;
    let crash = seen(&users, "crash").expect("at least when they came");
    assert!(killed - 3_000 < crash && crash <= killed + 1_000, "{crash}");
}

#[tokio::test]
async fn a_back_end_writes_whom_somebody_follows_and_the_user_reads_it() {
    let relay = quick();
    let (mut ann, _) = Window::open(&relay, &member("ann")).await;
    let (mut bob, users) = Window::open(&relay, &follower("bob", &["zoe"])).await;
    assert_eq!(
        users,
        json!([{"username": "zoe", "s": "Offline", "ts": null}])
    );
    let service = tokens::service();
    let write = async |method: &str, path: &str, body: &[u8]| {
        let path = format!("/v1/users/{path}");
        http::ask(relay.address, method, &path, Some(&service), body).await
    };
    let read = async |user: &str| {
        let path = format!("/v1/users/{user}/follows");
        let list = http::get_json(relay.address, &path, &service).await;
        let own = http::get_json(relay.address, &path, &member(user)).await;
        assert_eq!(list, own);
        list["follows"].clone()
    };
    assert_eq!(read("bob").await, json!([]));
    assert_eq!(write("PUT", "bob/follows/ann", b"").await.status, 204);
    assert_eq!(bob.hears().await, online("ann", "Idle"));
    // Again changes nothing; a claim is not in the list, and what is claimed is not told twice.
    assert_eq!(write("PUT", "bob/follows/ann", b"").await.status, 204);
    assert_eq!(write("PUT", "bob/follows/zoe", b"").await.status, 204);
    assert_eq!(read("bob").await, json!(["ann", "zoe"]));
    assert_eq!(write("PUT", "bob/follows/a%2Fb", b"").await.status, 204);
    assert_eq!(
        bob.hears().await,
        json!({"t": "x", "id": "a/b", "ts": null})
    );
    ann.says(json!({"a": "Coding"})).await;
    assert_eq!(bob.hears().await["t"], "u");

    // Whom they follow no longer is silent; who is claimed too is not.
    let list = br#"{"follows":["cid","cid"]}"#;
    assert_eq!(write("PUT", "bob/follows", list).await.status, 204);
    assert_eq!(
        bob.hears().await,
        json!({"t": "x", "id": "cid", "ts": null})
    );
    ann.says(json!({"a": "Debugging"})).await;
    let (_zoe, _) = Window::open(&relay, &member("zoe")).await;
    assert_eq!(bob.hears().await, online("zoe", "Idle"));
    assert_eq!(write("DELETE", "bob/follows/cid", b"").await.status, 204);
    assert_eq!(write("DELETE", "bob/follows/cid", b"").await.status, 204);
    assert_eq!(read("bob").await, json!([]));
    bob.hears_nothing().await;
    // A login finds both.
    assert_eq!(write("PUT", "bob/follows/ann", b"").await.status, 204);
    let (_, users) = Window::open(&relay, &follower("bob", &["zoe", "ann"])).await;
    let names: Vec<_> = users.as_array().unwrap().iter().collect();
    let names: Vec<_> = names.iter().map(|user| &user["username"]).collect();
    assert_eq!(names, ["ann", "zoe"]);

    // Nobody else.
    let denied = async |method: &str, path: &str, token: &str, body: &[u8]| {
        let path = format!("/v1/users/{path}");
        let answer = http::ask(relay.address, method, &path, Some(token), body).await;
        answer.problem()
    };
    let forbidden = (403, "FORBIDDEN".to_owned());
    let (bobs, eves) = (member("bob"), member("eve"));
    assert_eq!(denied("GET", "bob/follows", &eves, b"").await, forbidden);
    assert_eq!(denied("PUT", "bob/follows", &bobs, list).await, forbidden);
    for method in ["PUT", "DELETE"] {
        let denied = denied(method, "bob/follows/ann", &bobs, b"").await;
        assert_eq!(denied, forbidden);
    }
    let unauthorized = (401, "UNAUTHORIZED".to_owned());
    assert_eq!(denied("GET", "bob/follows", "x", b"").await, unauthorized);
    let bad = (400, "BAD_REQUEST".to_owned());
    for body in [
        &b"{}"[..],
        b"[]",
        br#"{"follows":[""]}"#,
        br#"{"follows":[5]}"#,
    ] {
        assert_eq!(denied("PUT", "bob/follows", &service, body).await, bad);
    }
    let long = "x".repeat(1_025);
    let path = format!("bob/follows/{long}");
    assert_eq!(denied("PUT", &path, &service, b"").await, bad);
    let many: Vec<_> = (0..10_001).map(|number| number.to_string()).collect();
    let many = json!({"follows": many}).to_string();
    let too_large = (413, "TOO_LARGE".to_owned());
    let denied = denied("PUT", "bob/follows", &service, many.as_bytes()).await;
    assert_eq!(denied, too_large);
    assert_eq!(read("bob").await, json!(["ann"]));
}

#[tokio::test]
async fn nobody_is_let_in_without_a_token() {
    let relay = Relay::options().idle().start();
    let path = format!("{PATH}?token=");
    let refused = async |query: &str, login: Value| {
        let mut talker = Talker::open(relay.address, PATH, query).await;
        talker.say(login).await;
        talker.last_words().await.1
    };
    let unauthorized = Ended::Closed(4401, "UNAUTHORIZED".to_owned());
    let expired = Claims::of("ann").expires_in(-5).sign();
    assert_eq!(refused("", json!({"t": "login"})).await, unauthorized);
    let forged = Claims::of("ann").unsigned();
    assert_eq!(
        refused("", json!({"t": "login", "token": forged})).await,
        unauthorized
    );
    assert_eq!(refused(&forged, json!({"t": "login"})).await, unauthorized);
    assert_eq!(
        refused("", json!({"t": "login", "token": expired})).await,
        Ended::Closed(4401, "TOKEN_EXPIRED".to_owned())
    );
    // Ten seconds are enough to log in.
    let mut silent = RawSocket::open(relay.address, &path).await;
    let ended = silent.ended_after(Duration::from_secs(10)).await;
    assert_eq!(ended, unauthorized);
    // In the login or in the address, the login's first.
    let mut talker = Talker::open(relay.address, PATH, "").await;
    talker
        .say(json!({"t": "login", "token": follower("ann", &["cid"])}))
        .await;
    assert_eq!(talker.hear().await["t"], "hello");
    assert_eq!(talker.hear().await["users"][0]["username"], "cid");
    let mut talker = Talker::open(relay.address, PATH, &member("bob")).await;
    talker
        .say(json!({"t": "login", "token": follower("ann", &["cid"])}))
        .await;
    assert_eq!(talker.hear().await["t"], "hello");
    assert_eq!(talker.hear().await["users"][0]["username"], "cid");
}

#[tokio::test]
async fn bad_messages_are_answered_and_twenty_are_too_many() {
    let relay = quick();
    let (mut bob, _) = Window::open(&relay, &follower("bob", &["ann"])).await;
    let mut ann = Talker::open(relay.address, PATH, &member("ann")).await;
    let code = |text: Value| {
        assert_eq!(text["t"], "error", "{text}");
        assert!(text["message"].is_string(), "{text}");
        text["code"].as_str().unwrap().to_owned()
    };
    // Nothing is done before a login.
    let early = [
        json!({"t": "statusUpdate", "a": "Coding"}),
        json!({"t": "logout"}),
        json!({"t": "auth", "token": member("ann")}),
        json!({"t": "login", "token": 5}),
    ];
    for message in early {
        ann.say(message).await;
        assert_eq!(code(ann.hear().await), "BAD_MESSAGE");
    }
    // What comes right behind a login waits for it, and counts as in it.
    ann.say(json!({"t": "login"})).await;
    ann.say(json!({"t": "statusUpdate", "a": "Coding"})).await;
    ann.say(json!({"t": "login"})).await;
    assert_eq!(ann.hear().await["t"], "hello");
    assert_eq!(ann.hear().await["t"], "sync");
    assert_eq!(code(ann.hear().await), "BAD_MESSAGE");
    assert_eq!(bob.hears().await, online("ann", "Coding"));
    let long = json!({"t": "statusUpdate", "a": "Idle", "p": "x".repeat(257)}).to_string();
    let bad = [
        "nonsense",
        "{}",
        r#"{"t":"statusUpdate","a":"Idle","s":"Offline"}"#,
        r#"{"t":"statusUpdate","a":"Idle","l":5}"#,
        r#"{"type":"statusUpdate","a":"Idle"}"#,
        &long,
    ];
    for text in bad {
        ann.say_text(text).await;
        assert_eq!(code(ann.hear().await), "BAD_MESSAGE");
    }
    ann.say_binary(b"{}").await;
    assert_eq!(code(ann.hear().await), "BAD_MESSAGE");
    // Nothing of them was applied.
    ann.say(json!({"t": "statusUpdate", "p": "x".repeat(256), "more": [1]}))
        .await;
    let changed = bob.hears().await;
    assert_eq!(changed["p"].as_str().map(str::len), Some(256));
    assert_eq!(changed["a"], Value::Null);
    for _ in 12..19 {
        ann.say_text("?").await;
        assert_eq!(code(ann.hear().await), "BAD_MESSAGE");
    }
    ann.say_text("?").await;
    let (_, ended) = ann.last_words().await;
    assert_eq!(ended, Ended::Closed(1008, "RATE_LIMITED".to_owned()));
}

#[tokio::test]
async fn a_token_is_renewed_ends_and_is_revoked() {
    let relay = quick();
    let (mut bob, _) = Window::open(&relay, &follower("bob", &["ann"])).await;
    let short = Claims::of("ann").expires_in(4).sign();
    let (mut ann, _) = Window::open(&relay, &short).await;
    assert_eq!(bob.hears().await["t"], "o");
    let resume = ann.resume.clone();
    let code = |text: Value| {
        assert_eq!(text["t"], "error", "{text}");
        text["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(code(ann.hears().await), "TOKEN_REFRESH_REQUIRED");
    ann.talker
        .say(json!({"t": "auth", "token": member("eve")}))
        .await;
    assert_eq!(code(ann.hears().await), "BAD_TOKEN");
    let exp = unix_seconds() + 6;
    let longer = Claims::of("ann").with("exp", exp.into()).sign();
    ann.talker.say(json!({"t": "auth", "token": longer})).await;
    assert_eq!(ann.hears().await, json!({"t": "auth:ok", "exp": exp}));
    let (said, ended) = ann.talker.last_words().await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(ended, Ended::Closed(4401, "TOKEN_EXPIRED".to_owned()));
    // Whoever comes back with a new token has not been away.
    let (mut ann, is_resumed) = Window::login(&relay, &member("ann"), Some(&resume)).await;
    assert!(is_resumed);
    ann.says(json!({"a": "Coding"})).await;
    assert_eq!(bob.hears().await["t"], "u");

    let old = Claims::of("bob").with("iat", (unix_seconds() - 9).into());
    let (mut old_bob, _) = Window::open(&relay, &old.sign()).await;
    let room_only = br#"{"userId":"bob","room":"session/1"}"#;
    let everywhere = br#"{"userId":"bob"}"#;
    let revoke = async |body: &[u8]| {
        let service = tokens::service();
        let path = "/v1/revocations";
        http::ask(relay.address, "POST", path, Some(&service), body).await
    };
    assert_eq!(revoke(room_only).await.status, 204);
    old_bob.hears_nothing().await;
    assert_eq!(revoke(everywhere).await.status, 204);
    let revoked = Ended::Closed(4401, "REVOKED".to_owned());
    assert_eq!(old_bob.talker.last_words().await.1, revoked);
    let mut again = Talker::open(relay.address, PATH, "").await;
    again.say(json!({"t": "login", "token": old.sign()})).await;
    assert_eq!(again.last_words().await.1, revoked);
}

#[tokio::test]
async fn a_window_is_one_of_its_users_connections_and_no_participant() {
    let relay = quick();
    let (_ann, _) = Window::open(&relay, &member("ann")).await;
    let presence = "/v1/users/ann/presence";
    let rooms = http::get_json(relay.address, presence, &tokens::service()).await;
    assert_eq!(rooms["rooms"], json!([]));
    let client = Client::join(&relay, Provider::YWebsocket, "workspace/w", &member("ann")).await;
    polled("ann in her room", || async {
        let rooms = http::get_json(relay.address, presence, &tokens::service()).await;
        (rooms["rooms"].as_array()?.len() == 1).then_some(())
    })
    .await;
    drop(client);
}

#[tokio::test]
async fn a_flood_is_dropped_with_a_word_and_ended() {
    let relay = Relay::options().argument("--rate").argument("20").start();
    let (mut ann, _) = Window::open(&relay, &member("ann")).await;
    for _ in 0..60 {
        ann.says(json!({})).await;
    }
    let text = ann.hears().await;
    assert_eq!(text["code"], "RATE_LIMITED", "{text}");
    let ended = within(Duration::from_secs(20), "the end of patience", async {
        loop {
            ann.says(json!({})).await;
            tokio::select! {
                said = ann.talker.next() => if let Said::Ended(ended) = said { break ended },
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    })
    .await;
    assert_eq!(ended, Ended::Closed(1008, "RATE_LIMITED".to_owned()));
}

/// Who takes nothing is let go before much waits for them, and delays nobody; when they come back
/// they are told how it is.
#[tokio::test]
async fn a_follower_who_does_not_read_is_let_go_and_may_resume() {
    let relay = Relay::options()
        .config("[kind.feed]\ngather_ms = 0\n")
        .argument("--rate")
        .argument("4000")
        .alone()
        .start();
    let token = follower("bob", &["ann", "zoe"]);
    let path = format!("{PATH}?token={token}");
    let mut stuck = RawSocket::open_narrow(relay.address, &path).await;
    stuck
        .send(&Shape::of(raw::TEXT).write(br#"{"t":"login"}"#))
        .await;
    let hello = within(PATIENCE, "a hello", stuck.next()).await.unwrap();
    let hello: Value = serde_json::from_slice(&hello.payload).unwrap();
    let (mut reader, _) = Window::open(&relay, &follower("cid", &["ann"])).await;
    let (mut ann, _) = Window::open(&relay, &member("ann")).await;
    assert_eq!(reader.hears().await["t"], "o");
    let closed = async || {
        let text = http::get(relay.address, "/metrics", "").await.body;
        let line = "copresence_closes_total{reason=\"SLOW\"} 1";
        String::from_utf8(text).unwrap().contains(line)
    };
    let mut last = String::new();
    for round in 0.. {
        for number in 0..500 {
            last = format!("{round}-{number}-{}", "x".repeat(200));
            ann.says(json!({"a": last, "p": last, "l": last})).await;
            let heard = reader.hears().await;
            assert_eq!(heard["a"], last, "{heard}");
        }
        if closed().await {
            break;
        }
        assert!(round < 40, "nobody let go of who reads nothing");
    }
    let resume = hello["resume"].as_str();
    let (mut bob, is_resumed) = Window::login(&relay, &token, resume).await;
    assert!(is_resumed);
    let ann = bob.hears().await;
    assert_eq!((&ann["t"], &ann["a"]), (&json!("o"), &json!(last)));
    assert_eq!(
        bob.hears().await,
        json!({"t": "x", "id": "zoe", "ts": null})
    );
}
