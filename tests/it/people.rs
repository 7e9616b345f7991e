//! What every store promises about people: presences of boards, who was last seen where, and who
//! follows whom. Shown on each of them, as in `store`.

use std::collections::BTreeSet;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use copresence::clock::Timestamp;
use copresence::limits::{
    FOLLOWS_MAX, OFFLINE_PARTICIPANTS_MAX, PRESENCES_KEPT_FOR, PRESENCES_REMOVED_MAX,
    STORED_ID_BYTES_MAX,
};
use copresence::model::{Color, UserId};
use copresence::store::{
    Departed, FollowsChange, FollowsError, MemoryStore, People, PresenceRow, Record,
    RecordedStatus, SqliteStore, Store, StoreError, TIME_MAX,
};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::store::{append, assert_stored, room};
use crate::support::random::Random;

type Promise = (&'static str, fn(&dyn Store));

const PROMISES: [Promise; 16] = [
    ("of nobody nothing is known", nobody),
    ("a presence is as it was written last", presences),
    ("writing again changes nothing", again),
    ("who was seen last is listed first", order_of_departed),
    ("nobody is seen earlier than they were", no_step_back),
    ("a room remembers those seen last", trimming),
    ("the feed remembers when it saw somebody last", feed),
    ("a list of follows is what was made of it", follows),
    ("a list of follows ends somewhere", long_lists),
    ("ids are told apart and listed by their bytes", ids),
    ("ids that cannot be stored are nobody's", unstorable),
    ("times end with the year 9999", end_of_time),
    ("what a crash left open is ended", crash),
    ("presences that ended long ago go", old_presences),
    ("a batch is all or nothing for its readers", whole_batches),
    ("any history ends as it does in memory", histories),
];

/// Shows every promise on a store of its own.
pub fn conforms(open: impl Fn() -> Box<dyn Store>) {
    for (name, promise) in PROMISES {
        println!("{name}");
        let store = open();
        promise(&*store);
        assert_eq!(store.complaints().unwrap(), [""; 0]);
    }
}

#[test]
fn the_store_in_memory_remembers_people() {
    conforms(|| Box::new(MemoryStore::new()));
}

#[test]
fn the_embedded_store_remembers_people() {
    let folder = TempDir::new().unwrap();
    let count = AtomicUsize::new(0);
    conforms(|| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let path = folder.path().join(format!("{number}/copresence.db"));
        Box::new(SqliteStore::open(&path).unwrap())
    });
}

fn nobody(store: &dyn Store) {
    store.record(&[]).unwrap();
    assert_eq!(store.presences("1").unwrap(), []);
    assert_eq!(store.end_open_presences(TIME_MAX).unwrap(), 0);
    assert_eq!(store.departed(&room("event/1"), 10).unwrap(), []);
    assert_eq!(store.rooms_departed(None, 10).unwrap(), []);
    assert_eq!(store.feed_seen(&[user("ann")]).unwrap(), []);
    assert_eq!(store.feed_seen(&[]).unwrap(), []);
    assert_eq!(store.feed_users(None, 10).unwrap(), []);
    assert_eq!(store.follows(&user("ann")).unwrap(), []);
    assert_eq!(store.followers(None, 10).unwrap(), []);
}

fn presences(store: &dyn Store) {
    let ann = session("1", "a", "ann", 10);
    let bob = PresenceRow {
        status: RecordedStatus::Idle,
        cursor: Some((-1.5, 1e300)),
        ..session("1", "b", "bob", 5)
    };
    let elsewhere = session("2", "a", "cyd", 7);
    store
        .record(&[presence(&ann), presence(&bob), presence(&elsewhere)])
        .unwrap();
    assert_eq!(store.presences("1").unwrap(), [bob.clone(), ann.clone()]);
    assert_eq!(store.presences("2").unwrap(), [elsewhere]);

    let ann = PresenceRow {
        status: RecordedStatus::Away,
        cursor: Some((0.0, 0.1)),
        last_heartbeat_at: at(40),
        ..ann
    };
    let gone = PresenceRow {
        cursor: None,
        disconnected_at: Some(at(41)),
        ..bob.clone()
    };
    // In order: the last word on a session counts.
    store
        .record(&[
            presence(&gone),
            presence(&ann),
            presence(&bob),
            presence(&gone),
        ])
        .unwrap();
    assert_eq!(store.presences("1").unwrap(), [gone, ann]);
}

