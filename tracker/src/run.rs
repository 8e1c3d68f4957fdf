//! A whole tracker: built, running, stopped.

use std::future::Future;
use std::io;
use std::time::Duration;

use shoal_common::clock::Clock;
use shoal_common::ident::NodeId;
use shoal_common::limits::{HEARTBEAT, MAX_TRACKER_CONNECTIONS, MAX_TRACKER_GUESTS, SHORT_TALKS};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::DEFAULT_NETWORK;
use shoal_common::serve::{Bound, serve_thousands};
use shoal_common::task::Tasks;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::info_span;

use crate::chat::proposer::Settings;
use crate::door::{TALKS, admit};
use crate::office::Office;
use crate::registry::Registry;
use crate::screen::Screen;

/// How a tracker works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of its network; nodes of others are refused.
    pub network: String,
    /// How often it wants to hear of each node.
    pub heartbeat: Duration,
    /// Most connections it has at once; [`SHORT_TALKS`] of them are not for nodes.
    pub connections: usize,
    /// Its Lamport clock; the log of the process shows the same.
    pub clock: Clock,
    /// How it goes about the chat.
    pub chat: Settings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: DEFAULT_NETWORK.to_owned(),
            heartbeat: HEARTBEAT,
            connections: MAX_TRACKER_CONNECTIONS,
            clock: Clock::default(),
            chat: Settings::default(),
        }
    }
}

/// Why a tracker ended other than asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The listener is of no use.
    #[error("cannot listen: {0}")]
    Listener(#[from] io::Error),
    /// Some of its tasks did not end in time.
    #[error("{0} tasks did not stop within {patience} s", patience = STOP_PATIENCE.as_secs())]
    Leftover(usize),
}

/// How long the tasks of a tracker may take to end. They wait for nothing but
/// the network, so it is a moment.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a tracker on `listener` until `stop` is done. What happens goes to the
/// log and to `screen`. Returns how many nodes were connected at the end; no
/// task of the tracker runs then.
///
/// Call it within a tokio runtime with I/O and time.
///
/// # Errors
/// See [`RunError`].
pub async fn run(
    listener: TcpListener,
    config: Config,
    screen: Screen,
    stop: impl Future<Output = ()>,
) -> Result<usize, RunError> {
    let Config { network, heartbeat, connections, clock, chat } = config;
    let address = listener.local_addr()?;
    let us = Party { network, node: NodeId::random(), clock };
    let office = Office::home(us.clone(), address, heartbeat, screen, chat);
    let hub = office.hub();
    let bound = bound(connections);
    hub.say(format_args!(
        "tracker of network `{}` at `{address}`, a heartbeat every {} s{}",
        us.network,
        heartbeat.as_secs_f32(),
        scarcity(bound)
    ));
    let tasks = Tasks::new(Handle::current());

    tasks.spawn(info_span!("office"), office.clone().run(tasks.clone()));
    let guests = office.clone();
    let handle = move |guest| admit(guest, guests.clone());
    tasks.spawn(
        info_span!("serve"),
        serve_thousands(listener, us, &TALKS, bound, tasks.clone(), handle),
    );

    stop.await;
    let connected = hub.look(Registry::connected);
    // Nothing here is worth waiting for: a node that is cut off turns to the
    // next tracker, or waits for this one to return.
    tasks.stop(STOP_PATIENCE).await.map_err(RunError::Leftover)?;
    hub.say(format_args!("stopped; nodes connected until now: {connected}"));
    Ok(connected)
}

/// Of so many connections in all, how many may last.
fn bound(connections: usize) -> Bound {
    let lasting = connections.saturating_sub(SHORT_TALKS).clamp(1, MAX_TRACKER_GUESTS);
    Bound { all: connections, lasting }
}

/// What people should know if there is room for fewer nodes than a tracker knows.
fn scarcity(bound: Bound) -> String {
    match bound.lasting {
        MAX_TRACKER_GUESTS => String::new(),
        fewer => format!(
            "; room for {} nodes: more take more open files than this process may have \
            (`ulimit -n`)",
            fewer / 2
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_leave_room_for_inquiries_and_a_lack_of_room_is_said() {
        let plenty = bound(MAX_TRACKER_CONNECTIONS);
        assert_eq!((plenty.lasting, scarcity(plenty)), (MAX_TRACKER_GUESTS, String::new()));
        let few = bound(960);
        assert_eq!(few, Bound { all: 960, lasting: 928 });
        assert!(scarcity(few).contains("room for 464 nodes"), "{}", scarcity(few));
        assert_eq!(bound(1).lasting, 1);
    }
}
