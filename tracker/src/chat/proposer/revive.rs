//! Going on without most of those that held the log.
//!
//! That is a decision of people: what only the others had is lost. What is here
//! is not: as in an election the furthest piece is fetched, and the new log goes
//! on where it ends, with the rooms and the last entries.

use std::cmp::Reverse;

use shoal_common::chat::entry::{Ballot, Body, LogId, Position};
use shoal_common::chat::log::Base;
use shoal_common::limits::{MOST_AHEAD, PIECE_BYTES};
use shoal_common::protocol::chat::Summary;

use super::elder::Hearsay;
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
        if self.phase != Phase::Seeking || !is_due {
            return;
        }
        if self.is_majority_of_log_here() {
            // A later loss of it needs another decision.
            self.revival = None;
            return;
        }
        let Hearsay { last_believed, heard } = self.hearsay();
        let is_believed = |log: LogId| log.generation <= last_believed;
        // It may be what liars have told, who are gone.
        self.book.take_if(|book| !is_believed(book.log().id()));
        // How much a piece of a log is preferred to go on with. Ballots say nothing across
        // logs: first the latest generation, then that of which most have heard, then the
        // elder; then the furthest piece.
        let rank = |log: LogId, last: Ballot, end: Position| {
            let many = heard.get(&log).copied().unwrap_or(0);
            (log.generation, many, Reverse(log), last, end)
        };
        let ours = self.book.as_ref().map(Book::log);
        let ours = ours.map(|log| rank(log.id(), log.last(), log.end()));
        let theirs = |summary: &&Summary| {
            let log = summary.log.filter(|log| is_believed(*log))?;
            Some(rank(log, summary.last, summary.end))
        };
        let promised = self.links.values().filter(|link| link.promised).map(|link| &link.summary);
        let best = promised.max_by_key(theirs).filter(|best| theirs(best) > ours).cloned();
        match best {
            Some(best) => self.recover(&best, stamp),
            None => self.found_on_book(stamp),
        }
    }

    /// Founds a log on what is here, with a founder whose replica takes it.
    fn found_on_book(&mut self, stamp: Stamp) {
        let Some(known) = self.known() else { return };
        let before = self.book.as_ref().map_or(0, |book| book.log().id().generation);
        let most = before.saturating_add(MOST_AHEAD);
        let log = LogId {
            generation: known.generation.saturating_add(1).min(most),
            founded_ms: stamp.time_ms,
            nonce: self.ballot.instance,
        };
        let takes = |summary: &&Summary| summary.log.is_none_or(|held| log.goes_before(&held));
        let mut promised = self.links.values().filter(|link| link.promised).map(|it| &it.summary);
        let Some(founder) = promised.find(takes).map(|summary| summary.replica) else { return };
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
        let last = self.last_believed();
        let ours = self.book.as_ref().map(|book| book.log().id());
        let of_link = |link: &Link| [link.knows, link.summary.log].into_iter().flatten();
        let known = self.links.values().flat_map(of_link).filter(|log| log.generation <= last);
        known.chain(ours).min()
    }

    /// Whether most of those that hold a log are connected, and would vote for it; in
    /// office, whether most of the council are.
    fn is_majority_of_log_here(&self) -> bool {
        let log = self.book.as_ref().map(Book::log);
        if let (Phase::Office { .. }, Some(log)) = (self.phase, log) {
            let council = log.council().1;
            return self.is_majority_here(council) && !self.gives_way(log.id(), council);
        }
        // Of the log that is known here, those that have not promised yet may say less
        // than they hold.
        let is_of_ours = log.is_some_and(|log| {
            let theirs = self.links.values().map(|link| &link.summary);
            let mut theirs = theirs.filter(|theirs| theirs.log == Some(log.id()));
            !theirs.any(|theirs| (theirs.last, theirs.end) > (log.last(), log.end()))
                && self.has_majority(log.id(), log.council().1, &self.hearsay(), |_| true)
        });
        is_of_ours || self.electable(|_| true).is_some()
    }
}
