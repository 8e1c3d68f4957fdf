//! One that is no part of the network and says what is not true; also that it is the
//! tracker, and then it takes nodes in.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::limits::COUNCIL;
use shoal_common::protocol::succession::{Inquiry, Member, Reign, Sight, Standing};

use super::super::{Asked, Way, Why};
use super::entity::{BEAT, Message, address};
use super::world::World;

/// Where nobody answers.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 9], 999).into()
}

fn liar(number: u8) -> NodeId {
    NodeId::from_bytes([100 + number; 32])
}

/// Where it is, and what it pretends.
#[derive(Debug, Default)]
pub(super) struct Liar {
    pub(super) index: usize,
    /// The reign that it says is its own, while it listens.
    reign: Option<Reign>,
    council: Vec<Member>,
    beat: Duration,
    /// Who is registered with it: where, and in which session.
    guests: Vec<(usize, u64)>,
    /// Whether those who call it now hear nothing, not even that nobody listens.
    is_silent: bool,
    /// Whether it has ever asked for heartbeats so seldom that it is missed late.
    pub(super) is_slow: bool,
    /// Whether it tells of epochs so far above that the epochs may begin anew.
    pub(super) is_far: bool,
}

impl Liar {
    pub(super) fn new(index: usize, is_far: bool) -> Self {
        Self { index, is_far, ..Self::default() }
    }
}

impl World {
    /// Says something to somebody: as a question, or as the answer to one; or as the
    /// tracker.
    pub(super) fn lie(&mut self) {
        let count = self.count();
        let index = self.below(count);
        if !self.entities[index].runs() {
            return;
        }
        if self.below(2) == 0 {
            return self.lie_in_office(index);
        }
        let reign = self.false_reign(index);
        let council = self.false_council();
        if self.below(2) == 0 {
            let claim = if self.below(2) == 0 { Some(reign) } else { None };
            self.lie_as_a_question(index, Inquiry { reign: Some(reign), council, claim });
        } else {
            let sights = [Sight::Reigns, Sight::Doubts, Sight::Hears, Sight::Seeks];
            let sight = sights[self.below(sights.len())];
            let promised = if self.below(2) == 0 { reign.epoch } else { 0 };
            let (agrees, joined) = (self.below(2) == 0, 1);
            let reign = Some(reign);
            let standing = Standing { reign, sight, agrees, promised, joined, council };
            self.say(|| format!("{index} is answered: {standing:?}"));
            let asked = Asked { to: Way::At(nowhere()), why: Why::Look };
            let now = self.now;
            self.entities[index].machine.answered(asked, Some((liar(0), &standing)), now);
            self.follow_up(index);
        }
    }

    fn lie_as_a_question(&mut self, index: usize, inquiry: Inquiry) {
        self.say(|| format!("{index} is lied to: {inquiry:?}"));
        self.entities[index].machine.asked(&inquiry, self.now);
        self.follow_up(index);
    }

    /// A reign that does not exist; perhaps of one that does.
    fn false_reign(&mut self, index: usize) -> Reign {
        let known = self.entities[index].machine.known().map_or(0, |reign| reign.epoch);
        let near = [0, 1, 2, 32, 1000, 1 << 20];
        let leaps = [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40];
        let ends = [1, 1 << 33, 1 << 50, (1 << 62) - 1, 1 << 62, u64::MAX - 1, u64::MAX];
        let is_far = self.liar.as_ref().is_some_and(|liar| liar.is_far);
        let kinds = if is_far { 3 } else { 1 };
        let epoch = match self.below(kinds) {
            0 => known.saturating_add(near[self.below(near.len())]),
            1 => known.saturating_add(leaps[self.below(leaps.len())]),
            _ => ends[self.below(ends.len())],
        };
        let (count, whose) = (self.count(), self.below(3));
        let other = self.below(count);
        let (tracker, address) = match whose {
            0 => (self.entities[other].id, address(other)),
            1 => (liar(0), address(other)),
            _ => (liar(0), nowhere()),
        };
        let (home, elected) = (self.below(2) == 0, self.below(4) > 0);
        let joined = self.below(3) as u64;
        Reign { epoch, tracker, address, home, joined, elected }
    }

