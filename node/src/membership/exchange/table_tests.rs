use std::time::Duration;

use shoal_common::limits::FORGET;

use super::*;

const TODAY: u64 = 1000;

struct Tried {
    table: Table,
    now: Instant,
}

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn known(byte: u8, at: u64) -> Known {
    let at_port = |port: u16| format!("127.0.0.{byte}:{port}").parse().unwrap();
    let peer = Peer {
        id: id(byte),
        name: format!("node{byte}").parse().unwrap(),
        search: at_port(1),
        download: at_port(2),
        joined: 0,
    };
    Known { peer, state: State::Online, at, born: 1, gone: 0, guest: false }
}

fn offline(byte: u8, at: u64, gone: u32) -> Known {
    Known { state: State::Offline, gone, ..known(byte, at) }
}

/// This node is 1, and its time is TODAY.
fn tried() -> Tried {
    let now = Instant::now();
    let mut table = Table::new(id(1), Clock::at(TODAY - 2));
    table.announce(known(1, 0).peer, false, now);
    table.be_born();
    Tried { table, now }
}

impl Tried {
    fn hear(&mut self, known: Known) -> Option<Change> {
        self.table.hear(vec![known], self.now).pop()
    }

    fn meet(&mut self, known: Known) -> Option<Change> {
        let heard = known.at;
        self.table.met(known, heard, self.now)
    }

    fn state(&self, byte: u8) -> Option<(State, u64)> {
        self.table.get(id(byte)).map(|entry| (entry.state, entry.at))
    }
}

#[test]
fn whoever_was_called_before_it_knew_its_address_is_as_old() {
    let mut table = Table::new(id(1), Clock::at(TODAY));
    table.be_born();
    table.clock.witness(TODAY + 50);
    table.be_born();
    let known = table.announce(known(1, 0).peer, false, Instant::now());
    assert_eq!(known.born, TODAY + 1);
    assert!(known.at > known.born);
}

#[test]
fn newer_knowledge_holds_and_older_is_no_news() {
    let mut tried = tried();
    assert_eq!(tried.hear(known(2, 10)), Some(Change::New(id(2))));
    assert_eq!(tried.hear(known(2, 10)), None, "the same again");
    assert_eq!(tried.hear(offline(2, 9, 5)), None, "older");
    assert_eq!(tried.hear(offline(2, 11, 5)), Some(Change::Doubtful(id(2))));
    assert_eq!(tried.state(2), Some((State::Offline, 11)));
    assert_eq!(tried.hear(known(2, 12)), Some(Change::New(id(2))));
    let moved = Known { peer: known(3, 0).peer, ..known(2, 13) };
    let moved = Known { peer: Peer { id: id(2), ..moved.peer.clone() }, ..moved };
    assert_eq!(tried.hear(moved), Some(Change::Doubtful(id(2))), "it is to be looked at");
}

#[test]
fn at_the_same_time_everyone_prefers_the_same() {
    for order in [[0, 1], [1, 0]] {
        let mut tried = tried();
        let both = [known(2, 10), offline(2, 10, 1)];
        for which in order {
            tried.hear(both[which].clone());
        }
        assert_eq!(tried.state(2), Some((State::Offline, 10)));
    }
}

#[test]
fn what_is_impossible_is_not_believed() {
    let mut tried = tried();
    let of = |change: fn(&mut Known)| {
        let mut wrong = known(2, 10);
        change(&mut wrong);
        wrong
    };
    for wrong in [
        of(|known| known.at = TODAY + 1),
        of(|known| known.at = u64::MAX),
        of(|known| known.born = 11),
        of(|known| known.peer.search = "0.0.0.0:9".parse().unwrap()),
        of(|known| known.peer.download = "127.0.0.1:0".parse().unwrap()),
        of(|known| known.peer.search = "224.0.0.1:5".parse().unwrap()),
        offline(2, 10, 24 * 3600),
    ] {
        assert_eq!(tried.hear(wrong.clone()), None, "{wrong:?}");
    }
    assert_eq!(tried.table.len(), 1);
    let wrong = of(|known| known.peer.search = "0.0.0.0:9".parse().unwrap());
    assert_eq!(tried.meet(wrong), None);
}

