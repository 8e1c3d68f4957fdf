//! What is to be hashed, in portions that a thread takes at once. Pure, but for
//! opening a large file.

use std::ops::Range;
use std::sync::Arc;

use shoal_common::content::Geometry;
use shoal_common::limits::MIB;

use super::HashError;
use crate::volume::Listed;

/// Bytes of a portion, and size up to which a file is no more than one. Enough
/// that to take it costs nothing, and that the disk reads it in one go; little
/// enough that all threads end at about the same time.
const PORTION: u64 = 4 * MIB;

/// Most files of a portion, so that what is known is told soon.
const FILES: usize = 64;

/// What a thread takes at once.
#[derive(Debug)]
pub(super) enum Portion<L> {
    /// Whole files.
    Files(Vec<Listed>),
    /// Some chunks of a large file.
    Chunks(Arc<L>, Range<u32>),
    /// A large file that can't be opened.
    Unreadable(Listed, HashError),
}

/// Files in their order; `L` is a large one that is open.
#[derive(Debug)]
pub(super) struct Queue<L> {
    files: std::iter::Peekable<std::vec::IntoIter<Listed>>,
    /// Where its next portion begins, and how it is cut.
    large: Option<(Arc<L>, u32, Geometry)>,
}

impl<L> Queue<L> {
    pub(super) fn new(files: Vec<Listed>) -> Self {
        Self { files: files.into_iter().peekable(), large: None }
    }

    /// The next portion; `None` when nothing is left, or only whole files while
    /// no `more` of them shall be begun.
    pub(super) fn next(
        &mut self,
        more: bool,
        open: impl FnOnce(&Listed) -> Result<(L, Geometry), HashError>,
    ) -> Option<Portion<L>> {
        if let Some(chunks) = self.chunks() {
            return Some(chunks);
        }
        if !more {
            return None;
        }
        let Some(large) = self.files.next_if(is_large) else {
            return self.small();
        };
        match open(&large) {
            Ok((opened, geometry)) => {
                self.large = Some((Arc::new(opened), 0, geometry));
                self.chunks()
            }
            Err(error) => Some(Portion::Unreadable(large, error)),
        }
    }

    /// Whether there are files that were not begun.
    pub(super) fn is_empty(&mut self) -> bool {
        self.files.peek().is_none()
    }

    fn chunks(&mut self) -> Option<Portion<L>> {
        let (large, next, geometry) = self.large.as_mut()?;
        let start = *next;
        let several = u32::try_from(PORTION / geometry.chunk_size()).unwrap_or(1).max(1);
        let end = start.saturating_add(several).min(geometry.chunks());
        *next = end;
        let portion = Portion::Chunks(Arc::clone(large), start..end);
        if end == geometry.chunks() {
            self.large = None;
        }
        Some(portion)
    }

    fn small(&mut self) -> Option<Portion<L>> {
        let mut files = Vec::new();
        let mut bytes = 0;
        while files.len() < FILES && bytes < PORTION {
            let Some(file) = self.files.next_if(|file| !is_large(file)) else { break };
            bytes += file.stamp.size;
            files.push(file);
        }
        (!files.is_empty()).then_some(Portion::Files(files))
    }
}

fn is_large(file: &Listed) -> bool {
    file.stamp.size > PORTION
}

/// How many portions there are, about.
pub(super) fn portions(files: &[Listed]) -> usize {
    let bytes = files.iter().fold(0_u64, |bytes, file| bytes.saturating_add(file.stamp.size));
    let by_bytes = usize::try_from(bytes.div_ceil(PORTION)).unwrap_or(usize::MAX);
    by_bytes.max(files.len().div_ceil(FILES))
}

#[cfg(test)]
mod tests {
    use shoal_common::limits::GIB;

    use super::*;
    use crate::volume::Stamp;

    fn listed(name: &str, size: u64) -> Listed {
        let stamp = Stamp { size, mtime_ns: 0, inode: 0 };
        Listed { name: name.parse().unwrap(), stamp, executable: false }
    }

    fn open(file: &Listed) -> Result<(String, Geometry), HashError> {
        let name = file.name.to_string();
        if name.ends_with("bad") {
            return Err(HashError::Changing);
        }
        Ok((name, Geometry::of(file.stamp.size).unwrap()))
    }

    fn all(files: Vec<Listed>) -> Vec<Portion<String>> {
        let mut queue = Queue::new(files);
        let portions: Vec<_> = std::iter::from_fn(|| queue.next(true, open)).collect();
        assert!(queue.is_empty());
        portions
    }

    #[test]
    fn every_chunk_and_every_file_is_taken_once() {
        let sizes = [0, 1, PORTION, PORTION + 1, 100 * MIB + 7, 3 * GIB, 40 * GIB];
        let files: Vec<_> = sizes.iter().map(|&size| listed(&format!("{size}"), size)).collect();
        let (mut whole, mut ends) = (Vec::new(), std::collections::HashMap::new());
        for portion in all(files) {
            match portion {
                Portion::Files(files) => whole.extend(files.into_iter().map(|f| f.stamp.size)),
                Portion::Chunks(name, chunks) => {
                    assert!(!chunks.is_empty());
                    let end = ends.insert(name.to_string(), chunks.end).unwrap_or(0);
                    assert_eq!(end, chunks.start);
                }
                Portion::Unreadable(..) => panic!(),
            }
        }
        assert_eq!(whole, sizes[..3]);
        for size in &sizes[3..] {
            assert_eq!(ends[&size.to_string()], Geometry::of(*size).unwrap().chunks());
        }
    }

    #[test]
    fn small_files_come_in_portions_and_a_bad_one_alone() {
        let mut files: Vec<_> = (0..200).map(|n| listed(&format!("{n:03}"), 10)).collect();
        files.push(listed("bad", 10 * PORTION));
        files.push(listed("last", 10));
        assert_eq!(portions(&files), 11);
        let shape: Vec<_> = all(files)
            .iter()
            .map(|portion| match portion {
                Portion::Files(files) => files.len(),
                Portion::Chunks(..) => panic!(),
                Portion::Unreadable(..) => 0,
            })
            .collect();
        assert_eq!(shape, [64, 64, 64, 8, 0, 1]);
    }

    #[test]
    fn a_file_that_was_begun_is_ended_when_no_more_shall_be() {
        let files = vec![listed("large", 2 * PORTION), listed("other", 1)];
        let mut queue = Queue::new(files);
        assert!(queue.next(true, open).is_some());
        assert!(queue.next(false, open).is_some());
        assert!(queue.next(false, open).is_none());
        assert!(!queue.is_empty());
    }
}
