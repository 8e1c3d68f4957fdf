//! Several that fetch one file, from one that has it and from each other.
//!
//! A simulation: every node sends at a rate that its open answers share, messages
//! take their time, and each downloader decides with a plan of its own. What real
//! sockets add (windows, wake-ups, hashing) is in the tests with real sockets.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// What a network is like.
#[derive(Debug, Clone, Copy)]
struct Network {
    /// Nodes that fetch; one more has it all.
    nodes: usize,
    /// Bytes a second that each sends.
    uplink: f64,
    chunks: u32,
    /// One way, of a question and of an answer.
    latency: f64,
    /// Of the news that somebody has a chunk.
    news: f64,
    /// News of a chunk wait for the answer that is being sent.
    news_behind_answers: bool,
    /// Each node knows each other after up to so long.
    meet: f64,
    /// The share of an answer in its uplink is between 1 and this.
    uneven: f64,
    /// When the first of those that fetch is gone, and is seen to be.
    dies: Option<f64>,
    seed: u64,
}

impl Network {
    /// 64 MiB, 100 Mbit/s.
    fn slow(nodes: usize, seed: u64) -> Self {
        Self {
            nodes,
            uplink: 12.5e6,
            chunks: 256,
            latency: 0.001,
            news: 0.030,
            news_behind_answers: false,
            meet: 0.020,
            uneven: 1.0,
            dies: None,
            seed,
        }
    }

    fn size(&self) -> f64 {
        f64::from(self.chunks) * CHUNK
    }

    /// Time for one copy through one uplink, in seconds.
    fn ideal(&self) -> f64 {
        self.size() / self.uplink
    }
}

const CHUNK: f64 = 262_144.0;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Happens {
    /// Two nodes are connected.
    Meet(usize, usize),
    /// A question arrived.
    Asked { at: usize, from: usize, chunk: u32 },
    /// The answer that is to be sent next is through, unless it changed since.
    Sent { at: usize, version: u64 },
    /// An answer arrived.
    Came { at: usize, from: usize, chunk: u32 },
    /// The news arrived that somebody has a chunk.
    News { at: usize, from: usize, chunk: u32 },
    /// A node is gone.
    Dies(usize),
    /// There may be something to take over.
    Look { at: usize, owner: usize },
}

/// What a node is asked for, and what it is sending.
#[derive(Debug, Clone, Default)]
struct Uplink {
    /// For each other node: chunks that it asked for.
    queues: Vec<VecDeque<u32>>,
    /// For each other node: the virtual time at which the first of them is through.
    ends: Vec<f64>,
    shares: Vec<f64>,
    /// Bytes per share that were sent so far.
    clock: f64,
    since: f64,
    version: u64,
    /// How often each chunk was sent.
    sent: Vec<u32>,
}

#[derive(Debug)]
struct Simulation {
    network: Network,
    now: f64,
    start: Instant,
    events: BinaryHeap<Reverse<(u64, usize)>>,
    happens: Vec<Happens>,
    plans: Vec<Plan>,
    uplinks: Vec<Uplink>,
    ended: Vec<Option<f64>>,
    /// Who will look for something to take over, with which owner.
    looks: BTreeSet<(usize, usize)>,
    random: u64,
    twice: u32,
}

/// What came out.
#[derive(Debug)]
struct Outcome {
    /// End of the last one, over the time for one copy.
    last: f64,
    /// Chunks sent by the complete owner over the number of chunks.
    seeder: f64,
    /// Chunks that came to a node that had them, over all.
    twice: f64,
}