fn again(store: &dyn Store) {
    let ended = PresenceRow {
        disconnected_at: Some(at(9)),
        ..session("1", "a", "ann", 1)
    };
    let batch = [
        presence(&session("1", "a", "ann", 1)),
        presence(&ended),
        left("event/1", "ann", 5),
        left("event/1", "bob", 6),
        left("event/1", "ann", 7),
        feed_seen("ann", 8),
    ];
    for _ in 0..3 {
        store.record(&batch).unwrap();
        assert_eq!(store.presences("1").unwrap(), slice::from_ref(&ended));
        assert_eq!(seen(store, "event/1"), "ann 7, bob 6");
        assert_eq!(
            store.feed_seen(&[user("ann")]).unwrap(),
            [(user("ann"), at(8))]
        );
    }
}

fn order_of_departed(store: &dyn Store) {
    let names = ["b", "ä", "a", "B", "日", "🦀"];
    let batch: Vec<_> = names.map(|name| left("event/1", name, 5)).into();
    store.record(&batch).unwrap();
    store
        .record(&[
            left("event/1", "late", 9),
            left("event/1", "early", 1),
            left("event/2", "else", 7),
        ])
        .unwrap();
    let all = "late 9, B 5, a 5, b 5, ä 5, 日 5, 🦀 5, early 1";
    assert_eq!(seen(store, "event/1"), all);
    assert_eq!(seen(store, "event/2"), "else 7");
    assert_eq!(seen(store, "event"), "");
    let first = store.departed(&room("event/1"), 2).unwrap();
    assert_eq!(first, [person("late", 9), person("B", 5)]);
    assert_eq!(store.departed(&room("event/1"), 0).unwrap(), []);
    let rooms = [room("event/1"), room("event/2")];
    assert_eq!(store.rooms_departed(None, 9).unwrap(), rooms);
    assert_eq!(store.rooms_departed(None, 1).unwrap(), rooms[..1]);
    assert_eq!(
        store.rooms_departed(Some(&rooms[0]), 9).unwrap(),
        rooms[1..]
    );
}

fn no_step_back(store: &dyn Store) {
    let as_now = Departed {
        name: "Ann, PhD".into(),
        avatar: None,
        role: None,
        color: Color::parse("#000000").unwrap(),
        ..person("ann", 20)
    };
    let write = |person: &Departed| {
        let (room, person) = (room("event/1"), person.clone());
        store.record(&[Record::Departed { room, person }]).unwrap();
    };
    write(&person("ann", 10));
    write(&as_now);
    write(&person("ann", 19));
    assert_eq!(store.departed(&room("event/1"), 9).unwrap(), [as_now]);
    // Of the same moment the later word counts.
    write(&person("ann", 20));
    assert_eq!(
        store.departed(&room("event/1"), 9).unwrap(),
        [person("ann", 20)]
    );
    // Also within a batch.
    let batch = [
        left("event/1", "ann", 30),
        left("event/1", "ann", 25),
        feed_seen("ann", 8),
        feed_seen("ann", 6),
    ];
    store.record(&batch).unwrap();
    assert_eq!(seen(store, "event/1"), "ann 30");
    store.record(&[feed_seen("ann", 7)]).unwrap();
    let ann = user("ann");
    assert_eq!(
        store.feed_seen(slice::from_ref(&ann)).unwrap(),
        [(ann, at(8))]
    );
}

fn trimming(store: &dyn Store) {
    const MAX: usize = OFFLINE_PARTICIPANTS_MAX;
    let name = |number: usize| format!("{number:05}");
    let left_at = |number: usize| left("event/1", &name(number), number as u64);
    store.record(&[left("event/2", "ann", 1)]).unwrap();
    // Many at once, then one by one.
    let batch: Vec<_> = (0..MAX + 50).map(left_at).collect();
    store.record(&batch).unwrap();
    for number in MAX + 50..MAX + 60 {
        store.record(&[left_at(number)]).unwrap();
    }
    let expected: Vec<_> = (60..MAX + 60).rev().map(name).collect();
    let kept = || -> Vec<String> {
        let departed = store.departed(&room("event/1"), 2 * MAX).unwrap();
        departed.iter().map(|one| one.user.to_string()).collect()
    };
    assert!(kept() == expected, "others are kept");
    // Too early to be among them, in time or, of equals, in name.
    store
        .record(&[left("event/1", "early", 59), left("event/1", "late", 60)])
        .unwrap();
    assert!(kept() == expected, "others are kept");
    // Somebody known is nobody new.
    store.record(&[left("event/1", &name(60), 9_999)]).unwrap();
    assert_eq!(kept()[0], name(60));
    assert!(kept()[1..] == expected[..MAX - 1], "others are kept");
    assert_eq!(seen(store, "event/2"), "ann 1");
}

