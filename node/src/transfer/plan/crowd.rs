//! What is rare in a swarm, and who fetches it from whom.
//!
//! Nodes that fetch one file at the same time pass on to each other what they
//! have, so all of them are only as fast as what is rare becomes common. But
//! nobody sees what others have just asked for: if each picked at random among
//! the rarest chunks, the one complete owner would send a quarter of the file
//! twice to 8 nodes, and half of it to 16.
//! So the file is shared out ([`Draft`]): a node first asks for what fell to it
//! (or to one that has it already, if it is next), and then helps the others
//! from the other end, with what they come to last. So the complete owner sends
//! another part of the file to each, and each passes its part on in the same
//! way. It is only a preference: a node that is slow, gone or unknown holds
//! nobody up.

use fixedbitset::FixedBitSet;
use shoal_common::content::Geometry;
use shoal_common::ident::NodeId;

use super::bits::index;
use super::draft::{Claim, Draft, Member};

/// A fellow that has no more chunks left to fetch first than this is taken to
/// have asked for all of them: so many are asked ahead over a slow line, some of
/// them by who helps it.
const UNDER_WAY: u32 = 4;

/// The holders of the chunks of one file, and the claims to them.
#[derive(Debug)]
pub(super) struct Crowd {
    draft: Draft,
    us: Member,
    chunks: Vec<Known>,
    fellows: Vec<Fellow>,
}

/// What is known of a chunk.
#[derive(Debug, Clone)]
struct Known {
    /// Partial owners that have it.
    holders: u16,
    /// Those that lack it and come before us.
    ahead: u16,
    ours: Claim,
    /// The lowest claim of those that lack it, and whose that is.
    lowest: Claim,
    first: usize,
}

/// A partial owner: it fetches what it lacks.
#[derive(Debug)]
struct Fellow {
    id: NodeId,
    member: Member,
    has: FixedBitSet,
    /// Chunks that it lacks and to which no other fellow has a lower claim.
    left: u32,
}

/// How soon a chunk is to be fetched; the lower, the sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Nobody but complete owners has it, and another is fetching it.
    coming: bool,
    /// How many partial owners have it.
    holders: u16,
    /// How many others come before us.
    ahead: u16,
    /// By the order of claims.
    order: Claim,
}

impl Rank {
    /// Whether it is no worse, apart from the order of claims.
    pub(super) fn like(self, other: Self) -> bool {
        (self.coming, self.holders, self.ahead) <= (other.coming, other.holders, other.ahead)
    }

    /// Whether only the order of claims could make another one better, that of
    /// a partial or complete owner.
    pub(super) fn is_best(self, partial: bool) -> bool {
        !self.coming && self.ahead == 0 && self.holders <= u16::from(partial)
    }
}

impl Crowd {
    pub(super) fn new(us: NodeId, geometry: Geometry) -> Self {
        let draft = Draft::of(geometry);
        let us = draft.member(us);
        let known = Known { holders: 0, ahead: 0, ours: 0, lowest: Claim::MAX, first: usize::MAX };
        Self { draft, us, chunks: vec![known; index(geometry.chunks())], fellows: Vec::new() }
    }

    /// How soon to fetch a chunk.
    pub(super) fn rank(&self, chunk: usize) -> Option<Rank> {
        let known = self.chunks.get(chunk)?;
        let (holders, ahead) = (known.holders, known.ahead);
        if ahead == 0 {
            return Some(Rank { coming: false, holders, ahead, order: known.ours });
        }
        let few = self.fellows.get(known.first).is_some_and(|fellow| fellow.left <= UNDER_WAY);
        let order = Claim::MAX - known.lowest;
        Some(Rank { coming: few && holders == 0, holders, ahead, order })
    }

    /// Partial owners that have a chunk.
    #[cfg(test)]
    pub(super) fn holders(&self, chunk: usize) -> usize {
        self.chunks[chunk].holders.into()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fellows.is_empty()
    }

    /// A node is here that has these chunks and fetches the others.
    pub(super) fn join(&mut self, id: NodeId, has: &FixedBitSet) {
        let member = self.draft.member(id);
        self.fellows.push(Fellow { id, member, has: has.clone(), left: 0 });
        self.draw();
    }

    /// It is not here any more, or has all of them.
    pub(super) fn leave(&mut self, id: NodeId) {
        self.fellows.retain(|fellow| fellow.id != id);
        self.draw();
    }

    /// It has one more.
    pub(super) fn gain(&mut self, id: NodeId, chunk: usize) {
        let Some(place) = self.fellows.iter().position(|fellow| fellow.id == id) else { return };
        let Some(known) = self.chunks.get_mut(chunk) else { return };
        let Some(fellow) = self.fellows.get_mut(place) else { return };
        if fellow.has.put(chunk) {
            return;
        }
        known.holders += 1;
        known.ahead -= u16::from(self.draft.claim(&fellow.member, chunk) < known.ours);
        if known.first == place {
            fellow.left -= 1;
            known.find_first(chunk, &self.draft, &mut self.fellows);
        }
    }

    /// Shares the file out again.
    fn draw(&mut self) {
        let members = self.fellows.iter().map(|fellow| &fellow.member);
        self.draft.draw(members.chain([&self.us]));
        self.fellows.iter_mut().for_each(|fellow| fellow.left = 0);
        for (chunk, known) in self.chunks.iter_mut().enumerate() {
            known.ours = self.draft.claim(&self.us, chunk);
            (known.holders, known.ahead) = (0, 0);
            for fellow in &self.fellows {
                if fellow.has.contains(chunk) {
                    known.holders += 1;
                } else {
                    let claim = self.draft.claim(&fellow.member, chunk);
                    known.ahead += u16::from(claim < known.ours);
                }
            }
            known.find_first(chunk, &self.draft, &mut self.fellows);
        }
    }
}

impl Known {
    /// Finds out who comes first of those that lack it.
    fn find_first(&mut self, chunk: usize, draft: &Draft, fellows: &mut [Fellow]) {
        let lack = fellows.iter().enumerate().filter(|(_, fellow)| !fellow.has.contains(chunk));
        let claims = lack.map(|(place, fellow)| (draft.claim(&fellow.member, chunk), place));
        (self.lowest, self.first) = claims.min().unwrap_or((Claim::MAX, usize::MAX));
        if let Some(first) = fellows.get_mut(self.first) {
            first.left += 1;
        }
    }
}
