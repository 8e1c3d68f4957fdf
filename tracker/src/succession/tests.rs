//! Rules of the machine, one at a time. That they hold together is the business
//! of the simulation.

use super::*;

const BEAT: Duration = Duration::from_secs(10);

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn at(number: u8) -> SocketAddr {
    ([127, 0, 0, number], 4000).into()
}

fn member(number: u8) -> Member {
    Member { id: id(number), joined: number.into(), address: at(number) }
}

fn council(count: u8) -> Vec<Member> {
    (1..=count).map(member).collect()
}

fn reign(number: u8, epoch: u64) -> Reign {
    let (tracker, address, joined) = (id(number), at(number), number.into());
    Reign { epoch, tracker, address, home: false, joined, elected: true }
}

fn home(epoch: u64) -> Reign {
    Reign { home: true, joined: 0, ..reign(200, epoch) }
}

/// The node with this number, which follows the home tracker in epoch 3.
fn node(number: u8, of: u8) -> Succession {
    let us = Us { id: id(number), home: false, eligible: true, knows_home: true, peers: 0 };
    let mut node = Succession::node(us, BEAT, 7, Duration::ZERO);
    node.set_address(at(number));
    assert!(node.registered(&home(3), &council(of), number.into(), Duration::ZERO));
    node.take_effects();
    node
}

fn claims(reign: Reign) -> Inquiry {
    Inquiry { reign: None, council: vec![], claim: Some(reign) }
}

fn standing(reign: Option<Reign>, sight: Sight, agrees: bool, joined: u64) -> Standing {
    Standing { reign, sight, agrees, promised: 0, joined, council: vec![] }
}

fn asked(node: &mut Succession) -> Vec<(Asked, Inquiry)> {
    let effects = node.take_effects().into_iter();
    let asked = effects.filter_map(|effect| match effect {
        Effect::Ask(asked, inquiry) => Some((asked, *inquiry)),
        _ => None,
    });
    asked.collect()
}

/// Lets it tick until it claims; returns when, and what it asked.
fn until_claim(node: &mut Succession, mut now: Duration) -> (Duration, Vec<Asked>) {
    for _ in 0..1000 {
        now = now.max(node.deadline());
        node.tick(now);
        let claims: Vec<_> = asked(node)
            .into_iter()
            .filter(|(_, inquiry)| inquiry.claim.is_some())
            .map(|(asked, _)| asked)
            .collect();
        if !claims.is_empty() {
            return (now, claims);
        }
    }
    panic!("it never claims");
}

#[test]
fn one_that_was_called_away_just_when_it_was_taken_in_tries_again() {
    let mut node = node(1, 3);
    // The session had left this tracker for another try, and that failed.
    node.failed(BEAT);
    assert_eq!(node.sight(BEAT), Sight::Seeks);
    let tries = |_| {
        node.tick(node.deadline());
        node.take_effects().iter().any(|effect| matches!(effect, Effect::Follow(_)))
    };
    assert!((0..8).any(tries));
}

#[test]
fn whoever_is_taken_in_is_not_sent_on_by_what_was_decided_before() {
    let us = Us { id: id(1), home: false, eligible: true, knows_home: true, peers: 0 };
    let mut node = Succession::node(us, BEAT, 7, Duration::ZERO);
    node.set_address(at(1));
    node.tick(Duration::ZERO);
    assert!(node.registered(&home(3), &council(3), 1, BEAT));
    assert!(!node.take_effects().iter().any(|effect| matches!(effect, Effect::Follow(_))));
}

#[test]
fn the_turn_comes_by_the_place_in_the_line() {
    let lost = BEAT;
    let mut times = Vec::new();
    for number in 1..=3 {
        let mut node = node(number, 3);
        node.lost(false, lost);
        times.push(until_claim(&mut node, lost).0 - lost);
    }
    for (position, time) in (0..).zip(&times) {
        let turn = GRACE_LOST + STEP * position;
        assert!(*time >= turn && *time <= turn + STEP, "{times:?}");
    }
    // Who was silent for long is not waited for.
    let mut node = node(1, 3);
    node.lost(true, lost);
    assert!(until_claim(&mut node, lost).0 - lost <= STEP);
}

