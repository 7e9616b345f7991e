//! What processes use, as the operating system accounts for it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The processor time of all threads of a process, by its id or `self`, in nanoseconds' steps:
/// threads that have ended are missing, but no server here ends any while it is measured.
pub fn cpu(process: &str) -> Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let Ok(accounts) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue; // It ended just now.
        };
        let first = accounts.split(' ').next().unwrap_or_default();
        nanos += first.parse::<u64>().context("schedstat reads otherwise")?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// What a process holds of the machine's memory.
pub fn resident_bytes(process: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no VmRSS")?.trim().parse()?;
    Ok(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_computes_is_charged_for_it() {
        let before = cpu("self").unwrap();
        let mut number = 1_u64;
        while cpu("self").unwrap() <= before {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!((1 << 20) < resident_bytes("self").unwrap());
    }
}
