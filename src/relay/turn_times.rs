//! How long a worker's turns take: by the clock, and in processor time of its own.
//!
//! A turn that the clock calls long may have been interrupted, by another thread or, on a machine that
//! is a guest, by another guest. What a worker is to be blamed for is the time it used itself. The
//! system tells that for the price of a system call, so it is asked for some of the turns.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Of so many turns, one is measured in processor time. A prime, so that it falls into step with no
/// pattern in which turns of several kinds follow each other.
const MEASURED_OF: u32 = 17;

/// Where a worker notes how long its turns take.
#[derive(Clone, Debug)]
pub struct TurnTimes {
    by_the_clock: Histogram,
    of_its_own: Histogram,
    turns: u32,
    /// What the thread had used when the turn began, if it is measured.
    used_before: Option<Duration>,
}

impl TurnTimes {
    /// Notes them here.
    pub fn new(by_the_clock: Histogram, of_its_own: Histogram) -> Self {
        Self {
            by_the_clock,
            of_its_own,
            turns: 0,
            used_before: None,
        }
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        let is_measured = self.turns.is_multiple_of(MEASURED_OF);
        self.turns = self.turns.wrapping_add(1);
        self.used_before = is_measured.then(thread_time).flatten();
    }

    /// The turn has ended, and took so long by the clock.
    pub fn end(&mut self, took: Duration) {
        self.by_the_clock.observe(took.as_secs_f64());
        if let Some(before) = self.used_before.take()
            && let Some(now) = thread_time()
        {
            let used = now.saturating_sub(before);
            self.of_its_own.observe(used.as_secs_f64());
        }
    }
}

/// The processor time that this thread has used: time in which others ran on its processor, or another
/// machine did, is not in it. It costs a system call.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the system tells it in no other way")]
fn thread_time() -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to the place it is given, which is one, and to nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    (failed == 0).then(|| Duration::new(seconds, nanos))
}

/// Other systems are not asked.
#[cfg(not(unix))]
fn thread_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_thread_is_charged_for_computing_and_not_for_waiting() {
        let computes = || {
            let before = thread_time().unwrap();
            let mut number = 1_u64;
            while thread_time().unwrap() <= before {
                number = std::hint::black_box(number.wrapping_mul(3));
            }
        };
        computes();
        let before = thread_time().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let used = thread_time().unwrap() - before;
        assert!(used < Duration::from_millis(100), "{used:?}");
    }
}
