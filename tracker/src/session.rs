//! One connection of a node: what it says and what is pushed to it.

use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::limits::{HELLO_DEADLINE, MAX_REQUEST_FRAME, MAX_TRACKER_FRAME, PUSH_PAUSE};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use shoal_common::serve::Guest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::hub::Hub;
use crate::office::{Gate, Office};
use crate::registry::Registry;
use crate::visit::{Step, Visit};

/// Serves a node until one side hangs up.
///
/// # Errors
/// Those of the connection.
pub(crate) async fn session(guest: Guest, office: Office) -> Result<(), ConnectionError> {
    let hub = office.hub();
    let mut visit = hub.visit(guest.hello.node);
    let outcome = talk(guest.connection, &mut visit, &office).await;
    hub.tell(|registry, now| visit.end(registry, now));
    outcome
}

async fn talk(
    mut connection: Connection<TcpStream>,
    visit: &mut Visit,
    office: &Office,
) -> Result<(), ConnectionError> {
    let hub = office.hub();
    let mut watch = office.watch();
    let mut bell = hub.bell();
    let mut next_push = Instant::now();
    // Who does not register holds a slot for no longer than a greeting may take,
    // whatever else it says.
    let due = Instant::now() + HELLO_DEADLINE;
    loop {
        let message = tokio::select! {
            // In this order: who never stops talking does not put off its end.
            biased;
            () = sleep_until(due), if !visit.is_registered() => {
                return Err(ConnectionError::Silent(HELLO_DEADLINE));
            }
            () = ring(&mut bell, next_push), if visit.is_registered() => {
                next_push = Instant::now() + PUSH_PAUSE;
                None
            }
            (news, last) = watch.news(), if visit.is_registered() => {
                say(&mut connection, news).await?;
                if last {
                    return Ok(());
                }
                continue;
            }
            received = listen(&mut connection, hub) => Some(received?),
        };
        match office.gate(message.as_ref()) {
            Gate::Open => {}
            Gate::Mute => continue,
            Gate::Elsewhere(reign) => {
                return say(&mut connection, FromTracker::Elsewhere { reign }).await;
            }
        }
        // Held until the message is sent.
        let mut _room = None;
        if hub.look(|registry| visit.needs_room(message.as_ref(), registry)) {
            _room = hub.room().await;
            if _room.is_none() {
                return say(&mut connection, refused(Refusal::Busy)).await;
            }
        }
        match hub.tell(|registry, now| match message {
            Some(message) => visit.answer(message, registry, now),
            None => visit.push(registry),
        }) {
            Step::Wait => {}
            Step::Say(message) => say(&mut connection, message).await?,
            Step::SayLast(message) => return say(&mut connection, message).await,
            Step::HangUp => return Ok(()),
        }
    }
}

/// The next message. Safe to cancel but for the very end of a connection.
async fn listen(
    connection: &mut Connection<TcpStream>,
    hub: &Hub,
) -> Result<ToTracker, ConnectionError> {
    // Of silence the registry decides; this is only the last resort.
    let patience = (4 * hub.look(Registry::heartbeat)).max(HELLO_DEADLINE);
    let received = connection.receive(MAX_REQUEST_FRAME, patience).await;
    if let Err(ConnectionError::Malformed(_)) = received {
        // For the author of the other program; the connection ends anyway.
        say(connection, refused(Refusal::Malformed)).await.ok();
    }
    received
}

/// Waits for the bell, but not before `earliest`. Safe to cancel.
async fn ring(bell: &mut watch::Receiver<()>, earliest: Instant) {
    sleep_until(earliest).await;
    if bell.changed().await.is_err() {
        // The hub is gone, and with it soon this session.
        std::future::pending::<()>().await;
    }
}

async fn say(
    connection: &mut Connection<TcpStream>,
    message: FromTracker,
) -> Result<(), ConnectionError> {
    let message = located(connection, message);
    if let FromTracker::Refused { refusal } = &message {
        info!("refused: {refusal}");
    }
    connection.send(&message, MAX_TRACKER_FRAME).await
}

/// A tracker that listens on all addresses is where this node has reached it.
fn located(connection: &mut Connection<TcpStream>, mut message: FromTracker) -> FromTracker {
    let charter = match &mut message {
        FromTracker::Registered(registered) => registered.charter.as_mut(),
        FromTracker::Reigns(charter) => Some(charter),
        _ => None,
    };
    if let (Some(charter), Ok(local)) = (charter, connection.stream().local_addr()) {
        charter.reign = charter.reign.seen_at(local.ip());
    }
    message
}

fn refused(refusal: Refusal) -> FromTracker {
    FromTracker::Refused { refusal }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_common::call::call;
    use shoal_common::ident::NodeId;
    use shoal_common::limits::{MAX_LISTS, SMALL_NEWS};
    use shoal_common::party::Party;
    use shoal_common::protocol::greeting::Talk;
    use shoal_common::protocol::tracking::Registration;
    use shoal_common::serve::serve;
    use shoal_common::task::Tasks;
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;

    use super::*;
    use crate::chat::proposer::Settings;
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
    async fn a_long_list_waits_for_room_and_short_answers_do_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new(Handle::current());
        let us = Party::new("test", NodeId::random());
        let beat = Duration::from_secs(60);
        let office = Office::home(us.clone(), address, beat, Screen::none(), Settings::default());
        let hub = office.hub();
        let sessions = office.clone();
        let handle = move |guest| session(guest, sessions.clone());
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

        // The list is short, then it is long.
        let (mut first, _) =
            call(address, &Party { node: NodeId::random(), ..us }, Talk::Tracking).await.unwrap();
        let answer: FromTracker = first.ask(&register("first"), MAX_TRACKER_FRAME).await.unwrap();
        assert!(matches!(answer, FromTracker::Registered(_)), "{answer:?}");
        for number in 0..SMALL_NEWS {
            let mut visit = hub.visit(NodeId::random());
            let message = register(&format!("node{number}"));
            hub.tell(|registry, now| visit.answer(message, registry, now));
        }
        node.send(&register("one"), MAX_REQUEST_FRAME).await.unwrap();
        let moment = Duration::from_millis(300);
        let waiting = node.receive::<FromTracker>(MAX_TRACKER_FRAME, moment).await;
        assert!(matches!(waiting, Err(ConnectionError::Silent(_))), "{waiting:?}");
        drop(room);
        let answer: FromTracker = node.receive(MAX_TRACKER_FRAME, HELLO_DEADLINE).await.unwrap();
        assert!(matches!(answer, FromTracker::Registered(_)), "{answer:?}");
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, Ok(()));
    }
}
