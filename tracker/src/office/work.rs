//! What the office does by itself: time, inquiries, taking office and leaving it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::call::call;
use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_REQUEST_FRAME;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::succession::{
    Inquiry, Reign, Standing, SuccessionReply, SuccessionRequest,
};
use shoal_common::protocol::tracking::Charter;
use shoal_common::task::Tasks;
use tokio::time::{sleep, timeout};
use tracing::{debug, info_span};

use super::{Office, Order, Post, unix_ms};
use crate::succession::{ANSWER_DEADLINE, Asked, Effect, PROBES, Way, Why};

/// Least time between two looks at the clock: a timer that is due anew all the
/// time must not occupy a core.
const TICK: Duration = Duration::from_millis(1);

impl Office {
    /// Lets time pass, and does what is to be done, for ever.
    pub async fn run(self, tasks: Tasks) {
        tasks.spawn(info_span!("chat"), self.clone().keep_chat(tasks.clone()));
        let hub_time = self.clone();
        tasks.spawn(info_span!("time"), async move {
            let hub = &hub_time.inner.hub;
            tokio::join!(hub.keep_time(), hub.keep_telling());
        });
        loop {
            let mut stirred = pin!(self.inner.stirred.notified());
            let met = self.met();
            let (pause, effects) = {
                let mut machine = self.machine();
                let now = self.inner.hub.now();
                machine.set_met(met);
                machine.tick(now);
                self.show(&machine, now);
                (machine.deadline().saturating_sub(now), machine.take_effects())
            };
            let is_idle = effects.is_empty();
            for effect in effects {
                self.perform(effect, &tasks);
            }
            if !is_idle {
                continue;
            }
            tokio::select! {
                () = &mut stirred => {}
                () = self.inner.hub.crowd() => self.present(),
                () = sleep(pause.max(TICK)) => {}
            }
        }
    }

    /// Some nodes to ask how they stand with a tracker, if that is due.
    fn met(&self) -> Vec<SocketAddr> {
        let whom = self.machine().is_to_meet(self.inner.hub.now());
        let around = whom.zip(self.inner.surroundings.as_ref());
        around.map(|(whom, around)| around.some(whom, PROBES)).unwrap_or_default()
    }

    fn perform(&self, effect: Effect, tasks: &Tasks) {
        match effect {
            Effect::Ask(asked, inquiry) => self.ask(asked, *inquiry, tasks),
            Effect::Follow(way) => match self.place(way) {
                Some(at) => self.order(at),
                None => self.failed(),
            },
            Effect::Reign(reign) => self.take_over(reign),
            Effect::Yield(reign) => self.yield_to(reign),
            Effect::Resign => self.leave_office(None),
            Effect::Publish => self.publish_council(),
        }
    }

    fn order(&self, at: String) {
        self.inner.orders.send_modify(|order| {
            let number = order.as_ref().map_or(0, |order| order.number) + 1;
            *order = Some(Order { number, at });
        });
    }

    fn place(&self, way: Way) -> Option<String> {
        match way {
            Way::Home => self.inner.home.clone(),
            Way::Peer(number) => self.inner.peers.get(number).cloned(),
            Way::At(address) => Some(address.to_string()),
        }
    }

    // Inquiries ---------------------------------------------------------------

    fn ask(&self, asked: Asked, inquiry: Inquiry, tasks: &Tasks) {
        let (rounds, others) = &self.inner.calls;
        let calls = if matches!(asked.why, Why::Round(_)) { rounds } else { others };
        let permit = Arc::clone(calls).try_acquire_owned();
        let (Some(at), Ok(permit)) = (self.place(asked.to), permit) else {
            self.event(|machine, now| machine.answered(asked, None, now));
            return;
        };
        let office = self.clone();
        tasks.spawn(info_span!("inquiry", %at), async move {
            let _permit = permit;
            let answer = timeout(ANSWER_DEADLINE, office.inquire(&at, inquiry)).await;
            let answer = answer.ok().flatten();
            debug!("{:?}: {}", asked.why, if answer.is_some() { "answered" } else { "no answer" });
            office.event(|machine, now| {
                let answer = answer.as_ref().map(|(from, standing)| (*from, standing));
                machine.answered(asked, answer, now);
            });
        });
    }

