//! A node from its parts: built in order, taken down in order.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::connection::ConnectionError;
use shoal_common::ident::{NodeId, NodeName};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::serve::{Bound, Guest, serve};
use shoal_common::task::Tasks;
use shoal_tracker::door::admit;
use shoal_tracker::office::Office;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, info_span, warn};

use super::known::Known;
use super::limits::InForce;
use super::network::Everyone;
use super::ports;
use super::time::Timekeeper;
use super::{App, Inner};
use crate::catalog::serve::{Circle, answer};
use crate::catalog::{Catalog, keep_up};
use crate::chat::{self, Chat};
use crate::config::Config;
use crate::membership::{self, Acquaintance, Exchange, FirstAnswer, Goodbye, Wish};
use crate::notice::Notices;
use crate::transfer::job::{JobInfo, JobState};
use crate::transfer::rate::Throttle;
use crate::transfer::{Downloads, Environment, Uploads, serve_downloads};
use crate::volume::{Volume, VolumeError};

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder can't be used.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// Its id can't be read or kept.
    #[error("cannot tell which node this is: {0}")]
    Id(io::Error),
    /// A port can't be listened on.
    #[error("cannot listen on `{address}`: {cause}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        cause: io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start threads for transfers: {0}")]
    Threads(io::Error),
}

/// What a node does with its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Shares it.
    Folder,
    /// Fetches into it, and shares nothing.
    Nothing,
}

/// A running node and what is needed to end it.
#[derive(Debug)]
pub struct Node {
    app: App,
    volume: Volume,
    /// Accept loops: the first to end.
    doors: Tasks,
    /// Everything else.
    tasks: Tasks,
    /// To the tracker.
    goodbye: Goodbye,
    first: Option<FirstAnswer>,
    sharing: Sharing,
    _bulk: BulkRuntime,
}

impl Node {
    /// Starts a node. It looks for its tracker and for other nodes from now on and
    /// shares what it finds in its folder as it gets to know it.
    ///
    /// # Errors
    /// See [`StartError`]. That nobody answers is none.
    pub fn start(config: &Config, sharing: Sharing) -> Result<Self, StartError> {
        let volume = Volume::open(&config.files)?;
        let id = match sharing {
            Sharing::Folder => volume.node_id().map_err(StartError::Id)?,
            Sharing::Nothing => NodeId::random(),
        };
        let us = Party { network: config.network.clone(), node: id, clock: config.clock.clone() };
        let bulk = BulkRuntime::new().map_err(StartError::Threads)?;
        let tasks = Tasks::new(Handle::current());
        let bulk_tasks = tasks.child_on(bulk.handle());
        let doors = tasks.child();
        let notices = Notices::default();
        // Who is a guest has another id the next time.
        if sharing == Sharing::Folder {
            let time = Timekeeper::resume(&volume, us.clock.clone());
            tasks.spawn(info_span!("clock"), time.keep());
        }

        let search = ports::listen(&Handle::current(), config.listen, config.search_port)?;
        let download = ports::listen(&bulk.handle(), config.listen, config.download_port)?;
        let listening = (search.1, download.1);

        let catalog = Catalog::new(volume.clone());
        let uploads = Uploads::by(config.io, volume.clone(), catalog.clone());
        if sharing == Sharing::Folder {
            keep_up(catalog.clone(), notices.clone(), &tasks);
        }
        let (each, guests) = ports::slots();
        doors.child_on(bulk.handle()).spawn(
            info_span!("download port"),
            serve_downloads(uploads.clone(), download.0, us.clone(), each, bulk_tasks.clone()),
        );
        let wish = wish(config, &us, listening, sharing);
        let (membership, first, goodbye, office) =
            membership::start(wish.clone(), notices.clone(), &tasks);
        let acquaintance = Acquaintance {
            party: us.clone(),
            entries: config.peers.clone(),
            interval: config.exchange,
            advertise: wish.advertise,
            ports: wish.ports,
            guest: sharing == Sharing::Nothing,
        };
        let exchange = membership::meet(acquaintance, membership.clone(), notices.clone(), &tasks);
        let answering = Answering {
            catalog: catalog.clone(),
            exchange: exchange.clone(),
            office: office.clone(),
            circle: Circle::new(us.clone(), Arc::new(membership.clone())),
        };
        doors.spawn(
            info_span!("search port"),
            serve(
                search.0,
                us.clone(),
                &[Talk::Search, Talk::Peers, Talk::Tracking, Talk::Succession, Talk::Chat],
                Bound { all: each + guests, lasting: guests },
                tasks.clone(),
                move |guest| converse(guest, answering.clone()),
            ),
        );
        let downloads = Downloads::new(Environment {
            volume: volume.clone(),
            catalog: catalog.clone(),
            us: us.clone(),
            network: Box::new(Everyone { membership: membership.clone(), us: us.clone() }),
            fellows: uploads.fellows().clone(),
            down: Throttle::unlimited(),
            notices: notices.clone(),
            tasks: bulk_tasks,
        });
        let chat = match sharing {
            Sharing::Folder => {
                let setting = chat::Setting {
                    us: us.clone(),
                    volume: volume.clone(),
                    logs: config.transcripts.clone(),
                    membership: membership.clone(),
                    notices: notices.clone(),
                };
                // Its task writes to the disk.
                start_chat(setting, &notices, &tasks.child_on(bulk.handle()))
            }
            Sharing::Nothing => None,
        };
        let limits = InForce::new(config.limits, &uploads, &downloads);
        let inner = Inner {
            us,
            tracker: config.tracker.clone(),
            listening,
            notices,
            membership,
            chat,
            exchange,
            office,
            catalog,
            downloads,
            uploads,
            limits,
            known: Known::default(),
            exit: watch::Sender::new(false),
        };
        let app = App { inner: Arc::new(inner) };
        Ok(Self { app, volume, doors, tasks, goodbye, first: Some(first), sharing, _bulk: bulk })
    }

