//! One session on a real socket.

use std::time::Duration;

use shoal_common::call::call;
use shoal_common::ident::NodeId;
use shoal_common::limits::{MAX_LISTS, PAGE, PUSH_PAUSES};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::{Greeting, Talk};
use shoal_common::protocol::tracking::{Change, Leaving, Registration};
use shoal_common::serve::serve;
use shoal_common::task::Tasks;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::*;
use crate::chat::proposer::Settings;
use crate::door::admit;
use crate::registry::{SessionId, Speaker};
use crate::screen::Screen;

fn register(name: &str) -> ToTracker {
    ToTracker::Register(wish(name))
}

fn wish(name: &str) -> Registration {
    Registration {
        name: name.parse().unwrap(),
        exact: true,
        search: "127.0.0.1:4000".parse().unwrap(),
        download: "127.0.0.1:4001".parse().unwrap(),
        reign: None,
        joined: 0,
    }
}

struct World {
    address: std::net::SocketAddr,
    us: Party,
    office: Office,
    tasks: Tasks,
}

async fn world(beat: Duration) -> World {
    // With small buffers, so that who does not read is soon waited for.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(10).unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new(Handle::current());
    let us = Party::new("test", NodeId::random());
    let chat = Settings::default();
    let office = Office::home(us.clone(), address, beat, Screen::none(), chat);
    let sessions = office.clone();
    let handle = move |guest| {
        let session = admit(guest, sessions.clone());
        // There are thousands of them: what is rare belongs in a box.
        assert!(size_of_val(&session) <= 1024, "{}", size_of_val(&session));
        session
    };
    tasks.spawn(
        tracing::Span::none(),
        serve(listener, us.clone(), &[Talk::Tracking], 10, tasks.clone(), handle),
    );
    World { address, us, office, tasks }
}

#[tokio::test]
async fn where_there_is_no_room_for_a_page_it_is_put_off_and_short_answers_are_not() {
    let World { address, us, office, tasks } = world(Duration::from_secs(60)).await;
    let hub = office.hub();
    let room: Vec<_> = (0..MAX_LISTS).map(|_| hub.room().unwrap()).collect();
    assert!(hub.room().is_none());
    let (mut node, _) = call(address, &us, Talk::Tracking).await.unwrap();
    let ask = ToTracker::Page { after: None };
    for early in [&ToTracker::Exit, &ask] {
        let answer: FromTracker = node.ask(early, MAX_TRACKER_FRAME).await.unwrap();
        assert_eq!(answer, refused(Refusal::NotAllowed));
    }
    let answer: FromTracker = node.ask(&register("one"), MAX_TRACKER_FRAME).await.unwrap();
    assert!(matches!(answer, FromTracker::Registered(_)), "{answer:?}");

    let answer: FromTracker = node.ask(&ask, MAX_TRACKER_FRAME).await.unwrap();
    assert!(matches!(answer, FromTracker::Page(page) if page.is_later()));
    drop(room);
    tokio::time::sleep(PUSH_PAUSES.0).await;
    let answer: FromTracker = node.ask(&ask, MAX_TRACKER_FRAME).await.unwrap();
    assert!(matches!(answer, FromTracker::Page(page) if page.peers.len() == 1));
    assert_eq!(tasks.stop(Duration::from_secs(5)).await, Ok(()));
}

#[tokio::test]
async fn who_leaves_while_the_tracker_is_mute_does_not_wait_for_it() {
    const BEAT: Duration = Duration::from_millis(500);
    let World { address, us, office, tasks } = world(BEAT).await;
    tasks.spawn(tracing::Span::none(), office.clone().run(tasks.clone()));
    let (mut node, _) = call(address, &us, Talk::Tracking).await.unwrap();
    // Who is asked there gets no answer.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wish = Registration { search: deaf.local_addr().unwrap(), ..wish("one") };
    node.send(&ToTracker::Register(wish), MAX_REQUEST_FRAME).await.unwrap();
    loop {
        // Until it is the council.
        match node.receive(MAX_TRACKER_FRAME, HELLO_DEADLINE).await.unwrap() {
            FromTracker::Reigns(charter) if !charter.council.is_empty() => break,
            _ => {}
        }
    }
    node.send(&ToTracker::Exit, MAX_REQUEST_FRAME).await.unwrap();
    // The tracker stands still, as everything does here.
    std::thread::sleep(BEAT + BEAT / 5);
    assert_eq!(office.gate(None), Gate::Mute);
    let end = loop {
        match node.receive::<FromTracker>(MAX_TRACKER_FRAME, HELLO_DEADLINE).await {
            Ok(answer) => assert_ne!(answer, FromTracker::Done),
            Err(end) => break end,
        }
    };
    assert!(matches!(end, ConnectionError::Closed), "{end}");
    let last = office.hub().look(|registry| {
        let revision = registry.revision();
        let last = registry.changes(revision - 1, revision).unwrap().next().cloned();
        last.unwrap()
    });
    assert!(matches!(last, Change::Left { why: Leaving::Exit, .. }), "{last:?}");
    assert_eq!(tasks.stop(Duration::from_secs(5)).await, Ok(()));
}

#[tokio::test]
async fn who_reads_a_page_too_slowly_is_hung_up_and_its_room_is_free() {
    let World { address, us, office, tasks } = world(Duration::from_secs(60)).await;
    let hub = office.hub();
    for number in 0..PAGE as u64 {
        let wish = wish(&format!("node{number}"));
        let speaker = Speaker { node: NodeId::random(), session: SessionId(1000 + number) };
        hub.tell(|registry, now| registry.register(speaker, &wish, now)).unwrap();
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut node = Connection::new(socket.connect(address).await.unwrap());
    let hello = Greeting::Hello(us.greets(Talk::Tracking));
    let _: Greeting = node.ask(&hello, MAX_REQUEST_FRAME).await.unwrap();
    node.keep_time(us.clock.clone());
    let registered: FromTracker = node.ask(&register("slow"), MAX_TRACKER_FRAME).await.unwrap();
    assert!(matches!(registered, FromTracker::Registered(_)));
    let room: Vec<_> = (1..MAX_LISTS).map(|_| hub.room().unwrap()).collect();
    tokio::time::sleep(PUSH_PAUSES.0).await;
    node.send(&ToTracker::Page { after: None }, MAX_REQUEST_FRAME).await.unwrap();
    while hub.room().is_some() {
        tokio::task::yield_now().await;
    }
    // A little now and then, so that it is never quite still.
    let start = Instant::now();
    while hub.room().is_none() {
        let held = start.elapsed();
        assert!(held < LIST_DEADLINE + Duration::from_secs(3), "it is held for {held:?}");
        node.stream().read_exact(&mut [0; 100]).await.ok();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(start.elapsed() > LIST_DEADLINE / 2, "nothing was waited for");
    drop(room);
    assert_eq!(tasks.stop(Duration::from_secs(5)).await, Ok(()));
}
