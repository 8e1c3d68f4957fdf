//! Listings of trees between real search ports, honest and not.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_common::content::{ChunkSet, FileId, Manifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{
    IDLE_DEADLINE, MAX_ENTRIES, MAX_REQUEST_FRAME, MAX_SEARCH_FRAME, MIN_ENTRIES, SEARCH_DEADLINE,
};
use shoal_common::name::SharedName;
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::{
    Entry, FileEntry, Match, Pattern, SearchReply, SearchRequest, Tree,
};
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use shoal_node::catalog::Catalog;
use shoal_node::catalog::ask::{ask, list, owners};
use shoal_node::catalog::found::{Listing, Source};
use shoal_node::catalog::index::Shared;
use shoal_node::catalog::serve::{Circle, answer};
use shoal_node::volume::{Stamp, Volume};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::Span;

const PATIENCE: Duration = Duration::from_secs(30);

fn party() -> Party {
    Party::new("test", NodeId::random())
}

fn name(text: &str) -> SharedName {
    text.parse().unwrap()
}

fn folder(text: &str) -> Tree {
    Tree::Folder(name(text))
}

fn entry(text: &str) -> Entry {
    let file = FileEntry { id: FileId::of(b"x"), size: 1, executable: false };
    Entry { name: name(text), file: Some(file) }
}

struct Port {
    peer: Peer,
    tasks: Tasks,
    _dir: Option<TempDir>,
}

impl Port {
    /// Answers from a catalog of these files (name, content, executable).
    async fn honest(of: &str, files: &[(&str, &str, bool)]) -> Self {
        let files = files.iter().map(|&(file, content, executable)| Shared {
            name: name(file),
            stamp: Stamp { size: content.len() as u64, mtime_ns: 1, inode: 1 },
            executable,
            manifest: Arc::new(
                Manifest::of_one_chunk(FileId::of(content.as_bytes()), content.len() as u64)
                    .unwrap(),
            ),
        });
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
        catalog.add_many(files);
        Self::of(of, Some(dir), catalog).await
    }

    async fn of(of: &str, dir: Option<TempDir>, catalog: Catalog) -> Self {
        let tasks = Tasks::new(Handle::current());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = peer(of, &listener);
        let guests = tasks.clone();
        let circle = Circle::alone(party());
        tasks.spawn(
            Span::none(),
            serve(listener, party(), &[Talk::Search], 100, guests, move |guest| {
                answer(guest, catalog.clone(), circle.clone())
            }),
        );
        Self { peer, tasks, _dir: dir }
    }

    /// Answers the n-th request of each connection with what `reply` says; hangs
    /// up where it says nothing.
    async fn scripted<R>(of: &str, reply: R) -> Self
    where
        R: Fn(usize) -> Option<SearchReply> + Clone + Send + Sync + 'static,
    {
        let tasks = Tasks::new(Handle::current());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = peer(of, &listener);
        let guests = tasks.clone();
        let accept = serve(listener, party(), &[Talk::Search], 100, guests, move |mut guest| {
            let reply = reply.clone();
            async move {
                for number in 0.. {
                    let wire = &mut guest.connection;
                    wire.receive::<SearchRequest>(MAX_REQUEST_FRAME, IDLE_DEADLINE).await?;
                    let Some(reply) = reply(number) else { break };
                    wire.send(&reply, MAX_SEARCH_FRAME).await?;
                }
                Ok(())
            }
        });
        tasks.spawn(Span::none(), accept);
        Self { peer, tasks, _dir: None }
    }

    async fn end(self) {
        self.tasks.stop(PATIENCE).await.unwrap();
    }
}

fn peer(of: &str, listener: &TcpListener) -> Peer {
    let at = listener.local_addr().unwrap();
    Peer { id: NodeId::random(), name: name_of(of), search: at, download: at, joined: 0 }
}

fn name_of(node: &str) -> shoal_common::ident::NodeName {
    node.parse().unwrap()
}

async fn listed(ports: &[&Port], tree: &Tree) -> Listing {
    let peers = ports.iter().map(|port| port.peer.clone()).collect();
    let us = party();
    let listing = list(peers, &us, tree);
    tokio::time::timeout(PATIENCE, listing).await.expect("an end").unwrap()
}

/// Name, executable, owners.
fn shape(listing: &Listing) -> Vec<(String, bool, Vec<String>)> {
    let owners = |file| listing.owners(file).map(|peer| peer.name.to_string()).collect();
    let files = listing.entries.iter();
    files.map(|file| (file.name.to_string(), file.executable, owners(file))).collect()
}

