//! A network that outlives its tracker: real nodes on real sockets.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

// Written for transfers; some of it is used here.
#[path = "common/link.rs"]
#[allow(dead_code, unreachable_pub)]
mod link;
mod network;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use link::{Link, Manner, Passing};
use network::{HEARTBEAT, Network, PATIENCE, TestNode, eventually, eventually_or};
use shoal_common::call::call;
use shoal_common::connection::Connection;
use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_TRACKER_FRAME;
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::tracking::{FromTracker, Registration, ToTracker};
use shoal_common::task::Tasks;
use shoal_node::amount::Limit;
use shoal_node::app::limits::Setting;
use shoal_node::app::node::{Node, Sharing};
use shoal_node::app::{Contact, Role, TrackerInfo};
use shoal_node::config::{Config, Limits};
use shoal_node::transfer::job::{JobState, Sources, Wanted};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// In this time after a tracker was killed a new one answers.
const SUCCEEDED: Duration = Duration::from_secs(3);

async fn nodes(network: &Network, count: usize) -> Vec<TestNode> {
    let mut nodes = Vec::new();
    for number in 1..=count {
        nodes.push(network.node(&format!("node{number}"), &[]).await);
    }
    nodes
}

fn tracker(node: &TestNode) -> TrackerInfo {
    node.app().tracker().unwrap()
}

/// Whether all of them follow one tracker in this epoch or a later one, and see each
/// other: a claim that comes to nothing takes a number, too.
fn agree(nodes: &[&TestNode], epoch: u64) -> bool {
    let first = tracker(nodes[0]);
    nodes.iter().all(|node| {
        let info = tracker(node);
        (info.id, info.epoch) == (first.id, first.epoch)
            && info.epoch >= epoch
            && info.contact != Contact::Lost
            && node.app().peers().len() == nodes.len() - 1
    })
}

/// Waits until they [`agree`].
async fn until_agreed(nodes: &[&TestNode], epoch: u64) {
    let seen = || {
        let seen = nodes.iter().map(|node| (tracker(node), node.app().peers()));
        format!("one tracker: {:#?}", seen.collect::<Vec<_>>())
    };
    eventually_or(seen, || agree(nodes, epoch)).await;
}

fn registration(name: &str) -> ToTracker {
    ToTracker::Register(Registration {
        name: name.parse().unwrap(),
        exact: false,
        search: "127.0.0.1:9".parse().unwrap(),
        download: "127.0.0.1:9".parse().unwrap(),
        reign: None,
        joined: 0,
    })
}

/// What somebody answers to a registration.
async fn register(at: SocketAddr, name: &str) -> Option<(FromTracker, Connection<TcpStream>)> {
    let us = Party::new("shoal", NodeId::random());
    let conversation = async {
        let (mut connection, _) = call(at, &us, Talk::Tracking).await.ok()?;
        let answer = connection.ask(&registration(name), MAX_TRACKER_FRAME).await.ok()?;
        Some((answer, connection))
    };
    timeout(Duration::from_secs(1), conversation).await.ok()?
}

