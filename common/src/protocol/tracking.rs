//! Between a node and its tracker.
//!
//! The node sends [`ToTracker::Register`] and gets [`FromTracker::Registered`]
//! with some who are here, and how many there are. From then on the tracker
//! pushes an [`FromTracker::Update`] whenever somebody joins or leaves, and every
//! heartbeat is answered by one: at once and often empty, or, if there are news
//! already, by those. [`ToTracker::Exit`] is answered with [`FromTracker::Done`].
//!
//! Both say under which [`Reign`] that is. One that is no tracker, or no more,
//! answers [`FromTracker::Elsewhere`], at any time. See
//! [`succession`](super::succession).
//!
//! A *revision* counts the changes that a tracker has seen. It means something
//! only together with the *instance* of the tracker, a number drawn at its
//! start.
//!
//! # Everyone, by pages
//! A node that was told of fewer than there are asks for pages
//! ([`ToTracker::Page`]), in the order of ids, each when the tracker said with
//! the last one, and knows everyone after the last of them. A page shows who is
//! here at the moment when it is sent. Changes go on coming meanwhile, on the same
//! connection and in order; each says how it is with one node *from then on*,
//! whatever was known of it before. So no page has to wait for changes, nor they
//! for it: what happened before a page and is told after it changes nothing, or is
//! followed by the change that the page had ahead.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ident::{NodeId, NodeName, Peer, address, is_none};
use crate::protocol::refusal::Refusal;
use crate::protocol::succession::{Member, Reign};

/// What a node says to its tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTracker {
    /// Here I am.
    Register(Registration),
    /// Still here.
    Heartbeat,
    /// Who is here, in the order of ids? Answered with [`FromTracker::Page`].
    Page {
        /// Only who comes behind this id; from the front without it.
        after: Option<NodeId>,
    },
    /// Leaving on purpose.
    Exit,
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// How a node wants to be known; its id was in its greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The name it asks for.
    pub name: NodeName,
    /// Whether only this very name will do. Otherwise a name in use gets a
    /// number as suffix.
    pub exact: bool,
    /// Where it answers searches.
    #[serde(with = "address")]
    pub search: SocketAddr,
    /// Where it serves content.
    #[serde(with = "address")]
    pub download: SocketAddr,
    /// The last reign that it knows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reign: Option<Reign>,
    /// The join number that it has had since it came into the network, or 0.
    #[serde(default, skip_serializing_if = "is_none")]
    pub joined: u64,
}

/// What a tracker says to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromTracker {
    /// The answer to a registration.
    Registered(Registered),
    /// What changed since the last update on this connection.
    Update(Update),
    /// The reign or the council is another one from now on; the tracker is the
    /// same.
    Reigns(Charter),
    /// This is no tracker, or no more.
    Elsewhere {
        /// The tracker as far as it knows.
        reign: Option<Reign>,
    },
    /// The answer to [`ToTracker::Page`].
    Page(Page),
    /// The answer to [`ToTracker::Exit`].
    Done,
    /// The request is refused.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}

/// A node is in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The name by which the others know it.
    pub name: NodeName,
    /// Time between two heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Which life of the tracker this is.
    pub instance: u64,
    /// The revision of `peers`.
    pub revision: u64,
    /// How many others are here.
    pub total: u64,
    /// Others who are here: all, or [`SAMPLE`](crate::limits::SAMPLE) of them.
    pub peers: Vec<Peer>,
    /// The join number of the node.
    #[serde(default, skip_serializing_if = "is_none")]
    pub joined: u64,
    /// What the tracker is in office by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charter: Option<Charter>,
}

/// What a tracker is in office by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// Its reign.
    pub reign: Reign,
    /// The council, by join number: at most
    /// [`COUNCIL`](crate::limits::COUNCIL).
    pub council: Vec<Member>,
}

impl Registered {
    /// Whether everyone else is among [`peers`](Self::peers), so that no pages are
    /// to be asked for.
    pub fn is_everyone(&self) -> bool {
        self.peers.len() as u64 >= self.total
    }
}

