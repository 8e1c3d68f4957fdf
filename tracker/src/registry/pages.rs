//! Who is here, told in parts whose size does not grow with the network.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{PAGE, PAGES_A_SECOND, PUSH_PAUSES, SAMPLE};
use shoal_common::protocol::tracking::Page;

use super::Registry;

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

    /// A page, and when the next one may be asked for: [`PAGES_A_SECOND`] are given
    /// in all, and each that is asked for takes its place behind those before.
    pub(crate) fn page(&mut self, after: Option<NodeId>, now: Duration) -> Page {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.order.range((start, Bound::Unbounded));
        let peers = behind.by_ref().take(PAGE).filter_map(|id| self.peer(id)).collect();
        let more = behind.next().is_some();
        self.next_page = self.next_page.max(now) + Duration::from_secs(1) / PAGES_A_SECOND;
        let pause = (self.next_page - now).max(PUSH_PAUSES.0);
        Page { peers, more, pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) }
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
