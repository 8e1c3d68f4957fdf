//! Who is tracker: a state machine without I/O and without a clock.
//!
//! Every node runs one of it, and the home tracker too. Availability comes
//! first: among those who can reach each other there is soon exactly one
//! tracker that all of them follow.
//!
//! A node *follows* a tracker. When it has lost it, it *seeks*: it tries to
//! reach the tracker again, asks others whether there is one, and when its turn
//! in the line of succession has come, it *claims* the office: it asks everyone
//! it knows whether they agree. Whoever still hears a tracker says so, and then
//! the claim is dropped. With a majority of the *council*, the longest in the
//! network, the node *reigns* in the next epoch. Without one it may be cut off
//! with a minority, so it serves as *caretaker*, in the epoch that was: it gives
//! way to the tracker that the majority still sees or has chosen. Of two
//! trackers that meet the lesser yields; see [`Reign::beats`].
//!
//! The home tracker is a member that never follows and whose turn is at once:
//! when it is told of a reign it claims the next one, and everyone agrees.
//!
//! Time is an argument, counted from any fixed moment. What is to be done is
//! collected as [`Effect`]s, to be taken after each event.

use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::limits::HEARTBEATS;
use shoal_common::protocol::succession::{Inquiry, Member, Reign, Sight, Standing, goes_before};

mod bounds;
mod chance;
mod claim;
mod follow;
mod inquire;
mod line;
mod reign;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod words;

pub use bounds::{ANSWER_DEADLINE, GRACE_LOST, LINE, STEP};
use bounds::{
    AWAY, FRESH, HOLD, MAX_CONTESTED, MAX_EPOCH, MAX_HEARSAY, MAX_PUT_OFF, MEET, PROBE, RENEW,
    SELDOM, VOTE_PAUSE,
};
use chance::Chance;
use claim::{Round, Vote};
use follow::Attempt;
pub use follow::{Met, PROBES};
pub use reign::Welcome;
pub use words::{Asked, Effect, Us, Way, Why};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Has not been in a network yet.
    Outside,
    /// Registered with a tracker, heard of it last then.
    Following { heard: Duration },
    /// Without a tracker.
    Seeking,
    /// Tracker.
    Reigning,
}

/// When there is something to do.
#[derive(Debug, Default)]
struct Timers {
    /// To claim the office.
    claim: Duration,
    /// To look for a tracker.
    probe: Duration,
    /// The pause to the next look.
    pause: Duration,
    /// To look for those one may have been cut off from.
    look: Duration,
    /// To claim again, of a caretaker.
    renew: Duration,
}

/// How a node, or the home tracker, stands with the office of tracker.
#[derive(Debug)]
pub struct Succession {
    us: Us,
    /// Where it would answer registrations.
    address: Option<SocketAddr>,
    /// Its join number, 0 without one.
    joined: u64,
    role: Role,
    /// The reign it follows, has lost, or is itself.
    known: Option<Reign>,
    /// The epoch of the tracker that it follows, has lost, or is: never raised by
    /// hearsay.
    base: u64,
    /// An epoch that others have said to have agreed to, and that is to be outbid.
    bid: u64,
    /// The epoch of a reign that others have said to know of.
    heard: u64,
    council: Vec<Member>,
    /// The epoch in which that was the council.
    council_epoch: u64,
    /// Others in line behind the council, at most [`LINE`].
    others: Vec<Member>,
    /// Some that are here, known in another way, to be asked next: see [`Met`].
    met: Vec<SocketAddr>,
    /// Others that were in line and are not here, at most [`LINE`]: a tracker may
    /// be cut off from them.
    absent: Vec<Member>,
    /// Of a tracker: the first of those who are here.
    here: Vec<Member>,
    /// Of a tracker: who of the council is not here, and since when.
    missing: Vec<(NodeId, Duration)>,
    /// Of a tracker: the reign that it followed until its own.
    before: Option<Reign>,
    /// Of a tracker: whether it has heard of a reign that goes before its own.
    behind: bool,
    vote: Option<Vote>,
    round: Option<Round>,
    rounds: u64,
    /// How many rounds in a row others have won.
    contested: u32,
    /// How often a tracker that asks about itself has put it off since it seeks.
    put_off: u32,
    attempt: Attempt,
    /// Reigns that were looked at lately, and when.
    checked: Vec<(Reign, Duration)>,
    /// Nodes that were asked lately what they know, and when.
    looked: Vec<(SocketAddr, Duration)>,
    /// Whose turn it is to be looked at.
    turn: usize,
    timers: Timers,
    /// When it came to its role.
    since: Duration,
    /// When it was last seen to run.
    awake: Duration,
    /// When a majority of the council was last here, of a tracker, or it began.
    majority: Duration,
    heartbeat: Duration,
    chance: Chance,
    effects: Vec<Effect>,
}

