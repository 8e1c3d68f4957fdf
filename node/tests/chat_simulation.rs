//! The chat's machines among themselves, with everything that can go wrong:
//! nodes and trackers are killed and started again, also while they write, disks are
//! lost, clocks set back, networks cut, messages lost, doubled and late, several
//! trackers write at once, and people want to go on without those that are away.
//!
//! A run follows from its seed: `CHAT_SEED=123 cargo test --test chat_simulation`
//! runs that one and says what happens.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

mod chat_cases;
#[allow(unreachable_pub, reason = "a module of this test alone")]
mod chat_world;

use chat_world::World;

/// Runs, unless `CHAT_RUNS` says another number.
const RUNS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_out_of_order() {
    if let Some(seed) = number("CHAT_SEED") {
        let world = World::run(seed, true);
        println!("seed {seed}: {}", world.figures());
        return;
    }
    let runs = number("CHAT_RUNS").unwrap_or(RUNS);
    let first = number("CHAT_FIRST").unwrap_or(1);
    println!("seeds {first} to {}", first + runs - 1);
    let workers = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let counted = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let mine = (first..first + runs).filter(|seed| seed % workers == worker);
                    let mut sums = chat_world::Figures::default();
                    for seed in mine {
                        let run = std::panic::catch_unwind(|| World::run(seed, false).figures());
                        match run {
                            Ok(figures) => sums.add(&figures),
                            Err(_) => panic!("CHAT_SEED={seed} fails"),
                        }
                    }
                    sums
                })
            })
            .collect();
        let mut sums = chat_world::Figures::default();
        for thread in threads {
            sums.add(&thread.join().expect("a run fails; its seed stands above"));
        }
        sums
    });
    println!("{runs} runs: {counted}");
    // A simulator in which little happens proves little.
    assert!(counted.accepted > 10 * runs, "few messages: {counted}");
    assert!(counted.reigns > 2 * runs, "few reigns: {counted}");
    assert!(counted.tears > runs / 10, "few kills in mid-write: {counted}");
    assert!(counted.wishes > runs / 10, "few wishes to revive: {counted}");
    assert!(counted.revivals > runs / 40, "few revivals: {counted}");
    assert!(counted.meetings > runs / 10, "few logs that met: {counted}");
    assert!(counted.elders_lost > runs / 40, "few elder logs that were lost: {counted}");
    assert!(counted.councils > 3 * runs, "few changes of the council: {counted}");
}
