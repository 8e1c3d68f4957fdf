//! What this node shares: names, contents and what is known of them. Pure.
//!
//! Invariants: `by_content` holds exactly the names of `by_name`, each under the
//! content that it has there; no folder of `folders` has a file below it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shoal_common::content::{FileId, Manifest};
use shoal_common::limits::MAX_MATCHES;
use shoal_common::name::SharedName;
use shoal_common::protocol::search::Match;

use super::contents::Contents;
use super::found::FileInfo;
use super::pattern::Matcher;
use super::tree::{Span, is_filled};
use crate::volume::{Listed, Stamp};

/// A file whose content is known.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Its name.
    pub name: SharedName,
    /// What it looked like when it was hashed.
    pub stamp: Stamp,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Its content.
    pub manifest: Arc<Manifest>,
}

/// What a listing has at one name.
#[derive(Debug, Clone)]
pub enum Item {
    /// A file.
    File(Arc<Shared>),
    /// An empty folder.
    Folder(SharedName),
}

impl Item {
    /// Its name.
    pub fn name(&self) -> &SharedName {
        match self {
            Self::File(shared) => &shared.name,
            Self::Folder(name) => name,
        }
    }
}

/// What a look at the disk asks for, each in order of names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Files that are not what they were, or gone.
    pub forget: Vec<SharedName>,
    /// Files whose content is not known.
    pub hash: Vec<Listed>,
    /// Files that may be executed now, or no longer.
    pub modes: Vec<(SharedName, bool)>,
}

/// The files that a node shares.
#[derive(Debug, Default)]
pub struct Index {
    by_name: BTreeMap<SharedName, Arc<Shared>>,
    by_content: Contents,
    /// Folders with nothing in them.
    folders: BTreeSet<SharedName>,
    /// Of all files.
    bytes: u64,
}

impl Index {
    /// Adds a file, in place of what had its name.
    pub fn insert(&mut self, shared: Shared) {
        self.remove(&shared.name);
        self.bytes = self.bytes.saturating_add(shared.stamp.size);
        if !self.folders.is_empty() {
            self.fill(&shared.name);
        }
        let shared = Arc::new(shared);
        self.by_content.insert(Arc::clone(&shared));
        self.by_name.insert(shared.name.clone(), shared);
    }

    /// Removes a file; whether it was there.
    pub fn remove(&mut self, name: &SharedName) -> bool {
        let Some(shared) = self.by_name.remove(name) else { return false };
        self.bytes = self.bytes.saturating_sub(shared.stamp.size);
        self.by_content.remove(&shared);
        true
    }

    /// No folder on the way to a file is empty.
    fn fill(&mut self, file: &SharedName) {
        let name = file.as_str();
        let ends = name.match_indices('/').map(|(end, _)| end).chain([name.len()]);
        for folder in ends.filter_map(|end| name.get(..end)) {
            self.folders.remove(folder);
        }
    }

    /// Notes whether a file may be executed, if it is known.
    pub fn set_executable(&mut self, name: &SharedName, executable: bool) {
        if let Some(shared) = self.by_name.get_mut(name) {
            *shared = Arc::new(Shared { executable, ..Shared::clone(shared) });
            self.by_content.insert(Arc::clone(shared));
        }
    }

    /// Notes which folders are empty, but for those in which there is a file by
    /// now; whether that is something new.
    pub fn set_folders(&mut self, empty: Vec<SharedName>) -> bool {
        let folders =
            empty.into_iter().filter(|folder| !is_filled(&self.by_name, folder)).collect();
        let is_new = self.folders != folders;
        self.folders = folders;
        is_new
    }

    /// The empty folders, in order of their names.
    pub fn folders(&self) -> impl Iterator<Item = &SharedName> {
        self.folders.iter()
    }

    /// A file with this content, if there is one.
    pub fn find(&self, file: &FileId) -> Option<&Arc<Shared>> {
        self.by_content.get(file).next()
    }

    /// The file with this name.
    pub fn get(&self, name: &SharedName) -> Option<&Arc<Shared>> {
        self.by_name.get(name)
    }

    /// The first `limit` files and empty folders of `spans` behind a name, in
    /// order of their names. Takes time in proportion to `limit`.
    pub fn slice(&self, spans: &[Span], after: Option<&str>, limit: usize) -> Vec<Item> {
        let mut items = Vec::new();
        for bounds in spans.iter().filter_map(|span| span.behind(after)) {
            let mut files = self.by_name.range::<str, _>(bounds).peekable();
            let mut folders = self.folders.range::<str, _>(bounds).peekable();
            while items.len() < limit {
                let folder =
                    folders.next_if(|folder| files.peek().is_none_or(|(file, _)| folder < file));
                let item = match folder {
                    Some(folder) => Some(Item::Folder(folder.clone())),
                    None => files.next().map(|(_, file)| Item::File(Arc::clone(file))),
                };
                let Some(item) = item else { break };
                items.push(item);
            }
        }
        items
    }

