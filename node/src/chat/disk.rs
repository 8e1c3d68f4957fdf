//! What the chat remembers: the replica, what waits to be accepted, and how far
//! this node has heard.
//!
//! ```text
//! .shoal/chat/log      records of the replica
//! .shoal/chat/outbox   what was said and is not accepted yet
//! .shoal/chat/heard    which log, and up to where it is in the transcript
//! .shoal/chat/room     where `say` goes
//! .shoal/chat/boot     during which run of the machine the log was written
//! ```
//!
//! A killed process loses nothing of it that it answered: half a record at the end,
//! which a kill or a full disk may leave, was never answered and is cut off. After
//! a loss of power more of the end of the log may be missing, and a replica that
//! does not know what it promised must not vote: when the machine was started anew
//! since, and the node was not stopped in order, or the log is damaged, it is begun
//! as another replica, which catches up from the others.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use shoal_common::chat::entry::Event;
use shoal_common::chat::log::Kept;
use shoal_common::chat::words::RoomName;
use shoal_common::ident::NodeId;
use shoal_common::limits::{KEPT_BYTES, KIB};
use tracing::warn;

use super::journal::{End, Journal};
use super::member::Heard;
use super::replica::{Record, Replica};
use crate::volume::{ChatDir, Volume};

const LOG: &str = "log";
const OUTBOX: &str = "outbox";
const HEARD: &str = "heard";
const ROOM: &str = "room";
const BOOT: &str = "boot";

/// What stands in [`BOOT`] when the node was stopped in order.
const IN_ORDER: &[u8] = b"in order";

/// Size of the log's file at which it is written anew, in bytes: twice what is
/// kept of the log.
const MAX_LOG: u64 = 2 * KEPT_BYTES as u64;

/// Size of the file of what waits at which it is written anew, in bytes.
const MAX_OUTBOX: u64 = 64 * KIB;

/// A change of what waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outgoing {
    /// It waits.
    Waits(Event),
    /// It is settled.
    Settled(u64),
}

impl Outgoing {
    fn number(&self) -> u64 {
        match self {
            Self::Waits(event) => event.number,
            Self::Settled(number) => *number,
        }
    }
}

/// The memory of a node's chat.
#[derive(Debug)]
pub(super) struct Disk {
    dir: ChatDir,
    log: Journal<Record>,
    outbox: Journal<Outgoing>,
    heard: File,
    /// The highest number of an event that ever waited.
    last: u64,
    /// Size of the log's file when it was last written anew, or could not be, in bytes.
    shortest: u64,
}

/// What was found there.
pub(super) struct Remembered {
    pub(super) replica: Replica,
    pub(super) waiting: Vec<Event>,
    /// The highest number of an event that ever waited; 0 if none is known.
    pub(super) last: u64,
    pub(super) heard: Heard,
    /// Whether that was known in an earlier life, and can't be read any more.
    pub(super) forgot: bool,
}

impl Disk {
    /// Opens the memory of this node.
    ///
    /// # Errors
    /// It can't be read or written.
    pub(super) fn open(volume: &Volume, node: NodeId) -> io::Result<(Self, Remembered)> {
        let dir = volume.chat()?;
        let (log, records, end) = Journal::open(&dir, LOG)?;
        let (mut outbox, outgoing, outbox_end) = Journal::open(&dir, OUTBOX)?;
        if outbox_end != End::Whole {
            outbox.replace(&dir, &outgoing)?;
        }
        let heard = dir.in_place(HEARD)?;
        let last = outgoing.iter().map(Outgoing::number).max().unwrap_or(0);
        let mut disk = Self { dir, log, outbox, heard, last, shortest: 0 };
        let has_lived = !disk.dir.read(BOOT)?.is_empty();
        let replica = disk.replica(node, records, end)?;
        let (waiting, heard) = (waiting(outgoing), disk.read_heard());
        let forgot = heard.is_none() && has_lived;
        let heard = heard.unwrap_or_default();
        Ok((disk, Remembered { replica, waiting, last, heard, forgot }))
    }

