//! What can be asked of a node's chat, and what it answers.

use serde::{Deserialize, Serialize};
use shoal_common::chat::words::RoomName;
use shoal_common::protocol::chat::{Presence, RoomInfo};

use super::line::Line;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Say this in the present room. Answered with [`Told::Line`] when it is
    /// accepted.
    Say {
        /// What.
        text: String,
    },
    /// Say this to one other. Answered likewise.
    Msg {
        /// To whom.
        name: String,
        /// What.
        text: String,
    },
    /// Come into a room, which is the present one then.
    Join {
        /// Which.
        room: String,
    },
    /// Leave the present room, or another.
    Leave {
        /// Which.
        room: Option<String>,
    },
    /// Which rooms are there? Answered with [`Told::Rooms`].
    Rooms,
    /// Who is in the present room, or another? Answered with [`Told::Who`].
    Who {
        /// Which.
        room: Option<String>,
    },
    /// What was said last in the present room? Answered with [`Told::History`].
    History {
        /// How many lines.
        lines: Option<u64>,
    },
    /// Say what the present room is about.
    Topic {
        /// The topic; none if empty.
        text: String,
    },
    /// Close the present room to those that are not invited, or open it.
    Private {
        /// Whether it is closed.
        on: bool,
    },
    /// Let somebody into the present room.
    Invite {
        /// Whom.
        name: String,
    },
    /// Take somebody out of the present room.
    Kick {
        /// Whom.
        name: String,
    },
    /// Take somebody out of the present room and keep them out, or forgive.
    Ban {
        /// Whom.
        name: String,
        /// Whether it holds from now on.
        on: bool,
    },
    /// Go on without those that held the log and are gone. Answered with
    /// [`Told::Asked`].
    Revive,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It is accepted: the line that everyone has.
    Line(Line),
    /// It is not accepted yet; the node goes on trying.
    NotYet {
        /// How many of its messages wait.
        waiting: u64,
        /// What it waits for; a phrase.
        reason: String,
        /// Where `say` goes from now on, if it is about that.
        present: Option<RoomName>,
    },
    /// The rooms.
    Rooms {
        /// The lobby first.
        rooms: Vec<RoomInfo>,
        /// Where `say` goes.
        present: RoomName,
    },
    /// Who is in a room.
    Who {
        /// Which.
        room: RoomName,
        /// By name.
        who: Vec<Presence>,
    },
    /// What was said in a room.
    History {
        /// Which.
        room: RoomName,
        /// The oldest first.
        lines: Vec<Line>,
    },
    /// Where `say` goes from now on.
    Present {
        /// Which.
        room: RoomName,
    },
    /// It will be so, unless those that are away come soon.
    Asked,
}
