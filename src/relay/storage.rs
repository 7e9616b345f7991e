//! Many updates, one commit, then the acknowledgements.
//!
//! One thread takes what all workers keep and hands it to the store as one batch; what comes while
//! it writes is the next. A single write is carried out at once. While many come, some milliseconds'
//! worth are gathered first: a commit costs as much as writing dozens of updates. A store that
//! fails is tried again with the same batch until it takes it; what waits is bounded, because
//! workers take no more edits once `--max-unsaved` is reached. While there is nothing to write, the store
//! is asked whether it could. One that others have written to takes nothing more from this relay: it has
//! failed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::SystemClock;
use crate::limits::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, GATHER_FIRST, GATHER_FROM_WRITES, GATHER_MAX,
    GATHER_WRITES_MAX, STORE_ANSWERS_WITHIN, STORE_ASKED_EVERY, STORE_RESTS_AFTER,
    STORE_RETRY_AFTER, STORE_RETRY_AFTER_FIRST,
};
use crate::metrics::Metrics;
use crate::model::RoomName;
use crate::relay::Shared;
use crate::relay::inbox::ToWorker;
use crate::relay::rooms::RoomKey;
use crate::store::{BatchIds, Sequence, Store, StoreError, Write};

/// Something to keep, and who wants to know when it is.
#[derive(Debug)]
pub struct Kept {
    /// Whose document.
    pub room: RoomName,
    /// Where that is loaded.
    pub home: Home,
    /// What.
    pub write: Write,
}

/// Where a room is loaded.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Home {
    /// By which worker.
    pub worker: usize,
    /// Its place there.
    pub key: RoomKey,
    /// Which life of the room.
    pub life: u64,
}

/// What of a worker's is on disk now.
#[derive(Debug, Default)]
pub struct Committed {
    /// How many of its writes.
    pub writes: usize,
    /// Appended updates: of which room, up to where.
    pub updates: Vec<(Home, Sequence)>,
}

/// Counts what has been handed in: who waits for a number has everything up to it on disk.
pub type Ticket = u64;

/// Handle to the thread that writes.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    queue: Mutex<Queue>,
    /// Something was handed in, or the relay is gone.
    filled: Condvar,
    /// A batch was committed, or failed.
    emptied: Condvar,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// Accepted and not on disk.
    unsaved_bytes: AtomicUsize,
    /// Why nothing can ever be written again, once that is so.
    failure: watch::Sender<Option<StoreError>>,
    clock: SystemClock,
    /// Since when, by the clock's count in microseconds, the store has not answered; 0: it owes nothing.
    asked_at: AtomicU64,
}

#[derive(Default)]
struct Queue {
    /// Bounded by what workers accept: see `unsaved_bytes`.
    waiting: Vec<Kept>,
    handed_in: Ticket,
    committed: Ticket,
    /// Whether the thread sleeps until something is handed in.
    is_idle: bool,
    is_stopped: bool,
}

