//! Two logs meet: of networks that began apart.

use shoal_common::chat::entry::LogId;
use shoal_common::chat::log::Kept;
use shoal_node::chat::replica::Replica;

use super::{Lab, Ruler, SESSION, id};

/// The node with the younger log.
const STRAY: u8 = 9;

/// Seven nodes that hold a log, in which something was said, and a node that holds a
/// younger one alone; both logs.
fn met() -> (Lab, LogId, LogId) {
    let (mut lab, mut ruler) = Lab::founded(7);
    let all = [1, 2, 3, 4, 5, 6, 7];
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &all);
    lab.replicas.insert(STRAY, Replica::new(id(STRAY), 1, Kept::default()));
    let mut other = Ruler::new(8);
    lab.attach(&mut other, &[STRAY]);
    lab.pass(&mut other, &[STRAY], 3);
    let (elder, younger) = (log_of(&ruler), log_of(&other));
    assert!(elder < younger && other.proposer.is_in_office());
    (lab, elder, younger)
}

fn log_of(ruler: &Ruler) -> LogId {
    ruler.proposer.book().unwrap().log().id()
}

/// A node comes that has heard of a log.
fn come(lab: &Lab, ruler: &mut Ruler, node: u8, knows: LogId) {
    let summary = lab.replicas[&node].summary();
    ruler.proposer.attach(SESSION, summary, Some(knows), lab.stamp());
}

/// The elder log goes on, with all that was said in it.
fn goes_on(lab: &mut Lab, ruler: &mut Ruler, elder: LogId, nodes: &[u8]) {
    lab.settle(ruler, nodes);
    lab.pass(ruler, nodes, 2);
    assert!(ruler.proposer.is_in_office());
    assert_eq!((log_of(ruler), ruler.history()), (elder, vec!["a".to_owned()]));
}

#[test]
fn a_replica_that_was_left_behind_does_not_lead_its_node_back() {
    let (mut lab, elder, younger) = met();
    let mut ruler = Ruler::new(9);
    // It has heard of the elder log; there was no place in its council.
    come(&lab, &mut ruler, STRAY, elder);
    lab.attach(&mut ruler, &[1, 2, 3]);
    lab.pass(&mut ruler, &[STRAY, 1, 2, 3], 60);
    assert!(!ruler.proposer.is_in_office(), "the council has no majority");
    assert!(lab.replicas[&STRAY].summary().log == Some(younger));
    lab.attach(&mut ruler, &[4]);
    goes_on(&mut lab, &mut ruler, elder, &[STRAY, 1, 2, 3, 4]);
}

#[test]
fn a_younger_log_waits_for_the_elder_one() {
    let (mut lab, elder, younger) = met();
    let mut ruler = Ruler::new(9);
    come(&lab, &mut ruler, STRAY, younger);
    // One alone that has heard of the elder log is not led into the younger one at once.
    lab.attach(&mut ruler, &[1]);
    lab.pass(&mut ruler, &[STRAY, 1], 5);
    assert!(!ruler.proposer.is_in_office());
    // More of them wait as long as they must.
    lab.attach(&mut ruler, &[2, 3]);
    lab.pass(&mut ruler, &[STRAY, 1, 2, 3], 60);
    assert!(!ruler.proposer.is_in_office());
    assert!(ruler.proposer.revive(lab.stamp()), "people can decide otherwise");
    lab.attach(&mut ruler, &[4]);
    goes_on(&mut lab, &mut ruler, elder, &[STRAY, 1, 2, 3, 4]);
}

#[test]
fn an_elder_log_that_is_gone_is_not_waited_for_for_ever() {
    let (mut lab, elder, younger) = met();
    let mut ruler = Ruler::new(9);
    come(&lab, &mut ruler, STRAY, younger);
    let visitor = 10;
    empty_handed(&mut lab, visitor);
    come(&lab, &mut ruler, visitor, elder);
    lab.pass(&mut ruler, &[STRAY, visitor], 12);
    assert!(ruler.proposer.is_in_office());
    assert_eq!(log_of(&ruler), younger);
    assert!(ruler.proposer.welcome(id(visitor), Some(elder), 1).is_some());
    // In office nobody is put off by one more; who comes waits for a while.
    come(&lab, &mut ruler, visitor, elder);
    assert_eq!(ruler.proposer.welcome(id(visitor), Some(elder), 1), None);
    lab.pass(&mut ruler, &[STRAY, visitor], 11);
    assert!(ruler.proposer.welcome(id(visitor), Some(elder), 1).is_some());
}

