//! Epochs that were never reached by elections.

use super::*;

#[test]
fn absurd_epochs_are_not_believed() {
    let mut voter = node(3, 3);
    voter.lost(false, BEAT);
    voter.take_effects();
    for epoch in [0, 3 + MAX_LEAP + 1, MAX_EPOCH, u64::MAX] {
        assert!(!voter.asked(&claims(reign(1, epoch)), BEAT).agrees, "{epoch}");
    }
    let home = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    for mut hears in [node(3, 3), successor(1), home] {
        for epoch in [0, 4 + MAX_LEAP + 1, MAX_EPOCH, u64::MAX] {
            let told = Inquiry { reign: Some(reign(66, epoch)), council: vec![], claim: None };
            hears.asked(&told, BEAT);
            assert_eq!(hears.take_effects(), [], "{epoch} was looked at");
            let said = standing(told.reign, Sight::Reigns, true, 66);
            let look = Asked { to: Way::At(at(66)), why: Why::Look };
            hears.answered(look, Some((id(66), &said)), BEAT);
            assert_eq!(hears.take_effects(), [], "{epoch} was followed");
        }
    }
    assert!(!voter.registered(&reign(1, 0), &council(3), 3, BEAT));
    let twice = vec![member(1), member(1)];
    let unreachable = vec![Member { address: ([0, 0, 0, 0], 4000).into(), ..member(1) }];
    for council in [council(9), twice, unreachable] {
        assert!(!voter.registered(&reign(1, 4), &council, 3, BEAT));
    }
}

#[test]
fn who_was_led_to_the_end_of_the_epochs_begins_anew() {
    for epoch in [MAX_EPOCH, u64::MAX - 1, u64::MAX] {
        let mut astray = node(1, 3);
        astray.lost(false, BEAT);
        assert!(astray.registered(&reign(66, epoch), &council(3), 1, BEAT));
        assert!(astray.told(Some(&reign(66, u64::MAX)), None, BEAT));
        astray.lost(false, BEAT);
        let mut voter = node(2, 3);
        voter.lost(false, BEAT);
        assert!(voter.registered(&reign(66, u64::MAX), &council(3), 2, BEAT));
        voter.lost(false, BEAT);
        let (now, claim) = elected(&mut astray, BEAT, Some(reign(66, u64::MAX)));
        assert_eq!((claim.epoch, claim.elected), (2, true));
        assert_eq!(astray.known(), Some(claim), "it is in office");
        assert!(voter.asked(&claims(claim), now).agrees);
        assert!(!voter.asked(&claims(reign(3, 2)), now + HOLD).agrees, "one vote in an epoch");
        assert!(voter.asked(&claims(reign(3, 3)), now + HOLD).agrees);
        // Also those who have never known of any other epoch take it for the tracker.
        assert!(voter.registered(&claim, &council(3), 2, now));
        assert_eq!(voter.asked(&claims(reign(3, 9)), now).promised, 3);
    }
}

#[test]
fn a_tracker_that_was_led_astray_gives_way_to_a_home_tracker_that_knows_nothing() {
    let mut astray = successor(1);
    let far = Reign { epoch: 1 << 40, ..reign(1, 4) };
    astray.take_office(far, BEAT);
    astray.take_effects();
    let fresh = standing(Some(home(1)), Sight::Reigns, false, 0);
    let look = Asked { to: Way::Home, why: Why::Look };
    astray.answered(look, Some((id(200), &fresh)), BEAT);
    let effects = astray.take_effects();
    assert!(effects.contains(&Effect::Yield(home(1))), "{effects:?}");
    // And that one is not disturbed by it, and takes in whoever comes from there.
    let mut home_tracker = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    assert_eq!(home_tracker.registers(Some(&far), at(2), BEAT), Welcome::Here);
    assert_eq!(home_tracker.take_effects(), []);
    assert!(astray.registered(&home(1), &council(3), 1, BEAT));
    astray.lost(false, BEAT);
    let (_, claim) = elected(&mut astray, BEAT, Some(home(1)));
    assert!(claim.epoch <= 4, "the epochs are near the beginning again");
}