    /// All files, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.by_name.values()
    }

    /// Number of files and of their bytes.
    pub fn totals(&self) -> (usize, u64) {
        (self.by_name.len(), self.bytes)
    }

    /// The files that may match, in order of their names. Cheap; whether they do
    /// is for [`select`], which need not hold anyone up.
    pub fn candidates(&self, matcher: &Matcher) -> Vec<Arc<Shared>> {
        match matcher {
            Matcher::Exact(name) => self.by_name.get(name).cloned().into_iter().collect(),
            Matcher::Content(file) => self.by_content.get(file).cloned().collect(),
            Matcher::Part(_) | Matcher::Glob(_) => self.by_name.values().cloned().collect(),
        }
    }

    /// What a look at the disk asks for; it lists the files in order of their
    /// names.
    pub fn compare(&self, on_disk: &[Listed]) -> Differences {
        let mut differences = Differences::default();
        let mut known = self.by_name.values().peekable();
        for listed in on_disk {
            while let Some(gone) = known.next_if(|known| known.name < listed.name) {
                differences.forget.push(gone.name.clone());
            }
            match known.next_if(|known| known.name == listed.name) {
                Some(same) if same.stamp == listed.stamp => {
                    if same.executable != listed.executable {
                        differences.modes.push((same.name.clone(), listed.executable));
                    }
                }
                // A changed file is forgotten at once: what others were told of
                // it is no longer true, even before the new content is hashed.
                Some(changed) => {
                    differences.forget.push(changed.name.clone());
                    differences.hash.push(listed.clone());
                }
                None => differences.hash.push(listed.clone()),
            }
        }
        differences.forget.extend(known.map(|gone| gone.name.clone()));
        differences
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
            executable: false,
            manifest: Arc::new(builder.finish().unwrap()),
        }
    }

    fn listed(shared: &Shared) -> Listed {
        Listed { name: shared.name.clone(), stamp: shared.stamp, executable: shared.executable }
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
        let tool = Listed { executable: true, ..listed(&kept) };
        let differences = index.compare(&[listed(&touched), tool, listed(&new)]);
        assert_eq!(differences.forget, [changed.name, gone.name]);
        assert_eq!(differences.hash, [listed(&touched), listed(&new)]);
        assert_eq!(differences.modes, [(kept.name.clone(), true)]);
        index.set_executable(&kept.name, true);
        assert!(index.get(&kept.name).unwrap().executable);
        assert!(index.find(&FileId::of(b"k")).unwrap().executable);
    }

    #[test]
    fn a_folder_with_a_file_in_it_is_not_empty() {
        let names = |names: &[&str]| -> Vec<SharedName> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let mut index = Index::default();
        index.insert(shared("full/x", "x", 1));
        index.insert(shared("file", "x", 1));
        // As they were seen before the files came.
        assert!(index.set_folders(names(&["a", "a b", "a/b", "file", "full"])));
        assert!(!index.set_folders(names(&["a", "a b", "a/b"])));
        assert_eq!(index.folders().cloned().collect::<Vec<_>>(), names(&["a", "a b", "a/b"]));
        index.insert(shared("a/b/c", "x", 1));
        assert_eq!(index.folders().cloned().collect::<Vec<_>>(), names(&["a b"]));
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
        fn names_and_contents_agree(events in proptest::collection::vec((0..3u8, 0..5u8, 0..3u8), 0..40)) {
            let mut index = Index::default();
            for (what, name, content) in events {
                let shared = shared(&format!("n{name}"), &format!("c{content}"), 0);
                match what {
                    0 => index.insert(shared),
                    1 => index.set_executable(&shared.name, content == 0),
                    _ => { index.remove(&shared.name); }
                }
                let mut names = Vec::new();
                for (file, files) in index.by_content.iter() {
                    prop_assert!(!files.is_empty());
                    for shared in files {
                        prop_assert_eq!(shared.manifest.file(), *file);
                        prop_assert!(Arc::ptr_eq(shared, &index.by_name[&shared.name]));
                        names.push(&shared.name);
                    }
                }
                names.sort();
                prop_assert!(names.into_iter().eq(index.by_name.keys()));
                let bytes: u64 = index.iter().map(|shared| shared.stamp.size).sum();
                prop_assert_eq!(index.totals(), (index.by_name.len(), bytes));
            }
        }
    }
}
