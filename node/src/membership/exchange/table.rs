//! The nodes that are known by exchange. Pure: time is an argument.
//!
//! Each entry carries the Lamport time at which it was known to hold, and newer
//! knowledge replaces older. A node that hears wrong things about itself says the
//! right ones at a newer time; so nothing wrong stays for long, and nobody else
//! can decide what a node is.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;

use shoal_common::clock::Clock;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{MAX_NODES, MAX_PEERS};
use shoal_common::protocol::peers::{Known, State};
use tokio::time::Instant;

use super::digests::{Difference, Digests};
use super::entry::{Entry, is_long_gone};

/// How often this node is said to be somewhere else before that is no memory of an
/// earlier life, but another node.
const TWIN: u32 = 3;

/// Calls that must fail, one after the other, before a node counts as offline:
/// one may be lost with a packet or in a queue.
const FAILURES: u8 = 2;

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It was spoken with, and is as it was: no news for others.
    Seen(NodeId),
    /// Somebody told that it is gone, or elsewhere: to be looked at.
    Doubtful(NodeId),
    /// Any other.
    New(NodeId),
}

impl Change {
    /// Which entry.
    pub(super) fn id(self) -> NodeId {
        match self {
            Self::Seen(id) | Self::Doubtful(id) | Self::New(id) => id,
        }
    }

    /// Whether others should hear of it.
    pub(super) fn is_news(self) -> bool {
        !matches!(self, Self::Seen(_))
    }
}

/// All that is known, at most [`MAX_NODES`] nodes, this one included.
#[derive(Debug)]
pub(super) struct Table {
    us: NodeId,
    clock: Clock,
    /// When this node met somebody for the first time; 0 before.
    born: u64,
    entries: BTreeMap<NodeId, Entry>,
    /// How many of them are offline.
    gone: usize,
    /// Who had to go for others, and nobody has asked yet.
    evicted: Vec<NodeId>,
    /// Where else this node is said to be, and how often that was said anew.
    twin: Option<(SocketAddr, u32)>,
    digests: Digests,
}

impl Table {
    /// Knows nobody, not even where this node can be reached.
    pub(super) fn new(us: NodeId, clock: Clock) -> Self {
        Self {
            us,
            clock,
            born: 0,
            entries: BTreeMap::new(),
            gone: 0,
            evicted: Vec::new(),
            twin: None,
            digests: Digests::default(),
        }
    }

    /// From now on this node is known so.
    pub(super) fn announce(&mut self, peer: Peer, guest: bool, now: Instant) -> Known {
        let (at, born) = (self.clock.tick(), self.born);
        let known = Known { peer, state: State::Online, at, born, gone: 0, guest };
        self.put(Entry::told(known.clone(), now));
        known
    }

    /// This node met somebody for the first time, so it is in a network now.
    pub(super) fn be_born(&mut self) {
        if self.born > 0 {
            return;
        }
        self.born = self.clock.tick();
        // It may be before anybody was told of this node.
        if let Some(us) = self.entries.get(&self.us).cloned() {
            self.put(Entry { born: self.born, at: self.born, ..us });
        }
    }

    /// When that was, in Lamport time; 0 before.
    pub(super) fn born(&self) -> u64 {
        self.born
    }

