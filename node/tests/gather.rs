//! A search in a network that is too large to ask everyone oneself.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shoal_common::call::call;
use shoal_common::connection::ConnectionError;
use shoal_common::content::{FileId, Manifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{
    IDLE_DEADLINE, MAX_GATHER_FRAME, MAX_HOPS, MAX_MATCHES, MAX_REQUEST_FRAME, REPLY_DEADLINE,
    SAMPLE, SEARCH_DEADLINE,
};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::{
    Answer, Gather, Gathered, Match, Pattern, SearchReply, SearchRequest,
};
use shoal_common::serve::{Guest, serve};
use shoal_common::task::Tasks;
use shoal_node::catalog::Catalog;
use shoal_node::catalog::ask::gather::{FAN, Search};
use shoal_node::catalog::ask::ring::lies_between;
use shoal_node::catalog::ask::{DIRECT, ask};
use shoal_node::catalog::index::Shared;
use shoal_node::catalog::serve::{Acquaintance, Circle, answer};
use shoal_node::volume::{Stamp, Volume};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::Span;

const COUNT: usize = 300;

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
        // Somebody may call before all are known, who looks for one that had this port.
        let known = self.known.lock().unwrap().get(self.number).cloned();
        let mut known = known.unwrap_or_default();
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

    /// Nobody but `odd` is at this place from now on, and all know it.
    async fn replace(&mut self, number: usize, odd: Odd) {
        self.tasks[number].stop(Duration::from_secs(5)).await.unwrap();
        self.peers[number].search = odd.at;
        self.tasks[number] = odd.tasks;
        *self.known.lock().unwrap() = vec![self.peers.clone(); COUNT];
    }
}

/// A node that does not do as it should.
struct Odd {
    at: SocketAddr,
    tasks: Tasks,
}

impl Odd {
    /// Answers so, or not at all, when it is asked to pass on a search.
    async fn start<F>(id: NodeId, reply: F) -> Self
    where
        F: Fn(Gather) -> Option<Gathered> + Clone + Send + Sync + 'static,
    {
        Self::serve(id, move |mut guest: Guest| {
            let reply = reply.clone();
            async move {
                loop {
                    let request = guest.connection.receive(MAX_REQUEST_FRAME, IDLE_DEADLINE);
                    let SearchRequest::Gather(gather) = request.await? else { continue };
                    if let Some(gathered) = reply(gather) {
                        let reply = SearchReply::Gathered(gathered);
                        guest.connection.send(&reply, MAX_GATHER_FRAME).await?;
                    }
                }
            }
        })
        .await
    }

    async fn serve<H, F>(id: NodeId, handle: H) -> Self
    where
        H: Fn(Guest) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<(), ConnectionError>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, tasks) = (listener.local_addr().unwrap(), Tasks::new(Handle::current()));
        let door = serve(listener, party(id), &[Talk::Search], 100, tasks.clone(), handle);
        tasks.spawn(Span::none(), door);
        Self { at, tasks }
    }
}

fn exact(name: &str) -> Pattern {
    Pattern::Exact(name.parse().unwrap())
}

/// The number of who is asked for a part, if the last of all asks.
fn first_of(part: usize) -> usize {
    (part * (COUNT - 1)).div_ceil(FAN)
}

/// Asks once, with time for a busy machine.
async fn search(us: NodeId, asked: &[Peer], pattern: Pattern, time: Duration) -> Gathered {
    let search = Search::new(party(us), pattern, Instant::now() + time);
    search.gather(asked.to_vec()).await
}

/// Who has a match.
fn owners_of(gathered: &Gathered) -> BTreeSet<NodeId> {
    gathered.answers.iter().map(|answer| answer.peer.id).collect()
}

