//! The registry among its sessions: one lock, one clock, one bell.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::limits::{MAX_LISTS, REPLY_DEADLINE};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::info;

use crate::registry::{Registry, SessionId, Speaker};
use crate::screen::Screen;
use crate::visit::Visit;

/// What all sessions of a tracker share.
#[derive(Debug)]
pub(crate) struct Hub {
    registry: Mutex<Registry>,
    /// The zero of the registry's time.
    start: Instant,
    /// Which life of the tracker this is.
    instance: u64,
    sessions: AtomicU64,
    /// Rings when a session may have something to say. It carries nothing, so
    /// nothing piles up before a session that is slow.
    bell: watch::Sender<()>,
    /// Rings when the nearest deadline is nearer than before.
    sooner: Notify,
    /// Rings when others are here than before.
    crowd: Notify,
    /// Room for [`MAX_LISTS`] long messages.
    room: Semaphore,
    screen: Screen,
}

impl Hub {
    pub(crate) fn new(heartbeat: Duration, instance: u64, screen: Screen) -> Self {
        Self {
            registry: Mutex::new(Registry::new(heartbeat)),
            start: Instant::now(),
            instance,
            sessions: AtomicU64::new(0),
            bell: watch::Sender::new(()),
            sooner: Notify::new(),
            crowd: Notify::new(),
            room: Semaphore::new(MAX_LISTS),
            screen,
        }
    }

    /// A new session of `node`.
    pub(crate) fn visit(&self, node: NodeId) -> Visit {
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        Visit::new(Speaker { node, session }, self.instance)
    }

    /// Looks at the registry.
    pub(crate) fn look<T>(&self, question: impl FnOnce(&Registry) -> T) -> T {
        question(&self.registry())
    }

    /// Tells the registry of an event, and everyone of what comes of it.
    pub(crate) fn tell<T>(&self, event: impl FnOnce(&mut Registry, Duration) -> T) -> T {
        let mut registry = self.registry();
        let before = registry.next_deadline();
        // The clock is read under the lock, so time never runs backwards.
        let outcome = event(&mut registry, self.start.elapsed());
        let notices = registry.take_notices();
        for notice in &notices {
            self.say(notice);
        }
        if notices.iter().any(|notice| notice.is_change()) {
            self.crowd.notify_one();
            self.say(registry.present());
        }
        let nearest = registry.next_deadline();
        drop(registry);
        if !notices.is_empty() {
            self.bell.send_replace(());
        }
        if nearest.is_some_and(|nearest| before.is_none_or(|before| nearest < before)) {
            self.sooner.notify_one();
        }
        outcome
    }

    /// Time since it began.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until others are here than before.
    pub(crate) async fn crowd(&self) {
        self.crowd.notified().await;
    }

    /// Rings whenever there may be something to push.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Waits for room to send a long message; `None` if there was none in
    /// [`REPLY_DEADLINE`].
    pub(crate) async fn room(&self) -> Option<SemaphorePermit<'_>> {
        timeout(REPLY_DEADLINE, self.room.acquire()).await.ok()?.ok()
    }

    /// Lets time pass for the registry, for ever.
    pub(crate) async fn keep_time(&self) {
        loop {
            let mut sooner = pin!(self.sooner.notified());
            let Some(deadline) = self.look(Registry::next_deadline) else {
                sooner.await;
                continue;
            };
            tokio::select! {
                () = &mut sooner => {}
                () = sleep_until(self.start + deadline) => self.tell(Registry::tick),
            }
        }
    }

    /// Says a line to the log and to the screen.
    pub(crate) fn say(&self, line: impl std::fmt::Display) {
        info!("{line}");
        self.screen.show(line);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Nothing in the registry panics half way; and it is of more use as it
        // is than not at all.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
