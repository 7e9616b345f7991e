//! The real store behind a real relay: on a full disk, damaged, stopped; and what is not in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use yrs::Text;

use crate::support::client::{Client, Ending, Provider, converged, presence_of};
#[cfg(feature = "postgres")]
use crate::support::document::Document;
use crate::support::frames::{self, Message};
use crate::support::http;
#[cfg(feature = "postgres")]
use crate::support::postgres::Postgres;
use crate::support::raw::RawSocket;
use crate::support::relay::{self, Relay};
use crate::support::time::polled;
use crate::support::tokens::{self, Claims};

async fn saved(client: &Client) {
    client
        .until("all acknowledged", |state| {
            state.is_synced && state.unsynced == 0
        })
        .await;
}

/// Waits until `/health/ready` says yes, or no with a reason that holds these words.
async fn until_readiness(relay: &Relay, reason: Option<&str>) {
    let what = match reason {
        Some(reason) => format!("being not ready for {reason:?}"),
        None => "being ready".to_owned(),
    };
    polled(&what, async || {
        let answer = http::get(relay.address, "/health/ready", "").await;
        let text = String::from_utf8(answer.body).unwrap();
        match reason {
            Some(reason) => (answer.status == 503 && text.contains(reason)).then_some(()),
            None => (answer.status == 200).then_some(()),
        }
    })
    .await;
}

/// `copresence check` on the store; whether it found no damage, and what it said.
fn check(store: &str) -> (bool, String) {
    let (status, stdout, stderr) = relay::run(&["check", "--store", store]);
    (status.success(), format!("{stdout}{stderr}"))
}

fn file_in(data: &Path) -> PathBuf {
    data.join("copresence.db")
}

#[tokio::test]
async fn a_full_disk_costs_readiness_and_nothing_else_and_all_is_written_when_there_is_space() {
    let data = TempDir::new().unwrap();
    let mut first = Relay::options().data(data.path()).with_file_limit().start();
    let room = "session/full-disk";
    let ann = Client::join(&first, Provider::Hocuspocus4, room, &tokens::member("ann")).await;
    let ben = Client::join(&first, Provider::YWebsocket, room, &tokens::member("ben")).await;
    ann.write("Before. ");
    saved(&ann).await;

    first.limit_files(Some(200_000));
    let acknowledged = ann.state().accepted;
    // More than there is space for in one commit, so that none of it can have been written.
    ann.write(&"A paragraph. ".repeat(50_000));
    until_readiness(&first, Some("STORE_DOWN")).await;
    for number in 0..100 {
        ann.write(&format!("{number} "));
        ben.write(".");
    }
    converged([&ann, &ben]).await;
    ben.set_state(presence_of("ben"));
    ann.until_sees(&ben).await;
    // A document that is on disk can still be opened, and so can a new one.
    let cal = Client::join(&first, Provider::Hocuspocus2, room, &tokens::member("cal")).await;
    assert_eq!(cal.text(), ann.text());
    let other = "session/full-disk-other";
    let dan = Client::join(&first, Provider::Hocuspocus4, other, &tokens::member("dan")).await;
    dan.write("Meanwhile.");
    until_readiness(&first, Some("STORE_DOWN")).await;
    assert_eq!(
        ann.state().accepted,
        acknowledged,
        "acknowledged without space"
    );
    assert!(0 < dan.state().unsynced && first.is_running());

    first.limit_files(None);
    until_readiness(&first, None).await;
    for client in [&ann, &cal, &dan] {
        saved(client).await;
    }
    let content = converged([&ann, &ben, &cal]).await;
    // Ben's door acknowledges nothing.
    polled("ben's edits on disk", async || {
        let path = format!("/v1/rooms/{room}/document");
        let answer = http::get(first.address, &path, &tokens::service()).await;
        (answer.header("x-copresence-durable") == Some("true")).then_some(())
    })
    .await;
    first.kill();
    let (is_sound, said) = check(&format!("sqlite:{}", file_in(data.path()).display()));
    assert!(is_sound, "{said}");
    let second = Relay::options().idle().data(data.path()).start();
    assert_eq!(
        http::document(second.address, room).await.content(),
        content
    );
    assert_eq!(
        http::document(second.address, other).await.text(),
        "Meanwhile."
    );
}

