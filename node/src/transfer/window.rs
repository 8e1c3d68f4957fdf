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

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::net::{SendFlags, send};
use shoal_common::limits::MIB;
use tokio::net::TcpStream;

/// Size and alignment of a window, in bytes. Large enough that the owners of a
/// file, who each send every n-th chunk, stay in one window for several of
/// them; small beside the memory of any machine.
const WINDOW: u64 = 16 * MIB;

/// The part of a file that is mapped now.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    start: u64,
    map: MmapRaw,
}

impl Mapped {
    /// Gives the kernel as much of `range` as a window has and the socket takes;
    /// the number of bytes that it took. The range lies within `size`; the file
    /// is the same in every call.
    ///
    /// # Errors
    /// Those of the socket; `EFAULT` if the file has become shorter, or its disk
    /// can't be read.
    pub(super) fn send(
        &mut self,
        file: &File,
        size: u64,
        to: &TcpStream,
        range: Range<u64>,
    ) -> io::Result<usize> {
        let start = range.start - range.start % WINDOW;
        let window = match self.window.take().filter(|window| window.start == start) {
            Some(window) => window,
            None => Window::map(file, start..(start + WINDOW).min(size))?,
        };
        self.window.insert(window).send(to, range)
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
