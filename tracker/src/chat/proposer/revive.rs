//! Going on without most of those that held the log.
//!
//! That is a decision of people: what only the others had is lost. What is here
//! is not: as in an election the furthest piece is fetched, and the new log goes
//! on where it ends, with the rooms and the last entries.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use shoal_common::chat::entry::{Ballot, Body, LogId, Position, ReplicaId};
use shoal_common::chat::log::Base;
use shoal_common::limits::PIECE_BYTES;
use shoal_common::protocol::chat::Summary;

use super::{AWAY, Link, Phase, Proposer, Stamp};
use crate::chat::book::Book;

/// Most bytes of the entries that a new log takes over: so that a replica gets them
/// in one message, with the entries that found the log.
const TAKEN_OVER: usize = PIECE_BYTES / 2;

impl Proposer {
    /// People decide to go on without those that held the log. Those are waited for
    /// once more, for [`AWAY`]; then a new log begins, held by one of those that are
    /// here. Whether it was heeded: not while a majority is here, and not where
    /// nobody has heard of a log.
    pub fn revive(&mut self, stamp: Stamp) -> bool {
        if self.is_just_revived(stamp) {
            return true;
        }
        if self.is_majority_of_log_here() || self.known().is_none() {
            return false;
        }
        if self.revival.is_none() {
            self.revival = Some(stamp.now + AWAY);
            // Another ballot for another log.
            self.exceed(self.ballot, stamp.now);
        }
        true
    }

    /// Whether a new log was begun a moment ago that its founder does not hold yet. Its
    /// node comes again first, as everyone does where another log begins.
    fn is_just_revived(&self, stamp: Stamp) -> bool {
        let (Phase::Office { .. }, Some(book)) = (self.phase, &self.book) else { return false };
        let is_new =
            book.log().id().generation > 0 && book.committed() == book.log().base().founded();
        is_new && stamp.now < self.since + AWAY
    }

    /// Founds the new log once it is time, on the furthest piece of those that have
    /// promised.
    pub(super) fn revive_on(&mut self, stamp: Stamp) {
        let is_due = self.revival.is_some_and(|due| stamp.now >= due);
        if self.phase != Phase::Seeking || !is_due || self.is_majority_of_log_here() {
            return;
        }
        let is_believed = |summary: &Summary| {
            summary.log.is_none_or(|log| self.is_believed(summary.replica.node, log))
        };
        let promised = || {
            let promised = self.links.values().filter(|link| link.promised).map(|l| &l.summary);
            promised.filter(|summary| is_believed(summary))
        };
        let Some(founder) = promised().next().map(|summary| summary.replica) else { return };
        let rank = self.rank();
        let ours = self.book.as_ref().map(Book::log);
        let ours = ours.map(|log| rank(log.id(), log.last(), log.end()));
        let theirs = |summary: &&Summary| Some(rank(summary.log?, summary.last, summary.end));
        let best = promised().max_by_key(theirs).filter(|best| theirs(best) > ours).cloned();
        match best {
            Some(best) => self.recover(&best, stamp),
            None => self.found_on(founder, stamp),
        }
    }

    /// Founds a log on what is here.
    fn found_on(&mut self, founder: ReplicaId, stamp: Stamp) {
        let Some(known) = self.known() else { return };
        let log = LogId {
            generation: known.generation.saturating_add(1),
            founded_ms: stamp.time_ms,
            nonce: self.ballot.instance,
        };
        let book = match self.book.take() {
            Some(mut book) => {
                book.begin_anew(log, TAKEN_OVER);
                book
            }
            None => {
                // Nobody has anything of the log before.
                let mut base = Base::found(known, founder);
                base.branch(log, 0);
                Book::new(base, self.settings.kept)
            }
        };
        self.book = Some(book);
        self.revival = None;
        self.write(Body::Council { members: vec![founder] }, stamp);
        self.take_office(stamp);
    }

    /// The latest log that anyone here has heard of.
    fn known(&self) -> Option<LogId> {
        let ours = self.book.as_ref().map(|book| book.log().id());
        let of_link = |link: &Link| [link.knows, link.summary.log].into_iter().flatten();
        let known =
            self.links.iter().flat_map(|(node, link)| of_link(link).map(|log| (*node, log)));
        let known = known.filter(|(node, log)| self.is_believed(*node, *log)).map(|(_, log)| log);
        known.chain(ours).min()
    }

    /// Whether most of those that hold a log are connected, and would vote for it.
    fn is_majority_of_log_here(&self) -> bool {
        // In office it is not known any more how far the others are; and an elder log that
        // has its majority is taken over.
        let is_office = matches!(self.phase, Phase::Office { .. });
        self.is_majority_of_ours_here() || !is_office && self.electable(|_| true).is_some()
    }

    /// The same of the log that is known here, as far as it is, if nobody has more.
    fn is_majority_of_ours_here(&self) -> bool {
        let Some(log) = self.book.as_ref().map(Book::log) else { return false };
        let is_office = matches!(self.phase, Phase::Office { .. });
        let is_of_ours = |link: &&Link| link.summary.log == Some(log.id());
        let mut of_ours = self.links.values().filter(is_of_ours).map(|link| &link.summary);
        if !is_office && of_ours.any(|theirs| (theirs.last, theirs.end) > (log.last(), log.end())) {
            return false;
        }
        let has_vote = |link: &Link| {
            is_of_ours(&link) && !self.has_heard_of_elder(link.summary.replica.node, log.id())
        };
        // In office they are given it.
        let holds = |member: &&ReplicaId| {
            self.link_of(member).is_some_and(|link| is_office || has_vote(link))
        };
        let council = log.council().1;
        let here = council.iter().filter(holds).count();
        here > council.len() / 2 && !self.gives_way(log.id(), council)
    }

    /// How much a piece of a log is preferred to go on with. Ballots say nothing across
    /// logs: first the latest generation, then that of which most have heard, then the
    /// elder; then the furthest piece.
    fn rank(&self) -> impl Fn(LogId, Ballot, Position) -> Rank + use<> {
        let mut heard = BTreeMap::<LogId, usize>::new();
        for log in self.links.values().filter_map(|link| link.knows) {
            *heard.entry(log).or_default() += 1;
        }
        move |log, last, end| {
            let many = heard.get(&log).copied().unwrap_or(0);
            (log.generation, many, Reverse(log), last, end)
        }
    }
}

type Rank = (u64, usize, Reverse<LogId>, Ballot, Position);
