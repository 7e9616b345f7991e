//! The two servers as processes: started on a free port, stopped or killed.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::stopwatch::Stopwatch;

/// How long a server may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(30);

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
        let log = File::create(data.join("server.log"))?;
        let watch = Stopwatch::start();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {kind}"))?;
        let mut server = Server {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            started_within: Duration::ZERO,
        };
        server.address = server.read_address()?;
        server.started_within = watch.elapsed();
        Ok(server)
    }
}

/// A server that runs; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From the start of the process to the first connection it would take.
    pub started_within: Duration,
}

impl Server {
    /// SIGKILL: what is on disk now is all that is left.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM: it may finish.
    pub fn stop(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status()?;
        ensure!(asked.success(), "cannot stop a server");
        let watch = Stopwatch::start();
        while self.child.try_wait()?.is_none() {
            ensure!(watch.elapsed() < END_WITHIN, "a server does not end");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Reads where it listens, and goes on reading so that it never waits for us.
    fn read_address(&mut self) -> Result<SocketAddr> {
        let output = self.child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref() {
            if let Some(address) = line?.strip_prefix("listening on http://") {
                let address = address.parse()?;
                thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(address);
            }
        }
        bail!("a server ended before it listened; see server.log in its folder")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
