//! What downloads need of the rest of the node.

use std::future::Future;
use std::pin::Pin;

use shoal_common::content::FileId;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::party::Party;
use shoal_common::protocol::search::Tree;
use shoal_common::task::Tasks;
use tokio::sync::watch;

use super::fellows::Fellows;
use super::rate::Throttle;
use crate::catalog::Catalog;
use crate::catalog::found::{Listing, Source};
use crate::notice::Notices;
use crate::volume::Volume;

/// Something that the network will say.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What downloads ask the network.
pub trait Network: Send + Sync {
    /// Who has a content of this size now: everyone but this node.
    fn seek(&self, file: FileId, size: u64) -> Answer<Vec<Source>>;

    /// What the others have of a tree.
    fn list(&self, tree: Tree) -> Answer<Listing>;

    /// Where a node is that is here now.
    fn peer(&self, id: NodeId) -> Option<Peer>;

    /// Changes whenever peers come or go.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What downloads need of the rest of the node.
pub struct Environment {
    /// Where files are written.
    pub volume: Volume,
    /// What is here, and is told of what came.
    pub catalog: Catalog,
    /// Where the person is told.
    pub notices: Notices,
    /// How this node greets.
    pub us: Party,
    /// Who else is here, and what they have.
    pub network: Box<dyn Network>,
    /// Who fetches what from this node.
    pub fellows: Fellows,
    /// What all downloads together may receive.
    pub down: Throttle,
    /// Tasks of a runtime that may be kept busy by disk and hash.
    pub tasks: Tasks,
}
