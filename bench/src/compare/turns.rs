//! How long the relay's turns took, from its own metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

use crate::compare::contestant::Contestant;
use crate::server::Server;

/// Turns so far, by the clock and by the processor time that they took of the worker's own.
#[derive(Clone, Debug)]
pub struct Turns {
    by_the_clock: Counts,
    of_its_own: Counts,
}

/// Up to how many seconds, and how many; each bucket holds those before.
#[derive(Clone, Debug, Default)]
struct Counts(Vec<(f64, u64)>);

/// The columns that [`Turns::p999`] fills.
pub const COLUMNS: [&str; 2] = ["turns, p99.9", "their own time, p99.9"];

impl Turns {
    /// Asks a server; only the relay has any.
    pub fn read(server: &Server, contestant: Contestant) -> Result<Option<Self>> {
        match contestant.is_relay() {
            true => Self::ask(server.address).map(Some),
            false => Ok(None),
        }
    }

    fn ask(address: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(Self {
            by_the_clock: Counts::read(&answer, "copresence_turn_seconds_bucket")?,
            of_its_own: Counts::read(&answer, "copresence_turn_processor_seconds_bucket")?,
        })
    }

    /// Between two moments: the buckets in which 999 of 1,000 turns have ended, in words.
    pub fn p999(before: Option<&Self>, after: Option<&Self>) -> [String; 2] {
        let (Some(before), Some(after)) = (before, after) else {
            return Default::default();
        };
        let of = |now: &Counts, before| now.p999_since(before).unwrap_or_default();
        [
            of(&after.by_the_clock, &before.by_the_clock),
            of(&after.of_its_own, &before.of_its_own),
        ]
    }
}

impl Counts {
    fn read(metrics: &str, name: &str) -> Result<Self> {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for line in metrics.lines() {
            let rest = line.strip_prefix(name);
            let Some(rest) = rest.and_then(|rest| rest.strip_prefix("{le=\"")) else {
                continue;
            };
            let (upto, _) = rest.split_once('"').context("a bucket without an end")?;
            let upto = match upto {
                "+Inf" => f64::INFINITY,
                number => number.parse()?,
            };
            let count: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
            match buckets.iter_mut().find(|(known, _)| *known == upto) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((upto, count)),
            }
        }
        Ok(Self(buckets))
    }

    fn p999_since(&self, before: &Self) -> Option<String> {
        let mut counts = self.0.iter().map(|&(upto, count)| {
            let earlier = before.0.iter().find(|(known, _)| *known == upto);
            (upto, count - earlier.map_or(0, |(_, count)| *count))
        });
        let (_, all) = counts.clone().next_back()?;
        let wanted = (all as f64 * 0.999).ceil() as u64;
        let (upto, _) = counts.find(|&(_, count)| wanted <= count)?;
        Some(match upto.is_finite() {
            true => format!("≤ {} ms", crate::compare::table::shown(upto * 1_000.0)),
            false => "beyond the last bucket".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_of_the_thousandth_part_is_named() {
        let before = Counts(vec![(0.001, 100), (0.01, 100), (f64::INFINITY, 100)]);
        let now = Counts(vec![(0.001, 1_098), (0.01, 1_099), (f64::INFINITY, 1_100)]);
        assert_eq!(now.p999_since(&before).unwrap(), "≤ 10.0 ms");
    }
}
