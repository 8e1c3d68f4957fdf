//! A crowd that only listens: the reference for what telling it takes.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::links::Links;
use super::load::{Load, Look, Sampling};
use super::presence::{LATE, TICK};
use crate::failure::Outcome;

/// What came out.
#[derive(Debug)]
pub struct Told {
    /// Of the server.
    pub load: Load,
    /// Of this process.
    pub own: Load,
    /// Bytes that came.
    pub bytes: u64,
    /// Which part of the server's time is the kernel's work for receivers, if `perf`
    /// can tell.
    pub receiving: Option<f64>,
}

/// How long it runs before it counts.
const WARM: Duration = Duration::from_secs(3);

/// Connections that are opened between two looks at what came.
const TOGETHER: usize = 256;

/// Listens on `count` connections to `to`, whose process is given.
///
/// # Errors
/// A connection breaks.
pub fn run(to: SocketAddr, process: u32, count: usize, time: Duration) -> Outcome<Told> {
    let mut links = Links::new(count)?;
    for at in 0..count {
        links.open(at, to)?;
        if at % TOGETHER == 0 {
            listen(&mut links, Duration::ZERO)?;
        }
    }
    listen(&mut links, WARM)?;
    let (look, own) = (Look::at(process)?, Look::at(std::process::id())?);
    let bytes = listen(&mut links, time)?;
    let (load, own) = (look.since(process)?, own.since(std::process::id())?);
    let sampling = Sampling::start(process, LATE);
    listen(&mut links, LATE)?;
    Ok(Told { load, own, bytes, receiving: sampling.and_then(Sampling::share) })
}

/// Reads all that comes for so long, at least once; how many bytes it was.
fn listen(links: &mut Links, time: Duration) -> Outcome<u64> {
    let (end, mut ready, mut bytes) = (Instant::now() + time, Vec::new(), 0);
    loop {
        // As the other crowd does: see there.
        thread::sleep(TICK);
        links.wait(Duration::ZERO, &mut ready)?;
        for &at in &ready {
            links.read(at, |came| {
                bytes += came.len() as u64;
                Ok(came.len())
            })?;
        }
        if Instant::now() >= end {
            return Ok(bytes);
        }
    }
}
