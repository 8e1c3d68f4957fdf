//! What others ask, and what they answer.

use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::protocol::succession::{Inquiry, Reign, Sight, Standing};

use super::{Asked, HOLD, MEET, PROBE, Role, Succession, Way, Why};

/// Most reigns whose last look is remembered.
const MAX_CHECKED: usize = 8;

impl Succession {
    /// Somebody asks.
    pub fn asked(&mut self, inquiry: &Inquiry, now: Duration) -> Standing {
        self.wake(now);
        if let Some(reign) = inquiry.reign {
            self.hear_of(&reign, inquiry, now);
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
            self.consider(from, standing, now);
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
    fn hear_of(&mut self, reign: &Reign, inquiry: &Inquiry, now: Duration) {
        if reign.tracker == self.us.id || !self.is_plausible(reign.epoch) {
            return;
        }
        match (self.role, self.known) {
            (Role::Reigning, Some(own)) if self.us.home && !reign.home => {
                self.return_after(&own, reign, &inquiry.council, now);
            }
            (Role::Reigning, Some(own)) if self.is_behind(&own, reign) => {
                self.behind |= self.us.home;
                self.adopt(reign, &inquiry.council);
                self.check(reign, now);
            }
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
    fn consider(&mut self, from: NodeId, standing: &Standing, now: Duration) {
        let Some(reign) = standing.reign.filter(|reign| self.is_plausible(reign.epoch)) else {
            return;
        };
        if reign.tracker == self.us.id {
            return;
        }
        let is_itself = reign.tracker == from;
        match (self.role, self.known) {
            (Role::Reigning, Some(own)) if self.us.home && !reign.home => {
                self.return_after(&own, &reign, &standing.council, now);
            }
            (Role::Reigning, Some(own)) if self.is_behind(&own, &reign) => match standing.sight {
                Sight::Reigns if is_itself && reign.beats(&own) => self.step_down(&reign, now),
                // Who has just stood still does not ask twice.
                Sight::Hears if self.doubts() && reign.beats(&own) => self.step_down(&reign, now),
                _ => {
                    self.behind |= self.us.home;
                    self.adopt(&reign, &standing.council);
                    self.check(&reign, now);
                }
            },
            (Role::Following { .. }, Some(own)) if reign.beats(&own) => match standing.sight {
                Sight::Reigns if is_itself => self.move_to(&reign, now),
                _ => self.check(&reign, now),
            },
            (Role::Seeking | Role::Outside, known) => {
                self.adopt(&reign, &standing.council);
                self.base = self.base.max(reign.epoch);
                let is_lost = known.is_some_and(|known| known.is(&reign));
                match standing.sight {
                    Sight::Reigns if is_itself => self.found(&reign, now),
                    Sight::Hears if !is_lost => self.check(&reign, now),
                    // A tracker is about to be in office again.
                    Sight::Doubts => {
                        self.hold_off(now);
                        self.put_off(HOLD, HOLD, now);
                    }
                    // It may live after all.
                    Sight::Hears | Sight::Reigns => self.hold_off(now),
                    Sight::Seeks => {}
                }
            }
            _ => {}
        }
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
        let is_known = self.checked.iter().any(|(checked, _)| checked.is(reign));
        if !is_known && self.checked.len() < MAX_CHECKED {
            self.checked.push((*reign, now));
            self.ask(Way::At(reign.address), Why::Check(*reign), None);
        }
    }

    /// That tracker is not in office where it should be. If it is over, the one that
    /// reigns must still not stay behind its epoch: who knows of that would
    /// believe itself ahead.
    fn not_found(&mut self, reign: &Reign, now: Duration) {
        let Some(own) = self.known.filter(|_| self.role == Role::Reigning) else {
            return;
        };
        if (self.behind || reign.epoch > own.epoch) && self.is_plausible(reign.epoch) {
            self.base = self.base.max(reign.epoch);
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
