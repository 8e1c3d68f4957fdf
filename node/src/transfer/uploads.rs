//! The handle on what goes out: the download port, its bounds, its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_common::content::FileId;
use shoal_common::limits::{MAX_UPLOADS, MIN_RATE};
use shoal_common::name::SharedName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::fellows::Fellows;
use super::job::UploadInfo;
use super::rate::Throttle;
use crate::catalog::Catalog;
use crate::config::Io;
use crate::volume::Volume;

/// Bytes a second that a limit must leave for each upload, so that none of those
/// who share it looks like a stall at the other side: some times what does.
const SHARE: u64 = 4 * MIN_RATE;

/// What this node serves. Clones are the same port.
#[derive(Debug, Clone)]
pub struct Uploads {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    volume: Volume,
    catalog: Catalog,
    io: Io,
    throttle: Throttle,
    fellows: Fellows,
    /// How many may be served at once, and how many are.
    slots: AtomicUsize,
    taken: AtomicUsize,
    running: Mutex<Running>,
    /// Number of uploads under way.
    count: watch::Sender<usize>,
    draining: CancellationToken,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    uploads: BTreeMap<u64, UploadInfo>,
}

impl Uploads {
    /// Serves the files of `volume` that `catalog` knows.
    pub fn new(volume: Volume, catalog: Catalog) -> Self {
        Self::by(Io::default(), volume, catalog)
    }

    /// The same, where bytes leave in a way of one's choice.
    pub fn by(io: Io, volume: Volume, catalog: Catalog) -> Self {
        let inner = Inner {
            volume,
            catalog,
            io,
            throttle: Throttle::unlimited(),
            fellows: Fellows::default(),
            slots: AtomicUsize::new(MAX_UPLOADS),
            taken: AtomicUsize::new(0),
            running: Mutex::default(),
            count: watch::Sender::new(0),
            draining: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// From now on nobody new is served. An upload that is under way goes on
    /// until the peer has what it wants, hangs up, or pauses.
    pub fn drain(&self) {
        self.inner.draining.cancel();
    }

    /// The uploads under way: who fetched bytes within the last moments.
    pub fn list(&self) -> Vec<UploadInfo> {
        self.running().uploads.values().cloned().collect()
    }

    /// Waits until no upload is under way.
    pub async fn idle(&self) {
        // The sender lives as long as `self`.
        self.inner.count.subscribe().wait_for(|count| *count == 0).await.ok();
    }

    /// The limit on what goes out, of all uploads together.
    pub fn throttle(&self) -> &Throttle {
        &self.inner.throttle
    }

    /// Who follows which content here.
    pub fn fellows(&self) -> &Fellows {
        &self.inner.fellows
    }

    /// Serves at most so many at once from now on: 1 to [`MAX_UPLOADS`]. Who is
    /// served stays; a request beyond the bound is refused as busy.
    pub fn set_slots(&self, slots: usize) {
        self.inner.slots.store(slots.clamp(1, MAX_UPLOADS), Ordering::Release);
    }

    pub(super) fn io(&self) -> Io {
        self.inner.io
    }

    pub(super) fn volume(&self) -> &Volume {
        &self.inner.volume
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    pub(super) fn draining(&self) -> &CancellationToken {
        &self.inner.draining
    }

    /// The right to send bytes now; `None` when as many do already as may, or as
    /// can share the limit.
    pub(super) fn slot(&self) -> Option<Slot> {
        let share = |rate: u64| usize::try_from(rate / SHARE).unwrap_or(usize::MAX).max(1);
        let most = self.inner.slots.load(Ordering::Acquire);
        let most = self.inner.throttle.rate().map_or(most, |rate| most.min(share(rate)));
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        self.inner.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot { uploads: self.clone() })
    }

    /// Puts an upload on the list until the returned value is dropped.
    pub(super) fn begin(&self, id: FileId, name: SharedName, to: String) -> Upload {
        let mut running = self.running();
        let key = running.next;
        running.next += 1;
        running.uploads.insert(key, UploadInfo { id, name, to });
        self.inner.count.send_replace(running.uploads.len());
        drop(running);
        Upload { uploads: self.clone(), key, file: id }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Whole after each of the few statements under its lock.
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to send bytes.
#[derive(Debug)]
pub(super) struct Slot {
    uploads: Uploads,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.uploads.inner.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An upload that is on the list.
#[derive(Debug)]
pub(super) struct Upload {
    uploads: Uploads,
    key: u64,
    /// The content.
    pub(super) file: FileId,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut running = self.uploads.running();
        running.uploads.remove(&self.key);
        self.uploads.inner.count.send_replace(running.uploads.len());
    }
}
