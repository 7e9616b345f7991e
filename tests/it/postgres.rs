//! PostgreSQL keeps what it has been given, whatever happens to it meanwhile.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use copresence::clock::Timestamp;
use copresence::model::{RoomName, UserId};
use copresence::store::{
    FollowsChange, People, PostgresStore, PresenceRow, Sequence, Store, StoreError, TIME_MAX, Write,
};

use crate::support::postgres::{Database, PASSWORD, Postgres};
use crate::support::time::{PATIENCE, now};
use crate::{people, revocations, store};

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn append(name: &str, sequence: Sequence, text: &str) -> (RoomName, Write) {
    let update = Bytes::copy_from_slice(text.as_bytes());
    (room(name), Write::Append { sequence, update })
}

fn snapshot(name: &str, through: Sequence, text: &str) -> (RoomName, Write) {
    let update = Bytes::copy_from_slice(text.as_bytes());
    (room(name), Write::Snapshot { through, update })
}

fn quarantine(name: &str, sequence: Sequence) -> (RoomName, Write) {
    (room(name), Write::Quarantine { sequence })
}

/// What is kept of a room, as text: `1:a 2:b, last 2`.
fn kept(store: &dyn Store, name: &str) -> String {
    let stored = store.load(&room(name)).unwrap();
    format!("{}, last {}", as_text(&stored.updates), stored.last)
}

fn as_text(updates: &[(Sequence, Bytes)]) -> String {
    let update = |(sequence, body): &(Sequence, Bytes)| {
        format!("{sequence}:{}", String::from_utf8_lossy(body))
    };
    updates.iter().map(update).collect::<Vec<_>>().join(" ")
}

/// As soon as the one before has let go of it.
fn open(database: &Database) -> PostgresStore {
    when_free(|| PostgresStore::open(&database.url)).unwrap()
}

