//! A replica of the chat's log. Pure: what it must remember leaves it as
//! [`Record`]s, which the caller has on disk before anyone hears the answer.
//!
//! Invariants, on which every acknowledgement rests:
//! - It answers nobody whose ballot is lower than the one it has promised.
//! - Whoever asks for a promise hears of all that it holds.
//! - It gives an entry up only for another proposer's at the same position, and
//!   never one that it knows to be committed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_common::chat::entry::{Ballot, Entry, Position, ReplicaId, shared};
use shoal_common::chat::log::{Base, Kept, Log, weight};
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    MAX_BALLOT_LEAP, MAX_HELD_BYTES, MAX_POSITION, MAX_UNSURE, PIECE_BYTES,
};
use shoal_common::protocol::chat::{FromReplica, Summary, ToReplica};

/// What a replica must remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// From now on it is this replica, and holds nothing.
    Begin {
        /// See [`ReplicaId::incarnation`].
        incarnation: u64,
    },
    /// It listens to nobody lower.
    Promise(Ballot),
    /// It holds this, and nothing after it.
    Base(Box<Base>),
    /// It holds this and these entries, and nothing after them. One record, so that
    /// it never has the one without the others.
    Installed {
        /// Where its piece begins.
        base: Box<Base>,
        /// What follows.
        #[serde(with = "shared")]
        entries: Vec<Arc<Entry>>,
    },
    /// The entries after this position are other ones, which follow.
    Cut(Position),
    /// The next entries.
    #[serde(with = "shared")]
    Entries(Vec<Arc<Entry>>),
    /// The log is committed up to here.
    Committed(Position),
}

/// A replica in memory.
#[derive(Debug, Clone)]
pub struct Replica {
    id: ReplicaId,
    promised: Ballot,
    log: Option<Log>,
    committed: Position,
    kept: Kept,
}

impl Replica {
    /// One that holds nothing yet, and will hold so much.
    pub fn new(node: NodeId, incarnation: u64, kept: Kept) -> Self {
        let id = ReplicaId { node, incarnation };
        Self { id, promised: Ballot::NONE, log: None, committed: 0, kept }
    }

    /// Which one it is.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// What it holds of the log.
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// How far it is.
    pub fn summary(&self) -> Summary {
        let log = self.log.as_ref();
        Summary {
            replica: self.id,
            log: log.map(Log::id),
            last: log.map_or(Ballot::NONE, Log::last),
            end: log.map_or(0, Log::end),
            committed: self.committed,
            council: log.map_or_else(Vec::new, |log| log.council().1.to_vec()),
        }
    }

