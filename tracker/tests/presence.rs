//! Who comes, who leaves, and who learns of it, on real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod support;

use std::time::Duration;

use shoal_common::limits::{PAGE, PUSH_PAUSES, SAMPLE};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, Leaving, ToTracker};
use support::{AT_ONCE, EVER, Node, SLOW, Tracker, registration};
use tokio::time::Instant;

/// Short, so that tests are; long beside the delays of a busy machine.
const BEAT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn joins_are_pushed_at_once() {
    let tracker = Tracker::start(SLOW).await;
    let mut one = Node::join(&tracker, "one").await;
    assert!(one.peers.is_empty());
    let two = Node::join(&tracker, "two").await;
    assert_eq!(two.peers.len(), 1);
    one.until_others(1, AT_ONCE).await;
    assert_eq!(one.peers[&two.id].name.as_str(), "two");
    assert_eq!(tracker.stop().await, 2);
}

#[tokio::test]
async fn exit_is_confirmed_and_the_others_know_at_once() {
    let tracker = Tracker::start(SLOW).await;
    let mut one = Node::join(&tracker, "one").await;
    let mut two = Node::join(&tracker, "two").await;
    one.until_others(1, AT_ONCE).await;
    two.send(&ToTracker::Exit).await;
    assert_eq!(two.receive(AT_ONCE).await.unwrap(), FromTracker::Done);
    assert!(two.receive(AT_ONCE).await.is_err(), "the connection stays open after the exit");
    one.until_others(0, AT_ONCE).await;
    assert_eq!(one.left, [(two.id, Leaving::Exit)]);
}

#[tokio::test]
async fn a_broken_connection_is_a_vanished_node_after_one_interval_and_not_before() {
    let tracker = Tracker::start(5 * BEAT).await;
    let mut one = Node::join(&tracker, "one").await;
    let two = Node::join(&tracker, "two").await;
    one.until_others(1, AT_ONCE).await;
    let (id, start) = (two.id, Instant::now());
    drop(two);
    while !one.peers.is_empty() {
        one.send(&ToTracker::Heartbeat).await;
        let message = one.receive(EVER).await.unwrap();
        one.learn(message);
        tokio::time::sleep(BEAT / 10).await;
        assert!(start.elapsed() < EVER);
    }
    assert!(start.elapsed() >= 5 * BEAT, "vanished after {:?}", start.elapsed());
    // Silence would have taken two.
    assert!(start.elapsed() < 9 * BEAT, "vanished after {:?}", start.elapsed());
    assert_eq!(one.left, [(id, Leaving::Vanished)]);
}

#[tokio::test]
async fn silence_is_a_vanished_node_after_two_intervals_and_not_before() {
    let tracker = Tracker::start(2 * BEAT).await;
    let start = Instant::now();
    let mut silent = Node::join(&tracker, "silent").await;
    let mut one = Node::join(&tracker, "one").await;
    while !one.peers.is_empty() {
        one.send(&ToTracker::Heartbeat).await;
        let message = one.receive(EVER).await.unwrap();
        one.learn(message);
        tokio::time::sleep(BEAT / 10).await;
        assert!(start.elapsed() < EVER);
    }
    assert!(start.elapsed() >= 4 * BEAT, "vanished after {:?}", start.elapsed());
    assert_eq!(one.left, [(silent.id, Leaving::Vanished)]);
    // It is hung up, so that it notices when it is alive after all.
    while let Ok(message) = silent.receive(EVER).await {
        silent.learn(message);
    }
    assert!(start.elapsed() < EVER);
}

#[tokio::test]
async fn who_sends_heartbeats_stays() {
    let tracker = Tracker::start(BEAT).await;
    let mut one = Node::join(&tracker, "one").await;
    let mut two = Node::join(&tracker, "two").await;
    one.until_others(1, AT_ONCE).await;
    let start = Instant::now();
    while start.elapsed() < 6 * BEAT {
        one.hears_nothing().await;
        two.hears_nothing().await;
        tokio::time::sleep(BEAT / 4).await;
    }
}

#[tokio::test]
async fn who_returns_in_time_has_not_left() {
    let tracker = Tracker::start(SLOW).await;
    let mut one = Node::join(&tracker, "one").await;
    let mut two = Node::join(&tracker, "two").await;
    one.until_others(1, AT_ONCE).await;
    for _ in 0..5 {
        two = two.again(&tracker, "two").await;
        assert_eq!(two.peers.len(), 1);
    }
    // The join of a third is the next thing that it hears.
    let three = Node::join(&tracker, "three").await;
    one.until_others(2, AT_ONCE).await;
    assert_eq!((one.messages, one.left.len()), (2, 0));
    drop((two, three));
}

