//! What the entities do: as trackers, and what their machines want.

use shoal_common::protocol::succession::{Member, Reign};

use super::super::{ANSWER_DEADLINE, Effect, Way, Welcome};
use super::entity::{Guest, Message, Session};
use super::world::{HOME, TRY, World};

impl World {
    // Tracker --------------------------------------------------------------

    pub(super) fn register(
        &mut self,
        index: usize,
        from: usize,
        session: u64,
        member: Member,
        knows: Option<Reign>,
    ) {
        let now = self.now;
        let entity = &mut self.entities[index];
        match entity.machine.registers(knows.as_ref(), member.address, now) {
            Welcome::Elsewhere(reign) => {
                self.send(index, from, Message::Elsewhere { session, reign });
            }
            Welcome::Here => {
                let joined = entity.number(&member, now);
                let member = Member { joined, ..member };
                let beat = entity.machine.heartbeat();
                let guest = Guest { member, session: Some((from, session)), until: now + 2 * beat };
                entity.guests.insert(member.id, guest);
                self.present(index);
                let entity = &self.entities[index];
                let (line, council) = (entity.line(), entity.machine.council().to_vec());
                let reign = entity.machine.known().unwrap();
                let message = Message::Registered { session, reign, joined, council, line, beat };
                self.send(index, from, message);
            }
        }
    }

    pub(super) fn beat(&mut self, index: usize, from: usize, session: u64) {
        let now = self.now;
        let entity = &mut self.entities[index];
        let guest = entity.guests.values_mut().find(|guest| guest.session == Some((from, session)));
        let Some(guest) = guest else {
            return self.send(index, from, Message::Broken { session });
        };
        guest.until = now + 2 * entity.machine.heartbeat();
        if entity.machine.may_answer(now) {
            self.tell(index, from, session);
        }
    }

    fn tell(&mut self, index: usize, to: usize, session: u64) {
        let entity = &self.entities[index];
        let (line, council) = (entity.line(), entity.machine.council().to_vec());
        let reign = entity.machine.known().unwrap();
        self.send(index, to, Message::Told { session, reign, council, line });
    }

    /// Somebody came or left: everyone is told.
    pub(super) fn present(&mut self, index: usize) {
        let now = self.now;
        let entity = &mut self.entities[index];
        let line = entity.line();
        if entity.machine.present(&line, now) && entity.machine.may_answer(now) {
            self.tell_all(index);
        }
    }

    fn tell_all(&mut self, index: usize) {
        let guests: Vec<Guest> = self.entities[index].guests.values().copied().collect();
        for (to, session) in guests.into_iter().filter_map(|guest| guest.session) {
            self.tell(index, to, session);
        }
    }

    // Effects --------------------------------------------------------------

    /// Does what the machine wants.
    pub(super) fn follow_up(&mut self, index: usize) {
        for effect in self.entities[index].machine.take_effects() {
            match effect {
                Effect::Ask(asked, inquiry) => {
                    self.numbers += 1;
                    let ticket = self.numbers;
                    self.entities[index].pending.insert(ticket, asked);
                    let life = self.entities[index].life;
                    if let Some(to) = self.find(index, asked.to) {
                        let message =
                            Message::Question { from: index, life, ticket, inquiry: *inquiry };
                        self.send(index, to, message);
                    }
                    self.post(self.now + ANSWER_DEADLINE, index, Message::Late { ticket });
                }
                Effect::Follow(way) => match self.find(index, way) {
                    Some(to) => self.try_at(index, to),
                    None => self.entities[index].machine.failed(self.now),
                },
                Effect::Reign(reign) => self.reign(index, reign),
                Effect::Publish => self.tell_all(index),
                // Nobody here leaves in order.
                Effect::Resign => self.entities[index].guests.clear(),
                Effect::Yield(reign) => {
                    self.say(|| format!("{index} yields to {reign:?}"));
                    let guests = std::mem::take(&mut self.entities[index].guests);
                    for (to, session) in guests.values().filter_map(|guest| guest.session) {
                        let reign = Some(reign);
                        self.send(index, to, Message::Elsewhere { session, reign });
                    }
                }
            }
        }
    }

    fn reign(&mut self, index: usize, reign: Reign) {
        self.say(|| format!("{index} reigns {reign:?}"));
        let now = self.now;
        let may_begin_anew = self.liar.as_ref().is_some_and(|liar| liar.is_far);
        if reign.elected && !may_begin_anew {
            let council = self.entities[index].machine.council().iter();
            let council = council.map(|member| (member.id, member.joined));
            let key = (reign.epoch, council.collect());
            let before = *self.elected.entry(key).or_insert(reign);
            assert!(before.is(&reign), "elected by one council: {before:?} and {reign:?}");
            self.is_by_a_majority(index);
        }
        let entity = &mut self.entities[index];
        if entity.guests.is_empty() {
            let highest = entity.roster.iter().map(|member| member.joined).max();
            entity.numbers = highest.unwrap_or(0).max(entity.machine.joined());
            let until = now + 2 * entity.machine.heartbeat();
            for member in entity.roster.clone() {
                let guest = Guest { member, session: None, until };
                entity.guests.insert(member.id, guest);
            }
        }
        self.present(index);
        self.tell_all(index);
    }

    /// Nobody is elected by those who were cut off with less than half of the council.
    fn is_by_a_majority(&self, index: usize) {
        let Some(council) = &self.cut else { return };
        let here = self.entities.iter().filter(|entity| {
            self.islands[entity.index] == self.islands[index] && council.contains(&entity.id)
        });
        let here = here.count();
        assert!(here > council.len() / 2, "{index} is elected by {here} of {}", council.len());
    }

    fn try_at(&mut self, index: usize, with: usize) {
        let now = self.now;
        let entity = &mut self.entities[index];
        if let Session::Open { with, number, .. } = entity.session {
            self.send(index, with, Message::Gone { from: index, session: number });
        }
        let entity = &mut self.entities[index];
        entity.sessions += 1;
        let (session, life) = (entity.sessions, entity.life);
        entity.session = Session::Trying { number: session, with, until: now + TRY };
        let member = Member {
            id: entity.id,
            joined: entity.machine.joined(),
            address: super::entity::address(index),
        };
        let knows = entity.machine.known();
        self.send(index, with, Message::Register { from: index, life, session, member, knows });
    }

    fn find(&self, index: usize, way: Way) -> Option<usize> {
        match way {
            Way::Home => Some(HOME),
            Way::Peer(number) => self.entities[index].peers.get(number).copied(),
            Way::At(at) => {
                let index = usize::from(at.port()).checked_sub(1000);
                index.filter(|index| *index < self.entities.len())
            }
        }
    }
}
