//! What the office of tracker sees of the node around it.

use std::net::SocketAddr;

use shoal_common::ident::Peer;
use shoal_tracker::office::Surroundings;
use shoal_tracker::succession::Met;

use super::handle::Membership;
use crate::notice::Notices;

pub(super) struct Around {
    pub(super) membership: Membership,
    pub(super) notices: Notices,
}

impl Surroundings for Around {
    fn peers(&self) -> Vec<Peer> {
        let mut peers = self.membership.roster().peers();
        peers.extend(self.membership.own());
        peers
    }

    fn some(&self, whom: Met, count: usize) -> Vec<SocketAddr> {
        match whom {
            Met::Anyone => self.membership.some(count),
            Met::Strangers => self.membership.strangers(count),
        }
    }

    fn say(&self, line: &str) {
        self.notices.say(line);
    }
}
