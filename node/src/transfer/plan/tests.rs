use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use shoal_common::limits::MIB;

use super::*;

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn plan(chunks: u64) -> Plan {
    Plan::new(Geometry::of(chunks * MIB).unwrap(), FixedBitSet::new())
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Everything an owner may be asked now.
fn ask(plan: &mut Plan, owner: u8, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| plan.next(id(owner), now)).collect()
}

#[test]
fn the_lowest_first_and_no_more_than_a_pipeline() {
    let now = Instant::now();
    let mut plan = plan(10);
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0], "nobody is asked before it joined");
    assert!(plan.join(id(1)) && plan.join(id(2)));
    assert_eq!(ask(&mut plan, 1, now), [0, 1, 2, 3]);
    assert_eq!(ask(&mut plan, 2, now), [4, 5, 6, 7]);
    assert_eq!(plan.delivered(id(2), 4, true, now), Verdict::Keep);
    assert_eq!(ask(&mut plan, 2, now), [8]);
}

#[test]
fn what_is_here_is_not_fetched_again() {
    let now = Instant::now();
    let mut here = FixedBitSet::with_capacity(6);
    here.insert_range(..4);
    let mut plan = Plan::new(Geometry::of(6 * MIB).unwrap(), here);
    plan.join(id(1));
    assert_eq!(ask(&mut plan, 1, now), [4, 5]);
    plan.delivered(id(1), 4, true, now);
    assert!(!plan.is_complete());
    plan.delivered(id(1), 5, true, now);
    assert!(plan.is_complete());
}

#[test]
fn an_empty_file_is_complete() {
    assert!(plan(0).is_complete());
}

#[test]
fn who_leaves_loses_its_chunks_to_the_others_at_once() {
    let now = Instant::now();
    let mut plan = plan(6);
    plan.join(id(1));
    plan.join(id(2));
    ask(&mut plan, 1, now);
    plan.delivered(id(1), 0, true, now);
    assert_eq!(ask(&mut plan, 2, now), [4, 5]);
    plan.leave(id(1));
    assert_eq!(ask(&mut plan, 2, now), [1, 2]);
    assert_eq!(plan.delivered(id(1), 3, true, now), Verdict::Unasked);
    let shares: Vec<_> = plan.shares().map(|share| (share.bytes, share.here)).collect();
    assert_eq!(shares, [(MIB, false), (0, true)]);
}

#[test]
fn wrong_bytes_are_fetched_again_and_twice_is_once_too_often() {
    let now = Instant::now();
    let mut plan = plan(4);
    plan.join(id(1));
    plan.join(id(2));
    ask(&mut plan, 1, now);
    assert_eq!(plan.delivered(id(1), 0, false, now), Verdict::Wrong);
    assert_eq!(ask(&mut plan, 2, now), [0]);
    assert_eq!(plan.delivered(id(1), 1, false, now), Verdict::Banned);
    assert_eq!(ask(&mut plan, 2, now), [1, 2, 3], "it lost all of its chunks");
    assert!(!plan.join(id(1)), "it can't come back");
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0]);
}

/// Two owners, one of which needs 1 ms and one `slow` for each chunk; the
/// file has as many chunks as both have been given, and the fast one is idle.
fn at_the_end(slow: Duration) -> (Plan, Instant) {
    let start = Instant::now();
    let mut plan = plan(9);
    plan.join(id(1));
    plan.join(id(2));
    ask(&mut plan, 2, start);
    plan.delivered(id(2), 0, true, start + slow);
    ask(&mut plan, 2, start + slow);
    ask(&mut plan, 1, start + slow);
    let mut now = start + slow;
    for chunk in 5..9 {
        now += millis(1);
        plan.delivered(id(1), chunk, true, now);
    }
    (plan, now)
}

