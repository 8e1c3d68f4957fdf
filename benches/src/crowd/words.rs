//! What nodes say to a tracker, as bytes, and what it says to them.

use std::net::SocketAddr;

use serde::Serialize;
use shoal_common::chat::entry::{Ballot, ReplicaId};
use shoal_common::ident::NodeId;
use shoal_common::protocol::chat::{Attachment, Summary, ToChat};
use shoal_common::protocol::greeting::{DEFAULT_NETWORK, Greeting, Hello, Talk};
use shoal_common::protocol::tracking::{FromTracker, News, Registration, ToTracker};

use crate::failure::{Failure, Outcome};

/// Bytes of the length in front of a message.
const LENGTH: usize = 4;

/// Bytes of the Lamport time behind the length, in all messages but greetings.
const TIME: usize = 8;

/// A message as it travels. Its time is an old one, which is honest.
fn frame<M: Serialize>(message: &M, timed: bool) -> Outcome<Vec<u8>> {
    let body = rmp_serde::to_vec_named(message)?;
    let mut frame = u32::try_from(body.len())?.to_be_bytes().to_vec();
    if timed {
        frame.extend([0; TIME]);
    }
    frame.extend(body);
    Ok(frame)
}

/// The greeting of a node.
///
/// # Errors
/// It can't be encoded.
pub fn hello(id: NodeId, talk: Talk) -> Outcome<Vec<u8>> {
    frame(&Greeting::Hello(Hello::new(DEFAULT_NETWORK, id, talk)), false)
}

/// What a node says first to the chat that holds no piece of its log.
pub fn attachment(node: NodeId) -> ToChat {
    let replica = ReplicaId { node, incarnation: 0 };
    let (last, council) = (Ballot::NONE, Vec::new());
    let summary = Summary { replica, log: None, last, end: 0, committed: 0, council };
    ToChat::Attach(Attachment { summary, knows: None, after: 0 })
}

/// The same as bytes.
///
/// # Errors
/// It can't be encoded.
pub fn attach(node: NodeId) -> Outcome<Vec<u8>> {
    frame(&attachment(node), true)
}

/// A sign of life to the chat.
///
/// # Errors
/// It can't be encoded.
pub fn chat_beat() -> Outcome<Vec<u8>> {
    frame(&ToChat::Beat, true)
}

/// The registration of node number `at`.
///
/// # Errors
/// It can't be encoded.
pub fn register(at: usize) -> Outcome<Vec<u8>> {
    let [.., high, low] = u32::try_from(at)?.to_be_bytes();
    let search = SocketAddr::from(([10, 0, high, low], 8080));
    let download = SocketAddr::from(([10, 0, high, low], 8081));
    let name = format!("node{at}").parse()?;
    frame(
        &ToTracker::Register(Registration {
            name,
            exact: false,
            search,
            download,
            reign: None,
            joined: 0,
        }),
        true,
    )
}

/// A heartbeat.
///
/// # Errors
/// It can't be encoded.
pub fn heartbeat() -> Outcome<Vec<u8>> {
    frame(&ToTracker::Heartbeat, true)
}

/// Asks for a page.
///
/// # Errors
/// It can't be encoded.
pub fn page(after: Option<NodeId>) -> Outcome<Vec<u8>> {
    frame(&ToTracker::Page { after }, true)
}

/// A goodbye.
///
/// # Errors
/// It can't be encoded.
pub fn exit() -> Outcome<Vec<u8>> {
    frame(&ToTracker::Exit, true)
}

/// The first message in these bytes, and how many of them it takes; none if it
/// is not here as a whole. Behind the greeting each has a time.
pub fn first(bytes: &[u8], timed: bool) -> Option<(&[u8], usize)> {
    let length = usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()?;
    let start = if timed { LENGTH + TIME } else { LENGTH };
    Some((bytes.get(start..start + length)?, start + length))
}

/// What a message is, by its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A greeting.
    Hello,
    /// A node is registered.
    Registered,
    /// News, or the answer to a heartbeat.
    Update,
    /// Some of all nodes.
    Page,
    /// The answer to a goodbye.
    Done,
    /// Who is tracker.
    Reign,
    /// The chat takes a node in.
    Attached,
    /// The chat hangs up.
    Closing,
    /// Something else.
    Other,
}

/// What this message is.
pub fn kind(body: &[u8]) -> Kind {
    // A map, then `type`, then a short string.
    match body.get(7..) {
        Some(word) if word.starts_with(b"update") => Kind::Update,
        Some(word) if word.starts_with(b"hello") => Kind::Hello,
        Some(word) if word.starts_with(b"registered") => Kind::Registered,
        Some(word) if word.starts_with(b"page") => Kind::Page,
        Some(word) if word.starts_with(b"done") => Kind::Done,
        Some(word) if word.starts_with(b"reign") => Kind::Reign,
        Some(word) if word.starts_with(b"attached") => Kind::Attached,
        Some(word) if word.starts_with(b"closing") => Kind::Closing,
        _ => Kind::Other,
    }
}

/// A message of a tracker.
///
/// # Errors
/// It is none.
pub fn read(body: &[u8]) -> Outcome<FromTracker> {
    rmp_serde::from_slice(body).map_err(|error| Failure::new(error.to_string()))
}

/// Whether an update says only that there was much. Such a one is short; others are
/// not looked at.
pub fn is_much(body: &[u8]) -> bool {
    const SHORT: usize = 64;
    body.len() <= SHORT
        && matches!(read(body), Ok(FromTracker::Update(update)) if update.news == News::Much)
}

#[cfg(test)]
mod tests {
    use shoal_common::protocol::chat::FromChat;
    use shoal_common::protocol::tracking::Update;

    use super::*;

    #[test]
    fn what_a_message_is() {
        let body = |message: &FromTracker| rmp_serde::to_vec_named(message).unwrap();
        let much = body(&FromTracker::Update(Update { revision: u64::MAX, news: News::Much }));
        let none = News::Changes(Vec::new());
        let none = body(&FromTracker::Update(Update { revision: u64::MAX, news: none }));
        assert_eq!((kind(&much), is_much(&much)), (Kind::Update, true));
        assert_eq!((kind(&none), is_much(&none)), (Kind::Update, false));
        let closing = FromChat::Closing { reason: "x".to_owned() };
        assert_eq!(kind(&rmp_serde::to_vec_named(&closing).unwrap()), Kind::Closing);
    }
}
