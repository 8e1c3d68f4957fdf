//! A small network for tests: honest owners, owners that misbehave, and a node
//! that fetches. Real sockets on loopback, ports chosen by the system.

#![allow(dead_code, unreachable_pub, clippy::print_stdout)] // each test program uses some of it

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shoal_common::content::{FileId, Geometry, Manifest, ManifestBuilder};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::party::Party;
use shoal_common::protocol::search::Tree;
use shoal_common::task::Tasks;
use shoal_node::catalog::Catalog;
use shoal_node::catalog::found::{Listing, Source};
use shoal_node::config::Io;
use shoal_node::notice::Notices;
use shoal_node::transfer::job::{JobId, JobInfo, JobState, Wanted};
use shoal_node::transfer::{
    Answer, Downloads, Environment, Fellows, Network, Throttle, Uploads, serve_downloads,
};
use shoal_node::volume::{Stamp, Volume};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

pub mod guest;
pub mod link;
pub mod rogue;

/// Longest wait for something that should happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const MIB: usize = 1 << 20;

/// Bytes that look like nothing, the same for the same `seed`.
pub fn content(seed: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

pub fn manifest_of(content: &[u8]) -> Manifest {
    let mut builder = ManifestBuilder::new(Geometry::of(content.len() as u64).unwrap());
    builder.update(content);
    builder.finish().unwrap()
}

pub fn party(id: NodeId) -> Party {
    Party::new("test", id)
}

/// Waits until `done` gives something.
pub async fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "in {PATIENCE:?} not seen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Says that this test did not run: on standard output, and to whoever counts
/// the tests, in the file that `SHOAL_SKIPS` names.
pub fn skipped(reason: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    println!("SKIPPED: {test}: {reason}");
    if let Some(path) = std::env::var_os("SHOAL_SKIPS") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{test}: {reason}").unwrap();
    }
}

/// An honest owner.
pub struct Owner {
    pub dir: TempDir,
    pub peer: Peer,
    pub uploads: Uploads,
    pub catalog: Catalog,
    tasks: Tasks,
}

impl Owner {
    pub async fn start(name: &str, files: &[(&str, &[u8])]) -> Self {
        Self::start_at(name, files, "127.0.0.1:0", NodeId::random()).await
    }

    /// One whose bytes leave in a way of one's choice.
    pub async fn start_by(io: Io, name: &str, files: &[(&str, &[u8])]) -> Self {
        Self::start_with(io, name, files, "127.0.0.1:0", NodeId::random()).await
    }

    pub async fn start_at(name: &str, files: &[(&str, &[u8])], at: &str, id: NodeId) -> Self {
        Self::start_with(Io::default(), name, files, at, id).await
    }

