//! One connection of a node that chats.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::chat::entry::{Event, LogId, Position};
use shoal_common::chat::log::weight_of;
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::ident::NodeId;
use shoal_common::limits::{
    CHAT_BEAT, CHAT_WINDOW, FRAME_DEADLINE, HELLO_DEADLINE, MAX_CHAT_FRAME, MAX_REQUEST_FRAME,
};
use shoal_common::protocol::chat::{FromChat, ToChat};
use shoal_common::serve::Guest;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::hall::{Chat, News};

/// Bytes that are queued for a member at once. One that reads slowly lets that
/// much wait, and no more.
const QUEUE: usize = 256 * 1024;

/// Bytes a second that a member has to take at least, while there is something for
/// it: else a few bytes at a time would keep what is queued for ever.
const SLOWEST: usize = 16 * 1024;

/// Entries that did not concern a member, after which it is told how far the log
/// is: so that it does not have to be looked through for it again.
const SILENT: u64 = 1000;

/// A member that does not read what it is told.
const SLOW: &str = "what it was told was not read; it catches up now";

/// One connection.
struct Session {
    chat: Chat,
    node: NodeId,
    number: u64,
    connection: Connection<TcpStream>,
    /// Of which log it has heard.
    knows: Option<LogId>,
    /// Which log it belongs to, once it is attached.
    log: Option<LogId>,
    /// Up to where all has been queued for it.
    told: Position,
    /// The last position that it was told of.
    said: Position,
    /// What it submitted and could not be taken yet.
    submitted: VecDeque<(u64, Event)>,
    /// Whether it wants to leave and has not been told that it may.
    leaving: bool,
    beat_due: Instant,
    /// When the node said something last.
    heard_at: Instant,
}

/// Serves a node until one side hangs up.
pub(super) fn session(
    guest: Guest,
    chat: Chat,
) -> impl Future<Output = Result<(), ConnectionError>> {
    // In a box, which is gone when the node is attached: there are thousands, and this
    // takes as much memory as what follows.
    let attached = Box::pin(attach(guest, chat));
    async move {
        let Some(mut attached) = attached.await? else { return Ok(()) };
        let outcome = attached.session.talk(&mut attached.bell, &attached.alone).await;
        let session = attached.session;
        let reason = matches!(outcome, Err(ConnectionError::Slow)).then_some(SLOW);
        session.chat.release(session.weight());
        session.chat.detach(session.node, session.number, reason);
        outcome
    }
}

/// A session, and what wakes it.
struct Attached {
    session: Session,
    /// Rings for all.
    bell: watch::Receiver<()>,
    /// Rings for this one alone.
    alone: Arc<Notify>,
}

/// Receives the first message; `None` if that is another one.
async fn attach(guest: Guest, chat: Chat) -> Result<Option<Box<Attached>>, ConnectionError> {
    let node = guest.hello.node;
    let mut connection = guest.connection;
    let attachment = match connection.receive(MAX_REQUEST_FRAME, HELLO_DEADLINE).await? {
        ToChat::Attach(attachment) if attachment.summary.replica.node == node => attachment,
        _ => {
            close(&mut connection, "the first message is `attach`, of the node itself").await?;
            return Ok(None);
        }
    };
    let (knows, told) = (attachment.knows, attachment.after);
    // Said first, so that the node can show it before what it missed.
    if let Some(reason) = chat.take_reason(node) {
        let reason = reason.to_owned();
        connection.queue(&FromChat::Closing { reason }, MAX_CHAT_FRAME)?;
    }
    let bell = chat.bell();
    let (number, alone) = chat.attach(attachment);
    let session = Session {
        chat,
        node,
        number,
        connection,
        knows,
        log: None,
        told,
        said: told,
        submitted: VecDeque::new(),
        leaving: false,
        beat_due: Instant::now() + CHAT_BEAT,
        heard_at: Instant::now(),
    };
    Ok(Some(Box::new(Attached { session, bell, alone })))
}

async fn close(
    connection: &mut Connection<TcpStream>,
    reason: &str,
) -> Result<(), ConnectionError> {
    let reason = reason.to_owned();
    connection.send(&FromChat::Closing { reason }, MAX_CHAT_FRAME).await
}

impl Session {
    async fn talk(
        &mut self,
        bell: &mut watch::Receiver<()>,
        alone: &Notify,
    ) -> Result<(), ConnectionError> {
        let standing = self.chat.standing();
        if !standing.writes {
            self.connection.queue(&FromChat::Waits(standing), MAX_CHAT_FRAME)?;
        }
        loop {
            if let Some(reason) = self.say()? {
                return close(&mut self.connection, reason).await;
            }
            // There may be more than may be queued at once.
            let is_full = self.connection.queued() >= QUEUE;
            self.flush().await?;
            // Only who was asked for a piece of the log may say so much.
            let is_asked = self.chat.fetches_from(self.node);
            let bound = if is_asked { MAX_CHAT_FRAME } else { MAX_REQUEST_FRAME };
            tokio::select! {
                heard = self.connection.receive_since(self.heard_at, bound, 3 * CHAT_BEAT) => {
                    if let Some(reason) = self.hear(heard?)? {
                        return close(&mut self.connection, reason).await;
                    }
                    // What has come already is answered together.
                    while self.hears_more(bound) {
                        let heard = self.connection.receive(bound, Duration::ZERO).await?;
                        if let Some(reason) = self.hear(heard)? {
                            return close(&mut self.connection, reason).await;
                        }
                    }
                    self.submit();
                }
                rung = bell.changed() => {
                    if rung.is_err() {
                        return Ok(());
                    }
                    self.submit();
                }
                () = alone.notified() => {}
                () = std::future::ready(()), if is_full => {}
                () = sleep_until(self.beat_due) => {}
                () = self.chat.ended().cancelled() => {
                    return close(&mut self.connection, "this is no tracker any more").await;
                }
            }
        }
    }

