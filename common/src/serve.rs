//! The accept loop and the answering side of every greeting, once.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rustix::net::sockopt::set_tcp_congestion;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{Span, debug, info, info_span, warn};

use crate::connection::{Connection, ConnectionError};
use crate::limits::{HELLO_DEADLINE, MAX_REQUEST_FRAME};
use crate::party::Party;
use crate::protocol::greeting::{Greeting, Hello, Talk};
use crate::protocol::refusal::Refusal;
use crate::task::Tasks;

/// Somebody who connected and greeted.
#[derive(Debug)]
pub struct Guest {
    /// The connection, after the greetings.
    pub connection: Connection<TcpStream>,
    /// Who it is.
    pub hello: Hello,
    /// Where it calls from.
    pub address: SocketAddr,
}

/// How many connections a port has at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Of any kind, those included that have not greeted yet. Further ones wait in
    /// the kernel's queue.
    pub all: usize,
    /// Of those whose talk [lasts](Talk::lasts). Further ones are refused as
    /// [busy](Refusal::Busy). Fewer than `all` where short talks are had, too:
    /// nobody could have one while all connections are held by those that last.
    pub lasting: usize,
}

impl From<usize> for Bound {
    /// So many, of whatever kind.
    fn from(all: usize) -> Self {
        Self { all, lasting: all }
    }
}

/// Accepts connections until the tasks are cancelled, greets, and runs `handle`
/// for each in a task of its own.
///
/// Only the conversations `talks` are had here; others are refused as
/// unsupported. At most `bound` connections are open at once. A connection that
/// does not greet within [`HELLO_DEADLINE`] is closed. An error of one connection
/// is logged once and touches no other.
pub async fn serve<H, F>(
    listener: TcpListener,
    us: Party,
    talks: &'static [Talk],
    bound: impl Into<Bound>,
    tasks: Tasks,
    handle: H,
) where
    H: Fn(Guest) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), ConnectionError>> + Send + 'static,
{
    let named = |address| info_span!("from", %address);
    accept_all(listener, us, talks, bound.into(), tasks, handle, named).await;
}

/// As [`serve`], for thousands of connections that rest most of the time: what
/// `handle` logs does not say by itself from whom it is. A span takes memory as
/// long as it lives, and time whenever its task is woken.
pub async fn serve_thousands<H, F>(
    listener: TcpListener,
    us: Party,
    talks: &'static [Talk],
    bound: impl Into<Bound>,
    tasks: Tasks,
    handle: H,
) where
    H: Fn(Guest) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), ConnectionError>> + Send + 'static,
{
    // Short messages, each alone, need no pacing, and its timers are work.
    if let Err(error) = set_tcp_congestion(&listener, "reno") {
        debug!("no other congestion control: {error}");
    }
    accept_all(listener, us, talks, bound.into(), tasks, handle, |_| Span::none()).await;
}

async fn accept_all<H, F>(
    listener: TcpListener,
    us: Party,
    talks: &'static [Talk],
    bound: Bound,
    tasks: Tasks,
    handle: H,
    span: impl Fn(SocketAddr) -> Span,
) where
    H: Fn(Guest) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), ConnectionError>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(bound.all));
    let lasting = Arc::new(Semaphore::new(bound.lasting));
    let mut pauses = Pauses::default();
    loop {
        // The slot comes before the connection: what can't be served yet stays
        // in the kernel's queue instead of taking a descriptor.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (stream, address) = accept(&listener, &mut pauses).await;
        let (us, handle, lasting) = (us.clone(), handle.clone(), Arc::clone(&lasting));
        // In a box, which is gone when the greeting is over: it takes more memory
        // than what follows, of which there are thousands.
        let welcome = Box::pin(welcome(stream, address, us, talks, lasting));
        tasks.spawn(span(address), async move {
            let outcome = match welcome.await {
                Ok(Some(welcomed)) => {
                    let (guest, lasting) = *welcomed;
                    let outcome = handle(guest).await;
                    drop(lasting);
                    outcome
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => debug!("connection from {address} ends"),
                Err(error) if error.is_usual() => debug!("connection from {address} ends: {error}"),
                Err(error) => info!("connection from {address} closed: {error}"),
            }
            drop(slot);
        });
    }
}

