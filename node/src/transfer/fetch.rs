//! Fetches from one owner: the manifest, then chunk after chunk.
//!
//! A chunk comes into one buffer, is hashed there while it is still in the
//! cache, and is written only when it is right and the plan keeps it. So no
//! wrong byte is ever on the disk, and memory is one chunk an owner.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shoal_common::call::{CallError, call};
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::content::{ChunkHasher, FileId, Geometry, Manifest, ManifestError};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{MAX_REQUEST_FRAME, MAX_TRANSFER_FRAME, REPLY_DEADLINE};
use shoal_common::protocol::greeting::Hello;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::transfer::{ByteRange, TransferReply, TransferRequest};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::pace::Pace;
use super::plan::{Plan, Verdict};
use super::roster::Remedy;
use super::sink::Sink;

/// Bytes hashed at once: a power of two, so that the hash runs at full width,
/// and few enough to be in the cache still.
const PIECE: usize = 128 * 1024;

/// How long an owner waits for each of those before it to give the manifest,
/// and for how many of them at most.
const MANIFEST_TURN: (Duration, u32) = (Duration::from_millis(200), 5);

/// How often an owner without work asks for some: paces change without notice.
const IDLE_TICK: Duration = Duration::from_millis(100);

/// Why an owner gives no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No conversation.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Somebody else answers.
    #[error("another node answers at its address")]
    Stranger,
    /// The conversation broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It stands still, or nearly.
    #[error("it sends too slowly")]
    TooSlow,
    /// It refuses.
    #[error("{0}")]
    Refused(Refusal),
    /// Its manifest does not fit the content.
    #[error("it sent {0}")]
    Manifest(#[from] ManifestError),
    /// Its last chunk does not fit its manifest: either may be wrong.
    #[error("it sent wrong bytes, or a manifest of another size")]
    Unproven,
    /// Chunks that do not verify, too often.
    #[error("it sent wrong bytes")]
    WrongBytes,
    /// An answer to something that was not asked.
    #[error("it answered something that was not asked")]
    Unexpected,
    /// Not the owner's fault: our disk.
    #[error("the disk fails: {0}")]
    Disk(io::Error),
}

impl FetchError {
    /// What to do about the owner; `None` if it is not its fault.
    pub(super) fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Self::Call(CallError::Unreachable { .. } | CallError::NoAnswer { .. }) => Remedy::Again,
            Self::Call(_) | Self::Stranger | Self::TooSlow => Remedy::Later,
            Self::Connection(error) => match error {
                ConnectionError::Closed | ConnectionError::Broken(_) => Remedy::Again,
                ConnectionError::Silent(_) | ConnectionError::Slow => Remedy::Later,
                ConnectionError::TooLong { .. } | ConnectionError::Malformed(_) => Remedy::Never,
            },
            Self::Refused(refusal) if refusal.is_passing() => Remedy::Again,
            Self::Refused(_) => Remedy::Later,
            Self::Manifest(_) | Self::Unproven | Self::WrongBytes | Self::Unexpected => {
                Remedy::Never
            }
            Self::Disk(_) => return None,
        })
    }
}

/// What happens with an owner.
#[derive(Debug)]
pub(super) enum Event {
    /// It sent a wrong chunk.
    Wrong(NodeId),
    /// Nothing more comes from it.
    Ended(NodeId, Result<(), FetchError>),
}

/// What the owners of one download share before there is work.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) file: FileId,
    pub(super) us: Hello,
    /// The manifest, once somebody gave one that fits.
    pub(super) manifest: watch::Sender<Option<Arc<Manifest>>>,
    /// The work, once there is a place for the chunks.
    pub(super) work: watch::Sender<Option<Arc<Work>>>,
    /// To the coordinator.
    pub(super) events: mpsc::Sender<Event>,
}

/// What there is to fetch, and where it goes.
#[derive(Debug)]
pub(super) struct Work {
    manifest: Arc<Manifest>,
    plan: Mutex<Plan>,
    sink: Sink,
    /// Chunks are free again, or all is done.
    news: Notify,
    complete: CancellationToken,
}

