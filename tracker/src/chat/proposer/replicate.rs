//! In office: replicas get what they are to hold, and what enough hold is
//! committed.

use std::cell::LazyCell;
use std::time::Duration;

use shoal_common::chat::entry::{Ballot, Position, ReplicaId};
use shoal_common::ident::NodeId;
use shoal_common::limits::{COUNCIL, PIECE_BYTES};
use shoal_common::protocol::chat::{Summary, ToReplica};

use super::{Link, Phase, Proposer, RESEND, Stamp};
use crate::chat::book::Book;

/// Most entries that are on their way to one replica: what a slow one can make
/// the tracker hold for it.
const MAX_AHEAD: Position = 2048;

/// Most messages that are on their way to one replica. While they are, entries
/// gather for the next one: the more there are, the fewer messages they take.
const MAX_FLIGHTS: u32 = 2;

/// How often a replica that may soon hold the log is sent something without an
/// answer before another one gets its turn.
const MOST_TRIES: u32 = 3;

impl Proposer {
    /// Guesses where a replica is; its first answer tells.
    pub(super) fn begin_sending(&mut self, node: NodeId) {
        let (Some(book), Some(link)) = (&self.book, self.links.get_mut(&node)) else { return };
        let log = book.log();
        let summary = &link.summary;
        let is_ours = summary.log == Some(log.id());
        let fits = is_ours && log.ballot_at(summary.end) == Some(summary.last);
        let next = match (is_ours, fits) {
            (false, _) => 0,
            (true, true) => summary.end.saturating_add(1),
            (true, false) => summary.committed.saturating_add(1),
        };
        // One that is further has promised another, and has to be asked to say so.
        link.next = next.min(log.end() + 1);
        (link.held, link.told, link.flights, link.tries, link.lacked) = (0, 0, 0, 0, None);
    }

    /// Sends to those that hold the log, and to those that may soon.
    pub(super) fn send_entries(&mut self) {
        let (Phase::Office { .. }, Some(book)) = (self.phase, &self.book) else { return };
        let log = book.log();
        let (base, end, committed) = (log.base(), log.end(), book.committed());
        for node in self.receivers() {
            let Some(link) = self.links.get_mut(&node) else { continue };
            if link.next <= base.position {
                let entries = log.piece(base.position, PIECE_BYTES);
                link.next = base.position + 1 + entries.len() as Position;
                let base = Box::new(base.clone());
                let install = ToReplica::Install { ballot: self.ballot, base, entries };
                self.out.push((node, install));
            }
            // One message at least, until the replica has answered.
            let is_new = link.held == 0 && link.told == 0;
            let mut is_due = is_new || link.told < committed && link.flights == 0;
            let ahead = link.held.max(base.position) + MAX_AHEAD;
            while is_due || link.next <= end.min(ahead) && link.flights < MAX_FLIGHTS {
                let previous = link.next - 1;
                let Some(previous_ballot) = log.ballot_at(previous) else { break };
                let entries = log.piece(previous, PIECE_BYTES);
                link.next += entries.len() as Position;
                (link.told, is_due) = (committed.max(1), false);
                link.flights += 1;
                self.out.push((
                    node,
                    ToReplica::Append {
                        ballot: self.ballot,
                        log: log.id(),
                        previous,
                        previous_ballot,
                        entries,
                        committed,
                    },
                ));
            }
        }
    }

    /// The council, and as many others as it lacks, those with the smallest ids: once
    /// the council holds the log. What they have may be all that is left of the log
    /// before.
    fn receivers(&self) -> Vec<NodeId> {
        let Some(book) = &self.book else { return Vec::new() };
        let council = book.log().council().1;
        let members = council.iter().filter(|member| self.link_of(member).is_some());
        let mut receivers: Vec<_> = members.map(|member| member.node).collect();
        let lacking = COUNCIL.saturating_sub(council.len());
        if self.is_in_office() && lacking > 0 {
            receivers.extend(self.candidates().map(|replica| replica.node).take(lacking));
        }
        receivers
    }

