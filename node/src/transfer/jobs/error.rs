//! Why a download does not start, or is not changed.

use shoal_common::limits::MAX_JOBS;
use shoal_common::name::SharedName;

use crate::transfer::job::JobId;

/// Why a download does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The content is here.
    #[error("you have this file: `{0}`")]
    Here(SharedName),
    /// It is being downloaded.
    #[error("this is being downloaded already: job {0}")]
    Running(JobId),
    /// Too many downloads are not over.
    #[error("{MAX_JOBS} downloads are not over: cancel one, or wait for one to end")]
    TooMany,
    /// The node is leaving.
    #[error("the node is leaving")]
    Leaving,
}

/// Why nothing is done to a download.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// There is none of this number.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// It is over.
    #[error("job {0} is over already")]
    Over(JobId),
    /// It is not over, so there is nothing to be done again.
    #[error("job {0} is not over; it goes on by itself")]
    NotOver(JobId),
    /// It is paused.
    #[error("job {0} is paused already")]
    Paused(JobId),
    /// It is not paused.
    #[error("job {0} is not paused")]
    NotPaused(JobId),
    /// It does not start again.
    #[error(transparent)]
    Start(#[from] StartError),
}
