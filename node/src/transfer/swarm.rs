//! What the tasks of one download share: the plan, the files that are open, and
//! the way to the coordinator.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shoal_common::content::{FileId, Manifest};
use shoal_common::ident::NodeId;
use shoal_common::party::Party;
use shoal_common::protocol::refusal::Refusal;
use tokio::sync::{Notify, mpsc};

use super::item::Item;
use super::plan::{ItemId, Plan, Verdict};
use super::rate::Throttle;
use crate::traffic::Traffic;

/// Events that may wait for the coordinator. Those who have more to say wait,
/// or leave out what is said again anyway.
const EVENTS: usize = 256;

/// What happens with an owner or a file.
#[derive(Debug)]
pub(super) enum Event {
    /// An owner sent a wrong chunk.
    Wrong(NodeId),
    /// An owner has a file no more, or not as it was.
    Withdrawn(NodeId, ItemId, Refusal),
    /// A manifest that fits, and the last chunk, which proves its size.
    Manifest(NodeId, ItemId, Manifest, Vec<u8>),
    /// All chunks of a file are written.
    Whole(ItemId),
    /// The disk fails for a file.
    Disk(ItemId, io::Error),
    /// Other nodes that fetch a file.
    Fellows(Vec<NodeId>),
}

/// What the tasks of one download share.
#[derive(Debug)]
pub(super) struct Swarm {
    /// How this node greets.
    pub(super) us: Party,
    /// Whether one file is fetched, not a tree: an owner that has it no more is
    /// of no use then.
    pub(super) single: bool,
    plan: Mutex<Plan>,
    open: Mutex<BTreeMap<ItemId, Arc<Item>>>,
    /// Counts the files that were opened.
    opened: AtomicU64,
    /// There is more to ask for, or another owner to ask.
    pub(super) news: Notify,
    events: mpsc::Sender<Event>,
    /// Verified bytes that were written.
    written: AtomicU64,
    /// Where it is told how much comes.
    traffic: Traffic,
    /// What this download, and all of this node, may receive.
    pub(super) throttles: [Throttle; 2],
    /// Largest request, in bytes; changes while it runs.
    request: Arc<AtomicU64>,
}

impl Swarm {
    pub(super) fn new(
        us: Party,
        single: bool,
        plan: Plan,
        throttles: [Throttle; 2],
        request: Arc<AtomicU64>,
        traffic: Traffic,
    ) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (events, heard) = mpsc::channel(EVENTS);
        let swarm = Self {
            us,
            single,
            plan: Mutex::new(plan),
            open: Mutex::default(),
            opened: AtomicU64::new(0),
            news: Notify::new(),
            events,
            written: AtomicU64::new(0),
            traffic,
            throttles,
            request,
        };
        (Arc::new(swarm), heard)
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        // Every method of the plan leaves it whole.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn items(&self) -> MutexGuard<'_, BTreeMap<ItemId, Arc<Item>>> {
        // Whole after each of the few statements under its lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a file can be fetched, or its manifest.
    pub(super) fn open(&self, item: Arc<Item>) {
        self.items().insert(item.id, item);
        self.opened.fetch_add(1, Ordering::Release);
    }

    /// A file is done with.
    pub(super) fn close(&self, item: ItemId) {
        self.items().remove(&item);
        self.plan().close(item);
    }

    /// Counts the files that were opened: who saw the same number knows them
    /// all.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    pub(super) fn item(&self, item: ItemId) -> Option<Arc<Item>> {
        self.items().get(&item).cloned()
    }

    pub(super) fn item_of(&self, file: &FileId) -> Option<Arc<Item>> {
        self.items().values().find(|item| item.file == *file && item.chunked()).cloned()
    }

    /// The open files of which chunks can be had one by one.
    pub(super) fn chunked(&self) -> Vec<Arc<Item>> {
        self.items().values().filter(|item| item.chunked()).cloned().collect()
    }

    /// Everything that is open.
    pub(super) fn everything(&self) -> Vec<ItemId> {
        self.items().keys().copied().collect()
    }

    pub(super) fn request(&self) -> u64 {
        self.request.load(Ordering::Relaxed)
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Verified bytes were written, or found.
    pub(super) fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Release);
    }

    /// An owner is gone; what it was asked for is free.
    pub(super) fn leave(&self, owner: NodeId) {
        self.plan().leave(owner);
        self.news.notify_waiters();
    }

    /// Tells the coordinator something that it must hear.
    pub(super) async fn tell(&self, event: Event) {
        // A coordinator that is gone needs to know nothing.
        self.events.send(event).await.ok();
    }

    /// Tells the coordinator something, unless it is busy; whether it was told.
    pub(super) fn mention(&self, event: Event) -> bool {
        self.events.try_send(event).is_ok()
    }

    /// Puts a chunk where it belongs, if it is right and new.
    pub(super) async fn take(
        &self,
        owner: NodeId,
        item: &Item,
        chunk: u32,
        correct: bool,
        bytes: &[u8],
    ) -> Verdict {
        self.traffic.moved(bytes.len() as u64);
        let verdict = self.plan().delivered(owner, item.id, chunk, correct, Instant::now());
        match verdict {
            Verdict::Keep => self.keep(item, chunk, bytes).await,
            Verdict::Wrong | Verdict::Banned => self.news.notify_waiters(),
            Verdict::Known | Verdict::Unasked => {}
        }
        verdict
    }

    async fn keep(&self, item: &Item, chunk: u32, bytes: &[u8]) {
        match item.write(chunk, bytes).await {
            Ok(whole) => {
                self.wrote(bytes.len() as u64);
                if whole {
                    self.tell(Event::Whole(item.id)).await;
                }
            }
            Err(error) => self.tell(Event::Disk(item.id, error)).await,
        }
    }
}
