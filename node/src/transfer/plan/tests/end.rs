//! The end of a job, and owners that are slow, silent or wrong about it.

use super::*;

/// The item of which the end is looked at.
const LAST: ItemId = 1;

/// Two owners, of which the first is known to need 1 ms and the second `slow`
/// for a chunk; the second is asked for the last two of the job, and the first
/// is idle.
fn at_the_end(slow: Duration) -> (Plan, Instant) {
    let mut now = Instant::now();
    let mut plan = empty(Order::Any);
    plan.open(FILE, geometry(40), FixedBitSet::new());
    for (owner, pace) in [(2, slow), (1, millis(1))] {
        plan.offer(id(owner), FILE, Offer::All);
        plan.join(id(owner));
        plan.answered(id(owner), millis(1));
        while plan.owners.iter().find(|known| known.id == id(owner)).unwrap().given < 20 * MIN_CHUNK
        {
            plan.next(id(owner), now);
            now += pace;
            let chunk = asked(&plan, owner)[0].1;
            assert_eq!(give(&mut plan, owner, chunk, now), Verdict::Keep);
        }
        plan.leave(id(owner));
    }
    assert!(plan.is_complete(FILE));
    plan.close(FILE);
    plan.open(LAST, geometry(2), FixedBitSet::new());
    for owner in 1..=3 {
        plan.offer(id(owner), LAST, Offer::All);
    }
    plan.join(id(1));
    plan.join(id(2));
    ask(&mut plan, 2, now);
    assert_eq!(asked(&plan, 2), [(LAST, 0), (LAST, 1)]);
    (plan, now)
}

#[test]
fn at_the_end_the_slowest_chunks_are_taken_over_last_one_first() {
    let (mut plan, now) = at_the_end(millis(300));
    assert_eq!(ask(&mut plan, 1, now), [1, 0]);
    for chunk in [1, 0] {
        let verdict = plan.delivered(id(1), LAST, chunk, true, now + millis(1));
        assert_eq!(verdict, Verdict::Keep);
    }
    assert!(plan.is_complete(LAST));
    let late = plan.delivered(id(2), LAST, 0, true, now + millis(2));
    assert_eq!(late, Verdict::Known);
    let given: u64 = plan.shares().map(|share| share.bytes).sum();
    assert_eq!(given, 42 * MIN_CHUNK, "the second copy does not count");
}

#[test]
fn an_owner_that_is_about_as_fast_is_left_in_peace() {
    let (mut plan, now) = at_the_end(millis(3));
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0]);
    assert_eq!(ask(&mut plan, 1, now + millis(3)), [0_u32; 0]);
    let pause = plan.retry(id(1), now + millis(3)).expect("it is worth while to look again");
    assert!(pause <= millis(20), "{pause:?}");
    assert!(!ask(&mut plan, 1, now + millis(20)).is_empty(), "until it stands still");
}

#[test]
fn a_third_owner_makes_no_third_copy() {
    let (mut plan, now) = at_the_end(millis(300));
    assert_eq!(ask(&mut plan, 1, now).len(), 2);
    plan.join(id(3));
    assert_eq!(ask(&mut plan, 3, now + millis(60_000)), [0_u32; 0]);
    plan.leave(id(2));
    assert_eq!(ask(&mut plan, 3, now + millis(60_000)).len(), 2, "now there is room for a second");
}

/// Found by an owner that stood still for its whole deadline: five bytes in a
/// millisecond look like a very slow owner, if the time for a byte is counted.
#[test]
fn a_short_last_chunk_does_not_make_an_owner_slow() {
    let start = Instant::now();
    let mut plan = empty(Order::Sequential);
    plan.open(FILE, Geometry::of(5 * MIN_CHUNK + 5).unwrap(), FixedBitSet::new());
    for owner in 1..=2 {
        plan.join(id(owner));
        plan.offer(id(owner), FILE, Offer::All);
    }
    assert_eq!(ask(&mut plan, 2, start), [0, 1]);
    assert_eq!(ask(&mut plan, 1, start), [2, 3]);
    for (chunk, at) in [(2, 20), (3, 40), (4, 60), (5, 80)] {
        assert_eq!(give(&mut plan, 1, chunk, start + millis(at)), Verdict::Keep);
        ask(&mut plan, 1, start + millis(at));
    }
    assert_eq!(asked(&plan, 1), [(FILE, 0), (FILE, 1)]);
}

#[test]
fn who_refuses_an_item_is_asked_for_the_others() {
    let now = Instant::now();
    let mut plan = plan(10);
    plan.open(1, geometry(1), FixedBitSet::new());
    plan.offer(id(1), 1, Offer::All);
    plan.join(id(1));
    assert_eq!(plan.next(id(1), now).map(chunks), Some((0, 0..1)));
    plan.withdraw(id(1), FILE);
    assert_eq!(plan.next(id(1), now).map(chunks), Some((1, 0..1)));
    assert_eq!(plan.next(id(1), now), None);
    assert_eq!(give(&mut plan, 1, 0, now), Verdict::Unasked);
    plan.join(id(2));
    assert_eq!(ask(&mut plan, 2, now), [0, 1]);
}
