//! Every counter and gauge, named once.
//!
//! What the hot path counts is a public field that has been resolved at the start: counting is one
//! relaxed atomic addition. Only what happens rarely (closes, HTTP requests) looks a label up.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

use crate::model::Kind;
use crate::process::Usage;

/// The doors that are counted apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DoorLabel {
    /// `/sync`: y-websocket.
    Sync,
    /// `/collab`: Hocuspocus.
    Collab,
    /// `/ws/boards`: the dialect of boards, and y-websocket.
    Boards,
    /// `/parties/presence`: the dialect of workspaces.
    Workspaces,
    /// `/ws/feed`: the follow feed.
    Feed,
}

impl DoorLabel {
    /// Every door.
    pub const ALL: [Self; 5] = [
        Self::Sync,
        Self::Collab,
        Self::Boards,
        Self::Workspaces,
        Self::Feed,
    ];

    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Collab => "collab",
            Self::Boards => "boards",
            Self::Workspaces => "workspaces",
            Self::Feed => "feed",
        }
    }
}

/// One metric for each door.
#[derive(Clone, Debug, Default)]
pub struct PerDoor<M> {
    sync: M,
    collab: M,
    boards: M,
    workspaces: M,
    feed: M,
}

impl<M> PerDoor<M> {
    /// The metric of one door.
    pub fn of(&self, door: DoorLabel) -> &M {
        match door {
            DoorLabel::Sync => &self.sync,
            DoorLabel::Collab => &self.collab,
            DoorLabel::Boards => &self.boards,
            DoorLabel::Workspaces => &self.workspaces,
            DoorLabel::Feed => &self.feed,
        }
    }
}

impl PerDoor<Counter> {
    /// Over all doors.
    pub fn sum(&self) -> u64 {
        DoorLabel::ALL.iter().map(|&door| self.of(door).get()).sum()
    }
}

/// How a socket ended, as it is counted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EndLabel {
    /// By a close frame of the client, or because it was done.
    Closed,
    /// Without a word.
    Lost,
    /// It answered no pings.
    Silent,
    /// By us.
    Refused,
}

impl EndLabel {
    const ALL: [Self; 4] = [Self::Closed, Self::Lost, Self::Silent, Self::Refused];

    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Refused => "refused",
        }
    }
}

/// Why a request at a door became no socket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum UpgradeLabel {
    /// Another method than `GET`.
    Method,
    /// It asks for no WebSocket of version 13.
    NoWebSocket,
    /// Its key is none.
    Key,
    /// With `--dev`, by a name that is not this machine's.
    Host,
    /// From a page of an origin that is not let in.
    Origin,
    /// The relay is draining.
    Draining,
}

impl UpgradeLabel {
    const ALL: [Self; 6] = [
        Self::Method,
        Self::NoWebSocket,
        Self::Key,
        Self::Host,
        Self::Origin,
        Self::Draining,
    ];

    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NoWebSocket => "no_websocket",
            Self::Key => "key",
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Draining => "draining",
        }
    }
}

/// One metric for each kind of room.
#[derive(Clone, Debug, Default)]
pub struct PerKind<M> {
    session: M,
    board: M,
    event: M,
    workspace: M,
}

impl<M> PerKind<M> {
    /// The metric of one kind.
    pub fn of(&self, kind: Kind) -> &M {
        match kind {
            Kind::Session => &self.session,
            Kind::Board => &self.board,
            Kind::Event => &self.event,
            Kind::Workspace => &self.workspace,
        }
    }
}

/// What an awareness state would have exceeded that was dropped.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DroppedBy {
    /// The limit of one state.
    State,
    /// That of a session.
    Session,
    /// That of a user in a room.
    User,
}

/// One metric for each limit.
#[derive(Clone, Debug, Default)]
pub struct PerLimit<M> {
    state: M,
    session: M,
    user: M,
}

impl<M> PerLimit<M> {
    /// The metric of one limit.
    pub fn of(&self, limit: DroppedBy) -> &M {
        match limit {
            DroppedBy::State => &self.state,
            DroppedBy::Session => &self.session,
            DroppedBy::User => &self.user,
        }
    }
}

