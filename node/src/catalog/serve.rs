//! The search port: answers from the catalog.

use shoal_common::connection::ConnectionError;
use shoal_common::limits::{IDLE_DEADLINE, MAX_REQUEST_FRAME, MAX_SEARCH_FRAME};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::search::{SearchReply, SearchRequest};
use shoal_common::serve::Guest;
use tracing::debug;

use super::own::Catalog;

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
        guest.connection.send(&reply(&catalog, request), MAX_SEARCH_FRAME).await?;
    }
}

fn reply(catalog: &Catalog, request: SearchRequest) -> SearchReply {
    match request {
        SearchRequest::Search { pattern } => match catalog.search(&pattern) {
            Ok((matches, more)) => fitting(matches, more),
            Err(error) => {
                debug!("refused: {error}");
                SearchReply::Refused { refusal: Refusal::NotAllowed }
            }
        },
        SearchRequest::Unknown => SearchReply::Refused { refusal: Refusal::Unsupported },
    }
}

/// Cuts an answer that would not fit a frame: names can be long.
fn fitting(mut matches: Vec<shoal_common::protocol::search::Match>, mut more: bool) -> SearchReply {
    // Hash, size, tags and field names take less than this beside the name.
    const BESIDE_NAME: usize = 128;
    let mut left = MAX_SEARCH_FRAME - BESIDE_NAME;
    let fits = matches.iter().take_while(|found| {
        let bytes = found.name.as_str().len() + BESIDE_NAME;
        let enough = bytes <= left;
        left = left.saturating_sub(bytes);
        enough
    });
    let count = fits.count();
    more |= count < matches.len();
    matches.truncate(count);
    SearchReply::Matches { matches, more }
}
