//! What is rare in a swarm, and who fetches it from whom.
//!
//! Nodes that fetch one file at the same time pass on to each other what they
//! have, so the network is only as fast as what is rare becomes common. But
//! nobody sees what others have just asked for: if each picked among the rarest
//! chunks at random, the one complete owner would send every few chunks twice.
//! So each chunk has an order of precedence among the nodes that fetch the file
//! (a hash of node and chunk, the same everywhere), and a node prefers, among
//! equally rare chunks, the ones before which few others want them. The
//! complete owner sends one part of the file to each, and each passes its part
//! on to the others in the same way. It is only a preference: a node that is
//! slow, gone or unknown holds nobody up.

use fixedbitset::FixedBitSet;
use shoal_common::content::Geometry;
use shoal_common::ident::NodeId;
use shoal_common::limits::MIB;

use super::bits::{index, mix};

/// Bytes that have the same order of precedence: a request of the usual size
/// does not break off in the middle.
const BLOCK: u64 = MIB;

/// What one more holder of a chunk adds to its key; the places below count the
/// fellows that come first.
const HOLDER: u32 = 1 << 16;

/// The holders and the order of precedence of the chunks of one file.
#[derive(Debug)]
pub(super) struct Crowd {
    us: NodeId,
    /// Chunks of a block.
    block: u32,
    /// For each chunk: partial owners that have it, and, in the lower half, those
    /// that lack it and come before us.
    keys: Vec<u32>,
    /// Partial owners.
    fellows: usize,
}

impl Crowd {
    pub(super) fn new(us: NodeId, geometry: Geometry) -> Self {
        let block = u32::try_from(BLOCK / geometry.chunk_size()).unwrap_or(1).max(1);
        Self { us, block, keys: vec![0; index(geometry.chunks())], fellows: 0 }
    }

    /// The rarer, and the more ours, the lower.
    pub(super) fn key(&self, chunk: usize) -> u32 {
        self.keys.get(chunk).copied().unwrap_or(u32::MAX)
    }

    /// No chunk that `fellow` has, or a complete owner if it is `None`, has a
    /// lower key.
    pub(super) fn lowest(partial: bool) -> u32 {
        if partial { HOLDER } else { 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fellows == 0
    }

    /// A node is here that has these chunks and fetches the others.
    pub(super) fn join(&mut self, fellow: NodeId, has: &FixedBitSet) {
        self.fellows += 1;
        self.each(fellow, |chunk, first, key| {
            *key += if has.contains(chunk) { HOLDER } else { u32::from(first) };
        });
    }

    /// It is not any more.
    pub(super) fn leave(&mut self, fellow: NodeId, has: &FixedBitSet) {
        self.fellows = self.fellows.saturating_sub(1);
        self.each(fellow, |chunk, first, key| {
            *key -= if has.contains(chunk) { HOLDER } else { u32::from(first) };
        });
    }

    /// It has one more.
    pub(super) fn gain(&mut self, fellow: NodeId, chunk: usize) {
        let first = self.comes_first(fellow, chunk);
        if let Some(key) = self.keys.get_mut(chunk) {
            *key = (*key + HOLDER) - u32::from(first);
        }
    }

    fn each(&mut self, fellow: NodeId, mut change: impl FnMut(usize, bool, &mut u32)) {
        for chunk in 0..self.keys.len() {
            let first = self.comes_first(fellow, chunk);
            if let Some(key) = self.keys.get_mut(chunk) {
                change(chunk, first, key);
            }
        }
    }

    fn comes_first(&self, fellow: NodeId, chunk: usize) -> bool {
        let block = u64::try_from(chunk / index(self.block)).unwrap_or(u64::MAX);
        weight(fellow, block) < weight(self.us, block)
    }
}

fn weight(node: NodeId, block: u64) -> u64 {
    let digest = node.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
    mix(digest ^ mix(block))
}
