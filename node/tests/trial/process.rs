//! Real programs as children: started, stopped, continued, killed, and gone
//! with their owner.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a living node may take to answer a command: the machine may be
/// busy with several runs.
const ANSWER: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(2);

/// A running program; killed when it is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Process {
    /// Starts a program whose output goes behind what is in `output`.
    pub fn start(command: &mut Command, output: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(output).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self(command.spawn().unwrap())
    }

    /// Nothing if it is gone: its number may be somebody else's by now.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(Pid::from_child(&self.0), signal).unwrap();
        }
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        self.0.try_wait().unwrap().map(|status| status.to_string())
    }

    /// Tells it to end; false if it does not within `patience`.
    pub fn leaves(&mut self, patience: Duration) -> bool {
        self.signal(Signal::TERM);
        within(patience, || self.ended().is_some())
    }
}

pub fn within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// The answer of the node on `files` to a command; an error is a phrase.
pub fn ctl(files: &Path, words: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-node"));
    command.args(["ctl", "--json", "--files"]).arg(files).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut asked = Process(command.spawn().unwrap());
    // Answers of a run are far shorter than what a pipe holds.
    if !within(ANSWER, || asked.ended().is_some()) {
        return Err(format!("`ctl {}` gives no answer within {ANSWER:?}", words.join(" ")));
    }
    let mut text = String::new();
    let mut stdout = asked.0.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut stdout, &mut text).unwrap();
    let value: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: `{text}`"))?;
    match value.get("error").and_then(Value::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(value),
    }
}
