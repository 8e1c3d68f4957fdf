//! Proves how long a content is, in little more than a kilobyte.
//!
//! The hashes of all chunks merge to the file id whatever size is said, as long
//! as there are as many chunks: only the last one tells, for it has its hash
//! only at its place and with its length. It need not come as a whole: its last
//! block, and the hashes of the subtrees to the left on the way down to it,
//! merge to its hash too. (BLAKE3 specification, section 2.1: a block is hashed
//! with its number and its length, and another way down would have another
//! block at its end.)

use std::ops::Range;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root};
use serde::{Deserialize, Serialize};

use super::{Geometry, Manifest};

/// Bytes of a leaf of BLAKE3's tree.
const BLOCK: u64 = 1024;

/// The end of a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Its last bytes: 1 to 1024, as many as are in the last block.
    #[serde(with = "serde_bytes")]
    pub block: Vec<u8>,
    /// The hashes of the subtrees to the left of the way to that block, within
    /// the last chunk, from the top; 32 bytes each, without separators.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
}

impl Tail {
    /// Makes the one of a content; `read` hashes the bytes of a range.
    /// `None` if there is but one chunk, which proves itself.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn of<E>(
        geometry: Geometry,
        mut read: impl FnMut(Range<u64>, &mut dyn FnMut(&[u8])) -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let Some((path, block)) = way(geometry) else { return Ok(None) };
        let mut tail = Self { block: Vec::new(), path: Vec::new() };
        for range in path {
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(range.start);
            read(range, &mut |bytes| {
                hasher.update(bytes);
            })?;
            // No subtree is empty, but what was read may be short.
            if hasher.count() > 0 {
                tail.path.extend_from_slice(&hasher.finalize_non_root());
            }
        }
        read(block, &mut |bytes| tail.block.extend_from_slice(bytes))?;
        Ok(Some(tail))
    }

    /// Whether the content of this manifest ends so: then it is as long as the
    /// manifest says.
    pub fn proves(&self, manifest: &Manifest) -> bool {
        let Some((ranges, block)) = way(manifest.geometry) else { return false };
        let (path, rest) = self.path.as_chunks::<32>();
        if path.len() != ranges.len()
            || !rest.is_empty()
            || self.block.len() as u64 != block.end - block.start
        {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(block.start);
        let last: ChainingValue = hasher.update(&self.block).finalize_non_root();
        let merged = path
            .iter()
            .rev()
            .fold(last, |right, left| merge_subtrees_non_root(left, &right, Mode::Hash));
        manifest.hashes.last() == Some(&merged)
    }
}

/// The subtrees to the left of the way to the last block of the last chunk, from
/// the top, and that block. `None` if there is but one chunk.
fn way(geometry: Geometry) -> Option<(Vec<Range<u64>>, Range<u64>)> {
    let last = geometry.chunks().checked_sub(1).filter(|last| *last > 0)?;
    let mut rest = geometry.range(last);
    let mut path = Vec::new();
    while rest.end - rest.start > BLOCK {
        // BLAKE3's rule: the left subtree is the largest power of two that
        // leaves something for the right one.
        let blocks = (rest.end - rest.start).div_ceil(BLOCK);
        let left = blocks.next_power_of_two() / 2 * BLOCK;
        path.push(rest.start..rest.start + left);
        rest.start += left;
    }
    Some((path, rest))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::{FileId, ManifestBuilder, UncheckedManifest};
    use super::*;
    use crate::limits::{MAX_FILE, MIN_CHUNK};

    fn content(size: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn manifest_of(content: &[u8]) -> Manifest {
        let mut builder = ManifestBuilder::new(Geometry::of(content.len() as u64).unwrap());
        builder.update(content);
        builder.finish().unwrap()
    }

    fn tail_of(content: &[u8]) -> Option<Tail> {
        let at = |place: u64| usize::try_from(place).unwrap();
        let read = |range: Range<u64>, take: &mut dyn FnMut(&[u8])| {
            content[at(range.start)..at(range.end)].chunks(700).for_each(take);
            Ok::<_, Infallible>(())
        };
        Tail::of(Geometry::of(content.len() as u64).unwrap(), read).unwrap()
    }

    /// The same hashes, with another size.
    fn with_size(manifest: &Manifest, size: u64) -> Manifest {
        Manifest::try_from(UncheckedManifest { size, ..UncheckedManifest::from(manifest) }).unwrap()
    }

    #[test]
    fn it_proves_the_size_and_no_other() {
        for last in [1, 2, 1023, 1024, 1025, 2048, 3000, 100_000, MIN_CHUNK - 1, MIN_CHUNK] {
            let content = content(2 * MIN_CHUNK + last);
            let (manifest, tail) = (manifest_of(&content), tail_of(&content).unwrap());
            assert!(tail.proves(&manifest), "{last}");
            for other in [1, 2, 1024, 1025, last - 1, last + 1, last + 1024, MIN_CHUNK] {
                if other != last && (1..=MIN_CHUNK).contains(&other) {
                    let lie = with_size(&manifest, 2 * MIN_CHUNK + other);
                    assert!(!tail.proves(&lie), "{other} instead of {last}");
                }
            }
        }
    }

    #[test]
    fn one_that_was_changed_proves_nothing() {
        let content = content(MIN_CHUNK + 100_000);
        let (manifest, tail) = (manifest_of(&content), tail_of(&content).unwrap());
        let change = |change: &dyn Fn(&mut Tail)| {
            let mut changed = tail.clone();
            change(&mut changed);
            changed.proves(&manifest)
        };
        assert!(change(&|_| {}));
        assert!(!change(&|tail| tail.block[3] ^= 1));
        assert!(!change(&|tail| tail.path[3] ^= 1));
        assert!(!change(&|tail| tail.path.truncate(32)));
        assert!(!change(&|tail| tail.path.push(0)));
        assert!(!change(&|tail| tail.path.clear()));
        assert!(!change(&|tail| tail.block.clear()));
        assert!(!change(&|tail| tail.block.push(0)));
    }

    #[test]
    fn one_chunk_needs_none() {
        for size in [0, 1, MIN_CHUNK] {
            assert_eq!(tail_of(&content(size)), None);
            let tail = Tail { block: content(size), path: Vec::new() };
            assert!(!tail.proves(&manifest_of(&content(size))));
        }
    }

    #[test]
    fn it_is_short_for_the_largest_file_too() {
        for size in [MAX_FILE, MAX_FILE - 1] {
            let (path, block) = way(Geometry::of(size).unwrap()).unwrap();
            assert!(path.len() <= 16 && (1..=BLOCK).contains(&(block.end - block.start)));
        }
        assert_eq!(FileId::of(&[]), manifest_of(&[]).file());
    }
}
