//! Between a node and its tracker.
//!
//! The node sends [`ToTracker::Register`] and gets [`FromTracker::Registered`]
//! with everyone who is here. From then on the tracker pushes an
//! [`FromTracker::Update`] whenever somebody joins or leaves, and answers every
//! heartbeat with one, even if it is empty. [`ToTracker::Exit`] is answered
//! with [`FromTracker::Done`].
//!
//! A *revision* counts the changes that a tracker has seen. It means something
//! only together with the *instance* of the tracker, a number drawn at its
//! start.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ident::{NodeId, NodeName, Peer, address};
use crate::protocol::refusal::Refusal;

/// What a node says to its tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTracker {
    /// Here I am.
    Register(Registration),
    /// Still here.
    Heartbeat,
    /// Leaving on purpose.
    Exit,
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// How a node wants to be known; its id was in its greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The name it asks for.
    pub name: NodeName,
    /// Whether only this very name will do. Otherwise a name in use gets a
    /// number as suffix.
    pub exact: bool,
    /// Where it answers searches.
    #[serde(with = "address")]
    pub search: SocketAddr,
    /// Where it serves content.
    #[serde(with = "address")]
    pub download: SocketAddr,
}

/// What a tracker says to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromTracker {
    /// The answer to a registration.
    Registered(Registered),
    /// What changed since the last update on this connection.
    Update(Update),
    /// The answer to [`ToTracker::Exit`].
    Done,
    /// The request is refused.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}

/// A node is in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The name by which the others know it.
    pub name: NodeName,
    /// Time between two heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Which life of the tracker this is.
    pub instance: u64,
    /// The revision of `peers`.
    pub revision: u64,
    /// Everyone else who is here.
    pub peers: Vec<Peer>,
}

/// News of who is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The revision after this news.
    pub revision: u64,
    /// What is new.
    pub news: News,
}

/// The body of an [`Update`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// What happened since the last update, in order. Often empty.
    Changes(Vec<Change>),
    /// Everyone else who is here: so much happened that this is shorter.
    Everyone(Vec<Peer>),
}

/// Somebody came or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A node joined, or is known under another name or address from now on.
    Joined(Peer),
    /// A node left.
    Left {
        /// Which.
        id: NodeId,
        /// On purpose or not.
        why: Leaving,
    },
}

/// How a node left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// It said so.
    Exit,
    /// Without a word: it fell silent, or its connection broke and did not come
    /// back.
    Vanished,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CHANGE_LOG, MAX_NODE_NAME, MAX_NODES, MAX_TRACKER_FRAME};
    use crate::protocol::golden::{golden, parse};

    const ID: &str = "c420 0909090909090909 0909090909090909 0909090909090909 0909090909090909";
    const PORTS: &str = "a6'search ae'127.0.0.1:8080 a8'download ae'127.0.0.1:8081";

    fn registration() -> Registration {
        Registration {
            name: "node1".parse().unwrap(),
            exact: true,
            search: "127.0.0.1:8080".parse().unwrap(),
            download: "127.0.0.1:8081".parse().unwrap(),
        }
    }

    fn peer() -> Peer {
        let Registration { name, search, download, .. } = registration();
        Peer { id: NodeId::from_bytes([9; 32]), name, search, download }
    }

    #[test]
    fn wire() {
        let peer_bytes = format!("84 a2'id {ID} a4'name a5'node1 {PORTS}");
        golden(
            &ToTracker::Register(registration()),
            &format!("85 a4'type a8'register a4'name a5'node1 a5'exact c3 {PORTS}"),
        );
        golden(&ToTracker::Heartbeat, "81 a4'type a9'heartbeat");
        golden(&ToTracker::Exit, "81 a4'type a4'exit");
        golden(
            &FromTracker::Registered(Registered {
                name: "node1".parse().unwrap(),
                heartbeat_ms: 10_000,
                instance: 5,
                revision: 6,
                peers: vec![peer()],
            }),
            &format!(
                "86 a4'type aa'registered a4'name a5'node1 ac'heartbeat_ms cd2710 \
                 a8'instance 05 a8'revision 06 a5'peers 91 {peer_bytes}"
            ),
        );
        golden(
            &FromTracker::Update(Update {
                revision: 8,
                news: News::Changes(vec![
                    Change::Joined(peer()),
                    Change::Left { id: peer().id, why: Leaving::Vanished },
                ]),
            }),
            &format!(
                "83 a4'type a6'update a8'revision 08 a4'news 81 a7'changes 92 \
                 81 a6'joined {peer_bytes} 81 a4'left 82 a2'id {ID} a3'why a8'vanished"
            ),
        );
        golden(
            &FromTracker::Update(Update { revision: 8, news: News::Everyone(vec![]) }),
            "83 a4'type a6'update a8'revision 08 a4'news 81 a8'everyone 90",
        );
        golden(&FromTracker::Done, "81 a4'type a4'done");
        golden(
            &FromTracker::Refused { refusal: Refusal::NameTaken },
            "82 a4'type a7'refused a7'refusal aa'name_taken",
        );
    }

    #[test]
    fn the_longest_list_fits_into_its_frame() {
        let longest: SocketAddr =
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let name: NodeName = "x".repeat(MAX_NODE_NAME).parse().unwrap();
        let id = NodeId::from_bytes([255; 32]);
        let peer = Peer { id, name: name.clone(), search: longest, download: longest };
        let list = FromTracker::Registered(Registered {
            name,
            heartbeat_ms: u64::MAX,
            instance: u64::MAX,
            revision: u64::MAX,
            peers: vec![peer.clone(); MAX_NODES],
        });
        assert!(rmp_serde::to_vec_named(&list).unwrap().len() <= MAX_TRACKER_FRAME);
        let changes = vec![Change::Joined(peer); CHANGE_LOG];
        let update = Update { revision: u64::MAX, news: News::Changes(changes) };
        let update = rmp_serde::to_vec_named(&FromTracker::Update(update)).unwrap();
        assert!(update.len() <= MAX_TRACKER_FRAME);
    }

    #[test]
    fn what_a_newer_program_says_is_no_error() {
        let unknown = parse("82 a4'type a5'dance a5'tempo 05");
        assert_eq!(rmp_serde::from_slice::<ToTracker>(&unknown).unwrap(), ToTracker::Unknown);
        let richer = parse("83 a4'type a9'heartbeat a4'mood a5'happy a8'revision 01");
        let message = rmp_serde::from_slice::<ToTracker>(&richer).unwrap();
        assert_eq!(message, ToTracker::Heartbeat);
    }
}
