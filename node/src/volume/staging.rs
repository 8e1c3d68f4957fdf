//! Small files on their way: written whole beside the shared ones, made durable
//! together, then given their names.
//!
//! A file of a few kilobytes is there in no time; what would cost is to do for
//! each of thousands what is done for one of gigabytes. So a folder is opened
//! once for the files in it that follow each other, and what makes them durable
//! is done for all of them at once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, OFlags, fdatasync, fsync, openat, syncfs, unlinkat};
use rustix::io::Errno;
use shoal_common::name::SharedName;

use super::{Stamp, Volume, make_private_dir, place};

const STAGING: &str = "staging";

/// Most files or folders that are made durable one by one. Each costs a turn of
/// the disk's journal, while all at once cost one; but all at once is the whole
/// file system, with whatever others wrote to it.
const FEW: usize = 4;

/// A folder for small files on their way. What is left in it when it is dropped
/// is removed, and after a crash when the volume is opened again.
#[derive(Debug)]
pub struct Staging {
    root: Arc<Dir>,
    parent: Dir,
    name: String,
    dir: OwnedFd,
    next: AtomicU64,
}

/// A file that is written and has no name yet.
#[derive(Debug)]
pub struct Staged {
    wanted: SharedName,
    written: String,
    stamp: Stamp,
}

/// Removes what a crash left behind.
pub(super) fn clear(state: &Dir) -> io::Result<()> {
    match state.remove_dir_all(STAGING) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Volume {
    /// A new folder for small files on their way.
    ///
    /// # Errors
    /// It can't be made.
    pub fn staging(&self) -> io::Result<Staging> {
        make_private_dir(&self.state, STAGING)?;
        let parent = self.state.open_dir(STAGING)?;
        let name = self.stagings.fetch_add(1, Ordering::Relaxed).to_string();
        make_private_dir(&parent, &name)?;
        let dir = parent.open(&name)?.into_std().into();
        Ok(Staging { root: Arc::clone(&self.root), parent, name, dir, next: AtomicU64::new(0) })
    }
}

impl Staging {
    /// Writes a file that shall have this name. Blocks, but does not wait for
    /// the disk.
    ///
    /// # Errors
    /// The disk fails or is full; nothing is left behind.
    pub fn put(&self, name: &SharedName, bytes: &[u8], executable: bool) -> io::Result<Staged> {
        let written = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let mode = if executable { 0o777 } else { 0o666 };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.dir, &written, flags, Mode::from_raw_mode(mode))?);
        match file.write_all(bytes).and_then(|()| Stamp::of(&file)) {
            Ok(stamp) => Ok(Staged { wanted: name.clone(), written, stamp }),
            Err(error) => {
                self.remove(&written);
                Err(error)
            }
        }
    }

    /// Makes the files durable, then gives each its name; returns, in the same
    /// order, the names that they got and their stamps. No file is ever
    /// replaced: a name that is taken by another content gets a number, and one
    /// that is taken by the same content stays with that file. Blocks.
    ///
    /// The files of one folder should follow each other.
    ///
    /// # Errors
    /// Each file has its own: a part of its name is no folder here, or the disk
    /// fails. It is removed then.
    pub fn publish(&self, files: Vec<Staged>) -> Vec<io::Result<(SharedName, Stamp)>> {
        let durable = self.make_durable(&files);
        let mut folders = Folders { staging: self, current: None, synced: 0, unsynced: false };
        let publish = |file: Staged| {
            let published = match &durable {
                Ok(()) => folders.publish(&file),
                Err(error) => Err((*error).into()),
            };
            if published.is_err() {
                self.remove(&file.written);
            }
            published
        };
        let published = files.into_iter().map(publish).collect();
        folders.finish();
        published
    }

    /// So that after a crash a file that has its name has its content too.
    fn make_durable(&self, files: &[Staged]) -> Result<(), Errno> {
        if files.len() > FEW {
            return syncfs(&self.dir);
        }
        files.iter().try_for_each(|file| fdatasync(self.open(&file.written)?))
    }

    fn open(&self, written: &str) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&self.dir, written, flags, Mode::empty()).map(File::from)
    }

    fn remove(&self, written: &str) {
        if let Err(error) = unlinkat(&self.dir, written, AtFlags::empty()) {
            tracing::debug!("cannot remove a file that was on its way: {error}");
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = self.parent.remove_dir_all(&self.name) {
            tracing::debug!("cannot remove the files that were on their way: {error}");
        }
    }
}

