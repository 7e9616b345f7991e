//! One [`Config`] from flags over environment over a TOML file; it is valid or does not exist.
//!
//! [`Options`] are what people set, each of them possibly not; [`Config`] is what the relay runs
//! with, complete and checked, relations between options included. Every error names the option to
//! change. Nothing here opens a key, a socket or a store. Start with [`Config::new`].

mod listen;
mod options;
#[cfg(test)]
mod reference;
mod store;
mod units;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{AuthOptions, KeySource, Secret};
use crate::limits::{CLIENT_QUIET_MAX, Limits, STRANGERS_MIN, STRANGERS_SHARE, WORKERS_MAX};
use crate::model::{Kind, Policies, Policy};

pub use listen::{Listen, Places};
pub use options::{EXCLUSIVE, KindTable, KindTables, LogFormat, Options};
pub use store::{DatabaseUrl, StoreChoice};
pub use units::{Size, Span};

/// What the relay runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub listen: Listen,
    /// Threads for rooms; one for each core when zero.
    pub workers: usize,
    /// How lines of the log are written.
    pub log_format: LogFormat,
    /// How much is logged, where that is said.
    pub log: Option<String>,
    /// What keeps the documents.
    pub store: StoreChoice,
    /// Who gets in.
    pub auth: AuthOptions,
    /// Browser origins that may connect beside the relay's own, as browsers write them.
    pub allow_origins: Vec<String>,
    /// Forward awareness states unstamped.
    pub trust_awareness: bool,
    /// How long stopping may take.
    pub drain_timeout: Duration,
    /// A folder with the built web demo.
    pub web: Option<PathBuf>,
    /// The caps.
    pub limits: Limits,
    /// The numbers of every kind.
    pub policies: Policies,
}

/// Why there is no [`Config`]; says which option to change.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Loopback: what nobody else can reach needs no thought.
const LISTEN: Listen = Listen::at(Ipv4Addr::LOCALHOST, 8787);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Below, a message could not carry an auth message; above, lengths no longer fit yrs' 32 bits.
const MESSAGE_BYTES: RangeInclusive<usize> = 1 << 10..=1 << 30;
const DOCUMENT_BYTES: RangeInclusive<usize> = 1 << 10..=2 << 30;
/// More often, pings would be the load.
const PING_EVERY_MIN: Duration = Duration::from_millis(100);
/// Longer, and a ghost would outlive anybody's patience.
const GHOST_MAX: Duration = Duration::from_secs(600);
/// A day: whoever means longer means never.
const SPAN_MAX: Duration = Duration::from_secs(86_400);
/// The shortest interval at which heartbeats may be promised.
const HEARTBEAT_MIN: Duration = Duration::from_millis(250);

impl Config {
    /// Flags and environment, over the file if there is one, over the defaults.
    pub fn load(options: Options, file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::new(options.over_file(file)?)
    }

    /// Options over the defaults, checked.
    pub fn new(options: Options) -> Result<Self, ConfigError> {
        let listen = options.listen.clone().unwrap_or(LISTEN);
        let is_dev = options.dev.unwrap_or(false);
        if is_dev && !listen.is_loopback() {
            return Err(ConfigError::new(format!(
                "--dev lets anybody in, so --listen must be a loopback address such as {LISTEN}, \
                 not {listen}"
            )));
        }
        let drain_timeout = options.drain_timeout.map_or(DRAIN_TIMEOUT, |span| span.0);
        if DRAIN_TIMEOUT_MAX < drain_timeout {
            return Err(ConfigError::new("--drain-timeout is more than an hour"));
        }
        if options.workers == Some(0) || options.workers.is_some_and(|many| WORKERS_MAX < many) {
            return Err(ConfigError::new(format!(
                "--workers is not within 1 and {WORKERS_MAX}"
            )));
        }
        Ok(Self {
            listen,
            workers: options.workers.unwrap_or(0),
            log_format: options.log_format.unwrap_or_default(),
            log: not_empty("--log", options.log.clone())?,
            store: StoreChoice::of(&options)?,
            auth: AuthOptions {
                key: key_source(&options, is_dev)?,
                issuer: not_empty("--jwt-issuer", options.jwt_issuer.clone())?,
                audience: not_empty("--jwt-audience", options.jwt_audience.clone())?,
                is_dev,
            },
            allow_origins: options
                .allow_origin
                .iter()
                .flatten()
                .map(|origin| normal_origin(origin))
                .collect::<Result<_, _>>()?,
            trust_awareness: options.trust_awareness.unwrap_or(false),
            drain_timeout,
            web: web(&options)?,
            limits: limits(&options)?,
            policies: policies(&options.kind)?,
        })
    }

