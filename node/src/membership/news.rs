//! What happened among the nodes, in words for the person.

use shoal_common::ident::Peer;
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

/// Who is tracker, reached at `at`. It may have told this node of these and of nobody
/// else yet.
pub(super) fn tracker_words(
    membership: &Membership,
    told: &[Peer],
    reign: &Reign,
    at: &str,
) -> String {
    let epoch = match reign.epoch {
        ..=1 => String::new(),
        epoch => format!(", epoch {epoch}"),
    };
    if reign.home {
        return format!("tracker at `{at}`{epoch}");
    }
    let id = reign.tracker;
    let peer = told.iter().find(|peer| peer.id == id).cloned();
    let peer = peer.or_else(|| membership.roster().peer(id));
    // Others may have told of it.
    let peer = peer.or_else(|| membership.peer(id));
    let name = peer.map_or_else(|| id.short(), |peer| peer.name.to_string());
    let how = if reign.elected { "is tracker now" } else { "serves as tracker for now" };
    format!("`{name}` {how}, at `{}`{epoch}", reign.address)
}

#[cfg(test)]
mod tests {
    use shoal_common::clock::Clock;
    use shoal_common::ident::NodeId;

    use super::*;

    #[test]
    fn a_tracker_is_called_by_its_name_from_its_first_word_on() {
        let (us, tracker) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let address = "127.0.0.1:4000".parse().unwrap();
        let name = "alice".parse().unwrap();
        let alice = Peer { id: tracker, name, search: address, download: address, joined: 1 };
        let membership = Membership::new(us, "a".parse().unwrap(), Clock::default());
        let reign = Reign { epoch: 2, tracker, address, home: false, joined: 1, elected: true };
        let said = |told: &[Peer]| tracker_words(&membership, told, &reign, "x:1");
        assert_eq!(said(&[alice]), "`alice` is tracker now, at `127.0.0.1:4000`, epoch 2");
        assert!(said(&[]).starts_with("`02020202` is tracker now"));
    }
}
