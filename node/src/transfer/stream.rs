//! A file that is read while it comes: verified bytes in order, none kept.
//!
//! The plan hands out no chunk beyond a horizon, which moves on as bytes are
//! read: so a reader that pauses pauses the download, and memory is bounded by
//! [`WINDOW`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use shoal_common::content::Geometry;
use shoal_common::limits::MIB;
use tokio::sync::mpsc;

/// Bytes that may be here and not yet read: enough that owners at some hundred
/// megabytes a second need not wait for the reader's thread.
const WINDOW: u64 = 16 * MIB;

/// The writing end.
#[derive(Debug)]
pub(super) struct Stream {
    chunks: u32,
    out: mpsc::UnboundedSender<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The next chunk in order.
    next: u32,
    /// Chunks that came before it.
    early: BTreeMap<u32, Vec<u8>>,
}

/// How many chunks may be asked for when so many have been read.
pub(super) fn horizon(geometry: Geometry, read: u32) -> u32 {
    // Two at least: one comes in while the other is read.
    let window = u32::try_from(WINDOW / geometry.chunk_size()).unwrap_or(u32::MAX).max(2);
    read.saturating_add(window)
}

impl Stream {
    /// The two ends, for a file cut this way. What is in the channel is bounded
    /// by the horizon.
    pub(super) fn new(geometry: Geometry) -> (Self, mpsc::UnboundedReceiver<Vec<u8>>) {
        let (out, read) = mpsc::unbounded_channel();
        (Self { chunks: geometry.chunks(), out, state: Mutex::default() }, read)
    }

    /// Takes a verified chunk; whether all have been passed on with it.
    pub(super) fn write(&self, chunk: u32, bytes: &[u8]) -> bool {
        // Whole after each of the few statements under its lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.early.insert(chunk, bytes.to_vec());
        loop {
            let next = state.next;
            let Some(bytes) = state.early.remove(&next) else { break };
            state.next += 1;
            // Nobody reads any more: the download is being stopped.
            self.out.send(bytes).ok();
        }
        state.next >= self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_out_in_order_and_the_last_is_known() {
        let geometry = Geometry::of(MIB).unwrap();
        let (stream, mut read) = Stream::new(geometry);
        assert!(!stream.write(1, b"b"));
        assert!(read.try_recv().is_err());
        assert!(!stream.write(3, b"d"));
        assert!(!stream.write(0, b"a"));
        assert!(stream.write(2, b"c"));
        let mut all = Vec::new();
        while let Ok(bytes) = read.try_recv() {
            all.extend(bytes);
        }
        assert_eq!(all, b"abcd");
    }

    #[test]
    fn the_horizon_is_bounded_and_never_none() {
        for size in [1, MIB, 1 << 40] {
            let geometry = Geometry::of(size).unwrap();
            let ahead = u64::from(horizon(geometry, 7) - 7);
            assert!(
                ahead >= 2
                    && ahead * geometry.chunk_size() <= WINDOW.max(2 * geometry.chunk_size())
            );
        }
    }
}
