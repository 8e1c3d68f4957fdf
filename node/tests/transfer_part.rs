//! A node that serves what it has of a content while it still fetches it, and
//! tells those who follow it.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

mod common;

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{MIB, Owner, content, eventually, manifest_of, party};
use shoal_common::call::call;
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::content::{ChunkSet, FileId, Manifest};
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    HAVE_PAUSE, IDLE_DEADLINE, MAX_FELLOWS, MAX_FOLLOWED, MAX_TRANSFER_FRAME, MIN_CHUNK,
};
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::search::Pattern;
use shoal_common::protocol::transfer::{ByteRange, Have, TransferReply, TransferRequest};
use shoal_node::catalog::holding::Holding;
use shoal_node::volume::Stamp;
use tokio::net::TcpStream;

type Wire = Connection<TcpStream>;

/// Longest wait for what should come at once.
const SOON: Duration = Duration::from_secs(5);

const CHUNK: usize = 256 * 1024;

/// A content that its owner has in part, as a download would have it.
struct Half {
    owner: Owner,
    bytes: Vec<u8>,
    manifest: Arc<Manifest>,
    data: std::fs::File,
}

impl Half {
    async fn start(size: usize) -> Self {
        assert_eq!(CHUNK as u64, MIN_CHUNK);
        let bytes = content(1, size);
        let owner = Owner::start("node1", &[("other", b"other")]).await;
        let data = std::fs::File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(owner.path("half.bin"))
            .unwrap();
        data.set_len(size as u64).unwrap();
        Self { owner, manifest: Arc::new(manifest_of(&bytes)), bytes, data }
    }

    fn file(&self) -> FileId {
        self.manifest.file()
    }

    fn begin(&self) -> Holding {
        let (name, data) = ("half.bin".parse().unwrap(), self.data.try_clone().unwrap());
        let holdings = self.owner.catalog.holdings();
        holdings.begin(name, Arc::clone(&self.manifest), data, &Default::default())
    }

    fn bytes_of(&self, chunk: usize) -> &[u8] {
        &self.bytes[chunk * CHUNK..self.bytes.len().min((chunk + 1) * CHUNK)]
    }

    /// Writes a chunk, then offers it.
    fn put(&self, holding: &Holding, chunk: usize) {
        self.data.write_all_at(self.bytes_of(chunk), (chunk * CHUNK) as u64).unwrap();
        holding.add(u32::try_from(chunk).unwrap());
    }

    /// Shares the whole file.
    fn share(&self) {
        let stamp = Stamp::of(&self.data).unwrap();
        self.owner.catalog.add("half.bin".parse().unwrap(), stamp, Arc::clone(&self.manifest));
    }

    async fn guest(&self, id: NodeId) -> Wire {
        call(self.owner.peer.download, &party(id), Talk::Transfer).await.unwrap().0
    }

    fn chunks(&self, from: usize, until: usize) -> TransferRequest {
        let until = (until * CHUNK).min(self.bytes.len());
        let (offset, length) = ((from * CHUNK) as u64, (until - from * CHUNK) as u64);
        TransferRequest::Chunks { file: self.file(), ranges: vec![ByteRange { offset, length }] }
    }
}

async fn reply(wire: &mut Wire) -> TransferReply {
    wire.receive(MAX_TRANSFER_FRAME, SOON).await.unwrap()
}

async fn ask(wire: &mut Wire, request: &TransferRequest) -> TransferReply {
    wire.ask(request, MAX_TRANSFER_FRAME).await.unwrap()
}

async fn follow(wire: &mut Wire, file: FileId) -> Have {
    match ask(wire, &TransferRequest::Have { file }).await {
        TransferReply::Have(have) if have.file == file => have,
        other => panic!("no chunks but {other:?}"),
    }
}

/// The next message, which must be about what is here.
async fn told(wire: &mut Wire) -> Have {
    match reply(wire).await {
        TransferReply::Have(have) => have,
        other => panic!("not told but {other:?}"),
    }
}

async fn raw(wire: &mut Wire, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let read = wire.read_raw(&mut bytes[filled..]).await.unwrap();
        assert!(read > 0, "the end after {filled} of {length} bytes");
        filled += read;
    }
    bytes
}

