//! Rounds of asking: claims to the office, votes, and doubts.

use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::protocol::succession::{MAX_LEAP, Reign, Sight, Standing};

use super::follow::distinct;
use super::line::is_majority;
use super::{
    ANSWER_DEADLINE, HOLD, LINE, MAX_CONTESTED, MAX_EPOCH, MAX_HEARSAY, Role, STEP, Succession,
    VOTE_PAUSE, Way, Why, is_far_below,
};

/// How often one that stood still asks whether it was succeeded while nobody
/// answers, before it goes on for those who reach it.
const DOUBTS: u32 = 3;

/// To whom it has agreed last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vote {
    pub(super) epoch: u64,
    candidate: NodeId,
    at: Duration,
}

/// What is asked in a round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question {
    /// Do you agree to this reign?
    Claim(Reign),
    /// Was I succeeded while I stood still? So often was it asked in vain.
    Doubt { before: u32 },
}

/// Several are asked the same.
#[derive(Debug)]
pub(super) struct Round {
    number: u64,
    question: Question,
    /// Who has not answered.
    open: usize,
    /// Whether anybody has, or there was nobody to ask.
    is_heard: bool,
    deadline: Duration,
    /// Members of the council that agreed.
    agreed: Vec<NodeId>,
    /// Whether anybody did not agree.
    contested: bool,
    /// The highest epoch that those who answered know of, or have agreed to.
    known: u64,
}

impl Round {
    pub(super) fn deadline(&self) -> Duration {
        if self.open == 0 { Duration::ZERO } else { self.deadline }
    }
}

impl Succession {
    /// Whether a tracker asks whether it still is one; meanwhile it answers
    /// nobody.
    pub(super) fn doubts(&self) -> bool {
        matches!(self.round, Some(Round { question: Question::Doubt { .. }, .. }))
    }

    /// Asks everyone whether they agree that this one is tracker.
    pub(super) fn claim(&mut self, now: Duration) {
        if self.promised() >= MAX_EPOCH {
            self.come_down(1);
        }
        // An epoch for which it has agreed to itself is still to be had.
        let promised = self.vote.map_or(0, |vote| {
            let is_own = vote.candidate == self.us.id;
            if is_own { vote.epoch.saturating_sub(1) } else { vote.epoch }
        });
        let epoch = self.base.max(promised).max(self.bid).saturating_add(1);
        let may = self.us.eligible && (self.us.home || self.joined > 0);
        let address = self.address.filter(|_| may);
        let claim = address.map(|address| Reign {
            epoch,
            tracker: self.us.id,
            address,
            home: self.us.home,
            joined: self.joined,
            elected: true,
        });
        match claim.filter(|claim| self.agree(claim, now)) {
            Some(claim) => self.ask_all(Question::Claim(claim), now),
            None => self.hold_off(now),
        }
    }

    /// A tracker that stood still asks whether it still is one.
    pub(super) fn doubt(&mut self, now: Duration) {
        self.ask_all(Question::Doubt { before: 0 }, now);
    }

    /// Not now: the next claim has to wait.
    pub(super) fn hold_off(&mut self, now: Duration) {
        self.claim_after(STEP, STEP * 2, now);
        if !self.doubts() {
            self.round = None;
        }
    }

    /// The next claim comes after the one time, and by chance up to the other.
    pub(super) fn claim_after(&mut self, least: Duration, more: Duration, now: Duration) {
        let next = now + least + self.chance.up_to(more);
        self.timers.claim = next;
        self.timers.renew = next;
    }

