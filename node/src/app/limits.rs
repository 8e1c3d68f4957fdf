//! Limits that the person changes while the node runs.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shoal_common::limits::{MAX_DOWNLOADS, MAX_UPLOADS};

use super::App;
use crate::amount::{AmountError, Limit, RequestSize};
use crate::config::Limits;
use crate::transfer::job::{JobId, JobInfo};
use crate::transfer::{Downloads, JobError, Uploads};

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Bytes a second that leave.
    Up(Limit),
    /// Bytes a second that arrive.
    Down(Limit),
    /// Most uploads at once.
    MaxUploads(usize),
    /// Most downloads that run at once.
    MaxDownloads(usize),
    /// Bytes asked for in one request.
    ChunkSize(RequestSize),
}

/// Why a limit can't be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The rate or the size is not possible.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The number is not possible.
    #[error("`{given}` at once is not possible: 1 to {most} are")]
    Number {
        /// What was asked for.
        given: usize,
        /// The most.
        most: usize,
    },
    /// Of a single download.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl Setting {
    /// Whether it is possible.
    ///
    /// # Errors
    /// See [`LimitError`].
    pub fn check(self) -> Result<Self, LimitError> {
        let number = |given: usize, most: usize| {
            let possible = (1..=most).contains(&given);
            if possible { Ok(()) } else { Err(LimitError::Number { given, most }) }
        };
        match self {
            Self::Up(limit) | Self::Down(limit) => limit.check().map(drop)?,
            Self::ChunkSize(size) => size.check().map(drop)?,
            Self::MaxUploads(given) => number(given, MAX_UPLOADS)?,
            Self::MaxDownloads(given) => number(given, MAX_DOWNLOADS)?,
        }
        Ok(self)
    }
}

/// The limits in force.
#[derive(Debug)]
pub(super) struct InForce(Mutex<Limits>);

impl InForce {
    /// Puts the limits of the start in force.
    pub(super) fn new(limits: Limits, uploads: &Uploads, downloads: &Downloads) -> Self {
        put(&limits, uploads, downloads);
        Self(Mutex::new(limits))
    }

    fn get(&self) -> Limits {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(limits: &Limits, uploads: &Uploads, downloads: &Downloads) {
    uploads.throttle().set(limits.up.0);
    downloads.throttle().set(limits.down.0);
    uploads.set_slots(limits.max_uploads);
    downloads.set_max(limits.max_downloads);
    downloads.set_request_size(limits.chunk_size.0);
}

impl App {
    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.inner.limits.get()
    }

    /// Changes a limit, until the node ends. It holds at once.
    ///
    /// # Errors
    /// It is not possible.
    pub fn set(&self, setting: Setting) -> Result<Limits, LimitError> {
        let setting = setting.check()?;
        let inner = &self.inner;
        let mut limits = inner.limits.0.lock().unwrap_or_else(PoisonError::into_inner);
        match setting {
            Setting::Up(limit) => limits.up = limit,
            Setting::Down(limit) => limits.down = limit,
            Setting::MaxUploads(number) => limits.max_uploads = number,
            Setting::MaxDownloads(number) => limits.max_downloads = number,
            Setting::ChunkSize(size) => limits.chunk_size = size,
        }
        // Under the lock, so that the last one who sets it is the one who did.
        put(&limits, &inner.uploads, &inner.downloads);
        Ok(*limits)
    }

    /// Limits one download, until it is over.
    ///
    /// # Errors
    /// There is no such download, it is over, or the limit is not possible.
    pub async fn limit(&self, job: JobId, limit: Limit) -> Result<JobInfo, LimitError> {
        self.inner.downloads.set_limit(job, limit.check()?.0)?;
        Ok(self.settled(job).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_possible_is_set() {
        for good in [
            Setting::Up(Limit(None)),
            Setting::Down(Limit(Some(10_000))),
            Setting::MaxUploads(1),
            Setting::MaxDownloads(MAX_DOWNLOADS),
            Setting::ChunkSize(RequestSize(64 << 10)),
        ] {
            assert_eq!(good.check(), Ok(good));
        }
        for (bad, said) in [
            (Setting::Up(Limit(Some(9))), "a limit of 9 bytes a second is too low"),
            (Setting::MaxUploads(0), "`0` at once is not possible: 1 to 64 are"),
            (Setting::MaxDownloads(65), "`65` at once"),
            (Setting::ChunkSize(RequestSize(1)), "a request size of 1 bytes"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