/// Asks for chunks and gets them.
async fn fetched(half: &Half, wire: &mut Wire, from: usize, until: usize) -> Vec<u8> {
    let request = half.chunks(from, until);
    let TransferRequest::Chunks { ranges, .. } = &request else { panic!() };
    assert_eq!(ask(wire, &request).await, TransferReply::Bytes(ranges[0]));
    raw(wire, usize::try_from(ranges[0].length).unwrap()).await
}

fn set(chunks: &[u32]) -> ChunkSet {
    chunks.iter().copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_verified_is_served_and_nothing_else() {
    let half = Half::start(9 * CHUNK + 77).await;
    let file = half.file();
    let mut wire = half.guest(NodeId::random()).await;
    let refused = TransferReply::Refused { refusal: Refusal::NotFound };
    assert_eq!(ask(&mut wire, &TransferRequest::Have { file }).await, refused);
    let holding = half.begin();
    let search = |pattern| half.owner.catalog.search(&pattern).unwrap().0;
    assert!(search(Pattern::Content(file)).is_empty(), "no chunk is here yet");
    let reply = ask(&mut wire, &TransferRequest::Manifest { file }).await;
    assert_eq!(reply, TransferReply::Manifest(half.manifest.as_ref().into()));
    for chunk in [2, 3, 9] {
        half.put(&holding, chunk);
    }
    let found = search(Pattern::Content(file));
    assert_eq!(
        (found[0].size, &found[0].chunks),
        (half.bytes.len() as u64, &Some(set(&[2, 3, 9])))
    );
    assert!(search(Pattern::Exact("half.bin".parse().unwrap())).is_empty(), "it has no name yet");

    let size = half.bytes.len() as u64;
    assert_eq!(ask(&mut wire, &TransferRequest::Size { file }).await, TransferReply::Size { size });
    // What proves the size comes with it, as soon as the last chunk is here.
    let TransferReply::Manifest(mut manifest) =
        ask(&mut wire, &TransferRequest::Manifest { file }).await
    else {
        panic!("no manifest");
    };
    assert!(manifest.tail.take().is_some_and(|tail| tail.proves(&half.manifest)));
    assert_eq!(manifest, half.manifest.as_ref().into());
    assert_eq!(fetched(&half, &mut wire, 2, 4).await, half.bytes[2 * CHUNK..4 * CHUNK]);
    assert_eq!(fetched(&half, &mut wire, 9, 10).await, half.bytes_of(9), "a small one");
    for (from, until) in [(1, 2), (1, 3), (3, 5), (8, 10), (0, 10)] {
        assert_eq!(ask(&mut wire, &half.chunks(from, until)).await, refused, "{from}..{until}");
    }
    assert_eq!(ask(&mut wire, &TransferRequest::Download { file }).await, refused);
    half.put(&holding, 8);
    assert_eq!(fetched(&half, &mut wire, 8, 10).await, half.bytes[8 * CHUNK..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_is_told_of_each_chunk_then_of_all_then_of_none() {
    let half = Half::start(40 * CHUNK).await;
    let holding = half.begin();
    half.put(&holding, 7);
    let mut wire = half.guest(NodeId::random()).await;
    let have = follow(&mut wire, half.file()).await;
    assert_eq!((have.chunks, have.fellows), (set(&[7]), vec![]));
    half.put(&holding, 3);
    assert_eq!(told(&mut wire).await.chunks, set(&[3, 7]));

    // Many at once are told in few messages.
    let start = Instant::now();
    for chunk in 0..40 {
        half.put(&holding, chunk);
    }
    let mut messages = 1;
    while told(&mut wire).await.chunks != ChunkSet::all(40) {
        messages += 1;
    }
    let most = start.elapsed().as_millis() / HAVE_PAUSE.as_millis() + 2;
    assert!(messages <= most, "{messages} in {:?}", start.elapsed());

    // It becomes a file, and goes on as one, for who has it open too.
    assert_eq!(fetched(&half, &mut wire, 0, 2).await, half.bytes[..2 * CHUNK]);
    half.share();
    drop(holding);
    assert_eq!(fetched_among_news(&half, &mut wire).await, half.bytes[..2 * CHUNK]);
    std::fs::remove_file(half.owner.path("half.bin")).unwrap();
    forget(&half).await;
    while !told(&mut wire).await.chunks.is_empty() {}
}

/// Chunks, when news may come before them: all chunks are still here.
async fn fetched_among_news(half: &Half, wire: &mut Wire) -> Vec<u8> {
    wire.send(&half.chunks(0, 2), 1000).await.unwrap();
    loop {
        match reply(wire).await {
            TransferReply::Bytes(range) => {
                return raw(wire, usize::try_from(range.length).unwrap()).await;
            }
            TransferReply::Have(have) => assert_eq!(have.chunks, ChunkSet::all(40)),
            other => panic!("{other:?}"),
        }
    }
}

/// Has the owner look at its folder until it knows that the file is gone.
async fn forget(half: &Half) {
    let tasks = shoal_common::task::Tasks::new(tokio::runtime::Handle::current());
    shoal_node::catalog::keep_up(half.owner.catalog.clone(), Default::default(), &tasks);
    let file = half.file();
    eventually("it is forgotten", || half.owner.catalog.find(&file).is_none().then_some(())).await;
    tasks.stop(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holding_that_ends_is_an_empty_set_and_one_that_begins_again_is_told() {
    let half = Half::start(4 * CHUNK).await;
    let holding = half.begin();
    half.put(&holding, 1);
    let mut wire = half.guest(NodeId::random()).await;
    assert_eq!(follow(&mut wire, half.file()).await.chunks, set(&[1]));
    drop(holding);
    assert_eq!(told(&mut wire).await.chunks, ChunkSet::default());
    let request = half.chunks(1, 2);
    let refused = TransferReply::Refused { refusal: Refusal::NotFound };
    assert_eq!(ask(&mut wire, &request).await, refused);
    let holding = half.begin();
    half.put(&holding, 1);
    while told(&mut wire).await.chunks != set(&[1]) {}
    assert_eq!(fetched(&half, &mut wire, 1, 2).await, half.bytes_of(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_come_between_the_ranges_of_a_long_answer() {
    let half = Half::start(64 * CHUNK).await;
    let holding = half.begin();
    for chunk in 0..32 {
        half.put(&holding, chunk);
    }
    let mut wire = half.guest(NodeId::random()).await;
    follow(&mut wire, half.file()).await;
    let range = |chunk: usize| ByteRange { offset: (chunk * CHUNK) as u64, length: CHUNK as u64 };
    let ranges: Vec<_> = (0..32).cycle().take(64).map(range).collect();
    // Half a gigabyte: it takes longer than news may wait, on any machine.
    for _ in 0..32 {
        let ranges = ranges.clone();
        wire.queue(&TransferRequest::Chunks { file: half.file(), ranges }, 16_000).unwrap();
    }
    wire.flush().await.unwrap();
    let (mut ranges, mut told) = (ranges.iter().cycle().take(32 * 64), Vec::new());
    let mut next = ranges.next();
    let mut put = 32;
    while let Some(range) = next {
        match reply(&mut wire).await {
            TransferReply::Bytes(bytes) => {
                assert_eq!(bytes, *range);
                let chunk = usize::try_from(range.offset).unwrap() / CHUNK;
                assert_eq!(raw(&mut wire, CHUNK).await, half.bytes_of(chunk));
                next = ranges.next();
                if put < 64 {
                    half.put(&holding, put);
                    put += 1;
                }
            }
            TransferReply::Have(have) => told.push(have.chunks.iter().count()),
            other => panic!("{other:?}"),
        }
    }
    assert!(!told.is_empty(), "told only at the end");
    assert!(told.is_sorted(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_follow_are_told_of_each_other() {
    let half = Half::start(4 * CHUNK).await;
    let holding = half.begin();
    half.put(&holding, 0);
    let file = half.file();
    let [one, two] = [NodeId::random(), NodeId::random()];
    let mut first = half.guest(one).await;
    assert_eq!(follow(&mut first, file).await.fellows, []);
    let mut second = half.guest(two).await;
    assert_eq!(follow(&mut second, file).await.fellows, [one]);
    assert_eq!(told(&mut first).await.fellows, [two]);
    // This node itself is told of both, in the order of the ring behind it.
    let mut told_here = half.owner.uploads.fellows().list(&file, half.owner.peer.id);
    told_here.sort();
    let mut both = [one, two];
    both.sort();
    assert_eq!(told_here, both);
    // To ask again is no news for the others.
    let mut again = half.guest(two).await;
    assert_eq!(follow(&mut again, file).await.fellows, [one]);
    drop(second);
    assert_eq!(follow(&mut again, file).await.fellows, [one]);
    drop(again);
    assert_eq!(told(&mut first).await.fellows, []);

    let mut crowd = Vec::new();
    for _ in 0..MAX_FELLOWS + 5 {
        let mut wire = half.guest(NodeId::random()).await;
        follow(&mut wire, file).await;
        crowd.push(wire);
    }
    while told(&mut first).await.fellows.len() < MAX_FELLOWS {}
    assert_eq!(follow(&mut first, file).await.fellows.len(), MAX_FELLOWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_follows_so_many_and_no_more() {
    let names: Vec<_> = (0..=MAX_FOLLOWED).map(|number| number.to_string()).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let owner = Owner::start("node1", &files).await;
    let us = NodeId::random();
    let (mut wire, _) = call(owner.peer.download, &party(us), Talk::Transfer).await.unwrap();
    for name in &names {
        let have = follow(&mut wire, FileId::of(name.as_bytes())).await;
        assert_eq!(have.chunks, ChunkSet::all(1), "all of a shared file is here");
    }
    let follows = |name: &String| {
        let follow = owner.uploads.fellows().list(&FileId::of(name.as_bytes()), owner.peer.id);
        follow == [us]
    };
    assert!(!follows(&names[0]), "the oldest is dropped");
    assert!(names[1..].iter().all(follows));
    drop(wire);
    eventually("nothing is left of the guest", || (!names.iter().any(follows)).then_some(())).await;
}

/// Time is that of the test, the sockets are real; so nothing else may wait.
#[tokio::test(start_paused = true)]
async fn who_follows_and_is_silent_is_idle_and_who_asks_again_is_not() {
    let owner = Owner::start("node1", &[("file", b"content")]).await;
    let file = FileId::of(b"content");
    let (mut silent, _) =
        call(owner.peer.download, &party(NodeId::random()), Talk::Transfer).await.unwrap();
    let (mut asking, _) =
        call(owner.peer.download, &party(NodeId::random()), Talk::Transfer).await.unwrap();
    follow(&mut silent, file).await;
    follow(&mut asking, file).await;
    let start = tokio::time::Instant::now();
    loop {
        match silent.receive::<TransferReply>(MAX_TRANSFER_FRAME, IDLE_DEADLINE / 4).await {
            Err(ConnectionError::Silent(_)) => {}
            Ok(TransferReply::Have(_)) => {}
            other => break drop(other.unwrap_err()),
        }
        assert!(start.elapsed() < 3 * IDLE_DEADLINE, "it keeps its place");
        while let Ok(TransferReply::Have(_)) =
            asking.receive(MAX_TRANSFER_FRAME, Duration::from_millis(1)).await
        {}
        follow(&mut asking, file).await;
    }
    assert!(start.elapsed() >= IDLE_DEADLINE, "{:?}", start.elapsed());
    follow(&mut asking, file).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_is_no_longer_told_of_as_here() {
    let bytes = content(3, MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let tasks = shoal_common::task::Tasks::new(tokio::runtime::Handle::current());
    shoal_node::catalog::keep_up(owner.catalog.clone(), Default::default(), &tasks);
    owner.catalog.completed().await;
    let (mut wire, _) =
        call(owner.peer.download, &party(NodeId::random()), Talk::Transfer).await.unwrap();
    let have = follow(&mut wire, FileId::of(&bytes)).await;
    assert_eq!(have.chunks, ChunkSet::all(4));
    std::fs::write(owner.path("file.bin"), b"something else").unwrap();
    while !told(&mut wire).await.chunks.is_empty() {}
    tasks.stop(SOON).await.unwrap();
}
