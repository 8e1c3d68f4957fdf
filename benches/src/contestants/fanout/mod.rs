//! Some who send messages to many at once, through one server. Each protocol has a
//! small client of our own, as small as the protocol lets it be: a member counts
//! what comes and looks no further, so what is measured is the server.

pub mod nats;
pub mod redis;
pub mod shoal;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Attempt, Failure, Outcome};
use crate::race::Contestant;

/// Told of what has come, says how many messages ended in it.
pub type Counter = Box<dyn FnMut(&[u8]) -> Outcome<usize> + Send>;

/// Bytes of a message: a line of a chat.
pub const MESSAGE: usize = 100;

/// How long a member waits for the next bytes. Longer, and something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes read at once.
const READ: usize = 64 * 1024;

/// Who sends what to whom.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// How many send.
    pub senders: usize,
    /// How many each sends.
    pub messages: usize,
    /// How many get them all.
    pub members: usize,
}

impl Crowd {
    /// Messages that each member gets.
    pub fn each(self) -> usize {
        self.senders * self.messages
    }
}

/// What a server speaks.
pub trait Speech: Send + Sync {
    /// A member that will get what is sent from now on.
    ///
    /// # Errors
    /// The server does not take it.
    fn member(&self) -> Outcome<TcpStream>;

    /// Counts the messages in what a member reads, which comes in pieces.
    fn counter(&self) -> Counter;

    /// Somebody who sends.
    ///
    /// # Errors
    /// The server does not take them.
    fn sender(&self) -> Outcome<Box<dyn Sender>>;
}

/// Somebody who sends.
pub trait Sender: Send {
    /// Sends so many messages, and returns when the server has them.
    ///
    /// # Errors
    /// The server does not take them.
    fn send(&mut self, messages: usize) -> Outcome<()>;
}

/// A server, and those who talk through it.
pub struct FanOut {
    speech: Box<dyn Speech>,
    crowd: Crowd,
}

impl FanOut {
    /// A crowd at a server.
    pub fn new(speech: impl Speech + 'static, crowd: Crowd) -> Self {
        Self { speech: Box::new(speech), crowd }
    }

    /// Seconds from the first message that is sent to the last that is received.
    fn once(&self) -> Outcome<f64> {
        let Crowd { senders, messages, members } = self.crowd;
        let members: Vec<_> = (0..members).map(|_| self.speech.member()).collect::<Outcome<_>>()?;
        let senders: Vec<_> = (0..senders).map(|_| self.speech.sender()).collect::<Outcome<_>>()?;
        let start = Barrier::new(senders.len() + 1);
        thread::scope(|scope| {
            let received: Vec<_> = members
                .into_iter()
                .map(|member| {
                    let counter = self.speech.counter();
                    scope.spawn(move || receive(member, counter, self.crowd.each()))
                })
                .collect();
            let sent: Vec<_> = senders
                .into_iter()
                .map(|mut sender| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        let began = Instant::now();
                        sender.send(messages).map(|()| began)
                    })
                })
                .collect();
            start.wait();
            // Each looks at the clock itself: this thread may get its turn long after
            // the first has sent and the last has received, and some senders wait for
            // more than that.
            let mut times = Vec::new();
            for one in received.into_iter().chain(sent) {
                times.push(one.join().map_err(|_| Failure::new("a thread panicked"))??);
            }
            match (times.iter().min(), times.iter().max()) {
                (Some(first), Some(last)) => Ok((*last - *first).as_secs_f64()),
                _ => Err(Failure::new("nobody is there")),
            }
        })
    }
}

/// When the last of so many messages was there.
fn receive(mut member: TcpStream, mut counter: Counter, expected: usize) -> Outcome<Instant> {
    member.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; READ];
    let mut count = 0;
    while count < expected {
        let read = member.read(&mut buffer).attempt(format!("after {count} messages"))?;
        if read == 0 {
            return Err(Failure::new(format!("a member is hung up after {count} messages")));
        }
        count += counter(buffer.get(..read).unwrap_or_default())?;
    }
    if count == expected {
        Ok(Instant::now())
    } else {
        Err(Failure::new(format!("{count} messages came, {expected} were sent")))
    }
}

impl Contestant for FanOut {
    fn run(&mut self) -> Outcome<f64> {
        self.once()
    }

    /// Each run counts what comes.
    fn check(&self) -> Outcome<()> {
        Ok(())
    }

    fn clear(&mut self) -> Outcome<()> {
        Ok(())
    }
}

/// Connects, says something, and reads until the answer ends with this.
fn connect(address: std::net::SocketAddr, hello: &[u8], until: &[u8]) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(hello)?;
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(until) {
        stream.read_exact(&mut byte)?;
        said.extend(byte);
        if said.len() > READ {
            return Err(Failure::new("the server does not answer as expected"));
        }
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Hands on what is sent at once, and lets the sender wait.
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<Vec<TcpStream>>>);

    const WAIT: Duration = Duration::from_secs(2);

    impl Speech for Slow {
        fn member(&self) -> Outcome<TcpStream> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let member = TcpStream::connect(listener.local_addr()?)?;
            self.0.lock().unwrap().push(listener.accept()?.0);
            Ok(member)
        }

        fn counter(&self) -> Counter {
            Box::new(|bytes| Ok(bytes.len()))
        }

        fn sender(&self) -> Outcome<Box<dyn Sender>> {
            Ok(Box::new(self.clone()))
        }
    }

    impl Sender for Slow {
        fn send(&mut self, messages: usize) -> Outcome<()> {
            for member in self.0.lock().unwrap().iter_mut() {
                member.write_all(&vec![0; messages])?;
            }
            thread::sleep(WAIT);
            Ok(())
        }
    }

    #[test]
    fn time_ends_with_the_last_message_not_with_the_senders() {
        let crowd = Crowd { senders: 2, messages: 3, members: 4 };
        let seconds = FanOut::new(Slow::default(), crowd).once().unwrap();
        assert!(seconds < WAIT.as_secs_f64(), "{seconds}");
    }
}
