//! What others ask, and what they answer.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::protocol::succession::{Inquiry, Reign, Sight, Standing};

use super::{Asked, HOLD, MAX_PUT_OFF, MEET, PROBE, Role, Succession, Way, Why};

/// Most reigns, and most nodes, that are looked at within [`MEET`] because of what
/// others say.
const MAX_CHECKED: usize = 8;

impl Succession {
    /// Somebody asks.
    pub fn asked(&mut self, inquiry: &Inquiry, now: Duration) -> Standing {
        self.wake(now);
        if let Some(reign) = inquiry.reign {
            self.hear_of(&reign, now);
        }
        let agrees = inquiry.claim.is_some_and(|claim| self.agree(&claim, now));
        self.standing(agrees, now)
    }

    /// What has come of an inquiry; nothing, if there was no answer.
    pub fn answered(&mut self, asked: Asked, answer: Option<(NodeId, &Standing)>, now: Duration) {
        self.wake(now);
        // This one's own address may be a way to somebody.
        let answer = answer.filter(|(from, _)| *from != self.us.id);
        if let Some((from, standing)) = answer {
            self.consider(asked.to, from, standing, now);
        }
        if let Why::Check(reign) = asked.why {
            let is_there = answer.is_some_and(|(from, standing)| is_there(&reign, from, standing));
            if !is_there {
                self.not_found(&reign, now);
            }
        }
        if let Why::Round(number) = asked.why {
            self.count(number, answer, now);
        }
    }

    /// Hearsay: it is looked at before it is believed.
    fn hear_of(&mut self, reign: &Reign, now: Duration) {
        if reign.tracker == self.us.id || reign.epoch == 0 {
            return;
        }
        match (self.role, self.known) {
            (Role::Reigning, Some(own)) if self.is_behind(&own, reign) => self.check(reign, now),
            (Role::Following { .. }, Some(own)) if reign.beats(&own) => self.check(reign, now),
            (Role::Seeking | Role::Outside, known)
                if known.is_none_or(|known| !known.is(reign)) =>
            {
                self.check(reign, now);
            }
            _ => {}
        }
    }

    /// Somebody says how it stands with a tracker.
    fn consider(&mut self, at: Way, from: NodeId, standing: &Standing, now: Duration) {
        let Some(reign) = standing.reign else {
            return;
        };
        let is_itself = reign.tracker == from;
        if reign.epoch == 0 {
            return;
        }
        if !is_itself && !self.is_near(reign.epoch) {
            // Perhaps there is such a tracker: it is asked itself.
            return self.hear_of(&reign, now);
        }
        if self.may_tell_of_council(at, from, standing.joined) {
            self.adopt(&reign, &standing.council, now);
        }
        if reign.tracker == self.us.id {
            return;
        }
        match (self.role, self.known) {
            (Role::Reigning, Some(own)) if self.us.home && !reign.home => {
                self.return_after(&own, &reign, now);
            }
            (Role::Reigning, Some(own)) if self.is_behind(&own, &reign) => match standing.sight {
                Sight::Reigns if is_itself && reign.beats(&own) => self.step_down(&reign, now),
                // Who has just stood still does not ask twice.
                Sight::Hears if self.doubts() && reign.beats(&own) => self.step_down(&reign, now),
                _ => {
                    self.behind |= self.us.home;
                    self.check(&reign, now);
                }
            },
            (Role::Following { .. }, Some(own)) if reign.beats(&own) => match standing.sight {
                Sight::Reigns if is_itself => self.move_to(&reign, now),
                _ => self.check(&reign, now),
            },
            (Role::Seeking, _) if self.us.home && !reign.home => {
                self.catch_up(reign.epoch);
                self.claim_anew(now);
            }
            (Role::Seeking | Role::Outside, known) => {
                self.catch_up(reign.epoch);
                let is_lost = known.is_some_and(|known| known.is(&reign));
                match standing.sight {
                    Sight::Reigns if is_itself => self.found(&reign, now),
                    Sight::Hears if !is_lost => self.check(&reign, now),
                    // A tracker is about to be in office again.
                    Sight::Doubts if self.put_off < MAX_PUT_OFF => {
                        self.put_off += 1;
                        self.hold_off(now);
                        self.claim_after(HOLD, HOLD, now);
                    }
                    Sight::Doubts => {}
                    // It may live after all, and be reached elsewhere.
                    Sight::Hears | Sight::Reigns => {
                        self.hold_off(now);
                        if known.is_some_and(|known| known.address != reign.address) {
                            self.check(&reign, now);
                        }
                    }
                    Sight::Seeks => {}
                }
            }
            _ => {}
        }
    }

    /// Whether to believe what it says of a council: a member of the last one that
    /// answers where it is known to be, or anybody if none is known.
    fn may_tell_of_council(&self, at: Way, from: NodeId, joined: u64) -> bool {
        let is_there = self.council.iter().any(|member| at == Way::At(member.address));
        self.council.is_empty() || is_there && self.is_council(from, joined)
    }

    /// One without a tracker has found one.
    fn found(&mut self, reign: &Reign, now: Duration) {
        if self.us.home {
            // Another one that was set up as the home tracker: one is enough.
            self.timers.claim = now + 2 * MEET;
            self.timers.pause = PROBE.0;
            self.round = None;
        } else {
            self.hold_off(now);
            self.join(reign);
        }
    }

    /// Looks whether there is such a tracker, unless that was done just now.
    fn check(&mut self, reign: &Reign, now: Duration) {
        self.checked.retain(|(_, at)| now < *at + MEET);
        let is_same = |checked: &Reign| checked.is(reign) && checked.address == reign.address;
        let is_known = self.checked.iter().any(|(checked, _)| is_same(checked));
        if !is_known && self.checked.len() < MAX_CHECKED {
            self.checked.push((*reign, now));
            self.ask(Way::At(reign.address), Why::Check(*reign), None);
        }
    }

    /// Asks a node what it knows, unless that was done just now, or many were asked.
    pub(super) fn look_at(&mut self, at: SocketAddr, now: Duration) {
        self.looked.retain(|(_, when)| now < *when + MEET);
        let is_known = self.looked.iter().any(|(looked, _)| *looked == at);
        if !is_known && self.looked.len() < MAX_CHECKED {
            self.looked.push((at, now));
            self.ask(Way::At(at), Why::Look, None);
        }
    }

    /// That tracker is not in office where it should be. If it is over, the one that
    /// reigns must still not stay behind its epoch: who knows of that would
    /// believe itself ahead.
    fn not_found(&mut self, reign: &Reign, now: Duration) {
        let Some(own) = self.known.filter(|_| self.role == Role::Reigning) else {
            return;
        };
        let is_ahead = reign.epoch > own.epoch || self.is_fresh_home() && reign.epoch == own.epoch;
        if (self.behind || is_ahead) && self.is_near(reign.epoch) {
            self.catch_up(reign.epoch);
            self.behind = true;
            self.claim_anew(now);
        }
    }

    /// The claim of one in office, unless it is claiming already.
    pub(super) fn claim_anew(&mut self, now: Duration) {
        if self.round.is_none() || self.doubts() {
            self.claim(now);
        }
    }
}

/// Whether an answer is that of a tracker under this reign.
fn is_there(reign: &Reign, from: NodeId, standing: &Standing) -> bool {
    let is_tracker = matches!(standing.sight, Sight::Reigns | Sight::Doubts);
    is_tracker && from == reign.tracker && standing.reign.is_some_and(|own| own.is(reign))
}
