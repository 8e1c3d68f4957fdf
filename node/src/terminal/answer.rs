//! What a command brought, before it is text.

use shoal_common::clock::Stamp;

use crate::app::{Identity, PeerInfo, TrackerInfo};
use crate::catalog::found::{FileInfo, Findings};
use crate::chat::verbs::Told;
use crate::config::Limits;
use crate::terminal::words::Verb;
use crate::transfer::job::{JobInfo, UploadInfo};
use crate::transfer::stats::StatRow;

/// What a command brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// What can be typed.
    Help(Option<&'static Verb>),
    /// Who the node is.
    Identity(Identity),
    /// What its clock shows.
    Clock(Stamp),
    /// Who is tracker.
    Tracker(Option<TrackerInfo>),
    /// Its files.
    Files(Vec<FileInfo>),
    /// The other nodes.
    Peers(Vec<PeerInfo>),
    /// What came of it in the chat.
    Chat(Told),
    /// A node that answered a hello.
    Greeted(PeerInfo),
    /// What others have.
    Found(Findings),
    /// Downloads, and uploads beside them.
    Jobs(Vec<JobInfo>, Vec<UploadInfo>),
    /// A download that runs on.
    Started(JobInfo),
    /// A download that is over.
    Over(JobInfo),
    /// All about one download.
    Job(JobInfo),
    /// A download that was changed.
    Changed(JobInfo),
    /// A download that was ended.
    Cancelled(JobInfo),
    /// The limits in force.
    Limits(Limits),
    /// How long past downloads took.
    Stats(Vec<StatRow>),
    /// The node begins to leave.
    Leaving,
    /// The node has left and ended.
    Left,
}
