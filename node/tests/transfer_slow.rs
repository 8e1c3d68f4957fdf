//! Fetching from owners that are slow, far, silent, or in trouble half of the
//! time: what they cost, and what the person reads about them.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::link::{Link, Manner, Passing};
use common::rogue::{Fault, Rogue};
use common::{MIB, Node, Owner, content};
use shoal_common::ident::Peer;
use shoal_common::limits::STALL_DEADLINE;
use shoal_common::task::Tasks;
use shoal_node::transfer::job::{JobId, JobInfo, JobState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// 8 Mbit/s, in bytes.
const SLOW: u64 = 1_000_000;

fn at(rate: u64) -> Manner {
    Manner { rate: Some(rate), ..Manner::default() }
}

/// One measurement at a time.
static MEASURING: Mutex<()> = Mutex::const_new(());

/// Times of the same thing: interleaved with others, so that what the machine
/// does besides disturbs all alike.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn of<'a>(info: &'a JobInfo, name: &str) -> &'a shoal_node::transfer::job::OwnerInfo {
    info.owners.iter().find(|owner| owner.name.as_str() == name).unwrap()
}

/// Fetches from these into a fresh folder; how long it took.
async fn fetched_from(peers: &[&Peer], bytes: &[u8]) -> (Duration, JobInfo) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), peers);
    let start = Instant::now();
    let info = node.fetched("file.bin", bytes).await;
    let took = start.elapsed();
    assert_eq!(info.state, JobState::Done, "{info:#?}");
    assert!(std::fs::read(dir.path().join("file.bin")).unwrap() == bytes, "other bytes");
    node.kill().await;
    (took, info)
}

/// A tenth, and 150 ms: timers and threads of a busy machine with two cores.
/// To wait for one chunk of 256 KiB from the slow owner would take 260 ms, for
/// what is asked ahead of it several times that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_owner_of_three_is_used_and_costs_nothing() {
    let _alone = MEASURING.lock().await;
    let bytes = content(1, 64 * MIB);
    let mut owners = Vec::new();
    for (name, rate) in [("fast1", 16_000_000), ("fast2", 16_000_000), ("slow", SLOW)] {
        let owner = Owner::start(name, &[("file.bin", &bytes)]).await;
        let link = Link::start(owner.peer.download, at(rate)).await;
        let peer = link.before(&owner.peer);
        owners.push((peer, owner, link));
    }
    let [fast1, fast2, slow] = [&owners[0].0, &owners[1].0, &owners[2].0];
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        without.push(fetched_from(&[fast1, fast2], &bytes).await.0);
        let (took, info) = fetched_from(&[fast1, fast2, slow], &bytes).await;
        assert!(of(&info, "slow").bytes > 0, "it is not used: {info:#?}");
        with.push(took);
    }
    let (without, with) = (median(without), median(with));
    println!("two owners: {without:.2?}, and a slow one: {with:.2?}");
    assert!(with <= without.mul_f64(1.1) + Duration::from_millis(150), "{with:?}, {without:?}");
}

/// Sends so many bytes to whoever connects and says a byte.
async fn raw_owner(size: usize, tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tasks.spawn(tracing::Span::none(), async move {
        let piece = vec![7; 256 * 1024];
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_u8().await.unwrap();
            for sent in (0..size).step_by(piece.len()) {
                let length = piece.len().min(size - sent);
                stream.write_all(&piece[..length]).await.unwrap();
            }
        }
    });
    at
}

async fn raw_fetch(from: SocketAddr, size: usize) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(from).await.unwrap();
    stream.write_u8(1).await.unwrap();
    let (mut piece, mut read) = (vec![0; 256 * 1024], 0);
    while read < size {
        match stream.read(&mut piece).await.unwrap() {
            0 => panic!("{read} bytes came"),
            more => read += more,
        }
    }
    start.elapsed()
}

