//! A download in progress, on disk: never visible under its final name.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use shoal_common::content::FileId;
use shoal_common::name::SharedName;

use super::{Volume, make_private_dir, place, read, write_soon};

const PARTIAL: &str = "partial";
const DATA: &str = "data";
const NOTE: &str = "note";

/// The folder of one download in progress.
#[derive(Debug)]
pub struct PartialDir {
    root: Arc<Dir>,
    parent: Dir,
    name: String,
    dir: Dir,
}

impl Volume {
    /// The folder of the download of this content; made if it is not there.
    ///
    /// # Errors
    /// It can't be made or opened.
    pub fn partial(&self, file: &FileId) -> io::Result<PartialDir> {
        make_private_dir(&self.state, PARTIAL)?;
        let parent = self.state.open_dir(PARTIAL)?;
        let name = file.to_string();
        make_private_dir(&parent, &name)?;
        let dir = parent.open_dir(&name)?;
        Ok(PartialDir { root: Arc::clone(&self.root), parent, name, dir })
    }

    /// The contents that have been downloaded in part.
    ///
    /// # Errors
    /// The state can't be read.
    pub fn partials(&self) -> io::Result<Vec<FileId>> {
        let entries = match self.state.read_dir(PARTIAL) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<FileId>().ok()));
        }
        Ok(found)
    }
}

impl PartialDir {
    /// The file that the bytes go to; empty if it is new.
    ///
    /// # Errors
    /// It can't be made or opened.
    pub fn data(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        Ok(self.dir.open_with(DATA, &options)?.into_std())
    }

    /// What was noted about the download.
    ///
    /// # Errors
    /// There is no note, or it can't be read.
    pub fn note(&self) -> io::Result<Vec<u8>> {
        read(&self.dir, NOTE)
    }

    /// Notes something about the download, whole or not at all. Nothing waits for
    /// the disk: a note that is lost with the power costs a question to an owner.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write_note(&self, note: &[u8]) -> io::Result<()> {
        write_soon(&self.dir, NOTE, note)
    }

    /// Space that is free for this user, in bytes.
    ///
    /// # Errors
    /// The file system can't tell.
    pub fn available(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Gives the data its final name and removes this folder. No file is ever
    /// replaced: a name that is taken gets a number. Returns the name it got.
    ///
    /// The data must be whole, verified and synced.
    ///
    /// # Errors
    /// The name can't be made: a part of it is a file or a link that leaves
    /// the folder, or the disk fails.
    pub fn publish(self, wanted: &SharedName) -> io::Result<SharedName> {
        let folder = place::folder(&self.root, wanted.parent())?;
        for name in place::names(wanted) {
            match place::rename(&self.dir, DATA, &folder, name.file_name()) {
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    // The file is there, whole: whatever fails now is not worth
                    // saying that it is not.
                    if let Err(error) = folder.sync_all().and_then(|()| self.leave()) {
                        tracing::warn!("`{name}` is here, but its folder is not in order: {error}");
                    }
                    return Ok(name);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Lets everyone who may read the data execute it, or nobody.
    ///
    /// # Errors
    /// There is no data, or the disk fails.
    pub fn set_executable(&self, executable: bool) -> io::Result<()> {
        let data = self.data()?;
        let mode = rustix::fs::fstat(&data)?.st_mode & 0o7777;
        let wanted = if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
        if wanted != mode {
            rustix::fs::fchmod(&data, Mode::from_raw_mode(wanted))?;
        }
        Ok(())
    }

    /// Removes what is left when the data has its name. Another download of the
    /// same content may have begun here since: its data stays.
    fn leave(self) -> io::Result<()> {
        match self.dir.remove_file(NOTE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match self.parent.remove_dir(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    }

    /// Space that the data takes now, in bytes; none if there is no data.
    pub fn allocated(&self) -> u64 {
        // The system counts blocks of 512 bytes here, whatever the disk's are.
        let meta = self.dir.symlink_metadata(DATA);
        meta.map_or(0, |meta| cap_std::fs::MetadataExt::blocks(&meta).saturating_mul(512))
    }

    /// Removes the folder and what is in it.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn discard(self) -> io::Result<()> {
        self.parent.remove_dir_all(Path::new(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn finished(volume: &Volume, content: &str) -> PartialDir {
        let partial = volume.partial(&FileId::of(content.as_bytes())).unwrap();
        partial.write_note(b"note").unwrap();
        partial.data().unwrap().write_all(content.as_bytes()).unwrap();
        partial
    }

    #[test]
    fn nothing_is_ever_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let name: SharedName = "sub/notes.txt".parse().unwrap();
        for content in ["one", "two", "three"] {
            finished(&volume, content).publish(&name).unwrap();
        }
        for (file, content) in
            [("notes.txt", "one"), ("notes (2).txt", "two"), ("notes (3).txt", "three")]
        {
            assert_eq!(fs::read_to_string(dir.path().join("sub").join(file)).unwrap(), content);
        }
        assert_eq!(volume.partials().unwrap(), []);
    }

    #[test]
    fn a_partial_is_hidden_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let partial = finished(&volume, "half");
        assert!(volume.list().unwrap().files.is_empty());
        drop(partial);
        assert_eq!(volume.partials().unwrap(), [FileId::of(b"half")]);
        let again = volume.partial(&FileId::of(b"half")).unwrap();
        assert_eq!(again.note().unwrap(), b"note");
        assert_eq!(again.data().unwrap().metadata().unwrap().len(), 4);
        assert!(again.available().unwrap() > 0);
        again.discard().unwrap();
        assert_eq!(volume.partials().unwrap(), []);
    }

    #[test]
    fn what_may_be_executed_by_whom() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let partial = finished(&volume, "tool");
        let data = partial.data().unwrap();
        data.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
        let mode = || data.metadata().unwrap().permissions().mode() & 0o777;
        for (executable, expected) in [(true, 0o750), (true, 0o750), (false, 0o640)] {
            partial.set_executable(executable).unwrap();
            assert_eq!(mode(), expected);
        }
    }

    #[test]
    fn a_linked_folder_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(&dir.path().join("files")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        std::os::unix::fs::symlink("../outside", dir.path().join("files/sub")).unwrap();
        let partial = finished(&volume, "escaped");
        assert!(partial.publish(&"sub/file".parse().unwrap()).is_err());
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
        assert_eq!(volume.partials().unwrap().len(), 1, "the data is kept");
    }
}