#[tokio::test]
async fn a_tree_is_listed_at_all_peers_and_merged() {
    let a = Port::honest(
        "a",
        &[("t/tool", "tool", true), ("t/deep/x", "old", false), ("tx/y", "y", false)],
    )
    .await;
    let b = Port::honest("b", &[("t/tool", "tool", false), ("t/deep/x", "new", false)]).await;
    let c = Port::honest("c", &[("t/deep/x", "new", false)]).await;
    let listing = listed(&[&a, &b, &c], &folder("t")).await;
    let expected = [
        ("t/deep/x".to_owned(), false, vec!["b".to_owned(), "c".to_owned()]),
        ("t/tool".to_owned(), true, vec!["a".to_owned(), "b".to_owned()]),
    ];
    assert_eq!(shape(&listing), expected);
    assert_eq!(listing.entries[0].id, FileId::of(b"new"));
    assert_eq!((listing.differing, listing.others.len()), (1, 1));
    assert_eq!((listing.silent.len(), listing.more), (0, false));

    let globbed = listed(&[&a, &b, &c], &Tree::Glob("*/y".to_owned())).await;
    assert_eq!(shape(&globbed), [("tx/y".to_owned(), false, vec!["a".to_owned()])]);
    assert!(list(Vec::new(), &party(), &Tree::Glob("[".to_owned())).await.is_err());
    assert_eq!(shape(&listed(&[&a], &folder("nothing")).await), []);
    for port in [a, b, c] {
        port.end().await;
    }
}

#[tokio::test]
async fn the_folder_on_the_disk_is_listed_with_empty_folders_and_modes() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    for folder in ["t/empty/deep", "t/full", "other"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    let tool = dir.path().join("t/full/tool");
    std::fs::write(&tool, "tool").unwrap();
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    let scan = Tasks::new(Handle::current());
    shoal_node::catalog::keep_up(catalog.clone(), shoal_node::notice::Notices::default(), &scan);
    tokio::time::timeout(PATIENCE, catalog.completed()).await.unwrap();
    let port = Port::of("a", Some(dir), catalog).await;
    let listing = listed(&[&port], &folder("t")).await;
    assert_eq!(shape(&listing), [("t/full/tool".to_owned(), false, vec!["a".to_owned()])]);
    assert_eq!(listing.folders, [name("t/empty/deep")]);
    assert_eq!(listed(&[&port], &folder("t/empty/deep")).await.folders.len(), 1);

    // A change of the mode alone changes neither size nor time.
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_dir_all(tool.parent().unwrap().parent().unwrap().join("empty")).unwrap();
    let start = Instant::now();
    loop {
        let listing = listed(&[&port], &folder("t")).await;
        if listing.entries[0].executable && listing.folders.is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "never seen: {listing:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scan.stop(PATIENCE).await.unwrap();
    port.end().await;
}

#[tokio::test]
async fn a_hundred_thousand_files_are_listed_page_by_page_in_order() {
    const FILES: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    let manifest = Arc::new(Manifest::of_one_chunk(FileId::of(b"x"), 1).unwrap());
    let shared = |number: usize| Shared {
        name: name(&format!("t/folder {:03}/file {number:06}", number / 1000)),
        stamp: Stamp { size: 1, mtime_ns: 1, inode: 1 },
        executable: false,
        manifest: Arc::clone(&manifest),
    };
    catalog.add_many((0..FILES).map(shared));
    catalog.add_many([Shared { name: name("u"), ..shared(0) }]);

    let (mut pages, mut seen, mut after) = (0, 0, None);
    let start = Instant::now();
    loop {
        let (entries, more) = catalog.page(&folder("t"), after.as_ref()).unwrap();
        assert!(entries.len() <= MAX_ENTRIES && (!more || entries.len() >= MIN_ENTRIES));
        assert!(entries.iter().map(|entry| &entry.name).is_sorted());
        pages += 1;
        seen += entries.len();
        after = entries.last().map(|entry| entry.name.clone());
        if !more {
            break;
        }
    }
    let took = start.elapsed();
    println!("{FILES} files in {pages} pages: {took:?}");
    assert_eq!(seen, FILES);
    assert!(took < Duration::from_secs(5), "{took:?}");

    // Some pages over the wire, from two.
    const SOME: usize = 2 * MAX_ENTRIES;
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    catalog.add_many((0..SOME).map(shared));
    let port = Port::of("a", Some(dir), catalog).await;
    let start = Instant::now();
    let listing = listed(&[&port, &port], &folder("t")).await;
    println!("{SOME} files listed twice over the wire: {:?}", start.elapsed());
    assert_eq!((listing.entries.len(), listing.bytes()), (SOME, SOME as u64));
    assert!(listing.silent.is_empty(), "{:?}", listing.silent);
    assert_eq!(listing.owners(&listing.entries[SOME - 1]).count(), 2);
    port.end().await;
}

#[tokio::test]
async fn what_was_not_asked_is_not_believed_and_has_an_end() {
    let page = |entries: Vec<Entry>, more| Some(SearchReply::Entries { entries, more });
    let numbered = |range: std::ops::Range<usize>| -> Vec<Entry> {
        range.map(|number| entry(&format!("t/{number:07}"))).collect()
    };
    let full = MIN_ENTRIES;
    type Script = Arc<dyn Fn(usize) -> Option<SearchReply> + Send + Sync>;
    let scripts: [(&str, Script, usize); 8] = [
        ("outside", Arc::new(move |_| page(vec![entry("t/a"), entry("u/b")], false)), 0),
        ("unordered", Arc::new(move |_| page(vec![entry("t/b"), entry("t/a")], false)), 0),
        ("twice", Arc::new(move |_| page(vec![entry("t/a"), entry("t/a")], false)), 0),
        ("short", Arc::new(move |_| page(vec![entry("t/a")], true)), 0),
        ("nothing", Arc::new(move |_| page(Vec::new(), true)), 0),
        ("again", Arc::new(move |_| page(numbered(0..full), true)), full),
        ("hangs-up", Arc::new(move |n| page(numbered(0..full), true).filter(|_| n == 0)), full),
        ("other", Arc::new(|_| Some(SearchReply::Matches { matches: Vec::new(), more: false })), 0),
    ];
    for (what, script, kept) in scripts {
        let port = Port::scripted(what, move |number| script(number)).await;
        let listing = listed(&[&port], &folder("t")).await;
        assert_eq!(listing.silent, [name_of(what)], "{what}");
        assert_eq!(listing.entries.len(), kept, "{what}");
        port.end().await;
    }
    // A folder is in no glob, and a folder is not below itself as a file.
    let port = Port::scripted("file", move |_| page(vec![entry("t")], false)).await;
    assert_eq!(listed(&[&port], &folder("t")).await.silent.len(), 1);
    port.end().await;
}

#[tokio::test]
async fn a_silent_peer_delays_nobody_for_long_and_is_named() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let honest = Port::honest("honest", &[("t/a", "a", false)]).await;
    let peers = vec![peer("mute", &mute), honest.peer.clone()];
    let start = Instant::now();
    let listing = list(peers, &party(), &folder("t")).await.unwrap();
    assert!(start.elapsed() < SEARCH_DEADLINE * 3, "{:?}", start.elapsed());
    assert_eq!(listing.silent, [name_of("mute")]);
    assert_eq!(shape(&listing), [("t/a".to_owned(), false, vec!["honest".to_owned()])]);
    honest.end().await;
}

