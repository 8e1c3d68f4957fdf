//! From seeking to being in office.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::chat::entry::{Ballot, Body, Entry, LogId, Position};
use shoal_common::chat::log::Base;
use shoal_common::ident::NodeId;
use shoal_common::protocol::chat::{Summary, ToReplica};

use super::{Phase, Proposer, RESEND, Stamp};
use crate::chat::book::Book;

/// Least pause before another's ballot is exceeded; the longest is eight times
/// that. Two that contend get out of each other's way, because they pause for
/// different times.
const YIELD: Duration = Duration::from_millis(100);

impl Proposer {
    /// Asks for a promise, if the replica has a piece of a log: another has no vote.
    pub(super) fn prepare(&mut self, node: NodeId) {
        if self.links.get(&node).is_some_and(|link| link.summary.log.is_some()) {
            self.ask_for_promise(node);
        }
    }

    fn ask_for_promise(&mut self, node: NodeId) {
        self.out.push((node, ToReplica::Prepare { ballot: self.ballot }));
    }

    /// Begins anew, under the present ballot.
    pub(super) fn seek(&mut self, now: Duration) {
        (self.phase, self.since) = (Phase::Seeking, now);
        self.rival = None;
        let nodes: Vec<_> = self.links.keys().copied().collect();
        for node in nodes {
            self.prepare(node);
        }
    }

    /// Another has a higher ballot: it is exceeded after a while.
    pub(super) fn yield_to(&mut self, promised: Ballot, now: Duration) {
        if self.rival.is_none_or(|(rival, _)| rival < promised) {
            let [first, ..] = *self.ballot.proposer.as_bytes();
            let turn = (promised.round ^ self.ballot.instance ^ u64::from(first)) % 8 + 1;
            self.rival = Some((promised, now + YIELD * u32::try_from(turn).unwrap_or(1)));
        }
    }

    pub(super) fn exceed(&mut self, rival: Ballot, now: Duration) {
        self.ballot.round = rival.round.max(self.ballot.round).saturating_add(1);
        self.wrote.clear();
        for link in self.links.values_mut() {
            link.promised = false;
        }
        self.seek(now);
    }

    /// Asks again those that have not answered; founds a log where nobody knows
    /// one.
    pub(super) fn seek_on(&mut self, stamp: Stamp) {
        if stamp.now >= self.since + RESEND {
            self.since = stamp.now;
            let silent = self.links.iter().filter(|(_, link)| !link.promised);
            let silent: Vec<_> = silent.map(|(node, _)| *node).collect();
            for node in silent {
                self.prepare(node);
            }
        }
        self.elect(stamp);
        self.found(stamp);
    }

    fn found(&mut self, stamp: Stamp) {
        let is_time = self.first_seen.is_some_and(|at| stamp.now >= at + self.settings.found_pause);
        let nobody_knows = self.links.values().all(|link| link.knows.is_none());
        let may = is_time && nobody_knows && self.book.is_none();
        let founder = self.links.values().next().map(|link| (link.promised, link.summary.replica));
        let (Phase::Seeking, true, Some((promised, founder))) = (self.phase, may, founder) else {
            return;
        };
        if !promised {
            self.ask_for_promise(founder.node);
        } else {
            let log =
                LogId { generation: 0, founded_ms: stamp.time_ms, nonce: self.ballot.instance };
            self.book = Some(Book::new(Base::found(log, founder), self.settings.kept));
            self.take_office(stamp);
        }
    }

    /// People decide to go on without those that held the log: with what is known
    /// here, held by the first of those that are connected. What only the others
    /// had is lost. Nothing while a majority is here.
    pub fn revive(&mut self, stamp: Stamp) -> bool {
        let (here, all) = self.quorum();
        let founder = self.links.values().map(|link| link.summary.replica).next();
        let known = self.links.values().filter_map(|link| link.knows).min();
        let known = self.book.as_ref().map(|book| book.log().id()).into_iter().chain(known).min();
        let (Some(founder), Some(known), false) = (founder, known, all > 0 && here > all / 2)
        else {
            return false;
        };
        let log = LogId {
            generation: known.generation.saturating_add(1),
            founded_ms: stamp.time_ms,
            nonce: self.ballot.instance,
        };
        let mut base = Base::found(log, founder);
        if let Some(book) = &self.book {
            base.position = book.committed();
            base.ballot = book.log().ballot_at(base.position).unwrap_or(Ballot::NONE);
            base.state.rooms = book.state().rooms.clone();
        }
        self.book = Some(Book::new(base, self.settings.kept));
        self.take_office(stamp);
        true
    }