    /// This node as others are told.
    pub(super) fn us(&self, now: Instant) -> Option<Known> {
        self.entries.get(&self.us).map(|entry| entry.known(now))
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Entry> {
        self.entries.get(&id).filter(|_| id != self.us)
    }

    /// All others, by their ids.
    pub(super) fn others(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.peer.id != self.us)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A node said itself who and where it is, on a connection with this one, in a
    /// message of the time `heard`.
    pub(super) fn met(&mut self, known: Known, heard: u64, now: Instant) -> Option<Change> {
        let id = known.peer.id;
        if id == self.us || !known.peer.is_reachable() {
            return None;
        }
        let before = self.entries.get(&id);
        if before.is_some_and(|entry| entry.born == known.born && heard < entry.goodbye) {
            // Said before its goodbye, and arrived behind it.
            return None;
        }
        // What is the same is left as it is: contact alone is no news for others.
        let same = before.is_some_and(|entry| {
            entry.is_online()
                && entry.peer == known.peer
                && (entry.born, entry.guest) == (known.born, known.guest)
                && entry.at >= known.at
        });
        let at = match before {
            Some(entry) if same => entry.at,
            Some(entry) if entry.at >= known.at => self.clock.tick(),
            _ => known.at.min(self.clock.now()),
        };
        if before.is_none() && !self.make_room(true) {
            return None;
        }
        let born = known.born.min(at);
        let told = Entry::told(Known { state: State::Online, at, born, ..known }, now);
        self.put(Entry { contact: Some((now, self.clock.now())), ..told });
        Some(if same { Change::Seen(id) } else { Change::New(id) })
    }

    /// A call failed.
    pub(super) fn failed(&mut self, id: NodeId, now: Instant) -> Option<Change> {
        let entry = self.entries.get_mut(&id).filter(|entry| entry.is_online())?;
        entry.failures = entry.failures.saturating_add(1);
        if id == self.us || entry.failures < FAILURES {
            return None;
        }
        self.take_offline(id, now)
    }

    /// Whether another call decides.
    pub(super) fn is_doubtful(&self, id: NodeId) -> bool {
        self.get(id).is_some_and(|entry| entry.is_online() && entry.failures > 0)
    }

    /// A node said goodbye, in a message of the time `heard`. Anybody may have
    /// said so in its name: it is believed, and a few look.
    pub(super) fn goodbye(&mut self, id: NodeId, heard: u64, now: Instant) -> Option<Change> {
        self.get(id)?;
        let change = self.take_offline(id, now);
        // A time that is still to come would be later than all that it says itself.
        let heard = heard.min(self.clock.now());
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.goodbye = heard;
        }
        change.map(|_| Change::Doubtful(id))
    }

    fn take_offline(&mut self, id: NodeId, now: Instant) -> Option<Change> {
        let at = self.clock.tick();
        let entry = self.entries.get(&id).filter(|entry| entry.is_online())?.clone();
        self.put(Entry { state: State::Offline, gone: Some(now), at, ..entry });
        Some(Change::New(id))
    }

    /// What another node tells. Only what is possible is believed: nothing about
    /// this node, no time that is still to come, no address where nobody can be.
    pub(super) fn hear(&mut self, told: Vec<Known>, now: Instant) -> Vec<Change> {
        told.into_iter().take(MAX_PEERS).filter_map(|known| self.hear_one(known, now)).collect()
    }

    fn hear_one(&mut self, known: Known, now: Instant) -> Option<Change> {
        let id = known.peer.id;
        if known.at > self.clock.now() || known.born > known.at || !known.peer.is_reachable() {
            return None;
        }
        if id == self.us {
            return self.hear_of_us(&known);
        }
        if is_long_gone(&known) {
            return None;
        }
        let Some(before) = self.entries.get(&id) else {
            // Nobody has to go for one that is gone, too.
            let room = match known.state {
                State::Online => self.make_room(false),
                State::Offline => self.entries.len() < MAX_NODES,
            };
            if room {
                self.put(Entry::told(known, now));
            }
            return room.then_some(Change::New(id));
        };
        if !before.yields_to(&known) {
            return None;
        }
        if known.state == State::Offline && before.is_online() && before.proof() > known.at {
            // It was spoken with since: others are told so. As after a partition,
            // where each side took the other for gone.
            let known_better = Entry { at: before.proof(), ..before.clone() };
            self.put(known_better);
            return Some(Change::Doubtful(id));
        }
        let (contact, goodbye) = (before.contact, before.goodbye);
        let contradicts = before.is_online()
            && (known.state == State::Offline || known.peer.search != before.peer.search);
        self.put(Entry { contact, goodbye, ..Entry::told(known, now) });
        Some(if contradicts { Change::Doubtful(id) } else { Change::New(id) })
    }

