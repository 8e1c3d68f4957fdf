//! Tests of what people read of downloads.

use shoal_common::content::FileId;

use super::*;
use crate::transfer::job::{Failure, Wanted};

pub(crate) fn job() -> JobInfo {
    let owner = |name: &str, bytes| OwnerInfo {
        name: name.parse().unwrap(),
        bytes,
        active: true,
        trouble: None,
    };
    let file = FileId::from_bytes([0xcd; 32]);
    let wanted = Wanted::file("file.deb".parse().unwrap(), file, 393_775_740);
    JobInfo {
        state: JobState::Done,
        done: 393_775_740,
        seconds: 1.25,
        rate: 315_020_592.0,
        owners: vec![owner("node1", 200), owner("node2", 100), owner("node3", 0)],
        saved_as: Some("file.deb".parse().unwrap()),
        ..JobInfo::new(1, &wanted)
    }
}

/// A tree of which some files can't be had.
pub(crate) fn tree(failed: u64) -> JobInfo {
    let failure = |number| Failure {
        name: format!("photos/{number}.jpg").parse().unwrap(),
        reason: "changed \x1b at its owner".to_owned(),
    };
    JobInfo {
        name: "photos/".to_owned(),
        id: None,
        saved_as: None,
        files: Some(FileCounts { total: 1000, done: 1000 - failed, failed }),
        failures: (0..failed.min(100)).map(failure).collect(),
        ..job()
    }
}

const AT_80: Look = Look { color: false, width: Some(80) };

#[test]
fn the_end_of_a_download() {
    assert_eq!(
        end(&job()),
        ["job 1: `file.deb` is here: 394 MB in 1.2 s (315 MB/s); from node1 67%, node2 33%"]
    );
    let mut other = job();
    other.saved_as = Some("file (1).deb".parse().unwrap());
    other.resumed = 1_000_000;
    other.owners[2].trouble = Some("sent wrong \x1b bytes".into());
    let line = outcome(&other);
    assert!(line.contains("saved as `file (1).deb`"), "{line}");
    assert!(line.contains("1.00 MB were here already"), "{line}");
    assert!(line.contains("node3: sent wrong \\u{1b} bytes"), "{line}");

    let empty = JobInfo { size: 0, done: 0, seconds: 0.01, rate: 0.0, owners: vec![], ..job() };
    assert_eq!(outcome(&empty), "`file.deb` is here: 0 B in 0.0 s");

    let failed =
        JobInfo { state: JobState::Failed, reason: Some("disk full".into()), done: 5000, ..job() };
    assert_eq!(outcome(&failed), "`file.deb` failed: disk full; 5.00 kB of 394 MB are kept");
    let cancelled = JobInfo { state: JobState::Cancelled, done: 0, ..job() };
    assert_eq!(outcome(&cancelled), "`file.deb` is cancelled");
}

#[test]
fn a_tree_tells_its_files_and_the_first_of_what_failed() {
    let all = end(&tree(0));
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].starts_with("job 1: `photos/` is here: 1,000 files, 394 MB in"), "{all:?}");

    let some = end(&tree(2));
    assert!(some[0].contains("is here: 998 of 1,000 files, 2 failed, 394 MB"), "{some:?}");
    assert_eq!(some[1], "  `photos/0.jpg`: changed \\u{1b} at its owner");
    assert_eq!(some[3], "`retry 1` fetches what is missing");

    let many = end(&tree(500));
    assert_eq!(many.len(), 1 + MOST_FAILURES + 2, "{many:?}");
    assert_eq!(many[11], "  and 490 more");
}

#[test]
fn what_begins_or_changes_is_a_line() {
    let begun = JobInfo { state: JobState::Starting, ..job() };
    assert_eq!(started(&begun), "job 1: fetching `file.deb`, 394 MB");
    let unknown = JobInfo { state: JobState::Queued, size: 0, ..tree(0) };
    assert_eq!(started(&unknown), "job 1: queued `photos/`");
    let odd = JobInfo { name: "a\x1b\n/".to_owned(), ..unknown };
    assert_eq!(started(&odd), "job 1: queued `a\\u{1b}\\u{a}/`");
    let paused = JobInfo { state: JobState::Paused, ..job() };
    assert_eq!(changed(&paused), "job 1: `file.deb` is paused");
    let limited = JobInfo {
        state: JobState::Running,
        priority: Priority::High,
        limit: Some(50_000_000),
        ..tree(1)
    };
    assert_eq!(
        changed(&limited),
        "job 1: `photos/` is running; 999 of 1,000 files, 1 failed; high priority; \
         at most 50.0 MB/s"
    );
}

#[test]
fn one_job_is_told_whole() {
    let mut running = JobInfo {
        state: JobState::Running,
        done: 165_000_000,
        resumed: 1_000_000,
        left: Some(7.0),
        limit: Some(10_000_000),
        saved_as: None,
        ..tree(12)
    };
    running.owners[2].trouble = Some("is \x1b slow".into());
    assert_eq!(
        one(&running, AT_80),
        [
            "name      photos/",
            "state     running",
            "done      41% of 393,775,740 bytes; 1.00 MB of it were here already",
            "files     988 of 1,000 files, 12 failed",
            "rate      315 MB/s",
            "time      1.2 s",
            "left      0:07",
            "priority  normal",
            "limit     10.0 MB/s",
            "OWNER   GAVE  SHARE  NOW",
            "node1  200 B    67%  in use",
            "node2  100 B    33%  in use",
            "node3    0 B     0%  is \\u{1b} slow",
            "  `photos/0.jpg`: changed \\u{1b} at its owner",
            "  `photos/1.jpg`: changed \\u{1b} at its owner",
            "  `photos/2.jpg`: changed \\u{1b} at its owner",
            "  `photos/3.jpg`: changed \\u{1b} at its owner",
            "  `photos/4.jpg`: changed \\u{1b} at its owner",
            "  `photos/5.jpg`: changed \\u{1b} at its owner",
            "  `photos/6.jpg`: changed \\u{1b} at its owner",
            "  `photos/7.jpg`: changed \\u{1b} at its owner",
            "  `photos/8.jpg`: changed \\u{1b} at its owner",
            "  `photos/9.jpg`: changed \\u{1b} at its owner",
            "  and 2 more",
        ]
    );
    assert!(one(&job(), AT_80).contains(&format!("file id   {}", "cd".repeat(32))));
}

#[test]
fn the_table_says_what_has_no_column() {
    let waiting = JobInfo {
        state: JobState::Waiting,
        reason: Some("waiting for \x1b an owner".into()),
        ..tree(0)
    };
    let unknown = JobInfo { state: JobState::Queued, size: 0, done: 0, job: 2, ..tree(0) };
    let lines = table(&[waiting, JobInfo { files: None, ..unknown }], &[], AT_80);
    assert!(lines.iter().all(|line| text::width(line) <= 80), "{lines:?}");
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[2].contains("queued     0%"), "what is not known is not done: {lines:?}");
    assert_eq!(lines[3], "job 1: 1,000 of 1,000 files; waiting for \\u{1b} an owner");
}