    fn replica(&mut self, node: NodeId, records: Vec<Record>, end: End) -> io::Result<Replica> {
        let boot = boot_id();
        let written = self.dir.read(BOOT)?;
        let is_same_run = written == boot;
        let mut trouble = match end {
            _ if !is_same_run && written != IN_ORDER => {
                Some("the machine has stopped since it was written")
            }
            End::Damaged => Some("it is damaged"),
            // Only where no power was lost is it sure that nothing else is missing.
            End::Cut if !is_same_run || boot.is_empty() => Some("its end is missing"),
            End::Cut | End::Whole => None,
        };
        let mut replica = Replica::new(node, 0, Kept::default());
        let is_empty = records.is_empty();
        for record in records {
            trouble = trouble.or(replica.remember(record).err());
        }
        if is_empty || trouble.is_some() {
            if let Some(trouble) = trouble.filter(|_| !is_empty) {
                warn!("the copy of the chat's log in `.shoal/chat` is begun anew: {trouble}");
            }
            replica = Replica::new(node, rand::random(), Kept::default());
        }
        // In this order: were it killed between the two, the next start would take
        // what the machine may have forgotten for what was written during this run.
        self.rewrite(&replica)?;
        self.dir.replace_on_disk(BOOT, &boot)?;
        Ok(replica)
    }

    /// Remembers what a replica must. When this has returned, an answer may
    /// leave.
    ///
    /// # Errors
    /// It can't be written; the replica must not answer any more.
    pub(super) fn remember(&mut self, records: &[Record], replica: &Replica) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.log.add(records)?;
        if self.log.size() > MAX_LOG.max(2 * self.shortest)
            && let Err(error) = self.rewrite(replica)
        {
            // A second copy needs room that there may not be. What is to be remembered is
            // on disk, so nothing is lost; it is tried again later.
            warn!("the copy of the chat's log in `.shoal/chat` can't be shortened: {error}");
            self.shortest = self.log.size();
        }
        Ok(())
    }

    fn rewrite(&mut self, replica: &Replica) -> io::Result<()> {
        self.log.replace(&self.dir, &replica.records())?;
        self.shortest = self.log.size();
        Ok(())
    }

    /// An event waits from now on.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn waits(&mut self, event: &Event) -> io::Result<()> {
        self.last = self.last.max(event.number);
        self.outbox.add([&Outgoing::Waits(event.clone())])
    }

    /// Events are settled; those that are left are these.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn settled<'a>(
        &mut self,
        numbers: &[u64],
        left: impl Iterator<Item = &'a Event>,
    ) -> io::Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        if self.outbox.size() > MAX_OUTBOX {
            // The last number is remembered longer than what it was of. In front, because
            // that may still wait.
            let left = left.map(|event| Outgoing::Waits(event.clone()));
            let left: Vec<_> = [Outgoing::Settled(self.last)].into_iter().chain(left).collect();
            match self.outbox.replace(&self.dir, &left) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    warn!("`.shoal/chat/outbox` can't be shortened: {error}");
                }
            }
        }
        let settled: Vec<_> = numbers.iter().map(|number| Outgoing::Settled(*number)).collect();
        self.outbox.add(&settled)
    }

    /// All up to here is in the transcript.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn heard(&mut self, heard: Heard) -> io::Result<()> {
        let bytes = rmp_serde::to_vec(&heard).map_err(io::Error::other)?;
        // What is longer from before comes after it and is not read.
        self.heard.write_all_at(&bytes, 0)
    }

    fn read_heard(&self) -> Option<Heard> {
        let bytes = self.dir.read(HEARD).unwrap_or_default();
        rmp_serde::from_slice(&bytes).ok()
    }

    /// The room where `say` goes; the lobby, if that is not known.
    pub(super) fn present(&self) -> RoomName {
        let bytes = self.dir.read(ROOM).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        text.parse().unwrap_or_else(|_| RoomName::lobby())
    }

    /// `say` goes there from now on.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn set_present(&mut self, room: &RoomName) -> io::Result<()> {
        self.dir.replace(ROOM, room.as_str().as_bytes())
    }

    /// The node stops in order: the disk has everything.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.log.sync()?;
        self.outbox.sync()?;
        self.heard.sync_all()?;
        // The files may have been replaced: under their names first.
        self.dir.sync()?;
        self.dir.replace_on_disk(BOOT, IN_ORDER)
    }
}

/// What waits after these changes, in order.
fn waiting(changes: Vec<Outgoing>) -> Vec<Event> {
    let mut waiting = Vec::<Event>::new();
    for change in changes {
        match change {
            Outgoing::Waits(event) => waiting.push(event),
            Outgoing::Settled(number) => waiting.retain(|event| event.number != number),
        }
    }
    waiting
}

/// Names the present run of the machine. Where the system does not tell, all runs
/// are the same.
fn boot_id() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_common::chat::entry::{Ballot, Body, Entry, LogId, Position, ReplicaId};
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
}
