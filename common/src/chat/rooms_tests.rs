use super::*;
use crate::chat::words::Text;

/// Somebody with a number.
fn person(number: u8) -> Person {
    let name = format!("node{number}").parse().unwrap();
    Person { id: NodeId::from_bytes([number; 32]), name }
}

fn room(name: &str) -> RoomName {
    name.parse().unwrap()
}

/// Rooms to which things are done.
#[derive(Default)]
struct World {
    rooms: Rooms,
    position: Position,
}

impl World {
    fn act(&mut self, by: u8, act: Act) -> Outcome {
        let Person { id, name } = person(by);
        let number = self.rooms.last_of(id) + 1;
        self.position += 1;
        self.rooms.apply(self.position, &Event { author: id, number, name, act })
    }

    fn join(&mut self, by: u8, name: &str) -> Outcome {
        self.act(by, Act::Join { room: room(name) })
    }

    fn say(&mut self, by: u8, name: &str) -> Outcome {
        let text = Text::try_from("hello".to_owned()).unwrap();
        self.act(by, Act::Say { room: room(name), text })
    }
}

fn refused(reason: Reason) -> Outcome {
    Outcome::Refused(reason)
}

#[test]
fn everyone_is_in_the_lobby_and_nobody_rules_it() {
    let mut world = World::default();
    assert_eq!(world.say(1, "lobby"), Outcome::Done);
    assert_eq!(world.join(1, "lobby"), Outcome::Done);
    let lobby = RoomName::lobby();
    assert_eq!(world.act(1, Act::Leave { room: lobby.clone() }), refused(Reason::Lobby));
    let kick = Act::Kick { room: lobby, who: person(2) };
    assert_eq!(world.act(1, kick), refused(Reason::Lobby));
    assert_eq!(world.rooms.iter().count(), 0);
}

#[test]
fn who_comes_first_rules_and_passes_it_on_by_leaving() {
    let mut world = World::default();
    assert_eq!(world.say(1, "pets"), refused(Reason::NoRoom));
    assert_eq!(world.join(1, "pets"), Outcome::Done);
    assert_eq!(world.join(1, "pets"), refused(Reason::InRoom));
    assert_eq!(world.say(2, "pets"), refused(Reason::NotInRoom));
    assert_eq!(world.join(2, "pets"), Outcome::Done);
    assert_eq!(world.join(3, "pets"), Outcome::Done);
    let kick = |who| Act::Kick { room: room("pets"), who: person(who) };
    assert_eq!(world.act(2, kick(3)), refused(Reason::NotCreator));
    assert_eq!(world.act(1, kick(1)), refused(Reason::Yourself));
    assert_eq!(world.act(1, kick(3)), Outcome::Done);
    assert_eq!(world.act(1, kick(3)), refused(Reason::TheyAreNotInRoom));
    assert_eq!(world.join(3, "pets"), Outcome::Done, "a kick does not keep out");
    assert_eq!(world.act(1, Act::Leave { room: room("pets") }), Outcome::Done);
    assert_eq!(world.act(2, kick(3)), Outcome::Done, "the next eldest rules");
    assert_eq!(world.act(2, Act::Leave { room: room("pets") }), Outcome::Done);
    assert_eq!(world.rooms.get(&room("pets")), None, "an empty room is gone");
}

