//! Strangers, crowds and broken programs at the tracker's port.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod support;

use std::time::Duration;

use shoal_common::limits::{FRAME_DEADLINE, HELLO_DEADLINE, MAX_REQUEST_FRAME};
use shoal_common::process::raise_descriptor_limit;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use shoal_tracker::run::Config;
use support::{AT_ONCE, EVER, Node, SLOW, Tracker, registration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// What no program of Shoal says: garbage, a frame of 4 GiB, MessagePack that
/// is no message, a number in place of a map.
const GARBAGE: [&[u8]; 5] = [
    b"GET / HTTP/1.1\r\nHost: shoal\r\n\r\n",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\x01\xc1",
    b"\0\0\0\x01\x05",
    b"\0\0\0\x0d\x81\xa4type\xa6dancer",
];

/// Half a frame, then nothing.
const HALVES: [&[u8]; 3] = [b"\0", b"\0\0\0\x20", b"\0\0\0\x20\x82\xa4type\xa9heart"];

/// The same as it looks behind a greeting: with a Lamport time.
fn timed(frame: &[u8]) -> Vec<u8> {
    let (length, message) = frame.split_at(4);
    [length, &[0; 8], message].concat()
}

async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    timeout(within, stream.read_to_end(&mut Vec::new())).await.is_ok()
}

/// A node registers at once, and nobody of the others is troubled.
async fn is_well(tracker: &Tracker) {
    let start = Instant::now();
    let mut node = Node::join(tracker, "newcomer").await;
    assert!(start.elapsed() < AT_ONCE, "registered after {:?}", start.elapsed());
    node.send(&ToTracker::Exit).await;
    assert_eq!(node.receive(AT_ONCE).await.unwrap(), FromTracker::Done);
}

