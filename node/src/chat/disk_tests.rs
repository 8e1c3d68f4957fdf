use std::sync::Arc;

use shoal_common::chat::entry::{Act, Ballot, Body, Entry, LogId, Position, ReplicaId};
use shoal_common::chat::log::Base;
use shoal_common::protocol::chat::ToReplica;

use super::*;

fn node() -> NodeId {
    NodeId::from_bytes([3; 32])
}

fn log_id() -> LogId {
    LogId { generation: 0, founded_ms: 1, nonce: 2 }
}

/// A replica of this volume that holds something and has promised.
fn replica(volume: &Volume) -> (Disk, ReplicaId) {
    let (mut disk, Remembered { mut replica, .. }) = Disk::open(volume, node()).unwrap();
    let ballot = Ballot { round: 7, ..Ballot::NONE };
    let base = Box::new(Base::found(log_id(), replica.id()));
    let mut records = Vec::new();
    let entries = Vec::new();
    replica.hear(ToReplica::Install { ballot, base, entries }, &mut records);
    disk.remember(&records, &replica).unwrap();
    (disk, replica.id())
}

#[test]
fn a_killed_node_is_the_same_replica_and_remembers_its_promise() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    let (disk, id) = replica(&volume);
    drop(disk);
    let (_, Remembered { mut replica, .. }) = Disk::open(&volume, node()).unwrap();
    assert_eq!(replica.id(), id);
    assert!(replica.log().is_some());
    let low = ToReplica::Prepare { ballot: Ballot { round: 6, ..Ballot::NONE } };
    let answer = replica.hear(low, &mut Vec::new());
    assert!(matches!(answer, shoal_common::protocol::chat::FromReplica::Refused { .. }));
}

/// One entry behind this position.
fn append(previous: Position) -> ToReplica {
    let ballot = Ballot { round: 7, ..Ballot::NONE };
    let previous_ballot = if previous == 0 { Ballot::NONE } else { ballot };
    let entry = Entry { ballot, at: 1, time_ms: 1, body: Body::Reign { tracker: node() } };
    let (log, entries) = (log_id(), vec![Arc::new(entry)]);
    ToReplica::Append { ballot, log, previous, previous_ballot, entries, committed: 0 }
}

#[test]
fn half_a_record_at_the_end_costs_that_record_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    drop(replica(&volume));
    let (mut disk, Remembered { mut replica, .. }) = Disk::open(&volume, node()).unwrap();
    // How many entries are held at which size of the file.
    let mut sizes = vec![(disk.log.size(), 0)];
    for previous in 0..4 {
        let mut records = Vec::new();
        replica.hear(append(previous), &mut records);
        disk.remember(&records, &replica).unwrap();
        sizes.push((disk.log.size(), previous + 1));
    }
    let path = Volume::state_path(folder.path()).join("chat/log");
    let whole = std::fs::read(&path).unwrap();
    for size in sizes[0].0..=whole.len() as u64 {
        std::fs::write(&path, &whole[..usize::try_from(size).unwrap()]).unwrap();
        let (_, found) = Disk::open(&volume, node()).unwrap();
        let (_, held) = sizes.iter().rev().find(|(whole, _)| *whole <= size).unwrap();
        assert_eq!(found.replica.id(), replica.id(), "{size}");
        assert_eq!(found.replica.summary().end, *held, "{size}");
    }
    let mut wrong = whole;
    *wrong.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &wrong).unwrap();
    let (_, found) = Disk::open(&volume, node()).unwrap();
    assert_ne!(found.replica.id(), replica.id(), "damaged");
}

#[test]
fn after_a_loss_of_power_it_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    let (mut disk, id) = replica(&volume);
    disk.close().unwrap();
    drop(disk);
    let (disk, found) = Disk::open(&volume, node()).unwrap();
    assert_eq!(found.replica.id(), id, "stopped in order");
    drop(disk);
    volume.chat().unwrap().replace(BOOT, b"another run").unwrap();
    let (_, found) = Disk::open(&volume, node()).unwrap();
    assert_ne!(found.replica.id(), id);
    assert!(found.replica.log().is_none());
}

#[test]
fn a_log_that_can_not_be_shortened_is_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    let id = replica(&volume).1;
    let (mut disk, Remembered { mut replica, .. }) = Disk::open(&volume, node()).unwrap();
    // Where the log is to be written beside the old one nothing can be written.
    let obstacle = Volume::state_path(folder.path()).join("chat/log.new");
    std::fs::create_dir(&obstacle).unwrap();
    let text = "x".repeat(1000).try_into().unwrap();
    let act = shoal_common::chat::entry::Act::Say { room: RoomName::lobby(), text };
    let event = Event { author: node(), number: 1, name: "a".parse().unwrap(), act };
    let ballot = Ballot { round: 7, ..Ballot::NONE };
    let entry = Arc::new(Entry { ballot, at: 1, time_ms: 1, body: Body::Event(event) });
    let many = Record::Entries(vec![entry; usize::try_from(MAX_LOG).unwrap() / 1000]);
    disk.remember(&[many], &replica).unwrap();
    assert!(disk.log.size() > MAX_LOG);
    let last = Record::Promise(Ballot { round: 9, ..Ballot::NONE });
    disk.remember(&[last], &replica).unwrap();
    drop(disk);
    std::fs::remove_dir(&obstacle).unwrap();
    let (_, found) = Disk::open(&volume, node()).unwrap();
    replica = found.replica;
    assert_eq!(replica.id(), id);
    let low = ToReplica::Prepare { ballot: Ballot { round: 8, ..Ballot::NONE } };
    let answer = replica.hear(low, &mut Vec::new());
    assert!(matches!(answer, shoal_common::protocol::chat::FromReplica::Refused { .. }));
}

