//! The log as the proposer has it, and what its committed entries say.

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_common::chat::entry::{Act, Body, Entry, Event, LogId, Person, Position, Reason};
use shoal_common::chat::log::{Base, Kept, Log, State};
use shoal_common::chat::rooms::{Members, Outcome};
use shoal_common::chat::words::RoomName;
use shoal_common::ident::{NodeId, NodeName};
use shoal_common::protocol::chat::Attached;

/// No node has this id, which would have to be drawn by chance.
const NOBODY: NodeId = NodeId::from_bytes([0; 32]);

/// Whom a committed entry concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Nobody: it is about the log itself, or a double.
    Nobody,
    /// Everyone.
    Everyone,
    /// The members of a room at that time, and those named.
    Some {
        /// Of the room, if it is about one.
        members: Option<Members>,
        /// The author, and whom the act is about.
        named: [NodeId; 2],
    },
}

impl Audience {
    /// Whether somebody belongs to it.
    pub fn has(&self, id: NodeId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everyone => true,
            Self::Some { members, named } => {
                named.contains(&id)
                    || members.as_ref().is_some_and(|members| members.contains_key(&id))
            }
        }
    }
}

/// An entry that is committed.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Where it stands.
    pub position: Position,
    /// What it says.
    pub entry: Arc<Entry>,
    /// What came of it.
    pub outcome: Outcome,
    /// Whom it concerns.
    pub audience: Audience,
}

/// An entry of the past, where it stands, and what came of it.
pub type Past<'a> = (Position, &'a Arc<Entry>, Outcome);

/// A piece of the log, with all that follows from its committed part.
#[derive(Debug)]
pub struct Book {
    log: Log,
    committed: Position,
    /// What all up to `committed` say.
    state: State,
    /// What came of the entries from the base of the log up to `committed`.
    outcomes: VecDeque<Outcome>,
}

impl Book {
    /// The log of a base, all of which is committed.
    pub fn new(base: Base, kept: Kept) -> Self {
        let (committed, state) = (base.position, base.state.clone());
        Self { log: Log::new(base, kept), committed, state, outcomes: VecDeque::new() }
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: Arc<Entry>) {
        self.log.push(entry);
    }

    /// Forgets what is not committed.
    pub fn forget_tail(&mut self) {
        self.log.truncate(self.committed);
    }

    /// All of it is committed, and goes on as another log, which keeps the last
    /// entries up to so many bytes.
    pub fn begin_anew(&mut self, log: LogId, bytes: usize) {
        drop(self.commit(self.log.end()));
        let dropped = self.log.begin_anew(log, bytes);
        self.outcomes.drain(..dropped.min(self.outcomes.len()));
    }

    /// Up to where it is committed.
    pub fn committed(&self) -> Position {
        self.committed
    }

    /// What the committed part says.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What a node is to be told that comes: one that `knows` the log goes on behind
    /// `after`, one that knows a log of which this is the continuation too, but no
    /// further than the two have in common; another begins now. `None` if it has heard
    /// more than is known here: others have gone on, and what came of its events is to
    /// be learned first.
    pub fn welcome(&self, node: NodeId, knows: Option<LogId>, after: Position) -> Option<Attached> {
        let (log, committed) = (self.log.id(), self.committed);
        let common = knows.and_then(|known| self.log.base().common_with(known));
        let after = common.map_or(committed, |common| after.min(common));
        let from = after.max(self.log.base().position);
        let last = self.state.rooms.last_of(node);
        let continues = common.is_some();
        (after <= committed).then_some(Attached { log, from, committed, last, continues })
    }

    /// Commits up to a position; what that brings.
    pub fn commit(&mut self, position: Position) -> Vec<Posted> {
        let position = position.min(self.log.end());
        let mut posted = Vec::new();
        while self.committed < position
            && let Some(entry) = self.log.get(self.committed + 1).map(Arc::clone)
        {
            self.committed += 1;
            let outcome = self.apply(&entry);
            self.outcomes.push_back(outcome);
            let audience = self.audience(&entry, outcome);
            posted.push(Posted { position: self.committed, entry, outcome, audience });
        }
        let dropped = self.log.compact(self.committed);
        self.outcomes.drain(..dropped.min(self.outcomes.len()));
        posted
    }

