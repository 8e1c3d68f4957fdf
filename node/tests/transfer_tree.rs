//! Fetching folders and globs: real nodes, a real tracker.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

mod network;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use network::{Network, PATIENCE, TestNode, eventually};
use shoal_node::transfer::job::{JobInfo, JobState, Order, Sources, Wanted, What};

fn content(seed: &str, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn tree(typed: &str) -> Wanted {
    Wanted { what: What::Tree(typed.to_owned()), from: Sources::All, order: Order::Any }
}

async fn fetched(node: &TestNode, wanted: Wanted) -> JobInfo {
    let job = node.app().download(wanted).unwrap();
    let over = tokio::time::timeout(PATIENCE, node.app().finished(job)).await;
    over.unwrap_or_else(|_| panic!("not over: {:#?}", node.app().jobs())).unwrap()
}

async fn see(node: &TestNode, count: usize) {
    eventually("all see each other", || node.app().peers().len() == count).await;
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Names and sizes of everything below a folder, hidden things left out.
fn everything(dir: &Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            if name.starts_with('.') {
                continue;
            }
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
                all.push((format!("{name}/"), 0));
            } else {
                all.push((name, meta.len()));
            }
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_comes_as_it_is_names_empty_folders_and_the_executable_bit() {
    let network = Network::start().await;
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 9_999, 256 * 1024, 256 * 1024 + 1, 3_000_000];
    for (at, size) in sizes.iter().enumerate() {
        write(
            dir.path(),
            &format!("docs/sub {at}/datei-ä{at}.bin"),
            &content(&at.to_string(), *size),
        );
    }
    write(dir.path(), "docs/run.sh", b"#!/bin/sh\n");
    write(dir.path(), "other/not.txt", b"not of the folder");
    let script = dir.path().join("docs/run.sh");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(dir.path().join("docs/empty/deeper")).unwrap();
    let owner = network.node_on("owner", dir).await;
    let node = network.node("node", &[]).await;
    see(&node, 1).await;
    let info = fetched(&node, tree("docs/")).await;
    assert_eq!(info.state, JobState::Done, "{info:#?}");
    let files = info.files.unwrap();
    assert_eq!((files.total, files.done, files.failed), (7, 7, 0));
    assert_eq!((info.done, info.id), (info.size, None));
    let here = everything(&node.dir.path().join("docs"));
    assert_eq!(here, everything(&owner.dir.path().join("docs")));
    assert!(here.contains(&("empty/deeper/".to_owned(), 0)));
    assert!(!node.dir.path().join("other").exists());
    for (at, size) in sizes.iter().enumerate() {
        let path = node.dir.path().join(format!("docs/sub {at}/datei-ä{at}.bin"));
        assert_eq!(std::fs::read(path).unwrap(), content(&at.to_string(), *size));
    }
    let mode = std::fs::metadata(node.dir.path().join("docs/run.sh")).unwrap().permissions().mode();
    assert_eq!(mode & 0o100, 0o100);
    let again = fetched(&node, tree("docs/")).await;
    assert_eq!((again.state, again.resumed), (JobState::Done, again.size), "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_files_come_from_all_owners_and_are_shared_on() {
    let network = Network::start().await;
    let names: Vec<_> = (0..600).map(|at| format!("many/{at:04}.txt")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), content(name, 1000))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let one = network.node("one", &files).await;
    let two = network.node("two", &files).await;
    let node = network.node("node", &[]).await;
    see(&node, 2).await;
    let info = fetched(&node, tree("many/*.txt")).await;
    assert_eq!(info.state, JobState::Done, "{info:#?}");
    assert_eq!(info.owners.iter().map(|owner| owner.bytes).sum::<u64>(), 600_000);
    assert_eq!(node.app().show().len(), 600, "it is an owner of all now");
    for (name, bytes) in &files {
        assert_eq!(&std::fs::read(node.dir.path().join(name)).unwrap(), bytes);
    }
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_had_is_listed_and_the_rest_comes() {
    let network = Network::start().await;
    let big = content("big", 700_000);
    let owner = network
        .node("owner", &[("a/one.txt", b"one"), ("a/sub/two.txt", b"two"), ("a/big.bin", &big)])
        .await;
    let node = network.node("node", &[("a/sub", b"a file, where a folder is needed")]).await;
    see(&node, 1).await;
    let info = fetched(&node, tree("a/")).await;
    assert_eq!(info.state, JobState::Failed, "{info:#?}");
    let files = info.files.unwrap();
    assert_eq!((files.total, files.done, files.failed), (3, 2, 1));
    assert_eq!(info.failures[0].name.as_str(), "a/sub/two.txt");
    assert_eq!(std::fs::read(node.dir.path().join("a/big.bin")).unwrap(), big);
    // Out of the way: now only that one is fetched.
    std::fs::remove_file(node.dir.path().join("a/sub")).unwrap();
    let again = fetched(&node, tree("a/")).await;
    assert_eq!(again.state, JobState::Done, "{again:#?}");
    assert_eq!(again.resumed, again.size - 3);
    assert_eq!(std::fs::read(node.dir.path().join("a/sub/two.txt")).unwrap(), b"two");
    drop(owner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_contents_the_one_most_owners_have_or_that_of_the_one_chosen() {
    let network = Network::start().await;
    let one = network.node("one", &[("d/x.txt", b"most")]).await;
    let two = network.node("two", &[("d/x.txt", b"most")]).await;
    let three = network.node("three", &[("d/x.txt", b"other")]).await;
    let (first, second) = (network.node("a", &[]).await, network.node("b", &[]).await);
    see(&first, 4).await;
    see(&second, 4).await;
    assert_eq!(fetched(&first, tree("d/")).await.state, JobState::Done);
    assert_eq!(std::fs::read(first.dir.path().join("d/x.txt")).unwrap(), b"most");
    let from = Sources::Only(three.app().identity().id);
    assert_eq!(fetched(&second, Wanted { from, ..tree("d/") }).await.state, JobState::Done);
    assert_eq!(std::fs::read(second.dir.path().join("d/x.txt")).unwrap(), b"other");
    drop((one, two));
}
