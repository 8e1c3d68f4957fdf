use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::connection::Connection;
use shoal_common::content::{FileId, Manifest};
use shoal_common::limits::MAX_HOPS;
use shoal_common::protocol::greeting::{Greeting, Talk};
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Span;

use super::*;
use crate::catalog::index::Shared;
use crate::volume::{Stamp, Volume};

fn party(id: NodeId) -> Party {
    Party::new("test", id)
}

/// A node that knows one other.
struct Pair(Peer, Peer);

impl Acquaintance for Pair {
    fn us(&self) -> Option<Peer> {
        Some(self.0.clone())
    }

    fn on_the_way(&self, _: NodeId) -> Vec<Peer> {
        vec![self.1.clone()]
    }
}

/// One that answers for itself that it has nothing.
async fn other() -> (Peer, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (peer, tasks) = (peer(2, listener.local_addr().unwrap()), Tasks::new(Handle::current()));
    let handle = |mut guest: Guest| async move {
        let request = guest.connection.receive(MAX_REQUEST_FRAME, IDLE_DEADLINE).await?;
        assert!(matches!(request, SearchRequest::Gather(_)), "{request:?}");
        let reply = SearchReply::Gathered(Gathered { asked: 1, ..Gathered::default() });
        guest.connection.send(&reply, MAX_GATHER_FRAME).await
    };
    let door = serve(listener, party(peer.id), &[Talk::Search], 9, tasks.clone(), handle);
    tasks.spawn(Span::none(), door);
    (peer, tasks)
}

fn peer(number: u8, at: SocketAddr) -> Peer {
    let name = format!("node{number}").parse().unwrap();
    Peer { id: NodeId::from_bytes([number; 32]), name, search: at, download: at, joined: 0 }
}

#[tokio::test]
async fn who_has_no_time_for_its_own_files_still_asks_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    let (other, _tasks) = other().await;
    let us = peer(1, other.search);
    let circle = Circle::new(party(us.id), Arc::new(Pair(us.clone(), other)));
    let mut permits = Vec::new();
    for _ in 0..MAX_LOOKUPS {
        permits.push(LOOKUPS.acquire().await.unwrap());
    }
    let pattern = Pattern::Part("a".to_owned());
    let gather = Gather { pattern, upto: us.id, patience_ms: 1000, hops: MAX_HOPS };
    let reply = timeout(Duration::from_secs(1), gathered(&catalog, &circle, gather, true)).await;
    drop(permits);
    let SearchReply::Gathered(gathered) = reply.unwrap() else { panic!("refused") };
    assert_eq!((gathered.asked, gathered.missing), (1, 1));
    assert_eq!(gathered.silent, [us.name]);
}

fn shared(name: &str) -> Shared {
    let manifest = Manifest::of_one_chunk(FileId::of(b"a"), 1).unwrap();
    let stamp = Stamp { size: 1, mtime_ns: 1, inode: 1 };
    let name = name.parse().unwrap();
    Shared { name, stamp, executable: false, manifest: Arc::new(manifest) }
}

fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(8192).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket
}

/// A node that answers with this circle, and little room on its way.
fn node(catalog: &Catalog, circle: &Circle) -> (SocketAddr, Tasks) {
    let socket = socket();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(64).unwrap();
    let at = listener.local_addr().unwrap();
    let tasks = Tasks::new(Handle::current());
    let (catalog, us) = (catalog.clone(), circle.us.clone());
    let circle = circle.clone();
    let handle = move |guest| answer(guest, catalog.clone(), circle.clone());
    tasks.spawn(Span::none(), serve(listener, us, &[Talk::Search], 64, tasks.clone(), handle));
    (at, tasks)
}

async fn connect(at: SocketAddr) -> Connection<TcpStream> {
    let us = party(NodeId::random());
    let mut connection = Connection::new(socket().connect(at).await.unwrap());
    let hello = Greeting::Hello(us.greets(Talk::Search));
    let _: Greeting = connection.ask(&hello, MAX_REQUEST_FRAME).await.unwrap();
    connection.keep_time(us.clock);
    connection
}

fn gather(upto: NodeId) -> SearchRequest {
    let pattern = Pattern::Glob("*".to_owned());
    SearchRequest::Gather(Gather { pattern, upto, patience_ms: 10_000, hops: MAX_HOPS })
}

#[tokio::test]
async fn who_passes_on_as_many_as_it_may_answers_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    catalog.add_many([shared("a")]);
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = peer(2, mute.local_addr().unwrap());
    let us = peer(1, other.search);
    let circle = Circle::new(party(us.id), Arc::new(Pair(us.clone(), other)));
    let (at, _tasks) = node(&catalog, &circle);
    let mut busy = Vec::new();
    for _ in 0..MAX_GATHERS {
        let mut connection = connect(at).await;
        connection.send(&gather(us.id), MAX_REQUEST_FRAME).await.unwrap();
        busy.push((connection, mute.accept().await.unwrap()));
    }
    let mut connection = connect(at).await;
    let reply = connection.ask(&gather(us.id), MAX_GATHER_FRAME).await.unwrap();
    let SearchReply::Gathered(gathered) = reply else { panic!("{reply:?}") };
    let answered: Vec<_> = gathered.answers.iter().map(|answer| answer.peer.id).collect();
    assert_eq!((answered, gathered.asked, gathered.missing), (vec![us.id], 1, 0));
}

#[tokio::test]
async fn an_answer_counts_until_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    let long = "x".repeat(200);
    catalog.add_many((0..MAX_MATCHES).map(|number| shared(&format!("{number}{long}"))));
    let (other, _others) = other().await;
    let us = peer(1, other.search);
    let circle = Circle::new(party(us.id), Arc::new(Pair(us.clone(), other)));
    let (at, _tasks) = node(&catalog, &circle);
    let mut connection = connect(at).await;
    connection.send(&gather(us.id), MAX_REQUEST_FRAME).await.unwrap();
    connection.stream().readable().await.unwrap();
    assert_eq!(circle.gathers.available_permits(), MAX_GATHERS - 1);
    let reply = connection.receive(MAX_GATHER_FRAME, IDLE_DEADLINE).await.unwrap();
    let SearchReply::Gathered(gathered) = reply else { panic!("{reply:?}") };
    assert_eq!((gathered.asked, gathered.missing), (2, 0));
    // The next answer comes when the one before it is over.
    let next = SearchRequest::Search { pattern: Pattern::Exact("a".parse().unwrap()) };
    let _: SearchReply = connection.ask(&next, MAX_SEARCH_FRAME).await.unwrap();
    assert_eq!(circle.gathers.available_permits(), MAX_GATHERS);
}
