//! Why a conversation with the tracker ends. Pure.

use shoal_common::call::CallError;
use shoal_common::connection::ConnectionError;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::succession::Reign;

/// Why a conversation with the tracker ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Refused(Refusal),
    #[error("an answer that makes no sense here")]
    Nonsense,
    #[error("it is not the tracker")]
    Elsewhere(Option<Reign>),
    #[error("another tracker is to be tried")]
    Moved,
    #[error("this node leaves")]
    Goodbye,
}

impl End {
    /// In words that name the tracker, why it has not taken this node in; none where
    /// that is no fault of it.
    pub(super) fn at(&self, tracker: &str) -> Option<String> {
        Some(match self {
            Self::Moved | Self::Goodbye => return None,
            Self::Call(error) => not_tracker(tracker, error),
            Self::Refused(refusal) => {
                format!("the tracker at `{tracker}` refuses this node ({refusal})")
            }
            Self::Elsewhere(Some(Reign { address, .. })) => format!(
                "`{tracker}` is not the tracker; it names `{address}`, which has not taken this \
                 node in"
            ),
            Self::Elsewhere(None) => format!("`{tracker}` is not the tracker, and names none"),
            Self::Connection(_) | Self::Nonsense => {
                format!("the tracker at `{tracker}` does not take this node in ({self})")
            }
        })
    }
}

/// Why there is no talk with the tracker.
pub(super) fn not_tracker(at: &str, error: &CallError) -> String {
    match error {
        CallError::Unreachable { .. } | CallError::NoAnswer { .. } => {
            format!("tracker at `{at}` does not answer")
        }
        CallError::Refused { refusal: Refusal::Unsupported, .. } => {
            format!("`{at}` is not the port of a tracker; perhaps a download port")
        }
        error => error.to_string(),
    }
}
