//! An entry of the log as people and programs read it. Pure.

use serde::{Deserialize, Serialize};
use shoal_common::chat::entry::{Act, Event, Position, Reason};
use shoal_common::chat::words::RoomName;
use shoal_common::ident::NodeId;
use shoal_common::protocol::chat::{Post, Posted};

use super::when;

/// Of what kind a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What somebody said.
    User,
    /// What happened in a room.
    System,
    /// What happened to the log.
    Tracker,
}

impl Kind {
    /// As it stands in a transcript.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::System => "SYSTEM",
            Self::Tracker => "TRACKER",
        }
    }
}

/// A line of the chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Place in the log: the same at every node.
    pub position: Position,
    /// Lamport time.
    pub lamport: u64,
    /// Milliseconds since 1970, by the tracker's clock.
    pub time_ms: u64,
    /// Of what kind.
    pub kind: Kind,
    /// In which room; none if it was said to one other, or is about the log.
    pub room: Option<RoomName>,
    /// Who said or did it.
    pub from: Option<String>,
    /// To whom it was said, or done.
    pub to: Option<String>,
    /// What was said, or what happened.
    pub text: String,
    /// Why it had no effect.
    pub refused: Option<Reason>,
}

impl Line {
    /// The line of an entry.
    pub fn of(post: &Post) -> Self {
        let bare = Self {
            position: post.position,
            lamport: post.at,
            time_ms: post.time_ms,
            kind: Kind::Tracker,
            room: None,
            from: None,
            to: None,
            text: String::new(),
            refused: None,
        };
        match &post.what {
            Posted::Reign { tracker } => {
                Self { text: format!("tracker {} writes the log", tracker.short()), ..bare }
            }
            Posted::Event { event, refused } => Self {
                kind: kind_of(&event.act),
                room: event.act.room().cloned(),
                from: Some(event.name.to_string()),
                to: event.act.target().map(|who| who.name.to_string()),
                text: text_of(event),
                refused: *refused,
                ..bare
            },
        }
    }

    /// As it is shown above a prompt. Not harmless yet: whoever shows it escapes
    /// it.
    pub fn shown(&self) -> String {
        let time = when::clock(self.time_ms);
        format!("{time} {}", self.said())
    }

    /// As it stands in a transcript, without its time and place.
    pub fn said(&self) -> String {
        let from = self.from.as_deref().unwrap_or("?");
        match (self.kind, &self.room, &self.to) {
            (Kind::User, Some(room), _) => format!("[{room}] {from}: {}", self.text),
            (Kind::User, None, Some(to)) => format!("[{from} to {to}] {}", self.text),
            (Kind::System, Some(room), _) => format!("[{room}] * {}", self.text),
            _ => format!("* {}", self.text),
        }
    }
}

fn kind_of(act: &Act) -> Kind {
    match act {
        Act::Say { .. } | Act::Tell { .. } => Kind::User,
        _ => Kind::System,
    }
}

fn text_of(event: &Event) -> String {
    let by = &event.name;
    match &event.act {
        Act::Say { text, .. } | Act::Tell { text, .. } => text.as_str().to_owned(),
        Act::Join { .. } => format!("{by} comes in"),
        Act::Leave { .. } => format!("{by} leaves"),
        Act::Topic { topic, .. } if topic.as_str().is_empty() => {
            format!("{by} takes the topic away")
        }
        Act::Topic { topic, .. } => format!("{by} sets the topic: {}", topic.as_str()),
        Act::Private { on: true, .. } => format!("{by} makes the room private"),
        Act::Private { on: false, .. } => format!("{by} opens the room to everyone"),
        Act::Invite { who, .. } => format!("{by} invites {}", who.name),
        Act::Kick { who, .. } => format!("{by} kicks {} out", who.name),
        Act::Ban { who, on: true, .. } => format!("{by} bans {}", who.name),
        Act::Ban { who, on: false, .. } => format!("{by} lifts the ban on {}", who.name),
    }
}

/// Author and number of what an entry says, if it is somebody's.
pub(super) fn author_of(post: &Post) -> Option<(NodeId, u64)> {
    match &post.what {
        Posted::Event { event, .. } => Some((event.author, event.number)),
        Posted::Reign { .. } => None,
    }
}
