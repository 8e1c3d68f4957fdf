//! One schedule: a network grows, suffers, heals; and what must hold then.

use std::time::Duration;

use shoal_common::limits::HEARTBEATS;
use shoal_common::protocol::succession::{Reign, Sight};

use super::super::chance::Chance;
use super::super::{FRESH, Way};
use super::entity::{BEAT, Entity, Session, address};
use super::lies::Liar;
use super::world::{HOME, World};

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// All faults at random, up to 8 nodes.
    Any,
    /// A partition, faults in its parts, and what must hold in each of them.
    Partition,
    /// Whoever is tracker dies, again and again.
    Trackers,
    /// As any, with one or two nodes.
    Small,
    /// As any, while somebody lies.
    Lies,
    /// Short heartbeats, and the eldest of many nodes lose power together.
    Power,
    /// Nothing.
    Calm,
}

/// Time in which a network without further faults has one tracker.
const SETTLE: Duration = Duration::from_secs(25);

pub(super) struct Schedule {
    kind: Kind,
    world: World,
}

impl Schedule {
    pub(super) fn new(seed: u64, kind: Kind, aloud: bool) -> Self {
        let mut chance = Chance::new(seed);
        let (least, most) = match kind {
            Kind::Small => (1, 2),
            Kind::Power => (9, 16),
            _ => (1, 8),
        };
        let mut below = |bound: u32| {
            u32::try_from(chance.up_to(Duration::from_micros(bound.into())).as_micros()).unwrap()
        };
        let nodes = least + below(most) as usize;
        let beat = match kind {
            Kind::Power => [BEAT / 10, BEAT / 5, BEAT / 3, BEAT / 2][below(4) as usize],
            _ => BEAT,
        };
        let mut entities: Vec<Entity> = (0..=nodes)
            .map(|index| {
                let peer = 1 + below(u32::try_from(nodes).unwrap()) as usize;
                let peers = if peer == index { vec![] } else { vec![peer] };
                Entity::new(index, index == HOME, peers, beat, seed)
            })
            .collect();
        // Behind the others, and never started.
        let liar = (kind == Kind::Lies).then(|| Liar::new(entities.len(), seed % 2 == 1));
        entities.extend(liar.iter().map(|liar| Entity::new(liar.index, false, vec![], beat, seed)));
        let mut world = World::new(entities, chance, aloud);
        world.liar = liar;
        Self { kind, world }
    }

    pub(super) fn run(mut self) {
        self.grow();
        match self.kind {
            Kind::Calm => return self.stays_as_it_is(),
            Kind::Any | Kind::Small => {
                for _ in 0..3 + self.world.below(8) {
                    self.fault();
                }
            }
            Kind::Lies => {
                for _ in 0..3 + self.world.below(8) {
                    self.fault();
                    for _ in 0..self.world.below(4) {
                        self.world.lie();
                    }
                }
            }
            Kind::Partition => self.partition(),
            Kind::Power => self.power(),
            Kind::Trackers => self.tracker_after_tracker(),
        }
        self.heal();
        self.settles();
        if self.world.below(4) == 0 {
            self.stays_as_it_is();
        }
    }

    fn moment(&mut self, most: u64) {
        let time = self.world.chance.up_to(Duration::from_millis(most));
        self.world.pass(time);
    }

    fn grow(&mut self) {
        for index in 0..self.world.count() {
            self.world.start(index);
            if self.kind == Kind::Lies && self.world.below(3) == 0 {
                self.world.lie();
            }
            self.moment(200);
        }
        self.world.pass(Duration::from_secs(3));
        // A lie may have its effect just now.
        if self.kind != Kind::Lies {
            self.check(0);
        }
    }

    fn fault(&mut self) {
        let count = self.world.count();
        let index = self.world.below(count);
        let entity = &self.world.entities[index];
        let (alive, paused) = (entity.alive, entity.paused);
        match self.world.below(12) {
            0 | 1 if alive => self.world.kill(index),
            2 if self.world.entities[HOME].alive => self.world.kill(HOME),
            3 if !alive => self.world.start(index),
            4 if !self.world.entities[HOME].alive => self.world.start(HOME),
            5 if alive && !paused => self.world.pause(index),
            6 if alive && paused => self.world.go_on(index),
            7 => self.split(),
            8 => self.join(),
            9 => self.world.loss = [0, 5, 20, 50][self.world.below(4)],
            10 => self.world.delay = Duration::from_millis([10, 50, 300, 900][self.world.below(4)]),
            11 => {
                if let Some(tracker) = self.tracker() {
                    self.world.kill(tracker);
                }
            }
            _ => {}
        }
        self.moment(5000);
    }

