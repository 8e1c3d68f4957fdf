//! A node of the simulated world: what it keeps on disk, and what it does.

use std::collections::BTreeMap;

use rand::RngExt;
use shoal_common::chat::entry::{Act, Event, LogId, Position};
use shoal_common::chat::log::{Kept, weight};
use shoal_common::chat::words::{RoomName, Text};
use shoal_common::ident::{NodeId, NodeName};
use shoal_node::chat::member::{Continuity, Heard, Member};
use shoal_node::chat::replica::{Record, Replica};

use super::{Down, Up, World};

/// Least bytes of a log that one more takes over when it is revived.
const TAKEN_OVER: usize = 128 * 1024;

pub(super) struct SimNode {
    pub(super) id: NodeId,
    pub(super) is_up: bool,
    pub(super) follows: usize,
    pub(super) wire: Option<u64>,
    pub(super) member: Member,
    pub(super) replica: Replica,
    /// Whether the tracker has answered on this wire.
    attached: bool,
    sent_at: u64,
    // What is on its disk.
    records: Vec<Record>,
    outbox: Vec<Event>,
    /// Lines of the transcript: whose, and which.
    pub(super) shown: Vec<(Position, NodeId, u64)>,
    /// Those of a log that it has left.
    pub(super) shown_before: Vec<(Position, NodeId, u64)>,
    heard: Heard,
    /// Own messages that were acknowledged.
    pub(super) acknowledged: Vec<u64>,
    pub(super) written: usize,
    /// The highest number of an event.
    numbers: u64,
    /// By how much its clock is wrong.
    pub(super) clock_back_ms: u64,
    /// It will be killed while it writes, after so many records.
    pub(super) tears: Option<usize>,
    incarnations: u64,
    kept: Kept,
    /// Whether it will come to another log than the one that it has heard of.
    pub(super) is_stray: bool,
    /// Where it was away for so long that nothing is kept: after the first
    /// position, up to the second.
    pub(super) missed: Vec<(Position, Position)>,
}

impl SimNode {
    pub(super) fn new(number: usize, kept: Kept) -> Self {
        let id = NodeId::from_bytes([u8::try_from(number + 1).unwrap(); 32]);
        let heard = Heard::default();
        Self {
            id,
            is_up: true,
            follows: 0,
            wire: None,
            member: Member::new(id, heard, Vec::new(), 0),
            replica: Replica::new(id, 1, kept),
            kept,
            missed: Vec::new(),
            attached: false,
            sent_at: 0,
            records: vec![Record::Begin { incarnation: 1 }],
            outbox: Vec::new(),
            shown: Vec::new(),
            shown_before: Vec::new(),
            heard,
            acknowledged: Vec::new(),
            written: 0,
            numbers: 0,
            clock_back_ms: 0,
            tears: None,
            incarnations: 1,
            is_stray: false,
        }
    }

    pub(super) fn name(&self) -> NodeName {
        format!("node{}", self.id.as_bytes()[0]).parse().unwrap()
    }

    /// What it knows of a log, from any of its memories.
    fn knows(&self) -> Option<LogId> {
        self.heard.log
    }

    pub(super) fn attach(&self) -> Up {
        let after = self.heard.position;
        Up::Attach { summary: self.replica.summary(), knows: self.knows(), after }
    }

    pub(super) fn hung_up(&mut self) {
        self.wire = None;
        self.attached = false;
        self.member.send_again();
    }

    /// It starts again with what is on its disk.
    pub(super) fn start(&mut self) {
        self.is_up = true;
        self.attached = false;
        self.wire = None;
        let before = self.replica.summary();
        self.remember();
        let summary = self.replica.summary();
        assert_eq!((summary.end, summary.last), (before.end, before.last), "the disk has all");
        let last = self.numbers;
        self.member = Member::new(self.id, self.heard, self.outbox.clone(), last);
    }

    /// It starts again after a power failure: what was written last is gone, and
    /// it knows that.
    pub(super) fn start_without_disk(&mut self) {
        self.incarnations += 1;
        self.records = vec![Record::Begin { incarnation: self.incarnations }];
        self.replica = Replica::new(self.id, self.incarnations, self.kept);
        self.start();
    }

    /// `None`: it was killed before it had written all of what it must.
    fn hears(&mut self, message: &shoal_common::protocol::chat::ToReplica) -> Option<Up> {
        let mut records = Vec::new();
        let answer = self.replica.hear(message.clone(), &mut records);
        if let Some(written) = self.tears.take_if(|written| *written < records.len()) {
            self.records.extend(records.into_iter().take(written));
            self.remember();
            return None;
        }
        self.records.append(&mut records);
        if self.records.len() > 300 {
            self.records = self.replica.records();
        }
        Some(Up::Answer(answer))
    }

