//! What others see of a download: its progress, and words for the person.

use std::time::Instant;

use shoal_common::ident::NodeId;

use super::{Download, TELL_AFTER};
use crate::transfer::job::JobState;
use crate::transfer::note::Course;

impl Download {
    /// Tells everyone who watches how far it is.
    pub(super) fn tell(&mut self) {
        let now = Instant::now();
        let work = self.swarm.work.borrow().clone();
        if let Some(work) = &work {
            self.progress.look(work.sink().written(), now);
        }
        let here = work.as_ref().map_or(0, |work| work.plan().here());
        let looking = self.opening.is_some() || self.roster.active() > 0 || self.sought_first();
        if here > 0 {
            self.go_on();
            (self.state, self.reason) = (JobState::Running, None);
        } else if !(self.state == JobState::Starting && looking) {
            self.wait(now);
        }
        self.show(now);
    }

    /// Whether the first look for owners is still on.
    fn sought_first(&self) -> bool {
        self.seeking.is_some() && self.waiting.is_none()
    }

    fn wait(&mut self, now: Instant) {
        self.state = JobState::Waiting;
        let reason = match self.last_trouble() {
            Some(trouble) => format!("waiting for an owner of `{}`: {trouble}", self.wanted.name),
            None => format!("waiting for an owner of `{}`", self.wanted.name),
        };
        let (since, told) = self.waiting.get_or_insert((now, false));
        if !*told && now.duration_since(*since) >= TELL_AFTER {
            *told = true;
            self.environment.notices.say(&reason);
            // Whoever opens the sink notes it too, and more; two at once would
            // take the unfinished note away from each other.
            if self.opening.is_none() {
                self.note(Course::UnderWay);
            }
        }
        self.reason = Some(reason);
    }

    fn go_on(&mut self) {
        if let Some((_, true)) = self.waiting.take() {
            self.environment.notices.say(format!("`{}` goes on", self.wanted.name));
        }
    }

    fn last_trouble(&self) -> Option<String> {
        let mut troubled = self.roster.everyone().filter(|&id| self.roster.trouble(id).is_some());
        let id = troubled.next()?;
        Some(format!("{}: {}", self.name_of(id), self.roster.trouble(id)?))
    }

    fn show(&self, now: Instant) {
        let work = self.swarm.work.borrow().clone();
        let reason = self.reason.clone();
        let info = self.progress.info(self.state, reason, work.as_deref(), &self.roster, now);
        self.info.send_replace(info);
    }

    /// Tells the person what an owner did; once.
    pub(super) fn blame(&mut self, id: NodeId, did: &'static str) {
        if !self.told.insert((id, did)) {
            return;
        }
        let others = if self.roster.active() > 1 { "; fetching from the others" } else { "" };
        let (owner, name) = (self.name_of(id), &self.wanted.name);
        self.environment.notices.say(format!("{owner} {did} `{name}`{others}"));
    }

    /// Name and, since a name can be taken by another, id of an owner.
    pub(super) fn name_of(&self, id: NodeId) -> String {
        match self.roster.name(id) {
            Some(name) => format!("`{name}` ({})", id.short()),
            None => format!("`{}`", id.short()),
        }
    }
}
