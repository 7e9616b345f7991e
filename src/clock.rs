//! Time: one timestamp for deadlines, awareness and last seen alike, and the clock that makes it.

use std::fmt;
use std::ops::Add;
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

/// Wall time at its making plus monotonic time since: it never steps back. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
    started_at: Timestamp,
    #[cfg(test)]
    is_stopped: bool,
}

impl SystemClock {
    /// Reads the wall clock, once.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where clocks are read"
    )]
    pub fn new() -> Self {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            started_at: Timestamp(whole_millis(since_1970)),
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
        self.started_at + elapsed
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
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
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
