//! Reads a file, or some of its chunks, and makes their hashes.
//!
//! Reads, never maps: a file that shrinks meanwhile is an error then, not a
//! signal.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shoal_common::content::{ChunkHasher, Geometry, Manifest, SubtreeHash};

use super::{HashError, Work};
use crate::volume::{Listed, Stamp};

/// Bytes read at once: enough for the hash to run at full width, little enough
/// to stay in the cache of one core.
pub(super) const PIECE: usize = 256 * 1024;

/// How long a file must have been left alone before it is hashed. Longer than
/// the granularity of time stamps (4 ms on most systems), so that a change
/// after the hash always shows in the stamp.
pub(in super::super) const SETTLE: Duration = Duration::from_millis(200);

/// A file of which several threads hash a part each.
#[derive(Debug)]
pub(super) struct Large {
    listed: Listed,
    file: File,
    geometry: Geometry,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hashes: Vec<SubtreeHash>,
    /// Chunks that nobody has finished.
    left: u32,
    /// Why there will be no manifest.
    trouble: Option<HashError>,
}

impl Large {
    /// Opens a file that has not changed since it was listed.
    pub(super) fn open(work: &Work<'_>, listed: &Listed) -> Result<Self, HashError> {
        let (file, geometry) = open(work, listed)?;
        let left = geometry.chunks();
        let hashes = vec![[0; 32]; usize::try_from(left).unwrap_or_default()];
        let state = Mutex::new(State { hashes, left, trouble: None });
        Ok(Self { listed: listed.clone(), file, geometry, state })
    }

    pub(super) fn listed(&self) -> &Listed {
        &self.listed
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Hashes some of its chunks; what became of the file, if these were the
    /// last.
    pub(super) fn hash(
        &self,
        work: &Work<'_>,
        chunks: Range<u32>,
        buffer: &mut [u8],
    ) -> Option<Result<Manifest, HashError>> {
        let in_vain = self.state().trouble.is_some();
        let hashed =
            (!in_vain).then(|| hash(work, &self.file, self.geometry, chunks.clone(), buffer));
        let mut state = self.state();
        match hashed {
            Some(Ok(hashes)) => {
                let places = state.hashes.iter_mut().skip(chunks.start as usize);
                places.zip(hashes).for_each(|(place, hash)| *place = hash);
            }
            Some(Err(error)) => state.trouble = Some(error),
            None => {}
        }
        state.left = state.left.saturating_sub(chunks.end - chunks.start);
        if state.left > 0 {
            return None;
        }
        let hashes = std::mem::take(&mut state.hashes);
        Some(match state.trouble.take() {
            Some(error) => Err(error),
            None => finish(&self.file, &self.listed, self.geometry, hashes),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Whole after each of the statements under its lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hashes all of a file.
pub(super) fn whole(
    work: &Work<'_>,
    listed: &Listed,
    buffer: &mut [u8],
) -> Result<Manifest, HashError> {
    let (file, geometry) = open(work, listed)?;
    let hashes = hash(work, &file, geometry, 0..geometry.chunks(), buffer)?;
    finish(&file, listed, geometry, hashes)
}

fn open(work: &Work<'_>, listed: &Listed) -> Result<(File, Geometry), HashError> {
    if is_fresh(listed.stamp.mtime_ns) {
        return Err(HashError::Changing);
    }
    let geometry = Geometry::of(listed.stamp.size)?;
    let (file, stamp) = work.volume.open_stamped(&listed.name)?;
    if stamp != listed.stamp {
        return Err(HashError::Changing);
    }
    Ok((file, geometry))
}

fn finish(
    file: &File,
    listed: &Listed,
    geometry: Geometry,
    hashes: Vec<SubtreeHash>,
) -> Result<Manifest, HashError> {
    if Stamp::of(file)? != listed.stamp {
        return Err(HashError::Changing);
    }
    Manifest::from_hashes(geometry, hashes).ok_or(HashError::Changing)
}

/// The hashes of some chunks.
fn hash(
    work: &Work<'_>,
    file: &File,
    geometry: Geometry,
    chunks: Range<u32>,
    buffer: &mut [u8],
) -> Result<Vec<SubtreeHash>, HashError> {
    let mut hashes = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let mut hasher = ChunkHasher::new(geometry, chunk);
        let Range { start: mut position, end } = geometry.range(chunk);
        while position < end {
            if work.stop.is_cancelled() {
                return Err(HashError::Stopped);
            }
            let left = usize::try_from(end - position).unwrap_or(usize::MAX);
            let piece = buffer.get_mut(..left.min(PIECE)).unwrap_or_default();
            let read = read(file, piece, position, &mut hasher)?;
            work.progress.read(read);
            position += read;
        }
        hashes.push(hasher.finish().ok_or(HashError::Changing)?);
    }
    Ok(hashes)
}

/// Fills `piece` from the file and hashes it.
fn read(
    file: &File,
    piece: &mut [u8],
    position: u64,
    hasher: &mut ChunkHasher,
) -> Result<u64, HashError> {
    match file.read_exact_at(piece, position) {
        Ok(()) => {
            hasher.update(piece);
            Ok(piece.len() as u64)
        }
        // It shrank.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(HashError::Changing),
        Err(error) => Err(error.into()),
    }
}

/// Whether the file was written within the last moment. A time in the future
/// does not count: such a clock would never let it settle.
fn is_fresh(mtime_ns: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let age = i128::try_from(now).unwrap_or(i128::MAX) - i128::from(mtime_ns);
    (0..i128::try_from(SETTLE.as_nanos()).unwrap_or(0)).contains(&age)
}
