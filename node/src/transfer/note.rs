//! What is noted beside the data of a download: its manifest, so that what is
//! here can be told apart from what is missing without asking anyone. It never
//! says what is here already: that is found out by hashing.

use std::io;

use serde::{Deserialize, Serialize};
use shoal_common::content::{FileId, Manifest, UncheckedManifest};

use crate::volume::{PartialDir, Volume};

/// Raised when an old program would misread a new note.
const VERSION: u32 = 2;

/// A note about one content that is here in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    version: u32,
    file: FileId,
    manifest: UncheckedManifest,
}

impl Note {
    /// A note about the content of this manifest.
    pub(super) fn new(manifest: &Manifest) -> Self {
        Self { version: VERSION, file: manifest.file(), manifest: manifest.into() }
    }

    /// Writes the note, in place of an earlier one. Blocks.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn write(&self, to: &PartialDir) -> io::Result<()> {
        let encoded = rmp_serde::to_vec_named(self).map_err(io::Error::other)?;
        to.write_note(&encoded)
    }

    /// The manifest of this content, as it was noted; `None` if there is none
    /// that can be understood and fits. A damaged note costs a question to an
    /// owner, not the data. Blocks.
    pub(super) fn read(volume: &Volume, file: FileId) -> Option<Manifest> {
        if !volume.partials().ok()?.contains(&file) {
            return None;
        }
        let bytes = volume.partial(&file).and_then(|partial| partial.note()).ok()?;
        let note: Self = rmp_serde::from_slice(&bytes).ok()?;
        if note.version != VERSION || note.file != file {
            return None;
        }
        let manifest = Manifest::try_from(note.manifest).ok()?;
        (manifest.file() == file).then_some(manifest)
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::content::{Geometry, ManifestBuilder};

    use super::*;

    fn manifest_of(content: &[u8]) -> Manifest {
        let mut builder = ManifestBuilder::new(Geometry::of(content.len() as u64).unwrap());
        builder.update(content);
        builder.finish().unwrap()
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let manifest = manifest_of(&[7; 1_000_000]);
        let file = manifest.file();
        assert_eq!(Note::read(&volume, file), None);
        assert!(volume.partials().unwrap().is_empty(), "looking leaves nothing behind");
        let note = Note::new(&manifest);
        note.write(&volume.partial(&file).unwrap()).unwrap();
        assert_eq!(Note::read(&volume, file), Some(manifest));
        let other = Note::new(&manifest_of(b"other"));
        let newer = Note { version: VERSION + 1, ..note };
        for wrong in [other, newer] {
            wrong.write(&volume.partial(&file).unwrap()).unwrap();
            assert_eq!(Note::read(&volume, file), None);
        }
        for damaged in [&b""[..], b"\xc1", b"\x81\xa7version\x01"] {
            volume.partial(&file).unwrap().write_note(damaged).unwrap();
            assert_eq!(Note::read(&volume, file), None);
        }
    }
}
