//! What a file is: its id, how it is cut into chunks, and the hashes by which
//! each chunk is verified alone.
//!
//! The id is the BLAKE3 hash of the content. A chunk is a whole subtree of
//! BLAKE3's tree, so the hashes of all chunks merge to the id: a [`Manifest`]
//! from a stranger is checked before it is believed, and from then on every
//! chunk can be checked by itself, from whomever it comes. (BLAKE3
//! specification, section 2.1 and, for subtrees, the `hazmat` module of the
//! reference crate.)

mod tail;

use std::ops::Range;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::ident::bytes32;
use crate::limits::{MAX_CHUNKS, MAX_FILE, MIN_CHUNK};

pub use self::tail::Tail;

bytes32! {
    /// Which content a file has: its BLAKE3 hash, what `b3sum FILE` prints. Two
    /// files with one name and two ids are two files.
    FileId
}

impl FileId {
    /// The id of a content that is in memory.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

/// How a file of some size is cut into chunks. It follows from the size alone,
/// so both ends of a transfer agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    size: u64,
    chunk_size: u64,
}

/// A file too large to be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a file of {0} bytes is too large: at most {MAX_FILE} can be shared")]
pub struct TooLarge(u64);

impl Geometry {
    /// Chunks of [`MIN_CHUNK`], doubled until there are at most [`MAX_CHUNKS`].
    ///
    /// # Errors
    /// The size is over [`MAX_FILE`].
    pub fn of(size: u64) -> Result<Self, TooLarge> {
        if size > MAX_FILE {
            return Err(TooLarge(size));
        }
        let mut chunk_size = MIN_CHUNK;
        while size.div_ceil(chunk_size) > u64::from(MAX_CHUNKS) {
            chunk_size *= 2;
        }
        Ok(Self { size, chunk_size })
    }

    /// Size of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Size of every chunk but the last, in bytes: a power of two.
    pub fn chunk_size(&self) -> u64 {
        self.chunk_size
    }

    /// Number of chunks; 0 for an empty file.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.size.div_ceil(self.chunk_size)).unwrap_or(MAX_CHUNKS)
    }

    /// The chunks that `bytes` touches, as far as there are any.
    pub fn touched(&self, bytes: &Range<u64>) -> Range<u32> {
        let index = |chunks: u64| u32::try_from(chunks).unwrap_or(MAX_CHUNKS).min(self.chunks());
        let first = index(bytes.start / self.chunk_size);
        first..index(bytes.end.div_ceil(self.chunk_size)).max(first)
    }

    /// The bytes of chunk `index`; empty behind the end.
    pub fn range(&self, index: u32) -> Range<u64> {
        let start = (u64::from(index) * self.chunk_size).min(self.size);
        start..(start + self.chunk_size).min(self.size)
    }
}

/// Which chunks of a file somebody has, as it travels: chunk `i` is bit `i % 8`
/// (the lowest is 0) of byte `i / 8`; bits behind the end mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct ChunkSet(#[serde(with = "serde_bytes")] Vec<u8>);

/// From a stranger: no longer than [`MAX_CHUNKS`] asks for.
impl<'de> Deserialize<'de> for ChunkSet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(from)?.into_vec();
        if bytes.len() > MAX_CHUNKS as usize / 8 {
            return Err(de::Error::invalid_length(bytes.len(), &"a bit for each chunk"));
        }
        Ok(Self(bytes))
    }
}

impl ChunkSet {
    /// All of so many chunks.
    pub fn all(chunks: u32) -> Self {
        (0..chunks).collect()
    }

    /// Whether a chunk is among them.
    pub fn contains(&self, chunk: u32) -> bool {
        let byte = usize::try_from(chunk / 8).ok().and_then(|byte| self.0.get(byte));
        byte.is_some_and(|byte| byte >> (chunk % 8) & 1 == 1)
    }

    /// Adds a chunk; from [`MAX_CHUNKS`] on there are none to be added.
    pub fn insert(&mut self, chunk: u32) {
        let Some(index) = usize::try_from(chunk / 8).ok().filter(|_| chunk < MAX_CHUNKS) else {
            return;
        };
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        if let Some(byte) = self.0.get_mut(index) {
            *byte |= 1 << (chunk % 8);
        }
    }

    /// Whether no chunk is among them.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// The chunks, in order; none from [`MAX_CHUNKS`] on.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..MAX_CHUNKS)
            .zip(self.0.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)))
            .filter(|&(_, bit)| bit == 1)
            .map(|(chunk, _)| chunk)
    }
}

