//! Whole networks in no time: machines that call each other, with time and
//! connections made up.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use shoal_common::clock::Clock;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{EXCHANGE, MAX_PEERS};
use shoal_common::protocol::peers::State;
use tokio::time::Instant;

use super::machine::Machine;
use super::pace::{Call, Pace, Target};

/// How long a call into nowhere takes.
const SILENCE: Duration = Duration::from_secs(3);

/// How often it is looked whether all is as it should be.
const LOOK: Duration = Duration::from_millis(100);

struct Node {
    machine: Machine,
    clock: Clock,
    peer: Peer,
    alive: bool,
    /// Nodes of other sides can't be reached.
    side: u8,
    /// Calls that fail at these times.
    failing: Vec<(Instant, Target)>,
}

struct Network {
    nodes: Vec<Node>,
    now: Instant,
    start: Instant,
    seed: u64,
}

fn address(number: usize) -> String {
    format!("10.0.{}.{}:1", number / 200, number % 200 + 1)
}

impl Network {
    /// Nodes with these entries each.
    fn new(entries: Vec<Vec<usize>>, seed: u64) -> Self {
        let now = Instant::now();
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes = entries.iter().enumerate().map(|(number, entries)| {
            let entries: Vec<String> = entries.iter().map(|entry| address(*entry)).collect();
            let mut bytes = [0; 32];
            rng.fill(&mut bytes[..]);
            let id = NodeId::from_bytes(bytes);
            let at = address(number).parse().unwrap();
            let name = "node".parse().unwrap();
            let peer = Peer { id, name, search: at, download: at, joined: 0 };
            node(peer, &entries, rng.random(), now)
        });
        Self { nodes: nodes.collect(), now, start: now, seed }
    }

    fn chain(count: usize, seed: u64) -> Self {
        let next = |number| if number + 1 < count { vec![number + 1] } else { vec![] };
        Self::new((0..count).map(next).collect(), seed)
    }

    fn passed(&self) -> Duration {
        self.now - self.start
    }

    /// Lets time pass until it `holds`, at most this long. How long it took.
    fn until(&mut self, most: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        while !holds(self) {
            assert!(self.now - begin <= most, "seed {}: not in {most:?}: {what}", self.seed);
            self.run(LOOK);
        }
        self.now - begin
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// The next time at which something is due, ten milliseconds ahead at least, in
    /// which every node does what is due.
    fn step(&mut self) {
        let living = self.nodes.iter().filter(|node| node.alive);
        let due = living.flat_map(|node| {
            let failing = node.failing.iter().map(|call| call.0);
            failing.chain([node.machine.pace().due()])
        });
        let soonest = self.now + Duration::from_millis(10);
        self.now = due.min().unwrap_or(soonest).max(soonest);
        for number in 0..self.nodes.len() {
            let now = self.now;
            let node = &mut self.nodes[number];
            if !node.alive {
                continue;
            }
            let failing: Vec<Target>;
            let waiting = std::mem::take(&mut node.failing);
            (failing, node.failing) = {
                let (due, later): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|call| call.0 <= now);
                (due.into_iter().map(|call| call.1).collect(), later)
            };
            for target in failing {
                node.machine.failed(&target, now);
            }
            if node.machine.pace().due() <= now {
                for call in node.machine.calls(&[], now) {
                    self.make(number, call);
                }
            }
        }
    }

    fn make(&mut self, number: usize, call: Call) {
        let other = (0..self.nodes.len()).find(|other| address(*other) == call.address).unwrap();
        let now = self.now;
        if other == number {
            let id = self.nodes[number].peer.id;
            self.nodes[number].machine.answered(&call.target, id, false, now);
        } else if self.nodes[number].side != self.nodes[other].side {
            self.nodes[number].failing.push((now + SILENCE, call.target));
        } else if !self.nodes[other].alive {
            self.nodes[number].failing.push((now, call.target));
        } else {
            let moved = self.talk(number, other);
            let id = self.nodes[other].peer.id;
            self.nodes[number].machine.answered(&call.target, id, moved, now);
        }
    }

    /// What a message from one to the other does to their clocks; its time.
    fn send(&self, from: usize, to: usize) -> u64 {
        let time = self.nodes[from].clock.tick();
        self.nodes[to].clock.witness(time);
        time
    }

    /// One whole conversation.
    fn talk(&mut self, us: usize, other: usize) -> bool {
        let now = self.now;
        let heard = self.send(us, other);
        let known = self.nodes[us].machine.table().us(now).unwrap();
        assert!(self.nodes[other].machine.met(known, heard, now));
        let heard = self.send(other, us);
        let known = self.nodes[other].machine.table().us(now).unwrap();
        assert!(self.nodes[us].machine.met(known, heard, now));

        let digests = self.nodes[us].machine.table().digests();
        let (mut theirs, mut after, mut news) = (HashMap::new(), None, 0);
        self.send(us, other);
        let differ = self.nodes[other].machine.table().compare(&digests).unwrap();
        loop {
            let (page, more) = self.nodes[other].machine.table().page(&differ, after, now);
            self.send(other, us);
            after = page.last().map(|known| known.peer.id);
            theirs.extend(page.iter().map(|known| (known.peer.id, known.clone())));
            news += self.nodes[us].machine.heard(page, now);
            if !more {
                break;
            }
        }
        let told = self.nodes[us].machine.lacking(&differ, &theirs, now);
        news += told.len();
        for page in told.chunks(MAX_PEERS) {
            self.send(us, other);
            self.nodes[other].machine.heard(page.to_vec(), now);
        }
        news > 0
    }

