//! What a process takes of the machine over some time.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;

use crate::failure::{Attempt, Failure, Outcome};
use crate::process::program;

/// A look at a process.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    at: Instant,
    /// Seconds of all its threads since it began, in its own code and in the
    /// kernel.
    user: f64,
    system: f64,
}

/// What lies between two looks.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How long it was.
    pub time: Duration,
    /// Seconds of a core, in the program and in the kernel.
    pub user: f64,
    /// Of these, in the kernel.
    pub system: f64,
}

impl Load {
    /// Cores taken on average.
    pub fn cores(&self) -> f64 {
        (self.user + self.system) / self.time.as_secs_f64()
    }
}

impl Look {
    /// Looks at a process.
    ///
    /// # Errors
    /// It is gone.
    pub fn at(process: u32) -> Outcome<Self> {
        let path = format!("/proc/{process}/stat");
        let stat = fs::read_to_string(&path).attempt(format!("`{path}`"))?;
        // The name in brackets may hold anything; behind it are numbers.
        let (_, numbers) =
            stat.rsplit_once(')').ok_or_else(|| Failure::new(format!("no state in `{path}`")))?;
        let ticks = |number: usize| -> Outcome<f64> {
            let word = numbers.split_whitespace().nth(number);
            let word = word.ok_or_else(|| Failure::new(format!("`{path}` is short")))?;
            Ok(word.parse::<f64>()? / clock_ticks_per_second() as f64)
        };
        // Fields 14 and 15 of proc(5); the third is the first behind the name.
        Ok(Self { at: Instant::now(), user: ticks(11)?, system: ticks(12)? })
    }

    /// What was taken since.
    ///
    /// # Errors
    /// It is gone.
    pub fn since(&self, process: u32) -> Outcome<Load> {
        let now = Self::at(process)?;
        let (user, system) = (now.user - self.user, now.system - self.system);
        Ok(Load { time: now.at - self.at, user, system })
    }
}

/// Resident memory of a process that belongs to no file, in KiB.
///
/// # Errors
/// It is gone.
pub fn anonymous(process: u32) -> Outcome<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).attempt(format!("`{path}`"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let word = line.and_then(|line| line.split_whitespace().next());
    let word = word.ok_or_else(|| Failure::new(format!("no `RssAnon` in `{path}`")))?;
    Ok(word.parse::<f64>()?)
}

/// Samples of what a process does, taken by `perf`.
#[derive(Debug)]
pub struct Sampling {
    perf: Child,
    file: PathBuf,
}

impl Sampling {
    /// Begins, for so long; none if `perf` is not installed.
    pub fn start(process: u32, time: Duration) -> Option<Self> {
        let file = std::env::temp_dir().join(format!("shoal-crowd-{process}.perf"));
        let mut record = program("perf");
        record.args(["record", "-e", "cpu-clock", "-F", "999", "-g", "-p", &process.to_string()]);
        record.arg("-o").arg(&file).args(["--", "sleep", &time.as_secs_f64().to_string()]);
        let perf = record.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        Some(Self { perf, file })
    }

    /// The share of samples in which the kernel took in what came over the network:
    /// on the loopback, the work of whoever is sent to.
    pub fn share(mut self) -> Option<f64> {
        self.perf.wait().ok()?;
        let said = program("perf").args(["script", "-F", "ip,sym", "-i"]).arg(&self.file).output();
        fs::remove_file(&self.file).ok();
        let said = said.ok()?;
        let text = String::from_utf8_lossy(&said.stdout);
        let samples = text.split("\n\n").filter(|sample| !sample.trim().is_empty());
        let (mut all, mut receiving) = (0.0, 0.0);
        for sample in samples {
            all += 1.0;
            receiving += f64::from(u8::from(sample.contains(" net_rx_action")));
        }
        (all > 0.0).then(|| receiving / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_that_this_process_works() {
        let process = std::process::id();
        let before = Look::at(process).unwrap();
        let start = Instant::now();
        let mut sum = 0_u64;
        while start.elapsed() < Duration::from_millis(300) {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        let load = before.since(process).unwrap();
        assert!(sum != 0 && load.cores() > 0.1, "{load:?}");
        assert!(anonymous(process).unwrap() > 100.0);
        assert!(Look::at(u32::MAX).is_err());
    }
}
