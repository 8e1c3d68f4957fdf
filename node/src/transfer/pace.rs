//! Tells a slow stream from one that stands still, and treats them alike:
//! either would hold its place for days.

use std::time::{Duration, Instant};

use shoal_common::limits::{MIN_RATE, STALL_DEADLINE};

/// Bytes that must move within each [`STALL_DEADLINE`].
const QUANTUM: u64 = MIN_RATE * STALL_DEADLINE.as_secs();

/// Watches one stream, in one direction.
///
/// Every `QUANTUM` of bytes moves the deadline on; so a stream that moves
/// at [`MIN_RATE`] or more never meets it, one that stops meets it after
/// [`STALL_DEADLINE`], and one that drips cannot push it on byte by byte.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    moved: u64,
}

impl Pace {
    /// A stream that begins to move now.
    pub fn new(now: Instant) -> Self {
        Self { since: now, moved: 0 }
    }

    /// So many bytes moved.
    pub fn moved(&mut self, bytes: usize, now: Instant) {
        self.moved = self.moved.saturating_add(bytes as u64);
        if self.moved >= QUANTUM {
            self.moved = 0;
            self.since = now;
        }
    }

    /// For so long this side kept the stream waiting, at its own limit: that is
    /// not the fault of the other.
    pub fn held(&mut self, time: Duration) {
        self.since += time;
    }

    /// How long it may still take until the stream counts as too slow.
    pub fn patience(&self, now: Instant) -> Duration {
        STALL_DEADLINE.saturating_sub(now.saturating_duration_since(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a stream is given up that moves `bytes` a second.
    fn seconds(bytes: usize) -> Option<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        (1..1000).find(|&second| {
            let now = start + Duration::from_secs(second);
            let over = pace.patience(now).is_zero();
            pace.moved(bytes, now);
            over
        })
    }

    #[test]
    fn slow_is_a_stall_and_steady_is_not() {
        let limit = STALL_DEADLINE.as_secs();
        assert_eq!(seconds(0), Some(limit));
        assert_eq!(seconds(1), Some(limit));
        assert_eq!(seconds(usize::try_from(MIN_RATE).unwrap() / 2), Some(limit));
        assert_eq!(seconds(usize::try_from(MIN_RATE).unwrap() * 2), None);
        assert_eq!(seconds(1 << 30), None);
    }

    #[test]
    fn time_at_our_own_limit_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.held(STALL_DEADLINE * 7);
        assert_eq!(pace.patience(start + STALL_DEADLINE * 7), STALL_DEADLINE);
        assert_eq!(pace.patience(start + STALL_DEADLINE * 8), Duration::ZERO);
    }
}
