//! How long past downloads took, kept over restarts.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_common::task::Tasks;
use tracing::warn;

use super::keeper::Keeper;
use crate::transfer::job::JobInfo;
use crate::transfer::stats::{StatRow, Stats};
use crate::volume::Volume;

/// Where it lies, in the node's own state.
const NAME: &str = "stats";

/// The table of past downloads of a volume. Clones are the same table.
#[derive(Debug, Clone)]
pub(super) struct Past {
    volume: Volume,
    stats: Arc<Mutex<Stats>>,
    keeper: Arc<Keeper>,
}

impl Past {
    /// The table as it was kept; an empty one if there is none that can be
    /// understood, which the log is told.
    pub(super) fn read(volume: &Volume) -> Self {
        let stats = match volume.read_state(NAME).and_then(|bytes| Stats::decode(&bytes)) {
            Ok(stats) => stats,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warn!("the statistics in `.shoal/{NAME}` are of no use: {error}");
                }
                Stats::default()
            }
        };
        let stats = Arc::new(Mutex::new(stats));
        Self { volume: volume.clone(), stats, keeper: Arc::default() }
    }

    /// The rows.
    pub(super) fn rows(&self) -> Vec<StatRow> {
        self.stats().rows()
    }

    /// A download is done; see [`Stats::record`].
    pub(super) fn record(&self, job: &JobInfo, begun: u64, request: u64, tasks: &Tasks) {
        if !self.stats().record(job, begun, request) {
            return;
        }
        let past = self.clone();
        self.keeper.changed(tasks, move || {
            let encoded = past.stats().encode();
            let written = encoded.and_then(|stats| past.volume.write_state(NAME, &stats));
            if let Err(error) = written {
                warn!("cannot write down how long downloads took: {error}");
            }
        });
    }

    fn stats(&self) -> MutexGuard<'_, Stats> {
        // Whole after each of the few statements under its lock.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_statistics_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        assert!(Past::read(&volume).rows().is_empty());
        volume.write_state(NAME, b"\xc1garbage").unwrap();
        assert!(Past::read(&volume).rows().is_empty());
    }
}