#[test]
fn nobody_decides_what_this_node_is() {
    let mut tried = tried();
    let before = tried.table.us(tried.now).unwrap();
    assert_eq!(before.at, TODAY);
    assert_eq!(tried.hear(offline(1, TODAY - 1, 0)), None, "older than what it said itself");
    assert_eq!(tried.table.us(tried.now).unwrap(), before);
    for wrong in [
        offline(1, TODAY, 0),
        Known { peer: Peer { id: id(1), ..known(7, 0).peer }, ..known(1, TODAY) },
        Known { guest: true, ..known(1, TODAY) },
    ] {
        let told = Known { at: tried.table.clock.tick(), ..wrong };
        assert_eq!(tried.hear(told.clone()), Some(Change::New(id(1))), "{told:?}");
        let us = tried.table.us(tried.now).unwrap();
        assert!(us.at > told.at && us.peer == before.peer && us.state == State::Online);
        assert!(!us.guest);
    }
    // The right thing at a later time is agreed to, so that all know the same.
    let later = tried.table.clock.tick();
    let right = Known { at: later, ..tried.table.us(tried.now).unwrap() };
    assert_eq!(tried.hear(right.clone()), Some(Change::New(id(1))));
    assert_eq!(tried.table.us(tried.now).unwrap(), right);
    assert_eq!(tried.meet(known(1, 5)), None, "nobody else is this node");
    assert_eq!(tried.table.others().count(), 0);
}

#[test]
fn contact_proves_that_a_node_lives_and_is_no_news_otherwise() {
    let mut tried = tried();
    tried.hear(offline(2, 500, 5));
    assert_eq!(tried.meet(known(2, 400)), Some(Change::New(id(2))), "others must hear of it");
    let (state, at) = tried.state(2).unwrap();
    assert!(state == State::Online && at > TODAY, "{at}");
    assert_eq!(tried.meet(known(2, 400)), Some(Change::Seen(id(2))));
    assert_eq!(tried.state(2), Some((state, at)));
    // A new life at another address, whose clock is young.
    let moved = Known { peer: Peer { id: id(2), ..known(3, 0).peer }, ..known(2, 2) };
    assert_eq!(tried.meet(moved.clone()), Some(Change::New(id(2))));
    assert_eq!(tried.table.get(id(2)).unwrap().peer, moved.peer);
    assert!(tried.state(2).unwrap().1 > at);
    let liar = Known { born: u64::MAX, ..known(4, u64::MAX) };
    tried.meet(liar);
    let entry = tried.table.get(id(4)).unwrap();
    assert!(entry.at <= tried.table.clock.now() && entry.born <= entry.at, "{entry:?}");
}

#[test]
fn who_was_spoken_with_since_is_not_offline_by_hearsay() {
    let mut tried = tried();
    tried.meet(known(2, 10));
    let spoken = tried.table.clock.now();
    assert_eq!(tried.hear(offline(2, 500, 9)), Some(Change::Doubtful(id(2))));
    assert_eq!(tried.state(2), Some((State::Online, spoken)), "and others hear of it");
    let later = tried.table.clock.tick();
    assert_eq!(tried.hear(offline(2, later, 9)), Some(Change::Doubtful(id(2))));
    assert_eq!(tried.state(2), Some((State::Offline, later)));
}

