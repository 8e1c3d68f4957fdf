//! Nodes, trackers and the network between them, in steps of a few milliseconds.

mod fault;
mod node;
mod tracker;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use shoal_common::chat::entry::{Entry, Event, LogId, Position};
use shoal_common::chat::log::Kept;
use shoal_common::ident::NodeId;
use shoal_common::protocol::chat::{Attached, FromReplica, Summary, ToReplica};

use node::SimNode;
use tracker::{SimTracker, author_of};

/// One step, in milliseconds.
const STEP: u64 = 20;

/// From a node to a tracker.
#[derive(Debug, Clone)]
enum Up {
    Attach { summary: Summary, knows: Option<LogId>, after: Position },
    Submit { previous: u64, event: Event },
    Answer(FromReplica),
}

/// From a tracker to a node.
#[derive(Debug, Clone)]
enum Down {
    Attached(Attached),
    /// Position, author and number of a message; whether it has an effect.
    Post(Position, Option<(NodeId, u64)>, bool),
    UpTo(Position),
    Ask(ToReplica),
}

/// A connection of a node to a tracker. Messages arrive in order, but for those
/// of replicas: they may be lost, doubled and overtaken.
struct Wire {
    number: u64,
    node: usize,
    tracker: usize,
    up: VecDeque<(u64, Up)>,
    down: VecDeque<(u64, Down)>,
    /// Nothing gets through, and nobody is told.
    is_cut: bool,
}

/// What happened in runs.
#[derive(Debug, Default, Clone)]
pub struct Figures {
    pub accepted: u64,
    pub reigns: u64,
    pub councils: u64,
    pub kills: u64,
    pub disks: u64,
    pub cuts: u64,
    pub tears: u64,
    pub wishes: u64,
    pub revivals: u64,
    pub meetings: u64,
    pub elders_lost: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.reigns += other.reigns;
        self.councils += other.councils;
        self.kills += other.kills;
        self.disks += other.disks;
        self.cuts += other.cuts;
        self.tears += other.tears;
        self.wishes += other.wishes;
        self.revivals += other.revivals;
        self.meetings += other.meetings;
        self.elders_lost += other.elders_lost;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages accepted, {} reigns, {} changes of the council, {} kills, {} in mid-write, \
             {} disks lost, {} cuts, {} wishes to revive, {} revivals, {} logs that met, \
             {} of which the elder was lost",
            self.accepted,
            self.reigns,
            self.councils,
            self.kills,
            self.tears,
            self.disks,
            self.cuts,
            self.wishes,
            self.revivals,
            self.meetings,
            self.elders_lost
        )
    }
}

pub struct World {
    rng: SmallRng,
    aloud: bool,
    now_ms: u64,
    nodes: Vec<SimNode>,
    trackers: Vec<SimTracker>,
    wires: Vec<Wire>,
    wires_made: u64,
    /// In which part of the network somebody is: nodes, then trackers.
    parts: Vec<usize>,
    /// Whether things go wrong.
    is_rough: bool,
    /// What stands at each position of each log, once anyone says that it is committed.
    truth: BTreeMap<LogId, BTreeMap<Position, Arc<Entry>>>,
    /// How often a log was begun without most of those that held the one before.
    generation: u64,
    figures: Figures,
}

impl World {
    /// A whole run: calm, rough, calm again; then all must be well.
    pub fn run(seed: u64, aloud: bool) -> Self {
        let mut world = Self::new(seed, aloud);
        if seed.is_multiple_of(2) {
            world.meet_another_log();
        }
        world.pass(2_000);
        world.is_rough = true;
        let rough = world.rng.random_range(2_000..9_000);
        world.pass(rough);
        world.is_rough = false;
        world.heal();
        world.pass_until_quiet(25_000);
        if seed.is_multiple_of(8) {
            world.lose_most_and_go_on();
        }
        world.check_end(seed);
        world
    }

    pub fn figures(&self) -> Figures {
        self.figures.clone()
    }

