//! `copresence serve`: puts the relay together from its configuration, and takes it down.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, lookup_host};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use warp::Filter;

use crate::auth::Verifier;
use crate::cli::listener::{self, HttpPlaces, Listening};
use crate::cli::{open_files, stores};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError, Listen, Places};
use crate::http::{self, HttpOptions};
use crate::limits::{Limits, TAKEN_CLOSE_WITHIN, WRITER_LOCK_SAID_EVERY};
use crate::metrics::Metrics;
use crate::relay::{self, Relay, RelayOptions};
use crate::store::Store;

/// What of the drain timeout is kept for HTTP answers that are still under way.
const ANSWERS_SHARE: u32 = 10;

/// What shows that a configuration can work, before anything is made or migrated for it.
struct Prepared {
    verifier: Verifier,
    /// Bound, and nobody is accepted yet.
    socket: TcpListener,
    runtime: Runtime,
}

/// Whether the relay could start: reads the keys and binds the address, and lets go of both.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let prepared = prepare(config)?;
    match prepared.verifier.missing_keys() {
        // `serve` would wait for them; whoever asks wants to know.
        Some(why) => anyhow::bail!("{why}"),
        None => Ok(()),
    }
}

/// Runs until SIGTERM, SIGHUP or Ctrl-C, then drains; an error means that something could not
/// start, that not everything could be saved in time, or that another process has taken the store.
pub fn run(config: Config) -> anyhow::Result<()> {
    let Prepared {
        verifier,
        socket,
        runtime,
    } = prepare(&config)?;
    // Outside of the runtime, also when it is dropped: databases may have one of their own.
    let store = stores::open(&config.store)?;
    if let Some(whom) = store.awaits() {
        tracing::warn!(store = %config.store, "waiting, not ready: {whom}");
    }
    let outcome = runtime.block_on(serve(config, verifier, socket, Arc::clone(&store)));
    drop(runtime);
    outcome
}

fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    config.web.as_deref().map(check_web).transpose()?;
    let verifier = Verifier::new(config.auth.clone())?;
    // One thread for HTTP; rooms and their sockets live on the relay's own threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let socket = runtime.block_on(bind(&config.listen, config.is_dev()))?;
    Ok(Prepared {
        verifier,
        socket,
        runtime,
    })
}

async fn bind(listen: &Listen, is_dev: bool) -> anyhow::Result<TcpListener> {
    let failed = || format!("cannot listen on {listen}; see --listen");
    let mut addresses = match listen.places() {
        Places::Addresses(addresses) => addresses,
        Places::Name(name, port) => lookup_host((name.as_str(), port))
            .await
            .with_context(failed)?
            .collect(),
    };
    // The whole README says 127.0.0.1; whoever has a name has both as a rule.
    addresses.sort_by_key(|address| address.is_ipv6() && address.ip().is_loopback());
    let is_far = |address: &SocketAddr| !address.ip().is_loopback();
    if let Some(far) = addresses.iter().copied().find(is_far)
        && is_dev
    {
        let why = format!("--dev lets anybody in, and --listen {listen} leads to {far}");
        return Err(ConfigError::new(why).into());
    }
    TcpListener::bind(&*addresses).await.with_context(failed)
}

