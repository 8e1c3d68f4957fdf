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
use std::sync::Arc;
use std::time::Duration;

use network::{PATIENCE, eventually};
use shoal_common::content::{FileId, Manifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::MAX_FILE;
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::Pattern;
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use shoal_node::catalog::ask::ask;
use shoal_node::catalog::index::Shared;
use shoal_node::catalog::serve::{Circle, answer};
use shoal_node::catalog::{Catalog, keep_up};
use shoal_node::notice::Notices;
use shoal_node::volume::{Stamp, Volume};
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
async fn files_of_any_size_get_the_id_of_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let portion = 4 << 20;
    let sizes = [0, 1, 262_144, 262_145, portion, portion + 1, 3 * portion - 1, 5 * portion + 77];
    let content = |size: usize| {
        let mut bytes = vec![0; size];
        blake3::Hasher::new().update(&size.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    };
    for (number, &size) in sizes.iter().enumerate() {
        fs::write(dir.path().join(format!("{number}")), content(size)).unwrap();
    }
    for number in 0..500 {
        fs::write(dir.path().join(format!("small {number}")), format!("{number}")).unwrap();
    }
    let (catalog, tasks) = start(dir.path()).await;
    for (number, &size) in sizes.iter().enumerate() {
        let found = catalog.find(&FileId::of(&content(size))).expect("it is known");
        assert_eq!(found.name.as_str(), format!("{number}"));
        assert_eq!(found.manifest.geometry().size(), size as u64);
    }
    for number in 0..500 {
        assert!(catalog.find(&FileId::of(format!("{number}").as_bytes())).is_some());
    }
    assert_eq!(catalog.totals().0, sizes.len() + 500);
    assert_eq!(catalog.indexing(), None);
    tasks.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_file_that_can_not_be_shared_keeps_no_other_from_it_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let sparse = fs::File::create(dir.path().join("huge")).unwrap();
    sparse.set_len(MAX_FILE + 1).unwrap();
    fs::write(dir.path().join("small"), "small").unwrap();
    let notices = Notices::default();
    let mut heard = notices.listen();
    let tasks = Tasks::new(Handle::current());
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    keep_up(catalog.clone(), notices, &tasks);
    tokio::time::timeout(PATIENCE, catalog.completed()).await.unwrap();
    assert_eq!(names(&catalog), ["small"]);
    let line = heard.try_recv().unwrap();
    assert!(line.starts_with("`huge` is not shared: a file of"), "{line}");
    tasks.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn hashing_gives_way_to_transfers_and_ends_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![7; 8 << 20];
    let tasks = Tasks::new(Handle::current());
    let catalog = Catalog::new(Volume::open(dir.path()).unwrap());
    // A transfer of a gigabyte a second.
    let traffic = catalog.traffic().clone();
    tasks.spawn(Span::none(), async move {
        loop {
            traffic.moved(1 << 20);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    fs::write(dir.path().join("file"), &content).unwrap();
    keep_up(catalog.clone(), Notices::default(), &tasks);
    tokio::time::timeout(PATIENCE, catalog.completed()).await.unwrap();
    assert!(catalog.find(&FileId::of(&content)).is_some());
    tasks.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn what_a_download_adds_is_not_hashed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, tasks) = start(dir.path()).await;
    let path = dir.path().join("file");
    fs::write(&path, "content").unwrap();
    let stamp = Stamp::of(&fs::File::open(&path).unwrap()).unwrap();
    // Another id than it has, so that it shows whether the file is read.
    let manifest = Manifest::of_one_chunk(FileId::of(b"CONTENT"), 7).unwrap();
    let (name, manifest) = ("file".parse().unwrap(), Arc::new(manifest));
    catalog.add_many([Shared { name, stamp, executable: false, manifest }]);
    // Found by a later look than the one that the file causes.
    fs::write(dir.path().join("later"), "later").unwrap();
    eventually("the folder was looked at", || catalog.find(&FileId::of(b"later")).is_some()).await;
    assert_eq!(catalog.named(&"file".parse().unwrap()), Some(FileId::of(b"CONTENT")));
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
    let us = Party::new("test", NodeId::random());
    let circle = Circle::alone(us.clone());
    tasks.spawn(
        Span::none(),
        serve(listener, us.clone(), &[Talk::Search], 10, tasks.clone(), move |guest| {
            answer(guest, catalog.clone(), circle.clone())
        }),
    );
    // Accepts into its queue and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = |name: &str, search| Peer {
        id: NodeId::random(),
        name: name.parse().unwrap(),
        search,
        download: search,
        joined: 0,
    };
    let peers =
        vec![peer("one", address), peer("mute", mute.local_addr().unwrap()), peer("two", address)];

    let start = tokio::time::Instant::now();
    let findings = ask(peers, &us, &Pattern::Glob("*.txt".to_owned())).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(findings.found.len(), 1);
    assert_eq!(findings.found[0].id, FileId::of(b"notes"));
    assert_eq!(findings.found[0].owners.len(), 2);
    assert_eq!(findings.silent, ["mute".parse().unwrap()]);
    tasks.stop(PATIENCE).await.unwrap();
}
