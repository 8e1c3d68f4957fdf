//! The files of one download: which are still to come, which to begin next, and
//! which can't be had. Decisions, without I/O.
//!
//! Every file is *pending*, *open* (its chunks are handed out, or its manifest
//! is asked for), *here* or *failed*. Open ones are few, however many there
//! are in all: what they cost in memory, descriptors and looks is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shoal_common::content::{FileId, Geometry};
use shoal_common::ident::NodeId;
use shoal_common::limits::MIB;
use shoal_common::name::SharedName;

use super::job::{Failure, FileCounts, MAX_FAILURES};
use super::plan::ItemId;

/// Most small files that are open at once, and most bytes of them, which may be
/// in memory until they are written: enough that no owner waits for the disk.
const MAX_SMALL: (usize, u64) = (1024, 16 * MIB);

/// Most larger files that are open at once. Several, so that the end of one and
/// the manifest of the next hold nobody up.
/// As many as a connection can [follow](shoal_common::limits::MAX_FOLLOWED).
const MAX_LARGE: usize = shoal_common::limits::MAX_FOLLOWED;

/// A file that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The name it shall have.
    pub name: SharedName,
    /// Its content.
    pub file: FileId,
    /// Its size in bytes, as its owners say.
    pub size: u64,
    /// Whether it may be executed; `None` where that is not known.
    pub executable: Option<bool>,
    /// Who has it, as places in the download's list of peers.
    pub owners: Arc<[u16]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Open,
    Here,
    Failed,
}

/// The files of one download.
#[derive(Debug, Default)]
pub struct Checklist {
    rows: Vec<(Row, State)>,
    /// Bytes of all files.
    size: u64,
    /// Files from here on were never open.
    next: usize,
    /// Files before that to be opened again.
    again: BTreeSet<ItemId>,
    /// Files that are to be tried later.
    late: Vec<ItemId>,
    small: (usize, u64),
    /// Contents of the larger files that are open: one content at a time, since
    /// its chunks have one place.
    large: BTreeSet<FileId>,
    counts: FileCounts,
    failures: Vec<Failure>,
    /// Who refused which open file.
    refused: BTreeMap<ItemId, BTreeSet<NodeId>>,
}

impl Checklist {
    /// All of these are still to come.
    pub fn new(rows: Vec<Row>) -> Self {
        let counts = FileCounts { total: rows.len() as u64, ..FileCounts::default() };
        let size = rows.iter().fold(0, |sum, row| row.size.saturating_add(sum));
        let rows = rows.into_iter().map(|row| (row, State::Pending)).collect();
        Self { rows, size, counts, ..Self::default() }
    }

    /// A file.
    pub fn row(&self, item: ItemId) -> Option<&Row> {
        self.place(item).map(|(row, _)| row)
    }

