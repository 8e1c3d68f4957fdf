//! The handle on what is known of the network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use shoal_common::clock::Clock;
use shoal_common::ident::{NodeId, NodeName, Peer};
use tokio::sync::watch;

use super::roster::{Event, Roster};
use super::troubles::{Telling, Troubles};
use super::union::{Found, Union, Us as Named, View};

/// How it stands with the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// This node has no tracker.
    None,
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
    id: NodeId,
    clock: Clock,
    /// Locked before `union` where both are.
    roster: Mutex<Roster>,
    union: Mutex<Union>,
    us: watch::Sender<Us>,
    /// Counts changes of who is here.
    changes: watch::Sender<u64>,
    /// Where this node is registered, or was last.
    tracker: watch::Sender<Option<TrackerAt>>,
    /// Who is here, as of this count.
    view: Mutex<(Option<u64>, Arc<View>)>,
    /// Nodes that left, by the tracker, and are here, by exchange.
    doubts: Mutex<Vec<NodeId>>,
    /// At the addresses to begin with.
    troubles: Mutex<Troubles>,
}

#[derive(Debug)]
struct Us {
    /// The name that the tracker gave, or the one it would like.
    name: NodeName,
    peer: Option<Peer>,
    link: Link,
    /// Whether the tracker gave the name.
    named: bool,
    /// When it came into the network, see [`Found`].
    born: u64,
    /// Whether another node has told of all that it knows.
    met: bool,
}

