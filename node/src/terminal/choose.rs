//! What to fetch, and from whom: the choice among what was found. Pure.

use shoal_common::content::FileId;
use shoal_common::ident::{NodeName, Peer};
use shoal_common::name::SharedName;
use shoal_common::protocol::search::Pattern;

use crate::catalog::found::{FileInfo, Findings, Found};
use crate::catalog::pattern::{Matcher, typed};
use crate::terminal::command::From;
use crate::transfer::job::{Order, Sources, Wanted, What};

/// One owner that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Its place in the list, from 0.
    pub position: usize,
    /// What it has.
    pub content: &'a Found,
    /// Who it is.
    pub owner: &'a Peer,
}

/// Every owner of every content, with its position.
pub fn offers(findings: &Findings) -> impl Iterator<Item = Offer<'_>> {
    findings
        .found
        .iter()
        .flat_map(|content| content.owners.iter().map(move |owner| (content, owner)))
        .enumerate()
        .map(|(position, (content, owner))| Offer { position, content, owner })
}

/// Why nothing can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// The person changed their mind.
    #[error("cancelled")]
    Cancelled,
    /// The file is here with this very content.
    #[error("you have this file")]
    Here,
    /// Nobody has it.
    #[error("nobody has it")]
    Nobody,
    /// Several contents have this name, and all of them were asked for at once.
    #[error(
        "{0} different contents have this name, and chunks of different contents don't mix; \
         choose one by position or with --id"
    )]
    Several(usize),
    /// No owner has this position.
    #[error("there is no position `{position}`; the owners are 0 to {last}")]
    NoPosition {
        /// What was asked for.
        position: usize,
        /// The last there is.
        last: usize,
    },
    /// That node does not have it.
    #[error("`{0}` is no owner of it")]
    NotAnOwner(NodeName),
    /// Nobody is called so.
    #[error("there is no node `{0}`; `peers` lists them")]
    NoSuchNode(NodeName),
    /// A single owner of a folder was asked for by position.
    #[error("a folder has no list of owners; name a node with --from, or leave --from out")]
    PositionInTree,
    /// A content of a folder was asked for.
    #[error("--id is for a single file")]
    IdOfTree,
    /// It is no folder and no glob.
    #[error("{0}")]
    NoTree(String),
    /// No content begins with these digits.
    #[error("no content of this name has an id that begins with `{0}`")]
    NoContent(String),
    /// That owner has another content than the one asked for.
    #[error("the owner at position `{0}` has another content than --id says")]
    OtherContent(usize),
}

impl std::convert::From<String> for ChoiceError {
    fn from(problem: String) -> Self {
        Self::NoTree(problem)
    }
}

/// How a typed text is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// As the name of a file.
    File,
    /// As a folder: it ends with `/`.
    Folder,
    /// As a glob, unless a file has exactly this name: names may hold
    /// wildcards.
    Glob,
}

/// How a typed text is to be understood.
pub fn named(text: &str) -> Named {
    let is_glob = matches!(typed(text), Pattern::Glob(_));
    match (text.ends_with('/'), is_glob) {
        (true, _) => Named::Folder,
        (false, true) => Named::Glob,
        (false, false) => Named::File,
    }
}

/// A glob for the files of a tree, to find out whether there are any.
pub fn below(text: &str) -> String {
    match text.strip_suffix('/') {
        Some(folder) if named(folder) == Named::Glob => format!("{folder}/**"),
        Some(folder) => format!("{}/**", folder.replace('\\', "\\\\")),
        None => text.to_owned(),
    }
}

/// A folder or a glob to fetch, from the choice of a person.
///
/// # Errors
/// It is none, or the choice does not fit it.
pub fn choose_tree(
    text: &str,
    from: Option<&From>,
    id: Option<&str>,
    peers: &[Peer],
) -> Result<Wanted, ChoiceError> {
    let folder = text.trim_end_matches('/');
    let pattern = typed(folder);
    match &pattern {
        Pattern::Glob(_) => drop(Matcher::new(&pattern).map_err(|error| error.to_string())?),
        _ => drop(folder.parse::<SharedName>().map_err(|error| format!("no folder: {error}"))?),
    }
    if id.is_some() {
        return Err(ChoiceError::IdOfTree);
    }
    let from = match from {
        None | Some(From::All) => Sources::All,
        Some(From::Nobody) => return Err(ChoiceError::Cancelled),
        Some(From::Position(_)) => return Err(ChoiceError::PositionInTree),
        Some(From::Node(name)) => {
            let peer = peers.iter().find(|peer| peer.name == *name);
            Sources::Only(peer.ok_or_else(|| ChoiceError::NoSuchNode(name.clone()))?.id)
        }
    };
    Ok(Wanted { what: What::Tree(text.to_owned()), from, order: Order::default() })
}

