//! Nodes without a tracker on loopback, each on an address of its own, with gates
//! between them that can be shut.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::protocol::peers::State;
use shoal_common::task::Tasks;
use shoal_node::app::App;
use shoal_node::app::node::{Node, Sharing};
use shoal_node::config::Config;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tracing::Span;

pub const PATIENCE: Duration = Duration::from_secs(30);

const SEARCH: u16 = 4000;

/// A block of addresses of this test alone.
pub struct Place {
    block: [u8; 2],
}

impl Place {
    pub fn new() -> Self {
        Self { block: [rand::random_range(16..127), rand::random_range(0..255)] }
    }

    fn ip(&self, kind: u8, number: u8) -> IpAddr {
        // A gate and what is behind it differ in the second part.
        IpAddr::V4(Ipv4Addr::new(127, self.block[0] + 128 * kind, self.block[1], number + 1))
    }

    /// Where the node with this number answers.
    pub fn at(&self, number: u8) -> SocketAddr {
        SocketAddr::new(self.ip(0, number), SEARCH)
    }

    /// Where the others reach it, if it is behind a gate.
    pub fn gate(&self, number: u8) -> SocketAddr {
        SocketAddr::new(self.ip(1, number), SEARCH)
    }

    pub fn config(&self, number: u8, interval: Duration) -> Config {
        Config {
            tracker: None,
            listen: self.ip(0, number),
            search_port: SEARCH,
            download_port: SEARCH + 1,
            name: Some(format!("node{number}").parse().unwrap()),
            exchange: interval,
            ..Config::default()
        }
    }

    pub fn gated(&self, number: u8, interval: Duration) -> Config {
        Config { advertise: Some(self.ip(1, number)), ..self.config(number, interval) }
    }
}

/// A node, its folder, and what it shares.
pub struct Alone {
    node: Node,
    pub dir: TempDir,
}

impl Alone {
    pub fn start(config: Config, peers: &[SocketAddr], files: &[(&str, &[u8])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        Self::start_on(dir, config, peers)
    }

    pub fn start_on(dir: TempDir, config: Config, peers: &[SocketAddr]) -> Self {
        let peers = peers.iter().map(SocketAddr::to_string).collect();
        let config = Config { files: dir.path().to_owned(), peers, ..config };
        Self { node: Node::start(&config, Sharing::Folder).unwrap(), dir }
    }

    pub fn app(&self) -> &App {
        self.node.app()
    }

    pub fn id(&self) -> NodeId {
        self.app().identity().id
    }

    /// Whom it takes for online.
    pub fn sees(&self) -> BTreeSet<NodeId> {
        self.app().peers().into_iter().map(|peer| peer.id).collect()
    }

    /// By name, and whether they are online.
    pub fn standings(&self) -> Vec<(String, bool)> {
        let infos = self.app().standings().into_iter();
        infos.map(|info| (info.name.to_string(), info.state == State::Online)).collect()
    }

    /// Leaves in order. Returns the folder.
    pub async fn stop(self) -> TempDir {
        self.node.stop(Duration::ZERO, std::future::pending()).await;
        self.dir
    }

    /// Is gone without a word. Returns the folder.
    pub async fn kill(self) -> TempDir {
        // Before it can say anything.
        self.node.tasks().stop(PATIENCE).await.unwrap();
        self.dir
    }
}

/// Waits until it `holds`, and says how long that took.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = tokio::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// Whether each of these sees exactly all others of them.
pub fn see_each_other(nodes: &[&Alone]) -> bool {
    let all: BTreeSet<NodeId> = nodes.iter().map(|node| node.id()).collect();
    nodes.iter().all(|node| {
        let mut seen = node.sees();
        seen.insert(node.id()) && seen == all
    })
}

/// Gates in front of nodes. Whoever is on another side than the node behind a gate
/// is not let through; it is told apart by the id in its greeting.
#[derive(Clone, Default)]
pub struct Gates {
    sides: Arc<Mutex<Vec<(NodeId, u8)>>>,
}

impl Gates {
    pub fn open(&self, place: &Place, number: u8, id: NodeId, tasks: &Tasks) {
        let listener = std::net::TcpListener::bind(place.gate(number)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let (gates, behind, inner) = (self.clone(), place.at(number), tasks.clone());
        self.sides.lock().unwrap().push((id, 0));
        tasks.spawn(Span::none(), async move {
            while let Ok((stream, _)) = listener.accept().await {
                inner.spawn(Span::none(), gates.clone().pass(stream, behind, id));
            }
        });
    }

    /// Puts the nodes on sides, in the order in which their gates were opened.
    pub fn part(&self, side: impl Fn(usize) -> u8) {
        for (number, node) in self.sides.lock().unwrap().iter_mut().enumerate() {
            node.1 = side(number);
        }
    }

    async fn pass(self, mut from: TcpStream, behind: SocketAddr, id: NodeId) {
        let mut greeting = vec![0; 4096];
        let Ok(read @ 1..) = from.read(&mut greeting).await else { return };
        let greeting = &greeting[..read];
        let may_pass = {
            let sides = self.sides.lock().unwrap();
            let own = sides.iter().find(|(node, _)| *node == id).map(|(_, side)| *side);
            let caller = |node: &NodeId| greeting.windows(32).any(|part| part == node.as_bytes());
            sides.iter().find(|(node, _)| caller(node)).is_none_or(|(_, side)| Some(*side) == own)
        };
        if may_pass && let Ok(mut to) = TcpStream::connect(behind).await {
            to.write_all(greeting).await.ok();
            copy_bidirectional(&mut from, &mut to).await.ok();
        }
    }
}

pub fn tasks() -> Tasks {
    Tasks::new(Handle::current())
}
