//! Consecutive chunks that come from one owner: how they are asked for, and
//! where one ends and the next begins in what comes.

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_common::content::{ChunkHasher, Geometry, Manifest};
use shoal_common::limits::MAX_RANGES;
use shoal_common::protocol::transfer::ByteRange;

use crate::transfer::item::Item;

/// Consecutive chunks of one file, some of whose bytes may have come.
pub(super) struct Run {
    pub(super) item: Arc<Item>,
    manifest: Arc<Manifest>,
    /// What was asked for and has not come.
    pub(super) ranges: VecDeque<ByteRange>,
    /// The chunk that comes now.
    chunk: u32,
    /// Bytes of it that are here.
    filled: usize,
    pub(super) hasher: ChunkHasher,
}

impl Run {
    /// Some chunks of an open file, asked for in one range, or, where a chunk
    /// is larger than a request may be, in several. `None` if the file is not
    /// open.
    pub(super) fn new(item: Arc<Item>, first: u32, count: u32, request: u64) -> Option<Self> {
        let manifest = Arc::clone(item.manifest()?);
        let geometry = manifest.geometry();
        let start = geometry.range(first).start;
        let end = geometry.range(first.saturating_add(count).saturating_sub(1)).end;
        // However small a request shall be, all of a chunk is one question.
        let least = (end - start).div_ceil(MAX_RANGES as u64).max(1);
        let size = if count > 1 { end - start } else { request.max(least) };
        let mut ranges = VecDeque::new();
        let mut offset = start;
        while offset < end {
            let length = size.min(end - offset);
            ranges.push_back(ByteRange { offset, length });
            offset += length;
        }
        let hasher = ChunkHasher::new(geometry, first);
        Some(Self { item, manifest, ranges, chunk: first, filled: 0, hasher })
    }

    /// Where in `buffer`, which is for one chunk, the next of `left` bytes go: as
    /// many as belong to the chunk that comes now.
    pub(super) fn part<'a>(&mut self, left: u64, buffer: &'a mut Vec<u8>) -> &'a mut [u8] {
        let length = self.length();
        if buffer.len() != length {
            buffer.resize(length, 0);
        }
        let end = length.min(self.filled.saturating_add(usize::try_from(left).unwrap_or(length)));
        let part = buffer.get_mut(self.filled..end).unwrap_or_default();
        self.filled = end;
        part
    }

    /// The chunk that has come whole, if one has, and whether it is right; from
    /// then on the next one comes.
    pub(super) fn finished(&mut self) -> Option<(u32, bool)> {
        if self.filled < self.length() {
            return None;
        }
        let (chunk, correct) = (self.chunk, self.manifest.accepts(self.chunk, &self.hasher));
        self.chunk += 1;
        self.filled = 0;
        self.hasher = ChunkHasher::new(self.manifest.geometry(), self.chunk);
        Some((chunk, correct))
    }

    fn length(&self) -> usize {
        let range = self.manifest.geometry().range(self.chunk);
        usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
    }
}

/// The bytes of a chunk.
pub(super) fn range(geometry: Geometry, chunk: u32) -> ByteRange {
    let range = geometry.range(chunk);
    ByteRange { offset: range.start, length: range.end - range.start }
}
