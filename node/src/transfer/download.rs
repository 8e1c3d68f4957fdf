//! One download: decides which owners fetch, until the file is whole.

mod tell;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fixedbitset::FixedBitSet;
use shoal_common::connection::ConnectionError;
use shoal_common::content::Manifest;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::MAX_OWNERS;
use shoal_common::name::SharedName;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::task::Tasks;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, info_span, warn};

use super::attempt::{End, JobSettings, Stop, Why};
use super::environment::Environment;
use super::fetch::{Event, FetchError, Swarm, Work, fetch};
use super::job::{JobId, JobInfo, JobState, Sources, Wanted, WantedFile, What};
use super::note::Note;
use super::plan::Plan;
use super::progress::Progress;
use super::roster::{Remedy, Roster};
use super::sink::{Sink, SinkError, is_here};
use crate::volume::{PartialDir, Stamp};

/// How often progress is told, and decisions are looked at again.
const TICK: Duration = Duration::from_millis(250);

/// How often new owners are looked for while there are some.
const SEEK: Duration = Duration::from_secs(5);

/// First and longest pause between two looks while there are none: each asks
/// everyone. Who comes or goes is a reason to look again at once.
const SEEK_WAITING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// How long the network may take to say who has a content.
const SEEK_DEADLINE: Duration = Duration::from_secs(5);

/// How long a download has been waiting when the person is told: a broken
/// connection is often back before.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Why it ends.
enum Ends {
    /// It is whole, under this name.
    Done(SharedName),
    /// It was told to end.
    Stopped(Why),
    /// It can't go on.
    Failed(String),
}

type Seeking = Pin<Box<dyn Future<Output = Vec<Peer>> + Send>>;
type Opening = JoinHandle<Result<(Sink, FixedBitSet), SinkError>>;

/// An attempt at a download.
pub(super) enum Download {
    /// Of a file.
    File(Box<FileDownload>),
    /// Of a tree.
    Tree(watch::Sender<JobInfo>),
}

impl Download {
    /// An attempt to be [run](Self::run). `owners` are known to have it.
    pub(super) fn new(
        environment: Arc<Environment>,
        job: JobId,
        wanted: Wanted,
        owners: Vec<Peer>,
        info: watch::Sender<JobInfo>,
        stop: Stop,
        settings: JobSettings,
    ) -> Self {
        match &wanted.what {
            What::File(file) => {
                let file = file.clone();
                Self::File(Box::new(FileDownload::new(
                    environment,
                    job,
                    wanted,
                    file,
                    owners,
                    info,
                    stop,
                    settings,
                )))
            }
            What::Tree(_) => Self::Tree(info),
        }
    }

    /// Fetches until it is here, or told to end, or can't go on.
    pub(super) async fn run(self) -> End {
        match self {
            Self::File(file) => file.run().await,
            Self::Tree(info) => {
                info.send_modify(|info| {
                    info.state = JobState::Failed;
                    info.reason = Some("folders can't be fetched".to_owned());
                });
                End::Failed
            }
        }
    }
}