fn ids(peers: &[Peer]) -> BTreeSet<NodeId> {
    peers.iter().map(|peer| peer.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_is_reached_by_way_of_some() {
    const { assert!(COUNT > DIRECT * 4) };
    let crowd = Crowd::start().await;
    let us = NodeId::random();
    let gathered = search(us, &crowd.peers, exact("all.txt"), REPLY_DEADLINE).await;
    assert_eq!(owners_of(&gathered), ids(&crowd.peers));
    assert_eq!((gathered.asked, gathered.missing), (COUNT as u64, 0));
    let glob = Pattern::Glob("own7*.txt".to_owned());
    let gathered = search(us, &crowd.peers, glob, REPLY_DEADLINE).await;
    assert_eq!(gathered.answers.len(), 11);
    let content = Pattern::Content(FileId::of(b"own250.txt"));
    let gathered = search(us, &crowd.peers, content, REPLY_DEADLINE).await;
    assert_eq!(gathered.answers.len(), 1);
    assert_eq!(gathered.answers[0].peer, crowd.peers[250]);
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
    let us = crowd.peers[17].id;
    let gathered = search(us, &known, exact("all.txt"), REPLY_DEADLINE).await;
    let mut others = ids(&crowd.peers);
    others.remove(&us);
    assert_eq!(owners_of(&gathered), others);
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
    let gathered = search(us, &crowd.peers, exact("all.txt"), REPLY_DEADLINE).await;
    assert_eq!(gathered.answers.len(), COUNT - dead.len());
    assert_eq!(gathered.missing, dead.len() as u64);
    assert_eq!(gathered.silent.into_iter().collect::<BTreeSet<_>>(), dead);
    let start = Instant::now();
    let findings = ask(crowd.peers.clone(), &party(us), &exact("all.txt")).await;
    assert!(start.elapsed() < SEARCH_DEADLINE * 3, "{:?}", start.elapsed());
    assert!(findings.missing >= dead.len() as u64, "{}", findings.missing);
}

/// Who answers nothing at all, or greets and then answers nothing, costs its part
/// some time, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_mute_costs_no_more_than_itself() {
    let mut crowd = Crowd::start().await;
    let (deaf, mute) = (first_of(0), first_of(2));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    crowd.replace(deaf, Odd { at, tasks: Tasks::new(Handle::current()) }).await;
    let odd = Odd::start(crowd.peers[mute].id, |_| None).await;
    crowd.replace(mute, odd).await;
    let us = crowd.peers[COUNT - 1].id;
    let gathered = search(us, &crowd.peers, exact("all.txt"), REPLY_DEADLINE / 2).await;
    let mut others = ids(&crowd.peers);
    for number in [deaf, mute, COUNT - 1] {
        others.remove(&crowd.peers[number].id);
    }
    assert_eq!(owners_of(&gathered), others);
    assert_eq!(gathered.missing, 2, "{:?}", gathered.silent);
}

/// Who says that it asked its part and did not, and who does not know yet who it
/// is, are replaced.
#[tokio::test(flavor = "multi_thread")]
async fn who_passes_nothing_on_is_replaced() {
    let mut crowd = Crowd::start().await;
    let [lazy, new] = [first_of(0), first_of(9)];
    let peer = crowd.peers[lazy].clone();
    let own = move |_| {
        let answers = vec![invented(&peer, 0)];
        Some(Gathered { answers, asked: 1, ..Gathered::default() })
    };
    let odd = Odd::start(crowd.peers[lazy].id, own).await;
    crowd.replace(lazy, odd).await;
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    let circle = Circle::alone(party(crowd.peers[new].id));
    let odd = Odd::serve(crowd.peers[new].id, move |guest| {
        answer(guest, catalog.clone(), circle.clone())
    });
    let odd = odd.await;
    crowd.replace(new, odd).await;
    let us = crowd.peers[COUNT - 1].id;
    let gathered = search(us, &crowd.peers, exact("all.txt"), REPLY_DEADLINE).await;
    let mut others = ids(&crowd.peers);
    for number in [new, COUNT - 1] {
        others.remove(&crowd.peers[number].id);
    }
    assert_eq!(owners_of(&gathered), others);
    assert_eq!((gathered.asked, gathered.missing), (COUNT as u64 - 2, 1));
    assert_eq!(gathered.silent, [crowd.peers[new].name.clone()]);
}

/// As those do that are busy: each answers for itself alone.
#[tokio::test(flavor = "multi_thread")]
async fn where_all_answer_for_themselves_alone_each_is_asked() {
    const FEW: usize = 45;
    let mut crowd = Crowd::start().await;
    for number in 0..FEW {
        let peer = crowd.peers[number].clone();
        let odd = Odd::start(peer.id, move |_| {
            let answers = vec![invented(&peer, 0)];
            Some(Gathered { answers, asked: 1, ..Gathered::default() })
        });
        let odd = odd.await;
        crowd.replace(number, odd).await;
    }
    let few = &crowd.peers[..FEW];
    let us = crowd.peers[COUNT - 1].id;
    let gathered = search(us, few, exact("all.txt"), REPLY_DEADLINE).await;
    assert_eq!(owners_of(&gathered), ids(few));
    assert_eq!((gathered.asked, gathered.missing), (FEW as u64, 0));
}

/// Who has the address of one that is gone does not answer in its place.
#[tokio::test(flavor = "multi_thread")]
async fn another_node_at_an_address_is_not_believed() {
    let mut crowd = Crowd::start().await;
    let peer = crowd.peers[5].clone();
    let own = move |_| {
        let answers = vec![invented(&peer, 0)];
        Some(Gathered { answers, asked: 1, ..Gathered::default() })
    };
    let odd = Odd::start(NodeId::random(), own).await;
    crowd.replace(5, odd).await;
    let us = crowd.peers[COUNT - 1].id;
    let gathered = search(us, &crowd.peers, exact("all.txt"), REPLY_DEADLINE).await;
    assert!(!owners_of(&gathered).contains(&crowd.peers[5].id));
    assert_eq!((gathered.asked, gathered.missing), (COUNT as u64 - 2, 1));
}

/// One that invents as many owners as there may be takes nobody's place.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_matches_hides_nobody() {
    let mut crowd = Crowd::start().await;
    for number in [1, 100, 101] {
        let liar = crowd.peers[number].clone();
        let odd = Odd::start(liar.id, move |_| {
            let answers = (0..MAX_MATCHES as u64).map(|k| invented(&liar, k)).collect();
            Some(Gathered { answers, asked: 1, ..Gathered::default() })
        });
        let odd = odd.await;
        crowd.replace(number, odd).await;
    }
    let us = crowd.peers[COUNT - 1].id;
    let gathered = search(us, &crowd.peers, exact("all.txt"), REPLY_DEADLINE).await;
    let mut honest = ids(&crowd.peers);
    honest.remove(&us);
    let missed: Vec<_> = honest.difference(&owners_of(&gathered)).copied().collect();
    assert_eq!(missed, []);
    assert!(gathered.more);
}

