//! The relay as a process: started on a free port, watched, killed by its id.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::time::{now, polled};
use crate::support::tokens::SECRET;

/// Tests that load the machine, or measure it, run alone; others share it.
static MACHINE: RwLock<()> = RwLock::new(());

/// A part in the machine, held while a test runs.
pub enum Share {
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
    Together {
        _guard: RwLockReadGuard<'static, ()>,
    },
    /// Mostly waits, and is measured in seconds: in nobody's way.
    Idle,
}

/// For a relay within the test's own process.
pub fn share() -> Share {
    Share::Together {
        _guard: ignore_poison(MACHINE.read()),
    }
}

/// A running relay. Dropping it kills it, and fails the test if it panicked meanwhile.
pub struct Relay {
    child: Child,
    pub address: SocketAddr,
    folder: TempDir,
    _share: Share,
}

impl Relay {
    /// With a secret, on a free port, and every default.
    pub fn start() -> Self {
        Options::default().start()
    }

    pub fn options() -> Options {
        Options::default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal, named without its `SIG`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(status.unwrap().success(), "the relay was gone already");
    }

    /// No file of the relay's may grow beyond so many bytes; `None` is without limit.
    pub fn limit_files(&self, bytes: Option<u64>) {
        self.limit(
            "fsize",
            bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string()),
        );
    }

    /// The relay may have so many files open, and as many more as it has; `None` is enough.
    pub fn limit_open_files(&self, count: Option<u64>) {
        self.limit("nofile", count.unwrap_or(1_024).to_string());
    }

    fn limit(&self, what: &str, limit: String) {
        let done = Command::new("prlimit")
            .args(["--pid", &self.pid().to_string()])
            // The soft limit alone: it can be raised again.
            .arg(format!("--{what}={limit}:"))
            .output()
            .expect("a machine at its limits is played with the program `prlimit` of util-linux");
        assert!(done.status.success(), "prlimit failed: {done:?}");
    }

    /// SIGKILL: the relay dies without a word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn exited(&mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.child);
        polled("the relay to exit", || {
            let status = child.borrow_mut().try_wait().unwrap();
            async move { status }
        })
        .await
    }

    /// What it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        read_lossy(self.folder.path().join("log"))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // An error here means it has exited already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if thread::panicking() {
            let tail = log.len().saturating_sub(6000);
            eprintln!(
                "--- the relay's log ends:\n{}",
                String::from_utf8_lossy(&log.as_bytes()[tail..])
            );
        } else {
            assert!(!log.contains("panicked at"), "the relay panicked:\n{log}");
        }
    }
}