impl FromIterator<u32> for ChunkSet {
    /// Chunks from [`MAX_CHUNKS`] on are left out: there are none.
    fn from_iter<I: IntoIterator<Item = u32>>(chunks: I) -> Self {
        let mut set = Self::default();
        chunks.into_iter().for_each(|chunk| set.insert(chunk));
        set
    }
}

/// Hash of one chunk: of a subtree of BLAKE3's tree, or of all of it if there is
/// but one chunk.
pub type SubtreeHash = [u8; 32];

/// Size and chunk hashes of a file, consistent with its id by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    file: FileId,
    geometry: Geometry,
    hashes: Vec<SubtreeHash>,
}

/// A manifest as it travels and as it is kept: not to be believed before
/// [`Manifest::try_from`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UncheckedManifest {
    /// The content it claims to describe.
    pub file: FileId,
    /// Size of the file, in bytes.
    pub size: u64,
    /// One subtree hash of 32 bytes per chunk, in order, without separators.
    #[serde(with = "serde_bytes")]
    pub hashes: Vec<u8>,
    /// Proves the size, where it is said to somebody who does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
}

/// Why a manifest is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The size is over the bound.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The number of hashes does not fit the size.
    #[error("a manifest with {found} bytes of hashes, where its size asks for {expected}")]
    Length {
        /// Bytes of hashes that came.
        found: usize,
        /// Bytes of hashes that the size asks for.
        expected: usize,
    },
    /// The hashes do not merge to the file id.
    #[error("a manifest whose hashes do not merge to the file id")]
    Hashes,
}

impl Manifest {
    /// The content it describes.
    pub fn file(&self) -> FileId {
        self.file
    }

    /// The manifest of a file of one chunk, or of none: its id says it all. `None`
    /// if a file of this size has more chunks.
    pub fn of_one_chunk(file: FileId, size: u64) -> Option<Self> {
        let hashes = if size == 0 { Vec::new() } else { vec![file.0] };
        let geometry = Geometry::of(size).ok().filter(|geometry| geometry.chunks() <= 1)?;
        (size > 0 || file == FileId::of(&[])).then_some(Self { file, geometry, hashes })
    }

    /// The manifest of a content whose chunks have these hashes, in order: what
    /// [`ChunkHasher::finish`] gave. `None` if it has more or fewer chunks.
    pub fn from_hashes(geometry: Geometry, hashes: Vec<SubtreeHash>) -> Option<Self> {
        let file = FileId(root(&hashes));
        let fits = u32::try_from(hashes.len()) == Ok(geometry.chunks());
        fits.then_some(Self { file, geometry, hashes })
    }

    /// How the file is cut.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether `bytes` are the content of chunk `index`.
    pub fn verifies(&self, index: u32, bytes: &[u8]) -> bool {
        let mut hasher = ChunkHasher::new(self.geometry, index);
        hasher.update(bytes);
        self.accepts(index, &hasher)
    }

    /// Whether what went through `hasher` is the content of chunk `index`.
    pub fn accepts(&self, index: u32, hasher: &ChunkHasher) -> bool {
        let expected = usize::try_from(index).ok().and_then(|index| self.hashes.get(index));
        expected.is_some() && hasher.finish().as_ref() == expected
    }
}

impl From<&Manifest> for UncheckedManifest {
    fn from(manifest: &Manifest) -> Self {
        let hashes = manifest.hashes.concat();
        Self { file: manifest.file, size: manifest.geometry.size, hashes, tail: None }
    }
}

impl TryFrom<UncheckedManifest> for Manifest {
    type Error = ManifestError;

    fn try_from(unchecked: UncheckedManifest) -> Result<Self, Self::Error> {
        let geometry = Geometry::of(unchecked.size)?;
        let (hashes, rest) = unchecked.hashes.as_chunks::<32>();
        let chunks = usize::try_from(geometry.chunks()).unwrap_or(usize::MAX);
        if hashes.len() != chunks || !rest.is_empty() {
            return Err(ManifestError::Length {
                found: unchecked.hashes.len(),
                expected: chunks.saturating_mul(32),
            });
        }
        if root(hashes) != *unchecked.file.as_bytes() {
            return Err(ManifestError::Hashes);
        }
        Ok(Self { file: unchecked.file, geometry, hashes: hashes.to_vec() })
    }
}

