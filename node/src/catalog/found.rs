//! What a look into the network's files brings.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_common::content::{ChunkSet, FileId};
use shoal_common::ident::{NodeName, Peer};
use shoal_common::name::SharedName;

/// A file that this node shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its name.
    pub name: SharedName,
    /// Its size in bytes.
    pub size: u64,
    /// Its content.
    pub id: FileId,
}

/// One content that others have, under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its name at these owners.
    pub name: SharedName,
    /// Its size in bytes.
    pub size: u64,
    /// The content.
    pub id: FileId,
    /// Who has it under this name, by name of the node.
    pub owners: Vec<Peer>,
}

/// The answers of all peers, grouped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// By name; of one name, the content with more owners first.
    pub found: Vec<Found>,
    /// Peers that did not answer in time, or not sensibly; in a large network not
    /// all of them.
    pub silent: Vec<NodeName>,
    /// How many did not, those in `silent` among them.
    #[serde(default)]
    pub missing: u64,
    /// Whether a peer had more matches than it may tell.
    pub more: bool,
}

/// How far a node is with getting to know its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indexing {
    /// Files whose content is known by now.
    pub files: u64,
    /// Files that were to be read.
    pub files_total: u64,
    /// Bytes that are read by now.
    pub bytes: u64,
    /// Bytes that were to be read.
    pub bytes_total: u64,
    /// Bytes a second, lately.
    pub rate: u64,
}

/// A node that has a content, or some of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Who has it.
    pub peer: Peer,
    /// Which chunks of it, if not all: it is fetching it.
    pub chunks: Option<ChunkSet>,
}

/// A tree as it is at all peers together.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Files in order of their names, each name once: with the content that most
    /// peers have there, of equally many the one with the lower id.
    pub entries: Vec<ListedFile>,
    /// The other contents of names that have several, in the same order.
    pub others: Vec<ListedFile>,
    /// Empty folders that no peer has a file in, in order of their names.
    pub folders: Vec<SharedName>,
    /// Who was asked.
    pub peers: Vec<Peer>,
    /// Number of names with several contents.
    pub differing: usize,
    /// Peers that did not answer in time, or not sensibly, or not to the end.
    pub silent: Vec<NodeName>,
    /// Whether there is more than may be listed.
    pub more: bool,
}

impl Listing {
    /// Who has a listed file, at most [`MOST_OWNERS`](super::MOST_OWNERS) of
    /// them, in the order of `peers`.
    pub fn owners<'a>(&'a self, file: &'a ListedFile) -> impl Iterator<Item = &'a Peer> {
        let positions = file.owners.0.iter();
        positions.filter_map(|&position| self.peers.get(usize::from(position)))
    }

    /// Number of bytes of all `entries`.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().fold(0, |bytes, file| bytes.saturating_add(file.size))
    }
}

/// One content that peers have under one name of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its name at its first owner.
    pub name: SharedName,
    /// The content.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// Whether its first owner may execute it.
    pub executable: bool,
    /// Who has it: see [`Listing::owners`]. Two that are equal are the same.
    pub owners: Owners,
}

/// Some of the peers of a [`Listing`], by their positions in it. Files with the
/// same owners share one, so that a hundred thousand of them take little
/// memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owners(pub(super) Arc<[u16]>);

impl Owners {
    /// The positions, in order.
    pub fn positions(&self) -> &[u16] {
        &self.0
    }

    /// The positions, in order, shared as they are.
    pub fn into_positions(self) -> Arc<[u16]> {
        self.0
    }
}
