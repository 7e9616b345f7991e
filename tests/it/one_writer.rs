//! One relay per database: who comes second waits and says for whom, and who was replaced ends.

use copresence::store::{People, PostgresStore};
use serde_json::Value;
use tempfile::TempDir;
use yrs::Text;

use crate::support::client::{Client, Ending, Provider, converged};
use crate::support::document::Document;
use crate::support::http;
use crate::support::postgres::{Database, Postgres};
use crate::support::relay::{self, Relay};
use crate::support::time::polled;
use crate::support::tokens;

/// Does what blocks on a thread of its own.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn database() -> Database {
    elsewhere(|| Postgres::shared().database()).await
}

async fn relay(database: &Database) -> Relay {
    Relay::options().idle().store(&database.url).start()
}

/// Why the relay is not ready; nothing when it is.
async fn reasons(relay: &Relay) -> String {
    let answer = http::get(relay.address, "/health/ready", "").await;
    let said: Value = answer.json();
    assert_eq!(answer.status == 200, said["ready"] == true);
    match said["ready"] == true {
        true => String::new(),
        false => said["reasons"].to_string(),
    }
}

async fn ready(relay: &Relay) {
    polled("readiness", async || {
        reasons(relay).await.is_empty().then_some(())
    })
    .await;
}

async fn is_alive(relay: &Relay) -> bool {
    http::get(relay.address, "/health/live", "").await.status == 200
}

fn saying(client: u64, words: &str) -> Vec<u8> {
    Document::new(client).edit(|document, transaction| document.text.push(transaction, words))
}

async fn post(relay: &Relay, room: &str, update: &[u8]) -> u16 {
    let path = format!("/v1/rooms/{room}/document");
    let token = tokens::service();
    let answer = http::ask(relay.address, "POST", &path, Some(&token), update);
    answer.await.status
}

async fn tool(arguments: Vec<String>) -> (Option<i32>, String) {
    elsewhere(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (status, stdout, stderr) = relay::run(&arguments);
        (status.code(), format!("{stdout}{stderr}"))
    })
    .await
}

async fn import(
    database: &Database,
    room: &str,
    update: &[u8],
    wait: &str,
) -> (Option<i32>, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("update");
    std::fs::write(&file, update).unwrap();
    let file = file.to_str().unwrap();
    let arguments = [
        "import",
        room,
        file,
        "--store",
        &database.url,
        "--wait",
        wait,
    ];
    tool(arguments.map(str::to_owned).to_vec()).await
}

async fn text_in_store(database: &Database, room: &str) -> String {
    let url = database.url.clone();
    let room = room.to_owned();
    let exported = elsewhere(move || {
        let output = relay::command()
            .args(["export", &room, "--store", &url])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    });
    Document::of_update(&exported.await).text()
}

