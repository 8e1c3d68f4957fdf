//! Gives way to transfers, and to whatever else needs the cores.
//!
//! A low priority alone does not do it: a transfer sleeps and wakes thousands of
//! times a second, and each time a thread of low priority has begun to use its
//! core and its caches. Beside two threads that hash without pauses a transfer
//! was measured at two thirds of its rate. So there are pauses while this node
//! knows that it transfers much, and while it has to wait for its turn, which
//! tells that others, another node say, are busy.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};

use crate::traffic::{Gauge, Traffic};

/// How nice threads are that hash: of a core that they share with a thread of
/// usual priority they get a tenth. (At 19 it would be a seventieth: on a
/// machine that is always busy, files would be shared minutes after they came.)
const NICE: i32 = 10;

/// While this node transfers much, how many times as long as a portion took the
/// pause after it is: all threads together take a twentieth of one core, and of
/// the disk.
const PAUSE: u32 = 19;

/// While others need the cores, how many times as long as a portion kept a core
/// the pause after it is. They may have nothing to do with files, and go on for
/// ever: all threads together take a tenth of one core.
const CROWDED_PAUSE: u32 = 9;

/// Longest pause: a portion may have taken long because others had the core, or
/// the disk, and the node may be about to leave.
const LONGEST: Duration = Duration::from_millis(200);

/// Least time over which a thread finds out whether it had to wait for a core.
const SAMPLE: Duration = Duration::from_millis(50);

/// How long the cores count as crowded after they were.
const CROWDED: Duration = Duration::from_millis(500);

/// How fast threads that hash may go.
#[derive(Debug)]
pub(super) struct Pace {
    traffic: Traffic,
    others: Mutex<Others>,
    /// Held by the one that goes on while others are busy.
    lane: Mutex<()>,
}

/// What is known of those who need the cores.
#[derive(Debug)]
struct Others {
    gauge: Gauge,
    crowded_until: Option<Instant>,
}

/// Why hashing gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// This node transfers much.
    Traffic,
    /// Others have something to do.
    Cores,
}

impl Pace {
    pub(super) fn new(traffic: Traffic) -> Self {
        let gauge = Gauge::new(traffic.total(), Instant::now());
        let others = Mutex::new(Others { gauge, crowded_until: None });
        Self { traffic, others, lane: Mutex::new(()) }
    }

    /// Does a portion of work: at once, or one at a time and with pauses while
    /// others are busy.
    pub(super) fn pass<T>(&self, turns: &mut Turns, work: impl FnOnce() -> T) -> T {
        let now = Instant::now();
        if turns.is_due(now) && turns.waits(times(), now) {
            self.others().crowded_until = Some(now + CROWDED);
        }
        let Some(need) = self.need(now) else { return work() };
        let _lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, ran) = (Instant::now(), cpu_time());
        let done = work();
        let pause = match need {
            Need::Traffic => start.elapsed() * PAUSE,
            Need::Cores => cpu_time().saturating_sub(ran) * CROWDED_PAUSE,
        };
        thread::sleep(pause.min(LONGEST));
        done
    }

    /// Whether others are busy.
    fn need(&self, now: Instant) -> Option<Need> {
        let total = self.traffic.total();
        let mut others = self.others();
        if others.gauge.is_busy(total, now) {
            return Some(Need::Traffic);
        }
        others.crowded_until.is_some_and(|until| now < until).then_some(Need::Cores)
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a thread has to wait for a core when it could go on. Pure.
#[derive(Debug)]
pub(super) struct Turns {
    since: Instant,
    /// How long it had run, and waited, by then.
    times: Option<(Duration, Duration)>,
}

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, times: None }
    }

    /// Whether it is worth while to look again.
    fn is_due(&self, now: Instant) -> bool {
        self.times.is_none() || now.saturating_duration_since(self.since) >= SAMPLE
    }

    /// Whether it waited for more than half as long as it ran lately, given how
    /// long it has run and waited in all.
    fn waits(&mut self, times: Option<(Duration, Duration)>, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.times, times);
        self.since = now;
        let (Some((ran, waited)), Some(before)) = (times, before) else { return false };
        waited.saturating_sub(before.1) * 2 > ran.saturating_sub(before.0)
    }
}

/// How long this thread has run, and waited for a core; `None` where the system
/// does not tell.
fn times() -> Option<(Duration, Duration)> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut times = told.split(' ').map(|time| time.parse().map(Duration::from_nanos));
    Some((times.next()?.ok()?, times.next()?.ok()?))
}

/// How long this thread has run.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
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
            pace.pass(&mut Turns::new(start), || thread::sleep(work));
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
                    pace.pass(&mut Turns::new(Instant::now()), || {
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

    #[test]
    fn who_waits_for_a_core_knows_that_others_are_busy() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut turns = Turns::new(start);
        assert!(turns.is_due(start));
        assert!(!turns.waits(Some((ms(7), ms(900))), start), "long ago");
        assert!(!turns.is_due(start + ms(49)));
        assert!(turns.is_due(start + ms(50)));
        assert!(!turns.waits(Some((ms(57), ms(905))), start + ms(50)));
        assert!(turns.waits(Some((ms(80), ms(930))), start + ms(100)));
        // In a pause it neither runs nor waits.
        assert!(!turns.waits(Some((ms(80), ms(930))), start + ms(150)));
        assert!(!turns.waits(None, start + ms(200)));
        assert!(!turns.waits(Some((ms(0), ms(930))), start + ms(250)));
    }

    #[test]
    fn the_system_tells_how_long_a_thread_ran() {
        let (before, _) = times().unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let (ran, waited) = times().unwrap();
        assert!(ran > before);
        assert!(ran - before + waited >= Duration::from_millis(10));
    }

    #[test]
    fn crowded_cores_make_it_pause() {
        let pace = Pace::new(Traffic::default());
        let now = Instant::now();
        assert_eq!(pace.need(now), None);
        pace.others().crowded_until = Some(now + CROWDED);
        assert_eq!(pace.need(now + CROWDED / 2), Some(Need::Cores));
        assert_eq!(pace.need(now + CROWDED), None);
    }
}
