//! What a search costs as a network grows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_common::content::{FileId, Manifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{REPLY_DEADLINE, SEARCH_DEADLINE};
use shoal_common::party::Party;
use shoal_common::process::raise_descriptor_limit;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::{Gathered, Pattern, SearchReply};
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use shoal_node::catalog::Catalog;
use shoal_node::catalog::ask::gather::{FAN, Search};
use shoal_node::catalog::ask::ring::lies_between;
use shoal_node::catalog::ask::{DIRECT, ask};
use shoal_node::catalog::index::Shared;
use shoal_node::catalog::serve::{Acquaintance, Circle, answer};
use shoal_node::volume::{Stamp, Volume};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

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
const RARE: usize = 10;

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
         asks; *most calls of one*: of any node. *KB received* by who asks: the messages of the \
         answers as they are encoded. *messages*: requests and answers on all connections, \
         greetings not counted.",
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
        "messages",
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
    let (mut times, mut last) = (Vec::new(), Gathered::default());
    for _ in 0..rounds {
        let start = Instant::now();
        last = runtime.block_on(crowd.search())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        say::note(format_args!("  {nodes}: {:?} ms, {} answered", times.last(), last.asked));
    }
    let owners = last.answers.len();
    // As large as it is in pieces, but for some bytes around each.
    let bytes = rmp_serde::to_vec_named(&SearchReply::Gathered(last.clone()))?.len();
    runtime.block_on(crowd.tasks.stop(Duration::from_secs(10))).ok();
    runtime.shutdown_timeout(Duration::from_secs(10));
    let (least, most) = spread(&times).unwrap_or_default();
    let calls = if nodes > DIRECT { FAN.min(nodes) } else { nodes };
    Ok(vec![
        nodes.to_string(),
        calls.to_string(),
        calls.to_string(),
        (2 * nodes).to_string(),
        last.asked.to_string(),
        owners.to_string(),
        three_digits(bytes as f64 / 1e3),
        three_digits(median(&times).unwrap_or(f64::NAN)),
        format!("{} – {}", three_digits(least), three_digits(most)),
    ])
}

/// All who are asked, in the order of their ids.
struct Crowd {
    peers: Arc<Vec<Peer>>,
    tasks: Tasks,
}

impl Crowd {
    async fn start(runtime: &Runtime, volume: &Volume, nodes: usize) -> Outcome<Self> {
        let tasks = Tasks::new(runtime.handle().clone());
        let mut ports = Vec::with_capacity(nodes);
        for number in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let at = listener.local_addr()?;
            let name = format!("node{number}").parse()?;
            let peer = Peer { id: NodeId::random(), name, search: at, download: at, joined: 0 };
            ports.push((peer, listener));
        }
        ports.sort_by_key(|(peer, _)| peer.id);
        let peers: Arc<Vec<_>> = Arc::new(ports.iter().map(|(peer, _)| peer.clone()).collect());
        for (number, (peer, listener)) in ports.into_iter().enumerate() {
            let catalog = Catalog::new(volume.clone());
            let name = if number.is_multiple_of(RARE) { "rare.txt" } else { "other.txt" };
            catalog.add_many([shared(name)?, shared("common.txt")?]);
            let us = Party::new("bench", peer.id);
            let one = One { number, peers: Arc::clone(&peers) };
            let circle = Circle::new(us.clone(), Arc::new(one));
            let handle = move |guest| answer(guest, catalog.clone(), circle.clone());
            let door = serve(listener, us, &[Talk::Search], 64, tasks.clone(), handle);
            tasks.spawn(tracing::Span::none(), door);
        }
        Ok(Self { peers, tasks })
    }

    async fn search(&self) -> Outcome<Gathered> {
        let us = Party::new("bench", NodeId::random());
        let pattern = Pattern::Exact("rare.txt".parse()?);
        let gathered = if self.peers.len() > DIRECT {
            let deadline = tokio::time::Instant::now() + REPLY_DEADLINE;
            let search = Search::new(us, pattern, deadline);
            search.gather(self.peers.to_vec()).await
        } else {
            let findings = ask(self.peers.to_vec(), &us, &pattern).await;
            let asked = (self.peers.len() - findings.silent.len()) as u64;
            let owners = findings.found.into_iter().flat_map(|found| found.owners);
            let answers = owners.map(answer_of).collect::<Outcome<_>>()?;
            Gathered { answers, asked, ..Gathered::default() }
        };
        let expected = self.peers.len().div_ceil(RARE).min(shoal_common::limits::MAX_MATCHES);
        if gathered.answers.len() < expected {
            let found = gathered.answers.len();
            say::note(format_args!("  only {found} of {expected} owners"));
        }
        if gathered.asked == 0 {
            return Err(Failure::new("nobody answered"));
        }
        Ok(gathered)
    }
}

fn answer_of(peer: Peer) -> Outcome<shoal_common::protocol::search::Answer> {
    let file = FileId::of(b"rare.txt");
    let found = shoal_common::protocol::search::Match {
        name: "rare.txt".parse()?,
        size: 8,
        file,
        chunks: None,
    };
    Ok(shoal_common::protocol::search::Answer { peer, matches: vec![found] })
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

/// A node that knows everyone.
struct One {
    number: usize,
    peers: Arc<Vec<Peer>>,
}

impl Acquaintance for One {
    fn us(&self) -> Option<Peer> {
        self.peers.get(self.number).cloned()
    }

    fn on_the_way(&self, upto: NodeId) -> Vec<Peer> {
        let Some(us) = self.peers.get(self.number) else { return Vec::new() };
        // They are in order: no need to look at all of them.
        let (before, behind) = self.peers.split_at(self.number);
        let on_it = |peer: &&Peer| lies_between(peer.id, us.id, upto);
        behind.iter().skip(1).chain(before).take_while(on_it).cloned().collect()
    }
}
