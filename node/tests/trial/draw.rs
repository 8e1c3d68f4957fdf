//! Random numbers that are the same on every machine and in every year.

/// SplitMix64: each seed gives its own sequence.
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// The numbers of run `run` of a series.
    pub fn of(seed: u64, run: u64) -> Self {
        let mut of_seed = Self(seed);
        Self(of_seed.next() ^ run.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `from..to`, which is not empty.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + usize::try_from(self.next() % (to - from) as u64).unwrap()
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, of_hundred: usize) -> bool {
        self.between(0, 100) < of_hundred
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len())]
    }
}
