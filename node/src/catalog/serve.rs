//! The search port: answers from the catalog.

use shoal_common::connection::ConnectionError;
use shoal_common::limits::{IDLE_DEADLINE, MAX_REQUEST_FRAME, MAX_SEARCH_FRAME};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::search::{Pattern, SearchReply, SearchRequest};
use shoal_common::serve::Guest;
use tokio::sync::Semaphore;
use tracing::debug;

use super::own::Catalog;
use super::pattern::PatternError;

/// Answers one guest until it hangs up or falls silent.
///
/// # Errors
/// The conversation broke; see [`ConnectionError`].
pub async fn answer(mut guest: Guest, catalog: Catalog) -> Result<(), ConnectionError> {
    loop {
        let request = match guest.connection.receive(MAX_REQUEST_FRAME, IDLE_DEADLINE).await {
            Err(error @ ConnectionError::Malformed(_)) => {
                let reply = SearchReply::Refused { refusal: Refusal::Malformed };
                guest.connection.send(&reply, MAX_SEARCH_FRAME).await?;
                return Err(error);
            }
            request => request?,
        };
        let reply = looked_up(&catalog, request).await;
        guest.connection.send(&reply, MAX_SEARCH_FRAME).await?;
    }
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
        SearchRequest::Unknown => SearchReply::Refused { refusal: Refusal::Unsupported },
    }
}

fn refused(error: &PatternError) -> SearchReply {
    debug!("refused: {error}");
    SearchReply::Refused { refusal: Refusal::NotAllowed }
}
