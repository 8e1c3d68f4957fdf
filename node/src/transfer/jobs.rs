//! The handle on what comes in: all downloads of this node.
//!
//! Which of them run is decided in [`schedule`](super::schedule), what is known
//! of them lies in the [`table`]. One attempt at a download is a [`Download`];
//! it ends when the download is over, or when it is told to [`Stop`].
//!
//! [`Stop`]: super::attempt::Stop

mod error;
mod keeper;
mod kept;
mod past;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_common::ident::Peer;
use shoal_common::limits::{MAX_DOWNLOADS, REQUEST_SIZE};
use shoal_common::name::SharedName;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info_span, warn};

use crate::volume::PartialDir;

use super::attempt::{End, JobSettings, Stop, Why};
use super::download::{Download, Reading};
use super::environment::Environment;
use super::job::{JobId, JobInfo, JobState, Order, Priority, Wanted, What};
use super::rate::Throttle;
use super::reader::Reader;
use super::stats::StatRow;
pub use error::{JobError, StartError};
use keeper::Keeper;
use kept::List;
use past::Past;
use table::{Attempt, Launch, Outcome, Table};

/// How long the last write of a download may take when the node leaves.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// How long is waited for what a person was told to be done: an attempt that
/// ends, the list on the disk. Slower, and they are told before it is.
const SETTLING: Duration = Duration::from_secs(5);

/// How long a job has been waiting for an owner when another gets its place: a
/// broken connection is often back before.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// All downloads of this node. Clones are the same.
#[derive(Clone)]
pub struct Downloads {
    inner: Arc<Inner>,
}

struct Inner {
    environment: Arc<Environment>,
    table: Mutex<Table>,
    request: Arc<AtomicU64>,
    list: Arc<Keeper>,
    past: Past,
    /// Cancelled when nothing happens any more.
    left: CancellationToken,
}

impl Downloads {
    /// None under way; those of an earlier life wait for [`Self::resume`].
    pub fn new(environment: Environment) -> Self {
        let table = Table::new(List::read(&environment.volume), MAX_DOWNLOADS);
        let past = Past::read(&environment.volume);
        let inner = Inner {
            environment: Arc::new(environment),
            table: Mutex::new(table),
            request: Arc::new(AtomicU64::new(REQUEST_SIZE)),
            list: Arc::default(),
            past,
            left: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts a download, or queues it. `owners` are known to have it; more are
    /// looked for.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(&self, wanted: Wanted, owners: Vec<Peer>) -> Result<JobId, StartError> {
        self.begin(wanted, owners, (Priority::default(), None))
    }

    fn begin(
        &self,
        wanted: Wanted,
        owners: Vec<Peer>,
        how: (Priority, Option<u64>),
    ) -> Result<JobId, StartError> {
        if let Some(name) = self.here(&wanted) {
            return Err(StartError::Here(name));
        }
        let (job, launches) = self.table().add(wanted, owners, how)?;
        self.changed(launches);
        Ok(job)
    }

    /// Under which name the content is here, if it is one file.
    fn here(&self, wanted: &Wanted) -> Option<SharedName> {
        match &wanted.what {
            What::File(wanted) => self.inner.environment.catalog.in_place(&wanted.file),
            What::Tree(_) => None,
        }
        .map(|shared| shared.name.clone())
    }

    /// Fetches a file for somebody who reads it while it comes; nothing of it is
    /// kept, and it is on no list. `owners` are known to have it.
    pub fn read(&self, wanted: Wanted, owners: Vec<Peer>) -> Reader {
        let wanted = Wanted { order: Order::Sequential, ..wanted };
        let environment = Arc::clone(&self.inner.environment);
        let info = watch::Sender::new(JobInfo::new(0, &wanted));
        let (stop, watched) = (Stop::default(), info.subscribe());
        let settings = JobSettings {
            throttle: Throttle::unlimited(),
            request: Arc::clone(&self.inner.request),
        };
        let span = info_span!("read", name = wanted.title());
        let (chunks, begun) = oneshot::channel();
        let read = watch::Sender::new(0);
        let reading = Reading { chunks, read: read.subscribe() };
        let download = Download::new(environment, 0, wanted, owners, info, stop.clone(), settings)
            .into_reader(reading);
        self.inner.environment.tasks.spawn(span, download.run());
        Reader::new(begun, read, watched, stop)
    }

    /// Goes on with what was not over when this node ended last; what was
    /// paused stays paused.
    pub fn resume(&self) -> Vec<JobId> {
        let (woken, launches, here) = self.table().wake(|wanted| self.here(wanted).is_some());
        // It got its name just before the end.
        here.iter().for_each(|wanted| self.forget(wanted));
        self.changed(launches);
        woken
    }

    fn forget(&self, wanted: &Wanted) {
        let What::File(wanted) = &wanted.what else { return };
        let partial = self.inner.environment.volume.partial(&wanted.file);
        if let Err(error) = partial.and_then(PartialDir::discard) {
            warn!("cannot tidy up after a download that is complete: {error}");
        }
    }

    /// All downloads, in order of their numbers; of those that are over, the
    /// last hundred.
    pub fn list(&self) -> Vec<JobInfo> {
        self.table().jobs.values().map(table::Job::now).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// There is no such job.
    pub fn get(&self, job: JobId) -> Result<JobInfo, JobError> {
        self.table().jobs.get(&job).map(table::Job::now).ok_or(JobError::NoSuchJob(job))
    }

    /// Stops a download. What has come is kept for the next time.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    pub fn cancel(&self, job: JobId) -> Result<(), JobError> {
        let launches = self.table().cancel(job)?;
        self.changed(launches);
        Ok(())
    }

    /// Stops a download until it is [resumed](Self::unpause), also after a
    /// restart.
    ///
    /// # Errors
    /// There is no such job, it is over, or paused.
    pub fn pause(&self, job: JobId) -> Result<(), JobError> {
        let launches = self.table().pause(job, true)?;
        self.changed(launches);
        Ok(())
    }

    /// Lets a paused download go on, when its turn comes.
    ///
    /// # Errors
    /// There is no such job, it is over, or not paused.
    pub fn unpause(&self, job: JobId) -> Result<(), JobError> {
        let launches = self.table().pause(job, false)?;
        self.changed(launches);
        Ok(())
    }

    /// Gives a download another priority.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    pub fn prioritize(&self, job: JobId, priority: Priority) -> Result<(), JobError> {
        let launches = self.table().prioritize(job, priority)?;
        self.changed(launches);
        Ok(())
    }

