//! Which names match what is looked for.

use std::borrow::Cow;

use globset::{GlobBuilder, GlobMatcher};
use shoal_common::content::FileId;
use shoal_common::limits::MAX_PATTERN;
use shoal_common::name::SharedName;
use shoal_common::protocol::search::{Pattern, Tree};
use unicode_normalization::{UnicodeNormalization, is_nfc};

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
    if has_wildcards(text) {
        Pattern::Glob(text.to_owned())
    } else {
        Pattern::Part(text.to_owned())
    }
}

/// The tree that a person means by a typed text: a folder if it ends with `/`,
/// the files that match if it has wildcards, and both together what is below
/// the folders that match. `None` if it can only be the name of a file.
pub fn typed_tree(text: &str) -> Option<Tree> {
    let folder = text.strip_suffix('/');
    if !has_wildcards(text) {
        return folder?.parse().ok().map(Tree::Folder);
    }
    let glob = folder.map_or_else(|| text.to_owned(), |folder| format!("{folder}{BELOW}"));
    Glob::new(&glob).is_ok().then_some(Tree::Glob(glob))
}

fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// End of a glob for everything below a folder.
const BELOW: &str = "/**";

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
    Glob(Box<Glob>),
    /// Any name of this content.
    Content(FileId),
}

impl Matcher {
    /// From a pattern that may come from a stranger.
    ///
    /// # Errors
    /// It is too long, or no glob.
    pub fn new(pattern: &Pattern) -> Result<Self, PatternError> {
        if let Pattern::Part(text) = pattern
            && text.len() > MAX_PATTERN
        {
            return Err(PatternError::TooLong(text.len()));
        }
        Ok(match pattern {
            Pattern::Exact(name) => Self::Exact(name.clone()),
            Pattern::Part(text) => Self::Part(folded(text)),
            Pattern::Glob(text) => Self::Glob(Box::new(Glob::new(text)?)),
            Pattern::Content(file) => Self::Content(*file),
        })
    }

    /// Whether a file matches.
    pub fn matches(&self, name: &SharedName, file: FileId) -> bool {
        match self {
            Self::Exact(wanted) => wanted == name,
            Self::Part(part) => folded(name.as_str()).contains(part),
            Self::Glob(glob) => glob.matches(name),
            Self::Content(wanted) => *wanted == file,
        }
    }
}

fn folded(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).collect()
}

/// A text in Unicode's normal form C, in which names are compared.
pub(super) fn normal(text: &str) -> Cow<'_, str> {
    if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

/// Most groups in braces of a glob. Nested deeper than some 250, `globset` makes
/// an expression that the compiler refuses, and panics; nobody types so many.
const MAX_ALTERNATES: usize = 32;

/// A glob, ready to be compared with many names.
#[derive(Debug)]
pub struct Glob {
    matcher: GlobMatcher,
    /// What was given, in normal form.
    text: String,
}

impl Glob {
    /// From a text that may come from a stranger. `globset` compiles to an
    /// automaton, so that none takes more than linear time.
    ///
    /// # Errors
    /// It is too long, or no glob.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong(text.len()));
        }
        let wrong =
            |cause: String| PatternError::Glob { pattern: text.escape_debug().to_string(), cause };
        if text.matches('{').count() > MAX_ALTERNATES {
            return Err(wrong(format!("more than {MAX_ALTERNATES} groups in braces")));
        }
        let text = normal(text).into_owned();
        match GlobBuilder::new(&text).build() {
            Ok(glob) => Ok(Self { matcher: glob.compile_matcher(), text }),
            Err(error) => Err(wrong(error.kind().to_string())),
        }
    }

    /// Whether it matches the name or its last component. A name that is the
    /// text itself matches too, as does what is below a folder of that name:
    /// `photo[1].jpg` may be a glob, and is certainly a name.
    pub fn matches(&self, name: &SharedName) -> bool {
        let name = normal(name.as_str());
        let last = name.rsplit('/').next().unwrap_or(&name);
        self.matcher.is_match(&*name) || self.matcher.is_match(last) || self.is_literally(&name)
    }

    fn is_literally(&self, name: &str) -> bool {
        match self.text.strip_suffix(BELOW) {
            Some(folder) => name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
            None => self.text == name,
        }
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
            ("photo[1].jpg", "photo[1].jpg"),
            ("photo[1].jpg", "photo1.jpg"),
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
    fn typed_trees() {
        let folder = |name: &str| Some(Tree::Folder(name.parse().unwrap()));
        let glob = |text: &str| Some(Tree::Glob(text.to_owned()));
        for (text, tree) in [
            ("docs/", folder("docs")),
            ("docs/deep/", folder("docs/deep")),
            ("*.txt", glob("*.txt")),
            ("docs/*.txt", glob("docs/*.txt")),
            ("doc*/", glob("doc*/**")),
            ("docs", None),
            ("", None),
            ("/", None),
            ("docs//", None),
            ("../docs/", None),
            (".shoal/", None),
            ("a[", None),
        ] {
            assert_eq!(typed_tree(text), tree, "{text}");
        }
    }

    #[test]
    fn below_the_folders_that_match() {
        for (text, name, matches) in [
            ("doc*/", "docs/a", true),
            ("doc*/", "docs/deep/a", true),
            ("doc*/", "doc.txt", false),
            ("a [1]/", "a [1]/x", true),
            ("a [1]/", "a 1/x", true),
            ("a [1]/", "a [1].txt", false),
        ] {
            let Some(Tree::Glob(glob)) = typed_tree(text) else { panic!("{text}") };
            let glob = Glob::new(&glob).unwrap();
            assert_eq!(glob.matches(&name.parse().unwrap()), matches, "{text} {name}");
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