    async fn inquire(&self, at: &str, inquiry: Inquiry) -> Option<(NodeId, Standing)> {
        let (mut connection, hello) = call(at, &self.inner.us, Talk::Succession).await.ok()?;
        let far = connection.stream().peer_addr().ok()?;
        let request = SuccessionRequest::Inquire(inquiry);
        match connection.ask(&request, MAX_REQUEST_FRAME).await.ok()? {
            SuccessionReply::Standing(mut standing) => {
                // A tracker is where it answers: registrations come to the same port.
                let is_own = |reign: &Reign| reign.tracker == hello.node;
                standing.reign = standing.reign.map(|reign| match is_own(&reign) {
                    true => Reign { address: far, ..reign },
                    false => reign.seen_at(far.ip()),
                });
                let is_fine = standing.reign.is_none_or(|reign| reign.is_reachable());
                is_fine.then_some((hello.node, standing))
            }
            _ => None,
        }
    }

    // Taking office and leaving it --------------------------------------------

    fn take_over(&self, reign: Reign) {
        let is_new = matches!(*self.inner.post.borrow(), Post::Away(_));
        if is_new {
            let around = self.inner.surroundings.as_ref();
            let peers = around.map(|around| around.peers()).unwrap_or_default();
            let heartbeat = self.machine().heartbeat();
            self.inner.hub.tell(|registry, now| {
                registry.begin(peers, heartbeat, now);
                registry.count_joins_from(unix_ms());
            });
        }
        self.publish(reign);
        self.say(&in_office(&reign, is_new));
        self.present();
    }

    fn yield_to(&self, reign: Reign) {
        self.leave_office(Some(reign));
        let whom = if reign.home { "the home tracker" } else { "another tracker" };
        self.say(&format!(
            "gives the office of tracker to {whom} at `{}`, epoch {}",
            reign.address, reign.epoch
        ));
    }

    /// Serves no more; those who were here are told of that tracker.
    fn leave_office(&self, successor: Option<Reign>) {
        self.inner.hub.tell(|registry, _| registry.end());
        self.post(Post::Away(successor));
    }

    /// Somebody came or left: perhaps the council is another one.
    fn present(&self) {
        let line = self.inner.hub.look(|registry| registry.line());
        if self.event(|machine, now| machine.present(&line, now)) {
            self.publish_council();
        }
    }

    fn publish_council(&self) {
        let reign = self.machine().known();
        if let Some(reign) = reign.filter(|_| self.is_serving()) {
            self.publish(reign);
        }
    }

    fn is_serving(&self) -> bool {
        matches!(*self.inner.post.borrow(), Post::Serving(_))
    }

    /// Everyone is told of this reign and its council.
    fn publish(&self, reign: Reign) {
        let council = self.machine().council().to_vec();
        let charter = Charter { reign, council };
        self.inner.hub.tell(|registry, _| registry.set_charter(charter.clone()));
        self.post(Post::Serving(charter));
    }

    fn post(&self, post: Post) {
        self.inner.post.send_replace(post);
        self.inner.hub.ring();
    }

    fn say(&self, line: &str) {
        match &self.inner.surroundings {
            Some(around) => around.say(line),
            None => self.inner.hub.say(line),
        }
    }
}

fn in_office(reign: &Reign, is_new: bool) -> String {
    let Reign { epoch, elected, home, .. } = *reign;
    match (home, is_new, elected) {
        (true, _, true) => format!("in charge of the network again, epoch {epoch}"),
        (true, _, false) => {
            format!("in charge of those who are here, epoch {epoch}: most of the council is not")
        }
        (false, true, true) => {
            format!("the tracker is lost: this node is tracker now, epoch {epoch}")
        }
        (false, true, false) => format!(
            "the tracker is lost, and most of the council can't be reached: this node \
             serves as tracker until a better one is found, epoch {epoch}"
        ),
        (false, false, true) => format!("elected as tracker, epoch {epoch}"),
        (false, false, false) => format!("still serves as tracker, now in epoch {epoch}"),
    }
}
