//! The conversation with the tracker, for as long as the node runs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use shoal_common::call::{CallError, call};
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::ident::{NodeName, Peer};
use shoal_common::limits::{
    HEARTBEAT, HEARTBEATS, MAX_REQUEST_FRAME, MAX_TRACKER_FRAME, RECONNECT_PAUSE, REPLY_DEADLINE,
};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::tracking::{FromTracker, Registered, Registration, ToTracker};
use shoal_common::task::Tasks;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::{Instrument, debug, info_span};

use super::handle::{Link, Membership};
use super::news::tell;
use super::pages::Pages;
use super::roster::Event;
use crate::notice::Notices;

/// How this node wants to be known.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The tracker, `"host:port"`.
    pub tracker: String,
    /// This node.
    pub us: Party,
    /// The name it asks for, and whether only that one will do.
    pub name: (NodeName, bool),
    /// The address to tell the others; else the local one of the connection to
    /// the tracker.
    pub advertise: Option<IpAddr>,
    /// Ports for searches and for content.
    pub ports: (u16, u16),
}

/// What the tracker said to the first registration.
pub type FirstAnswer = oneshot::Receiver<Result<(), Refusal>>;

/// Wishes to say goodbye; each wants to know when it is said.
type Goodbyes = mpsc::Receiver<oneshot::Sender<()>>;

/// Says goodbye to the tracker.
#[derive(Debug, Clone)]
pub struct Goodbye(mpsc::Sender<oneshot::Sender<()>>);

impl Goodbye {
    /// Tells the tracker that this node leaves. Gives up after
    /// [`REPLY_DEADLINE`]; at once if there is no connection.
    pub async fn say(&self) {
        let (said, heard) = oneshot::channel();
        if self.0.send(said).await.is_ok() {
            timeout(REPLY_DEADLINE, heard).await.ok();
        }
    }
}

/// Keeps this node registered until the tasks are cancelled or it has said
/// goodbye.
pub fn start(wish: Wish, notices: Notices, tasks: &Tasks) -> (Membership, FirstAnswer, Goodbye) {
    let membership = Membership::new(wish.us.node, wish.name.0.clone(), wish.us.clock.clone());
    membership.set_link(Link::Searching);
    let (first, answer) = oneshot::channel();
    let (goodbye, goodbyes) = mpsc::channel(1);
    let session = Session {
        wish,
        membership: membership.clone(),
        notices,
        first: Some(first),
        trouble: None,
        heartbeat: HEARTBEAT,
    };
    tasks.spawn(info_span!("tracker"), session.run(goodbyes).in_current_span());
    (membership, answer, Goodbye(goodbye))
}

/// Why a conversation with the tracker ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Refused(Refusal),
    #[error("an answer that makes no sense here")]
    Nonsense,
    #[error("this node leaves")]
    Goodbye,
}

struct Session {
    wish: Wish,
    membership: Membership,
    notices: Notices,
    first: Option<oneshot::Sender<Result<(), Refusal>>>,
    /// The last trouble that was told, so that it is told once.
    trouble: Option<String>,
    heartbeat: Duration,
}

impl Session {
    async fn run(mut self, mut goodbyes: Goodbyes) {
        let mut pauses = pauses();
        loop {
            let start = Instant::now();
            let end = self.meet(&mut goodbyes).await;
            if matches!(end, End::Goodbye) {
                self.membership.set_link(Link::Left);
                return;
            }
            self.membership.set_link(Link::Searching);
            self.tell(&end);
            if start.elapsed() > 2 * self.heartbeat {
                // It was a tracker, not one that takes nodes in and hangs up.
                pauses = self::pauses();
            }
            let pause = match end {
                // Two nodes with one id would throw each other out for ever.
                End::Refused(Refusal::Superseded) => SUPERSEDED_PAUSE,
                _ => self.jittered(pauses.next().unwrap_or(RECONNECT_PAUSE.1)),
            };
            debug!("{end}; next try in {} ms", pause.as_millis());
            tokio::select! {
                () = sleep(pause) => {}
                Some(said) = goodbyes.recv() => {
                    said.send(()).ok();
                    self.membership.set_link(Link::Left);
                    return;
                }
            }
        }
    }