    fn tracker(&self) -> Option<usize> {
        let mut running = self.world.entities.iter().filter(|entity| entity.runs());
        running.find(|entity| reigns(entity, self.world.now)).map(|entity| entity.index)
    }

    fn split(&mut self) {
        let parts = 2 + self.world.below(2);
        for index in 0..self.world.count() {
            self.world.islands[index] = self.world.below(parts);
        }
        self.world.say(|| format!("islands {:?}", self.world.islands));
    }

    fn join(&mut self) {
        self.world.say(|| "no islands".to_owned());
        self.world.cut = None;
        self.world.islands.fill(0);
    }

    /// In each part of a network that lasts there is one tracker.
    fn partition(&mut self) {
        if self.world.below(2) == 0 {
            self.world.kill(HOME);
            self.moment(6000);
        }
        let council = self.tracker().map(|tracker| {
            let council = self.world.entities[tracker].machine.council();
            council.iter().map(|member| member.id).collect()
        });
        self.split();
        self.world.cut = council;
        self.moment(9000);
        for _ in 0..self.world.below(3) {
            let count = self.world.count();
            let index = self.world.below(count);
            if self.world.entities[index].alive {
                self.world.kill(index);
            } else {
                self.world.start(index);
            }
            self.moment(4000);
        }
        self.world.pass(SETTLE);
        for island in 0..3 {
            self.check(island);
        }
        let kept = self.kept_office();
        self.join();
        self.moment(9000);
        if let Some((tracker, reign)) = kept {
            let machine = &self.world.entities[tracker].machine;
            let known = machine.known().unwrap();
            assert!(known.is(&reign), "{reign:?} became {known:?}: {}", self.picture());
        }
    }

    /// A tracker that a majority of its council follows, if there is no home tracker
    /// to which it would give way, nor an elder of the same epoch.
    fn kept_office(&self) -> Option<(usize, Reign)> {
        let world = &self.world;
        let reigning = world.entities.iter().filter(|entity| entity.runs());
        let reigning = reigning.filter(|entity| reigns(entity, world.now));
        let best = reigning.filter_map(|entity| entity.machine.known().map(|r| (entity.index, r)));
        let (index, reign) = best.reduce(|a, b| if a.1.beats(&b.1) { a } else { b })?;
        let is_kept = reign.elected && !world.entities[HOME].alive;
        is_kept.then_some((index, reign))
    }

    /// The tracker and some of the eldest are gone, and nothing is heard from where they
    /// were: not even that nobody is there.
    fn power(&mut self) {
        for _ in 0..1 + self.world.below(2) {
            let Some(tracker) = self.tracker() else { break };
            let mut line = self.world.entities[tracker].line();
            line.truncate(self.world.below(12));
            for index in 0..self.world.count() {
                let entity = &self.world.entities[index];
                if entity.runs() && (index == tracker || line.iter().any(|m| m.id == entity.id)) {
                    // Where it is alone.
                    self.world.islands[index] = 100 + index;
                    self.world.kill(index);
                }
            }
            self.world.pass(SETTLE * 4 / 5);
            self.check(0);
        }
        for _ in 0..self.world.below(3) {
            self.fault();
        }
    }

    fn tracker_after_tracker(&mut self) {
        for _ in 0..1 + self.world.below(4) {
            if let Some(tracker) = self.tracker() {
                if self.world.below(3) == 0 {
                    self.world.pause(tracker);
                } else {
                    self.world.kill(tracker);
                }
            }
            self.moment(6000);
        }
        if !self.world.entities[HOME].alive {
            self.world.start(HOME);
        }
        // The one that hands back may die over it.
        self.moment(2000);
        if self.world.below(3) == 0
            && let Some(tracker) = self.tracker()
        {
            self.world.kill(tracker);
        }
    }

    fn heal(&mut self) {
        let is_silent = self.world.below(2) == 0;
        self.world.leave(is_silent);
        self.join();
        self.world.loss = 0;
        self.world.delay = Duration::from_millis(30);
        for index in 0..self.world.count() {
            if self.world.entities[index].paused {
                self.world.go_on(index);
            }
            if !self.world.entities[index].alive && self.world.below(3) > 0 {
                self.world.start(index);
            }
        }
    }

    fn settles(&mut self) {
        if self.world.liar.as_ref().is_some_and(|liar| liar.is_slow) {
            self.world.pass(3 * HEARTBEATS.1);
        }
        self.world.pass(SETTLE);
        self.check(0);
        // A home tracker that never learns of a council has a new one in the end.
        if self.tracker().is_some_and(|tracker| self.lacks_council(tracker)) {
            self.world.pass(FRESH);
            self.check(0);
            let tracker = self.tracker().unwrap();
            assert!(!self.lacks_council(tracker), "no council: {}", self.picture());
        }
    }

