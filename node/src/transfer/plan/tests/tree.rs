//! Many files.

use super::*;

fn manifest(item: ItemId) -> Option<Ask> {
    Some(Ask { item, part: Part::Manifest })
}

#[test]
fn a_manifest_is_asked_of_one_owner_then_of_another_if_it_is_wrong_or_late() {
    let mut now = Instant::now();
    let mut plan = empty(Order::Any);
    plan.want_manifest(5);
    for owner in 1..=3 {
        plan.offer(id(owner), 5, Offer::All);
        plan.join(id(owner));
    }
    assert_eq!(plan.next(id(1), now), manifest(5));
    assert_eq!(plan.next(id(2), now), None);
    plan.manifest(id(1), 5, false, now);
    assert_eq!(plan.next(id(1), now), None, "not of the same again");
    assert_eq!(plan.next(id(2), now), manifest(5));
    now += millis(100);
    assert_eq!(plan.next(id(3), now), None, "it is not late yet");
    now += millis(2000);
    assert_eq!(plan.next(id(2), now), None, "not of the same twice");
    assert_eq!(plan.next(id(3), now), manifest(5));
    plan.manifest(id(3), 5, true, now);
    plan.manifest(id(2), 5, true, now);
    assert_eq!(plan.next(id(3), now), None);
    plan.open(5, geometry(1), FixedBitSet::new());
    assert_eq!(plan.next(id(2), now).map(chunks), Some((5, 0..1)));
}

#[test]
fn a_few_who_are_silent_do_not_keep_a_manifest_from_the_others() {
    let start = Instant::now();
    let mut plan = empty(Order::Any);
    plan.want_manifest(5);
    for owner in 1..=4 {
        plan.offer(id(owner), 5, Offer::All);
        plan.join(id(owner));
    }
    assert_eq!(plan.next(id(1), start), manifest(5));
    let mut now = start;
    for owner in 2..=4 {
        while plan.next(id(owner), now).is_none() {
            assert!(now < start + millis(2000), "{owner} is not asked");
            now += millis(10);
        }
        assert!((owner + 1..=4).all(|other| plan.next(id(other), now).is_none()), "one at a time");
    }
    assert!(now > start + millis(1000), "a crowd is not asked all at once");
    assert!(plan.manifest(id(4), 5, true, now));
    assert!(plan.late.is_empty());
}

#[test]
fn a_manifest_that_was_asked_of_who_leaves_is_asked_of_another_at_once() {
    let now = Instant::now();
    let mut plan = empty(Order::Any);
    plan.want_manifest(5);
    plan.join(id(1));
    plan.offer(id(1), 5, some([]));
    assert_eq!(plan.next(id(1), now), manifest(5));
    plan.join(id(2));
    plan.offer(id(2), 5, Offer::All);
    assert_eq!(plan.next(id(2), now), None);
    plan.leave(id(1));
    assert_eq!(plan.next(id(2), now), manifest(5));
    plan.close(5);
    plan.manifest(id(2), 5, true, now);
    assert_eq!(plan.next(id(2), now + millis(9999)), None);
}

#[test]
fn a_manifest_can_be_asked_for_before_it_is_known_who_answers() {
    let now = Instant::now();
    let mut plan = empty(Order::Any);
    assert_eq!(plan.join_for_manifest(id(1), now), None);
    plan.want_manifest(5);
    assert_eq!(plan.join_for_manifest(id(1), now), None, "it offers nothing");
    for owner in 1..=3 {
        plan.offer(id(owner), 5, Offer::All);
    }
    assert_eq!(plan.here(), 0);
    assert_eq!(plan.join_for_manifest(id(1), now), Some(5));
    assert_eq!(plan.join_for_manifest(id(2), now), None, "one is asked for it already");
    assert_eq!(plan.here(), 1);
    // Somebody else answers.
    plan.leave(id(1));
    assert_eq!(plan.join_for_manifest(id(2), now), Some(5));
    assert!(plan.manifest(id(2), 5, true, now));
    plan.open(5, geometry(9), FixedBitSet::new());
    assert_eq!(plan.join_for_manifest(id(3), now), None, "it is here");
}

