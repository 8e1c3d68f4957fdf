//! A tracker without sockets and without a clock, for tests of those who talk to one.
//!
//! What is said to a node comes as it travels, without what is in front of it. Where
//! a real tracker waits until a node has read, here nobody calls
//! [`Rehearsal::push`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::connection::{ConnectionError, encode};
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{MAX_TRACKER_FRAME, PUSH_GROUPS};
use shoal_common::protocol::tracking::ToTracker;

use crate::known::{Deed, Known};
use crate::registry::{SessionId, Speaker};
use crate::visit::Visit;

/// A tracker and its sessions.
#[derive(Debug)]
pub struct Rehearsal {
    known: Known,
    visits: BTreeMap<u64, Visit>,
    sessions: u64,
    now: Duration,
}

impl Rehearsal {
    /// One where nobody is, who are to be heard once in `heartbeat`.
    pub fn new(heartbeat: Duration) -> Self {
        let (visits, now) = (BTreeMap::new(), Duration::ZERO);
        Self { known: Known::new(heartbeat), visits, sessions: 0, now }
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.known.registry.tick(self.now);
    }

    /// A node connects; the number of its session.
    pub fn connect(&mut self, node: NodeId) -> u64 {
        let session = self.sessions;
        self.sessions += 1;
        let speaker = Speaker { node, session: SessionId(session) };
        self.visits.insert(session, Visit::new(speaker, 1));
        session
    }

    /// It says something, and is answered; perhaps it is hung up then.
    ///
    /// # Errors
    /// An answer can't be encoded.
    pub fn say(
        &mut self,
        session: u64,
        message: ToTracker,
    ) -> Result<Option<Arc<[u8]>>, ConnectionError> {
        let Some(visit) = self.visits.get_mut(&session) else { return Ok(None) };
        let step = visit.answer(message, &mut self.known.registry, self.now);
        let deed = self.known.deed(visit, step)?;
        // There are no people here.
        self.known.registry.take_notices();
        self.perform(session, deed)
    }

    /// The turn of each group comes once; whether there was something to tell.
    pub fn turn(&mut self) -> bool {
        let turns = (0..PUSH_GROUPS).map(|group| self.known.turn(group).0);
        turns.fold(false, |any, news| any | news)
    }

    /// What a session says that may say something now.
    ///
    /// # Errors
    /// It can't be encoded.
    pub fn push(&mut self, session: u64) -> Result<Vec<Arc<[u8]>>, ConnectionError> {
        let mut said = Vec::new();
        while let Some(visit) = self.visits.get_mut(&session) {
            let step = visit.push(&self.known.registry);
            let is_behind = visit.is_behind();
            let deed = self.known.deed(visit, step)?;
            said.extend(self.perform(session, deed)?);
            if !is_behind {
                break;
            }
        }
        Ok(said)
    }

    /// Who is here, by id.
    pub fn peers(&self) -> Vec<Peer> {
        self.known.registry.peers()
    }

    fn perform(&mut self, session: u64, deed: Deed) -> Result<Option<Arc<[u8]>>, ConnectionError> {
        if matches!(deed, Deed::SayLast(_) | Deed::HangUp)
            && let Some(visit) = self.visits.remove(&session)
        {
            visit.end(&mut self.known.registry, self.now);
        }
        match deed {
            Deed::Wait | Deed::HangUp => Ok(None),
            Deed::Send(frame) => Ok(Some(frame)),
            Deed::Say(message) | Deed::SayLast(message) => {
                encode(&*message, MAX_TRACKER_FRAME).map(|encoded| Some(encoded.into()))
            }
        }
    }
}
