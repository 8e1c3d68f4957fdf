//! Tests of the table of downloads: lists of events.

use shoal_common::content::FileId;

use super::*;
use crate::transfer::job::{Sources, What};

fn file(number: u32) -> Wanted {
    let name = format!("file{number}").parse().unwrap();
    Wanted::file(name, FileId::of(&number.to_be_bytes()), 10)
}

fn tree(text: &str) -> Wanted {
    Wanted { what: What::Tree(text.to_owned()), ..file(0) }
}

fn empty(most: usize) -> Table {
    Table::new(List::new(0, vec![]), most)
}

const USUAL: (Priority, Option<u64>) = (Priority::Normal, None);

/// A table with so many jobs, and what begins.
fn with(most: usize, jobs: u32) -> (Table, Vec<Launch>) {
    let mut table = empty(most);
    let mut launches = Vec::new();
    for number in 1..=jobs {
        launches.extend(table.add(file(number), vec![], USUAL).unwrap().1);
    }
    (table, launches)
}

fn numbers(launches: &[Launch]) -> Vec<JobId> {
    launches.iter().map(|launch| launch.job).collect()
}

fn state(table: &Table, job: JobId) -> JobState {
    table.jobs[&job].now().state
}

fn why(table: &Table, job: JobId) -> Option<Why> {
    table.jobs[&job].attempt.as_ref().unwrap().stop.why()
}

/// The attempt says that it is over, as a download does.
fn done(table: &mut Table, job: JobId) -> Vec<JobId> {
    table.jobs[&job].info.send_modify(|info| info.state = JobState::Done);
    numbers(&table.ended(job, Outcome::Over))
}

#[test]
fn what_can_not_run_is_queued_and_follows() {
    let (mut table, launches) = with(2, 3);
    assert_eq!(numbers(&launches), [1, 2]);
    assert!(table.has_changed() && !table.has_changed());
    assert_eq!(state(&table, 1), JobState::Starting);
    assert_eq!(state(&table, 3), JobState::Queued);
    assert_eq!(done(&mut table, 1), [3]);
    assert_eq!(state(&table, 3), JobState::Starting);
}

#[test]
fn what_is_under_way_is_not_begun_twice() {
    let (mut table, _) = with(2, 1);
    let named = Wanted { from: Sources::All, ..file(1) };
    assert_eq!(table.add(named, vec![], USUAL).unwrap_err(), StartError::Running(1));
    table.add(tree("photos/"), vec![], USUAL).unwrap();
    let again = table.add(tree("photos/"), vec![], USUAL);
    assert_eq!(again.unwrap_err(), StartError::Running(2));
    table.add(tree("photos/*.jpg"), vec![], USUAL).unwrap();
    done(&mut table, 1);
    assert_eq!(table.add(file(1), vec![], USUAL).unwrap().0, 4);
}

#[test]
fn a_pause_makes_room_and_stays() {
    let (mut table, _) = with(1, 2);
    assert!(table.pause(1, true).unwrap().is_empty());
    assert_eq!(why(&table, 1), Some(Why::Pause));
    assert_eq!(table.pause(1, true).unwrap_err(), JobError::Paused(1));
    assert_eq!(numbers(&table.ended(1, Outcome::Stopped)), [2]);
    assert_eq!(state(&table, 1), JobState::Paused);
    assert_eq!(table.pause(2, false).unwrap_err(), JobError::NotPaused(2));
    assert!(table.pause(1, false).unwrap().is_empty(), "the other one has to end first");
    assert_eq!(why(&table, 2), Some(Why::Queue));
    assert_eq!(numbers(&table.ended(2, Outcome::Stopped)), [1]);
    assert_eq!(state(&table, 2), JobState::Queued);
    assert!(table.pause(2, true).unwrap().is_empty());
    assert_eq!(state(&table, 2), JobState::Paused, "one that does not run rests at once");
}