fn feed(store: &dyn Store) {
    store
        .record(&[
            feed_seen("bob", 2),
            feed_seen("ann", 1),
            feed_seen("zoë", 3),
        ])
        .unwrap();
    let asked = ["zoë", "nobody", "ann", "zoë"].map(user);
    assert_eq!(
        store.feed_seen(&asked).unwrap(),
        [(user("ann"), at(1)), (user("zoë"), at(3))]
    );
    let all = ["ann", "bob", "zoë"].map(user);
    assert_eq!(store.feed_users(None, 9).unwrap(), all);
    assert_eq!(store.feed_users(None, 2).unwrap(), all[..2]);
    assert_eq!(store.feed_users(Some(&user("b")), 9).unwrap(), all[1..]);
    // As many as one may follow.
    let many: Vec<_> = (0..FOLLOWS_MAX).map(|n| user(&n.to_string())).collect();
    assert_eq!(store.feed_seen(&many).unwrap(), []);
}

fn follows(store: &dyn Store) {
    let ann = user("ann");
    let change = |change| {
        for _ in 0..2 {
            store.change_follows(&ann, &change).unwrap();
        }
        let follows = store.follows(&ann).unwrap();
        let follows: Vec<_> = follows.iter().map(UserId::as_str).collect();
        follows.join(" ")
    };
    assert_eq!(change(FollowsChange::Remove(user("bob"))), "");
    assert_eq!(change(FollowsChange::Add(user("cyd"))), "cyd");
    assert_eq!(change(FollowsChange::Add(user("bob"))), "bob cyd");
    let all = ["zoë", "Bob", "ä", "bob", "zoë"].map(user).to_vec();
    assert_eq!(change(FollowsChange::Replace(all)), "Bob bob zoë ä");
    assert_eq!(change(FollowsChange::Remove(user("bob"))), "Bob zoë ä");
    assert_eq!(change(FollowsChange::Remove(user("bo"))), "Bob zoë ä");
    assert_eq!(change(FollowsChange::Remove(user("a\0b"))), "Bob zoë ä");

    let bob = user("bob");
    store
        .change_follows(&bob, &FollowsChange::Add(ann.clone()))
        .unwrap();
    assert_eq!(change(FollowsChange::Replace(Vec::new())), "");
    assert_eq!(store.follows(&bob).unwrap(), slice::from_ref(&ann));
    // An empty list is one.
    assert_eq!(
        store.followers(None, 9).unwrap(),
        [ann.clone(), bob.clone()]
    );
    assert_eq!(store.followers(None, 1).unwrap(), slice::from_ref(&ann));
    assert_eq!(store.followers(Some(&ann), 9).unwrap(), [bob]);
}

fn long_lists(store: &dyn Store) {
    let ann = user("ann");
    let name = |number| user(&format!("{number:05}"));
    let all: Vec<_> = (0..FOLLOWS_MAX).map(name).collect();
    let is_refused = |change| {
        let changed = store.change_follows(&ann, &change);
        assert!(
            matches!(changed, Ok(()) | Err(FollowsError::TooMany)),
            "{changed:?}"
        );
        changed.is_err()
    };
    let too_many = [&all[..], &[name(FOLLOWS_MAX)]].concat();
    assert!(is_refused(FollowsChange::Replace(too_many)));
    assert_eq!(store.follows(&ann).unwrap(), []);
    // Twice is once.
    let twice = [&all[..], &all[..]].concat();
    assert!(!is_refused(FollowsChange::Replace(twice)));
    assert!(is_refused(FollowsChange::Add(name(FOLLOWS_MAX))));
    assert!(!is_refused(FollowsChange::Add(name(7))));
    assert!(store.follows(&ann).unwrap() == all);
    assert!(!is_refused(FollowsChange::Remove(name(7))));
    assert!(!is_refused(FollowsChange::Add(name(FOLLOWS_MAX))));
    assert_eq!(store.follows(&ann).unwrap().len(), FOLLOWS_MAX);
}

