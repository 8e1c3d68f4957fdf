//! Why an owner gives no more, and what to do about it.

use shoal_common::call::CallError;
use shoal_common::connection::ConnectionError;
use shoal_common::content::ManifestError;
use shoal_common::protocol::refusal::Refusal;

use crate::transfer::roster::Remedy;

/// Why an owner gives no more.
#[derive(Debug, thiserror::Error)]
pub(in crate::transfer) enum FetchError {
    /// No conversation.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Somebody else answers.
    #[error("another node answers at its address")]
    Stranger,
    /// The conversation broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It stands still, or nearly.
    #[error("it sends too slowly")]
    TooSlow,
    /// It refuses.
    #[error("{0}")]
    Refused(Refusal),
    /// Its manifest does not fit the content.
    #[error("it sent {0}")]
    Manifest(#[from] ManifestError),
    /// Its last chunk does not fit its manifest: either may be wrong.
    #[error("it sent wrong bytes, or a manifest of another size")]
    Unproven,
    /// Chunks that do not verify, too often.
    #[error("it sent wrong bytes")]
    WrongBytes,
    /// An answer to something that was not asked.
    #[error("it answered something that was not asked")]
    Unexpected,
}

impl FetchError {
    /// What to do about the owner.
    pub(in crate::transfer) fn remedy(&self) -> Remedy {
        match self {
            Self::Call(CallError::Unreachable { .. } | CallError::NoAnswer { .. }) => Remedy::Again,
            Self::Call(_) | Self::Stranger | Self::TooSlow => Remedy::Later,
            Self::Connection(error) => match error {
                ConnectionError::Closed | ConnectionError::Broken(_) => Remedy::Again,
                ConnectionError::Silent(_) | ConnectionError::Slow => Remedy::Later,
                ConnectionError::TooLong { .. } | ConnectionError::Malformed(_) => Remedy::Never,
            },
            Self::Refused(refusal) if refusal.is_passing() => Remedy::Again,
            Self::Refused(_) => Remedy::Later,
            Self::Manifest(_) | Self::Unproven | Self::WrongBytes | Self::Unexpected => {
                Remedy::Never
            }
        }
    }
}
