//! Proposers and replicas in single cases, each message delivered by hand.

mod elections;
mod false_trackers;
mod liars;
mod meetings;
mod revivals;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shoal_common::chat::entry::{Act, Event, Position};
use shoal_common::chat::log::Kept;
use shoal_common::chat::words::{RoomName, Text};
use shoal_common::ident::NodeId;
use shoal_common::protocol::chat::{FromReplica, ToReplica};
use shoal_node::chat::replica::Replica;
use shoal_tracker::chat::proposer::{Proposer, Settings, Stamp};

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// A proposer, with what it has said to each node and was not delivered.
struct Ruler {
    proposer: Proposer,
    said: BTreeMap<NodeId, VecDeque<ToReplica>>,
}

/// The replicas, by the numbers of their nodes, and the time.
struct Lab {
    now: Duration,
    replicas: BTreeMap<u8, Replica>,
}

/// The connection of every node; a later one would have another number.
const SESSION: u64 = 1;

impl Ruler {
    /// The proposer of a tracker whose reign has this number.
    fn new(epoch: u8) -> Self {
        let settings = Settings { found_pause: Duration::from_secs(1), ..Settings::default() };
        let proposer = Proposer::new(id(200 + epoch), epoch.into(), epoch.into(), settings);
        Self { proposer, said: BTreeMap::new() }
    }

    fn collect(&mut self) {
        for (node, message) in self.proposer.take_messages() {
            self.said.entry(node).or_default().push_back(message);
        }
    }

    /// What it says to a node; it is lost.
    fn hears_from(&mut self, node: u8) -> Vec<ToReplica> {
        self.collect();
        self.said.remove(&id(node)).unwrap_or_default().into()
    }

    fn rooms(&self) -> Vec<String> {
        let rooms = &self.proposer.book().unwrap().state().rooms;
        rooms.iter().map(|(name, _)| name.to_string()).collect()
    }

    /// What was said in the lobby, by the log.
    fn history(&self) -> Vec<String> {
        let book = self.proposer.book().unwrap();
        let lobby = RoomName::lobby();
        let said = book.of_room(&lobby).filter_map(|(.., event)| match &event.act {
            Act::Say { text, .. } => Some(text.as_str().to_owned()),
            _ => None,
        });
        let mut said: Vec<_> = said.collect();
        said.reverse();
        said
    }

    fn committed(&self) -> Position {
        self.proposer.book().map_or(0, |book| book.committed())
    }
}

impl Lab {
    fn new(nodes: u8) -> Self {
        let replicas = (1..=nodes)
            .map(|number| (number, Replica::new(id(number), 1, Kept::default())))
            .collect();
        Self { now: Duration::from_secs(1), replicas }
    }

    /// A network of so many nodes, all of which hold the log, and its proposer.
    fn founded(nodes: u8) -> (Self, Ruler) {
        let (mut lab, mut ruler) = (Self::new(nodes), Ruler::new(1));
        let all: Vec<u8> = (1..=nodes).collect();
        lab.attach(&mut ruler, &all);
        lab.pass(&mut ruler, &all, 3);
        assert_eq!(ruler.proposer.quorum(), (nodes.into(), nodes.into()));
        (lab, ruler)
    }

    fn stamp(&self) -> Stamp {
        let time_ms = u64::try_from(self.now.as_millis()).unwrap();
        Stamp { now: self.now, time_ms, at: time_ms }
    }

    fn attach(&self, ruler: &mut Ruler, nodes: &[u8]) {
        for node in nodes {
            let summary = self.replicas[node].summary();
            ruler.proposer.attach(SESSION, summary, None, self.stamp());
        }
    }

    fn detach(&self, ruler: &mut Ruler, nodes: &[u8]) {
        for node in nodes {
            ruler.proposer.detach(id(*node), SESSION, self.now);
        }
    }

    /// Delivers what is said to a node so far, and its answers.
    fn deliver(&mut self, ruler: &mut Ruler, node: u8) -> usize {
        ruler.collect();
        let messages = ruler.said.remove(&id(node)).unwrap_or_default();
        let count = messages.len();
        for message in messages {
            let replica = self.replicas.get_mut(&node).unwrap();
            let answer = replica.hear(message, &mut Vec::new());
            self.answer(ruler, node, answer);
        }
        count
    }

    fn answer(&self, ruler: &mut Ruler, node: u8, answer: FromReplica) {
        ruler.proposer.hear(id(node), SESSION, answer, self.stamp());
    }

    /// Delivers to these until nothing is said to them any more.
    fn settle(&mut self, ruler: &mut Ruler, nodes: &[u8]) {
        while nodes.iter().map(|node| self.deliver(ruler, *node)).sum::<usize>() > 0 {}
    }

    /// Time passes, in steps, and all is delivered to these.
    fn pass(&mut self, ruler: &mut Ruler, nodes: &[u8], seconds: u64) {
        for _ in 0..10 * seconds {
            self.now += Duration::from_millis(100);
            ruler.proposer.tick(self.stamp());
            self.settle(ruler, nodes);
        }
    }

    fn act(&self, ruler: &mut Ruler, author: u8, act: Act) {
        let number = u64::try_from(self.now.as_micros()).unwrap() + ruler.committed();
        let name = format!("node{author}").parse().unwrap();
        let event = Event { author: id(author), number, name, act };
        ruler.proposer.submit(&event, 0, self.stamp()).unwrap();
    }

    fn says(&self, ruler: &mut Ruler, author: u8, text: &str) {
        let text = Text::try_from(text.to_owned()).unwrap();
        self.act(ruler, author, Act::Say { room: RoomName::lobby(), text });
    }
}
