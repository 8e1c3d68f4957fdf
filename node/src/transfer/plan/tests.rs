use std::collections::VecDeque;

use shoal_common::limits::{MAX_ASKS, MIB, MIN_CHUNK};

use super::takeover::MAX_COPIES;
use super::*;

mod anything;
mod end;
mod owners;
mod swarm;
mod tree;

/// The item of tests with one file.
const FILE: ItemId = 0;

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// A simulated time, in seconds, as a number that can be ordered.
fn nanos(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap()
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn geometry(chunks: u64) -> Geometry {
    Geometry::of(chunks * MIN_CHUNK).unwrap()
}

fn set(chunks: impl IntoIterator<Item = u32>) -> FixedBitSet {
    chunks.into_iter().map(index).collect()
}

fn some(chunks: impl IntoIterator<Item = u32>) -> Offer {
    Offer::Some(set(chunks))
}

fn empty(order: Order) -> Plan {
    Plan::new(order, MIB, id(99), 1)
}

/// The plan of one file from front to back, which the owners 1 to 3 offer; they
/// are not here yet.
fn plan(chunks: u64) -> Plan {
    let mut plan = empty(Order::Sequential);
    plan.open(FILE, geometry(chunks), FixedBitSet::new());
    for owner in 1..=3 {
        plan.offer(id(owner), FILE, Offer::All);
    }
    plan
}

/// The chunks that an owner may be asked for now.
fn ask(plan: &mut Plan, owner: u8, now: Instant) -> Vec<u32> {
    let asks = std::iter::from_fn(|| plan.next(id(owner), now));
    asks.flat_map(|ask| chunks(ask).1).collect()
}

/// The chunks that an owner is asked for, in the order of its answers.
fn asked(plan: &Plan, owner: u8) -> Vec<(ItemId, u32)> {
    let owner = plan.owners.iter().find(|known| known.id == id(owner)).unwrap();
    owner.asked.iter().map(|asked| (asked.item, asked.chunk.unwrap())).collect()
}

/// Which chunks are asked for.
fn chunks(ask: Ask) -> (ItemId, std::ops::Range<u32>) {
    match ask.part {
        Part::Manifest => panic!("{ask:?} where chunks are to be asked for"),
        Part::Chunks { first, count } => (ask.item, first..first + count),
    }
}

fn give(plan: &mut Plan, owner: u8, chunk: u32, now: Instant) -> Verdict {
    plan.delivered(id(owner), FILE, chunk, true, now)
}

#[test]
fn the_lowest_first_and_two_ahead_of_who_is_unknown() {
    let now = Instant::now();
    let mut plan = plan(10);
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0], "nobody is asked before it joined");
    assert!(plan.join(id(1)) && plan.join(id(2)));
    assert_eq!(ask(&mut plan, 1, now), [0, 1]);
    assert_eq!(ask(&mut plan, 2, now), [2, 3]);
    assert_eq!(give(&mut plan, 2, 2, now), Verdict::Keep);
    assert_eq!(ask(&mut plan, 2, now), [4]);
    assert_eq!(ask(&mut plan, 4, now), [0_u32; 0], "an unknown one");
    plan.join(id(4));
    assert_eq!(ask(&mut plan, 4, now), [0_u32; 0], "one that offers nothing");
    plan.offer(id(4), FILE, Offer::All);
    assert_eq!(ask(&mut plan, 4, now), [5, 6]);
}

#[test]
fn what_is_here_is_not_fetched_again() {
    let now = Instant::now();
    let mut plan = empty(Order::Any);
    plan.join(id(1));
    plan.offer(id(1), FILE, Offer::All);
    plan.open(FILE, geometry(6), set(0..4));
    let mut asked = ask(&mut plan, 1, now);
    asked.sort_unstable();
    assert_eq!(asked, [4, 5]);
    give(&mut plan, 1, 4, now);
    assert!(!plan.is_complete(FILE));
    give(&mut plan, 1, 5, now);
    assert!(plan.is_complete(FILE));
}

#[test]
fn an_empty_file_is_complete_when_it_is_open() {
    let mut plan = empty(Order::Any);
    assert!(!plan.is_complete(FILE));
    plan.open(FILE, geometry(0), FixedBitSet::new());
    assert!(plan.is_complete(FILE));
    plan.offer(id(1), FILE, Offer::All);
    plan.join(id(1));
    assert_eq!(plan.next(id(1), Instant::now()), None);
}

#[test]
fn who_leaves_loses_its_chunks_to_the_others_at_once() {
    let now = Instant::now();
    let mut plan = plan(4);
    plan.join(id(1));
    plan.join(id(2));
    ask(&mut plan, 1, now);
    give(&mut plan, 1, 0, now);
    assert_eq!(ask(&mut plan, 1, now), [2]);
    assert_eq!(ask(&mut plan, 2, now), [3]);
    plan.leave(id(1));
    assert_eq!(ask(&mut plan, 2, now), [1]);
    assert_eq!(give(&mut plan, 1, 1, now), Verdict::Unasked);
    let shares: Vec<_> = plan.shares().map(|share| (share.bytes, share.here)).collect();
    assert_eq!(shares, [(MIN_CHUNK, false), (0, true), (0, false)]);
    assert_eq!(plan.here(), 1);
    plan.join(id(1));
    assert_eq!(ask(&mut plan, 1, now)[0], 2, "what it offers is remembered");
}

