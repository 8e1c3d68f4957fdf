//! Somebody at a node who wants files: asks for them, looks at the jobs, asks
//! again after a restart where nothing was under way yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::model::{Expected, Left};
use super::process::ctl;
use super::report::HANG;
use super::scenario::{Scenario, Want};
use super::stage::Stage;

/// Time from the last event to the end of a download at the latest: several of
/// the deadlines after which an owner is given up, and pauses before it is
/// asked again.
const LIMIT: Duration = Duration::from_secs(75);

/// Time in which a download that was under way is on the list after a restart.
const BACK_AFTER: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(60);

/// When a run began, and whether everything has happened.
#[derive(Debug)]
pub struct Clock {
    /// Everyone whose first downloads were accepted, and the one who plays.
    pub ready: Barrier,
    pub began: OnceLock<Instant>,
    pub over: AtomicBool,
}

impl Clock {
    fn passed(&self) -> Duration {
        self.began.get().map_or(Duration::ZERO, Instant::elapsed)
    }
}

/// How a download ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Whole {
        /// It had to wait, was resumed, or an owner failed it.
        disturbed: bool,
    },
    /// Not, for a stated reason.
    Reason(String),
    /// Its node is gone.
    Gone,
}

/// A download as the person sees it.
struct Followed {
    want: Want,
    id: String,
    expected: Expected,
    /// Seen in a state that survives a restart.
    under_way: bool,
    disturbed: bool,
    /// Since when it is missed on the list.
    missed: Option<Instant>,
    last: String,
    ending: Option<Ending>,
}

pub struct Person<'a> {
    stage: &'a Stage,
    clock: &'a Clock,
    number: usize,
    followed: Vec<Followed>,
}

impl<'a> Person<'a> {
    pub fn new(
        stage: &'a Stage,
        clock: &'a Clock,
        left: &Left,
        number: usize,
        wants: &[Want],
    ) -> Self {
        let followed = wants.iter().map(|want| Followed {
            want: *want,
            id: stage.id(want.file).to_string(),
            expected: left.expects(number, want.file),
            under_way: false,
            disturbed: false,
            missed: None,
            last: "not asked for".to_owned(),
            ending: None,
        });
        Self { stage, clock, number, followed: followed.collect() }
    }

    /// Until every download has ended as it may, or one as it may not.
    pub fn live(mut self) -> Result<Vec<(usize, Ending)>, String> {
        let first = self.ask_first();
        self.clock.ready.wait();
        first?;
        let mut over = None;
        while self.followed.iter().any(|followed| followed.ending.is_none()) {
            std::thread::sleep(POLL);
            if over.is_none() && self.clock.over.load(Ordering::Relaxed) {
                over = Some(Instant::now());
            }
            self.look()?;
            if over.is_some_and(|over| over.elapsed() > LIMIT) {
                return Err(self.hangs());
            }
        }
        Ok(self.followed.into_iter().map(|one| (one.want.file, one.ending.unwrap())).collect())
    }

    /// The downloads that are under way before anything happens.
    fn ask_first(&mut self) -> Result<(), String> {
        let start = Instant::now();
        let number = self.number;
        for index in 0..self.followed.len() {
            while self.followed[index].want.at.is_zero() {
                match self.ask(index) {
                    Ok(()) => break,
                    Err(error) if start.elapsed() > LIMIT => {
                        return Err(format!("node{number} can't begin: {error}"));
                    }
                    Err(_) => std::thread::sleep(POLL),
                }
            }
        }
        Ok(())
    }

    fn ask(&mut self, index: usize) -> Result<(), String> {
        let followed = &mut self.followed[index];
        let name = Scenario::name(followed.want.file);
        let words = ["download", &name, "--from", "all", "--id", &followed.id, "--detach"];
        let answer = ctl(&self.stage.files(self.number), &words);
        match &answer {
            Ok(_) => followed.last = "accepted".to_owned(),
            Err(error) => followed.last = format!("refused: {error}"),
        }
        answer.map(drop)
    }

