//! A node's folder: the one place where names become paths.
//!
//! Everything is opened beneath one directory handle; a link that leaves the
//! folder leads nowhere (`openat2` with `RESOLVE_BENEATH` where the kernel has
//! it, the same walk by hand elsewhere: what `cap-std` is for).
//!
//! ```text
//! <files>/…              what is shared: plain files, sub-folders too
//! <files>/.shoal/id      the node id
//! <files>/.shoal/lock    held while a node runs on this folder
//! <files>/.shoal/index   what has been hashed
//! <files>/.shoal/control the socket of the running node
//! <files>/.shoal/history what was typed at its terminal
//! <files>/.shoal/jobs    downloads that are not over
//! <files>/.shoal/stats   how long past downloads took
//! <files>/.shoal/clock   a Lamport time that no event of this node has passed
//! <files>/.shoal/partial/<file id>/   a download in progress
//! <files>/.shoal/chat/   what the chat remembers
//! <files>/.shoal/staging/             small files on their way to their names
//! ```

mod place;
mod walk;

mod chat;
mod partial;
mod staging;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt, Metadata, MetadataExt, OpenOptions, OpenOptionsExt,
};
use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};
use shoal_common::ident::NodeId;
use shoal_common::limits::MIB;
use shoal_common::name::SharedName;

pub use chat::ChatDir;
pub use partial::PartialDir;
pub use staging::{Staged, Staging};
pub use walk::{Listed, Listing};

/// Folder of the node's own state, within its volume.
const STATE: &str = ".shoal";

/// Why a folder can't be a node's volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// It can't be made, read or written.
    #[error("cannot use the folder `{path}`: {cause}")]
    Unusable {
        /// Which folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Another node runs on it.
    #[error("another node is running on the folder `{path}`")]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
}

/// By what a file is recognised as unchanged without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of content, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Number of the file in its file system.
    pub inode: u64,
}

impl Stamp {
    /// The stamp of an open file.
    ///
    /// # Errors
    /// The system can't tell.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    fn new(size: u64, (seconds, nanos): (i64, i64), inode: u64) -> Self {
        Self { size, mtime_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanos), inode }
    }
}

impl From<&std::fs::Metadata> for Stamp {
    fn from(meta: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self::new(meta.len(), (meta.mtime(), meta.mtime_nsec()), meta.ino())
    }
}

/// How long it is waited for the lock of a folder, and the pause between two
/// attempts: a node that was killed has it for as long as the system takes to
/// clear its memory away, some tenths of a second where it had much.
const LOCK_PATIENCE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(20));

/// A folder that a node shares and keeps its state in. Clones are the same
/// folder.
#[derive(Debug, Clone)]
pub struct Volume {
    path: Arc<Path>,
    root: Arc<Dir>,
    state: Arc<Dir>,
    /// How many folders for small files there have been.
    stagings: Arc<AtomicU64>,
    _lock: Arc<File>,
}

impl Volume {
    /// Opens the folder, makes it if it is not there, and keeps others out of
    /// it until the last clone is dropped. Blocks; for a moment also where another
    /// node seems to run on it.
    ///
    /// # Errors
    /// The folder can't be used, or another node runs on it.
    pub fn open(path: &Path) -> Result<Self, VolumeError> {
        let start = Instant::now();
        loop {
            let opened = Self::try_open(path)
                .map_err(|cause| VolumeError::Unusable { path: path.to_owned(), cause })?;
            match opened {
                Some(volume) => return Ok(volume),
                None if start.elapsed() < LOCK_PATIENCE.0 => std::thread::sleep(LOCK_PATIENCE.1),
                None => return Err(VolumeError::InUse { path: path.to_owned() }),
            }
        }
    }

