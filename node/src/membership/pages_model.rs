//! What a node knows of a tracker's nodes, by pages and by news, while nodes come
//! and go, some sessions are slow, and more happens than is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{CHANGE_LOG, PAGE, PUSH_PAUSES};
use shoal_common::protocol::tracking::{FromTracker, News, Registration, ToTracker};
use shoal_tracker::rehearsal::Rehearsal;
use tokio::time::Instant;

use super::pages::Pages;
use super::roster::Roster;

/// So long that nobody falls silent.
const BEAT: Duration = Duration::from_secs(24 * 3600);

/// Nodes from the beginning on: so many that there are three pages.
const CROWD: u64 = 2 * PAGE as u64 + 50;

const READERS: usize = 3;

#[derive(Debug, Clone)]
enum Event {
    /// So many nodes come, from some number on; some of them again, by another name.
    Come { from: u64, count: u64 },
    /// So many leave.
    Go { from: u64, count: u64 },
    /// More happens than a tracker remembers.
    Storm,
    /// The groups have their turn.
    Turn,
    /// What a session has to say leaves the tracker.
    Push { reader: usize },
    /// A node reads so many messages.
    Read { reader: usize, count: usize },
    /// A node asks for a page if it is time.
    Ask { reader: usize },
    /// What a node asks is not answered.
    Lose { reader: usize },
    /// Time passes.
    Pass { millis: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let reader = 0..READERS;
    let come = (0..2 * CROWD, 1..150_u64).prop_map(|(from, count)| Event::Come { from, count });
    let go = (0..2 * CROWD, 1..150_u64).prop_map(|(from, count)| Event::Go { from, count });
    let read =
        (reader.clone(), 1..4_usize).prop_map(|(reader, count)| Event::Read { reader, count });
    prop_oneof![
        20 => come,
        20 => go,
        1 => Just(Event::Storm),
        30 => Just(Event::Turn),
        20 => reader.clone().prop_map(|reader| Event::Push { reader }),
        30 => read,
        30 => reader.clone().prop_map(|reader| Event::Ask { reader }),
        3 => reader.prop_map(|reader| Event::Lose { reader }),
        20 => (20..200_u64).prop_map(|millis| Event::Pass { millis }),
    ]
}

/// One of the crowd: ids of all parts of the ring, in no order.
fn id(number: u64) -> NodeId {
    let mut bytes = [7; 32];
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[..8].copy_from_slice(&spread.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn register(name: &str) -> ToTracker {
    ToTracker::Register(Registration {
        name: name.parse().unwrap(),
        exact: false,
        search: "10.0.0.1:1".parse().unwrap(),
        download: "10.0.0.1:2".parse().unwrap(),
        reign: None,
        joined: 0,
    })
}

/// A node as it is: what it knows, and when it asks.
struct Reader {
    id: NodeId,
    session: u64,
    roster: Roster,
    pages: Pages,
    /// What is on its way to it, in order.
    coming: VecDeque<Arc<[u8]>>,
    muches: usize,
}

struct World {
    tracker: Rehearsal,
    sessions: BTreeMap<u64, u64>,
    start: Instant,
    now: Instant,
    names: usize,
    readers: Vec<Reader>,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let tracker = Rehearsal::new(BEAT);
        let (sessions, readers) = (BTreeMap::new(), Vec::new());
        let mut world = Self { tracker, sessions, start, now: start, names: 0, readers };
        world.come(0, CROWD);
        for number in 0..READERS as u64 {
            let id = id(1_000_000 + number);
            let session = world.tracker.connect(id);
            let answer = world.tracker.say(session, register("reader")).unwrap().unwrap();
            let FromTracker::Registered(registered) = parse(&answer) else { panic!("refused") };
            let pages = Pages::after(&registered, start);
            let mut roster = Roster::new(id);
            // The tracker has been there for a while.
            roster.registered(registered, start, Duration::ZERO);
            let coming = VecDeque::new();
            world.readers.push(Reader { id, session, roster, pages, coming, muches: 0 });
        }
        world
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Come { from, count } => self.come(from, count),
            Event::Go { from, count } => self.go(from, count),
            Event::Storm => {
                for _ in 0..=CHANGE_LOG as u64 / 100 {
                    self.go(0, 50);
                    self.come(0, 50);
                }
            }
            Event::Turn => {
                self.tracker.turn();
            }
            Event::Push { reader } => self.push(reader),
            Event::Read { reader, count } => self.read(reader, count),
            Event::Ask { reader } => self.ask(reader, true),
            Event::Lose { reader } => self.ask(reader, false),
            Event::Pass { millis } => self.pass(Duration::from_millis(millis)),
        }
    }

    fn come(&mut self, from: u64, count: u64) {
        for number in from..from + count {
            self.names += 1;
            let session = match self.sessions.get(&number) {
                // It is known under another name now, on another connection.
                Some(_) if number % 3 == 0 => self.tracker.connect(id(number)),
                Some(_) => continue,
                None => self.tracker.connect(id(number)),
            };
            let name = format!("n{}", self.names);
            self.tracker.say(session, register(&name)).unwrap().unwrap();
            self.sessions.insert(number, session);
        }
    }

    fn go(&mut self, from: u64, count: u64) {
        for number in from..from + count {
            if let Some(session) = self.sessions.remove(&number) {
                self.tracker.say(session, ToTracker::Exit).unwrap();
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tracker.pass(time);
    }

    fn push(&mut self, reader: usize) {
        let reader = &mut self.readers[reader];
        reader.coming.extend(self.tracker.push(reader.session).unwrap());
    }

    fn ask(&mut self, reader: usize, heard: bool) {
        let reader = &mut self.readers[reader];
        if reader.pages.due().is_some_and(|due| due <= self.now) {
            let after = reader.pages.ask(self.now).unwrap();
            if heard {
                let said = self.tracker.say(reader.session, ToTracker::Page { after }).unwrap();
                reader.coming.extend(said);
            }
        }
    }

    fn read(&mut self, reader: usize, count: usize) {
        let reader = &mut self.readers[reader];
        for _ in 0..count {
            let Some(message) = reader.coming.pop_front() else { return };
            match parse(&message) {
                FromTracker::Page(page) => {
                    if let Some(after) = reader.pages.came(&page, self.now) {
                        reader.roster.page(after, page, self.now);
                    }
                }
                FromTracker::Update(update) => {
                    reader.muches += usize::from(update.news == News::Much);
                    reader.pages.hear(&update, self.now);
                    reader.roster.update(update);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everything is told, all pages are turned, and everyone knows just the others.
    fn settle(&mut self) {
        let mut idle = 0;
        while idle < 2 {
            assert!(self.now < self.start + BEAT, "it never ends");
            let told = self.tracker.turn();
            for reader in 0..READERS {
                self.push(reader);
                self.ask(reader, true);
                self.read(reader, usize::MAX);
            }
            let wanted = self.readers.iter().any(|reader| reader.pages.due().is_some());
            idle = if told || wanted { 0 } else { idle + 1 };
            self.pass(PUSH_PAUSES.0);
        }
        let all = self.tracker.peers();
        for reader in &self.readers {
            let others: Vec<&Peer> = all.iter().filter(|peer| peer.id != reader.id).collect();
            let mut known = reader.roster.peers();
            known.sort_by_key(|peer| peer.id);
            assert_eq!(known.iter().collect::<Vec<_>>(), others);
        }
    }
}

fn parse(message: &[u8]) -> FromTracker {
    rmp_serde::from_slice(message).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pages_and_news_together_say_who_is_here(
        events in proptest::collection::vec(event(), 1..150)
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        world.settle();
    }
}

/// Much is told where more happens than is remembered, and only there.
#[test]
fn a_few_hundred_changes_are_told_and_turn_no_pages() {
    let mut world = World::new();
    world.settle();
    world.go(0, 300);
    world.come(0, 300);
    world.settle();
    assert!(world.readers.iter().all(|reader| reader.muches == 0));
    world.happen(&Event::Storm);
    world.settle();
    assert!(world.readers.iter().all(|reader| reader.muches > 0));
}