impl Membership {
    /// Knows nobody yet; this node, `id`, would like to be called `name`. It has no
    /// tracker.
    pub fn new(id: NodeId, name: NodeName, clock: Clock) -> Self {
        let us = Us { name, peer: None, link: Link::None, named: false, born: 0, met: false };
        let inner = Inner {
            id,
            clock,
            roster: Mutex::new(Roster::new(id)),
            union: Mutex::default(),
            us: watch::Sender::new(us),
            changes: watch::Sender::new(0),
            tracker: watch::Sender::new(None),
            view: Mutex::default(),
            doubts: Mutex::default(),
            troubles: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The other nodes that are here, in order of their names, of which no two are
    /// the same.
    pub fn peers(&self) -> Vec<Peer> {
        self.view().peers().cloned().collect()
    }

    /// Where some of the peers answer, drawn by chance.
    pub(super) fn some(&self, count: usize) -> Vec<SocketAddr> {
        let view = self.view();
        view.ring.peers().sample(&mut rand::rng(), count).map(|peer| peer.search).collect()
    }

    /// Where some of those answer that are here by exchange and whom the tracker does not
    /// list, drawn by chance.
    pub(super) fn strangers(&self, count: usize) -> Vec<SocketAddr> {
        let (roster, union) = (self.roster(), self.union());
        let strangers: Vec<_> = union.unlisted(&roster).map(|found| found.peer.search).collect();
        strangers.sample(&mut rand::rng(), count).copied().collect()
    }

    /// A peer by its id.
    pub fn peer(&self, id: NodeId) -> Option<Peer> {
        self.view().ring.peer(id).cloned()
    }

    /// The other nodes that are here, behind this one and before another in the order
    /// of ids; see [`Ring::between`](super::Ring::between).
    pub fn behind_us(&self, upto: NodeId) -> Vec<Peer> {
        self.view().ring.between(self.inner.id, upto).cloned().collect()
    }

    /// The name of this node: the one by which the others know it, or the one it
    /// would like.
    pub fn name(&self) -> NodeName {
        let name = self.view().name.clone();
        name.unwrap_or_else(|| self.wished_name())
    }

    /// This node as the others know it, once it has met the tracker or another
    /// node.
    pub fn us(&self) -> Option<Peer> {
        let name = self.name();
        self.own().map(|peer| Peer { name, ..peer })
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

    /// Waits until this node is in a network: registered, or told by another node
    /// of all that it knows.
    pub async fn joined(&self) {
        let mut us = self.inner.us.subscribe();
        us.wait_for(|us| us.link == Link::Registered || us.met).await.ok();
    }

    fn view(&self) -> Arc<View> {
        let inner = &self.inner;
        let count = *inner.changes.borrow();
        let mut view = inner.view.lock().unwrap_or_else(PoisonError::into_inner);
        if view.0 != Some(count) {
            let us = {
                let us = inner.us.borrow();
                Named { id: inner.id, name: us.name.clone(), born: us.born, named: us.named }
            };
            let roster = self.roster();
            *view = (Some(count), Arc::new(self.union().view(&roster, self.tracker_speaks(), &us)));
        }
        Arc::clone(&view.1)
    }

    fn tracker_speaks(&self) -> bool {
        self.link() == Link::Registered
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        // Each method of the roster leaves it whole.
        self.inner.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn union(&self) -> MutexGuard<'_, Union> {
        self.inner.union.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn roster_changed(&self) {
        self.inner.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// What the tracker tells, of which this is new to the person.
    pub(super) fn follow(&self, events: Vec<Event>) -> Vec<Event> {
        let (news, doubts) = self.union().follow(events, self.inner.clock.now());
        self.inner.doubts.lock().unwrap_or_else(PoisonError::into_inner).extend(doubts);
        news
    }

    /// Nodes of which the tracker says that they left, and exchange does not, since
    /// the last time.
    pub(super) fn take_doubts(&self) -> Vec<NodeId> {
        std::mem::take(&mut self.inner.doubts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What exchange found, of which this is new to the person. `born`: see
    /// [`Found`], of this node.
    pub(super) fn found(&self, born: u64, found: Vec<(NodeId, Option<Found>)>) -> Vec<Event> {
        let ids: Vec<NodeId> = found.iter().map(|(id, _)| *id).collect();
        let mut changed = false;
        let events = {
            let mut roster = self.roster();
            let mut union = self.union();
            let speaks = self.tracker_speaks();
            for (id, found) in found {
                // Where nobody keeps the tracker's list up, it would be here again.
                if found.is_none() && !speaks && union.is_offline(id) {
                    roster.forget(id);
                }
                changed |= union.find(id, found);
            }
            union.news(&ids, &roster, speaks)
        };
        changed |=
            self.inner.us.send_if_modified(|us| std::mem::replace(&mut us.born, born) != born);
        // Those who wait for others to come are not woken by a mere contact.
        if changed || !events.is_empty() {
            self.roster_changed();
        }
        events
    }

    /// What goes wrong at the addresses to begin with, of the tracker or of nodes: a
    /// phrase for each.
    pub fn troubles(&self) -> BTreeMap<String, String> {
        self.troubles_now().now().clone()
    }

    /// This goes wrong at an address to begin with, which the phrase names. Who is to
    /// be told.
    pub(super) fn has_trouble(&self, address: &str, trouble: String) -> Telling {
        self.troubles_now().come(address, trouble)
    }

    /// The same, where the person is told in other words.
    pub(super) fn note_trouble(&self, address: &str, trouble: String) {
        self.troubles_now().note(address, trouble);
    }

    /// Somebody is at an address to begin with.
    pub(super) fn has_no_trouble(&self, address: &str) {
        self.troubles_now().go(address);
    }

    fn troubles_now(&self) -> MutexGuard<'_, Troubles> {
        self.inner.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node as it is known to itself; its name may be another's, too.
    pub(super) fn own(&self) -> Option<Peer> {
        self.inner.us.borrow().peer.clone()
    }

    /// Whether the tracker gave this node its name.
    pub(super) fn is_named(&self) -> bool {
        self.inner.us.borrow().named
    }

    pub(super) fn wished_name(&self) -> NodeName {
        self.inner.us.borrow().name.clone()
    }

    /// Where this node can be reached, as long as no tracker says who it is.
    pub(super) fn reached_at(&self, peer: Peer) {
        self.inner.us.send_if_modified(|us| {
            let modified = !us.named && us.peer.as_ref() != Some(&peer);
            if modified {
                us.peer = Some(peer);
            }
            modified
        });
    }

    /// Another node has told of all that it knows. Whether that is the first time.
    pub(super) fn meet(&self) -> bool {
        self.inner.us.send_if_modified(|us| !std::mem::replace(&mut us.met, true))
    }

    pub(super) fn has_met(&self) -> bool {
        self.inner.us.borrow().met
    }

    pub(super) fn known_as(&self, peer: Peer) {
        self.inner.us.send_modify(|us| {
            us.name = peer.name.clone();
            us.peer = Some(peer);
            us.link = Link::Registered;
            us.named = true;
            // Before those are woken that wait for it.
            self.roster_changed();
        });
    }

    pub(super) fn set_link(&self, link: Link) {
        self.inner.us.send_modify(|us| {
            us.link = link;
            self.roster_changed();
        });
    }
}
