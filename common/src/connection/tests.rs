use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use tokio::io::{ReadBuf, duplex};

use super::frame::decode;
use super::*;
use crate::ident::NodeId;
use crate::limits::MAX_NESTING;
use crate::protocol::greeting::{Greeting, Hello, Talk};
use crate::protocol::search::SearchRequest;

const SECOND: Duration = Duration::from_secs(1);

fn encode<M: Serialize>(message: &M, bound: usize) -> Result<Vec<u8>, ConnectionError> {
    let mut frame = Vec::new();
    super::frame::encode(message, bound, None, &mut frame).map(|()| frame)
}

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
    far.send(&"three", 100).await.unwrap();
    assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "one");
    assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "two");
    let mut raw = [0; 3];
    assert_eq!(near.read_raw(&mut raw).await.unwrap(), 3);
    assert_eq!(&raw, b"raw");
    assert!(near.has_message(100), "all came at once");
    assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "three");
    assert!(!near.has_message(100));
    drop(far);
    assert_eq!(near.read_raw(&mut raw).await.unwrap(), 0, "the end");
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
    assert!(matches!(received(b"\0\0\0\x01\xc1", 100).await, Err(ConnectionError::Malformed(_))));
}

/// A greeting with one field more: so many lists within each other.
fn nested(depth: usize) -> Vec<u8> {
    let hello = Greeting::Hello(Hello::new("shoal", NodeId::from_bytes([7; 32]), Talk::Search));
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

#[tokio::test]
async fn what_can_not_be_filled_is_not_announced() {
    let (far, near) = duplex(1 << 10);
    let (mut far, mut near) = (Connection::new(far), Connection::new(near));
    far.queue(&"one", 100).unwrap();
    assert!(far.queue(&"x".repeat(101), 100).is_err());
    assert_eq!(far.queue_with(&"lost", 100, 9, |_| Err("gone")).unwrap(), Err("gone"));
    let fill = |raw: &mut [u8]| {
        raw.copy_from_slice(b"raw");
        Ok::<_, ()>(())
    };
    assert!(far.queue_with(&"x".repeat(101), 100, 3, fill).is_err());
    assert_eq!(far.queue_with(&"two", 100, 3, fill).unwrap(), Ok(()));
    assert!(far.queued() > 0);
    far.flush().await.unwrap();
    assert_eq!(far.queued(), 0);
    drop(far);
    assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "one");
    assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "two");
    let mut raw = Vec::new();
    while let Ok(read @ 1..) = near.read_raw(&mut [0; 2][..]).await {
        raw.push(read);
    }
    assert_eq!(raw, [2, 1]);
}

#[tokio::test]
async fn a_cancelled_flush_goes_on_where_it_was() {
    let (far, near) = duplex(100);
    let (mut far, mut near) = (Connection::new(far), Connection::new(near));
    let text = "shoal".repeat(1000);
    far.queue(&text, 10_000).unwrap();
    let mut whole = pin!(near.receive::<String>(10_000, SECOND));
    let received = loop {
        assert!(step(far.flush()).is_none() || far.queued() == 0);
        if let Some(received) = step(whole.as_mut()) {
            break received;
        }
    };
    assert_eq!(received.unwrap(), text);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_not_waited_for() {
    let (far, _near) = duplex(100);
    let mut far = Connection::new(far);
    let start = Instant::now();
    let error = far.send(&"x".repeat(200), 1000).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Slow), "{error}");
    assert_eq!(start.elapsed().as_secs(), FRAME_DEADLINE.as_secs());
}

#[tokio::test]
async fn who_waits_holds_no_memory() {
    let (far, near) = duplex(1 << 20);
    let (mut far, mut near) = (Connection::new(far), Connection::new(near));
    let text = "x".repeat(300_000);
    for _ in 0..2 {
        far.send(&text, 1 << 20).await.unwrap();
        assert_eq!(near.receive::<String>(1 << 20, SECOND).await.unwrap(), text);
        assert!(step(near.receive::<String>(100, SECOND)).is_none());
        assert_eq!(near.incoming.capacity(), 0);
        assert!(step(far.receive::<String>(100, SECOND)).is_none());
        assert_eq!(far.outgoing.capacity(), 0);
    }
}

