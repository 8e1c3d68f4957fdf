//! Whether this process is tracker: the machine of [`succession`](crate::succession)
//! among its tasks.
//!
//! The home tracker and every node have an office. It answers inquiries, asks
//! what the machine wants to know, and opens and closes the registry. What is
//! left to a node is to register where [`Office::orders`] says, and to tell what
//! comes of it.

mod chat;
mod serve;
mod work;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use shoal_common::ident::Peer;
use shoal_common::party::Party;
use shoal_common::protocol::succession::{Member, Reign, Sight};
use shoal_common::protocol::tracking::Charter;
use tokio::sync::{Notify, Semaphore, watch};

use chat::ChatDesk;
pub(crate) use serve::{Gate, Watch};

use crate::chat::proposer::Settings;
use crate::hub::Hub;
use crate::screen::Screen;
use crate::succession::{Met, Succession, Us};

/// Most inquiries of this process that are under way at once, of those that count in a
/// round of asking, and of others: a few rounds each. More count as not answered.
const MAX_CALLS: usize = 96;

/// Where a node is to register. Each order is to be followed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub number: u64,
    /// `"host:port"`.
    pub at: String,
}

/// How the office of tracker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// The reign that is followed, was lost, or is this one's own.
    pub reign: Option<Reign>,
    /// How it stands with that.
    pub sight: Sight,
    /// Since when this reign is known here.
    pub since: SystemTime,
    /// The council, by join number.
    pub council: Vec<Member>,
    /// The join number of this node.
    pub joined: u64,
}

/// Who is here, as the roster of a node has it, and what to tell people.
pub trait Surroundings: Send + Sync {
    /// The peers that the last tracker told of, this node among them.
    fn peers(&self) -> Vec<Peer>;

    /// Where some of these answer, at most so many, other ones each time.
    fn some(&self, whom: Met, count: usize) -> Vec<SocketAddr>;

    /// One line for people.
    fn say(&self, line: &str);
}

/// What an office is to know at its start.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Who speaks.
    pub us: Party,
    /// Time between two heartbeats until another is told, and of the own registry.
    pub heartbeat: Duration,
    /// The home tracker, `"host:port"`, if there is one.
    pub home: Option<String>,
    /// Search addresses of other nodes, `"host:port"`.
    pub peers: Vec<String>,
    /// Whether this one may become tracker.
    pub eligible: bool,
}

/// Whether and how a tracker serves.
#[derive(Debug, Clone, PartialEq)]
enum Post {
    Serving(Charter),
    Away(Option<Reign>),
}

/// The office of one process. Clones are the same.
#[derive(Clone)]
pub struct Office {
    inner: Arc<Inner>,
}

struct Inner {
    us: Party,
    home: Option<String>,
    peers: Vec<String>,
    machine: Mutex<Succession>,
    hub: Hub,
    /// Rings when there is something to do.
    stirred: Notify,
    post: watch::Sender<Post>,
    orders: watch::Sender<Option<Order>>,
    outlook: watch::Sender<Outlook>,
    /// Room for the inquiries of rounds, and for others: who makes this one look
    /// around keeps it from no election.
    calls: (Arc<Semaphore>, Arc<Semaphore>),
    chat: ChatDesk,
    surroundings: Option<Box<dyn Surroundings>>,
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Office").field(&self.outlook()).finish()
    }
}

impl Office {
    /// That of a node. Its pauses differ by chance from those of others.
    pub fn node(setting: Setting, surroundings: Box<dyn Surroundings>) -> Self {
        let us = Us {
            id: setting.us.node,
            home: false,
            eligible: setting.eligible,
            knows_home: setting.home.is_some(),
            peers: setting.peers.len(),
        };
        let machine = Succession::node(us, setting.heartbeat, rand::random(), Duration::ZERO);
        let hub = Hub::new(setting.heartbeat, rand::random(), Screen::none());
        let post = Post::Away(None);
        let chat = ChatDesk::new(Settings::default());
        Self::new(setting, machine, hub, post, chat, Some(surroundings))
    }

    /// That of the home tracker, which listens at `address`.
    pub(crate) fn home(
        us: Party,
        address: SocketAddr,
        heartbeat: Duration,
        screen: Screen,
        chat: Settings,
    ) -> Self {
        let now = Duration::ZERO;
        let machine = Succession::home(us.node, address, heartbeat, rand::random(), now);
        let hub = Hub::new(heartbeat, rand::random(), screen);
        let post = match machine.known() {
            Some(reign) => Post::Serving(Charter { reign, council: Vec::new() }),
            None => Post::Away(None),
        };
        if let Post::Serving(charter) = &post {
            hub.tell(|registry, _| {
                registry.count_joins_from(unix_ms());
                registry.set_charter(charter.clone());
            });
        }
        let setting = Setting { us, heartbeat, home: None, peers: Vec::new(), eligible: true };
        Self::new(setting, machine, hub, post, ChatDesk::new(chat), None)
    }

