//! The chunks of an open file: which are free, and which of them is next.

use fixedbitset::FixedBitSet;
use shoal_common::content::Geometry;

use super::Order;
use super::bits::{around, chunk, from, index};
use super::crowd::{Crowd, Rank};
use super::draft::Draft;

/// How many free chunks are looked at before the best so far is good enough: a
/// matter of two microseconds.
const LOOK: usize = 1024;

/// The chunks of a file that is open.
///
/// Every one is exactly one of: in `free`, with at least one copy under way, in
/// `verified` (and copies of it may still be under way).
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) geometry: Geometry,
    pub(super) free: FixedBitSet,
    /// Bytes of what is free.
    pub(super) free_bytes: u64,
    pub(super) verified: FixedBitSet,
    /// Chunks that are not verified.
    pub(super) missing: usize,
    /// Owners that are asked for each chunk.
    copies: Vec<u8>,
    /// Where the next run begins, while all owners are complete.
    cursor: usize,
    /// What is asked for before that, the next one last.
    opening: Vec<usize>,
    /// Chunks from here on are not to be asked for yet, in sequential order.
    pub(super) horizon: u32,
    /// As soon as there is a partial owner.
    pub(super) crowd: Option<Box<Crowd>>,
}

impl Chunks {
    pub(super) fn new(
        geometry: Geometry,
        mut verified: FixedBitSet,
        (cursor, opening): (usize, Vec<usize>),
    ) -> Self {
        let count = index(geometry.chunks());
        if verified.len() > count {
            verified = from(&verified, None, 0).take_while(|&at| at < count).collect();
        }
        verified.grow(count);
        let mut free = FixedBitSet::with_capacity(count);
        free.insert_range(..);
        free.difference_with(&verified);
        let missing = free.count_ones(..);
        let mut chunks = Self {
            geometry,
            free,
            free_bytes: 0,
            verified,
            missing,
            copies: vec![0; count],
            cursor,
            opening,
            horizon: u32::MAX,
            crowd: None,
        };
        chunks.free_bytes = if missing == count {
            geometry.size()
        } else {
            chunks.free.ones().map(|at| chunks.length(chunk(at))).sum()
        };
        chunks
    }

    pub(super) fn crowd(&mut self) -> Option<&mut Crowd> {
        self.crowd.as_deref_mut()
    }

    /// Whether there is a partial owner.
    pub(super) fn is_swarm(&self) -> bool {
        self.crowd.as_ref().is_some_and(|crowd| !crowd.is_empty())
    }

    /// Partial owners that have a chunk.
    #[cfg(test)]
    pub(super) fn rarity(&self, chunk: u32) -> usize {
        self.crowd.as_ref().map_or(0, |crowd| crowd.holders(index(chunk)))
    }

    pub(super) fn length(&self, chunk: u32) -> u64 {
        let range = self.geometry.range(chunk);
        range.end - range.start
    }

    pub(super) fn copies(&self, chunk: u32) -> u8 {
        self.copies.get(index(chunk)).copied().unwrap_or(0)
    }

    /// One owner more is asked for it.
    pub(super) fn ask(&mut self, chunk: u32) {
        if let Some(copies) = self.copies.get_mut(index(chunk)) {
            *copies = copies.saturating_add(1);
        }
        if self.free.contains(index(chunk)) {
            self.free.remove(index(chunk));
            self.free_bytes -= self.length(chunk);
        }
    }

    /// One owner less. Whether it became free thereby.
    pub(super) fn release(&mut self, chunk: u32) -> bool {
        if let Some(copies) = self.copies.get_mut(index(chunk)) {
            *copies = copies.saturating_sub(1);
        }
        self.settle(chunk)
    }

    /// Makes it free if nobody is asked for it and it is not here.
    fn settle(&mut self, chunk: u32) -> bool {
        let at = index(chunk);
        let free =
            at < self.verified.len() && !self.verified.contains(at) && self.copies(chunk) == 0;
        if free && !self.free.put(at) {
            self.free_bytes += self.length(chunk);
        }
        free
    }

    /// Its correct bytes are here. `false` if they were.
    pub(super) fn verify(&mut self, chunk: u32) -> bool {
        let new = index(chunk) < self.verified.len() && !self.verified.put(index(chunk));
        if new {
            self.missing -= 1;
        }
        new
    }

    /// A run was picked.
    pub(super) fn advance(&mut self, first: u32, count: u32) {
        while self.opening.last().is_some_and(|&next| !self.free.contains(next)) {
            self.opening.pop();
        }
        if self.opening.is_empty() {
            self.cursor = index(first.saturating_add(count));
        }
    }

    /// What to ask of an owner that has these, or all: the first and the number of
    /// a run of at most `most`.
    pub(super) fn pick(
        &self,
        has: Option<&FixedBitSet>,
        order: Order,
        mut most: u32,
        random: u64,
    ) -> Option<(u32, u32)> {
        let crowd = self.crowd.as_deref().filter(|crowd| !crowd.is_empty());
        let first = match (order, crowd) {
            (Order::Sequential, _) => from(&self.free, has, 0).next()?,
            (Order::Any, None) => match self.opening.last() {
                Some(&first) if self.free.contains(first) => {
                    most = most.min(Draft::of(self.geometry).block());
                    first
                }
                _ => around(&self.free, has, self.cursor).next()?,
            },
            (Order::Any, Some(crowd)) => self.rarest(crowd, has, random)?,
        };
        let crowd = crowd.filter(|_| order == Order::Any);
        let end = match order {
            Order::Any => self.free.len(),
            Order::Sequential => index(self.horizon).min(self.free.len()),
        };
        if first >= end {
            return None;
        }
        let rank = crowd.and_then(|crowd| crowd.rank(first));
        let fits = |&at: &usize| {
            self.free.contains(at)
                && has.is_none_or(|has| has.contains(at))
                && rank.is_none_or(|rank| {
                    crowd.and_then(|crowd| crowd.rank(at)).is_some_and(|next| next.like(rank))
                })
        };
        let more = (first + 1..end).take(index(most.max(1)) - 1).take_while(fits).count();
        Some((chunk(first), chunk(more + 1)))
    }

    /// Among what this owner has and is free: the lowest key. In a large file it
    /// is enough to look at some that can't be beaten but for their order.
    fn rarest(&self, crowd: &Crowd, has: Option<&FixedBitSet>, random: u64) -> Option<usize> {
        let start = usize::try_from(random % u64::try_from(self.free.len().max(1)).ok()?).ok()?;
        let mut best: Option<(Rank, usize)> = None;
        for (looked, at) in around(&self.free, has, start).enumerate() {
            let Some(rank) = crowd.rank(at) else { continue };
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, at));
            }
            if looked >= LOOK && best.is_some_and(|(rank, _)| rank.is_best(has.is_some())) {
                break;
            }
        }
        best.map(|(_, at)| at)
    }
}
