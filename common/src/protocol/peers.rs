//! Between two nodes, about who else is here: membership without a tracker.
//!
//! The caller says [`PeersRequest::Hello`] and is answered with
//! [`PeersReply::Welcome`]; so both know that the other one lives. Then it asks
//! with [`PeersRequest::GetPeers`] for what the other knows and it does not, page
//! by page, and tells with [`PeersRequest::PeerList`] what the other lacks.
//! [`PeersRequest::Bye`] says that the caller leaves.
//!
//! Two nodes that know the same have nothing to tell each other, and find that out
//! with a few numbers: *digests*. A digest stands for all nodes whose ids begin
//! with the same bits; there are a power of two of them, at most
//! [`MAX_DIGESTS`](crate::limits::MAX_DIGESTS), so that each stands for a handful
//! of nodes. Only nodes behind digests that differ are listed. So a page is
//! proportional to what changed, and nothing is lost that was missed once.

use serde::{Deserialize, Serialize};

use crate::ident::{NodeId, Peer};
use crate::protocol::refusal::Refusal;

/// What is asked or told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PeersRequest {
    /// Here I am. Answered with [`PeersReply::Welcome`].
    Hello {
        /// The caller, whose id was in its greeting.
        us: Known,
    },
    /// Whom do you know? Answered with [`PeersReply::PeerList`].
    GetPeers {
        /// What the caller knows. None at all: it wants to hear of everyone.
        digests: Vec<u64>,
        /// Only nodes behind this one, in the order of ids.
        after: Option<NodeId>,
    },
    /// Whom you do not know, or not so well. Answered with [`PeersReply::Done`].
    PeerList {
        /// At most [`MAX_PEERS`](crate::limits::MAX_PEERS).
        peers: Vec<Known>,
    },
    /// The caller leaves the network. Answered with [`PeersReply::Done`].
    Bye,
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PeersReply {
    /// Here am I.
    Welcome {
        /// Who answers.
        us: Known,
    },
    /// A page of nodes.
    PeerList {
        /// At most [`MAX_PEERS`](crate::limits::MAX_PEERS), in order of their ids;
        /// exactly as many if there are more.
        peers: Vec<Known>,
        /// Whether there are more behind the last of them.
        more: bool,
        /// The numbers of the digests that differ; in the first page alone.
        differ: Vec<u16>,
    },
    /// It is done.
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

/// What is known of a node. Of two pieces of knowledge the newer one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Who and where it is.
    pub peer: Peer,
    /// Whether it is there.
    pub state: State,
    /// The Lamport time of this knowledge.
    pub at: u64,
    /// The Lamport time at which it came into the network, by its own clock; 0
    /// until it has met anybody. Whoever came first keeps a name that two want.
    pub born: u64,
    /// For how long it has been offline, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gone: u32,
    /// Whether it came for one purpose and will leave, and is not looked for
    /// afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guest: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It answers.
    Online,
    /// It does not answer, or has left.
    Offline,
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::ident::NodeName;
    use crate::limits::{
        MAX_DIGESTS, MAX_NODE_NAME, MAX_PEERS, MAX_PEERS_FRAME, MAX_REQUEST_FRAME,
    };
    use crate::protocol::golden::{golden, parse};

    const ID: &str = "c420 0707070707070707 0707070707070707 0707070707070707 0707070707070707";

    fn known() -> Known {
        let peer = Peer {
            id: NodeId::from_bytes([7; 32]),
            name: "a".parse().unwrap(),
            search: "1.2.3.4:5".parse().unwrap(),
            download: "1.2.3.4:6".parse().unwrap(),
            joined: 0,
        };
        Known { peer, state: State::Online, at: 300, born: 2, gone: 0, guest: false }
    }

    fn known_bytes(more: &str) -> String {
        let fields = if more.is_empty() { "84" } else { "86" };
        let state = if more.is_empty() { "a6'online" } else { "a7'offline" };
        format!(
            "{fields} a4'peer 84 a2'id {ID} a4'name a1'a a6'search a9'1.2.3.4:5 \
             a8'download a9'1.2.3.4:6 a5'state {state} a2'at cd012c a4'born 02 {more}"
        )
    }

    #[test]
    fn wire() {
        let us = known_bytes("");
        golden(&PeersRequest::Hello { us: known() }, &format!("82 a4'type a5'hello a2'us {us}"));
        golden(&PeersReply::Welcome { us: known() }, &format!("82 a4'type a7'welcome a2'us {us}"));
        golden(
            &PeersRequest::GetPeers { digests: vec![5, 256], after: Some(known().peer.id) },
            &format!("83 a4'type a9'get_peers a7'digests 92 05 cd0100 a5'after {ID}"),
        );
        golden(
            &PeersRequest::GetPeers { digests: vec![], after: None },
            "83 a4'type a9'get_peers a7'digests 90 a5'after c0",
        );
        let gone = Known { state: State::Offline, gone: 9, guest: true, ..known() };
        let bytes = known_bytes("a4'gone 09 a5'guest c3");
        golden(
            &PeersRequest::PeerList { peers: vec![gone.clone()] },
            &format!("82 a4'type a9'peer_list a5'peers 91 {bytes}"),
        );
        golden(
            &PeersReply::PeerList { peers: vec![gone], more: true, differ: vec![3] },
            &format!("84 a4'type a9'peer_list a5'peers 91 {bytes} a4'more c3 a6'differ 91 03"),
        );
        golden(&PeersRequest::Bye, "81 a4'type a3'bye");
        golden(&PeersReply::Done, "81 a4'type a4'done");
        golden(
            &PeersReply::Refused { refusal: Refusal::NotAllowed },
            "82 a4'type a7'refused a7'refusal ab'not_allowed",
        );
        let unknown = parse("81 a4'type a5'dance");
        assert_eq!(rmp_serde::from_slice::<PeersRequest>(&unknown).unwrap(), PeersRequest::Unknown);
    }

    #[test]
    fn the_longest_messages_fit_into_their_frames() {
        let longest: SocketAddr =
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let name: NodeName = "x".repeat(MAX_NODE_NAME).parse().unwrap();
        let id = NodeId::from_bytes([255; 32]);
        let worst = Known {
            peer: Peer { id, name, search: longest, download: longest, joined: 0 },
            state: State::Offline,
            at: u64::MAX,
            born: u64::MAX,
            gone: u32::MAX,
            guest: true,
        };
        let peers = vec![worst; MAX_PEERS];
        let page = PeersReply::PeerList {
            peers: peers.clone(),
            more: true,
            differ: vec![u16::MAX; MAX_DIGESTS],
        };
        assert!(rmp_serde::to_vec_named(&page).unwrap().len() <= MAX_PEERS_FRAME);
        let told = PeersRequest::PeerList { peers };
        assert!(rmp_serde::to_vec_named(&told).unwrap().len() <= MAX_PEERS_FRAME);
        let digests = vec![u64::MAX; MAX_DIGESTS];
        let asked = PeersRequest::GetPeers { digests, after: Some(id) };
        assert!(rmp_serde::to_vec_named(&asked).unwrap().len() <= MAX_REQUEST_FRAME);
    }
}
