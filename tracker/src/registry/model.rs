//! Random sequences of events, against a model that is too simple to be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};

use super::*;
use crate::visit::{Step, Visit};

const BEAT: Duration = Duration::from_secs(10);
const NODES: u8 = 5;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// What may happen. Sessions are named by their position among the open ones.
#[derive(Debug, Clone)]
enum Event {
    /// A node connects and registers.
    Connect {
        node: u8,
        name: usize,
        exact: bool,
        port: u16,
    },
    /// A node registers again on its connection.
    Again {
        at: usize,
        name: usize,
        exact: bool,
        port: u16,
    },
    Heartbeat {
        at: usize,
    },
    Exit {
        at: usize,
    },
    /// A connection breaks.
    Break {
        at: usize,
    },
    /// The session looks what there is to push.
    Push {
        at: usize,
    },
    /// Time passes, in tenths of an interval.
    Pass {
        tenths: u32,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let (name, port) = (0..NAMES.len(), 1..3_u16);
    let at = 0..8_usize;
    prop_oneof![
        4 => (0..NODES, name.clone(), any::<bool>(), port.clone())
            .prop_map(|(node, name, exact, port)| Event::Connect { node, name, exact, port }),
        1 => (at.clone(), name, any::<bool>(), port)
            .prop_map(|(at, name, exact, port)| Event::Again { at, name, exact, port }),
        4 => at.clone().prop_map(|at| Event::Heartbeat { at }),
        1 => at.clone().prop_map(|at| Event::Exit { at }),
        2 => at.clone().prop_map(|at| Event::Break { at }),
        2 => at.prop_map(|at| Event::Push { at }),
        4 => (0..15_u32).prop_map(|tenths| Event::Pass { tenths }),
    ]
}

/// A node as the model sees it.
#[derive(Debug, Clone, PartialEq)]
struct Living {
    session: Option<usize>,
    heard: Duration,
    broken: Option<Duration>,
}

/// One connection with what its node has learned on it.
struct Open {
    number: usize,
    node: NodeId,
    visit: Visit,
    revision: u64,
    known: BTreeMap<NodeId, Peer>,
}

struct World {
    now: Duration,
    registry: Registry,
    living: BTreeMap<NodeId, Living>,
    open: Vec<Open>,
    connections: usize,
    revision: u64,
}

impl World {
    fn new() -> Self {
        Self {
            now: Duration::ZERO,
            registry: Registry::new(BEAT),
            living: BTreeMap::new(),
            open: Vec::new(),
            connections: 0,
            revision: 0,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Connect { node, name, exact, port } => {
                let node = NodeId::from_bytes([node; 32]);
                let number = self.connections;
                self.connections += 1;
                let speaker = Speaker { node, session: SessionId(number as u64) };
                let visit = Visit::new(speaker, 0);
                self.open.push(Open { number, node, visit, revision: 0, known: BTreeMap::new() });
                self.say(self.open.len() - 1, self.wish(node, name, exact, port));
            }
            Event::Again { at, name, exact, port } => {
                let node = self.open.get(at).map(|open| open.node);
                node.into_iter().for_each(|node| {
                    self.say(at, self.wish(node, name, exact, port));
                });
            }
            Event::Heartbeat { at } => self.say(at, ToTracker::Heartbeat),
            Event::Exit { at } => self.say(at, ToTracker::Exit),
            Event::Break { at } if at < self.open.len() => self.close(at),
            Event::Push { at } if at < self.open.len() => {
                self.publish();
                let step = self.open[at].visit.push(&self.registry);
                self.follow(at, step);
            }
            Event::Break { .. } | Event::Push { .. } => {}
            Event::Pass { tenths } => self.pass(self.now + BEAT * tenths / 10),
        }
    }

    /// What a node says that has not forgotten its join number.
    fn wish(&self, node: NodeId, name: usize, exact: bool, port: u16) -> ToTracker {
        ToTracker::Register(Registration {
            name: NAMES[name].parse().unwrap(),
            exact,
            search: ([10, 0, 0, 1], port).into(),
            download: ([10, 0, 0, 1], 9).into(),
            reign: None,
            joined: self.registry.joined(node),
        })
    }

    fn say(&mut self, at: usize, message: ToTracker) {
        let Some(open) = self.open.get_mut(at) else { return };
        let (number, node) = (open.number, open.node);
        let registering = matches!(message, ToTracker::Register(_));
        let exits = message == ToTracker::Exit;
        let step = open.visit.answer(message, &mut self.registry, self.now);
        let current = self.living.get(&node).is_some_and(|living| living.session == Some(number));
        let registered = matches!(step, Step::Say(FromTracker::Registered(_)));
        assert!(registering || !registered);
        if registered {
            let living = Living { session: Some(number), heard: self.now, broken: None };
            self.living.insert(node, living);
        } else if current && exits {
            assert_eq!(step, Step::SayLast(FromTracker::Done));
            self.living.remove(&node);
        } else if current {
            self.living.get_mut(&node).unwrap().heard = self.now;
        }
        self.follow(at, step);
    }

    /// Everyone may be told of everything.
    fn publish(&mut self) {
        for group in 0..PUSH_GROUPS {
            self.registry.publish(group);
        }
    }

