//! Messages on a stream: a length of four bytes (big endian), the Lamport time of
//! the sender in eight, then one MessagePack map. Raw bytes may follow a message
//! on the same stream. A connection begins without times, so that programs that
//! know of none can be refused in words; the greeting that is said then has a
//! field for it.
//!
//! The length is compared with the bound for that message before anything is
//! allocated, and memory grows only as bytes arrive. A frame that has begun
//! must end within [`FRAME_DEADLINE`], so a byte a second holds nobody up.
//!
//! Both ways are buffered, so that many small messages cost one system call.
//! What was read past a message is kept for the next one, or for whoever reads
//! the raw bytes behind it; large pieces of those go straight from the stream to
//! where they are wanted. Invariant: the buffers hold, in order, exactly what
//! came and was not taken, and what was queued and not sent. A connection whose
//! buffers are empty while it waits takes no memory for them: there are
//! thousands of such.

mod buffer;
mod frame;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use self::buffer::Buffer;
use crate::clock::Clock;
use crate::limits::{FRAME_DEADLINE, MAX_REQUEST_FRAME, READ_AHEAD, REPLY_DEADLINE};

/// Why a conversation ended. Whether the other side may be told is for the
/// caller; what is said here goes to the log.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The other side hung up between two messages: the usual end.
    #[error("the other side hung up")]
    Closed,
    /// The stream broke, or ended within a message.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// Nothing came within the time for it.
    #[error("nothing came for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// A message began but did not end in time, or could not be sent in time.
    #[error("a message took too long")]
    Slow,
    /// A message is longer than its bound.
    #[error("a message of {length} bytes, where at most {bound} are allowed")]
    TooLong {
        /// Bytes announced, or about to be sent.
        length: usize,
        /// Bytes allowed.
        bound: usize,
    },
    /// A message is not what was expected at this point.
    #[error("a message that makes no sense here: {0}")]
    Malformed(String),
}

impl ConnectionError {
    /// Whether the other side ended the conversation in the usual way or was
    /// merely idle: nothing that a log should warn of.
    pub fn is_usual(&self) -> bool {
        match self {
            Self::Closed | Self::Silent(_) => true,
            Self::Broken(error) => error.kind() == io::ErrorKind::ConnectionReset,
            _ => false,
        }
    }
}

/// Most bytes of an encoded message that is rather copied behind its prefix than
/// sent from where it is: a call with two parts costs more than with one.
const SHORT: usize = 256;

/// A message of at most `bound` bytes as it travels, without what is in front of
/// it: for [`Connection::send_encoded`] and [`Connection::queue_encoded`], where
/// many are sent the same.
///
/// # Errors
/// It is longer than `bound`.
pub fn encode<M: Serialize>(message: &M, bound: usize) -> Result<Vec<u8>, ConnectionError> {
    let mut encoded = Vec::new();
    frame::encode(message, bound, None, &mut encoded)?;
    encoded.drain(..frame::prefix(false));
    Ok(encoded)
}

/// What is to be sent of a message still.
fn rest(shared: Option<&(Arc<[u8]>, usize)>) -> &[u8] {
    shared.and_then(|(message, from)| message.get(*from..)).unwrap_or_default()
}

