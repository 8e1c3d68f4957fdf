//! One owner in the plan: what it was asked, and when it is expected to answer.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use shoal_common::ident::NodeId;
use shoal_common::limits::{KIB, MAX_ASKS};

use super::ItemId;
use super::item::Item;
use crate::transfer::depth::{Depth, Mark};

/// How often an owner may send wrong bytes before it is not asked again in this
/// job. Once can be a file that was being written to.
pub(super) const MAX_WRONG: u32 = 2;

/// What a manifest counts for until it is here: most have few hashes.
pub(super) const MANIFEST: u64 = 4 * KIB;

/// A question that was not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) item: ItemId,
    /// `None` for its manifest.
    pub(super) chunk: Option<u32>,
    pub(super) bytes: u64,
    mark: Mark,
}

#[derive(Debug)]
pub(super) struct Owner {
    pub(super) id: NodeId,
    pub(super) here: bool,
    pub(super) wrong: u32,
    /// Verified bytes that it gave first.
    pub(super) given: u64,
    /// What it was asked, in the order of its answers.
    pub(super) asked: VecDeque<Asked>,
    /// Bytes of all of that.
    pub(super) ahead: u64,
    /// Since when it works on the first of them.
    since: Option<Instant>,
    /// It has given nothing since it was idle.
    starting: bool,
    pub(super) depth: Depth,
    /// Items that may have chunks to ask of it. Others have not.
    pub(super) ready: BTreeSet<ItemId>,
    /// Items that may have a manifest to ask of it.
    pub(super) manifests: BTreeSet<ItemId>,
}

impl Owner {
    pub(super) fn new(id: NodeId) -> Self {
        Self {
            id,
            here: false,
            wrong: 0,
            given: 0,
            asked: VecDeque::new(),
            ahead: 0,
            since: None,
            starting: false,
            depth: Depth::default(),
            ready: BTreeSet::new(),
            manifests: BTreeSet::new(),
        }
    }

    pub(super) fn is_banned(&self) -> bool {
        self.wrong >= MAX_WRONG
    }

    /// An item that it offers may have something to ask of it.
    pub(super) fn stir(&mut self, id: ItemId, item: &Item) {
        if self.here && item.chunks.is_some() {
            self.ready.insert(id);
        }
        if self.here && item.manifest.is_some() {
            self.manifests.insert(id);
        }
    }

    /// An item has nothing to ask of it.
    pub(super) fn forget(&mut self, id: ItemId) {
        self.ready.remove(&id);
        self.manifests.remove(&id);
    }

    /// Whether it may be asked for one more.
    pub(super) fn has_room(&self) -> bool {
        self.here && self.asked.len() < MAX_ASKS
    }

    /// It is asked for a chunk of so many bytes, or for a manifest.
    pub(super) fn ask(&mut self, item: ItemId, chunk: Option<u32>, bytes: u64, now: Instant) {
        if self.asked.is_empty() {
            self.since = Some(now);
            self.starting = true;
            self.depth.started(now);
        }
        self.ahead += bytes;
        self.asked.push_back(Asked { item, chunk, bytes, mark: self.depth.asked(now) });
    }

    /// It answered; what it was asked is no longer asked. `None` if it was not.
    pub(super) fn answer(
        &mut self,
        item: ItemId,
        chunk: Option<u32>,
        now: Instant,
    ) -> Option<Asked> {
        let same = |asked: &Asked| asked.item == item && asked.chunk == chunk;
        let place = self.asked.iter().position(same)?;
        let asked = self.asked.remove(place)?;
        self.ahead -= asked.bytes;
        match asked.chunk {
            Some(_) => self.depth.moved(asked.bytes, asked.mark, now),
            None => self.depth.skipped(now),
        }
        self.went_on(now);
        Some(asked)
    }

    /// It answered the first of its questions, or that one is taken back.
    fn went_on(&mut self, now: Instant) {
        self.starting = false;
        self.since = Some(now);
        if self.asked.is_empty() {
            self.since = None;
            self.depth.rested();
        }
    }

    /// Takes back what it was asked of an item.
    pub(super) fn take_back(&mut self, item: ItemId) -> Vec<Asked> {
        let back: Vec<_> = self.asked.iter().filter(|asked| asked.item == item).copied().collect();
        self.asked.retain(|asked| asked.item != item);
        self.ahead -= back.iter().map(|asked| asked.bytes).sum::<u64>();
        if self.asked.is_empty() {
            self.since = None;
            self.depth.rested();
        }
        back
    }

    /// Takes back everything.
    pub(super) fn take_all(&mut self) -> VecDeque<Asked> {
        self.ahead = 0;
        self.since = None;
        self.depth.rested();
        std::mem::take(&mut self.asked)
    }

    /// How long until it has delivered the first so many bytes of what it was
    /// asked, or is asked now; the first question being one of `first` bytes.
    ///
    /// Of an answer that takes longer than it should nothing is known but that
    /// it takes long: it is expected to take as long again.
    pub(super) fn left(&self, bytes: u64, now: Instant) -> Duration {
        let first = self.asked.front().map_or(bytes, |asked| asked.bytes).min(bytes);
        let idle = self.starting || self.asked.is_empty();
        let delay = if idle { self.depth.delay() } else { Duration::ZERO };
        let usual = delay.saturating_add(self.depth.time(first));
        let elapsed =
            self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let rest = self.depth.time(bytes - first);
        usual.saturating_sub(elapsed).max(elapsed).saturating_add(rest)
    }

    /// How long it has been working on the first of its questions.
    pub(super) fn silent(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}
