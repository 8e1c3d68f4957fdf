//! Several nodes that fetch one file at the same time: real nodes, a real
//! tracker.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

mod network;

use network::{Network, PATIENCE, eventually};
use shoal_node::amount::Limit;
use shoal_node::app::limits::Setting;
use shoal_node::transfer::job::{JobState, Wanted};

fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// The owner gives so little that each could not have it all from there in
/// time; they have most of it from each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloaders_of_one_file_give_to_each_other() {
    const RATE: u64 = 4_000_000;
    let network = Network::start().await;
    let bytes = content(8_000_000);
    let owner = network.node("owner", &[("file.bin", &bytes)]).await;
    owner.app().set(Setting::Up(Limit(Some(RATE)))).unwrap();
    let mut nodes = Vec::new();
    for name in ["one", "two", "three", "four"] {
        nodes.push(network.node(name, &[]).await);
    }
    for node in &nodes {
        eventually("all see each other", || node.app().peers().len() == 4).await;
    }
    let id = owner.app().show()[0].id;
    let wanted = Wanted::file("file.bin".parse().unwrap(), id, bytes.len() as u64);
    let jobs: Vec<_> =
        nodes.iter().map(|node| node.app().download(wanted.clone()).unwrap()).collect();
    let mut from_owner = 0;
    for (node, job) in nodes.iter().zip(jobs) {
        let over = tokio::time::timeout(PATIENCE, node.app().finished(job)).await.unwrap().unwrap();
        assert_eq!(over.state, JobState::Done, "{over:#?}");
        assert_eq!(std::fs::read(node.dir.path().join("file.bin")).unwrap(), bytes);
        assert_eq!(over.owners.iter().map(|owner| owner.bytes).sum::<u64>(), over.size);
        let its = over.owners.iter().find(|owner| owner.name.as_str() == "owner");
        from_owner += its.map_or(0, |its| its.bytes);
    }
    let size = bytes.len() as u64;
    println!("the owner gave {:.2} times the file", from_owner as f64 / size as f64);
    assert!(from_owner < 2 * size, "each chunk but a few leaves the owner once: {from_owner}");
}

/// A node that joins late gets from one that is not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_owner_leaves_and_those_who_have_parts_complete_each_other() {
    let network = Network::start().await;
    let bytes = content(6_000_000);
    let owner = network.node("owner", &[("file.bin", &bytes)]).await;
    owner.app().set(Setting::Up(Limit(Some(3_000_000)))).unwrap();
    let one = network.node("one", &[]).await;
    let two = network.node("two", &[]).await;
    for node in [&one, &two] {
        eventually("all see each other", || node.app().peers().len() == 2).await;
    }
    let id = owner.app().show()[0].id;
    let wanted = Wanted::file("file.bin".parse().unwrap(), id, bytes.len() as u64);
    let jobs = [&one, &two].map(|node| node.app().download(wanted.clone()).unwrap());
    // As soon as the two have it all between them.
    let given = |node: &network::TestNode, job: u32| {
        let info = node.app().jobs().into_iter().find(|info| info.job == job).unwrap();
        let its = info.owners.iter().find(|owner| owner.name.as_str() == "owner");
        its.map_or(0, |its| its.bytes)
    };
    eventually("some of it is here", || {
        given(&one, jobs[0]) + given(&two, jobs[1]) > bytes.len() as u64 / 3
    })
    .await;
    let half = [&one, &two].map(|node| node.app().jobs()[0].done);
    let dir = owner.stop().await;
    let again = network.node_on("owner", dir).await;
    for (node, job) in [(&one, jobs[0]), (&two, jobs[1])] {
        let over = tokio::time::timeout(PATIENCE, node.app().finished(job)).await.unwrap().unwrap();
        assert_eq!(over.state, JobState::Done, "{over:#?}");
        assert_eq!(std::fs::read(node.dir.path().join("file.bin")).unwrap(), bytes);
        assert!(over.owners.iter().any(|owner| owner.name.as_str() != "owner" && owner.bytes > 0));
    }
    assert!(half.iter().all(|&done| done < bytes.len() as u64), "too fast to be interrupted");
    drop(again);
}
