//! What every store promises, shown on each of them.
//!
//! A promise is a function that is given an empty store. [`conforms`] shows them all, so a new
//! store needs three lines here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use copresence::model::RoomName;
use copresence::store::{
    BatchId, BatchIds, MemoryStore, Sequence, SqliteStore, Store, StoreError, Stored, Write,
};
use tempfile::TempDir;

use crate::support::random::Random;

type Promise = (&'static str, fn(&dyn Store));

const PROMISES: [Promise; 16] = [
    ("what was written is read back in order", round_trip),
    ("a room never seen is empty", never_seen),
    ("bodies may be empty or large", sizes),
    ("a batch is all or nothing for its readers", whole_batches),
    ("a batch is carried out once", again),
    ("what is there already may be written again", same_again),
    ("what has no place is refused with its batch", conflicts),
    ("batches of several writers are told apart", writers),
    ("a snapshot replaces the log before it", snapshots),
    ("what is set aside is kept, but not loaded", quarantine),
    ("a snapshot can be set aside", snapshot_set_aside),
    ("numbers may be missing", gaps),
    ("names are told apart and listed by their bytes", names),
    ("ten thousand rooms are listed in pages", many_rooms),
    (
        "writers, compaction and readers do not disturb each other",
        races,
    ),
    ("any history ends as it does in memory", histories),
];

/// Shows every promise on a store of its own.
pub fn conforms(open: impl Fn() -> Box<dyn Store>) {
    for (name, promise) in PROMISES {
        println!("{name}");
        promise(&*open());
    }
}

#[test]
fn the_store_in_memory_keeps_its_promises() {
    conforms(|| Box::new(MemoryStore::new()));
}

#[test]
fn the_embedded_store_keeps_its_promises() {
    let folder = TempDir::new().unwrap();
    let count = AtomicUsize::new(0);
    conforms(|| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let path = folder.path().join(format!("{number}/copresence.db"));
        Box::new(SqliteStore::open(&path).unwrap())
    });
}

fn round_trip(store: &dyn Store) {
    let batch = [
        append("a", 1, "one"),
        append("b", 1, "other"),
        append("a", 2, "two"),
    ];
    store.write(&batch).unwrap();
    store.write(&[append("a", 3, "three")]).unwrap();
    assert_stored(store, "a", &[(1, "one"), (2, "two"), (3, "three")], 3);
    assert_stored(store, "b", &[(1, "other")], 1);
    assert_eq!(store.complaints().unwrap(), [""; 0]);
}

fn never_seen(store: &dyn Store) {
    assert_stored(store, "nobody", &[], 0);
    assert_eq!(store.quarantined(&room("nobody")).unwrap(), []);
    assert_eq!(store.rooms(None, 10).unwrap(), []);
    store.write(&[]).unwrap();
}

fn sizes(store: &dyn Store) {
    let large = Bytes::from(Random::new(7).bytes(20 << 20));
    let update = |sequence, update: &Bytes| {
        let update = update.clone();
        (room("a"), Write::Append { sequence, update })
    };
    store
        .write(&[update(1, &Bytes::new()), update(2, &large)])
        .unwrap();
    let stored = store.load(&room("a")).unwrap();
    assert_eq!(stored.updates.len(), 2);
    assert!(stored.updates[0].1.is_empty());
    assert!(stored.updates[1].1 == large);
    let update = large.slice(1..);
    let through = 2;
    store
        .write(&[(room("a"), Write::Snapshot { through, update })])
        .unwrap();
    let stored = store.load(&room("a")).unwrap();
    assert!(stored.updates.len() == 1 && stored.updates[0].1 == large[1..]);
}

fn whole_batches(store: &dyn Store) {
    const BATCHES: u64 = 200;
    thread::scope(|scope| {
        scope.spawn(|| {
            for batch in 0..BATCHES {
                let batch: Vec<_> = (1..=5).map(|n| append("a", batch * 5 + n, "x")).collect();
                store.write(&batch).unwrap();
            }
        });
        let mut seen = 0;
        while seen < BATCHES * 5 {
            let stored = store.load(&room("a")).unwrap();
            assert_eq!(stored.last % 5, 0, "half a batch is seen");
            assert_eq!(stored.updates.len() as u64, stored.last);
            assert!(seen <= stored.last);
            seen = stored.last;
        }
    });
}