/// The server takes a moment to see that a session has ended.
fn when_free<T>(open: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let deadline = now() + PATIENCE;
    loop {
        match open() {
            Err(StoreError::Taken(_)) if now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// What every store does alike.
fn conforms(store: &dyn Store) {
    assert_eq!(kept(store, "new"), ", last 0");
    assert!(store.quarantined(&room("new")).unwrap().is_empty());
    assert!(store.rooms(None, 10).unwrap().is_empty());
    store.write(&[]).unwrap();

    let first = [
        append("a", 1, "one"),
        append("b/ö", 1, ""),
        append("a", 2, "two"),
    ];
    store.write(&first).unwrap();
    assert_eq!(kept(store, "a"), "1:one 2:two, last 2");
    assert_eq!(kept(store, "b/ö"), "1:, last 1");

    // In order, within a batch and a room.
    store
        .write(&[
            append("a", 3, "three"),
            snapshot("a", 2, "one two"),
            append("a", 4, "four"),
            quarantine("a", 3),
        ])
        .unwrap();
    assert_eq!(kept(store, "a"), "2:one two 4:four, last 4");
    let aside = store.quarantined(&room("a")).unwrap();
    assert_eq!(as_text(&aside), "3:three");

    store.write(&[quarantine("a", 77)]).unwrap();
    assert_eq!(kept(store, "a"), "2:one two 4:four, last 4");

    store.write(&[snapshot("a", 4, "all")]).unwrap();
    assert_eq!(kept(store, "a"), "4:all, last 4");
    store.write(&[snapshot("c", 9, "imported")]).unwrap();
    assert_eq!(kept(store, "c"), "9:imported, last 9");
    // A snapshot can be at fault itself; the log goes on where it was.
    assert_eq!(kept(store, "c"), "9:imported, last 9");
    store
        .write(&[quarantine("c", 9), append("c", 10, "on")])
        .unwrap();
    assert_eq!(kept(store, "c"), "10:on, last 10");

    let names = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(room);
        let rooms = store.rooms(after.as_ref(), limit).unwrap();
        rooms.iter().map(ToString::to_string).collect()
    };
    store
        .write(&[
            append("B", 1, "x"),
            append("ä", 1, "x"),
            append("b", 1, "x"),
        ])
        .unwrap();
    assert_eq!(names(None, 10), ["B", "a", "b", "b/ö", "c", "ä"]);
    assert_eq!(names(Some("a"), 2), ["b", "b/ö"]);
    assert_eq!(names(Some("aa"), 1), ["b"]);
    assert!(names(Some("ä"), 5).is_empty());
    assert_eq!(store.complaints().unwrap(), Vec::<String>::new());
}

#[test]
fn it_is_a_store_like_the_others() {
    conforms(&open(&Postgres::shared().database()));
}

#[test]
fn it_keeps_the_promises_of_every_store() {
    store::conforms(|| Box::new(open(&Postgres::shared().database())));
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let database = Postgres::shared().database();
    let store = open(&database);
    let mut client = database.client();
    client
        .batch_execute(
            "ALTER TABLE collab.document_update ADD CONSTRAINT no_seven CHECK (sequence <> 7)",
        )
        .unwrap();
    let batch = [
        append("a", 1, "x"),
        snapshot("b", 3, "x"),
        append("b", 7, "x"),
    ];
    let error = store.write(&batch).unwrap_err();
    assert!(matches!(error, StoreError::Down(_)), "{error}");
    assert_eq!(kept(&store, "a"), ", last 0");
    assert!(store.rooms(None, 5).unwrap().is_empty());
    store.write(&batch[..2]).unwrap();
    assert_eq!(kept(&store, "b"), "3:x, last 3");
}

#[test]
fn large_bodies_pass() {
    let store = open(&Postgres::shared().database());
    let update = Bytes::from(vec![0xA5; 12 << 20]);
    let batch: Vec<_> = (1..=4)
        .map(|sequence| {
            let update = update.clone();
            (room("large"), Write::Append { sequence, update })
        })
        .collect();
    store.write(&batch).unwrap();
    let stored = store.load(&room("large")).unwrap();
    assert_eq!(stored.updates.len(), 4);
    assert!(stored.updates.iter().all(|(_, body)| *body == update));
}

#[test]
fn an_answer_means_a_flush_also_where_the_database_is_told_to_be_quick() {
    let database = Postgres::shared().database();
    let mut client = database.client();
    let name: String = client
        .query_one("SELECT current_database()", &[])
        .unwrap()
        .get(0);
    client
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET synchronous_commit = off"
        ))
        .unwrap();
    let store = open(&database);
    // Says what the setting was in the transaction that wrote.
    client
        .batch_execute(
            "CREATE TABLE seen (setting text);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL;
             END $$;
             CREATE TRIGGER note AFTER INSERT ON collab.document_update
                 EXECUTE FUNCTION note();",
        )
        .unwrap();
    store.write(&[append("a", 1, "x")]).unwrap();
    let seen: String = client
        .query_one("SELECT setting FROM seen", &[])
        .unwrap()
        .get(0);
    assert_eq!(seen, "on");
}

#[test]
fn a_damaged_row_damages_its_room_alone() {
    let database = Postgres::shared().database();
    let store = open(&database);
    store
        .write(&[
            append("a", 1, "one"),
            append("a", 2, "two"),
            append("b", 1, "one"),
        ])
        .unwrap();
    database
        .client()
        .batch_execute("UPDATE collab.document_update SET body = 'twO' WHERE sequence = 2")
        .unwrap();
    match store.load(&room("a")).unwrap_err() {
        StoreError::Damaged {
            room: whose,
            sequence,
            ..
        } => {
            assert_eq!((whose.as_str(), sequence), ("a", 2));
        }
        error => panic!("{error}"),
    }
    assert_eq!(kept(&store, "b"), "1:one, last 1");
    store.write(&[append("a", 3, "three")]).unwrap();
}

