use std::time::Duration;

use shoal_common::clock::Clock;
use shoal_common::protocol::tracking::{Change, Leaving, News, Update};
use tokio::time::Instant;

use super::super::Membership;
use super::*;

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn peer(byte: u8, name: &str) -> Peer {
    let at = format!("127.0.0.{byte}:9").parse().unwrap();
    Peer { id: id(byte), name: name.parse().unwrap(), search: at, download: at, joined: 0 }
}

fn found(byte: u8, name: &str, online: bool) -> Option<Found> {
    Some(Found { peer: peer(byte, name), online, born: byte.into(), proof: 10 })
}

/// A list of the tracker with these.
fn listed(peers: &[Peer]) -> Roster {
    let mut roster = Roster::new(id(99));
    let joined = peers.iter().cloned().map(Change::Joined).collect();
    roster.update(Update { revision: 1, news: News::Changes(joined) });
    assert_eq!(roster.tick(Instant::now() + Duration::from_secs(1)), []);
    roster
}

fn names(union: &Union, roster: &Roster, speaks: bool) -> Vec<String> {
    let us = Us { id: id(99), name: "me".parse().unwrap(), born: 50, named: speaks };
    let view = union.view(roster, speaks, &us);
    view.peers().map(|peer| peer.name.to_string()).collect()
}

#[test]
fn each_node_is_there_once_by_whichever_way_it_is_known() {
    let mut union = Union::default();
    union.find(id(1), found(1, "one", true));
    union.find(id(2), found(2, "two", true));
    union.find(id(3), found(3, "three", false));
    let roster = listed(&[peer(2, "two"), peer(4, "four")]);
    assert_eq!(names(&union, &roster, true), ["four", "one", "two"]);
    let view = union.view(
        &roster,
        true,
        &Us { id: id(99), name: "me".parse().unwrap(), born: 0, named: true },
    );
    assert_eq!(view.ring.peer(id(1)), Some(&peer(1, "one")));
    assert_eq!(view.ring.peer(id(3)), None);
    assert_eq!(view.name.unwrap().as_str(), "me");
    union.find(id(1), None);
    assert_eq!(names(&union, &roster, true), ["four", "two"]);
}

#[test]
fn without_the_tracker_who_is_forgotten_is_not_here_again() {
    let membership = Membership::new(id(99), "me".parse().unwrap(), Clock::default());
    let joined = [peer(1, "one"), peer(2, "two")].map(Change::Joined).to_vec();
    membership.roster().update(Update { revision: 1, news: News::Changes(joined) });
    let names =
        || -> Vec<_> { membership.peers().iter().map(|peer| peer.name.to_string()).collect() };
    membership.found(1, vec![(id(1), found(1, "one", false)), (id(2), found(2, "two", true))]);
    assert_eq!(names(), ["two"]);
    // One after a day, the other for want of room.
    membership.found(1, vec![(id(1), None), (id(2), None)]);
    assert_eq!(names(), ["two"]);
}

#[test]
fn without_the_tracker_who_has_moved_is_where_exchange_found_it() {
    let mut union = Union::default();
    let roster = listed(&[peer(1, "one"), peer(2, "two")]);
    let moved = Peer { name: "other".parse().unwrap(), ..peer(7, "one") };
    let moved = Peer { id: id(1), ..moved };
    union.find(id(1), Some(Found { peer: moved, online: true, born: 1, proof: 10 }));
    let us = Us { id: id(99), name: "me".parse().unwrap(), born: 50, named: true };
    for (speaks, at) in [(true, peer(1, "one")), (false, peer(7, "one"))] {
        let view = union.view(&roster, speaks, &us);
        let seen = view.ring.peer(id(1)).unwrap();
        assert_eq!((seen.name.as_str(), seen.search), ("one", at.search));
    }
}

#[test]
fn the_tracker_is_believed_while_it_speaks_and_contact_afterwards() {
    let mut union = Union::default();
    let roster = listed(&[peer(1, "one"), peer(2, "two")]);
    union.find(id(1), found(1, "one", false));
    assert_eq!(names(&union, &roster, true), ["one", "two"], "the tracker hears it");
    assert_eq!(names(&union, &roster, false), ["two"]);
}

