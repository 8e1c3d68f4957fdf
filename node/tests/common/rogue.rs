//! An owner that misbehaves.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::content::{Manifest, Tail, UncheckedManifest};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{IDLE_DEADLINE, MAX_REQUEST_FRAME, MAX_TRANSFER_FRAME};
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::transfer::{ByteRange, TransferReply, TransferRequest};
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::{manifest_of, party, peer};

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: an honest owner that can be slowed down.
    None,
    /// Wrong bytes in every chunk.
    WrongBytes,
    /// Wrong bytes in the first chunk that is asked of it, then right ones.
    WrongOnce,
    /// A manifest with a wrong hash.
    LyingManifest,
    /// The right hashes, and so many bytes more or fewer than there are.
    LyingSize(i64),
    /// The same, with the end of the content as a proof.
    LyingSizeProved(i64),
    /// The manifest of another content.
    OtherManifest,
    /// Accepts and never answers a request for chunks.
    Silent,
    /// Never answers anything.
    Mute,
    /// A byte a second.
    Drip,
    /// Half a chunk, then nothing.
    Stall,
    /// Half a chunk, then the end.
    HangUp,
    /// Another range than the one that was asked for.
    OtherRange,
    /// Refuses.
    Refuse(Refusal),
    /// Garbage in place of a reply.
    Garbage,
    /// A frame of 4 GiB.
    Giant,
}

pub struct Rogue {
    pub peer: Peer,
    /// How often chunks were asked of it, and how often it was called.
    pub asked: Arc<AtomicUsize>,
    pub called: Arc<AtomicUsize>,
    tasks: Tasks,
}

#[derive(Clone)]
struct Script {
    content: Arc<Vec<u8>>,
    manifest: Arc<Manifest>,
    fault: Fault,
    /// Pause before each chunk.
    pause: Duration,
    asked: Arc<AtomicUsize>,
}

impl Rogue {
    pub async fn start(name: &str, content: &[u8], fault: Fault) -> Self {
        Self::slow(name, content, fault, Duration::ZERO).await
    }

    pub async fn slow(name: &str, content: &[u8], fault: Fault, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let id = NodeId::random();
        let peer = peer(name, id, &listener);
        let tasks = Tasks::new(Handle::current());
        let (asked, called) = (Arc::default(), Arc::<AtomicUsize>::default());
        let script = Script {
            content: Arc::new(content.to_vec()),
            manifest: Arc::new(manifest_of(content)),
            fault,
            pause,
            asked: Arc::clone(&asked),
        };
        let calls = Arc::clone(&called);
        let accept =
            serve(listener, party(id), &[Talk::Transfer], 100, tasks.clone(), move |mut guest| {
                calls.fetch_add(1, Ordering::Relaxed);
                let script = script.clone();
                async move { script.play(&mut guest.connection).await }
            });
        tasks.spawn(tracing::Span::none(), accept);
        Self { peer, asked, called, tasks }
    }

    pub async fn kill(&self) {
        self.tasks.stop(super::PATIENCE).await.unwrap();
    }
}

type Wire = Connection<TcpStream>;

impl Script {
    async fn play(&self, wire: &mut Wire) -> Result<(), ConnectionError> {
        loop {
            match wire.receive(MAX_REQUEST_FRAME, IDLE_DEADLINE).await? {
                TransferRequest::Manifest { .. } => self.manifest(wire).await?,
                TransferRequest::Chunks { ranges, .. } => {
                    for range in ranges {
                        let nth = self.asked.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(self.pause).await;
                        self.chunk(wire, range, nth).await?;
                    }
                }
                // As one that is older does.
                TransferRequest::Have { .. } => {
                    let refusal = Refusal::Unsupported;
                    wire.send(&TransferReply::Refused { refusal }, MAX_TRANSFER_FRAME).await?;
                }
                other => panic!("not expected: {other:?}"),
            }
        }
    }

    async fn manifest(&self, wire: &mut Wire) -> Result<(), ConnectionError> {
        let mut manifest = UncheckedManifest::from(self.manifest.as_ref());
        match self.fault {
            Fault::Mute => std::future::pending().await,
            Fault::LyingManifest => manifest.hashes[7] ^= 1,
            Fault::LyingSize(more) => manifest.size = manifest.size.wrapping_add_signed(more),
            Fault::LyingSizeProved(more) => {
                manifest.tail = self.tail();
                manifest.size = manifest.size.wrapping_add_signed(more);
            }
            Fault::OtherManifest => {
                manifest = UncheckedManifest::from(&manifest_of(b"another content"));
            }
            _ => {}
        }
        wire.send(&TransferReply::Manifest(manifest), MAX_TRANSFER_FRAME).await
    }

    /// What proves the true size.
    fn tail(&self) -> Option<Tail> {
        let at = |place: u64| usize::try_from(place).unwrap();
        let read = |range: Range<u64>, take: &mut dyn FnMut(&[u8])| {
            take(&self.content[at(range.start)..at(range.end)]);
            Ok::<_, Infallible>(())
        };
        Tail::of(self.manifest.geometry(), read).unwrap()
    }

    async fn chunk(
        &self,
        wire: &mut Wire,
        range: ByteRange,
        nth: usize,
    ) -> Result<(), ConnectionError> {
        let from = usize::try_from(range.offset).unwrap();
        let length = usize::try_from(range.length).unwrap();
        let mut bytes = self.content[from..(from + length).min(self.content.len())].to_vec();
        bytes.resize(length, 0);
        let mut announced = range;
        match self.fault {
            Fault::WrongBytes => bytes[length / 2] ^= 1,
            Fault::WrongOnce if nth == 0 => bytes[length / 2] ^= 1,
            Fault::Silent | Fault::Mute => std::future::pending().await,
            Fault::OtherRange => announced.offset += 1,
            Fault::Refuse(refusal) => {
                return wire.send(&TransferReply::Refused { refusal }, MAX_TRANSFER_FRAME).await;
            }
            Fault::Garbage => {
                let time = [0; 8];
                let frame = [&[0, 0, 0, 3][..], &time, &[1, 2, 3]].concat();
                return Ok(wire.stream().write_all(&frame).await?);
            }
            Fault::Giant => return Ok(wire.stream().write_all(&[0xff; 64]).await?),
            _ => {}
        }
        wire.send(&TransferReply::Bytes(announced), MAX_TRANSFER_FRAME).await?;
        let stream = wire.stream();
        match self.fault {
            Fault::Drip => loop {
                stream.write_all(&bytes[..1]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            },
            Fault::Stall => {
                stream.write_all(&bytes[..length / 2]).await?;
                std::future::pending().await
            }
            Fault::HangUp => {
                stream.write_all(&bytes[..length / 2]).await?;
                Err(ConnectionError::Closed)
            }
            _ => Ok(stream.write_all(&bytes).await?),
        }
    }
}