#[test]
fn a_start_that_did_not_get_far_does_not_vouch_for_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    let (disk, id) = replica(&volume);
    drop(disk);
    let dir = volume.chat().unwrap();
    dir.replace(BOOT, b"another run").unwrap();
    // Where the log is to be written beside the old one nothing can be written.
    let obstacle = Volume::state_path(folder.path()).join("chat/log.new");
    std::fs::create_dir(&obstacle).unwrap();
    assert!(Disk::open(&volume, node()).is_err());
    std::fs::remove_dir(&obstacle).unwrap();
    let (_, found) = Disk::open(&volume, node()).unwrap();
    assert_ne!(found.replica.id(), id);
}

#[test]
fn what_waits_and_what_was_heard_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    let (mut disk, found) = Disk::open(&volume, node()).unwrap();
    assert_eq!((found.waiting.len(), found.heard), (0, Heard::default()));
    let room = shoal_common::chat::words::RoomName::lobby();
    let act = shoal_common::chat::entry::Act::Join { room };
    let event =
        |number| Event { author: node(), number, name: "a".parse().unwrap(), act: act.clone() };
    for number in 1..2000 {
        disk.waits(&event(number)).unwrap();
        let left = [event(number)];
        disk.settled(&[number - 1], left.iter()).unwrap();
    }
    assert!(disk.outbox.size() < 2 * MAX_OUTBOX, "{}", disk.outbox.size());
    let heard = Heard { log: Some(log_id()), position: 70_000 };
    disk.heard(heard).unwrap();
    drop(disk);
    let (_, found) = Disk::open(&volume, node()).unwrap();
    assert_eq!(found.waiting, [event(1999)]);
    assert_eq!((found.heard, found.last), (heard, 1999));
    // A number that was had once is not had again, though nothing waits.
    let (mut disk, _) = Disk::open(&volume, node()).unwrap();
    disk.settled(&[1999], [].iter()).unwrap();
    drop(disk);
    let (_, found) = Disk::open(&volume, node()).unwrap();
    assert_eq!(found.waiting, []);
    let mut member = super::super::member::Member::new(node(), heard, Vec::new(), found.last);
    let number = member.write("a".parse().unwrap(), act, 1000).unwrap().number;
    assert_eq!(number, 2000, "the clock was set back");
}

#[test]
fn what_was_never_noted_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    let path = Volume::state_path(folder.path()).join("chat/heard");
    // Killed right after it was opened, again and again.
    for _ in 0..3 {
        let (_, found) = Disk::open(&volume, node()).unwrap();
        assert_eq!((found.heard, found.forgot), (Heard::default(), false));
    }
    for damage in [&b""[..], b"\xc1"] {
        std::fs::write(&path, damage).unwrap();
        assert!(Disk::open(&volume, node()).unwrap().1.forgot);
    }
    let (disk, _) = Disk::open(&volume, node()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(disk.read_heard().unwrap(), None);
    // What can't be read may be there.
    std::fs::create_dir(&path).unwrap();
    let error = disk.read_heard().unwrap_err();
    assert!(error.to_string().starts_with("`heard`: "), "{error}");
    assert!(Disk::open(&volume, node()).is_err());
}

#[test]
fn what_waits_is_not_written_anew_for_each_that_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    let (mut disk, _) = Disk::open(&volume, node()).unwrap();
    let events: Vec<_> = (1..=500).map(long_event).collect();
    events.iter().for_each(|event| disk.waits(event).unwrap());
    let whole = disk.outbox.size();
    assert!(whole > 4 * MAX_OUTBOX);
    let mut before = whole;
    let mut anew = 0;
    for (settled, number) in (1..=100).zip(1..) {
        disk.settled(&[number], events[settled..].iter()).unwrap();
        anew += usize::from(disk.outbox.size() < before);
        before = disk.outbox.size();
    }
    assert!(anew <= 1, "{anew} times");
    drop(disk);
    let (_, remembered) = Disk::open(&volume, node()).unwrap();
    assert_eq!(remembered.waiting, events[100..]);
}

#[test]
fn once_nothing_waits_what_was_said_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::open(folder.path()).unwrap();
    let (mut disk, _) = Disk::open(&volume, node()).unwrap();
    let events: Vec<_> = (1..=500).map(long_event).collect();
    events.iter().for_each(|event| disk.waits(event).unwrap());
    for (settled, number) in (1..=500).zip(1..) {
        disk.settled(&[number], events[settled..].iter()).unwrap();
    }
    assert!(disk.outbox.size() < MAX_OUTBOX, "{}", disk.outbox.size());
    drop(disk);
    let (_, found) = Disk::open(&volume, node()).unwrap();
    assert_eq!((found.waiting, found.last), (vec![], 500));
}

#[test]
fn the_last_number_in_front_settles_nothing_behind_it() {
    let waits = |number| Outgoing::Waits(long_event(number));
    let changes = vec![Outgoing::Settled(3), waits(2), waits(3), Outgoing::Settled(2), waits(4)];
    assert_eq!(waiting(changes), [3, 4].map(long_event));
}

fn long_event(number: u64) -> Event {
    let act = Act::Say { room: RoomName::lobby(), text: "x".repeat(1000).try_into().unwrap() };
    Event { author: node(), number, name: "alice".parse().unwrap(), act }
}
