//! Who writes the chat's log: a tracker in office. Pure.
//!
//! Multi-Paxos with a log, as in Viewstamped Replication and Raft, with the one
//! difference that the proposer is no replica itself:
//! - **Seeking**: every replica that comes is asked for a promise. When, of some
//!   log, a majority of its council has promised, its furthest piece (highest
//!   ballot at the end, then longest) contains all that was ever committed.
//! - **Recovering**: that piece is fetched.
//! - **In office**: an entry of one's own ends it; from then on the replicas of
//!   the council get all there is to hold. What a majority holds, up to an entry
//!   under this very ballot, is committed.
//!
//! The council changes by entries, one member at a time, and each counts from
//! the moment it is written, so that majorities of before and after have a
//! replica in common.
//!
//! It tolerates that messages are lost, doubled, late and out of order. How the
//! three parts do their work is in [`elect`], [`replicate`] and [`council`];
//! [`elder`] is about logs that meet, [`revive`] is what people do when most of
//! those that held the log are gone.

mod council;
mod elder;
mod elect;
mod replicate;
mod revive;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shoal_common::chat::entry::{Ballot, Body, Entry, Event, LogId, Position, ReplicaId};
use shoal_common::chat::log::Kept;
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    COUNCIL, MAX_BALLOT_LEAP, MAX_EVENT_TIME, MAX_NUMBER_LEAP, MAX_POSITION, MAX_TAIL,
};
use shoal_common::protocol::chat::{Attached, FromReplica, Standing, Summary, ToReplica};

use super::book::{Book, Posted};

/// How long a proposer without a log waits for somebody who knows one before it
/// founds a new one, unless told otherwise: a little longer than nodes pause
/// between two attempts to reach a tracker that was away.
pub const FOUND_PAUSE: Duration = Duration::from_secs(5);

/// How long a member of the council may be away before it is replaced, or done
/// without: longer than a restart takes.
pub const AWAY: Duration = Duration::from_secs(10);

/// How long an answer is waited for before what was said is said again. A
/// connection loses nothing, so it is for one that stands still.
const RESEND: Duration = Duration::from_secs(1);

/// How far the clocks of trackers may be apart for times to run in order, in
/// milliseconds. One that is further ahead was wrong, and does not mark all that comes.
const CLOCKS_MS: u64 = 60_000;

/// What a proposer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long it waits for somebody who knows a log before it founds one.
    pub found_pause: Duration,
    /// How much of the log is kept.
    pub kept: Kept,
}

impl Default for Settings {
    fn default() -> Self {
        Self { found_pause: FOUND_PAUSE, kept: Kept::default() }
    }
}

/// Who proposes, and when something happens.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// Time of the caller's clock; it never runs backwards.
    pub now: Duration,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Lamport time.
    pub at: u64,
}

/// A replica that is connected.
#[derive(Debug)]
struct Link {
    /// Which connection.
    session: u64,
    /// When it came.
    came: Duration,
    /// Where the log ended then, or when this reign began: what is committed behind
    /// that proves that nothing else was committed before the node came.
    came_at: Position,
    /// What it said last of itself.
    summary: Summary,
    /// Of which log its node has heard, as a replica or not.
    knows: Option<LogId>,
    /// Whether it claimed a piece of a log that no replica has: it is not asked for
    /// another one.
    lied: bool,
    /// Whether it has promised the present ballot.
    promised: bool,
    /// When it was last asked for a promise.
    asked: Option<Duration>,
    /// The next position to be sent to it.
    next: Position,
    /// Up to where it holds what the proposer has.
    held: Position,
    /// Up to where it was told that the log is committed.
    told: Position,
    /// Appends that it has not answered.
    flights: u32,
    /// How often it was sent something again without an answer.
    tries: u32,
    /// When it last answered, or was last sent something again.
    moved: Duration,
    /// When it last said that it has no piece of the log, and was heard.
    lacked: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Seeking,
    Recovering {
        /// Whose piece is fetched.
        source: NodeId,
        /// Which log, and up to where.
        log: LogId,
        end: Position,
        last: Ballot,
        /// Whether a piece has come: a base comes with the first one only.
        has_begun: bool,
    },
    Office {
        /// The first entry under the present ballot.
        started: Position,
    },
}

