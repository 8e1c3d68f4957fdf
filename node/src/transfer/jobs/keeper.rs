//! Keeps on the disk what changes in memory, away from those who must not wait
//! for a disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shoal_common::task::Tasks;
use tokio::sync::watch;

/// One piece of state that is written whole. However often it changes, one
/// thread writes it, and at last the newest.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    changes: AtomicU64,
    written: watch::Sender<u64>,
    writing: AtomicBool,
}

impl Keeper {
    /// It has changed: `write` writes it, soon.
    pub(super) fn changed(self: &Arc<Self>, tasks: &Tasks, write: impl Fn() + Send + 'static) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        if self.writing.swap(true, Ordering::AcqRel) {
            // Whoever writes looks for a newer one when it has written.
            return;
        }
        let keeper = Arc::clone(self);
        tasks.spawn_blocking(move || keeper.write(write));
    }

    fn write(&self, write: impl Fn()) {
        loop {
            // Before what is written is looked at.
            let changes = self.changes.load(Ordering::Acquire);
            write();
            self.written.send_replace(changes);
            self.writing.store(false, Ordering::Release);
            let newest = self.changes.load(Ordering::Acquire) == changes;
            if newest || self.writing.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    /// Waits until all changes so far were written, or could not be.
    pub(super) async fn written(&self) {
        let changes = self.changes.load(Ordering::Acquire);
        // The sender lives as long as `self`.
        self.written.subscribe().wait_for(|written| *written >= changes).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::runtime::Handle;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_newest_is_written_at_last_by_one_at_a_time() {
        let tasks = Tasks::new(Handle::current());
        let keeper = Arc::new(Keeper::default());
        let value = Arc::new(AtomicU64::new(0));
        let disk = Arc::new(Mutex::new(0));
        for number in 1..=500 {
            value.store(number, Ordering::Release);
            let (newest, written) = (Arc::clone(&value), Arc::clone(&disk));
            keeper.changed(&tasks, move || {
                let mut written = written.try_lock().expect("two write at once");
                *written = newest.load(Ordering::Acquire);
            });
            if number % 100 == 0 {
                let patience = Duration::from_secs(30);
                timeout(patience, keeper.written()).await.expect("nobody writes");
                assert!(*disk.lock().unwrap() == number);
            }
        }
    }
}
