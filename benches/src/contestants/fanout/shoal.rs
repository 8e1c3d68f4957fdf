//! Shoal: the lobby of a network of real nodes, which hold every message on their
//! disks before it counts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use shoal_common::chat::entry::{Act, Event};
use shoal_common::chat::words::{RoomName, Text};
use shoal_common::clock::Clock;
use shoal_common::connection::encode;
use shoal_common::ident::NodeId;
use shoal_common::limits::{CHAT_WINDOW, MAX_CHAT_FRAME};
use shoal_common::protocol::chat::{Answer, FromChat, Posted, Question, Standing, ToChat};
use shoal_common::protocol::greeting::{DEFAULT_NETWORK, Greeting, Hello, Talk};
use shoal_common::protocol::tracking::{Registration, ToTracker};

use super::{MESSAGE, Sender, Speech};
use crate::crowd::words;
use crate::failure::{Attempt, Outcome};
use crate::network::{Network, Node};
use crate::place::Place;
use crate::process::until;
use crate::setting::Setting;

/// Bytes in front of a message: its length and a Lamport time.
const HEAD: usize = 12;

/// How long the nodes may take until all of them hold the log.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two heartbeats of a sender: fewer than any tracker asks for.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A tracker, and nodes that hold the log.
pub struct Shoal {
    address: SocketAddr,
    _network: Network,
    _nodes: Vec<Node>,
}

impl Shoal {
    /// Starts so many nodes and waits until all of them hold the log.
    ///
    /// # Errors
    /// That does not come about.
    pub fn start(setting: &Setting, place: &Place, nodes: u8) -> Outcome<Self> {
        let network = Network::start(setting, place)?;
        let node = |k| network.node(k, &place.folder(format!("chat{k}"))?, &[]);
        let nodes: Vec<_> = (0..nodes).map(node).collect::<Outcome<_>>()?;
        let address = network.tracker();
        until("the nodes hold the log", PATIENCE, || Ok(holders(address)? == nodes.len() as u64))?;
        Ok(Self { address, _network: network, _nodes: nodes })
    }
}

/// How many nodes hold the log at this tracker; none while it is not written.
///
/// # Errors
/// The tracker does not say so.
pub fn holders(address: SocketAddr) -> Outcome<u64> {
    let standing = Caller::connect(address)?.standing()?;
    Ok(if standing.writes { standing.council } else { 0 })
}

impl Speech for Shoal {
    fn member(&self) -> Outcome<TcpStream> {
        let mut caller = Caller::connect(self.address)?;
        caller.attach()?;
        Ok(caller.stream)
    }

    /// A frame says at its beginning how many entries it has. The counter goes on
    /// where the attachment ended.
    fn counter(&self) -> Box<dyn FnMut(&[u8]) -> Outcome<usize> + Send> {
        let mut waiting = Vec::new();
        Box::new(move |bytes| {
            waiting.extend_from_slice(bytes);
            let (mut at, mut count) = (0, 0);
            while let Some(body) = frame(waiting.get(at..).unwrap_or_default()) {
                count += posts(body);
                at += HEAD + body.len();
            }
            waiting.drain(..at);
            Ok(count)
        })
    }

    fn sender(&self) -> Outcome<Box<dyn Sender>> {
        let mut caller = Caller::connect(self.address)?;
        caller.attach()?;
        let registered = Registered::start(self.address, caller.node)?;
        Ok(Box::new(Author { caller, _registered: registered }))
    }
}

/// The first message, if it is here whole.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()?;
    bytes.get(HEAD..HEAD + length)
}

