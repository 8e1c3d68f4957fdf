//! A conversation without sockets.

use shoal_common::ident::NodeId;
use shoal_common::protocol::tracking::{Change, Leaving, Registration, Update};

use super::*;
use crate::registry::SessionId;

const BEAT: Duration = Duration::from_secs(10);
const START: Duration = Duration::ZERO;

fn visit(node: u8, session: u64) -> Visit {
    let node = NodeId::from_bytes([node; 32]);
    Visit::new(Speaker { node, session: SessionId(session) }, 77)
}

fn register(name: &str) -> ToTracker {
    ToTracker::Register(Registration {
        name: name.parse().unwrap(),
        exact: true,
        search: "10.0.0.1:4000".parse().unwrap(),
        download: "10.0.0.1:4001".parse().unwrap(),
        reign: None,
        joined: 0,
    })
}

const HEARTBEAT: ToTracker = ToTracker::Heartbeat;

fn refused(refusal: Refusal) -> Step {
    Step::Say(FromTracker::Refused { refusal })
}

/// Nodes 1 and 2, both registered, both up to date.
fn two() -> (Registry, Visit, Visit) {
    let mut registry = Registry::new(BEAT);
    let (mut one, mut two) = (visit(1, 1), visit(2, 2));
    one.answer(register("one"), &mut registry, START);
    two.answer(register("two"), &mut registry, START);
    one.push(&registry);
    (registry, one, two)
}

#[test]
fn a_registration_is_answered_with_everyone_else() {
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
}

#[test]
fn before_registration_nothing_else_is_allowed() {
    let mut registry = Registry::new(BEAT);
    let mut visit = visit(1, 1);
    for message in [HEARTBEAT, ToTracker::Exit] {
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
    let again = one.answer(register("two"), &mut registry, START + PUSH_PAUSE);
    assert_eq!(again, refused(Refusal::NameTaken));
    assert!(matches!(
        one.answer(HEARTBEAT, &mut registry, START),
        Step::Say(FromTracker::Update(_))
    ));
}

#[test]
fn a_change_is_told_once_by_push_or_heartbeat() {
    let (mut registry, mut one, mut two) = two();
    assert_eq!(one.push(&registry), Step::Wait);
    let exit = two.answer(ToTracker::Exit, &mut registry, START);
    assert_eq!(exit, Step::SayLast(FromTracker::Done));
    let left = Change::Left { id: NodeId::from_bytes([2; 32]), why: Leaving::Exit };
    let update = |changes| {
        let news = News::Changes(changes);
        Step::Say(FromTracker::Update(Update { revision: 3, news }))
    };
    assert_eq!(one.answer(HEARTBEAT, &mut registry, START), update(vec![left]));
    assert_eq!(one.push(&registry), Step::Wait);
    assert_eq!(one.answer(HEARTBEAT, &mut registry, START), update(vec![]));
}

#[test]
fn only_a_long_list_needs_room() {
    let mut registry = Registry::new(BEAT);
    let newcomer = visit(255, 255);
    for number in 0..=SMALL_NEWS {
        assert!(!newcomer.needs_room(Some(&register("new")), &registry), "{number} nodes");
        let mut visit = visit(u8::try_from(number).unwrap(), number);
        visit.answer(register(&format!("node{number}")), &mut registry, START);
    }
    assert!(newcomer.needs_room(Some(&register("new")), &registry));
}

#[test]
fn who_registers_again_and_again_is_hung_up() {
    let (mut registry, mut one, mut two) = two();
    for times in 1..=3 {
        let again = one.answer(register("one"), &mut registry, PUSH_PAUSE * times);
        assert!(matches!(again, Step::Say(FromTracker::Registered(_))), "{again:?}");
    }
    assert_eq!(two.answer(register("zwei"), &mut registry, PUSH_PAUSE / 2), Step::HangUp);
    assert_eq!(registry.revision(), 2, "the one that was hung up for it has changed something");
}

#[test]
fn many_changes_are_one_message() {
    let (mut registry, mut one, _) = two();
    for number in 3..=202_u8 {
        visit(number, number.into()).answer(
            register(&format!("node{number}")),
            &mut registry,
            START,
        );
    }
    assert!(one.needs_room(None, &registry));
    let Step::Say(FromTracker::Update(Update { news: News::Changes(changes), .. })) =
        one.push(&registry)
    else {
        panic!("nothing to say");
    };
    assert_eq!(changes.len(), 200);
    assert!(!one.needs_room(None, &registry));
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
    let Step::Say(FromTracker::Update(Update { news: News::Changes(changes), .. })) =
        one.push(&registry)
    else {
        panic!("nothing to say");
    };
    let id = NodeId::from_bytes([2; 32]);
    assert_eq!(changes, [Change::Left { id, why: Leaving::Vanished }]);
}

#[test]
fn anything_that_is_understood_counts_as_heard() {
    let (mut registry, mut one, _) = two();
    one.answer(ToTracker::Unknown, &mut registry, BEAT);
    registry.tick(2 * BEAT);
    assert_eq!(registry.next_deadline(), Some(3 * BEAT));
}