/// The root of the tree whose chunks have these hashes: the file id.
fn root(hashes: &[SubtreeHash]) -> [u8; 32] {
    match hashes {
        [] => *blake3::hash(&[]).as_bytes(),
        [only] => *only,
        _ => {
            let (left, right) = halves(hashes);
            *merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()
        }
    }
}

fn subtree(hashes: &[SubtreeHash]) -> ChainingValue {
    match hashes {
        [only] => *only,
        _ => {
            let (left, right) = halves(hashes);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// BLAKE3's rule: the left subtree is the largest power of two that leaves
/// something for the right one.
fn halves(hashes: &[SubtreeHash]) -> (&[SubtreeHash], &[SubtreeHash]) {
    hashes.split_at(hashes.len().next_power_of_two() / 2)
}

/// Hashes one chunk, piece by piece, as its bytes come in.
#[derive(Debug, Clone)]
pub struct ChunkHasher {
    hasher: blake3::Hasher,
    whole_file: bool,
    /// Bytes that are still to come; `None` once there were too many.
    missing: Option<u64>,
}

impl ChunkHasher {
    /// For chunk `index` of a file cut this way.
    pub fn new(geometry: Geometry, index: u32) -> Self {
        let range = geometry.range(index);
        let mut hasher = blake3::Hasher::new();
        if !range.is_empty() {
            hasher.set_input_offset(range.start);
        }
        Self {
            hasher,
            whole_file: geometry.size <= geometry.chunk_size,
            missing: Some(range.end - range.start),
        }
    }

    /// The next bytes of the chunk.
    pub fn update(&mut self, bytes: &[u8]) {
        self.missing = self.missing.and_then(|missing| missing.checked_sub(bytes.len() as u64));
        if self.missing.is_some() {
            self.hasher.update(bytes);
        }
    }

    /// The hash, if exactly the bytes of the chunk came, and there were any.
    /// (BLAKE3 defines no hash for an empty subtree.)
    pub fn finish(&self) -> Option<SubtreeHash> {
        if self.missing != Some(0) || self.hasher.count() == 0 {
            return None;
        }
        // A file of one chunk is its own root, which BLAKE3 marks as such.
        Some(if self.whole_file {
            *self.hasher.finalize().as_bytes()
        } else {
            self.hasher.finalize_non_root()
        })
    }
}

/// Makes the manifest of a content as it is read from front to back.
#[derive(Debug)]
pub struct ManifestBuilder {
    geometry: Geometry,
    seen: u64,
    current: ChunkHasher,
    hashes: Vec<SubtreeHash>,
}

/// The content had another size than was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} bytes were read where {expected} were expected: the file changed meanwhile")]
pub struct SizeChanged {
    /// Bytes that were read.
    pub found: u64,
    /// Bytes that were expected.
    pub expected: u64,
}

impl ManifestBuilder {
    /// For a content of the size that `geometry` says.
    pub fn new(geometry: Geometry) -> Self {
        Self { geometry, seen: 0, current: ChunkHasher::new(geometry, 0), hashes: Vec::new() }
    }

    /// The next bytes of the content.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.seen < self.geometry.size {
            let left = self.current.missing.unwrap_or(0);
            let (head, tail) =
                bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            self.current.update(head);
            self.seen += head.len() as u64;
            bytes = tail;
            if let Some(hash) = self.current.finish() {
                self.hashes.push(hash);
                let next = u32::try_from(self.hashes.len()).unwrap_or(u32::MAX);
                self.current = ChunkHasher::new(self.geometry, next);
            }
        }
        self.seen += bytes.len() as u64;
    }

    /// The manifest of what went through.
    ///
    /// # Errors
    /// More or fewer bytes came than the geometry says.
    pub fn finish(self) -> Result<Manifest, SizeChanged> {
        if self.seen != self.geometry.size {
            return Err(SizeChanged { found: self.seen, expected: self.geometry.size });
        }
        let file = FileId(root(&self.hashes));
        Ok(Manifest { file, geometry: self.geometry, hashes: self.hashes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::{GIB, MAX_CHUNK, MIB};

    fn content(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn manifest_of(content: &[u8]) -> Manifest {
        let mut builder = ManifestBuilder::new(Geometry::of(content.len() as u64).unwrap());
        for piece in content.chunks(300_001) {
            builder.update(piece);
        }
        builder.finish().unwrap()
    }

    #[test]
    fn the_id_is_the_plain_hash_for_any_number_of_chunks() {
        for size in
            [0, 1, 1024, 1025, 1 << 20, (1 << 20) + 1, 2 << 20, (3 << 20) - 7, 5 << 20, 7_654_321]
        {
            let content = content(size);
            let manifest = manifest_of(&content);
            assert_eq!(manifest.file(), FileId::of(&content), "{size} bytes");
            let unchecked = UncheckedManifest::from(&manifest);
            assert_eq!(Manifest::try_from(unchecked), Ok(manifest), "{size} bytes");
        }
    }

    #[test]
    fn each_chunk_verifies_alone_and_nothing_else_does() {
        let content = content(3_500_000);
        let manifest = manifest_of(&content);
        for index in 0..manifest.geometry().chunks() {
            let range = manifest.geometry().range(index);
            let start = usize::try_from(range.start).unwrap();
            let mut chunk = content[start..usize::try_from(range.end).unwrap()].to_vec();
            assert!(manifest.verifies(index, &chunk));
            assert!(!manifest.verifies(index + 1, &chunk));
            assert!(!manifest.verifies(index, &chunk[1..]));
            assert!(!manifest.verifies(index, &content));
            chunk[100] ^= 1;
            assert!(!manifest.verifies(index, &chunk));
        }
        assert!(!manifest.verifies(99, &[]));
        assert!(!manifest.verifies(u32::MAX, &content));
    }

    #[test]
    fn chunks_hashed_in_any_order_make_the_same_manifest() {
        for size in [0, 1, 1 << 18, (1 << 18) + 1, 3_500_000] {
            let content = content(size);
            let geometry = Geometry::of(size as u64).unwrap();
            let hash = |index| {
                let range = geometry.range(index);
                let start = usize::try_from(range.start).unwrap();
                let mut hasher = ChunkHasher::new(geometry, index);
                hasher.update(&content[start..usize::try_from(range.end).unwrap()]);
                hasher.finish().unwrap()
            };
            let mut hashes: Vec<_> = (0..geometry.chunks()).rev().map(hash).collect();
            hashes.reverse();
            assert_eq!(
                Manifest::from_hashes(geometry, hashes.clone()),
                Some(manifest_of(&content))
            );
            hashes.push([0; 32]);
            assert_eq!(Manifest::from_hashes(geometry, hashes), None);
        }
    }

    #[test]
    fn a_lying_manifest_is_not_believed() {
        let honest = UncheckedManifest::from(&manifest_of(&content(3_500_000)));
        let mut swapped = honest.clone();
        swapped.hashes[40] ^= 1;
        assert_eq!(Manifest::try_from(swapped), Err(ManifestError::Hashes));
        let mut longer = honest.clone();
        longer.size += MIB;
        assert!(matches!(Manifest::try_from(longer), Err(ManifestError::Length { .. })));
        let mut endless = honest.clone();
        endless.size = u64::MAX;
        assert!(matches!(Manifest::try_from(endless), Err(ManifestError::TooLarge(_))));
        let mut ragged = honest;
        ragged.hashes.push(0);
        assert!(matches!(Manifest::try_from(ragged), Err(ManifestError::Length { .. })));
    }

    #[test]
    fn chunks_double_so_that_a_manifest_stays_small() {
        assert_eq!(Geometry::of(16 * GIB).unwrap().chunk_size(), MIB);
        assert_eq!(Geometry::of(16 * GIB + 1).unwrap().chunk_size(), 2 * MIB);
        assert_eq!(Geometry::of(MAX_FILE).unwrap().chunk_size(), MAX_CHUNK);
        assert!(Geometry::of(MAX_FILE + 1).is_err());
    }

    proptest! {
        #[test]
        fn chunks_cover_a_file_without_gap_or_overlap(size in 0..=MAX_FILE) {
            let geometry = Geometry::of(size).unwrap();
            prop_assert!(geometry.chunks() <= MAX_CHUNKS);
            prop_assert!(geometry.chunk_size().is_power_of_two());
            let mut end = 0;
            for index in 0..geometry.chunks() {
                let range = geometry.range(index);
                prop_assert_eq!(range.start, end);
                prop_assert!(range.end > range.start);
                end = range.end;
            }
            prop_assert_eq!(end, size);
            prop_assert!(geometry.range(u32::MAX).is_empty());
        }
    }
}
