//! What is asked of a node by its terminals, and what it answers.

use serde::{Deserialize, Serialize};
use shoal_common::clock::Stamp;
use shoal_common::ident::Peer;

use crate::amount::Limit;
use crate::app::limits::Setting;
use crate::app::{Identity, PeerInfo, TrackerInfo};
use crate::catalog::found::{FileInfo, Findings};
use crate::chat::verbs::{Ask, Told};
use crate::config::Limits;
use crate::transfer::job::{JobId, JobInfo, Priority, UploadInfo, Wanted};
use crate::transfer::stats::StatRow;

/// Largest reply, in bytes. Generous: `show` names every file of the volume in
/// one reply, and both ends belong to the same person. Memory grows only as
/// bytes arrive.
pub const MAX_CONTROL_REPLY: usize = 256 * 1024 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Who are you? Answered with [`Reply::Identity`].
    GetIp,
    /// What does your clock show? Answered with [`Reply::Clock`].
    Clock,
    /// Who is tracker? Answered with [`Reply::Tracker`].
    Tracker,
    /// What do you share? Answered with [`Reply::Files`].
    Show {
        /// Only names that contain this text, whatever its case.
        part: Option<String>,
    },
    /// Something of the chat. Answered with [`Reply::Chat`].
    Chat {
        /// What.
        ask: Ask,
    },
    /// Who else is here? Answered with [`Reply::Peers`].
    Peers,
    /// How does it stand with each other node? Answered with
    /// [`Reply::Standings`].
    Standings {
        /// Whether to ask everyone before.
        refresh: bool,
    },
    /// Say hello to another node. Answered with [`Reply::Standings`] of that one.
    Hello {
        /// Its name, or its search address.
        whom: String,
    },
    /// What do the others have? Answered with [`Reply::Found`].
    Search {
        /// Part of a name, or a glob.
        pattern: String,
    },
    /// Who has exactly this name? Answered with [`Reply::Found`].
    Find {
        /// The name.
        name: String,
    },
    /// Start this download. Answered with [`Reply::Job`].
    Download(Wanted),
    /// Answered with [`Reply::Job`] when that download is over.
    Wait {
        /// Which download.
        job: JobId,
    },
    /// All downloads. Answered with [`Reply::Jobs`].
    Jobs,
    /// Uploads under way. Answered with [`Reply::Uploads`].
    Uploads,
    /// End this download. Answered with [`Reply::Job`].
    Cancel {
        /// Which download.
        job: JobId,
    },
    /// All about one download. Answered with [`Reply::Job`].
    Job {
        /// Which download.
        job: JobId,
    },
    /// Stop this download until it is resumed. Answered with [`Reply::Job`].
    Pause {
        /// Which download.
        job: JobId,
    },
    /// Let this download go on. Answered with [`Reply::Job`].
    Resume {
        /// Which download.
        job: JobId,
    },
    /// Give this download another priority. Answered with [`Reply::Job`].
    Prioritize {
        /// Which download.
        job: JobId,
        /// Which priority.
        priority: Priority,
    },
    /// Do once more what this download was to do. Answered with [`Reply::Job`]
    /// of the new one.
    Retry {
        /// Which download.
        job: JobId,
    },
    /// Limit this download. Answered with [`Reply::Job`].
    Limit {
        /// Which download.
        job: JobId,
        /// To what.
        limit: Limit,
    },
    /// The limits in force. Answered with [`Reply::Limits`].
    Limits,
    /// Change one of them. Answered with [`Reply::Limits`].
    Set {
        /// Which, and to what.
        setting: Setting,
    },
    /// How long past downloads took. Answered with [`Reply::Stats`].
    Stats,
    /// Names of files known to this node. Answered with [`Reply::Names`].
    Names,
    /// From now on say what happens: [`Reply::Notice`] and [`Reply::Progress`],
    /// until one side hangs up; a node that ends in order says [`Reply::Leaving`]
    /// before.
    Watch,
    /// Leave the network and end. Answered with [`Reply::Leaving`].
    Exit,
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// Who this node is.
    Identity(Identity),
    /// What its Lamport clock shows.
    Clock(Stamp),
    /// Who is tracker.
    Tracker {
        /// Nothing if this node has never met one.
        tracker: Option<TrackerInfo>,
    },
    /// Its own files.
    Files {
        /// By name.
        files: Vec<FileInfo>,
    },
    /// The other nodes.
    Peers {
        /// By name.
        peers: Vec<Peer>,
    },
    /// What came of it in the chat.
    Chat {
        /// What.
        told: Told,
    },
    /// How it stands with other nodes.
    Standings {
        /// By name, those that are offline last.
        peers: Vec<PeerInfo>,
    },
    /// What the others have.
    Found(Findings),
    /// One download.
    Job(JobInfo),
    /// Downloads of this node's life.
    Jobs {
        /// By number.
        jobs: Vec<JobInfo>,
    },
    /// Uploads under way.
    Uploads {
        /// In no order.
        uploads: Vec<UploadInfo>,
    },
    /// Names of files, its own and those seen in searches.
    Names {
        /// In order.
        names: Vec<String>,
    },
    /// The limits in force.
    Limits(Limits),
    /// How long past downloads took.
    Stats {
        /// By name.
        rows: Vec<StatRow>,
    },
    /// The node begins to leave.
    Leaving,
    /// Something happened that a person may want to know.
    Notice {
        /// One line.
        line: String,
    },
    /// How far the downloads are: those under way, and once more each that is
    /// over since the last time.
    Progress {
        /// By number.
        jobs: Vec<JobInfo>,
    },
    /// The request is refused.
    Refused {
        /// Why; a phrase.
        reason: String,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}
