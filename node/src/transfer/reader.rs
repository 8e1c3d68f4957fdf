//! Reading a file while it is downloaded.

use tokio::sync::{mpsc, oneshot, watch};

use super::attempt::{Stop, Why};
use super::job::{JobInfo, JobState};

/// A file that comes in order, verified. Dropped, it is fetched no further.
#[derive(Debug)]
pub struct Reader {
    /// The chunks, once it is known how many there are.
    begun: Option<oneshot::Receiver<mpsc::UnboundedReceiver<Vec<u8>>>>,
    chunks: Option<mpsc::UnboundedReceiver<Vec<u8>>>,
    read: watch::Sender<u32>,
    info: watch::Receiver<JobInfo>,
    stop: Stop,
}

impl Reader {
    pub(super) fn new(
        begun: oneshot::Receiver<mpsc::UnboundedReceiver<Vec<u8>>>,
        read: watch::Sender<u32>,
        info: watch::Receiver<JobInfo>,
        stop: Stop,
    ) -> Self {
        Self { begun: Some(begun), chunks: None, read, info, stop }
    }

    /// The next bytes, or `None` at the end of the file. Owners are asked for
    /// no more than some megabytes ahead of what was read.
    ///
    /// # Errors
    /// Why the file can't be had; a phrase.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        if let Some(begun) = self.begun.take() {
            self.chunks = begun.await.ok();
        }
        let next = match &mut self.chunks {
            Some(chunks) => chunks.recv().await,
            None => None,
        };
        if let Some(bytes) = next {
            self.read.send_modify(|read| *read += 1);
            return Ok(Some(bytes));
        }
        // An error says that the task is gone: what it said last is the end.
        self.info.wait_for(|info| info.state.is_over()).await.ok();
        let info = self.info.borrow();
        match info.state {
            JobState::Done => Ok(None),
            _ => Err(info.reason.clone().unwrap_or_else(|| "it was stopped".to_owned())),
        }
    }

    /// How far it is.
    pub fn info(&self) -> JobInfo {
        self.info.borrow().clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.stop(Why::Cancel);
    }
}
