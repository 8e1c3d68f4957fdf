//! All downloads of a node, the schedule, and what of them is written down.
//! Without I/O: what is to begin is returned.

use std::collections::BTreeMap;

use shoal_common::ident::Peer;
use shoal_common::limits::MAX_JOBS;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::kept::{Kept, List};
use super::{JobError, StartError};
use crate::transfer::attempt::{Stop, Why};
use crate::transfer::job::{JobId, JobInfo, JobState, Priority, Wanted};
use crate::transfer::rate::Throttle;
use crate::transfer::schedule::{Change, Schedule};

/// How many downloads that are over stay on the list.
const MAX_OVER: usize = 100;

/// All downloads.
#[derive(Debug)]
pub(super) struct Table {
    last: JobId,
    pub(super) leaving: bool,
    schedule: Schedule,
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// Of an earlier life of the node, and not asked to go on.
    dormant: Vec<Kept>,
    /// Whether what is kept has changed.
    changed: bool,
}

/// One download.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) wanted: Wanted,
    /// Who is known to have it, for the first attempt.
    owners: Vec<Peer>,
    pub(super) info: watch::Sender<JobInfo>,
    throttle: Throttle,
    cancelled: bool,
    pub(super) attempt: Option<Attempt>,
}

/// An attempt under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempt {
    pub(super) stop: Stop,
    /// Cancelled when its task is gone.
    pub(super) gone: CancellationToken,
}

/// An attempt to begin.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) job: JobId,
    pub(super) wanted: Wanted,
    pub(super) owners: Vec<Peer>,
    pub(super) info: watch::Sender<JobInfo>,
    pub(super) throttle: Throttle,
    pub(super) attempt: Attempt,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The download is over.
    Over,
    /// It was told to end.
    Stopped,
    /// By an error of this program.
    Panicked,
    /// Its task was dropped: the node ends.
    Dropped,
}

impl Table {
    /// None under way, and those of an earlier life.
    pub(super) fn new(kept: List, most: usize) -> Self {
        Self {
            last: kept.last,
            leaving: false,
            schedule: Schedule::new(most),
            jobs: BTreeMap::new(),
            dormant: kept.jobs,
            changed: false,
        }
    }

    /// Most that run at once.
    pub(super) fn most(&self) -> usize {
        self.schedule.most()
    }

    /// Whether what is kept has changed since this was asked last.
    pub(super) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is kept: all that is not over.
    pub(super) fn kept(&self) -> List {
        let running = self.jobs.iter().filter(|(_, job)| !job.is_over());
        let mut jobs: Vec<Kept> = running.map(|(&id, job)| self.keep(id, job)).collect();
        jobs.extend(self.dormant.iter().cloned());
        jobs.sort_by_key(|kept| kept.job);
        List::new(self.last, jobs)
    }

    fn keep(&self, job: JobId, found: &Job) -> Kept {
        let info = found.info.borrow();
        Kept {
            job,
            wanted: found.wanted.clone(),
            paused: self.schedule.is_paused(job),
            priority: info.priority,
            limit: info.limit,
            done: info.done,
        }
    }

    /// A new download.
    pub(super) fn add(
        &mut self,
        wanted: Wanted,
        owners: Vec<Peer>,
        (priority, limit): (Priority, Option<u64>),
    ) -> Result<(JobId, Vec<Launch>), StartError> {
        self.admit(&wanted)?;
        let taken = |job| job == 0 || self.jobs.contains_key(&job) || self.is_dormant(job);
        let mut numbers = (1..).map(|more| self.last.wrapping_add(more));
        let job = numbers.find(|job| !taken(*job)).unwrap_or_default();
        self.last = job;
        // It is under way again, under a new number.
        self.dormant.retain(|kept| !kept.wanted.what.is_same(&wanted.what));
        let kept = Kept { job, wanted, paused: false, priority, limit, done: 0 };
        let launches = self.insert(kept, owners);
        self.trim();
        Ok((job, launches))
    }