#[test]
fn at_the_end_the_slowest_chunks_are_taken_over_last_one_first() {
    let (mut plan, now) = at_the_end(millis(1000));
    assert_eq!(ask(&mut plan, 1, now), [4, 3, 2, 1]);
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0], "no third copy, and not twice the same");
    for chunk in [4, 3, 2, 1] {
        assert_eq!(plan.delivered(id(1), chunk, true, now), Verdict::Keep);
    }
    assert!(plan.is_complete());
    assert_eq!(plan.delivered(id(2), 1, true, now), Verdict::Known);
}

#[test]
fn an_owner_that_is_about_as_fast_is_left_in_peace() {
    let (mut plan, now) = at_the_end(millis(10));
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0]);
    assert_eq!(ask(&mut plan, 1, now + millis(5)), [0_u32; 0]);
    assert!(!ask(&mut plan, 1, now + millis(2000)).is_empty(), "until it stands still");
}

/// Found by an owner that stood still for its whole deadline: five bytes in a
/// millisecond look like a very slow owner, if the time for a byte is counted.
#[test]
fn a_short_last_chunk_does_not_make_an_owner_slow() {
    let start = Instant::now();
    let mut plan = Plan::new(Geometry::of(5 * MIB + 5).unwrap(), FixedBitSet::new());
    plan.join(id(1));
    plan.join(id(2));
    ask(&mut plan, 2, start);
    assert_eq!(ask(&mut plan, 1, start), [4, 5]);
    plan.delivered(id(1), 4, true, start + millis(20));
    plan.delivered(id(1), 5, true, start + millis(40));
    assert_eq!(ask(&mut plan, 1, start + millis(500)), [3, 2, 1, 0]);
}

#[test]
fn a_third_owner_makes_no_third_copy() {
    let (mut plan, now) = at_the_end(millis(1000));
    plan.join(id(3));
    assert_eq!(ask(&mut plan, 1, now).len(), 4);
    assert_eq!(ask(&mut plan, 3, now + millis(60_000)), [0_u32; 0]);
    plan.leave(id(2));
    assert_eq!(ask(&mut plan, 3, now + millis(60_000)).len(), 4, "now there is room for a second");
}

/// What can happen to a plan.
#[derive(Debug, Clone)]
enum Event {
    Join(u8),
    Leave(u8),
    Ask(u8),
    Deliver { owner: u8, correct: bool },
    Pass(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let owner = 1..6_u8;
    prop_oneof![
        1 => owner.clone().prop_map(Event::Join),
        1 => owner.clone().prop_map(Event::Leave),
        6 => owner.clone().prop_map(Event::Ask),
        6 => (owner, prop::bool::weighted(0.9))
            .prop_map(|(owner, correct)| Event::Deliver { owner, correct }),
        2 => (0..2000_u16).prop_map(Event::Pass),
    ]
}

/// A plan beside a simple account of what must be true of it.
struct Checked {
    plan: Plan,
    now: Instant,
    chunks: u32,
    asked: BTreeMap<u8, Vec<u32>>,
    kept: BTreeSet<u32>,
    wrong: BTreeMap<u8, u32>,
    bytes: u64,
}

impl Checked {
    fn new(chunks: u32) -> Self {
        let geometry = Geometry::of(u64::from(chunks) * MIB - 5).unwrap();
        Self {
            plan: Plan::new(geometry, FixedBitSet::new()),
            now: Instant::now(),
            chunks,
            asked: BTreeMap::new(),
            kept: BTreeSet::new(),
            wrong: BTreeMap::new(),
            bytes: 0,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Join(owner) => {
                let trusted = self.wrong.get(&owner).copied().unwrap_or(0) < MAX_WRONG;
                assert_eq!(self.plan.join(id(owner)), trusted);
                self.asked.remove(&owner);
            }
            Event::Leave(owner) => {
                self.plan.leave(id(owner));
                self.asked.remove(&owner);
            }
            Event::Ask(owner) => {
                if let Some(chunk) = self.plan.next(id(owner), self.now) {
                    assert!(!self.kept.contains(&chunk), "asked for what is here");
                    self.asked.entry(owner).or_default().push(chunk);
                }
            }
            Event::Deliver { owner, correct } => self.deliver(owner, correct),
            Event::Pass(time) => self.now += millis(time.into()),
        }
        self.check();
    }

