//! A name that can't leave its volume.
//!
//! Names come from disks and from strangers, and end up as paths and on
//! terminals. A [`SharedName`] that exists is safe for both: the checks are
//! here and nowhere else. Links are the file system's part of the danger and
//! are met where a name becomes a path, in the node's volume.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::limits::{MAX_COMPONENT, MAX_DEPTH, MAX_EXTENSION, MAX_NAME};

/// The name of a shared file: its path below the shared folder, components
/// separated by `/`.
///
/// No component is empty, `.`, `..` or hidden (a leading dot); none is longer
/// than [`MAX_COMPONENT`] bytes; none of the characters [is harmful](is_harmful).
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
    /// It has control characters or others that [are harmful](is_harmful).
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

    /// Whether it lies below the folder of that name, at any depth.
    pub fn is_below(&self, folder: &str) -> bool {
        self.0.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The same name with ` (number)` before its extension: where a file of
    /// other content already has the name. The stem is shortened if it must be.
    /// `None` if the folder's name is so long that there is no room.
    pub fn with_number(&self, number: u32) -> Option<Self> {
        let file = self.file_name();
        let (stem, extension) = match file.rfind('.') {
            Some(dot) if dot > 0 && file.len() - dot <= MAX_EXTENSION => file.split_at(dot),
            _ => (file, ""),
        };
        let suffix = format!(" ({number}){extension}");
        let in_part = MAX_COMPONENT.checked_sub(suffix.len())?;
        let in_name = MAX_NAME.checked_sub(self.0.len() - file.len() + suffix.len())?;
        let mut kept = stem.len().min(in_part).min(in_name);
        while !stem.is_char_boundary(kept) {
            kept -= 1;
        }
        let stem = stem.get(..kept).unwrap_or_default();
        Some(Self(match self.parent() {
            Some(parent) => format!("{parent}/{stem}{suffix}"),
            None => format!("{stem}{suffix}"),
        }))
    }
}

/// Characters that do something to a terminal or to the text around them:
/// control characters, line and paragraph separators, and those that change the
/// order of others (Unicode UAX #9), so that a name can show as another one.
pub fn is_harmful(c: char) -> bool {
    let reorders = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    reorders || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

impl FromStr for SharedName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if text.chars().any(is_harmful) {
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

/// Names are in the order of their texts, so a sorted collection of them can be
/// asked for a range of texts: what lies below a folder, say.
impl Borrow<str> for SharedName {
    fn borrow(&self) -> &str {
        &self.0
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
            ("exe.\u{61c}gpj", Control),
            ("a\u{2028}b", Control),
            ("a\u{2029}b", Control),
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
    fn what_lies_below_a_folder() {
        for (name, folder, below) in [
            ("a/b", "a", true),
            ("a/b/c", "a", true),
            ("a/b/c", "a/b", true),
            ("a", "a", false),
            ("ab/c", "a", false),
            ("a/b", "a/b/c", false),
        ] {
            assert_eq!(name.parse::<SharedName>().unwrap().is_below(folder), below, "{name}");
        }
    }

    #[test]
    fn numbered_names() {
        for (name, numbered) in [
            ("notes.txt", "notes (2).txt"),
            ("docs/notes", "docs/notes (2)"),
            ("a.tar.gz", "a.tar (2).gz"),
            (&format!("a.{}", "x".repeat(31)), &format!("a (2).{}", "x".repeat(31))),
            (&format!("a.{}", "x".repeat(32)), &format!("a.{} (2)", "x".repeat(32))),
            (&format!("a.{}", "x".repeat(253)), &format!("a.{} (2)", "x".repeat(249))),
        ] {
            let name: SharedName = name.parse().unwrap();
            assert_eq!(name.with_number(2).unwrap().as_str(), numbered);
        }
    }

    #[test]
    fn where_a_long_folder_leaves_no_room_there_is_no_numbered_name() {
        let folder = vec!["x".repeat(203); 5].join("/");
        for (file, fits) in [("abcd", true), ("abc", false)] {
            let folder =
                format!("{folder}{}", "x".repeat(MAX_NAME - folder.len() - 1 - file.len()));
            let name: SharedName = format!("{folder}/{file}").parse().unwrap();
            assert_eq!(name.as_str().len(), MAX_NAME);
            assert_eq!(name.with_number(2).is_some(), fits);
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
        fn a_numbered_name_is_a_name(
            folder in "([a-zé]{1,120}/){0,6}|([a-z]{200,254}/){3}",
            file in "[a-zé.]{1,250}|[a-zé]{1,4}\\.[a-zé]{1,253}|[a-zé]{120}[a-zé.]{1,20}",
            number: u32,
        ) {
            if let Ok(name) = format!("{folder}{file}").parse::<SharedName>() {
                match name.with_number(number) {
                    Some(numbered) => prop_assert!(numbered.as_str().parse() == Ok(numbered)),
                    None => prop_assert!(folder.len() > MAX_NAME - MAX_COMPONENT),
                }
            }
        }

        #[test]
        fn a_numbered_name_at_the_bounds_is_a_name(
            parts in proptest::collection::vec(0..6_usize, 1..5),
            ending in 0..255_usize,
            number: u32,
        ) {
            // Every part as long as it may be, or a few bytes shorter.
            let mut parts: Vec<_> =
                parts.iter().map(|less| "x".repeat(MAX_COMPONENT - less)).collect();
            if let Some(file) = parts.last_mut() {
                let dot = file.len().saturating_sub(ending);
                file.replace_range(dot..file.len().min(dot + 1), ".");
            }
            if let Ok(name) = parts.join("/").parse::<SharedName>() {
                let numbered = name.with_number(number).unwrap();
                prop_assert!(numbered.as_str().parse() == Ok(numbered));
            }
        }
    }
}
