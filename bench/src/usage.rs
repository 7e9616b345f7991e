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

/// What the processors of the machine have done so far, in ticks.
pub struct MachineTime {
    all: u64,
    /// In which a processor had something to do here, and did something for another guest of the host.
    stolen: u64,
}

impl MachineTime {
    /// Until now.
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        // User, nice, system, idle, waiting, interrupts of two kinds, stolen; guests are in user.
        let ticks = line.split_whitespace().skip(1).take(8).map(str::parse);
        let ticks = ticks.collect::<Result<Vec<u64>, _>>()?;
        Ok(Self {
            all: ticks.iter().sum(),
            stolen: ticks.get(7).copied().unwrap_or(0),
        })
    }

    /// How much was stolen since then, in words.
    pub fn stolen_since(&self, before: &Self) -> String {
        let all = (self.all - before.all).max(1) as f64;
        let stolen = (self.stolen - before.stolen) as f64;
        format!(
            "Meanwhile the host of this virtual machine took {:.1} % of the processors' time for others.",
            100.0 * stolen / all
        )
    }
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
    fn what_is_stolen_is_a_part_of_all() {
        let before = MachineTime {
            all: 100,
            stolen: 5,
        };
        let now = MachineTime {
            all: 300,
            stolen: 15,
        };
        assert!(now.stolen_since(&before).contains(" 5.0 %"));
        assert!(MachineTime::now().unwrap().all > 0);
    }

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
