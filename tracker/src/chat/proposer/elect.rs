//! From seeking to being in office.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::chat::entry::{Ballot, Body, Entry, LogId, Position};
use shoal_common::chat::log::Base;
use shoal_common::chat::log::weight;
use shoal_common::ident::NodeId;
use shoal_common::limits::{COUNCIL, MAX_BALLOT_LEAP, MAX_HELD_BYTES, MAX_UNSURE, PIECE_BYTES};
use shoal_common::protocol::chat::{Summary, ToReplica};

use super::{AWAY, Link, Phase, Proposer, RESEND, Stamp, credible};
use crate::chat::book::Book;

/// Least pause before another's ballot is exceeded; the longest is eight times
/// that. Two that contend get out of each other's way, because they pause for
/// different times.
const YIELD: Duration = Duration::from_millis(100);

impl Proposer {
    /// Asks for a promise, if the replica has a piece of a log, or one that has none
    /// may begin one: else it has no vote.
    pub(super) fn prepare(&mut self, node: NodeId, is_founding: bool, now: Duration) {
        let Some(link) = self.links.get_mut(&node) else { return };
        if link.summary.log.is_some() || is_founding {
            link.asked = Some(now);
            self.out.push((node, ToReplica::Prepare { ballot: self.ballot }));
        }
    }

    fn enter(&mut self, phase: Phase, now: Duration) {
        if matches!(self.phase, Phase::Office { .. }) {
            self.sought = now;
        }
        (self.phase, self.since) = (phase, now);
    }

    /// Begins anew, under the present ballot.
    pub(super) fn seek(&mut self, now: Duration) {
        self.enter(Phase::Seeking, now);
        self.rival = None;
        let nodes: Vec<_> = self.links.keys().copied().collect();
        let is_founding = self.is_founding(now);
        for node in nodes {
            self.prepare(node, is_founding, now);
        }
    }

    /// A replica has promised another proposer. Whoever is asked for a promise may say
    /// so, and in office the members of the council; where one more may come into
    /// the council, what keeps it away counts after a while.
    pub(super) fn refused(
        &mut self,
        node: NodeId,
        ballot: Ballot,
        promised: Ballot,
        now: Duration,
    ) {
        if ballot != self.ballot {
            return;
        }
        if promised <= ballot {
            // It was asked to leap too far, and has come nearer. In office it is sent the log
            // again, in time.
            let is_asked =
                self.links.get(&node).is_some_and(|link| link.asked.is_some() && !link.promised);
            if is_asked && !matches!(self.phase, Phase::Office { .. }) {
                self.prepare(node, false, now);
            }
            return;
        }
        let council = self.book.as_ref().map_or(&[][..], |book| book.log().council().1);
        let is_member =
            council.iter().any(|member| member.node == node && self.link_of(member).is_some());
        match self.phase {
            Phase::Recovering { source, .. } if source != node => {}
            Phase::Office { .. } if !is_member => {
                if council.len() < COUNCIL && self.rival.is_none() {
                    self.yield_to(promised, now.max(self.since + AWAY));
                }
            }
            _ => self.yield_to(promised, now),
        }
    }

    /// Another has a higher ballot: it is exceeded a while after `from`.
    fn yield_to(&mut self, promised: Ballot, from: Duration) {
        let [first, ..] = *self.ballot.proposer.as_bytes();
        let turn = (promised.round ^ self.ballot.instance ^ u64::from(first)) % 8 + 1;
        let due = from + YIELD * u32::try_from(turn).unwrap_or(1);
        // Whoever else refuses meanwhile, for the sake of whomever, puts that off no more.
        let (rival, at) = self.rival.unwrap_or((promised, due));
        self.rival = Some((rival.max(promised), at.min(due)));
    }

    pub(super) fn exceed(&mut self, rival: Ballot, now: Duration) {
        // No further at once than replicas follow: whoever has promised more says so again.
        let most = self.ballot.round.saturating_add(MAX_BALLOT_LEAP / 2);
        self.ballot.round = rival.round.clamp(self.ballot.round, most).saturating_add(1);
        self.wrote = false;
        for link in self.links.values_mut() {
            link.promised = false;
        }
        self.seek(now);
    }

