//! The program as scripts use it: `ctl`, standard input, `get`, exit codes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use network::{Network, TestNode};
use serde_json::Value;
use shoal_common::call::{CallError, call};
use shoal_common::ident::NodeId;
use shoal_common::limits::{MAX_REQUEST_FRAME, MAX_SEARCH_FRAME};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::search::{Pattern, SearchReply, SearchRequest};
use shoal_common::protocol::succession::{Inquiry, SuccessionReply, SuccessionRequest};
use tempfile::TempDir;
use tokio::task::block_in_place;

const PATIENCE: Duration = Duration::from_secs(30);

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-node"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    program(folder).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The one JSON value that a command prints, without the time that each of its
/// objects carries, and the exit code.
fn json(folder: &Path, args: &[&str]) -> (Value, i32) {
    let output = run(folder, &[&["ctl", "--json"], args].concat());
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let objects = match &mut value {
        Value::Array(rows) => rows.iter_mut().collect(),
        one => vec![one],
    };
    for object in objects {
        let time = object.as_object_mut().unwrap().remove("lamport");
        assert!(time.is_some_and(|time| time.is_u64()), "no time: {text}");
    }
    (value, output.status.code().unwrap())
}

/// A node with its standard input in our hands.
struct Running {
    program: Child,
    dir: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.program.kill().ok();
        self.program.wait().ok();
    }
}

