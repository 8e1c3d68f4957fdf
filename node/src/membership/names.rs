//! Names where no tracker gives them. Pure.
//!
//! Each node chooses its own, so two may have the same. Whoever came into the
//! network first keeps it, and the others get a number behind it, wherever they
//! are shown. All who know the same nodes show the same names.

use std::collections::HashSet;

use shoal_common::ident::{NodeId, NodeName};

/// Who comes first: by the Lamport time of its first contact, and of those that
/// came at the same time by its id. Who has met nobody yet comes last.
pub(super) fn age(born: u64, id: NodeId) -> (u64, NodeId) {
    (if born == 0 { u64::MAX } else { born }, id)
}

/// A name like this one that nobody has; it is taken from now on.
pub(super) fn distinct(name: &NodeName, taken: &mut HashSet<NodeName>) -> NodeName {
    let numbered = (2..=u32::MAX).map(|number| name.with_suffix(number));
    let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name));
    let free = free.unwrap_or_else(|| name.clone());
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keeps_its_name() {
        let mut taken = HashSet::new();
        let mut name = |wish: &str| distinct(&wish.parse().unwrap(), &mut taken).to_string();
        assert_eq!(name("node"), "node");
        assert_eq!(name("node"), "node-2");
        assert_eq!(name("node-2"), "node-2-2");
        assert_eq!(name("node"), "node-3");
    }

    #[test]
    fn age_is_by_first_contact_then_by_id() {
        let [a, b] = [1, 2].map(|byte| NodeId::from_bytes([byte; 32]));
        assert!(age(5, b) < age(6, a));
        assert!(age(5, a) < age(5, b));
        assert!(age(0, a) > age(u64::MAX - 1, b), "who has met nobody is no elder");
    }
}
