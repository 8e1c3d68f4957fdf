//! Bytes on their way in or out: what is at the front goes first.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{cmp, io};

use tokio::io::{AsyncRead, ReadBuf};

use crate::limits::MAX_READ;

/// Bytes in order. What has gone from the front is given back when room for
/// more is needed, so that taking many small pieces moves each byte once.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    gone: usize,
}

impl Buffer {
    /// What is in it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.gone..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Removes so many bytes from the front.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.gone += bytes;
        if self.is_empty() {
            self.bytes.clear();
            self.gone = 0;
            self.bytes.shrink_to(MAX_READ * 4);
        }
    }

    /// Moves bytes from the front to `into`, as many as there are or fit.
    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        let moved = self.len().min(into.len());
        if let (Some(into), Some(from)) = (into.get_mut(..moved), self.bytes().get(..moved)) {
            into.copy_from_slice(from);
        }
        self.consume(moved);
        moved
    }

    /// The place where something is put behind what is in it.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        if self.gone > 0 {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
        &mut self.bytes
    }

    /// Bytes of memory that it holds.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives its memory back while nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Reads once from `stream`, at most [`MAX_READ`] bytes; 0 at its end.
    ///
    /// The bytes come by way of the stack: who waits for some holds no memory for
    /// them.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        at_most: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; MAX_READ];
        let space = space.get_mut(..cmp::min(at_most, MAX_READ)).unwrap_or_default();
        let mut space = ReadBuf::uninit(space);
        ready!(Pin::new(stream).poll_read(context, &mut space))?;
        self.tail().extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }
}
