//! One attempt at a download: decides which owners fetch which files, until all
//! are here.
//!
//! A download of one file is one of a tree with a single file in it, but for
//! what happens when no owner is left: that file is waited for.

mod begin;
mod files;
mod owners;
mod tell;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shoal_common::content::{ChunkSet, Manifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::MAX_OWNERS;
use shoal_common::name::SharedName;
use shoal_common::task::Tasks;
use tokio::sync::{mpsc, watch};
use tracing::info;

use super::attempt::{End, JobSettings, Stop, Why};
use super::checklist::Checklist;
use super::environment::{Answer, Environment};
use super::fetch::FetchError;
use super::job::{JobId, JobInfo, JobState, Order, Sources, Wanted, What};
use super::plan::{ItemId, Plan};
use super::progress::{Before, Progress};
use super::roster::Roster;
use super::swarm::{Event, Swarm};
use super::writer::Arrived;
use crate::catalog::found::{Listing, Source};
use files::Work;

/// How often progress is told, and decisions are looked at again.
const TICK: Duration = Duration::from_millis(250);

/// Why an attempt ends.
enum Ends {
    /// All is here; a single file under this name.
    Done(Option<SharedName>),
    /// It was told to.
    Stopped(Why),
    /// It can't go on.
    Failed(String),
}

/// What the network says of who has what.
enum Look {
    File(Vec<Source>),
    Tree(Box<Listing>),
}

/// Where the bytes go that come.
pub(super) enum Target {
    /// Into the node's folder.
    Files,
    /// To somebody who reads while they come, and has told how many chunks
    /// were read.
    Reader(Reading),
}

/// What a download that is read while it comes is given.
pub(super) struct Reading {
    /// Where the chunks go to, once it is known how many there are.
    pub(super) chunks: tokio::sync::oneshot::Sender<mpsc::UnboundedReceiver<Vec<u8>>>,
    /// How many chunks have been read.
    pub(super) read: watch::Receiver<u32>,
}

/// An attempt at a download.
pub(super) struct Download {
    environment: Arc<Environment>,
    wanted: Wanted,
    info: watch::Sender<JobInfo>,
    stop: Stop,
    target: Option<Target>,
    /// How many chunks a reader has taken.
    read: Option<watch::Receiver<u32>>,
    /// The fetching tasks: they end with the attempt.
    tasks: Tasks,
    swarm: Arc<Swarm>,
    events: mpsc::Receiver<Event>,
    ended: (mpsc::Sender<OwnerEnd>, mpsc::Receiver<OwnerEnd>),
    roster: Roster,
    list: Checklist,
    /// Whom the owners in the list are.
    peers: Vec<Peer>,
    /// Which chunks those have who do not have all of a single file.
    partly: HashMap<NodeId, ChunkSet>,
    progress: Progress,
    state: JobState,
    reason: Option<String>,
    /// Since when it waits, and whether the person was told.
    waiting: Option<(Instant, bool)>,
    looking: Option<Answer<Look>>,
    looked: Option<Instant>,
    /// Until the next look, while there are no owners.
    look_pause: Duration,
    /// Work on the disk that is under way, and what came of it.
    work: Work,
    /// To who writes small files.
    small: Option<mpsc::Sender<Arrived>>,
    /// The manifest that was noted of a single file, if there is one, once it was
    /// looked for.
    note: Option<Option<Manifest>>,
    /// Last chunks that came with manifests, and from whom.
    proofs: HashMap<ItemId, (NodeId, Vec<u8>)>,
    /// Files of a tree that got another name, since theirs was taken.
    renamed: u64,
    /// What may be missing in the list of a tree.
    lacking: Option<String>,
    /// Why the download can't go on.
    failed: Option<String>,
    /// The name that a single file got.
    saved_as: Option<SharedName>,
    /// What each owner had given when it ended last.
    given: HashMap<NodeId, u64>,
    /// Whose last chunk did not fit its manifest once.
    doubted: HashSet<NodeId>,
    /// What the person was told already.
    told: HashSet<(NodeId, &'static str)>,
}

type OwnerEnd = (NodeId, Result<(), FetchError>);

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
        let only = match wanted.from {
            Sources::All => None,
            Sources::Only(id) => Some(id),
        };
        let seed = rand::random();
        let mut roster = Roster::new(only, seed);
        roster.seen(owners.into_iter().map(|peer| (peer, true)));
        let single = matches!(wanted.what, What::File(_));
        let request = settings.request.load(Ordering::Relaxed);
        let plan = Plan::new(wanted.order.into(), request, environment.us.node, seed);
        let throttles = [settings.throttle.clone(), environment.down.clone()];
        let traffic = environment.catalog.traffic().clone();
        let (swarm, events) =
            Swarm::new(environment.us.clone(), single, plan, throttles, settings.request, traffic);
        let before = {
            let info = info.borrow();
            Before { seconds: info.seconds, done: info.done }
        };
        let progress = Progress::new(job, &wanted, before, Instant::now());
        Self {
            tasks: environment.tasks.child(),
            environment,
            wanted,
            info,
            stop,
            target: Some(Target::Files),
            read: None,
            swarm,
            events,
            // An owner ends once before it begins again.
            ended: mpsc::channel(2 * MAX_OWNERS),
            roster,
            list: Checklist::default(),
            peers: Vec::new(),
            partly: HashMap::new(),
            progress,
            state: JobState::Starting,
            reason: None,
            waiting: None,
            looking: None,
            looked: None,
            look_pause: owners::LOOK_WAITING.0,
            work: Work::default(),
            small: None,
            note: None,
            proofs: HashMap::new(),
            renamed: 0,
            lacking: None,
            failed: None,
            saved_as: None,
            given: HashMap::new(),
            doubted: HashSet::new(),
            told: HashSet::new(),
        }
    }

