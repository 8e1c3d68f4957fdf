//! Asks many by way of some: each is given a stretch of the ring of ids, answers
//! for itself, and asks on in the same way what lies behind it.
//!
//! So nobody calls more than [`FAN`] others for one search, however large the
//! network is, but for those that replace who fails; each node is asked once, with
//! the same exception; and who is asked may know some whom the asker does not. A
//! node always knows those who follow it ([`SAMPLE`](shoal_common::limits::SAMPLE)),
//! so nobody between two who are asked is left out. A search for [`MAX_HOPS`] times
//! passed on ends: each stretch is a part of the one before, without the node that
//! passes it on.

use std::cmp;
use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::call::call_with;
use shoal_common::connection::Connection;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{
    MAX_GATHER_FRAME, MAX_HOPS, MAX_MATCHES, MAX_NODES, MAX_REQUEST_FRAME, MAX_SILENT,
    REPLY_DEADLINE,
};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::search::{
    Answer, Gather, Gathered, Match, Pattern, SearchReply, SearchRequest,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::super::pattern::Matcher;
use super::LATE;
use super::ring::{Share, lies_between, shares};
use super::together::Together;

/// Most others that one node asks for one search. 20,000 are reached over three
/// hops, and a node's part of it is a few connections.
pub const FAN: usize = 32;

/// How many are tried in turn for one stretch: who does not answer, or for few, is
/// replaced.
const TRIES: usize = 3;

/// The part of what a node has itself; those of the others come behind it.
pub const OWN: usize = 0;

/// Below this it is not worth asking: a connection and an answer on one machine.
const LEAST: Duration = Duration::from_millis(20);

/// What came of a part of the ring.
enum Part {
    Of(usize, Gathered),
    /// Somebody on it did not answer.
    Silent(Peer),
}

/// A search that is passed on, as one node does it.
#[derive(Debug, Clone)]
pub struct Search {
    /// Who asks.
    us: Party,
    /// What to look for.
    pattern: Pattern,
    /// Until when there must be an answer.
    deadline: Instant,
    /// How often it may be passed on by those who are asked.
    hops: u8,
    /// Room for long answers that are coming in.
    room: Arc<Semaphore>,
}

/// An answer, and the room that it takes until it is merged with the others.
type Received = (Gathered, Option<OwnedSemaphorePermit>);

impl Search {
    /// A search of this node's own: with `us` for what matches `pattern`, which must
    /// be over at `deadline`.
    pub fn new(us: Party, pattern: Pattern, deadline: Instant) -> Self {
        // One for each who is asked.
        Self { us, pattern, deadline, hops: MAX_HOPS, room: Arc::new(Semaphore::new(FAN)) }
    }

    /// Asks `peers`, those whom they know included, for everyone else: at most
    /// [`MAX_MATCHES`] of each of [`FAN`] parts of the ring.
    pub async fn gather(&self, peers: Vec<Peer>) -> Gathered {
        let mut all = Together::new(FAN * MAX_MATCHES);
        self.collect(peers, self.us.node, &mut all).await;
        all.finish()
    }

    /// Asks `peers`, those whom they know included, who lie behind this node and
    /// before `upto`; this node's own id for all.
    async fn collect(&self, peers: Vec<Peer>, upto: NodeId, all: &mut Together) {
        let (parts, mut came) = mpsc::channel(1);
        // A set, not `Tasks`: when the caller is cancelled, so are the questions.
        let mut questions = JoinSet::new();
        for (share, part) in shares(peers, self.us.node, upto, FAN).into_iter().zip(OWN + 1..) {
            let (search, parts) = (self.clone(), parts.clone());
            questions.spawn(async move { search.ask(share, part, parts).await });
        }
        drop(parts);
        while let Some(part) = came.recv().await {
            match part {
                Part::Of(part, gathered) => all.add(part, gathered),
                Part::Silent(peer) => all.add_silent(peer),
            }
        }
    }

    /// Asks for a share; whoever fails is named as silent.
    async fn ask(&self, mut share: Share, part: usize, parts: mpsc::Sender<Part>) {
        // The other end lives as long as this task.
        for others in (0..TRIES).rev() {
            let known = share.len();
            let Some((peer, upto)) = share.take() else { return };
            let is_last = others == 0 || share.len() == 0;
            match self.ask_one(&peer, upto, is_last).await {
                Ok((gathered, _room)) if !is_last && speaks_for_few(&gathered, known) => {
                    debug!("`{}` has asked few of {known}", peer.name);
                    // The next one counts those behind it.
                    let asked = cmp::min(gathered.asked, 1);
                    let own =
                        Gathered { asked, missing: 1 - asked, silent: Vec::new(), ..gathered };
                    parts.send(Part::Of(part, own)).await.ok();
                }
                Ok((mut gathered, _room)) => {
                    // Those of whom it says nothing.
                    let missed = (known as u64).saturating_sub(gathered.asked);
                    gathered.missing = gathered.missing.max(missed);
                    parts.send(Part::Of(part, gathered)).await.ok();
                    return;
                }
                Err(reason) => {
                    debug!("no answer from `{}`: {reason}", peer.name);
                    parts.send(Part::Silent(peer)).await.ok();
                }
            }
        }
        for peer in share.rest() {
            parts.send(Part::Silent(peer)).await.ok();
        }
    }

    /// Asks one for all up to another. Who is dead, or greets and says no more, must
    /// not take the time of who replaces it: only the last one may take all of it.
    async fn ask_one(&self, peer: &Peer, upto: NodeId, is_last: bool) -> Result<Received, String> {
        let start = Instant::now();
        let left = self.deadline.saturating_duration_since(start);
        let (part, call) = if is_last { (left, left) } else { (left / 2, left / 4) };
        if part < LEAST {
            return Err(LATE.to_owned());
        }
        // It needs time to answer after those whom it asks have.
        let patience_ms = u32::try_from((part * 4 / 5).as_millis()).unwrap_or(u32::MAX);
        let gather = Gather { pattern: self.pattern.clone(), upto, patience_ms, hops: self.hops };
        let request = SearchRequest::Gather(gather);
        let ahead = |connection: &mut Connection<_>| connection.queue(&request, MAX_REQUEST_FRAME);
        let called = call_with(peer.search, &self.us, Talk::Search, ahead);
        let called = in_time(start + call, called).await?;
        let (mut connection, hello) = called.map_err(|error| error.to_string())?;
        if hello.node != peer.id {
            return Err("another node is at its address".to_owned());
        }
        let end = start + part;
        let begun = poll_fn(|context| connection.poll_begun(context));
        in_time(end, begun).await?.map_err(|error| error.to_string())?;
        // Who sends many of the longest ones, slowly, fills no more than the room.
        let room = match connection.has_message(MAX_GATHER_FRAME) {
            true => None,
            false => in_time(end, Arc::clone(&self.room).acquire_owned()).await?.ok(),
        };
        match in_time(end, connection.receive(MAX_GATHER_FRAME, REPLY_DEADLINE)).await? {
            Ok(SearchReply::Gathered(gathered)) => Ok((self.held(gathered, peer.id, upto)?, room)),
            Ok(SearchReply::Refused { refusal }) => Err(format!("refused: {refusal}")),
            Ok(_) => Err("an unknown answer".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// An answer, held against what was asked.
    fn held(&self, mut gathered: Gathered, from: NodeId, upto: NodeId) -> Result<Gathered, String> {
        let matcher = Matcher::new(&self.pattern).map_err(|error| error.to_string())?;
        let lies_there = |id| id == from || lies_between(id, from, upto);
        let asked = |answer: &Answer| {
            lies_there(answer.peer.id)
                && answer.peer.is_reachable()
                && answer.matches.iter().all(|found| is_asked(&matcher, found))
        };
        let matches: usize = gathered.answers.iter().map(|answer| answer.matches.len()).sum();
        let nodes: HashSet<_> = gathered.answers.iter().map(|answer| answer.peer.id).collect();
        if matches > MAX_MATCHES
            || gathered.answers.len() > MAX_MATCHES
            || gathered.answers.len() != nodes.len()
            || gathered.silent.len() > MAX_SILENT
            || !gathered.answers.iter().all(asked)
        {
            return Err("it answered what was not asked".to_owned());
        }
        // Nobody knows more, and a sum of such stays a number.
        for count in [&mut gathered.asked, &mut gathered.missing] {
            *count = cmp::min(*count, MAX_NODES as u64);
        }
        Ok(gathered)
    }
}

async fn in_time<T>(deadline: Instant, asked: impl Future<Output = T>) -> Result<T, String> {
    timeout_at(deadline, asked).await.map_err(|_| LATE.to_owned())
}

/// Whether who answered for a part of the ring has asked, or missed, no more than half
/// of those known there: it knows nobody yet, has no time for it, or lies.
fn speaks_for_few(gathered: &Gathered, known: usize) -> bool {
    known > 1 && gathered.asked.saturating_add(gathered.missing) <= (known as u64) / 2
}

/// Whether a peer may say so of its files.
pub(super) fn is_asked(matcher: &Matcher, found: &Match) -> bool {
    let may_be_partial = matches!(matcher, Matcher::Content(_));
    matcher.matches(&found.name, found.file) && (may_be_partial || found.chunks.is_none())
}

/// Until when a node must have all of its answer to what it was asked now. What is
/// left is for the way back.
pub fn answers_by(gather: &Gather) -> Instant {
    let patience = Duration::from_millis(gather.patience_ms.into());
    Instant::now() + cmp::min(patience, REPLY_DEADLINE) * 7 / 8
}

/// Adds what those of `peers` on the stretch, and whom they know, answer until the
/// deadline. Their long answers have this `room` while they come in.
pub async fn pass_on(
    gather: Gather,
    deadline: Instant,
    us: Party,
    peers: Vec<Peer>,
    room: Arc<Semaphore>,
    all: &mut Together,
) {
    let Some(hops) = cmp::min(gather.hops, MAX_HOPS).checked_sub(1) else {
        // Nobody has such a deep network, but who lies about it is left out.
        return peers
            .into_iter()
            .filter(|peer| lies_between(peer.id, us.node, gather.upto))
            .for_each(|peer| all.add_silent(peer));
    };
    let search = Search { us, pattern: gather.pattern, deadline, hops, room };
    search.collect(peers, gather.upto, all).await;
}

#[cfg(test)]
mod tests {
    use shoal_common::content::FileId;
    use shoal_common::serve::{Guest, serve};
    use shoal_common::task::Tasks;
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;
    use tracing::Span;

    use super::*;

    fn peer(number: u8) -> Peer {
        let at = "127.0.0.1:9".parse().unwrap();
        let name = format!("node{number}").parse().unwrap();
        Peer { id: NodeId::from_bytes([number; 32]), name, search: at, download: at, joined: 0 }
    }

    fn answer(number: u8, matches: usize) -> Answer {
        let found =
            Match { name: "a".parse().unwrap(), size: 1, file: FileId::of(b"a"), chunks: None };
        Answer { peer: peer(number), matches: vec![found; matches] }
    }

    #[test]
    fn what_was_not_asked_is_not_believed() {
        let us = Party::new("x", NodeId::random());
        let search = |pattern| Search::new(us.clone(), pattern, Instant::now());
        let exact = search(Pattern::Exact("a".parse().unwrap()));
        let (from, upto) = (peer(3).id, peer(6).id);
        let held =
            |answers| exact.held(Gathered { answers, ..Gathered::default() }, from, upto).is_ok();
        assert!(held(vec![answer(3, 1), answer(5, 1)]));
        assert!(!held(vec![answer(5, 1), answer(5, 1)]), "each node is there once");
        assert!(!held(vec![answer(6, 1)]), "that is somebody else's part");
        assert!(!held(vec![answer(2, 1)]));
        assert!(!held(vec![answer(4, MAX_MATCHES), answer(5, 1)]));
        let mut unreachable = answer(4, 1);
        unreachable.peer.search.set_port(0);
        assert!(!held(vec![unreachable]));
        let counts = |asked| Gathered { asked, missing: 7, ..Gathered::default() };
        let of_many = exact.held(counts(u64::MAX), from, upto).unwrap();
        assert_eq!((of_many.asked, of_many.missing), (MAX_NODES as u64, 7));
        let other = search(Pattern::Exact("b".parse().unwrap()));
        let gathered = Gathered { answers: vec![answer(3, 1)], ..Gathered::default() };
        assert!(other.held(gathered, from, upto).is_err());
    }

    /// Answers once, with so many matches.
    async fn with(matches: usize) -> (Peer, Tasks) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tasks = Tasks::new(Handle::current());
        let mut answer = answer(7, matches);
        answer.peer.search = listener.local_addr().unwrap();
        let (peer, us) = (answer.peer.clone(), Party::new("x", answer.peer.id));
        let gathered = Gathered { answers: vec![answer], asked: 1, ..Gathered::default() };
        let handle = move |mut guest: Guest| {
            let reply = SearchReply::Gathered(gathered.clone());
            async move { guest.connection.send(&reply, MAX_GATHER_FRAME).await }
        };
        let door = serve(listener, us, &[Talk::Search], 9, tasks.clone(), handle);
        tasks.spawn(Span::none(), door);
        (peer, tasks)
    }

    #[tokio::test]
    async fn long_answers_wait_for_room_and_short_ones_do_not() {
        let us = Party::new("x", NodeId::random());
        for (matches, room, comes) in [(1, 0, true), (1000, 0, false), (1000, 1, true)] {
            let (peer, _tasks) = with(matches).await;
            let patience = Duration::from_millis(if comes { 10_000 } else { 500 });
            let pattern = Pattern::Exact("a".parse().unwrap());
            let mut search = Search::new(us.clone(), pattern, Instant::now() + patience);
            search.room = Arc::new(Semaphore::new(room));
            let gathered = search.gather(vec![peer]).await;
            let (asked, missing) = if comes { (1, 0) } else { (0, 1) };
            assert_eq!((gathered.asked, gathered.missing), (asked, missing), "{matches}, {room}");
            assert_eq!(search.room.available_permits(), room, "it is given back");
        }
    }
}