/// What to fetch, from the choice of a person.
///
/// # Errors
/// See [`ChoiceError`].
pub fn choose(
    findings: &Findings,
    from: &From,
    id: Option<&str>,
    own: &[FileInfo],
) -> Result<Wanted, ChoiceError> {
    let mut contents: Vec<&Found> =
        findings.found.iter().filter(|found| !found.owners.is_empty()).collect();
    if contents.is_empty() {
        return Err(ChoiceError::Nobody);
    }
    if let Some(digits) = id {
        contents.retain(|found| found.id.to_string().starts_with(digits));
        if contents.is_empty() {
            return Err(ChoiceError::NoContent(digits.to_owned()));
        }
    }
    let (content, sources) = match from {
        From::Nobody => return Err(ChoiceError::Cancelled),
        From::All => match contents.as_slice() {
            [content] => (*content, Sources::All),
            several => return Err(ChoiceError::Several(several.len())),
        },
        From::Position(position) => only(at(findings, &contents, *position)?),
        From::Node(name) => only(of_node(findings, &contents, name)?),
    };
    if is_here(content, own) {
        return Err(ChoiceError::Here);
    }
    let wanted = Wanted::file(content.name.clone(), content.id, content.size);
    Ok(Wanted { from: sources, ..wanted })
}

fn only(offer: Offer<'_>) -> (&Found, Sources) {
    (offer.content, Sources::Only(offer.owner.id))
}

fn is(contents: &[&Found], id: FileId) -> bool {
    contents.iter().any(|content| content.id == id)
}

fn at<'a>(
    findings: &'a Findings,
    contents: &[&Found],
    position: usize,
) -> Result<Offer<'a>, ChoiceError> {
    let last = offers(findings).count().saturating_sub(1);
    let offer = offers(findings)
        .find(|offer| offer.position == position)
        .ok_or(ChoiceError::NoPosition { position, last })?;
    if is(contents, offer.content.id) {
        Ok(offer)
    } else {
        Err(ChoiceError::OtherContent(position))
    }
}

fn of_node<'a>(
    findings: &'a Findings,
    contents: &[&Found],
    name: &NodeName,
) -> Result<Offer<'a>, ChoiceError> {
    offers(findings)
        .find(|offer| offer.owner.name == *name && is(contents, offer.content.id))
        .ok_or_else(|| ChoiceError::NotAnOwner(name.clone()))
}

/// Whether this node has that content under that name.
pub fn is_here(content: &Found, own: &[FileInfo]) -> bool {
    own.iter().any(|file| file.name == content.name && file.id == content.id)
}

/// Whether there is nothing to choose: this node has the name, and nobody has
/// another content under it.
pub fn all_here(findings: &Findings, name: &str, own: &[FileInfo]) -> bool {
    own.iter().any(|file| file.name.as_str() == name)
        && findings.found.iter().all(|content| is_here(content, own))
}

#[cfg(test)]
mod tests {
    use shoal_common::ident::NodeId;

    use super::*;

    fn peer(name: &str) -> Peer {
        let id = NodeId::from_bytes([name.bytes().last().unwrap(); 32]);
        let at = "127.0.0.1:1".parse().unwrap();
        Peer { id, name: name.parse().unwrap(), search: at, download: at, joined: 0 }
    }

    fn found(id: u8, owners: &[&str]) -> Found {
        Found {
            name: "file.deb".parse().unwrap(),
            size: u64::from(id),
            id: FileId::from_bytes([id; 32]),
            owners: owners.iter().map(|name| peer(name)).collect(),
        }
    }

    fn two_contents() -> Findings {
        let found = vec![found(0xaa, &["n1", "n2"]), found(0xbb, &["n3"])];
        Findings { found, ..Findings::default() }
    }

    fn wanted(id: u8, from: Sources) -> Result<Wanted, ChoiceError> {
        let Found { name, size, id, .. } = found(id, &[]);
        Ok(Wanted { from, ..Wanted::file(name, id, size) })
    }

    fn only(owner: &str) -> Sources {
        Sources::Only(peer(owner).id)
    }

    fn node(name: &str) -> From {
        From::Node(name.parse().unwrap())
    }

    #[test]
    fn positions_run_through_all_contents() {
        let findings = two_contents();
        let list: Vec<_> = offers(&findings)
            .map(|o| (o.position, o.owner.name.to_string(), o.content.size))
            .collect();
        assert_eq!(list, [(0, "n1".into(), 0xaa), (1, "n2".into(), 0xaa), (2, "n3".into(), 0xbb)]);
        for (position, id, owner) in [(0, 0xaa, "n1"), (1, 0xaa, "n2"), (2, 0xbb, "n3")] {
            let choice = choose(&findings, &From::Position(position), None, &[]);
            assert_eq!(choice, wanted(id, only(owner)));
        }
        assert_eq!(
            choose(&findings, &From::Position(3), None, &[]),
            Err(ChoiceError::NoPosition { position: 3, last: 2 })
        );
    }