/// Why an event can't be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotNow {
    /// The proposer is not in office, or its tail is full.
    Wait,
    /// One before it is missing.
    Gap,
}

/// The proposer of one tracker.
#[derive(Debug)]
pub struct Proposer {
    ballot: Ballot,
    settings: Settings,
    phase: Phase,
    /// What time it was last.
    now: Duration,
    /// When the present phase began or last got on.
    since: Duration,
    /// When it was last looked in office whether an elder log has its majority, and
    /// whether somebody waits for an entry.
    looked: Duration,
    /// Whether somebody waits for an entry that is written from now on.
    awaited: bool,
    /// When the first replica came, as long as there is one.
    first_seen: Option<Duration>,
    /// Since when a log is sought: since that one came, or since it left office.
    sought: Duration,
    /// Until when an election may be put off for the sake of who came soon after that and
    /// has heard of a log, though its connection breaks meanwhile.
    put_off: Duration,
    links: BTreeMap<NodeId, Link>,
    book: Option<Book>,
    /// Last number of each author in the part that is not committed.
    tail: BTreeMap<NodeId, u64>,
    /// The highest ballot of another that was heard of, and when it is exceeded.
    rival: Option<(Ballot, Duration)>,
    /// Since when members of the council are away.
    away: BTreeMap<ReplicaId, Duration>,
    /// Nodes that are about to leave on purpose.
    leaving: BTreeSet<NodeId>,
    /// Whether anything was written under the present ballot. A second time in office
    /// takes another one: under one ballot there is one log, and one entry a
    /// position, so an answer names what it is about.
    wrote: bool,
    /// When people want the log to go on without those that held it.
    revival: Option<Duration>,
    out: Vec<(NodeId, ToReplica)>,
    posted: Vec<Posted>,
}

impl Proposer {
    /// The proposer of a tracker, in its reign with this epoch. `instance` is
    /// drawn by chance.
    pub fn new(tracker: NodeId, epoch: u64, instance: u64, settings: Settings) -> Self {
        Self {
            // Epochs can be raised; replicas follow a leap of rounds at once only so far.
            ballot: Ballot { round: epoch.min(MAX_BALLOT_LEAP / 2), proposer: tracker, instance },
            settings,
            phase: Phase::Seeking,
            now: Duration::ZERO,
            since: Duration::ZERO,
            looked: Duration::ZERO,
            awaited: false,
            first_seen: None,
            sought: Duration::ZERO,
            put_off: Duration::ZERO,
            links: BTreeMap::new(),
            book: None,
            tail: BTreeMap::new(),
            rival: None,
            away: BTreeMap::new(),
            leaving: BTreeSet::new(),
            wrote: false,
            revival: None,
            out: Vec::new(),
            posted: Vec::new(),
        }
    }

    // Events ---------------------------------------------------------------

    /// A node comes with its replica, on a connection with this number. It
    /// `knows` of a log even if its replica has no piece of one.
    pub fn attach(&mut self, session: u64, summary: Summary, knows: Option<LogId>, stamp: Stamp) {
        let summary = credible(summary);
        let node = summary.replica.node;
        self.now = stamp.now;
        if self.first_seen.is_none() {
            (self.first_seen, self.sought) = (Some(stamp.now), stamp.now);
        }
        let knows = knows.or(summary.log);
        if knows.is_some() && stamp.now < self.sought + AWAY {
            self.put_off = stamp.now + AWAY;
        }
        let link = Link {
            session,
            came: stamp.now,
            came_at: self.book.as_ref().map_or(0, |book| book.log().end()),
            summary,
            knows,
            lied: false,
            promised: false,
            asked: None,
            next: 0,
            held: 0,
            told: 0,
            flights: 0,
            tries: 0,
            moved: stamp.now,
            lacked: None,
        };
        self.links.insert(node, link);
        self.leaving.remove(&node);
        let is_of_elder =
            self.book.as_ref().zip(self.links.get(&node)).is_some_and(|(book, link)| {
                let log = book.log().id();
                link.names_elder(log) && link.is_of_elder(log, self.last_believed())
            });
        match self.phase {
            Phase::Office { .. } if !is_of_elder => self.begin_sending(node),
            _ => self.prepare(node, self.revival.is_some(), stamp.now),
        }
    }

