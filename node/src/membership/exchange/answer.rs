//! The answering side, at the search port.

use std::net::IpAddr;

use shoal_common::connection::ConnectionError;
use shoal_common::limits::{MAX_NODES, MAX_PEERS, MAX_PEERS_FRAME, REPLY_DEADLINE};
use shoal_common::protocol::peers::{PeersReply, PeersRequest};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::serve::Guest;
use tokio::time::Instant;
use tracing::debug;

use super::handle::Exchange;

/// Most requests on one connection: all pages of the largest list each way, and
/// a hello. Whoever wants more is hung up.
const MAX_REQUESTS: usize = 2 * MAX_NODES.div_ceil(MAX_PEERS) + 8;

/// Answers one guest until it hangs up or has asked enough.
///
/// # Errors
/// The conversation broke; see [`ConnectionError`].
pub async fn answer(mut guest: Guest, us: Exchange) -> Result<(), ConnectionError> {
    let local = guest.connection.stream().local_addr()?.ip();
    for _ in 0..MAX_REQUESTS {
        let request = guest.connection.receive(MAX_PEERS_FRAME, REPLY_DEADLINE).await;
        let (reply, broken) = match request {
            Ok(request) => (us.reply(&guest, local, request), None),
            Err(error @ ConnectionError::Malformed(_)) => {
                (PeersReply::Refused { refusal: Refusal::Malformed }, Some(error))
            }
            Err(error) => return Err(error),
        };
        guest.connection.send(&reply, MAX_PEERS_FRAME).await?;
        if let Some(error) = broken {
            return Err(error);
        }
    }
    Ok(())
}

impl Exchange {
    fn reply(&self, guest: &Guest, local: IpAddr, request: PeersRequest) -> PeersReply {
        let refused = |refusal| PeersReply::Refused { refusal };
        if self.has_left() {
            return refused(Refusal::Busy);
        }
        let (now, heard) = (Instant::now(), guest.connection.heard());
        match request {
            PeersRequest::Hello { us: them } => {
                // Nobody can speak for others.
                let itself = them.peer.id == guest.hello.node;
                if !itself || !self.change(|machine| machine.met(them, heard, now)) {
                    debug!("refused: a hello that can't be true");
                    return refused(Refusal::NotAllowed);
                }
                PeersReply::Welcome { us: self.known_at(local) }
            }
            PeersRequest::GetPeers { digests, after } => self.look(|machine| {
                let table = machine.table();
                let Some(differ) = table.compare(&digests) else {
                    return refused(Refusal::Malformed);
                };
                let (peers, more) = table.page(&differ, after, now);
                let differ = if after.is_none() { differ.numbers() } else { Vec::new() };
                PeersReply::PeerList { peers, more, differ }
            }),
            PeersRequest::PeerList { peers } => {
                if peers.len() > MAX_PEERS {
                    return refused(Refusal::NotAllowed);
                }
                self.change(|machine| machine.heard(peers, now));
                PeersReply::Done
            }
            PeersRequest::Bye => {
                self.change(|machine| machine.goodbye(guest.hello.node, heard, now));
                PeersReply::Done
            }
            PeersRequest::Unknown => refused(Refusal::Unsupported),
        }
    }
}