    fn deliver(&mut self, owner: u8, correct: bool) {
        let asked = self.asked.entry(owner).or_default();
        if asked.is_empty() {
            let verdict = self.plan.delivered(id(owner), 0, true, self.now);
            assert_eq!(verdict, Verdict::Unasked);
            return;
        }
        let chunk = asked.remove(0);
        match self.plan.delivered(id(owner), chunk, correct, self.now) {
            Verdict::Keep => {
                assert!(correct, "wrong bytes were accepted");
                assert!(self.kept.insert(chunk), "accepted twice");
                self.bytes += self.plan.length(chunk);
            }
            Verdict::Known => assert!(correct && self.kept.contains(&chunk)),
            verdict @ (Verdict::Wrong | Verdict::Banned) => {
                assert!(!correct);
                let wrong = self.wrong.entry(owner).or_default();
                *wrong += 1;
                assert_eq!(verdict == Verdict::Banned, *wrong == MAX_WRONG);
                if verdict == Verdict::Banned {
                    self.asked.remove(&owner);
                }
            }
            Verdict::Unasked => panic!("it was asked"),
        }
    }

    fn check(&self) {
        for asked in self.asked.values() {
            assert!(asked.len() <= PIPELINE);
        }
        for chunk in 0..self.chunks {
            let copies = self.asked.values().filter(|asked| asked.contains(&chunk)).count();
            assert!(copies <= MAX_COPIES, "{copies} copies of {chunk}");
            let free = self.plan.free.contains(index(chunk));
            let kept = self.kept.contains(&chunk);
            assert_eq!(kept, self.plan.verified.contains(index(chunk)));
            assert_eq!(free, copies == 0 && !kept, "chunk {chunk}: {copies} copies");
        }
        assert_eq!(self.plan.is_complete(), self.kept.len() == index(self.chunks));
        assert_eq!(self.plan.shares().map(|share| share.bytes).sum::<u64>(), self.bytes);
    }
}

proptest! {
    /// Whatever happened before: as long as one honest owner lives, and the
    /// others fail or go, the file becomes complete.
    #[test]
    fn a_plan_keeps_its_invariant_and_an_honest_owner_finishes(
        chunks in 1..30_u32,
        events in prop::collection::vec(event(), 0..300),
    ) {
        let mut checked = Checked::new(chunks);
        for event in &events {
            checked.happen(event);
        }
        let honest = 77;
        checked.happen(&Event::Join(honest));
        for owner in 1..6 {
            checked.happen(&Event::Leave(owner));
        }
        for _ in 0..chunks {
            checked.happen(&Event::Ask(honest));
            checked.happen(&Event::Deliver { owner: honest, correct: true });
        }
        prop_assert!(checked.plan.is_complete());
    }

    /// One that stands still, and never says so, delays the end but does not
    /// prevent it.
    #[test]
    fn one_that_stands_still_holds_nobody_up(
        chunks in 1..30_u32,
        events in prop::collection::vec(event(), 0..100),
    ) {
        let mut checked = Checked::new(chunks);
        for event in &events {
            checked.happen(event);
        }
        let (honest, still) = (77, 78);
        for owner in 1..6 {
            checked.happen(&Event::Leave(owner));
        }
        checked.happen(&Event::Join(still));
        for _ in 0..PIPELINE {
            checked.happen(&Event::Ask(still));
        }
        checked.happen(&Event::Join(honest));
        for _ in 0..2 * chunks {
            checked.happen(&Event::Ask(honest));
            checked.happen(&Event::Pass(10));
            checked.happen(&Event::Deliver { owner: honest, correct: true });
            checked.happen(&Event::Pass(1000));
        }
        prop_assert!(checked.plan.is_complete());
    }
}