#[tokio::test]
async fn a_damaged_document_refuses_and_the_others_do_not_notice() {
    let data = TempDir::new().unwrap();
    let rooms = ["session/damaged", "session/sound-1", "session/sound-2"];
    let mut first = Relay::options().data(data.path()).start();
    for room in rooms {
        let ann = Client::join(&first, Provider::Hocuspocus4, room, &tokens::member("ann")).await;
        ann.write(&format!("What {room} says."));
        saved(&ann).await;
    }
    first.terminate();
    assert!(first.exited().await.success());
    drop(first);
    let file = file_in(data.path());
    // A word is another now; the checksum beside it is not.
    let changed = Connection::open(&file)
        .unwrap()
        .execute(
            "UPDATE document_update SET body = CAST(replace(body, 'What', 'That') AS BLOB)
             WHERE document_id = (SELECT id FROM document WHERE room = ?1)",
            [rooms[0]],
        )
        .unwrap();
    assert!(0 < changed);

    let second = Relay::options().idle().data(data.path()).start();
    for provider in [Provider::YWebsocket, Provider::Hocuspocus4] {
        let mut ann = Client::new(&second, provider, rooms[0], &tokens::member("ann"));
        ann.open();
        match provider {
            Provider::YWebsocket => assert_eq!(
                ann.ended().await,
                Ending::Closed(1013, "STORE_DOWN".to_owned())
            ),
            // That document alone: others may be on the same socket.
            _ => {
                ann.until("the denial", |state| {
                    state.is_open && state.denied.as_deref() == Some("STORE_DOWN")
                })
                .await;
            }
        }
        for room in &rooms[1..] {
            let ben = Client::join(&second, provider, room, &tokens::member("ben")).await;
            assert_eq!(ben.text(), format!("What {room} says."));
        }
    }
    let path = format!("/v1/rooms/{}/document", rooms[0]);
    let refused = http::get(second.address, &path, &tokens::service()).await;
    assert_eq!(refused.problem(), (503, "STORE_DOWN".to_owned()));
    until_readiness(&second, None).await;
    let log = second.log();
    let is_named = log
        .lines()
        .any(|line| line.contains(rooms[0]) && line.contains("damaged"));
    assert!(is_named, "the log does not say what is damaged:\n{log}");
    let (is_sound, said) = check(&format!("sqlite:{}", file.display()));
    assert!(!is_sound && said.contains(rooms[0]), "{said}");
}

#[tokio::test]
async fn a_data_folder_that_is_gone_costs_acknowledgements_until_it_is_back() {
    let parent = TempDir::new().unwrap();
    let data = parent.path().join("data");
    let relay = Relay::options().data(&data).start();
    let room = "session/gone";
    let ann = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ann")).await;
    let ben = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ben")).await;
    ann.write("Before. ");
    saved(&ann).await;
    let away = parent.path().join("away");
    fs::rename(&data, &away).unwrap();
    // Though nobody writes.
    until_readiness(&relay, Some("copresence.db was removed")).await;
    let accepted = ann.state().accepted;
    ann.write("Meanwhile. ");
    ben.until_text("Before. Meanwhile. ").await;
    ben.write("Ben. ");
    ann.until("what ben wrote", |state| state.text().contains("Ben. "))
        .await;
    assert_eq!(ann.state().accepted, accepted, "acknowledged into the void");
    fs::rename(&away, &data).unwrap();
    until_readiness(&relay, None).await;
    saved(&ann).await;
    drop(relay);
    let again = Relay::options().idle().data(&data).start();
    let document = http::document(again.address, room).await;
    assert_eq!(document.content(), converged([&ann, &ben]).await);
}

