//! Which names belong to a tree, and where they lie in the order of names.
//! Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

use shoal_common::name::SharedName;
use shoal_common::protocol::search::Tree;
use unicode_normalization::UnicodeNormalization;

use super::pattern::{Glob, PatternError, normal};

/// A tree, ready to be compared with many names.
#[derive(Debug)]
pub struct Selection {
    kind: Kind,
    spans: Vec<Span>,
}

#[derive(Debug)]
enum Kind {
    /// In normal form.
    Folder(String),
    Glob(Box<Glob>),
}

/// A range of names, the end not included; without one, up to the last name.
#[derive(Debug, PartialEq, Eq)]
pub struct Span {
    start: String,
    end: Option<String>,
}

impl Selection {
    /// From a tree that may come from a stranger.
    ///
    /// # Errors
    /// It is no glob.
    pub fn new(tree: &Tree) -> Result<Self, PatternError> {
        Ok(match tree {
            Tree::Folder(folder) => {
                let folder = folder.as_str();
                Self { kind: Kind::Folder(normal(folder).into_owned()), spans: below(folder) }
            }
            Tree::Glob(text) => Self {
                kind: Kind::Glob(Box::new(Glob::new(text)?)),
                spans: vec![Span { start: String::new(), end: None }],
            },
        })
    }

    /// Where its names lie, in order. Not every name there belongs to the tree:
    /// see [`Selection::holds`].
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether a file, or else an empty folder, belongs to the tree.
    pub fn holds(&self, name: &SharedName, is_file: bool) -> bool {
        match &self.kind {
            Kind::Glob(glob) => is_file && glob.matches(name),
            Kind::Folder(folder) => {
                let name = normal(name.as_str());
                match name.strip_prefix(folder.as_str()) {
                    Some("") => !is_file,
                    Some(rest) => rest.starts_with('/'),
                    None => false,
                }
            }
        }
    }
}

/// Where a folder and what is below it lie. Its name is looked for as it was
/// given and in both normal forms: the same accent can be stored in two ways.
/// (A name that mixes them has to be given as it is.)
fn below(folder: &str) -> Vec<Span> {
    let mut forms = vec![folder.to_owned(), folder.nfc().collect(), folder.nfd().collect()];
    forms.sort_unstable();
    forms.dedup();
    let spans = forms.iter().flat_map(|form| {
        // '0' is what follows '/'.
        let (end, below_end) = (format!("{form}\0"), format!("{form}0"));
        [
            Span { start: form.clone(), end: Some(end) },
            Span { start: format!("{form}/"), end: Some(below_end) },
        ]
    });
    spans.collect()
}

impl Span {
    /// The part of it behind a name, as bounds; `None` if there is none.
    pub fn behind<'a>(
        &'a self,
        after: Option<&'a str>,
    ) -> Option<(Bound<&'a str>, Bound<&'a str>)> {
        let end = self.end.as_deref();
        let start = match after {
            Some(after) if end.is_some_and(|end| after >= end) => return None,
            Some(after) if after >= self.start.as_str() => Bound::Excluded(after),
            _ => Bound::Included(self.start.as_str()),
        };
        Some((start, end.map_or(Bound::Unbounded, Bound::Excluded)))
    }
}

/// Whether a folder can't be an empty one: there is a file below it, or one of
/// its name.
pub(super) fn is_filled<V>(files: &BTreeMap<SharedName, V>, folder: &SharedName) -> bool {
    let below = format!("{folder}/");
    let behind = (Bound::Included(below.as_str()), Bound::Unbounded);
    let next = files.range::<str, _>(behind).next();
    files.contains_key(folder) || next.is_some_and(|(name, _)| name.is_below(folder.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> Selection {
        Selection::new(&Tree::Folder(text.parse().unwrap())).unwrap()
    }

    #[test]
    fn what_a_folder_holds() {
        let tree = folder("a/b");
        for (name, is_file, held) in [
            ("a/b/c", true, true),
            ("a/b/c/d", false, true),
            ("a/b", false, true),
            ("a/b", true, false),
            ("a/bc/d", true, false),
            ("a/b.txt", true, false),
            ("a", false, false),
        ] {
            assert_eq!(tree.holds(&name.parse().unwrap(), is_file), held, "{name} {is_file}");
        }
    }

    #[test]
    fn an_accent_is_one_however_it_is_stored() {
        for (tree, name) in [("e\u{301}te\u{301}", "été/x"), ("été", "e\u{301}te\u{301}/x")] {
            let tree = folder(tree);
            assert!(tree.holds(&name.parse().unwrap(), true));
            let within = |span: &Span| {
                name >= span.start.as_str() && span.end.as_deref().is_none_or(|end| name < end)
            };
            assert!(tree.spans().iter().any(within));
            let starts: Vec<_> = tree.spans().iter().map(|span| &span.start).collect();
            assert!(starts.is_sorted());
        }
        assert_eq!(folder("plain").spans().len(), 2);
    }

    #[test]
    fn a_span_goes_on_behind_any_name() {
        let span = Span { start: "b/".to_owned(), end: Some("b0".to_owned()) };
        use Bound::{Excluded, Included};
        assert_eq!(span.behind(None), Some((Included("b/"), Excluded("b0"))));
        assert_eq!(span.behind(Some("a")), Some((Included("b/"), Excluded("b0"))));
        assert_eq!(span.behind(Some("b/x")), Some((Excluded("b/x"), Excluded("b0"))));
        for after in ["b0", "c"] {
            assert_eq!(span.behind(Some(after)), None);
        }
    }
}
