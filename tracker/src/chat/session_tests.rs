use std::future::poll_fn;
use std::sync::Arc;

use shoal_common::chat::entry::{Act, Ballot, ReplicaId};
use shoal_common::chat::words::RoomName;
use shoal_common::party::Party;
use shoal_common::protocol::chat::{Attachment, Summary};
use shoal_common::task::Tasks;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::*;
use crate::chat::hall::{MAX_SUBMITTED, Names};
use crate::chat::proposer::Settings;

fn start(names: Names) -> (Chat, Tasks) {
    let tasks = Tasks::new(Handle::current());
    let us = Party::new("test", NodeId::random());
    (Chat::start(&us, 1, Settings::default(), names, &tasks), tasks)
}

/// A session, and the far end of its connection.
async fn session_of(chat: &Chat) -> (Session, Connection<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    let (far, connection) = (Connection::new(far), Connection::new(near));
    let session = Session {
        chat: chat.clone(),
        node: NodeId::random(),
        number: 1,
        connection,
        knows: None,
        log: None,
        told: 0,
        said: 0,
        submitted: VecDeque::new(),
        leaving: false,
        beat_due: Instant::now(),
        heard_at: Instant::now(),
    };
    (session, far)
}

fn submit(session: &Session, number: u64) -> ToChat {
    let act = Act::Join { room: RoomName::lobby() };
    let event = Event { author: session.node, number, name: "a".parse().unwrap(), act };
    ToChat::Submit { previous: number - 1, event }
}

#[tokio::test]
async fn who_is_not_registered_takes_no_room() {
    let (chat, _tasks) = start(Arc::new(|_| None));
    let (mut session, _far) = session_of(&chat).await;
    session.hear(submit(&session, 1)).unwrap();
    session.submit();
    assert_eq!(session.weight(), 0);
    assert!(chat.reserve(MAX_SUBMITTED), "all is free");
}

#[tokio::test]
async fn where_others_leave_no_room_nobody_is_hung_up() {
    let (chat, _tasks) = start(Arc::new(|_| "a".parse().ok()));
    let (mut session, _far) = session_of(&chat).await;
    assert!(chat.reserve(MAX_SUBMITTED));
    assert_eq!(session.hear(submit(&session, 1)).unwrap(), None);
    assert_eq!(session.weight(), 0);
    chat.release(MAX_SUBMITTED);
    // It is sent again.
    assert_eq!(session.hear(submit(&session, 1)).unwrap(), None);
    assert_eq!(session.submitted.len(), 1);
}

#[tokio::test]
async fn while_much_waits_to_be_sent_no_more_is_asked_for() {
    let (chat, _tasks) = start(Arc::new(|_| None));
    let (mut session, mut far) = session_of(&chat).await;
    far.send(&ToChat::Beat, MAX_REQUEST_FRAME).await.unwrap();
    poll_fn(|context| session.connection.poll_begun(context)).await.unwrap();
    assert!(session.hears_more(MAX_REQUEST_FRAME));
    let answer = FromChat::Closing { reason: "x".repeat(QUEUE) };
    session.connection.queue(&answer, MAX_CHAT_FRAME).unwrap();
    assert!(!session.hears_more(MAX_REQUEST_FRAME));
    let (sent, read) =
        tokio::join!(session.flush(), far.receive::<FromChat>(MAX_CHAT_FRAME, HELLO_DEADLINE));
    assert_eq!((sent.is_ok(), read.unwrap()), (true, answer));
    assert!(session.hears_more(MAX_REQUEST_FRAME));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_gone_whatever_else_happens() {
    let (chat, _tasks) = start(Arc::new(|_| None));
    let (mut session, _far) = session_of(&chat).await;
    let replica = ReplicaId { node: session.node, incarnation: 1 };
    let (log, last, council) = (None, Ballot::NONE, Vec::new());
    let summary = Summary { replica, log, last, end: 0, committed: 0, council };
    let (number, alone) = chat.attach(Attachment { summary, knows: None, after: 0 });
    session.number = number;
    let began = Instant::now();
    let (ring, mut rung) = watch::channel(());
    let talk = session.talk(&mut rung, &alone);
    let rings = async {
        // The clock is paused: this takes no time, and no longer than the session lets it.
        for _ in 0..100 {
            tokio::time::sleep(CHAT_BEAT / 5).await;
            ring.send_replace(());
        }
    };
    let outcome = tokio::select! {
        outcome = talk => outcome,
        () = rings => panic!("it is waited for without end"),
    };
    assert!(matches!(outcome, Err(ConnectionError::Silent(_))), "{outcome:?}");
    assert!((3 * CHAT_BEAT..4 * CHAT_BEAT).contains(&began.elapsed()));
}