/// How many entries of events a message has: all but one of a tracker, which
/// comes before any is sent.
fn posts(body: &[u8]) -> usize {
    const START: &[u8] = b"\x82\xa4type\xa5posts\xa5posts";
    let Some(rest) = body.strip_prefix(START) else { return 0 };
    match rest {
        [0xdc, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        [0xdd, length @ ..] => length
            .first_chunk()
            .and_then(|length| usize::try_from(u32::from_be_bytes(*length)).ok())
            .unwrap_or(0),
        [few, ..] => usize::from(few & 0x0f),
        [] => 0,
    }
}

/// A node of which there is nothing but its connection.
struct Caller {
    stream: TcpStream,
    node: NodeId,
    clock: Clock,
}

impl Caller {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        Self::call(address, NodeId::random(), Talk::Chat)
    }

    fn call(address: SocketAddr, node: NodeId, talk: Talk) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut caller = Self { stream, node, clock: Clock::default() };
        let hello = Greeting::Hello(Hello::new(DEFAULT_NETWORK, node, talk));
        // The greeting carries no time in its frame.
        let hello = encode(&hello, MAX_CHAT_FRAME).attempt("the greeting")?;
        let length = u32::try_from(hello.len())?.to_be_bytes();
        caller.stream.write_all(&[&length, hello.as_slice()].concat())?;
        let mut length = [0; 4];
        caller.stream.read_exact(&mut length)?;
        let mut greeting = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(0)];
        caller.stream.read_exact(&mut greeting)?;
        Ok(caller)
    }

    /// A message with what is in front of it.
    fn frame_of(&self, message: &impl Serialize) -> Outcome<Vec<u8>> {
        let message = encode(message, MAX_CHAT_FRAME).attempt("a message")?;
        let length = u32::try_from(message.len())?.to_be_bytes();
        Ok([&length, self.clock.tick().to_be_bytes().as_slice(), &message].concat())
    }

    fn say(&mut self, message: &impl Serialize) -> Outcome<()> {
        let frame = self.frame_of(message)?;
        Ok(self.stream.write_all(&frame)?)
    }

    fn hear(&mut self) -> Outcome<FromChat> {
        // No byte more, so that the stream can be handed on.
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head)?;
        let length = head.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
        let mut body = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut body)?;
        rmp_serde::from_slice(&body).attempt("what the tracker says")
    }

    /// Comes in, and holds no piece of the log.
    fn attach(&mut self) -> Outcome<()> {
        self.say(&words::attachment(self.node))?;
        loop {
            if let FromChat::Attached(_) = self.hear()? {
                return Ok(());
            }
        }
    }

    fn standing(&mut self) -> Outcome<Standing> {
        self.attach()?;
        self.say(&ToChat::Ask { number: 1, question: Question::Standing })?;
        loop {
            if let FromChat::Answer { answer: Answer::Standing(standing), .. } = self.hear()? {
                return Ok(standing);
            }
        }
    }

    /// Hears until one of its own is accepted; how many were.
    fn accepted(&mut self) -> Outcome<usize> {
        loop {
            if let FromChat::Posts { posts } = self.hear()? {
                let own = posts.iter().filter(|post| match &post.what {
                    Posted::Event { event, refused } => {
                        event.author == self.node && refused.is_none()
                    }
                    Posted::Reign { .. } => false,
                });
                match own.count() {
                    0 => {}
                    own => return Ok(own),
                }
            }
        }
    }
}

/// A node is registered, for only such may say anything. It hangs up in the end.
struct Registered(TcpStream);

impl Registered {
    fn start(address: SocketAddr, node: NodeId) -> Outcome<Self> {
        let mut caller = Caller::call(address, node, Talk::Tracking)?;
        let at = caller.stream.local_addr()?;
        let name = "sender".parse().attempt("the name")?;
        let (exact, reign, joined) = (false, None, 0);
        let registration = Registration { name, exact, search: at, download: at, reign, joined };
        caller.say(&ToTracker::Register(registration))?;
        let stream = caller.stream.try_clone()?;
        let mut answers = caller.stream.try_clone()?;
        thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
        thread::spawn(move || {
            while caller.say(&ToTracker::Heartbeat).is_ok() {
                thread::sleep(HEARTBEAT);
            }
        });
        Ok(Self(stream))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.shutdown(Shutdown::Both).ok();
    }
}

/// One that sends.
struct Author {
    caller: Caller,
    _registered: Registered,
}

impl Sender for Author {
    fn send(&mut self, messages: usize) -> Outcome<()> {
        self.caller.send(messages)
    }
}

impl Caller {
    fn send(&mut self, messages: usize) -> Outcome<()> {
        let text = Text::try_from("x".repeat(MESSAGE)).attempt("the text")?;
        let act = Act::Say { room: RoomName::lobby(), text };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let first = u64::try_from(since.as_micros()).unwrap_or(0);
        let name: shoal_common::ident::NodeName = "sender".parse().attempt("the name")?;
        let (mut sent, mut accepted) = (0, 0);
        while accepted < messages {
            let mut frames = Vec::new();
            while sent < messages && sent - accepted < CHAT_WINDOW {
                let number = first + sent as u64;
                let previous = if sent == accepted { 0 } else { number - 1 };
                let (name, act) = (name.clone(), act.clone());
                let event = Event { author: self.node, number, name, act };
                let submit = ToChat::Submit { previous, event };
                frames.extend(self.frame_of(&submit)?);
                sent += 1;
            }
            self.stream.write_all(&frames)?;
            accepted += self.accepted()?;
        }
        Ok(())
    }
}
