//! Between a node and the search port of another.

use serde::{Deserialize, Serialize};

use crate::content::{ChunkSet, FileId};
use crate::ident::{NodeId, NodeName, Peer};
use crate::limits::MAX_SEARCH_FRAME;
use crate::name::SharedName;
use crate::protocol::refusal::Refusal;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SearchRequest {
    /// Which of your files match?
    Search {
        /// What to look for.
        pattern: Pattern,
    },
    /// A page of what is here of a tree. Answered with
    /// [`SearchReply::Entries`].
    List {
        /// Which files and folders.
        tree: Tree,
        /// Only what comes behind this name, in the order of names; from the
        /// front without it.
        after: Option<SharedName>,
    },
    /// A search that is to be passed on. Answered with [`SearchReply::Gathered`]: a
    /// node that passes on as many as it may answers for itself alone, and one that
    /// does not know yet as whom others know it refuses.
    Gather(Gather),
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// Which files match, of yours and of all whose ids lie behind yours and before
/// another's? Behind the greatest id comes the least.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gather {
    /// What to look for.
    pub pattern: Pattern,
    /// Where the part ends that is to be asked; not included.
    pub upto: NodeId,
    /// Within how many milliseconds the answer must come, whoever is missing.
    pub patience_ms: u32,
    /// How often it may be passed on still; at most
    /// [`MAX_HOPS`](crate::limits::MAX_HOPS).
    pub hops: u8,
}

/// A part of a node's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tree {
    /// All files below this folder, and the folders at or below it that are
    /// empty.
    Folder(SharedName),
    /// Files whose name, or its last component, matches this glob, as in
    /// [`Pattern::Glob`].
    Glob(String),
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// The file with exactly this name.
    Exact(SharedName),
    /// Files whose name contains this text, whatever its case. At most
    /// [`MAX_PATTERN`](crate::limits::MAX_PATTERN) bytes.
    Part(String),
    /// Files whose name, or its last component, matches this glob (`*`, `?`,
    /// `[a-z]`, `{one,two}`). At most
    /// [`MAX_PATTERN`](crate::limits::MAX_PATTERN) bytes.
    Glob(String),
    /// Files with this content, whatever their name.
    Content(FileId),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SearchReply {
    /// The files that match.
    Matches {
        /// At most [`MAX_MATCHES`](crate::limits::MAX_MATCHES), in order of
        /// their names.
        matches: Vec<Match>,
        /// Whether there were more.
        more: bool,
    },
    /// A page of a listing.
    Entries {
        /// In order of their names; at most
        /// [`MAX_ENTRIES`](crate::limits::MAX_ENTRIES), and at least
        /// [`MIN_ENTRIES`](crate::limits::MIN_ENTRIES) if there are more.
        entries: Vec<Entry>,
        /// Whether there are more behind the last of them.
        more: bool,
    },
    /// What a search that was passed on has brought.
    Gathered(Gathered),
    /// The request is refused.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}

/// The answers of several nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    /// Of those who have something: at most
    /// [`MAX_MATCHES`](crate::limits::MAX_MATCHES) matches in all. Each node once.
    pub answers: Vec<Answer>,
    /// How many have answered, with something or nothing.
    pub asked: u64,
    /// How many have not, and are known.
    pub missing: u64,
    /// Some of these: at most [`MAX_SILENT`](crate::limits::MAX_SILENT).
    pub silent: Vec<NodeName>,
    /// Whether there were more matches.
    pub more: bool,
}

/// What one node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Who.
    pub peer: Peer,
    /// Its files that match; at least one.
    pub matches: Vec<Match>,
}

/// A file, or a folder with nothing in it that is shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name at that owner.
    pub name: SharedName,
    /// What it is, if it is a file.
    pub file: Option<FileEntry>,
}

impl Entry {
    /// Most bytes that it takes in a reply: its name, and the rest in no more
    /// than 96 bytes. A page may take up to [`Entry::ROOM`] of them.
    pub fn bytes(&self) -> usize {
        self.name.as_str().len() + 96
    }

    /// Bytes for the entries of one page: a frame, and what is around them in no
    /// more than 128 bytes.
    pub const ROOM: usize = MAX_SEARCH_FRAME - 128;
}

/// What there is to know of a file before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its content.
    pub id: FileId,
    /// Its size, in bytes.
    pub size: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

