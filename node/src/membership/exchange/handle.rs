//! The handle on the exchange of one node.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_common::ident::{NodeId, Peer};
use shoal_common::party::Party;
use shoal_common::protocol::peers::Known;
use shoal_common::task::Tasks;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::handle::Membership;
use super::super::news::tell;
use super::super::roster::Event;
use super::super::union::Found;
use super::machine::Machine;
use super::pace::Pace;
use crate::notice::Notices;

/// How this node meets others.
#[derive(Debug, Clone)]
pub struct Acquaintance {
    /// Who it is.
    pub party: Party,
    /// Addresses to begin with, `"host:port"` each.
    pub entries: Vec<String>,
    /// How often another node is asked.
    pub interval: Duration,
    /// The address to tell the others; else the local one of a connection.
    pub advertise: Option<IpAddr>,
    /// Ports for searches and for content.
    pub ports: (u16, u16),
    /// Whether it came for one purpose.
    pub guest: bool,
}

/// The exchange of one node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Exchange(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    us: Acquaintance,
    pub(super) membership: Membership,
    pub(super) notices: Notices,
    machine: Mutex<Machine>,
    /// Something is due earlier than it was.
    pub(super) wake: Notify,
    left: AtomicBool,
    pub(super) tasks: Tasks,
}

impl Exchange {
    /// One that knows nobody and calls nobody yet; its calls belong to `tasks`.
    pub(super) fn new(
        us: Acquaintance,
        membership: Membership,
        notices: Notices,
        tasks: Tasks,
    ) -> Self {
        let now = Instant::now();
        let id = us.party.node;
        let pace = Pace::new(id, &us.entries, us.interval, rand::random(), now);
        let machine = Mutex::new(Machine::new(id, us.party.clock.clone(), pace, now));
        let (wake, left) = (Notify::new(), AtomicBool::new(false));
        Self(Arc::new(Inner { us, membership, notices, machine, wake, left, tasks }))
    }

    /// From now on nobody is answered.
    pub(super) fn close(&self) {
        self.0.left.store(true, Ordering::Relaxed);
    }

    pub(super) fn party(&self) -> &Party {
        &self.0.us.party
    }

    pub(super) fn has_left(&self) -> bool {
        self.0.left.load(Ordering::Relaxed)
    }

    /// Looks at what is known.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.0.machine.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known, and tells what follows from it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let (result, changed, twin) = {
            // Each method of the machine leaves it whole.
            let mut machine = self.0.machine.lock().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut machine);
            let changed = machine.take_changed();
            let found: Vec<_> = changed.into_iter().map(|id| (id, found(&machine, id))).collect();
            let born = machine.table().born();
            // While nobody else changes it: the last word must be the last.
            let events = (!found.is_empty()).then(|| self.0.membership.found(born, found));
            (result, events, machine.take_twin())
        };
        if let Some(events) = changed {
            let Inner { membership, notices, wake, .. } = &*self.0;
            // Before the first list is complete it is no news who is here.
            let is_in = membership.has_met() || membership.is_named();
            let (here, gone): (Vec<_>, Vec<_>) =
                events.into_iter().partition(|event| matches!(event, Event::Here(_)));
            tell(notices, membership, &here, is_in);
            tell(notices, membership, &gone, true);
            wake.notify_one();
        }
        if let Some(at) = twin {
            self.0.notices.say(format_args!(
                "another node, at `{at}`, has the id of this one, so others find only one of \
                 them: if this folder is a copy, stop the node and delete `.shoal/id`"
            ));
        }
        result
    }

    /// This node as others are told, where `local` is its address on a connection.
    pub(super) fn known_at(&self, local: IpAddr) -> Known {
        let peer = self.own(local);
        self.change(|machine| machine.announce(peer, self.0.us.guest, Instant::now()))
    }

    /// Who this node is: as the tracker knows it, or by itself.
    fn own(&self, local: IpAddr) -> Peer {
        let us = &self.0.us;
        let known = self.0.membership.own();
        if let (Some(peer), true) = (&known, self.0.membership.is_named()) {
            return peer.clone();
        }
        let ip = match (us.advertise, known.map(|peer| peer.search.ip())) {
            (Some(ip), _) => ip,
            // Who is reached from elsewhere is not told an address of this machine.
            (None, Some(ip)) if !ip.is_loopback() || local.is_loopback() => ip,
            (None, _) => local,
        };
        let peer = Peer {
            id: us.party.node,
            name: self.0.membership.wished_name(),
            search: SocketAddr::new(ip, us.ports.0),
            download: SocketAddr::new(ip, us.ports.1),
            joined: 0,
        };
        self.0.membership.reached_at(peer.clone());
        peer
    }

    /// All that is known, by exchange, of others.
    pub fn standings(&self) -> Vec<Standing> {
        let now = Instant::now();
        self.look(|machine| {
            let others = machine.table().others();
            others
                .map(|entry| Standing {
                    peer: entry.peer.clone(),
                    online: entry.is_online(),
                    contact: entry.contact.map(|(when, _)| now.saturating_duration_since(when)),
                    clock: entry.at,
                })
                .collect()
        })
    }
}

/// How it stands with a node.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Which.
    pub peer: Peer,
    /// Whether it is taken for online.
    pub online: bool,
    /// How long ago this node spoke with it, if it did.
    pub contact: Option<Duration>,
    /// The Lamport time of this knowledge.
    pub clock: u64,
}

fn found(machine: &Machine, id: NodeId) -> Option<Found> {
    machine.table().get(id).map(|entry| Found {
        peer: entry.peer.clone(),
        online: entry.is_online(),
        born: entry.born,
        proof: entry.proof(),
    })
}
