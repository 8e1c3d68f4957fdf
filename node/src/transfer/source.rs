//! What a guest is served from: a shared file, or the chunks of a download that
//! is still under way.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use shoal_common::content::{FileId, Manifest, Tail};
use shoal_common::limits::MIB;
use shoal_common::name::SharedName;
use shoal_common::protocol::refusal::Refusal;
use tracing::{debug, warn};

use super::outlet::Outlet;
use crate::catalog::Catalog;
use crate::catalog::holding::Held;
use crate::catalog::index::Shared;
use crate::config::Io;
use crate::volume::{Stamp, Volume};

/// Longest last chunk that is read, and hashed, to prove the size to who asks for
/// a manifest, in bytes: in the time of one more message. Of larger files, from 64
/// GiB on, the chunk itself has to prove it.
const LONGEST_TAIL: u64 = 4 * MIB;

/// Bytes of it that are read at once.
const PIECE: usize = 128 * 1024;

/// What is here of a content, as the catalog knows it.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// All of it, in a shared file.
    Whole(Arc<Shared>),
    /// Some chunks.
    Part(Arc<Held>),
}

impl Known {
    /// What is here of a content, if anything.
    pub(super) fn find(catalog: &Catalog, file: &FileId) -> Option<Self> {
        // In this order: a download is shared before it ceases to be held.
        let part = || catalog.holdings().find(file).map(Self::Part);
        catalog
            .find(file)
            .map(Self::Whole)
            .or_else(part)
            // It may have become whole between the two looks.
            .or_else(|| catalog.find(file).map(Self::Whole))
    }

    /// What it is.
    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        match self {
            Self::Whole(shared) => &shared.manifest,
            Self::Part(held) => held.manifest(),
        }
    }

    /// Its name here.
    pub(super) fn name(&self) -> &SharedName {
        match self {
            Self::Whole(shared) => &shared.name,
            Self::Part(held) => held.name(),
        }
    }

    /// Whether both are the same file in the same state.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(one), Self::Whole(two)) => {
                Arc::ptr_eq(one, two) || (one.stamp == two.stamp && one.name == two.name)
            }
            (Self::Part(one), Self::Part(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

/// A content that is open.
#[derive(Debug)]
pub(super) struct Source {
    known: Known,
    outlet: Outlet,
}

impl Source {
    /// Opens what is known. Whether it still is what it was is not looked at
    /// before something of it is sent.
    ///
    /// # Errors
    /// [`Refusal::Changed`] if the file is not there, [`Refusal::Unreadable`] if
    /// it can't be read.
    pub(super) fn open(known: Known, volume: &Volume, io: Io) -> Result<Self, Refusal> {
        let opened = match &known {
            Known::Whole(shared) => volume.open_known(&shared.name),
            Known::Part(held) => held.file().try_clone(),
        };
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Refusal::Changed,
            _ => {
                warn!("`{}` can't be read: {error}", known.name());
                Refusal::Unreadable
            }
        })?;
        let size = known.manifest().geometry().size();
        Ok(Self { known, outlet: Outlet::new(file, size, io) })
    }

    /// Which content it is.
    pub(super) fn file(&self) -> FileId {
        self.known.manifest().file()
    }

    /// Whether all of it is here.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.known, Known::Whole(_))
    }

    /// Its size, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.known.manifest().geometry().size()
    }

    /// Whether this is what is known now.
    pub(super) fn is(&self, known: &Known) -> bool {
        self.known.is(known)
    }

    /// Whether all of these bytes are here.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        match &self.known {
            Known::Whole(_) => range.end <= self.size(),
            Known::Part(held) => held.covers(range),
        }
    }

    /// Whether the file still is what it was when it was hashed. One that is being
    /// written always is: its chunks are.
    pub(super) fn is_unchanged(&self) -> bool {
        let Known::Whole(shared) = &self.known else { return true };
        let is_same = Stamp::of(self.outlet.file()).is_ok_and(|now| now == shared.stamp);
        if !is_same {
            debug!("`{}` is not what it was", shared.name);
        }
        is_same
    }

    /// Reads bytes of the unchanged file.
    ///
    /// # Errors
    /// [`Refusal::Changed`] if it is not what it was, [`Refusal::Unreadable`] if
    /// it can't be read.
    pub(super) fn read(&self, into: &mut [u8], offset: u64) -> Result<(), Refusal> {
        let read = self.outlet.read(into, offset);
        // Looked at behind the reading: so nothing was changed before it.
        match read {
            _ if !self.is_unchanged() => Err(Refusal::Changed),
            Ok(()) => Ok(()),
            Err(error) => {
                warn!("`{}` can't be read: {error}", self.known.name());
                Err(Refusal::Unreadable)
            }
        }
    }

    /// What proves the size, if the last chunk is here and is not so long that to
    /// read it takes long.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub(super) fn tail(&self) -> Result<Option<Tail>, Refusal> {
        let geometry = self.known.manifest().geometry();
        let last = geometry.range(geometry.chunks().saturating_sub(1));
        if last.end - last.start > LONGEST_TAIL || !self.covers(&last) {
            return Ok(None);
        }
        let mut piece = vec![0; PIECE];
        Tail::of(geometry, |mut range, take| {
            while !range.is_empty() {
                let length = (range.end - range.start).min(PIECE as u64);
                let part = usize::try_from(length).ok().and_then(|length| piece.get_mut(..length));
                let part = part.unwrap_or_default();
                self.read(part, range.start)?;
                take(part);
                range.start += length;
            }
            Ok(())
        })
    }

    /// The way from it to a socket.
    pub(super) fn outlet(&mut self) -> &mut Outlet {
        &mut self.outlet
    }

    /// Its name here.
    pub(super) fn name(&self) -> &SharedName {
        self.known.name()
    }
}