#[test]
fn a_majority_elects_and_without_one_there_is_a_caretaker() {
    for (agreeing, elected) in [(2_u8, true), (1, false)] {
        let mut node = node(1, 5);
        node.lost(false, BEAT);
        let (now, claims) = until_claim(&mut node, BEAT);
        for asked in claims {
            let Way::At(address) = asked.to else {
                node.answered(asked, None, now);
                continue;
            };
            let number = (2..=5).find(|number| at(*number) == address);
            let answer = number.filter(|number| *number <= 1 + agreeing).map(|number| {
                (id(number), standing(Some(home(3)), Sight::Seeks, true, number.into()))
            });
            node.answered(asked, answer.as_ref().map(|(from, said)| (*from, said)), now);
        }
        let reign = node.known().unwrap();
        assert_eq!((node.sight(now), reign.tracker), (Sight::Reigns, id(1)));
        assert_eq!((reign.elected, reign.epoch), (elected, if elected { 4 } else { 3 }));
        assert!(!reign.beats(&home(3)) || elected);
    }
}

#[test]
fn the_votes_of_those_who_were_restarted_do_not_count() {
    let mut node = node(1, 5);
    node.lost(false, BEAT);
    let (now, claims) = until_claim(&mut node, BEAT);
    for asked in claims {
        let number = (2..=5).find(|number| asked.to == Way::At(at(*number)));
        let said = standing(None, Sight::Seeks, true, 0);
        node.answered(asked, number.map(|number| (id(number), &said)), now);
    }
    assert!(!node.known().unwrap().elected);
}

#[test]
fn whoever_hears_the_tracker_prevents_a_claim() {
    let mut node = node(1, 3);
    node.lost(false, BEAT);
    let (now, claims) = until_claim(&mut node, BEAT);
    let said = standing(Some(home(3)), Sight::Hears, false, 2);
    node.answered(claims[0], Some((id(2), &said)), now);
    for asked in &claims[1..] {
        node.answered(*asked, Some((id(3), &standing(None, Sight::Seeks, true, 3))), now);
    }
    assert_eq!(node.sight(now), Sight::Seeks);
}

#[test]
fn one_vote_in_an_epoch_and_one_candidate_at_a_time() {
    let mut voter = node(3, 3);
    let now = BEAT;
    assert!(!voter.asked(&claims(reign(1, 4)), now).agrees, "it hears its tracker");
    assert!(voter.asked(&claims(home(4)), now).agrees, "home may have it back");
    let mut voter = node(3, 3);
    voter.lost(false, now);
    assert!(voter.asked(&claims(reign(1, 4)), now).agrees);
    assert!(voter.asked(&claims(reign(1, 4)), now).agrees, "it is the same vote");
    assert!(!voter.asked(&claims(reign(2, 4)), now + HOLD).agrees);
    assert!(!voter.asked(&claims(reign(2, 5)), now).agrees, "the other is not through yet");
    assert!(voter.asked(&claims(reign(2, 5)), now + HOLD).agrees);
    assert!(!voter.asked(&claims(reign(1, 5)), now + 2 * HOLD).agrees);
    let caretaker = Reign { elected: false, ..reign(1, 6) };
    assert!(!voter.asked(&claims(caretaker), now + 3 * HOLD).agrees);
    assert_eq!(voter.asked(&claims(reign(1, 3)), now + 3 * HOLD).promised, 5);
}

#[test]
fn absurd_epochs_are_not_believed() {
    let mut voter = node(3, 3);
    voter.lost(false, BEAT);
    voter.take_effects();
    for epoch in [0, 3 + MAX_LEAP + 1, MAX_EPOCH, u64::MAX] {
        assert!(!voter.asked(&claims(reign(1, epoch)), BEAT).agrees, "{epoch}");
        let told = Inquiry { reign: Some(reign(1, epoch)), council: vec![], claim: None };
        voter.asked(&told, BEAT);
        assert_eq!(voter.take_effects(), [], "{epoch} was looked at");
        assert!(!voter.registered(&reign(1, epoch), &council(3), 3, BEAT), "{epoch}");
    }
    assert!(voter.asked(&claims(reign(1, 3 + MAX_LEAP)), BEAT).agrees);
    let long = council(9);
    assert!(!voter.registered(&reign(1, 4), &long, 3, BEAT));
}

