//! Presence leaks to nobody: whatever a caller asks, they learn no name, no count and no room that
//! they may not read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::client::{Client, Provider};
use crate::support::http::{self, Answer, Events};
use crate::support::random::Random;
use crate::support::relay::Relay;
use crate::support::time::polled;
use crate::support::tokens::{self, Claims};

const ROOMS: [&str; 10] = [
    "session/1",
    "session/12",
    "session/1/notes",
    "event/expo",
    "event/expo/a",
    "event/expo/a/backstage",
    "event/expo/b",
    "event/expos",
    "workspace/w",
    "acme.plan",
];
const PATTERNS: [&str; 12] = [
    "session/1",
    "session/1*",
    "session/*",
    "event/expo",
    "event/expo/a",
    "event/expo/a*",
    "event/expo/*",
    "event/*",
    "e*",
    "workspace/w",
    "acme.*",
    "nothing/*",
];
const PREFIXES: [&str; 6] = [
    "session",
    "session/1",
    "event",
    "event/expo",
    "event/expo/a",
    "workspace",
];
const USERS: [&str; 6] = ["ann", "ben", "cid", "dan", "eve", "fay"];

/// Everybody may read it, and it is entered last: who sees it has seen what came before.
fn marker(prefix: &str) -> String {
    format!("{prefix}/the-end")
}

/// Who may read what, and the token that says so.
struct Caller {
    token: String,
    rooms: Vec<&'static str>,
    allowed: Vec<&'static str>,
    readonly: Vec<&'static str>,
}

impl Caller {
    fn draw(random: &mut Random, name: &str) -> Self {
        let mut some = |most: usize| -> Vec<&'static str> {
            (0..random.below(most + 1))
                .map(|_| *random.pick(&PATTERNS))
                .collect()
        };
        let (rooms, allowed, readonly) = (some(3), some(1), some(1));
        let mut claims = Claims::of(name);
        for pattern in &rooms {
            claims = claims.reads(pattern);
        }
        for prefix in PREFIXES {
            claims = claims.reads(&marker(prefix));
        }
        let token = claims
            .with("allowedDocumentNames", json!(allowed))
            .with("readonlyDocumentNames", json!(readonly))
            .sign();
        Self {
            token,
            rooms,
            allowed,
            readonly,
        }
    }

    fn may_read(&self, room: &str) -> bool {
        let mut patterns = [&self.rooms, &self.allowed, &self.readonly]
            .into_iter()
            .flatten();
        let is_marker = PREFIXES.iter().any(|prefix| marker(prefix) == room);
        is_marker || patterns.any(|pattern| matches(pattern, room))
    }
}

fn matches(pattern: &str, room: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => room.starts_with(prefix),
        None => pattern == room,
    }
}

/// Who is where.
#[derive(Default)]
struct World {
    stays: BTreeMap<(&'static str, String), Stay>,
    /// How many tabs there have been: each is a session of its own.
    tabs: usize,
}

/// How somebody is there.
enum Stay {
    Socket(Box<Client>),
    /// Without one, with what ends it.
    Heartbeats(String),
}

impl World {
    async fn enter(&mut self, relay: &Relay, user: &'static str, room: &str) {
        let place = (user, room.to_owned());
        if self.stays.contains_key(&place) {
            return;
        }
        let token = tokens::member(user);
        let number = self.stays.len() % 4;
        let stay = match Provider::ALL.get(number) {
            Some(&provider) => {
                let client = Client::show_up(relay, provider, room, &token, user).await;
                Stay::Socket(Box::new(client))
            }
            None => {
                self.tabs += 1;
                let tab = format!("tab-{}", self.tabs);
                let body = json!({"room": room, "sessionId": tab, "interval": 600_000});
                let answer = post(relay, "heartbeat", Some(&token), &body).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                Stay::Heartbeats(answer.json()["sessionToken"].as_str().unwrap().to_owned())
            }
        };
        self.stays.insert(place, stay);
    }

    async fn leave(&mut self, relay: &Relay, random: &mut Random) {
        let places: Vec<_> = self.stays.keys().cloned().collect();
        match self.stays.remove(random.pick(&places)).unwrap() {
            Stay::Socket(mut client) if random.one_in(2) => client.close().await,
            Stay::Socket(mut client) => client.hang_up().await,
            Stay::Heartbeats(session_token) => {
                let body = json!({"sessionToken": session_token});
                assert_eq!(post(relay, "leave", None, &body).await.status, 204);
            }
        }
    }

    fn users_of(&self, room: &str) -> BTreeSet<&str> {
        let there = self.stays.keys().filter(|(_, other)| other == room);
        there.map(|(user, _)| *user).collect()
    }