    /// The verbs.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The folder.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// The tasks of this node, for those that serve it to a person.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// What the tracker says to the first registration, once; none without a
    /// tracker.
    pub fn first_answer(&mut self) -> Option<FirstAnswer> {
        self.first.take()
    }

    /// Goes on with the downloads that were under way when the node last
    /// ended.
    pub fn resume(&self) {
        self.app.inner.downloads.resume();
    }

    /// Ends the node in order: nobody new is served, the others are told, what
    /// is under way may end until `grace` is over or `hurry` is done, the rest
    /// is cut. Downloads that are cut go on the next time.
    pub async fn stop(self, grace: Duration, hurry: impl Future<Output = ()>) {
        let App { inner } = &self.app;
        // Others look for another tracker, if it is this one, while it can still tell.
        inner.office.resign();
        self.doors.cancel();
        inner.uploads.drain();
        let start = Instant::now();
        let orderly = async {
            let uploads = async { timeout(grace, inner.uploads.idle()).await.is_ok() };
            let goodbye = async {
                if let Some(chat) = &inner.chat {
                    chat.leave().await;
                }
                self.goodbye.say().await;
            };
            let ((), (), ended, left) = tokio::join!(
                goodbye,
                inner.exchange.leave(),
                uploads,
                inner.downloads.drain(grace)
            );
            ended && left.is_empty()
        };
        tokio::select! {
            // A download that waits for an owner is not waited for.
            all = orderly => if !all && start.elapsed() >= grace {
                self.app.say(format_args!("leaving what is still under way after {} s", grace.as_secs()));
            },
            () = hurry => info!("leaving at once"),
        }
        say_what_goes_on(&self.app, &inner.downloads.drain(Duration::ZERO).await);
        if let Err(left) = self.tasks.stop(STOP_PATIENCE).await {
            warn!("{left} tasks did not stop within {} s", STOP_PATIENCE.as_secs());
        }
        if self.sharing == Sharing::Folder {
            let catalog = inner.catalog.clone();
            tokio::task::spawn_blocking(move || catalog.save()).await.ok();
        }
        info!("stopped");
    }
}

/// Without its memory a node does not chat, but does its other work.
fn start_chat(setting: chat::Setting, notices: &Notices, tasks: &Tasks) -> Option<Chat> {
    match chat::start(setting, tasks) {
        Ok(chat) => Some(chat),
        Err(error) => {
            notices.say(format_args!("this node does not chat: {error} (in `.shoal/chat`)"));
            None
        }
    }
}

/// Who answers at the search port.
#[derive(Clone)]
struct Answering {
    catalog: Catalog,
    exchange: Exchange,
    office: Office,
    circle: Circle,
}

/// Answers at the search port, whatever is to be talked of.
async fn converse(guest: Guest, answering: Answering) -> Result<(), ConnectionError> {
    match guest.hello.talk {
        Talk::Peers => membership::answer(guest, answering.exchange).await,
        Talk::Tracking | Talk::Succession | Talk::Chat => admit(guest, answering.office).await,
        _ => answer(guest, answering.catalog, answering.circle).await,
    }
}

/// Most downloads that are named when the node leaves.
const MOST_NAMED: usize = 8;

/// Says what is not done; what is paused does not go on by itself.
fn say_what_goes_on(app: &App, left: &[JobInfo]) {
    let mut left = left.iter().filter(|job| job.state != JobState::Paused);
    for job in left.by_ref().take(MOST_NAMED) {
        app.say(format_args!("`{}` goes on the next time", job.name));
    }
    match left.count() {
        0 => {}
        more => app.say(format_args!("{more} more downloads go on the next time")),
    }
}

/// How long tasks may take to end once they are told to.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Threads of their own for transfers, so that a disk that holds one up delays
/// neither heartbeats nor the terminal.
#[derive(Debug)]
struct BulkRuntime(Option<Runtime>, Handle);

impl BulkRuntime {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("shoal-transfer")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    fn handle(&self) -> Handle {
        self.1.clone()
    }
}

impl Drop for BulkRuntime {
    fn drop(&mut self) {
        // A plain drop waits for threads, which an async context forbids.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn wish(
    config: &Config,
    us: &Party,
    listening: (SocketAddr, SocketAddr),
    sharing: Sharing,
) -> Wish {
    let name = match &config.name {
        Some(name) => (name.clone(), true),
        None => (host_name(), false),
    };
    Wish {
        tracker: config.tracker.clone(),
        peers: config.peers.clone(),
        // Who is here for one download is gone before it could be of use.
        eligible: sharing == Sharing::Folder,
        us: us.clone(),
        name,
        // An address that was chosen to listen on is the one to be reached at.
        advertise: config.advertise.or(Some(config.listen).filter(|ip| !ip.is_unspecified())),
        ports: (listening.0.port(), listening.1.port()),
    }
}

fn host_name() -> NodeName {
    NodeName::from_lossy(&rustix::system::uname().nodename().to_string_lossy())
}
