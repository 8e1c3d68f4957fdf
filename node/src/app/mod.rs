//! The verbs of a node on one cloneable handle.
//!
//! Terminals, `ctl`, tests and whatever comes later are equal users of [`App`].
//! [`node`] builds it from its parts and takes it down in order.

pub mod limits;
pub mod node;

mod known;
mod network;
mod ports;
mod standing;
mod time;
mod tracker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_common::clock::{Clock, Stamp};
use shoal_common::ident::{NodeId, NodeName, Peer, address};
use shoal_common::name::{NameError, SharedName};
use shoal_common::party::Party;
use shoal_common::protocol::search::Pattern;
use shoal_tracker::office::Office;
use tokio::sync::{broadcast, watch};

use crate::catalog::Catalog;
use crate::catalog::ask::ask;
use crate::catalog::found::{FileInfo, Findings, Indexing};
use crate::catalog::pattern::{Matcher, PatternError, typed};
use crate::chat::Chat;
use crate::chat::verbs::{Ask, Told};
use crate::config::host_port;
use crate::membership::{Exchange, Link, Membership};
use crate::notice::Notices;
use crate::transfer::job::{JobId, JobInfo, Priority, UploadInfo, Wanted, What};
use crate::transfer::stats::StatRow;
use crate::transfer::{Downloads, JobError, Reader, StartError, Uploads};
pub use standing::{HelloError, PeerInfo};
pub use tracker::{Contact, Heir, Role, TrackerInfo};

use known::Known;
use limits::InForce;

/// Who and where this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub id: NodeId,
    /// Its name: the one it got, or the one it asks for.
    pub name: NodeName,
    /// The network it belongs to.
    pub network: String,
    /// Where it answers searches: as told to the others, or as it listens while
    /// it has met neither the tracker nor another node.
    #[serde(with = "address")]
    pub search: SocketAddr,
    /// Where it serves content; likewise.
    #[serde(with = "address")]
    pub download: SocketAddr,
    /// The tracker that it follows, `"host:port"`, or else the one it looks for.
    pub tracker: Option<String>,
    /// How it stands with the tracker.
    pub link: Link,
}

/// A name that can't be that of a shared file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` can't be the name of a shared file: {cause}")]
pub struct BadName {
    name: String,
    cause: NameError,
}

/// A running node. Clones are the same node.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("App").field(&self.identity()).finish()
    }
}

struct Inner {
    us: Party,
    tracker: Option<String>,
    listening: (SocketAddr, SocketAddr),
    notices: Notices,
    membership: Membership,
    chat: Option<Chat>,
    exchange: Exchange,
    office: Office,
    catalog: Catalog,
    downloads: Downloads,
    uploads: Uploads,
    limits: InForce,
    known: Known,
    exit: watch::Sender<bool>,
}

