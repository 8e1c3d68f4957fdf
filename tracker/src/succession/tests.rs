//! Rules of the machine, one at a time. That they hold together is the business
//! of the simulation.

use shoal_common::protocol::succession::MAX_LEAP;

use super::*;

mod astray;

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

/// Who agrees has promised the epoch that was claimed: see [`agrees_to`].
fn standing(reign: Option<Reign>, sight: Sight, agrees: bool, joined: u64) -> Standing {
    Standing { reign, sight, agrees, promised: 0, joined, council: vec![] }
}

fn agrees_to(epoch: u64, said: Standing) -> Standing {
    Standing { agrees: true, promised: epoch, ..said }
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

/// The node with this number when all others of its council of three have elected it.
fn successor(number: u8) -> Succession {
    let mut node = node(number, 3);
    node.lost(false, Duration::ZERO);
    let (now, _) = elected(&mut node, Duration::ZERO, Some(home(3)));
    assert_eq!(node.sight(now), Sight::Reigns);
    node.take_effects();
    node
}

/// Lets it claim, and the others of a council of three agree, who know that reign.
/// Returns when, and what it claimed.
fn elected(node: &mut Succession, now: Duration, known: Option<Reign>) -> (Duration, Reign) {
    node.take_effects();
    let mut now = now;
    let claims = loop {
        now = now.max(node.deadline());
        node.tick(now);
        let asked = asked(node);
        if asked.iter().any(|(_, inquiry)| inquiry.claim.is_some()) {
            break asked;
        }
    };
    let claim = claims.iter().find_map(|(_, inquiry)| inquiry.claim).unwrap();
    for (asked, _) in claims {
        let number = (1..=3).find(|number| asked.to == Way::At(at(*number)));
        let said = standing(known, Sight::Seeks, true, number.unwrap_or_default().into());
        let said = agrees_to(claim.epoch, said);
        node.answered(asked, number.map(|number| (id(number), &said)), now);
    }
    (now, claim)
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
                let said = standing(Some(home(3)), Sight::Seeks, true, number.into());
                (id(number), agrees_to(4, said))
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
fn the_turn_comes_at_last_however_short_the_heartbeats_are() {
    for beat in [100, 300, 500, 1000] {
        let mut node = node(20, 7);
        node.set_heartbeat(Duration::from_millis(beat));
        node.lost(true, BEAT);
        node.set_line((8..20).map(member));
        let (now, _) = until_claim(&mut node, BEAT);
        assert!(now - BEAT <= STEP * 21, "{beat}: {:?}", now - BEAT);
    }
}

#[test]
fn a_successor_asks_for_no_absurd_heartbeats() {
    for (beat, inherited) in [(3_600_000, 60_000), (10_000, 10_000), (1, 1_000)] {
        let mut node = node(1, 3);
        node.set_heartbeat(Duration::from_millis(beat));
        node.lost(false, Duration::ZERO);
        elected(&mut node, Duration::ZERO, Some(home(3)));
        assert_eq!(node.heartbeat(), Duration::from_millis(inherited));
    }
}

#[test]
fn a_stranger_does_not_change_the_council_nor_silence_the_home_tracker() {
    let mut home = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    home.present(&council(3), Duration::ZERO);
    let invented = vec![Member { id: id(66), joined: 1, address: at(66) }];
    for epoch in [1, 2, 66, 1 << 40, MAX_EPOCH] {
        let told = reign(66, epoch);
        let inquiry = Inquiry { reign: Some(told), council: invented.clone(), claim: None };
        home.asked(&inquiry, BEAT);
        assert!(home.may_answer(BEAT), "{epoch}");
    }
    // It was looked for where it should be, and nobody answers there.
    for (checked, _) in asked(&mut home) {
        assert_eq!(checked.to, Way::At(at(66)));
        home.answered(checked, None, BEAT);
    }
    assert_eq!(home.council(), council(3));
    // It claims beyond it, in case it was true, and the others agree.
    let mut claimed = 0;
    for (asked, inquiry) in asked(&mut home) {
        claimed = inquiry.claim.map_or(claimed, |claim| claim.epoch);
        let number = (1..=3).find(|number| asked.to == Way::At(at(*number)));
        let said = standing(None, Sight::Hears, true, number.unwrap_or_default().into());
        home.answered(asked, number.map(|number| (id(number), &said)), BEAT);
    }
    assert!(home.may_answer(BEAT));
    assert_eq!(home.known().map(|reign| (reign.epoch, reign.elected)), Some((claimed, true)));
    assert!(claimed <= 1 + MAX_LEAP);
}

#[test]
fn of_two_home_trackers_the_one_that_is_heard_keeps_the_office() {
    let other = Reign { tracker: id(201), address: at(201), ..home(4) };
    let mut hears = node(1, 3);
    assert!(!hears.asked(&claims(other), BEAT).agrees);
    assert!(
        hears.asked(&claims(Reign { tracker: id(200), ..other }), BEAT).agrees,
        "it is its own"
    );
    let restarted = Reign { address: at(200), ..other };
    assert!(node(1, 3).asked(&claims(restarted), BEAT).agrees, "it was restarted");
    assert!(node(1, 3).asked(&claims(other), 2 * BEAT).agrees, "it is not heard any more");
}

#[test]
fn the_council_looks_for_those_that_its_tracker_does_not_know() {
    let mut member = node(1, 3);
    let now = 2 * MEET * SELDOM;
    assert!(member.told(None, None, now));
    assert_eq!(member.is_to_meet(now), Some(Met::Strangers));
    member.set_met(vec![at(50)]);
    member.tick(now);
    let look = Asked { to: Way::At(at(50)), why: Why::Look };
    assert!(asked(&mut member).iter().any(|(asked, _)| *asked == look));
    // That one has a better tracker: it is found, followed, and told of to the one before.
    let better = Reign { tracker: id(201), address: at(201), ..home(9) };
    let said = standing(Some(better), Sight::Hears, false, 50);
    member.answered(look, Some((id(50), &said)), now);
    let (check, _) = asked(&mut member)[0];
    assert_eq!(check, Asked { to: Way::At(at(201)), why: Why::Check(better) });
    let said = standing(Some(better), Sight::Reigns, false, 0);
    member.answered(check, Some((id(201), &said)), now);
    let effects = member.take_effects();
    assert!(effects.contains(&Effect::Follow(Way::At(at(201)))), "{effects:?}");
    let tells = |effect: &Effect| match effect {
        Effect::Ask(asked, told) => asked.to == Way::At(at(200)) && told.reign == Some(better),
        _ => false,
    };
    assert!(effects.iter().any(tells), "{effects:?}");
    // Who is not in the council leaves it to those who are.
    let mut beyond = node(9, 3);
    assert!(beyond.told(None, None, now));
    assert_eq!(beyond.is_to_meet(now), None);
}

#[test]
fn who_resigns_serves_nobody_and_takes_no_office() {
    let mut tracker = node(1, 1);
    tracker.lost(false, BEAT);
    let (now, claims) = until_claim(&mut tracker, BEAT);
    for asked in claims {
        tracker.answered(asked, None, now);
    }
    assert!(tracker.may_answer(now));
    tracker.take_effects();
    tracker.resign(now);
    assert!(!tracker.may_answer(now));
    assert_eq!(tracker.take_effects(), [Effect::Resign]);
    let mut now = now;
    while now < 10 * BEAT {
        now = tracker.deadline().max(now + STEP);
        tracker.tick(now);
        assert!(asked(&mut tracker).iter().all(|(_, inquiry)| inquiry.claim.is_none()));
    }
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
fn a_home_tracker_whose_nodes_answer_nobody_takes_them_in_again_all_the_same() {
    let now = BEAT;
    let mut fresh = Succession::home(id(201), at(200), BEAT, 7, Duration::ZERO);
    let knows = home(1);
    assert_eq!(fresh.registers(Some(&knows), at(1), now), Welcome::Elsewhere(None));
    let told = Inquiry { reign: Some(knows), council: council(1), claim: None };
    fresh.asked(&told, now);
    let questions = asked(&mut fresh);
    assert_eq!(questions.len(), 2, "the node, and itself where that tracker was");
    for (asked, _) in questions {
        let own = standing(fresh.known(), Sight::Reigns, false, 0);
        let answers = asked.to == Way::At(at(200));
        fresh.answered(asked, answers.then_some((id(201), &own)), now);
    }
    fresh.tick(now);
    assert_eq!(fresh.registers(Some(&knows), at(1), now), Welcome::Here);
}

#[test]
fn the_council_follows_those_who_are_here_only_while_most_of_it_is() {
    let mut tracker = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    let here: Vec<Member> = (1..=9).map(member).collect();
    assert!(tracker.present(&here, BEAT));
    assert_eq!(tracker.council(), council(7));
    assert!(!tracker.present(&here, BEAT));
    // One is away: when it does not come back the next in line takes its place.
    assert!(!tracker.present(&here[1..], 2 * BEAT));
    assert!(!tracker.review(4 * BEAT - STEP));
    assert!(tracker.review(4 * BEAT));
    assert_eq!(tracker.council(), &here[1..8]);
    // The others fall silent one by one, as when a tracker is cut off.
    let mut now = 5 * BEAT;
    for gone in 2..7 {
        assert!(!tracker.present(&here[gone..], now));
        now += BEAT / 4;
    }
    assert!(!tracker.review(now + AWAY / 2));
    assert!(tracker.review(now + AWAY));
    assert_eq!(tracker.council(), &here[6..]);
}

#[test]
fn one_that_was_restarted_is_another_member() {
    let mut tracker = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    tracker.present(&council(3), BEAT);
    let restarted = Member { joined: 9, ..member(1) };
    assert!(tracker.present(&[member(2), member(3), restarted], BEAT));
    assert_eq!(tracker.council(), [member(2), member(3), restarted]);
}

#[test]
fn a_caretaker_whose_council_does_not_return_has_another_one_in_the_end() {
    let mut caretaker = node(1, 5);
    caretaker.lost(false, BEAT);
    let (now, claims) = until_claim(&mut caretaker, BEAT);
    for asked in claims {
        caretaker.answered(asked, None, now);
    }
    assert!(caretaker.known().is_some_and(|reign| !reign.elected && reign.tracker == id(1)));
    let here = [member(1), Member { joined: 12, ..member(2) }];
    assert!(!caretaker.present(&here, now));
    assert!(!caretaker.review(now + AWAY / 2));
    assert!(caretaker.review(now + AWAY + STEP));
    assert_eq!(caretaker.council(), here);
}

#[test]
fn a_home_tracker_without_an_office_does_not_wake_for_nothing() {
    let mut home = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    let other = Reign { home: true, joined: 0, ..reign(201, 2) };
    let said = standing(Some(other), Sight::Reigns, false, 0);
    let look = Asked { to: Way::At(at(201)), why: Why::Look };
    home.answered(look, Some((id(201), &said)), Duration::ZERO);
    assert_eq!(home.sight(Duration::ZERO), Sight::Seeks);
    let mut ticks = 0;
    let mut now = Duration::ZERO;
    while now < BEAT && home.sight(now) == Sight::Seeks {
        now = home.deadline().max(now + Duration::from_millis(1));
        home.tick(now);
        home.take_effects();
        ticks += 1;
    }
    assert!(ticks < 100, "{ticks}");
}

#[test]
fn a_tracker_that_stood_still_finds_it_out_whatever_it_hears_of_first() {
    let first: [fn(&mut Succession, Duration); 4] = [
        |tracker, now| tracker.lost(true, now),
        |tracker, now| {
            tracker.told(None, None, now);
        },
        |tracker, now| {
            let own = tracker.known().unwrap();
            tracker.registered(&own, &council(1), 1, now);
        },
        |tracker, now| tracker.tick(now),
    ];
    for hears in first {
        let mut tracker = node(1, 3);
        tracker.lost(false, BEAT);
        let (now, claims) = until_claim(&mut tracker, BEAT);
        let said = standing(None, Sight::Seeks, true, 2);
        for asked in claims {
            tracker.answered(asked, Some((id(2), &said)), now);
        }
        assert!(tracker.may_answer(now));
        hears(&mut tracker, now + 2 * BEAT);
        assert!(!tracker.may_answer(now + 2 * BEAT));
    }
}
