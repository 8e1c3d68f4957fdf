//! Redis: a channel, and those who subscribe to it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use super::{MESSAGE, Sender, Speech, connect};
use crate::failure::Outcome;
use crate::place::Place;
use crate::process::{Server, free_address, installed, program};

/// Messages that are sent ahead of their answers.
const AHEAD: usize = 256;

/// A server, as it comes, that keeps nothing on the disk.
pub struct Redis {
    address: SocketAddr,
    _server: Server,
}

impl Redis {
    /// Starts it.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(place: &Place) -> Outcome<Self> {
        let address = free_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let folder = place.folder("redis")?;
        let mut command = program(installed("redis-server")?);
        command.args(["--bind", &address.ip().to_string()]);
        command.args(["--port", &address.port().to_string(), "--save", ""]);
        command.arg("--dir").arg(&folder).current_dir(&folder);
        let mut server = Server::start(&mut command, &folder.join("out"))?;
        server.listening(address)?;
        Ok(Self { address, _server: server })
    }
}

impl Speech for Redis {
    fn member(&self) -> Outcome<TcpStream> {
        connect(self.address, b"SUBSCRIBE chat\r\n", b"subscribe\r\n$4\r\nchat\r\n:1\r\n")
    }

    /// All are of one length.
    fn counter(&self) -> Box<dyn FnMut(&[u8]) -> Outcome<usize> + Send> {
        let head = format!("*3\r\n$7\r\nmessage\r\n$4\r\nchat\r\n${MESSAGE}\r\n");
        let whole = head.len() + MESSAGE + 2;
        let mut waiting = 0;
        Box::new(move |bytes| {
            waiting += bytes.len();
            let count = waiting / whole;
            waiting %= whole;
            Ok(count)
        })
    }

    fn sender(&self) -> Outcome<Box<dyn Sender>> {
        Ok(Box::new(Publisher(connect(self.address, b"PING\r\n", b"+PONG\r\n")?)))
    }
}

struct Publisher(TcpStream);

impl Sender for Publisher {
    fn send(&mut self, messages: usize) -> Outcome<()> {
        let text = "x".repeat(MESSAGE);
        let one = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nchat\r\n${MESSAGE}\r\n{text}\r\n");
        let some = one.repeat(AHEAD);
        let mut left = messages;
        let mut answers = vec![0; 16 * AHEAD];
        while left > 0 {
            let now = left.min(AHEAD);
            self.0.write_all(some.as_bytes().get(..now * one.len()).unwrap_or_default())?;
            let mut answered = 0;
            while answered < now {
                let read = self.0.read(&mut answers)?;
                let answers = answers.get(..read).unwrap_or_default();
                answered += answers.iter().filter(|byte| **byte == b'\n').count();
            }
            left -= now;
        }
        Ok(())
    }
}
