//! Many connections, none of which blocks.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::failure::{Attempt, Failure, Outcome};

/// Connections from one source address: below the usual number of ports for it.
const EACH: usize = 10_000;

/// Most bytes that are read at once from one connection.
const PIECE: usize = 1 << 18;

/// Most connections that are looked at after one wait.
const EVENTS: usize = 4096;

/// Connections by number.
pub struct Links {
    epoll: OwnedFd,
    links: Vec<Option<Link>>,
    events: Vec<epoll::Event>,
    piece: Vec<u8>,
}

struct Link {
    stream: TcpStream,
    /// The beginning of a message.
    rest: Vec<u8>,
}

impl Links {
    /// Room for so many.
    ///
    /// # Errors
    /// The system's.
    pub fn new(count: usize) -> Outcome<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            links: (0..count).map(|_| None).collect(),
            events: Vec::with_capacity(EVENTS),
            piece: vec![0; PIECE],
        })
    }

    /// Opens number `at`; the one before is closed.
    ///
    /// # Errors
    /// Nobody listens there, or the system's.
    pub fn open(&mut self, at: usize, to: SocketAddr) -> Outcome<()> {
        let place = self.links.get_mut(at).ok_or_else(|| Failure::new("no such number"))?;
        // Before the next is opened, so that descriptors suffice.
        *place = None;
        let link = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&link, &SocketAddr::from((source(at), 0)))?;
        connect(&link, &to).attempt(format!("connection {at}"))?;
        let stream = TcpStream::from(link);
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
        *place = Some(Link { stream, rest: Vec::new() });
        Ok(())
    }

    /// Closes number `at`.
    pub fn close(&mut self, at: usize) {
        if let Some(place) = self.links.get_mut(at) {
            *place = None;
        }
    }

    /// Sends a few bytes.
    ///
    /// # Errors
    /// There is no such connection, it broke, or it does not take them: who is
    /// measured reads.
    pub fn send(&mut self, at: usize, bytes: &[u8]) -> Outcome<()> {
        let link = self.links.get_mut(at).and_then(Option::as_mut);
        let link = link.ok_or_else(|| Failure::new(format!("connection {at} is closed")))?;
        match link.stream.write(bytes).attempt(format!("connection {at}"))? {
            sent if sent == bytes.len() => Ok(()),
            _ => Err(Failure::new(format!("connection {at} takes no more"))),
        }
    }

    /// Waits for something to read, at most so long; the numbers of those that
    /// have it.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self, at_most: Duration, ready: &mut Vec<usize>) -> Outcome<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs())?,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        self.events.clear();
        ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        for event in &self.events {
            ready.push(usize::try_from(event.data.u64())?);
        }
        Ok(())
    }

    /// Reads once; `take` is told what came, with the rest of before in front of
    /// it, and returns how many bytes of it are done with.
    ///
    /// # Errors
    /// The connection broke or ended, or `take` fails.
    pub fn read(&mut self, at: usize, take: impl FnOnce(&[u8]) -> Outcome<usize>) -> Outcome<()> {
        let Some(link) = self.links.get_mut(at).and_then(Option::as_mut) else { return Ok(()) };
        let came = match (&link.stream).read(&mut self.piece) {
            Ok(0) => return Err(Failure::new(format!("connection {at} was closed"))),
            Ok(came) => self.piece.get(..came).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).attempt(format!("connection {at}")),
        };
        if link.rest.is_empty() {
            let done = take(came)?;
            link.rest.extend_from_slice(came.get(done..).unwrap_or_default());
        } else {
            link.rest.extend_from_slice(came);
            let done = take(&link.rest)?;
            link.rest.drain(..done.min(link.rest.len()));
        }
        if link.rest.is_empty() {
            link.rest = Vec::new();
        }
        Ok(())
    }
}

/// The address from which number `at` calls.
fn source(at: usize) -> Ipv4Addr {
    let group = u8::try_from(at / EACH % 200).unwrap_or_default();
    Ipv4Addr::new(127, 77, group, 1)
}
