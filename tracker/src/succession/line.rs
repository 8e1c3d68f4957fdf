//! The line of succession: who is in it, and whose turn it is.

use std::mem;
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::limits::COUNCIL;
use shoal_common::protocol::succession::Member;

use super::{AWAY, FRESH, LINE, Role, Succession, Way};

pub(super) fn has(members: &[Member], id: NodeId) -> bool {
    members.iter().any(|member| member.id == id)
}

/// Whether it is among them, and has not been restarted since.
fn is_in(members: &[Member], one: &Member) -> bool {
    members.iter().any(|member| member.id == one.id && member.joined == one.joined)
}

/// Whether these can be a council: not too many, each once, and all can be called.
pub(super) fn is_sound(council: &[Member]) -> bool {
    let is_first = |(place, member): (usize, &Member)| {
        !has(council.get(..place).unwrap_or_default(), member.id)
    };
    council.len() <= COUNCIL
        && council.iter().enumerate().all(is_first)
        && council.iter().all(Member::is_reachable)
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
    pub fn present(&mut self, line: &[Member], now: Duration) -> bool {
        self.here = line.iter().take(COUNCIL + LINE).copied().collect();
        self.review(now)
    }

    /// As the tracker: who is to be in the council. Returns whether that is another
    /// one now.
    ///
    /// Who is away is replaced after two heartbeat intervals, and only while a
    /// majority of the council is here, or after a long time without one: a tracker
    /// that is cut off loses the others one by one within such an interval, and must
    /// not make those who are left the majority of a council of their own. Of a
    /// caretaker the council does not change until then, and the home tracker that
    /// has forgotten it asks the nodes for it.
    pub(super) fn review(&mut self, now: Duration) -> bool {
        let (Role::Reigning, Some(reign)) = (self.role, self.known) else {
            return false;
        };
        let before = mem::take(&mut self.missing);
        let gone = self.council.iter().filter(|member| !is_in(&self.here, member));
        self.missing = gone
            .map(|member| {
                let since = before.iter().find(|(id, _)| *id == member.id);
                since.copied().unwrap_or((member.id, now))
            })
            .collect();
        let is_majority = is_majority(self.council.len() - self.missing.len(), self.council.len());
        if is_majority || self.council.is_empty() {
            self.majority = now;
        }
        let gives_up = now.saturating_sub(self.majority) > AWAY;
        let before = self.council.clone();
        let known = mem::take(&mut self.others);
        // One that had a network is told of its council by then.
        let begins = before.is_empty() && (reign.elected || now > self.since + FRESH);
        let gives_up = gives_up && !self.here.is_empty();
        if begins || reign.elected && is_majority || gives_up {
            // One that was restarted is here as another member.
            let may_return = |id| {
                let since = self.missing.iter().find(|(missing, _)| *missing == id);
                !gives_up
                    && !has(&self.here, id)
                    && since.is_some_and(|(_, since)| now < *since + 2 * self.heartbeat)
            };
            let waited_for = before.iter().filter(|member| may_return(member.id));
            let mut council: Vec<Member> = self.here.iter().chain(waited_for).copied().collect();
            council.sort_by_key(|member| (member.joined, member.id));
            council.truncate(COUNCIL);
            self.council = council;
        }
        let beyond = self.here.iter().filter(|member| !has(&self.council, member.id));
        self.others = beyond.take(LINE).copied().collect();
        self.miss(before.iter().chain(&known));
        self.absent.retain(|member| !has(&self.here, member.id));
        before != self.council
    }

    /// From now on this is the council; who was in it is kept in mind.
    pub(super) fn set_council(&mut self, council: &[Member]) {
        let before = mem::replace(&mut self.council, council.to_vec());
        self.miss(before.iter());
        self.absent.retain(|member| !has(council, member.id));
    }

    /// Keeps those in mind who are in line no more, the last first.
    pub(super) fn miss<'a>(&mut self, known: impl Iterator<Item = &'a Member>) {
        let before = mem::take(&mut self.absent);
        for member in known.copied().chain(before) {
            let is_known = has(&self.absent, member.id) || has(&self.council, member.id);
            if !is_known && self.absent.len() < LINE {
                self.absent.push(member);
            }
        }
    }
}
