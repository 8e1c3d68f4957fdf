//! Fetching from owners that misbehave.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::rogue::{Fault, Rogue};
use common::{MIB, Node, Owner, content, wanted};
use shoal_common::limits::STALL_DEADLINE;
use shoal_common::protocol::refusal::Refusal;
use shoal_node::transfer::job::{JobInfo, JobState, Sources};

const SLOWLY: Duration = Duration::from_millis(20);

/// Fetches from one owner with this fault and one that is honest, but slow
/// enough that the other gets its chance; checks that the file is whole.
async fn beside_an_honest_one(fault: Fault) -> (JobInfo, Node, Rogue) {
    let bytes = content(1, 24 * MIB + 5);
    let honest = Rogue::slow("honest", &bytes, Fault::None, SLOWLY).await;
    let rogue = Rogue::start("rogue", &bytes, fault).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&rogue.peer, &honest.peer]);
    let start = Instant::now();
    let info = node.fetched("file.bin", &bytes).await;
    assert_eq!(info.state, JobState::Done, "{fault:?}: {info:#?}");
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes, "{fault:?}");
    assert!(start.elapsed() < STALL_DEADLINE, "{fault:?} held it up: {info:#?}");
    (info, node, rogue)
}

fn share(info: &JobInfo, name: &str) -> u64 {
    info.owners.iter().find(|owner| owner.name.as_str() == name).map_or(0, |owner| owner.bytes)
}

