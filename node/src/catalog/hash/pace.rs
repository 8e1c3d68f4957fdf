//! Gives way to transfers.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;

use crate::traffic::{Gauge, Traffic};

/// How nice threads are that hash. Of a core that they share with a thread of
/// usual priority they get a thirtieth. (At 19 it is a seventieth, which on a
/// machine that is always busy is as good as nothing: files would be shared
/// minutes after they came.)
const NICE: i32 = 15;

/// While transfers are busy, how many times as long as a portion took the pause
/// after it is: all threads together take a twentieth of one core, and of its
/// caches. (A lower priority alone does not keep a core's caches and the memory
/// free for those who wait for a packet now and then.)
const PAUSE: u32 = 19;

/// Longest pause: a portion may have taken long because others had the core, or
/// the disk, and the node may be about to leave.
const LONGEST: Duration = Duration::from_millis(500);

/// How fast threads that hash may go.
#[derive(Debug)]
pub(super) struct Pace {
    traffic: Traffic,
    gauge: Mutex<Gauge>,
    /// Held by the one that goes on while transfers are busy.
    lane: Mutex<()>,
}

impl Pace {
    pub(super) fn new(traffic: Traffic) -> Self {
        let gauge = Mutex::new(Gauge::new(traffic.total(), Instant::now()));
        Self { traffic, gauge, lane: Mutex::new(()) }
    }

    /// Does a portion of work: at once, or one at a time and with pauses while
    /// transfers are busy.
    pub(super) fn pass<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self.is_busy() {
            return work();
        }
        let _lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let done = work();
        thread::sleep((start.elapsed() * PAUSE).min(LONGEST));
        done
    }

    fn is_busy(&self) -> bool {
        let mut gauge = self.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        gauge.is_busy(self.traffic.total(), Instant::now())
    }
}

/// Lowers the priority of this thread for good.
pub(super) fn step_back() {
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!("cannot lower the priority of a thread: {error}");
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::limits::GIB;

    use super::*;

    #[test]
    fn a_portion_waits_only_while_transfers_are_busy() {
        let traffic = Traffic::default();
        let pace = Pace::new(traffic.clone());
        let work = Duration::from_millis(5);
        let passed = || {
            let start = Instant::now();
            pace.pass(|| thread::sleep(work));
            start.elapsed()
        };
        // Others may hold the machine up, but hardly each of some times.
        assert!((0..20).map(|_| passed()).min().unwrap() < work * PAUSE);
        traffic.moved(GIB);
        thread::sleep(Duration::from_millis(30));
        assert!(passed() >= work * PAUSE);
    }

    #[test]
    fn one_thread_at_a_time_while_transfers_are_busy() {
        let traffic = Traffic::default();
        let pace = Pace::new(traffic.clone());
        thread::sleep(Duration::from_millis(30));
        let (at_once, most) = (std::sync::atomic::AtomicU64::new(0), Mutex::new(0));
        use std::sync::atomic::Ordering::SeqCst;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // However late it starts.
                    traffic.moved(GIB);
                    thread::sleep(Duration::from_millis(30));
                    pace.pass(|| {
                        let now = at_once.fetch_add(1, SeqCst) + 1;
                        let mut most = most.lock().unwrap();
                        *most = now.max(*most);
                        drop(most);
                        thread::sleep(Duration::from_millis(2));
                        at_once.fetch_sub(1, SeqCst);
                    });
                });
            }
        });
        assert_eq!(most.into_inner().unwrap(), 1);
    }
}
