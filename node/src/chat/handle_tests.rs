//! The handle alone, with a task that does as it is told.

use shoal_common::clock::Clock;
use shoal_common::ident::NodeId;

use super::*;

/// A chat whose task answers every act with this refusal, or with nothing.
fn chat(refused: Option<Reason>) -> Chat {
    let (to_task, mut commands) = mpsc::channel(8);
    let membership =
        Membership::new(NodeId::from_bytes([1; 32]), "a".parse().unwrap(), Clock::default());
    let mut held = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "a test has no group of tasks")]
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            match (command, refused) {
                (Command::Act(act, done), Some(_)) => {
                    done.send(Came::Entry(line(&act, refused))).unwrap();
                }
                (Command::Act(_, done), None) => held.push(done),
                (Command::Ask(_, done), Some(reason)) => {
                    done.send(Answer::Refused(reason)).unwrap();
                }
                (Command::Waiting(done), _) => done.send((held.len(), None)).unwrap(),
                _ => {}
            }
        }
    });
    Chat::new(to_task, membership, "pets".parse().unwrap())
}

fn line(act: &Act, refused: Option<Reason>) -> Line {
    let kind = super::super::line::Kind::System;
    let (room, text) = (act.room().cloned(), String::new());
    let (from, to) = (None, None);
    Line { position: 1, lamport: 1, time_ms: 1, kind, room, from, to, text, refused }
}

#[tokio::test(start_paused = true)]
async fn who_asked_to_be_in_a_room_speaks_there_before_that_is_accepted() {
    let chat = chat(None);
    let join = Ask::Join { room: "boat".to_owned() };
    let Told::NotYet { present, reason, .. } = chat.ask(join).await.unwrap() else { panic!() };
    assert!(reason.starts_with("the chat needs a tracker"), "{reason}");
    assert_eq!(present, Some("boat".parse().unwrap()));
    assert_eq!(chat.present().as_str(), "boat");
    let leave = |room: Option<&str>| Ask::Leave { room: room.map(str::to_owned) };
    let told = chat.ask(leave(Some("pets"))).await.unwrap();
    assert!(matches!(told, Told::NotYet { present: None, .. }), "{told:?}");
    assert_eq!(chat.present().as_str(), "boat", "another room was left");
    let told = chat.ask(leave(None)).await.unwrap();
    assert!(matches!(told, Told::NotYet { present: Some(_), .. }), "{told:?}");
    assert!(chat.present().is_lobby());
}

#[tokio::test]
async fn who_is_not_in_the_present_room_is_told_which_it_is_and_can_leave_it() {
    let chat = chat(Some(Reason::NotInRoom));
    let refused = chat.ask(Ask::Say { text: "x".to_owned() }).await.unwrap_err();
    assert!(refused.starts_with("`pets`: you are not in that room"), "{refused}");
    let refused = chat.ask(Ask::History { lines: None }).await.unwrap_err();
    assert!(refused.starts_with("`pets`: you are not in that room"), "{refused}");
    assert_eq!(chat.present().as_str(), "pets", "nothing goes to others unnoticed");
    let other = || Some("boat".to_owned());
    for ask in [Ask::Leave { room: other() }, Ask::Who { room: other() }] {
        let refused = chat.ask(ask).await.unwrap_err();
        assert_eq!(refused, "`boat`: you are not in that room; `join` it first");
    }
    let told = chat.ask(Ask::Leave { room: None }).await.unwrap();
    assert_eq!(told, Told::Present { room: RoomName::lobby() });
    assert!(chat.present().is_lobby());
}

#[tokio::test(start_paused = true)]
async fn the_lobby_is_not_left_though_nobody_is_there_to_refuse_it() {
    let chat = chat(None);
    chat.ask(Ask::Join { room: "lobby".to_owned() }).await.unwrap();
    for room in [None, Some("lobby".to_owned())] {
        let start = tokio::time::Instant::now();
        assert_eq!(chat.ask(Ask::Leave { room }).await.unwrap_err(), Reason::Lobby.to_string());
        assert!(start.elapsed().is_zero(), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_ban_is_lifted_from_who_is_banned_though_another_is_called_so() {
    let person =
        |byte: u8| Person { id: NodeId::from_bytes([byte; 32]), name: "alice".parse().unwrap() };
    let (to_task, mut commands) = mpsc::channel(8);
    let membership =
        Membership::new(NodeId::from_bytes([9; 32]), "a".parse().unwrap(), Clock::default());
    #[expect(clippy::disallowed_methods, reason = "a test has no group of tasks")]
    let acts = tokio::spawn(async move {
        let mut acts = Vec::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Act(act, done) => {
                    done.send(Came::Entry(line(&act, None))).unwrap();
                    acts.push(act);
                }
                Command::Ask(Question::Who { .. }, done) => {
                    let alice = Presence { person: person(1), here: true, creator: false };
                    done.send(Answer::Who(vec![alice])).unwrap();
                }
                Command::Ask(Question::Person { name, .. }, done) => {
                    let banned = ["alice", "02020202"].contains(&&*name).then(|| person(2));
                    done.send(Answer::Person(banned)).unwrap();
                }
                _ => {}
            }
        }
        acts
    });
    let chat = Chat::new(to_task, membership, "pets".parse().unwrap());
    for (name, on) in [("alice", true), ("alice", false), ("02020202", false), ("01010101", false)]
    {
        chat.ask(Ask::Ban { name: name.to_owned(), on }).await.unwrap();
    }
    let refused = chat.ask(Ask::Ban { name: "03030303".to_owned(), on: false }).await.unwrap_err();
    assert!(refused.contains("03030303"), "{refused}");
    drop(chat);
    let bans = acts.await.unwrap().into_iter().map(|act| act.target().unwrap().id);
    assert_eq!(bans.collect::<Vec<_>>(), [1, 2, 2, 1].map(|byte| person(byte).id));
}

#[test]
fn of_two_with_one_name_it_is_the_one_that_is_listed_or_the_id_says_which() {
    let person = |byte: u8, name: &str| Person {
        id: NodeId::from_bytes([byte; 32]),
        name: name.parse().unwrap(),
    };
    let there = [person(1, "alice"), person(2, "alice"), person(3, "bob")];
    let who =
        || there.iter().cloned().map(|person| Presence { person, here: true, creator: false });
    let found = |called: &str, listed: Option<&Person>| among(who().collect(), called, listed);
    assert_eq!(found("bob", None), Ok(Some(there[2].clone())));
    assert_eq!(found("bob", Some(&person(9, "bob"))), Ok(Some(there[2].clone())));
    assert_eq!(found("alice", Some(&there[1])), Ok(Some(there[1].clone())));
    for listed in [None, Some(&person(9, "alice"))] {
        let refused = found("alice", listed).unwrap_err();
        assert!(refused.ends_with("say `01010101` or `02020202`"), "{refused}");
    }
    assert_eq!(found("02020202", None), Ok(Some(there[1].clone())));
    assert_eq!(found("0202020", None), Ok(None), "too short");
    assert_eq!(found("carol", None), Ok(None));
}
