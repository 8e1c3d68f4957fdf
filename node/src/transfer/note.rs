//! What is noted beside the data of a download, so that it can go on after a
//! restart. It says what to fetch and under which name, never what is here
//! already: that is found out by hashing.

use std::io;

use serde::{Deserialize, Serialize};
use shoal_common::content::{FileId, Manifest, UncheckedManifest};

use super::job::Wanted;
use crate::volume::{PartialDir, Volume};

/// Raised when an old program would misread a new note.
const VERSION: u32 = 1;

/// Whether a download goes on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Course {
    /// It goes on when the node is started again.
    UnderWay,
    /// It was cancelled, or failed: it goes on when it is asked for again.
    Stopped,
}

/// A note about one download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    version: u32,
    /// What is wanted.
    pub(super) wanted: Wanted,
    /// Whether it goes on by itself.
    pub(super) course: Course,
    manifest: Option<UncheckedManifest>,
}

impl Note {
    /// A note about a download.
    pub(super) fn new(wanted: Wanted, course: Course, manifest: Option<&Manifest>) -> Self {
        Self { version: VERSION, wanted, course, manifest: manifest.map(UncheckedManifest::from) }
    }

    /// The manifest, if there is one and it fits the content.
    pub(super) fn manifest(&self) -> Option<Manifest> {
        let manifest = Manifest::try_from(self.manifest.clone()?).ok()?;
        (manifest.file() == self.wanted.file).then_some(manifest)
    }

    /// Writes the note, in place of an earlier one.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn write(&self, to: &PartialDir) -> io::Result<()> {
        let encoded = rmp_serde::to_vec_named(self).map_err(io::Error::other)?;
        to.write_note(&encoded)
    }

    /// The note about the download of this content; `None` if there is none
    /// that can be understood. A damaged note costs the name, not the data.
    pub(super) fn read(volume: &Volume, file: FileId) -> Option<Self> {
        if !volume.partials().ok()?.contains(&file) {
            return None;
        }
        let bytes = volume.partial(&file).and_then(|partial| partial.note()).ok()?;
        let note: Self = rmp_serde::from_slice(&bytes).ok()?;
        (note.version == VERSION && note.wanted.file == file).then_some(note)
    }

    /// Changes whether the download goes on by itself, if anything is noted.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn set_course(volume: &Volume, file: FileId, course: Course) -> io::Result<()> {
        match Self::read(volume, file) {
            Some(note) => Self { course, ..note }.write(&volume.partial(&file)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::Sources;
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let file = FileId::of(b"content");
        let name = "a/b.txt".parse().unwrap();
        let wanted = Wanted { name, file, size: 7, from: Sources::All };
        assert_eq!(Note::read(&volume, file), None);
        assert!(volume.partials().unwrap().is_empty(), "looking leaves nothing behind");
        let note = Note::new(wanted, Course::UnderWay, None);
        note.write(&volume.partial(&file).unwrap()).unwrap();
        assert_eq!(Note::read(&volume, file), Some(note.clone()));
        Note::set_course(&volume, file, Course::Stopped).unwrap();
        assert_eq!(Note::read(&volume, file).unwrap().course, Course::Stopped);
        for damaged in [&b""[..], b"\xc1", b"\x81\xa7version\x01"] {
            volume.partial(&file).unwrap().write_note(damaged).unwrap();
            assert_eq!(Note::read(&volume, file), None);
        }
        let newer = Note { version: VERSION + 1, ..note };
        newer.write(&volume.partial(&file).unwrap()).unwrap();
        assert_eq!(Note::read(&volume, file), None);
    }
}