    /// Whether `--dev` is on.
    pub fn is_dev(&self) -> bool {
        self.auth.is_dev
    }
}

fn key_source(options: &Options, is_dev: bool) -> Result<Option<KeySource>, ConfigError> {
    let secret = not_empty("--jwt-secret", options.jwt_secret.clone())?
        .map(|secret| KeySource::Secret(Secret::new(secret)));
    let secret_file = options.jwt_secret_file.clone().map(KeySource::SecretFile);
    let pem = options.jwt_key.clone().map(KeySource::PemFile);
    let set = not_empty("--jwks", options.jwks.clone())?.map(|place| {
        if place.starts_with("http://") || place.starts_with("https://") {
            KeySource::KeySetUrl(place)
        } else {
            KeySource::KeySetFile(place.into())
        }
    });
    let mut sources = [secret, secret_file, pem, set].into_iter().flatten();
    match (sources.next(), sources.next()) {
        (None, _) if !is_dev => Err(ConfigError::new(
            "no key to verify tokens with: set one of --jwt-secret, --jwt-secret-file, --jwt-key and \
             --jwks, or --dev to let guests in on this machine only",
        )),
        (source, None) => Ok(source),
        (_, Some(_)) => Err(ConfigError::new(
            "more than one key source: set only one of --jwt-secret, --jwt-secret-file, --jwt-key \
             and --jwks in one place (a flag overrules variables, and these the file)",
        )),
    }
}

/// An empty value is a variable that somebody forgot to fill, never a wish.
fn not_empty(option: &str, value: Option<String>) -> Result<Option<String>, ConfigError> {
    match value {
        Some(value) if value.is_empty() => Err(ConfigError::new(format!("{option} is empty"))),
        value => Ok(value),
    }
}

fn web(options: &Options) -> Result<Option<PathBuf>, ConfigError> {
    match &options.web {
        Some(folder) if folder.as_os_str().is_empty() => Err(ConfigError::new("--web is empty")),
        folder => Ok(folder.clone()),
    }
}

/// The origin as browsers write it: lower case, without the scheme's own port.
fn normal_origin(text: &str) -> Result<String, ConfigError> {
    let lower = text.trim().to_ascii_lowercase();
    let origin = match lower.split_once("://") {
        Some(("http", host)) => format!("http://{}", host.strip_suffix(":80").unwrap_or(host)),
        Some(("https", host)) => format!("https://{}", host.strip_suffix(":443").unwrap_or(host)),
        _ => lower,
    };
    let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty()
            && !host.is_empty()
            && !host.contains(['/', '?', '#', '@', '*', ' '])
            && origin.is_ascii()
    });
    if !is_origin {
        return Err(ConfigError::new(format!(
            "--allow-origin: `{text}` is no origin, e.g. https://app.example or \
             http://localhost:5173 (no path, no wildcard)"
        )));
    }
    Ok(origin)
}

fn limits(options: &Options) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let bytes = |size: Option<Size>, default| size.map_or(default, |size| size.0);
    let connections_max = options.max_connections.unwrap_or(default.connections_max);
    let limits = Limits {
        message_bytes_max: bytes(options.max_message, default.message_bytes_max),
        document_bytes_max: bytes(options.max_document, default.document_bytes_max),
        connections_max,
        strangers_max: (connections_max / STRANGERS_SHARE).max(STRANGERS_MIN),
        per_user_max: options.max_per_user.unwrap_or(default.per_user_max),
        unsaved_bytes_max: bytes(options.max_unsaved, default.unsaved_bytes_max),
        rate: options.rate.unwrap_or(default.rate),
    };
    if !MESSAGE_BYTES.contains(&limits.message_bytes_max) {
        return Err(ConfigError::new(
            "--max-message is not within 1KiB and 1GiB",
        ));
    }
    if !DOCUMENT_BYTES.contains(&limits.document_bytes_max) {
        return Err(ConfigError::new(
            "--max-document is not within 1KiB and 2GiB",
        ));
    }
    if limits.connections_max == 0 {
        return Err(ConfigError::new(
            "--max-connections is 0: nobody could connect",
        ));
    }
    if limits.per_user_max == 0 {
        return Err(ConfigError::new(
            "--max-per-user is 0: nobody could connect",
        ));
    }
    if limits.unsaved_bytes_max == 0 {
        return Err(ConfigError::new("--max-unsaved is 0: nobody could write"));
    }
    if limits.rate == 0 {
        return Err(ConfigError::new("--rate is 0: nobody could say anything"));
    }
    Ok(limits)
}

