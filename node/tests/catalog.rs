//! The catalog against a real folder and a real search port.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::fs;
use std::path::Path;
use std::time::Duration;

use network::{PATIENCE, eventually};
use shoal_common::content::FileId;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::protocol::greeting::Hello;
use shoal_common::protocol::search::Pattern;
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use shoal_node::catalog::ask::ask;
use shoal_node::catalog::{Catalog, keep_up, serve::answer};
use shoal_node::notice::Notices;
use shoal_node::volume::Volume;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::Span;

async fn start(folder: &Path) -> (Catalog, Tasks) {
    let tasks = Tasks::new(Handle::current());
    let catalog = Catalog::new(Volume::open(folder).unwrap());
    keep_up(catalog.clone(), Notices::default(), &tasks);
    tokio::time::timeout(PATIENCE, catalog.completed()).await.unwrap();
    (catalog, tasks)
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.list().iter().map(|file| file.name.to_string()).collect()
}

#[tokio::test]
async fn files_come_change_and_go() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("early"), "early").unwrap();
    let (catalog, tasks) = start(dir.path()).await;
    assert_eq!(names(&catalog), ["early"]);

    let start = tokio::time::Instant::now();
    fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
    fs::write(dir.path().join("sub/deep/late"), "late").unwrap();
    eventually("the new file is shared", || names(&catalog) == ["early", "sub/deep/late"]).await;
    // A look without being told comes only every ten seconds.
    assert!(start.elapsed() < Duration::from_secs(8), "heard of it after {:?}", start.elapsed());

    fs::write(dir.path().join("sub/deep/late"), "changed").unwrap();
    eventually("the new content is shared", || catalog.find(&FileId::of(b"changed")).is_some())
        .await;
    assert!(catalog.find(&FileId::of(b"late")).is_none(), "the old content is still offered");

    fs::rename(dir.path().join("early"), dir.path().join("renamed")).unwrap();
    fs::remove_dir_all(dir.path().join("sub")).unwrap();
    eventually("only the renamed file is shared", || names(&catalog) == ["renamed"]).await;
    tasks.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn nothing_is_hashed_twice() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "content").unwrap();
    let (catalog, tasks) = start(dir.path()).await;
    tasks.stop(PATIENCE).await.unwrap();
    drop(catalog);

    // Other content under the old stamp: the index is believed, so the old id
    // shows that the file was not read again.
    let path = dir.path().join("file");
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "CONTENT").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    let (catalog, tasks) = start(dir.path()).await;
    assert!(catalog.find(&FileId::of(b"content")).is_some());
    tasks.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn peers_are_asked_at_once_and_a_silent_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "notes").unwrap();
    let (catalog, tasks) = start(dir.path()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hello = Hello::new("test", NodeId::random());
    tasks.spawn(
        Span::none(),
        serve(listener, hello.clone(), 10, tasks.clone(), move |guest| {
            answer(guest, catalog.clone())
        }),
    );
    // Accepts into its queue and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = |name: &str, search| Peer {
        id: NodeId::random(),
        name: name.parse().unwrap(),
        search,
        download: search,
    };
    let peers =
        vec![peer("one", address), peer("mute", mute.local_addr().unwrap()), peer("two", address)];

    let start = tokio::time::Instant::now();
    let findings = ask(peers, &hello, &Pattern::Glob("*.txt".to_owned())).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(findings.found.len(), 1);
    assert_eq!(findings.found[0].id, FileId::of(b"notes"));
    assert_eq!(findings.found[0].owners.len(), 2);
    assert_eq!(findings.silent, ["mute".parse().unwrap()]);
    tasks.stop(PATIENCE).await.unwrap();
}