async fn serve(
    config: Config,
    verifier: Verifier,
    socket: TcpListener,
    store: Arc<dyn Store>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let metrics = Arc::new(Metrics::new());
    let is_dev = config.is_dev();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        store = %config.store,
        dev = is_dev,
        pid = std::process::id(),
        "copresence starts"
    );
    relay::keep_little_memory();
    tokio::spawn(say_whom_it_awaits(Arc::clone(&store)));
    let share = open_files::share_out(&config.limits);
    let http_max = config.limits.connections_max;
    let limits = Limits {
        connections_max: share.connections_max,
        strangers_max: share.strangers_max,
        ..config.limits.clone()
    };
    let relay = Relay::start(
        RelayOptions {
            workers: config.workers,
            limits,
            policies: config.policies,
            trust_awareness: config.trust_awareness,
        },
        store,
        verifier,
        Arc::clone(&metrics),
        SystemClock::new(),
    )?;
    let routes = crate::routes(
        relay.clone(),
        HttpOptions {
            allow_origins: config.allow_origins.clone(),
            document_bytes_max: config.limits.document_bytes_max,
            is_dev,
            has_live_page: true,
        },
    )
    .or(http::web_demo(config.web, Arc::clone(&metrics)))
    .or(http::not_found(Arc::clone(&metrics), config.allow_origins));

    let address = socket.local_addr()?;
    let (stop, stopped) = watch::channel(Listening::Accepting);
    let listener = tokio::spawn(listener::run(
        socket,
        TowerToHyperService::new(warp::service(routes)),
        HttpPlaces {
            http_max,
            files_max: share.files_max,
            sockets: Box::new({
                let relay = relay.clone();
                move || relay.sockets()
            }),
        },
        metrics,
        stopped,
    ));
    tracing::info!(%address, "listening");
    say_listening(address);

    tokio::select! {
        () = signals.wait() => {}
        error = relay.failed() => {
            // Nothing of theirs can be saved here any more; whoever has the store now takes it.
            let _ = drain(&relay, TAKEN_CLOSE_WITHIN, stop, listener).await;
            bail!(error);
        }
    }
    tracing::info!(timeout = ?config.drain_timeout, "draining");
    let drained = tokio::select! {
        drained = drain(&relay, config.drain_timeout, stop, listener) => drained,
        // Whoever asks twice does not want to wait.
        () = signals.wait() => anyhow::bail!("interrupted while draining"),
    };
    drained?;
    tracing::info!("drained");
    Ok(())
}

/// A line now and then, as long as another process has the store.
async fn say_whom_it_awaits(store: Arc<dyn Store>) {
    loop {
        tokio::time::sleep(WRITER_LOCK_SAID_EVERY).await;
        match store.awaits() {
            Some(whom) => tracing::warn!("waiting, not ready: {whom}"),
            None => return,
        }
    }
}

/// A folder of which nothing could be shown is a mistake to be told now.
fn check_web(folder: &Path) -> anyhow::Result<()> {
    ensure!(
        folder.join("index.html").is_file(),
        "--web: there is no index.html in {}; `npm run build` in web-demo makes one in its dist",
        folder.display()
    );
    Ok(())
}

/// The relay first: while it drains, the listener still answers, with 503 where it must.
async fn drain(
    relay: &Relay,
    timeout: Duration,
    stop: watch::Sender<Listening>,
    listener: tokio::task::JoinHandle<()>,
) -> anyhow::Result<()> {
    let for_answers = timeout / ANSWERS_SHARE;
    let saved = relay.drain(timeout.saturating_sub(for_answers)).await;
    // Nobody listens any more only if the listener has ended, which is what is asked for.
    let _ = stop.send(Listening::Stopping);
    if tokio::time::timeout(for_answers, listener).await.is_err() {
        tracing::warn!("some HTTP requests were cut off");
    }
    saved.context("not everything was saved before --drain-timeout was over")
}

/// The one line on stdout that says where, for people and for programs that started us.
fn say_listening(address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    let said = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
    if let Err(error) = said {
        tracing::warn!(%error, %address, "listening, but stdout is closed");
    }
}

/// The signals that ask for an end.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// `None` where whoever started us wanted it to be ignored.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// From here on they no longer kill the process.
    fn new() -> anyhow::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: match ignores_hangup() {
                    true => None,
                    false => Some(signal(SignalKind::hangup())?),
                },
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn wait(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            Some(_) = async { self.hangup.as_mut()?.recv().await } => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether we were started by `nohup`, or by something like it: then a terminal that is closed is no
/// reason to end.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    /// SIGHUP is the first signal, and the lowest bit of a set of them.
    const HANGUP: u128 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|set| u128::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & HANGUP != 0)
}
