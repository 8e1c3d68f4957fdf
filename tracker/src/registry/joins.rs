//! Join numbers: who is how long in the network.
//!
//! A tracker counts from a number that grows with the time of the day, so that who
//! comes to a later one is younger than all who came before, even than those that
//! it has not heard of yet.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::COUNCIL;
use shoal_common::protocol::succession::Member;
use shoal_common::protocol::tracking::Charter;

use super::{Node, Registry};
use crate::succession::LINE;

/// Highest join number that is believed of a node: no network counts so far, and
/// from there no counter overflows.
const MAX_JOINED: u64 = 1 << 62;

/// Joins for which there is room in each millisecond between two trackers.
const JOINS: u64 = 1 << 16;

/// No network is older than this: the first day of 2026, in milliseconds of Unix
/// time.
const BEGINNING: u64 = 1_767_225_600_000;

/// The numbers that living nodes have.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// The highest that was ever given, or that can have been given before.
    highest: u64,
    nodes: BTreeMap<u64, Member>,
}

impl Joins {
    /// The number of a node: the one by which it lives here, `before`, else the
    /// one that it says it has had, if no other living node has that, else the
    /// next.
    pub(super) fn number(&mut self, id: NodeId, wish: u64, before: Option<u64>) -> u64 {
        let is_free = |number: &u64| {
            (1..=MAX_JOINED).contains(number)
                && self.nodes.get(number).is_none_or(|member| member.id == id)
        };
        let number = Some(wish).filter(is_free).or(before);
        let number = number.unwrap_or_else(|| self.highest.saturating_add(1));
        self.highest = self.highest.max(number);
        number
    }

    pub(super) fn insert(&mut self, peer: &Peer) {
        let member = Member { id: peer.id, joined: peer.joined, address: peer.search };
        self.highest = self.highest.max(peer.joined);
        self.nodes.insert(peer.joined, member);
    }

    pub(super) fn remove(&mut self, peer: &Peer) {
        self.nodes.remove(&peer.joined);
    }
}

impl Registry {
    /// The join number of a node that lives, else 0.
    pub(crate) fn joined(&self, id: NodeId) -> u64 {
        self.nodes.get(&id).map_or(0, |node| node.peer.joined)
    }

    /// Those longest in the network: as many as succession asks for.
    pub(crate) fn line(&self) -> Vec<Member> {
        self.joins.nodes.values().take(COUNCIL + LINE).copied().collect()
    }

    /// What the tracker is in office by, if it is.
    pub(crate) fn charter(&self) -> Option<&Charter> {
        self.charter.as_ref()
    }

    /// Whoever joins from now on is younger than all who joined before this time,
    /// in milliseconds of Unix time, whichever tracker they joined.
    pub(crate) fn count_joins_from(&mut self, time_ms: u64) {
        let before = time_ms.saturating_sub(BEGINNING).saturating_mul(JOINS);
        // Only so far that there is room for those to come.
        self.joins.highest = self.joins.highest.max(before.min(MAX_JOINED / 2));
    }

    pub(crate) fn set_charter(&mut self, charter: Charter) {
        self.charter = Some(charter);
    }

    /// In office from now on: these were here, as far as is known. They have the
    /// usual time to come.
    pub(crate) fn begin(&mut self, peers: Vec<Peer>, heartbeat: Duration, now: Duration) {
        self.end();
        self.heartbeat = heartbeat;
        // Who has no number, as far as is known, gets one when it comes: now it might
        // be one that another has.
        for peer in peers.into_iter().filter(|peer| peer.joined > 0) {
            let is_new = !self.nodes.contains_key(&peer.id) && !self.names.contains_key(&peer.name);
            let joined = self.joins.number(peer.id, peer.joined, None);
            if is_new && peer.is_reachable() && self.nodes.len() < super::MAX_NODES {
                let deadline = now + 2 * self.heartbeat;
                let wanted = peer.name.clone();
                let peer = Peer { joined, ..peer };
                self.insert(Node { peer, wanted, session: None, deadline, looked_at: deadline });
            }
        }
    }

    /// No longer in office.
    pub(crate) fn end(&mut self) {
        self.charter = None;
        let everyone: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in everyone {
            self.remove(id);
        }
        self.joins.nodes.clear();
        // Nobody is told what happened before.
        self.changes.clear();
        self.revision += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(10);

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn peer(number: u8, joined: u64) -> Peer {
        let at = "127.0.0.1:9".parse().unwrap();
        let name = format!("node{number}").parse().unwrap();
        Peer { id: id(number), name, search: at, download: at, joined }
    }

    #[test]
    fn numbers_are_given_once_and_kept() {
        let mut joins = Joins::default();
        assert_eq!(joins.number(id(1), 0, None), 1);
        joins.insert(&peer(1, 1));
        assert_eq!(joins.number(id(2), 0, None), 2);
        joins.insert(&peer(2, 2));
        assert_eq!(joins.number(id(1), 0, Some(1)), 1, "it lives");
        assert_eq!(joins.number(id(3), 2, None), 3, "another has that");
        assert_eq!(joins.number(id(4), 9, None), 9, "it had it at another tracker");
        joins.insert(&peer(4, 9));
        assert_eq!(joins.number(id(5), 0, None), 10);
        for absurd in [MAX_JOINED + 1, u64::MAX] {
            assert!(joins.number(id(6), absurd, None) < 20);
        }
        joins.remove(&peer(2, 2));
        assert_eq!(joins.number(id(7), 2, None), 2);
    }

    #[test]
    fn who_comes_later_is_younger_than_those_who_are_not_here_yet() {
        let numbers = [0, BEGINNING + 1000, BEGINNING + 1001].map(|start| {
            let mut joins = Registry::new(BEAT);
            joins.count_joins_from(start);
            (joins.joins.number(id(1), 0, None), joins.joins.number(id(2), 3, None))
        });
        assert_eq!(numbers, [(1, 3), (1000 * JOINS + 1, 3), (1001 * JOINS + 1, 3)]);
        let mut registry = Registry::new(BEAT);
        registry.count_joins_from(u64::MAX);
        assert_eq!(registry.joins.number(id(1), 0, None), MAX_JOINED / 2 + 1, "a clock set wrong");
    }

    #[test]
    fn a_successor_knows_who_was_here_and_gives_them_time() {
        let mut registry = Registry::new(BEAT);
        let deaf = Peer { search: "0.0.0.0:9".parse().unwrap(), ..peer(4, 4) };
        registry.begin(vec![peer(2, 7), peer(1, 3), peer(3, 7), deaf], BEAT, BEAT);
        let line: Vec<(NodeId, u64)> =
            registry.line().iter().map(|member| (member.id, member.joined)).collect();
        assert_eq!(line, [(id(1), 3), (id(2), 7), (id(3), 8)]);
        assert_eq!(registry.take_notices(), [], "nobody came");
        registry.tick(2 * BEAT);
        assert_eq!(registry.len(), 3);
        registry.tick(3 * BEAT);
        assert_eq!((registry.len(), registry.line().len()), (0, 0));
        registry.end();
        assert!(registry.charter().is_none());
    }
}
