//! Where a finished file goes: a folder of the volume, made and made durable,
//! and a name in it that is free.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cap_std::fs::Dir;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, linkat, mkdirat, openat, openat2,
    renameat_with, unlinkat,
};
use rustix::io::Errno;
use shoal_common::name::SharedName;

/// Most numbers that are tried for a name that is taken.
const MAX_NUMBER: u32 = 10_000;

/// A folder itself, never what a link leads to: files below a link are not
/// shared.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder of the volume (the root without a path); makes it, and makes
/// it durable, if it is not there.
///
/// # Errors
/// A part of the path is no folder, or the disk fails.
pub(super) fn folder(root: &Dir, path: Option<&str>) -> io::Result<File> {
    let Some(path) = path else { return Ok(open(root, ".")?.into()) };
    // Nearly always it is there: then one call does.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    if let Ok(there) = openat2(root, path, FOLDER, Mode::empty(), resolve) {
        return Ok(there.into());
    }
    let mut folder = open(root, ".")?;
    let mut behind = 0;
    for part in path.split('/') {
        behind += part.len() + 1;
        let described = |error: Errno| match error {
            Errno::NOTDIR | Errno::LOOP => {
                let here = path.get(..behind - 1).unwrap_or(path);
                let line = format!("`{here}` is here, and is no folder");
                io::Error::new(io::ErrorKind::NotADirectory, line)
            }
            error => error.into(),
        };
        folder = match open(&folder, part) {
            Err(Errno::NOENT) => made(&folder, part)?,
            opened => opened.map_err(described)?,
        };
    }
    Ok(folder.into())
}

fn open(folder: impl AsFd, part: &str) -> Result<OwnedFd, Errno> {
    openat(folder, part, FOLDER, Mode::empty())
}

fn made(parent: &OwnedFd, part: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, part, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
        // Somebody else made it meanwhile.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::fsync(parent)?;
    Ok(open(parent, part)?)
}

/// Names for a file, in the order in which they are tried.
pub(super) fn names(wanted: &SharedName) -> impl Iterator<Item = SharedName> {
    let numbered = (2..MAX_NUMBER).map_while(|number| wanted.with_number(number));
    std::iter::once(wanted.clone()).chain(numbered)
}

/// Moves a file into a folder, under a name that must be free.
///
/// # Errors
/// The name is taken, or the disk fails.
pub(super) fn rename(
    from: impl AsFd,
    name: &str,
    folder: &File,
    new_name: &str,
) -> Result<(), Errno> {
    match renameat_with(&from, name, folder, new_name, RenameFlags::NOREPLACE) {
        // A file system that can't: a link is refused in the same way if the
        // name is taken.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(&from, name, folder, new_name, AtFlags::empty())?;
            unlinkat(&from, name, AtFlags::empty())
        }
        renamed => renamed,
    }
}
