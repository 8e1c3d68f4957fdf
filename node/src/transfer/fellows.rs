//! Who fetches which content here: those that follow it learn of each other, so
//! that they can exchange what they have.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_common::content::FileId;
use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_FELLOWS;
use tokio::sync::watch;

/// Nodes that follow contents here. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Fellows {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Of each content: who follows it, on how many connections.
    by_content: Mutex<HashMap<FileId, BTreeMap<NodeId, usize>>>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
}

impl Fellows {
    /// Those that follow a content here, but for `us`; at most [`MAX_FELLOWS`].
    /// Where there are more, they are those behind `us` in the ring of all ids:
    /// so each node is told of others, and all are told of somebody.
    pub fn list(&self, file: &FileId, us: NodeId) -> Vec<NodeId> {
        let by_content = self.by_content();
        let Some(nodes) = by_content.get(file) else { return Vec::new() };
        let behind = nodes.range((Excluded(us), Unbounded)).chain(nodes.range(..us));
        behind.map(|(node, _)| *node).take(MAX_FELLOWS).collect()
    }

    /// Changes whenever somebody begins or ceases to follow a content.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Notes that `node` follows a content, until the returned value is dropped.
    pub(super) fn join(&self, file: FileId, node: NodeId) -> Fellow {
        let mut by_content = self.by_content();
        let times = by_content.entry(file).or_default().entry(node).or_default();
        *times += 1;
        let is_new = *times == 1;
        drop(by_content);
        if is_new {
            self.inner.changes.send_modify(|changes| *changes += 1);
        }
        Fellow { fellows: self.clone(), file, node }
    }

    fn by_content(&self) -> MutexGuard<'_, HashMap<FileId, BTreeMap<NodeId, usize>>> {
        // Whole after each of the few statements under its lock.
        self.inner.by_content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node that follows a content, on one connection, while this lives.
#[derive(Debug)]
pub(super) struct Fellow {
    fellows: Fellows,
    file: FileId,
    node: NodeId,
}

impl Drop for Fellow {
    fn drop(&mut self) {
        let mut by_content = self.fellows.by_content();
        let Some(nodes) = by_content.get_mut(&self.file) else { return };
        let Some(times) = nodes.get_mut(&self.node) else { return };
        *times -= 1;
        if *times > 0 {
            return;
        }
        nodes.remove(&self.node);
        if nodes.is_empty() {
            by_content.remove(&self.file);
        }
        drop(by_content);
        self.fellows.inner.changes.send_modify(|changes| *changes += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    #[test]
    fn each_is_told_of_the_others_while_they_are_there() {
        let fellows = Fellows::default();
        let (one, two) = (FileId::of(b"one"), FileId::of(b"two"));
        let mut changes = fellows.changes();
        let first = fellows.join(one, node(1));
        let _second = fellows.join(one, node(2));
        let _elsewhere = fellows.join(two, node(3));
        assert_eq!(fellows.list(&one, node(1)), [node(2)]);
        assert_eq!(fellows.list(&one, node(9)), [node(1), node(2)]);
        assert_eq!(fellows.list(&two, node(3)), []);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        // A second connection of the same node is nobody new.
        let again = fellows.join(one, node(1));
        drop(first);
        assert!(!changes.has_changed().unwrap());
        assert_eq!(fellows.list(&one, node(2)), [node(1)]);
        drop(again);
        assert!(changes.has_changed().unwrap());
        assert_eq!(fellows.list(&one, node(2)), []);
        assert!(fellows.by_content().len() == 2, "nothing is kept of who is gone");
    }

    #[test]
    fn of_a_crowd_each_is_told_of_others_and_all_are_told_of() {
        let fellows = Fellows::default();
        let file = FileId::of(b"one");
        let crowd: Vec<_> = (0..200).map(|number| fellows.join(file, node(number))).collect();
        let mut told = HashMap::<NodeId, usize>::new();
        for us in 0..200 {
            let list = fellows.list(&file, node(us));
            assert_eq!(list.len(), MAX_FELLOWS);
            assert!(!list.contains(&node(us)));
            list.into_iter().for_each(|node| *told.entry(node).or_default() += 1);
        }
        assert!(told.len() == 200 && told.values().all(|times| *times == MAX_FELLOWS));
        drop(crowd);
        assert!(fellows.by_content().is_empty());
    }
}
