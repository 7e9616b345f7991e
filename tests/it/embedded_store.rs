//! What the embedded store promises beyond what every store does: about its file, its lock, its
//! tables, and what is left after damage, failures and a loss of power.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use copresence::store::{BatchIds, MemoryStore, Sequence, SqliteStore, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::store::{
    all_rooms, any_write, append, aside, assert_same, assert_stored, commit_alike, room, snapshot,
};
use crate::support::random::Random;

#[test]
fn reopening_keeps_everything() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("not/yet/there/copresence.db");
    let memory = MemoryStore::new();
    let names = ["a", "b", "c"].map(str::to_owned);
    let mut random = Random::new(3);
    let mut ends = BTreeMap::new();
    for _ in 0..10 {
        let store = SqliteStore::open(&path).unwrap();
        for name in &names {
            assert_same(&store, &memory, &room(name));
        }
        for _ in 0..10 {
            let batch = [any_write(&mut random, &names, &mut ends)];
            commit_alike(&store, &memory, None, &batch);
        }
        assert_eq!(store.complaints().unwrap(), [""; 0]);
    }
}

#[test]
fn a_database_belongs_to_one_process() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.write(&[append("a", 1, "x")]).unwrap();
    // The lock is the open file's, so another store here is as good as another process.
    for second in [SqliteStore::open(&path), SqliteStore::open_existing(&path)] {
        let error = second.err().unwrap().to_string();
        assert!(
            error.contains("another process") && error.contains("`--data`"),
            "{error}"
        );
    }
    let error = SqliteStore::undo_migrations(&path, 0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("another process"), "{error}");
    // To look at it is allowed.
    let reader = SqliteStore::open_to_read(&path).unwrap();
    assert_stored(&reader, "a", &[(1, "x")], 1);
    store.write(&[append("a", 2, "y")]).unwrap();
    assert_stored(&reader, "a", &[(1, "x"), (2, "y")], 2);
    assert!(reader.write(&[append("a", 3, "z")]).is_err());
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    store.write(&[append("a", 3, "z")]).unwrap();
}

