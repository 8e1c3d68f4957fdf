//! A false tracker, to which a replica was lured for a moment.

use std::sync::Arc;

use shoal_common::chat::entry::{Ballot, Body, Entry, LogId, ReplicaId};
use shoal_common::chat::log::{Base, Kept};
use shoal_common::limits::{KEPT_ENTRIES, MAX_GENERATION_LEAP, MAX_HELD_BYTES, MAX_UNSURE};
use shoal_common::protocol::chat::{FromReplica, ToReplica};
use shoal_node::chat::replica::{Record, Replica};

use super::{Lab, Ruler, id};

const BALLOT: Ballot = Ballot { round: 9, ..Ballot::NONE };

fn install(generation: u64) -> ToReplica {
    let log = LogId { generation, founded_ms: 0, nonce: 0 };
    let base = Base::found(log, ReplicaId { node: id(99), incarnation: 1 });
    ToReplica::Install { ballot: BALLOT, base: Box::new(base), entries: Vec::new() }
}

/// Entries behind a position that are never said to be committed.
fn append(previous: u64, many: usize) -> ToReplica {
    let entry = Entry { ballot: BALLOT, at: 1, time_ms: 1, body: Body::Reign { tracker: id(99) } };
    ToReplica::Append {
        ballot: BALLOT,
        log: LogId { generation: 0, founded_ms: 0, nonce: 0 },
        previous,
        previous_ballot: if previous == 0 { Ballot::NONE } else { BALLOT },
        entries: std::iter::repeat_n(Arc::new(entry), many).collect(),
        committed: 0,
    }
}

#[test]
fn a_log_without_end_is_not_taken() {
    let mut replica = Replica::new(id(1), 1, Kept::default());
    let mut records = Vec::new();
    replica.hear(install(0), &mut records);
    let (mut end, mut written) = (0, 0);
    for _ in 0..100 {
        records.clear();
        let answer = replica.hear(append(end, 4096), &mut records);
        written += records.iter().filter(|record| matches!(record, Record::Entries(_))).count();
        if let FromReplica::Holds { end: held, .. } = answer {
            end = held;
        }
    }
    let log = replica.log().unwrap();
    assert!((KEPT_ENTRIES as u64..=MAX_UNSURE).contains(&log.end()), "{}", log.end());
    assert!(log.bytes() <= MAX_HELD_BYTES);
    assert_eq!(written as u64, log.end() / 4096, "nor is it written down");
    // What comes instead of that has room.
    let (round, previous) = (BALLOT.round + 1, 0);
    let ballot = Ballot { round, ..BALLOT };
    let ToReplica::Append { log, previous_ballot, entries, committed, .. } = append(previous, 10)
    else {
        panic!()
    };
    let entries = entries.iter().map(|entry| Arc::new(Entry { ballot, ..Entry::clone(entry) }));
    let entries = entries.collect();
    let append = ToReplica::Append { ballot, log, previous, previous_ballot, entries, committed };
    assert_eq!(replica.hear(append, &mut records), FromReplica::Holds { ballot, end: 10 });
    assert_eq!(replica.log().unwrap().end(), 10);
}

#[test]
fn the_generations_are_not_used_up_at_the_replicas() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    for node in [1, 2] {
        let replica = lab.replicas.get_mut(&node).unwrap();
        for generation in [u64::MAX, MAX_GENERATION_LEAP + 1] {
            let answer = replica.hear(install(generation), &mut Vec::new());
            assert_eq!(answer, FromReplica::Behind { ballot: BALLOT, from: None });
        }
    }
    let mut next = Ruler::new(10);
    lab.attach(&mut next, &[1, 2]);
    lab.pass(&mut next, &[1, 2], 2);
    assert_eq!(next.history(), ["a"]);
}

#[test]
fn a_replica_that_was_led_far_ahead_comes_back() {
    let (mut lab, mut ruler) = Lab::founded(3);
    let mut lured = Replica::new(id(9), 1, Kept::default());
    let answer = lured.hear(install(u64::MAX), &mut Vec::new());
    assert_eq!(answer, FromReplica::Holds { ballot: BALLOT, end: 0 }, "it has nothing to lose");
    lab.replicas.insert(9, lured);
    lab.attach(&mut ruler, &[9]);
    lab.pass(&mut ruler, &[1, 2, 3, 9], 15);
    assert_eq!(ruler.proposer.quorum(), (4, 4));
}

