use super::*;
use crate::chat::entry::{Act, Body};
use crate::chat::words::Text;
use crate::limits::{
    COUNCIL, MAX_HISTORY, MAX_NESTING, MAX_NODE_NAME, MAX_REQUEST_FRAME, MAX_ROOM_NAME, MAX_TEXT,
};
use crate::protocol::golden::{golden, parse};

const ID: &str = "c420 0707070707070707 0707070707070707 0707070707070707 0707070707070707";

fn id() -> NodeId {
    NodeId::from_bytes([7; 32])
}

fn ballot() -> Ballot {
    Ballot { round: 2, proposer: id(), instance: 5 }
}

fn event() -> Event {
    let text = Text::try_from("hi".to_owned()).unwrap();
    let act = Act::Say { room: RoomName::lobby(), text };
    Event { author: id(), number: 7, name: "a".parse().unwrap(), act }
}

#[test]
fn what_a_node_says() {
    let summary = Summary {
        replica: ReplicaId { node: id(), incarnation: 1 },
        log: None,
        last: ballot(),
        end: 0,
        committed: 0,
        council: Vec::new(),
    };
    golden(
        &ToChat::Attach(Attachment { summary, knows: None, after: 9 }),
        &format!(
            "84 a4'type a6'attach a7'summary 86 a7'replica 82 a4'node {ID} ab'incarnation 01 \
             a3'log c0 a4'last 83 a5'round 02 a8'proposer {ID} a8'instance 05 a3'end 00 \
             a9'committed 00 a7'council 90 a5'knows c0 a5'after 09"
        ),
    );
    golden(
        &ToChat::Submit { previous: 5, event: event() },
        &format!(
            "83 a4'type a6'submit a8'previous 05 a5'event 84 a6'author {ID} a6'number 07 \
             a4'name a1'a a3'act 81 a3'say 82 a4'room a5'lobby a4'text a2'hi"
        ),
    );
    golden(
        &ToChat::Ask { number: 1, question: Question::Who { room: RoomName::lobby() } },
        "83 a4'type a3'ask a6'number 01 a8'question 81 a3'who 81 a4'room a5'lobby",
    );
    golden(
        &ToChat::Replica { answer: FromReplica::Holds { ballot: ballot(), end: 3 } },
        &format!(
            "82 a4'type a7'replica a6'answer 81 a5'holds 82 a6'ballot 83 a5'round 02 \
             a8'proposer {ID} a8'instance 05 a3'end 03"
        ),
    );
    golden(&ToChat::Leaving, "81 a4'type a7'leaving");
    golden(&ToChat::Beat, "81 a4'type a4'beat");
}

#[test]
fn what_a_tracker_says() {
    let what = Posted::Event { event: event(), refused: Some(Reason::Banned) };
    golden(
        &FromChat::Posts { posts: vec![Post { position: 9, at: 3, time_ms: 42, what }] },
        &format!(
            "82 a4'type a5'posts a5'posts 91 84 a8'position 09 a2'at 03 a7'time_ms 2a a4'what \
             81 a5'event 82 a5'event 84 a6'author {ID} a6'number 07 a4'name a1'a a3'act 81 a3'say \
             82 a4'room a5'lobby a4'text a2'hi a7'refused a6'banned"
        ),
    );
    let entry = Entry { ballot: ballot(), at: 3, time_ms: 42, body: Body::Reign { tracker: id() } };
    let message = ToReplica::Append {
        ballot: ballot(),
        log: LogId { generation: 0, founded_ms: 10, nonce: 11 },
        previous: 4,
        previous_ballot: ballot(),
        entries: vec![Arc::new(entry)],
        committed: 4,
    };
    let bytes = format!("83 a5'round 02 a8'proposer {ID} a8'instance 05");
    golden(
        &FromChat::Replica { message },
        &format!(
            "82 a4'type a7'replica a7'message 81 a6'append 86 a6'ballot {bytes} a3'log 83 \
             aa'generation 00 aa'founded_ms 0a a5'nonce 0b a8'previous 04 af'previous_ballot \
             {bytes} a7'entries 91 84 a6'ballot {bytes} a2'at 03 a7'time_ms 2a a4'body 81 a5'reign \
             81 a7'tracker {ID} a9'committed 04"
        ),
    );
    golden(
        &FromChat::Waits(Standing { writes: false, here: 1, council: 3 }),
        "84 a4'type a5'waits a6'writes c2 a4'here 01 a7'council 03",
    );
    golden(&FromChat::Revival { is_heeded: true }, "82 a4'type a7'revival a9'is_heeded c3");
    golden(&FromChat::UpTo { position: 300 }, "82 a4'type a5'up_to a8'position cd 01 2c");
}

#[test]
fn what_is_not_known_is_no_error_and_what_is_too_long_is_one() {
    let unknown: ToChat = rmp_serde::from_slice(&parse("81 a4'type a6'sneeze")).unwrap();
    assert_eq!(unknown, ToChat::Unknown);
    let mut long = event();
    long.act = Act::Leave { room: RoomName::lobby() };
    let mut bytes = rmp_serde::to_vec_named(&ToChat::Submit { previous: 0, event: long }).unwrap();
    let at = bytes.windows(5).position(|five| five == b"lobby").unwrap();
    bytes[at] = b'L';
    assert!(rmp_serde::from_slice::<ToChat>(&bytes).is_err(), "no name of a room");
    assert!(Text::try_from("a".repeat(MAX_TEXT)).is_ok());
    assert!(Text::try_from("a".repeat(MAX_TEXT + 1)).is_err());
}

/// What a node may say without being asked fits into a request; what it may be
/// told fits into a frame of the chat.
#[test]
fn the_largest_messages_fit() {
    let text = Text::try_from("\u{1}".repeat(MAX_TEXT)).unwrap();
    let name = "n".repeat(MAX_NODE_NAME).parse().unwrap();
    let room: RoomName = "r".repeat(MAX_ROOM_NAME).parse().unwrap();
    let act = Act::Say { room, text };
    let event = Event { author: id(), number: u64::MAX, name, act };
    let submit = ToChat::Submit { previous: u64::MAX, event: event.clone() };
    assert!(rmp_serde::to_vec_named(&submit).unwrap().len() < MAX_REQUEST_FRAME);
    let most = u64::MAX;
    let replica = ReplicaId { node: id(), incarnation: most };
    let ballot = Ballot { round: most, proposer: id(), instance: most };
    let log = LogId { generation: most, founded_ms: most, nonce: most };
    let summary = Summary {
        replica,
        log: Some(log),
        last: ballot,
        end: most,
        committed: most,
        council: vec![replica; COUNCIL],
    };
    let attach = Attachment { summary: summary.clone(), knows: Some(log), after: most };
    let promised = FromReplica::Promised { ballot, summary };
    for said in [ToChat::Attach(attach), ToChat::Replica { answer: promised }] {
        assert!(rmp_serde::to_vec_named(&said).unwrap().len() < MAX_REQUEST_FRAME);
    }
    let what = Posted::Event { event, refused: None };
    let post = Post { position: most, at: most, time_ms: most, what };
    let post = rmp_serde::to_vec_named(&post).unwrap().len();
    assert!(post * usize::try_from(MAX_HISTORY).unwrap() < crate::limits::MAX_CHAT_FRAME);
    // Message, `message`, `install`, base, state, rooms, rooms, room, members, member.
    const { assert!(MAX_NESTING > 10) };
}
