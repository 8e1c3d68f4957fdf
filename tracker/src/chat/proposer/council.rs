//! Who holds the log: changed one replica at a time.

use std::collections::BTreeMap;

use shoal_common::chat::entry::{Body, ReplicaId};
use shoal_common::ident::NodeId;
use shoal_common::limits::COUNCIL;

use super::{AWAY, Phase, Proposer, Stamp};

/// Most entries that a newcomer may lack when it becomes a member.
const NEARLY: u64 = 64;

impl Proposer {
    /// How many members of the council are connected, and how many there are.
    pub fn quorum(&self) -> (usize, usize) {
        let council = self.book.as_ref().map_or(&[][..], |book| book.log().council().1);
        (council.iter().filter(|member| self.link_of(member).is_some()).count(), council.len())
    }

    /// Whether the log is held by this tracker's own node alone: nothing is
    /// accepted then.
    pub fn holds_alone(&self) -> bool {
        let council = self.book.as_ref().map_or(&[][..], |book| book.log().council().1);
        self.is_ours_alone(council)
    }

    pub(super) fn is_ours_alone(&self, council: &[ReplicaId]) -> bool {
        matches!(council, [member] if member.node == self.ballot.proposer)
    }

    /// Whether the log is held without a node, or can't be.
    pub fn is_released(&self, node: NodeId) -> bool {
        let Some(book) = &self.book else { return true };
        let (changed, council) = book.log().council();
        match council {
            [member] => member.node != node || self.links.len() <= 1,
            _ => book.committed() >= changed && council.iter().all(|member| member.node != node),
        }
    }

    /// Begins a change of the council if one is due. One at a time, and the
    /// first only when the reign's first entry is committed: so that any two
    /// majorities that count have a replica in common.
    pub(super) fn tend_council(&mut self, stamp: Stamp) {
        let (Phase::Office { started }, Some(book)) = (self.phase, &self.book) else { return };
        let (changed, council) = book.log().council();
        let council = council.to_vec();
        if book.committed() < started.max(changed) {
            return;
        }
        let end = book.log().end();
        self.note_absences(&council, stamp);
        let next = self.without_one(&council, stamp).or_else(|| self.with_one(&council, end));
        let Some(mut members) = next else { return };
        members.sort_unstable();
        // Where it could not be committed, it would only be in the way.
        if self.is_majority_here(&members) {
            self.write(Body::Council { members }, stamp);
            self.commit();
        }
    }

    fn note_absences(&mut self, council: &[ReplicaId], stamp: Stamp) {
        let absent = council.iter().filter(|member| !self.is_here(member));
        let since = |member| self.away.get(member).copied().unwrap_or(stamp.now);
        self.away = absent.map(|member| (*member, since(member))).collect::<BTreeMap<_, _>>();
        // Whoever has left and is not needed any more is forgotten.
        let is_member = |node| council.iter().any(|member| member.node == node);
        let links = &self.links;
        self.leaving.retain(|node| links.contains_key(node) || is_member(*node));
    }

    /// Without one that is gone: its node has another replica now, or it has
    /// been away for long.
    fn without_one(&self, council: &[ReplicaId], stamp: Stamp) -> Option<Vec<ReplicaId>> {
        let is_gone = |member: &&ReplicaId| {
            let is_replaced = self.links.contains_key(&member.node);
            let since = self.away.get(member);
            self.leaving.contains(&member.node)
                || since.is_some_and(|since| is_replaced || stamp.now >= *since + AWAY)
        };
        let gone = council.iter().find(is_gone)?;
        let left: Vec<_> = council.iter().filter(|member| *member != gone).copied().collect();
        (!left.is_empty()).then_some(left)
    }

    /// With one more, that has nearly everything.
    fn with_one(&self, council: &[ReplicaId], end: u64) -> Option<Vec<ReplicaId>> {
        if council.len() >= COUNCIL {
            return None;
        }
        let has_all = |id: &ReplicaId| {
            self.link_of(id).is_some_and(|link| link.held > 0 && link.held + NEARLY >= end)
        };
        let stays = |id: &ReplicaId| !self.leaving.contains(&id.node);
        let newcomer = self.candidates().find(|id| stays(id) && has_all(id))?;
        Some(council.iter().copied().chain([newcomer]).collect())
    }

    pub(super) fn is_majority_here(&self, council: &[ReplicaId]) -> bool {
        council.iter().filter(|member| self.is_here(member)).count() > council.len() / 2
    }

    /// Whether a member of the council is here. Its node may be while its replica is of an
    /// elder log, for which that gave this one up, and to which it answers no more.
    fn is_here(&self, member: &ReplicaId) -> bool {
        let log = self.book.as_ref().map(|book| book.log().id());
        self.link_of(member).zip(log).is_some_and(|(link, log)| {
            !link.names_elder(log) || !link.is_of_elder(log, self.last_believed())
        })
    }
}
