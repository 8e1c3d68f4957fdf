//! Who is tracker: what nodes and trackers ask each other about it.
//!
//! Each message is a question that stands for itself: [`Inquiry`] says what the
//! asker knows and perhaps what it claims, [`Standing`] says how it stands with
//! the one that was asked. What they mean is decided by the state machine
//! `shoal_tracker::succession`.

use std::cmp::Reverse;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ident::{NodeId, address};
use crate::protocol::refusal::Refusal;

/// A tracker's time in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// Its number: each tracker that is elected takes the next.
    pub epoch: u64,
    /// Who is tracker.
    pub tracker: NodeId,
    /// Where it answers registrations.
    #[serde(with = "address")]
    pub address: SocketAddr,
    /// Whether it is the tracker at the fixed address of the network.
    pub home: bool,
    /// Its join number, 0 of the home tracker.
    pub joined: u64,
    /// Whether a majority of the council agreed. Without, it is a *caretaker*: it
    /// serves those who reach nobody better.
    pub elected: bool,
}

impl Reign {
    /// Whether this one is to be followed rather than the other when both are
    /// alive: the higher epoch, then the one that was elected, then the elder
    /// (home, then the smaller join number, then the smaller id).
    pub fn beats(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    /// Whether both are the same time in office, wherever it was reached.
    pub fn is(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }

    fn rank(&self) -> impl Ord + use<> {
        let age = (self.home, Reverse(self.joined), Reverse(self.tracker));
        (self.epoch, self.elected, age)
    }
}

/// A node as the line of succession has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub id: NodeId,
    /// Its join number. With another number it is another member: one that was
    /// restarted has forgotten to whom it agreed.
    pub joined: u64,
    /// Where it answers inquiries: its search port.
    #[serde(with = "address")]
    pub address: SocketAddr,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// The reign that the asker knows of.
    pub reign: Option<Reign>,
    /// The council of that reign, at most
    /// [`COUNCIL`](crate::limits::COUNCIL).
    pub council: Vec<Member>,
    /// Do you agree that I take this office?
    pub claim: Option<Reign>,
}

/// How somebody stands with its tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// It is tracker itself.
    Reigns,
    /// It was tracker, stood still, and asks whether it still is.
    Doubts,
    /// It hears its tracker.
    Hears,
    /// It has none.
    #[serde(other)]
    Seeks,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The reign that it knows of.
    pub reign: Option<Reign>,
    /// How it stands with that.
    pub sight: Sight,
    /// Whether it agrees to the claim.
    pub agrees: bool,
    /// The highest epoch that it has agreed to.
    pub promised: u64,
    /// Its join number, 0 if it has none.
    pub joined: u64,
    /// The council as it knows it, at most
    /// [`COUNCIL`](crate::limits::COUNCIL).
    pub council: Vec<Member>,
}

/// A message of the asker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SuccessionRequest {
    /// Answered with [`SuccessionReply::Standing`].
    Inquire(Inquiry),
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// A message of the one that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SuccessionReply {
    /// How it stands.
    Standing(Standing),
    /// The request is refused.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}
