//! Pauses that differ from those of others, and are the same for the same seed.

use std::time::Duration;

/// A generator after SplitMix64: small, and good enough for pauses.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Anything from nothing to `most`.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next() % most.max(1))
    }

    /// Anything from half of `most` to it.
    pub(super) fn at_most(&mut self, most: Duration) -> Duration {
        most / 2 + self.up_to(most / 2)
    }

    /// Anything from half of `usual` to one and a half of it.
    pub(super) fn about(&mut self, usual: Duration) -> Duration {
        usual / 2 + self.up_to(usual)
    }
}
