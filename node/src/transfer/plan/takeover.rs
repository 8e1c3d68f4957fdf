//! The end of a job: who waits takes over from who keeps it waiting.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use shoal_common::ident::NodeId;

use super::bits::index;
use super::chunks::Chunks;
use super::item::Slot;
use super::owner::{Asked, Owner};
use super::{Ask, ItemId, Order, Plan};
use crate::transfer::depth::AT_LEAST;

/// Owners that are asked for one chunk at the same time. A third copy would
/// cost as much again and could hardly be sooner than the second.
pub(super) const MAX_COPIES: usize = 2;

/// A chunk is taken over only by an owner that is expected to deliver it in
/// less than one part in this many of the time its holder still needs: rates
/// are estimates, and a take-over sends the bytes twice.
const SOONER_BY: u32 = 2;

/// And only if that saves this much, for the same reason. The end may be so much
/// later than it could be; shorter pauses are those of a busy machine.
const SOONER_AT_LEAST: Duration = Duration::from_millis(5);

/// The same as long as more files are to come: there is other work soon, and only
/// who stands still is to be relieved, so that not all that is open waits for it.
const SOONER_MIDWAY: Duration = Duration::from_millis(250);

/// How soon, at the soonest and at the latest, an owner without work should ask
/// for some again while others work: who stands still does not say so, and rates
/// change.
const RETRY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

impl Plan {
    /// How long until it is worth while to ask again for an owner for which there
    /// was nothing, if nothing happens; `None` if only news can change that.
    pub fn retry(&self, id: NodeId, now: Instant) -> Option<Duration> {
        let slot = self.slot(id)?;
        let taker = self.owners.get(slot)?;
        let others = self.here.iter().filter(|&&other| other != slot);
        let waits = others.filter_map(|&other| {
            let holder = self.owners.get(other)?;
            let mut bytes = holder.ahead;
            let mut last = holder.asked.iter().rev();
            let asked = last.find(|asked| {
                bytes -= asked.bytes;
                self.can_take(slot, taker, asked)
            })?;
            if self.is_early(asked.item) {
                return Some(RETRY.1);
            }
            let due = self.enough(taker.left(taker.ahead + asked.bytes, now));
            Some(due.saturating_sub(holder.left(bytes + asked.bytes, now)))
        });
        Some(waits.min()?.clamp(RETRY.0, RETRY.1))
    }

    /// The chunk that keeps the job waiting longest (or the first, for somebody
    /// who reads along), if this owner would clearly deliver it sooner than who
    /// was asked for it.
    pub(super) fn take_over(&mut self, slot: Slot, now: Instant) -> Option<Ask> {
        let taker = self.owners.get(slot)?;
        let others = self.here.iter().filter(|&&other| other != slot);
        let candidates = others.filter_map(|&other| {
            let holder = self.owners.get(other)?;
            self.offered_by(slot, taker, holder, now)
        });
        let (item, chunk) = match self.order {
            Order::Any => candidates.max_by_key(|&(left, _)| left)?.1,
            Order::Sequential => candidates.min_by_key(|&(_, place)| place)?.1,
        };
        self.ask_chunks(slot, item, (chunk, 1), now)
    }

    /// What to take over from this one, and how long it would still take there.
    fn offered_by(
        &self,
        slot: Slot,
        taker: &Owner,
        holder: &Owner,
        now: Instant,
    ) -> Option<(Duration, (ItemId, u32))> {
        let mut bytes = holder.ahead;
        let mut best: Option<(Duration, (ItemId, u32))> = None;
        for asked in holder.asked.iter().rev() {
            let left = holder.left(bytes, now);
            bytes -= asked.bytes;
            if left <= self.enough(taker.left(taker.ahead + asked.bytes, now)) {
                break;
            }
            let can = self.can_take(slot, taker, asked) && !self.is_early(asked.item);
            let Some(chunk) = asked.chunk.filter(|_| can) else { continue };
            let place = (asked.item, chunk);
            if self.order == Order::Any {
                return Some((left, place));
            }
            let first = |&(_, other): &(Duration, (ItemId, u32))| Reverse(place) > Reverse(other);
            if best.as_ref().is_none_or(first) {
                best = Some((left, place));
            }
        }
        best
    }

    fn can_take(&self, slot: Slot, taker: &Owner, asked: &Asked) -> bool {
        let Some(chunk) = asked.chunk else { return false };
        let Some(item) = self.items.get(&asked.item) else { return false };
        let Some(chunks) = &item.chunks else { return false };
        usize::from(chunks.copies(chunk)) < MAX_COPIES
            && !chunks.verified.contains(index(chunk))
            && item.has(slot, chunk)
            && taker.ahead + asked.bytes <= AT_LEAST * chunks.geometry.chunk_size()
    }

    /// Whether it is no time to take over what is asked for of an item. In a swarm
    /// an owner without work is one that has nothing new for us: no reason to send
    /// anything twice before the end.
    fn is_early(&self, item: ItemId) -> bool {
        let swarm = |chunks: &Chunks| chunks.is_swarm() && chunks.free_bytes > 0;
        self.order == Order::Any && self.chunks(item).is_some_and(swarm)
    }

    /// What its holder needs longer than this for is taken over by who needs
    /// `sooner`.
    fn enough(&self, sooner: Duration) -> Duration {
        let saving = if self.more { SOONER_MIDWAY } else { SOONER_AT_LEAST };
        sooner.saturating_mul(SOONER_BY).max(sooner.saturating_add(saving))
    }
}
