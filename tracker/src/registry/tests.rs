//! Each rule of the registry by itself.

use std::net::SocketAddr;

use shoal_common::limits::{MAX_NEWS, PAGE, PAGES_A_SECOND, PUSH_PAUSES};

use super::*;

const BEAT: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_nanos(1);
const START: Duration = Duration::ZERO;

fn speaker(node: u8, session: u64) -> Speaker {
    Speaker { node: NodeId::from_bytes([node; 32]), session: SessionId(session) }
}

/// What a node says that has just been started.
fn wish(name: &str, exact: bool) -> Registration {
    let search = "10.0.0.1:4000".parse().unwrap();
    let download = "10.0.0.1:4001".parse().unwrap();
    let (name, reign, joined) = (name.parse().unwrap(), None, 0);
    Registration { name, exact, search, download, reign, joined }
}

/// What one says that has had a join number.
fn again(name: &str, joined: u64) -> Registration {
    Registration { joined, ..wish(name, true) }
}

/// What `node` has not heard of since `revision`: all that concerns others.
fn news(registry: &Registry, node: NodeId, revision: u64) -> Vec<Change> {
    let changes = registry.changes(revision, registry.revision()).unwrap();
    changes.filter(|change| about(change) != node).cloned().collect()
}

fn name(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// A registry with node 1 on session 1, called `one`.
fn with_one() -> Registry {
    let mut registry = Registry::new(BEAT);
    registry.register(speaker(1, 1), &wish("one", true), START).unwrap();
    registry.take_notices();
    registry
}

fn ids(registry: &Registry) -> Vec<u8> {
    let mut ids: Vec<_> = registry.nodes.keys().map(|id| id.as_bytes()[0]).collect();
    ids.sort_unstable();
    ids
}

fn said(registry: &mut Registry) -> String {
    let said: Vec<_> = registry.take_notices().iter().map(ToString::to_string).collect();
    said.join("; ")
}

#[test]
fn who_registers_is_here_and_the_others_learn_of_it() {
    let mut registry = with_one();
    let before = registry.revision();
    registry.register(speaker(2, 2), &wish("two", true), START).unwrap();
    let two = registry.sample(speaker(1, 1).node);
    assert_eq!(two[0].name, name("two"));
    assert_eq!(registry.revision(), before + 1);
    let changes = news(&registry, speaker(1, 1).node, before);
    assert_eq!(changes, [Change::Joined(two[0].clone())]);
    assert_eq!(
        said(&mut registry),
        "`two` (id 02020202, search 10.0.0.1:4000, download 10.0.0.1:4001) came"
    );
}

#[test]
fn a_name_in_use_is_refused_or_gets_the_first_free_number() {
    let mut registry = with_one();
    let taken = registry.register(speaker(2, 2), &wish("one", true), START);
    assert_eq!(taken, Err(Refusal::NameTaken));
    assert_eq!(ids(&registry), [1]);
    for (node, given) in [(2, "one-2"), (3, "one-3")] {
        let wish = wish("one", false);
        let got = registry.register(speaker(node, node.into()), &wish, START).unwrap();
        assert_eq!(got, name(given));
    }
    registry.exit(speaker(2, 2));
    let got = registry.register(speaker(4, 4), &wish("one", false), START).unwrap();
    assert_eq!(got, name("one-2"));
}

#[test]
fn a_given_name_stays_even_if_the_wanted_one_becomes_free() {
    let mut registry = with_one();
    registry.register(speaker(2, 2), &wish("one", false), START).unwrap();
    registry.exit(speaker(1, 1));
    registry.disconnected(speaker(2, 2), START);
    let before = registry.revision();
    let wish = |exact| Registration { exact, ..again("one", 2) };
    let got = registry.register(speaker(2, 3), &wish(false), START).unwrap();
    assert_eq!((got, registry.revision()), (name("one-2"), before));
    // Unless it insists.
    let got = registry.register(speaker(2, 3), &wish(true), START).unwrap();
    assert_eq!(got, name("one"));
}

#[test]
fn the_name_of_who_may_return_is_kept_and_that_of_who_left_is_free() {
    let mut registry = with_one();
    registry.disconnected(speaker(1, 1), START);
    let late = registry.register(speaker(2, 2), &wish("one", true), BEAT - MOMENT);
    assert_eq!(late, Err(Refusal::NameTaken));
    registry.tick(BEAT);
    assert_eq!(registry.register(speaker(2, 2), &wish("one", true), BEAT), Ok(name("one")));
}

#[test]
fn an_address_that_nobody_reaches_is_refused() {
    let mut registry = with_one();
    for at in ["0.0.0.0:4000", "10.0.0.1:0", "[::]:4000", "224.0.0.1:4000"] {
        let search: SocketAddr = at.parse().unwrap();
        let wish = Registration { search, ..wish("two", true) };
        let refused = registry.register(speaker(2, 2), &wish, START);
        assert_eq!(refused, Err(Refusal::NotAllowed), "{at}");
        // Nor may a node that is here take one; it stays what it was.
        let wish = Registration { name: name("one"), ..wish };
        assert_eq!(registry.register(speaker(1, 1), &wish, START), Err(Refusal::NotAllowed));
        assert_eq!(ids(&registry), [1]);
    }
}

/// One of many.
fn nth(number: usize) -> Speaker {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Speaker { node: NodeId::from_bytes(id), session: SessionId(number as u64) }
}

/// A registry with so many nodes that have just been started.
fn crowd(count: usize) -> Registry {
    let mut registry = Registry::new(BEAT);
    for number in 0..count {
        let wish = wish(&format!("node{number}"), true);
        registry.register(nth(number), &wish, START).unwrap();
    }
    registry
}

#[test]
fn there_is_a_bound_and_who_is_here_may_still_return() {
    let mut registry = crowd(MAX_NODES);
    let more = registry.register(nth(MAX_NODES), &wish("more", true), START);
    assert_eq!(more, Err(Refusal::Busy));
    assert_eq!(registry.register(nth(7), &wish("seven", true), START), Ok(name("seven")));
    assert!(registry.changes.len() <= CHANGE_LOG);
    registry.take_notices();
    let present = registry.present().to_string();
    assert!(
        present.len() < 500 && present.ends_with(&format!("and {} more", MAX_NODES - 20)),
        "{present}"
    );
}

#[test]
fn silence_is_left_after_two_intervals_and_not_before() {
    let mut registry = with_one();
    registry.heard(speaker(1, 1), BEAT);
    // That it was heard is seen when its time comes.
    assert_eq!(registry.next_deadline(), Some(2 * BEAT));
    registry.tick(2 * BEAT);
    assert_eq!(registry.next_deadline(), Some(3 * BEAT));
    registry.tick(3 * BEAT - MOMENT);
    assert_eq!(ids(&registry), [1]);
    let before = registry.revision();
    registry.tick(3 * BEAT);
    assert_eq!((ids(&registry), registry.next_deadline()), (vec![], None));
    let left = Change::Left { id: speaker(1, 1).node, why: Leaving::Vanished };
    assert_eq!(news(&registry, speaker(2, 2).node, before), [left]);
    assert!(said(&mut registry).ends_with("left without a word: it fell silent"));
}

#[test]
fn a_broken_connection_has_one_interval_to_return() {
    let mut registry = with_one();
    registry.disconnected(speaker(1, 1), BEAT);
    assert_eq!(registry.standing(speaker(1, 1)), Standing::Superseded);
    registry.tick(2 * BEAT - MOMENT);
    assert_eq!(ids(&registry), [1]);
    registry.tick(2 * BEAT);
    assert_eq!(registry.standing(speaker(1, 1)), Standing::Gone);
    assert!(said(&mut registry).ends_with("left without a word: its connection broke"));
}

#[test]
fn who_returns_in_time_has_not_left() {
    let mut registry = with_one();
    let before = registry.revision();
    registry.disconnected(speaker(1, 1), START);
    registry.register(speaker(1, 2), &again("one", 1), BEAT - MOMENT).unwrap();
    registry.tick(BEAT);
    assert_eq!((ids(&registry), registry.revision()), (vec![1], before));
    assert!(said(&mut registry).ends_with("came back"));
    // With another address it has not left either, but is told of.
    let moved = Registration { search: "10.0.0.9:1".parse().unwrap(), ..again("one", 1) };
    registry.register(speaker(1, 3), &moved, BEAT).unwrap();
    let changes = news(&registry, speaker(2, 2).node, before);
    assert!(matches!(&changes[..], [Change::Joined(peer)] if peer.search == moved.search));
    assert!(said(&mut registry).ends_with("has a new address"));
}

#[test]
fn who_was_restarted_in_time_has_not_left_but_is_another_member() {
    let mut registry = with_one();
    let before = registry.revision();
    // One that was cut off before it had the answer was not restarted.
    registry.register(speaker(1, 9), &wish("one", true), START).unwrap();
    assert_eq!((registry.joined(speaker(1, 9).node), registry.revision()), (1, before));
    registry.heard(speaker(1, 9), START);
    registry.disconnected(speaker(1, 9), START);
    registry.take_notices();
    registry.register(speaker(1, 2), &wish("one", true), BEAT - MOMENT).unwrap();
    assert_eq!(registry.joined(speaker(1, 2).node), 2);
    let changes = news(&registry, speaker(2, 2).node, before);
    assert!(matches!(&changes[..], [Change::Joined(peer)] if peer.joined == 2));
    assert!(said(&mut registry).ends_with("came back"));
}

#[test]
fn the_newer_session_replaces_the_older() {
    let mut registry = with_one();
    let before = registry.revision();
    registry.register(speaker(1, 2), &again("one", 1), START).unwrap();
    assert_eq!(registry.standing(speaker(1, 1)), Standing::Superseded);
    assert_eq!(registry.standing(speaker(1, 2)), Standing::Current);
    // What the older one says or does is of no consequence any more.
    registry.exit(speaker(1, 1));
    registry.disconnected(speaker(1, 1), START);
    registry.heard(speaker(1, 1), 5 * BEAT);
    assert_eq!(registry.next_deadline(), Some(2 * BEAT));
    assert_eq!((registry.revision(), registry.connected()), (before, 1));
}

#[test]
fn exit_is_at_once() {
    let mut registry = with_one();
    let before = registry.revision();
    registry.exit(speaker(1, 1));
    let left = Change::Left { id: speaker(1, 1).node, why: Leaving::Exit };
    assert_eq!(news(&registry, speaker(2, 2).node, before), [left]);
    assert!(said(&mut registry).ends_with("left on purpose"));
    assert_eq!(registry.present().to_string(), "nobody is here");
}

#[test]
fn a_new_name_frees_the_old_one() {
    let mut registry = with_one();
    registry.register(speaker(1, 1), &wish("uno", true), START).unwrap();
    assert!(said(&mut registry).ends_with("has a new name, before `one`"));
    registry.register(speaker(2, 2), &wish("one", true), START).unwrap();
    assert_eq!(registry.present().to_string(), "2 nodes are here: one, uno");
}

#[test]
fn changes_are_known_for_a_while_and_told_in_bounds() {
    let mut registry = with_one();
    registry.register(speaker(2, 2), &wish("two", true), START).unwrap();
    let before = registry.revision();
    for round in 0..=CHANGE_LOG {
        let number = |from| registry.changes(from, registry.revision()).map(|c| c.len());
        assert_eq!(number(before), (round <= MAX_NEWS).then_some(round));
        assert_eq!(number(registry.revision() - 1), Some(1));
        let first = registry.changes(before, before + 1).unwrap().next();
        assert!(
            round == 0 || matches!(first, Some(Change::Joined(peer)) if peer.name == name("two-0"))
        );
        let name = format!("two-{round}");
        registry.register(speaker(2, 2), &wish(&name, true), START).unwrap();
    }
    assert!(registry.changes(before, before + 1).is_none());
    assert!(registry.changes(before + 1, before + 2).is_some());
    let now = registry.revision();
    assert!(registry.changes(now + 1, now + 2).is_none(), "what has not been yet");
}

#[test]
fn nobody_is_blamed_when_the_tracker_itself_stood_still() {
    let mut registry = with_one();
    registry.tick(3 * BEAT);
    assert_eq!(ids(&registry), [1]);
    assert!(said(&mut registry).starts_with("stood still for 10.0 s"));
    registry.tick(4 * BEAT);
    assert_eq!(ids(&registry), [0; 0]);
}

#[test]
fn a_tracker_that_stood_still_takes_nobody_s_time() {
    let mut registry = with_one();
    registry.register(speaker(2, 2), &wish("two", true), 2 * BEAT + MOMENT).unwrap();
    registry.tick(3 * BEAT);
    assert!(said(&mut registry).contains("stood still"));
    registry.tick(4 * BEAT);
    assert_eq!(ids(&registry), [2], "it has two intervals from when it came");
    registry.tick(4 * BEAT + MOMENT);
    assert_eq!(ids(&registry), [0; 0]);
}

#[test]
fn a_group_is_told_as_much_at_once_as_one_message_takes() {
    let mut registry = crowd(2 * MAX_NEWS + 9);
    let (most, many) = (MAX_NEWS as u64, registry.revision());
    let turns = [(0, most), (most, 2 * most), (2 * most, many), (many, many)];
    for turn in turns {
        assert_eq!(registry.publish(3), turn);
        assert_eq!(registry.published(SessionId(3)), turn.1);
    }
    assert_eq!(registry.published(SessionId(4)), 0, "another group");
    // Who is behind is told one turn after the other.
    for (told, next) in [(0, most), (most - 1, most), (most, 2 * most), (many, many)] {
        assert_eq!(registry.next_turn(SessionId(3), told), next);
    }
    // What is forgotten is not told.
    for round in 0..=CHANGE_LOG {
        registry.register(nth(1), &again(&format!("uno{round}"), 2), START).unwrap();
    }
    let revision = registry.revision();
    assert_eq!(registry.publish(3), (many, revision));
    assert!(registry.changes(many, revision).is_none());
}

/// Time between two pages for nodes of one kind.
const TURN: Duration = Duration::from_millis(2000 / PAGES_A_SECOND as u64);

fn millis(pause_ms: u64) -> Duration {
    Duration::from_millis(pause_ms)
}

#[test]
fn pages_have_a_pace_and_who_asks_early_gets_none_and_moves_nobody() {
    let mut registry = crowd(3 * PAGE);
    let mut now = START;
    let first = registry.page(nth(0).node, None, now);
    assert_eq!((first.peers.len(), first.pause_ms), (PAGE, 50));
    // The others have their places, from their first page on.
    let mut places: Vec<Duration> = Vec::new();
    for number in 1..=10 {
        let page = registry.page(nth(number).node, None, now);
        assert!(page.is_later());
        places.push(now + millis(page.pause_ms));
    }
    let apart: Vec<Duration> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(apart, [TURN; 9]);
    // Whoever asks again and again, on whichever connections.
    while now + TURN < places[9] {
        let page = registry.page(nth(10).node, None, now);
        assert!(page.is_later());
        assert_eq!(now + millis(page.pause_ms), places[9]);
        registry.register(nth(10), &again("node10", 11), now).unwrap();
        now += TURN / 4;
    }
    let next = registry.page(nth(11).node, None, now);
    assert_eq!(now + millis(next.pause_ms), places[9] + TURN);
    for number in 1..=10 {
        let page = registry.page(nth(number).node, None, places[9]);
        assert_eq!(page.peers.len(), PAGE, "its time has come");
    }
}

#[test]
fn newcomers_do_not_wait_for_those_who_read_again() {
    let mut registry = crowd(PAGE + 1);
    // One that reads the last page is new no more.
    let half = registry.page(nth(0).node, None, START);
    let last = half.peers.last().map(|peer| peer.id);
    let mut now = START + PUSH_PAUSES.0;
    assert!(!registry.page(nth(0).node, last, now).more);
    // Who comes from another tracker knows the others.
    for number in 1..100 {
        let known = again(&format!("node{number}"), 1000 + number as u64);
        registry.exit(nth(number));
        registry.register(nth(number), &known, now).unwrap();
        registry.page(nth(number).node, None, now);
    }
    now += TURN;
    assert!(registry.page(nth(0).node, None, now).pause_ms > 1000);
    assert_eq!(registry.page(nth(100).node, None, now).peers.len(), PAGE);
}
