//! A tracker on loopback and nodes that talk to it.

// Each file of tests uses another part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::call::call;
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{MAX_REQUEST_FRAME, MAX_TRACKER_FRAME};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::{DEFAULT_NETWORK, Greeting, Talk};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{
    Change, FromTracker, Leaving, News, Registered, Registration, ToTracker,
};
use shoal_common::task::Tasks;
use shoal_tracker::run::{Config, RunError, run};
use shoal_tracker::screen::Screen;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// What happens "at once" on a busy machine.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);

/// What happens at all.
pub(crate) const EVER: Duration = Duration::from_secs(20);

/// A heartbeat so long that nobody falls silent in a test.
pub(crate) const SLOW: Duration = Duration::from_secs(60);

pub(crate) struct Tracker {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<Option<Result<usize, RunError>>>,
}

impl Tracker {
    pub(crate) async fn start(heartbeat: Duration) -> Self {
        Self::start_with(Config { heartbeat, ..Config::default() }).await
    }

    pub(crate) async fn start_with(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let running = Tasks::new(Handle::current())
            .spawn(tracing::Span::none(), run(listener, config, Screen::none(), stopped));
        Self { address, stop, running }
    }

    /// Stops it and returns how many nodes were connected.
    pub(crate) async fn stop(self) -> usize {
        self.stop.cancel();
        timeout(EVER, self.running).await.unwrap().unwrap().unwrap().unwrap()
    }
}

/// A node that has greeted, and what it knows.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// Its join number.
    pub(crate) joined: u64,
    pub(crate) connection: Connection<TcpStream>,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// Who left, and how.
    pub(crate) left: Vec<(NodeId, Leaving)>,
    /// How many messages with news came.
    pub(crate) messages: usize,
}

impl Node {
    pub(crate) async fn greet(tracker: &Tracker) -> Self {
        Self::greet_as(tracker, NodeId::random()).await
    }

    pub(crate) async fn greet_as(tracker: &Tracker, id: NodeId) -> Self {
        let (connection, _) =
            call(tracker.address, &Party::new(DEFAULT_NETWORK, id), Talk::Tracking).await.unwrap();
        Self { id, joined: 0, connection, peers: BTreeMap::new(), left: Vec::new(), messages: 0 }
    }

    /// A new node that is in the network.
    pub(crate) async fn join(tracker: &Tracker, name: &str) -> Self {
        let mut node = Self::greet(tracker).await;
        node.register(&registration(name, true)).await.unwrap();
        node
    }

    /// It comes back by another connection.
    pub(crate) async fn again(&self, tracker: &Tracker, name: &str) -> Self {
        let mut node = Self::greet_as(tracker, self.id).await;
        let wish = Registration { joined: self.joined, ..registration(name, true) };
        node.register(&wish).await.unwrap();
        node
    }

    /// The connection of a node that is in the network, with small buffers, so
    /// that it is soon full when nobody reads from it.
    pub(crate) async fn join_deaf(tracker: &Tracker, name: &str) -> Connection<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut connection = Connection::new(socket.connect(tracker.address).await.unwrap());
        let us = Party::new(DEFAULT_NETWORK, NodeId::random());
        let greeting = Greeting::Hello(us.greets(Talk::Tracking));
        let _: Greeting = connection.ask(&greeting, MAX_REQUEST_FRAME).await.unwrap();
        connection.keep_time(us.clock);
        let wish = ToTracker::Register(registration(name, true));
        let _: FromTracker = connection.ask(&wish, MAX_TRACKER_FRAME).await.unwrap();
        connection
    }

    pub(crate) async fn register(&mut self, wish: &Registration) -> Result<Registered, Refusal> {
        self.send(&ToTracker::Register(wish.clone())).await;
        match self.receive(AT_ONCE).await.unwrap() {
            FromTracker::Registered(registered) => {
                self.joined = registered.joined;
                self.peers = registered.peers.iter().map(|peer| (peer.id, peer.clone())).collect();
                Ok(registered)
            }
            FromTracker::Refused { refusal } => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, message: &ToTracker) {
        self.connection.send(message, MAX_REQUEST_FRAME).await.unwrap();
    }

    pub(crate) async fn receive(
        &mut self,
        within: Duration,
    ) -> Result<FromTracker, ConnectionError> {
        loop {
            let message = self.connection.receive(MAX_TRACKER_FRAME, within).await?;
            // Of the council another test tells.
            if !matches!(message, FromTracker::Reigns(_)) {
                return Ok(message);
            }
        }
    }

    /// Takes news until it knows as many others as that. Returns how long it
    /// took.
    pub(crate) async fn until_others(&mut self, count: usize, within: Duration) -> Duration {
        let start = Instant::now();
        while self.peers.len() != count {
            let left = within.checked_sub(start.elapsed()).unwrap_or_default();
            let message = self.receive(left).await.unwrap_or_else(|error| {
                panic!("{} others instead of {count}: {error}", self.peers.len())
            });
            self.learn(message);
        }
        start.elapsed()
    }

    pub(crate) fn learn(&mut self, message: FromTracker) {
        let FromTracker::Update(update) = message else {
            panic!("no news: {message:?}");
        };
        self.messages += 1;
        match update.news {
            News::Much => panic!("so much happened that it is not told"),
            News::Changes(changes) => {
                for change in changes {
                    match change {
                        // In long news it may be told of itself.
                        Change::Joined(peer) if peer.id == self.id => {}
                        Change::Joined(peer) => {
                            self.peers.insert(peer.id, peer);
                        }
                        Change::Left { id, why } => {
                            self.peers.remove(&id);
                            self.left.push((id, why));
                        }
                    }
                }
            }
        }
    }

    /// Turns all pages and knows everyone then. News may come between them.
    pub(crate) async fn turn_pages(&mut self) -> usize {
        let (mut after, mut pages) = (None, 0);
        loop {
            self.send(&ToTracker::Page { after }).await;
            let page = loop {
                match self.receive(EVER).await.unwrap() {
                    FromTracker::Page(page) => break page,
                    news => self.learn(news),
                }
            };
            pages += 1;
            after = page.peers.last().map(|peer| peer.id);
            let others = page.peers.into_iter().filter(|peer| peer.id != self.id);
            self.peers.extend(others.map(|peer| (peer.id, peer)));
            if !page.more {
                return pages;
            }
            tokio::time::sleep(Duration::from_millis(page.pause_ms)).await;
        }
    }

    /// Nothing is said to it for a while, but what it asks for itself.
    pub(crate) async fn hears_nothing(&mut self) {
        self.send(&ToTracker::Heartbeat).await;
        let FromTracker::Update(update) = self.receive(AT_ONCE).await.unwrap() else {
            panic!("no update");
        };
        assert_eq!(update.news, News::Changes(vec![]));
    }
}

pub(crate) fn registration(name: &str, exact: bool) -> Registration {
    Registration {
        name: name.parse().unwrap(),
        exact,
        search: "127.0.0.1:4000".parse().unwrap(),
        download: "127.0.0.1:4001".parse().unwrap(),
        reign: None,
        joined: 0,
    }
}