fn policies(tables: &KindTables) -> Result<Policies, ConfigError> {
    let mut policies = Policies::default();
    for kind in Kind::ALL {
        set_numbers(policies.of_mut(kind), tables.of(kind));
        check_room(kind, policies.of(kind), tables.of(kind))
            .and_then(|()| check_numbers(policies.of(kind)))
            .map_err(|why| ConfigError::new(format!("[kind.{}]: {why}", kind.name())))?;
    }
    set_numbers(Arc::make_mut(&mut policies.feed), &tables.feed);
    check_feed(&policies.feed, &tables.feed)
        .and_then(|()| check_numbers(&policies.feed))
        .map_err(|why| ConfigError::new(format!("[kind.feed]: {why}")))?;
    if policies.event.heartbeat_timeout.is_zero() {
        return Err(ConfigError::new(
            "[kind.event]: heartbeat_timeout_ms is 0: heartbeats would never end",
        ));
    }
    Ok(policies)
}

fn set_numbers(policy: &mut Policy, table: &KindTable) {
    let set = |number: &mut Duration, millis: Option<u64>| {
        *number = millis.map_or(*number, Duration::from_millis);
    };
    policy.capacity = table.capacity.unwrap_or(policy.capacity);
    policy.has_queue = table.queue.unwrap_or(policy.has_queue);
    set(&mut policy.heartbeat_timeout, table.heartbeat_timeout_ms);
    set(&mut policy.idle_after, table.idle_after_ms);
    set(&mut policy.away_after, table.away_after_ms);
    set(&mut policy.typing, table.typing_ms);
    set(&mut policy.linger_clean, table.linger_clean_ms);
    // An entry stays until the heartbeat limit, whichever that is.
    let lingers = !policy.linger_lost.is_zero();
    let limit = table.heartbeat_timeout_ms.filter(|_| lingers);
    set(&mut policy.linger_lost, table.linger_lost_ms.or(limit));
    set(&mut policy.gather, table.gather_ms);
    set(&mut policy.resume, table.resume_ms);
    set(&mut policy.unload_after, table.unload_after_ms);
    set(&mut policy.ping_every, table.ping_every_ms);
    set(&mut policy.dead_after, table.dead_after_ms);
}

fn check_numbers(policy: &Policy) -> Result<(), &'static str> {
    if policy.ping_every < PING_EVERY_MIN {
        return Err("ping_every_ms is less than 100");
    }
    // Who is given up before the next ping was never asked twice.
    if policy.dead_after < policy.ping_every {
        return Err("dead_after_ms is less than ping_every_ms");
    }
    if GHOST_MAX < policy.ping_every.saturating_add(policy.dead_after) {
        return Err("ping_every_ms and dead_after_ms are more than 10 minutes together");
    }
    if !policy.away_after.is_zero() && policy.away_after <= policy.idle_after {
        return Err("away_after_ms is not more than idle_after_ms");
    }
    let spans = [
        (
            policy.heartbeat_timeout,
            "heartbeat_timeout_ms is more than a day",
        ),
        (policy.idle_after, "idle_after_ms is more than a day"),
        (policy.away_after, "away_after_ms is more than a day"),
        (policy.typing, "typing_ms is more than a day"),
        (policy.linger_clean, "linger_clean_ms is more than a day"),
        (policy.linger_lost, "linger_lost_ms is more than a day"),
        (policy.gather, "gather_ms is more than a day"),
        (policy.unload_after, "unload_after_ms is more than a day"),
    ];
    match spans.into_iter().find(|&(span, _)| SPAN_MAX < span) {
        Some((_, why)) => Err(why),
        None => Ok(()),
    }
}

