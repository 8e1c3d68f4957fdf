//! Reproducible bytes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes written at once.
const BLOCK: usize = 1 << 20;

/// Writes `size` bytes that follow from `seed`: the extended output of BLAKE3
/// over it. The file appears whole or not at all.
///
/// # Errors
/// The disk's.
pub fn write(path: &Path, size: u64, seed: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = unfinished(path)?;
    let written = fill(&unfinished, size, seed).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        fs::remove_file(&unfinished).ok();
    }
    written
}

/// A hidden name beside the final one: nodes don't share it.
fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

fn fill(path: &Path, size: u64, seed: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut bytes = blake3::Hasher::new().update(seed.as_bytes()).finalize_xof();
    let mut block = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        let Some(part) = block.get_mut(..length) else {
            break;
        };
        bytes.fill(part);
        file.write_all(part)?;
        left -= length as u64;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/a");
        write(&path, 3 * BLOCK as u64 / 2, "shoal").unwrap();
        let content = fs::read(&path).unwrap();
        assert_eq!(content.len(), 3 * BLOCK / 2);
        let mut expected = vec![0; content.len()];
        blake3::Hasher::new().update(b"shoal").finalize_xof().fill(&mut expected);
        assert!(content == expected);
        write(&path, 10, "other").unwrap();
        assert_ne!(fs::read(&path).unwrap(), expected[..10]);
        assert_eq!(fs::read_dir(dir.path().join("sub")).unwrap().count(), 1, "nothing else stays");
        assert!(write(Path::new("/"), 1, "").is_err());
    }
}
