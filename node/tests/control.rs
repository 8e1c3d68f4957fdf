//! The control socket against a real node: what it answers, and what it
//! withstands.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use network::{Network, TestNode, eventually};
use shoal_common::clock::Clock;
use shoal_common::connection::Connection;
use shoal_common::content::FileId;
use shoal_common::limits::REQUEST_SIZE;
use shoal_node::amount::{Limit, RequestSize};
use shoal_node::app::limits::Setting;
use shoal_node::app::node::{Node, Sharing};
use shoal_node::config::{Config, Limits};
use shoal_node::control::client::{ControlError, Door, Event};
use shoal_node::control::protocol::{MAX_CONTROL_REPLY, Reply, Request};
use shoal_node::control::serve::Service;
use shoal_node::control::socket::{ControlSocket, connect};
use shoal_node::transfer::job::{JobState, Priority, Wanted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn service(node: &Node) -> Service {
    let tasks = node.tasks();
    Service::new(node.app().clone(), tasks.cancelled().clone(), tasks.clone())
}

async fn alone(network: &Network) -> (TestNode, Door) {
    let node = network.node("node1", &[("a b.txt", b"one"), ("c.txt", b"two")]).await;
    service(node.node()).serve(ControlSocket::bind(node.dir.path()).unwrap());
    let door = Door::of(node.dir.path());
    (node, door)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_over_the_socket_and_in_the_process() {
    let network = Network::start().await;
    let (node, door) = alone(&network).await;
    let other = network.node("node2", &[("d.bin", &[7; 100_000])]).await;
    let app = node.app().clone();
    eventually("they know each other", || app.peers().len() == 1).await;

    for door in [door, service(node.node()).door()] {
        assert_eq!(door.identity().await.unwrap().name.as_str(), "node1");
        assert_eq!(door.peers().await.unwrap()[0].name.as_str(), "node2");
        let show = door.show(Some("A B".into())).await.unwrap();
        assert_eq!(show.len(), 1);
        assert_eq!(show[0].name.as_str(), "a b.txt");
        let found = door.search("*.bin").await.unwrap().found;
        assert_eq!(found.len(), 1);
        assert_eq!(door.find("d.bin").await.unwrap().found, found);
        assert!(door.names().await.unwrap().contains(&"d.bin".to_owned()));
        assert!(door.uploads().await.unwrap().is_empty());
        let Err(ControlError::Refused(reason)) = door.find("../x").await else {
            panic!("a bad name is looked for");
        };
        assert!(reason.contains("../x"), "{reason}");
        assert!(matches!(door.cancel(99).await, Err(ControlError::Refused(_))));
        assert!(matches!(door.wait(99).await, Err(ControlError::Refused(_))));
    }
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_started_watched_and_waited_for() {
    let network = Network::start().await;
    let (node, door) = alone(&network).await;
    let other = network.node("node2", &[("d.bin", &[7; 3_000_000])]).await;
    let app = node.app().clone();
    eventually("they know each other", || app.peers().len() == 1).await;
    let mut watch = door.watch().await.unwrap();

    let found = door.find("d.bin").await.unwrap().found.remove(0);
    let wanted = Wanted::file(found.name, found.id, found.size);
    let job = door.download(wanted).await.unwrap();
    let over = timeout(PATIENCE, door.wait(job.job)).await.unwrap().unwrap();
    assert_eq!((over.state, over.done), (JobState::Done, 3_000_000));
    assert_eq!(door.jobs().await.unwrap(), [over]);

    // A watcher hears of the end of each download once.
    let mut ends = 0;
    while let Ok(Ok(event)) = timeout(Duration::from_secs(1), watch.next()).await {
        if let Event::Progress(jobs) = event {
            ends += jobs.iter().filter(|job| job.state == JobState::Done).count();
        }
    }
    assert_eq!(ends, 1);
    app.say("a line");
    let event = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(event, Event::Notice("a line".into()));
    drop(other);
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, ControlError>) -> String {
    match answer {
        Err(ControlError::Refused(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_paused_put_in_order_limited_and_tried_again() {
    let network = Network::start().await;
    let (node, door) = alone(&network).await;
    // Nobody has it, so it is not over before it is told to be.
    let wanted = Wanted::file("x.bin".parse().unwrap(), FileId::of(b"x"), 1);
    let job = door.download(wanted).await.unwrap().job;
    let kept = std::fs::read(node.dir.path().join(".shoal/jobs")).unwrap();
    assert!(kept.windows(5).any(|bytes| bytes == b"x.bin"), "it is written down by now");

    assert_eq!(door.pause(job).await.unwrap().state, JobState::Paused);
    assert_eq!(refusal(door.pause(job).await), "job 1 is paused already");
    assert_eq!(door.job_info(job).await.unwrap().state, JobState::Paused);
    let high = door.prioritize(job, Priority::High).await.unwrap();
    assert_eq!((high.priority, high.state), (Priority::High, JobState::Paused));
    let limited = door.limit(job, Limit(Some(50_000))).await.unwrap();
    assert_eq!(limited.limit, Some(50_000));
    let reason = refusal(door.limit(job, Limit(Some(50))).await);
    assert!(reason.starts_with("a limit of 50 bytes a second is too low"), "{reason}");
    assert!(door.resume(job).await.unwrap().state != JobState::Paused);
    assert_eq!(refusal(door.resume(job).await), "job 1 is not paused");
    assert_eq!(refusal(door.retry(job).await), "job 1 is not over; it goes on by itself");

    assert_eq!(door.cancel(job).await.unwrap().state, JobState::Cancelled);
    let again = door.retry(job).await.unwrap();
    assert_eq!((again.job, again.priority, again.limit), (2, Priority::High, Some(50_000)));
    let over = [
        door.pause(job).await,
        door.resume(job).await,
        door.prioritize(job, Priority::Low).await,
        door.limit(job, Limit(None)).await,
    ];
    for answer in over {
        assert_eq!(refusal(answer), "job 1 is over already");
    }
    let nothing = [
        door.pause(9).await,
        door.resume(9).await,
        door.prioritize(9, Priority::Low).await,
        door.limit(9, Limit(None)).await,
        door.retry(9).await,
        door.job_info(9).await,
    ];
    for answer in nothing {
        assert_eq!(refusal(answer), "there is no job 9");
    }
    assert!(door.stats().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_of_the_start_until_they_are_changed() {
    let network = Network::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { up: Limit(Some(5_000_000)), max_downloads: 1, ..Limits::default() };
    let config = Config { limits, ..network.config("node1", dir.path()) };
    let node = Node::start(&config, Sharing::Folder).unwrap();
    let door = service(&node).door();
    assert_eq!(door.limits().await.unwrap(), limits);

    // At most one runs.
    for name in ["one", "two"] {
        let wanted = Wanted::file(name.parse().unwrap(), FileId::of(name.as_bytes()), 1);
        door.download(wanted).await.unwrap();
    }
    let states = || node.app().jobs().iter().map(|job| job.state).collect::<Vec<_>>();
    assert_eq!(states()[1], JobState::Queued);
    let set = door.set(Setting::MaxDownloads(2)).await.unwrap();
    assert_eq!(set, Limits { max_downloads: 2, ..limits });
    eventually("both run", || !states().contains(&JobState::Queued)).await;

    let up = Setting::Up(Limit(None));
    assert_eq!(door.set(up).await.unwrap(), Limits { up: Limit(None), ..set });
    let chunk_size = RequestSize(65_536);
    let both = Limits { up: Limit(None), chunk_size, ..set };
    assert_eq!(door.set(Setting::ChunkSize(chunk_size)).await.unwrap(), both);
    assert_eq!(door.limits().await.unwrap(), both);
    for (setting, said) in [
        (Setting::Down(Limit(Some(1))), "a limit of 1 bytes a second is too low"),
        (Setting::MaxUploads(1000), "`1000` at once is not possible: 1 to 64 are"),
        (Setting::ChunkSize(RequestSize(1)), "a request size of 1 bytes is not possible"),
    ] {
        let reason = refusal(door.set(setting).await);
        assert!(reason.starts_with(said), "{reason}");
        assert_eq!(door.limits().await.unwrap(), both);
    }
    node.stop(Duration::ZERO, std::future::pending()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_downloads_are_counted_and_kept() {
    let network = Network::start().await;
    let other = network.node("node2", &[("d.bin", &[7; 3_000_000])]).await;
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted::file("d.bin".parse().unwrap(), FileId::of(&[7; 3_000_000]), 3_000_000);
    let mut dir = Some(dir);
    for run in 1..=2 {
        let node = network.node_on("node1", dir.take().unwrap()).await;
        let door = service(node.node()).door();
        eventually("they know each other", || node.app().peers().len() == 1).await;
        let job = door.download(wanted.clone()).await.unwrap().job;
        let over = timeout(PATIENCE, door.wait(job)).await.unwrap().unwrap();
        assert_eq!(over.state, JobState::Done, "{over:?}");
        eventually("it is counted", || node.app().stats().iter().any(|row| row.runs == run)).await;
        let row = door.stats().await.unwrap().remove(0);
        assert_eq!((row.name.as_str(), row.size, row.owners), ("d.bin", 3_000_000, 1));
        assert_eq!((row.request_size, row.deviation.is_some()), (REQUEST_SIZE, run == 2));
        assert!(row.seconds > 0.0 && row.rate > 0.0, "{row:?}");
        let folder = node.stop().await;
        std::fs::remove_file(folder.path().join("d.bin")).unwrap();
        dir = Some(folder);
    }
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_the_next_one_served() {
    let network = Network::start().await;
    let (node, door) = alone(&network).await;
    let files = node.dir.path();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\xff\xff\xff\xff",
        b"\0\0\0\x01\xc1",
        b"\0\0\0\x0a\x81\xa4type",
        b"\0\0",
    ] {
        let mut stream = connect(files).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let end = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "{garbage:?} holds its connection");
        door.identity().await.unwrap();
    }
    // Of a newer program: refused in words, and the conversation goes on.
    let mut connection = Connection::new(connect(files).await.unwrap());
    connection.keep_time(Clock::default());
    for _ in 0..2 {
        let dance = std::collections::BTreeMap::from([("type", "dance")]);
        connection.send(&dance, 100).await.unwrap();
        let reply: Reply = connection.receive(MAX_CONTROL_REPLY, PATIENCE).await.unwrap();
        assert!(matches!(reply, Reply::Refused { .. }), "{reply:?}");
    }
    connection.send(&Request::Peers, 100).await.unwrap();
    let reply: Reply = connection.receive(MAX_CONTROL_REPLY, PATIENCE).await.unwrap();
    assert_eq!(reply, Reply::Peers { peers: vec![] });
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_delay_nobody_and_go() {
    shoal_common::process::raise_descriptor_limit();
    let network = Network::start().await;
    let (node, door) = alone(&network).await;
    let mut idle = Vec::new();
    for _ in 0..2000 {
        idle.push(connect(node.dir.path()).await.unwrap());
    }
    timeout(Duration::from_secs(5), door.identity()).await.unwrap().unwrap();
    // They said nothing, so they are closed.
    let mut last = idle.pop().unwrap();
    let end = timeout(PATIENCE, last.read_to_end(&mut Vec::new())).await;
    assert_eq!(end.unwrap().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_its_owner_and_a_dead_one_is_replaced() {
    let network = Network::start().await;
    let (node, door) = alone(&network).await;
    let hidden = node.dir.path().join(".shoal");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&hidden), 0o700);
    assert_eq!(mode(&hidden.join("control")), 0o600);
    door.identity().await.unwrap();
    let dir = node.stop().await;
    let files = dir.path().to_owned();
    assert!(!hidden.join("control").exists(), "the socket goes with its node");

    // What a killed node leaves.
    drop(std::os::unix::net::UnixListener::bind(hidden.join("control")).unwrap());
    let error = door.identity().await.unwrap_err();
    assert!(matches!(&error, ControlError::NoNode(path) if *path == files), "{error}");
    assert!(error.to_string().contains("start one with `shoal-node --files"), "{error}");
    let socket = ControlSocket::bind(&files).unwrap();
    connect(&files).await.unwrap();
    drop(socket);
    assert!(matches!(door.identity().await, Err(ControlError::NoNode(_))));
}

#[tokio::test]
async fn a_path_may_be_longer_than_the_address_of_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let long: PathBuf = dir.path().join("long/".repeat(60));
    let socket = ControlSocket::bind(&long).unwrap();
    let (accepted, connected) = tokio::join!(socket.accept(), connect(&long));
    accepted.unwrap();
    connected.unwrap();
}