    /// All files that are not here and have not failed.
    pub fn missing(&self) -> impl Iterator<Item = (ItemId, &Row)> {
        (0..).zip(&self.rows).filter_map(|(item, (row, state))| {
            matches!(state, State::Pending | State::Open).then_some((item, row))
        })
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many files are where.
    pub fn counts(&self) -> FileCounts {
        self.counts
    }

    /// The first files that can't be had, and why.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Whether nothing is still to come.
    pub fn is_over(&self) -> bool {
        self.counts.done + self.counts.failed >= self.counts.total
    }

    /// The next file to be opened, which now counts as open, if there is room.
    pub fn open_next(&mut self) -> Option<ItemId> {
        let again = self.again.first().copied();
        let fresh = || {
            let behind = self.rows.iter().enumerate().skip(self.next);
            behind.clone().find(|(_, (_, state))| *state == State::Pending).map(|(at, _)| at)
        };
        let item = match again {
            Some(item) => item,
            None => ItemId::try_from(fresh()?).ok()?,
        };
        if !self.has_room(item) {
            return None;
        }
        self.again.remove(&item);
        self.next = self.next.max(usize::try_from(item).unwrap_or(usize::MAX).saturating_add(1));
        self.set(item, State::Open);
        Some(item)
    }

    /// Whether more files are to be opened when there is room.
    pub fn has_more(&self) -> bool {
        self.next < self.rows.len() || !self.again.is_empty() || !self.late.is_empty()
    }

    /// A file is here, whole.
    pub fn here(&mut self, item: ItemId) {
        self.set(item, State::Here);
    }

    /// A file can't be had.
    pub fn failed(&mut self, item: ItemId, reason: impl Into<String>) {
        if self.set(item, State::Failed) && self.failures.len() < MAX_FAILURES {
            let Some(name) = self.row(item).map(|row| row.name.clone()) else { return };
            self.failures.push(Failure { name, reason: reason.into() });
        }
    }

    /// An owner has an open file no more; how many of its owners have not said
    /// so. For a file that is not open nobody counts. `at` tells which node is at a place of the list of peers.
    pub fn refused(
        &mut self,
        item: ItemId,
        by: NodeId,
        at: impl Fn(u16) -> Option<NodeId>,
    ) -> usize {
        let Some((row, State::Open)) = self.place(item) else { return usize::MAX };
        let owners: Vec<_> = row.owners.iter().filter_map(|&place| at(place)).collect();
        let refused = self.refused.entry(item).or_default();
        refused.insert(by);
        owners.iter().filter(|owner| !refused.contains(owner)).count()
    }

    /// Whether an owner said that it has an open file no more.
    pub fn was_refused(&self, item: ItemId, by: NodeId) -> bool {
        self.refused.get(&item).is_some_and(|refused| refused.contains(&by))
    }

    /// Something that is no file of the list, and can't be had either.
    pub fn lost(&mut self, name: SharedName, reason: String) {
        self.counts.total += 1;
        self.counts.failed += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(Failure { name, reason });
        }
    }

    /// An open file is to be tried again later, after [`Checklist::late`].
    pub fn later(&mut self, item: ItemId) {
        if self.set(item, State::Pending) {
            self.again.remove(&item);
            self.late.push(item);
        }
    }

    /// Those that were to be tried later can be now.
    pub fn late(&mut self) {
        self.again.extend(self.late.drain(..));
    }

    /// Who has which files is known anew, for those that are still missing.
    pub fn relist(&mut self, mut owners_of: impl FnMut(&Row) -> Arc<[u16]>) {
        for (row, state) in &mut self.rows {
            if matches!(state, State::Pending | State::Open) {
                row.owners = owners_of(row);
            }
        }
    }

    fn place(&self, item: ItemId) -> Option<&(Row, State)> {
        self.rows.get(usize::try_from(item).ok()?)
    }

    fn has_room(&self, item: ItemId) -> bool {
        let Some(row) = self.row(item) else { return false };
        match is_small(row.size) {
            // One fits always, or none could ever come.
            true => {
                self.small.0 == 0
                    || self.small.0 < MAX_SMALL.0
                        && self.small.1.saturating_add(row.size) <= MAX_SMALL.1
            }
            false => self.large.len() < MAX_LARGE && !self.large.contains(&row.file),
        }
    }

    /// Whether that changed anything.
    fn set(&mut self, item: ItemId, to: State) -> bool {
        let place = usize::try_from(item).ok().and_then(|item| self.rows.get_mut(item));
        let Some((row, state)) = place else { return false };
        let from = std::mem::replace(state, to);
        let (size, file) = (row.size, row.file);
        if from == to {
            return false;
        }
        if from == State::Open {
            self.refused.remove(&item);
        }
        let (small, large) = (&mut self.small, &mut self.large);
        let mut open = |opens: bool| match (is_small(size), opens) {
            (true, true) => *small = (small.0 + 1, small.1.saturating_add(size)),
            (true, false) => *small = (small.0.saturating_sub(1), small.1.saturating_sub(size)),
            (false, true) => _ = large.insert(file),
            (false, false) => _ = large.remove(&file),
        };
        match from {
            State::Open => open(false),
            State::Here => self.counts.done = self.counts.done.saturating_sub(1),
            State::Failed => self.counts.failed = self.counts.failed.saturating_sub(1),
            State::Pending => {
                self.again.remove(&item);
            }
        }
        match to {
            State::Open => open(true),
            State::Here => self.counts.done += 1,
            State::Failed => self.counts.failed += 1,
            State::Pending => {}
        }
        true
    }
}

