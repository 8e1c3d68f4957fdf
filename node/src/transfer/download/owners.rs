//! The owners of a download: who is asked, and what is made of what they do.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_common::connection::ConnectionError;
use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{MAX_OWNERS, MIN_RATE};
use shoal_common::protocol::refusal::Refusal;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, info_span};

use super::begin::owners_of;
use super::{Download, Ends, Look, OwnerEnd};
use crate::catalog::found::{Listing, Source};
use crate::catalog::pattern::typed_tree;

use crate::transfer::fetch::{FetchError, fetch};
use crate::transfer::job::What;
use crate::transfer::plan::ItemId;
use crate::transfer::roster::Remedy;
use crate::transfer::swarm::Event;

/// How often new owners of a file, or of a tree, are looked for while there are
/// some. To list a tree is much more work for everyone.
const LOOK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// First and longest pause between two looks while there are none: each asks
/// everyone. Who comes or goes is a reason to look again at once.
pub(super) const LOOK_WAITING: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(16));

/// How long the network may take to say who has a file, or what is in a tree.
const LOOK_DEADLINE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

impl Download {
    /// Starts to fetch from whoever is due, and looks for more.
    pub(super) fn engage(&mut self) {
        let now = Instant::now();
        for peer in self.roster.due(now, self.most_owners()) {
            self.offer_all(peer.id);
            self.begin_owner(peer);
        }
        let waiting = self.roster.active() == 0;
        let pause = if waiting { self.look_pause } else { self.usual_pause() };
        let rested = self.looked.is_none_or(|looked| now.duration_since(looked) >= pause);
        if self.looking.is_none() && rested {
            self.looked = Some(now);
            self.next_pause(waiting);
            self.look();
        }
    }

    /// Most owners that can share the limit on what comes without each of them
    /// looking like a stall to the other side.
    fn most_owners(&self) -> usize {
        let limit = self.swarm.throttles.iter().filter_map(|throttle| throttle.rate()).min();
        let share = |limit: u64| usize::try_from(limit / (4 * MIN_RATE)).unwrap_or(usize::MAX);
        limit.map_or(MAX_OWNERS, |limit| share(limit).max(1))
    }

    /// How long to wait from now on until the next look.
    pub(super) fn next_pause(&mut self, waiting: bool) -> Duration {
        let pause = self.look_pause;
        self.look_pause = match waiting {
            // Not all who wait for one owner at the same moments.
            true => (pause * 2).min(LOOK_WAITING.1).mul_f64(rand::random_range(0.75..1.0)),
            false => LOOK_WAITING.0,
        };
        pause
    }

    fn usual_pause(&self) -> Duration {
        if self.swarm.single { LOOK.0 } else { LOOK.1 }
    }

    fn look(&mut self) {
        let network = &self.environment.network;
        self.looking = match &self.wanted.what {
            What::File(wanted) => {
                let sources = network.seek(wanted.file, wanted.size);
                Some(Box::pin(async move {
                    Look::File(timeout(LOOK_DEADLINE.0, sources).await.unwrap_or_default())
                }))
            }
            What::Tree(typed) => typed_tree(typed).map(|tree| {
                let listing = network.list(tree);
                let look = async move {
                    let listing = timeout(LOOK_DEADLINE.1, listing).await.unwrap_or_default();
                    Look::Tree(Box::new(listing))
                };
                Box::pin(look) as crate::transfer::environment::Answer<Look>
            }),
        };
    }

    fn begin_owner(&self, peer: Peer) {
        let span = info_span!("owner", name = %peer.name);
        let ending = Ending::new(peer.id, self.ended.0.clone());
        let swarm = Arc::clone(&self.swarm);
        self.tasks.spawn(span, async move {
            let outcome = fetch(&swarm, &peer).await;
            ending.with(outcome);
        });
    }

    /// Tells the plan what an owner has of the open files.
    fn offer_all(&mut self, owner: NodeId) {
        for id in self.swarm.everything() {
            let geometry = self.swarm.item(id).and_then(|item| item.geometry());
            let said = || {
                let size = self.list.row(id).map_or(0, |row| row.size);
                shoal_common::content::Geometry::of(size).ok()
            };
            if let Some(geometry) = geometry.or_else(said)
                && let Some(offer) = self.offer_of(owner, id, geometry)
            {
                self.swarm.plan().offer(owner, id, offer);
            }
        }
    }

    /// The network says who has what.
    pub(super) fn saw(&mut self, look: Look) {
        match look {
            Look::File(sources) => self.saw_sources(sources),
            Look::Tree(listing) => self.saw_tree(*listing),
        }
    }

    fn saw_sources(&mut self, sources: Vec<Source>) {
        let seen: Vec<_> =
            sources.iter().map(|source| (source.peer.clone(), source.chunks.is_none())).collect();
        self.roster.seen(seen);
        for source in sources {
            let id = source.peer.id;
            self.know(id, source.chunks);
            // One that is connected tells what it has by itself, and sooner.
            if !self.roster.is_active(id) {
                self.offer_all(id);
            }
        }
    }

