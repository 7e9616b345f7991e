//! A real Postgres on a port of its own: started, stopped, killed; nothing of it is left behind.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use postgres::{Client, NoTls};
use tempfile::TempDir;

use crate::support::time::now;

/// In every URL of the suite; must be in no message.
pub const PASSWORD: &str = "s3same-öffne-dich";
const PASSWORD_IN_URL: &str = "s3same-%C3%B6ffne-dich";
const USER: &str = "relay";

/// How long a server may take to begin, recovery from a crash included.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);

/// A server with `fsync`, which speaks TLS with a certificate that nobody has signed.
pub struct Postgres {
    binaries: PathBuf,
    owner: Option<Owner>,
    port: u16,
    child: Option<Child>,
    // In this order: what watches must find nothing left to do.
    folder: TempDir,
    _watch: Watch,
}

/// A database of one test, in a server that others may share.
pub struct Database {
    pub url: String,
}

impl Postgres {
    /// The server that all tests share which do not stop it. It ends with their process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::begin)
    }

    /// A server of one's own.
    pub fn begin() -> Self {
        let binaries = binaries();
        let owner = Owner::if_we_are_root();
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let watch = Watch::over(folder.path());
        let mut server = Self {
            binaries,
            owner,
            port: 0,
            child: None,
            folder,
            _watch: watch,
        };
        server.make_cluster();
        server.make_certificate();
        for _ in 0..5 {
            // Somebody else may take it before the server does; then another will do.
            server.port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .unwrap()
                .port();
            if server.try_start() {
                return server;
            }
        }
        panic!("Postgres does not start:\n{}", server.log());
    }

    /// An empty database.
    pub fn database(&self) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut client = Client::connect(&self.url("postgres"), NoTls).unwrap();
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .unwrap();
        Database {
            url: self.url(&name),
        }
    }

    fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// The certificate that the server shows, for 127.0.0.1.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.crt")
    }

    /// Ends all sessions and stops, as `systemctl stop` does.
    pub fn stop(&mut self) {
        self.signal("INT", &[]);
        self.child.take().unwrap().wait().unwrap();
    }

    /// SIGKILL to all of its processes at once: what was not flushed by itself is lost to it.
    pub fn kill(&mut self) {
        let pid = self.pid();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        let children: Vec<&str> = children.split_whitespace().collect();
        self.signal("KILL", &children);
        self.child.take().unwrap().wait().unwrap();
    }

    /// Starts it again with what it has on disk, on the same port.
    pub fn start(&mut self) {
        let deadline = now() + BEGIN_WITHIN;
        // After a kill it refuses to begin while one of its former processes still ends.
        while !self.try_start() {
            assert!(
                now() < deadline,
                "Postgres does not start again:\n{}",
                self.log()
            );
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn signal(&self, name: &str, others: &[&str]) {
        // Those who have ended meanwhile need no signal.
        let _ = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .args(others)
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn make_cluster(&self) {
        let data = self.data();
        let password = self.folder.path().join("password");
        fs::create_dir(&data).unwrap();
        fs::write(&password, PASSWORD).unwrap();
        for path in [&data, &password] {
            self.hand_over(path, 0o700);
        }
        let made = self
            .command("initdb")
            .args(["--no-sync", "--encoding=UTF8", "--locale=C"])
            .args(["--auth=scram-sha-256", "--username", USER])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb failed: {made:?}");
    }

    fn make_certificate(&self) {
        let (key, certificate) = (self.folder.path().join("server.key"), self.certificate());
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", "/CN=copresence tests"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args([OsStr::new("-keyout"), key.as_os_str()])
            .args([OsStr::new("-out"), certificate.as_os_str()])
            .output()
            .expect("Postgres is tested with TLS, which takes the program `openssl`");
        assert!(made.status.success(), "openssl failed: {made:?}");
        self.hand_over(&key, 0o600);
        fs::set_permissions(&certificate, Permissions::from_mode(0o644)).unwrap();
    }

    fn hand_over(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        if let Some(owner) = &self.owner {
            chown(path, Some(owner.user), Some(owner.group)).unwrap();
        }
    }

    /// A program of the server's, as whoever owns its data.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir("/").stdin(Stdio::null());
        if let Some(owner) = &self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    fn try_start(&mut self) -> bool {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            "unix_socket_directories=".to_owned(),
            "fsync=on".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", self.certificate().display()),
            format!(
                "ssl_key_file={}",
                self.folder.path().join("server.key").display()
            ),
        ];
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.child.insert(command.spawn().unwrap());
        let deadline = now() + BEGIN_WITHIN;
        loop {
            if child.try_wait().unwrap().is_some() {
                self.child = None;
                thread::sleep(Duration::from_millis(50));
                return false;
            }
            let port = self.port;
            let url = format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/postgres");
            if Client::connect(&url, NoTls).is_ok() {
                return true;
            }
            assert!(
                now() < deadline,
                "Postgres takes too long to start:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        self.signal("QUIT", &[]);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- the log of Postgres ends:\n{tail}");
        }
    }
}

impl Database {
    /// A way in that is not the store's.
    pub fn client(&self) -> Client {
        Client::connect(&self.url, NoTls).unwrap()
    }

    /// The URL with another `sslmode`, and whatever belongs to it.
    pub fn url_with(&self, sslmode: &str) -> String {
        self.url
            .replace("sslmode=disable", &format!("sslmode={sslmode}"))
    }
}

/// Who runs the server: it refuses to be run by root.
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    fn if_we_are_root() -> Option<Self> {
        if id(&["-u"]) != Some(0) {
            return None;
        }
        ["postgres", "nobody"].iter().find_map(|name| {
            Some(Self {
                user: id(&["-u", name])?,
                group: id(&["-g", name])?,
            })
        })
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Where the server's programs are: the folder that has both of them.
fn binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    let mut folders = std::env::split_paths(&path)
        .chain(versions.into_iter().rev())
        .chain([PathBuf::from("/usr/local/bin")]);
    folders
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .expect(
            "there is no Postgres on this machine (no initdb in PATH or /usr/lib/postgresql): \
             `cargo xtask test` installs it where it can",
        )
}

/// Ends the server and removes its folder when we are gone, however that came about: statics are
/// not dropped, and a killed process drops nothing. Its input closes with us.
struct Watch {
    shell: Child,
}

impl Watch {
    fn over(folder: &Path) -> Self {
        let script = "
            trap '' INT
            read _
            pid=$(head -n 1 \"$1/data/postmaster.pid\" 2>/dev/null)
            if [ -n \"$pid\" ] && tr '\\0' ' ' <\"/proc/$pid/cmdline\" | grep -q -F \"$1\"; then
                kill -QUIT \"$pid\"
                for _ in 1 2 3 4 5 6 7 8 9 10; do
                    kill -0 \"$pid\" || break; sleep 0.2
                done
            fi 2>/dev/null
            rm -rf \"$1\"";
        let shell = Command::new("sh")
            .args([OsStr::new("-c"), OsStr::new(script), OsStr::new("sh")])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { shell }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The folder is gone by now; it has nothing to do but to end.
        if let Some(mut input) = self.shell.stdin.take() {
            let _ = input.write_all(b"\n");
        }
        let _ = self.shell.wait();
    }
}