/// A download of a file under way.
pub(super) struct FileDownload {
    environment: Arc<Environment>,
    wanted: WantedFile,
    info: watch::Sender<JobInfo>,
    stop: Stop,
    settings: JobSettings,
    /// The fetching tasks: they end with the download.
    tasks: Tasks,
    events: mpsc::Receiver<Event>,
    swarm: Arc<Swarm>,
    roster: Roster,
    progress: Progress,
    state: JobState,
    reason: Option<String>,
    /// Since when it waits, and whether the person was told.
    waiting: Option<(Instant, bool)>,
    seeking: Option<Seeking>,
    sought: Option<Instant>,
    /// Until the next look, while there are no owners.
    seek_pause: Duration,
    opening: Option<Opening>,
    /// What each owner had given when it ended last.
    given: HashMap<NodeId, u64>,
    /// Whose last chunk did not fit its manifest once.
    doubted: HashSet<NodeId>,
    /// What the person was told already.
    told: HashSet<(NodeId, &'static str)>,
}

impl FileDownload {
    #[allow(clippy::too_many_arguments)]
    fn new(
        environment: Arc<Environment>,
        job: JobId,
        wanted: Wanted,
        file: WantedFile,
        owners: Vec<Peer>,
        info: watch::Sender<JobInfo>,
        stop: Stop,
        settings: JobSettings,
    ) -> Self {
        let mut roster = Roster::new(match wanted.from {
            Sources::All => None,
            Sources::Only(id) => Some(id),
        });
        roster.seen(owners);
        let progress = Progress::new(job, file.clone(), Instant::now());
        // An owner has one end, and room for a few wrong chunks.
        let (sender, events) = mpsc::channel(4 * MAX_OWNERS);
        let swarm = Arc::new(Swarm {
            file: file.file,
            us: environment.us.clone(),
            manifest: watch::Sender::new(None),
            work: watch::Sender::new(None),
            events: sender,
        });
        Self {
            tasks: environment.tasks.child(),
            environment,
            wanted: file,
            info,
            stop,
            settings,
            events,
            swarm,
            roster,
            progress,
            state: JobState::Starting,
            reason: None,
            waiting: None,
            seeking: None,
            sought: None,
            seek_pause: SEEK_WAITING.0,
            opening: None,
            given: HashMap::new(),
            doubted: HashSet::new(),
            told: HashSet::new(),
        }
    }

    async fn run(mut self) -> End {
        let JobSettings { throttle, request } = &self.settings;
        let request = request.load(Ordering::Relaxed);
        debug!("requests of {request} bytes, limit {:?}", throttle.rate());
        let stop = self.stop.clone();
        let begun = tokio::select! {
            begun = self.begin() => begun,
            why = stop.stopped() => Some(Ends::Stopped(why)),
        };
        let end = match begun {
            Some(end) => end,
            None => self.gather().await,
        };
        self.tasks.cancel();
        // What it notes comes before what is noted of the end.
        if let Some(opening) = self.opening.take() {
            opening.await.ok();
        }
        self.end(end)
    }

    /// Looks at what is here from earlier.
    async fn begin(&mut self) -> Option<Ends> {
        let (volume, wanted) = (self.environment.volume.clone(), self.wanted.clone());
        // Another content that is known under this name need not be read again.
        let other = self.environment.catalog.named(&wanted.name).is_some();
        let stop = self.tasks.cancelled().clone();
        let look = move || {
            let here = !other && is_here(&volume, &wanted.name, wanted.file, wanted.size, &stop);
            (here, Note::read(&volume, wanted.file))
        };
        let (here, manifest) = self.tasks.spawn_blocking(look).await.unwrap_or_default();
        if here {
            self.environment.catalog.refresh();
            self.forget_partial();
            return Some(Ends::Done(self.wanted.name.clone()));
        }
        if let Some(manifest) = manifest {
            self.swarm.manifest.send_replace(Some(Arc::new(manifest)));
        }
        None
    }

