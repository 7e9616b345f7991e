//! The servers that are compared, and how each is started and spoken to.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use copresence::auth::{AuthOptions, KeySource, Secret, Verifier};
use copresence::clock::Timestamp;
use serde_json::json;

use crate::compare::protocol::Protocol;
use crate::server::Server;

/// The core of the server; the generator has another.
const SERVER_CORE: &str = "0";
/// What yrs-warp's channel of a room holds: enough that nobody is dropped for being behind.
const CHANNEL_MESSAGES: &str = "65536";
/// The same where idle rooms are weighed: as in its own example.
const CHANNEL_MESSAGES_IDLE: &str = "32";

const SECRET: &str = "a secret of the benchmark's own, long enough";
/// In the year 2100.
const TOKENS_EXPIRE: u64 = 4_102_444_800;

/// A server, or ours in several ways.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Contestant {
    /// Forwards frames unread.
    Floor,
    Hocuspocus,
    /// With its SQLite extension.
    HocuspocusSqlite,
    YWebsocket,
    YrsWarp,
    YSweet,
    /// At `/sync`, with its embedded store.
    Relay,
    /// The same at `/collab`.
    RelayCollab,
    /// At `/sync`, with `--store memory:`, which keeps nothing.
    RelayMemory,
}

impl Contestant {
    /// All that take part under load.
    pub const ALL: [Self; 8] = [
        Self::Floor,
        Self::Hocuspocus,
        Self::YWebsocket,
        Self::YrsWarp,
        Self::YSweet,
        Self::Relay,
        Self::RelayCollab,
        Self::RelayMemory,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Hocuspocus => "@hocuspocus/server 4.7",
            Self::HocuspocusSqlite => "the same with its SQLite extension",
            Self::YWebsocket => "@y/websocket-server 0.1.5",
            Self::YrsWarp => "yrs-warp 0.9",
            Self::YSweet => "y-sweet 0.9.1",
            Self::Relay => "**copresence**, `/sync`",
            Self::RelayCollab => "**copresence**, `/collab`",
            Self::RelayMemory => "copresence, `/sync`, `--store memory:`",
        }
    }

    /// Whether it is somebody else's.
    pub fn is_peer(self) -> bool {
        matches!(
            self,
            Self::Hocuspocus
                | Self::HocuspocusSqlite
                | Self::YWebsocket
                | Self::YrsWarp
                | Self::YSweet
        )
    }

    /// Whether it is ours.
    pub fn is_relay(self) -> bool {
        matches!(self, Self::Relay | Self::RelayCollab | Self::RelayMemory)
    }

    /// Whether it answers a client that joins.
    pub fn has_documents(self) -> bool {
        self != Self::Floor
    }

    pub fn protocol(self) -> Protocol {
        match self {
            Self::Hocuspocus | Self::HocuspocusSqlite | Self::RelayCollab => Protocol::Hocuspocus,
            Self::Floor
            | Self::YWebsocket
            | Self::YrsWarp
            | Self::YSweet
            | Self::Relay
            | Self::RelayMemory => Protocol::YWebsocket,
        }
    }

    /// What a room of this number is called.
    pub fn room(self, number: usize) -> String {
        match self.is_relay() {
            true => format!("session/{number}"),
            false => format!("room-{number}"),
        }
    }

    /// Where its socket is opened.
    pub fn path(self, room: &str, token: &str) -> String {
        match self {
            Self::Hocuspocus | Self::HocuspocusSqlite => "/".to_owned(),
            Self::RelayCollab => "/collab".to_owned(),
            Self::Relay | Self::RelayMemory => format!("/sync/{room}?token={token}"),
            Self::YSweet => format!("/d/{room}/ws/{room}"),
            Self::Floor | Self::YWebsocket | Self::YrsWarp => format!("/{room}"),
        }
    }
}

/// Signs tokens, so that ours knows who everybody is, as it would in earnest.
pub struct Signer(Verifier);

impl Signer {
    pub fn new() -> Result<Self> {
        let verifier = Verifier::new(AuthOptions {
            key: Some(KeySource::Secret(Secret::new(SECRET))),
            is_dev: true,
            ..AuthOptions::default()
        })?;
        Ok(Self(verifier))
    }