#[test]
fn wrong_bytes_are_fetched_again_and_twice_is_once_too_often() {
    let now = Instant::now();
    let mut plan = plan(4);
    plan.join(id(1));
    plan.join(id(2));
    ask(&mut plan, 1, now);
    assert_eq!(plan.delivered(id(1), FILE, 0, false, now), Verdict::Wrong);
    assert_eq!(ask(&mut plan, 2, now), [0, 2]);
    give(&mut plan, 2, 0, now);
    assert_eq!(plan.delivered(id(1), FILE, 1, false, now), Verdict::Banned);
    assert_eq!(ask(&mut plan, 2, now), [1], "it lost all of its chunks");
    assert!(!plan.join(id(1)), "it can't come back");
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0]);
    assert_eq!(plan.shares().map(|share| share.wrong).collect::<Vec<_>>(), [2, 0, 0]);
}

#[test]
fn one_request_is_for_a_run_of_chunks_once_the_owner_is_known_to_be_fast() {
    let mut now = Instant::now();
    let mut plan = plan(400);
    plan.join(id(1));
    plan.answered(id(1), millis(1));
    let mut longest = 0;
    for _ in 0..400 {
        while let Some(next) = plan.next(id(1), now) {
            longest = longest.max(chunks(next).1.len());
        }
        now += millis(1);
        let first = asked(&plan, 1)[0].1;
        give(&mut plan, 1, first, now);
    }
    assert_eq!(longest, 4, "1 MiB in chunks of 256 KiB");
    assert!(plan.is_complete(FILE));
}

#[test]
fn a_reader_gets_the_front_first_and_nothing_behind_the_horizon() {
    let now = Instant::now();
    let mut plan = plan(10);
    plan.join(id(1));
    plan.set_horizon(FILE, 1);
    assert_eq!(ask(&mut plan, 1, now), [0]);
    give(&mut plan, 1, 0, now);
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0], "until the reader went on");
    plan.set_horizon(FILE, 4);
    assert_eq!(ask(&mut plan, 1, now), [1, 2]);
    plan.join(id(2));
    plan.leave(id(1));
    assert_eq!(ask(&mut plan, 2, now), [1, 2]);
}

#[test]
fn nodes_that_start_together_do_not_ask_for_the_same() {
    let now = Instant::now();
    let first = |us, seed| {
        let mut plan = Plan::new(Order::Any, MIB, id(us), seed);
        plan.open(FILE, geometry(400), FixedBitSet::new());
        plan.offer(id(1), FILE, Offer::All);
        plan.join(id(1));
        ask(&mut plan, 1, now)
    };
    let starts: BTreeSet<_> = (10..18).flat_map(|us| first(us, 1)).collect();
    assert!(starts.len() >= 15, "{starts:?}");
    assert_eq!(first(10, 1), first(10, 2), "what falls to it, whatever the seed");
}

#[test]
fn all_of_a_file_is_asked_for_wherever_it_begins() {
    let mut now = Instant::now();
    for seed in 0..20 {
        let mut plan = Plan::new(Order::Any, MIB, id(99), seed);
        plan.open(FILE, geometry(37), FixedBitSet::new());
        plan.offer(id(1), FILE, Offer::All);
        plan.join(id(1));
        let mut came = Vec::new();
        while let [first, ..] = ask(&mut plan, 1, now)[..] {
            let waiting = asked(&plan, 1);
            assert!(waiting.contains(&(FILE, first)));
            for (_, chunk) in waiting {
                now += millis(1);
                assert_eq!(give(&mut plan, 1, chunk, now), Verdict::Keep);
                came.push(chunk);
            }
        }
        came.sort_unstable();
        assert_eq!(came, (0..37).collect::<Vec<_>>());
        assert!(plan.is_complete(FILE));
    }
}

#[test]
fn what_is_waited_for_can_be_said() {
    let start = Instant::now();
    let mut plan = plan(10);
    assert_eq!(plan.need(start).unoffered, 10 * MIN_CHUNK);
    plan.join(id(1));
    ask(&mut plan, 1, start);
    plan.offer(id(4), 7, Offer::All);
    plan.want_manifest(7);
    let need = plan.need(start + millis(30));
    let free = 8 * MIN_CHUNK;
    let slowest = Some((id(1), millis(30)));
    assert_eq!(need, Need { free, unoffered: 0, manifests: 1, slowest });
    plan.withdraw(id(1), FILE);
    plan.offer(id(1), FILE, some([3, 4]));
    plan.join(id(4));
    let need = plan.need(start);
    assert_eq!((need.free, need.unoffered), (10 * MIN_CHUNK, 8 * MIN_CHUNK));
    assert_eq!((need.manifests, need.slowest), (0, None));
}
