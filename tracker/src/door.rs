//! Who comes to a tracker, or to one that may be: each to its conversation.

use shoal_common::connection::ConnectionError;
use shoal_common::protocol::greeting::Talk;
use shoal_common::serve::Guest;
use tokio_util::either::Either;

use crate::office::Office;
use crate::session::session;

/// The conversations that [`admit`] has.
pub const TALKS: [Talk; 3] = [Talk::Tracking, Talk::Succession, Talk::Chat];

/// Serves one of [`TALKS`] until one side hangs up.
///
/// # Errors
/// Those of the connection.
pub fn admit(
    guest: Guest,
    office: Office,
) -> impl Future<Output = Result<(), ConnectionError>> + Send {
    // In boxes what is rare: of sessions there are thousands, and they take less
    // memory.
    match guest.hello.talk {
        Talk::Succession => Either::Right(Either::Left(Box::pin(office.answer(guest)))),
        Talk::Chat => Either::Right(Either::Right(office.chat(guest))),
        _ => Either::Left(session(guest, office)),
    }
}