#[test]
fn a_member_that_was_led_ahead_does_not_stop_the_chat() {
    for generation in [(1 << 16) + 1, 1 << 20, 1 << 32] {
        let (mut lab, mut ruler) = Lab::founded(3);
        lab.says(&mut ruler, 1, "a");
        lab.settle(&mut ruler, &[1, 2, 3]);
        lab.detach(&mut ruler, &[3]);
        let answer = lab.replicas.get_mut(&3).unwrap().hear(install(generation), &mut Vec::new());
        assert_eq!(answer, FromReplica::Holds { ballot: BALLOT, end: 0 }, "{generation}");
        lab.attach(&mut ruler, &[3]);
        lab.pass(&mut ruler, &[1, 2, 3], 3);
        // Another is gone for ever; two are enough, and one of them was there.
        lab.detach(&mut ruler, &[2]);
        lab.pass(&mut ruler, &[1, 3], 15);
        lab.says(&mut ruler, 1, "b");
        lab.settle(&mut ruler, &[1, 3]);
        assert_eq!(ruler.history(), ["a", "b"], "{generation}");
        assert_eq!(ruler.proposer.quorum(), (2, 2), "{generation}");
        assert!(ruler.proposer.is_in_office(), "{generation}");
        assert_eq!(lab.replicas[&3].summary().end, ruler.committed(), "{generation}");
        // So does a later tracker.
        let mut next = Ruler::new(10);
        lab.attach(&mut next, &[1, 3]);
        lab.pass(&mut next, &[1, 3], 2);
        assert_eq!(next.history(), ["a", "b"], "{generation}");
    }
}

#[test]
fn a_member_that_was_led_a_little_ahead_is_done_without() {
    for generation in [1, 5, 1 << 16] {
        let (mut lab, mut ruler) = Lab::founded(3);
        lab.says(&mut ruler, 1, "a");
        lab.settle(&mut ruler, &[1, 2, 3]);
        lab.detach(&mut ruler, &[3]);
        lab.replicas.get_mut(&3).unwrap().hear(install(generation), &mut Vec::new());
        // It is believed, and takes the log no more.
        lab.attach(&mut ruler, &[3]);
        lab.pass(&mut ruler, &[1, 2, 3], 15);
        assert_eq!(ruler.proposer.quorum(), (2, 2), "{generation}");
        lab.detach(&mut ruler, &[2]);
        lab.pass(&mut ruler, &[1, 3], 15);
        lab.attach(&mut ruler, &[2]);
        lab.pass(&mut ruler, &[1, 2, 3], 5);
        lab.says(&mut ruler, 1, "b");
        lab.settle(&mut ruler, &[1, 2, 3]);
        assert_eq!(ruler.history(), ["a", "b"], "{generation}");
        assert_eq!(ruler.proposer.quorum(), (2, 2), "{generation}");
    }
}

#[test]
fn what_does_not_fit_costs_nothing() {
    let mut replica = Replica::new(id(1), 1, Kept::default());
    let mut records = Vec::new();
    replica.hear(install(0), &mut records);
    replica.hear(append(0, 10), &mut records);
    records.clear();
    let ToReplica::Append { log, previous_ballot, entries, committed, .. } =
        append(0, MAX_UNSURE as usize + 1)
    else {
        panic!()
    };
    let ballot = Ballot { round: BALLOT.round + 1, ..BALLOT };
    let entries = entries.iter().map(|entry| Arc::new(Entry { ballot, ..Entry::clone(entry) }));
    let entries = entries.collect();
    let append =
        ToReplica::Append { ballot, log, previous: 0, previous_ballot, entries, committed };
    assert_eq!(replica.hear(append, &mut records), FromReplica::Behind { ballot, from: Some(0) });
    assert_eq!(replica.log().unwrap().end(), 10, "nothing came instead of what it held");
    assert_eq!(records, [Record::Promise(ballot)]);
}

#[test]
fn nobody_promises_for_another() {
    let (mut lab, _) = Lab::founded(3);
    let mut next = Ruler::new(2);
    let mut stranger = Replica::new(id(9), 1, Kept::default());
    stranger.hear(install(0), &mut Vec::new());
    lab.replicas.insert(9, stranger);
    lab.attach(&mut next, &[1, 9]);
    lab.deliver(&mut next, 1);
    // The second promises another proposer; a stranger speaks for it.
    let summary = lab.replicas[&2].summary();
    for message in next.hears_from(9) {
        let ballot = message.ballot();
        let summary = summary.clone();
        lab.answer(&mut next, 9, FromReplica::Promised { ballot, summary });
    }
    assert!(next.proposer.book().is_none(), "one of three has promised");
}
