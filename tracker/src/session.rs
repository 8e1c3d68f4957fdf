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
use shoal_common::limits::{HELLO_DEADLINE, MAX_REQUEST_FRAME, MAX_TRACKER_FRAME};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::succession::Reign;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use shoal_common::serve::Guest;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tracing::info;

use crate::bell::Seat;
use crate::hub::Deed;
use crate::office::{Gate, Office, Watch};
use crate::visit::Visit;

/// Serves a node until one side hangs up.
///
/// # Errors
/// Those of the connection.
pub(crate) async fn session(guest: Guest, office: Office) -> Result<(), ConnectionError> {
    let Guest { connection, hello, address } = guest;
    let hub = office.hub();
    let visit = hub.visit(hello.node);
    // Each group has one.
    let Some(seat) = hub.seat(&visit) else { return Ok(()) };
    // The rest of the greeting is not kept.
    drop(hello);
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
    let outcome = session.talk(&office).await;
    hub.tell(|registry, now| session.visit.end(registry, now));
    outcome
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
                    self.answer(ToTracker::Heartbeat, office)?
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
            if self.seat.poll_rung(context).is_ready() {
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
            Gate::Mute => Ok(Deed::Wait),
            Gate::Elsewhere(reign) => Ok(elsewhere(reign)),
        }
    }

    /// What is to be done about a message.
    fn answer(&mut self, message: ToTracker, office: &Office) -> Result<Deed, ConnectionError> {
        match office.gate(Some(&message)) {
            Gate::Open => office.hub().answer(&mut self.visit, message),
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
            return self.answer(message, office).map(Some);
        }
        // Held until the page is sent.
        let Some(_room) = office.hub().room().await else {
            self.say(Box::new(refused(Refusal::Busy))).await?;
            return Ok(None);
        };
        match self.answer(message, office)? {
            Deed::Say(page) => {
                self.say(page).await?;
                Ok(Some(Deed::Wait))
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

fn elsewhere(reign: Option<Reign>) -> Deed {
    Deed::SayLast(Box::new(FromTracker::Elsewhere { reign }))
}

fn refused(refusal: Refusal) -> FromTracker {
    FromTracker::Refused { refusal }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_common::call::call;
    use shoal_common::ident::NodeId;
    use shoal_common::limits::{MAX_LISTS, PUSH_PAUSES};
    use shoal_common::party::Party;
    use shoal_common::protocol::greeting::Talk;
    use shoal_common::protocol::tracking::Registration;
    use shoal_common::serve::serve;
    use shoal_common::task::Tasks;
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;

    use super::*;
    use crate::chat::proposer::Settings;
    use crate::door::admit;
    use crate::screen::Screen;

    fn register(name: &str) -> ToTracker {
        ToTracker::Register(Registration {
            name: name.parse().unwrap(),
            exact: true,
            search: "127.0.0.1:4000".parse().unwrap(),
            download: "127.0.0.1:4001".parse().unwrap(),
            reign: None,
            joined: 0,
        })
    }

    #[tokio::test]
    async fn a_page_waits_for_room_and_short_answers_do_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new(Handle::current());
        let us = Party::new("test", NodeId::random());
        let beat = Duration::from_secs(60);
        let chat = Settings::default();
        let office = Office::home(us.clone(), address, beat, Screen::none(), chat);
        let hub = office.hub();
        let sessions = office.clone();
        let handle = move |guest| {
            let session = admit(guest, sessions.clone());
            // There are thousands of them: what is rare belongs in a box.
            assert!(size_of_val(&session) <= 1024, "{}", size_of_val(&session));
            session
        };
        tasks.spawn(
            tracing::Span::none(),
            serve(listener, us.clone(), &[Talk::Tracking], 10, tasks.clone(), handle),
        );

        let mut room = Vec::new();
        for _ in 0..MAX_LISTS {
            room.push(hub.room().await.unwrap());
        }
        let (mut node, _) = call(address, &us, Talk::Tracking).await.unwrap();
        let early: FromTracker = node.ask(&ToTracker::Exit, MAX_TRACKER_FRAME).await.unwrap();
        assert_eq!(early, refused(Refusal::NotAllowed));
        let answer: FromTracker = node.ask(&register("one"), MAX_TRACKER_FRAME).await.unwrap();
        assert!(matches!(answer, FromTracker::Registered(_)), "{answer:?}");

        tokio::time::sleep(PUSH_PAUSES.0).await;
        node.send(&ToTracker::Page { after: None }, MAX_REQUEST_FRAME).await.unwrap();
        let moment = Duration::from_millis(300);
        let waiting = node.receive::<FromTracker>(MAX_TRACKER_FRAME, moment).await;
        assert!(matches!(waiting, Err(ConnectionError::Silent(_))), "{waiting:?}");
        drop(room);
        let answer: FromTracker = node.receive(MAX_TRACKER_FRAME, HELLO_DEADLINE).await.unwrap();
        assert!(matches!(answer, FromTracker::Page(_)), "{answer:?}");
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, Ok(()));
    }
}
