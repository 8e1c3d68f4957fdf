//! What the sessions are told, as bytes: the same for most, so encoded once.

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_common::connection::{ConnectionError, encode};
use shoal_common::ident::NodeId;
use shoal_common::limits::{MAX_TRACKER_FRAME, PUSH_GROUPS, SMALL_NEWS};
use shoal_common::protocol::tracking::{Change, FromTracker, News, Update};

use crate::registry::{KEPT_TURNS, Registry, about};

/// A message as it travels, shared by all who are sent it.
pub(crate) type Frame = Arc<[u8]>;

/// Issues that are kept: as many turns as are remembered.
const ISSUES: usize = KEPT_TURNS * PUSH_GROUPS;

/// What was told lately.
#[derive(Debug, Default)]
pub(crate) struct Bulletin {
    issues: VecDeque<Issue>,
}

/// What happened between two revisions.
#[derive(Debug)]
struct Issue {
    from: u64,
    to: u64,
    /// Who is told of itself by it, in order.
    about: Vec<NodeId>,
    frame: Frame,
    /// For whom nothing is new behind it.
    nothing: Frame,
}

impl Bulletin {
    /// A group is told from one revision to another.
    ///
    /// # Errors
    /// It can't be encoded.
    pub(crate) fn publish(
        &mut self,
        registry: &Registry,
        from: u64,
        to: u64,
    ) -> Result<(), ConnectionError> {
        let changes = |from| registry.changes(from, to);
        let round: Option<Vec<Change>> = changes(from).map(|changes| changes.cloned().collect());
        let mut about: Vec<_> = round.iter().flatten().map(about).collect();
        about.sort_unstable();
        let frame = update(to, round.map_or(News::Much, News::Changes))?;
        let nothing = update(to, News::Changes(Vec::new()))?;
        self.issues.truncate(ISSUES - 1);
        self.issues.push_front(Issue { from, to, about, frame, nothing });
        Ok(())
    }

    /// What to say to `node`, which knows everything up to revision `from`, so
    /// that it knows what there was up to `to`. Most are said the same. A node is
    /// not told of itself, nor twice of anything, if that takes no long message of
    /// its own. None if there is nothing new, unless an answer is `owed`.
    ///
    /// # Errors
    /// It can't be encoded.
    pub(crate) fn news(
        &self,
        registry: &Registry,
        node: NodeId,
        (from, to): (u64, u64),
        owed: bool,
    ) -> Result<Option<Frame>, ConnectionError> {
        let same = |issue: &&Issue| (issue.from, issue.to) == (from, to);
        if let Some(issue) = self.issues.iter().find(same)
            && issue.about.binary_search(&node).is_err()
        {
            return Ok(Some(Arc::clone(&issue.frame)));
        }
        if from == to
            && let Some(issue) = self.issues.iter().find(|issue| issue.to == to)
        {
            return Ok(owed.then(|| Arc::clone(&issue.nothing)));
        }
        let changes = registry.changes(from, to);
        if let Some(changes) = changes.filter(|changes| changes.len() as u64 <= SMALL_NEWS) {
            let changes = changes.filter(|change| about(change) != node).cloned();
            let changes: Vec<_> = changes.collect();
            let news = (owed || !changes.is_empty()).then_some(News::Changes(changes));
            return news.map(|news| update(to, news)).transpose();
        }
        match self.issues.iter().find(|issue| issue.from <= from && issue.to == to) {
            Some(issue) => Ok(Some(Arc::clone(&issue.frame))),
            None => update(to, News::Much).map(Some),
        }
    }
}

