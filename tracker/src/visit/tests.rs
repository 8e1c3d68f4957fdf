//! A conversation without sockets.

use shoal_common::ident::NodeId;
use shoal_common::limits::{PUSH_GROUPS, SAMPLE};
use shoal_common::protocol::tracking::Registration;

use super::*;
use crate::registry::{KEPT_TURNS, SessionId};

const BEAT: Duration = Duration::from_secs(10);
const START: Duration = Duration::ZERO;

fn visit(node: u8, session: u64) -> Visit {
    let node = NodeId::from_bytes([node; 32]);
    Visit::new(Speaker { node, session: SessionId(session) }, 77)
}

fn register(name: &str) -> ToTracker {
    again(name, 0)
}

/// What one says that has had a join number.
fn again(name: &str, joined: u64) -> ToTracker {
    ToTracker::Register(Registration {
        name: name.parse().unwrap(),
        exact: true,
        search: "10.0.0.1:4000".parse().unwrap(),
        download: "10.0.0.1:4001".parse().unwrap(),
        reign: None,
        joined,
    })
}

const HEARTBEAT: ToTracker = ToTracker::Heartbeat;

/// Everyone may be told of everything.
fn publish(registry: &mut Registry) {
    for group in 0..PUSH_GROUPS {
        registry.publish(group);
    }
}

fn refused(refusal: Refusal) -> Step {
    Step::Say(FromTracker::Refused { refusal })
}

/// Nodes 1 and 2, both registered, both up to date.
fn two() -> (Registry, Visit, Visit) {
    let mut registry = Registry::new(BEAT);
    let (mut one, mut two) = (visit(1, 1), visit(2, 2));
    one.answer(register("one"), &mut registry, START);
    two.answer(register("two"), &mut registry, START);
    publish(&mut registry);
    one.push(&registry);
    (registry, one, two)
}

