//! Every option of `serve`: a flag, an environment variable and a key of the file.

use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use serde::Deserialize;

use crate::config::units::{Size, Span};
use crate::config::{ConfigError, Listen};
use crate::model::Kind;

/// What somebody set, in one place. Flags and environment make one of these, the file another.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where to listen: an address or a name with a port, or `:PORT` for all addresses of the
    /// machine; port 0 picks a free one [default: 127.0.0.1:8787]
    #[arg(long, env = "COPRESENCE_LISTEN", value_name = "ADDR")]
    pub listen: Option<Listen>,

    /// The folder of the embedded store, one process at a time; made if need be
    /// [default: ./copresence-data]
    #[arg(long, env = "COPRESENCE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Where documents are kept: `sqlite:PATH`, `postgres://USER:PASSWORD@HOST/DATABASE`, or
    /// `memory:`, which keeps nothing when the relay ends [default: the embedded store in --data]
    #[arg(
        long,
        env = "COPRESENCE_STORE",
        value_name = "URL",
        hide_env_values = true
    )]
    pub store: Option<String>,

    /// Threads for rooms and their sockets [default: one per core]
    #[arg(long, env = "COPRESENCE_WORKERS", value_name = "NUMBER")]
    pub workers: Option<usize>,

    /// How a line of the log is written, to stderr [default: text]
    #[arg(long, env = "COPRESENCE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// How much is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives as in RUST_LOG,
    /// which counts where this is not set [default: info]
    #[arg(long, env = "COPRESENCE_LOG", value_name = "LEVEL")]
    pub log: Option<String>,

    /// How long a stopping relay may take to close its connections [default: 10s]
    #[arg(long, env = "COPRESENCE_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: Option<Span>,

    /// A folder with the built web demo, served under /demo/ [default: none]
    #[arg(long, env = "COPRESENCE_WEB", value_name = "DIR")]
    pub web: Option<PathBuf>,

    /// Let in callers without a token as guests, and pages from any port of this machine, and sign
    /// tokens at POST /dev/token; listens on loopback only, and answers to no other name
    /// [default: off]
    #[arg(
        long,
        env = "COPRESENCE_DEV",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        help_heading = "Who gets in"
    )]
    pub dev: Option<bool>,

    /// The HS256 secret that tokens are signed with [default: none]
    #[arg(
        long,
        env = "COPRESENCE_JWT_SECRET",
        value_name = "SECRET",
        hide_env_values = true,
        help_heading = "Who gets in"
    )]
    pub jwt_secret: Option<String>,

    /// File with that secret, which so is in no list of processes; a line break at its end does not
    /// count [default: none]
    #[arg(
        long,
        env = "COPRESENCE_JWT_SECRET_FILE",
        value_name = "FILE",
        help_heading = "Who gets in"
    )]
    pub jwt_secret_file: Option<PathBuf>,

    /// PEM file with the public key of who signs tokens: RSA (RS256), P-256 (ES256) or Ed25519
    /// (EdDSA) [default: none]
    #[arg(
        long,
        env = "COPRESENCE_JWT_KEY",
        value_name = "FILE",
        help_heading = "Who gets in"
    )]
    pub jwt_key: Option<PathBuf>,

    /// Key set (JWKS) with the public keys of who signs tokens, read again every few minutes and
    /// when a token names an unknown one [default: none]
    #[arg(
        long,
        env = "COPRESENCE_JWKS",
        value_name = "FILE-or-URL",
        help_heading = "Who gets in"
    )]
    pub jwks: Option<String>,

    /// The `iss` that tokens must have [default: unchecked]
    #[arg(
        long,
        env = "COPRESENCE_JWT_ISSUER",
        value_name = "TEXT",
        help_heading = "Who gets in"
    )]
    pub jwt_issuer: Option<String>,

    /// The `aud` that tokens must have, or have among theirs [default: unchecked]
    #[arg(
        long,
        env = "COPRESENCE_JWT_AUDIENCE",
        value_name = "TEXT",
        help_heading = "Who gets in"
    )]
    pub jwt_audience: Option<String>,

    /// A browser origin that may connect, e.g. `https://app.example`; repeatable, or separated by
    /// commas [default: the relay's own, and requests that name none]
    #[arg(
        long,
        env = "COPRESENCE_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        help_heading = "Who gets in"
    )]
    pub allow_origin: Option<Vec<String>>,

    /// Forward what awareness states say about who somebody is, instead of stamping it from the
    /// token [default: off]
    #[arg(
        long,
        env = "COPRESENCE_TRUST_AWARENESS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        help_heading = "Who gets in"
    )]
    pub trust_awareness: Option<bool>,

    /// The largest WebSocket message [default: 64MiB]
    #[arg(
        long,
        env = "COPRESENCE_MAX_MESSAGE",
        value_name = "SIZE",
        help_heading = "Limits"
    )]
    pub max_message: Option<Size>,

    /// The largest document, encoded [default: 256MiB]
    #[arg(
        long,
        env = "COPRESENCE_MAX_DOCUMENT",
        value_name = "SIZE",
        help_heading = "Limits"
    )]
    pub max_document: Option<Size>,

    /// How many sockets may be open at once [default: 20000]
    #[arg(
        long,
        env = "COPRESENCE_MAX_CONNECTIONS",
        value_name = "NUMBER",
        help_heading = "Limits"
    )]
    pub max_connections: Option<usize>,

    /// How many sockets, feed windows, heartbeat sessions and streams one user may have at once,
    /// together; tokens with `scope: service` as many as they need [default: 100]
    #[arg(
        long,
        env = "COPRESENCE_MAX_PER_USER",
        value_name = "NUMBER",
        help_heading = "Limits"
    )]
    pub max_per_user: Option<usize>,

    /// How much may wait for a store that cannot write, over all rooms [default: 256MiB]
    #[arg(
        long,
        env = "COPRESENCE_MAX_UNSAVED",
        value_name = "SIZE",
        help_heading = "Limits"
    )]
    pub max_unsaved: Option<Size>,

    /// Messages per second and connection, with bursts of twice as many [default: 1000]
    #[arg(
        long,
        env = "COPRESENCE_RATE",
        value_name = "NUMBER",
        help_heading = "Limits"
    )]
    pub rate: Option<u32>,

    /// `[kind.NAME]` of the file; neither flags nor environment reach it.
    #[arg(skip)]
    #[serde(default)]
    pub kind: KindTables,
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object of JSON for each line.
    Json,
}

