//! The beginning of a download: what there is to fetch, and what is here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use fixedbitset::FixedBitSet;
use shoal_common::ident::Peer;
use shoal_common::limits::{MAX_FILE, MAX_TREE};
use shoal_common::name::SharedName;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::files::Done;
use super::{Download, Ends, Target};
use crate::amount::others;
use crate::catalog::Catalog;
use crate::catalog::found::{ListedFile, Listing};
use crate::catalog::pattern::typed_tree;
use crate::transfer::checklist::{Checklist, Row};
use crate::transfer::job::{JobState, Sources, What};
use crate::transfer::note::Note;
use crate::transfer::sink::is_here;
use crate::transfer::writer::write_small;
use crate::volume::{PartialDir, Volume};

impl Download {
    /// Finds out what there is to fetch, and looks at what is here.
    pub(super) async fn begin(&mut self) -> Result<(), Ends> {
        let reads = matches!(self.target, Some(Target::Reader(_)));
        match self.wanted.what.clone() {
            What::File(wanted) => {
                let row = Row {
                    name: wanted.name,
                    file: wanted.file,
                    size: wanted.size,
                    executable: None,
                    owners: Arc::new([]),
                };
                self.list = Checklist::new(vec![row]);
            }
            What::Tree(typed) => {
                let listing = self.list_tree(&typed).await?;
                self.take_listing(listing).await?;
            }
        }
        if !reads {
            self.look_at_the_disk().await?;
        }
        Ok(())
    }

    /// Asks until somebody has something of the tree.
    async fn list_tree(&mut self, typed: &str) -> Result<Listing, Ends> {
        let tree = typed_tree(typed)
            .ok_or_else(|| Ends::Failed("it is neither a folder nor a glob".to_owned()))?;
        loop {
            let listing = self.environment.network.list(tree.clone()).await;
            if listing.more {
                // What only begins is not all of it, and would pass for it.
                return Err(Ends::Failed(format!(
                    "there is more of it than can be listed at once, which is {MAX_TREE} entries, \
                     or fewer with long names: fetch it in parts"
                )));
            }
            if self.is_worth_while(&listing) {
                return Ok(listing);
            }
            self.wait(Instant::now());
            if let (Some(reason), Some(lacking)) = (&mut self.reason, lacking(&listing)) {
                reason.push_str(", ");
                reason.push_str(&lacking);
            }
            self.show(Instant::now());
            let mut network = self.environment.network.changes();
            let pause = self.next_pause(true);
            tokio::time::timeout(pause, network.changed()).await.ok();
        }
    }

    /// Whether a listing has something of those from whom is fetched.
    fn is_worth_while(&self, listing: &Listing) -> bool {
        let empty = listing.entries.is_empty() && listing.folders.is_empty();
        match self.wanted.from {
            Sources::All => !empty,
            Sources::Only(only) => {
                let peer = listing.peers.iter().find(|peer| peer.id == only);
                !empty && peer.is_some_and(|peer| !listing.silent.contains(&peer.name))
            }
        }
    }

