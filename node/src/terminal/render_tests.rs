//! Tests of what people read.

use shoal_common::content::FileId;
use shoal_common::ident::{NodeId, Peer};

use super::*;
use crate::catalog::found::Found;
use crate::terminal::jobs::tests::job;

fn peer(name: &str) -> Peer {
    Peer {
        id: NodeId::from_bytes([7; 32]),
        name: name.parse().unwrap(),
        search: "172.20.0.3:40001".parse().unwrap(),
        download: "172.20.0.3:40002".parse().unwrap(),
        joined: 0,
    }
}

fn info(name: &str) -> PeerInfo {
    let Peer { id, name, search, download, .. } = peer(name);
    let (state, contact, clock) = (State::Offline, Some(5000.0), Some(1_234_567));
    PeerInfo { id, name, search, download, state, contact, clock }
}

fn found(name: &str, id: u8, size: u64, owners: &[&str]) -> Found {
    let owners = owners.iter().map(|name| peer(name)).collect();
    Found { name: name.parse().unwrap(), size, id: FileId::from_bytes([id; 32]), owners }
}

const AT_80: Look = Look { color: false, width: Some(80) };

#[test]
fn owners_have_positions_and_contents_are_apart() {
    let findings = Findings {
        found: vec![found("a", 0xaa, 1500, &["node1", "n2"]), found("a", 0xbb, 12, &["node3"])],
        silent: vec!["node9".parse().unwrap()],
        missing: 1,
        more: false,
    };
    assert_eq!(
        offers(&findings),
        [
            "id aaaaaaaa  1.50 kB  1,500 bytes",
            "  0  node1  172.20.0.3:40002",
            "  1  n2     172.20.0.3:40002",
            "id bbbbbbbb  12 bytes",
            "  2  node3  172.20.0.3:40002",
            "these contents differ: choose by position, or with --id",
            "no answer from node9",
        ]
    );
}

#[test]
fn all_who_did_not_answer_are_counted_and_some_are_named() {
    let line = |named: usize, missing| {
        let silent = (0..named).map(|k| format!("n{k}").parse().unwrap()).collect();
        super::silent(&Findings { silent, missing, ..Findings::default() })
    };
    assert_eq!(line(0, 0), None);
    assert_eq!(line(2, 2).unwrap(), "no answer from n0, n1");
    let names = "n0, n1, n2, n3, n4, n5, n6, n7";
    assert_eq!(line(64, 625).unwrap(), format!("no answer from {names} and 617 more"));
    assert_eq!(line(0, 1).unwrap(), "no answer from 1 node");
    assert_eq!(line(0, 9).unwrap(), "no answer from 9 nodes");
}

#[test]
fn an_id_is_whole_on_any_terminal() {
    let file = |name: &str| FileInfo {
        name: name.parse().unwrap(),
        size: 1500,
        id: FileId::from_bytes([0xcd; 32]),
    };
    let id = "cd".repeat(32);
    for width in [None, Some(80), Some(200)] {
        let look = Look { width, color: false };
        for name in ["a", "a longer name with spaces.txt", &"x".repeat(120)] {
            let lines = files(&[file(name)], look);
            assert!(lines.iter().any(|line| line.contains(&id)), "{lines:?}");
            let fits = |line: &String| width.is_none_or(|columns| text::width(line) <= columns);
            assert!(lines.iter().all(fits), "{lines:?}");
        }
    }
}

#[test]
fn everything_fits_into_80_columns() {
    let owners = ["a-rather-long-node-name", "another-rather-long-node-name", "node3"];
    let findings = Findings {
        found: vec![found("a rather long name, as they come.tar.gz", 1, 1 << 40, &owners)],
        silent: vec![],
        missing: 20_000,
        more: true,
    };
    for answer in [
        Answer::Help(None),
        Answer::Found(findings),
        Answer::Jobs(vec![job()], vec![]),
        Answer::Peers(vec![info("node1")]),
        Answer::Limits(Limits::default()),
        Answer::Stats(vec![stat(), StatRow { name: "x".repeat(200), ..stat() }]),
    ] {
        for line in lines(&answer, AT_80) {
            assert!(text::width(&line) <= 80, "{line}");
        }
    }
    for verb in VERBS {
        assert!(help_for(verb, AT_80).iter().all(|line| line.len() <= 80), "{}", verb.name);
    }
}

#[test]
fn empty_answers_are_said_in_words() {
    for (answer, text) in [
        (Answer::Files(vec![]), "no files"),
        (Answer::Peers(vec![]), "nobody else is here"),
        (Answer::Found(Findings::default()), "nothing found"),
        (Answer::Jobs(vec![], vec![]), "no downloads"),
        (Answer::Stats(vec![]), "no download has been measured yet"),
    ] {
        assert_eq!(lines(&answer, AT_80), [text]);
    }
}

fn stat() -> StatRow {
    StatRow {
        name: "file\x1b.deb".to_owned(),
        id: None,
        size: 393_775_740,
        request_size: 1 << 20,
        owners: 3,
        runs: 7,
        seconds: 0.1641,
        rate: 2_393_773_495.4,
        deviation: Some(0.0123),
    }
}

#[test]
fn peers_are_a_table() {
    let never = PeerInfo { state: State::Online, contact: None, clock: None, ..info("n2") };
    assert_eq!(
        lines(&Answer::Peers(vec![never, info("node1")]), Look::default()),
        [
            "NAME   STATE    SEARCH            DOWNLOAD          ID        CONTACT    CLOCK",
            "n2     online   172.20.0.3:40001  172.20.0.3:40002  07070707        -        -",
            "node1  offline  172.20.0.3:40001  172.20.0.3:40002  07070707  1:23:20  1234567",
        ]
    );
    let greeted = lines(&Answer::Greeted(info("node1")), Look::default());
    assert_eq!(greeted, ["`node1` at 172.20.0.3:40001 is here"]);
}

#[test]
fn past_downloads_are_a_table() {
    let once = StatRow { runs: 1, request_size: 65_536, deviation: None, ..stat() };
    assert_eq!(
        lines(&Answer::Stats(vec![stat(), once]), Look::default()),
        [
            "FILE              SIZE  REQUEST  OWNERS  RUNS     TIME       RATE  STD DEV",
            "file\\u{1b}.deb  394 MB     1MiB       3     7  0.164 s  2.39 GB/s  0.012 s",
            "file\\u{1b}.deb  394 MB    64KiB       3     1  0.164 s  2.39 GB/s",
        ]
    );
}

#[test]
fn limits_are_a_list() {
    let limits = Limits { up: Limit(Some(50_000_000)), max_uploads: 4, ..Limits::default() };
    assert_eq!(
        lines(&Answer::Limits(limits), Look::default()),
        [
            "up          50.0 MB/s",
            "down        off",
            "uploads     4",
            "downloads   64",
            "chunk-size  1MiB",
        ]
    );
}
