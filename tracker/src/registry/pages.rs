//! Who is here, told in parts whose size does not grow with the network.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{PAGE, PAGES_A_SECOND, PUSH_PAUSES, SAMPLE};
use shoal_common::protocol::tracking::Page;

use super::Registry;

/// A node as one that turns pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// When it may have the next page, if it has been told.
    place: Option<Duration>,
    /// Whether it has not turned all of them yet since it came into the network, and
    /// so does not know most of the others. Who comes from another tracker knows
    /// them.
    is_new: bool,
}

impl Reader {
    pub(super) fn new(is_new: bool) -> Self {
        Self { place: None, is_new }
    }

    /// It registers again; it keeps its place.
    pub(super) fn returned(self, is_new: bool) -> Self {
        Self { is_new: self.is_new || is_new, ..self }
    }
}

/// When the next page may be given: to one who is new, and to one who reads again.
/// Each kind has half of [`PAGES_A_SECOND`], so newcomers don't wait for thousands
/// who know nearly everyone.
#[derive(Debug, Default)]
pub(super) struct Queue([Duration; 2]);

impl Queue {
    /// A place behind those who wait, of `living` who may: who came, took one and left
    /// does not put off those who come after it.
    fn place(&mut self, reader: Reader, living: usize, now: Duration) -> Duration {
        const STEP: Duration = Duration::from_millis(2 * 1000 / PAGES_A_SECOND as u64);
        let [new, again] = &mut self.0;
        let next = if reader.is_new { new } else { again };
        let last = now + STEP.saturating_mul(u32::try_from(living).unwrap_or(u32::MAX));
        let place = (*next).clamp(now, last);
        *next = place + STEP;
        place
    }
}

impl Registry {
    /// At most [`SAMPLE`] of those who live beside `id`: all, if they are no
    /// more, else half of them behind it in the order of ids, beginning anew behind
    /// the last, and the others at equal distances over all.
    pub(crate) fn sample(&self, id: NodeId) -> Vec<Peer> {
        let others = || self.order.iter().filter(|other| **other != id);
        if self.order.len() <= SAMPLE {
            return others().filter_map(|id| self.peer(id)).collect();
        }
        let behind = self.order.range((Bound::Excluded(id), Bound::Unbounded));
        let near = behind.chain(others()).take(SAMPLE / 2);
        let far = distant(id).filter_map(|at| self.order.range(at..).find(|other| **other != id));
        // Ids are drawn by chance, so few are in both halves.
        let sample: BTreeSet<_> = near.chain(far).collect();
        sample.into_iter().filter_map(|id| self.peer(id)).collect()
    }

    /// A page for a node, and when it may ask for the next one. One that asks too
    /// early, or has no place yet, is only told when: [`Page::later`].
    ///
    /// [`PAGES_A_SECOND`] are given in all. A node has one place among those who
    /// wait, whichever connections it asks on and however often.
    pub(crate) fn page(&mut self, id: NodeId, after: Option<NodeId>, now: Duration) -> Page {
        let living = self.order.len();
        let Some(node) = self.nodes.get_mut(&id) else { return Page::later(PUSH_PAUSES.0) };
        let place = node.reader.place.unwrap_or_else(|| self.queue.place(node.reader, living, now));
        if now < place {
            node.reader.place = Some(place);
            return Page::later(place - now);
        }
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.order.range((start, Bound::Unbounded));
        let ids: Vec<NodeId> = behind.by_ref().take(PAGE).copied().collect();
        let more = behind.next().is_some();
        let next =
            more.then(|| self.queue.place(node.reader, living, now).max(now + PUSH_PAUSES.0));
        node.reader = Reader { place: next, is_new: node.reader.is_new && more };
        let pause = next.map_or(PUSH_PAUSES.0, |next| next - now);
        let peers = ids.iter().filter_map(|id| self.peer(id)).collect();
        Page { peers, more, ..Page::later(pause) }
    }

    /// Everyone who lives, in the order of ids.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.order.iter().filter_map(|id| self.peer(id)).collect()
    }

    fn peer(&self, id: &NodeId) -> Option<Peer> {
        self.nodes.get(id).map(|node| node.peer.clone())
    }
}

/// Half as many as a [`SAMPLE`], at equal distances from `id` on, all around the
/// ring of ids: others for each node.
fn distant(id: NodeId) -> impl Iterator<Item = NodeId> {
    let [first, rest @ ..] = *id.as_bytes();
    (1..=u8::MAX).step_by(256 / (SAMPLE / 2)).map(move |offset| {
        let mut bytes = [0; 32];
        let (head, tail) = bytes.split_at_mut(1);
        head.fill(first.wrapping_add(offset));
        tail.copy_from_slice(&rest);
        NodeId::from_bytes(bytes)
    })
}
