use proptest::prelude::*;

use super::*;

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// An owner with a rate in bytes a millisecond and a round trip that is always
/// asked for as much as it should be, or for two chunks; how deep that is after
/// each millisecond.
fn depths(rate: u64, trip: u64, time: u64) -> Vec<u64> {
    let start = Instant::now();
    let mut depth = Depth::default();
    depth.started(start);
    depth.answered(millis(trip));
    // When each chunk is through, and when it was asked for.
    let (mut under_way, mut through) = (std::collections::VecDeque::new(), 0);
    let mut depths = Vec::new();
    for now in 0..time {
        while under_way.front().is_some_and(|&(end, _)| end <= now * 1000) {
            let (_, mark) = under_way.pop_front().unwrap();
            depth.moved(MIN_CHUNK, mark, start + millis(now));
        }
        let target = depth.ahead().max(AT_LEAST * MIN_CHUNK) / MIN_CHUNK;
        while (under_way.len() as u64) < target {
            through = (through.max((now + trip) * 1000)) + MIN_CHUNK * 1000 / rate;
            under_way.push_back((through, depth.asked(start + millis(now))));
        }
        depths.push(depth.ahead());
    }
    depths
}

#[test]
fn depth_reaches_what_is_on_the_way_within_a_few_round_trips() {
    for (rate, trip) in [(20_000, 50), (250_000, 50), (500_000, 50), (100_000, 200)] {
        let needed = rate * trip;
        let depths = depths(rate, trip, 8 * trip);
        let after = depths.iter().position(|&depth| depth >= needed).unwrap() as u64;
        println!("{rate} bytes/ms, {trip} ms: {} KiB after {after} ms", needed / KIB);
        assert!(after <= 5 * trip, "{rate}, {trip}: {after} ms");
        assert!(depths.iter().all(|&depth| depth <= MAX_AHEAD));
        // It stays there, and is not much deeper than the factor.
        let steady = &depths[depths.len() / 2..];
        assert!(steady.iter().all(|&depth| depth >= needed), "{rate}, {trip}");
        let most = 2 * GAIN * rate * (trip + 5);
        assert!(steady.iter().all(|&depth| depth <= most), "{rate}, {trip}: {steady:?} > {most}");
    }
}

#[test]
fn nothing_is_deep_where_it_need_not_be() {
    // 8 Mbit/s, and a part of 100 Mbit/s: no more than the two chunks of anyone.
    for rate in [1000, 1500] {
        assert!(depths(rate, 1, 3000).iter().all(|&depth| depth < 2 * MIN_CHUNK), "{rate}");
    }
}

#[test]
fn the_unknown_is_asked_for_little() {
    let mut depth = Depth::default();
    assert_eq!((depth.request(MIB), depth.rate()), (MIN_CHUNK, None));
    assert!(depth.ahead() < AT_LEAST * MIN_CHUNK);
    assert!(depth.delay() + depth.time(MIN_CHUNK) < millis(500));
    // And for more if it is far, whatever its rate will be.
    depth.answered(millis(50));
    assert!((3 * MIB..4 * MIB).contains(&depth.ahead()), "{}", depth.ahead());
}

#[test]
fn a_request_keeps_its_owner_busy_but_not_for_long() {
    let start = Instant::now();
    for (rate, request) in [(1000, MIN_CHUNK), (10_000, 500_000), (500_000, MIB)] {
        let mut depth = Depth::default();
        depth.started(start);
        for step in 1..=200 {
            let mark = depth.asked(start + millis(20 * (step - 1)));
            depth.moved(20 * rate, mark, start + millis(20 * step));
        }
        let asked = depth.request(MIB);
        assert!(asked <= request && asked > request - request / 50, "{rate}: {asked}");
        assert_eq!(depth.request(64 * KIB), MIN_CHUNK);
    }
}

#[test]
fn a_rest_is_no_slowness_and_a_few_bytes_are_no_rate() {
    let start = Instant::now();
    let mut depth = Depth::default();
    let mut now = start;
    for _ in 0..50 {
        depth.started(now);
        let mark = depth.asked(now);
        now += millis(10);
        depth.moved(MIB, mark, now);
        depth.rested();
        now += millis(5000);
    }
    let rate = depth.rate().unwrap();
    assert!(rate > 100_000_000, "{rate}");
    depth.started(now);
    let mark = depth.asked(now);
    depth.moved(5, mark, now + millis(9));
    assert_eq!(depth.rate(), Some(rate));
}

#[test]
fn who_becomes_slow_is_soon_known_to_be() {
    let start = Instant::now();
    let mut depth = Depth::default();
    depth.started(start);
    let mut now = start;
    let mut give = |depth: &mut Depth, wait: u64| {
        let mark = depth.asked(now);
        now += millis(wait);
        depth.moved(MIN_CHUNK, mark, now);
    };
    (0..100).for_each(|_| give(&mut depth, 1));
    assert!(depth.time(MIN_CHUNK) < millis(15));
    (0..4).for_each(|_| give(&mut depth, 250));
    assert!(depth.time(MIN_CHUNK) > millis(120), "{:?}", depth.time(MIN_CHUNK));
    assert_eq!(depth.request(MIB), MIN_CHUNK);
    (0..20).for_each(|_| give(&mut depth, 10));
    assert!(depth.time(MIN_CHUNK) < millis(20), "and fast again at once");
}

proptest! {
    /// Whatever was measured, nothing overflows and all is within its bounds.
    #[test]
    fn any_measurement_is_borne(
        samples in prop::collection::vec((any::<u64>(), 0..u64::MAX / 4_000_000, any::<u64>()), 0..30),
        largest in any::<u64>(),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut depth = Depth::default();
        depth.started(now);
        for (bytes, wait, delay) in samples {
            let mark = depth.asked(now);
            now += Duration::from_micros(wait % 1_000_000_000_000);
            depth.answered(Duration::from_micros(delay));
            depth.moved(bytes >> 8, mark, now);
            prop_assert!(depth.ahead() <= MAX_AHEAD);
            prop_assert!((MIN_CHUNK..=largest.max(MIN_CHUNK)).contains(&depth.request(largest)));
            prop_assert!(depth.rate() != Some(0));
            let _ = depth.time(u64::MAX).saturating_add(depth.delay());
        }
    }
}
