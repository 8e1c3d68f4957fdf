//! The contents that one guest follows, and when it is told of them.

use std::collections::VecDeque;
use std::time::Duration;

use shoal_common::content::{ChunkSet, FileId};
use shoal_common::ident::NodeId;
use shoal_common::limits::{HAVE_PAUSE, MAX_FOLLOWED};
use shoal_common::protocol::transfer::Have;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fellows::Fellow;
use super::source::Known;
use super::uploads::Uploads;

/// Bytes of messages that a guest is told in each [`HAVE_PAUSE`] (some 20 kB a
/// second): long messages come less often, so that telling what is here takes
/// little of a link that carries it.
const SHARE: usize = 512;

/// What one guest follows.
#[derive(Debug)]
pub(super) struct Following {
    guest: NodeId,
    followed: VecDeque<Followed>,
    bell: Bell,
    /// When it may be told again.
    next: Instant,
}

#[derive(Debug)]
struct Followed {
    file: FileId,
    told: State,
    fellows: Vec<NodeId>,
    _fellow: Fellow,
}

/// What is here of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Nothing,
    /// Some chunks, as of a version.
    Part(u64),
    Whole,
}

impl Following {
    /// Nothing yet.
    pub(super) fn new(guest: NodeId, uploads: &Uploads) -> Self {
        Self {
            guest,
            followed: VecDeque::new(),
            bell: Bell {
                holdings: uploads.catalog().holdings().changes(),
                catalog: uploads.catalog().changes(),
                fellows: uploads.fellows().changes(),
            },
            next: Instant::now(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Follows a content from now on; what to answer. `None` if nothing of it is
    /// here.
    pub(super) fn follow(&mut self, file: FileId, uploads: &Uploads) -> Option<Have> {
        Known::find(uploads.catalog(), &file)?;
        self.followed.retain(|followed| followed.file != file);
        if self.followed.len() >= MAX_FOLLOWED {
            self.followed.pop_front();
        }
        let fellow = uploads.fellows().join(file, self.guest);
        let (told, chunks) = here(uploads, &file);
        let fellows = uploads.fellows().list(&file, self.guest);
        let have = Have { file, chunks: chunks(), fellows: fellows.clone() };
        self.followed.push_back(Followed { file, told, fellows, _fellow: fellow });
        Some(have)
    }

    /// Waits until there may be something to tell. Safe to cancel.
    pub(super) async fn rings(&mut self) {
        sleep_until(self.next).await;
        self.bell.rings().await;
    }

    /// What the guest was not told yet, if it is time to tell it.
    pub(super) fn news(&mut self, uploads: &Uploads) -> Vec<Have> {
        if self.followed.is_empty() || Instant::now() < self.next {
            return Vec::new();
        }
        self.next = Instant::now() + HAVE_PAUSE;
        let guest = self.guest;
        let news = self.followed.iter_mut().filter_map(|followed| followed.news(guest, uploads));
        news.collect()
    }

    /// It was told so many bytes.
    pub(super) fn told(&mut self, bytes: usize) {
        let pauses = u32::try_from(bytes.div_ceil(SHARE)).unwrap_or(u32::MAX).max(1);
        let pause = HAVE_PAUSE.checked_mul(pauses).unwrap_or(Duration::MAX);
        self.next = Instant::now() + pause.min(MAX_PAUSE);
    }
}

/// Longest time between two messages, however long they are.
const MAX_PAUSE: Duration = Duration::from_secs(1);

impl Followed {
    fn news(&mut self, guest: NodeId, uploads: &Uploads) -> Option<Have> {
        let (state, chunks) = here(uploads, &self.file);
        let fellows = uploads.fellows().list(&self.file, guest);
        if state == self.told && fellows == self.fellows {
            return None;
        }
        self.told = state;
        self.fellows = fellows;
        Some(Have { file: self.file, chunks: chunks(), fellows: self.fellows.clone() })
    }
}

/// What is here of a content, and a way to name its chunks.
fn here(uploads: &Uploads, file: &FileId) -> (State, impl FnOnce() -> ChunkSet) {
    let known = Known::find(uploads.catalog(), file);
    let state = match &known {
        None => State::Nothing,
        // Its version before its chunks: what is added in between is told twice.
        Some(Known::Part(held)) => State::Part(held.version()),
        Some(Known::Whole(_)) => State::Whole,
    };
    let chunks = move || match known {
        None => ChunkSet::default(),
        Some(Known::Part(held)) => held.chunks(),
        Some(Known::Whole(shared)) => ChunkSet::all(shared.manifest.geometry().chunks()),
    };
    (state, chunks)
}

/// Rings when something may have changed that somebody follows.
#[derive(Debug)]
struct Bell {
    holdings: watch::Receiver<u64>,
    catalog: watch::Receiver<bool>,
    fellows: watch::Receiver<u64>,
}

impl Bell {
    /// Safe to cancel.
    async fn rings(&mut self) {
        let rung = tokio::select! {
            rung = self.holdings.changed() => rung,
            rung = self.catalog.changed() => rung,
            rung = self.fellows.changed() => rung,
        };
        if rung.is_err() {
            // The senders are gone, and with them soon this conversation.
            std::future::pending::<()>().await;
        }
    }
}
