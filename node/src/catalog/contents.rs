//! Which files have which content. Pure.
//!
//! Nearly every content has one name. That costs no set of its own, so that a
//! hundred thousand files take little memory; and a content with a hundred
//! thousand names is no slower than others.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use shoal_common::content::FileId;
use shoal_common::name::SharedName;

use super::index::Shared;

/// Files by content.
#[derive(Debug, Default)]
pub(super) struct Contents(HashMap<FileId, Files>);

/// The files of one content.
#[derive(Debug)]
enum Files {
    One(Arc<Shared>),
    /// By name; at least one.
    Several(BTreeMap<SharedName, Arc<Shared>>),
}

impl Contents {
    /// Adds a file, in place of one of the same content and name.
    pub(super) fn insert(&mut self, shared: Arc<Shared>) {
        match self.0.entry(shared.manifest.file()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Files::One(shared));
            }
            Entry::Occupied(mut there) => match there.get_mut() {
                Files::Several(files) => {
                    files.insert(shared.name.clone(), shared);
                }
                Files::One(one) if one.name == shared.name => *one = shared,
                Files::One(one) => {
                    let both = [Arc::clone(one), shared];
                    let both = both.into_iter().map(|file| (file.name.clone(), file));
                    there.insert(Files::Several(both.collect()));
                }
            },
        }
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&mut self, shared: &Shared) {
        let Entry::Occupied(mut there) = self.0.entry(shared.manifest.file()) else { return };
        let is_last = match there.get_mut() {
            Files::One(one) => one.name == shared.name,
            Files::Several(files) => {
                files.remove(&shared.name);
                files.is_empty()
            }
        };
        if is_last {
            there.remove();
        }
    }

    /// The files with a content, in order of their names.
    pub(super) fn get(&self, file: &FileId) -> impl Iterator<Item = &Arc<Shared>> {
        let (one, several) = match self.0.get(file) {
            None => (None, None),
            Some(Files::One(one)) => (Some(one), None),
            Some(Files::Several(files)) => (None, Some(files.values())),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// Every content with its files.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&FileId, Vec<&Arc<Shared>>)> {
        self.0.keys().map(|file| (file, self.get(file).collect()))
    }
}
