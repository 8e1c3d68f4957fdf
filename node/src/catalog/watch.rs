//! Hears of changes in the folder, where the file system tells (inotify).
//!
//! It is told of changes and not of reading, for this program reads all the
//! time; and it only cares that something happened, not what. So a hundred
//! thousand events cost a few wake-ups.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch};
use rustix::io::Errno;
use shoal_common::task::Tasks;
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, info_span, warn};

/// Events that are of no news within so short a time gather in the kernel.
const GATHER: Duration = Duration::from_millis(20);

/// Bytes of events that are read in one go.
const EVENTS: usize = 16 * 1024;

/// How often in a row they are read: all that the kernel keeps.
const READS: usize = 64;

/// What is a change: to files of a folder, and to the folder.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// Folders that are watched.
#[derive(Debug)]
pub(super) struct Watch {
    events: OwnedFd,
    /// By path below the root and number in their file system: a folder that was
    /// removed and made again is another.
    followed: HashMap<(String, u64), i32>,
    /// Whether it was said that there are too many.
    told: bool,
}

impl Watch {
    /// Watches nothing yet; folders are added as they are seen. `wanted` is
    /// notified of changes until `tasks` are cancelled. `None` if the system does
    /// not tell.
    pub(super) fn new(wanted: Arc<Notify>, tasks: &Tasks) -> Option<Self> {
        let events = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from);
        let both = events.and_then(|events| Ok((events.try_clone()?, events)));
        let told = |error: &io::Error| warn!("no events from the file system: {error}");
        let (heard, events) = both.inspect_err(told).ok()?;
        tasks.spawn(info_span!("watch"), hear(heard, wanted));
        Some(Self { events, followed: HashMap::new(), told: false })
    }

    /// Watches the root and these folders below it, and no others.
    pub(super) fn follow(&mut self, root: &Path, folders: &[(String, u64)]) {
        let before = std::mem::take(&mut self.followed);
        // Each time, for it may have been replaced.
        let root_watch = self.watch(root);
        for folder in folders {
            let known = before.get(folder).copied();
            if let Some(watch) = known.or_else(|| self.watch(&root.join(&folder.0))) {
                self.followed.insert(folder.clone(), watch);
            }
        }
        // One that was moved is watched as before, under its new path.
        let kept: HashSet<_> = self.followed.values().copied().chain(root_watch).collect();
        for watch in before.into_values().filter(|watch| !kept.contains(watch)) {
            // It mostly went with its folder.
            remove_watch(&self.events, watch).ok();
        }
    }

    fn watch(&mut self, folder: &Path) -> Option<i32> {
        match add_watch(&self.events, folder, CHANGES) {
            Ok(watch) => Some(watch),
            Err(Errno::NOSPC) if !std::mem::replace(&mut self.told, true) => {
                warn!("too many folders to hear of changes in all (`fs.inotify.max_user_watches`)");
                None
            }
            Err(error) => {
                debug!("cannot watch `{}`: {error}", folder.display());
                None
            }
        }
    }
}

async fn hear(events: OwnedFd, wanted: Arc<Notify>) {
    if let Err(error) = listen(events, &wanted).await {
        warn!("no events from the file system any more: {error}");
    }
}

async fn listen(events: OwnedFd, wanted: &Notify) -> io::Result<()> {
    // It is waited for and read as a pipe is.
    let events = pipe::Receiver::from_owned_fd_unchecked(events)?;
    let mut buffer = vec![0; EVENTS];
    loop {
        events.readable().await?;
        for _ in 0..READS {
            match events.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => _ = read?,
            }
        }
        wanted.notify_one();
        sleep(GATHER).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use tokio::runtime::Handle;

    use super::*;

    /// Bytes of events that wait, which nobody reads.
    fn waiting(watch: &Watch) -> u64 {
        rustix::io::ioctl_fionread(&watch.events).unwrap()
    }

    fn deaf() -> Watch {
        let tasks = Tasks::new(Handle::current());
        tasks.cancel();
        Watch::new(Arc::default(), &tasks).unwrap()
    }

    fn folder(root: &Path, name: &str) -> (String, u64) {
        (name.to_owned(), fs::metadata(root.join(name)).unwrap().ino())
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/file"), "content").unwrap();
        let mut watch = deaf();
        watch.follow(root, &[folder(root, "sub")]);
        fs::read(root.join("sub/file")).unwrap();
        fs::read_dir(root.join("sub")).unwrap().count();
        assert_eq!(waiting(&watch), 0);
        for change in [
            &(|| fs::write(root.join("sub/file"), "other").unwrap()) as &dyn Fn(),
            &|| fs::rename(root.join("sub/file"), root.join("sub/new")).unwrap(),
            &|| fs::remove_file(root.join("sub/new")).unwrap(),
            &|| fs::write(root.join("top"), "top").unwrap(),
        ] {
            let before = waiting(&watch);
            change();
            assert!(waiting(&watch) > before);
        }
    }

    #[tokio::test]
    async fn folders_are_followed_as_they_move_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        for folder in ["root/gone", "root/old"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let mut watch = deaf();
        watch.follow(&root, &[folder(&root, "gone"), folder(&root, "old")]);
        fs::rename(root.join("old"), root.join("new")).unwrap();
        fs::rename(root.join("gone"), &outside).unwrap();
        fs::create_dir(root.join("gone")).unwrap();
        watch.follow(&root, &[folder(&root, "gone"), folder(&root, "new")]);
        for (place, is_heard) in
            [(root.join("new"), true), (root.join("gone"), true), (outside, false)]
        {
            let before = waiting(&watch);
            fs::write(place.join("file"), "content").unwrap();
            assert_eq!(waiting(&watch) > before, is_heard, "{}", place.display());
        }
    }
}
