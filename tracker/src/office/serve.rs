//! What the office answers: inquiries, and whether a session may speak.

use shoal_common::connection::ConnectionError;
use shoal_common::limits::{COUNCIL, HELLO_DEADLINE, MAX_REQUEST_FRAME};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::succession::{Inquiry, Reign, SuccessionReply, SuccessionRequest};
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use shoal_common::serve::Guest;
use tokio::sync::watch;

use super::{Office, Post};
use crate::hub::Hub;
use crate::succession::Welcome;

/// Most inquiries on one connection: who asks makes one, and whoever stays takes the
/// room of others.
const MAX_INQUIRIES: usize = 8;

/// What is to become of a message of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The registry answers it.
    Open,
    /// It is not answered now.
    Mute,
    /// The node is sent to that tracker, or has to come again.
    Elsewhere(Option<Reign>),
}

/// News of the office, for sessions.
#[derive(Debug)]
pub(crate) struct Watch(watch::Receiver<Post>);

impl Watch {
    /// What to say if there are news since the last time, and whether that is the
    /// last. The bell rings when there are.
    pub(crate) fn news(&mut self) -> Option<(Box<FromTracker>, bool)> {
        if !self.0.has_changed().unwrap_or(false) {
            return None;
        }
        let (news, last) = match &*self.0.borrow_and_update() {
            Post::Serving(charter) => (FromTracker::Reigns(charter.clone()), false),
            Post::Away(reign) => (FromTracker::Elsewhere { reign: *reign }, true),
        };
        Some((Box::new(news), last))
    }
}

impl Office {
    pub(crate) fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.inner.post.subscribe())
    }

    /// What is to become of a message. Each time: one that stood still learns here
    /// that it did, before it says a word.
    pub(crate) fn gate(&self, message: Option<&ToTracker>) -> Gate {
        let serving = matches!(*self.inner.post.borrow(), Post::Serving(_));
        let mut machine = self.machine();
        let now = self.inner.hub.now();
        let gate = match message {
            Some(ToTracker::Register(wish)) => {
                match machine.registers(wish.reign.as_ref(), wish.search, now) {
                    Welcome::Here => Gate::Open,
                    Welcome::Elsewhere(reign) => Gate::Elsewhere(reign),
                }
            }
            _ if machine.may_answer(now) => Gate::Open,
            _ => Gate::Mute,
        };
        if machine.has_effects() {
            self.inner.stirred.notify_one();
        }
        drop(machine);
        // The machine decides a moment before the registry is open.
        if gate == Gate::Open && !serving { Gate::Elsewhere(None) } else { gate }
    }

    /// Answers the inquiries of one, until it hangs up or has asked enough.
    pub(crate) async fn answer(self, mut guest: Guest) -> Result<(), ConnectionError> {
        for _ in 0..MAX_INQUIRIES {
            let received = guest.connection.receive(MAX_REQUEST_FRAME, HELLO_DEADLINE).await;
            let reply = match received {
                Ok(SuccessionRequest::Inquire(inquiry)) => self.stand(inquiry, &guest),
                Ok(SuccessionRequest::Unknown) => refused(Refusal::Unsupported),
                Err(error @ ConnectionError::Malformed(_)) => {
                    let reply = refused(Refusal::Malformed);
                    guest.connection.send(&reply, MAX_REQUEST_FRAME).await?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            guest.connection.send(&reply, MAX_REQUEST_FRAME).await?;
        }
        Ok(())
    }

    fn stand(&self, mut inquiry: Inquiry, guest: &Guest) -> SuccessionReply {
        let ip = guest.address.ip();
        inquiry.reign = inquiry.reign.map(|reign| reign.seen_at(ip));
        inquiry.claim = inquiry.claim.map(|claim| claim.seen_at(ip));
        let reigns = [inquiry.reign, inquiry.claim];
        let is_fine = inquiry.council.len() <= COUNCIL
            && reigns.iter().flatten().all(Reign::is_reachable)
            // Nobody claims for another.
            && inquiry.claim.is_none_or(|claim| claim.tracker == guest.hello.node);
        if !is_fine {
            return refused(Refusal::NotAllowed);
        }
        SuccessionReply::Standing(self.event(|machine, now| machine.asked(&inquiry, now)))
    }
}

fn refused(refusal: Refusal) -> SuccessionReply {
    SuccessionReply::Refused { refusal }
}
