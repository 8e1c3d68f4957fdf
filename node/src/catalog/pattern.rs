//! Which names match what is looked for.

use globset::{GlobBuilder, GlobMatcher};
use shoal_common::content::FileId;
use shoal_common::limits::MAX_PATTERN;
use shoal_common::name::SharedName;
use shoal_common::protocol::search::Pattern;
use unicode_normalization::UnicodeNormalization;

/// A pattern that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is longer than any name.
    #[error("a pattern of {0} bytes: at most {MAX_PATTERN} are allowed")]
    TooLong(usize),
    /// It is no glob.
    #[error("`{pattern}` is no pattern: {cause}")]
    Glob {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// What a person means by a typed text: a glob if it has wildcards, a part of a
/// name otherwise.
pub fn typed(text: &str) -> Pattern {
    if text.contains(['*', '?', '[', '{']) {
        Pattern::Glob(text.to_owned())
    } else {
        Pattern::Part(text.to_owned())
    }
}

/// A pattern, ready to be compared with many names.
///
/// Names are compared in Unicode's normal form C, because the same accent can
/// be stored in two ways and a person can't see which.
#[derive(Debug)]
pub enum Matcher {
    /// This very name.
    Exact(SharedName),
    /// A part of the name, in lower case.
    Part(String),
    /// The name or its last component.
    Glob(Box<GlobMatcher>),
    /// Any name of this content.
    Content(FileId),
}

impl Matcher {
    /// From a pattern that may come from a stranger.
    ///
    /// # Errors
    /// It is too long, or no glob.
    pub fn new(pattern: &Pattern) -> Result<Self, PatternError> {
        if let Pattern::Part(text) | Pattern::Glob(text) = pattern
            && text.len() > MAX_PATTERN
        {
            return Err(PatternError::TooLong(text.len()));
        }
        Ok(match pattern {
            Pattern::Exact(name) => Self::Exact(name.clone()),
            Pattern::Part(text) => Self::Part(folded(text)),
            Pattern::Glob(text) => Self::Glob(Box::new(glob(text)?)),
            Pattern::Content(file) => Self::Content(*file),
        })
    }

    /// Whether a file matches.
    pub fn matches(&self, name: &SharedName, file: FileId) -> bool {
        match self {
            Self::Exact(wanted) => wanted == name,
            Self::Part(part) => folded(name.as_str()).contains(part),
            Self::Glob(glob) => {
                let name: String = name.as_str().nfc().collect();
                let last = name.rsplit('/').next().unwrap_or(&name);
                glob.is_match(&name) || glob.is_match(last)
            }
            Self::Content(wanted) => *wanted == file,
        }
    }
}

fn folded(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).collect()
}

/// Most groups in braces of a glob. Nested deeper than some 250, `globset` makes
/// an expression that the compiler refuses, and panics; nobody types so many.
const MAX_ALTERNATES: usize = 32;

/// `globset` compiles to an automaton, so that no pattern takes more than
/// linear time.
fn glob(text: &str) -> Result<GlobMatcher, PatternError> {
    let wrong =
        |cause: String| PatternError::Glob { pattern: text.escape_debug().to_string(), cause };
    if text.matches('{').count() > MAX_ALTERNATES {
        return Err(wrong(format!("more than {MAX_ALTERNATES} groups in braces")));
    }
    let normal: String = text.nfc().collect();
    match GlobBuilder::new(&normal).build() {
        Ok(glob) => Ok(glob.compile_matcher()),
        Err(error) => Err(wrong(error.kind().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(text: &str, name: &str) -> bool {
        let matcher = Matcher::new(&typed(text)).unwrap();
        matcher.matches(&name.parse().unwrap(), FileId::of(b""))
    }

    #[test]
    fn parts_and_globs() {
        for (text, name) in [
            ("deb", "file.deb"),
            ("FILE", "file.deb"),
            ("ÉTÉ", "photos/été à la mer.png"),
            ("e\u{301}te\u{301}", "été.txt"),
            ("*.deb", "file.deb"),
            ("*.txt", "docs/deep/notes.txt"),
            ("docs/*", "docs/deep/notes.txt"),
            ("file.{deb,rpm}", "file.rpm"),
            ("note[s-z]?txt", "notes.txt"),
            ("", "anything"),
        ] {
            assert!(matches(text, name), "{text} {name}");
        }
        for (text, name) in
            [("rpm", "file.deb"), ("*.txt", "notes.txt.gz"), ("?", "ab"), ("*.TXT", "a.txt")]
        {
            assert!(!matches(text, name), "{text} {name}");
        }
    }

    #[test]
    fn bad_patterns_are_errors() {
        let long = "x".repeat(MAX_PATTERN + 1);
        let nested = |depth| format!("{}a{}", "{".repeat(depth), "}".repeat(depth));
        for text in ["[", "{a,b", "a**[", &long, &nested(MAX_ALTERNATES + 1), &nested(300)] {
            assert!(Matcher::new(&typed(text)).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_gives_a_matcher_or_an_error(text in "[*?\\[\\]{},!a\\\\é/-]{0,60}|[{}a,]{0,1000}|\\{{0,500}a}{0,500}") {
            if let Ok(matcher) = Matcher::new(&typed(&text)) {
                matcher.matches(&"aé/a".parse().unwrap(), FileId::of(b""));
            }
        }
    }
}