#[test]
fn bans_and_invitations_decide_who_comes_in() {
    let mut world = World::default();
    world.join(1, "pets");
    world.join(2, "pets");
    let ban = |on| Act::Ban { room: room("pets"), who: person(2), on };
    assert_eq!(world.act(1, ban(true)), Outcome::Done);
    assert_eq!(world.say(2, "pets"), refused(Reason::NotInRoom));
    assert_eq!(world.join(2, "pets"), refused(Reason::Banned));
    assert_eq!(world.act(1, ban(false)), Outcome::Done);
    assert_eq!(world.act(1, ban(false)), refused(Reason::TheyAreNotBanned));
    assert_eq!(world.join(2, "pets"), Outcome::Done);

    assert_eq!(world.act(1, Act::Private { room: room("pets"), on: true }), Outcome::Done);
    assert_eq!(world.join(3, "pets"), refused(Reason::NotInvited));
    let invite = Act::Invite { room: room("pets"), who: person(3) };
    assert_eq!(world.act(2, invite.clone()), refused(Reason::NotCreator));
    assert_eq!(world.act(1, invite), Outcome::Done);
    assert_eq!(world.join(3, "pets"), Outcome::Done);
    assert_eq!(world.act(1, Act::Kick { room: room("pets"), who: person(3) }), Outcome::Done);
    assert_eq!(world.join(3, "pets"), refused(Reason::NotInvited), "the invitation is used up");
}

#[test]
fn bounds_are_refused_with_a_reason() {
    let mut world = World::default();
    for number in 0..MAX_ROOMS_OF_ONE {
        assert_eq!(world.join(1, &format!("room{number}")), Outcome::Done);
    }
    assert_eq!(world.join(1, "more"), refused(Reason::InTooManyRooms));
    world.act(1, Act::Leave { room: room("room0") });
    assert_eq!(world.join(1, "more"), Outcome::Done);

    let mut world = World::default();
    for number in 0..MAX_ROOMS {
        let by = u8::try_from(number / MAX_ROOMS_OF_ONE + 1).unwrap();
        assert_eq!(world.join(by, &format!("room{number}")), Outcome::Done);
    }
    assert_eq!(world.join(100, "more"), refused(Reason::TooManyRooms));

    let mut world = World::default();
    for number in 0..=MAX_ROOM_MEMBERS {
        let mut id = [7; 32];
        id[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
        let join = Event {
            author: NodeId::from_bytes(id),
            number: 1,
            name: format!("n{number}").parse().unwrap(),
            act: Act::Join { room: room("big") },
        };
        let expected =
            if number < MAX_ROOM_MEMBERS { Outcome::Done } else { refused(Reason::Full) };
        assert_eq!(world.rooms.apply(number as Position + 1, &join), expected);
    }
}

#[test]
fn what_is_sent_twice_counts_once_even_without_effect() {
    let mut rooms = Rooms::default();
    let Person { id, name } = person(1);
    let act = Act::Leave { room: room("pets") };
    let event = |number| Event { author: id, number, name: name.clone(), act: act.clone() };
    assert_eq!(rooms.apply(1, &event(5)), refused(Reason::NoRoom));
    assert_eq!(rooms.apply(2, &event(5)), Outcome::Double);
    assert_eq!(rooms.apply(3, &event(4)), Outcome::Double);
    assert_eq!(rooms.apply(4, &event(6)), refused(Reason::NoRoom));
}

#[test]
fn the_silent_are_forgotten_but_not_while_they_are_in_a_room() {
    let mut rooms = Rooms::default();
    let author = |number: usize| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        NodeId::from_bytes(id)
    };
    for number in 0..MAX_AUTHORS + 2 {
        let room = if number == 0 { room("pets") } else { RoomName::lobby() };
        let event = Event {
            author: author(number),
            number: 1,
            name: "a".parse().unwrap(),
            act: Act::Join { room },
        };
        rooms.apply(number as Position + 1, &event);
    }
    assert_eq!(rooms.last_of(author(0)), 1);
    assert_eq!(rooms.last_of(author(1)), 0);
    assert_eq!(rooms.last_of(author(3)), 1);
}

#[test]
fn names_of_rooms() {
    for good in ["lobby", "a", "2nd-floor", "a.b_c", &"a".repeat(32)] {
        assert!(good.parse::<RoomName>().is_ok(), "{good}");
    }
    for bad in ["", "Lobby", "-a", "a b", "ä", "a\n", &"a".repeat(33)] {
        assert!(bad.parse::<RoomName>().is_err(), "{bad}");
    }
}
