//! Messages on a stream: a length of four bytes (big endian), then one
//! MessagePack map.
//!
//! The length is compared with the bound for that message before anything is
//! allocated, and memory grows only as bytes arrive. A frame that has begun
//! must end within [`FRAME_DEADLINE`], so a byte a second holds nobody up.
//! Nothing is read past a frame: raw bytes may follow it on the same stream.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{FRAME_DEADLINE, MAX_NESTING, MAX_REQUEST_FRAME, REPLY_DEADLINE};

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
    #[error("a message took longer than {} s", FRAME_DEADLINE.as_secs())]
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

/// A stream that carries messages.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    /// Bytes of the frame that is coming in, its length included.
    incoming: Vec<u8>,
    /// When that frame must be complete.
    due: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Messages on `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, incoming: Vec::new(), due: None }
    }

    /// The stream itself, for raw bytes between two messages.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends a message of at most `bound` bytes.
    ///
    /// # Errors
    /// The stream breaks, or does not take the message in [`FRAME_DEADLINE`].
    /// Not safe to cancel: the stream is of no use after half a message.
    pub async fn send<M: Serialize>(
        &mut self,
        message: &M,
        bound: usize,
    ) -> Result<(), ConnectionError> {
        let frame = encode(message, bound)?;
        match timeout(FRAME_DEADLINE, self.stream.write_all(&frame)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(ConnectionError::Slow),
        }
    }

    /// Receives a message of at most `bound` bytes that begins within
    /// `patience`. Safe to cancel: what has come in is kept.
    ///
    /// # Errors
    /// See [`ConnectionError`]; after any of them the stream is of no use.
    pub async fn receive<M: DeserializeOwned>(
        &mut self,
        bound: usize,
        patience: Duration,
    ) -> Result<M, ConnectionError> {
        if self.due.is_none() {
            match timeout(patience, self.fill(1)).await {
                Ok(Err(ConnectionError::Broken(error)))
                    if self.incoming.is_empty() && error.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    return Err(ConnectionError::Closed);
                }
                Ok(filled) => filled?,
                Err(_) => return Err(ConnectionError::Silent(patience)),
            }
        }
        let due = *self.due.get_or_insert_with(|| Instant::now() + FRAME_DEADLINE);
        timeout_at(due, self.frame(bound)).await.map_err(|_| ConnectionError::Slow)??;
        let message = decode(self.incoming.get(PREFIX..).unwrap_or_default());
        self.incoming.clear();
        // A single large message must not cost its memory for hours.
        self.incoming.shrink_to(MAX_REQUEST_FRAME);
        self.due = None;
        message
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

    async fn frame(&mut self, bound: usize) -> Result<(), ConnectionError> {
        self.fill(PREFIX).await?;
        let length = match self.incoming.first_chunk() {
            Some(prefix) => u32::from_be_bytes(*prefix) as usize,
            None => 0,
        };
        if length > bound {
            return Err(ConnectionError::TooLong { length, bound });
        }
        self.fill(PREFIX + length).await
    }

    /// Reads until `wanted` bytes of the frame are here, and no further.
    async fn fill(&mut self, wanted: usize) -> Result<(), ConnectionError> {
        while let Some(missing) = wanted.checked_sub(self.incoming.len()).filter(|&n| n > 0) {
            let read = (&mut self.stream).take(missing as u64).read_buf(&mut self.incoming).await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(())
    }
}

/// Bytes of a frame's length.
const PREFIX: usize = 4;

/// The frame of a message: maps with named fields, so that fields can be added.
fn encode<M: Serialize>(message: &M, bound: usize) -> Result<Vec<u8>, ConnectionError> {
    let mut frame = vec![0; PREFIX];
    rmp_serde::encode::write_named(&mut frame, message)
        .map_err(|error| ConnectionError::Malformed(error.to_string()))?;
    let length = frame.len() - PREFIX;
    let too_long = ConnectionError::TooLong { length, bound };
    if length > bound {
        return Err(too_long);
    }
    let prefix = u32::try_from(length).map_err(|_| too_long)?.to_be_bytes();
    for (to, from) in frame.iter_mut().zip(prefix) {
        *to = from;
    }
    Ok(frame)
}

/// The message of a frame. Fields it does not know are passed over, but no
/// deeper than [`MAX_NESTING`]; so are bytes after the message.
fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, ConnectionError> {
    let mut from = rmp_serde::Deserializer::from_read_ref(body);
    from.set_max_depth(MAX_NESTING);
    M::deserialize(&mut from).map_err(|error| ConnectionError::Malformed(quoted(&error)))
}

/// What is wrong with a message, on one short line. The text may quote a
/// stranger's words, which must not look like lines of the log.
fn quoted(error: &rmp_serde::decode::Error) -> String {
    error.to_string().escape_debug().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;
    use crate::ident::NodeId;
    use crate::protocol::greeting::{Greeting, Hello};
    use crate::protocol::search::SearchRequest;

    const SECOND: Duration = Duration::from_secs(1);

    async fn received(bytes: &[u8], bound: usize) -> Result<String, ConnectionError> {
        let (mut far, near) = duplex(1 << 20);
        far.write_all(bytes).await.unwrap();
        drop(far);
        Connection::new(near).receive(bound, SECOND).await
    }

    #[tokio::test]
    async fn a_frame_is_a_length_and_messagepack() {
        let frame = encode(&"shoal", 100).unwrap();
        assert_eq!(frame, b"\0\0\0\x06\xa5shoal");
        assert_eq!(received(&frame, 100).await.unwrap(), "shoal");
    }

    #[tokio::test]
    async fn frames_follow_each_other_and_raw_bytes_follow_frames() {
        let (far, near) = duplex(1 << 10);
        let (mut far, mut near) = (Connection::new(far), Connection::new(near));
        far.send(&"one", 100).await.unwrap();
        far.send(&"two", 100).await.unwrap();
        far.stream().write_all(b"raw").await.unwrap();
        assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "one");
        assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "two");
        let mut raw = [0; 3];
        near.stream().read_exact(&mut raw).await.unwrap();
        assert_eq!(&raw, b"raw");
    }

    #[tokio::test]
    async fn a_frame_of_four_gigabytes_is_refused_before_it_is_allocated() {
        let error = received(&[0xff; 8], 100).await.unwrap_err();
        assert!(matches!(error, ConnectionError::TooLong { bound: 100, .. }), "{error}");
        assert!(encode(&"x".repeat(101), 100).is_err());
    }

    #[tokio::test]
    async fn half_a_frame_is_broken_and_none_is_closed() {
        assert!(matches!(received(b"", 100).await, Err(ConnectionError::Closed)));
        for half in [&b"\0\0"[..], b"\0\0\0\x06", b"\0\0\0\x06\xa5sho"] {
            assert!(matches!(received(half, 100).await, Err(ConnectionError::Broken(_))));
        }
        assert!(matches!(
            received(b"\0\0\0\x01\xc1", 100).await,
            Err(ConnectionError::Malformed(_))
        ));
    }

    /// A greeting with one field more: so many lists within each other.
    fn nested(depth: usize) -> Vec<u8> {
        let hello = Greeting::Hello(Hello::new("shoal", NodeId::from_bytes([7; 32])));
        let greeting = rmp_serde::to_vec_named(&hello).unwrap();
        // Before the type, so that it has to be kept until that is known.
        [b"\x85\xa1x", &vec![0x91; depth][..], b"\xc0", &greeting[1..]].concat()
    }

    #[test]
    fn fields_of_a_newer_program_may_be_nested_but_not_without_end() {
        assert!(decode::<Greeting>(&nested(MAX_NESTING / 2)).is_ok());
        for depth in [MAX_NESTING + 1, 100, 1000, 16_000] {
            let error = decode::<Greeting>(&nested(depth)).unwrap_err();
            assert!(matches!(error, ConnectionError::Malformed(_)), "{depth}: {error}");
        }
    }

    #[test]
    fn bytes_after_a_message_are_passed_over() {
        assert_eq!(decode::<String>(b"\xa5shoal\xc1").unwrap(), "shoal");
    }

    #[derive(Serialize)]
    struct Forged {
        r#type: &'static str,
        pattern: std::collections::BTreeMap<String, u8>,
    }

    #[test]
    fn a_stranger_writes_no_lines_of_the_log() {
        let forged = "x`\n2026-01-01T00:00:00Z  INFO all is well\u{1b}[2J\u{202e}";
        for forged in [forged.to_owned(), forged.repeat(100)] {
            let pattern = [(forged, 1)].into();
            let body = rmp_serde::to_vec_named(&Forged { r#type: "search", pattern }).unwrap();
            let error = decode::<SearchRequest>(&body).unwrap_err().to_string();
            assert!(error.contains("unknown variant"), "{error}");
            assert!(!error.contains(['\n', '\u{1b}', '\u{202e}']), "{error}");
            assert!(error.len() < 300, "{} bytes", error.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_second_does_not_hold_a_connection() {
        let (mut far, near) = duplex(1 << 10);
        let start = Instant::now();
        let drip = async {
            for byte in encode(&"x".repeat(50), 100).unwrap() {
                far.write_all(&[byte]).await.unwrap();
                tokio::time::sleep(SECOND).await;
            }
        };
        let mut near = Connection::new(near);
        let error = tokio::select! {
            message = near.receive::<String>(100, SECOND) => message.unwrap_err(),
            () = drip => panic!("the connection was held for 50 s"),
        };
        assert!(matches!(error, ConnectionError::Slow), "{error}");
        assert_eq!(start.elapsed().as_secs(), FRAME_DEADLINE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end_and_a_cancelled_receive_loses_nothing() {
        let (mut far, near) = duplex(1 << 10);
        let mut near = Connection::new(near);
        let error = near.receive::<String>(100, SECOND).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Silent(SECOND)), "{error}");

        let frame = encode(&"shoal", 100).unwrap();
        for byte in frame {
            let cut = timeout(Duration::from_millis(1), near.receive::<String>(100, SECOND)).await;
            assert!(cut.is_err());
            far.write_all(&[byte]).await.unwrap();
        }
        assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "shoal");
    }

    proptest! {
        #[test]
        fn hostile_bytes_end_in_an_error_or_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _ = runtime.block_on(received(&bytes, 64));
        }
    }
}