    async fn start_with(io: Io, name: &str, files: &[(&str, &[u8])], at: &str, id: NodeId) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let catalog = Catalog::new(volume.clone());
        for (file, content) in files {
            std::fs::write(dir.path().join(file), content).unwrap();
            let opened = volume.open_shared(&file.parse().unwrap()).unwrap();
            let stamp = Stamp::of(&opened).unwrap();
            catalog.add(file.parse().unwrap(), stamp, Arc::new(manifest_of(content)));
        }
        let uploads = Uploads::by(io, volume, catalog.clone());
        let tasks = Tasks::new(Handle::current());
        let listener = TcpListener::bind(at).await.unwrap();
        let peer = peer(name, id, &listener);
        let serve = serve_downloads(uploads.clone(), listener, party(id), 1000, tasks.clone());
        tasks.spawn(tracing::Span::none(), serve);
        Self { dir, peer, uploads, catalog, tasks }
    }

    /// Cuts every connection and listens no more.
    pub async fn kill(&self) {
        self.tasks.stop(PATIENCE).await.unwrap();
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

pub fn peer(name: &str, id: NodeId, listener: &TcpListener) -> Peer {
    let at = listener.local_addr().unwrap();
    Peer { id, name: name.parse().unwrap(), search: at, download: at, joined: 0 }
}

/// A network that says of everyone that they have everything.
struct Told {
    peers: Arc<Mutex<Vec<Peer>>>,
    changes: tokio::sync::watch::Sender<u64>,
}

impl Network for Told {
    fn seek(&self, _: FileId, _: u64) -> Answer<Vec<Source>> {
        let peers = self.peers.lock().unwrap().clone();
        let sources = peers.into_iter().map(|peer| Source { peer, chunks: None }).collect();
        Box::pin(async move { sources })
    }

    fn list(&self, _: Tree) -> Answer<Listing> {
        Box::pin(async { Listing::default() })
    }

    fn peer(&self, id: NodeId) -> Option<Peer> {
        self.peers.lock().unwrap().iter().find(|peer| peer.id == id).cloned()
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A node that fetches, and the owners that the network tells it of.
pub struct Node {
    pub downloads: Downloads,
    pub catalog: Catalog,
    pub network: Arc<Mutex<Vec<Peer>>>,
    notices: broadcast::Receiver<String>,
    heard: Vec<String>,
    tasks: Tasks,
}

impl Node {
    pub fn start(dir: &Path, owners: &[&Peer]) -> Self {
        let volume = Volume::open(dir).unwrap();
        let catalog = Catalog::new(volume.clone());
        let notices = Notices::default();
        let tasks = Tasks::new(Handle::current());
        let network: Arc<Mutex<Vec<Peer>>> =
            Arc::new(Mutex::new(owners.iter().copied().cloned().collect()));
        let asked = Arc::clone(&network);
        let listening = notices.listen();
        let downloads = Downloads::new(Environment {
            volume,
            catalog: catalog.clone(),
            notices,
            us: party(NodeId::random()),
            network: Box::new(Told { peers: asked, changes: tokio::sync::watch::channel(0).0 }),
            fellows: Fellows::default(),
            down: Throttle::unlimited(),
            tasks: tasks.clone(),
        });
        Self { downloads, catalog, network, notices: listening, heard: Vec::new(), tasks }
    }

    pub fn fetch(&self, name: &str, content: &[u8]) -> JobId {
        self.downloads.start(wanted(name, content), Vec::new()).unwrap()
    }

    /// Fetches and waits for the end.
    pub async fn fetched(&self, name: &str, content: &[u8]) -> JobInfo {
        let job = self.fetch(name, content);
        self.over(job).await
    }

    pub async fn over(&self, job: JobId) -> JobInfo {
        let end = tokio::time::timeout(PATIENCE, self.downloads.finished(job)).await;
        end.unwrap_or_else(|_| panic!("not over: {:#?}", self.info(job))).unwrap()
    }

    pub fn info(&self, job: JobId) -> JobInfo {
        self.downloads.watch(job).unwrap().borrow().clone()
    }

    pub async fn in_state(&self, job: JobId, state: JobState) -> JobInfo {
        eventually(&format!("{state:?}"), || {
            Some(self.info(job)).filter(|info| info.state == state)
        })
        .await
    }

    /// Waits until so many bytes are here.
    pub async fn has(&self, job: JobId, bytes: usize) -> JobInfo {
        eventually("progress", || Some(self.info(job)).filter(|info| info.done >= bytes as u64))
            .await
    }

    /// Whether the person was told something with this text.
    pub fn was_told(&mut self, text: &str) -> usize {
        while let Ok(line) = self.notices.try_recv() {
            self.heard.push(line);
        }
        self.heard.iter().filter(|line| line.contains(text)).count()
    }

    pub fn heard(&self) -> &[String] {
        &self.heard
    }

    /// Ends at once, as by a signal that can't be caught: no goodbye is said.
    pub async fn kill(self) {
        self.tasks.stop(PATIENCE).await.unwrap();
    }
}

pub fn wanted(name: &str, content: &[u8]) -> Wanted {
    Wanted::file(name.parse().unwrap(), FileId::of(content), content.len() as u64)
}
