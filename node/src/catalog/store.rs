//! The index on disk, so that nothing is hashed twice.
//!
//! One MessagePack map, written whole. It is a memory of the disk, not a truth:
//! what is damaged or does not fit is forgotten and hashed again.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use shoal_common::content::{Manifest, UncheckedManifest};
use shoal_common::name::SharedName;

use super::index::{Index, Shared};
use crate::volume::{Stamp, Volume};

const FILE: &str = "index";

/// Raised when an old program would misread a new file, or the other way round.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Stored<F> {
    version: u32,
    /// The empty folders.
    folders: Vec<SharedName>,
    files: F,
}

#[derive(Serialize, Deserialize)]
struct StoredFile {
    name: SharedName,
    stamp: Stamp,
    executable: bool,
    manifest: UncheckedManifest,
}

/// One after the other, so that there is no second copy of all of them.
struct Files<'a>(&'a [Arc<Shared>]);

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|shared| StoredFile {
            name: shared.name.clone(),
            stamp: shared.stamp,
            executable: shared.executable,
            manifest: UncheckedManifest::from(shared.manifest.as_ref()),
        }))
    }
}

/// What was known the last time; an empty index if that can't be used.
pub(super) fn load(volume: &Volume) -> Index {
    let bytes = match volume.read_state(FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Index::default(),
        Err(error) => {
            tracing::warn!("cannot read the index, hashing everything again: {error}");
            return Index::default();
        }
    };
    decode(&bytes).unwrap_or_else(|reason| {
        tracing::warn!("cannot use the index, hashing everything again: {reason}");
        Index::default()
    })
}

fn decode(bytes: &[u8]) -> Result<Index, String> {
    let stored: Stored<Vec<StoredFile>> =
        rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!("it has version {}, not {VERSION}", stored.version));
    }
    let mut index = Index::default();
    for file in stored.files {
        // The tree of hashes is its own checksum.
        let manifest = Manifest::try_from(file.manifest).map_err(|error| error.to_string())?;
        index.insert(Shared {
            name: file.name,
            stamp: file.stamp,
            executable: file.executable,
            manifest: Arc::new(manifest),
        });
    }
    index.set_folders(stored.folders);
    Ok(index)
}

/// What is worth keeping of an index.
pub(super) struct Snapshot {
    files: Vec<Arc<Shared>>,
    folders: Vec<SharedName>,
}

impl Snapshot {
    /// Takes no time worth speaking of.
    pub(super) fn of(index: &Index) -> Self {
        let folders = index.folders().cloned().collect();
        Self { files: index.iter().cloned().collect(), folders }
    }

    /// The bytes to keep.
    pub(super) fn encode(self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        let files = Files(&self.files);
        rmp_serde::to_vec_named(&Stored { version: VERSION, folders: self.folders, files })
    }
}

/// Keeps the bytes of [`Snapshot::encode`].
pub(super) fn save(volume: &Volume, bytes: &[u8]) -> io::Result<()> {
    volume.write_state(FILE, bytes)
}

#[cfg(test)]
mod tests {
    use shoal_common::content::{FileId, Geometry, ManifestBuilder};

    use super::*;

    fn encode(index: &Index) -> Vec<u8> {
        Snapshot::of(index).encode().unwrap()
    }

    #[test]
    fn what_is_kept_is_known_again_and_damage_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let content = vec![7; 3_000_000];
        let mut builder = ManifestBuilder::new(Geometry::of(3_000_000).unwrap());
        builder.update(&content);
        let mut index = Index::default();
        index.insert(Shared {
            name: "a/b".parse().unwrap(),
            stamp: Stamp { size: 3_000_000, mtime_ns: -5, inode: 9 },
            executable: true,
            manifest: Arc::new(builder.finish().unwrap()),
        });
        index.set_folders(vec!["empty".parse().unwrap()]);
        save(&volume, &encode(&index)).unwrap();
        assert_eq!(load(&volume).folders().count(), 1);
        let known = load(&volume);
        let known = known.find(&FileId::of(&content)).unwrap();
        assert_eq!((known.name.as_str(), known.stamp.mtime_ns), ("a/b", -5));
        assert!(known.executable);

        let mut damaged = encode(&index);
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        for bytes in [&damaged[..], b"", b"\x01", &damaged[..last]] {
            save(&volume, bytes).unwrap();
            assert_eq!(load(&volume).totals(), (0, 0));
        }
    }
}
