//! What goes wrong at addresses that a person gave, each told once. Pure.

use std::collections::{BTreeMap, HashSet};

/// Most lines that are said of it: in a long list of neighbours, many may be gone.
const MOST_TOLD: usize = 16;

/// What goes wrong at which address.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    now: BTreeMap<String, String>,
    told: HashSet<String>,
}

impl Troubles {
    /// This is wrong with an address, which the phrase names. Whether to tell of it.
    pub(super) fn come(&mut self, address: &str, trouble: String) -> bool {
        let is_new = self.told.len() < MOST_TOLD && self.told.insert(trouble.clone());
        self.now.insert(address.to_owned(), trouble);
        is_new
    }

    /// Somebody is there.
    pub(super) fn go(&mut self, address: &str) {
        self.now.remove(address);
    }

    /// Phrases, by address.
    pub(super) fn now(&self) -> &BTreeMap<String, String> {
        &self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_of_many_some() {
        let mut troubles = Troubles::default();
        assert!(troubles.come("a:1", "`a:1` is silent".into()));
        assert!(!troubles.come("a:1", "`a:1` is silent".into()));
        assert!(troubles.come("a:1", "`a:1` is of another network".into()));
        assert!(!troubles.come("a:1", "`a:1` is silent".into()));
        assert_eq!(troubles.now().get("a:1").unwrap(), "`a:1` is silent");
        troubles.go("a:1");
        assert!(troubles.now().is_empty());
        let told = (0..100).filter(|n| troubles.come("b:1", format!("`b:1` {n}"))).count();
        assert_eq!(told, MOST_TOLD - 2);
    }
}
