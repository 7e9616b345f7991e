//! Time: one timestamp for deadlines, awareness and last seen alike, and the clock that makes it.

use std::fmt;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC. Comes from one clock that never goes back, so it serves for
/// deadlines and for what people read alike.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The beginning of 1970, before everything that happens here.
    pub const ZERO: Self = Self(0);

    /// From milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it was later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This time less `duration`, not before 1970.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }

    /// RFC 3339 in UTC with milliseconds, e.g. `2026-11-21T08:30:00.000Z`.
    pub fn to_rfc3339(self) -> String {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (days, in_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }

    /// What [`Self::to_rfc3339`] has written, and nothing else.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| -> Option<u64> {
            let digits = text.get(from..to)?;
            let are_digits = digits.bytes().all(|digit| digit.is_ascii_digit());
            are_digits.then(|| digits.parse().ok()).flatten()
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let days = days_from_civil(year, month, day)?;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        let time = Self(seconds * 1000 + number(20, 23)?);
        // Whatever else may be wrong with it shows here.
        (time.to_rfc3339() == text).then_some(time)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// A moment by the world's clock, which is what claims of tokens are about, and how far ahead of it the
/// relay's own time is: not at all, unless the world's clock was set back a while ago.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// What the world's clock says.
    pub wall: Timestamp,
    /// What the relay's time is ahead of it by.
    pub ahead: Duration,
}

impl Moment {
    /// When it is in the relay's own time that the world's clock says so.
    pub fn own_time_of(&self, wall: Timestamp) -> Timestamp {
        wall + self.ahead
    }

    /// The relay's own time.
    pub fn own_time(&self) -> Timestamp {
        self.own_time_of(self.wall)
    }
}

impl From<Timestamp> for Moment {
    /// Where both clocks agree.
    fn from(now: Timestamp) -> Self {
        Self {
            wall: now,
            ahead: Duration::ZERO,
        }
    }
}

/// The relay's own time. It goes as a monotonic clock goes, begins at what the world's clock said, and
/// never steps back: deadlines and what people read are made of it alike. Copies agree.
///
/// The world's clock can be set, and goes on while a machine sleeps. Somebody calls
/// [`SystemClock::compare`] now and then: where both have come apart, the own time follows, forward at
/// once and back by going slower, so that nothing that waits for it waits for long.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
    /// Lives as long as the process: a process has one clock as a rule, or a few.
    shared: &'static Shared,
    read_wall: fn() -> Timestamp,
    #[cfg(test)]
    is_stopped: bool,
}

/// What the world's clock did against ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// It was set forward, or the machine slept, for so long.
    Forward(Duration),
    /// It was set back by so much.
    Back(Duration),
}

/// Both clocks may differ by this without one being wrong.
const DIFFERENCE_MAX: Duration = Duration::from_secs(1);
/// Reading both clocks takes some hundred nanoseconds; if it took longer than this, it failed.
const READ_WITHIN: Duration = Duration::from_millis(100);
/// Own time that is ahead goes slower by one part of so many: an hour is caught up with in eight,
/// and pings are still in time for clients that give up after 30 s.
const SLOWER_BY: u32 = 8;

/// How own time follows from a monotonic clock, from some moment on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Anchor {
    /// What the monotonic clock had counted.
    from: Duration,
    /// What the world's clock said.
    wall: Timestamp,
    /// What own time was ahead of it by.
    ahead: Duration,
}

impl Anchor {
    fn ahead_at(&self, elapsed: Duration) -> Duration {
        if self.ahead.is_zero() {
            return Duration::ZERO;
        }
        let lost = elapsed.saturating_sub(self.from) / SLOWER_BY;
        self.ahead.saturating_sub(lost)
    }

    /// What the world's clock says, if nobody has touched it.
    fn wall_at(&self, elapsed: Duration) -> Timestamp {
        self.wall + elapsed.saturating_sub(self.from)
    }

    fn time_at(&self, elapsed: Duration) -> Timestamp {
        self.wall + (elapsed.saturating_sub(self.from) + self.ahead_at(elapsed))
    }

    /// The anchor from now on, if the world's clock is not where it should be.
    fn compared(&self, elapsed: Duration, wall: Timestamp) -> Option<(Self, Step)> {
        let expected = self.wall_at(elapsed);
        let step = if DIFFERENCE_MAX < wall.since(expected) {
            Step::Forward(wall.since(expected))
        } else if DIFFERENCE_MAX < expected.since(wall) {
            Step::Back(expected.since(wall))
        } else {
            return None;
        };
        // A reader may be an instant further: the next millisecond is what nobody has read yet.
        let time = self.time_at(elapsed) + Duration::from_millis(1);
        let anchor = Self {
            from: elapsed,
            wall,
            ahead: time.since(wall),
        };
        Some((anchor, step))
    }
}