/// The tables `[kind.session]` and so on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindTables {
    #[serde(default)]
    session: KindTable,
    #[serde(default)]
    board: KindTable,
    #[serde(default)]
    event: KindTable,
    #[serde(default)]
    workspace: KindTable,
    /// The follow feed's, which is no kind of room.
    #[serde(default)]
    pub feed: KindTable,
}

/// The numbers of one kind that somebody set, in milliseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindTable {
    /// How many users may be in at once; 0 is no limit.
    pub capacity: Option<usize>,
    /// Whether whoever finds the room full waits for a place.
    pub queue: Option<bool>,
    /// How long a session that owes signs of life may be silent; 0 where only sockets count.
    pub heartbeat_timeout_ms: Option<u64>,
    /// Inactivity after which somebody is idle; 0 is never.
    pub idle_after_ms: Option<u64>,
    /// Inactivity after which somebody is away; 0 is never.
    pub away_after_ms: Option<u64>,
    /// How long "typing" lasts after the last message that said so.
    pub typing_ms: Option<u64>,
    /// How long an entry stays after its last session was closed cleanly.
    pub linger_clean_ms: Option<u64>,
    /// The same after its last session was lost; the heartbeat limit where nothing is said.
    pub linger_lost_ms: Option<u64>,
    /// How long changes are gathered before they are told.
    pub gather_ms: Option<u64>,
    /// How long a lost connection's resume token is good; the feed only.
    pub resume_ms: Option<u64>,
    /// How long a room without connections stays loaded.
    pub unload_after_ms: Option<u64>,
    /// How often a peer is asked whether it is there.
    pub ping_every_ms: Option<u64>,
    /// How long after an unanswered ping a connection is given up.
    pub dead_after_ms: Option<u64>,
}

