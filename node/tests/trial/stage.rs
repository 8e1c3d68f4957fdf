//! Where a run takes place: a folder, an address block, a tracker, nodes behind
//! their links, rogues.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use shoal_common::content::FileId;
use tokio::runtime::Handle;

use super::addresses::{Block, DOWNLOAD_PORT, SEARCH_PORT};
use super::disk::{SmallDisk, fill_up};
use super::process::{Process, ctl, within};
use super::report::WRONG;
use super::scenario::{Disk, Event, How, Scenario};
use crate::common::guest::Guest;
use crate::common::link::{Link, Manner, Passing};
use crate::common::rogue::Rogue;

/// How long a node may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Variable that makes this test program a tracker on the address in it.
pub const TRACKER_VARIABLE: &str = "SHOAL_SOAK_TRACKER";

/// The test that is that tracker.
pub const TRACKER_TEST: &str = "a_tracker_in_a_process_of_its_own";

pub struct Stage {
    pub folder: PathBuf,
    scenario: Scenario,
    contents: Vec<Vec<u8>>,
    block: Block,
    tracker: Mutex<Option<Process>>,
    nodes: Vec<Mutex<Node>>,
    links: Vec<(Link, Link)>,
    rogues: Vec<(Rogue, Guest)>,
    runtime: Handle,
    _disks: Vec<SmallDisk>,
}

/// A node of the run.
#[derive(Debug, Default)]
pub struct Node {
    process: Option<Process>,
    /// Times that it was started.
    pub life: u32,
    pub stopped: bool,
    /// What may be under which of its visible names.
    allowed: HashSet<(String, FileId)>,
}

impl Node {
    /// Whether it can answer.
    pub fn is_up(&self) -> bool {
        self.process.is_some() && !self.stopped
    }
}

impl Stage {
    /// Everything in place and running: nodes registered, files shared.
    pub fn set(folder: PathBuf, scenario: Scenario, runtime: Handle) -> Result<Self, String> {
        let contents: Vec<_> = scenario.files.iter().enumerate().map(content).collect();
        let mut stage = Self {
            block: Block::take(),
            tracker: Mutex::default(),
            nodes: scenario.nodes.iter().map(|_| Mutex::default()).collect(),
            links: Vec::new(),
            rogues: Vec::new(),
            _disks: Vec::new(),
            folder,
            contents,
            scenario,
            runtime,
        };
        stage.start_tracker();
        for number in 0..stage.nodes.len() {
            stage.furnish(number)?;
            stage.start(number);
        }
        stage.invite();
        for number in 0..stage.nodes.len() {
            stage.ready(number)?;
        }
        Ok(stage)
    }

    pub fn files(&self, number: usize) -> PathBuf {
        self.folder.join(format!("node{number}"))
    }

    pub fn id(&self, file: usize) -> FileId {
        FileId::of(&self.contents[file])
    }

