//! Accepts connections and serves HTTP on them: the caps, timeouts and stopping that warp's own
//! server lacks.
//!
//! Places are for those who use them: when three quarters are taken, whoever has been idle for longest
//! goes, and when all are, a few more answer for the relay's health and tell everybody else to come back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_TYPE,
    RETRY_AFTER,
};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::cli::idle::{Idle, IdleLine, Watched};
use crate::doors::HttpStream;
use crate::limits::{
    CLOSE_LINGER, HTTP_BUFFER_BYTES_MAX, HTTP_HEAD_WITHIN, HTTP_HEADERS_MAX, HTTP_IDLE_MAX,
    HTTP_SPARE_MAX, HTTP_SPARE_WITHIN, LISTENER_BACKOFF_MAX,
};
use crate::metrics::Metrics;
use crate::wire::problem;

/// What the listener is told to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Listening {
    /// Take new connections.
    Accepting,
    /// Take no more, finish the requests under way, then end.
    Stopping,
}

/// How many connections there may be.
pub(super) struct HttpPlaces {
    /// Connections for HTTP.
    pub http_max: usize,
    /// These and sockets together, which are files too.
    pub files_max: usize,
    /// How many sockets there are.
    pub sockets: Box<dyn Fn() -> usize + Send + Sync>,
}

impl HttpPlaces {
    fn are_left(&self, taken: usize) -> bool {
        taken < self.http_max && taken.saturating_add((self.sockets)()) < self.files_max
    }

    /// Whether so many are taken that idle ones are to go.
    fn are_few(&self, taken: usize) -> bool {
        let free = self.files_max.saturating_sub((self.sockets)());
        self.http_max.min(free).saturating_mul(3) <= taken.saturating_mul(4)
    }
}