    fn rooms_of(&self, user: &str) -> BTreeSet<&str> {
        let visits = self.stays.keys().filter(|(other, _)| *other == user);
        visits.map(|(_, room)| room.as_str()).collect()
    }

    /// Rooms at and below a prefix, with who is in them, as far as somebody may read.
    fn under(&self, prefix: &str, caller: &Caller) -> BTreeMap<&str, BTreeSet<&str>> {
        let below = format!("{prefix}/");
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (user, room) in self.stays.keys() {
            if (room == prefix || room.starts_with(&below)) && caller.may_read(room) {
                found.entry(room).or_default().insert(user);
            }
        }
        found
    }

    /// Waits until the relay has noticed everything.
    async fn until_known(&self, relay: &Relay) {
        for user in USERS {
            let path = format!("/v1/users/{user}/presence");
            polled("the relay to know who is where", || async {
                let list = http::get_json(relay.address, &path, &tokens::service()).await;
                let rooms = list["rooms"].as_array().unwrap();
                let rooms: BTreeSet<_> = rooms
                    .iter()
                    .map(|entry| entry["room"].as_str().unwrap())
                    .collect();
                (rooms == self.rooms_of(user)).then_some(())
            })
            .await;
        }
    }
}

async fn post(relay: &Relay, word: &str, token: Option<&str>, body: &Value) -> Answer {
    let path = format!("/v1/presence/{word}");
    http::ask(
        relay.address,
        "POST",
        &path,
        token,
        body.to_string().as_bytes(),
    )
    .await
}

fn names<'a>(list: &'a Value, key: &str) -> BTreeSet<&'a str> {
    let entries = list.as_array().expect("a list");
    let names: BTreeSet<_> = entries
        .iter()
        .map(|entry| entry[key].as_str().unwrap())
        .collect();
    assert_eq!(
        names.len(),
        entries.len(),
        "somebody is there twice: {list}"
    );
    names
}

/// Asks everything there is to ask; the answers are exactly the caller's part of the world.
async fn check_lists(relay: &Relay, world: &World, caller: &Caller) {
    let get = |path: String| async move { http::get(relay.address, &path, &caller.token).await };
    for room in ROOMS {
        let answer = get(format!("/v1/rooms/{room}/presence")).await;
        if !caller.may_read(room) {
            // Not by a byte different from a room that never was.
            let nowhere = get("/v1/rooms/no/such/room/presence".to_owned()).await;
            assert_eq!(answer.problem(), (403, "FORBIDDEN".to_owned()));
            assert_eq!(answer.body, nowhere.body);
            for ending in ["presence/stream", "document"] {
                let refused = get(format!("/v1/rooms/{room}/{ending}")).await;
                assert_eq!(refused.body, nowhere.body);
            }
            continue;
        }
        let mut list = answer.json()["participants"].clone();
        list.as_array_mut()
            .unwrap()
            .retain(|one| one["isConnected"] == true);
        assert_eq!(names(&list, "userId"), world.users_of(room), "{room}");
    }
    for user in USERS {
        let list = get(format!("/v1/users/{user}/presence")).await.json();
        let mut rooms = world.rooms_of(user);
        rooms.retain(|room| caller.may_read(room));
        assert_eq!(names(&list["rooms"], "room"), rooms, "{user}");
    }
    for prefix in PREFIXES {
        let list = get(format!("/v1/presence?under={prefix}")).await.json();
        check_under(&list, &world.under(prefix, caller));
    }
}

fn check_under(list: &Value, expected: &BTreeMap<&str, BTreeSet<&str>>) {
    let rooms: BTreeSet<_> = expected.keys().copied().collect();
    assert_eq!(names(&list["rooms"], "room"), rooms, "{list}");
    for entry in list["rooms"].as_array().unwrap() {
        let room = entry["room"].as_str().unwrap();
        assert_eq!(names(&entry["activeUsers"], "userId"), expected[room]);
        assert_eq!(entry["activeCount"], expected[room].len());
    }
    let distinct: BTreeSet<_> = expected.values().flatten().collect();
    assert_eq!(list["totalActiveUsers"], distinct.len());
}

/// A stream of a caller, and what they have made of it.
struct Watched {
    events: Events,
    about: About,
    /// Room to users: of a user's stream that user alone.
    seen: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug)]
