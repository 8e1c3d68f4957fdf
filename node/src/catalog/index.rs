//! What this node shares: names, contents and what is known of them. Pure.
//!
//! Invariant: `by_content` holds exactly the names of `by_name`, each under the
//! content that it has there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use shoal_common::content::{FileId, Manifest};
use shoal_common::limits::MAX_MATCHES;
use shoal_common::name::SharedName;
use shoal_common::protocol::search::Match;

use super::found::FileInfo;
use super::pattern::Matcher;
use crate::volume::{Listed, Stamp};

/// A file whose content is known.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Its name.
    pub name: SharedName,
    /// What it looked like when it was hashed.
    pub stamp: Stamp,
    /// Its content.
    pub manifest: Arc<Manifest>,
}

/// The files that a node shares.
#[derive(Debug, Default)]
pub struct Index {
    by_name: BTreeMap<SharedName, Arc<Shared>>,
    by_content: HashMap<FileId, BTreeSet<SharedName>>,
}

impl Index {
    /// Adds a file, in place of what had its name.
    pub fn insert(&mut self, shared: Shared) {
        self.remove(&shared.name);
        let names = self.by_content.entry(shared.manifest.file()).or_default();
        names.insert(shared.name.clone());
        self.by_name.insert(shared.name.clone(), Arc::new(shared));
    }

    /// Removes a file; whether it was there.
    pub fn remove(&mut self, name: &SharedName) -> bool {
        let Some(shared) = self.by_name.remove(name) else { return false };
        let file = shared.manifest.file();
        if let Some(names) = self.by_content.get_mut(&file) {
            names.remove(name);
            if names.is_empty() {
                self.by_content.remove(&file);
            }
        }
        true
    }

    /// A file with this content, if there is one.
    pub fn find(&self, file: &FileId) -> Option<&Arc<Shared>> {
        let name = self.by_content.get(file)?.first()?;
        self.get(name)
    }

    /// The file with this name.
    pub fn get(&self, name: &SharedName) -> Option<&Arc<Shared>> {
        self.by_name.get(name)
    }

    /// All files, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Shared> {
        self.by_name.values().map(Arc::as_ref)
    }

    /// Number of files and of their bytes.
    pub fn totals(&self) -> (usize, u64) {
        let bytes = self.iter().map(|shared| shared.stamp.size).sum();
        (self.by_name.len(), bytes)
    }

    /// The files that may match, in order of their names. Cheap; whether they do
    /// is for [`select`], which need not hold anyone up.
    pub fn candidates(&self, matcher: &Matcher) -> Vec<Arc<Shared>> {
        match matcher {
            Matcher::Exact(name) => self.by_name.get(name).cloned().into_iter().collect(),
            Matcher::Content(file) => {
                let names = self.by_content.get(file).into_iter().flatten();
                names.filter_map(|name| self.by_name.get(name).cloned()).collect()
            }
            Matcher::Part(_) | Matcher::Glob(_) => self.by_name.values().cloned().collect(),
        }
    }

    /// What a look at the disk asks for: names to forget, and files to hash.
    /// Both in order of their names.
    pub fn compare(&self, on_disk: &[Listed]) -> (Vec<SharedName>, Vec<Listed>) {
        let there: HashMap<&SharedName, &Stamp> =
            on_disk.iter().map(|listed| (&listed.name, &listed.stamp)).collect();
        // A changed file is forgotten at once: what others were told of it is
        // no longer true, even before the new content is hashed.
        let forget = self.iter().filter(|known| there.get(&known.name) != Some(&&known.stamp));
        let hash = on_disk.iter().filter(|listed| {
            self.get(&listed.name).map(|known| &known.stamp) != Some(&listed.stamp)
        });
        (forget.map(|known| known.name.clone()).collect(), hash.cloned().collect())
    }
}

/// Those that match, at most [`MAX_MATCHES`], and whether there are more.
pub fn select(candidates: &[Arc<Shared>], matcher: &Matcher) -> (Vec<Match>, bool) {
    let matching =
        candidates.iter().filter(|shared| matcher.matches(&shared.name, shared.manifest.file()));
    let mut matches: Vec<Match> =
        matching.take(MAX_MATCHES + 1).map(|shared| as_match(shared)).collect();
    let more = matches.len() > MAX_MATCHES;
    matches.truncate(MAX_MATCHES);
    (matches, more)
}

