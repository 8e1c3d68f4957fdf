//! A stranger that lies about its replica.

use std::sync::Arc;
use std::time::Duration;

use shoal_common::chat::entry::{Act, Ballot, Body, Entry, Event, LogId, Position, ReplicaId};
use shoal_common::chat::log::{Base, Kept};
use shoal_common::chat::words::RoomName;
use shoal_common::limits::{COUNCIL, KEPT_ENTRIES, MAX_EVENT_TIME, MAX_NUMBER_LEAP};
use shoal_common::protocol::chat::{FromReplica, Summary, ToReplica};
use shoal_node::chat::replica::Replica;
use shoal_tracker::chat::proposer::Stamp;

use super::{Lab, Ruler, SESSION, id};

/// A piece of a log of this generation that has no end.
fn endless(generation: u64) -> Summary {
    let replica = ReplicaId { node: id(99), incarnation: 1 };
    let last = Ballot { round: 1 << 40, ..Ballot::NONE };
    let log = Some(LogId { generation, founded_ms: 1, nonce: 1 });
    Summary { replica, log, last, end: 1 << 61, committed: 0, council: vec![replica] }
}

/// Answers like the owner of such a piece, with pieces of so many entries each.
/// How many it was asked for.
fn lie(lab: &Lab, ruler: &mut Ruler, summary: &Summary, many: usize) -> usize {
    let mut asked = 0;
    for message in ruler.hears_from(99) {
        let ballot = message.ballot();
        let answer = match message {
            ToReplica::Prepare { .. } => FromReplica::Promised { ballot, summary: summary.clone() },
            ToReplica::Fetch { after, .. } => {
                asked += 1;
                let base = Base::found(summary.log.unwrap(), summary.replica);
                let body = Body::Reign { tracker: id(99) };
                let entry = Arc::new(Entry { ballot: Ballot::NONE, at: 1, time_ms: 1, body });
                let entries = vec![entry; many];
                let base = after.is_none().then(|| Box::new(base));
                FromReplica::Piece { ballot, base, previous: after.unwrap_or(0), entries }
            }
            _ => continue,
        };
        lab.answer(ruler, 99, answer);
    }
    asked
}

fn come(lab: &Lab, ruler: &mut Ruler, summary: &Summary) {
    ruler.proposer.attach(SESSION, summary.clone(), None, lab.stamp());
}

#[test]
fn a_piece_without_end_is_given_up() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    let summary = endless(5);
    come(&lab, &mut ruler, &summary);
    let mut most: Position = 0;
    for _ in 0..1000 {
        lie(&lab, &mut ruler, &summary, 1024);
        let held = ruler.proposer.book().map_or(0, |book| book.log().end());
        most = most.max(held);
    }
    assert!(most < 2 * KEPT_ENTRIES as Position, "{most} entries are held");
    lab.pass(&mut ruler, &[1, 2, 3], 3);
    assert!(ruler.proposer.is_in_office());
    assert_eq!(ruler.history(), ["a"]);
}

#[test]
fn who_sends_next_to_nothing_is_not_waited_for() {
    let (mut lab, mut ruler) = Lab::founded(3);
    let summary = endless(5);
    come(&lab, &mut ruler, &summary);
    for _ in 0..10 {
        lab.now += Duration::from_millis(2900);
        ruler.proposer.tick(lab.stamp());
        lie(&lab, &mut ruler, &summary, 1);
        // It is begun anew whenever it takes too long.
        assert!(ruler.proposer.book().is_none_or(|book| book.log().end() < 4));
    }
}

#[test]
fn a_council_larger_than_any_is_not_believed() {
    let (mut lab, mut ruler) = Lab::founded(3);
    // So many that most of such a council are here.
    let liars: Vec<u8> = (90..=90 + COUNCIL as u8).collect();
    let replica = |number: u8| ReplicaId { node: id(number), incarnation: 1 };
    let council: Vec<_> = liars.iter().map(|number| replica(*number)).collect();
    for number in liars {
        let council = council.clone();
        let summary = Summary { replica: replica(number), council, ..endless(5) };
        come(&lab, &mut ruler, &summary);
        for message in ruler.hears_from(number) {
            let (ballot, summary) = (message.ballot(), summary.clone());
            lab.answer(&mut ruler, number, FromReplica::Promised { ballot, summary });
        }
        assert!(ruler.proposer.is_in_office(), "{number}");
    }
    lab.pass(&mut ruler, &[1, 2, 3], 1);
    assert!(ruler.proposer.is_in_office());
}