#[tokio::test]
async fn partial_owners_are_told_to_who_asks_for_a_content_and_to_nobody_else() {
    let file = FileId::of(b"content");
    let some: ChunkSet = [0, 5].into_iter().collect();
    let found = Match { name: name("a"), size: 7, file, chunks: Some(some.clone()) };
    let matches = vec![found];
    let partial = Port::scripted("partial", move |_| {
        Some(SearchReply::Matches { matches: matches.clone(), more: false })
    })
    .await;
    let whole = Port::honest("whole", &[("b", "content", false), ("c", "content", false)]).await;
    let peers = vec![partial.peer.clone(), whole.peer.clone()];
    assert_eq!(owners(peers.clone(), &party(), file, 8).await, [], "another size, another content");
    let mut sources = owners(peers.clone(), &party(), file, 7).await;
    sources.sort_by(|a, b| a.peer.name.cmp(&b.peer.name));
    let expected = [
        Source { peer: partial.peer.clone(), chunks: Some(some) },
        Source { peer: whole.peer.clone(), chunks: None },
    ];
    assert_eq!(sources, expected);
    // It says it to who asks for a name, too: that was not asked.
    let findings = ask(peers.clone(), &party(), &Pattern::Exact(name("a"))).await;
    assert_eq!((findings.found.len(), findings.silent), (0, vec![name_of("partial")]));
    let findings = ask(peers, &party(), &Pattern::Content(file)).await;
    let by: Vec<_> = findings.found.iter().flat_map(|found| &found.owners).collect();
    assert_eq!(by, [&whole.peer, &whole.peer]);
    partial.end().await;
    whole.end().await;
}
