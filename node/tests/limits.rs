//! Limits on rates, as the person set them: on the way out, on the way in, of
//! one download, and changed in the middle.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::time::Instant;

use network::{Network, PATIENCE, TestNode, eventually};
use shoal_common::content::FileId;
use shoal_node::amount::Limit;
use shoal_node::app::limits::Setting;
use shoal_node::transfer::job::{JobId, JobInfo, JobState, Wanted};
use tokio::time::timeout;

const MB: u64 = 1_000_000;

/// Bytes that are the same in every run and nowhere repeat.
fn content(seed: u8, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn wanted(name: &str, bytes: &[u8]) -> Wanted {
    Wanted::file(name.parse().unwrap(), FileId::of(bytes), bytes.len() as u64)
}

async fn two(network: &Network, files: &[(&str, &[u8])]) -> (TestNode, TestNode) {
    let owner = network.node("owner", files).await;
    let node = network.node("node", &[]).await;
    eventually("they know each other", || node.app().peers().len() == 1).await;
    (owner, node)
}

async fn finished(node: &TestNode, job: JobId) -> JobInfo {
    let info = timeout(PATIENCE, node.app().finished(job)).await.expect("it hangs").unwrap();
    assert_eq!(info.state, JobState::Done, "{info:#?}");
    info
}

fn limit(rate: u64) -> Limit {
    Limit(Some(rate))
}

/// The rate of `bytes` within 5 % of `limit`. A machine that stands still for a
/// moment makes it lower, never higher: of three tries one must do.
async fn holds(what: &str, limit: u64, bytes: u64, mut run: impl AsyncFnMut(u8) -> f64) {
    let mut rates = Vec::new();
    for turn in 1..=3 {
        let rate = bytes as f64 / run(turn).await;
        assert!(rate <= 1.05 * limit as f64, "{what}: {rate:.0} bytes a second of {limit}");
        rates.push(rate);
        if rate >= 0.95 * limit as f64 {
            return;
        }
    }
    panic!("{what}: {rates:.0?} bytes a second of {limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_what_comes_in_is_shared_by_all_downloads() {
    let network = Network::start().await;
    let files: Vec<_> = (1..=6).map(|seed| content(seed, 3 * MB)).collect();
    let names: Vec<_> = (1..=6).map(|seed| format!("{seed}.bin")).collect();
    let shared: Vec<_> =
        names.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
    let (_owner, node) = two(&network, &shared).await;
    node.app().set(Setting::Down(limit(3 * MB))).unwrap();
    holds("two downloads", 3 * MB, 6 * MB, async |turn| {
        let start = Instant::now();
        let first = usize::from(turn - 1) * 2;
        let jobs: Vec<_> = (first..first + 2)
            .map(|at| node.app().download(wanted(&names[at], &files[at])).unwrap())
            .collect();
        for job in jobs {
            finished(&node, job).await;
        }
        start.elapsed().as_secs_f64()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_what_goes_out_holds_for_all_who_fetch() {
    let network = Network::start().await;
    let files: Vec<_> = (1..=3).map(|seed| content(seed, 3 * MB)).collect();
    let names = ["1.bin", "2.bin", "3.bin"];
    let shared: Vec<_> = names.into_iter().zip(files.iter().map(Vec::as_slice)).collect();
    let (owner, node) = two(&network, &shared).await;
    owner.app().set(Setting::Up(limit(2 * MB))).unwrap();
    holds("an upload", 2 * MB, 3 * MB, async |turn| {
        let at = usize::from(turn - 1);
        let job = node.app().download(wanted(names[at], &files[at])).unwrap();
        finished(&node, job).await.seconds
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_download_is_limited_alone_and_a_change_holds_at_once() {
    let network = Network::start().await;
    let (slow, fast) = (content(1, 40 * MB), content(2, 8 * MB));
    let (_owner, node) = two(&network, &[("slow.bin", &slow), ("fast.bin", &fast)]).await;
    let app = node.app();
    // A limit for all, so that the first does not end before it has its own.
    app.set(Setting::Down(limit(MB))).unwrap();
    let job = app.download(wanted("slow.bin", &slow)).unwrap();
    app.limit(job, limit(MB)).await.unwrap();
    app.set(Setting::Down(Limit(None))).unwrap();

    let other = app.download(wanted("fast.bin", &fast)).unwrap();
    let other = finished(&node, other).await;
    assert!(other.rate > 2.0 * MB as f64, "it has no limit: {other:#?}");
    let info = app.job(job).unwrap();
    assert!(info.done < 20 * MB, "{info:#?}");
    assert_eq!(info.limit, Some(MB));

    // Without the limit it is there in no time; at 1 MB/s it took half a minute.
    let start = Instant::now();
    app.limit(job, Limit(None)).await.unwrap();
    finished(&node, job).await;
    assert!(start.elapsed().as_secs() < 15, "{:?}", start.elapsed());
    assert!(std::fs::read(node.dir.path().join("slow.bin")).unwrap() == slow);
}
