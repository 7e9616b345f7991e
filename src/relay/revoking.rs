//! Revocations: what the store knows of them when the relay starts, and new ones on their way there.
//!
//! A thread of its own, so that none waits behind anything else. Until the store has said whose tokens
//! are refused, nobody is let in; from then on a revocation is in force before it is stored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::auth::Verifier;
use crate::clock::{SystemClock, Timestamp};
use crate::limits::{
    REVOCATIONS_KEPT_FOR, REVOCATIONS_MAX, REVOCATIONS_WAITING_MAX, STORE_ASKED_EVERY,
    STORE_RETRY_AFTER, STORED_WITHIN,
};
use crate::model::{Pattern, UserId};
use crate::relay::inbox::ToWorker;
use crate::relay::{Relay, Unavailable};
use crate::store::{Revocation, Store, StoreError};
use crate::wire::close::Refusal;

/// Handle to the thread.
#[derive(Clone)]
pub struct Revoking(Arc<Inner>);

struct Inner {
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
    store: Arc<dyn Store>,
    verifier: Verifier,
    clock: SystemClock,
    /// Whether the store has said whose tokens are refused.
    is_known: AtomicBool,
    /// Why it has not.
    trouble: Mutex<String>,
}

#[derive(Default)]
struct Queue {
    /// Bounded by `REVOCATIONS_WAITING_MAX`.
    waiting: Vec<Waiting>,
    is_writing: bool,
    is_stopped: bool,
}

/// A revocation, and who wants to know when it is stored.
struct Waiting {
    revocation: Revocation,
    stored: oneshot::Sender<()>,
}

/// Why a revocation is not stored, or not even in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RevokeError {
    /// It is in force; the store has not taken it in time, and is tried on.
    #[error("the revocation is in force and not stored yet")]
    NotStored,
    /// The relay ends.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Relay {
    /// Refuses the user's tokens issued until now, and ends what they opened with them, in some rooms
    /// or everywhere. In force at once; returns when it is stored.
    pub async fn revoke(&self, user: &UserId, rooms: Option<&Pattern>) -> Result<(), RevokeError> {
        let inner = &self.0;
        // Tokens say by the world's clock when they were issued.
        let at = inner.clock.moment().wall;
        inner.verifier.revoke(at, user, rooms);
        tracing::info!(%user, rooms = rooms.map(Pattern::as_str), "tokens revoked");
        let stored = inner.revoking.keep(Revocation {
            user: user.clone(),
            rooms: rooms.cloned(),
            at,
        });
        for inbox in inner.inboxes.iter() {
            let revoke = ToWorker::Revoke {
                user: user.clone(),
                rooms: rooms.cloned(),
            };
            let sent = inbox.send(revoke).await;
            sent.map_err(|_| Unavailable(Refusal::Draining))?;
        }
        match tokio::time::timeout(STORED_WITHIN, stored).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RevokeError::NotStored),
        }
    }

    /// Whether anybody is let in at all: not before it is known whose tokens are refused.
    pub fn admits(&self) -> Result<(), Unavailable> {
        match self.0.revoking.is_known() {
            true => Ok(()),
            false => Err(Unavailable(Refusal::StoreDown)),
        }
    }
}

