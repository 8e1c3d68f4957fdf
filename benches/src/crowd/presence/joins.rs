//! Who has read of which newcomer, and when.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use shoal_common::ident::NodeId;
use shoal_common::protocol::tracking::{Change, FromTracker, News};

use super::super::words;
use crate::failure::Outcome;

/// Who has read of whom.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// Numbers below it stay all the time: each of them must read of each join.
    pub(super) staying: usize,
    pub(super) ids: HashMap<usize, NodeId>,
    /// Whether joins count now.
    pub(super) counts: bool,
    by_id: HashMap<NodeId, usize>,
    all: Vec<Join>,
    /// Messages that came lately, and the joins in them: most sessions are sent
    /// the same.
    read: VecDeque<(Vec<u8>, Vec<usize>)>,
}

#[derive(Debug)]
struct Join {
    start: Instant,
    last: Instant,
    readers: usize,
}

impl Joins {
    pub(super) fn new(staying: usize) -> Self {
        Self { staying, ..Self::default() }
    }

    pub(super) fn starts(&mut self, at: usize) {
        if let Some(id) = self.ids.get(&at).filter(|_| self.counts) {
            self.by_id.insert(*id, self.all.len());
            let now = Instant::now();
            self.all.push(Join { start: now, last: now, readers: 0 });
        }
    }

    pub(super) fn hear(&mut self, at: usize, body: &[u8]) -> Outcome<()> {
        if at >= self.staying || self.all.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let known = self.read.iter().position(|(read, _)| read == body);
        let known = match known {
            Some(known) => known,
            None => {
                let joins = self.joins_in(body)?;
                if self.read.len() >= 16 {
                    self.read.pop_back();
                }
                self.read.push_front((body.to_vec(), joins));
                0
            }
        };
        for &join in self.read.get(known).map(|(_, joins)| joins.as_slice()).unwrap_or_default() {
            if let Some(join) = self.all.get_mut(join) {
                (join.last, join.readers) = (now, join.readers + 1);
            }
        }
        Ok(())
    }

    fn joins_in(&self, body: &[u8]) -> Outcome<Vec<usize>> {
        let FromTracker::Update(update) = words::read(body)? else { return Ok(Vec::new()) };
        let News::Changes(changes) = update.news else { return Ok(Vec::new()) };
        let joined = changes.iter().filter_map(|change| match change {
            Change::Joined(peer) => self.by_id.get(&peer.id).copied(),
            Change::Left { .. } => None,
        });
        Ok(joined.collect())
    }

    /// Milliseconds of each join of which all have read, and the number of others.
    pub(super) fn result(&self) -> (Vec<f64>, usize) {
        let all = |join: &&Join| join.readers >= self.staying;
        let done = self.all.iter().filter(all);
        let times: Vec<_> = done.map(|join| (join.last - join.start).as_secs_f64() * 1e3).collect();
        let missed = self.all.len() - times.len();
        (times, missed)
    }
}
