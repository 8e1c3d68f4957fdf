//! Reads a file and makes its manifest.

use std::io::{self, Read};

use shoal_common::content::{Geometry, Manifest, ManifestBuilder, SizeChanged, TooLarge};
use tokio_util::sync::CancellationToken;

use crate::volume::{Listed, Stamp, Volume};

/// Why a file has no manifest.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("it is changing")]
    Changing,
    #[error("the node is stopping")]
    Stopped,
}

impl From<SizeChanged> for HashError {
    fn from(_: SizeChanged) -> Self {
        Self::Changing
    }
}

/// Bytes read at once: enough for the hash to run at full width, little enough
/// to stay in the cache of one core.
const PIECE: usize = 256 * 1024;

/// Reads all of a file. Reads, never maps: a file that shrinks meanwhile is an
/// error then, not a signal.
pub(super) fn hash(
    volume: &Volume,
    listed: &Listed,
    stop: &CancellationToken,
) -> Result<Manifest, HashError> {
    let mut file = volume.open_shared(&listed.name)?;
    if Stamp::of(&file)? != listed.stamp {
        return Err(HashError::Changing);
    }
    let mut builder = ManifestBuilder::new(Geometry::of(listed.stamp.size)?);
    let mut piece = vec![0; PIECE];
    loop {
        if stop.is_cancelled() {
            return Err(HashError::Stopped);
        }
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => builder.update(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let manifest = builder.finish()?;
    if Stamp::of(&file)? != listed.stamp {
        return Err(HashError::Changing);
    }
    Ok(manifest)
}
