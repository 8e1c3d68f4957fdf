use proptest::prelude::*;
use shoal_common::limits::{GIB, MIB, MIN_RATE, STALL_DEADLINE};
use tokio::task::JoinSet;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Whether `moved` is what a limit of `rate` lets pass in `time`, give or take
/// a twentieth.
fn is_held(moved: u64, rate: u64, time: Duration) -> bool {
    let right = rate as f64 * time.as_secs_f64();
    (moved as f64 - right).abs() <= right / 20.0
}

proptest! {
    /// Whoever looks when: never more passes than the limit and one burst.
    #[test]
    fn no_more_passes_than_the_limit(
        rate in LEAST_LIMIT..4 * GIB,
        looks in proptest::collection::vec((0..200_000_u64, 1..8 * MIB), 1..200),
    ) {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate, start);
        let (mut now, mut moved) = (start, 0);
        for (pause, bytes) in looks {
            now += Duration::from_micros(pause);
            let bytes = piece(rate, bytes);
            if bucket.take(bytes, now).is_ok() {
                moved += bytes;
            }
        }
        let burst = (rate / 20).max(LEAST_PIECE);
        let most = rate as f64 * (now - start).as_secs_f64() + burst as f64;
        prop_assert!(moved as f64 <= most + 1.0, "{moved} of {most}");
    }

    /// Whoever comes when it was told to gets it then, even some ms late.
    #[test]
    fn who_waits_as_told_gets_the_limit(
        rate in LEAST_LIMIT..4 * GIB,
        late in proptest::collection::vec(0..15_u64, 10),
    ) {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate, start);
        let (mut now, mut moved) = (start, 0);
        let mut late = late.into_iter().cycle();
        while now < start + 10 * SECOND {
            let bytes = piece(rate, u64::MAX);
            match bucket.take(bytes, now) {
                Ok(()) => moved += bytes,
                Err(wait) => {
                    prop_assert!(wait > Duration::ZERO);
                    now += wait + Duration::from_millis(late.next().unwrap());
                }
            }
        }
        prop_assert!(is_held(moved, rate, now - start), "{moved} at {rate} in {:?}", now - start);
    }
}

#[test]
fn a_debt_is_waited_for_and_ends_with_its_limit() {
    let start = Instant::now();
    let mut bucket = Bucket::new(1000 * 1000, start);
    let wait = bucket.take(MIB, start).unwrap_err();
    assert!(wait.abs_diff(BURST) < Duration::from_millis(1), "{wait:?}");
    bucket.take(MIB, start + BURST).unwrap();
    let wait = bucket.take(1, start + BURST).unwrap_err();
    assert!(wait > SECOND * 99 / 100 && wait < SECOND * 105 / 100, "{wait:?}");
    bucket.set(2000 * 1000, start + BURST);
    assert!(bucket.take(1, start + BURST).unwrap_err() < Duration::from_millis(1));
}

#[test]
fn the_lowest_limit_is_no_stall() {
    let quantum = MIN_RATE * STALL_DEADLINE.as_secs();
    assert!(LEAST_LIMIT * STALL_DEADLINE.as_secs() > 4 * quantum);
    assert_eq!(piece(LEAST_LIMIT, u64::MAX), LEAST_PIECE);
    assert_eq!(piece(LEAST_LIMIT, 7), 7);
    assert_eq!(piece(UNLIMITED, u64::MAX), u64::MAX / 40);
}

/// Moves bytes for so long; how many passed.
async fn moved(throttle: &Throttle, at_once: usize, time: Duration) -> u64 {
    let end = tokio::time::Instant::now() + time;
    let mut moved = 0;
    while let Ok(piece) = tokio::time::timeout_at(end, throttle.grant(at_once)).await {
        moved += piece as u64;
        if tokio::time::Instant::now() >= end {
            break;
        }
    }
    moved
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_held() {
    for rate in [LEAST_LIMIT, 100_000, 12_500_000, GIB] {
        let throttle = Throttle::unlimited();
        throttle.set(Some(rate));
        assert_eq!(throttle.rate(), Some(rate));
        // The smallest piece of the lowest limit is a good part of a second.
        let time = if rate == LEAST_LIMIT { 10 * SECOND } else { SECOND };
        let passed = moved(&throttle, 1 << 20, time).await;
        assert!(is_held(passed, rate, time), "{passed} of {rate}");
        // And by those who first move and then ask.
        let start = tokio::time::Instant::now();
        let all = rate * time.as_secs();
        for _ in 0..10 {
            throttle.take(usize::try_from(all / 10).unwrap()).await;
        }
        assert!(is_held(all, rate, start.elapsed()), "{:?} for {all}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nobody_waits() {
    let throttle = Throttle::unlimited();
    let start = tokio::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(throttle.grant(1 << 30).await, 1 << 30);
        throttle.take(1 << 30).await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn each_gets_its_turn() {
    let throttle = Throttle::unlimited();
    throttle.set(Some(1_000_000));
    let mut takers = JoinSet::new();
    for _ in 0..8 {
        let throttle = throttle.clone();
        takers.spawn(async move { moved(&throttle, 1 << 20, 10 * SECOND).await });
    }
    let shares = takers.join_all().await;
    assert!(is_held(shares.iter().sum(), 1_000_000, 10 * SECOND), "{shares:?}");
    assert!(shares.iter().all(|share| is_held(*share, 125_000, 10 * SECOND)), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_holds_at_once_for_those_who_wait() {
    let throttle = Throttle::unlimited();
    for (from, to) in [
        (Some(LEAST_LIMIT), None),
        (Some(LEAST_LIMIT), Some(100_000_000)),
        (Some(100_000_000), Some(LEAST_LIMIT)),
    ] {
        throttle.set(from);
        let mut takers = JoinSet::new();
        for _ in 0..8 {
            let throttle = throttle.clone();
            takers.spawn(async move { throttle.take(100_000_000).await });
        }
        tokio::time::sleep(SECOND / 2).await;
        let changed = tokio::time::Instant::now();
        throttle.set(to);
        takers.join_all().await;
        let late = changed.elapsed();
        assert!(late < Duration::from_millis(100), "{late:?} from {from:?} to {to:?}");
        let Some(rate) = to else { continue };
        let time = 10 * SECOND;
        let passed = moved(&throttle, 1 << 20, time).await;
        assert!(is_held(passed, rate, time), "{passed} of {rate}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_its_turn_to_the_next() {
    let throttle = Throttle::unlimited();
    throttle.set(Some(LEAST_LIMIT));
    for _ in 0..5 {
        let cut = timeout(Duration::from_millis(100), throttle.take(1 << 20)).await;
        assert!(cut.is_err());
    }
    let start = tokio::time::Instant::now();
    throttle.take(1000).await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[test]
fn no_limit_is_lower_than_the_least() {
    let throttle = Throttle::unlimited();
    throttle.set(Some(0));
    assert_eq!(throttle.rate(), Some(LEAST_LIMIT));
    throttle.set(None);
    assert_eq!(throttle.rate(), None);
}
