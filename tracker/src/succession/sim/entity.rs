//! A node or the home tracker: its machine, and around it what the tasks do, in
//! the simplest way.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::protocol::succession::{Inquiry, Member, Reign, Standing};

use super::super::{Asked, Succession, Us};

/// Time between two heartbeats, if the schedule has no other.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// What is on its way to an entity.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Question {
        from: usize,
        life: u32,
        ticket: u64,
        inquiry: Inquiry,
    },
    /// None: refused at once, nobody listens there.
    Answer {
        ticket: u64,
        answer: Option<(NodeId, Standing)>,
    },
    Late {
        ticket: u64,
    },
    Register {
        from: usize,
        life: u32,
        session: u64,
        member: Member,
        knows: Option<Reign>,
    },
    Registered {
        session: u64,
        reign: Reign,
        joined: u64,
        council: Vec<Member>,
        line: Vec<Member>,
        beat: Duration,
    },
    Elsewhere {
        session: u64,
        reign: Option<Reign>,
    },
    Beat {
        from: usize,
        session: u64,
    },
    Told {
        session: u64,
        reign: Reign,
        council: Vec<Member>,
        line: Vec<Member>,
    },
    Broken {
        session: u64,
    },
    /// The other end of a session with a guest broke.
    Gone {
        from: usize,
        session: u64,
    },
}

/// The conversation of a node with its tracker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Session {
    None,
    Trying { number: u64, with: usize, until: Duration },
    Open { number: u64, with: usize, heard: Duration, beat: Duration },
}

/// A node as its tracker has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guest {
    pub(super) member: Member,
    pub(super) session: Option<(usize, u64)>,
    pub(super) until: Duration,
}

#[derive(Debug)]
pub(super) struct Entity {
    pub(super) index: usize,
    pub(super) id: NodeId,
    pub(super) life: u32,
    pub(super) alive: bool,
    pub(super) paused: bool,
    /// What came while it stood still.
    pub(super) inbox: Vec<Message>,
    pub(super) machine: Succession,
    pub(super) session: Session,
    pub(super) sessions: u64,
    /// Time between two heartbeats: as it was set up, and as its tracker wants it.
    pub(super) beats: (Duration, Duration),
    /// Others, as its tracker told.
    pub(super) roster: Vec<Member>,
    /// As a tracker: who is here.
    pub(super) guests: BTreeMap<NodeId, Guest>,
    pub(super) numbers: u64,
    /// Inquiries that are not answered.
    pub(super) pending: BTreeMap<u64, Asked>,
    /// Ways in that it was told at its start.
    pub(super) peers: Vec<usize>,
}

impl Entity {
    pub(super) fn new(
        index: usize,
        home: bool,
        peers: Vec<usize>,
        beat: Duration,
        seed: u64,
    ) -> Self {
        Self {
            index,
            id: id(index, 0, home),
            life: 0,
            alive: false,
            paused: false,
            inbox: Vec::new(),
            machine: machine((index, 0), home, 0, beat, seed, Duration::ZERO),
            session: Session::None,
            sessions: 0,
            beats: (beat, beat),
            roster: Vec::new(),
            guests: BTreeMap::new(),
            numbers: 0,
            pending: BTreeMap::new(),
            peers,
        }
    }

    /// Begins a new life, in which it knows nothing of earlier ones.
    pub(super) fn start(&mut self, home: bool, seed: u64, now: Duration) {
        let (index, life, sessions) = (self.index, self.life + 1, self.sessions);
        let peers = std::mem::take(&mut self.peers);
        let beat = self.beats.0;
        let machine = machine((index, life), home, peers.len(), beat, seed, now);
        *self = Self::new(index, home, peers, beat, seed);
        (self.life, self.id, self.machine) = (life, id(index, life, home), machine);
        (self.sessions, self.alive) = (sessions, true);
    }

    pub(super) fn runs(&self) -> bool {
        self.alive && !self.paused
    }

    /// Everyone here, the longest first.
    pub(super) fn line(&self) -> Vec<Member> {
        let mut line: Vec<Member> = self.guests.values().map(|guest| guest.member).collect();
        line.sort_by_key(|member| (member.joined, member.id));
        line
    }

    /// The join number that it says, unless another living node has it.
    pub(super) fn number(&mut self, member: &Member, now: Duration) -> u64 {
        let taken = self
            .guests
            .values()
            .any(|guest| guest.member.joined == member.joined && guest.member.id != member.id);
        // A tracker that was restarted gives no number a second time.
        let by_time = u64::try_from(now.as_millis()).unwrap();
        let new = self.numbers.max(by_time) + 1;
        let number = if member.joined == 0 || taken { new } else { member.joined };
        self.numbers = self.numbers.max(number);
        number
    }

    /// When its own timers are due.
    pub(super) fn due(&self) -> Duration {
        let session = match self.session {
            Session::None => Duration::MAX,
            Session::Trying { until, .. } => until,
            Session::Open { heard, beat, .. } => beat.min(heard + 2 * self.beats.1),
        };
        let guests = self.guests.values().map(|guest| guest.until).min();
        session.min(self.machine.deadline()).min(guests.unwrap_or(Duration::MAX))
    }
}

/// A node keeps its id over its lives; the home tracker draws one each time.
fn id(index: usize, life: u32, home: bool) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = u8::try_from(index).unwrap();
    if home {
        // In no order.
        bytes[1] = u8::try_from(life % 256).unwrap().wrapping_mul(151);
        bytes[0] = 255;
    }
    NodeId::from_bytes(bytes)
}

pub(super) fn address(index: usize) -> std::net::SocketAddr {
    ([127, 0, 0, 1], 1000 + u16::try_from(index).unwrap()).into()
}

fn machine(
    (index, life): (usize, u32),
    home: bool,
    peers: usize,
    beat: Duration,
    seed: u64,
    now: Duration,
) -> Succession {
    let seed = seed ^ (u64::from(life) << 32) ^ (index as u64) << 48;
    let id = id(index, life, home);
    if home {
        return Succession::home(id, address(index), beat, seed, now);
    }
    let us = Us { id, home: false, eligible: true, knows_home: true, peers };
    let mut node = Succession::node(us, beat, seed, now);
    node.set_address(address(index));
    node
}