fn ids(store: &dyn Store) {
    let long = "ü".repeat(STORED_ID_BYTES_MAX / 2);
    let names = [
        "%",
        "_",
        "a",
        "A",
        "a ",
        " a",
        "a'b",
        "a\"b",
        "a\\",
        "a/b",
        "a\nb",
        "{a,b}",
        "NULL",
        "\u{e9}",
        "e\u{301}",
        "日本",
        "🦀",
        "\u{10ffff}",
        "\u{ffff}",
        "\u{1}",
        &long,
    ];
    let mut sorted = names.map(user);
    sorted.sort_by(|a, b| a.as_str().as_bytes().cmp(b.as_str().as_bytes()));
    let batch: Vec<_> = names
        .iter()
        .flat_map(|name| {
            let row = session(&format!("board {name}"), name, name, 1);
            [left("event/1", name, 1), feed_seen(name, 1), presence(&row)]
        })
        .collect();
    store.record(&batch).unwrap();
    for name in &names[..names.len() - 1] {
        let [row] = &store.presences(&format!("board {name}")).unwrap()[..] else {
            panic!("one session in the board of {name}");
        };
        assert_eq!((&*row.session, row.user.as_str()), (*name, *name));
    }
    let departed = store.departed(&room("event/1"), 99).unwrap();
    assert!(departed.iter().map(|one| &one.user).eq(&sorted));
    let known = departed.iter().find(|one| one.user == user("a'b")).unwrap();
    assert_eq!(*known, person("a'b", 1));
    let all = FollowsChange::Replace(sorted.to_vec());
    for one in &sorted {
        store.change_follows(one, &all).unwrap();
    }
    assert_eq!(store.follows(&user(&long)).unwrap(), sorted);
    type Pages = fn(&dyn Store, Option<&UserId>, usize) -> Result<Vec<UserId>, StoreError>;
    let lists: [Pages; 2] = [
        |store, after, limit| store.feed_users(after, limit),
        |store, after, limit| store.followers(after, limit),
    ];
    for list in lists {
        for page in [1, 4, 99] {
            let mut found: Vec<UserId> = Vec::new();
            loop {
                let next = list(store, found.last(), page).unwrap();
                if next.is_empty() {
                    break;
                }
                assert!(next.len() <= page);
                found.extend(next);
            }
            assert_eq!(found, sorted);
        }
    }
}

fn unstorable(store: &dyn Store) {
    let long = "x".repeat(STORED_ID_BYTES_MAX + 1);
    for bad in ["a\0b", &long] {
        let batch = [
            left("event/1", bad, 1),
            left("event/1", "ann", 1),
            feed_seen(bad, 1),
            presence(&session("1", bad, "ann", 1)),
            presence(&session("1", "a", bad, 1)),
            presence(&session(bad, "a", "ann", 1)),
        ];
        store.record(&batch).unwrap();
        assert_eq!(seen(store, "event/1"), "ann 1");
        assert_eq!(store.presences("1").unwrap(), []);
        assert_eq!(store.presences(bad).unwrap(), []);
        assert_eq!(store.feed_seen(&[user(bad)]).unwrap(), []);
        assert_eq!(store.feed_users(Some(&user(bad)), 1).unwrap(), []);
        assert_eq!(store.follows(&user(bad)).unwrap(), []);
        let (ann, bad) = (user("ann"), user(bad));
        for (who, change) in [
            (&bad, FollowsChange::Add(ann.clone())),
            (&ann, FollowsChange::Add(bad.clone())),
            (&ann, FollowsChange::Replace(vec![bad.clone()])),
        ] {
            let refused = store.change_follows(who, &change);
            assert!(matches!(refused, Err(FollowsError::BadId)), "{refused:?}");
        }
    }
    // Of what is only shown, what cannot be stored is replaced.
    let (room, person) = (room("event/2"), person("zoë", 9));
    let told = Departed {
        name: "a\0b".into(),
        avatar: Some("\0".into()),
        role: Some("\0".into()),
        ..person.clone()
    };
    let kept = Departed {
        name: "a\u{fffd}b".into(),
        avatar: Some("\u{fffd}".into()),
        role: Some("\u{fffd}".into()),
        ..person
    };
    let told = Record::Departed {
        room: room.clone(),
        person: told,
    };
    store.record(&[told]).unwrap();
    assert_eq!(store.departed(&room, 9).unwrap(), [kept]);
}