impl Simulation {
    fn new(network: Network) -> Self {
        let all = network.nodes + 1;
        let node = |at: usize| {
            let (first, second) = (mix(network.seed ^ 77 ^ at as u64), mix(at as u64));
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&first.to_le_bytes());
            bytes[8..16].copy_from_slice(&second.to_le_bytes());
            NodeId::from_bytes(bytes)
        };
        let plan = |at: usize| {
            let mut plan = Plan::new(Order::Any, MIB, node(at), mix(network.seed ^ at as u64));
            plan.open(FILE, geometry(network.chunks.into()), FixedBitSet::new());
            plan
        };
        let uplink = Uplink {
            queues: vec![VecDeque::new(); all],
            ends: vec![f64::INFINITY; all],
            shares: vec![1.0; all],
            sent: vec![0; index(network.chunks)],
            ..Uplink::default()
        };
        let mut simulation = Self {
            network,
            now: 0.0,
            start: Instant::now(),
            events: BinaryHeap::new(),
            happens: Vec::new(),
            plans: (0..all).map(plan).collect(),
            uplinks: vec![uplink; all],
            ended: vec![None; all],
            looks: BTreeSet::new(),
            random: network.seed,
            twice: 0,
        };
        for at in 1..all {
            for other in 0..all {
                if other != at {
                    let after = simulation.network.meet * simulation.chance();
                    simulation.after(after, Happens::Meet(at, other));
                }
            }
        }
        if let Some(time) = network.dies {
            simulation.after(time, Happens::Dies(1));
        }
        simulation
    }

    fn id(&self, at: usize) -> NodeId {
        self.plans[at].us
    }

    /// A number from 0 to 1.
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(1);
        (mix(self.random ^ 0xabcd) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn after(&mut self, time: f64, happens: Happens) {
        let when = nanos(self.now + time);
        self.events.push(Reverse((when, self.happens.len())));
        self.happens.push(happens);
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.now)
    }

    fn run(mut self) -> Outcome {
        while self.ended[1..].iter().any(Option::is_none) {
            let Reverse((when, which)) = self.events.pop().expect("something always happens");
            self.now = when as f64 / 1e9;
            assert!(self.now < 100.0 * self.network.ideal(), "it hangs");
            self.happen(self.happens[which]);
        }
        let last = self.ended.iter().flatten().fold(0.0, |last: f64, &end| last.max(end));
        let seeder: u32 = self.uplinks[0].sent.iter().sum();
        let all = self.uplinks.iter().flat_map(|uplink| &uplink.sent).sum::<u32>();
        Outcome {
            last: last / self.network.ideal(),
            seeder: f64::from(seeder) / f64::from(self.network.chunks),
            twice: f64::from(self.twice) / f64::from(all),
        }
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::Meet(at, other) => {
                let id = self.id(other);
                let has = match other {
                    0 => Offer::All,
                    _ => Offer::Some(self.plans[other].chunks(FILE).unwrap().verified.clone()),
                };
                self.plans[at].offer(id, FILE, has);
                self.plans[at].join(id);
                self.plans[at].answered(id, Duration::from_secs_f64(2.0 * self.network.latency));
                self.ask(at, other);
            }
            Happens::Asked { at, from, chunk } => {
                let gone = at == 1 && self.network.dies.is_some_and(|time| self.now >= time);
                if self.ended[from].is_none() && !gone {
                    self.advance(at);
                    self.uplinks[at].queues[from].push_back(chunk);
                    self.send(at);
                }
            }
            Happens::Sent { at, version } if version == self.uplinks[at].version => self.sent(at),
            Happens::Sent { .. } => {}
            Happens::Came { at, from, chunk } => self.came(at, from, chunk),
            Happens::News { at, from, chunk } => {
                let id = self.id(from);
                self.plans[at].offer(id, FILE, some([chunk]));
                self.ask(at, from);
            }
            Happens::Dies(gone) => {
                self.end(gone);
                self.uplinks[gone].queues.iter_mut().for_each(VecDeque::clear);
                self.uplinks[gone].ends.fill(f64::INFINITY);
                let id = self.id(gone);
                for at in 1..self.plans.len() {
                    self.plans[at].leave(id);
                    (0..self.plans.len()).for_each(|owner| self.ask(at, owner));
                }
            }
            Happens::Look { at, owner } => {
                self.looks.remove(&(at, owner));
                self.ask(at, owner);
            }
        }
    }

    fn ask(&mut self, at: usize, owner: usize) {
        if self.ended[at].is_some() {
            return;
        }
        let (id, now) = (self.id(owner), self.instant());
        while let Some(ask) = self.plans[at].next(id, now) {
            for chunk in chunks(ask).1 {
                self.after(self.network.latency, Happens::Asked { at: owner, from: at, chunk });
            }
        }
        let wait = self.plans[at].retry(id, now).filter(|_| self.looks.insert((at, owner)));
        if let Some(wait) = wait {
            self.after(wait.as_secs_f64(), Happens::Look { at, owner });
        }
    }

    fn came(&mut self, at: usize, from: usize, chunk: u32) {
        if self.ended[at].is_some() {
            return;
        }
        let (id, now) = (self.id(from), self.instant());
        match self.plans[at].delivered(id, FILE, chunk, true, now) {
            Verdict::Keep => {}
            verdict => {
                assert_eq!(verdict, Verdict::Known);
                self.twice += 1;
            }
        }
        for other in 1..self.plans.len() {
            if other != at && self.ended[other].is_none() {
                let busy = self.network.news_behind_answers
                    && self.uplinks[at].queues[other].front().is_some();
                let wait = if busy {
                    self.advance(at);
                    let uplink = &self.uplinks[at];
                    (uplink.ends[other] - uplink.clock) * self.total(at) / self.network.uplink
                } else {
                    0.0
                };
                self.after(self.network.news + wait, Happens::News { at: other, from: at, chunk });
            }
        }
        if self.plans[at].is_complete(FILE) {
            self.end(at);
        } else {
            self.ask(at, from);
        }
    }

    /// A node wants no more.
    fn end(&mut self, at: usize) {
        self.ended[at] = Some(self.now);
        for owner in 0..self.plans.len() {
            self.advance(owner);
            self.uplinks[owner].queues[at].clear();
            self.uplinks[owner].ends[at] = f64::INFINITY;
            self.send(owner);
        }
    }

    /// The shares of all answers that a node is sending.
    fn total(&self, at: usize) -> f64 {
        let uplink = &self.uplinks[at];
        let busy = uplink.ends.iter().zip(&uplink.shares).filter(|(end, _)| end.is_finite());
        busy.map(|(_, share)| share).sum()
    }

    fn advance(&mut self, at: usize) {
        let total = self.total(at);
        let uplink = &mut self.uplinks[at];
        if total > 0.0 {
            uplink.clock += (self.now - uplink.since) * self.network.uplink / total;
        }
        uplink.since = self.now;
    }

    /// Starts answers where there are none, and says when the next is through.
    fn send(&mut self, at: usize) {
        for other in 0..self.plans.len() {
            let uplink = &self.uplinks[at];
            if !uplink.queues[other].is_empty() && uplink.ends[other].is_infinite() {
                let share = 1.0 + self.chance() * (self.network.uneven - 1.0);
                let uplink = &mut self.uplinks[at];
                uplink.shares[other] = share;
                uplink.ends[other] = uplink.clock + CHUNK / share;
            }
        }
        let uplink = &mut self.uplinks[at];
        uplink.version += 1;
        let version = uplink.version;
        let next = uplink.ends.iter().fold(f64::INFINITY, |next, &end| next.min(end));
        if next.is_finite() {
            let left = (next - uplink.clock).max(0.0) * self.total(at) / self.network.uplink;
            self.after(left, Happens::Sent { at, version });
        }
    }

    fn sent(&mut self, at: usize) {
        self.advance(at);
        for other in 0..self.plans.len() {
            let uplink = &mut self.uplinks[at];
            if uplink.ends[other] > uplink.clock + 1.0 {
                continue;
            }
            uplink.ends[other] = f64::INFINITY;
            let Some(chunk) = uplink.queues[other].pop_front() else { continue };
            uplink.sent[index(chunk)] += 1;
            self.after(self.network.latency, Happens::Came { at: other, from: at, chunk });
        }
        self.send(at);
    }
}

