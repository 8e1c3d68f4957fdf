//! A bounded piece of the log: what is older has become the state at its base.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chat::entry::{Act, Ballot, Body, Entry, LogId, Position, ReplicaId};
use crate::chat::rooms::Rooms;
use crate::limits::{KEPT_BYTES, KEPT_ENTRIES};

/// All that the entries up to some position say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The rooms.
    pub rooms: Rooms,
    /// Who holds the log.
    pub council: Vec<ReplicaId>,
}

impl State {
    /// The next committed entry.
    pub fn apply(&mut self, position: Position, entry: &Entry) {
        match &entry.body {
            Body::Reign { .. } => {}
            Body::Council { members } => self.council.clone_from(members),
            Body::Event(event) => drop(self.rooms.apply(position, event)),
        }
    }
}

/// A log of which another one is the continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Which.
    pub log: LogId,
    /// The last position that the two have in common.
    pub founded: Position,
}

/// Most logs of which it is remembered that this one is their continuation: more than
/// are begun while somebody who may come back is away.
const MAX_BEFORE: usize = 16;

/// Where a piece of the log begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Which log.
    pub log: LogId,
    /// The last position that is no entry any more; 0 for a whole log.
    pub position: Position,
    /// The ballot of the entry there.
    pub ballot: Ballot,
    /// The logs of which this one is the continuation, the last ones, in order.
    #[serde(default)]
    pub before: Vec<Before>,
    /// What all entries up to there say.
    pub state: State,
}

impl Base {
    /// The beginning of a log that is held by one replica.
    pub fn found(log: LogId, founder: ReplicaId) -> Self {
        let state = State { rooms: Rooms::default(), council: vec![founder] };
        Self { log, position: 0, ballot: Ballot::NONE, before: Vec::new(), state }
    }

    /// The position after which this log is another one than the log before; 0 if
    /// there was none.
    pub fn founded(&self) -> Position {
        self.before.last().map_or(0, |before| before.founded)
    }

    /// The last position that this log has in common with another one; `None` if it is
    /// not the continuation of that.
    pub fn common_with(&self, log: LogId) -> Option<Position> {
        if log == self.log {
            return Some(Position::MAX);
        }
        let since = self.before.iter().skip_while(|before| before.log != log);
        since.map(|before| before.founded).min()
    }

    /// It is another log from a position on.
    pub fn branch(&mut self, log: LogId, founded: Position) {
        self.before.push(Before { log: self.log, founded });
        let surplus = self.before.len().saturating_sub(MAX_BEFORE);
        self.before.drain(..surplus);
        self.log = log;
    }
}

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Most entries.
    pub entries: usize,
    /// Most bytes of them.
    pub bytes: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { entries: KEPT_ENTRIES, bytes: KEPT_BYTES }
    }
}

/// A piece of the log, from its base to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    base: Base,
    kept: Kept,
    entries: VecDeque<Arc<Entry>>,
    /// Of the entries, see [`weight`].
    bytes: usize,
    /// Positions of the council changes among the entries.
    councils: Vec<Position>,
}

/// What an entry takes beside its texts, about, in bytes.
const FIXED: usize = 256;

/// How much room an entry takes, about, in bytes.
pub fn weight(entry: &Entry) -> usize {
    match &entry.body {
        Body::Reign { .. } => FIXED,
        Body::Council { members } => FIXED + size_of_val(members.as_slice()),
        Body::Event(event) => weight_of(&event.act),
    }
}

/// How much room an entry with this act takes, about, in bytes.
pub fn weight_of(act: &Act) -> usize {
    FIXED
        + match act {
            Act::Say { text, .. } | Act::Tell { text, .. } => text.as_str().len(),
            Act::Topic { topic, .. } => topic.as_str().len(),
            _ => 0,
        }
}

impl Log {
    /// One without entries.
    pub fn new(base: Base, kept: Kept) -> Self {
        Self { base, kept, entries: VecDeque::new(), bytes: 0, councils: Vec::new() }
    }

