//! Keeps the catalog up with the folder.
//!
//! inotify says that something changed, a look at the whole folder says what:
//! so a lost event, or a file system without events, only costs time. A file
//! is hashed when it has been left alone for a moment, so that one that is
//! still being copied is not published by halves.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shoal_common::name::SharedName;
use shoal_common::task::Tasks;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, info_span};

use super::hash::{HashError, Hashed, Progress, SETTLE, Teller, Work};
use super::index::Shared;
use super::own::Catalog;
use super::watch::Watch;
use crate::notice::Notices;
use crate::traffic::Gauge;
use crate::volume::Listed;

/// Time without a look at the folder, even if nothing is heard of it.
const RESCAN: Duration = Duration::from_secs(10);

/// Least time between two looks, and least multiple of the time that the last
/// one took: a busy folder costs at most a fifth of a core, however large.
const PAUSE: (Duration, u32) = (Duration::from_millis(100), 4);

/// The same while this node itself is what makes the folder busy, or transfers
/// need the cores: events mostly say what is known, and a look costs at most a
/// twentieth of a core.
const BUSY_PAUSE: (Duration, u32) = (Duration::from_secs(1), 19);

/// How often the index is written while it changes, and least multiple of the
/// time that the last time took: it is written whole, and that takes at most a
/// thirtieth of the time.
const SAVE: (Duration, u32) = (Duration::from_secs(5), 29);

/// Files that come or go together are logged one by one up to so many.
const LOGGED: usize = 8;

/// Loads what was known and keeps `catalog` up with its folder until the tasks
/// are cancelled.
pub fn keep_up(catalog: Catalog, notices: Notices, tasks: &Tasks) {
    let watch = Watch::new(catalog.wanted(), tasks);
    let gauge = Gauge::new(catalog.traffic().total(), Instant::now());
    let stop = tasks.cancelled().clone();
    let scan = Scan {
        catalog,
        notices,
        watch,
        stop,
        saved: (Instant::now(), Duration::ZERO),
        gauge,
        added: 0,
        loaded: false,
        complete: false,
        reported: HashSet::new(),
        hashing: None,
    };
    let blocking = tasks.clone();
    tasks.spawn(info_span!("scan"), scan.run(blocking));
}

struct Scan {
    catalog: Catalog,
    notices: Notices,
    watch: Option<Watch>,
    stop: CancellationToken,
    /// When the index was last written, and how long that took.
    saved: (Instant, Duration),
    /// Whether transfers are busy.
    gauge: Gauge,
    /// How often others had added files at the last look.
    added: u64,
    /// Whether what was known the last time is known again.
    loaded: bool,
    /// Whether everything that was there at the start is known.
    complete: bool,
    /// Files whose trouble has been told.
    reported: HashSet<String>,
    /// How far it is, while there is something to hash.
    hashing: Option<Hashing>,
}

/// One run of hashing, over as many looks as it takes.
struct Hashing {
    progress: Arc<Progress>,
    teller: Teller,
}

