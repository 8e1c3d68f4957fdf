//! What one session says to its node: messages in, messages out, no I/O.

use std::time::Duration;

use shoal_common::ident::{NodeId, NodeName};
use shoal_common::limits::PUSH_PAUSES;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, Registered, ToTracker};

use crate::registry::{Registry, Speaker, Standing};

/// A node on one of its connections, from its greeting to its end.
#[derive(Debug)]
pub(crate) struct Visit {
    speaker: Speaker,
    /// Number of this life of the tracker.
    instance: u64,
    /// The revision up to which the node knows everything, once it has
    /// registered.
    told: Option<u64>,
    /// When it last got nodes, as an answer to its registration or as a page.
    listed: Option<Duration>,
    /// [`Registry::unseated`] when it was last known to be current.
    unseated: u64,
    /// Whether a heartbeat is to be answered still, with the next news.
    owes: bool,
}

/// What follows for the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is nothing to say.
    Wait,
    /// Say it and go on.
    Say(FromTracker),
    /// Say what happened between two revisions and go on. It is the same for most;
    /// see [`Bulletin`](crate::bulletin::Bulletin).
    News {
        from: u64,
        to: u64,
        /// Whether it is said even if there is nothing that concerns this node.
        owed: bool,
    },
    /// Say it and hang up.
    SayLast(FromTracker),
    /// Hang up.
    HangUp,
}

impl Visit {
    /// Begins when `speaker` has greeted.
    pub(crate) fn new(speaker: Speaker, instance: u64) -> Self {
        Self { speaker, instance, told: None, listed: None, unseated: 0, owes: false }
    }

    /// Whether the node has registered on this connection.
    pub(crate) fn is_registered(&self) -> bool {
        self.told.is_some()
    }

    /// With which others it is told what changed.
    pub(crate) fn group(&self) -> usize {
        self.speaker.session.group()
    }

    /// The node whose visit it is.
    pub(crate) fn node(&self) -> NodeId {
        self.speaker.node
    }

    /// The node says something.
    pub(crate) fn answer(
        &mut self,
        message: ToTracker,
        registry: &mut Registry,
        now: Duration,
    ) -> Step {
        if let Some(end) = self.end_at(registry.heard(self.speaker, now)) {
            return end;
        }
        let refused = |refusal| Step::Say(FromTracker::Refused { refusal });
        match (message, self.told) {
            // Each answer is a list; no node needs another one so soon.
            (ToTracker::Register(_) | ToTracker::Page { .. }, _) if self.listed_lately(now) => {
                Step::HangUp
            }
            (ToTracker::Register(wish), _) => match registry.register(self.speaker, &wish, now) {
                Ok(name) => {
                    self.listed = Some(now);
                    Step::Say(FromTracker::Registered(self.welcome(name, registry)))
                }
                Err(refusal) => refused(refusal),
            },
            (ToTracker::Unknown, _) => refused(Refusal::Unsupported),
            (ToTracker::Heartbeat | ToTracker::Exit | ToTracker::Page { .. }, None) => {
                refused(Refusal::NotAllowed)
            }
            (ToTracker::Heartbeat, Some(told)) => self.beat(told, registry),
            (ToTracker::Page { after }, Some(_)) => {
                self.listed = Some(now);
                Step::Say(FromTracker::Page(registry.page(after, now)))
            }
            (ToTracker::Exit, Some(_)) => {
                registry.exit(self.speaker);
                Step::SayLast(FromTracker::Done)
            }
        }
    }

    /// A heartbeat is answered with what may be told and is not known yet. If
    /// there is nothing but what will be told in a moment, that will be the answer.
    fn beat(&mut self, told: u64, registry: &Registry) -> Step {
        let to = registry.published(self.speaker.session);
        if told >= to && registry.revision() > to {
            self.owes = true;
            return Step::Wait;
        }
        self.tell(told, to, true)
    }

    /// A round: something may have changed that the node does not know yet.
    pub(crate) fn push(&mut self, registry: &Registry) -> Step {
        let Some(told) = self.told else {
            return Step::Wait;
        };
        if self.unseated != registry.unseated() {
            self.unseated = registry.unseated();
            if let Some(end) = self.end_at(registry.standing(self.speaker)) {
                return end;
            }
        }
        let to = registry.published(self.speaker.session);
        if told >= to && !self.owes {
            return Step::Wait;
        }
        self.tell(told, to.max(told), self.owes)
    }

    fn tell(&mut self, from: u64, to: u64, owed: bool) -> Step {
        (self.told, self.owes) = (Some(to), false);
        Step::News { from, to, owed }
    }

    /// The connection ended, whoever ended it.
    pub(crate) fn end(&self, registry: &mut Registry, now: Duration) {
        registry.disconnected(self.speaker, now);
    }

    /// How the visit ends if the node registered here but belongs here no
    /// more.
    fn end_at(&self, standing: Standing) -> Option<Step> {
        self.told?;
        match standing {
            Standing::Current => None,
            Standing::Superseded => {
                Some(Step::SayLast(FromTracker::Refused { refusal: Refusal::Superseded }))
            }
            // It fell silent. If it is alive after all, it registers anew.
            Standing::Gone => Some(Step::HangUp),
        }
    }

    /// Whether it got nodes less than the least of [`PUSH_PAUSES`] ago.
    fn listed_lately(&self, now: Duration) -> bool {
        self.listed.is_some_and(|listed| now < listed + PUSH_PAUSES.0)
    }

    fn welcome(&mut self, name: NodeName, registry: &Registry) -> Registered {
        self.told = Some(registry.revision());
        Registered {
            name,
            heartbeat_ms: u64::try_from(registry.heartbeat().as_millis()).unwrap_or(u64::MAX),
            instance: self.instance,
            revision: registry.revision(),
            total: registry.len().saturating_sub(1) as u64,
            peers: registry.sample(self.speaker.node),
            joined: registry.joined(self.speaker.node),
            charter: registry.charter().cloned(),
        }
    }
}

#[cfg(test)]
mod tests;