#[test]
fn one_failed_call_proves_nothing() {
    let mut tried = tried();
    tried.meet(known(2, 10));
    assert_eq!(tried.table.failed(id(2), tried.now), None);
    assert!(tried.table.is_doubtful(id(2)));
    tried.meet(known(2, 10));
    assert!(!tried.table.is_doubtful(id(2)), "it answered");
    assert_eq!(tried.table.failed(id(2), tried.now), None);
    assert_eq!(tried.table.failed(id(2), tried.now), Some(Change::New(id(2))));
    let (state, at) = tried.state(2).unwrap();
    assert!(state == State::Offline && at > TODAY);
    assert_eq!(tried.table.failed(id(2), tried.now), None, "it is offline already");
    assert_eq!(tried.table.failed(id(9), tried.now), None, "nobody knows it");
}

#[test]
fn what_was_said_before_a_goodbye_does_not_undo_it() {
    let mut tried = tried();
    tried.table.met(known(2, 10), 10, tried.now);
    assert_eq!(tried.table.goodbye(id(2), 30, tried.now), Some(Change::Doubtful(id(2))));
    assert_eq!(tried.table.met(known(2, 10), 20, tried.now), None, "it was on its way");
    assert_eq!(tried.state(2).unwrap().0, State::Offline);
    // The next life begins with a young clock.
    let again = Known { born: 0, ..known(2, 1) };
    assert_eq!(tried.table.met(again, 1, tried.now), Some(Change::New(id(2))));
    assert_eq!(tried.state(2).unwrap().0, State::Online);
    assert_eq!(tried.table.goodbye(id(9), 30, tried.now), None);
}

#[test]
fn a_copy_of_this_node_is_told_of_once_and_an_earlier_life_is_not() {
    let mut tried = tried();
    tried.table.announce(known(1, 1).peer, false, tried.now);
    let mut elsewhere = tried.table.us(tried.now).unwrap();
    elsewhere.peer.search.set_port(9);
    let said_at = |tried: &mut Tried, known: &Known| {
        let at = tried.table.clock.tick();
        tried.hear(Known { at, ..known.clone() });
        tried.table.take_twin()
    };
    // An earlier life, and then another one.
    assert_eq!(said_at(&mut tried, &elsewhere), None);
    let mut earlier = elsewhere.clone();
    earlier.peer.search.set_port(8);
    assert_eq!(said_at(&mut tried, &earlier), None);
    let told: Vec<_> = (0..5).filter_map(|_| said_at(&mut tried, &elsewhere)).collect();
    assert_eq!(told, [elsewhere.peer.search]);
}

#[test]
fn a_goodbye_in_anothers_name_is_looked_at_and_does_not_last() {
    let mut tried = tried();
    tried.table.met(known(2, 10), 10, tried.now);
    let goodbye = tried.table.goodbye(id(2), u64::MAX, tried.now);
    assert_eq!(goodbye, Some(Change::Doubtful(id(2))), "a few call it");
    // It answers, at a time that the others could reach.
    let heard = tried.table.clock.tick();
    assert_eq!(tried.table.met(known(2, 10), heard, tried.now), Some(Change::New(id(2))));
    assert_eq!(tried.state(2).unwrap().0, State::Online);
}

#[test]
fn who_has_been_gone_for_a_day_is_forgotten_also_where_others_tell_of_it() {
    let mut tried = tried();
    tried.meet(known(2, 10));
    tried.table.goodbye(id(2), 11, tried.now);
    tried.hear(offline(3, 10, 3600));
    tried.hear(Known { guest: true, ..offline(4, 10, 0) });
    let start = tried.now;
    let mut forgotten = |passed: u64| tried.table.expire(start + Duration::from_secs(passed));
    assert_eq!(forgotten(599), []);
    assert_eq!(forgotten(600), [id(4)], "a guest");
    assert_eq!(forgotten(23 * 3600 - 1), []);
    assert_eq!(forgotten(23 * 3600), [id(3)], "it had been gone for an hour then");
    assert_eq!(forgotten(FORGET.as_secs()), [id(2)]);
    let differ = tried.table.compare(&[]).unwrap();
    let (page, _) = tried.table.page(&differ, None, tried.now);
    assert_eq!(page.len(), 1, "only this node is left");
}

