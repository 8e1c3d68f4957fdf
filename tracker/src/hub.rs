//! The registry among its sessions: one lock, one clock, one bell.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_common::connection::{ConnectionError, encode};
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    MAX_LISTS, MAX_REQUEST_FRAME, PUSH_PAUSE_EACH, PUSH_PAUSES, REPLY_DEADLINE,
};
use shoal_common::protocol::tracking::ToTracker;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info};

use crate::bell::{Bell, Seat};
use crate::bulletin::{Bulletin, Frame};
use crate::registry::{Registry, SessionId, Speaker};
use crate::screen::Screen;
use crate::visit::{Step, Visit};

/// What all sessions of a tracker share.
#[derive(Debug)]
pub(crate) struct Hub {
    known: Mutex<Known>,
    /// The zero of the registry's time.
    start: Instant,
    /// Which life of the tracker this is.
    instance: u64,
    sessions: AtomicU64,
    /// Rings when sessions may have something to say.
    bell: Arc<Bell>,
    /// Told when a round is to begin.
    changed: Notify,
    /// Rings when the nearest deadline is nearer than before.
    sooner: Notify,
    /// Room for [`MAX_LISTS`] long messages.
    room: Semaphore,
    screen: Screen,
    /// A heartbeat, encoded: most of what comes.
    heartbeat: Vec<u8>,
}

/// Who is here, and how it is told.
#[derive(Debug)]
struct Known {
    registry: Registry,
    bulletin: Bulletin,
}

/// What a session does now.
#[derive(Debug)]
pub(crate) enum Deed {
    /// A step that is none of news.
    Step(Step),
    /// Sends this.
    Send(Frame),
}

/// Between two looks at deadlines there is at least this part of a heartbeat
/// interval: those of thousands of nodes are looked at together.
const LOOKS: u32 = 64;

impl Hub {
    pub(crate) fn new(heartbeat: Duration, instance: u64, screen: Screen) -> Self {
        Self {
            known: Mutex::new(Known {
                registry: Registry::new(heartbeat),
                bulletin: Bulletin::default(),
            }),
            start: Instant::now(),
            instance,
            sessions: AtomicU64::new(0),
            bell: Arc::default(),
            changed: Notify::new(),
            sooner: Notify::new(),
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

    /// What a session says because of a round.
    pub(crate) fn push(&self, visit: &mut Visit) -> Result<Deed, ConnectionError> {
        let known = self.known();
        let step = visit.push(&known.registry);
        known.deed(visit, step)
    }

    /// A seat at the bell that rings for each round.
    pub(crate) fn seat(&self) -> Seat {
        self.bell.seat()
    }

    /// Has everybody told what changed, in rounds, for ever.
    pub(crate) async fn keep_rounds(&self) {
        loop {
            self.changed.notified().await;
            let pause = self.known().round();
            self.bell.ring();
            sleep(pause).await;
        }
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

impl Known {
    fn deed(&self, visit: &Visit, step: Step) -> Result<Deed, ConnectionError> {
        let Step::News { from, to, owed } = step else { return Ok(Deed::Step(step)) };
        let concerns = |node| self.bulletin.concerns(&self.registry, node, from, to);
        if !owed && !concerns(visit.node()) {
            return Ok(Deed::Step(Step::Wait));
        }
        self.bulletin.news(&self.registry, visit.node(), from, to).map(Deed::Send)
    }

    /// A round begins; how long it is until the next one.
    fn round(&mut self) -> Duration {
        let from = self.registry.published();
        self.registry.publish();
        if let Err(error) = self.bulletin.publish(&self.registry, from, self.registry.published()) {
            error!("no news are told: {error}");
        }
        pause(self.registry.len(), self.registry.heartbeat())
    }
}

/// The time between two rounds with so many nodes. At most half a heartbeat
/// interval: a heartbeat may have to wait for the next round.
fn pause(nodes: usize, heartbeat: Duration) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let pause = PUSH_PAUSE_EACH.saturating_mul(nodes).clamp(PUSH_PAUSES.0, PUSH_PAUSES.1);
    pause.min(heartbeat / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_further_apart_the_more_there_are() {
        let beat = Duration::from_secs(10);
        assert_eq!(pause(0, beat), PUSH_PAUSES.0);
        assert_eq!(pause(10_000, beat), Duration::from_millis(400));
        assert_eq!(pause(30_000, beat), PUSH_PAUSES.1);
        assert_eq!(pause(10_000, Duration::from_millis(100)), Duration::from_millis(50));
    }
}