impl From<&Shared> for FileInfo {
    fn from(shared: &Shared) -> Self {
        Self { name: shared.name.clone(), size: shared.stamp.size, id: shared.manifest.file() }
    }
}

fn as_match(shared: &Shared) -> Match {
    Match {
        name: shared.name.clone(),
        size: shared.stamp.size,
        file: shared.manifest.file(),
        chunks: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_common::content::{Geometry, ManifestBuilder};

    use super::super::pattern::typed;
    use super::*;

    fn search(index: &Index, matcher: &Matcher) -> (Vec<Match>, bool) {
        select(&index.candidates(matcher), matcher)
    }

    fn shared(name: &str, content: &str, mtime_ns: i64) -> Shared {
        let size = content.len() as u64;
        let mut builder = ManifestBuilder::new(Geometry::of(size).unwrap());
        builder.update(content.as_bytes());
        Shared {
            name: name.parse().unwrap(),
            stamp: Stamp { size, mtime_ns, inode: 1 },
            manifest: Arc::new(builder.finish().unwrap()),
        }
    }

    fn listed(shared: &Shared) -> Listed {
        Listed { name: shared.name.clone(), stamp: shared.stamp }
    }

    #[test]
    fn one_content_under_two_names() {
        let mut index = Index::default();
        index.insert(shared("b", "same", 1));
        index.insert(shared("a", "same", 1));
        let id = FileId::of(b"same");
        assert_eq!(index.find(&id).unwrap().name.as_str(), "a");
        assert_eq!(search(&index, &Matcher::Content(id)).0.len(), 2);
        assert!(index.remove(&"a".parse().unwrap()));
        assert_eq!(index.find(&id).unwrap().name.as_str(), "b");
        index.insert(shared("b", "other", 2));
        assert!(index.find(&id).is_none());
        assert_eq!(index.totals(), (1, 5));
    }

    #[test]
    fn the_disk_decides() {
        let mut index = Index::default();
        let (kept, changed, gone) =
            (shared("kept", "k", 1), shared("changed", "c", 1), shared("gone", "g", 1));
        for known in [&kept, &changed, &gone] {
            index.insert(known.clone());
        }
        let touched = shared("changed", "C", 2);
        let new = shared("new", "n", 1);
        let (forget, hash) = index.compare(&[listed(&touched), listed(&kept), listed(&new)]);
        assert_eq!(forget, [changed.name, gone.name]);
        assert_eq!(hash, [listed(&touched), listed(&new)]);
    }

    #[test]
    fn an_answer_has_a_bound_and_says_so() {
        let mut index = Index::default();
        for number in 0..=MAX_MATCHES {
            index.insert(shared(&format!("file {number:05}"), "x", 1));
        }
        let (matches, more) = search(&index, &Matcher::new(&typed("file")).unwrap());
        assert_eq!((matches.len(), more), (MAX_MATCHES, true));
        index.remove(&"file 00000".parse().unwrap());
        let (matches, more) = search(&index, &Matcher::new(&typed("file")).unwrap());
        assert_eq!((matches.len(), more), (MAX_MATCHES, false));
    }

    proptest! {
        #[test]
        fn names_and_contents_agree(events in proptest::collection::vec((any::<bool>(), 0..5u8, 0..3u8), 0..40)) {
            let mut index = Index::default();
            for (insert, name, content) in events {
                let shared = shared(&format!("n{name}"), &format!("c{content}"), 0);
                if insert { index.insert(shared); } else { index.remove(&shared.name); }
                let by_content: usize = index.by_content.values().map(BTreeSet::len).sum();
                prop_assert_eq!(by_content, index.by_name.len());
                for (file, names) in &index.by_content {
                    prop_assert!(!names.is_empty());
                    for name in names {
                        prop_assert_eq!(index.by_name[name].manifest.file(), *file);
                    }
                }
            }
        }
    }
}
