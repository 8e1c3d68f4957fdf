//! Five nodes that talk at 200 messages a second, each a process of its own, while
//! the tracker is killed three times, a node is killed and started again, and
//! another is cut off and comes back.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::link::{Link, Manner, Passing};
use shoal_tracker::chat::proposer::Settings;
use shoal_tracker::screen::Screen;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// Generous: the machine may be busy; a failure is not a matter of seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the tracker of [`a_tracker_in_a_process_of_its_own`] is.
const TRACKER_VARIABLE: &str = "SHOAL_CHAT_TRACKER";

/// A tracker in a process of its own.
struct Tracker {
    at: SocketAddr,
    program: Child,
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Tracker {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        Self { at, program: Self::spawn(at) }
    }

    fn spawn(at: SocketAddr) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_tracker_in_a_process_of_its_own", "--test-threads=1"])
            .env(TRACKER_VARIABLE, at.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        self.program.kill().ok();
        self.program.wait().ok();
    }

    /// Killed, and another one begins at the same address, which knows nobody.
    fn kill_and_start(&mut self) {
        self.kill();
        self.program = Self::spawn(self.at);
    }
}

/// Not a test when it is run with the others: they start this program again for
/// their tracker, so that they can kill it.
#[test]
fn a_tracker_in_a_process_of_its_own() {
    let Some(address) = std::env::var_os(TRACKER_VARIABLE) else { return };
    let address: SocketAddr = address.to_str().unwrap().parse().unwrap();
    Runtime::new().unwrap().block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let config = shoal_tracker::run::Config {
            heartbeat: Duration::from_millis(500),
            // All nodes here are new: nobody has to be waited for.
            chat: Settings { found_pause: Duration::from_millis(200), ..Settings::default() },
            ..Default::default()
        };
        let never = std::future::pending();
        shoal_tracker::run::run(listener, config, Screen::none(), never).await.unwrap();
    });
}

/// How many messages each node says a second.
const RATE: u32 = 40;

/// How long they talk.
const SECONDS: u32 = 14;

/// Longest time until all is said and everyone has heard it, beyond that.
const END: Duration = Duration::from_secs(120);

/// A node whose standard input is ours.
struct Talker {
    name: String,
    folder: PathBuf,
    tracker: SocketAddr,
    program: Child,
    input: Option<ChildStdin>,
    output: Option<JoinHandle<()>>,
    /// What it told to be accepted, over all its lives.
    accepted: Arc<Mutex<Vec<String>>>,
    /// What else it told.
    told: Arc<Mutex<Vec<String>>>,
    /// The last number that it was told to say.
    said: usize,
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.program.kill().ok();
        self.program.wait().ok();
    }
}

impl Talker {
    fn start(name: &str, folder: &Path, tracker: SocketAddr) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let program = spawn(name, &folder, tracker);
        let mut talker = Self {
            name: name.to_owned(),
            folder,
            tracker,
            program,
            input: None,
            output: None,
            accepted: Arc::default(),
            told: Arc::default(),
            said: 0,
        };
        talker.listen();
        talker
    }

    fn listen(&mut self) {
        self.input = self.program.stdin.take();
        let output = BufReader::new(self.program.stdout.take().unwrap());
        let (accepted, told) = (Arc::clone(&self.accepted), Arc::clone(&self.told));
        // The answer to `say` is the line as everyone has it.
        let mark = format!("[lobby] {0}: {0} ", self.name);
        self.output = Some(std::thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { return };
                match line.split_once(&mark) {
                    Some((_, text)) => accepted.lock().unwrap().push(text.to_owned()),
                    None => told.lock().unwrap().push(line),
                }
            }
        }));
    }

    /// Types the next message.
    fn says(&mut self) {
        self.said += 1;
        let line = format!("say {} {}\n", self.name, self.said);
        // A killed node reads nothing.
        if let Some(input) = &mut self.input {
            input.write_all(line.as_bytes()).ok();
        }
    }

    fn types(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            writeln!(input, "{line}").ok();
        }
    }

    fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
        self.input = None;
        if let Some(output) = self.output.take() {
            output.join().unwrap();
        }
    }

    fn restart(&mut self) {
        self.program = spawn(&self.name, &self.folder, self.tracker);
        self.listen();
    }

    /// What its transcripts have, in order: place in the log and text.
    fn heard(&self) -> Vec<(u64, String)> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("logs")) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                name.starts_with("chat_log_")
            })
            .collect();
        paths.sort();
        let mut heard = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(path).unwrap();
            for line in text.lines().filter(|line| line.contains(" USER ")) {
                let place = line.split(' ').nth(3).unwrap().trim_start_matches('#');
                let (_, said) = line.split_once("[lobby] ").unwrap();
                heard.push((place.parse().unwrap(), said.to_owned()));
            }
        }
        heard
    }
}

