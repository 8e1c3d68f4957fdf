//! What may be told to whom: changes, in turns.

use std::collections::VecDeque;

use shoal_common::limits::{MAX_NEWS, PUSH_GROUPS};
use shoal_common::protocol::tracking::Change;

use super::{Registry, SessionId};

/// Turns of a group that are remembered: who reads so slowly that it is behind is
/// told one after the other what the others of its group were told.
pub(crate) const KEPT_TURNS: usize = 4;

/// Where the last turns of each group ended, at most [`KEPT_TURNS`].
#[derive(Debug, Default)]
pub(super) struct Turns([VecDeque<u64>; PUSH_GROUPS]);

impl Registry {
    /// The turn of a group: its sessions may be told more from now on, as much as
    /// one message takes. Between two calls of it all of them are told the same,
    /// whoever asks when. Returns from which revision to which that is; they are
    /// the same if there is nothing new.
    pub(crate) fn publish(&mut self, group: usize) -> (u64, u64) {
        let revision = self.revision;
        let from = self.turns.last(group);
        let to = match self.remembered(from) {
            Some(_) => revision.min(from.saturating_add(MAX_NEWS as u64)),
            // What is forgotten can't be told. Who wants it turns the pages.
            None => revision,
        };
        if let Some(turns) = self.turns.0.get_mut(group).filter(|_| from < to) {
            turns.truncate(KEPT_TURNS - 1);
            turns.push_front(to);
        }
        (from, to)
    }

    /// Up to which revision a session may be told.
    pub(crate) fn published(&self, session: SessionId) -> u64 {
        self.turns.last(session.group())
    }

    /// Up to which revision a session is to be told next that knows everything up
    /// to `told`: to the end of the first turn that it does not know.
    pub(crate) fn next_turn(&self, session: SessionId, told: u64) -> u64 {
        let turns = self.turns.0.get(session.group());
        let unknown = turns.and_then(|turns| turns.iter().rev().find(|end| **end > told));
        unknown.copied().unwrap_or(told)
    }

    /// What happened behind revision `from`, up to `to`; none if it is more than
    /// [`MAX_NEWS`] or no longer known.
    pub(crate) fn changes(
        &self,
        from: u64,
        to: u64,
    ) -> Option<impl ExactSizeIterator<Item = &Change>> {
        let number = usize::try_from(to.checked_sub(from)?).ok()?;
        let known = self.remembered(from)?;
        (number <= MAX_NEWS).then(|| self.changes.iter().skip(known).take(number))
    }

    /// How many changes are remembered from before `from`; none if one of those
    /// behind it is forgotten.
    fn remembered(&self, from: u64) -> Option<usize> {
        let behind = usize::try_from(self.revision.checked_sub(from)?).ok()?;
        self.changes.len().checked_sub(behind)
    }
}

impl Turns {
    /// Where the last turn of a group ended.
    fn last(&self, group: usize) -> u64 {
        self.0.get(group).and_then(VecDeque::front).copied().unwrap_or_default()
    }
}