    fn try_open(path: &Path) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(path)?;
        let root = Dir::open_ambient_dir(path, ambient_authority())?;
        make_private_dir(&root, STATE)?;
        let state = root.open_dir(STATE)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = state.open_with("lock", &options)?.into_std();
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Nobody else uses it: the lock is ours.
        staging::clear(&state)?;
        Ok(Some(Self {
            path: path.into(),
            root: Arc::new(root),
            state: Arc::new(state),
            stagings: Arc::default(),
            _lock: Arc::new(lock),
        }))
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a folder at this path, the parent of a shared name.
    pub fn has_folder(&self, path: &str) -> bool {
        self.root.symlink_metadata(path).is_ok_and(|there| there.is_dir())
    }

    /// Whether the folder is still where it was: not removed, moved, or replaced
    /// by another one.
    pub fn is_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let there = std::fs::metadata(&self.path);
        there.is_ok_and(|there| {
            self.root.dir_metadata().is_ok_and(|ours| {
                (there.dev(), there.ino())
                    == (cap_std::fs::MetadataExt::dev(&ours), cap_std::fs::MetadataExt::ino(&ours))
            })
        })
    }

    /// The node id of this folder; drawn at the first time.
    ///
    /// # Errors
    /// The id can't be read or written, or what is there is no id.
    pub fn node_id(&self) -> io::Result<NodeId> {
        match self.read_state("id") {
            Ok(text) => std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| {
                    io::Error::other("the node id in `.shoal/id` is damaged; delete it")
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = NodeId::random();
                self.write_state("id", format!("{id}\n").as_bytes())?;
                Ok(id)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a shared file for reading.
    ///
    /// # Errors
    /// It is not there, not a regular file, or behind a link that leaves the
    /// folder.
    pub fn open_shared(&self, name: &SharedName) -> io::Result<File> {
        Ok(self.open_stamped(name)?.0)
    }

    /// Opens a shared file for reading, with its stamp.
    ///
    /// # Errors
    /// As for [`Volume::open_shared`].
    pub fn open_stamped(&self, name: &SharedName) -> io::Result<(File, Stamp)> {
        let file = self.root.open_with(name.as_str(), &reading())?.into_std();
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok((file, Stamp::from(&meta)))
    }

    /// The stamp of the file with this name; `None` if there is none, or
    /// something else has the name.
    pub fn has(&self, name: &SharedName) -> Option<Stamp> {
        let meta = self.root.symlink_metadata(name.as_str()).ok().filter(Metadata::is_file)?;
        Some(Stamp::new(meta.len(), (meta.mtime(), meta.mtime_nsec()), meta.ino()))
    }

    /// Makes a folder, durably, with those above it that are not there.
    ///
    /// # Errors
    /// A part of the name is a file or a link here, or the disk fails.
    pub fn make_folder(&self, name: &SharedName) -> io::Result<()> {
        place::folder(&self.root, Some(name.as_str())).map(drop)
    }

    /// Space in the folder that is free for this user, in bytes.
    ///
    /// # Errors
    /// The file system can't tell.
    pub fn available(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Opens a file that was shared when it was hashed. Whether it is the same, and
    /// a regular file, is told by its [`Stamp`], which is to be looked at before
    /// anything of it is shown to anybody.
    ///
    /// # Errors
    /// It is not there, or behind a link that leaves the folder.
    pub fn open_known(&self, name: &SharedName) -> io::Result<File> {
        Ok(self.root.open_with(name.as_str(), &reading())?.into_std())
    }

    /// The part of a name that is no folder here although it would have to be
    /// one, if there is such a part.
    pub fn in_the_way(&self, name: &SharedName) -> Option<String> {
        let parent = name.parent()?;
        let ends = parent.match_indices('/').map(|(end, _)| end).chain([parent.len()]);
        let mut parts = ends.filter_map(|end| parent.get(..end));
        let is_other =
            |part: &&str| self.root.symlink_metadata(part).is_ok_and(|there| !there.is_dir());
        parts.find(is_other).map(str::to_owned)
    }

    /// Every file that can be shared, and what can't be, with the reason.
    ///
    /// # Errors
    /// The folder itself can't be read; one that can't be read within it is
    /// among the reasons.
    pub fn list(&self) -> io::Result<Listing> {
        walk::list(&self.root)
    }

    /// A piece of the node's state, as it was last written.
    ///
    /// # Errors
    /// It is not there, or can't be read.
    pub fn read_state(&self, name: &str) -> io::Result<Vec<u8>> {
        read(&self.state, name)
    }

    /// Writes a piece of the node's state, whole or not at all.
    ///
    /// # Errors
    /// It can't be written; what was there before stays.
    pub fn write_state(&self, name: &str, content: &[u8]) -> io::Result<()> {
        write_whole(&self.state, name, content)
    }

    /// Where the state of the node on this folder is, for those who only look
    /// for the socket of a running node or the history of its terminal.
    pub fn state_path(files: &Path) -> PathBuf {
        files.join(STATE)
    }

    /// Removes the node's state if nothing in it is worth keeping: no identity
    /// and no partial download. For a folder that was used only to fetch into.
    ///
    /// # Errors
    /// Something can't be removed.
    pub fn forget(&self) -> io::Result<()> {
        if self.state.try_exists("id")? {
            return Ok(());
        }
        match self.state.remove_dir("partial") {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.root.remove_dir_all(STATE),
        }
    }
}

fn make_private_dir(parent: &Dir, name: &str) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    match parent.create_dir_with(name, &builder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Largest piece of state that is read, in bytes: an index of some terabytes in
/// many files, and not what somebody else put there.
const MAX_STATE: u64 = 256 * MIB;

fn read(dir: &Dir, name: &str) -> io::Result<Vec<u8>> {
    let file = dir.open_with(name, &reading())?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    file.take(MAX_STATE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_STATE {
        return Err(io::Error::other(format!("more than {MAX_STATE} bytes")));
    }
    Ok(content)
}

/// Reads what is a file, not what it leads to; without O_NONBLOCK, opening a
/// named pipe waits for its other end.
fn reading() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    options.read(true).custom_flags(flags.bits().cast_signed());
    options
}

/// Writes beside the old file and renames over it, so that a reader, or a
/// crash at any moment, finds the old content or the new one.
fn write_whole(dir: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    write_beside(dir, name, content, File::sync_data)
}

/// As [`write_whole`], but nothing waits for the disk: after a loss of power
/// there may be nothing.
fn write_soon(dir: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    write_beside(dir, name, content, |_| Ok(()))
}

fn write_beside(
    dir: &Dir,
    name: &str,
    content: &[u8],
    sync: impl Fn(&File) -> io::Result<()>,
) -> io::Result<()> {
    let beside = format!("{name}.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = dir.open_with(&beside, &options)?.into_std();
    let written = file.write_all(content).and_then(|()| sync(&file));
    let written = written.and_then(|()| dir.rename(&beside, dir, name));
    if written.is_err() {
        // Half of it would only take the room that there is too little of.
        dir.remove_file(&beside).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn name(text: &str) -> SharedName {
        text.parse().unwrap()
    }

    #[test]
    fn the_id_is_drawn_once_and_the_folder_is_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(&dir.path().join("a/b")).unwrap();
        let id = volume.node_id().unwrap();
        assert_eq!(volume.node_id().unwrap(), id);
        let second = Volume::open(&dir.path().join("a/b"));
        assert!(matches!(second, Err(VolumeError::InUse { .. })));
        drop(volume);
        assert_eq!(Volume::open(&dir.path().join("a/b")).unwrap().node_id().unwrap(), id);
    }

    #[test]
    fn a_node_that_is_about_to_be_gone_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let first = Volume::open(dir.path()).unwrap();
        let end = std::thread::spawn(move || {
            std::thread::sleep(3 * LOCK_PATIENCE.1);
            drop(first);
        });
        assert!(Volume::open(dir.path()).is_ok());
        end.join().unwrap();
    }

    #[test]
    fn a_link_that_leaves_the_folder_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        let volume = Volume::open(&files).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        std::fs::write(files.join("plain"), "plain").unwrap();
        symlink(dir.path().join("secret"), files.join("absolute")).unwrap();
        symlink("../secret", files.join("relative")).unwrap();
        symlink("../outside", files.join("folder")).unwrap();
        symlink("plain", files.join("inside")).unwrap();
        assert!(volume.open_shared(&name("plain")).is_ok());
        for link in ["absolute", "relative", "folder/secret", "inside"] {
            assert!(volume.open_shared(&name(link)).is_err(), "{link}");
        }
        let listing = volume.list().unwrap();
        let names: Vec<_> = listing.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["plain"]);
        assert_eq!(listing.unshared.len(), 4);
    }

    #[test]
    fn a_pipe_or_a_folder_is_no_file_and_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("pipe"), mode).unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(volume.open_shared(&name("pipe")).is_err());
        assert!(volume.open_shared(&name("folder")).is_err());
    }

    #[test]
    fn what_is_no_state_is_not_read_and_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let state = dir.path().join(STATE);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, state.join("id"), mode).unwrap();
        assert!(volume.node_id().is_err());
        let huge = File::create(state.join("index")).unwrap();
        huge.set_len(MAX_STATE + 1).unwrap();
        assert!(volume.read_state("index").is_err());
        symlink("/etc/hostname", state.join("link")).unwrap();
        assert!(volume.read_state("link").is_err());
    }

    #[test]
    fn what_is_in_the_way_of_a_name_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/file"), "").unwrap();
        for (text, part) in [
            ("a/b/c", None),
            ("new/b/c", None),
            ("a/file", None),
            ("a/file/x", Some("a/file")),
            ("a/file/x/y", Some("a/file")),
        ] {
            assert_eq!(volume.in_the_way(&name(text)).as_deref(), part, "{text}");
        }
    }

    #[test]
    fn a_folder_that_is_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        let volume = Volume::open(&files).unwrap();
        assert!(volume.is_in_place());
        std::fs::rename(&files, dir.path().join("moved")).unwrap();
        assert!(!volume.is_in_place());
        std::fs::create_dir(&files).unwrap();
        assert!(!volume.is_in_place());
    }

    #[test]
    fn a_folder_is_made_with_those_above_it_unless_a_file_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("file"), "file").unwrap();
        symlink("a", dir.path().join("link")).unwrap();
        for folder in ["a/b/c", "a/b", "a/b/c", "a/d"] {
            volume.make_folder(&name(folder)).unwrap();
            assert!(dir.path().join(folder).is_dir());
        }
        for folder in ["file", "file/x", "link", "link/x"] {
            let error = volume.make_folder(&name(folder)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{folder}: {error}");
        }
        let stamp = volume.has(&name("file")).unwrap();
        assert_eq!(stamp, Stamp::of(&volume.open_shared(&name("file")).unwrap()).unwrap());
        for other in ["a", "link", "nothing", "file/x"] {
            assert_eq!(volume.has(&name(other)), None, "{other}");
        }
    }

    #[test]
    fn state_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        volume.write_state("index", b"one").unwrap();
        volume.write_state("index", b"two").unwrap();
        assert_eq!(volume.read_state("index").unwrap(), b"two");
    }

    #[test]
    fn nothing_is_forgotten_that_is_needed_again() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let file = shoal_common::content::FileId::of(b"half");
        volume.partial(&file).unwrap();
        volume.forget().unwrap();
        assert_eq!(volume.partials().unwrap(), [file]);
        volume.partial(&file).unwrap().discard().unwrap();
        volume.node_id().unwrap();
        volume.forget().unwrap();
        assert!(dir.path().join(STATE).join("id").exists());
        std::fs::remove_file(dir.path().join(STATE).join("id")).unwrap();
        volume.forget().unwrap();
        assert!(!dir.path().join(STATE).exists());
    }
}