/// When the folder is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// When there is a reason, or [`RESCAN`] later.
    WhenWanted,
    /// Soon: files are changing.
    Soon,
    /// At once: files are left to be hashed.
    Now,
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
                let (next, walked) = scan.look();
                (next, scan.pause(walked))
            };
            let Ok((next, pause)) = blocking.spawn_blocking(look).await else { return };
            match next {
                Next::Now => {}
                Next::Soon => sleep(pause.max(SETTLE)).await,
                Next::WhenWanted => {
                    sleep(pause).await;
                    timeout(RESCAN, wanted.notified()).await.ok();
                }
            }
        }
    }

    /// How long to wait before the next look, after one in which it took so long
    /// to walk through the folder.
    fn pause(&mut self, walked: Duration) -> Duration {
        let added = self.catalog.added();
        let is_own = std::mem::replace(&mut self.added, added) != added;
        let is_busy = self.gauge.is_busy(self.catalog.traffic().total(), Instant::now());
        let (least, times) = if is_own || is_busy { BUSY_PAUSE } else { PAUSE };
        least.max(walked * times)
    }

    /// One look at the folder: when the next one is due, and how long it took to
    /// walk through the folder.
    fn look(&mut self) -> (Next, Duration) {
        if !std::mem::replace(&mut self.loaded, true) {
            self.catalog.load();
        }
        self.check_place();
        let start = Instant::now();
        let listing = match self.catalog.volume().list() {
            Ok(listing) => listing,
            Err(error) => {
                self.report(String::new(), format!("cannot read the shared folder: {error}"));
                return (Next::WhenWanted, start.elapsed());
            }
        };
        self.reported.remove("");
        if let Some(watch) = &mut self.watch {
            watch.follow(self.catalog.volume().path(), &listing.folders);
        }
        let walked = start.elapsed();
        let differences = self.catalog.compare(&listing);
        self.forget(differences.forget);
        let next = self.learn(differences.hash);
        let unshared = listing.unshared.into_iter();
        for (path, reason) in unshared.filter(|(_, reason)| !reason.is_empty()) {
            let line = format!("`{path}` is not shared: {reason}");
            self.report(path, line);
        }
        if next == Next::WhenWanted && !std::mem::replace(&mut self.complete, true) {
            self.catalog.complete();
            let (files, bytes) = self.catalog.totals();
            info!(files, bytes, "everything in the folder is known");
            self.save();
        }
        self.keep();
        (next, walked)
    }

    fn check_place(&mut self) {
        if !self.catalog.volume().is_in_place() {
            let path = self.catalog.volume().path().display();
            let line = format!(
                "the shared folder `{path}` was moved, removed or replaced: start the node again"
            );
            self.report("/".to_owned(), line);
        }
    }

    /// Writes the index if that was not done for a while.
    fn keep(&mut self) {
        let (when, took) = self.saved;
        if when.elapsed() >= SAVE.0.max(took * SAVE.1) {
            self.save();
        }
    }

    fn save(&mut self) {
        let start = Instant::now();
        self.catalog.save();
        self.saved = (Instant::now(), start.elapsed());
    }

    /// Forgets files that are not what they were.
    fn forget(&self, names: Vec<SharedName>) {
        let gone: Vec<_> = names.into_iter().filter(|name| self.is_gone(name)).collect();
        if gone.is_empty() {
            return;
        }
        log(&gone, |name| format!("`{name}` changed or went"), "changed or went");
        self.catalog.forget(&gone);
    }

    /// Whether a file that was not seen as it is known is so no longer. It may
    /// have come, whole and known, after the folder was listed.
    fn is_gone(&self, name: &SharedName) -> bool {
        let now = self.catalog.volume().open_stamped(name).map(|(_, stamp)| stamp);
        let known = self.catalog.index().get(name).map(|known| known.stamp);
        match now {
            Ok(now) => Some(now) != known,
            // Any other error is about the moment, not about the file: too many
            // open descriptors, a disk that stutters.
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
        }
    }

    /// Hashes files and adds them.
    fn learn(&mut self, files: Vec<Listed>) -> Next {
        if files.is_empty() {
            self.learned();
            return Next::WhenWanted;
        }
        let new = || Hashing { progress: Arc::default(), teller: Teller::new(Instant::now()) };
        let progress = Arc::clone(&self.hashing.get_or_insert_with(new).progress);
        progress.expect(&files);
        let (catalog, stop) = (self.catalog.clone(), self.stop.clone());
        let is_known = |file: &Listed| {
            catalog.index().get(&file.name).is_some_and(|known| known.stamp == file.stamp)
        };
        let (volume, traffic) = (catalog.volume(), catalog.traffic());
        let work = Work::new(volume, traffic, &progress, &is_known, &stop);
        let mut settled = true;
        let all_begun = work.hash(files, |hashed| {
            progress.done(hashed.len());
            settled &= self.take(hashed);
            self.tell(&progress);
            self.keep();
        });
        match all_begun {
            Ok(false) => Next::Now,
            Ok(true) if settled => {
                self.learned();
                Next::WhenWanted
            }
            Ok(true) => Next::Soon,
            Err(error) => {
                self.report("/hash".to_owned(), format!("cannot start a thread to hash: {error}"));
                Next::Soon
            }
        }
    }

    /// Adds what was hashed; false if some must be tried again soon.
    fn take(&mut self, hashed: Vec<Hashed>) -> bool {
        let mut settled = true;
        let mut known = Vec::with_capacity(hashed.len());
        for (Listed { name, stamp, executable }, manifest) in hashed {
            match manifest {
                Ok(manifest) => {
                    self.reported.remove(name.as_str());
                    known.push(Shared { name, stamp, executable, manifest: manifest.into() });
                }
                Err(HashError::Changing) => settled = false,
                Err(HashError::Known | HashError::Stopped) => {}
                Err(error) => {
                    let line = format!("`{name}` is not shared: {error}");
                    self.report(name.as_str().to_owned(), line);
                }
            }
        }
        if !known.is_empty() {
            let line = |shared: &Shared| {
                let Shared { name, manifest, .. } = shared;
                format!("`{name}` is shared: {}, {} bytes", manifest.file(), shared.stamp.size)
            };
            log(&known, line, "are shared");
            self.catalog.learn(known);
        }
        settled
    }

    /// Tells how far hashing is.
    fn tell(&mut self, progress: &Progress) {
        let Some(hashing) = &mut self.hashing else { return };
        let (shown, line) = hashing.teller.look(progress, Instant::now());
        self.catalog.set_indexing(shown);
        if let Some(line) = line {
            self.notices.say(line);
        }
    }

    /// Nothing is left to hash.
    fn learned(&mut self) {
        if let Some(Hashing { progress, teller }) = self.hashing.take() {
            self.catalog.set_indexing(None);
            if let Some(line) = teller.end(&progress, Instant::now()) {
                self.notices.say(line);
            }
        }
    }

    fn report(&mut self, key: String, line: String) {
        if self.reported.insert(key) {
            self.notices.say(line);
        }
    }
}

/// Logs what happened to files: to each, or, to many at once, how many.
fn log<T>(files: &[T], line: impl Fn(&T) -> String, what: &str) {
    for file in files {
        if files.len() <= LOGGED {
            info!("{}", line(file));
        } else {
            debug!("{}", line(file));
        }
    }
    if files.len() > LOGGED {
        info!("{} files {what}", files.len());
    }
}