/// One relay's metrics: not global, so that two relays in one process do not mix.
#[derive(Debug)]
pub struct Metrics {
    /// Sockets open now.
    pub connections: PerDoor<Gauge>,
    /// Rooms loaded now.
    pub rooms: Gauge,
    /// Participants connected now, in rooms of each kind.
    pub participants: PerKind<Gauge>,
    /// Users who wait for a place on a board.
    pub people_waiting: Gauge,
    /// Streams of server-sent events open now.
    pub streams: Gauge,
    /// Windows of the follow feed: connected, or gone and waiting to be resumed.
    pub feed_windows: Gauge,
    /// WebSocket messages received.
    pub messages_in: PerDoor<Counter>,
    /// WebSocket messages sent.
    pub messages_out: PerDoor<Counter>,
    /// Bytes read from sockets.
    pub bytes_in: PerDoor<Counter>,
    /// Bytes written to sockets.
    pub bytes_out: PerDoor<Counter>,
    /// Document updates taken in.
    pub updates_accepted: Counter,
    /// Document updates of readers, dropped.
    pub updates_read_only: Counter,
    /// Document updates the validator or the document refused.
    pub updates_refused: Counter,
    /// Document updates set aside because the document did not survive them.
    pub updates_quarantined: Counter,
    /// Accepted updates that wait for what they stand on.
    pub waiting_updates: Gauge,
    /// The same in bytes.
    pub waiting_bytes: Gauge,
    /// Awareness states dropped, for they were over a limit.
    pub states_dropped: PerLimit<Counter>,
    /// Slow connections that were sent a fresh sync instead of what they had missed.
    pub slow_resyncs: Counter,
    /// Bytes of accepted updates that are not yet on disk.
    pub unsaved_bytes: Gauge,
    /// How long what arrives takes to leave.
    pub delivery: Latency,
    /// How long an edit takes until it is on disk and may be acknowledged.
    pub acknowledgement: Histogram,
    /// Whether the store answers, 1 or 0; set by whoever asks for the page.
    pub store_up: Gauge,
    /// Whether newcomers are sent away, 1 or 0; set by whoever asks for the page.
    pub draining: Gauge,
    /// Reads and writes the store failed.
    pub store_errors: Counter,
    /// Windows of the feed that were looked at because of somebody they might hear of.
    pub feed_considered: Counter,
    /// Messages to windows of the feed.
    pub feed_messages: Counter,
    /// Times the system's clock was set, or went on while the machine slept.
    pub clock_steps: Counter,
    /// Requests from pages whose origin is not let in, at every door and on the API.
    pub origins_refused: Counter,
    /// Closes held back from clients that came again with a token refused before.
    pub closes_held: Counter,
    /// Idle HTTP connections closed to make room for others.
    pub http_idle_closed: Counter,
    /// HTTP connections open now, before an upgrade.
    pub http_connections: Gauge,
    auth_failures: Labelled<Counter>,
    upgrades_refused: Labelled<Counter>,
    ends: Labelled<Counter>,
    limits: Labelled<Gauge>,
    closes: Labelled<Counter>,
    http_requests: Family<RequestLabels, Counter>,
    turns: Family<[(&'static str, String); 1], Histogram, TurnBuckets>,
    turns_of_processor: Family<[(&'static str, String); 1], Histogram, TurnBuckets>,
    registry: Registry,
}

/// A metric for each value of one label.
type Labelled<M> = Family<[(&'static str, &'static str); 1], M>;

type RequestLabels = [(&'static str, &'static str); 2];

impl Metrics {
    /// All of them at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("copresence");
        let all = &mut registry;
        let build: Labelled<Gauge> = one(all, "build_info", "Always 1; what runs is in the labels");
        build
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        Self {
            connections: doors(all, "connections", "Sockets open now"),
            rooms: one(all, "rooms", "Rooms loaded now"),
            participants: {
                let family: Labelled<Gauge> = one(
                    all,
                    "participants",
                    "Participants connected now, by the kind of their room",
                );
                let of = |kind: Kind| family.get_or_create_owned(&[("kind", kind.name())]);
                PerKind {
                    session: of(Kind::Session),
                    board: of(Kind::Board),
                    event: of(Kind::Event),
                    workspace: of(Kind::Workspace),
                }
            },
            people_waiting: one(
                all,
                "people_waiting",
                "Users who wait in the queues of full boards",
            ),
            streams: one(all, "streams", "Streams of server-sent events open now"),
            feed_windows: one(
                all,
                "feed_windows",
                "Windows of the feed, those included that may still be resumed",
            ),
            messages_in: doors(all, "messages_in", "WebSocket messages received"),
            messages_out: doors(all, "messages_out", "WebSocket messages sent"),
            bytes_in: doors(all, "received_bytes", "Bytes read from sockets"),
            bytes_out: doors(all, "sent_bytes", "Bytes written to sockets"),
            updates_accepted: one(all, "updates_accepted", "Document updates taken in"),
            updates_read_only: one(
                all,
                "updates_read_only",
                "Document updates dropped because their sender may only read",
            ),
            updates_refused: one(all, "updates_refused", "Document updates refused as bad"),
            updates_quarantined: one(
                all,
                "updates_quarantined",
                "Document updates set aside because the document did not survive them",
            ),
            waiting_updates: one(
                all,
                "waiting_updates",
                "Accepted updates that wait for others on which they stand",
            ),
            waiting_bytes: one(
                all,
                "waiting_bytes",
                "Bytes of accepted updates that wait for others on which they stand",
            ),
            states_dropped: {
                let family: Family<[(&'static str, &'static str); 1], Counter> = Family::default();
                all.register(
                    "awareness_states_dropped",
                    "Awareness states dropped, by the limit that they would have exceeded",
                    family.clone(),
                );
                let of = |limit| family.get_or_create_owned(&[("limit", limit)]);
                PerLimit {
                    state: of("state"),
                    session: of("session"),
                    user: of("user"),
                }
            },
            slow_resyncs: one(
                all,
                "slow_resyncs",
                "Slow connections sent a fresh sync instead of what they missed",
            ),
            unsaved_bytes: one(
                all,
                "unsaved_bytes",
                "Bytes of accepted updates that are not yet on disk",
            ),
            delivery: one(
                all,
                "delivery_seconds",
                "From the read that brought a change of a room to the write to those who take it",
            ),
            acknowledgement: {
                let times = Histogram::new(ACKNOWLEDGEMENT_SECONDS);
                all.register(
                    "acknowledgement_seconds",
                    "From the turn that took edits in to their being on disk, when they are \
                     acknowledged",
                    times.clone(),
                );
                times
            },
            store_up: one(all, "store_up", "Whether the store answers: 1 or 0"),
            draining: one(
                all,
                "draining",
                "Whether the relay is shutting down and lets nobody in: 1 or 0",
            ),
            store_errors: one(all, "store_errors", "Reads and writes the store failed"),
            feed_considered: one(
                all,
                "feed_considered",
                "Windows of the feed looked at because of somebody they might hear of",
            ),
            feed_messages: one(all, "feed_messages", "Messages to windows of the feed"),
            clock_steps: one(
                all,
                "clock_steps",
                "Times the system's clock was set, or went on without us, and was followed",
            ),
            origins_refused: one(
                all,
                "origins_refused",
                "Requests refused because of the page they came from (--allow-origin)",
            ),
            auth_failures: one(all, "auth_failures", "Tokens refused, by reason"),
            upgrades_refused: seeded(
                all,
                "upgrades_refused",
                "Requests at doors that became no socket, by reason",
                "reason",
                &UpgradeLabel::ALL.map(UpgradeLabel::name),
            ),
            ends: seeded(
                all,
                "connection_ends",
                "Sockets that ended, by how",
                "ending",
                &EndLabel::ALL.map(EndLabel::name),
            ),
            limits: one(
                all,
                "limit",
                "The limits in force, by option; sizes in bytes",
            ),
            closes_held: one(
                all,
                "closes_held",
                "Closes held back from clients that came again with a token refused before",
            ),
            http_idle_closed: one(
                all,
                "http_idle_closed",
                "Idle HTTP connections closed to make room for others",
            ),
            http_connections: one(all, "http_connections", "HTTP connections open now"),
            closes: one(
                all,
                "closes",
                "Sockets and documents refused or ended, by reason",
            ),
            http_requests: one(all, "http_requests", "HTTP requests, by route and status"),
            turns: {
                let turns = Family::new_with_constructor(TurnBuckets);
                all.register(
                    "turn_seconds",
                    "How long one turn of a worker took",
                    turns.clone(),
                );
                turns
            },
            turns_of_processor: {
                let turns = Family::new_with_constructor(TurnBuckets);
                all.register(
                    "turn_processor_seconds",
                    "How much processor time one turn of a worker took, of one in seventeen",
                    turns.clone(),
                );
                turns
            },
            registry,
        }
    }

    /// Counts a refusal by its reason (`Refusal::reason`).
    pub fn closed(&self, reason: &'static str) {
        self.closes.get_or_create(&[("reason", reason)]).inc();
    }

    /// Tokens refused for this reason.
    pub fn auth_failures(&self, reason: &'static str) -> Counter {
        self.auth_failures
            .get_or_create_owned(&[("reason", reason)])
    }

    /// Counts a request at a door that became no socket.
    pub fn upgrade_refused(&self, why: UpgradeLabel) {
        let labels = [("reason", why.name())];
        self.upgrades_refused.get_or_create(&labels).inc();
    }

    /// Counts a socket that has ended.
    pub fn ended(&self, how: EndLabel) {
        self.ends.get_or_create(&[("ending", how.name())]).inc();
    }

    /// Notes a limit that is in force, by its option's name.
    pub fn limit(&self, option: &'static str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.limits.get_or_create(&[("option", option)]).set(value);
    }

    /// Counts an answered HTTP request.
    pub fn http_request(&self, route: &'static str, status: u16) {
        let labels = [("route", route), ("status", status_label(status))];
        self.http_requests.get_or_create(&labels).inc();
    }

    /// Where a worker notes how long its turns took; each worker keeps its own.
    pub fn turn_seconds(&self, worker: usize) -> Histogram {
        self.turns
            .get_or_create_owned(&[("worker", worker.to_string())])
    }

    /// Where a worker notes how much processor time some of its turns took.
    pub fn turn_processor_seconds(&self, worker: usize) -> Histogram {
        self.turns_of_processor
            .get_or_create_owned(&[("worker", worker.to_string())])
    }

    /// Everything in the Prometheus text format (0.0.4).
    pub fn encode(&self) -> String {
        let mut process = Registry::default();
        process.register_collector(Box::new(Usage::now()));
        let mut text = String::new();
        // Writing to a string fails only if an encoder of ours does; half a page beats a panic.
        let written = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &process));
        if let Err(error) = written {
            tracing::error!(%error, "the metrics could not be written whole");
        }
        prometheus_text(&text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// OpenMetrics, which the encoder writes, names a counter without `_total` where it describes it;
/// the older format, which everything reads, with it.
fn prometheus_text(open_metrics: &str) -> String {
    let counters: HashSet<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + counters.len() * 16);
    for line in open_metrics.lines() {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|start| {
            let (name, rest) = line.strip_prefix(start)?.split_once(' ')?;
            counters.contains(name).then_some((start, name, rest))
        });
        match described {
            Some((start, name, rest)) => {
                text.extend([start, name, "_total ", rest]);
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn one<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// With every value that the label can have, at zero: what has never happened can be told from what
/// is not counted.
fn seeded(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: &[&'static str],
) -> Labelled<Counter> {
    let family: Labelled<Counter> = one(registry, name, help);
    for value in values {
        drop(family.get_or_create(&[(label, value)]));
    }
    family
}

fn doors<M>(registry: &mut Registry, name: &str, help: &str) -> PerDoor<M>
where
    M: Clone + Default,
    Family<[(&'static str, &'static str); 1], M>: Metric,
{
    let family: Family<[(&'static str, &'static str); 1], M> = Family::default();
    registry.register(name, help, family.clone());
    let of = |door: DoorLabel| family.get_or_create_owned(&[("door", door.name())]);
    PerDoor {
        sync: of(DoorLabel::Sync),
        collab: of(DoorLabel::Collab),
        boards: of(DoorLabel::Boards),
        workspaces: of(DoorLabel::Workspaces),
        feed: of(DoorLabel::Feed),
    }
}

/// A turn is meant to take well under a millisecond: the buckets show how far off one is.
#[derive(Clone, Debug)]
struct TurnBuckets;

impl MetricConstructor<Histogram> for TurnBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new([
            0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05,
        ])
    }
}

/// A commit takes a disk some milliseconds; what takes longer than this waits for a store that is
/// away.
const ACKNOWLEDGEMENT_SECONDS: [f64; 12] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// The names that everybody's tools know: without our own in front.
impl Collector for Usage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => {
                let metric = ConstGauge::new(value);
                let described =
                    encoder.encode_descriptor(name, help, None, metric.metric_type())?;
                metric.encode(described)
            }
            None => Ok(()),
        };
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        gauge(
            "process_resident_memory_bytes",
            "Memory of the process that is really there",
            whole(self.resident_bytes),
        )?;
        gauge(
            "process_virtual_memory_bytes",
            "Memory that is set aside by name only, too",
            whole(self.virtual_bytes),
        )?;
        gauge(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970",
            self.started_at_seconds,
        )?;
        gauge(
            "process_open_fds",
            "Files and sockets that are open",
            whole(self.open_files),
        )?;
        gauge(
            "process_max_fds",
            "How many files and sockets may be open",
            whole(self.open_files_max),
        )?;
        gauge(
            "process_threads",
            "Threads of the process",
            whole(self.threads),
        )?;
        let Some(seconds) = self.processor_seconds else {
            return Ok(());
        };
        let metric = ConstCounter::new(seconds);
        let described = encoder.encode_descriptor(
            "process_cpu_seconds",
            "Processor time of the process, its own and the system's for it",
            None,
            metric.metric_type(),
        )?;
        metric.encode(described)
    }
}

/// A histogram that can be read, not only written down: how often something took how long.
#[derive(Clone, Debug, Default)]
pub struct Latency(Arc<LatencyCounts>);

#[derive(Debug, Default)]
struct LatencyCounts {
    /// One for each of `LATENCY_BOUNDS`, and one for what took longer.
    buckets: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// What a delivery may take: a tenth of a millisecond when all is well, 200 ms at the worst.
pub const LATENCY_BOUNDS: [Duration; 14] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

impl Latency {
    /// It took so long.
    pub fn observe(&self, took: Duration) {
        let place = LATENCY_BOUNDS.partition_point(|&bound| bound < took);
        if let Some(bucket) = self.0.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = took.as_micros() as u64;
        self.0.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How often it took at most so long and longer than the bound before; `None` is longer than
    /// all.
    pub fn counts(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = LATENCY_BOUNDS.into_iter().map(Some).chain([None]);
        let counts = self.0.buckets.iter();
        bounds.zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let seconds = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |at| at.as_secs_f64());
        let buckets: Vec<(f64, u64)> = self
            .counts()
            .map(|(bound, count)| (seconds(bound), count))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.micros.load(Ordering::Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

/// The statuses the API answers with; a label is never made from what a client sent.
fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        204 => "204",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        409 => "409",
        412 => "412",
        413 => "413",
        429 => "429",
        503 => "503",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    #[test]
    fn what_was_counted_can_be_read_as_prometheus_text() {
        let metrics = Metrics::new();
        metrics.messages_in.of(DoorLabel::Sync).inc_by(3);
        metrics.connections.of(DoorLabel::Collab).inc();
        metrics.unsaved_bytes.inc_by(42);
        metrics.closed("SLOW");
        metrics.http_request("/v1/rooms/{room}/presence", 200);
        metrics.auth_failures("expired").inc();
        metrics.ended(EndLabel::Lost);
        metrics.upgrade_refused(UpgradeLabel::Key);
        metrics.limit("max-connections", 20_000);
        metrics.participants.of(Kind::Board).inc_by(2);
        metrics.turn_seconds(1).observe(0.000_07);
        metrics.delivery.observe(Duration::from_micros(150));
        metrics.delivery.observe(Duration::from_secs(3));
        let text = metrics.encode();
        for line in [
            "# TYPE copresence_messages_in_total counter",
            "copresence_messages_in_total{door=\"sync\"} 3",
            "copresence_messages_in_total{door=\"collab\"} 0",
            "# TYPE copresence_connections gauge",
            "copresence_connections{door=\"collab\"} 1",
            "copresence_unsaved_bytes 42",
            concat!(
                "copresence_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
            "copresence_auth_failures_total{reason=\"expired\"} 1",
            "copresence_connection_ends_total{ending=\"lost\"} 1",
            "copresence_connection_ends_total{ending=\"closed\"} 0",
            "copresence_upgrades_refused_total{reason=\"key\"} 1",
            "copresence_upgrades_refused_total{reason=\"origin\"} 0",
            "copresence_limit{option=\"max-connections\"} 20000",
            "copresence_participants{kind=\"board\"} 2",
            "copresence_participants{kind=\"session\"} 0",
            "copresence_acknowledgement_seconds_count 0",
            "copresence_received_bytes_total{door=\"sync\"} 0",
            "copresence_closes_total{reason=\"SLOW\"} 1",
            "copresence_http_requests_total{route=\"/v1/rooms/{room}/presence\",status=\"200\"} 1",
            "copresence_turn_seconds_bucket{le=\"0.0001\",worker=\"1\"} 1",
            "copresence_turn_seconds_count{worker=\"1\"} 1",
            "copresence_messages_out_total{door=\"sync\"} 0",
            "copresence_delivery_seconds_bucket{le=\"0.0001\"} 0",
            "copresence_delivery_seconds_bucket{le=\"0.0002\"} 1",
            "copresence_delivery_seconds_bucket{le=\"1.0\"} 1",
            "copresence_delivery_seconds_bucket{le=\"+Inf\"} 2",
            "copresence_delivery_seconds_count 2",
            "copresence_delivery_seconds_sum 3.00015",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("# EOF"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let is_named = line.starts_with("copresence_") || line.starts_with("process_");
            assert!(is_named, "{line}");
        }
    }

    /// Name, type, labels, meaning: a row of the page for each metric of the registry.
    fn rows(text: &str) -> Vec<String> {
        let word_behind = |start: &str, line: &str| {
            let (name, rest) = line.strip_prefix(start)?.split_once(' ')?;
            Some((name.to_owned(), rest.to_owned()))
        };
        let helps: HashMap<String, String> = text
            .lines()
            .filter_map(|line| word_behind("# HELP ", line))
            .collect();
        let labels = |name: &str| {
            let series = text.lines().find_map(|line| {
                let rest = line.strip_prefix(name)?;
                let rest = rest.strip_prefix("_bucket").unwrap_or(rest);
                rest.strip_prefix('{')?.split_once('}')
            });
            let named = series.map_or(Vec::new(), |(inside, _)| {
                let pairs = inside.split("\",");
                pairs.filter_map(|pair| pair.split('=').next()).collect()
            });
            let ours = named.into_iter().filter(|&name| name != "le");
            let shown: Vec<_> = ours.map(|name| format!("`{name}`")).collect();
            shown.join(", ")
        };
        text.lines()
            .filter_map(|line| word_behind("# TYPE ", line))
            .map(|(name, kind)| {
                let (labels, help) = (labels(&name), &helps[&name]);
                format!(
                    "| `{name}` | {kind} | {labels} | {} |",
                    help.trim_end_matches('.')
                )
            })
            .collect()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_page_of_metrics_is_whole() {
        let metrics = Metrics::new();
        // What has no series until something happens is not written before.
        metrics.closed("SLOW");
        metrics.http_request("/metrics", 200);
        metrics.auth_failures("expired");
        metrics.limit("rate", 1);
        metrics.turn_seconds(0);
        metrics.turn_processor_seconds(0);
        let rows = rows(&metrics.encode());
        let page = include_str!("../docs/metrics.md");
        let is_row = |line: &&str| {
            let is_kind = |kind| line.contains(&format!("` | {kind} | "));
            ["gauge", "counter", "histogram"].into_iter().any(is_kind)
        };
        let shown: BTreeSet<_> = page.lines().filter(is_row).collect();
        for row in &rows {
            assert!(shown.contains(row.as_str()), "docs/metrics.md lacks\n{row}");
        }
        assert_eq!(
            shown.len(),
            rows.len(),
            "docs/metrics.md has more than there is"
        );
        for reason in UpgradeLabel::ALL.map(UpgradeLabel::name) {
            assert!(page.contains(&format!("`{reason}`")), "{reason}");
        }
        for ending in EndLabel::ALL.map(EndLabel::name) {
            assert!(page.contains(&format!("`{ending}`")), "{ending}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_there_by_the_names_that_everybody_knows() {
        let text = Metrics::new().encode();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_start_time_seconds",
            "process_open_fds",
            "process_threads",
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value: f64 = line
                .unwrap_or_else(|| panic!("{name}"))
                .trim()
                .parse()
                .unwrap();
            assert!(0.0 <= value, "{name} {value}");
        }
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"));
    }

    #[test]
    fn two_relays_in_one_process_count_apart() {
        let (here, there) = (Metrics::new(), Metrics::new());
        here.store_errors.inc();
        assert!(here.encode().contains("copresence_store_errors_total 1"));
        assert!(there.encode().contains("copresence_store_errors_total 0"));
    }
}
