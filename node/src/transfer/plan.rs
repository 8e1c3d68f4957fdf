//! Which owner is asked for which part of which file of a job: decisions,
//! without I/O and without a clock of their own.
//!
//! A job fetches *items*, numbered files, of which some are *open* at a time.
//!
//! Invariant. Every chunk of an open item is exactly one of: *free* (nobody is
//! asked for it), *asked* (of one owner, or of two after a take-over),
//! *verified* (its correct bytes came, and were accepted exactly once). An owner
//! is asked only for what it offers, only while it is here and trusted, and for
//! no more ahead than [`depth`](super::depth) says.
//!
//! So an owner that leaves gives its chunks back at once, a fast owner does
//! more than a slow one, and an item is complete as soon as every chunk is
//! verified, whoever still works on a second copy.
//!
//! Which chunk: in sequential order the first; while all owners of an item are
//! complete, the next; in a swarm the rarest (`crowd`). Each owner keeps the
//! set of items that may have something to ask of it, so a decision does not
//! look at the others, however many are open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fixedbitset::FixedBitSet;
use shoal_common::content::Geometry;
use shoal_common::ident::NodeId;

mod ask;
mod bits;
mod chunks;
mod crowd;
mod draft;
mod item;
mod owner;
mod takeover;

use bits::{index, mix};
use chunks::Chunks;
use draft::Draft;
use item::{Item, Slot, Wanted};
use owner::{Asked, Owner};

/// Which file of its job: its place, from 0.
pub type ItemId = u32;

/// Which chunks of an item an owner has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// Every one.
    All,
    /// These. Those behind the end are ignored.
    Some(FixedBitSet),
}

/// In which order chunks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As is best for all.
    Any,
    /// From the front, for somebody who reads along.
    Sequential,
}

/// One question to an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// About which file.
    pub item: ItemId,
    /// For what of it.
    pub part: Part,
}

/// What an owner is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The manifest.
    Manifest,
    /// Consecutive chunks.
    Chunks {
        /// The first.
        first: u32,
        /// How many, at least 1.
        count: u32,
    },
}

/// What to do with a chunk that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The first correct copy: write it.
    Keep,
    /// A correct copy of a chunk that is here already, or not wanted any more.
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
    /// How often it sent wrong bytes.
    pub wrong: u32,
    /// Whether it is in use now.
    pub here: bool,
}

/// What the open items wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// Bytes that nobody was asked for yet.
    pub free: u64,
    /// Those of them that nobody offers who is here.
    pub unoffered: u64,
    /// Manifests that nobody who is here can be asked for.
    pub manifests: usize,
    /// Who works longest on what it was asked, and for how long.
    pub slowest: Option<(NodeId, Duration)>,
}

/// The plan of one job.
///
/// A method that makes something free, or says that somebody has more, makes work
/// for owners for which there was none: ask for them again after any but
/// [`next`](Plan::next) and a correct [`delivered`](Plan::delivered); and after
/// the time that [`retry`](Plan::retry) gives.
#[derive(Debug)]
pub struct Plan {
    order: Order,
    /// Bytes of the largest request.
    request: u64,
    us: NodeId,
    seed: u64,
    slots: BTreeMap<NodeId, Slot>,
    owners: Vec<Owner>,
    /// Which owners are here.
    here: Vec<Slot>,
    items: BTreeMap<ItemId, Item>,
    /// Items that were closed.
    closed: FixedBitSet,
    /// Bytes of all open items that are free.
    free: u64,
    /// Further items are to be opened.
    more: bool,
    /// When a manifest that was asked for is to be asked of another too.
    late: BTreeSet<(Instant, ItemId)>,
}

impl Plan {
    /// For a job of the node `us`. A request is for `request` bytes at most, but
    /// for one chunk at least. What is picked at random depends on `seed`.
    pub fn new(order: Order, request: u64, us: NodeId, seed: u64) -> Self {
        Self {
            order,
            request,
            us,
            seed,
            slots: BTreeMap::new(),
            owners: Vec::new(),
            here: Vec::new(),
            items: BTreeMap::new(),
            closed: FixedBitSet::new(),
            free: 0,
            more: false,
            late: BTreeSet::new(),
        }
    }

    /// Requests are for this many bytes at most from now on.
    pub fn set_request(&mut self, bytes: u64) {
        self.request = bytes;
    }

    /// Whether further items will be opened as soon as there is room: then it is
    /// not the end yet when an owner has nothing to do. At first there are none.
    pub fn set_more(&mut self, more: bool) {
        self.more = more;
    }

    // Items ----------------------------------------------------------------

    /// The manifest of an item is to be asked for.
    pub fn want_manifest(&mut self, item: ItemId) {
        self.items.entry(item).or_default().manifest.get_or_insert_default();
        self.stir(item);
    }

