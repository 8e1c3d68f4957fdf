//! What was committed lately, encoded once for all who are told.

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_common::chat::entry::{Body, Entry, Position};
use shoal_common::chat::rooms::Outcome;
use shoal_common::connection::encode;
use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_CHAT_FRAME;
use shoal_common::protocol::chat::{FromChat, Post, Posted as What};

use super::book::{Audience, Posted, reason_of};

/// Most bytes of the feed: what members may lag behind before they are served
/// from the log, each by itself.
const FEED_BYTES: usize = 4 * 1024 * 1024;

/// Most batches of the feed. Each may hold the list of a room's members.
const FEED_BATCHES: usize = 256;

/// Bytes of a batch, about: what is sent to a member at once.
const BATCH_BYTES: usize = 64 * 1024;

/// Committed entries that follow each other.
#[derive(Debug)]
pub(super) struct Batch {
    /// The position before the first.
    after: Position,
    /// The last position.
    upto: Position,
    runs: Vec<Run>,
    bytes: usize,
}

/// Entries of a batch for the same audience.
#[derive(Debug)]
struct Run {
    audience: Audience,
    message: Vec<u8>,
}

impl Batch {
    /// The last position of it.
    pub(super) fn upto(&self) -> Position {
        self.upto
    }

    /// The messages for somebody, encoded.
    pub(super) fn messages(&self, id: NodeId) -> impl Iterator<Item = &[u8]> {
        self.runs.iter().filter(move |run| run.audience.has(id)).map(|run| run.message.as_slice())
    }
}

/// The last batches.
#[derive(Debug, Default)]
pub(super) struct Feed {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
}

impl Feed {
    /// What begins after a position that a batch ends with; `None` if that is
    /// not kept here any more, or not committed yet.
    pub(super) fn after(&self, position: Position) -> Option<Arc<Batch>> {
        let at = self.batches.binary_search_by_key(&position, |batch| batch.after).ok()?;
        self.batches.get(at).map(Arc::clone)
    }

    /// Forgets all: another log is told of.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
    }

    /// Adds what was committed.
    pub(super) fn push(&mut self, posted: Vec<Posted>) {
        let mut posted = posted.into_iter().peekable();
        while let Some(first) = posted.peek() {
            let mut batch = Building::after(first.position.saturating_sub(1));
            while batch.bytes < BATCH_BYTES
                && let Some(posted) = posted.next()
            {
                batch.add(posted);
            }
            let batch = batch.finish();
            self.bytes += batch.bytes;
            self.batches.push_back(Arc::new(batch));
        }
        while (self.bytes > FEED_BYTES || self.batches.len() > FEED_BATCHES)
            && let Some(batch) = self.batches.pop_front()
        {
            self.bytes -= batch.bytes;
        }
    }
}

/// A batch that is being made.
struct Building {
    batch: Batch,
    audience: Audience,
    posts: Vec<Post>,
    bytes: usize,
}

impl Building {
    fn after(after: Position) -> Self {
        let batch = Batch { after, upto: after, runs: Vec::new(), bytes: 0 };
        Self { batch, audience: Audience::Nobody, posts: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, posted: Posted) {
        self.batch.upto = posted.position;
        if posted.audience == Audience::Nobody {
            return;
        }
        if posted.audience != self.audience {
            self.end_run();
            self.audience = posted.audience.clone();
        }
        self.bytes += shoal_common::chat::log::weight(&posted.entry);
        self.posts.extend(post(posted.position, &posted.entry, posted.outcome));
    }

    fn end_run(&mut self) {
        let posts = std::mem::take(&mut self.posts);
        if posts.is_empty() {
            return;
        }
        // A batch is far below the bound, so this does not fail.
        if let Ok(message) = encode(&FromChat::Posts { posts }, MAX_CHAT_FRAME) {
            self.batch.bytes += message.len();
            self.batch.runs.push(Run { audience: self.audience.clone(), message });
        }
    }

    fn finish(mut self) -> Batch {
        self.end_run();
        self.batch
    }
}

/// An entry as a member is told of it; nothing of the council.
pub(super) fn post(position: Position, entry: &Entry, outcome: Outcome) -> Option<Post> {
    let what = match &entry.body {
        Body::Reign { tracker } => What::Reign { tracker: *tracker },
        Body::Council { .. } => return None,
        Body::Event(event) => What::Event { event: event.clone(), refused: reason_of(outcome) },
    };
    Some(Post { position, at: entry.at, time_ms: entry.time_ms, what })
}
