//! The other nodes, as the tracker tells of them. Pure.
//!
//! A tracker that was restarted knows nobody until the nodes have registered
//! again. So what an earlier life of the tracker told is not forgotten at once:
//! those peers are *unconfirmed* for a while, and used like the others.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::MAX_NODES;
use shoal_common::protocol::tracking::{Change, Leaving, News, Page, Registered, Update};
use tokio::time::Instant;

/// Something that the person may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Joined(Peer),
    Left(Peer, Leaving),
    /// By exchange: it answers.
    Here(Peer),
    /// By exchange: it does not, or said goodbye.
    Offline(Peer),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined(peer) | Self::Here(peer) => write!(f, "`{}` joined", peer.name),
            Self::Left(peer, Leaving::Exit) => write!(f, "`{}` left", peer.name),
            Self::Offline(peer) => write!(f, "`{}` is offline", peer.name),
            Self::Left(peer, Leaving::Vanished) => write!(f, "`{}` left without a word", peer.name),
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    peer: Peer,
    /// Until when it is kept without the tracker confirming it.
    until: Option<Instant>,
}

/// The other nodes, at most [`MAX_NODES`], whatever a tracker says.
#[derive(Debug)]
pub(super) struct Roster {
    us: NodeId,
    peers: HashMap<NodeId, Entry>,
    instance: Option<u64>,
    /// Until when a tracker of another life may not know everyone yet.
    confirmed: Option<Instant>,
}

impl Roster {
    /// Knows nobody; this node itself is never a peer.
    pub(super) fn new(us: NodeId) -> Self {
        Self { us, peers: HashMap::new(), instance: None, confirmed: None }
    }

    /// One of them.
    pub(super) fn peer(&self, id: NodeId) -> Option<Peer> {
        self.peers.get(&id).map(|entry| entry.peer.clone())
    }

