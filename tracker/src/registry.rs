//! Who is here: a state machine without I/O and without a clock.
//!
//! Time is an argument, counted from any fixed moment. What people should
//! hear of an event is collected as [`Notice`]s, to be taken after it.
//!
//! A node *lives* from its registration until it leaves. It leaves on purpose,
//! or when it has been silent for two heartbeat intervals, or when its
//! connection has been broken for one. As long as it lives its name is its
//! own, and while it has a connection, it belongs to one session: the newest.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use shoal_common::ident::{NodeId, NodeName, Peer};
use shoal_common::limits::{CHANGE_LOG, MAX_NODES, PUSH_GROUPS};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{Change, Charter, Leaving, Registration};

mod joins;
#[cfg(test)]
mod model;
mod names;
mod notice;
mod pages;
#[cfg(test)]
mod tests;
mod turns;

use joins::Joins;
use names::free_number;
pub(crate) use notice::{Notice, Present};
use pages::{Queue, Reader};
pub(crate) use turns::KEPT_TURNS;
use turns::Turns;

/// One connection among all that a tracker has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) u64);

impl SessionId {
    /// With which others it is told what changed.
    pub(crate) fn group(self) -> usize {
        usize::try_from(self.0 % PUSH_GROUPS as u64).unwrap_or_default()
    }
}

/// Who speaks: a node, on one of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Speaker {
    pub(crate) node: NodeId,
    pub(crate) session: SessionId,
}

/// What a speaker is to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The node lives and this is its session.
    Current,
    /// The node lives, but not by this session: another one is newer.
    Superseded,
    /// No such node lives.
    Gone,
}

#[derive(Debug)]
struct Node {
    peer: Peer,
    /// The name it asked for, which may be in use by another.
    wanted: NodeName,
    /// Its connection, or none while that is broken.
    session: Option<SessionId>,
    /// When it will have left without a word, unless it is heard before.
    deadline: Duration,
    /// When that is looked at: its place among the deadlines. Not after it.
    looked_at: Duration,
    reader: Reader,
    /// Whether it said something since it was told its join number.
    knows_number: bool,
}

/// Everyone who is here, and what changed lately.
#[derive(Debug)]
pub(crate) struct Registry {
    heartbeat: Duration,
    /// When it was last put in office.
    began: Duration,
    /// In boxes: the table has room for more than are here.
    nodes: HashMap<NodeId, Box<Node>>,
    /// Sorted, because people read them.
    names: BTreeMap<NodeName, NodeId>,
    /// The ids of all, in the order in which they are told by pages.
    order: BTreeSet<NodeId>,
    /// One for each node, the nearest first: when its deadline is looked at. A
    /// heartbeat puts a deadline off without touching this, so it costs no more
    /// than finding the node; that it was put off is seen when its time comes.
    deadlines: BTreeSet<(Duration, NodeId)>,
    /// Changes so far.
    revision: u64,
    /// How far each group may be told.
    turns: Turns,
    /// How many sessions have lost their node, but by their own doing; see
    /// [`Registry::unseated`].
    unseated: u64,
    /// When the next pages may be given.
    queue: Queue,
    /// The last of these changes, at most [`CHANGE_LOG`].
    changes: VecDeque<Change>,
    notices: Vec<Notice>,
    joins: Joins,
    /// What the tracker is in office by, if it is.
    charter: Option<Charter>,
}

impl Registry {
    /// An empty one, for nodes that are to be heard once in `heartbeat`.
    pub(crate) fn new(heartbeat: Duration) -> Self {
        Self {
            heartbeat,
            began: Duration::ZERO,
            nodes: HashMap::new(),
            names: BTreeMap::new(),
            order: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            revision: 0,
            turns: Turns::default(),
            unseated: 0,
            queue: Queue::default(),
            changes: VecDeque::new(),
            notices: Vec::new(),
            joins: Joins::default(),
            charter: None,
        }
    }

    // Events ---------------------------------------------------------------

