//! One download: decides which owners fetch, until the file is whole.

mod tell;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
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

use super::environment::Environment;
use super::fetch::{Event, FetchError, Swarm, Work, fetch};
use super::job::{JobId, JobInfo, JobState, Sources, Wanted};
use super::note::{Course, Note};
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

/// How a download ends.
enum End {
    /// It is whole, under this name.
    Done(SharedName),
    /// The person stopped it.
    Cancelled,
    /// This node leaves; it goes on next time.
    Left,
    /// It can't go on.
    Failed(String),
}

/// By whom a download is stopped.
#[derive(Debug, Clone, Default)]
pub(super) struct Stops {
    /// The person.
    pub(super) cancel: CancellationToken,
    /// The node is leaving.
    pub(super) leave: CancellationToken,
}

type Seeking = Pin<Box<dyn Future<Output = Vec<Peer>> + Send>>;
type Opening = JoinHandle<Result<(Sink, FixedBitSet), SinkError>>;

/// A download under way.
pub(super) struct Download {
    environment: Arc<Environment>,
    wanted: Wanted,
    info: watch::Sender<JobInfo>,
    stops: Stops,
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

impl Download {
    /// A download to be [run](Self::run). `owners` are known to have it.
    pub(super) fn new(
        environment: Arc<Environment>,
        job: JobId,
        wanted: Wanted,
        owners: Vec<Peer>,
        stops: Stops,
    ) -> (Self, watch::Receiver<JobInfo>) {
        let mut roster = Roster::new(match wanted.from {
            Sources::All => None,
            Sources::Only(id) => Some(id),
        });
        roster.seen(owners);
        let progress = Progress::new(job, wanted.clone(), Instant::now());
        let first = progress.info(JobState::Starting, None, None, &roster, Instant::now());
        let (info, watched) = watch::channel(first);
        // An owner has one end, and room for a few wrong chunks.
        let (sender, events) = mpsc::channel(4 * MAX_OWNERS);
        let swarm = Arc::new(Swarm {
            file: wanted.file,
            us: environment.us.clone(),
            manifest: watch::Sender::new(None),
            work: watch::Sender::new(None),
            events: sender,
        });
        let download = Self {
            tasks: environment.tasks.child(),
            environment,
            wanted,
            info,
            stops,
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
        };
        (download, watched)
    }

