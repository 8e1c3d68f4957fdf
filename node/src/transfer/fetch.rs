//! Fetches from one owner: asks ahead, and takes the answers in their order.
//!
//! A chunk comes into one buffer, is hashed there while it is still in the
//! cache, and is written only when it is right and the plan keeps it. So no
//! wrong byte is ever on the disk, and memory is one chunk an owner.

mod error;
mod run;

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_common::call::call_with;
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::content::{ChunkHasher, FileId, Manifest, ManifestError, UncheckedManifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{
    IDLE_DEADLINE, MAX_FELLOWS, MAX_REQUEST_FRAME, MAX_TRANSFER_FRAME, REPLY_DEADLINE,
};
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::transfer::{ByteRange, Have, TransferReply, TransferRequest};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::item::{Item, offer};
use super::pace::Pace;
use super::plan::{Ask, ItemId, Part, Verdict};
use super::swarm::{Event, Swarm};
pub(super) use error::FetchError;
use run::{Run, range};

/// Bytes hashed at once: a power of two, so that the hash runs at full width,
/// and few enough to be in the cache still.
const PIECE: usize = 128 * 1024;

/// How often an owner without work asks for some: paces change without notice.
const IDLE_TICK: Duration = Duration::from_millis(100);

/// Fetches from one owner until the download ends, which drops this.
///
/// # Errors
/// The owner gives no more.
pub(super) async fn fetch(swarm: &Arc<Swarm>, peer: &Peer) -> Result<(), FetchError> {
    let (mut asked, mut since) = (VecDeque::new(), None);
    let ahead = |connection: &mut _| {
        since = Some(Instant::now());
        ask_with_greeting(swarm, peer.id, connection, &mut asked)
    };
    let (connection, hello) = call_with(peer.download, &swarm.us, Talk::Transfer, ahead).await?;
    if hello.node != peer.id {
        return Err(FetchError::Stranger);
    }
    if asked.is_empty() && !swarm.plan().join(peer.id) {
        return Err(FetchError::WrongBytes);
    }
    let owner = Owner {
        id: peer.id,
        swarm: Arc::clone(swarm),
        connection,
        seen: 0,
        followed: Vec::new(),
        fellows: Vec::new(),
        quiet_since: since.filter(|_| !asked.is_empty()),
        asked,
        asked_at: Instant::now(),
        due: None,
        buffer: Vec::new(),
    };
    owner.converse().await
}

/// Asks for a manifest along with the greeting: nothing can begin without it, and
/// it saves a round trip. Chunks wait until it is known that it is the owner who
/// answers: by then the others may have given them.
fn ask_with_greeting(
    swarm: &Swarm,
    owner: NodeId,
    connection: &mut Connection<TcpStream>,
    asked: &mut VecDeque<Asked>,
) -> Result<(), ConnectionError> {
    let item = swarm.plan().join_for_manifest(owner, Instant::now());
    if let Some(item) = item.and_then(|item| swarm.item(item)) {
        let manifest = Asked::Manifest(item);
        connection.queue(&manifest.request(), MAX_REQUEST_FRAME)?;
        asked.push_back(manifest);
    }
    Ok(())
}

/// What was asked of an owner and is not answered yet.
enum Asked {
    /// What it has of a file.
    Have(Arc<Item>),
    /// The chunk hashes of a file.
    Manifest(Arc<Item>),
    /// The last chunk of a file, to prove the size in its manifest.
    Proof(Arc<Item>, Box<Manifest>),
    /// Consecutive chunks of a file.
    Run(Box<Run>),
}

impl Asked {
    fn item(&self) -> &Arc<Item> {
        match self {
            Self::Have(item) | Self::Manifest(item) | Self::Proof(item, _) => item,
            Self::Run(run) => &run.item,
        }
    }

    /// How it is asked.
    fn request(&self) -> TransferRequest {
        let file = self.item().file;
        match self {
            Self::Have(_) => TransferRequest::Have { file },
            Self::Manifest(_) => TransferRequest::Manifest { file },
            Self::Proof(_, manifest) => {
                let last = manifest.geometry().chunks().saturating_sub(1);
                TransferRequest::Chunks { file, ranges: vec![range(manifest.geometry(), last)] }
            }
            Self::Run(run) => {
                TransferRequest::Chunks { file, ranges: run.ranges.iter().copied().collect() }
            }
        }
    }
}

/// One owner, connected.
struct Owner {
    id: NodeId,
    swarm: Arc<Swarm>,
    connection: Connection<TcpStream>,
    /// What it was asked, in the order of its answers.
    asked: VecDeque<Asked>,
    /// Up to which of the opened files it was asked what it has of them.
    seen: u64,
    /// The open files of which it tells what it has.
    followed: Vec<(ItemId, FileId)>,
    /// The other downloaders that it told of.
    fellows: Vec<NodeId>,
    /// When it was asked something while nothing else was under way.
    quiet_since: Option<Instant>,
    /// When it was asked last: who is not asked anything for long is cut off.
    asked_at: Instant,
    /// By when the next answer has to begin. What comes unasked does not count:
    /// it must not keep one here that answers nothing.
    due: Option<Instant>,
    /// One chunk.
    buffer: Vec<u8>,
}

impl Owner {
    async fn converse(mut self) -> Result<(), FetchError> {
        let swarm = Arc::clone(&self.swarm);
        loop {
            // Heard from here on, so that no news is missed after a look.
            let mut news = pin!(swarm.news.notified());
            news.as_mut().enable();
            self.ask_more()?;
            self.connection.flush().await?;
            if !self.asked.is_empty() {
                self.answered().await?;
                continue;
            }
            let pause = self.pause();
            tokio::select! {
                reply = self.connection.receive(MAX_TRANSFER_FRAME, IDLE_DEADLINE) => {
                    self.unasked(reply)?;
                }
                () = news => {}
                () = tokio::time::sleep(pause) => self.stay(),
            }
        }
    }

    /// How long to wait until it may be worth to ask the plan again.
    fn pause(&self) -> Duration {
        let retry = self.swarm.plan().retry(self.id, Instant::now());
        retry.map_or(IDLE_TICK, |retry| retry.min(IDLE_TICK))
    }

    /// Asks again what it has, before it cuts off one who asks nothing.
    fn stay(&mut self) {
        if self.asked_at.elapsed() > IDLE_DEADLINE / 2 {
            self.followed.clear();
            self.seen = 0;
        }
    }

    /// What an owner says that is not asked anything at the moment.
    fn unasked(&mut self, reply: Result<TransferReply, ConnectionError>) -> Result<(), FetchError> {
        match reply? {
            TransferReply::Have(have) => self.heard(&have),
            TransferReply::Unknown => Ok(()),
            _ => Err(FetchError::Unexpected),
        }
    }

    /// Asks for as much as the plan gives.
    fn ask_more(&mut self) -> Result<(), FetchError> {
        let quiet = self.asked.is_empty();
        self.follow()?;
        let now = Instant::now();
        loop {
            let ask = self.swarm.plan().next(self.id, now);
            let Some(Ask { item, part }) = ask else { break };
            let Some(item) = self.swarm.item(item) else {
                // Closed meanwhile: the question is not asked.
                self.swarm.plan().withdraw(self.id, item);
                continue;
            };
            match part {
                Part::Manifest => self.ask(Asked::Manifest(item))?,
                Part::Chunks { first, count } => {
                    let id = item.id;
                    match Run::new(item, first, count, self.swarm.request()) {
                        Some(run) => self.ask(Asked::Run(Box::new(run)))?,
                        None => self.swarm.plan().withdraw(self.id, id),
                    }
                }
            }
        }
        if quiet && !self.asked.is_empty() {
            self.quiet_since = Some(now);
        }
        Ok(())
    }

    /// Asks what the owner has of files that were opened since the last time.
    fn follow(&mut self) -> Result<(), FetchError> {
        let opened = self.swarm.opened();
        if std::mem::replace(&mut self.seen, opened) == opened {
            return Ok(());
        }
        let open = self.swarm.chunked();
        self.followed.retain(|&(old, _)| open.iter().any(|item| item.id == old));
        for item in open {
            if !self.followed.iter().any(|&(old, _)| old == item.id) {
                self.followed.push((item.id, item.file));
                self.ask(Asked::Have(item))?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, asked: Asked) -> Result<(), FetchError> {
        self.connection.queue(&asked.request(), MAX_REQUEST_FRAME)?;
        self.asked_at = Instant::now();
        self.asked.push_back(asked);
        Ok(())
    }

    /// Receives the next reply, and what follows it.
    async fn answered(&mut self) -> Result<(), FetchError> {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now + REPLY_DEADLINE);
        let patience = due.saturating_duration_since(now);
        let reply = self.connection.receive(MAX_TRANSFER_FRAME, patience).await?;
        match &reply {
            TransferReply::Have(have) => return self.heard(have),
            // Something that a newer program says by itself.
            TransferReply::Unknown => return Ok(()),
            _ => {}
        }
        let Some(asked) = self.next_asked() else { return Err(FetchError::Unexpected) };
        match (asked, reply) {
            (asked, TransferReply::Refused { refusal }) => self.refused(&asked, refusal).await,
            (Asked::Manifest(item), TransferReply::Manifest(unchecked)) => {
                // At once, not when there is a place for the file: so the owner
                // sees how far we are, and tells others of us.
                self.ask(Asked::Have(Arc::clone(&item)))?;
                self.connection.flush().await?;
                self.check(item, unchecked).await
            }
            (Asked::Proof(item, manifest), TransferReply::Bytes(range)) => {
                self.proved(&item, *manifest, range).await
            }
            (Asked::Run(run), TransferReply::Bytes(range)) => self.run(run, range).await,
            _ => Err(FetchError::Unexpected),
        }
    }

    /// What is being answered.
    fn next_asked(&mut self) -> Option<Asked> {
        self.due = None;
        if let Some(since) = self.quiet_since.take() {
            self.swarm.plan().answered(self.id, since.elapsed());
        }
        self.asked.pop_front()
    }

    /// What the owner has of a file, and who else fetches it there.
    fn heard(&mut self, have: &Have) -> Result<(), FetchError> {
        // The first time it is an answer; from then on it comes by itself.
        if let Some(Asked::Have(item)) = self.asked.front()
            && item.file == have.file
        {
            self.next_asked();
        }
        if have.fellows.len() > MAX_FELLOWS {
            return Err(FetchError::Unexpected);
        }
        if !self.followed.iter().any(|&(_, file)| file == have.file) {
            // One that is complete here, or was refused: it is told of until the
            // connection ends.
            return Ok(());
        }
        if have.fellows != self.fellows && self.swarm.mention(Event::Fellows(have.fellows.clone()))
        {
            self.fellows.clone_from(&have.fellows);
        }
        let Some(item) = self.swarm.item_of(&have.file) else { return Ok(()) };
        let Some(geometry) = item.geometry() else { return Ok(()) };
        self.swarm.plan().offer(self.id, item.id, offer(&have.chunks, geometry));
        Ok(())
    }

    async fn refused(&mut self, asked: &Asked, refusal: Refusal) -> Result<(), FetchError> {
        if refusal.is_passing() {
            return Err(FetchError::Refused(refusal));
        }
        debug!("refused: {refusal}");
        if matches!(asked, Asked::Have(_)) && refusal == Refusal::Unsupported {
            // An older program: what it has is what it was said to have.
            return Ok(());
        }
        let item = asked.item().id;
        self.followed.retain(|&(followed, _)| followed != item);
        self.swarm.plan().withdraw(self.id, item);
        self.swarm.news.notify_waiters();
        if self.swarm.single {
            return Err(FetchError::Refused(refusal));
        }
        // That another fetches a file of a tree, and this one not, is nothing
        // to speak of.
        if !matches!(asked, Asked::Have(_)) {
            self.swarm.tell(Event::Withdrawn(self.id, item, refusal)).await;
        }
        Ok(())
    }

    /// The hashes of all chunks merge to the file id whatever size the owner
    /// says, as long as there are as many chunks. The end of the file tells; where
    /// the owner did not send it, its last chunk is asked for.
    async fn check(
        &mut self,
        item: Arc<Item>,
        mut unchecked: UncheckedManifest,
    ) -> Result<(), FetchError> {
        let tail = unchecked.tail.take();
        let manifest = Manifest::try_from(unchecked)?;
        if manifest.file() != item.file {
            return Err(ManifestError::Hashes.into());
        }
        match tail {
            _ if manifest.geometry().chunks() == 0 => {}
            Some(tail) if tail.proves(&manifest) => {}
            Some(_) => return Err(FetchError::Unproven),
            None => return self.ask(Asked::Proof(item, Box::new(manifest))),
        }
        self.manifest(&item, manifest, Vec::new()).await;
        Ok(())
    }

    /// The last chunk proves the size: it has its hash only at its place and with
    /// its length.
    async fn proved(
        &mut self,
        item: &Item,
        manifest: Manifest,
        announced: ByteRange,
    ) -> Result<(), FetchError> {
        let last = manifest.geometry().chunks().saturating_sub(1);
        if announced != range(manifest.geometry(), last) {
            return Err(FetchError::Unexpected);
        }
        let mut hasher = ChunkHasher::new(manifest.geometry(), last);
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(usize::try_from(announced.length).unwrap_or(0), 0);
        let mut pace = Pace::new(Instant::now());
        self.read(&mut bytes, &mut hasher, &mut pace).await?;
        if !manifest.accepts(last, &hasher) {
            return Err(FetchError::Unproven);
        }
        self.manifest(item, manifest, bytes).await;
        Ok(())
    }

    async fn manifest(&self, item: &Item, manifest: Manifest, last: Vec<u8>) {
        if self.swarm.plan().manifest(self.id, item.id, true, Instant::now()) {
            self.swarm.tell(Event::Manifest(self.id, item.id, manifest, last)).await;
        }
    }

    /// Receives a range of a run, and with it the chunks that end in it.
    async fn run(&mut self, mut run: Box<Run>, announced: ByteRange) -> Result<(), FetchError> {
        if run.ranges.pop_front() != Some(announced) {
            return Err(FetchError::Unexpected);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut pace = Pace::new(Instant::now());
        let mut left = announced.length;
        while left > 0 {
            let part = run.part(left, &mut buffer);
            if part.is_empty() {
                return Err(FetchError::Unexpected);
            }
            left = left.saturating_sub(part.len() as u64);
            self.read(part, &mut run.hasher, &mut pace).await?;
            if let Some((chunk, correct)) = run.finished() {
                self.deliver(&run.item, chunk, correct, &buffer).await?;
            }
        }
        self.buffer = buffer;
        if !run.ranges.is_empty() {
            self.asked.push_front(Asked::Run(run));
        }
        // Where bytes come faster than they are read, an owner would be read for
        // dozens of megabytes before another has its turn on this thread.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn deliver(
        &mut self,
        item: &Item,
        chunk: u32,
        correct: bool,
        bytes: &[u8],
    ) -> Result<(), FetchError> {
        match self.swarm.take(self.id, item, chunk, correct, bytes).await {
            Verdict::Keep | Verdict::Known | Verdict::Unasked => Ok(()),
            Verdict::Banned => Err(FetchError::WrongBytes),
            Verdict::Wrong => {
                warn!("chunk {chunk} came with wrong bytes");
                self.swarm.mention(Event::Wrong(self.id));
                Ok(())
            }
        }
    }

    /// Fills `buffer` from the stream, hashing piece by piece.
    async fn read(
        &mut self,
        buffer: &mut [u8],
        hasher: &mut ChunkHasher,
        pace: &mut Pace,
    ) -> Result<(), FetchError> {
        let (mut filled, mut hashed) = (0, 0);
        while filled < buffer.len() {
            let space = buffer.get_mut(filled..).unwrap_or_default();
            let most = self
                .swarm
                .throttles
                .iter()
                .fold(space.len(), |most, throttle| throttle.piece(most));
            let space = space.get_mut(..most).unwrap_or_default();
            let read = self.connection.read_raw(space);
            let read = match timeout(pace.patience(Instant::now()), read).await {
                Ok(Ok(0)) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(read)) => read,
                Ok(Err(error)) => return Err(broken(error)),
                Err(_) => return Err(FetchError::TooSlow),
            };
            pace.moved(read, Instant::now());
            self.throttle(read, pace).await;
            filled += read;
            let ready = if filled == buffer.len() { filled } else { filled - filled % PIECE };
            if ready > hashed {
                hasher.update(buffer.get(hashed..ready).unwrap_or_default());
                hashed = ready;
            }
        }
        Ok(())
    }

    /// Waits as long as the limits of this node want.
    async fn throttle(&self, read: usize, pace: &mut Pace) {
        for throttle in &self.swarm.throttles {
            if throttle.rate().is_some() {
                let start = Instant::now();
                throttle.take(read).await;
                pace.held(start.elapsed());
            }
        }
    }
}

fn broken(error: io::Error) -> FetchError {
    ConnectionError::Broken(error).into()
}