    /// Whether there is nobody.
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// In order of their names.
    pub(super) fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<_> = self.peers.values().map(|entry| entry.peer.clone()).collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        peers
    }

    /// The tracker took this node in. Peers that it does not know are kept for
    /// `patience` if it is another life of the tracker.
    pub(super) fn registered(
        &mut self,
        told: Registered,
        now: Instant,
        patience: Duration,
    ) -> Vec<Event> {
        let restarted = self.instance.replace(told.instance) != Some(told.instance);
        self.confirmed = restarted.then(|| now + patience);
        if told.is_everyone() {
            return self.replace(told.peers, (None, None), self.confirmed);
        }
        // Of the others nothing was said.
        told.peers.into_iter().filter_map(|peer| self.join(peer)).collect()
    }

    /// A page of the list of all came, which was asked for with `after`: between
    /// that and its last one are exactly these.
    pub(super) fn page(&mut self, after: Option<NodeId>, page: Page, now: Instant) -> Vec<Event> {
        let last = page.peers.last().map(|peer| peer.id).filter(|_| page.more);
        self.replace(page.peers, (after, last), self.confirmed.filter(|until| *until > now))
    }

    /// News from the tracker.
    pub(super) fn update(&mut self, update: Update) -> Vec<Event> {
        match update.news {
            // Pages will tell.
            News::Much => Vec::new(),
            News::Changes(changes) => {
                changes.into_iter().filter_map(|change| self.change(change)).collect()
            }
        }
    }

    /// Forgets who has not been confirmed in time.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Event> {
        let due = |entry: &Entry| entry.until.is_some_and(|until| until <= now);
        let gone: Vec<_> = self.peers.values().filter(|entry| due(entry)).cloned().collect();
        gone.into_iter().filter_map(|entry| self.leave(entry.peer.id, Leaving::Vanished)).collect()
    }

    /// Knows nothing of it any more.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.peers.remove(&id);
    }

    fn change(&mut self, change: Change) -> Option<Event> {
        match change {
            Change::Joined(peer) => self.join(peer),
            Change::Left { id, why } => self.leave(id, why),
        }
    }

    fn join(&mut self, peer: Peer) -> Option<Event> {
        let is_new = !self.peers.contains_key(&peer.id);
        if peer.id == self.us || !peer.is_reachable() || is_new && self.peers.len() >= MAX_NODES {
            return None;
        }
        let entry = Entry { peer: peer.clone(), until: None };
        let before = self.peers.insert(peer.id, entry);
        (before.map(|entry| entry.peer) != Some(peer.clone())).then_some(Event::Joined(peer))
    }

    fn leave(&mut self, id: NodeId, why: Leaving) -> Option<Event> {
        self.peers.remove(&id).map(|entry| Event::Left(entry.peer, why))
    }

    /// Exactly these are here of those whose ids lie behind the first and up to the
    /// second of `range`; others there stay until `until`, if that is given.
    fn replace(
        &mut self,
        peers: Vec<Peer>,
        range: (Option<NodeId>, Option<NodeId>),
        until: Option<Instant>,
    ) -> Vec<Event> {
        let present: HashSet<NodeId> = peers.iter().map(|peer| peer.id).collect();
        let (after, last) = range;
        let lies_there = |id: &NodeId| {
            after.is_none_or(|after| *id > after) && last.is_none_or(|last| *id <= last)
        };
        let missing = self.peers.keys().filter(|id| lies_there(id) && !present.contains(id));
        let missing: Vec<NodeId> = missing.copied().collect();
        let mut events = Vec::new();
        for id in missing {
            match (until, self.peers.get_mut(&id)) {
                (Some(until), Some(entry)) => entry.until = Some(until),
                _ => events.extend(self.leave(id, Leaving::Vanished)),
            }
        }
        events.extend(peers.into_iter().filter_map(|peer| self.join(peer)));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn peer(name: &str) -> Peer {
        let at = "127.0.0.1:9".parse().unwrap();
        let mut id = [0; 32];
        id[0] = name.as_bytes()[0];
        Peer {
            id: NodeId::from_bytes(id),
            name: name.parse().unwrap(),
            search: at,
            download: at,
            joined: 0,
        }
    }

    fn registered(instance: u64, names: &[&str]) -> Registered {
        Registered {
            name: "me".parse().unwrap(),
            heartbeat_ms: 10_000,
            instance,
            revision: 1,
            total: names.len() as u64,
            peers: names.iter().map(|name| peer(name)).collect(),
            joined: 0,
            charter: None,
        }
    }

    fn names(roster: &Roster) -> Vec<String> {
        roster.peers().iter().map(|peer| peer.name.to_string()).collect()
    }

    #[test]
    fn follows_the_news() {
        let mut roster = Roster::new(peer("me").id);
        let now = Instant::now();
        let events = roster.registered(registered(1, &["b", "a"]), now, PATIENCE);
        assert_eq!(events.len(), 2);
        let changes = vec![
            Change::Joined(peer("c")),
            Change::Joined(peer("c")),
            Change::Left { id: peer("a").id, why: Leaving::Exit },
            Change::Left { id: peer("z").id, why: Leaving::Exit },
        ];
        let events = roster.update(Update { revision: 5, news: News::Changes(changes) });
        assert_eq!(events, [Event::Joined(peer("c")), Event::Left(peer("a"), Leaving::Exit)]);
        assert_eq!(names(&roster), ["b", "c"]);
        assert_eq!(roster.update(Update { revision: 9, news: News::Much }), []);
        let page = Page { peers: vec![peer("c")], more: false, pause_ms: 0 };
        let gone = roster.page(None, page, now + PATIENCE);
        assert_eq!(gone, [Event::Left(peer("b"), Leaving::Vanished)]);
    }

    #[test]
    fn a_page_says_who_is_there_in_its_part_and_nothing_of_the_others() {
        let mut roster = Roster::new(peer("me").id);
        let now = Instant::now();
        let mut told = registered(1, &["a", "c", "d", "x"]);
        told.total = 9;
        roster.registered(told.clone(), now, PATIENCE);
        let page = |names: &[&str], more| Page {
            peers: names.iter().map(|name| peer(name)).collect(),
            more,
            pause_ms: 0,
        };
        // Until the tracker can know everyone, nobody is missing.
        assert_eq!(roster.page(None, page(&["a", "b", "e"], true), now).len(), 2);
        assert_eq!(names(&roster), ["a", "b", "c", "d", "e", "x"]);
        let later = now + PATIENCE;
        assert_eq!(roster.tick(later).len(), 2, "c and d were never confirmed");
        let gone = roster.page(Some(peer("b").id), page(&["f", "n"], true), later);
        assert_eq!(gone[0], Event::Left(peer("e"), Leaving::Vanished));
        assert_eq!(names(&roster), ["a", "b", "f", "n", "x"]);
        roster.page(Some(peer("n").id), page(&[], false), later);
        assert_eq!(names(&roster), ["a", "b", "f", "n"]);
        // Who registers again and is told of some has not forgotten the others.
        told.peers.truncate(1);
        assert_eq!(roster.registered(told, later, PATIENCE), []);
        assert_eq!(names(&roster), ["a", "b", "f", "n"]);
    }

    #[test]
    fn a_restarted_tracker_is_given_time_to_know_everyone_again() {
        let mut roster = Roster::new(peer("me").id);
        let start = Instant::now();
        roster.registered(registered(1, &["a", "b"]), start, PATIENCE);
        assert_eq!(roster.registered(registered(2, &[]), start, PATIENCE), []);
        assert_eq!(names(&roster), ["a", "b"]);
        let back = Update { revision: 2, news: News::Changes(vec![Change::Joined(peer("a"))]) };
        assert_eq!(roster.update(back), [], "it had never left");
        assert_eq!(roster.tick(start + PATIENCE / 2), []);
        assert_eq!(roster.tick(start + PATIENCE), [Event::Left(peer("b"), Leaving::Vanished)]);
        assert_eq!(names(&roster), ["a"]);
    }

    #[test]
    fn a_tracker_that_tells_nonsense_is_not_believed() {
        let mut roster = Roster::new(peer("me").id);
        let mut told = registered(1, &["me", "a"]);
        told.peers.push(Peer { search: "0.0.0.0:9".parse().unwrap(), ..peer("b") });
        told.peers.push(Peer { download: "127.0.0.1:0".parse().unwrap(), ..peer("c") });
        roster.registered(told, Instant::now(), PATIENCE);
        assert_eq!(names(&roster), ["a"]);
        let crowd = (0..MAX_NODES + 9).map(|_| Peer { id: NodeId::random(), ..peer("x") });
        let crowd = crowd.map(Change::Joined).collect();
        roster.update(Update { revision: 2, news: News::Changes(crowd) });
        assert_eq!(roster.peers().len(), MAX_NODES);
        let moved = Peer { search: "127.0.0.2:9".parse().unwrap(), ..roster.peers()[0].clone() };
        let news = News::Changes(vec![Change::Joined(moved.clone()), Change::Joined(peer("z"))]);
        assert_eq!(roster.update(Update { revision: 3, news }), [Event::Joined(moved)]);
    }

    #[test]
    fn the_same_tracker_is_believed_at_once() {
        let mut roster = Roster::new(peer("me").id);
        let now = Instant::now();
        roster.registered(registered(1, &["a", "b"]), now, PATIENCE);
        let events = roster.registered(registered(1, &["b"]), now, PATIENCE);
        assert_eq!(events, [Event::Left(peer("a"), Leaving::Vanished)]);
    }
}