#[test]
fn what_is_not_believed_is_not_kept() {
    let (lab, mut ruler) = Lab::founded(3);
    let council = vec![ReplicaId { node: id(77), incarnation: 1 }; COUNCIL + 1];
    come(&lab, &mut ruler, &Summary { council, ..endless(5) });
    ruler.hears_from(99);
    assert!(!format!("{:?}", ruler.proposer).contains(&format!("{:?}", id(77))));
}

#[test]
fn one_lie_does_not_use_up_the_generations() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    let summary = endless(u64::MAX);
    come(&lab, &mut ruler, &summary);
    assert_eq!(lie(&lab, &mut ruler, &summary, 1), 0, "it is not fetched");
    assert!(ruler.proposer.is_in_office());
    // Nor does a revival go on behind it.
    let knows = summary.log;
    let summary = Summary { log: None, ..summary };
    ruler.proposer.attach(SESSION, summary, knows, lab.stamp());
    lab.detach(&mut ruler, &[2, 3]);
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &[1], 12);
    assert_eq!(ruler.proposer.book().unwrap().log().id().generation, 1);
    assert_eq!(ruler.history(), ["a"]);
}

/// A stranger that has heard of a log of this generation, and has no piece of it.
fn hears_of(lab: &Lab, ruler: &mut Ruler, stranger: u8, generation: u64) {
    let replica = ReplicaId { node: id(stranger), incarnation: 1 };
    let lie = endless(generation);
    let summary = Summary { replica, log: None, last: Ballot::NONE, end: 0, ..lie };
    ruler.proposer.attach(SESSION, summary, lie.log, lab.stamp());
}

#[test]
fn a_revival_begins_no_log_that_replicas_refuse() {
    let generations = [1 << 32, u64::MAX, (1 << 32) - 1, (1 << 16) + 1, 1 << 16];
    // Two say the same of each other.
    for (generation, strangers) in
        generations.iter().flat_map(|it| [(*it, &[98][..]), (*it, &[98, 99][..])])
    {
        let (mut lab, mut ruler) = Lab::founded(3);
        lab.says(&mut ruler, 1, "a");
        lab.settle(&mut ruler, &[1, 2, 3]);
        for stranger in strangers {
            hears_of(&lab, &mut ruler, *stranger, generation);
        }
        lab.detach(&mut ruler, &[2, 3]);
        assert!(ruler.proposer.revive(lab.stamp()));
        lab.pass(&mut ruler, &[1], 12);
        assert!(ruler.proposer.is_in_office(), "{generation}, {strangers:?}");
        lab.detach(&mut ruler, strangers);
        // Who was away, and who has a new disk, comes in.
        lab.replicas.insert(9, Replica::new(id(9), 1, Kept::default()));
        lab.attach(&mut ruler, &[2, 3, 9]);
        lab.pass(&mut ruler, &[1, 2, 3, 9], 12);
        assert_eq!(ruler.proposer.quorum(), (4, 4), "{generation}, {strangers:?}");
        // Nor does the next revival, at a tracker that knows nothing yet.
        let mut next = Ruler::new(2);
        lab.attach(&mut next, &[1]);
        assert!(next.proposer.revive(lab.stamp()));
        lab.pass(&mut next, &[1], 12);
        lab.replicas.insert(8, Replica::new(id(8), 1, Kept::default()));
        lab.attach(&mut next, &[2, 3, 8, 9]);
        lab.pass(&mut next, &[1, 2, 3, 8, 9], 12);
        assert_eq!(next.proposer.quorum(), (5, 5), "{generation}, {strangers:?}");
        assert_eq!(next.history(), ["a"]);
    }
}

/// A tracker to which a liar comes first, with a log that it alone holds.
fn lies_first(lab: &mut Lab, generation: u64, replica: &Replica) -> Ruler {
    let mut ruler = Ruler::new(2);
    let mut liar = replica.clone();
    let log = LogId { generation, ..endless(0).log.unwrap() };
    let ballot = Ballot { round: 1, ..Ballot::NONE };
    let base = Box::new(Base::found(log, liar.id()));
    liar.hear(ToReplica::Install { ballot, base, entries: Vec::new() }, &mut Vec::new());
    lab.replicas.insert(99, liar);
    lab.attach(&mut ruler, &[99]);
    lab.pass(&mut ruler, &[99], 3);
    ruler
}