#[test]
fn a_row_that_is_gone_from_the_end_of_the_log_is_missed() {
    let database = Postgres::shared().database();
    let store = open(&database);
    store
        .write(&[append("a", 1, "one"), append("a", 2, "two")])
        .unwrap();
    store
        .write(&[
            append("b", 1, "one"),
            quarantine("b", 1),
            snapshot("b", 1, "s"),
        ])
        .unwrap();
    store.write(&[quarantine("b", 1)]).unwrap();
    database
        .client()
        .batch_execute("DELETE FROM collab.document_update WHERE sequence = 2")
        .unwrap();
    let error = store.load(&room("a")).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    // What was set aside is not missing, and both are kept.
    assert_eq!(kept(&store, "b"), ", last 1");
    assert_eq!(store.quarantined(&room("b")).unwrap().len(), 2);
}

#[test]
fn a_store_that_is_opened_to_be_read_makes_nothing() {
    let database = Postgres::shared().database();
    assert!(PostgresStore::open_to_read(&database.url).is_err());
    assert!(PostgresStore::open_existing(&database.url, "a tool").is_err());
    open(&database).write(&[append("a", 1, "one")]).unwrap();
    let reader = PostgresStore::open_to_read(&database.url).unwrap();
    assert_eq!(kept(&reader, "a"), "1:one, last 1");
    assert!(reader.write(&[append("a", 2, "two")]).is_err());
    let writer = when_free(|| PostgresStore::open_existing(&database.url, "a tool")).unwrap();
    writer.write(&[append("a", 2, "two")]).unwrap();
    assert_eq!(kept(&reader, "a"), "1:one 2:two, last 2");
}

#[test]
fn a_name_that_is_none_is_complained_of_and_skipped() {
    let database = Postgres::shared().database();
    let store = open(&database);
    store
        .write(&[append("a", 1, "x"), append("c", 1, "x")])
        .unwrap();
    database
        .client()
        .batch_execute("INSERT INTO collab.document (room, last) VALUES ('b//b', 0)")
        .unwrap();
    assert_eq!(store.rooms(None, 2).unwrap(), [room("a"), room("c")]);
    assert_eq!(store.complaints().unwrap(), ["\"b//b\" is no room name"]);
}

#[test]
fn it_says_when_the_tables_contradict_each_other() {
    let database = Postgres::shared().database();
    let store = open(&database);
    store
        .write(&[append("a", 1, "one"), append("a", 2, "two")])
        .unwrap();
    database
        .client()
        .batch_execute("UPDATE collab.document SET last = 1")
        .unwrap();
    let complaints = store.complaints().unwrap();
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].starts_with("a: "), "{complaints:?}");
    let error = store.load(&room("a")).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn several_may_open_an_empty_database_at_once() {
    let database = Postgres::shared().database();
    let start = Barrier::new(6);
    thread::scope(|scope| {
        for number in 0..6 {
            let (start, database) = (&start, &database);
            scope.spawn(move || {
                start.wait();
                let store = open(database);
                let name = format!("room-{number}");
                store.write(&[append(&name, 1, "here")]).unwrap();
            });
        }
    });
    assert_eq!(open(&database).rooms(None, 10).unwrap().len(), 6);
}