impl KindTables {
    /// The table of one kind.
    pub fn of(&self, kind: Kind) -> &KindTable {
        match kind {
            Kind::Session => &self.session,
            Kind::Board => &self.board,
            Kind::Event => &self.event,
            Kind::Workspace => &self.workspace,
        }
    }
}

/// Options that exclude each other, by their fields: what is said nearer (a flag, before a variable,
/// before the file) overrules the others of its row.
pub const EXCLUSIVE: [&[&str]; 2] = [
    &["data", "store"],
    &["jwt_secret", "jwt_secret_file", "jwt_key", "jwks"],
];

impl Options {
    /// What a TOML file says.
    pub fn of_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|why| {
            ConfigError::new(format!("--config: cannot read {}: {why}", path.display()))
        })?;
        Self::of_toml(&text)
            .map_err(|why| ConfigError::new(format!("--config: {}: {why}", path.display())))
    }

    /// What a text in TOML says; an unknown key is an error that names it.
    pub fn of_toml(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            // Not the library's own display: it quotes the line, which may hold the secret.
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or(text);
            let number = before.matches('\n').count();
            let key = text
                .lines()
                .nth(number)
                .unwrap_or_default()
                .split('=')
                .next();
            ConfigError::new(format!(
                "line {} (`{}`): {}",
                number + 1,
                key.unwrap_or_default().trim(),
                error.message().trim_end()
            ))
        })
    }

    /// These options, and the file, if there is one, where they say nothing.
    pub fn over_file(self, file: Option<&Path>) -> Result<Self, ConfigError> {
        match file {
            Some(path) => Ok(self.over(Self::of_file(path)?)),
            None => Ok(self),
        }
    }

    /// These options, and `other` where they say nothing.
    pub fn over(self, other: Self) -> Self {
        // Whoever names a folder here means it, whatever address the other has.
        let other_store = other.store.filter(|_| self.data.is_none());
        // There is one key, and the one named here is it.
        let key_is_here = self.names_a_key();
        let (other_secret, other_secret_file, other_key, other_set) = match key_is_here {
            true => (None, None, None, None),
            false => (
                other.jwt_secret,
                other.jwt_secret_file,
                other.jwt_key,
                other.jwks,
            ),
        };
        Self {
            listen: self.listen.or(other.listen),
            workers: self.workers.or(other.workers),
            log_format: self.log_format.or(other.log_format),
            log: self.log.or(other.log),
            data: self.data.or(other.data),
            store: self.store.or(other_store),
            drain_timeout: self.drain_timeout.or(other.drain_timeout),
            web: self.web.or(other.web),
            dev: self.dev.or(other.dev),
            jwt_secret: self.jwt_secret.or(other_secret),
            jwt_secret_file: self.jwt_secret_file.or(other_secret_file),
            jwt_key: self.jwt_key.or(other_key),
            jwks: self.jwks.or(other_set),
            jwt_issuer: self.jwt_issuer.or(other.jwt_issuer),
            jwt_audience: self.jwt_audience.or(other.jwt_audience),
            allow_origin: self.allow_origin.or(other.allow_origin),
            trust_awareness: self.trust_awareness.or(other.trust_awareness),
            max_message: self.max_message.or(other.max_message),
            max_document: self.max_document.or(other.max_document),
            max_connections: self.max_connections.or(other.max_connections),
            max_per_user: self.max_per_user.or(other.max_per_user),
            max_unsaved: self.max_unsaved.or(other.max_unsaved),
            rate: self.rate.or(other.rate),
            kind: other.kind,
        }
    }
    fn names_a_key(&self) -> bool {
        self.jwt_secret.is_some()
            || self.jwt_secret_file.is_some()
            || self.jwt_key.is_some()
            || self.jwks.is_some()
    }
}
