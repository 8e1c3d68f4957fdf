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

use crate::chat::entry::{
    Ballot, Entry, Event, LogId, Person, Position, Reason, ReplicaId, shared,
};
use crate::chat::log::Base;
use crate::chat::words::{RoomName, Topic};
use crate::ident::NodeId;

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
        #[serde(with = "shared")]
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
        /// The first entries behind that, held together with it or not at all.
        #[serde(with = "shared", default)]
        entries: Vec<Arc<Entry>>,
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
        #[serde(with = "shared")]
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

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToChat {
    /// Here I am; comes first. Answered with [`FromChat::Attached`], as soon as
    /// the tracker writes the log, and until then with [`FromChat::Waits`].
    Attach(Attachment),
    /// The person did something. Answered with its entry, when it is committed.
    Submit {
        /// Number of the event before it that is waited for, or 0. A tracker that
        /// has not got that one takes none behind it.
        previous: u64,
        /// What.
        event: Event,
    },
    /// The replica answers.
    Replica {
        /// What.
        answer: FromReplica,
    },
    /// A question about the rooms. Answered with [`FromChat::Answer`].
    Ask {
        /// Repeated in the answer.
        number: u64,
        /// What is asked.
        question: Question,
    },
    /// The node is about to leave. Answered with [`FromChat::Released`] when the
    /// log is held without it.
    Leaving,
    /// A person decides to go on without those that held the log. What only they
    /// had is lost. Answered with [`FromChat::Revival`].
    Revive,
    /// Still here.
    Beat,
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}

/// How far a node is when it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// How far its replica is.
    pub summary: Summary,
    /// Of which log it has heard.
    pub knows: Option<LogId>,
    /// Up to where it has heard that one.
    pub after: Position,
}

/// What a tracker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromChat {
    /// From now on it is told what is committed.
    Attached(Attached),
    /// The log is not written at the moment.
    Waits(Standing),
    /// Entries that concern it, in order.
    Posts {
        /// One at least.
        posts: Vec<Post>,
    },
    /// There was nothing else up to here.
    UpTo {
        /// The position.
        position: Position,
    },
    /// To its replica.
    Replica {
        /// What.
        message: ToReplica,
    },
    /// The answer to a question.
    Answer {
        /// That of the question.
        number: u64,
        /// What.
        answer: Answer,
    },
    /// The answer to [`ToChat::Revive`].
    Revival {
        /// Whether the log goes on without the others unless they come soon; not while
        /// a majority of those that hold it is connected, or where none is known.
        is_heeded: bool,
    },
    /// The log is held without the node, or nobody else could hold it.
    Released,
    /// The tracker hangs up.
    Closing {
        /// Why; a phrase.
        reason: String,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}

/// The answer to an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Which log there is.
    pub log: LogId,
    /// After which position the tracker begins.
    pub from: Position,
    /// Up to where the log is committed.
    pub committed: Position,
    /// The number of this node's last event up to there; 0 if none is known.
    pub last: u64,
    /// Whether the log that the node knew is this one, or goes on in it.
    #[serde(default)]
    pub continues: bool,
}

/// How many of the council are connected to the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether the tracker writes the log.
    pub writes: bool,
    /// Members that are connected.
    pub here: u64,
    /// Members; 0 while the council is not known.
    pub council: u64,
}

/// A committed entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Where it stands.
    pub position: Position,
    /// Lamport time of its proposal.
    pub at: u64,
    /// Time of its proposal by the tracker's clock, milliseconds since 1970.
    pub time_ms: u64,
    /// What.
    pub what: Posted,
}

/// What a committed entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Posted {
    /// Another tracker writes from here on.
    Reign {
        /// Which.
        tracker: NodeId,
    },
    /// Somebody did something.
    Event {
        /// What.
        event: Event,
        /// Why it has no effect; only its author is told then.
        refused: Option<Reason>,
    },
}

/// What can be asked about the rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Which are there? Of private ones only those that one is in.
    Rooms,
    /// Who is in a room?
    Who {
        /// Which.
        room: RoomName,
    },
    /// What was said last in a room that one is in?
    History {
        /// Which.
        room: RoomName,
        /// How many lines at most; no more than
        /// [`MAX_HISTORY`](crate::limits::MAX_HISTORY).
        lines: u64,
    },
    /// Is anything in the way of what is said?
    Standing,
    /// Who was called so, though they may be away? Of those that are banned from a
    /// room that one is in, and those that spoke where one heard it.
    Person {
        /// Which room, if it is about one.
        room: Option<RoomName>,
        /// The name; of one that is banned also the
        /// [beginning of the id](crate::limits::SHORTEST_ID).
        name: String,
    },
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// By name, the lobby first.
    Rooms(Vec<RoomInfo>),
    /// By name.
    Who(Vec<Presence>),
    /// The oldest first.
    History(Vec<Post>),
    /// How it stands.
    Standing(Standing),
    /// The one that had the name last, if anyone is known.
    Person(Option<Person>),
    /// There is none.
    Refused(Reason),
    /// The log is not written at the moment.
    Waits(Standing),
    /// A question of a newer program.
    #[serde(other)]
    Unknown,
}

/// A room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    /// Its name.
    pub name: RoomName,
    /// What it is about.
    pub topic: Topic,
    /// Whether only invited ones come in.
    pub private: bool,
    /// Who rules it; nobody rules the lobby.
    pub creator: Option<Person>,
    /// How many are in it; of the lobby, how many are connected.
    pub members: u64,
    /// Whether the one who asks is in it.
    pub joined: bool,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Who.
    pub person: Person,
    /// Whether they are connected.
    pub here: bool,
    /// Whether they rule the room.
    pub creator: bool,
}

#[cfg(test)]
#[path = "chat/tests.rs"]
mod tests;