fn spawn(name: &str, folder: &Path, tracker: SocketAddr) -> Child {
    let errors =
        std::fs::File::options().create(true).append(true).open(folder.join("errors")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_shoal-node"))
        .args(["--tracker", &tracker.to_string(), "--listen", "127.0.0.1", "--name", name])
        .args(["--files", "files", "--logs", "logs"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .unwrap()
}

fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience, "in {patience:?} not seen: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// All have heard the same, in the same order.
fn agree(talkers: &[Talker]) -> bool {
    let first = talkers[0].heard();
    talkers.iter().all(|talker| talker.heard() == first)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_messages_a_second_through_kills_and_a_cut() {
    let mut tracker = Tracker::start();
    let link = Link::start(tracker.at, Manner::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut talkers: Vec<Talker> = (1..=5)
        .map(|number| {
            let at = if number == 5 { link.at } else { tracker.at };
            Talker::start(&format!("node{number}"), folder.path(), at)
        })
        .collect();
    // Each is taken in before the first line that counts.
    for talker in &mut talkers {
        talker.says();
        let accepted = Arc::clone(&talker.accepted);
        until("the first line is accepted", PATIENCE, || !accepted.lock().unwrap().is_empty());
    }
    let begin = Instant::now();
    let at = |second: f64, done: &mut bool| {
        let is_time = begin.elapsed().as_secs_f64() >= second;
        is_time && !std::mem::replace(done, true)
    };
    let mut happened = [false; 9];
    for round in 0..RATE * SECONDS {
        let due = begin + Duration::from_secs(1) * round / RATE;
        tokio::time::sleep_until(due.into()).await;
        for talker in &mut talkers {
            talker.says();
        }
        for (number, second) in [(0, 2.0), (1, 6.0), (2, 10.0)] {
            if at(second, &mut happened[number]) {
                tracker.kill_and_start();
            }
        }
        if at(4.0, &mut happened[3]) {
            talkers[2].kill();
        }
        if at(5.0, &mut happened[4]) {
            talkers[2].restart();
        }
        if at(7.5, &mut happened[5]) {
            link.set(Passing::Silent);
        }
        if at(11.0, &mut happened[6]) {
            link.set(Passing::Open);
        }
    }
    tokio::task::block_in_place(|| check(&talkers));
}

fn check(talkers: &[Talker]) {
    // What was typed while a node was away is not said; what was said is, in the end.
    let count = |talker: &Talker| {
        let mark = format!("{}: ", talker.name);
        talker.heard().iter().filter(|(_, said)| said.starts_with(&mark)).count()
    };
    until("all is said", END, || {
        let done = |talker: &&Talker| talker.name == "node3" || count(talker) == talker.said;
        talkers.iter().all(|talker| done(&talker))
    });
    until("all have heard the same", END, || agree(talkers));
    let heard = talkers[0].heard();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, said) in &heard {
        *times.entry(said).or_default() += 1;
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "said once, heard twice: {doubled:?}");
    assert!(heard.windows(2).all(|pair| pair[0].0 < pair[1].0), "places only grow");
    let mut accepted_in_all = 0;
    for talker in talkers {
        let accepted = talker.accepted.lock().unwrap();
        accepted_in_all += accepted.len();
        for number in accepted.iter() {
            let said = format!("{0}: {0} {number}", talker.name);
            assert!(times.contains_key(said.as_str()), "accepted and lost: {said}");
        }
    }
    println!("{} lines, {accepted_in_all} acknowledged at the prompt", heard.len());
    assert!(heard.len() > (4 * RATE * SECONDS) as usize, "only {} lines", heard.len());
}

/// A node that reaches nobody, on a disk that is soon full.
#[test]
fn a_disk_that_is_full_before_there_is_a_tracker_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let errors = folder.path().join("errors");
    // The signal that would tell of the bound is ignored: `write` fails then.
    let mut program = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .args([env!("CARGO_BIN_EXE_shoal-node"), "--tracker", "127.0.0.1:1"])
        .args(["--listen", "127.0.0.1", "--files", "files"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    for _ in 0..8 {
        writeln!(input, "say {}", "x".repeat(2000)).unwrap();
    }
    let output = BufReader::new(program.stdout.take().unwrap());
    let told = Arc::new(Mutex::new(String::new()));
    let hearing = Arc::clone(&told);
    let listener = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            hearing.lock().unwrap().push_str(&line);
        }
    });
    let trouble = "the chat can't be written to the disk";
    until("it tells of the disk", PATIENCE, || {
        let errors = std::fs::read_to_string(&errors).unwrap_or_default();
        told.lock().unwrap().contains(trouble) || errors.contains(trouble)
    });
    program.kill().unwrap();
    program.wait().unwrap();
    listener.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_accepted_until_it_is_back() {
    let tracker = Tracker::start();
    let folder = tempfile::tempdir().unwrap();
    let mut talkers: Vec<Talker> = (1..=3)
        .map(|number| Talker::start(&format!("node{number}"), folder.path(), tracker.at))
        .collect();
    tokio::task::block_in_place(|| {
        for talker in &mut talkers {
            talker.says();
            let accepted = Arc::clone(&talker.accepted);
            until("it is accepted", PATIENCE, || !accepted.lock().unwrap().is_empty());
        }
        until("all hold the log", PATIENCE, || {
            talkers[0].types("who");
            std::thread::sleep(Duration::from_millis(300));
            talkers[0].told.lock().unwrap().iter().any(|line| line.starts_with("3 members"))
        });
        // Time for the last of them to be taken into the council.
        let holds = |talker: &Talker| {
            std::fs::metadata(talker.folder.join("files/.shoal/chat/log")).unwrap().len() > 1000
        };
        until("all hold the log", PATIENCE, || talkers.iter().all(holds));
        talkers[1].kill();
        talkers[2].kill();
        talkers[0].says();
        let told = Arc::clone(&talkers[0].told);
        until("it says so", PATIENCE, || {
            told.lock().unwrap().iter().any(|line| line.starts_with("not yet accepted: "))
        });
        assert_eq!(talkers[0].accepted.lock().unwrap().len(), 1);
        assert_eq!(talkers[0].heard().len(), 3);
        talkers[0].kill();
        // It has not forgotten what it wanted to say.
        for talker in &mut talkers {
            talker.restart();
        }
        until("it is accepted", END, || talkers.iter().all(|talker| talker.heard().len() == 4));
        assert!(agree(&talkers));
        assert_eq!(talkers[0].heard()[3].1, "node1: node1 2");

        // They are gone for ever, and the person at the third decides to go on.
        talkers[1].kill();
        talkers[2].kill();
        talkers[0].says();
        until("it is accepted", END, || {
            talkers[0].types("revive");
            std::thread::sleep(Duration::from_millis(500));
            talkers[0].heard().last().is_some_and(|(_, said)| said == "node1: node1 3")
        });
        // What was said before is still said.
        assert_eq!(talkers[0].heard().len(), 5);
    });
}
