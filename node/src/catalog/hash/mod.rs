//! Reads files and makes their manifests, on all cores.
//!
//! Chunks are independent of each other, so that a large file is hashed by
//! several threads as well as many small ones are. They have a low
//! priority and [give way](pace) to transfers.

mod pace;
mod progress;
mod queue;
mod read;

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use shoal_common::content::{Manifest, TooLarge};
use tokio_util::sync::CancellationToken;

use self::pace::{Pace, step_back};
use self::queue::{Portion, Queue, portions};
use self::read::{Large, PIECE, whole};
use crate::traffic::Traffic;
use crate::volume::{Listed, Volume};

pub(super) use progress::{Progress, Teller};
pub(super) use read::SETTLE;

/// Why a file has no manifest.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("it is changing")]
    Changing,
    /// It is known by now: a download that ended while the folder was looked at.
    #[error("it is known already")]
    Known,
    #[error("the node is stopping")]
    Stopped,
}

/// Most threads that hash: memory is no faster with more.
const MAX_THREADS: usize = 16;

/// How long new files are begun before the folder is looked at again: what
/// comes meanwhile must not wait for terabytes.
const ROUND: Duration = Duration::from_secs(10);

/// Longest time without a word to the one who waits for results.
const WORD: Duration = Duration::from_millis(200);

/// Portions whose results may wait. Threads wait with the next ones meanwhile.
const RESULTS: usize = 64;

/// What became of a file.
pub(super) type Hashed = (Listed, Result<Manifest, HashError>);

/// What the threads share.
pub(super) struct Work<'a> {
    volume: &'a Volume,
    stop: &'a CancellationToken,
    progress: &'a Progress,
    is_known: &'a (dyn Fn(&Listed) -> bool + Sync),
    pace: Pace,
}

impl<'a> Work<'a> {
    /// Reads files of `volume`, but for large ones that are known by then, and
    /// counts in `progress`, until told to `stop`; gives way to `traffic`.
    pub(super) fn new(
        volume: &'a Volume,
        traffic: &Traffic,
        progress: &'a Progress,
        is_known: &'a (dyn Fn(&Listed) -> bool + Sync),
        stop: &'a CancellationToken,
    ) -> Self {
        Self { volume, stop, progress, is_known, pace: Pace::new(traffic.clone()) }
    }

    /// Hashes the files and gives `take` what became of each, as it becomes
    /// known; `take` is called every now and then without any, too. Whether all
    /// were begun: after a while others are left for the next time.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn hash(
        &self,
        files: Vec<Listed>,
        mut take: impl FnMut(Vec<Hashed>),
    ) -> io::Result<bool> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = portions(&files).min(cores).min(MAX_THREADS);
        let until = Instant::now() + ROUND;
        let queue = Mutex::new(Queue::new(files));
        thread::scope(|scope| {
            let (results, hashed) = sync_channel(RESULTS);
            for thread in 0..threads {
                let (results, queue) = (results.clone(), &queue);
                let named = thread::Builder::new().name("hash".to_owned());
                let started = named.spawn_scoped(scope, move || self.run(queue, until, &results));
                match started {
                    Err(error) if thread == 0 => return Err(error),
                    // One is enough.
                    _ => {}
                }
            }
            drop(results);
            loop {
                match hashed.recv_timeout(WORD) {
                    Ok(hashed) => take(hashed),
                    Err(RecvTimeoutError::Timeout) => take(Vec::new()),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            Ok(())
        })?;
        let mut queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(queue.is_empty())
    }

    /// One thread: takes portions until there are no more.
    fn run(&self, queue: &Mutex<Queue<Large>>, until: Instant, results: &SyncSender<Vec<Hashed>>) {
        step_back();
        let mut buffer = vec![0; PIECE];
        let mut waiting = pace::Turns::new(Instant::now());
        loop {
            let portion = {
                let more = Instant::now() < until && !self.stop.is_cancelled();
                let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.next(more, |file| {
                    if (self.is_known)(file) {
                        return Err(HashError::Known);
                    }
                    let large = Large::open(self, file)?;
                    let geometry = large.geometry();
                    Ok((large, geometry))
                })
            };
            let Some(portion) = portion else { return };
            let hashed = self.pace.pass(&mut waiting, || self.portion(portion, &mut buffer));
            if !hashed.is_empty() && results.send(hashed).is_err() {
                return;
            }
        }
    }

    fn portion(&self, portion: Portion<Large>, buffer: &mut [u8]) -> Vec<Hashed> {
        match portion {
            Portion::Unreadable(file, error) => vec![(file, Err(error))],
            Portion::Chunks(large, chunks) => {
                let ended = large.hash(self, chunks, buffer);
                ended.map(|manifest| (large.listed().clone(), manifest)).into_iter().collect()
            }
            Portion::Files(files) => {
                let hash = |file: Listed| {
                    let manifest = whole(self, &file, buffer);
                    (file, manifest)
                };
                files.into_iter().map(hash).collect()
            }
        }
    }
}
