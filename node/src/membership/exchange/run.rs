//! The tasks: calls when they are due, and what follows from them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_common::ident::{NodeId, Peer};
use shoal_common::party::Party;
use shoal_common::protocol::peers::Known;
use shoal_common::task::Tasks;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{Instrument, debug, info_span};

use super::super::handle::Membership;
use super::super::news::tell;
use super::super::union::Found;
use super::ask::{AskError, Outcome, converse, say_goodbye};
use super::machine::Machine;
use super::pace::{Call, Pace, Target};
use crate::notice::Notices;

/// Nodes that are told when this one leaves. They tell the others.
const GOODBYES: usize = 8;

/// How long leaving may take. Who is not told finds out.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);

/// How long one conversation may take: at a few round trips for some pages,
/// across the world. A peer that answers a byte at a time holds no call for ever.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Most calls at once where everyone is asked.
const REFRESH_AT_ONCE: usize = 64;

/// How long that may take in all.
const REFRESH_DEADLINE: Duration = Duration::from_secs(10);

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
pub struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    us: Acquaintance,
    membership: Membership,
    notices: Notices,
    machine: Mutex<Machine>,
    /// Something is due earlier than it was.
    wake: Notify,
    left: AtomicBool,
    tasks: Tasks,
}

/// Meets others from now on, until the tasks are cancelled.
pub fn start(
    us: Acquaintance,
    membership: Membership,
    notices: Notices,
    tasks: &Tasks,
) -> Exchange {
    let now = Instant::now();
    let id = us.party.node;
    let pace = Pace::new(id, &us.entries, us.interval, rand::random(), now);
    let machine = Mutex::new(Machine::new(id, us.party.clock.clone(), pace, now));
    let (wake, left, tasks) = (Notify::new(), AtomicBool::new(false), tasks.child());
    let exchange =
        Exchange(Arc::new(Inner { us, membership, notices, machine, wake, left, tasks }));
    let running = exchange.clone().run();
    exchange.0.tasks.spawn(info_span!("exchange"), running);
    exchange
}

impl Exchange {
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
        let (result, changed) = {
            // Each method of the machine leaves it whole.
            let mut machine = self.0.machine.lock().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut machine);
            let changed = machine.take_changed();
            let found: Vec<_> = changed.into_iter().map(|id| (id, found(&machine, id))).collect();
            let born = machine.table().us(Instant::now()).map_or(0, |us| us.born);
            // While nobody else changes it: the last word must be the last.
            let events = (!found.is_empty()).then(|| self.0.membership.found(born, found));
            (result, events)
        };
        if let Some(events) = changed {
            let Inner { membership, notices, wake, .. } = &*self.0;
            // Before the first list is complete it is no news who is here.
            tell(notices, membership, &events, membership.has_met());
            wake.notify_one();
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
        };
        self.0.membership.reached_at(peer.clone());
        peer
    }

    async fn run(self) {
        let mut changes = self.0.membership.changes();
        loop {
            let (calls, due) = self.due_calls();
            for call in calls {
                self.0.tasks.spawn(info_span!("exchange with", at = %call.address), self.clone().make(call));
            }
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.0.wake.notified() => {}
                changed = changes.changed() => if changed.is_ok() {
                    self.heed_tracker();
                } else {
                    return;
                },
            }
        }
    }

    fn due_calls(&self) -> (Vec<Call>, Instant) {
        let now = Instant::now();
        if self.look(|machine| machine.pace().due() > now) {
            return (Vec::new(), self.look(|machine| machine.pace().due()));
        }
        let listed = self.0.membership.roster().peers();
        self.change(|machine| (machine.calls(&listed, now), machine.pace().due()))
    }

    /// What the tracker says: there are others, and some are gone.
    fn heed_tracker(&self) {
        let doubts = self.0.membership.take_doubts();
        let others = !self.0.membership.roster().is_empty();
        let now = Instant::now();
        self.change(|machine| {
            doubts.into_iter().for_each(|id| machine.doubt(id, now));
            if others {
                machine.company(now);
            }
        });
    }

    async fn make(self, call: Call) {
        let outcome = self.converse(&call.address).await;
        self.finish(&call, outcome);
    }

    async fn converse(&self, address: &str) -> Result<Outcome, AskError> {
        match timeout(CALL_DEADLINE, converse(address, self)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(AskError::Nonsense("too slowly")),
        }
    }

    fn finish(&self, call: &Call, outcome: Result<Outcome, AskError>) {
        let now = Instant::now();
        match outcome {
            Ok(Outcome { by, moved }) => {
                self.change(|machine| machine.answered(&call.target, by, moved, now));
                if by != self.party().node {
                    self.arrive();
                }
            }
            Err(error) => {
                debug!("{error}");
                self.change(|machine| machine.failed(&call.target, now));
            }
        }
        self.0.wake.notify_one();
    }

    /// This node has met somebody and heard of all that this one knows.
    fn arrive(&self) {
        let membership = &self.0.membership;
        if membership.meet() && !membership.is_named() {
            let others = membership.peers().len();
            let name = membership.name();
            self.0.notices.say(format_args!("in the network as `{name}`, with {others} others"));
        }
    }

    /// Asks everyone now, also those who are offline and the entries where nobody
    /// has answered yet. Takes at most [`REFRESH_DEADLINE`].
    pub async fn refresh(&self) {
        let calls: Vec<Call> = self.look(|machine| {
            let others = machine.table().others().map(|entry| Call {
                target: Target::Peer(entry.peer.id),
                address: entry.peer.search.to_string(),
            });
            let unmet = machine.pace().unmet().map(|(number, address)| Call {
                target: Target::Entry(number),
                address: address.to_owned(),
            });
            others.chain(unmet).collect()
        });
        let mut waiting = calls.into_iter();
        let mut under_way = JoinSet::new();
        let all = async {
            loop {
                while under_way.len() < REFRESH_AT_ONCE
                    && let Some(call) = waiting.next()
                {
                    under_way.spawn(self.clone().make(call).in_current_span());
                }
                if under_way.join_next().await.is_none() {
                    return;
                }
            }
        };
        timeout(REFRESH_DEADLINE, all).await.ok();
    }

    /// Says hello at an address, `"host:port"`. Who answered.
    ///
    /// # Errors
    /// Nobody did, or only this node itself.
    pub async fn hello(&self, address: &str) -> Result<NodeId, AskError> {
        let Outcome { by, .. } = self.converse(address).await?;
        if by == self.party().node {
            return Err(AskError::Nonsense("it is this node itself"));
        }
        self.arrive();
        Ok(by)
    }

    /// Leaves: calls and answers no more, and tells some others, who tell the rest.
    pub async fn leave(&self) {
        self.0.left.store(true, Ordering::Relaxed);
        self.0.tasks.cancel();
        let mut others: Vec<String> = self.look(|machine| {
            let online = machine.table().others().filter(|entry| entry.is_online());
            online.map(|entry| entry.peer.search.to_string()).collect()
        });
        for place in 0..others.len().min(GOODBYES) {
            others.swap(place, rand::random_range(place..others.len()));
        }
        let mut goodbyes = JoinSet::new();
        for address in others.into_iter().take(GOODBYES) {
            let us = self.clone();
            goodbyes.spawn(async move { say_goodbye(&address, &us).await }.in_current_span());
        }
        timeout(GOODBYE_DEADLINE, goodbyes.join_all()).await.ok();
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
