//! Nodes that find each other without a tracker: real sockets, in one process.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod alone;
mod network;

use std::net::SocketAddr;
use std::time::Duration;

use alone::{Alone, Gates, PATIENCE, Place, see_each_other, tasks, until};
use network::{Network, eventually};
use shoal_common::call::call;
use shoal_common::clock::Clock;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{EXCHANGE, MAX_PEERS, MAX_PEERS_FRAME, REPLY_DEADLINE};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::peers::{Known, PeersReply, PeersRequest, State};
use shoal_common::protocol::refusal::Refusal;
use shoal_node::config::Config;
use shoal_node::membership::{Link, neighbors};
use shoal_node::transfer::job::{JobState, Sources, Wanted};
use tokio::time::timeout;

/// So short that a test is soon over.
const SHORT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn thirty_that_form_a_chain_know_each_other_within_five_seconds() {
    let place = Place::new();
    let nodes: Vec<Alone> = (0..30_u8)
        .map(|number| {
            let next = if number < 29 { place.at(number + 1).to_string() } else { String::new() };
            let file = format!("# the neighbour of node{number}\n{next}\n");
            let listed = neighbors::parse(&file);
            assert_eq!(listed.bad, []);
            let peers: Vec<_> = listed.addresses.iter().map(|peer| peer.parse().unwrap()).collect();
            Alone::start(place.config(number, EXCHANGE), &peers, &[])
        })
        .collect();
    let all: Vec<&Alone> = nodes.iter().collect();
    let took = until("all know all", || see_each_other(&all)).await;
    println!("30 in a chain know each other after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let identity = nodes[3].app().identity();
    assert_eq!((identity.tracker, identity.link), (None, Link::None));
    assert_eq!(identity.search, place.at(3));
    assert!(nodes[3].app().clock().now() > 0);
    let infos = nodes[0].app().standings();
    assert!(infos.iter().all(|info| info.clock.is_some_and(|clock| clock > 0)), "{infos:?}");
    assert!(infos.iter().any(|info| info.contact.is_some_and(|ago| ago < 30.0)), "{infos:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_into_ten_and_twenty_heals_within_two_intervals() {
    const INTERVAL: Duration = Duration::from_secs(3);
    let (place, gates, tasks) = (Place::new(), Gates::default(), tasks());
    let nodes: Vec<Alone> = (0..30_u8)
        .map(|number| {
            let next: Vec<_> = (number < 29).then(|| place.gate(number + 1)).into_iter().collect();
            let node = Alone::start(place.gated(number, INTERVAL), &next, &[]);
            gates.open(&place, number, node.id(), &tasks);
            node
        })
        .collect();
    let all: Vec<&Alone> = nodes.iter().collect();
    until("all know all", || see_each_other(&all)).await;
    gates.part(|number| u8::from(number >= 10));
    let (ten, twenty) = all.split_at(10);
    let took =
        until("each side knows itself alone", || see_each_other(ten) && see_each_other(twenty))
            .await;
    println!("the partition was noticed after {took:?}");
    let away = nodes[0].app().standings().into_iter().filter(|info| info.state == State::Offline);
    assert_eq!(away.count(), 20, "they are not forgotten");
    // Until nothing is in a hurry any more.
    tokio::time::sleep(INTERVAL).await;
    assert!(see_each_other(ten) && see_each_other(twenty));
    gates.part(|_| 0);
    let took = until("all know all again", || see_each_other(&all)).await;
    println!("the partition was healed after {took:?}");
    assert!(took < INTERVAL * 2, "{took:?}");
    tasks.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn search_and_download_need_no_tracker() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let one = Alone::start(place.config(0, SHORT), &[], &[("big.bin", &bytes)]);
    let two = Alone::start(place.config(1, SHORT), &[place.at(0)], &[("big.bin", &bytes)]);
    let three = Alone::start(place.config(2, SHORT), &[place.at(1)], &[]);
    timeout(PATIENCE, three.app().registered()).await.unwrap();
    until("all know all", || see_each_other(&[&one, &two, &three])).await;
    for owner in [&one, &two] {
        timeout(PATIENCE, owner.app().sharing()).await.unwrap();
    }
    let findings = three.app().search("big").await.unwrap();
    assert_eq!((findings.found.len(), findings.found[0].owners.len()), (1, 2));
    let found = &findings.found[0];
    let wanted = Wanted::file(found.name.clone(), found.id, found.size);
    let job = three.app().download(Wanted { from: Sources::All, ..wanted }).unwrap();
    let done = timeout(PATIENCE, three.app().finished(job)).await.unwrap().unwrap();
    assert_eq!(done.state, JobState::Done, "{done:?}");
    assert!(std::fs::read(three.dir.path().join("big.bin")).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_node_is_told_of() {
    let place = Place::new();
    let hub = Alone::start(place.config(0, SHORT), &[], &[]);
    let original = Alone::start(place.config(1, SHORT), &[place.at(0)], &[]);
    let mut news = original.app().notices();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".shoal")).unwrap();
    let id = original.dir.path().join(".shoal/id");
    std::fs::copy(id, dir.path().join(".shoal/id")).unwrap();
    let copy = Alone::start_on(dir, place.config(2, SHORT), &[place.at(0)]);
    assert_eq!(copy.id(), original.id());
    let told = async {
        loop {
            let line = news.recv().await.unwrap();
            if line.contains("has the id of this one") {
                return line;
            }
        }
    };
    let line = timeout(PATIENCE, told).await.expect("it is told");
    assert!(line.contains(&format!("at `{}`", place.at(2))), "{line}");
    drop(hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_is_heard_by_all_and_a_node_that_returns_is_found() {
    let place = Place::new();
    let config = |number| place.config(number, SHORT);
    let one = Alone::start(config(0), &[], &[]);
    let two = Alone::start(config(1), &[place.at(0)], &[]);
    let three = Alone::start(config(2), &[place.at(0)], &[]);
    until("all know all", || see_each_other(&[&one, &two, &three])).await;
    let mut news = one.app().notices();
    let clock = one.app().clock().now();
    let dir = two.stop().await;
    let took = until("it is gone", || see_each_other(&[&one, &three])).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(one.app().clock().now() > clock);
    let away = vec![("node2".to_owned(), true), ("node1".to_owned(), false)];
    assert_eq!(one.standings(), away);
    let told = timeout(PATIENCE, async {
        loop {
            let line = news.recv().await.unwrap();
            if line.contains("`node1`") && !line.contains("joined") {
                return line;
            }
        }
    });
    assert_eq!(told.await.unwrap(), "`node1` is offline");

    // It returns at another address, and knows nobody.
    let moved = Config { name: Some("node1".parse().unwrap()), ..config(4) };
    let two = Alone::start_on(dir, moved, &[]);
    assert_eq!(two.app().peers(), []);
    let greeted = three.app().hello(&place.at(4).to_string()).await.unwrap();
    assert_eq!((greeted.id, greeted.search), (two.id(), place.at(4)));
    until("it is back", || see_each_other(&[&one, &two, &three])).await;

    // And one is killed, comes back where it was, and is found by those who probe.
    let dir = two.kill().await;
    until("it is gone", || see_each_other(&[&one, &three])).await;
    let two =
        Alone::start_on(dir, Config { name: Some("node1".parse().unwrap()), ..config(4) }, &[]);
    until("it is back", || see_each_other(&[&one, &two, &three])).await;
    let infos = three.app().refresh().await;
    assert_eq!(infos.len(), 2);
    assert!(infos.iter().all(|info| info.contact.is_some_and(|ago| ago < 5.0)), "{infos:?}");
    let error = one.app().hello("node77").await.unwrap_err().to_string();
    assert_eq!(error, "`node77` is no node that is known, and no HOST:PORT");
    let error = one.app().hello(&place.at(0).to_string()).await.unwrap_err().to_string();
    assert!(error.contains("this node itself"), "{error}");
    assert!(one.app().hello(&place.at(99).to_string()).await.is_err());
    assert_eq!(one.app().hello("node1").await.unwrap().id, two.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_name_the_younger_gets_a_number_everywhere() {
    let place = Place::new();
    let named =
        |number| Config { name: Some("node".parse().unwrap()), ..place.config(number, SHORT) };
    let one = Alone::start(named(0), &[], &[]);
    let two = Alone::start(named(1), &[place.at(0)], &[]);
    until("they know each other", || see_each_other(&[&one, &two])).await;
    let three = Alone::start(named(2), &[place.at(1)], &[]);
    until("all know all", || see_each_other(&[&one, &two, &three])).await;
    let seen = |by: &Alone, of: &Alone| {
        if by.id() == of.id() {
            return by.app().identity().name.to_string();
        }
        let peers = by.app().peers().into_iter();
        peers.filter(|peer| peer.id == of.id()).map(|peer| peer.name.to_string()).collect()
    };
    until("all agree on the names", || {
        [&one, &two, &three]
            .iter()
            .all(|of| seen(&one, of) == seen(&two, of) && seen(&two, of) == seen(&three, of))
    })
    .await;
    let mut names = [&one, &two, &three].map(|node| seen(node, node));
    assert_eq!(names[2], "node-3", "{names:?}");
    names.sort();
    assert_eq!(names, ["node", "node-2", "node-3"]);
}

/// What a liar says, and what it is answered.
async fn says(to: &Alone, us: &Party, requests: Vec<PeersRequest>) -> Vec<PeersReply> {
    let at = to.app().identity().search;
    let (mut connection, _) = call(at, us, Talk::Peers).await.unwrap();
    let mut replies = Vec::new();
    for request in requests {
        connection.send(&request, MAX_PEERS_FRAME * 4).await.unwrap();
        replies.push(connection.receive(MAX_PEERS_FRAME, REPLY_DEADLINE).await.unwrap());
    }
    replies
}

fn told(peer: Peer, state: State, at: u64) -> Known {
    Known { peer, state, at, born: 1, gone: 0, guest: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_changes_nothing_for_long() {
    let place = Place::new();
    let one = Alone::start(place.config(0, SHORT), &[], &[]);
    let two = Alone::start(place.config(1, SHORT), &[place.at(0)], &[]);
    let three = Alone::start(place.config(2, SHORT), &[place.at(0)], &[]);
    until("all know all", || see_each_other(&[&one, &two, &three])).await;
    let peer_of = |node: &Alone| {
        let us = node.app().identity();
        Peer { id: us.id, name: us.name, search: us.search, download: us.download, joined: 0 }
    };
    let (now, nowhere) = (one.app().clock().now(), place.at(77));
    let liar =
        Party { network: "shoal".into(), node: NodeId::random(), clock: Clock::at(now + 50) };
    let stranger = |at| Peer { id: NodeId::random(), search: at, ..peer_of(&two) };
    let never = stranger("0.0.0.0:1".parse().unwrap());
    let itself = Peer { id: liar.node, ..stranger(nowhere) };
    let lies = vec![
        told(peer_of(&one), State::Offline, now + 40),
        told(Peer { search: nowhere, ..peer_of(&one) }, State::Online, now + 45),
        told(peer_of(&two), State::Offline, now + 40),
        told(peer_of(&three), State::Offline, u64::MAX),
        told(never.clone(), State::Online, now),
        told(stranger(nowhere), State::Online, 1 << 63),
    ];
    let replies = says(
        &one,
        &liar,
        vec![
            PeersRequest::Hello { us: told(peer_of(&two), State::Online, 5) },
            PeersRequest::Hello { us: told(Peer { id: liar.node, ..never }, State::Online, 5) },
            PeersRequest::Hello { us: told(itself, State::Online, 5) },
            PeersRequest::PeerList { peers: lies },
            PeersRequest::PeerList {
                peers: vec![told(stranger(nowhere), State::Online, 1); MAX_PEERS + 1],
            },
            PeersRequest::GetPeers { digests: vec![1, 2, 3], after: None },
            PeersRequest::Unknown,
        ],
    )
    .await;
    let refused = |refusal| PeersReply::Refused { refusal };
    assert_eq!(replies[0], refused(Refusal::NotAllowed), "it speaks for another");
    assert_eq!(replies[1], refused(Refusal::NotAllowed), "nobody is there");
    assert!(matches!(&replies[2], PeersReply::Welcome { us } if us.peer == peer_of(&one)));
    assert_eq!(replies[3], PeersReply::Done);
    assert_eq!(replies[4], refused(Refusal::NotAllowed), "more than a page");
    assert_eq!(replies[5], refused(Refusal::Malformed));
    assert_eq!(replies[6], refused(Refusal::Unsupported));
    assert_eq!(one.app().identity().search, place.at(0));
    let took =
        until("all know all, and not the liar", || see_each_other(&[&one, &two, &three])).await;
    println!("a liar was seen through after {took:?}");
    assert!(one.standings().len() <= 3, "{:?}", one.standings());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_tracker_its_death_changes_nothing_and_ways_in_are_many() {
    let network = Network::start().await;
    let place = Place::new();
    let tracked = |number| Config {
        tracker: Some(network.tracker().to_string()),
        ..place.config(number, SHORT)
    };
    let one = Alone::start(tracked(0), &[], &[]);
    let two = Alone::start(tracked(1), &[], &[]);
    until("they know each other", || see_each_other(&[&one, &two])).await;
    // One that knows no tracker is found by all, and finds all.
    let three = Alone::start(place.config(2, SHORT), &[place.at(1)], &[]);
    let all = [&one, &two, &three];
    until("all know all", || see_each_other(&all)).await;
    until("exchange knows all", || {
        [&one, &two]
            .iter()
            .all(|node| node.app().standings().iter().all(|info| info.clock.is_some()))
    })
    .await;
    network.stop_tracker();
    until("the tracker is lost", || one.app().identity().link == Link::Searching).await;
    assert!(see_each_other(&all));
    // Whoever dies now is noticed, and whoever comes is found.
    two.kill().await;
    until("it is gone", || see_each_other(&[&one, &three])).await;
    let four = Alone::start(tracked(4), &[place.at(2)], &[]);
    until("the newcomer is in", || see_each_other(&[&one, &three, &four])).await;
    // With a tracker again, nobody is there twice.
    network.restart_tracker().await;
    eventually("it is registered", || four.app().identity().link == Link::Registered).await;
    until("all know all", || see_each_other(&[&one, &three, &four])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_the_network_by_exchange_alone_finds_its_tracker() {
    let network = Network::without_tracker().await;
    let place = Place::new();
    let one = Alone::start(place.config(0, SHORT), &[], &[]);
    let two = Alone::start(place.config(1, SHORT), &[place.at(0)], &[]);
    until("they know each other", || see_each_other(&[&one, &two])).await;
    assert_eq!(two.app().identity().link, Link::None);
    // A tracker comes, and one that knows it and one of them.
    network.restart_tracker().await;
    let tracker = Some(network.tracker().to_string());
    let three = Config { tracker, ..place.config(2, SHORT) };
    let three = Alone::start(three, &[place.at(0)], &[]);
    let all = [&one, &two, &three];
    let follow = || all.iter().all(|node| node.app().identity().link == Link::Registered);
    eventually("all are registered", follow).await;
    until("all know all", || see_each_other(&all)).await;
}

/// The program, on an address of its own.
fn program(place: &Place, number: u8, args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shoal-node"));
    command.args(args).arg("--listen").arg(place.at(number).ip().to_string());
    command.stdin(std::process::Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_get_in_by_any_node_and_are_forgotten() {
    let place = Place::new();
    let one = Alone::start(place.config(0, SHORT), &[], &[("a.txt", b"some text")]);
    let two = Alone::start(place.config(1, SHORT), &[place.at(0)], &[]);
    until("they know each other", || see_each_other(&[&one, &two])).await;
    timeout(PATIENCE, one.app().sharing()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = place.at(1).to_string();
    let neighbors = dir.path().join("neighbors");
    std::fs::write(&neighbors, format!("# one that is there\n{at}\nno port here\n")).unwrap();
    let (file, to) = (neighbors.to_str().unwrap(), dir.path().to_str().unwrap());
    let outputs = tokio::task::block_in_place(|| {
        [
            &["cat", "a.txt", "--peer", &at][..],
            &["get", "a.txt", "-o", to, "--neighbors", file],
            &["cat", "a.txt", "--neighbors", "/nowhere/neighbors"],
            &["cat", "a.txt", "--peer", &place.at(50).to_string()],
            &["get", "a.txt", "-o", to, "--peer", &at, "--network", "zzz"],
        ]
        .map(|args| program(&place, 9, args).output().unwrap())
    });
    let said = |output: &std::process::Output| String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((outputs[0].status.code(), said(&outputs[0]).as_str()), (Some(0), ""));
    assert_eq!(outputs[0].stdout, b"some text");
    assert_eq!(outputs[1].status.code(), Some(0), "{:?}", outputs[1]);
    assert_eq!(std::fs::read(dir.path().join("a.txt")).unwrap(), b"some text");
    let line = "neighbors`, line 3: `no port here`: it is HOST:PORT; the port is missing";
    assert!(said(&outputs[1]).contains(line), "{:?}", outputs[1]);
    assert_eq!(outputs[2].status.code(), Some(2));
    assert!(said(&outputs[2]).contains("cannot read the neighbours file `/nowhere/neighbors`"));
    assert_eq!(outputs[3].status.code(), Some(2), "{:?}", outputs[3]);
    assert!(said(&outputs[3]).contains("can't be reached"), "{:?}", outputs[3]);
    assert_eq!(outputs[4].status.code(), Some(2), "{:?}", outputs[4]);
    let line = format!("`{at}` refuses to talk: another network");
    assert!(said(&outputs[4]).contains(&line), "{:?}", outputs[4]);
    until("the guests are gone", || see_each_other(&[&one, &two])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_no_node_of_the_network_is_is_told_once() {
    let place = Place::new();
    let other = Config { network: "zzz".to_owned(), ..place.config(0, SHORT) };
    let _other = Alone::start(other, &[], &[]);
    let download = SocketAddr::new(place.at(1).ip(), place.config(1, SHORT).download_port);
    let peers = [place.at(0), download, place.at(50)];
    let one = Alone::start(place.config(1, SHORT), &peers, &[]);
    let mut heard = one.app().notices();
    let mut said = Vec::new();
    until("each is told", || {
        said.extend(heard.try_recv());
        said.len() == 3
    })
    .await;
    // They are tried again in each interval; that nothing is said of it takes some.
    tokio::time::sleep(SHORT * 3).await;
    assert!(heard.try_recv().is_err(), "once is enough: {said:?}");
    let troubles: Vec<String> = one.app().troubles().into_values().collect();
    assert_eq!(troubles.len(), 3);
    for trouble in &troubles {
        assert!(said.contains(&format!("{trouble}; trying again")), "{said:?}");
    }
    let all = troubles.join("\n");
    for why in ["another network", "no node's search port", "can't be reached"] {
        assert!(all.contains(why), "{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_addresses_where_nobody_is_some_are_told_and_that_there_are_more() {
    let place = Place::new();
    let peers: Vec<SocketAddr> = (50..70).map(|number| place.at(number)).collect();
    let one = Alone::start(place.config(1, SHORT), &peers, &[]);
    let mut heard = one.app().notices();
    let mut said = Vec::new();
    until("each was tried", || {
        said.extend(heard.try_recv());
        one.app().troubles().len() == peers.len()
    })
    .await;
    said.extend(std::iter::from_fn(|| heard.try_recv().ok()));
    let aloud = said.iter().filter(|line| line.contains("can't be reached")).count();
    let more = said.iter().filter(|line| line.contains("the log names them")).count();
    assert_eq!((aloud, more), (16, 1), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctl_shows_how_it_stands_with_each() {
    let place = Place::new();
    let one = Alone::start(place.config(0, SHORT), &[], &[]);
    let dir = tempfile::tempdir().unwrap();
    let (files, logs) = (dir.path().join("files"), dir.path().join("logs"));
    let (files, logs) = (files.to_str().unwrap(), logs.to_str().unwrap());
    let at = place.at(0).to_string();
    let mut running = program(
        &place,
        1,
        &["--files", files, "--logs", logs, "--name", "two", "--peer", &at, "--exchange", "0.5"],
    )
    .stdout(std::process::Stdio::null())
    .spawn()
    .unwrap();
    until("they know each other", || !one.app().peers().is_empty()).await;
    let ctl = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shoal-node"));
        command.args(["ctl", "--files", files, "--json"]).args(words);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    until("it has met", || ctl(&["peers"])[0]["contact"].is_number()).await;
    let peers = ctl(&["peers", "refresh"]);
    assert_eq!((&peers[0]["name"], &peers[0]["state"]), (&"node0".into(), &"online".into()));
    assert!(peers[0]["clock"].as_u64().unwrap() > 0, "{peers}");
    let identity = ctl(&["getip"]);
    assert_eq!(
        (&identity["tracker"], &identity["link"]),
        (&serde_json::Value::Null, &"none".into())
    );
    assert_eq!(ctl(&["hello", "node0"])["search"], at);
    assert_eq!(ctl(&["hello", &at])["name"], "node0");
    let no_search = ctl(&["hello", identity["download"].as_str().unwrap()]);
    assert!(no_search["error"].as_str().unwrap().contains("no node's search port"), "{no_search}");
    assert!(ctl(&["hello", "nobody"])["error"].is_string());
    assert_eq!(ctl(&["clock"])["node"], identity["id"]);
    one.kill().await;
    until("it is offline", || ctl(&["peers"])[0]["state"] == "offline").await;
    assert_eq!(ctl(&["exit"])["left"], true);
    let ended = tokio::task::block_in_place(|| running.wait().unwrap());
    assert!(ended.success(), "{ended}");
}
