//! What a node knows by exchange and whom it calls, as one. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::clock::Clock;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::protocol::peers::Known;
use tokio::time::Instant;

use super::digests::Difference;
use super::pace::{Call, Pace, Target};
use super::table::{Change, Table};

/// How often it is looked for nodes that have been gone for long.
const SWEEP: Duration = Duration::from_secs(60);

/// The table, and the calls that keep it up.
#[derive(Debug)]
pub(super) struct Machine {
    table: Table,
    pace: Pace,
    sweep: Instant,
    /// Nodes of which something changed and nobody asked yet.
    changed: Vec<NodeId>,
}

impl Machine {
    pub(super) fn new(us: NodeId, clock: Clock, pace: Pace, now: Instant) -> Self {
        Self { table: Table::new(us, clock), pace, sweep: now + SWEEP, changed: Vec::new() }
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// From now on this node is known so; as others are told.
    pub(super) fn announce(&mut self, peer: Peer, guest: bool, now: Instant) -> Known {
        match self.table.us(now) {
            Some(known) if known.peer == peer && known.guest == guest => known,
            _ => {
                self.pace.hurry(self.table.len(), now);
                self.table.announce(peer, guest, now)
            }
        }
    }

    /// There are others to be asked, who are known otherwise.
    pub(super) fn company(&mut self, now: Instant) {
        if self.table.others().next().is_none() {
            self.pace.hurry(self.table.len(), now);
        }
    }

    /// Somebody says that this node is gone: a few look.
    pub(super) fn doubt(&mut self, id: NodeId, now: Instant) {
        self.pace.news(&[Change::Doubtful(id)], self.table.len(), now);
    }

    /// Where another node is that has the id of this one; said once.
    pub(super) fn take_twin(&mut self) -> Option<SocketAddr> {
        self.table.take_twin()
    }

    /// The calls to make now. `more` are nodes that are known otherwise.
    pub(super) fn calls(&mut self, more: &[Peer], now: Instant) -> Vec<Call> {
        if self.sweep <= now {
            self.sweep = now + SWEEP;
            self.changed.extend(self.table.expire(now));
        }
        self.pace.calls(&self.table, more, now)
    }

    /// A node said itself who it is, in a message of the time `heard`. Whether
    /// that is possible.
    pub(super) fn met(&mut self, known: Known, heard: u64, now: Instant) -> bool {
        let change = self.table.met(known, heard, now);
        if change.is_some() {
            self.table.be_born();
        }
        self.noted(change.as_slice(), now);
        change.is_some()
    }

    /// A node told this. How much of it was news.
    pub(super) fn heard(&mut self, told: Vec<Known>, now: Instant) -> usize {
        let changes = self.table.hear(told, now);
        self.noted(&changes, now);
        changes.len()
    }

    pub(super) fn goodbye(&mut self, id: NodeId, heard: u64, now: Instant) {
        let change = self.table.goodbye(id, heard, now);
        self.noted(change.as_slice(), now);
    }

    /// A conversation that this node began is over. `moved`: one of the two told
    /// the other something.
    pub(super) fn answered(&mut self, target: &Target, by: NodeId, moved: bool, now: Instant) {
        self.pace.answered(target, by, moved, now);
        // Somebody else is there now.
        if let Target::Peer(id) = target
            && *id != by
        {
            self.missed(*id, now);
        }
    }

    /// A call failed, or the conversation did.
    pub(super) fn failed(&mut self, target: &Target, now: Instant) {
        let mut again = false;
        if let Target::Peer(id) = target {
            self.missed(*id, now);
            again = self.table.is_doubtful(*id);
        }
        self.pace.failed(target, again, now);
    }

    fn missed(&mut self, id: NodeId, now: Instant) {
        let change = self.table.failed(id, now);
        self.noted(change.as_slice(), now);
    }

    fn noted(&mut self, changes: &[Change], now: Instant) {
        self.changed.extend(changes.iter().map(|change| change.id()));
        self.changed.extend(self.table.take_evicted());
        self.pace.news(changes, self.table.len(), now);
    }

    /// Nodes of which something changed since the last time.
    pub(super) fn take_changed(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.changed)
    }

    /// What to tell one that knows only `theirs` where it differs.
    pub(super) fn lacking(
        &self,
        differ: &Difference,
        theirs: &HashMap<NodeId, Known>,
        now: Instant,
    ) -> Vec<Known> {
        self.table.lacking(differ, theirs, now)
    }
}
