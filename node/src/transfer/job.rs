//! What a download is, and what it looks like from outside.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shoal_common::content::FileId;
use shoal_common::ident::{NodeId, NodeName};
use shoal_common::name::SharedName;

/// Number of a download of this node, from 1; it keeps it across restarts.
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

/// In which order the bytes of a file come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As is best for everyone: the rarest first.
    #[default]
    Any,
    /// From front to back.
    Sequential,
}

/// Which downloads come first where not all can run.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After all others.
    Low,
    /// In the order in which they were asked for.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// One of a few words.
fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
    found.map(|(_, meant)| *meant).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("`{text}` is none of {}", known.join(", "))
    })
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        word(text, &[("any", Self::Any), ("sequential", Self::Sequential)])
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        word(text, &[("high", Self::High), ("normal", Self::Normal), ("low", Self::Low)])
    }
}

/// One file that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedFile {
    /// The name it shall have here.
    pub name: SharedName,
    /// Its content.
    pub file: FileId,
    /// Its size in bytes, as the owners say; the manifest decides.
    pub size: u64,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// One file.
    File(WantedFile),
    /// A folder with all that is below it, or what matches a glob: as it was
    /// typed. Which files that are is asked when the download starts.
    Tree(String),
}

/// What is wanted, from whom and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// What.
    pub what: What,
    /// From whom.
    pub from: Sources,
    /// In which order.
    #[serde(default)]
    pub order: Order,
}

impl What {
    /// Whether both bring the same: one content under whatever name, or the same
    /// text.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one.file == other.file,
            (Self::Tree(one), Self::Tree(other)) => one == other,
            _ => false,
        }
    }
}

impl Wanted {
    /// One file, from all owners, in any order.
    pub fn file(name: SharedName, file: FileId, size: u64) -> Self {
        let what = What::File(WantedFile { name, file, size });
        Self { what, from: Sources::All, order: Order::Any }
    }

    /// What a person calls it: the name of the file, or the text that was typed.
    pub fn title(&self) -> &str {
        match &self.what {
            What::File(wanted) => wanted.name.as_str(),
            What::Tree(typed) => typed,
        }
    }
}

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its number.
    pub job: JobId,
    /// What was asked for; see [`Wanted::title`].
    pub name: String,
    /// Size in bytes; of a tree, of all its files, once they are known.
    pub size: u64,
    /// The content, if it is one file.
    pub id: Option<FileId>,
    /// Where it stands.
    pub state: JobState,
    /// Which come first where not all can run.
    pub priority: Priority,
    /// Most bytes a second, if that was limited.
    pub limit: Option<u64>,
    /// Verified bytes here, those of an earlier attempt included.
    pub done: u64,
    /// Of these, bytes that were here from an earlier attempt.
    pub resumed: u64,
    /// Seconds that it has been running; at the end, the time it took.
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
    /// Of a tree: how many files.
    pub files: Option<FileCounts>,
    /// Files of a tree that can't be had, and why: the first
    /// [`MAX_FAILURES`]. `retry` fetches them alone.
    pub failures: Vec<Failure>,
}

impl JobInfo {
    /// Of a download that nothing has been done for yet.
    pub fn new(job: JobId, wanted: &Wanted) -> Self {
        let (size, id) = match &wanted.what {
            What::File(file) => (file.size, Some(file.file)),
            What::Tree(_) => (0, None),
        };
        Self {
            job,
            name: wanted.title().to_owned(),
            size,
            id,
            state: JobState::Queued,
            priority: Priority::default(),
            limit: None,
            done: 0,
            resumed: 0,
            seconds: 0.0,
            rate: 0.0,
            left: None,
            owners: Vec::new(),
            reason: None,
            saved_as: None,
            files: None,
            failures: Vec::new(),
        }
    }
}

/// Most failures of a tree that are told one by one.
pub const MAX_FAILURES: usize = 100;

/// How many files of a tree are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// All files, once they are known.
    pub total: u64,
    /// Files that are here, those from before included.
    pub done: u64,
    /// Files that can't be had.
    pub failed: u64,
}

/// A file that can't be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its name at its owners.
    pub name: SharedName,
    /// Why; a phrase.
    pub reason: String,
}

/// Where a download stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Others come first; it starts by itself.
    Queued,
    /// Finding out what there is, looking at what is here already.
    Starting,
    /// Bytes are coming in.
    Running,
    /// Waiting, for `reason`; goes on by itself.
    Waiting,
    /// The person paused it.
    Paused,
    /// It is here, whole and verified.
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

    /// Whether bytes come in, or are about to.
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
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
