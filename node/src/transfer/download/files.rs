//! The files of a download, from the question for a manifest to the final name.

use std::io;
use std::sync::Arc;

use fixedbitset::FixedBitSet;
use shoal_common::content::{ChunkSet, FileId, Geometry, Manifest};
use shoal_common::ident::NodeId;
use shoal_common::name::SharedName;
use shoal_common::task::Tasks;
use tokio::sync::mpsc;

use super::{Download, Ends, Target};
use crate::catalog::index::Shared;
use crate::transfer::checklist::is_small;
use crate::transfer::item::{Item, Place, offer};
use crate::transfer::job::What;
use crate::transfer::note::Note;
use crate::transfer::plan::{ItemId, Offer};
use crate::transfer::sink::{Sink, SinkError};
use crate::transfer::stream::{Stream, horizon};
use crate::transfer::writer::Outcome;
use crate::volume::Stamp;

/// Small files that may wait to be written: all that can be open at once.
pub(super) const SMALL_QUEUE: usize = 1024;

/// What came of work on the disk.
pub(super) enum Done {
    /// The manifest that was noted of a file, if there is one.
    Noted(ItemId, Option<Manifest>),
    /// The partial file.
    Opened(ItemId, Arc<Manifest>, Result<(Sink, FixedBitSet), SinkError>),
    /// The name a file got.
    Published(ItemId, io::Result<(SharedName, Stamp)>),
    /// Small files, written or not.
    Small(Vec<Outcome>),
}

/// Work on the disk that is under way.
pub(super) struct Work {
    sender: mpsc::UnboundedSender<Option<Done>>,
    done: mpsc::UnboundedReceiver<Option<Done>>,
    busy: usize,
    writers: usize,
}

impl Default for Work {
    fn default() -> Self {
        // As many may be in it as work is under way, which is as many files as
        // are open.
        let (sender, done) = mpsc::unbounded_channel();
        Self { sender, done, busy: 0, writers: 0 }
    }
}

impl Work {
    /// Begins some on a thread where it may block.
    pub(super) fn begin(
        &mut self,
        tasks: &Tasks,
        work: impl FnOnce() -> Option<Done> + Send + 'static,
    ) {
        self.busy += 1;
        let finished = Finished { sender: self.sender.clone(), done: None };
        tasks.spawn_blocking(move || {
            let mut finished = finished;
            finished.done = work();
        });
    }

    /// Begins the writing of small files, which tells of each by itself.
    pub(super) fn begin_writer(&mut self, tasks: &Tasks, write: impl FnOnce() + Send + 'static) {
        self.writers += 1;
        self.begin(tasks, || {
            write();
            None
        });
    }

    /// Where else something may come from.
    pub(super) fn sender(&self) -> mpsc::UnboundedSender<Option<Done>> {
        self.sender.clone()
    }

    /// Whether some is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy > 0
    }

    /// Whether some is under way but for the writer of small files, who is there
    /// as long as the download.
    pub(super) fn is_busy_with_files(&self) -> bool {
        self.busy > self.writers
    }

    /// What comes of it next.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let done = self.done.recv().await.flatten();
        if !matches!(done, Some(Done::Small(_))) {
            self.busy = self.busy.saturating_sub(1);
        }
        done
    }
}

/// Tells that work is over, also when it panics.
struct Finished {
    sender: mpsc::UnboundedSender<Option<Done>>,
    done: Option<Done>,
}

impl Drop for Finished {
    fn drop(&mut self) {
        self.sender.send(self.done.take()).ok();
    }
}

impl Download {
    /// Begins as many files as there is room for.
    pub(super) fn open_files(&mut self) -> Result<(), Ends> {
        let before = self.swarm.opened();
        while let Some(id) = self.list.open_next() {
            self.open_file(id)?;
        }
        if self.swarm.opened() != before {
            self.swarm.plan().set_more(self.list.has_more());
            self.swarm.news.notify_waiters();
        }
        Ok(())
    }

    /// Whether the file is known to be here, and on the disk as it is known.
    fn is_here(&self, name: &SharedName, file: FileId) -> bool {
        let catalog = &self.environment.catalog;
        let known = catalog.get(name).filter(|known| known.manifest.file() == file);
        known.is_some_and(|known| catalog.is_in_place(&known))
    }

