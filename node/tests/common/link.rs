//! A way to a peer that is slow, far or dead: what is between two machines, as
//! a proxy on loopback.
//!
//! Bytes enter the link at its rate, which all connections of one direction
//! share, and come out of it after its delay; so a request waits a round trip
//! for its answer, while a stream keeps the link full. TCP ends at the proxy:
//! what is tried is how a program asks, not the kernel's congestion control.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shoal_common::ident::Peer;
use shoal_common::task::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::Span;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// From one end to the other; the round trip is twice that.
    pub delay: Duration,
    /// Bytes a second, each way; none is as fast as the machine.
    pub rate: Option<u64>,
}

/// What a link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// Passes them on.
    Open,
    /// Accepts connections and bytes, and nothing ever comes out.
    Silent,
    /// Breaks every connection, also those to come.
    Cut,
}

/// Most bytes taken at once; a slow link takes what it passes in [`STEP`].
const PIECE: usize = 64 * 1024;

/// Time that one piece occupies a slow link, about.
const STEP: Duration = Duration::from_millis(4);

/// How far a link may catch up on what it missed because a timer was late.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Bytes under way in one direction of a connection, beyond what rate and delay
/// hold. Little: it would hide a program that asks too little ahead.
const SLACK: usize = 256 * 1024;

pub struct Link {
    pub at: SocketAddr,
    passing: watch::Sender<Passing>,
    back: Arc<Lane>,
    tasks: Tasks,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Link {
    /// A link to `to`, on a port that the system chooses.
    pub async fn start(to: SocketAddr, manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), to, manner).await
    }

    pub async fn start_at(at: SocketAddr, to: SocketAddr, manner: Manner) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(at).unwrap();
        let listener = socket.listen(1024).unwrap();
        let at = listener.local_addr().unwrap();
        let (passing, watched) = watch::channel(Passing::Open);
        let (forth, back) = (Arc::new(Lane::new(manner)), Arc::new(Lane::new(manner)));
        let tasks = Tasks::new(Handle::current());
        let ends = Ends { to, forth, back: Arc::clone(&back), passing: watched };
        tasks.spawn(Span::none(), ends.accept(listener, tasks.clone()));
        Self { at, passing, back, tasks }
    }

    /// The peer as it is seen through this link.
    pub fn before(&self, peer: &Peer) -> Peer {
        Peer { search: self.at, download: self.at, ..peer.clone() }
    }

    pub fn set(&self, passing: Passing) {
        self.passing.send_replace(passing);
    }

    /// Bytes that came back from the far end.
    pub fn came(&self) -> u64 {
        self.back.passed.load(Ordering::Relaxed)
    }
}

/// What each connection needs.
#[derive(Clone)]
struct Ends {
    to: SocketAddr,
    forth: Arc<Lane>,
    back: Arc<Lane>,
    passing: watch::Receiver<Passing>,
}

impl Ends {
    async fn accept(self, listener: TcpListener, tasks: Tasks) {
        loop {
            let Ok((near, _)) = listener.accept().await else { continue };
            tasks.spawn(Span::none(), self.clone().pass(near));
        }
    }

    /// One connection, until either side ends it or the link is cut.
    async fn pass(mut self, near: TcpStream) {
        let cut = {
            let mut passing = self.passing.clone();
            async move { passing.wait_for(|passing| *passing == Passing::Cut).await.is_ok() }
        };
        let both = async {
            if *self.passing.borrow_and_update() == Passing::Silent {
                return swallow(near).await;
            }
            let Ok(far) = self.far_end().await else { return };
            near.set_nodelay(true).ok();
            far.set_nodelay(true).ok();
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            let passing = &self.passing;
            tokio::join!(
                self.forth.carry(near_in, far_out, passing.clone()),
                self.back.carry(far_in, near_out, passing.clone()),
            );
        };
        tokio::select! {
            () = both => {}
            _ = cut => {}
        }
    }

    /// The owner shall feel how slow the link is: what is in buffers here has
    /// left it.
    async fn far_end(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(u32::try_from(SLACK).unwrap())?;
        socket.connect(self.to).await
    }
}

async fn swallow(mut near: TcpStream) {
    let mut piece = vec![0; PIECE];
    while near.read(&mut piece).await.is_ok_and(|read| read > 0) {}
}

/// One direction of a link, shared by its connections.
struct Lane {
    manner: Manner,
    /// When the link is free for the next byte.
    free: Mutex<Instant>,
    passed: AtomicU64,
}

/// Bytes between the two ends of a link, and when they are at the far one.
struct UnderWay {
    due: Instant,
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// Bytes that pass at a rate in some time.
fn passed(rate: u64, time: Duration) -> usize {
    usize::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap()
}

impl Lane {
    fn new(manner: Manner) -> Self {
        Self { manner, free: Mutex::new(Instant::now()), passed: AtomicU64::new(0) }
    }

    /// Bytes that the link takes at once.
    fn piece(&self) -> usize {
        self.manner.rate.map_or(PIECE, |rate| passed(rate, STEP).clamp(1024, PIECE))
    }

    /// Bytes under way at most.
    fn room(&self) -> usize {
        passed(self.manner.rate.unwrap_or(1 << 30), self.manner.delay) + SLACK
    }

    /// When `bytes` have entered the link.
    fn enter(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let Some(rate) = self.manner.rate else { return now };
        let mut free = self.free.lock().unwrap();
        let begin = now.checked_sub(CATCH_UP).map_or(*free, |earliest| earliest.max(*free));
        *free = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
        *free
    }

    /// Carries the bytes of one connection in this direction until its end.
    async fn carry(
        &self,
        from: OwnedReadHalf,
        to: OwnedWriteHalf,
        passing: watch::Receiver<Passing>,
    ) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut taking = pin!(self.take(from, sender, passing));
        let mut delivering = pin!(self.deliver(receiver, to));
        tokio::select! {
            () = &mut taking => delivering.await,
            () = &mut delivering => {}
        }
    }

    async fn take(
        &self,
        mut from: OwnedReadHalf,
        under_way: mpsc::UnboundedSender<UnderWay>,
        passing: watch::Receiver<Passing>,
    ) {
        let room = Arc::new(Semaphore::new(self.room()));
        let mut piece = vec![0; self.piece()];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            if *passing.borrow() == Passing::Silent {
                continue;
            }
            let taken = u32::try_from(read).unwrap();
            let taken = Arc::clone(&room).acquire_many_owned(taken).await.unwrap();
            let entered = self.enter(read);
            sleep_until(entered).await;
            let due = entered + self.manner.delay;
            let bytes = piece[..read].to_vec();
            if under_way.send(UnderWay { due, bytes, _room: taken }).is_err() {
                return;
            }
        }
    }

    async fn deliver(
        &self,
        mut under_way: mpsc::UnboundedReceiver<UnderWay>,
        mut to: OwnedWriteHalf,
    ) {
        while let Some(piece) = under_way.recv().await {
            sleep_until(piece.due).await;
            if to.write_all(&piece.bytes).await.is_err() {
                return;
            }
            self.passed.fetch_add(piece.bytes.len() as u64, Ordering::Relaxed);
        }
        to.shutdown().await.ok();
    }
}
