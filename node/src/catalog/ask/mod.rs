//! Asks the others what they have: a few all at once, many by way of some of them.

pub mod gather;
mod list;
pub mod ring;
pub mod together;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use shoal_common::call::call_with;
use shoal_common::connection::Connection;
use shoal_common::content::FileId;
use shoal_common::ident::{NodeName, Peer};
use shoal_common::limits::{
    MAX_MATCHES, MAX_REQUEST_FRAME, MAX_SEARCH_FRAME, REPLY_DEADLINE, SAMPLE, SEARCH_DEADLINE,
};
use shoal_common::name::SharedName;
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::{Answer, Match, Pattern, SearchReply, SearchRequest};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::debug;

use self::gather::{Search, is_asked};
use super::found::{Findings, Found, Source};
use super::pattern::Matcher;

pub use list::list;

/// Most peers that are asked at the same moment: each takes a descriptor.
const AT_ONCE: usize = 1024;

const LATE: &str = "it did not answer in time";

/// Most peers that are all asked by this node itself; of more each is asked by
/// one of them (see [`gather`]). Less than a newcomer knows of a large network.
pub const DIRECT: usize = SAMPLE / 2;

/// What was heard of one or several peers.
enum Heard {
    From(Peer, Vec<Match>),
    /// Somebody did not answer, or not sensibly.
    Silent(NodeName),
    /// So many more did not, without being named.
    Missing(u64),
    /// There is more than may be told.
    More,
}

/// Asks all `peers` and groups their answers by name and content. Each has
/// [`SEARCH_DEADLINE`]; who has not answered by then is named as silent. Up to
/// [`AT_ONCE`] are asked at once, so no more of them take no longer than one.
/// Who has only some of a content is no owner here; see [`owners`].
///
/// What an answer holds that was not asked for is not believed.
pub async fn ask(peers: Vec<Peer>, us: &Party, pattern: &Pattern) -> Findings {
    let mut findings = Grouping::default();
    ask_all(peers, us, pattern, |heard| findings.add(heard)).await;
    findings.finish()
}

/// Asks all `peers` who has a content of this size, all of it or some. As for
/// [`ask`]. Who says another size lies about it, or the others do; either way
/// they can't complete each other.
pub async fn owners(peers: Vec<Peer>, us: &Party, file: FileId, size: u64) -> Vec<Source> {
    let mut sources = Vec::new();
    ask_all(peers, us, &Pattern::Content(file), |heard| {
        if let Heard::From(peer, mut matches) = heard {
            matches.retain(|found| found.size == size);
            sources.extend(source(peer, matches));
        }
    })
    .await;
    sources
}

/// What a peer has of the one content that it was asked for, under whatever
/// names.
fn source(peer: Peer, matches: Vec<Match>) -> Option<Source> {
    let mut chunks: Vec<_> = matches.into_iter().map(|found| found.chunks).collect();
    match chunks.iter().position(Option::is_none) {
        Some(_) => Some(Source { peer, chunks: None }),
        None => chunks.pop().map(|chunks| Source { peer, chunks }),
    }
}

type Told = Result<(Vec<Match>, bool), String>;

async fn ask_all(peers: Vec<Peer>, us: &Party, pattern: &Pattern, mut take: impl FnMut(Heard)) {
    if peers.len() > DIRECT {
        return ask_by_way_of_some(peers, us, pattern, take).await;
    }
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    // A set, not `Tasks`: when the caller is cancelled, so are the questions.
    let mut questions = JoinSet::new();
    for peer in peers {
        let (us, pattern, slots) = (us.clone(), pattern.clone(), Arc::clone(&slots));
        questions.spawn(async move {
            let _slot = slots.acquire().await;
            let answer = timeout(SEARCH_DEADLINE, ask_one(&peer, &us, pattern)).await;
            (peer, answer.unwrap_or_else(|_| Err(LATE.to_owned())))
        });
    }
    while let Some(answered) = questions.join_next().await {
        match answered {
            Ok((peer, Ok((matches, more)))) => {
                take(Heard::From(peer, matches));
                if more {
                    take(Heard::More);
                }
            }
            Ok((peer, Err(reason))) => {
                debug!("no answer from `{}`: {reason}", peer.name);
                take(Heard::Silent(peer.name));
            }
            Err(_) => {}
        }
    }
}

async fn ask_by_way_of_some(
    peers: Vec<Peer>,
    us: &Party,
    pattern: &Pattern,
    mut take: impl FnMut(Heard),
) {
    let known: HashMap<_, _> = peers.iter().map(|peer| (peer.id, peer.clone())).collect();
    let search = Search::new(us.clone(), pattern.clone(), Instant::now() + SEARCH_DEADLINE);
    let gathered = search.gather(peers).await;
    debug!("{} have answered, {} have not", gathered.asked, gathered.missing);
    for Answer { peer, matches } in gathered.answers {
        // What this node knows itself counts more than what one says of another.
        take(Heard::From(known.get(&peer.id).cloned().unwrap_or(peer), matches));
    }
    take(Heard::Missing(gathered.missing.saturating_sub(gathered.silent.len() as u64)));
    gathered.silent.into_iter().for_each(|name| take(Heard::Silent(name)));
    if gathered.more {
        take(Heard::More);
    }
}