    fn new(seed: u64, aloud: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes = rng.random_range(1..=9);
        let trackers = rng.random_range(1..=3);
        // In every other run so little is kept that who is away for a while has
        // to be given a new base.
        let few = Kept { entries: rng.random_range(5..60), ..Kept::default() };
        let kept = if rng.random_bool(0.5) { few } else { Kept::default() };
        Self {
            nodes: (0..nodes).map(|number| SimNode::new(number, kept)).collect(),
            trackers: (0..trackers).map(|number| SimTracker::new(number, kept)).collect(),
            parts: vec![0; nodes + trackers],
            rng,
            aloud,
            now_ms: 0,
            wires: Vec::new(),
            wires_made: 0,
            is_rough: false,
            truth: BTreeMap::new(),
            generation: 0,
            figures: Figures::default(),
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            println!("{:>6} {}", self.now_ms, what());
        }
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms)
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms += STEP;
            if self.is_rough {
                self.misfortune();
            }
            self.connect();
            for node in 0..self.nodes.len() {
                self.live(node);
            }
            for tracker in 0..self.trackers.len() {
                self.rule(tracker);
            }
            self.deliver();
        }
    }

    /// Passes until nobody waits and all have heard the same, at most so long.
    fn pass_until_quiet(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end && !self.is_quiet() {
            self.pass(100);
        }
    }

    fn is_quiet(&self) -> bool {
        let heard = self.nodes[0].member.heard();
        let truth = heard.log.and_then(|log| self.truth.get(&log));
        let last = truth.and_then(|truth| truth.keys().next_back().copied()).unwrap_or(0);
        self.nodes.iter().all(|node| node.member.waiting().len() == 0)
            && self.nodes.iter().all(|node| node.member.heard() == heard)
            && heard.position == last
    }

    /// A wire for each living node without one, to the tracker that it follows.
    fn connect(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let follows = node.follows;
            let ready = node.is_up && self.trackers[follows].is_up && node.wire.is_none();
            let reach = self.parts[at] == self.parts[self.nodes.len() + follows];
            if !ready || !reach || !self.rng.random_bool(0.2) {
                continue;
            }
            self.wires_made += 1;
            let number = self.wires_made;
            let node = &mut self.nodes[at];
            node.wire = Some(number);
            let attach = node.attach();
            let wire = Wire {
                number,
                node: at,
                tracker: follows,
                up: VecDeque::from([(self.now_ms + STEP, attach)]),
                down: VecDeque::new(),
                is_cut: false,
            };
            self.wires.push(wire);
        }
    }

    /// Ends connections; both sides notice.
    fn cut_off(&mut self, which: impl Fn(&Wire) -> bool) {
        let (gone, kept) = std::mem::take(&mut self.wires).into_iter().partition(|w| which(w));
        self.wires = kept;
        let gone: Vec<Wire> = gone;
        for wire in gone {
            if self.nodes[wire.node].wire == Some(wire.number) {
                self.nodes[wire.node].hung_up();
            }
            let id = self.nodes[wire.node].id;
            let now = self.now();
            self.trackers[wire.tracker].hung_up(id, wire.number, now);
        }
    }

    fn delay(&mut self) -> u64 {
        if self.is_rough && self.rng.random_bool(0.05) {
            return self.now_ms + self.rng.random_range(0..400);
        }
        self.now_ms + self.rng.random_range(0..3) * STEP
    }

    /// How often a message of the replicas comes: not, once, or twice.
    fn copies(&mut self, is_of_replica: bool) -> usize {
        match (self.is_rough && is_of_replica, self.rng.random_range(0..100)) {
            (true, 0..3) => 0,
            (true, 3..8) => 2,
            _ => 1,
        }
    }

    fn send_up(&mut self, number: u64, message: Up) {
        // What is submitted tolerates loss, too.
        let rough = matches!(message, Up::Answer(_) | Up::Submit { .. });
        for _ in 0..self.copies(rough) {
            let at = self.delay();
            if let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) {
                wire.up.push_back((at, message.clone()));
            }
        }
    }

    fn send_down(&mut self, number: u64, message: Down) {
        for _ in 0..self.copies(matches!(message, Down::Ask(_))) {
            let at = self.delay();
            if let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) {
                wire.down.push_back((at, message.clone()));
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now_ms;
        let numbers: Vec<u64> = self.wires.iter().map(|wire| wire.number).collect();
        for number in numbers {
            let (mut ups, mut downs) = (Vec::new(), Vec::new());
            let rough = self.is_rough;
            if let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) {
                if wire.is_cut {
                    continue;
                }
                let free = |message: &Up| rough && matches!(message, Up::Answer(_));
                take(&mut wire.up, now, free, &mut ups);
                let free = |message: &Down| rough && matches!(message, Down::Ask(_));
                take(&mut wire.down, now, free, &mut downs);
            }
            for message in ups {
                self.tracker_hears(number, message);
            }
            for message in downs {
                self.node_hears(number, message);
            }
        }
    }

    fn check_end(&self, seed: u64) {
        let figures = &self.figures;
        let mut all: BTreeMap<Position, (NodeId, u64)> = BTreeMap::new();
        for node in &self.nodes {
            for (position, author, number) in &node.shown {
                let known = *all.entry(*position).or_insert((*author, *number));
                assert_eq!(known, (*author, *number), "seed {seed}: two lines at {position}");
            }
            let in_order = node.shown.windows(2).all(|pair| pair[0].0 < pair[1].0);
            assert!(in_order, "seed {seed}: {} shows lines twice", node.name());
        }
        let truths = || self.truth.values().flatten();
        for node in &self.nodes {
            for (position, author, number) in &node.shown_before {
                let own = Some((*author, *number));
                let is_there = truths().any(|(at, e)| at == position && author_of(e) == own);
                assert!(is_there, "seed {seed}: {} has shown what is nowhere", node.name());
            }
            let waiting = node.member.waiting().len();
            assert_eq!(waiting, 0, "seed {seed}: {} still waits; {figures}", node.name());
            let was_away = |at: Position| node.missed.iter().any(|(a, b)| *a < at && at <= *b);
            let expected: Vec<_> = all
                .iter()
                .filter(|(position, _)| !was_away(**position))
                .map(|(position, (author, number))| (*position, *author, *number))
                .collect();
            let seen: Vec<_> =
                node.shown.iter().filter(|(at, ..)| !was_away(*at)).copied().collect();
            assert_eq!(seen, expected, "seed {seed}: {} shows other lines", node.name());
            assert_eq!(node.acknowledged.len(), node.written, "seed {seed}: {}", node.name());
            for number in &node.acknowledged {
                let own = Some((node.id, *number));
                let is_there = truths().any(|(_, entry)| author_of(entry) == own);
                assert!(is_there, "seed {seed}: {number} of {} is lost", node.name());
                let shown = all.values().filter(|line| Some(**line) == own).count();
                assert!(shown <= 1, "seed {seed}: {number} of {} counts twice", node.name());
            }
        }
    }
}

/// Takes what is due, in order but for what is `free`.
fn take<M>(queue: &mut VecDeque<(u64, M)>, now: u64, free: impl Fn(&M) -> bool, into: &mut Vec<M>) {
    let mut waiting = VecDeque::new();
    let mut blocked = false;
    for (at, message) in queue.drain(..) {
        let is_free = free(&message);
        if at <= now && (is_free || !blocked) {
            into.push(message);
        } else {
            blocked |= !is_free;
            waiting.push_back((at, message));
        }
    }
    *queue = waiting;
}
