//! The first message each way.

use serde::{Deserialize, Serialize};

use crate::ident::NodeId;
use crate::protocol::refusal::Refusal;

/// Version of the protocol. Raised when an old program would misunderstand a
/// new one; new fields and new requests do not raise it.
pub const PROTOCOL: u32 = 2;

/// Name of the network unless another is given.
pub const DEFAULT_NETWORK: &str = "shoal";

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol it speaks.
    pub protocol: u32,
    /// The network it belongs to.
    pub network: String,
    /// Which node or tracker it is.
    pub node: NodeId,
}

impl Hello {
    /// The greeting of this program.
    pub fn new(network: impl Into<String>, node: NodeId) -> Self {
        Self { protocol: PROTOCOL, network: network.into(), node }
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
    use crate::protocol::golden::golden;

    #[test]
    fn wire() {
        golden(
            &Greeting::Hello(Hello::new("shoal", NodeId::from_bytes([7; 32]))),
            "84 a4'type a5'hello a8'protocol 02 a7'network a5'shoal a4'node c420 \
             07070707 07070707 07070707 07070707 07070707 07070707 07070707 07070707",
        );
        golden(
            &Greeting::Refused { refusal: Refusal::WrongNetwork },
            "82 a4'type a7'refused a7'refusal ad'wrong_network",
        );
    }

    #[test]
    fn only_the_same_network_and_protocol_are_talked_to() {
        let us = Hello::new("a", NodeId::random());
        assert_eq!(us.check(&Hello::new("a", NodeId::random())), Ok(()));
        assert_eq!(us.check(&Hello::new("b", NodeId::random())), Err(Refusal::WrongNetwork));
        let newer = Hello { protocol: PROTOCOL + 1, ..us.clone() };
        assert_eq!(us.check(&newer), Err(Refusal::WrongProtocol));
    }
}
