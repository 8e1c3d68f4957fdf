//! A name that can't leave its volume.
//!
//! Names come from disks and from strangers, and end up as paths and on
//! terminals. A [`SharedName`] that exists is safe for both: the checks are
//! here and nowhere else. Links are the file system's part of the danger and
//! are met where a name becomes a path, in the node's volume.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::limits::{MAX_COMPONENT, MAX_DEPTH, MAX_NAME};

/// The name of a shared file: its path below the shared folder, components
/// separated by `/`.
///
/// No component is empty, `.`, `..` or hidden (a leading dot); none is longer
/// than [`MAX_COMPONENT`] bytes; there are no control characters and none that
/// reorder text on a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SharedName(String);

/// Why a text is not a [`SharedName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters, or a component has none (`a//b`, `/a`, `a/`).
    #[error("it has an empty part")]
    Empty,
    /// A component is `..` or `.`.
    #[error("it leaves its folder (`.` or `..`)")]
    Leaves,
    /// A component begins with a dot.
    #[error("it is hidden (a leading dot)")]
    Hidden,
    /// It has control characters or characters that reorder text.
    #[error("it has control characters")]
    Control,
    /// It or a component is too long.
    #[error("it is too long (at most {MAX_COMPONENT} bytes a part, {MAX_NAME} in all)")]
    TooLong,
    /// It has too many components.
    #[error("it is too deep (at most {MAX_DEPTH} parts)")]
    TooDeep,
}

impl SharedName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folder part, if the name has one.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The same name with ` (number)` before its extension: where a file of
    /// other content already has the name. The stem is shortened if it must be.
    pub fn with_number(&self, number: u32) -> Self {
        let file = self.file_name();
        let (stem, extension) = match file.rfind('.') {
            Some(dot) if dot > 0 => file.split_at(dot),
            _ => (file, ""),
        };
        let suffix = format!(" ({number}){extension}");
        let in_part = MAX_COMPONENT.saturating_sub(suffix.len());
        let in_name = MAX_NAME.saturating_sub(self.0.len() - file.len() + suffix.len());
        let mut kept = stem.len().min(in_part).min(in_name);
        while !stem.is_char_boundary(kept) {
            kept -= 1;
        }
        let stem = stem.get(..kept).unwrap_or_default();
        Self(match self.parent() {
            Some(parent) => format!("{parent}/{stem}{suffix}"),
            None => format!("{stem}{suffix}"),
        })
    }
}

/// Characters that change the order of those around them (Unicode UAX #9), so
/// that a name can show as another one.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl FromStr for SharedName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || reorders(c)) {
            return Err(NameError::Control);
        }
        let mut depth = 0;
        for part in text.split('/') {
            depth += 1;
            match part {
                "" => return Err(NameError::Empty),
                "." | ".." => return Err(NameError::Leaves),
                _ if part.starts_with('.') => return Err(NameError::Hidden),
                _ if part.len() > MAX_COMPONENT => return Err(NameError::TooLong),
                _ if depth > MAX_DEPTH => return Err(NameError::TooDeep),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SharedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SharedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for SharedName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_refused() {
        use NameError::*;
        let deep = vec!["a"; MAX_DEPTH + 1].join("/");
        for (text, error) in [
            ("", Empty),
            ("/etc/passwd", Empty),
            ("a//b", Empty),
            ("a/", Empty),
            ("..", Leaves),
            ("../../etc/passwd", Leaves),
            ("a/./b", Leaves),
            (".shoal/id", Hidden),
            ("a/.b", Hidden),
            ("a\0b", Control),
            ("a\u{1b}[2J", Control),
            ("a\u{9b}2J", Control),
            ("exe.\u{202e}gpj", Control),
            (&"x".repeat(300), TooLong),
            (&"x/".repeat(600), TooLong),
            (&deep, TooDeep),
        ] {
            assert_eq!(text.parse::<SharedName>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn what_is_a_name() {
        for text in
            ["a", "été à la mer.txt", "a/b/c.tar.gz", "-rf", "a\\b", "con", &"x".repeat(255)]
        {
            assert!(text.parse::<SharedName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn numbered_names() {
        for (name, numbered) in [
            ("notes.txt", "notes (2).txt"),
            ("docs/notes", "docs/notes (2)"),
            ("a.tar.gz", "a.tar (2).gz"),
        ] {
            let name: SharedName = name.parse().unwrap();
            assert_eq!(name.with_number(2).as_str(), numbered);
        }
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_folder(text in "\\PC{0,40}|[./a]{0,20}|(\\.\\./)*[a-z]*") {
            if let Ok(name) = text.parse::<SharedName>() {
                prop_assert!(!name.as_str().starts_with('/'));
                prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
                prop_assert!(!name.as_str().chars().any(char::is_control));
            }
        }

        #[test]
        fn a_numbered_name_is_a_name(text in "[a-zé.]{1,250}(/[a-zé.]{1,250}){0,4}", number: u32) {
            if let Ok(name) = text.parse::<SharedName>() {
                let numbered = name.with_number(number);
                prop_assert!(numbered.as_str().parse() == Ok(numbered));
            }
        }
    }
}