impl Revoking {
    /// Starts the thread, and waits for the store's first answer; it ends with `stop`.
    pub fn start(
        store: Arc<dyn Store>,
        verifier: Verifier,
        clock: SystemClock,
    ) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            store,
            verifier,
            clock,
            is_known: AtomicBool::new(false),
            trouble: Mutex::new("not asked yet".to_owned()),
        });
        let (tell, told) = sync_channel(1);
        let keeper = Arc::clone(&inner);
        thread::Builder::new()
            .name("revocations".to_owned())
            .spawn(move || keeper.run(&tell))?;
        // Most stores answer at once, and then nobody is turned away. A late one is waited for outside.
        let _ = told.recv_timeout(STORE_ASKED_EVERY);
        Ok(Self(inner))
    }

    /// Hands a revocation in; the answer comes when it is stored. Never waits.
    fn keep(&self, revocation: Revocation) -> oneshot::Receiver<()> {
        let (stored, answer) = oneshot::channel();
        let mut queue = self.0.queue();
        if queue.waiting.len() < REVOCATIONS_WAITING_MAX {
            queue.waiting.push(Waiting { revocation, stored });
            self.0.filled.notify_one();
        } else {
            tracing::error!(
                "{REVOCATIONS_WAITING_MAX} revocations wait for the store: this one ends with the \
                 process"
            );
        }
        answer
    }

    /// Whether it is known whose tokens are refused.
    pub fn is_known(&self) -> bool {
        self.0.is_known.load(Ordering::Acquire)
    }

    /// Why it is not.
    pub fn trouble(&self) -> Option<String> {
        if self.is_known() {
            return None;
        }
        let trouble = self.0.trouble.lock();
        let trouble = trouble.unwrap_or_else(PoisonError::into_inner);
        Some(format!(
            "whose tokens are refused cannot be read: {trouble}"
        ))
    }

    /// Waits until everything handed in so far is stored; `false` when that takes too long.
    pub fn flush(&self, at_most: Duration) -> bool {
        let has_work = |queue: &mut Queue| queue.is_writing || !queue.waiting.is_empty();
        let waited = (self.0.emptied).wait_timeout_while(self.0.queue(), at_most, has_work);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !has_work(&mut queue)
    }

    /// Ends the thread once it has stored what it has, or cannot.
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

    fn run(&self, tell: &SyncSender<()>) {
        let has_learnt = self.until_done(|inner| {
            let learnt = inner.learn();
            // Nobody listens any more to the second answer.
            let _ = tell.try_send(());
            learnt
        });
        if !has_learnt {
            return;
        }
        while let Some(batch) = self.next_batch() {
            let (revocations, waiting): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|one| (one.revocation, one.stored))
                .unzip();
            if !self.until_done(|inner| inner.store.revoke(&revocations, inner.kept_from())) {
                return;
            }
            for stored in waiting {
                // Whoever asked may have given up.
                let _ = stored.send(());
            }
            self.queue().is_writing = false;
            self.emptied.notify_all();
        }
    }

    /// Reads whose tokens are refused.
    fn learn(&self) -> Result<(), StoreError> {
        let kept = self.store.revocations(self.kept_from(), REVOCATIONS_MAX);
        let kept = kept.inspect_err(|error| {
            let trouble = self.trouble.lock();
            *trouble.unwrap_or_else(PoisonError::into_inner) = error.to_string();
        })?;
        // The oldest first, as they were made.
        for Revocation { user, rooms, at } in kept.into_iter().rev() {
            self.verifier.revoke(at, &user, rooms.as_ref());
        }
        self.is_known.store(true, Ordering::Release);
        Ok(())
    }

    fn kept_from(&self) -> Timestamp {
        self.clock.moment().wall.before(REVOCATIONS_KEPT_FOR)
    }

    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let is_idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.is_stopped;
        let waited = self.filled.wait_while(self.queue(), is_idle);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.waiting.is_empty() {
            return None;
        }
        queue.is_writing = true;
        Some(std::mem::take(&mut queue.waiting))
    }

    /// Tries until the store does it; `false` when the relay was stopped before.
    fn until_done(&self, act: impl Fn(&Self) -> Result<(), StoreError>) -> bool {
        let mut has_failed = false;
        loop {
            match act(self) {
                Ok(()) => return true,
                Err(error) if !has_failed => {
                    has_failed = true;
                    tracing::error!(%error, "revocations cannot be read or stored; it is tried on");
                }
                Err(_) => {}
            }
            let is_going_on = |queue: &mut Queue| !queue.is_stopped;
            let waited =
                (self.filled).wait_timeout_while(self.queue(), STORE_RETRY_AFTER, is_going_on);
            let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if queue.is_stopped {
                return false;
            }
        }
    }
}
