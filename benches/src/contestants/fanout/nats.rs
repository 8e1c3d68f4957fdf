//! NATS: a subject, and those who subscribe to it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use super::{MESSAGE, Sender, Speech, connect};
use crate::failure::{Failure, Outcome};
use crate::place::Place;
use crate::process::{Server, free_address, installed, program};

/// A server, as it comes.
pub struct Nats {
    address: SocketAddr,
    _server: Server,
}

impl Nats {
    /// Starts it.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(place: &Place) -> Outcome<Self> {
        let address = free_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let folder = place.folder("nats")?;
        let mut command = program(installed("nats-server")?);
        command.args(["--addr", &address.ip().to_string()]);
        command.args(["--port", &address.port().to_string()]);
        command.current_dir(&folder);
        let mut server = Server::start(&mut command, &folder.join("out"))?;
        server.listening(address)?;
        Ok(Self { address, _server: server })
    }
}

const CONNECT: &str = r#"CONNECT {"verbose":false,"pedantic":false,"lang":"rust"}"#;

impl Speech for Nats {
    fn member(&self) -> Outcome<TcpStream> {
        let hello = format!("{CONNECT}\r\nSUB chat 1\r\nPING\r\n");
        connect(self.address, hello.as_bytes(), b"PONG\r\n")
    }

    /// `MSG chat 1 100\r\n`, the message, `\r\n`.
    fn counter(&self) -> Box<dyn FnMut(&[u8]) -> Outcome<usize> + Send> {
        let mut waiting = Vec::new();
        Box::new(move |bytes| {
            waiting.extend_from_slice(bytes);
            let (mut at, mut count) = (0, 0);
            loop {
                let rest = waiting.get(at..).unwrap_or_default();
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
                let line = rest.get(..end).unwrap_or_default();
                if line.starts_with(b"MSG ") {
                    let whole = end + 1 + MESSAGE + 2;
                    if rest.len() < whole {
                        break;
                    }
                    count += 1;
                    at += whole;
                } else if line.starts_with(b"PING") || line.starts_with(b"INFO") {
                    at += end + 1;
                } else {
                    let said = String::from_utf8_lossy(line);
                    return Err(Failure::new(format!("NATS says `{}`", said.trim())));
                }
            }
            waiting.drain(..at);
            Ok(count)
        })
    }

    fn sender(&self) -> Outcome<Box<dyn Sender>> {
        let hello = format!("{CONNECT}\r\nPING\r\n");
        Ok(Box::new(Publisher(connect(self.address, hello.as_bytes(), b"PONG\r\n")?)))
    }
}

struct Publisher(TcpStream);

impl Sender for Publisher {
    fn send(&mut self, messages: usize) -> Outcome<()> {
        let one = format!("PUB chat {MESSAGE}\r\n{}\r\n", "x".repeat(MESSAGE));
        let some = one.repeat(64);
        let mut left = messages;
        while left > 0 {
            let now = left.min(64);
            self.0.write_all(some.as_bytes().get(..now * one.len()).unwrap_or_default())?;
            left -= now;
        }
        Ok(())
    }
}
