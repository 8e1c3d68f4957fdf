//! Fetching when nothing goes wrong.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

mod common;

use common::{MIB, Node, Owner, content, wanted};
use shoal_node::transfer::StartError;
use shoal_node::transfer::job::{JobState, Sources};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_owner_for_any_size() {
    for size in [0, 1, 5000, MIB - 1, MIB, MIB + 1, 7 * MIB + 77] {
        let bytes = content(1, size);
        let owner = Owner::start("node1", &[("a.bin", &bytes)]).await;
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), &[&owner.peer]);
        let info = node.fetched("sub/copy.bin", &bytes).await;
        assert_eq!(info.state, JobState::Done, "{info:#?}");
        assert_eq!(std::fs::read(dir.path().join("sub/copy.bin")).unwrap(), bytes);
        assert_eq!(info.saved_as.unwrap().as_str(), "sub/copy.bin");
        assert_eq!(info.owners.iter().map(|owner| owner.bytes).sum::<u64>(), size as u64);
        let shared = node.catalog.find(&info.id.unwrap()).expect("it is an owner now");
        assert_eq!(shared.name.as_str(), "sub/copy.bin");
        for left in [".shoal/partial", ".shoal/staging"] {
            let left = std::fs::read_dir(dir.path().join(left));
            assert_eq!(left.map_or(0, |left| left.count()), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_three_owners_each_gives_a_share() {
    let bytes = content(2, 160 * MIB + 12_345);
    let mut owners = Vec::new();
    for name in ["node1", "node2", "node3"] {
        owners.push(Owner::start(name, &[("file.bin", &bytes)]).await);
    }
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &owners.iter().map(|o| &o.peer).collect::<Vec<_>>());
    let info = node.fetched("file.bin", &bytes).await;
    assert_eq!(info.state, JobState::Done, "{info:#?}");
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
    let shares: Vec<_> = info.owners.iter().map(|owner| owner.bytes).collect();
    assert_eq!(shares.len(), 3);
    assert!(shares.iter().all(|&share| share >= 4 * MIB as u64), "{shares:?}");
    assert_eq!(shares.iter().sum::<u64>(), bytes.len() as u64);
    assert_eq!((info.done, info.resumed), (info.size, 0));
    assert!(info.owners.iter().all(|owner| !owner.active && owner.trouble.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_of_three_when_that_is_wanted() {
    let bytes = content(3, 9 * MIB);
    let mut owners = Vec::new();
    for name in ["node1", "node2", "node3"] {
        owners.push(Owner::start(name, &[("file.bin", &bytes)]).await);
    }
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &owners.iter().map(|o| &o.peer).collect::<Vec<_>>());
    let mut only = wanted("file.bin", &bytes);
    only.from = Sources::Only(owners[1].peer.id);
    let job = node.downloads.start(only, Vec::new()).unwrap();
    let info = node.over(job).await;
    assert_eq!(info.owners.len(), 1);
    assert_eq!(info.owners[0].name.as_str(), "node2");
    assert_eq!(info.owners[0].bytes, bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_once_and_none_twice() {
    let files: Vec<_> =
        (0..8).map(|seed| (format!("{seed}.bin"), content(seed, 3 * MIB))).collect();
    let shared: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let owner = Owner::start("node1", &shared).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&owner.peer]);
    let jobs: Vec<_> = shared.iter().map(|(name, bytes)| node.fetch(name, bytes)).collect();
    let again = node.downloads.start(wanted("other.bin", shared[7].1), Vec::new());
    assert_eq!(again, Err(StartError::Running(jobs[7])));
    for (job, (name, bytes)) in jobs.iter().zip(&shared) {
        assert_eq!(node.over(*job).await.state, JobState::Done);
        assert_eq!(&std::fs::read(dir.path().join(name)).unwrap(), bytes);
    }
    let here = node.downloads.start(wanted("other.bin", shared[7].1), Vec::new());
    assert_eq!(here, Err(StartError::Here("7.bin".parse().unwrap())));
    assert_eq!(node.downloads.list().len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_other_content_is_never_overwritten() {
    let bytes = content(4, 2 * MIB);
    let owner = Owner::start("node1", &[("notes.txt", &bytes)]).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let node = Node::start(dir.path(), &[&owner.peer]);
    let info = node.fetched("notes.txt", &bytes).await;
    assert_eq!(info.state, JobState::Done);
    assert_eq!(info.saved_as.unwrap().as_str(), "notes (2).txt");
    assert_eq!(std::fs::read_to_string(dir.path().join("notes.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read(dir.path().join("notes (2).txt")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_here_but_not_yet_in_the_catalog_is_not_fetched_again() {
    let bytes = content(5, 2 * MIB);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("here.bin"), &bytes).unwrap();
    let node = Node::start(dir.path(), &[]);
    let info = node.fetched("here.bin", &bytes).await;
    assert_eq!(info.state, JobState::Done);
    assert_eq!(info.saved_as.unwrap().as_str(), "here.bin");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the file and `.shoal`");
}
