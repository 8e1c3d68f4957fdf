//! One file of the job in the plan: who offers it, and what of it is free.

use std::time::Instant;

use fixedbitset::FixedBitSet;
use shoal_common::ident::NodeId;

use super::bits::{chunk, from, index, without};
use super::chunks::Chunks;
use super::crowd::Crowd;
use super::{Offer, Order};

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

    /// Who may offer it is here now; whether it does.
    pub(super) fn join(&mut self, slot: Slot, us: NodeId) -> bool {
        let offering = self.offers.iter_mut().find(|offering| offering.slot == slot);
        let Some(offering) = offering.filter(|offering| !offering.here) else { return false };
        offering.here = true;
        if let Some(chunks) = &mut self.chunks {
            offering.enter(chunks, us);
        }
        true
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
                let new: Vec<_> = without(&more, has).take_while(|&at| at < has.len()).collect();
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