/// Polls a future once.
fn step<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Bytes that come in pieces, each after it was waited for in vain.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    waited: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.waited = !self.waited;
        if self.waited {
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(into.remaining().min(piece.len()));
            into.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Messages with raw bytes behind each.
fn conversation() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let few = proptest::collection::vec(any::<u8>(), 0..300);
    let many = (0..300_usize)
        .prop_map(|more| (0..=u8::MAX).cycle().take(READ_AHEAD + more).collect::<Vec<_>>());
    let raw = prop_oneof![9 => few, 1 => many];
    proptest::collection::vec(("[a-z]{0,80}", raw), 1..12)
}

proptest! {
    /// However the bytes are cut, and although every wait is given up once: all comes,
    /// in order, and nothing else.
    #[test]
    fn any_split_of_the_stream_brings_the_same(
        said in conversation(),
        lengths in proptest::collection::vec(1..200_usize, 1..50),
        space in prop_oneof![1..200_usize, Just(READ_AHEAD)],
    ) {
        let mut whole = Vec::new();
        for (text, raw) in &said {
            whole.extend(encode(text, 100).unwrap());
            whole.extend(raw);
        }
        let mut pieces = VecDeque::new();
        for length in lengths.into_iter().cycle() {
            if whole.is_empty() {
                break;
            }
            let rest = whole.split_off(length.min(whole.len()));
            pieces.push_back(std::mem::replace(&mut whole, rest));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let mut near = Connection::new(Pieces { pieces, waited: false });
        let mut space = vec![0; space];
        for (text, raw) in &said {
            let received = loop {
                if let Some(received) = step(near.receive::<String>(100, SECOND)) {
                    break received.unwrap();
                }
            };
            prop_assert_eq!(&received, text);
            let mut left = &raw[..];
            while !left.is_empty() {
                let wanted = left.len().min(space.len());
                if let Some(read) = step(near.read_raw(&mut space[..wanted])) {
                    let read = read.unwrap();
                    prop_assert!(read > 0);
                    prop_assert_eq!(&space[..read], &left[..read]);
                    left = &left[read..];
                }
            }
        }
        let end = loop {
            if let Some(end) = step(near.receive::<String>(100, SECOND)) {
                break end;
            }
        };
        prop_assert!(matches!(end, Err(ConnectionError::Closed)));
    }

    #[test]
    fn hostile_bytes_end_in_an_error_or_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _ = runtime.block_on(received(&bytes, 64));
    }
}

#[tokio::test]
async fn each_message_carries_the_time_of_its_sender() {
    let (far, near) = duplex(1000);
    let (mut far, mut near) = (Connection::new(far), Connection::new(near));
    let (theirs, ours) = (Clock::at(40), Clock::at(7));
    far.keep_time(theirs.clone());
    near.keep_time(ours.clone());
    far.send(&"one", 100).await.unwrap();
    assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "one");
    assert_eq!((near.heard(), ours.now()), (41, 42));
    near.send(&"two", 100).await.unwrap();
    assert_eq!(far.receive::<String>(100, SECOND).await.unwrap(), "two");
    assert_eq!((far.heard(), theirs.now()), (43, 44));
}

#[tokio::test]
async fn a_time_stands_between_the_length_and_the_message() {
    let (mut far, near) = duplex(1000);
    let mut near = Connection::new(near);
    near.keep_time(Clock::at(0x0102_0303));
    near.send(&7_u8, 100).await.unwrap();
    let mut frame = [0; 13];
    far.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame, [0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 7]);
    // One that can't be honest: the message is read, the clock moves on as usual.
    let absurd = [&[0, 0, 0, 1][..], &(1_u64 << 63).to_be_bytes(), &[9]].concat();
    far.write_all(&absurd).await.unwrap();
    assert_eq!(near.receive::<u8>(100, SECOND).await.unwrap(), 9);
    near.send(&7_u8, 100).await.unwrap();
    far.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame, [0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 6, 7]);
}

