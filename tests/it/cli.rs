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

/// With everything that a relay needs, the options of the test come last.
fn serve<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let first = ["serve", "--listen=127.0.0.1:0", "--check-config"];
    first.iter().chain(arguments).copied().collect()
}

#[test]
fn a_flag_overrules_a_variable_that_excludes_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let update = place("update");
    std::fs::write(&update, [0, 0]).unwrap();
    let (data, other) = (place("test"), format!("sqlite:{}", place("other.db")));
    let variables = [("COPRESENCE_STORE", other.as_str())];
    let arguments = ["import", "session/1", &update, "--data", &data];
    let (status, _, stderr) = relay::run_with(&variables, &arguments);
    assert!(status.success(), "{stderr}");
    assert!(folder.path().join("test/copresence.db").is_file());
    assert!(!folder.path().join("other.db").exists());

    // The same with keys; the other way round two flags are one too many.
    let key = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/keys/ed25519.public.pem"
    );
    let variables = [
        ("COPRESENCE_JWT_SECRET", SECRET),
        ("COPRESENCE_JWKS", "/nowhere/jwks.json"),
    ];
    let (status, _, stderr) = relay::run_with(&variables, &serve(&["--jwt-key", key]));
    assert!(status.success(), "{stderr}");
    let (status, _, stderr) = relay::run_with(&variables, &serve(&[]));
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("more than one key source"), "{stderr}");
}

#[test]
fn variables_that_nobody_knows_are_errors_and_empty_ones_are_none() {
    let dev = serve(&["--dev"]);
    let unknown = [("COPRESENCE_REDDIS", "redis://user:hunter2@x")];
    for arguments in [dev.as_slice(), &["token", "--secret=s", "--sub=ann"]] {
        let (status, _, stderr) = relay::run_with(&unknown, arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("COPRESENCE_REDDIS"), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    let fine = [
        ("COPRESENCE_SERVICE_HOST", "10.0.0.1"),
        ("COPRESENCE_PORT", "tcp://10.0.0.1:80"),
        ("COPRESENCE_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("COPRESENCE_BIN", "x"),
        ("COPRESENCE_CMD", "x"),
        ("COPRESENCE_OTHER", ""),
        // Each of these would be an error if it counted.
        ("COPRESENCE_JWT_SECRET", ""),
        ("COPRESENCE_MAX_MESSAGE", ""),
        ("COPRESENCE_STORE", ""),
        ("COPRESENCE_DEV", ""),
    ];
    let (status, _, stderr) = relay::run_with(&fine, &dev);
    assert!(status.success(), "{stderr}");
    // But a flag that is empty is a slip.
    let (status, _, stderr) = relay::run(&serve(&["--jwt-secret="]));
    assert_eq!(status.code(), Some(2), "{stderr}");
}

#[test]
fn everything_is_checked_before_a_store_is_made() {
    let relay = Relay::start();
    let taken = relay.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mistakes: [&[&str]; 4] = [
        &["--dev", "--listen", &taken],
        &["--listen=127.0.0.1:0", "--jwt-key=/nowhere/key.pem"],
        &["--listen=127.0.0.1:0", "--dev", "--web=/nowhere"],
        &["--listen=127.0.0.1:0", "--dev", "--log=loud=loud"],
    ];
    for mistake in mistakes {
        let mut arguments = vec!["serve", "--data", data.to_str().unwrap()];
        arguments.extend(mistake);
        let (status, _, stderr) = relay::run(&arguments);
        assert!(!status.success(), "{mistake:?}: {stderr}");
        assert!(!data.exists(), "{mistake:?} made a store");
        // And so it is when that is all that is asked for.
        arguments.push("--check-config");
        assert!(!relay::run(&arguments).0.success(), "{mistake:?}");
    }
    let (status, stdout, stderr) = relay::run(&[
        "serve",
        "--check-config",
        "--dev",
        "--listen=127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ]);
    assert!(status.success(), "{stderr}");
    assert!(!stdout.contains("listening"), "{stdout}");
    assert!(!data.exists(), "--check-config made a store");
}

#[tokio::test]
async fn a_name_or_a_port_alone_is_a_place_to_listen() {
    for place in ["localhost:0", ":0"] {
        let relay = Relay::options().listen(place).start();
        let port = relay.address.port();
        let live = http::get(([127, 0, 0, 1], port).into(), "/health/live", "").await;
        assert_eq!(live.status, 200, "{place}");
    }
    check_refused(&["serve", "--dev", "--listen=:0"], &["--dev", "loopback"]);
    check_refused(
        &["serve", "--dev", "--listen=no-such-host.invalid:0"],
        &["--dev", "loopback"],
    );
}

#[test]
fn the_version_says_what_was_built() {
    let (status, stdout, _) = relay::run(&["--version"]);
    assert!(status.success());
    let begin = format!("copresence {} (", env!("CARGO_PKG_VERSION"));
    assert!(stdout.starts_with(&begin), "{stdout}");
}

#[tokio::test]
async fn the_log_is_as_the_options_say() {
    let relay = Relay::options()
        .variable("COPRESENCE_LOG_FORMAT", "json")
        .argument("--log=debug")
        .start();
    http::get(relay.address, "/health/live", "").await;
    let log = relay.log();
    let line = log.lines().find(|line| line.contains("/health/live"));
    let line: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
    assert_eq!(line["level"], "DEBUG");
}

#[tokio::test]
async fn a_secret_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let relay = Relay::options()
        .other_key()
        .argument("--jwt-secret-file")
        .argument(file.to_str().unwrap())
        .start();
    let token = tokens::member("ann");
    Client::join(&relay, Provider::YWebsocket, "session/1", &token).await;
}

#[test]
fn tokens_that_nobody_could_use_are_not_signed() {
    let mistakes: [(&[&str], &str); 5] = [
        (&["--color=tomato"], "tomato"),
        (&["--expires-in=0"], "--expires-in"),
        (&["--scope=root"], "service"),
        (&["--room=a=read", "--room=a=write"], "twice"),
        (&["--room=a//b=read"], "a//b"),
    ];
    for (arguments, named) in mistakes {
        let first = ["token", "--secret", SECRET, "--sub=ann"];
        let arguments: Vec<_> = first.iter().chain(arguments).copied().collect();
        let (status, stdout, stderr) = relay::run(&arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.contains(named), "{stderr}");
    }
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
        "--check-config",
        "--workers",
        "--log-format",
        "--log ",
        "--jwt-secret-file",
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
