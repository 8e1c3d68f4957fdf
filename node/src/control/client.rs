//! The calling side: one request, one reply.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_common::clock::{Clock, Stamp};
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::ident::Peer;
use shoal_common::limits::{MAX_PATTERN, MAX_REQUEST_FRAME, REPLY_DEADLINE};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::amount::Limit;
use crate::app::limits::Setting;
use crate::app::{Identity, PeerInfo, TrackerInfo};
use crate::catalog::found::{FileInfo, Findings};
use crate::catalog::pattern::PatternError;
use crate::chat::verbs::{Ask, Told};
use crate::config::Limits;
use crate::control::protocol::{MAX_CONTROL_REPLY, Reply, Request};
use crate::control::socket;
use crate::transfer::job::{JobId, JobInfo, Priority, UploadInfo, Wanted};
use crate::transfer::stats::StatRow;

/// Longest time that a search of the node may take, its own deadlines for
/// silent peers included.
const SEARCH_PATIENCE: Duration = Duration::from_secs(30);

/// Longest time that a hello may take, the deadlines of a slow node included.
const HELLO_PATIENCE: Duration = Duration::from_secs(60);

/// The end of a download may be days away.
const JOB_PATIENCE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Why a node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No node shares this folder now.
    #[error(
        "no node is running on `{files}`; start one with `shoal-node --files {files}`",
        files = .0.display()
    )]
    NoNode(PathBuf),
    /// The node's socket can't be opened.
    #[error("the node on `{files}` can't be reached: {cause}", files = .files.display())]
    Unreachable {
        /// The folder it shares.
        files: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The node went away meanwhile, or does not answer.
    #[error("the node did not answer: {0}")]
    Broken(#[from] ConnectionError),
    /// The node ends in order.
    #[error("the node is leaving")]
    Gone,
    /// The node refuses.
    #[error("{0}")]
    Refused(String),
    /// An answer that this program does not know.
    #[error("the node answered what this program does not understand; are both of one version?")]
    Unexpected,
}

/// A way to reach a node, and what is known of its time.
#[derive(Debug, Clone)]
pub struct Door {
    way: Way,
    clock: Clock,
}

/// How to reach a node.
#[derive(Debug, Clone)]
enum Way {
    /// Through the socket of this shared folder.
    Folder(PathBuf),
    /// The node of this process: it takes one end of a pair of sockets.
    Here(mpsc::Sender<UnixStream>),
}

impl Door {
    /// The node that shares this folder.
    pub fn of(files: &Path) -> Self {
        Self { way: Way::Folder(files.to_owned()), clock: Clock::default() }
    }

    /// The node of this process, which takes one end of each pair of sockets.
    pub fn here(to_node: mpsc::Sender<UnixStream>) -> Self {
        Self { way: Way::Here(to_node), clock: Clock::default() }
    }

    /// A Lamport time later than all that the node has said through this door.
    pub fn time(&self) -> u64 {
        self.clock.now()
    }

    /// Opens a conversation.
    ///
    /// # Errors
    /// There is no node, or it can't be reached.
    pub async fn open(&self) -> Result<Client, ControlError> {
        let stream = match &self.way {
            Way::Folder(files) => socket::connect(files).await.map_err(|cause| {
                if socket::is_absent(&cause) {
                    ControlError::NoNode(files.clone())
                } else {
                    ControlError::Unreachable { files: files.clone(), cause }
                }
            })?,
            Way::Here(to_node) => {
                let (ours, theirs) = UnixStream::pair().map_err(ConnectionError::from)?;
                to_node.send(theirs).await.map_err(|_| ControlError::Gone)?;
                ours
            }
        };
        let mut connection = Connection::new(stream);
        connection.keep_time(self.clock.clone());
        Ok(Client { connection })
    }

    /// One request and its reply, in a conversation of its own.
    async fn ask(&self, request: &Request, patience: Duration) -> Result<Reply, ControlError> {
        let mut client = self.open().await?;
        client.send(request).await?;
        client.next(patience).await
    }

    /// Who the node is.
    ///
    /// # Errors
    /// As for all verbs, see [`ControlError`].
    pub async fn identity(&self) -> Result<Identity, ControlError> {
        match self.ask(&Request::GetIp, REPLY_DEADLINE).await? {
            Reply::Identity(identity) => Ok(identity),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What its clock shows.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn clock(&self) -> Result<Stamp, ControlError> {
        match self.ask(&Request::Clock, REPLY_DEADLINE).await? {
            Reply::Clock(stamp) => Ok(stamp),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Who is tracker; nothing if the node has never met one.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn tracker(&self) -> Result<Option<TrackerInfo>, ControlError> {
        match self.ask(&Request::Tracker, REPLY_DEADLINE).await? {
            Reply::Tracker { tracker } => Ok(tracker),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Its own files whose name contains `part`.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn show(&self, part: Option<String>) -> Result<Vec<FileInfo>, ControlError> {
        match self.ask(&Request::Show { part }, REPLY_DEADLINE).await? {
            Reply::Files { files } => Ok(files),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The other nodes.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn peers(&self) -> Result<Vec<Peer>, ControlError> {
        match self.ask(&Request::Peers, REPLY_DEADLINE).await? {
            Reply::Peers { peers } => Ok(peers),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Asks something of the chat.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn chat(&self, ask: Ask) -> Result<Told, ControlError> {
        match self.ask(&Request::Chat { ask }, SEARCH_PATIENCE).await? {
            Reply::Chat { told } => Ok(told),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// How it stands with each other node; `refresh`: everyone is asked before.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn standings(&self, refresh: bool) -> Result<Vec<PeerInfo>, ControlError> {
        match self.ask(&Request::Standings { refresh }, SEARCH_PATIENCE).await? {
            Reply::Standings { peers } => Ok(peers),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Says hello to a node, by its name or at its search address.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn hello(&self, whom: String) -> Result<PeerInfo, ControlError> {
        match self.ask(&Request::Hello { whom }, HELLO_PATIENCE).await? {
            Reply::Standings { peers } => peers.into_iter().next().ok_or(ControlError::Unexpected),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What the others have whose name matches.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn search(&self, pattern: &str) -> Result<Findings, ControlError> {
        // The node would say so, but the request may be too long to get there.
        if pattern.len() > MAX_PATTERN {
            return Err(ControlError::Refused(PatternError::TooLong(pattern.len()).to_string()));
        }
        self.findings(&Request::Search { pattern: pattern.to_owned() }).await
    }

    /// Who has exactly this name.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn find(&self, name: &str) -> Result<Findings, ControlError> {
        self.findings(&Request::Find { name: name.to_owned() }).await
    }

    async fn findings(&self, request: &Request) -> Result<Findings, ControlError> {
        match self.ask(request, SEARCH_PATIENCE).await? {
            Reply::Found(findings) => Ok(findings),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Starts a download.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn download(&self, wanted: Wanted) -> Result<JobInfo, ControlError> {
        self.job(&Request::Download(wanted), SEARCH_PATIENCE).await
    }

    /// Waits for the end of a download.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn wait(&self, job: JobId) -> Result<JobInfo, ControlError> {
        self.job(&Request::Wait { job }, JOB_PATIENCE).await
    }

    /// Ends a download.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn cancel(&self, job: JobId) -> Result<JobInfo, ControlError> {
        self.job(&Request::Cancel { job }, SEARCH_PATIENCE).await
    }

    /// All about one download.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn job_info(&self, job: JobId) -> Result<JobInfo, ControlError> {
        self.job(&Request::Job { job }, REPLY_DEADLINE).await
    }

    /// Stops a download until it is resumed.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn pause(&self, job: JobId) -> Result<JobInfo, ControlError> {
        self.job(&Request::Pause { job }, SEARCH_PATIENCE).await
    }

    /// Lets a paused download go on.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn resume(&self, job: JobId) -> Result<JobInfo, ControlError> {
        self.job(&Request::Resume { job }, SEARCH_PATIENCE).await
    }

    /// Gives a download another priority.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn prioritize(
        &self,
        job: JobId,
        priority: Priority,
    ) -> Result<JobInfo, ControlError> {
        self.job(&Request::Prioritize { job, priority }, SEARCH_PATIENCE).await
    }

    /// Does once more, as a new job, what a download was to do.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn retry(&self, job: JobId) -> Result<JobInfo, ControlError> {
        self.job(&Request::Retry { job }, SEARCH_PATIENCE).await
    }

    /// Limits a download.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn limit(&self, job: JobId, limit: Limit) -> Result<JobInfo, ControlError> {
        self.job(&Request::Limit { job, limit }, SEARCH_PATIENCE).await
    }

    /// The limits in force.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn limits(&self) -> Result<Limits, ControlError> {
        self.limits_after(&Request::Limits).await
    }

    /// Changes a limit.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn set(&self, setting: Setting) -> Result<Limits, ControlError> {
        self.limits_after(&Request::Set { setting }).await
    }

    async fn limits_after(&self, request: &Request) -> Result<Limits, ControlError> {
        match self.ask(request, REPLY_DEADLINE).await? {
            Reply::Limits(limits) => Ok(limits),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// How long past downloads took.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn stats(&self) -> Result<Vec<StatRow>, ControlError> {
        match self.ask(&Request::Stats, REPLY_DEADLINE).await? {
            Reply::Stats { rows } => Ok(rows),
            _ => Err(ControlError::Unexpected),
        }
    }

    async fn job(&self, request: &Request, patience: Duration) -> Result<JobInfo, ControlError> {
        match self.ask(request, patience).await? {
            Reply::Job(job) => Ok(job),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// All downloads.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn jobs(&self) -> Result<Vec<JobInfo>, ControlError> {
        match self.ask(&Request::Jobs, REPLY_DEADLINE).await? {
            Reply::Jobs { jobs } => Ok(jobs),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Uploads under way.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn uploads(&self) -> Result<Vec<UploadInfo>, ControlError> {
        match self.ask(&Request::Uploads, REPLY_DEADLINE).await? {
            Reply::Uploads { uploads } => Ok(uploads),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Names of files known to the node.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn names(&self) -> Result<Vec<String>, ControlError> {
        match self.ask(&Request::Names, REPLY_DEADLINE).await? {
            Reply::Names { names } => Ok(names),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Asks the node to leave.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn exit(&self) -> Result<(), ControlError> {
        match self.ask(&Request::Exit, REPLY_DEADLINE).await? {
            Reply::Leaving => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Hears what happens at the node from now on.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn watch(&self) -> Result<Watch, ControlError> {
        let mut client = self.open().await?;
        client.send(&Request::Watch).await?;
        Ok(Watch { client })
    }
}

/// One conversation with a node.
pub struct Client {
    connection: Connection<UnixStream>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    async fn send(&mut self, request: &Request) -> Result<(), ControlError> {
        match self.connection.send(request, MAX_REQUEST_FRAME).await {
            Err(ConnectionError::TooLong { length, bound }) => Err(ControlError::Refused(format!(
                "a request of {length} bytes: at most {bound} are allowed"
            ))),
            sent => Ok(sent?),
        }
    }

    async fn next(&mut self, patience: Duration) -> Result<Reply, ControlError> {
        match self.connection.receive(MAX_CONTROL_REPLY, patience).await? {
            Reply::Refused { reason } => Err(ControlError::Refused(reason)),
            reply => Ok(reply),
        }
    }
}

/// What happens at a node.
#[derive(Debug)]
pub struct Watch {
    client: Client,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A line for the person.
    Notice(String),
    /// How far the downloads are.
    Progress(Vec<JobInfo>),
}

impl Watch {
    /// The next event. Safe to cancel.
    ///
    /// # Errors
    /// [`ControlError::Gone`] when the node ended in order; any other when it is
    /// gone without a word.
    pub async fn next(&mut self) -> Result<Event, ControlError> {
        loop {
            match self.client.next(JOB_PATIENCE).await? {
                Reply::Notice { line } => return Ok(Event::Notice(line)),
                Reply::Progress { jobs } => return Ok(Event::Progress(jobs)),
                Reply::Leaving => return Err(ControlError::Gone),
                _ => {}
            }
        }
    }
}
