//! The terminal of a person, on a real pseudo-terminal.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;
mod person;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use network::{Network, TestNode};
use person::Person;
use tempfile::TempDir;
use tokio::task::block_in_place;

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

/// A person at the node `me`.
fn at_a_node(network: &Network) -> (Person, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let tracker = network.tracker().to_string();
    let args = ["--tracker", &tracker, "--listen", "127.0.0.1", "--name", "me", "--grace", "5"];
    let person = Person::starts(dir.path(), &args);
    person.sees_text("in the network as `me`");
    person.is_at("me> ");
    (person, dir)
}

async fn other(network: &Network) -> TestNode {
    network.node("node2", &[("été à la mer.txt", b"sea"), ("big.bin", &[7; 5_000_000])]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_does_not_break_what_is_typed() {
    let network = Network::start().await;
    let (person, _dir) = block_in_place(|| at_a_node(&network));
    person.types("search half a li");
    block_in_place(|| person.is_at("me> search half a li"));
    let other = other(&network).await;
    block_in_place(|| {
        let lines = person.sees_text("`node2` joined");
        let above = lines.iter().position(|line| line.contains("`node2` joined")).unwrap();
        let typed = lines.iter().rposition(|line| line.contains("half")).unwrap();
        assert!(above < typed, "{lines:?}");
        person.is_at("me> search half a li");
        person.types("ne");
        person.is_at("me> search half a line");
    });
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn tab_completes_commands_and_names_and_a_download_is_told() {
    let network = Network::start().await;
    let other = other(&network).await;
    block_in_place(|| {
        let (person, dir) = at_a_node(&network);
        person.types("dow\t");
        person.is_at("me> download ");
        person.types("ét\t");
        person.is_at("me> download 'été à la mer.txt' ");
        person.types("\r");
        person.sees_text("  0  node2");
        person.is_at("position (-1 cancels, -2 takes chunks from all): ");
        person.types("7\r");
        person.sees_text("there is no position `7`");
        person.types("-2\r");
        person.sees_text("`été à la mer.txt` is here: 3 B in");
        assert_eq!(std::fs::read(dir.path().join("node_files/été à la mer.txt")).unwrap(), b"sea");
        person.types("download \"été à la mer.txt\"\r");
        person.sees_text("you have this file");
        person.types("down big.bin\r");
        person.sees_text("did you mean `download`?");
        person.types("download big.bin --from node2\r");
        person.sees_text("`big.bin` is here: 5.00 MB");
        person.is_at("me> ");
    });
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupting_clears_the_line_and_on_an_empty_one_leaves() {
    let network = Network::start().await;
    block_in_place(|| {
        let (mut person, dir) = at_a_node(&network);
        person.types("not meant so");
        person.is_at("me> not meant so");
        person.types(CTRL_C);
        person.is_at("me> ");
        // Ctrl-Z would silence the node.
        person.types("\x1agetip\r");
        person.sees_text("(registered)");
        person.is_at("me> ");
        person.types(CTRL_C);
        assert_eq!(person.sees_the_end().code(), Some(0));
        assert!(person.has_usual_modes());
        let history = std::fs::read_to_string(dir.path().join("node_files/.shoal/history"));
        assert!(history.unwrap().contains("getip"));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_gives_the_terminal_back() {
    let network = Network::start().await;
    block_in_place(|| {
        let (mut person, _dir) = at_a_node(&network);
        assert!(!person.has_usual_modes());
        person.types("half");
        person.is_at("me> half");
        rustix::process::kill_process(person.id(), rustix::process::Signal::TERM).unwrap();
        assert_eq!(person.sees_the_end().code(), Some(0));
        assert!(person.has_usual_modes());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_takes_no_output_keeps_no_node_alive() {
    let network = Network::start().await;
    let tracker = network.tracker().to_string();
    block_in_place(|| {
        let dir = tempfile::tempdir().unwrap();
        let (mut pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let mut node = pty_process::blocking::Command::new(person::PROGRAM)
            .args(["--tracker", &tracker, "--listen", "127.0.0.1", "--name", "me"])
            .current_dir(dir.path())
            .env("TERM", "xterm-256color")
            .spawn(pts)
            .unwrap();
        let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&seen).contains("me> ") {
            let read = pty.read(&mut bytes).unwrap();
            seen.extend_from_slice(&bytes[..read]);
        }
        // From here on nobody reads.
        pty.write_all("help\r".repeat(60).as_bytes()).unwrap();
        // Time for its output to fill the terminal. Were it not full yet, the
        // node would only have it easier.
        std::thread::sleep(Duration::from_secs(2));
        let id = rustix::process::Pid::from_child(&node);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = node.try_wait().unwrap() {
                break Some(status);
            }
            if asked.elapsed() > Duration::from_secs(15) {
                node.kill().unwrap();
                node.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        println!("ended after {:?}", asked.elapsed());
        assert_eq!(status.expect("it ends").code(), Some(0));
        drop(pty);
    });
}

/// Whether a program handles the signal by which terminals stop programs. To
/// stop it is no test: here it has a session of its own, where the system
/// stops nobody.
fn handles_stops(person: &Person) -> bool {
    let path = format!("/proc/{}/status", person.id().as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    caught & (1 << (rustix::process::Signal::TSTP.as_raw() - 1)) != 0
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_z_stops_neither_a_node_nor_an_attached_terminal() {
    let network = Network::start().await;
    block_in_place(|| {
        let (node, dir) = at_a_node(&network);
        let attached = Person::starts(dir.path(), &["attach"]);
        attached.is_at("me> ");
        for person in [&node, &attached] {
            person.types("get\x1aip");
            person.is_at("me> getip");
            assert!(handles_stops(person));
            rustix::process::kill_process(person.id(), rustix::process::Signal::TSTP).unwrap();
            person.types("\r");
            person.sees_text("(registered)");
            person.is_at("me> ");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_terminal_leaves_the_node_running() {
    let network = Network::start().await;
    block_in_place(|| {
        let (mut node, dir) = at_a_node(&network);
        let mut attached = Person::starts(dir.path(), &["attach"]);
        attached.sees_text("on node `me`");
        attached.is_at("me> ");
        attached.types("peers\r");
        attached.sees_text("nobody else is here");
        attached.is_at("me> ");
        attached.types(CTRL_D);
        assert_eq!(attached.sees_the_end().code(), Some(0));
        assert!(attached.has_usual_modes());

        // `exit` is for the node, wherever it is typed; both see it end.
        let mut attached = Person::starts(dir.path(), &["attach"]);
        attached.is_at("me> ");
        attached.types("exit\r");
        assert_eq!(attached.sees_the_end().code(), Some(0));
        assert_eq!(node.sees_the_end().code(), Some(0));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_terminal_says_that_its_node_was_killed() {
    let network = Network::start().await;
    block_in_place(|| {
        let (node, dir) = at_a_node(&network);
        let mut attached = Person::starts(dir.path(), &["attach"]);
        attached.is_at("me> ");
        rustix::process::kill_process(node.id(), rustix::process::Signal::KILL).unwrap();
        assert_eq!(attached.sees_the_end().code(), Some(2));
        attached.sees_text("the node is gone");
        assert!(attached.has_usual_modes());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_typed_ahead_are_not_lost_and_sizes_may_change() {
    let network = Network::start().await;
    block_in_place(|| {
        let (person, _dir) = at_a_node(&network);
        person.types("search nothing\rjobs\rhalf");
        person.sees_line("nothing found");
        person.sees_line("no downloads");
        person.is_at("me> half");
        person.resizes(10, 40);
        person.types(" more");
        person.is_at("me> half more");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_do_not_disturb_the_line_editor() {
    shoal_common::process::raise_descriptor_limit();
    let network = Network::start().await;
    let other = other(&network).await;
    let (person, _dir) = block_in_place(|| at_a_node(&network));
    network::eventually("the node is known", || !other.app().peers().is_empty()).await;
    let port = other.app().peers()[0].search;
    // A peer that never answers: the search takes its time, and meanwhile the
    // connections take every descriptor that is free.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap();
    let silent = (network.register("silent", at, at).await, silent);
    person.types("peers\r");
    block_in_place(|| person.sees_text("silent"));
    let mut idle = Vec::new();
    person.types("search nothing\r");
    for _ in 0..2000 {
        idle.push(tokio::net::TcpStream::connect(port).await.unwrap());
    }
    block_in_place(|| {
        person.sees_text("no answer from silent");
        for _ in 0..3 {
            person.types("peers\r");
            person.sees_text("node2");
            person.is_at("me> ");
            person.types("\x0c");
            person.sees("a clear screen", |lines| lines.len() <= 1);
        }
        person.types("download été --fr\t");
        person.is_at("me> download été --from ");
        person.types(CTRL_C);
        person.is_at("me> ");
        assert!(!person.lines().iter().any(|line| line.contains("panicked")));
    });
    drop((idle, silent, other));
}

/// Bytes of a file are not for a screen.
#[test]
fn cat_spares_a_terminal_unless_it_is_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut person = Person::starts(dir.path(), &["cat", "a", "--tracker", "127.0.0.1:9"]);
    person.sees("why not", |lines| lines.iter().any(|line| line.contains("add --force")));
    assert_eq!(person.sees_the_end().code(), Some(64));
}