    /// What the person of this number shows.
    pub fn token(&self, contestant: Contestant, number: u64) -> Result<String> {
        if !contestant.is_relay() {
            return Ok(String::new());
        }
        let claims = json!({
            "sub": format!("user-{number}"),
            "name": format!("User {}", number % 1_000),
            "exp": TOKENS_EXPIRE,
            "allowedDocumentNames": ["session/*"],
        });
        // The claims say when it ends: nobody needs to know what time it is.
        let signed = self.0.sign_dev(Timestamp::ZERO, &claims);
        signed.context("cannot sign a token")
    }
}

/// Where the programs are.
pub struct Programs {
    /// The relay, the floor, and this.
    pub release: PathBuf,
    /// `bench/peers`.
    pub scripts: PathBuf,
    /// The peers that are compiled.
    pub peers: PathBuf,
    /// Everything written by a run goes below.
    pub folder: PathBuf,
}

impl Programs {
    /// Whether it could be installed.
    pub fn has(&self, contestant: Contestant) -> bool {
        match contestant {
            Contestant::YrsWarp => self.peers.join("bench-yrs-warp").exists(),
            Contestant::YSweet => self.peers.join("y-sweet").exists(),
            _ => true,
        }
    }

    /// Starts it with nothing stored.
    pub fn start(&self, contestant: Contestant) -> Result<Server> {
        self.start_as(contestant, false)
    }

    /// The same, with room for many who do nothing.
    pub fn start_idle(&self, contestant: Contestant) -> Result<Server> {
        self.start_as(contestant, true)
    }

    fn start_as(&self, contestant: Contestant, is_idle: bool) -> Result<Server> {
        crate::clear(&self.folder.join("data"))?;
        self.start_again(contestant, is_idle)
    }

    /// Starts it with what is stored.
    pub fn start_again(&self, contestant: Contestant, is_idle: bool) -> Result<Server> {
        let data = self.folder.join("data");
        let mut line: Vec<PathBuf> = Vec::new();
        match contestant {
            Contestant::Floor => line.push(self.release.join("floor")),
            Contestant::Hocuspocus | Contestant::HocuspocusSqlite => {
                line.push("node".into());
                line.push(self.scripts.join("hocuspocus/server.mjs"));
                if contestant == Contestant::HocuspocusSqlite {
                    line.push(data.join("peer.db"));
                }
            }
            Contestant::YWebsocket => {
                line.push("node".into());
                line.push(self.scripts.join("y-websocket/server.mjs"));
            }
            Contestant::YrsWarp => {
                line.push(self.peers.join("bench-yrs-warp"));
                let messages = if is_idle {
                    CHANNEL_MESSAGES_IDLE
                } else {
                    CHANNEL_MESSAGES
                };
                line.push(messages.into());
            }
            Contestant::YSweet => {
                line.push(self.peers.join("y-sweet"));
                line.extend(["serve", "--port", "0"].map(PathBuf::from));
            }
            Contestant::Relay | Contestant::RelayCollab | Contestant::RelayMemory => {
                line.push(self.release.join("copresence"));
                // The generator is faster than people are.
                let options = "serve --dev --listen 127.0.0.1:0 --rate 100000000";
                line.extend(options.split(' ').map(PathBuf::from));
                line.extend(["--max-connections", "50000"].map(PathBuf::from));
                line.extend(["--jwt-secret", SECRET].map(PathBuf::from));
                if contestant == Contestant::RelayMemory {
                    line.extend(["--store", "memory:"].map(PathBuf::from));
                } else {
                    line.push("--data".into());
                    line.push(data.clone());
                }
            }
        }
        let mut command = Command::new("taskset");
        command
            .args(["-c", SERVER_CORE])
            // Whatever ends the benchmark ends its servers.
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(line)
            .env("NODE_ENV", "production")
            .env("RUST_LOG", "warn");
        Server::start(
            contestant.name(),
            &mut command,
            &self.folder.join("server.log"),
        )
    }
}