    /// Somebody tells of this node. It knows better, and says so.
    fn hear_of_us(&mut self, known: &Known) -> Option<Change> {
        let us = self.entries.get(&self.us)?;
        let right = known.state == State::Online
            && known.peer == us.peer
            && (known.born, known.guest) == (us.born, us.guest);
        if !us.yields_to(known) {
            return None;
        }
        // That it was there at a later time is right: all are to know the same.
        let at = if right { known.at } else { self.clock.tick() };
        let us = Entry { at, ..us.clone() };
        let elsewhere = known.peer.search;
        if known.state == State::Online && elsewhere != us.peer.search {
            let times = self.twin.filter(|(at, _)| *at == elsewhere).map_or(0, |(_, times)| times);
            self.twin = Some((elsewhere, times.saturating_add(1)));
        }
        self.put(us);
        Some(Change::New(self.us))
    }

    /// Where another node is that has the id of this one, once that is sure: an
    /// earlier life of this node is contradicted, and then nobody tells of it again.
    pub(super) fn take_twin(&mut self) -> Option<SocketAddr> {
        let (at, times) = self.twin?;
        // Beyond the last number it has been told.
        (times == TWIN).then(|| self.twin = Some((at, times + 1)))?;
        Some(at)
    }

    /// Forgets who has been gone for long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<NodeId> {
        let due = self.others().filter(|entry| entry.is_forgotten(now));
        let due: Vec<NodeId> = due.map(|entry| entry.peer.id).collect();
        for id in &due {
            self.remove(*id);
        }
        due
    }

    /// Room for one more. Where there is none, whoever has been gone for longest
    /// has to go; and for a node that was `met`, one that is known from hearsay.
    fn make_room(&mut self, met: bool) -> bool {
        if self.entries.len() < MAX_NODES {
            return true;
        }
        let victim = if self.gone > 0 {
            let gone = self.others().filter(|entry| entry.gone.is_some());
            gone.min_by_key(|entry| entry.gone).map(|entry| entry.peer.id)
        } else if met {
            self.others().find(|entry| entry.contact.is_none()).map(|entry| entry.peer.id)
        } else {
            // Nobody can make this node look through all of them for nothing.
            None
        };
        if let Some(id) = victim {
            self.remove(id);
            self.evicted.push(id);
        }
        victim.is_some()
    }

    /// Who had to go for others since the last time.
    pub(super) fn take_evicted(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.evicted)
    }

    fn put(&mut self, entry: Entry) {
        let id = entry.peer.id;
        self.digests.toggle(id, entry.digest());
        self.gone += usize::from(entry.gone.is_some());
        if let Some(before) = self.entries.insert(id, entry) {
            self.taken_out(&before);
        }
    }

    fn remove(&mut self, id: NodeId) {
        if let Some(before) = self.entries.remove(&id) {
            self.taken_out(&before);
        }
    }

    fn taken_out(&mut self, entry: &Entry) {
        self.digests.toggle(entry.peer.id, entry.digest());
        self.gone -= usize::from(entry.gone.is_some());
    }

    /// What is known, in numbers.
    pub(super) fn digests(&self) -> Vec<u64> {
        self.digests.of(self.entries.len())
    }

    /// Where others know something else.
    pub(super) fn compare(&self, digests: &[u64]) -> Option<Difference> {
        self.digests.compare(digests)
    }

    /// What is known where it differs and whoever knows only `theirs` does not.
    pub(super) fn lacking(
        &self,
        differ: &Difference,
        theirs: &HashMap<NodeId, Known>,
        now: Instant,
    ) -> Vec<Known> {
        let lacks = |entry: &Entry| {
            let told = theirs.get(&entry.peer.id).cloned().map(|known| Entry::told(known, now));
            told.is_none_or(|told| told.yields_to(&entry.known(now)))
        };
        let ours = self.entries.values().filter(|entry| differ.holds(entry.peer.id));
        ours.filter(|entry| !entry.is_forgotten(now) && lacks(entry))
            .map(|entry| entry.known(now))
            .collect()
    }

    /// What is known where it differs, of nodes behind `after`, and whether there
    /// is more.
    pub(super) fn page(
        &self,
        differ: &Difference,
        after: Option<NodeId>,
        now: Instant,
    ) -> (Vec<Known>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = self
            .entries
            .range((from, Bound::Unbounded))
            .filter(|(id, entry)| differ.holds(**id) && !entry.is_forgotten(now));
        let page = entries.by_ref().take(MAX_PEERS).map(|(_, entry)| entry.known(now)).collect();
        (page, entries.next().is_some())
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
