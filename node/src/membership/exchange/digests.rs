//! Digests of what a node knows: see
//! [`peers`](shoal_common::protocol::peers). Pure.

use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_DIGESTS;

/// Nodes for which one digest stands, about: as many as may be listed for the
/// sake of one that changed.
const NODES_EACH: usize = 8;

/// A number for each beginning of ids. They are kept up by what changes, so that
/// nobody ever has to go through all nodes.
#[derive(Debug, Clone)]
pub(super) struct Digests(Vec<u64>);

impl Default for Digests {
    fn default() -> Self {
        Self(vec![0; MAX_DIGESTS])
    }
}

impl Digests {
    /// Puts a node in that is not there, or takes it out again.
    pub(super) fn toggle(&mut self, id: NodeId, digest: u64) {
        if let Some(number) = self.0.get_mut(index(id, MAX_DIGESTS)) {
            *number ^= digest;
        }
    }

    /// Digests for this many nodes.
    pub(super) fn of(&self, nodes: usize) -> Vec<u64> {
        self.folded((nodes / NODES_EACH).next_power_of_two().min(MAX_DIGESTS))
    }

    /// This many of them; a power of two.
    fn folded(&self, count: usize) -> Vec<u64> {
        let each = (MAX_DIGESTS / count.max(1)).max(1);
        self.0.chunks(each).map(|part| part.iter().fold(0, |all, number| all ^ number)).collect()
    }

    /// In which of these others differ; `None` if they are no digests.
    pub(super) fn compare(&self, others: &[u64]) -> Option<Difference> {
        let count = others.len();
        if count == 0 {
            return Some(Difference { count: 1, differ: vec![true] });
        }
        if !count.is_power_of_two() || count > MAX_DIGESTS {
            return None;
        }
        let differ = self.folded(count).iter().zip(others).map(|(a, b)| a != b).collect();
        Some(Difference { count, differ })
    }
}

/// Where two nodes know different things.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    count: usize,
    differ: Vec<bool>,
}

impl Difference {
    /// As a peer tells it, of so many digests.
    pub(super) fn told(numbers: &[u16], count: usize) -> Self {
        let mut differ = vec![false; count.max(1)];
        for number in numbers {
            if let Some(place) = differ.get_mut(usize::from(*number)) {
                *place = true;
            }
        }
        Self { count: count.max(1), differ }
    }

    /// The numbers of the digests that differ.
    pub(super) fn numbers(&self) -> Vec<u16> {
        let numbered = self.differ.iter().zip(0_u16..);
        numbered.filter(|(differs, _)| **differs).map(|(_, number)| number).collect()
    }

    /// Whether something about this node, or one with such an id, differs.
    pub(super) fn holds(&self, id: NodeId) -> bool {
        self.differ.get(index(id, self.count)).copied().unwrap_or(false)
    }

    /// Whether there is none.
    #[cfg(test)]
    pub(super) fn is_none(&self) -> bool {
        !self.differ.contains(&true)
    }
}

/// The number of the digest that stands for an id, of `count`, a power of two.
fn index(id: NodeId, count: usize) -> usize {
    let [first, second, ..] = *id.as_bytes();
    let of_all = usize::from(u16::from_be_bytes([first, second])) >> 6;
    of_all / (MAX_DIGESTS / count.max(1)).max(1)
}

/// `index` takes the first ten bits of an id.
const _: () = assert!(MAX_DIGESTS == 1 << 10);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, second: u8) -> NodeId {
        let mut bytes = [9; 32];
        (bytes[0], bytes[1]) = (first, second);
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn those_who_know_the_same_see_no_difference_whatever_the_order() {
        let (mut one, mut other) = (Digests::default(), Digests::default());
        for node in 0..200_u8 {
            one.toggle(id(node, 77), u64::from(node) + 1);
            other.toggle(id(199 - node, 77), u64::from(199 - node) + 1);
        }
        for nodes in [0, 1, 8, 200, 10_000, 1_000_000] {
            let digests = one.of(nodes);
            assert!(digests.len() <= MAX_DIGESTS);
            assert!(other.compare(&digests).unwrap().is_none());
        }
        assert_eq!((one.of(30).len(), one.of(10_000).len()), (4, 1024));
    }

    #[test]
    fn only_what_is_near_a_change_differs() {
        let (mut one, other) = (Digests::default(), Digests::default());
        one.toggle(id(0xff, 0xff), 5);
        let difference = one.compare(&other.of(10_000)).unwrap();
        assert_eq!(difference.numbers(), [1023]);
        assert!(difference.holds(id(0xff, 0xff)) && difference.holds(id(0xff, 0xc0)));
        assert!(!difference.holds(id(0xff, 0xbf)));
        let told = Difference::told(&difference.numbers(), 1024);
        assert!(told.holds(id(0xff, 0xff)) && !told.holds(id(0, 0)));
        assert!(Difference::told(&[7, 5000], 4).is_none(), "no such digests");
        let few = one.compare(&other.of(16)).unwrap();
        assert_eq!(few.numbers(), [1]);
        assert!(few.holds(id(0x80, 0)) && !few.holds(id(0x7f, 0xff)));
        one.toggle(id(0xff, 0xff), 5);
        assert!(one.compare(&other.of(16)).unwrap().is_none());
    }

    #[test]
    fn whoever_has_no_digests_wants_to_hear_everything_and_nonsense_is_none() {
        let one = Digests::default();
        assert!(one.compare(&[]).unwrap().holds(id(3, 4)));
        assert!(one.compare(&[0; 3]).is_none() && one.compare(&[0; 2048]).is_none());
    }
}
