//! How far a download is, as it is shown to others.

use std::time::{Duration, Instant};

use shoal_common::content::FileId;

use super::job::{JobId, JobInfo, JobState, OwnerInfo, Priority, Wanted, What};
use super::plan::Share;
use super::roster::Roster;

/// Over about how long the rate is averaged.
const LATELY: Duration = Duration::from_secs(3);

/// Watches one attempt at a download.
#[derive(Debug)]
pub(super) struct Progress {
    job: JobId,
    title: String,
    file: Option<FileId>,
    started: Instant,
    /// What earlier attempts of the same job came to.
    before: Before,
    resumed: u64,
    done: u64,
    /// When `done` was last looked at, since there is something to look at.
    looked: Option<Instant>,
    /// When bytes came last.
    moved: Instant,
    rate: f64,
}

/// What the attempts before this one came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    /// How long they took.
    pub(super) seconds: f64,
    /// Verified bytes that were here at their end; found again, or not, when the
    /// disk was looked at.
    pub(super) done: u64,
}

/// How it stands.
pub(super) struct Seen {
    pub(super) state: JobState,
    pub(super) reason: Option<String>,
    /// Bytes in all.
    pub(super) size: u64,
    /// Verified bytes that are here.
    pub(super) done: u64,
    /// What each owner gave.
    pub(super) shares: Vec<Share>,
}

impl Progress {
    /// An attempt that starts now, after others.
    pub(super) fn new(job: JobId, wanted: &Wanted, before: Before, now: Instant) -> Self {
        let file = match &wanted.what {
            What::File(wanted) => Some(wanted.file),
            What::Tree(_) => None,
        };
        Self {
            job,
            title: wanted.title().to_owned(),
            file,
            started: now,
            before,
            resumed: 0,
            done: 0,
            looked: None,
            moved: now,
            rate: 0.0,
        }
    }

    /// More bytes of an earlier attempt are here; they do not count for the rate.
    pub(super) fn resumed(&mut self, bytes: u64, now: Instant) {
        self.resumed = self.resumed.saturating_add(bytes);
        self.done = self.done.saturating_add(bytes);
        self.before.done = 0;
        self.looked.get_or_insert(now);
    }

    /// So many verified bytes are here.
    pub(super) fn look(&mut self, done: u64, now: Instant) {
        let looked = *self.looked.get_or_insert(self.started);
        let passed = now.saturating_duration_since(looked).as_secs_f64();
        if passed < 0.05 {
            return;
        }
        let fresh = done.saturating_sub(self.done);
        if fresh > 0 {
            self.moved = now;
        }
        let newest = as_f64(fresh) / passed;
        // Until LATELY has passed, the mean of all there was.
        let age = now.saturating_duration_since(self.started).min(LATELY).as_secs_f64();
        let weight = (passed / age.max(passed)).clamp(0.0, 1.0);
        self.rate += weight * (newest - self.rate);
        self.done = done;
        self.looked = Some(now);
    }

    /// Since when nothing has come.
    pub(super) fn quiet(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.moved)
    }

    /// Whether bytes come about as fast as this limit allows.
    pub(super) fn is_about(&self, limit: u64) -> bool {
        self.rate > 0.8 * as_f64(limit)
    }

    /// What is shown, but for what is not known here: priority and limit, the
    /// final name, the files of a tree.
    pub(super) fn info(&self, seen: Seen, roster: &Roster, now: Instant) -> JobInfo {
        let Seen { state, reason, size, done, shares } = seen;
        let lately = now.saturating_duration_since(self.started).as_secs_f64();
        let rate = match state {
            _ if state.is_over() => as_f64(done.saturating_sub(self.resumed)) / lately.max(1e-6),
            JobState::Running => self.rate,
            _ => 0.0,
        };
        let left = as_f64(size.saturating_sub(done)) / rate;
        // Until the disk was looked at, it is as far as it was.
        let done = done.max(self.before.done);
        JobInfo {
            job: self.job,
            name: self.title.clone(),
            size,
            id: self.file,
            state,
            priority: Priority::default(),
            limit: None,
            done,
            resumed: self.resumed,
            seconds: self.before.seconds + lately,
            rate,
            left: (state == JobState::Running && left.is_finite()).then_some(left),
            owners: owners(&shares, roster, state),
            reason,
            saved_as: None,
            files: None,
            failures: Vec::new(),
        }
    }
}

/// Everyone who gave something, is in use, or made trouble; by name.
fn owners(shares: &[Share], roster: &Roster, state: JobState) -> Vec<OwnerInfo> {
    let mut owners: Vec<_> = roster
        .everyone()
        .filter_map(|id| {
            let bytes =
                shares.iter().find(|share| share.owner == id).map_or(0, |share| share.bytes);
            let trouble = roster.trouble(id).map(str::to_owned);
            let active = roster.is_active(id) && state.is_moving();
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
        let wanted = Wanted::file("a".parse().unwrap(), FileId::of(b"a"), 10_000);
        let before = Before { seconds: 2.0, done: 0 };
        let mut progress = Progress::new(1, &wanted, before, start);
        let roster = Roster::new(None, 0);
        progress.resumed(1_000, start);
        let mut done = 1_000;
        let mut now = start;
        let mut rate_at = |bytes: u64, seconds: u32| {
            for _ in 0..seconds * 4 {
                now += Duration::from_millis(250);
                done += bytes / 4;
                progress.look(done, now);
            }
            let seen = |state| Seen { state, reason: None, size: 10_000, done, shares: vec![] };
            let quiet = progress.quiet(now);
            let running = progress.info(seen(JobState::Running), &roster, now);
            let waiting = progress.info(seen(JobState::Waiting), &roster, now);
            assert!(waiting.left.is_none());
            (running, quiet)
        };
        let (info, quiet) = rate_at(400, 1);
        assert!((info.rate - 400.0).abs() < 1.0, "bytes of an earlier attempt do not count");
        assert!((info.left.unwrap() - 8_600.0 / 400.0).abs() < 0.1);
        assert!((info.seconds - 3.0).abs() < 0.01, "earlier attempts count");
        assert!(quiet < Duration::from_secs(1));
        let (stopped, quiet) = rate_at(0, 20);
        assert!(stopped.rate < 4.0, "{}", stopped.rate);
        assert!(quiet >= Duration::from_secs(20));
    }
    #[test]
    fn it_is_as_far_as_it_was_until_the_disk_was_looked_at() {
        let now = Instant::now();
        let wanted = Wanted::file("a".parse().unwrap(), FileId::of(b"a"), 10_000);
        let mut progress = Progress::new(1, &wanted, Before { seconds: 2.0, done: 700 }, now);
        let shown = |progress: &Progress, done| {
            let (state, shares) = (JobState::Starting, vec![]);
            let seen = Seen { state, reason: None, size: 10_000, done, shares };
            progress.info(seen, &Roster::new(None, 0), now).done
        };
        assert_eq!(shown(&progress, 0), 700);
        progress.resumed(500, now);
        assert_eq!(shown(&progress, 500), 500, "some of it was not right");
    }
}
