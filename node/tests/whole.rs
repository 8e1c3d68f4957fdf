//! Whole nodes with a whole tracker: the main job and the faults around it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::time::Duration;

use network::{HEARTBEAT, Network, PATIENCE, TestNode, eventually};
use shoal_common::content::FileId;
use shoal_node::app::node::{Node, Sharing};
use shoal_node::catalog::found::Findings;
use shoal_node::transfer::job::{JobInfo, JobState, Sources, Wanted};

/// Bytes that are the same in every run and nowhere repeat.
fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"whole").finalize_xof().fill(&mut bytes);
    bytes
}

fn wanted(findings: &Findings, from: Sources) -> Wanted {
    let found = &findings.found[0];
    Wanted { from, ..Wanted::file(found.name.clone(), found.id, found.size) }
}

async fn finished(node: &TestNode, job: u32) -> JobInfo {
    tokio::time::timeout(PATIENCE, node.app().finished(job))
        .await
        .expect("the download hangs")
        .unwrap()
}

async fn see_each_other(nodes: &[&TestNode], count: usize) {
    for node in nodes {
        eventually("everyone is seen", || node.app().peers().len() == count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_from_all_owners_at_once_and_then_from_its_new_owner() {
    const SIZE: usize = 192 << 20;
    let network = Network::start().await;
    // Long enough that all three have joined in before it is over.
    let file = content(SIZE);
    let one = network.node("node1", &[("big/file.deb", &file)]).await;
    let two = network.node("node2", &[("big/file.deb", &file)]).await;
    let three = network.node("node3", &[("big/file.deb", &file)]).await;
    let four = network.node("node4", &[]).await;
    see_each_other(&[&four], 3).await;

    let findings = four.app().find("big/file.deb").await.unwrap();
    assert_eq!((findings.found.len(), findings.found[0].owners.len()), (1, 3));
    assert_eq!(findings.found[0].id, FileId::of(&file));
    let job = four.app().download(wanted(&findings, Sources::All)).unwrap();
    let done = finished(&four, job).await;
    assert_eq!(done.state, JobState::Done, "{done:?}");
    assert_eq!(done.saved_as.unwrap().as_str(), "big/file.deb");
    assert!(std::fs::read(four.dir.path().join("big/file.deb")).unwrap() == file);
    assert_eq!(done.owners.len(), 3);
    for owner in &done.owners {
        assert!(owner.bytes > 0, "{owner:?} gave nothing");
    }
    assert_eq!(done.owners.iter().map(|owner| owner.bytes).sum::<u64>(), SIZE as u64);

    // The newcomer is an owner now, without hashing anything again.
    for owner in [one, two, three] {
        owner.stop().await;
    }
    let five = network.node("node5", &[]).await;
    see_each_other(&[&five], 1).await;
    let findings = five.app().find("big/file.deb").await.unwrap();
    let from = Sources::Only(findings.found[0].owners[0].id);
    let job = five.app().download(wanted(&findings, from)).unwrap();
    assert_eq!(finished(&five, job).await.state, JobState::Done);
    assert!(std::fs::read(five.dir.path().join("big/file.deb")).unwrap() == file);
    four.stop().await;
    five.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracker_that_dies_and_returns_does_not_touch_a_download() {
    let network = Network::start().await;
    let file = content(256 << 20);
    let one = network.node("one", &[("file", &file)]).await;
    let two = network.node("two", &[]).await;
    see_each_other(&[&one, &two], 1).await;
    let findings = two.app().find("file").await.unwrap();

    let job = two.app().download(wanted(&findings, Sources::All)).unwrap();
    network.stop_tracker();
    let at_loss = two.app().jobs()[0].done;
    // Known peers can be asked while there is no tracker.
    eventually("the tracker is missed", || {
        two.app().identity().link == shoal_node::membership::Link::Searching
    })
    .await;
    assert_eq!(two.app().find("file").await.unwrap().found.len(), 1);
    network.restart_tracker().await;
    let done = finished(&two, job).await;
    assert_eq!(
        done.state,
        JobState::Done,
        "{done:?}, {at_loss} bytes were there when the tracker went"
    );
    assert!(std::fs::read(two.dir.path().join("file")).unwrap() == file);

    let newcomer = network.node("late", &[]).await;
    see_each_other(&[&newcomer, &one, &two], 2).await;
    for node in [one, two, newcomer] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_contents_of_one_name_are_two_files() {
    let network = Network::start().await;
    let one = network.node("one", &[("notes.txt", b"these notes")]).await;
    let two = network.node("two", &[("notes.txt", b"those notes")]).await;
    let three = network.node("three", &[("notes.txt", b"my own")]).await;
    see_each_other(&[&three], 2).await;
    let findings = three.app().find("notes.txt").await.unwrap();
    assert_eq!(findings.found.len(), 2);
    let jobs: Vec<_> = findings
        .found
        .iter()
        .map(|found| {
            let wanted = Wanted::file(found.name.clone(), found.id, found.size);
            three.app().download(wanted).unwrap()
        })
        .collect();
    let mut saved = Vec::new();
    for job in jobs {
        let done = finished(&three, job).await;
        assert_eq!(done.state, JobState::Done, "{done:?}");
        saved.push(
            std::fs::read_to_string(three.dir.path().join(done.saved_as.unwrap().as_str()))
                .unwrap(),
        );
    }
    saved.sort();
    assert_eq!(saved, ["these notes", "those notes"]);
    assert_eq!(std::fs::read_to_string(three.dir.path().join("notes.txt")).unwrap(), "my own");
    for node in [one, two, three] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_at_the_end_goes_on_at_the_next_start() {
    let network = Network::start().await;
    let file = content(512 << 20);
    let one = network.node("one", &[("file", &file)]).await;
    let two = network.node("two", &[]).await;
    see_each_other(&[&two], 1).await;
    let findings = two.app().find("file").await.unwrap();
    let job = two.app().download(wanted(&findings, Sources::All)).unwrap();
    eventually("some of it is here", || two.app().jobs()[0].done > 8 << 20).await;
    assert!(!two.app().jobs()[0].state.is_over(), "too fast to be interrupted: job {job}");
    let dir = two.stop().await;
    assert!(!dir.path().join("file").exists(), "half a file under its final name");

    let two = network.node_on("two", dir).await;
    two.node().resume();
    let done = finished(&two, 1).await;
    assert_eq!(done.state, JobState::Done, "{done:?}");
    assert!(done.resumed >= 8 << 20, "{done:?}");
    assert!(std::fs::read(two.dir.path().join("file")).unwrap() == file);
    for node in [one, two] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_waits_for_its_uploads_within_its_grace() {
    let network = Network::start().await;
    let file = content(256 << 20);
    let one = network.node("one", &[("file", &file)]).await;
    let two = network.node("two", &[]).await;
    see_each_other(&[&two], 1).await;
    let findings = two.app().find("file").await.unwrap();
    let job = two.app().download(wanted(&findings, Sources::All)).unwrap();
    eventually("the upload runs", || !one.app().uploads().is_empty()).await;
    let (stopped, done) = tokio::join!(one.stop_gracefully(PATIENCE), finished(&two, job));
    assert_eq!(done.state, JobState::Done, "{done:?}");
    drop(stopped);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_only_fetches_shares_nothing_and_leaves_no_trace() {
    let network = Network::start().await;
    let one = network.node("one", &[("file", b"content")]).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("private"), "private").unwrap();
    let node = Node::start(&network.config("guest", dir.path()), Sharing::Nothing).unwrap();
    tokio::time::timeout(PATIENCE, node.app().registered()).await.unwrap();
    eventually("they see each other", || {
        node.app().peers().len() == 1 && one.app().peers().len() == 1
    })
    .await;
    assert!(one.app().search("private").await.unwrap().found.is_empty());
    let findings = node.app().find("file").await.unwrap();
    let job = node.app().download(wanted(&findings, Sources::All)).unwrap();
    let done = tokio::time::timeout(PATIENCE, node.app().finished(job)).await.unwrap().unwrap();
    assert_eq!(done.state, JobState::Done, "{done:?}");
    let volume = node.volume().clone();
    node.stop(Duration::ZERO, std::future::pending()).await;
    volume.forget().unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["file", "private"]);
    eventually("it left", || one.app().peers().is_empty()).await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_exits_is_gone_at_once() {
    let network = Network::start().await;
    let one = network.node("one", &[]).await;
    let two = network.node("two", &[]).await;
    see_each_other(&[&one], 1).await;
    let start = tokio::time::Instant::now();
    two.stop().await;
    eventually("it is gone", || one.app().peers().is_empty()).await;
    assert!(start.elapsed() < HEARTBEAT.max(Duration::from_secs(1)), "{:?}", start.elapsed());
    one.stop().await;
}
