//! The chat of a tracker: the proposer among its sessions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use shoal_common::chat::entry::{Event, LogId, Position};
use shoal_common::clock::Clock;
use shoal_common::connection::{ConnectionError, encode};
use shoal_common::ident::{NodeId, NodeName};
use shoal_common::limits::MAX_CHAT_FRAME;
use shoal_common::party::Party;
use shoal_common::protocol::chat::{
    Answer, Attached, Attachment, FromChat, FromReplica, Question, Standing, ToReplica,
};
use shoal_common::serve::Guest;
use shoal_common::task::Tasks;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, info_span};

use super::answers::{Here, answer};
use super::feed::{Batch, Feed, post};
use super::proposer::{NotNow, Proposer, Settings, Stamp};
use super::session::session;
use super::unsent::Unsent;

/// How often time passes for the proposer.
const TICK: Duration = Duration::from_millis(50);

/// Most bytes that are submitted and wait to be written, of all nodes together.
/// Beyond it what is submitted is dropped, and its author sends it again.
pub(super) const MAX_SUBMITTED: usize = 64 * 1024 * 1024;

/// Most nodes of which it is remembered why they were hung up.
const MAX_REASONS: usize = 1024;

/// Tells the name of a node that is registered.
pub type Names = Arc<dyn Fn(NodeId) -> Option<NodeName> + Send + Sync>;

/// The chat of a tracker in office. Clones are the same chat.
#[derive(Clone)]
pub struct Chat {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat").field("standing", &self.standing()).finish()
    }
}

struct Shared {
    hall: Mutex<Hall>,
    start: Instant,
    clock: Clock,
    names: Names,
    sessions: AtomicU64,
    /// Rings when something was committed.
    bell: watch::Sender<()>,
    submitted: AtomicUsize,
    /// Cancelled when this is no tracker any more.
    ended: CancellationToken,
}

struct Hall {
    proposer: Proposer,
    feed: Feed,
    /// Of which log the feed is.
    log: Option<LogId>,
    /// What is to be said to replicas, by the number of the session.
    to_replicas: BTreeMap<u64, Unsent>,
    sessions: BTreeMap<NodeId, Seat>,
    /// Why nodes were hung up.
    reasons: BTreeMap<NodeId, &'static str>,
}

/// The session of a node.
struct Seat {
    session: u64,
    /// What wakes it alone.
    waker: Arc<Notify>,
    /// Whether it is told all that is said from now on.
    hears: bool,
}

/// What there is to say to a member.
pub(super) enum News {
    Nothing,
    Batch(Arc<Batch>),
    /// From the log: frames, and the position up to which they are all.
    Missed(Vec<FromChat>, Position),
    /// The log that it follows goes on no more.
    OtherLog,
    /// What it has not been told is not kept any more.
    TooFar,
}

impl Chat {
    /// The chat of the tracker `us`, in its reign with this epoch, until the
    /// tasks end.
    pub fn start(us: &Party, epoch: u64, settings: Settings, names: Names, tasks: &Tasks) -> Self {
        let hall = Hall {
            proposer: Proposer::new(us.node, epoch, rand::random(), settings),
            feed: Feed::default(),
            log: None,
            to_replicas: BTreeMap::new(),
            sessions: BTreeMap::new(),
            reasons: BTreeMap::new(),
        };
        let shared = Shared {
            hall: Mutex::new(hall),
            start: Instant::now(),
            clock: us.clock.clone(),
            names,
            sessions: AtomicU64::new(1),
            bell: watch::Sender::new(()),
            submitted: AtomicUsize::new(0),
            ended: tasks.cancelled().clone(),
        };
        let chat = Self { shared: Arc::new(shared) };
        let keeper = chat.clone();
        tasks.spawn(info_span!("chat"), async move { keeper.keep_time().await });
        chat
    }

