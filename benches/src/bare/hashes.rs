//! The list that the receiver verifies against: a BLAKE3 hash of each chunk.
//!
//! As a file: the size (8 bytes, big endian), then 32 bytes a chunk.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::failure::{Attempt, Failure, Outcome};
use crate::size::MIB;

/// Bytes of a chunk: those of Shoal's up to 16 GiB.
pub const CHUNK: u64 = MIB;

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// Its size in bytes.
    pub size: u64,
    /// The hash of each chunk.
    pub chunks: Vec<[u8; 32]>,
}

impl Hashes {
    /// Of a file, by reading it.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of(path: &Path) -> Outcome<Self> {
        let mut file = File::open(path).attempt(format!("`{}`", path.display()))?;
        let size = file.metadata()?.len();
        let mut chunks = Vec::new();
        loop {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader((&mut file).take(CHUNK))?;
            if hasher.count() == 0 {
                return Ok(Self { size, chunks });
            }
            chunks.push(*hasher.finalize().as_bytes());
        }
    }

    /// Reads the list.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub fn load(path: &Path) -> Outcome<Self> {
        let bytes = fs::read(path).attempt(format!("`{}`", path.display()))?;
        Self::parse(&bytes)
            .ok_or_else(|| Failure::new(format!("`{}` is no list of hashes", path.display())))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<8>()?;
        let (chunks, rest) = rest.as_chunks::<32>();
        let list = Self { size: u64::from_be_bytes(*size), chunks: chunks.to_vec() };
        (rest.is_empty() && list.size.div_ceil(CHUNK) == list.chunks.len() as u64).then_some(list)
    }

    /// Writes the list.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self, path: &Path) -> Outcome<()> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        bytes.extend(self.chunks.iter().flatten());
        fs::write(path, bytes).attempt(format!("`{}`", path.display()))
    }

    /// Whether the bytes are the chunk at this place.
    pub fn accept(&self, chunk: u64, hasher: &blake3::Hasher) -> bool {
        let expected = usize::try_from(chunk).ok().and_then(|chunk| self.chunks.get(chunk));
        expected.is_some_and(|expected| hasher.finalize() == *expected)
    }

    /// The bytes of part `part` of `parts`: whole chunks, the same number each,
    /// but for one more or less.
    pub fn part(&self, part: u64, parts: u64) -> Range<u64> {
        let chunks = self.chunks.len() as u64;
        let bound = |part: u64| (chunks * part / parts * CHUNK).min(self.size);
        bound(part)..bound(part + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 1 << 20;

    fn of(size: u64) -> Hashes {
        Hashes { size, chunks: vec![[7; 32]; usize::try_from(size.div_ceil(CHUNK)).unwrap()] }
    }

    #[test]
    fn parts_cover_the_file() {
        for size in [0, 1, CHUNK, 7 * CHUNK + 5] {
            for parts in 1..=9 {
                let list = of(size);
                let mut end = 0;
                for part in 0..parts {
                    let range = list.part(part, parts);
                    assert_eq!(range.start, end);
                    end = range.end;
                }
                assert_eq!(end, size, "{size} in {parts}");
            }
        }
    }

    #[test]
    fn saved_and_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let (file, list) = (dir.path().join("file"), dir.path().join("list"));
        fs::write(&file, vec![1; 3 * BLOCK / 2]).unwrap();
        let hashes = Hashes::of(&file).unwrap();
        assert_eq!((hashes.size, hashes.chunks.len()), (3 * MIB / 2, 2));
        hashes.save(&list).unwrap();
        assert_eq!(Hashes::load(&list).unwrap(), hashes);
        assert!(Hashes::load(&file).is_err(), "a file is no list");
        assert!(Hashes::parse(&[0; 7]).is_none());
        assert!(Hashes::parse(&[0; 40]).is_none(), "a hash too many");
    }
}
