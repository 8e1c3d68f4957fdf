//! Logs that meet: of networks that began apart, or of several generations.
//!
//! The smaller one goes on. So whoever has heard of it is not to be led into a greater
//! one: what is accepted there would be lost when the smaller one is back.

use std::collections::BTreeMap;

use shoal_common::chat::entry::{LogId, ReplicaId};
use shoal_common::limits::{MAX_GENERATION_LEAP, MOST_AHEAD};

use super::{AWAY, Link, Proposer};

/// What those that are connected have heard of.
pub(super) struct Hearsay {
    /// See [`Proposer::last_believed`].
    pub(super) last_believed: u64,
    /// How many of each log that is believed in.
    pub(super) heard: BTreeMap<LogId, usize>,
}

impl Hearsay {
    /// Whether more wait for elder logs than have heard of this one.
    fn is_outnumbered(&self, log: LogId) -> bool {
        let following = self.heard.get(&log).copied().unwrap_or(0);
        let mut waiting = 0;
        self.heard.range(..log).any(|(_, many)| {
            waiting += many;
            waiting > following
        })
    }
}

impl Link {
    /// Whether its node has heard of an elder log than this one that is believed in. Its
    /// replica, which may have been left behind with this one, has no vote for it, then.
    fn has_heard_of_elder(&self, log: LogId, last_believed: u64) -> bool {
        self.knows.is_some_and(|knows| knows < log && knows.generation <= last_believed)
    }

    /// Whether its replica is of an elder log than this one that is believed in.
    pub(super) fn is_of_elder(&self, log: LogId, last_believed: u64) -> bool {
        let theirs = self.summary.log;
        theirs.is_some_and(|theirs| theirs < log && theirs.generation <= last_believed)
    }

    /// Whether it names an elder log than this one, believed in or not. Only then does it
    /// matter what is believed, which takes a look at all.
    pub(super) fn names_elder(&self, log: LogId) -> bool {
        [self.knows, self.summary.log].into_iter().flatten().any(|theirs| theirs < log)
    }

    /// The latest generation that its node has heard of.
    fn generation(&self) -> Option<u64> {
        let known = [self.knows, self.summary.log].into_iter().flatten();
        known.map(|log| log.generation).max()
    }
}

impl Proposer {
    /// The last generation that is believed in: not far behind the latest of which two
    /// have heard, the tracker being one. Else one lie could use up all generations.
    pub(super) fn last_believed(&self) -> u64 {
        let ours = self.book.as_ref().map(|book| book.log().id().generation);
        let (mut first, mut second) = (None, None);
        for generation in self.links.values().filter_map(Link::generation).chain(ours) {
            if first.is_none_or(|first| first < generation) {
                second = first.replace(generation);
            } else {
                second = second.max(Some(generation));
            }
        }
        // Where one alone has heard of any, there may be no other. But those of a network
        // that hold none of a later generation are to follow, to a revival of it, too.
        let alone = first.unwrap_or(0).min(MAX_GENERATION_LEAP - 2 * MOST_AHEAD);
        second.unwrap_or(alone).saturating_add(MOST_AHEAD)
    }

    /// Whether a node has heard of an elder log than this one, and came so lately that
    /// those that hold that may come yet.
    pub(super) fn hopes_for_elder(&self, link: &Link, log: LogId, last_believed: u64) -> bool {
        self.now < link.came + AWAY && link.has_heard_of_elder(log, last_believed)
    }

    /// Whether a log is not to be written yet, as those that hold an elder one may come:
    /// for the sake of who came soon after the search began, else who comes again and
    /// again would put it off for ever.
    pub(super) fn is_early(&self, log: LogId) -> bool {
        let last = self.last_believed();
        // Who came so, and comes again, is not another one that would put it off.
        let is_soon = |link: &&Link| link.came < self.sought + AWAY || self.now < self.put_off;
        self.links.values().filter(is_soon).any(|link| self.hopes_for_elder(link, log, last))
    }

    /// What those that are here have heard of.
    pub(super) fn hearsay(&self) -> Hearsay {
        let last_believed = self.last_believed();
        let mut heard = BTreeMap::new();
        let knows = self.links.values().filter_map(|link| link.knows);
        for log in knows.filter(|log| log.generation <= last_believed) {
            *heard.entry(log).or_default() += 1;
        }
        Hearsay { last_believed, heard }
    }

    /// Whether a log has its majority: most of this council, of whom those vote that hold
    /// the log, `count`, and have heard of no elder one. But not if more wait for an elder
    /// one than have heard of this one. Nor, when people want to go on, if this tracker's
    /// own node alone holds it, in which nothing is accepted, and a piece of an elder one
    /// is here, whose holder takes no other.
    pub(super) fn has_majority(
        &self,
        log: LogId,
        council: &[ReplicaId],
        hearsay: &Hearsay,
        counts: impl Fn(&Link) -> bool,
    ) -> bool {
        let last = hearsay.last_believed;
        let has_vote = |link: &&Link| {
            link.summary.log == Some(log) && counts(link) && !link.has_heard_of_elder(log, last)
        };
        let votes = council.iter().filter_map(|member| self.link_of(member)).filter(has_vote);
        let gives_way = || self.revival.is_some() && self.gives_way(log, council);
        votes.count() > council.len() / 2 && !hearsay.is_outnumbered(log) && !gives_way()
    }

    /// Whether a log that this tracker's own node alone holds gives way to a revival.
    pub(super) fn gives_way(&self, log: LogId, council: &[ReplicaId]) -> bool {
        if !self.is_ours_alone(council) {
            return false;
        }
        let last = self.last_believed();
        self.links.values().any(|link| link.is_of_elder(log, last))
    }
}
