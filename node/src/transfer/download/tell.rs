//! What others see of a download: its progress, and words for the person.

use std::time::{Duration, Instant};

use shoal_common::ident::NodeId;
use shoal_common::limits::MIN_CHUNK;

use super::Download;
use crate::transfer::job::{JobInfo, JobState, What};
use crate::transfer::progress::Seen;

/// How long a download has been waiting when the person is told: a broken
/// connection is often back before.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// How long nothing has come when it is asked whether anything can: what owners
/// have is known soon after they were called.
const SETTLED: Duration = Duration::from_millis(500);

/// How long nothing has come when it is said what is waited for.
const QUIET: Duration = Duration::from_secs(2);

impl Download {
    /// Tells everyone who watches how far it is.
    pub(super) fn tell(&mut self) {
        let now = Instant::now();
        self.progress.look(self.swarm.written(), now);
        self.swarm.plan().set_request(self.swarm.request());
        let shares: Vec<_> = self.swarm.plan().shares().filter(|share| share.here).collect();
        for share in shares {
            if share.bytes > self.given.get(&share.owner).copied().unwrap_or(0) {
                self.roster.gives(share.owner);
            }
        }
        let here = self.swarm.plan().here();
        let looking =
            self.work.is_busy_with_files() || self.roster.active() > 0 || self.looked_first();
        let lacking = here > 0 && self.lacks_owner(now);
        if here > 0 && !lacking {
            self.go_on();
            (self.state, self.reason) = (JobState::Running, self.holdup(now));
        } else if lacking || !(self.state == JobState::Starting && looking) {
            self.wait(now);
        }
        self.show(now);
    }

    /// Whether those who are here have nothing of what is missing.
    fn lacks_owner(&self, now: Instant) -> bool {
        if self.progress.quiet(now) < SETTLED || self.work.is_busy_with_files() {
            return false;
        }
        let need = self.swarm.plan().need(now);
        need.slowest.is_none() && (need.unoffered > 0 || need.manifests > 0)
    }

    /// Whether the first look for owners is still on.
    fn looked_first(&self) -> bool {
        self.looking.is_some() && self.waiting.is_none()
    }

    /// What holds it up although owners are here.
    fn holdup(&self, now: Instant) -> Option<String> {
        let limit = self.swarm.throttles.iter().filter_map(|throttle| throttle.rate()).min();
        let quiet = self.progress.quiet(now);
        if let Some(limit) = limit {
            // Until a chunk of each owner is here, nothing is.
            let chunks = MIN_CHUNK.saturating_mul(self.roster.active() as u64);
            if self.progress.is_about(limit) || quiet.as_secs() <= 2 * chunks / limit.max(1) {
                return Some(format!("limited to {}", per_second(limit)));
            }
        }
        if quiet < QUIET {
            return None;
        }
        let need = self.swarm.plan().need(now);
        Some(match need.slowest {
            Some((id, _)) => format!("waiting for a slow owner: {}", self.name_of(id)),
            None if need.unoffered > 0 || need.manifests > 0 => {
                "waiting for an owner of what is missing".to_owned()
            }
            None => "waiting for the disk".to_owned(),
        })
    }

    pub(super) fn wait(&mut self, now: Instant) {
        self.state = JobState::Waiting;
        let title = self.wanted.title().escape_debug();
        let reason = match self.last_trouble() {
            Some(trouble) => format!("waiting for an owner of `{title}`: {trouble}"),
            None => format!("waiting for an owner of `{title}`"),
        };
        let (since, told) = self.waiting.get_or_insert((now, false));
        if !*told && now.duration_since(*since) >= TELL_AFTER {
            *told = true;
            self.environment.notices.say(&reason);
        }
        self.reason = Some(reason);
    }

    fn go_on(&mut self) {
        if let Some((_, true)) = self.waiting.take() {
            let title = self.wanted.title().escape_debug();
            self.environment.notices.say(format!("`{title}` goes on"));
        }
    }

    fn last_trouble(&self) -> Option<String> {
        let id = self.roster.troubled()?;
        Some(format!("{}: {}", self.name_of(id), self.roster.trouble(id)?))
    }

    /// Shows how it stands to everyone who watches. Priority and limit are not
    /// its own.
    pub(super) fn show(&self, now: Instant) {
        let single = self.swarm.item(0).filter(|_| self.swarm.single);
        let proved = single.and_then(|item| item.geometry()).map(|geometry| geometry.size());
        let size = match &self.wanted.what {
            What::File(wanted) => proved.unwrap_or(wanted.size),
            What::Tree(_) => self.list.size(),
        };
        let seen = Seen {
            state: self.state,
            reason: self.reason.clone(),
            size,
            done: self.swarm.written(),
            shares: self.swarm.plan().shares().collect(),
        };
        let info = self.progress.info(seen, &self.roster, now);
        let tree = matches!(self.wanted.what, What::Tree(_));
        self.info.send_modify(|shown| {
            let (priority, limit) = (shown.priority, shown.limit);
            *shown = JobInfo {
                priority,
                limit,
                saved_as: self.saved_as.clone().filter(|_| self.state == JobState::Done),
                files: tree.then(|| self.list.counts()),
                failures: self.list.failures().to_vec(),
                ..info
            };
        });
    }

    /// Tells the person what an owner did; once.
    pub(super) fn blame(&mut self, id: NodeId, did: &'static str) {
        if !self.told.insert((id, did)) {
            return;
        }
        let others = if self.roster.active() > 1 { "; fetching from the others" } else { "" };
        let (owner, title) = (self.name_of(id), self.wanted.title().escape_debug());
        self.environment.notices.say(format!("{owner} {did} `{title}`{others}"));
    }

    /// Name and, since a name can be taken by another, id of an owner.
    pub(super) fn name_of(&self, id: NodeId) -> String {
        match self.roster.name(id) {
            Some(name) => format!("`{name}` ({})", id.short()),
            None => format!("`{}`", id.short()),
        }
    }
}

/// A rate for people: below 1 MB/s in kB/s.
fn per_second(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB/s", bytes / 1000),
        _ => format!("{}.{} MB/s", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}
