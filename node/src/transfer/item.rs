//! One file of a download: what is known of it, and where its bytes go.

use std::io;
use std::sync::{Arc, OnceLock};

use fixedbitset::FixedBitSet;
use shoal_common::content::{ChunkSet, FileId, Geometry, Manifest};
use shoal_common::name::SharedName;
use tokio::sync::mpsc;

use super::checklist::Row;
use super::plan::{ItemId, Offer};
use super::sink::Sink;
use super::stream::Stream;
use super::writer::Arrived;

/// Where the bytes of a file go.
#[derive(Debug)]
pub(super) enum Place {
    /// Chunk by chunk into a partial file.
    Partial(Sink),
    /// Whole, it has no more than one chunk, to who writes small files.
    Small(mpsc::WeakSender<Arrived>),
    /// In order, to who reads while it comes.
    Stream(Stream),
}

/// One file of a download.
#[derive(Debug)]
pub(super) struct Item {
    /// Its place in the download.
    pub(super) id: ItemId,
    /// Its content.
    pub(super) file: FileId,
    /// The name it shall have.
    pub(super) name: SharedName,
    /// Whether it may be executed.
    pub(super) executable: bool,
    ready: OnceLock<Ready>,
}

/// What is known once chunks can come.
#[derive(Debug)]
struct Ready {
    manifest: Arc<Manifest>,
    place: Place,
}

impl Item {
    /// A file of which no more is known than what its owners say.
    pub(super) fn new(id: ItemId, row: &Row) -> Arc<Self> {
        let executable = row.executable.unwrap_or(false);
        let ready = OnceLock::new();
        Arc::new(Self { id, file: row.file, name: row.name.clone(), executable, ready })
    }

    /// There is a place for its chunks; the first one counts.
    pub(super) fn ready(&self, manifest: Arc<Manifest>, place: Place) {
        self.ready.set(Ready { manifest, place }).ok();
    }

    /// Its manifest, once there is a place for its chunks.
    pub(super) fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.ready.get().map(|ready| &ready.manifest)
    }

    /// How it is cut, once there is a place for its chunks.
    pub(super) fn geometry(&self) -> Option<Geometry> {
        self.manifest().map(|manifest| manifest.geometry())
    }

    /// The partial file, if its bytes go to one.
    pub(super) fn sink(&self) -> Option<&Sink> {
        match self.place()? {
            Place::Partial(sink) => Some(sink),
            _ => None,
        }
    }

    /// Whether its chunks are here to be passed on before all of it is.
    pub(super) fn chunked(&self) -> bool {
        self.place().is_some_and(|place| !matches!(place, Place::Small(_)))
    }

    /// A small file with this content, on its way to who writes it.
    pub(super) fn arrived(&self, bytes: Vec<u8>) -> Option<Arrived> {
        let manifest = Arc::clone(self.manifest()?);
        let (item, name, executable) = (self.id, self.name.clone(), self.executable);
        Some(Arrived { item, name, executable, manifest, bytes })
    }

    /// Writes a chunk that has been verified and was not written before;
    /// whether that was the last one of a file that has to be published.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) async fn write(&self, chunk: u32, bytes: &[u8]) -> io::Result<bool> {
        match self.place() {
            Some(Place::Small(writer)) => {
                let arrived = self.arrived(bytes.to_vec());
                // Who writes is gone only with the download.
                if let (Some(writer), Some(arrived)) = (writer.upgrade(), arrived) {
                    writer.send(arrived).await.ok();
                }
                Ok(false)
            }
            _ => self.write_at_once(chunk, bytes),
        }
    }

    /// As [`Item::write`], for a file of which chunks can be had one by one.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn write_at_once(&self, chunk: u32, bytes: &[u8]) -> io::Result<bool> {
        match self.place() {
            Some(Place::Partial(sink)) => sink.write(chunk, bytes),
            Some(Place::Stream(stream)) => Ok(stream.write(chunk, bytes)),
            Some(Place::Small(_)) | None => Ok(false),
        }
    }

    fn place(&self) -> Option<&Place> {
        self.ready.get().map(|ready| &ready.place)
    }
}

/// What somebody offers who has these chunks of a file cut this way.
pub(super) fn offer(chunks: &ChunkSet, geometry: Geometry) -> Offer {
    let all = usize::try_from(geometry.chunks()).unwrap_or(usize::MAX);
    let mut has = FixedBitSet::with_capacity(all);
    has.extend(chunks.iter().filter_map(|chunk| usize::try_from(chunk).ok()).filter(|&c| c < all));
    if has.is_full() { Offer::All } else { Offer::Some(has) }
}
