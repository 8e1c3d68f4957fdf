//! People decide to go on without those that held the log.

use shoal_common::chat::entry::{Act, Ballot, LogId};
use shoal_common::chat::log::Kept;
use shoal_common::protocol::chat::FromReplica;
use shoal_node::chat::replica::Replica;

use super::{Lab, Ruler, SESSION, id};

/// Five nodes with a room and some history; the last entry is held by three.
fn talked() -> Lab {
    let (mut lab, mut ruler) = Lab::founded(5);
    let all = [1, 2, 3, 4, 5];
    lab.act(&mut ruler, 1, Act::Join { room: "pets".parse().unwrap() });
    lab.settle(&mut ruler, &all);
    for (author, text) in [(2, "one"), (3, "two")] {
        lab.says(&mut ruler, author, text);
        lab.settle(&mut ruler, &all);
    }
    lab.says(&mut ruler, 1, "three");
    lab.settle(&mut ruler, &[1, 3, 4]);
    assert_eq!(ruler.history(), ["one", "two", "three"]);
    lab
}

#[test]
fn a_successor_goes_on_with_all_that_is_left() {
    let mut lab = talked();
    let mut ruler = Ruler::new(2);
    lab.attach(&mut ruler, &[1, 2]);
    lab.pass(&mut ruler, &[1, 2], 3);
    assert!(ruler.proposer.book().is_none(), "no majority is here");
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &[1, 2], 9);
    assert!(ruler.proposer.book().is_none(), "the others may come yet");
    lab.pass(&mut ruler, &[1, 2], 3);
    assert!(ruler.proposer.is_in_office());
    assert_eq!(ruler.rooms(), ["pets"]);
    assert_eq!(ruler.history(), ["one", "two", "three"], "one of them held it");
    assert_eq!(ruler.proposer.quorum(), (2, 2));
    lab.says(&mut ruler, 2, "four");
    lab.settle(&mut ruler, &[1, 2]);
    assert_eq!(ruler.history().last().unwrap(), "four");
    // Whoever comes next finds it.
    let mut next = Ruler::new(3);
    lab.attach(&mut next, &[1, 2, 3]);
    lab.pass(&mut next, &[1, 2, 3], 3);
    assert_eq!((next.history(), next.rooms()), (ruler.history(), ruler.rooms()));
    assert_eq!(next.proposer.book().unwrap().log().id().generation, 1);
}

#[test]
fn in_office_without_a_majority_it_goes_on_with_all_that_is_known() {
    let mut lab = talked();
    let mut ruler = Ruler::new(2);
    lab.attach(&mut ruler, &[1, 2, 3, 4, 5]);
    lab.pass(&mut ruler, &[1, 2, 3, 4, 5], 1);
    lab.detach(&mut ruler, &[3, 4, 5]);
    lab.says(&mut ruler, 2, "four");
    assert!(ruler.proposer.revive(lab.stamp()));
    assert!(ruler.proposer.revive(lab.stamp()), "twice is once");
    // It is asked for again and again, until it has come about.
    for _ in 0..12 {
        lab.pass(&mut ruler, &[1, 2], 1);
        ruler.proposer.revive(lab.stamp());
    }
    assert!(ruler.proposer.is_in_office());
    assert_eq!(ruler.proposer.book().unwrap().log().id().generation, 1);
    assert_eq!(ruler.history(), ["one", "two", "three", "four"]);
    assert_eq!(ruler.rooms(), ["pets"]);
}

#[test]
fn what_is_typed_during_a_succession_wipes_nothing() {
    let mut lab = talked();
    let mut ruler = Ruler::new(2);
    // Some have come, and have not answered yet.
    lab.attach(&mut ruler, &[1, 2]);
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &[1, 2], 5);
    lab.attach(&mut ruler, &[3]);
    assert!(!ruler.proposer.revive(lab.stamp()), "a majority is here");
    lab.pass(&mut ruler, &[1, 2, 3], 20);
    assert!(ruler.proposer.is_in_office());
    let book = ruler.proposer.book().unwrap();
    assert_eq!(book.log().id().generation, 0);
    assert_eq!(ruler.history(), ["one", "two", "three"]);
}

#[test]
fn a_revival_that_is_interrupted_costs_nothing() {
    let mut lab = talked();
    let mut ruler = Ruler::new(2);
    lab.attach(&mut ruler, &[1, 2]);
    assert!(ruler.proposer.revive(lab.stamp()));
    // The founder gets the new log, and that tracker dies.
    while lab.replicas[&1].summary().log.is_none_or(|log| log.generation == 0) {
        lab.pass(&mut ruler, &[1], 1);
    }
    let mut next = Ruler::new(3);
    lab.attach(&mut next, &[1, 2]);
    let revived = lab.replicas[&1].summary().log;
    assert!(!next.proposer.revive(lab.stamp()), "the founder of the new log is here");
    lab.pass(&mut next, &[1, 2], 12);
    assert!(next.proposer.is_in_office());
    let log = next.proposer.book().map(|book| book.log().id());
    assert_eq!((log, log.map(|log| log.generation)), (revived, Some(1)));
    assert_eq!(
        (next.history(), next.rooms()),
        (vec!["one".into(), "two".into(), "three".into()], vec!["pets".to_owned()])
    );
}

