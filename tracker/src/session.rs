//! One connection of a node: what it says and what is pushed to it.
//!
//! There are thousands of them, and nearly all the time they rest. So the task of
//! one holds little, and what it waits for needs no timer once the node has
//! registered: silence is noticed by the registry.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::limits::{HELLO_DEADLINE, LIST_DEADLINE, MAX_REQUEST_FRAME, MAX_TRACKER_FRAME};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::succession::Reign;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use shoal_common::serve::Guest;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};
use tracing::info;

use crate::bell::Seat;
use crate::known::Deed;
use crate::office::{Gate, Office, Watch};
use crate::visit::Visit;

/// Serves a node until one side hangs up.
///
/// # Errors
/// Those of the connection.
pub(crate) fn session(
    guest: Guest,
    office: Office,
) -> impl Future<Output = Result<(), ConnectionError>> {
    let Guest { connection, hello, address } = guest;
    let visit = office.hub().visit(hello.node);
    let seat = office.hub().seat(&visit);
    let mut session = Session {
        connection,
        address,
        visit,
        seat,
        watch: office.watch(),
        // Who does not register holds a slot for no longer than a greeting may
        // take, whatever else it says.
        due: Some(Box::pin(sleep(HELLO_DEADLINE))),
    };
    // Here, because an `async fn` would keep the guest as well.
    async move {
        let outcome = session.talk(&office).await;
        office.hub().tell(|registry, now| session.visit.end(registry, now));
        outcome
    }
}

struct Session {
    connection: Connection<TcpStream>,
    address: SocketAddr,
    visit: Visit,
    seat: Seat,
    watch: Watch,
    /// Until when it must have registered.
    due: Option<Pin<Box<Sleep>>>,
}

/// What happens to a session.
enum Event {
    /// It did not register in time.
    Due,
    /// There may be something to push.
    Round,
    /// A message has begun to come.
    Message,
}

impl Session {
    async fn talk(&mut self, office: &Office) -> Result<(), ConnectionError> {
        loop {
            let deed = match poll_fn(|context| self.poll_event(context)).await? {
                Event::Due => return Err(ConnectionError::Silent(HELLO_DEADLINE)),
                Event::Round => {
                    if let Some((news, last)) = self.watch.news() {
                        Box::pin(self.say(news)).await?;
                        if last {
                            return Ok(());
                        }
                    }
                    self.push(office)?
                }
                Event::Message if self.connection.receive_if(office.hub().heartbeat()) => {
                    self.answer(ToTracker::Heartbeat, office, true)?
                }
                // Rare, and it takes much more memory while it lasts.
                Event::Message => match Box::pin(self.other(office)).await? {
                    Some(deed) => deed,
                    None => return Ok(()),
                },
            };
            match deed {
                Deed::Wait => {}
                Deed::Send(frame) => self.connection.send_encoded(&frame).await?,
                Deed::Say(message) => Box::pin(self.say(message)).await?,
                Deed::SayLast(message) => return Box::pin(self.say(message)).await,
                Deed::HangUp => return Ok(()),
            }
        }
    }

    /// In this order: who never stops talking does not put off its end.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, ConnectionError>> {
        if self.visit.is_registered() {
            self.due = None;
            if self.visit.is_behind() || self.seat.poll_rung(context).is_ready() {
                return Poll::Ready(Ok(Event::Round));
            }
        }
        if self.due.as_mut().is_some_and(|due| due.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Ok(Event::Due));
        }
        self.connection.poll_begun(context).map(|begun| begun.map(|()| Event::Message))
    }

    /// What is to be done because its bell rang.
    fn push(&mut self, office: &Office) -> Result<Deed, ConnectionError> {
        match office.gate(None) {
            Gate::Open => office.hub().push(&mut self.visit),
            Gate::Mute => {
                self.visit.wait();
                Ok(Deed::Wait)
            }
            Gate::Elsewhere(reign) => Ok(elsewhere(reign)),
        }
    }

    /// What is to be done about a message, which can be answered with a page only
    /// if there is `room`.
    fn answer(
        &mut self,
        message: ToTracker,
        office: &Office,
        room: bool,
    ) -> Result<Deed, ConnectionError> {
        let hub = office.hub();
        match office.gate(Some(&message)) {
            Gate::Open if room => hub.answer(&mut self.visit, message),
            Gate::Open => hub.put_off(&mut self.visit),
            // Whoever is tracker: it leaves, and is not to wait for an answer.
            Gate::Mute if message == ToTracker::Exit => {
                hub.answer(&mut self.visit, message).map(|_| Deed::HangUp)
            }
            // A heartbeat or a page: it is asked for again.
            Gate::Mute => Ok(Deed::Wait),
            Gate::Elsewhere(reign) => Ok(elsewhere(reign)),
        }
    }

    /// Receives a message, whatever it is, and answers it if that takes room; else
    /// what is to be done. None if the connection is to end.
    async fn other(&mut self, office: &Office) -> Result<Option<Deed>, ConnectionError> {
        // It has begun to come.
        let received = self.connection.receive(MAX_REQUEST_FRAME, HELLO_DEADLINE).await;
        if let Err(ConnectionError::Malformed(_)) = received {
            // For the author of the other program; the connection ends anyway.
            self.say(Box::new(refused(Refusal::Malformed))).await.ok();
        }
        let message = received?;
        if !matches!(message, ToTracker::Page { .. }) {
            return self.answer(message, office, true).map(Some);
        }
        let room = office.hub().room();
        match self.answer(message, office, room.is_some())? {
            Deed::Say(page) if is_long(&page) => {
                // The room is held until the page is sent.
                let sent = timeout(LIST_DEADLINE, self.say(page)).await;
                drop(room);
                sent.map_err(|_| ConnectionError::Slow)?.map(|()| Some(Deed::Wait))
            }
            deed => Ok(Some(deed)),
        }
    }

    async fn say(&mut self, mut message: Box<FromTracker>) -> Result<(), ConnectionError> {
        locate(&mut self.connection, &mut message);
        if let FromTracker::Refused { refusal } = &*message {
            info!("refused to {}: {refusal}", self.address);
        }
        self.connection.send(&*message, MAX_TRACKER_FRAME).await
    }
}

/// A tracker that listens on all addresses is where this node has reached it.
fn locate(connection: &mut Connection<TcpStream>, message: &mut FromTracker) {
    let charter = match message {
        FromTracker::Registered(registered) => registered.charter.as_mut(),
        FromTracker::Reigns(charter) => Some(charter),
        _ => None,
    };
    if let (Some(charter), Ok(local)) = (charter, connection.stream().local_addr()) {
        charter.reign = charter.reign.seen_at(local.ip());
    }
}

/// Whether it is a page with somebody in it.
fn is_long(message: &FromTracker) -> bool {
    matches!(message, FromTracker::Page(page) if !page.peers.is_empty())
}

fn elsewhere(reign: Option<Reign>) -> Deed {
    Deed::SayLast(Box::new(FromTracker::Elsewhere { reign }))
}

fn refused(refusal: Refusal) -> FromTracker {
    FromTracker::Refused { refusal }
}

#[cfg(test)]
mod tests;
