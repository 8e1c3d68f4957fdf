use std::collections::VecDeque;

use shoal_common::chat::entry::{Act, Ballot, ReplicaId};
use shoal_common::chat::words::{RoomName, Text};
use shoal_common::limits::KIB;
use shoal_common::protocol::chat::Summary;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::*;
use crate::chat::unsent::MAX_UNSENT;

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn summary(node: NodeId) -> Summary {
    let replica = ReplicaId { node, incarnation: 1 };
    let (log, last, council) = (None, Ballot::NONE, Vec::new());
    Summary { replica, log, last, end: 0, committed: 0, council }
}

/// A node that agrees to everything, and holds it, or reads nothing.
struct Fake {
    node: NodeId,
    session: u64,
}

impl Fake {
    fn attach(chat: &Chat, number: u8) -> Self {
        let node = node(number);
        let attachment = Attachment { summary: summary(node), knows: None, after: 0 };
        let (session, _) = chat.attach(attachment);
        Self { node, session }
    }

    fn answer(&self, chat: &Chat) {
        for message in chat.to_replica(self.session) {
            let FromChat::Replica { message } = rmp_serde::from_slice(&message).unwrap() else {
                panic!()
            };
            let end = |before: Position, entries: &[_]| before + entries.len() as Position;
            let answer = match message {
                ToReplica::Prepare { ballot } => {
                    FromReplica::Promised { ballot, summary: summary(self.node) }
                }
                ToReplica::Install { ballot, base, entries } => {
                    FromReplica::Holds { ballot, end: end(base.position, &entries) }
                }
                ToReplica::Append { ballot, previous, entries, .. } => {
                    FromReplica::Holds { ballot, end: end(previous, &entries) }
                }
                ToReplica::Fetch { .. } => panic!("it has nothing"),
            };
            chat.hear(self.node, self.session, answer);
        }
    }
}

fn start(names: Names) -> (Chat, Tasks) {
    let tasks = Tasks::new(Handle::current());
    let us = Party::new("test", node(200));
    let settings = Settings { found_pause: Duration::ZERO, ..Settings::default() };
    (Chat::start(&us, 1, settings, names, &tasks), tasks)
}

/// Time passes until so many hold the log.
async fn founded(chat: &Chat, fakes: &[Fake]) {
    for _ in 0..200 {
        sleep(TICK).await;
        fakes.iter().for_each(|fake| fake.answer(chat));
        if chat.standing().writes && chat.standing().council == fakes.len() as u64 {
            return;
        }
    }
    panic!("{:?}", chat.standing());
}