    /// The files of a listing that are wanted: of each name the content that most
    /// owners have, or the one of the only owner from whom is fetched.
    pub(super) fn rows(&self, listing: &mut Listing) -> Vec<Row> {
        let mut entries = std::mem::take(&mut listing.entries);
        // Nobody can share a larger one, whatever a peer says.
        entries.retain(|entry| entry.size <= MAX_FILE);
        let row = |entry: ListedFile| Row {
            name: entry.name,
            file: entry.id,
            size: entry.size,
            executable: Some(entry.executable),
            owners: entry.owners.into_positions(),
        };
        let Sources::Only(only) = self.wanted.from else {
            return entries.into_iter().map(row).collect();
        };
        let Some(place) = listing.peers.iter().position(|peer| peer.id == only) else {
            return Vec::new();
        };
        let others = std::mem::take(&mut listing.others);
        let its = |row: &Row| row.owners.iter().any(|&owner| usize::from(owner) == place);
        let mut rows: Vec<_> = entries.into_iter().chain(others).map(row).filter(its).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// The files of a tree are known: which are here, which folders are to be
    /// made.
    async fn take_listing(&mut self, mut listing: Listing) -> Result<(), Ends> {
        self.state = JobState::Starting;
        let rows = self.rows(&mut listing);
        if listing.differing > 0 && self.wanted.from == Sources::All {
            let (count, title) = (listing.differing, self.wanted.title());
            self.environment.notices.say(format!(
                "`{}`: {count} names have several contents; of each the one that most owners \
                 have is fetched",
                title.escape_debug()
            ));
        }
        self.looked = Some(Instant::now());
        self.lacking = lacking(&listing);
        if let Some(lacking) = &self.lacking {
            let title = self.wanted.title().escape_debug();
            self.environment.notices.say(format!("`{title}`: {lacking}"));
        }
        self.roster.seen(owners_of(&rows, &listing.peers));
        self.peers = listing.peers;
        let (volume, catalog) = (self.environment.volume.clone(), self.environment.catalog.clone());
        let (folders, stop) = (listing.folders, self.tasks.cancelled().clone());
        let looked = self.tasks.spawn_blocking(move || {
            let lost = make_folders(&volume, folders, &stop);
            let here = here_already(&volume, &catalog, &rows, &stop);
            (rows, here, lost)
        });
        let (rows, here, lost) = looked.await.map_err(|error| Ends::Failed(error.to_string()))?;
        self.list = Checklist::new(rows);
        for (name, reason) in lost {
            self.list.lost(name, reason);
        }
        let mut bytes = 0_u64;
        for item in here {
            bytes = bytes.saturating_add(self.list.row(item).map_or(0, |row| row.size));
            self.list.here(item);
        }
        self.swarm.wrote(bytes);
        self.progress.resumed(bytes, Instant::now());
        Ok(())
    }

    /// Looks at what is here of a single file, and whether there is room for
    /// a tree; prepares for small files.
    async fn look_at_the_disk(&mut self) -> Result<(), Ends> {
        let (environment, tasks) = (&self.environment, &self.tasks);
        if let What::File(wanted) = self.wanted.what.clone() {
            // Another content that is known under this name need not be read
            // again.
            let known = environment.catalog.get(&wanted.name);
            let other = known.is_some_and(|known| {
                known.manifest.file() != wanted.file && environment.catalog.is_in_place(&known)
            });
            let (volume, stop) = (environment.volume.clone(), tasks.cancelled().clone());
            let look = move || {
                let here =
                    !other && is_here(&volume, &wanted.name, wanted.file, wanted.size, &stop);
                (here, Note::read(&volume, wanted.file))
            };
            let (here, note) = tasks.spawn_blocking(look).await.unwrap_or_default();
            self.note = Some(note);
            if here {
                environment.catalog.refresh();
                self.forget_partial();
                let What::File(wanted) = &self.wanted.what else { return Ok(()) };
                return Err(Ends::Done(Some(wanted.name.clone())));
            }
        } else {
            let needs = self.needs();
            match environment.volume.available() {
                Ok(has) if needs > has => {
                    return Err(Ends::Failed(format!(
                        "not enough space: needs {needs} bytes, has {has}"
                    )));
                }
                _ => {}
            }
        }
        self.prepare_small()
    }

    /// Bytes that are still to be allocated.
    fn needs(&self) -> u64 {
        let volume = &self.environment.volume;
        let begun: HashSet<_> = volume.partials().unwrap_or_default().into_iter().collect();
        let needs = |row: &Row| {
            let partial = || volume.partial(&row.file).map_or(0, |partial| partial.allocated());
            let here = if begun.contains(&row.file) { partial() } else { 0 };
            row.size.saturating_sub(here)
        };
        self.list.missing().fold(0, |sum, (_, row)| needs(row).saturating_add(sum))
    }

    fn prepare_small(&mut self) -> Result<(), Ends> {
        let missing = self.list.missing();
        if !missing.into_iter().any(|(_, row)| crate::transfer::checklist::is_small(row.size)) {
            return Ok(());
        }
        let staging = self
            .environment
            .volume
            .staging()
            .map_err(|error| Ends::Failed(format!("the disk fails: {error}")))?;
        let (small, arriving) = tokio::sync::mpsc::channel(super::files::SMALL_QUEUE);
        let catalog = self.environment.catalog.clone();
        self.small = Some(small);
        let done = self.work.sender();
        self.work.begin_writer(&self.environment.tasks, move || {
            write_small(&staging, &catalog, arriving, |outcomes| {
                done.send(Some(Done::Small(outcomes))).is_ok()
            });
        });
        Ok(())
    }

    /// There is nothing to go on with.
    fn forget_partial(&self) {
        let What::File(wanted) = &self.wanted.what else { return };
        let partial = self.environment.volume.partial(&wanted.file);
        if let Err(error) = partial.and_then(PartialDir::discard) {
            warn!("cannot tidy up after `{}`: {error}", wanted.name);
        }
    }
}

/// Makes the folders that no file is in; those that can't be made, and why.
fn make_folders(
    volume: &Volume,
    folders: Vec<SharedName>,
    stop: &CancellationToken,
) -> Vec<(SharedName, String)> {
    let make = |folder: SharedName| match volume.make_folder(&folder) {
        Ok(()) => None,
        Err(error) => Some((folder, format!("the folder can't be made: {error}"))),
    };
    folders.into_iter().take_while(|_| !stop.is_cancelled()).filter_map(make).collect()
}

/// The files that are here already, under their names. What the catalog does
/// not know is read, if it could be the same.
fn here_already(
    volume: &Volume,
    catalog: &Catalog,
    rows: &[Row],
    stop: &CancellationToken,
) -> Vec<u32> {
    // Most folders of a tree are not here at all: one look for each.
    let mut folders: HashMap<Option<String>, bool> = HashMap::new();
    let mut is_there = |row: &Row| {
        let parent = row.name.parent().map(str::to_owned);
        *folders.entry(parent).or_insert_with_key(|parent| {
            parent.as_ref().is_none_or(|parent| volume.has_folder(parent))
        })
    };
    let here = (0..).zip(rows).filter(|(_, row)| {
        is_there(row)
            && !stop.is_cancelled()
            && match catalog.get(&row.name) {
                Some(known) if catalog.is_in_place(&known) => {
                    known.manifest.file() == row.file || is_numbered(catalog, row)
                }
                _ => is_here(volume, &row.name, row.file, row.size, stop),
            }
    });
    here.map(|(item, _)| item).collect()
}

/// Whether another content has the name here, and this one the same with a
/// number: it was fetched before.
fn is_numbered(catalog: &Catalog, row: &Row) -> bool {
    let numbered = (2..NUMBERS).map_while(|number| row.name.with_number(number));
    let mut contents = numbered.map_while(|name| catalog.named(&name));
    contents.any(|file| file == row.file)
}

/// Most numbers behind a name that are looked at.
const NUMBERS: u32 = 100;

/// Whom of those who were asked a listing says to have something.
pub(super) fn owners_of(rows: &[Row], peers: &[Peer]) -> Vec<(Peer, bool)> {
    let mut have = FixedBitSet::with_capacity(peers.len());
    for row in rows {
        have.extend(
            row.owners.iter().map(|&place| usize::from(place)).filter(|&p| p < peers.len()),
        );
    }
    have.ones().filter_map(|place| peers.get(place).cloned()).map(|peer| (peer, true)).collect()
}

/// What may be missing in a listing, in words.
fn lacking(listing: &Listing) -> Option<String> {
    let names: Vec<_> = listing.silent.iter().take(3).map(|name| format!("`{name}`")).collect();
    let more = listing.silent.len().saturating_sub(names.len());
    match (names.as_slice(), more) {
        ([], _) => None,
        (names, 0) => Some(format!("without what only {} may have: no answer", names.join(", "))),
        (names, more) => Some(format!(
            "without what only {} and {} may have: no answer",
            names.join(", "),
            others(more as u64)
        )),
    }
}
