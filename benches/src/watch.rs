//! What a process holds of memory and descriptors, looked at again and again.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::failure::{Failure, Outcome};

/// Between two looks.
const TICK: Duration = Duration::from_millis(2);

/// The most that was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peak {
    /// Resident memory that belongs to no file, in KiB.
    pub anonymous: u64,
    /// All resident memory, as the kernel counts its peak, pages of files
    /// included, in KiB; since the process began.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Looks at a process until it is asked what it saw.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Peak>,
}

impl Watch {
    /// Begins to look.
    pub fn start(process: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = Peak::default();
            while !until.load(Ordering::Relaxed) {
                peak.look(process);
                thread::sleep(TICK);
            }
            peak
        });
        Self { stop, thread }
    }

    /// Ends, and tells what was seen.
    ///
    /// # Errors
    /// The process was not there.
    pub fn end(self) -> Outcome<Peak> {
        self.stop.store(true, Ordering::Relaxed);
        let peak = self.thread.join().map_err(|_| Failure::new("a thread panicked"))?;
        if peak.resident == 0 {
            return Err(Failure::new("the process was gone before it was looked at"));
        }
        Ok(peak)
    }
}

impl Peak {
    fn look(&mut self, process: u32) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        self.anonymous = self.anonymous.max(kib(&status, "RssAnon:"));
        self.resident = self.resident.max(kib(&status, "VmHWM:"));
        let open = fs::read_dir(format!("/proc/{process}/fd"));
        self.descriptors = self.descriptors.max(open.map_or(0, |open| open.count() as u64));
    }
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::until;

    #[test]
    fn sees_what_this_process_takes() {
        let watch = Watch::start(std::process::id());
        let block = vec![1_u8; 64 << 20];
        let mut now = Peak::default();
        until("a look", Duration::from_secs(10), || {
            now.look(std::process::id());
            Ok(now.anonymous > 60 << 10)
        })
        .unwrap();
        thread::sleep(TICK * 50);
        drop(block);
        let peak = watch.end().unwrap();
        assert!(peak.anonymous > 60 << 10 && peak.resident >= peak.anonymous, "{peak:?}");
        assert!(peak.descriptors >= 3, "{peak:?}");
        assert!(Watch::start(u32::MAX).end().is_err());
    }
}
