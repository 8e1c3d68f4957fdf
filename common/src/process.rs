//! What a process asks of its system: signals, descriptors.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit codes of both programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused, or not found.
    Refused = 1,
    /// Failed.
    Failed = 2,
    /// Bad usage (`EX_USAGE` of sysexits.h).
    Usage = 64,
    /// Interrupted (128 + SIGINT).
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The signals that ask a process to end: SIGINT, SIGTERM and SIGHUP (its
/// terminal is gone).
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl StopSignals {
    /// Takes these signals over from the system's default.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal; its name. Safe to cancel.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

/// Raises the limit of open descriptors to what the system allows this
/// process, and returns it. A server of many connections needs more than the
/// usual soft limit of 1024, which exists for programs that use `select`.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, wanted).is_ok() {
        limit.maximum.unwrap_or(u64::MAX)
    } else {
        limit.current.unwrap_or(u64::MAX)
    }
}

/// Connections that each of `ports` may have at once so that the descriptors of
/// this process suffice: an equal part of what is left beside a `reserve`, at
/// least one and at most `bound`. What is beyond them waits in the kernel's
/// queue, where it costs no descriptor. Raises the limit of descriptors first.
pub fn connections(bound: usize, ports: usize, reserve: usize) -> usize {
    part(raise_descriptor_limit(), bound, ports, reserve)
}

fn part(descriptors: u64, bound: usize, ports: usize, reserve: usize) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    (descriptors.saturating_sub(reserve) / ports.max(1)).clamp(1, bound.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        assert_eq!(part(1024, 4096, 1, 64), 960);
        assert_eq!(part(1024, 4096, 2, 64), 480);
        assert_eq!(part(3, 4096, 2, 64), 1);
        assert_eq!(part(u64::MAX, 4096, 2, 64), 4096);
    }
}
