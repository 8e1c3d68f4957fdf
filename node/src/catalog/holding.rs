//! Contents that are here in part: downloads under way, whose verified chunks
//! others may have already.
//!
//! Invariant: a chunk is among those of a [`Held`] only after it was found right
//! and written. Nothing else of its file is ever shown to anybody.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fixedbitset::FixedBitSet;
use shoal_common::content::{ChunkSet, FileId, Manifest};
use shoal_common::name::SharedName;
use shoal_common::protocol::search::Match;
use tokio::sync::watch;

/// The contents that are here in part. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    held: Mutex<HashMap<FileId, Arc<Held>>>,
    /// Counts the changes of all of them.
    changes: watch::Sender<u64>,
}

/// A content of which some chunks are here.
#[derive(Debug)]
pub struct Held {
    name: SharedName,
    manifest: Arc<Manifest>,
    file: File,
    chunks: Mutex<ChunkSet>,
    /// The number of its last change.
    version: AtomicU64,
}

impl Holdings {
    /// Offers what is `verified` of a content, and what will be
    /// [added](Holding::add), until the returned value is dropped. `data` is the
    /// file with its chunks, at their places; `name` the name it will have.
    ///
    /// When the file is whole and shared, the catalog is told of it first: who
    /// fetches it here then goes on with the shared file.
    pub fn begin(
        &self,
        name: SharedName,
        manifest: Arc<Manifest>,
        data: File,
        verified: &FixedBitSet,
    ) -> Holding {
        let chunks = verified.ones().filter_map(|chunk| u32::try_from(chunk).ok()).collect();
        let file = manifest.file();
        let (chunks, version) = (Mutex::new(chunks), AtomicU64::new(0));
        let held = Arc::new(Held { name, manifest, file: data, chunks, version });
        self.held().insert(file, Arc::clone(&held));
        self.changed(&held);
        Holding { holdings: self.clone(), held }
    }

    /// What is here of a content, if it is here in part.
    pub fn find(&self, file: &FileId) -> Option<Arc<Held>> {
        self.held().get(file).cloned()
    }

    /// Changes with every chunk that is added to any of them, and with every
    /// content that comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// The answer to a search for a content that is here in part; none if no
    /// chunk of it is here yet.
    pub(super) fn as_match(&self, file: &FileId) -> Option<Match> {
        let held = self.find(file)?;
        let chunks = Some(held.chunks()).filter(|chunks| !chunks.is_empty());
        let size = held.manifest.geometry().size();
        chunks.map(|chunks| Match {
            name: held.name.clone(),
            size,
            file: *file,
            chunks: Some(chunks),
        })
    }

    /// Notes a change of one of them, which is made already.
    fn changed(&self, held: &Held) {
        self.inner.changes.send_modify(|changes| {
            *changes += 1;
            held.version.store(*changes, Ordering::Release);
        });
    }

    fn held(&self) -> MutexGuard<'_, HashMap<FileId, Arc<Held>>> {
        // A map is whole after each of its methods.
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The name that the file will have.
    pub fn name(&self) -> &SharedName {
        &self.name
    }

    /// What it will be.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The file with its chunks.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The chunks that are here.
    pub fn chunks(&self) -> ChunkSet {
        self.locked().clone()
    }

    /// Whether all of these bytes are here.
    pub fn covers(&self, bytes: &Range<u64>) -> bool {
        let geometry = self.manifest.geometry();
        let chunks = self.locked();
        bytes.end <= geometry.size() && geometry.touched(bytes).all(|chunk| chunks.contains(chunk))
    }

    /// Raised with every chunk that is added; no two contents ever have the same.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn locked(&self) -> MutexGuard<'_, ChunkSet> {
        // Adding a chunk leaves the set whole.
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A content that is offered in part while this lives.
#[derive(Debug)]
pub struct Holding {
    holdings: Holdings,
    held: Arc<Held>,
}

impl Holding {
    /// Offers a chunk that was found right and has been written.
    pub fn add(&self, chunk: u32) {
        self.held.locked().insert(chunk);
        self.holdings.changed(&self.held);
    }

