//! Listings of several peers, made one. Pure.
//!
//! Names are one if they are equal in Unicode's normal form C: a person can't
//! tell them apart, and a file system may take them for one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use shoal_common::content::FileId;
use shoal_common::ident::Peer;
use shoal_common::limits::{MAX_OWNERS, MAX_TREE, MAX_TREE_MEMORY};
use shoal_common::name::SharedName;
use shoal_common::protocol::search::{Entry, FileEntry};

use super::found::{ListedFile, Listing, Owners};
use super::pattern::normal;
use super::tree::is_filled;

/// Most owners that are kept of a listed file. A download fetches from half as
/// many at once, and looks for others when it needs them.
pub const MOST_OWNERS: usize = 2 * MAX_OWNERS;

/// What an entry takes in memory beside its name, in bytes: a content, its owners,
/// its place in the map.
const ENTRY: usize = 160;

/// What has been listed so far.
#[derive(Debug)]
pub(super) struct Merge {
    /// By name in normal form.
    files: BTreeMap<SharedName, Vec<Content>>,
    folders: BTreeSet<SharedName>,
    /// Bytes of memory that are left for more of them.
    room: usize,
    more: bool,
}

impl Default for Merge {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            room: MAX_TREE_MEMORY,
            more: false,
        }
    }
}

/// One content under one name.
#[derive(Debug)]
struct Content {
    id: FileId,
    /// Part of what tells contents apart: who lies about it stays alone.
    size: u64,
    /// How many have it.
    count: usize,
    /// Some of them, by position.
    owners: Vec<u16>,
    /// The first of all of them, what it says of the file, and its name there
    /// if that is another form.
    first: u16,
    executable: bool,
    name: Option<SharedName>,
}

impl Merge {
    /// Adds what the peer at this position listed.
    pub(super) fn add(&mut self, peer: u16, entries: Vec<Entry>) {
        for Entry { name, file } in entries {
            let key = normal_name(&name);
            let bytes = key.as_str().len() + ENTRY;
            let fits = bytes <= self.room || self.knows(&key, file.as_ref());
            let is_new = match file {
                _ if !fits || !self.has_room_for(&key) => {
                    self.more = true;
                    false
                }
                Some(file) => {
                    let written = (key != name).then_some(name);
                    add_owner(self.files.entry(key).or_default(), peer, file, written)
                }
                None => self.folders.insert(key),
            };
            self.room -= if is_new { bytes } else { 0 };
        }
    }

    fn knows(&self, name: &SharedName, file: Option<&FileEntry>) -> bool {
        let Some(file) = file else { return self.folders.contains(name) };
        let same = |known: &Content| (known.id, known.size) == (file.id, file.size);
        self.files.get(name).is_some_and(|contents| contents.iter().any(same))
    }

    fn has_room_for(&self, name: &SharedName) -> bool {
        self.files.len() + self.folders.len() < MAX_TREE || self.files.contains_key(name)
    }

    /// The listing; `silent` and `more` of the peers are the caller's to add.
    pub(super) fn finish(self, peers: Vec<Peer>) -> Listing {
        let mut listing = Listing { peers, more: self.more, ..Listing::default() };
        listing.folders =
            self.folders.into_iter().filter(|folder| !is_filled(&self.files, folder)).collect();
        let mut sets = Sets::default();
        for (name, mut contents) in self.files {
            contents.sort_unstable_by(|a, b| b.count.cmp(&a.count).then(a.id.cmp(&b.id)));
            listing.differing += usize::from(contents.len() > 1);
            let mut contents = contents.into_iter().map(|content| content.listed(&name, &mut sets));
            listing.entries.extend(contents.next());
            listing.others.extend(contents);
        }
        listing
    }
}

fn normal_name(name: &SharedName) -> SharedName {
    // A few characters take more bytes in normal form, which may be too many.
    normal(name.as_str()).parse().unwrap_or_else(|_| name.clone())
}

/// Adds one who has a content; whether the content is a new one.
fn add_owner(
    contents: &mut Vec<Content>,
    peer: u16,
    file: FileEntry,
    written: Option<SharedName>,
) -> bool {
    let FileEntry { id, size, executable } = file;
    let known = contents.iter_mut().find(|known| (known.id, known.size) == (id, size));
    let Some(known) = known else {
        let owners = vec![peer];
        let new = Content { id, size, count: 1, owners, first: peer, executable, name: written };
        contents.push(new);
        return true;
    };
    // A peer lists in order, so that two forms of one name may both be its own.
    if known.owners.contains(&peer) {
        return false;
    }
    known.count += 1;
    if known.owners.len() < MOST_OWNERS {
        known.owners.push(peer);
    }
    if peer < known.first {
        (known.first, known.executable, known.name) = (peer, executable, written);
    }
    false
}

impl Content {
    fn listed(mut self, key: &SharedName, sets: &mut Sets) -> ListedFile {
        self.owners.sort_unstable();
        ListedFile {
            name: self.name.unwrap_or_else(|| key.clone()),
            id: self.id,
            size: self.size,
            executable: self.executable,
            owners: sets.shared(&self.owners),
        }
    }
}

/// Sets of owners, each kept once.
#[derive(Debug, Default)]
struct Sets(HashSet<Owners>);

