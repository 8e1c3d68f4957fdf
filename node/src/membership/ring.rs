//! Peers in the order of their ids, as a ring: behind the greatest comes the least.
//! Pure.

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
    pub fn peers(&self) -> &[Peer] {
        &self.0
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn ring(numbers: &[u8]) -> Ring {
        let at = "127.0.0.1:9".parse().unwrap();
        let name: shoal_common::ident::NodeName = "x".parse().unwrap();
        let peer =
            |n: &u8| Peer { id: id(*n), name: name.clone(), search: at, download: at, joined: 0 };
        numbers.iter().map(peer).collect()
    }

    #[test]
    fn each_is_there_once_and_found_by_its_id() {
        let ring = ring(&[9, 1, 3, 9]);
        let ids: Vec<_> = ring.peers().iter().map(|peer| peer.id).collect();
        assert_eq!(ids, [1, 3, 9].map(id));
        assert_eq!(ring.peer(id(3)).map(|peer| peer.id), Some(id(3)));
        assert_eq!(ring.peer(id(2)), None);
    }

    proptest! {
        #[test]
        fn a_stretch_is_who_lies_there_in_order_from_its_beginning(
            numbers in proptest::collection::btree_set(any::<u8>(), 0..40),
            after: u8,
            upto: u8,
        ) {
            let ring = ring(&numbers.iter().copied().collect::<Vec<_>>());
            let found: Vec<_> = ring.between(id(after), id(upto)).map(|peer| peer.id).collect();
            let there = (1..=u8::MAX).map(|step| after.wrapping_add(step));
            let expected = there.take_while(|n| *n != upto).filter(|n| numbers.contains(n));
            prop_assert_eq!(found, expected.map(id).collect::<Vec<_>>());
        }
    }
}
