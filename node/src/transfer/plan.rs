//! Which owner is asked for which chunk: decisions, without I/O and without a
//! clock of their own.
//!
//! Invariant. Every chunk is exactly one of: *free* (nobody was asked for it),
//! *asked* (one owner was, or two after a take-over), *verified* (its correct
//! bytes came, and were accepted exactly once). An owner is asked for at most
//! [`PIPELINE`] chunks, and for none unless it is here and trusted.
//!
//! So an owner that leaves gives its chunks back at once, a fast owner does
//! more than a slow one, and the file is complete as soon as every chunk is
//! verified, whoever still works on a second copy.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fixedbitset::FixedBitSet;
use shoal_common::content::Geometry;
use shoal_common::ident::NodeId;
use shoal_common::limits::PIPELINE;

/// How often an owner may send wrong bytes of a file before it is never asked
/// for it again. Once can be a file that was being written to.
const MAX_WRONG: u32 = 2;

/// Owners that are asked for one chunk at the same time. A third copy would
/// cost as much again and could hardly be sooner than the second.
const MAX_COPIES: usize = 2;

/// A chunk is taken over only by an owner that is expected to deliver it in
/// less than one part in this many of the time its holder still needs: paces
/// are estimates, and a take-over sends the bytes twice.
const SOONER_BY: u32 = 2;

/// And only if that saves this much, for the same reason.
const SOONER_AT_LEAST: Duration = Duration::from_millis(50);

/// What an owner is expected to need for a chunk as long as it has given none.
const UNPROVEN: Duration = Duration::from_millis(250);

/// Weight of the newest chunk in an owner's mean pace: the last few count.
const NEWEST: f64 = 0.3;

/// What to do with a chunk that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The first correct copy: write it.
    Keep,
    /// A correct copy of a chunk that is here already.
    Known,
    /// Wrong bytes; the owner gets another chance.
    Wrong,
    /// Wrong bytes once too often; the owner is out.
    Banned,
    /// The owner was not asked for it.
    Unasked,
}

/// What one owner gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which owner.
    pub owner: NodeId,
    /// Verified bytes that it gave first.
    pub bytes: u64,
    /// Whether it is in use now.
    pub here: bool,
}

#[derive(Debug, Default)]
struct Owner {
    here: bool,
    /// Chunks it was asked for, in the order of its answers.
    asked: VecDeque<u32>,
    /// Since when it works on the first of them.
    since: Option<Instant>,
    /// Mean time for one chunk.
    pace: Option<Duration>,
    wrong: u32,
    bytes: u64,
}

/// The plan of one download.
#[derive(Debug)]
pub struct Plan {
    geometry: Geometry,
    free: FixedBitSet,
    verified: FixedBitSet,
    owners: BTreeMap<NodeId, Owner>,
}

impl Plan {
    /// For a file cut this way, of which the chunks in `verified` are here.
    pub fn new(geometry: Geometry, mut verified: FixedBitSet) -> Self {
        let chunks = index(geometry.chunks());
        verified.grow(chunks);
        let mut free = FixedBitSet::with_capacity(chunks);
        free.insert_range(..);
        free.difference_with(&verified);
        Self { geometry, free, verified, owners: BTreeMap::new() }
    }

    /// An owner may be asked from now on. `false` if it sent wrong bytes too
    /// often.
    pub fn join(&mut self, id: NodeId) -> bool {
        self.leave(id);
        let owner = self.owners.entry(id).or_default();
        owner.here = owner.wrong < MAX_WRONG;
        owner.here
    }