#[test]
fn who_left_by_the_tracker_is_gone_until_there_is_newer_proof() {
    let mut union = Union::default();
    let joined = vec![Event::Joined(peer(1, "one"))];
    assert_eq!(union.follow(joined, 5), (vec![Event::Joined(peer(1, "one"))], vec![]));
    union.find(id(1), found(1, "one", true));
    let nobody = listed(&[]);
    let left = vec![Event::Left(peer(1, "one"), Leaving::Vanished)];
    assert_eq!(union.follow(left.clone(), 12), (left.clone(), vec![id(1)]), "to be looked at");
    assert_eq!(names(&union, &nobody, true), Vec::<String>::new());
    assert_eq!(union.news(&[id(1)], &nobody, true), []);
    let seen = found(1, "one", true).map(|found| Found { proof: 13, ..found });
    union.find(id(1), seen);
    assert_eq!(union.news(&[id(1)], &nobody, true), [Event::Here(peer(1, "one"))]);
    assert_eq!(names(&union, &nobody, true), ["one"]);
    union.find(id(1), found(1, "one", false));
    assert_eq!(union.news(&[id(1)], &nobody, true), [Event::Offline(peer(1, "one"))]);
    assert_eq!(union.follow(left, 14).0, [], "it is gone already, and was said to be");
}

#[test]
fn what_both_tell_is_told_once() {
    let mut union = Union::default();
    let roster = listed(&[peer(1, "one")]);
    union.find(id(1), found(1, "one", true));
    assert_eq!(union.news(&[id(1)], &listed(&[]), true), [Event::Here(peer(1, "one"))]);
    assert_eq!(union.follow(vec![Event::Joined(peer(1, "one"))], 5).0, []);
    // Under another name it is news.
    let renamed = vec![Event::Joined(peer(1, "one-2"))];
    assert_eq!(union.follow(renamed.clone(), 5).0, renamed);
    // The other way around.
    let mut union = Union::default();
    union.follow(vec![Event::Joined(peer(1, "one"))], 5);
    union.find(id(1), found(1, "one", true));
    assert_eq!(union.news(&[id(1)], &roster, true), []);
    union.find(id(1), found(1, "one", false));
    assert_eq!(union.news(&[id(1)], &roster, true), [], "the tracker still lists it");
    let left = vec![Event::Left(peer(1, "one"), Leaving::Exit)];
    assert_eq!(union.follow(left.clone(), 6).0, left);
}

#[test]
fn names_are_unique_and_the_eldest_keeps_its_own() {
    let mut union = Union::default();
    for byte in [3, 1, 2] {
        union.find(id(byte), found(byte, "node", true));
    }
    union.find(id(4), found(4, "node", false));
    let nobody = listed(&[]);
    let view = |union: &Union, roster: &Roster, us: &Us| {
        let view = union.view(roster, false, us);
        let peers = view.peers().map(|peer| (peer.id, peer.name.to_string()));
        (peers.collect::<Vec<_>>(), view.name.unwrap().to_string())
    };
    let us = |born, named| Us { id: id(99), name: "node".parse().unwrap(), born, named };
    let of =
        |bytes: [(u8, &str); 3]| bytes.map(|(byte, name)| (id(byte), name.to_owned())).to_vec();
    assert_eq!(
        view(&union, &nobody, &us(0, false)),
        (of([(1, "node"), (2, "node-2"), (3, "node-3")]), "node-4".into())
    );
    assert_eq!(
        view(&union, &nobody, &us(2, false)),
        (of([(1, "node"), (2, "node-2"), (3, "node-4")]), "node-3".into()),
        "of the same age, the smaller id"
    );
    // What a tracker gave is kept.
    assert_eq!(
        view(&union, &listed(&[peer(3, "node-3")]), &us(60, true)),
        (of([(1, "node-2"), (3, "node-3"), (2, "node-4")]), "node".into())
    );
}
