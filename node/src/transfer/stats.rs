//! How long past downloads took, by what could make a difference. Pure.
//!
//! Only a download that fetched all of its bytes at one go is counted: one that
//! found a part here already says nothing about how long the whole takes.
//! Mean and deviation are kept as they grow, after B. P. Welford, "Note on a
//! method for calculating corrected sums of squares and products",
//! Technometrics 4 (1962): no list of runs is needed, and nothing cancels out
//! as it does in a sum of squares.

use std::collections::HashMap;
use std::io;

use serde::{Deserialize, Serialize};
use shoal_common::content::FileId;

use super::job::{JobInfo, JobState};

/// Most rows; the one that is longest not added to goes. More than a person
/// reads, in some hundred kilobytes.
const MAX_ROWS: usize = 1000;

/// Raised when an old program would misread new statistics.
const VERSION: u32 = 1;

/// What runs have in common that are compared with each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    name: String,
    id: Option<FileId>,
    size: u64,
    request: u64,
    owners: u64,
}

/// What is known of the runs of one row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Runs {
    runs: u64,
    /// Mean time, in seconds.
    mean: f64,
    /// Sum of the squares of the distances from the mean.
    squares: f64,
    /// When it was added to last; a count, not a time.
    used: u64,
}

impl Runs {
    fn add(&mut self, seconds: f64) {
        self.runs += 1;
        let before = seconds - self.mean;
        self.mean += before / self.runs as f64;
        self.squares += before * (seconds - self.mean);
    }

    /// Of the sample; of a single run there is none.
    fn deviation(&self) -> Option<f64> {
        let others = self.runs.checked_sub(1).filter(|others| *others > 0)?;
        Some((self.squares / others as f64).max(0.0).sqrt())
    }

    fn is_sound(&self) -> bool {
        let sound = |number: f64| number.is_finite() && number >= 0.0;
        self.runs > 0 && sound(self.mean) && sound(self.squares)
    }
}

/// A row of the table of past downloads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatRow {
    /// What was asked for.
    pub name: String,
    /// The content, if it is one file.
    pub id: Option<FileId>,
    /// Size in bytes.
    pub size: u64,
    /// Bytes asked for in one request.
    pub request_size: u64,
    /// How many owners gave something.
    pub owners: u64,
    /// How many times it was downloaded so.
    pub runs: u64,
    /// Mean time, in seconds.
    pub seconds: f64,
    /// Bytes a second, at the mean time.
    pub rate: f64,
    /// Standard deviation of the time, in seconds; none of a single run.
    pub deviation: Option<f64>,
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Stats {
    rows: HashMap<Key, Runs>,
    used: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    rows: Vec<(Key, Runs)>,
}

impl Stats {
    /// Adds a download that has ended, if it can be compared with others: it is
    /// done, all of its bytes were fetched, and asked for in requests of one
    /// size, those from `begun` on. Whether it was added.
    pub(super) fn record(&mut self, job: &JobInfo, begun: u64, request: u64) -> bool {
        let owners = job.owners.iter().filter(|owner| owner.bytes > 0).count();
        let failed = job.files.is_some_and(|files| files.failed > 0);
        let whole = job.state == JobState::Done && job.resumed == 0 && !failed;
        if !whole || owners == 0 || begun != request || !job.seconds.is_finite() {
            return false;
        }
        let (name, owners) = (job.name.clone(), u64::try_from(owners).unwrap_or(u64::MAX));
        let key = Key { name, id: job.id, size: job.size, request, owners };
        self.used += 1;
        let runs = self.rows.entry(key).or_default();
        runs.add(job.seconds.max(0.0));
        runs.used = self.used;
        self.trim();
        true
    }

    fn trim(&mut self) {
        while self.rows.len() > MAX_ROWS {
            let oldest = self.rows.iter().min_by_key(|(_, runs)| runs.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            self.rows.remove(&oldest);
        }
    }

    /// The rows, by name, then size, request size and owners.
    pub(super) fn rows(&self) -> Vec<StatRow> {
        let mut rows: Vec<StatRow> = self.rows.iter().map(|(key, runs)| row(key, runs)).collect();
        rows.sort_by(|a, b| {
            let by = |row: &StatRow| {
                (row.size, row.id.map(|id| id.to_string()), row.request_size, row.owners)
            };
            a.name.cmp(&b.name).then_with(|| by(a).cmp(&by(b)))
        });
        rows
    }

    /// As it is kept.
    ///
    /// # Errors
    /// It can't be encoded.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut rows: Vec<_> = self.rows.iter().map(|(key, runs)| (key.clone(), *runs)).collect();
        rows.sort_by_key(|(_, runs)| runs.used);
        rmp_serde::to_vec_named(&Stored { version: VERSION, rows }).map_err(io::Error::other)
    }

    /// What was kept.
    ///
    /// # Errors
    /// It can't be understood.
    pub(super) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let stored: Stored = rmp_serde::from_slice(bytes).map_err(io::Error::other)?;
        if stored.version != VERSION {
            return Err(io::Error::other(format!("it is of version {}", stored.version)));
        }
        let mut stats = Self::default();
        for (key, runs) in stored.rows.into_iter().filter(|(_, runs)| runs.is_sound()) {
            stats.used += 1;
            stats.rows.insert(key, Runs { used: stats.used, ..runs });
        }
        stats.trim();
        Ok(stats)
    }
}

