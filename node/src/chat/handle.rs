//! The handle on a node's chat: its verbs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_common::chat::entry::{Act, Person, Reason};
use shoal_common::chat::words::{RoomName, Text, Topic};
use shoal_common::ident::NodeName;
use shoal_common::limits::{MAX_HISTORY, REPLY_DEADLINE, SHORTEST_ID};
use shoal_common::protocol::chat::{Answer, Presence, Question, Standing};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::line::Line;
use super::verbs::{Ask, Told};
use crate::membership::{Link, Membership};

/// How long `say` waits for its message to be accepted before it tells that it is
/// not yet.
const SAY_PATIENCE: Duration = Duration::from_secs(5);

/// How long a node that leaves waits until the log is held without it: a few
/// round trips, and time for a busy machine.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

/// Lines of history unless another number is asked for: a screen.
const LINES: u64 = 20;

/// What the handle asks of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Write this, and tell what came of it.
    Act(Act, oneshot::Sender<Came>),
    /// Ask the tracker.
    Ask(Question, oneshot::Sender<Answer>),
    /// Where `say` goes from now on.
    Present(RoomName),
    /// How many messages wait, and what is known of the tracker.
    Waiting(oneshot::Sender<(usize, Option<Standing>)>),
    /// Go on without those that are gone; whether the tracker heeds that.
    Revive(oneshot::Sender<bool>),
    /// The node leaves as soon as the log is held without it. The sender is
    /// dropped when all is written down.
    Leave(oneshot::Sender<()>),
    /// The node leaves at once.
    Close,
}

/// What came of an act.
#[derive(Debug)]
pub(super) enum Came {
    /// It has an entry in the log.
    Entry(Line),
    /// It is not written down: as many wait as may.
    TooMany,
    /// Something with its number was taken, at a time of which nothing is kept.
    Unknown,
}

/// A node's chat. Clones are the same chat.
#[derive(Clone)]
pub struct Chat {
    to_task: mpsc::Sender<Command>,
    membership: Membership,
    present: Arc<Mutex<RoomName>>,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("present", &self.present()).finish_non_exhaustive()
    }
}

/// Why nothing came of it; a phrase.
type Trouble = String;

const GONE: &str = "this node is leaving, or its chat has ended, as its log says: after a full \
     disk, make room and start the node again";

/// Nodes that find each other alone elect nobody.
const NO_TRACKER: &str = "the chat needs a tracker, who writes its log, and this node has \
     none: start `shoal-tracker`, and one node of the network with --tracker";

impl Chat {
    pub(super) fn new(
        to_task: mpsc::Sender<Command>,
        membership: Membership,
        present: RoomName,
    ) -> Self {
        Self { to_task, membership, present: Arc::new(Mutex::new(present)) }
    }