    pub fn node(&self, number: usize) -> std::sync::MutexGuard<'_, Node> {
        self.nodes[number].lock().unwrap()
    }

    /// The folder of a node with its files, and the links to it.
    fn furnish(&mut self, number: usize) -> Result<(), String> {
        let (plan, files) = (self.scenario.nodes[number].clone(), self.files(number));
        fs::create_dir_all(&files).unwrap();
        if let Disk::TooSmall(size) | Disk::Filling(size) = plan.disk {
            let disk = SmallDisk::mount(&files, size).ok_or("a small tmpfs can't be mounted")?;
            self._disks.push(disk);
        }
        for file in (0..plan.has.len()).filter(|file| plan.has[*file]) {
            write_old(&files.join(Scenario::name(file)), &self.contents[file]);
        }
        let allowed = (0..plan.has.len()).map(|file| (Scenario::name(file), self.id(file)));
        self.node(number).allowed = allowed.collect();
        let manner = Manner { delay: plan.delay, rate: Some(plan.rate) };
        let link = |port, manner| {
            let (near, far) = (self.block.advertised(number), self.block.node(number));
            let near = SocketAddr::from((near, port));
            self.runtime.block_on(Link::start_at(near, (far, port).into(), manner))
        };
        let search = link(SEARCH_PORT, Manner { delay: plan.delay, rate: None });
        let links = (search, link(DOWNLOAD_PORT, manner));
        self.links.push(links);
        Ok(())
    }

    fn start(&self, number: usize) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-node"));
        command
            .args(["--name", &format!("node{number}"), "--network", "test", "--grace", "0"])
            .args(["--tracker", &self.block.tracker().to_string()])
            .args(["--listen", &self.block.node(number).to_string()])
            .args(["--advertise", &self.block.advertised(number).to_string()])
            .args(["--search-port", &SEARCH_PORT.to_string()])
            .args(["--download-port", &DOWNLOAD_PORT.to_string()])
            .arg("--files")
            .arg(self.files(number))
            .arg("--logs")
            .arg(self.folder.join(format!("node{number}.logs")));
        let mut node = self.node(number);
        node.life += 1;
        node.process = Some(Process::start(&mut command, &self.output(number)));
    }

    fn output(&self, number: usize) -> PathBuf {
        self.folder.join(format!("node{number}.output"))
    }

    fn start_tracker(&self) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", TRACKER_TEST, "--nocapture", "--test-threads=1"])
            .env(TRACKER_VARIABLE, self.block.tracker().to_string());
        let tracker = Process::start(&mut command, &self.folder.join("tracker.output"));
        *self.tracker.lock().unwrap() = Some(tracker);
    }

    fn invite(&mut self) {
        let tracker = self.block.tracker();
        for (number, plan) in self.scenario.rogues.iter().enumerate() {
            let content = &self.contents[plan.file];
            let file = Scenario::name(plan.file);
            let invited = self.runtime.block_on(async {
                let name = format!("rogue{number}");
                let rogue = Rogue::slow(&name, content, plan.fault, plan.pause).await;
                let guest = Guest::introduce(tracker, &rogue.peer, &file, content).await;
                (rogue, guest)
            });
            self.rogues.push(invited);
        }
    }

    /// Waits until a node is registered and shares what it has.
    fn ready(&self, number: usize) -> Result<(), String> {
        let files = self.files(number);
        let has = self.scenario.nodes[number].has.iter().filter(|has| **has).count();
        let mut last = String::new();
        let ready = within(PATIENCE, || {
            let identity = ctl(&files, &["getip"]);
            let registered = identity.as_ref().is_ok_and(|id| id["link"] == "registered");
            let shared = ctl(&files, &["show"]);
            let known = shared.as_ref().ok().and_then(|files| files.as_array()).map(Vec::len);
            last = format!("{identity:?}, {shared:?}");
            registered && known == Some(has)
        });
        if ready { Ok(()) } else { Err(format!("node{number} is not ready: {last}")) }
    }

    /// Makes an event happen.
    pub fn play(&self, event: Event) {
        match event {
            Event::Kill(number) => {
                // Dropping kills it and waits until it is gone.
                self.node(number).process = None;
            }
            Event::Start(number) => self.start(number),
            Event::Stop(number) => self.stand_still(number, true),
            Event::Continue(number) => self.stand_still(number, false),
            Event::Cut(number) => self.pass(number, Passing::Cut),
            Event::Heal(number) => self.pass(number, Passing::Open),
            Event::KillTracker => *self.tracker.lock().unwrap() = None,
            Event::StartTracker => self.start_tracker(),
            Event::Change { node, file, how } => self.change(node, file, how),
            Event::Fill(number) => fill_up(&self.files(number)),
        }
    }

    fn stand_still(&self, number: usize, stopped: bool) {
        let mut node = self.node(number);
        node.stopped = stopped;
        if let Some(process) = &mut node.process {
            process.signal(if stopped { Signal::STOP } else { Signal::CONT });
        }
    }

    fn pass(&self, number: usize, passing: Passing) {
        let (search, download) = &self.links[number];
        search.set(passing);
        download.set(passing);
    }

    fn change(&self, number: usize, file: usize, how: How) {
        let path = self.files(number).join(Scenario::name(file));
        let mut bytes = self.contents[file].clone();
        match how {
            How::Touch => {
                let opened = File::options().write(true).open(path).unwrap();
                return opened.set_modified(SystemTime::now()).unwrap();
            }
            How::Delete => return fs::remove_file(path).unwrap(),
            How::Overwrite => bytes[file_middle(&self.contents[file])..].fill(7),
            How::Replace => bytes.extend_from_within(..bytes.len() / 2),
            How::Truncate => bytes.truncate(file_middle(&self.contents[file])),
            How::Append => bytes.push(7),
        }
        if how == How::Replace {
            bytes.push(7);
        }
        self.node(number).allowed.insert((Scenario::name(file), FileId::of(&bytes)));
        let middle = file_middle(&self.contents[file]);
        let mut opened = File::options().write(true).open(&path).unwrap();
        match how {
            How::Replace => {
                let hidden = self.files(number).join(".new");
                fs::write(&hidden, &bytes).unwrap();
                fs::rename(hidden, path).unwrap();
            }
            How::Truncate => opened.set_len(middle as u64).unwrap(),
            _ => {
                opened.seek(SeekFrom::Start(middle as u64)).unwrap();
                opened.write_all(&bytes[middle..]).unwrap();
            }
        }
    }

    /// Ends all nodes in order; what did not end, or not well.
    pub fn leave(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for number in 0..self.nodes.len() {
            let mut node = self.node(number);
            let Some(process) = &mut node.process else { continue };
            if let Some(status) = process.ended() {
                wrong.push(format!("node{number} ended by itself: {status}"));
            }
            process.signal(Signal::TERM);
        }
        for number in 0..self.nodes.len() {
            let mut node = self.node(number);
            let Some(process) = &mut node.process else { continue };
            if !process.leaves(PATIENCE) {
                wrong.push(format!("node{number} does not leave within {PATIENCE:?}"));
            }
            node.process = None;
            let said = fs::read_to_string(self.output(number)).unwrap_or_default();
            if said.contains("panicked") {
                wrong.push(format!(
                    "node{number} panicked: see `{}`",
                    self.output(number).display()
                ));
            }
        }
        *self.tracker.lock().unwrap() = None;
        for (rogue, _guest) in &self.rogues {
            self.runtime.block_on(rogue.kill());
        }
        wrong
    }

    /// Hashes every visible file of a node: what must not be there.
    pub fn strangers(&self, number: usize) -> Vec<String> {
        let allowed = self.node(number).allowed.clone();
        let mut wrong = Vec::new();
        for entry in fs::read_dir(self.files(number)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let id = FileId::of(&fs::read(&path).unwrap());
            if !allowed.contains(&(name, id)) {
                wrong.push(format!("{WRONG}: `{}`", path.display()));
            }
        }
        wrong
    }

    /// Whether a node has exactly this file under its name.
    pub fn has(&self, number: usize, file: usize) -> bool {
        let path = self.files(number).join(Scenario::name(file));
        fs::read(path).is_ok_and(|bytes| bytes == self.contents[file])
    }
}

/// The bytes of a file: of its own, and different at every position.
fn content((file, size): (usize, &usize)) -> Vec<u8> {
    crate::common::content(u8::try_from(file).unwrap(), *size)
}

fn file_middle(content: &[u8]) -> usize {
    content.len() / 2
}

/// A file that was left alone for a while, so that it is shared at once.
fn write_old(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(10)).unwrap();
}
