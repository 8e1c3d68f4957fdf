//! The conversation with the tracker, for as long as the node runs.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_common::call::call;
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{HEARTBEAT, HEARTBEATS, MAX_REQUEST_FRAME, MAX_TRACKER_FRAME};
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::succession::{Reign, Sight};
use shoal_common::protocol::tracking::{Charter, FromTracker, Registered, Registration, ToTracker};
use shoal_tracker::office::{Office, Order};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::debug;

use super::ending::End;
use super::handle::{Link, Membership, TrackerAt};
use super::news::{tell, tracker_words};
use super::pages::Pages;
use super::roster::Event;
use super::wish::{Goodbyes, Wish, leave};
use crate::amount::others;
use crate::notice::Notices;

/// The conversations with trackers, one after the other.
pub(super) struct Session {
    wish: Wish,
    office: Office,
    membership: Membership,
    notices: Notices,
    first: Option<oneshot::Sender<Result<(), Refusal>>>,
    /// The last trouble that was told, so that it is told once.
    trouble: Option<String>,
    /// The last reign under which it was registered.
    reign: Option<Reign>,
    is_registered: bool,
    /// How often another node with this id was said to have registered of late,
    /// and when last.
    superseded: Option<(u32, Instant)>,
    leaves: bool,
    heartbeat: Duration,
}

impl Session {
    pub(super) fn new(
        wish: Wish,
        office: Office,
        membership: Membership,
        notices: Notices,
        first: oneshot::Sender<Result<(), Refusal>>,
    ) -> Self {
        Self {
            wish,
            office,
            membership,
            notices,
            first: Some(first),
            trouble: None,
            reign: None,
            is_registered: false,
            superseded: None,
            leaves: false,
            heartbeat: HEARTBEAT,
        }
    }

    /// Goes where the office sends it, until the node leaves.
    pub(super) async fn run(mut self, mut goodbyes: Goodbyes) {
        let mut orders = self.office.orders();
        let mut done = 0;
        while !self.leaves {
            let order = tokio::select! {
                order = newer(&mut orders, done) => order,
                Some(said) = goodbyes.recv() => {
                    said.send(()).ok();
                    break;
                }
            };
            done = order.number;
            self.is_registered = false;
            let end = tokio::select! {
                end = self.meet(&order, &mut goodbyes) => end,
                _ = newer(&mut orders, done) => End::Moved,
            };
            debug!("the conversation with `{}` ends: {end}", order.at);
            self.ended(&order, end, &mut goodbyes).await;
        }
        self.membership.set_link(Link::Left);
    }

    /// A conversation is over; the office decides what follows.
    async fn ended(&mut self, order: &Order, end: End, goodbyes: &mut Goodbyes) {
        if self.leaves {
            return;
        }
        if self.wish.tracker.is_some() || self.is_registered {
            self.membership.set_link(Link::Searching);
        }
        let is_superseded = matches!(end, End::Refused(Refusal::Superseded));
        let pause = if is_superseded { self.superseded() } else { Duration::ZERO };
        if !is_superseded || pause >= SUPERSEDED_TOLD {
            self.tell(order, &end);
        }
        match end {
            End::Moved | End::Goodbye => return,
            End::Elsewhere(reign) => return self.office.elsewhere(reign.as_ref()),
            // Two nodes with one id would throw each other out for ever.
            _ if is_superseded => self.rest(pause, goodbyes).await,
            _ => {}
        }
        if self.is_registered {
            self.office.lost(matches!(end, End::Connection(ConnectionError::Silent(_))));
        } else {
            self.office.failed();
        }
    }

    /// Another registration of this id was newer. How long to wait: a few times it
    /// may be one of this node, that it gave up on its way to another tracker and
    /// that came there late; a copy of this node comes again and again.
    fn superseded(&mut self) -> Duration {
        let now = Instant::now();
        let (times, last) = self.superseded.unwrap_or((0, now));
        let times = if now > last + 2 * SUPERSEDED_PAUSES.1 { 0 } else { times };
        self.superseded = Some((times + 1, now));
        (SUPERSEDED_PAUSES.0 * 2_u32.pow(times.min(10))).min(SUPERSEDED_PAUSES.1)
    }

    async fn rest(&mut self, pause: Duration, goodbyes: &mut Goodbyes) {
        tokio::select! {
            () = sleep(pause) => {}
            Some(said) = goodbyes.recv() => {
                self.leaves = true;
                said.send(()).ok();
            }
        }
    }

    /// One connection to a tracker, from its beginning to its end.
    async fn meet(&mut self, order: &Order, goodbyes: &mut Goodbyes) -> End {
        let registered = tokio::select! {
            registered = self.register(order) => registered,
            // There is nobody yet to say it to.
            Some(said) = goodbyes.recv() => {
                self.leaves = true;
                said.send(()).ok();
                Err(End::Goodbye)
            }
        };
        match registered {
            Ok((connection, pages)) => self.follow(connection, pages, goodbyes).await,
            Err(end) => end,
        }
    }

