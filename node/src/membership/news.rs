//! What happened among the nodes, in words for the person.

use shoal_common::protocol::succession::Reign;
use tracing::debug;

use super::handle::Membership;
use super::roster::Event;
use crate::notice::Notices;

/// Comings and goings of one moment that are told one by one.
const MAX_TOLD: usize = 8;

/// Tells of them; only in the log unless `aloud`.
pub(super) fn tell(notices: &Notices, membership: &Membership, events: &[Event], aloud: bool) {
    let lines: Vec<_> = events.iter().map(Event::to_string).collect();
    match (aloud, lines.len()) {
        (_, 0) => {}
        (false, _) => debug!("{}", lines.join("; ")),
        (true, ..=MAX_TOLD) => lines.iter().for_each(|line| notices.say(line)),
        (true, _) => notices.say(format_args!(
            "{} nodes came or left; {} others are here",
            lines.len(),
            membership.peers().len()
        )),
    }
}

/// Who is tracker, reached at `at`.
pub(super) fn tracker_words(membership: &Membership, reign: &Reign, at: &str) -> String {
    let epoch = match reign.epoch {
        ..=1 => String::new(),
        epoch => format!(", epoch {epoch}"),
    };
    if reign.home {
        return format!("tracker at `{at}`{epoch}");
    }
    let name = membership.roster().peer(reign.tracker).map(|peer| peer.name.to_string());
    let name = name.unwrap_or_else(|| reign.tracker.short());
    let how = if reign.elected { "is tracker now" } else { "serves as tracker for now" };
    format!("`{name}` {how}, at `{}`{epoch}", reign.address)
}
