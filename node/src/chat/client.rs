//! The task of a node's chat: it follows the tracker, wherever that is.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use shoal_common::call::call;
use shoal_common::chat::entry::{Act, Event};
use shoal_common::chat::words::RoomName;
use shoal_common::connection::ConnectionError;
use shoal_common::limits::RECONNECT_PAUSE;
use shoal_common::party::Party;
use shoal_common::protocol::chat::{Answer, Standing};
use shoal_common::protocol::greeting::Talk;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::disk::{Disk, Remembered};
use super::handle::Command;
use super::line::Line;
use super::member::{Heard, Member};
use super::replica::Replica;
use super::session::{End, Session};
use super::transcript::{Head, Transcript, Written, recover};
use super::when;
use crate::membership::{Membership, TrackerAt};
use crate::notice::Notices;
use crate::volume::Volume;

/// What the chat of a node needs.
#[derive(Debug)]
pub struct Setting {
    /// This node.
    pub us: Party,
    /// Where it remembers.
    pub volume: Volume,
    /// Where transcripts go; without it there are none.
    pub logs: Option<PathBuf>,
    /// What it is called, and who is the tracker.
    pub membership: Membership,
    /// Where the person is told.
    pub notices: Notices,
}

/// The chat of a node, whoever it is connected to.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) us: Party,
    pub(super) membership: Membership,
    pub(super) notices: Notices,
    pub(super) disk: Disk,
    pub(super) replica: Replica,
    pub(super) member: Member,
    pub(super) transcript: Transcript,
    /// Who waits for what comes of their events, by number.
    pub(super) acts: BTreeMap<u64, oneshot::Sender<Line>>,
    /// What the tracker said last of the log, while it is connected.
    pub(super) standing: Option<Standing>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Who waits for the end; they hear it by these being dropped.
    pub(super) goodbyes: Vec<oneshot::Sender<()>>,
}

impl Client {
    /// Opens what the node remembers.
    ///
    /// # Errors
    /// It can't be read or written.
    pub(super) fn open(
        setting: Setting,
        commands: mpsc::Receiver<Command>,
    ) -> io::Result<(Self, RoomName)> {
        let Setting { us, volume, logs, membership, notices } = setting;
        let (disk, Remembered { replica, waiting, mut heard }) = Disk::open(&volume, us.node)?;
        let present = disk.present();
        let past = logs.as_deref().map(|logs| recover(logs, us.node)).unwrap_or_default();
        for Written { log, position } in past {
            // What is in a transcript is heard, even if that was not noted.
            if heard.log.is_some_and(|known| known.to_string() == log) {
                heard.position = heard.position.max(position);
            }
        }
        let head = Head {
            name: membership.name().to_string(),
            node: us.node,
            network: us.network.clone(),
            role: "node",
            tracker: String::new(),
            log: log_of(heard),
        };
        let client = Self {
            member: Member::new(us.node, heard, waiting),
            us,
            membership,
            notices,
            disk,
            replica,
            transcript: Transcript::new(logs, head),
            acts: BTreeMap::new(),
            standing: None,
            commands,
            goodbyes: Vec::new(),
        };
        Ok((client, present))
    }

