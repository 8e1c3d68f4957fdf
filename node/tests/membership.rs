//! The conversation with a real tracker, and with what is none.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::net::SocketAddr;
use std::time::Duration;

use network::{HEARTBEAT, Network, PATIENCE, eventually};
use shoal_common::connection::Connection;
use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_REQUEST_FRAME;
use shoal_common::party::Party;
use shoal_common::protocol::greeting::{Greeting, Hello, Talk};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::succession::Reign;
use shoal_common::protocol::tracking::{FromTracker, Registered, ToTracker};
use shoal_common::task::Tasks;
use shoal_node::membership::{self, FirstAnswer, Goodbye, Link, Membership, Wish};
use shoal_node::notice::Notices;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::broadcast;

struct Member {
    membership: Membership,
    first: FirstAnswer,
    goodbye: Goodbye,
    news: broadcast::Receiver<String>,
    tasks: Tasks,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

fn member(tracker: SocketAddr, name: &str, exact: bool) -> Member {
    let tasks = Tasks::new(Handle::current());
    let notices = Notices::default();
    let wish = Wish {
        tracker: Some(tracker.to_string()),
        peers: Vec::new(),
        eligible: false,
        us: Party::new("shoal", NodeId::random()),
        name: (name.parse().unwrap(), exact),
        advertise: None,
        ports: (1000, 1001),
    };
    let news = notices.listen();
    let (membership, first, goodbye, _office) = membership::start(wish, notices, &tasks);
    Member { membership, first, goodbye, news, tasks }
}

impl Member {
    fn sees(&self) -> Vec<String> {
        self.membership.peers().iter().map(|peer| peer.name.to_string()).collect()
    }

