//! The handle on what is known of the network.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use shoal_common::ident::{NodeId, NodeName, Peer};
use tokio::sync::watch;

use super::roster::Roster;

/// How it stands with the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Not reached yet, or lost; it is tried again.
    Searching,
    /// This node is registered.
    Registered,
    /// This node has said goodbye.
    Left,
}

/// Where the present tracker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerAt {
    /// Its address.
    pub address: SocketAddr,
    /// The epoch of its reign.
    pub epoch: u64,
    /// Its id; that of a node which has taken the role over, or of a tracker.
    pub tracker: NodeId,
}

/// What is known of the network. Clones are the same knowledge.
#[derive(Debug, Clone)]
pub struct Membership {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    roster: Mutex<Roster>,
    us: watch::Sender<Us>,
    /// Counts changes of the roster.
    changes: watch::Sender<u64>,
    /// Where this node is registered, or was last.
    tracker: watch::Sender<Option<TrackerAt>>,
}

#[derive(Debug)]
struct Us {
    name: NodeName,
    peer: Option<Peer>,
    link: Link,
}

impl Membership {
    /// Knows nobody yet; this node, `id`, would like to be called `name`.
    pub(super) fn new(id: NodeId, name: NodeName) -> Self {
        let us = Us { name, peer: None, link: Link::Searching };
        let inner = Inner {
            roster: Mutex::new(Roster::new(id)),
            us: watch::Sender::new(us),
            changes: watch::Sender::new(0),
            tracker: watch::Sender::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The other nodes, in order of their names.
    pub fn peers(&self) -> Vec<Peer> {
        self.roster().peers()
    }

    /// A peer by its id.
    pub fn peer(&self, id: NodeId) -> Option<Peer> {
        self.roster().peer(id)
    }

    /// The name of this node: the one it got, or the one it asks for.
    pub fn name(&self) -> NodeName {
        self.inner.us.borrow().name.clone()
    }

    /// This node as the others know it, once it has registered.
    pub fn us(&self) -> Option<Peer> {
        self.inner.us.borrow().peer.clone()
    }

    /// How it stands with the tracker.
    pub fn link(&self) -> Link {
        self.inner.us.borrow().link
    }

    /// A number that changes whenever peers come or go.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Where this node is registered, or was last: who to turn to for what only a
    /// tracker does.
    pub fn tracker_at(&self) -> watch::Receiver<Option<TrackerAt>> {
        self.inner.tracker.subscribe()
    }

    pub(super) fn set_tracker(&self, at: TrackerAt) {
        self.inner.tracker.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&at);
            *known = Some(at);
            is_new
        });
    }

    /// Waits until this node is registered.
    pub async fn registered(&self) {
        let mut us = self.inner.us.subscribe();
        us.wait_for(|us| us.link == Link::Registered).await.ok();
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        // Each method of the roster leaves it whole.
        self.inner.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn roster_changed(&self) {
        self.inner.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    pub(super) fn known_as(&self, peer: Peer) {
        self.inner.us.send_modify(|us| {
            us.name = peer.name.clone();
            us.peer = Some(peer);
            us.link = Link::Registered;
        });
    }

    pub(super) fn set_link(&self, link: Link) {
        self.inner.us.send_modify(|us| us.link = link);
    }
}
