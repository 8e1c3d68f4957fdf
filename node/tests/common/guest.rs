//! An owner of the test's own in a real network: registered at its tracker, and
//! found by searches.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::call::call;
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::content::FileId;
use shoal_common::ident::Peer;
use shoal_common::limits::{IDLE_DEADLINE, MAX_REQUEST_FRAME, MAX_SEARCH_FRAME, MAX_TRACKER_FRAME};
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::search::{Match, Pattern, SearchReply, SearchRequest};
use shoal_common::protocol::tracking::{FromTracker, Registration, ToTracker};
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tracing::Span;

use super::party;

/// How often it is heard at the tracker: more often than any test asks for.
const BEAT: Duration = Duration::from_millis(300);

/// Pause between two attempts to reach the tracker.
const AGAIN: Duration = Duration::from_millis(100);

/// In the network until it is dropped.
pub struct Guest {
    tasks: Tasks,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Guest {
    /// Says of `peer`, who serves it somewhere, that it has `content` under this
    /// name.
    pub async fn introduce(tracker: SocketAddr, peer: &Peer, name: &str, content: &[u8]) -> Self {
        let name = name.parse().unwrap();
        let file =
            Match { name, size: content.len() as u64, file: FileId::of(content), chunks: None };
        let tasks = Tasks::new(Handle::current());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer { search: listener.local_addr().unwrap(), ..peer.clone() };
        let answering =
            serve(listener, party(peer.id), &[Talk::Search], 100, tasks.clone(), move |guest| {
                answer(guest.connection, file.clone())
            });
        tasks.spawn(Span::none(), answering);
        tasks.spawn(Span::none(), async move {
            loop {
                stay(tracker, &peer).await;
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self { tasks }
    }
}

/// Is registered as long as the tracker lives. Nothing that it says matters.
async fn stay(tracker: SocketAddr, peer: &Peer) -> Option<()> {
    let (mut tracker, _) = call(tracker, &party(peer.id), Talk::Tracking).await.ok()?;
    let (name, search, download) = (peer.name.clone(), peer.search, peer.download);
    let (exact, reign, joined) = (true, None, 0);
    let registration = Registration { name, exact, search, download, reign, joined };
    tracker.send(&ToTracker::Register(registration), MAX_REQUEST_FRAME).await.ok()?;
    loop {
        match tracker.receive::<FromTracker>(MAX_TRACKER_FRAME, BEAT).await {
            Ok(_) => {}
            Err(ConnectionError::Silent(_)) => {
                tracker.send(&ToTracker::Heartbeat, MAX_REQUEST_FRAME).await.ok()?;
            }
            Err(_) => return None,
        }
    }
}

async fn answer(mut wire: Connection<TcpStream>, file: Match) -> Result<(), ConnectionError> {
    loop {
        let reply = match wire.receive(MAX_REQUEST_FRAME, IDLE_DEADLINE).await? {
            SearchRequest::Search { pattern } => {
                let matches = Vec::from_iter(fits(&pattern, &file).then(|| file.clone()));
                SearchReply::Matches { matches, more: false }
            }
            _ => SearchReply::Refused { refusal: Refusal::Unsupported },
        };
        wire.send(&reply, MAX_SEARCH_FRAME).await?;
    }
}

fn fits(pattern: &Pattern, file: &Match) -> bool {
    match pattern {
        Pattern::Exact(name) => *name == file.name,
        Pattern::Content(id) => *id == file.file,
        Pattern::Part(_) | Pattern::Glob(_) => false,
    }
}