#[tokio::test]
async fn at_the_limit_of_open_files_those_who_are_in_go_on() {
    let data = TempDir::new().unwrap();
    let relay = Relay::options().data(data.path()).start();
    let token = tokens::member("ann");
    let ben = Client::join(&relay, Provider::YWebsocket, "session/in", &token).await;
    let mut socket = RawSocket::open(relay.address, "/collab").await;
    let open = async |socket: &mut RawSocket, room: &str| {
        socket
            .say(&frames::token(room, &token, Some("4.8.0")))
            .await;
        socket.say(&frames::named(room, &frames::step1(&[0]))).await;
    };
    open(&mut socket, "session/first").await;
    assert_eq!(socket.fence().await, Ok(()));
    // Not one more, whatever for.
    relay.limit_open_files(Some(3));
    let rooms: Vec<String> = (0..50).map(|number| format!("session/{number}")).collect();
    for room in &rooms {
        open(&mut socket, room).await;
    }
    let mut answered = BTreeSet::new();
    while answered.len() < rooms.len() {
        let frame = socket.heard().await.expect("the socket lasts");
        let (name, rest) = frames::split_name(&frame).expect("a frame of a document");
        if let Some(Message::Update { is_answer, .. }) = frames::read(rest)
            && is_answer
            && rooms.iter().any(|room| room == name)
        {
            answered.insert(name.to_owned());
        }
    }
    ben.write("still here");
    assert!(ben.state().ending.is_none());
    relay.limit_open_files(None);
    until_readiness(&relay, None).await;
}

#[tokio::test]
async fn after_sigterm_everything_the_editors_saw_is_on_disk() {
    let data = TempDir::new().unwrap();
    for round in 0..3 {
        let mut first = Relay::options().data(data.path()).start();
        let room = format!("session/sigterm-{round}");
        let reader = Client::join(&first, Provider::YWebsocket, &room, &tokens::member("r")).await;
        let joins = (0..6).map(|number| {
            let (first, room) = (&first, &room);
            async move {
                let token = tokens::member(&format!("user-{number}"));
                Client::join(first, Provider::ALL[number % 3], room, &token).await
            }
        });
        let writers = join_all(joins).await;
        for number in 0..100 {
            for writer in &writers {
                writer.write(&format!("{number} "));
            }
        }
        let content = converged(writers.iter().chain([&reader])).await;
        first.terminate();
        let status = first.exited().await;
        assert!(status.success(), "exit status {status}");
        drop(first);
        let second = Relay::options().idle().data(data.path()).start();
        assert_eq!(
            http::document(second.address, &room).await.content(),
            content
        );
    }
}

#[tokio::test]
async fn who_was_in_a_session_is_found_nowhere_on_disk() {
    let data = TempDir::new().unwrap();
    let mut relay = Relay::options().data(data.path()).start();
    let room = "session/42";
    let (name, user, written) = (
        "Quetzalina Brzęczyszczykiewicz",
        "user-zyxwv-98765",
        "xylophone",
    );
    let token = Claims::of(user)
        .name(name)
        .with("picture", json!("https://example.org/zyxwv.png"))
        .room("session/*", "coach-zyxwv", "write")
        .sign();
    let mut present = Vec::new();
    for provider in Provider::ALL {
        let client = Client::show_up(&relay, provider, room, &token, user).await;
        client.set_state(json!({
            "presence": {"userId": user, "name": name, "color": "#0f1e2d", "isConnected": true},
            "user": {"name": name, "color": "#0f1e2d"},
            "cursor": {"note": "zyxwv"},
        }));
        client.write(written);
        present.push(client);
    }
    converged(&present).await;
    for one in &present {
        for other in &present {
            one.until_sees(other).await;
        }
    }
    saved(&present[1]).await;
    saved(&present[2]).await;
    let roster = http::roster(relay.address, room).await;
    assert_eq!(roster[0]["name"], name, "the session shows who is there");

    let traces = [name, "Quetzalina", user, "zyxwv", "0f1e2d"];
    assert_eq!(
        files_with(data.path(), &traces),
        [""; 0],
        "while they are there"
    );
    present[0].close().await;
    present[1].reset().await;
    polled("fewer", async || {
        let state = present[2].state();
        state.others().is_empty().then_some(())
    })
    .await;
    assert_eq!(files_with(data.path(), &traces), [""; 0], "after some left");
    relay.terminate();
    assert!(relay.exited().await.success());
    assert_eq!(files_with(data.path(), &traces), [""; 0], "after the end");
    // What is looked for would be found: the document is there.
    assert_ne!(files_with(data.path(), &[written]), [""; 0]);
    assert_ne!(files_with(data.path(), &[room]), [""; 0]);
}