fn end_of_time(store: &dyn Store) {
    let end = Timestamp::from_millis(u64::MAX);
    let row = PresenceRow {
        connected_at: end,
        last_heartbeat_at: end,
        ..session("1", "a", "ann", 0)
    };
    let person = Departed {
        last_seen: end,
        ..person("ann", 0)
    };
    let user = user("ann");
    let batch = [
        presence(&row),
        Record::Departed {
            room: room("event/1"),
            person,
        },
        Record::FeedSeen {
            user: user.clone(),
            at: end,
        },
        left("event/1", "ann", 3),
        feed_seen("ann", 3),
        left("event/1", "zero", 0),
    ];
    store.record(&batch).unwrap();
    let departed = store.departed(&room("event/1"), 9).unwrap();
    let times: Vec<_> = departed.iter().map(|one| one.last_seen).collect();
    assert_eq!(times, [TIME_MAX, Timestamp::ZERO]);
    assert_eq!(
        store.feed_seen(slice::from_ref(&user)).unwrap(),
        [(user, TIME_MAX)]
    );
    assert_eq!(store.presences("1").unwrap()[0].connected_at, TIME_MAX);
    assert_eq!(store.end_open_presences(end).unwrap(), 1);
    assert_eq!(
        store.presences("1").unwrap()[0].disconnected_at,
        Some(TIME_MAX)
    );
}

fn crash(store: &dyn Store) {
    let heard_at = |name: &str, millis| PresenceRow {
        last_heartbeat_at: at(millis),
        ..session("1", name, name, 1)
    };
    let ended = PresenceRow {
        disconnected_at: Some(at(70)),
        ..heard_at("c", 60)
    };
    let rows = [heard_at("a", 50), heard_at("b", 80), ended.clone()];
    store.record(&rows.each_ref().map(presence)).unwrap();
    let ends = || -> Vec<_> {
        let rows = store.presences("1").unwrap();
        rows.iter().map(|row| row.disconnected_at).collect()
    };
    assert_eq!(store.end_open_presences(at(49)).unwrap(), 0);
    assert_eq!(ends(), [None, None, Some(at(70))]);
    assert_eq!(store.end_open_presences(at(50)).unwrap(), 1);
    assert_eq!(ends(), [Some(at(50)), None, Some(at(70))]);
    assert_eq!(store.end_open_presences(TIME_MAX).unwrap(), 1);
    assert_eq!(ends(), [Some(at(50)), Some(at(80)), Some(at(70))]);
    assert_eq!(store.end_open_presences(TIME_MAX).unwrap(), 0);
    // It was there all the time: its node was only slow.
    store.record(&[presence(&heard_at("b", 90))]).unwrap();
    assert_eq!(ends(), [Some(at(50)), None, Some(at(70))]);
}

fn old_presences(store: &dyn Store) {
    let kept_for = u64::try_from(PRESENCES_KEPT_FOR.as_millis()).unwrap();
    let ended = |number: usize, millis| PresenceRow {
        disconnected_at: Some(at(millis)),
        ..session("1", &format!("{number:03}"), "ann", 0)
    };
    let sessions = || -> Vec<usize> {
        let rows = store.presences("1").unwrap();
        rows.iter()
            .map(|row| row.session.parse().unwrap())
            .collect()
    };
    let count = 2 * PRESENCES_REMOVED_MAX + 1;
    // The later ones ended first.
    let rows: Vec<_> = (0..count)
        .map(|number| presence(&ended(number, (count - number) as u64)))
        .collect();
    store.record(&rows).unwrap();
    // Who is there stays, however long ago they were heard of.
    store
        .record(&[presence(&session("1", "900", "bob", 0))])
        .unwrap();
    assert_eq!(sessions().len(), count + 1);

    let all_but_one = kept_for + count as u64;
    store.record(&[presence(&ended(901, all_but_one))]).unwrap();
    let left = count - PRESENCES_REMOVED_MAX;
    let expected = |left| (0..left).chain([900, 901]).collect::<Vec<_>>();
    assert_eq!(sessions(), expected(left));
    // A presence that goes on removes nothing.
    store
        .record(&[presence(&session("1", "900", "bob", 0))])
        .unwrap();
    assert_eq!(sessions(), expected(left));
    for _ in 0..2 {
        store.record(&[presence(&ended(901, all_but_one))]).unwrap();
    }
    // The one of which it is just long enough ago stays.
    assert_eq!(sessions(), expected(1));
}

