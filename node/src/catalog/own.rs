//! The handle on this node's own files.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_common::content::{FileId, Manifest};
use shoal_common::name::SharedName;
use shoal_common::protocol::search::{Match, Pattern};
use tokio::sync::{Notify, watch};

use super::found::FileInfo;
use super::holding::Holdings;
use super::index::{Index, Shared, select};
use super::pattern::{Matcher, PatternError};
use super::store;
use crate::volume::{Stamp, Volume};

/// This node's own files. Clones are the same catalog.
#[derive(Debug, Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    volume: Volume,
    index: Mutex<Index>,
    holdings: Holdings,
    /// The index differs from what is on disk.
    unsaved: watch::Sender<bool>,
    /// Somebody wants the disk to be looked at.
    wanted: Arc<Notify>,
    /// Whether everything that was there at the start is known.
    complete: watch::Sender<bool>,
}

impl Catalog {
    /// The catalog of a folder; empty until it is [kept up](super::keep_up).
    pub fn new(volume: Volume) -> Self {
        let inner = Inner {
            volume,
            index: Mutex::default(),
            holdings: Holdings::default(),
            unsaved: watch::Sender::new(false),
            wanted: Arc::default(),
            complete: watch::Sender::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Waits until everything that was in the folder at the start is known.
    pub async fn completed(&self) {
        // The sender lives as long as `self`.
        self.inner.complete.subscribe().wait_for(|complete| *complete).await.ok();
    }

    /// A file with this content.
    pub fn find(&self, file: &FileId) -> Option<Arc<Shared>> {
        self.index().find(file).cloned()
    }

    /// The contents that are here in part.
    pub fn holdings(&self) -> &Holdings {
        &self.inner.holdings
    }

    /// Changes whenever a file may have come or gone.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.inner.unsaved.subscribe()
    }

    /// The content that is known under this name.
    pub fn named(&self, name: &SharedName) -> Option<FileId> {
        self.index().get(name).map(|shared| shared.manifest.file())
    }

    /// All files, in order of their names.
    pub fn list(&self) -> Vec<FileInfo> {
        self.index().iter().map(FileInfo::from).collect()
    }

    /// Number of files, and of their bytes.
    pub fn totals(&self) -> (usize, u64) {
        self.index().totals()
    }

    /// The files that match, and whether there are more than may be told. A content
    /// that is here in part only is found by its id alone. Takes
    /// time in proportion to the number of files, unless the pattern is an exact
    /// name or a content; others may use the catalog meanwhile.
    ///
    /// # Errors
    /// The pattern can't be used.
    pub fn search(&self, pattern: &Pattern) -> Result<(Vec<Match>, bool), PatternError> {
        let matcher = Matcher::new(pattern)?;
        let candidates = self.index().candidates(&matcher);
        if let (Matcher::Content(file), []) = (&matcher, candidates.as_slice()) {
            return Ok((self.holdings().as_match(file).into_iter().collect(), false));
        }
        Ok(select(&candidates, &matcher))
    }

    /// Adds a file whose content is known already.
    pub fn add(&self, name: SharedName, stamp: Stamp, manifest: Arc<Manifest>) {
        self.index().insert(Shared { name, stamp, manifest });
        self.inner.unsaved.send_replace(true);
    }

    /// Forgets a file.
    pub(super) fn forget(&self, name: &SharedName) {
        if self.index().remove(name) {
            self.inner.unsaved.send_replace(true);
        }
    }

    /// Asks for a look at the disk soon: a file is not what it was.
    pub fn refresh(&self) {
        self.inner.wanted.notify_one();
    }

    /// Writes the index to disk if it differs. Blocks.
    pub fn save(&self) {
        if !self.inner.unsaved.send_replace(false) {
            return;
        }
        let encoded = store::encode(&self.index());
        let saved = encoded
            .map_err(std::io::Error::other)
            .and_then(|bytes| store::save(&self.inner.volume, &bytes));
        if let Err(error) = saved {
            self.inner.unsaved.send_replace(true);
            tracing::warn!("cannot keep the index: {error}");
        }
    }

    /// Knows again what was known the last time. Blocks.
    pub(super) fn load(&self) {
        *self.index() = store::load(&self.inner.volume);
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        // No code panics while it holds the lock; if it did, the index would
        // still be whole after each of its methods.
        self.inner.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn volume(&self) -> &Volume {
        &self.inner.volume
    }

    /// Told when somebody wants the disk to be looked at. It keeps nothing of
    /// the catalog alive.
    pub(super) fn wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.wanted)
    }

    pub(super) fn complete(&self) {
        self.inner.complete.send_replace(true);
    }
}