    fn lacks_council(&self, tracker: usize) -> bool {
        let tracker = &self.world.entities[tracker];
        tracker.machine.council().is_empty() && !tracker.guests.is_empty()
    }

    /// What works is not touched.
    fn stays_as_it_is(&mut self) {
        let before = self.check(0);
        self.world.pass(SETTLE);
        let after = self.check(0);
        let same = match (before, after) {
            (Some(before), Some(after)) => before.is(&after),
            (before, after) => before.is_none() && after.is_none(),
        };
        assert!(same, "{before:?} became {after:?} without a reason");
    }

    /// Exactly one tracker, known to all who can reach each other. Returns its
    /// reign.
    fn check(&self, island: usize) -> Option<Reign> {
        let world = &self.world;
        let here = |entity: &&Entity| entity.runs() && world.islands[entity.index] == island;
        let entities: Vec<&Entity> = world.entities.iter().filter(here).collect();
        let trackers: Vec<&Entity> =
            entities.iter().copied().filter(|entity| reigns(entity, world.now)).collect();
        let is_in = |entity: &Entity| entity.index == HOME || entity.machine.joined() > 0;
        for entity in entities.iter().filter(|entity| entity.index != HOME) {
            match trackers.iter().find(|tracker| follows(entity, tracker)) {
                Some(tracker) => self.is_known(entity, tracker),
                None => {
                    let knows = self.knows(entity);
                    let is_led = |other: &Entity| trackers.iter().any(|one| follows(other, one));
                    let found = entities.iter().find(|other| knows(other) && is_led(other));
                    let is_lost = found.is_none() && !is_in(entity);
                    assert!(is_lost, "{} follows nobody: {}", entity.index, self.picture());
                }
            }
        }
        for tracker in &trackers {
            // Who was led away by a liar, and those who came to it, may know nobody of the
            // network; then they are another one.
            let knows = self.knows(tracker);
            let stranger = entities
                .iter()
                .filter(|_| world.liar.is_some())
                .find(|other| is_in(other) && knows(other) && !follows(other, tracker));
            assert!(
                stranger.is_none() && (world.liar.is_some() || trackers.len() == 1),
                "{} and others are trackers: {}",
                tracker.index,
                self.picture()
            );
            let numbers: Vec<u64> = tracker.line().iter().map(|member| member.joined).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "join numbers: {numbers:?}");
        }
        let home = entities.iter().copied().find(|entity| entity.index == HOME);
        let in_charge = home.or(trackers.first().copied());
        let is_in_charge = home.is_none_or(|home| reigns(home, world.now));
        assert!(is_in_charge, "home is not in charge: {}", self.picture());
        in_charge.and_then(|tracker| tracker.machine.known())
    }

    /// Whether this one has a way to another.
    fn knows(&self, entity: &Entity) -> impl Fn(&Entity) -> bool {
        let lost = entity.machine.known().map(|reign| Way::At(reign.address));
        let ways: Vec<Way> = entity.machine.others().into_iter().chain(lost).collect();
        let peers = entity.peers.clone();
        let index = entity.index;
        move |other| {
            let is_way = |way: &Way| match way {
                Way::Home => other.index == HOME,
                Way::Peer(place) => peers.get(*place) == Some(&other.index),
                Way::At(at) => *at == address(other.index),
            };
            other.index == HOME || other.index != index && ways.iter().any(is_way)
        }
    }

    /// That the tracker knows of who follows it, and that they agree on the council.
    fn is_known(&self, entity: &Entity, tracker: &Entity) {
        let guest = tracker.guests.get(&entity.id);
        assert!(guest.is_some_and(|guest| guest.session.is_some()), "{}", self.picture());
        // A home tracker that has none yet leaves the others theirs.
        let council = tracker.machine.council();
        assert!(council.is_empty() || entity.machine.council() == council);
    }

    fn picture(&self) -> String {
        let entities = self.world.entities.iter().map(|entity| {
            format!(
                "\n  {} island {} {} joined {} {:?} {:?} session {:?}",
                entity.index,
                self.world.islands[entity.index],
                if entity.runs() { "runs" } else { "does not run" },
                entity.machine.joined(),
                entity.machine.sight(self.world.now),
                entity.machine.known(),
                entity.session,
            )
        });
        entities.collect()
    }
}

fn reigns(entity: &Entity, now: Duration) -> bool {
    matches!(entity.machine.sight(now), Sight::Reigns | Sight::Doubts)
}

fn follows(entity: &Entity, tracker: &Entity) -> bool {
    let reign = tracker.machine.known();
    let is_with = matches!(entity.session, Session::Open { with, .. } if with == tracker.index);
    let is_tracker = entity.index == tracker.index && entity.index == HOME;
    is_tracker || is_with && entity.machine.known().zip(reign).is_some_and(|(own, of)| own.is(&of))
}
