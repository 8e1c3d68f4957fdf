//! Random runs: real programs, faults at random moments, and a model that says
//! how each may end.

pub mod addresses;
pub mod disk;
pub mod draw;
pub mod model;
pub mod person;
pub mod process;
pub mod report;
pub mod scenario;
pub mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use model::{Expected, Left};
use person::{Clock, Ending, Person};
use report::Report;
use scenario::{Disk, Scenario};
use stage::Stage;

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Series {
    pub seed: u64,
    /// Number of the first run, and how many follow.
    pub first: u64,
    pub runs: u64,
    /// Runs at the same time.
    pub at_once: usize,
    /// Where runs have their folders; those of failed runs stay.
    pub folder: PathBuf,
}

/// Runs that failed before a series is given up.
const ENOUGH: usize = 5;

impl Series {
    /// What the environment asks for, or a short series.
    pub fn wanted() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`: a whole number")))
        };
        let folder = std::env::var_os("SHOAL_SOAK_FOLDER");
        Self {
            seed: number("SHOAL_SOAK_SEED").unwrap_or(20_261_121),
            first: number("SHOAL_SOAK_FIRST").unwrap_or(0),
            runs: number("SHOAL_SOAK_RUNS").unwrap_or(16),
            at_once: number("SHOAL_SOAK_AT_ONCE").unwrap_or(8).try_into().unwrap(),
            folder: folder.map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from),
        }
    }

    /// All runs; some at the same time.
    pub fn run(&self, runtime: &Handle, can_mount: bool) -> Report {
        let next = std::sync::atomic::AtomicU64::new(self.first);
        let report = std::sync::Mutex::new(Report::default());
        std::thread::scope(|scope| {
            for _ in 0..self.at_once {
                scope.spawn(|| {
                    loop {
                        let run = next.fetch_add(1, Ordering::Relaxed);
                        let enough = report.lock().unwrap().failures.len() >= ENOUGH;
                        if run >= self.first + self.runs || enough {
                            return;
                        }
                        let start = Instant::now();
                        let result = self.one(run, runtime, can_mount);
                        report.lock().unwrap().add(run, result, start.elapsed());
                    }
                });
            }
        });
        report.into_inner().unwrap()
    }

    fn folder_of(&self, run: u64) -> PathBuf {
        self.folder.join(format!("soak-{}-{run}-{}", self.seed, std::process::id()))
    }

    /// One run; its folder stays if it fails.
    fn one(&self, run: u64, runtime: &Handle, can_mount: bool) -> Result<Outcome, String> {
        let scenario = Scenario::of(self.seed, run);
        let disk = |node: &scenario::NodePlan| node.disk != Disk::Large;
        if !can_mount && scenario.nodes.iter().any(disk) {
            return Ok(Outcome { left_out: true, ..Outcome::of(scenario) });
        }
        let folder = self.folder_of(run);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("scenario"), format!("{scenario:#?}\n")).unwrap();
        let play = || play(scenario, &folder, runtime);
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(play));
        let result = played.unwrap_or_else(|_| Err("the test itself panicked".to_owned()));
        match &result {
            Ok(_) => fs::remove_dir_all(&folder).unwrap(),
            Err(error) => fs::write(folder.join("failure"), error).unwrap(),
        }
        result.map_err(|error| format!("{error}\n  its folder: `{}`", folder.display()))
    }
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub scenario: Scenario,
    pub endings: Vec<(Expected, Ending)>,
    /// Not run: it needs a small disk.
    pub left_out: bool,
}

impl Outcome {
    fn of(scenario: Scenario) -> Self {
        Self { scenario, endings: Vec::new(), left_out: false }
    }
}

fn play(scenario: Scenario, folder: &Path, runtime: &Handle) -> Result<Outcome, String> {
    let left = Left::after(&scenario);
    let stage = Stage::set(folder.to_owned(), scenario.clone(), runtime.clone())?;
    let wanting: Vec<_> = (0..scenario.nodes.len())
        .filter(|number| !scenario.nodes[*number].wants.is_empty())
        .collect();
    let clock = Clock {
        ready: Barrier::new(wanting.len() + 1),
        began: OnceLock::new(),
        over: AtomicBool::new(false),
    };
    let mut endings = Vec::new();
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        let person = |number: usize| {
            let wants = &scenario.nodes[number].wants;
            let person = Person::new(&stage, &clock, &left, number, wants);
            (number, scope.spawn(|| person.live()))
        };
        let people: Vec<_> = wanting.into_iter().map(person).collect();
        clock.ready.wait();
        clock.began.set(Instant::now()).unwrap();
        for (at, event) in &scenario.events {
            let until = clock.began.get().unwrap().elapsed();
            std::thread::sleep(at.checked_sub(until).unwrap_or(Duration::ZERO));
            stage.play(*event);
        }
        clock.over.store(true, Ordering::Relaxed);
        for (number, person) in people {
            match person.join() {
                Ok(Ok(ended)) => endings.extend(ended.into_iter().map(|end| (number, end))),
                Ok(Err(error)) => wrong.push(error),
                Err(_) => wrong.push(format!("whoever is at node{number} panicked")),
            }
        }
    });
    wrong.extend(stage.leave());
    for number in 0..scenario.nodes.len() {
        wrong.extend(stage.strangers(number));
    }
    for (number, (file, ending)) in &endings {
        if matches!(ending, Ending::Whole { .. }) && !stage.has(*number, *file) {
            wrong.push(format!("node{number} does not have `{}`", Scenario::name(*file)));
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let expected = |(number, (file, end))| (left.expects(number, file), end);
    let endings = endings.into_iter().map(expected).collect();
    Ok(Outcome { endings, ..Outcome::of(scenario) })
}
