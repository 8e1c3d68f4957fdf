//! Ids as places on a ring, and how a stretch of it is shared out. Pure.
//!
//! Behind the greatest id comes the least. A *stretch* begins behind one id and
//! ends before another; behind an id and before the same is everyone else.

use std::collections::VecDeque;

use shoal_common::ident::{NodeId, Peer};

/// How far it is from one id to another, upwards: the difference of two numbers
/// of 256 bits, most significant byte first.
type Distance = [u8; 32];

fn distance(from: NodeId, to: NodeId) -> Distance {
    let mut distance = [0; 32];
    let mut borrowed = false;
    let digits = to.as_bytes().iter().zip(from.as_bytes()).zip(&mut distance);
    for ((to, from), digit) in digits.rev() {
        let (once, one) = to.overflowing_sub(*from);
        let (twice, two) = once.overflowing_sub(u8::from(borrowed));
        (*digit, borrowed) = (twice, one || two);
    }
    distance
}

/// Whether `id` lies behind `after` and before `upto`.
pub fn lies_between(id: NodeId, after: NodeId, upto: NodeId) -> bool {
    id != after && (after == upto || distance(after, id) < distance(after, upto))
}

/// Some peers on a stretch: the first of them is asked for all that lies from
/// itself on up to the end, whether or not it is known here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// In the order of the ring; never empty at first.
    peers: VecDeque<Peer>,
    upto: NodeId,
}

impl Share {
    /// Who is to be asked, up to where. If it fails, the next one is asked for what
    /// is behind the first.
    pub(super) fn take(&mut self) -> Option<(Peer, NodeId)> {
        self.peers.pop_front().map(|peer| (peer, self.upto))
    }

    /// How many of them were not asked yet.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Who has not been asked.
    pub(super) fn rest(self) -> impl Iterator<Item = Peer> {
        self.peers.into_iter()
    }
}

/// Shares the stretch between two ids out among at most `most` of those who lie on
/// it, about as many to each. They know their neighbours better. Where some get one
/// more, it is those that are near: of the far ones fewer are known, and each is a
/// short cut.
pub(super) fn shares(peers: Vec<Peer>, after: NodeId, upto: NodeId, most: usize) -> Vec<Share> {
    let mut there: Vec<_> =
        peers.into_iter().filter(|peer| lies_between(peer.id, after, upto)).collect();
    there.sort_by_cached_key(|peer| distance(after, peer.id));
    there.dedup_by_key(|peer| peer.id);
    let (count, most) = (there.len(), most.max(1));
    let mut shares = Vec::with_capacity(count.min(most));
    let mut end = upto;
    // From the back, because each ends where the one behind it begins.
    for number in (0..count.min(most)).rev() {
        let peers: VecDeque<_> = there.split_off((number * count).div_ceil(most.min(count))).into();
        if let Some(first) = peers.front() {
            let begin = first.id;
            shares.push(Share { peers, upto: end });
            end = begin;
        }
    }
    shares.reverse();
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> NodeId {
        let mut bytes = [0; 32];
        bytes[31] = number;
        NodeId::from_bytes(bytes)
    }

    fn peers(numbers: impl IntoIterator<Item = u8>) -> Vec<Peer> {
        let at = "127.0.0.1:9".parse().unwrap();
        let name: shoal_common::ident::NodeName = "x".parse().unwrap();
        let peer = |n| Peer { id: id(n), name: name.clone(), search: at, download: at, joined: 0 };
        numbers.into_iter().map(peer).collect()
    }

    #[test]
    fn a_ring_has_no_ends() {
        assert!(lies_between(id(3), id(2), id(4)) && !lies_between(id(4), id(2), id(4)));
        assert!(lies_between(id(1), id(9), id(2)) && lies_between(id(10), id(9), id(2)));
        assert!(!lies_between(id(5), id(9), id(2)) && !lies_between(id(9), id(9), id(2)));
        assert!(lies_between(id(5), id(7), id(7)) && !lies_between(id(7), id(7), id(7)));
        let (low, high) = (NodeId::from_bytes([0; 32]), NodeId::from_bytes([255; 32]));
        assert!(lies_between(low, high, id(1)) && !lies_between(high, low, id(1)));
    }

    /// What each share covers, by the numbers of its peers and its end.
    fn shape(shares: Vec<Share>) -> Vec<(Vec<u8>, u8)> {
        let number = |id: NodeId| id.as_bytes()[31];
        let numbers = |share: &Share| share.peers.iter().map(|peer| number(peer.id)).collect();
        shares.iter().map(|share| (numbers(share), number(share.upto))).collect()
    }

    #[test]
    fn each_gets_as_much_and_from_itself_on() {
        let shares = shares(peers([9, 1, 3, 7, 5, 5]), id(4), id(4), 2);
        assert_eq!(shape(shares), [(vec![5, 7, 9], 1), (vec![1, 3], 4)]);
        assert_eq!(shape(super::shares(peers([1, 9]), id(4), id(8), 2)), []);
    }

    proptest! {
        #[test]
        fn everyone_is_in_one_share_and_no_place_in_two(
            numbers in proptest::collection::btree_set(any::<u8>(), 0..60),
            after: u8,
            upto: u8,
            most in 1_usize..10,
        ) {
            let on_it = |n: &u8| lies_between(id(*n), id(after), id(upto));
            let known = peers(numbers.iter().copied());
            let shares = shape(shares(known, id(after), id(upto), most));
            prop_assert!(shares.len() <= most);
            let mut covered: Vec<_> = shares.iter().flat_map(|(peers, _)| peers.clone()).collect();
            covered.sort_unstable();
            prop_assert_eq!(covered, numbers.iter().copied().filter(on_it).collect::<Vec<_>>());
            // Who is not known here lies in the part of the one before it.
            if let Some((first, _)) = shares.first() {
                for place in (0..=255).filter(|n| lies_between(id(*n), id(first[0]), id(upto)) && on_it(n)) {
                    let parts = shares.iter().filter(|(peers, end)| {
                        place == peers[0] || lies_between(id(place), id(peers[0]), id(*end))
                    });
                    prop_assert_eq!(parts.count(), 1, "{}", place);
                }
            }
            let lengths: Vec<_> = shares.iter().map(|(peers, _)| peers.len()).collect();
            if let (Some(least), Some(greatest)) = (lengths.iter().min(), lengths.iter().max()) {
                prop_assert!(greatest - least <= 1, "{:?}", lengths);
            }
        }
    }
}
