//! Names of rooms and what is said: bounded, and checked wherever they come from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::limits::{MAX_ROOM_NAME, MAX_TEXT, MAX_TOPIC};

/// Name of a room: 1 to [`MAX_ROOM_NAME`] small ASCII letters, digits, `-`, `_`
/// and `.`, beginning with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RoomName(String);

/// The room where everyone is.
pub const LOBBY: &str = "lobby";

impl RoomName {
    /// The room where everyone is.
    pub fn lobby() -> Self {
        Self(LOBBY.to_owned())
    }

    /// Whether everyone is in it.
    pub fn is_lobby(&self) -> bool {
        self.0 == LOBBY
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that can't name a room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` can't name a room: 1 to {MAX_ROOM_NAME} small letters, digits, `-`, `_` and `.`, \
     beginning with a letter or a digit"
)]
pub struct NotARoomName(String);

impl FromStr for RoomName {
    type Err = NotARoomName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let valid = text.len() <= MAX_ROOM_NAME
            && text.starts_with(is_plain)
            && text.chars().all(|c| is_plain(c) || matches!(c, '-' | '_' | '.'));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotARoomName(text.escape_debug().take(80).collect()))
        }
    }
}

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// A text that is too long, or empty where it must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAText {
    /// There is nothing.
    #[error("there is nothing to say")]
    Empty,
    /// There is too much.
    #[error("{length} bytes are too long; at most {bound} are allowed")]
    TooLong {
        /// Bytes of it.
        length: usize,
        /// Bytes allowed.
        bound: usize,
    },
}

/// Defines a bounded text.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $bound:expr, $empty:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// As it was typed: whoever shows it escapes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAText;

            fn try_from(text: String) -> Result<Self, NotAText> {
                match text.len() {
                    0 if !$empty => Err(NotAText::Empty),
                    length if length > $bound => Err(NotAText::TooLong { length, bound: $bound }),
                    _ => Ok(Self(text)),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.try_into().map_err(de::Error::custom)
            }
        }
    };
}

text! {
    /// What is said: 1 to [`MAX_TEXT`] bytes, any characters.
    Text, MAX_TEXT, false
}

text! {
    /// What a room is about: up to [`MAX_TOPIC`] bytes, any characters.
    Topic, MAX_TOPIC, true
}