    /// An answer with a manifest came; `good` says whether it fits the content.
    /// If not, another owner is asked, if there is one. Whether it is the first
    /// good one: others that were asked too may come after it.
    pub fn manifest(&mut self, id: NodeId, item: ItemId, good: bool, now: Instant) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let Some(owner) = self.owners.get_mut(slot) else { return false };
        if owner.answer(item, None, now).is_none() {
            return false;
        }
        let Some(known) = self.items.get_mut(&item) else { return false };
        let Some(wanted) = &mut known.manifest else { return false };
        wanted.asked.retain(|&asked| asked != slot);
        if !good {
            wanted.bad.push(slot);
            self.stir(item);
            return false;
        }
        if let Some(late) = known.manifest.take().and_then(|wanted| wanted.late) {
            self.late.remove(&(late, item));
        }
        true
    }

    /// The chunks of an item are to be fetched, but for those in `verified`.
    pub fn open(&mut self, item: ItemId, geometry: Geometry, verified: FixedBitSet) {
        let mut chunks = Chunks::new(geometry, verified, self.start(geometry));
        let closed = index(item);
        if self.closed.contains(closed) {
            self.closed.remove(closed);
            let asked = self.owners.iter().flat_map(|owner| &owner.asked);
            let still = asked.filter(|asked| asked.item == item).filter_map(|asked| asked.chunk);
            still.for_each(|chunk| chunks.ask(chunk));
        }
        let known = self.items.entry(item).or_default();
        if let Some(old) = known.chunks.take() {
            // Opened twice: not to be, but no reason to lose count.
            self.free -= old.free_bytes;
        }
        self.free += chunks.free_bytes;
        known.open(chunks, self.us);
        self.stir(item);
    }

    /// An item is complete, or given up for now. What anyone offers of it is
    /// forgotten.
    pub fn close(&mut self, item: ItemId) {
        let Some(known) = self.items.remove(&item) else { return };
        self.closed.grow(index(item) + 1);
        self.closed.insert(index(item));
        if let Some(late) = known.manifest.and_then(|wanted| wanted.late) {
            self.late.remove(&(late, item));
        }
        self.free -= known.chunks.map_or(0, |chunks| chunks.free_bytes);
        for offering in known.offers {
            if let Some(owner) = self.owners.get_mut(offering.slot) {
                owner.forget(item);
            }
        }
    }

    /// Chunks of an item from this one on are not to be asked for yet, in
    /// sequential order.
    pub fn set_horizon(&mut self, item: ItemId, chunk: u32) {
        let chunks = self.items.get_mut(&item).and_then(|known| known.chunks.as_mut());
        let Some(chunks) = chunks else { return };
        chunks.horizon = chunk;
        self.stir(item);
    }

    /// Whether an item is open and every chunk of it is verified.
    pub fn is_complete(&self, item: ItemId) -> bool {
        self.chunks(item).is_some_and(|chunks| chunks.missing == 0)
    }

    // Owners ---------------------------------------------------------------

    /// An owner has these chunks of an item, and those it was known to have.
    pub fn offer(&mut self, id: NodeId, item: ItemId, offer: Offer) {
        if self.closed.contains(index(item)) && !self.items.contains_key(&item) {
            return;
        }
        let slot = self.slot_for(id);
        let Some(owner) = self.owners.get_mut(slot) else { return };
        let known = self.items.entry(item).or_default();
        known.offer(slot, (id, owner.here), self.us, offer);
        owner.stir(item, known);
    }

    /// An owner has an item no more; what it was asked of it is free.
    pub fn withdraw(&mut self, id: NodeId, item: ItemId) {
        let Some(slot) = self.slot(id) else { return };
        if let Some(known) = self.items.get_mut(&item) {
            known.withdraw(slot);
        }
        let Some(owner) = self.owners.get_mut(slot) else { return };
        owner.forget(item);
        for asked in owner.take_back(item) {
            self.release(slot, asked);
        }
    }

    /// An owner may be asked from now on for what it offers. `false` if it sent
    /// wrong bytes too often.
    pub fn join(&mut self, id: NodeId) -> bool {
        self.leave(id);
        let slot = self.slot_for(id);
        let Some(owner) = self.owners.get_mut(slot).filter(|owner| !owner.is_banned()) else {
            return false;
        };
        owner.here = true;
        self.here.push(slot);
        for (&item, known) in &mut self.items {
            if known.join(slot, self.us) {
                owner.stir(item, known);
            }
        }
        true
    }

    /// An owner can't be asked any more; what it was asked for is free again.
    /// What it offers is remembered.
    pub fn leave(&mut self, id: NodeId) {
        let Some(slot) = self.slot(id) else { return };
        let Some(owner) = self.owners.get_mut(slot).filter(|owner| owner.here) else { return };
        owner.here = false;
        owner.ready.clear();
        owner.manifests.clear();
        self.here.retain(|&here| here != slot);
        for known in self.items.values_mut() {
            known.leave(slot);
        }
        for asked in owner.take_all() {
            self.release(slot, asked);
        }
    }

    /// The first byte of an answer came so long after its request, which was
    /// made while the owner had nothing else to do.
    pub fn answered(&mut self, id: NodeId, after: Duration) {
        let slot = self.slot(id);
        if let Some(owner) = slot.and_then(|slot| self.owners.get_mut(slot)) {
            owner.depth.answered(after);
        }
    }

    /// Owners that can be asked now.
    pub fn here(&self) -> usize {
        self.here.len()
    }

    /// What each owner gave that was ever here, in the order of their ids.
    pub fn shares(&self) -> impl Iterator<Item = Share> + '_ {
        let owners = self.slots.values().filter_map(|&slot| self.owners.get(slot));
        owners.map(|owner| Share {
            owner: owner.id,
            bytes: owner.given,
            wrong: owner.wrong,
            here: owner.here,
        })
    }

    /// What the open items wait for. It looks at all of them.
    pub fn need(&self, now: Instant) -> Need {
        let here = self.here.iter().filter_map(|&slot| self.owners.get(slot));
        let working = here.filter(|owner| !owner.asked.is_empty());
        let stuck = |item: &&Item| {
            let can = |wanted: &Wanted| {
                let offers = item.offers.iter().filter(|offering| offering.here);
                offers.into_iter().any(|offering| !wanted.bad.contains(&offering.slot))
            };
            item.manifest.as_ref().is_some_and(|wanted| !can(wanted))
        };
        Need {
            free: self.free,
            unoffered: self.items.values().map(Item::unoffered).sum(),
            manifests: self.items.values().filter(stuck).count(),
            slowest: working
                .map(|owner| (owner.id, owner.silent(now)))
                .max_by_key(|&(_, time)| time),
        }
    }

    // Answers --------------------------------------------------------------

    /// A whole chunk came from an owner; `correct` says whether it verified.
    pub fn delivered(
        &mut self,
        id: NodeId,
        item: ItemId,
        chunk: u32,
        correct: bool,
        now: Instant,
    ) -> Verdict {
        let Some(slot) = self.slot(id) else { return Verdict::Unasked };
        let Some(owner) = self.owners.get_mut(slot) else { return Verdict::Unasked };
        let Some(asked) = owner.answer(item, Some(chunk), now) else { return Verdict::Unasked };
        let mut chunks = self.items.get_mut(&item).and_then(|known| known.chunks.as_mut());
        if correct {
            let new = chunks.as_mut().is_some_and(|chunks| chunks.verify(chunk));
            if let Some(chunks) = chunks {
                chunks.release(chunk);
            }
            if new {
                owner.given += asked.bytes;
            }
            return if new { Verdict::Keep } else { Verdict::Known };
        }
        owner.wrong += 1;
        let banned = owner.is_banned();
        self.release(slot, asked);
        if banned {
            self.leave(id);
        }
        if banned { Verdict::Banned } else { Verdict::Wrong }
    }

    /// An owner gave so many verified bytes that it was not asked for as a chunk.
    pub fn credit(&mut self, id: NodeId, bytes: u64) {
        let slot = self.slot_for(id);
        if let Some(owner) = self.owners.get_mut(slot) {
            owner.given += bytes;
        }
    }

    // ----------------------------------------------------------------------

    fn slot(&self, id: NodeId) -> Option<Slot> {
        self.slots.get(&id).copied()
    }

    fn slot_for(&mut self, id: NodeId) -> Slot {
        let next = self.owners.len();
        let slot = *self.slots.entry(id).or_insert(next);
        if slot == next {
            self.owners.push(Owner::new(id));
        }
        slot
    }

    fn chunks(&self, item: ItemId) -> Option<&Chunks> {
        self.items.get(&item)?.chunks.as_ref()
    }

    /// Whoever offers an item may have something to do.
    fn stir(&mut self, item: ItemId) {
        let Some(known) = self.items.get(&item) else { return };
        for offering in &known.offers {
            if let Some(owner) = self.owners.get_mut(offering.slot) {
                owner.stir(item, known);
            }
        }
    }

    /// Something that an owner was asked for is no longer asked of it.
    fn release(&mut self, slot: Slot, asked: Asked) {
        let Some(known) = self.items.get_mut(&asked.item) else { return };
        match (asked.chunk, &mut known.manifest, &mut known.chunks) {
            (None, Some(wanted), _) => wanted.asked.retain(|&other| other != slot),
            (Some(chunk), _, Some(chunks)) => {
                let before = chunks.free_bytes;
                if !chunks.release(chunk) {
                    return;
                }
                self.free += chunks.free_bytes - before;
            }
            _ => return,
        }
        self.stir(asked.item);
    }

    /// Where to begin with an item: what to ask for first, then from where on.
    /// Nodes that start together do not ask one owner for the same.
    fn start(&mut self, geometry: Geometry) -> (usize, Vec<usize>) {
        let run = (self.request / geometry.chunk_size()).max(1);
        let runs = u64::from(geometry.chunks()).div_ceil(run).max(1);
        if runs == 1 || self.order == Order::Sequential {
            return (0, Vec::new());
        }
        self.seed = self.seed.wrapping_add(1);
        let cursor = usize::try_from(mix(self.seed) % runs * run).unwrap_or(0);
        (cursor, Draft::of(geometry).opening(self.us))
    }
}

#[cfg(test)]
mod tests;