    fn new(
        setting: Setting,
        machine: Succession,
        hub: Hub,
        post: Post,
        chat: ChatDesk,
        surroundings: Option<Box<dyn Surroundings>>,
    ) -> Self {
        let outlook = outlook(&machine, SystemTime::now(), Duration::ZERO);
        let inner = Inner {
            us: setting.us,
            home: setting.home,
            peers: setting.peers,
            machine: Mutex::new(machine),
            hub,
            stirred: Notify::new(),
            post: watch::Sender::new(post),
            orders: watch::Sender::new(None),
            outlook: watch::Sender::new(outlook),
            calls: (Arc::new(Semaphore::new(MAX_CALLS)), Arc::new(Semaphore::new(MAX_CALLS))),
            chat,
            surroundings,
        };
        Self { inner: Arc::new(inner) }
    }

    // For the session of a node ---------------------------------------------

    /// Where to register.
    pub fn orders(&self) -> watch::Receiver<Option<Order>> {
        self.inner.orders.subscribe()
    }

    /// What to say of oneself in a registration: the last reign, and the join
    /// number.
    pub fn papers(&self) -> (Option<Reign>, u64) {
        let machine = self.machine();
        (machine.known(), machine.joined())
    }

    /// A tracker has taken this node in, which is reached at `us` by others.
    /// Returns whether that tracker is to be believed.
    pub fn registered(
        &self,
        charter: &Charter,
        joined: u64,
        heartbeat: Duration,
        us: SocketAddr,
    ) -> bool {
        self.event(|machine, now| {
            machine.set_address(us);
            let is_believed = charter.reign.is_reachable()
                && machine.registered(&charter.reign, &charter.council, joined, now);
            if is_believed {
                machine.set_heartbeat(heartbeat);
            }
            is_believed
        })
    }

    /// The tracker said something, perhaps of its office. Returns whether it is to
    /// be believed.
    pub fn heard(&self, charter: Option<&Charter>) -> bool {
        self.event(|machine, now| {
            let reign = charter.map(|charter| &charter.reign);
            let council = charter.map(|charter| charter.council.as_slice());
            reign.is_none_or(Reign::is_reachable) && machine.told(reign, council, now)
        })
    }

    /// The tracker is gone; see [`Succession::lost`].
    pub fn lost(&self, silent: bool) {
        self.event(|machine, now| machine.lost(silent, now));
    }

    /// A try to register has failed.
    pub fn failed(&self) {
        self.event(Succession::failed);
    }

    /// Who was asked is no tracker.
    pub fn elsewhere(&self, reign: Option<&Reign>) {
        self.event(|machine, now| {
            machine.elsewhere(reign.filter(|reign| reign.is_reachable()), now);
        });
    }

    /// This node leaves: it serves no more as tracker, if it did.
    pub fn resign(&self) {
        self.event(Succession::resign);
    }

    // For people --------------------------------------------------------------

    /// How it stands.
    pub fn outlook(&self) -> Outlook {
        let mut outlook = self.inner.outlook.borrow().clone();
        outlook.sight = self.machine().sight(self.inner.hub.now());
        outlook
    }

    // Within ------------------------------------------------------------------

    fn machine(&self) -> MutexGuard<'_, Succession> {
        // Each event leaves it whole.
        self.inner.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the machine of an event.
    fn event<T>(&self, event: impl FnOnce(&mut Succession, Duration) -> T) -> T {
        let mut machine = self.machine();
        // The clock is read under the lock, so time never runs backwards.
        let now = self.inner.hub.now();
        let sought = machine.is_seeking();
        let outcome = event(&mut machine, now);
        let begins_to_seek = !sought && machine.is_seeking();
        self.show(&machine, now);
        drop(machine);
        // Whose turn it is counts from now on.
        if begins_to_seek {
            let line = self.line();
            self.machine().set_line(line);
        }
        self.inner.stirred.notify_one();
        outcome
    }

    fn show(&self, machine: &Succession, now: Duration) {
        self.inner.outlook.send_if_modified(|shown| {
            let is_same = match (shown.reign, machine.known()) {
                (Some(shown), Some(known)) => shown.is(&known),
                (shown, known) => shown.is_none() && known.is_none(),
            };
            let since = if is_same { shown.since } else { SystemTime::now() };
            let current = outlook(machine, since, now);
            let is_new = *shown != current;
            *shown = current;
            is_new
        });
    }

    /// Those longest in the network, as far as this node knows.
    fn line(&self) -> Vec<Member> {
        let peers = self.inner.surroundings.as_ref().map(|around| around.peers());
        let mut line: Vec<Member> = peers
            .unwrap_or_default()
            .into_iter()
            .filter(|peer| peer.joined > 0)
            .map(|peer| Member { id: peer.id, joined: peer.joined, address: peer.search })
            .collect();
        line.sort_unstable_by_key(|member| (member.joined, member.id));
        line
    }
}

/// Milliseconds of Unix time.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn outlook(machine: &Succession, since: SystemTime, now: Duration) -> Outlook {
    Outlook {
        reign: machine.known(),
        sight: machine.sight(now),
        since,
        council: machine.council().to_vec(),
        joined: machine.joined(),
    }
}