/// Whether a file of this size is fetched whole, without a manifest.
pub fn is_small(size: u64) -> bool {
    Geometry::of(size).is_ok_and(|geometry| geometry.chunks() <= 1)
}

#[cfg(test)]
mod tests {
    use shoal_common::limits::MIN_CHUNK;

    use super::*;

    fn rows(sizes: &[u64]) -> Checklist {
        Checklist::new(
            sizes
                .iter()
                .enumerate()
                .map(|(at, &size)| Row {
                    name: format!("file{at}").parse().unwrap(),
                    file: FileId::of(&at.to_be_bytes()),
                    size,
                    executable: None,
                    owners: Arc::new([0, 1]),
                })
                .collect(),
        )
    }

    fn open_all(list: &mut Checklist) -> Vec<ItemId> {
        std::iter::from_fn(|| list.open_next()).collect()
    }

    #[test]
    fn few_are_open_however_many_there_are() {
        let mut list = rows(&[10; 5000]);
        let open = open_all(&mut list);
        assert_eq!(open.len(), MAX_SMALL.0);
        list.here(open[7]);
        list.failed(open[8], "gone");
        assert_eq!(open_all(&mut list), [1024, 1025]);
        let counts = list.counts();
        assert_eq!((counts.total, counts.done, counts.failed), (5000, 1, 1));
        assert_eq!(list.failures()[0].name.as_str(), "file8");
        assert_eq!(open_all(&mut rows(&[MIN_CHUNK; 5000])).len() as u64 * MIN_CHUNK, MAX_SMALL.1);
        assert_eq!(open_all(&mut rows(&[MIN_CHUNK + 1; 50])).len(), MAX_LARGE);
    }

    #[test]
    fn it_is_over_when_each_is_here_or_failed() {
        let mut list = rows(&[1, 2, 3 * MIN_CHUNK]);
        assert_eq!(open_all(&mut list), [0, 1, 2]);
        list.here(0);
        list.here(0);
        list.later(1);
        assert!(!list.is_over());
        assert_eq!(open_all(&mut list), [0; 0], "not yet");
        list.late();
        assert_eq!(open_all(&mut list), [1]);
        list.failed(1, "no");
        list.here(2);
        assert!(list.is_over());
        assert_eq!(list.missing().count(), 0);
        assert_eq!(list.size(), 3 + 3 * MIN_CHUNK);
    }

    #[test]
    fn a_file_that_all_owners_refuse_has_none_left() {
        let ids = [NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32])];
        let at = |place: u16| ids.get(usize::from(place)).copied();
        let mut list = rows(&[1]);
        list.open_next();
        assert_eq!(list.refused(0, ids[0], at), 1);
        assert_eq!(list.refused(0, ids[0], at), 1);
        assert_eq!(list.refused(0, ids[1], at), 0);
        assert!(list.was_refused(0, ids[1]));
        list.here(0);
        assert!(list.refused(0, ids[0], at) > 0, "what is here is not lost by a late word");
    }

    #[test]
    fn opening_a_hundred_thousand_takes_no_time() {
        let mut list = rows(&[10; 100_000]);
        let mut seen = 0;
        while let Some(item) = list.open_next() {
            list.here(item);
            seen += 1;
        }
        assert_eq!(seen, 100_000);
        assert!(list.is_over());
    }
}