impl Succession {
    /// A node that has not been in a network. `seed` makes its pauses differ
    /// from those of others.
    pub fn node(us: Us, heartbeat: Duration, seed: u64, now: Duration) -> Self {
        Self {
            us,
            address: None,
            joined: 0,
            role: Role::Outside,
            known: None,
            base: 0,
            bid: 0,
            heard: 0,
            council: Vec::new(),
            council_epoch: 0,
            others: Vec::new(),
            met: Vec::new(),
            absent: Vec::new(),
            here: Vec::new(),
            missing: Vec::new(),
            before: None,
            behind: false,
            vote: None,
            round: None,
            rounds: 0,
            contested: 0,
            put_off: 0,
            attempt: Attempt::default(),
            checked: Vec::new(),
            looked: Vec::new(),
            // Not everyone asks the same ones at the same time.
            turn: usize::try_from(Chance::new(seed).next() >> 32).unwrap_or_default(),
            timers: Timers { probe: now, pause: PROBE.0, ..Timers::default() },
            since: now,
            awake: now,
            majority: now,
            heartbeat,
            chance: Chance::new(seed),
            effects: Vec::new(),
        }
    }

    /// The home tracker, in office in epoch 1 until it is told of more.
    pub fn home(
        id: NodeId,
        address: SocketAddr,
        heartbeat: Duration,
        seed: u64,
        now: Duration,
    ) -> Self {
        let us = Us { id, home: true, eligible: true, knows_home: false, peers: 0 };
        let mut home = Self::node(us, heartbeat, seed, now);
        home.address = Some(address);
        home.role = Role::Reigning;
        home.base = 1;
        home.known =
            Some(Reign { epoch: 1, tracker: id, address, home: true, joined: 0, elected: true });
        home.timers.look = now + MEET;
        home
    }

    // Questions ------------------------------------------------------------

    /// The reign it follows, has lost or is itself.
    pub fn known(&self) -> Option<Reign> {
        self.known
    }

    /// How it stands with that reign.
    pub fn sight(&self, now: Duration) -> Sight {
        match self.role {
            Role::Reigning if self.behind || self.doubts() => Sight::Doubts,
            Role::Reigning => Sight::Reigns,
            Role::Following { heard } if now < heard + 2 * self.heartbeat => Sight::Hears,
            _ => Sight::Seeks,
        }
    }

    /// Whether it has lost its tracker and looks for one.
    pub fn is_seeking(&self) -> bool {
        self.role == Role::Seeking
    }

    /// The council of the reign, by join number.
    pub fn council(&self) -> &[Member] {
        &self.council
    }

    /// Time between two heartbeats.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Its join number, 0 without one.
    pub fn joined(&self) -> u64 {
        self.joined
    }

    /// When [`Succession::tick`] is worth calling, unless something happens
    /// before.
    pub fn deadline(&self) -> Duration {
        let timers = &self.timers;
        // So often that standing still is noticed, and nothing else passes for it.
        let awake = self.awake + self.heartbeat / 2;
        let due = match self.role {
            Role::Outside => timers.probe.min(self.attempt.due()),
            Role::Following { .. } => timers.look,
            Role::Seeking => {
                let claim = if self.round.is_none() { timers.claim } else { Duration::MAX };
                let own = if self.us.home { Duration::MAX } else { self.attempt.due() };
                timers.probe.min(claim).min(own).min(awake)
            }
            Role::Reigning => {
                let renew = if self.wants_election() { timers.renew } else { Duration::MAX };
                let own = if self.us.home { Duration::MAX } else { self.attempt.due() };
                timers.look.min(renew).min(own).min(awake)
            }
        };
        self.round.as_ref().map_or(due, |round| due.min(round.deadline()))
    }