    /// Committed entries after a position that concern somebody, `most` looked
    /// at; and the position up to which was looked.
    pub fn missed(&self, id: NodeId, after: Position, most: usize) -> (Vec<Past<'_>>, Position) {
        let base = self.log.base().position;
        let skip = usize::try_from(after.saturating_sub(base)).unwrap_or(usize::MAX);
        let entries = self.log.after(after).zip(self.outcomes.iter().skip(skip));
        let mut upto = after.max(base);
        let mut missed = Vec::new();
        for ((position, entry), outcome) in entries.take(most) {
            upto = position;
            if self.concerns(id, position, entry, *outcome) {
                missed.push((position, entry, *outcome));
            }
        }
        (missed, upto)
    }

    /// What was done in a room, the last first.
    pub fn of_room(
        &self,
        room: &RoomName,
    ) -> impl Iterator<Item = (Position, &Arc<Entry>, &Event)> {
        let base = self.log.base().position;
        let outcomes = self.outcomes.iter().enumerate().rev();
        let done = outcomes.filter(|(_, outcome)| **outcome == Outcome::Done);
        let entries = done.filter_map(move |(index, _)| {
            let position = base + 1 + index as Position;
            self.log.get(position).map(|entry| (position, entry))
        });
        entries.filter_map(move |(position, entry)| match &entry.body {
            Body::Event(event) if event.act.room() == Some(room) => Some((position, entry, event)),
            _ => None,
        })
    }

    /// Who was called so last, in what concerned `by`: an author, or one to whom `by`
    /// itself did something. Of others, nobody is believed what somebody is called.
    pub fn called(&self, name: &NodeName, by: NodeId) -> Option<Person> {
        let base = self.log.base().position;
        self.outcomes.iter().enumerate().rev().find_map(|(index, outcome)| {
            let position = base + 1 + index as Position;
            let entry = self.log.get(position)?;
            let Body::Event(event) = &entry.body else { return None };
            if event.name == *name && self.concerns(by, position, entry, *outcome) {
                return Some(Person { id: event.author, name: name.clone() });
            }
            let target = event.act.target().filter(|_| event.author == by);
            target.filter(|who| who.name == *name).cloned()
        })
    }

    fn apply(&mut self, entry: &Entry) -> Outcome {
        match &entry.body {
            Body::Event(event) => self.state.rooms.apply(self.committed, event),
            _ => {
                self.state.apply(self.committed, entry);
                Outcome::Done
            }
        }
    }

    fn audience(&mut self, entry: &Entry, outcome: Outcome) -> Audience {
        let event = match &entry.body {
            Body::Reign { .. } => return Audience::Everyone,
            Body::Council { .. } => return Audience::Nobody,
            Body::Event(event) => event,
        };
        let target = event.act.target().map_or(event.author, |who| who.id);
        match (outcome, event.act.room()) {
            (Outcome::Double, _) => Audience::Nobody,
            (Outcome::Refused(_), _) => Audience::Some { members: None, named: [event.author; 2] },
            (Outcome::Done, Some(room)) if room.is_lobby() => Audience::Everyone,
            // The author is a member.
            (Outcome::Done, Some(room)) if matches!(event.act, Act::Say { .. }) => {
                let members = self.state.rooms.shared_members(room);
                Audience::Some { members, named: [NOBODY; 2] }
            }
            (Outcome::Done, room) => {
                let members = room.and_then(|room| self.state.rooms.shared_members(room));
                Audience::Some { members, named: [event.author, target] }
            }
        }
    }

    /// As [`Audience::has`], for an entry of the past: those who are in the room
    /// now and were already then.
    fn concerns(&self, id: NodeId, position: Position, entry: &Entry, outcome: Outcome) -> bool {
        let event = match &entry.body {
            Body::Reign { .. } => return true,
            Body::Council { .. } => return false,
            Body::Event(event) => event,
        };
        match outcome {
            Outcome::Double => false,
            Outcome::Refused(_) => event.author == id,
            Outcome::Done => {
                let is_named =
                    event.author == id || event.act.target().is_some_and(|who| who.id == id);
                let since =
                    event.act.room().and_then(|room| self.state.rooms.member_since(room, id));
                is_named || since.is_some_and(|since| since <= position)
            }
        }
    }
}

/// The reason in an outcome, if there is one.
pub fn reason_of(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Refused(reason) => Some(reason),
        Outcome::Done | Outcome::Double => None,
    }
}
