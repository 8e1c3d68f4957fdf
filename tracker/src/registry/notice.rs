//! What people hear of the registry, in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use shoal_common::ident::{NodeId, NodeName, Peer};

/// Something that people should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A node joined.
    Came(Peer),
    /// A node is known by another name or address.
    Changed { before: Peer, now: Peer },
    /// A node that lives has a new connection.
    Returned(Peer),
    /// The connection of a node broke.
    Broke(Peer),
    /// A node left on purpose.
    Left(Peer),
    /// A node was silent for too long.
    FellSilent(Peer),
    /// A node did not return after its connection broke.
    StayedAway(Peer),
    /// The tracker itself stood still for about this long.
    Overslept(Duration),
}

impl Notice {
    /// A node that lives registered otherwise than before.
    pub(super) fn of_change(before: Peer, now: Peer) -> Self {
        // Of join numbers people hear nothing.
        if (Peer { joined: now.joined, ..before.clone() }) == now {
            return Self::Returned(now);
        }
        Self::Changed { before, now }
    }

    /// Whether somebody else is here now than before.
    pub(crate) fn is_change(&self) -> bool {
        !matches!(self, Self::Returned(_) | Self::Broke(_) | Self::Overslept(_))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Came(peer) => write!(f, "{} came", Who(peer)),
            Self::Changed { before, now } if before.name == now.name => {
                write!(f, "{} has a new address", Who(now))
            }
            Self::Changed { before, now } => {
                write!(f, "{} has a new name, before `{}`", Who(now), before.name)
            }
            Self::Returned(peer) => write!(f, "{} came back", Who(peer)),
            Self::Broke(peer) => write!(f, "{} lost its connection", Who(peer)),
            Self::Left(peer) => write!(f, "{} left on purpose", Who(peer)),
            Self::FellSilent(peer) => {
                write!(f, "{} left without a word: it fell silent", Who(peer))
            }
            Self::StayedAway(peer) => {
                write!(f, "{} left without a word: its connection broke", Who(peer))
            }
            Self::Overslept(late) => {
                write!(f, "stood still for {:.1} s; everyone has more time", late.as_secs_f32())
            }
        }
    }
}

/// A node in a line for people.
struct Who<'a>(&'a Peer);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Peer { id, name, search, download, .. } = self.0;
        write!(f, "`{name}` (id {}, search {search}, download {download})", id.short())
    }
}

/// Most names in one line: what a person takes in, and what keeps a line about
/// thousands of nodes short.
const MOST_NAMES: usize = 20;

/// Who is here, in one line.
pub(crate) struct Present<'a>(pub(super) &'a BTreeMap<NodeName, NodeId>);

impl fmt::Display for Present<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        match count {
            0 => return write!(f, "nobody is here"),
            1 => write!(f, "1 node is here:")?,
            _ => write!(f, "{count} nodes are here:")?,
        }
        for (position, name) in self.0.keys().take(MOST_NAMES).enumerate() {
            write!(f, "{} {name}", if position == 0 { "" } else { "," })?;
        }
        match count.saturating_sub(MOST_NAMES) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