fn whole_batches(store: &dyn Store) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for millis in 1..=50 {
                let batch = ["ann", "bob", "cyd"].map(|name| left("event/1", name, millis));
                store.record(&batch).unwrap();
            }
            is_over.store(true, Ordering::SeqCst);
        });
        while !is_over.load(Ordering::SeqCst) {
            let departed = store.departed(&room("event/1"), 9).unwrap();
            let times: BTreeSet<_> = departed.iter().map(|one| one.last_seen).collect();
            assert!(times.len() <= 1, "half a batch is seen");
        }
    });
    assert_eq!(seen(store, "event/1"), "ann 50, bob 50, cyd 50");
}

fn histories(store: &dyn Store) {
    let seed = std::env::var("TEST_COPRESENCE_SEED").ok();
    let seeds = match seed.and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..8_u64,
    };
    for seed in seeds {
        println!("TEST_COPRESENCE_SEED={seed}");
        let memory = MemoryStore::new();
        let mut random = Random::new(seed);
        let rooms = ["a", "b"].map(|name| format!("event/{seed}/{name}"));
        let boards = ["a", "b"].map(|name| format!("{seed} {name}"));
        let names = ["ann", "bob", "cyd", "dee"].map(|name| format!("{name} {seed}"));
        let users = names.each_ref().map(|name| user(name));
        let mut previous = Vec::new();
        for _ in 0..20 {
            let batch: Vec<_> = (0..random.below(8))
                .map(|_| {
                    let name = random.pick(&names);
                    let millis = random.below(40) as u64;
                    match random.below(3) {
                        0 => left(random.pick::<String>(&rooms), name, millis),
                        1 => feed_seen(name, millis),
                        _ => presence(&PresenceRow {
                            status: *random.pick(&RecordedStatus::ALL),
                            cursor: random.one_in(2).then_some((millis as f64 / 7.0, -0.5)),
                            disconnected_at: random.one_in(2).then(|| at(millis + 1)),
                            ..session(random.pick::<String>(&boards), name, name, millis)
                        }),
                    }
                })
                .collect();
            // The answer to the last one may have been lost.
            let batch = match random.one_in(4) {
                true => previous,
                false => batch,
            };
            let others: Vec<_> = users.iter().filter(|_| random.one_in(2)).collect();
            let change = match random.below(4) {
                0 => FollowsChange::Replace(others.into_iter().cloned().collect()),
                1 | 2 => FollowsChange::Add(random.pick(&users).clone()),
                _ => FollowsChange::Remove(random.pick(&users).clone()),
            };
            let follower = random.pick(&users).clone();
            for store in [store, &memory] {
                store.record(&batch).unwrap();
                store.change_follows(&follower, &change).unwrap();
            }
            for name in &rooms {
                let departed = |store: &dyn Store| store.departed(&room(name), 9).unwrap();
                assert_eq!(departed(store), departed(&memory));
            }
            for board in &boards {
                let presences = |store: &dyn Store| store.presences(board).unwrap();
                assert_eq!(presences(store), presences(&memory));
            }
            for user in &users {
                let follows = |store: &dyn Store| store.follows(user).unwrap();
                assert_eq!(follows(store), follows(&memory));
            }
            let feed_seen = |store: &dyn Store| store.feed_seen(&users).unwrap();
            assert_eq!(feed_seen(store), feed_seen(&memory));
            previous = batch;
        }
        let heard_until = at(random.below(40) as u64);
        // What earlier seeds have left open was ended by them.
        memory.end_open_presences(heard_until).unwrap();
        store.end_open_presences(heard_until).unwrap();
        for board in &boards {
            let presences = |store: &dyn Store| store.presences(board).unwrap();
            assert_eq!(presences(store), presences(&memory));
        }
    }
}

