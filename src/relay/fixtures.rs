//! A worker for tests: everything around it is there, and nobody talks to it.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::auth::{AuthOptions, Verifier};
use crate::clock::SystemClock;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::model::Policies;
use crate::relay::heavy::HeavyPool;
use crate::relay::inbox::ToWorker;
use crate::relay::people::PeopleWriter;
use crate::relay::storage::Storage;
use crate::relay::turn_times::TurnTimes;
use crate::relay::worker::{self, Surroundings, Worker};
use crate::relay::{RelayOptions, Shared};
use crate::store::{BatchIds, MemoryStore};

/// The first of so many workers, with a clock that stands still, and what would reach each of them.
pub fn idle_worker(workers: usize) -> (Worker, Vec<mpsc::Receiver<ToWorker>>) {
    let store = Arc::new(MemoryStore::default());
    let metrics = Arc::new(Metrics::new());
    let shared = Arc::new(Shared::new(&RelayOptions::default()).unwrap());
    let (inboxes, receivers): (Vec<_>, _) = (0..workers).map(|_| worker::inbox()).unzip();
    let inboxes: Arc<[_]> = inboxes.into();
    let storage = Storage::start(
        store.clone(),
        shared.clone(),
        metrics.clone(),
        inboxes.clone(),
        BatchIds::new(0),
    )
    .unwrap();
    let heavy = HeavyPool::start("heavy", 1, store.clone(), &storage).unwrap();
    let verifier = Verifier::new(AuthOptions {
        is_dev: true,
        ..AuthOptions::default()
    });
    let worker = Worker::new(Surroundings {
        number: 0,
        inboxes,
        shared,
        people: PeopleWriter::start(store.clone()).unwrap(),
        store,
        storage,
        batches: BatchIds::new(1),
        loaders: heavy.clone(),
        heavy,
        verifier: verifier.unwrap(),
        clock: SystemClock::stopped(),
        turns: TurnTimes::new(metrics.turn_seconds(0), metrics.turn_processor_seconds(0)),
        metrics,
        limits: Limits {
            rate: u32::MAX,
            ..Limits::default()
        },
        policies: Policies::default(),
    });
    (worker, receivers)
}
