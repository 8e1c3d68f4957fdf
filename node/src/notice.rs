//! News for the person at the node, from any part of it.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use tracing::info;

/// How many notices may wait for a slow terminal; older ones are then skipped.
const BACKLOG: usize = 256;

/// Where notices are said and heard. Clones are the same place.
#[derive(Debug, Clone)]
pub struct Notices {
    to_all: broadcast::Sender<String>,
    /// For whoever listens first: a node speaks before its terminal is open.
    first: Arc<Mutex<Option<broadcast::Receiver<String>>>>,
}

impl Default for Notices {
    fn default() -> Self {
        let (to_all, first) = broadcast::channel(BACKLOG);
        Self { to_all, first: Arc::new(Mutex::new(Some(first))) }
    }
}

impl Notices {
    /// Tells every terminal one line, and the log.
    pub fn say(&self, line: impl Display) {
        let line = line.to_string();
        info!("{line}");
        // Nobody listens: the log has it.
        self.to_all.send(line).ok();
    }

    /// Tells every terminal one line, and not the log: what people say to each
    /// other is in their transcripts.
    pub fn show(&self, line: impl Into<String>) {
        self.to_all.send(line.into()).ok();
    }

    /// All lines from now on; whoever listens first hears those before, too.
    pub fn listen(&self) -> broadcast::Receiver<String> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| self.to_all.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_listen_hears_it_all() {
        let notices = Notices::default();
        notices.say("one");
        let mut first = notices.listen();
        let mut second = notices.listen();
        notices.say("two");
        assert_eq!(first.try_recv().unwrap(), "one");
        assert_eq!(first.try_recv().unwrap(), "two");
        assert_eq!(second.try_recv().unwrap(), "two");
    }
}
