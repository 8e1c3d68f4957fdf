//! How much transfers move at the moment, so that what can wait gives way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shoal_common::limits::MIB;

/// Bytes that transfers have moved. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<AtomicU64>);

impl Traffic {
    /// So many bytes more were sent or received. Costs next to nothing; once for
    /// each chunk is often enough.
    pub fn moved(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All bytes so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Rate from which transfers count as busy, in bytes a second. What is slower
/// takes a few hundredths of a core, and waits for its network anyway.
const BUSY: u64 = 16 * MIB;

/// Least time between two looks at the total: some requests of a busy transfer.
const TICK: Duration = Duration::from_millis(20);

/// How long transfers count as busy after they were. Longer than the pauses
/// between two files of one download.
const CALM: Duration = Duration::from_millis(300);

/// Tells from the total of [`Traffic`], looked at now and then, whether
/// transfers are busy. Pure.
#[derive(Debug)]
pub struct Gauge {
    total: u64,
    at: Instant,
    busy_until: Option<Instant>,
}

impl Gauge {
    /// Nothing is known but the total at this moment.
    pub fn new(total: u64, now: Instant) -> Self {
        Self { total, at: now, busy_until: None }
    }

    /// Whether transfers are busy, given the total at this moment.
    pub fn is_busy(&mut self, total: u64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        if passed >= TICK {
            let moved = u128::from(total.wrapping_sub(self.total)) * 1_000_000;
            if moved >= passed.as_micros() * u128::from(BUSY) {
                self.busy_until = Some(now + CALM);
            }
            (self.total, self.at) = (total, now);
        }
        self.busy_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_while_much_moves_and_for_a_moment_after() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut gauge = Gauge::new(5, start);
        assert!(!gauge.is_busy(5, at(100)), "nothing moved");
        assert!(!gauge.is_busy(5 + MIB, at(200)), "10 MiB a second are little");
        assert!(gauge.is_busy(5 + 3 * MIB, at(300)));
        assert!(gauge.is_busy(5 + 3 * MIB, at(599)), "a pause");
        assert!(!gauge.is_busy(5 + 3 * MIB, at(600)));
        assert!(!gauge.is_busy(5 + 30 * MIB, at(601)), "too soon to tell");
        assert!(gauge.is_busy(5 + 30 * MIB, at(640)));
    }
}
