//! Join numbers: who is how long in the network.
//!
//! A tracker counts from a number that grows with the time of the day, so that who
//! comes to a later one is younger than all who came before, even than those that
//! it has not heard of yet.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{CLOCK_SKEW, COUNCIL};
use shoal_common::protocol::succession::Member;
use shoal_common::protocol::tracking::Charter;

use super::{Node, Reader, Registry};
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
    /// Since when it counts: the time of the day, in milliseconds of Unix time, and
    /// that of the registry.
    since: Option<(u64, Duration)>,
}

impl Joins {
    /// The number of a node: the one that it says it has had, if it can have been
    /// given and no other living node has it; else the one by which it lives here,
    /// `before`; else the next.
    ///
    /// Who was restarted lives here no more in this sense: it has forgotten what it
    /// agreed to, so it may not be the same member of a council.
    pub(super) fn number(
        &mut self,
        id: NodeId,
        wish: u64,
        before: Option<u64>,
        now: Duration,
    ) -> u64 {
        let is_free = |number: u64| self.nodes.get(&number).is_none_or(|member| member.id == id);
        let possible = 1..=self.count(now + CLOCK_SKEW).max(self.highest);
        let known = Some(wish).filter(|wish| possible.contains(wish) && is_free(*wish));
        if let Some(number) = known.or(before) {
            // Those that follow are higher, but no higher than a tracker can have
            // counted: who lies makes nobody else's number absurd.
            self.highest = self.highest.max(number.min(self.count(now)));
            return number;
        }
        let mut next = self.highest.saturating_add(1)..=u64::MAX;
        self.highest = next.find(|number| is_free(*number)).unwrap_or(u64::MAX);
        self.highest
    }

    /// How far a tracker can have counted at this time.
    fn count(&self, now: Duration) -> u64 {
        let Some((time_ms, at)) = self.since else { return MAX_JOINED };
        let passed = u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX);
        count(time_ms.saturating_add(passed))
    }

    pub(super) fn insert(&mut self, peer: &Peer) {
        let member = Member { id: peer.id, joined: peer.joined, address: peer.search };
        self.nodes.insert(peer.joined, member);
    }

    pub(super) fn remove(&mut self, peer: &Peer) {
        self.nodes.remove(&peer.joined);
    }
}

/// How far trackers count until a time in milliseconds of Unix time: only so far
/// that there is room for those to come.
fn count(time_ms: u64) -> u64 {
    time_ms.saturating_sub(BEGINNING).saturating_mul(JOINS).min(MAX_JOINED / 2)
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
    /// in milliseconds of Unix time, whichever tracker they joined. Now is when the
    /// registry began.
    pub(crate) fn count_joins_from(&mut self, time_ms: u64) {
        let joins = &mut self.joins;
        // A clock that is behind the beginning says nothing of others.
        joins.since = (time_ms > BEGINNING).then_some((time_ms, self.began));
        let possible = joins.count(self.began + CLOCK_SKEW);
        // What was believed of nodes before the time was known may be absurd.
        let highest = Some(joins.highest).filter(|highest| *highest <= possible);
        joins.highest = count(time_ms).max(highest.unwrap_or_default());
    }

    pub(crate) fn set_charter(&mut self, charter: Charter) {
        self.charter = Some(charter);
    }

    /// In office from now on: these were here, as far as is known. They have the
    /// usual time to come.
    pub(crate) fn begin(&mut self, peers: Vec<Peer>, heartbeat: Duration, now: Duration) {
        self.end();
        (self.heartbeat, self.began) = (heartbeat, now);
        // Who has no number, as far as is known, gets one when it comes: now it might
        // be one that another has.
        for peer in peers.into_iter().filter(|peer| peer.joined > 0) {
            let is_new = !self.nodes.contains_key(&peer.id) && !self.names.contains_key(&peer.name);
            let joined = self.joins.number(peer.id, peer.joined, None, now);
            if is_new && peer.is_reachable() && self.nodes.len() < super::MAX_NODES {
                let deadline = now + 2 * self.heartbeat;
                let wanted = peer.name.clone();
                let peer = Peer { joined, ..peer };
                let (session, looked_at, reader) = (None, deadline, Reader::new(false));
                let knows_number = true;
                self.insert(Node {
                    peer,
                    wanted,
                    session,
                    deadline,
                    looked_at,
                    reader,
                    knows_number,
                });
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
    const NOW: Duration = Duration::ZERO;

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
        assert_eq!(joins.number(id(1), 0, None, NOW), 1);
        joins.insert(&peer(1, 1));
        assert_eq!(joins.number(id(2), 0, None, NOW), 2);
        joins.insert(&peer(2, 2));
        assert_eq!(joins.number(id(1), 2, Some(1), NOW), 1, "it lives");
        assert_eq!(joins.number(id(3), 2, None, NOW), 3, "another has that");
        assert_eq!(joins.number(id(4), 9, None, NOW), 9, "it had it at another tracker");
        joins.insert(&peer(4, 9));
        assert_eq!(joins.number(id(5), 0, None, NOW), 10);
        for absurd in [MAX_JOINED + 1, u64::MAX] {
            assert!(joins.number(id(6), absurd, None, NOW) < 20);
        }
        joins.remove(&peer(2, 2));
        assert_eq!(joins.number(id(7), 2, None, NOW), 2);
    }

    #[test]
    fn who_comes_later_is_younger_than_those_who_are_not_here_yet() {
        let numbers = [0, BEGINNING + 1000, BEGINNING + 1001].map(|start| {
            let mut joins = Registry::new(BEAT);
            joins.count_joins_from(start);
            (joins.joins.number(id(1), 0, None, NOW), joins.joins.number(id(2), 3, None, NOW))
        });
        assert_eq!(numbers, [(1, 3), (1000 * JOINS + 1, 3), (1001 * JOINS + 1, 3)]);
        let mut registry = Registry::new(BEAT);
        registry.count_joins_from(u64::MAX);
        assert_eq!(
            registry.joins.number(id(1), 0, None, NOW),
            MAX_JOINED / 2 + 1,
            "a clock set wrong"
        );
    }

    #[test]
    fn a_number_that_no_clock_has_come_to_is_not_believed_and_moves_no_other() {
        let mut registry = Registry::new(BEAT);
        // The roster of a successor may have been told lies.
        registry.begin(vec![peer(1, 1 << 62)], BEAT, BEAT);
        registry.count_joins_from(BEGINNING + 1000);
        let joins = &mut registry.joins;
        let given = 1000 * JOINS;
        assert_eq!(joins.number(id(2), 1 << 62, None, BEAT), given + 1);
        // A clock may go ahead: what it counted is kept, and others do not follow it.
        let day = u64::try_from(CLOCK_SKEW.as_millis()).unwrap() * JOINS;
        assert_eq!(joins.number(id(3), day, None, BEAT), day);
        assert_eq!(joins.number(id(4), given + day + 9, None, BEAT), given + 2);
        // What other trackers have counted since.
        let later = joins.number(id(5), given + 500 * JOINS, None, BEAT + Duration::from_secs(1));
        assert_eq!(later, given + 500 * JOINS);
        assert_eq!(joins.number(id(6), 0, None, BEAT), later + 1);
        joins.insert(&peer(6, later + 1));
        joins.insert(&peer(7, later + 2));
        assert_eq!(joins.number(id(8), 0, None, BEAT), later + 3, "another has that");
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