#[test]
fn a_batch_that_fails_in_the_embedded_store_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("copresence.db");
    let store = SqliteStore::open(&path).unwrap();
    let sql = Connection::open(&path).unwrap();
    sql.execute_batch(
        "CREATE TRIGGER refuse BEFORE INSERT ON feed_seen BEGIN SELECT raise(ABORT, 'no'); END",
    )
    .unwrap();
    let batch = [left("event/1", "ann", 1), feed_seen("ann", 1)];
    store.record(&batch).unwrap_err();
    assert_eq!(seen(&store, "event/1"), "");
    sql.execute_batch("DROP TRIGGER refuse").unwrap();
    store.record(&batch).unwrap();
    assert_eq!(seen(&store, "event/1"), "ann 1");
}

#[test]
fn what_was_recorded_is_there_after_reopening() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("copresence.db");
    let row = session("1", "a", "ann", 1);
    let store = SqliteStore::open(&path).unwrap();
    let batch = [
        presence(&row),
        left("event/1", "ann", 1),
        feed_seen("ann", 1),
    ];
    store.record(&batch).unwrap();
    let change = FollowsChange::Add(user("bob"));
    store.change_follows(&user("ann"), &change).unwrap();
    drop(store);
    let reader = SqliteStore::open_to_read(&path).unwrap();
    assert_eq!(reader.presences("1").unwrap(), [row]);
    assert_eq!(seen(&reader, "event/1"), "ann 1");
    assert_eq!(reader.feed_seen(&[user("ann")]).unwrap().len(), 1);
    assert_eq!(reader.follows(&user("ann")).unwrap(), [user("bob")]);
    reader.record(&batch).unwrap_err();
    reader.change_follows(&user("ann"), &change).unwrap_err();
    reader.end_open_presences(TIME_MAX).unwrap_err();
}

#[test]
fn the_embedded_migration_for_people_can_be_undone_alone_and_done_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("copresence.db");
    let store = SqliteStore::open(&path).unwrap();
    store.write(&[append("a", 1, "one")]).unwrap();
    store.record(&[left("event/1", "ann", 1)]).unwrap();
    drop(store);
    let tables = || -> Vec<String> {
        let sql = Connection::open(&path).unwrap();
        let query = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut statement = sql.prepare(query).unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    };
    let before = tables();
    for _ in 0..2 {
        SqliteStore::undo_migrations(&path, 1).unwrap();
        let left = tables();
        let is_of_documents = |name: &String| name == "migration" || name.starts_with("document");
        assert!(
            left.len() == 5 && left.iter().all(is_of_documents),
            "{left:?}"
        );
    }
    assert!(SqliteStore::open_to_read(&path).is_err());
    for _ in 0..2 {
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(tables(), before);
        assert_stored(&store, "a", &[(1, "one")], 1);
        assert_eq!(seen(&store, "event/1"), "");
    }
    let store = SqliteStore::open(&path).unwrap();
    store.record(&[left("event/1", "ann", 1)]).unwrap();
}

#[test]
fn the_embedded_table_is_the_contracts() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("copresence.db");
    let store = SqliteStore::open(&path).unwrap();
    let row = PresenceRow {
        cursor: Some((1.5, -2.0)),
        last_heartbeat_at: Timestamp::from_millis(1_795_249_800_123),
        ..session("42", "s-1", "ann", 951_782_400_000)
    };
    store.record(&[presence(&row)]).unwrap();
    let sql = Connection::open(&path).unwrap();
    let texts = |query: &str| -> Vec<String> {
        let mut statement = sql.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let columns = "SELECT name || ' ' || type || iif(\"notnull\", ' not null', '')
                   FROM pragma_table_info('presence')";
    assert_eq!(
        texts(columns),
        [
            "board_id TEXT not null",
            "user_id TEXT not null",
            "session_id TEXT not null",
            "status TEXT not null",
            "cursor_x REAL",
            "cursor_y REAL",
            "last_heartbeat_at TEXT not null",
            "connected_at TEXT not null",
            "disconnected_at TEXT",
        ]
    );
    let key = "SELECT name FROM pragma_table_info('presence') WHERE pk > 0 ORDER BY pk";
    assert_eq!(texts(key), ["board_id", "session_id"]);
    let indexes = "SELECT list.name || ': ' || group_concat(info.name)
                   FROM pragma_index_list('presence') AS list, pragma_index_info(list.name) AS info
                   WHERE list.origin = 'c' GROUP BY list.name ORDER BY list.name";
    assert_eq!(
        texts(indexes),
        [
            "presence_board_id_idx: board_id",
            "presence_disconnected_at_idx: disconnected_at",
        ]
    );
    let written = "SELECT concat_ws(' ', board_id, user_id, session_id, status, cursor_x, cursor_y,
                                    last_heartbeat_at, connected_at, disconnected_at)
                   FROM presence";
    let expected = "42 ann s-1 online 1.5 -2.0 2026-11-21T08:30:00.123Z 2000-02-29T00:00:00.000Z";
    assert_eq!(texts(written), [expected]);
    let bad = "UPDATE presence SET status = 'active'";
    assert!(sql.execute(bad, []).is_err());
}

