//! One that fetches, from owners that are far, slow, silent or liars.
//!
//! A simulation: each owner answers in order over a line of its own, with its
//! rate and its delay.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Bytes a second.
    rate: f64,
    /// Round trip, in seconds.
    trip: f64,
    /// From when on, and at what rate: 0 for nothing at all.
    then: Option<(f64, f64)>,
    lies: bool,
    /// Bytes that pass at once after a rest, as a shaper lets them.
    burst: f64,
}

impl Line {
    fn new(rate: f64, trip: f64) -> Self {
        Self { rate, trip, then: None, lies: false, burst: 0.0 }
    }

    /// When so many bytes that begin now are through.
    fn through(&self, now: f64, bytes: f64) -> f64 {
        let end = now + bytes / self.rate;
        match self.then {
            Some((from, _)) if end <= from => end,
            Some((_, 0.0)) => f64::INFINITY,
            Some((from, rate)) => {
                let before = (from - now).max(0.0) * self.rate;
                now.max(from) + (bytes - before) / rate
            }
            None => end,
        }
    }
}

#[derive(Debug)]
struct Outcome {
    /// When all was there, in seconds.
    time: f64,
    /// Bytes asked of each owner and given by it first.
    owners: Vec<(u64, u64)>,
    /// How often a chunk came that was there.
    twice: u32,
}

/// Fetches `items` of `chunks` chunks, all of them of `size` bytes.
fn fetch(lines: &[Line], items: u32, size: u64) -> Outcome {
    let start = Instant::now();
    let mut plan = Plan::new(Order::Any, MIB, id(99), 7);
    let geometry = Geometry::of(size).unwrap();
    let owners: Vec<u8> = (0..).take(lines.len()).collect();
    for &owner in &owners {
        plan.join(id(owner));
    }
    let mut opened = 0;
    let mut open_next = |plan: &mut Plan| {
        if opened < items {
            plan.open(opened, geometry, FixedBitSet::new());
            owners.iter().for_each(|&owner| plan.offer(id(owner), opened, Offer::All));
            opened += 1;
            plan.set_more(opened < items);
        }
    };
    (0..1000).for_each(|_| open_next(&mut plan));
    let mut asked = vec![0; lines.len()];
    // Since when each line has nothing to send; before the start, its burst was saved.
    let mut idle: Vec<_> = lines.iter().map(|line| -line.burst / line.rate).collect();
    let mut answers = BinaryHeap::new();
    let (mut now, mut missing, mut twice) = (0.0, items, 0);
    while missing > 0 {
        assert!(now < 1000.0, "it hangs");
        let at = |time: f64| start + Duration::from_secs_f64(time);
        for (owner, line) in lines.iter().enumerate() {
            while let Some(ask) = plan.next(id(owners[owner]), at(now)) {
                let (item, run) = chunks(ask);
                let quiet = idle[owner] <= now;
                let saved = (now - idle[owner]).min(line.burst / line.rate).max(0.0);
                let mut through = f64::max(now + line.trip - saved, idle[owner]);
                if quiet && through.is_finite() && line.then.is_none_or(|then| then.1 > 0.0) {
                    plan.answered(id(owners[owner]), Duration::from_secs_f64(line.trip));
                }
                for chunk in run {
                    let range = geometry.range(chunk);
                    asked[owner] += range.end - range.start;
                    through = line.through(through, (range.end - range.start) as f64);
                    if through.is_finite() {
                        let at = nanos(through.max(now + line.trip));
                        answers.push(Reverse((at, owner, item, chunk)));
                    }
                }
                idle[owner] = through;
            }
        }
        // The next answer, or a look whether somebody takes over.
        let next = answers.peek().map_or(u64::MAX, |Reverse(next)| next.0);
        let tick = nanos(now + 0.005);
        now = next.min(tick) as f64 / 1e9;
        if next > tick {
            continue;
        }
        let Reverse((_, owner, item, chunk)) = answers.pop().unwrap();
        match plan.delivered(id(owners[owner]), item, chunk, !lines[owner].lies, at(now)) {
            Verdict::Keep if plan.is_complete(item) => {
                plan.close(item);
                missing -= 1;
                open_next(&mut plan);
            }
            Verdict::Known => twice += 1,
            _ => {}
        }
    }
    let given = plan.shares().map(|share| share.bytes);
    Outcome { time: now, owners: asked.into_iter().zip(given).collect(), twice }
}

/// The usual file of the benchmarks.
const SIZE: u64 = 393_775_740;

const FAST: Line = Line { rate: 400e6, trip: 0.000_2, then: None, lies: false, burst: 0.0 };

