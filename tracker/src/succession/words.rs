//! What the machine of succession and the tasks around it say to each other.

use std::net::SocketAddr;

use shoal_common::ident::NodeId;
use shoal_common::protocol::succession::{Inquiry, Reign};

/// Where somebody is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// At the fixed address of the home tracker.
    Home,
    /// At one of the addresses that the node was told at its start.
    Peer(usize),
    /// At this address.
    At(SocketAddr),
}

/// What an inquiry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It counts in this round of asking.
    Round(u64),
    /// To see how things stand there.
    Look,
    /// To see whether this reign, of which was told, is true.
    Check(Reign),
}

/// An inquiry on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Who is asked.
    pub to: Way,
    /// What for.
    pub why: Why,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask, and tell [`Succession::answered`](super::Succession::answered) within
    /// [`ANSWER_DEADLINE`](super::ANSWER_DEADLINE).
    Ask(Asked, Box<Inquiry>),
    /// Register there; what was under way elsewhere is given up.
    Follow(Way),
    /// Serve as tracker from now on, or go on under this reign.
    Reign(Reign),
    /// Serve no more: everyone is told of this tracker.
    Yield(Reign),
    /// Serve no more: everyone has to look for another tracker.
    Resign,
    /// The council is another one: everyone is told.
    Publish,
}

/// Who this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Us {
    /// Its id.
    pub id: NodeId,
    /// Whether it is the home tracker.
    pub home: bool,
    /// Whether it may become tracker.
    pub eligible: bool,
    /// Whether it was told the address of the home tracker.
    pub knows_home: bool,
    /// How many other addresses it was told at its start.
    pub peers: usize,
}
