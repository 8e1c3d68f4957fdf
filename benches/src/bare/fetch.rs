//! The receiver: a thread a connection, each with a small buffer and its part
//! of the file.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use rustix::fs::{FallocateFlags, FsWord, fallocate, fstatfs};

use super::hashes::{CHUNK, Hashes};
use crate::failure::{Attempt, Failure, Outcome};

/// How the receiver works.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Connections to each owner.
    pub connections: u64,
    /// Bytes of the buffer of a connection; it divides a chunk.
    pub buffer: usize,
    /// Whether the file is on the disk, not only in its cache, at the end.
    pub sync: bool,
}

/// Fetches a file from its owners, a part over each connection, and verifies
/// every chunk.
///
/// # Errors
/// An owner breaks off or sends wrong bytes; the disk fails.
pub fn run(to: &Path, hashes: &Hashes, owners: &[SocketAddr], manner: Manner) -> Outcome<()> {
    let file = File::create(to).attempt(format!("`{}`", to.display()))?;
    if hashes.size > 0 && !is_in_memory(&file) {
        fallocate(&file, FallocateFlags::empty(), 0, hashes.size)?;
    }
    let parts = manner.connections * owners.len() as u64;
    let all = (0..parts).zip(owners.iter().cycle());
    thread::scope(|scope| {
        let threads: Vec<_> = all
            .map(|(part, &owner)| {
                let (file, range) = (&file, hashes.part(part, parts));
                scope.spawn(move || {
                    fetch(file, hashes, owner, range, manner.buffer)
                        .attempt(format!("from `{owner}`"))
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| Failure::new("a thread panicked"))?)
    })?;
    if manner.sync {
        file.sync_data()?;
    }
    Ok(())
}

/// Whether a file lies on a file system in memory: to reserve space there is to
/// clear all of it, which is not necessary.
fn is_in_memory(file: &File) -> bool {
    /// `TMPFS_MAGIC`, statfs(2).
    const TMPFS: FsWord = 0x0102_1994;
    fstatfs(file).is_ok_and(|stat| stat.f_type == TMPFS)
}

fn fetch(
    file: &File,
    hashes: &Hashes,
    owner: SocketAddr,
    range: Range<u64>,
    buffer: usize,
) -> Outcome<()> {
    let mut stream = TcpStream::connect(owner)?;
    let length = range.end - range.start;
    stream.write_all(&(u128::from(range.start) << 64 | u128::from(length)).to_be_bytes())?;
    let mut buffer = vec![0; buffer];
    let mut position = range.start;
    while position < range.end {
        let end = (position + CHUNK).min(range.end);
        let chunk = position / CHUNK;
        let mut hasher = blake3::Hasher::new();
        while position < end {
            let space = usize::try_from(end - position)?.min(buffer.len());
            let piece = buffer.get_mut(..space).unwrap_or_default();
            stream.read_exact(piece)?;
            hasher.update(piece);
            file.write_all_at(piece, position)?;
            position += piece.len() as u64;
        }
        if !hashes.accept(chunk, &hasher) {
            return Err(Failure::new(format!("chunk {chunk} came with wrong bytes")));
        }
    }
    Ok(())
}
