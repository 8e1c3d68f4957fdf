//! Random runs of whole networks with faults; `scripts/soak.sh` makes long
//! series of them.
//!
//! Run `K` of the series with seed `S` alone: `scripts/soak.sh 1 S K`.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]
#![allow(unreachable_pub)] // modules of this program

mod common;
mod trial;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use shoal_tracker::screen::Screen;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use trial::Series;
use trial::disk::can_mount;
use trial::stage::TRACKER_VARIABLE;

/// Every run ends with the same content under the final name, or says why not;
/// never with a wrong byte, never without an end, never with a process left.
#[test]
fn every_run_ends_whole_or_with_a_reason() {
    let (series, start) = (Series::wanted(), Instant::now());
    println!("seed {}, runs {} to {}", series.seed, series.first, series.first + series.runs - 1);
    let disks = can_mount(&series.folder.join("small-disk"));
    let runtime = Runtime::new().unwrap();
    let report = series.run(runtime.handle(), disks);
    println!("seed {}: {:.0} s\n{report}", series.seed, start.elapsed().as_secs_f32());
    if report.left_out() > 0 {
        assert!(std::env::var_os("CI").is_none(), "a small tmpfs can't be mounted");
        common::skipped(&format!(
            "{} runs need a small tmpfs, which can only be mounted by root",
            report.left_out()
        ));
    }
    for (run, what) in &report.failures {
        println!("\nrun {run} of seed {}: {what}", series.seed);
        println!("  again: scripts/soak.sh 1 {} {run}", series.seed);
    }
    assert!(report.failures.is_empty(), "{} runs failed", report.failures.len());
}

/// Not a test when it is run with the others: the runs start this program again
/// for their tracker, so that they can kill it.
#[test]
fn a_tracker_in_a_process_of_its_own() {
    let Some(address) = std::env::var_os(TRACKER_VARIABLE) else { return };
    let address: SocketAddr = address.to_str().unwrap().parse().unwrap();
    Runtime::new().unwrap().block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let config = shoal_tracker::run::Config {
            network: "test".to_owned(),
            heartbeat: Duration::from_secs(1),
            ..Default::default()
        };
        let never = std::future::pending();
        shoal_tracker::run::run(listener, config, Screen::none(), never).await.unwrap();
    });
}
