//! What stands in the chat's log.
//!
//! The whole network has one log. Its entries have *positions* 1, 2, 3 …, are
//! held by the replicas of the *council*, and are proposed by whoever is
//! tracker, under a [`Ballot`]. What rooms there are follows from the committed
//! entries alone; see [`Rooms`](super::rooms::Rooms).

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::words::{RoomName, Text, Topic};
use crate::ident::{NodeId, NodeName};
use crate::limits::{MAX_GENERATION_LEAP, MOST_AHEAD};

/// Place of an entry in the log, from 1. 0 stands before the first.
pub type Position = u64;

/// Which log: a network that is founded anew has another one. Of two that meet
/// the smaller one goes on: of the later generation, then the elder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// How often people decided to go on without those that held the log before.
    pub generation: u64,
    /// When it was founded, milliseconds since 1970 by the founding tracker.
    pub founded_ms: u64,
    /// Drawn by chance, for two of one moment.
    pub nonce: u64,
}

impl Ord for LogId {
    fn cmp(&self, other: &Self) -> Ordering {
        let age = |log: &Self| (Reverse(log.generation), log.founded_ms, log.nonce);
        age(self).cmp(&age(other))
    }
}

impl PartialOrd for LogId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl LogId {
    /// Whether a replica of the other gives that up for it: for a smaller one, unless its
    /// generation is further ahead than people ever get; and for one so far below that
    /// trackers who write it do not believe in the other. So no lie takes a replica to
    /// where no log goes on.
    pub fn goes_before(&self, other: &Self) -> bool {
        match self.generation.checked_sub(other.generation) {
            Some(ahead) => self < other && ahead <= MAX_GENERATION_LEAP,
            None => other.generation - self.generation > MOST_AHEAD,
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}-{:016x}", self.generation, self.founded_ms, self.nonce)
    }
}

impl FromStr for LogId {
    type Err = ParseIntError;

    /// As it is displayed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '-');
        let mut part = |radix| u64::from_str_radix(parts.next().unwrap_or_default(), radix);
        Ok(Self { generation: part(10)?, founded_ms: part(16)?, nonce: part(16)? })
    }
}

/// Under which a proposer writes. A replica that has promised one listens to no
/// lower one any more. No two proposers have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// At first the epoch of the tracker's reign, up to a bound; raised above what replicas
    /// have promised to others.
    pub round: u64,
    /// The tracker.
    pub proposer: NodeId,
    /// Drawn by the proposer at its start, so that none shares a ballot with
    /// its own earlier life.
    pub instance: u64,
}

impl Ballot {
    /// Lower than that of any proposer.
    pub const NONE: Self = Self { round: 0, proposer: NodeId::from_bytes([0; 32]), instance: 0 };
}

/// One copy of the log on one disk. A node that has lost its disk is another
/// replica: it must not vote as if it remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// Where it is.
    pub node: NodeId,
    /// Drawn when its disk was first written.
    pub incarnation: u64,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Under which it was proposed first.
    pub ballot: Ballot,
    /// Lamport time of that.
    pub at: u64,
    /// The proposer's clock at that time, milliseconds since 1970; or the time of the
    /// entry before, if that is later by no more than clocks may be apart.
    pub time_ms: u64,
    /// What it says.
    pub body: Body,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A tracker begins to write.
    Reign {
        /// Which.
        tracker: NodeId,
    },
    /// Who holds the log from this entry on.
    Council {
        /// By node id.
        members: Vec<ReplicaId>,
    },
    /// Somebody did something.
    Event(Event),
}

/// What a person did. Author and number name it for ever: what is sent twice
/// counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Whose node.
    pub author: NodeId,
    /// Grows with each event of the author.
    pub number: u64,
    /// The author's name at that time.
    pub name: NodeName,
    /// What.
    pub act: Act,
}

/// Somebody that an act is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Person {
    /// Whose node.
    pub id: NodeId,
    /// The name as the author knows it.
    pub name: NodeName,
}

/// What can be done in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Says something in a room.
    Say {
        /// Where.
        room: RoomName,
        /// What.
        text: Text,
    },
    /// Says something to one other.
    Tell {
        /// To whom.
        to: Person,
        /// What.
        text: Text,
    },
    /// Comes into a room; makes it if there is none.
    Join {
        /// Which.
        room: RoomName,
    },
    /// Leaves a room.
    Leave {
        /// Which.
        room: RoomName,
    },
    /// Says what a room is about.
    Topic {
        /// Which.
        room: RoomName,
        /// The topic; none if empty.
        topic: Topic,
    },
    /// Closes a room to those that are not invited, or opens it.
    Private {
        /// Which.
        room: RoomName,
        /// Whether only invited ones come in.
        on: bool,
    },
    /// Lets somebody into a private room.
    Invite {
        /// Which.
        room: RoomName,
        /// Whom.
        who: Person,
    },
    /// Takes somebody out of a room, who may come back.
    Kick {
        /// Which.
        room: RoomName,
        /// Whom.
        who: Person,
    },
    /// Takes somebody out of a room and keeps them out, or forgives.
    Ban {
        /// Which.
        room: RoomName,
        /// Whom.
        who: Person,
        /// Whether it holds from now on; an invitation ends it, too.
        on: bool,
    },
}