/// A node that holds nothing.
fn empty_handed(lab: &mut Lab, node: u8) {
    lab.replicas.insert(node, Replica::new(id(node), 1, Kept::default()));
}

#[test]
fn a_younger_log_for_which_fewer_are_here_can_be_revived() {
    let (mut lab, elder, younger) = met();
    let mut ruler = Ruler::new(9);
    come(&lab, &mut ruler, STRAY, younger);
    for visitor in [10, 11] {
        empty_handed(&mut lab, visitor);
        come(&lab, &mut ruler, visitor, elder);
    }
    lab.pass(&mut ruler, &[STRAY, 10, 11], 30);
    assert!(!ruler.proposer.is_in_office(), "more wait for the elder log");
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &[STRAY, 10, 11], 15);
    assert!(ruler.proposer.is_in_office());
    assert_eq!((log_of(&ruler).generation, ruler.proposer.quorum()), (1, (3, 3)));
}

#[test]
fn a_younger_log_can_be_revived_while_others_wait_for_several_elder_ones() {
    let (mut lab, elder, younger) = met();
    let mut ruler = Ruler::new(9);
    come(&lab, &mut ruler, STRAY, younger);
    let other = LogId { nonce: elder.nonce ^ 1, ..elder };
    for (visitor, knows) in [(10, younger), (11, other), (12, other)] {
        empty_handed(&mut lab, visitor);
        come(&lab, &mut ruler, visitor, knows);
    }
    // One has a piece of an elder log, of which fewer have heard.
    lab.attach(&mut ruler, &[1]);
    let here = [STRAY, 10, 11, 12, 1];
    lab.pass(&mut ruler, &here, 30);
    assert!(!ruler.proposer.is_in_office());
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &here, 15);
    assert!(ruler.proposer.is_in_office());
    assert_eq!((log_of(&ruler).generation, ruler.proposer.quorum()), (1, (5, 5)));
    assert!(ruler.history().is_empty(), "it goes on with that of which most have heard");
}

#[test]
fn who_comes_again_and_again_does_not_put_off_every_election() {
    let (mut lab, elder, younger) = met();
    let mut ruler = Ruler::new(9);
    come(&lab, &mut ruler, STRAY, younger);
    empty_handed(&mut lab, 10);
    for turn in 0..7 {
        assert!(turn > 3 || !ruler.proposer.is_in_office(), "those may come that hold it");
        come(&lab, &mut ruler, 10, elder);
        lab.pass(&mut ruler, &[STRAY, 10], 3);
    }
    assert!(ruler.proposer.is_in_office());
    assert_eq!(log_of(&ruler), younger);
}

#[test]
fn who_came_soon_is_waited_for_though_its_connection_breaks() {
    let (mut lab, elder, younger) = met();
    let mut ruler = Ruler::new(9);
    come(&lab, &mut ruler, STRAY, younger);
    lab.pass(&mut ruler, &[], 9);
    empty_handed(&mut lab, 10);
    come(&lab, &mut ruler, 10, elder);
    lab.pass(&mut ruler, &[10], 2);
    lab.detach(&mut ruler, &[10]);
    lab.pass(&mut ruler, &[10], 1);
    come(&lab, &mut ruler, 10, elder);
    lab.pass(&mut ruler, &[STRAY, 10], 6);
    assert!(!ruler.proposer.is_in_office(), "ten seconds from when it came first");
    lab.attach(&mut ruler, &[1, 2, 3, 4]);
    goes_on(&mut lab, &mut ruler, elder, &[STRAY, 10, 1, 2, 3, 4]);
}

#[test]
fn an_elder_log_is_found_while_a_younger_one_is_fetched() {
    let (mut lab, elder, younger) = met();
    let mut ruler = Ruler::new(9);
    come(&lab, &mut ruler, STRAY, younger);
    // It has promised, and is asked for its piece.
    lab.deliver(&mut ruler, STRAY);
    ruler.collect();
    assert!(ruler.proposer.fetches_from(id(STRAY)));
    lab.attach(&mut ruler, &[1, 2, 3, 4]);
    for node in [1, 2, 3, 4] {
        lab.deliver(&mut ruler, node);
    }
    lab.deliver(&mut ruler, STRAY);
    goes_on(&mut lab, &mut ruler, elder, &[STRAY, 1, 2, 3, 4]);
}
