//! How fast a node learns what it shares, and what that costs a transfer.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::single::add;
use crate::contestants::course::{Course, Program};
use crate::contestants::shoal::{self, Shoal};
use crate::failure::{Failure, Outcome};
use crate::network::{Network, Node};
use crate::place::{Place, Where, delete};
use crate::process::{installed, program, timed};
use crate::race::{Contestant, Race};
use crate::report::Section;
use crate::results::{Label, Results};
use crate::setting::Setting;
use crate::size::{self, BIG};

/// How long a node may take to learn all.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at its index file, which cost nearly nothing; and between
/// two questions to it, which cost a process.
const TICKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(250));

const B3SUM: &str = "b3sum";

const TEXT: &str = "*Shoal* is a new node: from the start of the process until it says that it \
    shares all files of its folder (asked when its index on disk changes). *b3sum* hashes the same \
    files, on as many threads as there are cores, or on one. Below, what a running transfer loses \
    while the node that fetches, and one of the owners, have other files to index at the same time.";

/// Measures.
///
/// # Errors
/// The machine's; a contestant that fails becomes a remark.
pub fn run(setting: &Setting) -> Outcome<Section> {
    let mut section = Section {
        id: "index".to_owned(),
        title: "Indexing".to_owned(),
        text: TEXT.to_owned(),
        ..Section::default()
    };
    let large = if setting.quick { 1 << 30 } else { 4 << 30 };
    for (count, bytes) in [(6, BIG), (1, large)] {
        let place = setting.place(Where::Tmpfs)?;
        let race = hashing(setting, &place, count, bytes)?;
        section.tables.push(race.table(B3SUM));
        section.panels.push(race.panel(B3SUM));
    }
    let race = disturbed(setting, large)?;
    section.tables.push(race.table(ALONE));
    section.panels.push(race.panel(ALONE));
    Ok(section)
}

// How fast ------------------------------------------------------------------

/// Fills a folder with files of different contents.
fn fill(setting: &Setting, folder: &Path, count: u8, bytes: u64) -> Outcome<Vec<PathBuf>> {
    let one = |k: u8| {
        let path = folder.join(format!("file{k}"));
        let mut sample = program(setting.program("shoal-node"));
        sample.arg("sample").arg(&path).args(["--seed", &k.to_string()]);
        timed(sample.args(["--size", &bytes.to_string()]))?;
        Ok(path)
    };
    (0..count).map(one).collect()
}

fn hashing(setting: &Setting, place: &Place, count: u8, bytes: u64) -> Outcome<Results> {
    let folder = place.folder("owner0")?;
    let files = fill(setting, &folder, count, bytes)?;
    let title = format!("Hashing {count} × {}, tmpfs", size::words(bytes));
    let mut race = Race::new(title, u64::from(count) * bytes);
    let course =
        Course { setting, place, name: "hashes".to_owned(), bytes: 0, owners: 1, guests: 1 };
    add(&mut race, setting, shoal::label(), || Newcomer::new(&course, count));
    for (name, threads) in [(B3SUM, None), ("b3sum, one thread", Some("1"))] {
        add(&mut race, setting, Label::other(name, "-"), || {
            let (b3sum, files) = (installed("b3sum")?, files.clone());
            let start = move |_, _: &Path| -> Command {
                let mut hash = program(&b3sum);
                if let Some(threads) = threads {
                    hash.args(["--num-threads", threads]);
                }
                hash.args(&files);
                hash
            };
            Ok(Unchecked(Program::new(&course, "b3sum", Rc::new(()), start)?))
        });
    }
    race.run(setting.rounds, setting.memory())
}

/// A program that leaves nothing that could be compared.
struct Unchecked(Program);

impl Contestant for Unchecked {
    fn run(&mut self) -> Outcome<f64> {
        self.0.run()
    }

    fn check(&self) -> Outcome<()> {
        Ok(())
    }

    fn clear(&mut self) -> Outcome<()> {
        self.0.clear()
    }
}

/// A node that starts anew each time.
struct Newcomer {
    network: Network,
    files: PathBuf,
    count: usize,
    node: Option<Node>,
}

impl Newcomer {
    fn new(course: &Course<'_>, count: u8) -> Outcome<Self> {
        let network = Network::start(course.setting, course.place)?;
        Ok(Self { network, files: course.owner(0), count: count.into(), node: None })
    }

    fn learned(&self) -> Option<std::time::SystemTime> {
        fs::metadata(self.files.join(".shoal/index")).and_then(|data| data.modified()).ok()
    }
}

impl Contestant for Newcomer {
    fn run(&mut self) -> Outcome<f64> {
        let start = Instant::now();
        let node = self.network.node(0, &self.files, &[])?;
        let (mut seen, mut asked) = (None, start);
        while start.elapsed() < PATIENCE {
            let now = self.learned();
            if now != seen || asked.elapsed() > TICKS.1 {
                if node.shares("file")? == self.count {
                    self.node = Some(node);
                    return Ok(start.elapsed().as_secs_f64());
                }
                (seen, asked) = (now, Instant::now());
            }
            thread::sleep(TICKS.0);
        }
        Err(Failure::new("the node did not learn all files in time"))
    }

    fn check(&self) -> Outcome<()> {
        Ok(())
    }

    fn clear(&mut self) -> Outcome<()> {
        self.node = None;
        delete(&self.files.join(".shoal"))
    }
}

// At what cost ----------------------------------------------------------------

const ALONE: &str = "Shoal, alone";

fn disturbed(setting: &Setting, bytes: u64) -> Outcome<Results> {
    let title = format!("{} from three owners, tmpfs, while files are indexed", size::words(bytes));
    let mut race = Race::new(title, bytes);
    let place = setting.place(Where::Tmpfs)?;
    let course = Course::file(setting, &place, bytes, 3)?;
    let spare = [course.place.folder("spare0")?, course.place.folder("spare1")?];
    for folder in &spare {
        fill(setting, folder, 3, BIG)?;
    }
    let shoal = Rc::new(RefCell::new(Shoal::start(&course)?));
    let guest = shoal.borrow().guest()?.files.clone();
    let places =
        spare.into_iter().zip([guest.join("more"), course.owner(0).join("more")]).collect();
    for (name, places) in [(ALONE, Vec::new()), ("Shoal, 6 × 394 MB being indexed", places)] {
        let label = Label { name: name.to_owned(), ..shoal::label() };
        race.add(label, Ok(Disturbed { shoal: Rc::clone(&shoal), places }));
    }
    race.run(setting.rounds, setting.memory())
}

/// A download during which folders appear.
struct Disturbed {
    shoal: Rc<RefCell<Shoal>>,
    /// From where to where.
    places: Vec<(PathBuf, PathBuf)>,
}

impl Contestant for Disturbed {
    fn run(&mut self) -> Outcome<f64> {
        for (from, to) in &self.places {
            fs::rename(from, to)?;
        }
        self.shoal.borrow_mut().run()
    }

    fn check(&self) -> Outcome<()> {
        self.shoal.borrow().check()
    }

    fn clear(&mut self) -> Outcome<()> {
        for (from, to) in &self.places {
            fs::rename(to, from)?;
        }
        let mut shoal = self.shoal.borrow_mut();
        shoal.nobody_shares("more/")?;
        shoal.clear()
    }
}