#[test]
fn a_home_tracker_that_was_led_astray_comes_down_to_a_tracker_that_is_not() {
    let mut astray = Succession::home(id(200), at(200), BEAT, 7, Duration::ZERO);
    astray.take_office(home(1 << 40), Duration::ZERO);
    astray.present(&council(3), Duration::ZERO);
    astray.take_effects();
    let said = standing(Some(reign(1, 4)), Sight::Reigns, false, 1);
    let look = Asked { to: Way::At(at(1)), why: Why::Look };
    astray.answered(look, Some((id(1), &said)), BEAT);
    let claim = asked(&mut astray).into_iter().find_map(|(_, inquiry)| inquiry.claim);
    assert_eq!(claim.map(|claim| claim.epoch), Some(5));
}

#[test]
fn who_has_agreed_to_a_great_leap_still_claims_and_is_agreed_with() {
    let mut led_on = node(1, 3);
    led_on.lost(false, BEAT);
    let far = Reign { home: true, joined: 0, ..reign(9, 3 + MAX_LEAP) };
    assert!(led_on.asked(&claims(far), BEAT).agrees);
    // The next leap has to wait.
    let further = Reign { epoch: 3 + 2 * MAX_LEAP, ..far };
    assert!(!led_on.asked(&claims(further), BEAT).agrees);
    led_on.lost(false, BEAT);
    led_on.tick(led_on.deadline());
    let (_, claims_made) = until_claim(&mut led_on, BEAT + HOLD);
    assert!(!claims_made.is_empty());
    // Another candidate hears of it, and goes beyond it.
    let mut candidate = node(2, 3);
    candidate.lost(false, BEAT);
    let (now, round) = until_claim(&mut candidate, BEAT);
    let said = Standing { promised: 3 + MAX_HEARSAY, ..standing(None, Sight::Seeks, false, 1) };
    for asked in round {
        candidate.answered(asked, Some((id(1), &said)), now);
    }
    let mut now = now;
    let claim = loop {
        now = now.max(candidate.deadline());
        candidate.tick(now);
        if let Some(claim) =
            asked(&mut candidate).into_iter().find_map(|(_, inquiry)| inquiry.claim)
        {
            break claim;
        }
    };
    assert_eq!(claim.epoch, 3 + MAX_HEARSAY + 1);
    let mut voter = node(3, 3);
    voter.lost(false, BEAT);
    assert!(voter.asked(&claims(claim), now).agrees, "it has heard of nothing");
}

#[test]
fn whoever_tells_of_a_tracker_far_above_makes_one_look_for_it_and_believe_nothing() {
    let us = Us { id: id(9), home: false, eligible: true, knows_home: false, peers: 0 };
    let mut newcomer = Succession::node(us, BEAT, 7, Duration::ZERO);
    newcomer.set_address(at(9));
    for (mut hears, epoch) in [(newcomer, 1 << 40), (successor(1), 3 + MAX_LEAP)] {
        let before = hears.council().to_vec();
        let far = reign(66, epoch);
        let said =
            Standing { council: vec![member(66)], ..standing(Some(far), Sight::Hears, false, 2) };
        hears.answered(Asked { to: Way::At(at(2)), why: Why::Look }, Some((id(2), &said)), BEAT);
        let looks: Vec<_> = asked(&mut hears).into_iter().map(|(asked, _)| asked).collect();
        assert_eq!(looks, [Asked { to: Way::At(far.address), why: Why::Check(far) }]);
        assert_eq!(hears.council(), before);
        let there = standing(Some(far), Sight::Reigns, false, 0);
        hears.answered(looks[0], Some((far.tracker, &there)), BEAT);
        let effects = hears.take_effects();
        assert!(effects.contains(&Effect::Follow(Way::At(far.address))), "{effects:?}");
    }
}

#[test]
fn who_was_led_away_asks_those_who_were_in_line_before() {
    let mut led = node(1, 3);
    led.lost(false, BEAT);
    // Without a join number it never claims, and so never looks around as a tracker.
    assert!(led.registered(&reign(66, 4), &[member(66)], 0, BEAT));
    led.set_line([]);
    led.lost(false, BEAT);
    led.take_effects();
    let mut looked = Vec::new();
    for beat in 1..20 {
        led.tick(BEAT + beat * PROBE.1);
        looked.extend(asked(&mut led).into_iter().map(|(asked, _)| asked.to));
    }
    for before in [2, 3] {
        assert!(looked.contains(&Way::At(at(before))), "{before} is not asked: {looked:?}");
    }
}
