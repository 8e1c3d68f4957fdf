//! Where chunks land: the data of a partial download.
//!
//! Invariant: only whole, verified chunks are written, each at its place. What
//! was written before a crash is hashed again before it is believed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fixedbitset::FixedBitSet;
use rustix::fs::{
    FallocateFlags, FlockOperation, FsWord, SeekFrom, fallocate, flock, fstatfs, seek,
};
use rustix::io::Errno;
use shoal_common::content::{ChunkHasher, FileId, Geometry, Manifest};
use shoal_common::name::SharedName;
use tokio_util::sync::CancellationToken;

use super::note::Note;
use crate::catalog::holding::{Holding, Holdings};
use crate::volume::{PartialDir, Stamp, Volume};

/// Bytes read and hashed at once: they stay in the cache of one core.
const PIECE: usize = 256 * 1024;

/// Why a download can't be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SinkError {
    /// The disk is too full. Said before the first byte.
    #[error("not enough space: needs {needs} bytes, has {has}")]
    NoSpace {
        /// Bytes that are still to be allocated.
        needs: u64,
        /// Bytes that are free.
        has: u64,
    },
    /// The disk fails.
    #[error("the disk fails: {0}")]
    Disk(#[from] io::Error),
    /// A part of the name is a file, where a folder is needed.
    #[error("`{0}` is a file here, and would have to be a folder")]
    Blocked(String),
    /// Another download of this node writes the same content.
    #[error("another download fetches the same content")]
    Taken,
    /// The download was stopped meanwhile.
    #[error("stopped")]
    Stopped,
}

/// An open partial download. Others can fetch what is here of it.
#[derive(Debug)]
pub(super) struct Sink {
    data: File,
    geometry: Geometry,
    written: AtomicU64,
    holding: Holding,
}

impl Sink {
    /// Notes the download, reserves its space, and finds out which chunks are
    /// here already. Blocks, as long as it takes to hash them.
    ///
    /// # Errors
    /// See [`SinkError`]. What was there before is kept; what was not is not
    /// left behind.
    pub(super) fn open(
        volume: &Volume,
        holdings: &Holdings,
        name: &SharedName,
        manifest: &Arc<Manifest>,
        stop: &CancellationToken,
    ) -> Result<(Self, FixedBitSet), SinkError> {
        if stop.is_cancelled() {
            return Err(SinkError::Stopped);
        }
        if let Some(part) = volume.in_the_way(name) {
            return Err(SinkError::Blocked(part));
        }
        let partial = volume.partial(&manifest.file())?;
        let data = partial.data()?;
        match flock(&data, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(SinkError::Taken),
            // A file system without locks: who starts downloads looks, too.
            Err(_) => {}
        }
        let fresh = data.metadata()?.len() == 0;
        let noted = reserve(&partial, &data, manifest.geometry().size())
            .and_then(|()| Ok(Note::new(manifest).write(&partial)?));
        if let Err(error) = noted {
            if fresh {
                partial.discard()?;
            }
            return Err(error);
        }
        let chunks = manifest.geometry().chunks() as usize;
        let mut verified = FixedBitSet::with_capacity(chunks);
        if !fresh {
            find_verified(&data, manifest, stop, &mut verified)?;
        }
        let here = verified.ones().map(|chunk| length(manifest.geometry(), chunk)).sum();
        let written = AtomicU64::new(here);
        let shown = data.try_clone()?;
        let holding = holdings.begin(name.clone(), Arc::clone(manifest), shown, &verified);
        Ok((Self { data, geometry: manifest.geometry(), written, holding }, verified))
    }

    /// Writes a chunk that has been verified and was not written before; from
    /// then on others can have it. Whether it was the last one.
    ///
    /// The system lets one write to a file at a time and has the others spin: some
    /// 5 % of the processor time of a download from three owners on two cores.
    /// Tasks that took turns instead waited for each other: 0.14 s in place of
    /// 0.12 for 394 MB, 1.8 in place of 1.0 for 4 GiB.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn write(&self, chunk: u32, bytes: &[u8]) -> io::Result<bool> {
        self.data.write_all_at(bytes, self.geometry.range(chunk).start)?;
        self.holding.add(chunk);
        let length = bytes.len() as u64;
        let before = self.written.fetch_add(length, Ordering::AcqRel);
        Ok(before + length == self.geometry.size())
    }

    /// Verified bytes that are here.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Gives the complete file its name; returns the name it got and its stamp.
    /// Blocks.
    ///
    /// # Errors
    /// The disk fails, or the name can't be made.
    pub(super) fn publish(
        &self,
        volume: &Volume,
        file: &FileId,
        name: &SharedName,
        executable: bool,
    ) -> io::Result<(SharedName, Stamp)> {
        self.data.sync_data()?;
        let partial = volume.partial(file)?;
        if executable {
            partial.set_executable(true)?;
        }
        let name = partial.publish(name)?;
        Ok((name, Stamp::of(&self.data)?))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Who is served from it has the same open file, and may keep it for a
        // while: the next attempt need not wait for that.
        flock(&self.data, FlockOperation::Unlock).ok();
    }
}

