//! The Lamport clock over a restart: a node never has a time twice.

use std::time::Duration;

use shoal_common::clock::Clock;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::volume::Volume;

/// File in the state folder: a time in decimal digits that the clock has not
/// reached.
const FILE: &str = "clock";

/// How far ahead of the clock the written time is. Each time that it is passed
/// costs a write.
const AHEAD: u64 = 1 << 24;

/// How often it is looked whether the clock comes near the written time. Even
/// counting without pause a clock takes longer than this for half of [`AHEAD`];
/// only one that was put ahead by another, and dies before it looks, may have a
/// time again.
const LOOK: Duration = Duration::from_millis(500);

/// Keeps what is on disk ahead of a clock.
#[derive(Debug)]
pub(super) struct Timekeeper {
    volume: Volume,
    clock: Clock,
    /// The written time.
    written: u64,
}

impl Timekeeper {
    /// Puts the clock ahead of all times that the node had in earlier lives. What
    /// is missing or can't be a time is passed over: others will tell what time it
    /// is.
    pub(super) fn resume(volume: &Volume, clock: Clock) -> Self {
        let text = volume.read_state(FILE).unwrap_or_default();
        let written: Option<u64> =
            std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        if written.is_some_and(|written| !clock.witness(written)) {
            warn!("the time in `.shoal/{FILE}` can't be honest; it is passed over");
        }
        let mut keeper = Self { volume: volume.clone(), clock, written: 0 };
        keeper.write();
        keeper
    }

    /// Keeps it ahead until the node ends.
    pub(super) async fn keep(mut self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.clock.now() > self.written.saturating_sub(AHEAD / 2) {
                let written = tokio::task::spawn_blocking(move || {
                    self.write();
                    self
                });
                match written.await {
                    Ok(keeper) => self = keeper,
                    // The runtime ends.
                    Err(_) => return,
                }
            }
        }
    }

    fn write(&mut self) {
        let ahead = self.clock.now().saturating_add(AHEAD);
        match self.volume.write_state(FILE, ahead.to_string().as_bytes()) {
            Ok(()) => self.written = ahead,
            // A full disk, say: looked at again with the next tick.
            Err(error) => warn!("cannot write down the Lamport time: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_comes_twice() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let first = Clock::default();
        let mut keeper = Timekeeper::resume(&volume, first.clone());
        first.witness(500 * AHEAD);
        keeper.write();
        let last = first.tick();
        let second = Clock::default();
        Timekeeper::resume(&volume, second.clone());
        assert!(second.now() > last, "{} after {last}", second.now());
    }

    #[test]
    fn a_damaged_time_is_passed_over() {
        for damaged in ["", "soon", "-5", "18446744073709551615", "99999999999999999999999"] {
            let dir = tempfile::tempdir().unwrap();
            let volume = Volume::open(dir.path()).unwrap();
            volume.write_state(FILE, damaged.as_bytes()).unwrap();
            let clock = Clock::default();
            Timekeeper::resume(&volume, clock.clone());
            assert!(clock.now() < 10, "{damaged:?}");
            let kept = volume.read_state(FILE).unwrap();
            assert!(String::from_utf8(kept).unwrap().parse::<u64>().unwrap() >= AHEAD);
        }
    }
}