fn again(store: &dyn Store) {
    let batch = [
        append("a", 1, "one"),
        append("a", 2, "two"),
        snapshot("a", 2, "one two"),
        append("a", 3, "three"),
        aside("a", 3),
        append("a", 4, "four"),
    ];
    let id = names_of_batches().next_id();
    for _ in 0..3 {
        store.commit(Some(id), &batch).unwrap();
        assert_stored(store, "a", &[(2, "one two"), (4, "four")], 4);
        assert_aside(store, "a", &[(3, "three")]);
    }
    // Also one that would do something else the second time.
    let batch_of_b = [aside("b", 1), append("b", 1, "x")];
    let id_of_b = names_of_batches().next_id();
    for _ in 0..2 {
        store.commit(Some(id_of_b), &batch_of_b).unwrap();
        assert_stored(store, "b", &[(1, "x")], 1);
    }
    // Without its name nobody can tell that it is that batch: the snapshot has passed its updates.
    assert_conflict(store.write(&batch), "a", 1);
    assert_conflict(
        store.commit(Some(names_of_batches().next_id()), &batch),
        "a",
        1,
    );
    assert_stored(store, "a", &[(2, "one two"), (4, "four")], 4);
    assert_aside(store, "a", &[(3, "three")]);
}

fn same_again(store: &dyn Store) {
    let batch: Vec<_> = (1..=100).map(|n| append("a", n, &n.to_string())).collect();
    store.write(&batch).unwrap();
    store.write(&batch).unwrap();
    store.write(&[aside("a", 50)]).unwrap();
    store.write(&batch).unwrap();
    let next = append("a", 101, "101");
    store.write(&[next.clone(), next.clone()]).unwrap();
    assert_eq!(store.load(&room("a")).unwrap().updates.len(), 100);
    assert_aside(store, "a", &[(50, "50")]);
}

fn conflicts(store: &dyn Store) {
    let log: Vec<_> = (1..=6).map(|n| append("a", n, &n.to_string())).collect();
    store.write(&log).unwrap();
    store
        .write(&[snapshot("a", 3, "1 2 3"), aside("a", 5)])
        .unwrap();
    let refused = [
        (append("a", 6, "another"), 6),
        (append("a", 4, "5"), 4),
        // It was set aside, and this is not it.
        (append("a", 5, "another"), 5),
        (append("a", 2, "2"), 2),
        (snapshot("a", 2, "1 2"), 2),
    ];
    let mut names = names_of_batches();
    for (write, at) in refused {
        let batch = [append("b", 1, "x"), append("a", 7, "7"), write];
        let id = names.next_id();
        for _ in 0..2 {
            assert_conflict(store.commit(Some(id), &batch), "a", at);
        }
        assert_stored(store, "a", &[(3, "1 2 3"), (4, "4"), (6, "6")], 6);
        assert_aside(store, "a", &[(5, "5")]);
        assert_eq!(store.rooms(None, 9).unwrap(), [room("a")]);
    }
    // Within a batch, too; and a later one is carried out.
    let batch = [append("a", 8, "8"), append("a", 7, "7")];
    assert_conflict(store.write(&batch), "a", 7);
    let batch = [snapshot("a", 6, "all"), snapshot("a", 5, "less")];
    assert_conflict(store.write(&batch), "a", 5);
    store.write(&[append("a", 7, "7")]).unwrap();
    assert_stored(store, "a", &[(3, "1 2 3"), (4, "4"), (6, "6"), (7, "7")], 7);
    assert_eq!(store.complaints().unwrap(), [""; 0]);
}

fn writers(store: &dyn Store) {
    let batch = |n| [append("a", n, "x"), snapshot("a", n, "x")];
    let (mut first, mut second) = (names_of_batches(), names_of_batches());
    let early = first.next_id();
    store.commit(Some(early), &batch(1)).unwrap();
    for number in 2..100 {
        let mut once = names_of_batches();
        let writer = if number % 2 == 0 {
            &mut second
        } else {
            &mut once
        };
        store
            .commit(Some(writer.next_id()), &batch(number))
            .unwrap();
    }
    // Those who wrote since are not so many that it would be forgotten.
    store.commit(Some(first.next_id()), &batch(100)).unwrap();
    store.commit(Some(early), &batch(1)).unwrap();
    assert_stored(store, "a", &[(100, "x")], 100);
}

