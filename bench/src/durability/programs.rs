//! The two servers: how they are started, and where they keep their documents.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::server::Server;

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    Relay,
    Peer,
}

impl Kind {
    pub const BOTH: [Self; 2] = [Self::Relay, Self::Peer];

    /// The database in a server's folder.
    pub fn database(self, data: &Path) -> PathBuf {
        data.join(match self {
            Self::Relay => "copresence.db",
            Self::Peer => "peer.db",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Relay => "copresence",
            Self::Peer => "Hocuspocus",
        })
    }
}

/// Where everything is.
pub struct Programs {
    pub relay: PathBuf,
    pub peer: PathBuf,
    /// Everything written by a run goes below.
    pub folder: PathBuf,
}

impl Programs {
    /// A folder with nothing in it.
    pub fn fresh_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Starts a server on what is in the folder; returns when it accepts connections.
    pub fn start(&self, kind: Kind, data: &Path) -> Result<Server> {
        let mut command = match kind {
            Kind::Relay => {
                let mut command = Command::new(&self.relay);
                // Somebody who types without pause in one room is not to be slowed down here.
                command.args([
                    "serve",
                    "--dev",
                    "--listen",
                    "127.0.0.1:0",
                    "--rate",
                    "1000000",
                ]);
                command.arg("--data").arg(data);
                command
            }
            Kind::Peer => {
                let mut command = Command::new("node");
                command.arg(&self.peer).arg(kind.database(data));
                command.env("NODE_ENV", "production");
                command
            }
        };
        Server::start(&kind.to_string(), &mut command, &data.join("server.log"))
    }
}
