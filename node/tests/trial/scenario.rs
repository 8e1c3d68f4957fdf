//! What happens in one run, all of it drawn before anything starts.

use std::time::Duration;

use super::draw::Draw;
use crate::common::rogue::Fault;
use shoal_common::protocol::refusal::Refusal;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// One run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Sizes of the files; file `f` is called `f{f}.bin`.
    pub files: Vec<usize>,
    pub nodes: Vec<NodePlan>,
    pub rogues: Vec<RoguePlan>,
    /// What happens when, counted from when the first downloads were accepted.
    pub events: Vec<(Duration, Event)>,
}

/// One node at the start.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Which files it has.
    pub has: Vec<bool>,
    /// Which files it wants, and when it asks for them.
    pub wants: Vec<Want>,
    /// Bytes a second that its link carries, and the delay of the link.
    pub rate: u64,
    pub delay: Duration,
    /// Its disk, if that is a small one.
    pub disk: Disk,
}

/// A download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    pub file: usize,
    pub at: Duration,
}

/// Where a node keeps its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// There is room for everything.
    Large,
    /// So many bytes, less than its largest file takes.
    TooSmall(usize),
    /// So many bytes, enough until [`Event::Fill`].
    Filling(usize),
}

/// An owner that does not do what an owner should.
#[derive(Debug, Clone, Copy)]
pub struct RoguePlan {
    pub file: usize,
    pub fault: Fault,
    /// Pause before each chunk.
    pub pause: Duration,
}

/// Something that happens to a node, by number, or to the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `kill -9`.
    Kill(usize),
    /// Started again on the same folder.
    Start(usize),
    Stop(usize),
    Continue(usize),
    /// Its link breaks; others can't reach it.
    Cut(usize),
    Heal(usize),
    KillTracker,
    StartTracker,
    Change {
        node: usize,
        file: usize,
        how: How,
    },
    /// Its small disk is filled up by somebody else.
    Fill(usize),
}

/// What happens to a file at its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Other bytes are written into it.
    Overwrite,
    /// Another file takes its name.
    Replace,
    /// It gets shorter.
    Truncate,
    /// It gets longer.
    Append,
    Delete,
    /// Only its time changes.
    Touch,
}

/// Bounds of the time in which the slowest owner gives all that is wanted of
/// it, in milliseconds: faults are to hit transfers in the middle, and a run is
/// to be short.
const PACE: (usize, usize) = (300, 2500);

/// Slowest link, bytes a second.
const LEAST_RATE: u64 = 256 * 1024;

impl Scenario {
    /// The scenario of run `run` of the series `seed`.
    pub fn of(seed: u64, run: u64) -> Self {
        let draw = &mut Draw::of(seed, run);
        let nodes = draw.between(2, 9);
        let files = draw.one_of(&[1, 1, 1, 1, 2, 3]);
        let sizes: Vec<_> = (0..files).map(|file| distinct_size(draw, file)).collect();
        let owners = draw.one_of(&[1, 1, 2, 2, 3]).min(nodes - 1);
        let mut scenario = Self {
            nodes: (0..nodes).map(|_| NodePlan::new(files)).collect(),
            rogues: Vec::new(),
            events: Vec::new(),
            files: sizes,
        };
        scenario.share(draw, owners);
        scenario.want(draw);
        let pace = draw.between(PACE.0, PACE.1);
        scenario.link(draw, pace);
        scenario.invite_rogues(draw);
        scenario.small_disks(draw);
        Troubles { draw, span: pace, scenario: &mut scenario }.all();
        scenario.events.sort_by_key(|(at, _)| *at);
        scenario
    }

    pub fn name(file: usize) -> String {
        format!("f{file}.bin")
    }

    /// Every file has an owner, some have several.
    fn share(&mut self, draw: &mut Draw, owners: usize) {
        for file in 0..self.files.len() {
            for node in 0..owners {
                self.nodes[node].has[file] = draw.percent(60);
            }
            self.nodes[draw.between(0, owners)].has[file] = true;
        }
    }

    /// Whoever lacks a file may want it, most of them at once.
    fn want(&mut self, draw: &mut Draw) {
        let last = self.nodes.len() - 1;
        for (number, node) in self.nodes.iter_mut().enumerate() {
            for file in 0..node.has.len() {
                let asked = number == last && file == 0;
                if !node.has[file] && (asked || draw.percent(75)) {
                    let late = if draw.percent(15) { draw.between(1, 800) } else { 0 };
                    node.wants.push(Want { file, at: millis(late) });
                }
            }
        }
    }

    /// Links on which a transfer takes about `pace` milliseconds.
    fn link(&mut self, draw: &mut Draw, pace: usize) {
        let of_file = |file: usize| {
            let wanted = self.nodes.iter().flat_map(|node| &node.wants);
            let wanted = wanted.filter(|want| want.file == file).count();
            let owners = self.nodes.iter().filter(|node| node.has[file]).count();
            self.files[file] * wanted / owners
        };
        let given: Vec<usize> = (0..self.files.len()).map(of_file).collect();
        for node in &mut self.nodes {
            let gives: usize = (0..given.len()).filter(|f| node.has[*f]).map(|f| given[f]).sum();
            let rate = (gives * 1000 / pace) as u64;
            // Who has nothing yet may become an owner in the middle.
            node.rate = if gives == 0 { 64 << 20 } else { rate.max(LEAST_RATE) };
            node.delay = millis(draw.one_of(&[0, 0, 1, 5, 20]));
        }
    }