/// A file that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Its name at that owner.
    pub name: SharedName,
    /// Its size, in bytes.
    pub size: u64,
    /// Its content.
    pub file: FileId,
    /// Which chunks of it are here, if not all of them: the node is fetching it.
    /// Only said to who asks for a [`Pattern::Content`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunkSet>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{
        MAX_DEPTH, MAX_ENTRIES, MAX_GATHER_FRAME, MAX_MATCHES, MAX_NAME, MAX_SILENT, MIN_ENTRIES,
    };
    use crate::protocol::golden::{golden, parse};

    const ID: &str = "c420 0909090909090909 0909090909090909 0909090909090909 0909090909090909";

    fn ask(pattern: Pattern) -> SearchRequest {
        SearchRequest::Search { pattern }
    }

    #[test]
    fn wire() {
        let search = "82 a4'type a6'search a7'pattern 81";
        golden(&ask(Pattern::Exact("a/b".parse().unwrap())), &format!("{search} a5'exact a3'a/b"));
        golden(&ask(Pattern::Part("b".into())), &format!("{search} a4'part a1'b"));
        golden(&ask(Pattern::Glob("*.txt".into())), &format!("{search} a4'glob a5'*.txt"));
        let file = FileId::from_bytes([9; 32]);
        golden(&ask(Pattern::Content(file)), &format!("{search} a7'content {ID}"));
        golden(
            &SearchReply::Matches {
                matches: vec![Match {
                    name: "a".parse().unwrap(),
                    size: 1 << 32,
                    file,
                    chunks: None,
                }],
                more: false,
            },
            &format!(
                "83 a4'type a7'matches a7'matches 91 83 a4'name a1'a \
                 a4'size cf0000000100000000 a4'file {ID} a4'more c2"
            ),
        );
        golden(
            &SearchReply::Refused { refusal: Refusal::Malformed },
            "82 a4'type a7'refused a7'refusal a9'malformed",
        );
    }

    fn answer(name: &str) -> Answer {
        let id = NodeId::from_bytes([9; 32]);
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let peer = Peer {
            id,
            name: "x".repeat(63).parse().unwrap(),
            search: longest,
            download: longest,
            joined: u64::MAX,
        };
        let file = FileId::from_bytes([9; 32]);
        let found = Match { name: name.parse().unwrap(), size: u64::MAX, file, chunks: None };
        Answer { peer, matches: vec![found] }
    }

    #[test]
    fn wire_of_searches_that_are_passed_on() {
        let gather = Gather {
            pattern: Pattern::Part("b".into()),
            upto: NodeId::from_bytes([9; 32]),
            patience_ms: 800,
            hops: 6,
        };
        golden(
            &SearchRequest::Gather(gather),
            &format!(
                "85 a4'type a6'gather a7'pattern 81 a4'part a1'b a4'upto {ID} \
                 ab'patience_ms cd0320 a4'hops 06"
            ),
        );
        let mut has = answer("a");
        has.peer.name = "n".parse().unwrap();
        has.peer.search = "127.0.0.1:80".parse().unwrap();
        has.peer.download = "127.0.0.1:81".parse().unwrap();
        has.peer.joined = 0;
        has.matches[0].size = 1;
        golden(
            &SearchReply::Gathered(Gathered {
                answers: vec![has],
                asked: 9,
                missing: 1,
                silent: vec!["m".parse().unwrap()],
                more: false,
            }),
            &format!(
                "86 a4'type a8'gathered a7'answers 91 82 a4'peer 84 a2'id {ID} a4'name a1'n \
                 a6'search ac'127.0.0.1:80 a8'download ac'127.0.0.1:81 \
                 a7'matches 91 83 a4'name a1'a a4'size 01 a4'file {ID} \
                 a5'asked 09 a7'missing 01 a6'silent 91 a1'm a4'more c2"
            ),
        );
    }

    #[test]
    fn the_longest_gathered_answer_fits_into_its_frame() {
        let name = vec!["x".repeat(204); 5].join("/");
        let gathered = Gathered {
            answers: vec![answer(&name); MAX_MATCHES],
            asked: u64::MAX,
            missing: u64::MAX,
            silent: vec!["x".repeat(63).parse().unwrap(); MAX_SILENT],
            more: true,
        };
        let reply = SearchReply::Gathered(gathered);
        assert!(rmp_serde::to_vec_named(&reply).unwrap().len() <= MAX_GATHER_FRAME);
    }

    #[test]
    fn wire_of_listings() {
        let file = FileId::from_bytes([9; 32]);
        let list = |tree, after: Option<&str>| SearchRequest::List {
            tree,
            after: after.map(|name| name.parse().unwrap()),
        };
        golden(
            &list(Tree::Folder("a/b".parse().unwrap()), None),
            "83 a4'type a4'list a4'tree 81 a6'folder a3'a/b a5'after c0",
        );
        golden(
            &list(Tree::Glob("*.txt".into()), Some("a")),
            "83 a4'type a4'list a4'tree 81 a4'glob a5'*.txt a5'after a1'a",
        );
        let entry = FileEntry { id: file, size: 5, executable: true };
        golden(
            &SearchReply::Entries {
                entries: vec![
                    Entry { name: "a".parse().unwrap(), file: None },
                    Entry { name: "b".parse().unwrap(), file: Some(entry) },
                ],
                more: true,
            },
            &format!(
                "83 a4'type a7'entries a7'entries 92 82 a4'name a1'a a4'file c0 \
                 82 a4'name a1'b a4'file 83 a2'id {ID} a4'size 05 aa'executable c3 a4'more c3"
            ),
        );
        golden(
            &SearchReply::Matches {
                matches: vec![Match {
                    name: "a".parse().unwrap(),
                    size: 1,
                    file,
                    chunks: Some([1].into_iter().collect()),
                }],
                more: false,
            },
            &format!(
                "83 a4'type a7'matches a7'matches 91 84 a4'name a1'a \
                 a4'size 01 a4'file {ID} a6'chunks c401 02 a4'more c2"
            ),
        );
    }

    #[test]
    fn a_full_page_fits_into_its_frame() {
        let file = FileEntry { id: FileId::from_bytes([9; 32]), size: u64::MAX, executable: true };
        let long = vec!["x".repeat(204); 5].join("/");
        for name in ["x", "a name of usual length.txt", &long] {
            let entry = Entry { name: name.parse().unwrap(), file: Some(file) };
            let fit = (Entry::ROOM / entry.bytes()).min(MAX_ENTRIES);
            assert!(fit >= MIN_ENTRIES, "{fit} of {} bytes", name.len());
            let reply = SearchReply::Entries { entries: vec![entry; fit], more: true };
            assert!(rmp_serde::to_vec_named(&reply).unwrap().len() <= MAX_SEARCH_FRAME);
        }
    }

    #[test]
    fn the_longest_answer_fits_into_its_frame() {
        let name = vec!["x".repeat(204); 5].join("/");
        assert_eq!(name.len(), MAX_NAME);
        let file = FileId::from_bytes([9; 32]);
        let found = Match { name: name.parse().unwrap(), size: u64::MAX, file, chunks: None };
        let reply = SearchReply::Matches { matches: vec![found; MAX_MATCHES], more: true };
        assert!(rmp_serde::to_vec_named(&reply).unwrap().len() <= MAX_SEARCH_FRAME);
    }

    #[test]
    fn a_name_that_leaves_its_folder_is_refused_on_arrival() {
        let deep = format!("d9{:02x}'{}", 2 * MAX_DEPTH + 1, vec!["a"; MAX_DEPTH + 1].join("/"));
        for name in ["ab'../../../x", "a8'/etc/pwd", "a2'\u{0}a", "a4'a/.b", &deep] {
            let request = parse(&format!("82 a4'type a6'search a7'pattern 81 a5'exact {name}"));
            assert!(rmp_serde::from_slice::<SearchRequest>(&request).is_err());
            let reply = parse(&format!(
                "83 a4'type a7'matches a7'matches 91 83 a4'name {name} a4'size 01 a4'file {ID} a4'more c2"
            ));
            assert!(rmp_serde::from_slice::<SearchReply>(&reply).is_err());
            let list =
                parse(&format!("83 a4'type a4'list a4'tree 81 a6'folder {name} a5'after c0"));
            assert!(rmp_serde::from_slice::<SearchRequest>(&list).is_err());
            let page = parse(&format!(
                "83 a4'type a7'entries a7'entries 91 82 a4'name {name} a4'file c0 a4'more c2"
            ));
            assert!(rmp_serde::from_slice::<SearchReply>(&page).is_err());
        }
    }
}
