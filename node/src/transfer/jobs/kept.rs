//! The list of downloads that are not over, as it survives a restart.
//!
//! It says what is wanted and how. How much is here it says only to be shown:
//! what is here is found out by hashing. A damaged list costs the list; the data that came is found
//! again by whoever asks for the same content.

use std::io;

use serde::{Deserialize, Serialize};
use shoal_common::limits::MAX_JOBS;
use tracing::warn;

use crate::transfer::job::{JobId, Priority, Wanted};
use crate::volume::Volume;

/// Where it lies, in the node's own state.
const NAME: &str = "jobs";

/// Raised when an old program would misread a new list.
const VERSION: u32 = 1;

/// One download that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Its number.
    pub(super) job: JobId,
    /// What is wanted.
    pub(super) wanted: Wanted,
    /// Whether the person paused it.
    pub(super) paused: bool,
    /// Which come first.
    pub(super) priority: Priority,
    /// Most bytes a second.
    pub(super) limit: Option<u64>,
    /// Verified bytes when this was written: shown until the disk is looked at.
    #[serde(default)]
    pub(super) done: u64,
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List {
    version: u32,
    /// The last number that was given.
    pub(super) last: JobId,
    /// By number.
    pub(super) jobs: Vec<Kept>,
}

impl List {
    /// These downloads.
    pub(super) fn new(last: JobId, jobs: Vec<Kept>) -> Self {
        Self { version: VERSION, last, jobs }
    }

    /// The list of this volume; an empty one if there is none, or none that can
    /// be understood, which the log is told.
    pub(super) fn read(volume: &Volume) -> Self {
        match volume.read_state(NAME).and_then(|bytes| Self::decode(&bytes)) {
            Ok(list) => list,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warn!("the list of downloads in `.shoal/{NAME}` is of no use: {error}");
                }
                Self::new(0, Vec::new())
            }
        }
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut list: Self = rmp_serde::from_slice(bytes).map_err(io::Error::other)?;
        if list.version != VERSION {
            return Err(io::Error::other(format!("it is of version {}", list.version)));
        }
        list.jobs.truncate(MAX_JOBS);
        Ok(list)
    }

    /// Writes the list, in place of the earlier one. Blocks.
    ///
    /// # Errors
    /// The disk fails; the earlier list stays.
    pub(super) fn write(&self, volume: &Volume) -> io::Result<()> {
        let encoded = rmp_serde::to_vec_named(self).map_err(io::Error::other)?;
        volume.write_state(NAME, &encoded)
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::content::FileId;
    use shoal_common::ident::NodeId;

    use super::*;
    use crate::transfer::job::{Order, Sources, What};

    #[test]
    fn a_list_is_read_as_it_was_written_and_a_damaged_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        assert_eq!(List::read(&volume), List::new(0, vec![]));
        let file = Wanted::file("a/b.txt".parse().unwrap(), FileId::of(b"content"), 7);
        let tree = Wanted {
            what: What::Tree("photos/".into()),
            from: Sources::Only(NodeId::from_bytes([7; 32])),
            order: Order::Sequential,
        };
        let (paused, limit) = (true, Some(5_000_000));
        let one = Kept { job: 3, wanted: file, paused, priority: Priority::High, limit, done: 7 };
        let priority = Priority::Normal;
        let two = Kept { job: 9, wanted: tree, limit: None, paused: false, priority, done: 0 };
        let list = List::new(12, vec![one, two]);
        list.write(&volume).unwrap();
        assert_eq!(List::read(&volume), list);
        for damaged in [&b""[..], b"\xc1", b"\x81\xa7version\x01", b"\xdf\xff\xff\xff\xff"] {
            volume.write_state(NAME, damaged).unwrap();
            assert_eq!(List::read(&volume), List::new(0, vec![]));
        }
        List { version: VERSION + 1, ..list }.write(&volume).unwrap();
        assert_eq!(List::read(&volume), List::new(0, vec![]));
    }
}