/// Who was welcomed, with one of the slots for talks that last if it has one. In a
/// box, so that nothing of it stays in the task of a guest that is served.
type Welcomed = Box<(Guest, Option<OwnedSemaphorePermit>)>;

/// The next connection. An error of `accept` (no descriptors left, say) would
/// repeat at once, so each is followed by a growing pause.
async fn accept(listener: &TcpListener, pauses: &mut Pauses) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                pauses.accepted();
                return accepted;
            }
            // The caller hung up while it waited in the queue.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let pause = pauses.failed();
                warn!("cannot accept a connection, next try in {} ms: {error}", pause.as_millis());
                sleep(pause).await;
            }
        }
    }
}

/// First and longest pause after an error of `accept`; each may be up to twice
/// as long by chance.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The pauses after errors of `accept`. They begin anew only after two
/// connections in a row: while descriptors are short, one is accepted whenever
/// one is freed, and the shortage goes on.
#[derive(Debug, Default)]
struct Pauses {
    growing: Option<ExponentialBackoff>,
    /// Whether the last `accept` went well.
    well: bool,
}

impl Pauses {
    fn accepted(&mut self) {
        if std::mem::replace(&mut self.well, true) {
            self.growing = None;
        }
    }

    /// The pause after an error.
    fn failed(&mut self) -> Duration {
        self.well = false;
        let pauses = ExponentialBuilder::new()
            .with_min_delay(ACCEPT_PAUSE.0)
            .with_max_delay(ACCEPT_PAUSE.1)
            .with_jitter()
            .without_max_times();
        self.growing.get_or_insert_with(|| pauses.build()).next().unwrap_or(ACCEPT_PAUSE.1)
    }
}