#[test]
fn who_comes_first_leads_a_tracker_no_further_than_replicas_follow() {
    const LAST: u64 = (1 << 32) - (1 << 16);
    for generation in [LAST, LAST + 1, 1 << 32, (1 << 32) + 1, (1 << 32) + (1 << 16), 1 << 33] {
        let (mut lab, mut ruler) = Lab::founded(3);
        lab.says(&mut ruler, 1, "a");
        lab.settle(&mut ruler, &[1, 2, 3]);
        let liar = Replica::new(id(99), 1, Kept::default());
        let mut ruler = lies_first(&mut lab, generation, &liar);
        assert_eq!(ruler.proposer.is_in_office(), generation <= LAST, "{generation}");
        lab.attach(&mut ruler, &[1, 2, 3]);
        lab.pass(&mut ruler, &[1, 2, 3, 99], 12);
        lab.detach(&mut ruler, &[99]);
        lab.pass(&mut ruler, &[1, 2, 3], 12);
        assert!(ruler.proposer.is_in_office(), "{generation}");
        assert_eq!(ruler.proposer.quorum(), (3, 3), "{generation}");
        lab.says(&mut ruler, 1, "b");
        lab.settle(&mut ruler, &[1, 2, 3]);
        // What was led there has another log, and goes on.
        let said = if generation <= LAST { &["b"][..] } else { &["a", "b"] };
        assert_eq!(ruler.history(), said, "{generation}");
    }
    // Who lies and is gone at once is gone without.
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    let mut ruler = lies_first(&mut lab, LAST, &Replica::new(id(99), 1, Kept::default()));
    lab.detach(&mut ruler, &[99]);
    lab.attach(&mut ruler, &[1, 2, 3]);
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &[1, 2, 3], 12);
    assert!(ruler.proposer.is_in_office());
    assert_eq!((ruler.history(), ruler.proposer.quorum()), (vec!["a".to_owned()], (3, 3)));
}

#[test]
fn what_two_strangers_agreed_on_is_given_up_when_they_are_gone() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    let summary = Summary { end: 9, ..endless(1 << 40) };
    hears_of(&lab, &mut ruler, 98, 1 << 40);
    come(&lab, &mut ruler, &summary);
    for _ in 0..30 {
        lab.pass(&mut ruler, &[], 1);
        lie(&lab, &mut ruler, &Summary { last: Ballot::NONE, ..summary.clone() }, 1);
    }
    lab.detach(&mut ruler, &[98, 99]);
    let log = ruler.proposer.book().map(|book| book.log().id().generation);
    assert_eq!(log, Some(1 << 40), "it was taken for the log");
    lab.detach(&mut ruler, &[2, 3]);
    assert!(ruler.proposer.revive(lab.stamp()));
    lab.pass(&mut ruler, &[1], 12);
    assert!(ruler.proposer.is_in_office());
    assert_eq!(ruler.history(), ["a"]);
}

#[test]
fn numbers_of_another_can_t_be_used_up() {
    let (mut lab, mut ruler) = Lab::founded(3);
    let submit = |lab: &Lab, ruler: &mut Ruler, number| {
        let act = Act::Join { room: RoomName::lobby() };
        let event = Event { author: id(1), number, name: "a".parse().unwrap(), act };
        ruler.proposer.submit(&event, 0, lab.stamp()).unwrap();
    };
    let end = |ruler: &Ruler| ruler.proposer.book().unwrap().log().end();
    let before = end(&ruler);
    for number in [u64::MAX, 1 << 62, MAX_EVENT_TIME + MAX_NUMBER_LEAP + 1] {
        submit(&lab, &mut ruler, number);
        assert_eq!(end(&ruler), before, "{number}");
    }
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    assert_eq!(ruler.history(), ["a"]);
    // There are numbers behind any that is taken.
    let before = end(&ruler);
    submit(&lab, &mut ruler, MAX_EVENT_TIME + MAX_NUMBER_LEAP);
    submit(&lab, &mut ruler, MAX_EVENT_TIME + MAX_NUMBER_LEAP + 1);
    assert_eq!(end(&ruler), before + 2);
}