/// The folders that files go to, one after the other.
struct Folders<'a> {
    staging: &'a Staging,
    /// The one that the last file went to: path and handle.
    current: Option<(Option<String>, File)>,
    /// How many were made durable alone.
    synced: usize,
    /// Whether others are not yet durable.
    unsynced: bool,
}

impl Folders<'_> {
    fn publish(&mut self, file: &Staged) -> io::Result<(SharedName, Stamp)> {
        let staging = self.staging;
        let folder = self.enter(file.wanted.parent())?;
        for name in place::names(&file.wanted) {
            match place::rename(&staging.dir, &file.written, folder, name.file_name()) {
                Ok(()) => return Ok((name, file.stamp)),
                Err(Errno::EXIST) => {
                    if let Some(stamp) = staging.same(file, folder, name.file_name()) {
                        staging.remove(&file.written);
                        return Ok((name, stamp));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn enter(&mut self, path: Option<&str>) -> io::Result<&File> {
        let current = match self.current.take_if(|(current, _)| current.as_deref() == path) {
            Some(current) => current,
            None => {
                self.leave();
                (path.map(str::to_owned), place::folder(&self.staging.root, path)?)
            }
        };
        Ok(&self.current.insert(current).1)
    }

    /// Makes durable what is in the folder that is left.
    fn leave(&mut self) {
        let Some((_, folder)) = self.current.take() else { return };
        if self.synced == FEW {
            self.unsynced = true;
            return;
        }
        self.synced += 1;
        tell(fsync(folder));
    }

    fn finish(mut self) {
        self.leave();
        if self.unsynced {
            tell(syncfs(&self.staging.dir));
        }
    }
}

/// The files are there, whole: whatever fails afterwards is not worth saying
/// that they are not.
fn tell(synced: Result<(), Errno>) {
    if let Err(error) = synced {
        tracing::warn!("files are here, but their folder is not in order: {error}");
    }
}

impl Staging {
    /// The stamp of the file with this name, if its content is the same.
    fn same(&self, file: &Staged, folder: &File, name: &str) -> Option<Stamp> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let there = File::from(openat(folder, name, flags, Mode::empty()).ok()?);
        let stamp = Stamp::of(&there).ok()?;
        if !there.metadata().ok()?.is_file() || stamp.size != file.stamp.size {
            return None;
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        there.take(stamp.size).read_to_end(&mut a).ok()?;
        self.open(&file.written).ok()?.take(stamp.size).read_to_end(&mut b).ok()?;
        (a == b).then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn name(text: &str) -> SharedName {
        text.parse().unwrap()
    }

    /// Publishes these, name and content; the names that they got, or none.
    fn publish(staging: &Staging, files: &[(&str, &str)]) -> Vec<Option<String>> {
        let put = |&(file, content): &(&str, &str)| {
            staging.put(&name(file), content.as_bytes(), false).unwrap()
        };
        let published = staging.publish(files.iter().map(put).collect());
        published.into_iter().map(|file| file.ok().map(|(name, _)| name.to_string())).collect()
    }

    fn count(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn files_appear_with_their_folders_their_modes_and_their_stamps() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let staging = volume.staging().unwrap();
        // More folders than are made durable one by one.
        let names: Vec<_> = (0..40).map(|n| name(&format!("t/{}/{n}", n / 3))).collect();
        let put = |file: &SharedName| {
            staging.put(file, file.as_str().as_bytes(), file.as_str().ends_with('7')).unwrap()
        };
        let files: Vec<_> = names.iter().map(put).collect();
        assert!(volume.list().unwrap().files.is_empty(), "nothing is there by halves");
        let published = staging.publish(files);
        let listing = volume.list().unwrap();
        assert_eq!(listing.files.len(), names.len());
        for (wanted, published) in names.iter().zip(published) {
            let (got, stamp) = published.unwrap();
            assert_eq!(&got, wanted);
            let listed = listing.files.iter().find(|listed| &listed.name == wanted).unwrap();
            assert_eq!(listed.stamp, stamp);
            assert_eq!(listed.executable, wanted.as_str().ends_with('7'));
            let there = fs::read_to_string(dir.path().join(wanted.as_str())).unwrap();
            assert_eq!(there, wanted.as_str());
        }
    }

    #[test]
    fn nothing_is_replaced_and_nothing_is_there_twice() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let staging = volume.staging().unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        let files = [("a", "one"), ("a", "two"), ("a", "one"), ("a", "two"), ("folder", "x")];
        let published = publish(&staging, &files);
        let names = ["a", "a (2)", "a", "a (2)", "folder (2)"].map(|name| Some(name.to_owned()));
        assert_eq!(published, names);
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "one");
        assert_eq!(fs::read_to_string(dir.path().join("a (2)")).unwrap(), "two");
        assert_eq!(volume.list().unwrap().files.len(), 3);
        assert_eq!(count(&dir.path().join(".shoal/staging/0")), 0);
    }

    #[test]
    fn a_file_or_a_link_in_the_way_fails_one_file_and_not_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        let volume = Volume::open(&files).unwrap();
        let staging = volume.staging().unwrap();
        fs::create_dir_all(dir.path().join("outside")).unwrap();
        fs::create_dir_all(files.join("inside")).unwrap();
        symlink("../outside", files.join("escape")).unwrap();
        symlink("inside", files.join("link")).unwrap();
        symlink("nowhere", files.join("taken")).unwrap();
        fs::write(files.join("file"), "file").unwrap();
        let wanted =
            [("escape/x", "x"), ("link/x", "x"), ("file/x/y", "x"), ("taken", "x"), ("ok/x", "x")];
        let put = |&(file, content): &(&str, &str)| {
            staging.put(&name(file), content.as_bytes(), false).unwrap()
        };
        let published = staging.publish(wanted.iter().map(put).collect());
        let errors: Vec<_> = published.iter().map(|file| file.as_ref().err()).collect();
        for (error, part) in errors.iter().zip(["escape", "link", "file"]) {
            let error = error.unwrap();
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
            assert_eq!(error.to_string(), format!("`{part}` is here, and is no folder"));
        }
        assert_eq!(published[3].as_ref().unwrap().0, name("taken (2)"));
        assert_eq!(published[4].as_ref().unwrap().0, name("ok/x"));
        assert_eq!((count(&dir.path().join("outside")), count(&files.join("inside"))), (0, 0));
        assert_eq!(count(&files.join(".shoal/staging/0")), 0, "what failed is removed");
    }

    #[test]
    fn what_a_crash_left_is_removed_and_what_is_dropped_too() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let staging = volume.staging().unwrap();
        let other = volume.staging().unwrap();
        staging.put(&name("a"), b"a", false).unwrap();
        other.put(&name("a"), b"a", false).unwrap();
        let staged = dir.path().join(".shoal/staging");
        drop(staging);
        assert_eq!(count(&staged), 1, "one job's end is not another's");
        // A crash: nothing is dropped, and the lock is gone.
        std::mem::forget(other);
        fs::remove_file(dir.path().join(".shoal/lock")).unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        assert!(!staged.exists());
        publish(&volume.staging().unwrap(), &[("a", "a")]);
        assert_eq!(volume.list().unwrap().files.len(), 1);
    }

    #[test]
    fn the_mode_is_what_the_person_lets_it_be() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let staging = volume.staging().unwrap();
        let tool = staging.put(&name("tool"), b"", true).unwrap();
        let plain = staging.put(&name("plain"), b"", false).unwrap();
        staging.publish(vec![tool, plain]);
        let usual = dir.path().join("usual");
        fs::write(&usual, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        let usual = mode(&usual);
        assert_eq!(mode(&dir.path().join("plain")), usual);
        assert_eq!(mode(&dir.path().join("tool")), usual | (usual & 0o444) >> 2);
    }
}
