//! Logs that meet: of networks that began apart, or of several generations.
//!
//! The smaller one goes on. So whoever has heard of it is not to be led into a greater
//! one: what is accepted there would be lost when the smaller one is back.

use shoal_common::chat::entry::{LogId, ReplicaId};
use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_GENERATION_LEAP;

use super::{AWAY, Link, Proposer};

impl Proposer {
    /// Whether a node's replica is of an elder log than the present one.
    pub(super) fn is_of_elder(&self, node: NodeId) -> bool {
        let ours = self.book.as_ref().map(|book| book.log().id());
        let theirs = self.links.get(&node).and_then(|link| link.summary.log);
        let is_elder = |theirs: LogId| ours.is_none_or(|ours| theirs < ours);
        theirs.is_some_and(|theirs| is_elder(theirs) && self.is_believed(node, theirs))
    }

    /// Whether a node is believed that there is a log of that generation: not if it
    /// alone is far ahead of everyone. Else one lie could use up all generations.
    pub(super) fn is_believed(&self, node: NodeId, log: LogId) -> bool {
        let is_near =
            |generation: u64| log.generation <= generation.saturating_add(MAX_GENERATION_LEAP);
        let known = |link: &Link| {
            [link.knows, link.summary.log].into_iter().flatten().max_by_key(|log| log.generation)
        };
        let mut others = self.links.iter().filter(|(other, _)| **other != node);
        is_near(self.book.as_ref().map_or(0, |book| book.log().id().generation))
            || others.any(|(_, link)| known(link).is_some_and(|log| is_near(log.generation)))
    }

    /// Whether a node has heard of an elder log than this one. Its replica, which may
    /// have been left behind with this one, has no vote for it, then.
    pub(super) fn has_heard_of_elder(&self, node: NodeId, log: LogId) -> bool {
        let knows = self.links.get(&node).and_then(|link| link.knows);
        knows.is_some_and(|knows| knows < log && self.is_believed(node, knows))
    }

    /// Whether a node has heard of an elder log than this one, and came so lately that
    /// those that hold that may come yet.
    pub(super) fn hopes_for_elder(&self, node: NodeId, log: LogId) -> bool {
        self.links.get(&node).is_some_and(|link| self.now < link.came + AWAY)
            && self.has_heard_of_elder(node, log)
    }

    /// Whether a log that this tracker's own node alone holds, in which nothing is
    /// accepted, gives way to a revival: a piece of an elder one is here, whose holder
    /// takes no other.
    pub(super) fn gives_way(&self, log: LogId, council: &[ReplicaId]) -> bool {
        let is_elder = |(node, link): (&NodeId, &Link)| {
            link.summary.log.is_some_and(|theirs| theirs < log && self.is_believed(*node, theirs))
        };
        self.is_ours_alone(council) && self.links.iter().any(is_elder)
    }

    /// Whether a log is not to be written, or not yet, for the sake of those that have
    /// heard of an elder one: while those that hold that may come, and as long as more
    /// wait for that one than have heard of this one.
    pub(super) fn is_put_off(&self, log: LogId) -> bool {
        let waits = |node: &&NodeId| self.has_heard_of_elder(**node, log);
        let waiting = self.links.keys().filter(waits).count();
        let following = self.links.values().filter(|link| link.knows == Some(log)).count();
        waiting > following || self.links.keys().any(|node| self.hopes_for_elder(*node, log))
    }
}