fn update(revision: u64, news: News) -> Result<Frame, ConnectionError> {
    let message = FromTracker::Update(Update { revision, news });
    Ok(encode(&message, MAX_TRACKER_FRAME)?.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_common::limits::{CHANGE_LOG, MAX_NEWS};
    use shoal_common::protocol::tracking::Registration;

    use super::*;
    use crate::registry::{SessionId, Speaker};

    fn id(number: u64) -> NodeId {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    struct World {
        registry: Registry,
        bulletin: Bulletin,
    }

    impl World {
        fn new() -> Self {
            let registry = Registry::new(Duration::from_secs(10));
            Self { registry, bulletin: Bulletin::default() }
        }

        /// So many more nodes come, and that is told.
        fn round(&mut self, more: u64) {
            self.come(more);
            loop {
                let (from, to) = self.registry.publish(0);
                if from == to {
                    return;
                }
                self.bulletin.publish(&self.registry, from, to).unwrap();
            }
        }

        fn come(&mut self, more: u64) {
            for number in self.registry.revision()..self.registry.revision() + more {
                let wish = Registration {
                    name: format!("node{number}").parse().unwrap(),
                    exact: true,
                    search: "10.0.0.1:1".parse().unwrap(),
                    download: "10.0.0.1:2".parse().unwrap(),
                    reign: None,
                    joined: 0,
                };
                let speaker = Speaker { node: id(number), session: SessionId(number) };
                self.registry.register(speaker, &wish, Duration::ZERO).unwrap();
            }
        }

        fn news(&self, node: u64, from: u64) -> Frame {
            let to = self.registry.next_turn(SessionId(0), from);
            self.bulletin.news(&self.registry, id(node), (from, to), true).unwrap().unwrap()
        }

        /// Numbers of those who are told of; none if there is too much to tell.
        fn joined(&self, node: u64, from: u64) -> Option<Vec<u64>> {
            let frame = self.news(node, from);
            let FromTracker::Update(update) = rmp_serde::from_slice(&frame).unwrap() else {
                panic!("no update");
            };
            assert_eq!(update.revision, self.registry.next_turn(SessionId(0), from));
            let News::Changes(changes) = update.news else { return None };
            let number = |change: &Change| {
                let id = about(change);
                u64::from_be_bytes(*id.as_bytes().first_chunk().unwrap())
            };
            Some(changes.iter().map(number).collect())
        }
    }

    #[test]
    fn all_who_know_the_same_are_sent_the_same_bytes() {
        let mut world = World::new();
        world.round(3);
        world.round(2);
        assert!(Arc::ptr_eq(&world.news(0, 3), &world.news(1, 3)));
        assert_eq!(world.joined(0, 3), Some(vec![3, 4]));
        // But for those whom it is about.
        assert_eq!(world.joined(4, 3), Some(vec![3]));
        // Who came in the middle of it, and who missed the one before.
        assert_eq!(world.joined(0, 4), Some(vec![4]));
        assert_eq!(world.joined(9, 1), Some(vec![1, 2]));
        // To whom nothing is new.
        assert!(Arc::ptr_eq(&world.news(0, 5), &world.news(4, 5)));
        assert_eq!(world.joined(0, 5), Some(vec![]));
        // Who knows everything is told nothing, unless it waits for an answer.
        let quiet = |node, from| world.bulletin.news(&world.registry, id(node), (from, 5), false);
        assert!(quiet(0, 5).unwrap().is_none() && quiet(4, 4).unwrap().is_none());
        assert!(quiet(0, 4).unwrap().is_some());
        // What has happened since is for the next round.
        world.come(1);
        assert_eq!(world.joined(0, 5), Some(vec![]));
        assert_eq!(world.joined(0, 4), Some(vec![4]));
    }

    #[test]
    fn what_is_long_is_shared_and_what_is_too_long_not_told() {
        let mut world = World::new();
        world.round(1);
        world.round(SMALL_NEWS + 1);
        let all: Vec<_> = (1..=SMALL_NEWS + 1).collect();
        // It is told of itself, and of what it knew already.
        assert_eq!(world.joined(5, 1), Some(all));
        let length = |world: &World, from| world.joined(5, from).map(|joined| joined.len());
        assert_eq!(length(&world, 0), Some(1));
        // More than one message takes is told by two.
        let from = world.registry.revision();
        world.round(MAX_NEWS as u64 + 1);
        assert_eq!(length(&world, from), Some(MAX_NEWS));
        assert_eq!(length(&world, from + MAX_NEWS as u64), Some(1));
        // But not if it is forgotten, or who is to be told is far behind.
        let from = world.registry.revision();
        world.round(CHANGE_LOG as u64 + 1);
        assert_eq!(length(&world, from), None);
        let from = world.registry.revision();
        world.round(1);
        assert_eq!(length(&world, from), Some(1));
        world.round((KEPT_TURNS * MAX_NEWS) as u64);
        assert_eq!(length(&world, from), None);
    }
}