#[test]
fn who_was_told_of_more_than_there_is_is_taken_in() {
    let (mut lab, mut ruler) = Lab::founded(3);
    lab.says(&mut ruler, 1, "a");
    lab.settle(&mut ruler, &[1, 2, 3]);
    let log = Some(ruler.proposer.book().unwrap().log().id());
    lab.attach(&mut ruler, &[3]);
    let far = Position::MAX;
    let welcome = |ruler: &mut Ruler| ruler.proposer.welcome(id(3), log, far);
    let end = ruler.committed() + 1;
    assert_eq!(welcome(&mut ruler), None, "others may have gone on");
    // Nobody says anything, and one entry is enough.
    lab.pass(&mut ruler, &[], 3);
    assert_eq!(welcome(&mut ruler), None);
    lab.pass(&mut ruler, &[1, 2, 3], 3);
    let attached = welcome(&mut ruler).unwrap();
    assert_eq!((attached.from, attached.committed), (end, end));
    assert_eq!(ruler.proposer.quorum(), (3, 3));
    // A new reign knows as much by its own first entry.
    let mut next = Ruler::new(2);
    lab.attach(&mut next, &[1, 2, 3]);
    lab.pass(&mut next, &[1, 2, 3], 1);
    assert!(welcome(&mut next).is_some());
}

#[test]
fn who_says_again_and_again_that_it_was_told_of_more_fills_no_log() {
    let (mut lab, mut ruler) = Lab::founded(3);
    let log = Some(ruler.proposer.book().unwrap().log().id());
    let before = ruler.proposer.book().unwrap().log().end();
    for _ in 0..200 {
        let summary = Summary { log: None, end: 0, ..endless(0) };
        ruler.proposer.attach(SESSION, summary, log, lab.stamp());
        ruler.proposer.welcome(id(99), log, Position::MAX / 2);
        lab.now += Duration::from_millis(10);
        ruler.proposer.tick(lab.stamp());
        lab.settle(&mut ruler, &[1, 2, 3]);
    }
    let written = ruler.proposer.book().unwrap().log().end() - before;
    assert!((1..=3).contains(&written), "{written} entries in two seconds");
}

#[test]
fn who_wants_to_leave_and_is_gone_is_forgotten() {
    let (mut lab, mut ruler) = Lab::founded(3);
    // Nothing can be committed.
    lab.detach(&mut ruler, &[2, 3]);
    lab.says(&mut ruler, 1, "a");
    let summary = Summary { log: None, end: 0, ..endless(0) };
    come(&lab, &mut ruler, &summary);
    ruler.proposer.leaving(id(99), lab.stamp());
    lab.detach(&mut ruler, &[99]);
    ruler.proposer.leaving(id(99), lab.stamp());
    lab.pass(&mut ruler, &[1], 1);
    ruler.hears_from(99);
    let remembered = format!("{:?}", ruler.proposer);
    assert!(!remembered.contains(&format!("{:?}", id(99))), "{remembered}");
}

#[test]
fn one_wrong_clock_does_not_mark_all_that_comes() {
    let (mut lab, mut ruler) = Lab::founded(3);
    let times = |ruler: &Ruler| {
        let log = ruler.proposer.book().unwrap().log();
        log.after(0).map(|(_, entry)| entry.time_ms).collect::<Vec<_>>()
    };
    // A minute or less is made up for.
    for (ahead, now) in [(50_000, 50_000), (10_000, 50_000), (1 << 50, 1 << 50), (20_000, 20_000)] {
        lab.now += Duration::from_millis(1);
        let number = u64::try_from(lab.now.as_micros()).unwrap();
        let act = Act::Join { room: RoomName::lobby() };
        let event = Event { author: id(1), number, name: "a".parse().unwrap(), act };
        let stamp = Stamp { time_ms: ahead, ..lab.stamp() };
        ruler.proposer.submit(&event, 0, stamp).unwrap();
        assert_eq!(times(&ruler).last(), Some(&now));
    }
}

#[test]
fn who_lacks_the_log_for_ever_is_not_sent_it_for_each_word() {
    let (mut lab, mut ruler) = Lab::founded(2);
    let summary = Summary { log: None, end: 0, ..endless(0) };
    come(&lab, &mut ruler, &summary);
    let mut installs = 0;
    for _ in 0..100 {
        for message in ruler.hears_from(99) {
            installs += u32::from(matches!(message, ToReplica::Install { .. }));
            let ballot = message.ballot();
            lab.answer(&mut ruler, 99, FromReplica::Behind { ballot, from: None });
        }
        lab.now += Duration::from_millis(100);
        ruler.proposer.tick(lab.stamp());
        lab.settle(&mut ruler, &[1, 2]);
    }
    assert!(installs < 6, "{installs} times in ten seconds");
}