#[tokio::test]
async fn a_name_in_use_is_refused_or_numbered() {
    let tracker = Tracker::start(SLOW).await;
    let _one = Node::join(&tracker, "one").await;
    let mut two = Node::greet(&tracker).await;
    let refused = two.register(&registration("one", true)).await.unwrap_err();
    assert_eq!(refused, Refusal::NameTaken);
    let registered = two.register(&registration("one", false)).await.unwrap();
    assert_eq!(registered.name.as_str(), "one-2");
}

#[tokio::test]
async fn the_older_session_is_told_of_the_newer_one_and_closed() {
    let tracker = Tracker::start(SLOW).await;
    let mut one = Node::join(&tracker, "one").await;
    let mut older = Node::join(&tracker, "two").await;
    one.until_others(1, AT_ONCE).await;
    let mut newer = older.again(&tracker, "two").await;
    let told = older.receive(AT_ONCE).await.unwrap();
    assert_eq!(told, FromTracker::Refused { refusal: Refusal::Superseded });
    assert!(older.receive(AT_ONCE).await.is_err());
    newer.hears_nothing().await;
    one.hears_nothing().await;
    assert_eq!(tracker.stop().await, 2);
}

#[tokio::test]
async fn a_second_registration_changes_name_and_address() {
    let tracker = Tracker::start(SLOW).await;
    let mut one = Node::join(&tracker, "one").await;
    let mut two = Node::join(&tracker, "two").await;
    one.until_others(1, AT_ONCE).await;
    tokio::time::sleep(PUSH_PAUSES.0).await;
    two.register(&registration("zwei", true)).await.unwrap();
    let message = one.receive(AT_ONCE).await.unwrap();
    one.learn(message);
    assert_eq!(one.peers[&two.id].name.as_str(), "zwei");
    assert!(one.left.is_empty());
    two.hears_nothing().await;
}

#[tokio::test]
async fn a_crowd_that_comes_at_once_costs_a_few_messages() {
    const CROWD: usize = 200;
    let tracker = Tracker::start(SLOW).await;
    let mut one = Node::join(&tracker, "one").await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(Node::join(&tracker, &format!("node{number}")).await);
    }
    one.until_others(CROWD, AT_ONCE).await;
    assert!(one.messages < CROWD / 2, "{} messages", one.messages);
    for node in &mut crowd {
        if node.peers.len() < CROWD {
            tokio::time::sleep(PUSH_PAUSES.0).await;
            node.turn_pages().await;
        }
        node.until_others(CROWD, AT_ONCE).await;
    }
    assert_eq!(tracker.stop().await, CROWD + 1);
}

#[tokio::test]
async fn who_comes_to_many_gets_some_and_turns_pages_while_others_come_and_go() {
    const CROWD: usize = 2 * PAGE + 10;
    let tracker = Tracker::start(SLOW).await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(Node::join(&tracker, &format!("node{number}")).await);
    }
    let mut one = Node::greet(&tracker).await;
    let registered = one.register(&registration("one", true)).await.unwrap();
    assert_eq!(registered.total, CROWD as u64);
    assert!(registered.peers.len() <= SAMPLE && registered.peers.len() > SAMPLE / 2);
    let turning = async {
        tokio::time::sleep(PUSH_PAUSES.0).await;
        one.turn_pages().await
    };
    let changing = async {
        for number in 0..20 {
            let mut gone = crowd.pop().unwrap();
            gone.send(&ToTracker::Exit).await;
            crowd.push(Node::join(&tracker, &format!("new{number}")).await);
            crowd.swap(number, CROWD - 1);
            tokio::time::sleep(PUSH_PAUSES.0 / 10).await;
        }
        // All of it has been told when this one is.
        Node::join(&tracker, "last").await
    };
    let (pages, last) = tokio::join!(turning, changing);
    assert!(pages >= 3, "{pages} pages");
    while !one.peers.contains_key(&last.id) {
        let news = one.receive(EVER).await.unwrap();
        one.learn(news);
    }
    let mut there: Vec<_> = crowd.iter().map(|node| node.id).chain([last.id]).collect();
    there.sort_unstable();
    assert_eq!(one.peers.keys().copied().collect::<Vec<_>>(), there);
}

#[tokio::test]
async fn a_restarted_tracker_is_another_instance() {
    let first = Tracker::start(SLOW).await;
    let second = Tracker::start(SLOW).await;
    let mut instances = Vec::new();
    for tracker in [&first, &second] {
        let mut node = Node::greet(tracker).await;
        let registered = node.register(&registration("one", true)).await.unwrap();
        assert_eq!(registered.heartbeat_ms, 60_000);
        instances.push(registered.instance);
    }
    assert_ne!(instances[0], instances[1]);
}