#[test]
fn over_fifty_milliseconds_a_line_is_full() {
    for rate in [1e6, 20e6, 100e6, 250e6, 500e6, 800e6] {
        let size = if rate < 50e6 { SIZE / 20 } else { SIZE };
        let outcome = fetch(&[Line::new(rate, 0.05)], 1, size);
        let bulk = size as f64 / rate + 0.05;
        println!("{} MB/s: {:.3} s, bulk {bulk:.3}", rate / 1e6, outcome.time);
        assert!(outcome.time < bulk / 0.8, "{rate}: {outcome:?}, bulk {bulk}");
    }
}

#[test]
fn many_small_files_over_fifty_milliseconds_do_not_wait_for_each_other() {
    let outcome = fetch(&[Line::new(100e6, 0.05)], 5000, 10_240);
    println!("5,000 files of 10 KiB over 50 ms: {:.3} s", outcome.time);
    assert!(outcome.time < 1.5, "{outcome:?}");
}

#[test]
fn a_slow_owner_is_used_and_delays_nobody() {
    let without = fetch(&[FAST, FAST], 1, SIZE).time;
    for rate in [0.1e6, 1e6, 4e6, 20e6] {
        let outcome = fetch(&[FAST, FAST, Line::new(rate, 0.000_2)], 1, SIZE);
        println!(
            "with one of {} MB/s: {:.3} s, without {without:.3}, {:?}",
            rate / 1e6,
            outcome.time,
            outcome.owners
        );
        assert!(outcome.time < without + 0.01, "{outcome:?}, without it {without}");
        let (asked, given) = outcome.owners[2];
        let ahead = f64::max(2.0 * MIN_CHUNK as f64, rate * 0.15);
        assert!(asked as f64 <= given as f64 + ahead, "{outcome:?}");
        assert!(given > 0 || rate < 1e6, "{outcome:?}");
        assert!(outcome.twice <= 8, "{outcome:?}");
    }
}

/// What a shaper saved up comes at once; that is no rate.
#[test]
fn a_burst_makes_nobody_fast() {
    for burst in [0.25e6, 0.5e6, 1e6] {
        let slow = Line { burst, ..Line::new(1e6, 0.000_2) };
        let outcome = fetch(&[slow], 1, SIZE / 40);
        println!("burst of {burst}: {outcome:?}");
        let outcome = fetch(&[FAST, FAST, slow], 1, SIZE);
        println!("burst of {burst}: {outcome:?}");
        let (asked, given) = outcome.owners[2];
        assert!(asked <= given + 2 * MIN_CHUNK, "{outcome:?}");
    }
}

#[test]
fn who_never_answers_or_stops_or_becomes_slow_delays_nobody() {
    let without = fetch(&[FAST, FAST], 1, SIZE).time;
    for then in [(0.0, 0.0), (0.1, 0.0), (0.2, 1e6), (0.3, 1000.0)] {
        let outcome = fetch(&[FAST, FAST, Line { then: Some(then), ..FAST }], 1, SIZE);
        println!("with one that changes as {then:?}: {:.3} s, {:?}", outcome.time, outcome.owners);
        assert!(outcome.time < without + 0.02, "{outcome:?}, without it {without}");
    }
}

#[test]
fn a_slow_or_silent_owner_delays_no_tree() {
    let without = fetch(&[FAST, FAST], 1000, 10_240).time;
    for line in [Line::new(1e6, 0.000_2), Line { then: Some((0.0, 0.0)), ..FAST }] {
        let outcome = fetch(&[FAST, FAST, line], 1000, 10_240);
        println!("tree: {:.4} s, without {without:.4}", outcome.time);
        assert!(outcome.time < without + 0.02, "{outcome:?}, without it {without}");
    }
}

#[test]
fn who_lies_is_asked_for_little() {
    let outcome = fetch(&[FAST, Line { lies: true, ..FAST }], 1, SIZE);
    let (asked, given) = outcome.owners[1];
    assert!(given == 0 && asked <= 4 * MIN_CHUNK, "{outcome:?}");
}

#[test]
fn equal_owners_give_equal_parts_and_nothing_twice() {
    let outcome = fetch(&[FAST; 6], 1, SIZE);
    println!("six: {:.3} s, {:?}, {} twice", outcome.time, outcome.owners, outcome.twice);
    assert_eq!(outcome.twice, 0, "{outcome:?}");
    assert!(outcome.time < 1.05 * SIZE as f64 / (6.0 * FAST.rate), "{outcome:?}");
}
