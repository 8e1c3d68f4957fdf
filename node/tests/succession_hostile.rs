//! Who lies about who is tracker.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use network::{HEARTBEAT, Network, PATIENCE, TestNode, eventually};
use shoal_common::call::call;
use shoal_common::connection::ConnectionError;
use shoal_common::ident::NodeId;
use shoal_common::limits::{COUNCIL, MAX_REQUEST_FRAME, MAX_TRACKER_FRAME};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::succession::{
    Inquiry, Member, Reign, Sight, Standing, SuccessionReply, SuccessionRequest,
};
use shoal_common::protocol::tracking::{Charter, FromTracker, Registered, ToTracker};
use shoal_common::serve::{Guest, serve};
use shoal_common::task::Tasks;
use shoal_node::app::node::{Node, Sharing};
use shoal_node::app::{Contact, Role, TrackerInfo};
use shoal_node::config::Config;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

fn tracker(node: &TestNode) -> TrackerInfo {
    node.app().tracker().unwrap()
}

async fn inquire(at: SocketAddr, us: &Party, inquiry: Inquiry) -> SuccessionReply {
    let (mut connection, _) = call(at, us, Talk::Succession).await.unwrap();
    connection.ask(&SuccessionRequest::Inquire(inquiry), MAX_REQUEST_FRAME).await.unwrap()
}