#[tokio::test]
async fn a_frame_with_a_time_may_come_in_pieces() {
    let (mut far, near) = duplex(1000);
    let mut near = Connection::new(near);
    near.keep_time(Clock::default());
    let frame = [&[0, 0, 0, 1][..], &5_u64.to_be_bytes(), &[9]].concat();
    let sending = async {
        for byte in frame.chunks(1) {
            far.write_all(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (received, ()) = tokio::join!(near.receive::<u8>(100, SECOND), sending);
    assert_eq!((received.unwrap(), near.heard()), (9, 5));
}

#[tokio::test]
async fn what_was_encoded_before_travels_like_any_message() {
    for (length, timed) in [(1, false), (200, true), (5000, false), (5000, true)] {
        // It holds less than the messages.
        let (far, near) = duplex(64);
        let (mut far, mut near) = (Connection::new(far), Connection::new(near));
        if timed {
            far.keep_time(Clock::at(7));
            near.keep_time(Clock::default());
        }
        let text = "x".repeat(length);
        let message = super::encode(&text, 6000).unwrap().into();
        let send = async {
            far.send_encoded(&message).await.unwrap();
            far.queue(&"queued", 100).unwrap();
            far.send_encoded(&message).await.unwrap();
        };
        let receive = async {
            assert_eq!(near.receive::<String>(6000, SECOND).await.unwrap(), text);
            assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "queued");
            assert_eq!(near.receive::<String>(6000, SECOND).await.unwrap(), text);
        };
        tokio::join!(send, receive);
        assert_eq!(near.heard(), if timed { 10 } else { 0 });
    }
    assert!(super::encode(&"x".repeat(100), 100).is_err());
}

#[tokio::test]
async fn what_many_are_slow_to_take_takes_memory_once() {
    let text = "x".repeat(50_000);
    let message: Arc<[u8]> = super::encode(&text, 60_000).unwrap().into();
    let mut slow = Vec::new();
    for _ in 0..10 {
        let (far, near) = duplex(64);
        let (mut far, near) = (Connection::new(far), Connection::new(near));
        // It is given up, and nothing is lost.
        assert!(step(far.send_encoded(&message)).is_none());
        assert!(far.queued() > text.len() - 64);
        assert!(far.outgoing.capacity() < 100, "{}", far.outgoing.capacity());
        slow.push((far, near));
    }
    assert_eq!(Arc::strong_count(&message), 11);
    for (far, near) in &mut slow {
        // What is queued then goes behind it.
        far.queue(&"queued", 100).unwrap();
        let receive = async {
            assert_eq!(near.receive::<String>(60_000, SECOND).await.unwrap(), text);
            assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "queued");
        };
        let (sent, ()) = tokio::join!(far.flush(), receive);
        sent.unwrap();
        assert_eq!(far.queued(), 0);
    }
    assert_eq!(Arc::strong_count(&message), 1);
}

#[tokio::test]
async fn a_message_that_is_expected_is_known_without_reading() {
    let (far, near) = duplex(1 << 10);
    let (mut far, mut near) = (Connection::new(far), Connection::new(near));
    far.keep_time(Clock::at(7));
    near.keep_time(Clock::default());
    let [beat, other] = ["beat", "bear"].map(|text| super::encode(&text, 100).unwrap());
    assert!(!near.receive_if(&beat), "nothing is here");
    far.send(&"beat", 100).await.unwrap();
    far.send(&"bear", 100).await.unwrap();
    poll_fn(|context| near.poll_begun(context)).await.unwrap();
    assert!(!near.receive_if(&other) && near.receive_if(&beat));
    assert_eq!(near.heard(), 8);
    assert!(!near.receive_if(&beat));
    assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "bear");
    far.stream().write_all(&[0, 0, 0, 5, 0]).await.unwrap();
    poll_fn(|context| near.poll_begun(context)).await.unwrap();
    assert!(!near.receive_if(&beat), "only its beginning is here");
    drop(far);
    assert!(matches!(near.receive::<String>(100, SECOND).await, Err(ConnectionError::Broken(_))));
    let ended = poll_fn(|context| near.poll_begun(context)).await;
    assert!(ended.is_ok(), "what is here was not taken: {ended:?}");
}

#[tokio::test]
async fn what_was_encoded_before_carries_the_time_at_which_it_is_queued() {
    let (far, near) = duplex(1 << 10);
    let (mut far, mut near) = (Connection::new(far), Connection::new(near));
    let message = super::encode(&"again", 100).unwrap();
    far.queue_encoded(&message).unwrap();
    far.keep_time(Clock::at(7));
    far.flush().await.unwrap();
    assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), "again");
    near.keep_time(Clock::default());
    far.send(&"before", 100).await.unwrap();
    far.queue_encoded(&message).unwrap();
    far.flush().await.unwrap();
    for (text, time) in [("before", 8), ("again", 9)] {
        assert_eq!(near.receive::<String>(100, SECOND).await.unwrap(), text);
        assert_eq!(near.heard(), time);
    }
}
