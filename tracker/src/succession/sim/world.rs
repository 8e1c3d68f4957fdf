//! The network between the entities, and time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::limits::HEARTBEATS;
use shoal_common::protocol::succession::{Reign, Sight};

use super::super::chance::Chance;
use super::entity::{Entity, Guest, Message, Session};
use super::lies::Liar;

pub(super) const HOME: usize = 0;

/// How long a try to register may take.
pub(super) const TRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Mail {
    to: usize,
    life: u32,
    message: Message,
}

/// The members of a council: ids and join numbers.
pub(super) type Council = Vec<(NodeId, u64)>;

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
    pub(super) elected: BTreeMap<(u64, Council), Reign>,
    /// The council when the network was cut, while it is.
    pub(super) cut: Option<Vec<NodeId>>,
    /// Who is no part of the network and says that it is its tracker.
    pub(super) liar: Option<Liar>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    mails: BTreeMap<u64, Mail>,
    pub(super) numbers: u64,
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
            cut: None,
            liar: None,
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
        let mut stuck = (self.now, 0);
        loop {
            stuck = if stuck.0 == self.now { (self.now, stuck.1 + 1) } else { (self.now, 0) };
            assert!(stuck.1 < 10_000, "time stands still");
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

    /// How many there are: the home tracker and the nodes.
    pub(super) fn count(&self) -> usize {
        self.entities.len() - usize::from(self.liar.is_some())
    }

    // Network --------------------------------------------------------------

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.islands[from] == self.islands[to]
    }

    /// Puts a message on its way, unless the network loses it.
    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
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

    pub(super) fn post(&mut self, at: Duration, to: usize, message: Message) {
        self.numbers += 1;
        self.queue.push(Reverse((at, self.numbers)));
        let life = self.entities[to].life;
        self.mails.insert(self.numbers, Mail { to, life, message });
    }

    fn arrive(&mut self, mail: Mail) {
        if self.liar.as_ref().is_some_and(|liar| liar.index == mail.to) {
            if self.pretend(&mail.message) {
                return;
            }
            return self.bounce(mail);
        }
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
        let beat = entity.machine.heartbeat();
        for guest in entity.guests.values_mut() {
            guest.until = guest.until.max(now + beat);
        }
        for message in std::mem::take(&mut entity.inbox) {
            self.receive(index, message);
        }
    }

    fn timers(&mut self, index: usize) {
        let now = self.now;
        let entity = &mut self.entities[index];
        let wanted = entity.beats.1;
        match entity.session {
            Session::Trying { until, .. } if now >= until => {
                entity.session = Session::None;
                entity.machine.failed(now);
            }
            Session::Open { heard, .. } if now >= heard + 2 * wanted => {
                entity.session = Session::None;
                entity.machine.lost(true, now);
            }
            Session::Open { number, with, beat, heard } if now >= beat => {
                entity.session = Session::Open { number, with, heard, beat: now + wanted };
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
        self.say(|| format!("{index} <- {message:?}"));
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
            Message::Registered { session, reign, joined, council, line, beat } => {
                if let Session::Trying { number, with, .. } = entity.session
                    && number == session
                {
                    entity.beats.1 = beat.clamp(HEARTBEATS.0, HEARTBEATS.1);
                    let beat = now + entity.beats.1;
                    entity.session = Session::Open { number, with, heard: now, beat };
                    entity.roster = line.clone();
                    if entity.machine.registered(&reign, &council, joined, now) {
                        entity.machine.set_heartbeat(entity.beats.1);
                        entity.machine.set_line(line);
                    } else {
                        entity.session = Session::None;
                        // Or it was elected meanwhile.
                        if entity.machine.sight(now) != Sight::Reigns {
                            entity.machine.failed(now);
                        }
                    }
                }
            }
            Message::Told { session, reign, council, line } => {
                if let Session::Open { number, heard, .. } = &mut entity.session
                    && *number == session
                {
                    *heard = now;
                    entity.roster = line.clone();
                    if entity.machine.told(Some(&reign), Some(&council), now) {
                        entity.machine.set_line(line);
                    } else {
                        entity.session = Session::None;
                        entity.machine.lost(false, now);
                    }
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
                        guest.until = now + entity.machine.heartbeat();
                    }
                }
            }
        }
        self.follow_up(index);
    }
}