/// A stream that carries messages.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    /// What has come and was not taken yet.
    incoming: Buffer,
    /// When the frame that is coming in must be complete.
    due: Option<Instant>,
    /// What is queued and was not sent yet.
    outgoing: Buffer,
    /// Behind that: a message that others are sent too, from this byte on.
    shared: Option<(Arc<[u8]>, usize)>,
    /// The clock whose time goes with what is sent, once that is agreed.
    tells: Option<Clock>,
    /// The clock that learns from what comes, likewise.
    learns: Option<Clock>,
    /// The time of the last message that was received.
    heard: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Messages on `stream`, without times.
    pub fn new(stream: S) -> Self {
        let (incoming, outgoing) = (Buffer::default(), Buffer::default());
        Self {
            stream,
            incoming,
            due: None,
            outgoing,
            shared: None,
            tells: None,
            learns: None,
            heard: 0,
        }
    }

    /// From now on each message carries a time, either way.
    pub fn keep_time(&mut self, clock: Clock) {
        self.learns = Some(clock.clone());
        self.tells = Some(clock);
    }

    /// From now on each message that is sent carries a time.
    pub fn tell_time(&mut self, clock: Clock) {
        self.tells = Some(clock);
    }

    /// The Lamport time of the last message received; 0 while none carried one.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// The stream itself: for what it can tell of itself, and for raw bytes that
    /// are sent while nothing is [queued](Self::queued). Who reads from it passes
    /// over what has come already; see [`read_raw`](Self::read_raw).
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends a message of at most `bound` bytes, behind what is queued.
    ///
    /// # Errors
    /// As for [`queue`](Self::queue) and [`flush`](Self::flush).
    pub async fn send<M: Serialize>(
        &mut self,
        message: &M,
        bound: usize,
    ) -> Result<(), ConnectionError> {
        self.queue(message, bound)?;
        self.flush().await
    }

    /// Puts a message of at most `bound` bytes behind what is to be sent; it
    /// leaves with the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// It is longer than `bound`; then nothing of it is queued.
    pub fn queue<M: Serialize>(
        &mut self,
        message: &M,
        bound: usize,
    ) -> Result<(), ConnectionError> {
        let time = self.tells.as_ref().map(Clock::tick);
        frame::encode(message, bound, time, self.tail())
    }

    /// Queues a message and `length` raw bytes behind it, which `fill` writes.
    /// When `fill` fails, neither is queued, and its error is the inner one.
    ///
    /// # Errors
    /// The message is longer than `bound`; then nothing is queued.
    pub fn queue_with<M: Serialize, E>(
        &mut self,
        message: &M,
        bound: usize,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, ConnectionError> {
        let time = self.tells.as_ref().map(Clock::tick);
        let tail = self.tail();
        let start = tail.len();
        frame::encode(message, bound, time, tail)?;
        let raw = tail.len();
        tail.resize(raw.saturating_add(length), 0);
        let filled = fill(tail.get_mut(raw..).unwrap_or_default());
        if filled.is_err() {
            tail.truncate(start);
        }
        Ok(filled)
    }

    /// Queues a message that was [encoded](encode) before. It carries the time of
    /// now, as every other.
    ///
    /// # Errors
    /// No frame is so long.
    pub fn queue_encoded(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        let time = self.tells.as_ref().map(Clock::tick);
        let prefix = frame::announce(message.len(), time)?;
        let tail = self.tail();
        tail.extend_from_slice(prefix.get(..frame::prefix(time.is_some())).unwrap_or_default());
        tail.extend_from_slice(message);
        Ok(())
    }

    /// Sends a message that was [encoded](encode) before, behind what is queued.
    /// It is not copied, unless it is short: where many are sent the same and are
    /// slow to take it, it takes memory once.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub async fn send_encoded(&mut self, message: &Arc<[u8]>) -> Result<(), ConnectionError> {
        let time = self.tells.as_ref().map(Clock::tick);
        let prefix = frame::announce(message.len(), time)?;
        let prefix = prefix.get(..frame::prefix(time.is_some())).unwrap_or_default();
        let written = match self.queued() == 0 {
            // Nearly always all of it is taken at once.
            true => {
                poll_fn(|context| Poll::Ready(self.write_now(prefix, message, context))).await?
            }
            false => 0,
        };
        if written == prefix.len() + message.len() {
            return Ok(());
        }
        self.tail().extend_from_slice(prefix.get(written..).unwrap_or_default());
        self.shared = Some((Arc::clone(message), written.saturating_sub(prefix.len())));
        // In a box, because who sends so mostly rests, and this takes memory.
        Box::pin(self.flush()).await
    }

    /// Writes once; how much was taken.
    fn write_now(
        &mut self,
        prefix: &[u8],
        message: &[u8],
        context: &mut Context<'_>,
    ) -> io::Result<usize> {
        let stream = Pin::new(&mut self.stream);
        let written = if message.len() <= SHORT {
            let mut both = [0; frame::prefix(true) + SHORT];
            let bytes = prefix.iter().chain(message);
            both.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            let length = prefix.len() + message.len();
            stream.poll_write(context, both.get(..length).unwrap_or_default())
        } else {
            stream.poll_write_vectored(context, &[IoSlice::new(prefix), IoSlice::new(message)])
        };
        match written {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(0),
        }
    }

    /// Number of bytes that are queued.
    pub fn queued(&self) -> usize {
        self.outgoing.len() + rest(self.shared.as_ref()).len()
    }

    /// Where something is queued: behind all that is.
    fn tail(&mut self) -> &mut Vec<u8> {
        let shared = self.shared.take();
        let tail = self.outgoing.tail();
        tail.extend_from_slice(rest(shared.as_ref()));
        tail
    }

    /// So many bytes are sent of what is queued first.
    fn sent(&mut self, bytes: usize) {
        match &mut self.shared {
            Some((_, from)) if self.outgoing.is_empty() => *from += bytes,
            _ => self.outgoing.consume(bytes),
        }
        if self.queued() == 0 {
            self.shared = None;
        }
    }

    /// Sends what is queued. Safe to cancel: what was not sent stays queued.
    ///
    /// # Errors
    /// The stream breaks, or does not take [`MAX_REQUEST_FRAME`] bytes, or the
    /// rest, within each [`FRAME_DEADLINE`].
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        let mut taken = 0;
        let mut due = Instant::now() + FRAME_DEADLINE;
        while self.queued() > 0 {
            if taken >= MAX_REQUEST_FRAME {
                (taken, due) = (0, Instant::now() + FRAME_DEADLINE);
            }
            let next = match self.outgoing.bytes() {
                [] => rest(self.shared.as_ref()),
                bytes => bytes,
            };
            match timeout_at(due, self.stream.write(next)).await {
                Ok(Ok(0)) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(Ok(written)) => {
                    taken += written;
                    self.sent(written);
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(ConnectionError::Slow),
            }
        }
        Ok(())
    }

    /// Receives a message of at most `bound` bytes that begins within
    /// `patience`. Safe to cancel: what has come in is kept. What is queued is not
    /// sent by it.
    ///
    /// # Errors
    /// See [`ConnectionError`]; after any of them the stream is of no use.
    pub async fn receive<M: DeserializeOwned>(
        &mut self,
        bound: usize,
        patience: Duration,
    ) -> Result<M, ConnectionError> {
        let length = match self.arrived(bound)? {
            Some(length) => length,
            None => self.arrive(bound, patience).await?,
        };
        self.due = None;
        self.witness();
        let end = self.prefix() + length;
        let body = self.incoming.bytes().get(self.prefix()..end).unwrap_or_default();
        let message = frame::decode(body);
        self.incoming.consume(end);
        message
    }

    /// As [`receive`](Self::receive), but the message begins within `patience` of `since`:
    /// whoever waits for other things, too, and so receives anew again and again, waits
    /// no longer.
    ///
    /// # Errors
    /// As for `receive`.
    pub async fn receive_since<M: DeserializeOwned>(
        &mut self,
        since: Instant,
        bound: usize,
        patience: Duration,
    ) -> Result<M, ConnectionError> {
        // What has come is read even if it is late.
        let left = (since + patience).saturating_duration_since(Instant::now());
        self.receive(bound, left).await.map_err(|error| match error {
            ConnectionError::Silent(_) => ConnectionError::Silent(patience),
            other => other,
        })
    }

    /// Ready when a message has begun to come in, or the stream has ended or broken:
    /// what [`receive`](Self::receive) says then comes at once, or within
    /// [`FRAME_DEADLINE`]. Safe to cancel. It needs no timer, so that one task can
    /// wait for this and for other things at little cost.
    pub fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if !self.incoming.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match self.poll_fill(0, context) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(ConnectionError::Closed)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Receives the message at the front if it is here as a whole and
    /// [encoded](encode) exactly so; whether it was. Comparing is much cheaper than
    /// reading.
    pub fn receive_if(&mut self, expected: &[u8]) -> bool {
        let length = frame::length(self.incoming.bytes(), expected.len());
        let body = self.incoming.bytes().get(self.prefix()..).unwrap_or_default();
        if !matches!(length, Ok(Some(length)) if length == expected.len())
            || !body.starts_with(expected)
        {
            return false;
        }
        self.witness();
        self.due = None;
        self.incoming.consume(self.prefix() + expected.len());
        true
    }

    /// The message at the front is received: its time counts.
    fn witness(&mut self) {
        if let Some(clock) = &self.learns {
            self.heard = frame::time(self.incoming.bytes());
            if !clock.witness(self.heard) {
                debug!("a time that can't be honest is not believed: {}", self.heard);
            }
        }
    }

    /// Bytes in front of the message in a frame that comes.
    fn prefix(&self) -> usize {
        frame::prefix(self.learns.is_some())
    }

    /// Whether [`receive`](Self::receive) with this `bound` would not wait: a
    /// message is here as a whole, or what is here can't be one.
    pub fn has_message(&self, bound: usize) -> bool {
        !matches!(self.arrived(bound), Ok(None))
    }

    /// Reads raw bytes that follow a message: what has come already, else
    /// straight from the stream. Returns their number; 0 at the end of the stream,
    /// or if `into` is empty. Safe to cancel.
    ///
    /// # Errors
    /// Those of the stream. How long it may take is for the caller.
    pub async fn read_raw(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            if into.len() >= READ_AHEAD {
                return self.stream.read(into).await;
            }
            self.fill(0).await?;
        }
        Ok(self.incoming.read(into))
    }

    /// Sends a request and receives its reply of at most `bound` bytes.
    ///
    /// # Errors
    /// As for sending and receiving; the reply must begin within
    /// [`REPLY_DEADLINE`].
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        request: &Q,
        bound: usize,
    ) -> Result<A, ConnectionError> {
        self.send(request, MAX_REQUEST_FRAME).await?;
        self.receive(bound, REPLY_DEADLINE).await
    }

    /// The length of the message at the front, once it is here as a whole.
    fn arrived(&self, bound: usize) -> Result<Option<usize>, ConnectionError> {
        let here = self.incoming.len();
        let length = frame::length(self.incoming.bytes(), bound)?;
        Ok(length.filter(|length| here >= self.prefix() + *length))
    }

    /// Waits for the message at the front; its length.
    async fn arrive(&mut self, bound: usize, patience: Duration) -> Result<usize, ConnectionError> {
        if self.incoming.is_empty() {
            match timeout(patience, self.fill(0)).await {
                Ok(Ok(0)) => return Err(ConnectionError::Closed),
                Ok(filled) => filled?,
                Err(_) => return Err(ConnectionError::Silent(patience)),
            };
        }
        let due = *self.due.get_or_insert_with(|| Instant::now() + FRAME_DEADLINE);
        timeout_at(due, self.complete(bound)).await.map_err(|_| ConnectionError::Slow)?
    }

    async fn complete(&mut self, bound: usize) -> Result<usize, ConnectionError> {
        loop {
            if let Some(length) = self.arrived(bound)? {
                return Ok(length);
            }
            let length = frame::length(self.incoming.bytes(), bound)?.unwrap_or_default();
            let missing = (self.prefix() + length).saturating_sub(self.incoming.len());
            if self.fill(missing).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Reads once: what there is, but not much more than is `missing`. Safe to
    /// cancel.
    async fn fill(&mut self, missing: usize) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(missing, context)).await
    }

    fn poll_fill(&mut self, missing: usize, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let at_most = READ_AHEAD.max(missing);
        let filled = self.incoming.poll_fill(&mut self.stream, at_most, context);
        if filled.is_pending() {
            self.incoming.rest();
            self.outgoing.rest();
        }
        filled
    }
}

#[cfg(test)]
mod tests;
