//! Amounts as people write them: `64MiB`, `10s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A number of bytes: `64MiB`, `5MB`, `1000`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size(pub usize);

/// A time: `10s`, `500ms`, `1h`, or plain seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span(pub Duration);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let factor: usize = match unit {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => {
                return Err(format!(
                    "`{text}` is no size, e.g. 64MiB, 5MB or 1000 (bytes)"
                ));
            }
        };
        number
            .parse()
            .ok()
            .and_then(|number: usize| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no size, e.g. 64MiB, 5MB or 1000 (bytes)"))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let millis: u64 = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => {
                return Err(format!(
                    "`{text}` is no time, e.g. 10s, 500ms, 1h or 10 (seconds)"
                ));
            }
        };
        number
            .parse()
            .ok()
            .and_then(|number: u64| number.checked_mul(millis))
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| format!("`{text}` is no time, e.g. 10s, 500ms, 1h or 10 (seconds)"))
    }
}

/// The digits, and what stands behind them.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Amount("a size, e.g. \"64MiB\" or 1000 (bytes)"))?
            .parse()
            .map_err(Error::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Amount("a time, e.g. \"500ms\" or 10 (seconds)"))?
            .parse()
            .map_err(Error::custom)
    }
}

/// Takes a text or a plain number; holds what it expects.
struct Amount(&'static str);

impl Visitor<'_> for Amount {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1_000),
            ("5MB", 5_000_000),
            ("64MiB", 64 << 20),
            ("64 KiB", 64 << 10),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1",
            "1.5MB",
            "5mb",
            "5 M B",
            "99999999999GiB",
            "５MB",
        ] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("10", 10_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Span(Duration::from_millis(millis))),
                "{text}"
            );
        }
        for bad in ["", "s", "-1s", "1.5s", "10 years", "99999999999999999999s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
