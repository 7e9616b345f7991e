//! The thread that looks after the seat: takes the lock when it becomes free, and notices when it is
//! lost though nobody writes.

use std::sync::{Arc, Weak};
use std::thread::{self, Thread};

use crate::store::StoreError;
use crate::store::postgres::seat::Seat;

/// Ends its thread when it is dropped; what that does just then is done first.
pub struct Keeper {
    thread: Thread,
}

impl Keeper {
    /// Looks after a seat for as long as there is one.
    pub fn of(seat: &Arc<Seat>) -> Result<Self, StoreError> {
        let seat = Arc::downgrade(seat);
        let spawned = thread::Builder::new()
            .name("store-lock".to_owned())
            .spawn(move || keep(&seat));
        let handle = spawned
            .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            thread: handle.thread().clone(),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

fn keep(seat: &Weak<Seat>) {
    loop {
        let Some(pause) = seat.upgrade().and_then(|seat| seat.tend()) else {
            return;
        };
        // Woken too early it does no harm.
        thread::park_timeout(pause);
    }
}
