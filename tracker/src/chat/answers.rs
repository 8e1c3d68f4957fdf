//! What is asked about the rooms. Pure.

use std::collections::BTreeMap;

use shoal_common::chat::entry::{Person, Reason};
use shoal_common::chat::rooms::{Outcome, Room, Rooms};
use shoal_common::chat::words::{RoomName, Topic};
use shoal_common::ident::{NodeId, NodeName};
use shoal_common::limits::{MAX_HISTORY, SHORTEST_ID};
use shoal_common::protocol::chat::{Answer, Presence, Question, RoomInfo};

use super::book::Book;
use super::feed::post;
use super::proposer::Proposer;

/// Nodes that hear what is said, by id.
pub(super) type Here = BTreeMap<NodeId, NodeName>;

/// The answer to a question of `by`.
pub(super) fn answer(question: &Question, by: NodeId, proposer: &Proposer, here: &Here) -> Answer {
    let standing = proposer.standing();
    let book = proposer.book().filter(|_| proposer.is_in_office());
    match (question, book) {
        (Question::Standing, _) => Answer::Standing(standing),
        (_, None) => Answer::Waits(standing),
        (Question::Rooms, Some(book)) => Answer::Rooms(all(&book.state().rooms, by, here)),
        (Question::Who { room }, Some(book)) => who(&book.state().rooms, room, by, here),
        (Question::History { room, lines }, Some(book)) => history(book, room, by, *lines),
        (Question::Person { room, name }, Some(book)) => {
            let rooms = &book.state().rooms;
            let banned = room.as_ref().and_then(|room| banned(rooms, room, name, by));
            let called = || book.called(&name.parse().ok()?, by);
            Answer::Person(banned.or_else(called))
        }
    }
}

/// One that is banned from a room and was called so, or has an id that begins so, for
/// those who are in it.
fn banned(rooms: &Rooms, room: &RoomName, called: &str, by: NodeId) -> Option<Person> {
    let room = rooms.get(room).filter(|room| room.members().contains_key(&by))?;
    let by_name = room.banned().iter().find(|(_, name)| name.as_str() == called);
    let is_id = called.len() >= SHORTEST_ID;
    let mut ids = room.banned().iter().filter(|_| is_id);
    let (id, name) = by_name.or_else(|| ids.find(|(id, _)| id.to_string().starts_with(called)))?;
    Some(Person { id: *id, name: name.clone() })
}

fn all(rooms: &Rooms, by: NodeId, here: &Here) -> Vec<RoomInfo> {
    let lobby = RoomInfo {
        name: RoomName::lobby(),
        topic: Topic::default(),
        private: false,
        creator: None,
        members: here.len() as u64,
        joined: true,
    };
    let others = rooms.iter().filter(|(_, room)| is_seen(room, by)).map(|(name, room)| RoomInfo {
        name: name.clone(),
        topic: room.topic.clone(),
        private: room.private,
        creator: room
            .members()
            .get(&room.creator)
            .map(|creator| Person { id: room.creator, name: creator.name.clone() }),
        members: room.members().len() as u64,
        joined: room.members().contains_key(&by),
    });
    std::iter::once(lobby).chain(others).collect()
}

/// Private rooms are seen by those who are in them, and those who may be.
fn is_seen(room: &Room, by: NodeId) -> bool {
    !room.private || room.members().contains_key(&by) || room.is_invited(by)
}

fn who(rooms: &Rooms, name: &RoomName, by: NodeId, here: &Here) -> Answer {
    let mut who: Vec<Presence> = if name.is_lobby() {
        here.iter()
            .map(|(id, name)| Presence {
                person: Person { id: *id, name: name.clone() },
                here: true,
                creator: false,
            })
            .collect()
    } else {
        let Some(room) = rooms.get(name).filter(|room| is_seen(room, by)) else {
            return Answer::Refused(Reason::NoRoom);
        };
        let members = room.members().iter();
        members
            .map(|(id, member)| Presence {
                person: Person { id: *id, name: here.get(id).unwrap_or(&member.name).clone() },
                here: here.contains_key(id),
                creator: room.creator == *id,
            })
            .collect()
    };
    who.sort_by(|a, b| a.person.name.cmp(&b.person.name));
    Answer::Who(who)
}

/// The last lines of a room; of one that is not the lobby, since one is in it.
fn history(book: &Book, room: &RoomName, by: NodeId, lines: u64) -> Answer {
    let rooms = &book.state().rooms;
    let Some(since) = rooms.member_since(room, by) else {
        let reason = if rooms.get(room).is_some_and(|room| is_seen(room, by)) {
            Reason::NotInRoom
        } else {
            Reason::NoRoom
        };
        return Answer::Refused(reason);
    };
    let most = usize::try_from(lines.min(MAX_HISTORY)).unwrap_or(usize::MAX);
    let past = book.of_room(room).take_while(|(position, ..)| *position >= since).take(most);
    let mut posts: Vec<_> =
        past.filter_map(|(position, entry, _)| post(position, entry, Outcome::Done)).collect();
    posts.reverse();
    Answer::History(posts)
}

#[cfg(test)]
mod tests {
    use shoal_common::chat::entry::{Act, Event};

    use super::*;

    #[test]
    fn who_is_banned_is_found_by_name_and_by_the_beginning_of_the_id() {
        let person = |byte: u8, name: &str| Person {
            id: NodeId::from_bytes([byte; 32]),
            name: name.parse().unwrap(),
        };
        let (room, rival): (RoomName, _) = ("pets".parse().unwrap(), person(2, "alice"));
        let mut rooms = Rooms::default();
        let ban = Act::Ban { room: room.clone(), who: rival.clone(), on: true };
        for (number, act) in (1..).zip([Act::Join { room: room.clone() }, ban]) {
            let Person { id: author, name } = person(1, "bob");
            assert_eq!(rooms.apply(number, &Event { author, number, name, act }), Outcome::Done);
        }
        let found = |called: &str, by| banned(&rooms, &room, called, NodeId::from_bytes([by; 32]));
        for called in ["alice", "02020202", "020202020202"] {
            assert_eq!(found(called, 1), Some(rival.clone()), "{called}");
            assert_eq!(found(called, 2), None, "it is nobody else's to know");
        }
        for called in ["bob", "0202020", "03030303", ""] {
            assert_eq!(found(called, 1), None, "{called}");
        }
    }
}
