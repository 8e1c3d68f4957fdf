//! What an attempt at a download is told, and how it ends.
//!
//! A download that is paused, or that others come before, ends its attempt and
//! begins another one later.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::rate::Throttle;

/// How an attempt is made; changes are seen while it runs.
#[derive(Debug, Clone)]
pub(super) struct JobSettings {
    /// How fast this download may be; the limit on all is in the
    /// [`Environment`](super::environment::Environment).
    pub(super) throttle: Throttle,
    /// Bytes asked for in one request.
    pub(super) request: Arc<AtomicU64>,
}

/// How an attempt ends. What is to be said of it is in the
/// [`JobInfo`](super::job::JobInfo) by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The download is done.
    Done,
    /// It can't go on.
    Failed,
    /// It was told to [`Stop`].
    Stopped,
}

/// Why an attempt ends before the download is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The person cancels the download.
    Cancel,
    /// The person pauses it.
    Pause,
    /// Others come first.
    Queue,
    /// The node is leaving.
    Leave,
}

/// Tells one attempt to end. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    why: Arc<OnceLock<Why>>,
    token: CancellationToken,
}

impl Stop {
    /// Tells it to end. Only the first reason counts.
    pub(super) fn stop(&self, why: Why) {
        // Known before the token says that there is one.
        self.why.set(why).ok();
        self.token.cancel();
    }

    /// Why it is to end, if it is.
    pub(super) fn why(&self) -> Option<Why> {
        self.why.get().copied()
    }

    /// Waits until it is told to end.
    pub(super) async fn stopped(&self) -> Why {
        self.token.cancelled().await;
        self.why().unwrap_or(Why::Leave)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_counts() {
        let stop = Stop::default();
        assert_eq!(stop.why(), None);
        stop.stop(Why::Pause);
        stop.clone().stop(Why::Cancel);
        assert_eq!(stop.stopped().await, Why::Pause);
        assert_eq!(stop.why(), Some(Why::Pause));
    }
}
