//! Whom to call, and when. Pure: time is an argument, and so is chance.
//!
//! - Once an *interval* a node drawn by lot is asked for what it knows. As long as
//!   that brings news, either way, the next is asked soon, until a few had none;
//!   so news are everywhere after a few times the logarithm of the network.
//! - Nodes that are offline are *probed*, each time one drawn by lot, by every node
//!   in every other interval, and in large networks more seldom: by some in each
//!   interval. So a partition heals, and nobody who is gone is called by thousands.
//! - What others say against a node is looked at by a few, wherever it is heard.
//! - *Entries*, the addresses that a person gave, are called until somebody there
//!   has answered, and again whenever that node is not online.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};
use shoal_common::ident::{NodeId, Peer};
use tokio::time::Instant;

use super::table::{Change, Table};

/// Pause between two calls while there are news, in networks of up to
/// [`QUICK_NODES`]: a round trip or two, and time for news to gather.
const SOON: Duration = Duration::from_millis(100);

/// Nodes for which [`SOON`] holds. With more, each call tells of more nodes and
/// there are more news; the pause grows as their number.
const QUICK_NODES: u32 = 1000;

/// Calls in a row without news that end the hurry. Whoever has not heard of the
/// news then, one in a few thousand, asks within an interval.
const QUIET: u8 = 8;

/// Intervals of one node from one probe to the next, at least.
const PROBE_EVERY: f64 = 2.0;

/// Most probes in one interval of all nodes together, about.
const PROBES: f64 = 32.0;

/// Nodes of all that look themselves when something is said against a node, about.
const WITNESSES: f64 = 8.0;

/// Doubts that wait to be looked at; further ones are left to others.
const MAX_DOUBTS: usize = 64;

/// Pause before a node that did not answer is called again.
const RETRY: Duration = Duration::from_millis(500);

/// First pause before an entry that did not answer is called again; the longest
/// is the interval.
const ENTRY_PAUSE: Duration = Duration::from_millis(100);

/// Most calls under way at once: each may wait for seconds, and takes a
/// descriptor.
const MAX_CALLS: usize = 16;

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// A node that is known.
    Peer(NodeId),
    /// The entry with this number.
    Entry(usize),
}

/// A call to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) target: Target,
    /// Where, `"host:port"`.
    pub(super) address: String,
}

/// An address that a person gave, `"host:port"`.
#[derive(Debug)]
struct Entry {
    address: String,
    /// Who answered there.
    node: Option<NodeId>,
    pause: Duration,
    due: Instant,
}

/// When whom to call.
#[derive(Debug)]
pub(super) struct Pace {
    us: NodeId,
    interval: Duration,
    rng: SmallRng,
    /// When the next node is asked.
    ask: Instant,
    /// Calls without news since the last ones.
    quiet: u8,
    /// When it is seen whether to probe, and parts of a probe that are due.
    probe: Instant,
    due: f64,
    doubts: VecDeque<NodeId>,
    retries: Vec<(Instant, NodeId)>,
    entries: Vec<Entry>,
    under_way: HashSet<Target>,
}

impl Pace {
    /// Calls nobody but the entries at first. `seed` decides what is left to
    /// chance.
    pub(super) fn new(
        us: NodeId,
        entries: &[String],
        interval: Duration,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        // Nodes that start together do not probe together.
        let (probe, due) =
            (now + interval.mul_f64(rng.random_range(0.5..1.0)), rng.random_range(0.0..1.0));
        let entry = |address: &String| Entry {
            address: address.clone(),
            node: None,
            pause: ENTRY_PAUSE,
            due: now,
        };
        Self {
            us,
            interval,
            rng,
            ask: now,
            quiet: 0,
            probe,
            due,
            doubts: VecDeque::new(),
            retries: Vec::new(),
            entries: entries.iter().map(entry).collect(),
            under_way: HashSet::new(),
        }
    }

    /// Something is known that others may not know.
    pub(super) fn news(&mut self, changes: &[Change], nodes: usize, now: Instant) {
        if !changes.iter().any(|change| change.is_news()) {
            return;
        }
        self.hurry(nodes, now);
        let chance = (WITNESSES / nodes.max(1) as f64).min(1.0);
        for change in changes {
            if let Change::Doubtful(id) = change
                && self.doubts.len() < MAX_DOUBTS
                && !self.doubts.contains(id)
                && self.rng.random_bool(chance)
            {
                self.doubts.push_back(*id);
            }
        }
    }

    /// The next node is asked soon.
    pub(super) fn hurry(&mut self, nodes: usize, now: Instant) {
        self.quiet = 0;
        self.ask = self.ask.min(now + self.soon(nodes));
    }

    fn soon(&mut self, nodes: usize) -> Duration {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let pause = (SOON * nodes.max(QUICK_NODES) / QUICK_NODES).min(self.interval);
        pause.mul_f64(self.rng.random_range(0.5..1.0))
    }

    /// When to look at [`calls`](Self::calls) again, unless something happens
    /// before.
    pub(super) fn due(&self) -> Instant {
        let entries = self.entries.iter().enumerate();
        let entries = entries.filter(|(number, _)| !self.is_called(&Target::Entry(*number)));
        let times =
            entries.map(|(_, entry)| entry.due).chain(self.retries.iter().map(|retry| retry.0));
        times.chain([self.ask, self.probe]).min().unwrap_or(self.ask)
    }