/// The files below a folder that hold one of these texts, as UTF-8 or UTF-16.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, texts));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for text in texts {
            let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            if holds(text.as_bytes()) || holds(&wide) {
                found.push(format!("{text:?} in {}", path.display()));
            }
        }
    }
    found
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_postgres_that_is_stopped_and_killed_under_load_is_written_to_when_it_is_back() {
    let mut server = elsewhere(Postgres::begin).await;
    let url = {
        let (again, database) = elsewhere(move || {
            let database = server.database();
            (server, database)
        })
        .await;
        server = again;
        database.url
    };
    let mut relay = Relay::options().store(&url).start();
    let rooms = ["session/pg-0", "session/pg-1", "session/pg-2"];
    let mut people = Vec::new();
    for (number, room) in rooms.into_iter().cycle().take(6).enumerate() {
        let token = tokens::member(&format!("user-{number}"));
        let provider = [Provider::Hocuspocus2, Provider::Hocuspocus4][number % 2];
        people.push(Client::join(&relay, provider, room, &token).await);
    }
    for round in 0..3 {
        let mut typed = 0;
        let mut type_once = || {
            for person in &people {
                person.write(&format!("{round}.{typed} "));
            }
            typed += 1;
        };
        // Under load when it goes, while it is away, and when it comes back.
        let going = elsewhere(move || {
            match round {
                0 => server.stop(),
                _ => server.kill(),
            }
            server
        });
        server = while_doing(going, &mut type_once).await;
        while_doing(until_readiness(&relay, Some("STORE_DOWN")), &mut type_once).await;
        let mut before = Vec::new();
        for _ in 0..2 {
            // Who has what was typed last would have any acknowledgement from before it.
            type_once();
            for room in 0..3 {
                converged([&people[room], &people[room + 3]]).await;
            }
            let accepted: Vec<_> = people.iter().map(|one| one.state().accepted).collect();
            if !before.is_empty() {
                assert_eq!(accepted, before, "acknowledged without a store");
            }
            before = accepted;
        }
        let coming = elsewhere(move || {
            server.start();
            server
        });
        server = while_doing(coming, &mut type_once).await;
        while_doing(until_readiness(&relay, None), &mut type_once).await;
        for person in &people {
            saved(person).await;
        }
    }
    assert!(relay.is_running());
    let mut contents = Vec::new();
    for room in 0..3 {
        contents.push(converged([&people[room], &people[room + 3]]).await);
    }
    relay.kill();
    drop(people);
    let second = Relay::options().idle().store(&url).start();
    for (room, content) in rooms.iter().zip(contents) {
        assert_eq!(
            http::document(second.address, room).await.content(),
            content
        );
    }
    let (is_sound, said) = check(&url);
    assert!(is_sound, "{said}");
    // Where nothing is awaited: it ends a runtime of its own.
    elsewhere(move || drop(server)).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_database_that_is_gone_is_noticed_though_nobody_writes() {
    let (mut server, url) = elsewhere(|| {
        let server = Postgres::begin();
        let url = server.database().url;
        (server, url)
    })
    .await;
    let relay = Relay::options().store(&url).start();
    let path = "/v1/rooms/session/pg/document";
    let post = async |client| {
        let update = Document::new(client).edit(|document, transaction| {
            document.text.push(transaction, "x");
        });
        http::ask(
            relay.address,
            "POST",
            path,
            Some(&tokens::service()),
            &update,
        )
        .await
    };
    assert_eq!(post(700).await.status, 204);
    server = elsewhere(move || {
        server.stop();
        server
    })
    .await;
    until_readiness(&relay, Some("STORE_DOWN")).await;
    let refused = post(701).await;
    assert_eq!(refused.problem(), (503, "STORE_DOWN".to_owned()));
    assert_eq!(refused.json()["applied"], false);
    server = elsewhere(move || {
        server.start();
        server
    })
    .await;
    until_readiness(&relay, None).await;
    assert_eq!(post(702).await.status, 204);
    assert_eq!(
        http::document(relay.address, "session/pg").await.text(),
        "xx"
    );
    // Where nothing is awaited: it ends a runtime of its own.
    elsewhere(move || drop(server)).await;
}

/// Does what blocks on a thread of its own.
#[cfg(feature = "postgres")]
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Does something every few milliseconds until the other is done.
#[cfg(feature = "postgres")]
async fn while_doing<T>(other: impl Future<Output = T>, mut something: impl FnMut()) -> T {
    let mut other = std::pin::pin!(other);
    let mut beat = tokio::time::interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            done = &mut other => return done,
            _ = beat.tick() => something(),
        }
    }
}