    /// Other owners of the files that are still missing. Who did not answer, or
    /// not to the end, still has what it had.
    fn saw_tree(&mut self, mut listing: Listing) {
        let rows = self.rows(&mut listing);
        if rows.is_empty() {
            return;
        }
        let places: HashMap<NodeId, u16> =
            listing.peers.iter().map(|peer| peer.id).zip(0..=u16::MAX).collect();
        let silent = |peer: &Peer| listing.more || listing.silent.contains(&peer.name);
        // From a place in the former list to one in the new.
        let kept: Vec<Option<u16>> = self
            .peers
            .iter()
            .map(|peer| places.get(&peer.id).copied().filter(|_| silent(peer)))
            .collect();
        let listed: HashMap<_, _> =
            rows.iter().map(|row| ((row.file, row.size), &row.owners)).collect();
        self.list.relist(|row| {
            let now =
                listed.get(&(row.file, row.size)).into_iter().flat_map(|owners| owners.iter());
            let before = row.owners.iter().filter_map(|&place| *kept.get(usize::from(place))?);
            let all: BTreeSet<u16> = now.copied().chain(before).collect();
            all.into_iter().collect()
        });
        let rows: Vec<_> = self.list.missing().map(|(_, row)| row.clone()).collect();
        self.roster.seen(owners_of(&rows, &listing.peers));
        self.peers = listing.peers;
        let owners: Vec<NodeId> = self.roster.owners().collect();
        owners.into_iter().for_each(|id| self.offer_all(id));
    }

    /// These fetch the same, here or from the same owners: they have some of it,
    /// or will.
    pub(super) fn meet(&mut self, ids: Vec<NodeId>) {
        for id in ids {
            if id == self.environment.us.node || self.roster.name(id).is_some() {
                continue;
            }
            if let Some(peer) = self.environment.network.peer(id) {
                self.know(id, Some(shoal_common::content::ChunkSet::default()));
                self.roster.meet(peer, false);
            }
        }
    }

    /// Meets those who fetch the same file from this node.
    pub(super) fn meet_fellows(&mut self) {
        if let What::File(wanted) = &self.wanted.what {
            let us = self.environment.us.node;
            self.meet(self.environment.fellows.list(&wanted.file, us));
        }
    }

    /// Something happens with an owner or a file.
    pub(super) fn hear(&mut self, event: Event) -> Result<(), Ends> {
        match event {
            Event::Wrong(id) => self.blame(id, "sent wrong bytes of"),
            Event::Fellows(ids) => self.meet(ids),
            Event::Whole(item) => self.whole(item),
            Event::Manifest(owner, item, manifest, last) => {
                self.manifest(owner, item, manifest, last);
            }
            Event::Withdrawn(owner, item, refusal) => return self.withdrawn(owner, item, refusal),
            Event::Disk(item, error) => self.disk_failed(item, &error),
        }
        self.failure()
    }

    /// An owner has a file of a tree no more, or not as it was.
    fn withdrawn(&mut self, owner: NodeId, item: ItemId, refusal: Refusal) -> Result<(), Ends> {
        if self.swarm.plan().is_complete(item) {
            // It came from another meanwhile.
            return Ok(());
        }
        if refusal == Refusal::Changed {
            self.blame(owner, "has changed files of");
        }
        let peers = &self.peers;
        let at = |place: u16| peers.get(usize::from(place)).map(|peer| peer.id);
        match self.list.refused(item, owner, at) {
            0 => self.lose(item, &refusal.to_string()),
            _ => Ok(()),
        }
    }

    pub(super) fn owner_ended(
        &mut self,
        id: NodeId,
        outcome: Result<(), FetchError>,
    ) -> Result<(), Ends> {
        let given = self.swarm.plan().shares().find(|share| share.owner == id);
        let bytes = given.map_or(0, |share| share.bytes);
        let gave = bytes > self.given.insert(id, bytes).unwrap_or(0);
        self.swarm.leave(id);
        let Err(error) = outcome else {
            self.roster.ended(id, None, gave, 0.0, Instant::now());
            return Ok(());
        };
        debug!("no more from an owner: {error}");
        // Wrong once can be a file that was being written to, as with chunks.
        let doubted = matches!(error, FetchError::Unproven) && self.doubted.insert(id);
        let remedy = if doubted { Remedy::Again } else { error.remedy() };
        match &error {
            FetchError::WrongBytes | FetchError::Unproven => self.blame(id, "sent wrong bytes of"),
            FetchError::Manifest(_) => self.blame(id, "sent a manifest that does not fit"),
            FetchError::Refused(Refusal::Changed) => self.blame(id, "has changed"),
            FetchError::TooSlow => self.blame(id, "stands still with"),
            _ if remedy == Remedy::Never => self.blame(id, "does not keep to the protocol over"),
            _ => {}
        }
        let trouble = Some((remedy, error.to_string()));
        self.roster.ended(id, trouble, gave, rand::random(), Instant::now());
        if self.roster.is_hopeless() {
            let name = self.name_of(id);
            return Err(Ends::Failed(format!("{name} was to be the only owner: {error}")));
        }
        Ok(())
    }
}

/// Tells the coordinator of the end of a task, also when it is dropped.
struct Ending {
    id: NodeId,
    to: mpsc::Sender<OwnerEnd>,
    outcome: Option<Result<(), FetchError>>,
}

impl Ending {
    fn new(id: NodeId, to: mpsc::Sender<OwnerEnd>) -> Self {
        let dropped = FetchError::Connection(ConnectionError::Closed);
        Self { id, to, outcome: Some(Err(dropped)) }
    }

    fn with(mut self, outcome: Result<(), FetchError>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            // There is room for the end of every owner, unless the coordinator
            // is gone.
            self.to.try_send((self.id, outcome)).ok();
        }
    }
}
