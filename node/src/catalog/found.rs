//! What a look into the network's files brings.

use serde::{Deserialize, Serialize};
use shoal_common::content::FileId;
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
    /// Peers that did not answer in time, or not sensibly.
    pub silent: Vec<NodeName>,
    /// Whether a peer had more matches than it may tell.
    pub more: bool,
}
