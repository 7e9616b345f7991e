//! The command line: what is refused at start, and what the commands print.

use crate::support::client::{Client, Provider};
use crate::support::http;
use crate::support::relay::{self, Relay};
use crate::support::tokens::{self, SECRET};

/// Ends by itself with an error that names all of these.
fn check_refused(arguments: &[&str], named: &[&str]) {
    let (status, stdout, stderr) = relay::run(arguments);
    assert!(!status.success(), "{arguments:?} did not fail");
    assert!(!stdout.contains("listening"), "{arguments:?} listened");
    for name in named {
        assert!(
            stderr.contains(name),
            "{arguments:?} does not name {name}:\n{stderr}"
        );
    }
}

#[test]
fn without_a_key_serve_says_which_options_to_set() {
    check_refused(
        &["serve", "--listen=127.0.0.1:0"],
        &["--jwt-secret", "--jwt-key", "--jwks", "--dev"],
    );
}

#[test]
fn a_development_relay_listens_on_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        check_refused(
            &["serve", "--dev", "--listen", address],
            &["--dev", "loopback"],
        );
    }
}

#[test]
fn settings_that_cannot_work_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copresence.toml");
    let config = file.to_str().unwrap();
    for (text, named) in [
        ("listne = \"127.0.0.1:0\"\n", "listne"),
        ("[kind.session]\nping_evry_ms = 1\n", "ping_evry_ms"),
        ("[kind.lesson]\nping_every_ms = 1\n", "lesson"),
        ("max_message = \"much\"\n", "max_message"),
        ("not toml", "copresence.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        check_refused(
            &["serve", "--listen=127.0.0.1:0", "--dev", "--config", config],
            &[named],
        );
    }
    check_refused(
        &["serve", "--dev", "--config", "/nowhere/at-all.toml"],
        &["/nowhere/at-all.toml"],
    );
    check_refused(
        &["serve", "--dev", "--no-such-option"],
        &["--no-such-option"],
    );
    check_refused(
        &[
            "serve",
            "--listen=127.0.0.1:0",
            "--jwt-key=/nowhere/key.pem",
        ],
        &["/nowhere/key.pem"],
    );
}

#[test]
fn a_folder_without_a_page_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let web = folder.path().to_str().unwrap();
    check_refused(
        &[
            "serve",
            "--dev",
            "--listen=127.0.0.1:0",
            "--store=memory:",
            "--web",
            web,
        ],
        &["--web", "index.html", web],
    );
    check_refused(
        &["serve", "--dev", "--listen=127.0.0.1:0", "--web", ""],
        &["--web"],
    );
}

#[test]
fn an_address_that_is_taken_is_an_error_and_no_panic() {
    let relay = Relay::start();
    let address = relay.address.to_string();
    check_refused(&["serve", "--dev", "--listen", &address], &[&address]);
}

#[test]
fn help_names_every_option_with_its_default() {
    let (status, stdout, _) = relay::run(&["serve", "--help"]);
    assert!(status.success());
    for option in [
        "--listen",
        "--data",
        "./copresence-data",
        "--store",
        "--jwt-secret",
        "--jwt-key",
        "--jwks",
        "--jwt-issuer",
        "--jwt-audience",
        "--dev",
        "--allow-origin",
        "--trust-awareness",
        "--drain-timeout",
        "--max-message",
        "--max-document",
        "--max-connections",
        "--max-per-user",
        "--max-unsaved",
        "--rate",
        "--config",
        "COPRESENCE_",
        "127.0.0.1:8787",
    ] {
        assert!(stdout.contains(option), "--help does not mention {option}");
    }
}

#[tokio::test]
async fn a_flag_wins_over_the_file() {
    let relay = Relay::options()
        .config("max_connections = 1\n")
        .argument("--max-connections=2")
        .start();
    let token = tokens::member("ann");
    let _first = Client::join(&relay, Provider::YWebsocket, "session/1", &token).await;
    let _second = Client::join(&relay, Provider::YWebsocket, "session/1", &token).await;
}

#[tokio::test]
async fn documents_are_in_the_data_folder_and_there_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new/data");
    let token = tokens::service();
    let path = "/v1/rooms/session/kept/document";
    let update = [
        1, 1, 7, 0, 4, 1, 4, b't', b'e', b'x', b't', 2, b'H', b'i', 0,
    ];
    for visit in ["first", "second"] {
        let mut relay = Relay::options().data(&data).start();
        if visit == "first" {
            let answer = http::ask(relay.address, "POST", path, Some(&token), &update).await;
            assert_eq!(answer.status, 204);
        }
        let answer = http::get(relay.address, path, &token).await;
        assert_eq!(answer.body, update, "the {visit} time");
        relay.terminate();
        assert!(relay.exited().await.success());
        assert!(data.join("copresence.db").is_file());
    }
}

#[tokio::test]
async fn a_token_from_the_command_line_opens_the_door() {
    let relay = Relay::start();
    let (status, stdout, stderr) = relay::run(&[
        "token",
        "--secret",
        SECRET,
        "--sub=ann",
        "--name=Ann",
        "--room=session/*=coach:write",
    ]);
    assert!(status.success(), "{stderr}");
    let token = stdout.trim();
    let ann = Client::show_up(&relay, Provider::Hocuspocus4, "session/cli", token, "ann").await;
    assert_eq!(ann.state().scope.as_deref(), Some("read-write"));
    let people = crate::support::time::polled("ann in the roster", || async {
        let people = http::roster(relay.address, "session/cli").await;
        (!people.is_empty()).then_some(people)
    })
    .await;
    assert_eq!(
        (&people[0]["name"], &people[0]["role"]),
        (&"Ann".into(), &"coach".into())
    );
}

#[tokio::test]
async fn health_and_metrics_are_open_and_tell_what_is_there() {
    let relay = Relay::start();
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(
            http::ask(relay.address, "GET", path, None, b"")
                .await
                .status,
            200,
            "{path}"
        );
    }
    let token = tokens::member("ann");
    let _ann = Client::join(&relay, Provider::YWebsocket, "session/secret-name", &token).await;
    let answer = http::ask(relay.address, "GET", "/metrics", None, b"").await;
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("# TYPE copresence_"), "no metrics:\n{text}");
    // Rooms and people are nobody's business here, and would be labels without end.
    assert!(
        !text.contains("secret-name") && !text.contains("ann\""),
        "{text}"
    );
}
