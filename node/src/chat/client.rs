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
use shoal_common::protocol::chat::Standing;
use shoal_common::protocol::greeting::Talk;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::disk::{Disk, Remembered};
use super::handle::{Came, Command};
use super::member::{Heard, Member};
use super::replica::Replica;
use super::session::{End, Session};
use super::transcript::{self, Head, Transcript, Written, recover};
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
    /// Whether the person was told that the transcript can't be written.
    transcript_fails: bool,
    /// Who waits for what comes of their events, by number.
    pub(super) acts: BTreeMap<u64, oneshot::Sender<Came>>,
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
        let (mut disk, remembered) = Disk::open(&volume, us.node)?;
        let Remembered { replica, waiting, last, mut heard, forgot } = remembered;
        let present = disk.present();
        let past = logs.as_deref().map(|logs| recover(logs, us.node)).unwrap_or_default();
        for Written { log, position } in past {
            // What is in a transcript is heard, even if that was not noted.
            if heard.log.is_some_and(|known| known.to_string() == log) {
                heard.position = heard.position.max(position);
            }
        }
        let remark = forgot.then(|| {
            let written =
                logs.as_deref().and_then(|logs| transcript::last(logs, us.node, &us.network));
            let known = written.and_then(|at| Some((at.log.parse().ok()?, at.position)));
            if let Some((log, position)) = known {
                heard = Heard { log: Some(log), position };
                return "chat: `.shoal/chat/heard` is missing or damaged: it goes on behind the \
                        transcript";
            }
            "chat: `.shoal/chat/heard` is missing or damaged, and no transcript tells how far it \
             was heard: what was said since may be missing here"
        });
        disk.heard(heard)?;
        if let Some(remark) = remark {
            notices.say(remark);
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
            member: Member::new(us.node, heard, waiting, last),
            us,
            membership,
            notices,
            disk,
            replica,
            transcript: Transcript::new(logs, head),
            transcript_fails: false,
            acts: BTreeMap::new(),
            standing: None,
            commands,
            goodbyes: Vec::new(),
        };
        Ok((client, present))
    }

    /// Follows the tracker until the handle is gone, the node leaves or the disk fails.
    pub(super) async fn run(mut self) {
        match self.follow().await {
            Err(End::Disk(error)) => {
                let trouble = format!("the chat can't be written to the disk: {error}");
                self.notices.say(format!(
                    "{trouble}; it ends at this node: make room, if there is none, and start the \
                     node again"
                ));
            }
            _ => self.close(),
        }
    }

    async fn follow(&mut self) -> Result<(), End> {
        let mut tracker = self.membership.tracker_at();
        let mut pauses = pauses();
        loop {
            let at = tracker.borrow_and_update().clone();
            let Some(at) = at else {
                if self.serve_until(tracker.changed()).await?.is_err() {
                    return Ok(());
                }
                continue;
            };
            let us = self.us.clone();
            let end = match self.serve_until(call(at.address, &us, Talk::Chat)).await? {
                Ok((connection, _)) => {
                    self.update_head(&at);
                    let mut session = Session::new(self, connection);
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
                End::Left | End::Disk(_) => return Err(end),
                End::Moved => continue,
                End::Connection(error) => debug!("the chat's connection ends: {error}"),
            }
            let pause = pauses.next().unwrap_or(RECONNECT_PAUSE.1);
            let wait = async {
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = tracker.changed() => {}
                }
            };
            self.serve_until(wait).await?;
        }
    }

    /// Waits for something, and serves the handle meanwhile.
    ///
    /// # Errors
    /// The handle is gone, the node leaves, or the disk fails.
    async fn serve_until<T>(&mut self, something: impl Future<Output = T>) -> Result<T, End> {
        let mut something = std::pin::pin!(something);
        loop {
            tokio::select! {
                result = &mut something => return Ok(result),
                command = self.commands.recv() => self.serve(command.ok_or(End::Left)?)?,
            }
        }
    }

    /// A command while no tracker is connected: who asks for one hears that by the
    /// sender being dropped.
    fn serve(&mut self, command: Command) -> Result<(), End> {
        match command {
            Command::Act(act, done) => self.write(act, done)?,
            Command::Present(room) => self.set_present(&room),
            Command::Waiting(done) => self.tell_waiting(done),
            Command::Ask(..) | Command::Revive(_) => {}
            Command::Leave(done) => {
                self.goodbyes.push(done);
                return Err(End::Left);
            }
            Command::Close => return Err(End::Left),
        }
        Ok(())
    }

    /// Writes down what the person does; it is sent from there.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn write(&mut self, act: Act, done: oneshot::Sender<Came>) -> io::Result<()> {
        let now_us = when::now_ms().saturating_mul(1000);
        let Some(event) = self.member.write(self.membership.name(), act, now_us) else {
            done.send(Came::TooMany).ok();
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
        let written = self.transcript.set_head(head, when::now_ms());
        self.transcript_written(written);
    }

    /// Transcripts are for people: where one can't be written, they are told, and it is
    /// tried again with the next line. The chat goes on.
    pub(super) fn transcript_written(&mut self, written: io::Result<()>) {
        let fails = written.is_err();
        if let Err(error) = written
            && !self.transcript_fails
        {
            self.notices.say(format!("chat: the transcript can't be written: {error}"));
        }
        self.transcript_fails = fails;
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
