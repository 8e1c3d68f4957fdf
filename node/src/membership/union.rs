//! Who is here, by all that is known: the tracker's list and what exchange found.
//! Pure.
//!
//! While the tracker speaks it is believed: whom it lists is here. Whom it does
//! not list is here if exchange says so, and, where the tracker said that the node
//! left, by a newer proof. Without the tracker, of those that it listed, whoever
//! exchange found offline is not here.

use std::collections::{HashMap, HashSet};

use shoal_common::ident::{NodeId, NodeName, Peer};

use super::names::{Taken, age};
use super::ring::Ring;
use super::roster::{Event, Roster};

/// A node that exchange knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) peer: Peer,
    pub(super) online: bool,
    /// The Lamport time of its first contact with anyone; 0 before.
    pub(super) born: u64,
    /// The Lamport time of the newest proof of this.
    pub(super) proof: u64,
}

/// What exchange found, beside the tracker's list.
#[derive(Debug, Default)]
pub(super) struct Union {
    found: HashMap<NodeId, Found>,
    /// When the tracker said that these left, in Lamport time.
    left: HashMap<NodeId, u64>,
    /// Of whom it was said that they are here.
    told: HashSet<NodeId>,
}

/// This node, where names are given.
#[derive(Debug)]
pub(super) struct Us {
    pub(super) id: NodeId,
    pub(super) name: NodeName,
    pub(super) born: u64,
    /// Whether the tracker gave it its name.
    pub(super) named: bool,
}

/// Who is here at one moment.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Others.
    pub(super) ring: Ring,
    /// Their places in the ring, in order of their names.
    by_name: Vec<usize>,
    /// What this node is called.
    pub(super) name: Option<NodeName>,
}

impl View {
    fn new(peers: Vec<Peer>, name: Option<NodeName>) -> Self {
        let ring: Ring = peers.into_iter().collect();
        let mut names: Vec<_> = ring.peers().iter().map(|peer| &peer.name).zip(0_usize..).collect();
        names.sort_unstable();
        let by_name = names.into_iter().map(|(_, place)| place).collect();
        Self { ring, by_name, name }
    }

    /// Others, in order of their names.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.by_name.iter().filter_map(|place| self.ring.peers().get(*place))
    }
}

impl Union {
    /// What exchange knows of a node from now on; nothing, once it is forgotten.
    /// Whether that is more than a new proof of what was known.
    pub(super) fn find(&mut self, id: NodeId, found: Option<Found>) -> bool {
        let shown = |found: &Found| (found.peer.clone(), found.online, found.born);
        let now = found.as_ref().map(shown);
        let before = match found {
            Some(found) => self.found.insert(id, found),
            None => {
                self.left.remove(&id);
                self.found.remove(&id)
            }
        };
        before.as_ref().map(shown) != now
    }

    /// Whether exchange knows that it is away.
    pub(super) fn is_offline(&self, id: NodeId) -> bool {
        self.found.get(&id).is_some_and(|found| !found.online)
    }

    /// What the tracker tells. `time` is the Lamport time of that. Returns what the
    /// person does not know yet, and of which nodes exchange thinks otherwise.
    pub(super) fn follow(&mut self, events: Vec<Event>, time: u64) -> (Vec<Event>, Vec<NodeId>) {
        let mut doubts = Vec::new();
        let news = events.into_iter().filter(|event| match event {
            Event::Left(peer, _) => {
                if self.found.get(&peer.id).is_some_and(|found| found.online) {
                    self.left.insert(peer.id, time);
                    doubts.push(peer.id);
                }
                self.told.remove(&peer.id)
            }
            // Also one that is known under another name or address from now on.
            Event::Joined(peer) => {
                self.left.remove(&peer.id);
                let moved = self.found.get(&peer.id).is_none_or(|found| found.peer != *peer);
                self.told.insert(peer.id) || moved
            }
            Event::Here(_) | Event::Offline(_) => true,
        });
        let news = news.collect();
        (news, doubts)
    }

    /// What is new by exchange about these nodes. `speaks`: whether the tracker is
    /// there.
    pub(super) fn news(&mut self, ids: &[NodeId], roster: &Roster, speaks: bool) -> Vec<Event> {
        let mut events = Vec::new();
        for id in ids {
            let here = self.is_here(*id, roster, speaks);
            let Some(found) = self.found.get(id) else {
                self.told.remove(id);
                continue;
            };
            if here && self.told.insert(*id) {
                events.push(Event::Here(found.peer.clone()));
            } else if !here && self.told.remove(id) {
                events.push(Event::Offline(found.peer.clone()));
            }
        }
        events
    }

    fn is_here(&self, id: NodeId, roster: &Roster, speaks: bool) -> bool {
        match self.found.get(&id) {
            Some(found) if found.online && !self.is_left(id, found) => true,
            Some(found) if !found.online && !speaks => false,
            _ => roster.peer(id).is_some(),
        }
    }

    /// Who is here by exchange alone.
    pub(super) fn unlisted(&self, roster: &Roster) -> impl Iterator<Item = &Found> {
        self.found.values().filter(move |found| {
            let id = found.peer.id;
            found.online && !self.is_left(id, found) && roster.peer(id).is_none()
        })
    }

    fn is_left(&self, id: NodeId, found: &Found) -> bool {
        self.left.get(&id).is_some_and(|left| found.proof <= *left)
    }

    /// Who is here. Names that the tracker gave are kept; whoever else has one that
    /// is taken gets a number.
    pub(super) fn view(&self, roster: &Roster, speaks: bool, us: &Us) -> View {
        let listed = roster.peers().into_iter();
        let listed = listed.filter(|peer| self.is_here(peer.id, roster, speaks));
        // Where nobody keeps the list up, who has moved is where exchange found it.
        let listed = listed.map(|peer| match self.found.get(&peer.id) {
            Some(found) if found.online && !speaks => {
                let Peer { search, download, .. } = found.peer;
                Peer { search, download, ..peer }
            }
            _ => peer,
        });
        let mut peers: Vec<Peer> = listed.collect();
        let mut name = us.named.then(|| us.name.clone());
        let mut taken = Taken::default();
        peers.iter().map(|peer| &peer.name).chain(&name).for_each(|name| taken.take(name.clone()));
        let mut others: Vec<_> = self
            .unlisted(roster)
            .map(|found| (age(found.born, found.peer.id), Some(&found.peer)))
            .chain((!us.named).then(|| (age(us.born, us.id), None)))
            .collect();
        others.sort_by_key(|(age, _)| *age);
        for (_, peer) in others {
            match peer {
                Some(peer) => {
                    let name = taken.distinct(&peer.name);
                    peers.push(Peer { name, ..peer.clone() });
                }
                None => name = Some(taken.distinct(&us.name)),
            }
        }
        View::new(peers, name)
    }
}

#[cfg(test)]
#[path = "union_tests.rs"]
mod tests;
