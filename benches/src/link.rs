//! A link that is far or narrow: TCP connections passed on with a delay, or at
//! a bounded rate.
//!
//! What has come is kept as long as it is under way, without a bound: only the
//! round trip is far, the window of the path is not narrow. With a rate it is
//! the other way round: no more is taken than may be passed on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Attempt, Outcome};

/// What a link does to what goes over it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// How long each way takes.
    pub delay: Duration,
    /// Bytes a second each way and connection, if bounded.
    pub rate: Option<u32>,
}

/// Bytes read at once.
const BLOCK: usize = 256 * 1024;

/// Passes connections from one address to another until the process ends.
///
/// # Errors
/// The address can't be had.
pub fn start(listen: SocketAddr, to: SocketAddr, shape: Shape) -> Outcome<()> {
    let listener = TcpListener::bind(listen).attempt(format!("`{listen}`"))?;
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // The other end is not there: as if nobody listened here.
            let Ok(far) = TcpStream::connect(to) else { continue };
            if let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) {
                pass(near, far_too, shape);
                pass(far, near_too, shape);
            }
        }
    });
    Ok(())
}

/// One way of a connection.
fn pass(from: TcpStream, to: TcpStream, shape: Shape) {
    from.set_nodelay(true).ok();
    match shape.rate {
        None => {
            let (out, into) = channel();
            thread::spawn(move || take(&from, &out, shape.delay));
            thread::spawn(move || give(&to, &into));
        }
        Some(rate) => {
            thread::spawn(move || trickle(&from, &to, rate));
        }
    }
}

/// What has come, with the moment at which it is there.
type Parcel = (Instant, Vec<u8>);

fn take(mut from: &TcpStream, out: &Sender<Parcel>, delay: Duration) {
    let mut block = vec![0; BLOCK];
    while let Ok(read) = from.read(&mut block) {
        let bytes = block.get(..read).unwrap_or_default().to_vec();
        if out.send((Instant::now() + delay, bytes)).is_err() || read == 0 {
            break;
        }
    }
}

fn give(mut to: &TcpStream, into: &Receiver<Parcel>) {
    while let Ok((due, bytes)) = into.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

/// In small steps, so that the rate holds at each moment.
fn trickle(mut from: &TcpStream, mut to: &TcpStream, rate: u32) {
    let mut block = vec![0; BLOCK.min(usize::try_from(rate / 50).unwrap_or(BLOCK)).max(1)];
    let mut free = Instant::now();
    let mut step = || -> io::Result<bool> {
        let read = from.read(&mut block)?;
        thread::sleep(free.saturating_duration_since(Instant::now()));
        free = free.max(Instant::now()) + Duration::from_secs_f64(read as f64 / f64::from(rate));
        to.write_all(block.get(..read).unwrap_or_default())?;
        Ok(read > 0)
    };
    while step().unwrap_or(false) {}
    to.shutdown(Shutdown::Write).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{free_address, loopback};

    /// Someone who sends back what comes.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        address
    }

    fn through(shape: Shape, bytes: usize) -> Duration {
        let listen = free_address(loopback(0)).unwrap();
        start(listen, echo(), shape).unwrap();
        let mut stream = TcpStream::connect(listen).unwrap();
        let sent: Vec<u8> = (0..=250).cycle().take(bytes).collect();
        let start = Instant::now();
        let (other, copy) = (stream.try_clone().unwrap(), sent.clone());
        let writer = thread::spawn(move || {
            (&other).write_all(&copy).unwrap();
            other.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == sent);
        start.elapsed()
    }

    #[test]
    fn far_but_not_narrow() {
        let delay = Duration::from_millis(40);
        let took = through(Shape { delay, rate: None }, 8 << 20);
        assert!(took >= 2 * delay, "{took:?}");
        // A window of 64 KiB would need more than ten seconds.
        assert!(took < Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn narrow() {
        let took = through(Shape { delay: Duration::ZERO, rate: Some(1 << 20) }, 1 << 19);
        assert!(took >= Duration::from_millis(450), "{took:?}");
    }
}
