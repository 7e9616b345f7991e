//! A machine that has something else to do.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Twice as many as the smallest machine that the tests are for has processors.
pub const BUSY_LOOPS: usize = 4;

/// Loops that compute for nothing, until this is dropped.
pub struct BusyLoops {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyLoops {
    pub fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let busy = |_| {
            let is_over = is_over.clone();
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            })
        };
        Self {
            threads: (0..BUSY_LOOPS).map(busy).collect(),
            is_over,
        }
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A loop that failed is over, too.
            let _ = thread.join();
        }
    }
}