    async fn hears(&mut self, part: &str) -> String {
        let heard = async {
            loop {
                let line = self.news.recv().await.unwrap();
                if line.contains(part) {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard)
            .await
            .unwrap_or_else(|_| panic!("never heard: {part}"))
    }
}

#[tokio::test]
async fn members_see_each_other_come_and_go() {
    let network = Network::start().await;
    let address = network.tracker();
    let mut one = member(address, "node", false);
    one.membership.registered().await;
    let two = member(address, "node", false);
    let three = member(address, "three", true);
    eventually("one sees the others", || one.sees() == ["node-2", "three"]).await;
    eventually("two sees the others", || two.sees() == ["node", "three"]).await;
    assert_eq!(one.membership.us().unwrap().search.to_string(), "127.0.0.1:1000");

    two.goodbye.say().await;
    assert_eq!(two.membership.link(), Link::Left);
    let start = tokio::time::Instant::now();
    eventually("it is gone", || one.sees() == ["three"]).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(one.hears("left").await, "`node-2` left");

    drop(three);
    assert_eq!(one.hears("`three` left").await, "`three` left without a word");
}

#[tokio::test]
async fn a_taken_name_is_said_at_once_and_only_when_it_was_insisted_on() {
    let network = Network::start().await;
    let address = network.tracker();
    let one = member(address, "node", true);
    one.membership.registered().await;
    let mut two = member(address, "node", true);
    assert_eq!((&mut two.first).await.unwrap(), Err(Refusal::NameTaken));
    let mut three = member(address, "node", false);
    assert_eq!((&mut three.first).await.unwrap(), Ok(()));
    assert_eq!(three.membership.name().as_str(), "node-2");
}

#[tokio::test]
async fn a_tracker_that_comes_late_or_is_restarted_has_everyone_within_a_heartbeat() {
    let network = Network::without_tracker().await;
    let address = network.tracker();
    let mut one = member(address, "one", true);
    let line = one.hears("trying again").await;
    let said = format!("tracker at `{address}` does not answer; trying again (with --peer, ");
    assert!(line.starts_with(&said), "{line}");

    network.restart_tracker().await;
    one.membership.registered().await;
    let two = member(address, "two", true);
    eventually("they see each other", || one.sees() == ["two"] && two.sees() == ["one"]).await;

    network.stop_tracker();
    one.hears("is lost").await;
    assert_eq!(one.sees(), ["two"], "a peer is forgotten with the tracker");
    network.restart_tracker().await;
    one.membership.registered().await;
    two.membership.registered().await;
    // Until long after the time in which the tracker had to confirm them.
    let deadline = tokio::time::Instant::now() + HEARTBEAT * 5;
    while tokio::time::Instant::now() < deadline {
        assert_eq!((one.sees(), two.sees()), (vec!["two".to_owned()], vec!["one".to_owned()]));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    one.membership.registered().await;
}

#[tokio::test]
async fn a_peer_that_never_comes_back_to_a_restarted_tracker_is_forgotten() {
    let network = Network::start().await;
    let address = network.tracker();
    let mut one = member(address, "one", true);
    let two = member(address, "two", true);
    eventually("they see each other", || one.sees() == ["two"]).await;
    network.stop_tracker();
    one.hears("is lost").await;
    drop(two);
    network.restart_tracker().await;
    assert_eq!(one.hears("`two`").await, "`two` left without a word");
    assert!(one.sees().is_empty());
}

#[tokio::test]
async fn what_is_no_tracker_is_told_and_tried_again() {
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\xff\xff\xff\xff", b"\0\0", b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut one = member(listener.local_addr().unwrap(), "one", true);
        for _ in 0..2 {
            let (mut stream, _) =
                tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
            stream.write_all(garbage).await.unwrap();
        }
        let line = one.hears("trying again").await;
        assert!(line.contains("does not greet like a part of Shoal"), "{line}");
    }
}

#[tokio::test]
async fn saying_goodbye_to_nobody_does_not_wait() {
    let network = Network::without_tracker().await;
    let address = network.tracker();
    let mut one = member(address, "one", true);
    one.hears("trying again").await;
    tokio::time::timeout(PATIENCE, one.goodbye.say()).await.unwrap();
    eventually("it has left", || one.membership.link() == Link::Left).await;
}

/// Listens to one node up to its registration. What else it asks is not answered.
async fn asked(listener: &TcpListener) -> Connection<TcpStream> {
    loop {
        let (stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut connection = Connection::new(stream);
        let greeting: Greeting = connection.receive(MAX_REQUEST_FRAME, PATIENCE).await.unwrap();
        if !matches!(greeting, Greeting::Hello(Hello { talk: Talk::Tracking, .. })) {
            continue;
        }
        let us = Party::new("shoal", NodeId::random());
        let greeting = Greeting::Hello(us.greets(Talk::Tracking));
        connection.send(&greeting, MAX_REQUEST_FRAME).await.unwrap();
        connection.keep_time(us.clock);
        let _: ToTracker = connection.receive(MAX_REQUEST_FRAME, PATIENCE).await.unwrap();
        return connection;
    }
}

/// Takes one node in and then does as it is told.
async fn take_in(listener: &TcpListener) -> Connection<TcpStream> {
    let mut connection = asked(listener).await;
    let heartbeat_ms = u64::try_from(HEARTBEAT.as_millis()).unwrap();
    let (name, peers) = ("one".parse().unwrap(), vec![]);
    let (total, joined, charter) = (0, 1, None);
    let registered =
        Registered { name, heartbeat_ms, instance: 1, revision: 1, total, peers, joined, charter };
    connection.send(&FromTracker::Registered(registered), MAX_REQUEST_FRAME).await.unwrap();
    connection
}

#[tokio::test]
async fn a_tracker_that_answers_is_not_said_to_be_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let one = member(at, "one", true);
    let says = async |answer: Option<FromTracker>, expected: &str| {
        let mut connection = asked(&listener).await;
        if let Some(answer) = answer {
            connection.send(&answer, MAX_REQUEST_FRAME).await.unwrap();
        }
        drop(connection);
        eventually(expected, || {
            let troubles = one.membership.troubles();
            troubles.get(&at.to_string()).is_some_and(|trouble| trouble.contains(expected))
        })
        .await;
    };
    says(None, "does not take this node in (the other side hung up)").await;
    says(Some(FromTracker::Elsewhere { reign: None }), "is not the tracker, and names none").await;
    says(Some(FromTracker::Done), "does not take this node in (an answer that makes no").await;
    let refusal = Refusal::Busy;
    says(Some(FromTracker::Refused { refusal }), "refuses this node (too busy)").await;
    // Where nobody listens.
    let address = "127.0.0.1:1".parse().unwrap();
    let (tracker, epoch) = (NodeId::random(), 1);
    let reign = Reign { epoch, tracker, address, home: false, joined: 1, elected: true };
    let names = "is not the tracker; it names `127.0.0.1:1`, which has not taken this node in";
    says(Some(FromTracker::Elsewhere { reign: Some(reign) }), names).await;
}

#[tokio::test]
async fn a_tracker_that_falls_silent_is_noticed_after_two_heartbeats() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut one = member(listener.local_addr().unwrap(), "one", true);
    let start = tokio::time::Instant::now();
    let silent = take_in(&listener).await;
    let line = one.hears("is lost").await;
    assert!(line.contains("nothing came for"), "{line}");
    assert!(start.elapsed() >= HEARTBEAT * 2, "{:?}", start.elapsed());
    drop(silent);
}

#[tokio::test]
async fn a_tracker_that_hangs_up_again_and_again_is_asked_more_and_more_seldom() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _one = member(listener.local_addr().unwrap(), "one", true);
    let mut last = tokio::time::Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..5 {
        drop(take_in(&listener).await);
        pauses.push(last.elapsed());
        last = tokio::time::Instant::now();
    }
    // At most half a heartbeat apart, and at least half of that.
    assert!(pauses[4] >= HEARTBEAT / 4, "{pauses:?}");
}

#[tokio::test]
async fn leaving_does_not_wait_for_a_tracker_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = member(listener.local_addr().unwrap(), "one", true);
    let (_mute, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let start = tokio::time::Instant::now();
    one.goodbye.say().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    eventually("it has left", || one.membership.link() == Link::Left).await;
}
