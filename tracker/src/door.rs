//! Who comes to a tracker, or to one that may be: each to its conversation.

use shoal_common::connection::ConnectionError;
use shoal_common::protocol::greeting::Talk;
use shoal_common::serve::Guest;

use crate::office::Office;
use crate::session::session;

/// The conversations that [`admit`] has.
pub const TALKS: [Talk; 3] = [Talk::Tracking, Talk::Succession, Talk::Chat];

/// Serves one of [`TALKS`] until one side hangs up.
///
/// # Errors
/// Those of the connection.
pub async fn admit(guest: Guest, office: Office) -> Result<(), ConnectionError> {
    match guest.hello.talk {
        // In boxes: of the others there are thousands, and they take less memory.
        Talk::Succession => Box::pin(office.answer(guest)).await,
        Talk::Chat => Box::pin(office.chat(guest)).await,
        _ => session(guest, office).await,
    }
}
