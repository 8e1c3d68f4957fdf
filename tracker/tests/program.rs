//! The program as a person or a script runs it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use shoal_common::call::call;
use shoal_common::ident::NodeId;
use shoal_common::limits::MAX_TRACKER_FRAME;
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::tracking::{FromTracker, ToTracker};
use support::{EVER, registration};
use tempfile::TempDir;

/// A running program with its folder of logs. Killed when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
    screen: Box<dyn BufRead>,
    logs: TempDir,
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHOAL_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").args(arguments).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let mut child = program(arguments)
            .env("SHOAL_LISTEN", "127.0.0.1:0")
            .arg("--logs")
            .arg(logs.path())
            .spawn()
            .unwrap();
        let mut screen = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        screen.read_line(&mut line).unwrap();
        let address = line.split('`').nth(3).unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        Self { child, address, screen: Box::new(screen), logs }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.logs.path().join("shoal-tracker.log")).unwrap()
    }

    fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < EVER {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }

    fn rest_of_screen(&mut self) -> String {
        let mut rest = String::new();
        self.screen.read_to_string(&mut rest).unwrap();
        rest
    }

    fn health(&self, listen: &str) -> (Option<i32>, String) {
        let output = program(&["health", "--listen", listen]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A node joins; a second one joins and leaves on purpose; the first one
/// breaks off and is waited for.
fn coming_and_going(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connections = Vec::new();
        for name in ["one", "two"] {
            let us = Party::new("test", NodeId::from_bytes([0xab; 32]));
            let us = if name == "one" { us } else { Party { node: NodeId::random(), ..us } };
            let (mut connection, _) = call(address, &us, Talk::Tracking).await.unwrap();
            let register = ToTracker::Register(registration(name, true));
            let answer: FromTracker = connection.ask(&register, MAX_TRACKER_FRAME).await.unwrap();
            assert!(matches!(answer, FromTracker::Registered(_)), "{answer:?}");
            connections.push(connection);
        }
        let mut answer: FromTracker =
            connections[1].ask(&ToTracker::Exit, MAX_TRACKER_FRAME).await.unwrap();
        while matches!(answer, FromTracker::Reigns(_)) {
            answer = connections[1].receive(MAX_TRACKER_FRAME, EVER).await.unwrap();
        }
        assert_eq!(answer, FromTracker::Done);
    });
}

#[test]
fn screen_and_log_say_who_came_and_how_they_left() {
    let mut tracker = Program::start(&["--network", "test", "--heartbeat", "0.2"]);
    coming_and_going(tracker.address);
    let start = Instant::now();
    while !tracker.log().contains("nobody is here") && start.elapsed() < EVER {
        sleep(Duration::from_millis(20));
    }
    tracker.signal("TERM");
    assert_eq!(tracker.ended().code(), Some(0));
    let (screen, log) = (tracker.rest_of_screen(), tracker.log());
    for line in [
        "`one` (id abababab, search 127.0.0.1:4000, download 127.0.0.1:4001) came",
        "1 node is here: one",
        "2 nodes are here: one, two",
        "left on purpose",
        "`one` (id abababab, search 127.0.0.1:4000, download 127.0.0.1:4001) lost its connection",
        "left without a word: its connection broke",
        "nobody is here",
        "SIGTERM: stopping",
        "stopped; nodes connected until now: 0",
    ] {
        assert!(log.contains(line), "`{line}` is missing in the log:\n{log}");
        let shown = screen.lines().any(|shown| shown.ends_with(line) || shown.contains(line));
        assert!(shown, "`{line}` is missing on the screen:\n{screen}");
    }
    assert!(screen.lines().all(|line| line.starts_with("20")), "{screen}");
}

#[test]
fn every_signal_stops_it_in_order() {
    for signal in ["INT", "TERM", "HUP"] {
        let mut tracker = Program::start(&[]);
        tracker.signal(signal);
        assert_eq!(tracker.ended().code(), Some(0));
        assert!(tracker.rest_of_screen().contains(&format!("SIG{signal}: stopping")));
    }
}

#[test]
fn a_closed_screen_is_no_error() {
    let mut tracker = Program::start(&["--network", "test"]);
    tracker.screen = Box::new(std::io::empty());
    coming_and_going(tracker.address);
    tracker.signal("INT");
    assert_eq!(tracker.ended().code(), Some(0));
    assert!(tracker.log().contains("left on purpose"));
}

#[test]
fn health_is_an_exit_code_and_no_line_in_the_log() {
    let mut tracker = Program::start(&["--log-format", "json"]);
    // The log is written by a thread of its own, which may be behind.
    let start = Instant::now();
    while !tracker.log().contains("tracker of network") && start.elapsed() < EVER {
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = tracker.log();
    assert!(before.lines().all(|line| line.starts_with('{')), "{before}");
    for listen in [tracker.address.to_string(), format!("0.0.0.0:{}", tracker.address.port())] {
        assert_eq!(tracker.health(&listen), (Some(0), String::new()));
    }
    assert_eq!(tracker.log(), before);
    tracker.signal("INT");
    tracker.ended();
    let (code, said) = tracker.health(&tracker.address.to_string());
    assert_eq!(code, Some(1));
    assert!(said.contains("can't be reached"), "{said}");
}

#[test]
fn bad_usage_ends_with_64_and_help_with_0() {
    for wrong in [
        &["--listen", "nowhere"][..],
        &["--heartbeat", "0"],
        &["--heartbeat", "1e9"],
        &["--log-format", "xml"],
        &["--network", ""],
        &["--nonsense"],
        &["dance"],
    ] {
        let output = program(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
    let output = program(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("SHOAL_HEARTBEAT"));
}

#[test]
fn what_keeps_it_from_running_is_said() {
    let tracker = Program::start(&[]);
    let logs = tempfile::tempdir().unwrap();
    let mut second = program(&["--listen", &tracker.address.to_string(), "--logs"])
        .arg(logs.path())
        .spawn()
        .unwrap();
    let status = second.wait().unwrap();
    assert_eq!(status.code(), Some(2));
    let said = text(second.stderr.take().unwrap());
    assert!(said.contains(&format!("cannot listen on `{}`", tracker.address)), "{said}");
    let log = fs::read_to_string(logs.path().join("shoal-tracker.log")).unwrap();
    assert!(log.contains("cannot listen"), "{log}");

    let output = program(&["--logs", "/dev/null/logs"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot write logs"));
}

fn text(mut from: ChildStderr) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}
