//! Documents taken out, put in, checked and moved by the commands, on real stores.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use copresence::model::UserId;
use copresence::store::{FollowsChange, People, SqliteStore};
use futures::future::join_all;
use rusqlite::Connection;
use tempfile::TempDir;
use yrs::Text;

use crate::people;
use crate::support::document::Document;
use crate::support::http;
use crate::support::postgres::Postgres;
use crate::support::random::Random;
use crate::support::relay::{self, Relay};
use crate::support::tokens;

/// A folder with stores in it.
struct Stores(TempDir);

impl Stores {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite:{}", self.file(name).display())
    }
}

/// What a command did.
#[derive(Debug)]
struct Done {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Done {
    #[track_caller]
    fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.text(), self.stderr);
        self
    }

    /// Failed with this code and a message that names all of these.
    #[track_caller]
    fn badly(self, code: i32, named: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.text(), self.stderr);
        for name in named {
            assert!(
                self.stderr.contains(name),
                "{name:?} is not in: {}",
                self.stderr
            );
        }
        self
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

fn done(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn tool(arguments: &[&str]) -> Done {
    done(relay::command().args(arguments))
}

fn copy(from: &str, to: &str) -> Done {
    tool(&["copy", "--from", from, "--to", to])
}

fn check(store: &str) -> Done {
    tool(&["check", "--store", store])
}

/// How many rooms `check` counts in a store without damage.
fn rooms_of(store: &str) -> usize {
    let text = check(store).well().text();
    let (_, sums) = text.lines().last().unwrap().rsplit_once(": ").unwrap();
    sums.split(' ').next().unwrap().parse().unwrap()
}

fn export(store: &str, room: &str) -> Document {
    Document::of_update(&tool(&["export", room, "--store", store]).well().stdout)
}

fn saying(client: u64, words: &str) -> Vec<u8> {
    Document::new(client).edit(|document, transaction| document.text.push(transaction, words))
}

async fn post(relay: &Relay, room: &str, update: &[u8]) {
    let path = format!("/v1/rooms/{room}/document");
    let token = tokens::service();
    let answer = http::ask(relay.address, "POST", &path, Some(&token), update).await;
    assert_eq!(answer.status, 204, "{room}: {answer:?}");
}

/// Lets a relay write updates into rooms, in the order given for each room.
#[tokio::main(flavor = "current_thread")]
async fn fill(store: &str, rooms: &[(String, Vec<Vec<u8>>)]) {
    let mut relay = Relay::options().store(store).idle().start();
    for some in rooms.chunks(16) {
        join_all(some.iter().map(async |(room, updates)| {
            for update in updates {
                post(&relay, room, update).await;
            }
        }))
        .await;
    }
    relay.terminate();
    assert!(relay.exited().await.success());
}

fn room(name: &str, updates: &[Vec<u8>]) -> (String, Vec<Vec<u8>>) {
    (name.to_owned(), updates.to_vec())
}

/// Changes one byte where `words` are.
fn damage(file: &Path, words: &str) {
    let mut bytes = fs::read(file).unwrap();
    let at: Vec<_> = bytes
        .windows(words.len())
        .enumerate()
        .filter_map(|(at, window)| (window == words.as_bytes()).then_some(at))
        .collect();
    assert_eq!(at.len(), 1, "{words:?} is in the file {} times", at.len());
    bytes[at[0] + words.len() / 2] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_document_goes_out_as_a_file_and_into_another_store() {
    let stores = Stores::new();
    let (from, to) = (stores.url("from.db"), stores.url("new/folder/to.db"));
    let mut random = Random::new(7);
    let document = Document::new(1);
    let edits: Vec<_> = (0..30)
        .map(|_| document.edit_randomly(&mut random))
        .collect();
    fill(&from, &[room("session/Größe", &edits)]);

    let file = stores.file("document.update");
    let path = file.to_str().unwrap();
    tool(&["export", "session/Größe", "--store", &from, "--out", path]).well();
    assert_eq!(
        Document::of_update(&fs::read(&file).unwrap()).content(),
        document.content()
    );

    tool(&["import", "acme.notes", path, "--store", &to]).well();
    assert_eq!(export(&to, "acme.notes").content(), document.content());
    let again = tool(&["import", "acme.notes", path, "--store", &to]).well();
    assert!(
        again.stderr.contains("has all of it already"),
        "{}",
        again.stderr
    );
    assert!(check(&to).well().text().contains("1 rooms, 1 updates"));

    assert_eq!(served(&to, "acme.notes").content(), document.content());
}

/// What a relay says that starts on the store.
#[tokio::main(flavor = "current_thread")]
async fn served(store: &str, room: &str) -> Document {
    let relay = Relay::options().store(store).idle().start();
    let path = format!("/v1/rooms/{room}/document");
    Document::of_update(
        &http::get(relay.address, &path, &tokens::service())
            .await
            .body,
    )
}

#[test]
fn an_import_adds_to_what_is_there() {
    let stores = Stores::new();
    let store = stores.url("s.db");
    for (client, words) in [(1, "One. "), (2, "Two. ")] {
        let file = stores.file("update");
        fs::write(&file, saying(client, words)).unwrap();
        // Once by name and once as stdin.
        let mut command = relay::command();
        command.args(["import", "session/1", "--store", &store]);
        match client {
            1 => command.arg(&file),
            _ => command.arg("-").stdin(fs::File::open(&file).unwrap()),
        };
        done(&mut command).well();
    }
    let text = export(&store, "session/1").text();
    assert!(text.contains("One. ") && text.contains("Two. "), "{text}");
}

#[test]
fn what_is_no_document_is_neither_taken_in_nor_out() {
    let stores = Stores::new();
    let store = stores.url("s.db");
    let file = stores.file("update");
    let path = file.to_str().unwrap();
    let import = |more: &[&str]| {
        let arguments = ["import", "session/1", path, "--store", &store];
        tool(&[&arguments[..], more].concat())
    };
    import(&[]).badly(1, &["cannot read", path]);
    let mut update = saying(1, "Hello.");
    update.push(0);
    fs::write(&file, &update).unwrap();
    import(&[]).badly(1, &[path, "no Yjs update", "bytes behind the end"]);
    assert!(!stores.file("s.db").exists(), "a bad file has made a store");
    tool(&["export", "session/1", "--store", &store]).badly(1, &["s.db", "no "]);
    assert!(!stores.file("s.db").exists(), "an export has made a store");

    update.pop();
    fs::write(&file, &update).unwrap();
    import(&["--max-document", "5"]).badly(1, &["larger than --max-document"]);
    import(&[]).well();
    fs::write(&file, saying(2, &"long ".repeat(1000))).unwrap();
    import(&["--max-document=5010"]).badly(1, &["larger than --max-document"]);
    import(&["--max-document=5025"]).badly(1, &["session/1", "--max-document (5025)"]);
    assert_eq!(export(&store, "session/1").text(), "Hello.");
    tool(&["export", "session/2", "--store", &store]).badly(1, &["no document", "session/2"]);
    tool(&["export", "a//b", "--store", &store]).badly(2, &["segment"]);
}

#[test]
fn the_commands_find_the_store_as_serve_does() {
    let stores = Stores::new();
    let update = stores.file("update");
    fs::write(&update, saying(1, "Hello.")).unwrap();
    let config = stores.file("relay.toml");
    fs::write(&config, "data = \"from-file\"\nmax_message = \"1MiB\"\n").unwrap();
    let run = |room: &str, arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = relay::command();
        command.arg("import").arg(room).arg(&update).args(arguments);
        command.envs(environment.iter().copied());
        done(command.current_dir(stores.0.path())).well();
    };
    let file = ["--config", "relay.toml"];
    let data = ("COPRESENCE_DATA", "from-environment");
    run("by/default", &[], &[]);
    run("by/file", &file, &[]);
    run("by/environment", &file, &[data]);
    run(
        "by/flag",
        &["--config", "relay.toml", "--data", "from-flag"],
        &[data],
    );
    run("by/address", &["--store", "sqlite:address.db"], &[data]);
    for (room, place) in [
        ("by/default", "copresence-data/copresence.db"),
        ("by/file", "from-file/copresence.db"),
        ("by/environment", "from-environment/copresence.db"),
        ("by/flag", "from-flag/copresence.db"),
        ("by/address", "address.db"),
    ] {
        let store = stores.url(place);
        assert_eq!(rooms_of(&store), 1, "{place}");
        assert_eq!(export(&store, room).text(), "Hello.");
    }
}

#[tokio::test]
async fn a_running_relay_keeps_its_file_to_itself_but_may_be_read() {
    let stores = Stores::new();
    let (store, other) = (stores.url("s.db"), stores.url("other.db"));
    let relay = Relay::options().store(&store).start();
    post(&relay, "session/1", &saying(1, "Hello.")).await;
    let update = stores.file("update");
    fs::write(&update, saying(2, "World.")).unwrap();
    let update = update.to_str().unwrap();
    let hint = ["s.db", "in use", "stop it", "HTTP"];
    let at_once = ["--wait", "0s"];
    let import = ["import", "session/1", update, "--store", &store];
    tool(&[&import[..], &at_once].concat()).badly(1, &hint);
    copy(&other, &store).badly(1, &["other.db", "no database"]);
    tool(&["import", "session/1", update, "--store", &other]).well();
    let copying = ["copy", "--from", &other, "--to", &store];
    tool(&[&copying[..], &at_once].concat()).badly(1, &hint);
    let second = ["serve", "--dev", "--listen=127.0.0.1:0", "--store", &store];
    tool(&second).badly(1, &["s.db", "in use"]);

    assert_eq!(export(&store, "session/1").text(), "Hello.");
    assert_eq!(rooms_of(&store), 1);
    // A copy of what is there now, and of what has come since.
    let copied = stores.url("copy.db");
    let first = copy(&store, &copied).well().stderr;
    assert!(
        first.contains("in use") && first.contains("1 rooms copied"),
        "{first}"
    );
    post(&relay, "session/1", &saying(3, "Later.")).await;
    copy(&store, &copied).well();
    assert!(export(&copied, "session/1").text().contains("Later."));
}

#[tokio::test]
async fn a_tool_waits_until_the_relay_has_let_go_of_its_store() {
    let stores = Stores::new();
    let store = stores.url("s.db");
    let relay = Relay::options().store(&store).start();
    post(&relay, "session/1", &saying(1, "Hello.")).await;
    let update = stores.file("update");
    fs::write(&update, saying(2, " World.")).unwrap();
    let mut import = relay::command();
    import.args([
        "import",
        "session/1",
        update.to_str().unwrap(),
        "--wait",
        "1min",
    ]);
    import.args(["--store", &store]).stderr(Stdio::piped());
    let mut importing = import.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(importing.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert!(
        said.contains("waiting for 60 s at most") && said.contains("in use"),
        "{said}"
    );
    drop(relay);
    assert!(importing.wait().unwrap().success());
    let text = export(&store, "session/1").text();
    assert!(text.contains("Hello.") && text.contains("World."), "{text}");
}

#[test]
fn migrations_are_undone_by_a_command_and_done_again_at_the_next_start() {
    let stores = Stores::new();
    let store = stores.url("s.db");
    let update = stores.file("update");
    fs::write(&update, saying(1, "Hello.")).unwrap();
    let import = [
        "import",
        "session/1",
        update.to_str().unwrap(),
        "--store",
        &store,
    ];
    tool(&import).well();
    let migrate = |to: &str| tool(&["migrate", "--to", to, "--store", &store]);
    let undone = migrate("1").well().text();
    let lines: Vec<_> = undone.lines().collect();
    assert!(
        2 < lines.len() && lines.contains(&"migration 2 is undone"),
        "{undone}"
    );
    assert!(!lines.contains(&"migration 1 is undone"));
    let again = migrate("1").well().text();
    assert!(again.contains("no migration behind 1"), "{again}");
    check(&store).badly(1, &["not those of this version"]);
    tool(&import).well();
    assert_eq!(export(&store, "session/1").text(), "Hello.");
    check(&store).well();
    migrate("0").well();
    tool(&["migrate", "--store", &store]).badly(2, &["--to"]);
    migrate("x").badly(2, &["--to"]);
    tool(&["migrate", "--to", "1", "--store", "memory:"]).badly(2, &["keeps nothing"]);
    let absent = stores.url("absent.db");
    let error = tool(&["migrate", "--to", "1", "--store", &absent]).badly(1, &["absent.db"]);
    assert!(
        !error.stderr.contains("the store is down"),
        "{}",
        error.stderr
    );
}

#[test]
fn check_names_the_room_and_the_place_of_a_damage() {
    let stores = Stores::new();
    let store = stores.url("s.db");
    let updates =
        ["first", "the second update", "third"].map(|words| saying(words.len() as u64, words));
    fill(
        &store,
        &[
            room("session/hurt", &updates),
            room("session/well", &updates[..2]),
        ],
    );
    let sound = check(&store).well().text();
    assert!(
        sound.contains("2 rooms, 5 updates") && sound.contains("no damage"),
        "{sound}"
    );

    // On the disk, behind SQLite's back: only the first of the two, in the newer page.
    let connection = Connection::open(stores.file("s.db")).unwrap();
    connection
        .execute(
            "UPDATE document_update SET body = CAST(replace(body, 'second', 'secret') AS BLOB)
             WHERE sequence = 2 AND document_id =
                 (SELECT id FROM document WHERE room = 'session/hurt')",
            [],
        )
        .unwrap();
    connection.close().unwrap();
    let found = check(&store).badly(1, &[]).text();
    assert!(found.contains("session/hurt: damaged at 2: "), "{found}");
    assert!(!found.contains("session/well: "), "{found}");
    assert!(
        found.lines().last().unwrap().ends_with("1 damaged"),
        "{found}"
    );

    let named = ["session/hurt", "damaged at 2"];
    tool(&["export", "session/hurt", "--store", &store]).badly(1, &named);
    assert!(export(&store, "session/well").text().contains("second"));
    let copied = copy(&store, &stores.url("other.db"));
    let copied = copied.badly(1, &["session/hurt: not copied", "damaged at 2"]);
    assert!(
        copied.stderr.contains("1 rooms copied"),
        "{}",
        copied.stderr
    );
}

#[test]
fn a_byte_that_flipped_on_the_disk_is_found() {
    let stores = Stores::new();
    let store = stores.url("s.db");
    let updates =
        ["first", "an unmistakable text", "third"].map(|words| saying(words.len() as u64, words));
    fill(&store, &[room("session/1", &updates)]);
    // Out of the write-ahead log, which has checksums of its own.
    let connection = Connection::open(stores.file("s.db")).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    connection.query_row(checkpoint, [], |_| Ok(())).unwrap();
    connection.close().unwrap();
    damage(&stores.file("s.db"), "an unmistakable text");
    let found = check(&store).badly(1, &[]).text();
    assert!(found.contains("session/1: damaged at 2: "), "{found}");
}

#[test]
fn updates_that_are_gone_are_damage() {
    let stores = Stores::new();
    let store = stores.url("s.db");
    for client in 1..=5 {
        let file = stores.file("update");
        fs::write(&file, saying(client, "word ")).unwrap();
        tool(&[
            "import",
            "session/1",
            file.to_str().unwrap(),
            "--store",
            &store,
        ])
        .well();
    }
    let connection = Connection::open(stores.file("s.db")).unwrap();
    connection
        .execute("DELETE FROM document_update WHERE sequence IN (3, 4)", [])
        .unwrap();
    connection.close().unwrap();
    let found = check(&store).badly(1, &[]).text();
    assert!(
        found.contains("session/1: damaged at 3: updates are missing up to 4"),
        "{found}"
    );
}

#[test]
fn addresses_that_cannot_work_are_refused_and_passwords_not_told() {
    let stores = Stores::new();
    for command in [
        &["check", "--store"][..],
        &["export", "session/1", "--store"],
        &["copy", "--to", "sqlite:x.db", "--from"],
        &["serve", "--dev", "--listen=127.0.0.1:0", "--store"],
    ] {
        for (address, named) in [
            ("mysql://ann:hunter2@db/x", "postgres://"),
            ("dbname=x password=hunter2", "no address"),
            ("sqlite://ann:hunter2@db/x", "needs a path"),
            ("postgres:hunter2", "needs a server"),
            ("", "is empty"),
        ] {
            let arguments = [command, &[address]].concat();
            let refused = done(
                relay::command()
                    .args(&arguments)
                    .current_dir(stores.0.path()),
            );
            let refused = refused.badly(2, &[command[command.len() - 1], named]);
            assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
        }
    }
    // Nobody listens there.
    let address = "postgres://ann:hunter2@127.0.0.1:9/x?password=hunter2";
    let absent = check(address).badly(1, &["postgres://127.0.0.1:9/x"]);
    assert!(!absent.stderr.contains("hunter2"), "{}", absent.stderr);
    check("memory:").badly(2, &["--store", "keeps nothing"]);
    check(&stores.url("absent.db")).badly(1, &["absent.db"]);
    let same = stores.url("same.db");
    copy(&same, &same).badly(2, &["the same store"]);
}

#[test]
fn a_target_with_content_of_its_own_is_left_as_it_is() {
    let stores = Stores::new();
    let (from, to) = (stores.url("from.db"), stores.url("to.db"));
    let file = stores.file("update");
    for (store, room, client, words) in [
        (&from, "session/1", 1, "One."),
        (&from, "session/2", 2, "Two."),
        (&to, "session/1", 3, "Three."),
        (&to, "session/4", 4, "Four."),
    ] {
        fs::write(&file, saying(client, words)).unwrap();
        tool(&["import", room, file.to_str().unwrap(), "--store", store]).well();
    }
    let named = [
        "session/1: not copied: the target has content",
        "1 rooms copied",
    ];
    copy(&from, &to).badly(1, &named);
    for (room, text) in [
        ("session/1", "Three."),
        ("session/2", "Two."),
        ("session/4", "Four."),
    ] {
        assert_eq!(export(&to, room).text(), text);
    }
}

/// Two hundred rooms, of which the last are large: what is under way takes a while.
fn many_rooms() -> Vec<(String, Vec<Vec<u8>>)> {
    const LARGE: usize = 6;
    let mut random = Random::new(11);
    let mut rooms: Vec<_> = (0..200 - LARGE as u64)
        .map(|number| {
            let document = Document::new(1000 + number);
            let edits: Vec<_> = (0..1 + random.below(8))
                .map(|_| document.edit_randomly(&mut random))
                .filter(|update| update != &[0, 0])
                .collect();
            let edits = match edits.is_empty() {
                true => vec![saying(number, "at least")],
                false => edits,
            };
            room(&format!("session/ö{number}"), &edits)
        })
        .collect();
    for number in 0..LARGE as u64 {
        let update = saying(number + 1, &"so much text ".repeat(250_000));
        rooms.push(room(
            &format!("z/{number}"),
            &[update, saying(number + 50, "The end.")],
        ));
    }
    rooms
}

/// Ends a copy without a word when it has begun to write.
fn copy_and_kill(from: &str, to: &str) {
    let mut command = relay::command();
    command.args(["copy", "--from", from, "--to", to]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = lines.find(|line| {
        line.as_ref()
            .is_ok_and(|line| line.ends_with(" of 200 rooms"))
    });
    assert!(begun.is_some(), "the copy has not begun");
    child.kill().unwrap();
    assert!(
        !child.wait().unwrap().success(),
        "the copy was done before it was killed"
    );
}

/// What is loaded and what is set aside, with all numbers and bytes, as text.
fn rows(file: &Path) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut rows = Vec::new();
    for (what, table, place) in [
        ("loaded", "document_snapshot", "through"),
        ("loaded", "document_update", "sequence"),
        ("set aside", "document_quarantine", "sequence"),
    ] {
        let query = format!(
            "SELECT room || ' ' || last || ' {what} ' || {place} || ' ' || hex(body)
             FROM {table} JOIN document ON id = document_id"
        );
        let mut statement = connection.prepare(&query).unwrap();
        let found = statement.query_map([], |row| row.get(0)).unwrap();
        rows.extend(found.map(Result::unwrap));
    }
    // A snapshot of the first update alone is the same as the update.
    rows.sort();
    rows
}

#[test]
fn a_whole_store_moves_to_postgres_and_back_however_often_it_is_interrupted() {
    let stores = Stores::new();
    let (from, back) = (stores.url("from.db"), stores.url("back.db"));
    let rooms = many_rooms();
    fill(&from, &rooms);
    let database = Postgres::shared().database();
    for (source, target) in [(&from, &database.url), (&database.url, &back)] {
        copy_and_kill(source, target);
        let done = rooms_of(target);
        assert!(0 < done && done < 200, "{done} rooms were copied");
        let resumed = copy(source, target).well().stderr;
        assert!(
            !resumed.contains("200 rooms copied") && resumed.contains(", 0 not"),
            "{resumed}"
        );
        assert_eq!(rooms_of(target), 200);
        let again = copy(source, target).well().stderr;
        assert!(
            again.contains("0 rooms copied and compared, 200 were there"),
            "{again}"
        );
        assert!(!again.contains("s3same"), "{again}");
    }
    let [before, after] = ["from.db", "back.db"].map(|name| rows(&stores.file(name)));
    assert!(
        200 < before.len() && before == after,
        "other rows came back"
    );
    for (room, updates) in [&rooms[0], &rooms[117], &rooms[199]] {
        let document = Document::new(1);
        updates.iter().for_each(|update| document.apply(update));
        assert_eq!(
            export(&database.url, room).content(),
            document.content(),
            "{room}"
        );
        assert_eq!(export(&back, room).content(), document.content(), "{room}");
    }
}

#[test]
fn a_damage_in_postgres_is_named_too() {
    let database = Postgres::shared().database();
    let updates = [1, 2, 3].map(|client| saying(client, "word "));
    fill(&database.url, &[room("session/1", &updates)]);
    assert_eq!(served(&database.url, "session/1").text().len(), 15);
    assert_eq!(rooms_of(&database.url), 1);
    assert_eq!(export(&database.url, "session/1").text().len(), 15);
    database
        .client()
        .batch_execute(
            "UPDATE collab.document_update SET body = set_byte(body, 9, get_byte(body, 9) # 1)
             WHERE sequence = 2",
        )
        .unwrap();
    let found = check(&database.url).badly(1, &[]).text();
    assert!(found.contains("session/1: damaged at 2: "), "{found}");
    assert!(!found.contains("s3same"), "{found}");
}

#[test]
fn people_move_with_their_store() {
    let stores = Stores::new();
    let source = SqliteStore::open(&stores.file("a.db")).unwrap();
    let records = [
        people::left("event/1", "ann", 5),
        people::left("event/1", "zoë", 7),
        people::left("event/2", "ann", 6),
        people::feed_seen("ann", 8),
        people::presence(&people::session("1", "s", "ann", 9)),
    ];
    source.record(&records).unwrap();
    let user = |id| UserId::parse(id).unwrap();
    let follows = ["bob", "zoë"].map(user);
    let change = FollowsChange::Replace(follows.to_vec());
    source.change_follows(&user("ann"), &change).unwrap();
    drop(source);
    let database = Postgres::shared().database();
    let sums = "people: 4 last seen, 2 follows";
    for (from, to) in [
        (stores.url("a.db"), database.url.clone()),
        (database.url.clone(), stores.url("b.db")),
        // Once more is no more.
        (stores.url("a.db"), stores.url("b.db")),
    ] {
        let copied = copy(&from, &to).well();
        assert!(copied.stderr.contains(sums), "{}", copied.stderr);
        let checked = check(&to).well().text();
        assert!(
            checked.contains("4 last seen, 2 follows, no damage"),
            "{checked}"
        );
    }
    let target = SqliteStore::open_to_read(&stores.file("b.db")).unwrap();
    assert_eq!(people::seen(&target, "event/1"), "zoë 7, ann 5");
    assert_eq!(people::seen(&target, "event/2"), "ann 6");
    assert_eq!(target.follows(&user("ann")).unwrap(), follows);
    assert_eq!(target.feed_users(None, 9).unwrap(), [user("ann")]);
    // Who is there is the relay's that has them.
    assert_eq!(target.presences("1").unwrap(), []);
}
