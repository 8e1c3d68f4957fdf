//! Downloads that stop in the middle, and disks that are full.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::rogue::{Fault, Rogue};
use common::{MIB, Node, Owner, content, manifest_of};
use shoal_common::content::FileId;
use shoal_common::limits::MAX_ASKS;
use shoal_node::transfer::JobError;
use shoal_node::transfer::job::JobState;
use shoal_node::volume::Stamp;

const SLOWLY: Duration = Duration::from_millis(80);

fn data_of(dir: &Path, bytes: &[u8]) -> std::path::PathBuf {
    dir.join(".shoal/partial").join(FileId::of(bytes).to_string()).join("data")
}

/// A node that has fetched at least a third of `bytes` and was then killed.
async fn killed_in_the_middle(dir: &Path, bytes: &[u8]) {
    let owner = Rogue::slow("node1", bytes, Fault::None, SLOWLY).await;
    let node = Node::start(dir, &[&owner.peer]);
    let job = node.fetch("file.bin", bytes);
    node.has(job, bytes.len() / 3).await;
    node.kill().await;
    assert!(!dir.join("file.bin").exists(), "never visible before it is whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_after_it_was_killed() {
    let bytes = content(1, 24 * MIB + 9);
    let dir = tempfile::tempdir().unwrap();
    killed_in_the_middle(dir.path(), &bytes).await;
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let node = Node::start(dir.path(), &[&owner.peer]);
    let jobs = node.downloads.resume();
    let info = node.over(jobs[0]).await;
    assert_eq!(info.state, JobState::Done);
    assert!(info.resumed >= info.size / 3, "{info:#?}");
    assert_eq!(info.owners[0].bytes + info.resumed, info.size, "no chunk was fetched twice");
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_behind_the_disk_ends_no_download() {
    let bytes = content(7, 24 * MIB + 9);
    let dir = tempfile::tempdir().unwrap();
    killed_in_the_middle(dir.path(), &bytes).await;
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let node = Node::start(dir.path(), &[&owner.peer]);
    // The index of the last time says that the file is here, under its name and
    // another: both were deleted since.
    for name in ["file.bin", "copy.bin"] {
        let path = dir.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let stamp = Stamp::of(&std::fs::File::open(&path).unwrap()).unwrap();
        node.catalog.add(name.parse().unwrap(), stamp, Arc::new(manifest_of(&bytes)));
        std::fs::remove_file(&path).unwrap();
    }
    let info = node.over(node.downloads.resume()[0]).await;
    assert_eq!(info.state, JobState::Done);
    assert!(info.resumed >= info.size / 3, "{info:#?}");
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hash_is_trusted_not_the_bookkeeping() {
    let bytes = content(2, 24 * MIB + 9);
    let dir = tempfile::tempdir().unwrap();
    killed_in_the_middle(dir.path(), &bytes).await;
    let mut data = std::fs::read(data_of(dir.path(), &bytes)).unwrap();
    let here = (0..data.len()).step_by(MIB).find(|&at| data[at..][..MIB] == bytes[at..][..MIB]);
    data[here.expect("some of it was here") + MIB / 2] ^= 1;
    std::fs::write(data_of(dir.path(), &bytes), data).unwrap();
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let node = Node::start(dir.path(), &[&owner.peer]);
    let info = node.over(node.downloads.resume()[0]).await;
    assert!(info.resumed > 0);
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_list_costs_the_list_and_a_damaged_note_nothing() {
    let bytes = content(3, 12 * MIB);
    let dir = tempfile::tempdir().unwrap();
    killed_in_the_middle(dir.path(), &bytes).await;
    std::fs::write(data_of(dir.path(), &bytes).with_file_name("note"), b"\xc1garbage").unwrap();
    std::fs::write(dir.path().join(".shoal/jobs"), b"\xc1garbage").unwrap();
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let node = Node::start(dir.path(), &[&owner.peer]);
    assert!(node.downloads.resume().is_empty());
    let info = node.fetched("file.bin", &bytes).await;
    assert!(info.resumed >= info.size / 3);
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_is_kept_until_it_is_asked_for_again() {
    let bytes = content(4, 24 * MIB);
    let dir = tempfile::tempdir().unwrap();
    let slow = Rogue::slow("node1", &bytes, Fault::None, SLOWLY).await;
    let node = Node::start(dir.path(), &[&slow.peer]);
    let job = node.fetch("file.bin", &bytes);
    node.has(job, 6 * MIB).await;
    node.downloads.cancel(job).unwrap();
    assert_eq!(node.over(job).await.state, JobState::Cancelled);
    assert_eq!(node.downloads.cancel(job), Err(JobError::Over(job)));
    assert_eq!(node.downloads.cancel(99), Err(JobError::NoSuchJob(99)));
    node.kill().await;

    let owner = Owner::start("node2", &[("file.bin", &bytes)]).await;
    let node = Node::start(dir.path(), &[&owner.peer]);
    assert!(node.downloads.resume().is_empty(), "it was cancelled");
    let info = node.fetched("file.bin", &bytes).await;
    assert!(info.resumed >= 6 * MIB as u64);
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_leaving_running_ones_may_end_and_the_others_go_on_next_time() {
    let (short, long) = (content(5, 6 * MIB), content(6, 100 * MIB));
    let one = Rogue::slow("node1", &short, Fault::None, SLOWLY).await;
    let two = Rogue::slow("node2", &long, Fault::None, Duration::from_millis(200)).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let start = |name, bytes: &[u8], owner: &Rogue| {
        node.downloads.start(common::wanted(name, bytes), vec![owner.peer.clone()]).unwrap()
    };
    let (quick, slow) = (start("quick.bin", &short, &one), start("slow.bin", &long, &two));
    node.has(slow, MIB).await;
    let left = node.downloads.drain(Duration::from_secs(3)).await;
    assert_eq!(left.iter().map(|info| info.job).collect::<Vec<_>>(), [slow]);
    assert_eq!(node.info(quick).state, JobState::Done);
    let refused = node.downloads.start(common::wanted("other", b"other"), Vec::new());
    assert_eq!(refused, Err(shoal_node::transfer::StartError::Leaving));
    node.kill().await;
    let node = Node::start(dir.path(), &[]);
    assert_eq!(node.downloads.resume().len(), 1);
}

/// A file system of `size` bytes; `None` where this user may not make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(dir));
        }
        assert!(std::env::var_os("CI").is_none(), "a small tmpfs can't be mounted");
        common::skipped("a small tmpfs can only be mounted by root");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmount.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_before_the_first_byte() {
    let Some(disk) = SmallDisk::new("8m") else { return };
    let (large, small) = (content(7, 20 * MIB), content(8, 2 * MIB));
    let owner = Rogue::start("node1", &large, Fault::None).await;
    let node = Node::start(disk.0.path(), &[&owner.peer]);
    let info = node.fetched("file.bin", &large).await;
    assert_eq!(info.state, JobState::Failed);
    let reason = info.reason.unwrap();
    assert!(
        reason.starts_with(&format!("not enough space: needs {} bytes, has ", 20 * MIB)),
        "{reason}"
    );
    let asked = owner.asked.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(asked, 1, "nothing but the chunk that proves the size is asked for");
    let left = std::fs::read_dir(disk.0.path().join(".shoal/partial")).unwrap().count();
    assert_eq!(left, 0, "nothing came, nothing is kept");

    // What fits is fetched, beside a file that has its name.
    std::fs::write(disk.0.path().join("small.bin"), "mine").unwrap();
    let other = Owner::start("node2", &[("small.bin", &small)]).await;
    node.network.lock().unwrap().push(other.peer.clone());
    let info = node.fetched("small.bin", &small).await;
    assert_eq!(info.saved_as.unwrap().as_str(), "small (2).bin");
    assert_eq!(std::fs::read(disk.0.path().join("small (2).bin")).unwrap(), small);
    node.kill().await;
}

/// The reserved space is taken away behind the program's back, so that a write
/// fails in the middle: the download fails with a reason, what came is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_in_the_middle_loses_nothing() {
    let Some(disk) = SmallDisk::new("24m") else { return };
    let bytes = content(9, 16 * MIB);
    let owner = Rogue::slow("node1", &bytes, Fault::None, Duration::from_millis(50)).await;
    let node = Node::start(disk.0.path(), &[&owner.peer]);
    let job = node.fetch("file.bin", &bytes);
    node.has(job, 3 * MIB).await;
    let punched =
        std::fs::OpenOptions::new().write(true).open(data_of(disk.0.path(), &bytes)).unwrap();
    let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&punched, hole, 10 * MIB as u64, 6 * MIB as u64).unwrap();
    drop(std::fs::write(disk.0.path().join("ballast"), vec![1; 20 * MIB]));
    let info = node.over(job).await;
    assert_eq!(info.state, JobState::Failed, "{info:#?}");
    assert!(info.reason.unwrap().contains("the disk is full"));
    std::fs::remove_file(disk.0.path().join("ballast")).unwrap();
    let info = node.fetched("file.bin", &bytes).await;
    assert_eq!(info.state, JobState::Done);
    assert!(info.resumed >= 3 * MIB as u64);
    assert_eq!(std::fs::read(disk.0.path().join("file.bin")).unwrap(), bytes);
    node.kill().await;
}

/// Nothing of a download is left running when its node is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_running() {
    let bytes = content(10, 64 * MIB);
    let slow = Rogue::slow("node1", &bytes, Fault::None, Duration::from_millis(10)).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&slow.peer]);
    let job = node.fetch("file.bin", &bytes);
    node.has(job, MIB).await;
    let asked = || slow.asked.load(std::sync::atomic::Ordering::Relaxed);
    node.kill().await;
    let before = asked();
    assert!(before < 50, "too fast to be interrupted");
    // Long enough for all the rest, if anybody still asked for it.
    tokio::time::sleep(Duration::from_millis(10) * 64 * 2).await;
    assert!(asked() <= before + MAX_ASKS, "still asking: {} after {before}", asked());
}

