//! A tracker of the simulated world: a proposer and its sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::chat::entry::{Body, Entry, LogId, Position};
use shoal_common::chat::log::{Base, Kept, Log};
use shoal_common::chat::rooms::Outcome;
use shoal_common::ident::NodeId;
use shoal_common::protocol::chat::Attached;
use shoal_tracker::chat::book::Posted;
use shoal_tracker::chat::proposer::{Proposer, Settings, Stamp};

use super::{Down, Up, World};

/// A node that is connected.
struct Session {
    number: u64,
    knows: Option<LogId>,
    after: Position,
    /// Of which log, and up to where it has been told, once it is attached.
    told: Option<(LogId, Position)>,
}

impl Session {
    /// What a node is told that comes skips nothing that is kept, nor takes back what the
    /// node has heard.
    fn check(&self, said: &Attached, base: &Base) {
        let Some(knows) = self.knows.filter(|_| said.continues) else { return };
        let common = base.common_with(knows);
        assert!(common >= Some(self.after), "{common:?} of {}: it is wiped", self.after);
        assert_eq!(said.from, self.after.max(base.position), "all that is kept is told");
    }
}

pub(super) struct SimTracker {
    id: NodeId,
    pub(super) is_up: bool,
    proposer: Proposer,
    lives: u64,
    kept: Kept,
    sessions: BTreeMap<NodeId, Session>,
}

impl SimTracker {
    pub(super) fn new(number: usize, kept: Kept) -> Self {
        let id = NodeId::from_bytes([u8::try_from(200 + number).unwrap(); 32]);
        let settings = Settings { found_pause: Duration::from_secs(1), kept };
        let proposer = Proposer::new(id, 1, 0, settings);
        Self { id, is_up: true, proposer, lives: 0, kept, sessions: BTreeMap::new() }
    }

    /// It starts again without any memory.
    pub(super) fn start(&mut self, epoch: u64) {
        self.is_up = true;
        self.lives += 1;
        let settings = Settings { kept: self.kept, ..Settings::default() };
        self.proposer = Proposer::new(self.id, epoch, self.lives, settings);
        self.sessions.clear();
    }

    /// The nodes of the council, as it knows them.
    pub(super) fn council(&self) -> Vec<NodeId> {
        let council = self.proposer.book().map_or(&[][..], |book| book.log().council().1);
        council.iter().map(|member| member.node).collect()
    }

    /// Whether it writes a log of this generation.
    pub(super) fn writes(&self, generation: u64) -> bool {
        let log = self.proposer.book().map(|book| book.log().id());
        self.proposer.is_in_office() && log.is_some_and(|log| log.generation == generation)
    }

    pub(super) fn hung_up(&mut self, node: NodeId, number: u64, now: Duration) {
        self.proposer.detach(node, number, now);
        if self.sessions.get(&node).is_some_and(|session| session.number == number) {
            self.sessions.remove(&node);
        }
    }

    /// What the sessions are to be told.
    fn news(&mut self) -> (Vec<(u64, Down)>, Vec<u64>) {
        let (mut news, mut ends) = (Vec::new(), Vec::new());
        let Some(log) = self.proposer.book().map(|book| book.log().id()) else {
            return (news, ends);
        };
        for (node, session) in &mut self.sessions {
            if session.told.is_none() {
                let welcome = self.proposer.welcome(*node, session.knows, session.after);
                if let (Some(said), Some(book)) = (welcome, self.proposer.book()) {
                    session.check(&said, book.log().base());
                }
                session.told = welcome.map(|attached| (log, attached.from));
                news.extend(welcome.map(|said| (session.number, Down::Attached(said))));
            }
            let Some(book) = self.proposer.book() else { continue };
            match &mut session.told {
                None => {}
                Some((told, _)) if *told != log => ends.push(session.number),
                // It lags behind what is kept: it comes again, and is told so.
                Some((_, told)) if *told < book.log().base().position => {
                    ends.push(session.number);
                }
                Some((_, told)) => {
                    let (missed, upto) = book.missed(*node, *told, 50);
                    for (position, entry, outcome) in missed {
                        let has_effect = outcome == Outcome::Done;
                        news.push((
                            session.number,
                            Down::Post(position, author_of(entry), has_effect),
                        ));
                    }
                    if upto > *told {
                        news.push((session.number, Down::UpTo(upto)));
                    }
                    *told = upto.max(*told);
                }
            }
        }
        (news, ends)
    }
}

pub(super) fn author_of(entry: &Entry) -> Option<(NodeId, u64)> {
    match &entry.body {
        Body::Event(event) => Some((event.author, event.number)),
        _ => None,
    }
}

