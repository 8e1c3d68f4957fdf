//! The chat of a small network on real sockets: rooms, their rules, restarts.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod chat_strangers;
mod network;

use std::path::Path;
use std::time::Duration;

use network::{Network, PATIENCE, TestNode, eventually};
use shoal_node::app::node::{Node, Sharing};
use shoal_node::chat::verbs::{Ask, Told};
use tempfile::TempDir;

/// A node with transcripts, beside its files.
async fn node(network: &Network, name: &str) -> TestNode {
    node_on(network, name, tempfile::tempdir().unwrap()).await
}

async fn node_on(network: &Network, name: &str, dir: TempDir) -> TestNode {
    let transcripts = Some(dir.path().join("logs"));
    let config = shoal_node::config::Config { transcripts, ..network.config(name, dir.path()) };
    let node = Node::start(&config, Sharing::Folder).unwrap();
    tokio::time::timeout(PATIENCE, node.app().registered()).await.unwrap();
    TestNode::new(node, dir)
}

async fn ask(node: &TestNode, ask: Ask) -> Result<Told, String> {
    node.app().chat(ask).await
}

/// Says something until it is accepted at once: the first message may come before
/// there is anybody to hold it.
async fn says(node: &TestNode, text: &str) {
    match ask(node, Ask::Say { text: text.to_owned() }).await.unwrap() {
        Told::Line(line) => assert_eq!(line.text, text),
        Told::NotYet { .. } => {
            for _ in 0..300 {
                if lines(node).iter().any(|line| line.ends_with(text)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("never accepted: {text}");
        }
        told => panic!("{told:?}"),
    }
}

/// What was said, by its transcripts, the oldest first.
fn lines(node: &TestNode) -> Vec<String> {
    transcripts(&node.dir.path().join("logs"))
}

fn transcripts(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    let lines = texts.collect::<Vec<_>>().concat();
    lines.lines().filter(|line| line.contains(" USER ")).map(str::to_owned).collect()
}

async fn in_lobby(network: &Network, count: usize) -> Vec<TestNode> {
    let mut nodes = Vec::new();
    for number in 1..=count {
        nodes.push(node(network, &format!("node{number}")).await);
    }
    let app = nodes[0].app().clone();
    for _ in 0..300 {
        match app.chat(Ask::Who { room: None }).await {
            Ok(Told::Who { who, .. }) if who.len() == count => return nodes,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("they do not come together");
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_hears_the_lobby_in_the_same_order() {
    let network = Network::start().await;
    let nodes = in_lobby(&network, 3).await;
    let mut heard = nodes[2].app().notices();
    for round in 0..5 {
        for (number, node) in nodes.iter().enumerate() {
            says(node, &format!("{round} of {number}")).await;
        }
    }
    for node in &nodes {
        eventually("all lines", || lines(node).len() == 15).await;
        assert_eq!(lines(node), lines(&nodes[0]));
    }
    let mut shown = Vec::new();
    while let Ok(line) = heard.try_recv() {
        shown.push(line);
    }
    assert!(shown.iter().any(|line| line.ends_with("[lobby] node1: 0 of 0")), "{shown:?}");
    let own = shown.iter().filter(|line| line.contains("node3: ")).count();
    assert_eq!(own, 0, "who waits for the answer has it already: {shown:?}");
    let Told::History { lines, .. } =
        ask(&nodes[1], Ask::History { lines: Some(4) }).await.unwrap()
    else {
        panic!()
    };
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["3 of 2", "4 of 0", "4 of 1", "4 of 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_has_rules_and_others_do_not_hear_it() {
    let network = Network::start().await;
    let nodes = in_lobby(&network, 3).await;
    let [creator, guest, other] = &nodes[..] else { panic!() };
    let join = || Ask::Join { room: "pets".to_owned() };
    assert!(matches!(ask(creator, join()).await.unwrap(), Told::Line(_)));
    assert!(matches!(ask(guest, join()).await.unwrap(), Told::Line(_)));
    let topic = Ask::Topic { text: "cats".to_owned() };
    let refused = ask(guest, topic.clone()).await.unwrap_err();
    assert!(refused.contains("creator"), "{refused}");
    ask(creator, topic).await.unwrap();
    ask(creator, Ask::Private { on: true }).await.unwrap();
    let refused = ask(other, join()).await.unwrap_err();
    assert!(refused.contains("not invited"), "{refused}");
    says(creator, "meow").await;
    says(other, "in the lobby").await;
    eventually("both hear both", || lines(guest).len() == 2 && lines(creator).len() == 2).await;
    assert_eq!(lines(other).len(), 1, "{:?}", lines(other));

    let Told::Rooms { rooms, present } = ask(guest, Ask::Rooms).await.unwrap() else { panic!() };
    assert_eq!(present.as_str(), "pets");
    let pets = &rooms[1];
    assert_eq!((pets.name.as_str(), pets.topic.as_str(), pets.members), ("pets", "cats", 2));
    assert!(pets.private && pets.joined);
    let Told::Rooms { rooms, .. } = ask(other, Ask::Rooms).await.unwrap() else { panic!() };
    assert_eq!(rooms.len(), 1, "a private room is not seen from outside");

    let name = || "node2".to_owned();
    ask(creator, Ask::Kick { name: name() }).await.unwrap();
    let refused = ask(guest, Ask::Say { text: "?".to_owned() }).await.unwrap_err();
    assert!(refused.contains("not in that room"), "{refused}");
    let refused = ask(guest, join()).await.unwrap_err();
    assert!(refused.contains("not invited"), "{refused}");
    ask(creator, Ask::Invite { name: name() }).await.unwrap();
    assert!(matches!(ask(guest, join()).await.unwrap(), Told::Line(_)));
    let Told::Who { who, .. } = ask(guest, Ask::Who { room: None }).await.unwrap() else {
        panic!()
    };
    let who: Vec<_> =
        who.iter().map(|one| (one.person.name.as_str(), one.here, one.creator)).collect();
    assert_eq!(who, [("node1", true, true), ("node2", true, false)]);
    ask(creator, Ask::Ban { name: name(), on: true }).await.unwrap();
    let refused = ask(guest, join()).await.unwrap_err();
    assert!(refused.contains("banned"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_message_is_for_two() {
    let network = Network::start().await;
    let nodes = in_lobby(&network, 3).await;
    let msg = Ask::Msg { name: "node2".to_owned(), text: "secret".to_owned() };
    assert!(matches!(ask(&nodes[0], msg).await.unwrap(), Told::Line(_)));
    says(&nodes[2], "public").await;
    for node in &nodes[..2] {
        eventually("both lines", || lines(node).len() == 2).await;
        assert!(lines(node)[0].ends_with("[node1 to node2] secret"));
    }
    eventually("one line", || lines(&nodes[2]).len() == 1).await;
    let msg = Ask::Msg { name: "nobody".to_owned(), text: "?".to_owned() };
    let refused = ask(&nodes[0], msg).await.unwrap_err();
    assert!(refused.contains("no node `nobody`"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_words() {
    let network = Network::start().await;
    let nodes = in_lobby(&network, 2).await;
    for (asked, problem) in [
        (Ask::Say { text: String::new() }, "nothing to say"),
        (Ask::Say { text: "a".repeat(3000) }, "3000 bytes are too long"),
        (Ask::Join { room: "No Room".to_owned() }, "can't name a room"),
        (Ask::Leave { room: None }, "everyone's"),
        (Ask::Kick { name: "node2".to_owned() }, "everyone's"),
        (Ask::Who { room: Some("none".to_owned()) }, "no such room"),
        (Ask::Invite { name: "no such".to_owned() }, "can't name a node"),
    ] {
        let refused = ask(&nodes[0], asked).await.unwrap_err();
        assert!(refused.contains(problem), "{refused}");
    }
    // Control characters are kept, and shown harmless where they come out.
    says(&nodes[0], "a\u{1b}[2Jb\nc").await;
    eventually("the line", || lines(&nodes[1]).len() == 1).await;
    assert!(lines(&nodes[1])[0].ends_with("a\\u{1b}[2Jb\\u{a}c"), "{:?}", lines(&nodes[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_hears_what_it_missed_and_nothing_twice() {
    let network = Network::start().await;
    let mut nodes = in_lobby(&network, 3).await;
    says(&nodes[0], "before").await;
    eventually("all hear it", || nodes.iter().all(|node| lines(node).len() == 1)).await;
    let away = nodes.pop().unwrap().stop().await;
    for number in 0..30 {
        says(&nodes[0], &format!("missed {number}")).await;
    }
    nodes.push(node_on(&network, "node3", away).await);
    eventually("it catches up", || lines(&nodes[2]).len() == 31).await;
    says(&nodes[2], "back").await;
    for node in &nodes {
        eventually("all lines", || lines(node).len() == 32).await;
        assert_eq!(lines(node), lines(&nodes[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_with_a_successor_and_with_the_home_tracker_again() {
    let network = Network::start().await;
    let nodes = in_lobby(&network, 3).await;
    ask(&nodes[0], Ask::Join { room: "pets".to_owned() }).await.unwrap();
    ask(&nodes[1], Ask::Join { room: "pets".to_owned() }).await.unwrap();
    says(&nodes[0], "with the home tracker").await;
    network.stop_tracker();
    says(&nodes[0], "with a successor").await;
    let rooms = |told: Told| {
        let Told::Rooms { rooms, .. } = told else { panic!() };
        rooms.iter().map(|room| (room.name.to_string(), room.members)).collect::<Vec<_>>()
    };
    let expected = [("lobby".to_owned(), 3), ("pets".to_owned(), 2)];
    let mut known = Vec::new();
    for _ in 0..300 {
        // Who is here is known when all have come to the successor.
        known = ask(&nodes[2], Ask::Rooms).await.map(rooms).unwrap_or_default();
        if known == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(known, expected);
    network.restart_tracker().await;
    says(&nodes[1], "whoever it is").await;
    let home = network.tracker();
    let back = || nodes.iter().all(|node| node.app().identity().tracker == Some(home.to_string()));
    eventually("the home tracker is back", back).await;
    says(&nodes[0], "with the home tracker again").await;
    for node in &nodes[..2] {
        eventually("all lines", || lines(node).len() == 4).await;
        assert_eq!(lines(node), lines(&nodes[0]));
    }
    assert!(lines(&nodes[2]).is_empty(), "of a room that it is not in");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_is_found_by_name() {
    let network = Network::start().await;
    let mut nodes = in_lobby(&network, 3).await;
    let join = || Ask::Join { room: "pets".to_owned() };
    ask(&nodes[0], join()).await.unwrap();
    ask(&nodes[2], join()).await.unwrap();
    let name = || "node3".to_owned();
    ask(&nodes[0], Ask::Ban { name: name(), on: true }).await.unwrap();
    let away = nodes.pop().unwrap().stop().await;
    let gone = || nodes[0].app().peers().iter().all(|peer| peer.name.as_str() != "node3");
    eventually("it is gone", gone).await;
    let ban_off = Ask::Ban { name: name(), on: false };
    assert!(matches!(ask(&nodes[0], ban_off).await.unwrap(), Told::Line(_)));
    let msg = Ask::Msg { name: name(), text: "you may come back".to_owned() };
    assert!(matches!(ask(&nodes[0], msg).await.unwrap(), Told::Line(_)));
    let back = node_on(&network, "node3", away).await;
    eventually("it hears that", || {
        lines(&back).iter().any(|line| line.ends_with("you may come back"))
    })
    .await;
    assert!(matches!(ask(&back, join()).await.unwrap(), Told::Line(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revival_is_answered() {
    let network = Network::start().await;
    let nodes = in_lobby(&network, 2).await;
    says(&nodes[0], "all are here").await;
    let refused = ask(&nodes[0], Ask::Revive).await.unwrap_err();
    assert!(refused.contains("nobody to go on without"), "{refused}");
    let alone = Network::without_tracker().await;
    let dir = tempfile::tempdir().unwrap();
    let config = alone.config("alone", dir.path());
    let alone = TestNode::new(Node::start(&config, Sharing::Folder).unwrap(), dir);
    let refused = ask(&alone, Ask::Revive).await.unwrap_err();
    assert!(refused.contains("not reached"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forgot_how_far_it_heard_goes_on_behind_its_transcript() {
    let network = Network::start().await;
    let mut nodes = in_lobby(&network, 3).await;
    says(&nodes[0], "all are here").await;
    eventually("all hear it", || lines(&nodes[2]).len() == 1).await;
    let away = nodes.pop().unwrap().stop().await;
    says(&nodes[0], "one is away").await;
    std::fs::write(away.path().join(".shoal/chat/heard"), b"").unwrap();
    let back = node_on(&network, "node3", away).await;
    eventually("it catches up", || lines(&back).len() == 2).await;
    assert_eq!(lines(&back), lines(&nodes[0]));
    let mut heard = back.app().notices();
    let said: Vec<String> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
    assert!(said.iter().any(|line| line.contains("is missing or damaged: it goes on")), "{said:?}");
}
