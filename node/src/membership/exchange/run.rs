//! The tasks: calls when they are due, and what follows from them.

use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::task::Tasks;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{Instrument, debug, info, info_span};

use super::super::handle::Membership;
use super::super::troubles::Telling;
use super::ask::{AskError, Outcome, converse, say_goodbye};
use super::handle::{Acquaintance, Exchange};
use super::pace::{Call, Target};
use crate::amount::others;
use crate::notice::Notices;

/// Nodes that are told when this one leaves. They tell the others.
const GOODBYES: usize = 8;

/// How long leaving may take. Who is not told finds out.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);

/// How long one conversation may take: at a few round trips for some pages,
/// across the world. A peer that answers a byte at a time holds no call for ever.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Most calls at once where everyone is asked.
const REFRESH_AT_ONCE: usize = 64;

/// How long that may take in all.
const REFRESH_DEADLINE: Duration = Duration::from_secs(10);

/// Meets others from now on, until the tasks are cancelled.
pub fn start(
    us: Acquaintance,
    membership: Membership,
    notices: Notices,
    tasks: &Tasks,
) -> Exchange {
    let tasks = tasks.child();
    let exchange = Exchange::new(us, membership, notices, tasks.clone());
    tasks.spawn(info_span!("exchange"), exchange.clone().run());
    exchange
}

impl Exchange {
    async fn run(self) {
        let mut changes = self.0.membership.changes();
        loop {
            let (calls, due) = self.due_calls();
            for call in calls {
                self.0.tasks.spawn(
                    info_span!("exchange with", at = %call.address),
                    self.clone().make(call),
                );
            }
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.0.wake.notified() => {}
                changed = changes.changed() => if changed.is_ok() {
                    self.heed_tracker();
                } else {
                    return;
                },
            }
        }
    }

    fn due_calls(&self) -> (Vec<Call>, Instant) {
        let now = Instant::now();
        if self.look(|machine| machine.pace().due() > now) {
            return (Vec::new(), self.look(|machine| machine.pace().due()));
        }
        let listed = self.0.membership.roster().peers();
        self.change(|machine| (machine.calls(&listed, now), machine.pace().due()))
    }

    /// What the tracker says: there are others, and some are gone.
    fn heed_tracker(&self) {
        let doubts = self.0.membership.take_doubts();
        let others = !self.0.membership.roster().is_empty();
        let now = Instant::now();
        self.change(|machine| {
            doubts.into_iter().for_each(|id| machine.doubt(id, now));
            if others {
                machine.company(now);
            }
        });
    }

    async fn make(self, call: Call) {
        let outcome = self.converse(&call.address).await;
        self.finish(&call, outcome);
    }

    async fn converse(&self, address: &str) -> Result<Outcome, AskError> {
        match timeout(CALL_DEADLINE, converse(address, self)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(AskError::Nonsense("too slowly")),
        }
    }

    fn finish(&self, call: &Call, outcome: Result<Outcome, AskError>) {
        let now = Instant::now();
        match outcome {
            Ok(Outcome { by, moved }) => {
                self.change(|machine| machine.answered(&call.target, by, moved, now));
                self.0.membership.has_no_trouble(&call.address);
                if by != self.party().node {
                    self.arrive();
                }
            }
            Err(error) => {
                debug!("{error}");
                self.tell_of(call, &error);
                self.change(|machine| machine.failed(&call.target, now));
            }
        }
        self.0.wake.notify_one();
    }

    /// An address that a person gave and where nobody was ever met may be a wrong one.
    fn tell_of(&self, call: &Call, error: &AskError) {
        let Target::Entry(entry) = call.target else { return };
        if !self.look(|machine| machine.pace().unmet().any(|(number, _)| number == entry)) {
            return;
        }
        let trouble = error.at(&call.address);
        let telling = self.0.membership.has_trouble(&call.address, trouble.clone());
        match telling {
            Telling::Person => self.0.notices.say(format_args!("{trouble}; trying again")),
            Telling::LogFirst | Telling::Log => info!("{trouble}; trying again"),
            Telling::Nobody => {}
        }
        if telling == Telling::LogFirst {
            self.0.notices.say("more of the addresses to begin with fail; the log names them");
        }
    }

    /// This node has met somebody and heard of all that this one knows.
    fn arrive(&self) {
        let membership = &self.0.membership;
        if membership.meet() && !membership.is_named() {
            let others = others(membership.peers().len() as u64);
            let name = membership.name();
            self.0.notices.say(format_args!("in the network as `{name}`, with {others}"));
        }
    }

    /// Asks everyone now, also those who are offline and the entries where nobody
    /// has answered yet. Takes at most [`REFRESH_DEADLINE`].
    pub async fn refresh(&self) {
        let calls: Vec<Call> = self.look(|machine| {
            let others = machine.table().others().map(|entry| Call {
                target: Target::Peer(entry.peer.id),
                address: entry.peer.search.to_string(),
            });
            let unmet = machine.pace().unmet().map(|(number, address)| Call {
                target: Target::Entry(number),
                address: address.to_owned(),
            });
            others.chain(unmet).collect()
        });
        let mut waiting = calls.into_iter();
        let mut under_way = JoinSet::new();
        let all = async {
            loop {
                while under_way.len() < REFRESH_AT_ONCE
                    && let Some(call) = waiting.next()
                {
                    under_way.spawn(self.clone().make(call).in_current_span());
                }
                if under_way.join_next().await.is_none() {
                    return;
                }
            }
        };
        timeout(REFRESH_DEADLINE, all).await.ok();
    }

    /// Says hello at an address, `"host:port"`. Who answered.
    ///
    /// # Errors
    /// Nobody did, or only this node itself.
    pub async fn hello(&self, address: &str) -> Result<NodeId, AskError> {
        let Outcome { by, .. } = self.converse(address).await?;
        if by == self.party().node {
            return Err(AskError::Ourselves);
        }
        self.arrive();
        Ok(by)
    }

    /// Leaves: calls and answers no more, and tells some others, who tell the rest.
    pub async fn leave(&self) {
        self.close();
        self.0.tasks.cancel();
        let mut others: Vec<String> = self.look(|machine| {
            let online = machine.table().others().filter(|entry| entry.is_online());
            online.map(|entry| entry.peer.search.to_string()).collect()
        });
        let count = others.len();
        for place in 0..count.min(GOODBYES) {
            others.swap(place, rand::random_range(place..count));
        }
        let mut goodbyes = JoinSet::new();
        for address in others.into_iter().take(GOODBYES) {
            let us = self.clone();
            goodbyes.spawn(async move { say_goodbye(&address, &us).await }.in_current_span());
        }
        timeout(GOODBYE_DEADLINE, goodbyes.join_all()).await.ok();
    }
}
