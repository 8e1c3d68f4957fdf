//! Which owners a download uses, and when one that failed is tried again.
//! Decisions, without I/O and without a clock.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use shoal_common::ident::{NodeId, NodeName, Peer};
use shoal_common::limits::MAX_OWNERS;

/// First and longest pause before an owner that broke off is tried again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Pause before an owner is tried again that says it has the content no more,
/// or stands still: either takes a while to change, and one that stands still
/// costs a chunk its deadline each time.
const LATER: Duration = Duration::from_secs(10);

/// What to do about an owner that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Try it again soon: the connection broke, it is busy.
    Again,
    /// Try it again, but not soon: it stands still, its file changed.
    Later,
    /// Never ask it again for this content: it lies.
    Never,
}

/// The owners of one content, as far as a download knows them.
#[derive(Debug)]
pub struct Roster {
    only: Option<NodeId>,
    seed: u64,
    known: BTreeMap<NodeId, Known>,
}

#[derive(Debug)]
struct Known {
    peer: Peer,
    /// It was among those who have something at the last look, or was met since.
    offered: bool,
    /// It has all that is wanted, as far as it is known.
    complete: bool,
    active: bool,
    not_before: Option<Instant>,
    failures: u32,
    never: bool,
    trouble: Option<String>,
    /// When that was.
    troubled: Option<Instant>,
}

impl Roster {
    /// Of all owners, or of one alone. `seed` decides who comes first where
    /// there are more than can be asked.
    pub fn new(only: Option<NodeId>, seed: u64) -> Self {
        Self { only, seed, known: BTreeMap::new() }
    }

    /// These have something of what is wanted now, and no others; those for
    /// whom it is true have all of it.
    pub fn seen(&mut self, peers: impl IntoIterator<Item = (Peer, bool)>) {
        for known in self.known.values_mut() {
            known.offered = false;
        }
        for (peer, complete) in peers {
            self.meet(peer, complete);
        }
    }

    /// This one has something of what is wanted, or will have.
    pub fn meet(&mut self, peer: Peer, complete: bool) {
        if self.only.is_some_and(|only| only != peer.id) {
            return;
        }
        let known = self.known.entry(peer.id).or_insert_with(|| Known {
            peer: peer.clone(),
            offered: true,
            complete,
            active: false,
            not_before: None,
            failures: 0,
            never: false,
            trouble: None,
            troubled: None,
        });
        if known.peer.download != peer.download {
            // It was started anew: what failed before says nothing.
            known.not_before = None;
            known.trouble = None;
        }
        known.peer = peer;
        known.offered = true;
        known.complete |= complete;
    }

    /// Who is to be asked from now on, so that at most `most` are (and never
    /// more than [`MAX_OWNERS`]); each counts as active until [`Roster::ended`]. Where there are more than can be asked, those who have
    /// all come first, and else chance decides: not all downloaders must ask
    /// the same ones.
    pub fn due(&mut self, now: Instant, most: usize) -> Vec<Peer> {
        let room = most.min(MAX_OWNERS).saturating_sub(self.active());
        let seed = self.seed;
        let mut ready: Vec<_> = self
            .known
            .values_mut()
            .filter(|known| {
                let rested = known.not_before.is_none_or(|not_before| not_before <= now);
                known.offered && !known.active && !known.never && rested
            })
            .collect();
        if ready.len() > room {
            ready.sort_by_cached_key(|known| (!known.complete, chance(seed, known.peer.id)));
        }
        ready
            .into_iter()
            .take(room)
            .map(|known| {
                known.active = true;
                known.peer.clone()
            })
            .collect()
    }

    /// An owner is not asked any more. `trouble` says why, where there was a
    /// reason; `gave` whether it gave anything since it was due; `jitter` is
    /// a random number between 0 and 1.
    pub fn ended(
        &mut self,
        id: NodeId,
        trouble: Option<(Remedy, String)>,
        gave: bool,
        jitter: f64,
        now: Instant,
    ) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.active = false;
        let Some((remedy, reason)) = trouble else { return };
        (known.trouble, known.troubled) = (Some(reason), Some(now));
        known.failures = if gave { 1 } else { known.failures.saturating_add(1) };
        let pause = match remedy {
            Remedy::Again => {
                let doubled = 2_u32.saturating_pow(known.failures.saturating_sub(1));
                AGAIN.0.saturating_mul(doubled).min(AGAIN.1)
            }
            Remedy::Later => LATER,
            Remedy::Never => {
                known.never = true;
                return;
            }
        };
        // Half of it at random, so that many downloaders of one owner do not
        // come back all at once.
        known.not_before = Some(now + pause.mul_f64(0.5 + jitter / 2.0));
    }

    /// Number of owners that are being asked.
    pub fn active(&self) -> usize {
        self.known.values().filter(|known| known.active).count()
    }

    /// Whether an owner is being asked.
    pub fn is_active(&self, id: NodeId) -> bool {
        self.known.get(&id).is_some_and(|known| known.active)
    }

    /// Whether nobody can ever be asked again: there was to be one owner, and
    /// it lies.
    pub fn is_hopeless(&self) -> bool {
        self.only.is_some_and(|only| self.known.get(&only).is_some_and(|known| known.never))
    }

    /// The name of an owner.
    pub fn name(&self, id: NodeId) -> Option<&NodeName> {
        self.known.get(&id).map(|known| &known.peer.name)
    }

    /// An owner gives: what went wrong with it is past, unless it lied.
    pub fn gives(&mut self, id: NodeId) {
        if let Some(known) = self.known.get_mut(&id).filter(|known| !known.never) {
            known.trouble = None;
        }
    }

    /// With which owner something went wrong last.
    pub fn troubled(&self) -> Option<NodeId> {
        let last = self.known.iter().filter(|(_, known)| known.trouble.is_some());
        last.max_by_key(|(_, known)| known.troubled).map(|(&id, _)| id)
    }

    /// What went wrong with an owner last.
    pub fn trouble(&self, id: NodeId) -> Option<&str> {
        self.known.get(&id)?.trouble.as_deref()
    }

    /// Who has something of what is wanted now.
    pub fn owners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.known.iter().filter(|(_, known)| known.offered).map(|(&id, _)| id)
    }

    /// Everyone who ever was an owner.
    pub fn everyone(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.known.keys().copied()
    }
}

