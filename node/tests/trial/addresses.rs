//! Where the programs of a run are: a block of loopback addresses of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};

use super::draw::Draw;

pub const SEARCH_PORT: u16 = 7001;
pub const DOWNLOAD_PORT: u16 = 7002;
const TRACKER_PORT: u16 = 7003;

/// Addresses of one run, taken until it is dropped: `127.a.b.x`.
pub struct Block {
    first: Ipv4Addr,
    _taken: TcpListener,
}

impl Block {
    /// One that no other run has, here or in another process, and none had just
    /// now: its listeners may still be about to end.
    pub fn take() -> Self {
        static TAKEN: AtomicU64 = AtomicU64::new(0);
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let mut draw = Draw::of(u64::from(std::process::id()), taken);
        loop {
            let (a, b) = (draw.between(64, 128), draw.between(0, 256));
            let first = Ipv4Addr::new(127, a.try_into().unwrap(), b.try_into().unwrap(), 0);
            if let Ok(taken) = TcpListener::bind((at(first, 250), TRACKER_PORT)) {
                return Self { first, _taken: taken };
            }
        }
    }

    pub fn tracker(&self) -> SocketAddr {
        (at(self.first, 1), TRACKER_PORT).into()
    }

    /// Where a node listens.
    pub fn node(&self, number: usize) -> Ipv4Addr {
        at(self.first, 10 + number)
    }

    /// Where the others think that it listens.
    pub fn advertised(&self, number: usize) -> Ipv4Addr {
        at(self.first, 110 + number)
    }
}

fn at(first: Ipv4Addr, last: usize) -> Ipv4Addr {
    let [a, b, c, _] = first.octets();
    Ipv4Addr::new(a, b, c, last.try_into().unwrap())
}