impl Running {
    fn start(network: &Network, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path());
        Self::start_as(program, dir, network, name)
    }

    /// With so many descriptors.
    fn start_with(descriptors: u32, network: &Network, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut program = Command::new("sh");
        let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        program.current_dir(dir.path()).args(["-c", &script, env!("CARGO_BIN_EXE_shoal-node")]);
        Self::start_as(program, dir, network, name)
    }

    fn start_as(mut program: Command, dir: TempDir, network: &Network, name: &str) -> Self {
        let tracker = network.tracker().to_string();
        let program = program
            .args(["--tracker", &tracker, "--listen", "127.0.0.1", "--name", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let running = Self { program, dir };
        running.eventually("registered", |path| {
            let (identity, code) = json(path, &["getip"]);
            code == 0 && identity["link"] == "registered"
        });
        running
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn eventually(&self, what: &str, holds: impl Fn(&Path) -> bool) {
        let start = Instant::now();
        while !holds(self.path()) {
            assert!(start.elapsed() < PATIENCE, "never: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn output(mut self) -> Output {
        let (mut out, mut err) = (String::new(), String::new());
        use std::io::Read;
        self.program.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.program.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let status = self.program.wait().unwrap();
        Output { status, stdout: out.into(), stderr: err.into() }
    }
}

async fn other(network: &Network) -> TestNode {
    network.node("node2", &[("a b.txt", b"two words"), ("c.bin", &[7; 2_000_000])]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_json_value_a_command() {
    let network = Network::start().await;
    let other = other(&network).await;
    block_in_place(|| {
        let node = Running::start(&network, "node1");
        let path = node.path();
        let (peers, code) = json(path, &["peers"]);
        assert_eq!(code, 0);
        let peer = &peers[0];
        assert_eq!(peer["name"], "node2");
        assert_eq!(peer["id"].as_str().unwrap().len(), 64);
        for port in ["search", "download"] {
            assert!(peer[port].as_str().unwrap().starts_with("127.0.0.1:"), "{peer}");
        }
        let (found, _) = json(path, &["search", "A B"]);
        assert_eq!(found[0]["name"], "a b.txt");
        assert_eq!(found[0]["size"], 9);
        assert_eq!(found[0]["owners"], serde_json::json!(["node2"]));

        let (job, code) = json(path, &["download", "a b.txt", "--from", "all"]);
        assert_eq!((job["state"].as_str().unwrap(), code), ("done", 0));
        assert_eq!(job["id"], found[0]["id"]);
        node.eventually("it is shared", |path| json(path, &["show"]).0[0]["id"] == found[0]["id"]);
        let (jobs, _) = json(path, &["jobs"]);
        assert_eq!(jobs[0]["saved_as"], "a b.txt");
        let (error, code) = json(path, &["download", "a b.txt", "--from", "0"]);
        assert_eq!((error["error"].as_str().unwrap(), code), ("you have this file: `a b.txt`", 1));

        let (stats, _) = json(path, &["stats"]);
        assert_eq!((&stats[0]["name"], &stats[0]["runs"]), (&"a b.txt".into(), &1.into()));
        assert_eq!(json(path, &["jobs", "1"]).0, jobs[0]);
        assert_eq!(json(path, &["retry", "1"]).1, 1, "it is here");

        let (limits, code) = json(path, &["limit"]);
        assert_eq!(
            (limits, code),
            (
                serde_json::json!({
                    "up": null, "down": null, "max_uploads": 64, "max_downloads": 64,
                    "chunk_size": 1_048_576,
                }),
                0
            )
        );
        assert_eq!(json(path, &["limit", "up", "50MB"]).0["up"], 50_000_000);
        assert_eq!(json(path, &["limit", "uploads", "4"]).0["max_uploads"], 4);
        let (limits, _) = json(path, &["chunk-size", "256KiB"]);
        assert_eq!((&limits["chunk_size"], &limits["up"]), (&262_144.into(), &50_000_000.into()));

        let (job, _) = json(path, &["download", "c.bin", "--from", "node2", "--detach"]);
        assert_eq!(job["job"], 2);
        assert_eq!(json(path, &["exit"]), (serde_json::json!({ "left": true }), 0));
        assert!(node.output().status.success());
    });
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_happened() {
    let network = Network::start().await;
    block_in_place(|| {
        let node = Running::start(&network, "node1");
        let long = "x".repeat(66_000);
        for (args, code, words) in [
            (
                &["ctl", "search", &long][..],
                1,
                "a pattern of 66000 bytes: at most 1088 are allowed",
            ),
            (&["ctl", "download", &long], 1, "at most"),
            (&["ctl", "download", "nix"], 1, "nobody has `nix`"),
            (&["ctl", "cancel", "7"], 1, "7"),
            (&["ctl", "pause", "7"], 1, "there is no job 7"),
            (&["ctl", "retry", "7"], 1, "there is no job 7"),
            (&["ctl", "limit", "7", "1MB"], 1, "there is no job 7"),
            (&["ctl", "limit", "up", "1"], 64, "a limit of 1 bytes a second is too low"),
            (&["ctl", "download", "../"], 1, "no folder"),
            (&["ctl", "download", "photos/", "--from", "nobody"], 1, "there is no node `nobody`"),
            (&["ctl", "download", "photos/", "--from", "0"], 1, "a folder has no list of owners"),
            (&["cat", "photos/"], 1, "a folder can't be printed"),
            (&["ctl", "frobnicate"], 64, "there is no command"),
            (&["ctl", "search"], 64, "usage: search PATTERN"),
            (&["ctl", "--files", "nowhere", "peers"], 2, "no node is running on `nowhere`"),
            (&["attach", "--files", "nowhere"], 2, "start one with `shoal-node --files nowhere`"),
            (&["health", "--files", "nowhere"], 1, "no node is running"),
            (&["--search-port", "x"], 64, "invalid value"),
            (&["--files", "node_files"], 2, "another node is running"),
        ] {
            let output = run(node.path(), args);
            assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
            assert!(stderr(&output).contains(words), "{args:?}: {output:?}");
            assert_eq!(stdout(&output), "", "{args:?}");
        }
        for args in [&[][..], &["search"], &["--files"]] {
            let (error, code) = json(node.path(), args);
            assert!(!error["error"].as_str().unwrap().is_empty(), "{error}");
            assert_eq!(code, 64, "{error}");
        }
        for args in [&["health"][..], &["ctl", "help"], &["--version"], &["completions", "bash"]] {
            let output = run(node.path(), args);
            assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_on_standard_input_are_commands_and_the_node_outlives_their_end() {
    let network = Network::start().await;
    let other = other(&network).await;
    block_in_place(|| {
        let mut node = Running::start(&network, "node1");
        let mut stdin = node.program.stdin.take().unwrap();
        stdin.write_all(b"peers\ndownload 'a b.txt'\nfrob\ndownload 'a b.txt' --from 0\n").unwrap();
        drop(stdin);
        node.eventually("the file is here", |path| path.join("node_files/a b.txt").exists());
        let mut attached = program(node.path())
            .arg("attach")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        attached.stdin.take().unwrap().write_all(b"clock").unwrap();
        let attached = std::cell::RefCell::new(attached);
        node.eventually("attach is over", |_| attached.borrow_mut().try_wait().unwrap().is_some());
        let attached = attached.into_inner().wait_with_output().unwrap();
        assert!(attached.status.success() && !attached.stdout.is_empty(), "{attached:?}");
        assert!(run(node.path(), &["health"]).status.success(), "the node serves on");
        assert_eq!(run(node.path(), &["ctl", "exit"]).status.code(), Some(0));
        let output = node.output();
        assert!(output.status.success());
        let (out, err) = (stdout(&output), stderr(&output));
        assert!(out.contains("node2"), "{out}");
        assert!(out.contains("`a b.txt` is here: 9 B in"), "{out}");
        assert!(err.contains("  0  node2"), "{err}");
        assert!(err.contains("--from POSITION"), "{err}");
        assert!(err.contains("there is no command `frob`"), "{err}");
        assert!(!out.contains('\x1b') && !err.contains('\x1b'), "plain where nobody looks");
    });
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_says_whether_its_node_left_or_is_gone() {
    let network = Network::start().await;
    block_in_place(|| {
        let attach = |node: &Running| {
            let mut program = program(node.path());
            program.arg("attach").stdin(Stdio::piped());
            program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for killed in [false, true] {
            let mut node = Running::start(&network, "node1");
            let mut attached = attach(&node);
            // It has done a command, so it listens.
            let mut stdin = attached.stdin.take().unwrap();
            stdin.write_all(b"getip\n").unwrap();
            let mut answer = [0; 4];
            std::io::Read::read_exact(attached.stdout.as_mut().unwrap(), &mut answer).unwrap();
            if killed {
                let pid = rustix::process::Pid::from_child(&node.program);
                rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
                stdin.write_all(b"peers\njobs\n").unwrap();
                node.program.kill().unwrap();
            } else {
                assert_eq!(run(node.path(), &["ctl", "exit"]).status.code(), Some(0));
            }
            let output = attached.wait_with_output().unwrap();
            drop(stdin);
            let err = stderr(&output);
            // Depending on what is noticed first.
            let undone = ["not done: `", "did not answer", "no node is running"];
            let undone = undone.iter().any(|words| err.contains(words));
            let said = err.contains("the node is gone") && undone;
            let expected = if killed { (Some(2), true) } else { (Some(0), false) };
            assert_eq!((output.status.code(), said), expected, "{output:?}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_register_leave_room_for_searches_and_inquiries() {
    // 144 for connections, 72 of them for the nodes whose tracker it may be.
    const DESCRIPTORS: u32 = 256 + 144;
    let network = Network::start().await;
    let (running, address) = block_in_place(|| {
        let running = Running::start_with(DESCRIPTORS, &network, "node1");
        let address = json(running.path(), &["getip"]).0["search"].as_str().unwrap().to_owned();
        (running, address)
    });
    let mut guests = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        let us = Party::new("shoal", NodeId::random());
        match call(address.as_str(), &us, Talk::Tracking).await {
            Ok(guest) => guests.push(guest),
            Err(CallError::Refused { refusal: Refusal::Busy, .. }) => refused += 1,
            Err(error) => panic!("{error} after {} guests", guests.len()),
        }
    }
    assert_eq!((guests.len(), refused), (72, 28));
    let us = Party::new("shoal", NodeId::random());
    let (mut asking, _) = call(address.as_str(), &us, Talk::Succession).await.unwrap();
    let inquiry = SuccessionRequest::Inquire(Inquiry { reign: None, council: vec![], claim: None });
    let reply: SuccessionReply = asking.ask(&inquiry, MAX_REQUEST_FRAME).await.unwrap();
    assert!(matches!(reply, SuccessionReply::Standing(_)), "{reply:?}");
    let (mut searching, _) = call(address.as_str(), &us, Talk::Search).await.unwrap();
    let pattern = Pattern::Part("nothing".to_owned());
    let reply: SearchReply =
        searching.ask(&SearchRequest::Search { pattern }, MAX_SEARCH_FRAME).await.unwrap();
    assert!(matches!(reply, SearchReply::Matches { .. }), "{reply:?}");
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_written_is_a_failure() {
    let network = Network::start().await;
    block_in_place(|| {
        let node = Running::start(&network, "node1");
        for args in [&["ctl", "getip"][..], &["ctl", "--json", "getip"]] {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let output = program(node.path()).args(args).stdout(full).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert!(stderr(&output).contains("cannot write to standard output"), "{output:?}");
            // A reader that is gone is no failure.
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = program(node.path()).args(args).stdout(writer).output().unwrap();
            assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn get_needs_no_node_and_leaves_nothing_but_the_file() {
    let network = Network::start().await;
    let other = other(&network).await;
    block_in_place(|| {
        let dir = tempfile::tempdir().unwrap();
        let tracker = network.tracker().to_string();
        let args = ["get", "c.bin", "-o", "out", "--tracker", &tracker, "--listen", "127.0.0.1"];
        let output = run(dir.path(), &args);
        assert!(output.status.success(), "{output:?}");
        assert!(stdout(&output).contains("`c.bin` is here: 2.00 MB"), "{output:?}");
        let left: Vec<_> = std::fs::read_dir(dir.path().join("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["c.bin"]);
        let again = run(dir.path(), &args);
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        assert!(stderr(&again).contains("you have this file: `c.bin`"), "{again:?}");
        assert!(!dir.path().join("out/c (2).bin").exists());
        // Of another content, it is fetched beside.
        std::fs::write(dir.path().join("out/c.bin"), [8; 2_000_000]).unwrap();
        assert!(stdout(&run(dir.path(), &args)).contains("saved as `c (2).bin`"));
        let args = ["get", "nix", "-o", "out", "--tracker", &tracker, "--listen", "127.0.0.1"];
        let output = run(dir.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    });
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_use_ends_with_words() {
    let network = Network::start().await;
    let other = other(&network).await;
    block_in_place(|| {
        let dir = tempfile::tempdir().unwrap();
        let tracker = network.tracker().to_string();
        let args = ["--tracker", &tracker, "--listen", "127.0.0.1", "--name", "node2"];
        let output = run(dir.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("`node2` is in the network already"), "{output:?}");
    });
    drop(other);
}
