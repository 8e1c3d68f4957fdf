//! Keeps the catalog up with the folder.
//!
//! inotify says that something changed, a look at the whole folder says what:
//! so a lost event, or a file system without events, only costs time. A file
//! is hashed when it has been left alone for a moment, so that one that is
//! still being copied is not published by halves.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use shoal_common::name::SharedName;
use shoal_common::task::Tasks;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, info_span, warn};

use super::hash::{HashError, hash};
use super::index::Shared;
use super::own::Catalog;
use crate::notice::Notices;
use crate::volume::{Listed, Listing, Stamp};

/// Time without a look at the folder, even if nothing is heard of it.
const RESCAN: Duration = Duration::from_secs(10);

/// How long a file must have been left alone before it is hashed. Longer than
/// the granularity of time stamps (4 ms on most systems), so that a change
/// after the hash always shows in the stamp.
const SETTLE: Duration = Duration::from_millis(200);

/// Least time between two looks, and least multiple of the time that the last
/// one took: a busy folder costs at most a fifth of a core, however large.
const LEAST_PAUSE: (Duration, u32) = (Duration::from_millis(100), 4);

/// How often the index is written while it changes.
const SAVE: Duration = Duration::from_secs(5);

/// A file that takes longer to hash than this at a few GB/s is announced.
const LARGE: u64 = 4 * shoal_common::limits::GIB;

/// Loads what was known and keeps `catalog` up with its folder until the tasks
/// are cancelled.
pub fn keep_up(catalog: Catalog, notices: Notices, tasks: &Tasks) {
    let watch = watch(&catalog);
    let stop = tasks.cancelled().clone();
    let scan = Scan {
        catalog,
        notices,
        watch,
        stop,
        saved: Instant::now(),
        walked: Duration::ZERO,
        loaded: false,
        complete: false,
        reported: HashSet::new(),
    };
    let blocking = tasks.clone();
    tasks.spawn(info_span!("scan"), scan.run(blocking));
}

/// Watches nothing yet; folders are added as they are seen.
fn watch(catalog: &Catalog) -> Option<RecommendedWatcher> {
    let wanted = catalog.wanted();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is no change, and this program reads all the time.
        let matters = event.map_or(true, |event| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        });
        if matters {
            wanted.notify_one();
        }
    });
    watcher
        .inspect_err(|error| {
            warn!("no events from the file system, looking every {} s: {error}", RESCAN.as_secs());
        })
        .ok()
}

struct Scan {
    catalog: Catalog,
    notices: Notices,
    watch: Option<RecommendedWatcher>,
    stop: CancellationToken,
    saved: Instant,
    /// How long the last walk through the folder took.
    walked: Duration,
    /// Whether what was known the last time is known again.
    loaded: bool,
    /// Whether everything that was there at the start is known.
    complete: bool,
    /// Files whose trouble has been told.
    reported: HashSet<String>,
}

impl Scan {
    async fn run(self, blocking: Tasks) {
        let wanted = self.catalog.wanted();
        // Lent to each look, not moved in and out: what a blocking task returns
        // outlives it, and would keep the folder locked after the node ended.
        let scan = Arc::new(Mutex::new(self));
        loop {
            let lent = Arc::clone(&scan);
            let look = move || {
                let mut scan = lent.lock().unwrap_or_else(PoisonError::into_inner);
                (scan.look(), scan.walked)
            };
            let Ok((settled, walked)) = blocking.spawn_blocking(look).await else { return };
            let pause = LEAST_PAUSE.0.max(walked * LEAST_PAUSE.1);
            sleep(if settled { pause } else { pause.max(SETTLE) }).await;
            if settled {
                timeout(RESCAN, wanted.notified()).await.ok();
            }
        }
    }

