//! What a plan needs of sets of chunks beyond the sets themselves.

use fixedbitset::{Block, FixedBitSet};

/// Bits in a block of a set.
const BITS: usize = Block::BITS as usize;

/// A chunk as a place in a set.
pub(super) fn index(chunk: u32) -> usize {
    usize::try_from(chunk).unwrap_or(usize::MAX)
}

/// A place in a set as a chunk.
pub(super) fn chunk(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// What is in `set` and, if there is one, in `other`: first from `start` on,
/// then from the beginning up to it; lazily, a block at a time.
pub(super) fn around<'a>(
    set: &'a FixedBitSet,
    other: Option<&'a FixedBitSet>,
    start: usize,
) -> impl Iterator<Item = usize> + 'a {
    from(set, other, start).chain(from(set, other, 0).take_while(move |&bit| bit < start))
}

/// The same without the second part.
pub(super) fn from<'a>(
    set: &'a FixedBitSet,
    other: Option<&'a FixedBitSet>,
    start: usize,
) -> impl Iterator<Item = usize> + 'a {
    let first = start / BITS;
    let bits = move |at: usize| {
        let bits = block(set, at) & other.map_or(Block::MAX, |other| block(other, at));
        if at == first { bits & (Block::MAX << (start % BITS)) } else { bits }
    };
    (first..set.as_slice().len()).flat_map(move |at| Ones { rest: bits(at), base: at * BITS })
}

/// What is in `set` but not in `other`.
pub(super) fn without<'a>(
    set: &'a FixedBitSet,
    other: &'a FixedBitSet,
) -> impl Iterator<Item = usize> + 'a {
    let bits = |at| block(set, at) & !block(other, at);
    (0..set.as_slice().len()).flat_map(move |at| Ones { rest: bits(at), base: at * BITS })
}

fn block(set: &FixedBitSet, at: usize) -> Block {
    set.as_slice().get(at).copied().unwrap_or(0)
}

/// The bits of one block.
struct Ones {
    rest: Block,
    base: usize,
}

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.rest == 0 {
            return None;
        }
        let lowest = index(self.rest.trailing_zeros());
        self.rest &= self.rest - 1;
        Some(self.base + lowest)
    }
}

/// Numbers without a pattern from a number that has one (the finaliser of
/// SplitMix64): equal ones from equal ones, on every node.
pub(super) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn around_is_everything_once_from_the_start_on(
            bits in prop::collection::vec(any::<bool>(), 1..300),
            mask in prop::collection::vec(any::<bool>(), 1..300),
            start in 0..400_usize,
        ) {
            let set = |bits: &[bool]| {
                let mut set = FixedBitSet::with_capacity(bits.len());
                bits.iter().enumerate().for_each(|(at, &bit)| set.set(at, bit));
                set
            };
            let (set, mask) = (set(&bits), set(&mask));
            let both: Vec<_> = set.ones().filter(|&bit| mask.contains(bit)).collect();
            let (before, after): (Vec<_>, Vec<_>) = both.iter().partition(|&&bit| bit < start);
            let expected: Vec<usize> = after.into_iter().chain(before).collect();
            prop_assert_eq!(around(&set, Some(&mask), start).collect::<Vec<_>>(), expected);
            let from: Vec<_> = set.ones().filter(|&bit| bit >= start).collect();
            prop_assert_eq!(super::from(&set, None, start).collect::<Vec<_>>(), from);
            let without: Vec<_> = set.ones().filter(|&bit| !mask.contains(bit)).collect();
            prop_assert_eq!(super::without(&set, &mask).collect::<Vec<_>>(), without);
        }
    }
}