    /// Serves a node that wants to chat, until one side hangs up.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn serve(self, guest: Guest) -> impl Future<Output = Result<(), ConnectionError>> {
        session(guest, self)
    }

    /// How many of those that hold the log are connected.
    pub fn standing(&self) -> Standing {
        self.hall().proposer.standing()
    }

    async fn keep_time(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tell(|hall, stamp| {
                for unsent in hall.to_replicas.values() {
                    hall.proposer.still_sending(unsent.node(), stamp.now);
                }
                hall.proposer.tick(stamp);
            });
        }
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        // Each method leaves it whole.
        self.shared.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self) -> Stamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Stamp {
            now: self.shared.start.elapsed(),
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            at: self.shared.clock.now(),
        }
    }

    /// Something happens; what follows is made ready for the sessions.
    fn tell<T>(&self, event: impl FnOnce(&mut Hall, Stamp) -> T) -> T {
        let mut hall = self.hall();
        let outcome = event(&mut hall, self.stamp());
        if hall.settle() {
            self.shared.bell.send_replace(());
        }
        outcome
    }

    // For the sessions -------------------------------------------------------

    /// Cancelled when this is no tracker any more.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.shared.ended
    }

    pub(super) fn bell(&self) -> watch::Receiver<()> {
        self.shared.bell.subscribe()
    }

    /// A node comes. The number of its session, and what wakes it when there is
    /// something for it alone.
    pub(super) fn attach(&self, attachment: Attachment) -> (u64, Arc<Notify>) {
        let number = self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        let node = attachment.summary.replica.node;
        let alone = Arc::new(Notify::new());
        self.tell(|hall, stamp| {
            let own = Seat { session: number, waker: Arc::clone(&alone), hears: false };
            if let Some(before) = hall.sessions.insert(node, own) {
                hall.to_replicas.remove(&before.session);
                before.waker.notify_one();
            }
            hall.proposer.attach(number, attachment.summary, attachment.knows, stamp);
        });
        (number, alone)
    }

    /// A session ends, for a reason that the node may be told the next time.
    pub(super) fn detach(&self, node: NodeId, session: u64, reason: Option<&'static str>) {
        self.tell(|hall, stamp| {
            hall.proposer.detach(node, session, stamp.now);
            hall.to_replicas.remove(&session);
            if hall.sessions.get(&node).is_some_and(|seat| seat.session == session) {
                hall.sessions.remove(&node);
            }
            if let Some(reason) = reason.filter(|_| hall.reasons.len() < MAX_REASONS) {
                hall.reasons.insert(node, reason);
            }
        });
    }

    /// Why a node was hung up the last time; told once.
    pub(super) fn take_reason(&self, node: NodeId) -> Option<&'static str> {
        self.hall().reasons.remove(&node)
    }

    /// Whether the session is the node's only one still.
    pub(super) fn is_current(&self, node: NodeId, session: u64) -> bool {
        self.hall().sessions.get(&node).is_some_and(|seat| seat.session == session)
    }

    pub(super) fn hear(&self, node: NodeId, session: u64, answer: FromReplica) {
        self.tell(|hall, stamp| hall.proposer.hear(node, session, answer, stamp));
    }

    /// Takes events of a node from the front, as many as can be taken now. Those of a
    /// node that is not registered are dropped.
    pub(super) fn submit(&self, events: &mut std::collections::VecDeque<(u64, Event)>) {
        if events.is_empty() {
            return;
        }
        let names = &self.shared.names;
        let clock = &self.shared.clock;
        self.tell(|hall, stamp| {
            while let Some((previous, event)) = events.pop_front() {
                // A node is called what it is registered as, whatever it says.
                let Some(name) = names(event.author) else {
                    // Its author sends them again. Here they would take the room of those
                    // that may speak.
                    events.clear();
                    break;
                };
                let named = Event { name, ..event };
                let stamp = Stamp { at: clock.tick(), ..stamp };
                match hall.proposer.submit(&named, previous, stamp) {
                    Ok(()) => {}
                    // Its author sends all again that it waits for.
                    Err(NotNow::Gap) => events.clear(),
                    Err(NotNow::Wait) => {
                        events.push_front((previous, named));
                        break;
                    }
                }
            }
        });
    }

    /// Makes room for so many bytes that were submitted; whether there is any.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let is_room =
            self.shared.submitted.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_SUBMITTED;
        if !is_room {
            self.release(bytes);
        }
        is_room
    }

    pub(super) fn release(&self, bytes: usize) {
        self.shared.submitted.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn leaving(&self, node: NodeId) {
        self.tell(|hall, stamp| hall.proposer.leaving(node, stamp));
    }

    /// Whether the log is held without a node.
    pub(super) fn is_released(&self, node: NodeId) -> bool {
        self.hall().proposer.is_released(node)
    }

    /// A person wants the log to go on without those that held it; whether that is
    /// heeded.
    pub(super) fn revive(&self, node: NodeId) -> bool {
        let is_heeded = self.tell(|hall, stamp| hall.proposer.revive(stamp));
        if is_heeded {
            info!("node {} has the chat go on without those that held it", node.short());
        }
        is_heeded
    }

    pub(super) fn answer(&self, node: NodeId, question: &Question) -> Answer {
        let hall = self.hall();
        let names = &self.shared.names;
        let here: Here = match question {
            Question::Rooms | Question::Who { .. } => {
                let hearing = hall.sessions.iter().filter(|(_, seat)| seat.hears);
                hearing.filter_map(|(id, _)| Some((*id, names(*id)?))).collect()
            }
            _ => Here::new(),
        };
        answer(question, node, &hall.proposer, &here)
    }

    /// What is to be said to the replica of a session.
    pub(super) fn to_replica(&self, session: u64) -> Vec<Arc<[u8]>> {
        self.hall().to_replicas.remove(&session).map_or_else(Vec::new, Unsent::into_messages)
    }

    /// Whether a node is asked for a piece of the log, which may be long.
    pub(super) fn fetches_from(&self, node: NodeId) -> bool {
        self.hall().proposer.fetches_from(node)
    }

    /// What a node is to be told that comes, if there is a log that is written. From
    /// then on it counts as one that hears what is said.
    pub(super) fn welcome(
        &self,
        node: NodeId,
        session: u64,
        knows: Option<LogId>,
        after: Position,
    ) -> Option<Attached> {
        let mut hall = self.hall();
        let Hall { proposer, sessions, .. } = &mut *hall;
        // It may have come on another connection since.
        let seat = sessions.get_mut(&node).filter(|seat| seat.session == session)?;
        let attached = proposer.welcome(node, knows, after)?;
        seat.hears = true;
        Some(attached)
    }

    /// What a member is to be told that belongs to `log` and knows all up to
    /// `told`.
    pub(super) fn news(&self, node: NodeId, log: LogId, told: Position) -> News {
        /// Entries that are looked at at once.
        const MOST: usize = 256;
        let hall = self.hall();
        let Some(book) = hall.proposer.book() else {
            return News::OtherLog;
        };
        if book.log().id() != log {
            return News::OtherLog;
        }
        if told >= book.committed() {
            return News::Nothing;
        }
        if let Some(batch) = hall.feed.after(told) {
            return News::Batch(batch);
        }
        if told < book.log().base().position {
            return News::TooFar;
        }
        let (missed, upto) = book.missed(node, told, MOST);
        let posts = missed.into_iter().filter_map(|(at, entry, outcome)| post(at, entry, outcome));
        let posts: Vec<_> = posts.collect();
        let posts = if posts.is_empty() { Vec::new() } else { vec![FromChat::Posts { posts }] };
        News::Missed(posts, upto)
    }
}