/// 50 ms there and back at 50 MB/s hold 2.5 MB: who asks for less at a time
/// waits for its own questions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_away_the_link_is_kept_full() {
    const SIZE: usize = 128 * MIB;
    let _alone = MEASURING.lock().await;
    let far = Manner { delay: Duration::from_millis(25), rate: Some(50_000_000) };
    let bytes = content(2, SIZE);
    let owner = Owner::start("far", &[("file.bin", &bytes)]).await;
    let link = Link::start(owner.peer.download, far).await;
    let peer = link.before(&owner.peer);
    let tasks = Tasks::new(Handle::current());
    let raw = Link::start(raw_owner(SIZE, &tasks).await, far).await;
    let (mut raws, mut fetches) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        raws.push(raw_fetch(raw.at, SIZE).await);
        fetches.push(fetched_from(&[&peer], &bytes).await.0);
    }
    let (raw, fetch) = (median(raws), median(fetches));
    println!("a raw stream: {raw:.2?}, a download: {fetch:.2?}");
    assert!(raw.as_secs_f64() >= 0.8 * fetch.as_secs_f64(), "{fetch:?}, raw {raw:?}");
    tasks.cancel();
}

// Owners in trouble -----------------------------------------------------------

/// Bytes of a file that two honest owners at [`SLOW`] need longer for than an
/// owner may stand still.
const LONG: usize = 26 * MIB;

/// Bytes for which they need a few seconds.
const SHORT: usize = 12 * MIB;

/// Longest time without a verified chunk, while honest owners give one a second
/// each: far below every deadline.
const LONGEST_GAP: Duration = Duration::from_secs(4);

/// Two honest owners behind slow links, and a node that fetches from them and
/// one more.
struct Beside {
    bytes: Vec<u8>,
    dir: tempfile::TempDir,
    node: Node,
    job: JobId,
    _honest: Vec<(Owner, Link)>,
}

