//! What downloads need of the rest of the node.

use std::future::Future;
use std::pin::Pin;

use shoal_common::content::FileId;
use shoal_common::ident::Peer;
use shoal_common::protocol::greeting::Hello;
use shoal_common::task::Tasks;
use tokio::sync::watch;

use super::rate::Throttle;
use crate::catalog::Catalog;
use crate::notice::Notices;
use crate::volume::Volume;

/// Who has a content now, as the network says.
pub type Seek =
    Box<dyn Fn(FileId) -> Pin<Box<dyn Future<Output = Vec<Peer>> + Send>> + Send + Sync>;

/// What downloads need of the rest of the node.
pub struct Environment {
    /// Where files are written.
    pub volume: Volume,
    /// What is here, and is told of what came.
    pub catalog: Catalog,
    /// Where the person is told.
    pub notices: Notices,
    /// How this node greets.
    pub us: Hello,
    /// Who has a content now: everyone but this node.
    pub seek: Seek,
    /// How fast all downloads together may be.
    pub down: Throttle,
    /// Changes whenever peers come or go.
    pub network: watch::Receiver<u64>,
    /// Tasks of a runtime that may be kept busy by disk and hash.
    pub tasks: Tasks,
}