/// Time until one of them takes a newcomer in.
async fn until_registered(nodes: &[&TestNode]) -> Duration {
    let start = Instant::now();
    loop {
        for node in nodes {
            let at = node.app().identity().search;
            if let Some((FromTracker::Registered(_), _)) = register(at, "newcomer").await {
                return start.elapsed();
            }
        }
        assert!(start.elapsed() < PATIENCE, "nobody takes over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_tracker_is_succeeded_and_the_home_tracker_gets_its_office_back() {
    let network = Network::start().await;
    let nodes = nodes(&network, 5).await;
    let all: Vec<&TestNode> = nodes.iter().collect();
    until_agreed(&all, 1).await;
    let home = tracker(all[4]);
    assert_eq!((home.role, home.address), (Role::Home, network.tracker()));
    let line: Vec<u64> = home.line.iter().map(|heir| heir.joined).collect();
    assert!(line.is_sorted() && line.len() == 5, "{line:?}");
    let names: Vec<_> = home.line.iter().map(|heir| heir.name.clone().unwrap()).collect();
    assert_eq!(names[0].as_str(), "node1");
    let mut news = all[3].app().notices();

    network.stop_tracker();
    let took = until_registered(&all).await;
    println!("a new tracker answered {took:?} after the other was killed");
    assert!(took < SUCCEEDED, "{took:?}");
    until_agreed(&all, 2).await;
    let info = tracker(all[2]);
    assert_eq!((info.id, info.role), (all[0].app().identity().id, Role::Successor));
    assert_eq!(info.address, all[0].app().identity().search);
    assert_eq!(tracker(all[0]).contact, Contact::Own);
    let said = async {
        loop {
            let line = news.recv().await.unwrap();
            if line.contains("is tracker now") {
                return line;
            }
        }
    };
    let said = timeout(PATIENCE, said).await.unwrap();
    assert!(said.contains("`node1` is tracker now, at `127.0.0.1:"), "{said}");
    assert!(said.ends_with(&format!(", epoch {}", info.epoch)), "{said}");

    // Any node is a way in, and the home tracker as soon as it is there again.
    let dir = tempfile::tempdir().unwrap();
    let peers = vec![all[4].app().identity().search.to_string()];
    let by_peer = Config { tracker: None, peers, ..network.config("by-peer", dir.path()) };
    let by_peer = Node::start(&by_peer, Sharing::Folder).unwrap();
    eventually("the newcomer is taken in", || {
        by_peer.app().tracker().is_some_and(|info| info.contact == Contact::Heard)
    })
    .await;
    assert!(by_peer.app().tracker().unwrap().joined > line[4], "after the five");
    eventually("it shows whom it follows", || {
        by_peer.app().identity().tracker == Some(info.address.to_string())
    })
    .await;
    let other = tempfile::tempdir().unwrap();
    let by_home = Node::start(&network.config("by-home", other.path()), Sharing::Folder).unwrap();

    network.restart_tracker().await;
    eventually("the home tracker is in charge", || {
        all.iter().all(|node| {
            let info = tracker(node);
            // A claim that comes to nothing takes a number, too.
            (info.role, info.contact) == (Role::Home, Contact::Heard)
                && info.epoch >= 3
                && node.app().peers().len() == 6
        })
    })
    .await;
    eventually("so for the newcomers", || {
        [by_peer.app(), by_home.app()].iter().all(|app| {
            app.tracker().is_some_and(|info| info.role == Role::Home && info.epoch >= 3)
                && app.peers().len() == 6
        })
    })
    .await;
    for (number, node) in all.iter().enumerate() {
        let identity = node.app().identity();
        assert_eq!(identity.name.as_str(), format!("node{}", number + 1));
        assert_eq!(tracker(node).joined, line[number]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_after_the_other_they_take_over() {
    let network = Network::start().await;
    let mut nodes = nodes(&network, 4).await;
    network.stop_tracker();
    let mut epoch = 1;
    for _ in 0..2 {
        let all: Vec<&TestNode> = nodes.iter().collect();
        until_agreed(&all, epoch + 1).await;
        epoch = tracker(all[0]).epoch;
        // The eldest, unless the machine was busy when its turn came.
        let office = all.iter().position(|node| tracker(node).contact == Contact::Own).unwrap();
        // Gone without a word.
        let tracker = nodes.remove(office);
        tracker.node().tasks().stop(PATIENCE).await.unwrap();
    }
    // Two of four have no majority, and serve each other all the same.
    let all: Vec<&TestNode> = nodes.iter().collect();
    eventually("the last two go on", || {
        all.iter().all(|node| tracker(node).contact != Contact::Lost)
            && tracker(all[1]).id == tracker(all[0]).id
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_networks_with_a_tracker_each_that_meet_one_tracker_is_left() {
    let (one, other) = (Network::start().await, Network::start().await);
    let mut nodes = nodes(&one, 2).await;
    for name in ["stranger", "other"] {
        nodes.push(other.node(name, &[]).await);
    }
    // Neither tracker knows anybody of the other network, but their nodes do.
    let known = nodes[0].app().identity().search.to_string();
    nodes[2].app().hello(&known).await.unwrap();
    let all: Vec<&TestNode> = nodes.iter().collect();
    until_agreed(&all, 1).await;
    let chosen = (tracker(all[0]).id, tracker(all[0]).epoch);
    // Two home trackers look at each other once a second. That nothing changes can't be
    // seen sooner than by waiting.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let follows = |node: &&TestNode| (tracker(node).id, tracker(node).epoch) == chosen;
        assert!(all.iter().all(follows), "the office changes hands");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracker_that_some_hear_is_not_succeeded_and_the_others_find_it_where_it_is_heard() {
    let network = Network::start().await;
    let link = Link::start(network.tracker(), Manner::default()).await;
    let mut nodes = Vec::new();
    for number in 1..=5 {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("node{number}");
        let at = if number <= 3 { network.tracker() } else { link.at };
        let config = Config { tracker: Some(at.to_string()), ..network.config(&name, dir.path()) };
        let node = Node::start(&config, Sharing::Folder).unwrap();
        timeout(PATIENCE, node.app().registered()).await.unwrap();
        nodes.push((node, dir));
    }
    let follow = |epoch: u64, role: Role| {
        nodes.iter().all(|(node, _)| {
            let info = node.app().tracker().unwrap();
            (info.epoch, info.role) == (epoch, role) && info.contact != Contact::Lost
        })
    };
    eventually("all follow", || follow(1, Role::Home)).await;
    let address = |node: usize| nodes[node].0.app().tracker().unwrap().address;
    assert_eq!((address(0), address(4)), (network.tracker(), link.at));
    let mut news = nodes[4].0.app().notices();
    link.set(Passing::Silent);
    let lost = async {
        let line = format!("tracker at `{}` is lost", link.at);
        while !news.recv().await.unwrap().contains(&line) {}
    };
    timeout(PATIENCE, lost).await.expect("the silence is noticed");
    eventually("all follow it where it answers", || {
        follow(1, Role::Home) && (0..5).all(|node| address(node) == network.tracker())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_loses_nothing_while_trackers_change() {
    const SIZE: usize = 24 << 20;
    let mut content = vec![0; SIZE];
    blake3::Hasher::new().update(b"succession").finalize_xof().fill(&mut content);
    let network = Network::start().await;
    let nodes = nodes(&network, 2).await;
    let owner = network.node("owner", &[("file", &content)]).await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { down: Limit(Some(4 << 20)), ..Limits::default() };
    let config = Config { limits, ..network.config("taker", dir.path()) };
    let taker = Node::start(&config, Sharing::Folder).unwrap();
    timeout(PATIENCE, taker.app().registered()).await.unwrap();
    eventually("the owner is known", || taker.app().peers().len() == 3).await;
    let findings = taker.app().find("file").await.unwrap();
    let found = &findings.found[0];
    let wanted = Wanted::file(found.name.clone(), found.id, found.size);
    let job = taker.app().download(Wanted { from: Sources::All, ..wanted }).unwrap();
    network.stop_tracker();
    eventually("the eldest takes over", || {
        tracker(&owner).id == nodes[0].app().identity().id
            && taker.app().tracker().is_some_and(|info| info.contact == Contact::Heard)
    })
    .await;
    assert_eq!(taker.app().job(job).unwrap().state, JobState::Running, "it ran meanwhile");
    network.restart_tracker().await;
    eventually("home is back", || tracker(&owner).role == Role::Home).await;
    let done = timeout(PATIENCE, taker.app().finished(job)).await.unwrap().unwrap();
    assert_eq!(done.state, JobState::Done, "{done:?}");
    assert!(std::fs::read(dir.path().join("file")).unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracker_that_leaves_gives_up_the_office_before_its_uploads_end() {
    const SIZE: usize = 24 << 20;
    let network = Network::start().await;
    let owner = network.node("owner", &[("file", &vec![7; SIZE])]).await;
    let others = nodes(&network, 2).await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { down: Limit(Some(1 << 20)), ..Limits::default() };
    let config = Config { limits, ..network.config("taker", dir.path()) };
    let taker = Node::start(&config, Sharing::Folder).unwrap();
    timeout(PATIENCE, taker.app().registered()).await.unwrap();
    eventually("the owner is known", || taker.app().peers().len() == 3).await;
    network.stop_tracker();
    let owner_id = owner.app().identity().id;
    eventually("the owner takes over", || {
        others.iter().all(|node| {
            let info = tracker(node);
            info.id == owner_id && info.contact == Contact::Heard
        })
    })
    .await;
    let findings = taker.app().find("file").await.unwrap();
    let found = &findings.found[0];
    let wanted = Wanted::file(found.name.clone(), found.id, found.size);
    let job = taker.app().download(Wanted { from: Sources::All, ..wanted }).unwrap();
    eventually("it runs", || taker.app().job(job).unwrap().done > 0).await;
    let leaves = owner.stop_gracefully(PATIENCE * 2);
    let succeeded = eventually("another one is tracker", || {
        others.iter().all(|node| {
            let info = tracker(node);
            info.id != owner_id && info.contact != Contact::Lost && info.role == Role::Successor
        })
    });
    let mut leaves = std::pin::pin!(leaves);
    tokio::select! {
        _ = &mut leaves => panic!("it is gone before another one is tracker"),
        () = succeeded => {}
    }
    assert_eq!(taker.app().job(job).unwrap().state, JobState::Running);
    taker.app().set(Setting::Down(Limit(None))).unwrap();
    leaves.await;
    let done = timeout(PATIENCE, taker.app().finished(job)).await.unwrap().unwrap();
    assert_eq!(done.state, JobState::Done, "{done:?}");
}

/// The program `shoal-node`. Killed when dropped.
struct Program {
    child: Child,
    folder: TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Program {
    fn start(tracker: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_shoal-node"))
            .current_dir(folder.path())
            .args(["--files", ".", "--name", "program", "--listen", "127.0.0.1"])
            .args(["--tracker", &tracker.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn signal(&self, signal: &str) {
        let mut status = Command::new("kill");
        status.args(["-s", signal, &self.child.id().to_string()]);
        assert!(status.status().unwrap().success());
    }

    fn tracker(&self) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_shoal-node"))
            .current_dir(self.folder.path())
            .args(["ctl", "--files", ".", "--json", "tracker"])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracker_that_stood_still_answers_nobody_wrongly() {
    let network = Network::start().await;
    let program = Program::start(network.tracker());
    eventually("the program is there", || program.tracker()["epoch"] == 1).await;
    let nodes = nodes(&network, 3).await;
    let all: Vec<&TestNode> = nodes.iter().collect();
    network.stop_tracker();
    eventually("the program takes over", || {
        all.iter().all(|node| {
            let info = tracker(node);
            info.epoch >= 2 && info.contact == Contact::Heard && info.role == Role::Successor
        })
    })
    .await;
    let at = tracker(all[0]).address;
    let own = program.tracker();
    assert_eq!(
        (own["address"].as_str(), own["contact"].as_str()),
        (Some(at.to_string().as_str()), Some("own"))
    );

    let before = tracker(all[0]).epoch;
    program.signal("STOP");
    let start = Instant::now();
    eventually("it is succeeded", || {
        all.iter().all(|node| {
            let info = tracker(node);
            // A claim that comes to nothing takes a number, too.
            info.epoch > before && info.contact != Contact::Lost
        })
    })
    .await;
    println!("one that stood still was succeeded in {:?}", start.elapsed());
    assert!(start.elapsed() < HEARTBEAT * 2 + SUCCEEDED, "{:?}", start.elapsed());

    // Connections that wait in its queue are the first that it finds.
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            Tasks::new(Handle::current()).spawn(tracing::Span::none(), async move {
                register(at, &format!("waiting{number}")).await.map(|(answer, _)| answer)
            })
        })
        .collect();
    // Nothing tells from outside what waits there; those that come later are answered
    // by the same rule.
    tokio::time::sleep(Duration::from_millis(100)).await;
    program.signal("CONT");
    for answer in waiting {
        let answer = answer.await.unwrap().flatten();
        assert!(!matches!(answer, Some(FromTracker::Registered(_))), "{answer:?}");
    }
    eventually("it follows its successor", || {
        let info = program.tracker();
        info["epoch"] == tracker(all[0]).epoch && info["contact"] == "heard"
    })
    .await;
    match register(at, "late").await {
        Some((FromTracker::Elsewhere { reign: Some(reign) }, _)) => {
            let followed = tracker(all[0]);
            assert_eq!((reign.epoch, reign.tracker), (followed.epoch, followed.id));
        }
        other => panic!("{:?}", other.map(|(answer, _)| answer)),
    }
}