#[test]
fn migrations_can_be_run_again_and_undone() {
    let database = Postgres::shared().database();
    let store = open(&database);
    store.write(&[append("a", 1, "one")]).unwrap();
    drop(store);
    let again = open(&database);
    assert_eq!(kept(&again, "a"), "1:one, last 1");
    drop(again);

    let undo = || when_free(|| PostgresStore::undo_migrations(&database.url, 0)).unwrap();
    assert_eq!(undo(), [4, 3, 2, 1]);
    assert!(undo().is_empty());
    let tables = "SELECT table_name::text FROM information_schema.tables
                  WHERE table_schema = 'collab'";
    let left: Vec<String> = database
        .client()
        .query(tables, &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(left, ["migration"]);
    conforms(&open(&database));
}

#[test]
fn tables_of_a_newer_version_are_left_alone() {
    let database = Postgres::shared().database();
    drop(open(&database));
    database
        .client()
        .batch_execute("INSERT INTO collab.migration (number) VALUES (9999)")
        .unwrap();
    let open = || PostgresStore::open(&database.url);
    let error = when_free(open).err().unwrap().to_string();
    assert!(error.contains("newer version (migration 9999)"), "{error}");
}

#[test]
fn a_server_that_was_stopped_is_used_again_when_it_is_back() {
    let mut server = Postgres::begin();
    let database = server.database();
    let store = open(&database);
    store.write(&[append("a", 1, "one")]).unwrap();

    server.stop();
    let error = store.write(&[append("a", 2, "two")]).unwrap_err();
    assert!(matches!(error, StoreError::Down(_)), "{error}");
    assert!(!error.to_string().contains(PASSWORD), "{error}");
    assert!(store.load(&room("a")).is_err());
    assert!(PostgresStore::open(&database.url).is_err());

    server.start();
    store.write(&[append("a", 2, "two")]).unwrap();
    assert_eq!(kept(&store, "a"), "1:one 2:two, last 2");

    // Restarted unnoticed: the connections are dead, and nobody needs to know.
    server.stop();
    server.start();
    assert_eq!(kept(&store, "a"), "1:one 2:two, last 2");
    store.write(&[append("a", 3, "three")]).unwrap();
    assert_eq!(kept(&store, "a"), "1:one 2:two 3:three, last 3");
}

#[test]
fn what_was_answered_survives_the_servers_death() {
    let mut server = Postgres::begin();
    let database = server.database();
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let failures = AtomicU64::new(0);
    let rooms = 5;
    thread::scope(|scope| {
        scope.spawn(|| {
            let store = open(&database);
            let mut sequence = 1;
            while !is_over.load(Ordering::SeqCst) {
                let batch: Vec<_> = (0..rooms)
                    .map(|at| append(&format!("{at}"), sequence, &format!("{at}.{sequence}")))
                    .collect();
                match store.write(&batch) {
                    Ok(()) => {
                        answered.store(sequence, Ordering::SeqCst);
                        sequence += 1;
                    }
                    // The same again, as the relay does: the answer may have been lost.
                    Err(StoreError::Down(_)) => {
                        failures.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(20));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for round in 0..4 {
            let enough = answered.load(Ordering::SeqCst) + 30 + 7 * round;
            wait_for("writes to be answered", || {
                enough <= answered.load(Ordering::SeqCst)
            });
            server.kill();
            let at_death = answered.load(Ordering::SeqCst);
            server.start();
            let reader = PostgresStore::open_to_read(&database.url).unwrap();
            let stored = reader.load(&room("0")).unwrap();
            assert!(at_death <= stored.last, "{at_death} was answered");
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(failures.load(Ordering::SeqCst) > 0, "nobody noticed");

    let store = open(&database);
    let last = answered.load(Ordering::SeqCst);
    for at in 0..rooms {
        let stored = store.load(&room(&format!("{at}"))).unwrap();
        assert_eq!(stored.last, last);
        let expected: Vec<_> = (1..=last)
            .map(|sequence| (sequence, Bytes::from(format!("{at}.{sequence}"))))
            .collect();
        assert!(
            stored.updates == expected,
            "room {at} is not what was written"
        );
    }
    assert_eq!(store.complaints().unwrap(), Vec::<String>::new());
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://relay@{}/db", silent.local_addr().unwrap());
    let begun = now();
    let error = PostgresStore::open(&url).err().unwrap().to_string();
    assert!(error.contains("no answer within"), "{error}");
    assert!(now() - begun < Duration::from_secs(20));
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !is_so() {
        assert!(now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn encryption_is_what_the_url_asks_for() {
    let server = Postgres::shared();
    let database = server.database();
    let is_encrypted = |sslmode: &str| -> Result<bool, StoreError> {
        let name = format!("tls-{}", sslmode.len());
        let url = database.url_with(&format!("{sslmode}&application_name={name}"));
        let _store = when_free(|| PostgresStore::open(&url))?;
        let query = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = $1 ORDER BY backend_start DESC LIMIT 1";
        Ok(database.client().query_one(query, &[&name]).unwrap().get(0))
    };
    assert!(!is_encrypted("disable").unwrap());
    assert!(is_encrypted("prefer").unwrap());
    assert!(is_encrypted("require").unwrap());
    let own = format!("verify-full&sslrootcert={}", server.certificate().display());
    assert!(is_encrypted(&own).unwrap());
    let error = is_encrypted("verify-full").unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    // The certificate is for the address, not for the name.
    let named = database.url_with(&own).replace("127.0.0.1", "localhost");
    let error = PostgresStore::open(&named).err().unwrap().to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn the_password_is_in_no_message() {
    let good = Postgres::shared().database().url;
    let wrong_password = good.replace("s3same", "wr0ng-s3same");
    let urls = [
        wrong_password,
        good.replace("/test_", "/no_such_test_"),
        good.replace("127.0.0.1", "host.invalid"),
        good.replace("relay:", "nobody:"),
        good.replace("sslmode=disable", "sslmode=verify-full"),
        good.replace("sslmode=disable", "ssl=s3same"),
        good.replace("127.0.0.1:", "127.0.0.1:x"),
        good.replace("relay:", "rel@y:"),
    ];
    for url in urls {
        let error = PostgresStore::open(&url).err().unwrap().to_string();
        for secret in ["s3same", "dich"] {
            assert!(!error.contains(secret), "{error}");
        }
    }
}

#[test]
fn it_keeps_revocations_as_every_store_does() {
    revocations::conforms(|| Box::new(open(&Postgres::shared().database())));
}

#[test]
fn it_remembers_people_as_every_store_does() {
    people::conforms(|| Box::new(open(&Postgres::shared().database())));
}

#[test]
fn the_table_of_presences_is_the_contracts() {
    let database = Postgres::shared().database();
    let store = open(&database);
    let row = PresenceRow {
        cursor: Some((1.5, -2.0)),
        last_heartbeat_at: Timestamp::from_millis(1_795_249_800_123),
        ..people::session("42", "s-1", "ann", 951_782_400_000)
    };
    store.record(&[people::presence(&row)]).unwrap();
    let mut client = database.client();
    let mut texts = |query: &str| -> Vec<String> {
        let rows = client.query(query, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let columns = "SELECT attname || ' ' || format_type(atttypid, NULL)
                       || CASE WHEN attnotnull THEN ' not null' ELSE '' END
                   FROM pg_attribute
                   WHERE attrelid = 'collab.presence'::regclass AND 0 < attnum ORDER BY attnum";
    assert_eq!(
        texts(columns),
        [
            "board_id text not null",
            "user_id text not null",
            "session_id text not null",
            "status collab.presence_status not null",
            "cursor_x double precision",
            "cursor_y double precision",
            "last_heartbeat_at timestamp with time zone not null",
            "connected_at timestamp with time zone not null",
            "disconnected_at timestamp with time zone",
        ]
    );
    let statuses = "SELECT enumlabel::text FROM pg_enum
                    WHERE enumtypid = 'collab.presence_status'::regtype ORDER BY enumsortorder";
    assert_eq!(texts(statuses), ["online", "idle", "away"]);
    let indexes = "SELECT indexdef FROM pg_indexes
                   WHERE schemaname = 'collab' AND tablename = 'presence' ORDER BY indexname";
    assert_eq!(
        texts(indexes),
        [
            "CREATE INDEX presence_board_id_idx ON collab.presence USING btree (board_id)",
            "CREATE INDEX presence_disconnected_at_idx ON collab.presence \
             USING btree (disconnected_at)",
            "CREATE UNIQUE INDEX presence_pkey ON collab.presence \
             USING btree (board_id, session_id)",
        ]
    );
    let written = "SELECT concat_ws(' ', board_id, user_id, session_id, status, cursor_x, cursor_y,
                                    last_heartbeat_at AT TIME ZONE 'UTC',
                                    connected_at AT TIME ZONE 'UTC', disconnected_at)
                   FROM collab.presence";
    let expected = "42 ann s-1 online 1.5 -2 2026-11-21 08:30:00.123 2000-02-29 00:00:00";
    assert_eq!(texts(written), [expected]);
}

#[test]
fn the_migration_for_people_can_be_undone_alone_and_done_again() {
    let database = Postgres::shared().database();
    let store = open(&database);
    store.write(&[append("a", 1, "one")]).unwrap();
    let batch = [people::left("event/1", "ann", 1)];
    store.record(&batch).unwrap();
    drop(store);
    let of_people = "SELECT (SELECT count(*) FROM pg_type
                             WHERE typnamespace = 'collab'::regnamespace
                                 AND typname = 'presence_status')
                         + (SELECT count(*) FROM pg_tables WHERE schemaname = 'collab'
                            AND tablename IN ('presence', 'departed', 'feed_seen', 'follower',
                                              'follow'))";
    let count = || -> i64 {
        let row = database.client().query_one(of_people, &[]).unwrap();
        row.get(0)
    };
    assert_eq!(count(), 6);
    for _ in 0..2 {
        when_free(|| PostgresStore::undo_migrations(&database.url, 1)).unwrap();
        assert_eq!(count(), 0);
    }
    assert!(PostgresStore::open_to_read(&database.url).is_err());
    // A type or a table of that name may be there already.
    database
        .client()
        .batch_execute("CREATE TYPE collab.presence_status AS ENUM ('online', 'idle', 'away')")
        .unwrap();
    for _ in 0..2 {
        let store = open(&database);
        assert_eq!(count(), 6);
        assert_eq!(kept(&store, "a"), "1:one, last 1");
        assert_eq!(people::seen(&store, "event/1"), "");
    }
    open(&database).record(&batch).unwrap();
}

#[test]
fn a_batch_of_records_that_fails_leaves_nothing() {
    let database = Postgres::shared().database();
    let store = open(&database);
    let mut client = database.client();
    client
        .batch_execute("ALTER TABLE collab.feed_seen ADD CONSTRAINT no CHECK (user_id <> 'ann')")
        .unwrap();
    let batch = [
        people::left("event/1", "ann", 1),
        people::feed_seen("ann", 1),
    ];
    store.record(&batch).unwrap_err();
    assert_eq!(people::seen(&store, "event/1"), "");
    client
        .batch_execute("ALTER TABLE collab.feed_seen DROP CONSTRAINT no")
        .unwrap();
    store.record(&batch).unwrap();
    assert_eq!(people::seen(&store, "event/1"), "ann 1");
    let reader = PostgresStore::open_to_read(&database.url).unwrap();
    assert_eq!(people::seen(&reader, "event/1"), "ann 1");
    reader.record(&batch).unwrap_err();
    reader.end_open_presences(TIME_MAX).unwrap_err();
    let change = FollowsChange::Replace(Vec::new());
    let ann = UserId::parse("ann").unwrap();
    reader.change_follows(&ann, &change).unwrap_err();
}

#[test]
fn rows_of_people_that_nobody_can_read_are_complained_of() {
    let database = Postgres::shared().database();
    let store = open(&database);
    let batch = ["ann", "bob"].map(|name| people::left("event/1", name, 1));
    store.record(&batch).unwrap();
    database
        .client()
        .batch_execute("UPDATE collab.departed SET color = 'red' WHERE user_id = 'bob'")
        .unwrap();
    assert_eq!(people::seen(&store, "event/1"), "ann 1");
    assert_eq!(
        store.complaints().unwrap(),
        ["1 rows of departed cannot be read"]
    );
}

/// What the lock of a database's writer is called, and the process of the server that has it.
fn holder(database: &Database) -> (i64, i32) {
    let query = "SELECT (classid::bigint << 32) | objid::bigint, pid FROM pg_locks
                 WHERE locktype = 'advisory' AND granted
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let row = database.client().query_one(query, &[]).unwrap();
    (row.get(0), row.get(1))
}

fn end_session(database: &Database, process: i32) {
    let end = "SELECT pg_terminate_backend($1)";
    database.client().execute(end, &[&process]).unwrap();
}

/// Ends the session of a database's writer.
pub fn end_writer(database: &Database) {
    let (_, process) = holder(database);
    end_session(database, process);
}

#[test]
fn a_database_has_one_writer_and_who_comes_second_is_told_who() {
    let database = Postgres::shared().database();
    let first = PostgresStore::open_as(&database.url, "the first relay").unwrap();
    first.write(&[append("a", 1, "one")]).unwrap();
    for second in [
        PostgresStore::open(&database.url),
        PostgresStore::open_existing(&database.url, "another"),
    ] {
        let error = second.err().unwrap();
        assert!(matches!(error, StoreError::Taken(_)), "{error}");
        let (_, process) = holder(&database);
        for part in [
            "the first relay",
            "127.0.0.1",
            &format!("backend {process}"),
        ] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
    let error = PostgresStore::undo_migrations(&database.url, 0).unwrap_err();
    assert!(error.to_string().contains("the first relay"), "{error}");
    // Whoever only reads takes nothing from anybody.
    let reader = PostgresStore::open_to_read(&database.url).unwrap();
    assert_eq!(kept(&reader, "a"), "1:one, last 1");
    first.write(&[append("a", 2, "two")]).unwrap();
    drop(first);
    open(&database).write(&[append("a", 3, "three")]).unwrap();
}

#[test]
fn who_waits_for_the_database_is_down_until_it_is_free() {
    let database = Postgres::shared().database();
    let first = PostgresStore::open_as(&database.url, "the first relay").unwrap();
    first.write(&[append("a", 1, "one")]).unwrap();
    let row = people::session("1", "s", "ann", 1);
    first.record(&[people::presence(&row)]).unwrap();
    let second = PostgresStore::open_when_free(&database.url, "the second").unwrap();
    let whom = second.awaits().expect("it waits");
    assert!(whom.contains("the first relay"), "{whom}");
    let errors = [
        second.write(&[append("a", 2, "two")]).unwrap_err(),
        second.load(&room("a")).unwrap_err(),
        second.end_open_presences(TIME_MAX).unwrap_err(),
        second.rooms(None, 1).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Down(_)), "{error}");
        assert!(error.to_string().contains("the first relay"), "{error}");
    }
    assert_eq!(first.presences("1").unwrap(), [row]);
    first.write(&[append("a", 2, "two")]).unwrap();
    drop(first);
    wait_for("the second to have it", || second.awaits().is_none());
    assert_eq!(kept(&second, "a"), "1:one 2:two, last 2");
    second.write(&[append("a", 3, "three")]).unwrap();
    assert_eq!(second.end_open_presences(TIME_MAX).unwrap(), 1);
}

#[test]
fn a_writer_that_loses_its_session_takes_the_lock_again_before_it_writes() {
    let database = Postgres::shared().database();
    let store = open(&database);
    for sequence in 1..=3 {
        let (_, process) = holder(&database);
        end_session(&database, process);
        store.write(&[append("a", sequence, "x")]).unwrap();
        assert_ne!(holder(&database).1, process);
    }
    // Also when nobody writes.
    let (_, process) = holder(&database);
    end_session(&database, process);
    wait_for("the lock to be taken again", || {
        let query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
                     AND pid <> $1 AND database =
                         (SELECT oid FROM pg_database WHERE datname = current_database())";
        let count: i64 = database
            .client()
            .query_one(query, &[&process])
            .unwrap()
            .get(0);
        0 < count
    });
}

/// Somebody else gets the lock in the moment in which the writer loses its session.
pub fn rob(database: &Database) -> ::postgres::Client {
    let (lock, process) = holder(database);
    let mut robber = database.client();
    robber
        .batch_execute("SET application_name = 'a robber'")
        .unwrap();
    let robbing = thread::spawn(move || {
        robber
            .execute("SELECT pg_advisory_lock($1)", &[&lock])
            .unwrap();
        robber
    });
    wait_for("the robber to stand in line", || {
        let query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let count: i64 = database.client().query_one(query, &[]).unwrap().get(0);
        count == 1
    });
    end_session(database, process);
    robbing.join().unwrap()
}

#[test]
fn who_was_replaced_writes_and_reads_nothing_more_and_says_so() {
    let database = Postgres::shared().database();
    let store = open(&database);
    store.write(&[append("a", 1, "one")]).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    store.on_taken(Box::new(move |error| {
        teller.lock().unwrap().push(error.to_string());
    }));
    let robber = rob(&database);
    // Without anybody writing.
    wait_for("being told", || !told.lock().unwrap().is_empty());
    drop(robber);
    let errors = [
        store.write(&[append("a", 2, "two")]).unwrap_err(),
        store.load(&room("a")).unwrap_err(),
        store.record(&[people::feed_seen("ann", 1)]).unwrap_err(),
    ];
    for error in errors {
        assert!(
            error.is_final() && error.to_string().contains("a robber"),
            "{error}"
        );
    }
    assert_eq!(told.lock().unwrap().len(), 1);
    assert_eq!(kept(&open(&database), "a"), "1:one, last 1");
}

#[test]
fn a_former_session_of_ours_that_the_server_still_has_is_no_other_process() {
    let database = Postgres::shared().database();
    drop(open(&database));
    let network = HalfNetwork::to(&database);
    let store = when_free(|| PostgresStore::open(&network.url)).unwrap();
    store.write(&[append("a", 1, "one")]).unwrap();
    let (_, process) = holder(&database);
    // We notice at once; the server hears nothing of it.
    network.cut_our_side();
    wait_for("the store to write again", || {
        match store.write(&[append("a", 2, "two")]) {
            Ok(()) => true,
            Err(StoreError::Down(_)) => false,
            Err(error) => panic!("{error}"),
        }
    });
    assert_ne!(holder(&database).1, process);
    assert_eq!(kept(&store, "a"), "1:one 2:two, last 2");
}

/// Between a store and its database: can close all connections on the store's side only.
struct HalfNetwork {
    url: String,
    near: Arc<Mutex<Vec<TcpStream>>>,
}

impl HalfNetwork {
    fn to(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let (before, rest) = database.url.split_once("@127.0.0.1:").unwrap();
        let (port, after) = rest.split_once('/').unwrap();
        let url = format!("{before}@{here}/{after}");
        let server = format!("127.0.0.1:{port}");
        let near = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&near);
        // Ends with the process of the test, and what it has forwarded before.
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(&server) else {
                    continue;
                };
                all.lock().unwrap().push(near.try_clone().unwrap());
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                thread::spawn(move || io::copy(&mut &near, &mut &far));
                thread::spawn(move || io::copy(&mut &far_too, &mut &near_too));
            }
        });
        Self { url, near }
    }

    fn cut_our_side(&self) {
        for near in self.near.lock().unwrap().drain(..) {
            // It may have been closed before.
            let _ = near.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_write_that_the_server_refuses_does_not_cost_the_lock() {
    let database = Postgres::shared().database();
    let store = open(&database);
    let (_, process) = holder(&database);
    database
        .client()
        .batch_execute(
            "ALTER TABLE collab.document_update ADD CONSTRAINT no_seven CHECK (sequence <> 7)",
        )
        .unwrap();
    store.write(&[append("a", 7, "x")]).unwrap_err();
    store.write(&[append("a", 1, "one")]).unwrap();
    let conflict = store.write(&[append("a", 1, "other")]).unwrap_err();
    assert!(
        matches!(conflict, StoreError::Conflict { .. }),
        "{conflict}"
    );
    let large = Bytes::from(vec![1; 33 << 20]);
    let batch = [
        (
            room("a"),
            Write::Append {
                sequence: 2,
                update: large,
            },
        ),
        append("a", 7, "x"),
    ];
    store.write(&batch).unwrap_err();
    store.write(&[append("a", 2, "two")]).unwrap();
    assert_eq!(kept(&store, "a"), "1:one 2:two, last 2");
    assert_eq!(holder(&database).1, process);
}

#[test]
fn the_last_batches_of_old_writers_are_forgotten() {
    let database = Postgres::shared().database();
    drop(open(&database));
    database
        .client()
        .batch_execute(
            "INSERT INTO collab.batch
             SELECT number, 1, now() - number * interval '1 day' FROM generate_series(1, 100) AS number",
        )
        .unwrap();
    drop(open(&database));
    let query = "SELECT count(*), max(writer) FROM collab.batch";
    let row = database.client().query_one(query, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (64, 64));
}