impl Beside {
    async fn start(bytes: Vec<u8>, other: &Peer) -> Self {
        let (mut honest, mut peers) = (Vec::new(), vec![other.clone()]);
        for name in ["honest1", "honest2"] {
            let owner = Owner::start(name, &[("file.bin", &bytes)]).await;
            let link = Link::start(owner.peer.download, at(SLOW)).await;
            peers.push(link.before(&owner.peer));
            honest.push((owner, link));
        }
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), &peers.iter().collect::<Vec<_>>());
        let job = node.fetch("file.bin", &bytes);
        Self { bytes, dir, node, job, _honest: honest }
    }

    /// Follows it to its end, which never stands still.
    async fn flows(&self, what: &str) -> JobInfo {
        let (start, mut last) = (Instant::now(), (0, Instant::now()));
        loop {
            let info = self.node.info(self.job);
            if info.done > last.0 {
                last = (info.done, Instant::now());
            }
            assert!(last.1.elapsed() < LONGEST_GAP, "{what}: stands still: {info:#?}");
            assert_ne!(info.state, JobState::Waiting, "{what}: {info:#?}");
            if info.state.is_over() {
                assert_eq!(info.state, JobState::Done, "{what}: {info:#?}");
                let file = std::fs::read(self.dir.path().join("file.bin")).unwrap();
                assert!(file == self.bytes, "{what}: other bytes");
                println!("{what}: {:.1?}", start.elapsed());
                return info;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn beside(fault: Fault, size: usize) -> (Beside, JobInfo) {
    let bytes = content(3, size);
    let rogue = Rogue::start("rogue", &bytes, fault).await;
    let beside = Beside::start(bytes, &rogue.peer).await;
    let info = beside.flows(&format!("{fault:?}")).await;
    assert_eq!(of(&info, "rogue").bytes, 0, "{fault:?}: {info:#?}");
    (beside, info)
}

fn trouble(info: &JobInfo, name: &str) -> String {
    of(info, name).trouble.clone().unwrap_or_default()
}

/// An owner whose line goes dead in the middle.
async fn beside_a_dead_line() -> JobInfo {
    let bytes = content(4, LONG);
    let owner = Owner::start("rogue", &[("file.bin", &bytes)]).await;
    let link = Link::start(owner.peer.download, at(SLOW / 4)).await;
    let beside = Beside::start(bytes, &link.before(&owner.peer)).await;
    beside.node.has(beside.job, 2 * MIB).await;
    link.set(Passing::Silent);
    beside.flows("a dead line").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_stands_still_is_given_up_and_the_person_reads_why() {
    // At the same time: most of it is waiting.
    let (silent, drip, mute, dead) = tokio::join!(
        beside(Fault::Silent, LONG),
        beside(Fault::Drip, LONG),
        beside(Fault::Mute, LONG),
        beside_a_dead_line(),
    );
    for (fault, info) in
        [("silent", silent.1), ("drip", drip.1), ("mute", mute.1), ("dead line", dead)]
    {
        assert!(info.seconds > STALL_DEADLINE.as_secs_f64(), "too quick to tell");
        let trouble = trouble(&info, "rogue");
        let said = ["nothing came for", "too slowly"].iter().any(|words| trouble.contains(words));
        assert!(said, "{fault}: `{trouble}`");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_is_named_while_the_others_go_on() {
    let (mut beside, info) = beside(Fault::WrongBytes, SHORT).await;
    assert_eq!(beside.node.was_told("`rogue`"), 1, "{:?}", beside.node.heard());
    assert_eq!(beside.node.was_told("sent wrong bytes of `file.bin`"), 1);
    assert!(trouble(&info, "rogue").contains("wrong bytes"), "{info:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_dies_and_comes_back_is_used_again() {
    let bytes = content(5, SHORT);
    let first = Owner::start("again", &[("file.bin", &bytes)]).await;
    let link = Link::start(first.peer.download, at(SLOW)).await;
    let peer = link.before(&first.peer);
    let beside = Beside::start(bytes, &peer).await;
    common::eventually("it gives", || {
        let info = beside.node.info(beside.job);
        info.owners
            .iter()
            .any(|owner| owner.name.as_str() == "again" && owner.bytes > 0)
            .then_some(())
    })
    .await;
    first.kill().await;
    let broken = beside.node.info(beside.job);
    let at = first.peer.download.to_string();
    let again = Owner::start_at("again", &[("x", &beside.bytes)], &at, first.peer.id).await;
    let info = beside.flows("dies and comes back").await;
    let (before, after) = (of(&broken, "again").bytes, of(&info, "again").bytes);
    assert!(after > before + MIB as u64, "it is not used again: {info:#?}");
    drop(again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_replaces_its_file_is_named_while_the_others_go_on() {
    let bytes = content(6, LONG);
    let owner = Owner::start("changing", &[("file.bin", &bytes)]).await;
    let link = Link::start(owner.peer.download, at(SLOW)).await;
    let mut beside = Beside::start(bytes, &link.before(&owner.peer)).await;
    beside.node.has(beside.job, 3 * MIB).await;
    // Written into it: under another file that takes its name, the old one would
    // still be there for whoever has it open.
    std::fs::write(owner.path("file.bin"), content(7, LONG)).unwrap();
    let info = beside.flows("replaces its file").await;
    assert!(trouble(&info, "changing").contains("changed"), "{info:#?}");
    assert_eq!(beside.node.was_told("has changed `file.bin`"), 1, "{:?}", beside.node.heard());
}

/// The only owner is the slow one, or a silent one: the job says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_silent_owner_is_what_the_job_waits_for() {
    let bytes = content(8, 2 * MIB);
    let rogue = Rogue::start("rogue", &bytes, Fault::Silent).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&rogue.peer]);
    let start = Instant::now();
    let job = node.fetch("file.bin", &bytes);
    let waiting = node.in_state(job, JobState::Waiting).await;
    assert!(start.elapsed() < STALL_DEADLINE * 2, "{:?}", start.elapsed());
    let reason = waiting.reason.unwrap();
    assert!(reason.contains("`rogue`"), "{reason}");
    // Later it is not asked at once again, and an honest one is all it needs.
    let owner = Owner::start("honest", &[("file.bin", &bytes)]).await;
    node.network.lock().unwrap().push(owner.peer.clone());
    assert_eq!(node.over(job).await.state, JobState::Done);
}
