//! Strangers at the ports of a whole node: garbage, half frames, frames of
//! 4 GiB, a byte a second, thousands of idle connections, and peers that lie.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::net::SocketAddr;
use std::time::Duration;

use network::{Network, PATIENCE, eventually};
use shoal_common::call::call;
use shoal_common::content::FileId;
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    FRAME_DEADLINE, HELLO_DEADLINE, MAX_REQUEST_FRAME, MAX_SEARCH_FRAME, MAX_TRANSFER_FRAME,
};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::{Greeting, Talk};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::search::{Pattern, SearchReply, SearchRequest};
use shoal_common::protocol::transfer::{TransferReply, TransferRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

fn stranger() -> Party {
    Party::new("shoal", NodeId::random())
}

/// Whether the search port answers a proper question.
async fn searches(address: SocketAddr) -> bool {
    let Ok((mut connection, _)) = call(address, &stranger(), Talk::Search).await else {
        return false;
    };
    let request = SearchRequest::Search { pattern: Pattern::Exact("notes.txt".parse().unwrap()) };
    matches!(connection.ask(&request, MAX_SEARCH_FRAME).await, Ok(SearchReply::Matches { matches, .. }) if matches.len() == 1)
}

/// Whether the download port answers a proper question.
async fn downloads(address: SocketAddr) -> bool {
    let Ok((mut connection, _)) = call(address, &stranger(), Talk::Transfer).await else {
        return false;
    };
    let request = TransferRequest::Size { file: FileId::of(b"notes") };
    matches!(
        connection.ask(&request, MAX_TRANSFER_FRAME).await,
        Ok(TransferReply::Size { size: 5 })
    )
}

/// A message of the right type with lists in lists in a field that is unknown.
fn nested() -> Vec<u8> {
    let body = [b"\x82\xa1x", &[0x91; 1000][..], b"\xc0\xa4type\xa5hello"].concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// Waits until the other side hangs up; how long that took.
async fn until_closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut sink = [0; 4096];
    while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {}
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_half_frames_and_endless_frames_are_closed_at_every_port() {
    let network = Network::start().await;
    let node = network.node("one", &[("notes.txt", b"notes")]).await;
    let us = node.app().identity();
    let nested = nested();
    for port in [us.search, us.download, network.tracker()] {
        for hostile in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            &[0xff; 64],
            b"\0\0\0\x01\xc1",
            &[0; 4],
            &nested,
        ] {
            let mut stream = TcpStream::connect(port).await.unwrap();
            stream.write_all(hostile).await.unwrap();
            assert!(until_closed(&mut stream).await < HELLO_DEADLINE / 2, "{port} {hostile:?}");
        }
        let mut half = TcpStream::connect(port).await.unwrap();
        half.write_all(b"\0\0\0\x40\x84\xa4type").await.unwrap();
        half.shutdown().await.unwrap();
        assert!(until_closed(&mut half).await < HELLO_DEADLINE / 2, "{port}");
    }
    // The same after a proper greeting.
    let talks = [Talk::Search, Talk::Transfer, Talk::Tracking];
    for (port, talk) in [us.search, us.download, network.tracker()].into_iter().zip(talks) {
        for hostile in [&[0xff; 64][..], b"\0\0\0\x01\xc1", &[0; 4], &nested] {
            let (length, message) = hostile.split_at(4);
            let hostile = [length, &[0; 8], message].concat();
            let (mut connection, _) = call(port, &stranger(), talk).await.unwrap();
            connection.stream().write_all(&hostile).await.unwrap();
            assert!(until_closed(connection.stream()).await < HELLO_DEADLINE, "{port} {hostile:?}");
        }
    }
    assert!(searches(us.search).await && downloads(us.download).await);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_a_second_is_closed_at_every_port() {
    let network = Network::start().await;
    let node = network.node("one", &[("notes.txt", b"notes")]).await;
    let us = node.app().identity();
    let mut drips = Vec::new();
    for port in [us.search, us.download, network.tracker()] {
        drips.push(async move {
            let mut stream = TcpStream::connect(port).await.unwrap();
            let start = Instant::now();
            for byte in [&[0, 0, 0, 99][..], &[0x84; 99]].concat() {
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            start.elapsed()
        });
    }
    let [a, b, c] = drips.try_into().unwrap_or_else(|_| panic!());
    let (a, b, c) = tokio::join!(a, b, c);
    for held in [a, b, c] {
        assert!(held < FRAME_DEADLINE + Duration::from_secs(5), "held for {held:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_connections_at_every_port_hold_nobody_up() {
    shoal_common::process::raise_descriptor_limit();
    let network = Network::start().await;
    let node = network.node("one", &[("notes.txt", b"notes")]).await;
    let us = node.app().identity();
    for port in [us.search, us.download, network.tracker()] {
        let mut idle = Vec::new();
        for _ in 0..2000 {
            idle.push(TcpStream::connect(port).await.unwrap());
        }
        let start = Instant::now();
        assert!(
            searches(us.search).await && downloads(us.download).await,
            "not served beside the idle"
        );
        let newcomer = network.node(&format!("late{}", port.port()), &[]).await;
        newcomer.app().registered().await;
        assert!(start.elapsed() < HELLO_DEADLINE, "{:?}", start.elapsed());
        newcomer.stop().await;
        // And they are not kept for ever.
        let last = idle.last_mut().unwrap();
        timeout(PATIENCE, until_closed(last)).await.expect("an idle stranger is kept");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_newer_program_are_refused_and_the_connection_goes_on() {
    let network = Network::start().await;
    let node = network.node("one", &[("notes.txt", b"notes")]).await;
    let us = node.app().identity();

    #[derive(serde::Serialize)]
    struct Newer {
        r#type: &'static str,
        tempo: u32,
    }
    let newer = Newer { r#type: "dance", tempo: 5 };
    let (mut search, _) = call(us.search, &stranger(), Talk::Search).await.unwrap();
    let refused: SearchReply = search.ask(&newer, MAX_SEARCH_FRAME).await.unwrap();
    assert_eq!(refused, SearchReply::Refused { refusal: Refusal::Unsupported });
    let request = SearchRequest::Search { pattern: Pattern::Content(FileId::of(b"notes")) };
    assert!(matches!(
        search.ask(&request, MAX_SEARCH_FRAME).await,
        Ok(SearchReply::Matches { .. })
    ));

    let (mut download, _) = call(us.download, &stranger(), Talk::Transfer).await.unwrap();
    let refused: TransferReply = download.ask(&newer, MAX_TRANSFER_FRAME).await.unwrap();
    assert_eq!(refused, TransferReply::Refused { refusal: Refusal::Unsupported });
    let request = TransferRequest::Size { file: FileId::of(b"notes") };
    assert_eq!(
        download.ask::<_, TransferReply>(&request, MAX_TRANSFER_FRAME).await.unwrap(),
        TransferReply::Size { size: 5 }
    );
    node.stop().await;
}

/// What a peer may answer to a search, without the checks of the real types.
#[derive(serde::Serialize)]
struct LyingReply {
    r#type: &'static str,
    matches: Vec<LyingMatch>,
    more: bool,
}

#[derive(serde::Serialize)]
struct LyingMatch {
    name: String,
    size: u64,
    file: FileId,
}

/// A registered peer whose search port answers anything with `name`.
async fn liar(network: &Network, listener: TcpListener, name: String) {
    let at = listener.local_addr().unwrap();
    network.register("liar", at, at).await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = shoal_common::connection::Connection::new(stream);
        let us = stranger();
        connection.receive::<Greeting>(MAX_REQUEST_FRAME, PATIENCE).await.unwrap();
        let greeting = Greeting::Hello(us.greets(Talk::Search));
        connection.send(&greeting, MAX_REQUEST_FRAME).await.unwrap();
        connection.keep_time(us.clock);
        let Ok(_) = connection.receive::<SearchRequest>(MAX_REQUEST_FRAME, PATIENCE).await else {
            continue;
        };
        let matches = vec![LyingMatch { name: name.clone(), size: 4, file: FileId::of(b"evil") }];
        connection
            .send(&LyingReply { r#type: "matches", matches, more: false }, MAX_SEARCH_FRAME)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_asked_for_is_not_believed() {
    let network = Network::start().await;
    let node = network.node("one", &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lying = liar(&network, listener, "other.txt".to_owned());
    let asking = async {
        eventually("the liar is known", || node.app().peers().len() == 1).await;
        (node.app().find("notes.txt").await.unwrap(), node.app().search("other").await.unwrap())
    };
    let (asked, honest) = tokio::select! {
        findings = asking => findings,
        () = lying => unreachable!(),
    };
    assert!(asked.found.is_empty() && asked.silent.len() == 1, "{asked:?}");
    assert_eq!(honest.found.len(), 1, "the same answer to another question is right");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_leave_the_folder_are_refused_from_a_peer_and_at_a_peer() {
    let network = Network::start().await;
    let node = network.node("one", &[("notes.txt", b"notes")]).await;
    let long = "x".repeat(300);
    for name in
        ["../../etc/passwd", "/etc/passwd", "a\0b", &long, "\u{1b}[2Jx", ".shoal/id", "a//b"]
    {
        assert!(node.app().find(name).await.is_err(), "{name:?} is asked for");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lying = liar(&network, listener, name.to_owned());
        let asking = async {
            eventually("the liar is known", || node.app().peers().len() == 1).await;
            node.app().search("e").await.unwrap()
        };
        let findings = tokio::select! {
            findings = asking => findings,
            () = lying => unreachable!(),
        };
        assert!(findings.found.is_empty(), "{name:?} is believed: {findings:?}");
        assert_eq!(findings.silent, ["liar".parse().unwrap()]);
        eventually("the liar is forgotten", || node.app().peers().is_empty()).await;

        let us = node.app().identity();
        let (mut connection, _) = call(us.search, &stranger(), Talk::Search).await.unwrap();
        #[derive(serde::Serialize)]
        struct Lying<'a> {
            r#type: &'static str,
            pattern: std::collections::BTreeMap<&'static str, &'a str>,
        }
        let request = Lying { r#type: "search", pattern: [("exact", name)].into() };
        let reply: SearchReply = connection.ask(&request, MAX_SEARCH_FRAME).await.unwrap();
        assert_eq!(reply, SearchReply::Refused { refusal: Refusal::Malformed }, "{name:?}");
    }
    node.stop().await;
}
