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

use std::collections::BTreeMap;
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
    /// The same of the file of what waits.
    shortest_outbox: u64,
}

/// What was found there.
pub(super) struct Remembered {
    pub(super) replica: Replica,
    pub(super) waiting: Vec<Event>,
    /// The highest number of an event that ever waited; 0 if none is known.
    pub(super) last: u64,
    pub(super) heard: Heard,
    /// Whether that was known in an earlier life, and is missing or damaged.
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
        let mut disk = Self { dir, log, outbox, heard, last, shortest: 0, shortest_outbox: 0 };
        let has_lived = !disk.dir.read(BOOT)?.is_empty();
        let heard = disk.read_heard()?;
        let forgot = heard.is_none() && has_lived;
        let heard = heard.unwrap_or_default();
        if !has_lived {
            // Before the other, which would say that this was known once.
            disk.heard(heard)?;
            disk.heard.sync_all()?;
        }
        let replica = disk.replica(node, records, end)?;
        Ok((disk, Remembered { replica, waiting: waiting(outgoing), last, heard, forgot }))
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
        let mut left = left.peekable();
        // Much may wait: then it is not all written for each that does not any more. Once
        // nothing does, what was said is not kept here until as much is said again.
        let longest = if left.peek().is_none() { 0 } else { 2 * self.shortest_outbox };
        if self.outbox.size() > MAX_OUTBOX.max(longest) {
            // The last number is remembered longer than what it was of. In front, because
            // that may still wait.
            let left = left.map(|event| Outgoing::Waits(event.clone()));
            let left: Vec<_> = [Outgoing::Settled(self.last)].into_iter().chain(left).collect();
            let shortened = self.outbox.replace(&self.dir, &left);
            self.shortest_outbox = self.outbox.size();
            match shortened {
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

    /// What was noted; none where that is missing or damaged.
    fn read_heard(&self) -> io::Result<Option<Heard>> {
        Ok(rmp_serde::from_slice(&self.dir.read(HEARD)?).ok())
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

/// What waits after these changes, in order: that of the numbers. What is settled
/// before it waits is the last number, which stands in front of a file written anew.
fn waiting(changes: Vec<Outgoing>) -> Vec<Event> {
    let mut waiting = BTreeMap::new();
    for change in changes {
        match change {
            Outgoing::Waits(event) => {
                waiting.insert(event.number, event);
            }
            Outgoing::Settled(number) => {
                waiting.remove(&number);
            }
        }
    }
    waiting.into_values().collect()
}

/// Names the present run of the machine. Where the system does not tell, all runs
/// are the same.
fn boot_id() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