fn read_lossy(path: PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// How to start a relay.
#[derive(Default)]
pub struct Options {
    arguments: Vec<String>,
    config: String,
    has_other_key: bool,
    has_store: bool,
    listen: Option<String>,
    variables: Vec<(String, String)>,
    ignored_signal: Option<&'static str>,
    /// What the shell is told before it becomes the relay.
    ulimit: Option<String>,
    log: Option<&'static str>,
    share: Wanted,
}

#[derive(Default)]
enum Wanted {
    #[default]
    Together,
    Alone,
    Idle,
}

impl Options {
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Without the suite's secret: the arguments say how tokens are checked.
    pub fn other_key(mut self) -> Self {
        self.has_other_key = true;
        self
    }

    /// Keeps documents there, e.g. `sqlite:PATH`, instead of in memory.
    pub fn store(mut self, url: &str) -> Self {
        self.has_store = true;
        self.argument("--store").argument(url)
    }

    /// Keeps documents in the embedded store in this folder.
    pub fn data(mut self, folder: &Path) -> Self {
        self.has_store = true;
        self.argument("--data").argument(folder.to_str().unwrap())
    }

    /// Lines of the configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    /// Dead peers are found within a second instead of thirty.
    pub fn impatient(self) -> Self {
        self.config("[kind.session]\nping_every_ms = 200\ndead_after_ms = 400\n")
    }

    /// A write beyond `limit_files` is an error, as on a full disk, and not the end of the process.
    pub fn with_file_limit(mut self) -> Self {
        self.ignored_signal = Some("XFSZ");
        self
    }

    /// Started as `nohup` does.
    pub fn without_hangup(mut self) -> Self {
        self.ignored_signal = Some("HUP");
        self
    }

    /// Listens there instead of at a free port of 127.0.0.1.
    pub fn listen(mut self, place: &str) -> Self {
        self.listen = Some(place.to_owned());
        self
    }

    /// A variable of its environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Logs as `RUST_LOG` would say, whatever that says here.
    pub fn logging(mut self, directives: &'static str) -> Self {
        self.log = Some(directives);
        self
    }

    /// It may open so many files and no more.
    pub fn open_files(mut self, files: usize) -> Self {
        self.ulimit = Some(format!("ulimit -n {files}"));
        self
    }

    /// It may open so many files until it says otherwise.
    pub fn soft_open_files(mut self, files: usize) -> Self {
        self.ulimit = Some(format!("ulimit -S -n {files}"));
        self
    }

    /// For tests that load the machine or measure milliseconds.
    pub fn alone(mut self) -> Self {
        self.share = Wanted::Alone;
        self
    }

    /// For tests that mostly wait, and for a second relay in one test.
    pub fn idle(mut self) -> Self {
        self.share = Wanted::Idle;
        self
    }

    pub fn start(self) -> Relay {
        let share = match self.share {
            Wanted::Together => share(),
            Wanted::Alone => Share::Alone {
                _guard: ignore_poison(MACHINE.write()),
            },
            Wanted::Idle => Share::Idle,
        };
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let ignored = self.ignored_signal;
        let ignored = ignored.map(|signal| format!("trap '' {signal}"));
        let before: Vec<String> = ignored.into_iter().chain(self.ulimit).collect();
        let mut command = match before.is_empty() {
            true => command(),
            false => by_shell(&before.join("; ")),
        };
        let listen = self.listen.as_deref().unwrap_or("127.0.0.1:0");
        command.arg("serve").args(["--listen", listen]);
        command.envs(self.variables);
        match self.log {
            Some(directives) => command.env("RUST_LOG", directives),
            None => command.env_remove("RUST_LOG"),
        };
        if !self.has_other_key {
            command.args(["--jwt-secret", SECRET]);
        }
        if !self.has_store {
            command.args(["--store", "memory:"]);
        }
        if !self.config.is_empty() {
            let file = folder.path().join("config.toml");
            fs::write(&file, &self.config).unwrap();
            command.arg("--config").arg(file);
        }
        command.args(&self.arguments).current_dir(folder.path());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let address = listening_address(&mut child).unwrap_or_else(|| {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "the relay did not start:\n{}",
                read_lossy(folder.path().join("log"))
            )
        });
        Relay {
            child,
            address,
            folder,
            _share: share,
        }
    }
}

/// A failed test must not fail those that come after it.
fn ignore_poison<T>(result: Result<T, std::sync::PoisonError<T>>) -> T {
    result.unwrap_or_else(std::sync::PoisonError::into_inner)
}

const BINARY: &str = env!("CARGO_BIN_EXE_copresence");

/// The binary under test, untouched by the environment that the tests happen to run in.
pub fn command() -> Command {
    untouched(Command::new(BINARY))
}

/// The same, by a shell that does something before it becomes the relay.
fn by_shell(before: &str) -> Command {
    let mut shell = untouched(Command::new("sh"));
    let script = format!("{before}; exec \"$@\"");
    shell.args(["-c", &script, "sh", BINARY]);
    shell
}

fn untouched(mut command: Command) -> Command {
    for (name, _) in std::env::vars() {
        if name.starts_with("COPRESENCE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Reads stdout until the relay says where it listens, and drains it from then on.
fn listening_address(child: &mut Child) -> Option<SocketAddr> {
    let (tell, told) = sync_channel(1);
    let mut stdout = BufReader::new(child.stdout.take()?);
    thread::spawn(move || {
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|count| 0 < count) {
            if let Some(address) = line.trim().strip_prefix("listening on http://") {
                // Nobody listens when the test has given up; draining goes on all the same.
                let _ = tell.try_send(address.parse().ok());
                break;
            }
            line.clear();
        }
        let mut rest = Vec::new();
        let _ = stdout.read_to_end(&mut rest);
    });
    told.recv_timeout(Duration::from_secs(20)).ok().flatten()
}

/// Runs the binary to its end; for commands that are expected to stop by themselves.
pub fn run(arguments: &[&str]) -> (ExitStatus, String, String) {
    run_with(&[], arguments)
}

/// The same, with variables.
pub fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> (ExitStatus, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command()
        .envs(variables.iter().copied())
        .args(arguments)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Duration::from_secs(20) < now() - started {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments:?} did not end");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut texts = [String::new(), String::new()];
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut texts[0])
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut texts[1])
        .unwrap();
    let [stdout, stderr] = texts;
    (status, stdout, stderr)
}
