//! One file of the job in the plan: who offers it, and what of it is free.

use std::time::Instant;

use fixedbitset::FixedBitSet;
use shoal_common::content::Geometry;
use shoal_common::ident::NodeId;

use super::bits::{around, chunk, from, index};
use super::crowd::{Crowd, Rank};
use super::draft::Draft;
use super::{Offer, Order};

/// How many free chunks are looked at before the best so far is good enough: a
/// matter of two microseconds.
const LOOK: usize = 1024;

/// A place among the owners of the plan.
pub(super) type Slot = usize;

/// A file that is open, or of which somebody said something.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) offers: Vec<Offering>,
    pub(super) manifest: Option<Wanted>,
    pub(super) chunks: Option<Chunks>,
}

/// Who offers what of it.
#[derive(Debug)]
pub(super) struct Offering {
    pub(super) slot: Slot,
    id: NodeId,
    pub(super) here: bool,
    offer: Offer,
}

/// A manifest that is not here yet.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Who was asked for it.
    pub(super) asked: Vec<Slot>,
    /// Who gave one that does not fit.
    pub(super) bad: Vec<Slot>,
    /// When somebody else is to be asked as well.
    pub(super) late: Option<Instant>,
}

impl Item {
    /// Somebody offers some of it, or more of it.
    pub(super) fn offer(&mut self, slot: Slot, owner: (NodeId, bool), us: NodeId, offer: Offer) {
        let (id, here) = owner;
        let chunks = self.chunks.as_mut();
        match self.offers.iter_mut().find(|offering| offering.slot == slot) {
            Some(known) => known.more(offer, chunks),
            None => {
                let mut new = Offering { slot, id, here, offer };
                if let Some(chunks) = chunks {
                    new.fit(chunks);
                    new.enter(chunks, us);
                }
                self.offers.push(new);
            }
        }
    }

    /// It offers nothing of it any more.
    pub(super) fn withdraw(&mut self, slot: Slot) {
        self.leave(slot);
        self.offers.retain(|offering| offering.slot != slot);
    }

    /// Who offers it may be asked now; whether there may be something to ask.
    pub(super) fn join(&mut self, slot: Slot, us: NodeId) -> bool {
        let offering = self.offers.iter_mut().find(|offering| offering.slot == slot);
        let Some(offering) = offering.filter(|offering| !offering.here) else { return false };
        offering.here = true;
        if let Some(chunks) = &mut self.chunks {
            offering.enter(chunks, us);
        }
        self.asks_something()
    }

    pub(super) fn leave(&mut self, slot: Slot) {
        let offering = self.offers.iter_mut().find(|offering| offering.slot == slot);
        let Some(offering) = offering.filter(|offering| offering.here) else { return };
        offering.here = false;
        if let (Some(crowd), Offer::Some(_)) =
            (self.chunks.as_mut().and_then(Chunks::crowd), &offering.offer)
        {
            crowd.leave(offering.id);
        }
    }

    pub(super) fn open(&mut self, mut chunks: Chunks, us: NodeId) {
        for offering in &mut self.offers {
            offering.fit(&chunks);
            offering.enter(&mut chunks, us);
        }
        self.chunks = Some(chunks);
    }

    /// Whether anything of it may be asked for.
    pub(super) fn asks_something(&self) -> bool {
        self.chunks.is_some() || self.manifest.is_some()
    }

    /// Whether this owner has the chunk and can be asked.
    pub(super) fn has(&self, slot: Slot, chunk: u32) -> bool {
        self.offering(slot).is_some_and(|offering| offering.has(chunk))
    }

    fn offering(&self, slot: Slot) -> Option<&Offering> {
        self.offers.iter().find(|offering| offering.slot == slot && offering.here)
    }

    /// Whether this owner is to be asked for the manifest.
    pub(super) fn asks_manifest(&self, slot: Slot, now: Instant) -> bool {
        let Some(wanted) = &self.manifest else { return false };
        let late = wanted.late.is_some_and(|late| late <= now);
        (wanted.asked.is_empty() || late)
            && !wanted.asked.contains(&slot)
            && !wanted.bad.contains(&slot)
            && self.offering(slot).is_some()
    }