    /// Connects and registers.
    async fn register(&mut self, order: &Order) -> Result<(Connection<TcpStream>, Pages), End> {
        let (mut connection, hello) =
            call(order.at.as_str(), &self.wish.us, Talk::Tracking).await?;
        let local = connection.stream().local_addr().map_err(ConnectionError::from)?.ip();
        let far = connection.stream().peer_addr().map_err(ConnectionError::from)?;
        let ip = self.wish.advertise.unwrap_or(local);
        let (reign, joined) = self.office.papers();
        let registration = Registration {
            name: self.wish.name.0.clone(),
            exact: self.wish.name.1,
            search: SocketAddr::new(ip, self.wish.ports.0),
            download: SocketAddr::new(ip, self.wish.ports.1),
            reign,
            joined,
        };
        match connection.ask(&ToTracker::Register(registration.clone()), MAX_TRACKER_FRAME).await? {
            FromTracker::Registered(registered) => {
                let charter = match registered.charter.clone() {
                    Some(charter) => seen_at(charter, far),
                    None => without_reign(hello.node, far),
                };
                let pages = self.registered(order, registered, &charter, &registration)?;
                let Reign { epoch, tracker, .. } = charter.reign;
                self.membership.set_tracker(TrackerAt { address: far, epoch, tracker });
                Ok((connection, pages))
            }
            FromTracker::Elsewhere { reign } => Err(End::Elsewhere(reign)),
            FromTracker::Refused { refusal } => {
                if let Some(first) = self.first.take() {
                    first.send(Err(refusal)).ok();
                }
                Err(End::Refused(refusal))
            }
            _ => Err(End::Nonsense),
        }
    }

    fn registered(
        &mut self,
        order: &Order,
        registered: Registered,
        charter: &Charter,
        registration: &Registration,
    ) -> Result<Pages, End> {
        self.heartbeat =
            Duration::from_millis(registered.heartbeat_ms).clamp(HEARTBEATS.0, HEARTBEATS.1);
        let Registration { search, download, .. } = *registration;
        if !self.office.registered(charter, registered.joined, self.heartbeat, search) {
            let is_tracker = self.office.outlook().sight == Sight::Reigns;
            // It was elected meanwhile.
            return Err(if is_tracker { End::Moved } else { End::Nonsense });
        }
        self.is_registered = true;
        let (id, joined) = (self.wish.us.node, registered.joined);
        let us = Peer { id, name: registered.name.clone(), search, download, joined };
        let before = self.reign.replace(charter.reign);
        let is_other = before.is_some_and(|before| !before.is(&charter.reign));
        let is_own = charter.reign.tracker == id;
        let had_trouble = self.trouble.take().is_some();
        // Of its own office it has told when it took it.
        if !is_own && (!self.membership.is_named() || had_trouble || is_other) {
            self.notices.say(format_args!(
                "in the network as `{}`, with {}; {}",
                us.name,
                others(registered.total),
                tracker_words(&self.membership, &registered.peers, &charter.reign, &order.at)
            ));
        }
        // Who waits until this node is registered looks at once who else is here.
        let now = Instant::now();
        let pages = Pages::after(&registered, now);
        let first = self.membership.roster().registered(registered, now, self.heartbeat * 2);
        self.tell_events(first, false);
        // From now on this name is ours: asking for another one after a lost
        // connection would confuse everyone. But where two parts of a network
        // meet, one of two nodes with one name must take another.
        self.wish.name = (us.name.clone(), false);
        self.membership.known_as(us);
        self.membership.has_no_trouble(&order.at);
        if let Some(first) = self.first.take() {
            first.send(Ok(())).ok();
        }
        Ok(pages)
    }