    /// The room where `say` goes.
    pub fn present(&self) -> RoomName {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node is about to leave: the log is to be held without it, and what is
    /// known is written down. Takes twice [`LEAVE_PATIENCE`] at most.
    pub async fn leave(&self) {
        let (done, mut left) = oneshot::channel();
        if self.to_task.send(Command::Leave(done)).await.is_err() {
            return;
        }
        if timeout(LEAVE_PATIENCE, &mut left).await.is_err() {
            self.to_task.send(Command::Close).await.ok();
            timeout(LEAVE_PATIENCE, left).await.ok();
        }
    }

    /// Does what is asked.
    ///
    /// # Errors
    /// Why nothing comes of it; a phrase.
    pub async fn ask(&self, ask: Ask) -> Result<Told, Trouble> {
        let room = self.present();
        match ask {
            Ask::Say { text } => self.act(Act::Say { room, text: text_of(text)? }).await,
            Ask::Msg { name, text } => {
                let to = self.person(&name, None).await?;
                self.act(Act::Tell { to, text: text_of(text)? }).await
            }
            Ask::Join { room } => self.join(room_of(&room)?).await,
            Ask::Leave { room: other } => {
                let room = other.map_or(Ok(room), |other| room_of(&other))?;
                self.leave_room(room).await
            }
            Ask::Rooms => match self.question(Question::Rooms).await? {
                Answer::Rooms(rooms) => Ok(Told::Rooms { rooms, present: room }),
                other => Err(odd(&other)),
            },
            Ask::Who { room: other } => {
                let room = other.map_or(Ok(room), |other| room_of(&other))?;
                match self.question_of(&room, Question::Who { room: room.clone() }).await? {
                    Answer::Who(who) => Ok(Told::Who { room, who }),
                    other => Err(odd(&other)),
                }
            }
            Ask::History { lines } => {
                let lines = lines.unwrap_or(LINES).min(MAX_HISTORY);
                let question = Question::History { room: room.clone(), lines };
                match self.question_of(&room, question).await? {
                    Answer::History(posts) => {
                        Ok(Told::History { room, lines: posts.iter().map(Line::of).collect() })
                    }
                    other => Err(odd(&other)),
                }
            }
            Ask::Topic { text } => {
                let topic = Topic::try_from(text).map_err(|error| error.to_string())?;
                self.act(Act::Topic { room, topic }).await
            }
            Ask::Private { on } => self.act(Act::Private { room, on }).await,
            Ask::Invite { name } => {
                let who = self.person(&name, None).await?;
                self.act(Act::Invite { room, who }).await
            }
            Ask::Kick { name } => {
                let who = self.person(&name, Some(&room)).await?;
                self.act(Act::Kick { room, who }).await
            }
            Ask::Ban { name, on } => {
                // Another in the room may have the name of one that is banned.
                let banned = if on { None } else { self.known(&name, Some(&room)).await };
                let who = match banned {
                    Some(who) => who,
                    None => self.person(&name, Some(&room)).await?,
                };
                self.act(Act::Ban { room, who, on }).await
            }
            Ask::Revive => self.revive().await,
        }
    }

    async fn join(&self, room: RoomName) -> Result<Told, Trouble> {
        if room.is_lobby() {
            self.go_to(room.clone()).await?;
            return Ok(Told::Present { room });
        }
        match self.try_act(Act::Join { room: room.clone() }).await? {
            Told::Line(Line { refused: Some(Reason::InRoom), .. }) => {
                self.go_to(room.clone()).await?;
                Ok(Told::Present { room })
            }
            Told::Line(line) => {
                let line = self.accepted(line)?;
                self.go_to(room).await?;
                Ok(Told::Line(line))
            }
            // What is said next is for that room: it is written behind this, and is
            // refused if this is. So nothing of it comes to others unnoticed.
            told => self.meanwhile_in(room, told).await,
        }
    }

    async fn leave_room(&self, room: RoomName) -> Result<Told, Trouble> {
        // Nothing has to be waited for to know that.
        if room.is_lobby() {
            return Err(Reason::Lobby.to_string());
        }
        let is_present = room == self.present();
        match self.try_act(Act::Leave { room }).await? {
            // Who was taken out of the room it speaks in has to get away, too.
            Told::Line(Line { refused: Some(Reason::NotInRoom | Reason::NoRoom), .. })
                if is_present =>
            {
                self.go_to(RoomName::lobby()).await?;
                Ok(Told::Present { room: RoomName::lobby() })
            }
            Told::Line(line) => {
                let line = self.accepted(line)?;
                if is_present {
                    self.go_to(RoomName::lobby()).await?;
                }
                Ok(Told::Line(line))
            }
            told if is_present => self.meanwhile_in(RoomName::lobby(), told).await,
            told => Ok(told),
        }
    }

    /// `say` goes there, though what leads there is not accepted yet.
    async fn meanwhile_in(&self, room: RoomName, told: Told) -> Result<Told, Trouble> {
        self.go_to(room.clone()).await?;
        Ok(match told {
            Told::NotYet { waiting, reason, .. } => {
                Told::NotYet { waiting, reason, present: Some(room) }
            }
            told => told,
        })
    }

    async fn go_to(&self, room: RoomName) -> Result<(), Trouble> {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = room.clone();
        self.send(Command::Present(room)).await
    }

    async fn act(&self, act: Act) -> Result<Told, Trouble> {
        match self.try_act(act).await? {
            Told::Line(line) => self.accepted(line).map(Told::Line),
            told => Ok(told),
        }
    }

    /// Writes something; the line may say why it has no effect.
    async fn try_act(&self, act: Act) -> Result<Told, Trouble> {
        let (done, settled) = oneshot::channel();
        self.send(Command::Act(act, done)).await?;
        match timeout(SAY_PATIENCE, settled).await {
            Ok(Ok(Came::Entry(line))) => Ok(Told::Line(line)),
            Ok(Ok(Came::TooMany)) => Err("too many messages wait to be accepted".to_owned()),
            Ok(Ok(Came::Unknown)) => Err("it is not known what came of it: it was taken, but \
                 nothing is kept of that time"
                .to_owned()),
            Ok(Err(_)) => Err(GONE.to_owned()),
            Err(_) => {
                let (done, answer) = oneshot::channel();
                self.send(Command::Waiting(done)).await?;
                let (waiting, mut standing) = answer.await.map_err(|_| GONE.to_owned())?;
                if standing.is_some()
                    && let Some(now) = self.standing().await
                {
                    standing = Some(now);
                }
                Ok(Told::NotYet {
                    waiting: waiting as u64,
                    reason: self.why_not(standing),
                    present: None,
                })
            }
        }
    }

    async fn revive(&self) -> Result<Told, Trouble> {
        let (done, heeded) = oneshot::channel();
        self.send(Command::Revive(done)).await?;
        match timeout(REPLY_DEADLINE, heeded).await {
            Ok(Ok(true)) => Ok(Told::Asked),
            Ok(Ok(false)) => Err("most of those that hold the chat's log are here, or nobody \
                 has heard of one: there is nobody to go on without"
                .to_owned()),
            Ok(Err(_)) => Err(self.why_not(None)),
            Err(_) => Err("the tracker did not answer in time".to_owned()),
        }
    }

    /// How it stands by the tracker itself, if it answers soon.
    async fn standing(&self) -> Option<Standing> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Ask(Question::Standing, done)).await.ok()?;
        match timeout(LEAVE_PATIENCE, answer).await {
            Ok(Ok(Answer::Standing(standing))) => Some(standing),
            _ => None,
        }
    }

    /// A question about a room.
    async fn question_of(&self, room: &RoomName, question: Question) -> Result<Answer, Trouble> {
        match self.question(question).await? {
            Answer::Refused(reason) => Err(self.refusal(reason, Some(room))),
            answer => Ok(answer),
        }
    }

    async fn question(&self, question: Question) -> Result<Answer, Trouble> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Ask(question, done)).await?;
        match timeout(REPLY_DEADLINE, answer).await {
            Ok(Ok(Answer::Waits(standing))) => Err(self.why_not(Some(standing))),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.why_not(None)),
            Err(_) => Err("the tracker did not answer in time".to_owned()),
        }
    }

    fn accepted(&self, line: Line) -> Result<Line, Trouble> {
        match line.refused {
            Some(reason) => Err(self.refusal(reason, line.room.as_ref())),
            None => Ok(line),
        }
    }

    /// Why something is refused. Of whoever was taken out of the present room, or never
    /// came in, nothing else names it, and it has to be told the way out.
    fn refusal(&self, reason: Reason, room: Option<&RoomName>) -> Trouble {
        match (reason, room) {
            (Reason::NotInRoom | Reason::NoRoom, Some(room)) if *room == self.present() => {
                format!("`{room}`: {reason}; `join lobby` goes back to the lobby")
            }
            (Reason::NotInRoom | Reason::NoRoom, Some(room)) => format!("`{room}`: {reason}"),
            _ => reason.to_string(),
        }
    }

    fn why_not(&self, standing: Option<Standing>) -> Trouble {
        let has_tracker =
            self.membership.link() != Link::None || self.membership.tracker_at().borrow().is_some();
        if standing.is_none() && !has_tracker {
            return NO_TRACKER.to_owned();
        }
        why_not(standing)
    }

    async fn send(&self, command: Command) -> Result<(), Trouble> {
        self.to_task.send(command).await.map_err(|_| GONE.to_owned())
    }

    /// Who is called so: of those in the room, then of those in the network, then of
    /// those that the chat's log knows, who may be away.
    async fn person(&self, called: &str, room: Option<&RoomName>) -> Result<Person, Trouble> {
        let us = self.membership.us();
        let mut peers = self.membership.peers().into_iter().chain(us);
        let listed = peers.find(|peer| peer.name.as_str() == called);
        let listed = listed.map(|peer| Person { id: peer.id, name: peer.name });
        if let Some(room) = room
            && let Ok(Answer::Who(who)) = self.question(Question::Who { room: room.clone() }).await
            && let Some(found) = among(who, called, listed.as_ref())?
        {
            return Ok(found);
        }
        let name: NodeName = called.parse().map_err(|error| format!("{error}"))?;
        if let Some(listed) = listed {
            return Ok(listed);
        }
        self.known(called, room).await.ok_or_else(|| {
            format!(
                "there is no node `{name}` in the network, nor in what is kept of the chat; \
                 `peers` lists those that are here"
            )
        })
    }

    /// Who is called so of those that are banned from the room, or that the log knows.
    async fn known(&self, called: &str, room: Option<&RoomName>) -> Option<Person> {
        let question = Question::Person { room: room.cloned(), name: called.to_owned() };
        match self.question(question).await {
            Ok(Answer::Person(person)) => person,
            _ => None,
        }
    }
}