    /// A node joins, returns, or has another name or address from now on.
    /// Returns the name by which it is known. The speaker's session becomes
    /// the node's only one.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`]: nobody could reach its addresses.
    /// [`Refusal::NameTaken`]: it wants that very name, and another living
    /// node has it. [`Refusal::Busy`]: there are [`MAX_NODES`] already.
    /// Nothing has changed then.
    pub(crate) fn register(
        &mut self,
        speaker: Speaker,
        wish: &Registration,
        now: Duration,
    ) -> Result<NodeName, Refusal> {
        let Speaker { node: id, session } = speaker;
        let name = self.name_for(id, wish)?;
        let Registration { search, download, .. } = *wish;
        let before = self.nodes.get(&id);
        let is_new = wish.joined == 0;
        let reader = before.map_or(Reader::new(is_new), |node| node.reader.returned(is_new));
        // Who knew its number and knows of none now was restarted. Who was cut off
        // before it had the answer was not.
        let before = before.filter(|node| wish.joined > 0 || !node.knows_number);
        let before = before.map(|node| node.peer.joined);
        let joined = self.joins.number(id, wish.joined, before, now);
        let peer = Peer { id, name: name.clone(), search, download, joined };
        if !peer.is_reachable() {
            return Err(Refusal::NotAllowed);
        }
        let deadline = now + 2 * self.heartbeat;
        let node = Node {
            peer: peer.clone(),
            wanted: wish.name.clone(),
            session: Some(session),
            deadline,
            looked_at: deadline,
            reader,
            knows_number: joined == wish.joined,
        };
        match self.remove(id) {
            None if self.nodes.len() >= MAX_NODES => return Err(Refusal::Busy),
            None => {
                self.notices.push(Notice::Came(peer.clone()));
                self.record(Change::Joined(peer));
            }
            Some(before) if before.peer != peer => {
                self.unseated += u64::from(before.session != Some(session));
                self.notices.push(Notice::of_change(before.peer, peer.clone()));
                self.record(Change::Joined(peer));
            }
            Some(before) if before.session != Some(session) => {
                self.unseated += 1;
                self.notices.push(Notice::Returned(peer));
            }
            Some(_) => {}
        }
        self.insert(node);
        Ok(name)
    }

    /// Something came from a node; what it is here. Ignored unless it is current.
    pub(crate) fn heard(&mut self, speaker: Speaker, now: Duration) -> Standing {
        match self.nodes.get_mut(&speaker.node) {
            None => Standing::Gone,
            Some(node) if node.session == Some(speaker.session) => {
                // Never nearer than before: time does not run backwards.
                node.deadline = node.deadline.max(now + 2 * self.heartbeat);
                node.knows_number = true;
                Standing::Current
            }
            Some(_) => Standing::Superseded,
        }
    }

    /// A node leaves on purpose. Ignored unless it is current.
    pub(crate) fn exit(&mut self, speaker: Speaker) {
        if self.standing(speaker) == Standing::Current {
            self.leave(speaker.node, Leaving::Exit);
        }
    }

    /// The connection of a node broke; it has one interval to return. Ignored
    /// unless it is current.
    pub(crate) fn disconnected(&mut self, speaker: Speaker, now: Duration) {
        if self.standing(speaker) != Standing::Current {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&speaker.node) {
            node.session = None;
            self.notices.push(Notice::Broke(node.peer.clone()));
        }
        self.move_deadline(speaker.node, now + self.heartbeat);
    }

    /// Time has passed: whoever is overdue has left without a word.
    ///
    /// If it is called so late that the tracker itself must have stood still
    /// (it was paused, say), nobody can be blamed: what the nodes said
    /// meanwhile has not been read yet. Then everyone has one more interval at
    /// least.
    pub(crate) fn tick(&mut self, now: Duration) {
        let late = self.next_deadline().and_then(|deadline| now.checked_sub(deadline));
        if let Some(late) = late.filter(|late| *late >= self.heartbeat) {
            self.notices.push(Notice::Overslept(late));
            let deadlines = self.nodes.values().map(|node| (node.peer.id, node.deadline));
            let everyone: Vec<_> = deadlines.collect();
            for (id, deadline) in everyone {
                self.move_deadline(id, deadline.max(now + self.heartbeat));
            }
        }
        while let Some(&(looked_at, id)) = self.deadlines.first() {
            if looked_at > now {
                break;
            }
            match self.nodes.get(&id).map(|node| node.deadline) {
                Some(deadline) if deadline > now => self.move_deadline(id, deadline),
                _ => self.leave(id, Leaving::Vanished),
            }
        }
    }