    fn open_file(&mut self, id: ItemId) -> Result<(), Ends> {
        let Some(row) = self.list.row(id) else { return Ok(()) };
        let (file, size, name) = (row.file, row.size, row.name.clone());
        let item = Item::new(id, row);
        if self.is_here(&name, file) && self.wanted_to_keep() {
            // Another download brought it meanwhile.
            self.swarm.wrote(size);
            self.settle(id, name);
            return Ok(());
        }
        if !is_small(size) || matches!(self.target, Some(Target::Reader(_))) {
            self.swarm.open(item);
            if let Some(note) = self.note.take() {
                self.noted(id, note);
                return Ok(());
            }
            let volume = self.environment.volume.clone();
            self.work.begin(&self.environment.tasks, move || {
                Some(Done::Noted(id, Note::read(&volume, file)))
            });
            return Ok(());
        }
        let Some(manifest) = Manifest::of_one_chunk(file, size) else {
            return self.lose(id, "its owners say that it is empty, and its id that it is not");
        };
        let Some(small) = &self.small else { return Ok(()) };
        let geometry = manifest.geometry();
        item.ready(Arc::new(manifest), Place::Small(small.downgrade()));
        if size == 0 {
            return self.write_empty(&item);
        }
        // Before anyone can be asked for it.
        self.swarm.open(item);
        self.swarm.plan().open(id, geometry, FixedBitSet::new());
        self.offer(id, geometry);
        Ok(())
    }

    /// Whether what comes is kept in the node's folder.
    fn wanted_to_keep(&self) -> bool {
        matches!(self.target, Some(Target::Files))
    }

    /// A file without bytes comes from nobody.
    fn write_empty(&mut self, item: &Item) -> Result<(), Ends> {
        let arrived = item.arrived(Vec::new());
        if let (Some(small), Some(arrived)) = (&self.small, arrived)
            && small.try_send(arrived).is_err()
        {
            return self.lose(item.id, "it can't be written");
        }
        Ok(())
    }

    /// Tells the plan who has an open file, as far as it is known before they
    /// are asked.
    pub(super) fn offer(&mut self, id: ItemId, geometry: Geometry) {
        let owners: Vec<NodeId> = match &self.wanted.what {
            What::File(_) => self.roster.owners().collect(),
            What::Tree(_) => {
                let owners = self.list.row(id).map(|row| row.owners.as_ref()).unwrap_or_default();
                owners.iter().filter_map(|&owner| self.peer_at(owner)).collect()
            }
        };
        for owner in owners {
            if let Some(offer) = self.offer_of(owner, id, geometry) {
                self.swarm.plan().offer(owner, id, offer);
            }
        }
    }

    /// What an owner has of an open file.
    pub(super) fn offer_of(&self, owner: NodeId, id: ItemId, geometry: Geometry) -> Option<Offer> {
        match &self.wanted.what {
            What::File(_) => Some(match self.partly.get(&owner) {
                Some(chunks) => offer(chunks, geometry),
                None => Offer::All,
            }),
            What::Tree(_) => {
                let owners = &self.list.row(id)?.owners;
                let its = owners.iter().any(|&place| self.peer_at(place) == Some(owner));
                (its && !self.list.was_refused(id, owner)).then_some(Offer::All)
            }
        }
    }

    fn peer_at(&self, place: u16) -> Option<NodeId> {
        self.peers.get(usize::from(place)).map(|peer| peer.id)
    }

    /// An owner gave a manifest that fits.
    pub(super) fn manifest(
        &mut self,
        owner: NodeId,
        id: ItemId,
        manifest: Manifest,
        last: Vec<u8>,
    ) {
        let Some(item) = self.swarm.item(id).filter(|item| item.manifest().is_none()) else {
            return;
        };
        if !last.is_empty() {
            self.proofs.insert(id, (owner, last));
        }
        self.find_place(&item, Arc::new(manifest));
    }

