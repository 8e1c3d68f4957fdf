//! Lamport time: which of two events may have been the cause of the other.
//!
//! L. Lamport, "Time, Clocks, and the Ordering of Events in a Distributed
//! System", 1978: a clock is increased before each message is sent, and a message
//! that arrives puts it ahead of the time that the message carries. Events are
//! ordered totally by their time and, at the same time, by the id of the node:
//! a [`Stamp`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::ident::NodeId;
use crate::limits::{CLOCK_SKEW, MAX_EVENT_RATE};

/// A Lamport clock. Clones are the same clock, and equal.
///
/// Whoever sends tells a time, and a liar may tell any. So a time is not believed
/// if it can't be honest: if it is more than a network could have reached since
/// [`BEGINNING`], with [`MAX_EVENT_RATE`] events a second one after the other. A
/// liar can put all clocks ahead to that bound; but it moves on as fast as anyone
/// can count, so no clock ever stands still before it or overflows.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// A clock at this time.
    pub fn at(time: u64) -> Self {
        Self(Arc::new(AtomicU64::new(time)))
    }

    /// Its time: that of the last event.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The time of an event that happens now, such as the sending of a message.
    pub fn tick(&self) -> u64 {
        self.advance(|own| own.saturating_add(1))
    }

    /// A message that carries `time` arrives: from now on this clock is ahead of
    /// it. A time that is not believed moves it like any event.
    ///
    /// Returns whether the time was believed.
    pub fn witness(&self, time: u64) -> bool {
        let believed = time <= most(SystemTime::now());
        let seen = if believed { time } else { 0 };
        self.advance(|own| own.max(seen).saturating_add(1));
        believed
    }

    /// The next time; at the end of all times that is the last one again.
    fn advance(&self, next: impl Fn(u64) -> u64) -> u64 {
        let advanced = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |own| Some(next(own)))
            .unwrap_or_else(|own| own);
        next(advanced)
    }
}

impl PartialEq for Clock {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Clock {}

/// No network is older than this: the first day of 2026, in Unix time.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

/// The latest time that is believed at this moment.
fn most(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let age = since.saturating_sub(BEGINNING).saturating_add(CLOCK_SKEW);
    age.as_secs().saturating_mul(MAX_EVENT_RATE)
}

/// When and where something happened. Of two stamps the smaller comes first: this
/// order is total, and it puts no effect before its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The Lamport time.
    pub time: u64,
    /// The node at whose clock it was read.
    pub node: NodeId,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.time, self.node.short())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_effect_is_later_than_its_cause() {
        let (ours, theirs) = (Clock::at(7), Clock::at(3));
        let sent = ours.tick();
        assert_eq!(sent, 8);
        assert!(theirs.witness(sent));
        assert_eq!(theirs.now(), 9);
        assert!(ours.witness(theirs.tick()));
        assert_eq!(ours.now(), 11);
        assert!(ours.witness(2), "an old time is honest, and moves the clock by one");
        assert_eq!(ours.now(), 12);
    }

    #[test]
    fn absurd_jumps_are_not_believed_and_honest_ones_are() {
        let clock = Clock::default();
        for absurd in [1 << 63, u64::MAX, most(SystemTime::now()) * 2] {
            let before = clock.now();
            assert!(!clock.witness(absurd), "{absurd}");
            assert_eq!(clock.now(), before + 1);
        }
        // A newcomer meets a network that has been busy for months.
        let busy = most(SystemTime::now()) / 2;
        assert!(clock.witness(busy));
        assert_eq!(clock.now(), busy + 1);
    }

    #[test]
    fn a_clock_at_its_bound_still_counts_and_drags_nobody_beyond() {
        let bound = most(SystemTime::now());
        let clock = Clock::at(bound);
        assert_eq!(clock.tick(), bound + 1);
        assert!(!Clock::default().witness(bound + 10 * MAX_EVENT_RATE));
        let last = Clock::at(u64::MAX - 1);
        assert_eq!((last.tick(), last.tick()), (u64::MAX, u64::MAX));
        last.witness(5);
        assert_eq!(last.now(), u64::MAX);
    }

    #[test]
    fn the_bound_moves_with_time() {
        let day =
            |days: u64| SystemTime::UNIX_EPOCH + BEGINNING + Duration::from_secs(days * 86400);
        assert!(most(day(2)) > most(day(1)));
        let before = SystemTime::UNIX_EPOCH;
        assert_eq!(most(before), CLOCK_SKEW.as_secs() * MAX_EVENT_RATE, "a clock without battery");
        assert!(most(day(1_000_000)) < 1 << 57, "no overflow in a thousand years");
    }

    proptest! {
        #[test]
        fn time_never_runs_backwards(times in proptest::collection::vec(any::<u64>(), 1..50)) {
            let clock = Clock::default();
            let mut last = clock.now();
            for time in times {
                clock.witness(time);
                prop_assert!(clock.now() > last);
                last = clock.now();
            }
        }

        #[test]
        fn stamps_are_ordered_totally(a: u64, b: u64, x: [u8; 32], y: [u8; 32]) {
            let one = Stamp { time: a, node: NodeId::from_bytes(x) };
            let other = Stamp { time: b, node: NodeId::from_bytes(y) };
            prop_assert_eq!(one < other, a < b || a == b && x < y);
            prop_assert_eq!(one == other, a == b && x == y);
        }
    }
}
