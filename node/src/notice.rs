//! News for the person at the node, from any part of it.

use std::fmt::Display;

use tokio::sync::broadcast;
use tracing::info;

/// How many notices may wait for a slow terminal; older ones are then skipped.
const BACKLOG: usize = 256;

/// Where notices are said and heard. Clones are the same place.
#[derive(Debug, Clone)]
pub struct Notices {
    to_all: broadcast::Sender<String>,
}

impl Default for Notices {
    fn default() -> Self {
        Self { to_all: broadcast::channel(BACKLOG).0 }
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

    /// All lines from now on.
    pub fn listen(&self) -> broadcast::Receiver<String> {
        self.to_all.subscribe()
    }
}
