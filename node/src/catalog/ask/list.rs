//! Lists a tree at all peers at once.

use std::sync::Arc;
use std::time::Duration;

use shoal_common::call::call;
use shoal_common::connection::Connection;
use shoal_common::ident::Peer;
use shoal_common::limits::{
    LISTING_DEADLINE, MAX_ENTRIES, MAX_SEARCH_FRAME, MAX_TREE, MIN_ENTRIES, PAGE_DEADLINE,
    SEARCH_DEADLINE,
};
use shoal_common::name::SharedName;
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::{Entry, SearchReply, SearchRequest, Tree};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::super::found::Listing;
use super::super::merge::Merge;
use super::super::pattern::PatternError;
use super::super::tree::Selection;
use super::{AT_ONCE, LATE};

/// Most peers that list at the same moment. Each may have a page under way, and
/// beyond some of them only this node is the limit.
const LISTING: usize = 32;

/// Pages that wait to be merged. Peers wait with the next one meanwhile.
const PAGES: usize = 4;

/// Lists a tree at `peers`, in whose order owners are named, and merges what
/// they list. A peer has [`SEARCH_DEADLINE`] to be reached and, once it is its
/// turn, [`PAGE_DEADLINE`] for each page and [`LISTING_DEADLINE`] in all; up to [`AT_ONCE`] are called at once. Who takes longer, or lists what was not asked for, is named as silent, and what
/// it listed before counts.
///
/// # Errors
/// The tree can't be used.
pub async fn list(peers: Vec<Peer>, us: &Party, tree: &Tree) -> Result<Listing, PatternError> {
    let question = Arc::new(Question {
        us: us.clone(),
        tree: tree.clone(),
        selection: Selection::new(tree)?,
        slots: Semaphore::new(AT_ONCE),
        turns: Semaphore::new(LISTING),
    });
    let (pages, mut listed) = mpsc::channel(PAGES);
    // A set, not `Tasks`: when the caller is cancelled, so are the questions.
    let mut questions = JoinSet::new();
    for (peer, position) in peers.iter().cloned().zip(0..=u16::MAX) {
        let (question, pages) = (Arc::clone(&question), pages.clone());
        questions.spawn(async move {
            let outcome = question.ask(&peer, position, pages).await;
            (peer, outcome)
        });
    }
    drop(pages);
    let mut merge = Merge::default();
    while let Some((position, entries)) = listed.recv().await {
        merge.add(position, entries);
    }
    let mut listing = merge.finish(peers);
    while let Some(answered) = questions.join_next().await {
        match answered {
            Ok((_, Ok(more))) => listing.more |= more,
            Ok((peer, Err(reason))) => {
                debug!("no full answer from `{}`: {reason}", peer.name);
                listing.silent.push(peer.name);
            }
            Err(_) => {}
        }
    }
    listing.silent.sort();
    Ok(listing)
}

/// What every peer is asked.
struct Question {
    us: Party,
    tree: Tree,
    selection: Selection,
    /// Who may be connected.
    slots: Semaphore,
    /// Who may list.
    turns: Semaphore,
}

/// Pages, each with the position of the peer that it came from.
type Pages = mpsc::Sender<(u16, Vec<Entry>)>;

impl Question {
    /// All that a peer lists; whether there is more than may be listed.
    async fn ask(&self, peer: &Peer, position: u16, pages: Pages) -> Result<bool, String> {
        let _slot = self.slots.acquire().await;
        let called = in_time(SEARCH_DEADLINE, call(peer.search, &self.us, Talk::Search)).await?;
        let (connection, _) = called.map_err(|error| error.to_string())?;
        let _turn = self.turns.acquire().await;
        in_time(LISTING_DEADLINE, self.turn_pages(connection, position, pages)).await?
    }

    async fn turn_pages(
        &self,
        mut connection: Connection<TcpStream>,
        position: u16,
        pages: Pages,
    ) -> Result<bool, String> {
        let mut page = in_time(PAGE_DEADLINE, self.page(&mut connection, None)).await??;
        let mut total = 0;
        loop {
            let (entries, more) = page;
            total += entries.len();
            let last = entries.last().map(|entry| entry.name.clone());
            // The other end lives as long as this task.
            pages.send((position, entries)).await.ok();
            let (true, Some(last)) = (more, last) else { return Ok(false) };
            if total >= MAX_TREE {
                return Ok(true);
            }
            let next = self.page(&mut connection, Some(last));
            page = in_time(PAGE_DEADLINE, next).await??;
        }
    }

    /// One page, held against the question.
    async fn page(
        &self,
        connection: &mut Connection<TcpStream>,
        after: Option<SharedName>,
    ) -> Result<(Vec<Entry>, bool), String> {
        let request = SearchRequest::List { tree: self.tree.clone(), after: after.clone() };
        match connection.ask(&request, MAX_SEARCH_FRAME).await {
            Ok(SearchReply::Entries { entries, more }) => {
                if !self.was_asked(&entries, more, after.as_ref()) {
                    return Err("it answered what was not asked".to_owned());
                }
                Ok((entries, more))
            }
            Ok(SearchReply::Refused { refusal }) => Err(format!("refused: {refusal}")),
            Ok(SearchReply::Matches { .. } | SearchReply::Gathered(_) | SearchReply::Unknown) => {
                Err("an unknown answer".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn was_asked(&self, entries: &[Entry], more: bool, after: Option<&SharedName>) -> bool {
        let names = || entries.iter().map(|entry| &entry.name);
        let in_order = after.into_iter().chain(names()).is_sorted_by(|a, b| a < b);
        let fits = entries.len() <= MAX_ENTRIES && (!more || entries.len() >= MIN_ENTRIES);
        let belongs = |entry: &Entry| self.selection.holds(&entry.name, entry.file.is_some());
        in_order && fits && entries.iter().all(belongs)
    }
}

async fn in_time<F: Future>(deadline: Duration, answer: F) -> Result<F::Output, String> {
    timeout(deadline, answer).await.map_err(|_| LATE.to_owned())
}
