//! Records on disk, one behind the other.
//!
//! A record is there when `write` has returned: a killed process loses nothing,
//! because the system has it. Nothing waits for the disk itself, so a loss of
//! power may cost the last ones; who needs to know that asks [`super::disk`].

use std::fs::File;
use std::io::{self, Write};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::volume::ChatDir;

/// Bytes in front of a record: its length (`u32`, big endian) and the beginning
/// of its hash.
const HEAD: usize = 4 + SUM;

/// Bytes of the hash that are kept.
const SUM: usize = 8;

/// A file of records of one kind.
#[derive(Debug)]
pub(super) struct Journal<R> {
    name: &'static str,
    file: File,
    /// Its size in bytes.
    size: u64,
    kind: PhantomData<fn(R)>,
}

impl<R: Serialize + DeserializeOwned> Journal<R> {
    /// Opens a journal and reads it. What was being written when the process
    /// ended is cut off; whether anything was.
    ///
    /// # Errors
    /// It can't be read, or written.
    pub(super) fn open(dir: &ChatDir, name: &'static str) -> io::Result<(Self, Vec<R>, bool)> {
        let bytes = dir.read(name)?;
        let (records, whole) = decode(&bytes);
        let is_torn = whole < bytes.len();
        if is_torn {
            dir.replace(name, bytes.get(..whole).unwrap_or_default())?;
        }
        let file = dir.append(name)?;
        Ok((Self { name, file, size: whole as u64, kind: PhantomData }, records, is_torn))
    }

    /// Adds records.
    ///
    /// # Errors
    /// They can't be written; the journal is of no use then.
    pub(super) fn add<'a>(&mut self, records: impl IntoIterator<Item = &'a R>) -> io::Result<()>
    where
        R: 'a,
    {
        let bytes = encode(records)?;
        self.file.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Has these records instead of all before.
    ///
    /// # Errors
    /// They can't be written; those before stay then.
    pub(super) fn replace<'a>(
        &mut self,
        dir: &ChatDir,
        records: impl IntoIterator<Item = &'a R>,
    ) -> io::Result<()>
    where
        R: 'a,
    {
        let bytes = encode(records)?;
        dir.replace(self.name, &bytes)?;
        self.file = dir.append(self.name)?;
        self.size = bytes.len() as u64;
        Ok(())
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Waits until the disk has it.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn sum(body: &[u8]) -> [u8; SUM] {
    let hash = *blake3::hash(body).as_bytes();
    let mut sum = [0; SUM];
    sum.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    sum
}

fn encode<'a, R: Serialize + 'a>(records: impl IntoIterator<Item = &'a R>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in records {
        let body = rmp_serde::to_vec_named(record).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(sum(&body));
        bytes.extend(body);
    }
    Ok(bytes)
}

/// The records at the front that are whole, and how many bytes those take.
fn decode<R: DeserializeOwned>(bytes: &[u8]) -> (Vec<R>, usize) {
    let mut records = Vec::new();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { break };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((expected, rest)) = rest.split_first_chunk::<SUM>() else { break };
        let Some(body) = rest.get(..length) else { break };
        if sum(body) != *expected {
            break;
        }
        let Ok(record) = rmp_serde::from_slice(body) else { break };
        records.push(record);
        at += HEAD + length;
    }
    (records, at)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::volume::Volume;

    #[test]
    fn what_was_written_is_there_and_half_a_record_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        let dir = volume.chat().unwrap();
        let (mut journal, records, is_torn) = Journal::<u64>::open(&dir, "test").unwrap();
        assert_eq!((records, is_torn), (vec![], false));
        journal.add(&[1, 2]).unwrap();
        journal.add(&[3]).unwrap();
        let path = Volume::state_path(folder.path()).join("chat/test");
        let whole = fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let (mut journal, records, is_torn) = Journal::<u64>::open(&dir, "test").unwrap();
            assert!(records.len() <= 3 && records.iter().zip(1..).all(|(a, b)| *a == b));
            assert_eq!(is_torn, end % (HEAD + 1) != 0, "{end}");
            journal.add(&[9]).unwrap();
            let (_, again, is_torn) = Journal::<u64>::open(&dir, "test").unwrap();
            assert_eq!((again.last(), is_torn), (Some(&9), false));
            assert_eq!(again.len(), records.len() + 1);
        }
        let mut wrong = whole;
        wrong[HEAD + 1 + 5] ^= 1;
        fs::write(&path, &wrong).unwrap();
        let (_, records, is_torn) = Journal::<u64>::open(&dir, "test").unwrap();
        assert_eq!((records, is_torn), (vec![1], true));
    }
}
