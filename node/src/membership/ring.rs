//! Peers in the order of their ids, as a ring: behind the greatest comes the least.
//! Pure.

use std::iter;

use shoal_common::ident::{NodeId, Peer};

/// Some peers, each once.
#[derive(Debug, Clone, Default)]
pub struct Ring(Vec<Peer>);

impl Ring {
    /// One of them.
    pub fn peer(&self, id: NodeId) -> Option<&Peer> {
        let place = self.0.binary_search_by_key(&id, |peer| peer.id).ok()?;
        self.0.get(place)
    }

    /// Those behind one id and before another, in order; all but the one if both are
    /// the same. It costs as much as there are of them.
    pub fn between(&self, after: NodeId, upto: NodeId) -> impl Iterator<Item = &Peer> {
        let first = self.0.partition_point(|peer| peer.id <= after);
        let end = self.0.partition_point(|peer| peer.id < upto);
        // Where it goes round, it goes on from the front.
        let (to_end, from_front) = match after < upto {
            true => (self.0.get(first..end), None),
            false => (self.0.get(first..), self.0.get(..end)),
        };
        to_end.into_iter().chain(from_front).flatten()
    }

    /// All, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.iter()
    }

    /// The one at this place in the order of ids.
    pub fn at(&self, place: usize) -> Option<&Peer> {
        self.0.get(place)
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Peer> for Ring {
    fn from_iter<T: IntoIterator<Item = Peer>>(peers: T) -> Self {
        let mut peers: Vec<_> = peers.into_iter().collect();
        peers.sort_by_key(|peer| peer.id);
        peers.dedup_by_key(|peer| peer.id);
        Self(peers)
    }
}
