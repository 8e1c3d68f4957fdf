//! Numbers behind names that more than one node wants.

use shoal_common::limits::MAX_NODES;

/// A number from 2 on that is free where the one before it is not: the first, if
/// there are no gaps between those that are taken.
///
/// Thousands may want the same name, so they are not counted: it looks at ever
/// farther numbers until one is free, and between that and the last that is taken
/// halves what is left. Only where somebody has taken just those numbers does it
/// look at one after the other.
pub(super) fn free_number(mut is_free: impl FnMut(u32) -> bool) -> Option<u32> {
    // The name itself stands for 1.
    let mut taken = 1;
    let mut free = (0..u32::BITS).map(|power| 1 + (1 << power)).find(|number| {
        let is_free = is_free(*number);
        if !is_free {
            taken = *number;
        }
        is_free
    });
    while let Some(upper) = free.filter(|upper| *upper > taken + 1) {
        let middle = taken + (upper - taken) / 2;
        match is_free(middle) {
            true => free = Some(middle),
            false => taken = middle,
        }
    }
    // One more than there can be nodes, so one of them is free.
    free.or_else(|| (2..).take(MAX_NODES + 1).find(|number| is_free(*number)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Gives numbers to so many; how often it looked for the last of them.
    fn looks(count: u32) -> u32 {
        let mut looks = 0;
        let given = free_number(|number| {
            looks += 1;
            number > count
        });
        assert_eq!(given, Some(count.max(1) + 1));
        looks
    }

    #[test]
    fn the_first_free_number_is_found_without_counting() {
        for count in [1, 2, 3, 4, 5, 16, 17, 18, 1000, 20_000, 32_768] {
            assert!(looks(count) <= 32, "{count}: {}", looks(count));
        }
    }

    #[test]
    fn who_takes_just_the_numbers_that_are_looked_at_keeps_nobody_out() {
        assert_eq!(free_number(|number| !(number - 1).is_power_of_two()), Some(4));
        assert_eq!(free_number(|_| false), None);
    }

    proptest! {
        #[test]
        fn it_is_free_and_the_one_before_is_not(taken in proptest::collection::btree_set(2..40_u32, 0..38)) {
            let taken: BTreeSet<u32> = taken;
            let free = free_number(|number| !taken.contains(&number)).unwrap();
            prop_assert!(!taken.contains(&free));
            prop_assert!(free == 2 || taken.contains(&(free - 1)));
        }
    }
}