/// The anchor that all copies of a clock go by: read at every turn of every worker, written when a
/// clock was set. A sequence lock, so that reading takes no lock.
#[derive(Debug)]
struct Shared {
    /// Odd while the anchor is being written.
    version: AtomicU64,
    from_nanos: AtomicU64,
    wall_millis: AtomicU64,
    ahead_millis: AtomicU64,
    writing: Mutex<()>,
}

impl Shared {
    fn new(anchor: Anchor) -> Self {
        Self {
            version: AtomicU64::new(0),
            from_nanos: AtomicU64::new(whole_nanos(anchor.from)),
            wall_millis: AtomicU64::new(anchor.wall.0),
            ahead_millis: AtomicU64::new(whole_millis(anchor.ahead)),
            writing: Mutex::new(()),
        }
    }

    fn anchor(&self) -> Anchor {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let anchor = Anchor {
                from: Duration::from_nanos(self.from_nanos.load(Ordering::Relaxed)),
                wall: Timestamp(self.wall_millis.load(Ordering::Relaxed)),
                ahead: Duration::from_millis(self.ahead_millis.load(Ordering::Relaxed)),
            };
            fence(Ordering::Acquire);
            let is_whole = version.is_multiple_of(2);
            if is_whole && self.version.load(Ordering::Relaxed) == version {
                return anchor;
            }
            std::hint::spin_loop();
        }
    }

    /// Only by who holds `writing`.
    fn set(&self, anchor: Anchor) {
        self.version.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        let from = whole_nanos(anchor.from);
        self.from_nanos.store(from, Ordering::Relaxed);
        self.wall_millis.store(anchor.wall.0, Ordering::Relaxed);
        let ahead = whole_millis(anchor.ahead);
        self.ahead_millis.store(ahead, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl SystemClock {
    /// Goes by the system's clocks.
    pub fn new() -> Self {
        Self::with_wall(read_system_time)
    }

    /// The same, by another clock of the world's: for whoever has a better one, and for tests that set
    /// it.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where clocks are read"
    )]
    pub fn with_wall(read_wall: fn() -> Timestamp) -> Self {
        let anchor = Anchor {
            from: Duration::ZERO,
            wall: read_wall(),
            ahead: Duration::ZERO,
        };
        Self {
            started: Instant::now(),
            shared: Box::leak(Box::new(Shared::new(anchor))),
            read_wall,
            #[cfg(test)]
            is_stopped: false,
        }
    }

    /// One that stands still, for tests that do the same each time.
    #[cfg(test)]
    pub fn stopped() -> Self {
        Self {
            is_stopped: true,
            ..Self::new()
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.at(self.elapsed())
    }

    /// The time when this clock had counted so far.
    pub fn at(&self, elapsed: Duration) -> Timestamp {
        self.shared.anchor().time_at(elapsed)
    }

    /// This moment as claims of tokens see it: asks the world's clock.
    pub fn moment(&self) -> Moment {
        let ahead = self.shared.anchor().ahead_at(self.elapsed());
        #[cfg(test)]
        if self.is_stopped {
            return Moment::from(self.now());
        }
        let wall = (self.read_wall)();
        Moment { wall, ahead }
    }

    /// How long until `deadline`; zero when it has passed.
    pub fn until(&self, deadline: Timestamp) -> Duration {
        deadline.since(self.now())
    }

    /// Microseconds since this clock was made, for measuring how long something takes.
    pub fn elapsed(&self) -> Duration {
        #[cfg(test)]
        if self.is_stopped {
            return Duration::ZERO;
        }
        self.started.elapsed()
    }

    /// Looks whether the world's clock is still where it should be by ours, and follows it if not. Of
    /// several who ask at once one is told of the step.
    pub fn compare(&self) -> Option<Step> {
        let _writing = self
            .shared
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let elapsed = self.elapsed();
        let wall = (self.read_wall)();
        if READ_WITHIN < self.elapsed().saturating_sub(elapsed) {
            // We were held up between the two: they say nothing about each other.
            return None;
        }
        let (anchor, step) = self.shared.anchor().compared(elapsed, wall)?;
        self.shared.set(anchor);
        Some(step)
    }

    /// How often it had to follow: what was computed before the last time is to be computed anew.
    pub fn steps(&self) -> u64 {
        self.shared.version.load(Ordering::Relaxed) / 2
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where clocks are read"
)]
fn read_system_time() -> Timestamp {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(whole_millis(since_1970))
}

fn whole_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Year, month and day of a day counted from 1970-01-01: Howard Hinnant's `civil_from_days`, for
/// days that are not negative.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The way back, Howard Hinnant's `days_from_civil`. Nothing before 1970.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted_year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_rfc_3339_with_milliseconds() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_249_800_123, "2026-11-21T08:30:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(Timestamp::from_millis(millis).to_rfc3339(), text);
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        // Every day up to the year 4000, each at another time.
        for day in 0..741_000 {
            let time = Timestamp::from_millis(day * 86_400_000 + day * 7_919 % 86_400_000);
            assert_eq!(Timestamp::parse_rfc3339(&time.to_rfc3339()), Some(time));
        }
    }

    #[test]
    fn what_is_no_time_or_written_otherwise_is_not_read() {
        let texts = [
            "",
            "1969-12-31T23:59:59.999Z",
            "0000-00-00T00:00:00.000Z",
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:60:00.000Z",
            "2026-01-01T00:00:60.000Z",
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.000+00:00",
            "2026-01-01 00:00:00.000Z",
            "2026-01-01T00:00:00.000Zz",
            "+026-01-01T00:00:00.000Z",
            "2026-01-01T00:00:00.00é",
        ];
        for text in texts {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const AT_NOON: Anchor = Anchor {
        from: Duration::ZERO,
        wall: NOON,
        ahead: Duration::ZERO,
    };

    #[test]
    fn after_a_sleep_the_time_is_the_worlds_at_once() {
        let elapsed = seconds(100);
        let wall = NOON + seconds(100 + 8 * 3600);
        let (anchor, step) = AT_NOON.compared(elapsed, wall).unwrap();
        assert_eq!(step, Step::Forward(seconds(8 * 3600)));
        assert_eq!(anchor.time_at(elapsed), wall);
        assert_eq!(anchor.time_at(seconds(110)), wall + seconds(10));
        assert_eq!(anchor.compared(seconds(110), wall + seconds(10)), None);
    }

    #[test]
    fn set_back_by_an_hour_the_time_goes_slower_until_both_agree_and_never_back() {
        let elapsed = seconds(7200);
        let wall = NOON + seconds(3600);
        let before = AT_NOON.time_at(elapsed);
        let (anchor, step) = AT_NOON.compared(elapsed, wall).unwrap();
        assert_eq!(step, Step::Back(seconds(3600)));
        assert_eq!(anchor.time_at(elapsed), before + Duration::from_millis(1));
        let mut last = before;
        for passed in 1..=9 * 3600 {
            let elapsed = elapsed + seconds(passed);
            let time = anchor.time_at(elapsed);
            let took = time.since(last);
            assert!(
                Duration::from_millis(870) <= took && took <= seconds(1),
                "a second took {took:?}"
            );
            // No new step for what is known already.
            assert_eq!(anchor.compared(elapsed, wall + seconds(passed)), None);
            last = time;
        }
        assert_eq!(last, wall + seconds(9 * 3600));
    }

    #[test]
    fn small_differences_are_nobodys_fault_and_large_ones_add_up() {
        let elapsed = seconds(10);
        for (wall, is_step) in [
            (NOON + Duration::from_millis(11_000), false),
            (NOON + Duration::from_millis(11_001), true),
            (NOON + Duration::from_millis(9_000), false),
            (NOON + Duration::from_millis(8_999), true),
        ] {
            assert_eq!(AT_NOON.compared(elapsed, wall).is_some(), is_step, "{wall}");
        }
        // Back by an hour, and an instant later forward by two.
        let (back, _) = AT_NOON
            .compared(seconds(7200), NOON + seconds(3600))
            .unwrap();
        let (forth, step) = back
            .compared(seconds(7200), NOON + seconds(10_800))
            .unwrap();
        assert_eq!(step, Step::Forward(seconds(7200)));
        assert_eq!(forth.ahead, Duration::ZERO);
        assert_eq!(forth.time_at(seconds(7200)), NOON + seconds(10_800));
    }

    #[test]
    fn copies_of_a_clock_follow_the_world_together_and_one_is_told() {
        static WALL: AtomicU64 = AtomicU64::new(NOON.as_millis());
        let clock = SystemClock::with_wall(|| Timestamp(WALL.load(Ordering::Relaxed)));
        let copy = clock;
        assert_eq!(clock.compare(), None);
        WALL.fetch_add(3_600_000, Ordering::Relaxed);
        let told = [clock, copy].map(|clock| clock.compare().is_some());
        assert_eq!(told, [true, false]);
        assert!(seconds(3600) <= copy.now().since(NOON));
        assert_eq!(copy.steps(), 1);

        WALL.fetch_sub(1_800_000, Ordering::Relaxed);
        let before = copy.now();
        assert!(clock.compare().is_some());
        assert!(before <= copy.now());
        let moment = copy.moment();
        assert_eq!(moment.wall, NOON + seconds(1800));
        assert!(moment.own_time().since(moment.wall) <= seconds(1800));
        assert!(seconds(1790) < moment.ahead);
    }

    #[test]
    fn time_does_not_overflow() {
        assert_eq!(
            Timestamp::from_millis(5).since(Timestamp::from_millis(9)),
            Duration::ZERO
        );
        assert_eq!(
            (Timestamp::from_millis(u64::MAX) + Duration::MAX).as_millis(),
            u64::MAX
        );
    }
}
