//! Which downloads run, where not all can. Pure.
//!
//! The first of those that are not paused run, by priority and then by number.
//! One that falls out is stopped, and begins again when it comes in again: not
//! before its last attempt has ended, so that a job has one at a time, and not
//! before there is a place, so that all of them are never more than allowed.
//!
//! A job that waits for an owner goes on waiting and takes no place of one that
//! could go on. When it can, its turn counts again: then one too many may run
//! until the other has ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use shoal_common::limits::MAX_DOWNLOADS;

use super::job::{JobId, Priority};

/// Most jobs that wait beside those that run; each asks the network now and then.
const MAX_WAITING: usize = MAX_DOWNLOADS;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// An attempt at this job begins.
    Start(JobId),
    /// The attempt at this job is to end; [`Schedule::ended`] tells when it has.
    Stop(JobId),
}

/// The jobs that are not over.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Most attempts at once.
    most: usize,
    entries: BTreeMap<JobId, Entry>,
}

#[derive(Debug)]
struct Entry {
    priority: Priority,
    paused: bool,
    /// Its attempt waits for an owner.
    waits: bool,
    attempt: Attempt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    None,
    Runs,
    /// It was told to end, and has not yet.
    Ends,
}

impl Schedule {
    /// No jobs, of which at most so many will run.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: BTreeMap::new() }
    }

    /// Most attempts at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Jobs that are not over.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the person paused it.
    pub(super) fn is_paused(&self, job: JobId) -> bool {
        self.entries.get(&job).is_some_and(|entry| entry.paused)
    }

    /// A new job.
    pub(super) fn add(&mut self, job: JobId, priority: Priority, paused: bool) -> Vec<Change> {
        self.entries.insert(job, Entry { priority, paused, waits: false, attempt: Attempt::None });
        self.decide()
    }

    /// The attempt has ended; the job is not over.
    pub(super) fn ended(&mut self, job: JobId) -> Vec<Change> {
        self.change(job, |entry| (entry.attempt, entry.waits) = (Attempt::None, false))
    }

    /// The attempt waits for an owner, or goes on.
    pub(super) fn waits(&mut self, job: JobId, waits: bool) -> Vec<Change> {
        self.change(job, |entry| entry.waits = waits && entry.attempt == Attempt::Runs)
    }

    /// The job is over, and its attempt has ended if there was one.
    pub(super) fn over(&mut self, job: JobId) -> Vec<Change> {
        self.entries.remove(&job);
        self.decide()
    }

    /// The person pauses a job, or lets it go on.
    pub(super) fn pause(&mut self, job: JobId, paused: bool) -> Vec<Change> {
        self.change(job, |entry| entry.paused = paused)
    }

    /// The job has another priority.
    pub(super) fn prioritize(&mut self, job: JobId, priority: Priority) -> Vec<Change> {
        self.change(job, |entry| entry.priority = priority)
    }

    /// From now on so many may run.
    pub(super) fn set_most(&mut self, most: usize) -> Vec<Change> {
        self.most = most;
        self.decide()
    }

    fn change(&mut self, job: JobId, change: impl FnOnce(&mut Entry)) -> Vec<Change> {
        if let Some(entry) = self.entries.get_mut(&job) {
            change(entry);
        }
        self.decide()
    }

    /// The jobs that should run, the first first, and those of them that wait and
    /// take no place.
    fn chosen(&self) -> (Vec<JobId>, BTreeSet<JobId>) {
        let willing = self.entries.iter().filter(|(_, entry)| !entry.paused);
        let mut order: Vec<_> =
            willing.map(|(&job, entry)| (Reverse(entry.priority), job, entry.waits)).collect();
        order.sort_unstable();
        let (mut chosen, mut apart) = (Vec::new(), BTreeSet::new());
        for (_, job, waits) in order {
            if waits && apart.len() < MAX_WAITING {
                apart.insert(job);
            } else if chosen.len() - apart.len() >= self.most {
                continue;
            }
            chosen.push(job);
        }
        (chosen, apart)
    }

    fn decide(&mut self) -> Vec<Change> {
        let (chosen, apart) = self.chosen();
        let stay: BTreeSet<JobId> = chosen.iter().copied().collect();
        let mut changes = Vec::new();
        let mut taken = 0_usize;
        for (&job, entry) in &mut self.entries {
            if entry.attempt == Attempt::Runs && !stay.contains(&job) {
                entry.attempt = Attempt::Ends;
                changes.push(Change::Stop(job));
            }
            taken += usize::from(entry.attempt != Attempt::None && !apart.contains(&job));
        }
        for job in chosen {
            let Some(entry) = self.entries.get_mut(&job) else { continue };
            if taken < self.most && entry.attempt == Attempt::None {
                entry.attempt = Attempt::Runs;
                taken += 1;
                changes.push(Change::Start(job));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Change::{Start, Stop};
    use super::Priority::{High, Low, Normal};
    use super::*;

    fn with(most: usize, jobs: &[(JobId, Priority)]) -> Schedule {
        let mut schedule = Schedule::new(most);
        for (job, priority) in jobs {
            schedule.add(*job, *priority, false);
        }
        schedule
    }

    #[test]
    fn the_first_run_and_the_next_one_follows() {
        let mut schedule = Schedule::new(2);
        assert_eq!(schedule.add(1, Normal, false), [Start(1)]);
        assert_eq!(schedule.add(2, Normal, false), [Start(2)]);
        assert_eq!(schedule.add(3, Normal, false), []);
        assert_eq!(schedule.add(4, Normal, false), []);
        assert_eq!(schedule.over(2), [Start(3)]);
        assert_eq!(schedule.over(1), [Start(4)]);
        assert_eq!(schedule.over(3), []);
    }

    #[test]
    fn who_falls_out_ends_before_the_other_begins() {
        let mut schedule = with(1, &[(1, Normal), (2, Normal)]);
        assert_eq!(schedule.add(3, High, false), [Stop(1)]);
        assert_eq!(schedule.ended(1), [Start(3)]);
        assert_eq!(schedule.prioritize(2, High), [Stop(3)], "the older of the same priority");
        assert_eq!(schedule.ended(3), [Start(2)]);
        assert_eq!(schedule.prioritize(2, Low), [Stop(2)]);
        assert_eq!(schedule.ended(2), [Start(3)]);
        assert_eq!(schedule.over(3), [Start(1)]);
        assert_eq!(schedule.over(1), [Start(2)], "a low one runs when nothing else does");
    }

    #[test]
    fn a_paused_job_makes_room_and_comes_back_in_its_order() {
        let mut schedule = with(1, &[(1, Normal), (2, Normal)]);
        assert_eq!(schedule.pause(1, true), [Stop(1)]);
        assert!(schedule.is_paused(1) && !schedule.is_paused(2));
        assert_eq!(schedule.ended(1), [Start(2)]);
        assert_eq!(schedule.pause(1, false), [Stop(2)]);
        assert_eq!(schedule.ended(2), [Start(1)]);
        assert_eq!(schedule.add(3, High, true), [], "one that is paused from the start");
        assert_eq!(schedule.pause(3, false), [Stop(1)]);
    }

    #[test]
    fn a_change_of_mind_waits_for_the_last_attempt() {
        let mut schedule = with(4, &[(1, Normal)]);
        assert_eq!(schedule.pause(1, true), [Stop(1)]);
        assert_eq!(schedule.pause(1, false), [], "its attempt has not ended");
        assert_eq!(schedule.pause(1, true), []);
        assert_eq!(schedule.pause(1, false), []);
        assert_eq!(schedule.ended(1), [Start(1)]);
    }

    #[test]
    fn the_number_that_may_run_changes() {
        let mut schedule = with(3, &[(1, Low), (2, Normal), (3, Normal)]);
        assert_eq!(schedule.set_most(1), [Stop(1), Stop(3)]);
        assert_eq!(schedule.ended(3), []);
        assert_eq!(schedule.ended(1), []);
        assert_eq!(schedule.set_most(9), [Start(3), Start(1)]);
        assert_eq!((schedule.most(), schedule.len()), (9, 3));
        assert_eq!(schedule.over(7), [], "one that is not known");
    }

    #[test]
    fn who_waits_takes_no_place_until_it_can_go_on() {
        let mut schedule = with(1, &[(1, Normal), (2, Normal), (3, Normal)]);
        assert_eq!(schedule.waits(2, true), [], "it does not run");
        assert_eq!(schedule.waits(1, true), [Start(2)]);
        assert_eq!(schedule.waits(2, true), [Start(3)]);
        assert_eq!(schedule.waits(1, false), [Stop(3)]);
        assert_eq!(schedule.waits(2, false), [Stop(2)], "the first comes first");
        assert_eq!(schedule.ended(3), []);
        assert_eq!(schedule.ended(2), []);
        assert_eq!(schedule.over(1), [Start(2)]);
        assert_eq!(schedule.waits(2, true), [Start(3)]);
        assert_eq!(schedule.pause(2, true), [Stop(2)]);
        assert_eq!(schedule.ended(2), []);
        assert_eq!(schedule.pause(2, false), [Stop(3)], "it may go on now");
        assert_eq!(schedule.ended(3), [Start(2)]);
    }

    #[test]
    fn not_without_end_many_wait() {
        let jobs: Vec<_> = (1..=100).map(|job| (job, Normal)).collect();
        let mut schedule = with(2, &jobs);
        let mut started: BTreeSet<JobId> = [1, 2].into();
        for job in 1..=100 {
            for change in schedule.waits(job, true) {
                let Start(next) = change else { panic!("{change:?}") };
                started.insert(next);
            }
        }
        assert_eq!(started.len(), MAX_WAITING + 2);
    }

    proptest! {
        /// Whatever happens: never more than allowed, one attempt a job, and in
        /// the end the right ones run.
        #[test]
        fn any_events(events in prop::collection::vec((0_u8..7, 1_u32..9, 0_u8..3), 0..80)) {
            let mut schedule = Schedule::new(2);
            let mut running = BTreeSet::new();
            let mut ending = BTreeSet::new();
            let mut most = 2;
            for (event, job, value) in events {
                let priority = [Low, Normal, High][usize::from(value)];
                let known = schedule.entries.contains_key(&job);
                let alive = running.contains(&job) || ending.contains(&job);
                let changes = match event {
                    0 if !known => schedule.add(job, priority, value == 0),
                    1 if known => schedule.pause(job, true),
                    2 => schedule.pause(job, false),
                    3 => schedule.prioritize(job, priority),
                    4 if ending.remove(&job) => schedule.ended(job),
                    5 if known && alive => {
                        running.remove(&job);
                        ending.remove(&job);
                        schedule.over(job)
                    }
                    6 => {
                        most = usize::from(value);
                        schedule.set_most(most)
                    }
                    _ => vec![],
                };
                for change in changes {
                    match change {
                        Start(job) => {
                            prop_assert!(!ending.contains(&job), "two attempts at {}", job);
                            prop_assert!(running.insert(job), "started twice: {}", job);
                            prop_assert!(running.len() + ending.len() <= most, "too many");
                        }
                        Stop(job) => {
                            prop_assert!(running.remove(&job), "did not run: {}", job);
                            ending.insert(job);
                        }
                    }
                }
            }
            for job in ending {
                running.extend(schedule.ended(job).into_iter().map(|change| match change {
                    Start(job) | Stop(job) => job,
                }));
            }
            let right: BTreeSet<_> = schedule.chosen().0.into_iter().collect();
            prop_assert_eq!(running, right);
        }
    }
}
