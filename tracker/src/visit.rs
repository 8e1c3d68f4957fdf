//! What one session says to its node: messages in, messages out, no I/O.

use std::time::Duration;

use shoal_common::ident::{NodeId, NodeName};
use shoal_common::limits::PUSH_PAUSES;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, Page, Registered, ToTracker};

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
    /// Whether there are more news that may be told already.
    is_behind: bool,
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
        Self {
            speaker,
            instance,
            told: None,
            listed: None,
            unseated: 0,
            owes: false,
            is_behind: false,
        }
    }

    /// Whether the node has registered on this connection.
    pub(crate) fn is_registered(&self) -> bool {
        self.told.is_some()
    }

    /// Whether [`push`](Self::push) has more to say without being called for.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// It is told nothing until it is called for again.
    pub(crate) fn wait(&mut self) {
        self.is_behind = false;
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
            // The answer is a list; no node needs another one so soon.
            (ToTracker::Register(_), _) if self.listed_lately(now) => Step::HangUp,
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
            // It asked twice, perhaps, because the tracker stood still.
            (ToTracker::Page { .. }, Some(_)) if self.listed_lately(now) => later(PUSH_PAUSES.0),
            (ToTracker::Page { after }, Some(_)) => {
                let page = registry.page(self.speaker.node, after, now);
                if !page.is_later() {
                    self.listed = Some(now);
                }
                Step::Say(FromTracker::Page(page))
            }
            (ToTracker::Exit, Some(_)) => {
                registry.exit(self.speaker);
                Step::SayLast(FromTracker::Done)
            }
        }
    }

    /// The node asks for a page, and there is no room to send one. Its place remains.
    pub(crate) fn put_off(&mut self, registry: &mut Registry, now: Duration) -> Step {
        match (self.end_at(registry.heard(self.speaker, now)), self.told) {
            (Some(end), _) => end,
            (None, None) => Step::Say(FromTracker::Refused { refusal: Refusal::NotAllowed }),
            (None, Some(_)) => later(NO_ROOM_PAUSE),
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
        self.tell(told, true, registry)
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
        if told >= registry.published(self.speaker.session) && !self.owes {
            self.is_behind = false;
            return Step::Wait;
        }
        self.tell(told, self.owes, registry)
    }

    /// Tells one turn that it does not know, if there is one.
    fn tell(&mut self, from: u64, owed: bool, registry: &Registry) -> Step {
        let to = registry.next_turn(self.speaker.session, from);
        (self.told, self.owes) = (Some(to), false);
        self.is_behind = to < registry.published(self.speaker.session);
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

/// How long who asks for a page waits where there is no room to send one.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

fn later(pause: Duration) -> Step {
    Step::Say(FromTracker::Page(Page::later(pause)))
}

#[cfg(test)]
mod tests;