    /// Sends what is queued, within a time that follows from how much it is.
    async fn flush(&mut self) -> Result<(), ConnectionError> {
        let seconds = u32::try_from(self.connection.queued() / SLOWEST).unwrap_or(u32::MAX);
        let patience = FRAME_DEADLINE + seconds * Duration::from_secs(1);
        timeout(patience, self.connection.flush()).await.map_err(|_| ConnectionError::Slow)?
    }

    /// Whether a message has come that may be heard before anything is sent: not while
    /// much waits to be sent already, which answers would add to.
    fn hears_more(&self, bound: usize) -> bool {
        self.connection.has_message(bound)
            && self.submitted.len() < CHAT_WINDOW
            && self.connection.queued() < QUEUE
    }

    /// The node says something. The reason for which it is hung up, if it is.
    fn hear(&mut self, message: ToChat) -> Result<Option<&'static str>, ConnectionError> {
        self.heard_at = Instant::now();
        match message {
            ToChat::Attach(_) => return Ok(Some("it is attached already")),
            ToChat::Submit { event, .. } if event.author != self.node => {
                return Ok(Some("an event of another author"));
            }
            // All that waits is sent again from time to time.
            ToChat::Submit { event, .. } if self.has(event.number) => {}
            ToChat::Submit { previous, event } => {
                if self.submitted.len() >= 2 * CHAT_WINDOW {
                    return Ok(Some("too much is waiting to be accepted"));
                }
                // Where others leave no room it is dropped, and sent again.
                if self.chat.reserve(weight_of(&event.act)) {
                    self.submitted.push_back((previous, event));
                }
            }
            ToChat::Replica { answer } => self.chat.hear(self.node, self.number, answer),
            ToChat::Ask { number, question } => {
                let answer = self.chat.answer(self.node, &question);
                self.connection.queue(&FromChat::Answer { number, answer }, MAX_CHAT_FRAME)?;
            }
            ToChat::Leaving => {
                self.leaving = true;
                self.chat.leaving(self.node);
            }
            ToChat::Revive => {
                let is_heeded = self.chat.revive(self.node);
                self.connection.queue(&FromChat::Revival { is_heeded }, MAX_CHAT_FRAME)?;
            }
            ToChat::Beat | ToChat::Unknown => {}
        }
        Ok(None)
    }

    /// Whether an event with this number waits to be taken, or is before one that does.
    fn has(&self, number: u64) -> bool {
        self.submitted.back().is_some_and(|(_, last)| number <= last.number)
    }

    fn weight(&self) -> usize {
        self.submitted.iter().map(|(_, event)| weight_of(&event.act)).sum()
    }

    fn submit(&mut self) {
        let before = self.weight();
        self.chat.submit(&mut self.submitted);
        self.chat.release(before - self.weight());
    }

    /// Queues what there is to say. The reason for which it is hung up, if it is.
    fn say(&mut self) -> Result<Option<&'static str>, ConnectionError> {
        if !self.chat.is_current(self.node, self.number) {
            return Ok(Some("the node has come on another connection"));
        }
        for message in self.chat.to_replica(self.number) {
            self.connection.queue_encoded(&message)?;
        }
        if self.log.is_none()
            && let Some(attached) = self.chat.welcome(self.node, self.number, self.knows, self.told)
        {
            (self.log, self.told) = (Some(attached.log), attached.from);
            self.connection.queue(&FromChat::Attached(attached), MAX_CHAT_FRAME)?;
        }
        while self.connection.queued() < QUEUE
            && let Some(log) = self.log
        {
            match self.chat.news(self.node, log, self.told) {
                News::Nothing => break,
                News::OtherLog => return Ok(Some("the chat goes on in another log")),
                News::TooFar => return Ok(Some(SLOW)),
                News::Batch(batch) => {
                    for message in batch.messages(self.node) {
                        self.connection.queue_encoded(message)?;
                        self.said = batch.upto();
                    }
                    self.told = batch.upto();
                }
                News::Missed(messages, upto) => {
                    for message in messages {
                        self.connection.queue(&message, MAX_CHAT_FRAME)?;
                    }
                    self.told = upto;
                    self.say_how_far()?;
                }
            }
        }
        if self.leaving && self.chat.is_released(self.node) {
            self.leaving = false;
            self.connection.queue(&FromChat::Released, MAX_CHAT_FRAME)?;
        }
        if Instant::now() >= self.beat_due || self.told > self.said.saturating_add(SILENT) {
            self.say_how_far()?;
        }
        Ok(None)
    }

    fn say_how_far(&mut self) -> Result<(), ConnectionError> {
        self.beat_due = Instant::now() + CHAT_BEAT;
        let position = if self.log.is_some() { self.told } else { 0 };
        self.said = self.told;
        self.connection.queue(&FromChat::UpTo { position }, MAX_CHAT_FRAME)
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