#[test]
fn a_wish_to_revive_ends_when_the_chat_goes_on() {
    let (mut lab, mut ruler) = (Lab::new(3), Ruler::new(1));
    let knows = Some(LogId { generation: 0, founded_ms: 1, nonce: 1 });
    ruler.proposer.attach(SESSION, lab.replicas[&1].summary(), knows, lab.stamp());
    assert!(ruler.proposer.revive(lab.stamp()));
    // Who knew of a log leaves, and the others found one.
    lab.detach(&mut ruler, &[1]);
    lab.attach(&mut ruler, &[1, 2, 3]);
    lab.pass(&mut ruler, &[1, 2, 3], 3);
    assert!(ruler.proposer.is_in_office());
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    // Later it is deposed, and most are away.
    let ballot = {
        lab.says(&mut ruler, 1, "b");
        ruler.hears_from(1).last().unwrap().ballot()
    };
    lab.detach(&mut ruler, &[2, 3]);
    let promised = Ballot { round: ballot.round + 1, ..ballot };
    lab.answer(&mut ruler, 1, FromReplica::Refused { ballot, promised });
    lab.pass(&mut ruler, &[1], 20);
    assert!(!ruler.proposer.is_in_office());
    assert_eq!(lab.replicas[&1].summary().log.unwrap().generation, 0);
}

#[test]
fn the_ballots_of_another_log_do_not_count() {
    let (mut lab, mut ruler) = Lab::founded(5);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3, 4, 5]);
    let elder = ruler.proposer.book().unwrap().log().id();
    // One that has a piece of another log, written under a higher ballot, has come since.
    lab.replicas.insert(9, Replica::new(id(9), 1, Kept::default()));
    let mut other = Ruler::new(8);
    lab.attach(&mut other, &[9]);
    lab.pass(&mut other, &[9], 3);
    let mut next = Ruler::new(9);
    lab.attach(&mut next, &[1, 2]);
    next.proposer.attach(SESSION, lab.replicas[&9].summary(), Some(elder), lab.stamp());
    assert!(next.proposer.revive(lab.stamp()));
    lab.pass(&mut next, &[1, 2, 9], 12);
    assert!(next.proposer.is_in_office());
    assert_eq!(next.history(), ["a"]);
}

#[test]
fn who_has_a_piece_of_an_elder_log_alone_can_hold_the_next_one() {
    let (mut lab, _) = Lab::founded(3);
    // The tracker's own node has begun another log, alone.
    let own = 209;
    lab.replicas.insert(own, Replica::new(id(own), 1, Kept::default()));
    let mut ruler = Ruler::new(9);
    lab.attach(&mut ruler, &[own]);
    lab.pass(&mut ruler, &[own], 3);
    assert!(ruler.proposer.holds_alone());
    assert!(!ruler.proposer.revive(lab.stamp()), "nobody else is here");
    lab.attach(&mut ruler, &[1]);
    lab.pass(&mut ruler, &[own, 1], 15);
    assert!(ruler.proposer.holds_alone(), "nothing is accepted");
    for _ in 0..15 {
        ruler.proposer.revive(lab.stamp());
        lab.pass(&mut ruler, &[own, 1], 1);
    }
    assert!(ruler.proposer.is_in_office());
    assert_eq!(ruler.proposer.quorum(), (2, 2));
    assert_eq!(ruler.proposer.book().unwrap().log().id().generation, 1);
    assert!(!ruler.proposer.revive(lab.stamp()));
}

#[test]
fn a_revival_that_a_majority_ended_is_decided_anew() {
    let mut lab = talked();
    let mut ruler = Ruler::new(2);
    lab.attach(&mut ruler, &[1, 2]);
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &[1, 2], 9);
    // A third comes, whose connection stands still, and leaves again.
    lab.attach(&mut ruler, &[3]);
    lab.pass(&mut ruler, &[1, 2], 3);
    lab.detach(&mut ruler, &[3]);
    lab.pass(&mut ruler, &[1, 2], 12);
    assert!(!ruler.proposer.is_in_office());
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &[1, 2], 9);
    assert!(!ruler.proposer.is_in_office(), "it may come once more");
    lab.pass(&mut ruler, &[1, 2], 3);
    assert!(ruler.proposer.is_in_office());
}