    /// Follows the tracker until the handle is gone or the node leaves.
    pub(super) async fn run(mut self) {
        let mut tracker = self.membership.tracker_at();
        let mut pauses = pauses();
        loop {
            let at = tracker.borrow_and_update().clone();
            let Some(at) = at else {
                if self.serve_until(tracker.changed()).await.is_none_or(|told| told.is_err()) {
                    return self.close();
                }
                continue;
            };
            let us = self.us.clone();
            let called = self.serve_until(call(at.address, &us, Talk::Chat)).await;
            let Some(called) = called else { return self.close() };
            let end = match called {
                Ok((connection, _)) => {
                    self.update_head(&at);
                    let mut session = Session::new(&mut self, connection);
                    let end = session.run(&mut tracker).await;
                    if session.was_attached() {
                        pauses = self::pauses();
                    }
                    self.disconnected();
                    end
                }
                Err(error) => {
                    debug!("the chat's tracker at {} is not reached: {error}", at.address);
                    End::Connection(ConnectionError::Closed)
                }
            };
            match end {
                End::Left => return self.close(),
                End::Moved => continue,
                End::Disk(error) => {
                    let trouble = format!("the chat can't be written to the disk: {error}");
                    self.notices.say(format!("{trouble}; it ends at this node"));
                    return;
                }
                End::Connection(error) => debug!("the chat's connection ends: {error}"),
            }
            let pause = pauses.next().unwrap_or(RECONNECT_PAUSE.1);
            let wait = async {
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = tracker.changed() => {}
                }
            };
            if self.serve_until(wait).await.is_none() {
                return self.close();
            }
        }
    }

    /// Waits for something, and serves the handle meanwhile. `None`: the handle is
    /// gone or the node leaves.
    async fn serve_until<T>(&mut self, something: impl Future<Output = T>) -> Option<T> {
        let mut something = std::pin::pin!(something);
        loop {
            tokio::select! {
                result = &mut something => return Some(result),
                command = self.commands.recv() => match command? {
                    Command::Act(act, done) => {
                        self.write(act, done).ok()?;
                    }
                    Command::Ask(_, done) => drop::<oneshot::Sender<Answer>>(done),
                    Command::Present(room) => self.set_present(&room),
                    Command::Waiting(done) => self.tell_waiting(done),
                    Command::Revive => {}
                    Command::Leave(done) => {
                        self.goodbyes.push(done);
                        return None;
                    }
                    Command::Close => return None,
                },
            }
        }
    }

    /// Writes down what the person does; it is sent from there.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn write(&mut self, act: Act, done: oneshot::Sender<Line>) -> io::Result<()> {
        let now_us = when::now_ms().saturating_mul(1000);
        let Some(event) = self.member.write(self.membership.name(), act, now_us) else {
            // Without the sender the one who waits is told at once.
            return Ok(());
        };
        let number = event.number;
        self.disk.waits(event)?;
        self.acts.insert(number, done);
        Ok(())
    }

    pub(super) fn tell_waiting(&self, done: oneshot::Sender<(usize, Option<Standing>)>) {
        done.send((self.member.waiting().len(), self.standing)).ok();
    }

    pub(super) fn set_present(&mut self, room: &RoomName) {
        if let Err(error) = self.disk.set_present(room) {
            warn!("the present room can't be remembered: {error}");
        }
    }

    /// What belongs to the connection ends with it.
    fn disconnected(&mut self) {
        self.standing = None;
        self.member.send_again();
    }

    fn update_head(&mut self, at: &TrackerAt) {
        let is_tracker = at.tracker == self.us.node;
        let head = Head {
            name: self.membership.name().to_string(),
            node: self.us.node,
            network: self.us.network.clone(),
            role: if is_tracker { "node and tracker" } else { "node" },
            tracker: format!("{} (epoch {})", at.address, at.epoch),
            log: log_of(self.member.heard()),
        };
        if let Err(error) = self.transcript.set_head(head, when::now_ms()) {
            warn!("a transcript can't be completed: {error}");
        }
    }

    fn close(mut self) {
        if let Err(error) = self.transcript.close(when::now_ms()) {
            warn!("a transcript can't be completed: {error}");
        }
        if let Err(error) = self.disk.close() {
            warn!("the chat's memory may not be on the disk: {error}");
        }
    }

    /// Events are settled: they do not wait any more.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn settled(&mut self, events: &[Event]) -> io::Result<()> {
        let numbers: Vec<u64> = events.iter().map(|event| event.number).collect();
        self.disk.settled(&numbers, self.member.waiting())
    }
}

/// The name of the log in a transcript.
pub(super) fn log_of(heard: Heard) -> String {
    heard.log.map_or_else(|| "none yet".to_owned(), |log| log.to_string())
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(RECONNECT_PAUSE.0)
        .with_max_delay(RECONNECT_PAUSE.1)
        .with_jitter()
        .without_max_times()
        .build()
}
