//! The chat of a small network on real sockets: rooms, their rules, restarts.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::path::Path;
use std::time::Duration;

use network::{HEARTBEAT, Network, PATIENCE, TestNode, eventually};
use shoal_common::call::call;
use shoal_common::chat::entry::{Act, Ballot, Event, ReplicaId};
use shoal_common::chat::words::{RoomName, Text};
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::ident::NodeId;
use shoal_common::limits::{CHAT_WINDOW, HELLO_DEADLINE, MAX_CHAT_FRAME, MAX_TRACKER_FRAME};
use shoal_common::party::Party;
use shoal_common::protocol::chat::{
    Attached, Attachment, FromChat, Posted, Question, Summary, ToChat,
};
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use shoal_common::task::Tasks;
use shoal_node::app::node::{Node, Sharing};
use shoal_node::chat::verbs::{Ask, Told};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tracing::Span;

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

/// Strangers that speak nonsense are hung up, and the others talk on.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_no_harm() {
    let network = Network::start().await;
    let nodes = in_lobby(&network, 2).await;
    let id = NodeId::random();
    let us = Party::new("shoal", id);
    let summary = |node| Summary {
        replica: ReplicaId { node, incarnation: 1 },
        log: None,
        last: Ballot::NONE,
        end: 0,
        committed: 0,
        council: Vec::new(),
    };
    let attach =
        |node| ToChat::Attach(Attachment { summary: summary(node), knows: None, after: 0 });
    let act = Act::Join { room: RoomName::lobby() };
    let forged =
        Event { author: nodes[0].app().identity().id, number: 1, name: "x".parse().unwrap(), act };
    let forged = ToChat::Submit { previous: 0, event: forged };
    for messages in [vec![ToChat::Beat], vec![attach(NodeId::random())], vec![attach(id), forged]] {
        let (mut stranger, _) = call(network.tracker(), &us, Talk::Chat).await.unwrap();
        for message in &messages {
            stranger.send(message, MAX_CHAT_FRAME).await.unwrap();
        }
        let end = loop {
            match stranger.receive::<FromChat>(MAX_CHAT_FRAME, HELLO_DEADLINE).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(end, ConnectionError::Closed | ConnectionError::Broken(_)), "{end}");
    }
    says(&nodes[0], "still here").await;
}

/// Registers what is no node, until the tasks are cancelled.
async fn register(network: &Network, id: NodeId, name: &str) -> Tasks {
    let nowhere = network.tracker();
    let mut connection = network.register_as(id, name, nowhere, nowhere).await;
    let tasks = Tasks::new(Handle::current());
    tasks.spawn(Span::none(), async move {
        while connection.send(&ToTracker::Heartbeat, MAX_TRACKER_FRAME).await.is_ok()
            && connection.receive::<FromTracker>(MAX_TRACKER_FRAME, PATIENCE).await.is_ok()
        {
            tokio::time::sleep(HEARTBEAT / 2).await;
        }
    });
    tasks
}

/// A member of which there is nothing but its connection.
struct Bare {
    connection: Connection<TcpStream>,
    id: NodeId,
    attached: Attached,
    /// Why it was hung up the last time.
    reason: Option<String>,
}

impl Bare {
    /// Comes in, and does not wait until it is taken in.
    async fn knock(
        network: &Network,
        id: NodeId,
        knows: Option<Attached>,
    ) -> Connection<TcpStream> {
        let us = Party::new("shoal", id);
        let (mut connection, _) = call(network.tracker(), &us, Talk::Chat).await.unwrap();
        let summary = Summary {
            replica: ReplicaId { node: id, incarnation: 1 },
            log: None,
            last: Ballot::NONE,
            end: 0,
            committed: 0,
            council: Vec::new(),
        };
        let after = knows.map_or(0, |known| known.from);
        let knows = knows.map(|known| known.log);
        let attach = ToChat::Attach(Attachment { summary, knows, after });
        connection.send(&attach, MAX_CHAT_FRAME).await.unwrap();
        connection
    }