    /// Asks again those that have not answered; founds a log where nobody knows
    /// one.
    pub(super) fn seek_on(&mut self, stamp: Stamp) {
        let is_silent =
            |link: &Link| !link.promised && link.asked.is_none_or(|at| stamp.now >= at + RESEND);
        let silent = self.links.iter().filter(|(_, link)| is_silent(link));
        let silent: Vec<_> = silent.map(|(node, _)| *node).collect();
        let is_founding = self.is_founding(stamp.now);
        for node in silent {
            self.prepare(node, is_founding, stamp.now);
        }
        self.elect(stamp);
        self.revive_on(stamp);
        self.found(stamp);
    }

    fn is_founding(&self, now: Duration) -> bool {
        self.revival.is_some() || self.may_found(now)
    }

    /// Whether it is time to found a log: nobody has heard of any for long enough.
    fn may_found(&self, now: Duration) -> bool {
        let is_time = self.first_seen.is_some_and(|at| now >= at + self.settings.found_pause);
        let nobody_knows = self.links.values().all(|link| link.knows.is_none());
        is_time && nobody_knows && self.book.is_none()
    }

    /// The first that answers holds the new log.
    fn found(&mut self, stamp: Stamp) {
        if self.phase != Phase::Seeking || !self.may_found(stamp.now) {
            return;
        }
        let mut promised = self.links.values().filter(|link| link.promised);
        let Some(founder) = promised.next().map(|link| link.summary.replica) else { return };
        let log = LogId { generation: 0, founded_ms: stamp.time_ms, nonce: self.ballot.instance };
        self.book = Some(Book::new(Base::found(log, founder), self.settings.kept));
        self.take_office(stamp);
    }

    pub(super) fn promised(&mut self, node: NodeId, summary: Summary, stamp: Stamp) {
        // Nobody promises for another.
        if summary.replica.node != node {
            return;
        }
        let mut summary = credible(summary);
        if let Some(link) = self.links.get_mut(&node) {
            summary.log = summary.log.filter(|_| !link.lied);
            link.knows = link.knows.or(summary.log);
            (link.summary, link.promised) = (summary, true);
        }
        // In a revival all are asked, and a piece is all that an election can need.
        let has_piece = self.links.get(&node).is_some_and(|link| link.summary.log.is_some());
        if has_piece {
            self.elect(stamp);
        }
    }

    /// Looks whether a log has its majority, the eldest first. Where one is written, or
    /// fetched, only for an elder one: of a network that began apart.
    pub(super) fn elect(&mut self, stamp: Stamp) {
        let present = match self.phase {
            Phase::Seeking => None,
            Phase::Recovering { log, .. } => Some(log),
            Phase::Office { .. } => self.book.as_ref().map(|book| book.log().id()),
        };
        let bound = present.filter(|_| self.revival.is_none());
        let electable = self.electable(|link| link.promised);
        let best = electable.filter(|best| bound.is_none_or(|bound| best.log < Some(bound)));
        let best = best.filter(|best| best.log.is_some_and(|log| !self.is_early(log)));
        if let Some(best) = best.cloned() {
            self.revival = None;
            self.recover(&best, stamp);
        }
    }

    /// The furthest piece of the eldest log that has its majority, of those that count.
    pub(super) fn electable(&self, counts: impl Fn(&Link) -> bool) -> Option<&Summary> {
        let hearsay = self.hearsay();
        let mut pieces = BTreeMap::<LogId, Vec<&Summary>>::new();
        for summary in self.links.values().filter(|link| counts(link)).map(|link| &link.summary) {
            if let Some(log) = summary.log.filter(|log| log.generation <= hearsay.last_believed) {
                pieces.entry(log).or_default().push(summary);
            }
        }
        pieces.into_iter().find_map(|(log, pieces)| {
            let best = pieces.into_iter().max_by_key(|piece| (piece.last, piece.end))?;
            self.has_majority(log, &best.council, &hearsay, &counts).then_some(best)
        })
    }