#[test]
fn tools_do_not_make_a_database_where_none_is() {
    let (folder, path) = place();
    for opened in [
        SqliteStore::open_existing(&path),
        SqliteStore::open_to_read(&path),
    ] {
        let error = opened.err().unwrap().to_string();
        assert!(error.contains("there is no database"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let (_folder, path) = place();
    fs::write(
        &path,
        "a shopping list, and rather a long one; ".repeat(100),
    )
    .unwrap();
    assert!(SqliteStore::open(&path).is_err());
    assert!(fs::read_to_string(&path).unwrap().starts_with("a shopping"));

    fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE song (title TEXT)")
        .unwrap();
    let error = SqliteStore::open(&path).err().unwrap().to_string();
    assert!(error.contains("something else"), "{error}");
}

#[test]
fn migrations_go_up_down_and_up_again() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.write(&[append("a", 1, "x")]).unwrap();
    drop(store);
    let before = schema(&path);
    SqliteStore::undo_migrations(&path, 0).unwrap();
    let bare = schema(&path);
    assert!(bare.keys().all(|name| name == "migration"), "{bare:?}");
    assert!(SqliteStore::open_to_read(&path).is_err());
    SqliteStore::undo_migrations(&path, 0).unwrap();
    for _ in 0..2 {
        let store = SqliteStore::open(&path).unwrap();
        assert_stored(&store, "a", &[], 0);
        drop(store);
        assert_eq!(schema(&path), before);
    }
    Connection::open(&path)
        .unwrap()
        .execute("INSERT INTO migration VALUES (999, 'later')", [])
        .unwrap();
    let error = SqliteStore::open(&path).err().unwrap().to_string();
    assert!(
        error.contains("newer version") && error.contains("999"),
        "{error}"
    );
}

#[test]
fn damage_is_noticed_and_harms_one_room() {
    let spoil: [(&str, &str, Sequence); 5] = [
        (
            "a flipped bit in the log",
            "UPDATE document_update SET body = x'0102ff' WHERE document_id = 2 AND sequence = 5",
            5,
        ),
        (
            "a flipped bit in the snapshot",
            "UPDATE document_snapshot SET body = zeroblob(3) WHERE document_id = 2",
            3,
        ),
        (
            "a wrong checksum",
            "UPDATE document_update SET checksum = checksum + 1 WHERE document_id = 2 AND sequence = 4",
            4,
        ),
        (
            "a lost end",
            "DELETE FROM document_update WHERE document_id = 2 AND sequence = 5",
            5,
        ),
        (
            "a number that cannot be",
            "UPDATE document SET last = -1 WHERE id = 2",
            0,
        ),
    ];
    for (what, sql, at) in spoil {
        let (_folder, path) = place();
        let store = SqliteStore::open(&path).unwrap();
        for name in ["a", "b", "c"] {
            let log = (1..=5).map(|n| append(name, n, "x"));
            store.write(&log.collect::<Vec<_>>()).unwrap();
            store.write(&[snapshot(name, 3, "xxx")]).unwrap();
        }
        let changed = Connection::open(&path).unwrap().execute(sql, []).unwrap();
        assert_eq!(changed, 1, "{what}");
        match store.load(&room("b")) {
            Err(StoreError::Damaged {
                room: name,
                sequence,
                ..
            }) => {
                assert_eq!((name, sequence), (room("b"), at), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
        for name in ["a", "c"] {
            assert_stored(&store, name, &[(3, "xxx"), (4, "x"), (5, "x")], 5);
            store.write(&[append(name, 6, "y")]).unwrap();
        }
    }
}

#[test]
fn updates_of_one_commit_share_a_row_and_are_the_same_updates() {
    let (_folder, path) = place();
    let memory = MemoryStore::new();
    let names = ["a", "b", "c"].map(str::to_owned);
    let mut random = Random::new(5);
    let mut ends = BTreeMap::new();
    let mut ids = BatchIds::new(5);
    for _ in 0..60 {
        let store = SqliteStore::open(&path).unwrap().sharing_rows();
        let batch: Vec<_> = (0..100)
            .map(|_| any_write(&mut random, &names, &mut ends))
            .collect();
        let id = ids.next_id();
        // The answer may be lost.
        for _ in 0..1 + usize::from(random.one_in(4)) {
            commit_alike(&store, &memory, Some(id), &batch);
        }
        for name in &names {
            assert_same(&store, &memory, &room(name));
        }
        assert_eq!(store.complaints().unwrap(), [""; 0]);
    }
}

#[test]
fn an_update_that_shares_a_row_may_be_written_again_and_another_not() {
    let (_folder, path) = place();
    let store = packed(&path);
    for at in [1, 63, 64, 65, 150, 200] {
        let same = append("b", at, &format!("update {at}"));
        store.write(&[same]).unwrap();
        let error = store.write(&[append("b", at, "another")]).unwrap_err();
        assert!(
            error.is_final() && error.to_string().contains(&format!("at {at}")),
            "{error}"
        );
    }
}

/// A store with two hundred updates of each of three rooms, that share a few rows.
fn packed(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).unwrap().sharing_rows();
    let log = |name| (1..=200).map(move |n| append(name, n, &format!("update {n}")));
    let batch: Vec<_> = ["a", "b", "c"].into_iter().flat_map(log).collect();
    store.write(&batch).unwrap();
    store
}

fn rows_of_log(path: &Path) -> u32 {
    let query = "SELECT count(*) FROM document_update";
    let connection = Connection::open(path).unwrap();
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_store_that_has_rested_goes_on() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    for number in 1..=3 {
        store.write(&[append("a", number, "x")]).unwrap();
        assert_eq!(store.load(&room("a")).unwrap().last, number);
        store.rest();
    }
    assert_stored(&store, "a", &[(1, "x"), (2, "x"), (3, "x")], 3);
    SqliteStore::open_to_read(&path).unwrap().rest();
}

#[test]
fn a_shared_row_is_taken_apart_where_one_of_it_is_to_go() {
    let (_folder, path) = place();
    let store = packed(&path);
    let before = rows_of_log(&path);
    assert!(before < 3 * 200 / 20, "{before} rows");
    store.write(&[aside("a", 150)]).unwrap();
    store.write(&[snapshot("b", 150, "the first")]).unwrap();
    let kept = |store: &SqliteStore, name| store.load(&room(name)).unwrap().updates;
    let places = |store: &SqliteStore, name| -> Vec<Sequence> {
        kept(store, name).iter().map(|(place, _)| *place).collect()
    };
    assert!(
        places(&store, "a")
            .into_iter()
            .eq((1..=200).filter(|n| *n != 150))
    );
    let set_aside = store.quarantined(&room("a")).unwrap();
    assert_eq!(set_aside, [(150, Bytes::from_static(b"update 150"))]);
    assert!(places(&store, "b").into_iter().eq(150..=200));
    let whole = kept(&store, "c");
    drop(store);

    // The tables as they were before there were such rows.
    SqliteStore::undo_migrations(&path, 2).unwrap();
    assert_eq!(rows_of_log(&path), 199 + 50 + 200);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(kept(&store, "c"), whole);
    assert!(
        places(&store, "a")
            .into_iter()
            .eq((1..=200).filter(|n| *n != 150))
    );
    assert_eq!(store.complaints().unwrap(), [""; 0]);
}

#[test]
fn damage_in_a_shared_row_is_that_of_one_update() {
    let spoil = [
        (
            "a flipped bit",
            "UPDATE document_update SET body = CAST(replace(body, 'update 70', 'update 07') AS BLOB)
             WHERE document_id = 2",
            70,
        ),
        (
            "a flipped bit in the parts",
            "UPDATE document_update SET parts = replace(parts, '[10,', '[11,')
             WHERE document_id = 2 AND sequence = 192",
            192,
        ),
        (
            "a lost byte",
            "UPDATE document_update SET body = substr(body, 2)
             WHERE document_id = 2 AND sequence = 64",
            64,
        ),
    ];
    for (what, sql, at) in spoil {
        let (_folder, path) = place();
        let store = packed(&path);
        assert!(0 < Connection::open(&path).unwrap().execute(sql, []).unwrap());
        match store.load(&room("b")) {
            Err(StoreError::Damaged { sequence, .. }) => assert_eq!(sequence, at, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(store.load(&room("a")).unwrap().updates.len(), 200);
    }
}

#[test]
fn a_broken_page_is_a_complaint_and_harms_its_room_only() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let large = "large".repeat(20_000);
    store
        .write(&[append("a", 1, &large), append("b", 1, "small")])
        .unwrap();
    drop(store);
    let mut file = fs::read(&path).unwrap();
    // From the end: what of it lies with other rows is far before all the rest.
    let is_large = |bytes: &[u8]| bytes == b"largelarge";
    let middle = file.windows(10).rposition(is_large).unwrap() - 40_000;
    file[middle..middle + 8_192].fill(0xee);
    fs::write(&path, file).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert!(!store.complaints().unwrap().is_empty());
    match store.load(&room("a")) {
        Err(StoreError::Damaged { sequence: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_stored(&store, "b", &[(1, "small")], 1);
}

#[test]
fn a_name_that_is_none_is_a_complaint_and_hides_no_other() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    for name in ["a", "b", "c"] {
        store.write(&[append(name, 1, "x")]).unwrap();
    }
    let sql = "UPDATE document SET room = 'b//' WHERE room = 'b'";
    Connection::open(&path).unwrap().execute(sql, []).unwrap();
    assert_eq!(all_rooms(&store, 1), [room("a"), room("c")]);
    let complaints = store.complaints().unwrap();
    assert!(
        complaints.len() == 1 && complaints[0].contains("document 2"),
        "{complaints:?}"
    );
}

#[test]
fn after_a_failed_write_the_store_works_again() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.write(&[append("a", 1, "x")]).unwrap();
    // The second row of the batch is refused, as a full disk would.
    let other = Connection::open(&path).unwrap();
    let refuse = "CREATE TRIGGER full BEFORE INSERT ON document_update WHEN new.sequence = 3
                  BEGIN SELECT raise(ABORT, 'disk full'); END";
    other.execute_batch(refuse).unwrap();
    let batch = [
        append("b", 1, "x"),
        append("a", 2, "y"),
        append("a", 3, "z"),
    ];
    for _ in 0..3 {
        let Err(StoreError::Down(reason)) = store.write(&batch) else {
            panic!("written although it was refused");
        };
        assert!(reason.contains("disk full"), "{reason}");
        assert_stored(&store, "a", &[(1, "x")], 1);
        assert_eq!(store.rooms(None, 9).unwrap(), [room("a")]);
    }
    other.execute_batch("DROP TRIGGER full").unwrap();
    store.write(&batch).unwrap();
    assert_stored(&store, "a", &[(1, "x"), (2, "y"), (3, "z")], 3);
    assert_stored(&store, "b", &[(1, "x")], 1);

    // Somebody else's transaction is waited for, but not for ever; reading goes on.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.write(&[append("a", 4, "!")]).unwrap_err().to_string();
    assert!(error.contains("locked"), "{error}");
    assert_stored(&store, "b", &[(1, "x")], 1);
    other.execute_batch("ROLLBACK").unwrap();
    store.write(&[append("a", 4, "!")]).unwrap();
    assert_eq!(store.complaints().unwrap(), [""; 0]);
}

#[test]
fn a_torn_log_loses_only_what_was_not_acknowledged() {
    let (folder, path) = place();
    let log = with_suffix(&path, "-wal");
    let store = SqliteStore::open(&path).unwrap();
    // How long the log was when a number was acknowledged.
    let mut acknowledged = vec![(fs::metadata(&log).unwrap().len(), 0)];
    let mut random = Random::new(11);
    let body = |number: u64| format!("{number}!").repeat(number as usize % 40 * 20);
    for number in 1..=150 {
        store.write(&[append("a", number, &body(number))]).unwrap();
        acknowledged.push((fs::metadata(&log).unwrap().len(), number));
    }
    let (end, last) = acknowledged[acknowledged.len() - 1];
    let is_monotonous = acknowledged.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(
        is_monotonous,
        "the log was begun again, which this test does not expect"
    );
    for round in 0..150 {
        let copy = folder.path().join(format!("{round}.db"));
        let torn = with_suffix(&copy, "-wal");
        fs::copy(&path, &copy).unwrap();
        let length = random.below(end as usize + 1) as u64;
        let mut bytes = fs::read(&log).unwrap();
        bytes.truncate(length as usize);
        if random.one_in(2) {
            // Space that was allocated and never written.
            bytes.resize(bytes.len() + random.below(9_000), 0);
        }
        fs::write(&torn, bytes).unwrap();
        let promised = acknowledged
            .iter()
            .rev()
            .find(|(needed, _)| *needed <= length)
            .map_or(0, |(_, number)| *number);
        let Ok(copy) = SqliteStore::open(&copy) else {
            panic!("torn at {length}: cannot be opened");
        };
        let stored = copy.load(&room("a")).unwrap();
        assert!(
            (promised..=last).contains(&stored.last),
            "torn at {length}: {}",
            stored.last
        );
        let expected = (1..=stored.last).map(|number| (number, Bytes::from(body(number))));
        assert!(stored.updates.into_iter().eq(expected));
        assert_eq!(copy.complaints().unwrap(), [""; 0]);
        copy.write(&[append("a", stored.last + 1, "on")]).unwrap();
    }
}

#[test]
fn a_copy_taken_at_any_moment_has_all_that_was_acknowledged_before() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let (acknowledged, is_done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            // Few enough that the log is not moved into the file while it is copied.
            for number in 1..=250 {
                store.write(&[append("a", number, "x")]).unwrap();
                acknowledged.store(number, Ordering::Release);
            }
            is_done.store(true, Ordering::Release);
        });
        let mut round = 0;
        while !is_done.load(Ordering::Acquire) {
            round += 1;
            let copy = folder.path().join(format!("{round}.db"));
            let before = acknowledged.load(Ordering::Acquire);
            fs::copy(&path, &copy).unwrap();
            fs::copy(with_suffix(&path, "-wal"), with_suffix(&copy, "-wal")).unwrap();
            let copy = SqliteStore::open(&copy).unwrap();
            let stored = copy.load(&room("a")).unwrap();
            assert!(before <= stored.last);
            assert_eq!(stored.updates.len() as u64, stored.last);
            assert_eq!(copy.complaints().unwrap(), [""; 0]);
        }
    });
}

#[test]
fn the_log_stays_short_and_a_long_reader_blocks_nobody() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let log = with_suffix(&path, "-wal");
    let body = "x".repeat(10_000);
    let mut number = 0;
    let mut write = |times| {
        for _ in 0..times {
            number += 1;
            store.write(&[append("a", number, &body)]).unwrap();
        }
        fs::metadata(&log).unwrap().len()
    };
    let usual = write(1_500);
    assert!(usual < 8 << 20, "{usual} bytes of log for 15 MB");
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("BEGIN; SELECT * FROM document")
        .unwrap();
    assert!(usual < write(1_500), "the reader needs the log");
    other.execute_batch("COMMIT").unwrap();
    let with_reader = write(10);
    assert!(
        write(600) <= with_reader,
        "the log is used again once the reader is gone"
    );
    assert_eq!(store.load(&room("a")).unwrap().last, number);
}

#[test]
fn compaction_gives_space_back() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let body = "x".repeat(900);
    for batch in 0..60 {
        let updates: Vec<_> = (1..=1_000)
            .map(|n| append(&format!("room-{}", n % 20), batch * 1_000 + n, &body))
            .collect();
        store.write(&updates).unwrap();
    }
    let pages = |store: &SqliteStore| {
        assert_eq!(store.complaints().unwrap(), [""; 0]);
        let reader = Connection::open(&path).unwrap();
        reader
            .pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))
            .unwrap()
            * 4_096
    };
    let before = pages(&store);
    assert!(54 << 20 < before, "{before}");
    for number in 0..20 {
        let name = format!("room-{number}");
        let through = store.load(&room(&name)).unwrap().last;
        store.write(&[snapshot(&name, through, "short")]).unwrap();
    }
    for number in 60_001..60_020 {
        store.write(&[append("another", number, "x")]).unwrap();
    }
    let after = pages(&store);
    assert!(after < 8 << 20, "{after} of {before}");
    drop(store);
    assert!(fs::metadata(&path).unwrap().len() < 8 << 20);
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("copresence.db");
    (folder, path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn schema(path: &Path) -> BTreeMap<String, Option<String>> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

/// The files of a folder that hold these words.
fn files_with(folder: &Path, words: &str) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let holding = files.filter(|file| {
        let bytes = fs::read(file.path()).unwrap();
        bytes
            .windows(words.len())
            .any(|found| found == words.as_bytes())
    });
    holding
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn what_a_snapshot_leaves_out_is_found_in_no_file() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let secret = "whoever reads this reads what was deleted; ";
    for sequence in 1..=40 {
        // Alone on a page, and over many.
        let body = secret.repeat(if sequence % 4 == 0 { 1_000 } else { 5 });
        store.write(&[append("a", sequence, &body)]).unwrap();
    }
    assert!(!files_with(folder.path(), secret).is_empty());
    store.write(&[snapshot("a", 40, "what is left")]).unwrap();
    store.rest();
    assert_eq!(
        files_with(folder.path(), secret),
        [""; 0],
        "while it is open"
    );
    assert_stored(&store, "a", &[(40, "what is left")], 40);
    drop(store);
    assert_eq!(files_with(folder.path(), secret), [""; 0]);
    assert!(!files_with(folder.path(), "what is left").is_empty());
}

