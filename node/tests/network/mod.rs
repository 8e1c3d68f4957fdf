//! A tracker and nodes on loopback, in this process, that end with the test.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use shoal_common::call::call;
use shoal_common::connection::Connection;
use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_TRACKER_FRAME;
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::tracking::{FromTracker, Registration, ToTracker};
use shoal_common::task::Tasks;
use shoal_node::app::App;
use shoal_node::app::node::{Node, Sharing};
use shoal_node::config::Config;
use shoal_tracker::chat::proposer::Settings;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Span;

/// Generous: the machine may be busy; a failure is not a matter of seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// Polls until `holds`, or fails with `what` after [`PATIENCE`].
pub async fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_or(|| what.to_owned(), holds).await;
}

/// The same, where it is worth to say at the end how things stand.
pub async fn eventually_or(what: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {}", what());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub struct Network {
    tracker: SocketAddr,
    stop: Mutex<CancellationToken>,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop_tracker();
    }
}

impl Network {
    pub async fn start() -> Self {
        let network = Self::without_tracker().await;
        network.restart_tracker().await;
        network
    }

    /// Its tracker's address is free, and nobody listens there yet.
    pub async fn without_tracker() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tracker = listener.local_addr().unwrap();
        Self { tracker, stop: Mutex::default() }
    }

    pub fn tracker(&self) -> SocketAddr {
        self.tracker
    }

    /// Ends the tracker and its connections at once.
    pub fn stop_tracker(&self) {
        self.stop.lock().unwrap().cancel();
    }

    /// A new tracker at the same address, which knows nobody.
    pub async fn restart_tracker(&self) {
        self.stop_tracker();
        let mut listener = None;
        eventually("the tracker's port is free", || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            listener = socket.bind(self.tracker).and_then(|()| socket.listen(1024)).ok();
            listener.is_some()
        })
        .await;
        *self.stop.lock().unwrap() = run_tracker(listener.unwrap());
    }

    /// A node with these files, registered, all of them shared.
    pub async fn node(&self, name: &str, files: &[(&str, &[u8])]) -> TestNode {
        let dir = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.node_on(name, dir).await
    }

    /// A node on this folder, registered, all of it shared.
    pub async fn node_on(&self, name: &str, dir: TempDir) -> TestNode {
        let config = self.config(name, dir.path());
        let node = Node::start(&config, Sharing::Folder).unwrap();
        tokio::time::timeout(PATIENCE, node.app().sharing()).await.unwrap();
        tokio::time::timeout(PATIENCE, node.app().registered()).await.unwrap();
        TestNode { node, dir }
    }

    pub fn config(&self, name: &str, files: &Path) -> Config {
        Config {
            tracker: Some(self.tracker.to_string()),
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            files: files.to_owned(),
            name: Some(name.parse().unwrap()),
            ..Config::default()
        }
    }

    /// Registers what is no node; it is known until the connection is dropped.
    pub async fn register(
        &self,
        name: &str,
        search: SocketAddr,
        download: SocketAddr,
    ) -> Connection<TcpStream> {
        self.register_as(NodeId::random(), name, search, download).await
    }

    /// The same with this id.
    pub async fn register_as(
        &self,
        id: NodeId,
        name: &str,
        search: SocketAddr,
        download: SocketAddr,
    ) -> Connection<TcpStream> {
        let us = Party::new("shoal", id);
        let (mut connection, _) = call(self.tracker, &us, Talk::Tracking).await.unwrap();
        let name = name.parse().unwrap();
        let (exact, reign, joined) = (true, None, 0);
        let registration = Registration { name, exact, search, download, reign, joined };
        let answer =
            connection.ask(&ToTracker::Register(registration), MAX_TRACKER_FRAME).await.unwrap();
        assert!(matches!(answer, FromTracker::Registered(_)), "{answer:?}");
        connection
    }
}

/// Runs until the token is cancelled.
fn run_tracker(listener: TcpListener) -> CancellationToken {
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let config = shoal_tracker::run::Config {
        heartbeat: HEARTBEAT,
        // All nodes here are new: nobody has to be waited for.
        chat: Settings { found_pause: Duration::from_millis(200), ..Settings::default() },
        ..Default::default()
    };
    Tasks::new(Handle::current()).spawn(Span::none(), async move {
        shoal_tracker::run::run(listener, config, shoal_tracker::screen::Screen::none(), stopped)
            .await
            .unwrap();
    });
    stop
}

pub struct TestNode {
    node: Node,
    pub dir: TempDir,
}

impl TestNode {
    /// A node that was started in another way.
    pub fn new(node: Node, dir: TempDir) -> Self {
        Self { node, dir }
    }

    pub fn app(&self) -> &App {
        self.node.app()
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Stops in order, waiting for transfers. Returns the folder.
    pub async fn stop_gracefully(self, grace: Duration) -> TempDir {
        self.node.stop(grace, std::future::pending()).await;
        self.dir
    }

    /// Stops in order, without waiting for transfers. Returns the folder.
    pub async fn stop(self) -> TempDir {
        self.node.stop(Duration::ZERO, std::future::pending()).await;
        self.dir
    }
}
