//! How it stands with the other nodes.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use shoal_common::ident::{NodeId, NodeName, Peer, address};
use shoal_common::protocol::peers::State;

use crate::membership::{AskError, Link, Standing};

/// Another node and how it stands with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its id.
    pub id: NodeId,
    /// Its name; if it is here, no other one here has it.
    pub name: NodeName,
    /// Where it answers searches.
    #[serde(with = "address")]
    pub search: SocketAddr,
    /// Where it serves content.
    #[serde(with = "address")]
    pub download: SocketAddr,
    /// Whether it is taken for online.
    pub state: State,
    /// Seconds since this node last spoke with it about peers, if it ever did.
    pub contact: Option<f64>,
    /// The Lamport time at which this was known of it, if nodes told of it.
    pub clock: Option<u64>,
}

impl PeerInfo {
    fn new(peer: Peer, standing: Option<&Standing>) -> Self {
        let Peer { id, name, search, download, .. } = peer;
        let online = standing.is_none_or(|standing| standing.online);
        Self {
            id,
            name,
            search,
            download,
            state: if online { State::Online } else { State::Offline },
            contact: standing.and_then(|standing| standing.contact).map(|ago| ago.as_secs_f64()),
            clock: standing.map(|standing| standing.clock),
        }
    }
}

/// Why a node could not be greeted.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// There is no such node, and it is no address.
    #[error("`{0}` is no node that is known, and no HOST:PORT")]
    Unknown(String),
    /// The conversation came to nothing.
    #[error(transparent)]
    Failed(#[from] AskError),
    /// It answered and was forgotten at once: too many others are known.
    #[error("it answered, but too many nodes are known to keep it in mind")]
    Gone,
}

/// Who is here, and then, where no tracker speaks, who is not.
pub(super) fn list(here: Vec<Peer>, link: Link, standings: Vec<Standing>) -> Vec<PeerInfo> {
    let mut standings: HashMap<NodeId, Standing> =
        standings.into_iter().map(|standing| (standing.peer.id, standing)).collect();
    let mut infos: Vec<PeerInfo> = here
        .into_iter()
        .map(|peer| {
            let standing = standings.remove(&peer.id);
            PeerInfo::new(peer, standing.as_ref())
        })
        .collect();
    if link != Link::Registered {
        let away = standings.into_values().filter(|standing| !standing.online);
        let mut away: Vec<_> =
            away.map(|standing| PeerInfo::new(standing.peer.clone(), Some(&standing))).collect();
        away.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        infos.extend(away);
    }
    infos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str, byte: u8, online: bool) -> Standing {
        let at = "127.0.0.1:9".parse().unwrap();
        let id = NodeId::from_bytes([byte; 32]);
        let peer = Peer { id, name: name.parse().unwrap(), search: at, download: at, joined: 0 };
        Standing { peer, online, contact: None, clock: 7 }
    }

    #[test]
    fn whoever_is_gone_comes_last_and_only_where_no_tracker_speaks() {
        let standings = [standing("z", 1, true), standing("b", 2, false), standing("a", 3, false)];
        let here = vec![standing("z", 1, true).peer, standing("tracked", 4, true).peer];
        let names = |link| {
            let infos = list(here.clone(), link, standings.to_vec());
            infos.iter().map(|info| info.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(Link::None), ["z", "tracked", "a", "b"]);
        assert_eq!(names(Link::Searching), ["z", "tracked", "a", "b"]);
        assert_eq!(names(Link::Registered), ["z", "tracked"]);
        let infos = list(here.clone(), Link::None, standings.to_vec());
        assert_eq!((infos[0].clock, infos[1].clock), (Some(7), None));
        assert_eq!((infos[1].state, infos[2].state), (State::Online, State::Offline));
    }
}
