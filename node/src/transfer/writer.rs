//! Writes small files: whole, many at a time.
//!
//! Making each durable by itself would take as long as some hundred of them do
//! together. So they are staged as they come, and those that came while the
//! last ones were being published are published next: the slower the disk, the
//! larger the batch.

use std::io;
use std::sync::Arc;

use shoal_common::content::Manifest;
use shoal_common::name::SharedName;
use tokio::sync::mpsc;

use super::plan::ItemId;
use crate::catalog::Catalog;
use crate::catalog::index::Shared;
use crate::volume::{Staged, Staging};

/// Most files that are published together: their bytes are written already,
/// and the person sees them appear.
const BATCH: usize = 512;

/// A small file that came whole.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) item: ItemId,
    pub(super) name: SharedName,
    pub(super) executable: bool,
    pub(super) manifest: Arc<Manifest>,
    /// Its verified content.
    pub(super) bytes: Vec<u8>,
}

/// How it went with a small file: the name it got.
pub(super) type Outcome = (ItemId, io::Result<SharedName>);

/// Writes what comes until nobody sends any more, or wants to be told how it
/// went. Blocks.
pub(super) fn write_small(
    staging: &Staging,
    catalog: &Catalog,
    mut arriving: mpsc::Receiver<Arrived>,
    tell: impl Fn(Vec<Outcome>) -> bool,
) {
    while let Some(first) = arriving.blocking_recv() {
        let mut batch = Batch::default();
        batch.stage(staging, first);
        while batch.staged.len() < BATCH {
            let Ok(next) = arriving.try_recv() else { break };
            batch.stage(staging, next);
        }
        if !tell(batch.publish(staging, catalog)) {
            return;
        }
    }
}

#[derive(Default)]
struct Batch {
    arrived: Vec<(ItemId, Arc<Manifest>, bool)>,
    staged: Vec<Staged>,
    outcomes: Vec<Outcome>,
}

impl Batch {
    fn stage(&mut self, staging: &Staging, arrived: Arrived) {
        let Arrived { item, name, executable, manifest, bytes } = arrived;
        match staging.put(&name, &bytes, executable) {
            Ok(staged) => {
                self.staged.push(staged);
                self.arrived.push((item, manifest, executable));
            }
            Err(error) => self.outcomes.push((item, Err(error))),
        }
    }

    fn publish(mut self, staging: &Staging, catalog: &Catalog) -> Vec<Outcome> {
        let published = staging.publish(self.staged);
        let mut known = Vec::new();
        for ((item, manifest, executable), published) in self.arrived.into_iter().zip(published) {
            let outcome = published.map(|(name, stamp)| {
                known.push(Shared { name: name.clone(), stamp, executable, manifest });
                name
            });
            self.outcomes.push((item, outcome));
        }
        catalog.add_many(known);
        self.outcomes
    }
}