    /// One connection to the tracker, from its beginning to its end.
    async fn meet(&mut self, goodbyes: &mut Goodbyes) -> End {
        let registered = tokio::select! {
            registered = self.register() => registered,
            // There is nobody yet to say it to.
            Some(said) = goodbyes.recv() => {
                said.send(()).ok();
                Err(End::Goodbye)
            }
        };
        match registered {
            Ok((connection, registered)) => self.follow(connection, registered, goodbyes).await,
            Err(end) => end,
        }
    }

    /// At most half a heartbeat, so that a restarted tracker has everyone again
    /// within one; and not all nodes at the same moment.
    fn jittered(&self, pause: Duration) -> Duration {
        pause.min(self.heartbeat / 2).mul_f64(rand::random_range(0.5..1.0))
    }

    /// Connects and registers.
    async fn register(&mut self) -> Result<(Connection<TcpStream>, Registered), End> {
        let (mut connection, _) =
            call(self.wish.tracker.as_str(), &self.wish.us, Talk::Tracking).await?;
        let local = connection.stream().local_addr().map_err(ConnectionError::from)?.ip();
        let ip = self.wish.advertise.unwrap_or(local);
        let registration = Registration {
            name: self.wish.name.0.clone(),
            exact: self.wish.name.1,
            search: SocketAddr::new(ip, self.wish.ports.0),
            download: SocketAddr::new(ip, self.wish.ports.1),
        };
        match connection.ask(&ToTracker::Register(registration.clone()), MAX_TRACKER_FRAME).await? {
            FromTracker::Registered(registered) => {
                self.registered(&registered, &registration);
                Ok((connection, registered))
            }
            FromTracker::Refused { refusal } => {
                if let Some(first) = self.first.take() {
                    first.send(Err(refusal)).ok();
                }
                Err(End::Refused(refusal))
            }
            _ => Err(End::Nonsense),
        }
    }

    fn registered(&mut self, registered: &Registered, registration: &Registration) {
        let us = Peer {
            id: self.wish.us.node,
            name: registered.name.clone(),
            search: registration.search,
            download: registration.download,
        };
        if !self.membership.is_named() || self.trouble.take().is_some() {
            self.notices.say(format_args!(
                "in the network as `{}`, with {} others; tracker at `{}`",
                us.name, registered.total, self.wish.tracker
            ));
        }
        self.trouble = None;
        // From now on this name is ours: asking for another one after a lost
        // connection would confuse everyone.
        self.wish.name.0 = us.name.clone();
        self.membership.known_as(us);
        if let Some(first) = self.first.take() {
            first.send(Ok(())).ok();
        }
    }

