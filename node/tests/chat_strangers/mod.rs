//! What connects to the tracker's chat and is no node: it lies, does not read, or
//! says too much.

use std::time::Duration;

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
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tracing::Span;

use crate::network::{HEARTBEAT, Network, PATIENCE};
use crate::{in_lobby, says};

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
