//! Every counter and gauge, named once.
//!
//! What the hot path counts is a public field that has been resolved at the start: counting is one
//! relaxed atomic addition. Only what happens rarely (closes, HTTP requests) looks a label up.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

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

/// One relay's metrics: not global, so that two relays in one process do not mix.
#[derive(Debug)]
pub struct Metrics {
    /// Sockets open now.
    pub connections: PerDoor<Gauge>,
    /// Rooms loaded now.
    pub rooms: Gauge,
    /// Participants connected now, over all rooms.
    pub participants: Gauge,
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
    /// Slow connections that were sent a fresh sync instead of what they had missed.
    pub slow_resyncs: Counter,
    /// Bytes of accepted updates that are not yet on disk.
    pub unsaved_bytes: Gauge,
    /// How long what arrives takes to leave.
    pub delivery: Latency,
    /// Reads and writes the store failed.
    pub store_errors: Counter,
    /// Windows of the feed that were looked at because of somebody they might hear of.
    pub feed_considered: Counter,
    /// Messages to windows of the feed.
    pub feed_messages: Counter,
    /// Tokens refused, at every door and on the API.
    pub auth_failures: Counter,
    /// Closes held back from clients that came again with a token refused before.
    pub closes_held: Counter,
    /// Idle HTTP connections closed to make room for others.
    pub http_idle_closed: Counter,
    /// HTTP connections open now, before an upgrade.
    pub http_connections: Gauge,
    closes: Family<[(&'static str, &'static str); 1], Counter>,
    http_requests: Family<RequestLabels, Counter>,
    turns: Family<[(&'static str, String); 1], Histogram, TurnBuckets>,
    turns_of_processor: Family<[(&'static str, String); 1], Histogram, TurnBuckets>,
    resident_bytes: Gauge,
    registry: Registry,
}

type RequestLabels = [(&'static str, &'static str); 2];

impl Metrics {
    /// All of them at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("copresence");
        let all = &mut registry;
        Self {
            connections: doors(all, "connections", "Sockets open now"),
            rooms: one(all, "rooms", "Rooms loaded now"),
            participants: one(all, "participants", "Participants connected now"),
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
            store_errors: one(all, "store_errors", "Reads and writes the store failed"),
            feed_considered: one(
                all,
                "feed_considered",
                "Windows of the feed looked at because of somebody they might hear of",
            ),
            feed_messages: one(all, "feed_messages", "Messages to windows of the feed"),
            auth_failures: one(all, "auth_failures", "Tokens refused"),
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
            resident_bytes: one(
                all,
                "resident_bytes",
                "Memory of the process, where the system tells",
            ),
            registry,
        }
    }

    /// Counts a refusal by its reason (`Refusal::reason`).
    pub fn closed(&self, reason: &'static str) {
        self.closes.get_or_create(&[("reason", reason)]).inc();
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
        self.resident_bytes
            .set(resident_bytes().unwrap_or(0) as i64);
        let mut text = String::new();
        // Writing to a string fails only if an encoder of ours does; half a page beats a panic.
        if let Err(error) = text::encode_registry(&mut text, &self.registry) {
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

/// The memory of the process, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
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
    use super::*;

    #[test]
    fn what_was_counted_can_be_read_as_prometheus_text() {
        let metrics = Metrics::new();
        metrics.messages_in.of(DoorLabel::Sync).inc_by(3);
        metrics.connections.of(DoorLabel::Collab).inc();
        metrics.unsaved_bytes.inc_by(42);
        metrics.closed("SLOW");
        metrics.http_request("/v1/rooms/{room}/presence", 200);
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
            assert!(line.starts_with("copresence_"), "{line}");
        }
    }

    #[test]
    fn two_relays_in_one_process_count_apart() {
        let (here, there) = (Metrics::new(), Metrics::new());
        here.store_errors.inc();
        assert!(here.encode().contains("copresence_store_errors_total 1"));
        assert!(there.encode().contains("copresence_store_errors_total 0"));
    }
}
