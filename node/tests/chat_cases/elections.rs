//! Who is elected, on whose word, and by what it is deposed.

use std::time::Duration;

use shoal_common::chat::entry::Ballot;
use shoal_common::protocol::chat::{FromReplica, ToReplica};

use super::{Lab, Ruler, id};

/// The ballot in what it says to a node now.
fn ballot_of(ruler: &mut Ruler, node: u8) -> Ballot {
    ruler.hears_from(node).last().map(ToReplica::ballot).unwrap()
}

#[test]
fn who_has_not_promised_does_not_say_what_is_committed() {
    let (mut lab, mut first) = Lab::founded(3);
    let known = first.committed();
    // One replica alone holds what the first proposer wrote last.
    lab.says(&mut first, 1, "never accepted");
    lab.deliver(&mut first, 1);
    assert_eq!(first.committed(), known);
    // The second recovers that piece, and does not get it yet.
    let mut second = Ruler::new(2);
    lab.attach(&mut second, &[1, 2]);
    lab.deliver(&mut second, 1);
    lab.deliver(&mut second, 2);
    second.collect();
    // The third, meanwhile, has the others write something else at that position.
    let mut third = Ruler::new(3);
    lab.attach(&mut third, &[2, 3]);
    lab.settle(&mut third, &[2, 3]);
    third.proposer.tick(lab.stamp());
    lab.settle(&mut third, &[2, 3]);
    assert!(third.committed() > known);
    assert!(lab.replicas[&3].summary().committed > known);
    // One of those comes to the second, with what it knows of the third's log.
    lab.attach(&mut second, &[3]);
    second.proposer.take_posted();
    lab.deliver(&mut second, 1);
    assert_eq!(second.history(), Vec::<String>::new());
    assert_eq!(second.committed(), known, "it has not got what the third has committed");
}

#[test]
fn the_founder_is_one_that_answers() {
    let mut lab = Lab::new(3);
    let mut ruler = Ruler::new(1);
    lab.attach(&mut ruler, &[1, 2, 3]);
    lab.pass(&mut ruler, &[2, 3], 3);
    assert!(ruler.proposer.is_in_office());
}

#[test]
fn a_ballot_from_the_end_of_all_numbers_is_not_believed() {
    let (mut lab, mut ruler) = Lab::founded(3);
    let (round, proposer, instance) = (u64::MAX, id(99), 0);
    let far = Ballot { round, proposer, instance };
    lab.says(&mut ruler, 1, "a");
    let ballot = ballot_of(&mut ruler, 3);
    lab.answer(&mut ruler, 3, FromReplica::Refused { ballot, promised: far });
    lab.pass(&mut ruler, &[1, 2], 3);
    assert!(ruler.proposer.is_in_office());
    assert_eq!(ruler.history(), ["a"]);
    // Nor does a replica promise it.
    let replica = lab.replicas.get_mut(&1).unwrap();
    let answer = replica.hear(ToReplica::Prepare { ballot: far }, &mut Vec::new());
    assert!(matches!(answer, FromReplica::Refused { .. }), "{answer:?}");
    let answer = replica.hear(ToReplica::Prepare { ballot }, &mut Vec::new());
    assert!(matches!(answer, FromReplica::Promised { .. }), "{answer:?}");
}

#[test]
fn a_stranger_does_not_depose_a_proposer_at_once() {
    let (mut lab, mut ruler) = Lab::founded(2);
    lab.replicas.insert(9, shoal_node::chat::replica::Replica::new(id(9), 1, Default::default()));
    lab.attach(&mut ruler, &[9]);
    let ballot = ballot_of(&mut ruler, 9);
    let promised = Ballot { round: ballot.round + 5, ..ballot };
    let refuse = |lab: &Lab, ruler: &mut Ruler| {
        lab.answer(ruler, 9, FromReplica::Refused { ballot, promised });
    };
    refuse(&lab, &mut ruler);
    lab.pass(&mut ruler, &[1, 2], 5);
    lab.says(&mut ruler, 1, "a");
    assert_eq!(ballot_of(&mut ruler, 1), ballot, "still in office");
    // But there is room in the council, and it may never come in otherwise.
    lab.pass(&mut ruler, &[1, 2, 9], 10);
    assert!(ruler.proposer.is_in_office());
    lab.says(&mut ruler, 1, "b");
    assert!(ballot_of(&mut ruler, 1) > promised);
}

#[test]
fn what_is_said_of_one_log_does_not_count_for_the_next() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    let ballot = ballot_of(&mut ruler, 1);
    lab.detach(&mut ruler, &[2, 3]);
    assert!(ruler.proposer.revive(lab.stamp()));
    for _ in 0..120 {
        lab.now += Duration::from_millis(100);
        ruler.proposer.tick(lab.stamp());
        // Promises arrive, and nothing that founds a log.
        for message in ruler.hears_from(1) {
            if matches!(message, ToReplica::Prepare { .. } | ToReplica::Fetch { .. }) {
                let answer = lab.replicas.get_mut(&1).unwrap().hear(message, &mut Vec::new());
                lab.answer(&mut ruler, 1, answer);
            }
        }
    }
    let log = ruler.proposer.book().unwrap().log();
    assert_eq!(log.id().generation, 1);
    let end = log.end();
    lab.answer(&mut ruler, 1, FromReplica::Holds { ballot, end });
    assert!(!ruler.proposer.is_in_office(), "nobody holds the new log yet");
    lab.pass(&mut ruler, &[1], 2);
    assert!(ruler.proposer.is_in_office());
}