    fn is_dormant(&self, job: JobId) -> bool {
        self.dormant.iter().any(|kept| kept.job == job)
    }

    fn admit(&self, wanted: &Wanted) -> Result<(), StartError> {
        if self.leaving {
            return Err(StartError::Leaving);
        }
        let same = |job: &Job| !job.is_over() && job.wanted.what.is_same(&wanted.what);
        if let Some((&job, _)) = self.jobs.iter().find(|(_, job)| same(job)) {
            return Err(StartError::Running(job));
        }
        if self.schedule.len() >= MAX_JOBS {
            return Err(StartError::TooMany);
        }
        Ok(())
    }

    fn insert(&mut self, kept: Kept, owners: Vec<Peer>) -> Vec<Launch> {
        let Kept { job, wanted, paused, priority, limit, done } = kept;
        let mut info = JobInfo::new(job, &wanted);
        (info.priority, info.limit, info.done) = (priority, limit, done);
        info.state = if paused { JobState::Paused } else { JobState::Queued };
        let info = watch::Sender::new(info);
        let throttle = Throttle::unlimited();
        throttle.set(limit);
        let new = Job { wanted, owners, info, throttle, cancelled: false, attempt: None };
        self.jobs.insert(job, new);
        self.changed = true;
        let changes = self.schedule.add(job, priority, paused);
        self.apply(changes)
    }

    /// Goes on with those of an earlier life, but for those that `is_here`.
    pub(super) fn wake(
        &mut self,
        is_here: impl Fn(&Wanted) -> bool,
    ) -> (Vec<JobId>, Vec<Launch>, Vec<Wanted>) {
        let (mut woken, mut launches, mut here) = (Vec::new(), Vec::new(), Vec::new());
        for kept in std::mem::take(&mut self.dormant) {
            if is_here(&kept.wanted) {
                here.push(kept.wanted);
            } else if kept.job != 0 && !self.jobs.contains_key(&kept.job) {
                woken.push(kept.job);
                self.last = self.last.max(kept.job);
                launches.extend(self.insert(kept, Vec::new()));
            }
        }
        self.changed |= !here.is_empty();
        (woken, launches, here)
    }

    /// One that is not over.
    fn under_way(&mut self, job: JobId) -> Result<&mut Job, JobError> {
        let found = self.jobs.get_mut(&job).ok_or(JobError::NoSuchJob(job))?;
        if found.is_over() || found.cancelled { Err(JobError::Over(job)) } else { Ok(found) }
    }

    pub(super) fn cancel(&mut self, job: JobId) -> Result<Vec<Launch>, JobError> {
        let found = self.under_way(job)?;
        found.cancelled = true;
        match &found.attempt {
            Some(attempt) => {
                attempt.stop.stop(Why::Cancel);
                Ok(Vec::new())
            }
            None => {
                found.state(JobState::Cancelled);
                Ok(self.over(job))
            }
        }
    }

    pub(super) fn pause(&mut self, job: JobId, paused: bool) -> Result<Vec<Launch>, JobError> {
        self.under_way(job)?;
        match (self.schedule.is_paused(job), paused) {
            (true, true) => return Err(JobError::Paused(job)),
            (false, false) => return Err(JobError::NotPaused(job)),
            _ => self.changed = true,
        }
        let changes = self.schedule.pause(job, paused);
        let launches = self.apply(changes);
        self.rest(job);
        Ok(launches)
    }

    pub(super) fn prioritize(
        &mut self,
        job: JobId,
        priority: Priority,
    ) -> Result<Vec<Launch>, JobError> {
        self.under_way(job)?.info.send_modify(|info| info.priority = priority);
        self.changed = true;
        let changes = self.schedule.prioritize(job, priority);
        Ok(self.apply(changes))
    }

