//! Downloads that are paused, queued, put in order, and that outlive their
//! node.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::time::Duration;

use common::rogue::{Fault, Rogue};
use common::{MIB, Node, Owner, PATIENCE, content, eventually, wanted};
use shoal_node::transfer::job::{JobState, Priority};
use shoal_node::transfer::{JobError, StartError};
use tokio::time::timeout;

const SLOWLY: Duration = Duration::from_millis(80);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_keeps_what_came_and_outlives_the_node() {
    let bytes = content(1, 16 * MIB + 5);
    let slow = Rogue::slow("node1", &bytes, Fault::None, SLOWLY).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&slow.peer]);
    let job = node.fetch("file.bin", &bytes);
    node.has(job, 3 * MIB).await;
    node.downloads.pause(job).unwrap();
    node.downloads.settled(job).await;
    let paused = node.info(job);
    assert_eq!(paused.state, JobState::Paused);
    assert!(paused.done >= 3 * MIB as u64, "{paused:#?}");
    assert_eq!(node.downloads.pause(job), Err(JobError::Paused(job)));
    node.kill().await;

    // It is paused in the next life, too, until it is told to go on.
    let owner = Owner::start("node2", &[("file.bin", &bytes)]).await;
    let node = Node::start(dir.path(), &[&owner.peer]);
    assert_eq!(node.downloads.resume(), [job]);
    assert_eq!(node.info(job).state, JobState::Paused);
    node.downloads.unpause(job).unwrap();
    let info = node.over(job).await;
    assert_eq!(info.state, JobState::Done);
    assert!(info.resumed >= 3 * MIB as u64, "{info:#?}");
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
    assert_eq!(node.downloads.unpause(job), Err(JobError::Over(job)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_and_a_change_of_mind_lose_nothing() {
    let bytes = content(2, 12 * MIB);
    let owner = Rogue::slow("node1", &bytes, Fault::None, Duration::from_millis(20)).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&owner.peer]);
    let job = node.fetch("file.bin", &bytes);
    for moment in 0..20 {
        if node.downloads.pause(job).is_err() {
            break;
        }
        node.downloads.unpause(job).unwrap();
        tokio::time::sleep(Duration::from_millis(moment * 3)).await;
    }
    let info = node.over(job).await;
    assert_eq!(info.state, JobState::Done, "{info:#?}");
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_run_and_the_important_ones_first() {
    let files: Vec<_> = (10..14).map(|seed| content(seed, 8 * MIB)).collect();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    node.downloads.set_max(1);
    let mut owners = Vec::new();
    let mut jobs = Vec::new();
    for (number, bytes) in files.iter().enumerate() {
        let owner = Rogue::slow("node1", bytes, Fault::None, SLOWLY).await;
        let wanted = wanted(&format!("{number}.bin"), bytes);
        jobs.push(node.downloads.start(wanted, vec![owner.peer.clone()]).unwrap());
        node.network.lock().unwrap().push(owner.peer.clone());
        owners.push(owner);
    }
    node.has(jobs[0], 1).await;
    let states = || node.downloads.list().iter().map(|info| info.state).collect::<Vec<_>>();
    assert!(states()[1..].iter().all(|state| *state == JobState::Queued), "{:?}", states());

    // The last becomes the first: what ran is queued, and keeps what came.
    node.downloads.prioritize(jobs[3], Priority::High).unwrap();
    node.has(jobs[3], 1).await;
    node.in_state(jobs[0], JobState::Queued).await;
    assert!(node.info(jobs[0]).done > 0);
    assert_eq!(node.info(jobs[3]).priority, Priority::High);

    // One that waits in the queue is cancelled at once.
    node.downloads.cancel(jobs[1]).unwrap();
    assert_eq!(node.info(jobs[1]).state, JobState::Cancelled);

    node.downloads.set_max(3);
    eventually("both run", || {
        let moves = |job: u32| node.info(job).state.is_moving();
        (moves(jobs[0]) && moves(jobs[2])).then_some(())
    })
    .await;
    for (number, job) in jobs.iter().enumerate().filter(|(number, _)| *number != 1) {
        let info = node.over(*job).await;
        assert_eq!(info.state, JobState::Done, "{info:#?}");
        let path = dir.path().join(format!("{number}.bin"));
        assert_eq!(std::fs::read(path).unwrap(), files[number]);
    }
    assert!(node.info(jobs[0]).resumed > 0, "it went on with what had come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_tried_again_as_a_new_job() {
    let bytes = content(3, 3 * MIB);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("docs"), "a file").unwrap();
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let node = Node::start(dir.path(), &[&owner.peer]);
    let job = node.fetch("docs/file.bin", &bytes);
    assert_eq!(node.over(job).await.state, JobState::Failed);
    assert_eq!(node.downloads.retry(99), Err(JobError::NoSuchJob(99)));
    std::fs::remove_file(dir.path().join("docs")).unwrap();
    let again = node.downloads.retry(job).unwrap();
    assert_eq!(again, job + 1);
    assert_eq!(node.over(again).await.state, JobState::Done);
    assert_eq!(std::fs::read(dir.path().join("docs/file.bin")).unwrap(), bytes);
    let here = node.downloads.retry(job).unwrap_err();
    assert!(matches!(here, JobError::Start(StartError::Here(_))), "{here}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_priority_and_limit_outlive_the_node() {
    let (one, two) = (content(4, 2 * MIB), content(5, 2 * MIB));
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let (first, second) = (node.fetch("one.bin", &one), node.fetch("two.bin", &two));
    assert_eq!(node.downloads.retry(first), Err(JobError::NotOver(first)));
    node.downloads.prioritize(second, Priority::High).unwrap();
    node.downloads.set_limit(second, Some(1_000_000)).unwrap();
    node.downloads.cancel(first).unwrap();
    node.over(first).await;
    node.kill().await;

    let owner = Owner::start("node1", &[("two.bin", &two)]).await;
    let node = Node::start(dir.path(), &[&owner.peer]);
    assert_eq!(node.downloads.resume(), [second]);
    let info = node.info(second);
    assert_eq!((info.priority, info.limit), (Priority::High, Some(1_000_000)));
    let info = node.over(second).await;
    assert_eq!(info.state, JobState::Done);
    assert_eq!((info.priority, info.limit), (Priority::High, Some(1_000_000)));
    assert_eq!(node.fetch("one.bin", &one), second + 1, "a number is used once");
    node.kill().await;
    let node = Node::start(dir.path(), &[]);
    assert_eq!(node.downloads.resume().len(), 1, "what is done does not go on");
}

/// Whoever waits for the end of a download does not wait for ever when its node
/// is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_queued_or_paused_one_hears_that_the_node_left() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    node.downloads.set_max(1);
    let jobs = [node.fetch("a", b"a"), node.fetch("b", b"b"), node.fetch("c", b"c")];
    node.downloads.pause(jobs[2]).unwrap();
    let downloads = node.downloads.clone();
    let waiting = async {
        for job in jobs {
            downloads.finished(job).await.unwrap();
        }
    };
    let (left, waited) = tokio::join!(node.downloads.drain(Duration::ZERO), async {
        timeout(PATIENCE, waiting).await
    });
    waited.expect("nobody says that the node left");
    assert_eq!(left.len(), 3);
}