fn row(key: &Key, runs: &Runs) -> StatRow {
    let rate = key.size as f64 / runs.mean.max(1e-6);
    StatRow {
        name: key.name.clone(),
        id: key.id,
        size: key.size,
        request_size: key.request,
        owners: key.owners,
        runs: runs.runs,
        seconds: runs.mean,
        rate,
        deviation: runs.deviation(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::job::{FileCounts, OwnerInfo, Wanted};

    const MIB: u64 = 1 << 20;

    fn job(name: &str, seconds: f64, owners: usize) -> JobInfo {
        let wanted = Wanted::file(name.parse().unwrap(), FileId::of(name.as_bytes()), 1000);
        let owner = |number: usize| OwnerInfo {
            name: format!("node{number}").parse().unwrap(),
            bytes: 10,
            active: false,
            trouble: None,
        };
        let owners = (0..owners).map(owner).collect();
        JobInfo { state: JobState::Done, done: 1000, seconds, owners, ..JobInfo::new(1, &wanted) }
    }

    fn with(runs: &[(&str, f64, usize, u64)]) -> Stats {
        let mut stats = Stats::default();
        for (name, seconds, owners, request) in runs {
            assert!(stats.record(&job(name, *seconds, *owners), *request, *request));
        }
        stats
    }

    #[test]
    fn runs_of_one_kind_are_one_row() {
        let stats = with(&[
            ("b", 2.0, 3, MIB),
            ("a", 4.0, 3, MIB),
            ("b", 4.0, 3, MIB),
            ("b", 1.0, 1, MIB),
            ("b", 6.0, 3, MIB),
            ("b", 1.0, 3, 2 * MIB),
        ]);
        let rows = stats.rows();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.request_size / MIB, row.owners, row.runs))
            .collect();
        assert_eq!(seen, [("a", 1, 3, 1), ("b", 1, 1, 1), ("b", 1, 3, 3), ("b", 2, 3, 1)]);
        assert_eq!((rows[2].seconds, rows[2].rate), (4.0, 250.0));
        assert_eq!((rows[2].deviation, rows[0].deviation), (Some(2.0), None));
    }

    #[test]
    fn what_can_not_be_compared_is_not_counted() {
        let good = job("a", 1.0, 2);
        let nothing = job("a", 1.0, 0);
        let resumed = JobInfo { resumed: 1, ..good.clone() };
        let cancelled = JobInfo { state: JobState::Cancelled, ..good.clone() };
        let files = Some(FileCounts { total: 3, done: 2, failed: 1 });
        let in_part = JobInfo { files, ..good.clone() };
        let odd = JobInfo { seconds: f64::NAN, ..good.clone() };
        let mut stats = Stats::default();
        for job in [nothing, resumed, cancelled, in_part, odd] {
            assert!(!stats.record(&job, MIB, MIB), "{job:#?}");
        }
        assert!(!stats.record(&good, MIB, 2 * MIB), "the request size changed meanwhile");
        assert!(stats.rows().is_empty());
        assert!(stats.record(&good, MIB, MIB));
    }

    #[test]
    fn the_table_is_bounded_and_what_is_used_stays() {
        let mut stats = Stats::default();
        for number in 0..MAX_ROWS + 50 {
            stats.record(&job(&format!("file{number}"), 1.0, 1), MIB, MIB);
            stats.record(&job("often", 1.0, 1), MIB, MIB);
        }
        let rows = stats.rows();
        assert_eq!(rows.len(), MAX_ROWS);
        assert!(rows.iter().any(|row| row.name == "often"));
        assert!(!rows.iter().any(|row| row.name == "file3"));
        let again = Stats::decode(&stats.encode().unwrap()).unwrap();
        assert_eq!(again.rows(), rows);
        assert_eq!(Stats::decode(&again.encode().unwrap()).unwrap(), again);
    }

    #[test]
    fn what_is_damaged_is_refused() {
        for bytes in [&b""[..], b"\xc1", b"\x81\xa7version\x01", b"\xdf\xff\xff\xff\xff"] {
            assert!(Stats::decode(bytes).is_err());
        }
        let key = Key { name: "a".into(), id: None, size: 1, request: 1, owners: 1 };
        let encoded = |version, runs| {
            rmp_serde::to_vec_named(&Stored { version, rows: vec![(key.clone(), runs)] }).unwrap()
        };
        let sound = Runs { runs: 2, mean: 1.0, squares: 1.0, used: 7 };
        assert_eq!(Stats::decode(&encoded(VERSION, sound)).unwrap().rows().len(), 1);
        assert!(Stats::decode(&encoded(VERSION + 1, sound)).is_err());
        for odd in [
            Runs { mean: f64::NAN, ..sound },
            Runs { squares: -1.0, ..sound },
            Runs { runs: 0, ..sound },
        ] {
            assert!(Stats::decode(&encoded(VERSION, odd)).unwrap().rows().is_empty());
        }
    }

    proptest! {
        /// The same as in two passes over all runs, also far from zero.
        #[test]
        fn mean_and_deviation(times in prop::collection::vec(0.0_f64..10.0, 2..60), far in 0.0_f64..1e6) {
            let times: Vec<f64> = times.into_iter().map(|time| time + far).collect();
            let mut runs = Runs::default();
            times.iter().for_each(|time| runs.add(*time));
            let count = times.len() as f64;
            let mean = times.iter().sum::<f64>() / count;
            let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
            prop_assert!((runs.mean - mean).abs() < 1e-6);
            let deviation = (squares / (count - 1.0)).sqrt();
            prop_assert!((runs.deviation().unwrap() - deviation).abs() < 1e-6);
        }
    }
}
