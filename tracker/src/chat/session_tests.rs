use std::future::poll_fn;
use std::sync::Arc;

use shoal_common::party::Party;
use shoal_common::task::Tasks;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::*;
use crate::chat::proposer::Settings;

#[tokio::test]
async fn while_much_waits_to_be_sent_no_more_is_asked_for() {
    let tasks = Tasks::new(Handle::current());
    let us = Party::new("test", NodeId::random());
    let chat = Chat::start(&us, 1, Settings::default(), Arc::new(|_| None), &tasks);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    let (mut far, connection) = (Connection::new(far), Connection::new(near));
    let mut session = Session {
        chat: &chat,
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
    };
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