    #[test]
    fn all_is_for_one_content() {
        let findings = two_contents();
        assert_eq!(choose(&findings, &From::All, None, &[]), Err(ChoiceError::Several(2)));
        assert_eq!(choose(&findings, &From::All, Some("bb"), &[]), wanted(0xbb, Sources::All));
        let one = Findings { found: vec![found(1, &["n1"])], ..Findings::default() };
        assert_eq!(choose(&one, &From::All, None, &[]), wanted(1, Sources::All));
    }

    #[test]
    fn a_node_and_an_id_narrow_the_choice() {
        let findings = two_contents();
        assert_eq!(choose(&findings, &node("n3"), None, &[]), wanted(0xbb, only("n3")));
        assert_eq!(
            choose(&findings, &node("n3"), Some("aa"), &[]),
            Err(ChoiceError::NotAnOwner("n3".parse().unwrap()))
        );
        assert_eq!(
            choose(&findings, &From::Position(2), Some("aa"), &[]),
            Err(ChoiceError::OtherContent(2))
        );
        assert_eq!(
            choose(&findings, &From::All, Some("cc"), &[]),
            Err(ChoiceError::NoContent("cc".into()))
        );
    }

    #[test]
    fn a_text_is_a_file_a_folder_or_a_glob() {
        for (text, meant) in [
            ("file.deb", Named::File),
            ("photos/2026", Named::File),
            ("photos/", Named::Folder),
            ("ph*/", Named::Folder),
            ("photos/*.jpg", Named::Glob),
            ("a[1].txt", Named::Glob),
        ] {
            assert_eq!(named(text), meant, "{text}");
        }
    }

    #[test]
    fn the_files_of_a_tree_are_looked_for() {
        for (text, glob, file) in [
            ("photos/", "photos/**", "photos/2026/a.jpg"),
            ("ph*/", "ph*/**", "photos/a.jpg"),
            ("*.jpg", "*.jpg", "photos/a.jpg"),
            ("a\\b/", "a\\\\b/**", "a\\b/c"),
        ] {
            assert_eq!(below(text), glob);
            let matcher = Matcher::new(&typed(&below(text))).unwrap();
            assert!(matcher.matches(&file.parse().unwrap(), FileId::of(b"")), "{text}");
            assert!(!matcher.matches(&"other".parse().unwrap(), FileId::of(b"")), "{text}");
        }
    }

    #[test]
    fn a_tree_comes_from_all_or_from_one() {
        let peers = [peer("n1"), peer("n2")];
        let tree = |text: &str, from: Option<From>| choose_tree(text, from.as_ref(), None, &peers);
        let wanted = |text: &str, from| {
            let what = What::Tree(text.to_owned());
            Ok(Wanted { what, from, order: Order::Any })
        };
        assert_eq!(tree("photos/", None), wanted("photos/", Sources::All));
        assert_eq!(tree("*.jpg", Some(From::All)), wanted("*.jpg", Sources::All));
        assert_eq!(tree("a b/", Some(node("n2"))), wanted("a b/", only("n2")));
        for (text, from, said) in [
            ("photos/", Some(From::Position(0)), "a folder has no list of owners"),
            ("photos/", Some(From::Nobody), "cancelled"),
            ("photos/", Some(node("n9")), "there is no node `n9`"),
            ("../", None, "no folder: "),
            ("/", None, "no folder: "),
            ("/etc/", None, "no folder: "),
            (".hidden/", None, "no folder: "),
            ("photos/[", None, "`photos/[` is no pattern"),
        ] {
            let error = tree(text, from).unwrap_err().to_string();
            assert!(error.starts_with(said), "{text}: {error}");
        }
        let with_id = choose_tree("photos/", None, Some("ab"), &peers);
        assert_eq!(with_id, Err(ChoiceError::IdOfTree));
    }

    #[test]
    fn nothing_to_fetch() {
        let none = Findings::default();
        assert_eq!(choose(&none, &From::All, None, &[]), Err(ChoiceError::Nobody));
        let findings = two_contents();
        assert_eq!(choose(&findings, &From::Nobody, None, &[]), Err(ChoiceError::Cancelled));
        let Found { name, size, id, .. } = found(0xaa, &[]);
        let own = [FileInfo { name, size, id }];
        assert_eq!(choose(&findings, &From::Position(0), None, &own), Err(ChoiceError::Here));
        assert_eq!(
            choose(&findings, &From::Position(2), None, &own),
            wanted(0xbb, only("n3")),
            "another content may be fetched beside the own one"
        );
        assert!(!all_here(&findings, "file.deb", &own));
        assert!(all_here(&none, "file.deb", &own));
        assert!(!all_here(&none, "other", &own));
    }
}
