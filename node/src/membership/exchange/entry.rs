//! What is known of one node, and which of two pieces of knowledge holds. Pure.

use std::time::Duration;

use shoal_common::ident::Peer;
use shoal_common::limits::FORGET;
use shoal_common::protocol::peers::{Known, State};
use tokio::time::Instant;

/// How long a guest that is gone is remembered: until the last of those who
/// heard of it have heard that it left. Nobody looks for it.
const FORGET_GUEST: Duration = Duration::from_secs(600);

/// What is known of one node.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) peer: Peer,
    pub(super) state: State,
    /// The Lamport time of this knowledge.
    pub(super) at: u64,
    pub(super) born: u64,
    pub(super) guest: bool,
    /// Since when it is offline, if it is.
    pub(super) gone: Option<Instant>,
    /// When this node last spoke with it: here, and in Lamport time.
    pub(super) contact: Option<(Instant, u64)>,
    /// Calls that failed since.
    pub(super) failures: u8,
    /// The Lamport time of its goodbye; 0 if it said none.
    pub(super) goodbye: u64,
}

impl Entry {
    /// What others told, at this moment.
    pub(super) fn told(known: Known, now: Instant) -> Self {
        let gone = Duration::from_secs(known.gone.into());
        let since = (known.state == State::Offline).then(|| now.checked_sub(gone).unwrap_or(now));
        Self {
            peer: known.peer,
            state: known.state,
            at: known.at,
            born: known.born,
            guest: known.guest,
            gone: since,
            contact: None,
            failures: 0,
            goodbye: 0,
        }
    }

    /// As others are told.
    pub(super) fn known(&self, now: Instant) -> Known {
        let gone = self.gone.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        Known {
            peer: self.peer.clone(),
            state: self.state,
            at: self.at,
            born: self.born,
            gone: u32::try_from(gone.as_secs()).unwrap_or(u32::MAX),
            guest: self.guest,
        }
    }

    pub(super) fn is_online(&self) -> bool {
        self.state == State::Online
    }

    /// The Lamport time of the newest proof of what is known.
    pub(super) fn proof(&self) -> u64 {
        self.contact.map_or(self.at, |(_, time)| time.max(self.at))
    }

    /// Whether it has been gone for too long to be looked for.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.gone.is_some_and(|since| now.saturating_duration_since(since) >= patience(self.guest))
    }

    /// Whether `known` holds and not this: it is newer. At the same time, which
    /// is said of two nodes that each found out something alone, everyone prefers
    /// the same: the worse news, which the node itself will put right.
    pub(super) fn yields_to(&self, known: &Known) -> bool {
        let of_peer = |peer: &Peer| (peer.name.clone(), peer.search, peer.download);
        let ours = (self.at, self.state, self.born, self.guest, of_peer(&self.peer));
        ours < (known.at, known.state, known.born, known.guest, of_peer(&known.peer))
    }

    /// A number that is the same where the same is known.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.peer.id.as_bytes());
        hasher.update(&self.at.to_be_bytes());
        hasher.update(&self.born.to_be_bytes());
        hasher.update(&[u8::from(self.is_online()), u8::from(self.guest)]);
        for text in [
            self.peer.name.to_string(),
            self.peer.search.to_string(),
            self.peer.download.to_string(),
        ] {
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        }
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

/// Whether a node of which others tell has been gone for too long.
pub(super) fn is_long_gone(known: &Known) -> bool {
    known.state == State::Offline && u64::from(known.gone) >= patience(known.guest).as_secs()
}

fn patience(guest: bool) -> Duration {
    if guest { FORGET_GUEST } else { FORGET }
}