    /// What to ask of this owner, of at most `most` chunks: the first and the
    /// number. It is free still.
    pub(super) fn pick(
        &self,
        slot: Slot,
        order: Order,
        most: u32,
        random: u64,
    ) -> Option<(u32, u32)> {
        let chunks = self.chunks.as_ref()?;
        chunks.pick(self.offering(slot)?.some(), order, most, random)
    }

    /// Bytes that are free and that nobody here offers.
    pub(super) fn unoffered(&self) -> u64 {
        let Some(chunks) = &self.chunks else { return 0 };
        if self.offers.iter().any(|offering| offering.here && offering.some().is_none()) {
            return 0;
        }
        let offered =
            |at: usize| self.offers.iter().any(|offering| offering.has(chunk(at)) && offering.here);
        let lacking = chunks.free.ones().filter(|&at| !offered(at));
        lacking.map(|at| chunks.length(chunk(at))).sum()
    }
}

impl Offering {
    fn some(&self) -> Option<&FixedBitSet> {
        match &self.offer {
            Offer::All => None,
            Offer::Some(has) => Some(has),
        }
    }

    fn has(&self, chunk: u32) -> bool {
        self.some().is_none_or(|has| has.contains(index(chunk)))
    }

    /// Cuts the set to the chunks that there are.
    fn fit(&mut self, chunks: &Chunks) {
        if let Offer::Some(has) = &mut self.offer {
            let count = chunks.verified.len();
            if has.len() != count {
                *has = from(has, None, 0).take_while(|&at| at < count).collect();
                has.grow(count);
            }
            if has.is_full() {
                self.offer = Offer::All;
            }
        }
    }

    fn enter(&self, chunks: &mut Chunks, us: NodeId) {
        if let (true, Offer::Some(has)) = (self.here, &self.offer) {
            let geometry = chunks.geometry;
            let crowd = chunks.crowd.get_or_insert_with(|| Box::new(Crowd::new(us, geometry)));
            crowd.join(self.id, has);
        }
    }

    fn more(&mut self, more: Offer, chunks: Option<&mut Chunks>) {
        let Offer::Some(has) = &mut self.offer else { return };
        let count = chunks.as_ref().map(|chunks| chunks.verified.len());
        let mut crowd = chunks.and_then(Chunks::crowd).filter(|_| self.here);
        match more {
            Offer::All => {
                if let Some(crowd) = &mut crowd {
                    crowd.leave(self.id);
                }
                self.offer = Offer::All;
                return;
            }
            Offer::Some(more) => {
                has.grow(count.unwrap_or(more.len()));
                let new: Vec<_> = more.difference(has).take_while(|&at| at < has.len()).collect();
                for at in new {
                    has.insert(at);
                    if let Some(crowd) = &mut crowd {
                        crowd.gain(self.id, at);
                    }
                }
            }
        }
        if count.is_some() && has.is_full() {
            if let Some(crowd) = &mut crowd {
                crowd.leave(self.id);
            }
            self.offer = Offer::All;
        }
    }
}

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
    crowd: Option<Box<Crowd>>,
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

    fn crowd(&mut self) -> Option<&mut Crowd> {
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

    /// Bytes of `count` chunks from `first` on.
    pub(super) fn lengths(&self, first: u32, count: u32) -> u64 {
        let last = self.geometry.range(first.saturating_add(count).saturating_sub(1));
        last.end - self.geometry.range(first).start
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

    /// They could not be kept. Whether it became free thereby.
    pub(super) fn lose(&mut self, chunk: u32) -> Option<bool> {
        if !self.verified.contains(index(chunk)) {
            return None;
        }
        self.verified.remove(index(chunk));
        self.missing += 1;
        Some(self.settle(chunk))
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

    fn pick(
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