impl Sets {
    fn shared(&mut self, owners: &[u16]) -> Owners {
        let wanted = Owners(Arc::from(owners));
        if let Some(known) = self.0.get(&wanted) {
            return known.clone();
        }
        self.0.insert(wanted.clone());
        wanted
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::ident::NodeId;

    use super::*;

    fn peers(names: &[&str]) -> Vec<Peer> {
        let at = "127.0.0.1:9".parse().unwrap();
        let peer = |name: &&str| Peer {
            id: NodeId::random(),
            name: name.parse().unwrap(),
            search: at,
            download: at,
            joined: 0,
        };
        names.iter().map(peer).collect()
    }

    fn file(name: &str, content: &str, executable: bool) -> Entry {
        let (id, size) = (FileId::of(content.as_bytes()), content.len() as u64);
        Entry { name: name.parse().unwrap(), file: Some(FileEntry { id, size, executable }) }
    }

    fn folder(name: &str) -> Entry {
        Entry { name: name.parse().unwrap(), file: None }
    }

    fn shape(listing: &Listing, files: &[ListedFile]) -> Vec<(String, FileId, Vec<String>)> {
        let owners = |file| listing.owners(file).map(|peer| peer.name.to_string()).collect();
        files.iter().map(|file| (file.name.to_string(), file.id, owners(file))).collect()
    }

    fn expected(files: &[(&str, &str, &[&str])]) -> Vec<(String, FileId, Vec<String>)> {
        let owners = |owners: &[&str]| owners.iter().map(|&owner| owner.to_owned()).collect();
        let file = |&(name, content, by): &(&str, &str, &[&str])| {
            (name.to_owned(), FileId::of(content.as_bytes()), owners(by))
        };
        files.iter().map(file).collect()
    }

    #[test]
    fn the_common_content_comes_first_and_the_first_owner_says_how() {
        let mut merge = Merge::default();
        merge.add(2, vec![file("t/a", "a", false), file("t/b", "old", true)]);
        merge.add(1, vec![file("t/a", "a", true), file("t/b", "new", false)]);
        merge.add(0, vec![file("t/b", "new", true), file("t/c", "a", false)]);
        let listing = merge.finish(peers(&["x", "y", "z"]));
        let files: [(&str, &str, &[&str]); 3] =
            [("t/a", "a", &["y", "z"]), ("t/b", "new", &["x", "y"]), ("t/c", "a", &["x"])];
        assert_eq!(shape(&listing, &listing.entries), expected(&files));
        assert_eq!(shape(&listing, &listing.others), expected(&[("t/b", "old", &["z"])]));
        let executable: Vec<_> = listing.entries.iter().map(|file| file.executable).collect();
        assert_eq!(executable, [true, true, false]);
        assert_eq!((listing.differing, listing.bytes()), (1, 5));
    }

    #[test]
    fn who_lies_about_a_size_is_alone() {
        let mut merge = Merge::default();
        let mut liar = file("a", "content", false);
        liar.file.as_mut().unwrap().size = 1;
        merge.add(0, vec![liar]);
        merge.add(1, vec![file("a", "content", false)]);
        merge.add(2, vec![file("a", "content", false)]);
        let listing = merge.finish(peers(&["x", "y", "z"]));
        assert_eq!(shape(&listing, &listing.entries), expected(&[("a", "content", &["y", "z"])]));
        assert_eq!((listing.differing, listing.others.len()), (1, 1));
    }

    #[test]
    fn a_folder_is_empty_if_nobody_has_a_file_in_it() {
        let mut merge = Merge::default();
        merge.add(0, vec![folder("a"), folder("a b"), folder("b"), folder("c")]);
        merge.add(1, vec![file("a/x/y", "x", false), file("b", "x", false)]);
        let listing = merge.finish(peers(&["x", "y"]));
        let names: Vec<_> = listing.folders.iter().map(|name| name.as_str()).collect();
        assert_eq!(names, ["a b", "c"]);
    }

    #[test]
    fn two_forms_of_a_name_are_one() {
        let (composed, apart) = ("été", "e\u{301}te\u{301}");
        let mut merge = Merge::default();
        merge.add(1, vec![file(composed, "x", false)]);
        merge.add(0, vec![file(apart, "x", false), file(composed, "x", false)]);
        let listing = merge.finish(peers(&["x", "y"]));
        assert_eq!(shape(&listing, &listing.entries), expected(&[(apart, "x", &["x", "y"])]));
    }

    #[test]
    fn equal_owners_are_kept_once_and_not_without_end() {
        let mut merge = Merge::default();
        for peer in 0..u16::try_from(MOST_OWNERS).unwrap() + 10 {
            merge.add(peer, vec![file("a", "a", false), file("b", "b", false)]);
        }
        let listing = merge.finish(Vec::new());
        let [a, b] = &listing.entries[..] else { panic!() };
        assert!(Arc::ptr_eq(&a.owners.0, &b.owners.0));
        assert_eq!(a.owners.positions().len(), MOST_OWNERS);
    }

    #[test]
    fn there_is_room_for_so_much_however_it_is_listed() {
        let room = 3 * (ENTRY + 100);
        let long = |letter: &str| letter.repeat(200);
        let many = || Merge { room, ..Merge::default() };
        let mut merge = many();
        merge.add(0, vec![file(&long("a"), "x", false), file(&long("b"), "x", false)]);
        merge.add(1, vec![file(&long("a"), "x", false)]);
        assert!(!merge.more);
        merge.add(0, vec![folder(&long("c"))]);
        assert!(merge.more, "long names");
        let mut merge = many();
        for peer in 0..5 {
            merge.add(peer, vec![file("a", &peer.to_string(), false)]);
        }
        assert!(merge.more, "another content of each");
        let listing = merge.finish(Vec::new());
        assert!(listing.more && listing.others.len() < 5);
    }
}
