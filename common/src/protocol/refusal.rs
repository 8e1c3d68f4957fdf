//! A request that is not fulfilled is answered with one of these.

use serde::{Deserialize, Serialize};

/// Why a request is refused. A closed set: a refusal that this program does
/// not know reads as [`Refusal::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such content here.
    #[error("it is not here")]
    NotFound,
    /// The content was here but has changed since.
    #[error("it changed at its owner")]
    Changed,
    /// A bound is reached; the same request may succeed later.
    #[error("too busy")]
    Busy,
    /// A range behind the end, an empty one, or too many.
    #[error("a range that does not exist")]
    BadRange,
    /// A living node has this name.
    #[error("the name is in use")]
    NameTaken,
    /// Another node has registered with the same node id.
    #[error("another node registered with the same id")]
    Superseded,
    /// The request makes no sense at this point, or has a bad value.
    #[error("not allowed")]
    NotAllowed,
    /// A request this program does not know.
    #[error("not supported")]
    Unsupported,
    /// A message that could not be read.
    #[error("not understood")]
    Malformed,
    /// Another version of the protocol.
    #[error("another version of the protocol")]
    WrongProtocol,
    /// Another network.
    #[error("another network")]
    WrongNetwork,
    /// The content can't be read where it is.
    #[error("it can't be read at its owner")]
    Unreadable,
    /// A refusal of a newer program.
    #[error("refused, for a reason unknown to this version")]
    #[serde(other)]
    Other,
}

impl Refusal {
    /// Whether the same request may succeed later, without anyone doing
    /// anything about it.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Busy)
    }
}
