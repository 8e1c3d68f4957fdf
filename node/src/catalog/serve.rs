//! The search port: answers from the catalog.

use std::sync::Arc;

use shoal_common::connection::ConnectionError;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{
    IDLE_DEADLINE, MAX_GATHER_ANSWERS, MAX_GATHER_FRAME, MAX_GATHERS, MAX_MATCHES,
    MAX_REQUEST_FRAME, MAX_SEARCH_FRAME,
};
use shoal_common::party::Party;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::search::{
    Answer, Gather, Gathered, Pattern, SearchReply, SearchRequest,
};
use shoal_common::serve::Guest;
use tokio::join;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::debug;

use super::ask::gather::{OWN, answers_by, pass_on};
use super::ask::together::Together;
use super::own::Catalog;
use super::pattern::{Matcher, PatternError};

/// Who asks on when a search is to be passed on: this node, and whom it knows.
#[derive(Clone)]
pub struct Circle {
    /// This node.
    us: Party,
    /// Whom it knows.
    known: Arc<dyn Acquaintance>,
    /// Room for [`MAX_GATHERS`] searches that are passed on.
    gathers: Arc<Semaphore>,
    /// Room for [`MAX_GATHER_ANSWERS`] long answers to them.
    answers: Arc<Semaphore>,
}

/// Whom a node knows.
pub trait Acquaintance: Send + Sync {
    /// The node itself, as others know it, if they do. Until then it passes on
    /// nothing.
    fn us(&self) -> Option<Peer>;

    /// The others whose ids lie behind that of the node and before another one; see
    /// [`lies_between`](super::ask::ring::lies_between).
    fn on_the_way(&self, upto: NodeId) -> Vec<Peer>;
}

/// One that nobody knows and that knows nobody.
impl Acquaintance for () {
    fn us(&self) -> Option<Peer> {
        None
    }

    fn on_the_way(&self, _: NodeId) -> Vec<Peer> {
        Vec::new()
    }
}

impl Circle {
    /// That of one node.
    pub fn new(us: Party, known: Arc<dyn Acquaintance>) -> Self {
        let room = |permits| Arc::new(Semaphore::new(permits));
        Self { us, known, gathers: room(MAX_GATHERS), answers: room(MAX_GATHER_ANSWERS) }
    }

    /// One that knows nobody.
    pub fn alone(us: Party) -> Self {
        Self::new(us, Arc::new(()))
    }
}

/// Answers one guest until it hangs up or falls silent.
///
/// # Errors
/// The conversation broke; see [`ConnectionError`].
pub async fn answer(
    mut guest: Guest,
    catalog: Catalog,
    circle: Circle,
) -> Result<(), ConnectionError> {
    loop {
        let request = match guest.connection.receive(MAX_REQUEST_FRAME, IDLE_DEADLINE).await {
            Err(error @ ConnectionError::Malformed(_)) => {
                let reply = SearchReply::Refused { refusal: Refusal::Malformed };
                guest.connection.send(&reply, MAX_SEARCH_FRAME).await?;
                return Err(error);
            }
            request => request?,
        };
        match request {
            SearchRequest::Gather(gather) => {
                // The answer takes memory until it is sent.
                let turn = circle.gathers.try_acquire().ok();
                let reply = gathered(&catalog, &circle, gather, turn.is_some());
                let reply = Box::pin(reply).await;
                guest.connection.send(&reply, MAX_GATHER_FRAME).await?;
            }
            request => {
                let reply = looked_up(&catalog, request).await;
                guest.connection.send(&reply, MAX_SEARCH_FRAME).await?;
            }
        }
    }
}

/// What this node and those on the way to `upto` have; only this node unless it
/// `passes_on` the search, so that who asks turns to the next one for the others. A
/// node that is too busy to look at its own files in time still says what the others
/// have.
async fn gathered(
    catalog: &Catalog,
    circle: &Circle,
    gather: Gather,
    passes_on: bool,
) -> SearchReply {
    let deadline = answers_by(&gather);
    // Nobody could be told whose its files are, and it knows few or none.
    let Some(us) = circle.known.us() else {
        return SearchReply::Refused { refusal: Refusal::Busy };
    };
    if let Err(error) = Matcher::new(&gather.pattern) {
        return refused(&error);
    }
    let own = looked_up(catalog, SearchRequest::Search { pattern: gather.pattern.clone() });
    let mut all = Together::new(MAX_MATCHES);
    let others = async {
        if passes_on {
            let (peers, room) = (circle.known.on_the_way(gather.upto), circle.answers.clone());
            pass_on(gather, deadline, circle.us.clone(), peers, room, &mut all).await;
        }
    };
    let (own, ()) = join!(timeout_at(deadline, own), others);
    if let Ok(SearchReply::Matches { matches, more }) = own {
        let answers = vec![Answer { peer: us, matches }];
        all.add(OWN, Gathered { answers, asked: 1, more, ..Gathered::default() });
    } else {
        all.add_silent(us);
    }
    SearchReply::Gathered(all.finish())
}

/// Most patterns and pages that are worked on at the same time: enough for
/// all cores of usual machines, and others keep a share of them.
const MAX_LOOKUPS: usize = 4;

static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// A pattern is compared with every name, and a page has thousands of them. That
/// takes its time: on a thread where nobody else waits.
async fn looked_up(catalog: &Catalog, request: SearchRequest) -> SearchReply {
    match &request {
        SearchRequest::Search { pattern: Pattern::Exact(_) | Pattern::Content(_) }
        | SearchRequest::Gather(_)
        | SearchRequest::Unknown => return reply(catalog, request),
        SearchRequest::Search { .. } | SearchRequest::List { .. } => {}
    }
    let _turn = LOOKUPS.acquire().await;
    let catalog = catalog.clone();
    let looked_up = tokio::task::spawn_blocking(move || reply(&catalog, request)).await;
    looked_up.unwrap_or(SearchReply::Refused { refusal: Refusal::Busy })
}

fn reply(catalog: &Catalog, request: SearchRequest) -> SearchReply {
    match request {
        SearchRequest::Search { pattern } => match catalog.search(&pattern) {
            Ok((matches, more)) => SearchReply::Matches { matches, more },
            Err(error) => refused(&error),
        },
        SearchRequest::List { tree, after } => match catalog.page(&tree, after.as_ref()) {
            Ok((entries, more)) => SearchReply::Entries { entries, more },
            Err(error) => refused(&error),
        },
        SearchRequest::Gather(_) | SearchRequest::Unknown => {
            SearchReply::Refused { refusal: Refusal::Unsupported }
        }
    }
}

fn refused(error: &PatternError) -> SearchReply {
    debug!("refused: {error}");
    SearchReply::Refused { refusal: Refusal::NotAllowed }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