#[test]
fn items_are_fetched_in_their_order_each_from_who_offers_it() {
    let now = Instant::now();
    let mut plan = empty(Order::Any);
    for item in [4, 2, 9] {
        plan.open(item, Geometry::of(10).unwrap(), FixedBitSet::new());
        plan.offer(id(1), item, Offer::All);
    }
    plan.offer(id(2), 9, Offer::All);
    plan.join(id(1));
    plan.join(id(2));
    assert_eq!(plan.next(id(2), now).map(chunks), Some((9, 0..1)));
    assert_eq!(plan.next(id(1), now).map(chunks), Some((2, 0..1)));
    assert_eq!(plan.next(id(1), now).map(chunks), Some((4, 0..1)));
    assert_eq!(plan.next(id(1), now), None);
    plan.leave(id(2));
    assert_eq!(plan.next(id(1), now).map(chunks), Some((9, 0..1)));
}

#[test]
fn an_item_can_be_closed_and_opened_again_while_it_is_asked_for() {
    let now = Instant::now();
    let mut plan = plan(2);
    plan.join(id(1));
    assert_eq!(ask(&mut plan, 1, now), [0, 1]);
    plan.close(FILE);
    assert_eq!(give(&mut plan, 1, 0, now), Verdict::Known, "nobody wants it now");
    plan.offer(id(1), FILE, Offer::All);
    assert!(plan.items.is_empty(), "what is said of a closed item is not kept");
    plan.open(FILE, geometry(2), FixedBitSet::new());
    plan.offer(id(1), FILE, Offer::All);
    assert_eq!(ask(&mut plan, 1, now), [0], "the other is asked for already");
    assert_eq!(give(&mut plan, 1, 1, now), Verdict::Keep);
    assert_eq!(give(&mut plan, 1, 0, now), Verdict::Keep);
    assert!(plan.is_complete(FILE));
}

#[test]
fn many_small_files_are_asked_for_ahead_and_no_more_than_the_bound() {
    let mut now = Instant::now();
    let mut plan = empty(Order::Any);
    plan.join(id(1));
    plan.answered(id(1), millis(50));
    for item in 0..5000 {
        plan.offer(id(1), item, Offer::All);
        plan.open(item, Geometry::of(10_240).unwrap(), FixedBitSet::new());
    }
    let mut most = 0;
    let mut waiting = VecDeque::new();
    for _ in 0..5000 {
        waiting.extend(std::iter::from_fn(|| plan.next(id(1), now)).map(|ask| ask.item));
        most = most.max(waiting.len());
        now += Duration::from_micros(60);
        let item = waiting.pop_front().unwrap();
        assert_eq!(plan.delivered(id(1), item, 0, true, now), Verdict::Keep);
        plan.close(item);
    }
    assert_eq!(most, MAX_ASKS, "5,000 files need no more than twenty round trips");
}

/// Runs a tree of `files` small files from `owners` through a plan, with a
/// window of open items; how long that took.
fn run(files: u32, owners: u8, window: usize) -> Duration {
    let start = Instant::now();
    let mut now = start;
    let mut plan = empty(Order::Any);
    for owner in 0..owners {
        plan.join(id(owner));
        plan.answered(id(owner), millis(1));
    }
    let small = Geometry::of(10_240).unwrap();
    let (mut next, mut done) = (0, 0);
    let (mut open, mut twice) = (0, 0);
    let mut asked = VecDeque::new();
    while done < files {
        while open < window && next < files {
            for owner in 0..owners {
                plan.offer(id(owner), next, Offer::All);
            }
            plan.open(next, small, FixedBitSet::new());
            (next, open) = (next + 1, open + 1);
            plan.set_more(next < files);
        }
        for owner in 0..owners {
            asked.extend(std::iter::from_fn(|| plan.next(id(owner), now)).map(|ask| (owner, ask)));
        }
        for (owner, ask) in asked.drain(..) {
            now += Duration::from_micros(20);
            if plan.delivered(id(owner), ask.item, 0, true, now) == Verdict::Keep {
                assert!(plan.is_complete(ask.item));
                plan.close(ask.item);
                (done, open) = (done + 1, open - 1);
            } else {
                twice += 1;
            }
        }
    }
    assert_eq!(plan.shares().map(|share| share.bytes).sum::<u64>(), u64::from(files) * 10_240);
    assert!(plan.items.is_empty() && plan.free == 0);
    assert!(twice <= window, "only at the end, when nothing more is opened: {twice} came twice");
    start.elapsed()
}

#[test]
fn a_tree_of_a_hundred_thousand_files_is_fetched_in_its_order() {
    for (files, owners, window) in [(100_000, 1, 64), (30_000, 3, 8192), (10_000, 32, 1024)] {
        let time = run(files, owners, window);
        println!("{files} files of {owners} owners, {window} open: {time:?}");
    }
}
