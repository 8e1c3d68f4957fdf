//! How far hashing is, and when that is said.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::found::Indexing;
use crate::volume::Listed;

/// What the threads count.
#[derive(Debug, Default)]
pub(in super::super) struct Progress {
    files: AtomicU64,
    bytes: AtomicU64,
    files_total: AtomicU64,
    bytes_total: AtomicU64,
}

impl Progress {
    /// So many bytes more were read.
    pub(super) fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many files more are done with.
    pub(in super::super) fn done(&self, files: usize) {
        self.files.fetch_add(files as u64, Ordering::Relaxed);
    }

    /// These files are left.
    pub(in super::super) fn expect(&self, files: &[Listed]) {
        let bytes = files.iter().fold(0_u64, |bytes, file| bytes.saturating_add(file.stamp.size));
        let files = files.len() as u64 + self.files.load(Ordering::Relaxed);
        let bytes = bytes.saturating_add(self.bytes.load(Ordering::Relaxed));
        self.files_total.store(files, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    fn now(&self, rate: u64) -> Indexing {
        Indexing {
            files: self.files.load(Ordering::Relaxed),
            files_total: self.files_total.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            rate,
        }
    }
}

/// From when on it shows to those who look.
const SHOWN: Duration = Duration::from_secs(1);

/// From when on it is said, and how often.
const TOLD: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// Least time over which a rate is measured.
const SAMPLE: Duration = Duration::from_millis(500);

/// Decides what is shown of one uninterrupted run of hashing, and when
/// something is said of it. Pure.
#[derive(Debug)]
pub(in super::super) struct Teller {
    start: Instant,
    told: Option<Instant>,
    /// Since when, and from how many bytes on, the rate is measured.
    sample: (Instant, u64),
    rate: Option<u64>,
}

impl Teller {
    pub(in super::super) fn new(now: Instant) -> Self {
        Self { start: now, told: None, sample: (now, 0), rate: None }
    }

    /// What is to be shown, and what is to be said.
    pub(in super::super) fn look(
        &mut self,
        progress: &Progress,
        now: Instant,
    ) -> (Option<Indexing>, Option<String>) {
        let seen = progress.now(self.rate(progress.bytes.load(Ordering::Relaxed), now));
        let shown = now.saturating_duration_since(self.start) >= SHOWN;
        let due = self.told.map_or(self.start + TOLD.0, |told| told + TOLD.1);
        let line = (now >= due).then(|| {
            self.told = Some(now);
            said(&seen)
        });
        (shown.then_some(seen), line)
    }

    /// What is said at the end, if something was said before.
    pub(in super::super) fn end(&self, progress: &Progress, now: Instant) -> Option<String> {
        self.told?;
        let Indexing { files, bytes, .. } = progress.now(0);
        let seconds = now.saturating_duration_since(self.start).as_secs();
        Some(format!("hashed {files} files, {}, in {seconds} s", size(bytes, bytes)))
    }

    /// Bytes a second over the last moments.
    fn rate(&mut self, bytes: u64, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.sample.0);
        if passed >= SAMPLE {
            let read = u128::from(bytes.saturating_sub(self.sample.1)) * 1_000_000;
            let rate = u64::try_from(read / passed.as_micros().max(1)).unwrap_or(u64::MAX);
            // Half of it is news.
            self.rate = Some(self.rate.map_or(rate, |before| before.midpoint(rate)));
            self.sample = (now, bytes);
        }
        self.rate.unwrap_or(0)
    }
}

fn said(seen: &Indexing) -> String {
    let Indexing { files, files_total, bytes, bytes_total, .. } = seen;
    let (bytes, total) = (size(*bytes, *bytes_total), size(*bytes_total, *bytes_total));
    format!("hashing: {files} of {files_total} files, {bytes} of {total}")
}

/// Some of `total` bytes, in the unit of the total, so that both can be compared;
/// on a slow disk even megabytes take seconds.
fn size(bytes: u64, total: u64) -> String {
    match total {
        0..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Stamp;

    fn listed(size: u64) -> Listed {
        let stamp = Stamp { size, mtime_ns: 0, inode: 0 };
        Listed { name: "a".parse().unwrap(), stamp, executable: false }
    }

    #[test]
    fn what_is_soon_over_is_not_told() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let progress = Progress::default();
        progress.expect(&[listed(3_000_000_000), listed(5_000_000_000)]);
        let mut teller = Teller::new(start);
        assert_eq!(teller.look(&progress, at(900)), (None, None));
        assert_eq!(teller.end(&progress, at(950)), None);
        progress.read(2_000_000_000);
        let (shown, line) = teller.look(&progress, at(1900));
        let shown = shown.unwrap();
        assert_eq!((shown.files, shown.files_total), (0, 2));
        assert_eq!((shown.bytes, shown.bytes_total), (2_000_000_000, 8_000_000_000));
        assert_eq!((shown.rate, line), (1_000_000_000, None));
    }

    #[test]
    fn what_takes_long_is_told_now_and_then_and_at_its_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let progress = Progress::default();
        progress.expect(&[listed(3_000_000_000), listed(5_000_000_000)]);
        let mut teller = Teller::new(start);
        progress.read(3_100_000_000);
        progress.done(1);
        // Others came meanwhile.
        progress.expect(&[listed(4_900_000_000), listed(1_000_000_000)]);
        let lines: Vec<_> = (1..=26).filter_map(|s| teller.look(&progress, at(s)).1).collect();
        assert_eq!(lines, vec!["hashing: 1 of 3 files, 3.1 GB of 9.0 GB"; 3]);
        progress.done(2);
        progress.read(5_900_000_000);
        let end = teller.end(&progress, at(27)).unwrap();
        assert_eq!(end, "hashed 3 files, 9.0 GB, in 27 s");
    }

    #[test]
    fn the_unit_is_that_of_the_total() {
        assert_eq!(size(4_000_000, 100_000_000), "4.0 MB");
        assert_eq!(size(4_000_000, 1_000_000_000), "0.0 GB");
    }
}