/// Cancelled at every moment of its beginning, a download stays cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_while_it_began_does_not_go_on_by_itself() {
    let bytes = content(11, 24 * MIB);
    let owner = Rogue::slow("node1", &bytes, Fault::None, SLOWLY).await;
    for moment in 0..24 {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), &[&owner.peer]);
        let job = node.fetch("file.bin", &bytes);
        tokio::time::sleep(Duration::from_micros(700) * moment).await;
        node.downloads.cancel(job).unwrap();
        assert_eq!(node.over(job).await.state, JobState::Cancelled);
        node.kill().await;
        let node = Node::start(dir.path(), &[]);
        assert!(node.downloads.resume().is_empty(), "cancelled at moment {moment}");
        node.kill().await;
    }
}

/// A part of the name is a file here: said before anything is fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_the_way_is_said_at_once() {
    let bytes = content(12, 5 * MIB);
    let owner = Rogue::start("node1", &bytes, Fault::None).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("docs"), "a file").unwrap();
    let node = Node::start(dir.path(), &[&owner.peer]);
    let info = node.fetched("docs/file.bin", &bytes).await;
    assert_eq!(info.state, JobState::Failed);
    assert_eq!(info.reason.unwrap(), "`docs` is a file here, and would have to be a folder");
    node.kill().await;
}
