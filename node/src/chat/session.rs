//! One connection of a node's chat to the tracker.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use shoal_common::chat::entry::{Event, Position};
use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::limits::{CHAT_BEAT, MAX_CHAT_FRAME};
use shoal_common::protocol::chat::{
    Answer, Attached, Attachment, FromChat, Post, Question, Standing, ToChat, ToReplica,
};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::client::{Client, log_of};
use super::handle::{Came, Command};
use super::line::{Line, author_of};
use super::member::Continuity;
use super::when;
use crate::membership::TrackerAt;

/// How long an event that was sent may go without its entry before all that wait
/// are sent again. A connection loses nothing, so it is for a tracker that dropped
/// some.
const SEND_AGAIN: Duration = Duration::from_secs(2);

/// Lines from the time of an absence that are shown; the others are in the
/// transcript.
const MOST_SHOWN: usize = 20;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The node leaves.
    Left,
    /// The tracker is elsewhere now.
    Moved,
    /// The connection ended.
    Connection(ConnectionError),
    /// The disk fails: nothing can be promised or shown any more.
    Disk(io::Error),
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// A connection to the tracker.
pub(super) struct Session<'a> {
    client: &'a mut Client,
    connection: Connection<TcpStream>,
    /// What the tracker was when it took this node in.
    attached: Option<Attached>,
    questions: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// Who waits for the answer to a wish to go on without others.
    revivals: Vec<oneshot::Sender<bool>>,
    asked: u64,
    /// What was said while the node was away, and how much it was.
    missed: (VecDeque<Line>, usize),
    beat_due: Instant,
    /// When the tracker said something last.
    heard_at: Instant,
    again_due: Instant,
}

impl<'a> Session<'a> {
    pub(super) fn new(client: &'a mut Client, connection: Connection<TcpStream>) -> Self {
        let now = Instant::now();
        Self {
            client,
            connection,
            attached: None,
            questions: BTreeMap::new(),
            revivals: Vec::new(),
            asked: 0,
            missed: (VecDeque::new(), 0),
            beat_due: now + CHAT_BEAT,
            heard_at: now,
            again_due: now + SEND_AGAIN,
        }
    }

    /// Whether the tracker took this node in.
    pub(super) fn was_attached(&self) -> bool {
        self.attached.is_some()
    }