/// Some of those who are here: all whose ids lie between that which was asked for
/// and the last of these, or, if there are no `more`, the end. Who asked is among
/// them. Without peers, though there are `more`, it says nothing but when to ask
/// again: it is not the turn of who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the order of their ids: [`PAGE`](crate::limits::PAGE), or what is left.
    pub peers: Vec<Peer>,
    /// Whether there are more behind the last of them.
    pub more: bool,
    /// How many milliseconds are to pass before the next page is asked for.
    pub pause_ms: u64,
}

impl Page {
    /// Nobody's page: to be asked for again after `pause`, in whole milliseconds.
    pub fn later(pause: Duration) -> Self {
        let pause_ms = pause.as_nanos().div_ceil(1_000_000);
        let pause_ms = u64::try_from(pause_ms).unwrap_or(u64::MAX);
        Self { peers: Vec::new(), more: true, pause_ms }
    }

    /// Whether it only says when to ask again.
    pub fn is_later(&self) -> bool {
        self.peers.is_empty() && self.more
    }
}

/// News of who is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The revision after this news.
    pub revision: u64,
    /// What is new.
    pub news: News,
}

/// The body of an [`Update`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// What happened since the last update, in order. Often empty. The node itself
    /// may be among them, and what it knew already.
    Changes(Vec<Change>),
    /// So much happened that it is not told: who wants to know it turns the pages
    /// anew.
    Much,
}

/// Somebody came or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A node joined, or is known under another name or address from now on.
    Joined(Peer),
    /// A node left.
    Left {
        /// Which.
        id: NodeId,
        /// On purpose or not.
        why: Leaving,
    },
}

