//! Names where no tracker gives them. Pure.
//!
//! Each node chooses its own, so two may have the same. Whoever came into the
//! network first keeps it, and the others get a number behind it, wherever they
//! are shown. All who know the same nodes show the same names.

use std::collections::HashMap;

use shoal_common::ident::{NodeId, NodeName};

/// Who comes first: by the Lamport time of its first contact, and of those that
/// came at the same time by its id. Who has met nobody yet comes last.
pub(super) fn age(born: u64, id: NodeId) -> (u64, NodeId) {
    (if born == 0 { u64::MAX } else { born }, id)
}

/// The names that are taken, each with the number that the next one who wants it is
/// tried with: thousands may want the same.
#[derive(Debug, Default)]
pub(super) struct Taken(HashMap<NodeName, u32>);

impl Taken {
    /// Somebody has this name.
    pub(super) fn take(&mut self, name: NodeName) {
        self.0.entry(name).or_insert(2);
    }

    /// A name like this one that nobody has; it is taken from now on.
    pub(super) fn distinct(&mut self, name: &NodeName) -> NodeName {
        let Some(next) = self.0.get(name).copied() else {
            self.take(name.clone());
            return name.clone();
        };
        let mut numbered = (next..=u32::MAX).map(|number| (number, name.with_suffix(number)));
        let free = numbered.find(|(_, name)| !self.0.contains_key(name));
        let (number, free) = free.unwrap_or_else(|| (u32::MAX, name.clone()));
        self.0.insert(name.clone(), number.saturating_add(1));
        self.take(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keeps_its_name() {
        let mut taken = Taken::default();
        let mut name = |wish: &str| taken.distinct(&wish.parse().unwrap()).to_string();
        assert_eq!(name("node"), "node");
        assert_eq!(name("node"), "node-2");
        assert_eq!(name("node-2"), "node-2-2");
        assert_eq!(name("node"), "node-3");
        for number in 4..=20_000 {
            assert_eq!(name("node"), format!("node-{number}"));
        }
    }

    #[test]
    fn age_is_by_first_contact_then_by_id() {
        let [a, b] = [1, 2].map(|byte| NodeId::from_bytes([byte; 32]));
        assert!(age(5, b) < age(6, a));
        assert!(age(5, a) < age(5, b));
        assert!(age(0, a) > age(u64::MAX - 1, b), "who has met nobody is no elder");
    }
}