enum About {
    Prefix(&'static str),
    User(&'static str),
}

impl Watched {
    async fn open(relay: &Relay, caller: &Caller, about: About) -> Self {
        let path = match about {
            About::Prefix(prefix) => format!("/v1/presence/stream?under={prefix}"),
            About::User(user) => format!("/v1/users/{user}/presence/stream"),
        };
        let mut events = Events::open(relay.address, &path, &caller.token).await;
        let (kind, list) = events.next().await.unwrap();
        assert_eq!(kind, "snapshot");
        let mut watched = Self {
            events,
            about,
            seen: BTreeMap::new(),
        };
        for entry in list["rooms"].as_array().unwrap() {
            watched.note(caller, entry);
        }
        watched
    }

    /// Reads until the end that everybody may see. Nothing on the way is of another's.
    async fn read_to_the_end(&mut self, caller: &Caller) {
        let end = match self.about {
            About::Prefix(prefix) => marker(prefix),
            About::User(_) => marker("event"),
        };
        loop {
            let (kind, entry) = self.events.next().await.expect("the stream goes on");
            assert_eq!(kind, "changed");
            let is_end = entry["room"] == end.as_str();
            self.note(caller, &entry);
            if is_end {
                return;
            }
        }
    }

    fn note(&mut self, caller: &Caller, entry: &Value) {
        let room = entry["room"].as_str().unwrap();
        assert!(caller.may_read(room), "{room} was shown: {entry}");
        let users: BTreeSet<String> = match self.about {
            About::Prefix(prefix) => {
                assert!(room == prefix || room.starts_with(&format!("{prefix}/")));
                let users = names(&entry["activeUsers"], "userId");
                assert_eq!(entry["activeCount"], users.len());
                users.into_iter().map(str::to_owned).collect()
            }
            About::User(user) => {
                assert_eq!(entry["userId"], user);
                let is_there = entry["isConnected"] == true;
                is_there.then(|| user.to_owned()).into_iter().collect()
            }
        };
        match users.is_empty() {
            true => assert!(
                self.seen.remove(room).is_some(),
                "{room} became empty, and never was anything else"
            ),
            false => {
                self.seen.insert(room.to_owned(), users);
            }
        }
    }

    fn check(&self, world: &World, caller: &Caller) {
        let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (room, users) in &self.seen {
            seen.insert(room, users.iter().map(String::as_str).collect());
        }
        let expected = match self.about {
            About::Prefix(prefix) => world.under(prefix, caller),
            About::User(user) => {
                let rooms = world.rooms_of(user).into_iter();
                let rooms = rooms.filter(|room| caller.may_read(room));
                rooms.map(|room| (room, BTreeSet::from([user]))).collect()
            }
        };
        assert_eq!(seen, expected, "{:?}", self.about);
    }
}

async fn tell_a_story(seed: u64) {
    println!("seed {seed}");
    let mut random = Random::new(seed);
    // Who was lost lingers, but not for long.
    let relay = Relay::options()
        .config("[kind.event]\nlinger_lost_ms = 100\n")
        .start();
    let mut world = World::default();
    for _ in 0..15 {
        let (user, room) = (*random.pick(&USERS), *random.pick(&ROOMS));
        world.enter(&relay, user, room).await;
    }
    world.until_known(&relay).await;
    let callers: Vec<_> = (0..8)
        .map(|number| Caller::draw(&mut random, &format!("caller-{number}")))
        .collect();
    let mut streams = Vec::new();
    for caller in &callers {
        check_lists(&relay, &world, caller).await;
        let abouts = PREFIXES
            .map(About::Prefix)
            .into_iter()
            .chain(USERS.map(About::User));
        for about in abouts {
            let watched = Watched::open(&relay, caller, about).await;
            watched.check(&world, caller);
            streams.push((caller, watched));
        }
    }
    for _ in 0..25 {
        if random.one_in(2) && !world.stays.is_empty() {
            world.leave(&relay, &mut random).await;
        } else {
            let (user, room) = (*random.pick(&USERS), *random.pick(&ROOMS));
            world.enter(&relay, user, room).await;
        }
    }
    world.until_known(&relay).await;
    for caller in &callers {
        check_lists(&relay, &world, caller).await;
    }
    for prefix in PREFIXES {
        for user in USERS {
            world.enter(&relay, user, &marker(prefix)).await;
        }
    }
    world.until_known(&relay).await;
    for (caller, watched) in &mut streams {
        watched.read_to_the_end(caller).await;
        // The six at the end come one by one, and the ends of other prefixes among them.
        while let Some((_, entry)) = watched
            .events
            .next_within(std::time::Duration::from_millis(60))
            .await
        {
            watched.note(caller, &entry);
        }
        watched.check(&world, caller);
    }
}

#[tokio::test]
async fn presence_leaks_to_nobody() {
    tell_a_story(0x5eed_0001).await;
}

#[tokio::test]
async fn presence_leaks_to_nobody_in_another_world() {
    tell_a_story(0x5eed_0002).await;
}
