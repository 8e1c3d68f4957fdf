//! Looks through a volume for what can be shared.

use std::io;

use cap_std::fs::{Dir, MetadataExt};
use shoal_common::limits::MAX_DEPTH;
use shoal_common::name::SharedName;

use super::Stamp;

/// A file that can be shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SharedName,
    /// By which a change is seen.
    pub stamp: Stamp,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// What a volume contains.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Files that can be shared, in order of their names.
    pub files: Vec<Listed>,
    /// Folders below the root that are not hidden: relative path, and number in
    /// their file system.
    pub folders: Vec<(String, u64)>,
    /// Those of them with nothing in them that can be shared, in order of their
    /// names.
    pub empty: Vec<SharedName>,
    /// Path, safe to print, and reason of what can't be. The reason is empty
    /// for what went while we looked.
    pub unshared: Vec<(String, String)>,
}

/// Everything below `root` but what is hidden.
pub(super) fn list(root: &Dir) -> io::Result<Listing> {
    let mut listing = Listing::default();
    listing.enter(root, "", 1)?;
    listing.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    listing.empty.sort_unstable();
    Ok(listing)
}

impl Listing {
    fn enter(&mut self, dir: &Dir, prefix: &str, depth: usize) -> io::Result<()> {
        for entry in dir.entries()? {
            let entry = entry?;
            let file_name = entry.file_name();
            if file_name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = format!("{prefix}{}", file_name.to_string_lossy());
            let outcome = match file_name.to_str() {
                Some(_) => self.look(&entry, &path, depth),
                None => Err("its name is not UTF-8".to_owned()),
            };
            if let Err(reason) = outcome {
                self.unshared.push((path.escape_debug().to_string(), reason));
            }
        }
        Ok(())
    }

    fn look(
        &mut self,
        entry: &cap_std::fs::DirEntry,
        path: &str,
        depth: usize,
    ) -> Result<(), String> {
        let readable = |error: io::Error| match error.kind() {
            // It went while we looked.
            io::ErrorKind::NotFound => String::new(),
            _ => format!("it can't be read: {error}"),
        };
        let name: SharedName = path.parse().map_err(|error| format!("{error}"))?;
        let meta = entry.metadata().map_err(readable)?;
        if meta.is_dir() {
            if depth >= MAX_DEPTH {
                return Err("it is too deep".to_owned());
            }
            let dir = entry.open_dir().map_err(readable)?;
            self.folders.push((path.to_owned(), meta.ino()));
            let before = (self.files.len(), self.empty.len());
            self.enter(&dir, &format!("{path}/"), depth + 1).map_err(readable)?;
            if before == (self.files.len(), self.empty.len()) {
                self.empty.push(name);
            }
            return Ok(());
        }
        if meta.is_symlink() {
            return Err("it is a link".to_owned());
        }
        if !meta.is_file() {
            return Err("it is not a regular file".to_owned());
        }
        let stamp = Stamp::new(meta.len(), (meta.mtime(), meta.mtime_nsec()), meta.ino());
        let executable = is_executable(meta.mode());
        self.files.push(Listed { name, stamp, executable });
        Ok(())
    }
}

/// Whether the owner of a file of this mode may execute it.
pub(super) fn is_executable(mode: u32) -> bool {
    mode & 0o100 != 0
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use crate::volume::{Stamp, Volume};

    #[test]
    fn shares_plain_files_and_says_why_not_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
        fs::create_dir_all(dir.path().join(".hidden")).unwrap();
        for file in ["b.txt", "sub/deep/été.txt", ".secret", ".hidden/x", "bad\nname"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        fs::write(dir.path().join(OsStr::from_bytes(b"latin\xe9")), "x").unwrap();
        let listing = volume.list().unwrap();
        let names: Vec<_> = listing.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["b.txt", "sub/deep/été.txt"]);
        let mut unshared: Vec<_> = listing.unshared.iter().map(|(path, _)| path.as_str()).collect();
        unshared.sort_unstable();
        assert_eq!(unshared, ["bad\\nname", "latin\u{fffd}"]);
        assert!(listing.empty.is_empty());
        let opened = volume.open_shared(&listing.files[0].name).unwrap();
        assert_eq!(Stamp::of(&opened).unwrap(), listing.files[0].stamp);
    }

    #[test]
    fn empty_folders_and_executable_files_are_seen() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        for folder in ["leaf/deep", "full/hollow", "hidden"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["full/plain", "full/tool", "hidden/.file"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let tool = dir.path().join("full/tool");
        fs::set_permissions(tool, fs::Permissions::from_mode(0o700)).unwrap();
        let listing = volume.list().unwrap();
        let files: Vec<_> =
            listing.files.iter().map(|file| (file.name.as_str(), file.executable)).collect();
        assert_eq!(files, [("full/plain", false), ("full/tool", true)]);
        let empty: Vec<_> = listing.empty.iter().map(|name| name.as_str()).collect();
        assert_eq!(empty, ["full/hollow", "hidden", "leaf/deep"]);
    }
}
