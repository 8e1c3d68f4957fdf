//! How fast bytes may move: a limit that the person sets, shared by all who
//! move bytes one way.
//!
//! [`Bucket`] decides, without a clock. [`Throttle`] is the handle for those
//! who move bytes: one after the other they wait at the bucket, in the order in
//! which they came, so that each gets its turn however much the others want.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shoal_common::limits::LEAST_LIMIT;
use tokio::sync::Notify;
use tokio::time::timeout;

/// What a bucket holds at most, as time at its rate: what was not used for that
/// long may be made up for. It covers the delays of a timer and of a busy
/// machine, and is a twentieth of the second over which a limit is measured.
const BURST: Duration = Duration::from_millis(50);

/// What is moved at once, as time at the rate of the limit: half of what a
/// bucket holds, so that one that is looked at late has not run over meanwhile.
const PIECE: Duration = Duration::from_millis(25);

/// Fewest bytes that are moved at once, however low the limit: with fewer, a
/// system call costs more than the bytes.
const LEAST_PIECE: u64 = 4096;

/// Bytes that may be moved, as they accrue.
///
/// Who takes more than there can be leaves a debt, which those after it wait
/// for.
#[derive(Debug)]
pub struct Bucket {
    /// Bytes a second.
    rate: f64,
    /// Bytes that may be moved now; below zero after a piece that was larger
    /// than what the bucket holds.
    level: f64,
    /// When that was so.
    at: Instant,
}

impl Bucket {
    /// An empty bucket that fills with `rate` bytes a second from now on.
    pub fn new(rate: u64, now: Instant) -> Self {
        Self { rate: rate.max(1) as f64, level: 0.0, at: now }
    }

    /// Takes so many bytes if they may be moved now.
    ///
    /// # Errors
    /// How long to wait until they may, if nobody else takes any.
    pub fn take(&mut self, bytes: u64, now: Instant) -> Result<(), Duration> {
        self.accrue(now);
        let needed = (bytes as f64).min(self.holds());
        if self.level < needed {
            let wait = (needed - self.level) / self.rate;
            let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
            // Not less than what an error of rounding makes up.
            return Err(wait.max(Duration::from_micros(1)));
        }
        self.level -= bytes as f64;
        Ok(())
    }

    /// Fills with another `rate` from now on. What accrued is kept as far as it
    /// fits; a debt was made under the former limit and is forgotten.
    pub fn set(&mut self, rate: u64, now: Instant) {
        self.accrue(now);
        self.rate = rate.max(1) as f64;
        self.level = self.level.clamp(0.0, self.holds());
    }

    fn accrue(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.rate).min(self.holds());
        self.at = self.at.max(now);
    }

    fn holds(&self) -> f64 {
        (self.rate * BURST.as_secs_f64()).max(LEAST_PIECE as f64)
    }
}

/// How many of `at_most` bytes are moved at once under a limit of `rate`.
pub fn piece(rate: u64, at_most: u64) -> u64 {
    let share = u128::from(rate) * PIECE.as_millis() / 1000;
    at_most.min(u64::try_from(share).unwrap_or(u64::MAX).max(LEAST_PIECE))
}

/// A limit on how fast bytes move. Clones are the same limit, shared by all who
/// hold one. Without a limit it costs next to nothing.
#[derive(Debug, Clone)]
pub struct Throttle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Bytes a second; [`UNLIMITED`] without a limit.
    rate: AtomicU64,
    /// Counts the limits there were.
    limits: AtomicU64,
    bucket: Mutex<Bucket>,
    /// Who is at the bucket; the others wait for it in order.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
}

/// No limit.
const UNLIMITED: u64 = u64::MAX;

impl Default for Throttle {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl Throttle {
    /// No limit, for now.
    pub fn unlimited() -> Self {
        let inner = Inner {
            rate: AtomicU64::new(UNLIMITED),
            limits: AtomicU64::new(0),
            bucket: Mutex::new(Bucket::new(LEAST_LIMIT, now())),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sets the limit, in bytes a second, or takes it away. At least
    /// [`LEAST_LIMIT`]. It holds at once, also for those who wait.
    pub fn set(&self, rate: Option<u64>) {
        let rate = rate.map_or(UNLIMITED, |rate| rate.clamp(LEAST_LIMIT, UNLIMITED - 1));
        let mut bucket = self.bucket();
        if self.inner.rate.swap(rate, Ordering::AcqRel) == rate {
            return;
        }
        self.inner.limits.fetch_add(1, Ordering::AcqRel);
        if rate != UNLIMITED {
            bucket.set(rate, now());
        }
        drop(bucket);
        self.inner.changed.notify_waiters();
    }

    /// The limit, in bytes a second, if there is one.
    pub fn rate(&self) -> Option<u64> {
        Some(self.inner.rate.load(Ordering::Acquire)).filter(|&rate| rate != UNLIMITED)
    }

    /// How many of `at_most` bytes to move before the next
    /// [`take`](Self::take), so that they move evenly: as many as pass in some
    /// 25 ms, at least 4 KiB (if there are as many); all of them without a limit.
    pub fn piece(&self, at_most: usize) -> usize {
        let Some(rate) = self.rate() else { return at_most };
        usize::try_from(piece(rate, at_most as u64)).unwrap_or(at_most)
    }

    /// Waits until so many bytes may be moved. More than
    /// [a piece](Self::piece) are waited for piece by piece, with others in
    /// between. What is still waited for when the limit changes is let go: it was
    /// measured for the former limit.
    ///
    /// Safe to cancel: then the bytes that are still waited for do not count.
    pub async fn take(&self, bytes: usize) {
        if self.rate().is_none() {
            return;
        }
        let limits = self.limits();
        let mut left = bytes;
        while left > 0 && self.limits() == limits {
            let piece = self.piece(left);
            self.take_piece(piece as u64, limits).await;
            left = left.saturating_sub(piece);
        }
    }

    /// Waits until at least one of `at_most` bytes may be moved; returns how
    /// many, all that make up [a piece](Self::piece) at that moment. They are
    /// taken then.
    pub async fn grant(&self, at_most: usize) -> usize {
        loop {
            if self.rate().is_none() {
                return at_most;
            }
            let limits = self.limits();
            let piece = self.piece(at_most);
            if self.take_piece(piece as u64, limits).await {
                return piece;
            }
        }
    }

    /// Takes a piece in its turn; false if the limit changed meanwhile.
    async fn take_piece(&self, bytes: u64, limits: u64) -> bool {
        let _turn = self.inner.turn.lock().await;
        loop {
            // Before the look at the limit, so that no change is missed.
            let changed = self.inner.changed.notified();
            let wait = {
                // Under its lock the limit does not change.
                let mut bucket = self.bucket();
                if self.limits() != limits {
                    return false;
                }
                match bucket.take(bytes, now()) {
                    Ok(()) => return true,
                    Err(wait) => wait,
                }
            };
            timeout(wait, changed).await.ok();
        }
    }

    fn limits(&self) -> u64 {
        self.inner.limits.load(Ordering::Acquire)
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        // Whole after each of the few statements under its lock.
        self.inner.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time as tasks see it, which tests may pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
