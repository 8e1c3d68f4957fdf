//! What a search costs as a network grows.

mod relay;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shoal_common::content::{FileId, Manifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{REPLY_DEADLINE, SEARCH_DEADLINE};
use shoal_common::party::Party;
use shoal_common::process::raise_descriptor_limit;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::Pattern;
use shoal_common::serve::{Guest, serve};
use shoal_common::task::Tasks;
use shoal_node::catalog::Catalog;
use shoal_node::catalog::ask::gather::{self, FAN};
use shoal_node::catalog::ask::{DIRECT, ask};
use shoal_node::catalog::index::Shared;
use shoal_node::catalog::serve::{Acquaintance, Circle, answer};
use shoal_node::membership::Ring;
use shoal_node::volume::{Stamp, Volume};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use self::relay::Relay;
use crate::failure::{Failure, Outcome};
use crate::figures::{median, spread, three_digits};
use crate::place::Where;
use crate::report::{Section, Table};
use crate::say;
use crate::setting::Setting;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Nodes that are asked.
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "10,100,1000,10000")]
    pub nodes: Vec<u32>,
}

/// Who has the file that is looked for: one in so many.
const RARE: usize = 20;

/// Descriptors of each node that is asked: its port, and both ends of a connection.
const DESCRIPTORS: u64 = 2;

fn text() -> String {
    format!(
        "One node asks all others for a file that one in {RARE} has, by its name. Up to {DIRECT} \
         are asked directly, of more {FAN}, each for a part of the ring of ids, which it asks in \
         the same way. *Simulated*: all nodes that are asked are tasks of the process that asks, \
         on its two or so cores, with an index of two files each in place of a folder; connections, \
         greetings and messages are real, over the loopback, and so is the code that asks and \
         answers. So the time grows with the work of *all* nodes, which in a network is done by \
         each for itself; the deadline is {} s here in place of {}. *calls*: connections of who \
         asks, one request on each; *most calls of one*: of any node; both are counted by those who \
         accept them. Of several searches the most calls and the fewest answers are shown. *KB \
         received* by who asks, greetings included: counted by a relay in one more search, which \
         is not timed.",
        REPLY_DEADLINE.as_secs(),
        SEARCH_DEADLINE.as_secs()
    )
}

/// Measures.
///
/// # Errors
/// The machine's, or somebody is not reached.
pub fn run(setting: &Setting, args: &Args) -> Outcome<Section> {
    let most = usize::try_from(raise_descriptor_limit() / DESCRIPTORS)?.saturating_sub(100);
    let head = [
        "nodes asked",
        "calls",
        "most calls of one",
        "calls in all",
        "answered",
        "owners found",
        "KB received",
        "median ms",
        "least – most ms",
    ];
    let mut table = Table {
        title: "One search".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        ..Table::default()
    };
    for &nodes in &args.nodes {
        let nodes = usize::try_from(nodes)?.min(most);
        table.lines.push(measure(setting, nodes)?);
    }
    Ok(Section {
        id: "search".to_owned(),
        title: "Search in a large network".to_owned(),
        text: text(),
        tables: vec![table],
        panels: Vec::new(),
    })
}

fn measure(setting: &Setting, nodes: usize) -> Outcome<Vec<String>> {
    let place = setting.place(Where::Tmpfs)?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let volume = Volume::open(&place.folder("files")?)?;
    let crowd = runtime.block_on(Crowd::start(&runtime, &volume, nodes))?;
    let rounds = if setting.quick { 3 } else { setting.rounds };
    let mut searches = Vec::new();
    for _ in 0..rounds {
        let search = runtime.block_on(crowd.search(crowd.ring.peers().to_vec()))?;
        say::note(format_args!("  {nodes}: {:.1} ms, {} answered", search.ms, search.asked));
        searches.push(search);
    }
    let bytes = runtime.block_on(crowd.bytes())?;
    runtime.block_on(crowd.tasks.stop(Duration::from_secs(10))).ok();
    runtime.shutdown_timeout(Duration::from_secs(10));
    let times: Vec<_> = searches.iter().map(|search| search.ms).collect();
    let (least, most) = spread(&times).unwrap_or_default();
    // Where not all are the same, the worst.
    let greatest = |of: fn(&Search) -> u64| searches.iter().map(of).max().unwrap_or(0).to_string();
    let fewest = |of: fn(&Search) -> u64| searches.iter().map(of).min().unwrap_or(0).to_string();
    Ok(vec![
        nodes.to_string(),
        greatest(|search| search.calls.0),
        greatest(|search| search.calls.1),
        greatest(|search| search.calls.2),
        fewest(|search| search.asked),
        fewest(|search| search.found as u64),
        three_digits(bytes as f64 / 1e3),
        three_digits(median(&times).unwrap_or(f64::NAN)),
        format!("{} – {}", three_digits(least), three_digits(most)),
    ])
}