    fn ask_all(&mut self, question: Question, now: Duration) {
        self.rounds += 1;
        let number = self.rounds;
        let mut ways: Vec<Way> = self.line().take(LINE).collect();
        ways.extend(self.us.knows_home.then_some(Way::Home));
        let lost = self.known.filter(|reign| reign.tracker != self.us.id);
        ways.extend(lost.map(|reign| Way::At(reign.address)));
        let ways = distinct(&ways);
        let round = Round {
            number,
            question,
            open: ways.len(),
            is_heard: ways.is_empty(),
            deadline: now + ANSWER_DEADLINE,
            agreed: Vec::new(),
            contested: false,
            known: 0,
        };
        self.round = Some(round);
        let claim = match question {
            Question::Claim(claim) => Some(claim),
            Question::Doubt { .. } => None,
        };
        for way in ways {
            self.ask(way, Why::Round(number), claim);
        }
    }

    /// An answer, or none, to an inquiry of a round.
    pub(super) fn count(
        &mut self,
        number: u64,
        answer: Option<(NodeId, &Standing)>,
        now: Duration,
    ) {
        let counts = answer.is_some_and(|(from, standing)| self.is_council(from, standing.joined));
        let has_lesser = answer.is_some_and(|(_, standing)| self.has_lesser(standing));
        let Some(round) = self.round.as_mut().filter(|round| round.number == number) else {
            return;
        };
        round.open = round.open.saturating_sub(1);
        round.is_heard |= answer.is_some();
        if let (Some((from, standing)), Question::Claim(claim)) = (answer, round.question) {
            if standing.agrees && counts && !round.agreed.contains(&from) {
                round.agreed.push(from);
            }
            // Who has a lesser tracker will hear of this one in any case.
            // And a newcomer has no say.
            round.contested |= !standing.agrees && !has_lesser && standing.joined > 0;
            let known = standing.promised.max(standing.reign.map_or(0, |reign| reign.epoch));
            round.known = round.known.max(known);
            // Who agrees has agreed to this claim, and to nothing beyond it.
            if !standing.agrees && known >= claim.epoch {
                self.outbid(known);
            }
        }
        self.conclude(now);
    }

    /// Its next claim is to go beyond this epoch, as far as others can agree; unless
    /// that is so far above that the claim goes before it in any case.
    pub(super) fn outbid(&mut self, epoch: u64) {
        self.bid = self.bid.max(self.heeded(epoch));
    }

    /// Others know of a reign in this epoch: its claims, and it as a caretaker, are
    /// not to stay behind it.
    pub(super) fn catch_up(&mut self, epoch: u64) {
        self.outbid(epoch);
        self.heard = self.heard.max(self.heeded(epoch));
    }

    /// How much of an epoch that others tell of is heeded.
    fn heeded(&self, epoch: u64) -> u64 {
        let promised = self.promised();
        if is_far_below(promised, epoch) {
            0
        } else {
            epoch.min(promised.saturating_add(MAX_HEARSAY))
        }
    }

    /// Of one in office: whether somebody has a tracker that is to yield to it.
    fn has_lesser(&self, standing: &Standing) -> bool {
        let own = self.known.filter(|_| self.role == Role::Reigning);
        let lesser = own.zip(standing.reign).is_some_and(|(own, reign)| own.beats(&reign));
        lesser && standing.sight != Sight::Seeks
    }

    /// The round is over when everyone has answered, when enough have agreed, or
    /// when it is too late. Who is silent is not waited for: the next in line would
    /// claim meanwhile.
    pub(super) fn conclude(&mut self, now: Duration) {
        let (own, council) = (usize::from(self.is_in_council()), self.council.len());
        let is_over = |round: &mut Round| {
            let is_agreed = matches!(round.question, Question::Claim(_))
                && is_majority(round.agreed.len() + own, council);
            round.open == 0 || is_agreed || now >= round.deadline
        };
        let Some(round) = self.round.take_if(is_over) else {
            return;
        };
        let claim = match round.question {
            Question::Claim(claim) => claim,
            // That nobody answers in time means little on a machine that just woke.
            Question::Doubt { before } if !round.is_heard && before + 1 < DOUBTS => {
                return self.ask_all(Question::Doubt { before: before + 1 }, now);
            }
            // Nobody knew of anything better, see `consider`; or it is alone.
            Question::Doubt { .. } => return,
        };
        if round.contested {
            self.contested += 1;
            // A tracker may have been a false one: if all others know of far less, none of
            // them will ever agree.
            if round.known > 0 && is_far_below(round.known, claim.epoch) {
                self.come_down(round.known);
            }
        }
        if is_majority(round.agreed.len() + own, council) {
            self.take_office(claim, now);
        } else if round.contested && self.contested < MAX_CONTESTED {
            // Until all who agreed to others are free, and then in order. Home is
            // only outbid, and everyone is free for it.
            let until_free = if self.us.home { Duration::ZERO } else { HOLD };
            self.claim_after(until_free + STEP * self.position(), STEP, now);
        } else {
            self.take_care(claim, now);
        }
    }