impl World {
    fn stamp(&self) -> Stamp {
        Stamp { now: self.now(), time_ms: self.now_ms, at: self.now_ms }
    }

    /// Somebody asks a tracker to go on without those that are away.
    pub(super) fn revive(&mut self, at: usize) -> bool {
        let stamp = self.stamp();
        self.trackers[at].proposer.revive(stamp)
    }

    /// A tracker has its turn.
    pub(super) fn rule(&mut self, at: usize) {
        let stamp = self.stamp();
        let tracker = &mut self.trackers[at];
        if !tracker.is_up {
            return;
        }
        if self.now_ms.is_multiple_of(100) {
            tracker.proposer.tick(stamp);
        }
        let messages = tracker.proposer.take_messages();
        let messages: Vec<_> = messages
            .into_iter()
            .filter_map(|(node, message)| {
                Some((tracker.sessions.get(&node)?.number, Down::Ask(message)))
            })
            .collect();
        let (news, ends) = tracker.news();
        self.witness(at);
        for (number, message) in messages.into_iter().chain(news) {
            self.send_down(number, message);
        }
        self.cut_off(|wire| ends.contains(&wire.number));
    }

    /// Whatever anyone ever holds to be committed is the same for all.
    fn witness(&mut self, at: usize) {
        let posted = self.trackers[at].proposer.take_posted();
        for Posted { position, entry, .. } in posted {
            self.say(|| format!("tracker {at}: {position} is committed: {:?}", entry.body));
            let log = self.trackers[at].proposer.book().unwrap().log();
            let truth = self.truth.remove(&log.id());
            let mut truth = truth.unwrap_or_else(|| self.truth_before(log));
            match truth.get(&position) {
                Some(known) => assert_eq!(*known, entry, "two entries at {position}"),
                None => {
                    match entry.body {
                        Body::Reign { .. } => self.figures.reigns += 1,
                        Body::Council { .. } => self.figures.councils += 1,
                        Body::Event(_) => {}
                    }
                    truth.insert(position, entry);
                }
            }
            self.truth.insert(log.id(), truth);
        }
    }

    /// What stands in a log from the one of which it is the continuation. That which was
    /// held of it is taken over, committed or not.
    fn truth_before(&self, log: &Log) -> BTreeMap<Position, Arc<Entry>> {
        let Some(before) = log.base().before.last() else { return BTreeMap::new() };
        let known = self.truth.get(&before.log).into_iter();
        let known = known.flat_map(|truth| truth.range(..=before.founded));
        let mut truth: BTreeMap<_, _> = known.map(|(at, it)| (*at, Arc::clone(it))).collect();
        for (at, entry) in log.after(0).take_while(|(at, _)| *at <= before.founded) {
            let known = truth.entry(at).or_insert_with(|| Arc::clone(entry));
            assert_eq!(known, entry, "another one at {at} is taken over");
        }
        truth
    }

    pub(super) fn tracker_hears(&mut self, number: u64, message: Up) {
        let stamp = self.stamp();
        let Some(wire) = self.wires.iter().find(|wire| wire.number == number) else { return };
        let (node, at) = (self.nodes[wire.node].id, wire.tracker);
        let tracker = &mut self.trackers[at];
        if !tracker.is_up {
            return;
        }
        match message {
            Up::Attach { summary, knows, after } => {
                tracker.sessions.insert(node, Session { number, knows, after, told: None });
                tracker.proposer.attach(number, summary, knows, stamp);
            }
            Up::Submit { previous, event } => {
                let taken = tracker.proposer.submit(&event, previous, stamp);
                self.say(|| format!("tracker {at}: {} of {node:?}: {taken:?}", event.number));
            }
            Up::Answer(answer) => tracker.proposer.hear(node, number, answer, stamp),
        }
        // At once: it may turn to another log.
        self.witness(at);
    }

    /// Whether one more disk may be lost: no log survives the loss of a majority
    /// of those that hold it.
    pub(super) fn may_lose_a_disk(&self) -> bool {
        let books = self.trackers.iter().filter(|tracker| tracker.is_up);
        let best = books.filter(|tracker| tracker.proposer.is_in_office());
        let best = best.filter_map(|tracker| tracker.proposer.book());
        let Some(book) = best.max_by_key(|book| (book.log().last(), book.log().end())) else {
            return false;
        };
        let (position, council) = book.log().council();
        let present = |member: &&shoal_common::chat::entry::ReplicaId| {
            self.nodes.iter().any(|node| node.replica.id() == **member)
        };
        let here = council.iter().filter(present).count();
        // All that are left are needed, then.
        position <= book.committed() && council.len() >= 3 && here == council.len()
    }
}