impl Act {
    /// The room it is about, if it is about one.
    pub fn room(&self) -> Option<&RoomName> {
        match self {
            Self::Tell { .. } => None,
            Self::Say { room, .. }
            | Self::Join { room }
            | Self::Leave { room }
            | Self::Topic { room, .. }
            | Self::Private { room, .. }
            | Self::Invite { room, .. }
            | Self::Kick { room, .. }
            | Self::Ban { room, .. } => Some(room),
        }
    }

    /// The one it is about, if it is about one.
    pub fn target(&self) -> Option<&Person> {
        match self {
            Self::Tell { to: who, .. }
            | Self::Invite { who, .. }
            | Self::Kick { who, .. }
            | Self::Ban { who, .. } => Some(who),
            _ => None,
        }
    }
}

/// Why an act had no effect. The whole network decides alike: it follows from
/// the entries before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no such room.
    #[error("there is no such room")]
    NoRoom,
    /// The author is not in the room.
    #[error("you are not in that room; `join` it first")]
    NotInRoom,
    /// Only its creator may do that.
    #[error("only the creator of the room may do that")]
    NotCreator,
    /// The room is private and the author not invited.
    #[error("the room is private and you are not invited")]
    NotInvited,
    /// The author is banned.
    #[error("you are banned from that room")]
    Banned,
    /// The room has as many members as it may.
    #[error("the room is full ({max} members)", max = crate::limits::MAX_ROOM_MEMBERS)]
    Full,
    /// There are as many rooms as there may be.
    #[error("there are too many rooms ({max}); join one of them", max = crate::limits::MAX_ROOMS)]
    TooManyRooms,
    /// The author is in as many rooms as one may.
    #[error("you are in too many rooms ({max}); leave one", max = crate::limits::MAX_ROOMS_OF_ONE)]
    InTooManyRooms,
    /// As many are invited, or banned, as may be.
    #[error("the room's list is full ({max})", max = crate::limits::MAX_ROOM_MEMBERS)]
    ListFull,
    /// Who it is about is not in the room.
    #[error("they are not in that room")]
    TheyAreNotInRoom,
    /// Who it is about is not banned.
    #[error("they are not banned from that room")]
    TheyAreNotBanned,
    /// The author is in the room already.
    #[error("you are in that room already")]
    InRoom,
    /// It would be about the author.
    #[error("that is yourself")]
    Yourself,
    /// The lobby is everyone's.
    #[error("the lobby is everyone's: nobody leaves it and nobody rules it")]
    Lobby,
    /// A reason of a newer program.
    #[error("refused, for a reason unknown to this version")]
    #[serde(other)]
    Other,
}

/// Entries that are shared in memory, as plain ones on the wire and on disk.
pub mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Entry;

    /// Writes a list of them.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(entries: &[Arc<Entry>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(entries.iter().map(AsRef::<Entry>::as_ref))
    }

    /// Reads a list of them.
    ///
    /// # Errors
    /// It is no such list.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Arc<Entry>>, D::Error> {
        Ok(Vec::<Entry>::deserialize(from)?.into_iter().map(Arc::new).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_far_ahead_is_taken_and_left_again() {
        let log = |generation| LogId { generation, founded_ms: 0, nonce: 0 };
        let goes = |one, other| log(one).goes_before(&log(other));
        for held in [0, 7, 1 << 40] {
            assert!(!goes(held, held));
            for ahead in [1, MOST_AHEAD, MOST_AHEAD + 1, MAX_GENERATION_LEAP] {
                assert!(goes(held + ahead, held), "{held} + {ahead}");
                assert_eq!(goes(held, held + ahead), ahead > MOST_AHEAD, "{held} + {ahead}");
            }
            assert!(!goes(held + MAX_GENERATION_LEAP + 1, held));
            assert!(goes(held, held + MAX_GENERATION_LEAP + 1));
        }
        assert!(goes(0, u64::MAX) && !goes(u64::MAX, 0));
    }

    #[test]
    fn the_name_of_a_log_is_read_as_it_is_written() {
        let log = LogId { generation: 12, founded_ms: 0x19a_bcde, nonce: 3 };
        assert_eq!(log.to_string().parse(), Ok(log));
        for wrong in ["none yet", "", "1-2", "1-2-x", "1-2-3-4"] {
            assert!(wrong.parse::<LogId>().is_err(), "{wrong}");
        }
    }
}