impl App {
    /// Its Lamport clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.us.clock
    }

    /// The stamp of its last event.
    pub fn stamp(&self) -> Stamp {
        Stamp { time: self.clock().now(), node: self.inner.us.node }
    }

    /// Who and where this node is.
    pub fn identity(&self) -> Identity {
        let inner = &self.inner;
        let us = inner.membership.us();
        let (search, download) = us.map_or(inner.listening, |us| (us.search, us.download));
        Identity {
            id: inner.us.node,
            name: inner.membership.name(),
            network: inner.us.network.clone(),
            search,
            download,
            tracker: self.followed(),
            link: inner.membership.link(),
        }
    }

    /// Where the tracker is that this node follows, or else the one that it looks for.
    fn followed(&self) -> Option<String> {
        let Inner { membership, tracker, .. } = &*self.inner;
        let followed = membership.tracker_at().borrow().as_ref().map(|at| at.address.to_string());
        match membership.link() {
            Link::Registered => followed.or_else(|| tracker.clone()),
            _ => tracker.clone().or(followed),
        }
    }

    /// The files that this node shares, by name.
    pub fn show(&self) -> Vec<FileInfo> {
        self.inner.catalog.list()
    }

    /// Who is tracker; nothing if this node has never met one.
    pub fn tracker(&self) -> Option<TrackerInfo> {
        let membership = &self.inner.membership;
        let us = membership.us();
        let known = |id| us.clone().filter(|us| us.id == id).or_else(|| membership.peer(id));
        TrackerInfo::new(&self.inner.office.outlook(), known)
    }

    /// How far this node is with getting to know its files; `None` if it knows
    /// them, or has only just begun.
    pub fn indexing(&self) -> Option<Indexing> {
        self.inner.catalog.indexing()
    }

    /// The other nodes that are here, by name.
    pub fn peers(&self) -> Vec<Peer> {
        self.inner.membership.peers()
    }

    /// What goes wrong at the addresses that it was given to begin with, the tracker's
    /// and those of nodes: a phrase for each, which names it.
    pub fn troubles(&self) -> BTreeMap<String, String> {
        self.inner.membership.troubles()
    }

    /// Does what is asked of the chat.
    ///
    /// # Errors
    /// Why nothing comes of it; a phrase.
    pub async fn chat(&self, ask: Ask) -> Result<Told, String> {
        match &self.inner.chat {
            Some(chat) => chat.ask(ask).await,
            None => Err("this node does not chat; its log says why".to_owned()),
        }
    }

    /// The other nodes and how it stands with each. Those that are offline come
    /// last; while a tracker is there, who is not in its list is not in this one.
    pub fn standings(&self) -> Vec<PeerInfo> {
        let Inner { membership, exchange, .. } = &*self.inner;
        standing::list(membership.peers(), membership.link(), exchange.standings())
    }

    /// Asks everyone who is known, now, also those that are offline. Takes some
    /// seconds where somebody does not answer.
    pub async fn refresh(&self) -> Vec<PeerInfo> {
        self.inner.exchange.refresh().await;
        self.standings()
    }

    /// Says hello to a node by its name, or at its search address.
    ///
    /// # Errors
    /// See [`HelloError`].
    pub async fn hello(&self, whom: &str) -> Result<PeerInfo, HelloError> {
        let known = self.standings();
        let address = match known.iter().find(|info| info.name.as_str() == whom) {
            Some(info) => info.search.to_string(),
            None => {
                host_port(whom).map_err(|_| HelloError::Unknown(whom.escape_debug().to_string()))?
            }
        };
        let by = self.inner.exchange.hello(&address).await?;
        let now = self.standings().into_iter().find(|info| info.id == by);
        now.ok_or(HelloError::Gone)
    }

    /// What the others have whose name matches: a glob if the text has
    /// wildcards, else a part of the name. Takes at most
    /// [`SEARCH_DEADLINE`](shoal_common::limits::SEARCH_DEADLINE).
    ///
    /// # Errors
    /// The text is no pattern.
    pub async fn search(&self, text: &str) -> Result<Findings, PatternError> {
        let pattern = typed(text);
        // Found wrong here once instead of by everyone.
        Matcher::new(&pattern)?;
        Ok(self.ask(pattern).await)
    }

    /// Who has a file with exactly this name. Takes at most
    /// [`SEARCH_DEADLINE`](shoal_common::limits::SEARCH_DEADLINE).
    ///
    /// # Errors
    /// It can't be the name of a shared file.
    pub async fn find(&self, name: &str) -> Result<Findings, BadName> {
        let parsed: Result<SharedName, _> = name.parse();
        match parsed {
            Ok(name) => Ok(self.ask(Pattern::Exact(name)).await),
            Err(cause) => Err(BadName { name: name.escape_debug().to_string(), cause }),
        }
    }

    async fn ask(&self, pattern: Pattern) -> Findings {
        let findings = ask(self.peers(), &self.inner.us, &pattern).await;
        self.inner.known.learn(&findings);
        findings
    }

    /// Names of files that this node has or has heard of, sorted: for
    /// completion.
    pub fn names(&self) -> Vec<String> {
        let own = self.show().into_iter().map(|file| file.name.to_string());
        self.inner.known.with(own)
    }

    /// Starts a download, or queues it where too many run.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn download(&self, wanted: Wanted) -> Result<JobId, StartError> {
        let owners = self.known_owners(&wanted);
        self.inner.downloads.start(wanted, owners)
    }

    /// Reads a file while it is downloaded: its bytes in order, each verified,
    /// and no more of them ahead than fit into a few buffers.
    pub fn read(&self, wanted: Wanted) -> Reader {
        let owners = self.known_owners(&wanted);
        self.inner.downloads.read(wanted, owners)
    }

    fn known_owners(&self, wanted: &Wanted) -> Vec<Peer> {
        match &wanted.what {
            What::File(file) => self.inner.known.owners(file.file, file.size),
            What::Tree(_) => Vec::new(),
        }
    }

    /// Downloads of this node's life, the oldest first.
    pub fn jobs(&self) -> Vec<JobInfo> {
        self.inner.downloads.list()
    }

    /// Waits for the end of a download; `None` if there is no such.
    pub async fn finished(&self, job: JobId) -> Option<JobInfo> {
        self.inner.downloads.finished(job).await
    }

    /// Ends a download. What has come is kept for the next time.
    ///
    /// # Errors
    /// There is no such download, or it is over.
    pub async fn cancel(&self, job: JobId) -> Result<JobInfo, JobError> {
        self.inner.downloads.cancel(job)?;
        self.finished(job).await;
        self.settled(job).await
    }

    /// One download.
    ///
    /// # Errors
    /// There is no such download.
    pub fn job(&self, job: JobId) -> Result<JobInfo, JobError> {
        self.inner.downloads.get(job)
    }

    /// Stops a download until it is resumed, also after a restart.
    ///
    /// # Errors
    /// There is no such download, it is over, or paused.
    pub async fn pause(&self, job: JobId) -> Result<JobInfo, JobError> {
        self.inner.downloads.pause(job)?;
        self.settled(job).await
    }

    /// Lets a paused download go on, when its turn comes.
    ///
    /// # Errors
    /// There is no such download, it is over, or not paused.
    pub async fn resume(&self, job: JobId) -> Result<JobInfo, JobError> {
        self.inner.downloads.unpause(job)?;
        self.settled(job).await
    }

    /// Gives a download another priority.
    ///
    /// # Errors
    /// There is no such download, or it is over.
    pub async fn prioritize(&self, job: JobId, priority: Priority) -> Result<JobInfo, JobError> {
        self.inner.downloads.prioritize(job, priority)?;
        self.settled(job).await
    }

    /// Does once more, as a new job, what a job that is over was to do.
    ///
    /// # Errors
    /// There is no such download, it is not over, or the new one does not start.
    pub async fn retry(&self, job: JobId) -> Result<JobInfo, JobError> {
        let job = self.inner.downloads.retry(job)?;
        self.settled(job).await
    }

    /// How long past downloads took.
    pub fn stats(&self) -> Vec<StatRow> {
        self.inner.downloads.stats()
    }

    /// How a download stands once it is written down that it is wanted: from
    /// then on it outlives the node.
    ///
    /// # Errors
    /// There is no such download.
    pub async fn written(&self, job: JobId) -> Result<JobInfo, JobError> {
        self.settled(job).await
    }

    /// How a download stands once what was asked of it is done and written down.
    async fn settled(&self, job: JobId) -> Result<JobInfo, JobError> {
        self.inner.downloads.settled(job).await;
        self.job(job)
    }

    /// Uploads under way.
    pub fn uploads(&self) -> Vec<UploadInfo> {
        self.inner.uploads.list()
    }

    /// News for the person, from now on.
    pub fn notices(&self) -> broadcast::Receiver<String> {
        self.inner.notices.listen()
    }

    /// Says something to the person.
    pub fn say(&self, line: impl std::fmt::Display) {
        self.inner.notices.say(line);
    }

    /// Waits until everything that was in the folder at the start is shared.
    pub async fn sharing(&self) {
        self.inner.catalog.completed().await;
    }

    /// Waits until this node is in a network: taken in by the tracker, or told by
    /// another node whom that knows.
    pub async fn registered(&self) {
        if self.inner.tracker.is_some() {
            self.inner.membership.registered().await;
        } else {
            self.inner.membership.joined().await;
        }
    }

    /// Waits until this node is in a network, by whichever way comes first.
    pub async fn joined(&self) {
        self.inner.membership.joined().await;
    }

    /// Asks the node to leave. The program decides how.
    pub fn request_exit(&self) {
        self.inner.exit.send_modify(|asked| *asked = true);
    }

    /// Changes with [`App::request_exit`]. Requests that come before the last
    /// one was seen are one.
    pub fn exit_requests(&self) -> watch::Receiver<bool> {
        self.inner.exit.subscribe()
    }
}
