//! What a node says in the chat and how far it has heard. Pure.
//!
//! What is said waits here, on disk, until it comes back as an entry of the log:
//! that is the acknowledgement. It is sent in order, again on each connection,
//! with the same numbers; so it counts once. What is heard has positions; so it
//! is shown once.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use shoal_common::chat::entry::{Act, Event, LogId, Position};
use shoal_common::ident::{NodeId, NodeName};
use shoal_common::limits::{CHAT_WINDOW, MAX_EVENT_TIME, MAX_POSITION};
use shoal_common::protocol::chat::Attached;

/// Most events that wait to be accepted; more are refused at the prompt.
pub const MAX_WAITING: usize = 10_000;

/// Highest number of an own event that a tracker is believed: numbers are
/// microseconds since 1970, and behind a higher one there would soon be none left.
const MAX_NUMBER: u64 = 1 << 62;

/// How far a node has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heard {
    /// Of which log.
    pub log: Option<LogId>,
    /// Up to where, all that concerns it.
    pub position: Position,
}

/// Whether a node hears all from its attachment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// It does.
    Whole,
    /// What was committed between is not kept any more.
    Gap,
    /// The log is not as long as it was told before: that was a lie, and what was
    /// committed since may be missing.
    Less,
    /// It is another log than before, of a network that began apart.
    OtherLog,
    /// It is the continuation of the log before, without most of those that held it.
    Revived {
        /// Whether something that was committed between is not kept any more, too.
        has_gap: bool,
    },
}

/// What a node says and has heard.
#[derive(Debug)]
pub struct Member {
    node: NodeId,
    heard: Heard,
    /// What is not acknowledged, in order.
    waiting: VecDeque<Event>,
    /// How many of those were sent on this connection.
    sent: usize,
    /// The number of the last event.
    last: u64,
    /// Where the catching up of this connection ends, and which of its own
    /// events were committed by then.
    catching_up: Option<(Position, u64)>,
}

impl Member {
    /// A node that has heard so much, still waits for these, and had no event with a
    /// higher number than `last`.
    pub fn new(node: NodeId, heard: Heard, waiting: Vec<Event>, last: u64) -> Self {
        let waiting = waiting.into();
        Self { node, heard, waiting, sent: 0, last, catching_up: None }
    }

    /// How far it has heard.
    pub fn heard(&self) -> Heard {
        self.heard
    }

