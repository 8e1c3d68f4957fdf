//! What waits for the session of a replica. Pure.

use std::sync::Arc;

use shoal_common::ident::NodeId;
use shoal_common::limits::PIECE_BYTES;

/// Most bytes that wait for the session of a replica, but for a single message: some
/// pieces of the log. It takes them when it has sent those before.
pub(super) const MAX_UNSENT: usize = 4 * PIECE_BYTES;

/// What is to be said to a replica and was not taken by its session: encoded
/// messages.
#[derive(Debug)]
pub(super) struct Unsent {
    node: NodeId,
    messages: Vec<Arc<[u8]>>,
    bytes: usize,
}

impl Unsent {
    /// Nothing yet.
    pub(super) fn to(node: NodeId) -> Self {
        Self { node, messages: Vec::new(), bytes: 0 }
    }

    /// To whom.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// Adds a message, or drops it where too much waits: it is said again, as one that
    /// was lost.
    pub(super) fn push(&mut self, message: Arc<[u8]>) {
        if self.bytes == 0 || self.bytes + message.len() <= MAX_UNSENT {
            self.bytes += message.len();
            self.messages.push(message);
        }
    }

    /// The messages, in order.
    pub(super) fn into_messages(self) -> Vec<Arc<[u8]>> {
        self.messages
    }
}