    /// Talks until one side hangs up.
    pub(super) async fn run(&mut self, tracker: &mut watch::Receiver<Option<TrackerAt>>) -> End {
        match self.talk(tracker).await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn talk(&mut self, tracker: &mut watch::Receiver<Option<TrackerAt>>) -> Result<End, End> {
        let heard = self.client.member.heard();
        let summary = self.client.replica.summary();
        let attachment = Attachment { summary, knows: heard.log, after: heard.position };
        self.say(&ToChat::Attach(attachment))?;
        loop {
            self.submit()?;
            self.connection.flush().await?;
            tokio::select! {
                heard = self.connection.receive_since(self.heard_at, MAX_CHAT_FRAME, 3 * CHAT_BEAT) => {
                    let mut heard = vec![heard?];
                    self.heard_at = Instant::now();
                    // What has come already is written down together.
                    while self.connection.has_message(MAX_CHAT_FRAME) && heard.len() < 64 {
                        let more = self.connection.receive(MAX_CHAT_FRAME, Duration::ZERO).await?;
                        heard.push(more);
                    }
                    self.hear_all(heard)?;
                }
                command = self.client.commands.recv() => match command {
                    Some(command) => self.command(command)?,
                    None => return Ok(End::Left),
                },
                _ = tracker.changed() => return Ok(End::Moved),
                () = sleep_until(self.beat_due) => {
                    self.beat_due = Instant::now() + CHAT_BEAT;
                    self.say(&ToChat::Beat)?;
                }
                () = sleep_until(self.again_due) => {
                    self.again_due = Instant::now() + SEND_AGAIN;
                    self.client.member.send_again();
                }
            }
        }
    }

    fn say(&mut self, message: &ToChat) -> Result<(), End> {
        Ok(self.connection.queue(message, MAX_CHAT_FRAME)?)
    }

    /// Sends what waits and was not sent.
    fn submit(&mut self) -> Result<(), End> {
        if self.attached.is_none() {
            return Ok(());
        }
        for (previous, event) in self.client.member.take_to_send() {
            self.say(&ToChat::Submit { previous, event })?;
        }
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<(), End> {
        match command {
            Command::Act(act, done) => self.client.write(act, done)?,
            Command::Ask(question, done) => self.ask(question, done)?,
            Command::Present(room) => self.client.set_present(&room),
            Command::Waiting(done) => self.client.tell_waiting(done),
            Command::Revive(done) => {
                self.revivals.push(done);
                self.say(&ToChat::Revive)?;
            }
            Command::Leave(done) => {
                self.client.goodbyes.push(done);
                self.say(&ToChat::Leaving)?;
            }
            Command::Close => return Err(End::Left),
        }
        Ok(())
    }

    fn ask(&mut self, question: Question, done: oneshot::Sender<Answer>) -> Result<(), End> {
        // Those that nobody waits for any more make room.
        self.questions.retain(|_, done| !done.is_closed());
        self.asked += 1;
        self.questions.insert(self.asked, done);
        self.say(&ToChat::Ask { number: self.asked, question })
    }

    /// Messages of the tracker, in order. Entries that follow each other are
    /// written down together.
    fn hear_all(&mut self, messages: Vec<FromChat>) -> Result<(), End> {
        let mut posts = Vec::new();
        for message in messages {
            match message {
                FromChat::Posts { posts: more } => posts.extend(more),
                other => {
                    self.post(std::mem::take(&mut posts))?;
                    self.hear(other)?;
                }
            }
        }
        self.post(posts)
    }

    fn hear(&mut self, message: FromChat) -> Result<(), End> {
        match message {
            FromChat::Attached(attached) => self.attached(attached),
            FromChat::Waits(standing) => {
                self.client.standing = Some(standing);
                Ok(())
            }
            FromChat::UpTo { position } => self.heard_upto(position),
            FromChat::Replica { message } => self.replica(message),
            FromChat::Answer { number, answer } => {
                if let Some(done) = self.questions.remove(&number) {
                    done.send(answer).ok();
                }
                Ok(())
            }
            FromChat::Revival { is_heeded } => {
                for done in self.revivals.drain(..) {
                    done.send(is_heeded).ok();
                }
                Ok(())
            }
            FromChat::Released if !self.client.goodbyes.is_empty() => Err(End::Left),
            FromChat::Closing { reason } => {
                info!("the tracker of the chat says: {}", reason.escape_debug());
                Ok(())
            }
            FromChat::Posts { .. } | FromChat::Released | FromChat::Unknown => Ok(()),
        }
    }

    fn replica(&mut self, message: ToReplica) -> Result<(), End> {
        let mut records = Vec::new();
        let answer = self.client.replica.hear(message, &mut records);
        self.client.disk.remember(&records, &self.client.replica)?;
        self.say(&ToChat::Replica { answer })
    }

    fn attached(&mut self, attached: Attached) -> Result<(), End> {
        let before = self.client.member.heard();
        let continuity = self.client.member.attached(attached);
        self.attached = Some(attached);
        self.client.standing = Some(Standing { writes: true, here: 0, council: 1 });
        self.client.disk.heard(self.client.member.heard())?;
        let gap = || {
            let (after, upto) = (before.position, attached.from);
            format!("what was said between {after} and {upto} is not kept any more")
        };
        let remark = match continuity {
            Continuity::Whole => None,
            Continuity::Gap => Some(gap()),
            Continuity::Less => Some(
                "a tracker has told of more than there is in the log: \
                 what was said meanwhile may be missing"
                    .to_owned(),
            ),
            Continuity::Revived { has_gap } => {
                let revived = "the chat goes on without most of those that held it: \
                               what only they had is lost";
                Some(if has_gap { format!("{revived}; {}", gap()) } else { revived.to_owned() })
            }
            Continuity::OtherLog => Some(
                "the chat goes on in another log, of a network that began apart: \
                 what was said last in this one may not be in that"
                    .to_owned(),
            ),
        };
        if let Some(remark) = remark {
            let written = self.client.transcript.remark(&remark, when::now_ms());
            self.client.transcript_written(written);
            self.client.notices.say(format!("chat: {remark}"));
        }
        self.client.set_log();
        self.heard_upto(attached.from)
    }

    /// Entries come: first into the transcript, then that is noted, then they are
    /// shown and acknowledged. So a kill between costs nothing and doubles
    /// nothing, unless the transcript can't be written.
    fn post(&mut self, posts: Vec<Post>) -> Result<(), End> {
        if posts.is_empty() {
            return Ok(());
        }
        let (mut lines, mut settled) = (Vec::new(), Vec::new());
        for post in &posts {
            let Some(own) = self.client.member.hears(post.position, author_of(post)) else {
                continue;
            };
            let number = own.as_ref().map(|event| event.number);
            settled.extend(own);
            lines.push((Line::of(post), number));
        }
        // What has no effect is for its author alone.
        let kept = lines.iter().map(|(line, _)| line).filter(|line| line.refused.is_none());
        let written = self.client.transcript.add(kept);
        self.client.transcript_written(written);
        self.client.disk.heard(self.client.member.heard())?;
        self.client.settled(&settled)?;
        if !settled.is_empty() {
            self.again_due = Instant::now() + SEND_AGAIN;
        }
        for (line, number) in lines {
            self.show(line, number);
        }
        self.show_missed();
        Ok(())
    }

    fn show(&mut self, line: Line, own: Option<u64>) {
        let waits = own.and_then(|number| self.client.acts.remove(&number));
        if waits.is_some_and(|waits| waits.send(Came::Entry(line.clone())).is_ok()) {
            return;
        }
        if let (Some(_), Some(reason)) = (own, line.refused) {
            self.client.notices.show(format!("chat: `{}` had no effect: {reason}", line.said()));
        } else if self.attached.is_some_and(|attached| line.position <= attached.committed) {
            self.missed.1 += 1;
            self.missed.0.push_back(line);
            if self.missed.0.len() > MOST_SHOWN {
                self.missed.0.pop_front();
            }
        } else if line.from.is_some() {
            self.client.notices.show(line.shown());
        }
    }

    /// What was said while the node was away, once that is all here.
    fn show_missed(&mut self) {
        let heard = self.client.member.heard().position;
        if self.missed.1 == 0 || self.attached.is_some_and(|attached| heard < attached.committed) {
            return;
        }
        let (lines, count) = std::mem::take(&mut self.missed);
        if let Some(more) = count.checked_sub(lines.len()).filter(|more| *more > 0) {
            let line = format!("chat: {more} more lines from before are in the transcript");
            self.client.notices.show(line);
        }
        for line in lines.iter().filter(|line| line.from.is_some()) {
            self.client.notices.show(line.shown());
        }
    }

    fn heard_upto(&mut self, position: Position) -> Result<(), End> {
        // While it is not attached, it is only a sign of life.
        if self.attached.is_none() {
            return Ok(());
        }
        let unknown: Vec<Event> = self.client.member.heard_upto(position);
        self.client.disk.heard(self.client.member.heard())?;
        self.client.settled(&unknown)?;
        // They are in the log, and were written down before a kill, or are not kept any
        // more; or their numbers were had before.
        let mut untold = 0;
        for event in unknown {
            let waits = self.client.acts.remove(&event.number);
            untold += usize::from(waits.is_none_or(|waits| waits.send(Came::Unknown).is_err()));
        }
        if untold > 0 {
            self.client.notices.say(format!(
                "chat: messages from before were taken ({untold}); whether they had an effect is \
                 not kept any more, if the transcript does not have them"
            ));
        }
        self.show_missed();
        Ok(())
    }
}

impl Client {
    fn set_log(&mut self) {
        let log = log_of(self.member.heard());
        let written = self.transcript.set_log(log, when::now_ms());
        self.transcript_written(written);
    }
}
