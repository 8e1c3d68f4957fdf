//! The first message each way.

use serde::{Deserialize, Serialize};

use crate::ident::NodeId;
use crate::protocol::refusal::Refusal;

/// Version of the protocol. Raised when an old program would misunderstand a
/// new one; new fields and new requests do not raise it.
pub const PROTOCOL: u32 = 3;

/// Name of the network unless another is given.
pub const DEFAULT_NETWORK: &str = "shoal";

/// Who speaks, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol it speaks.
    pub protocol: u32,
    /// The network it belongs to.
    pub network: String,
    /// Which node or tracker it is.
    pub node: NodeId,
    /// The conversation that is to follow. The answer repeats it.
    #[serde(default)]
    pub talk: Talk,
    /// Its Lamport time. In later messages the frame carries it.
    #[serde(default)]
    pub lamport: u64,
}

/// A conversation. Several may be had at one port, but only one on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Talk {
    /// Between a node and its tracker: [`tracking`](super::tracking).
    Tracking,
    /// About names and contents: [`search`](super::search).
    Search,
    /// About the bytes of contents: [`transfer`](super::transfer).
    Transfer,
    /// Between a node and its tracker: [`chat`](super::chat).
    Chat,
    /// Who is tracker: [`succession`](super::succession).
    Succession,
    /// About who else is here: [`peers`](super::peers).
    Peers,
    /// One that this program does not know, or none was named.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Talk {
    /// Whether its connections stand as long as both sides are there. The others
    /// are over after a few requests.
    pub fn lasts(self) -> bool {
        matches!(self, Self::Tracking | Self::Chat)
    }
}

impl Hello {
    /// The greeting of this program, which is to be followed by `talk`.
    pub fn new(network: impl Into<String>, node: NodeId, talk: Talk) -> Self {
        Self { protocol: PROTOCOL, network: network.into(), node, talk, lamport: 0 }
    }

    /// Whether one that greets with `other` can be talked to.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn check(&self, other: &Self) -> Result<(), Refusal> {
        if other.protocol != self.protocol {
            return Err(Refusal::WrongProtocol);
        }
        if other.network != self.network {
            return Err(Refusal::WrongNetwork);
        }
        Ok(())
    }
}

/// A greeting, or its refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Greeting {
    /// Who speaks.
    Hello(Hello),
    /// The other side won't talk.
    Refused {
        /// Why.
        refusal: Refusal,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::golden::{golden, parse};

    #[test]
    fn wire() {
        golden(
            &Greeting::Hello(Hello {
                lamport: 300,
                ..Hello::new("shoal", NodeId::from_bytes([7; 32]), Talk::Tracking)
            }),
            "86 a4'type a5'hello a8'protocol 03 a7'network a5'shoal a4'node c420 \
             07070707 07070707 07070707 07070707 07070707 07070707 07070707 07070707 \
             a4'talk a8'tracking a7'lamport cd012c",
        );
        golden(
            &Greeting::Refused { refusal: Refusal::WrongNetwork },
            "82 a4'type a7'refused a7'refusal ad'wrong_network",
        );
    }

    #[test]
    fn an_older_program_can_be_told_that_it_is_old() {
        let old = parse(
            "84 a4'type a5'hello a8'protocol 02 a7'network a5'shoal a4'node c420 \
             07070707 07070707 07070707 07070707 07070707 07070707 07070707 07070707",
        );
        let Greeting::Hello(old) = rmp_serde::from_slice(&old).unwrap() else {
            panic!("no greeting")
        };
        let us = Hello::new("shoal", NodeId::random(), Talk::Search);
        assert_eq!(us.check(&old), Err(Refusal::WrongProtocol));
    }

    #[test]
    fn only_the_same_network_and_protocol_are_talked_to() {
        let hello = |network| Hello::new(network, NodeId::random(), Talk::Search);
        let us = hello("a");
        assert_eq!(us.check(&hello("a")), Ok(()));
        assert_eq!(us.check(&hello("b")), Err(Refusal::WrongNetwork));
        let newer = Hello { protocol: PROTOCOL + 1, ..us.clone() };
        assert_eq!(us.check(&newer), Err(Refusal::WrongProtocol));
    }
}