    /// Takes over the piece of the best replica. What is known here already is
    /// not fetched.
    pub(super) fn recover(&mut self, best: &Summary, stamp: Stamp) {
        let Some(log) = best.log else { return };
        // Enough have promised; what others have promised is of no importance.
        self.rival = None;
        if self.book.as_ref().is_some_and(|book| book.log().id() != log) {
            self.book = None;
        }
        self.tail.clear();
        let has_all = |book: &Book| book.log().ballot_at(best.end) == Some(best.last);
        if self.book.as_ref().is_some_and(has_all) {
            self.recovered(stamp);
            return;
        }
        let after = self.book.as_mut().map(|book| {
            book.forget_tail();
            book.committed()
        });
        let source = best.replica.node;
        let (end, last, has_begun) = (best.end, best.last, false);
        self.enter(Phase::Recovering { source, log, end, last, has_begun }, stamp.now);
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
        let Phase::Recovering { source, log, end, last, has_begun } = self.phase else { return };
        if node != source {
            return;
        }
        self.phase = Phase::Recovering { source, log, end, last, has_begun: true };
        let is_right = |base: &Base| !has_begun && base.log == log && base.position <= end;
        if let Some(base) = base.filter(|base| is_right(base)) {
            let known = self.book.as_ref().map(Book::committed);
            if known.is_none_or(|known| known < base.position) {
                self.book = Some(Book::new(*base, self.settings.kept));
            }
        }
        let Some(book) = &mut self.book else { return };
        if let Some(known) = book.log().end().checked_sub(previous) {
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            let lacking = end.saturating_sub(book.log().end());
            let lacking = usize::try_from(lacking).unwrap_or(usize::MAX);
            let new = entries.into_iter().skip(known).take(lacking);
            let mut came = 0;
            new.for_each(|entry| {
                came += weight(&entry);
                book.push(entry);
            });
            // A replica sends as much as fits; who sends less only wants time.
            if came >= PIECE_BYTES {
                self.since = stamp.now;
            }
        }
        let has = book.log().end();
        let is_too_much =
            has - book.committed() > MAX_UNSURE || book.log().bytes() > MAX_HELD_BYTES;
        if is_too_much {
            self.disbelieve(node, stamp.now);
        } else if has < end {
            self.out.push((source, ToReplica::Fetch { ballot: self.ballot, after: Some(has) }));
        } else if book.log().ballot_at(end) == Some(last) {
            self.recovered(stamp);
        } else {
            // Not what the replica said: begin anew without what is not sure.
            book.forget_tail();
            self.seek(stamp.now);
        }
    }

    /// A node sends more than any replica holds: it has no piece of a log.
    fn disbelieve(&mut self, node: NodeId, now: Duration) {
        self.book = None;
        if let Some(link) = self.links.get_mut(&node) {
            (link.lied, link.knows, link.summary.log) = (true, None, None);
        }
        self.seek(now);
    }

    /// The furthest piece is here.
    fn recovered(&mut self, stamp: Stamp) {
        if self.revival.is_some() {
            self.phase = Phase::Seeking;
            self.revive_on(stamp);
        } else {
            self.take_office(stamp);
        }
    }

    pub(super) fn take_office(&mut self, stamp: Stamp) {
        // The log has those that write it: a later loss of them needs another decision.
        self.revival = None;
        let Some(book) = &mut self.book else { return };
        if std::mem::replace(&mut self.wrote, true) {
            self.exceed(self.ballot, stamp.now);
            return;
        }
        // What others than those that have promised know to be committed may be what
        // another proposer wrote, at the same positions.
        let (log, council) = (book.log().id(), book.log().council().1);
        let voters = self.links.values().filter(|link| {
            let summary = &link.summary;
            link.promised && summary.log == Some(log) && council.contains(&summary.replica)
        });
        let known = voters.map(|link| link.summary.committed).max().unwrap_or(0);
        self.posted.extend(book.commit(known));
        self.tail.clear();
        for (_, entry) in book.log().after(book.committed()) {
            if let Body::Event(event) = &entry.body {
                let last = self.tail.entry(event.author).or_default();
                *last = event.number.max(*last);
            }
        }
        let end = book.log().end();
        for link in self.links.values_mut() {
            link.came_at = end;
        }
        self.enter(Phase::Office { started: end + 1 }, stamp.now);
        self.rival = None;
        self.away.clear();
        self.write(Body::Reign { tracker: self.ballot.proposer }, stamp);
        let last = self.last_believed();
        let others = self.links.iter().filter(|(_, link)| !link.is_of_elder(log, last));
        let nodes: Vec<_> = others.map(|(node, _)| *node).collect();
        for node in nodes {
            self.begin_sending(node);
        }
    }
}