#[tokio::test]
async fn a_second_relay_is_alive_and_not_ready_until_the_first_has_ended() {
    let database = database().await;
    let mut old = relay(&database).await;
    let room = "board/1";
    let ann = Client::join(&old, Provider::Hocuspocus4, room, &tokens::member("ann")).await;
    ann.write("With the old one. ");
    ann.until("all acknowledged", |state| state.unsynced == 0)
        .await;

    let new = relay(&database).await;
    let why = reasons(&new).await;
    for part in [
        "STORE_DOWN",
        "copresence serve",
        &format!("process {}", old.pid()),
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(is_alive(&new).await);
    let mut ben = Client::new(&new, Provider::YWebsocket, room, &tokens::member("ben"));
    ben.open();
    assert_eq!(
        ben.ended().await,
        Ending::Closed(1013, "STORE_DOWN".to_owned())
    );
    assert_eq!(post(&new, "session/1", &saying(7, "No.")).await, 503);
    // The first one's people are there, whoever else has started.
    let url = database.url.clone();
    let rows = elsewhere(move || {
        let reader = PostgresStore::open_to_read(&url).unwrap();
        reader.presences("1").unwrap()
    });
    let rows = rows.await;
    assert!(
        rows.len() == 1 && rows[0].disconnected_at.is_none(),
        "{rows:?}"
    );
    assert!(reasons(&old).await.is_empty());
    ann.write("Still with it. ");
    ann.until("all acknowledged", |state| state.unsynced == 0)
        .await;
    polled("a line that names whom it waits for", async || {
        let lines = new.log().matches("waiting, not ready: ").count();
        (2 <= lines).then_some(())
    })
    .await;

    old.terminate();
    assert!(old.exited().await.success());
    ready(&new).await;
    let cal = Client::join(&new, Provider::Hocuspocus4, room, &tokens::member("cal")).await;
    assert_eq!(cal.text(), "With the old one. Still with it. ");
    cal.write("With the new one.");
    cal.until("all acknowledged", |state| state.unsynced == 0)
        .await;
    assert_eq!(text_in_store(&database, room).await, cal.text());
}

#[tokio::test]
async fn who_was_revoked_while_a_second_relay_waited_is_not_let_in_by_it() {
    let database = database().await;
    let old = relay(&database).await;
    let new = relay(&database).await;
    assert!(reasons(&new).await.contains("STORE_DOWN"));
    let token = tokens::member("ann");
    let body = br#"{"userId":"ann"}"#;
    let service = tokens::service();
    let said = http::post_patiently(old.address, "/v1/revocations", &service, body).await;
    assert_eq!(said.status, 204);
    old.terminate();
    ready(&new).await;
    let mut ann = Client::new(&new, Provider::YWebsocket, "session/1", &token);
    ann.open();
    assert_eq!(
        ann.ended().await,
        Ending::Closed(4401, "REVOKED".to_owned())
    );
}

#[tokio::test]
async fn of_two_relays_and_an_import_nobody_loses_what_was_answered() {
    for is_first_ended in [false, true] {
        let database = database().await;
        let room = "session/1";
        let mut first = relay(&database).await;
        let second = relay(&database).await;
        let mut expected = vec!["a"];
        assert_eq!(post(&first, room, &saying(1, "a")).await, 204);
        assert_eq!(post(&second, room, &saying(2, "b")).await, 503);
        let (code, said) = import(&database, room, &saying(3, "i"), "100ms").await;
        assert_eq!(code, Some(1));
        for part in [
            "copresence serve",
            "stop it first",
            "POST /v1/rooms",
            "--wait",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        if is_first_ended {
            first.kill();
            ready(&second).await;
            assert_eq!(post(&second, room, &saying(4, "c")).await, 204);
        } else {
            assert_eq!(post(&first, room, &saying(4, "c")).await, 204);
        }
        expected.push("c");
        let text = text_in_store(&database, room).await;
        assert_eq!(text.len(), expected.len(), "{text}");
        assert!(expected.iter().all(|word| text.contains(word)), "{text}");
        // An import that waits until the last relay has gone is carried out.
        let url = Database {
            url: database.url.clone(),
        };
        let waiting = tokio::spawn(async move { import(&url, room, &saying(3, "i"), "60s").await });
        drop((first, second));
        let (code, said) = waiting.await.unwrap();
        assert_eq!(code, Some(0), "{said}");
        let text = text_in_store(&database, room).await;
        assert!(text.len() == 3 && text.contains('i'), "{text}");
    }
}

#[tokio::test]
async fn a_relay_that_was_replaced_closes_everybody_and_ends_with_the_others_name() {
    let database = database().await;
    let mut old = relay(&database).await;
    let room = "session/1";
    let ann = Client::join(&old, Provider::YWebsocket, room, &tokens::member("ann")).await;
    ann.write("Saved.");
    polled("ann's edit on disk", async || {
        let path = format!("/v1/rooms/{room}/document");
        let answer = http::get(old.address, &path, &tokens::service()).await;
        (answer.header("x-copresence-durable") == Some("true")).then_some(())
    })
    .await;
    // Its session ends, and another process is quicker.
    let url = database.url.clone();
    let robber = elsewhere(move || {
        let database = Database { url };
        crate::postgres::rob(&database)
    });
    let robber = robber.await;
    assert_eq!(
        ann.ended().await,
        Ending::Closed(1012, "DRAINING".to_owned())
    );
    let status = old.exited().await;
    assert_eq!(status.code(), Some(1));
    let log = old.log();
    assert!(
        log.contains("another process has taken the database: a robber"),
        "{log}"
    );
    elsewhere(move || drop(robber)).await;

    let new = relay(&database).await;
    ready(&new).await;
    let ben = Client::join(&new, Provider::YWebsocket, room, &tokens::member("ben")).await;
    assert_eq!(ben.text(), "Saved.");
}

#[tokio::test]
async fn a_relay_whose_session_ends_goes_on_as_if_nothing_had_been() {
    let database = database().await;
    let mut relay = relay(&database).await;
    let room = "session/1";
    let ann = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ann")).await;
    let ben = Client::join(&relay, Provider::Hocuspocus2, room, &tokens::member("ben")).await;
    for round in 0..5 {
        let url = database.url.clone();
        elsewhere(move || crate::postgres::end_writer(&Database { url })).await;
        for number in 0..20 {
            ann.write(&format!("{round}.{number} "));
            ben.write(".");
        }
        for client in [&ann, &ben] {
            client
                .until("all acknowledged", |state| state.unsynced == 0)
                .await;
        }
    }
    converged([&ann, &ben]).await;
    assert!(relay.is_running());
    let text = ann.text();
    relay.kill();
    assert_eq!(text_in_store(&database, room).await, text);
}

#[tokio::test]
async fn reading_tools_need_no_lock_and_a_copy_into_a_database_in_use_waits_and_says_for_whom() {
    let database = database().await;
    let relay = relay(&database).await;
    assert_eq!(post(&relay, "session/1", &saying(1, "Hello.")).await, 204);
    let url = &database.url;
    let (code, said) = tool(vec!["check".into(), "--store".into(), url.clone()]).await;
    assert!(code == Some(0) && said.contains("1 rooms"), "{said}");
    let folder = TempDir::new().unwrap();
    let file = format!("sqlite:{}", folder.path().join("copy.db").display());
    let copy = |from: &str, to: &str| {
        let arguments = ["copy", "--from", from, "--to", to, "--wait", "100ms"];
        tool(arguments.map(str::to_owned).to_vec())
    };
    let (code, said) = copy(url, &file).await;
    assert!(code == Some(0) && said.contains("is in use"), "{said}");
    let (code, said) = copy(&file, url).await;
    assert!(
        code == Some(1) && said.contains("copresence serve"),
        "{said}"
    );
    let arguments = ["migrate", "--to", "0", "--store", url, "--wait", "0s"];
    let (code, said) = tool(arguments.map(str::to_owned).to_vec()).await;
    assert!(
        code == Some(1) && said.contains("copresence serve"),
        "{said}"
    );
    drop(relay);
    let (code, said) = tool(
        ["migrate", "--to", "2", "--store", url]
            .map(str::to_owned)
            .to_vec(),
    )
    .await;
    assert!(
        code == Some(0) && said.contains("migration 3 is undone"),
        "{said}"
    );
}