    /// Which log.
    pub fn id(&self) -> LogId {
        self.base.log
    }

    /// How much room its entries take, about, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it begins.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Position of the last entry.
    pub fn end(&self) -> Position {
        self.base.position + self.entries.len() as u64
    }

    /// The ballot of the last entry.
    pub fn last(&self) -> Ballot {
        self.entries.back().map_or(self.base.ballot, |entry| entry.ballot)
    }

    /// The entry at a position, if it is here.
    pub fn get(&self, position: Position) -> Option<&Arc<Entry>> {
        self.entries.get(self.index(position)?)
    }

    /// The ballot of what stands at a position: an entry, or the base.
    pub fn ballot_at(&self, position: Position) -> Option<Ballot> {
        if position == self.base.position {
            return Some(self.base.ballot);
        }
        self.get(position).map(|entry| entry.ballot)
    }

    /// The entries after a position; from the base on at least.
    pub fn after(&self, position: Position) -> impl Iterator<Item = (Position, &Arc<Entry>)> {
        let skip = usize::try_from(position.saturating_sub(self.base.position));
        let skip = skip.unwrap_or(usize::MAX).min(self.entries.len());
        let first = self.base.position + 1 + skip as u64;
        (first..).zip(self.entries.range(skip..))
    }

    /// Entries after a position, as many as weigh no more than `bytes` together,
    /// one at least.
    pub fn piece(&self, position: Position, bytes: usize) -> Vec<Arc<Entry>> {
        let mut left = Some(bytes);
        let piece = self.after(position).take_while(|(_, entry)| {
            let room = left;
            left = room.and_then(|left| left.checked_sub(weight(entry)));
            room.is_some()
        });
        piece.map(|(_, entry)| Arc::clone(entry)).collect()
    }

    /// Who holds the log according to its last entry about that, committed or
    /// not, and where that entry stands.
    pub fn council(&self) -> (Position, &[ReplicaId]) {
        for position in self.councils.iter().rev() {
            if let Some(Body::Council { members }) = self.get(*position).map(|entry| &entry.body) {
                return (*position, members);
            }
        }
        (self.base.position, &self.base.state.council)
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += weight(&entry);
        self.entries.push_back(entry);
        if matches!(self.entries.back().map(|entry| &entry.body), Some(Body::Council { .. })) {
            self.councils.push(self.end());
        }
    }

    /// Forgets the entries after a position: another proposer has others there.
    pub fn truncate(&mut self, position: Position) {
        while self.end() > position
            && let Some(entry) = self.entries.pop_back()
        {
            self.bytes -= weight(&entry);
        }
        self.councils.retain(|at| *at <= position);
    }

    /// Makes the oldest entries part of the base while there are more than may
    /// be kept, of those up to `committed`. Returns how many.
    pub fn compact(&mut self, committed: Position) -> usize {
        let before = self.entries.len();
        while (self.entries.len() > self.kept.entries || self.bytes > self.kept.bytes)
            && self.base.position < committed
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= weight(&entry);
            self.base.position += 1;
            self.base.ballot = entry.ballot;
            self.base.state.apply(self.base.position, &entry);
        }
        let base = self.base.position;
        self.councils.retain(|at| *at > base);
        before - self.entries.len()
    }

    /// Goes on as another log. All entries are committed; the last ones are kept, up to
    /// so many bytes of them. Returns how many became part of the base.
    pub fn begin_anew(&mut self, log: LogId, bytes: usize) -> usize {
        let kept = self.kept;
        self.kept.bytes = kept.bytes.min(bytes);
        let dropped = self.compact(self.end());
        self.kept = kept;
        self.base.branch(log, self.end());
        dropped
    }

    fn index(&self, position: Position) -> Option<usize> {
        usize::try_from(position.checked_sub(self.base.position)?.checked_sub(1)?).ok()
    }
}