    /// A connection ends. Nothing, if the node has come on another since.
    pub fn detach(&mut self, node: NodeId, session: u64, now: Duration) {
        if self.links.get(&node).is_none_or(|link| link.session != session) {
            return;
        }
        self.links.remove(&node);
        // A member of the council that left before it was released is to be done without
        // all the same, and that can be seen to in office alone.
        let council = self.book.as_ref().map_or(&[][..], |book| book.log().council().1);
        let is_member = council.iter().any(|member| member.node == node);
        if !is_member || !matches!(self.phase, Phase::Office { .. }) {
            self.leaving.remove(&node);
        }
        if self.links.is_empty() {
            self.first_seen = None;
        }
        if matches!(self.phase, Phase::Recovering { source, .. } if source == node) {
            self.seek(now);
        }
    }

    /// A node is about to leave: the log is to be held without it.
    pub fn leaving(&mut self, node: NodeId, stamp: Stamp) {
        if self.links.contains_key(&node) {
            self.leaving.insert(node);
        }
        if let Phase::Office { .. } = self.phase {
            self.tend_council(stamp);
        }
    }

    /// What was said to a node is still being sent: no answer is overdue.
    pub fn still_sending(&mut self, node: NodeId, now: Duration) {
        if let Some(link) = self.links.get_mut(&node) {
            link.moved = now;
        }
    }

    /// A replica answers on a connection.
    pub fn hear(&mut self, node: NodeId, session: u64, answer: FromReplica, stamp: Stamp) {
        if self.links.get(&node).is_none_or(|link| link.session != session) {
            return;
        }
        match answer {
            FromReplica::Refused { ballot, promised } => {
                self.refused(node, ballot, promised, stamp.now);
            }
            FromReplica::Promised { ballot, .. }
            | FromReplica::Piece { ballot, .. }
            | FromReplica::Holds { ballot, .. }
            | FromReplica::Behind { ballot, .. }
                if ballot != self.ballot => {}
            FromReplica::Promised { summary, .. } => self.promised(node, summary, stamp),
            FromReplica::Piece { base, previous, entries, .. } => {
                self.fetched(node, base, previous, entries, stamp);
            }
            FromReplica::Holds { end, .. } => self.holds(node, end, stamp),
            FromReplica::Behind { from, .. } => self.behind(node, from, stamp.now),
        }
    }

    /// An author did something; `previous` is the number of the event before it
    /// that the author still waits for, or 0. What was taken before is taken
    /// again in silence; a number that no author gets to is dropped.
    ///
    /// # Errors
    /// It can't be taken now; the author tries again, from the first that it
    /// waits for.
    pub fn submit(&mut self, event: &Event, previous: u64, stamp: Stamp) -> Result<(), NotNow> {
        let (Phase::Office { .. }, Some(book)) = (self.phase, &self.book) else {
            return Err(NotNow::Wait);
        };
        let author = event.author;
        let committed = book.state().rooms.last_of(author);
        let last = self.tail.get(&author).copied().unwrap_or(0).max(committed);
        let most = last.max(MAX_EVENT_TIME).saturating_add(MAX_NUMBER_LEAP);
        if event.number <= last || event.number > most {
            return Ok(());
        }
        if previous > last {
            return Err(NotNow::Gap);
        }
        let is_full = book.log().end() - book.committed() >= MAX_TAIL;
        if is_full || self.holds_alone() {
            return Err(NotNow::Wait);
        }
        self.tail.insert(author, event.number);
        self.write(Body::Event(event.clone()), stamp);
        Ok(())
    }

    /// Time has passed. Call it a few times a second.
    pub fn tick(&mut self, stamp: Stamp) {
        self.now = stamp.now;
        if let Some((rival, at)) = self.rival
            && stamp.now >= at
        {
            self.exceed(rival, stamp.now);
        }
        match self.phase {
            Phase::Seeking => self.seek_on(stamp),
            Phase::Recovering { .. } if stamp.now >= self.since + 3 * RESEND => {
                self.seek(stamp.now);
            }
            Phase::Recovering { .. } => {}
            Phase::Office { .. } => {
                self.resend(stamp.now);
                self.tend_council(stamp);
                if stamp.now >= self.looked + RESEND {
                    self.looked = stamp.now;
                    self.write_awaited(stamp);
                    // There may be one that had to wait.
                    self.elect(stamp);
                }
            }
        }
    }

