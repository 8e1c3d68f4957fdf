//! How much is asked of one owner ahead of its answers, and how soon it is
//! expected to answer: decisions, without I/O and without a clock.
//!
//! An owner that waits for the next question is an owner that does nothing.
//! What is on the way must cover one round trip at the owner's rate: 200 KB
//! over loopback, 25 MB over 50 ms at 500 MB/s, and a few hundred bytes over a
//! slow line. So depth follows what was measured. It starts small and grows by
//! a factor with each round trip as long as that makes the owner faster, as the
//! window of TCP does; and it is never so small that the owner waits between
//! two chunks.

use std::time::{Duration, Instant};

use shoal_common::limits::{KIB, MAX_AHEAD, MIB, MIN_CHUNK};

/// What is asked ahead, as a multiple of what is on the way at the measured
/// rate: that rate may be that of too small a depth, and this is the factor by
/// which depth then grows in a round trip. Over 50 ms, 25 MB are reached after
/// three of them; a multiple of what is needed costs nothing but the take-over
/// of it, should the owner fail.
const GAIN: u64 = 4;

/// Added to the round trip: how late a task may be woken on a busy machine.
const SLACK: Duration = Duration::from_millis(5);

/// How long one request should keep its owner busy: a question costs nothing
/// beside that, and others are not kept waiting long.
const REQUEST_TIME: Duration = Duration::from_millis(50);

/// Requests that an owner has at least: one that it answers, and the next.
pub(super) const AT_LEAST: u64 = 2;

/// The shortest time, and the fewest bytes, over which a rate is measured:
/// what was in the buffers of the kernel comes at the rate of memory, and the
/// five last bytes of a file take as long as a thousand.
const SAMPLE: (Duration, u64) = (Duration::from_millis(10), 64 * KIB);

/// How long another rate has to last to count for half of an estimate.
const MEMORY: Duration = Duration::from_millis(100);

/// Rate that is assumed of an owner as long as nothing was measured, in bytes a
/// second, and its round trip: a chunk of 256 KiB in a third of a second.
const UNPROVEN: (u64, Duration) = (MIB, Duration::from_millis(50));

/// Rate that is assumed to be possible of an owner of which none was measured, in
/// bytes a second: that of a network of half a gigabit. Over 50 ms it is asked for
/// 3.7 MB at once, and for a tenth of that where the round trip is short; with less
/// it would take one round trip more until the depth is right, with more a slow
/// owner would be busy for longer than it takes to find out.
const POSSIBLE: u64 = 64 * MIB;

/// What was measured of one owner.
#[derive(Debug, Default)]
pub struct Depth {
    /// Least time from a request on an idle connection to its answer.
    delay: Option<Duration>,
    /// Bytes a second: the highest of late from a question to its answer.
    rate: Option<u64>,
    /// Bytes a second that it kept up for some time. What a shaper lets pass at
    /// once after a rest makes no owner fast.
    steady: u64,
    /// Up to when it was accounted, while something is asked of the owner.
    mark: Option<Instant>,
    /// The running measurement: time with something to do, bytes that came.
    sample: (Duration, u64),
    /// Bytes that came in all.
    came: u64,
}

/// When something was asked for, and what had come until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    at: Instant,
    came: u64,
}

impl Depth {
    /// Something is asked for now.
    pub fn asked(&self, now: Instant) -> Mark {
        Mark { at: now, came: self.came }
    }

    /// It was idle, and is asked for something now.
    pub fn started(&mut self, now: Instant) {
        self.mark = Some(now);
    }

    /// It has nothing to do.
    pub fn rested(&mut self) {
        self.mark = None;
    }

    /// The first byte of an answer came so long after its request, which was
    /// made while the owner had nothing else to do.
    pub fn answered(&mut self, after: Duration) {
        self.delay = Some(self.delay.map_or(after, |least| least.min(after)));
    }

    /// So many bytes came that were asked for at `asked`.
    pub fn moved(&mut self, bytes: u64, asked: Mark, now: Instant) {
        let Some(mark) = self.mark.replace(now) else { return };
        let elapsed = now.saturating_duration_since(mark);
        // For want of better: it includes the bytes.
        self.delay.get_or_insert(elapsed);
        self.came += bytes;
        let since = self.came.saturating_sub(asked.came);
        if since >= SAMPLE.1 {
            let trip = now.saturating_duration_since(asked.at).max(SAMPLE.0);
            let newest = per_second(since, trip);
            // A higher one counts at once: depth must not hold an owner back.
            let known = self.rate.map_or(newest, |rate| mean(rate, newest, elapsed));
            self.rate = Some(newest.max(known));
        }
        self.sample.0 += elapsed;
        self.sample.1 += bytes;
        if self.sample.0 >= SAMPLE.0 {
            let (time, bytes) = std::mem::take(&mut self.sample);
            self.steady = mean(self.steady, per_second(bytes, time), time);
        }
    }

    /// What came since was not bytes of chunks: it says nothing of the rate.
    pub fn skipped(&mut self, now: Instant) {
        self.mark = self.mark.map(|_| now);
    }

    /// Its rate, in bytes a second, once it was measured. Never 0.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Bytes for one request, of no more than `largest`.
    pub fn request(&self, largest: u64) -> u64 {
        during(self.steady, REQUEST_TIME).clamp(MIN_CHUNK, largest.max(MIN_CHUNK))
    }

    /// Its rate, in bytes a second, or the one that is possible.
    pub fn possible(&self) -> u64 {
        self.rate.unwrap_or(POSSIBLE)
    }

    /// Bytes that should be on the way, apart from the least of [`AT_LEAST`]
    /// requests. At most [`MAX_AHEAD`].
    pub fn ahead(&self) -> u64 {
        let covered = self.delay.unwrap_or_default().saturating_add(SLACK);
        let gain = self.rate.map_or(1, |_| GAIN);
        during(self.possible(), covered).saturating_mul(gain).min(MAX_AHEAD)
    }

    /// How long it takes from a request to its answer, while it is idle.
    pub fn delay(&self) -> Duration {
        match (self.delay, self.rate) {
            (Some(delay), _) => delay,
            (None, Some(_)) => Duration::ZERO,
            (None, None) => UNPROVEN.1,
        }
    }

    /// How long so many bytes take, once they flow.
    pub fn time(&self, bytes: u64) -> Duration {
        let micros = bytes.saturating_mul(1_000_000) / self.rate.unwrap_or(UNPROVEN.0).max(1);
        Duration::from_micros(micros)
    }
}

/// An estimate after another rate was measured over some time.
fn mean(rate: u64, newest: u64, time: Duration) -> u64 {
    let (now, before) = (micros(time), micros(MEMORY));
    let sum = rate.saturating_mul(before).saturating_add(newest.saturating_mul(now));
    sum / (now + before)
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    (bytes.saturating_mul(1_000_000) / micros(time)).max(1)
}

fn during(rate: u64, time: Duration) -> u64 {
    rate.saturating_mul(micros(time)) / 1_000_000
}

/// At least 1.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests;
