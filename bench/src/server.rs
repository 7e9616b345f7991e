//! A server as a process: started on a free port, stopped or killed, and what it uses.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::stopwatch::Stopwatch;
use crate::usage;

/// How long a server may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A server that runs; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From the start of the process to the first connection it would take.
    pub started_within: Duration,
}

impl Server {
    /// Starts it; returns when it has said where it listens.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let watch = Stopwatch::start();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut server = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            started_within: Duration::ZERO,
        };
        let ended = || format!("{name} ended before it listened; see {}", log.display());
        server.address = server.read_address()?.with_context(ended)?;
        server.started_within = watch.elapsed();
        Ok(server)
    }

    /// The processor time of all its threads so far.
    pub fn cpu(&self) -> Result<Duration> {
        usage::cpu(&self.child.id().to_string())
    }

    /// What it holds of the machine's memory.
    pub fn resident_bytes(&self) -> Result<u64> {
        usage::resident_bytes(&self.child.id().to_string())
    }

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
    fn read_address(&mut self) -> Result<Option<SocketAddr>> {
        let output = self.child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref() {
            if let Some(port) = port(&line?) {
                thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(Some(SocketAddr::from(([127, 0, 0, 1], port))));
            }
        }
        Ok(None)
    }
}

/// The port in an address such as `http://127.0.0.1:8080`, if the line has one.
fn port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("://127.0.0.1:")?;
    let end = rest.find(|character: char| !character.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_where_they_listen_each_in_its_own_way() {
        assert_eq!(port("listening on http://127.0.0.1:8080"), Some(8080));
        assert_eq!(
            port("   \u{1b}[95mys://127.0.0.1:35811/\u{1b}[0m"),
            Some(35811)
        );
        assert_eq!(port("listening soon"), None);
    }
}