impl Hall {
    /// Makes ready what the proposer says; whether everyone is to look.
    fn settle(&mut self) -> bool {
        let posted = self.proposer.take_posted();
        let log = self.proposer.book().map(|book| book.log().id());
        let has_news = self.log != log || !posted.is_empty();
        if self.log != log {
            self.feed.clear();
            self.log = log;
        }
        self.feed.push(posted);
        // Replicas are mostly sent the same.
        let mut last: Option<(ToReplica, Arc<[u8]>)> = None;
        for (node, message) in self.proposer.take_messages() {
            let Some(seat) = self.sessions.get(&node) else { continue };
            let encoded = match last.take() {
                Some((before, encoded)) if before == message => encoded,
                _ => {
                    let said = FromChat::Replica { message: message.clone() };
                    match encode(&said, MAX_CHAT_FRAME) {
                        Ok(encoded) => Arc::from(encoded),
                        Err(error) => {
                            info!("a message to a replica can't be sent: {error}");
                            continue;
                        }
                    }
                }
            };
            last = Some((message, Arc::clone(&encoded)));
            self.to_replicas.entry(seat.session).or_insert_with(|| Unsent::to(node)).push(encoded);
            seat.waker.notify_one();
        }
        has_news
    }
}

#[cfg(test)]
#[path = "hall_tests.rs"]
mod tests;