    async fn attach(network: &Network, id: NodeId, knows: Option<Attached>) -> Self {
        let mut connection = Self::knock(network, id, knows).await;
        let mut reason = None;
        loop {
            match connection.receive(MAX_CHAT_FRAME, PATIENCE).await.unwrap() {
                FromChat::Attached(attached) => return Self { connection, id, attached, reason },
                FromChat::Closing { reason: said } => reason = Some(said),
                _ => {}
            }
        }
    }

    /// The positions of the next entries of somebody.
    async fn hears(&mut self, author: NodeId) -> Vec<u64> {
        loop {
            let heard = self.connection.receive(MAX_CHAT_FRAME, PATIENCE).await.unwrap();
            if let FromChat::Posts { posts } = heard {
                let of_author = posts.iter().filter(|post| {
                    matches!(&post.what, Posted::Event { event, .. } if event.author == author)
                });
                return of_author.map(|post| post.position).collect();
            }
        }
    }

    /// Says so many long messages, and waits until all are accepted.
    async fn says(&mut self, count: u64) {
        let text = Text::try_from("x".repeat(2000)).unwrap();
        let act = Act::Say { room: RoomName::lobby(), text };
        let (mut said, mut accepted) = (0, 0);
        while accepted < count {
            while said < count && said - accepted < 200 {
                said += 1;
                let previous = if said == accepted + 1 { 0 } else { said - 1 };
                let (name, act) = ("bare".parse().unwrap(), act.clone());
                let event = Event { author: self.id, number: said, name, act };
                let submit = ToChat::Submit { previous, event };
                self.connection.queue(&submit, MAX_CHAT_FRAME).unwrap();
            }
            self.connection.flush().await.unwrap();
            accepted += self.hears(self.id).await.len() as u64;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_hung_up_with_a_reason_and_catches_up() {
    /// More than the buffers of the system hold, less than the log keeps.
    const COUNT: u64 = 6000;
    let network = Network::start().await;
    let _nodes = in_lobby(&network, 2).await;
    let author = NodeId::random();
    let _registered = register(&network, author, "speaker").await;
    let mut speaker = Bare::attach(&network, author, None).await;
    let id = NodeId::random();
    let mut slow = Bare::attach(&network, id, None).await;
    speaker.says(COUNT).await;
    // It goes on to speak, and reads nothing.
    let start = std::time::Instant::now();
    while slow.connection.send(&ToChat::Beat, MAX_CHAT_FRAME).await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "it is not hung up");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut back = Bare::attach(&network, id, Some(slow.attached)).await;
    let reason = back.reason.clone().unwrap_or_default();
    assert!(reason.contains("not read"), "{reason}");
    let mut heard = Vec::new();
    while (heard.len() as u64) < COUNT {
        heard.extend(back.hears(author).await);
    }
    assert_eq!(heard.len() as u64, COUNT);
    assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "each once, in order");
}

/// While nothing can be accepted, a node sends all that waits again and again.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_again_what_waits_is_not_hung_up() {
    let network = Network::start().await;
    let id = NodeId::random();
    let _registered = register(&network, id, "patient").await;
    let mut connection = Bare::knock(&network, id, None).await;
    let act = Act::Join { room: RoomName::lobby() };
    for _ in 0..4 {
        for number in 1..=CHAT_WINDOW as u64 {
            let (name, act) = ("patient".parse().unwrap(), act.clone());
            let event = Event { author: id, number, name, act };
            let submit = ToChat::Submit { previous: number - 1, event };
            connection.queue(&submit, MAX_CHAT_FRAME).unwrap();
        }
    }
    let ask = ToChat::Ask { number: 1, question: Question::Standing };
    connection.queue(&ask, MAX_CHAT_FRAME).unwrap();
    connection.flush().await.unwrap();
    loop {
        match connection.receive(MAX_CHAT_FRAME, PATIENCE).await.unwrap() {
            FromChat::Answer { number: 1, .. } => break,
            FromChat::Closing { reason } => panic!("{reason}"),
            _ => {}
        }
    }
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