    /// What is offered.
    pub fn held(&self) -> &Arc<Held> {
        &self.held
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let file = self.held.manifest.file();
        let mut held = self.holdings.held();
        // A later download of the same content may be in its place.
        if held.get(&file).is_some_and(|there| Arc::ptr_eq(there, &self.held)) {
            held.remove(&file);
        }
        drop(held);
        self.holdings.changed(&self.held);
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::content::{Geometry, ManifestBuilder};
    use shoal_common::limits::MIN_CHUNK;

    use super::*;

    fn manifest(chunks: usize) -> Arc<Manifest> {
        let content = vec![7; chunks * usize::try_from(MIN_CHUNK).unwrap() - 5];
        let mut builder = ManifestBuilder::new(Geometry::of(content.len() as u64).unwrap());
        builder.update(&content);
        Arc::new(builder.finish().unwrap())
    }

    fn begin(holdings: &Holdings, manifest: &Arc<Manifest>, here: &[usize]) -> Holding {
        let verified = here.iter().copied().collect();
        let file = tempfile::tempfile().unwrap();
        holdings.begin("half".parse().unwrap(), Arc::clone(manifest), file, &verified)
    }

    #[test]
    fn what_is_here_is_offered_and_nothing_else() {
        let holdings = Holdings::default();
        let manifest = manifest(5);
        let (file, size) = (manifest.file(), manifest.geometry().size());
        assert!(holdings.find(&file).is_none() && holdings.as_match(&file).is_none());
        let holding = begin(&holdings, &manifest, &[]);
        assert!(holdings.as_match(&file).is_none(), "nothing is here yet");
        let held = holdings.find(&file).unwrap();
        assert!(!held.covers(&(0..1)) && !held.covers(&(size - 1..size)));
        for chunk in [1, 2, 4] {
            holding.add(chunk);
        }
        let chunk = MIN_CHUNK;
        for (range, is_here) in [
            (chunk..3 * chunk, true),
            (chunk + 1..chunk + 2, true),
            (4 * chunk..size, true),
            (4 * chunk..size + 1, false),
            (chunk - 1..chunk + 1, false),
            (3 * chunk - 1..3 * chunk + 1, false),
            (chunk..size, false),
            (size..size + 1, false),
            (0..u64::MAX, false),
            (u64::MAX - 1..u64::MAX, false),
        ] {
            assert_eq!(held.covers(&range), is_here, "{range:?}");
        }
        let found = holdings.as_match(&file).unwrap();
        assert_eq!((found.size, found.chunks), (size, Some([1, 2, 4].into_iter().collect())));
        drop(holding);
        assert!(holdings.find(&file).is_none());
        assert!(held.covers(&(chunk..3 * chunk)), "who has it goes on");
    }

    #[test]
    fn every_change_is_told_and_has_a_number_of_its_own() {
        let holdings = Holdings::default();
        let (one, two) = (manifest(5), manifest(6));
        let mut changes = holdings.changes();
        let mut seen = std::collections::HashSet::new();
        let first = begin(&holdings, &one, &[0]);
        let second = begin(&holdings, &two, &[0]);
        for chunk in 1..3 {
            assert!(seen.insert(first.held().version()) && seen.insert(second.held().version()));
            assert!(changes.has_changed().unwrap());
            changes.mark_unchanged();
            first.add(chunk);
            second.add(chunk);
        }
        // Another download of the same content takes the place of the first.
        let again = begin(&holdings, &one, &[]);
        assert!(seen.insert(again.held().version()));
        changes.mark_unchanged();
        drop(first);
        assert!(changes.has_changed().unwrap());
        assert!(Arc::ptr_eq(&holdings.find(&one.file()).unwrap(), again.held()));
    }
}
