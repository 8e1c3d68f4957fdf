//! The rooms that a log builds. Pure: the same entries build the same rooms
//! everywhere, so every tracker decides alike what an act may do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chat::entry::{Act, Event, Person, Position, Reason};
use crate::chat::words::{RoomName, Topic};
use crate::ident::{NodeId, NodeName};
use crate::limits::{MAX_AUTHORS, MAX_ROOM_MEMBERS, MAX_ROOMS, MAX_ROOMS_OF_ONE};

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was there before: nothing.
    Double,
    /// It has no effect.
    Refused(Reason),
    /// It has its effect.
    Done,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name it had last.
    pub name: NodeName,
    /// Since which entry it is in the room.
    pub since: Position,
}

/// Who is in a room. Shared, because what was sent to a room is kept together
/// with those it is for.
pub type Members = Arc<BTreeMap<NodeId, Member>>;

/// A room but for the lobby.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Who rules it.
    pub creator: NodeId,
    /// What it is about.
    pub topic: Topic,
    /// Whether only invited ones come in.
    pub private: bool,
    members: BTreeMap<NodeId, Member>,
    #[serde(skip)]
    shared: Option<Members>,
    invited: BTreeSet<NodeId>,
    banned: BTreeMap<NodeId, NodeName>,
}

impl Room {
    /// Who is in it.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Who is in it, to be kept; the same until somebody comes or goes.
    pub fn shared_members(&mut self) -> Members {
        Arc::clone(self.shared.get_or_insert_with(|| Arc::new(self.members.clone())))
    }

    /// Whether somebody is invited.
    pub fn is_invited(&self, id: NodeId) -> bool {
        self.invited.contains(&id)
    }

    /// Who is banned, by the names that they had then.
    pub fn banned(&self) -> &BTreeMap<NodeId, NodeName> {
        &self.banned
    }

    fn remove(&mut self, id: NodeId) {
        self.members.remove(&id);
        self.shared = None;
    }

    /// Who came first of those that are there.
    fn eldest(&self) -> Option<NodeId> {
        self.members.iter().min_by_key(|(id, member)| (member.since, **id)).map(|(id, _)| *id)
    }
}

/// What is known of an author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Author {
    /// Number of its last event.
    last: u64,
    /// Where that stands.
    at: Position,
    /// How many rooms it is in.
    rooms: usize,
}

/// All rooms after some entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rooms {
    rooms: BTreeMap<RoomName, Room>,
    authors: BTreeMap<NodeId, Author>,
}

