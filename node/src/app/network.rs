//! What downloads ask the network: everyone whom the tracker knows.

use shoal_common::content::FileId;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::party::Party;
use shoal_common::protocol::search::Tree;
use tokio::sync::watch;

use crate::catalog::ask::{list, owners};
use crate::catalog::found::{Listing, Source};
use crate::catalog::serve::Acquaintance;
use crate::membership::Membership;
use crate::transfer::{Answer, Network};

/// All peers, asked by this node.
pub(super) struct Everyone {
    pub(super) membership: Membership,
    pub(super) us: Party,
}

impl Acquaintance for Membership {
    fn us(&self) -> Option<Peer> {
        Self::us(self)
    }

    fn on_the_way(&self, upto: NodeId) -> Vec<Peer> {
        self.behind_us(upto)
    }
}

impl Network for Everyone {
    fn seek(&self, file: FileId, size: u64) -> Answer<Vec<Source>> {
        let (peers, us) = (self.membership.peers(), self.us.clone());
        Box::pin(async move { owners(peers, &us, file, size).await })
    }

    fn list(&self, tree: Tree) -> Answer<Listing> {
        let (peers, us) = (self.membership.peers(), self.us.clone());
        // Who typed the tree was told what is wrong with it.
        Box::pin(async move { list(peers, &us, &tree).await.unwrap_or_default() })
    }

    fn peer(&self, id: NodeId) -> Option<Peer> {
        self.membership.peer(id)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.membership.changes()
    }
}