/// A number that depends on both, and on nothing else.
fn chance(seed: u64, id: NodeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, id.as_bytes()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(peers: impl IntoIterator<Item = u8>) -> Vec<(Peer, bool)> {
        peers.into_iter().map(|number| (peer(number), true)).collect()
    }

    fn peer(number: u8) -> Peer {
        let at = "127.0.0.1:9".parse().unwrap();
        let name = format!("node{number}").parse().unwrap();
        Peer { id: NodeId::from_bytes([number; 32]), name, search: at, download: at, joined: 0 }
    }

    fn ids(peers: &[Peer]) -> Vec<u8> {
        peers.iter().map(|peer| peer.id.as_bytes()[0]).collect()
    }

    fn again() -> Option<(Remedy, String)> {
        Some((Remedy::Again, "broke".to_owned()))
    }

    #[test]
    fn each_owner_is_used_once_at_a_time_and_again_after_a_growing_pause() {
        let mut now = Instant::now();
        let mut roster = Roster::new(None, 7);
        roster.seen(all([1, 2]));
        assert_eq!(ids(&roster.due(now, MAX_OWNERS)), [1, 2]);
        assert_eq!(ids(&roster.due(now, MAX_OWNERS)), [0_u8; 0]);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            roster.ended(peer(1).id, again(), false, 1.0, now);
            let start = now;
            while roster.due(now, MAX_OWNERS).is_empty() {
                now += Duration::from_millis(50);
            }
            pauses.push((now - start).as_millis());
        }
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        roster.ended(peer(1).id, again(), true, 1.0, now);
        assert_eq!(
            ids(&roster.due(now + AGAIN.0, MAX_OWNERS)),
            [1],
            "it gave something: a fresh start"
        );
    }

    #[test]
    fn a_liar_is_never_asked_again_and_one_that_went_not_before_it_is_back() {
        let now = Instant::now();
        let long = now + Duration::from_secs(1000);
        let mut roster = Roster::new(None, 7);
        roster.seen(all([1, 2]));
        roster.due(now, MAX_OWNERS);
        roster.ended(peer(1).id, Some((Remedy::Never, "lies".to_owned())), true, 0.5, now);
        roster.ended(peer(2).id, again(), true, 0.5, now);
        roster.seen(all([1]));
        assert_eq!(ids(&roster.due(long, MAX_OWNERS)), [0_u8; 0]);
        roster.seen(all([1, 2]));
        assert_eq!(ids(&roster.due(long, MAX_OWNERS)), [2]);
        assert_eq!(roster.trouble(peer(1).id), Some("lies"));
        assert!(!roster.is_hopeless());
    }

    #[test]
    fn one_owner_alone_means_one_owner_alone() {
        let now = Instant::now();
        let mut roster = Roster::new(Some(peer(2).id), 7);
        roster.seen(all(1..9));
        assert_eq!(ids(&roster.due(now, MAX_OWNERS)), [2]);
        roster.ended(peer(2).id, Some((Remedy::Never, "lies".to_owned())), true, 0.5, now);
        assert!(roster.is_hopeless());
    }

    #[test]
    fn no_more_owners_at_once_than_the_bound() {
        let now = Instant::now();
        let mut roster = Roster::new(None, 7);
        roster.seen((0..100).map(|number| (peer(number), number == 77)));
        let due = roster.due(now, MAX_OWNERS);
        assert_eq!(due.len(), MAX_OWNERS);
        assert_eq!(due[0], peer(77), "who has all comes first");
        let mut other = Roster::new(None, 8);
        other.seen((0..100).map(|number| (peer(number), number == 77)));
        assert_ne!(ids(&other.due(now, MAX_OWNERS)), ids(&due), "not everyone asks the same ones");
        assert_eq!(roster.due(now, MAX_OWNERS).len(), 0);
        roster.ended(peer(77).id, again(), false, 0.5, now);
        assert_eq!(roster.due(now, MAX_OWNERS).len(), 1);
    }
}
