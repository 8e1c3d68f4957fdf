//! The handle on this node's own files.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_common::content::{FileId, Manifest};
use shoal_common::limits::MAX_ENTRIES;
use shoal_common::name::SharedName;
use shoal_common::protocol::search::{Entry, FileEntry, Match, Pattern, Tree};
use tokio::sync::{Notify, watch};

use super::found::{FileInfo, Indexing};
use super::holding::Holdings;
use super::index::{Differences, Index, Item, Shared, select};
use super::pattern::{Matcher, PatternError};
use super::store::{self, Snapshot};
use super::tree::Selection;
use crate::traffic::Traffic;
use crate::volume::{Listing, Stamp, Volume};

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
    indexing: watch::Sender<Option<Indexing>>,
    traffic: Traffic,
    added: AtomicU64,
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
            indexing: watch::Sender::new(None),
            traffic: Traffic::default(),
            added: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Waits until everything that was in the folder at the start is known.
    pub async fn completed(&self) {
        // The sender lives as long as `self`.
        self.inner.complete.subscribe().wait_for(|complete| *complete).await.ok();
    }

    /// How far the node is with getting to know its files; `None` if it knows
    /// them, or has only just begun.
    pub fn indexing(&self) -> Option<Indexing> {
        *self.inner.indexing.borrow()
    }

    pub(super) fn set_indexing(&self, indexing: Option<Indexing>) {
        self.inner.indexing.send_if_modified(|before| {
            let changes = *before != indexing;
            *before = indexing;
            changes
        });
    }

    /// Where transfers say how much they move: hashing gives way to them.
    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }

    /// A file with this content.
    pub fn find(&self, file: &FileId) -> Option<Arc<Shared>> {
        self.index().find(file).cloned()
    }

    /// A file with this content that is in its place, as it was when its content
    /// became known. Looks at the disk, which may be ahead of the index: after a
    /// start, or just after a file was deleted.
    pub fn in_place(&self, file: &FileId) -> Option<Arc<Shared>> {
        let candidates = self.index().candidates(&Matcher::Content(*file));
        candidates.into_iter().find(|shared| self.is_in_place(shared))
    }

    /// Whether a file is on the disk as it was when its content became known.
    pub fn is_in_place(&self, shared: &Shared) -> bool {
        self.inner.volume.has(&shared.name) == Some(shared.stamp)
    }

    /// The contents that are here in part.
    pub fn holdings(&self) -> &Holdings {
        &self.inner.holdings
    }

    /// Changes whenever a file may have come or gone.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.inner.unsaved.subscribe()
    }

    /// What is known of the file with this name.
    pub fn get(&self, name: &SharedName) -> Option<Arc<Shared>> {
        self.index().get(name).cloned()
    }

    /// The content that is known under this name.
    pub fn named(&self, name: &SharedName) -> Option<FileId> {
        self.index().get(name).map(|shared| shared.manifest.file())
    }

    /// All files, in order of their names.
    pub fn list(&self) -> Vec<FileInfo> {
        self.index().iter().map(|shared| FileInfo::from(shared.as_ref())).collect()
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

    /// A page of a tree: what is behind a name, as much as fits, and whether
    /// there is more. Takes time in proportion to the page, but for a glob that
    /// little matches; others may use the catalog meanwhile.
    ///
    /// # Errors
    /// The tree can't be used.
    pub fn page(
        &self,
        tree: &Tree,
        after: Option<&SharedName>,
    ) -> Result<(Vec<Entry>, bool), PatternError> {
        let selection = Selection::new(tree)?;
        let mut page = Page::default();
        let mut after = after.cloned();
        loop {
            let behind = after.as_ref().map(SharedName::as_str);
            let slice = self.index().slice(selection.spans(), behind, SLICE);
            let Some(last) = slice.last() else { return Ok((page.entries, false)) };
            after = Some(last.name().clone());
            for item in slice {
                let is_file = matches!(item, Item::File(_));
                if selection.holds(item.name(), is_file) && !page.add(Entry::from(item)) {
                    return Ok((page.entries, true));
                }
            }
        }
    }

    /// Adds a file whose content is known already and that may not be executed.
    pub fn add(&self, name: SharedName, stamp: Stamp, manifest: Arc<Manifest>) {
        self.add_many([Shared { name, stamp, executable: false, manifest }]);
    }

    /// Adds files whose contents are known already.
    pub fn add_many(&self, files: impl IntoIterator<Item = Shared>) {
        self.inner.added.fetch_add(1, Ordering::Relaxed);
        self.learn(files);
    }

    /// How often files were added that this node did not have to find. Each time
    /// there are events from the file system that say nothing new.
    pub(super) fn added(&self) -> u64 {
        self.inner.added.load(Ordering::Relaxed)
    }

    /// Adds files that were found.
    pub(super) fn learn(&self, files: impl IntoIterator<Item = Shared>) {
        let mut index = self.index();
        files.into_iter().for_each(|shared| index.insert(shared));
        drop(index);
        self.inner.unsaved.send_replace(true);
    }

    /// What differs from the folder. What needs no more than to be noted is.
    pub(super) fn compare(&self, listing: &Listing) -> Differences {
        let mut index = self.index();
        let differences = index.compare(&listing.files);
        for (name, executable) in &differences.modes {
            index.set_executable(name, *executable);
        }
        let is_new = index.set_folders(listing.empty.clone());
        drop(index);
        if is_new || !differences.modes.is_empty() {
            self.inner.unsaved.send_replace(true);
        }
        differences
    }

    /// Forgets files.
    pub(super) fn forget(&self, names: &[SharedName]) {
        let mut index = self.index();
        names.iter().for_each(|name| {
            index.remove(name);
        });
        drop(index);
        self.inner.unsaved.send_replace(true);
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
        let snapshot = Snapshot::of(&self.index());
        let saved = snapshot
            .encode()
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

/// Files and folders that are looked at in one go while a page is made: few
/// enough that nobody notices that the catalog is locked.
const SLICE: usize = 1024;

/// A page in the making.
#[derive(Debug, Default)]
struct Page {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Page {
    /// Adds an entry; false if there is no room for it.
    fn add(&mut self, entry: Entry) -> bool {
        self.bytes += entry.bytes();
        if self.bytes > Entry::ROOM || self.entries.len() == MAX_ENTRIES {
            return false;
        }
        self.entries.push(entry);
        true
    }
}

impl From<Item> for Entry {
    fn from(item: Item) -> Self {
        match item {
            Item::Folder(name) => Self { name, file: None },
            Item::File(shared) => {
                let (id, size) = (shared.manifest.file(), shared.stamp.size);
                let file = FileEntry { id, size, executable: shared.executable };
                Self { name: shared.name.clone(), file: Some(file) }
            }
        }
    }
}