impl Storage {
    /// Starts the thread, which gives its batches these names; it ends with `stop`.
    pub fn start(
        store: Arc<dyn Store>,
        shared: Arc<Shared>,
        metrics: Arc<Metrics>,
        inboxes: Arc<[mpsc::Sender<ToWorker>]>,
        mut batches: BatchIds,
    ) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            store,
            shared,
            metrics,
            unsaved_bytes: AtomicUsize::new(0),
            failure: watch::Sender::new(None),
            clock: SystemClock::new(),
            asked_at: AtomicU64::new(0),
        });
        let told: Weak<Inner> = Arc::downgrade(&inner);
        inner.store.on_taken(Box::new(move |error| {
            if let Some(inner) = told.upgrade() {
                inner.fail(error);
            }
        }));
        let writer = inner.clone();
        thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || writer.write_until_stopped(&inboxes, &mut batches))?;
        Ok(Self(inner))
    }

    /// Hands in what a turn keeps. Never waits.
    pub fn keep(&self, kept: &mut Vec<Kept>) {
        let bytes: usize = kept.iter().map(|kept| size(&kept.write)).sum();
        self.0.count_unsaved(bytes, 0);
        let mut queue = self.0.queue();
        queue.handed_in += kept.len() as u64;
        queue.waiting.append(kept);
        if queue.is_idle {
            self.0.filled.notify_one();
        }
    }

    /// What has been handed in by now.
    pub fn ticket(&self) -> Ticket {
        self.0.queue().handed_in
    }

    /// Waits until everything up to `ticket` is on disk; `false` when that takes too long.
    pub fn wait(&self, ticket: Ticket, at_most: Duration) -> bool {
        let queue = self.0.queue();
        let waited = self
            .0
            .emptied
            .wait_timeout_while(queue, at_most, |queue| queue.committed < ticket);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ticket <= queue.committed
    }

    /// What is accepted and not on disk, in bytes over all rooms.
    pub fn unsaved_bytes(&self) -> usize {
        self.0.unsaved_bytes.load(Ordering::Relaxed)
    }

    /// Why the store counts as down, if it does: it said so, or it says nothing.
    pub fn trouble(&self) -> Option<String> {
        if self.0.shared.is_store_down() {
            return Some(self.0.shared.store_error());
        }
        let silence = self.0.silence();
        let is_too_long = STORE_ANSWERS_WITHIN <= silence;
        is_too_long.then(|| format!("it has not answered for {} s", silence.as_secs()))
    }

    /// Whether the store counts as down.
    pub fn is_down(&self) -> bool {
        self.0.shared.is_store_down() || STORE_ANSWERS_WITHIN <= self.0.silence()
    }

    /// The store could not be used: see that it works again.
    pub fn suspect(&self, error: &StoreError) {
        self.0.metrics.store_errors.inc();
        match error.is_final() {
            true => self.0.fail(error),
            false => self.0.shared.store_failed(error),
        }
        self.0.filled.notify_one();
    }

    /// Waits until nothing can ever be written again; says why.
    pub async fn failed(&self) -> StoreError {
        let mut failure = self.0.failure.subscribe();
        loop {
            if let Some(error) = &*failure.borrow_and_update() {
                return error.clone();
            }
            // The sender is ours.
            let _ = failure.changed().await;
        }
    }

    /// Ends the thread once it has written what it has, or cannot.
    pub fn stop(&self) {
        self.0.queue().is_stopped = true;
        self.0.filled.notify_one();
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock; if it ever does, the queue is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first reason stands. From here on newcomers are refused.
    fn fail(&self, error: &StoreError) {
        let is_first = self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert_with(|| error.clone());
            is_first
        });
        if is_first {
            tracing::error!(%error, "nothing more can be written; this relay ends");
            self.shared.store_failed(error);
            self.shared.refuse_newcomers();
            self.filled.notify_one();
        }
    }

    fn write_until_stopped(&self, inboxes: &[mpsc::Sender<ToWorker>], batches: &mut BatchIds) {
        let mut previous = 0;
        while let Some(batch) = self.next_batch(previous) {
            previous = batch.len();
            let bytes: usize = batch.iter().map(|kept| size(&kept.write)).sum();
            if !self.write_until_taken(&batch, batches) {
                return;
            }
            self.count_unsaved(0, bytes);
            let mut committed: Vec<Committed> = Vec::new();
            committed.resize_with(inboxes.len(), Committed::default);
            let writes = batch.len() as u64;
            for kept in &batch {
                if let Some(of_worker) = committed.get_mut(kept.home.worker) {
                    of_worker.writes += 1;
                }
            }
            for (home, through) in ends(&batch) {
                if let Some(of_worker) = committed.get_mut(home.worker) {
                    of_worker.updates.push((home, through));
                }
            }
            self.queue().committed += writes;
            self.emptied.notify_all();
            for (inbox, committed) in inboxes.iter().zip(committed) {
                if 0 < committed.writes {
                    // A worker that is gone waits for nothing.
                    let _ = inbox.blocking_send(ToWorker::Committed(committed));
                }
            }
        }
    }

    /// Waits for something to write, and takes all there is, up to what one commit should hold.
    fn next_batch(&self, previous: usize) -> Option<Vec<Kept>> {
        let mut queue = self.queue();
        let mut has_rested = previous == 0;
        let mut idle = Duration::ZERO;
        let mut is_to_be_asked = false;
        loop {
            if !queue.waiting.is_empty() {
                if GATHER_FROM_WRITES <= previous {
                    queue = self.gather(queue);
                }
                return Some(queue.take_batch());
            }
            if queue.is_stopped {
                return None;
            }
            if is_to_be_asked || self.shared.is_store_down() {
                is_to_be_asked = false;
                drop(queue);
                self.ask();
                queue = self.queue();
                if !queue.waiting.is_empty() {
                    continue;
                }
            }
            queue.is_idle = true;
            let patience = match self.shared.is_store_down() {
                true => STORE_RETRY_AFTER,
                // Nothing happens to it, and nothing is left with it.
                false if self.store.is_immediate() => Duration::MAX,
                false => STORE_ASKED_EVERY,
            };
            let waited = self.filled.wait_timeout(queue, patience);
            let (still, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = still;
            queue.is_idle = false;
            if !waited.timed_out() {
                continue;
            }
            is_to_be_asked = true;
            idle = idle.saturating_add(patience);
            if !has_rested && STORE_RESTS_AFTER <= idle {
                has_rested = true;
                drop(queue);
                self.store.rest();
                queue = self.queue();
            }
        }
    }

    /// Asks the store whether it could write, so that whoever asks us knows.
    fn ask(&self) {
        match self.timed(|| self.store.probe()) {
            Ok(()) => self.shared.store_works(),
            Err(error) => {
                self.metrics.store_errors.inc();
                match error.is_final() {
                    true => self.fail(&error),
                    false => self.shared.store_failed(&error),
                }
            }
        }
    }

    /// Notes how long the store takes.
    fn timed<T>(&self, act: impl FnOnce() -> T) -> T {
        let micros = self.clock.elapsed().as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX).max(1);
        self.asked_at.store(micros, Ordering::Relaxed);
        let done = act();
        self.asked_at.store(0, Ordering::Relaxed);
        done
    }

    /// How long the store has owed an answer.
    fn silence(&self) -> Duration {
        match self.asked_at.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            micros => (self.clock.elapsed()).saturating_sub(Duration::from_micros(micros)),
        }
    }

    /// Lets more come, as long as it does: where each waits for its acknowledgement before it goes on,
    /// nearly all have come after the first step. Each further step is as long as all before.
    fn gather<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let (mut came, mut step) = (0, GATHER_FIRST);
        let mut left = GATHER_MAX;
        while !left.is_zero() {
            let before = queue.waiting.len();
            if GATHER_WRITES_MAX <= before || queue.is_stopped {
                break;
            }
            drop(queue);
            thread::sleep(step);
            left = left.saturating_sub(step);
            queue = self.queue();
            let more = queue.waiting.len() - before;
            if more == 0 || 2 * more < came {
                break;
            }
            step = (GATHER_MAX - left).min(left);
            came += more;
        }
        queue
    }

    /// `false` when the relay was stopped before the store took it, or it never will.
    fn write_until_taken(&self, batch: &[Kept], batches: &mut BatchIds) -> bool {
        let writes = writes_of(batch);
        // The same for every attempt: one of them may have been carried out unheard.
        let id = batches.next_id();
        let mut pause = STORE_RETRY_AFTER_FIRST;
        loop {
            match self.timed(|| self.store.commit(Some(id), &writes)) {
                Ok(()) => {
                    self.shared.store_works();
                    return true;
                }
                Err(error) if error.is_final() => {
                    self.metrics.store_errors.inc();
                    self.fail(&error);
                    return false;
                }
                Err(error) => {
                    self.metrics.store_errors.inc();
                    self.shared.store_failed(&error);
                }
            }
            let queue = self.queue();
            if queue.is_stopped {
                return false;
            }
            let waited = self
                .filled
                .wait_timeout_while(queue, pause, |queue| !queue.is_stopped);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            pause = (pause * 2).min(STORE_RETRY_AFTER);
        }
    }

    fn count_unsaved(&self, more: usize, less: usize) {
        let before = self.unsaved_bytes.fetch_add(more, Ordering::Relaxed);
        if 0 < less {
            self.unsaved_bytes.fetch_sub(less, Ordering::Relaxed);
        }
        let now = (before + more).saturating_sub(less);
        self.metrics
            .unsaved_bytes
            .set(i64::try_from(now).unwrap_or(i64::MAX));
    }
}