    /// One look at the jobs of the node.
    fn look(&mut self) -> Result<(), String> {
        let over = self.clock.over.load(Ordering::Relaxed);
        let (up, life) = {
            let node = self.stage.node(self.number);
            (node.is_up(), node.life)
        };
        if !up {
            for followed in self.followed.iter_mut().filter(|_| over) {
                if followed.expected == Expected::Gone {
                    followed.ending.get_or_insert(Ending::Gone);
                }
            }
            return Ok(());
        }
        // It may be killed while it is asked; then there is nothing to see.
        let Ok(jobs) = ctl(&self.stage.files(self.number), &["jobs"]) else { return Ok(()) };
        for index in 0..self.followed.len() {
            let followed = &self.followed[index];
            if followed.ending.is_some() || followed.want.at > self.clock.passed() {
                continue;
            }
            let job = newest(&jobs, &followed.id);
            match job {
                Some(job) => self.followed[index].see(job, over).map_err(|e| self.wrong(&e))?,
                None => self.miss(index, over, life)?,
            }
        }
        Ok(())
    }

    /// A download is not on the list: it was never accepted, or the node was
    /// killed before it could note it; or after it was whole.
    fn miss(&mut self, index: usize, over: bool, life: u32) -> Result<(), String> {
        let file = self.followed[index].want.file;
        if life > 1 && self.stage.has(self.number, file) {
            self.followed[index].ending = Some(Ending::Whole { disturbed: true });
            return Ok(());
        }
        let followed = &mut self.followed[index];
        if followed.under_way {
            let missed = *followed.missed.get_or_insert_with(Instant::now);
            if missed.elapsed() > BACK_AFTER && life == self.stage.node(self.number).life {
                let name = Scenario::name(file);
                return Err(self.wrong(&format!("`{name}` does not go on after a restart")));
            }
            return Ok(());
        }
        let asked = self.ask(index);
        let (here, life_now) =
            (self.stage.has(self.number, file), self.stage.node(self.number).life);
        let followed = &mut self.followed[index];
        match asked {
            Err(error) if error.starts_with("you have this file") && here => {
                followed.ending = Some(Ending::Whole { disturbed: true });
            }
            Err(error) if over && life == life_now && followed.expected != Expected::Whole => {
                followed.ending = Some(Ending::Reason(error));
            }
            _ => {}
        }
        Ok(())
    }

    fn wrong(&self, what: &str) -> String {
        format!("node{}: {what}", self.number)
    }

    fn hangs(&self) -> String {
        let open = self.followed.iter().filter(|followed| followed.ending.is_none());
        let open = open.map(|followed| {
            let name = Scenario::name(followed.want.file);
            format!("`{name}` ({:?}): {}", followed.expected, followed.last)
        });
        self.wrong(&format!("{HANG}: {}", open.collect::<Vec<_>>().join("; ")))
    }
}

impl Followed {
    /// How the job stands; an error if it may not stand so.
    fn see(&mut self, job: &Value, over: bool) -> Result<(), String> {
        self.missed = None;
        self.last = job.to_string();
        let state = job["state"].as_str().unwrap_or_default();
        let reason = job["reason"].as_str().unwrap_or_default();
        let name = Scenario::name(self.want.file);
        self.under_way |= !matches!(state, "starting" | "failed");
        let owners = job["owners"].as_array().map_or(&[][..], Vec::as_slice);
        let failed = owners.iter().any(|owner| !owner["trouble"].is_null());
        let resumed = job["resumed"].as_u64().is_some_and(|bytes| bytes > 0);
        self.disturbed |= failed || resumed || state == "waiting";
        match state {
            "done" if job["saved_as"] == name.as_str() => {
                self.ending = Some(Ending::Whole { disturbed: self.disturbed });
            }
            "done" => return Err(format!("saved under another name: {job}")),
            "waiting" | "failed" if reason.is_empty() => {
                return Err(format!("`{state}` without a reason: {job}"));
            }
            "failed" if self.expected == Expected::Whole => {
                return Err(format!("given up, though nothing stood in its way: {job}"));
            }
            "failed" => self.ending = Some(Ending::Reason(reason.to_owned())),
            "waiting" if over && self.expected != Expected::Whole => {
                self.ending = Some(Ending::Reason(reason.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The newest job for a content.
fn newest<'a>(jobs: &'a Value, id: &str) -> Option<&'a Value> {
    let jobs = jobs.as_array()?.iter().filter(|job| job["id"] == id);
    jobs.max_by_key(|job| job["job"].as_u64())
}