/// All who are asked.
struct Crowd {
    ring: Arc<Ring>,
    counts: Arc<Counts>,
    tasks: Tasks,
}

/// Connections that the nodes accepted, by who called.
#[derive(Debug, Default)]
struct Counts(Mutex<HashMap<NodeId, u64>>);

impl Counts {
    fn by_caller(&self) -> MutexGuard<'_, HashMap<NodeId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One search.
struct Search {
    /// Owners.
    found: usize,
    /// Who answered.
    asked: u64,
    ms: f64,
    /// Connections of who asks, of who makes most, and of all.
    calls: (u64, u64, u64),
}

impl Crowd {
    async fn start(runtime: &Runtime, volume: &Volume, nodes: usize) -> Outcome<Self> {
        let tasks = Tasks::new(runtime.handle().clone());
        let counts = Arc::new(Counts::default());
        let (mut peers, mut listeners) = (Vec::with_capacity(nodes), HashMap::new());
        for number in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let (id, at) = (NodeId::random(), listener.local_addr()?);
            let name = format!("node{number}").parse()?;
            peers.push(Peer { id, name, search: at, download: at, joined: 0 });
            listeners.insert(id, listener);
        }
        let ring: Arc<Ring> = Arc::new(peers.into_iter().collect());
        for (number, peer) in ring.peers().iter().enumerate() {
            let Some(listener) = listeners.remove(&peer.id) else { continue };
            let catalog = Catalog::new(volume.clone());
            let name = if number.is_multiple_of(RARE) { "rare.txt" } else { "other.txt" };
            catalog.add_many([shared(name)?, shared("common.txt")?]);
            let us = Party::new("bench", peer.id);
            let one = One { peer: peer.clone(), ring: Arc::clone(&ring) };
            let circle = Circle::new(us.clone(), Arc::new(one));
            let counts = Arc::clone(&counts);
            let handle = move |guest: Guest| {
                *counts.by_caller().entry(guest.hello.node).or_default() += 1;
                answer(guest, catalog.clone(), circle.clone())
            };
            let door = serve(listener, us, &[Talk::Search], 64, tasks.clone(), handle);
            tasks.spawn(tracing::Span::none(), door);
        }
        Ok(Self { ring, counts, tasks })
    }

    /// Asks `peers`, who are all.
    async fn search(&self, peers: Vec<Peer>) -> Outcome<Search> {
        self.counts.by_caller().clear();
        let us = Party::new("bench", NodeId::random());
        let (id, nodes) = (us.node, peers.len());
        let pattern = Pattern::Exact("rare.txt".parse()?);
        let start = Instant::now();
        let (found, asked) = if nodes > DIRECT {
            let deadline = tokio::time::Instant::now() + REPLY_DEADLINE;
            let gathered = gather::Search::new(us, pattern, deadline).gather(peers).await;
            (gathered.answers.len(), gathered.asked)
        } else {
            let findings = ask(peers, &us, &pattern).await;
            let found = findings.found.iter().map(|found| found.owners.len()).sum();
            (found, nodes as u64 - findings.missing)
        };
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let expected = nodes.div_ceil(RARE);
        if found != expected {
            say::note(format_args!("  {found} of {expected} owners are found"));
        }
        if asked == 0 {
            return Err(Failure::new("nobody answered"));
        }
        let calls = self.counts.by_caller();
        let own = calls.get(&id).copied().unwrap_or(0);
        let calls = (own, calls.values().copied().max().unwrap_or(0), calls.values().sum());
        Ok(Search { found, asked, ms, calls })
    }

    /// The same by way of a relay, which counts the bytes that who asks is sent, but is
    /// in the way.
    async fn bytes(&self) -> Outcome<u64> {
        let peers = self.ring.peers();
        let relay =
            Relay::start(peers.iter().map(|peer| peer.search).collect(), &self.tasks).await?;
        let there = peers.iter().zip(0..);
        let peers = there.map(|(peer, number)| Peer { search: relay.of(number), ..peer.clone() });
        self.search(peers.collect()).await?;
        Ok(relay.back.load(Ordering::Relaxed))
    }
}

/// A file whose content is its name.
fn shared(name: &str) -> Outcome<Shared> {
    let size = name.len() as u64;
    let manifest = Manifest::of_one_chunk(FileId::of(name.as_bytes()), size);
    let manifest = manifest.ok_or_else(|| Failure::new("no such file"))?;
    Ok(Shared {
        name: name.parse()?,
        stamp: Stamp { size, mtime_ns: 1, inode: 1 },
        executable: false,
        manifest: Arc::new(manifest),
    })
}

/// A node that knows everyone, as a node does that has turned all pages.
struct One {
    peer: Peer,
    ring: Arc<Ring>,
}

impl Acquaintance for One {
    fn us(&self) -> Option<Peer> {
        Some(self.peer.clone())
    }

    fn on_the_way(&self, upto: NodeId) -> Vec<Peer> {
        self.ring.between(self.peer.id, upto).cloned().collect()
    }
}