/// Serves until told to stop, and then until the last request is answered. Upgraded sockets are
/// their owners' and are not waited for.
pub(super) async fn run<S>(
    socket: TcpListener,
    service: S,
    places: HttpPlaces,
    metrics: Arc<Metrics>,
    mut stopped: watch::Receiver<Listening>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let mut connections = JoinSet::new();
    let mut spare = Spare::default();
    let line = Arc::new(IdleLine::default());
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
        let taken = connections.len();
        if places.are_few(taken) && line.dismiss_oldest() {
            metrics.http_idle_closed.inc();
        }
        if !places.are_left(taken) {
            spare.serve(stream, service.clone(), &metrics);
            continue;
        }
        connections.spawn(serve_one(
            stream,
            service.clone(),
            line.enter(),
            stopped.clone(),
        ));
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

async fn serve_one<S>(
    stream: TcpStream,
    service: S,
    idle: Arc<Idle>,
    mut stopped: watch::Receiver<Listening>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    // Without it a small message waits for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it was served");
        return;
    }
    let service = Watched {
        service,
        idle: Arc::clone(&idle),
    };
    let connection = http()
        // Counts between requests too: an idle connection ends after it.
        .header_read_timeout(HTTP_IDLE_MAX)
        .serve_connection(TokioIo::new(HttpStream::new(stream)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let asks = async {
        tokio::time::sleep(HTTP_HEAD_WITHIN).await;
        if idle.has_asked() {
            std::future::pending::<()>().await;
        }
    };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopping(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = asks => {
            tracing::debug!("an HTTP connection asked for nothing");
            return;
        }
        () = idle.dismissed() => {
            connection.as_mut().graceful_shutdown();
            loop {
                // What was asked at the last moment is answered; what never ends to ask is not.
                match tokio::time::timeout(CLOSE_LINGER, connection.as_mut()).await {
                    Ok(served) => break served,
                    Err(_) if idle.is_idle() => return,
                    Err(_) => {}
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

/// As all connections are served.
fn http() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .max_headers(HTTP_HEADERS_MAX)
        .max_buf_size(HTTP_BUFFER_BYTES_MAX);
    builder
}

/// Connections beside all others, when those have every place.
#[derive(Default)]
struct Spare {
    tasks: VecDeque<AbortHandle>,
}

/// What is answered when every other place is taken: whoever watches must not take a busy relay for a
/// dead one.
const ANSWERED_ALWAYS: [&str; 3] = ["/health/live", "/health/ready", "/metrics"];

impl Spare {
    fn serve<S>(&mut self, stream: TcpStream, service: S, metrics: &Arc<Metrics>)
    where
        S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        self.tasks.retain(|task| !task.is_finished());
        if HTTP_SPARE_MAX <= self.tasks.len()
            && let Some(oldest) = self.tasks.pop_front()
        {
            oldest.abort();
        }
        let metrics = Arc::clone(metrics);
        let task = tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let is_answered = ANSWERED_ALWAYS.contains(&request.uri().path());
                let (service, metrics) = (service.clone(), Arc::clone(&metrics));
                async move {
                    if is_answered {
                        return service.call(request).await;
                    }
                    metrics.closed("LIMIT_CONNECTIONS");
                    Ok(no_place())
                }
            });
            let connection = http()
                .header_read_timeout(HTTP_SPARE_WITHIN)
                .keep_alive(false)
                .serve_connection(TokioIo::new(HttpStream::new(stream)), answer);
            match tokio::time::timeout(2 * HTTP_SPARE_WITHIN, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a spare connection ended badly"),
                Err(_) => tracing::debug!("a spare connection took too long"),
            }
        });
        self.tasks.push_back(task.abort_handle());
    }
}

/// Returns when told to stop, or when whoever could tell is gone.
async fn stopping(stopped: &mut watch::Receiver<Listening>) {
    let _ = stopped
        .wait_for(|listening| *listening == Listening::Stopping)
        .await;
}

/// Why a connection is not served. Its page may read it, wherever it is from: there is nothing in it.
fn no_place() -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let title = status.canonical_reason().unwrap_or_default();
    let detail = "every connection that --max-connections and the limit of open files leave is \
                  taken; come back";
    let body = problem::write(status.as_u16(), title, "LIMIT_CONNECTIONS", detail, None);
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let said = [
        (CONTENT_TYPE, problem::CONTENT_TYPE),
        (RETRY_AFTER, "1"),
        (CACHE_CONTROL, "no-store"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after"),
    ];
    let said = said.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(said);
    response
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
        let health = warp::path!("health" / "live").map(|| "alive");
        let service = TowerToHyperService::new(warp::service(quick.or(slow).or(health)));
        let (stop, stopped) = watch::channel(Listening::Accepting);
        let metrics = Arc::new(Metrics::new());
        let task = tokio::spawn(run(
            socket,
            service,
            HttpPlaces {
                http_max: connections_max,
                files_max: usize::MAX,
                sockets: Box::new(|| 0),
            },
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
    async fn connections_over_the_limit_are_told_to_come_back_and_health_is_answered() {
        let slow = Arc::new(Slow::default());
        let server = start(1, &slow).await;
        let mut first = send(server.address, "/slow").await;
        slow.entered.notified().await;
        assert_eq!(server.metrics.http_connections.get(), 1);
        let mut silent = Vec::new();
        for _ in 0..2 * HTTP_SPARE_MAX {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        let mut second = send(server.address, "/quick").await;
        let mut refusal = String::new();
        second.read_to_string(&mut refusal).await.unwrap();
        assert!(refusal.starts_with("HTTP/1.1 503 "), "{refusal}");
        let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
        assert!(head.contains("retry-after: 1"), "{head}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], "LIMIT_CONNECTIONS");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("--max-connections")
        );
        let mut health = send(server.address, "/health/live").await;
        read_until(&mut health, "alive").await;
        slow.go.notify_one();
        read_until(&mut first, "done").await;
    }

    #[tokio::test]
    async fn when_three_quarters_are_taken_the_longest_idle_goes() {
        let slow = Arc::new(Slow::default());
        let server = start(4, &slow).await;
        let mut working = send(server.address, "/slow").await;
        slow.entered.notified().await;
        let mut idle = Vec::new();
        for _ in 0..2 {
            let mut stream = send(server.address, "/quick").await;
            read_until(&mut stream, "done").await;
            idle.push(stream);
        }
        // Three of four are taken: the next takes a place, and the older of the idle goes for it.
        let mut next = send(server.address, "/quick").await;
        read_until(&mut next, "done").await;
        let mut rest = Vec::new();
        assert_eq!(idle[0].read_to_end(&mut rest).await.unwrap(), 0);
        let mut again = idle.remove(1);
        again
            .write_all(b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut again, "done").await;
        slow.go.notify_one();
        read_until(&mut working, "done").await;
        assert_eq!(server.metrics.http_idle_closed.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_stay_for_75_seconds_and_silent_ones_for_ten() {
        let slow = Arc::new(Slow::default());
        let server = start(9, &slow).await;
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        let mut asked = send(server.address, "/quick").await;
        read_until(&mut asked, "done").await;
        let second = Duration::from_secs(1);
        assert!(!ends_within(HTTP_HEAD_WITHIN - second, &mut silent).await);
        assert!(ends_within(2 * second, &mut silent).await);
        // Some eleven seconds have gone.
        assert!(!ends_within(HTTP_IDLE_MAX - 13 * second, &mut asked).await);
        assert!(ends_within(5 * second, &mut asked).await);
    }

    async fn ends_within(time: Duration, stream: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(time, stream.read_to_end(&mut rest)).await;
        end.is_ok_and(|read| read.unwrap() == 0)
    }

    #[test]
    fn sockets_take_files_from_http() {
        let places = |sockets: usize| HttpPlaces {
            http_max: 100,
            files_max: 120,
            sockets: Box::new(move || sockets),
        };
        assert!(places(0).are_left(99) && !places(0).are_left(100));
        assert!(places(80).are_left(39) && !places(80).are_left(40));
        assert!(!places(0).are_few(74) && places(0).are_few(75));
        assert!(!places(80).are_few(29) && places(80).are_few(30));
        assert!(!places(500).are_left(0));
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