fn names_of_batches() -> BatchIds {
    static WRITERS: AtomicU64 = AtomicU64::new(1 << 63);
    BatchIds::new(WRITERS.fetch_add(1, Ordering::Relaxed))
}

#[track_caller]
fn assert_conflict(written: Result<(), StoreError>, name: &str, at: Sequence) {
    match written {
        Err(StoreError::Conflict {
            room: whose,
            sequence,
        }) => assert_eq!((whose, sequence), (room(name), at)),
        other => panic!("no conflict: {other:?}"),
    }
}

/// Has two stores do the same, and sees that both do it or both refuse it.
pub fn commit_alike(
    store: &dyn Store,
    memory: &MemoryStore,
    id: Option<BatchId>,
    batch: &[(RoomName, Write)],
) {
    // Where several have no place, each store may name another one.
    let is_done = |written: Result<(), StoreError>| match written {
        Ok(()) => true,
        Err(StoreError::Conflict { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    let expected = is_done(memory.commit(id, batch));
    assert_eq!(is_done(store.commit(id, batch)), expected, "{batch:?}");
}

fn snapshots(store: &dyn Store) {
    for sequence in 1..=4 {
        store.write(&[append("a", sequence, "x")]).unwrap();
        store.write(&[append("b", sequence, "y")]).unwrap();
    }
    store.write(&[snapshot("a", 3, "xxx")]).unwrap();
    assert_stored(store, "a", &[(3, "xxx"), (4, "x")], 4);
    assert_stored(store, "b", &[(1, "y"), (2, "y"), (3, "y"), (4, "y")], 4);
    store.write(&[snapshot("a", 4, "xxxx")]).unwrap();
    assert_stored(store, "a", &[(4, "xxxx")], 4);
    store.write(&[append("a", 5, "x")]).unwrap();
    assert_stored(store, "a", &[(4, "xxxx"), (5, "x")], 5);
    // A document that begins with a snapshot, as one that is copied or restored does.
    store
        .write(&[snapshot("c", 9, "z"), append("c", 10, "z")])
        .unwrap();
    assert_stored(store, "c", &[(9, "z"), (10, "z")], 10);
}

fn quarantine(store: &dyn Store) {
    let log: Vec<_> = (1..=4).map(|n| append("a", n, "x")).collect();
    store.write(&log).unwrap();
    store
        .write(&[aside("a", 4), aside("a", 2), aside("a", 7)])
        .unwrap();
    assert_stored(store, "a", &[(1, "x"), (3, "x")], 4);
    assert_aside(store, "a", &[(2, "x"), (4, "x")]);
    // The number is not given out again.
    assert_conflict(store.write(&[append("a", 4, "y")]), "a", 4);
    store.write(&[append("a", 5, "z")]).unwrap();
    assert_stored(store, "a", &[(1, "x"), (3, "x"), (5, "z")], 5);
    store.write(&[snapshot("a", 5, "xxz")]).unwrap();
    assert_stored(store, "a", &[(5, "xxz")], 5);
    assert_aside(store, "a", &[(2, "x"), (4, "x")]);
}

fn snapshot_set_aside(store: &dyn Store) {
    store
        .write(&[
            append("a", 1, "bad"),
            aside("a", 1),
            snapshot("a", 1, "worse"),
        ])
        .unwrap();
    store
        .write(&[append("a", 2, "good"), aside("a", 1)])
        .unwrap();
    assert_stored(store, "a", &[(2, "good")], 2);
    assert_aside(store, "a", &[(1, "bad"), (1, "worse")]);
}

fn gaps(store: &dyn Store) {
    store
        .write(&[append("a", 2, "x"), append("a", 40, "y")])
        .unwrap();
    assert_stored(store, "a", &[(2, "x"), (40, "y")], 40);
    store.write(&[snapshot("a", 41, "xy")]).unwrap();
    assert_stored(store, "a", &[(41, "xy")], 41);
}

fn names(store: &dyn Store) {
    let long = "ü".repeat(127);
    let names = [
        "%",
        "%25",
        "_",
        "a",
        "A",
        "a ",
        " a",
        "a'b",
        "a\"b",
        "a'; DROP TABLE document; --",
        "a\\",
        "a/b",
        "a*",
        "\u{e9}",
        "e\u{301}",
        "日本",
        "🦀",
        "\u{10ffff}",
        "\u{ffff}",
        &long,
    ];
    for name in names {
        store.write(&[append(name, 1, name)]).unwrap();
    }
    for name in names {
        assert_stored(store, name, &[(1, name)], 1);
    }
    let mut sorted = names.map(room);
    sorted.sort_by(|a, b| a.as_str().as_bytes().cmp(b.as_str().as_bytes()));
    assert_eq!(store.rooms(None, 100).unwrap(), sorted);
    for page in [1, 3] {
        assert_eq!(all_rooms(store, page), sorted);
    }
    assert_eq!(store.rooms(None, 0).unwrap(), []);
    // What `after` names need not exist.
    let behind = store.rooms(Some(&room("a!")), 1).unwrap();
    assert_eq!(behind, [room("a\"b")]);
}

fn many_rooms(store: &dyn Store) {
    let name = |number| format!("session/{number:05}");
    let batch: Vec<_> = (0..10_000)
        .map(|number| append(&name(number), 1, &name(number)))
        .collect();
    store.write(&batch).unwrap();
    let rooms = all_rooms(store, 999);
    assert!(rooms.iter().map(RoomName::as_str).eq((0..10_000).map(name)));
    for number in (0..10_000).step_by(997) {
        let name = name(number);
        assert_stored(store, &name, &[(1, &name)], 1);
    }
}

/// Updates say their number, snapshots through which number they go: a reader must find all of
/// them, in one or the other.
fn races(store: &dyn Store) {
    const UPDATES: u64 = 400;
    let rooms = ["a", "b"];
    let written = rooms.map(|_| AtomicU64::new(0));
    thread::scope(|scope| {
        for (name, written) in rooms.iter().zip(&written) {
            scope.spawn(move || {
                for number in 1..=UPDATES {
                    store
                        .write(&[append(name, number, &number.to_string())])
                        .unwrap();
                    written.store(number, Ordering::Release);
                }
            });
            scope.spawn(move || {
                let mut through = 0;
                while through < UPDATES {
                    let last = written.load(Ordering::Acquire);
                    if last < through + 7 && last < UPDATES {
                        thread::yield_now();
                        continue;
                    }
                    through = last;
                    store
                        .write(&[snapshot(name, through, &through.to_string())])
                        .unwrap();
                }
            });
            scope.spawn(move || {
                let mut last = 0;
                while last < UPDATES {
                    let before = written.load(Ordering::Acquire);
                    let stored = store.load(&room(name)).unwrap();
                    assert!(before <= stored.last && last <= stored.last);
                    last = stored.last;
                    for (number, body) in &stored.updates {
                        assert_eq!(*body, number.to_string());
                    }
                    let numbers: Vec<_> = stored.updates.iter().map(|(n, _)| *n).collect();
                    let ascends = numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
                    assert!(ascends, "not all of the log: {numbers:?}");
                    assert_eq!(numbers.last().copied().unwrap_or(0), last);
                }
            });
        }
    });
}

fn histories(store: &dyn Store) {
    let seed = std::env::var("TEST_COPRESENCE_SEED").ok();
    let seeds = match seed.and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..60_u64,
    };
    for seed in seeds {
        println!("TEST_COPRESENCE_SEED={seed}");
        let memory = MemoryStore::new();
        let names = ["a", "b", "c"].map(|name| format!("{seed}/{name}"));
        let mut random = Random::new(seed);
        let mut ends = BTreeMap::new();
        let mut ids = names_of_batches();
        for _ in 0..20 {
            let batch: Vec<_> = (0..random.below(8))
                .map(|_| any_write(&mut random, &names, &mut ends))
                .collect();
            let id = (!random.one_in(4)).then(|| ids.next_id());
            // The answer may be lost.
            for _ in 0..1 + usize::from(random.one_in(4)) {
                commit_alike(store, &memory, id, &batch);
                for name in &names {
                    assert_same(store, &memory, &room(name));
                }
            }
        }
    }
}

/// Mostly one that has its place. `ends` has of each room the last number, and that of the snapshot.
pub fn any_write(
    random: &mut Random,
    names: &[String],
    ends: &mut BTreeMap<String, (Sequence, Sequence)>,
) -> (RoomName, Write) {
    let name = random.pick(names);
    let (end, covered) = ends.entry(name.clone()).or_default();
    let somewhere = 1 + random.below(*end as usize + 2) as u64;
    let length_end = if random.one_in(10) { 9_000 } else { 30 };
    let length = random.below(length_end);
    let update = Bytes::from(random.bytes(length));
    let write = match random.below(10) {
        0..6 => {
            *end += 1 + random.one_in(20) as u64;
            let sequence = *end;
            Write::Append { sequence, update }
        }
        6 if random.one_in(20) => {
            let sequence = somewhere;
            Write::Append { sequence, update }
        }
        7 if random.one_in(20) => {
            let through = somewhere;
            Write::Snapshot { through, update }
        }
        6..9 => {
            let beyond = end.saturating_sub(*covered) as usize + 2;
            let through = (*covered + random.below(beyond) as u64).max(1);
            Write::Snapshot { through, update }
        }
        _ => {
            let sequence = somewhere;
            Write::Quarantine { sequence }
        }
    };
    if let Write::Append { sequence, .. }
    | Write::Snapshot {
        through: sequence, ..
    } = &write
    {
        *end = (*end).max(*sequence);
    }
    if let Write::Snapshot { through, .. } = &write {
        *covered = (*covered).max(*through);
    }
    (room(name), write)
}

pub fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub fn append(name: &str, sequence: Sequence, update: &str) -> (RoomName, Write) {
    let update = Bytes::copy_from_slice(update.as_bytes());
    (room(name), Write::Append { sequence, update })
}

pub fn snapshot(name: &str, through: Sequence, update: &str) -> (RoomName, Write) {
    let update = Bytes::copy_from_slice(update.as_bytes());
    (room(name), Write::Snapshot { through, update })
}

pub fn aside(name: &str, sequence: Sequence) -> (RoomName, Write) {
    (room(name), Write::Quarantine { sequence })
}

pub fn all_rooms(store: &dyn Store, page: usize) -> Vec<RoomName> {
    let mut rooms: Vec<RoomName> = Vec::new();
    loop {
        let next = store.rooms(rooms.last(), page).unwrap();
        if next.is_empty() {
            return rooms;
        }
        assert!(next.len() <= page);
        rooms.extend(next);
    }
}

#[track_caller]
pub fn assert_stored(store: &dyn Store, name: &str, updates: &[(Sequence, &str)], last: Sequence) {
    let stored = store.load(&room(name)).unwrap();
    assert_eq!(stored.last, last, "the end of {name}");
    assert_eq!(readable(&stored.updates), updates, "the updates of {name}");
}

#[track_caller]
fn assert_aside(store: &dyn Store, name: &str, updates: &[(Sequence, &str)]) {
    let mut found = store.quarantined(&room(name)).unwrap();
    assert!(found.is_sorted_by_key(|(sequence, _)| *sequence));
    found.sort();
    assert_eq!(readable(&found), updates, "set aside of {name}");
}

fn readable(updates: &[(Sequence, Bytes)]) -> Vec<(Sequence, &str)> {
    updates
        .iter()
        .map(|(sequence, update)| (*sequence, str::from_utf8(update).unwrap()))
        .collect()
}

#[track_caller]
pub fn assert_same(store: &dyn Store, memory: &MemoryStore, name: &RoomName) {
    let sorted = |store: &dyn Store| {
        let Stored { updates, last } = store.load(name).unwrap();
        let mut aside = store.quarantined(name).unwrap();
        aside.sort();
        (updates, last, aside)
    };
    assert!(sorted(store) == sorted(memory), "{name} differs");
}
