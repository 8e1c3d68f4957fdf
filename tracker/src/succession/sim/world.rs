//! The network between the entities, and time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::protocol::succession::{Member, Reign};

use super::super::chance::Chance;
use super::super::{ANSWER_DEADLINE, Effect, Way, Welcome};
use super::entity::{BEAT, Entity, Guest, Message, Session};

pub(super) const HOME: usize = 0;

/// How long a try to register may take.
const TRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Mail {
    to: usize,
    life: u32,
    message: Message,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) entities: Vec<Entity>,
    /// Who is on the same island can reach each other.
    pub(super) islands: Vec<usize>,
    /// How many of a hundred messages are lost.
    pub(super) loss: u64,
    /// Longest delay.
    pub(super) delay: Duration,
    pub(super) chance: Chance,
    pub(super) aloud: bool,
    /// Who was elected, by epoch and council.
    elected: BTreeMap<(u64, Vec<(NodeId, u64)>), Reign>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    mails: BTreeMap<u64, Mail>,
    numbers: u64,
    /// When the last message between two arrives: they do not overtake.
    last: BTreeMap<(usize, usize), Duration>,
}

impl World {
    pub(super) fn new(entities: Vec<Entity>, chance: Chance, aloud: bool) -> Self {
        Self {
            now: Duration::ZERO,
            islands: vec![0; entities.len()],
            entities,
            loss: 0,
            delay: Duration::from_millis(30),
            chance,
            aloud,
            elected: BTreeMap::new(),
            queue: BinaryHeap::new(),
            mails: BTreeMap::new(),
            numbers: 0,
            last: BTreeMap::new(),
        }
    }

    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        if self.aloud {
            println!("{:>9.3} {}", self.now.as_secs_f64(), line());
        }
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u32::try_from(bound).unwrap();
        usize::try_from(self.chance.up_to(Duration::from_micros(bound.into())).as_micros()).unwrap()
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let mail = self.queue.peek().map(|Reverse((at, number))| (*at, *number));
            let running = self.entities.iter().filter(|entity| entity.runs());
            let due = running.map(|entity| (entity.due(), entity.index)).min();
            let next = mail.map(|(at, _)| at).into_iter().chain(due.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            match (mail, due) {
                (Some((at, number)), _) if at == next => {
                    self.queue.pop();
                    let mail = self.mails.remove(&number).unwrap();
                    self.arrive(mail);
                }
                (_, Some((_, index))) => self.timers(index),
                _ => {}
            }
        }
        self.now = end;
    }

    // Network --------------------------------------------------------------

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.islands[from] == self.islands[to]
    }

    /// Puts a message on its way, unless the network loses it.
    fn send(&mut self, from: usize, to: usize, message: Message) {
        if !self.reaches(from, to) {
            return;
        }
        let mut delay = Duration::from_millis(1) + self.chance.up_to(self.delay);
        if self.below(100) < usize::try_from(self.loss).unwrap() {
            match message {
                Message::Question { .. } | Message::Answer { .. } => return,
                // TCP sends it again.
                _ => delay += self.chance.up_to(Duration::from_millis(1200)),
            }
        }
        let last = self.last.entry((from, to)).or_default();
        *last = (*last).max(self.now + delay);
        let at = *last;
        self.post(at, to, message);
    }

    fn post(&mut self, at: Duration, to: usize, message: Message) {
        self.numbers += 1;
        self.queue.push(Reverse((at, self.numbers)));
        let life = self.entities[to].life;
        self.mails.insert(self.numbers, Mail { to, life, message });
    }

    fn arrive(&mut self, mail: Mail) {
        let entity = &mut self.entities[mail.to];
        if !entity.alive || entity.life != mail.life {
            self.bounce(mail);
        } else if entity.paused {
            entity.inbox.push(mail.message);
        } else {
            self.receive(mail.to, mail.message);
        }
    }

    /// Nobody listens there any more, and the system says so.
    fn bounce(&mut self, mail: Mail) {
        match mail.message {
            Message::Question { from, life, ticket, .. } if self.entities[from].life == life => {
                self.send(mail.to, from, Message::Answer { ticket, answer: None });
            }
            Message::Register { from, session, life, .. } if self.entities[from].life == life => {
                self.send(mail.to, from, Message::Broken { session });
            }
            Message::Beat { from, session } => {
                self.send(mail.to, from, Message::Broken { session });
            }
            _ => {}
        }
    }

    // Entities -------------------------------------------------------------

    pub(super) fn kill(&mut self, index: usize) {
        self.say(|| format!("{index} is killed"));
        let entity = &mut self.entities[index];
        entity.alive = false;
        entity.paused = false;
        let session = entity.session;
        let guests: Vec<Guest> = entity.guests.values().copied().collect();
        if let Session::Open { number, with, .. } = session {
            self.send(index, with, Message::Gone { from: index, session: number });
        }
        for (guest, session) in guests.into_iter().filter_map(|guest| guest.session) {
            self.send(index, guest, Message::Broken { session });
        }
    }

    pub(super) fn start(&mut self, index: usize) {
        self.say(|| format!("{index} starts"));
        let seed = self.below(1 << 30) as u64;
        let now = self.now;
        self.entities[index].start(index == HOME, seed, now);
    }

    pub(super) fn pause(&mut self, index: usize) {
        self.say(|| format!("{index} stands still"));
        self.entities[index].paused = true;
    }

    pub(super) fn go_on(&mut self, index: usize) {
        self.say(|| format!("{index} goes on"));
        let now = self.now;
        let entity = &mut self.entities[index];
        entity.paused = false;
        for guest in entity.guests.values_mut() {
            guest.until = guest.until.max(now + BEAT);
        }
        for message in std::mem::take(&mut entity.inbox) {
            self.receive(index, message);
        }
    }

    fn timers(&mut self, index: usize) {
        let now = self.now;
        let entity = &mut self.entities[index];
        match entity.session {
            Session::Trying { until, .. } if now >= until => {
                entity.session = Session::None;
                entity.machine.failed(now);
            }
            Session::Open { heard, .. } if now >= heard + 2 * BEAT => {
                entity.session = Session::None;
                entity.machine.lost(true, now);
            }
            Session::Open { number, with, beat, heard } if now >= beat => {
                entity.session = Session::Open { number, with, heard, beat: now + BEAT };
                self.send(index, with, Message::Beat { from: index, session: number });
            }
            _ => {}
        }
        let entity = &mut self.entities[index];
        if entity.guests.values().any(|guest| guest.until <= now) {
            entity.guests.retain(|_, guest| guest.until > now);
            self.present(index);
        }
        self.entities[index].machine.tick(now);
        self.follow_up(index);
    }

    fn receive(&mut self, index: usize, message: Message) {
        let now = self.now;
        let entity = &mut self.entities[index];
        match message {
            Message::Question { from, life, ticket, inquiry } => {
                let standing = entity.machine.asked(&inquiry, now);
                let answer = Some((entity.id, standing));
                if self.entities[from].life == life {
                    self.send(index, from, Message::Answer { ticket, answer });
                }
            }
            Message::Answer { ticket, answer } => {
                if let Some(asked) = entity.pending.remove(&ticket) {
                    let answer = answer.as_ref().map(|(from, standing)| (*from, standing));
                    entity.machine.answered(asked, answer, now);
                }
            }
            Message::Late { ticket } => {
                if let Some(asked) = entity.pending.remove(&ticket) {
                    entity.machine.answered(asked, None, now);
                }
            }
            Message::Register { from, life, session, member, knows } => {
                if self.entities[from].life == life {
                    self.register(index, from, session, member, knows);
                }
            }
            Message::Registered { session, reign, joined, council, line } => {
                if let Session::Trying { number, with, .. } = entity.session
                    && number == session
                {
                    entity.session =
                        Session::Open { number, with, heard: now, beat: now + BEAT };
                    entity.roster = line.clone();
                    assert!(entity.machine.registered(&reign, &council, joined, now));
                    entity.machine.set_line(line);
                }
            }
            Message::Told { session, reign, council, line } => {
                if let Session::Open { number, heard, .. } = &mut entity.session
                    && *number == session
                {
                    *heard = now;
                    entity.roster = line.clone();
                    assert!(entity.machine.told(Some(&reign), Some(&council), now));
                    entity.machine.set_line(line);
                }
            }
            Message::Elsewhere { session, reign } => match entity.session {
                Session::Trying { number, .. } | Session::Open { number, .. }
                    if number == session =>
                {
                    entity.session = Session::None;
                    entity.machine.elsewhere(reign.as_ref(), now);
                }
                _ => {}
            },
            Message::Broken { session } => match entity.session {
                Session::Trying { number, .. } if number == session => {
                    entity.session = Session::None;
                    entity.machine.failed(now);
                }
                Session::Open { number, .. } if number == session => {
                    entity.session = Session::None;
                    entity.machine.lost(false, now);
                }
                _ => {}
            },
            Message::Beat { from, session } => self.beat(index, from, session),
            Message::Gone { from, session } => {
                for guest in entity.guests.values_mut() {
                    if guest.session == Some((from, session)) {
                        guest.session = None;
                        guest.until = now + BEAT;
                    }
                }
            }
        }
        self.follow_up(index);
    }

    // Tracker --------------------------------------------------------------

    fn register(
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
                let joined = entity.number(&member);
                let member = Member { joined, ..member };
                let guest = Guest { member, session: Some((from, session)), until: now + 2 * BEAT };
                entity.guests.insert(member.id, guest);
                self.present(index);
                let entity = &self.entities[index];
                let (line, council) = (entity.line(), entity.machine.council().to_vec());
                let reign = entity.machine.known().unwrap();
                let message = Message::Registered { session, reign, joined, council, line };
                self.send(index, from, message);
            }
        }
    }

    fn beat(&mut self, index: usize, from: usize, session: u64) {
        let now = self.now;
        let entity = &mut self.entities[index];
        let guest =
            entity.guests.values_mut().find(|guest| guest.session == Some((from, session)));
        let Some(guest) = guest else {
            return self.send(index, from, Message::Broken { session });
        };
        guest.until = now + 2 * BEAT;
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
    fn present(&mut self, index: usize) {
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
    fn follow_up(&mut self, index: usize) {
        for effect in self.entities[index].machine.take_effects() {
            match effect {
                Effect::Ask(asked, inquiry) => {
                    self.numbers += 1;
                    let ticket = self.numbers;
                    self.entities[index].pending.insert(ticket, asked);
                    let life = self.entities[index].life;
                    if let Some(to) = self.find(index, asked.to) {
                        let message = Message::Question { from: index, life, ticket, inquiry };
                        self.send(index, to, message);
                    }
                    self.post(self.now + ANSWER_DEADLINE, index, Message::Late { ticket });
                }
                Effect::Follow(way) => {
                    if let Some(to) = self.find(index, way) {
                        self.try_at(index, to);
                    }
                }
                Effect::Reign(reign) => self.reign(index, reign),
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
        let entity = &mut self.entities[index];
        if reign.elected {
            let council = entity.machine.council().iter();
            let key = (reign.epoch, council.map(|member| (member.id, member.joined)).collect());
            let before = *self.elected.entry(key).or_insert(reign);
            assert!(before.is(&reign), "elected by one council: {before:?} and {reign:?}");
        }
        if entity.guests.is_empty() {
            let highest = entity.roster.iter().map(|member| member.joined).max();
            entity.numbers = highest.unwrap_or(0).max(entity.machine.joined());
            for member in entity.roster.clone() {
                let guest = Guest { member, session: None, until: now + 2 * BEAT };
                entity.guests.insert(member.id, guest);
            }
        }
        self.present(index);
        self.tell_all(index);
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
            Way::At(at) => Some(usize::from(at.port() - 1000)),
        }
    }
}
