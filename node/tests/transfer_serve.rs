//! The download port, and guests that misbehave on it.

// Tests may fail loudly, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

mod common;

use std::time::{Duration, Instant};

use common::{MIB, Node, Owner, content, eventually, party};
use shoal_common::call::{call, call_with};
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::content::{FileId, Manifest};
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    FRAME_DEADLINE, HELLO_DEADLINE, LEAST_LIMIT, MAX_CHUNK, MAX_REQUEST_FRAME, MAX_TRANSFER_FRAME,
    STALL_DEADLINE,
};
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::transfer::{ByteRange, TransferReply, TransferRequest};
use shoal_node::config::Io;
use shoal_node::transfer::job::JobState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

type Wire = Connection<TcpStream>;

async fn guest(owner: &Owner) -> Wire {
    call(owner.peer.download, &party(NodeId::random()), Talk::Transfer).await.unwrap().0
}

async fn ask(wire: &mut Wire, request: &TransferRequest) -> TransferReply {
    wire.ask(request, MAX_TRANSFER_FRAME).await.unwrap()
}

fn chunks(file: FileId, ranges: &[(u64, u64)]) -> TransferRequest {
    let ranges = ranges.iter().map(|&(offset, length)| ByteRange { offset, length }).collect();
    TransferRequest::Chunks { file, ranges }
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

fn refused(refusal: Refusal) -> TransferReply {
    TransferReply::Refused { refusal }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_has_its_answer() {
    for io in [Io::Mmap, Io::Sendfile] {
        answers(io).await;
    }
}

async fn answers(io: Io) {
    let bytes = content(1, 17 * MIB + 3);
    let owner = Owner::start_by(io, "node1", &[("file.bin", &bytes)]).await;
    let file = FileId::of(&bytes);
    let mut wire = guest(&owner).await;
    let size = bytes.len() as u64;
    assert_eq!(ask(&mut wire, &TransferRequest::Size { file }).await, TransferReply::Size { size });
    let TransferReply::Manifest(manifest) =
        ask(&mut wire, &TransferRequest::Manifest { file }).await
    else {
        panic!("no manifest");
    };
    let tail = manifest.tail.clone().unwrap();
    let manifest = Manifest::try_from(manifest).unwrap();
    assert_eq!(manifest.file(), file);
    assert!(tail.proves(&manifest));

    // Across a window's edge, short and long, the last byte, one in front of the
    // other, and as many as are just read and just not.
    let (edge, mib) = (16 * MIB as u64, MIB as u64);
    let ranges = [
        (edge - 5, 10),
        (edge - mib, 2 * mib),
        (size - 1, 1),
        (0, 3),
        (7, 64 * 1024),
        (9, 64 * 1024 + 1),
    ];
    let mut reply = ask(&mut wire, &chunks(file, &ranges)).await;
    for (nth, (offset, length)) in ranges.into_iter().enumerate() {
        if nth > 0 {
            reply = wire.receive(1000, Duration::from_secs(1)).await.unwrap();
        }
        assert_eq!(reply, TransferReply::Bytes(ByteRange { offset, length }));
        let from = usize::try_from(offset).unwrap();
        let length = usize::try_from(length).unwrap();
        assert_eq!(raw(&mut wire, length).await, bytes[from..from + length]);
    }

    let mut whole = Vec::new();
    let mut reply = ask(&mut wire, &TransferRequest::Download { file }).await;
    while let TransferReply::Bytes(range) = reply {
        assert_eq!(range.offset, whole.len() as u64);
        whole.extend(raw(&mut wire, usize::try_from(range.length).unwrap()).await);
        reply = wire.receive(1000, Duration::from_secs(1)).await.unwrap();
    }
    assert_eq!(reply, TransferReply::End);
    assert_eq!(whole, bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_the_greeting_is_answered_behind_it() {
    let bytes = content(1, MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let file = FileId::of(&bytes);
    let ahead = |wire: &mut Wire| {
        wire.queue(&TransferRequest::Size { file }, MAX_REQUEST_FRAME)?;
        wire.queue(&chunks(file, &[(5, 100_000)]), MAX_REQUEST_FRAME)
    };
    let us = party(NodeId::random());
    let (mut wire, _) = call_with(owner.peer.download, &us, Talk::Transfer, ahead).await.unwrap();
    let size = bytes.len() as u64;
    for expected in [
        TransferReply::Size { size },
        TransferReply::Bytes(ByteRange { offset: 5, length: 100_000 }),
    ] {
        let reply: TransferReply = wire.receive(1000, Duration::from_secs(1)).await.unwrap();
        assert_eq!(reply, expected);
    }
    assert_eq!(raw(&mut wire, 100_000).await, bytes[5..100_005]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_and_the_conversation_goes_on() {
    let bytes = content(2, 3 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let file = FileId::of(&bytes);
    let size = bytes.len() as u64;
    let mut wire = guest(&owner).await;
    for ranges in [
        &[][..],
        &[(0, 0)],
        &[(size, 1)],
        &[(size - 1, 2)],
        &[(u64::MAX, 1)],
        &[(1, u64::MAX)],
        &[(0, MAX_CHUNK + 1)],
        &[(0, 1), (size, 1)],
        &[(0, 1); 65],
    ] {
        let reply = ask(&mut wire, &chunks(file, ranges)).await;
        assert_eq!(reply, refused(Refusal::BadRange), "{ranges:?}");
    }
    let nobody = FileId::of(b"nobody has this");
    for request in [
        TransferRequest::Size { file: nobody },
        TransferRequest::Manifest { file: nobody },
        TransferRequest::Download { file: nobody },
        chunks(nobody, &[(0, 1)]),
    ] {
        assert_eq!(ask(&mut wire, &request).await, refused(Refusal::NotFound));
    }
    #[derive(serde::Serialize)]
    struct Newer {
        r#type: &'static str,
        colour: u8,
    }
    let reply: TransferReply =
        wire.ask(&Newer { r#type: "paint", colour: 7 }, MAX_TRANSFER_FRAME).await.unwrap();
    assert_eq!(reply, refused(Refusal::Unsupported));
    let reply = ask(&mut wire, &TransferRequest::Size { file }).await;
    assert_eq!(reply, TransferReply::Size { size }, "the conversation goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_half_frames_end_their_own_connection_only() {
    let bytes = content(3, MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let mut other = guest(&owner).await;
    for (garbage, answer) in [
        (&b"\xff\xff\xff\xff\x01"[..], None),
        (b"\0\0\0\x03\0\0\0\0\0\0\0\0abc", Some(refused(Refusal::Malformed))),
        (b"\0\0\x10\0half", None),
    ] {
        let mut wire = guest(&owner).await;
        wire.stream().write_all(garbage).await.unwrap();
        wire.stream().shutdown().await.unwrap();
        let reply = wire.receive::<TransferReply>(1000, HELLO_DEADLINE).await;
        match answer {
            Some(answer) => assert_eq!(reply.unwrap(), answer),
            None => assert!(
                matches!(reply, Err(ConnectionError::Closed | ConnectionError::Broken(_))),
                "{reply:?}"
            ),
        }
    }
    let request = TransferRequest::Size { file: FileId::of(&bytes) };
    assert_eq!(ask(&mut other, &request).await, TransferReply::Size { size: MIB as u64 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_drips_in_is_cut_off() {
    let owner = Owner::start("node1", &[]).await;
    let mut wire = guest(&owner).await;
    let start = Instant::now();
    let (mut read, mut write) = wire.stream().split();
    let drip = async {
        for byte in [0, 0, 0, 60].into_iter().chain([0xa0; 60]) {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut end = Vec::new();
    tokio::select! {
        closed = read.read_to_end(&mut end) => drop(closed),
        () = drip => panic!("it was held for {:?}", start.elapsed()),
    }
    assert!(start.elapsed() < FRAME_DEADLINE + Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_strangers_do_not_keep_the_next_one_out() {
    shoal_common::process::raise_descriptor_limit();
    let bytes = content(4, 2 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let mut idle = Vec::new();
    for _ in 0..2000 {
        idle.push(TcpStream::connect(owner.peer.download).await.unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[&owner.peer]);
    let start = Instant::now();
    assert_eq!(node.fetched("file.bin", &bytes).await.state, JobState::Done);
    assert!(start.elapsed() < HELLO_DEADLINE, "{:?}", start.elapsed());
    drop(idle);
}

/// Asks for the whole file and does not read.
async fn reader_that_sleeps(owner: &Owner, bytes: &[u8]) -> Wire {
    let mut wire = guest(owner).await;
    let request = TransferRequest::Download { file: FileId::of(bytes) };
    wire.send(&request, 1000).await.unwrap();
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_is_dropped() {
    let bytes = content(5, 100 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let start = Instant::now();
    let _wire = reader_that_sleeps(&owner, &bytes).await;
    eventually("the upload is listed", || (owner.uploads.list().len() == 1).then_some(())).await;
    let upload = owner.uploads.list().remove(0);
    assert_eq!((upload.name.as_str(), upload.id), ("file.bin", FileId::of(&bytes)));
    timeout(STALL_DEADLINE * 2, owner.uploads.idle()).await.expect("it holds its place");
    assert!(start.elapsed() >= STALL_DEADLINE, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_a_request_is_told_to_come_again() {
    let bytes = content(6, 100 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let mut sleepers = Vec::new();
    for _ in 0..shoal_common::limits::MAX_UPLOADS {
        sleepers.push(guest(&owner).await);
    }
    // All are here before the first one begins to sleep: none may be dropped
    // before the last one is served.
    let request = TransferRequest::Download { file: FileId::of(&bytes) };
    for wire in &mut sleepers {
        wire.send(&request, 1000).await.unwrap();
    }
    let all = sleepers.len();
    eventually("all are served", || (owner.uploads.list().len() == all).then_some(())).await;
    let mut wire = guest(&owner).await;
    let request = chunks(FileId::of(&bytes), &[(0, 5)]);
    assert_eq!(ask(&mut wire, &request).await, refused(Refusal::Busy));
    drop(sleepers);
    timeout(STALL_DEADLINE, owner.uploads.idle()).await.expect("a slot leaks");
    let reply = ask(&mut wire, &request).await;
    assert_eq!(reply, TransferReply::Bytes(ByteRange { offset: 0, length: 5 }));
}

/// What somebody does to a file while it is served.
fn harm(kind: &str, path: &std::path::Path) {
    match kind {
        "truncated" => std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(1000))
            .unwrap(),
        "emptied and written anew" => std::fs::write(path, content(77, 100 * MIB)).unwrap(),
        "replaced" => {
            std::fs::write(path.with_extension("new"), content(77, 100 * MIB)).unwrap();
            std::fs::rename(path.with_extension("new"), path).unwrap();
        }
        _ => std::fs::remove_file(path).unwrap(),
    }
}

/// Reads until the end or until nothing comes for a while: the number of bytes
/// and whether it was the end.
async fn drained(wire: &mut Wire) -> (usize, bool) {
    let (mut all, mut piece) = (0, vec![0; MIB]);
    loop {
        match timeout(Duration::from_secs(2), wire.read_raw(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => return (all, true),
            Ok(Ok(read)) => all += read,
            Err(_) => return (all, false),
        }
    }
}

/// The whole file is asked for and a part of it read; then the file is harmed.
/// Whatever comes then is what was announced of the old content, or the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_harmed_while_it_is_sent_is_an_error_and_no_signal() {
    let kinds = ["truncated", "emptied and written anew", "replaced", "deleted"];
    for (kind, io) in kinds.into_iter().flat_map(|kind| [(kind, Io::Mmap), (kind, Io::Sendfile)]) {
        let bytes = content(7, 100 * MIB);
        let owner = Owner::start_by(io, "node1", &[("file.bin", &bytes)]).await;
        let file = FileId::of(&bytes);
        let mut wire = reader_that_sleeps(&owner, &bytes).await;
        let reply = wire.receive(1000, Duration::from_secs(5)).await.unwrap();
        assert!(matches!(reply, TransferReply::Bytes(_)), "{kind}: {reply:?}");
        // Within the announced bytes: the socket's buffers are full by now. Were
        // they not, the same would have to hold.
        tokio::time::sleep(Duration::from_millis(300)).await;
        harm(kind, &owner.path("file.bin"));
        let (read, ended) = drained(&mut wire).await;
        match kind {
            // The old file lives on as long as it is open; its content is right.
            "replaced" | "deleted" => {}
            "truncated" => assert!(ended && read < bytes.len(), "{read} bytes, end: {ended}"),
            _ => assert!(read < bytes.len(), "{kind}: all was sent"),
        }
        let mut wire = guest(&owner).await;
        let reply = ask(&mut wire, &chunks(file, &[(50 * MIB as u64, 5)])).await;
        assert_eq!(reply, refused(Refusal::Changed), "{kind}");
    }
}

/// The same within a conversation: the request after the change is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changed_is_refused_at_the_next_request() {
    let bytes = content(8, 4 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let file = FileId::of(&bytes);
    let mut wire = guest(&owner).await;
    let request = chunks(file, &[(0, 5)]);
    assert!(matches!(ask(&mut wire, &request).await, TransferReply::Bytes(_)));
    assert_eq!(raw(&mut wire, 5).await, bytes[..5]);
    harm("truncated", &owner.path("file.bin"));
    assert_eq!(ask(&mut wire, &request).await, refused(Refusal::Changed));
    let reply = ask(&mut wire, &TransferRequest::Unknown).await;
    assert_eq!(reply, refused(Refusal::Unsupported), "the conversation goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_from_a_file_that_shrinks_goes_on_elsewhere() {
    let bytes = content(9, 60 * MIB);
    let shrinking = Owner::start("shrinking", &[("file.bin", &bytes)]).await;
    let dir = tempfile::tempdir().unwrap();
    let slow = common::rogue::Rogue::slow(
        "steady",
        &bytes,
        common::rogue::Fault::None,
        Duration::from_millis(20),
    )
    .await;
    let node = Node::start(dir.path(), &[&shrinking.peer, &slow.peer]);
    let job = node.fetch("file.bin", &bytes);
    node.has(job, 2 * MIB).await;
    harm("truncated", &shrinking.path("file.bin"));
    let info = node.over(job).await;
    assert_eq!(info.state, JobState::Done);
    assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_leaving_a_running_upload_may_end_and_nobody_new_is_served() {
    let bytes = content(10, 100 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    let file = FileId::of(&bytes);
    let (mut running, mut resting) = (guest(&owner).await, guest(&owner).await);
    assert!(matches!(ask(&mut running, &chunks(file, &[(0, 5)])).await, TransferReply::Bytes(_)));
    raw(&mut running, 5).await;
    owner.uploads.drain();
    let reply = resting.receive::<TransferReply>(1000, HELLO_DEADLINE).await;
    assert!(matches!(reply, Err(ConnectionError::Closed)), "{reply:?}");
    assert_eq!(owner.uploads.list().len(), 1);
    let reply = ask(&mut running, &chunks(file, &[(5, 5)])).await;
    assert!(matches!(reply, TransferReply::Bytes(_)), "a running one goes on: {reply:?}");
    raw(&mut running, 5).await;
    let late = call(owner.peer.download, &party(NodeId::random()), Talk::Transfer).await;
    assert!(late.is_err(), "nobody new is served");
    timeout(STALL_DEADLINE, owner.uploads.idle()).await.expect("it ends when the peer pauses");
    let reply = running.receive::<TransferReply>(1000, HELLO_DEADLINE).await;
    assert!(matches!(reply, Err(ConnectionError::Closed)), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_uploads_can_be_set_while_they_run() {
    let bytes = content(11, 100 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    owner.uploads.set_slots(2);
    let request = chunks(FileId::of(&bytes), &[(0, 5)]);
    let mut sleepers = Vec::new();
    for _ in 0..2 {
        sleepers.push(reader_that_sleeps(&owner, &bytes).await);
    }
    eventually("both are served", || (owner.uploads.list().len() == 2).then_some(())).await;
    let mut wire = guest(&owner).await;
    assert_eq!(ask(&mut wire, &request).await, refused(Refusal::Busy));
    owner.uploads.set_slots(3);
    assert!(matches!(ask(&mut wire, &request).await, TransferReply::Bytes(_)));
    raw(&mut wire, 5).await;
    // Fewer, and nobody is cut off.
    owner.uploads.set_slots(1);
    assert_eq!(ask(&mut wire, &request).await, refused(Refusal::Busy));
    drop(sleepers.pop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ask(&mut wire, &request).await, refused(Refusal::Busy));
    assert_eq!(owner.uploads.list().len(), 2, "it and the other sleeper");
}

/// Many small ranges and a few large ones, asked for at once, of a limited
/// owner: the limit is held over all connections together, and evenly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_for_all_uploads_together() {
    const RATE: usize = 4 * MIB;
    let bytes = content(12, 8 * MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    owner.uploads.throttle().set(Some(RATE as u64));
    let file = FileId::of(&bytes);
    let start = Instant::now();
    let mut guests = tokio::task::JoinSet::new();
    for length in [10_000, MIB] {
        let mut wire = guest(&owner).await;
        guests.spawn(async move {
            let mut moved = 0;
            while moved < RATE / 2 {
                let request = chunks(file, &[(0, length as u64)]);
                let reply = ask(&mut wire, &request).await;
                assert!(matches!(reply, TransferReply::Bytes(_)), "{reply:?}");
                moved += raw(&mut wire, length).await.len();
            }
            (moved, start.elapsed())
        });
    }
    let done = guests.join_all().await;
    let moved: usize = done.iter().map(|(moved, _)| moved).sum();
    let due = moved as f64 / RATE as f64;
    let took = start.elapsed().as_secs_f64();
    assert!(took >= due * 0.95, "{moved} bytes in {took} s");
    // Not much slower either; how much depends on the machine.
    assert!(took <= due * 1.5 + 0.2, "{moved} bytes in {took} s");
}

/// A limit at which a range takes longer than a stall may: nobody is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_at_the_limit_is_no_stall() {
    let bytes = content(13, MIB);
    let owner = Owner::start("node1", &[("file.bin", &bytes)]).await;
    owner.uploads.throttle().set(Some(LEAST_LIMIT));
    let mut wire = guest(&owner).await;
    let length = LEAST_LIMIT * (STALL_DEADLINE.as_secs() + 3);
    let request = chunks(FileId::of(&bytes), &[(0, length)]);
    assert!(matches!(ask(&mut wire, &request).await, TransferReply::Bytes(_)));
    let start = Instant::now();
    let mut first = None;
    let mut left = usize::try_from(length).unwrap();
    while left > 0 {
        left -= raw(&mut wire, left.min(1000)).await.len();
        first.get_or_insert_with(|| start.elapsed());
    }
    assert!(start.elapsed() > STALL_DEADLINE, "{:?}", start.elapsed());
    assert!(first.unwrap() < Duration::from_secs(2), "the first bytes came after {first:?}");
}

/// A thousand small files asked for at once, some of which are not what they
/// were: each has its answer in its place, and none is cut short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_files_come_in_order_and_harmed_ones_are_refused_in_between() {
    let names: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    let contents: Vec<_> = (0..1000).map(|number| format!("{number} ").repeat(2000)).collect();
    let files: Vec<_> =
        names.iter().zip(&contents).map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    let owner = Owner::start("node1", &files).await;
    for number in (0..1000).step_by(100) {
        let kind = ["truncated", "deleted", "replaced"][number / 100 % 3];
        harm(kind, &owner.path(&names[number]));
    }
    let mut wire = guest(&owner).await;
    for (number, text) in contents.iter().enumerate() {
        let request = chunks(FileId::of(text.as_bytes()), &[(0, text.len() as u64)]);
        wire.queue(&request, 1000).unwrap();
        if number % 200 == 199 {
            wire.flush().await.unwrap();
        }
    }
    for (number, text) in contents.iter().enumerate() {
        let reply = wire.receive::<TransferReply>(1000, HELLO_DEADLINE).await.unwrap();
        if number % 100 == 0 {
            assert_eq!(reply, refused(Refusal::Changed), "{number}");
            continue;
        }
        let length = text.len();
        assert_eq!(reply, TransferReply::Bytes(ByteRange { offset: 0, length: length as u64 }));
        assert_eq!(raw(&mut wire, length).await, text.as_bytes(), "{number}");
    }
    assert_eq!(owner.uploads.list().len(), 1, "the last one lingers");
}
