use std::time::Duration;

use shoal_common::limits::MAX_HOPS;
use shoal_common::protocol::greeting::Talk;
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Span;

use super::*;
use crate::volume::Volume;

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

fn peer(number: u8, at: std::net::SocketAddr) -> Peer {
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
    let permits = LOOKUPS.acquire_many(MAX_LOOKUPS as u32).await.unwrap();
    let pattern = Pattern::Part("a".to_owned());
    let gather = Gather { pattern, upto: us.id, patience_ms: 1000, hops: MAX_HOPS };
    let reply = timeout(Duration::from_secs(1), gathered(&catalog, &circle, gather)).await;
    drop(permits);
    let SearchReply::Gathered(gathered) = reply.unwrap() else { panic!("refused") };
    assert_eq!((gathered.asked, gathered.missing), (1, 1));
    assert_eq!(gathered.silent, [us.name]);
}
