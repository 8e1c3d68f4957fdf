//! The next question for an owner.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shoal_common::ident::NodeId;

use super::bits::mix;
use super::item::{Item, Slot};
use super::owner::{MANIFEST, Owner};
use super::{Ask, ItemId, Part, Plan};
use crate::transfer::depth::AT_LEAST;

/// A manifest is asked of another owner too when it takes longer than this, and
/// longer than [`LATE`] times what was expected. A lookup in memory and a
/// message: it is late far sooner than a chunk is. Twice as long for each further
/// owner: nothing can begin without it, so that a few who are slow or silent must
/// not hold up all others, and a crowd that is slow is not asked all at once.
const MANIFEST_PATIENCE: Duration = Duration::from_millis(200);

/// See [`MANIFEST_PATIENCE`].
const LATE: u32 = 2;

/// An owner of which nothing was measured is asked for no more than one in so many
/// bytes of all that is free: nodes that begin together do not know of each other
/// yet, and what each asks for at once, another may ask for too.
const UNMEASURED: u64 = 64;

/// What an item has for an owner.
enum Pick {
    Ask(Ask),
    /// Something, but the owner has enough to do.
    Enough,
    Nothing,
}

impl Plan {
    /// The next question for this owner, which now counts as asked. `None` if it
    /// has enough to do, or nothing needs it at this moment.
    pub fn next(&mut self, id: NodeId, now: Instant) -> Option<Ask> {
        let slot = self.slot(id)?;
        if !self.owners.get(slot)?.has_room() {
            return None;
        }
        // They come behind what the owner was asked before, and only when they are
        // here the next chunks can be asked for.
        if let Some(item) = self.manifest_for(slot, now) {
            return self.ask_manifest(slot, item, now);
        }
        while let Some(&item) = self.owners.get(slot)?.ready.first() {
            match self.pick(slot, item, now) {
                Pick::Ask(ask) => return Some(ask),
                Pick::Enough => return None,
                Pick::Nothing => {
                    self.owners.get_mut(slot)?.ready.remove(&item);
                }
            }
        }
        self.take_over(slot, now)
    }

    /// As [`Plan::join`], if there is a manifest to be asked of this owner at
    /// once, which now counts as asked. Of which item; `None` if there is none, or
    /// the owner sent wrong bytes too often.
    pub fn join_for_manifest(&mut self, id: NodeId, now: Instant) -> Option<ItemId> {
        let wanted = self.items.values().any(|item| item.manifest.is_some());
        if !wanted || !self.join(id) {
            return None;
        }
        let slot = self.slot(id)?;
        let item = self.manifest_for(slot, now);
        let ask = item.and_then(|item| self.ask_manifest(slot, item, now));
        if ask.is_none() {
            self.leave(id);
        }
        ask.map(|ask| ask.item)
    }

    /// What of an item is to be asked of an owner now.
    fn pick(&mut self, slot: Slot, item: ItemId, now: Instant) -> Pick {
        let Some(known) = self.items.get(&item) else { return Pick::Nothing };
        let Some(chunks) = &known.chunks else { return Pick::Nothing };
        let Some(owner) = self.owners.get(slot) else { return Pick::Nothing };
        let request = owner.depth.request(self.request);
        let most = u32::try_from(request / chunks.geometry.chunk_size()).unwrap_or(u32::MAX).max(1);
        if !self.has_room(owner, request.max(chunks.geometry.chunk_size())) {
            return Pick::Enough;
        }
        self.seed = self.seed.wrapping_add(1);
        let run = known.pick(slot, self.order, most, mix(self.seed));
        let Some((first, count)) = run else { return Pick::Nothing };
        self.ask_chunks(slot, item, (first, count), now).map_or(Pick::Nothing, Pick::Ask)
    }

    /// Whether an owner may be asked for a request of this size more.
    ///
    /// What is left of the open items is not asked of one owner while others
    /// could give a part of it in the same time.
    fn has_room(&self, owner: &Owner, request: u64) -> bool {
        let after = owner.ahead + request;
        if after <= AT_LEAST * request {
            return true;
        }
        let mut deep = owner.depth.ahead();
        if owner.depth.rate().is_none() {
            deep = deep.min(self.free / UNMEASURED);
        }
        if after > deep {
            return false;
        }
        let here = self.here.iter().filter_map(|&slot| self.owners.get(slot));
        let (rates, ahead) = here.fold((0_u64, 0_u64), |(rates, ahead), owner| {
            (rates + owner.depth.rate().unwrap_or(0), ahead + owner.ahead)
        });
        let rate = owner.depth.possible();
        let rates = rates.saturating_sub(owner.depth.rate().unwrap_or(0)).saturating_add(rate);
        let part = u128::from(self.free + ahead) * u128::from(rate) / u128::from(rates.max(1));
        u128::from(after) <= part
    }

    pub(super) fn ask_chunks(
        &mut self,
        slot: Slot,
        item: ItemId,
        (first, count): (u32, u32),
        now: Instant,
    ) -> Option<Ask> {
        let chunks = self.items.get_mut(&item)?.chunks.as_mut()?;
        let owner = self.owners.get_mut(slot)?;
        let before = chunks.free_bytes;
        for chunk in first..first.saturating_add(count) {
            chunks.ask(chunk);
            owner.ask(item, Some(chunk), chunks.length(chunk), now);
        }
        chunks.advance(first, count);
        self.free -= before - chunks.free_bytes;
        Some(Ask { item, part: Part::Chunks { first, count } })
    }

    fn ask_manifest(&mut self, slot: Slot, item: ItemId, now: Instant) -> Option<Ask> {
        let wanted = self.items.get_mut(&item)?.manifest.as_mut()?;
        let owner = self.owners.get_mut(slot)?;
        owner.ask(item, None, MANIFEST, now);
        wanted.asked.push(slot);
        if let Some(late) = wanted.late.take() {
            self.late.remove(&(late, item));
        }
        let before = u32::try_from(wanted.asked.len() - 1).unwrap_or(u32::MAX);
        let least = MANIFEST_PATIENCE.saturating_mul(2_u32.saturating_pow(before));
        let patience = owner.left(owner.ahead, now).saturating_mul(LATE);
        let late = now + patience.max(least);
        wanted.late = Some(late);
        self.late.insert((late, item));
        Some(Ask { item, part: Part::Manifest })
    }

    /// A manifest that can be asked of this owner.
    fn manifest_for(&mut self, slot: Slot, now: Instant) -> Option<ItemId> {
        let asks = |items: &BTreeMap<ItemId, Item>, item: &ItemId| {
            items.get(item).is_some_and(|known| known.asks_manifest(slot, now))
        };
        let mut late = self.late.iter().take_while(|&&(when, _)| when <= now);
        if let Some(&(_, item)) = late.find(|(_, item)| asks(&self.items, item)) {
            return Some(item);
        }
        let owner = self.owners.get_mut(slot)?;
        while let Some(item) = owner.manifests.pop_first() {
            if asks(&self.items, &item) {
                return Some(item);
            }
        }
        None
    }
}