    async fn gather(&mut self) -> Ends {
        let mut manifest = self.swarm.manifest.subscribe();
        manifest.mark_changed();
        // Nothing is complete before there is work, which brings its own.
        let mut complete = CancellationToken::new();
        let stop = self.stop.clone();
        let mut network = self.environment.network.clone();
        loop {
            self.engage();
            self.tell();
            let step = tokio::select! {
                why = stop.stopped() => Err(Ends::Stopped(why)),
                () = complete.cancelled() => Err(self.publish().await),
                Some(event) = self.events.recv() => self.hear(event),
                Ok(()) = manifest.changed() => {
                    self.open(manifest.borrow_and_update().clone());
                    Ok(())
                }
                opened = pending_or(&mut self.opening) => {
                    self.opening = None;
                    self.opened(opened).map(|work| complete = work.complete().clone())
                }
                peers = pending_or(&mut self.seeking) => {
                    self.seeking = None;
                    self.roster.seen(peers);
                    Ok(())
                }
                Ok(()) = network.changed() => {
                    self.seek_pause = SEEK_WAITING.0;
                    Ok(())
                }
                () = tokio::time::sleep(TICK) => Ok(()),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Starts to fetch from whoever is due, and looks for more.
    fn engage(&mut self) {
        let now = Instant::now();
        let before = self.roster.active();
        for (peer, turn) in self.roster.due(now).into_iter().zip(before..) {
            let turn = u32::try_from(turn).unwrap_or(u32::MAX);
            let span = info_span!("owner", name = %peer.name);
            let ending = Ending::new(peer.id, Arc::clone(&self.swarm));
            let swarm = Arc::clone(&self.swarm);
            self.tasks.spawn(span, async move {
                let outcome = fetch(&swarm, &peer, turn).await;
                ending.with(outcome);
            });
        }
        let waiting = self.roster.active() == 0;
        let pause = if waiting { self.seek_pause } else { SEEK };
        let rested = self.sought.is_none_or(|sought| now.duration_since(sought) >= pause);
        if self.seeking.is_none() && rested {
            self.sought = Some(now);
            self.seek_pause = match waiting {
                // Not all who wait for one owner at the same moments.
                true => (pause * 2).min(SEEK_WAITING.1).mul_f64(rand::random_range(0.75..1.0)),
                false => SEEK_WAITING.0,
            };
            let peers = (self.environment.seek)(self.wanted.file);
            self.seeking =
                Some(Box::pin(
                    async move { timeout(SEEK_DEADLINE, peers).await.unwrap_or_default() },
                ));
        }
    }

    /// An owner has something to say about itself.
    fn hear(&mut self, event: Event) -> Result<(), Ends> {
        match event {
            Event::Wrong(id) => {
                self.blame(id, "sent wrong bytes of");
                Ok(())
            }
            Event::Ended(id, outcome) => self.ended(id, outcome),
        }
    }

    fn ended(&mut self, id: NodeId, outcome: Result<(), FetchError>) -> Result<(), Ends> {
        let work = self.swarm.work.borrow().clone();
        let share = || work.as_ref()?.plan().shares().find(|share| share.owner == id);
        let bytes = share().map_or(0, |share| share.bytes);
        let gave = bytes > self.given.insert(id, bytes).unwrap_or(0);
        if let Some(work) = &work {
            work.leave(id);
        }
        let Err(error) = outcome else {
            self.roster.ended(id, None, gave, 0.0, Instant::now());
            return Ok(());
        };
        debug!("no more from an owner: {error}");
        let Some(remedy) = error.remedy() else { return Err(Ends::Failed(error.to_string())) };
        // Wrong once can be a file that was being written to, as with chunks.
        let doubted = matches!(error, FetchError::Unproven) && self.doubted.insert(id);
        let remedy = if doubted { Remedy::Again } else { remedy };
        match &error {
            FetchError::WrongBytes | FetchError::Unproven => self.blame(id, "sent wrong bytes of"),
            FetchError::Manifest(_) => {
                self.blame(id, "sent a manifest that does not fit");
            }
            FetchError::Refused(Refusal::Changed) => self.blame(id, "has changed"),
            _ if remedy == Remedy::Never => self.blame(id, "does not keep to the protocol over"),
            _ => {}
        }
        let trouble = Some((remedy, error.to_string()));
        self.roster.ended(id, trouble, gave, rand::random(), Instant::now());
        if self.roster.is_hopeless() {
            let name = self.name_of(id);
            return Err(Ends::Failed(format!("{name} was to be the only owner: {error}")));
        }
        Ok(())
    }

    /// The manifest is known: finds a place for the chunks.
    fn open(&mut self, manifest: Option<Arc<Manifest>>) {
        let Some(manifest) = manifest else { return };
        let (volume, wanted) = (self.environment.volume.clone(), self.wanted.clone());
        let stop = self.tasks.cancelled().clone();
        self.opening =
            Some(self.tasks.spawn_blocking(move || Sink::open(&volume, &wanted, &manifest, &stop)));
    }

    /// There is a place: the owners can begin.
    fn opened(
        &mut self,
        opened: Result<Result<(Sink, FixedBitSet), SinkError>, tokio::task::JoinError>,
    ) -> Result<Arc<Work>, Ends> {
        let failed = |error: String| Ends::Failed(error);
        let (sink, verified) = opened
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        let Some(manifest) = self.swarm.manifest.borrow().clone() else {
            return Err(failed("its manifest is gone".to_owned()));
        };
        self.progress.resumed(sink.written(), Instant::now());
        let plan = Plan::new(manifest.geometry(), verified);
        let work = Arc::new(Work::new(manifest, plan, sink));
        self.swarm.work.send_replace(Some(Arc::clone(&work)));
        Ok(work)
    }

    /// Every chunk is here: gives the file its name.
    async fn publish(&mut self) -> Ends {
        self.tasks.cancel();
        let Some(work) = self.swarm.work.borrow().clone() else {
            return Ends::Failed("nothing to publish".to_owned());
        };
        let (volume, wanted) = (self.environment.volume.clone(), self.wanted.clone());
        let published = Arc::clone(&work);
        let publish = move || published.sink().publish(&volume, &wanted);
        match self.environment.tasks.spawn_blocking(publish).await {
            Ok(Ok(named)) => self.published(&work, named),
            Ok(Err(error)) => Ends::Failed(format!("it can't be given its name: {error}")),
            Err(error) => Ends::Failed(error.to_string()),
        }
    }

    fn published(&self, work: &Work, (name, stamp): (SharedName, Stamp)) -> Ends {
        let manifest = Arc::clone(work.manifest());
        self.environment.catalog.add(name.clone(), stamp, manifest);
        Ends::Done(name)
    }

    /// There is nothing to go on with.
    fn forget_partial(&self) {
        let partial = self.environment.volume.partial(&self.wanted.file);
        if let Err(error) = partial.and_then(PartialDir::discard) {
            warn!("cannot tidy up after `{}`: {error}", self.wanted.name);
        }
    }

    fn end(mut self, ends: Ends) -> End {
        let name = self.wanted.name.clone();
        let mut saved_as = None;
        let end;
        (end, self.state, self.reason) = match ends {
            Ends::Done(saved) => {
                saved_as = Some(saved);
                (End::Done, JobState::Done, None)
            }
            Ends::Failed(reason) => (End::Failed, JobState::Failed, Some(reason)),
            Ends::Stopped(why) => match why {
                Why::Cancel => (End::Stopped, JobState::Cancelled, None),
                Why::Pause => (End::Stopped, JobState::Paused, None),
                Why::Queue => (End::Stopped, JobState::Queued, None),
                Why::Leave => {
                    let reason = "it goes on at the next start".to_owned();
                    (End::Stopped, JobState::Waiting, Some(reason))
                }
            },
        };
        // Whoever watches the downloads is told by the end of this one.
        match (&saved_as, &self.reason) {
            (Some(saved), _) => info!("`{name}` is whole and verified, saved as `{saved}`"),
            (None, Some(reason)) => info!("`{name}`: {reason}"),
            _ => {}
        }
        self.show(saved_as, Instant::now());
        end
    }
}

/// Tells the coordinator of the end of a task, also when it is dropped.
struct Ending {
    id: NodeId,
    swarm: Arc<Swarm>,
    outcome: Option<Result<(), FetchError>>,
}

impl Ending {
    fn new(id: NodeId, swarm: Arc<Swarm>) -> Self {
        let dropped = FetchError::Connection(ConnectionError::Closed);
        Self { id, swarm, outcome: Some(Err(dropped)) }
    }

    fn with(mut self, outcome: Result<(), FetchError>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            // There is room for the end of every owner, unless the coordinator
            // is gone.
            self.swarm.events.try_send(Event::Ended(self.id, outcome)).ok();
        }
    }
}

/// The output of a future, if there is one; it never comes otherwise.
async fn pending_or<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
