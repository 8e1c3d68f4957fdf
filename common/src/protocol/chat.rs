//! Between a node and the tracker: the chat.
//!
//! The node opens the conversation and says where it stands. From then on it
//! submits what its person does, and gets every committed entry that concerns
//! it, its own ones too: that is the acknowledgement.
//!
//! On the same connection the tracker, as *proposer*, talks to the node's
//! *replica* of the log ([`ToReplica`], [`FromReplica`]): first it asks for a
//! promise, then it takes over what a majority of the council may have
//! committed, then it appends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chat::entry::{Ballot, Entry, LogId, Position, ReplicaId};
use crate::chat::log::Base;

/// What the proposer says to a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToReplica {
    /// Listen to nobody lower than this, and say how far you are. Answered with
    /// [`FromReplica::Promised`].
    Prepare {
        /// The proposer's ballot.
        ballot: Ballot,
    },
    /// Send what you have after a position. Answered with [`FromReplica::Piece`].
    Fetch {
        /// The proposer's ballot.
        ballot: Ballot,
        /// The last position that the proposer has; none of this log yet if
        /// there is none.
        after: Option<Position>,
    },
    /// These entries follow the one at `previous`. Answered with
    /// [`FromReplica::Holds`].
    Append {
        /// The proposer's ballot.
        ballot: Ballot,
        /// Which log.
        log: LogId,
        /// The position before the first of them.
        previous: Position,
        /// The ballot of the entry there: a replica that has another one there
        /// says how far it surely is.
        previous_ballot: Ballot,
        /// The entries.
        entries: Vec<Arc<Entry>>,
        /// Up to where the log is committed.
        committed: Position,
    },
    /// The log begins anew here: what came before is not kept any more. Answered
    /// with [`FromReplica::Holds`].
    Install {
        /// The proposer's ballot.
        ballot: Ballot,
        /// Where it begins.
        base: Box<Base>,
    },
}

impl ToReplica {
    /// Under which it is said.
    pub fn ballot(&self) -> Ballot {
        match self {
            Self::Prepare { ballot }
            | Self::Fetch { ballot, .. }
            | Self::Append { ballot, .. }
            | Self::Install { ballot, .. } => *ballot,
        }
    }
}

/// How far a replica is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Which replica: with another one, another log or a lost disk.
    pub replica: ReplicaId,
    /// Which log it holds a piece of, if any.
    pub log: Option<LogId>,
    /// The ballot of its last entry.
    pub last: Ballot,
    /// The position of that.
    pub end: Position,
    /// Up to where it knows the log to be committed.
    pub committed: Position,
    /// Who holds the log, by its last entry about that.
    pub council: Vec<ReplicaId>,
}

/// What a replica answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromReplica {
    /// It listens to nobody lower than this.
    Promised {
        /// Than what.
        ballot: Ballot,
        /// How far it is.
        summary: Summary,
    },
    /// It has promised a higher ballot to another.
    Refused {
        /// Under which it was asked.
        ballot: Ballot,
        /// What it has promised.
        promised: Ballot,
    },
    /// What it has after a position, or from its base on.
    Piece {
        /// Under which it was asked.
        ballot: Ballot,
        /// Where the entries begin if that is behind the position asked for.
        base: Option<Box<Base>>,
        /// The position before the first entry.
        previous: Position,
        /// The entries, as many as fit into a message.
        entries: Vec<Arc<Entry>>,
    },
    /// It holds all up to here, as the proposer has it.
    Holds {
        /// The proposer's ballot.
        ballot: Ballot,
        /// Up to where.
        end: Position,
    },
    /// What was sent does not follow what it has.
    Behind {
        /// The proposer's ballot.
        ballot: Ballot,
        /// Where it can go on, for sure; it has no piece of this log if there is
        /// none.
        from: Option<Position>,
    },
}