#[test]
fn the_time_that_a_node_has_been_gone_is_passed_on() {
    let mut tried = tried();
    tried.hear(offline(3, 10, 100));
    let later = tried.now + Duration::from_secs(50);
    let differ = tried.table.compare(&[]).unwrap();
    let (page, _) = tried.table.page(&differ, Some(id(2)), later);
    assert_eq!((page[0].peer.id, page[0].gone), (id(3), 150));
}

fn numbered(number: u32, at: u64) -> Known {
    let mut bytes = [3; 32];
    bytes[..4].copy_from_slice(&(number | 1 << 31).to_be_bytes());
    let peer = Peer { id: NodeId::from_bytes(bytes), ..known(2, 0).peer };
    Known { peer, ..known(2, at) }
}

#[test]
fn a_crowd_fills_the_table_to_its_bound_and_keeps_nobody_out_who_was_met() {
    let mut tried = tried();
    let pages: Vec<Vec<Known>> = (0..130)
        .map(|page| {
            (0..u32::try_from(MAX_PEERS).unwrap()).map(|n| numbered(page * 1000 + n, 10)).collect()
        })
        .collect();
    for page in &pages {
        tried.table.hear(page.clone(), tried.now);
    }
    assert_eq!(tried.table.len(), MAX_NODES);
    assert_eq!(tried.hear(known(9, 10)), None, "hearsay for hearsay");
    assert_eq!(tried.meet(known(9, 10)), Some(Change::New(id(9))));
    assert_eq!(tried.table.len(), MAX_NODES);
    assert!(tried.table.us(tried.now).is_some());
    // Whoever is gone makes room.
    let first = pages[0][5].peer.id;
    tried.table.goodbye(first, 11, tried.now).or_else(|| panic!("it was there"));
    assert_eq!(tried.hear(offline(8, 10, 5)), None, "nobody has to go for it");
    assert_eq!(tried.hear(known(8, 10)), Some(Change::New(id(8))));
    assert!(tried.table.get(first).is_none());
    assert!(tried.table.take_evicted().contains(&first), "whoever has it elsewhere is told");
    // A page that is too long is cut.
    let mut other = self::tried();
    let long = (0..5000).map(|n| numbered(n, 10)).collect();
    assert_eq!(other.table.hear(long, other.now).len(), MAX_PEERS);
}

#[test]
fn two_that_exchange_pages_know_the_same() {
    let (mut one, mut other) = (tried(), tried());
    other.table = Table::new(id(200), Clock::at(TODAY));
    other.table.announce(known(200, 0).peer, false, other.now);
    for number in 0..700 {
        one.hear(numbered(number, 10));
    }
    for number in 600..1400 {
        other.hear(numbered(number, 11));
    }
    one.table.clock.witness(other.table.clock.now());
    let digests = one.table.digests();
    let differ = other.table.compare(&digests).unwrap();
    let (mut theirs, mut after) = (HashMap::new(), None);
    loop {
        let (page, more) = other.table.page(&differ, after, other.now);
        assert!(page.is_sorted_by_key(|known| known.peer.id));
        assert!(page.len() == MAX_PEERS || !more);
        after = page.last().map(|known| known.peer.id);
        theirs.extend(page.iter().map(|known| (known.peer.id, known.clone())));
        one.table.hear(page, one.now);
        if !more {
            break;
        }
    }
    assert_eq!(theirs.len(), 801);
    let told = one.table.lacking(&differ, &theirs, one.now);
    assert_eq!(told.len(), 601, "what was newer there, and known to both, is not told");
    other.table.clock.witness(one.table.clock.now());
    for page in told.chunks(MAX_PEERS) {
        other.table.hear(page.to_vec(), other.now);
    }
    assert!(other.table.compare(&one.table.digests()).unwrap().is_none());
    assert_eq!((one.table.len(), other.table.len()), (1402, 1402));
}