    fn false_council(&mut self) -> Vec<Member> {
        (0..u8::try_from(self.below(COUNCIL + 1)).unwrap())
            .map(|number| Member { id: liar(number), joined: number.into(), address: nowhere() })
            .collect()
    }

    // As the tracker -------------------------------------------------------

    fn lie_in_office(&mut self, index: usize) {
        let reign = self.false_reign(index);
        let council = self.false_council();
        let beats = [Duration::from_millis(100), BEAT, BEAT, 60 * BEAT, 3600 * BEAT];
        let beat = beats[self.below(beats.len())];
        let (leaves, is_silent) = (self.below(3) == 0, self.below(2) == 0);
        let Some(liar) = &mut self.liar else { return };
        if liar.reign.is_some() && leaves {
            return self.leave(is_silent);
        }
        let (tracker, address) = (self.entities[liar.index].id, address(liar.index));
        let reign = Reign { tracker, address, ..reign };
        liar.is_slow |= beat > BEAT;
        (liar.reign, liar.council, liar.beat) = (Some(reign), council, beat);
        liar.is_silent = false;
        let guests = liar.guests.clone();
        self.say(|| format!("a false tracker reigns {reign:?}"));
        for (to, session) in guests {
            self.tell_a_lie(to, session);
        }
        for index in 0..self.count() {
            if self.entities[index].runs() && self.below(2) == 0 {
                let inquiry = Inquiry { reign: Some(reign), council: vec![], claim: None };
                self.lie_as_a_question(index, inquiry);
            }
        }
    }

    /// Serves no more; its nodes find out, now or when they have heard nothing for long.
    pub(super) fn leave(&mut self, is_silent: bool) {
        let Some(liar) = &mut self.liar else { return };
        let index = liar.index;
        (liar.reign, liar.is_silent) = (None, is_silent);
        let guests = std::mem::take(&mut liar.guests);
        self.say(|| format!("the false tracker is gone, silent: {is_silent}"));
        for (to, session) in guests.into_iter().filter(|_| !is_silent) {
            self.send(index, to, Message::Broken { session });
        }
    }

    fn tell_a_lie(&mut self, to: usize, session: u64) {
        let Some(liar) = &self.liar else { return };
        let (index, council) = (liar.index, liar.council.clone());
        if let Some(reign) = liar.reign {
            self.send(index, to, Message::Told { session, reign, council, line: vec![] });
        }
    }

    /// Somebody says something to the false tracker. Returns whether anybody listens.
    pub(super) fn pretend(&mut self, message: &Message) -> bool {
        let number = [0, 1, 1 << 40][self.below(3)];
        let Some(liar) = &mut self.liar else { return false };
        let Some(reign) = liar.reign else { return liar.is_silent };
        let (index, council, beat) = (liar.index, liar.council.clone(), liar.beat);
        match message {
            Message::Question { from, life, ticket, .. } if self.entities[*from].life == *life => {
                let (sight, agrees, promised) = (Sight::Reigns, true, reign.epoch);
                let reign = Some(reign);
                let standing = Standing { reign, sight, agrees, promised, joined: 1, council };
                let answer = Some((self.entities[index].id, standing));
                self.send(index, *from, Message::Answer { ticket: *ticket, answer });
            }
            Message::Register { from, life, session, member, .. }
                if self.entities[*from].life == *life =>
            {
                liar.guests.push((*from, *session));
                let (session, joined) = (*session, member.joined.max(number));
                let line = vec![];
                let taken_in = Message::Registered { session, reign, joined, council, line, beat };
                self.send(index, *from, taken_in);
            }
            Message::Beat { from, session } => self.tell_a_lie(*from, *session),
            _ => {}
        }
        true
    }
}
