//! How a run may end: a model that is too simple to be wrong. It looks at the
//! schedule alone, not at what the programs did.

use super::scenario::{Disk, Event, How, Scenario};
use crate::common::rogue::Fault;

/// How a download may end. That it ends whole is always right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing stands in its way: it must end whole.
    Whole,
    /// No owner that is honest, alive and within reach has the file at the end.
    NoOwner,
    /// Its disk is full.
    NoSpace,
    /// Its own node is gone.
    Gone,
}

/// What is left when everything has happened.
#[derive(Debug, Clone)]
pub struct Left {
    nodes: Vec<Node>,
    honest_rogues: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Node {
    alive: bool,
    within_reach: bool,
    full: bool,
    /// Files that it had at the start and that are what they were.
    intact: Vec<bool>,
}

impl Left {
    /// After all events of a scenario.
    pub fn after(scenario: &Scenario) -> Self {
        let nodes = scenario.nodes.iter().map(|node| Node {
            alive: true,
            within_reach: true,
            full: matches!(node.disk, Disk::TooSmall(_)),
            intact: node.has.clone(),
        });
        let honest = scenario.rogues.iter().filter(|rogue| rogue.fault == Fault::None);
        let mut left = Self {
            nodes: nodes.collect(),
            honest_rogues: honest.map(|rogue| rogue.file).collect(),
        };
        for (_, event) in &scenario.events {
            left.see(*event);
        }
        left
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Kill(node) => self.nodes[node].alive = false,
            Event::Start(node) => self.nodes[node].alive = true,
            Event::Cut(node) => self.nodes[node].within_reach = false,
            Event::Heal(node) => self.nodes[node].within_reach = true,
            Event::Fill(node) => self.nodes[node].full = true,
            Event::Change { how: How::Touch, .. } => {}
            Event::Change { node, file, .. } => self.nodes[node].intact[file] = false,
            // Whoever stands still goes on; a tracker comes back.
            Event::Stop(_) | Event::Continue(_) | Event::KillTracker | Event::StartTracker => {}
        }
    }

    /// How the download of `file` by `node` may end.
    pub fn expects(&self, node: usize, file: usize) -> Expected {
        let owner = |node: &Node| node.alive && node.within_reach && node.intact[file];
        let honest = self.nodes.iter().any(owner) || self.honest_rogues.contains(&file);
        match &self.nodes[node] {
            node if !node.alive => Expected::Gone,
            node if node.full => Expected::NoSpace,
            _ if honest => Expected::Whole,
            _ => Expected::NoOwner,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::trial::scenario::{NodePlan, RoguePlan, Want};

    /// Two owners of one file, and one that wants it.
    fn simple(events: &[Event]) -> Scenario {
        let node = |has: bool| NodePlan {
            has: vec![has],
            wants: if has { vec![] } else { vec![Want { file: 0, at: Duration::ZERO }] },
            rate: 1,
            delay: Duration::ZERO,
            disk: Disk::Large,
        };
        Scenario {
            files: vec![1],
            nodes: vec![node(true), node(true), node(false)],
            rogues: vec![],
            events: events.iter().map(|event| (Duration::ZERO, *event)).collect(),
        }
    }

    fn expected(scenario: &Scenario) -> Expected {
        Left::after(scenario).expects(2, 0)
    }

    #[test]
    fn one_honest_owner_within_reach_suffices() {
        let change = |node, how| Event::Change { node, file: 0, how };
        for (events, end) in [
            (&[][..], Expected::Whole),
            (&[Event::Kill(0)], Expected::Whole),
            (&[Event::Kill(0), Event::Cut(1)], Expected::NoOwner),
            (&[Event::Kill(0), Event::Cut(1), Event::Heal(1)], Expected::Whole),
            (&[Event::Kill(0), change(1, How::Append)], Expected::NoOwner),
            (&[Event::Kill(0), change(1, How::Touch)], Expected::Whole),
            (&[change(0, How::Delete), Event::Kill(1), Event::Start(1)], Expected::Whole),
            (&[Event::Kill(2), Event::Start(2)], Expected::Whole),
            (&[Event::Kill(2)], Expected::Gone),
            (&[Event::Fill(2), Event::Kill(0), Event::Kill(1)], Expected::NoSpace),
        ] {
            assert_eq!(expected(&simple(events)), end, "{events:?}");
        }
    }

    #[test]
    fn a_rogue_is_no_owner_unless_it_is_honest() {
        let mut scenario = simple(&[Event::Kill(0), Event::Kill(1)]);
        let rogue = |fault| RoguePlan { file: 0, fault, pause: Duration::ZERO };
        scenario.rogues = vec![rogue(Fault::WrongOnce)];
        assert_eq!(expected(&scenario), Expected::NoOwner);
        scenario.rogues = vec![rogue(Fault::None)];
        assert_eq!(expected(&scenario), Expected::Whole);
    }

    /// Over many runs everything occurs, and most downloads must end whole:
    /// otherwise a program that gives up would pass.
    #[test]
    fn the_scenarios_are_many_sided() {
        let (mut ends, mut kinds) = (Vec::new(), BTreeSet::new());
        for run in 0..500 {
            let scenario = Scenario::of(1, run);
            assert!((2..9).contains(&scenario.nodes.len()));
            let left = Left::after(&scenario);
            for (number, node) in scenario.nodes.iter().enumerate() {
                ends.extend(node.wants.iter().map(|want| left.expects(number, want.file)));
            }
            kinds.extend(scenario.events.iter().map(|(_, event)| format!("{event:?}")));
            for file in 0..scenario.files.len() {
                assert!(scenario.nodes.iter().any(|node| node.has[file]), "run {run}");
            }
            assert!(scenario.nodes.iter().any(|node| !node.wants.is_empty()), "run {run}");
        }
        let share = |end| ends.iter().filter(|other| **other == end).count() * 100 / ends.len();
        assert!((50..95).contains(&share(Expected::Whole)), "{}", share(Expected::Whole));
        assert!(share(Expected::NoOwner) >= 3, "{}", share(Expected::NoOwner));
        assert!(ends.contains(&Expected::NoSpace));
        for kind in [
            "Kill(",
            "Start(",
            "Stop(",
            "Continue(",
            "Cut(",
            "Heal(",
            "KillTracker",
            "Fill(",
            "Overwrite",
            "Replace",
            "Truncate",
            "Append",
            "Delete",
            "Touch",
        ] {
            assert!(kinds.iter().any(|seen| seen.contains(kind)), "never: {kind}");
        }
    }
}