    // Questions ------------------------------------------------------------

    /// When [`Registry::tick`] is to be called, unless something happens before.
    /// Perhaps nobody has left then.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// What this speaker is here.
    pub(crate) fn standing(&self, speaker: Speaker) -> Standing {
        match self.nodes.get(&speaker.node) {
            None => Standing::Gone,
            Some(node) if node.session == Some(speaker.session) => Standing::Current,
            Some(_) => Standing::Superseded,
        }
    }

    /// A number that grows whenever a session may have lost its node to another
    /// one, or because it was silent. While it is the same, a session that was
    /// current is so still.
    pub(crate) fn unseated(&self) -> u64 {
        self.unseated
    }

    /// Time between two heartbeats.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// How many changes there have been. It only grows.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The name by which a node is known that lives.
    pub(crate) fn name_of(&self, id: NodeId) -> Option<NodeName> {
        self.nodes.get(&id).map(|node| node.peer.name.clone())
    }

    /// How many nodes live.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes have a connection.
    pub(crate) fn connected(&self) -> usize {
        self.nodes.values().filter(|node| node.session.is_some()).count()
    }

    /// Who is here, for people.
    pub(crate) fn present(&self) -> Present<'_> {
        Present(&self.names)
    }

    /// What people should hear of the events since the last call.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        mem::take(&mut self.notices)
    }

    // Steps ----------------------------------------------------------------

    /// The name that a node gets. One that takes any name keeps the one that
    /// it was given for the same wish.
    fn name_for(&self, id: NodeId, wish: &Registration) -> Result<NodeName, Refusal> {
        let before = self.nodes.get(&id).filter(|node| !wish.exact && node.wanted == wish.name);
        if let Some(node) = before {
            return Ok(node.peer.name.clone());
        }
        let is_free = |name: &NodeName| self.names.get(name).is_none_or(|owner| *owner == id);
        if is_free(&wish.name) {
            return Ok(wish.name.clone());
        }
        if wish.exact {
            return Err(Refusal::NameTaken);
        }
        let free = free_number(|number| is_free(&wish.name.with_suffix(number)));
        free.map(|number| wish.name.with_suffix(number)).ok_or(Refusal::Busy)
    }

    fn insert(&mut self, node: Node) {
        self.names.insert(node.peer.name.clone(), node.peer.id);
        self.joins.insert(&node.peer);
        self.order.insert(node.peer.id);
        self.deadlines.insert((node.looked_at, node.peer.id));
        self.nodes.insert(node.peer.id, Box::new(node));
    }

    fn remove(&mut self, id: NodeId) -> Option<Box<Node>> {
        let node = self.nodes.remove(&id)?;
        self.names.remove(&node.peer.name);
        self.joins.remove(&node.peer);
        self.order.remove(&id);
        self.deadlines.remove(&(node.looked_at, id));
        Some(node)
    }

    fn move_deadline(&mut self, id: NodeId, deadline: Duration) {
        if let Some(node) = self.nodes.get_mut(&id) {
            self.deadlines.remove(&(node.looked_at, id));
            (node.deadline, node.looked_at) = (deadline, deadline);
            self.deadlines.insert((deadline, id));
        }
    }

    fn leave(&mut self, id: NodeId, why: Leaving) {
        if let Some(node) = self.remove(id) {
            let Node { peer, session, .. } = *node;
            self.unseated += u64::from(why == Leaving::Vanished && session.is_some());
            self.record(Change::Left { id, why });
            self.notices.push(match (why, session) {
                (Leaving::Exit, _) => Notice::Left(peer),
                (Leaving::Vanished, Some(_)) => Notice::FellSilent(peer),
                (Leaving::Vanished, None) => Notice::StayedAway(peer),
            });
        }
    }

    fn record(&mut self, change: Change) {
        self.revision += 1;
        if self.changes.len() >= CHANGE_LOG {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }
}

/// Whom a change is about.
pub(crate) fn about(change: &Change) -> NodeId {
    match change {
        Change::Joined(peer) => peer.id,
        Change::Left { id, .. } => *id,
    }
}
