//! What a series of runs came to, in figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Outcome;
use super::model::Expected;
use super::person::Ending;

/// What a failure says that is about content, or about an end that never came.
pub const WRONG: &str = "wrong bytes under a final name";
pub const HANG: &str = "not over";

#[derive(Debug, Default)]
pub struct Report {
    runs: usize,
    left_out: usize,
    whole: usize,
    /// Of these, downloads that had to wait, were resumed, or failed by an owner.
    disturbed: usize,
    gone: usize,
    bytes: u64,
    /// Whole although no owner was left at the end: somebody was quicker, or
    /// others had enough of it.
    quicker: usize,
    events: BTreeMap<String, usize>,
    rogues: BTreeMap<String, usize>,
    reasons: BTreeMap<String, usize>,
    longest: (Duration, u64),
    /// Run and what was wrong.
    pub failures: Vec<(u64, String)>,
}

impl Report {
    pub fn add(&mut self, run: u64, result: Result<Outcome, String>, took: Duration) {
        self.runs += 1;
        self.longest = self.longest.max((took, run));
        let outcome = match result {
            Ok(outcome) if outcome.left_out => {
                self.left_out += 1;
                return;
            }
            Ok(outcome) => outcome,
            Err(error) => {
                println!("run {run}: {error}");
                self.failures.push((run, error));
                return;
            }
        };
        for (_, event) in &outcome.scenario.events {
            *self.events.entry(word(event)).or_default() += 1;
        }
        for rogue in &outcome.scenario.rogues {
            *self.rogues.entry(word(&rogue.fault)).or_default() += 1;
        }
        for (expected, ending) in &outcome.endings {
            match ending {
                Ending::Whole { disturbed } => {
                    self.whole += 1;
                    self.disturbed += usize::from(*disturbed);
                    self.quicker += usize::from(*expected != Expected::Whole);
                }
                Ending::Gone => self.gone += 1,
                Ending::Reason(reason) => {
                    *self.reasons.entry(without_values(reason)).or_default() += 1;
                }
            }
        }
        let sizes = outcome.scenario.nodes.iter().flat_map(|node| &node.wants);
        self.bytes += sizes.map(|want| outcome.scenario.files[want.file] as u64).sum::<u64>();
        println!("run {run}: {} downloads, {:.1} s", outcome.endings.len(), took.as_secs_f32());
    }

    /// Runs that could not be tried here.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stated: usize = self.reasons.values().sum();
        let (longest, run) = self.longest;
        let with =
            |words: &str| self.failures.iter().filter(|(_, what)| what.contains(words)).count();
        writeln!(
            f,
            "runs: {}, left out: {}, failed: {}",
            self.runs,
            self.left_out,
            self.failures.len()
        )?;
        writeln!(
            f,
            "downloads: {} whole and identical ({} of them disturbed, {} against the odds), {stated} \
             ended with a stated reason, {} with their node; {} MB wanted",
            self.whole,
            self.disturbed,
            self.quicker,
            self.gone,
            self.bytes / 1_000_000,
        )?;
        writeln!(f, "runs with wrong bytes: {}, without an end: {}", with(WRONG), with(HANG))?;
        writeln!(f, "longest run: {:.1} s (run {run})", longest.as_secs_f32())?;
        for (title, counts) in
            [("events", &self.events), ("rogues", &self.rogues), ("reasons", &self.reasons)]
        {
            let counts = counts.iter().map(|(what, count)| format!("{count} × {what}"));
            writeln!(f, "{title}: {}", counts.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// The name of a variant, and how a file changes.
fn word(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    match text.split_once("how: ") {
        Some((_, how)) => how.trim_end_matches([' ', '}']).to_owned(),
        None => text.split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}

/// A phrase without names, ids and numbers, so that like ones are counted
/// together.
fn without_values(reason: &str) -> String {
    let is_id = |word: &str| {
        let id = word.trim_start_matches('(').trim_end_matches([')', ':']);
        word.starts_with('(') && id.chars().all(|char| char.is_ascii_hexdigit())
    };
    let words = reason.split(' ').map(|word| match word {
        _ if is_id(word) => String::new(),
        _ if word.contains('`') => "…".to_owned(),
        _ => word.chars().filter(|char| !char.is_ascii_digit()).collect(),
    });
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