    pub(super) fn set_limit(&mut self, job: JobId, limit: Option<u64>) -> Result<(), JobError> {
        let found = self.under_way(job)?;
        found.throttle.set(limit);
        found.info.send_modify(|info| info.limit = limit);
        self.changed = true;
        Ok(())
    }

    pub(super) fn set_most(&mut self, most: usize) -> Vec<Launch> {
        let changes = self.schedule.set_most(most);
        self.apply(changes)
    }

    /// The attempt at a job has ended.
    pub(super) fn ended(&mut self, job: JobId, outcome: Outcome) -> Vec<Launch> {
        let Some(found) = self.jobs.get_mut(&job) else { return Vec::new() };
        found.attempt = None;
        match outcome {
            // It said so itself, with all that is to be said.
            Outcome::Over => return self.over(job),
            Outcome::Panicked => {
                let reason = "an error of this program; its log says which";
                found.info.send_modify(|info| info.reason = Some(reason.to_owned()));
                found.state(JobState::Failed);
                return self.over(job);
            }
            Outcome::Stopped if found.cancelled => {
                found.state(JobState::Cancelled);
                return self.over(job);
            }
            Outcome::Stopped => {}
            Outcome::Dropped => self.leaving = true,
        }
        if self.leaving {
            return Vec::new();
        }
        let changes = self.schedule.ended(job);
        let launches = self.apply(changes);
        self.rest(job);
        launches
    }

    /// The attempt at a job waits for an owner, or goes on.
    pub(super) fn waits(&mut self, job: JobId, waits: bool) -> Vec<Launch> {
        let changes = self.schedule.waits(job, waits);
        self.apply(changes)
    }

    fn over(&mut self, job: JobId) -> Vec<Launch> {
        self.changed = true;
        let changes = self.schedule.over(job);
        self.apply(changes)
    }

    /// A job that no attempt is made at is queued or paused.
    fn rest(&mut self, job: JobId) {
        let paused = self.schedule.is_paused(job);
        if let Some(found) = self.jobs.get(&job).filter(|found| found.attempt.is_none()) {
            found.state(if paused { JobState::Paused } else { JobState::Queued });
        }
    }

    fn apply(&mut self, changes: Vec<Change>) -> Vec<Launch> {
        let mut launches = Vec::new();
        if self.leaving {
            return launches;
        }
        for change in changes {
            match change {
                Change::Start(job) => launches.extend(self.jobs.get_mut(&job).map(|found| {
                    found.state(JobState::Starting);
                    let attempt = Attempt::default();
                    found.attempt = Some(attempt.clone());
                    let (wanted, owners) =
                        (found.wanted.clone(), std::mem::take(&mut found.owners));
                    let (info, throttle) = (found.info.clone(), found.throttle.clone());
                    Launch { job, wanted, owners, info, throttle, attempt }
                })),
                Change::Stop(job) => {
                    let why = if self.schedule.is_paused(job) { Why::Pause } else { Why::Queue };
                    let found = self.jobs.get(&job);
                    if let Some(attempt) = found.and_then(|found| found.attempt.as_ref()) {
                        attempt.stop.stop(why);
                    }
                }
            }
        }
        launches
    }

    /// Forgets the oldest of those that are over, beyond the bound.
    fn trim(&mut self) {
        let over: Vec<_> =
            self.jobs.iter().filter(|(_, job)| job.is_over()).map(|(&id, _)| id).collect();
        for id in over.iter().take(over.len().saturating_sub(MAX_OVER)) {
            self.jobs.remove(id);
        }
    }
}

impl Job {
    /// How it stands.
    pub(super) fn now(&self) -> JobInfo {
        self.info.borrow().clone()
    }

    pub(super) fn is_over(&self) -> bool {
        self.info.borrow().state.is_over()
    }

    fn state(&self, state: JobState) {
        self.info.send_modify(|info| {
            info.state = state;
            if state != JobState::Failed {
                info.reason = None;
            }
            (info.left, info.rate) = (None, 0.0);
        });
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
