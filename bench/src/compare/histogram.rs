//! How long deliveries took: counts in steps of three percent.

use std::time::Duration;

/// Steps in each doubling.
const STEPS: u32 = 32;

/// Microseconds, counted.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn add(&mut self, micros: u32) {
        let step = step(micros);
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
        self.total += 1;
    }

    /// What this share took no longer than; `None` if there is nothing.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut sum = 0;
        let step = self.counts.iter().position(|count| {
            sum += count;
            wanted <= sum
        })?;
        Some(Duration::from_micros(top(step as u32)))
    }

    pub fn clear(&mut self) {
        self.counts.clear();
        self.total = 0;
    }
}

fn step(micros: u32) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doublings = micros.ilog2() - STEPS.ilog2();
    ((doublings + 1) * STEPS + (micros >> doublings) - STEPS) as usize
}

/// The largest number in a step.
fn top(step: u32) -> u64 {
    if step < STEPS {
        return u64::from(step);
    }
    let doublings = step / STEPS - 1;
    ((u64::from(STEPS + step % STEPS) + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_percent() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.add(micros);
        }
        for share in [0.001, 0.5, 0.99, 1.0] {
            let exact = 10_000.0 * share;
            let found = histogram.quantile(share).unwrap().as_micros() as f64;
            assert!(exact <= found && found <= exact * 1.04, "{share}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