    /// Fetches until the file is here, or it is stopped, or can't go on.
    pub(super) async fn run(mut self) {
        let (cancel, leave) = (self.stops.cancel.clone(), self.stops.leave.clone());
        let begun = tokio::select! {
            begun = self.begin() => begun,
            () = cancel.cancelled() => Some(End::Cancelled),
            () = leave.cancelled() => Some(End::Left),
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
        self.end(end);
    }

    /// Looks at what is here from earlier.
    async fn begin(&mut self) -> Option<End> {
        // From now on a crash does not make it forgotten.
        self.note(Course::UnderWay);
        let (volume, wanted) = (self.environment.volume.clone(), self.wanted.clone());
        // Another content that is known under this name need not be read again.
        // This one may have become known just now: its name was given to it, and
        // the node killed before it could forget the download.
        let known = self.environment.catalog.named(&wanted.name);
        let other = known.is_some_and(|known| known != wanted.file);
        let stop = self.tasks.cancelled().clone();
        let look = move || {
            let here = !other && is_here(&volume, &wanted.name, wanted.file, wanted.size, &stop);
            (here, Note::read(&volume, wanted.file).and_then(|note| note.manifest()))
        };
        let (here, manifest) = self.tasks.spawn_blocking(look).await.unwrap_or_default();
        if here {
            self.environment.catalog.refresh();
            self.forget_partial();
            return Some(End::Done(self.wanted.name.clone()));
        }
        if let Some(manifest) = manifest {
            self.swarm.manifest.send_replace(Some(Arc::new(manifest)));
        }
        None
    }

    async fn gather(&mut self) -> End {
        let mut manifest = self.swarm.manifest.subscribe();
        manifest.mark_changed();
        // Nothing is complete before there is work, which brings its own.
        let mut complete = CancellationToken::new();
        let (cancel, leave) = (self.stops.cancel.clone(), self.stops.leave.clone());
        let mut network = self.environment.network.clone();
        loop {
            self.engage();
            self.tell();
            let step = tokio::select! {
                () = cancel.cancelled() => Err(End::Cancelled),
                () = leave.cancelled() => Err(End::Left),
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
    fn hear(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Wrong(id) => {
                self.blame(id, "sent wrong bytes of");
                Ok(())
            }
            Event::Ended(id, outcome) => self.ended(id, outcome),
        }
    }

    fn ended(&mut self, id: NodeId, outcome: Result<(), FetchError>) -> Result<(), End> {
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
        let Some(remedy) = error.remedy() else { return Err(End::Failed(error.to_string())) };
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
            return Err(End::Failed(format!("{name} was to be the only owner: {error}")));
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
    ) -> Result<Arc<Work>, End> {
        let failed = |error: String| End::Failed(error);
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
    async fn publish(&mut self) -> End {
        self.tasks.cancel();
        let Some(work) = self.swarm.work.borrow().clone() else {
            return End::Failed("nothing to publish".to_owned());
        };
        let (volume, wanted) = (self.environment.volume.clone(), self.wanted.clone());
        let published = Arc::clone(&work);
        let publish = move || published.sink().publish(&volume, &wanted);
        match self.environment.tasks.spawn_blocking(publish).await {
            Ok(Ok(named)) => self.published(&work, named),
            Ok(Err(error)) => End::Failed(format!("it can't be given its name: {error}")),
            Err(error) => End::Failed(error.to_string()),
        }
    }

    fn published(&self, work: &Work, (name, stamp): (SharedName, Stamp)) -> End {
        let manifest = Arc::clone(work.manifest());
        self.environment.catalog.add(name.clone(), stamp, manifest);
        End::Done(name)
    }

    /// There is nothing to go on with.
    fn forget_partial(&self) {
        let partial = self.environment.volume.partial(&self.wanted.file);
        if let Err(error) = partial.and_then(PartialDir::discard) {
            warn!("cannot tidy up after `{}`: {error}", self.wanted.name);
        }
    }

    /// Notes how the download goes on after a restart.
    fn note(&self, course: Course) {
        let volume = &self.environment.volume;
        let noted = match Note::read(volume, self.wanted.file) {
            Some(_) => Note::set_course(volume, self.wanted.file, course),
            None if course == Course::Stopped => Ok(()),
            None => volume
                .partial(&self.wanted.file)
                .and_then(|partial| Note::new(self.wanted.clone(), course, None).write(&partial)),
        };
        if let Err(error) = noted {
            warn!("cannot note how `{}` goes on: {error}", self.wanted.name);
        }
    }

    fn end(mut self, end: End) {
        let name = self.wanted.name.clone();
        let mut saved_as = None;
        (self.state, self.reason) = match end {
            End::Done(saved) => {
                saved_as = Some(saved);
                (JobState::Done, None)
            }
            End::Cancelled => (JobState::Cancelled, None),
            End::Failed(reason) => (JobState::Failed, Some(reason)),
            End::Left => (JobState::Waiting, Some("it goes on at the next start".to_owned())),
        };
        match self.state {
            JobState::Cancelled | JobState::Failed => self.note(Course::Stopped),
            JobState::Waiting => self.note(Course::UnderWay),
            _ => {}
        }
        // Whoever watches the downloads is told by the end of this one.
        match (&saved_as, &self.reason) {
            (Some(saved), _) => info!("`{name}` is whole and verified, saved as `{saved}`"),
            (None, Some(reason)) => info!("`{name}`: {reason}"),
            _ => {}
        }
        let work = self.swarm.work.borrow().clone();
        let (state, reason) = (self.state, self.reason.take());
        let info = self.progress.info(state, reason, work.as_deref(), &self.roster, Instant::now());
        self.info.send_replace(JobInfo { saved_as, ..info });
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
