//! Who is elected, on whose word, and by what it is deposed.

use std::time::Duration;

use shoal_common::chat::entry::Ballot;
use shoal_common::limits::MAX_BALLOT_LEAP;
use shoal_common::protocol::chat::{FromReplica, ToReplica};
use shoal_tracker::chat::proposer::{Proposer, Settings};

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
fn a_ballot_from_the_end_of_all_numbers_is_not_reached_at_once() {
    let (mut lab, mut ruler) = Lab::founded(3);
    let (round, proposer, instance) = (u64::MAX, id(99), 0);
    let far = Ballot { round, proposer, instance };
    lab.says(&mut ruler, 1, "a");
    let ballot = ballot_of(&mut ruler, 3);
    lab.answer(&mut ruler, 3, FromReplica::Refused { ballot, promised: far });
    lab.pass(&mut ruler, &[1, 2], 3);
    assert!(ruler.proposer.is_in_office());
    assert_eq!(ruler.history(), ["a"]);
    // A replica does not promise it, and goes part of the way.
    lab.says(&mut ruler, 1, "b");
    let before = ballot_of(&mut ruler, 1).round;
    let replica = lab.replicas.get_mut(&1).unwrap();
    let answer = replica.hear(ToReplica::Prepare { ballot: far }, &mut Vec::new());
    let FromReplica::Refused { promised, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(promised.round, before + MAX_BALLOT_LEAP);
    // So far its own proposer follows.
    lab.pass(&mut ruler, &[1, 2], 5);
    assert!(ruler.proposer.is_in_office());
    assert_eq!(ruler.history(), ["a", "b"]);
}

#[test]
fn an_epoch_that_was_raised_does_not_stop_the_chat() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    for number in [2, 3] {
        let proposer = Proposer::new(id(202), u64::MAX, number, Settings::default());
        let mut next = Ruler { proposer, ..Ruler::new(2) };
        lab.attach(&mut next, &[1, 2, 3]);
        let asked = next.hears_from(1).last().map(|said| said.ballot().round);
        assert!(asked.is_some_and(|round| round < MAX_BALLOT_LEAP));
        lab.pass(&mut next, &[1, 2, 3], 3);
        assert!(next.proposer.is_in_office());
        assert_eq!(next.history(), ["a"]);
    }
}

#[test]
fn one_lie_about_a_far_ballot_does_not_stop_the_chat() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    let ballot = ballot_of(&mut ruler, 3);
    let promised = Ballot { round: ballot.round + MAX_BALLOT_LEAP, ..ballot };
    lab.answer(&mut ruler, 3, FromReplica::Refused { ballot, promised });
    lab.pass(&mut ruler, &[1, 2], 5);
    assert!(ruler.proposer.is_in_office());
    lab.says(&mut ruler, 1, "b");
    lab.settle(&mut ruler, &[1, 2]);
    assert_eq!(ruler.history(), ["a", "b"]);
}

#[test]
fn after_many_such_lies_a_later_tracker_gets_into_office() {
    let (mut lab, mut ruler) = Lab::founded(3);
    for _ in 0..6 {
        lab.says(&mut ruler, 1, "a");
        let ballot = ballot_of(&mut ruler, 3);
        let promised = Ballot { round: ballot.round + MAX_BALLOT_LEAP - 1, ..ballot };
        lab.answer(&mut ruler, 3, FromReplica::Refused { ballot, promised });
        lab.pass(&mut ruler, &[1, 2], 5);
        assert!(ruler.proposer.is_in_office());
    }
    assert!(ballot_of_next(&mut lab, &mut ruler).round > 2 * MAX_BALLOT_LEAP);
    let mut next = Ruler::new(2);
    // The third was away all the time: it is asked to leap further than it does at once.
    lab.attach(&mut next, &[1, 2, 3]);
    lab.pass(&mut next, &[1, 2, 3], 15);
    assert!(next.proposer.is_in_office());
    lab.says(&mut next, 1, "b");
    lab.settle(&mut next, &[1, 2, 3]);
    assert_eq!(next.history().last().unwrap(), "b");
    assert_eq!(next.proposer.quorum(), (3, 3));
    let end = next.proposer.book().unwrap().log().end();
    assert_eq!(lab.replicas[&3].summary().end, end);
}

fn ballot_of_next(lab: &mut Lab, ruler: &mut Ruler) -> Ballot {
    lab.says(ruler, 1, "next");
    ballot_of(ruler, 1)
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

#[test]
fn two_that_have_promised_to_different_ones_do_not_put_it_off_for_ever() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    let last = ballot_of_next(&mut lab, &mut ruler);
    let mut next = Ruler::new(2);
    lab.attach(&mut next, &[1, 2, 3]);
    for turn in 0..40 {
        lab.now += Duration::from_millis(100);
        next.proposer.tick(lab.stamp());
        let node = turn % 2 + 1;
        for message in next.hears_from(node) {
            let (ballot, round) = (message.ballot(), last.round + 10 + u64::from(node));
            let promised = Ballot { round, ..last };
            if ballot < promised {
                lab.answer(&mut next, node, FromReplica::Refused { ballot, promised });
            } else {
                let answer = lab.replicas.get_mut(&node).unwrap().hear(message, &mut Vec::new());
                lab.answer(&mut next, node, answer);
            }
        }
    }
    lab.pass(&mut next, &[1, 2], 1);
    assert!(next.proposer.is_in_office());
}