    /// What is not acknowledged.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.waiting.iter()
    }

    /// Something is done, at this time in microseconds since 1970. Times serve as
    /// numbers, so that a node that has lost its disk begins above those it had; one
    /// whose clock was set back counts on from its last number.
    /// `None`: too much is waiting.
    pub fn write(&mut self, name: NodeName, act: Act, now_us: u64) -> Option<&Event> {
        if self.waiting.len() >= MAX_WAITING {
            return None;
        }
        self.last = now_us.min(MAX_EVENT_TIME).max(self.last.saturating_add(1));
        self.waiting.push_back(Event { author: self.node, number: self.last, name, act });
        self.waiting.back()
    }

    /// A connection stands, and the tracker says this.
    pub fn attached(&mut self, attached: Attached) -> Continuity {
        let has_gap = attached.from > self.heard.position;
        let continuity = match self.heard.log {
            Some(log) if log != attached.log && attached.continues => {
                Continuity::Revived { has_gap }
            }
            Some(log) if log != attached.log => Continuity::OtherLog,
            Some(_) if has_gap => Continuity::Gap,
            Some(_) if attached.from < self.heard.position => Continuity::Less,
            _ => Continuity::Whole,
        };
        if self.heard.log != Some(attached.log) || continuity == Continuity::Less {
            self.heard = Heard { log: Some(attached.log), position: attached.from };
        }
        if attached.last <= MAX_NUMBER {
            self.last = self.last.max(attached.last);
        }
        self.catching_up = Some((attached.committed, attached.last));
        self.sent = 0;
        continuity
    }

    /// Nothing that was sent on the last connection is on its way any more.
    pub fn send_again(&mut self) {
        self.sent = 0;
    }

    /// What is to be sent now: each with the number of the one before it that is
    /// waited for, or 0.
    pub fn take_to_send(&mut self) -> Vec<(u64, Event)> {
        let until = self.waiting.len().min(CHAT_WINDOW);
        let from = self.sent.min(until);
        let before = from.checked_sub(1).and_then(|before| self.waiting.get(before));
        let mut previous = before.map_or(0, |event| event.number);
        self.sent = until;
        let to_send = self.waiting.range(from..until).map(|event| {
            let before = std::mem::replace(&mut previous, event.number);
            (before, event.clone())
        });
        to_send.collect()
    }

    /// An entry that concerns it, by its position, and of whom it is. Whether it
    /// is new, and the event of its own that it acknowledges.
    pub fn hears(
        &mut self,
        position: Position,
        author: Option<(NodeId, u64)>,
    ) -> Option<Option<Event>> {
        if position <= self.heard.position || position > MAX_POSITION {
            return None;
        }
        self.heard.position = position;
        let own = author.filter(|(author, _)| *author == self.node);
        // Another may have spoken in its name: what it says next is to count all the same.
        if let Some((_, number)) = own.filter(|(_, number)| *number <= MAX_NUMBER) {
            self.last = self.last.max(number);
        }
        Some(own.and_then(|(_, number)| self.settle(number)))
    }

    /// It has heard all up to here. Events of its own that were committed where
    /// nothing is kept any more: it is not known what came of them.
    pub fn heard_upto(&mut self, position: Position) -> Vec<Event> {
        if position <= MAX_POSITION {
            self.heard.position = self.heard.position.max(position);
        }
        let Some((until, last)) = self.catching_up else { return Vec::new() };
        if self.heard.position < until {
            return Vec::new();
        }
        self.catching_up = None;
        let mut unknown = Vec::new();
        while self.waiting.front().is_some_and(|event| event.number <= last)
            && let Some(event) = self.waiting.pop_front()
        {
            self.sent = self.sent.saturating_sub(1);
            unknown.push(event);
        }
        unknown
    }

    fn settle(&mut self, number: u64) -> Option<Event> {
        let index = self.waiting.iter().position(|event| event.number == number)?;
        if index < self.sent {
            self.sent -= 1;
        }
        self.waiting.remove(index)
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::chat::words::RoomName;

    use super::*;

    #[test]
    fn numbers_go_on_from_what_the_log_has_but_not_from_the_end_of_all() {
        let node = NodeId::from_bytes([1; 32]);
        let mut member = Member::new(node, Heard::default(), Vec::new(), 5);
        let log = LogId { generation: 0, founded_ms: 1, nonce: 1 };
        let attached = |last| Attached { log, from: 0, committed: 0, last, continues: true };
        let mut write = |last| {
            member.attached(attached(last));
            let act = Act::Join { room: RoomName::lobby() };
            member.write("a".parse().unwrap(), act, 1).unwrap().number
        };
        assert_eq!(write(0), 6, "the clock was set back");
        assert_eq!(write(1000), 1001, "the disk was lost");
        assert_eq!(write(u64::MAX), 1002);
    }

    #[test]
    fn a_gap_is_reported_beside_a_revival_and_another_network_is_told_apart() {
        let heard_log = LogId { generation: 0, founded_ms: 1, nonce: 1 };
        let heard = Heard { log: Some(heard_log), position: 5 };
        let log = LogId { generation: 1, ..heard_log };
        let attach = |from, continues| {
            let mut member = Member::new(NodeId::from_bytes([1; 32]), heard, Vec::new(), 0);
            member.attached(Attached { log, from, committed: 9, last: 0, continues })
        };
        assert_eq!(attach(5, true), Continuity::Revived { has_gap: false });
        assert_eq!(attach(6, true), Continuity::Revived { has_gap: true });
        assert_eq!(attach(9, false), Continuity::OtherLog);
    }

    #[test]
    fn positions_that_a_false_tracker_told_of_are_given_up() {
        let log = LogId { generation: 0, founded_ms: 1, nonce: 1 };
        let heard = Heard { log: Some(log), position: 5 };
        let mut member = Member::new(NodeId::from_bytes([1; 32]), heard, Vec::new(), 0);
        member.heard_upto(u64::MAX);
        assert_eq!(member.hears(u64::MAX, None), None);
        assert_eq!(member.heard(), heard, "no log gets so far");
        member.heard_upto(1000);
        let attached = Attached { log, from: 7, committed: 7, last: 0, continues: true };
        assert_eq!(member.attached(attached), Continuity::Less);
        assert_eq!(member.heard().position, 7);
        assert!(member.hears(8, None).is_some());
    }

    #[test]
    fn numbers_go_on_behind_those_of_one_that_speaks_in_its_name() {
        let node = NodeId::from_bytes([1; 32]);
        let mut member = Member::new(node, Heard::default(), Vec::new(), 5);
        member.hears(1, Some((node, 1000)));
        let act = Act::Join { room: RoomName::lobby() };
        assert_eq!(member.write("a".parse().unwrap(), act, 1).unwrap().number, 1001);
    }
}