#[test]
fn rows_that_nobody_can_read_are_passed_over_and_complained_of() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("copresence.db");
    let store = SqliteStore::open(&path).unwrap();
    let names = ["ann", "bob"];
    let batch = names.map(|name| {
        [
            left("event/1", name, 1),
            left(&format!("event/{name}"), name, 1),
            feed_seen(name, 1),
            presence(&session("1", name, name, 1)),
        ]
    });
    store.record(batch.as_flattened()).unwrap();
    let all = FollowsChange::Replace(names.map(user).to_vec());
    store.change_follows(&user("ann"), &all).unwrap();
    let sql = Connection::open(&path).unwrap();
    sql.execute_batch(
        "UPDATE departed SET color = 'red' WHERE room = 'event/1' AND user_id = 'bob';
         UPDATE departed SET room = 'event//' WHERE room = 'event/bob';
         UPDATE feed_seen SET last_seen = 'yesterday' WHERE user_id = 'bob';
         UPDATE presence SET connected_at = '2026-02-30T00:00:00.000Z' WHERE user_id = 'bob';
         UPDATE follow SET user_id = '' WHERE user_id = 'bob';",
    )
    .unwrap();
    assert_eq!(seen(&store, "event/1"), "ann 1");
    let rooms = ["event/1", "event/ann"].map(room);
    assert_eq!(store.rooms_departed(None, 9).unwrap(), rooms);
    assert_eq!(store.feed_seen(&names.map(user)).unwrap().len(), 1);
    assert_eq!(store.presences("1").unwrap().len(), 1);
    assert_eq!(store.follows(&user("ann")).unwrap(), [user("ann")]);
    assert_eq!(
        store.complaints().unwrap(),
        [
            "1 rows of presence cannot be read",
            "2 rows of departed cannot be read",
            "1 rows of feed_seen cannot be read",
            "1 rows of follow cannot be read",
        ]
    );
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A session that began, and was heard of last, at that time.
pub fn session(board: &str, session: &str, of: &str, millis: u64) -> PresenceRow {
    PresenceRow {
        board: board.into(),
        session: session.into(),
        user: user(of),
        status: RecordedStatus::Online,
        cursor: None,
        last_heartbeat_at: at(millis),
        connected_at: at(millis),
        disconnected_at: None,
    }
}

fn person(name: &str, millis: u64) -> Departed {
    let user = user(name);
    Departed {
        name: format!("{name} 'n' \"co\"").into(),
        avatar: Some(format!("https://example.com/{name}.png").into()),
        role: Some("coach".into()),
        color: Color::of_user(&user),
        last_seen: at(millis),
        user,
    }
}

pub fn presence(row: &PresenceRow) -> Record {
    Record::Presence(row.clone())
}

pub fn left(from: &str, name: &str, millis: u64) -> Record {
    Record::Departed {
        room: room(from),
        person: person(name, millis),
    }
}

pub fn feed_seen(name: &str, millis: u64) -> Record {
    Record::FeedSeen {
        user: user(name),
        at: at(millis),
    }
}

/// Who has left a room, as text: `ann 7, bob 6`.
pub fn seen(store: &dyn Store, from: &str) -> String {
    let departed = store.departed(&room(from), usize::MAX).unwrap();
    let departed: Vec<_> = departed
        .iter()
        .map(|one| format!("{} {}", one.user, one.last_seen.as_millis()))
        .collect();
    departed.join(", ")
}
