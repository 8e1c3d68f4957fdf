//! The end of a job, and owners that are slow, silent or wrong about it.

use super::*;

/// Two owners, one of which needs 1 ms and one `slow` for each chunk; all
/// chunks but the last two are here, and those the slow one was asked for.
fn at_the_end(slow: Duration) -> (Plan, Instant) {
    let start = Instant::now();
    let mut plan = plan(40);
    plan.join(id(1));
    plan.join(id(2));
    for owner in 1..=2 {
        plan.answered(id(owner), millis(1));
    }
    let mut now = start;
    for _ in 0..2 {
        assert_eq!(ask(&mut plan, 2, now).len(), if now == start { 2 } else { 1 });
        now += slow;
        let first = plan.owners[1].asked[0].chunk.unwrap();
        give(&mut plan, 2, first, now);
    }
    ask(&mut plan, 2, now);
    loop {
        plan.next(id(1), now);
        let Some(asked) = plan.owners[0].asked.front().copied() else { break };
        let missing = plan.chunks(FILE).unwrap().missing;
        if missing == 2 {
            plan.withdraw(id(1), FILE);
            plan.offer(id(1), FILE, Offer::All);
            break;
        }
        now += millis(1);
        give(&mut plan, 1, asked.chunk.unwrap(), now);
    }
    (plan, now)
}

#[test]
fn at_the_end_the_slowest_chunks_are_taken_over_last_one_first() {
    let (mut plan, now) = at_the_end(millis(300));
    assert_eq!(plan.owners[1].asked.len(), 2);
    let waiting: Vec<_> = plan.owners[1].asked.iter().filter_map(|asked| asked.chunk).collect();
    let taken = ask(&mut plan, 1, now);
    assert_eq!(taken, [waiting[1], waiting[0]]);
    for chunk in taken {
        assert_eq!(give(&mut plan, 1, chunk, now + millis(1)), Verdict::Keep);
    }
    assert!(plan.is_complete(FILE));
    assert_eq!(give(&mut plan, 2, waiting[0], now + millis(2)), Verdict::Known);
    let given: u64 = plan.shares().map(|share| share.bytes).sum();
    assert_eq!(given, 40 * MIN_CHUNK, "the second copy does not count");
}

#[test]
fn an_owner_that_is_about_as_fast_is_left_in_peace() {
    let (mut plan, now) = at_the_end(millis(2));
    assert_eq!(ask(&mut plan, 1, now), [0_u32; 0]);
    assert_eq!(ask(&mut plan, 1, now + millis(3)), [0_u32; 0]);
    assert!(plan.retry(id(1)).is_some(), "it is worth while to look again");
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
        ask(&mut plan, 1, start + millis(at));
        assert_eq!(give(&mut plan, 1, chunk, start + millis(at)), Verdict::Keep);
    }
    assert_eq!(ask(&mut plan, 1, start + millis(500)), [0, 1]);
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
