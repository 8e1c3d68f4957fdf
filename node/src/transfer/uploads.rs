//! The handle on what goes out: the download port, its bounds, its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_common::content::FileId;
use shoal_common::limits::MAX_UPLOADS;
use shoal_common::name::SharedName;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::job::UploadInfo;
use super::rate::Throttle;
use crate::catalog::Catalog;
use crate::volume::Volume;

/// What this node serves. Clones are the same port.
#[derive(Debug, Clone)]
pub struct Uploads {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    volume: Volume,
    catalog: Catalog,
    throttle: Throttle,
    most: AtomicUsize,
    slots: Semaphore,
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
        let inner = Inner {
            volume,
            catalog,
            throttle: Throttle::unlimited(),
            most: AtomicUsize::new(MAX_UPLOADS),
            slots: Semaphore::new(MAX_UPLOADS),
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

    /// Serves at most so many at once from now on: 1 to [`MAX_UPLOADS`]. Who is
    /// served stays; a request beyond the bound is refused as busy.
    pub fn set_slots(&self, slots: usize) {
        self.inner.most.store(slots.clamp(1, MAX_UPLOADS), Ordering::Release);
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

    /// The right to send bytes now; `None` when too many do already.
    pub(super) fn slot(&self) -> Option<SemaphorePermit<'_>> {
        let taken = MAX_UPLOADS.saturating_sub(self.inner.slots.available_permits());
        let more = taken < self.inner.most.load(Ordering::Acquire);
        if more { self.inner.slots.try_acquire().ok() } else { None }
    }

    /// Puts an upload on the list until the returned value is dropped.
    pub(super) fn begin(&self, id: FileId, name: SharedName, to: SocketAddr) -> Upload {
        let mut running = self.running();
        let key = running.next;
        running.next += 1;
        running.uploads.insert(key, UploadInfo { id, name, to: to.to_string() });
        self.inner.count.send_replace(running.uploads.len());
        drop(running);
        Upload { uploads: self.clone(), key, file: id }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Whole after each of the few statements under its lock.
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
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
