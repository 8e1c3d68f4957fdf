//! Ranges of a shared file, mapped into memory and handed to the kernel.
//!
//! Invariant: mapped bytes are never read in user space. A file that somebody
//! truncates leaves pages behind that kill whoever touches them (SIGBUS), but
//! a system call that is given such a page fails with `EFAULT`, which is an
//! error like any other. So the only thing ever done with a mapping is to pass
//! it to `send(2)`; nothing here returns a slice of it.
//!
//! Windows are bounded, one at a time, so that a large file does not appear
//! as memory of this process.

// The one file that needs it: a mapping is a pointer, and `send` wants a slice.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::time::Instant;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use shoal_common::limits::MIB;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::pace::Pace;
use crate::volume::Stamp;

/// Size and alignment of a window, in bytes. Large enough that the owners of a
/// file, who each send every n-th chunk, stay in one window for several of
/// them; small beside the memory of any machine.
const WINDOW: u64 = 16 * MIB;

/// Why bytes were not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The file has become shorter, or its disk can't be read.
    #[error("the file shrank or can't be read any more")]
    Vanished,
    /// The other side takes the bytes too slowly, or not at all.
    #[error("the other side takes its bytes too slowly")]
    TooSlow,
    /// The connection broke.
    #[error(transparent)]
    Broken(io::Error),
}

/// A shared file of which ranges are sent.
#[derive(Debug)]
pub(super) struct MappedFile {
    file: File,
    stamp: Stamp,
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    start: u64,
    map: MmapRaw,
}

impl MappedFile {
    /// A file that is shared as it is now.
    ///
    /// # Errors
    /// The system can't tell its size.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let stamp = Stamp::of(&file)?;
        Ok(Self { file, stamp, window: None })
    }

    /// The stamp that the file had when it was opened.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether the file still is what it was when it was opened.
    pub(super) fn is_unchanged(&self) -> bool {
        Stamp::of(&self.file).is_ok_and(|now| now == self.stamp)
    }

    /// Sends the bytes of `range`, which must lie within the size in
    /// [`MappedFile::stamp`], without reading them.
    ///
    /// # Errors
    /// See [`SendError`]; some of the bytes may have been sent.
    pub(super) async fn send(
        &mut self,
        to: &TcpStream,
        range: Range<u64>,
    ) -> Result<(), SendError> {
        let mut pace = Pace::new(Instant::now());
        let mut position = range.start;
        while position < range.end {
            let window = self.window(position).map_err(|_| SendError::Vanished)?;
            let send = to.async_io(Interest::WRITABLE, || window.send(to, position..range.end));
            let sent = match timeout(pace.patience(Instant::now()), send).await {
                Ok(Ok(0)) => return Err(SendError::Vanished),
                Ok(Ok(sent)) => sent,
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::FAULT.raw_os_error()) => {
                    return Err(SendError::Vanished);
                }
                Ok(Err(error)) => return Err(SendError::Broken(error)),
                Err(_) => return Err(SendError::TooSlow),
            };
            pace.moved(sent, Instant::now());
            position += sent as u64;
        }
        Ok(())
    }

    /// The window that has this position.
    fn window(&mut self, position: u64) -> io::Result<&Window> {
        let start = position - position % WINDOW;
        let window = match self.window.take().filter(|window| window.start == start) {
            Some(window) => window,
            None => Window::map(&self.file, start..(start + WINDOW).min(self.stamp.size))?,
        };
        Ok(self.window.insert(window))
    }
}

impl Window {
    fn map(file: &File, range: Range<u64>) -> io::Result<Self> {
        let length = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        let map = MmapOptions::new().offset(range.start).len(length).map_raw_read_only(file)?;
        // Advice: without it the file is sent as well, only slower.
        map.advise(Advice::Sequential).ok();
        Ok(Self { start: range.start, map })
    }

    /// Gives the kernel as much of `range` as this window has and the socket
    /// takes; the number of bytes that it took.
    fn send(&self, to: &TcpStream, range: Range<u64>) -> io::Result<usize> {
        let within = |position: u64| {
            let offset = position.saturating_sub(self.start);
            usize::try_from(offset).unwrap_or(usize::MAX).min(self.map.len())
        };
        let (from, until) = (within(range.start), within(range.end));
        // SAFETY: `from <= until <= map.len()`, so this is within one mapping,
        // which `self` keeps alive for the time of the call. Another
        // process may change or shrink the file meanwhile, which a slice does
        // not allow for; what is relied on is that no byte of it is ever read
        // in user space: pointer and length go to `send(2)`, and the kernel
        // checks each page as it copies.
        let bytes = unsafe {
            let start = self.map.as_ptr().add(from);
            std::slice::from_raw_parts(start, until.saturating_sub(from))
        };
        Ok(send(to, bytes, SendFlags::NOSIGNAL)?)
    }
}
