//! The calling side: one conversation with another node.

use std::collections::HashMap;

use shoal_common::call::{CallError, call};
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    MAX_NODES, MAX_PEERS, MAX_PEERS_FRAME, MAX_REQUEST_FRAME, REPLY_DEADLINE,
};
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::peers::{Known, PeersReply, PeersRequest};
use shoal_common::protocol::refusal::Refusal;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::digests::Difference;
use super::handle::Exchange;

/// Why a conversation came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It could not begin.
    #[error(transparent)]
    Call(CallError),
    /// A part of Shoal answers there, but does not know of this conversation.
    #[error("`{address}` is no node's search port; perhaps a download port, or the tracker's")]
    NoSearchPort {
        /// Where.
        address: String,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Connection(#[from] ConnectionError),
    /// The other won't.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Nobody else is there.
    #[error("it is this node itself")]
    Ourselves,
    /// What it said can't be.
    #[error("it answers what makes no sense: {0}")]
    Nonsense(&'static str),
}

impl From<CallError> for AskError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused { address, refusal: Refusal::Unsupported } => {
                Self::NoSearchPort { address }
            }
            error => Self::Call(error),
        }
    }
}

impl AskError {
    /// In words that name the address.
    pub(super) fn at(&self, address: &str) -> String {
        match self {
            Self::Call(_) | Self::NoSearchPort { .. } => self.to_string(),
            _ => format!("`{address}`: {self}"),
        }
    }
}

/// What came of a conversation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// Who answered; this node itself, where it called its own address.
    pub(super) by: NodeId,
    /// Whether one told the other something.
    pub(super) moved: bool,
}

/// Calls a node, makes itself known, asks for what it knows and tells what it
/// does not.
pub(super) async fn converse(address: &str, us: &Exchange) -> Result<Outcome, AskError> {
    let (connection, hello) = call(address, us.party(), Talk::Peers).await?;
    if hello.node == us.party().node {
        return Ok(Outcome { by: hello.node, moved: false });
    }
    let mut conversation = Conversation { connection, us, by: hello.node };
    conversation.introduce().await?;
    let (differ, theirs, news) = conversation.ask().await?;
    let told = conversation.tell(&differ, &theirs).await?;
    Ok(Outcome { by: hello.node, moved: news + told > 0 })
}

/// Calls a node and says goodbye.
pub(super) async fn say_goodbye(address: &str, us: &Exchange) -> Result<(), AskError> {
    let (mut connection, _) = call(address, us.party(), Talk::Peers).await?;
    connection.send(&PeersRequest::Bye, MAX_REQUEST_FRAME).await?;
    match connection.receive(MAX_PEERS_FRAME, REPLY_DEADLINE).await? {
        PeersReply::Done => Ok(()),
        _ => Err(AskError::Nonsense("to a goodbye")),
    }
}

struct Conversation<'a> {
    connection: Connection<TcpStream>,
    us: &'a Exchange,
    by: NodeId,
}

impl Conversation<'_> {
    async fn introduce(&mut self) -> Result<(), AskError> {
        let local = self.connection.stream().local_addr().map_err(ConnectionError::from)?;
        let us = self.us.known_at(local.ip());
        match self.request(&PeersRequest::Hello { us }, MAX_REQUEST_FRAME).await? {
            PeersReply::Welcome { us: them } if them.peer.id == self.by => {
                let heard = self.connection.heard();
                let met = self.us.change(|machine| machine.met(them, heard, Instant::now()));
                if met { Ok(()) } else { Err(AskError::Nonsense("an address where nobody can be")) }
            }
            PeersReply::Welcome { .. } => {
                Err(AskError::Nonsense("another id than it greeted with"))
            }
            _ => Err(AskError::Nonsense("to a hello")),
        }
    }

    /// All that the other knows otherwise, where that is, and how much was news.
    async fn ask(&mut self) -> Result<(Difference, HashMap<NodeId, Known>, usize), AskError> {
        let digests = self.us.look(|machine| machine.table().digests());
        let count = digests.len();
        let (mut theirs, mut news, mut after) = (HashMap::new(), 0, None);
        let mut differ = Difference::told(&[], count);
        loop {
            let request = PeersRequest::GetPeers { digests: digests.clone(), after };
            let PeersReply::PeerList { peers, more, differ: numbers } =
                self.request(&request, MAX_REQUEST_FRAME).await?
            else {
                return Err(AskError::Nonsense("to a question for peers"));
            };
            if after.is_none() {
                differ = Difference::told(&numbers, count);
            }
            check(&peers, more, after, theirs.len())?;
            after = peers.last().map(|known| known.peer.id);
            theirs.extend(peers.iter().map(|known| (known.peer.id, known.clone())));
            news += self.us.change(|machine| machine.heard(peers, Instant::now()));
            if !more {
                return Ok((differ, theirs, news));
            }
        }
    }

    /// Tells what the other does not know; how much.
    async fn tell(
        &mut self,
        differ: &Difference,
        theirs: &HashMap<NodeId, Known>,
    ) -> Result<usize, AskError> {
        let lacking = self.us.look(|machine| machine.lacking(differ, theirs, Instant::now()));
        for page in lacking.chunks(MAX_PEERS) {
            let request = PeersRequest::PeerList { peers: page.to_vec() };
            match self.request(&request, MAX_PEERS_FRAME).await? {
                PeersReply::Done => {}
                _ => return Err(AskError::Nonsense("to a list of peers")),
            }
        }
        Ok(lacking.len())
    }

    async fn request(
        &mut self,
        request: &PeersRequest,
        bound: usize,
    ) -> Result<PeersReply, AskError> {
        self.connection.send(request, bound).await?;
        match self.connection.receive(MAX_PEERS_FRAME, REPLY_DEADLINE).await? {
            PeersReply::Refused { refusal } => Err(AskError::Refused(refusal)),
            reply => Ok(reply),
        }
    }
}

/// Whether a page can follow what came before: one that comes in no order, or in
/// small pieces, might go on for ever.
fn check(
    peers: &[Known],
    more: bool,
    after: Option<NodeId>,
    before: usize,
) -> Result<(), AskError> {
    let ids = || peers.iter().map(|known| known.peer.id);
    if !after.into_iter().chain(ids()).is_sorted_by(|a, b| a < b) {
        return Err(AskError::Nonsense("nodes in no order"));
    }
    let fits = if more { peers.len() == MAX_PEERS } else { peers.len() <= MAX_PEERS };
    if !fits || before + peers.len() > MAX_NODES {
        return Err(AskError::Nonsense("a page of a wrong length"));
    }
    Ok(())
}