    // What leaves it --------------------------------------------------------

    /// What is to be said to replicas, in order.
    pub fn take_messages(&mut self) -> Vec<(NodeId, ToReplica)> {
        self.send_entries();
        std::mem::take(&mut self.out)
    }

    /// What was committed since the last call.
    pub fn take_posted(&mut self) -> Vec<Posted> {
        std::mem::take(&mut self.posted)
    }

    // Questions -------------------------------------------------------------

    /// The log, as far as it is known here.
    pub fn book(&self) -> Option<&Book> {
        self.book.as_ref()
    }

    /// Whether it writes, and its first entry is committed: all that was
    /// committed before it is known, then.
    pub fn is_in_office(&self) -> bool {
        let committed = self.book.as_ref().map_or(0, Book::committed);
        matches!(self.phase, Phase::Office { started } if committed >= started)
    }

    /// What a node is to be told that comes, as [`Book::welcome`] has it; `None` while
    /// no log is written, and while those may come that hold an elder one of which the
    /// node has heard.
    ///
    /// One that has heard of more than is known here waits until something is committed
    /// that was written since. Had others gone on before it came, that could not be: so
    /// the node was lied to, and begins where the log is.
    pub fn welcome(
        &mut self,
        node: NodeId,
        knows: Option<LogId>,
        after: Position,
    ) -> Option<Attached> {
        let book = self.book.as_ref().filter(|_| self.is_in_office())?;
        let link = self.links.get(&node)?;
        let (committed, end, came_at) = (book.committed(), book.log().end(), link.came_at);
        let log = book.log().id();
        if link.names_elder(log) && self.hopes_for_elder(link, log, self.last_believed()) {
            return None;
        }
        let after = if committed > came_at { after.min(committed) } else { after };
        let Some(attached) = book.welcome(node, knows, after) else {
            self.awaited |= end <= came_at;
            return None;
        };
        if let Some(link) = self.links.get_mut(&node) {
            link.knows = Some(attached.log);
        }
        Some(attached)
    }

    /// Whether a node is asked for its piece of the log.
    pub fn fetches_from(&self, node: NodeId) -> bool {
        matches!(self.phase, Phase::Recovering { source, .. } if source == node)
    }

    /// Whether something is in the way of being accepted.
    pub fn standing(&self) -> Standing {
        let (here, council) = self.quorum();
        Standing {
            writes: self.is_in_office() && !self.holds_alone(),
            here: here as u64,
            council: council as u64,
        }
    }

    // Steps -----------------------------------------------------------------

    /// It may be long until somebody says something: an entry that changes nothing, for
    /// all that wait for one.
    fn write_awaited(&mut self, stamp: Stamp) {
        let Some(book) = self.book.as_ref().filter(|_| self.awaited) else { return };
        if book.log().end() == book.committed() {
            self.awaited = false;
            let members = book.log().council().1.to_vec();
            self.write(Body::Council { members }, stamp);
        }
    }

    fn write(&mut self, body: Body, stamp: Stamp) {
        if let Some(book) = &mut self.book {
            let before = book.log().get(book.log().end()).map_or(0, |entry| entry.time_ms);
            let is_near = before <= stamp.time_ms.saturating_add(CLOCKS_MS);
            let time_ms = if is_near { stamp.time_ms.max(before) } else { stamp.time_ms };
            let entry = Entry { ballot: self.ballot, at: stamp.at, time_ms, body };
            book.push(Arc::new(entry));
        }
    }

    /// The connection of a member of the council: of that very replica.
    fn link_of(&self, member: &ReplicaId) -> Option<&Link> {
        self.links.get(&member.node).filter(|link| link.summary.replica == *member)
    }
}

/// Without what no replica can hold.
fn credible(summary: Summary) -> Summary {
    let is_credible =
        summary.end.max(summary.committed) <= MAX_POSITION && summary.council.len() <= COUNCIL;
    match is_credible {
        true => summary,
        false => Summary { log: None, council: Vec::new(), ..summary },
    }
}
