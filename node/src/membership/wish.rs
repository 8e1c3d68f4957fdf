//! How a node wants to be in its network, and how it leaves.

use std::net::IpAddr;

use shoal_common::connection::Connection;
use shoal_common::ident::NodeName;
use shoal_common::limits::{MAX_REQUEST_FRAME, MAX_TRACKER_FRAME, REPLY_DEADLINE};
use shoal_common::party::Party;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How this node wants to be known.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The home tracker, `"host:port"`; none where nodes find each other alone.
    pub tracker: Option<String>,
    /// Search addresses of nodes that may know a tracker, `"host:port"` each.
    pub peers: Vec<String>,
    /// Whether this node may become tracker.
    pub eligible: bool,
    /// This node.
    pub us: Party,
    /// The name it asks for, and whether only that one will do.
    pub name: (NodeName, bool),
    /// The address to tell the others; else the local one of the connection to
    /// the tracker.
    pub advertise: Option<IpAddr>,
    /// Ports for searches and for content.
    pub ports: (u16, u16),
}

/// What the tracker said to the first registration.
pub type FirstAnswer = oneshot::Receiver<Result<(), Refusal>>;

/// Wishes to say goodbye; each wants to know when it is said.
pub(super) type Goodbyes = mpsc::Receiver<oneshot::Sender<()>>;

/// Says goodbye to the tracker.
#[derive(Debug, Clone)]
pub struct Goodbye(pub(super) mpsc::Sender<oneshot::Sender<()>>);

impl Goodbye {
    /// Tells the tracker that this node leaves. Gives up after
    /// [`REPLY_DEADLINE`]; at once if there is no connection.
    pub async fn say(&self) {
        let (said, heard) = oneshot::channel();
        if self.0.send(said).await.is_ok() {
            timeout(REPLY_DEADLINE, heard).await.ok();
        }
    }
}

/// Says goodbye and waits until that is heard, so that the others know at once.
pub(super) async fn leave(mut connection: Connection<TcpStream>) {
    if connection.send(&ToTracker::Exit, MAX_REQUEST_FRAME).await.is_err() {
        return;
    }
    let done = async {
        // Updates may be on their way still.
        while let Ok(message) =
            connection.receive::<FromTracker>(MAX_TRACKER_FRAME, REPLY_DEADLINE).await
        {
            if message == FromTracker::Done {
                break;
            }
        }
    };
    timeout(REPLY_DEADLINE, done).await.ok();
}
