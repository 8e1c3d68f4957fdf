//! What one session says to its node: messages in, messages out, no I/O.

use std::time::Duration;

use shoal_common::ident::NodeName;
use shoal_common::limits::{PUSH_PAUSE, SMALL_NEWS};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, News, Registered, ToTracker};

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
    /// When it last registered, once it has.
    registered: Option<Duration>,
}

/// What follows for the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is nothing to say.
    Wait,
    /// Say it and go on.
    Say(FromTracker),
    /// Say it and hang up.
    SayLast(FromTracker),
    /// Hang up.
    HangUp,
}

impl Visit {
    /// Begins when `speaker` has greeted.
    pub(crate) fn new(speaker: Speaker, instance: u64) -> Self {
        Self { speaker, instance, told: None, registered: None }
    }

    /// Whether the node has registered on this connection.
    pub(crate) fn is_registered(&self) -> bool {
        self.told.is_some()
    }

    /// Whether what follows may be long: a list of nodes, or many changes.
    /// `message` as it came, or none for a push.
    pub(crate) fn needs_room(&self, message: Option<&ToTracker>, registry: &Registry) -> bool {
        match message {
            Some(ToTracker::Register(_)) => registry.len() as u64 > SMALL_NEWS,
            Some(ToTracker::Heartbeat) | None => {
                self.told.is_some_and(|told| registry.revision().saturating_sub(told) > SMALL_NEWS)
            }
            Some(ToTracker::Exit | ToTracker::Unknown) => false,
        }
    }

    /// The node says something.
    pub(crate) fn answer(
        &mut self,
        message: ToTracker,
        registry: &mut Registry,
        now: Duration,
    ) -> Step {
        if let Some(end) = self.end_of(registry) {
            return end;
        }
        registry.heard(self.speaker, now);
        let refused = |refusal| Step::Say(FromTracker::Refused { refusal });
        match (message, self.told) {
            // Each answer is a list of everyone; no node needs one so soon.
            (ToTracker::Register(_), _) if self.registered_lately(now) => Step::HangUp,
            (ToTracker::Register(wish), _) => match registry.register(self.speaker, &wish, now) {
                Ok(name) => {
                    self.registered = Some(now);
                    Step::Say(FromTracker::Registered(self.welcome(name, registry)))
                }
                Err(refusal) => refused(refusal),
            },
            (ToTracker::Unknown, _) => refused(Refusal::Unsupported),
            (ToTracker::Heartbeat | ToTracker::Exit, None) => refused(Refusal::NotAllowed),
            (ToTracker::Heartbeat, Some(told)) => {
                self.told = Some(registry.revision());
                Step::Say(FromTracker::Update(registry.news(self.speaker.node, told)))
            }
            (ToTracker::Exit, Some(_)) => {
                registry.exit(self.speaker);
                Step::SayLast(FromTracker::Done)
            }
        }
    }

    /// Something may have changed that the node does not know yet.
    pub(crate) fn push(&mut self, registry: &Registry) -> Step {
        let Some(told) = self.told else {
            return Step::Wait;
        };
        if let Some(end) = self.end_of(registry) {
            return end;
        }
        self.told = Some(registry.revision());
        let update = registry.news(self.speaker.node, told);
        match update.news {
            News::Changes(changes) if changes.is_empty() => Step::Wait,
            _ => Step::Say(FromTracker::Update(update)),
        }
    }

    /// The connection ended, whoever ended it.
    pub(crate) fn end(&self, registry: &mut Registry, now: Duration) {
        registry.disconnected(self.speaker, now);
    }

    /// How the visit ends if the node registered here but belongs here no
    /// more.
    fn end_of(&self, registry: &Registry) -> Option<Step> {
        self.told?;
        match registry.standing(self.speaker) {
            Standing::Current => None,
            Standing::Superseded => {
                Some(Step::SayLast(FromTracker::Refused { refusal: Refusal::Superseded }))
            }
            // It fell silent. If it is alive after all, it registers anew.
            Standing::Gone => Some(Step::HangUp),
        }
    }

    /// Whether it registered less than [`PUSH_PAUSE`] ago.
    fn registered_lately(&self, now: Duration) -> bool {
        self.registered.is_some_and(|registered| now < registered + PUSH_PAUSE)
    }

    fn welcome(&mut self, name: NodeName, registry: &Registry) -> Registered {
        self.told = Some(registry.revision());
        Registered {
            name,
            heartbeat_ms: u64::try_from(registry.heartbeat().as_millis()).unwrap_or(u64::MAX),
            instance: self.instance,
            revision: registry.revision(),
            peers: registry.others(self.speaker.node),
            joined: registry.joined(self.speaker.node),
            charter: registry.charter().cloned(),
        }
    }
}

#[cfg(test)]
mod tests;
