//! Which node of a swarm fetches which part of a file from the one that has it
//! all: every node works it out for itself, and all come to the same.

use std::collections::BinaryHeap;

use shoal_common::content::Geometry;
use shoal_common::ident::NodeId;

use super::bits::{chunk, index, mix};

/// Blocks that a file has at least, if it has as many chunks, before they are
/// longer than a chunk: enough that all parts are about as large.
const AT_LEAST: u32 = 256;

/// Chunks of a block in larger files: a request of the usual size.
const RUN: u32 = 4;

/// Most blocks of a file, whatever their length: they are shared out again
/// whenever a node comes or goes.
const AT_MOST: u32 = 1024;

/// Blocks that a node asks for by its claims before it knows of others, and the
/// fewest blocks of a file of which it does: what it asks for, over a slow line,
/// in the time until it knows.
const OPENING: (usize, u32) = (8, 64);

/// Added to a claim to a block that fell to another.
const NOT_DRAFTED: Claim = 1 << 31;

/// How much a node is entitled to a chunk; the lower, the more.
pub(super) type Claim = u32;

/// A node among those that fetch a file.
#[derive(Debug, Clone)]
pub(super) struct Member {
    name: u64,
    /// Blocks, the one with the strongest claim first.
    order: Vec<u32>,
}

/// How a file is shared out among the nodes that fetch it.
///
/// A node has a claim to each block, a hash of both. In turn, each takes the one
/// that it claims most of those that are left. So all parts are of one size (in
/// a swarm the largest part is the last to come), and when a node comes or goes
/// most blocks stay where they were.
#[derive(Debug)]
pub(super) struct Draft {
    /// Chunks of a block.
    block: usize,
    blocks: u32,
    /// To whom each block fell.
    taken: Vec<u64>,
}

impl Draft {
    pub(super) fn of(geometry: Geometry) -> Self {
        let chunks = geometry.chunks();
        let block = (chunks / AT_LEAST).clamp(1, RUN).max(chunks.div_ceil(AT_MOST));
        let blocks = chunks.div_ceil(block);
        Self { block: index(block), blocks, taken: Vec::new() }
    }

    /// Chunks of a block.
    pub(super) fn block(&self) -> u32 {
        chunk(self.block)
    }

    pub(super) fn member(&self, id: NodeId) -> Member {
        let name = name(id);
        let mut order: Vec<_> = (0..self.blocks).collect();
        order.sort_unstable_by_key(|&block| strength(name, block));
        Member { name, order }
    }

    /// Shares the file out among these.
    pub(super) fn draw<'a>(&mut self, members: impl Iterator<Item = &'a Member>) {
        let mut members: Vec<_> =
            members.map(|member| (member.name, member.order.iter())).collect();
        members.sort_unstable_by_key(|&(name, _)| name);
        let mut taken = vec![None; index(self.blocks)];
        let mut left = taken.len();
        while left > 0 && !members.is_empty() {
            for (name, order) in &mut members {
                let free = |block: &&u32| taken.get(index(**block)).is_some_and(Option::is_none);
                let Some(&block) = order.find(free) else { break };
                if let Some(place) = taken.get_mut(index(block)) {
                    *place = Some(*name);
                    left -= 1;
                }
            }
        }
        self.taken = taken.into_iter().map(Option::unwrap_or_default).collect();
    }

    /// The claim of a member to a chunk.
    pub(super) fn claim(&self, member: &Member, chunk: usize) -> Claim {
        let block = chunk / self.block;
        let claim = strength(member.name, u32::try_from(block).unwrap_or(u32::MAX));
        let drafted = self.taken.get(block).is_some_and(|&name| name == member.name);
        if drafted { claim } else { claim + NOT_DRAFTED }
    }

    /// The first chunks of the blocks to which a node has the strongest claims,
    /// the strongest last; none of a file that has few.
    pub(super) fn opening(&self, us: NodeId) -> Vec<usize> {
        if self.blocks < OPENING.1 {
            return Vec::new();
        }
        let name = name(us);
        let mut strongest = BinaryHeap::new();
        for block in 0..self.blocks {
            strongest.push((strength(name, block), block));
            if strongest.len() > OPENING.0 {
                strongest.pop();
            }
        }
        let sorted = strongest.into_sorted_vec().into_iter().rev();
        sorted.map(|(_, block)| index(block) * self.block).collect()
    }
}

fn name(id: NodeId) -> u64 {
    id.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// A hash of node and block, below [`NOT_DRAFTED`].
fn strength(name: u64, block: u32) -> Claim {
    Claim::try_from(mix(name ^ mix(block.into())) >> 33).unwrap_or(NOT_DRAFTED - 1)
}