fn trouble(info: &JobInfo, name: &str) -> String {
    let owner = info.owners.iter().find(|owner| owner.name.as_str() == name);
    owner.and_then(|owner| owner.trouble.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_fetched_elsewhere_and_the_person_is_told_by_whom() {
    let (info, mut node, rogue) = beside_an_honest_one(Fault::WrongBytes).await;
    assert_eq!(share(&info, "rogue"), 0);
    assert_eq!(share(&info, "honest"), info.size);
    // Twice, if the first wrong bytes were those that prove the manifest.
    assert!(rogue.called.load(Ordering::Relaxed) <= 2, "it was asked again");
    let id = rogue.peer.id.short();
    assert_eq!(node.was_told(&format!("`rogue` ({id}) sent wrong bytes of `file.bin`")), 1);
    assert_eq!(node.was_told("fetching from the others"), 1, "{:?}", node.heard());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_wrong_once_gets_another_chance() {
    let (info, mut node, _rogue) = beside_an_honest_one(Fault::WrongOnce).await;
    assert!(share(&info, "rogue") > 0, "{info:#?}");
    assert_eq!(node.was_told("sent wrong bytes"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_does_not_fit_is_not_believed() {
    for fault in [Fault::LyingManifest, Fault::OtherManifest] {
        let bytes = content(2, 9 * MIB + 500);
        let honest = Rogue::start("honest", &bytes, Fault::None).await;
        let rogue = Rogue::start("rogue", &bytes, fault).await;
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::start(dir.path(), &[&rogue.peer]);
        let job = node.fetch("file.bin", &bytes);
        let waiting = node.in_state(job, JobState::Waiting).await;
        assert_eq!(waiting.done, 0);
        node.network.lock().unwrap().push(honest.peer.clone());
        let info = node.over(job).await;
        assert_eq!(share(&info, "honest"), info.size);
        assert_eq!(rogue.called.load(Ordering::Relaxed), 1, "it was asked again");
        assert_eq!(node.was_told("sent a manifest that does not fit `file.bin`"), 1);
    }
}

/// The hashes merge to the file id whatever size is said, so the size needs a
/// proof of its own; without it, honest owners would be blamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_of_another_size_is_not_believed() {
    let lies = [5, -5, 300_000].map(Fault::LyingSize).into_iter();
    for fault in lies.chain([5, -5].map(Fault::LyingSizeProved)) {
        let bytes = content(2, 5 * MIB + 500);
        let rogue = Rogue::start("rogue", &bytes, fault).await;
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::start(dir.path(), &[&rogue.peer]);
        let job = node.fetch("file.bin", &bytes);
        node.in_state(job, JobState::Waiting).await;
        let honest = Rogue::start("honest", &bytes, Fault::None).await;
        node.network.lock().unwrap().push(honest.peer.clone());
        let info = node.over(job).await;
        assert_eq!(info.state, JobState::Done, "{fault:?}: {info:#?}");
        assert_eq!(share(&info, "honest"), bytes.len() as u64);
        assert!(rogue.called.load(Ordering::Relaxed) <= 2, "it was asked again");
        assert_eq!(node.was_told("`honest`"), 0, "{:?}", node.heard());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_still_loses_its_chunks_to_the_others() {
    for fault in [Fault::Silent, Fault::Mute, Fault::Drip, Fault::Stall] {
        let (info, _, _) = beside_an_honest_one(fault).await;
        assert_eq!(share(&info, "honest"), info.size, "{fault:?}: {info:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_off_or_talks_nonsense_loses_its_chunks_to_the_others() {
    for fault in [
        Fault::HangUp,
        Fault::OtherRange,
        Fault::Garbage,
        Fault::Giant,
        Fault::Refuse(Refusal::Changed),
        Fault::Refuse(Refusal::Busy),
        Fault::Refuse(Refusal::NotFound),
        Fault::Refuse(Refusal::Other),
    ] {
        let (info, mut node, _) = beside_an_honest_one(fault).await;
        assert_eq!(share(&info, "rogue"), 0, "{fault:?}");
        assert!(!trouble(&info, "rogue").is_empty(), "{fault:?}");
        let changed = usize::from(fault == Fault::Refuse(Refusal::Changed));
        assert_eq!(node.was_told("has changed `file.bin`"), changed);
    }
}

/// The only owner drips: its deadline passes, the reason is said, and an
/// owner that appears is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_a_second_is_given_up_in_time() {
    let bytes = content(3, 3 * MIB);
    let rogue = Rogue::start("rogue", &bytes, Fault::Drip).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&rogue.peer]);
    let start = Instant::now();
    let job = node.fetch("file.bin", &bytes);
    let waiting = node.in_state(job, JobState::Waiting).await;
    let passed = start.elapsed();
    assert!(passed >= STALL_DEADLINE && passed < STALL_DEADLINE * 2, "{passed:?}");
    assert!(waiting.reason.unwrap().contains("it sends too slowly"));
    let honest = Rogue::start("honest", &bytes, Fault::None).await;
    node.network.lock().unwrap().push(honest.peer.clone());
    assert_eq!(node.over(job).await.state, JobState::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_killed_is_replaced_by_the_others() {
    let bytes = content(4, 40 * MIB);
    let killed = Rogue::slow("killed", &bytes, Fault::None, SLOWLY).await;
    let other = Rogue::slow("other", &bytes, Fault::None, SLOWLY).await;
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &[&killed.peer, &other.peer]);
    let job = node.fetch("file.bin", &bytes);
    node.has(job, 10 * MIB).await;
    killed.kill().await;
    let info = node.over(job).await;
    assert_eq!(info.state, JobState::Done);
    assert!(share(&info, "killed") > 0 && share(&info, "other") > 0, "{info:#?}");
    assert_eq!(node.was_told("killed"), 0, "nothing but the rate: {:?}", node.heard());
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_owner_vanishes_and_comes_back() {
    let bytes = content(5, 20 * MIB);
    let first = Rogue::slow("node1", &bytes, Fault::None, SLOWLY).await;
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &[&first.peer]);
    let job = node.fetch("file.bin", &bytes);
    node.has(job, 5 * MIB).await;
    first.kill().await;
    let waiting = node.in_state(job, JobState::Waiting).await;
    assert!(waiting.reason.unwrap().starts_with("waiting for an owner of `file.bin`"));
    let told = "waiting for an owner of `file.bin`";
    common::eventually("the person is told", || (node.was_told(told) > 0).then_some(())).await;
    let before = node.info(job).done;
    assert!(before >= 5 * MIB as u64);

    let at = first.peer.download.to_string();
    let again = Owner::start_at("node1", &[("x", &bytes)], &at, first.peer.id).await;
    let info = node.over(job).await;
    assert_eq!(info.state, JobState::Done);
    assert_eq!(share(&info, "node1"), info.size, "{info:#?}");
    assert_eq!(node.was_told(told), 1);
    drop(again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_appears_joins() {
    let bytes = content(6, 120 * MIB);
    let slow = Rogue::slow("slow", &bytes, Fault::None, Duration::from_millis(150)).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&slow.peer]);
    let job = node.fetch("file.bin", &bytes);
    node.has(job, 2 * MIB).await;
    let fast = Owner::start("fast", &[("y", &bytes)]).await;
    node.network.lock().unwrap().push(fast.peer.clone());
    let info = node.over(job).await;
    assert!(share(&info, "fast") > info.size / 3, "{info:#?}");
}

/// Two owners have different contents under one name; the network is wrong
/// about one of them. Nothing of the other content gets in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_of_the_same_name_is_not_mixed_in() {
    let (bytes, others) = (content(7, 8 * MIB), content(8, 8 * MIB));
    let owner = Owner::start("right", &[("file.bin", &bytes)]).await;
    let other = Owner::start("other", &[("file.bin", &others)]).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&other.peer, &owner.peer]);
    let info = node.fetched("file.bin", &bytes).await;
    assert_eq!((share(&info, "right"), share(&info, "other")), (info.size, 0));
    assert!(trouble(&info, "other").contains("not here"), "{info:#?}");
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_at_the_address_of_an_owner_is_not_taken_for_it() {
    let bytes = content(9, 2 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let mut stale = owner.peer.clone();
    stale.id = shoal_common::ident::NodeId::random();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&stale]);
    let job = node.fetch("file.bin", &bytes);
    let waiting = node.in_state(job, JobState::Waiting).await;
    assert!(waiting.reason.unwrap().contains("another node answers"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_owner_that_was_chosen_lies() {
    let bytes = content(10, 5 * MIB);
    let rogue = Rogue::start("rogue", &bytes, Fault::WrongBytes).await;
    let honest = Rogue::start("honest", &bytes, Fault::None).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&rogue.peer, &honest.peer]);
    let mut only = wanted("file.bin", &bytes);
    only.from = Sources::Only(rogue.peer.id);
    let job = node.downloads.start(only, Vec::new()).unwrap();
    let info = node.over(job).await;
    assert_eq!(info.state, JobState::Failed);
    assert!(info.reason.unwrap().contains("sent wrong bytes"));
    assert_eq!(honest.called.load(Ordering::Relaxed), 0, "only one was to be asked");
    assert!(!dir.path().join("file.bin").exists());
}

/// Two owners are asked for the same chunks, the second by take-over, and both
/// are out for ever. Their chunks must be free then: a third copy is never
/// asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_owners_that_are_out_are_free_again() {
    let bytes = content(11, 3 * MIB);
    let late = Duration::from_millis(700);
    let one = Rogue::slow("one", &bytes, Fault::OtherRange, late).await;
    let two = Rogue::slow("two", &bytes, Fault::OtherRange, late).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&one.peer, &two.peer]);
    let job = node.fetch("file.bin", &bytes);
    let both = || [&one, &two].iter().all(|rogue| rogue.asked.load(Ordering::Relaxed) > 0);
    common::eventually("a take-over", || both().then_some(())).await;
    node.in_state(job, JobState::Waiting).await;
    let honest = Owner::start("honest", &[("file.bin", &bytes)]).await;
    node.network.lock().unwrap().push(honest.peer.clone());
    assert_eq!(node.over(job).await.state, JobState::Done);
}