/// Makes room for `size` bytes, so that a full disk is met before the first
/// byte and not in the middle.
fn reserve(partial: &PartialDir, data: &File, size: u64) -> Result<(), SinkError> {
    if data.metadata()?.len() > size {
        data.set_len(size)?;
    }
    // The system counts blocks of 512 bytes here, whatever the disk's are.
    let allocated = data.metadata()?.blocks().saturating_mul(512);
    let needs = size.saturating_sub(allocated);
    let has = partial.available()?;
    if needs > has {
        return Err(SinkError::NoSpace { needs, has });
    }
    if size == 0 {
        return Ok(());
    }
    if is_in_memory(data) {
        // To reserve memory is to clear all of it, page by page, before the
        // first byte. The comparison above has to do.
        return Ok(data.set_len(size)?);
    }
    match fallocate(data, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT) => {
            Err(SinkError::NoSpace { needs, has: partial.available()? })
        }
        // A file system that can't reserve: the comparison above has to do.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(data.set_len(size)?),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Whether a file lies on a file system in memory, which has no blocks to find.
fn is_in_memory(data: &File) -> bool {
    /// `TMPFS_MAGIC`, statfs(2).
    const TMPFS: FsWord = 0x0102_1994;
    fstatfs(data).is_ok_and(|stat| stat.f_type == TMPFS)
}

/// Hashes what is in `data` and marks the chunks that are right.
fn find_verified(
    data: &File,
    manifest: &Manifest,
    stop: &CancellationToken,
    verified: &mut FixedBitSet,
) -> Result<(), SinkError> {
    let mut piece = vec![0; PIECE];
    for chunk in 0..manifest.geometry().chunks() {
        if stop.is_cancelled() {
            return Err(SinkError::Stopped);
        }
        if !is_hole(data, manifest.geometry(), chunk)
            && is_verified(data, manifest, chunk, &mut piece)?
        {
            verified.insert(chunk as usize);
        }
    }
    Ok(())
}

/// Whether nothing was ever written to a chunk, as far as the file system can
/// tell: a reserved terabyte need not be hashed to know that it is empty.
fn is_hole(data: &File, geometry: Geometry, chunk: u32) -> bool {
    let range = geometry.range(chunk);
    match seek(data, SeekFrom::Data(range.start)) {
        Ok(next) => next >= range.end,
        Err(error) => error == Errno::NXIO,
    }
}

fn is_verified(
    data: &File,
    manifest: &Manifest,
    chunk: u32,
    piece: &mut [u8],
) -> Result<bool, SinkError> {
    let range = manifest.geometry().range(chunk);
    let mut hasher = ChunkHasher::new(manifest.geometry(), chunk);
    let mut position = range.start;
    while position < range.end {
        let wanted = usize::try_from(range.end - position).unwrap_or(PIECE).min(piece.len());
        let piece = piece.get_mut(..wanted).unwrap_or_default();
        data.read_exact_at(piece, position)?;
        hasher.update(piece);
        position += wanted as u64;
    }
    Ok(manifest.accepts(chunk, &hasher))
}

/// Whether the file with this name is this content. Blocks, until it is read or
/// told to `stop`.
pub(super) fn is_here(
    volume: &Volume,
    name: &SharedName,
    file: FileId,
    size: u64,
    stop: &CancellationToken,
) -> bool {
    let is_same = || -> io::Result<bool> {
        let mut opened = volume.open_shared(name)?;
        if opened.metadata()?.len() != size {
            return Ok(false);
        }
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE];
        while !stop.is_cancelled() {
            match opened.read(&mut piece)? {
                0 => return Ok(FileId::from_bytes(*hasher.finalize().as_bytes()) == file),
                read => hasher.update(piece.get(..read).unwrap_or_default()),
            };
        }
        Ok(false)
    };
    is_same().unwrap_or(false)
}

fn length(geometry: Geometry, chunk: usize) -> u64 {
    let range = geometry.range(u32::try_from(chunk).unwrap_or(u32::MAX));
    range.end - range.start
}
