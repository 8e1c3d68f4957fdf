//! In office: how a tracker takes it, keeps it and hands it over.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::limits::LEAST_INHERITED_HEARTBEAT;
use shoal_common::protocol::succession::{Reign, Sight};

use super::follow::{Attempt, PROBES};
use super::{Effect, FRESH, GRACE_LOST, MEET, RENEW, Role, Succession, Way};

/// What a node that wants to register is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// It is right here.
    Here,
    /// The tracker is that one, as far as is known.
    Elsewhere(Option<Reign>),
}

impl Succession {
    /// A node wants to register that knows of that reign and answers inquiries
    /// there.
    pub fn registers(&mut self, knows: Option<&Reign>, at: SocketAddr, now: Duration) -> Welcome {
        self.wake(now);
        if self.sight(now) != Sight::Reigns {
            let other = self.known.filter(|reign| reign.tracker != self.us.id);
            return Welcome::Elsewhere(other);
        }
        let Some(own) = self.known else {
            return Welcome::Elsewhere(None);
        };
        let other = knows.filter(|knows| knows.tracker != self.us.id);
        let ahead = other.filter(|knows| {
            self.is_near(knows.epoch)
                && (knows.epoch > own.epoch || self.is_fresh_home() && knows.epoch >= own.epoch)
        });
        match ahead {
            Some(_) => {
                // It knows more: what, and whose council was that?
                self.look_at(at, now);
                Welcome::Elsewhere(None)
            }
            None => Welcome::Here,
        }
    }

    /// Whether a tracker may answer those who are registered with it.
    pub fn may_answer(&mut self, now: Duration) -> bool {
        self.wake(now);
        self.sight(now) == Sight::Reigns
    }

    /// In office from now on, or from now on under this reign.
    pub(super) fn take_office(&mut self, reign: Reign, now: Duration) {
        let was_tracker = self.role == Role::Reigning;
        self.role = Role::Reigning;
        if !was_tracker {
            self.since = now;
            self.attempt = Attempt::default();
            if !self.us.home {
                self.heartbeat = self.heartbeat.max(LEAST_INHERITED_HEARTBEAT);
            }
            self.before = self.known.filter(|before| before.tracker != self.us.id);
        }
        self.base = self.base.max(reign.epoch);
        (self.bid, self.heard) = (0, 0);
        self.contested = 0;
        // That somebody makes it ask anew gives nobody more time.
        if !was_tracker || reign.elected {
            self.majority = now;
        }
        self.known = Some(reign);
        self.behind = false;
        if reign.elected {
            self.council_epoch = reign.epoch;
        } else {
            self.council_epoch = self.council_epoch.max(reign.epoch.saturating_sub(1));
        }
        self.timers.look = now + self.chance.about(MEET);
        self.timers.renew = now + self.chance.about(RENEW);
        self.effects.push(Effect::Reign(reign));
        // So everyone in line hears of it at once, and tells.
        let mut ways: Vec<Way> = self.line().collect();
        ways.extend(self.before.map(|before| Way::At(before.address)));
        ways.extend(self.us.knows_home.then_some(Way::Home));
        self.look(&ways);
    }

    /// A better tracker is there: it gets everyone.
    pub(super) fn step_down(&mut self, reign: &Reign, now: Duration) {
        self.effects.push(Effect::Yield(*reign));
        self.seek(GRACE_LOST, now);
        self.join(reign);
    }

    /// The home tracker hears of a reign of others: it follows it in office.
    pub(super) fn return_after(&mut self, own: &Reign, reign: &Reign, now: Duration) {
        if self.is_behind(own, reign) {
            if self.is_astray(reign.epoch) {
                self.come_down(reign.epoch);
            } else {
                self.catch_up(reign.epoch);
            }
            self.behind = true;
            self.claim_anew(now);
        }
    }

    /// All whom it may be cut off from, or who may know its tracker: some of them are
    /// asked in turn.
    pub(super) fn others(&self) -> Vec<Way> {
        let absent = self.absent.iter().map(|member| Way::At(member.address));
        let before = self.before.map(|before| Way::At(before.address));
        // Whoever was led away from the network as a newcomer knows no other way to it.
        let peers = (0..self.us.peers).map(Way::Peer);
        self.line().chain(absent).chain(before).chain(peers).collect()
    }

    /// Time passes in office.
    pub(super) fn keep_office(&mut self, now: Duration) {
        self.be_own_guest(now);
        // Without a network it may still be told of the one that it had.
        let has_network = !self.council.is_empty();
        if self.is_fresh_home() && has_network && now > self.since + FRESH {
            self.council_epoch = self.base;
        }
        if now >= self.timers.look {
            self.timers.look = now + self.chance.about(MEET);
            if self.review(now) {
                self.effects.push(Effect::Publish);
            }
            let mut ways = self.next_of(&self.others(), PROBES);
            ways.extend(self.us.knows_home.then_some(Way::Home));
            self.look(&ways);
        }
        if self.wants_election() && now >= self.timers.renew {
            self.timers.renew = now + self.chance.about(RENEW);
            self.claim_anew(now);
        }
    }
}