impl Queue {
    fn take_batch(&mut self) -> Vec<Kept> {
        let mut bytes = 0;
        let fits = self
            .waiting
            .iter()
            .take(COMMIT_WRITES_MAX)
            .take_while(|kept| {
                bytes += size(&kept.write);
                bytes <= COMMIT_BYTES_MAX
            });
        let count = fits.count().max(1);
        self.waiting.drain(..count).collect()
    }
}

/// What the store is given.
pub fn writes_of(batch: &[Kept]) -> Vec<(RoomName, Write)> {
    let write = |kept: &Kept| (kept.room.clone(), kept.write.clone());
    batch.iter().map(write).collect()
}

/// How far each room gets by these writes.
pub fn ends(kept: &[Kept]) -> Vec<(Home, Sequence)> {
    let mut ends: Vec<(Home, Sequence)> = Vec::new();
    for kept in kept {
        let Write::Append { sequence, .. } = kept.write else {
            continue;
        };
        match ends.last_mut() {
            // Mostly a burst of one room.
            Some((home, last)) if *home == kept.home => *last = sequence,
            _ => ends.push((kept.home, sequence)),
        }
    }
    // The last of each room says it all.
    ends.sort_unstable();
    ends.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        if is_same {
            kept.1 = next.1;
        }
        is_same
    });
    ends
}

