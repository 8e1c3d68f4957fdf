//! What nodes say to a tracker, as bytes, and what it says to them.

use std::net::SocketAddr;

use serde::Serialize;
use shoal_common::ident::NodeId;
use shoal_common::protocol::greeting::{DEFAULT_NETWORK, Greeting, Hello, Talk};
use shoal_common::protocol::tracking::{FromTracker, Registration, ToTracker};

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
pub fn hello(id: NodeId) -> Outcome<Vec<u8>> {
    frame(&Greeting::Hello(Hello::new(DEFAULT_NETWORK, id, Talk::Tracking)), false)
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