/// The worst of some runs.
fn worst(networks: impl Iterator<Item = Network>) -> Outcome {
    let mut worst = Outcome { last: 0.0, seeder: 0.0, twice: 0.0 };
    for network in networks {
        let outcome = Simulation::new(network).run();
        worst.last = worst.last.max(outcome.last);
        worst.seeder = worst.seeder.max(outcome.seeder);
        worst.twice = worst.twice.max(outcome.twice);
    }
    worst
}

#[test]
fn a_swarm_ends_little_later_than_one() {
    for (nodes, bound) in [(1, 1.05), (2, 1.05), (4, 1.1), (8, 1.15), (16, 1.2)] {
        let outcome = worst((0..3).map(|seed| Network::slow(nodes, seed)));
        println!("{nodes} nodes: {outcome:.3?}");
        assert!(outcome.last < bound, "{nodes} nodes: {outcome:?}");
        assert!(outcome.seeder < bound, "who has it all sends little twice: {outcome:?}");
        assert!(outcome.twice < 0.01, "nobody gets much twice: {outcome:?}");
    }
}

/// Who does not know the others asks for what they ask for. So here the bounds
/// are those for real networks.
#[test]
fn a_swarm_bears_what_a_network_is_like() {
    type Change = fn(&mut Network);
    let cases: [(_, Change); 5] = [
        ("uneven shares", |network| network.uneven = 4.0),
        ("news behind answers", |network| network.news_behind_answers = true),
        ("who meet within a second", |network| network.meet = 1.0),
        ("20 ms apart", |network| network.latency = 0.02),
        ("one of which dies", |network| network.dies = Some(2.0)),
    ];
    for (nodes, bound) in [(8, 1.2), (16, 1.3)] {
        for (name, change) in cases {
            let outcome = worst((0..3).map(|seed| {
                let mut network = Network::slow(nodes, seed);
                change(&mut network);
                network
            }));
            println!("{nodes} nodes, {name}: {outcome:.3?}");
            assert!(outcome.last < bound, "{nodes} nodes, {name}: {outcome:?}");
        }
    }
}
