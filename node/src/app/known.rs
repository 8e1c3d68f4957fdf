//! What was heard of in the network.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shoal_common::content::FileId;
use shoal_common::ident::Peer;

use crate::catalog::found::Findings;

/// Most names, and most contents, that are remembered: more names help nobody
/// who types, and owners are looked for anew anyway.
const MAX_KNOWN: usize = 10_000;

/// Names seen in searches, and who had the contents.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    names: BTreeSet<String>,
    /// By content and size: who lies about the size stays alone.
    owners: HashMap<(FileId, u64), Vec<Peer>>,
}

impl Known {
    pub(super) fn learn(&self, findings: &Findings) {
        let mut heard = self.heard();
        let mut owners: HashMap<_, Vec<Peer>> = HashMap::new();
        for found in &findings.found {
            if heard.names.len() >= MAX_KNOWN {
                heard.names.clear();
            }
            heard.names.insert(found.name.to_string());
            owners.entry((found.id, found.size)).or_default().extend(found.owners.iter().cloned());
        }
        if heard.owners.len().saturating_add(owners.len()) > MAX_KNOWN {
            heard.owners.clear();
        }
        heard.owners.extend(owners.into_iter().take(MAX_KNOWN));
    }

    /// Who had this content of this size when it was last heard of: where a
    /// download can begin without asking everyone again.
    pub(super) fn owners(&self, file: FileId, size: u64) -> Vec<Peer> {
        self.heard().owners.get(&(file, size)).cloned().unwrap_or_default()
    }

    /// The names that were heard of and `more`, sorted, each once.
    pub(super) fn with(&self, more: impl Iterator<Item = String>) -> Vec<String> {
        let mut all = self.heard().names.clone();
        all.extend(more);
        all.into_iter().collect()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