    /// The bytes go to a reader, in order, and nothing is kept.
    pub(super) fn into_reader(mut self, reading: Reading) -> Self {
        self.target = Some(Target::Reader(reading));
        self
    }

    /// Fetches until it is here, or told to end, or can't go on.
    pub(super) async fn run(mut self) -> End {
        let stop = self.stop.clone();
        self.show(Instant::now());
        let ends = tokio::select! {
            ends = self.attempt() => ends,
            why = stop.stopped() => Ends::Stopped(why),
        };
        self.tasks.cancel();
        self.small = None;
        // What it writes comes before what is said of the end.
        self.rest().await;
        self.end(ends)
    }

    async fn attempt(&mut self) -> Ends {
        match self.begin().await {
            Ok(()) => self.gather().await,
            Err(ends) => ends,
        }
    }

    async fn gather(&mut self) -> Ends {
        let mut network = self.environment.network.changes();
        let mut fellows = self.environment.fellows.changes();
        loop {
            if let Err(ends) = self.open_files() {
                return ends;
            }
            if self.list.is_over() {
                return self.all_over();
            }
            self.engage();
            self.tell();
            let step = tokio::select! {
                Some(event) = self.events.recv() => self.hear(event),
                Some((id, outcome)) = self.ended.1.recv() => self.owner_ended(id, outcome),
                done = self.work.next() => self.worked(done),
                look = pending_or(&mut self.looking) => {
                    self.looking = None;
                    self.saw(look);
                    Ok(())
                }
                Ok(()) = fellows.changed() => {
                    self.meet_fellows();
                    Ok(())
                }
                Ok(()) = changed_or(&mut self.read) => {
                    self.move_horizon();
                    Ok(())
                }
                Ok(()) = network.changed() => {
                    self.look_pause = owners::LOOK_WAITING.0;
                    Ok(())
                }
                () = tokio::time::sleep(TICK) => {
                    self.list.late();
                    Ok(())
                }
            };
            if let Err(ends) = step {
                return ends;
            }
        }
    }

    /// How it ends when nothing more can come.
    fn all_over(&mut self) -> Ends {
        if self.renamed > 0 {
            let (count, title) = (self.renamed, self.wanted.title().escape_debug());
            self.environment.notices.say(format!(
                "`{title}`: files of other content have the names of {count} files, which got a \
                 number"
            ));
        }
        let counts = self.list.counts();
        match (counts.failed, &self.wanted.what) {
            (0, _) => Ends::Done(self.saved_as.take()),
            (_, What::File(_)) => {
                let reason = self.list.failures().first().map(|failure| failure.reason.clone());
                Ends::Failed(reason.unwrap_or_default())
            }
            (failed, What::Tree(_)) => Ends::Failed(format!(
                "{failed} of {} files can't be had; `retry` fetches them alone",
                counts.total
            )),
        }
    }

    fn end(mut self, ends: Ends) -> End {
        let title = self.wanted.title().escape_debug().to_string();
        let end;
        (end, self.state, self.reason) = match ends {
            Ends::Done(saved) => {
                self.saved_as = saved;
                (End::Done, JobState::Done, self.lacking.take())
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
        match (&self.saved_as, &self.reason) {
            (Some(saved), _) => info!("`{title}` is whole and verified, saved as `{saved}`"),
            (None, Some(reason)) => info!("`{title}`: {reason}"),
            (None, None) => info!("`{title}`: {:?}", self.state),
        }
        self.show(Instant::now());
        end
    }
}

impl From<Order> for super::plan::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Any => Self::Any,
            Order::Sequential => Self::Sequential,
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

/// Waits for a change, if there is something that can change.
async fn changed_or<T>(
    watched: &mut Option<watch::Receiver<T>>,
) -> Result<(), watch::error::RecvError> {
    match watched {
        Some(watched) => watched.changed().await,
        None => std::future::pending().await,
    }
}