fn check_room(kind: Kind, policy: &Policy, table: &KindTable) -> Result<(), &'static str> {
    if table.resume_ms.is_some() {
        return Err("resume_ms is a number of [kind.feed] only");
    }
    // Every kind of room has the doors of Yjs; one late sign of life must not cost a link.
    if CLIENT_QUIET_MAX < policy.ping_every.saturating_mul(2) {
        return Err(
            "ping_every_ms is more than 15000: clients of Yjs drop a link on which they hear \
             nothing for 30 s, and one ping may be late",
        );
    }
    if policy.has_queue && kind != Kind::Board {
        return Err("queue is true, but only boards have a door that people can wait at");
    }
    if table.queue == Some(true) && policy.capacity == 0 {
        return Err("queue is true, but capacity is 0: nobody would ever wait");
    }
    if !policy.heartbeat_timeout.is_zero() && policy.heartbeat_timeout < HEARTBEAT_MIN {
        return Err("heartbeat_timeout_ms is less than 250");
    }
    if policy.typing.is_zero() {
        return Err("typing_ms is 0: nobody could be seen typing");
    }
    Ok(())
}

fn check_feed(policy: &Policy, table: &KindTable) -> Result<(), &'static str> {
    let of_rooms = [
        (
            table.capacity.is_some(),
            "capacity is a number of rooms, not of the feed",
        ),
        (
            table.queue.is_some(),
            "queue is a choice for rooms, not for the feed",
        ),
        (
            table.heartbeat_timeout_ms.is_some(),
            "heartbeat_timeout_ms is a number of rooms, not of the feed",
        ),
        (
            table.idle_after_ms.is_some(),
            "idle_after_ms is a number of rooms, not of the feed",
        ),
        (
            table.typing_ms.is_some(),
            "typing_ms is a number of rooms, not of the feed",
        ),
        (
            table.unload_after_ms.is_some(),
            "unload_after_ms is a number of rooms, not of the feed",
        ),
    ];
    if let Some((_, why)) = of_rooms.into_iter().find(|&(is_set, _)| is_set) {
        return Err(why);
    }
    // A window that is gone cannot be resumed.
    if policy.linger_clean.min(policy.linger_lost) < policy.resume {
        return Err("resume_ms is more than linger_clean_ms or linger_lost_ms");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        options: Options,
    }

    fn parse(flags: &str) -> Result<Options, String> {
        let words = std::iter::once("serve").chain(flags.split_whitespace());
        let flags = Flags::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(flags.options)
    }

    fn check(flags: &str, toml: &str) -> Result<Config, String> {
        let file = Options::of_toml(toml).map_err(|error| error.to_string())?;
        Config::new(parse(flags)?.over(file)).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn assert_error(flags: &str, toml: &str, parts: &[&str]) {
        let error = check(flags, toml).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let config = check("--jwt-secret s", "").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8787");
        let store = "sqlite:copresence-data/copresence.db";
        assert_eq!(config.store.to_string(), store);
        assert_eq!(config.drain_timeout, Duration::from_secs(10));
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.policies, Policies::default());
        assert!(config.allow_origins.is_empty());
        assert_eq!(config.web, None);
        assert!(!config.trust_awareness && !config.is_dev());
    }

    #[test]
    fn every_option_is_a_flag_and_a_key_of_the_file() {
        let flags = check(
            "--listen 127.0.0.1:0 --data d --store memory: --drain-timeout 500ms --jwt-secret s \
             --workers 3 --log-format json --log debug \
             --jwt-issuer us --jwt-audience relay --allow-origin https://a.test --dev \
             --allow-origin https://b.test --trust-awareness --max-message 1MiB \
             --max-document 2MB --max-connections 5 --max-per-user 6 --max-unsaved 3000 --rate 7 --web dist",
            "",
        );
        let file = check(
            "",
            r#"
            listen = "127.0.0.1:0"
            workers = 3
            log_format = "json"
            log = "debug"
            data = "d"
            store = "memory:"
            drain_timeout = "500ms"
            dev = true
            jwt_secret = "s"
            jwt_issuer = "us"
            jwt_audience = "relay"
            allow_origin = ["https://a.test", "https://b.test"]
            trust_awareness = true
            max_message = "1MiB"
            max_document = "2MB"
            max_connections = 5
            max_per_user = 6
            max_unsaved = 3000
            rate = 7
            web = "dist"
            "#,
        );
        let config = flags.unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", file.unwrap()));
        assert_eq!(config.limits.message_bytes_max, 1 << 20);
        assert_eq!(config.allow_origins, ["https://a.test", "https://b.test"]);
        assert_eq!(config.auth.issuer.as_deref(), Some("us"));
        assert!(config.is_dev() && config.trust_awareness);
        assert_eq!((config.workers, config.log_format), (3, LogFormat::Json));
        assert_eq!(config.web.as_deref(), Some(Path::new("dist")));
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let config = check(
            "--rate 7 --dev=false --allow-origin https://a.test --jwt-secret s",
            "rate = 9\ndev = true\nallow_origin = [\"https://b.test\"]\nmax_connections = 3",
        )
        .unwrap();
        assert_eq!((config.limits.rate, config.limits.connections_max), (7, 3));
        assert_eq!(config.allow_origins, ["https://a.test"]);
        assert!(!config.is_dev());
    }

    /// A process has one environment, so the test runs itself in others.
    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        const CHILD: &str = "TEST_COPRESENCE_FLAGS";
        if let Ok(flags) = std::env::var(CHILD) {
            let file = "rate = 1\nmax_connections = 1\ndrain_timeout = 1\njwt_secret = \"s\"";
            let config = check(&flags, file).unwrap();
            let limits = &config.limits;
            let seconds = config.drain_timeout.as_secs();
            println!("({} {} {seconds})", limits.rate, limits.connections_max);
            println!("{:?} {}", config.allow_origins, config.is_dev());
            return;
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("config::tests::a_flag_wins_over_the_environment_and_that_over_the_file")
            .env(CHILD, "--rate 3")
            .env("COPRESENCE_RATE", "2")
            .env("COPRESENCE_MAX_CONNECTIONS", "2")
            .env("COPRESENCE_DEV", "1")
            .env("COPRESENCE_ALLOW_ORIGIN", "https://a.test,https://b.test")
            .output()
            .unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.contains("(3 2 1)"), "{output}");
        let rest = "[\"https://a.test\", \"https://b.test\"] true";
        assert!(output.contains(rest), "{output}");
    }

    #[test]
    fn without_a_key_only_dev_starts_and_only_on_loopback() {
        let options = ["--jwt-secret", "--jwt-key", "--jwks", "--dev"];
        assert_error("", "", &options);
        assert!(check("--dev", "").unwrap().auth.key.is_none());
        assert!(check("--dev --listen [::1]:80", "").is_ok());
        let why = ["--dev", "--listen", "loopback", "0.0.0.0:80"];
        assert_error("--dev --listen 0.0.0.0:80", "", &why);
    }

    #[test]
    fn there_is_exactly_one_key_source() {
        let source = |flags| check(flags, "").unwrap().auth.key.unwrap();
        assert_eq!(
            source("--jwt-key k.pem"),
            KeySource::PemFile("k.pem".into())
        );
        assert_eq!(
            source("--jwks k.json"),
            KeySource::KeySetFile("k.json".into())
        );
        let url = "https://id.test/jwks";
        assert_eq!(
            source("--jwks https://id.test/jwks"),
            KeySource::KeySetUrl(url.into())
        );
        assert_error(
            "--jwt-secret s --jwks k.json",
            "",
            &["more than one key source"],
        );
        assert_error(
            "--dev",
            "jwt_key = \"k.pem\"\njwt_secret = \"s\"",
            &["more than one key source"],
        );
        assert_eq!(
            source("--jwt-secret-file s"),
            KeySource::SecretFile("s".into())
        );
        assert_error("--jwt-secret=", "", &["--jwt-secret is empty"]);
        assert_error("--dev --jwt-issuer=", "", &["--jwt-issuer is empty"]);
    }

    #[test]
    fn the_key_named_nearer_is_the_one() {
        for (flags, key) in [
            ("--jwt-key k.pem", KeySource::PemFile("k.pem".into())),
            ("--jwks k.json", KeySource::KeySetFile("k.json".into())),
            ("--jwt-secret-file s", KeySource::SecretFile("s".into())),
            ("--jwt-secret s", KeySource::Secret(Secret::new("s"))),
        ] {
            for file in ["jwt_secret = \"t\"", "jwt_key = \"t\"", "jwks = \"t\""] {
                let config = check(flags, file).unwrap();
                assert_eq!(config.auth.key, Some(key.clone()), "{flags} over {file}");
            }
        }
    }

    #[test]
    fn pings_come_before_clients_of_yjs_give_up_the_link() {
        for kind in Kind::ALL {
            let table = format!("[kind.{}]\nping_every_ms = ", kind.name());
            assert!(check("--dev", &format!("{table}15000")).is_ok());
            let why = ["ping_every_ms is more than 15000", "30 s", kind.name()];
            assert_error("--dev", &format!("{table}15001"), &why);
        }
        // A program that follows the feed has its own patience.
        let feed = "[kind.feed]\nping_every_ms = 60000\ndead_after_ms = 60000";
        assert!(check("--dev", feed).is_ok());
    }

    #[test]
    fn mistakes_are_named() {
        assert_error(
            "--dev",
            "max_mesage = 5",
            &["line 1", "max_mesage", "max_message"],
        );
        assert_error("--dev", "[kind.board]\ncapacty = 1", &["line 2", "capacty"]);
        assert_error("--dev", "rate = \"many\"", &["line 1 (`rate`)"]);
        assert_error(
            "--dev",
            "max_message = \"5 apples\"",
            &["max_message", "5 apples"],
        );
        assert_error("--dev", "max_message = -5", &["max_message", "-5"]);
        assert_error(
            "--dev --max-message 5apples",
            "",
            &["--max-message", "5apples"],
        );
        assert_error("--dev --max-message 1", "", &["--max-message", "1KiB"]);
        assert_error("--dev --max-document 3GiB", "", &["--max-document"]);
        assert_error("--dev --max-connections 0", "", &["--max-connections"]);
        assert_error("--dev --max-per-user 0", "", &["--max-per-user"]);
        assert_error("--dev --max-unsaved 0", "", &["--max-unsaved"]);
        assert_error("--dev --rate 0", "", &["--rate"]);
        assert_error("--dev --drain-timeout 2h", "", &["--drain-timeout"]);
        assert_error("--dev --listen here", "", &["--listen", "here"]);
        assert_error("--dev --listen :8787", "", &["--dev", "loopback", ":8787"]);
        assert!(check("--dev --listen localhost:8787", "").is_ok());
        assert_error("--dev --workers 0", "", &["--workers", "1 and 256"]);
        assert_error("--dev --log=", "", &["--log is empty"]);
        assert_error("--dev --log-format xml", "", &["--log-format", "json"]);
        let store = ["--store", "`mysql:`", "`sqlite:PATH`", "`memory:`"];
        assert_error("--dev --store mysql://ann:hunter2@db/x", "", &store);
        for origin in ["app.example", "https://a.test/", "https://*.a.test", "*"] {
            let flags = format!("--dev --allow-origin {origin}");
            assert_error(
                &flags,
                "",
                &["--allow-origin", origin, "https://app.example"],
            );
        }
        let absent = Config::load(Options::default(), Some(Path::new("/absent.toml")));
        let absent = absent.unwrap_err().to_string();
        assert!(absent.contains("--config") && absent.contains("/absent.toml"));
    }

    #[test]
    fn secrets_do_not_show_in_errors_or_in_debug_output() {
        let config = check("--jwt-secret hunter2", "").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = check("", "jwt_secret = \"hunter2\"\nx = 1").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = check("", "jwt_secret = [\"hunter2\"]").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = check("--dev --store sqlite://u:hunter2@x", "").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_folder_named_nearer_wins_over_an_address_farther_away() {
        let store = |flags, file| check(flags, file).unwrap().store.to_string();
        let file = "data = \"f\"\nstore = \"sqlite:s.db\"";
        assert_eq!(store("--dev", file), "sqlite:s.db");
        assert_eq!(store("--dev --data d", file), "sqlite:d/copresence.db");
        assert_eq!(store("--dev --data d --store memory:", file), "memory:");
        assert_eq!(store("--dev", "data = \"f\""), "sqlite:f/copresence.db");
    }

    #[test]
    fn origins_are_written_as_browsers_do() {
        let config = check(
            "--dev --allow-origin https://App.Test:443,http://localhost:5173,http://a.test:80",
            "",
        );
        assert_eq!(
            config.unwrap().allow_origins,
            ["https://app.test", "http://localhost:5173", "http://a.test"]
        );
    }

    #[test]
    fn a_kinds_numbers_are_set_one_by_one_and_must_fit_together() {
        let config = check(
            "--dev",
            "[kind.session]\nping_every_ms = 200\ndead_after_ms = 300\n[kind.board]\n\
             unload_after_ms = 0",
        )
        .unwrap();
        let session = config.policies.of(Kind::Session);
        assert_eq!(session.ping_every, Duration::from_millis(200));
        assert_eq!(session.dead_after, Duration::from_millis(300));
        assert_eq!(session.unload_after, Duration::from_secs(60));
        assert_eq!(config.policies.board.unload_after, Duration::ZERO);
        for (numbers, why) in [
            ("ping_every_ms = 99", "ping_every_ms is less than 100"),
            (
                "dead_after_ms = 9999",
                "dead_after_ms is less than ping_every_ms",
            ),
            ("dead_after_ms = 600000", "10 minutes"),
            ("dead_after_ms = 18446744073709551615", "kind"),
            ("unload_after_ms = 86400001", "more than a day"),
        ] {
            assert_error("--dev", &format!("[kind.event]\n{numbers}"), &[why]);
        }
        let named = ["[kind.event]", "less than 100"];
        assert_error("--dev", "[kind.event]\nping_every_ms = 0", &named);
    }

    #[test]
    fn presence_has_its_numbers_and_the_feed_its_own() {
        let config = check(
            "--dev",
            "[kind.board]\ncapacity = 2\nqueue = false\nheartbeat_timeout_ms = 900\n\
             idle_after_ms = 100\naway_after_ms = 0\ntyping_ms = 70\nlinger_clean_ms = 60\n\
             gather_ms = 50\n[kind.event]\nheartbeat_timeout_ms = 800\nlinger_lost_ms = 40\n\
             [kind.workspace]\ncapacity = 3\n\
             [kind.feed]\ngather_ms = 1\nresume_ms = 2\naway_after_ms = 3",
        )
        .unwrap();
        let millis = Duration::from_millis;
        let board = config.policies.of(Kind::Board);
        assert_eq!((board.capacity, board.has_queue), (2, false));
        assert_eq!(board.heartbeat_timeout, millis(900));
        assert_eq!(board.linger_lost, millis(900), "until the heartbeat limit");
        assert_eq!(
            (board.idle_after, board.away_after),
            (millis(100), Duration::ZERO)
        );
        assert_eq!((board.typing, board.linger_clean), (millis(70), millis(60)));
        assert_eq!(board.gather, millis(50));
        assert_eq!(config.policies.event.linger_lost, millis(40));
        assert_eq!(config.policies.heartbeat_limit(Kind::Session), millis(800));
        assert_eq!(config.policies.workspace.capacity, 3);
        let feed = &config.policies.feed;
        assert_eq!(
            (feed.gather, feed.resume, feed.away_after),
            (millis(1), millis(2), millis(3))
        );
        for (numbers, why) in [
            ("[kind.board]\nidle_after_ms = 180000", "away_after_ms"),
            ("[kind.board]\nresume_ms = 1", "[kind.feed] only"),
            ("[kind.board]\ncapacity = 0\nqueue = true", "capacity is 0"),
            (
                "[kind.workspace]\ncapacity = 3\nqueue = true",
                "only boards",
            ),
            ("[kind.event]\nheartbeat_timeout_ms = 249", "less than 250"),
            ("[kind.event]\nheartbeat_timeout_ms = 0", "never end"),
            ("[kind.session]\ntyping_ms = 0", "typing_ms"),
            (
                "[kind.session]\nlinger_lost_ms = 86400001",
                "linger_lost_ms is more than a day",
            ),
            ("[kind.feed]\ncapacity = 1", "[kind.feed]: capacity"),
            ("[kind.feed]\nunload_after_ms = 1", "unload_after_ms"),
            ("[kind.feed]\nresume_ms = 60001", "linger_clean_ms"),
        ] {
            assert_error("--dev", numbers, &[why]);
        }
    }
}
