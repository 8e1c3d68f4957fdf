//! Answers of the chat, for people and for programs. Pure.

use serde_json::{Value, json};
use shoal_common::chat::words::RoomName;
use shoal_common::protocol::chat::{Presence, RoomInfo};

use crate::chat::line::Line;
use crate::chat::verbs::Told;
use crate::terminal::text::{Look, Side, Table, count, escape};

/// The lines of an answer.
pub(super) fn lines(told: &Told, look: Look) -> Vec<String> {
    match told {
        Told::Line(line) => vec![escape(&line.shown())],
        Told::NotYet { waiting, reason, present } => {
            let others = match waiting {
                0 | 1 => String::new(),
                more => format!(" ({more} messages wait)"),
            };
            let mut lines =
                vec![look.bad(&format!("not yet accepted: {reason}; trying again{others}"))];
            lines.extend(present.as_ref().map(now_in));
            lines
        }
        Told::Rooms { rooms, present } => {
            let mut table = Table::new(&[
                ("", Side::Left),
                ("ROOM", Side::Left),
                ("MEMBERS", Side::Right),
                ("CREATOR", Side::Left),
                ("", Side::Left),
                ("TOPIC", Side::Left),
            ]);
            for room in rooms {
                let mark = if room.name == *present { "*" } else { "" };
                let creator = room.creator.as_ref().map(|one| one.name.to_string());
                table.row([
                    mark.to_owned(),
                    room.name.to_string(),
                    room.members.to_string(),
                    creator.unwrap_or_default(),
                    state_of(room).to_owned(),
                    escape_some(room.topic.as_str()),
                ]);
            }
            table.lines(look)
        }
        Told::Who { room, who } => {
            let mut table = Table::new(&[("NAME", Side::Left), ("", Side::Left), ("", Side::Left)]);
            for Presence { person, here, creator } in who {
                let here = if *here { "here" } else { "away" };
                let creator = if *creator { "creator" } else { "" };
                table.row([person.name.to_string(), here.to_owned(), creator.to_owned()]);
            }
            let mut lines = table.lines(look);
            let members = count(who.len(), "member", "members");
            lines.push(look.dim(&format!("{members} of `{room}`")));
            lines
        }
        Told::History { room, lines } if lines.is_empty() => {
            vec![format!("nothing was said in `{room}` lately")]
        }
        Told::History { lines, .. } => lines.iter().map(|line| escape(&line.shown())).collect(),
        Told::Present { room } => vec![now_in(room)],
        Told::Asked => vec![
            "those that are away are waited for once more, for ten seconds; then the chat goes \
             on without them"
                .to_owned(),
        ],
    }
}

fn now_in(room: &RoomName) -> String {
    format!("`say` goes to `{room}` now")
}

/// A text that may be empty.
fn escape_some(text: &str) -> String {
    if text.is_empty() { String::new() } else { escape(text) }
}

fn state_of(room: &RoomInfo) -> &'static str {
    match (room.private, room.joined) {
        (true, true) => "private, joined",
        (true, false) => "private",
        (false, true) => "joined",
        (false, false) => "",
    }
}

/// The JSON value of an answer.
pub(super) fn value(told: &Told) -> Value {
    match told {
        Told::Line(line) => {
            let mut value = self::line(line);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("accepted".to_owned(), json!(true));
            }
            value
        }
        Told::NotYet { waiting, reason, present } => {
            let mut value = json!({ "accepted": false, "waiting": waiting, "reason": reason });
            if let (Some(room), Some(fields)) = (present, value.as_object_mut()) {
                fields.insert("present".to_owned(), json!(room));
            }
            value
        }
        Told::Rooms { rooms, present } => rooms
            .iter()
            .map(|room| {
                json!({
                    "name": room.name, "topic": room.topic, "private": room.private,
                    "creator": room.creator.as_ref().map(|one| &one.name),
                    "members": room.members, "joined": room.joined,
                    "present": room.name == *present,
                })
            })
            .collect(),
        Told::Who { who, .. } => who
            .iter()
            .map(|one| {
                json!({
                    "name": one.person.name, "id": one.person.id, "here": one.here,
                    "creator": one.creator,
                })
            })
            .collect(),
        Told::History { lines, .. } => lines.iter().map(line).collect(),
        Told::Present { room } => json!({ "present": room }),
        Told::Asked => json!({ "asked": true }),
    }
}

fn line(line: &Line) -> Value {
    json!({
        "position": line.position, "at": line.lamport, "time_ms": line.time_ms,
        "kind": line.kind, "room": line.room, "from": line.from, "to": line.to,
        "text": line.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::line::Kind;

    fn said() -> Line {
        Line {
            position: 7,
            lamport: 9,
            time_ms: 1_764_345_839_250,
            kind: Kind::User,
            room: Some("lobby".parse().unwrap()),
            from: Some("bob".into()),
            to: None,
            text: "a\u{1b}[2Jb".into(),
            refused: None,
        }
    }

    #[test]
    fn lines_from_others_are_harmless() {
        let look = Look::default();
        let shown = "16:03:59 [lobby] bob: a\\u{1b}[2Jb";
        assert_eq!(lines(&Told::Line(said()), look), [shown]);
        let history = Told::History { room: "lobby".parse().unwrap(), lines: vec![said()] };
        assert_eq!(lines(&history, look), [shown]);
    }

    #[test]
    fn what_is_not_accepted_yet_is_said() {
        let reason = "the tracker is not reached";
        let told = |present| Told::NotYet { waiting: 2, reason: reason.to_owned(), present };
        let text = "not yet accepted: the tracker is not reached; trying again (2 messages wait)";
        assert_eq!(lines(&told(None), Look::default()), [text]);
        let pets = told(Some("pets".parse().unwrap()));
        assert_eq!(lines(&pets, Look::default()), [text, "`say` goes to `pets` now"]);
        assert_eq!(value(&told(None))["accepted"], json!(false));
        assert_eq!(value(&told(None)).get("present"), None);
        assert_eq!(value(&pets)["present"], json!("pets"));
    }

    #[test]
    fn programs_get_the_text_as_it_is() {
        let expected = json!({
            "accepted": true, "position": 7, "at": 9, "time_ms": 1_764_345_839_250_u64,
            "kind": "user", "room": "lobby", "from": "bob", "to": null, "text": "a\u{1b}[2Jb",
        });
        assert_eq!(value(&Told::Line(said())), expected);
    }
}
