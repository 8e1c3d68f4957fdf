//! One side of conversations.

use crate::clock::Clock;
use crate::ident::NodeId;
use crate::protocol::greeting::{Hello, Talk};

/// A node or a tracker among others: which network it belongs to, who it is, and
/// its clock. Clones are the same party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The network it belongs to.
    pub network: String,
    /// Its id.
    pub node: NodeId,
    /// Its time.
    pub clock: Clock,
}

impl Party {
    /// A party with a clock of its own, at 0.
    pub fn new(network: impl Into<String>, node: NodeId) -> Self {
        Self { network: network.into(), node, clock: Clock::default() }
    }

    /// Its greeting at this moment, for this conversation.
    pub fn greets(&self, talk: Talk) -> Hello {
        let lamport = self.clock.tick();
        Hello { lamport, ..Hello::new(self.network.as_str(), self.node, talk) }
    }
}