/// What is answered to a claim by one that hears its tracker, or is tracker: lies make
/// it look elsewhere for a moment.
async fn while_it_hears(at: SocketAddr, us: &Party, claim: Reign) -> Standing {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let inquiry = Inquiry { reign: None, council: vec![], claim: Some(claim) };
        match inquire(at, us, inquiry).await {
            SuccessionReply::Standing(standing)
                if matches!(standing.sight, Sight::Hears | Sight::Reigns) =>
            {
                return standing;
            }
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One that says of itself that it reigns, whoever asks. Returns where.
async fn pretender(us: &Party, epoch: u64, tasks: &Tasks) -> Reign {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reign = Reign { epoch, tracker: us.node, address, home: false, joined: 1, elected: true };
    let standing = Standing {
        reign: Some(reign),
        sight: Sight::Reigns,
        agrees: true,
        promised: epoch,
        joined: 1,
        council: vec![],
    };
    let talks = &[Talk::Succession];
    let pretend = serve(listener, us.clone(), talks, 10, tasks.clone(), move |mut guest| {
        let standing = standing.clone();
        async move {
            loop {
                let _: SuccessionRequest =
                    guest.connection.receive(MAX_REQUEST_FRAME, PATIENCE).await?;
                let reply = SuccessionReply::Standing(standing.clone());
                guest.connection.send(&reply, MAX_REQUEST_FRAME).await?;
            }
        }
    });
    tasks.spawn(tracing::Span::none(), pretend);
    reign
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_can_not_depose_a_tracker_with_absurd_claims() {
    let network = Network::start().await;
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(network.node(&format!("node{number}"), &[]).await);
    }
    let all: Vec<&TestNode> = nodes.iter().collect();
    eventually("all follow", || {
        all.iter().all(|node| {
            let info = tracker(node);
            info.contact == Contact::Heard && info.line.len() == 3
        })
    })
    .await;
    let us = Party::new("shoal", NodeId::random());
    let tasks = Tasks::new(Handle::current());
    let (node, home) = (all[1].app().identity().search, network.tracker());
    let empty = Inquiry { reign: None, council: vec![], claim: None };

    let hear = |node: &&TestNode| tracker(node).contact == Contact::Heard;
    for epoch in [0, 1_000, 1 << 40, u64::MAX] {
        let reign = pretender(&us, epoch, &tasks).await;
        for at in [node, home] {
            let standing = while_it_hears(at, &us, reign).await;
            assert!(!standing.agrees, "{standing:?}");
        }
        for at in [node, home] {
            inquire(at, &us, Inquiry { reign: Some(reign), ..empty.clone() }).await;
        }
        // Some look for that tracker; it takes nobody in.
        eventually("all hear it", || all.iter().all(hear)).await;
    }
    // Nobody is agreed with while the tracker is heard, nobody claims for another,
    // and no list is too long.
    let plausible = pretender(&us, 2, &tasks).await;
    let nobody = Reign { address: "127.0.0.1:1".parse().unwrap(), ..plausible };
    let member = Member { id: us.node, joined: 1, address: nobody.address };
    let standing = while_it_hears(node, &us, nobody).await;
    assert!(!standing.agrees, "{standing:?}");
    let refused = SuccessionReply::Refused { refusal: Refusal::NotAllowed };
    let foreign = Reign { tracker: NodeId::random(), ..nobody };
    let anywhere = Reign { address: "0.0.0.0:0".parse().unwrap(), ..nobody };
    for inquiry in [
        Inquiry { claim: Some(foreign), ..empty.clone() },
        Inquiry { reign: Some(anywhere), ..empty.clone() },
        Inquiry { council: vec![member; COUNCIL + 1], ..empty.clone() },
    ] {
        for at in [node, home] {
            assert_eq!(inquire(at, &us, inquiry.clone()).await, refused);
        }
    }
    // One that does not even answer where it says that it reigns.
    for at in [node, home] {
        inquire(at, &us, Inquiry { reign: Some(nobody), ..empty.clone() }).await;
    }
    // All that can come of it is that the home tracker has itself elected anew.
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        for node in &all {
            let info = tracker(node);
            assert_eq!((info.role, info.line.len()), (Role::Home, 3), "{info:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("all hear it", || all.iter().all(hear)).await;
    let newcomer = network.node("newcomer", &[]).await;
    assert_eq!(tracker(&newcomer).role, Role::Home);
    tasks.cancel();
}

/// One that also takes nodes in, and tells each of them after a while that it reigns in
/// the last epoch. Returns where, and how many it has had.
async fn usurper(us: &Party, epoch: u64, tasks: &Tasks) -> (Reign, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reign = Reign { epoch, tracker: us.node, address, home: true, joined: 0, elected: true };
    let had = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&had);
    let talks = &[Talk::Succession, Talk::Tracking];
    let usurp = serve(listener, us.clone(), talks, 100, tasks.clone(), move |mut guest| {
        let had = Arc::clone(&counted);
        async move {
            if guest.hello.talk == Talk::Tracking {
                return take_in(&mut guest, reign, &had).await;
            }
            let _: SuccessionRequest =
                guest.connection.receive(MAX_REQUEST_FRAME, PATIENCE).await?;
            let (sight, agrees, promised) = (Sight::Reigns, true, reign.epoch);
            let reign = Some(reign);
            let standing = Standing { reign, sight, agrees, promised, joined: 0, council: vec![] };
            guest.connection.send(&SuccessionReply::Standing(standing), MAX_REQUEST_FRAME).await
        }
    });
    tasks.spawn(tracing::Span::none(), usurp);
    (reign, had)
}

async fn take_in(
    guest: &mut Guest,
    reign: Reign,
    had: &AtomicUsize,
) -> Result<(), ConnectionError> {
    let received = guest.connection.receive(MAX_TRACKER_FRAME, PATIENCE).await?;
    let ToTracker::Register(wish) = received else { return Ok(()) };
    let charter = Charter { reign, council: vec![] };
    let registered = Registered {
        name: wish.name,
        heartbeat_ms: 3_600_000,
        instance: 1,
        revision: 1,
        total: 0,
        peers: vec![],
        joined: wish.joined.max(1),
        charter: Some(charter.clone()),
    };
    guest.connection.send(&FromTracker::Registered(registered), MAX_TRACKER_FRAME).await?;
    let last = Charter { reign: Reign { epoch: u64::MAX, ..reign }, ..charter };
    guest.connection.send(&FromTracker::Reigns(last), MAX_TRACKER_FRAME).await?;
    had.fetch_add(1, Ordering::Relaxed);
    loop {
        let _: ToTracker = guest.connection.receive(MAX_TRACKER_FRAME, PATIENCE).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_tracker_that_leaves_takes_nobody_along() {
    let network = Network::start().await;
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(network.node(&format!("node{number}"), &[]).await);
    }
    network.stop_tracker();
    let us = Party::new("shoal", NodeId::random());
    // So far above that nobody looks at it, and one that is followed and goes up then.
    for (epoch, follow) in [(1 << 62, 0), (1 << 20, 3)] {
        let succeeded = |node: &TestNode| {
            let info = tracker(node);
            info.role == Role::Successor && info.contact != Contact::Lost
        };
        eventually("one of them is tracker", || nodes.iter().all(succeeded)).await;
        let tasks = Tasks::new(Handle::current());
        let (reign, had) = usurper(&us, epoch, &tasks).await;
        for node in &nodes {
            let told = Inquiry { reign: Some(reign), council: vec![], claim: None };
            inquire(node.app().identity().search, &us, told).await;
        }
        if follow == 0 {
            // Two heartbeats: that nobody comes can't be seen sooner.
            tokio::time::sleep(2 * HEARTBEAT).await;
            assert_eq!(had.load(Ordering::Relaxed), 0, "somebody went there");
        }
        eventually("they go there", || had.load(Ordering::Relaxed) >= follow).await;
        tasks.stop(PATIENCE).await.unwrap();
    }

    // Somebody who knows nothing is taken in, and somebody who has forgotten it.
    let dir = nodes.pop().unwrap().stop().await;
    let peers: Vec<String> =
        nodes.iter().map(|node| node.app().identity().search.to_string()).collect();
    let other = tempfile::tempdir().unwrap();
    for (name, dir) in [("node3", dir), ("newcomer", other)] {
        let config = Config { peers: peers.clone(), ..network.config(name, dir.path()) };
        nodes.push(TestNode::new(Node::start(&config, Sharing::Folder).unwrap(), dir));
    }
    let is_one = |nodes: &[TestNode]| {
        let reigns: Vec<_> = nodes.iter().filter_map(|node| node.app().tracker()).collect();
        reigns.len() == nodes.len()
            && reigns.iter().all(|info| (info.id, info.epoch) == (reigns[0].id, reigns[0].epoch))
            && reigns.iter().all(|info| info.contact != Contact::Lost)
            && nodes.iter().all(|node| node.app().peers().len() == nodes.len() - 1)
    };
    eventually("all four have one tracker", || is_one(&nodes)).await;
    let epoch = tracker(&nodes[0]).epoch;
    assert!(epoch < 1 << 20, "the epochs begin anew, at {epoch}");
    // And so does a home tracker that knows nothing, and gets everyone.
    network.restart_tracker().await;
    eventually("home is in charge", || {
        is_one(&nodes) && nodes.iter().all(|node| tracker(node).role == Role::Home)
    })
    .await;
}