/// One of those who lie so closely behind a node that nobody is between.
fn invented(liar: &Peer, number: u64) -> Answer {
    let (mut id, content) = (*liar.id.as_bytes(), FileId::of(b"all"));
    let (_, end) = id.split_last_chunk_mut().unwrap();
    *end = u64::from_be_bytes(*end).saturating_add(number).to_be_bytes();
    let name = "all.txt".parse().unwrap();
    let found = Match { name, size: 3, file: content, chunks: None };
    Answer { peer: Peer { id: NodeId::from_bytes(id), ..liar.clone() }, matches: vec![found] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_not_passed_on_for_ever() {
    let crowd = Crowd::start().await;
    let us = party(NodeId::random());
    for (hops, reached) in [(0, 1), (1, FAN as u64 + 1)] {
        let (mut connection, _) = call(crowd.peers[0].search, &us, Talk::Search).await.unwrap();
        let patience_ms = u32::try_from(REPLY_DEADLINE.as_millis()).unwrap();
        let gather =
            Gather { pattern: exact("all.txt"), upto: crowd.peers[0].id, patience_ms, hops };
        let reply: SearchReply =
            connection.ask(&SearchRequest::Gather(gather), MAX_GATHER_FRAME).await.unwrap();
        let SearchReply::Gathered(gathered) = reply else { panic!("{reply:?}") };
        assert_eq!(gathered.asked, reached, "{hops} hops");
        assert_eq!(gathered.asked + gathered.missing, COUNT as u64);
    }
}

/// Whoever says that a search may go on longer than any may.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_a_larger_number_of_hops_is_not_believed() {
    let mut crowd = Crowd::start().await;
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let recorder = {
        let heard = Arc::clone(&heard);
        move |gather: Gather| {
            heard.lock().unwrap().push(gather.hops);
            Some(Gathered { asked: 1, ..Gathered::default() })
        }
    };
    let odd = Odd::start(crowd.peers[1].id, recorder).await;
    crowd.replace(1, odd).await;
    let us = party(NodeId::random());
    for hops in [3, MAX_HOPS, 200] {
        let (mut connection, _) = call(crowd.peers[0].search, &us, Talk::Search).await.unwrap();
        let patience_ms = u32::try_from(REPLY_DEADLINE.as_millis()).unwrap();
        let gather =
            Gather { pattern: exact("all.txt"), upto: crowd.peers[2].id, patience_ms, hops };
        let reply: SearchReply =
            connection.ask(&SearchRequest::Gather(gather), MAX_GATHER_FRAME).await.unwrap();
        assert!(matches!(reply, SearchReply::Gathered(_)), "{reply:?}");
    }
    assert_eq!(*heard.lock().unwrap(), [2, MAX_HOPS - 1, MAX_HOPS - 1]);
}