#[cfg(unix)]
#[test]
fn its_files_are_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let modes = |folder: &Path| -> BTreeMap<String, u32> {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
        let mode = |file: &fs::DirEntry| file.metadata().unwrap().permissions().mode() & 0o777;
        let named = files.map(|file| (file.file_name().into_string().unwrap(), mode(&file)));
        named.collect()
    };
    let all = |mode: u32| -> BTreeMap<String, u32> {
        ["", "-shm", "-wal", ".lock"]
            .map(|suffix| (format!("copresence.db{suffix}"), mode))
            .into()
    };
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.write(&[append("a", 1, "x")]).unwrap();
    assert_eq!(modes(folder.path()), all(0o600));
    drop(store);
    // As a former version made them.
    let set = |mode| {
        for name in modes(folder.path()).keys() {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.path().join(name), permissions).unwrap();
        }
    };
    set(0o644);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(modes(folder.path()), all(0o600));
    drop(store);
    // As somebody made them who wants a group to read.
    set(0o640);
    let store = SqliteStore::open(&path).unwrap();
    let of_group = modes(folder.path());
    assert_eq!(of_group["copresence.db"], 0o640);
    assert_stored(&store, "a", &[(1, "x")], 1);
}

#[test]
fn what_is_written_where_nobody_looks_is_not_stored() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("data");
    let path = folder.join("copresence.db");
    let store = SqliteStore::open(&path).unwrap();
    store.write(&[append("a", 1, "x")]).unwrap();
    let refused = |number, why: &str| {
        for outcome in [store.write(&[append("a", number, "y")]), store.probe()] {
            let error = outcome.unwrap_err().to_string();
            assert!(
                error.contains("copresence.db") && error.contains(why),
                "{error}"
            );
        }
    };
    let away = parent.path().join("away");
    fs::rename(&folder, &away).unwrap();
    refused(2, "was removed");
    // Another in its place is not touched.
    drop(SqliteStore::open(&path).unwrap());
    refused(2, "is another file now");
    let other = SqliteStore::open_to_read(&path).unwrap();
    assert_stored(&other, "a", &[], 0);
    drop(other);
    fs::remove_dir_all(&folder).unwrap();
    refused(2, "was removed");
    fs::rename(&away, &folder).unwrap();
    store.probe().unwrap();
    store.write(&[append("a", 2, "y")]).unwrap();
    assert_stored(&store, "a", &[(1, "x"), (2, "y")], 2);
    // The log alone is enough.
    let log = folder.join("copresence.db-wal");
    fs::rename(&log, folder.join("elsewhere")).unwrap();
    refused(3, "copresence.db-wal was removed");
    fs::rename(folder.join("elsewhere"), &log).unwrap();
    store.write(&[append("a", 3, "y")]).unwrap();
    assert_stored(&store, "a", &[(1, "x"), (2, "y"), (3, "y")], 3);
    assert_eq!(store.complaints().unwrap(), [""; 0]);
}
