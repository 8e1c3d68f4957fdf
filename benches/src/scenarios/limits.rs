//! Whether limits hold.

use std::thread;
use std::time::{Duration, Instant};

use crate::contestants::course::Course;
use crate::contestants::shoal::Shoal;
use crate::failure::{Failure, Outcome};
use crate::figures::{median, spread, three_digits};
use crate::network::field;
use crate::place::Where;
use crate::plot::{Bar, Kind, Panel};
use crate::report::{Section, Table};
use crate::say;
use crate::setting::Setting;

/// The limit of a node, in bytes a second, and as it is written.
const NODE: (f64, &str) = (50e6, "50MB");

/// The limit of one job.
const JOB: (f64, &str) = (10e6, "10MB");

const TEXT: &str = "From one owner to one node, with a limit that is far below what the machine \
    can do; the file is as large as the limit lets through in four seconds. MB/s are those of the \
    whole download, by the job's own time; of a job that is limited while it runs, those of four \
    seconds after the first.";

/// One way to limit.
struct Case {
    name: &'static str,
    limit: (f64, &'static str),
    /// Flags of the owner and of the guest.
    flags: [&'static [&'static str]; 2],
    /// What is told to the owner, or to the guest about its job.
    told: Option<Told>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Owner,
    Guest,
    Job,
}

const CASES: [Case; 5] = [
    Case { name: "owner, `--up 50MB`", limit: NODE, flags: [&["--up", NODE.1], &[]], told: None },
    Case {
        name: "downloader, `--down 50MB`",
        limit: NODE,
        flags: [&[], &["--down", NODE.1]],
        told: None,
    },
    Case {
        name: "owner, `limit up 50MB`",
        limit: NODE,
        flags: [&[], &[]],
        told: Some(Told::Owner),
    },
    Case {
        name: "downloader, `limit down 50MB`",
        limit: NODE,
        flags: [&[], &[]],
        told: Some(Told::Guest),
    },
    Case {
        name: "one job, `limit JOB 10MB`",
        limit: JOB,
        flags: [&[], &[]],
        told: Some(Told::Job),
    },
];

/// Measures.
///
/// # Errors
/// The machine's; what Shoal does not know becomes a remark.
pub fn run(setting: &Setting) -> Outcome<Section> {
    let mut table = Table {
        title: "Limits".to_owned(),
        head: ["", "limit MB/s", "median MB/s", "least – most MB/s", "off by"]
            .map(str::to_owned)
            .to_vec(),
        ..Table::default()
    };
    let mut panel =
        Panel { title: "Rate under a limit".to_owned(), unit: "MB/s".to_owned(), bars: Vec::new() };
    for case in &CASES {
        let rates =
            (0..setting.rounds.min(3)).map(|_| case.rate(setting)).collect::<Outcome<Vec<_>>>();
        match rates {
            Ok(rates) => {
                table.lines.extend(case.line(&rates));
                panel.bars.extend(case.bar(&rates));
            }
            Err(failure) => {
                say::note(format_args!("{}: {failure}", case.name));
                table.remarks.push(format!(
                    "{} is missing: {}.",
                    case.name,
                    failure.to_string().trim_end_matches('.')
                ));
            }
        }
    }
    Ok(Section {
        id: "limits".to_owned(),
        title: "Limits".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![table],
        panels: vec![panel],
    })
}

impl Case {
    /// Bytes a second, once.
    fn rate(&self, setting: &Setting) -> Outcome<f64> {
        let place = setting.place(Where::Tmpfs)?;
        let seconds: u32 = if setting.quick { 2 } else { 4 };
        // A job that is looked at while it runs needs more than is looked at.
        let bytes =
            50_000_000 * u64::from(seconds) * if self.told == Some(Told::Job) { 8 } else { 1 };
        let course = Course::file(setting, &place, bytes, 1)?;
        let flags = |k: u8| {
            let flags = self.flags.get(usize::from(k)).copied().unwrap_or_default();
            flags.iter().map(|&flag| flag.to_owned()).collect()
        };
        let shoal = Shoal::start_with(&course, flags)?;
        let guest = shoal.guest()?;
        let rate = match self.told {
            Some(Told::Job) => self.job_rate(&shoal, &course, seconds)?,
            told => {
                match (told, shoal.owners().first()) {
                    (Some(Told::Owner), Some(owner)) => {
                        owner.ctl(&["limit", "up", self.limit.1])?
                    }
                    (Some(Told::Guest), _) => guest.ctl(&["limit", "down", self.limit.1])?,
                    _ => serde_json::Value::Null,
                };
                bytes as f64 / guest.download(&course.name, &["--from", "all"])?.seconds
            }
        };
        say::note(format_args!("  {:<32} {} MB/s", self.name, three_digits(rate / 1e6)));
        Ok(rate)
    }

    fn job_rate(&self, shoal: &Shoal, course: &Course<'_>, seconds: u32) -> Outcome<f64> {
        let guest = shoal.guest()?;
        let job = guest.ctl(&["download", &course.name, "--from", "all", "--detach"])?;
        let number = field(&job, "job").to_string();
        guest.ctl(&["limit", &number, self.limit.1])?;
        let done = || -> Outcome<(Instant, f64)> {
            let jobs = guest.ctl(&["jobs"])?;
            let job = jobs.as_array().and_then(|jobs| jobs.first()).cloned().unwrap_or_default();
            if field(&job, "state") != "running" {
                return Err(Failure::new(format!("the job is {}", field(&job, "state"))));
            }
            Ok((Instant::now(), field(&job, "done").as_f64().unwrap_or_default()))
        };
        thread::sleep(Duration::from_secs(1));
        let (start, before) = done()?;
        thread::sleep(Duration::from_secs(seconds.into()));
        let (end, after) = done()?;
        Ok((after - before) / (end - start).as_secs_f64())
    }

    fn line(&self, rates: &[f64]) -> Option<Vec<String>> {
        let (median, (least, most)) = (median(rates)?, spread(rates)?);
        let limit = self.limit.0;
        let [least, most] = [least, most].map(|rate| three_digits(rate / 1e6));
        Some(vec![
            self.name.to_owned(),
            three_digits(limit / 1e6),
            three_digits(median / 1e6),
            format!("{least} – {most}"),
            format!("{:+.1} %", 100.0 * (median / limit - 1.0)),
        ])
    }

    fn bar(&self, rates: &[f64]) -> Option<Bar> {
        let (middle, (least, most)) = (median(rates)?, spread(rates)?);
        let [median, least, most] = [middle, least, most].map(|rate| rate / 1e6);
        let remark = format!("of {}", three_digits(self.limit.0 / 1e6));
        Some(Bar {
            label: self.name.replace('`', ""),
            kind: Kind::Ours,
            median,
            least,
            most,
            remark,
        })
    }
}
