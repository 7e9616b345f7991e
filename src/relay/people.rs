//! What is written down about people: newest wins, one batch at a time, later if the store is down.
//!
//! A thread of its own, so that no acknowledgement of an edit waits behind it. What waits is one
//! record for each thing at most: an older one of the same session or person is not worth writing.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::limits::{PEOPLE_WAITING_MAX, STORE_RETRY_AFTER};
use crate::model::{RoomName, UserId};
use crate::store::{Record, Store, TIME_MAX};

/// Handle to the thread that writes.
#[derive(Clone)]
pub struct PeopleWriter(Arc<Inner>);

struct Inner {
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
    store: Arc<dyn Store>,
}

#[derive(Default)]
struct Queue {
    waiting: HashMap<Key, Record>,
    is_writing: bool,
    is_stopped: bool,
}

/// What a record is about: the newest one counts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Key {
    Presence(Arc<str>, Arc<str>),
    Departed(RoomName, UserId),
    FeedSeen(UserId),
}

impl PeopleWriter {
    /// Starts the thread; it ends with `stop`. Its first act is to end what a crash left open.
    pub fn start(store: Arc<dyn Store>) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            store,
        });
        let writer = inner.clone();
        thread::Builder::new()
            .name("people".to_owned())
            .spawn(move || writer.write_until_stopped())?;
        Ok(Self(inner))
    }

    /// Hands a record in. Never waits.
    pub fn keep(&self, record: Record) {
        let key = match &record {
            Record::Presence(row) => Key::Presence(row.board.clone(), row.session.clone()),
            Record::Departed { room, person } => Key::Departed(room.clone(), person.user.clone()),
            Record::FeedSeen { user, .. } => Key::FeedSeen(user.clone()),
        };
        let mut queue = self.0.queue();
        if queue.waiting.len() < PEOPLE_WAITING_MAX || queue.waiting.contains_key(&key) {
            queue.waiting.insert(key, record);
            self.0.filled.notify_one();
        } else {
            // The store has been down for long. Who was seen when is forgotten, nothing else is.
            tracing::debug!("too much about people waits to be written");
        }
    }

    /// Waits until everything handed in so far is written; `false` when that takes too long.
    pub fn flush(&self, at_most: Duration) -> bool {
        let queue = self.0.queue();
        let has_work = |queue: &mut Queue| queue.is_writing || !queue.waiting.is_empty();
        let waited = self.0.emptied.wait_timeout_while(queue, at_most, has_work);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !has_work(&mut queue)
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

    fn write_until_stopped(&self) {
        let ended = |inner: &Self| inner.store.end_open_presences(TIME_MAX).map(|_| ());
        if !self.until_taken(ended) {
            return;
        }
        while let Some(batch) = self.next_batch() {
            if !self.until_taken(|inner| inner.store.record(&batch)) {
                return;
            }
            self.queue().is_writing = false;
            self.emptied.notify_all();
        }
    }

    fn next_batch(&self) -> Option<Vec<Record>> {
        let queue = self.queue();
        let is_idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.is_stopped;
        let waited = self.filled.wait_while(queue, is_idle);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.waiting.is_empty() {
            return None;
        }
        queue.is_writing = true;
        Some(queue.waiting.drain().map(|(_, record)| record).collect())
    }

    /// Tries until the store does it; `false` when the relay was stopped before.
    fn until_taken<E: std::fmt::Display>(&self, act: impl Fn(&Self) -> Result<(), E>) -> bool {
        let mut has_failed = false;
        loop {
            match act(self) {
                Ok(()) => return true,
                Err(error) if !has_failed => {
                    has_failed = true;
                    tracing::error!(%error, "the store takes nothing about people; it waits");
                }
                Err(_) => {}
            }
            let queue = self.queue();
            if queue.is_stopped {
                return false;
            }
            let is_going_on = |queue: &mut Queue| !queue.is_stopped;
            let waited = self
                .filled
                .wait_timeout_while(queue, STORE_RETRY_AFTER, is_going_on);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}
