//! Where a measurement keeps its files, and the state of the memory behind it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use clap::ValueEnum;

use crate::failure::{Attempt, Failure, Outcome};
use crate::size::MIB;

/// On what the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Where {
    /// A file system in memory.
    Tmpfs,
    /// A disk.
    Disk,
}

impl Where {
    /// Its name in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Disk => "disk",
        }
    }
}

/// A folder that goes away with the measurement.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// A new folder within `base`.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(base: &Path) -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("shoal-bench-{}-{count}", std::process::id()));
        fs::create_dir_all(&dir).attempt(format!("`{}`", dir.display()))?;
        // Programs get paths from other working folders.
        Ok(Self { dir: dir.canonicalize()? })
    }

    /// The place of this name.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// The folder of this name, which is there afterwards.
    ///
    /// # Errors
    /// The disk's.
    pub fn folder(&self, name: impl AsRef<Path>) -> Outcome<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).attempt(format!("`{}`", path.display()))?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// Takes that much memory from the system and gives it back, by a file on a
/// file system in memory. Memory that was given back to the host of a virtual
/// machine is slow at its first touch; whoever runs next shall not pay for it.
///
/// # Errors
/// There is not so much.
pub fn touch_memory(tmpfs: &Path, bytes: u64) -> Outcome<()> {
    let path = tmpfs.join(format!("shoal-bench-{}-touch", std::process::id()));
    let block = vec![1; usize::try_from(MIB)?];
    let fill = || {
        let mut file = File::create(&path)?;
        (0..bytes.div_ceil(MIB)).try_for_each(|_| file.write_all(&block))
    };
    let filled: io::Result<()> = fill();
    fs::remove_file(&path).ok();
    filled.attempt(format!("touching {bytes} bytes of memory on `{}`", tmpfs.display()))
}

/// Deletes a file or a folder; whether there was one does not matter.
///
/// # Errors
/// It is there and can't be deleted.
pub fn delete(path: &Path) -> Outcome<()> {
    let deleted = match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    deleted.attempt(format!("deleting `{}`", path.display()))
}

/// Whether two files, or all files of two folders, have the same content.
///
/// # Errors
/// They have not, or can't be read.
pub fn same(expected: &Path, found: &Path) -> Outcome<()> {
    let words = format!("comparing `{}` with `{}`", found.display(), expected.display());
    if expected.is_dir() {
        for entry in fs::read_dir(expected).attempt(&words)? {
            let name = entry?.file_name();
            same(&expected.join(&name), &found.join(&name))?;
        }
        return Ok(());
    }
    let (expected, found) =
        (File::open(expected).attempt(&words)?, File::open(found).attempt(&words)?);
    if expected.metadata()?.len() != found.metadata()?.len() {
        return Err(Failure::new(format!("{words}: their sizes differ")));
    }
    let (mut one, mut other) = (Vec::new(), Vec::new());
    loop {
        one.clear();
        other.clear();
        (&expected).take(MIB).read_to_end(&mut one).attempt(&words)?;
        (&found).take(MIB).read_to_end(&mut other).attempt(&words)?;
        match (one == other, one.is_empty()) {
            (false, _) => return Err(Failure::new(format!("{words}: they differ"))),
            (true, true) => return Ok(()),
            (true, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 1 << 20;

    #[test]
    fn one_byte_makes_a_difference() {
        let base = tempfile::tempdir().unwrap();
        let place = Place::new(base.path()).unwrap();
        let (a, b) = (place.folder("a").unwrap(), place.folder("b").unwrap());
        let mut content = vec![0; 3 * BLOCK];
        fs::write(a.join("f"), &content).unwrap();
        fs::write(b.join("f"), &content).unwrap();
        same(&a, &b).unwrap();
        content[2 * BLOCK] = 1;
        fs::write(b.join("f"), &content).unwrap();
        assert!(same(&a, &b).is_err());
        fs::write(b.join("f"), "").unwrap();
        assert!(same(&a, &b).is_err());
        delete(&b.join("f")).unwrap();
        assert!(same(&a, &b).is_err(), "a file is missing");
        delete(&b.join("f")).unwrap();
        drop(place);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn touching_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        touch_memory(base.path(), 3 * MIB).unwrap();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
