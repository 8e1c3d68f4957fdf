//! The registry among its sessions: one lock, one clock, one bell.

use std::mem;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_common::connection::{ConnectionError, encode};
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    MAX_LISTS, MAX_REQUEST_FRAME, PUSH_GROUPS, PUSH_PAUSE_EACH, PUSH_PAUSES, REPLY_DEADLINE,
};
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
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
    /// One for each group: rings when its sessions may have something to say.
    bells: [Arc<Bell>; PUSH_GROUPS],
    /// Told when there is something new.
    changed: Notify,
    /// Rings when the nearest deadline is nearer than before.
    sooner: Notify,
    /// Rings when others are here than before.
    crowd: Notify,
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
    /// [`Registry::unseated`] as each group has looked at it.
    looked: [u64; PUSH_GROUPS],
}

/// What a session does now.
#[derive(Debug)]
pub(crate) enum Deed {
    /// Nothing.
    Wait,
    /// Sends this.
    Send(Frame),
    /// Says this. In a box: it is rare, and long.
    Say(Box<FromTracker>),
    /// Says this and hangs up.
    SayLast(Box<FromTracker>),
    /// Hangs up.
    HangUp,
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
                looked: [0; PUSH_GROUPS],
            }),
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
    pub(crate) fn seat(&self, visit: &Visit) -> Option<Seat> {
        self.bells.get(visit.group()).map(Bell::seat)
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
        Ok(match step {
            Step::News { from, to, owed } => {
                let news = self.bulletin.news(&self.registry, visit.node(), (from, to), owed)?;
                news.map_or(Deed::Wait, Deed::Send)
            }
            Step::Wait => Deed::Wait,
            Step::Say(message) => Deed::Say(Box::new(message)),
            Step::SayLast(message) => Deed::SayLast(Box::new(message)),
            Step::HangUp => Deed::HangUp,
        })
    }

    /// The turn of a group: whether there is something for it, and how long it is
    /// until its next turn if so.
    fn turn(&mut self, group: usize) -> (bool, Duration) {
        let (from, to) = (self.registry.publish(group), self.registry.revision());
        if from < to
            && let Err(error) = self.bulletin.publish(&self.registry, from, to)
        {
            error!("no news are told: {error}");
        }
        let unseated = self.registry.unseated();
        let looked = self.looked.get_mut(group);
        let look = looked.is_some_and(|looked| mem::replace(looked, unseated) != unseated);
        (from < to || look, pause(self.registry.len(), self.registry.heartbeat()))
    }
}

/// The time between two pushes to a node where there are so many. At most half a
/// heartbeat interval: a heartbeat may have to wait for the next push.
fn pause(nodes: usize, heartbeat: Duration) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let pause = PUSH_PAUSE_EACH.saturating_mul(nodes).clamp(PUSH_PAUSES.0, PUSH_PAUSES.1);
    pause.min(heartbeat / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_further_apart_the_more_there_are() {
        let beat = Duration::from_secs(10);
        assert_eq!(pause(0, beat), PUSH_PAUSES.0);
        assert_eq!(pause(5_000, beat), Duration::from_millis(500));
        assert_eq!(pause(30_000, beat), PUSH_PAUSES.1);
        assert_eq!(pause(10_000, Duration::from_millis(100)), Duration::from_millis(50));
    }
}