    /// Limits a download to so many bytes a second, or not at all.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    pub fn set_limit(&self, job: JobId, limit: Option<u64>) -> Result<(), JobError> {
        self.table().set_limit(job, limit)?;
        self.changed(Vec::new());
        Ok(())
    }

    /// Does once more what a job that is over was to do, as a new job. Of a
    /// tree, only what is not here is fetched.
    ///
    /// # Errors
    /// There is no such job, it is not over, or the new one does not start.
    pub fn retry(&self, job: JobId) -> Result<JobId, JobError> {
        let (wanted, how) = {
            let table = self.table();
            let found = table.jobs.get(&job).ok_or(JobError::NoSuchJob(job))?;
            let info = found.info.borrow();
            if !info.state.is_over() {
                return Err(JobError::NotOver(job));
            }
            (found.wanted.clone(), (info.priority, info.limit))
        };
        Ok(self.begin(wanted, Vec::new(), how)?)
    }

    /// Most downloads that run at once.
    pub fn max(&self) -> usize {
        self.table().most()
    }

    /// From now on at most so many downloads run at once: 1 to
    /// [`MAX_DOWNLOADS`].
    pub fn set_max(&self, most: usize) {
        let launches = self.table().set_most(most.clamp(1, MAX_DOWNLOADS));
        self.changed(launches);
    }

    /// The limit on all downloads together.
    pub fn throttle(&self) -> &Throttle {
        &self.inner.environment.down
    }

    /// Bytes asked for in one request.
    pub fn request_size(&self) -> u64 {
        self.inner.request.load(Ordering::Relaxed)
    }

    /// From now on so many bytes are asked for in one request; within
    /// [`REQUEST_SIZES`](shoal_common::limits::REQUEST_SIZES).
    pub fn set_request_size(&self, bytes: u64) {
        let (least, most) = shoal_common::limits::REQUEST_SIZES;
        self.inner.request.store(bytes.clamp(least, most), Ordering::Relaxed);
    }

    /// Waits until a download is over, or this node leaves; how it stands
    /// then. `None` if there is no such job.
    pub async fn finished(&self, job: JobId) -> Option<JobInfo> {
        let mut info = self.watch(job)?;
        tokio::select! {
            // It lives as long as the table has the job.
            over = info.wait_for(|info| info.state.is_over()) => drop(over),
            () = self.inner.left.cancelled() => {}
        }
        let last = info.borrow().clone();
        Some(last)
    }

    /// Waits until a download that was paused or cancelled rests, and until
    /// what is known of all of them is on the disk; a few seconds at most.
    pub async fn settled(&self, job: JobId) {
        let gone = {
            let table = self.table();
            let attempt = table.jobs.get(&job).and_then(|job| job.attempt.clone());
            attempt.filter(|attempt| attempt.stop.why().is_some()).map(|attempt| attempt.gone)
        };
        let rests = async {
            if let Some(gone) = gone {
                gone.cancelled().await;
            }
            self.inner.list.written().await;
        };
        timeout(SETTLING, rests).await.ok();
    }

    /// Follows a download. `None` if there is no such job.
    pub fn watch(&self, job: JobId) -> Option<watch::Receiver<JobInfo>> {
        self.table().jobs.get(&job).map(|job| job.info.subscribe())
    }

    /// Before this node leaves: starts nothing more, waits at most `patience`
    /// for the downloads into which bytes come, then stops all. What is not
    /// done goes on at the next start; it is returned.
    pub async fn drain(&self, patience: Duration) -> Vec<JobInfo> {
        let attempts: Vec<(watch::Receiver<JobInfo>, Attempt)> = {
            let mut table = self.table();
            table.leaving = true;
            let attempts = table.jobs.values();
            attempts.filter_map(|job| Some((job.info.subscribe(), job.attempt.clone()?))).collect()
        };
        let until = Instant::now() + patience;
        for (info, _) in &attempts {
            let mut info = info.clone();
            let still = info.wait_for(|info| !info.state.is_moving());
            // Whether it ended or the time is over: it is told to leave now.
            drop(timeout_at(until, still).await);
        }
        for (_, attempt) in attempts {
            attempt.stop.stop(Why::Leave);
            // As long as its last write takes; a disk that hangs does not keep
            // the node from leaving.
            timeout(LAST_WRITE, attempt.gone.cancelled()).await.ok();
        }
        self.inner.left.cancel();
        self.list().into_iter().filter(|info| !info.state.is_over()).collect()
    }

    /// The attempt at a job has ended.
    fn ended(&self, job: JobId, outcome: Outcome) {
        let launches = self.table().ended(job, outcome);
        if outcome == Outcome::Dropped {
            self.inner.left.cancel();
        } else {
            self.changed(launches);
        }
    }

    /// After each change: begins what is to begin, and writes the list down.
    fn changed(&self, launches: Vec<Launch>) {
        for launch in launches {
            self.launch(launch);
        }
        if self.table().has_changed() {
            let downloads = self.clone();
            self.inner.list.changed(&self.inner.environment.tasks, move || {
                let list = downloads.table().kept();
                if let Err(error) = list.write(&downloads.inner.environment.volume) {
                    warn!("cannot write down what is being downloaded: {error}");
                }
            });
        }
    }

    fn launch(&self, launch: Launch) {
        let Launch { job, wanted, owners, info, throttle, attempt } = launch;
        let span = info_span!("download", job, name = wanted.title());
        let environment = Arc::clone(&self.inner.environment);
        let settings = JobSettings { throttle, request: Arc::clone(&self.inner.request) };
        let stop = attempt.stop.clone();
        let request = self.request_size();
        let ending = Ending { downloads: self.clone(), job, attempt, request, outcome: None };
        let waits = self.clone().watch_waiting(job, info.subscribe());
        let download = Download::new(environment, job, wanted, owners, info, stop, settings);
        self.inner.environment.tasks.spawn(span, async move {
            tokio::select! {
                end = download.run() => ending.with(end),
                () = waits => {}
            }
        });
    }

    /// Gives the place of a job to another while it waits for an owner. Has no
    /// end.
    async fn watch_waiting(self, job: JobId, mut info: watch::Receiver<JobInfo>) {
        loop {
            let is_waiting = info.wait_for(|info| info.state == JobState::Waiting).await.is_ok();
            let goes_on = info.wait_for(|info| info.state != JobState::Waiting);
            let is_over_soon = timeout(SHORT_WAIT, goes_on).await.is_ok();
            if !is_waiting {
                // The job is gone, and with it soon its attempt.
                std::future::pending::<()>().await;
            }
            if is_over_soon {
                continue;
            }
            let launches = self.table().waits(job, true);
            self.changed(launches);
            info.wait_for(|info| info.state != JobState::Waiting).await.ok();
            let launches = self.table().waits(job, false);
            self.changed(launches);
        }
    }

    /// How long past downloads took.
    pub fn stats(&self) -> Vec<StatRow> {
        self.inner.past.rows()
    }

    /// A download is done: how long it took is worth knowing.
    fn record(&self, job: JobId, begun: u64) {
        if let Ok(info) = self.get(job) {
            let tasks = &self.inner.environment.tasks;
            self.inner.past.record(&info, begun, self.request_size(), tasks);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whole after each of the few statements under its lock.
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells of the end of an attempt, also when its task is dropped.
struct Ending {
    downloads: Downloads,
    job: JobId,
    attempt: Attempt,
    /// The request size at its beginning.
    request: u64,
    outcome: Option<Outcome>,
}

impl Ending {
    fn with(mut self, end: End) {
        if end == End::Done {
            self.downloads.record(self.job, self.request);
        }
        self.outcome = Some(match end {
            End::Done | End::Failed => Outcome::Over,
            End::Stopped => Outcome::Stopped,
        });
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let lost = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Dropped };
        self.downloads.ended(self.job, self.outcome.take().unwrap_or(lost));
        self.attempt.gone.cancel();
    }
}