    /// Finds a place for the chunks of a file whose manifest is known.
    fn find_place(&mut self, item: &Arc<Item>, manifest: Arc<Manifest>) {
        if let Some(Target::Reader(_)) = self.target {
            return self.begin_reading(item, manifest);
        }
        let (environment, name, id) = (Arc::clone(&self.environment), item.name.clone(), item.id);
        let stop = self.tasks.cancelled().clone();
        self.work.begin(&self.environment.tasks, move || {
            let holdings = environment.catalog.holdings();
            let opened = Sink::open(&environment.volume, holdings, &name, &manifest, &stop);
            Some(Done::Opened(id, manifest, opened))
        });
    }

    fn begin_reading(&mut self, item: &Arc<Item>, manifest: Arc<Manifest>) {
        let Some(Target::Reader(reading)) = self.target.take() else { return };
        let geometry = manifest.geometry();
        let (stream, chunks) = Stream::new(geometry);
        reading.chunks.send(chunks).ok();
        self.read = Some(reading.read);
        self.opened(item, manifest, Place::Stream(stream), FixedBitSet::new());
        self.move_horizon();
    }

    /// A reader took chunks: more may come.
    pub(super) fn move_horizon(&mut self) {
        let Some(read) = &mut self.read else { return };
        let read = *read.borrow_and_update();
        let Some(geometry) = self.swarm.item(0).and_then(|item| item.geometry()) else { return };
        self.swarm.plan().set_horizon(0, horizon(geometry, read));
        self.swarm.news.notify_waiters();
    }

    /// There is a place for the chunks of a file: they can come.
    fn opened(
        &mut self,
        item: &Arc<Item>,
        manifest: Arc<Manifest>,
        place: Place,
        mut verified: FixedBitSet,
    ) {
        let geometry = manifest.geometry();
        verified.grow(usize::try_from(geometry.chunks()).unwrap_or(0));
        item.ready(manifest, place);
        let last = geometry.chunks().checked_sub(1);
        let proof = self.proofs.remove(&item.id);
        let proof = proof.zip(last).filter(|(_, last)| !verified.contains(*last as usize));
        let complete = verified.is_full();
        if let Some((_, last)) = proof {
            verified.insert(last as usize);
        }
        // Once more, so that owners are asked what they have of it.
        self.swarm.open(Arc::clone(item));
        self.swarm.plan().open(item.id, geometry, verified);
        self.offer(item.id, geometry);
        self.swarm.news.notify_waiters();
        match proof {
            Some(((owner, bytes), last)) => self.write_proof(item, (owner, last), &bytes),
            None if complete => self.whole(item.id),
            None => {}
        }
    }

    /// The chunk that proved the size need not come again.
    fn write_proof(&mut self, item: &Arc<Item>, (owner, last): (NodeId, u32), bytes: &[u8]) {
        match item.write_at_once(last, bytes) {
            Ok(whole) => {
                self.swarm.wrote(bytes.len() as u64);
                self.swarm.plan().credit(owner, bytes.len() as u64);
                if whole {
                    self.whole(item.id);
                }
            }
            Err(error) => self.disk_failed(item.id, &error),
        }
    }

    /// All chunks of a file are written: gives it its name.
    pub(super) fn whole(&mut self, id: ItemId) {
        let Some(item) = self.swarm.item(id) else { return };
        if item.sink().is_none() {
            // A reader has it all.
            self.list.here(id);
            return self.swarm.close(id);
        }
        let volume = self.environment.volume.clone();
        self.work.begin(&self.environment.tasks, move || {
            let sink = item.sink()?;
            let published = sink.publish(&volume, &item.file, &item.name, item.executable);
            Some(Done::Published(id, published))
        });
    }

    /// Work on the disk is over.
    pub(super) fn worked(&mut self, done: Option<Done>) -> Result<(), Ends> {
        match done {
            None => Ok(()),
            Some(Done::Noted(id, manifest)) => {
                self.noted(id, manifest);
                Ok(())
            }
            Some(Done::Opened(id, manifest, Ok((sink, verified)))) => {
                let Some(item) = self.swarm.item(id) else { return Ok(()) };
                self.swarm.wrote(sink.written());
                self.progress.resumed(sink.written(), std::time::Instant::now());
                self.opened(&item, manifest, Place::Partial(sink), verified);
                self.failure()
            }
            Some(Done::Opened(id, _, Err(error))) => self.not_opened(id, &error),
            Some(Done::Published(id, published)) => self.published(id, published),
            Some(Done::Small(outcomes)) => {
                for (id, outcome) in outcomes {
                    self.small_written(id, outcome)?;
                }
                Ok(())
            }
        }
    }