    fn is_called(&self, target: &Target) -> bool {
        self.under_way.contains(target)
    }

    /// The calls to make now. `more` are nodes that are known otherwise.
    pub(super) fn calls(&mut self, table: &Table, more: &[Peer], now: Instant) -> Vec<Call> {
        let mut calls = self.entry_calls(table, now);
        let mut wanted: Vec<NodeId> = Vec::new();
        self.retries.retain(|(due, id)| {
            let wait = *due > now;
            if !wait {
                wanted.push(*id);
            }
            wait
        });
        wanted.extend(self.doubts.drain(..));
        wanted.extend(self.probed(table, now));
        for id in wanted {
            calls.extend(table.get(id).and_then(|entry| self.call(&entry.peer)));
        }
        if self.ask <= now {
            let pause = if self.quiet < QUIET {
                self.soon(table.len())
            } else {
                self.interval.mul_f64(self.rng.random_range(0.75..1.0))
            };
            self.ask = now + pause;
            match self.asked(table, more) {
                Some(peer) => calls.extend(self.call(&peer)),
                // Whoever comes hurries.
                None => self.ask = now + self.interval,
            }
        }
        calls
    }

    fn call(&mut self, peer: &Peer) -> Option<Call> {
        let target = Target::Peer(peer.id);
        let free = peer.id != self.us && self.under_way.len() < MAX_CALLS;
        (free && self.under_way.insert(target.clone()))
            .then(|| Call { target, address: peer.search.to_string() })
    }

    /// Anyone who is there; where nobody is, anyone who was.
    fn asked(&mut self, table: &Table, more: &[Peer]) -> Option<Peer> {
        let online = table.others().filter(|entry| entry.is_online());
        let unknown = more.iter().filter(|peer| table.get(peer.id).is_none());
        let asked = online.map(|entry| &entry.peer).chain(unknown).choose(&mut self.rng);
        let gone = || table.others().map(|entry| &entry.peer);
        asked.or_else(|| gone().choose(&mut self.rng)).cloned()
    }

    /// Anyone who is not, if it is the time for it.
    fn probed(&mut self, table: &Table, now: Instant) -> Option<NodeId> {
        if self.probe > now {
            return None;
        }
        self.probe = now + self.interval.mul_f64(self.rng.random_range(0.75..1.0));
        let offline: Vec<NodeId> = table
            .others()
            .filter(|entry| !entry.is_online() && !entry.guest)
            .map(|entry| entry.peer.id)
            .collect();
        let online = table.len().saturating_sub(offline.len()).max(1);
        self.due = (self.due + (PROBES / online as f64).min(1.0 / PROBE_EVERY)).min(1.0);
        if self.due < 1.0 || offline.is_empty() {
            return None;
        }
        self.due = 0.0;
        offline.choose(&mut self.rng).copied()
    }

    fn entry_calls(&mut self, table: &Table, now: Instant) -> Vec<Call> {
        let mut calls = Vec::new();
        for (number, entry) in self.entries.iter_mut().enumerate() {
            if entry.due > now {
                continue;
            }
            let is_there =
                |id: NodeId| id == self.us || table.get(id).is_some_and(|entry| entry.is_online());
            if entry.node.is_some_and(is_there) {
                entry.due = now + self.interval;
                continue;
            }
            let target = Target::Entry(number);
            // Those that have to wait are seen again with the next that ends.
            if self.under_way.len() < MAX_CALLS && self.under_way.insert(target.clone()) {
                calls.push(Call { target, address: entry.address.clone() });
            } else {
                entry.due = now + ENTRY_PAUSE;
            }
        }
        calls
    }

    /// A call was answered by a node, who may be this one. `moved`: one of the two
    /// told the other something.
    pub(super) fn answered(&mut self, target: &Target, by: NodeId, moved: bool, now: Instant) {
        self.under_way.remove(target);
        if let Target::Entry(number) = target
            && let Some(entry) = self.entries.get_mut(*number)
        {
            (entry.node, entry.pause, entry.due) = (Some(by), ENTRY_PAUSE, now + self.interval);
        }
        self.quiet = if moved { 0 } else { self.quiet.saturating_add(1) };
    }

    /// A call failed. `again`: another one decides.
    pub(super) fn failed(&mut self, target: &Target, again: bool, now: Instant) {
        self.under_way.remove(target);
        match target {
            Target::Peer(id) if again => self.retries.push((now + RETRY, *id)),
            Target::Peer(_) => {}
            Target::Entry(number) => {
                if let Some(entry) = self.entries.get_mut(*number) {
                    entry.due = now + entry.pause.mul_f64(self.rng.random_range(0.5..1.0));
                    entry.pause = (entry.pause * 2).min(self.interval);
                }
            }
        }
    }

    /// The entries where nobody has answered yet.
    pub(super) fn unmet(&self) -> impl Iterator<Item = (usize, &str)> {
        let unmet = self.entries.iter().enumerate().filter(|(_, entry)| entry.node.is_none());
        unmet.map(|(number, entry)| (number, entry.address.as_str()))
    }
}
