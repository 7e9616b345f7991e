//! Accepts connections and serves HTTP on them: the caps, timeouts and stopping that warp's own
//! server lacks.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use warp::reply::Response;

use crate::doors::{HttpStream, bare_problem};
use crate::limits::{
    HTTP_BUFFER_BYTES_MAX, HTTP_HEAD_WITHIN, HTTP_HEADERS_MAX, LISTENER_BACKOFF_MAX,
};
use crate::metrics::Metrics;

/// What the listener is told to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Listening {
    /// Take new connections.
    Accepting,
    /// Take no more, finish the requests under way, then end.
    Stopping,
}

/// Serves until told to stop, and then until the last request is answered. Upgraded sockets are
/// their owners' and are not waited for.
pub(super) async fn run<S>(
    socket: TcpListener,
    service: S,
    connections_max: usize,
    metrics: Arc<Metrics>,
    mut stopped: watch::Receiver<Listening>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::default();
    loop {
        let stream = tokio::select! {
            () = stopping(&mut stopped) => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                metrics.http_connections.set(connections.len() as i64);
                continue;
            }
            stream = accept(&socket, &mut backoff) => stream,
        };
        if connections_max <= connections.len() {
            refuse(stream);
            metrics.closed("LIMIT_CONNECTIONS");
            continue;
        }
        connections.spawn(serve_one(stream, service.clone(), stopped.clone()));
        metrics.http_connections.set(connections.len() as i64);
    }
    // From here on the kernel refuses newcomers.
    drop(socket);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// The next connection. An error is no end: out of file descriptors, for example, is a matter of
/// waiting until some are closed.
async fn accept(socket: &TcpListener, backoff: &mut Backoff) -> TcpStream {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                backoff.reset();
                return stream;
            }
            // The peer changed its mind; nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let wait = backoff.lengthen();
                tracing::warn!(%error, ?wait, "cannot accept connections");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn serve_one<S>(stream: TcpStream, service: S, mut stopped: watch::Receiver<Listening>)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    // Without it a small message waits for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it was served");
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Counts between requests too: an idle connection ends after it.
        .header_read_timeout(HTTP_HEAD_WITHIN)
        .max_headers(HTTP_HEADERS_MAX)
        .max_buf_size(HTTP_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(HttpStream::new(stream)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopping(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

/// Returns when told to stop, or when whoever could tell is gone.
async fn stopping(stopped: &mut watch::Receiver<Listening>) {
    let _ = stopped
        .wait_for(|listening| *listening == Listening::Stopping)
        .await;
}

/// Says why in one write, if the socket takes it, and closes.
fn refuse(stream: TcpStream) {
    let detail = "all places are taken (--max-connections); come back";
    let answer = bare_problem(503, "Service Unavailable", "LIMIT_CONNECTIONS", detail);
    // The runtime has not seen this socket yet and would not write: the system will.
    let written = stream
        .into_std()
        .and_then(|mut stream| stream.write(&answer));
    if let Err(error) = written {
        tracing::debug!(%error, "a connection over the limit was gone already");
    }
}

/// A request that panicked ends its own connection; that it did is our mistake, and told.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an HTTP connection failed");
    }
}

/// How long to wait after failing, longer each time.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn lengthen(&mut self) -> Duration {
        let wait = Duration::from_millis(10) * 2_u32.pow(self.failures.min(10));
        self.failures += 1;
        wait.min(LISTENER_BACKOFF_MAX)
    }

    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hyper_util::service::TowerToHyperService;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use warp::Filter;

    use super::*;

    struct Server {
        address: SocketAddr,
        stop: watch::Sender<Listening>,
        task: JoinHandle<()>,
        metrics: Arc<Metrics>,
    }

    /// What happens to a slow request: it has been read, and it may be answered.
    #[derive(Default)]
    struct Slow {
        entered: Notify,
        go: Notify,
    }

    /// `/quick` answers at once, `/slow` when it may.
    async fn start(connections_max: usize, slow: &Arc<Slow>) -> Server {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let quick = warp::path("quick").map(|| "done");
        let slow = Arc::clone(slow);
        let slow = warp::path("slow").then(move || {
            let slow = Arc::clone(&slow);
            async move {
                slow.entered.notify_one();
                slow.go.notified().await;
                "done"
            }
        });
        let service = TowerToHyperService::new(warp::service(quick.or(slow)));
        let (stop, stopped) = watch::channel(Listening::Accepting);
        let metrics = Arc::new(Metrics::new());
        let task = tokio::spawn(run(
            socket,
            service,
            connections_max,
            Arc::clone(&metrics),
            stopped,
        ));
        Server {
            address,
            stop,
            task,
            metrics,
        }
    }

    async fn send(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Reads until the text read ends so.
    async fn read_until(stream: &mut TcpStream, ending: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(ending.as_bytes()) {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn stopping_answers_what_was_asked_and_takes_no_more() {
        let slow = Arc::new(Slow::default());
        let server = start(10, &slow).await;
        let mut idle = send(server.address, "/quick").await;
        read_until(&mut idle, "done").await;
        let mut asking = send(server.address, "/slow").await;
        slow.entered.notified().await;

        server.stop.send(Listening::Stopping).unwrap();
        let mut rest = Vec::new();
        assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0);
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        slow.go.notify_one();
        read_until(&mut asking, "done").await;
        server.task.await.unwrap();
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_told_to_come_back() {
        let slow = Arc::new(Slow::default());
        let server = start(1, &slow).await;
        let mut first = send(server.address, "/slow").await;
        slow.entered.notified().await;
        assert_eq!(server.metrics.http_connections.get(), 1);
        let mut second = TcpStream::connect(server.address).await.unwrap();
        let mut refusal = String::new();
        second.read_to_string(&mut refusal).await.unwrap();
        assert!(refusal.starts_with("HTTP/1.1 503 "), "{refusal}");
        let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], "LIMIT_CONNECTIONS");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("--max-connections")
        );
        slow.go.notify_one();
        read_until(&mut first, "done").await;
    }

    #[test]
    fn failing_to_accept_waits_longer_each_time_up_to_a_second() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|_| backoff.lengthen()).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits[0], Duration::from_millis(10));
        assert_eq!(waits[19], LISTENER_BACKOFF_MAX);
        backoff.reset();
        assert_eq!(backoff.lengthen(), waits[0]);
    }
}
