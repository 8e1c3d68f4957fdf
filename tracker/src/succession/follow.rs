//! A node and the tracker that it follows, has lost, or looks for.

use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::limits::RECONNECT_PAUSE;
use shoal_common::protocol::succession::{Inquiry, Member, Reign};

use super::line::is_sound;
use super::{Asked, Effect, GRACE_LOST, MEET, PROBE, Role, SELDOM, STEP, Succession, Way, Why};

/// Tries to register, one at a time.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Where it is tried at the moment.
    target: Option<Way>,
    /// Whether a tracker was found there, alive.
    pub(super) found: bool,
    /// When the next one is due.
    at: Duration,
    pause: Duration,
    /// How often this node was sent elsewhere since it last waited, or stayed.
    hops: usize,
    /// Whose turn it is.
    turn: usize,
    /// Of a tracker: whether it is its own guest.
    settled: bool,
}

impl Attempt {
    pub(super) fn due(&self) -> Duration {
        if self.target.is_some() || self.settled { Duration::MAX } else { self.at }
    }
}

/// Most redirects that are followed without a pause.
const MAX_HOPS: usize = 4;

/// Others that are asked at once whether they know a tracker: of those in line and the
/// ways in, and of those that were met otherwise, so many each.
pub const PROBES: usize = 2;

/// Nodes that are here by whatever they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// Any.
    Anyone,
    /// Those that the tracker does not know: they may have another one.
    Strangers,
}

impl Succession {
    /// A tracker has taken this node in, under that reign. Returns whether it is
    /// to be believed; else the node had better hang up.
    pub fn registered(
        &mut self,
        reign: &Reign,
        council: &[Member],
        joined: u64,
        now: Duration,
    ) -> bool {
        self.wake(now);
        if reign.epoch == 0 || !is_sound(council) {
            return false;
        }
        if self.role == Role::Reigning {
            let is_own = reign.tracker == self.us.id;
            self.attempt.target = None;
            self.attempt.settled = is_own;
            if is_own {
                self.joined = joined;
            }
            return is_own;
        }
        self.joined = joined;
        self.role = Role::Following { heard: now };
        self.since = now;
        self.round = None;
        self.effects.retain(|effect| !matches!(effect, Effect::Follow(_)));
        // Whether it is a tracker that keeps its nodes is not known yet.
        let Attempt { pause, hops, .. } = self.attempt;
        self.attempt = Attempt { pause, hops, ..Attempt::default() };
        self.timers.look = now + self.chance.about(MEET * SELDOM);
        self.told(Some(reign), Some(council), now)
    }

    /// The tracker says something; perhaps that its reign or its council has
    /// changed. Returns whether it is to be believed.
    pub fn told(
        &mut self,
        reign: Option<&Reign>,
        council: Option<&[Member]>,
        now: Duration,
    ) -> bool {
        let Role::Following { heard } = &mut self.role else {
            return true;
        };
        *heard = now;
        self.wake(now);
        if let Some(reign) = reign {
            if reign.epoch == 0 {
                return false;
            }
            self.known = Some(*reign);
            if self.is_astray(reign.epoch) {
                self.come_down(reign.epoch);
            }
            self.base = reign.epoch;
            (self.bid, self.heard) = (0, 0);
        }
        if let Some(council) = council {
            if !is_sound(council) {
                return false;
            }
            // A home tracker that has forgotten it asks the nodes.
            if !council.is_empty() {
                self.set_council(council);
                self.council_epoch = self.base;
            }
        }
        true
    }

    /// The connection to the tracker is broken, or it was silent for two
    /// heartbeat intervals.
    pub fn lost(&mut self, silent: bool, now: Duration) {
        self.wake(now);
        match self.role {
            Role::Following { .. } => {
                let lasted = self.has_lasted(now);
                let pause = self.attempt.pause;
                self.seek(if silent { Duration::ZERO } else { GRACE_LOST }, now);
                if !lasted {
                    self.attempt.pause = pause;
                    self.failed(now);
                }
            }
            Role::Reigning => self.failed(now),
            Role::Outside | Role::Seeking => {}
        }
    }

    /// Whether it has followed its tracker for some time.
    fn has_lasted(&self, now: Duration) -> bool {
        let follows = matches!(self.role, Role::Following { .. });
        follows && now > self.since + 2 * self.heartbeat
    }

    /// A try to register has failed.
    pub fn failed(&mut self, now: Duration) {
        // It was called away to this one just when another had taken it in.
        if matches!(self.role, Role::Following { .. }) {
            self.seek(GRACE_LOST, now);
        }
        // A tracker that was restarted has everyone again within a heartbeat.
        let longest = RECONNECT_PAUSE.1.min(self.heartbeat / 2).max(RECONNECT_PAUSE.0);
        let pause = self.attempt.pause.clamp(RECONNECT_PAUSE.0, longest);
        let at = now + self.chance.at_most(pause.min(self.heartbeat / 2));
        let turn = self.attempt.turn;
        self.attempt = Attempt { at, pause: pause * 2, turn, ..Attempt::default() };
    }

    /// Who was asked to take this node in is no tracker, or no more, and knows of
    /// that one.
    pub fn elsewhere(&mut self, reign: Option<&Reign>, now: Duration) {
        if self.role == Role::Reigning {
            return self.failed(now);
        }
        let hops = if self.has_lasted(now) { 1 } else { self.attempt.hops + 1 };
        self.lost(false, now);
        self.failed(now);
        let other = reign.filter(|reign| reign.tracker != self.us.id && hops <= MAX_HOPS);
        if let Some(reign) = other {
            self.attempt.hops = hops;
            self.follow(Way::At(reign.address));
        }
    }