    /// Whom a node takes for online.
    fn sees(&self, number: usize) -> BTreeSet<NodeId> {
        let others = self.nodes[number].machine.table().others();
        others.filter(|entry| entry.state == State::Online).map(|entry| entry.peer.id).collect()
    }

    /// Whether everyone who lives takes for online exactly those on its side.
    fn is_right(&self) -> bool {
        self.nodes.iter().enumerate().filter(|(_, node)| node.alive).all(|(number, node)| {
            let there = self.nodes.iter().filter(|other| {
                other.alive && other.side == node.side && other.peer.id != node.peer.id
            });
            self.sees(number) == there.map(|other| other.peer.id).collect()
        })
    }

    fn cut(&mut self, side: impl Fn(usize) -> u8) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            node.side = side(number);
        }
    }
}

fn node(peer: Peer, entries: &[String], seed: u64, now: Instant) -> Node {
    let clock = Clock::default();
    let pace = Pace::new(peer.id, entries, EXCHANGE, seed, now);
    let mut machine = Machine::new(peer.id, clock.clone(), pace, now);
    machine.announce(peer.clone(), false, now);
    Node { machine, clock, peer, alive: true, side: 0, failing: Vec::new() }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Schedules of each kind.
const SEEDS: u64 = 25;

#[test]
fn a_chain_of_thirty_knows_itself_within_five_seconds() {
    let mut slowest = Duration::ZERO;
    for seed in 0..SEEDS {
        let mut network = Network::chain(30, seed);
        let took = network.until(Duration::from_secs(5), "all know all", Network::is_right);
        slowest = slowest.max(took);
    }
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
}

#[test]
fn a_partition_is_noticed_and_heals_within_two_intervals() {
    for seed in 0..SEEDS {
        let mut network = Network::chain(30, seed);
        network.until(Duration::from_secs(5), "all know all", Network::is_right);
        network.run(EXCHANGE * 3);
        network.cut(|number| u8::from(number >= 10));
        network.until(MINUTE, "each side knows itself alone", Network::is_right);
        network.run(MINUTE);
        assert!(network.is_right(), "seed {seed}");
        network.cut(|_| 0);
        network.until(EXCHANGE * 2, "all know all again", Network::is_right);
    }
}

#[test]
fn a_node_that_is_killed_is_noticed_and_found_again() {
    for seed in 0..SEEDS {
        let mut network = Network::chain(12, seed);
        network.until(Duration::from_secs(5), "all know all", Network::is_right);
        network.run(MINUTE);
        // The last has no entries, and nobody tells it when it is back.
        network.nodes[11].alive = false;
        // Each node is called once an interval, about; chance has a long tail.
        network.until(MINUTE * 2, "it is gone", Network::is_right);
        network.run(MINUTE * 2);
        let peer = network.nodes[11].peer.clone();
        network.nodes[11] = node(peer, &[], seed, network.now);
        network.until(EXCHANGE * 4, "it is back", Network::is_right);
        assert!(network.passed() > MINUTE * 3);
    }
}

#[test]
fn a_goodbye_to_one_is_heard_by_all_and_a_lie_does_not_last() {
    for seed in 0..SEEDS {
        let mut network = Network::chain(20, seed);
        network.until(Duration::from_secs(5), "all know all", Network::is_right);
        network.run(MINUTE);
        let heard = network.send(5, 6);
        let (gone, now) = (network.nodes[5].peer.id, network.now);
        network.nodes[5].alive = false;
        network.nodes[6].machine.goodbye(gone, heard, now);
        network.until(EXCHANGE * 2, "it is gone everywhere", Network::is_right);
        network.run(MINUTE);
        // Somebody tells all others of a node that it is gone. It is not.
        let victim = network.nodes[7].peer.clone();
        for number in (0..20).filter(|number| ![5, 7].contains(number)) {
            let at = network.nodes[number].clock.tick();
            let mut lie = network.nodes[7].machine.table().us(now).unwrap();
            (lie.state, lie.at) = (State::Offline, at);
            let now = network.now;
            assert_eq!(network.nodes[number].machine.heard(vec![lie], now), 1);
        }
        assert!(!network.sees(0).contains(&victim.id));
        network.until(EXCHANGE * 2, "the lie is put right", Network::is_right);
    }
}

#[test]
fn where_nothing_happens_calls_are_few() {
    let mut network = Network::chain(30, 7);
    network.until(Duration::from_secs(5), "all know all", Network::is_right);
    network.run(EXCHANGE * 2);
    let before: u64 = network.nodes.iter().map(|node| node.clock.now()).max().unwrap();
    let mut calls = 0;
    let end = network.now + EXCHANGE * 20;
    while network.now < end {
        let due = network.nodes.iter().map(|node| node.machine.pace().due());
        network.now = due.min().unwrap();
        for number in 0..30 {
            let now = network.now;
            if network.nodes[number].machine.pace().due() <= now {
                for call in network.nodes[number].machine.calls(&[], now) {
                    calls += 1;
                    network.make(number, call);
                }
            }
        }
    }
    assert!(network.nodes[0].clock.now() > before);
    // One in an interval each, which is up to a quarter shorter by chance.
    assert!((30 * 20..30 * 20 * 4 / 3).contains(&calls), "{calls}");
}