    /// Without a majority. The home tracker takes the next epoch all the same: it
    /// is to be in charge of whomever it reaches.
    fn take_care(&mut self, claim: Reign, now: Duration) {
        // Who knows of a later reign would be ahead of it.
        let known = self.base.max(self.heard);
        let epoch = if self.us.home { known.saturating_add(1) } else { known };
        let reign = Reign { epoch, elected: false, ..claim };
        if self.role == Role::Reigning && !self.behind {
            // It could not be elected anew, and stays what it is.
            self.hold_off(now);
        } else {
            self.take_office(reign, now);
        }
    }

    /// Whether this one agrees that the other is tracker, and then remembers it:
    /// nobody agrees to two in one epoch. Who was led astray comes down to a claim far
    /// below.
    pub(super) fn agree(&mut self, claim: &Reign, now: Duration) -> bool {
        let candidate = claim.tracker;
        let is_free = self.vote.is_none_or(|vote| {
            let is_same = vote.candidate == candidate;
            // A claim of its own that is over holds nobody up.
            let is_over = vote.candidate == self.us.id && self.round.is_none();
            let pause = match () {
                () if is_over => Duration::ZERO,
                () if is_same || claim.home => VOTE_PAUSE,
                () => HOLD,
            };
            let is_later = claim.epoch > vote.epoch || is_far_below(claim.epoch, vote.epoch);
            is_same && claim.epoch == vote.epoch || is_later && now >= vote.at + pause
        });
        let is_next = claim.elected
            // The first one is nobody's to claim.
            && claim.epoch > 1
            && (self.is_astray(claim.epoch)
                || claim.epoch > self.base
                    && claim.epoch <= self.promised().saturating_add(MAX_LEAP));
        let agrees = is_free && is_next && self.may_succeed(claim, now);
        if agrees {
            if self.is_astray(claim.epoch) {
                self.come_down(claim.epoch.saturating_sub(1));
            }
            self.vote = Some(Vote { epoch: claim.epoch, candidate, at: now });
        }
        agrees
    }

    /// Whether its tracker is another home tracker than the one that claims, at another
    /// address: one is enough, and they would take the office from each other for ever.
    fn has_other_home(&self, claim: &Reign) -> bool {
        self.known.is_some_and(|reign| {
            reign.home && reign.tracker != claim.tracker && reign.address != claim.address
        })
    }

    /// Whether the present tracker stands in nobody's way: it is not heard, is
    /// the one that claims, or gives way to the home tracker.
    fn may_succeed(&self, claim: &Reign, now: Duration) -> bool {
        let ours = self.known.is_some_and(|reign| reign.tracker == claim.tracker);
        let is_own = claim.tracker == self.us.id;
        match self.role {
            Role::Reigning => is_own || claim.home && !self.us.home,
            Role::Following { heard } => {
                let is_silent = now >= heard + 2 * self.heartbeat;
                claim.home && !self.has_other_home(claim) || ours || is_silent
            }
            // Who is on its way to one deposes it as little as who hears it.
            Role::Outside | Role::Seeking => claim.home || ours || is_own || !self.attempt.found,
        }
    }
}
