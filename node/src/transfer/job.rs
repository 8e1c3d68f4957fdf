//! What a download looks like from outside.

use serde::{Deserialize, Serialize};
use shoal_common::content::FileId;
use shoal_common::ident::{NodeId, NodeName};
use shoal_common::name::SharedName;

/// Number of a download in this node's life, from 1.
pub type JobId = u32;

/// From which owners to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sources {
    /// Every owner there is, and those that appear meanwhile.
    All,
    /// This one alone.
    Only(NodeId),
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The name it shall have here.
    pub name: SharedName,
    /// Its content.
    pub file: FileId,
    /// Its size in bytes, as the owners say; the manifest decides.
    pub size: u64,
    /// From whom.
    pub from: Sources,
}

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its number.
    pub job: JobId,
    /// The name that was asked for.
    pub name: SharedName,
    /// Size in bytes.
    pub size: u64,
    /// The content.
    pub id: FileId,
    /// Where it stands.
    pub state: JobState,
    /// Verified bytes here, those of an earlier attempt included.
    pub done: u64,
    /// Of these, bytes that were here from an earlier attempt.
    pub resumed: u64,
    /// Seconds since the start; at the end, the time it took.
    pub seconds: f64,
    /// Verified bytes a second: lately while it runs, on the whole at the end.
    pub rate: f64,
    /// Seconds that it will take at this rate, where that can be said.
    pub left: Option<f64>,
    /// Who gave what, by name.
    pub owners: Vec<OwnerInfo>,
    /// What it waits for, or why it failed; a phrase.
    pub reason: Option<String>,
    /// The name the file got, once it is whole.
    pub saved_as: Option<SharedName>,
}

/// Where a download stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Getting the manifest, looking at what is here already.
    Starting,
    /// Bytes are coming in.
    Running,
    /// Waiting, for `reason`; goes on by itself.
    Waiting,
    /// The file is here, whole and verified.
    Done,
    /// Cancelled; what had come is kept for the next time.
    Cancelled,
    /// Given up, for `reason`; what had come is kept for the next time.
    Failed,
}

impl JobState {
    /// Whether nothing will happen any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }
}

/// What one owner gave to a download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerInfo {
    /// Which owner.
    pub name: NodeName,
    /// Verified bytes that it gave.
    pub bytes: u64,
    /// Whether it is in use now.
    pub active: bool,
    /// What went wrong with it last, if anything did.
    pub trouble: Option<String>,
}

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UploadInfo {
    /// The content.
    pub id: FileId,
    /// Its name here.
    pub name: SharedName,
    /// Address of the peer that fetches it, `"ip:port"`.
    pub to: String,
}