#[tokio::test]
async fn garbage_is_closed_at_once() {
    let tracker = Tracker::start(SLOW).await;
    for garbage in GARBAGE {
        let mut stream = TcpStream::connect(tracker.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        assert!(is_closed(&mut stream, AT_ONCE).await, "{garbage:?} holds its connection");
        // And after a greeting, and after a registration.
        for registered in [false, true] {
            let mut node = Node::greet(&tracker).await;
            if registered {
                node.register(&registration("odd", false)).await.unwrap();
            }
            node.connection.stream().write_all(&timed(garbage)).await.unwrap();
            let stream = node.connection.stream();
            if garbage.ends_with(b"dancer") {
                continue; // A request of a newer program: see below.
            }
            assert!(is_closed(stream, AT_ONCE).await, "{garbage:?} holds its session");
        }
    }
    is_well(&tracker).await;
}

#[tokio::test]
async fn half_a_frame_or_a_byte_a_second_ends_at_its_deadline() {
    let tracker = Tracker::start(SLOW).await;
    let mut strangers = Vec::new();
    for half in HALVES {
        let mut stream = TcpStream::connect(tracker.address).await.unwrap();
        stream.write_all(half).await.unwrap();
        strangers.push(stream);
    }
    let mut node = Node::join(&tracker, "drip").await;
    let start = Instant::now();
    let drip = async {
        for byte in [b"\0\0\0\x40".as_slice(), &[0x81; 64]].concat() {
            if node.connection.stream().write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(EVER, drip).await.expect("a byte a second holds its session");
    assert!(start.elapsed() < FRAME_DEADLINE + Duration::from_secs(5));
    for stream in &mut strangers {
        assert!(is_closed(stream, AT_ONCE).await);
    }
    is_well(&tracker).await;
}

#[tokio::test]
async fn who_hangs_up_within_a_message_troubles_nobody() {
    let tracker = Tracker::start(SLOW).await;
    for bytes in HALVES.into_iter().chain(GARBAGE) {
        let mut stream = TcpStream::connect(tracker.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        drop(stream);
        let mut node = Node::greet(&tracker).await;
        node.connection.stream().write_all(bytes).await.unwrap();
    }
    is_well(&tracker).await;
}

#[tokio::test]
async fn bad_requests_are_refused_in_words() {
    let tracker = Tracker::start(SLOW).await;
    let mut node = Node::greet(&tracker).await;
    let refused = |refusal| FromTracker::Refused { refusal };
    for message in [ToTracker::Heartbeat, ToTracker::Exit] {
        node.send(&message).await;
        assert_eq!(node.receive(AT_ONCE).await.unwrap(), refused(Refusal::NotAllowed));
    }
    for at in ["0.0.0.0:1", "127.0.0.1:0"] {
        let mut wish = registration("one", true);
        wish.search = at.parse().unwrap();
        assert_eq!(node.register(&wish).await.unwrap_err(), Refusal::NotAllowed, "{at}");
    }
    for registered in [false, true] {
        if registered {
            node.register(&registration("one", true)).await.unwrap();
        }
        node.send(&ToTracker::Unknown).await;
        assert_eq!(node.receive(AT_ONCE).await.unwrap(), refused(Refusal::Unsupported));
    }
    node.hears_nothing().await;
    // A name that leaves its place can't even be read.
    let name = b"\x82\xa4type\xa8register\xa4name\xa9../passwd";
    let frame = timed(&[&[0, 0, 0, u8::try_from(name.len()).unwrap()], &name[..]].concat());
    node.connection.stream().write_all(&frame).await.unwrap();
    assert_eq!(node.receive(AT_ONCE).await.unwrap(), refused(Refusal::Malformed));
    assert!(node.receive(AT_ONCE).await.is_err());
}

#[tokio::test]
async fn two_thousand_idle_connections_do_not_keep_a_node_out() {
    raise_descriptor_limit();
    let tracker = Tracker::start(SLOW).await;
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        idle.push(TcpStream::connect(tracker.address).await.unwrap());
    }
    is_well(&tracker).await;
    // Nor do they stay.
    for stream in &mut idle {
        assert!(is_closed(stream, EVER).await);
    }
}

#[tokio::test]
async fn who_greets_and_does_not_register_is_hung_up() {
    let tracker = Tracker::start_with(Config { connections: 1, ..Config::default() }).await;
    let mut idle = Node::greet(&tracker).await;
    let ended = timeout(EVER, idle.receive(EVER)).await.expect("an idle guest holds its slot");
    assert!(ended.is_err());
    is_well(&tracker).await;
}

#[tokio::test]
async fn who_talks_and_does_not_register_is_hung_up() {
    let tracker = Tracker::start_with(Config { connections: 1, ..Config::default() }).await;
    let mut guest = Node::greet(&tracker).await;
    let start = Instant::now();
    while guest.connection.send(&ToTracker::Exit, MAX_REQUEST_FRAME).await.is_ok() {
        let held = start.elapsed();
        assert!(held < HELLO_DEADLINE + Duration::from_secs(3), "its slot was held for {held:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(start.elapsed() >= HELLO_DEADLINE);
    is_well(&tracker).await;
}

#[tokio::test]
async fn who_registers_again_and_again_is_hung_up() {
    let tracker = Tracker::start(SLOW).await;
    let mut one = Node::join(&tracker, "one").await;
    for name in ["two", "three"] {
        one.send(&ToTracker::Register(registration(name, true))).await;
    }
    assert!(is_closed(one.connection.stream(), AT_ONCE).await);
    is_well(&tracker).await;
}

#[tokio::test]
async fn a_node_that_never_reads_holds_up_nobody() {
    let tracker = Tracker::start(SLOW).await;
    let mut one = Node::join(&tracker, "one").await;
    let mut deaf = Node::join_deaf(&tracker, "deaf").await;
    one.until_others(1, AT_ONCE).await;
    // It asks and asks and reads no answer, until neither side takes more.
    let flood = timed(b"\0\0\0\x10\x81\xa4type\xa9heartbeat").repeat(1_000);
    let start = Instant::now();
    let flooding = async { while deaf.stream().write_all(&flood).await.is_ok() {} };
    let others = async {
        while start.elapsed() < Duration::from_secs(3) {
            let mut other = Node::join(&tracker, "other").await;
            one.until_others(2, AT_ONCE).await;
            other.send(&ToTracker::Exit).await;
            one.until_others(1, AT_ONCE).await;
        }
    };
    let (ended, ()) = tokio::join!(timeout(3 * FRAME_DEADLINE, flooding), others);
    assert!(ended.is_ok(), "a node that never reads holds its session");
}

#[tokio::test]
async fn after_the_stop_nothing_is_left() {
    let tracker = Tracker::start(SLOW).await;
    let address = tracker.address;
    let mut nodes = Vec::new();
    for number in 0..20 {
        nodes.push(Node::join(&tracker, &format!("node{number}")).await);
    }
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"\0\0").await.unwrap();
    let start = Instant::now();
    assert_eq!(tracker.stop().await, 20);
    assert!(start.elapsed() < AT_ONCE, "stopped after {:?}", start.elapsed());
    assert!(TcpStream::connect(address).await.is_err(), "somebody still listens");
    for node in &mut nodes {
        while let Ok(message) = node.receive(AT_ONCE).await {
            node.learn(message);
        }
        assert!(is_closed(node.connection.stream(), AT_ONCE).await);
    }
    assert!(is_closed(&mut half, AT_ONCE).await);
    // The runtime of this test has no task left either.
    let deadline = Instant::now() + EVER;
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
        assert!(Instant::now() < deadline, "a task is left");
        tokio::task::yield_now().await;
    }
}