    /// Looks for a tracker from now on; its turn to claim comes after `grace`.
    pub(super) fn seek(&mut self, grace: Duration, now: Duration) {
        self.role = Role::Seeking;
        self.since = now;
        self.round = None;
        self.contested = 0;
        self.put_off = 0;
        let turn = STEP * self.position() + self.chance.up_to(STEP / 2);
        self.timers.claim = now + grace + turn;
        self.timers.probe = now + PROBE.0;
        self.timers.pause = PROBE.0;
        let (pause, turn) = (RECONNECT_PAUSE.0, 0);
        let at = now + self.chance.at_most(pause);
        self.attempt = Attempt { at, pause, turn, ..Attempt::default() };
    }

    /// There is that tracker, alive.
    pub(super) fn join(&mut self, reign: &Reign) {
        self.round = None;
        self.follow(Way::At(reign.address));
        self.attempt.found = true;
    }

    /// There is a better tracker than the one this node follows, to which it goes
    /// back if that one does not take it in.
    pub(super) fn move_to(&mut self, reign: &Reign, now: Duration) {
        if let Some(before) = self.known.filter(|before| !before.is(reign)) {
            // That it hears of the better one, too.
            let told = Inquiry { reign: Some(*reign), council: Vec::new(), claim: None };
            let asked = Asked { to: Way::At(before.address), why: Why::Look };
            self.effects.push(Effect::Ask(asked, Box::new(told)));
        }
        self.seek(GRACE_LOST, now);
        self.join(reign);
    }

    pub(super) fn follow(&mut self, way: Way) {
        // One that is under way is not begun again.
        if !self.us.home && self.attempt.target != Some(way) {
            self.attempt.target = Some(way);
            self.effects.push(Effect::Follow(way));
        }
    }

    /// A tracker is among its own guests, so that it is in its own list.
    pub(super) fn be_own_guest(&mut self, now: Duration) {
        let address = self.address.filter(|_| !self.us.home && now >= self.attempt.due());
        if let Some(address) = address {
            self.follow(Way::At(address));
        }
    }

    pub(super) fn try_to_register(&mut self, now: Duration) {
        if now < self.attempt.due() {
            return;
        }
        let known = self.known.filter(|reign| reign.tracker != self.us.id);
        let known = known.map(|reign| Way::At(reign.address));
        let ways: Vec<Way> = known.into_iter().chain(self.ways_in()).collect();
        let turn = self.attempt.turn;
        self.attempt.turn = turn.wrapping_add(1);
        match ways.get(turn % ways.len().max(1)) {
            Some(way) => self.follow(*way),
            None => self.failed(now),
        }
    }

    /// What this node was told at its start.
    pub(super) fn ways_in(&self) -> impl Iterator<Item = Way> + use<> {
        let home = self.us.knows_home.then_some(Way::Home);
        home.into_iter().chain((0..self.us.peers).map(Way::Peer))
    }

    /// Asks a few whether they know a tracker.
    pub(super) fn probe(&mut self, now: Duration) {
        if now < self.timers.probe {
            return;
        }
        let pause = self.timers.pause;
        self.timers.probe = now + self.chance.about(pause);
        self.timers.pause = (pause * 2).min(PROBE.1);
        let lost = self.known.filter(|reign| reign.tracker != self.us.id);
        let lost = lost.map(|reign| Way::At(reign.address));
        let home = self.us.knows_home.then_some(Way::Home);
        let mut ways: Vec<Way> = home.into_iter().chain(lost).collect();
        ways.extend(self.next_of(&self.others(), PROBES));
        // Whoever is in the network by exchange alone has no other way to a tracker.
        ways.extend(mem::take(&mut self.met).into_iter().take(PROBES).map(Way::At));
        self.look(&ways);
    }

    /// Whom it asks now how they stand with a tracker, beside those that it knows itself.
    pub fn is_to_meet(&self, now: Duration) -> Option<Met> {
        match self.role {
            Role::Outside | Role::Seeking => (now >= self.timers.probe).then_some(Met::Anyone),
            Role::Following { .. } => {
                (now >= self.timers.look && self.is_in_council()).then_some(Met::Strangers)
            }
            Role::Reigning => None,
        }
    }

    /// Some nodes that are here, see [`Succession::is_to_meet`].
    pub fn set_met(&mut self, met: Vec<SocketAddr>) {
        self.met = met;
    }

    /// Asks them how they stand, each once.
    pub(super) fn look(&mut self, ways: &[Way]) {
        for way in distinct(ways) {
            self.ask(way, Why::Look, None);
        }
    }

    /// The next few of these whose turn it is.
    pub(super) fn next_of(&mut self, ways: &[Way], count: usize) -> Vec<Way> {
        let begin = self.turn % ways.len().max(1);
        self.turn = self.turn.wrapping_add(count);
        ways.iter().cycle().skip(begin).take(count.min(ways.len())).copied().collect()
    }

    /// A follower in the council looks whether the home tracker is back, and whether
    /// those that its tracker does not know have another one. Also where it follows a home
    /// tracker: there may be two.
    pub(super) fn look_seldom(&mut self, now: Duration) {
        if now < self.timers.look {
            return;
        }
        self.timers.look = now + self.chance.about(MEET * SELDOM);
        if self.is_in_council() {
            let home = self.us.knows_home.then_some(Way::Home);
            let met = mem::take(&mut self.met).into_iter().take(PROBES).map(Way::At);
            let ways: Vec<Way> = home.into_iter().chain(met).collect();
            self.look(&ways);
        }
    }
}

/// Each once, in order.
pub(super) fn distinct(ways: &[Way]) -> Vec<Way> {
    let is_first = |(place, way): &(usize, &Way)| !ways.iter().take(*place).any(|w| w == *way);
    ways.iter().enumerate().filter(is_first).map(|(_, way)| *way).collect()
}