    fn noted(&mut self, id: ItemId, manifest: Option<Manifest>) {
        let Some(item) = self.swarm.item(id) else { return };
        match manifest {
            Some(manifest) => self.find_place(&item, Arc::new(manifest)),
            None => {
                self.swarm.plan().want_manifest(id);
                let size = self.list.row(id).map_or(0, |row| row.size);
                if let Ok(geometry) = Geometry::of(size) {
                    self.offer(id, geometry);
                }
                self.swarm.news.notify_waiters();
            }
        }
    }

    fn not_opened(&mut self, id: ItemId, error: &SinkError) -> Result<(), Ends> {
        match error {
            SinkError::Taken => {
                self.swarm.close(id);
                self.list.later(id);
                Ok(())
            }
            SinkError::NoSpace { .. } => Err(Ends::Failed(error.to_string())),
            error => self.lose(id, &error.to_string()),
        }
    }

    fn published(
        &mut self,
        id: ItemId,
        published: io::Result<(SharedName, Stamp)>,
    ) -> Result<(), Ends> {
        match published {
            Ok((name, stamp)) => {
                if let Some(item) = self.swarm.item(id)
                    && let Some(manifest) = item.manifest()
                {
                    let manifest = Arc::clone(manifest);
                    let (name, executable) = (name.clone(), item.executable);
                    let shared = Shared { name, stamp, executable, manifest };
                    self.environment.catalog.add_many([shared]);
                }
                self.settle(id, name);
                Ok(())
            }
            Err(error) => self.lose(id, &format!("it can't be given its name: {error}")),
        }
    }

    fn small_written(&mut self, id: ItemId, outcome: io::Result<SharedName>) -> Result<(), Ends> {
        match outcome {
            Ok(name) => {
                self.settle(id, name);
                Ok(())
            }
            Err(error) if is_full(&error) => {
                Err(Ends::Failed(format!("the disk is full: {error}")))
            }
            Err(error) => self.lose(id, &format!("it can't be written: {error}")),
        }
    }

    fn settle(&mut self, id: ItemId, name: SharedName) {
        self.list.here(id);
        self.swarm.close(id);
        match &self.wanted.what {
            What::File(_) => self.saved_as = Some(name),
            What::Tree(_) => {
                let row = self.list.row(id);
                self.renamed += u64::from(row.is_some_and(|row| row.name != name));
            }
        }
    }

    /// The disk fails for a file.
    pub(super) fn disk_failed(&mut self, id: ItemId, error: &io::Error) {
        let what = if is_full(error) { "is full" } else { "fails" };
        self.failed = Some(format!("the disk {what}: {error}"));
        self.swarm.close(id);
    }

    /// Whether the download can't go on.
    pub(super) fn failure(&mut self) -> Result<(), Ends> {
        self.failed.take().map_or(Ok(()), |reason| Err(Ends::Failed(reason)))
    }

    /// A file can't be had.
    pub(super) fn lose(&mut self, id: ItemId, reason: &str) -> Result<(), Ends> {
        self.swarm.close(id);
        self.proofs.remove(&id);
        self.list.failed(id, reason);
        Ok(())
    }

    /// Waits for what is under way on the disk: what was given its name is here.
    pub(super) async fn rest(&mut self) {
        while self.work.is_busy() {
            match self.work.next().await {
                Some(Done::Published(id, published)) => drop(self.published(id, published)),
                Some(Done::Small(outcomes)) => {
                    for (id, outcome) in outcomes {
                        drop(self.small_written(id, outcome));
                    }
                }
                _ => {}
            }
        }
    }

    /// Which chunks the owners have who do not have all of a single file.
    pub(super) fn know(&mut self, owner: NodeId, chunks: Option<ChunkSet>) {
        match chunks {
            Some(chunks) => drop(self.partly.insert(owner, chunks)),
            None => drop(self.partly.remove(&owner)),
        }
    }
}

/// Whether there is no room for anything more.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
