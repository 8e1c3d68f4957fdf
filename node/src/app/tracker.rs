//! Who is tracker, as this node knows it.

use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use shoal_common::ident::{NodeId, NodeName, Peer, address};
use shoal_common::protocol::succession::{Member, Reign, Sight};
use shoal_tracker::office::Outlook;

/// In which way the tracker is in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is the home tracker.
    Home,
    /// A node that was elected.
    Successor,
    /// A node, or the home tracker, that serves without a majority of the council.
    Caretaker,
}

/// How it stands with the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contact {
    /// This node is tracker itself.
    Own,
    /// This node hears it.
    Heard,
    /// It is lost; this is the last one.
    Lost,
}

/// One in the line of succession.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heir {
    /// Its id.
    pub id: NodeId,
    /// Its name, if it is known.
    pub name: Option<NodeName>,
    /// Where it would be reached as tracker.
    #[serde(with = "address")]
    pub address: SocketAddr,
    /// Its join number: the smaller, the longer it is in the network.
    pub joined: u64,
}

/// Who is tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerInfo {
    /// Its id.
    pub id: NodeId,
    /// Its name; the home tracker has none.
    pub name: Option<NodeName>,
    /// Where it is reached.
    #[serde(with = "address")]
    pub address: SocketAddr,
    /// The number of its reign: each tracker that is elected takes the next.
    pub epoch: u64,
    /// In which way it is in office.
    pub role: Role,
    /// How it stands with it.
    pub contact: Contact,
    /// Since when this node knows of the reign: seconds since 1970.
    pub since: u64,
    /// How many seconds ago that was.
    pub seconds: u64,
    /// Who would succeed it, the next one first.
    pub line: Vec<Heir>,
    /// The join number of this node.
    pub joined: u64,
}

impl TrackerInfo {
    /// What the outlook says, with the names by which `peer` knows nodes; nothing
    /// if there never was a tracker.
    pub(super) fn new(outlook: &Outlook, peer: impl Fn(NodeId) -> Option<Peer>) -> Option<Self> {
        let reign = outlook.reign?;
        let name = |id| peer(id).map(|peer| peer.name);
        let heir = |member: &Member| Heir {
            id: member.id,
            name: name(member.id),
            address: member.address,
            joined: member.joined,
        };
        let heirs = outlook.council.iter().filter(|member| member.id != reign.tracker);
        Some(Self {
            id: reign.tracker,
            name: name(reign.tracker),
            address: reign.address,
            epoch: reign.epoch,
            role: role(&reign),
            contact: contact(outlook.sight),
            since: outlook.since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            seconds: outlook.since.elapsed().map_or(0, |since| since.as_secs()),
            line: heirs.map(heir).collect(),
            joined: outlook.joined,
        })
    }
}

fn role(reign: &Reign) -> Role {
    match (reign.elected, reign.home) {
        (false, _) => Role::Caretaker,
        (true, true) => Role::Home,
        (true, false) => Role::Successor,
    }
}

fn contact(sight: Sight) -> Contact {
    match sight {
        Sight::Reigns | Sight::Doubts => Contact::Own,
        Sight::Hears => Contact::Heard,
        Sight::Seeks => Contact::Lost,
    }
}
