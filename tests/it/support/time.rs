//! How long things take, and what a token calls now.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use copresence::clock::SystemClock;

static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);

/// How long a test waits for what must come, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Time since the suite began; never goes back.
pub fn now() -> Duration {
    CLOCK.elapsed()
}

/// Whole seconds since 1970.
pub fn unix_seconds() -> u64 {
    CLOCK.now().as_millis() / 1000
}

/// Milliseconds since 1970.
pub fn unix_millis() -> u64 {
    CLOCK.now().as_millis()
}

/// Waits for what must come; fails naming it.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// Asks again, every 20 ms, for something that no message announces; fails naming it.
pub async fn polled<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    within(PATIENCE, what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The value below which `part` (0 to 1) of the durations lie.
pub fn percentile(durations: &mut [Duration], part: f64) -> Duration {
    assert!(!durations.is_empty(), "nothing was measured");
    durations.sort_unstable();
    let last = durations.len() - 1;
    durations[(last as f64 * part).round() as usize]
}
