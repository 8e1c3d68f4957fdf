//! What goes wrong at addresses that a person gave, each told once. Pure.

use std::collections::{BTreeMap, HashSet};

/// Most lines that are said of it: in a long list of neighbours, many may be gone.
const MOST_TOLD: usize = 16;

/// Most that are kept to know what is new: some for each address of a long list.
const MOST_KNOWN: usize = 8192;

/// What goes wrong at which address.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    now: BTreeMap<String, String>,
    known: HashSet<String>,
}

/// Who is to be told of a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// The person.
    Person,
    /// Only the log; the person is told that there are more.
    LogFirst,
    /// Only the log.
    Log,
    /// Nobody: it was told.
    Nobody,
}

impl Troubles {
    /// This is wrong with an address, which the phrase names.
    pub(super) fn note(&mut self, address: &str, trouble: String) {
        self.now.insert(address.to_owned(), trouble);
    }

    /// The same, where the person is to be told. Whether that is new.
    pub(super) fn come(&mut self, address: &str, trouble: String) -> Telling {
        let count = self.known.len();
        let is_new = count < MOST_KNOWN && self.known.insert(trouble.clone());
        self.note(address, trouble);
        match count {
            _ if !is_new => Telling::Nobody,
            ..MOST_TOLD => Telling::Person,
            MOST_TOLD => Telling::LogFirst,
            _ => Telling::Log,
        }
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
        assert_eq!(troubles.come("a:1", "`a:1` is silent".into()), Telling::Person);
        assert_eq!(troubles.come("a:1", "`a:1` is silent".into()), Telling::Nobody);
        assert_eq!(troubles.come("a:1", "`a:1` is of another network".into()), Telling::Person);
        assert_eq!(troubles.come("a:1", "`a:1` is silent".into()), Telling::Nobody);
        assert_eq!(troubles.now().get("a:1").unwrap(), "`a:1` is silent");
        troubles.go("a:1");
        assert!(troubles.now().is_empty());
        let told: Vec<_> = (2..100).map(|n| troubles.come("b:1", format!("`b:1` {n}"))).collect();
        let (aloud, rest) = told.split_at(MOST_TOLD - 2);
        assert!(aloud.iter().all(|telling| *telling == Telling::Person));
        assert_eq!(rest[0], Telling::LogFirst, "the person is told where the rest is");
        assert!(rest[1..].iter().all(|telling| *telling == Telling::Log));
        assert_eq!(troubles.come("b:1", "`b:1` 99".into()), Telling::Nobody);
    }

    #[test]
    fn what_is_only_noted_takes_no_place() {
        let mut troubles = Troubles::default();
        (0..100).for_each(|n| troubles.note("t:1", format!("`t:1` {n}")));
        assert_eq!(troubles.now().get("t:1").unwrap(), "`t:1` 99");
        assert_eq!(troubles.come("a:1", "`a:1` is silent".into()), Telling::Person);
    }
}