/// How a node left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// It said so.
    Exit,
    /// Without a word: it fell silent, or its connection broke and did not come
    /// back.
    Vanished,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{COUNCIL, MAX_NEWS, MAX_NODE_NAME, MAX_TRACKER_FRAME, PAGE, SAMPLE};
    use crate::protocol::golden::{golden, parse};

    const ID: &str = "c420 0909090909090909 0909090909090909 0909090909090909 0909090909090909";
    const PORTS: &str = "a6'search ae'127.0.0.1:8080 a8'download ae'127.0.0.1:8081";

    fn registration() -> Registration {
        Registration {
            name: "node1".parse().unwrap(),
            exact: true,
            search: "127.0.0.1:8080".parse().unwrap(),
            download: "127.0.0.1:8081".parse().unwrap(),
            reign: None,
            joined: 0,
        }
    }

    fn charter() -> Charter {
        let (tracker, address) = (NodeId::from_bytes([9; 32]), "127.0.0.1:8080".parse().unwrap());
        Charter {
            reign: Reign { epoch: 3, tracker, address, home: false, joined: 2, elected: true },
            council: vec![Member { id: tracker, joined: 2, address }],
        }
    }

    fn charter_bytes() -> String {
        let reign = reign_bytes();
        let at = "a7'address ae'127.0.0.1:8080";
        format!("a5'reign {reign} a7'council 91 83 a2'id {ID} a6'joined 02 {at}")
    }

    fn reign_bytes() -> String {
        format!(
            "86 a5'epoch 03 a7'tracker {ID} a7'address ae'127.0.0.1:8080 a4'home c2 \
             a6'joined 02 a7'elected c3"
        )
    }

    fn peer() -> Peer {
        let Registration { name, search, download, .. } = registration();
        Peer { id: NodeId::from_bytes([9; 32]), name, search, download, joined: 0 }
    }

    #[test]
    fn wire() {
        let peer_bytes = format!("84 a2'id {ID} a4'name a5'node1 {PORTS}");
        golden(
            &ToTracker::Register(registration()),
            &format!("85 a4'type a8'register a4'name a5'node1 a5'exact c3 {PORTS}"),
        );
        golden(
            &ToTracker::Register(Registration {
                reign: Some(charter().reign),
                joined: 4,
                ..registration()
            }),
            &format!(
                "87 a4'type a8'register a4'name a5'node1 a5'exact c3 {PORTS} \
                 a5'reign {} a6'joined 04",
                reign_bytes()
            ),
        );
        golden(
            &FromTracker::Reigns(charter()),
            &format!("83 a4'type a6'reigns {}", charter_bytes()),
        );
        golden(&FromTracker::Elsewhere { reign: None }, "82 a4'type a9'elsewhere a5'reign c0");
        golden(&ToTracker::Heartbeat, "81 a4'type a9'heartbeat");
        golden(&ToTracker::Exit, "81 a4'type a4'exit");
        golden(&ToTracker::Page { after: None }, "82 a4'type a4'page a5'after c0");
        golden(
            &ToTracker::Page { after: Some(peer().id) },
            &format!("82 a4'type a4'page a5'after {ID}"),
        );
        golden(
            &FromTracker::Registered(Registered {
                name: "node1".parse().unwrap(),
                heartbeat_ms: 10_000,
                instance: 5,
                revision: 6,
                total: 20_000,
                peers: vec![Peer { joined: 2, ..peer() }],
                joined: 4,
                charter: Some(charter()),
            }),
            &format!(
                "89 a4'type aa'registered a4'name a5'node1 ac'heartbeat_ms cd2710 \
                 a8'instance 05 a8'revision 06 a5'total cd4e20 \
                 a5'peers 91 85 a2'id {ID} a4'name a5'node1 {PORTS} \
                 a6'joined 02 a6'joined 04 a7'charter 82 {}",
                charter_bytes()
            ),
        );
        golden(
            &FromTracker::Page(Page { peers: vec![peer()], more: true, pause_ms: 50 }),
            &format!("84 a4'type a4'page a5'peers 91 {peer_bytes} a4'more c3 a8'pause_ms 32"),
        );
        golden(
            &FromTracker::Update(Update {
                revision: 8,
                news: News::Changes(vec![
                    Change::Joined(peer()),
                    Change::Left { id: peer().id, why: Leaving::Vanished },
                ]),
            }),
            &format!(
                "83 a4'type a6'update a8'revision 08 a4'news 81 a7'changes 92 \
                 81 a6'joined {peer_bytes} 81 a4'left 82 a2'id {ID} a3'why a8'vanished"
            ),
        );
        golden(
            &FromTracker::Update(Update { revision: 8, news: News::Much }),
            "83 a4'type a6'update a8'revision 08 a4'news a4'much",
        );
        golden(&FromTracker::Done, "81 a4'type a4'done");
        golden(
            &FromTracker::Refused { refusal: Refusal::NameTaken },
            "82 a4'type a7'refused a7'refusal aa'name_taken",
        );
    }

    #[test]
    fn the_longest_messages_fit_into_their_frame() {
        let longest: SocketAddr =
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let name: NodeName = "x".repeat(MAX_NODE_NAME).parse().unwrap();
        let id = NodeId::from_bytes([255; 32]);
        let peer =
            Peer { id, name: name.clone(), search: longest, download: longest, joined: u64::MAX };
        let member = Member { id, joined: u64::MAX, address: longest };
        let reign = Reign {
            epoch: u64::MAX,
            tracker: id,
            address: longest,
            home: false,
            joined: u64::MAX,
            elected: true,
        };
        let messages = [
            FromTracker::Registered(Registered {
                name,
                heartbeat_ms: u64::MAX,
                instance: u64::MAX,
                revision: u64::MAX,
                total: u64::MAX,
                peers: vec![peer.clone(); SAMPLE],
                joined: u64::MAX,
                charter: Some(Charter { reign, council: vec![member; COUNCIL] }),
            }),
            FromTracker::Page(Page {
                peers: vec![peer.clone(); PAGE],
                more: true,
                pause_ms: u64::MAX,
            }),
            FromTracker::Update(Update {
                revision: u64::MAX,
                news: News::Changes(vec![Change::Joined(peer); MAX_NEWS]),
            }),
        ];
        for message in messages {
            assert!(rmp_serde::to_vec_named(&message).unwrap().len() <= MAX_TRACKER_FRAME);
        }
    }

    #[test]
    fn what_a_newer_program_says_is_no_error() {
        let unknown = parse("82 a4'type a5'dance a5'tempo 05");
        assert_eq!(rmp_serde::from_slice::<ToTracker>(&unknown).unwrap(), ToTracker::Unknown);
        let richer = parse("83 a4'type a9'heartbeat a4'mood a5'happy a8'revision 01");
        let message = rmp_serde::from_slice::<ToTracker>(&richer).unwrap();
        assert_eq!(message, ToTracker::Heartbeat);
    }
}
