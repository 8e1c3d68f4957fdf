//! How far a download is, as it is shown to others.

use std::time::{Duration, Instant};

use super::fetch::Work;
use super::job::{JobId, JobInfo, JobState, OwnerInfo, Priority, WantedFile};
use super::roster::Roster;

/// Over about how long the rate is averaged.
const LATELY: Duration = Duration::from_secs(3);

/// Watches one download.
#[derive(Debug)]
pub(super) struct Progress {
    job: JobId,
    wanted: WantedFile,
    started: Instant,
    resumed: u64,
    done: u64,
    /// When `done` was last looked at, since there is work.
    looked: Option<Instant>,
    rate: f64,
}

impl Progress {
    /// A download that starts now.
    pub(super) fn new(job: JobId, wanted: WantedFile, now: Instant) -> Self {
        Self { job, wanted, started: now, resumed: 0, done: 0, looked: None, rate: 0.0 }
    }

    /// Bytes of an earlier attempt are here; from now on the rate counts.
    pub(super) fn resumed(&mut self, bytes: u64, now: Instant) {
        self.resumed = bytes;
        self.done = bytes;
        self.looked = Some(now);
    }

    /// So many verified bytes are here.
    pub(super) fn look(&mut self, done: u64, now: Instant) {
        let Some(looked) = self.looked else { return };
        let passed = now.saturating_duration_since(looked).as_secs_f64();
        if passed < 0.05 {
            return;
        }
        let newest = as_f64(done.saturating_sub(self.done)) / passed;
        // Until LATELY has passed, the mean of all there was.
        let age = now.saturating_duration_since(self.started).min(LATELY).as_secs_f64();
        let weight = (passed / age.max(passed)).clamp(0.0, 1.0);
        self.rate += weight * (newest - self.rate);
        self.done = done;
        self.looked = Some(now);
    }

    /// What is shown.
    pub(super) fn info(
        &self,
        state: JobState,
        reason: Option<String>,
        work: Option<&Work>,
        roster: &Roster,
        now: Instant,
    ) -> JobInfo {
        let size = work.map_or(self.wanted.size, |work| work.manifest().geometry().size());
        let done = work.map_or(self.done, |work| work.sink().written());
        let seconds = now.saturating_duration_since(self.started).as_secs_f64();
        let rate = if state.is_over() {
            as_f64(done.saturating_sub(self.resumed)) / seconds.max(1e-6)
        } else {
            self.rate
        };
        let left = as_f64(size.saturating_sub(done)) / rate;
        JobInfo {
            job: self.job,
            name: self.wanted.name.to_string(),
            size,
            id: Some(self.wanted.file),
            priority: Priority::default(),
            limit: None,
            state,
            done,
            resumed: self.resumed,
            seconds,
            rate,
            left: (state == JobState::Running && left.is_finite()).then_some(left),
            owners: owners(work, roster, state),
            reason,
            saved_as: None,
            files: None,
            failures: Vec::new(),
        }
    }
}

/// Everyone who gave something, is in use, or made trouble; by name.
fn owners(work: Option<&Work>, roster: &Roster, state: JobState) -> Vec<OwnerInfo> {
    let shares: Vec<_> = work.map(|work| work.plan().shares().collect()).unwrap_or_default();
    let mut owners: Vec<_> = roster
        .everyone()
        .filter_map(|id| {
            let bytes =
                shares.iter().find(|share| share.owner == id).map_or(0, |share| share.bytes);
            let trouble = roster.trouble(id).map(str::to_owned);
            let active = roster.is_active(id) && !state.is_over();
            let matters = bytes > 0 || active || trouble.is_some();
            let name = roster.name(id)?.clone();
            matters.then_some(OwnerInfo { name, bytes, active, trouble })
        })
        .collect();
    owners.sort_by(|a, b| a.name.cmp(&b.name));
    owners
}

/// Close enough to be shown.
#[allow(clippy::cast_precision_loss)] // beyond 2^53 bytes a byte more or less does not show
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use shoal_common::content::FileId;

    use super::*;

    #[test]
    fn the_rate_follows_what_happens_lately() {
        let start = Instant::now();
        let name = "a".parse().unwrap();
        let wanted = WantedFile { name, file: FileId::of(b"a"), size: 10_000 };
        let mut progress = Progress::new(1, wanted, start);
        let roster = Roster::new(None);
        progress.resumed(1_000, start);
        let mut done = 1_000;
        let mut now = start;
        let mut rate_at = |bytes: u64, seconds: u32| {
            for _ in 0..seconds * 4 {
                now += Duration::from_millis(250);
                done += bytes / 4;
                progress.look(done, now);
            }
            progress.info(JobState::Running, None, None, &roster, now)
        };
        let info = rate_at(400, 1);
        assert!((info.rate - 400.0).abs() < 1.0, "bytes of an earlier attempt do not count");
        assert!((info.left.unwrap() - 8_600.0 / 400.0).abs() < 0.1);
        let stopped = rate_at(0, 20);
        assert!(stopped.rate < 4.0, "{}", stopped.rate);
        assert!(progress.info(JobState::Waiting, None, None, &roster, now).left.is_none());
    }
}