#[test]
fn a_tracker_that_stood_still_asks_before_it_answers() {
    let mut tracker = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    tracker.present(&council(3), Duration::ZERO);
    let mut now = Duration::ZERO;
    while now < 3 * BEAT {
        now = tracker.deadline();
        tracker.tick(now);
    }
    tracker.take_effects();
    assert!(tracker.may_answer(now + BEAT), "that is no time");
    now += BEAT * 3;
    assert!(!tracker.may_answer(now));
    assert_eq!(tracker.registers(None, at(9), now), Welcome::Elsewhere(None));
    let asked = asked(&mut tracker);
    assert_eq!(asked.len(), 3);
    for (asked, _) in &asked[1..] {
        tracker.answered(*asked, None, now);
    }
    assert!(!tracker.may_answer(now), "one has not answered");
    // It was succeeded, so it claims the next epoch: it is the home tracker.
    let said = standing(Some(reign(1, 2)), Sight::Hears, false, 2);
    tracker.answered(asked[0].0, Some((id(2), &said)), now);
    assert!(!tracker.may_answer(now));
    let claims: Vec<_> = super::tests::asked(&mut tracker);
    assert!(claims.iter().all(|(_, inquiry)| inquiry.claim.is_some_and(|c| c.epoch == 3)));
    for (asked, _) in claims {
        let number = (1..=3).find(|number| asked.to == Way::At(at(*number))).unwrap();
        let said = standing(Some(reign(1, 2)), Sight::Hears, true, number.into());
        tracker.answered(asked, Some((id(number), &said)), now);
    }
    assert!(tracker.may_answer(now));
    assert_eq!(tracker.known().map(|reign| (reign.epoch, reign.elected)), Some((3, true)));
}

#[test]
fn a_home_tracker_that_forgot_its_network_is_told_of_it() {
    let now = BEAT;
    let mut fresh = Succession::home(id(201), at(200), BEAT, 7, Duration::ZERO);
    assert_eq!(fresh.registers(None, at(1), now), Welcome::Here, "nobody knows more");
    // Its own former life, in the same epoch.
    let knows = home(1);
    assert_eq!(fresh.registers(Some(&knows), at(1), now), Welcome::Elsewhere(None));
    let asked = asked(&mut fresh);
    assert_eq!(asked[0].0, Asked { to: Way::At(at(1)), why: Why::Look });
    let said = Standing { council: council(3), ..standing(Some(knows), Sight::Seeks, false, 1) };
    fresh.answered(asked[0].0, Some((id(1), &said)), now);
    // It finds itself where that tracker was.
    let check = super::tests::asked(&mut fresh);
    assert_eq!(check[0].0.why, Why::Check(knows));
    let own = standing(fresh.known(), Sight::Reigns, false, 0);
    fresh.answered(check[0].0, Some((id(201), &own)), now);
    let claims = super::tests::asked(&mut fresh);
    assert_eq!(claims.len(), 3, "{claims:?}");
    for (asked, inquiry) in claims {
        assert_eq!(inquiry.claim.map(|claim| claim.epoch), Some(2));
        let number = (1..=3).find(|number| asked.to == Way::At(at(*number))).unwrap();
        let said = standing(Some(knows), Sight::Seeks, true, number.into());
        fresh.answered(asked, Some((id(number), &said)), now);
    }
    assert_eq!(fresh.registers(Some(&knows), at(1), now), Welcome::Here);
    assert_eq!(fresh.known().map(|reign| (reign.epoch, reign.elected)), Some((2, true)));
}

#[test]
fn the_council_follows_those_who_are_here_only_while_most_of_it_is() {
    let mut tracker = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    let here: Vec<Member> = (1..=9).map(member).collect();
    assert!(tracker.present(&here, BEAT));
    assert_eq!(tracker.council(), council(7));
    assert!(!tracker.present(&here, BEAT));
    // One is away: the next in line takes its place.
    assert!(tracker.present(&here[1..], 2 * BEAT));
    assert_eq!(tracker.council(), &here[1..8]);
    // Most are away: perhaps it is the tracker that is cut off.
    assert!(!tracker.present(&here[5..], 3 * BEAT));
    assert!(!tracker.present(&here[5..], 3 * BEAT + AWAY / 2));
    assert!(tracker.present(&here[5..], 3 * BEAT + AWAY));
    assert_eq!(tracker.council(), &here[5..]);
}
