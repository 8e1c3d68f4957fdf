//! The registry among its sessions: one lock, one clock, one bell.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_common::connection::{ConnectionError, encode};
use shoal_common::ident::NodeId;
use shoal_common::limits::{MAX_LISTS, MAX_REQUEST_FRAME, PUSH_GROUPS};
use shoal_common::protocol::tracking::ToTracker;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;

use crate::bell::{Bell, Seat};
use crate::known::{Deed, Known};
use crate::registry::{Registry, SessionId, Speaker};
use crate::screen::Screen;
use crate::visit::Visit;

/// What all sessions of a tracker share.
#[derive(Debug)]
pub(crate) struct Hub {
    known: Mutex<Known>,
    /// The zero of the registry's time.
    start: Instant,
    /// Which life of the tracker this is.
    instance: u64,
    sessions: AtomicU64,
    /// One for each group: rings when its sessions may have something to say.
    bells: [Arc<Bell>; PUSH_GROUPS],
    /// Told when there is something new.
    changed: Notify,
    /// Rings when the nearest deadline is nearer than before.
    sooner: Notify,
    /// Rings when others are here than before.
    crowd: Notify,
    /// Room for [`MAX_LISTS`] pages.
    room: Semaphore,
    screen: Screen,
    /// A heartbeat, encoded: most of what comes.
    heartbeat: Vec<u8>,
}

/// Between two looks at deadlines there is at least this part of a heartbeat
/// interval: those of thousands of nodes are looked at together.
const LOOKS: u32 = 64;

impl Hub {
    pub(crate) fn new(heartbeat: Duration, instance: u64, screen: Screen) -> Self {
        Self {
            known: Mutex::new(Known::new(heartbeat)),
            start: Instant::now(),
            instance,
            sessions: AtomicU64::new(0),
            bells: Default::default(),
            changed: Notify::new(),
            sooner: Notify::new(),
            crowd: Notify::new(),
            room: Semaphore::new(MAX_LISTS),
            screen,
            // Never longer than its bound.
            heartbeat: encode(&ToTracker::Heartbeat, MAX_REQUEST_FRAME).unwrap_or_default(),
        }
    }

    /// A new session of `node`.
    pub(crate) fn visit(&self, node: NodeId) -> Visit {
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        Visit::new(Speaker { node, session }, self.instance)
    }

    /// Looks at the registry.
    pub(crate) fn look<T>(&self, question: impl FnOnce(&Registry) -> T) -> T {
        question(&self.known().registry)
    }

    /// A heartbeat, encoded.
    pub(crate) fn heartbeat(&self) -> &[u8] {
        &self.heartbeat
    }

    /// Tells the registry of an event, and everyone of what comes of it.
    pub(crate) fn tell<T>(&self, event: impl FnOnce(&mut Registry, Duration) -> T) -> T {
        let mut known = self.known();
        let registry = &mut known.registry;
        let before = registry.next_deadline();
        // The clock is read under the lock, so time never runs backwards.
        let outcome = event(registry, self.start.elapsed());
        let notices = registry.take_notices();
        for notice in &notices {
            self.say(notice);
        }
        if notices.iter().any(|notice| notice.is_change()) {
            self.crowd.notify_one();
            self.say(registry.present());
        }
        let nearest = registry.next_deadline();
        drop(known);
        if !notices.is_empty() {
            self.changed.notify_one();
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

    /// A node says something.
    pub(crate) fn answer(
        &self,
        visit: &mut Visit,
        message: ToTracker,
    ) -> Result<Deed, ConnectionError> {
        if message == ToTracker::Heartbeat {
            // Nothing comes of it for others.
            let mut known = self.known();
            let now = self.start.elapsed();
            let step = visit.answer(message, &mut known.registry, now);
            return known.deed(visit, step);
        }
        let step = self.tell(|registry, now| visit.answer(message, registry, now));
        self.known().deed(visit, step)
    }

    /// What a session says because its bell rang.
    pub(crate) fn push(&self, visit: &mut Visit) -> Result<Deed, ConnectionError> {
        let known = self.known();
        let step = visit.push(&known.registry);
        known.deed(visit, step)
    }

    /// A seat at the bell that rings when there may be something to push to it.
    pub(crate) fn seat(&self, visit: &Visit) -> Seat {
        let [first, ..] = &self.bells;
        // Each group has one.
        Bell::seat(self.bells.get(visit.group()).unwrap_or(first))
    }

    /// Everyone is to look whether there is something to say.
    pub(crate) fn ring(&self) {
        self.bells.iter().for_each(|bell| bell.ring());
    }

    /// Has everybody told what changed, one group after the other, for ever.
    pub(crate) async fn keep_telling(&self) {
        let mut groups = self.bells.iter().enumerate().cycle();
        loop {
            self.changed.notified().await;
            // Until it has been around and found nothing to tell.
            let mut idle = 0;
            while idle < PUSH_GROUPS {
                let Some((group, bell)) = groups.next() else { return };
                let (news, pause) = self.known().turn(group);
                idle = if news { 0 } else { idle + 1 };
                if news {
                    bell.ring();
                    sleep(pause / u32::try_from(PUSH_GROUPS).unwrap_or(u32::MAX)).await;
                }
            }
        }
    }

    /// Room to send a page, if there is any.
    pub(crate) fn room(&self) -> Option<SemaphorePermit<'_>> {
        self.room.try_acquire().ok()
    }

    /// A node asks for a page, and there is no room.
    pub(crate) fn put_off(&self, visit: &mut Visit) -> Result<Deed, ConnectionError> {
        let mut known = self.known();
        let step = visit.put_off(&mut known.registry, self.start.elapsed());
        known.deed(visit, step)
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
                () = sleep_until(self.start + deadline) => {
                    self.tell(Registry::tick);
                    sleep(self.look(Registry::heartbeat) / LOOKS).await;
                }
            }
        }
    }

    /// Says a line to the log and to the screen.
    pub(crate) fn say(&self, line: impl std::fmt::Display) {
        info!("{line}");
        self.screen.show(line);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in the registry panics half way; and it is of more use as it
        // is than not at all.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