fn event(author: u8, number: u64) -> Event {
    let text = Text::try_from("x".repeat(2000)).unwrap();
    let act = Act::Say { room: RoomName::lobby(), text };
    Event { author: node(author), number, name: "forged".parse().unwrap(), act }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_replica_that_reads_nothing_has_a_bound() {
    let (chat, _tasks) = start(Arc::new(|_| "a".parse().ok()));
    let fakes = [1, 2, 3].map(|number| Fake::attach(&chat, number));
    founded(&chat, &fakes).await;
    // The third holds the log, and reads nothing any more.
    let mut last = 0;
    for _ in 0..60 {
        for _ in 0..20 {
            let mut events: VecDeque<_> = (1..40).map(|n| (0, event(1, last + n))).collect();
            last += events.len() as u64;
            chat.submit(&mut events);
            sleep(TICK).await;
            fakes[..2].iter().for_each(|fake| fake.answer(&chat));
        }
    }
    let waits: usize = chat.to_replica(fakes[2].session).iter().map(|said| said.len()).sum();
    assert!(waits > 0 && waits <= MAX_UNSENT, "{} KiB", waits as u64 / KIB);
}

#[tokio::test]
async fn what_is_refused_for_want_of_room_takes_no_room() {
    let (chat, _tasks) = start(Arc::new(|_| None));
    assert!(!chat.reserve(MAX_SUBMITTED + 1));
    assert!(chat.reserve(MAX_SUBMITTED));
    assert!(!chat.reserve(1));
    chat.release(MAX_SUBMITTED);
    assert!(chat.reserve(1));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_hear_yet_is_not_there() {
    let (chat, _tasks) = start(Arc::new(|_| "a".parse().ok()));
    let fakes = [1, 2].map(|number| Fake::attach(&chat, number));
    founded(&chat, &fakes).await;
    let there = || {
        let question = Question::Who { room: RoomName::lobby() };
        let Answer::Who(who) = chat.answer(node(1), &question) else { panic!() };
        who.iter().map(|one| one.person.id).collect::<Vec<_>>()
    };
    assert_eq!(there(), [], "they are connected, and not told from where on they hear");
    let [fake, _] = &fakes;
    let welcome = |fake: &Fake| chat.welcome(fake.node, fake.session, None, 0);
    assert!(welcome(fake).is_some());
    assert_eq!(there(), [node(1)]);
    chat.detach(fake.node, fake.session, None);
    let next = Fake::attach(&chat, 1);
    assert_eq!(there(), [], "a new connection is welcomed anew");
    assert_eq!(welcome(fake), None, "the one before is not, whoever still serves it");
    assert_eq!(there(), []);
    assert!(welcome(&next).is_some());
}

#[tokio::test(start_paused = true)]
async fn nobody_speaks_under_a_name_that_is_not_registered() {
    let registered = node(1);
    let name: NodeName = "registered".parse().unwrap();
    let known = name.clone();
    let names: Names = Arc::new(move |node| (node == registered).then(|| known.clone()));
    let (chat, _tasks) = start(names);
    let fakes = [1, 2].map(|number| Fake::attach(&chat, number));
    founded(&chat, &fakes).await;
    let mut events = VecDeque::from([(0, event(2, 1))]);
    chat.submit(&mut events);
    assert!(events.is_empty(), "it takes no room; its author sends it again");
    let mut events = VecDeque::from([(0, event(1, 1))]);
    chat.submit(&mut events);
    fakes.iter().for_each(|fake| fake.answer(&chat));
    let hall = chat.hall();
    let said: Vec<_> = hall.proposer.book().unwrap().of_room(&RoomName::lobby()).collect();
    let [(_, _, said)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((said.author, &said.name), (registered, &name));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_after_revivals_hears_what_was_said_since() {
    let (chat, _tasks) = start(Arc::new(|_| "a".parse().ok()));
    let fakes = [1, 2, 3].map(|number| Fake::attach(&chat, number));
    founded(&chat, &fakes).await;
    let committed = || chat.hall().proposer.book().map(|book| book.committed()).unwrap();
    let log = || chat.hall().log;
    let (before, heard) = (log(), committed());
    let mut number = 0;
    for _ in 0..2 {
        // Each time all but the first go, and something is said by that afterwards.
        for gone in [2, 3].map(node) {
            let session = chat.hall().sessions.get(&gone).map_or(0, |seat| seat.session);
            chat.detach(gone, session, None);
        }
        let former = log();
        assert!(chat.revive(fakes[0].node));
        for tick in 0..300 {
            sleep(TICK).await;
            fakes[0].answer(&chat);
            // So little that a new log takes all of it over.
            if tick % 20 == 0 {
                number += 1;
                let mut events = VecDeque::from([(0, event(1, number))]);
                chat.submit(&mut events);
            }
        }
        assert!(log() < former && committed() > heard, "{:?}", chat.standing());
        let second = Fake::attach(&chat, 2);
        for _ in 0..20 {
            sleep(TICK).await;
            [&fakes[0], &second].iter().for_each(|fake| fake.answer(&chat));
        }
        assert_eq!(chat.standing().council, 2);
    }
    let third = Fake::attach(&chat, 3);
    let welcome = |knows, after| chat.welcome(third.node, third.session, knows, after).unwrap();
    let attached = welcome(before, heard);
    assert_eq!((Some(attached.log), attached.from, attached.continues), (log(), heard, true));
    // Whose log went further than what was taken over goes on where it was founded.
    let attached = welcome(before, heard + 100);
    assert!(attached.from >= heard && attached.from < heard + 5, "{attached:?}");
    // Of an unrelated network nothing goes on, whatever its generation.
    let strange = before.map(|log| LogId { nonce: log.nonce ^ 1, ..log });
    let attached = welcome(strange, heard);
    assert_eq!((attached.from, attached.continues), (attached.committed, false));
}