impl Rooms {
    /// All but the lobby, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&RoomName, &Room)> {
        self.rooms.iter()
    }

    /// A room but the lobby.
    pub fn get(&self, name: &RoomName) -> Option<&Room> {
        self.rooms.get(name)
    }

    /// Who is in a room, to be kept. `None`: it is the lobby, or there is none.
    pub fn shared_members(&mut self, name: &RoomName) -> Option<Members> {
        self.rooms.get_mut(name).map(Room::shared_members)
    }

    /// Number of the last event of an author; 0 if none is known.
    pub fn last_of(&self, author: NodeId) -> u64 {
        self.authors.get(&author).map_or(0, |author| author.last)
    }

    /// Since which entry somebody is in a room; since 0 in the lobby.
    pub fn member_since(&self, room: &RoomName, id: NodeId) -> Option<Position> {
        if room.is_lobby() {
            return Some(0);
        }
        self.rooms.get(room)?.members.get(&id).map(|member| member.since)
    }

    /// The next committed event, at `position`.
    pub fn apply(&mut self, position: Position, event: &Event) -> Outcome {
        if event.number <= self.last_of(event.author) {
            return Outcome::Double;
        }
        self.remember(position, event);
        match self.act(position, event) {
            Ok(()) => Outcome::Done,
            Err(reason) => Outcome::Refused(reason),
        }
    }

    /// What counts is that an event was there, even one without effect. Of
    /// more authors than [`MAX_AUTHORS`], the one in no room that was silent for
    /// longest is forgotten.
    fn remember(&mut self, position: Position, event: &Event) {
        let rooms = self.authors.get(&event.author).map_or(0, |author| author.rooms);
        let author = Author { last: event.number, at: position, rooms };
        self.authors.insert(event.author, author);
        if self.authors.len() > MAX_AUTHORS {
            let idle = self.authors.iter().filter(|(_, author)| author.rooms == 0);
            let oldest = idle.min_by_key(|(_, author)| author.at).map(|(id, _)| *id);
            oldest.map(|id| self.authors.remove(&id));
        }
    }

    fn act(&mut self, position: Position, event: &Event) -> Result<(), Reason> {
        let Event { author, name, act, .. } = event;
        let by = *author;
        match act {
            Act::Tell { to, .. } => {
                if to.id == by {
                    Err(Reason::Yourself)
                } else {
                    Ok(())
                }
            }
            Act::Say { room, .. } if room.is_lobby() => Ok(()),
            Act::Join { room } if room.is_lobby() => Ok(()),
            _ if act.room().is_some_and(RoomName::is_lobby) => Err(Reason::Lobby),
            Act::Join { room } => self.join(position, room, by, name),
            Act::Say { room, .. } => self.in_room(room, by, name).map(drop),
            Act::Leave { room } => {
                self.in_room(room, by, name)?;
                self.leave(room, by);
                Ok(())
            }
            Act::Topic { room, topic } => {
                self.ruled(room, by, name)?.topic = topic.clone();
                Ok(())
            }
            Act::Private { room, on } => {
                self.ruled(room, by, name)?.private = *on;
                Ok(())
            }
            Act::Invite { room, who } => self.invite(room, by, name, who),
            Act::Kick { room, who } => self.kick(room, by, name, who),
            Act::Ban { room, who, on } => self.ban(room, by, name, who, *on),
        }
    }

    fn join(
        &mut self,
        position: Position,
        name: &RoomName,
        by: NodeId,
        called: &NodeName,
    ) -> Result<(), Reason> {
        let is_in = self.authors.get(&by).map_or(0, |author| author.rooms);
        let member = Member { name: called.clone(), since: position };
        let is_crowded = self.rooms.len() >= MAX_ROOMS;
        match self.rooms.get_mut(name) {
            Some(room) if room.members.contains_key(&by) => return Err(Reason::InRoom),
            Some(room) if room.banned.contains_key(&by) => return Err(Reason::Banned),
            Some(room) if room.private && room.creator != by && !room.invited.contains(&by) => {
                return Err(Reason::NotInvited);
            }
            Some(room) if room.members.len() >= MAX_ROOM_MEMBERS => return Err(Reason::Full),
            None if is_crowded => return Err(Reason::TooManyRooms),
            _ if is_in >= MAX_ROOMS_OF_ONE => return Err(Reason::InTooManyRooms),
            Some(room) => {
                room.members.insert(by, member);
                room.shared = None;
            }
            None => {
                let room = Room {
                    creator: by,
                    topic: Topic::default(),
                    private: false,
                    members: BTreeMap::from([(by, member)]),
                    shared: None,
                    invited: BTreeSet::new(),
                    banned: BTreeMap::new(),
                };
                self.rooms.insert(name.clone(), room);
            }
        }
        if let Some(author) = self.authors.get_mut(&by) {
            author.rooms += 1;
        }
        Ok(())
    }

    /// Takes a member out. A room without members is gone; one that its creator
    /// leaves is ruled by who came next.
    fn leave(&mut self, name: &RoomName, id: NodeId) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.remove(id);
        match room.eldest() {
            None => drop(self.rooms.remove(name)),
            Some(eldest) if room.creator == id => room.creator = eldest,
            Some(_) => {}
        }
        if let Some(author) = self.authors.get_mut(&id) {
            author.rooms = author.rooms.saturating_sub(1);
        }
    }

    fn invite(
        &mut self,
        room: &RoomName,
        by: NodeId,
        name: &NodeName,
        who: &Person,
    ) -> Result<(), Reason> {
        let room = self.ruled(room, by, name)?;
        if who.id == by {
            return Err(Reason::Yourself);
        }
        if room.invited.len() >= MAX_ROOM_MEMBERS && !room.invited.contains(&who.id) {
            return Err(Reason::ListFull);
        }
        room.banned.remove(&who.id);
        room.invited.insert(who.id);
        Ok(())
    }

    fn kick(
        &mut self,
        name: &RoomName,
        by: NodeId,
        called: &NodeName,
        who: &Person,
    ) -> Result<(), Reason> {
        let room = self.ruled(name, by, called)?;
        if who.id == by {
            return Err(Reason::Yourself);
        }
        if !room.members.contains_key(&who.id) {
            return Err(Reason::TheyAreNotInRoom);
        }
        room.invited.remove(&who.id);
        self.leave(name, who.id);
        Ok(())
    }

    fn ban(
        &mut self,
        name: &RoomName,
        by: NodeId,
        called: &NodeName,
        who: &Person,
        on: bool,
    ) -> Result<(), Reason> {
        let room = self.ruled(name, by, called)?;
        if who.id == by {
            return Err(Reason::Yourself);
        }
        if !on {
            return room.banned.remove(&who.id).map(drop).ok_or(Reason::TheyAreNotBanned);
        }
        if room.banned.len() >= MAX_ROOM_MEMBERS && !room.banned.contains_key(&who.id) {
            return Err(Reason::ListFull);
        }
        room.invited.remove(&who.id);
        room.banned.insert(who.id, who.name.clone());
        if room.members.contains_key(&who.id) {
            self.leave(name, who.id);
        }
        Ok(())
    }

    /// The room that somebody is in. Takes down the name they have now.
    fn in_room(
        &mut self,
        name: &RoomName,
        by: NodeId,
        called: &NodeName,
    ) -> Result<&mut Room, Reason> {
        let room = self.rooms.get_mut(name).ok_or(Reason::NoRoom)?;
        let member = room.members.get_mut(&by).ok_or(Reason::NotInRoom)?;
        if member.name != *called {
            member.name = called.clone();
        }
        Ok(room)
    }

    /// The room that somebody rules.
    fn ruled(
        &mut self,
        name: &RoomName,
        by: NodeId,
        called: &NodeName,
    ) -> Result<&mut Room, Reason> {
        let room = self.in_room(name, by, called)?;
        if room.creator == by { Ok(room) } else { Err(Reason::NotCreator) }
    }
}

#[cfg(test)]
#[path = "rooms_tests.rs"]
mod tests;
