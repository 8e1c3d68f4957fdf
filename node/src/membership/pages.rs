//! When to ask the tracker for which page of the list of all. Pure.

use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::limits::PUSH_PAUSES;
use shoal_common::protocol::tracking::{News, Page, Registered, Update};
use tokio::time::Instant;

/// Longest pause that a tracker is believed to want between two pages: with as
/// many as there can be, all knowing nothing.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Turns the pages, once from the first to the last, or again if a tracker says
/// that much happened.
#[derive(Debug)]
pub(super) struct Pages {
    /// When to ask for which, if any is wanted.
    next: Option<(Instant, Option<NodeId>)>,
    /// What was asked for and has not come.
    asked: Option<Option<NodeId>>,
    /// Whether to begin anew with the next one.
    anew: bool,
}

impl Pages {
    /// What is to be done after a registration.
    pub(super) fn after(registered: &Registered, now: Instant) -> Self {
        let next = (!registered.is_everyone()).then(|| (now + PUSH_PAUSES.0, None));
        Self { next, asked: None, anew: false }
    }

    /// When the next page is to be asked for.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.map(|(due, _)| due)
    }

    /// Asks for it: behind which id it begins.
    pub(super) fn ask(&mut self) -> Option<Option<NodeId>> {
        let (_, after) = self.next.take()?;
        self.asked = Some(after);
        Some(after)
    }

    /// A page came; behind which id it begins. None if none was asked for.
    pub(super) fn came(&mut self, page: &Page, now: Instant) -> Option<Option<NodeId>> {
        let after = self.asked.take()?;
        let last = page.peers.last().map(|peer| peer.id);
        let pause = Duration::from_millis(page.pause_ms).clamp(PUSH_PAUSES.0, MAX_PAUSE);
        let next = match (std::mem::take(&mut self.anew), last) {
            (true, _) => Some(None),
            // A tracker can't draw it out: each page ends behind the one before.
            (false, Some(last)) if page.more && after < Some(last) => Some(Some(last)),
            _ => None,
        };
        self.next = next.map(|after| (now + pause, after));
        Some(after)
    }

    /// News came.
    pub(super) fn hear(&mut self, update: &Update, now: Instant) {
        if update.news == News::Much {
            match self.asked {
                Some(_) => self.anew = true,
                None => {
                    let due = self.due().unwrap_or(now + PUSH_PAUSES.0);
                    self.next = Some((due, None));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_common::ident::Peer;

    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn page(last: u8, more: bool, pause_ms: u64) -> Page {
        let at = "127.0.0.1:9".parse().unwrap();
        let peer =
            Peer { id: id(last), name: "x".parse().unwrap(), search: at, download: at, joined: 0 };
        Page { peers: vec![peer], more, pause_ms }
    }

    fn registered(total: u64) -> Registered {
        let name = "me".parse().unwrap();
        Registered {
            name,
            heartbeat_ms: 1,
            instance: 1,
            revision: 1,
            total,
            peers: vec![],
            joined: 1,
            charter: None,
        }
    }

    #[test]
    fn pages_are_turned_to_the_last_at_the_pace_of_the_tracker() {
        let start = Instant::now();
        assert_eq!(Pages::after(&registered(0), start).due(), None);
        let mut pages = Pages::after(&registered(9), start);
        assert_eq!(pages.due(), Some(start + PUSH_PAUSES.0));
        assert_eq!(pages.ask(), Some(None));
        assert_eq!((pages.due(), pages.ask()), (None, None), "one at a time");
        assert_eq!(pages.came(&page(5, true, 400), start), Some(None));
        assert_eq!(pages.due(), Some(start + Duration::from_millis(400)));
        assert_eq!(pages.ask(), Some(Some(id(5))));
        assert_eq!(pages.came(&page(9, false, 50), start), Some(Some(id(5))));
        assert_eq!(pages.due(), None);
        assert_eq!(pages.came(&page(9, false, 50), start), None, "nobody asked for it");
    }

    #[test]
    fn much_news_begin_them_anew() {
        let start = Instant::now();
        let much = Update { revision: 1, news: News::Much };
        let mut pages = Pages::after(&registered(0), start);
        pages.hear(&much, start);
        assert_eq!(pages.ask(), Some(None));
        pages.hear(&much, start);
        pages.came(&page(5, true, 50), start);
        assert_eq!(pages.ask(), Some(None), "what came may be older than the news");
        pages.came(&page(5, true, 50), start);
        pages.hear(&much, start);
        assert_eq!(pages.ask(), Some(None));
    }

    #[test]
    fn a_tracker_that_turns_in_circles_is_left_alone() {
        let start = Instant::now();
        let mut pages = Pages::after(&registered(9), start);
        pages.ask();
        pages.came(&page(5, true, u64::MAX), start);
        assert_eq!(pages.due(), Some(start + MAX_PAUSE));
        pages.ask();
        pages.came(&page(5, true, 50), start);
        assert_eq!(pages.due(), None);
    }
}
