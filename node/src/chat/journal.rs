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

/// Bytes in front of a record: its length (`u32`, big endian), the beginning of the
/// length's hash, and that of the record's. A length that is damaged is told from a
/// record that is cut off by a hash of its own.
#[cfg(test)]
const HEAD: usize = 4 + LENGTH_SUM + SUM;

/// Bytes of the hash of a length that are kept.
const LENGTH_SUM: usize = 4;

/// Bytes of the hash that are kept.
const SUM: usize = 8;

/// How a file of records ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole record.
    Whole,
    /// Within a record: the process ended, or the disk was full, while it was
    /// being written. `write` had not returned, so nobody counts on it.
    Cut,
    /// With what never was a record.
    Damaged,
}

/// A file of records of one kind.
#[derive(Debug)]
pub(super) struct Journal<R> {
    name: &'static str,
    file: File,
    /// Its size in bytes.
    size: u64,
    /// Whether `file` has no name any more, and nothing may be added to it.
    is_replaced: bool,
    kind: PhantomData<fn(R)>,
}

impl<R: Serialize + DeserializeOwned> Journal<R> {
    /// Opens a journal and reads what is whole at its front. Where it does not end
    /// with a whole record, it is to be [replaced](Self::replace) before anything is
    /// added; until then the file is as it was found.
    ///
    /// # Errors
    /// It can't be read, or opened for writing.
    pub(super) fn open(dir: &ChatDir, name: &'static str) -> io::Result<(Self, Vec<R>, End)> {
        let bytes = dir.read(name)?;
        let (records, whole, end) = decode(&bytes);
        let file = dir.append(name)?;
        let size = whole as u64;
        Ok((Self { name, file, size, is_replaced: false, kind: PhantomData }, records, end))
    }

    /// Adds records.
    ///
    /// # Errors
    /// They can't be written. What was written of them is taken back; where that
    /// fails, too, the journal ends within a record.
    pub(super) fn add<'a>(&mut self, records: impl IntoIterator<Item = &'a R>) -> io::Result<()>
    where
        R: 'a,
    {
        if self.is_replaced {
            return Err(io::Error::other("the file was replaced, and could not be opened anew"));
        }
        let bytes = encode(records)?;
        if let Err(error) = self.file.write_all(&bytes) {
            self.file.set_len(self.size).ok();
            return Err(error);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Has these records instead of all before.
    ///
    /// # Errors
    /// They can't be written; those before stay then, and others can be added to
    /// them.
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
        self.is_replaced = true;
        self.file = dir.append(self.name)?;
        (self.size, self.is_replaced) = (bytes.len() as u64, false);
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

fn sum<const SIZE: usize>(body: &[u8]) -> [u8; SIZE] {
    let hash = *blake3::hash(body).as_bytes();
    let mut sum = [0; SIZE];
    sum.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    sum
}

fn encode<'a, R: Serialize + 'a>(records: impl IntoIterator<Item = &'a R>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in records {
        let body = rmp_serde::to_vec_named(record).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let length = length.to_be_bytes();
        bytes.extend(length);
        bytes.extend(sum::<LENGTH_SUM>(&length));
        bytes.extend(sum::<SUM>(&body));
        bytes.extend(body);
    }
    Ok(bytes)
}

/// The records at the front that are whole, how many bytes those take, and what
/// comes behind them.
fn decode<R: DeserializeOwned>(bytes: &[u8]) -> (Vec<R>, usize, End) {
    let mut records = Vec::new();
    let mut rest = bytes;
    let end = loop {
        if rest.is_empty() {
            break End::Whole;
        }
        let (body, after) = match split(rest) {
            Ok(parts) => parts,
            Err(end) => break end,
        };
        let Ok(record) = rmp_serde::from_slice(body) else { break End::Damaged };
        records.push(record);
        rest = after;
    };
    (records, bytes.len() - rest.len(), end)
}

/// The first record's body, and what follows it; or how the file ends instead.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), End> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(End::Cut)?;
    let (sum_of_length, rest) = rest.split_first_chunk::<LENGTH_SUM>().ok_or(End::Cut)?;
    if *sum_of_length != sum(length) {
        return Err(End::Damaged);
    }
    let (sum_of_body, rest) = rest.split_first_chunk::<SUM>().ok_or(End::Cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| End::Damaged)?;
    let (body, after) = rest.split_at_checked(length).ok_or(End::Cut)?;
    if *sum_of_body != sum(body) {
        return Err(End::Damaged);
    }
    Ok((body, after))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::volume::Volume;

    #[test]
    fn what_was_written_is_there_and_half_a_record_is_told_from_damage() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        let dir = volume.chat().unwrap();
        let (mut journal, records, end) = Journal::<u64>::open(&dir, "test").unwrap();
        assert_eq!((records, end), (vec![], End::Whole));
        journal.add(&[1, 2]).unwrap();
        journal.add(&[3]).unwrap();
        let path = Volume::state_path(folder.path()).join("chat/test");
        let whole = fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (mut journal, records, end) = Journal::<u64>::open(&dir, "test").unwrap();
            assert!(records.len() <= 3 && records.iter().zip(1..).all(|(a, b)| *a == b));
            let expected = if length % (HEAD + 1) == 0 { End::Whole } else { End::Cut };
            assert_eq!(end, expected, "{length}");
            assert_eq!(fs::read(&path).unwrap().len(), length, "reading changes nothing");
            journal.replace(&dir, &records).unwrap();
            journal.add(&[9]).unwrap();
            let (_, again, end) = Journal::<u64>::open(&dir, "test").unwrap();
            assert_eq!((again.last(), end), (Some(&9), End::Whole));
            assert_eq!(again.len(), records.len() + 1);
        }
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 1;
            fs::write(&path, &wrong).unwrap();
            let (_, records, end) = Journal::<u64>::open(&dir, "test").unwrap();
            let before: Vec<u64> = (1..).take(at / (HEAD + 1)).collect();
            assert_eq!((records, end), (before, End::Damaged), "{at}");
        }
    }

    /// Where [`a_process_that_may_write_little`] writes.
    const FOLDER_VARIABLE: &str = "SHOAL_JOURNAL_FOLDER";

    /// Not a test when it is run with the others: the next one starts it with a bound
    /// on the size of its files, which acts as a full disk does.
    #[test]
    fn a_process_that_may_write_little() {
        let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
        let volume = Volume::open(folder.as_ref()).unwrap();
        let dir = volume.chat().unwrap();
        let (mut journal, ..) = Journal::<String>::open(&dir, "test").unwrap();
        let record = "x".repeat(3000);
        let written = (0..100).take_while(|_| journal.add([&record]).is_ok()).count();
        assert!((1..100).contains(&written), "{written}");
        let (_, records, end) = Journal::<String>::open(&dir, "test").unwrap();
        assert_eq!((records, end), (vec![record; written], End::Whole));
    }

    #[test]
    fn a_full_disk_leaves_no_half_record() {
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let test = "chat::journal::tests::a_process_that_may_write_little";
        // The signal that would tell of the bound is ignored: `write` fails then.
        let status = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" --exact \"$1\""])
            .args([program.as_os_str(), test.as_ref()])
            .env(FOLDER_VARIABLE, folder.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&status.stdout);
        assert!(status.status.success() && told.contains("1 passed"), "{told}");
    }
}