    /// One look at the folder. Whether nothing is left to be looked at again
    /// soon.
    fn look(&mut self) -> bool {
        if !std::mem::replace(&mut self.loaded, true) {
            self.catalog.load();
        }
        let start = Instant::now();
        if !self.catalog.volume().is_in_place() {
            let path = self.catalog.volume().path().display();
            let line = format!(
                "the shared folder `{path}` was moved, removed or replaced: start the node again"
            );
            self.report("/".to_owned(), line);
        }
        let listing = match self.catalog.volume().list() {
            Ok(listing) => {
                self.reported.remove("");
                listing
            }
            Err(error) => {
                self.report(String::new(), format!("cannot read the shared folder: {error}"));
                return true;
            }
        };
        self.follow(&listing);
        self.walked = start.elapsed();
        let differences = self.catalog.compare(&listing);
        differences.forget.iter().for_each(|name| self.forget(name));
        let mut settled = true;
        for listed in differences.hash {
            settled &= self.learn(&listed);
            self.keep(SAVE);
        }
        for (path, reason) in listing.unshared.into_iter().filter(|(_, reason)| !reason.is_empty())
        {
            let line = format!("`{path}` is not shared: {reason}");
            self.report(path, line);
        }
        if settled && !std::mem::replace(&mut self.complete, true) {
            self.catalog.complete();
            let (files, bytes) = self.catalog.totals();
            info!(files, bytes, "everything in the folder is known");
            self.keep(Duration::ZERO);
        }
        self.keep(SAVE);
        settled
    }

    /// Writes the index if that was not done for a while.
    fn keep(&mut self, at_least: Duration) {
        if self.saved.elapsed() >= at_least {
            self.saved = Instant::now();
            self.catalog.save();
        }
    }

    /// Forgets a file that is not what it was. It may have come, whole and
    /// known, after the folder was listed: then it stays.
    fn forget(&self, name: &SharedName) {
        let now = self.catalog.volume().open_shared(name).and_then(|file| Stamp::of(&file));
        let known = self.catalog.index().get(name).map(|known| known.stamp);
        let is_gone = match now {
            Ok(now) => Some(now) != known,
            // Any other error is about the moment, not about the file: too many
            // open descriptors, a disk that stutters.
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
        };
        if is_gone {
            info!("`{name}` changed or went");
            self.catalog.forget(name);
        }
    }

    /// Hears of changes in all folders that are there now. Folders that went
    /// are no longer watched by themselves.
    fn follow(&mut self, listing: &Listing) {
        let Some(watch) = &mut self.watch else { return };
        let root = self.catalog.volume().path().to_owned();
        let folders = listing.folders.iter().map(|folder| root.join(folder));
        for folder in std::iter::once(root.clone()).chain(folders) {
            if let Err(error) = watch.watch(&folder, RecursiveMode::NonRecursive) {
                debug!("cannot watch `{}`: {error}", folder.display());
            }
        }
    }

    /// Hashes a file and adds it; false if that must be tried again soon.
    fn learn(&mut self, listed: &Listed) -> bool {
        if is_fresh(listed.stamp.mtime_ns) {
            return false;
        }
        if listed.stamp.size >= LARGE {
            self.notices.say(format_args!("hashing `{}`", listed.name));
        }
        match hash(self.catalog.volume(), listed, &self.stop) {
            Ok(manifest) => {
                info!(id = %manifest.file(), size = listed.stamp.size, "`{}` is shared", listed.name);
                self.catalog.add_many([Shared {
                    name: listed.name.clone(),
                    stamp: listed.stamp,
                    executable: listed.executable,
                    manifest: manifest.into(),
                }]);
                self.reported.remove(listed.name.as_str());
                true
            }
            Err(HashError::Changing) => false,
            Err(HashError::Stopped) => true,
            Err(error) => {
                let name: &SharedName = &listed.name;
                self.report(name.as_str().to_owned(), format!("`{name}` is not shared: {error}"));
                true
            }
        }
    }

    fn report(&mut self, key: String, line: String) {
        if self.reported.insert(key) {
            self.notices.say(line);
        }
    }
}

/// Whether the file was written within the last moment. A time in the future
/// does not count: such a clock would never let it settle.
fn is_fresh(mtime_ns: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let age = i128::try_from(now).unwrap_or(i128::MAX) - i128::from(mtime_ns);
    (0..i128::try_from(SETTLE.as_nanos()).unwrap_or(0)).contains(&age)
}
