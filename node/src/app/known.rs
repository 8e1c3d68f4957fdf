//! Names that were seen in the network.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Most names that are remembered: more help nobody who types.
const MAX_KNOWN: usize = 10_000;

/// Names seen in searches. Once there are too many, new ones are not learnt.
#[derive(Debug, Default)]
pub(super) struct KnownNames(Mutex<BTreeSet<String>>);

impl KnownNames {
    pub(super) fn learn<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if known.len() < MAX_KNOWN {
                known.insert(name.to_owned());
            }
        }
    }

    /// These and the remembered ones, sorted, each once.
    pub(super) fn with(&self, more: impl Iterator<Item = String>) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.extend(more);
        all.into_iter().collect()
    }
}