    /// Listens to the tracker and sends heartbeats until one of the two ends.
    async fn follow(
        &mut self,
        mut connection: Connection<TcpStream>,
        mut pages: Pages,
        goodbyes: &mut Goodbyes,
    ) -> End {
        let Ok(far) = connection.stream().peer_addr() else { return End::Nonsense };
        // The tracker answers every heartbeat, so this much silence means that
        // it is gone although the connection stands.
        let patience = self.heartbeat * 2;
        let now = Instant::now();
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
                    match pages.ask(Instant::now()) {
                        Some(after) => {
                            let page = ToTracker::Page { after };
                            connection.send(&page, MAX_REQUEST_FRAME).await.map(|()| None)
                        }
                        None => Ok(None),
                    }
                }
                Some(said) = goodbyes.recv() => {
                    self.leaves = true;
                    leave(connection).await;
                    said.send(()).ok();
                    return End::Goodbye;
                }
            };
            match heard {
                Ok(None) => {}
                Ok(Some(message)) => {
                    due = Instant::now() + patience;
                    if let Some(end) = self.heard(message, far, &mut pages) {
                        return end;
                    }
                }
                Err(ConnectionError::Silent(_)) => return ConnectionError::Silent(patience).into(),
                Err(error) => return error.into(),
            }
        }
    }

    /// The tracker says something. Returns why the conversation ends, if it does.
    fn heard(
        &mut self,
        mut message: FromTracker,
        far: SocketAddr,
        pages: &mut Pages,
    ) -> Option<End> {
        if let FromTracker::Reigns(charter) = message {
            message = FromTracker::Reigns(seen_at(charter, far));
        }
        let charter = match &message {
            FromTracker::Reigns(charter) => Some(charter),
            _ => None,
        };
        if !self.office.heard(charter) {
            return Some(End::Nonsense);
        }
        match message {
            FromTracker::Page(page) => {
                let now = Instant::now();
                if let Some(after) = pages.came(&page, now) {
                    let events = self.membership.roster().page(after, page, now);
                    // They were here before this node.
                    self.tell_events(events, false);
                }
                None
            }
            FromTracker::Update(update) => {
                pages.hear(&update, Instant::now());
                let events = self.membership.roster().update(update);
                self.tell_events(events, true);
                None
            }
            FromTracker::Reigns(charter) => {
                self.reign = Some(charter.reign);
                None
            }
            FromTracker::Elsewhere { reign } => Some(End::Elsewhere(reign)),
            FromTracker::Refused { refusal } => Some(End::Refused(refusal)),
            FromTracker::Unknown => None,
            FromTracker::Registered(_) | FromTracker::Done => Some(End::Nonsense),
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

    /// Says what went wrong: that the tracker is lost, or the first reason why none
    /// takes this node in.
    fn tell(&mut self, order: &Order, end: &End) {
        let tracker = &order.at;
        let Some(trouble) = end.at(tracker) else { return };
        if !self.is_registered && self.wish.tracker.as_ref() == Some(tracker) {
            self.membership.note_trouble(tracker, trouble.clone());
        }
        let line = match end {
            End::Elsewhere(_) => return,
            End::Refused(Refusal::NameTaken) => format!(
                "the tracker at `{tracker}` has another node named `{}`; trying again",
                self.wish.name.0
            ),
            End::Refused(Refusal::Superseded) => {
                "another node registered with the id of this one: \
                if this folder is a copy, stop the node and delete `.shoal/id`"
                    .to_owned()
            }
            End::Refused(_) => format!("{trouble}; trying again"),
            _ if self.is_registered => format!(
                "tracker at `{tracker}` is lost ({end}); trying again, known peers stay in use"
            ),
            // After the first of them, and where nobody was said to be tracker,
            // that is no news.
            _ if self.trouble.is_some() || self.wish.tracker.is_none() => return,
            End::Call(_) => {
                let way_in = match self.wish.peers.is_empty() {
                    true => " (with --peer, any node lets this one in)",
                    false => "",
                };
                format!("{trouble}; trying again{way_in}")
            }
            _ => trouble,
        };
        if self.trouble.as_ref() != Some(&line) {
            self.notices.say(&line);
            self.trouble = Some(line);
        }
    }
}

/// The next order after that number. Safe to cancel.
async fn newer(orders: &mut watch::Receiver<Option<Order>>, done: u64) -> Order {
    let is_newer = |order: &Option<Order>| order.as_ref().is_some_and(|order| order.number > done);
    let order = match orders.wait_for(is_newer).await {
        Ok(order) => order.clone(),
        Err(_) => None,
    };
    match order {
        Some(order) => order,
        // The office is gone, and with it soon this session.
        None => std::future::pending().await,
    }
}

/// What a tracker is in office by, as this node sees it: the home tracker is where it
/// was found, it may have no idea of that.
fn seen_at(charter: Charter, far: SocketAddr) -> Charter {
    let Charter { reign, council } = charter;
    let reign = if reign.home { Reign { address: far, ..reign } } else { reign.seen_at(far.ip()) };
    Charter { reign, council }
}

/// One that does not say what it is in office by is taken for the home tracker in its
/// first epoch.
fn without_reign(tracker: NodeId, address: SocketAddr) -> Charter {
    let (home, elected) = (true, true);
    let reign = Reign { epoch: 1, tracker, address, home, joined: 0, elected };
    Charter { reign, council: Vec::new() }
}

/// First and longest pause after another node has taken this node's id; it doubles
/// each time.
const SUPERSEDED_PAUSES: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(60));

/// From this pause on the person is told: so often it is no chance.
const SUPERSEDED_TOLD: Duration = Duration::from_secs(2);
