//! Why a measurement did not come about, for a person to read.

use std::fmt::{self, Display};

/// What went wrong, with the value and the cause in its text.
#[derive(Debug)]
pub struct Failure(String);

/// What a step of a measurement gives.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// With these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

// Not an `Error` itself: so every error can become one.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Says what was attempted when something failed.
pub trait Attempt<T> {
    /// Puts the words in front of the cause.
    ///
    /// # Errors
    /// As before, with the words.
    fn attempt(self, words: impl Display) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Attempt<T> for Result<T, E> {
    fn attempt(self, words: impl Display) -> Outcome<T> {
        self.map_err(|cause| Failure(format!("{words}: {}", cause.into())))
    }
}
