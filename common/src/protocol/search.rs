//! Between a node and the search port of another.

use serde::{Deserialize, Serialize};

use crate::content::{ChunkSet, FileId};
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
    /// A page of what is here: files, and folders without any file in them.
    /// Answered with [`SearchReply::Entries`].
    List {
        /// A folder, or a glob over whole names; see [`Tree`].
        tree: Tree,
        /// Only what comes behind this name, in the order of names; from the
        /// front without it.
        after: Option<String>,
    },
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// A part of a node's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tree {
    /// This folder with all that is below it.
    Folder(SharedName),
    /// Files whose name matches this glob, as in [`Pattern::Glob`].
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
        /// At most [`MAX_ENTRIES`](crate::limits::MAX_ENTRIES), in order of
        /// their names.
        entries: Vec<Entry>,
        /// Whether there are more behind the last of them.
        more: bool,
    },
    /// The request is refused.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}

/// A file, or a folder without any file below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name at that owner.
    pub name: SharedName,
    /// What it is, if it is a file.
    pub file: Option<FileEntry>,
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
    use crate::limits::{MAX_MATCHES, MAX_NAME, MAX_SEARCH_FRAME};
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
        for name in ["ab'../../../x", "a8'/etc/pwd", "a2'\u{0}a"] {
            let request = parse(&format!("82 a4'type a6'search a7'pattern 81 a5'exact {name}"));
            assert!(rmp_serde::from_slice::<SearchRequest>(&request).is_err());
            let reply = parse(&format!(
                "83 a4'type a7'matches a7'matches 91 83 a4'name {name} a4'size 01 a4'file {ID} a4'more c2"
            ));
            assert!(rmp_serde::from_slice::<SearchReply>(&reply).is_err());
        }
    }
}