    /// An owner can't be asked any more; what it was asked for is free again.
    pub fn leave(&mut self, id: NodeId) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        owner.here = false;
        owner.since = None;
        for chunk in std::mem::take(&mut owner.asked) {
            self.release(chunk);
        }
    }

    /// The next chunk to ask of this owner, which now counts as asked. `None`
    /// if it has enough to do, or nothing needs it at this moment.
    pub fn next(&mut self, id: NodeId, now: Instant) -> Option<u32> {
        let owner = self.owners.get(&id)?;
        if !owner.here || owner.asked.len() >= PIPELINE {
            return None;
        }
        let free = self.free.minimum().and_then(|chunk| u32::try_from(chunk).ok());
        let chunk = free.or_else(|| self.slowest(id, now))?;
        self.free.set(index(chunk), false);
        let owner = self.owners.get_mut(&id)?;
        owner.asked.push_back(chunk);
        owner.since.get_or_insert(now);
        Some(chunk)
    }

    /// A whole chunk came from an owner; `correct` says whether it verified.
    pub fn delivered(&mut self, id: NodeId, chunk: u32, correct: bool, now: Instant) -> Verdict {
        let length = self.length(chunk);
        let whole = length == self.geometry.chunk_size();
        let Some(owner) = self.owners.get_mut(&id) else { return Verdict::Unasked };
        let Some(place) = owner.asked.iter().position(|&asked| asked == chunk) else {
            return Verdict::Unasked;
        };
        owner.asked.remove(place);
        owner.paced(whole, now);
        if !correct {
            owner.wrong += 1;
            let banned = owner.wrong >= MAX_WRONG;
            self.release(chunk);
            if banned {
                self.leave(id);
            }
            return if banned { Verdict::Banned } else { Verdict::Wrong };
        }
        if self.verified.put(index(chunk)) {
            return Verdict::Known;
        }
        owner.bytes += length;
        Verdict::Keep
    }

    /// Whether every chunk is verified.
    pub fn is_complete(&self) -> bool {
        self.verified.is_full()
    }

    /// Owners that can be asked now.
    pub fn here(&self) -> usize {
        self.owners.values().filter(|owner| owner.here).count()
    }

    /// What each owner gave that was ever here.
    pub fn shares(&self) -> impl Iterator<Item = Share> + '_ {
        self.owners.iter().map(|(&id, owner)| Share {
            owner: id,
            bytes: owner.bytes,
            here: owner.here,
        })
    }

    fn release(&mut self, chunk: u32) {
        if !self.verified.contains(index(chunk)) && self.copies(chunk) == 0 {
            self.free.insert(index(chunk));
        }
    }

    fn copies(&self, chunk: u32) -> usize {
        self.owners.values().filter(|owner| owner.asked.contains(&chunk)).count()
    }

    fn length(&self, chunk: u32) -> u64 {
        let range = self.geometry.range(chunk);
        range.end - range.start
    }

    /// The chunk that keeps the file waiting longest, if this owner would
    /// clearly deliver it sooner than who was asked for it.
    fn slowest(&self, id: NodeId, now: Instant) -> Option<u32> {
        let taker = self.owners.get(&id)?;
        let (left, chunk) = self
            .owners
            .iter()
            .filter(|(other, _)| **other != id)
            .flat_map(|(_, owner)| {
                let asked = owner.asked.iter().zip(1..);
                asked.map(|(&chunk, nth)| (owner.left(nth, now), chunk))
            })
            .filter(|&(_, chunk)| {
                !self.verified.contains(index(chunk))
                    && !taker.asked.contains(&chunk)
                    && self.copies(chunk) < MAX_COPIES
            })
            .max()?;
        let nth = u32::try_from(taker.asked.len()).unwrap_or(u32::MAX).saturating_add(1);
        let sooner = taker.left(nth, now);
        let clearly = sooner.saturating_mul(SOONER_BY) < left && sooner + SOONER_AT_LEAST < left;
        clearly.then_some(chunk)
    }
}

impl Owner {
    /// It finished a chunk now. The short one at the end of a file says nothing
    /// of its pace: it takes hardly less than a whole one over a long way.
    fn paced(&mut self, whole: bool, now: Instant) {
        if let (Some(since), true) = (self.since, whole) {
            let newest = now.saturating_duration_since(since);
            self.pace = Some(match self.pace {
                Some(mean) => mean.mul_f64(1.0 - NEWEST) + newest.mul_f64(NEWEST),
                None => newest,
            });
        }
        self.since = (!self.asked.is_empty()).then_some(now);
    }

    /// How long until it has delivered the `nth` (from 1) of its chunks.
    ///
    /// Of a chunk that takes longer than it should nothing is known but that
    /// it takes long: it is expected to take as long again.
    fn left(&self, nth: u32, now: Instant) -> Duration {
        let usual = self.pace.unwrap_or(UNPROVEN);
        let elapsed =
            self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let first = usual.saturating_sub(elapsed).max(elapsed);
        first.saturating_add(usual.max(elapsed).saturating_mul(nth.saturating_sub(1)))
    }
}

fn index(chunk: u32) -> usize {
    usize::try_from(chunk).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