impl Work {
    pub(super) fn new(manifest: Arc<Manifest>, plan: Plan, sink: Sink) -> Self {
        let complete = CancellationToken::new();
        if sink.is_complete() {
            complete.cancel();
        }
        Self { manifest, plan: Mutex::new(plan), sink, news: Notify::new(), complete }
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        // Every method of the plan leaves it whole.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sink(&self) -> &Sink {
        &self.sink
    }

    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Cancelled when every chunk is on the disk.
    pub(super) fn complete(&self) -> &CancellationToken {
        &self.complete
    }

    /// An owner is gone; what it was asked for is free.
    pub(super) fn leave(&self, owner: NodeId) {
        self.plan().leave(owner);
        self.news.notify_waiters();
    }

    /// Puts a chunk where it belongs, if it is right and new.
    fn take(&self, owner: NodeId, chunk: u32, correct: bool, bytes: &[u8]) -> io::Result<Verdict> {
        let verdict = self.plan().delivered(owner, chunk, correct, Instant::now());
        if verdict == Verdict::Keep {
            self.sink.write(chunk, bytes)?;
            if self.sink.is_complete() {
                self.complete.cancel();
            }
        }
        if matches!(verdict, Verdict::Wrong | Verdict::Banned) || self.plan().is_complete() {
            self.news.notify_waiters();
        }
        Ok(verdict)
    }
}

/// Fetches from one owner until the file is complete. `turn` is its place
/// among those who are asked for the manifest.
///
/// # Errors
/// The owner gives no more, or the disk fails.
pub(super) async fn fetch(swarm: &Swarm, peer: &Peer, turn: u32) -> Result<(), FetchError> {
    let (connection, hello) = call(peer.download, &swarm.us).await?;
    if hello.node != peer.id {
        return Err(FetchError::Stranger);
    }
    let mut owner = Owner { id: peer.id, connection };
    owner.offer_manifest(swarm, turn).await?;
    let mut work = swarm.work.subscribe();
    let ready = work.wait_for(Option::is_some).await.ok();
    let Some(work) = ready.and_then(|work| work.clone()) else { return Ok(()) };
    owner.fetch(swarm, &work).await
}

/// One owner, connected.
struct Owner {
    id: NodeId,
    connection: Connection<TcpStream>,
}