#[test]
fn who_is_cancelled_is_over_whatever_was_before() {
    let (mut table, _) = with(1, 3);
    table.cancel(2).unwrap();
    assert_eq!(state(&table, 2), JobState::Cancelled, "it had not begun");
    table.pause(1, true).unwrap();
    table.cancel(1).unwrap();
    assert_eq!(table.cancel(1).unwrap_err(), JobError::Over(1));
    assert_eq!(why(&table, 1), Some(Why::Pause), "the first reason");
    assert_eq!(numbers(&table.ended(1, Outcome::Stopped)), [3]);
    assert_eq!(state(&table, 1), JobState::Cancelled);
    for job in [1, 2] {
        assert_eq!(table.pause(job, true).unwrap_err(), JobError::Over(job));
        assert_eq!(table.prioritize(job, Priority::High).unwrap_err(), JobError::Over(job));
        assert_eq!(table.set_limit(job, Some(1)).unwrap_err(), JobError::Over(job));
    }
    assert_eq!(table.cancel(9).unwrap_err(), JobError::NoSuchJob(9));
    let kept: Vec<_> = table.kept().jobs.iter().map(|kept| kept.job).collect();
    assert_eq!(kept, [3]);
}

#[test]
fn an_attempt_that_panics_fails_and_the_next_one_begins() {
    let (mut table, _) = with(1, 2);
    assert_eq!(numbers(&table.ended(1, Outcome::Panicked)), [2]);
    let info = table.jobs[&1].now();
    assert_eq!(info.state, JobState::Failed);
    assert!(info.reason.unwrap().contains("error of this program"));
}

#[test]
fn nothing_begins_when_the_node_leaves() {
    let (mut table, _) = with(1, 2);
    assert!(table.ended(1, Outcome::Dropped).is_empty());
    assert_eq!(table.add(file(7), vec![], USUAL).unwrap_err(), StartError::Leaving);
    assert!(table.set_most(5).is_empty());
    assert_eq!(table.kept().jobs.len(), 2, "both go on the next time");
}

#[test]
fn an_earlier_life_goes_on() {
    let (mut table, _) = with(2, 3);
    table.pause(2, true).unwrap();
    table.prioritize(3, Priority::High).unwrap();
    table.set_limit(3, Some(70_000)).unwrap();
    done(&mut table, 1);
    let list = table.kept();
    assert_eq!((list.last, list.jobs.len()), (3, 2));

    let mut table = Table::new(list.clone(), 2);
    assert_eq!(table.kept(), list, "one that does not go on with them forgets nothing");
    let (woken, launches, here) = table.wake(|_| false);
    assert_eq!((woken, numbers(&launches), here.len()), (vec![2, 3], vec![3], 0));
    assert_eq!(state(&table, 2), JobState::Paused);
    let three = table.jobs[&3].now();
    assert_eq!((three.priority, three.limit), (Priority::High, Some(70_000)));
    assert_eq!(table.kept(), list);
    assert_eq!(table.add(file(9), vec![], USUAL).unwrap().0, 4, "numbers go on, too");

    let mut table = Table::new(list, 2);
    let (woken, _, here) = table.wake(|_| true);
    assert_eq!((woken.len(), here.len()), (0, 2));
    assert!(table.has_changed() && table.kept().jobs.is_empty());
}

#[test]
fn what_is_asked_for_anew_does_not_go_on_beside_it() {
    let (table, _) = with(2, 2);
    let mut table = Table::new(table.kept(), 2);
    let (job, _) = table.add(file(1), vec![], USUAL).unwrap();
    assert_eq!(job, 3);
    assert_eq!(table.wake(|_| false).0, [2]);
}

#[test]
fn numbers_never_meet() {
    let kept = |job| Kept {
        job,
        wanted: file(job),
        paused: true,
        priority: Priority::Normal,
        limit: None,
        done: 5,
    };
    let list = List::new(JobId::MAX, vec![kept(0), kept(1), kept(2)]);
    let mut table = Table::new(list, 2);
    assert_eq!(table.add(file(9), vec![], USUAL).unwrap().0, 3);
    assert_eq!(table.wake(|_| false).0, [1, 2]);
    assert_eq!(table.jobs[&1].now().done, 5, "it is as far as it was");
}

#[test]
fn both_lists_are_bounded() {
    let (mut table, launches) = with(64, u32::try_from(MAX_JOBS).unwrap());
    assert_eq!(launches.len(), 64);
    assert_eq!(table.add(file(0), vec![], USUAL).unwrap_err(), StartError::TooMany);
    for job in 1..=500 {
        table.cancel(job).unwrap();
        table.ended(job, Outcome::Stopped);
    }
    table.add(file(0), vec![], USUAL).unwrap();
    let over = table.jobs.values().filter(|job| job.is_over()).count();
    assert_eq!(over, MAX_OVER);
    assert!(!table.jobs.contains_key(&400), "the oldest are forgotten");
    assert!(table.jobs.contains_key(&401));
}
