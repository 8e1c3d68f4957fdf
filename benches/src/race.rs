//! Contestants take turns, so that what happens on the machine meanwhile
//! happens to all of them.

use std::path::Path;

use crate::failure::Outcome;
use crate::place::touch_memory;
use crate::results::{Label, Results, Standing};
use crate::say;
use crate::size::MIB;

/// Whoever moves the same content in another way.
pub trait Contestant {
    /// Does it once; seconds.
    ///
    /// # Errors
    /// It does not succeed.
    fn run(&mut self) -> Outcome<f64>;

    /// Whether what has come is what was sent.
    ///
    /// # Errors
    /// It is not.
    fn check(&self) -> Outcome<()>;

    /// Makes it as if nothing had come, for the next run.
    ///
    /// # Errors
    /// That fails.
    fn clear(&mut self) -> Outcome<()>;

    /// What it has to say in the end about how it went: a phrase.
    fn remark(&self) -> Option<String> {
        None
    }
}

/// One course, and all who run it.
pub struct Race {
    title: String,
    bytes: u64,
    /// What is counted by the second, and how much of it a run moves.
    rate: (&'static str, f64),
    entries: Vec<Entry>,
    remarks: Vec<String>,
}

struct Entry {
    label: Label,
    contestant: Box<dyn Contestant>,
    seconds: Vec<f64>,
    trouble: Option<String>,
}

impl Race {
    /// Over so many bytes.
    pub fn new(title: impl Into<String>, bytes: u64) -> Self {
        let rate = ("MB/s", bytes as f64 / 1e6);
        Self { title: title.into(), bytes, rate, entries: Vec::new(), remarks: Vec::new() }
    }

    /// Over so many files: they are what is counted by the second.
    pub fn files(mut self, count: u32) -> Self {
        self.rate = ("files/s", f64::from(count));
        self
    }

    /// Over so much of something else.
    pub fn counting(mut self, what: &'static str, count: f64) -> Self {
        self.rate = (what, count);
        self
    }

    /// Lets somebody take part; or says why not.
    pub fn add<C: Contestant + 'static>(&mut self, label: Label, contestant: Outcome<C>) {
        match contestant {
            Ok(contestant) => self.entries.push(Entry {
                label,
                contestant: Box::new(contestant),
                seconds: Vec::new(),
                trouble: None,
            }),
            Err(reason) => self.missing(&label.name, reason.to_string()),
        }
    }

    fn missing(&mut self, name: &str, reason: String) {
        say::note(format_args!("{name} does not take part: {reason}"));
        self.remarks.push(format!("{name} is missing: {}.", reason.trim_end_matches('.')));
    }

    /// Runs all in turns, every second round in the opposite order; so nobody
    /// always follows the same one. What comes is compared once for each.
    ///
    /// All of them are gone afterwards, and what served them.
    ///
    /// # Errors
    /// Memory can't be touched. A contestant that fails is out, with a remark.
    pub fn run(mut self, rounds: usize, memory: &Path) -> Outcome<Results> {
        say::note(format_args!("{}: {rounds} rounds", self.title));
        for round in 0..rounds {
            let mut order: Vec<_> = self.entries.iter_mut().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for entry in order {
                entry.turn(round, self.bytes, memory)?;
            }
        }
        let mut standings = Vec::new();
        for entry in std::mem::take(&mut self.entries) {
            let Entry { label, contestant, seconds, trouble } = entry;
            match (trouble, contestant.remark()) {
                (Some(trouble), _) => {
                    self.missing(&label.name, trouble);
                    continue;
                }
                (None, Some(said)) => self.remark(format!("{}: {said}.", label.name)),
                (None, None) => {}
            }
            standings.push(Standing { label, seconds });
        }
        Ok(Results { title: self.title, rate: self.rate, standings, remarks: self.remarks })
    }

    /// Adds a remark below the table.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }
}

impl Entry {
    fn turn(&mut self, round: usize, bytes: u64, memory: &Path) -> Outcome<()> {
        if self.trouble.is_some() {
            return Ok(());
        }
        // What others have left to write is not this one's.
        rustix::fs::sync();
        touch_memory(memory, bytes + bytes / 8 + 32 * MIB)?;
        match self.attempt(round) {
            Ok(seconds) => {
                say::note(format_args!("  {:<32} {seconds:.3} s", self.label.name));
                self.seconds.push(seconds);
            }
            Err(failure) => {
                self.contestant.clear().ok();
                self.trouble = Some(failure.to_string());
            }
        }
        Ok(())
    }

    fn attempt(&mut self, round: usize) -> Outcome<f64> {
        let seconds = self.contestant.run()?;
        if round == 0 {
            self.contestant.check()?;
        }
        self.contestant.clear()?;
        Ok(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Fake {
        name: &'static str,
        seconds: Vec<f64>,
        content: bool,
        order: Rc<RefCell<Vec<&'static str>>>,
    }

    impl Contestant for Fake {
        fn run(&mut self) -> Outcome<f64> {
            self.order.borrow_mut().push(self.name);
            self.seconds.pop().ok_or_else(|| Failure::new("too tired"))
        }
        fn check(&self) -> Outcome<()> {
            if self.content { Ok(()) } else { Err(Failure::new("wrong content")) }
        }
        fn clear(&mut self) -> Outcome<()> {
            Ok(())
        }
    }

    #[test]
    fn turns_ratios_and_those_who_fail() {
        let dir = tempfile::tempdir().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let fake = |name, seconds: &[f64], content| {
            (
                Label::other(name, "yes"),
                Ok(Fake { name, seconds: seconds.to_vec(), content, order: order.clone() }),
            )
        };
        let mut race = Race::new("T", 1_000_000);
        for (label, contestant) in [
            fake("bare", &[1.0, 2.0, 9.0], true),
            fake("twice", &[4.0, 4.0, 4.0], true),
            fake("liar", &[0.1, 0.1, 0.1], false),
            fake("tired", &[0.1, 0.1], true),
        ] {
            race.add(label, contestant);
        }
        race.add::<Fake>(
            Label::other("absent", "no"),
            Err(Failure::new("`absent` is not installed")),
        );
        let results = race.run(3, dir.path()).unwrap();
        let round = |name: &[&'static str]| name.to_vec();
        let expected = [
            round(&["bare", "twice", "liar", "tired"]),
            round(&["tired", "twice", "bare"]),
            round(&["bare", "twice", "tired"]),
        ];
        assert_eq!(*order.borrow(), expected.concat());
        let table = results.table("bare");
        assert_eq!(table.lines.len(), 2, "{table:?}");
        assert_eq!(table.lines[1], ["twice", "yes", "4.00", "4.00 – 4.00", "0.250", "2.00"]);
        for reason in ["not installed", "wrong content", "too tired"] {
            assert!(table.remarks.iter().any(|remark| remark.contains(reason)), "{reason}");
        }
        assert_eq!(results.panel("bare").bars.len(), 2);
        assert_eq!(results.table("nobody").lines[0][5], "-");
    }
}