impl Owner {
    /// Gets the manifest from this owner, unless another gives it first.
    async fn offer_manifest(&mut self, swarm: &Swarm, turn: u32) -> Result<(), FetchError> {
        let mut known = swarm.manifest.subscribe();
        let patience = MANIFEST_TURN.0 * turn.min(MANIFEST_TURN.1);
        if timeout(patience, known.wait_for(Option::is_some)).await.is_ok() {
            return Ok(());
        }
        let request = TransferRequest::Manifest { file: swarm.file };
        let manifest = match self.connection.ask(&request, MAX_TRANSFER_FRAME).await? {
            TransferReply::Manifest(unchecked) => Manifest::try_from(unchecked)?,
            TransferReply::Refused { refusal } => return Err(FetchError::Refused(refusal)),
            _ => return Err(FetchError::Unexpected),
        };
        if manifest.file() != swarm.file {
            return Err(ManifestError::Hashes.into());
        }
        self.prove_size(&manifest).await?;
        swarm.manifest.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert_with(|| Arc::new(manifest));
            first
        });
        Ok(())
    }

    /// The hashes of all chunks merge to the file id whatever size the owner
    /// says, as long as there are as many chunks. The last chunk tells: it has
    /// its hash only at its place and with its length.
    async fn prove_size(&mut self, manifest: &Manifest) -> Result<(), FetchError> {
        let Some(last) = manifest.geometry().chunks().checked_sub(1) else { return Ok(()) };
        let ranges = vec![range(manifest.geometry(), last)];
        let request = TransferRequest::Chunks { file: manifest.file(), ranges };
        self.connection.send(&request, MAX_REQUEST_FRAME).await?;
        match self.receive(manifest, last, &mut Vec::new()).await? {
            true => Ok(()),
            false => Err(FetchError::Unproven),
        }
    }

    async fn fetch(&mut self, swarm: &Swarm, work: &Work) -> Result<(), FetchError> {
        if !work.plan().join(self.id) {
            return Err(FetchError::WrongBytes);
        }
        let mut buffer = Vec::new();
        let mut asked = VecDeque::new();
        loop {
            self.ask(work, &mut asked).await?;
            match asked.pop_front() {
                Some(chunk) => {
                    let correct = self.receive(&work.manifest, chunk, &mut buffer).await?;
                    match work.take(self.id, chunk, correct, &buffer).map_err(FetchError::Disk)? {
                        Verdict::Keep | Verdict::Known | Verdict::Unasked => {}
                        Verdict::Banned => return Err(FetchError::WrongBytes),
                        Verdict::Wrong => {
                            warn!("chunk {chunk} came with wrong bytes");
                            // Full: the person knows already that it is so.
                            swarm.events.try_send(Event::Wrong(self.id)).ok();
                        }
                    }
                }
                None if work.plan().is_complete() => {
                    // The last chunk may still be on its way to the disk.
                    work.complete.cancelled().await;
                    return Ok(());
                }
                None => {
                    timeout(IDLE_TICK, work.news.notified()).await.ok();
                }
            }
        }
    }

    /// Asks for as many chunks as the plan gives.
    async fn ask(&mut self, work: &Work, asked: &mut VecDeque<u32>) -> Result<(), FetchError> {
        let already = asked.len();
        {
            let mut plan = work.plan();
            let now = Instant::now();
            asked.extend(std::iter::from_fn(|| plan.next(self.id, now)));
        }
        let ranges: Vec<_> = asked
            .iter()
            .skip(already)
            .map(|&chunk| range(work.manifest.geometry(), chunk))
            .collect();
        if !ranges.is_empty() {
            let request = TransferRequest::Chunks { file: work.manifest.file(), ranges };
            self.connection.send(&request, MAX_REQUEST_FRAME).await?;
        }
        Ok(())
    }

    /// Receives the answer to the oldest question into `buffer`; whether it is
    /// right.
    async fn receive(
        &mut self,
        manifest: &Manifest,
        chunk: u32,
        buffer: &mut Vec<u8>,
    ) -> Result<bool, FetchError> {
        let range = range(manifest.geometry(), chunk);
        match self.connection.receive(MAX_REQUEST_FRAME, REPLY_DEADLINE).await? {
            TransferReply::Bytes(announced) if announced == range => {}
            TransferReply::Refused { refusal } => return Err(FetchError::Refused(refusal)),
            _ => return Err(FetchError::Unexpected),
        }
        buffer.resize(usize::try_from(range.length).unwrap_or(0), 0);
        let mut hasher = ChunkHasher::new(manifest.geometry(), chunk);
        self.read(buffer, |piece| hasher.update(piece)).await?;
        Ok(manifest.accepts(chunk, &hasher))
    }

    /// Fills `buffer` from the stream and shows it piece by piece.
    async fn read(
        &mut self,
        buffer: &mut [u8],
        mut show: impl FnMut(&[u8]),
    ) -> Result<(), FetchError> {
        let mut pace = Pace::new(Instant::now());
        let (mut filled, mut shown) = (0, 0);
        while filled < buffer.len() {
            let space = buffer.get_mut(filled..).unwrap_or_default();
            let read = self.connection.read_raw(space);
            let read = match timeout(pace.patience(Instant::now()), read).await {
                Ok(Ok(0)) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(read)) => read,
                Ok(Err(error)) => return Err(broken(error)),
                Err(_) => return Err(FetchError::TooSlow),
            };
            pace.moved(read, Instant::now());
            filled += read;
            let ready = if filled == buffer.len() { filled } else { filled - filled % PIECE };
            if ready > shown {
                show(buffer.get(shown..ready).unwrap_or_default());
                shown = ready;
            }
        }
        Ok(())
    }
}

fn broken(error: io::Error) -> FetchError {
    ConnectionError::Broken(error).into()
}

fn range(geometry: Geometry, chunk: u32) -> ByteRange {
    let range = geometry.range(chunk);
    ByteRange { offset: range.start, length: range.end - range.start }
}