async fn ask_one(peer: &Peer, us: &Party, pattern: Pattern) -> Told {
    let matcher = Matcher::new(&pattern).map_err(|error| error.to_string())?;
    let request = SearchRequest::Search { pattern };
    let ahead = |connection: &mut Connection<_>| connection.queue(&request, MAX_REQUEST_FRAME);
    let called = call_with(peer.search, us, Talk::Search, ahead);
    let (mut connection, _) = called.await.map_err(|error| error.to_string())?;
    match connection.receive(MAX_SEARCH_FRAME, REPLY_DEADLINE).await {
        Ok(SearchReply::Matches { matches, more }) => {
            if matches.len() > MAX_MATCHES || !matches.iter().all(|found| is_asked(&matcher, found))
            {
                return Err("it answered what was not asked".to_owned());
            }
            Ok((matches, more))
        }
        Ok(SearchReply::Refused { refusal }) => Err(format!("refused: {refusal}")),
        Ok(SearchReply::Entries { .. } | SearchReply::Gathered(_) | SearchReply::Unknown) => {
            Err("an unknown answer".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Default)]
struct Grouping {
    /// Size is part of what tells contents apart: who lies about it stays alone.
    groups: BTreeMap<(SharedName, FileId, u64), Found>,
    findings: Findings,
}

impl Grouping {
    fn add(&mut self, heard: Heard) {
        let (peer, matches) = match heard {
            Heard::From(peer, matches) => (peer, matches),
            Heard::Silent(name) => {
                self.findings.silent.push(name);
                self.findings.missing = self.findings.missing.saturating_add(1);
                return;
            }
            Heard::Missing(count) => {
                self.findings.missing = self.findings.missing.saturating_add(count);
                return;
            }
            Heard::More => {
                self.findings.more = true;
                return;
            }
        };
        let whole = matches.into_iter().filter(|found| found.chunks.is_none());
        for Match { name, size, file, .. } in whole {
            let empty = || Found { name: name.clone(), size, id: file, owners: Vec::new() };
            let found = self.groups.entry((name.clone(), file, size)).or_insert_with(empty);
            if !found.owners.contains(&peer) {
                found.owners.push(peer.clone());
            }
        }
    }

    fn finish(self) -> Findings {
        let mut findings = self.findings;
        findings.silent.sort();
        findings.found = self.groups.into_values().collect();
        for found in &mut findings.found {
            found.owners.sort_by(|a, b| a.name.cmp(&b.name));
        }
        // Stable: contents with as many owners stay in order of their ids, so
        // that positions in the list mean the same the next time.
        findings
            .found
            .sort_by(|a, b| a.name.cmp(&b.name).then(b.owners.len().cmp(&a.owners.len())));
        findings
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::content::ChunkSet;
    use shoal_common::ident::NodeId;

    use super::*;

    fn peer(name: &str) -> Peer {
        let at = "127.0.0.1:9".parse().unwrap();
        Peer {
            id: NodeId::random(),
            name: name.parse().unwrap(),
            search: at,
            download: at,
            joined: 0,
        }
    }

    fn found(name: &str, content: &[u8]) -> Match {
        Match {
            name: name.parse().unwrap(),
            size: content.len() as u64,
            file: FileId::of(content),
            chunks: None,
        }
    }

    #[test]
    fn contents_of_one_name_are_kept_apart_and_the_common_one_comes_first() {
        let mut grouping = Grouping::default();
        let [a, b, c] = ["a", "b", "c"].map(peer);
        grouping.add(Heard::From(c, vec![found("notes", b"old")]));
        grouping.add(Heard::From(b, vec![found("notes", b"new"), found("a", b"")]));
        grouping.add(Heard::More);
        grouping.add(Heard::From(a, vec![found("notes", b"new"), found("notes", b"new")]));
        grouping.add(Heard::Silent("dead".parse().unwrap()));
        grouping.add(Heard::Missing(561));
        let findings = grouping.finish();
        let shape: Vec<_> = findings
            .found
            .iter()
            .map(|found| {
                (
                    found.name.as_str(),
                    found.id,
                    found.owners.iter().map(|o| o.name.as_str()).collect(),
                )
            })
            .collect();
        let expected: [(&str, FileId, Vec<&str>); 3] = [
            ("a", FileId::of(b""), vec!["b"]),
            ("notes", FileId::of(b"new"), vec!["a", "b"]),
            ("notes", FileId::of(b"old"), vec!["c"]),
        ];
        assert_eq!(shape, expected);
        assert_eq!(findings.silent, ["dead".parse().unwrap()]);
        assert_eq!(findings.missing, 562);
        assert!(findings.more);
    }

    #[test]
    fn who_has_some_of_a_content_is_a_source_and_no_owner() {
        let some: ChunkSet = [1, 3].into_iter().collect();
        let partial = Match { chunks: Some(some.clone()), ..found("a", b"content") };
        let chunks = |matches: Vec<Match>| source(peer("x"), matches).map(|source| source.chunks);
        assert_eq!(chunks(vec![partial.clone()]), Some(Some(some)));
        assert_eq!(chunks(vec![partial.clone(), found("b", b"content")]), Some(None));
        assert_eq!(chunks(vec![]), None);
        let mut grouping = Grouping::default();
        grouping.add(Heard::From(peer("x"), vec![partial]));
        assert_eq!(grouping.finish().found, []);
    }
}
