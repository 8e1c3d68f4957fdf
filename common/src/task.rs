//! The one way to start a task: named, in a span, counted, cancellable.
//!
//! A task that nobody counts can't be waited for, and one that nobody can
//! cancel is left behind; so `tokio::spawn` is forbidden elsewhere.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::future::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

/// A group of tasks that ends together. Cheap to clone; clones are the same
/// group.
#[derive(Debug, Clone)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// An empty group whose tasks run on `runtime`.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, tracker: TaskTracker::new(), cancel: CancellationToken::new() }
    }

    /// A group within this one: cancelled with it, or alone.
    pub fn child(&self) -> Self {
        Self {
            runtime: self.runtime.clone(),
            tracker: self.tracker.clone(),
            cancel: self.cancel.child_token(),
        }
    }

    /// A group within this one whose tasks run elsewhere.
    pub fn child_on(&self, runtime: Handle) -> Self {
        Self { runtime, ..self.child() }
    }

    /// Starts a task in `span`. It is dropped at its next `.await` when the
    /// group is cancelled.
    pub fn spawn<F>(&self, span: Span, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Not an `async` block around it: that would hold the task two more times, as
        // what it was made of and as what it waits for.
        let task = task.with_cancellation_token_owned(self.cancel.clone());
        self.tracker.spawn_on(task.instrument(span), &self.runtime)
    }

    /// Starts work that blocks, on a thread of its own, in the current span.
    /// It can't be cancelled from outside: it looks at [`Tasks::cancelled`].
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let span = Span::current();
        self.tracker.spawn_blocking_on(move || span.in_scope(work), &self.runtime)
    }

    /// The token of this group.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Asks all tasks of this group to end.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Cancels the group and waits for its end.
    ///
    /// # Errors
    /// How many tasks were still running after `patience`.
    pub async fn stop(&self, patience: Duration) -> Result<(), usize> {
        self.cancel.cancel();
        self.tracker.close();
        match tokio::time::timeout(patience, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.tracker.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cancelled_group_ends_and_its_parent_goes_on() {
        let parent = Tasks::new(Handle::current());
        let child = parent.child();
        let endless = child.spawn(Span::none(), std::future::pending::<()>());
        let other = parent.spawn(Span::none(), async { 7 });
        child.cancel();
        assert_eq!(endless.await.unwrap(), None);
        assert_eq!(other.await.unwrap(), Some(7));
        assert_eq!(parent.stop(Duration::from_secs(1)).await, Ok(()));
    }

    #[tokio::test]
    async fn what_does_not_end_is_counted() {
        let tasks = Tasks::new(Handle::current());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let work = tasks.spawn_blocking(move || held.recv());
        assert_eq!(tasks.stop(Duration::from_millis(20)).await, Err(1));
        release.send(()).unwrap();
        work.await.unwrap().unwrap();
    }
}