fn size(write: &Write) -> usize {
    match write {
        Write::Append { update, .. } | Write::Snapshot { update, .. } => update.len(),
        Write::Quarantine { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::relay::RelayOptions;
    use crate::store::MemoryStore;

    /// Hands in what a turn brought, again and again; how many writes each commit had.
    fn commits(turns: usize, writes_each: usize, pause: Duration) -> Vec<usize> {
        let (inbox, mut receiver) = mpsc::channel(turns);
        let storage = Storage::start(
            Arc::new(MemoryStore::default()),
            Arc::new(Shared::new(&RelayOptions::default()).unwrap()),
            Arc::new(Metrics::new()),
            [inbox].into(),
            BatchIds::new(1),
        )
        .unwrap();
        let mut sequence = 0;
        for _ in 0..turns {
            let mut kept: Vec<Kept> = (0..writes_each)
                .map(|_| {
                    sequence += 1;
                    Kept {
                        room: RoomName::parse("room").unwrap(),
                        home: Home {
                            worker: 0,
                            key: RoomKey::FIRST,
                            life: 1,
                        },
                        write: Write::Append {
                            sequence,
                            update: Bytes::from_static(&[0, 0]),
                        },
                    }
                })
                .collect();
            storage.keep(&mut kept);
            thread::sleep(pause);
        }
        let mut commits = Vec::new();
        while commits.iter().sum::<usize>() < turns * writes_each {
            match receiver.blocking_recv() {
                Some(ToWorker::Committed(committed)) => commits.push(committed.writes),
                _ => break,
            }
        }
        storage.stop();
        commits
    }

    #[test]
    fn while_many_come_a_commit_gathers_them() {
        let commits = commits(40, GATHER_FROM_WRITES, Duration::from_millis(1));
        assert_eq!(commits.iter().sum::<usize>(), 40 * GATHER_FROM_WRITES);
        assert!(commits.len() <= 20, "{commits:?}");
    }

    #[test]
    fn one_that_comes_alone_is_committed_at_once() {
        let commits = commits(5, 1, Duration::from_millis(20));
        assert_eq!(commits, [1; 5]);
    }
}