    pub(super) fn promised(&mut self, node: NodeId, summary: Summary, stamp: Stamp) {
        if let Some(link) = self.links.get_mut(&node) {
            link.knows = link.knows.or(summary.log);
            link.summary = summary;
            link.promised = true;
        }
        self.elect(stamp);
    }

    /// Looks whether a log has its majority, the eldest first. In office only
    /// for an elder one: of a network that began apart.
    fn elect(&mut self, stamp: Stamp) {
        let promised = || self.links.values().filter(|link| link.promised).map(|l| &l.summary);
        let mut logs: BTreeSet<LogId> = promised().filter_map(|summary| summary.log).collect();
        let present = self.book.as_ref().map(|book| book.log().id());
        if self.phase != Phase::Seeking {
            logs.retain(|log| present.is_some_and(|present| *log < present));
        }
        let electable = logs.into_iter().find_map(|log| {
            let of_log = || promised().filter(|summary| summary.log == Some(log));
            let best = of_log().max_by_key(|summary| (summary.last, summary.end))?;
            let votes = of_log().filter(|summary| best.council.contains(&summary.replica)).count();
            (votes > best.council.len() / 2).then(|| best.clone())
        });
        if let Some(best) = electable {
            self.recover(&best, stamp);
        }
    }

    /// Takes over the piece of the best replica. What is known here already is
    /// not fetched.
    fn recover(&mut self, best: &Summary, stamp: Stamp) {
        let Some(log) = best.log else { return };
        if self.book.as_ref().is_some_and(|book| book.log().id() != log) {
            self.book = None;
        }
        self.tail.clear();
        let has_all = |book: &Book| book.log().ballot_at(best.end) == Some(best.last);
        if self.book.as_ref().is_some_and(has_all) {
            self.take_office(stamp);
            return;
        }
        let after = self.book.as_mut().map(|book| {
            book.forget_tail();
            book.committed()
        });
        let source = best.replica.node;
        self.phase = Phase::Recovering { source, log, end: best.end, last: best.last };
        self.since = stamp.now;
        self.out.push((source, ToReplica::Fetch { ballot: self.ballot, after }));
    }

    pub(super) fn fetched(
        &mut self,
        node: NodeId,
        base: Option<Box<Base>>,
        previous: Position,
        entries: Vec<Arc<Entry>>,
        stamp: Stamp,
    ) {
        let Phase::Recovering { source, log, end, last } = self.phase else { return };
        if node != source {
            return;
        }
        if let Some(base) = base.filter(|base| base.log == log) {
            let known = self.book.as_ref().map(Book::committed);
            if known.is_none_or(|known| known < base.position) {
                self.book = Some(Book::new(*base, self.settings.kept));
            }
        }
        let Some(book) = &mut self.book else { return };
        for (position, entry) in (previous + 1..).zip(entries) {
            if position == book.log().end() + 1 && position <= end {
                book.push(entry);
            }
        }
        let has = book.log().end();
        self.since = stamp.now;
        if has < end {
            self.out.push((source, ToReplica::Fetch { ballot: self.ballot, after: Some(has) }));
        } else if book.log().ballot_at(end) == Some(last) {
            self.take_office(stamp);
        } else {
            // Not what the replica said: begin anew without what is not sure.
            book.forget_tail();
            self.seek(stamp.now);
        }
    }

    fn take_office(&mut self, stamp: Stamp) {
        let Some(book) = &mut self.book else { return };
        let log = book.log().id();
        if !self.wrote.insert(log) {
            self.exceed(self.ballot, stamp.now);
            return;
        }
        let of_log = self.links.values().filter(|link| link.summary.log == Some(log));
        let known = of_log.map(|link| link.summary.committed).max().unwrap_or(0);
        self.posted.extend(book.commit(known));
        self.tail.clear();
        for (_, entry) in book.log().after(book.committed()) {
            if let Body::Event(event) = &entry.body {
                let last = self.tail.entry(event.author).or_default();
                *last = event.number.max(*last);
            }
        }
        self.phase = Phase::Office { started: book.log().end() + 1 };
        self.since = stamp.now;
        self.away.clear();
        self.write(Body::Reign { tracker: self.ballot.proposer }, stamp);
        let nodes: Vec<_> = self.links.keys().copied().collect();
        for node in nodes {
            if self.is_of_elder(node) {
                continue;
            }
            self.begin_sending(node);
        }
    }
}
