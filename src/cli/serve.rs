//! `copresence serve`: puts the relay together from its configuration, and takes it down.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use warp::Filter;

use crate::auth::Verifier;
use crate::cli::listener::{self, HttpPlaces, Listening};
use crate::cli::open_files;
use crate::cli::stores::{self, Purpose};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::http::{self, HttpOptions};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::relay::{self, Relay, RelayOptions};
use crate::store::Store;

/// What of the drain timeout is kept for HTTP answers that are still under way.
const ANSWERS_SHARE: u32 = 10;

/// Runs until SIGTERM or Ctrl-C, then drains; an error means that something could not start, or
/// that not everything could be saved in time.
pub fn run(config: Config) -> anyhow::Result<()> {
    // Outside of the runtime, also when it is dropped: databases may have one of their own.
    let store = stores::open(&config.store, Purpose::Serve)?;
    tracing::info!(store = %config.store, "documents are kept");
    // One thread for HTTP; rooms and their sockets live on the relay's own threads.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(config, Arc::clone(&store)))
}

async fn serve(config: Config, store: Arc<dyn Store>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    config.web.as_deref().map(check_web).transpose()?;
    let metrics = Arc::new(Metrics::new());
    let is_dev = config.is_dev();
    relay::keep_little_memory();
    let share = open_files::share_out(&config.limits);
    let http_max = config.limits.connections_max;
    let limits = Limits {
        connections_max: share.connections_max,
        strangers_max: share.strangers_max,
        ..config.limits.clone()
    };
    let relay = Relay::start(
        RelayOptions {
            workers: 0,
            limits,
            policies: config.policies,
            trust_awareness: config.trust_awareness,
        },
        store,
        Verifier::new(config.auth)?,
        Arc::clone(&metrics),
        SystemClock::new(),
    )?;
    let routes = crate::routes(
        relay.clone(),
        HttpOptions {
            allow_origins: config.allow_origins,
            document_bytes_max: config.limits.document_bytes_max,
            is_dev,
            has_live_page: true,
        },
    )
    .or(http::web_demo(config.web, Arc::clone(&metrics)))
    .or(http::not_found(Arc::clone(&metrics)));

    let socket = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}; see --listen", config.listen))?;
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
    say_listening(address);

    signals.wait().await;
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
fn say_listening(address: std::net::SocketAddr) {
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
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
