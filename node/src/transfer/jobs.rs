//! The handle on what comes in: all downloads of this node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_common::content::FileId;
use shoal_common::ident::Peer;
use shoal_common::limits::MAX_DOWNLOADS;
use shoal_common::name::SharedName;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info_span, warn};

use crate::volume::PartialDir;

use super::download::{Download, Stops};
use super::environment::Environment;
use super::job::{JobId, JobInfo, JobState, Wanted};
use super::note::{Course, Note};

/// How long the last write of a download may take when the node leaves.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// How many downloads that are over stay on the list.
const MAX_OVER: usize = 100;

/// Why a download does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The content is here.
    #[error("you have this file: `{0}`")]
    Here(SharedName),
    /// It is being downloaded.
    #[error("this content is being downloaded already: job {0}")]
    Running(JobId),
    /// Too many downloads are under way.
    #[error("{MAX_DOWNLOADS} downloads are under way: cancel one, or wait for one to end")]
    TooMany,
    /// The node is leaving.
    #[error("the node is leaving")]
    Leaving,
}

/// Why a download is not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// There is none of this number.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// It is over.
    #[error("job {0} is over already")]
    Over(JobId),
}

/// All downloads of this node. Clones are the same.
#[derive(Clone)]
pub struct Downloads {
    environment: Arc<Environment>,
    jobs: Arc<Mutex<Jobs>>,
}

#[derive(Default)]
struct Jobs {
    last: JobId,
    leaving: bool,
    jobs: BTreeMap<JobId, Job>,
}

struct Job {
    info: watch::Receiver<JobInfo>,
    stops: Stops,
}

impl Downloads {
    /// No downloads yet.
    pub fn new(environment: Environment) -> Self {
        Self { environment: Arc::new(environment), jobs: Arc::default() }
    }

    /// Starts a download. `owners` are known to have it; more are looked for.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(&self, wanted: Wanted, owners: Vec<Peer>) -> Result<JobId, StartError> {
        if let Some(shared) = self.environment.catalog.find(&wanted.file) {
            return Err(StartError::Here(shared.name.clone()));
        }
        let mut jobs = self.jobs();
        jobs.admit(wanted.file)?;
        jobs.last += 1;
        let job = jobs.last;
        let stops = Stops::default();
        let span = info_span!("download", job, name = %wanted.name);
        let environment = Arc::clone(&self.environment);
        let (download, info) = Download::new(environment, job, wanted, owners, stops.clone());
        jobs.jobs.insert(job, Job { info, stops });
        jobs.trim();
        drop(jobs);
        self.environment.tasks.spawn(span, download.run());
        Ok(job)
    }

    /// Starts again what was under way when this node ended last.
    pub fn resume(&self) -> Vec<JobId> {
        let volume = &self.environment.volume;
        let partials = volume.partials().unwrap_or_else(|error| {
            warn!("cannot see what was being downloaded: {error}");
            Vec::new()
        });
        let notes = partials.into_iter().filter_map(|file| Note::read(volume, file));
        let under_way = notes.filter(|note| note.course == Course::UnderWay);
        under_way
            .filter_map(|note| {
                let name = note.wanted.name.clone();
                let file = note.wanted.file;
                let started = self.start(note.wanted, Vec::new());
                match &started {
                    // It got its name just before the end.
                    Err(StartError::Here(_)) => self.forget(file),
                    Err(error) => warn!("`{name}` does not go on: {error}"),
                    Ok(_) => {}
                }
                started.ok()
            })
            .collect()
    }

    fn forget(&self, file: FileId) {
        let partial = self.environment.volume.partial(&file);
        if let Err(error) = partial.and_then(PartialDir::discard) {
            warn!("cannot tidy up after a download that is complete: {error}");
        }
    }

    /// All downloads, in order of their numbers; of those that are over, the
    /// last hundred.
    pub fn list(&self) -> Vec<JobInfo> {
        self.jobs().jobs.values().map(Job::now).collect()
    }

    /// Stops a download. What has come is kept for the next time.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    pub fn cancel(&self, job: JobId) -> Result<(), CancelError> {
        let jobs = self.jobs();
        let found = jobs.jobs.get(&job).ok_or(CancelError::NoSuchJob(job))?;
        if found.is_over() {
            return Err(CancelError::Over(job));
        }
        found.stops.cancel.cancel();
        Ok(())
    }

    /// Waits until a download is over, or this node leaves; how it stands
    /// then. `None` if there is no such job.
    pub async fn finished(&self, job: JobId) -> Option<JobInfo> {
        let mut info = self.watch(job)?;
        // An error says that the task is gone: what it said last is the end.
        info.wait_for(|info| info.state.is_over()).await.ok();
        let last = info.borrow().clone();
        Some(last)
    }

    /// Follows a download. `None` if there is no such job.
    pub fn watch(&self, job: JobId) -> Option<watch::Receiver<JobInfo>> {
        self.jobs().jobs.get(&job).map(|job| job.info.clone())
    }

    /// Before this node leaves: starts nothing more, waits at most `patience`
    /// for the downloads into which bytes come, then stops all. What is not
    /// done goes on at the next start; it is returned.
    pub async fn drain(&self, patience: Duration) -> Vec<JobInfo> {
        let watched: Vec<_> = {
            let mut jobs = self.jobs();
            jobs.leaving = true;
            jobs.jobs.values().filter(|job| !job.is_over()).map(Job::watched).collect()
        };
        let until = Instant::now() + patience;
        for (mut info, _) in watched.clone() {
            let still = info.wait_for(|info| !is_moving(info.state));
            // Whether it ended or the time is over: it is told to leave now.
            drop(timeout_at(until, still).await);
        }
        let mut left = Vec::new();
        for (mut info, stops) in watched {
            stops.leave.cancel();
            // Until the task is gone, which takes as long as its last write; a
            // disk that hangs does not keep the node from leaving.
            let gone = async { while info.changed().await.is_ok() {} };
            timeout(LAST_WRITE, gone).await.ok();
            left.push(info.borrow().clone());
        }
        left.retain(|info| !info.state.is_over());
        left
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Whole after each of the few statements under its lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_moving(state: JobState) -> bool {
    matches!(state, JobState::Starting | JobState::Running)
}

impl Jobs {
    fn admit(&self, file: FileId) -> Result<(), StartError> {
        if self.leaving {
            return Err(StartError::Leaving);
        }
        let running = || self.jobs.iter().filter(|(_, job)| !job.is_over());
        if let Some((&job, _)) = running().find(|(_, job)| job.info.borrow().id == file) {
            return Err(StartError::Running(job));
        }
        if running().count() >= MAX_DOWNLOADS {
            return Err(StartError::TooMany);
        }
        Ok(())
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
    fn now(&self) -> JobInfo {
        self.info.borrow().clone()
    }

    fn is_over(&self) -> bool {
        self.info.borrow().state.is_over()
    }

    fn watched(&self) -> (watch::Receiver<JobInfo>, Stops) {
        (self.info.clone(), self.stops.clone())
    }
}