    /// The replica is what its disk says.
    fn remember(&mut self) {
        self.replica = Replica::new(self.id, 0, self.kept);
        for record in self.records.clone() {
            self.replica.remember(record).unwrap();
        }
    }

    fn hears_upto(&mut self, position: Position) {
        for event in self.member.heard_upto(position) {
            assert!(!self.missed.is_empty(), "{} loses an event", self.name());
            self.settle(&event);
        }
        self.heard = self.member.heard();
    }

    fn settle(&mut self, event: &Event) {
        self.acknowledged.push(event.number);
        self.outbox.retain(|waiting| waiting.number != event.number);
    }
}

impl World {
    /// The person at a node says something.
    pub(super) fn write(&mut self, at: usize) {
        let text: Text = "hello".to_owned().try_into().unwrap();
        let act = Act::Say { room: RoomName::lobby(), text };
        let node = &mut self.nodes[at];
        let now_us = self.now_ms.saturating_sub(node.clock_back_ms) * 1000;
        let name = node.name();
        let event = node.member.write(name, act, now_us).cloned().unwrap();
        node.written += 1;
        node.numbers = event.number;
        node.outbox.push(event);
    }

    /// A node has its turn.
    pub(super) fn live(&mut self, at: usize) {
        if !self.nodes[at].is_up {
            return;
        }
        // Who has only just begun hears first what the others have said.
        let chatty = self.nodes[at].heard.log.is_some();
        if chatty && self.is_rough && self.rng.random_bool(0.1) {
            self.write(at);
        }
        let node = &mut self.nodes[at];
        let Some(wire) = node.wire else { return };
        if !node.attached {
            return;
        }
        // A second without an answer: once more.
        if node.member.waiting().len() > 0 && self.now_ms > node.sent_at + 1000 {
            node.member.send_again();
        }
        let to_send = node.member.take_to_send();
        if !to_send.is_empty() {
            node.sent_at = self.now_ms;
        }
        for (previous, event) in to_send {
            self.send_up(wire, Up::Submit { previous, event });
        }
    }

    pub(super) fn node_hears(&mut self, number: u64, message: Down) {
        let Some(at) = self.wires.iter().find(|w| w.number == number).map(|w| w.node) else {
            return;
        };
        let node = &mut self.nodes[at];
        if node.wire != Some(number) || !node.is_up {
            return;
        }
        match message {
            Down::Attached(attached) => {
                node.attached = true;
                match node.member.attached(attached) {
                    // Who comes for the first time begins now.
                    Continuity::Whole if node.heard.log.is_some() => {}
                    Continuity::Whole | Continuity::Gap => {
                        node.missed.push((node.heard.position, attached.from));
                    }
                    Continuity::Revived { has_gap } => {
                        let is_meant = attached.log.generation == self.generation;
                        assert!(is_meant && !self.is_rough, "it is wiped");
                        // Where little is kept, the others may have said more since.
                        let truth = self.truth.get(&attached.log).into_iter();
                        let bytes: usize =
                            truth.flat_map(BTreeMap::values).map(|it| weight(it)).sum();
                        let is_all = node.kept == Kept::default() && bytes < TAKEN_OVER;
                        assert!(!has_gap || !is_all, "all is taken over");
                        if has_gap {
                            node.missed.push((node.heard.position, attached.from));
                        }
                    }
                    Continuity::Less => panic!("{} has heard what is not there", node.name()),
                    Continuity::OtherLog => {
                        let is_stray = std::mem::take(&mut node.is_stray);
                        assert!(is_stray, "{} hears of another log", node.name());
                        node.shown_before.append(&mut node.shown);
                        node.missed = vec![(0, attached.from)];
                    }
                }
                node.hears_upto(attached.from);
            }
            Down::Post(position, author, has_effect) => {
                self.node_is_told(at, position, author, has_effect);
            }
            Down::UpTo(position) => {
                node.hears_upto(position);
            }
            Down::Ask(message) => {
                let Some(answer) = node.hears(&message) else {
                    node.is_up = false;
                    self.figures.tears += 1;
                    self.say(|| format!("node {at} is killed while it writes"));
                    return self.cut_off(|wire| wire.node == at);
                };
                self.send_up(number, answer);
            }
        }
    }

    fn node_is_told(
        &mut self,
        at: usize,
        position: Position,
        author: Option<(NodeId, u64)>,
        has_effect: bool,
    ) {
        let node = &mut self.nodes[at];
        let Some(own) = node.member.hears(position, author) else { return };
        if let Some((author, number)) = author.filter(|_| has_effect) {
            node.shown.push((position, author, number));
        }
        node.heard = node.member.heard();
        if let Some(event) = own {
            node.settle(&event);
            self.figures.accepted += 1;
        }
    }
}
