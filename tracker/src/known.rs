//! Who is here, together with what is told of it.

use std::mem;
use std::time::Duration;

use shoal_common::connection::ConnectionError;
use shoal_common::limits::{PUSH_GROUPS, PUSH_PAUSE_EACH, PUSH_PAUSES};
use shoal_common::protocol::tracking::FromTracker;
use tracing::error;

use crate::bulletin::{Bulletin, Frame};
use crate::registry::Registry;
use crate::visit::{Step, Visit};

/// Who is here, and how it is told.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) registry: Registry,
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

impl Known {
    /// Nobody, who are to be heard once in `heartbeat`.
    pub(crate) fn new(heartbeat: Duration) -> Self {
        let (registry, bulletin) = (Registry::new(heartbeat), Bulletin::default());
        Self { registry, bulletin, looked: [0; PUSH_GROUPS] }
    }

    /// What a session does that is to take this step.
    ///
    /// # Errors
    /// It can't be encoded.
    pub(crate) fn deed(&self, visit: &Visit, step: Step) -> Result<Deed, ConnectionError> {
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
    pub(crate) fn turn(&mut self, group: usize) -> (bool, Duration) {
        let (from, to) = self.registry.publish(group);
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
