//! The line of succession: who is in it, and whose turn it is.

use std::mem;
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::limits::COUNCIL;
use shoal_common::protocol::succession::Member;

use super::{AWAY, LINE, Role, Succession, Way};

pub(super) fn has(members: &[Member], id: NodeId) -> bool {
    members.iter().any(|member| member.id == id)
}

/// Whether so many of a council are more than half of it.
pub(super) fn is_majority(present: usize, council: usize) -> bool {
    present > council / 2
}

impl Succession {
    /// How many are to be let past: those known to be longer in the network, but
    /// for the tracker that is lost.
    pub(super) fn position(&self) -> u32 {
        if self.us.home {
            return 0;
        }
        let lost = self.known.map(|reign| reign.tracker);
        let line = self.council.iter().chain(&self.others);
        let older = line
            .filter(|member| member.joined < self.joined && Some(member.id) != lost)
            .filter(|member| member.id != self.us.id)
            .count();
        u32::try_from(older).unwrap_or(u32::MAX)
    }

    /// Whether it is a member of the council, and the same that it was when it
    /// became one.
    pub(super) fn is_in_council(&self) -> bool {
        self.is_council(self.us.id, self.joined)
    }

    pub(super) fn is_council(&self, id: NodeId, joined: u64) -> bool {
        self.council.iter().any(|member| member.id == id && member.joined == joined)
    }

    /// Everyone in line that can be asked, in order.
    pub(super) fn line(&self) -> impl Iterator<Item = Way> + '_ {
        let us = self.us.id;
        let line = self.council.iter().chain(&self.others).filter(move |member| member.id != us);
        line.map(|member| Way::At(member.address))
    }

    /// As the tracker: these are here, the longest in the network first, at least
    /// [`COUNCIL`] and [`LINE`] of them if there are so many. Returns whether the
    /// council is another one now.
    ///
    /// The council changes only while a majority of it is here, or after a long
    /// time without one: a tracker that is cut off with a few must not make those
    /// the majority of a council of their own. Of a caretaker it does not change
    /// at all.
    pub fn present(&mut self, line: &[Member], now: Duration) -> bool {
        let (Role::Reigning, Some(reign)) = (self.role, self.known) else {
            return false;
        };
        let here = self.council.iter().filter(|member| {
            line.iter().any(|here| here.id == member.id && here.joined == member.joined)
        });
        let is_majority = is_majority(here.count(), self.council.len());
        if is_majority || self.council.is_empty() {
            self.majority = now;
        }
        let gives_up = now.saturating_sub(self.majority) > AWAY && (reign.elected || self.us.home);
        let before = self.council.clone();
        let known = mem::take(&mut self.others);
        let beyond = |council: &[Member]| {
            let beyond = line.iter().filter(|member| !has(council, member.id));
            beyond.take(LINE).copied().collect()
        };
        if before.is_empty() || reign.elected && is_majority || gives_up {
            self.council = line.iter().take(COUNCIL).copied().collect();
        }
        self.others = beyond(&self.council);
        self.miss(before.iter().chain(&known));
        self.absent.retain(|member| !has(line, member.id));
        before != self.council
    }

    /// From now on this is the council; who was in it is kept in mind.
    pub(super) fn set_council(&mut self, council: &[Member]) {
        let before = mem::replace(&mut self.council, council.to_vec());
        self.miss(before.iter());
        self.absent.retain(|member| !has(council, member.id));
    }

    /// Keeps those in mind who are in line no more, the last first.
    fn miss<'a>(&mut self, known: impl Iterator<Item = &'a Member>) {
        let before = mem::take(&mut self.absent);
        for member in known.copied().chain(before) {
            let is_known = has(&self.absent, member.id) || has(&self.council, member.id);
            if !is_known && self.absent.len() < LINE {
                self.absent.push(member);
            }
        }
    }
}