    /// Whether there is something to do.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// What there is to do since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        mem::take(&mut self.effects)
    }

    // Events ---------------------------------------------------------------

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        self.wake(now);
        self.conclude(now);
        match self.role {
            Role::Outside => {
                self.try_to_register(now);
                self.probe(now);
            }
            Role::Following { .. } => self.look_seldom(now),
            Role::Seeking => {
                self.try_to_register(now);
                self.probe(now);
                if self.round.is_none() && now >= self.timers.claim {
                    self.claim(now);
                }
            }
            Role::Reigning => self.keep_office(now),
        }
    }

    /// Where this node is reached by others, once that is known.
    pub fn set_address(&mut self, address: SocketAddr) {
        self.address = Some(address);
    }

    /// Time between two heartbeats, as the tracker wants it.
    pub fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.heartbeat = heartbeat.clamp(HEARTBEATS.0, HEARTBEATS.1);
    }

    /// The others in line, by join number; as many as are known. Of one that seeks
    /// the turn to claim is counted anew.
    pub fn set_line(&mut self, line: impl IntoIterator<Item = Member>) {
        let us = self.us.id;
        let before = self.position();
        let beyond = line.into_iter().filter(|member| member.id != us);
        let beyond = beyond.filter(|member| !line::has(&self.council, member.id));
        let known = mem::replace(&mut self.others, beyond.take(LINE).collect());
        self.miss(known.iter());
        self.absent.retain(|member| !line::has(&self.others, member.id));
        if self.role == Role::Seeking && self.round.is_none() {
            let turn = self.timers.claim + STEP * self.position();
            self.timers.claim = turn.saturating_sub(STEP * before);
        }
    }

    /// Gives up the office, if it has it, and takes it no more: this node leaves.
    pub fn resign(&mut self, now: Duration) {
        self.us.eligible = false;
        self.round = None;
        if self.role == Role::Reigning {
            self.effects.push(Effect::Resign);
            self.seek(GRACE_LOST, now);
        }
    }

    // Steps ----------------------------------------------------------------

    /// One that stood still does not know what happened meanwhile: a tracker
    /// asks whether it still is one, a candidate begins anew.
    fn wake(&mut self, now: Duration) {
        let stood = now.saturating_sub(self.awake);
        self.awake = self.awake.max(now);
        if stood <= self.heartbeat {
            return;
        }
        match self.role {
            Role::Reigning => self.doubt(now),
            Role::Seeking => self.seek(GRACE_LOST, now),
            Role::Outside | Role::Following { .. } => {}
        }
    }

    /// Whether it is heeded that somebody tells of this epoch.
    fn is_near(&self, epoch: u64) -> bool {
        epoch <= self.base.saturating_add(MAX_HEARSAY)
    }

    /// The highest epoch that it has followed or agreed to.
    fn promised(&self) -> u64 {
        self.base.max(self.vote.map_or(0, |vote| vote.epoch))
    }

    /// Whether this epoch goes before what it knows because that is too far above: then
    /// it was led astray.
    fn is_astray(&self, epoch: u64) -> bool {
        is_far_below(epoch, self.promised())
    }

    /// It was led astray, and begins anew from here. What it has agreed to up there would
    /// lose against whatever it agrees to now.
    fn come_down(&mut self, epoch: u64) {
        self.base = self.base.min(epoch);
        self.council_epoch = self.council_epoch.min(epoch);
        self.vote.take_if(|vote| is_far_below(epoch, vote.epoch));
        (self.bid, self.heard) = (0, 0);
    }

    /// Whether it is in office without a majority, or others are ahead of it.
    fn wants_election(&self) -> bool {
        let is_caretaker = self.known.is_some_and(|reign| !reign.elected);
        self.role == Role::Reigning && (self.behind || is_caretaker)
    }

    /// Whether it is the home tracker, so short in office that it may have had
    /// a network before.
    fn is_fresh_home(&self) -> bool {
        self.us.home && self.council_epoch == 0
    }

    /// Of one in office: whether that reign goes before its own.
    fn is_behind(&self, own: &Reign, reign: &Reign) -> bool {
        reign.beats(own) || self.is_fresh_home() && reign.epoch == own.epoch
    }

    fn inquiry(&self, claim: Option<Reign>) -> Inquiry {
        Inquiry { reign: self.known, council: self.council.clone(), claim }
    }

    fn ask(&mut self, to: Way, why: Why, claim: Option<Reign>) {
        let inquiry = self.inquiry(claim);
        self.effects.push(Effect::Ask(Asked { to, why }, Box::new(inquiry)));
    }

    fn standing(&self, agrees: bool, now: Duration) -> Standing {
        Standing {
            reign: self.known,
            sight: self.sight(now),
            agrees,
            promised: self.promised(),
            joined: self.joined,
            council: self.council.clone(),
        }
    }

    /// Takes over a council of a later epoch than the one it knows of.
    fn adopt(&mut self, reign: &Reign, council: &[Member], now: Duration) {
        let is_later = goes_before(reign.epoch, self.council_epoch) || self.council.is_empty();
        let follows = matches!(self.role, Role::Following { .. });
        if is_later && !follows && !council.is_empty() && line::is_sound(council) {
            self.set_council(council);
            self.council_epoch = reign.epoch;
            // Those who have agreed to a claim were asked as members of another one.
            if self.round.is_some() {
                self.hold_off(now);
            }
        }
    }
}

fn is_far_below(epoch: u64, other: u64) -> bool {
    epoch < other && goes_before(epoch, other)
}
