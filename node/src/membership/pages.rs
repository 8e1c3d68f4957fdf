//! When to ask the tracker for which page of the list of all. Pure.

use std::time::Duration;

use shoal_common::ident::NodeId;
use shoal_common::limits::{PUSH_PAUSES, REPLY_DEADLINE};
use shoal_common::protocol::tracking::{News, Page, Registered, Update};
use tokio::time::Instant;

/// Longest pause between two pages, whatever a tracker says: who asks too early is
/// told again when.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Behind which id a page begins; none for the first.
type Place = Option<NodeId>;

/// Turns the pages, once from the first to the last, and, if a tracker says that
/// much happened, once more all around from where it is: what it learned last is
/// the last to be read again, and however much happens, it gets ahead.
#[derive(Debug)]
pub(super) struct Pages {
    /// When to ask for which, if any is wanted.
    next: Option<(Instant, Place)>,
    /// When to ask again for what has not come, and for which that is: a tracker that
    /// has to be silent for a moment forgets what it is asked.
    asked: Option<(Instant, Place)>,
    /// Up to which id to go on from the first page, once the last has come.
    around: Place,
    /// The same, since the last has come.
    stop: Place,
}

impl Pages {
    /// What is to be done after a registration.
    pub(super) fn after(registered: &Registered, now: Instant) -> Self {
        let next = (!registered.is_everyone()).then(|| (now + PUSH_PAUSES.0, None));
        Self { next, asked: None, around: None, stop: None }
    }

    /// When the next page is to be asked for.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.or(self.asked).map(|(due, _)| due)
    }

    /// Asks for it: behind which id it begins.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Place> {
        let (_, after) = self.next.take().or(self.asked)?;
        self.asked = Some((now + REPLY_DEADLINE, after));
        Some(after)
    }

    /// A page came; behind which id it begins. None if none was asked for, or if it
    /// only says when to ask again.
    pub(super) fn came(&mut self, page: &Page, now: Instant) -> Option<Place> {
        let (_, after) = self.asked.take()?;
        let pause = Duration::from_millis(page.pause_ms).clamp(PUSH_PAUSES.0, MAX_PAUSE);
        if page.is_later() {
            self.next = Some((now + pause, after));
            return None;
        }
        let last = page.peers.last().map(|peer| peer.id);
        let next = match last {
            // A tracker can't draw it out: each page ends behind the one before.
            Some(_) if page.more && after < last => {
                let is_over = self.stop.is_some() && last >= self.stop;
                (!is_over).then_some(last)
            }
            // Twice around at most, but for more news.
            _ => {
                self.stop = self.around.take();
                self.stop.map(|_| None)
            }
        };
        if next.is_none() {
            self.stop = None;
        }
        self.next = next.map(|place| (now + pause, place));
        Some(after)
    }

    /// News came. What was asked for before comes behind them, so it is not older.
    pub(super) fn hear(&mut self, update: &Update, now: Instant) {
        if update.news != News::Much {
            return;
        }
        let first = (now + PUSH_PAUSES.0, None);
        let (_, place) = self.asked.unwrap_or_else(|| *self.next.get_or_insert(first));
        (self.around, self.stop) = (place, None);
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
        assert_eq!(pages.ask(start), Some(None));
        assert_eq!(pages.due(), Some(start + REPLY_DEADLINE), "one at a time");
        assert_eq!(pages.came(&page(5, true, 400), start), Some(None));
        assert_eq!(pages.due(), Some(start + Duration::from_millis(400)));
        assert_eq!(pages.ask(start), Some(Some(id(5))));
        assert_eq!(pages.came(&page(9, false, 50), start), Some(Some(id(5))));
        assert_eq!(pages.due(), None);
        assert_eq!(pages.came(&page(9, false, 50), start), None, "nobody asked for it");
    }

    #[test]
    fn much_news_are_read_all_around_from_where_it_is() {
        let start = Instant::now();
        let much = Update { revision: 1, news: News::Much };
        let mut pages = Pages::after(&registered(0), start);
        let turn = |pages: &mut Pages, last: u8, more| {
            let after = pages.ask(start).expect("no page is wanted");
            pages.came(&page(last, more, 50), start);
            after
        };
        pages.hear(&much, start);
        assert_eq!(turn(&mut pages, 3, true), None);
        assert_eq!(turn(&mut pages, 6, true), Some(id(3)));
        pages.hear(&much, start);
        assert_eq!(turn(&mut pages, 9, false), Some(id(6)), "it goes on");
        assert_eq!(turn(&mut pages, 4, true), None);
        // And again, while a page is on its way, which comes behind the news.
        assert_eq!(pages.ask(start), Some(Some(id(4))));
        pages.hear(&much, start);
        pages.came(&page(8, true, 50), start);
        assert_eq!(turn(&mut pages, 9, false), Some(id(8)));
        assert_eq!(turn(&mut pages, 3, true), None);
        assert_eq!(turn(&mut pages, 5, true), Some(id(3)), "up to where it was");
        assert_eq!((pages.due(), pages.ask(start)), (None, None));
        pages.hear(&much, start);
        assert_eq!(turn(&mut pages, 9, false), None);
        assert_eq!(pages.due(), None);
    }

    #[test]
    fn what_is_put_off_or_does_not_come_is_asked_for_again() {
        let start = Instant::now();
        let mut pages = Pages::after(&registered(9), start);
        pages.ask(start);
        pages.came(&page(5, true, 50), start);
        assert_eq!(pages.ask(start), Some(Some(id(5))));
        let later = Page::later(Duration::from_millis(700));
        assert_eq!(pages.came(&later, start), None, "it says nothing of anybody");
        assert_eq!(pages.due(), Some(start + Duration::from_millis(700)));
        assert_eq!(pages.ask(start), Some(Some(id(5))));
        assert_eq!(pages.due(), Some(start + REPLY_DEADLINE), "it may come still");
        assert_eq!(pages.ask(start), Some(Some(id(5))));
        assert_eq!(pages.came(&page(9, false, 50), start), Some(Some(id(5))));
        assert_eq!(pages.due(), None);
    }

    #[test]
    fn a_tracker_that_turns_in_circles_is_left_alone() {
        let start = Instant::now();
        let mut pages = Pages::after(&registered(9), start);
        pages.ask(start);
        pages.came(&page(5, true, u64::MAX), start);
        assert_eq!(pages.due(), Some(start + MAX_PAUSE));
        pages.ask(start);
        pages.came(&page(5, true, 50), start);
        assert_eq!(pages.due(), None);
    }
}
