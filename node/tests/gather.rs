//! A search in a network that is too large to ask everyone oneself.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shoal_common::call::call;
use shoal_common::content::{FileId, Manifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{MAX_GATHER_FRAME, SAMPLE};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::{Gather, Pattern, SearchReply, SearchRequest};
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use shoal_node::catalog::Catalog;
use shoal_node::catalog::ask::ring::lies_between;
use shoal_node::catalog::ask::{DIRECT, ask, owners};
use shoal_node::catalog::index::Shared;
use shoal_node::catalog::serve::{Acquaintance, Circle, answer};
use shoal_node::volume::{Stamp, Volume};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::Span;

const COUNT: usize = 300;

/// Searches until a busy machine is in time with one.
const TRIES: usize = 20;

fn party(id: NodeId) -> Party {
    Party::new("test", id)
}

fn shared(name: &str, content: &str) -> Shared {
    let manifest = Manifest::of_one_chunk(FileId::of(content.as_bytes()), content.len() as u64);
    Shared {
        name: name.parse().unwrap(),
        stamp: Stamp { size: content.len() as u64, mtime_ns: 1, inode: 1 },
        executable: false,
        manifest: Arc::new(manifest.unwrap()),
    }
}

/// Whom each node knows.
type Known = Arc<Mutex<Vec<Vec<Peer>>>>;

struct One {
    peer: Peer,
    number: usize,
    known: Known,
}

impl Acquaintance for One {
    fn us(&self) -> Option<Peer> {
        Some(self.peer.clone())
    }

    fn on_the_way(&self, upto: NodeId) -> Vec<Peer> {
        let mut known = self.known.lock().unwrap()[self.number].clone();
        known.retain(|peer| lies_between(peer.id, self.peer.id, upto));
        known
    }
}

struct Crowd {
    peers: Vec<Peer>,
    known: Known,
    tasks: Vec<Tasks>,
    _dir: TempDir,
}

impl Crowd {
    /// Nodes in the order of their ids, each with a file of its own and one that
    /// all have, each knowing all others.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let mut ids: Vec<_> = (0..COUNT).map(|_| NodeId::random()).collect();
        ids.sort_unstable();
        let known: Known = Arc::default();
        let (mut peers, mut tasks) = (Vec::new(), Vec::new());
        for (number, id) in ids.into_iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let name = format!("node{number}").parse().unwrap();
            let peer = Peer { id, name, search: at, download: at, joined: 0 };
            peers.push(peer.clone());
            let catalog = Catalog::new(volume.clone());
            let own = format!("own{number}.txt");
            catalog.add_many([shared(&own, &own), shared("all.txt", "all")]);
            let one = One { peer, number, known: Arc::clone(&known) };
            let circle = Circle::new(party(id), Arc::new(one));
            let group = Tasks::new(Handle::current());
            group.spawn(
                Span::none(),
                serve(listener, party(id), &[Talk::Search], 100, group.clone(), move |guest| {
                    answer(guest, catalog.clone(), circle.clone())
                }),
            );
            tasks.push(group);
        }
        *known.lock().unwrap() = vec![peers.clone(); COUNT];
        Self { peers, known, tasks, _dir: dir }
    }

    /// Asks so often until there are as many owners; how many there are.
    async fn finds(&self, us: NodeId, asked: &[Peer], pattern: &str, owners: usize) -> usize {
        let pattern = Pattern::Glob(pattern.to_owned());
        let mut found = BTreeSet::new();
        // A busy machine may need more than a second.
        for _ in 0..TRIES {
            let findings = ask(asked.to_vec(), &party(us), &pattern).await;
            found = findings.found.iter().flat_map(|found| &found.owners).map(|o| o.id).collect();
            if found.len() == owners {
                break;
            }
        }
        found.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_is_reached_by_way_of_some() {
    const { assert!(COUNT > DIRECT * 4) };
    let crowd = Crowd::start().await;
    let us = NodeId::random();
    assert_eq!(crowd.finds(us, &crowd.peers, "all.txt", COUNT).await, COUNT);
    assert_eq!(crowd.finds(us, &crowd.peers, "own7*.txt", 11).await, 11);
    let us = party(us);
    let file = FileId::of(b"own250.txt");
    let sources = owners(crowd.peers.clone(), &us, file, "own250.txt".len() as u64).await;
    assert_eq!(sources.len(), 1);
    assert_eq!(sources[0].peer, crowd.peers[250]);
}

/// A newcomer knows a few; and each node only those who follow it.
#[tokio::test(flavor = "multi_thread")]
async fn everyone_is_reached_by_who_knows_only_a_few() {
    let crowd = Crowd::start().await;
    let following = |number: usize| -> Vec<Peer> {
        (1..=SAMPLE / 2).map(|k| crowd.peers[(number + k) % COUNT].clone()).collect()
    };
    *crowd.known.lock().unwrap() = (0..COUNT).map(following).collect();
    let mut known = following(17);
    known.push(crowd.peers[200].clone());
    let found = crowd.finds(crowd.peers[17].id, &known, "all.txt", COUNT - 1).await;
    assert_eq!(found, COUNT - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_are_replaced_and_named() {
    let crowd = Crowd::start().await;
    let mut dead = BTreeSet::new();
    for number in (0..COUNT).step_by(7) {
        crowd.tasks[number].stop(Duration::from_secs(5)).await.unwrap();
        dead.insert(crowd.peers[number].name.clone());
    }
    let us = NodeId::random();
    let alive = COUNT - dead.len();
    assert_eq!(crowd.finds(us, &crowd.peers, "all.txt", alive).await, alive);
    let pattern = Pattern::Exact("all.txt".parse().unwrap());
    let start = Instant::now();
    let findings = ask(crowd.peers.clone(), &party(us), &pattern).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let silent: BTreeSet<_> = findings.silent.into_iter().collect();
    assert!(silent.is_superset(&dead), "{silent:?}");
}

/// Who answers nothing at all costs its part some time, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_mute_costs_no_more_than_itself() {
    let crowd = Crowd::start().await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peers = crowd.peers.clone();
    peers[100].search = mute.local_addr().unwrap();
    *crowd.known.lock().unwrap() = vec![peers.clone(); COUNT];
    let found = crowd.finds(NodeId::random(), &peers, "all.txt", COUNT - 1).await;
    assert_eq!(found, COUNT - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_not_passed_on_for_ever() {
    let crowd = Crowd::start().await;
    let us = party(NodeId::random());
    for (hops, patience_ms, reached) in [(0, 1000, 1), (200, 0, 1), (1, 1000, 33)] {
        let (mut connection, _) = call(crowd.peers[0].search, &us, Talk::Search).await.unwrap();
        let pattern = Pattern::Exact("all.txt".parse().unwrap());
        let gather = Gather { pattern, upto: crowd.peers[0].id, patience_ms, hops };
        let reply: SearchReply =
            connection.ask(&SearchRequest::Gather(gather), MAX_GATHER_FRAME).await.unwrap();
        let SearchReply::Gathered(gathered) = reply else { panic!("{reply:?}") };
        assert_eq!(gathered.asked, reached, "{hops} hops");
        assert_eq!(gathered.asked + gathered.missing, COUNT as u64);
    }
}
