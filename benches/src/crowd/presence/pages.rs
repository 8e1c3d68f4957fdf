//! When which node asks for which page of the list of all, as a real one does.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use shoal_common::ident::NodeId;
use shoal_common::limits::PUSH_PAUSES;
use shoal_common::protocol::tracking::Page;

/// Of each node, by its number.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// When who asks for the page behind which id.
    due: BTreeMap<(Instant, usize), Option<NodeId>>,
    turns: HashMap<usize, Turn>,
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    Due(Instant),
    Asked {
        /// For what.
        after: Option<NodeId>,
        /// Whether to begin anew with the next one.
        anew: bool,
    },
}

impl Pages {
    /// From the first page on, unless it was told of everyone.
    pub(super) fn registered(&mut self, at: usize, is_everyone: bool, now: Instant) {
        self.forget(at);
        if !is_everyone {
            self.wait(at, now + PUSH_PAUSES.0, None);
        }
    }

    /// It was told that much happened.
    pub(super) fn much(&mut self, at: usize, now: Instant) {
        match self.turns.get_mut(&at) {
            Some(Turn::Asked { anew, .. }) => *anew = true,
            Some(Turn::Due(due)) => {
                self.due.insert((*due, at), None);
            }
            None => self.wait(at, now + PUSH_PAUSES.0, None),
        }
    }

    /// A page came.
    pub(super) fn came(&mut self, at: usize, page: &Page, now: Instant) {
        let Some(Turn::Asked { after, anew }) = self.turns.remove(&at) else { return };
        let due = now + Duration::from_millis(page.pause_ms).max(PUSH_PAUSES.0);
        match page.peers.last() {
            _ if anew => self.wait(at, due, None),
            // It only says when to ask again.
            _ if page.is_later() => self.wait(at, due, after),
            Some(last) if page.more => self.wait(at, due, Some(last.id)),
            _ => {}
        }
    }

    /// Another node may have this number next.
    pub(super) fn forget(&mut self, at: usize) {
        if let Some(Turn::Due(due)) = self.turns.remove(&at) {
            self.due.remove(&(due, at));
        }
    }

    /// Who is to ask now for what is behind which id.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(usize, Option<NodeId>)> {
        let due = self.due.first_entry().filter(|due| due.key().0 <= now)?;
        let ((_, at), after) = due.remove_entry();
        self.turns.insert(at, Turn::Asked { after, anew: false });
        Some((at, after))
    }

    fn wait(&mut self, at: usize, due: Instant, after: Option<NodeId>) {
        self.turns.insert(at, Turn::Due(due));
        self.due.insert((due, at), after);
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::ident::Peer;

    use super::*;

    fn page(last: u8, more: bool) -> Page {
        let at = "10.0.0.1:9".parse().unwrap();
        let (id, name) = (NodeId::from_bytes([last; 32]), "x".parse().unwrap());
        let peer = Peer { id, name, search: at, download: at, joined: 0 };
        Page { peers: vec![peer], more, pause_ms: 10_000 }
    }

    #[test]
    fn pages_are_turned_to_the_end_and_anew_after_much() {
        let (mut pages, start) = (Pages::default(), Instant::now());
        pages.registered(1, true, start);
        pages.registered(2, false, start);
        assert_eq!(pages.take_due(start), None);
        let first = start + PUSH_PAUSES.0;
        assert_eq!(pages.take_due(first), Some((2, None)));
        assert_eq!(pages.take_due(first), None);
        pages.came(2, &page(7, true), first);
        let second = first + Duration::from_secs(10);
        assert_eq!(pages.take_due(second), Some((2, Some(NodeId::from_bytes([7; 32])))));
        let later = Page { peers: Vec::new(), more: true, pause_ms: 1_000 };
        pages.came(2, &later, second);
        let again = second + Duration::from_secs(1);
        assert_eq!(pages.take_due(again), Some((2, Some(NodeId::from_bytes([7; 32])))));
        pages.much(2, again);
        assert_eq!(pages.take_due(again), None, "one is asked for");
        pages.came(2, &page(9, false), again);
        let third = again + Duration::from_secs(10);
        assert_eq!(pages.take_due(third), Some((2, None)));
        pages.came(2, &page(9, false), third);
        pages.much(1, third);
        pages.forget(1);
        assert_eq!(pages.take_due(third + Duration::from_secs(99)), None);
    }
}