    fn invite_rogues(&mut self, draw: &mut Draw) {
        for _ in 0..draw.one_of(&[0, 0, 0, 1, 1, 2]) {
            let file = draw.between(0, self.files.len());
            // What is empty can't be served wrongly.
            if self.files[file] > 0 {
                let pause = millis(draw.one_of(&[0, 0, 5, 40]));
                self.rogues.push(RoguePlan { file, fault: draw.one_of(FAULTS), pause });
            }
        }
    }

    /// The last node, which has nothing, may have a small disk.
    fn small_disks(&mut self, draw: &mut Draw) {
        let node = self.nodes.last_mut().unwrap();
        let sizes = || node.wants.iter().map(|want| self.files[want.file]);
        let (largest, all) = (sizes().max().unwrap_or(0), sizes().sum::<usize>());
        if largest < 2 * MIB || !draw.percent(20) {
            return;
        }
        node.disk = match draw.percent(50) {
            true => Disk::TooSmall(largest / 2),
            false => Disk::Filling(all + all / 4 + 4 * MIB),
        };
    }
}

impl NodePlan {
    fn new(files: usize) -> Self {
        Self {
            has: vec![false; files],
            wants: Vec::new(),
            rate: 0,
            delay: Duration::ZERO,
            disk: Disk::Large,
        }
    }
}

/// Two files of few bytes could be the same content.
fn distinct_size(draw: &mut Draw, file: usize) -> usize {
    loop {
        let size = size(draw);
        if file == 0 || size > 8 {
            return size;
        }
    }
}

/// Sizes at which something begins or ends: blocks of the hash, chunks, pieces.
fn size(draw: &mut Draw) -> usize {
    let edge = draw.one_of(&[KIB, 64 * KIB, 256 * KIB, 512 * KIB, MIB]);
    match draw.between(0, 10) {
        0 => draw.one_of(&[0, 1, 2, 1023, 1025]),
        1 => edge - 1,
        2 => edge + draw.between(0, 2),
        3 | 4 => draw.between(2, 13) * MIB + draw.between(0, 3) - 1,
        5 | 6 => draw.between(1, 49) * 256 * KIB + draw.between(0, 3) - 1,
        7 => draw.between(0, 8 * MIB),
        _ => draw.between(8 * MIB, 24 * MIB + 1),
    }
}

const FAULTS: &[Fault] = &[
    Fault::None,
    Fault::WrongBytes,
    Fault::WrongBytes,
    Fault::WrongOnce,
    Fault::LyingManifest,
    Fault::LyingSize(5),
    Fault::LyingSize(-5),
    Fault::OtherManifest,
    Fault::Silent,
    Fault::Mute,
    Fault::Drip,
    Fault::Stall,
    Fault::HangUp,
    Fault::OtherRange,
    Fault::Refuse(Refusal::Busy),
    Fault::Refuse(Refusal::NotFound),
    Fault::Refuse(Refusal::Changed),
    Fault::Garbage,
    Fault::Giant,
];

/// Draws what happens. One thing at a time to a node: it ends before the next
/// begins.
struct Troubles<'a> {
    draw: &'a mut Draw,
    /// In how many milliseconds they begin.
    span: usize,
    scenario: &'a mut Scenario,
}

impl Troubles<'_> {
    fn all(mut self) {
        for node in 0..self.scenario.nodes.len() {
            let mut free = 0;
            // Owners above all: what they give is what is disturbed.
            let owner = self.scenario.nodes[node].has.contains(&true);
            let count = if owner { [1, 1, 2, 2, 3] } else { [0, 0, 1, 1, 2] };
            for _ in 0..self.draw.one_of(&count) {
                let begin = free + self.draw.between(0, self.span);
                match self.one(node, begin) {
                    Some(end) => free = end,
                    None => break,
                }
            }
            self.changes(node);
        }
        if self.draw.percent(25) {
            let begin = self.draw.between(0, self.span);
            let end = begin + self.draw.between(50, 800);
            self.add(begin, Event::KillTracker);
            self.add(end, Event::StartTracker);
        }
    }

    fn add(&mut self, at: usize, event: Event) {
        self.scenario.events.push((millis(at), event));
    }

    /// Something happens to a node; when it is over, if it ever is.
    fn one(&mut self, node: usize, begin: usize) -> Option<usize> {
        let owner = self.scenario.nodes[node].has.contains(&true);
        match self.scenario.nodes[node].disk {
            Disk::TooSmall(_) => return None,
            Disk::Filling(_) => {
                self.add(begin, Event::Fill(node));
                return None;
            }
            Disk::Large => {}
        }
        let (first, then, shortest, longest) = match self.draw.between(0, 5) {
            0..2 => (Event::Kill(node), Event::Start(node), 20, 700),
            2..4 => (Event::Stop(node), Event::Continue(node), 50, 1200),
            _ => (Event::Cut(node), Event::Heal(node), 50, 900),
        };
        self.add(begin, first);
        let returns = match first {
            // A process that stands still for ever keeps every deadline waiting.
            Event::Stop(_) => true,
            _ => !owner || self.draw.percent(75),
        };
        if !returns {
            return None;
        }
        let end = begin + self.draw.between(shortest, longest);
        self.add(end, then);
        Some(end)
    }

    /// Files of an owner change.
    fn changes(&mut self, node: usize) {
        for file in 0..self.scenario.files.len() {
            if !self.scenario.nodes[node].has[file] || !self.draw.percent(20) {
                continue;
            }
            let how = self.draw.one_of(&[
                How::Overwrite,
                How::Replace,
                How::Truncate,
                How::Append,
                How::Delete,
                How::Touch,
            ]);
            // There is nothing to overwrite, and nothing to cut off.
            let empty = self.scenario.files[file] == 0;
            if !(empty && matches!(how, How::Overwrite | How::Truncate)) {
                let at = self.draw.between(0, self.span);
                self.add(at, Event::Change { node, file, how });
            }
        }
    }
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}
