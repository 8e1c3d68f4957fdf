//! What every scenario is told.

use std::path::{Path, PathBuf};

use crate::failure::Outcome;
use crate::place::{Place, Where};

/// How to measure.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where `shoal-node`, `shoal-tracker` and `bare` are.
    pub bin: PathBuf,
    /// A folder on a file system in memory.
    pub tmpfs: PathBuf,
    /// A folder on a disk.
    pub disk: PathBuf,
    /// Where `rqbit` is, if not in the path.
    pub rqbit: Option<PathBuf>,
    /// Where `run.sh` and `stop.sh` are.
    pub scripts: PathBuf,
    /// The label of our containers, and the beginning of their names.
    pub project: String,
    /// A `bare` without libraries, for containers that have none.
    pub container_bare: Option<PathBuf>,
    /// Runs of each contestant.
    pub rounds: usize,
    /// Less of everything: to see that it works.
    pub quick: bool,
    /// Only contestants whose names contain one of these; all, if there is none.
    pub only: Vec<String>,
}

impl Setting {
    /// One of our programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A folder to measure in.
    ///
    /// # Errors
    /// The disk's.
    pub fn place(&self, place: Where) -> Outcome<Place> {
        Place::new(match place {
            Where::Tmpfs => &self.tmpfs,
            Where::Disk => &self.disk,
        })
    }

    /// Whether this contestant takes part.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// Where memory is touched.
    pub fn memory(&self) -> &Path {
        &self.tmpfs
    }
}