/// Who of those in a room is called so, or has an id that begins so. Of two with one
/// name, which may have it from two trackers, it is the one that `peers` lists by it.
fn among(
    who: Vec<Presence>,
    called: &str,
    listed: Option<&Person>,
) -> Result<Option<Person>, Trouble> {
    let members = || who.iter().map(|one| &one.person);
    let mut found: Vec<_> = members().filter(|one| one.name.as_str() == called).collect();
    if found.is_empty() && called.len() >= SHORTEST_ID {
        found = members().filter(|one| one.id.to_string().starts_with(called)).collect();
    }
    let known = found.iter().find(|one| listed.is_some_and(|listed| listed.id == one.id));
    match (known, &found[..]) {
        (Some(one), _) | (None, [one]) => Ok(Some((*one).clone())),
        (None, []) => Ok(None),
        (None, several) => {
            let ids: Vec<String> =
                several.iter().map(|one| format!("`{}`", one.id.short())).collect();
            Err(format!("several in the room are called so: say {}", ids.join(" or ")))
        }
    }
}

fn text_of(text: String) -> Result<Text, Trouble> {
    Text::try_from(text).map_err(|error| error.to_string())
}

fn room_of(text: &str) -> Result<RoomName, Trouble> {
    text.parse().map_err(|error| format!("{error}"))
}

fn odd(answer: &Answer) -> Trouble {
    format!("the tracker answers what this node does not understand: {answer:?}")
        .chars()
        .take(200)
        .collect()
}

/// What is waited for.
fn why_not(standing: Option<Standing>) -> Trouble {
    match standing {
        None => "the tracker is not reached".to_owned(),
        Some(Standing { council: 0, .. }) => {
            "the tracker looks for those that hold the chat's log".to_owned()
        }
        Some(Standing { writes: true, here, council }) if here > council / 2 => {
            "it takes longer than usual".to_owned()
        }
        Some(Standing { council: 1, here: 1, .. }) => {
            "nobody beside the tracker holds the chat's log yet".to_owned()
        }
        Some(Standing { here, council, .. }) => format!(
            "{here} of the {council} nodes that hold the chat's log are here, and {} are needed",
            council / 2 + 1
        ),
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