    /// The record of an earlier life.
    ///
    /// # Errors
    /// It does not follow what came before.
    pub fn remember(&mut self, record: Record) -> Result<(), &'static str> {
        match record {
            Record::Begin { incarnation } => {
                *self = Self::new(self.id.node, incarnation, self.kept);
            }
            Record::Promise(ballot) => self.promised = self.promised.max(ballot),
            Record::Base(base) => self.begin_at(*base, Vec::new()),
            Record::Installed { base, entries } => self.begin_at(*base, entries),
            Record::Cut(position) => {
                let log = self.log.as_mut().ok_or("entries are cut from no log")?;
                log.truncate(position);
            }
            Record::Entries(entries) => {
                let log = self.log.as_mut().ok_or("entries of no log")?;
                entries.into_iter().for_each(|entry| log.push(entry));
            }
            Record::Committed(position) => self.committed = self.committed.max(position),
        }
        Ok(())
    }

    fn begin_at(&mut self, base: Base, entries: Vec<Arc<Entry>>) {
        self.committed = base.position;
        let log = self.log.insert(Log::new(base, self.kept));
        entries.into_iter().for_each(|entry| log.push(entry));
    }

    /// All that it must remember, shortest.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![
            Record::Begin { incarnation: self.id.incarnation },
            Record::Promise(self.promised),
        ];
        if let Some(log) = &self.log {
            records.push(Record::Base(Box::new(log.base().clone())));
            let entries = log.after(0).map(|(_, entry)| Arc::clone(entry));
            records.push(Record::Entries(entries.collect()));
            records.push(Record::Committed(self.committed));
        }
        records
    }

    /// The proposer says something. What is to be remembered is added to
    /// `records`, and must be on disk before the answer leaves.
    pub fn hear(&mut self, message: ToReplica, records: &mut Vec<Record>) -> FromReplica {
        let ballot = message.ballot();
        let leap = ballot.round.saturating_sub(self.promised.round);
        if ballot < self.promised {
            return FromReplica::Refused { ballot, promised: self.promised };
        }
        if leap > MAX_BALLOT_LEAP {
            // A lie may be behind it, or the truth after many: it goes part of the way, and
            // whoever means it asks again.
            let round = self.promised.round.saturating_add(MAX_BALLOT_LEAP);
            self.promised = Ballot { round, ..Ballot::NONE };
            records.push(Record::Promise(self.promised));
            return FromReplica::Refused { ballot, promised: self.promised };
        }
        if ballot > self.promised {
            self.promised = ballot;
            records.push(Record::Promise(ballot));
        }
        match message {
            ToReplica::Prepare { ballot } => {
                FromReplica::Promised { ballot, summary: self.summary() }
            }
            ToReplica::Fetch { ballot, after } => self.piece(ballot, after),
            ToReplica::Install { ballot, base, entries } => {
                self.install(ballot, *base, entries, records)
            }
            ToReplica::Append { ballot, log, previous, previous_ballot, entries, committed } => {
                if previous > MAX_POSITION || self.log.as_ref().is_none_or(|held| held.id() != log)
                {
                    return FromReplica::Behind { ballot, from: None };
                }
                let end = previous + entries.len() as Position;
                if !self.append(previous, previous_ballot, entries, records) {
                    return FromReplica::Behind { ballot, from: Some(self.committed) };
                }
                self.commit(committed.min(end), records);
                FromReplica::Holds { ballot, end }
            }
        }
    }

    fn piece(&self, ballot: Ballot, after: Option<Position>) -> FromReplica {
        let Some(log) = &self.log else {
            return FromReplica::Behind { ballot, from: None };
        };
        let base = log.base();
        let from = after.filter(|after| *after >= base.position);
        let previous = from.unwrap_or(base.position).min(log.end());
        FromReplica::Piece {
            ballot,
            base: from.is_none().then(|| Box::new(base.clone())),
            previous,
            entries: log.piece(previous, PIECE_BYTES),
        }
    }

    /// Whether what is held and `previous` fit together; then the entries are
    /// held, too. Not if they are more than any proposer has.
    fn append(
        &mut self,
        previous: Position,
        previous_ballot: Ballot,
        entries: Vec<Arc<Entry>>,
        records: &mut Vec<Record>,
    ) -> bool {
        let Some(log) = &mut self.log else { return false };
        // What is committed is the same everywhere.
        let is_sure = previous <= self.committed;
        if !is_sure && log.ballot_at(previous) != Some(previous_ballot) {
            return false;
        }
        let is_held = |position: Position, entry: &Entry| {
            let held = log.get(position).is_some_and(|held| held.ballot == entry.ballot);
            position <= self.committed || held
        };
        let entries = (previous + 1..).zip(entries);
        let mut added = entries.skip_while(|(at, entry)| is_held(*at, entry)).peekable();
        let Some((first, _)) = added.peek() else { return true };
        let before = *first - 1;
        let added: Vec<_> = added.map(|(_, entry)| entry).collect();
        let unsure = before - self.committed + added.len() as Position;
        let cut: usize = log.after(before).map(|(_, entry)| weight(entry)).sum();
        let bytes = log.bytes() - cut + added.iter().map(|entry| weight(entry)).sum::<usize>();
        if unsure > MAX_UNSURE || bytes > MAX_HELD_BYTES {
            return false;
        }
        if log.end() > before {
            log.truncate(before);
            records.push(Record::Cut(before));
        }
        added.iter().for_each(|entry| log.push(Arc::clone(entry)));
        records.push(Record::Entries(added));
        true
    }

    fn commit(&mut self, committed: Position, records: &mut Vec<Record>) {
        if committed > self.committed {
            self.committed = committed;
            records.push(Record::Committed(committed));
            if let Some(log) = &mut self.log {
                log.compact(committed);
            }
        }
    }

    fn install(
        &mut self,
        ballot: Ballot,
        base: Base,
        entries: Vec<Arc<Entry>>,
        records: &mut Vec<Record>,
    ) -> FromReplica {
        let begin = base.position;
        if begin > MAX_POSITION {
            return FromReplica::Behind { ballot, from: None };
        }
        let end = begin + entries.len() as Position;
        match &self.log {
            // Of logs of networks that began apart one goes on. As a replica never returns
            // to the other, none counts on what it had.
            Some(held) if held.id() != base.log && !base.log.goes_before(&held.id()) => {
                return FromReplica::Behind { ballot, from: None };
            }
            Some(held) if held.id() != base.log => {}
            Some(held) if begin <= self.committed || held.ballot_at(begin) == Some(base.ballot) => {
                self.commit(begin, records);
                return if self.append(begin, base.ballot, entries, records) {
                    FromReplica::Holds { ballot, end }
                } else {
                    FromReplica::Behind { ballot, from: Some(self.committed) }
                };
            }
            // What it holds there and after is not committed: the base is.
            _ => {}
        }
        let (base, kept) = (Box::new(base), entries.clone());
        records.push(Record::Installed { base: base.clone(), entries });
        self.begin_at(*base, kept);
        FromReplica::Holds { ballot, end }
    }
}
