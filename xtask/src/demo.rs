//! `cargo xtask demo`: the web demo, served by the relay that it shows.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::stages::Outcome;
use crate::{process, web};

/// Small enough for one person to fill a board and see its queue.
const CONFIG: &str = "[kind.board]\ncapacity = 4\n";

/// Which build of the relay to show.
#[derive(Clone, Copy)]
pub enum Build {
    Debug,
    Release,
}

impl Build {
    fn folder(self) -> PathBuf {
        process::target().join(match self {
            Self::Debug => "debug",
            Self::Release => "release",
        })
    }
}

/// A program that ends when we are done with it.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends SIGTERM to the guest when we are gone, whoever killed us: its input closes with us. On
/// Ctrl-C, which the terminal sends to everybody, the guest has said good-bye before it looks.
fn watch_over(guest: &Guest) -> Result<Guest> {
    Command::new("sh")
        .args(["-c", "trap '' INT; read _; kill \"$1\" 2>/dev/null", "sh"])
        .arg(guest.0.id().to_string())
        .stdin(Stdio::piped())
        .spawn()
        .map(Guest)
        .context("cannot start sh")
}

/// Builds, runs, and stays until the relay ends (Ctrl-C); whether that went well.
pub fn run(build: Build) -> Result<bool> {
    step("installing what the pages are built with", || {
        web::install("demo-packages")
    })?;
    step("building the pages", || web::build("demo-build"))?;
    println!("building the relay …");
    let mut command = process::cargo();
    command.args(["build", "--quiet", "--bin", "copresence"]);
    if let Build::Release = build {
        command.arg("--release");
    }
    ensure!(command.status()?.success(), "the build failed");

    let folder = process::target().join("xtask");
    let config = folder.join("demo.toml");
    fs::write(&config, CONFIG)?;
    let mut relay = Command::new(build.folder().join("copresence"))
        .args(["serve", "--dev", "--listen", "127.0.0.1:8787"])
        // Kept, for the page says so: what is on disk is there again next time.
        .arg("--data")
        .arg(folder.join("demo-data"))
        .arg("--config")
        .arg(config)
        .arg("--web")
        .arg(web::dist())
        .current_dir(process::target())
        .stdout(Stdio::piped())
        .spawn()
        .map(Guest)
        .context("cannot start the relay")?;
    // Dropped first, so that it never signals a process id that has been given to somebody else.
    let _watch = watch_over(&relay)?;
    let address = address_of(&mut relay)?;
    println!("\nOpen http://{address}/demo/ in two windows. Ctrl-C ends it.\n");
    let status = relay.0.wait()?;
    Ok(status.success() || status.code().is_none())
}

fn step(what: &str, work: impl FnOnce() -> Result<Outcome>) -> Result<()> {
    println!("{what} …");
    let outcome = work()?;
    ensure!(outcome.tally.failed == 0, "{what}:\n{}", outcome.excerpt);
    Ok(())
}

/// Reads where the relay listens, and goes on reading so that it never waits for us.
fn address_of(relay: &mut Guest) -> Result<String> {
    let output = relay.0.stdout.take().context("the relay has no output")?;
    let mut lines = BufReader::new(output).lines();
    for line in lines.by_ref() {
        if let Some(address) = line?.strip_prefix("listening on http://") {
            let address = address.to_owned();
            thread::spawn(move || {
                lines
                    .map_while(Result::ok)
                    .for_each(|line| println!("{line}"))
            });
            return Ok(address);
        }
    }
    bail!("the relay ended before it listened; is port 8787 taken?")
}