    /// Listens to the tracker and sends heartbeats until one of the two ends.
    async fn follow(
        &mut self,
        mut connection: Connection<TcpStream>,
        registered: Registered,
        goodbyes: &mut Goodbyes,
    ) -> End {
        self.heartbeat =
            Duration::from_millis(registered.heartbeat_ms).clamp(HEARTBEATS.0, HEARTBEATS.1);
        // The tracker answers every heartbeat, so this much silence means that
        // it is gone although the connection stands.
        let patience = self.heartbeat * 2;
        let now = Instant::now();
        let mut pages = Pages::after(&registered, now);
        let first = self.membership.roster().registered(registered, now, patience);
        self.tell_events(first, false);
        let mut beats = interval(self.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unconfirmed = Some(now + patience);
        let mut due = now + patience;
        loop {
            let heard = tokio::select! {
                message = connection.receive(MAX_TRACKER_FRAME, due - Instant::now()) => message.map(Some),
                _ = beats.tick() => self.beat(&mut connection).await.map(|()| None),
                () = sleep_until(unconfirmed.unwrap_or(now)), if unconfirmed.is_some() => {
                    unconfirmed = None;
                    let events = self.membership.roster().tick(Instant::now());
                    self.tell_events(events, true);
                    Ok(None)
                }
                () = sleep_until(pages.due().unwrap_or(now)), if pages.due().is_some() => {
                    match pages.ask() {
                        Some(after) => {
                            let page = ToTracker::Page { after };
                            connection.send(&page, MAX_REQUEST_FRAME).await.map(|()| None)
                        }
                        None => Ok(None),
                    }
                }
                Some(said) = goodbyes.recv() => {
                    leave(connection).await;
                    said.send(()).ok();
                    return End::Goodbye;
                }
            };
            if matches!(heard, Ok(Some(_))) {
                due = Instant::now() + patience;
            }
            match heard {
                Ok(Some(FromTracker::Page(page))) => {
                    let now = Instant::now();
                    if let Some(after) = pages.came(&page, now) {
                        let events = self.membership.roster().page(after, page, now);
                        // They were here before this node.
                        self.tell_events(events, false);
                    }
                }
                Ok(Some(FromTracker::Update(update))) => {
                    pages.hear(&update, Instant::now());
                    let events = self.membership.roster().update(update);
                    self.tell_events(events, true);
                }
                Ok(Some(FromTracker::Refused { refusal })) => return End::Refused(refusal),
                Ok(Some(FromTracker::Unknown) | None) => {}
                Ok(Some(FromTracker::Registered(_) | FromTracker::Done)) => return End::Nonsense,
                Err(ConnectionError::Silent(_)) => return ConnectionError::Silent(patience).into(),
                Err(error) => return error.into(),
            }
        }
    }

    async fn beat(&self, connection: &mut Connection<TcpStream>) -> Result<(), ConnectionError> {
        connection.send(&ToTracker::Heartbeat, MAX_REQUEST_FRAME).await
    }

    fn tell_events(&self, events: Vec<Event>, aloud: bool) {
        if events.is_empty() {
            return;
        }
        let news = self.membership.follow(events);
        self.membership.roster_changed();
        tell(&self.notices, &self.membership, &news, aloud);
    }

    fn tell(&mut self, end: &End) {
        let tracker = &self.wish.tracker;
        let line = match end {
            End::Refused(Refusal::NameTaken) => format!(
                "the tracker at `{tracker}` has another node named `{}`; trying again",
                self.wish.name.0
            ),
            End::Refused(Refusal::Superseded) => {
                "another node registered with the id of this one: \
                if this folder is a copy, stop the node and delete `.shoal/id`"
                    .to_owned()
            }
            End::Refused(refusal) => {
                format!("the tracker at `{tracker}` refuses this node ({refusal}); trying again")
            }
            End::Call(CallError::Unreachable { .. } | CallError::NoAnswer { .. }) => {
                format!("tracker at `{tracker}` does not answer; trying again")
            }
            End::Call(error) => format!("{error}; trying again"),
            _ => format!(
                "tracker at `{tracker}` is lost ({end}); trying again, known peers stay in use"
            ),
        };
        if self.trouble.as_ref() != Some(&line) {
            self.notices.say(&line);
            self.trouble = Some(line);
        }
    }
}

/// Pause after another node has taken this node's id.
const SUPERSEDED_PAUSE: Duration = Duration::from_secs(60);

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(RECONNECT_PAUSE.0)
        .with_max_delay(RECONNECT_PAUSE.1)
        .without_max_times()
        .build()
}

/// Says goodbye and waits until that is heard, so that the others know at once.
async fn leave(mut connection: Connection<TcpStream>) {
    if connection.send(&ToTracker::Exit, MAX_REQUEST_FRAME).await.is_err() {
        return;
    }
    let done = async {
        // Updates may be on their way still.
        while let Ok(message) =
            connection.receive::<FromTracker>(MAX_TRACKER_FRAME, REPLY_DEADLINE).await
        {
            if message == FromTracker::Done {
                break;
            }
        }
    };
    timeout(REPLY_DEADLINE, done).await.ok();
}