    /// Replicas that are connected, answer, do not hold the log yet, and are not to
    /// hold an elder one.
    pub(super) fn candidates(&self) -> impl Iterator<Item = ReplicaId> {
        let council = self.book.as_ref().map_or(&[][..], |book| book.log().council().1);
        let log = self.book.as_ref().map(|book| book.log().id());
        let last = LazyCell::new(|| self.last_believed());
        let is_free = move |link: &&Link| {
            let is_elder = |log| {
                link.names_elder(log)
                    && (link.is_of_elder(log, *last) || self.hopes_for_elder(link, log, *last))
            };
            link.tries < MOST_TRIES && log.is_some_and(|log| !is_elder(log))
        };
        let ids = self.links.values().filter(is_free).map(|link| link.summary.replica);
        ids.filter(move |id| !council.contains(id))
    }

    pub(super) fn holds(&mut self, node: NodeId, end: Position, stamp: Stamp) {
        let (Phase::Office { .. }, Some(book)) = (self.phase, &self.book) else { return };
        let Some(link) = self.links.get_mut(&node) else { return };
        link.moved = stamp.now;
        (link.flights, link.tries) = (link.flights.saturating_sub(1), 0);
        let log = Some(book.log().id());
        if link.summary.log != log {
            // What it said of another log is no word about this one.
            let (last, council) = (Ballot::NONE, Vec::new());
            let replica = link.summary.replica;
            link.summary = Summary { replica, log, last, end: 0, committed: 0, council };
        }
        link.knows = log;
        link.held = link.held.max(end.min(book.log().end()));
        link.next = link.next.max(link.held + 1);
        self.commit();
    }

    pub(super) fn behind(&mut self, node: NodeId, from: Option<Position>, now: Duration) {
        let end = self.book.as_ref().map_or(0, |book| book.log().end());
        let Some(link) = self.links.get_mut(&node) else { return };
        if from.is_none() {
            // The piece that it lacks may be on its way. And one that lacks it for ever is
            // not sent it for each word.
            if link.lacked.is_some_and(|at| now < at + RESEND) {
                return;
            }
            if link.lacked.replace(now).is_some() {
                link.tries = link.tries.saturating_add(1);
            }
        }
        (link.moved, link.flights) = (now, 0);
        // Without a place it is from the base on; `send_entries` installs that.
        link.next = from.map_or(0, |from| from.min(end) + 1);
    }

    /// Commits what a majority of the council holds, if that reaches an entry of
    /// this ballot: what others wrote counts only together with it.
    pub(super) fn commit(&mut self) {
        let (Phase::Office { started }, Some(book)) = (self.phase, &self.book) else { return };
        let council = book.log().council().1;
        let held = |member| self.link_of(member).map_or(0, |link| link.held);
        let mut held: Vec<Position> = council.iter().map(held).collect();
        held.sort_unstable();
        // All that are at or behind this place of the sorted list are a majority.
        let Some(common) = held.get((council.len().max(1) - 1) / 2) else { return };
        let common = *common;
        if common < started || common <= book.committed() {
            return;
        }
        let posted = self.book.as_mut().map(|book| book.commit(common)).unwrap_or_default();
        for posted in &posted {
            if let shoal_common::chat::entry::Body::Event(event) = &posted.entry.body
                && self.tail.get(&event.author).is_some_and(|last| *last <= event.number)
            {
                self.tail.remove(&event.author);
            }
        }
        self.posted.extend(posted);
    }

    /// Sends again where an answer is overdue.
    pub(super) fn resend(&mut self, now: Duration) {
        let end = self.book.as_ref().map_or(0, |book: &Book| book.log().end());
        for node in self.receivers() {
            let Some(link) = self.links.get_mut(&node) else { continue };
            if link.held < end && now >= link.moved + RESEND {
                (link.moved, link.flights) = (now, 0);
                link.tries = link.tries.saturating_add(1);
                let sure = if link.held == 0 { link.summary.committed } else { link.held };
                link.next = sure.min(end) + 1;
                link.told = 0;
            }
        }
    }
}