/// Exchanges greetings; `None` if the other was told that we won't talk. One whose
/// talk lasts gets one of the slots `lasting`, to be held while it does.
async fn welcome(
    stream: TcpStream,
    address: SocketAddr,
    us: Party,
    talks: &[Talk],
    lasting: Arc<Semaphore>,
) -> Result<Option<Welcomed>, ConnectionError> {
    stream.set_nodelay(true).ok();
    let mut connection = Connection::new(stream);
    let greeting = timeout(HELLO_DEADLINE, connection.receive(MAX_REQUEST_FRAME, HELLO_DEADLINE));
    let hello = match greeting.await {
        Ok(Ok(Greeting::Hello(hello))) => hello,
        Ok(Ok(Greeting::Refused { .. })) => return Ok(None),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(ConnectionError::Silent(HELLO_DEADLINE)),
    };
    let greeting = us.greets(hello.talk);
    let known = if talks.contains(&hello.talk) { Ok(()) } else { Err(Refusal::Unsupported) };
    let slot = || match hello.talk.lasts() {
        true => lasting.try_acquire_owned().map(Some).map_err(|_| Refusal::Busy),
        false => Ok(None),
    };
    let slot = match greeting.check(&hello).and(known).and_then(|()| slot()) {
        Ok(slot) => slot,
        Err(refusal) => {
            debug!("refused: {refusal}");
            connection.send(&Greeting::Refused { refusal }, MAX_REQUEST_FRAME).await?;
            return Ok(None);
        }
    };
    // The time of a foreign network is none of ours.
    us.clock.witness(hello.lamport);
    let greeting = us.greets(hello.talk);
    connection.send(&Greeting::Hello(greeting), MAX_REQUEST_FRAME).await?;
    connection.keep_time(us.clock);
    Ok(Some(Box::new((Guest { connection, hello, address }, slot))))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::Handle;

    use super::*;
    use crate::call::{CallError, call};
    use crate::ident::NodeId;
    use crate::protocol::refusal::Refusal;

    const TALKS: [Talk; 3] = [Talk::Search, Talk::Succession, Talk::Tracking];

    /// A server that sends back each text, at most `bound` at once.
    async fn echo(bound: impl Into<Bound>) -> (SocketAddr, Tasks) {
        let bound = bound.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new(Handle::current());
        let us = Party::new("test", NodeId::random());
        tasks.spawn(
            tracing::Span::none(),
            serve(listener, us, &TALKS, bound, tasks.clone(), |mut guest| async move {
                loop {
                    let text: String = guest.connection.receive(100, HELLO_DEADLINE).await?;
                    guest.connection.send(&text, 100).await?;
                }
            }),
        );
        (address, tasks)
    }

    async fn answers(address: SocketAddr) -> bool {
        answers_to(address, Talk::Search).await
    }

    async fn answers_to(address: SocketAddr, talk: Talk) -> bool {
        let us = Party::new("test", NodeId::random());
        let Ok((mut connection, _)) = call(address, &us, talk).await else {
            return false;
        };
        connection.ask::<_, String>(&"hello", 100).await.is_ok_and(|text| text == "hello")
    }

    #[test]
    fn pauses_grow_while_descriptors_are_short_and_begin_anew_afterwards() {
        let mut pauses = Pauses::default();
        let mut longest = Duration::ZERO;
        for _ in 0..6 {
            let pause = pauses.failed();
            assert!(pause >= longest, "{pause:?} after {longest:?}");
            longest = pause;
            // A descriptor was freed; the next one is missing again.
            pauses.accepted();
        }
        assert!(longest >= 32 * ACCEPT_PAUSE.0 && longest <= 2 * ACCEPT_PAUSE.1, "{longest:?}");
        pauses.accepted();
        assert!(pauses.failed() <= 2 * ACCEPT_PAUSE.0);
    }

    #[tokio::test]
    async fn greets_and_serves_and_leaves_nothing_behind() {
        let (address, tasks) = echo(10).await;
        assert!(answers(address).await);
        assert_eq!(tasks.stop(Duration::from_secs(1)).await, Ok(()));
        assert!(!answers(address).await);
    }

    #[tokio::test]
    async fn another_network_is_refused_in_words() {
        let (address, _tasks) = echo(10).await;
        let stranger = Party::new("elsewhere", NodeId::random());
        let error = call(address, &stranger, Talk::Search).await.unwrap_err();
        assert!(
            matches!(error, CallError::Refused { refusal: Refusal::WrongNetwork, .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn garbage_is_closed_and_the_next_one_served() {
        let (address, _tasks) = echo(10).await;
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xff\xff\xff", b"\0\0\0\x01\xc1"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            let end = timeout(HELLO_DEADLINE / 2, stream.read_to_end(&mut Vec::new())).await;
            assert!(end.is_ok(), "{garbage:?} holds its connection");
        }
        assert!(answers(address).await);
    }

    #[tokio::test]
    async fn talks_that_last_leave_room_for_short_ones() {
        let (address, _tasks) = echo(Bound { all: 3, lasting: 2 }).await;
        let us = Party::new("test", NodeId::random());
        let mut lasting = Vec::new();
        for _ in 0..2 {
            lasting.push(call(address, &us, Talk::Tracking).await.unwrap());
        }
        for _ in 0..5 {
            let error = call(address, &us, Talk::Tracking).await.unwrap_err();
            assert!(matches!(error, CallError::Refused { refusal: Refusal::Busy, .. }), "{error}");
        }
        assert!(answers_to(address, Talk::Succession).await && answers(address).await);
        // Who goes makes room.
        let (mut last, _) = lasting.pop().unwrap();
        let farewell: Result<String, _> = last.ask(&7, 100).await;
        farewell.unwrap_err();
        drop(last);
        assert!(answers_to(address, Talk::Tracking).await);
    }

    #[tokio::test]
    async fn idle_strangers_are_closed_and_then_the_next_one_is_served() {
        let (address, _tasks) = echo(2).await;
        let idle = [
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        ];
        // Both slots are taken until the strangers' time to greet is over.
        let start = tokio::time::Instant::now();
        let us = Party::new("test", NodeId::random());
        let mut served = false;
        for _ in 0..3 {
            if call(address, &us, Talk::Search).await.is_ok() {
                served = true;
                break;
            }
        }
        assert!(served, "not served after {:?}", start.elapsed());
        assert!(start.elapsed() > HELLO_DEADLINE / 2, "the bound was not kept");
        drop(idle);
    }
}
