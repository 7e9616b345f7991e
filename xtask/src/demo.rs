//! `cargo xtask demo`: the relay with a coach and a coachee in one session.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process;

const ROOM: &str = "session/demo";

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

/// Sends SIGTERM to the guests when we are gone, whoever killed us: its input closes with us. On
/// Ctrl-C, which the terminal sends to everybody, the guests have said good-bye before it looks.
fn watch_over(guests: &[&Guest]) -> Result<Guest> {
    Command::new("sh")
        .args(["-c", "trap '' INT; read _; kill \"$@\" 2>/dev/null", "sh"])
        .args(guests.iter().map(|guest| guest.0.id().to_string()))
        .stdin(Stdio::piped())
        .spawn()
        .map(Guest)
        .context("cannot start sh")
}

/// Builds, runs, and stays until the relay ends (Ctrl-C); whether that went well.
pub fn run(build: Build) -> Result<bool> {
    println!("building …");
    let mut command = process::cargo();
    command.args([
        "build",
        "--quiet",
        "--bin",
        "copresence",
        "--example",
        "coach_and_coachee",
    ]);
    if let Build::Release = build {
        command.arg("--release");
    }
    ensure!(command.status()?.success(), "the build failed");

    let mut relay = Command::new(build.folder().join("copresence"))
        .args(["serve", "--dev", "--listen", "127.0.0.1:8787"])
        // Every demo begins with an empty page.
        .args(["--store", "memory:"])
        .current_dir(process::target())
        .stdout(Stdio::piped())
        .spawn()
        .map(Guest)
        .context("cannot start the relay")?;
    let address = address_of(&mut relay)?;
    println!("{}", how_to_look(&address));

    let people = Command::new(build.folder().join("examples/coach_and_coachee"))
        .args(["--url", &format!("ws://{address}/sync/{ROOM}")])
        .spawn()
        .map(Guest)
        .context("cannot start the example coach_and_coachee")?;
    // Dropped first, so that it never signals a process id that has been given to somebody else.
    let _watch = watch_over(&[&relay, &people])?;
    let status = relay.0.wait()?;
    // Give the two people's last lines the time to be printed before the prompt is back.
    thread::sleep(Duration::from_millis(100));
    Ok(status.success() || status.code().is_none())
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

fn how_to_look(address: &str) -> String {
    format!(
        "
copresence listens on http://{address}
Two people edit the room {ROOM} and print what they see of each other.

  who is there      curl http://{address}/v1/rooms/{ROOM}/presence
  and as it changes curl -N http://{address}/v1/rooms/{ROOM}/presence/stream
  the document      curl http://{address}/v1/rooms/{ROOM}/document | xxd | head
  the counters      curl http://{address}/metrics

Join them: y-websocket at ws://{address}/sync with the room {ROOM},
TipTap or another Hocuspocus provider at ws://{address}/collab with the document {ROOM}.
Ctrl-C ends it all.
"
    )
}