    /// A node does with a message what it should.
    fn follow(&mut self, at: usize, step: Step) {
        let last = matches!(step, Step::SayLast(_) | Step::HangUp);
        let open = &mut self.open[at];
        match step {
            Step::Say(FromTracker::Registered(list)) => {
                open.known = list.peers.into_iter().map(|peer| (peer.id, peer)).collect();
                open.revision = list.revision;
            }
            Step::News { from, to, .. } => {
                assert!(from >= open.revision && to >= from);
                open.revision = to;
                let node = open.node;
                let changes = self.registry.changes(from, to).unwrap();
                for change in changes.filter(|change| about(change) != node).cloned() {
                    apply(&mut open.known, node, change);
                }
            }
            _ => {}
        }
        if last {
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        let open = self.open.remove(at);
        open.visit.end(&mut self.registry, self.now);
        if let Some(living) = self.living.get_mut(&open.node)
            && living.session == Some(open.number)
        {
            (living.session, living.broken) = (None, Some(self.now));
        }
    }

    /// Time passes in the model first; then the registry must agree about when
    /// it has something to do.
    fn pass(&mut self, until: Duration) {
        while let Some(deadline) = self.living.values().map(deadline).min() {
            // It may look earlier than it has to, and is then to be called again.
            while let Some(look) = self.registry.next_deadline().filter(|look| *look < deadline) {
                if look > until {
                    break;
                }
                self.registry.tick(look);
                self.check();
                assert!(self.registry.next_deadline() > Some(look));
            }
            if deadline > until {
                break;
            }
            assert_eq!(self.registry.next_deadline(), Some(deadline));
            self.now = deadline;
            self.registry.tick(deadline - Duration::from_nanos(1));
            self.check();
            self.registry.tick(deadline);
            self.living.retain(|_, living| self::deadline(living) > deadline);
            self.check();
        }
        self.now = until;
        self.registry.tick(until);
    }

    /// What holds at any time.
    fn check(&mut self) {
        let mut here: Vec<_> = self.registry.nodes.keys().copied().collect();
        here.sort_unstable();
        assert_eq!(here, self.living.keys().copied().collect::<Vec<_>>());

        let names: BTreeMap<_, _> = self
            .registry
            .nodes
            .values()
            .map(|node| (node.peer.name.clone(), node.peer.id))
            .collect();
        assert_eq!(names, self.registry.names, "names are unique, and known");
        assert_eq!(self.registry.deadlines.len(), here.len());

        assert!(self.registry.revision >= self.revision, "the revision only grows");
        self.revision = self.registry.revision;
        for open in &self.open {
            assert!(!open.known.contains_key(&open.node), "a node was told of itself");
        }
    }

    /// Everyone who belongs here is told what there is, and then knows exactly
    /// the others.
    fn settle(&mut self) {
        self.publish();
        for at in (0..self.open.len()).rev() {
            let number = self.open[at].number;
            // One turn after the other.
            while self.open.get(at).is_some_and(|open| open.number == number) {
                let step = self.open[at].visit.push(&self.registry);
                let told = step == Step::Wait;
                self.follow(at, step);
                if told {
                    break;
                }
            }
        }
        for open in self.open.iter().filter(|open| open.visit.is_registered()) {
            let others: BTreeMap<_, _> = self
                .registry
                .nodes
                .values()
                .filter(|node| node.peer.id != open.node)
                .map(|node| (node.peer.id, node.peer.clone()))
                .collect();
            assert_eq!(open.known, others, "a session knows other nodes than there are");
        }
    }
}

fn apply(known: &mut BTreeMap<NodeId, Peer>, us: NodeId, change: Change) {
    match change {
        Change::Joined(peer) => {
            assert_ne!(peer.id, us);
            known.insert(peer.id, peer);
        }
        Change::Left { id, .. } => {
            assert!(known.remove(&id).is_some(), "somebody left who was not known");
        }
    }
}

fn deadline(living: &Living) -> Duration {
    living.broken.map_or(living.heard + 2 * BEAT, |broken| broken + BEAT)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_registry_agrees_with_its_model(events in proptest::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        for event in &events {
            let before = world.registry.changes.len();
            let living = world.living.clone();
            world.happen(event);
            world.check();
            // Whoever lives before and after an instant has not left in it.
            if !matches!(event, Event::Pass { .. }) {
                for change in world.registry.changes.iter().skip(before) {
                    let id = about(change);
                    let lives = living.contains_key(&id) && world.living.contains_key(&id);
                    let left = matches!(change, Change::Left { .. });
                    prop_assert!(!(lives && left), "{event:?}");
                }
            }
        }
        world.settle();
    }

    #[test]
    fn who_returns_within_its_time_has_never_left(
        rounds in proptest::collection::vec((0..10_u32, any::<bool>()), 1..50)
    ) {
        let mut world = World::new();
        let connect = Event::Connect { node: 0, name: 0, exact: true, port: 1 };
        world.happen(&connect);
        let revision = world.registry.revision();
        for (tenths, breaks) in rounds {
            if breaks {
                world.happen(&Event::Break { at: 0 });
            }
            world.happen(&Event::Pass { tenths });
            world.happen(&connect);
            if !breaks {
                // The older session learns that it is not the newest, and goes.
                world.happen(&Event::Push { at: 0 });
            }
            prop_assert_eq!(world.open.len(), 1);
            prop_assert_eq!(world.registry.revision(), revision);
        }
    }
}
