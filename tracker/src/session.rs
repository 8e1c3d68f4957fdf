//! One connection of a node: what it says and what is pushed to it.

use std::sync::Arc;

use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::limits::{HELLO_DEADLINE, MAX_REPLY_FRAME, MAX_REQUEST_FRAME, PUSH_PAUSE};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use shoal_common::serve::Guest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::hub::Hub;
use crate::registry::Registry;
use crate::visit::{Step, Visit};

/// Serves a node until one side hangs up.
///
/// # Errors
/// Those of the connection.
pub(crate) async fn session(guest: Guest, hub: Arc<Hub>) -> Result<(), ConnectionError> {
    let mut visit = hub.visit(guest.hello.node);
    let outcome = talk(guest.connection, &mut visit, &hub).await;
    hub.tell(|registry, now| visit.end(registry, now));
    outcome
}

async fn talk(
    mut connection: Connection<TcpStream>,
    visit: &mut Visit,
    hub: &Hub,
) -> Result<(), ConnectionError> {
    let mut bell = hub.bell();
    let mut next_push = Instant::now();
    loop {
        let message = tokio::select! {
            received = listen(&mut connection, visit, hub) => Some(received?),
            () = ring(&mut bell, next_push), if visit.is_registered() => {
                next_push = Instant::now() + PUSH_PAUSE;
                None
            }
        };
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
    visit: &Visit,
    hub: &Hub,
) -> Result<ToTracker, ConnectionError> {
    // Who has not registered holds a slot for no more than a greeting's time.
    // Of the silence of others the registry decides; this is only the last
    // resort.
    let patience = match visit.is_registered() {
        true => 4 * hub.look(Registry::heartbeat),
        false => HELLO_DEADLINE,
    };
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
        std::future::pending().await
    }
}

async fn say(
    connection: &mut Connection<TcpStream>,
    message: FromTracker,
) -> Result<(), ConnectionError> {
    connection.send(&message, MAX_REPLY_FRAME).await
}

fn refused(refusal: Refusal) -> FromTracker {
    FromTracker::Refused { refusal }
}