#[test]
fn a_registration_is_answered_with_everyone_else_if_they_are_few() {
    let (mut registry, ..) = two();
    let Step::Say(FromTracker::Registered(answer)) =
        visit(3, 3).answer(register("three"), &mut registry, START)
    else {
        panic!("refused");
    };
    assert_eq!((answer.heartbeat_ms, answer.instance), (10_000, 77));
    assert_eq!(answer.revision, registry.revision());
    let mut names: Vec<_> = answer.peers.iter().map(|peer| peer.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(answer.total, 2);
}

#[test]
fn before_registration_nothing_else_is_allowed() {
    let mut registry = Registry::new(BEAT);
    let mut visit = visit(1, 1);
    for message in [HEARTBEAT, ToTracker::Exit, ToTracker::Page { after: None }] {
        assert_eq!(visit.answer(message, &mut registry, START), refused(Refusal::NotAllowed));
    }
    let unknown = visit.answer(ToTracker::Unknown, &mut registry, START);
    assert_eq!(unknown, refused(Refusal::Unsupported));
    assert_eq!(visit.push(&registry), Step::Wait);
    assert!(!visit.is_registered());
    assert!(matches!(
        visit.answer(register("one"), &mut registry, START),
        Step::Say(FromTracker::Registered(_))
    ));
}

#[test]
fn a_refused_registration_is_no_registration_and_may_be_tried_again() {
    let (mut registry, mut one, _) = two();
    let mut three = visit(3, 3);
    assert_eq!(three.answer(register("one"), &mut registry, START), refused(Refusal::NameTaken));
    assert!(!three.is_registered());
    // Nor does one who is here lose what it has.
    let again = one.answer(register("two"), &mut registry, START + PUSH_PAUSES.0);
    assert_eq!(again, refused(Refusal::NameTaken));
    let news = Step::News { from: 2, to: 2, owed: true };
    assert_eq!(one.answer(HEARTBEAT, &mut registry, START), news);
}

#[test]
fn a_change_is_told_once_by_push_or_heartbeat() {
    let (mut registry, mut one, mut two) = two();
    assert_eq!(one.push(&registry), Step::Wait);
    let exit = two.answer(ToTracker::Exit, &mut registry, START);
    assert_eq!(exit, Step::SayLast(FromTracker::Done));
    // Until the next round nobody is told, and a heartbeat waits for it.
    assert_eq!(one.push(&registry), Step::Wait);
    assert_eq!(one.answer(HEARTBEAT, &mut registry, START), Step::Wait);
    publish(&mut registry);
    assert_eq!(one.push(&registry), Step::News { from: 2, to: 3, owed: true });
    assert_eq!(one.push(&registry), Step::Wait);
    let nothing = Step::News { from: 3, to: 3, owed: true };
    assert_eq!(one.answer(HEARTBEAT, &mut registry, START), nothing);
    // A heartbeat that comes before its round's push is answered with it.
    visit(4, 4).answer(register("four"), &mut registry, START);
    publish(&mut registry);
    let news = Step::News { from: 3, to: 4, owed: true };
    assert_eq!(one.answer(HEARTBEAT, &mut registry, START), news);
    assert_eq!(one.push(&registry), Step::Wait);
}

#[test]
fn a_newcomer_hears_of_what_happens_after_it_and_of_nothing_before() {
    let (mut registry, ..) = two();
    let mut three = visit(3, 3);
    three.answer(register("three"), &mut registry, START);
    assert_eq!(three.answer(HEARTBEAT, &mut registry, START), Step::Wait);
    visit(4, 4).answer(register("four"), &mut registry, START);
    publish(&mut registry);
    assert_eq!(three.push(&registry), Step::News { from: 3, to: 4, owed: true });
}

#[test]
fn in_a_large_network_a_newcomer_gets_a_sample_and_turns_pages() {
    let mut registry = Registry::new(BEAT);
    for number in 0..200_u8 {
        let mut visit = visit(number, number.into());
        visit.answer(register(&format!("node{number}")), &mut registry, START);
    }
    let mut newcomer = visit(200, 200);
    let Step::Say(FromTracker::Registered(answer)) =
        newcomer.answer(register("new"), &mut registry, START)
    else {
        panic!("refused");
    };
    assert_eq!(answer.total, 200);
    assert!(answer.peers.len() <= SAMPLE && answer.peers.len() >= SAMPLE / 2);
    let mut after = None;
    let mut seen = Vec::new();
    let mut now = START;
    loop {
        now += PUSH_PAUSES.0;
        let Step::Say(FromTracker::Page(page)) =
            newcomer.answer(ToTracker::Page { after }, &mut registry, now)
        else {
            panic!("no page");
        };
        assert_eq!(page.pause_ms, 50);
        after = page.peers.last().map(|peer| peer.id);
        seen.extend(page.peers.into_iter().map(|peer| peer.id));
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (0..=200).map(|n| NodeId::from_bytes([n; 32])).collect::<Vec<_>>());
    let hurried = newcomer.answer(ToTracker::Page { after: None }, &mut registry, now);
    assert_eq!(hurried, Step::Say(FromTracker::Page(Page::later(PUSH_PAUSES.0))));
    let no_room = newcomer.put_off(&mut registry, now);
    assert_eq!(no_room, Step::Say(FromTracker::Page(Page::later(NO_ROOM_PAUSE))));
    let stranger = visit(201, 201).put_off(&mut registry, now);
    assert_eq!(stranger, refused(Refusal::NotAllowed));
}

#[test]
fn who_registers_again_and_again_is_hung_up() {
    let (mut registry, mut one, mut two) = two();
    for times in 1..=3 {
        let again = one.answer(again("one", 1), &mut registry, PUSH_PAUSES.0 * times);
        assert!(matches!(again, Step::Say(FromTracker::Registered(_))), "{again:?}");
    }
    assert_eq!(two.answer(register("zwei"), &mut registry, PUSH_PAUSES.0 / 2), Step::HangUp);
    assert_eq!(registry.revision(), 2, "the one that was hung up for it has changed something");
}

#[test]
fn the_older_session_of_a_node_is_told_and_hung_up() {
    let (mut registry, mut older, _) = two();
    let mut newer = visit(1, 9);
    newer.answer(register("one"), &mut registry, START);
    let told = Step::SayLast(FromTracker::Refused { refusal: Refusal::Superseded });
    assert_eq!(older.push(&registry), told);
    assert_eq!(older.answer(HEARTBEAT, &mut registry, START), told);
    // Its exit does not make the node leave.
    assert_eq!(older.answer(ToTracker::Exit, &mut registry, START), told);
    older.end(&mut registry, START);
    assert_eq!(registry.connected(), 2);
}

#[test]
fn who_fell_silent_is_hung_up() {
    let (mut registry, mut one, mut two) = two();
    one.answer(HEARTBEAT, &mut registry, BEAT);
    registry.tick(2 * BEAT);
    assert_eq!(two.push(&registry), Step::HangUp);
    assert_eq!(two.answer(HEARTBEAT, &mut registry, 2 * BEAT), Step::HangUp);
    publish(&mut registry);
    assert_eq!(one.push(&registry), Step::News { from: 2, to: 3, owed: false });
}

#[test]
fn anything_that_is_understood_counts_as_heard() {
    let (mut registry, mut one, _) = two();
    one.answer(ToTracker::Unknown, &mut registry, BEAT);
    registry.tick(2 * BEAT);
    assert!(registry.connected() == 1 && registry.next_deadline() == Some(3 * BEAT));
}

#[test]
fn who_is_behind_is_told_one_turn_after_the_other() {
    let (mut registry, mut one, _) = two();
    let start = registry.revision();
    for number in 3..=7 {
        visit(number, number.into()).answer(register(&format!("n{number}")), &mut registry, START);
        publish(&mut registry);
    }
    // It is told of no more turns than are remembered.
    let ends: Vec<u64> = (start + 5 - KEPT_TURNS as u64 + 1..=start + 5).collect();
    let mut from = start;
    for (position, to) in ends.iter().copied().enumerate() {
        assert_eq!(one.push(&registry), Step::News { from, to, owed: false });
        assert_eq!(one.is_behind(), position + 1 < ends.len());
        from = to;
    }
    assert_eq!(one.push(&registry), Step::Wait);
}
